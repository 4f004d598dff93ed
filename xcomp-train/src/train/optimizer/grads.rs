//! Gradients and moments by checkpoint name: what is accumulated, clipped, stepped and saved.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Gradients, Tensor};
use xcomp_model::ops::sum_of_squares;
use xcomp_model::vlm::Vlm;

use xcomp_model::weights::{Look, Named};

/// Flattened tensors by the parameter's name in the released checkpoint.
///
/// Flat, because everything that happens to them is elementwise or a sum; sorted, so that sums run in one order.
/// They are f32, or bf16 where [`NamedTensors::add_rounded`] sums them: what is done to those behind the sum is put off until they are
/// taken out, one at a time, in f32.
#[derive(Debug, Clone, Default)]
pub struct NamedTensors {
    by_name: BTreeMap<String, Tensor<1>>,
    put_off: Vec<Change>,
}

/// What is done to every number.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there are two of them at most")]
enum Change {
    Divide(f64),
    /// By `[1]`.
    Scale(Tensor<1>),
}

impl Change {
    fn apply(&self, tensor: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Divide(by) => tensor / *by,
            Self::Scale(factor) => tensor * factor.clone(),
        }
    }
}

impl NamedTensors {
    /// Takes the gradients of all tuned parameters of `model` out of a backward pass.
    pub fn from_backward(grads: Gradients, model: &Vlm) -> Self {
        let mut grads = GradientsParams::from_grads(grads, model);
        let mut found = Self::default();
        model.look_at_each(&mut Taker { grads: &mut grads, into: &mut found });
        found
    }

    /// Adds tensors name by name, in f32.
    pub fn add(&mut self, other: Self) {
        for (name, tensor) in other.by_name {
            self.insert_sum(name, tensor);
        }
    }

    /// Adds tensors name by name; what is added and what comes out is rounded to bf16, and held so.
    pub fn add_rounded(&mut self, other: Self) {
        for (name, tensor) in other.by_name {
            let tensor = tensor.cast(DType::BF16);
            let sum = match self.by_name.remove(&name) {
                Some(held) => added(held, tensor).cast(DType::BF16),
                None => tensor,
            };
            self.by_name.insert(name, sum);
        }
    }

    /// Both, name by name: left plus right.
    #[must_use]
    pub fn sum(mut left: Self, right: Self) -> Self {
        left.add(right);
        left
    }

    fn insert_sum(&mut self, name: String, tensor: Tensor<1>) {
        let sum = match self.by_name.remove(&name) {
            Some(held) => added(held, tensor),
            None => tensor,
        };
        self.by_name.insert(name, sum);
    }

    /// Multiplies every tensor by a number that stays on the device.
    ///
    /// # Shapes
    /// - `factor`: `[1]`
    #[must_use]
    pub fn scale(self, factor: &Tensor<1>) -> Self {
        self.changed(Change::Scale(factor.clone()))
    }

    /// Divides every tensor by a number.
    #[must_use]
    pub fn divide(self, by: f64) -> Self {
        let changes = (by - 1.0).abs() > 0.0;
        if changes { self.changed(Change::Divide(by)) } else { self }
    }

    /// In place in f32; put off where any tensor is held in bf16.
    fn changed(mut self, change: Change) -> Self {
        if self.by_name.values().any(|tensor| tensor.dtype() != DType::F32) {
            self.put_off.push(change);
            return self;
        }
        let changed = |(name, tensor)| (name, change.apply(tensor));
        self.by_name = self.by_name.into_iter().map(changed).collect();
        self
    }

    /// A tensor in f32, with what was put off.
    fn ready(&self, tensor: Tensor<1>) -> Tensor<1> {
        let wide = tensor.cast(DType::F32);
        self.put_off.iter().fold(wide, |tensor, change| change.apply(tensor))
    }

    /// The L2 norm over all tensors, on the device: `[1]`; `None` if there are none.
    pub fn norm(&self) -> Option<Tensor<1>> {
        self.squares().map(|(_, square)| square).reduce(|a, b| a + b).map(Tensor::sqrt)
    }

    /// The sum of squares of each tensor, `[1]`, by name, on the device.
    pub fn squares(&self) -> impl Iterator<Item = (&str, Tensor<1>)> {
        self.iter().map(|(name, tensor)| (name, sum_of_squares(tensor)))
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> Option<Tensor<1>> {
        self.by_name.get(name).map(|tensor| self.ready(tensor.clone()))
    }

    /// Removes a tensor by name.
    pub fn remove(&mut self, name: &str) -> Option<Tensor<1>> {
        let tensor = self.by_name.remove(name)?;
        Some(self.ready(tensor))
    }

    /// Puts a tensor under a name.
    pub fn insert(&mut self, name: String, tensor: Tensor<1>) {
        self.by_name.insert(name, tensor);
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Names and tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Tensor<1>)> {
        self.by_name.iter().map(|(name, tensor)| (name.as_str(), self.ready(tensor.clone())))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// The sum in f32.
fn added(a: Tensor<1>, b: Tensor<1>) -> Tensor<1> {
    a.cast(DType::F32) + b.cast(DType::F32)
}

struct Taker<'a> {
    grads: &'a mut GradientsParams,
    into: &'a mut NamedTensors,
}

impl Look for Taker<'_> {
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let len = grad.shape().num_elements();
            self.into.insert_sum(name.to_owned(), grad.cast(DType::F32).reshape([len]));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn named(values: &[f32]) -> NamedTensors {
        let mut named = NamedTensors::default();
        let data = TensorData::new(values.to_vec(), [values.len()]);
        named.insert("a".into(), Tensor::from_data(data, &Device::flex()));
        named
    }

    fn numbers(named: &NamedTensors) -> Vec<f32> {
        named.get("a").unwrap().into_data().iter().collect()
    }

    /// 257 has nine bits, a bf16 eight: 256 + 1 stays 256.
    #[test]
    fn rounded_sums_are_held_in_bf16_and_what_follows_is_done_in_f32() {
        let mut sum = NamedTensors::default();
        sum.add_rounded(named(&[1.0, 1.001, 257.0, 256.0]));
        sum.add_rounded(named(&[0.0, 0.0, 0.0, 1.0]));
        assert_eq!(sum.by_name["a"].dtype(), DType::BF16);
        assert_eq!(numbers(&sum), [1.0, 1.0, 256.0, 256.0]);
        let factor = Tensor::from_data(TensorData::new(vec![0.1_f32], [1]), &Device::flex());
        let scaled = |named: NamedTensors| numbers(&named.divide(3.0).scale(&factor));
        assert_eq!(scaled(sum.clone()), scaled(named(&[1.0, 1.0, 256.0, 256.0])));
        // Lanes are summed in f32.
        assert_eq!(numbers(&NamedTensors::sum(sum.clone(), sum)), [2.0, 2.0, 512.0, 512.0]);
        let wide = NamedTensors::sum(named(&[256.0]), named(&[1.0]));
        assert_eq!(numbers(&wide), [257.0]);
    }
}
