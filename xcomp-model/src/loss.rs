//! Next-token loss on supervised rows only: no logits are made for visual rows.

use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Float, Int, Tensor, TensorData};

use crate::compress::layout::{Layout, VisualSpan};
use crate::decoder::qwen2::Qwen2ForCausalLm;
use crate::transfer::{indices, kept, upload};

/// The label of a token that carries no loss (PyTorch's `ignore_index`).
pub const IGNORE: i32 = -100;

/// Rows whose logits exist at one time.
const ROWS_PER_CHUNK: usize = 1024;

/// How the losses of supervised tokens are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossNorm {
    /// Every sample counts the same: the mean of per-sample means (the reference, batch 1 per micro-step).
    Sample,
    /// Every supervised token counts the same.
    Token,
}

/// The rows of a batch that predict a supervised token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisedRows {
    /// Row in the flattened `[batch * seq]`.
    rows: Vec<usize>,
    /// The token that the row must predict.
    targets: Vec<i32>,
    /// Supervised rows of each sequence.
    counts: Vec<usize>,
}

/// Labels of one sequence as the prompt has them: one entry per text token, one for all tokens of an image or video.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Token ids or [`IGNORE`].
    pub labels: &'a [i32],
    /// Indices in `labels` that stand for the tokens of an image or video, ascending.
    pub visual_at: &'a [usize],
}

impl SupervisedRows {
    /// Finds the rows in the layout that leaves the last layer: row `t` predicts the label at `t + 1`.
    pub fn new(labels: &[Labels], layout: &Layout) -> Self {
        let mut found = Self { rows: vec![], targets: vec![], counts: vec![] };
        let seq = layout.longest();
        for (b, (labels, sequence)) in labels.iter().zip(&layout.sequences).enumerate() {
            let before = found.rows.len();
            for (index, &label) in labels.labels.iter().enumerate() {
                // A span of `n` tokens moves what stands behind its placeholder by `n - 1`.
                let spans = labels.visual_at.iter().zip(&sequence.spans);
                let shift = |(at, span): (&usize, &VisualSpan)| (index > *at).then(|| span.len());
                let (spans, tokens) =
                    spans.filter_map(shift).fold((0, 0), |(spans, all), n| (spans + 1, all + n));
                let position = index + tokens - spans;
                if label != IGNORE && position > 0 {
                    found.rows.push(b * seq + position - 1);
                    found.targets.push(label);
                }
            }
            found.counts.push(found.rows.len() - before);
        }
        found
    }

    /// Of one sequence, those whose row stands in `range`, where `place` finds them.
    #[must_use]
    pub fn within(&self, range: &Range<usize>, place: impl Fn(usize) -> usize) -> Self {
        let found = self.rows.iter().zip(&self.targets).filter(|(row, _)| range.contains(row));
        let (rows, targets): (Vec<_>, Vec<_>) =
            found.map(|(row, target)| (place(*row), *target)).unzip();
        Self { counts: vec![rows.len()], rows, targets }
    }

    /// Supervised tokens of each sequence.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Supervised tokens of the batch.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is supervised.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The weight of each row, so that weighted losses sum to the sum over sequences of per-sample means ([`LossNorm::Sample`]) or to the plain sum ([`LossNorm::Token`]).
    fn weights(&self, norm: LossNorm) -> Vec<f32> {
        let per_sequence = |count: usize| match norm {
            LossNorm::Sample => std::iter::repeat_n(1.0 / count as f32, count),
            LossNorm::Token => std::iter::repeat_n(1.0, count),
        };
        self.counts.iter().flat_map(|count| per_sequence(*count)).collect()
    }

    /// What the plain sum of the losses of one sequence, which has some, is multiplied by.
    pub fn share(&self, norm: LossNorm) -> f64 {
        match norm {
            LossNorm::Sample => 1.0 / self.len() as f64,
            LossNorm::Token => 1.0,
        }
    }

    /// What a sum of [`weighted_loss`] over batches is divided by to become a mean: sequences with a supervised token, or supervised tokens.
    pub fn weight(&self, norm: LossNorm) -> usize {
        match norm {
            LossNorm::Sample => self.counts.iter().filter(|count| **count > 0).count(),
            LossNorm::Token => self.len(),
        }
    }
}

/// The summed, weighted next-token losses of a batch; divide by the summed [`SupervisedRows::weight`] for the mean.
///
/// # Shapes
/// - `hidden`: `[batch, seq, hidden]`, as it leaves the final norm
/// - output: `[1]`, f32
pub fn weighted_loss(
    llm: &Qwen2ForCausalLm,
    hidden: Tensor<3>,
    rows: &SupervisedRows,
    norm: LossNorm,
) -> Tensor<1> {
    let device = hidden.device();
    let [batch, seq, dim] = hidden.dims();
    let hidden = hidden.reshape([batch * seq, dim]);
    let weights = rows.weights(norm);

    let chunks = (0..rows.len()).step_by(ROWS_PER_CHUNK).map(|start| {
        let chunk = start..(start + ROWS_PER_CHUNK).min(rows.len());
        let at = indices(&rows.rows[chunk.clone()], &device);
        let targets = ids(&rows.targets[chunk.clone()], &device);
        let logits = llm.logits(hidden.clone().select(0, at)).cast(DType::F32); // [rows, vocab]
        let nll = log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1)).neg(); // [rows, 1]
        let weights = &weights[chunk];
        let key = weights.iter().map(|weight| u64::from(weight.to_bits())).collect();
        let make =
            |device: &Device| upload(TensorData::new(weights.to_vec(), [weights.len(), 1]), device);
        (nll * kept::<2, Float>(("weights of losses", key), &device, make)).sum()
    });
    chunks.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros([1], &device))
}

fn ids(values: &[i32], device: &Device) -> Tensor<1, Int> {
    upload(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// A scalar whose gradient with respect to `y` is `gradient`: how a gradient goes on from one tape to another.
///
/// # Panics
/// If the shapes differ, or `gradient` is on a tape.
pub fn pulled<const D: usize>(y: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    (y.cast(DType::F32) * gradient.cast(DType::F32).autodiff()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::layout::SequenceLayout;

    #[test]
    fn a_row_predicts_the_next_token_and_the_last_visual_row_the_first_word_behind_it() {
        let span = VisualSpan::new(2, 3, 1);
        let layout = Layout { sequences: vec![SequenceLayout::new(7, Some(span))] };
        let labels = [5, IGNORE, IGNORE, 8, 9]; // the third entry is the image
        let rows = SupervisedRows::new(&[Labels { labels: &labels, visual_at: &[2] }], &layout);
        // Position 0 has no row before it; 8 stands at 5 and 9 at 6.
        assert_eq!((rows.rows, rows.targets, rows.counts), (vec![4, 5], vec![8, 9], vec![2]));
    }

    #[test]
    fn the_two_normalisations_weigh_samples_or_tokens() {
        let text = |len| SequenceLayout::new(len, None);
        let layout = Layout { sequences: vec![text(3), text(2), text(1)] };
        let all = [1, 2, 3];
        let labels = |n: usize| Labels { labels: &all[..n], visual_at: &[] };
        let rows = SupervisedRows::new(&[labels(3), labels(2), labels(1)], &layout);
        assert_eq!(rows.weights(LossNorm::Sample), [0.5, 0.5, 1.0]);
        assert_eq!(rows.weights(LossNorm::Token), [1.0, 1.0, 1.0]);
        assert_eq!((rows.weight(LossNorm::Sample), rows.weight(LossNorm::Token)), (2, 3));
    }
}
