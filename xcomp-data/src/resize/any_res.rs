//! One picture as several tiles of one size, on the canvas that wastes least of it (`AnyRes`: `select_best_resolution`,
//! `resize_and_pad_image` and `divide_to_patches` of LLaVA's `mm_utils.py`).

use super::{Picture, Resize, Resizer};

/// Most tiles of a picture where nobody says otherwise (the released script of Video-XL).
pub const MOST_TILES: usize = 49;

/// Where a picture is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Width and height of the canvas.
    pub size: (usize, usize),
    /// Those of the picture on it.
    pub picture: (usize, usize),
    /// What is black to the left and above it.
    pub at: (usize, usize),
}

/// All canvases of two tiles to `most`, by columns, then by rows.
pub fn canvases(tile: usize, most: usize) -> Vec<(usize, usize)> {
    let of_columns = |columns| (1..=most / columns).map(move |rows| (columns, rows));
    let grids = (1..=most).flat_map(of_columns).filter(|(columns, rows)| columns * rows >= 2);
    grids.map(|(columns, rows)| (columns * tile, rows * tile)).collect()
}

impl Canvas {
    /// The canvas on which most pixels of a picture are kept; of several the one with the least black, then the first.
    ///
    /// # Panics
    /// If there is no canvas, or a side is 0.
    pub fn of(width: usize, height: usize, canvases: &[(usize, usize)]) -> Self {
        assert!(width > 0 && height > 0, "no empty pictures");
        let scales = |(w, h): (usize, usize)| (w as f64 / width as f64, h as f64 / height as f64);
        let kept = |canvas: (usize, usize)| {
            let scale = scales(canvas).0.min(scales(canvas).1);
            let scaled = |side: usize| (side as f64 * scale) as usize;
            (scaled(width) * scaled(height)).min(width * height)
        };
        let worth = |canvas: (usize, usize)| {
            let kept = kept(canvas);
            (kept, std::cmp::Reverse(canvas.0 * canvas.1 - kept))
        };
        let better = |best: (usize, usize), next: (usize, usize)| {
            if worth(next) > worth(best) { next } else { best }
        };
        let size = canvases.iter().copied().reduce(better).expect("a canvas");
        let (across, down) = scales(size);
        let stretched = |side: usize, scale: f64, most: usize| {
            ((side as f64 * scale).ceil() as usize).min(most)
        };
        let picture = if across < down {
            (size.0, stretched(height, across, size.1))
        } else {
            (stretched(width, down, size.0), size.1)
        };
        let at = ((size.0 - picture.0) / 2, (size.1 - picture.1) / 2);
        Self { size, picture, at }
    }

    /// Squares of `tile` pixels on it.
    pub fn tiles(&self, tile: usize) -> usize {
        (self.size.0 / tile) * (self.size.1 / tile)
    }

    /// Draws a picture on the canvas and cuts it into squares of `tile` pixels, row by row: `[tiles, tile, tile, 3]`.
    pub fn cut(&self, source: Picture<'_>, tile: usize, how: Resize) -> Vec<u8> {
        let ((width, height), (left, top)) = (self.size, self.at);
        let mut picture = Vec::new();
        Resizer::new(self.picture.0, self.picture.1, how).resize_into(source, &mut picture);
        let mut canvas = vec![0; 3 * width * height];
        for (y, row) in picture.chunks(3 * self.picture.0).enumerate() {
            canvas[3 * ((top + y) * width + left)..][..row.len()].copy_from_slice(row);
        }
        let mut tiles = Vec::with_capacity(canvas.len());
        for (top, left) in
            (0..height).step_by(tile).flat_map(|y| (0..width).step_by(tile).map(move |x| (y, x)))
        {
            for y in top..top + tile {
                tiles.extend_from_slice(&canvas[3 * (y * width + left)..][..3 * tile]);
            }
        }
        tiles
    }
}
