//! What each drop costs, and how much of what it takes away the survivors still know.

use burn::module::Module;
use burn::tensor::{DType, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::Serialize;
use xcomp_model::compress::pass::Pass;
use xcomp_model::compress::reduce::{FrameDrop, Reduce};
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::decoder::qwen2::DecoderLayer;
use xcomp_model::loss::{LossNorm, weighted_loss};
use xcomp_model::splice::Prompt;
use xcomp_model::transfer::{read, read_number, upload};
use xcomp_model::vlm::{Vlm, supervised};

use super::losses::{Mean, SampleLoss, mean_of};
use super::probe::{Frame, r_squared};
use crate::plan::Plan;
use crate::train::samples::{Sample, evenly};

/// Frames that one drop's probe sees, of all samples together: half to fit, half to test.
const PROBED_FRAMES: usize = 512;

/// One layer on whose entry frames, or the whole video, lose tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DropRow {
    /// The 0-based layer.
    pub layer: usize,
    /// Tokens of a frame before it; where a video is ranked the mean over its frames.
    pub tokens_before: f64,
    /// Tokens of a frame in it.
    pub tokens: f64,
    /// Loss less that of the run's own plan, with this drop alone one layer earlier; none if no layer is below.
    pub earlier: Option<Mean>,
    /// The same without this drop: its tokens stay until the next one.
    pub removed: Option<Mean>,
    /// Share of the dropped tokens' variance that a linear map from the kept ones explains, in samples that it has not seen;
    /// none with too few samples, or where the whole video is ranked.
    pub predicted: Option<f64>,
}

/// Forward passes over the samples, one plan beside the other.
pub(crate) struct Drops {
    model: Vlm,
    plan: CompressionPlan,
    studies: Vec<Study>,
    frames_per_sample: usize,
}

/// One drop while samples go by.
struct Study {
    layer: usize,
    earlier: Option<Variant>,
    removed: Option<Variant>,
    /// Frames at the drop: of samples that the probe is fit to, and of samples that it is tested on.
    frames: [Vec<Frame>; 2],
    samples: usize,
}

/// Another plan and what it costs each sample.
struct Variant {
    plan: CompressionPlan,
    /// The first layer that differs; everything below is computed once.
    from: usize,
    increases: Vec<f64>,
}

impl Drops {
    /// For so many samples of a run, under its model.
    pub(crate) fn new(model: &Vlm, plan: &Plan, samples: usize) -> Self {
        let plan = plan.compression.clone();
        let study = |layer| Study {
            layer,
            earlier: plan.with_drop_earlier(layer).and_then(|other| Variant::new(other, &plan)),
            removed: plan.without_drop(layer).and_then(|other| Variant::new(other, &plan)),
            frames: [vec![], vec![]],
            samples: 0,
        };
        let studies = plan.drops().into_iter().map(study).collect();
        let frames_per_sample = (PROBED_FRAMES / samples.max(1)).max(1);
        Self { model: model.valid(), studies, plan, frames_per_sample }
    }

    /// Runs a sample under every plan; its loss under the run's own.
    pub(crate) fn add(&mut self, sample: &Sample) -> f64 {
        let Self { model, plan, studies, frames_per_sample } = self;
        let prompts = &sample.batch.prompts;
        let (x, layout) = model.embed(prompts, sample.batch.merged.clone());
        let stack = &model.llm.model;
        let mut inputs = vec![Pass::start(stack, x, layout, 0)];
        for layer in 0..plan.layers() {
            inputs.push(inputs[layer].clone().through(stack, layer, plan, DecoderLayer::forward));
        }
        let own = loss(model, prompts, &inputs[plan.layers()]);
        for study in studies {
            let variants = [&mut study.earlier, &mut study.removed];
            for variant in variants.into_iter().flatten() {
                let mut last = inputs[variant.from].clone();
                for layer in variant.from..plan.layers() {
                    last = last.through(stack, layer, &variant.plan, DecoderLayer::forward);
                }
                variant.increases.push(loss(model, prompts, &last) - own);
            }
            let frames = frames(&inputs[study.layer], plan.reduce(study.layer), *frames_per_sample);
            study.frames[study.samples % 2].extend(frames);
            study.samples += 1;
        }
        own
    }

    /// One row for each drop; `samples` are those added, in order.
    pub(crate) fn rows(self, samples: &[SampleLoss]) -> Vec<DropRow> {
        let plan = &self.plan;
        let increase = |variant: Option<Variant>| {
            let increases = variant?.increases;
            mean_of(samples.iter().map(|sample| sample.id.as_str()).zip(increases))
        };
        let row = |study: Study| DropRow {
            layer: study.layer,
            tokens_before: plan.tokens_before(study.layer),
            tokens: plan.tokens_per_layer()[study.layer],
            earlier: increase(study.earlier),
            removed: increase(study.removed),
            predicted: r_squared(&study.frames[0], &study.frames[1]),
        };
        self.studies.into_par_iter().map(row).collect()
    }
}

impl Variant {
    fn new(plan: CompressionPlan, own: &CompressionPlan) -> Option<Self> {
        let from = (0..own.layers()).find(|layer| plan.reduce(*layer) != own.reduce(*layer))?;
        Some(Self { plan, from, increases: vec![] })
    }
}

/// The mean loss of a sample, from what leaves the last layer.
pub(super) fn loss(model: &Vlm, prompts: &[Prompt], last: &Pass) -> f64 {
    let rows = supervised(prompts, &last.layout);
    let hidden = model.llm.model.norm.forward(last.x.clone());
    read_number(weighted_loss(&model.llm, hidden, &rows, LossNorm::Sample)).into()
}

/// Up to `most` frames of the only sequence, on the host, as a drop finds them; none where a ranking leaves no frame whole.
fn frames(input: &Pass, reduce: &Reduce, most: usize) -> Vec<Frame> {
    let ([span], Reduce::Frames(drop)) = (&input.layout.sequences[0].spans[..], reduce) else {
        return vec![];
    };
    let dim = input.x.dims()[2];
    let width = span.tokens_per_frame * dim;
    let chosen: Vec<i32> = evenly(most, span.frames).into_iter().map(|at| at as i32).collect();
    let count = chosen.len();
    let chosen: Tensor<1, Int> = upload(TensorData::new(chosen, [count]), &input.x.device());
    let rows = input
        .x
        .clone()
        .slice_dim(1, span.start..span.start + span.frames * span.tokens_per_frame) // [1, frames * tokens, d]
        .reshape([span.frames, width])
        .select(0, chosen); // [count, tokens * d]
    let values: Vec<f32> = read(rows.cast(DType::F32)).iter().collect();
    values.chunks(width).map(|tokens| split(tokens, dim, drop)).collect()
}

/// The tokens of one frame that survive, and those that do not; behind a mean none does.
fn split(tokens: &[f32], dim: usize, drop: &FrameDrop) -> Frame {
    let tokens: Vec<&[f32]> = tokens.chunks(dim).collect();
    match drop {
        FrameDrop::Slots(slots) => {
            let dropped = (0..tokens.len()).filter(|slot| !slots.contains(slot));
            Frame {
                kept: slots.iter().flat_map(|slot| tokens[*slot]).copied().collect(),
                dropped: dropped.flat_map(|slot| tokens[slot]).copied().collect(),
            }
        }
        FrameDrop::Pool(stride) => {
            let mean = |run: &[&[f32]]| -> Vec<f32> {
                let sum = |at| run.iter().map(|token| token[at]).sum::<f32>();
                (0..dim).map(|at| sum(at) / run.len() as f32).collect()
            };
            Frame {
                kept: tokens.chunks(*stride).flat_map(mean).collect(),
                dropped: tokens.concat(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_split_into_survivors_and_the_rest() {
        let tokens = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0];
        let check = |drop: FrameDrop, kept: &[f32], dropped: &[f32]| {
            let frame = split(&tokens, 2, &drop);
            assert_eq!((frame.kept.as_slice(), frame.dropped.as_slice()), (kept, dropped));
        };
        check(FrameDrop::Slots(vec![1, 3]), &[2.0, 20.0, 4.0, 40.0], &[1.0, 10.0, 3.0, 30.0]);
        check(FrameDrop::Pool(2), &[1.5, 15.0, 3.5, 35.0], &tokens);
    }
}
