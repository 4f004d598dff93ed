//! How a sample is looked at before it is trained on.

use crate::sample::load::LoadOptions;

/// How records and their media are looked at.
#[derive(Debug, Clone)]
pub struct LintOptions {
    /// How records would become samples.
    pub load: LoadOptions,
    /// Whether the first wanted frame of each file is decoded, not only its packets read.
    pub decode: bool,
    /// Threads; 0 means one a core.
    pub threads: usize,
}
