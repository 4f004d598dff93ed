//! Devices that are tried in another process before they are opened in this one.

use super::Choice;
use super::connect::{Opened, compiled, connect};
use super::probe::probe;
use crate::error::Error;

/// The device, once it has added two numbers: first in another process, so that a driver that crashes or hangs ends that one alone.
///
/// # Errors
/// If the backend is not in this build, or the device does not answer.
pub fn open(choice: Choice) -> Result<Opened, Error> {
    open_of_rank(choice, 0)
}

/// The device of a rank among those of its machine, as [`open`].
///
/// # Errors
/// As [`open`].
pub fn open_of_rank(choice: Choice, local_rank: usize) -> Result<Opened, Error> {
    if choice != Choice::Auto {
        return tried(choice.of_rank(local_rank));
    }
    let mut passed_over = vec![];
    for choice in compiled() {
        match tried(choice.of_rank(local_rank)) {
            Ok(opened) => return Ok(Opened { passed_over, ..opened }),
            Err(error) => passed_over.push(error.to_string()),
        }
    }
    let why = if passed_over.is_empty() { "it has none".into() } else { passed_over.join("; ") };
    Err(Error::Argument(format!("no device of this build works: {why}")))
}

/// A device that a probe has shown to work, opened here.
fn tried(choice: Choice) -> Result<Opened, Error> {
    probe(choice)?;
    connect(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_answers_and_says_what_it_is() {
        let opened = open(Choice::Cpu).unwrap();
        assert_eq!((opened.choice, opened.passed_over.len()), (Choice::Cpu, 0));
        assert!(opened.about.memory_bytes.is_some());
    }

    #[cfg(not(any(feature = "cuda", feature = "wgpu-untuned")))]
    #[test]
    fn a_backend_that_was_not_built_is_named_with_those_that_were() {
        let error = open("vulkan:cpu".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "vulkan:cpu is not in this build; it has cpu");
        let opened = open(Choice::Auto).unwrap();
        assert_eq!((opened.choice, opened.passed_over.len()), (Choice::Cpu, 0));
    }
}
