//! How sure a score of one model is: questions about one video are not independent, so the mean varies by whole videos.

use std::collections::BTreeMap;

use serde::Serialize;

use super::interval::{LEVEL, least_of_difference, student, wilson};

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
        let (low, high) = wilson(self.mean, self.half_width(), self.videos);
        Self { low, high, ..self }
    }

    fn widened(self) -> Self {
        let half = self.half_width();
        Self { low: self.mean - half, high: self.mean + half, ..self }
    }

    /// Student's, by videos.
    fn half_width(&self) -> f64 {
        student((self.videos - 1) as f64, LEVEL) * self.error
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

/// The mean of values that come in clusters, with an interval by the clusters' deviations from it; `None` if there is no value.
pub fn estimate<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> Option<Estimate> {
    let mut clusters: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (cluster, value) in values {
        let (sum, count) = clusters.entry(cluster).or_default();
        *sum += value;
        *count += 1.0;
    }
    let (sum, count) = clusters.values().fold((0.0, 0.0), |all, of| (all.0 + of.0, all.1 + of.1));
    let (mean, n) = (sum / count, clusters.len() as f64);
    let squares: f64 = clusters.values().map(|(sum, own)| (sum - mean * own).powi(2)).sum();
    let plain = Estimate {
        mean,
        low: mean,
        high: mean,
        error: (squares * n / (n - 1.0).max(1.0)).sqrt() / count,
        questions: count as usize,
        videos: clusters.len(),
    };
    (count > 0.0).then(|| plain.widened())
}

/// Compares two models by `(video, first's score, second's score)`; `None` without a question.
pub fn compare<'a>(pairs: impl IntoIterator<Item = (&'a str, f64, f64)>) -> Option<Comparison> {
    let found = estimate(pairs.into_iter().map(|(v, first, second)| (v, second - first)))?;
    let (n, questions) = (found.videos as f64, found.questions as f64);
    let least = least_of_difference(n, questions / n);
    let difference = Estimate { error: found.error.max(least.sqrt()), ..found }.widened();
    let difference = match found.videos {
        // One video says nothing of others.
        1 => Estimate { low: -1.0, high: 1.0, ..difference },
        _ => difference,
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::random::Random;

    const VIDEOS: usize = 60;
    const QUESTIONS: usize = 4;
    const TRIALS: u64 = 2000;

    /// Videos of different difficulty, so that their questions hang together.
    fn difficulties(random: &mut Random, mean: f64) -> Vec<(String, f64)> {
        let most = 1.6 * mean.min(1.0 - mean);
        let easy = |random: &mut Random| mean + most * (f64::from(random.uniform()) - 0.5);
        (0..VIDEOS).map(|video| (video.to_string(), easy(random))).collect()
    }

    fn right(random: &mut Random, chance: f64) -> f64 {
        f64::from(u8::from(f64::from(random.uniform()) < chance))
    }

    /// 2,000 trials show a coverage of 95 % within a point.
    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        for share in [0.03, 0.5, 0.9, 0.97] {
            let mut held = 0;
            for trial in 0..TRIALS {
                let mut random = Random::new(trial);
                let videos = difficulties(&mut random, share);
                let values: Vec<(&str, f64)> = videos
                    .iter()
                    .flat_map(|(video, chance)| [(video.as_str(), *chance); QUESTIONS])
                    .map(|(video, chance)| (video, right(&mut random, chance)))
                    .collect();
                let got = estimate(values).unwrap().as_share();
                assert_eq!((got.questions, got.videos), (VIDEOS * QUESTIONS, VIDEOS));
                held += u64::from(got.low <= share && share <= got.high);
            }
            let coverage = held as f64 / TRIALS as f64;
            assert!((0.93..=0.97).contains(&coverage), "{coverage} of the intervals of {share}");
        }
    }

    /// The share of trials with each verdict when the second model is right more often by `gain`.
    fn verdicts(share: f64, gain: f64) -> (f64, f64, usize) {
        let (mut better, mut worse, mut needed) = (0, 0, vec![]);
        for trial in 0..TRIALS {
            let mut random = Random::new(1_000_000 + trial);
            let videos = difficulties(&mut random, share);
            let pairs: Vec<(&str, f64, f64)> = videos
                .iter()
                .flat_map(|(video, chance)| [(video.as_str(), *chance); QUESTIONS])
                .map(|(video, p)| (video, right(&mut random, p), right(&mut random, p + gain)))
                .collect();
            let got = compare(pairs).unwrap();
            better += u64::from(got.verdict == Verdict::Better);
            worse += u64::from(got.verdict == Verdict::Worse);
            needed.extend(got.needed_questions);
        }
        needed.sort_unstable();
        let share = |count: u64| count as f64 / TRIALS as f64;
        (share(better), share(worse), needed[needed.len() / 2])
    }

    #[test]
    fn equal_models_are_told_apart_in_one_of_twenty_trials() {
        for share in [0.03, 0.5, 0.9] {
            let (better, worse, _) = verdicts(share, 0.0);
            assert!((0.03..=0.07).contains(&(better + worse)), "{share}: {better} {worse}");
        }
    }

    #[test]
    fn a_real_gain_is_found_and_its_needed_questions_are_plausible() {
        let (better, worse, needed) = verdicts(0.5, 0.1);
        assert!(better > 0.45 && worse < 0.01, "{better} {worse}");
        // Independent answers: variance of a difference about 2 p (1 - p) = 0.4; (2.8 / 0.1)^2 x 0.4 = 314.
        assert!((150..700).contains(&needed), "{needed}");
    }

    #[test]
    fn one_sided_data_has_narrow_intervals() {
        assert_eq!(estimate([]), None);
        let all = estimate([("a", 1.0), ("b", 1.0)]).unwrap();
        assert_eq!((all.mean, all.low, all.high, all.error), (1.0, 1.0, 1.0, 0.0));
        // Wilson, two videos: 2 / (2 + 1.96^2).
        let share = all.as_share();
        assert!((share.low - 0.3424).abs() < 1e-4 && (share.high - 1.0).abs() < 1e-12, "{share:?}");
        let same = compare([("a", 1.0, 1.0), ("b", 0.0, 0.0)]).unwrap();
        assert_eq!((same.verdict, same.needed_questions), (Verdict::NotDistinguishable, None));
        // Two videos of two, or one question about one video, are no proof.
        let both = compare([("a", 0.0, 1.0), ("b", 0.0, 1.0)]).unwrap();
        assert_eq!(both.verdict, Verdict::NotDistinguishable);
        assert_eq!(compare([("a", 0.0, 1.0)]).unwrap().verdict, Verdict::NotDistinguishable);
        let many: Vec<String> = (0..20).map(|video| video.to_string()).collect();
        let better = compare(many.iter().map(|video| (video.as_str(), 0.0, 1.0))).unwrap();
        assert_eq!(better.verdict, Verdict::Better);
    }
}
