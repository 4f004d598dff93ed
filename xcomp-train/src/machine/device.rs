//! Devices: their words on the command line, and how they are opened and asked what they are.

mod about;
mod connect;
mod open;
mod probe;

use std::fmt;
use std::str::FromStr;

pub use about::{About, kind};
pub use connect::{Opened, compiled, connect};
pub use open::{open, open_of_rank};
pub use probe::{PROBE_VERB, answer_probe, probe};

/// A device as `--device` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The processor.
    Cpu,
    /// A CUDA device by index; without one the first, or that of the rank.
    Cuda(Option<usize>),
    /// A Vulkan device, with kernels as SPIR-V where the build has them, else as WGSL.
    Vulkan(Adapter),
    /// A device of the system's own interface (Vulkan, Metal, DX12).
    Wgpu(Adapter),
    /// The first of CUDA, Vulkan, wgpu and CPU that works.
    Auto,
}

/// Which device of an interface for graphics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// A card, or the graphics of the processor, by index; without one the first, or that of the rank.
    Card(Option<usize>),
    /// A driver that only computes as a card would, on the processor: for tests.
    Software,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{word}` is no device; there are cpu, cuda[:i], vulkan[:i], wgpu[:i], auto, \
                 and vulkan:cpu or wgpu:cpu for a driver in software"
            )
        };
        let (kind, place) = match word.split_once(':') {
            Some((kind, place)) => (kind, Some(place)),
            None => (word, None),
        };
        let index = || place.map(|place| place.parse().map_err(|_| wrong())).transpose();
        let adapter = || match place {
            Some("cpu") => Ok(Adapter::Software),
            _ => index().map(Adapter::Card),
        };
        match kind {
            "cpu" if place.is_none() => Ok(Choice::Cpu),
            "auto" if place.is_none() => Ok(Choice::Auto),
            "cuda" => Ok(Choice::Cuda(index()?)),
            "vulkan" => Ok(Choice::Vulkan(adapter()?)),
            "wgpu" => Ok(Choice::Wgpu(adapter()?)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, place) = match self {
            Choice::Cpu => ("cpu", Adapter::Card(None)),
            Choice::Cuda(index) => ("cuda", Adapter::Card(*index)),
            Choice::Vulkan(adapter) => ("vulkan", *adapter),
            Choice::Wgpu(adapter) => ("wgpu", *adapter),
            Choice::Auto => ("auto", Adapter::Card(None)),
        };
        match place {
            Adapter::Card(None) => write!(f, "{kind}"),
            Adapter::Card(Some(index)) => write!(f, "{kind}:{index}"),
            Adapter::Software => write!(f, "{kind}:cpu"),
        }
    }
}

impl Choice {
    /// What it means to this rank among those of its machine: where no card is named, each has its own.
    #[must_use]
    pub fn of_rank(self, local_rank: usize) -> Self {
        let own = Some(local_rank);
        match self {
            Choice::Cuda(None) => Choice::Cuda(own),
            Choice::Vulkan(Adapter::Card(None)) => Choice::Vulkan(Adapter::Card(own)),
            Choice::Wgpu(Adapter::Card(None)) => Choice::Wgpu(Adapter::Card(own)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_devices() {
        let check = |word: &str, choice: Choice| {
            assert_eq!(word.parse(), Ok(choice));
            assert_eq!(choice.to_string(), word);
        };
        check("cpu", Choice::Cpu);
        check("auto", Choice::Auto);
        check("cuda", Choice::Cuda(None));
        check("cuda:3", Choice::Cuda(Some(3)));
        check("vulkan", Choice::Vulkan(Adapter::Card(None)));
        check("vulkan:1", Choice::Vulkan(Adapter::Card(Some(1))));
        check("vulkan:cpu", Choice::Vulkan(Adapter::Software));
        check("wgpu:0", Choice::Wgpu(Adapter::Card(Some(0))));
        check("wgpu:cpu", Choice::Wgpu(Adapter::Software));
        for wrong in ["", "gpu", "cpu:0", "auto:1", "cuda:", "cuda:x", "cuda:cpu", "vulkan:gpu"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rank_has_a_card_of_its_own_unless_one_is_named() {
        for (word, of_second) in [
            ("cuda", "cuda:1"),
            ("vulkan", "vulkan:1"),
            ("wgpu", "wgpu:1"),
            ("vulkan:cpu", "vulkan:cpu"),
            ("cuda:0", "cuda:0"),
            ("cpu", "cpu"),
        ] {
            let choice: Choice = word.parse().unwrap();
            assert_eq!(choice.of_rank(1).to_string(), of_second);
        }
    }
}
