//! Which weights move: parts of the model by name.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// A part of the model that a recipe can tune.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The whole language model.
    Llm,
    /// The MLP between tower and language model.
    Projector,
    /// The vision tower.
    Vision,
    /// The token embeddings (and the head, where tied to them).
    Embed,
    /// The untied language-model head.
    Head,
    /// The final norm of the language model.
    Norm,
    /// All decoder layers.
    AllLayers,
    /// Decoder layers by 0-based index, both ends included.
    Layers(RangeInclusive<usize>),
}

/// A word in `tune.parts` that names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` names no part; there are llm, projector, vision, embed, head, norm, layers and layers.A-B"
)]
pub struct NoSuchPart {
    given: String,
}

impl FromStr for Part {
    type Err = NoSuchPart;

    fn from_str(word: &str) -> Result<Self, NoSuchPart> {
        let none = || NoSuchPart { given: word.into() };
        Ok(match word {
            "llm" => Part::Llm,
            "projector" => Part::Projector,
            "vision" => Part::Vision,
            "embed" => Part::Embed,
            "head" => Part::Head,
            "norm" => Part::Norm,
            "layers" => Part::AllLayers,
            _ => {
                let range = word.strip_prefix("layers.").ok_or_else(none)?;
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let first = first.parse::<usize>().map_err(|_| none())?;
                let last = last.parse::<usize>().map_err(|_| none())?;
                if last < first {
                    return Err(none());
                }
                Part::Layers(first..=last)
            }
        })
    }
}

/// Prefix of the projector's tensors in a released checkpoint.
const PROJECTOR: &str = "model.mm_projector.";
/// Prefix of the vision tower's tensors in a released checkpoint.
const VISION: &str = "model.vision_tower.";

impl Part {
    /// Whether the tensor of this name in a released checkpoint belongs to the part.
    pub fn contains(&self, tensor: &str) -> bool {
        let llm = !tensor.starts_with(PROJECTOR) && !tensor.starts_with(VISION);
        let layer = tensor.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
        match self {
            Part::Llm => llm,
            Part::Projector => tensor.starts_with(PROJECTOR),
            Part::Vision => tensor.starts_with(VISION),
            Part::Embed => tensor.starts_with("model.embed_tokens."),
            Part::Head => tensor.starts_with("lm_head."),
            Part::Norm => tensor.starts_with("model.norm."),
            Part::AllLayers => layer.is_some(),
            Part::Layers(range) => layer
                .and_then(|index| index.parse().ok())
                .is_some_and(|index| range.contains(&index)),
        }
    }
}

/// Whether any of `parts` contains the tensor.
pub fn tuned(parts: &[Part], tensor: &str) -> bool {
    parts.iter().any(|part| part.contains(tensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &[
        "model.embed_tokens.weight",
        "model.layers.3.self_attn.q_proj.bias",
        "model.layers.13.mlp.up_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
        "model.mm_projector.mlp.0.weight",
        "model.vision_tower.vision_tower.encoder.blocks.3.norm1.weight",
    ];

    fn check(part: &str, holds: &[usize]) {
        let part: Part = part.parse().unwrap();
        let found: Vec<usize> = (0..NAMES.len()).filter(|i| part.contains(NAMES[*i])).collect();
        assert_eq!(found, holds, "{part:?}");
    }

    #[test]
    fn parts_are_found_by_tensor_name() {
        check("llm", &[0, 1, 2, 3, 4]);
        check("embed", &[0]);
        check("layers", &[1, 2]);
        check("layers.0-12", &[1]);
        check("layers.13", &[2]);
        check("norm", &[3]);
        check("head", &[4]);
        check("projector", &[5]);
        check("vision", &[6]);
    }

    #[test]
    fn other_words_are_refused() {
        for word in ["", "llms", "layers.", "layers.5-2", "layers.a-b"] {
            assert!(word.parse::<Part>().is_err(), "{word}");
        }
    }
}
