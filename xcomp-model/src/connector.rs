//! The connector: a list of stages from the tower's features to the language model's tokens.

pub mod grid;
pub mod token_merging;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::base::connector::{ConnectorConfig, Newline, Stage};
use crate::connector::grid::{newline, pool};
use crate::connector::token_merging::merge_tokens;
use crate::cost::matmul;
use crate::layers::linear::Linear;
use crate::ops::gelu;

/// Standard deviation of a fresh newline token, over the root of its width (reference `llava_arch.py`).
const NEWLINE_STD: f64 = 1.0;

/// The parameters of all stages; fields carry the names of the released checkpoint.
#[derive(Module, Debug)]
pub struct Connector {
    /// Two linear maps with the (parameterless) GELU between them, so that indices are the checkpoint's.
    pub mlp: Vec<Option<Linear>>,
    /// `[output_size]`: the token behind rows, frames or the whole; a checkpoint may have it though no stage puts it.
    pub image_newline: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: ConnectorConfig,
}

impl Connector {
    /// A connector with fresh weights, drawn lazily.
    pub fn new(config: &ConnectorConfig, device: &Device) -> Self {
        let (input, output) = (config.input_size, config.output_size);
        let [first, last] = [input, output].map(|from| Linear::new(from, output, device));
        let std = NEWLINE_STD / (output as f64).sqrt();
        let row = || Initializer::Normal { mean: 0.0, std }.init([output], device);
        Self {
            mlp: vec![Some(first), None, Some(last)],
            image_newline: config.has_newline.then(row),
            config: config.clone(),
        }
    }

    /// Its sizes.
    pub fn config(&self) -> &ConnectorConfig {
        &self.config
    }

    /// The stages without parameters at the front: what a cache of features may hold.
    ///
    /// # Shapes
    /// - `features`: `[clips, frames * patches, input_size]`
    /// - output: `[clips, frames * cached_tokens_per_frame, width]`
    ///
    /// # Panics
    /// If a frame has fewer patches than tokens.
    pub fn fixed(&self, features: Tensor<3>) -> Tensor<3> {
        self.run(features, 0, self.config.fixed_stages())
    }

    /// All other stages.
    ///
    /// # Shapes
    /// - `fixed`: `[clips, frames * cached_tokens_per_frame, width]`
    /// - output: `[clips, frames * tokens_per_frame, output_size]`
    pub fn learnt(&self, fixed: Tensor<3>) -> Tensor<3> {
        self.run(fixed, self.config.fixed_stages(), self.config.stages.len())
    }

    /// All tokens of one image or video, from its clips behind the stages without parameters.
    ///
    /// # Shapes
    /// - `fixed`: `[clips, frames * cached_tokens_per_frame, width]`
    /// - output: `[clips * frames * tokens_per_frame + tail, output_size]`
    pub fn visual(&self, fixed: Tensor<3>) -> Tensor<2> {
        let x = self.learnt(fixed).flatten(0, 1);
        if self.config.tail() == 0 {
            return x;
        }
        let row = self.newline().cast(x.dtype()).unsqueeze();
        Tensor::cat(vec![x, row], 0)
    }

    fn newline(&self) -> Tensor<1> {
        self.image_newline.as_ref().expect("a newline stage has its token").val()
    }

    fn run(&self, x: Tensor<3>, first: usize, end: usize) -> Tensor<3> {
        (first..end).fold(x, |x, stage| self.stage(stage, x))
    }

    /// One stage over whole clips: `[clips, frames * tokens, width]`, in and out.
    fn stage(&self, stage: usize, x: Tensor<3>) -> Tensor<3> {
        let before = self.config.frame_tokens(stage);
        match self.config.stages[stage] {
            Stage::Merge { tokens, heads, order } => {
                let [_, all, _] = x.dims();
                merge_tokens(x, all / before.count() * tokens, heads, order)
            }
            Stage::Project => self.project(x),
            Stage::Pool { stride, mode } => pool(x, before, stride, mode),
            Stage::Newline(Newline::Row) => newline(x, before.columns, self.newline()),
            Stage::Newline(Newline::Frame) => newline(x, before.count(), self.newline()),
            Stage::Newline(Newline::Visual) => x,
        }
    }

    /// Operations of the stages without parameters on one clip of `frames` frames.
    pub fn fixed_flops(config: &ConnectorConfig, frames: usize) -> f64 {
        let of = |stage: usize| match config.stages[stage] {
            Stage::Merge { tokens, heads, .. } => {
                let before = frames * config.frame_tokens(stage).count();
                token_merging::flops(before, frames * tokens, config.input_size, heads)
            }
            Stage::Pool { .. } => {
                (frames * config.frame_tokens(stage).count() * config.input_size) as f64
            }
            Stage::Project | Stage::Newline(_) => 0.0,
        };
        (0..config.fixed_stages()).map(of).sum()
    }

    /// Operations of the two maps of the MLP over `frames` frames: the first and the second.
    pub fn project_flops(config: &ConnectorConfig, frames: usize) -> [f64; 2] {
        let stage = config.stages.iter().position(|stage| *stage == Stage::Project);
        let tokens = stage.map_or(0, |stage| frames * config.frame_tokens(stage).count());
        let (input, output) = (config.input_size, config.output_size);
        [matmul(tokens, input, output), matmul(tokens, output, output)]
    }

    /// The MLP into the language model's width.
    ///
    /// # Shapes
    /// - `x`: `[.., input_size]`
    /// - output: `[.., output_size]`
    pub fn project<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.mlp.iter().fold(x, |x, layer| match layer {
            Some(linear) => linear.forward(x),
            None => gelu(x),
        })
    }
}
