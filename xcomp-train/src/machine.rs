//! The machine: devices, memory, files, repeatable random numbers, and signals to stop.

pub mod device;
pub mod files;
pub mod locks;
pub mod memory;
pub mod random;
pub mod stop;
