//! A family of released models as data: the only place that knows the names in a checkpoint.
//!
//! Module fields carry the names of the first family; where another family calls a tensor differently, [`Names`] says so.
//! Everybody else asks for a tensor's [`Place`].

use serde_json::Value;

use crate::base::connector::ConnectorConfig;
use crate::base::llm::LlmConfig;
use crate::base::lora::LoraConfig;
pub use crate::base::place::{Place, Region};
use crate::base::vision::VisionConfig;
use crate::error::ModelError;

/// How a checkpoint names the parameters of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// What stands before the path of fields, with its last dot.
    pub prefix: &'static str,
    /// Beginnings of paths with a name of their own: the first that fits replaces prefix and beginning.
    pub rename: &'static [(&'static str, &'static str)],
}

impl Names {
    /// Paths of fields behind `prefix`.
    pub const fn prefixed(prefix: &'static str) -> Self {
        Self { prefix, rename: &[] }
    }

    /// The name of the parameter at `path`.
    pub fn name(&self, path: &str) -> String {
        let renamed =
            self.rename.iter().find_map(|(from, to)| Some((path.strip_prefix(from)?, to)));
        match renamed {
            Some((rest, to)) => format!("{to}{rest}"),
            None => format!("{}{path}", self.prefix),
        }
    }

    /// The path of the parameter called `name`.
    pub fn path(&self, name: &str) -> Option<String> {
        let renamed =
            self.rename.iter().find_map(|(from, to)| Some((from, name.strip_prefix(to)?)));
        match renamed {
            Some((from, rest)) => Some(format!("{from}{rest}")),
            None => name.strip_prefix(self.prefix).map(str::to_owned),
        }
    }
}

/// What becomes of a parameter that a folder of weights lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// The folder is refused.
    Refuse,
    /// It keeps its fresh values.
    Fresh,
    /// It is a copy of the tensor of this name; of a table, of the row that `config.json` names.
    Copy(String),
}

/// How many images and videos a prompt may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visuals {
    /// One image or one video: all else is a broken sample.
    ExactlyOne,
    /// Any number of both, or none.
    Any,
}

/// What pixels in `0..=1` are normalised with, by channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pixels {
    /// Mean of red, green and blue.
    pub mean: [f32; 3],
    /// Their standard deviation.
    pub std: [f32; 3],
}

/// All that differs between released layouts.
#[derive(Debug)]
pub struct Family {
    /// Its name in messages.
    pub name: &'static str,
    /// Names of the language model's parameters.
    pub llm: Names,
    /// Names of the connector's parameters.
    pub connector: Names,
    /// Names of the tower's parameters.
    pub vision: Names,
    /// What becomes of a parameter of this name that a folder lacks.
    pub absent: fn(&str) -> Absent,
    /// Whether a tensor of this name may be in a folder though the model has no use for it.
    pub spare: fn(&str) -> bool,
    /// How many visuals its prompts show.
    pub visuals: Visuals,
    /// The chat template, by the name that the prompt renderer knows.
    pub template: &'static str,
    /// Which frames it sees, what is said of them, how they become squares: by the name that the reader of videos knows.
    pub frames: &'static str,
    /// How pixels are normalised.
    pub pixels: Pixels,
    /// Whether a `config.json` describes a model of this family.
    pub recognises: fn(&Value) -> bool,
    /// Reads the sizes of such a model.
    pub read: fn(&Value) -> Result<ModelConfig, ModelError>,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

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
    /// Adapters beside its maps: no released model has any.
    pub lora: Option<LoraConfig>,
    /// Most tiles that a picture is cut into; 1 where a picture is a frame.
    pub most_tiles: usize,
}

impl ModelConfig {
    /// Visual tokens of a frame, as they enter the language model.
    pub fn tokens_per_frame(&self) -> usize {
        self.connector.tokens_per_frame()
    }
}

impl Family {
    /// How the parameters of a module are called.
    pub fn names(&self, region: Region) -> Names {
        match region {
            Region::Llm => self.llm,
            Region::Connector => self.connector,
            Region::Vision => self.vision,
        }
    }

    /// Where the tensor called `name` stands; `None` if the model has no such place.
    pub fn place(&self, name: &str) -> Option<Place> {
        self.located(name).and_then(|(region, path)| Place::of(region, &path))
    }

    /// The module of the tensor called `name`, and its path of fields there; `None` if the model has no such place.
    pub(super) fn located(&self, name: &str) -> Option<(Region, String)> {
        // The language model may be named from the root: it is asked last.
        [Region::Connector, Region::Vision, Region::Llm].into_iter().find_map(|region| {
            let path = self.names(region).path(name)?;
            Place::of(region, &path).map(|_| (region, path))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::videochat_flash::VIDEOCHAT_FLASH;

    fn check(names: Names, path: &str, name: &str) {
        assert_eq!(names.name(path), name);
        assert_eq!(names.path(name).as_deref(), Some(path));
    }

    #[test]
    fn names_lead_to_paths_and_back() {
        check(Names::prefixed("model."), "norm.weight", "model.norm.weight");
        let rename = &[("mlp.", "m."), ("image_newline", "newline")];
        let names = Names { prefix: "p.", rename };
        check(names, "mlp.0.bias", "m.0.bias");
        check(names, "image_newline", "newline");
        check(names, "other", "p.other");
    }

    #[test]
    fn places_are_found_by_name() {
        let check = |name, want| assert_eq!(VIDEOCHAT_FLASH.place(name), want, "{name}");
        check("model.embed_tokens.weight", Some(Place::Embed));
        check("model.layers.13.mlp.up_proj.weight", Some(Place::Layer(13)));
        check("model.norm.weight", Some(Place::Norm));
        check("lm_head.weight", Some(Place::Head));
        check("model.layers.13.self_attn.beacon_q_proj.bias", Some(Place::Vst));
        check("model.beacon_embed_tokens.weight", Some(Place::Vst));
        check("model.mm_projector.mlp.0.weight", Some(Place::Connector));
        let block = "model.vision_tower.vision_tower.encoder.blocks.3.norm1.weight";
        check(block, Some(Place::Vision));
        check("model.other.weight", None);
        check("optimizer.weight", None);
    }
}
