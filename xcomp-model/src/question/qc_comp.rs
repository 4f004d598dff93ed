//! QC-Comp, the scores: how much the question attends to every clip, per layer (paper Section 3.3).

use burn::tensor::{DType, Tensor};

use crate::compress::layout::{Layout, SequenceLayout};
use crate::compress::pass::Pass;
use crate::compress::schedule::CompressionPlan;
use crate::decoder::attention_map::{MapRule, attention_map};
use crate::decoder::cache::LayerCache;
use crate::decoder::qwen2::{DecoderLayer, Qwen2};
use crate::decoder::rope::Rope;
use crate::transfer::read;

/// Which part of the video the question looks at in one softmax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All clips at once (paper Table 4, "global").
    Global,
    /// Windows of `clips` clips, one every `stride` clips; only clips seen by the full number of windows are scored.
    Segments {
        /// Clips in a window.
        clips: usize,
        /// Clips between the starts of two windows.
        stride: usize,
    },
}

impl Scope {
    /// The released `segments_8_4`: windows of 8 clips, one every 4.
    pub const WINDOWS: Self = Self::Segments { clips: 8, stride: 4 };
}

/// How clips are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreRule {
    /// What a softmax spans.
    pub scope: Scope,
    /// Frames of a clip (8 in the reference, whatever the encoder's clip length).
    pub clip_frames: usize,
    /// Text tokens behind the video that ask nothing (the time message): 27 in the reference.
    pub query_skip: usize,
    /// Whether a query row sees only what stands before it; the reference's scoring does not (section 10.3 of the facts).
    pub causal: bool,
    /// Whether probabilities and means are rounded to half precision, as the released evaluation does.
    pub half_precision: bool,
    /// First 0-based layer that is scored; layers before it get no scores.
    pub first_layer: usize,
    /// Last 0-based layer that is scored; the stack is not run behind its attention.
    pub last_layer: usize,
}

/// Windows whose maps are made together; one of 64 frames at 16 tokens of width 1536 holds 6 MiB of hidden states in f32.
const WINDOWS_AT_ONCE: usize = 8;

/// Scores of every clip in one layer; `None` where a clip lies in too few windows.
pub type ClipScores = Vec<Option<f32>>;

/// Runs the prefill up to the last scored layer and scores every clip from the hidden states that enter each layer.
///
/// The result has an entry for every layer up to the last scored one, empty before the first scored one.
///
/// # Shapes
/// - `x`: `[1, layout.longest(), hidden]`
/// - `user_end`: position behind the user's turn in the prompt before compression, where the assistant's header begins
///
/// # Panics
/// If the batch is not one sequence with a video whose frames make whole clips in every layer.
pub fn clip_scores(
    model: &Qwen2,
    x: Tensor<3>,
    layout: Layout,
    user_end: usize,
    plan: &CompressionPlan,
    rule: ScoreRule,
) -> Vec<ClipScores> {
    assert_eq!(layout.sequences.len(), 1, "one video is scored at a time");
    let text_behind = layout.sequences[0].len - user_end;
    let mut scores = Vec::with_capacity(model.layers.len());
    let mut pass = Pass::start(model, x, layout, 0);
    let last = rule.last_layer.min(model.layers.len() - 1);
    for (index, layer) in model.layers.iter().enumerate().take(last + 1) {
        pass = pass.enter(model, index, plan);
        let Pass { x, layout, rope } = &mut pass;
        let sequence = layout.sequences[0].clone();
        let user_end = sequence.len - text_behind;
        let scored = Scored { layer, rope, sequence, user_end, rule };
        scores.push(if index >= rule.first_layer { scored.clips(x) } else { vec![] });
        if index < last {
            *x = layer.forward(x.clone(), rope);
        }
    }
    scores
}

/// All that stands before a question, as every layer up to the last scored one takes it: read once for all questions.
#[derive(Debug, Clone)]
pub struct Reading {
    layers: Vec<ReadLayer>,
}

/// What a layer takes of it.
#[derive(Debug, Clone)]
struct ReadLayer {
    /// Hidden states that enter, `[1, sequence.len, hidden]`, where it is scored.
    x: Option<Tensor<3>>,
    sequence: SequenceLayout,
    /// Their keys and values; empty in the last layer, which is not run.
    cache: LayerCache,
}

impl Reading {
    /// Reads a prompt up to and with its video, for questions that are scored by this rule.
    ///
    /// # Shapes
    /// - `x`: `[1, layout.longest(), hidden]`
    ///
    /// # Panics
    /// If the batch is not one sequence, or the plan ranks visual tokens by what follows them.
    pub fn of(
        model: &Qwen2,
        x: Tensor<3>,
        layout: Layout,
        plan: &CompressionPlan,
        rule: ScoreRule,
    ) -> Self {
        assert!(plan.frames_stay_whole(), "ranked tokens depend on what follows them");
        assert_eq!(layout.sequences.len(), 1, "one video is scored at a time");
        let last = rule.last_layer.min(model.layers.len() - 1);
        let mut layers = Vec::with_capacity(last + 1);
        let mut pass = Pass::start(model, x, layout, 0);
        for (index, layer) in model.layers.iter().enumerate().take(last + 1) {
            pass = pass.enter(model, index, plan);
            let x = (index >= rule.first_layer).then(|| pass.x.clone());
            let (sequence, mut cache) = (pass.layout.sequences[0].clone(), LayerCache::default());
            if index < last {
                pass.x = layer.forward_cached(pass.x, &pass.rope, &mut cache);
            }
            layers.push(ReadLayer { x, sequence, cache });
        }
        Self { layers }
    }

    /// Bytes that it takes for a prompt of so many tokens in every layer.
    pub fn bytes(model: &Qwen2, tokens: &[usize], dtype: DType) -> usize {
        let each = model.layers.iter().zip(tokens).map(|(layer, tokens)| {
            let [keys, hidden] = layer.self_attn.k_proj.weight.val().dims();
            tokens * (hidden + 2 * keys)
        });
        each.sum::<usize>() * dtype.size()
    }

    /// As [`clip_scores`] of what was read and of `x`, which stands behind it.
    ///
    /// # Shapes
    /// - `x`: `[1, seq, hidden]`
    /// - `user_end`: position in `x` behind the user's turn, where the assistant's header begins
    ///
    /// # Panics
    /// As [`clip_scores`], or if another rule's layers are scored than those it was read for.
    pub fn clip_scores(
        &self,
        model: &Qwen2,
        mut x: Tensor<3>,
        user_end: usize,
        rule: ScoreRule,
    ) -> Vec<ClipScores> {
        let behind = x.dims()[1];
        let longest = self.layers.iter().map(|read| read.sequence.len).max().unwrap_or(0);
        let rope = model.rope(longest + behind, &x.device());
        let last = rule.last_layer.min(model.layers.len() - 1);
        assert_eq!(last + 1, self.layers.len(), "the layers that were read");
        let mut scores = Vec::with_capacity(last + 1);
        for (index, (layer, read)) in model.layers.iter().zip(&self.layers).enumerate() {
            let mut sequence = read.sequence.clone();
            let user_end = sequence.len + user_end;
            sequence.len += behind;
            let scored = Scored { layer, rope: &rope, sequence, user_end, rule };
            let found = read.x.clone().filter(|_| index >= rule.first_layer);
            let found = found.map(|read| scored.clips(&Tensor::cat(vec![read, x.clone()], 1)));
            scores.push(found.unwrap_or_default());
            if index < last {
                x = layer.forward_cached(x, &rope, &mut read.cache.clone());
            }
        }
        scores
    }
}

/// One layer's view of the sequence.
struct Scored<'a> {
    layer: &'a DecoderLayer,
    rope: &'a Rope,
    sequence: SequenceLayout,
    user_end: usize,
    rule: ScoreRule,
}

impl Scored<'_> {
    fn clips(&self, x: &Tensor<3>) -> ClipScores {
        let [span] = self.sequence.spans[..] else { panic!("one video is scored") };
        assert!(span.frames.is_multiple_of(self.rule.clip_frames), "frames make whole clips");
        let clips = span.frames / self.rule.clip_frames;
        let (window, stride, end) = match self.rule.scope {
            Scope::Global => (clips, clips.max(1), self.sequence.len),
            Scope::Segments { clips, stride } => (clips, stride, self.user_end),
        };

        let starts = (0..).step_by(stride).take_while(|first| first + window <= clips);
        let starts: Vec<usize> = starts.collect();
        let means = starts.chunks(WINDOWS_AT_ONCE).map(|some| self.windows(x, some, window, end));
        let means: Vec<f32> = match means.collect::<Vec<_>>() {
            none if none.is_empty() => vec![],
            all => read(Tensor::cat(all, 0)).iter::<f32>().collect(),
        };

        let (mut sums, mut counts) = (vec![0.0; clips], vec![0; clips]);
        for (first, scores) in starts.into_iter().zip(means.chunks(window.max(1))) {
            for (clip, score) in (first..).zip(scores) {
                sums[clip] += self.rounded(*score);
                counts[clip] += 1;
            }
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        sums.iter()
            .zip(counts)
            .map(|(sum, count)| (count == most).then(|| sum / most as f32))
            .collect()
    }

    /// Mean attention of the question to each clip of each window, over heads, question rows and the clip's tokens.
    ///
    /// # Shapes
    /// - `x`: `[1, len, hidden]`
    /// - output: `[starts.len(), clips]`
    fn windows(&self, x: &Tensor<3>, starts: &[usize], clips: usize, end: usize) -> Tensor<2> {
        let [span] = self.sequence.spans[..] else { panic!("one video is scored") };
        let per_clip = self.rule.clip_frames * span.tokens_per_frame;
        let window = |first: &usize| {
            let video = span.start + first * per_clip..span.start + (first + clips) * per_clip;
            let parts = [0..span.start, video, span.end()..end];
            Tensor::cat(parts.map(|part| x.clone().slice_dim(1, part)).to_vec(), 1)
        };
        let windows = Tensor::cat(starts.iter().map(window).collect(), 0);
        let video_end = span.start + clips * per_clip;
        let asked = video_end + self.rule.query_skip;
        let rows: Vec<usize> = (asked..windows.dims()[1] - (end - self.user_end)).collect();
        let form = MapRule { causal: self.rule.causal, half_precision: self.rule.half_precision };
        let attention = attention_map(self.layer, windows, self.rope, &rows, form); // [starts, rows, len]
        let seen = attention.mean_dim(1).slice_dim(2, span.start..video_end);
        seen.reshape([starts.len() * clips, per_clip]).mean_dim(1).reshape([starts.len(), clips])
    }

    fn rounded(&self, x: f32) -> f32 {
        if self.rule.half_precision { half::f16::from_f32(x).to_f32() } else { x }
    }
}
