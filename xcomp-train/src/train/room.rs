//! Whether the disk takes what is left of a run: asked before its first step.

use std::path::Path;

use crate::error::Error;
use crate::machine::files::{free_bytes, size_of};
use crate::plan::Plan;
use crate::plan::disk::Sizes;
use crate::train::checkpoint::resume::Origin;
use crate::train::checkpoint::{Checkpoints, copies, with_slack};
use crate::train::unsound::NON_FINITE;

/// Refuses a run that its disk cannot take, as far as it is left to do; leftovers of killed saves are removed first.
///
/// # Errors
/// If there is too little room, or the file system does not say how much there is.
pub fn require(plan: &Plan, run: &Path, from: &Origin) -> Result<(), Error> {
    let checkpoints = Checkpoints::open(run);
    checkpoints.sweep();
    Checkpoints::open(&run.join(NON_FINITE)).sweep();
    let step = from.checkpoint.as_ref().map_or(0, |saved| saved.step);
    let need = Need::of(plan, step, checkpoints.folders()?.len());
    need.against(run, free_bytes(run)?)
}

/// What is left of a run to write.
#[derive(Debug)]
struct Need {
    bytes: u64,
    what: String,
    advice: String,
}

impl Need {
    fn of(plan: &Plan, step: usize, present: usize) -> Self {
        if step >= plan.steps {
            return Self { bytes: 0, what: String::new(), advice: String::new() };
        }
        let tensors = plan.sizes_on_disk();
        let copied: u64 = copies(plan).iter().map(|(source, _)| size_of(source)).sum();
        let sizes = Sizes {
            checkpoint: with_slack(tensors.checkpoint + copied),
            export: with_slack(tensors.export + copied),
        };
        let count = plan.checkpoints_behind(step, present);
        let what = format!(
            "training from step {step} to {} (checkpoints of {} bytes, up to {} at once, {present} of them there; an export of {})",
            plan.steps, sizes.checkpoint, count.most, sizes.export
        );
        Self { bytes: count.bytes(sizes), what, advice: advice(plan, present) }
    }

    /// The judgement for so many free bytes.
    fn against(self, run: &Path, free: u64) -> Result<(), Error> {
        let Self { bytes: needed, what, advice } = self;
        if needed <= free {
            return Ok(());
        }
        Err(Error::DiskFull { path: run.into(), what, needed, free, advice })
    }
}

/// What makes it fit.
fn advice(plan: &Plan, present: usize) -> String {
    let table = &plan.recipe.checkpoint;
    let fewer = table.save_total_limit != 1 || table.keep_best;
    let ways = [
        (true, "make room"),
        (present == 0, "give an --out on a larger disk"),
        (fewer, "keep fewer checkpoints ([checkpoint] save_total_limit, keep_best)"),
    ];
    let ways: Vec<_> = ways.into_iter().filter(|(fits, _)| *fits).map(|(_, way)| way).collect();
    format!("{}; no step was taken", ways.join(", or "))
}
