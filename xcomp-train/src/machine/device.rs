//! Devices by the words of the command line.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use burn::tensor::{Device, Tensor};
use xcomp_model::transfer::read_number;

use crate::error::Error;

/// A device as `--device` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The processor.
    Cpu,
    /// A CUDA device by index.
    Cuda(usize),
    /// A Vulkan device by index.
    Vulkan(usize),
    /// The first of CUDA, Vulkan and CPU that works.
    Auto,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (kind, index) = word.split_once(':').unwrap_or((word, "0"));
        let wrong = || format!("`{word}` is no device; there are cpu, cuda[:i], vulkan[:i], auto");
        let index: usize = index.parse().map_err(|_| wrong())?;
        match kind {
            "cpu" if !word.contains(':') => Ok(Choice::Cpu),
            "auto" if !word.contains(':') => Ok(Choice::Auto),
            "cuda" => Ok(Choice::Cuda(index)),
            "vulkan" => Ok(Choice::Vulkan(index)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Cpu => write!(f, "cpu"),
            Choice::Cuda(index) => write!(f, "cuda:{index}"),
            Choice::Vulkan(index) => write!(f, "vulkan:{index}"),
            Choice::Auto => write!(f, "auto"),
        }
    }
}

/// The first device of every backend in this build, best first.
pub fn compiled() -> Vec<Choice> {
    let mut choices = vec![];
    if cfg!(feature = "cuda") {
        choices.push(Choice::Cuda(0));
    }
    if cfg!(feature = "vulkan") {
        choices.push(Choice::Vulkan(0));
    }
    if cfg!(feature = "flex") {
        choices.push(Choice::Cpu);
    }
    choices
}

/// The device, once it has added two numbers.
///
/// # Errors
/// If the backend is not in this build, or the device does not answer.
pub fn open(choice: Choice) -> Result<Device, Error> {
    if choice == Choice::Auto {
        let works = compiled().into_iter().find_map(|choice| answering(choice).ok());
        return works.ok_or_else(|| Error::Argument("no device of this build works".into()));
    }
    answering(choice)
}

/// Whether a device adds two numbers.
///
/// # Errors
/// As [`open`].
pub fn probe(choice: Choice) -> Result<(), Error> {
    answering(choice).map(drop)
}

/// The first device of a choice that adds two numbers.
fn answering(choice: Choice) -> Result<Device, Error> {
    for device in devices(choice)? {
        match one_and_one(&device) {
            Some(sum) if (sum - 2.0).abs() < f32::EPSILON => return Ok(device),
            Some(sum) => return Err(Error::Argument(format!("{choice} computes 1 + 1 = {sum}"))),
            None => {}
        }
    }
    Err(Error::Argument(format!("{choice} does not answer; is its driver there?")))
}

/// The sum, if the device answers: a missing driver panics inside the backend.
fn one_and_one(device: &Device) -> Option<f32> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let sum = catch_unwind(AssertUnwindSafe(|| read_number(Tensor::<1>::ones([2], device).sum())));
    std::panic::set_hook(hook);
    sum.ok()
}

/// What a choice may mean, best first.
fn devices(choice: Choice) -> Result<Vec<Device>, Error> {
    match choice {
        #[cfg(feature = "flex")]
        Choice::Cpu => Ok(vec![Device::flex()]),
        #[cfg(feature = "cuda")]
        Choice::Cuda(index) => Ok(vec![Device::cuda(index)]),
        #[cfg(feature = "vulkan")]
        Choice::Vulkan(index) => {
            // A card, or the graphics of the processor; not a driver that only computes as one.
            use burn::tensor::DeviceKind::{DiscreteGpu, IntegratedGpu, VirtualGpu};
            let kinds = [DiscreteGpu(index), IntegratedGpu(index), VirtualGpu(index)];
            Ok(kinds.map(Device::vulkan).to_vec())
        }
        _ => Err(Error::Argument(format!(
            "{choice} is not in this build; it has {}",
            compiled().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_devices() {
        let check = |word: &str, choice| assert_eq!(word.parse(), Ok(choice));
        check("cpu", Choice::Cpu);
        check("auto", Choice::Auto);
        check("cuda", Choice::Cuda(0));
        check("cuda:3", Choice::Cuda(3));
        check("vulkan:1", Choice::Vulkan(1));
        for wrong in ["", "gpu", "cpu:0", "cuda:", "cuda:x"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }
}
