//! What a run takes on many ranks, each of which steps whole tensors (ZeRO-1).

use std::cmp::Reverse;
use std::fmt;

use serde::Serialize;

use crate::plan::Plan;
use crate::plan::cost::parameters::tensors;
use crate::show::numbers::bytes;

/// Bytes that a rank's network is taken to move in a second: 100 Gbit/s, a little of it lost.
const BYTES_PER_S: f64 = 10e9;

/// The owner of each of these tensors: the largest first, each to the rank with fewest values, the same on every rank.
pub fn shares(sizes: &[usize], ranks: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|at| (Reverse(sizes[*at]), *at));
    let (mut owners, mut held) = (vec![0; sizes.len()], vec![0; ranks]);
    for at in order {
        let owner = (0..ranks).min_by_key(|rank| (held[*rank], *rank)).expect("a rank");
        held[owner] += sizes[at];
        owners[at] = owner;
    }
    owners
}

/// A run on so many ranks, every number in base units: bytes, seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranks {
    /// Processes that train together.
    pub ranks: usize,
    /// Sums that a step must be cut into; `[train] lanes` if it is less than the ranks.
    pub lanes: usize,
    /// Tuned weights, gradients and moments of the rank that owns most.
    pub states: u64,
    /// Of which moments.
    pub moments: u64,
    /// The same over a fair share.
    pub largest_share: f64,
    /// Bytes that a rank sends in a step, and as many that it takes.
    pub wire: u64,
    /// Seconds of a step for them on a network of 10 GB/s.
    pub wire_s: f64,
    /// Seconds of the run, where those of one rank are known.
    pub run_s: Option<f64>,
    /// So many ranks are as fast as any more: the largest sample takes a rank as long as they take a step.
    pub enough: usize,
}

impl Ranks {
    /// The plan on so many ranks.
    pub fn of(plan: &Plan, ranks: usize) -> Self {
        let report = plan.report();
        let mut tuned = tensors(&plan.config);
        tuned.retain(|tensor| plan.tunes(&tensor.name));
        let sizes: Vec<usize> = tuned.iter().map(|tensor| tensor.count as usize).collect();
        let saved: Vec<(u64, u64)> =
            tuned.iter().map(|tensor| plan.running.held.saved(tensor)).collect();
        let (owners, all) = (shares(&sizes, ranks), sizes.iter().sum::<usize>().max(1));
        let held =
            |rank| owners.iter().zip(&sizes).filter(|one| *one.0 == rank).map(|one| one.1).sum();
        let largest: usize = (0..ranks).map(held).max().unwrap_or(0);
        let values = 4 * all as u64;
        let own = |rank| owners.iter().zip(&saved).filter(move |one| *one.0 == rank);
        let of_rank = |rank| own(rank).map(|one| one.1.1).sum::<u64>();
        let moments = (0..ranks).map(of_rank).max().unwrap_or(0);
        let weights: u64 = saved.iter().map(|one| one.0).sum();
        let wire = 2 * values * (ranks as u64 - 1) / ranks as u64;
        let wire_s = wire as f64 / BYTES_PER_S;
        let step = report.mean.model_flops * report.samples_per_step as f64;
        let run = report.run_s_at_40_percent;
        Self {
            ranks,
            lanes: plan.recipe.train.lanes.max(ranks),
            states: weights + values + moments,
            moments,
            largest_share: (largest * ranks) as f64 / all as f64,
            wire,
            wire_s,
            run_s: run.map(|seconds| seconds / ranks as f64 + wire_s * plan.steps as f64),
            enough: (step / report.worst.model_flops.max(1.0)).ceil().max(1.0) as usize,
        }
    }
}

impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ranks, lanes, enough, .. } = self;
        writeln!(
            f,
            "{ranks:<12} ranks with [train] lanes = {lanes}: {} of weights, gradients and moments on the rank that owns most, {} of it moments ({:.2} of a fair share)",
            bytes(self.states),
            bytes(self.moments),
            self.largest_share
        )?;
        writeln!(
            f,
            "             a step sends {} from each rank, {:.1} s at 10 GB/s",
            bytes(self.wire),
            self.wire_s
        )?;
        if let Some(seconds) = self.run_s {
            let hours = seconds / 3600.0;
            writeln!(
                f,
                "             {hours:.1} h at 40 % of the devices' peak, if samples are spread evenly"
            )?;
        }
        writeln!(
            f,
            "             more than {enough} ranks gain nothing: then the largest sample is the step"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Qwen2-1.5B with tied embeddings: the embedding alone is more than an eighth.
    #[test]
    fn whole_tensors_are_shared_well_enough() {
        let (hidden, inner, kv, vocab) = (1536, 8960, 256, 151_936);
        let mut sizes = vec![vocab * hidden, hidden];
        for _ in 0..28 {
            sizes.extend([hidden * hidden, hidden, kv * hidden, kv, kv * hidden, kv]);
            sizes.extend([hidden * hidden, inner * hidden, inner * hidden, inner * hidden]);
            sizes.extend([hidden, hidden]);
        }
        let all: usize = sizes.iter().sum();
        for (ranks, most) in [(1, 1.0), (2, 1.001), (4, 1.01), (8, 1.21)] {
            let owners = shares(&sizes, ranks);
            let held = |rank| -> usize {
                owners.iter().zip(&sizes).filter(|one| *one.0 == rank).map(|one| one.1).sum()
            };
            let largest = (0..ranks).map(held).max().unwrap();
            assert!((largest * ranks) as f64 <= most * all as f64, "{ranks} ranks");
            assert_eq!((0..ranks).map(held).sum::<usize>(), all);
        }
    }
}
