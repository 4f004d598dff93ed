//! Floating-point operations of one sample; a multiply and an add count two.
//!
//! Attention of the decoder is counted causally (half the square), that of the tower in full.
//! Differences to a count over all rows: the head runs on supervised rows only, because only these get logits.
//! Ranking tokens is not counted: it takes the keys of one layer once more, at few layers.

use serde::Serialize;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::Place;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::connector::Connector;
use xcomp_model::cost::{Flops as Forward, matmul};
use xcomp_model::decoder::qwen2::DecoderLayer;
use xcomp_model::vision::Vision;

use super::SampleSize;
use crate::plan::tuning::Tuning;

/// FLOPs of one sample, forward and backward, by part.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Flops {
    /// The vision tower, all of it.
    pub vision: f64,
    /// Of which attention.
    pub vision_attention: f64,
    /// Token merging.
    pub merge: f64,
    /// The connector's MLP, forward and backward.
    pub projector: f64,
    /// Matrix products of the decoder layers.
    pub llm_forward_matmul: f64,
    /// Attention of the decoder layers.
    pub llm_forward_attention: f64,
    /// Matrix products of their backward.
    pub llm_backward_matmul: f64,
    /// Attention of their backward: twice the forward.
    pub llm_backward_attention: f64,
    /// Scores that a fused attention backward computes again: half the forward.
    pub attention_recompute: f64,
    /// Layers that are run a second time instead of kept.
    pub recompute: f64,
    /// The language-model head, forward and backward.
    pub head: f64,
}

impl Flops {
    /// What the mathematics needs: nothing computed twice.
    pub fn model(&self) -> f64 {
        self.vision
            + self.merge
            + self.projector
            + self.llm_forward_matmul
            + self.llm_forward_attention
            + self.llm_backward_matmul
            + self.llm_backward_attention
            + self.head
    }

    /// What the device does.
    pub fn hardware(&self) -> f64 {
        self.model() + self.attention_recompute + self.recompute
    }
}

/// What decides the operations besides the size of a sample.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// Sizes of the model.
    pub config: &'a ModelConfig,
    /// Tokens of a frame in every layer.
    pub compression: &'a CompressionPlan,
    /// What is tuned.
    pub tuning: &'a Tuning,
    /// Whether decoder layers are run again on the way back.
    pub recompute: bool,
}

/// FLOPs of one sample of this size.
pub fn of_sample(work: &Work, size: SampleSize) -> Flops {
    let mut flops = Flops::default();
    let tunes = |place| work.tuning.reaches(place);
    let vision_tuned = tunes(Place::Vision);

    add_vision(&mut flops, work.config, size.frames, vision_tuned);
    add_projector(&mut flops, work, size.frames);

    let layers = layer_work(work, size);
    for layer in &layers {
        let forward = layer.forward;
        flops.llm_forward_matmul += layer.forward_products();
        flops.llm_forward_attention += forward.attention;
        flops.llm_backward_matmul += layer.backward_products();
        if layer.passes {
            flops.llm_backward_attention += 2.0 * forward.attention;
            flops.attention_recompute += 0.5 * forward.attention;
            flops.recompute += if work.recompute { layer.forward_all() } else { 0.0 };
        }
    }

    let tied = work.config.llm.tie_word_embeddings;
    let head_tuned = work.tuning.moves_whole(if tied { Place::Embed } else { Place::Head });
    let passes = layers.last().is_some_and(|layer| layer.passes);
    let passes = u8::from(passes || tunes(Place::Norm));
    let llm = &work.config.llm;
    let logits = matmul(size.supervised_tokens, llm.hidden_size, llm.vocab_size);
    flops.head = logits * f64::from(1 + u8::from(head_tuned) + passes);
    flops
}

/// One decoder layer's forward, and what its backward has to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerWork {
    pub(super) tokens: usize,
    pub(super) forward: Forward,
    /// Operations of its adapters' forward.
    pub(super) adapters: f64,
    /// Whether its weights are tuned.
    pub(super) moves: bool,
    /// Whether a gradient must pass it: it, or anything below it, is tuned.
    pub(super) passes: bool,
}

impl LayerWork {
    /// Products of the forward.
    fn forward_products(&self) -> f64 {
        self.forward.products + self.adapters
    }

    /// Products of the backward: of weights that move, and of inputs that a gradient must pass; of adapters always both.
    fn backward_products(&self) -> f64 {
        let ways = u8::from(self.moves) + u8::from(self.passes);
        self.forward.products * f64::from(ways) + 2.0 * self.adapters
    }

    /// All of the forward.
    pub(super) fn forward_all(&self) -> f64 {
        self.forward_products() + self.forward.attention
    }

    /// All of the backward, nothing computed twice.
    pub(super) fn backward_all(&self) -> f64 {
        let attention = if self.passes { 2.0 * self.forward.attention } else { 0.0 };
        self.backward_products() + attention
    }
}

/// The decoder layers, first to last; adapters of other maps are too small to count.
pub(super) fn layer_work(work: &Work, size: SampleSize) -> Vec<LayerWork> {
    let tunes = |place| work.tuning.reaches(place);
    let below = [Place::Vision, Place::Connector, Place::Newline, Place::Embed, Place::Vst];
    let mut passes = below.into_iter().any(tunes);
    let adapters = |layer| {
        let lora = work.tuning.lora.as_ref();
        lora.map_or(0, |lora| lora.numbers(|place| place == Place::Layer(layer)))
    };
    let layer = |layer| {
        passes |= tunes(Place::Layer(layer));
        let moves = work.tuning.moves_whole(Place::Layer(layer));
        let tokens = work.compression.visual_tokens(layer, size.frames) + size.text_tokens;
        let forward = DecoderLayer::flops(&work.config.llm, tokens);
        let adapters = 2.0 * tokens as f64 * adapters(layer) as f64;
        LayerWork { tokens, forward, adapters, moves, passes }
    };
    (0..work.config.llm.num_hidden_layers).map(layer).collect()
}

/// The tower, and the stages of the connector that nothing tunes.
fn add_vision(flops: &mut Flops, config: &ModelConfig, frames: usize, is_tuned: bool) {
    let clip_frames = config.vision.clip_frames.min(frames.max(1));
    let clips = frames as f64 / clip_frames as f64; // a mean may lie between two counts
    let passes = if is_tuned { 3.0 } else { 1.0 };
    let tower = Vision::flops(&config.vision, clip_frames);
    flops.vision_attention += passes * clips * tower.attention;
    flops.vision += passes * clips * tower.all();
    flops.merge += clips * Connector::fixed_flops(&config.connector, clip_frames);
}

fn add_projector(flops: &mut Flops, work: &Work, frames: usize) {
    let [first, second] = Connector::project_flops(&work.config.connector, frames);
    let vision_tuned = work.tuning.reaches(Place::Vision);
    flops.projector += first + second;
    if work.tuning.moves_whole(Place::Connector) {
        flops.projector += first + second; // weights
    }
    if work.tuning.reaches(Place::Connector) || vision_tuned {
        flops.projector += second; // between the two maps
    }
    if vision_tuned {
        flops.projector += first; // into the tower
    }
}

#[cfg(test)]
mod tests {
    use xcomp_model::compress::schedule::{KeepRule, Schedule};

    use super::*;
    use crate::plan::cost::released;
    use crate::recipe::tune::Part;

    /// TFLOPs of an independent desk count of the released model (text 256, 128 supervised):
    /// vision, of which attention, merge, projector, then the decoder's forward matmul and attention, backward matmul and attention
    /// with the recomputed scores, a second forward, and the head on supervised rows.
    #[rustfmt::skip]
    #[expect(clippy::unreadable_literal, reason = "a table of measurements")]
    const DESK: &[(usize, bool, [f64; 10])] = &[
        (128, true, [117.538222505984, 59.295244746752, 0.027151147008, 0.041875931136, 3.437953548288, 0.18790023168, 6.875907096576, 0.4697505792, 3.625853779968, 0.179230998528]),
        (128, false, [117.538222505984, 59.295244746752, 0.027151147008, 0.041875931136, 6.037381840896, 0.45680689152, 12.074763681792, 1.1420172288, 6.494188732416, 0.179230998528]),
        (256, true, [235.076445011968, 118.590489493504, 0.054302294016, 0.083751862272, 6.205086892032, 0.641428881408, 12.410173784064, 1.60357220352, 6.84651577344, 0.179230998528]),
        (256, false, [235.076445011968, 118.590489493504, 0.054302294016, 0.083751862272, 11.403943477248, 1.629509124096, 22.807886954496, 4.07377281024, 13.033452601344, 0.179230998528]),
        (512, true, [470.152890023936, 237.180978987008, 0.108604588032, 0.167503724544, 11.73935357952, 2.362348929024, 23.47870715904, 5.90587232256, 14.101702508544, 0.179230998528]),
        (512, false, [470.152890023936, 237.180978987008, 0.108604588032, 0.167503724544, 22.13706674995, 6.139577106432, 44.27413349990, 15.34894276608, 28.276643856384, 0.179230998528]),
        (1024, true, [940.305780047872, 474.361957974016, 0.217209176064, 0.335007449088, 22.807886954496, 9.059640016896, 45.615773908992, 22.64910004224, 31.867526971392, 0.179230998528]),
        (1024, false, [940.305780047872, 474.361957974016, 0.217209176064, 0.335007449088, 43.60331329536, 23.81836713984, 87.20662659072, 59.5459178496, 67.4216804352, 0.179230998528]),
    ];

    #[test]
    fn every_part_agrees_with_the_desk_count() {
        let config = released::config();
        let tuning = Tuning::whole(&[Part::Llm, Part::Projector]);
        for (frames, compressed, desk) in DESK {
            let schedule = if *compressed { Schedule::Cosine } else { Schedule::None };
            let compression = CompressionPlan::new(&schedule, KeepRule::Suffix, 16, 28).unwrap();
            let work = Work {
                config: &config,
                compression: &compression,
                tuning: &tuning,
                recompute: true,
            };
            let size = SampleSize { frames: *frames, text_tokens: 256, supervised_tokens: 128 };
            let f = of_sample(&work, size);
            let got = [
                f.vision,
                f.vision_attention,
                f.merge,
                f.projector,
                f.llm_forward_matmul,
                f.llm_forward_attention,
                f.llm_backward_matmul,
                f.llm_backward_attention + f.attention_recompute,
                f.recompute,
                f.head,
            ];
            for (part, (got, desk)) in got.iter().zip(desk).enumerate() {
                let off = (got / 1e12 - desk).abs() / desk;
                assert!(off < 0.005, "{frames} frames, part {part}: {got} is off by {off}");
            }
        }
    }

    #[test]
    fn frozen_parts_have_no_backward() {
        let config = released::config();
        let compression =
            CompressionPlan::new(&Schedule::Cosine, KeepRule::Suffix, 16, 28).unwrap();
        let size = SampleSize { frames: 128, text_tokens: 256, supervised_tokens: 128 };
        let flops = |parts: &[Part]| {
            let tuning = &Tuning::whole(parts);
            let work =
                Work { config: &config, compression: &compression, tuning, recompute: false };
            of_sample(&work, size)
        };
        let llm = flops(&[Part::Llm]);
        let upper = flops(&[Part::Layers(14..=27)]);
        assert!(upper.llm_backward_matmul < 0.5 * llm.llm_backward_matmul);
        let vision = flops(&[Part::Vision]);
        assert!((vision.vision / llm.vision - 3.0).abs() < 1e-9);
        assert!((vision.llm_backward_matmul / llm.llm_backward_matmul - 0.5).abs() < 1e-9);
    }
}
