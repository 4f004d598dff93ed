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
    /// Every `stride` by `stride` tokens of a frame's grid become one.
    Pool {
        /// Tokens of a side that become one.
        stride: usize,
        /// What they become.
        mode: PoolMode,
    },
    /// A learnt token (`image_newline`) behind rows, frames, or the whole.
    Newline(Newline),
}

/// How a grid is pooled (`get_2dPool` of LLaVA; its words are those of `mm_spatial_pool_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolMode {
    /// The mean; what is left over at the edges goes.
    Average,
    /// The largest value of each feature; what is left over at the edges goes.
    Max,
    /// Bilinear interpolation at the centres of a grid of `ceil(side / stride)`, without smoothing.
    Bilinear,
}

/// Where the learnt token stands (the words of `mm_newline_position`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Newline {
    /// Behind every row of every frame.
    #[serde(rename = "grid")]
    Row,
    /// Behind every frame.
    #[serde(rename = "frame")]
    Frame,
    /// Once behind an image or a video: no part of a frame, so that no drop takes it.
    #[serde(rename = "one_token")]
    Visual,
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
            Stage::Project | Stage::Newline(Newline::Visual) => self,
            Stage::Pool { stride, mode } => {
                let side = |side: usize| match mode {
                    PoolMode::Average | PoolMode::Max => side / stride,
                    PoolMode::Bilinear => side.div_ceil(stride),
                };
                Self { rows: side(rows), columns: side(columns) }
            }
            Stage::Newline(Newline::Row) => Self { rows, columns: columns + 1 },
            Stage::Newline(Newline::Frame) => Self { rows: 1, columns: self.count() + 1 },
        }
    }
}

/// What an image or video is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanShape {
    /// Tokens of every frame.
    pub tokens_per_frame: usize,
    /// Tokens behind all frames.
    pub tail: usize,
}

impl From<usize> for SpanShape {
    fn from(tokens_per_frame: usize) -> Self {
        Self { tokens_per_frame, tail: 0 }
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
    /// Whether there is an `image_newline`, be it put anywhere or not.
    pub has_newline: bool,
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

    /// Whether tokens are merged.
    pub fn merges(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage, Stage::Merge { .. }))
    }

    /// Tokens of a frame that go through the MLP and are pooled away behind it.
    pub fn projected_in_vain(&self) -> usize {
        let behind = |stage: usize| self.frame_tokens(stage).count();
        let project = self.stages.iter().position(|stage| *stage == Stage::Project);
        project.map_or(0, |at| behind(at).saturating_sub(self.tokens_per_frame()))
    }

    /// Tokens behind all frames of an image or video.
    pub fn tail(&self) -> usize {
        usize::from(self.stages.contains(&Stage::Newline(Newline::Visual)))
    }

    /// What an image or video is made of where it enters the language model.
    pub fn span_shape(&self) -> SpanShape {
        SpanShape { tokens_per_frame: self.tokens_per_frame(), tail: self.tail() }
    }

    /// The stages at the front that have no parameters: what they give is fit to be cached with the tower's features.
    pub fn fixed_stages(&self) -> usize {
        let learnt = |stage: &Stage| matches!(stage, Stage::Project | Stage::Newline(_));
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
        let pool = |mode| Stage::Pool { stride: 2, mode };
        let row_ends = |mode| vec![Stage::Project, pool(mode), Stage::Newline(Newline::Row)];
        let sizes = ConnectorConfig {
            input_size: 8,
            output_size: 8,
            grid: 7,
            stages: vec![],
            has_newline: true,
        };
        let config = ConnectorConfig { stages: row_ends(PoolMode::Average), ..sizes.clone() };
        assert_eq!(config.tokens_per_frame(), 3 * 4);
        assert_eq!((config.fixed_stages(), config.cached_tokens_per_frame()), (0, 49));
        let config = ConnectorConfig { stages: row_ends(PoolMode::Bilinear), ..sizes };
        assert_eq!((config.tokens_per_frame(), config.tail()), (4 * 5, 0));
        let stages = vec![Stage::Project, pool(PoolMode::Max), Stage::Newline(Newline::Frame)];
        let config = ConnectorConfig { stages, ..config };
        assert_eq!((config.tokens_per_frame(), config.tail()), (10, 0));
        let stages = vec![Stage::Project, Stage::Newline(Newline::Visual)];
        let config = ConnectorConfig { stages, ..config };
        assert_eq!((config.tokens_per_frame(), config.tail()), (49, 1));
        let stages = vec![pool(PoolMode::Average), Stage::Project];
        let config = ConnectorConfig { stages, ..config };
        assert_eq!((config.fixed_stages(), config.cached_tokens_per_frame()), (1, 9));
    }
}
