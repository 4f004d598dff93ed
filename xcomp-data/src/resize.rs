//! placeholder

use serde::{Deserialize, Serialize};

/// How pictures are brought to the size of the vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Pillow's antialiased bicubic, bit for bit.
    #[default]
    Exact,
    /// Faster and coarser.
    Fast,
}
