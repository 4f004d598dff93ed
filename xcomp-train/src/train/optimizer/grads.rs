//! Gradients and moments by checkpoint name: what is accumulated, clipped, stepped and saved.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Gradients, Tensor};
use xcomp_model::ops::sum_of_squares;
use xcomp_model::vlm::Vlm;

use xcomp_model::weights::{Look, Named};

/// Flattened f32 tensors by the parameter's name in the released checkpoint.
///
/// Flat, because everything that happens to them is elementwise or a sum; sorted, so that sums run in one order.
#[derive(Debug, Clone, Default)]
pub struct NamedTensors {
    by_name: BTreeMap<String, Tensor<1>>,
}

impl NamedTensors {
    /// Takes the gradients of all tuned parameters of `model` out of a backward pass.
    pub fn from_backward(grads: Gradients, model: &Vlm) -> Self {
        let mut grads = GradientsParams::from_grads(grads, model);
        let mut found = Self::default();
        model.look_at_each(&mut Taker { grads: &mut grads, into: &mut found });
        found
    }

    /// Adds tensors name by name.
    pub fn add(&mut self, other: Self) {
        for (name, tensor) in other.by_name {
            self.insert_sum(name, tensor);
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
            Some(held) => held + tensor,
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
        self.map(|tensor| tensor * factor.clone())
    }

    /// Divides every tensor by a number.
    #[must_use]
    pub fn divide(self, by: f64) -> Self {
        let changes = (by - 1.0).abs() > 0.0;
        if changes { self.map(|tensor| tensor / by) } else { self }
    }

    /// Every tensor changed in the same way.
    #[must_use]
    pub fn map(self, f: impl Fn(Tensor<1>) -> Tensor<1>) -> Self {
        Self { by_name: self.by_name.into_iter().map(|(name, tensor)| (name, f(tensor))).collect() }
    }

    /// The L2 norm over all tensors, on the device: `[1]`; `None` if there are none.
    pub fn norm(&self) -> Option<Tensor<1>> {
        self.squares().map(|(_, square)| square).reduce(|a, b| a + b).map(Tensor::sqrt)
    }

    /// The sum of squares of each tensor, `[1]`, by name, on the device.
    pub fn squares(&self) -> impl Iterator<Item = (&str, Tensor<1>)> {
        self.iter().map(|(name, tensor)| (name, sum_of_squares(tensor.clone())))
    }

    /// Keeps the tensors whose names are wanted.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| wanted(name));
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> Option<&Tensor<1>> {
        self.by_name.get(name)
    }

    /// Removes a tensor by name.
    pub fn remove(&mut self, name: &str) -> Option<Tensor<1>> {
        self.by_name.remove(name)
    }

    /// Puts a tensor under a name.
    pub fn insert(&mut self, name: String, tensor: Tensor<1>) {
        self.by_name.insert(name, tensor);
    }

    /// Names and tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<1>)> {
        self.by_name.iter().map(|(name, tensor)| (name.as_str(), tensor))
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
