//! How sure a score is: questions about one video are not independent, so whole videos are drawn again.

use std::collections::BTreeMap;

use serde::Serialize;

use super::interval::{LEVEL, student, wilson};
use crate::machine::random::Random;

/// Times that the videos are drawn again.
const DRAWS: usize = 2000;
/// Share of draws that an interval leaves out on each side: 95 % intervals.
const TAIL: f64 = 0.025;
/// Standard errors of a 5 % two-sided test with 80 % power: 1.96 + 0.84.
const DETECTABLE: f64 = 2.8;

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean over questions.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Standard error.
    pub error: f64,
    /// Questions.
    pub questions: usize,
    /// Videos.
    pub videos: usize,
}

impl Estimate {
    /// The interval of a share: Wilson's, by videos, which is right at 100 of 100 as well.
    #[must_use]
    pub fn as_share(self) -> Self {
        let half = student(self.videos - 1, LEVEL) * self.error;
        let (low, high) = wilson(self.mean, half, self.videos, self.questions);
        Self { low, high, ..self }
    }
}

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The second is better.
    Better,
    /// The second is worse.
    Worse,
    /// The questions do not tell.
    NotDistinguishable,
}

/// A paired comparison of two models on the same questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Score of the second less score of the first, per question.
    pub difference: Estimate,
    /// What it says.
    pub verdict: Verdict,
    /// Questions like these that would show a difference of this size in 4 of 5 trials; none if the two are equal.
    pub needed_questions: Option<usize>,
}

/// The mean of values that come in clusters, with an interval from drawing whole clusters again (percentile bootstrap).
///
/// `None` if there is no value.
pub fn estimate<'a>(
    values: impl IntoIterator<Item = (&'a str, f64)>,
    seed: u64,
) -> Option<Estimate> {
    let mut clusters: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for (cluster, value) in values {
        let (sum, count) = clusters.entry(cluster).or_default();
        *sum += value;
        *count += 1;
    }
    let clusters: Vec<(f64, usize)> = clusters.into_values().collect();
    let mean = ratio(&clusters)?;
    let mut random = Random::new(seed);
    let mut means: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let draw = |_| clusters[random.below(clusters.len())];
            ratio(&(0..clusters.len()).map(draw).collect::<Vec<_>>())
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let centre = means.iter().sum::<f64>() / means.len() as f64;
    let variance = means.iter().map(|m| (m - centre).powi(2)).sum::<f64>() / means.len() as f64;
    // The bootstrap knows a cluster less than it should: n draws vary by (n - 1) / n of the truth.
    let n = clusters.len() as f64;
    let widen = (n / (n - 1.0).max(1.0)).sqrt();
    let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
    Some(Estimate {
        mean,
        low: mean + (at(TAIL) - mean) * widen,
        high: mean + (at(1.0 - TAIL) - mean) * widen,
        error: variance.sqrt() * widen,
        questions: clusters.iter().map(|cluster| cluster.1).sum(),
        videos: clusters.len(),
    })
}

/// Compares two models by `(video, first's score, second's score)`; `None` without a question.
pub fn compare<'a>(
    pairs: impl IntoIterator<Item = (&'a str, f64, f64)>,
    seed: u64,
) -> Option<Comparison> {
    let difference =
        estimate(pairs.into_iter().map(|(v, first, second)| (v, second - first)), seed)?;
    let verdict = match difference {
        Estimate { low, .. } if low > 0.0 => Verdict::Better,
        Estimate { high, .. } if high < 0.0 => Verdict::Worse,
        _ => Verdict::NotDistinguishable,
    };
    let times = (DETECTABLE * difference.error / difference.mean).powi(2);
    let needed = ((difference.questions as f64 * times).ceil() as usize).max(1);
    let needed_questions = (difference.mean != 0.0).then_some(needed);
    Some(Comparison { difference, verdict, needed_questions })
}

fn ratio(clusters: &[(f64, usize)]) -> Option<f64> {
    let (sum, count) = clusters.iter().fold((0.0, 0), |(s, c), (sum, count)| (s + sum, c + count));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEOS: usize = 60;
    const QUESTIONS: usize = 4;
    const TRIALS: u64 = 400;

    /// Videos of different difficulty, so that their questions hang together; the mean is one half.
    fn difficulties(random: &mut Random) -> Vec<(String, f64)> {
        let easy = |random: &mut Random| f64::from(random.uniform()) * 0.8 + 0.1;
        (0..VIDEOS).map(|video| (video.to_string(), easy(random))).collect()
    }

    fn right(random: &mut Random, chance: f64) -> f64 {
        f64::from(u8::from(f64::from(random.uniform()) < chance))
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut held = 0;
        for trial in 0..TRIALS {
            let mut random = Random::new(trial);
            let videos = difficulties(&mut random);
            let values: Vec<(&str, f64)> = videos
                .iter()
                .flat_map(|(video, chance)| [(video.as_str(), *chance); QUESTIONS])
                .map(|(video, chance)| (video, right(&mut random, chance)))
                .collect();
            let got = estimate(values, trial).unwrap().as_share();
            assert_eq!((got.questions, got.videos), (VIDEOS * QUESTIONS, VIDEOS));
            held += u64::from(got.low <= 0.5 && 0.5 <= got.high);
        }
        let coverage = held as f64 / TRIALS as f64;
        assert!(
            (0.92..=0.98).contains(&coverage),
            "{coverage} of the 95 % intervals hold the truth"
        );
    }

    /// The share of trials with each verdict when the second model is right more often by `gain`.
    fn verdicts(gain: f64) -> (f64, f64, usize) {
        let (mut better, mut worse, mut needed) = (0, 0, vec![]);
        for trial in 0..TRIALS {
            let mut random = Random::new(1_000_000 + trial);
            let videos = difficulties(&mut random);
            let pairs: Vec<(&str, f64, f64)> = videos
                .iter()
                .flat_map(|(video, chance)| [(video.as_str(), *chance); QUESTIONS])
                .map(|(video, p)| (video, right(&mut random, p), right(&mut random, p + gain)))
                .collect();
            let got = compare(pairs, trial).unwrap();
            better += u64::from(got.verdict == Verdict::Better);
            worse += u64::from(got.verdict == Verdict::Worse);
            needed.extend(got.needed_questions);
        }
        needed.sort_unstable();
        let share = |count: u64| count as f64 / TRIALS as f64;
        (share(better), share(worse), needed[needed.len() / 2])
    }

    #[test]
    fn equal_models_are_told_apart_no_more_than_by_chance() {
        let (better, worse, _) = verdicts(0.0);
        assert!(better + worse <= 0.09, "{better} {worse}");
    }

    #[test]
    fn a_real_gain_is_found_and_its_needed_questions_are_plausible() {
        let (better, worse, needed) = verdicts(0.1);
        assert!(better > 0.45 && worse < 0.01, "{better} {worse}");
        // Independent answers: variance of a difference about 2 p (1 - p) = 0.4; (2.8 / 0.1)^2 x 0.4 = 314.
        assert!((150..700).contains(&needed), "{needed}");
    }

    #[test]
    fn one_sided_data_has_narrow_intervals() {
        assert_eq!(estimate([], 0), None);
        let all = estimate([("a", 1.0), ("b", 1.0)], 0).unwrap();
        assert_eq!((all.mean, all.low, all.high, all.error), (1.0, 1.0, 1.0, 0.0));
        // Wilson, two videos: 2 / (2 + 1.96^2).
        let share = all.as_share();
        assert!((share.low - 0.3424).abs() < 1e-4 && (share.high - 1.0).abs() < 1e-12, "{share:?}");
        let same = compare([("a", 1.0, 1.0), ("b", 0.0, 0.0)], 0).unwrap();
        assert_eq!((same.verdict, same.needed_questions), (Verdict::NotDistinguishable, None));
        let better = compare([("a", 0.0, 1.0), ("b", 0.0, 1.0)], 0).unwrap();
        assert_eq!((better.verdict, better.needed_questions), (Verdict::Better, Some(1)));
    }
}
