//! One record as bytes: a header that can be trusted on its own, then the payload.

use sha2::{Digest, Sha256};

use crate::features::Key;

/// Starts every record; changes with the form of records.
pub(super) const MAGIC: [u8; 4] = *b"xfr1";
/// Bytes of a checksum: a cut SHA-256.
const CHECKSUM: usize = 16;
/// Magic, length of the payload, key, checksum of the payload, checksum of all of this.
pub(super) const HEADER: usize = 4 + 8 + size_of::<Key>() + 2 * CHECKSUM;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: Key,
    /// Bytes of the payload.
    pub(super) length: u64,
    checksum: [u8; CHECKSUM],
}

impl Header {
    /// `None` if these bytes are not a whole header.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        let (content, own) = bytes.split_at(HEADER - CHECKSUM);
        if content[..4] != MAGIC || checksum(content) != own {
            return None;
        }
        Some(Self {
            length: u64::from_le_bytes(content[4..12].try_into().expect("eight bytes")),
            key: content[12..44].try_into().expect("a key"),
            checksum: content[44..].try_into().expect("a checksum"),
        })
    }

    /// Whether this is its payload, to the bit.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == self.length && checksum(payload) == self.checksum
    }
}

/// A whole record.
pub(super) fn record(key: &Key, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&checksum(payload));
    bytes.extend_from_slice(&checksum(&bytes));
    bytes.extend_from_slice(payload);
    bytes
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    Sha256::digest(bytes)[..CHECKSUM].try_into().expect("a digest is longer than a checksum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_is_taken_for_the_record() {
        let whole = record(&[7; 32], b"payload");
        let header = Header::read(&whole).unwrap();
        assert_eq!((header.key, header.length), ([7; 32], 7));
        assert!(header.fits(b"payload") && !header.fits(b"payloae") && !header.fits(b"payloa"));
        for bit in 0..8 * HEADER {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&flipped), None, "bit {bit}");
        }
    }
}
