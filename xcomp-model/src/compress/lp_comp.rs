//! LP-Comp: every frame loses tokens on its way up the decoder (paper Section 3.2).
//!
//! A token that is dropped has been attended to, in the layers below, by the tokens that stand after it.
//! So the *last* tokens of a frame are kept: by supervised tuning the layers learn to move what matters into them, 16 -> 1.
//! Text is never touched. Positions are re-packed: after a drop each layer sees a dense sequence `0..len`
//! (`modeling_qwen2.py:1258`); as RoPE is applied per layer, nothing is rotated anew.

use burn::tensor::Tensor;

use crate::compress::layout::{Arrangement, Layout};
use crate::compress::reduce::{FrameDrop, Reduce};
use crate::transfer::indices;

/// The tokens of a batch that go on into a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivors {
    /// Of every sequence the rows that it keeps, in order; `run` of them make one token.
    pub rows: Vec<Vec<usize>>,
    /// Where each sequence began, counted through all rows of the batch.
    pub starts: Vec<usize>,
    /// More than one where tokens are replaced by their mean.
    pub run: usize,
    /// Where they stand.
    pub layout: Layout,
}

/// What is left of every frame of every sequence: known on the host before the forward.
pub fn survivors(layout: &Layout, drop: &FrameDrop) -> Survivors {
    Survivors {
        rows: layout.sequences.iter().map(|sequence| sequence.sources(drop)).collect(),
        starts: layout.starts(),
        run: drop.run(),
        layout: layout.after(&Reduce::Frames(drop.clone())),
    }
}

/// Lets the sequences of a padded batch stand one behind the other: what pads them goes, nothing else.
///
/// # Shapes
/// - `x`: `[batch, longest, dim]`
/// - output: `[1, tokens of all, dim]`
pub fn packed(x: Tensor<3>, layout: &Layout) -> (Tensor<3>, Layout) {
    let all = Survivors {
        rows: layout.lengths().into_iter().map(|len| (0..len).collect()).collect(),
        starts: layout.starts(),
        run: 1,
        layout: Layout { arrangement: Arrangement::Packed, ..layout.clone() },
    };
    (all.gather(x), all.layout)
}

impl Survivors {
    /// Drops all other tokens: a pure gather.
    ///
    /// Its gradient scatters into the rows that stayed; the dropped rows still learn through the layers below.
    ///
    /// # Shapes
    /// - `x`: `[batch, tokens of a row, dim]`
    /// - output: `[batch, tokens of a row, dim]` as the layout says; what pads a sequence repeats its first row and is never read
    pub fn gather(&self, x: Tensor<3>) -> Tensor<3> {
        let [rows, seq, dim] = x.dims();
        let ([batch, len], run) = (self.layout.dims(), self.run);
        let padded = |(kept, start): (&Vec<usize>, &usize)| {
            let mut kept: Vec<usize> = kept.iter().map(|row| start + row).collect();
            if self.layout.arrangement == Arrangement::Padded {
                kept.resize(len * run, *start);
            }
            kept
        };
        let kept: Vec<usize> = self.rows.iter().zip(&self.starts).flat_map(padded).collect();
        let kept = indices(&kept, &x.device());

        let kept = x.reshape([rows * seq, dim]).select(0, kept); // [b * len * run, d]
        match run {
            1 => kept.reshape([batch, len, dim]),
            _ => kept.reshape([batch, len, run, dim]).mean_dim(2).reshape([batch, len, dim]),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::compress::layout::{SequenceLayout, VisualSpan};

    /// Rows `0..n` as one-dimensional tokens.
    fn tokens(batch: usize, seq: usize) -> Tensor<3> {
        let values: Vec<f32> = (0..batch * seq).map(|v| v as f32).collect();
        Tensor::from_data(TensorData::new(values, [batch, seq, 1]), &Device::flex())
    }

    fn check(layout: &Layout, drop: &FrameDrop, want: &[f32]) {
        let x = tokens(layout.sequences.len(), layout.longest());
        let kept = survivors(layout, drop);
        assert_eq!(kept.gather(x).into_data().try_to_vec::<f32>().unwrap(), want);
    }

    fn sequence(len: usize, start: usize, frames: usize) -> SequenceLayout {
        SequenceLayout::new(len, Some(VisualSpan::new(start, frames, 3)))
    }

    #[test]
    fn frames_shrink_and_text_stays() {
        let one = Layout::padded(vec![sequence(8, 1, 2)]);
        check(&one, &FrameDrop::Slots(vec![1, 2]), &[0.0, 2.0, 3.0, 5.0, 6.0, 7.0]);
        check(&one, &FrameDrop::Pool(3), &[0.0, 2.0, 5.0, 7.0]);
        let text = Layout::padded(vec![SequenceLayout::new(2, None)]);
        check(&text, &FrameDrop::Slots(vec![2]), &[0.0, 1.0]);
    }

    #[test]
    fn packed_sequences_lose_their_padding_and_are_compacted_one_by_one() {
        let two = Layout::padded(vec![sequence(7, 0, 2), sequence(4, 1, 1)]);
        let (x, layout) = packed(tokens(2, 7), &two);
        let want: Vec<f32> = (0..11).map(|row| row as f32).collect();
        assert_eq!(x.clone().into_data().try_to_vec::<f32>().unwrap(), want);
        let kept = survivors(&layout, &FrameDrop::Slots(vec![2]));
        let left = kept.gather(x).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(left, [2.0, 5.0, 6.0, 7.0, 10.0]);
        assert_eq!((kept.layout.dims(), kept.layout.starts()), ([1, 5], vec![0, 3]));
    }

    #[test]
    fn each_sequence_of_a_batch_is_compacted_by_itself_and_padded_again() {
        let two = Layout::padded(vec![sequence(7, 0, 2), sequence(5, 1, 1)]);
        // Second sequence: rows 7..12 are text, three visual, text; row 7 pads.
        check(&two, &FrameDrop::Slots(vec![2]), &[2.0, 5.0, 6.0, 7.0, 10.0, 11.0]);
        let uneven = Layout::padded(vec![sequence(7, 0, 2), sequence(4, 1, 1)]);
        check(&uneven, &FrameDrop::Slots(vec![2]), &[2.0, 5.0, 6.0, 7.0, 10.0, 7.0]);
    }
}
