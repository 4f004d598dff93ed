//! The samples of a micro-batch side by side on the threads of a processor, each on a tape of its own: nothing is padded, and what a
//! small model's operations are too short to share is shared all the same.

use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use xcomp_model::vlm::Vlm;

use crate::train::optimizer::grads::NamedTensors;
use crate::train::step::{MicroBatch, MicroStep};

/// Runs every sample by itself and adds up what comes of them, in their order: no number depends on how many threads there are.
///
/// No more samples are on their way than there are threads. Each has leaves of its own, because tapes that share one are worked off
/// one after the other.
///
/// # Panics
/// If the micro-batch has no sample.
pub fn each(
    model: &Vlm,
    micro: MicroBatch,
    run: impl Fn(&Vlm, MicroBatch) -> MicroStep + Sync,
) -> MicroStep {
    let device = model.llm.model.norm.weight.val().device();
    let leaves = || model.clone().fork(&device);
    let samples: Vec<_> = micro.samples().map(|sample| (leaves(), sample)).collect();
    let count = samples.len();
    let to_do = Mutex::new(samples.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    let next = || to_do.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((place, (model, sample))) = next() {
            let step = run(&model, sample);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((place, step));
        }
    };
    rayon::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(count) {
            scope.spawn(|_| work());
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    let steps = done.into_iter().map(|(_, step)| step);
    steps.reduce(added).expect("a micro-batch has samples")
}

fn added(a: MicroStep, b: MicroStep) -> MicroStep {
    MicroStep {
        loss: a.loss + b.loss,
        weight: a.weight + b.weight,
        grads: NamedTensors::sum(a.grads, b.grads),
    }
}
