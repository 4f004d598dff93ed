//! One sample: loaded, and as the trainer takes it.

pub mod example;
pub(crate) mod load;
pub(crate) mod options;
