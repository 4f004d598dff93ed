//! Sizes of the language model, and what of its `config.json` would change numbers that are computed here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::json::{invalid, only};
use crate::base::vst::VstConfig;
use crate::error::ModelError;

/// The part of `config.json` that describes Qwen2 or `LLaMA`; names are Hugging Face's.
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
    /// Whether queries, keys and values have a bias (Qwen2), or no map has one (`LLaMA`).
    #[serde(skip, default = "qwen2_has_biases")]
    pub qkv_bias: bool,
    /// What rotary positions are divided by (`rope_scaling` of type `linear`).
    #[serde(skip, default = "unscaled")]
    pub rope_factor: f64,
    /// The learned tokens of windows, where it has them (Video-XL).
    #[serde(skip)]
    pub vst: Option<VstConfig>,
}

fn qwen2_has_biases() -> bool {
    true
}

fn unscaled() -> f64 {
    1.0
}

/// What a `LLaMA`'s `config.json` may leave out (`configuration_llama.py`); as many key heads as heads.
fn llama_defaults() -> Value {
    json!({
        "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
    })
}

impl LlmConfig {
    /// Reads the sizes of a Qwen2.
    ///
    /// # Errors
    /// If a key is missing, of another type, or impossible.
    pub fn from_hf(config: &Value) -> Result<Self, ModelError> {
        Self::read(config, true)
    }

    /// Reads the sizes of a `LLaMA`.
    ///
    /// # Errors
    /// If a key is of another type, or impossible.
    pub fn llama(config: &Value) -> Result<Self, ModelError> {
        let mut all = llama_defaults();
        for (key, value) in config.as_object().into_iter().flatten() {
            if !value.is_null() {
                all[key] = value.clone();
            }
        }
        if all.get("num_key_value_heads").is_none() {
            all["num_key_value_heads"] = all["num_attention_heads"].clone();
        }
        Self::read(&all, false)
    }

    fn read(config: &Value, qkv_bias: bool) -> Result<Self, ModelError> {
        let llm: Self = Self::deserialize(config)
            .map_err(|error| ModelError::ConfigLlm { message: error.to_string() })?;
        let llm = Self { qkv_bias, rope_factor: rope_factor(config)?, ..llm };
        llm.check()?;
        llm.check_computed(config)?;
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

    /// Refuses keys that ask for numbers which are not computed here: none is ignored.
    fn check_computed(&self, config: &Value) -> Result<(), ModelError> {
        let at = |path: &str| config.pointer(path).filter(|value| !value.is_null());
        only(config, "hidden_act", &json!("silu"))?;
        only(config, "head_dim", &json!(self.head_dim()))?;
        let rope = config.get("rope_parameters").unwrap_or(&Value::Null);
        for place in [config, rope] {
            only(place, "rope_type", &json!("default"))?;
        }
        let slides = at("/use_sliding_window").is_none_or(|used| *used != json!(false));
        if let Some(window) = at("/sliding_window").filter(|_| slides) {
            let expected = "null, or `use_sliding_window` false: every token sees all before it";
            return Err(invalid("sliding_window", window, expected));
        }
        let bias = at("/attention_bias").filter(|bias| self.qkv_bias || **bias != json!(false));
        if let Some(bias) = bias {
            let expected = if self.qkv_bias {
                "no such key: queries, keys and values have a bias, the output has none"
            } else {
                "false: no map has a bias"
            };
            return Err(invalid("attention_bias", bias, expected));
        }
        only(config, "mlp_bias", &json!(false))?;
        let full = |kinds: &Value| {
            let all =
                |kinds: &Vec<Value>| kinds.iter().all(|kind| *kind == json!("full_attention"));
            kinds.as_array().is_some_and(all)
        };
        match at("/layer_types").filter(|kinds| !full(kinds)) {
            Some(kinds) => Err(invalid("layer_types", kinds, "\"full_attention\" in every layer")),
            None => Ok(()),
        }
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// What `rope_scaling` divides positions by.
fn rope_factor(config: &Value) -> Result<f64, ModelError> {
    let Some(scaling) = config.get("rope_scaling").filter(|scaling| !scaling.is_null()) else {
        return Ok(1.0);
    };
    let kind = ["rope_type", "type"].into_iter().find_map(|key| scaling.get(key)?.as_str());
    let factor = scaling.get("factor").and_then(Value::as_f64);
    match (kind, factor) {
        (Some("default"), _) => Ok(1.0),
        (Some("linear"), Some(factor)) if factor >= 1.0 && factor.is_finite() => Ok(factor),
        _ => {
            let expected = "null, or of type \"linear\" with a factor of 1 or more";
            Err(invalid("rope_scaling", scaling, expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn small() -> Value {
        json!({
            "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        })
    }

    fn check(key: &str, value: &Value, want: &str) {
        let mut config = small();
        assert!(LlmConfig::from_hf(&config).is_ok());
        config[key] = value.clone();
        assert_eq!(LlmConfig::from_hf(&config).unwrap_err().to_string(), want);
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        let refused = |key: &str, value: Value, accepted: Value| {
            let mut config = small();
            config[key] = accepted;
            assert!(LlmConfig::from_hf(&config).is_ok(), "{config}");
            config[key] = value;
            let told = LlmConfig::from_hf(&config).unwrap_err().to_string();
            assert!(told.starts_with(&format!("config.json: `{key}` is ")), "{told}");
        };
        refused("hidden_act", json!("gelu"), json!("silu"));
        refused("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), json!(null));
        refused("rope_scaling", json!({"type": "linear"}), json!({"rope_type": "default"}));
        let linear = json!({"type": "linear", "factor": 2.5});
        refused("rope_scaling", json!({"type": "linear", "factor": 0.0}), linear);
        refused("rope_type", json!("llama3"), json!("default"));
        refused("sliding_window", json!(4096), json!(null));
        refused("attention_bias", json!(true), json!(null));
        refused("attention_bias", json!(false), json!(null));
        refused("head_dim", json!(8), json!(4));
        let full = json!(["full_attention", "full_attention"]);
        refused("layer_types", json!(["full_attention", "sliding_attention"]), full);
        let mut unused = small();
        unused["sliding_window"] = json!(32768);
        unused["use_sliding_window"] = json!(false);
        assert!(LlmConfig::from_hf(&unused).is_ok());
    }

    #[test]
    fn a_llama_leaves_out_what_is_usual_and_has_no_bias() {
        let read = LlmConfig::llama(&json!({"vocab_size": 32_064, "rms_norm_eps": 1e-5})).unwrap();
        assert_eq!(
            (read.num_key_value_heads, read.num_hidden_layers, read.qkv_bias),
            (32, 32, false)
        );
        let mut config = small();
        config["attention_bias"] = json!(false);
        config["rope_scaling"] = json!({"rope_type": "linear", "factor": 2.5});
        let read = LlmConfig::llama(&config).unwrap();
        assert_eq!((read.num_key_value_heads, read.rope_factor.to_bits()), (1, 2.5_f64.to_bits()));
        for key in ["attention_bias", "mlp_bias"] {
            let mut config = config.clone();
            config[key] = json!(true);
            let told = LlmConfig::llama(&config).unwrap_err().to_string();
            assert!(told.starts_with(&format!("config.json: `{key}` is true")), "{told}");
        }
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
