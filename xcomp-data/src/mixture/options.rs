//! What of a mixture is used, and by which rules.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::mixture::json_scan::JsonLimits;
use crate::mixture::turns::SystemTurn;
use crate::mixture::visual_rule::VisualRule;

/// What of the mixture is used and what it may refer to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixtureOptions {
    /// Part of each dataset's slice that is kept, from and to a fraction; the released run keeps `[0, 0.25]`.
    pub keep: (f64, f64),
    /// Seed of the second shuffle, before the keep range; the released run has 42. `None`: no second shuffle.
    pub keep_seed: Option<u64>,
    /// Whether media paths may be absolute or contain `..`.
    pub allow_outside_paths: bool,
    /// How many images and videos a sample may show; other records are dropped.
    pub visuals: VisualRule,
    /// What a system turn does.
    pub system: SystemTurn,
    /// Whether one of the first three media files of each dataset must exist.
    pub check_media: bool,
    /// Where annotation files and folders of media lie that the mixture names by no path of this machine.
    pub elsewhere: BTreeMap<String, PathBuf>,
    /// Limits of annotation files.
    pub json: JsonLimits,
}

impl Default for MixtureOptions {
    fn default() -> Self {
        Self {
            keep: (0.0, 1.0),
            keep_seed: None,
            allow_outside_paths: false,
            visuals: VisualRule::ExactlyOne,
            system: SystemTurn::default(),
            check_media: true,
            elsewhere: BTreeMap::new(),
            json: JsonLimits::default(),
        }
    }
}

impl MixtureOptions {
    /// The subset of the released run: 25 % of each slice, after a shuffle with seed 42.
    pub fn released() -> Self {
        Self { keep: (0.0, 0.25), keep_seed: Some(42), ..Self::default() }
    }
}
