//! Multi-hop needles in a haystack video: chains of pictures among unrelated frames (section 11 of the facts).

pub mod files;
pub mod kept;
pub mod run;
pub mod settings;
pub mod world;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::machine::files::{at, read_text};

/// A chain of pictures and two questions that only the whole chain answers; the fields are those of the published JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Picture files, first to last, relative to the folder of pictures.
    pub images: Vec<String>,
    /// Which caption fits the picture that the chain leads to.
    pub question1: String,
    /// Its letter.
    pub answer1: String,
    /// A question about that picture.
    pub question2: String,
    /// Its letter.
    pub answer2: String,
}

/// What stands in the video, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A picture of the chain, as one clip.
    Needle(usize),
    /// Clips of the haystack, from one to before the other.
    Hay(usize, usize),
}

/// Reads a published file of chains.
///
/// # Errors
/// If it cannot be read, or a chain has no picture.
pub fn read_chains(path: &Path) -> Result<Vec<Chain>, Error> {
    let chains: Vec<Chain> = serde_json::from_str(&read_text(path)?)
        .map_err(|error| at("cannot read", path)(error.into()))?;
    match chains.iter().position(|chain| chain.images.is_empty()) {
        Some(index) => {
            Err(Error::Argument(format!("{}: chain {} has no picture", path.display(), index + 1)))
        }
        None => Ok(chains),
    }
}

/// Where the pictures of a chain stand in a haystack of `clips` clips.
///
/// They are spread evenly over the first `depth` of it, the first at the very beginning; 1 is the published placement.
/// A single one stands behind so much of it (Video-XL's test).
///
/// # Panics
/// If there is no picture, or `depth` is not within 0 to 1.
pub fn place(needles: usize, clips: usize, depth: f64) -> Vec<Piece> {
    assert!(needles >= 1, "a chain has pictures");
    assert!((0.0..=1.0).contains(&depth), "a depth is a share");
    let behind = depth * clips as f64;
    let place = |needle: usize| match needles {
        1 => behind,
        _ => needle as f64 * (behind / (needles - 1) as f64),
    };
    let mut pieces = vec![];
    let mut from = 0;
    for needle in 0..needles {
        let to = (place(needle) as usize).min(clips);
        if to > from {
            pieces.push(Piece::Hay(from, to));
            from = to;
        }
        pieces.push(Piece::Needle(needle));
    }
    if from < clips {
        pieces.push(Piece::Hay(from, clips));
    }
    pieces
}

/// Whether a token's text is the letter, or the word, that was asked for (brackets and case do not matter).
pub fn is_letter(text: &str, answer: &str) -> bool {
    let plain = |text: &str| text.trim().replace(['(', ')'], "").to_lowercase();
    plain(text) == plain(answer)
}

#[cfg(test)]
mod tests {
    use super::Piece::{Hay, Needle};
    use super::*;

    #[test]
    fn needles_stand_as_published_at_depth_one() {
        let published = [Needle(0), Hay(0, 5), Needle(1), Hay(5, 10), Needle(2)];
        assert_eq!(place(3, 10, 1.0), published);
        let early = [Needle(0), Hay(0, 2), Needle(1), Hay(2, 5), Needle(2), Hay(5, 10)];
        assert_eq!(place(3, 10, 0.5), early);
        assert_eq!(place(2, 4, 0.0), [Needle(0), Needle(1), Hay(0, 4)]);
        assert_eq!(place(1, 7, 0.5), [Hay(0, 3), Needle(0), Hay(3, 7)]);
        assert_eq!(place(1, 4, 0.0), [Needle(0), Hay(0, 4)]);
        assert_eq!(place(1, 4, 1.0), [Hay(0, 4), Needle(0)]);
    }

    #[test]
    fn all_hay_stands_there_once_and_in_order() {
        for needles in 1..9 {
            for (clips, depth) in [(1, 1.0), (7, 0.3), (100, 1.0), (1000, 0.77)] {
                let pieces = place(needles, clips, depth);
                let hay: Vec<usize> = pieces
                    .iter()
                    .flat_map(|piece| match piece {
                        Hay(from, to) => *from..*to,
                        Needle(_) => 0..0,
                    })
                    .collect();
                assert_eq!(hay, (0..clips).collect::<Vec<_>>());
                assert_eq!(pieces.iter().filter(|p| matches!(p, Needle(_))).count(), needles);
            }
        }
    }

    #[test]
    fn letters_are_read_without_brackets_and_case() {
        assert!(is_letter("B", "b") && is_letter("(C)", "C") && is_letter(" d", "D"));
        assert!(!is_letter("A", "B") && !is_letter("", "A"));
        assert!(is_letter(" pink", "pink") && !is_letter("pi", "pink"));
    }
}
