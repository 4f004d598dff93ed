//! The loops of `sum_of_squares`, forward and back.

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;
use rayon::prelude::*;

use crate::ops::recorded::{tensor, values};
use crate::ops::rows::PIECE;
use crate::ops::vector::{sum_of, widest};

pub(in crate::ops) fn sum_of_squares(x: &FlexTensor) -> FlexTensor {
    let x = x.to_contiguous();
    let pieces = values(&x).par_chunks(PIECE);
    let sums: Vec<f32> = pieces.map(of_piece).collect();
    let sum: f64 = sums.into_iter().map(f64::from).sum();
    tensor(vec![sum as f32], Shape::new([1]))
}

widest! {
    fn of_piece(x: &[f32]) -> f32 {
        sum_of(x, x, |a, b| a * b)
    }
}
