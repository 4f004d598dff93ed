//! From a Hugging Face `config.json` to a family and the sizes of its model.

use std::path::Path;

use serde_json::Value;

use crate::base::family::Family;
pub use crate::base::family::ModelConfig;
use crate::base::llava_next_video::{LLAVA_NEXT_VIDEO, LLAVA_NEXT_VIDEO_ORIGINAL};
use crate::base::llava_video::LLAVA_VIDEO;
use crate::base::video_xl::VIDEO_XL;
use crate::base::videochat_flash::VIDEOCHAT_FLASH;
use crate::error::ModelError;

/// The families that are known, by what their `config.json` says.
pub const FAMILIES: &[&Family] =
    &[&VIDEOCHAT_FLASH, &VIDEO_XL, &LLAVA_VIDEO, &LLAVA_NEXT_VIDEO, &LLAVA_NEXT_VIDEO_ORIGINAL];

impl Family {
    /// The family of a `config.json`; where none is recognised the first, whose reading says what is missing.
    pub fn of(config: &Value) -> &'static Self {
        FAMILIES.iter().find(|family| (family.recognises)(config)).unwrap_or(&FAMILIES[0])
    }
}

impl ModelConfig {
    /// Reads the sizes of a model of any known family.
    ///
    /// # Errors
    /// If a key is missing or its value impossible; the error names it.
    pub fn from_hf(config: &Value) -> Result<Self, ModelError> {
        (Family::of(config).read)(config)
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, or describes no model.
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        let at = |source| ModelError::ConfigFile { path: path.into(), source };
        let text = std::fs::read_to_string(path).map_err(|error| at(error.into()))?;
        let config = serde_json::from_str(&text).map_err(|error| at(error.into()))?;
        Self::from_hf(&config).map_err(|error| at(error.into()))
    }
}
