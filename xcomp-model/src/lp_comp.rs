//! LP-Comp: every frame loses tokens on its way up the decoder (paper Section 3.2).
//!
//! A token that is dropped has been attended to, in the layers below, by the tokens that stand after it.
//! So the *last* tokens of a frame are kept: by supervised tuning the layers learn to move what matters into them, 16 -> 1.
//! Text is never touched. Positions are re-packed: after a drop each layer sees a dense sequence `0..len`
//! (`modeling_qwen2.py:1258`); as RoPE is applied per layer, nothing is rotated anew.

use burn::tensor::{Int, Tensor, TensorData};

use crate::layout::{Layout, run_length};
use crate::schedule::Reduce;

/// Applies one layer's reduction to every frame of every sequence.
///
/// Which rows survive is known on the host before the forward, so the drop is a pure gather:
/// its gradient scatters into the rows that stayed, and the dropped rows still learn through the layers below.
///
/// # Shapes
/// - `x`: `[batch, layout.longest(), dim]`, padded on the right
/// - output: `[batch, layout.after(reduce).longest(), dim]`; padded rows repeat row 0 and are never read
pub fn compress(x: Tensor<3>, layout: &Layout, reduce: &Reduce) -> (Tensor<3>, Layout) {
    if *reduce == Reduce::Keep {
        return (x, layout.clone());
    }
    let [batch, seq, dim] = x.dims();
    let after = layout.after(reduce);
    let (len, run) = (after.longest(), run_length(reduce));

    let rows: Vec<i32> = layout
        .sequences
        .iter()
        .enumerate()
        .flat_map(|(b, sequence)| {
            let mut sources = sequence.sources(reduce);
            sources.resize(len * run, 0);
            sources.into_iter().map(move |source| (b * seq + source) as i32)
        })
        .collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch * len * run]), &x.device());

    let kept = x.reshape([batch * seq, dim]).select(0, rows); // [b * len * run, d]
    let kept = match run {
        1 => kept.reshape([batch, len, dim]),
        _ => kept.reshape([batch, len, run, dim]).mean_dim(2).reshape([batch, len, dim]),
    };
    (kept, after)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::layout::{SequenceLayout, VideoSpan};

    /// Rows `0..n` as one-dimensional tokens.
    fn tokens(batch: usize, seq: usize) -> Tensor<3> {
        let values: Vec<f32> = (0..batch * seq).map(|v| v as f32).collect();
        Tensor::from_data(TensorData::new(values, [batch, seq, 1]), &Device::flex())
    }

    fn check(layout: &Layout, reduce: &Reduce, want: &[f32]) {
        let x = tokens(layout.sequences.len(), layout.longest());
        let (out, after) = compress(x, layout, reduce);
        assert_eq!(after, layout.after(reduce));
        assert_eq!(out.into_data().try_to_vec::<f32>().unwrap(), want);
    }

    fn sequence(len: usize, start: usize, frames: usize) -> SequenceLayout {
        SequenceLayout { len, span: Some(VideoSpan { start, frames, tokens_per_frame: 3 }) }
    }

    #[test]
    fn frames_shrink_and_text_stays() {
        let one = Layout { sequences: vec![sequence(8, 1, 2)] };
        check(&one, &Reduce::Slots(vec![1, 2]), &[0.0, 2.0, 3.0, 5.0, 6.0, 7.0]);
        check(&one, &Reduce::Pool(3), &[0.0, 2.0, 5.0, 7.0]);
        let text = Layout { sequences: vec![SequenceLayout { len: 2, span: None }] };
        check(&text, &Reduce::Slots(vec![2]), &[0.0, 1.0]);
    }

    #[test]
    fn each_sequence_of_a_batch_is_compacted_by_itself_and_padded_again() {
        let two = Layout { sequences: vec![sequence(7, 0, 2), sequence(5, 1, 1)] };
        // Second sequence: rows 7..12 are text, three visual, text; row 7 pads.
        check(&two, &Reduce::Slots(vec![2]), &[2.0, 5.0, 6.0, 7.0, 10.0, 11.0]);
        let uneven = Layout { sequences: vec![sequence(7, 0, 2), sequence(4, 1, 1)] };
        check(&uneven, &Reduce::Slots(vec![2]), &[2.0, 5.0, 6.0, 7.0, 10.0, 7.0]);
    }
}
