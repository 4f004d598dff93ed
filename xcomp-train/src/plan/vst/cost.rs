//! What reading in windows costs.

use xcomp_model::base::family::Place;
use xcomp_model::compress::vst::{Parts, Purpose, Segment, VstRule};
use xcomp_model::connector::Connector;
use xcomp_model::vision::Vision;
use xcomp_model::windows::KEPT_COPIES;

use super::Windows;
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::cost::flops::Flops;
use crate::plan::cost::memory::{Memory, of_step};
use crate::plan::cost::running::Running;
use crate::recipe::tables::{BackwardWord, RatioPhase};

impl Windows {
    /// Learned tokens of a sample that stay behind all its windows, under the least of its ratios.
    pub fn most_learned(&self, size: SampleSize, tokens_per_frame: usize) -> usize {
        let least = self.all_ratios().filter(|ratio| *ratio > 0).min();
        least.map_or(0, |ratio| size.frames * tokens_per_frame / ratio)
    }

    /// Tokens of the windows that a plan counts with: where frames decide, those between the shortest and the longest.
    fn counted(&self, visual: usize, tokens_per_frame: usize) -> Vec<usize> {
        let each = self.cut.map_or(self.window, |cut| cut.middle() * tokens_per_frame);
        (0..visual).step_by(each).map(|start| each.min(visual - start)).collect()
    }

    /// Visual tokens of the longest window.
    fn longest(&self, tokens_per_frame: usize) -> usize {
        self.cut.map_or(self.window, |cut| cut.most() * tokens_per_frame)
    }

    /// What a sample's segments hold in the mean over its ratios, and all of them but the last; text is counted behind the video.
    pub fn segments(&self, size: SampleSize, tokens_per_frame: usize) -> [TokensAndPairs; 2] {
        let visual = size.frames * tokens_per_frame;
        let tail = if visual > 0 { size.text_tokens.clamp(1, self.window) } else { 0 };
        let parts = Parts { prefix: size.text_tokens.saturating_sub(tail), visual, tail };
        let (mut sums, mut from) = ([TokensAndPairs::default(); 2], 0.0);
        for RatioPhase { until, ratios } in &self.phases {
            let share = (until - from) / ratios.len() as f64;
            from = *until;
            for ratio in ratios {
                let rule = VstRule { window: self.window, ratios: vec![*ratio], mix: self.mix };
                let windows = self.counted(visual, tokens_per_frame);
                let plan = rule.plan_windows(parts, &windows, Purpose::Answering, &mut |_| *ratio);
                let segments = plan.map_or(vec![], |plan| plan.segments);
                let before = segments.len().saturating_sub(1);
                sums[0].add(&segments, share);
                sums[1].add(&segments[..before], share);
            }
        }
        sums
    }

    /// The operations of a sample that is read in windows, from those of the same sample read whole.
    pub fn flops(&self, plan: &Plan, whole: Flops, size: SampleSize) -> Flops {
        let tokens_per_frame = plan.config.tokens_per_frame();
        let all = (size.frames * tokens_per_frame + size.text_tokens).max(1) as f64;
        let shares =
            self.segments(size, tokens_per_frame).map(|TokensAndPairs { tokens, pairs }| {
                (tokens / all, pairs / (all * (all + 1.0) / 2.0))
            });
        let [(more, fewer), (first_more, first_fewer)] = shares;
        let again = match self.backward {
            // The first pass over the windows: of the last segment nothing is to be held, so it is run on its tape alone.
            BackwardWord::Windows => {
                whole.llm_forward_matmul * first_more
                    + whole.llm_forward_attention * first_fewer
                    + self.encoded_again(plan, size)
            }
            BackwardWord::Tape => 0.0,
        };
        Flops {
            llm_forward_matmul: whole.llm_forward_matmul * more,
            llm_forward_attention: whole.llm_forward_attention * fewer,
            llm_backward_matmul: whole.llm_backward_matmul * more,
            llm_backward_attention: whole.llm_backward_attention * fewer,
            attention_recompute: whole.attention_recompute * fewer,
            recompute: again,
            ..whole
        }
    }

    /// Operations of tower and projector beyond one forward: both passes over the windows make their tokens, and what learns runs again on
    /// a tape of its own; where frames decide, a tuned tower looks at all of them first.
    fn encoded_again(&self, plan: &Plan, size: SampleSize) -> f64 {
        let moves = |place| plan.tuning.reaches(place);
        let vision = moves(Place::Vision);
        let towers = if vision { 2 + usize::from(self.looks_at_frames()) } else { 0 };
        let projectors = 1 + usize::from(vision || moves(Place::Connector));
        let tower = Vision::flops(&plan.config.vision, 1).all() * size.frames as f64;
        let projector = Connector::project_flops(&plan.config.connector, size.frames);
        towers as f64 * tower + projectors as f64 * projector.iter().sum::<f64>()
    }

    /// Memory of a step whose largest micro-batch holds samples of these sizes, for both ways back.
    pub fn memory(&self, plan: &Plan, batch: &[SampleSize]) -> Memory {
        let tokens = plan.config.tokens_per_frame();
        let learned = |size: &SampleSize| self.most_learned(*size, tokens);
        if self.backward == BackwardWord::Tape {
            let with = |size: &SampleSize| SampleSize {
                text_tokens: size.text_tokens + learned(size),
                ..*size
            };
            let all: Vec<SampleSize> = batch.iter().map(with).collect();
            return of_step(&plan.work(), &all, plan.running);
        }
        // One after the other, window by window, each adding its gradients to those of the windows behind it.
        let running = Running { sums: plan.running.sums + 1, ..plan.running };
        let largest = batch.iter().map(|size| self.at_once(*size, tokens));
        let steps = largest.map(|size| of_step(&plan.work(), &[size], running));
        let step = steps.max_by_key(Memory::peak).unwrap_or_default();
        // What a frozen tower made of all frames lies there meanwhile.
        let frames: usize = batch.iter().map(|size| size.frames).sum();
        let vision = &plan.config.vision;
        let numbers = frames * plan.config.connector.cached_tokens_per_frame() * vision.hidden_size;
        let features = numbers as u64 * running.formats.activation;
        let moves = plan.tuning.reaches(Place::Vision);
        // Of the copies of what stays of windows two are as activations are, two in f32.
        let llm = &plan.config.llm;
        let held = batch.iter().map(learned).max().unwrap_or(0);
        let numbers = 2 * held * llm.num_hidden_layers * llm.num_key_value_heads * llm.head_dim();
        let copies = KEPT_COPIES as u64 / 2 * (running.formats.activation + 4);
        Memory {
            frames: step.frames + if moves { 0 } else { features },
            activations: step.activations + numbers as u64 * copies,
            ..step
        }
    }

    /// What of a sample of this size is on a tape at a time: a window with the most learned tokens, and the words that are learnt.
    pub fn at_once(&self, size: SampleSize, tokens_per_frame: usize) -> SampleSize {
        let tokens = self.longest(tokens_per_frame).min(size.frames * tokens_per_frame);
        let least = self.all_ratios().filter(|ratio| *ratio > 0).min();
        let learned = least.map_or(0, |ratio| tokens / ratio);
        let text_tokens = learned.max(size.text_tokens.saturating_sub(tokens));
        SampleSize { frames: tokens.div_ceil(tokens_per_frame), text_tokens, ..size }
    }
}

/// What segments hold: tokens, learned ones too, and the pairs of them that attention sees (Eq. 8 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokensAndPairs {
    /// Tokens.
    pub tokens: f64,
    /// Pairs, those with the memory before a segment too.
    pub pairs: f64,
}

impl TokensAndPairs {
    fn add(&mut self, segments: &[Segment], share: f64) {
        for segment in segments {
            let (len, memory) = (segment.len() as f64, segment.memory as f64);
            self.tokens += share * len;
            self.pairs += share * (len * memory + len * (len + 1.0) / 2.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::windows;
    use super::*;

    /// By hand: two windows of 24 tokens, 12 learned ones each, then 6 tokens of text.
    #[test]
    fn tokens_and_pairs_are_those_of_the_windows() {
        let size = SampleSize { frames: 2, text_tokens: 6, supervised_tokens: 1 };
        let seen = |len: f64, memory: f64| len * memory + len * (len + 1.0) / 2.0;
        let [all, before] = windows(&[(1.0, &[2])]).segments(size, 24);
        let of_windows = seen(36.0, 0.0) + seen(36.0, 12.0);
        for (got, tokens, pairs) in
            [(all, 36.0 + 36.0 + 6.0, of_windows + seen(6.0, 24.0)), (before, 72.0, of_windows)]
        {
            assert!((got.tokens - tokens).abs() < 1e-9 && (got.pairs - pairs).abs() < 1e-9);
        }
        let text = windows(&[(1.0, &[2])]).segments(SampleSize { frames: 0, ..size }, 24);
        assert!((text[0].tokens - 6.0).abs() < 1e-9 && text[1] == TokensAndPairs::default());
        let mixed = windows(&[(0.5, &[2]), (1.0, &[4, 8])]).segments(size, 24)[0].tokens;
        assert!((mixed - (0.5 * 72.0 + 0.25 * 60.0 + 0.25 * 54.0 + 6.0)).abs() < 1e-9, "{mixed}");
    }
}
