//! Gradients of the micro-batches of a step, added lane by lane and the lanes as a tree.

use crate::peers::lanes::TreeSum;
use crate::plan::Plan;
use crate::train::batch::sum_gradients;
use crate::train::optimizer::grads::NamedTensors;

/// The sums of one process, which has whole lanes.
#[derive(Debug)]
pub(crate) struct LaneSums {
    /// Micro-batches of a lane.
    each: usize,
    /// Of which the open lane has so many.
    held: usize,
    lane: NamedTensors,
    tree: TreeSum<NamedTensors>,
}

impl LaneSums {
    /// Nothing is added yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let train = &plan.recipe.train;
        let each = train.gradient_accumulation_steps / train.lanes;
        Self { each, held: 0, lane: NamedTensors::default(), tree: TreeSum::default() }
    }

    /// Adds gradients of the open micro-batch, as they come.
    pub(crate) fn add(&mut self, plan: &Plan, micro: NamedTensors) {
        sum_gradients(plan, &mut self.lane, micro);
    }

    /// Ends the open micro-batch.
    pub(crate) fn close(&mut self) {
        self.held += 1;
        if self.held == self.each {
            self.held = 0;
            self.tree.push(std::mem::take(&mut self.lane), NamedTensors::sum);
        }
    }

    /// The sum over all lanes.
    ///
    /// # Panics
    /// Unless a power of two of whole lanes was added.
    pub(crate) fn finish(self) -> NamedTensors {
        self.tree.finish().expect("the lanes of a process are a power of two")
    }
}
