//! The whole model: frames and a prompt in, a loss out.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::base::config::ModelConfig;
use crate::base::family::Family;
use crate::compress::layout::Layout;
use crate::compress::pass;
use crate::compress::schedule::CompressionPlan;
use crate::compress::vst::VstPlan;
use crate::connector::Connector;
use crate::decoder::qwen2::Qwen2ForCausalLm;
use crate::lora::{self, Map};
use crate::loss::{LossNorm, SupervisedRows, weighted_loss};
use crate::splice::{Prompt, splice};
use crate::vision::Vision;
use crate::vision::frames::{Clips, Encoding};
use crate::windows;

/// Vision tower, connector and language model.
#[derive(Module, Debug)]
pub struct Vlm {
    /// The language model with its head.
    pub llm: Qwen2ForCausalLm,
    /// From features to the language model's tokens.
    pub connector: Connector,
    /// The tower.
    pub vision: Vision,
    /// Where the model comes from.
    #[module(skip)]
    pub family: &'static Family,
}

/// Clips behind the tower.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// What [`Vlm::encode`] gives.
    pub features: Tensor<3>,
    /// The class token of every frame, `[frames, width]`, where it was asked for and the tower has one; not on a tape.
    pub class: Option<Tensor<2>>,
}

impl Encoded {
    /// All clips one behind the other.
    ///
    /// # Panics
    /// If there is none.
    pub fn joined(all: Vec<Self>) -> Self {
        let (features, class): (Vec<_>, Vec<_>) =
            all.into_iter().map(|one| (one.features, one.class)).unzip();
        let class: Option<Vec<_>> = class.into_iter().collect();
        Self { features: Tensor::cat(features, 0), class: class.map(|all| Tensor::cat(all, 0)) }
    }

    /// Some of the clips.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn clips(&self, range: Range<usize>) -> Self {
        let of_frames = |class: &Tensor<2>| {
            let each = class.dims()[0] / self.features.dims()[0];
            class.clone().slice_dim(0, range.start * each..range.end * each)
        };
        let class = self.class.as_ref().map(of_frames);
        Self { features: self.features.clone().slice_dim(0, range), class }
    }
}

/// First and number of the clips that go through the tower together.
fn chunks(clips: &Clips, encoding: Encoding) -> impl Iterator<Item = (usize, usize)> {
    let (all, most) = (clips.count, encoding.clips_at_once);
    (0..all).step_by(most).map(move |first| (first, most.min(all - first)))
}

impl Vlm {
    /// A model of the sizes in `config`; weights are drawn lazily, unless a checkpoint replaces them first.
    pub fn new(config: &ModelConfig, device: &Device) -> Self {
        let mut model = Self {
            llm: Qwen2ForCausalLm::new(&config.llm, device),
            connector: Connector::new(&config.connector, device),
            vision: Vision::new(&config.vision, device),
            family: config.family,
        };
        if let Some(lora) = &config.lora {
            lora::attach(model.maps(), lora, device);
        }
        model
    }

    /// The linear maps of language model and connector: where adapters can stand.
    pub fn maps(&mut self) -> Vec<Map<'_>> {
        lora::maps(self.family, &mut self.llm, &mut self.connector)
    }

    /// Frames through the tower and the connector's stages without parameters: the frozen part of the model, fit to be cached.
    ///
    /// With a tower that carries no tape the result carries none, and only `clips_at_once` clips are ever held as features.
    ///
    /// # Shapes
    /// - output: `[clips, frames * cached_tokens_per_frame, width]`, in `encoding.dtype`
    ///
    /// # Panics
    /// If the frames are not of the tower's size, or `clips_at_once` is zero.
    pub fn encode(&self, clips: &Clips, device: &Device, encoding: Encoding) -> Tensor<3> {
        let chunks = chunks(clips, encoding).map(|(first, count)| {
            let pixels = clips.pixels(first, count, &self.family.pixels, device);
            self.connector.fixed(self.vision.forward(pixels.cast(encoding.dtype)))
        });
        Tensor::cat(chunks.collect(), 0)
    }

    /// As [`Vlm::encode`], and the class token of every frame, where the tower has one: it learns nothing.
    ///
    /// # Panics
    /// As [`Vlm::encode`].
    pub fn encode_with_class(&self, clips: &Clips, device: &Device, encoding: Encoding) -> Encoded {
        let each = chunks(clips, encoding).map(|(first, count)| {
            let pixels = clips.pixels(first, count, &self.family.pixels, device);
            let (x, class) = self.vision.forward_with_class(pixels.cast(encoding.dtype));
            let class = class.map(|class| class.detach().flatten::<2>(0, 1));
            Encoded { features: self.connector.fixed(x), class }
        });
        Encoded::joined(each.collect())
    }

    /// The class tokens alone, where features are not wanted: no more than `clips_at_once` clips are held.
    ///
    /// # Shapes
    /// - output: `[frames, width]`; none if the tower has no class token
    ///
    /// # Panics
    /// As [`Vlm::encode`].
    pub fn class_tokens(
        &self,
        clips: &Clips,
        device: &Device,
        encoding: Encoding,
    ) -> Option<Tensor<2>> {
        let each = chunks(clips, encoding).map(|(first, count)| {
            let pixels = clips.pixels(first, count, &self.family.pixels, device);
            let (_, class) = self.vision.forward_with_class(pixels.cast(encoding.dtype));
            Some(class?.detach().flatten::<2>(0, 1))
        });
        Some(Tensor::cat(each.collect::<Option<Vec<_>>>()?, 0))
    }

    /// Prompts with their visual tokens, as the decoder takes them.
    ///
    /// # Shapes
    /// - `encoded`: per prompt what [`Vlm::encode`] gives of each of its images and videos, in order
    /// - output: `[batch, longest, hidden]`
    pub fn embed(&self, prompts: &[Prompt], encoded: Vec<Vec<Tensor<3>>>) -> (Tensor<3>, Layout) {
        let visual = |fixed| self.connector.visual(fixed);
        let visual = encoded.into_iter().map(|own| own.into_iter().map(visual).collect());
        let shape = self.connector.config().span_shape();
        splice(&self.llm.model.embed_tokens, prompts, visual.collect(), shape)
    }

    /// The summed, weighted next-token losses of a batch, and what to divide by for the mean.
    pub fn loss(
        &self,
        prompts: &[Prompt],
        encoded: Vec<Vec<Tensor<3>>>,
        plan: &CompressionPlan,
        norm: LossNorm,
    ) -> (Tensor<1>, usize) {
        let (x, layout) = self.embed(prompts, encoded);
        let (hidden, layout) = pass::forward(&self.llm.model, x, layout, plan);
        let rows = supervised(prompts, &layout);
        (weighted_loss(&self.llm, hidden, &rows, norm), rows.weight(norm))
    }
}

impl Vlm {
    /// As [`Vlm::loss`] of sequences that are read in windows, one after the other, each by its own plan.
    ///
    /// # Panics
    /// If a plan is not that of its sequence, or the model has no learned tokens.
    pub fn loss_in_windows(
        &self,
        prompts: &[Prompt],
        encoded: Vec<Vec<Tensor<3>>>,
        plans: &[VstPlan],
        norm: LossNorm,
    ) -> (Tensor<1>, usize) {
        assert_eq!(prompts.len(), plans.len(), "a plan for each prompt");
        let (x, layout) = self.embed(prompts, encoded);
        let (mut sum, mut weight) = (Tensor::zeros([1], &x.device()), 0);
        for (b, (sequence, plan)) in layout.sequences.into_iter().zip(plans).enumerate() {
            let x = x.clone().slice_dim(0, b..=b).slice_dim(1, 0..sequence.len);
            let one = Layout { sequences: vec![sequence] };
            let rows = supervised(&prompts[b..=b], &one);
            if !rows.is_empty() {
                sum = sum + windows::loss(&self.llm, &x, plan, &rows) * rows.share(norm);
            }
            weight += rows.weight(norm);
        }
        (sum, weight)
    }
}

/// The rows that predict a supervised token in the layout that leaves the last layer.
pub fn supervised(prompts: &[Prompt], layout: &Layout) -> SupervisedRows {
    let labels: Vec<_> = prompts.iter().map(Prompt::supervision).collect();
    SupervisedRows::new(&labels, layout)
}
