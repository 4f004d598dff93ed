//! Bytes on the device at the peak of a step, by part.
//!
//! A step is walked through moment by moment, because not everything is there at once:
//! activations go as gradients come, and a decoder with LP-Comp keeps most of them in its first layers.

use xcomp_model::base::family::Place;
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::base::lora::AdaptedMap;
use xcomp_model::compress::layout::Arrangement;
use xcomp_model::cost::{Blocks, Formats, Kernels};
use xcomp_model::decoder::cost::Tokens;
use xcomp_model::decoder::qwen2::DecoderLayer;
use xcomp_model::ops::STRIDE;

use super::SampleSize;
use super::flops::Work;
use super::moment::Parts;
pub use super::moment::{Memory, Moment};
use super::parameters::{TensorShape, tensors};
use super::running::{Held, Running};
use crate::plan::tapes::{Taped, tapes};

/// Gradients of the logits while the loss goes back: of log-softmax, of its shift and of its sum.
const LOGIT_GRADIENTS: u64 = 3;
/// New tensors while AdamW moves one, unless it does so in place: its mean, its mean square, and its weight.
const UPDATE_COPIES: u64 = 3;
/// Numbers in f32, and places by which they are quantised, of a piece of a tensor that is held in fewer bits while AdamW steps it.
const PIECE_COPIES: u64 = 12;
/// Copies of the embeddings' gradient while those of its two uses, lookup and head, become one.
const COLLECT_COPIES: u64 = 2;
/// Copies of a clip's pixels in f32: before and after they are laid out in patches.
const PIXEL_COPIES: u64 = 2;
/// Matrices of even by odd tokens while token merging averages them: which join, and how much each weighs.
const JOIN_MATRICES: u64 = 2;

/// The peak of a step whose micro-batches hold samples of these sizes.
pub fn of_step(work: &Work, batch: &[SampleSize], running: Running) -> Memory {
    let moments = Step::new(work, batch, running).moments();
    let peak = moments.iter().max_by_key(|parts| parts.all().bytes());
    let peak = peak.expect("a step has moments");
    // What small blocks took in one moment stays with the process when large ones come in another.
    let most = moments.iter().map(Parts::all).reduce(Blocks::max).unwrap_or_default();
    let kept = most.bytes() - peak.all().bytes();
    let process = running.process.map_or(0, |process| process.own_bytes() + kept);
    peak.memory(process)
}

/// One step, as its moments need it.
struct Step<'a> {
    work: &'a Work<'a>,
    batch: &'a [SampleSize],
    /// Those that are on tapes at one time.
    taped: Vec<SampleSize>,
    /// Tapes that are there at one time.
    tapes: u64,
    formats: Formats,
    /// Whether adapters drop some of their inputs.
    drops: bool,
    arrangement: Arrangement,
    clips_at_once: usize,
    /// How what outlives a micro-step is held.
    bytes: Held,
    /// Gradients of a whole step.
    sums: Blocks,
    /// Tuned tensors.
    tuned: Vec<TensorShape>,
    /// What is there in every moment.
    held: Parts,
}

impl<'a> Step<'a> {
    fn new(work: &'a Work<'a>, batch: &'a [SampleSize], running: Running) -> Self {
        let (moving, still): (Vec<_>, Vec<_>) =
            tensors(work.config).into_iter().partition(|tensor| tensor.moves(work.tuning));
        let bytes = running.held;
        let sums: Blocks = moving.iter().map(|tensor| bytes.sum(tensor)).sum();
        let wide: Blocks = moving.iter().map(block).sum();
        let (taped, tapes, done) = on_tapes(work, batch, running);
        let held = Parts {
            tuned_weights: moving.iter().map(|tensor| bytes.weight(tensor)).sum(),
            frozen_weights: still.iter().map(|tensor| bytes.frozen(tensor)).sum(),
            moments: moving.iter().map(|tensor| bytes.moments(tensor)).sum(),
            gradients: sums * running.sums.min(1) + wide * (running.sums.saturating_sub(1) + done),
            ..Parts::default()
        };
        let Running { formats, drops, arrangement, clips_at_once, .. } = running;
        let tuned = moving;
        Self {
            work,
            batch,
            taped,
            tapes,
            formats,
            drops,
            arrangement,
            clips_at_once,
            bytes,
            sums,
            tuned,
            held,
        }
    }

    fn moments(&self) -> Vec<Parts> {
        let mut moments = vec![self.pixels(), self.merge(), self.connect(), self.loss()];
        moments.extend((0..self.llm().num_hidden_layers).rev().map(|layer| self.backward(layer)));
        moments.extend([self.collect(), self.update()]);
        moments
    }

    fn llm(&self) -> &LlmConfig {
        &self.work.config.llm
    }

    /// Raw frames of all samples, those of some clips on their way into the tower, its first block, and the merged tokens of all.
    fn pixels(&self) -> Parts {
        let vision = &self.work.config.vision;
        let pixels = self.tower_frames() * self.frame_bytes();
        let block = (2 * vision.hidden_size + 2 * vision.intermediate_size) as u64;
        let tokens = self.tower_frames() * vision.patches() as u64;
        let clip = Blocks::one(pixels) + Blocks::one(4 * pixels) * PIXEL_COPIES;
        let block = Blocks::one(tokens * block * self.formats.activation);
        Parts { moment: Moment::Pixels, frames: self.frames() + clip.max(block), ..self.held }
    }

    /// The same frames, and the clips' tokens in the first round of merging, where tokens are merged.
    fn merge(&self) -> Parts {
        if !self.work.config.connector.merges() {
            return Parts { moment: Moment::Merge, frames: self.frames(), ..self.held };
        }
        let half = self.clip_frames() * self.work.config.vision.patches() as u64 / 2;
        let clips = self.tower_frames() / self.clip_frames();
        let pairs = half * half * clips;
        let joins = Blocks::one(4 * pairs) * JOIN_MATRICES + Blocks::one(pairs);
        Parts { moment: Moment::Merge, frames: self.frames() + joins, ..self.held }
    }

    fn connect(&self) -> Parts {
        Parts { moment: Moment::Connect, frames: self.frames() + self.in_vain(), ..self.held }
    }

    fn loss(&self) -> Parts {
        Parts {
            moment: Moment::Loss,
            frames: self.merged(),
            activations: self.kept_below(self.llm().num_hidden_layers) + self.kept_in_vain(),
            logits: self.logits(),
            gradients: self.held.gradients + self.gradients(before_layers),
            ..self.held
        }
    }

    /// The layer's own activations are still there, and what its backward needs besides.
    fn backward(&self, layer: usize) -> Parts {
        let own = DecoderLayer::memory(self.llm(), self.tokens(layer), self.formats);
        let kept = own.kept + self.adapters(layer);
        let again = if self.work.recompute { kept } else { Blocks::default() };
        let above = |place| matches!(place, Place::Layer(other) if other > layer);
        let here = |place| place == Place::Layer(layer) || before_layers(place);
        // A layer that was run again gives its gradients away at once.
        let (own_gradients, given) = if self.work.recompute {
            (self.gradients(here), self.given(above))
        } else {
            (self.gradients(|place| above(place) || here(place)), Blocks::default())
        };
        let given = if self.held.gradients.bytes() > 0 { Blocks::default() } else { given };
        Parts {
            moment: Moment::Backward(layer),
            frames: self.merged(),
            activations: self.kept_below(layer + 1) + again + self.kept_in_vain(),
            gradients: self.held.gradients + own_gradients + given,
            work: own.backward,
            ..self.held
        }
    }

    fn collect(&self) -> Parts {
        let embeddings = self.tuned.iter().filter(|tensor| tensor.place == Place::Embed);
        let (own, given) = if self.work.recompute {
            (self.gradients(|place| !in_layers(place)), self.given(in_layers))
        } else {
            (self.gradients(|_| true), Blocks::default())
        };
        let given = if self.held.gradients.bytes() > 0 { Blocks::default() } else { given };
        Parts {
            moment: Moment::Collect,
            frames: self.merged(),
            gradients: self.held.gradients + own + given,
            work: embeddings.map(block).sum::<Blocks>() * COLLECT_COPIES * self.tapes,
            ..self.held
        }
    }

    fn update(&self) -> Parts {
        let largest = self.tuned.iter().max_by_key(|tensor| tensor.count);
        let work = largest.map(|tensor| self.stepping(tensor)).unwrap_or_default();
        Parts { moment: Moment::Update, gradients: self.sums, work, ..self.held }
    }

    /// What the optimizer needs beside a tensor while it steps it.
    fn stepping(&self, tensor: &TensorShape) -> Blocks {
        let widened = if self.bytes.gradient < 4 { block(tensor) } else { Blocks::default() };
        if self.formats.kernels != Kernels::Fused {
            return widened; // in place, a piece at a time
        }
        if !self.bytes.is_narrow() {
            return widened + block(tensor) * UPDATE_COPIES;
        }
        let piece = Blocks::one(4 * tensor.count.min(STRIDE as u64));
        widened + piece * PIECE_COPIES + self.bytes.weight(tensor) + self.bytes.moments(tensor)
    }

    /// Summed gradients of the tuned tensors that `found` names.
    fn given(&self, found: impl Fn(Place) -> bool) -> Blocks {
        let own = self.tuned.iter().filter(|tensor| found(tensor.place));
        own.map(|tensor| self.bytes.sum(tensor)).sum()
    }

    /// Gradients of the tuned tensors that `found` names, on every tape.
    fn gradients(&self, found: impl Fn(Place) -> bool) -> Blocks {
        let own = self.tuned.iter().filter(|tensor| found(tensor.place)).map(block);
        own.sum::<Blocks>() * self.tapes
    }

    /// What the first `layers` layers keep: everything, or their inputs.
    fn kept_below(&self, layers: usize) -> Blocks {
        let of_layer = |layer| {
            let tokens = self.tokens(layer);
            if self.work.recompute {
                let before = if layer == 0 { tokens } else { self.tokens(layer - 1) };
                let width = self.llm().hidden_size as u64;
                Blocks::one(before.all() * width * self.formats.activation)
            } else {
                let own = DecoderLayer::memory(self.llm(), tokens, self.formats).kept;
                own + self.adapters(layer)
            }
        };
        (0..layers).map(of_layer).sum()
    }

    /// What the adapters of a layer keep: what stands between their factors, and their inputs where some are dropped.
    fn adapters(&self, layer: usize) -> Blocks {
        let Some(lora) = &self.work.tuning.lora else { return Blocks::default() };
        let tokens = self.tokens(layer).all();
        let kept = |width: usize| Blocks::one(tokens * width as u64 * self.formats.activation);
        let of = |map: &AdaptedMap| {
            let masks = if self.formats.kernels == Kernels::Loops { 1 } else { 2 };
            let dropped = if self.drops { kept(map.inputs) * masks } else { Blocks::default() };
            kept(lora.rank) + dropped
        };
        let own = lora.maps.values().filter(|map| map.place == Place::Layer(layer));
        own.map(of).sum()
    }

    /// Sequences of a layer on tapes: padded to the longest, or without padding, which is as if each had their mean.
    fn tokens(&self, layer: usize) -> Tokens {
        let plan = self.work.compression;
        let of = |size: &SampleSize| plan.visual_tokens(layer, size.frames) + size.text_tokens;
        let lengths = || self.taped.iter().map(of);
        let padded = self.arrangement == Arrangement::Padded && self.tapes == 1;
        let mean = || lengths().sum::<usize>().div_ceil(self.taped.len().max(1));
        let each = if padded { lengths().max().unwrap_or(0) } else { mean() };
        Tokens { sequences: self.taped.len() as u64, each: each as u64 }
    }

    /// The tape keeps the shifted logits of every supervised row; their gradients come to them.
    fn logits(&self) -> Blocks {
        let rows: usize = self.taped.iter().map(|size| size.supervised_tokens).sum();
        Blocks::one(4 * (rows * self.llm().vocab_size) as u64) * (1 + LOGIT_GRADIENTS)
    }

    fn clip_frames(&self) -> u64 {
        self.frames_of_clips(1)
    }

    /// Frames that go through the tower together.
    fn tower_frames(&self) -> u64 {
        self.frames_of_clips(self.clips_at_once)
    }

    fn frames_of_clips(&self, clips: usize) -> u64 {
        let most = self.batch.iter().map(|size| size.frames).max().unwrap_or(0);
        (self.work.config.vision.clip_frames * clips).min(most.max(1)) as u64
    }

    /// Of a raw frame.
    fn frame_bytes(&self) -> u64 {
        let side = self.work.config.vision.image_size as u64;
        3 * side * side
    }

    /// Raw frames and merged tokens of all samples.
    fn frames(&self) -> Blocks {
        let raw = |size: &SampleSize| Blocks::one(size.frames as u64 * self.frame_bytes());
        self.batch.iter().map(raw).sum::<Blocks>() + self.merged()
    }

    /// What the connector's MLP makes of tokens that are pooled away behind it: behind each map, and behind its activation.
    fn in_vain(&self) -> Blocks {
        let connector = &self.work.config.connector;
        let values = (connector.projected_in_vain() * connector.output_size) as u64;
        let of = |size: &SampleSize| {
            Blocks::one(size.frames as u64 * values * self.formats.activation) * 3
        };
        self.taped.iter().map(of).sum()
    }

    /// The same, where its backward needs it.
    fn kept_in_vain(&self) -> Blocks {
        let tape =
            [Place::Connector, Place::Vision].into_iter().any(|at| self.work.tuning.reaches(at));
        if tape { self.in_vain() } else { Blocks::default() }
    }

    fn merged(&self) -> Blocks {
        let config = self.work.config;
        let frame = config.connector.cached_tokens_per_frame() * config.vision.hidden_size;
        let merged =
            |size: &SampleSize| Blocks::one((size.frames * frame) as u64 * self.formats.activation);
        self.batch.iter().map(merged).sum()
    }
}

/// The samples that are on tapes at one time, the number of these tapes, and that of tapes whose gradients already wait for the others'.
fn on_tapes(work: &Work, batch: &[SampleSize], running: Running) -> (Vec<SampleSize>, u64, u64) {
    if !running.apart || batch.is_empty() {
        return (batch.to_vec(), 1, 0);
    }
    let mut rest = batch;
    let own = |count: usize| rest.split_off(..count).unwrap_or_default();
    let sizes = batch.iter().map(|size| Taped::of(work.config, size));
    let mut each: Vec<&[SampleSize]> = tapes(work.config, sizes).into_iter().map(own).collect();
    let frames = |tape: &[SampleSize]| tape.iter().map(|size| size.frames).sum::<usize>();
    let all = each.len();
    each.sort_by_key(|tape| std::cmp::Reverse(frames(tape)));
    each.truncate(running.threads());
    (each.concat(), each.len() as u64, (all - each.len()) as u64)
}

/// A tensor in f32.
fn block(tensor: &TensorShape) -> Blocks {
    Blocks::one(4 * tensor.count)
}

fn in_layers(place: Place) -> bool {
    matches!(place, Place::Layer(_))
}

/// Whether a tensor has its gradient before the layers': head, final norm, and embeddings, which may be tied to the head.
fn before_layers(place: Place) -> bool {
    matches!(place, Place::Head | Place::Norm | Place::Embed)
}
