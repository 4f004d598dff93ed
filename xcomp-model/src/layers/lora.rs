//! A low-rank addition to a linear map (`LoRA`, Hu et al. 2021, section 4.1; PEFT 0.14 `tuners/lora/layer.py`).
//!
//! Burn has one as well (`Module::apply_lora`): it makes the whole sum of both weights for every forward, and drops nothing.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::base::lora::LoraConfig;
use crate::ops::{self, Dropout};

/// `scale B A drop(x)`, to be added to what the map gives.
#[derive(Module, Debug)]
pub struct Lora {
    /// `[rank, inputs]`.
    pub a: Param<Tensor<2>>,
    /// `[outputs, rank]`.
    pub b: Param<Tensor<2>>,
    scale: f64,
    /// Nothing is dropped without it.
    #[module(skip)]
    pub dropout: Option<Dropout>,
}

impl Lora {
    /// An adapter that changes nothing yet; `a` is drawn lazily, unless it is replaced first.
    pub fn new(inputs: usize, outputs: usize, config: &LoraConfig, device: &Device) -> Self {
        let bound = LoraConfig::bound(inputs);
        let uniform = Initializer::Uniform { min: -bound, max: bound };
        Self {
            a: uniform.init([config.rank, inputs], device),
            b: Initializer::Zeros.init([outputs, config.rank], device),
            scale: config.scale(),
            dropout: None,
        }
    }

    /// What is added to the map's output.
    ///
    /// # Shapes
    /// - `x`: `[.., inputs]`
    /// - output: `[.., outputs]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = match self.dropout {
            None => x,
            Some(dropout) => ops::dropout(x, dropout),
        };
        let low = ops::linear(x, self.a.val(), None) * self.scale; // [.., rank]
        ops::linear(low, self.b.val(), None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::tensor::TensorData;

    use super::*;
    use crate::layers::linear::Linear;
    use crate::ops::Key;

    const ROWS: usize = 3;
    const INPUTS: usize = 5;
    const OUTPUTS: usize = 4;
    const RANK: usize = 2;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|at| (at as f32 * 0.7 + seed).sin()).collect()
    }

    fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// A map whose weight is frozen, beside an adapter with these factors.
    fn map(a: Vec<f32>, b: Vec<f32>, dropout: Option<Dropout>, device: &Device) -> Linear {
        let config =
            LoraConfig { rank: RANK, alpha: 3.0, rank_stabilised: false, maps: BTreeMap::new() };
        let tuned = |tensor: Tensor<2>| Param::from_tensor(tensor);
        let mut map = Linear::without_bias(INPUTS, OUTPUTS, device);
        let weight = tensor(numbers(OUTPUTS * INPUTS, 0.3), [OUTPUTS, INPUTS], device);
        map.weight = Param::from_tensor(weight).set_require_grad(false);
        map.lora = Some(Lora {
            a: tuned(tensor(a, [RANK, INPUTS], device)),
            b: tuned(tensor(b, [OUTPUTS, RANK], device)),
            dropout,
            ..Lora::new(INPUTS, OUTPUTS, &config, device)
        });
        map
    }

    /// A sum over the outputs whose weights differ, so that every output counts.
    fn score(map: &Linear, device: &Device) -> Tensor<1> {
        let x = tensor(numbers(ROWS * INPUTS, 1.1), [ROWS, INPUTS], device);
        let weights = tensor(numbers(ROWS * OUTPUTS, 2.2), [ROWS, OUTPUTS], device);
        (map.forward(x) * weights).sum()
    }

    /// The score is linear in each factor: the slope between two points is the gradient.
    #[test]
    fn gradients_are_the_slopes_of_the_output() {
        let device = Device::flex().autodiff();
        let dropout = Dropout { share: 0.4, key: Key::new(1, 2, "map") };
        for dropout in [None, Some(dropout)] {
            let (a, b) = (numbers(RANK * INPUTS, 4.0), numbers(OUTPUTS * RANK, 5.0));
            let whole = map(a.clone(), b.clone(), dropout, &device);
            let grads = score(&whole, &device).backward();
            assert!(whole.weight.val().grad(&grads).is_none(), "the base is frozen");
            let lora = whole.lora.as_ref().unwrap();
            let gradient = |factor: &Param<Tensor<2>>| -> Vec<f32> {
                factor.val().grad(&grads).unwrap().into_data().iter().collect()
            };
            let moved = |of_a: bool, at: usize, by: f32| {
                let (mut a, mut b) = (a.clone(), b.clone());
                let factor = if of_a { &mut a } else { &mut b };
                factor[at] += by;
                score(&map(a, b, dropout, &device), &device).into_scalar::<f32>()
            };
            for (of_a, gradient) in [(true, gradient(&lora.a)), (false, gradient(&lora.b))] {
                for (at, gradient) in gradient.into_iter().enumerate() {
                    let slope = (moved(of_a, at, 0.5) - moved(of_a, at, -0.5)) / 1.0;
                    assert!(
                        (slope - gradient).abs() < 1e-4,
                        "{dropout:?} {of_a} {at}: {slope} {gradient}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_dropped_follows_from_the_key_on_every_way() {
        let device = Device::flex();
        let dropout = Dropout { share: 0.25, key: Key::new(7, 0, "x") };
        let x = tensor(vec![1.0; 40_000], [100, 400], &device);
        let loops = ops::dropout(x.clone(), dropout).into_data();
        let half = ops::dropout(x.clone().cast(burn::tensor::DType::BF16), dropout);
        let kept: Vec<f32> = loops.iter().collect();
        let count = kept.iter().filter(|number| **number > 0.0).count() as f64 / 40_000.0;
        assert!((count - 0.75).abs() < 0.01, "{count} are kept");
        assert!(kept.iter().all(|number| *number == 0.0 || (number - 4.0 / 3.0).abs() < 1e-6));
        let in_operations: Vec<f32> =
            half.cast(burn::tensor::DType::F32).into_data().iter().collect();
        assert!(kept.iter().zip(&in_operations).all(|(a, b)| (*a == 0.0) == (*b == 0.0)));
        let other = Dropout { key: Key::new(7, 1, "x"), ..dropout };
        assert_ne!(ops::dropout(x, other).into_data(), loops);
    }
}
