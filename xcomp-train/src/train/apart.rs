//! The samples of a micro-batch side by side on the threads of a processor: what a small model's operations are too short to share is
//! shared all the same, and samples of other lengths are not padded to each other.

use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use xcomp_model::vlm::Vlm;

use crate::train::optimizer::grads::NamedTensors;
use crate::train::step::{MicroBatch, MicroStep};

/// Runs every part on a tape of its own and adds up what comes of them, in their order: no number depends on how many threads there are.
///
/// No more parts are on their way than there are threads. Each has leaves of its own, because tapes that share one are worked off one
/// after the other.
///
/// # Panics
/// If there is no part.
pub fn each(
    model: &Vlm,
    parts: Vec<MicroBatch>,
    run: impl Fn(&Vlm, MicroBatch) -> MicroStep + Sync,
) -> MicroStep {
    let device = model.llm.model.norm.weight.val().device();
    let leaves = || model.clone().fork(&device);
    let parts = parts.into_iter().map(|part| (leaves(), part)).collect();
    let steps = side_by_side(parts, |(model, part)| run(&model, part));
    steps.into_iter().reduce(added).expect("there is a part")
}

/// What `one` makes of each, in their order; no more are under way than there are threads.
fn side_by_side<T: Send, R: Send>(all: Vec<T>, one: impl Fn(T) -> R + Sync) -> Vec<R> {
    let count = all.len();
    let to_do = Mutex::new(all.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    let next = || to_do.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((place, item)) = next() {
            let made = one(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((place, made));
        }
    };
    rayon::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(count) {
            scope.spawn(|_| work());
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, made)| made).collect()
}

fn added(a: MicroStep, b: MicroStep) -> MicroStep {
    MicroStep {
        loss: a.loss + b.loss,
        weight: a.weight + b.weight,
        grads: NamedTensors::sum(a.grads, b.grads),
    }
}
