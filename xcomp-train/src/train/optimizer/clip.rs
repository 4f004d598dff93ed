//! Clipping by the global gradient norm, as PyTorch's `clip_grad_norm_` and DeepSpeed do it.

use burn::tensor::Tensor;

use crate::train::optimizer::grads::NamedTensors;

/// Keeps the division finite (torch `nn/utils/clip_grad.py`; DeepSpeed `runtime/utils.py`).
const EPSILON: f64 = 1e-6;

/// Scales all gradients so that a norm of `norm` becomes at most `max_norm`; 0 leaves them.
///
/// # Shapes
/// - `norm`: `[1]`, on the device: nothing waits for it
pub fn clip_to(grads: NamedTensors, norm: Option<&Tensor<1>>, max_norm: f64) -> NamedTensors {
    let Some(norm) = norm.filter(|_| max_norm > 0.0) else { return grads };
    let factor = ((norm.clone() + EPSILON).recip() * max_norm).clamp_max(1.0);
    grads.scale(&factor)
}

/// Scales all gradients so that their norm is at most `max_norm`; 0 leaves them.
///
/// Gives the gradients and the norm before clipping, `[1]`.
pub fn clip_grad_norm(grads: NamedTensors, max_norm: f64) -> (NamedTensors, Option<Tensor<1>>) {
    let norm = grads.norm();
    (clip_to(grads, norm.as_ref(), max_norm), norm)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn grads(values: &[&[f32]]) -> NamedTensors {
        let mut grads = NamedTensors::default();
        for (index, values) in values.iter().enumerate() {
            let data = TensorData::new(values.to_vec(), [values.len()]);
            grads.insert(index.to_string(), Tensor::from_data(data, &Device::flex()));
        }
        grads
    }

    fn check(max_norm: f64, values: &[&[f32]], want: &[f32]) {
        let (clipped, norm) = clip_grad_norm(grads(values), max_norm);
        assert!((norm.unwrap().into_scalar::<f32>() - 5.0).abs() < 1e-6);
        let got: Vec<f32> = clipped
            .iter()
            .flat_map(|(_, t)| t.clone().into_data().iter::<f32>().collect::<Vec<_>>())
            .collect();
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn the_norm_is_taken_over_all_tensors_together() {
        let values: &[&[f32]] = &[&[3.0, 0.0], &[4.0]];
        check(1.0, values, &[0.6, 0.0, 0.8]);
        check(10.0, values, &[3.0, 0.0, 4.0]);
        check(0.0, values, &[3.0, 0.0, 4.0]);
    }
}
