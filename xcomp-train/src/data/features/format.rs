//! Features as bytes of a format, and back.

use burn::tensor::{DType, Device, Float, FloatDType, Tensor, TensorData};
use xcomp_data::{FeatureValues, Features};

use crate::plan::Plan;
use crate::recipe::tables::{FeatureWord, FloatWord};
use xcomp_model::transfer::{read, upload};
use xcomp_model::vlm::Encoded;

/// The format that features are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    Bf16,
    Int8,
}

/// The largest byte that a number is scaled to.
const INT8_MAX: f32 = 127.0;

impl Stored {
    /// The format of a recipe.
    pub(crate) fn of(plan: &Plan) -> Self {
        match (plan.recipe.data.feature_format, plan.recipe.train.dtype) {
            (FeatureWord::Int8, _) => Self::Int8,
            (FeatureWord::Exact, FloatWord::F32 | FloatWord::F16) => Self::F32,
            (FeatureWord::Exact, FloatWord::Bf16) | (FeatureWord::Bf16, _) => Self::Bf16,
        }
    }

    /// Whether every number of `dtype` is kept to the bit.
    pub(crate) fn holds(self, dtype: FloatDType) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => dtype == FloatDType::BF16,
            Self::Int8 => false,
        }
    }
}

/// Reads features from the device.
pub(crate) fn to_host(merged: &Tensor<3>, stored: Stored) -> Features {
    let [clips, tokens, width] = merged.dims();
    let bytes = |dtype: DType| read(merged.clone().cast(dtype)).as_bytes().to_vec();
    let values = match stored {
        Stored::F32 => FeatureValues::F32(bytes(DType::F32)),
        Stored::Bf16 => FeatureValues::Bf16(bytes(DType::BF16)),
        Stored::Int8 => {
            let data = read(merged.clone().cast(DType::F32));
            let numbers: Vec<f32> = data.iter().collect();
            FeatureValues::Int8(numbers.chunks(width).flat_map(scaled).collect())
        }
    };
    Features { clips, tokens, width, values, class: vec![] }
}

/// Class tokens `[frames, width]`, one behind the other.
pub(crate) fn class_to_host(class: Tensor<2>) -> Vec<f32> {
    read(class.cast(DType::F32)).iter().collect()
}

/// One token: its scale, then its bytes.
fn scaled(token: &[f32]) -> Vec<u8> {
    let largest = token.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = largest / INT8_MAX;
    let byte = |x: &f32| if scale > 0.0 { (x / scale).round() as i8 } else { 0 };
    scale.to_le_bytes().into_iter().chain(token.iter().map(|x| byte(x).to_le_bytes()[0])).collect()
}

/// The numbers of one token that [`scaled`] wrote.
fn unscaled(token: &[u8]) -> impl Iterator<Item = f32> {
    let (scale, bytes) = token.split_at(size_of::<f32>());
    let scale = f32::from_le_bytes(scale.try_into().expect("four bytes"));
    bytes.iter().map(move |byte| f32::from(i8::from_le_bytes([*byte])) * scale)
}

/// Takes features to the device.
///
/// # Shapes
/// - output: `[clips, tokens, width]`
pub(crate) fn to_device(features: Features, dtype: FloatDType, device: &Device) -> Tensor<3> {
    let Features { clips, tokens, width, values, .. } = features;
    let shape = [clips, tokens, width];
    let (data, kept) = match values {
        FeatureValues::F32(bytes) => {
            (TensorData::from_bytes_vec(bytes, shape, DType::F32), DType::F32)
        }
        FeatureValues::Bf16(bytes) => {
            (TensorData::from_bytes_vec(bytes, shape, DType::BF16), DType::BF16)
        }
        FeatureValues::Int8(bytes) => {
            let row = size_of::<f32>() + width;
            let numbers: Vec<f32> = bytes.chunks(row).flat_map(unscaled).collect();
            (TensorData::new(numbers, shape), DType::F32)
        }
    };
    upload::<3, Float>(data, (&device.clone().inner(), kept)).cast(dtype)
}

/// As [`to_host`], with class tokens, where there are some.
pub(crate) fn encoded_to_host(encoded: Encoded, stored: Stored) -> Features {
    let features = to_host(&encoded.features, stored);
    Features { class: encoded.class.map_or(vec![], class_to_host), ..features }
}

/// As [`to_device`], with the class tokens of a tower of this width, where they are kept.
pub(crate) fn encoded(
    mut features: Features,
    width: usize,
    dtype: FloatDType,
    device: &Device,
) -> Encoded {
    let class = std::mem::take(&mut features.class);
    let class = (!class.is_empty()).then(|| {
        let frames = class.len() / width;
        let data = TensorData::new(class, [frames, width]);
        upload::<2, Float>(data, (&device.clone().inner(), DType::F32))
    });
    Encoded { features: to_device(features, dtype, device), class }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(numbers: &[f32], dtype: FloatDType, stored: Stored) -> Vec<f32> {
        let data = TensorData::new(numbers.to_vec(), [1, 2, numbers.len() / 2]);
        let device = Device::flex();
        let tensor = Tensor::<3>::from_data(data, &device).cast(dtype);
        let back = to_device(to_host(&tensor, stored), dtype, &device);
        assert_eq!(back.dtype(), DType::from(dtype));
        back.cast(DType::F32).into_data().iter().collect()
    }

    const NUMBERS: [f32; 6] = [1.0, -0.333_333_34, 1e-30, 3.0e5, 0.0, -127.0];

    #[test]
    fn a_format_that_holds_the_numbers_gives_them_back_to_the_bit() {
        assert_eq!(round_trip(&NUMBERS, FloatDType::F32, Stored::F32), NUMBERS);
        let bf16 = round_trip(&NUMBERS, FloatDType::BF16, Stored::Bf16);
        assert_eq!(bf16, round_trip(&NUMBERS, FloatDType::BF16, Stored::F32));
        assert!(Stored::Bf16.holds(FloatDType::BF16) && !Stored::Bf16.holds(FloatDType::F32));
    }

    #[test]
    fn rounding_twice_is_rounding_once() {
        for stored in [Stored::Bf16, Stored::Int8] {
            let once = round_trip(&NUMBERS, FloatDType::F32, stored);
            assert_eq!(round_trip(&once, FloatDType::F32, stored), once, "{stored:?}");
        }
    }

    #[test]
    fn int8_is_off_by_half_a_step_of_the_largest_number_of_a_token() {
        let got = round_trip(&NUMBERS, FloatDType::F32, Stored::Int8);
        for (token, (got, want)) in got.chunks(3).zip(NUMBERS.chunks(3)).enumerate() {
            let largest = want.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() <= 0.501 * largest / 127.0, "{token}: {got} {want}");
            }
        }
    }
}
