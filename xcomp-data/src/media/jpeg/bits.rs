//! Entropy-coded bits and Huffman codes.

/// Codes of up to this length are found in one step.
const FAST_BITS: u32 = 9;

/// A table of codes.
pub(super) struct Huffman {
    /// Length and symbol by the next bits; length 0 where the code is longer.
    fast: Vec<(u8, u8)>,
    /// For each length: the first code beyond those of this length, and what to add to a code to find its symbol.
    beyond: [i32; 17],
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            fast: vec![(0, 0); 1 << FAST_BITS],
            beyond: [0; 17],
            offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut at) = (0_i32, 0_usize);
        for length in 1..=16_usize {
            table.offset[length] = at as i32 - code;
            for _ in 0..counts[length - 1] {
                if code >= 1 << length {
                    return None;
                }
                table.note(code as usize, length as u32, symbols[at]);
                (code, at) = (code + 1, at + 1);
            }
            table.beyond[length] = code;
            code <<= 1;
        }
        Some(table)
    }

    fn note(&mut self, code: usize, length: u32, symbol: u8) {
        if length <= FAST_BITS {
            let spare = FAST_BITS - length;
            self.fast[code << spare..(code + 1) << spare].fill((length as u8, symbol));
        }
    }
}

/// Reads bits until a marker; behind it there are only zeros, as in libjpeg.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (None | Some(0xff), _) => 0,
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    fn peek(&mut self, count: u32) -> u32 {
        if self.count < count {
            self.fill();
        }
        (self.held >> (self.count - count)) as u32 & ((1 << count) - 1)
    }

    /// The next bits as a number.
    pub(super) fn take(&mut self, count: u32) -> i32 {
        if count == 0 {
            return 0;
        }
        let bits = self.peek(count);
        self.count -= count;
        bits as i32
    }

    /// A number of so many bits, negative ones written below half.
    pub(super) fn signed(&mut self, count: u32) -> i32 {
        let bits = self.take(count);
        if count > 0 && bits < 1 << (count - 1) { bits - (1 << count) + 1 } else { bits }
    }

    /// The next symbol; `None` for a code that no table has.
    pub(super) fn symbol(&mut self, table: &Huffman) -> Option<u8> {
        let bits = self.peek(16);
        let (length, symbol) = table.fast[(bits >> (16 - FAST_BITS)) as usize];
        if length > 0 {
            self.count -= u32::from(length);
            return Some(symbol);
        }
        for length in FAST_BITS as usize + 1..=16 {
            let code = (bits >> (16 - length)) as i32;
            if code < table.beyond[length] {
                self.count -= length as u32;
                return table
                    .symbols
                    .get(usize::try_from(code + table.offset[length]).ok()?)
                    .copied();
            }
        }
        None
    }

    /// Goes behind the next marker, if it is a restart.
    pub(super) fn restart(&mut self) {
        (self.held, self.count) = (0, 0);
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let marker =
            rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff));
        if let Some(found) = marker.filter(|&found| matches!(rest[found + 1], 0xd0..=0xd7)) {
            self.at += found + 2;
        }
    }

    /// Bytes that were used, up to the next marker that is no restart.
    pub(super) fn used(&self) -> usize {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
        self.at + rest.windows(2).position(marker).unwrap_or(rest.len())
    }
}
