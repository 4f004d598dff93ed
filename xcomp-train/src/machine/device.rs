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
    /// A CUDA device by index; without one the first, or that of the rank.
    Cuda(Option<usize>),
    /// A Vulkan device in the same way.
    Vulkan(Option<usize>),
    /// The first of CUDA, Vulkan and CPU that works.
    Auto,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let wrong = || format!("`{word}` is no device; there are cpu, cuda[:i], vulkan[:i], auto");
        let (kind, index) = match word.split_once(':') {
            Some((kind, index)) => (kind, Some(index.parse().map_err(|_| wrong())?)),
            None => (word, None),
        };
        match kind {
            "cpu" if index.is_none() => Ok(Choice::Cpu),
            "auto" if index.is_none() => Ok(Choice::Auto),
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
            Choice::Cuda(Some(index)) => write!(f, "cuda:{index}"),
            Choice::Vulkan(Some(index)) => write!(f, "vulkan:{index}"),
            Choice::Cuda(None) => write!(f, "cuda"),
            Choice::Vulkan(None) => write!(f, "vulkan"),
            Choice::Auto => write!(f, "auto"),
        }
    }
}

impl Choice {
    /// What it means to this rank among those of its machine: where no card is named, each has its own.
    #[must_use]
    pub fn of_rank(self, local_rank: usize) -> Self {
        match self {
            Choice::Cuda(None) => Choice::Cuda(Some(local_rank)),
            Choice::Vulkan(None) => Choice::Vulkan(Some(local_rank)),
            other => other,
        }
    }
}

/// Every backend of this build, best first.
pub fn compiled() -> Vec<Choice> {
    let mut choices = vec![];
    if cfg!(feature = "cuda") {
        choices.push(Choice::Cuda(None));
    }
    if cfg!(feature = "vulkan") {
        choices.push(Choice::Vulkan(None));
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
    open_of_rank(choice, 0)
}

/// The device of a rank among those of its machine, once it has added two numbers.
///
/// # Errors
/// As [`open`].
pub fn open_of_rank(choice: Choice, local_rank: usize) -> Result<Device, Error> {
    if choice == Choice::Auto {
        let own = compiled().into_iter().map(|choice| choice.of_rank(local_rank));
        let works = own.into_iter().find_map(|choice| answering(choice).ok());
        return works.ok_or_else(|| Error::Argument("no device of this build works".into()));
    }
    answering(choice.of_rank(local_rank))
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
        Choice::Cuda(index) => Ok(vec![Device::cuda(index.unwrap_or(0))]),
        #[cfg(feature = "vulkan")]
        Choice::Vulkan(index) => {
            // A card, or the graphics of the processor; not a driver that only computes as one.
            use burn::tensor::DeviceKind::{DiscreteGpu, IntegratedGpu, VirtualGpu};
            let index = index.unwrap_or(0);
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
        check("cuda", Choice::Cuda(None));
        check("cuda:3", Choice::Cuda(Some(3)));
        check("vulkan:1", Choice::Vulkan(Some(1)));
        for wrong in ["", "gpu", "cpu:0", "cuda:", "cuda:x"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rank_has_a_card_of_its_own_unless_one_is_named() {
        for (word, of_second) in
            [("cuda", "cuda:1"), ("vulkan", "vulkan:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu")]
        {
            let choice: Choice = word.parse().unwrap();
            assert_eq!(choice.of_rank(1).to_string(), of_second);
        }
    }
}
