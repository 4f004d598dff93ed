//! Power before spending: which differences a sweep can tell from nothing, by variances that finished runs have shown.

use std::fmt;

use serde::Serialize;

use super::outcome::Outcome;
use super::report::{pair_words, specs};
use super::sweep::{Claim, Sweep, TableSpec};
use crate::eval::crossed::{SeedEstimate, estimate_difference, estimate_seeds};
use crate::eval::interval::{LEVEL, Part, Uncertainty};

/// The chance with which a difference is to be found.
const POWER: f64 = 0.8;
/// More clips or trainings than this are not asked for.
const MOST: usize = 1_000_000;

/// What is known of a comparison before it is made, or made anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Power {
    /// What is compared.
    pub pair: String,
    /// Whether the variances are those of this very comparison; else they are those of the base, for two arms whose answers have
    /// nothing to do with each other.
    pub measured: bool,
    /// Whether finished runs say nothing of other bases or seeds, so that the videos alone count.
    pub videos_alone: bool,
    /// Bases, or with one base seeds, that the sweep has.
    pub draws: usize,
    /// Whether `draws` are bases.
    pub bases: bool,
    /// Videos.
    pub videos: usize,
    /// Two-sided level at which the difference is judged: 5 % over the claims of its table, the first step of Holm's correction.
    pub level: f64,
    /// The smallest difference that is told from nothing with a chance of 80 %.
    pub detectable: f64,
    /// The difference so far.
    pub difference: Option<f64>,
    /// With so many videos and as many draws a difference of that size would be told apart.
    pub needed_videos: Option<usize>,
    /// The same with so many draws and as many videos.
    pub needed_draws: Option<usize>,
}

/// Of every claim, in a table without claims of every arm beside the reference; those of which nothing is known are left out.
pub fn power(sweep: &Sweep, outcomes: &[Outcome], base: Option<&Outcome>) -> Vec<Power> {
    specs(sweep).iter().flat_map(|table| of_table(table, sweep, outcomes, base)).collect()
}

fn of_table<'a>(
    table: &'a TableSpec,
    sweep: &'a Sweep,
    outcomes: &'a [Outcome],
    base: Option<&'a Outcome>,
) -> impl Iterator<Item = Power> + 'a {
    let than = table.reference.as_ref().unwrap_or(&sweep.head.reference);
    let plain = |better: &String| {
        let (better, than) = (better.clone(), than.clone());
        Claim { text: String::new(), better, than, tasks: vec![] }
    };
    let others = table.arms.iter().filter(move |arm| *arm != than).map(plain);
    let level = LEVEL / table.claim.len().max(1) as f64;
    let claims = if table.claim.is_empty() { others.collect() } else { table.claim.clone() };
    claims.into_iter().filter_map(move |claim| of_claim(&claim, level, sweep, outcomes, base))
}

fn of_claim(
    claim: &Claim,
    level: f64,
    sweep: &Sweep,
    outcomes: &[Outcome],
    base: Option<&Outcome>,
) -> Option<Power> {
    let scores =
        |arm: &str| outcomes.iter().find(|outcome| outcome.arm == arm)?.of_tasks(&claim.tasks);
    let own = || estimate_difference(&scores(&claim.than)?, &scores(&claim.better)?);
    let own = own();
    let known = match own {
        Some(own) => Known::of(&own, 1.0),
        // The variance of a difference of two that have nothing to do with each other is the sum of theirs.
        None => Known::of(&estimate_seeds(&base?.of_tasks(&claim.tasks)?)?, 2.0),
    };
    let seeds = |arm: &str| sweep.arm(arm).map_or(0, |arm| arm.seeds.len());
    let bases = sweep.bases().len();
    let seeds = seeds(&claim.better).max(seeds(&claim.than));
    let draws = if bases > 1 { bases } else { seeds };
    let difference = own.map(|own| own.mean);
    let wanted = difference.filter(|mean| *mean != 0.0).map(f64::abs);
    let least = |of: &dyn Fn(usize) -> f64| {
        let wanted = wanted?;
        least(|n| of(n) <= wanted)
    };
    let videos = known.videos;
    Some(Power {
        pair: pair_words(&claim.better, &claim.than, &claim.tasks),
        measured: own.is_some(),
        videos_alone: known.draws == 1,
        draws,
        bases: bases > 1,
        videos,
        level,
        detectable: known.detectable(draws, videos, level),
        difference,
        needed_videos: least(&|n| known.detectable(draws, n, level)),
        needed_draws: least(&|n| known.detectable(n, videos, level)).filter(|_| known.draws > 1),
    })
}

/// What made a mean uncertain.
#[derive(Debug, Clone, Copy)]
struct Known {
    uncertainty: Uncertainty,
    draws: usize,
    videos: usize,
}

impl Known {
    fn of(estimate: &SeedEstimate, times: f64) -> Self {
        let Uncertainty { draws, videos, chance } = estimate.uncertainty();
        let more = |part: Part| Part { variance: times * part.variance, ..part };
        let uncertainty =
            Uncertainty { draws: more(draws), videos: more(videos), chance: times * chance };
        let draws = if estimate.bases > 1 { estimate.bases } else { estimate.seeds };
        Self { uncertainty, draws, videos: estimate.videos() }
    }

    /// The smallest difference that so many draws and videos tell from nothing with a chance of 80 % at this level.
    fn detectable(&self, draws: usize, videos: usize, level: f64) -> f64 {
        let then = self.with(draws.max(1), videos);
        then.half_width(level) + then.half_width(2.0 * (1.0 - POWER))
    }

    /// What draws and videos bring of their own shrinks with their number, the chance of single answers with both.
    fn with(&self, draws: usize, videos: usize) -> Uncertainty {
        let Uncertainty { draws: by_draws, videos: by_videos, chance } = self.uncertainty;
        let fewer = self.draws as f64 / draws as f64;
        let shorter = self.videos as f64 / videos as f64;
        let chance_then = chance * fewer * shorter;
        let part = |known: Part, times: f64, levels: usize| Part {
            variance: (known.variance - chance).max(0.0) * times + chance_then,
            freedom: levels - 1,
        };
        Uncertainty {
            draws: part(by_draws, fewer, draws),
            videos: part(by_videos, shorter, videos),
            chance: chance_then,
        }
    }
}

/// The smallest number from 2 on that is enough, if any up to [`MOST`] is; more than enough is enough.
fn least(enough: impl Fn(usize) -> bool) -> Option<usize> {
    let mut high = 2;
    while !enough(high) {
        high *= 2;
        if high > MOST {
            return None;
        }
    }
    let mut low = high / 2;
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pair, draws, videos, .. } = self;
        let of = if self.bases { "bases" } else { "seeds" };
        let one = if *draws == 1 { "seed" } else { of };
        let base = if self.measured { "" } else { ", by the base's variances" };
        let alone = if self.videos_alone { ", clips alone" } else { "" };
        write!(
            f,
            "{pair}: {:.1} points and more ({draws} {one}, {videos} clips, level {:.1} %{base}{alone})",
            100.0 * self.detectable,
            100.0 * self.level
        )?;
        let Some(difference) = self.difference else { return Ok(()) };
        write!(f, "; it is {:+.1} so far", 100.0 * difference)?;
        if difference.abs() >= self.detectable {
            return Ok(());
        }
        match (self.needed_videos, self.needed_draws) {
            (None, None) => write!(f, ", which neither clips nor {of} alone tell apart"),
            (Some(clips), None) => write!(f, ", which {clips} clips tell apart"),
            (None, Some(draws)) => write!(f, ", which {draws} {of} tell apart"),
            (Some(clips), Some(draws)) => {
                write!(f, ", which {clips} clips or {draws} {of} tell apart")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::crossed::{Draw, DrawScores, Scores};
    use crate::machine::random::Random;

    /// By hand: one draw, so videos alone; behind many videos the quantiles are 1.960 + 0.842, at 1 % 2.576 + 0.842.
    #[test]
    fn what_is_detectable_is_what_is_computed_by_hand() {
        let known = |draws: f64, levels: usize, videos: f64, of: usize| Known {
            uncertainty: Uncertainty {
                draws: Part { variance: draws, freedom: levels - 1 },
                videos: Part { variance: videos, freedom: of - 1 },
                chance: 0.0,
            },
            draws: levels,
            videos: of,
        };
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-5, "{got} is not {want}");
        let videos = known(0.0, 1, 0.0001, 100_000);
        near(videos.detectable(1, 100_000, 0.05), 0.01 * 2.80159);
        near(videos.detectable(1, 100_000, 0.01), 0.01 * 3.41745);
        // A quarter of the videos: twice as much.
        near(videos.detectable(1, 25_000, 0.05), 0.02 * 2.80159);
        // Three draws, 2 degrees of freedom: 4.30265 + 1.06066.
        near(known(0.0001, 3, 0.0, 9).detectable(3, 9, 0.05), 0.01 * 5.36331);
    }

    #[test]
    fn the_least_that_is_enough_is_found_or_nothing() {
        assert_eq!(
            [2, 3, 1000].map(|wanted| least(|n| n >= wanted)),
            [Some(2), Some(3), Some(1000)]
        );
        assert_eq!(least(|_| false), None);
    }

    /// Differences of three trainings on 80 videos, `gain` in the mean.
    fn drawn(random: &mut Random, gain: f64) -> Scores {
        let videos: Vec<f64> = (0..80).map(|_| 0.2 * random.normal()).collect();
        let mut training = |seed: u64| {
            let own = 0.02 * random.normal();
            let score = |(at, video): (usize, &f64)| {
                let score = gain + own + video + 0.2 * random.normal();
                (at.to_string(), (at.to_string(), score))
            };
            let scores: DrawScores = videos.iter().enumerate().map(score).collect();
            (Draw { base: 0, seed }, scores)
        };
        (0..3).map(&mut training).collect()
    }

    #[test]
    fn a_detectable_difference_is_found_in_four_of_five_trials() {
        // Variances of the mean: 0.02^2 / 3 by draws, 0.2^2 / 80 by videos, 0.2^2 / 240 by chance, which both hold.
        let chance = 0.04 / 240.0;
        let uncertainty = Uncertainty {
            draws: Part { variance: 0.0004 / 3.0 + chance, freedom: 2 },
            videos: Part { variance: 0.04 / 80.0 + chance, freedom: 79 },
            chance,
        };
        let gain = Known { uncertainty, draws: 3, videos: 80 }.detectable(3, 80, LEVEL);
        let nothing = drawn(&mut Random::new(0), 0.0);
        let nothing: Scores = nothing
            .into_iter()
            .map(|(draw, of)| (draw, of.into_iter().map(|(q, (v, _))| (q, (v, 0.0))).collect()))
            .collect();
        let found = (0..400).filter(|trial| {
            let own = drawn(&mut Random::new(1000 + trial), gain);
            estimate_difference(&nothing, &own).is_some_and(|own| own.p_value() < LEVEL)
        });
        let found = found.count() as f64 / 400.0;
        assert!((0.72..=0.92).contains(&found), "{found} are found");
    }
}
