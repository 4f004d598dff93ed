//! A moment of a tensor as it is held between two steps.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::ops::dynamic_map::{BLOCK, DynamicMap};
use crate::ops::random::Key;
use crate::ops::rounding::rounded_in_tensor_operations;
use crate::transfer::upload;

/// Tensors of fewer numbers are held as f32 where others are quantised (bitsandbytes 0.45, `min_8bit_size`).
pub const MIN_QUANTISED: usize = 4096;

/// How moments are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentFormat {
    /// 32 bits.
    F32,
    /// 16 bits, rounded by chance.
    Bf16,
    /// A byte, and a scale for each block of 256 numbers: as 8-bit Adam.
    Int8,
}

/// A moment, `[elements]` numbers of it.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a handle of a tensor is small beside the tensor")]
pub enum Moment {
    /// f32 or bf16.
    Float(Tensor<1>),
    /// Quantised block by block.
    Int8 {
        /// Places in the map, u8.
        places: Tensor<1, Int>,
        /// `[blocks]`: the largest magnitude of each.
        scales: Tensor<1>,
        /// Whether the map has both signs.
        signed: bool,
    },
}

impl MomentFormat {
    /// How a tensor of so many numbers is held.
    #[must_use]
    pub fn of(self, count: usize) -> Self {
        if self == Self::Int8 && count < MIN_QUANTISED { Self::F32 } else { self }
    }

    /// Bytes of one moment of a tensor of so many numbers.
    pub fn bytes(self, count: usize) -> usize {
        match self.of(count) {
            Self::F32 => 4 * count,
            Self::Bf16 => 2 * count,
            Self::Int8 => count + 4 * count.div_ceil(BLOCK),
        }
    }
}

impl Moment {
    /// Before the first step.
    pub fn zeros(count: usize, format: MomentFormat, signed: bool, device: &Device) -> Self {
        let zeros = |count, dtype| Tensor::<1>::zeros([count], device).cast(dtype);
        match format.of(count) {
            MomentFormat::F32 => Self::Float(zeros(count, DType::F32)),
            MomentFormat::Bf16 => Self::Float(zeros(count, DType::BF16)),
            MomentFormat::Int8 => {
                let zero = vec![DynamicMap::of(signed).zero(); count];
                let places = upload(TensorData::new(zero, [count]), (device, DType::U8));
                Self::Int8 { places, scales: zeros(count.div_ceil(BLOCK), DType::F32), signed }
            }
        }
    }

    /// Its numbers in f32.
    pub fn numbers(&self) -> Tensor<1> {
        match self {
            Self::Float(numbers) => numbers.clone().cast(DType::F32),
            Self::Int8 { places, scales, signed } => {
                let values = table(&DynamicMap::of(*signed).values, &scales.device());
                let [count] = places.dims();
                let scales = scales.clone().unsqueeze_dim::<2>(1).repeat_dim(1, BLOCK);
                let scales = scales.flatten::<1>(0, 1).slice_dim(0, 0..count);
                values.select(0, places.clone().cast(DType::I32)) * scales
            }
        }
    }

    /// Other numbers, held in the same way; in tensor operations. `first` is the place of the first of them in the whole tensor.
    pub(super) fn holding(&self, numbers: Tensor<1>, key: &Key, first: usize) -> Self {
        match self {
            Self::Float(held) if held.dtype() == DType::BF16 => {
                let [count] = numbers.dims();
                let random = key.bits_of(first..first + count, &numbers.device());
                Self::Float(rounded_in_tensor_operations(numbers, random))
            }
            Self::Float(_) => Self::Float(numbers),
            Self::Int8 { signed, .. } => quantised(numbers, *signed),
        }
    }

    /// A part of it, from whole blocks.
    pub(super) fn slice(&self, from: usize, to: usize) -> Self {
        match self {
            Self::Float(numbers) => Self::Float(numbers.clone().slice_dim(0, from..to)),
            Self::Int8 { places, scales, signed } => Self::Int8 {
                places: places.clone().slice_dim(0, from..to),
                scales: scales.clone().slice_dim(0, from / BLOCK..to.div_ceil(BLOCK)),
                signed: *signed,
            },
        }
    }

    /// Parts side by side; they are held alike.
    pub(super) fn cat(parts: Vec<Self>) -> Self {
        let (mut floats, mut codes, mut both) = (vec![], vec![], false);
        for part in parts {
            match part {
                Self::Float(numbers) => floats.push(numbers),
                Self::Int8 { places, scales, signed } => {
                    codes.push(places);
                    floats.push(scales);
                    both = signed;
                }
            }
        }
        let floats = Tensor::cat(floats, 0);
        if codes.is_empty() {
            return Self::Float(floats);
        }
        Self::Int8 { places: Tensor::cat(codes, 0), scales: floats, signed: both }
    }

    /// This one where `sound` is true, `old` elsewhere.
    #[must_use]
    pub fn or_kept(self, old: Self, sound: &Tensor<1, burn::tensor::Bool>) -> Self {
        let kept =
            |old: Tensor<1>, new: Tensor<1>| old.mask_where(sound.clone().expand(new.dims()), new);
        match (old, self) {
            (Self::Float(old), Self::Float(new)) => Self::Float(kept(old, new)),
            (
                Self::Int8 { places: old, scales: old_scales, .. },
                Self::Int8 { places, scales, signed },
            ) => Self::Int8 {
                places: old.mask_where(sound.clone().expand(places.dims()), places),
                scales: kept(old_scales, scales),
                signed,
            },
            (_, new) => new, // a moment is held in one way for all of a run
        }
    }
}

fn table(numbers: &[f32], device: &Device) -> Tensor<1> {
    upload(TensorData::new(numbers.to_vec(), [numbers.len()]), &device.clone().inner())
}

/// Quantises in tensor operations: each number's place by halving.
fn quantised(numbers: Tensor<1>, signed: bool) -> Moment {
    let (map, device) = (DynamicMap::of(signed), numbers.device());
    let ([count], ends) = (numbers.dims(), table(&map.ends, &device));
    let blocks = count.div_ceil(BLOCK);
    let padded = match blocks * BLOCK - count {
        0 => numbers,
        rest => Tensor::cat(vec![numbers, Tensor::zeros([rest], &device)], 0),
    };
    let padded = padded.reshape([blocks, BLOCK]);
    let scales = padded.clone().abs().max_dim(1); // [blocks, 1]
    let by = scales.clone().mask_fill(scales.clone().equal_elem(0.0), 1.0);
    let units = (padded / by).flatten::<1>(0, 1);
    let mut places = Tensor::<1, Int>::zeros([blocks * BLOCK], &device);
    for step in [128, 64, 32, 16, 8, 4, 2, 1] {
        let end = ends.clone().select(0, places.clone() + (step - 1));
        places = places + units.clone().greater(end).int() * step;
    }
    let places = places.slice_dim(0, 0..count).cast(DType::U8);
    Moment::Int8 { places, scales: scales.flatten(0, 1), signed }
}
