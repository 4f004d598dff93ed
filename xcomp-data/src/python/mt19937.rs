//! Python's `random.Random`, so that the reference's shuffles come out bit for bit.
//!
//! `CPython` 3: `seed(int)` is `init_by_array` of the 32-bit digits, `shuffle` walks down with `_randbelow_with_getrandbits`.

const STATE_WORDS: usize = 624;
const SHIFT_WORDS: usize = 397;

/// The Mersenne Twister MT19937 as seeded and read by Python's `random`.
///
/// ```
/// let mut random = xcomp_data::PythonRandom::new(12345);
/// assert_eq!(random.next_u32(), 1789368711);
/// ```
#[derive(Clone)]
pub struct PythonRandom {
    state: [u32; STATE_WORDS],
    index: usize,
}

impl PythonRandom {
    /// `random.seed(seed)` for a non-negative integer.
    pub fn new(seed: u64) -> Self {
        let high = (seed >> 32) as u32;
        let digits = [seed as u32, high];
        Self::from_digits(if high == 0 { &digits[..1] } else { &digits })
    }

    fn from_digits(key: &[u32]) -> Self {
        let mut state = initial_state(19_650_218);
        let (mut i, mut j) = (1, 0);
        for _ in 0..STATE_WORDS.max(key.len()) {
            state[i] = (state[i] ^ mixed(state[i - 1]).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            (i, j) = (advance(&mut state, i), (j + 1) % key.len());
        }
        for _ in 0..STATE_WORDS - 1 {
            state[i] =
                (state[i] ^ mixed(state[i - 1]).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i = advance(&mut state, i);
        }
        state[0] = 0x8000_0000;
        Self { state, index: STATE_WORDS }
    }

    /// The next 32 random bits (`genrand_uint32`).
    pub fn next_u32(&mut self) -> u32 {
        if self.index == STATE_WORDS {
            self.refill();
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..STATE_WORDS {
            let next = self.state[(i + 1) % STATE_WORDS];
            let y = (self.state[i] & 0x8000_0000) | (next & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT_WORDS) % STATE_WORDS] ^ (y >> 1) ^ odd;
        }
        self.index = 0;
    }

    /// `random.getrandbits(bits)` for 1 to 32 bits.
    ///
    /// # Panics
    /// When `bits` is 0 or more than 32.
    pub fn getrandbits(&mut self, bits: u32) -> u32 {
        assert!((1..=32).contains(&bits), "getrandbits takes 1 to 32 bits");
        self.next_u32() >> (32 - bits)
    }

    /// A uniform integer below `bound`, by rejection, as `random._randbelow`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn randbelow(&mut self, bound: u32) -> u32 {
        let bits = u32::BITS - bound.leading_zeros();
        loop {
            let draw = self.getrandbits(bits);
            if draw < bound {
                return draw;
            }
        }
    }

    /// `random.shuffle(items)`.
    ///
    /// # Panics
    /// When there are more than 2^32 - 1 items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let bound = u32::try_from(i + 1).expect("fewer than 2^32 items are shuffled");
            items.swap(i, self.randbelow(bound) as usize);
        }
    }
}

fn initial_state(seed: u32) -> [u32; STATE_WORDS] {
    let mut state = [seed; STATE_WORDS];
    for i in 1..STATE_WORDS {
        state[i] = 1_812_433_253u32.wrapping_mul(mixed(state[i - 1])).wrapping_add(i as u32);
    }
    state
}

fn mixed(word: u32) -> u32 {
    word ^ (word >> 30)
}

/// The next index of the seeding walk; on wrapping, the last word moves to the front.
fn advance(state: &mut [u32; STATE_WORDS], i: usize) -> usize {
    if i + 1 < STATE_WORDS {
        return i + 1;
    }
    state[0] = state[STATE_WORDS - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shuffled(seed: u64, count: u32) -> Vec<u32> {
        let mut items: Vec<u32> = (0..count).collect();
        PythonRandom::new(seed).shuffle(&mut items);
        items
    }

    #[test]
    fn first_outputs_are_those_of_python() {
        let check = |seed, expect: [u32; 4]| {
            let mut random = PythonRandom::new(seed);
            assert_eq!([(); 4].map(|()| random.next_u32()), expect);
        };
        check(12345, [1_789_368_711, 3_146_859_322, 43_676_229, 3_522_623_596]);
        check(42, [2_746_317_213, 478_163_327, 107_420_369, 3_184_935_163]);
    }

    #[test]
    fn shuffles_are_those_of_python() {
        let of_12345 = [16, 18, 3, 8, 19, 10, 7, 14, 12, 1, 5, 2, 15, 17, 4, 6, 11, 9, 0, 13];
        let of_42 = [19, 5, 14, 4, 9, 13, 15, 18, 6, 12, 17, 10, 1, 11, 2, 16, 7, 8, 0, 3];
        assert_eq!(shuffled(12345, 20), of_12345);
        assert_eq!(shuffled(42, 20), of_42);
    }

    #[test]
    fn shuffle_slice_shuffle_keeps_the_reference_subset() {
        let mut slice = shuffled(12345, 1000)[100..200].to_vec();
        PythonRandom::new(42).shuffle(&mut slice);
        let expect = [
            298, 910, 866, 303, 595, 302, 765, 114, 352, 59, 317, 143, 78, 966, 176, 21, 593, 674,
            722, 913, 701, 360, 802, 915, 43,
        ];
        assert_eq!(slice[..25], expect);
    }

    #[test]
    fn a_seed_of_two_digits_is_read_as_two_digits() {
        // python3 -c "import random; random.seed(2**40+7); print(random.getrandbits(32))"
        assert_eq!(PythonRandom::new((1 << 40) + 7).next_u32(), 2_635_837_658);
    }
}
