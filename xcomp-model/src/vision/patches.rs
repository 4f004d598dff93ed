//! Frames cut into patches.

use burn::tensor::Tensor;

/// Whole patches of every frame; pixels that are left over at the right and below go (a convolution without padding).
///
/// # Shapes
/// - `pixels`: `[clips, frames, channels, size, size]`
/// - output: `[clips, frames * (size / patch)^2, channels * patch * patch]`
pub(super) fn patches(pixels: Tensor<5>, patch: usize) -> Tensor<3> {
    let [clips, frames, channels, size, _] = pixels.dims();
    let grid = size / patch;
    let whole = if size.is_multiple_of(patch) {
        pixels
    } else {
        pixels.slice_dim(3, 0..grid * patch).slice_dim(4, 0..grid * patch)
    };
    whole
        .reshape([clips * frames, channels, grid, patch, grid, patch])
        .permute([0, 2, 4, 1, 3, 5]) // [n, row, column, channel, y, x]
        .reshape([clips, frames * grid * grid, channels * patch * patch])
}
