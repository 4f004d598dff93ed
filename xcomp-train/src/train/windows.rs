//! Samples that are read in windows, forward and backward in the memory of one window (see [`xcomp_model::windows::backward`]).

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{DType, Device, Gradients, Tensor};
use xcomp_model::compress::layout::Layout;
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::loss::{LossNorm, pulled};
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::{Clips, Encoding};
use xcomp_model::vlm::{Vlm, supervised};
use xcomp_model::windows::{Sequence, backward};

use crate::train::optimizer::grads::NamedTensors;
use crate::train::step::{MicroBatch, MicroStep, tuned};

/// Runs the samples of a micro-batch one after the other.
///
/// # Panics
/// If a plan is not that of its sample.
pub(crate) fn run(model: &Vlm, batch: MicroBatch, encoding: Encoding, norm: LossNorm) -> MicroStep {
    assert_eq!(batch.prompts.len(), batch.windows.len(), "windows of every sample");
    let device = model.llm.model.norm.weight.val().device().inner();
    let mut done =
        MicroStep { loss: Tensor::zeros([1], &device), weight: 0, grads: NamedTensors::default() };
    let plain = model.valid();
    let MicroBatch { prompts, merged, replay, windows, .. } = batch;
    let mut replay = replay.into_iter();
    for ((prompt, merged), plan) in prompts.iter().zip(merged).zip(&windows) {
        let seen = match replay.next() {
            Some(clips) => Seen::Pixels(clips),
            None => Seen::Features(merged),
        };
        let mut sample = Sample::new(model, &plain, prompt, seen, encoding);
        let frames = sample.seen.frames();
        let layout = prompt.layout(&frames, model.connector.config().span_shape());
        let rows = supervised(std::slice::from_ref(prompt), &Layout { sequences: vec![layout] });
        if !rows.is_empty() {
            let share = rows.share(norm);
            done.loss = done.loss + backward(&model.llm, plan, &rows, share, &mut sample);
        }
        done.weight += rows.weight(norm);
        done.grads.add(sample.grads);
    }
    done
}

/// Runs all samples of a micro-batch on one tape, as the released code does.
///
/// # Panics
/// As [`run`].
pub(crate) fn on_one_tape(model: &Vlm, batch: MicroBatch, norm: LossNorm) -> MicroStep {
    let MicroBatch { prompts, merged, windows, .. } = batch;
    let (loss, weight) = model.loss_in_windows(&prompts, merged, &windows, norm);
    let grads = NamedTensors::from_backward(loss.backward(), model);
    MicroStep { loss: loss.inner(), weight, grads }
}

/// What a sample shows, image by image and video by video.
enum Seen {
    /// Features of a tower that stays as it is: `[clips, frames * tokens, width]` each.
    Features(Vec<Tensor<3>>),
    /// Frames for a tower that is tuned.
    Pixels(Vec<Clips>),
}

impl Seen {
    /// Frames of every image and video; a tower that sees single frames has clips of one.
    fn frames(&self) -> Vec<usize> {
        match self {
            Self::Features(all) => all.iter().map(|features| features.dims()[0]).collect(),
            Self::Pixels(all) => all.iter().map(Clips::frame_count).collect(),
        }
    }
}

/// A sample whose tokens are made when a window needs them.
struct Sample<'a> {
    model: &'a Vlm,
    plain: &'a Vlm,
    /// Text before the visual tokens, and behind them.
    text: [&'a [i32]; 2],
    seen: Seen,
    /// The image or video of each frame, and its number in it.
    frames: Vec<(usize, usize)>,
    /// Features of the frames that were asked for last: what is embedded on the way back is learnt next.
    last: Option<(Range<usize>, Tensor<3>)>,
    encoding: Encoding,
    device: Device,
    grads: NamedTensors,
}

/// Where tokens of a segment come from.
enum Origin<'a> {
    Text(&'a [i32]),
    /// These visual tokens.
    Visual(Range<usize>),
}

impl<'a> Sample<'a> {
    fn new(
        model: &'a Vlm,
        plain: &'a Vlm,
        prompt: &'a Prompt,
        seen: Seen,
        encoding: Encoding,
    ) -> Self {
        let (first, behind) = match prompt.visual_at[..] {
            [] => (prompt.ids.len(), prompt.ids.len()),
            [first, ..] => (first, first + prompt.visual_at.len()),
        };
        let of = |(visual, frames): (usize, usize)| (0..frames).map(move |frame| (visual, frame));
        let frames = seen.frames().into_iter().enumerate().flat_map(of).collect();
        let text = [&prompt.ids[..first], &prompt.ids[behind..]];
        let device = plain.llm.model.norm.weight.val().device();
        let grads = NamedTensors::default();
        Self { model, plain, text, seen, frames, last: None, encoding, device, grads }
    }

    fn tokens_per_frame(&self) -> usize {
        self.model.connector.config().tokens_per_frame()
    }

    /// A segment holds text or visual tokens, never both.
    fn origin(&self, rows: &Range<usize>) -> Origin<'a> {
        let start = self.text[0].len();
        let end = start + self.frames.len() * self.tokens_per_frame();
        if rows.end <= start {
            return Origin::Text(&self.text[0][rows.clone()]);
        }
        if rows.start >= end {
            return Origin::Text(&self.text[1][rows.start - end..rows.end - end]);
        }
        Origin::Visual(rows.start - start..rows.end - start)
    }

    fn words(&self, llm: &Qwen2ForCausalLm, ids: &[i32]) -> Tensor<3> {
        let dtype: DType = self.encoding.dtype.into();
        llm.model.embed_tokens.forward(ids).cast(dtype).unsqueeze()
    }

    /// The frames that these visual tokens are of.
    fn of_frames(&self, tokens: &Range<usize>) -> Range<usize> {
        let each = self.tokens_per_frame();
        tokens.start / each..tokens.end.div_ceil(each)
    }

    /// Features of frames behind the stages without parameters, each by itself: `[frames, tokens, width]`.
    fn features(&mut self, frames: Range<usize>) -> Tensor<3> {
        if let Some((_, features)) = self.last.as_ref().filter(|(last, _)| *last == frames) {
            return features.clone();
        }
        self.last = None;
        let features = self.encoded(frames.clone());
        self.last.insert((frames, features)).1.clone()
    }

    fn encoded(&self, frames: Range<usize>) -> Tensor<3> {
        let one = |&(visual, frame): &(usize, usize)| match &self.seen {
            Seen::Features(all) => all[visual].clone().slice_dim(0, frame..=frame),
            Seen::Pixels(all) => {
                self.plain.encode(&all[visual].one(frame), &self.device, self.encoding)
            }
        };
        Tensor::cat(self.frames[frames].iter().map(one).collect(), 0)
    }

    /// Visual tokens of the features of their frames.
    fn visual(&self, model: &Vlm, features: Tensor<3>, tokens: &Range<usize>) -> Tensor<3> {
        let first = self.of_frames(tokens).start * self.tokens_per_frame();
        let x = model.connector.visual(features);
        x.slice_dim(0, tokens.start - first..tokens.end - first).unsqueeze()
    }

    fn collect_from(&mut self, y: Tensor<3>, gradient: Tensor<3>) {
        let tape = pulled(y, gradient).backward();
        self.collect(tape);
    }
}

impl Sequence for Sample<'_> {
    fn embed(&mut self, rows: Range<usize>) -> Tensor<3> {
        match self.origin(&rows) {
            Origin::Text(ids) => self.words(&self.plain.llm, ids),
            Origin::Visual(tokens) => {
                let features = self.features(self.of_frames(&tokens));
                self.visual(self.plain, features, &tokens)
            }
        }
    }

    fn learn(&mut self, rows: Range<usize>, gradient: Tensor<3>) {
        let tokens = match self.origin(&rows) {
            Origin::Text(ids) => {
                if tuned(&self.model.llm.model.embed_tokens) {
                    let y = self.words(&self.model.llm, ids);
                    self.collect_from(y, gradient);
                }
                return;
            }
            Origin::Visual(tokens) => tokens,
        };
        let moves = matches!(self.seen, Seen::Pixels(_));
        if !moves && !tuned(&self.model.connector) {
            return;
        }
        let frames = self.of_frames(&tokens);
        let leaf = self.features(frames.clone()).autodiff().require_grad();
        let y = self.visual(self.model, leaf.clone(), &tokens);
        let mut tape = pulled(y, gradient).backward();
        let below = leaf.grad_remove(&mut tape).expect("frames reach their tokens");
        self.collect(tape);
        let Seen::Pixels(all) = &self.seen else { return };
        let clips: Vec<Clips> =
            self.frames[frames].iter().map(|(visual, frame)| all[*visual].one(*frame)).collect();
        for (at, clip) in clips.iter().enumerate() {
            let y = self.model.encode(clip, &self.device, self.encoding);
            self.collect_from(y, below.clone().slice_dim(0, at..=at));
        }
    }

    fn collect(&mut self, tape: Gradients) {
        self.grads.add(NamedTensors::from_backward(tape, self.model));
    }
}
