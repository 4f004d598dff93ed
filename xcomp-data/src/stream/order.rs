//! In which order samples come, and which rank takes which: pure functions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Position, StreamOptions};
use crate::stream::cost::assign;
use crate::{DataError, Mixture, PythonRandom};

/// The order of samples within an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As in the mixture.
    Sequential,
    /// Shuffled anew in each epoch.
    Shuffled,
    /// Shuffled, then cut into blocks of so many samples, the most words first: the reference's `group_by_modality_length`.
    Blocks(usize),
}

/// Indices into the mixture in the order of one epoch: a pure function of its arguments and the mixture's hash.
pub fn epoch_order(mixture: &Mixture, order: Order, seed: u64, epoch: u64) -> Vec<u32> {
    let mut indices: Vec<u32> = (0..mixture.len() as u32).collect();
    if order == Order::Sequential {
        return indices;
    }
    let text = format!("{} {seed} {epoch}", mixture.hash());
    let digest = Sha256::digest(text.as_bytes());
    let (words, _) = digest.as_chunks::<8>();
    PythonRandom::new(u64::from_le_bytes(words[0])).shuffle(&mut indices);
    if let Order::Blocks(size) = order {
        for block in indices.chunks_mut(size.max(1)) {
            block.sort_by_key(|&index| std::cmp::Reverse(mixture.records()[index as usize].words));
        }
    }
    indices
}

/// One sample to read, and where the stream stands after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) index: usize,
    pub(super) epoch: u64,
    /// Place of the sample in the epoch's order.
    pub(super) place: u64,
    /// Epoch and samples taken after it.
    pub(super) after: (u64, u64),
}

/// Gives out the samples of one rank, epoch after epoch.
pub(super) struct Tickets {
    mixture: Arc<Mixture>,
    rule: Rule,
    epochs: Option<u64>,
    epoch: u64,
    /// How many samples of this epoch this rank has taken.
    taken: usize,
    /// The samples of this rank in this epoch: place in the order, index in the mixture.
    mine: Vec<(u64, u32)>,
}

/// What of the options decides the order.
struct Rule {
    order: Order,
    seed: u64,
    rank: usize,
    world: usize,
    lanes: usize,
    step_samples: usize,
    drop_last: bool,
    balance: Option<Arc<[f64]>>,
}

impl Tickets {
    pub(super) fn new(
        mixture: Arc<Mixture>,
        options: &StreamOptions,
        from: &Position,
    ) -> Result<Self, DataError> {
        let rule = Rule {
            order: options.order,
            seed: options.seed,
            rank: options.rank,
            world: options.world,
            lanes: options.lanes,
            step_samples: options.step_samples,
            drop_last: options.drop_last,
            balance: options.balance.clone(),
        };
        let next = from.next as usize;
        let same_ranks = from.world == options.world as u64 || rule.balance.is_none();
        let unit = if same_ranks { rule.world } else { rule.step_samples };
        if !next.is_multiple_of(unit) {
            return Err(DataError::Options(format!(
                "position {next} is not a multiple of {unit}; with another number of ranks, resume from the end of a step"
            )));
        }
        let mine = rule.samples(&mixture, from.epoch);
        if mine.is_empty() {
            let (have, need) =
                (mixture.len(), if rule.drop_last { rule.step_samples } else { rule.lanes });
            return Err(DataError::Options(format!(
                "the mixture has {have} samples, fewer than the {need} of one step"
            )));
        }
        Ok(Self {
            mixture,
            epochs: options.epochs,
            epoch: from.epoch,
            taken: next / rule.world,
            mine,
            rule,
        })
    }

    /// The next sample; `None` after the last epoch.
    pub(super) fn next(&mut self) -> Option<Ticket> {
        if self.taken >= self.mine.len() {
            self.epoch += 1;
            self.taken = 0;
            self.mine = self.rule.samples(&self.mixture, self.epoch);
        }
        if self.epochs.is_some_and(|epochs| self.epoch >= epochs) {
            return None;
        }
        let (place, index) = self.mine[self.taken];
        self.taken += 1;
        let after = (self.epoch, (self.taken * self.rule.world) as u64);
        Some(Ticket { index: index as usize, epoch: self.epoch, place, after })
    }
}

impl Rule {
    /// The samples of this rank in one epoch.
    fn samples(&self, mixture: &Mixture, epoch: u64) -> Vec<(u64, u32)> {
        let order = epoch_order(mixture, self.order, self.seed, epoch);
        let unit = if self.drop_last { self.step_samples } else { self.lanes };
        let used = order.len() / unit * unit;
        let steps = order[..used].chunks(self.step_samples).enumerate();
        steps.flat_map(|(step, indices)| self.of_step(step, indices)).collect()
    }

    /// This rank's share of one step, in the order in which it is taken: lane by lane.
    fn of_step(&self, step: usize, indices: &[u32]) -> Vec<(u64, u32)> {
        let place = |at: usize| ((step * self.step_samples + at) as u64, indices[at]);
        let each = self.lanes / self.world;
        let own = self.rank * each..(self.rank + 1) * each;
        match &self.balance {
            Some(predicted) if self.lanes > 1 => {
                let costs: Vec<f64> =
                    indices.iter().map(|&index| predicted[index as usize]).collect();
                let shares = assign(&costs, self.lanes);
                own.flat_map(|lane| &shares[lane]).map(|&at| place(at)).collect()
            }
            _ => {
                let lane = |lane| (lane..indices.len()).step_by(self.lanes);
                own.flat_map(lane).map(place).collect()
            }
        }
    }
}
