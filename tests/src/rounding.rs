//! How much bf16's rounding moves a case: the same run in f32, from weights and inputs that were rounded.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

/// What a run starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// The case's numbers.
    Exact,
    /// Rounded to 8 bits, as bf16 does, after a product with this factor, which is taken back: another factor, another draw.
    Rounded(f32),
}

impl Start {
    /// Draws that together say how large the effect is; one alone can be small by chance, where a loss is pushed up and down.
    pub fn draws() -> impl Iterator<Item = Self> {
        const DRAWS: u16 = 12;
        (0..DRAWS).map(|draw| Self::Rounded(1.0 + f32::from(draw) / f32::from(DRAWS)))
    }

    /// A number as a run takes it.
    fn number(self, number: f32) -> f32 {
        match self {
            Self::Exact => number,
            Self::Rounded(factor) => bf16(number * factor) / factor,
        }
    }

    /// A tensor off the tape as a run takes it.
    pub fn tensor<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        let (device, shape) = (tensor.device(), tensor.dims());
        let numbers = tensor.into_data().iter::<f32>().map(|number| self.number(number)).collect();
        Tensor::from_data(TensorData::new::<f32, _>(numbers, shape), &device)
    }

    /// A module as a run takes it.
    pub fn module<M: Module>(self, module: M) -> M {
        if self == Self::Exact { module } else { module.map(&mut Rounder(self)) }
    }
}

struct Rounder(Start);

impl ModuleMapper for Rounder {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, trained) = (param.id, param.is_require_grad());
        let rounded = self.0.tensor(param.val());
        Param::initialized(id, if trained { rounded.require_grad() } else { rounded })
    }
}

/// The nearest number with 8 significant bits, ties to the even one.
fn bf16(number: f32) -> f32 {
    let bits = number.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_has_8_bits_and_ties_go_to_even() {
        for (number, want) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (-1.004, -1.007_812_5),
            (0.0, 0.0),
        ] {
            assert_eq!(bf16(number).to_bits(), f32::to_bits(want), "{number}");
        }
    }
}
