//! How sure a score is that several trainings share: other bases, other seeds or other videos would have given another mean.
//!
//! Trainings and videos are crossed: each training answers about each video. Trainings are nested: several seeds start from one base.
//! The outermost draws that there are several of, bases or else seeds, make one part of the uncertainty, the videos the other
//! ([`half_width`]). Seeds within bases need no part of their own: means of bases differ by their seeds as well.
//! Both parts hold the chance of single answers. [`TAKEN_OFF`] of it is taken off one of them, or it would count twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::interval::{LEVEL, Part, half_width, p_value, wilson};
use super::statistics::Verdict;

/// Share of the chance of single answers that the part of the draws is rid of.
///
/// In simulations of three bases (the tests below), taking all of it off left 91 % of the 95 % intervals of a difference with the truth
/// where bases differ by a few points; taking nothing off, 99 % of all; with a half, 93.5 to 98 %, the more the less bases differ.
const TAKEN_OFF: f64 = 0.5;

/// One training: the draw of its base, and of its own order and first weights within that base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Draw {
    /// Seed of the base.
    pub base: u64,
    /// Seed of the training.
    pub seed: u64,
}

/// Scores of one training: question to its video and its score.
pub type DrawScores = BTreeMap<String, (String, f64)>;

/// Scores by training.
pub type Scores = BTreeMap<Draw, DrawScores>;

/// A mean over trainings and questions with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SeedEstimate {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// What makes the mean uncertain.
    #[serde(flatten)]
    pub spread: Spread,
    /// Trainings, over all bases.
    pub seeds: usize,
    /// Bases.
    pub bases: usize,
    /// Questions that each training answered.
    pub questions: usize,
    #[serde(skip)]
    videos: usize,
    /// What the interval lies around: the mean, or a little nearer to zero.
    #[serde(skip)]
    centre: f64,
    #[serde(skip)]
    parts: [Part; 2],
}

/// Standard deviations, each of what one draw more or less would change.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// Of the means of bases; none with one base.
    pub base_deviation: Option<f64>,
    /// Of the means of trainings from the same base; none where no base has two, and the interval knows nothing of it.
    pub seed_deviation: Option<f64>,
    /// Of the mean, by the choice of the videos.
    pub video_error: f64,
}

impl SeedEstimate {
    /// The interval of a share: Wilson's, by videos, which is right at 100 of 100 as well.
    #[must_use]
    pub fn as_share(self) -> Self {
        let answers = self.questions * self.seeds;
        let (low, high) = wilson(self.mean, self.high - self.mean, self.videos, answers);
        Self { low, high, ..self }
    }

    /// What a difference says.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self { low, .. } if *low > 0.0 => Verdict::Better,
            Self { high, .. } if *high < 0.0 => Verdict::Worse,
            _ => Verdict::NotDistinguishable,
        }
    }

    /// The smallest two-sided level at which the mean is told from zero.
    pub fn p_value(&self) -> f64 {
        p_value(self.centre, &self.parts)
    }
}

/// The mean over the questions that every training answered; `None` if there is none.
pub fn estimate_seeds(scores: &Scores) -> Option<SeedEstimate> {
    Some(Crossed::of(scores)?.estimate())
}

/// The mean difference of shares, second less first, paired question by question.
///
/// Where hardly an answer differs, a variance of nothing would be sure of everything: two answers more, one for each side, are put to
/// those that there are (Agresti and Min 2005, here with videos as their pairs).
pub fn estimate_difference(first: &Scores, second: &Scores) -> Option<SeedEstimate> {
    let crossed = Crossed::of(&difference(first, second))?;
    let plain = crossed.estimate();
    let (n, each) = (crossed.videos.len() as f64, crossed.answers_of_a_video());
    let squares = plain.parts[1].variance * n * (n - 1.0).max(1.0) + 1.0 / each;
    let centre = plain.mean * n / (n + 2.0);
    let videos = Part { variance: squares / ((n + 2.0) * (n + 1.0)), ..plain.parts[1] };
    let parts = [plain.parts[0], videos];
    let half = half_width(&parts, LEVEL);
    Some(SeedEstimate {
        low: (centre - half).max(-1.0),
        high: (centre + half).min(1.0),
        centre,
        parts,
        ..plain
    })
}

/// Scores as a table: outermost draws by videos, in sums over the questions that all trainings answered.
struct Crossed {
    /// Means of the trainings of each base.
    bases: Vec<Vec<f64>>,
    /// Mean scores of each outermost draw, video by video, summed over the video's questions.
    draws: Vec<BTreeMap<String, f64>>,
    /// Questions of each video.
    videos: BTreeMap<String, f64>,
    questions: usize,
}

impl Crossed {
    fn of(scores: &Scores) -> Option<Self> {
        let mut trainings = scores.values();
        let mut common: BTreeSet<&String> = trainings.next()?.keys().collect();
        for training in trainings {
            common.retain(|question| training.contains_key(*question));
        }
        let first = scores.values().next()?;
        let mut videos = BTreeMap::new();
        for question in &common {
            *videos.entry(first[*question].0.clone()).or_default() += 1.0;
        }
        let mut bases: BTreeMap<u64, Vec<&DrawScores>> = BTreeMap::new();
        for (draw, training) in scores {
            bases.entry(draw.base).or_default().push(training);
        }
        let questions = common.len();
        let mean = |training: &&DrawScores| {
            common.iter().map(|question| training[*question].1).sum::<f64>() / questions as f64
        };
        let outermost: Vec<Vec<&DrawScores>> = if bases.len() > 1 {
            bases.values().cloned().collect()
        } else {
            scores.values().map(|training| vec![training]).collect()
        };
        (questions > 0).then(|| Self {
            bases: bases.values().map(|of| of.iter().map(mean).collect()).collect(),
            draws: outermost.iter().map(|of| by_video(of, &common)).collect(),
            videos,
            questions,
        })
    }

    fn answers_of_a_video(&self) -> f64 {
        let trainings: usize = self.bases.iter().map(Vec::len).sum();
        (self.questions * trainings) as f64 / self.videos.len() as f64
    }

    fn estimate(&self) -> SeedEstimate {
        let questions = self.questions as f64;
        let means: Vec<f64> =
            self.draws.iter().map(|draw| draw.values().sum::<f64>() / questions).collect();
        let mean = average(&means);
        let over_videos = self.video_variance(|video| {
            average(&self.draws.iter().map(|draw| draw[video]).collect::<Vec<_>>())
                - mean * self.videos[video]
        });
        let chance = self.chance(&means, mean);
        let draws = means.len();
        let over_draws = variance(&means).map_or(0.0, |variance| variance / draws as f64);
        let part = |variance: f64, levels: usize| Part { variance, freedom: levels - 1 };
        let parts = [
            part((over_draws - TAKEN_OFF * chance / draws as f64).max(0.0), draws),
            part(over_videos, self.videos.len()),
        ];
        let half = half_width(&parts, LEVEL);
        let of_bases: Vec<f64> = self.bases.iter().map(|of| average(of)).collect();
        let spread = Spread {
            base_deviation: variance(&of_bases).map(f64::sqrt),
            seed_deviation: self.seed_deviation(),
            video_error: over_videos.sqrt(),
        };
        let seeds = self.bases.iter().map(Vec::len).sum();
        let (bases, videos, questions) = (self.bases.len(), self.videos.len(), self.questions);
        SeedEstimate {
            mean,
            low: mean - half,
            high: mean + half,
            centre: mean,
            spread,
            seeds,
            bases,
            questions,
            videos,
            parts,
        }
    }

    /// Variance of the mean by the choice of videos, whose sums deviate by `apart`; 0 with one video.
    fn video_variance(&self, apart: impl Fn(&String) -> f64) -> f64 {
        let n = self.videos.len() as f64;
        let squares: f64 = self.videos.keys().map(|video| apart(video).powi(2)).sum();
        if n < 2.0 { 0.0 } else { squares * n / ((n - 1.0) * (self.questions as f64).powi(2)) }
    }

    /// Variance of one draw's mean by the chance of single answers: what neither draws nor videos explain.
    fn chance(&self, means: &[f64], mean: f64) -> f64 {
        let rest = |(draw, own): (&BTreeMap<String, f64>, &f64)| {
            self.video_variance(|video| {
                let all = average(&self.draws.iter().map(|draw| draw[video]).collect::<Vec<_>>());
                draw[video] - all - (own - mean) * self.videos[video]
            })
        };
        let sum: f64 = self.draws.iter().zip(means).map(rest).sum();
        sum / (means.len() as f64 - 1.0).max(1.0)
    }

    /// Pooled over bases.
    fn seed_deviation(&self) -> Option<f64> {
        let freedom: usize = self.bases.iter().map(|of| of.len() - 1).sum();
        let squares = |of: &Vec<f64>| variance(of).unwrap_or(0.0) * (of.len() - 1) as f64;
        (freedom > 0).then(|| (self.bases.iter().map(squares).sum::<f64>() / freedom as f64).sqrt())
    }
}

/// Mean scores of several trainings, summed over the questions of each video.
fn by_video(trainings: &[&DrawScores], questions: &BTreeSet<&String>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for training in trainings {
        for question in questions {
            let (video, score) = &training[*question];
            *sums.entry(video.clone()).or_default() += score / trainings.len() as f64;
        }
    }
    sums
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of at least two values.
fn variance(values: &[f64]) -> Option<f64> {
    let mean = average(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| squares / (values.len() - 1) as f64)
}

/// Second less first, question by question and training by training, paired within a base. A side with one training of a base (the
/// base itself, untrained) stands for all trainings from that base.
pub fn difference(first: &Scores, second: &Scores) -> Scores {
    let of_base = |scores: &Scores, base: u64| -> Vec<(Draw, DrawScores)> {
        let own = scores.iter().filter(|(draw, _)| draw.base == base);
        own.map(|(draw, scores)| (*draw, scores.clone())).collect()
    };
    let bases: BTreeSet<u64> = first.keys().chain(second.keys()).map(|draw| draw.base).collect();
    let pairs = bases.into_iter().flat_map(|base| {
        let (first, second) = (of_base(first, base), of_base(second, base));
        // Two sides with one training each are one pair, whichever their seeds.
        let alone = first.len() == 1 && second.len() == 1;
        let own = first.iter().filter(|_| !alone);
        let draws: BTreeSet<Draw> = own.chain(&second).map(|(draw, _)| *draw).collect();
        let pair = |draw| Some((draw, less(&side(&second, draw)?, &side(&first, draw)?)));
        draws.into_iter().filter_map(pair).collect::<Vec<_>>()
    });
    pairs.collect()
}

/// The training with this draw, or the only one.
fn side(trainings: &[(Draw, DrawScores)], draw: Draw) -> Option<DrawScores> {
    let own = trainings.iter().find(|(own, _)| *own == draw);
    own.or(trainings.first().filter(|_| trainings.len() == 1)).map(|(_, scores)| scores.clone())
}

fn less(scores: &DrawScores, others: &DrawScores) -> DrawScores {
    let pair = |(question, (video, score)): (&String, &(String, f64))| {
        Some((question.clone(), (video.clone(), score - others.get(question)?.1)))
    };
    scores.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
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
        // Rests are 0.25 in size: 4 x 0.0625 / (3 x 4) for each seed, their sum 0.041667 the chance; a half of a half of it is 0.0104167.
        // Half widths 12.7062 x 0.0520833^0.5 and 3.18245 x 0.144338; the root of their squares is 2.93589.
        let got = estimate_seeds(&scores(&[&[1.0, 1.0, 0.0, 0.0], &[1.0; 4]])).unwrap();
        near(got.mean, 0.75);
        near(got.spread.seed_deviation.unwrap(), 0.35355);
        near(got.spread.video_error, 0.144_338);
        near(got.high - got.mean, 2.93589);
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
        let (once, twice) =
            (estimate_seeds(&once).unwrap(), estimate_seeds(&double(&once)).unwrap());
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

    /// At nominal 95 %, of shares and of differences, with one base and with three that differ by nothing or by a lot.
    ///
    /// 500 trials show a coverage within 2 points.
    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let of_bases = [0.5, 0.9].into_iter().flat_map(|share| SPREADS.map(|s| (3, share, s)));
        for (draws, share, spread) in [(1, 0.5, 0.0), (1, 0.97, 0.0)].into_iter().chain(of_bases) {
            let world = World { draws, videos: 60, questions: 5, share, spread };
            let (of_share, of_difference) = world.coverage(500);
            let told = format!(
                "{draws} bases, share {share}, spread {spread}: {of_share} of shares, {of_difference} of differences"
            );
            let fair = 0.92..=0.985;
            assert!(fair.contains(&of_share) && fair.contains(&of_difference), "{told}");
        }
    }
}
