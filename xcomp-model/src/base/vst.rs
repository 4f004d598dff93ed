//! The learned tokens of windows (VST) in a `config.json`: keys `beacon_*`.

use serde_json::{Value, json};

use crate::base::json::{count, invalid, missing, only};
use crate::error::ModelError;

/// What a model's learned tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VstConfig {
    /// The maps that they have of their own.
    pub maps: VstMaps,
    /// Visual tokens of a window (`beacon_window`).
    pub window: usize,
    /// Visual tokens for each learned one (`beacon_ratio`).
    pub ratios: Vec<usize>,
    /// The row of the embedding table that a learned token without a value begins as (`beacon_embed_init`).
    pub first_row: usize,
}

/// The maps that learned tokens have of their own (`beacon_param`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the words of `beacon_param`")]
pub struct VstMaps {
    /// Queries.
    pub q: bool,
    /// Keys.
    pub k: bool,
    /// Values.
    pub v: bool,
    /// The output of attention.
    pub o: bool,
    /// The two maps of the feed-forward block beside its gate.
    pub mlp: bool,
}

impl VstConfig {
    /// Reads them.
    ///
    /// # Errors
    /// If a key is missing or impossible, or asks for what is not computed.
    pub fn from_hf(config: &Value, vocab_size: usize) -> Result<Self, ModelError> {
        let window = count(config, "beacon_window")?;
        let wanted = [
            ("beacon_stride", json!(window)),
            ("beacon_attn", json!("full-coverage")),
            ("beacon_attend_prev", json!(true)),
            ("beacon_sink_size", json!(0)),
            ("beacon_pos", json!("interleave")),
            ("beacon_parallel_window", json!(1)),
            ("beacon_accum", json!(true)),
            ("enable_beacon", json!(true)),
        ];
        for (key, wanted) in wanted {
            only(config, key, &wanted)?;
        }
        Ok(Self {
            maps: maps(config)?,
            window,
            ratios: ratios(config)?,
            first_row: row(config, vocab_size)?,
        })
    }
}

impl VstConfig {
    /// Writes windows and ratios into a `config.json`: what a model was tuned to is what it answers with.
    pub fn state(&self, config: &mut Value) {
        config["beacon_window"] = json!(self.window);
        config["beacon_stride"] = json!(self.window);
        config["beacon_ratio"] = json!(self.ratios);
    }
}

fn maps(config: &Value) -> Result<VstMaps, ModelError> {
    let key = "beacon_param";
    let value = config.get(key).ok_or_else(|| missing(key))?;
    let wrong = || invalid(key, value, "a list of \"q\", \"k\", \"v\", \"o\" and \"mlp\"");
    let mut maps = VstMaps::default();
    for word in value.as_array().ok_or_else(wrong)? {
        match word.as_str().ok_or_else(wrong)? {
            "q" => maps.q = true,
            "k" => maps.k = true,
            "v" => maps.v = true,
            "o" => maps.o = true,
            "mlp" => maps.mlp = true,
            _ => return Err(wrong()),
        }
    }
    Ok(maps)
}

fn ratios(config: &Value) -> Result<Vec<usize>, ModelError> {
    let key = "beacon_ratio";
    let value = config.get(key).ok_or_else(|| missing(key))?;
    let ratios: Option<Vec<usize>> = serde_json::from_value(value.clone()).ok();
    ratios
        .filter(|ratios| !ratios.is_empty())
        .ok_or_else(|| invalid(key, value, "a list of one count or more"))
}

/// Of a list of tokens the first, as the reference takes it.
fn row(config: &Value, vocab_size: usize) -> Result<usize, ModelError> {
    let key = match config.get("beacon_embed_init").filter(|word| !word.is_null()) {
        None => "eos_token_id",
        Some(word) if *word == json!("eos") => "eos_token_id",
        Some(word) if *word == json!("bos") => "bos_token_id",
        Some(word) => return Err(invalid("beacon_embed_init", word, "\"eos\" or \"bos\"")),
    };
    let value = config.get(key).ok_or_else(|| missing(key))?;
    let id = value.as_array().map_or(Some(value), |ids| ids.first()).and_then(Value::as_u64);
    let id = id.filter(|id| (*id as usize) < vocab_size);
    let expected = format!("a token below vocab_size, which is {vocab_size}");
    id.map(|id| id as usize).ok_or_else(|| invalid(key, value, &expected))
}
