//! The models of xcomp as Burn modules: vision tower, connector, Qwen2, and LP-Comp between its layers.
//!
//! Tensors only: no device is chosen here, nothing is printed, and no file is read but by `weights` and `config`.

pub mod ascent;
pub mod attention_map;
pub mod cache;
pub mod config;
pub mod connector;
pub mod encoder_code;
pub mod error;
pub mod frame_select;
pub mod frames;
pub mod generate;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod loss;
pub mod lp_comp;
pub mod one_drop;
pub mod ops;
pub mod position;
pub mod qc_comp;
pub mod qwen2;
pub mod rank;
pub mod reduce;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod schedule;
pub mod splice;
pub mod tome;
pub mod vision_config;
pub mod vit;
pub mod vlm;
pub mod weights;
