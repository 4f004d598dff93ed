//! A tensor on its way into a file: where its numbers come from.

use std::collections::BTreeMap;

use burn::store::burn_pack::Tensor as PackTensor;

use super::dtype::WeightDtype;
use super::files::{StoredTensor, io};
use crate::base::lora::{A, B};
use crate::error::ModelError;

/// Numbers of a stored tensor that are held at once: 16 MiB of f32.
const PIECE: usize = 4 << 20;

/// A tensor and the dtype in which it is written.
pub(super) struct Outgoing {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: WeightDtype,
    source: Source,
}

/// Where its numbers come from, and in which dtype.
enum Source {
    Module(PackTensor, WeightDtype),
    File(StoredTensor, WeightDtype),
    Merged(Box<Merged>),
}

/// A map and its adapter, which become one weight when it is written.
struct Merged {
    weight: Outgoing,
    a: Outgoing,
    b: Outgoing,
    scale: f64,
}

/// Takes the bytes of a tensor, piece by piece.
type Write<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), ModelError>;
/// Makes an error of the reason why a tensor cannot be read.
type Unreadable<'a> = &'a dyn Fn(String) -> ModelError;

impl Outgoing {
    /// A stored tensor in its own dtype.
    pub(super) fn stored(tensor: StoredTensor, dtype: WeightDtype) -> Self {
        Self { shape: tensor.shape.clone(), dtype, source: Source::File(tensor, dtype) }
    }

    /// A tensor that a module gives in dtype `from`.
    pub(super) fn of_module(tensor: PackTensor, from: WeightDtype, dtype: WeightDtype) -> Self {
        let shape = tensor.shape.iter().copied().collect();
        Self { shape, dtype, source: Source::Module(tensor, from) }
    }

    fn numbers(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn byte_len(&self) -> usize {
        self.numbers() * self.dtype.bytes()
    }

    /// Gives its bytes to `write`, piece by piece.
    pub(super) fn write(
        &self,
        write: Write<'_>,
        unreadable: Unreadable<'_>,
    ) -> Result<(), ModelError> {
        self.write_as(self.dtype, write, unreadable)
    }

    fn write_as(
        &self,
        to: WeightDtype,
        write: Write<'_>,
        unreadable: Unreadable<'_>,
    ) -> Result<(), ModelError> {
        let (tensor, from) = match &self.source {
            Source::Module(tensor, from) => {
                let bytes = tensor.to_bytes().map_err(|error| unreadable(error.to_string()))?;
                return if to == *from {
                    write(&bytes)
                } else {
                    write(&to.cast(bytes.to_vec(), *from))
                };
            }
            Source::Merged(merged) => return write(&to.narrow(&merged.sum(unreadable)?)),
            Source::File(tensor, from) => (tensor, *from),
        };
        for start in (0..self.numbers()).step_by(PIECE) {
            let end = (start + PIECE).min(self.numbers());
            let piece = tensor.read(start * from.bytes()..end * from.bytes());
            let piece = piece.map_err(|source| io(&tensor.file, source))?;
            write(&to.cast(piece, from))?;
        }
        Ok(())
    }

    /// All of its numbers, not rounded to the dtype in which it is written.
    fn exact(&self, unreadable: Unreadable<'_>) -> Result<Vec<f32>, ModelError> {
        let mut bytes = Vec::with_capacity(self.numbers() * WeightDtype::F32.bytes());
        let mut take = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        self.write_as(WeightDtype::F32, &mut take, unreadable)?;
        Ok(WeightDtype::F32.widen(&bytes))
    }
}

impl Merged {
    /// `weight + scale b a`, each row summed before it is added (PEFT 0.14 `tuners/lora/layer.py`, `get_delta_weight`).
    fn sum(&self, unreadable: Unreadable<'_>) -> Result<Vec<f32>, ModelError> {
        let mut weight = self.weight.exact(unreadable)?;
        let (a, b) = (self.a.exact(unreadable)?, self.b.exact(unreadable)?);
        let (rank, inputs) = (self.a.shape[0], self.a.shape[1]);
        let scale = self.scale as f32;
        let mut delta = vec![0.0; inputs];
        for (row, b) in weight.chunks_exact_mut(inputs).zip(b.chunks_exact(rank)) {
            delta.fill(0.0);
            for (b, a) in b.iter().zip(a.chunks_exact(inputs)) {
                delta.iter_mut().zip(a).for_each(|(delta, a)| *delta += b * a);
            }
            row.iter_mut().zip(&delta).for_each(|(weight, delta)| *weight += scale * delta);
        }
        Ok(weight)
    }
}

/// The tensors with every adapter as a part of its map.
pub(super) fn merged(
    mut tensors: BTreeMap<String, Outgoing>,
    scale: f64,
) -> BTreeMap<String, Outgoing> {
    let map = |name: &String| name.strip_suffix(A).map(str::to_owned);
    for map in tensors.keys().filter_map(map).collect::<Vec<_>>() {
        let mut take = |end: &str| {
            tensors.remove(&format!("{map}{end}")).expect("a map has its weight and both factors")
        };
        let (weight, a, b) = (take(".weight"), take(A), take(B));
        let (shape, dtype) = (weight.shape.clone(), weight.dtype);
        let source = Source::Merged(Box::new(Merged { weight, a, b, scale }));
        tensors.insert(format!("{map}.weight"), Outgoing { shape, dtype, source });
    }
    tensors
}
