//! Windows that end where the scene changes: from the words of a recipe to the rule, and how an export states it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xcomp_model::compress::vst::dynamic::{Depth, DynamicWindows, Threshold};

use crate::recipe::WINDOWS_BLOCK;
use crate::recipe::tables::{DepthWord, VstTable};

/// The rule in the words of a recipe, as `config.json` of an export states it.
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

    /// What a `config.json` states; nothing if its windows are of fixed length.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(config: &Value) -> Result<Option<Self>, String> {
        let Some(block) = config.get(WINDOWS_BLOCK) else { return Ok(None) };
        let wrong = |why: String| format!("`{WINDOWS_BLOCK}` is {block}: {why}");
        let stated: Self =
            serde_json::from_value(block.clone()).map_err(|error| wrong(error.to_string()))?;
        if stated.least_frames == 0 || stated.most_frames < stated.least_frames {
            return Err(wrong("expected 1 <= least_frames <= most_frames".into()));
        }
        Ok(Some(stated))
    }

    /// States windows in a `config.json`; those of fixed length need no words.
    ///
    /// # Panics
    /// If it is no table.
    pub fn write(stated: Option<&Self>, config: &mut Value) {
        let config = config.as_object_mut().expect("a config.json is a table");
        config.remove(WINDOWS_BLOCK);
        if let Some(stated) = stated {
            let block = serde_json::to_value(stated).expect("plain values are JSON");
            config.insert(WINDOWS_BLOCK.into(), block);
        }
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
            let mut config = json!({ "hidden_size": 8 });
            Stated::write(Some(&stated), &mut config);
            assert_eq!(Stated::read(&config), Ok(Some(stated)));
            assert_eq!((stated.rule().least, stated.rule().most, stated.middle()), (2, 10, 6));
            Stated::write(None, &mut config);
            assert_eq!(config, json!({ "hidden_size": 8 }));
            assert_eq!(Stated::read(&config), Ok(None));
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
            Stated::write(Some(&stated), &mut config);
            config[WINDOWS_BLOCK][key] = value;
            let error = Stated::read(&config).unwrap_err();
            assert!(error.contains(told) && error.contains(WINDOWS_BLOCK), "{error}");
        }
    }
}
