//! How sure a score is that several trainings share: other bases, other seeds or other videos would have given another mean.
//!
//! Trainings and videos are crossed: each training answers about each video. Trainings are nested: several seeds start from one base.
//! The outermost draws that there are several of, bases or else seeds, make one part of the uncertainty, the videos the other
//! ([`Uncertainty`]). Seeds within bases need no part of their own: means of bases differ by their seeds as well.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::interval::{LEVEL, Part, Uncertainty, least_of_difference, wilson};
use super::statistics::Verdict;

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
    #[serde(skip)]
    uncertainty: Uncertainty,
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
        let (low, high) = wilson(self.mean, self.high - self.mean, self.videos);
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

    /// What makes the mean uncertain, in numbers.
    pub fn uncertainty(&self) -> Uncertainty {
        self.uncertainty
    }

    /// Videos that were asked about.
    pub fn videos(&self) -> usize {
        self.videos
    }

    /// The smallest two-sided level at which the mean is told from zero.
    pub fn p_value(&self) -> f64 {
        self.uncertainty.p_value(self.mean)
    }
}

/// The mean over the questions that every training answered; `None` if there is none.
pub fn estimate_seeds(scores: &Scores) -> Option<SeedEstimate> {
    Some(Crossed::of(scores)?.estimate())
}

/// The mean difference of shares, second less first, paired question by question.
///
/// The variance by videos has a [least](least_of_difference); one video alone says nothing of others.
pub fn estimate_difference(first: &Scores, second: &Scores) -> Option<SeedEstimate> {
    let crossed = Crossed::of(&difference(first, second))?;
    let plain = crossed.estimate();
    let n = crossed.videos.len() as f64;
    let least = least_of_difference(n, crossed.answers_of_a_video());
    let mut uncertainty = plain.uncertainty;
    uncertainty.videos.variance = uncertainty.videos.variance.max(least);
    let half = if n > 1.0 { uncertainty.half_width(LEVEL) } else { 1.0 + plain.mean.abs() };
    Some(SeedEstimate {
        low: (plain.mean - half).max(-1.0),
        high: (plain.mean + half).min(1.0),
        uncertainty,
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
        let uncertainty = Uncertainty {
            draws: part(over_draws, draws),
            videos: part(over_videos, self.videos.len()),
            chance: chance / draws as f64,
        };
        let half = uncertainty.half_width(LEVEL);
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
            spread,
            seeds,
            bases,
            questions,
            videos,
            uncertainty,
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
mod tests;
