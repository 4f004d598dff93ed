//! The 256 values of 8-bit optimizer states: a decade by the leading zeros, a fraction by what is left of the bits
//! (Dettmers 2015; Dettmers et al. 2022, section 2.1; bitsandbytes 0.45 `functional.py`, `create_dynamic_map`).
//!
//! Numbers are quantised in blocks, each over its largest magnitude, to the nearest value of the map. Beyond bitsandbytes
//! a square that is not 0 never becomes 0: its root divides.

use std::sync::LazyLock;

/// Numbers that share a scale (bitsandbytes 0.45 `optim/optimizer.py`).
pub(super) const BLOCK: usize = 256;
/// Values of a map.
const VALUES: usize = 256;
/// Decades.
const DECADES: i32 = 7;

/// Values in ascending order, and where one ends and the next begins.
#[derive(Debug)]
pub(super) struct DynamicMap {
    pub(super) values: [f32; VALUES],
    pub(super) ends: [f32; VALUES - 1],
}

/// For numbers of both signs.
static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
/// For numbers of 0 and above.
static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

impl DynamicMap {
    pub(super) fn of(signed: bool) -> &'static Self {
        if signed { &SIGNED } else { &UNSIGNED }
    }

    fn new(signed: bool) -> Self {
        let mut all = vec![0.0, 1.0];
        for decade in 0..DECADES {
            let fractions = 1 << if signed { decade } else { decade + 1 };
            let top = 10_f64.powi(decade - (DECADES - 1));
            let width = 0.9 / f64::from(fractions);
            let middles = (0..fractions).map(|at| top * (0.1 + (f64::from(at) + 0.5) * width));
            all.extend(middles.clone());
            all.extend(middles.filter(|_| signed).map(|value| -value));
        }
        all.sort_by(f64::total_cmp);
        let values: [f32; VALUES] = std::array::from_fn(|at| all[at] as f32);
        let mut ends = std::array::from_fn(|at| f64::midpoint(all[at], all[at + 1]) as f32);
        if !signed {
            ends[0] = 0.0;
        }
        Self { values, ends }
    }

    /// The place of 0.
    pub(super) fn zero(&self) -> u8 {
        self.encode(0.0)
    }

    /// The place of the value for a number in `-1..=1`.
    #[inline(always)]
    pub(super) fn encode(&self, number: f32) -> u8 {
        let mut place = 0;
        for step in [128, 64, 32, 16, 8, 4, 2, 1] {
            place += if number > self.ends[place + step - 1] { step } else { 0 };
        }
        place as u8
    }

    /// Quantises a block of numbers; gives its scale.
    pub(super) fn encode_block(&self, numbers: &[f32], places: &mut [u8]) -> f32 {
        let scale = numbers.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
        let by = if scale > 0.0 { scale } else { 1.0 };
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = self.encode(number / by);
        }
        scale
    }

    /// The numbers of a quantised block.
    pub(super) fn decode_block(&self, places: &[u8], scale: f32, numbers: &mut [f32]) {
        for (number, place) in numbers.iter_mut().zip(places) {
            *number = self.values[usize::from(*place)] * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every seventeenth value of `create_dynamic_map` of bitsandbytes 0.45, as it prints them.
    #[rustfmt::skip]
    const PUBLISHED: [(bool, [f64; 16]); 2] = [
        (true, [
            -0.992_968_738_079_071, -0.753_906_25, -0.514_843_702_316_284_2, -0.275_781_273_841_857_9,
            -0.087_343_752_384_185_79, -0.039_531_249_552_965_164, -0.006_343_749_817_460_775, -0.000_156_250_011_059_455_57,
            0.000_268_750_038_230_791_7, 0.006_906_250_026_077_032, 0.042_343_746_870_756_15, 0.090_156_249_701_976_78,
            0.289_843_738_079_071, 0.528_906_226_158_142_1, 0.767_968_773_841_857_9, 1.0,
        ]),
        (false, [
            0.0, 0.000_240_625_013_248_063_62, 0.001_984_375_063_329_935, 0.006_765_625_439_584_255,
            0.017_734_376_713_633_537, 0.041_640_624_403_953_55, 0.065_546_877_682_209_01, 0.089_453_123_509_883_88,
            0.166_796_863_079_071, 0.286_328_136_920_928_96, 0.405_859_351_158_142_1, 0.525_390_625,
            0.644_921_898_841_857_9, 0.764_453_172_683_715_8, 0.883_984_327_316_284_2, 1.0,
        ]),
    ];

    #[test]
    fn maps_are_those_of_bitsandbytes() {
        for (signed, published) in PUBLISHED {
            let map = DynamicMap::of(signed);
            for (value, want) in map.values.iter().step_by(17).zip(published) {
                assert!((f64::from(*value) - want).abs() <= 2e-7 * want.abs(), "{value} {want}");
            }
            assert!(map.values.is_sorted() && map.values[usize::from(map.zero())] == 0.0);
            // The sum of all values, as torch adds them in f64.
            let sum: f64 = map.values.iter().copied().map(f64::from).sum();
            let want = if signed { 1.0 } else { 75.105_263_243_386_9 };
            assert!((sum - want).abs() < 1e-5, "{sum}");
        }
    }

    proptest! {
        /// No number is further off than half of the gap that it lies in, so never more than 0.71 % of its block's largest.
        #[test]
        fn round_trips_are_off_by_half_a_gap_at_most(
            numbers in prop::collection::vec(-1e3_f32..1e3, 1..=BLOCK),
            shrink in prop::collection::vec(0..12_i32, BLOCK),
            signed: bool,
        ) {
            let map = DynamicMap::of(signed);
            let numbers: Vec<f32> = numbers.iter().zip(&shrink)
                .map(|(number, by)| if signed { *number } else { number.abs() } * 10_f32.powi(-by))
                .collect();
            let mut places = vec![0; numbers.len()];
            let scale = map.encode_block(&numbers, &mut places);
            let mut back = vec![0.0; numbers.len()];
            map.decode_block(&places, scale, &mut back);
            for (number, back) in numbers.iter().zip(&back) {
                let unit = number / scale;
                let above = map.values.iter().position(|value| *value >= unit).unwrap_or(VALUES - 1).max(1);
                let gap = map.values[above] - map.values[above - 1];
                let lowest = !signed && above == 1;
                let most = if lowest { gap } else { gap / 2.0 } * scale * 1.0001 + f32::MIN_POSITIVE;
                prop_assert!((number - back).abs() <= most, "{number} became {back}");
                prop_assert!((number - back).abs() <= 0.0071 * scale);
                prop_assert!(signed || (*back == 0.0) == (*number == 0.0));
            }
        }
    }
}
