//! From gradients to a step: clipping, AdamW, and how fresh weights are drawn.

pub mod adamw;
pub mod clip;
pub mod grads;
pub mod init;
