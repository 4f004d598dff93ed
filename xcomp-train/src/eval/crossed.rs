//! How sure a score is that several seeds share: another seed or other videos would have given another mean.
//!
//! Seeds and videos are crossed: each seed answers about each video. Half the interval is the root of the squares of what it would be
//! if the seeds alone, and if the videos alone, made the mean uncertain, each with its own quantile of Student's distribution (Howe 1974):
//! with three seeds the quantile is 4.3, and an interval that took one quantile for all held the truth too seldom.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::statistics::Verdict;

/// 97.5 % quantiles of Student's distribution for 1, 2, 3, ... degrees of freedom.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
/// The same of the normal distribution.
const NORMAL: f64 = 1.960;

/// Scores of one seed: question to its video and its score.
pub type SeedScores = BTreeMap<String, (String, f64)>;

/// Scores by seed.
pub type Scores = BTreeMap<u64, SeedScores>;

/// A mean over seeds and questions with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SeedEstimate {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Standard deviation of the seeds' means; none with one seed, whose interval is over videos alone.
    pub seed_deviation: Option<f64>,
    /// Seeds.
    pub seeds: usize,
    /// Questions that each seed answered.
    pub questions: usize,
}

impl SeedEstimate {
    /// Of a share: its interval ends where shares end.
    #[must_use]
    pub fn within_shares(self) -> Self {
        Self { low: self.low.max(0.0), high: self.high.min(1.0), ..self }
    }

    /// What a difference says.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self { low, .. } if *low > 0.0 => Verdict::Better,
            Self { high, .. } if *high < 0.0 => Verdict::Worse,
            _ => Verdict::NotDistinguishable,
        }
    }
}

/// The mean over the questions that every seed answered; `None` if there is none.
pub fn estimate_seeds(scores: &Scores) -> Option<SeedEstimate> {
    let mut seeds = scores.values();
    let mut common: BTreeSet<&String> = seeds.next()?.keys().collect();
    for seed in seeds {
        common.retain(|question| seed.contains_key(*question));
    }
    let questions = common.len();
    if questions == 0 {
        return None;
    }
    let mut by_video: BTreeMap<&str, (f64, f64)> = BTreeMap::new(); // sum of scores, number of questions
    let mut by_seed = vec![];
    for seed in scores.values() {
        let mut sum = 0.0;
        for question in &common {
            let (video, score) = &seed[*question];
            sum += score;
            let of_video = by_video.entry(video).or_default();
            of_video.0 += score / scores.len() as f64;
            of_video.1 += 1.0 / scores.len() as f64;
        }
        by_seed.push(sum / questions as f64);
    }
    let mean = by_seed.iter().sum::<f64>() / by_seed.len() as f64;
    let over_seeds = contribution(by_seed.iter().map(|seed| seed - mean), 1.0);
    let apart = by_video.values().map(|(sum, count)| sum - count * mean);
    let over_videos = contribution(apart, questions as f64 / by_video.len() as f64);
    let (half, n) = (over_seeds.half_width.hypot(over_videos.half_width), by_seed.len());
    Some(SeedEstimate {
        mean,
        low: mean - half,
        high: mean + half,
        seed_deviation: (n > 1).then(|| (over_seeds.variance * n as f64).sqrt()),
        seeds: n,
        questions,
    })
}

/// Second less first, question by question and seed by seed; a side with one seed stands for all seeds of the other.
pub fn difference(first: &Scores, second: &Scores) -> Scores {
    // Two sides with one seed each are one pair, whichever their seeds.
    let alone = first.len() == 1 && second.len() == 1;
    let own = first.keys().filter(|_| !alone);
    let seeds: BTreeSet<u64> = own.chain(second.keys()).copied().collect();
    let of = |scores: &'_ Scores, seed: u64| -> Option<SeedScores> {
        let only = scores.values().next().filter(|_| scores.len() == 1);
        scores.get(&seed).or(only).cloned()
    };
    let pair = |seed| {
        let (first, second) = (of(first, seed)?, of(second, seed)?);
        let less = |(question, (video, score)): (String, (String, f64))| {
            let other = first.get(&question)?.1;
            Some((question, (video, score - other)))
        };
        Some((seed, second.into_iter().filter_map(less).collect()))
    };
    seeds.into_iter().filter_map(pair).collect()
}

/// What one factor adds to the uncertainty of a mean.
#[derive(Debug, Clone, Copy)]
struct Contribution {
    variance: f64,
    half_width: f64,
}

/// Of `n` deviations from the mean, each `scale` times as large as that of the factor's level; nothing from a single one.
fn contribution(deviations: impl Iterator<Item = f64>, scale: f64) -> Contribution {
    let (n, squares) = deviations.fold((0_usize, 0.0), |(n, sum), d| (n + 1, sum + d * d));
    if n < 2 {
        return Contribution { variance: 0.0, half_width: 0.0 };
    }
    let variance = squares / (scale * scale * (n * (n - 1)) as f64);
    Contribution { variance, half_width: student(n - 1) * variance.sqrt() }
}

/// The 97.5 % quantile for so many degrees of freedom, at least 1; behind the table linear in their inverse.
fn student(freedom: usize) -> f64 {
    let last = STUDENT[STUDENT.len() - 1];
    let behind = NORMAL + (last - NORMAL) * STUDENT.len() as f64 / freedom as f64;
    STUDENT.get(freedom - 1).copied().unwrap_or(behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::random::Random;

    /// `scores[seed][video]`, one question a video.
    fn scores(table: &[&[f64]]) -> Scores {
        let seed = |row: &&[f64]| -> SeedScores {
            let cell = |(at, score): (usize, &f64)| (format!("q{at}"), (format!("v{at}"), *score));
            row.iter().enumerate().map(cell).collect()
        };
        table.iter().enumerate().map(|(at, row)| (at as u64, seed(row))).collect()
    }

    #[track_caller]
    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 5e-4, "{got} is not {want}");
    }

    #[test]
    fn intervals_are_what_is_computed_by_hand() {
        // Seeds 0.5 and 1.0: mean 0.75, deviation 0.35355, variance of the mean 0.125/2 = 0.0625, 1 degree of freedom.
        // Videos 1, 1, 0.5, 0.5: variance 0.25/3, of the mean 0.25/12 = 0.020833, 3 degrees of freedom.
        // Half widths 12.706 x 0.25 = 3.1765 and 3.182 x 0.144338 = 0.45928; the root of their squares is 3.20953.
        let got = estimate_seeds(&scores(&[&[1.0, 1.0, 0.0, 0.0], &[1.0; 4]])).unwrap();
        near(got.mean, 0.75);
        near(got.seed_deviation.unwrap(), 0.35355);
        near(got.high - got.mean, 3.20953);
        assert_eq!((got.seeds, got.questions), (2, 4));

        // One seed: videos alone, 0.25 x 4/3 / 4 = 0.083333, 3 degrees of freedom.
        let got = estimate_seeds(&scores(&[&[1.0, 1.0, 0.0, 0.0]])).unwrap();
        near(got.mean - got.low, 3.182 * 0.288_675);
        assert_eq!(got.seed_deviation, None);
        assert!(estimate_seeds(&Scores::new()).is_none());
    }

    #[test]
    fn questions_about_one_video_are_one_observation() {
        let double = |scores: &Scores| -> Scores {
            let twice = |(question, cell): (&String, &(String, f64))| {
                [(question.clone(), cell.clone()), (format!("{question}-again"), cell.clone())]
            };
            scores.iter().map(|(seed, of)| (*seed, of.iter().flat_map(twice).collect())).collect()
        };
        let once = scores(&[&[1.0, 1.0, 0.0, 0.0], &[1.0, 0.0, 1.0, 0.0]]);
        let (once, twice) =
            (estimate_seeds(&once).unwrap(), estimate_seeds(&double(&once)).unwrap());
        near(twice.high, once.high);
        assert_eq!((once.questions, twice.questions), (4, 8));
    }

    #[test]
    fn differences_are_paired() {
        let (first, second) =
            (scores(&[&[1.0, 0.0], &[0.0, 0.0]]), scores(&[&[1.0, 1.0], &[0.0, 1.0]]));
        let got = estimate_seeds(&difference(&first, &second)).unwrap();
        near(got.mean, 0.5);
        let untuned: Scores = [(7, scores(&[&[0.0, 0.0]])[&0].clone())].into();
        assert_eq!(difference(&untuned, &scores(&[&[1.0, 1.0]])).len(), 1);
        let got = difference(&untuned, &second);
        assert_eq!((got.len(), got[&1]["q1"].1), (2, 1.0));
        let same = estimate_seeds(&difference(&second, &second)).unwrap();
        assert_eq!((same.low, same.high, same.verdict()), (0.0, 0.0, Verdict::NotDistinguishable));
    }

    #[test]
    fn intervals_hold_the_truth_at_least_as_often_as_they_say() {
        const TRIALS: u64 = 1000;
        let mut held = 0;
        for trial in 0..TRIALS {
            let mut random = Random::new(trial);
            let mut spread = |size: f64| (f64::from(random.uniform()) - 0.5) * size;
            let videos: Vec<f64> = (0..60).map(|_| spread(0.6)).collect();
            let rows: Vec<Vec<f64>> = (0..3)
                .map(|_| {
                    let seed = spread(0.2);
                    videos.iter().map(|video| 0.5 + video + seed + spread(0.3)).collect()
                })
                .collect();
            let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
            let got = estimate_seeds(&scores(&rows)).unwrap();
            held += u64::from(got.low <= 0.5 && 0.5 <= got.high);
        }
        let coverage = held as f64 / TRIALS as f64;
        assert!((0.94..=0.99).contains(&coverage), "{coverage} of the 95 % intervals hold it");
    }
}
