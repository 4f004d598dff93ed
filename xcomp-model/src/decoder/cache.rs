//! Keys and values of one decoder layer.

use burn::tensor::Tensor;

/// What a layer has consumed so far. Under LP-Comp each layer has its own length: a layer that saw fewer tokens of a frame caches fewer.
#[derive(Debug, Clone, Default)]
pub struct LayerCache {
    /// Rotated keys and values, `[1, kv_heads, len, head_dim]` each.
    held: Option<(Tensor<4>, Tensor<4>)>,
}

impl LayerCache {
    /// Holds these.
    pub fn of(keys: Tensor<4>, values: Tensor<4>) -> Self {
        Self { held: Some((keys, values)) }
    }

    /// Rotated keys and values; `None` if nothing is held.
    pub fn held(&self) -> Option<&(Tensor<4>, Tensor<4>)> {
        self.held.as_ref()
    }

    /// The first tokens of it.
    ///
    /// # Panics
    /// If fewer are held.
    #[must_use]
    pub fn first(self, count: usize) -> Self {
        match self.held {
            Some((keys, values)) if count > 0 => {
                let [keys, values] = [keys, values].map(|x| {
                    let whole = x.dims()[2] == count;
                    if whole { x } else { x.slice_dim(2, 0..count) }
                });
                Self::of(keys, values)
            }
            _ => Self::default(),
        }
    }

    /// The same keys and values as leaves of a tape.
    #[must_use]
    pub fn leaves(&self) -> Self {
        let leaf = |x: &Tensor<4>| x.clone().autodiff().require_grad();
        Self { held: self.held.as_ref().map(|(keys, values)| (leaf(keys), leaf(values))) }
    }

    /// Tokens held; also the position of the next token in this layer.
    pub fn len(&self) -> usize {
        self.held.as_ref().map_or(0, |(keys, _)| keys.dims()[2])
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    /// Appends keys and values and gives all that are held.
    pub fn push(&mut self, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let held = match self.held.take() {
            None => (keys, values),
            Some((k, v)) => (Tensor::cat(vec![k, keys], 2), Tensor::cat(vec![v, values], 2)),
        };
        self.held = Some(held.clone());
        held
    }
}
