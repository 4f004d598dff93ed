//! The whole model: frames and a prompt in, a loss out.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::base::config::ModelConfig;
use crate::compress::layout::Layout;
use crate::compress::schedule::CompressionPlan;
use crate::connector::projector::Projector;
use crate::decoder::qwen2::Qwen2ForCausalLm;
use crate::loss::{LossNorm, SupervisedRows, weighted_loss};
use crate::splice::{Prompt, splice};
use crate::vision::frames::{Clips, Encoding, merged_features};
use crate::vision::umt::Vit;

/// Vision tower, connector and language model; each is a part of the checkpoint with its own name prefix.
#[derive(Module, Debug)]
pub struct Vlm {
    /// `model.*` and `lm_head.weight`.
    pub llm: Qwen2ForCausalLm,
    /// `model.mm_projector.*`.
    pub projector: Projector,
    /// `model.vision_tower.vision_tower.encoder.*`.
    pub vision: Vit,
}

impl Vlm {
    /// A model of the sizes in `config`; weights are drawn lazily, unless a checkpoint replaces them first.
    pub fn new(config: &ModelConfig, device: &Device) -> Self {
        Self {
            llm: Qwen2ForCausalLm::new(&config.llm, device),
            projector: Projector::new(&config.projector, device),
            vision: Vit::new(&config.vision, device),
        }
    }

    /// Frames as merged tokens, before the connector's MLP: the frozen part of the model, fit to be cached.
    ///
    /// # Shapes
    /// - output: `[clips, frames * tokens_per_frame, mm_hidden]`
    pub fn encode(&self, clips: &Clips, device: &Device, encoding: Encoding) -> Tensor<3> {
        merged_features(&self.vision, &self.projector, clips, device, encoding)
    }

    /// Prompts with their visual tokens, as the decoder takes them.
    ///
    /// # Shapes
    /// - `merged`: per prompt `[clips, frames * tokens_per_frame, mm_hidden]`; `None` for text only
    /// - output: `[batch, longest, hidden]`
    pub fn embed(&self, prompts: &[Prompt], merged: Vec<Option<Tensor<3>>>) -> (Tensor<3>, Layout) {
        let visual = merged.into_iter().map(|m| m.map(|m| self.projector.forward(m).flatten(0, 1)));
        let tokens_per_frame = self.projector.config().tokens_per_frame;
        splice(&self.llm.model.embed_tokens, prompts, visual.collect(), tokens_per_frame)
    }

    /// The summed, weighted next-token losses of a batch, and what to divide by for the mean.
    pub fn loss(
        &self,
        prompts: &[Prompt],
        merged: Vec<Option<Tensor<3>>>,
        plan: &CompressionPlan,
        norm: LossNorm,
    ) -> (Tensor<1>, usize) {
        let (x, layout) = self.embed(prompts, merged);
        let (hidden, layout) = self.llm.model.forward(x, layout, plan);
        let rows = supervised(prompts, &layout);
        (weighted_loss(&self.llm, hidden, &rows, norm), rows.weight(norm))
    }
}

/// The rows that predict a supervised token in the layout that leaves the last layer.
pub fn supervised(prompts: &[Prompt], layout: &Layout) -> SupervisedRows {
    let labels: Vec<_> = prompts.iter().map(Prompt::supervision).collect();
    SupervisedRows::new(&labels, layout)
}
