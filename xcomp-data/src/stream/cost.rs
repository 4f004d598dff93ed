//! What a sample will cost, before it is read, and a fair share for each rank.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Mixture;
use crate::frames::{FrameOptions, whole};
use crate::media::read::Source;
use crate::mixture::annotation::{Media, Record};
use crate::resize::Fit;

/// Frame rate that is assumed where only a duration is known.
const ASSUMED_FPS: f64 = 30.0;
/// Duration that is assumed where nothing is known, in seconds.
const ASSUMED_DURATION_S: f64 = 30.0;

/// Tiles of a picture that is cut into some: of one of 640 x 480 pixels.
const ASSUMED_TILES: usize = 4;

/// Predicts the floating-point operations of a sample from its frames and words.
///
/// `cost = fixed + per_frame * frames + per_token * tokens + per_token_pair * tokens^2`, tokens being words and visual tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostModel {
    /// Operations of one frame: vision tower and connector.
    pub per_frame: f64,
    /// Operations of one token of the language model, averaged over its layers.
    pub per_token: f64,
    /// Operations of one pair of tokens in attention.
    pub per_token_pair: f64,
    /// Visual tokens of one frame, averaged over the layers of the language model.
    pub tokens_per_frame: f64,
    /// Which frames are taken.
    pub frames: FrameOptions,
}

impl CostModel {
    /// Operations of so many frames and words.
    pub fn of(&self, frames: usize, words: usize) -> f64 {
        let tokens = self.tokens_per_frame * frames as f64 + words as f64;
        let linear = self.per_frame * frames as f64 + self.per_token * tokens;
        linear + self.per_token_pair * tokens * tokens
    }

    /// Operations of every sample of a mixture, for assigning samples to ranks.
    pub fn predict(&self, mixture: &Mixture) -> Vec<f64> {
        let frames = predict_frames(mixture, &self.frames);
        let records = mixture.records().iter().zip(frames);
        records.map(|(record, frames)| self.of(frames.count, record.words)).collect()
    }
}

/// How many frames a sample will have, over all that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredictedFrames {
    /// Frames.
    pub count: usize,
    /// Whether that is known from the file or the annotation, not assumed.
    pub known: bool,
}

/// Frames of all samples without opening a file: from durations in annotations, else assumed.
pub fn predict_frames(mixture: &Mixture, options: &FrameOptions) -> Vec<PredictedFrames> {
    mixture.records().par_iter().map(|record| predicted(record, options)).collect()
}

fn predicted(record: &Record, options: &FrameOptions) -> PredictedFrames {
    Source::all(record).map(|source| predicted_of(&source, record.duration_s, options)).fold(
        PredictedFrames { count: 0, known: true },
        |sum, of| PredictedFrames { count: sum.count + of.count, known: sum.known && of.known },
    )
}

fn predicted_of(
    source: &Source,
    duration_s: Option<f64>,
    options: &FrameOptions,
) -> PredictedFrames {
    if source.media == Media::Image {
        return match options.fit {
            Fit::Tiles => PredictedFrames { count: ASSUMED_TILES, known: false },
            Fit::Squeeze | Fit::Crop => PredictedFrames { count: 1, known: true },
        };
    }
    let duration_s = source.part.map(|(start, end)| end - start).or(duration_s);
    let vlen = (duration_s.unwrap_or(ASSUMED_DURATION_S).max(0.0) * ASSUMED_FPS) as usize;
    // A rule without an answer makes a broken sample.
    let count = whole(vlen, ASSUMED_FPS, options).map_or(0, |choice| choice.indices.len());
    PredictedFrames { count, known: duration_s.is_some() }
}

/// Shares out samples so that every rank gets equally many of nearly equal cost: for each rank, places in `costs`.
///
/// The most costly first, each to the cheapest rank that still has room; then pairs are exchanged while that helps.
///
/// # Panics
/// When the samples cannot be shared out evenly.
pub fn assign(costs: &[f64], ranks: usize) -> Vec<Vec<usize>> {
    assert!(
        ranks > 0 && costs.len().is_multiple_of(ranks),
        "every rank takes equally many samples"
    );
    let room = costs.len() / ranks;
    let mut by_cost: Vec<usize> = (0..costs.len()).collect();
    by_cost.sort_by(|&a, &b| costs[b].total_cmp(&costs[a]).then(a.cmp(&b)));
    let mut shares = vec![Vec::with_capacity(room); ranks];
    let mut sums = vec![0.0; ranks];
    for place in by_cost {
        let cheapest = (0..ranks)
            .filter(|&rank| shares[rank].len() < room)
            .min_by(|&a, &b| f64::total_cmp(&sums[a], &sums[b]))
            .expect("some rank has room until all samples are shared out");
        shares[cheapest].push(place);
        sums[cheapest] += costs[place];
    }
    while exchange(costs, &mut shares, &mut sums) {}
    for share in &mut shares {
        share.sort_unstable();
    }
    shares
}

/// Exchanges a sample of the costliest rank for a cheaper one where that lowers the higher of both sums.
fn exchange(costs: &[f64], shares: &mut [Vec<usize>], sums: &mut [f64]) -> bool {
    let worst =
        (0..sums.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b])).expect("there are ranks");
    let mut best = (sums[worst] * (1.0 - 1e-9), None);
    for rank in (0..shares.len()).filter(|&rank| rank != worst) {
        for mine in 0..shares[worst].len() {
            for theirs in 0..shares[rank].len() {
                let moved = costs[shares[worst][mine]] - costs[shares[rank][theirs]];
                let higher = f64::max(sums[worst] - moved, sums[rank] + moved);
                if higher < best.0 {
                    best = (higher, Some((rank, mine, theirs, moved)));
                }
            }
        }
    }
    let Some((rank, mine, theirs, moved)) = best.1 else { return false };
    let place = shares[worst][mine];
    shares[worst][mine] = shares[rank][theirs];
    shares[rank][theirs] = place;
    sums[worst] -= moved;
    sums[rank] += moved;
    true
}

/// The costliest rank over the average: 1 is perfect.
pub fn imbalance(costs: &[f64], shares: &[Vec<usize>]) -> f64 {
    let sums: Vec<f64> =
        shares.iter().map(|share| share.iter().map(|&place| costs[place]).sum()).collect();
    let mean = sums.iter().sum::<f64>() / sums.len() as f64;
    sums.iter().copied().fold(0.0, f64::max) / mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_gets_equally_many_and_nearly_equal_cost() {
        let mut random = crate::PythonRandom::new(1);
        for _ in 0..50 {
            let costs: Vec<f64> =
                (0..32).map(|_| f64::from(random.randbelow(1000)) + 1.0).collect();
            let shares = assign(&costs, 8);
            assert!(shares.iter().all(|share| share.len() == 4));
            let mut all: Vec<usize> = shares.concat();
            all.sort_unstable();
            assert_eq!(all, (0..32).collect::<Vec<_>>());
            assert!(imbalance(&costs, &shares) < 1.1, "{}", imbalance(&costs, &shares));
        }
    }
}
