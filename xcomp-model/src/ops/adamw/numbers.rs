//! Numbers in memory that are read as f32 and written back as they are held.

use half::bf16;

use crate::ops::dynamic_map::{BLOCK, DynamicMap};
use crate::ops::random::Key;
use crate::ops::rounding::rounded;
use crate::ops::rows::PIECE;

/// A tensor, or a piece of one.
pub(super) enum Numbers<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16], Key),
    Int8 { places: &'a mut [u8], scales: &'a mut [f32], map: &'static DynamicMap },
}

impl Numbers<'_> {
    /// Cut into pieces of whole blocks.
    pub(super) fn pieces(self) -> Vec<Self> {
        match self {
            Self::F32(all) => all.chunks_mut(PIECE).map(Self::F32).collect(),
            Self::Bf16(all, key) => {
                all.chunks_mut(PIECE).map(|piece| Self::Bf16(piece, key)).collect()
            }
            Self::Int8 { places, scales, map } => {
                let scales = scales.chunks_mut(PIECE / BLOCK);
                let pieces = places.chunks_mut(PIECE).zip(scales);
                pieces.map(|(places, scales)| Self::Int8 { places, scales, map }).collect()
            }
        }
    }

    /// All of them.
    pub(super) fn load(&self, to: &mut Vec<f32>) {
        to.clear();
        match self {
            Self::F32(held) => to.extend_from_slice(held),
            Self::Bf16(held, _) => to.extend(held.iter().map(|number| number.to_f32())),
            Self::Int8 { places, scales, map } => {
                to.resize(places.len(), 0.0);
                let blocks = places.chunks(BLOCK).zip(to.chunks_mut(BLOCK));
                for ((places, to), scale) in blocks.zip(scales.iter()) {
                    map.decode_block(places, *scale, to);
                }
            }
        }
    }

    /// Puts others in their place; the first is the tensor's at `first`.
    pub(super) fn store(&mut self, from: &[f32], first: u32) {
        match self {
            Self::F32(held) => held.copy_from_slice(from),
            Self::Bf16(held, key) => {
                for (place, (held, number)) in (first..).zip(held.iter_mut().zip(from)) {
                    *held = rounded(*number, key.bits(place));
                }
            }
            Self::Int8 { places, scales, map } => {
                let blocks = places.chunks_mut(BLOCK).zip(from.chunks(BLOCK));
                for ((places, from), scale) in blocks.zip(scales.iter_mut()) {
                    *scale = map.encode_block(from, places);
                }
            }
        }
    }
}
