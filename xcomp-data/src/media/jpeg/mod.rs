//! JPEG pictures to the same bytes as libjpeg-turbo, which Pillow and `OpenCV` read them with.
//!
//! Baseline and progressive Huffman files, grey or three components at 4:4:4, 4:2:2 or 4:2:0; for any other the caller has a general decoder.
//! Other decoders differ by up to four levels in a third of all pixels, because they round and upsample differently.

mod bits;
mod pixels;
mod scan;

use crate::media::picture::Rgb;

/// Most pixels that are decoded here: all coefficients of a picture are held at once.
const MAX_PIXELS: usize = 32 << 20;
/// Most scans of a progressive file; encoders write about ten.
const MAX_SCANS: usize = 64;

/// Coefficients of a block in natural order.
type Block = [i16; 64];

/// One colour component.
struct Component {
    id: u8,
    /// Sampling factors.
    across: usize,
    down: usize,
    /// Which quantisation table.
    table: usize,
    /// Samples that belong to the picture.
    width: usize,
    height: usize,
    /// Blocks in a row, filled up to whole groups.
    stride: usize,
    blocks: Vec<Block>,
}

/// What a file has told so far.
#[derive(Default)]
struct Decoder {
    tables: [Option<[u16; 64]>; 4],
    dc: [Option<bits::Huffman>; 4],
    ac: [Option<bits::Huffman>; 4],
    restart: usize,
    progressive: bool,
    width: usize,
    height: usize,
    components: Vec<Component>,
    /// The colour transform that Adobe's marker names.
    adobe: Option<u8>,
    jfif: bool,
}

/// Decodes a file; `None` when it is not of the kinds above or is damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<Rgb> {
    let mut decoder = Decoder::default();
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    let mut scans = 0;
    loop {
        let (marker, after) = next_marker(rest)?;
        if marker == 0xd9 {
            return if scans > 0 { pixels::assemble(&decoder) } else { None };
        }
        let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
        let segment = after.get(2..length)?;
        rest = &after[length..];
        match marker {
            0xc0..=0xc2 => decoder.frame(marker == 0xc2, segment)?,
            0xc4 => decoder.huffman(segment)?,
            0xdb => decoder.quantisation(segment)?,
            0xdd => decoder.restart = usize::from(u16::from_be_bytes(*segment.first_chunk()?)),
            0xe0 => decoder.jfif |= segment.starts_with(b"JFIF\0"),
            0xee if segment.starts_with(b"Adobe") => decoder.adobe = segment.get(11).copied(),
            0xda => {
                scans += 1;
                if scans > MAX_SCANS {
                    return None;
                }
                rest = &rest[decoder.scan(segment, rest)?..];
            }
            // Other codings: lossless, arithmetic, hierarchical.
            0xc3 | 0xc5..=0xcf => return None,
            _ => {}
        }
    }
}

/// Skips to the next marker.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let at = bytes.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff))?;
    Some((bytes[at + 1], &bytes[at + 2..]))
}

impl Decoder {
    fn frame(&mut self, progressive: bool, segment: &[u8]) -> Option<()> {
        let &[8, h1, h0, w1, w0, count, ref components @ ..] = segment else { return None };
        self.height = usize::from(u16::from_be_bytes([h1, h0]));
        self.width = usize::from(u16::from_be_bytes([w1, w0]));
        let pixels = self.width * self.height;
        let known = self.components.is_empty() && matches!(count, 1 | 3);
        if !known
            || pixels == 0
            || pixels > MAX_PIXELS
            || components.len() != 3 * usize::from(count)
        {
            return None;
        }
        self.progressive = progressive;
        let factors = |bytes: &[u8]| (usize::from(bytes[1] >> 4), usize::from(bytes[1] & 15));
        let (most_across, most_down) = if count == 1 { (1, 1) } else { factors(components) };
        for bytes in components.chunks_exact(3) {
            let (across, down) = if count == 1 { (1, 1) } else { factors(bytes) };
            let first = self.components.is_empty();
            let fits = matches!((most_across, most_down), (1 | 2, 1) | (2, 2));
            if !fits || bytes[2] > 3 || !(first || (across, down) == (1, 1)) {
                return None;
            }
            let groups = |size: usize, most: usize| size.div_ceil(8 * most);
            let stride = groups(self.width, most_across) * across;
            let rows = groups(self.height, most_down) * down;
            self.components.push(Component {
                id: bytes[0],
                across,
                down,
                table: usize::from(bytes[2]),
                width: (self.width * across).div_ceil(most_across),
                height: (self.height * down).div_ceil(most_down),
                stride,
                blocks: vec![[0; 64]; stride * rows],
            });
        }
        Some(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let counts = rest.first_chunk::<16>()?;
            let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let table = bits::Huffman::new(counts, rest.get(16..16 + total)?)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 15))? = Some(table);
            segment = &rest[16 + total..];
        }
        Some(())
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let wide = kind >> 4 != 0;
            let length = if wide { 128 } else { 64 };
            let values = rest.get(..length)?;
            let mut table = [0; 64];
            for (at, place) in scan::ZIGZAG.iter().enumerate() {
                table[*place] = if wide {
                    u16::from_be_bytes([values[2 * at], values[2 * at + 1]])
                } else {
                    u16::from(values[at])
                };
            }
            *self.tables.get_mut(usize::from(kind & 15))? = Some(table);
            segment = &rest[length..];
        }
        Some(())
    }
}
