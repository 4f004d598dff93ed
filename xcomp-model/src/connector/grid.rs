//! Stages that know where a token stands in its frame: pooling, and a token behind every row.

use burn::tensor::Tensor;

use crate::base::connector::FrameTokens;

/// The mean of every `stride` by `stride` tokens; rows and columns that are left over go (`avg_pool2d`, floor).
///
/// # Shapes
/// - `x`: `[clips, frames * rows * columns, width]`
/// - output: `[clips, frames * (rows / stride) * (columns / stride), width]`
pub fn pool(x: Tensor<3>, tokens: FrameTokens, stride: usize) -> Tensor<3> {
    let [clips, all, width] = x.dims();
    let frames = clips * all / tokens.count();
    let [rows, columns] = [tokens.rows / stride, tokens.columns / stride];
    x.reshape([frames, tokens.rows, tokens.columns, width])
        .slice_dim(1, 0..rows * stride)
        .slice_dim(2, 0..columns * stride)
        .reshape([frames * rows, stride, columns, stride * width])
        .mean_dim(1) // over the rows of a cell
        .reshape([frames * rows * columns, stride, width])
        .mean_dim(1) // and over its columns
        .reshape([clips, all / tokens.count() * rows * columns, width])
}

/// `row` behind every row of every frame (`image_newline` of LLaVA-Video, position `grid`).
///
/// # Shapes
/// - `x`: `[clips, frames * rows * columns, width]`
/// - `row`: `[width]`
/// - output: `[clips, frames * rows * (columns + 1), width]`
pub fn newline(x: Tensor<3>, tokens: FrameTokens, row: Tensor<1>) -> Tensor<3> {
    let [clips, all, width] = x.dims();
    let rows = clips * all / tokens.columns;
    let row = row.cast(x.dtype()).reshape([1, 1, width]).expand([rows, 1, width]);
    let x = x.reshape([rows, tokens.columns, width]);
    Tensor::cat(vec![x, row], 1).reshape([
        clips,
        all / tokens.columns * (tokens.columns + 1),
        width,
    ])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

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
    fn cells_become_their_mean() {
        let (x, tokens) = frames(2, 3);
        assert_eq!(values(pool(x, tokens, 2)), [2.0, 11.0]);
    }

    #[test]
    fn every_row_ends_in_the_token() {
        let (x, tokens) = frames(1, 2);
        let row = Tensor::from_data(TensorData::new(vec![9.0_f32], [1]), &Device::flex());
        assert_eq!(values(newline(x, tokens, row)), [0.0, 1.0, 9.0, 2.0, 3.0, 9.0]);
    }
}
