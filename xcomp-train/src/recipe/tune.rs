//! Which weights move: parts of the model by the words of a recipe.

use std::ops::RangeInclusive;
use std::str::FromStr;

use xcomp_model::base::family::{Place, Region};

/// A part of the model that a recipe can tune.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The whole language model, and with it the newline token.
    Llm,
    /// The same where no windows are read: learned tokens of windows stay as they are. No word names it.
    LlmWithoutVst,
    /// The newline token alone (`image_newline`).
    Newline,
    /// The MLP between tower and language model.
    Projector,
    /// The vision tower.
    Vision,
    /// The learned token of windows and its maps.
    Vst,
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
    "`{given}` names no part; there are llm, newline, projector, vision, vst, embed, head, norm, layers and layers.A-B"
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
            "newline" => Part::Newline,
            "projector" => Part::Projector,
            "vision" => Part::Vision,
            "vst" => Part::Vst,
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

impl Part {
    /// Whether a tensor at this place belongs to the part.
    pub fn contains(&self, place: Place) -> bool {
        match self {
            Self::Llm => place.tuned_with() == Region::Llm,
            Self::LlmWithoutVst => Self::Llm.contains(place) && place != Place::Vst,
            Self::Newline => place == Place::Newline,
            Self::Projector => place == Place::Connector,
            Self::Vision => place == Place::Vision,
            Self::Vst => place == Place::Vst,
            Self::Embed => place == Place::Embed,
            Self::Head => place == Place::Head,
            Self::Norm => place == Place::Norm,
            Self::AllLayers => matches!(place, Place::Layer(_)),
            Self::Layers(range) => matches!(place, Place::Layer(layer) if range.contains(&layer)),
        }
    }
}

impl Part {
    /// Whether it stands for its linear maps where adapters are tuned; all others move as a whole.
    pub fn is_adapted(&self) -> bool {
        matches!(self, Self::Llm | Self::LlmWithoutVst | Self::AllLayers | Self::Layers(_))
    }
}

/// Whether any of `parts` contains what stands at `place`.
pub fn tuned(parts: &[Part], place: Place) -> bool {
    parts.iter().any(|part| part.contains(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: &[Place] = &[
        Place::Embed,
        Place::Layer(3),
        Place::Layer(13),
        Place::Norm,
        Place::Head,
        Place::Connector,
        Place::Vision,
        Place::Newline,
        Place::Vst,
    ];

    fn check(part: &str, holds: &[usize]) {
        let part: Part = part.parse().unwrap();
        let found: Vec<usize> = (0..PLACES.len()).filter(|i| part.contains(PLACES[*i])).collect();
        assert_eq!(found, holds, "{part:?}");
    }

    #[test]
    fn parts_are_found_by_place() {
        check("llm", &[0, 1, 2, 3, 4, 7, 8]);
        check("vst", &[8]);
        check("newline", &[7]);
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
