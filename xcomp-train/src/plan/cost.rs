//! What a run costs, from `config.json` and the recipe alone: parameters, FLOPs, bytes.

pub mod flops;
pub mod layers;
pub mod memory;
mod moment;
pub mod parameters;
pub mod running;

use serde::Serialize;

/// The size of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SampleSize {
    /// Frames; 1 for an image.
    pub frames: usize,
    /// Text tokens.
    pub text_tokens: usize,
    /// Text tokens that carry loss.
    pub supervised_tokens: usize,
}

impl SampleSize {
    /// The larger of each size.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            frames: self.frames.max(other.frames),
            text_tokens: self.text_tokens.max(other.text_tokens),
            supervised_tokens: self.supervised_tokens.max(other.supervised_tokens),
        }
    }
}

#[cfg(test)]
pub(crate) mod released {
    //! The released model, for tests.

    use xcomp_model::base::config::ModelConfig;

    pub(crate) fn config() -> ModelConfig {
        ModelConfig::from_hf(&serde_json::json!({
            "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960,
            "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true,
            "mm_hidden_size": 1024, "mm_vision_tower": "umt-hd-large", "mm_vision_select_layer": -2,
            "mm_local_num_frames": 8, "mm_projector_type": "tome16_mlp_hd64",
        }))
        .unwrap()
    }
}
