//! Sizes of the model, from a Hugging Face `config.json`.

use std::path::Path;

use serde_json::Value;

use crate::base::connector::ConnectorConfig;
use crate::base::family::Family;
use crate::base::llm::LlmConfig;
use crate::base::vision::VisionConfig;
use crate::error::ModelError;

/// Sizes of the whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Where it comes from: names of tensors, pixels, template.
    pub family: &'static Family,
    /// The language model.
    pub llm: LlmConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// The connector.
    pub connector: ConnectorConfig,
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

    /// Visual tokens of a frame, as they enter the language model.
    pub fn tokens_per_frame(&self) -> usize {
        self.connector.tokens_per_frame()
    }
}
