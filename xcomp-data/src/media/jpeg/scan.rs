//! Scans: coefficients of all or some components, at once (baseline) or bit by bit (progressive).

use super::bits::{Bits, Huffman};
use super::{Block, Decoder};

/// Where the k-th coefficient of a file lies in a block.
pub(super) const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// What a scan refines: coefficients `from..=to`, bits from `high` down to `low`.
#[derive(Clone, Copy)]
struct Pass {
    from: usize,
    to: usize,
    high: u32,
    low: u32,
}

/// A component of a scan.
struct Part {
    component: usize,
    dc: usize,
    ac: usize,
    predicted: i32,
}

impl Decoder {
    /// Reads one scan; gives the bytes that it used.
    pub(super) fn scan(&mut self, header: &[u8], data: &[u8]) -> Option<usize> {
        let (&count, rest) = header.split_first()?;
        let (chosen, spectrum) = rest.split_at_checked(2 * usize::from(count))?;
        let &[from, to, bits] = spectrum else { return None };
        let pass = Pass {
            from: usize::from(from),
            to: usize::from(to),
            high: u32::from(bits >> 4),
            low: u32::from(bits & 15),
        };
        if pass.from > pass.to || pass.to > 63 || pass.low > 13 {
            return None;
        }
        let part = |bytes: &[u8]| {
            let component = self.components.iter().position(|found| found.id == bytes[0])?;
            let (dc, ac) = (usize::from(bytes[1] >> 4) & 3, usize::from(bytes[1]) & 3);
            Some(Part { component, dc, ac, predicted: 0 })
        };
        let mut parts: Vec<Part> = chosen.chunks_exact(2).map(part).collect::<Option<_>>()?;
        let mut bits = Bits::new(data);
        match parts.len() {
            0 => return None,
            1 => self.alone(&mut parts[0], pass, &mut bits)?,
            _ => self.together(&mut parts, pass, &mut bits)?,
        }
        Some(bits.used())
    }

    /// Blocks of one component, only those that belong to the picture.
    fn alone(&mut self, part: &mut Part, pass: Pass, bits: &mut Bits<'_>) -> Option<()> {
        let component = &self.components[part.component];
        let (columns, rows) = (component.width.div_ceil(8), component.height.div_ceil(8));
        let stride = component.stride;
        let mut run = 0;
        for at in 0..columns * rows {
            if self.restart > 0 && at > 0 && at.is_multiple_of(self.restart) {
                bits.restart();
                (part.predicted, run) = (0, 0);
            }
            self.block(part, at / columns * stride + at % columns, pass, &mut run, bits)?;
        }
        Some(())
    }

    /// Groups of blocks of several components.
    fn together(&mut self, parts: &mut [Part], pass: Pass, bits: &mut Bits<'_>) -> Option<()> {
        let first = &self.components[0];
        let columns = first.stride / first.across;
        let rows = first.blocks.len() / first.stride / first.down;
        let mut run = 0;
        for group in 0..columns * rows {
            if self.restart > 0 && group > 0 && group.is_multiple_of(self.restart) {
                bits.restart();
                run = 0;
                for part in parts.iter_mut() {
                    part.predicted = 0;
                }
            }
            for part in parts.iter_mut() {
                let component = &self.components[part.component];
                let (across, down, stride) = (component.across, component.down, component.stride);
                for inside in 0..across * down {
                    let y = group / columns * down + inside / across;
                    let x = group % columns * across + inside % across;
                    self.block(part, y * stride + x, pass, &mut run, bits)?;
                }
            }
        }
        Some(())
    }

    fn block(
        &mut self,
        part: &mut Part,
        at: usize,
        pass: Pass,
        run: &mut u32,
        bits: &mut Bits<'_>,
    ) -> Option<()> {
        let block = self.components[part.component].blocks.get_mut(at)?;
        if !self.progressive {
            direct(block, &mut part.predicted, self.dc[part.dc].as_ref()?, bits)?;
            let whole = Pass { from: 1, to: 63, high: 0, low: 0 };
            return first_pass(block, self.ac[part.ac].as_ref()?, whole, &mut 0, bits);
        }
        match (pass.from, pass.high) {
            (0, 0) => {
                direct(block, &mut part.predicted, self.dc[part.dc].as_ref()?, bits)?;
                block[0] = (i32::from(block[0]) << pass.low) as i16;
                Some(())
            }
            (0, _) => {
                block[0] |= (bits.take(1) << pass.low) as i16;
                Some(())
            }
            (_, 0) => first_pass(block, self.ac[part.ac].as_ref()?, pass, run, bits),
            _ => refine(block, self.ac[part.ac].as_ref()?, pass, run, bits),
        }
    }
}

/// The mean of a block, as a difference to the block before.
fn direct(
    block: &mut Block,
    predicted: &mut i32,
    table: &Huffman,
    bits: &mut Bits<'_>,
) -> Option<()> {
    let length = u32::from(bits.symbol(table)?);
    if length > 15 {
        return None;
    }
    *predicted = predicted.wrapping_add(bits.signed(length));
    block[0] = *predicted as i16;
    Some(())
}

/// Coefficients with the zeros between them.
fn first_pass(
    block: &mut Block,
    table: &Huffman,
    pass: Pass,
    run: &mut u32,
    bits: &mut Bits<'_>,
) -> Option<()> {
    if *run > 0 {
        *run -= 1;
        return Some(());
    }
    let mut at = pass.from;
    while at <= pass.to {
        let symbol = bits.symbol(table)?;
        let (zeros, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if length == 0 && zeros < 15 {
            *run = (1 << zeros) - 1 + bits.take(zeros as u32) as u32;
            return Some(());
        }
        at += zeros;
        if length > 0 {
            *block.get_mut(*ZIGZAG.get(at)?)? = (bits.signed(length) << pass.low) as i16;
        }
        at += 1;
    }
    Some(())
}

/// One more bit of known coefficients, and new ones that are plus or minus one bit.
fn refine(
    block: &mut Block,
    table: &Huffman,
    pass: Pass,
    run: &mut u32,
    bits: &mut Bits<'_>,
) -> Option<()> {
    let bit = 1_i16 << pass.low;
    let mut at = pass.from;
    if *run == 0 {
        while at <= pass.to {
            let symbol = bits.symbol(table)?;
            let (mut zeros, length) = (u32::from(symbol >> 4), symbol & 15);
            let mut new = 0;
            if length > 0 {
                new = if bits.take(1) == 1 { bit } else { -bit };
            } else if zeros < 15 {
                *run = (1 << zeros) + bits.take(zeros) as u32;
                break;
            }
            while at <= pass.to {
                let value = &mut block[ZIGZAG[at]];
                if *value != 0 {
                    more(value, bit, bits);
                } else if zeros == 0 {
                    *value = new;
                    at += 1;
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
        }
    }
    if *run > 0 {
        for place in ZIGZAG.iter().take(pass.to + 1).skip(at) {
            let value = &mut block[*place];
            if *value != 0 {
                more(value, bit, bits);
            }
        }
        *run -= 1;
    }
    Some(())
}

/// Reads whether a known coefficient grows by `bit`.
fn more(value: &mut i16, bit: i16, bits: &mut Bits<'_>) {
    if bits.take(1) == 1 && *value & bit == 0 {
        *value = if *value > 0 { value.wrapping_add(bit) } else { value.wrapping_sub(bit) };
    }
}
