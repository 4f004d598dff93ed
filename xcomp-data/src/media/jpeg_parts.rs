//! The parts of a JPEG file, whatever decodes it: whether its picture ends, and what its EXIF data say.

/// The mark before EXIF data, which are a TIFF file of their own.
const EXIF: &[u8] = b"Exif\0\0";
/// Coefficients of a block.
const BLOCK: usize = 64;

/// What the markers of a file tell, up to the end of its first picture.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a> {
    /// Scans; baseline files have one, or one for each component.
    pub(crate) scans: usize,
    /// Whether the end of the picture is marked.
    pub(crate) ended: bool,
    /// Length of what is whole: all, but for a segment that is cut.
    pub(crate) whole: usize,
    /// Whether its coding is arithmetic, of which nothing is known behind a cut.
    pub(crate) is_arithmetic: bool,
    /// The EXIF data.
    pub(crate) exif: Option<&'a [u8]>,
    /// For each component of a progressive picture, the lowest bit that is known of each coefficient.
    progress: Option<Vec<(u8, [u8; BLOCK])>>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let mut parts = Self::default();
        let mut rest = bytes.get(2..).unwrap_or_default();
        while let Some((marker, segment, behind)) = next(rest) {
            rest = behind;
            parts.is_arithmetic |= matches!(marker, 0xc9..=0xcb);
            match marker {
                0xd9 => {
                    parts.ended = true;
                    break;
                }
                0xc2 | 0xca => parts.progress = Some(components(segment)),
                0xda => parts.scan(segment),
                0xe1 if parts.exif.is_none() => parts.exif = segment.strip_prefix(EXIF),
                _ => {}
            }
        }
        let cut = rest.windows(2).position(is_marker).filter(|_| !parts.ended);
        parts.whole = bytes.len() - cut.map_or(0, |at| rest.len() - at);
        parts
    }

    fn scan(&mut self, header: &[u8]) {
        self.scans += 1;
        let Some(progress) = &mut self.progress else { return };
        let count = usize::from(header.first().copied().unwrap_or(0));
        let Some(&[first, last, bits]) = header.get(1 + 2 * count..4 + 2 * count) else { return };
        for id in header[1..=2 * count].iter().step_by(2) {
            let bands = progress.iter_mut().filter(|(component, _)| component == id);
            for known in bands
                .flat_map(|(_, known)| &mut known[..])
                .skip(first.into())
                .take(usize::from(last.saturating_sub(first)) + 1)
            {
                *known = bits & 15;
            }
        }
    }

    /// Whether every scan of a picture without an end mark has begun, so that only the last one can be cut.
    fn has_all_scans(&self) -> bool {
        self.progress.as_ref().is_none_or(|components| {
            components.iter().all(|(_, known)| known.iter().all(|&bit| bit == 0))
        })
    }

    /// The picture of a file whose end is not marked, if all of it is there.
    ///
    /// What is added behind complete data changes no pixel.
    pub(crate) fn without_end<T: PartialEq>(
        &self,
        bytes: &[u8],
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        if self.scans == 0 || !self.has_all_scans() {
            return None;
        }
        let end = bytes.iter().rposition(|&byte| byte != 0xff).map_or(0, |at| at + 1);
        let with = |tail: &[u8]| decode(&[&bytes[..end], tail, &[0xff, 0xd9]].concat());
        let picture = with(&[])?;
        let restart = next_restart(&bytes[..end]);
        let is_whole =
            STARTS.iter().all(|&bits| with(&noise(bits, restart)).as_ref() == Some(&picture));
        is_whole.then_some(picture)
    }
}

/// Bits that a lacking part could begin with: codes of any start have to be tried, for some mean that nothing follows.
const STARTS: [u8; 8] = [0x1b, 0x2d, 0x5a, 0x6c, 0x92, 0xb4, 0xc9, 0xed];

/// Bits that no encoder writes, also behind each of the marks at which decoding may start again.
fn noise(bits: u8, restart: u8) -> Vec<u8> {
    let bits = || (0..64_u8).map(|at| at.wrapping_mul(89) ^ bits).filter(|&byte| byte != 0xff);
    let restarts = (0..8).flat_map(|at| bits().chain([0xff, 0xd0 | ((restart + at) & 7)]));
    restarts.chain(bits()).collect()
}

/// Number of the mark at which decoding would start again next.
fn next_restart(bytes: &[u8]) -> u8 {
    let last = bytes.windows(2).rev().find(|pair| pair[0] == 0xff && pair[1] != 0);
    last.filter(|pair| matches!(pair[1], 0xd0..=0xd7)).map_or(0, |pair| (pair[1] + 1) & 7)
}

fn is_marker(pair: &[u8]) -> bool {
    pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7)
}

/// The next marker, its segment without the length, and what follows.
fn next(rest: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let at = rest.windows(2).position(is_marker)?;
    let (marker, behind) = (rest[at + 1], &rest[at + 2..]);
    if matches!(marker, 0x01 | 0xd8 | 0xd9) {
        return Some((marker, &[], behind));
    }
    let length = usize::from(u16::from_be_bytes(*behind.first_chunk()?));
    Some((marker, behind.get(2..length)?, &behind[length..]))
}

/// Identifiers of the components of a frame header, nothing known of each.
fn components(header: &[u8]) -> Vec<(u8, [u8; BLOCK])> {
    let (entries, _) = header.get(6..).unwrap_or_default().as_chunks::<3>();
    entries.iter().map(|&[id, ..]| (id, [u8::MAX; BLOCK])).collect()
}
