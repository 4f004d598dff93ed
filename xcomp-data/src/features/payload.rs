//! Features as the bytes of a record: sizes, the choice of frames that the prompt is made from, values.

use crate::frames::Choice;

/// Merged tokens of the frames of one visual, before the connector's perceptron.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Clips.
    pub clips: usize,
    /// Tokens of a clip.
    pub tokens: usize,
    /// Width of a token.
    pub width: usize,
    /// `[clips, tokens, width]`.
    pub values: FeatureValues,
    /// The class tokens of all frames, one behind the other, where they were asked for; else nothing.
    pub class: Vec<f32>,
}

/// Numbers in the format that they are kept in, little endian.
#[derive(Clone, PartialEq)]
pub enum FeatureValues {
    /// 32-bit floats.
    F32(Vec<u8>),
    /// The upper halves of 32-bit floats.
    Bf16(Vec<u8>),
    /// For each token a 32-bit scale, then for each number a signed byte to multiply it with.
    Int8(Vec<u8>),
}

impl std::fmt::Debug for FeatureValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of format {}", self.bytes().len(), self.format())
    }
}

impl FeatureValues {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(bytes) | Self::Bf16(bytes) | Self::Int8(bytes) => bytes,
        }
    }

    fn format(&self) -> u64 {
        match self {
            Self::F32(_) => 0,
            Self::Bf16(_) => 1,
            Self::Int8(_) => 2,
        }
    }

    fn of(format: u64, bytes: Vec<u8>) -> Option<Self> {
        match format {
            0 => Some(Self::F32(bytes)),
            1 => Some(Self::Bf16(bytes)),
            2 => Some(Self::Int8(bytes)),
            _ => None,
        }
    }

    /// Bytes of so many tokens.
    fn expected(&self, tokens: usize, width: usize) -> usize {
        match self {
            Self::F32(_) => 4 * tokens * width,
            Self::Bf16(_) => 2 * tokens * width,
            Self::Int8(_) => tokens * (4 + width),
        }
    }
}

/// Numbers before the indices of the frames.
const FIXED: usize = 8;
/// The first number holds the format below this bit, and from it on how many numbers of class tokens stand behind the values.
const CLASS_BIT: u32 = 8;
/// Bytes of one of them.
const CLASS_BYTES: usize = size_of::<f32>();

pub(super) fn encode(features: &Features, choice: &Choice) -> Vec<u8> {
    let Features { clips, tokens, width, values, class } = features;
    let fixed: [u64; FIXED] = [
        values.format() | (class.len() as u64) << CLASS_BIT,
        *clips as u64,
        *tokens as u64,
        *width as u64,
        choice.first as u64,
        choice.fps.to_bits(),
        choice.duration_s.to_bits(),
        choice.indices.len() as u64,
    ];
    let indices = choice.indices.iter().map(|index| *index as u64);
    let mut bytes: Vec<u8> = fixed.into_iter().chain(indices).flat_map(u64::to_le_bytes).collect();
    bytes.extend_from_slice(values.bytes());
    bytes.extend(class.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// `None` where the parts do not fit each other.
pub(super) fn decode(bytes: &[u8]) -> Option<(Features, Choice)> {
    let word = |at: usize| {
        let word = bytes.get(8 * at..8 * at + 8)?;
        Some(u64::from_le_bytes(word.try_into().expect("eight bytes")))
    };
    let size = |at: usize| Some(word(at)? as usize);
    let (clips, tokens, width, count) = (size(1)?, size(2)?, size(3)?, size(7)?);
    let end = count.checked_add(FIXED)?.checked_mul(8)?;
    let (format, class) = (word(0)? & ((1 << CLASS_BIT) - 1), word(0)? >> CLASS_BIT);
    let behind = (class as usize).checked_mul(CLASS_BYTES)?;
    let at = bytes.len().checked_sub(end.checked_add(behind)?)?;
    let (values, class) = bytes.get(end..)?.split_at_checked(at)?;
    let values = FeatureValues::of(format, values.to_vec())?;
    if values.bytes().len() != values.expected(clips.checked_mul(tokens)?, width) {
        return None;
    }
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let class = class.chunks_exact(CLASS_BYTES).map(number).collect();
    let choice = Choice {
        indices: (FIXED..FIXED + count).map(size).collect::<Option<_>>()?,
        first: size(4)?,
        fps: f64::from_bits(word(5)?),
        duration_s: f64::from_bits(word(6)?),
    };
    Some((Features { clips, tokens, width, values, class }, choice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_back_to_the_bit_or_not_at_all() {
        let choice = Choice { indices: vec![0, 7, 7], first: 3, fps: 29.97, duration_s: 0.1 + 0.2 };
        for (values, bytes) in [
            (FeatureValues::F32(vec![1; 24]), 24),
            (FeatureValues::Bf16(vec![2; 12]), 12),
            (FeatureValues::Int8(vec![3; 14]), 14),
        ] {
            for class in [vec![], vec![0.5, -1.25, 3.0]] {
                let (numbers, values) = (class.len(), values.clone());
                let features = Features { clips: 1, tokens: 2, width: 3, values, class };
                let encoded = encode(&features, &choice);
                assert_eq!(encoded.len(), 8 * (FIXED + 3) + bytes + 4 * numbers);
                assert_eq!(decode(&encoded), Some((features, choice.clone())));
                for cut in 0..encoded.len() {
                    assert_eq!(decode(&encoded[..cut]), None, "cut at {cut}");
                }
            }
        }
        assert_eq!(decode(&[255; 200]), None);
    }
}
