//! Stages that know where a token stands in its frame: pooling, and a token behind every row.

use burn::tensor::{Device, Float, Tensor, TensorData};

use crate::base::connector::{FrameTokens, PoolMode, Stage};
use crate::transfer::{kept, upload};

/// Every `stride` by `stride` tokens of a frame become one (`get_2dPool` of LLaVA's `llava_arch.py`).
///
/// # Shapes
/// - `x`: `[clips, frames * rows * columns, width]`
/// - output: `[clips, frames * tokens, width]`, `tokens` as [`FrameTokens::after`] has it
pub fn pool(x: Tensor<3>, tokens: FrameTokens, stride: usize, mode: PoolMode) -> Tensor<3> {
    let [clips, all, width] = x.dims();
    let of_clip = all / tokens.count();
    let after = tokens.after(Stage::Pool { stride, mode });
    let x = x.reshape([clips * of_clip, tokens.rows, tokens.columns, width]);
    let pooled = match mode {
        PoolMode::Average => cells(x, after, stride, Tensor::mean_dim),
        PoolMode::Max => cells(x, after, stride, Tensor::max_dim),
        PoolMode::Bilinear => stretched(x, after),
    };
    pooled.reshape([clips, of_clip * after.count(), width])
}

/// Whole cells of `stride` by `stride` tokens, over their rows and then their columns (`avg_pool2d` and `max_pool2d`, floor).
fn cells(
    x: Tensor<4>,
    after: FrameTokens,
    stride: usize,
    over: fn(Tensor<3>, usize) -> Tensor<3>,
) -> Tensor<3> {
    let [frames, _, _, width] = x.dims();
    let FrameTokens { rows, columns } = after;
    let x = x.slice_dim(1, 0..rows * stride).slice_dim(2, 0..columns * stride);
    let x = over(x.reshape([frames * rows, stride, columns * stride * width]), 1);
    over(x.reshape([frames * rows * columns, stride, width]), 1)
}

/// Bilinear interpolation, corners not aligned (`interpolate` of `PyTorch`): two small products, along rows and along columns.
fn stretched(x: Tensor<4>, after: FrameTokens) -> Tensor<3> {
    let [frames, rows, columns, width] = x.dims();
    let weights = |from, to| {
        let make = |device: &Device| upload(TensorData::new(taps(from, to), [1, to, from]), device);
        let key = ("taps", vec![from as u64, to as u64]);
        kept::<3, Float>(key, &x.device().inner(), make).cast(x.dtype())
    };
    let (along_rows, along_columns) = (weights(rows, after.rows), weights(columns, after.columns));
    let x = along_rows.matmul(x.reshape([frames, rows, columns * width]));
    along_columns.matmul(x.reshape([frames * after.rows, columns, width]))
}

/// What each of `to` places takes of `from` ones: `[to, from]`.
fn taps(from: usize, to: usize) -> Vec<f32> {
    let scale = from as f32 / to as f32;
    let mut weights = vec![0.0; to * from];
    for (place, row) in weights.chunks_mut(from).enumerate() {
        let source = (scale * (place as f32 + 0.5) - 0.5).max(0.0);
        let first = (source as usize).min(from - 1);
        let share = source - first as f32;
        row[first] += 1.0 - share;
        row[(first + 1).min(from - 1)] += share;
    }
    weights
}

/// `token` behind every `run` tokens (`image_newline` of LLaVA-Video, behind rows or frames).
///
/// # Shapes
/// - `x`: `[clips, tokens, width]`, `tokens` a multiple of `run`
/// - `token`: `[width]`
/// - output: `[clips, tokens / run * (run + 1), width]`
pub fn newline(x: Tensor<3>, run: usize, token: Tensor<1>) -> Tensor<3> {
    let [clips, all, width] = x.dims();
    let runs = clips * all / run;
    let token = token.cast(x.dtype()).reshape([1, 1, width]).expand([runs, 1, width]);
    let x = x.reshape([runs, run, width]);
    Tensor::cat(vec![x, token], 1).reshape([clips, all / run * (run + 1), width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn frames(count: usize, side: usize) -> (Tensor<3>, FrameTokens) {
        let values: Vec<f32> = (0..count * side * side).map(|value| value as f32).collect();
        let data = TensorData::new(values, [1, count * side * side, 1]);
        (Tensor::from_data(data, &Device::flex()), FrameTokens { rows: side, columns: side })
    }

    fn values(x: Tensor<3>) -> Vec<f32> {
        x.into_data().iter().collect()
    }

    #[test]
    fn cells_become_one() {
        let pooled = |mode| {
            let (x, tokens) = frames(2, 3);
            values(pool(x, tokens, 2, mode))
        };
        assert_eq!(pooled(PoolMode::Average), [2.0, 11.0]);
        assert_eq!(pooled(PoolMode::Max), [4.0, 13.0]);
        // Rows and columns 0.25 and 1.75 of 0 to 2.
        assert_eq!(pooled(PoolMode::Bilinear), [1.0, 2.5, 5.5, 7.0, 10.0, 11.5, 14.5, 16.0]);
    }

    #[test]
    fn every_row_ends_in_the_token() {
        let (x, tokens) = frames(1, 2);
        let row = Tensor::from_data(TensorData::new(vec![9.0_f32], [1]), &Device::flex());
        assert_eq!(values(newline(x, tokens.columns, row)), [0.0, 1.0, 9.0, 2.0, 3.0, 9.0]);
    }
}
