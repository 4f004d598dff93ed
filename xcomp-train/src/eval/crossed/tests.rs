//! Intervals by hand and by simulation.

use statrs::distribution::{ContinuousCDF as _, Normal};

use super::*;
use crate::machine::random::Random;

/// Spreads between bases, on the scale of the normal distribution: at a share of 0.9, 0.4 is seven points.
const SPREADS: [f64; 4] = [0.0, 0.1, 0.2, 0.4];

/// `scores[training][video]`, one question a video; `seeds` trainings in a row share a base.
fn nested(table: &[Vec<f64>], seeds: usize) -> Scores {
    let training = |row: &Vec<f64>| -> DrawScores {
        let cell = |(at, score): (usize, &f64)| (format!("q{at}"), (format!("v{at}"), *score));
        row.iter().enumerate().map(cell).collect()
    };
    let draw = |at: usize| Draw { base: (at / seeds) as u64, seed: (at % seeds) as u64 };
    table.iter().enumerate().map(|(at, row)| (draw(at), training(row))).collect()
}

fn scores(table: &[&[f64]]) -> Scores {
    nested(&table.iter().map(|row| row.to_vec()).collect::<Vec<_>>(), table.len())
}

fn seed(seed: u64) -> Draw {
    Draw { base: 0, seed }
}

#[track_caller]
fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 5e-4, "{got} is not {want}");
}

#[test]
fn intervals_are_what_is_computed_by_hand() {
    // Seeds 0.5 and 1.0: mean 0.75, deviation 0.35355, variance of the mean 0.125 / 2 = 0.0625, 1 degree of freedom.
    // Videos 1, 1, 0.5, 0.5: variance 0.25 / 3, of the mean 0.25 / 12 = 0.020833, 3 degrees of freedom.
    // Rests are 0.25 in size: 4 x 0.0625 / (3 x 4) for each seed, their sum 0.041667 the chance; a half of it is all that videos have.
    // Student's interval by the seeds alone: 12.7062 x 0.0625^0.5.
    let got = estimate_seeds(&scores(&[&[1.0, 1.0, 0.0, 0.0], &[1.0; 4]])).unwrap();
    near(got.mean, 0.75);
    near(got.spread.seed_deviation.unwrap(), 0.35355);
    near(got.spread.video_error, 0.144_338);
    near(got.high - got.mean, 3.17655);
    assert_eq!((got.seeds, got.bases, got.questions), (2, 1, 4));

    // One seed: videos alone, 0.25 x 4/3 / 4 = 0.083333, 3 degrees of freedom.
    let got = estimate_seeds(&scores(&[&[1.0, 1.0, 0.0, 0.0]])).unwrap();
    near(got.mean - got.low, 3.18245 * 0.288_675);
    assert_eq!(got.spread.seed_deviation, None);
    assert!(estimate_seeds(&Scores::new()).is_none());
}

/// Two bases with two seeds: means 0.25 and 0.75 of the bases, whatever their seeds are.
#[test]
fn seeds_are_nested_in_bases() {
    let rows = [vec![0.0, 0.0], vec![0.5, 0.5], vec![0.5, 0.5], vec![1.0, 1.0]];
    let got = estimate_seeds(&nested(&rows, 2)).unwrap();
    near(got.mean, 0.5);
    near(got.spread.base_deviation.unwrap(), 0.125_f64.sqrt());
    near(got.spread.seed_deviation.unwrap(), 0.125_f64.sqrt());
    near(got.high - got.mean, 12.7062 * 0.25);
    assert_eq!((got.seeds, got.bases), (4, 2));
}

#[test]
fn questions_about_one_video_are_one_observation() {
    let double = |scores: &Scores| -> Scores {
        let twice = |(question, cell): (&String, &(String, f64))| {
            [(question.clone(), cell.clone()), (format!("{question}-again"), cell.clone())]
        };
        scores.iter().map(|(draw, of)| (*draw, of.iter().flat_map(twice).collect())).collect()
    };
    let once = scores(&[&[1.0, 1.0, 0.0, 0.0], &[1.0, 0.0, 1.0, 0.0]]);
    let (once, twice) = (estimate_seeds(&once).unwrap(), estimate_seeds(&double(&once)).unwrap());
    near(twice.high, once.high);
    assert_eq!((once.questions, twice.questions), (4, 8));
}

#[test]
fn differences_are_paired() {
    let (first, second) =
        (scores(&[&[1.0, 0.0], &[0.0, 0.0]]), scores(&[&[1.0, 1.0], &[0.0, 1.0]]));
    near(estimate_difference(&first, &second).unwrap().mean, 0.5);
    let untuned: Scores = [(seed(7), scores(&[&[0.0, 0.0]])[&seed(0)].clone())].into();
    assert_eq!(difference(&untuned, &scores(&[&[1.0, 1.0]])).len(), 1);
    let got = difference(&untuned, &second);
    assert_eq!((got.len(), got[&seed(1)]["q1"].1), (2, 1.0));
    // Bases are pairs of their own: an untuned base does not stand for trainings from another.
    let bases = nested(&[vec![0.0, 0.0], vec![1.0, 1.0]], 1);
    let got = difference(&bases, &nested(&[vec![0.5, 0.5], vec![1.0, 1.0]], 1));
    assert_eq!(got.values().map(|of| of["q0"].1).collect::<Vec<_>>(), [0.5, 0.0]);
}

/// 100 of 100 says something of the share, and equal answers something of the difference: not everything.
#[test]
fn answers_that_do_not_differ_leave_doubt() {
    let all = scores(&[&[1.0; 100]]);
    let share = estimate_seeds(&all).unwrap().as_share();
    near(share.low, 0.9630); // Wilson: 100 / (100 + 1.96^2)
    assert!((share.mean, share.high) == (1.0, 1.0));
    let same = estimate_difference(&all, &all).unwrap();
    assert!(same.low < 0.0 && 0.0 < same.high && same.high < 0.05, "{same:?}");
    assert_eq!(same.verdict(), Verdict::NotDistinguishable);
    near(same.p_value(), 1.0);
}

/// Answers of one arm: chances of bases, seeds and videos on the scale of the normal distribution, `questions` answers a video.
struct World {
    draws: u64,
    videos: usize,
    questions: usize,
    share: f64,
    spread: f64,
}

impl World {
    /// Spread of videos, and of answers about them between trainings.
    const VIDEO: f64 = 0.5;
    const REST: f64 = 0.3;

    fn scores(&self, videos: &[f64], random: &mut Random) -> Scores {
        let all = (1.0 + self.spread.powi(2) + Self::VIDEO.powi(2) + Self::REST.powi(2)).sqrt();
        let middle = Normal::standard().inverse_cdf(self.share) * all;
        let training = |random: &mut Random| -> DrawScores {
            let draw = middle + self.spread * random.normal();
            let mut answers = DrawScores::new();
            for (at, video) in videos.iter().enumerate() {
                let chance = draw + video + Self::REST * random.normal();
                for question in 0..self.questions {
                    let right = f64::from(u8::from(random.normal() < chance));
                    answers.insert(format!("q{at}-{question}"), (format!("v{at}"), right));
                }
            }
            answers
        };
        (0..self.draws).map(|base| (Draw { base, seed: 0 }, training(random))).collect()
    }

    /// Shares of the 95 % intervals that hold the truth: of a share, and of the difference of two equal arms.
    fn coverage(&self, trials: u64) -> (f64, f64) {
        let (mut share, mut equal) = (0, 0);
        for trial in 0..trials {
            let mut random = Random::new(trial);
            let videos: Vec<f64> =
                (0..self.videos).map(|_| Self::VIDEO * random.normal()).collect();
            let (one, other) =
                (self.scores(&videos, &mut random), self.scores(&videos, &mut random));
            let got = estimate_seeds(&one).unwrap().as_share();
            share += u64::from(got.low <= self.share && self.share <= got.high);
            let got = estimate_difference(&one, &other).unwrap();
            equal += u64::from(got.low <= 0.0 && 0.0 <= got.high);
        }
        (share as f64 / trials as f64, equal as f64 / trials as f64)
    }
}

/// At nominal 95 %, of shares and of differences, with one base and with three that differ by nothing or by a lot, also near 0 and 1.
///
/// 1,000 trials show a coverage of 95 % within 1.4 points, so that even what they show stays within 2.
#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let of_bases = [0.03, 0.5, 0.9].into_iter().flat_map(|share| SPREADS.map(|s| (3, share, s)));
    let of_one = [0.5, 0.9, 0.97].map(|share| (1, share, 0.0));
    for (draws, share, spread) in of_one.into_iter().chain(of_bases) {
        let world = World { draws, videos: 60, questions: 5, share, spread };
        let (of_share, of_difference) = world.coverage(1000);
        let told = format!(
            "{draws} bases, share {share}, spread {spread}: {of_share} of shares, {of_difference} of differences"
        );
        let fair = 0.93..=0.97;
        assert!(fair.contains(&of_share) && fair.contains(&of_difference), "{told}");
    }
}
