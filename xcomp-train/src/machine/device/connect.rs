//! Devices found by their word and opened in this process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};
use xcomp_model::transfer::read_number;

use super::{About, Adapter, Choice};
use crate::error::Error;

/// A device that works.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// Its word; never `auto`.
    pub choice: Choice,
    /// What it is.
    pub about: About,
    /// For `auto`: a line for every device that was tried before it, with the reason that it is not this one.
    pub passed_over: Vec<String>,
}

/// Every backend of this build, best first.
pub fn compiled() -> Vec<Choice> {
    let mut choices = vec![];
    if cfg!(feature = "cuda") {
        choices.push(Choice::Cuda(None));
    }
    if cfg!(feature = "vulkan") {
        choices.push(Choice::Vulkan(Adapter::Card(None)));
    } else if cfg!(feature = "wgpu-untuned") {
        choices.push(Choice::Wgpu(Adapter::Card(None)));
    }
    if cfg!(feature = "flex") {
        choices.push(Choice::Cpu);
    }
    choices
}

/// The device in this process, with no probe before: a driver that crashes takes this process with it.
///
/// # Errors
/// If the backend is not in this build, or the device does not answer.
pub fn connect(choice: Choice) -> Result<Opened, Error> {
    for place in places(choice)? {
        let device = place.device();
        match one_and_one(&device) {
            Some(sum) if (sum - 2.0).abs() < f32::EPSILON => {
                let about = place.about(&device);
                return Ok(Opened { device, choice, about, passed_over: vec![] });
            }
            Some(sum) => return Err(Error::Argument(format!("{choice} computes 1 + 1 = {sum}"))),
            None => {}
        }
    }
    Err(Error::Argument(format!("{choice} does not answer; is its driver there?")))
}

/// Nothing, where the backend of a choice is in this build.
///
/// # Errors
/// If it is not; it is named with those that are.
pub(super) fn require_built(choice: Choice) -> Result<(), Error> {
    places(choice).map(drop)
}

/// The sum, if the device answers: a missing driver panics inside the backend.
fn one_and_one(device: &Device) -> Option<f32> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let sum = catch_unwind(AssertUnwindSafe(|| read_number(Tensor::<1>::ones([2], device).sum())));
    std::panic::set_hook(hook);
    sum.ok()
}

/// Where a device may be found.
enum Place {
    /// The processor.
    #[cfg(feature = "flex")]
    Processor,
    /// A device behind a driver.
    #[cfg(any(feature = "cuda", feature = "wgpu-untuned"))]
    Driver(burn::cubecl::Device),
}

impl Place {
    fn device(&self) -> Device {
        match self {
            #[cfg(feature = "flex")]
            Place::Processor => Device::flex(),
            #[cfg(any(feature = "cuda", feature = "wgpu-untuned"))]
            Place::Driver(device) => Device::new(device.clone()),
        }
    }

    /// What the device that was opened from it is.
    #[cfg_attr(not(any(feature = "cuda", feature = "wgpu-untuned")), expect(unused_variables))]
    fn about(&self, device: &Device) -> About {
        match self {
            #[cfg(feature = "flex")]
            Place::Processor => About::processor(),
            #[cfg(any(feature = "cuda", feature = "wgpu-untuned"))]
            Place::Driver(place) => {
                let said = place.description();
                let memory = said.as_ref().and_then(|said| said.max_memory);
                About {
                    memory_bytes: memory.or_else(|| device.memory_capacity()),
                    driver: said.as_ref().and_then(|said| said.driver_version.clone()),
                    name: said.map(|said| said.name),
                }
            }
        }
    }
}

/// What a choice may mean, best first.
fn places(choice: Choice) -> Result<Vec<Place>, Error> {
    match choice {
        #[cfg(feature = "flex")]
        Choice::Cpu => Ok(vec![Place::Processor]),
        #[cfg(feature = "cuda")]
        Choice::Cuda(index) => {
            let device = burn::cubecl::device::CudaDevice::new(index.unwrap_or(0));
            Ok(vec![Place::Driver(burn::cubecl::Device::Cuda(device))])
        }
        #[cfg(feature = "wgpu-untuned")]
        Choice::Vulkan(adapter) => {
            use burn::cubecl::device::WgpuBackend;
            // Without kernels as SPIR-V there is no device that is bound to Vulkan; on Linux it is the first that is tried.
            let bound =
                if cfg!(feature = "vulkan") { WgpuBackend::Vulkan } else { WgpuBackend::Auto };
            Ok(adapters(adapter, bound))
        }
        #[cfg(feature = "wgpu-untuned")]
        Choice::Wgpu(adapter) => Ok(adapters(adapter, burn::cubecl::device::WgpuBackend::Auto)),
        _ => Err(Error::Argument(format!(
            "{choice} is not in this build; it has {}",
            compiled().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// A card, or the graphics of the processor; a driver that only computes as one where it is named.
#[cfg(feature = "wgpu-untuned")]
fn adapters(adapter: Adapter, bound: burn::cubecl::device::WgpuBackend) -> Vec<Place> {
    use burn::cubecl::device::{WgpuDevice, WgpuDeviceKind};
    let kinds = match adapter {
        Adapter::Software => vec![WgpuDeviceKind::Cpu],
        Adapter::Card(index) => {
            let index = index.unwrap_or(0);
            vec![
                WgpuDeviceKind::DiscreteGpu(index),
                WgpuDeviceKind::IntegratedGpu(index),
                WgpuDeviceKind::VirtualGpu(index),
            ]
        }
    };
    let place = |kind| Place::Driver(burn::cubecl::Device::Wgpu(WgpuDevice::new(kind).on(bound)));
    kinds.into_iter().map(place).collect()
}
