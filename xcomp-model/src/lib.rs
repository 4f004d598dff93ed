//! The models of xcomp as Burn modules: vision tower, connector, Qwen2, and LP-Comp between its layers.
//!
//! Tensors only: no device is chosen here, nothing is printed, and no file is read but by `weights` and `config`.

pub mod base;
pub mod compress;
pub mod connector;
pub mod cost;
pub mod decoder;
pub mod error;
pub mod generate;
pub mod layers;
pub mod lora;
pub mod loss;
pub mod ops;
pub mod question;
pub mod splice;
pub mod transfer;
pub mod vision;
pub mod vlm;
pub mod weights;
pub mod windows;
