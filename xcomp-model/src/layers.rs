//! Layers that towers, connectors and decoders share.

pub mod layer_norm;
pub mod linear;
pub mod lora;
pub mod rms_norm;
