//! Operations that a CPU does in one pass where tensor operations take several, with their gradients.
//!
//! Each function has two forms: one in tensor operations, which a GPU fuses and which any dtype and backend can run,
//! and one in loops over f32 rows, compiled for the widest vectors of the processor.
//! The second keeps nothing on the tape but its inputs: what it needs of its own results it computes again.
#![cfg_attr(
    feature = "flex",
    expect(
        clippy::inline_always,
        reason = "loops must be compiled with the vector features of their caller"
    )
)]

mod adamw;
mod attention;
#[cfg(feature = "flex")]
mod cpu;
mod dropout;
mod dynamic_map;
mod gelu;
#[cfg(feature = "flex")]
mod heads;
mod linear;
#[cfg(feature = "flex")]
mod product;
mod random;
#[cfg(feature = "flex")]
mod recorded;
mod rms_norm;
mod rotate;
mod rounding;
#[cfg(feature = "flex")]
mod rows;
mod sigmoid_gelu;
mod sum_of_squares;
mod swiglu;
#[cfg(all(test, feature = "flex"))]
mod tests;
#[cfg(feature = "flex")]
mod vector;

use burn::tensor::{DType, Device, Tensor};

pub use adamw::{AdamWStep, MIN_QUANTISED, Moment, MomentFormat, Moments, STRIDE, StepKeys, adamw};
pub use attention::{causal_attention, full_attention, packed_attention};
pub use dropout::{Dropout, dropout};
pub use gelu::gelu;
pub use linear::linear;
pub use random::Key;
pub use rms_norm::rms_norm;
pub use rotate::rotate;
pub use sigmoid_gelu::sigmoid_gelu;
pub use sum_of_squares::sum_of_squares;
pub use swiglu::swiglu;

/// Whether `device` is the CPU backend.
pub fn on_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return device.clone().inner() == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}

/// Whether `device` is a driver that only computes as a card would, on the processor.
#[cfg(feature = "wgpu-untuned")]
pub fn in_software(device: &Device) -> bool {
    use burn::tensor::DeviceKind::Cpu;
    let device = device.clone().inner();
    #[cfg(feature = "vulkan")]
    if device == Device::vulkan(Cpu) {
        return true;
    }
    device == Device::wgpu(Cpu)
}

/// Whether `device` is a driver that only computes as a card would: none is in this build.
#[cfg(not(feature = "wgpu-untuned"))]
pub fn in_software(_: &Device) -> bool {
    false
}

/// Whether the loops of this module serve these tensors: f32 on a CPU.
fn in_loops<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && on_cpu(&x.device())
}
