//! The connector as data: a list of stages between tower and language model.

use serde::{Deserialize, Serialize};

/// In which order merged tokens form groups, the frames of LP-Comp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupOrder {
    /// As merging leaves them: unmerged tokens by similarity, then the others, so that a group is no frame.
    #[default]
    Reference,
    /// By time and place in the clip.
    Frame,
}

/// One stage of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Token merging over all frames of a clip, to `tokens` for each frame.
    Merge {
        /// Tokens of a frame after merging.
        tokens: usize,
        /// Heads over which features are averaged before matching.
        heads: usize,
        /// The order of merged tokens.
        order: GroupOrder,
    },
    /// The MLP into the language model's width.
    Project,
    /// The mean of every `stride` by `stride` tokens of a frame's grid; what is left over at the edges goes.
    Pool {
        /// Tokens of a side that become one.
        stride: usize,
    },
    /// A learnt token behind every row of a frame's grid (`image_newline`).
    Newline,
}

/// The tokens of one frame between two stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTokens {
    /// Rows of the grid; 1 where tokens have no places.
    pub rows: usize,
    /// Tokens of a row.
    pub columns: usize,
}

impl FrameTokens {
    /// All of them.
    pub fn count(self) -> usize {
        self.rows * self.columns
    }

    /// What a stage makes of them.
    #[must_use]
    pub fn after(self, stage: Stage) -> Self {
        let Self { rows, columns } = self;
        match stage {
            Stage::Merge { tokens, .. } => Self { rows: 1, columns: tokens },
            Stage::Project => self,
            Stage::Pool { stride } => Self { rows: rows / stride, columns: columns / stride },
            Stage::Newline => Self { rows, columns: columns + 1 },
        }
    }
}

/// Sizes of the connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorConfig {
    /// Width of the tower (`mm_hidden_size`).
    pub input_size: usize,
    /// Width of the language model (`hidden_size`).
    pub output_size: usize,
    /// Patches per side of a frame.
    pub grid: usize,
    /// What happens, first to last.
    pub stages: Vec<Stage>,
}

impl ConnectorConfig {
    /// Tokens of a frame behind the first `stages` stages.
    pub fn frame_tokens(&self, stages: usize) -> FrameTokens {
        let patches = FrameTokens { rows: self.grid, columns: self.grid };
        self.stages[..stages].iter().fold(patches, |tokens, stage| tokens.after(*stage))
    }

    /// Tokens of a frame that enter the language model.
    pub fn tokens_per_frame(&self) -> usize {
        self.frame_tokens(self.stages.len()).count()
    }

    /// The stages at the front that have no parameters: what they give is fit to be cached with the tower's features.
    pub fn fixed_stages(&self) -> usize {
        let learnt = |stage: &Stage| matches!(stage, Stage::Project | Stage::Newline);
        self.stages.iter().position(learnt).unwrap_or(self.stages.len())
    }

    /// Tokens of a frame behind the fixed stages.
    pub fn cached_tokens_per_frame(&self) -> usize {
        self.frame_tokens(self.fixed_stages()).count()
    }

    /// Sets the order in which merged tokens form groups.
    pub fn set_group_order(&mut self, asked: GroupOrder) {
        for stage in &mut self.stages {
            if let Stage::Merge { order, .. } = stage {
                *order = asked;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_follow_from_the_stages() {
        let stages = vec![Stage::Project, Stage::Pool { stride: 2 }, Stage::Newline];
        let config = ConnectorConfig { input_size: 8, output_size: 8, grid: 7, stages };
        assert_eq!(config.tokens_per_frame(), 3 * 4);
        assert_eq!((config.fixed_stages(), config.cached_tokens_per_frame()), (0, 49));
        let stages = vec![Stage::Pool { stride: 2 }, Stage::Project];
        let config = ConnectorConfig { stages, ..config };
        assert_eq!((config.fixed_stages(), config.cached_tokens_per_frame()), (1, 9));
    }
}
