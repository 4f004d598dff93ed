//! The needle test of a model: depth by length, with the visual tokens of the haystack held instead of its frames.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xcomp_data::{Fit, Frames, Media, ReadType, Sampling, Share, is_confined, load_media};
use xcomp_model::vision::frames::Clips;
use xcomp_model::vlm::Encoded;

use super::kept::{Kept, Right};
use super::world::{Drawn, draw_chain, draw_hay};
use super::{Chain, Piece, is_letter, place, read_chains};
use crate::answer::{Answerer, EncodedMedia, patient_limits};
use crate::error::Error;
use crate::show::charts::heat_map::HeatMap;
use crate::show::progress::Progress;

/// The cells of a whole grid, once all are tried.
pub const CELLS: &str = "niah.json";
/// What a heat map shows.
pub const TITLE: &str = "needles: share of right answers by haystack frames and depth";
/// Frames of one haystack video that are held at a time.
const HELD_FRAMES: usize = 512;

/// Where chains and hay come from.
#[derive(Debug, Clone)]
pub enum Material {
    /// A published file, the folder of its pictures, and haystack videos.
    Files {
        /// The JSON file of chains.
        chains: PathBuf,
        /// Folder that its picture paths start from.
        pictures: PathBuf,
        /// Videos or folders of pictures.
        haystack: Vec<PathBuf>,
    },
    /// Drawn by code.
    Drawn {
        /// Pictures of each chain.
        links: usize,
        /// Fixes the chains.
        seed: u64,
    },
}

/// Which cells of the grid are tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Haystack lengths, in frames.
    pub lengths: Vec<usize>,
    /// Shares of the haystack that a chain is spread over.
    pub depths: Vec<f64>,
    /// Chains asked in each cell.
    pub chains: usize,
}

/// Right answers in one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Haystack frames.
    pub frames: usize,
    /// Share of the haystack that the chain is spread over.
    pub depth: f64,
    /// Share of right answers to the first question.
    pub caption: f64,
    /// Share of right answers to the second question.
    pub qa: f64,
    /// Their mean.
    pub score: f64,
}

impl Grid {
    /// Frames and depth of the cells of a share of the grid; without one of all.
    fn cells(&self, share: Option<Share>) -> Vec<(usize, f64)> {
        let depths = |frames: &usize| {
            let frames = *frames;
            self.depths.iter().map(move |depth| (frames, *depth))
        };
        let all: Vec<(usize, f64)> = self.lengths.iter().flat_map(depths).collect();
        let Some(share) = share else { return all };
        let taken = share.takes(0..all.len());
        all.into_iter().zip(taken).filter(|(_, taken)| *taken).map(|(cell, _)| cell).collect()
    }
}

/// Runs a share of the grid, or all of it; cells that are kept are not tried again.
///
/// # Errors
/// If material cannot be read or does not fit the model, or a cell not be kept.
pub fn run(
    answerer: &Answerer,
    material: &Material,
    grid: &Grid,
    share: Option<Share>,
    kept: &mut Kept,
) -> Result<Vec<Cell>, Error> {
    let cells = grid.cells(share);
    let new = |cell: &&(usize, f64)| kept.get(cell.0, cell.1).is_none();
    let new: Vec<(usize, f64)> = cells.iter().filter(new).copied().collect();
    if !new.is_empty() {
        let clip = answerer.config().vision.clip_frames;
        // Of the whole grid: every share sees the same hay.
        let longest = grid.lengths.iter().max().copied().unwrap_or(0).div_ceil(clip);
        let hay = haystack(answerer, material, longest)?;
        let chains = chains(answerer, material, grid.chains)?;
        let progress = Progress::new("cells", new.len());
        for (frames, depth) in new {
            let right = ask_all(answerer, &chains, &hay, frames.div_ceil(clip), depth)?;
            kept.keep(frames, depth, right)?;
            progress.step();
        }
    }
    let cell = |(frames, depth): (usize, f64)| {
        let right = kept.get(frames, depth).expect("it was tried just now or before");
        let share = |count: u32| f64::from(count) / right.chains.max(1) as f64;
        let (caption, qa) = (share(right.caption), share(right.qa));
        Cell { frames, depth, caption, qa, score: f64::midpoint(caption, qa) }
    };
    Ok(cells.into_iter().map(cell).collect())
}

/// Both questions of every chain, in a haystack of so many clips.
fn ask_all(
    answerer: &Answerer,
    chains: &[(Chain, Vec<Encoded>)],
    hay: &Encoded,
    clips: usize,
    depth: f64,
) -> Result<Right, Error> {
    let mut right = Right { chains: chains.len(), caption: 0, qa: 0 };
    for (chain, needles) in chains {
        let video = EncodedMedia::new(planted(needles, hay, clips, depth), String::new());
        let ask = |question: &str, answer: &str| -> Result<u32, Error> {
            let said = answerer.first_token(&video, question)?;
            Ok(u32::from(is_letter(&said, answer)))
        };
        right.caption += ask(&chain.question1, &chain.answer1)?;
        right.qa += ask(&chain.question2, &chain.answer2)?;
    }
    Ok(right)
}

/// The second question's share over the grid, as the paper shows it.
pub fn heat_map(grid: &Grid, cells: &[Cell], title: &str) -> String {
    let qa = |frames: usize, depth: f64| {
        let here = |cell: &&Cell| cell.frames == frames && cell.depth.total_cmp(&depth).is_eq();
        cells.iter().find(here).map(|cell| cell.qa)
    };
    let row = |depth: &f64| {
        let cells = grid.lengths.iter().map(|frames| qa(*frames, *depth)).collect();
        (format!("depth {depth:.2}"), cells)
    };
    let columns = grid.lengths.iter().map(usize::to_string).collect();
    HeatMap { title, columns, rows: grid.depths.iter().map(row).collect() }.svg()
}

/// A chain in a haystack.
fn planted(needles: &[Encoded], hay: &Encoded, clips: usize, depth: f64) -> Encoded {
    let parts = place(needles.len(), clips, depth).into_iter().map(|piece| match piece {
        Piece::Needle(at) => needles[at].clone(),
        Piece::Hay(from, to) => hay.clips(from..to),
    });
    Encoded::joined(parts.collect())
}

/// So many encoded clips of hay; short hay is repeated, as in the published test.
fn haystack(answerer: &Answerer, material: &Material, clips: usize) -> Result<Encoded, Error> {
    let config = &answerer.config().vision;
    let (clip, size) = (config.clip_frames, config.image_size);
    let progress = Progress::new("clips of hay", clips);
    let mut held: Vec<Encoded> = vec![];
    let mut have = 0;
    let mut add = |pixels: Vec<u8>| -> Result<usize, Error> {
        let count = pixels.len() / (size * size * 3);
        let part = Clips::video(pixels, count / clip * clip, size, clip);
        let part = part.ok_or_else(|| Error::Argument("hay does not make whole clips".into()))?;
        have += part.count;
        held.push(answerer.encode(&part));
        progress.at(have);
        Ok(have)
    };
    match material {
        Material::Drawn { .. } => {
            for first in (0..clips * clip).step_by(HELD_FRAMES) {
                let frames = first..(first + HELD_FRAMES).min(clips * clip);
                add(frames.flat_map(|frame| draw_hay(frame, size)).collect())?;
            }
        }
        Material::Files { haystack, .. } => {
            for path in haystack {
                if add(hay_frames(answerer, path)?.pixels)? >= clips {
                    break;
                }
            }
        }
    }
    if held.is_empty() {
        return Err(Error::Argument("there is no haystack video".into()));
    }
    let once = Encoded::joined(held);
    let times = clips.div_ceil(once.features.dims()[0]);
    Ok(Encoded::joined(vec![once; times]).clips(0..clips))
}

/// At most [`HELD_FRAMES`] frames of one haystack video.
fn hay_frames(answerer: &Answerer, path: &Path) -> Result<Frames, Error> {
    let clip = answerer.config().vision.clip_frames;
    let mut options = answerer.frame_options(clip..=HELD_FRAMES / clip * clip);
    // A frame a second, whatever the family asks for; short hay is repeated as clips, not as frames.
    options.fps = 1.0;
    if options.sampling != Sampling::Clips {
        options.sampling = Sampling::Seconds;
    }
    let read_type = path.is_dir().then_some(ReadType::Img);
    Ok(load_media(path, read_type, &options, &patient_limits())?.0)
}

type Asked = (Chain, Vec<Encoded>);

/// Chains with a clip for each picture.
fn chains(answerer: &Answerer, material: &Material, count: usize) -> Result<Vec<Asked>, Error> {
    let size = answerer.config().vision.image_size;
    match material {
        Material::Drawn { links, seed } => (0..count as u64)
            .map(|index| {
                let Drawn { chain, pictures } = draw_chain(seed + index, *links, size);
                let needles = pictures.into_iter().map(|picture| needle(answerer, &picture));
                Ok((chain, needles.collect::<Result<_, _>>()?))
            })
            .collect(),
        Material::Files { chains, pictures, .. } => read_chains(chains)?
            .into_iter()
            .take(count)
            .map(|chain| {
                let load = |name: &String| {
                    let mut options = answerer.frame_options(1..=1);
                    if options.fit == Fit::Tiles {
                        options.fit = Fit::Crop; // it stands for a frame
                    }
                    if !is_confined(name) {
                        let message = format!("picture `{name}` leaves {}", pictures.display());
                        return Err(Error::Argument(message));
                    }
                    let path = pictures.join(name);
                    let (frames, _, media) = load_media(&path, None, &options, &patient_limits())?;
                    match media {
                        Media::Image => needle(answerer, &frames.pixels),
                        Media::Video => {
                            Err(Error::Argument(format!("{} is no picture", path.display())))
                        }
                    }
                };
                let needles = chain.images.iter().map(load).collect::<Result<_, _>>()?;
                Ok((chain, needles))
            })
            .collect(),
    }
}

/// A picture as one clip: the same frame over and over.
fn needle(answerer: &Answerer, picture: &[u8]) -> Result<Encoded, Error> {
    let config = &answerer.config().vision;
    let (clip, size) = (config.clip_frames, config.image_size);
    let still = Clips::video(picture.repeat(clip), clip, size, clip);
    let still =
        still.ok_or_else(|| Error::Argument("a picture is not of the tower's size".into()))?;
    Ok(answerer.encode(&still))
}
