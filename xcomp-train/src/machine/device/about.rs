//! What a device is: its name, its memory, its driver.

use std::fmt;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// A device as it names itself; what it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name of the part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many bytes it can hold at once: those of the card, or of this machine for what computes on its processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The driver's version, in the words of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

impl About {
    /// The processor of this machine.
    pub(super) fn processor() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = text.lines().find(|line| line.starts_with("model name"));
        let name = name.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().into());
        Self { name, memory_bytes: crate::machine::memory::total_bytes(), driver: None }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.as_deref().unwrap_or("a device without a name"))?;
        if let Some(bytes) = self.memory_bytes {
            write!(f, ", {:.1} GiB", bytes as f64 / f64::from(1 << 30))?;
        }
        match &self.driver {
            Some(driver) => write!(f, ", driver {driver}"),
            None => Ok(()),
        }
    }
}

/// The kind of a device, by its interface and the name of the card: another one rounds in another way.
pub fn kind(device: &Device) -> String {
    let device = device.clone().inner();
    let interface = format!("{device:?}").replace(|c: char| c.is_ascii_digit(), "");
    match card(&device) {
        Some(card) => format!("{interface} {card}"),
        None => interface,
    }
}

/// What the card calls itself; a processor is no card.
#[cfg(any(feature = "cuda", feature = "wgpu-untuned"))]
fn card(device: &Device) -> Option<String> {
    device.identity().map(|card| card.name)
}

#[cfg(not(any(feature = "cuda", feature = "wgpu-untuned")))]
fn card(_: &Device) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_says_what_it_knows_of_itself() {
        let card = About {
            name: Some("H100".into()),
            memory_bytes: Some(80 << 30),
            driver: Some("13.0".into()),
        };
        assert_eq!(card.to_string(), "H100, 80.0 GiB, driver 13.0");
        assert_eq!(About::default().to_string(), "a device without a name");
        let read: About = serde_json::from_str("{}").unwrap();
        assert_eq!(read, About::default());
        assert!(About::processor().memory_bytes.is_some_and(|bytes| bytes > 0));
    }
}
