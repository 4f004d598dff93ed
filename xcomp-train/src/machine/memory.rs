//! Memory that this process and its device hold, and what is free.

use burn::tensor::Device;
use xcomp_model::ops::on_cpu;

/// Reads the most memory that a device has held.
#[derive(Debug, Clone)]
pub struct MemoryMeter {
    device: Device,
    peak_bytes: u64,
}

impl MemoryMeter {
    /// Of a device.
    pub fn of(device: &Device) -> Self {
        Self { device: device.clone().inner(), peak_bytes: 0 }
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// The most so far; on a CPU that of the process, `None` where the backend does not say. Waits for a GPU.
    ///
    /// A GPU's pools keep freed pages for reuse: what they have reserved at a reading is the peak,
    /// unless pages were given back since the reading before it.
    pub fn peak_bytes(&mut self) -> Option<u64> {
        if on_cpu(&self.device) {
            return Some(peak_rss_bytes());
        }
        self.peak_bytes = self.peak_bytes.max(reserved_bytes(&self.device)?);
        Some(self.peak_bytes)
    }
}

/// What the pools of a device with memory of its own have reserved now, in bytes; `None` where the backend does not say.
pub fn reserved_bytes(device: &Device) -> Option<u64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}

/// The most memory this process has held, in bytes (`VmHWM` of Linux); 0 where the system does not say.
pub fn peak_rss_bytes() -> u64 {
    bytes_of("/proc/self/status", "VmHWM:").unwrap_or(0)
}

/// The memory this process holds now, in bytes.
pub fn rss_bytes() -> u64 {
    bytes_of("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// Bytes that this machine, or the group of processes that this one is held in, can still give; `None` if unknown.
pub fn available_bytes() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max");
    let used = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
    let group = limit.map(|limit| limit.saturating_sub(used));
    let machine = bytes_of("/proc/meminfo", "MemAvailable:");
    machine.into_iter().chain(group).min()
}

/// The memory of this machine, in bytes; `None` where the system does not say.
pub fn total_bytes() -> Option<u64> {
    bytes_of("/proc/meminfo", "MemTotal:")
}

/// A figure in KiB of a file of Linux, in bytes.
fn bytes_of(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_process_and_machine_is_known() {
        let held = rss_bytes(); // before the peak: other tests allocate meanwhile
        assert!(held > 0 && peak_rss_bytes() >= held);
        assert!(available_bytes().is_some_and(|bytes| bytes > 0));
        assert!(MemoryMeter::of(&Device::flex()).peak_bytes().is_some_and(|bytes| bytes > 0));
    }
}
