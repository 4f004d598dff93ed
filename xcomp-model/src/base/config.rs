//! Sizes of the model, from a Hugging Face `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::vision_config::{ProjectorConfig, VisionConfig};
use crate::error::ModelError;

/// Sizes of the whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The language model.
    pub llm: LlmConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// The connector.
    pub projector: ProjectorConfig,
}

impl ModelConfig {
    /// Reads the sizes of a VideoChat-Flash-shaped model.
    ///
    /// # Errors
    /// If a key is missing or its value impossible; the error names it.
    pub fn from_hf(config: &Value) -> Result<Self, ModelError> {
        let llm = LlmConfig::from_hf(config)?;
        let vision = VisionConfig::from_hf(config)?;
        let projector = ProjectorConfig::from_hf(config, &vision)?;
        Ok(Self { llm, vision, projector })
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

/// The Qwen2 part of `config.json`; names are Hugging Face's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmConfig {
    /// Rows of the embedding table (more than the tokenizer has tokens).
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Epsilon of every norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the head is the embedding table.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

impl LlmConfig {
    /// Reads the sizes of the language model.
    ///
    /// # Errors
    /// If a key is missing, of another type, or impossible.
    pub fn from_hf(config: &Value) -> Result<Self, ModelError> {
        let llm: Self = Self::deserialize(config)
            .map_err(|error| ModelError::ConfigLlm { message: error.to_string() })?;
        llm.check()?;
        Ok(llm)
    }

    fn check(&self) -> Result<(), ModelError> {
        let invalid = |key, found: usize, expected: String| {
            Err(ModelError::ConfigInvalid { key, found: found.to_string(), expected })
        };
        if self.num_hidden_layers == 0 {
            return invalid("num_hidden_layers", 0, "at least one layer".into());
        }
        let heads = self.num_attention_heads;
        if heads == 0 || !self.hidden_size.is_multiple_of(2 * heads) {
            let expected = format!("a number of heads of even width in {}", self.hidden_size);
            return invalid("num_attention_heads", heads, expected);
        }
        let kv_heads = self.num_key_value_heads;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return invalid("num_key_value_heads", kv_heads, format!("a divisor of {heads}"));
        }
        Ok(())
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(key: &str, value: &Value, want: &str) {
        let mut config = json!({
            "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        });
        assert!(LlmConfig::from_hf(&config).is_ok());
        config[key] = value.clone();
        assert_eq!(LlmConfig::from_hf(&config).unwrap_err().to_string(), want);
    }

    #[test]
    fn impossible_sizes_are_named() {
        check(
            "num_attention_heads",
            &json!(3),
            "config.json: `num_attention_heads` is 3, expected a number of heads of even width in 8",
        );
        check(
            "num_key_value_heads",
            &json!(4),
            "config.json: `num_key_value_heads` is 4, expected a divisor of 2",
        );
        check(
            "num_hidden_layers",
            &json!(0),
            "config.json: `num_hidden_layers` is 0, expected at least one layer",
        );
    }
}
