//! A folder's `generation_config.json`: what ends an answer, and how it is drawn where nobody says otherwise.

use std::path::Path;

use serde::Deserialize;
use xcomp_data::Tokenizer;
use xcomp_model::generate::sample::Sampling;

use crate::error::Error;
use crate::machine::files::{at, read_text};

/// Hugging Face's `top_k` where a folder that samples states none (`GenerationConfig`).
const TOP_K: usize = 50;

/// How a folder wants answers to be generated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Generation {
    /// Tokens that end an answer: those of the chat template and the folder's `eos_token_id`.
    pub(super) stop_tokens: Vec<i32>,
    /// How a token is drawn; the best one, without a penalty, where the folder says nothing.
    pub(super) sampling: Sampling,
}

/// The keys that are honoured; Hugging Face's names.
#[derive(Debug, Deserialize)]
struct Stated {
    eos_token_id: Option<OneOrMany>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(i32),
    Many(Vec<i32>),
}

impl Generation {
    /// Reads the folder's file, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or a number in it makes no sense.
    pub(super) fn of(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let path = folder.join("generation_config.json");
        let text = if path.is_file() { read_text(&path)? } else { "{}".into() };
        let stated: Stated =
            serde_json::from_str(&text).map_err(|error| at("cannot read", &path)(error.into()))?;
        let mut stop_tokens = tokenizer.ends().to_vec();
        match &stated.eos_token_id {
            Some(OneOrMany::One(id)) => stop_tokens.push(*id),
            Some(OneOrMany::Many(ids)) => stop_tokens.extend(ids),
            None => {}
        }
        let sampling = stated
            .sampling()
            .checked()
            .map_err(|what| Error::Argument(format!("{}: {what}", path.display())))?;
        Ok(Self { stop_tokens, sampling })
    }
}

impl Stated {
    /// The penalty holds always, the rest where tokens are drawn at random.
    fn sampling(&self) -> Sampling {
        let repetition_penalty = self.repetition_penalty.unwrap_or(1.0);
        if self.do_sample == Some(true) {
            Sampling {
                temperature: self.temperature.unwrap_or(1.0),
                top_k: self.top_k.unwrap_or(TOP_K),
                top_p: self.top_p.unwrap_or(1.0),
                repetition_penalty,
            }
        } else {
            Sampling { repetition_penalty, ..Sampling::GREEDY }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(text: &str) -> Option<Sampling> {
        serde_json::from_str::<Stated>(text).unwrap().sampling().checked().ok()
    }

    #[test]
    fn numbers_of_sampling_count_where_tokens_are_drawn() {
        let check = |text: &str, temperature, top_k, top_p, repetition_penalty| {
            let want = Sampling { temperature, top_k, top_p, repetition_penalty };
            assert_eq!(sampling(text), Some(want), "{text}");
        };
        check("{}", 0.0, 0, 1.0, 1.0);
        check(r#"{"temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1}"#, 0.0, 0, 1.0, 1.1);
        check(r#"{"do_sample": true}"#, 1.0, TOP_K, 1.0, 1.0);
        let qwen = r#"{"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05}"#;
        check(qwen, 0.7, 20, 0.8, 1.05);
        assert_eq!(sampling(r#"{"repetition_penalty": 0}"#), None);
        assert_eq!(sampling(r#"{"do_sample": true, "temperature": -1}"#), None);
    }
}
