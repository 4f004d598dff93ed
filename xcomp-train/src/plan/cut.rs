//! Where windows end: from the words of a recipe to the rule, and how an export states it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xcomp_model::compress::vst::dynamic::{Depth, DynamicWindows, Threshold};

use crate::recipe::WINDOWS_BLOCK;
use crate::recipe::tables::{DepthWord, VstTable, WindowsWord};

/// Where the windows of a model with learned tokens end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ends {
    /// There are none: videos are read in one pass.
    Nowhere,
    /// After so many tokens.
    Tokens,
    /// Where the scene changes.
    Scenes(Stated),
}

impl Ends {
    /// By the word of a checked table; `most` frames fill a window of fixed length.
    pub fn of(word: WindowsWord, table: &VstTable, most: usize) -> Self {
        match word {
            WindowsWord::None => Self::Nowhere,
            WindowsWord::Fixed => Self::Tokens,
            WindowsWord::Dynamic => Self::Scenes(Stated::of(table, most)),
        }
    }

    /// What a `config.json` states; windows of fixed length need no words.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(config: &Value) -> Result<Self, String> {
        let Some(block) = config.get(WINDOWS_BLOCK) else { return Ok(Self::Tokens) };
        if block == WindowsWord::None.word() {
            return Ok(Self::Nowhere);
        }
        Stated::read(block).map(Self::Scenes)
    }

    /// States them in a `config.json`.
    ///
    /// # Panics
    /// If it is no table.
    pub fn write(&self, config: &mut Value) {
        let config = config.as_object_mut().expect("a config.json is a table");
        config.remove(WINDOWS_BLOCK);
        let block = match self {
            Self::Tokens => return,
            Self::Nowhere => WindowsWord::None.word().into(),
            Self::Scenes(stated) => serde_json::to_value(stated).expect("plain values are JSON"),
        };
        config.insert(WINDOWS_BLOCK.into(), block);
    }

    /// The rule of those that end where the scene changes.
    pub fn scenes(&self) -> Option<&Stated> {
        match self {
            Self::Scenes(stated) => Some(stated),
            Self::Nowhere | Self::Tokens => None,
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("in one pass, without windows"),
            Self::Tokens => f.write_str("fixed"),
            Self::Scenes(stated) => stated.fmt(f),
        }
    }
}

/// The rule of scenes in the words of a recipe, as `config.json` of an export states it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stated {
    depth: DepthWord,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth_above: Option<f64>,
    depth_deviations: f64,
    least_frames: usize,
    most_frames: usize,
}

impl Stated {
    /// Of a checked table; `most` frames fill a window of fixed length.
    pub fn of(table: &VstTable, most: usize) -> Self {
        Self {
            depth: table.depth,
            depth_above: table.depth_above,
            depth_deviations: table.depth_deviations,
            least_frames: table.least_frames,
            most_frames: table.most_frames.unwrap_or(most.max(table.least_frames)),
        }
    }

    /// What the block of a `config.json` states.
    fn read(block: &Value) -> Result<Self, String> {
        let wrong = |why: String| format!("`{WINDOWS_BLOCK}` is {block}: {why}");
        let stated: Self =
            serde_json::from_value(block.clone()).map_err(|error| wrong(error.to_string()))?;
        if stated.least_frames == 0 || stated.most_frames < stated.least_frames {
            return Err(wrong("expected 1 <= least_frames <= most_frames".into()));
        }
        Ok(stated)
    }

    /// The rule.
    pub fn rule(&self) -> DynamicWindows {
        DynamicWindows {
            depth: match self.depth {
                DepthWord::Whole => Depth::Whole,
                DepthWord::HillClimb => Depth::HillClimb,
            },
            threshold: match self.depth_above {
                Some(depth) => Threshold::Above(depth),
                None => Threshold::Deviations(self.depth_deviations),
            },
            least: self.least_frames,
            most: self.most_frames,
        }
    }

    /// Frames of a window between the shortest and the longest: what a plan counts with, as it sees no frames.
    pub fn middle(&self) -> usize {
        self.least_frames.midpoint(self.most_frames)
    }

    /// The most frames of a window.
    pub fn most(&self) -> usize {
        self.most_frames
    }
}

impl fmt::Display for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { depth, depth_deviations, least_frames, most_frames, .. } = self;
        let depth = depth.word();
        write!(
            f,
            "dynamic, {least_frames} to {most_frames} frames, ending at {depth} depths above "
        )?;
        match self.depth_above {
            Some(above) => write!(f, "{above}"),
            None => write!(f, "the mean and {depth_deviations} deviations"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_export_states_is_read_again() {
        let table =
            VstTable { depth: DepthWord::HillClimb, least_frames: 2, ..VstTable::default() };
        for table in [VstTable { depth_above: Some(0.25), ..table.clone() }, table] {
            let stated = Stated::of(&table, 10);
            assert_eq!((stated.rule().least, stated.rule().most, stated.middle()), (2, 10, 6));
            let mut config = json!({ "hidden_size": 8 });
            for word in [WindowsWord::Dynamic, WindowsWord::None, WindowsWord::Fixed] {
                let ends = Ends::of(word, &table, 10);
                assert_eq!(
                    ends.scenes().copied(),
                    (word == WindowsWord::Dynamic).then_some(stated)
                );
                ends.write(&mut config);
                assert_eq!(Ends::read(&config), Ok(ends), "{config}");
            }
            assert_eq!(config, json!({ "hidden_size": 8 }), "fixed needs no words");
        }
    }

    #[test]
    fn what_is_no_rule_is_told() {
        let stated = Stated::of(&VstTable::default(), 10);
        for (key, value, told) in [
            ("depth", json!("deep"), "unknown variant `deep`"),
            ("least_frames", json!(0), "1 <= least_frames <= most_frames"),
            ("most_frames", json!(-3), "invalid value"),
            ("more", json!(1), "unknown field `more`"),
        ] {
            let mut config = json!({});
            Ends::Scenes(stated).write(&mut config);
            config[WINDOWS_BLOCK][key] = value;
            let error = Ends::read(&config).unwrap_err();
            assert!(error.contains(told) && error.contains(WINDOWS_BLOCK), "{error}");
        }
        let error = Ends::read(&json!({ WINDOWS_BLOCK: "nowhere" })).unwrap_err();
        assert!(error.contains(WINDOWS_BLOCK), "{error}");
    }
}
