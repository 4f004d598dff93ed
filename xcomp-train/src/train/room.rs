//! Whether the disk takes what is left of a run: asked before its first step.

use std::path::Path;

use crate::error::Error;
use crate::machine::files::{file_limit, free_bytes, size_of};
use crate::plan::Plan;
use crate::plan::disk::{EXPORT_FILE_BYTES, Sizes};
use crate::train::checkpoint::resume::Origin;
use crate::train::checkpoint::{Checkpoints, OPTIMIZER, copies, with_slack};
use crate::train::unsound::NON_FINITE;

/// Name of the weights of an export, as long as they fit one file.
const EXPORT: &str = "export/model.safetensors";

/// Refuses a run that its disk cannot take, as far as it is left to do; leftovers of killed saves are removed first.
///
/// # Errors
/// If there is too little room, or the file system does not say how much there is.
pub fn require(plan: &Plan, run: &Path, from: &Origin) -> Result<(), Error> {
    let checkpoints = Checkpoints::open(run);
    checkpoints.sweep();
    Checkpoints::open(&run.join(NON_FINITE)).sweep();
    let step = from.checkpoint.as_ref().map_or(0, |saved| saved.step);
    if step >= plan.steps && run.join("export/config.json").exists() {
        return Ok(());
    }
    require_files(plan, run, file_limit())?;
    let need = Need::of(plan, step, checkpoints.folders()?.len());
    need.against(run, free_bytes(run)?)
}

/// Refuses a run whose largest file is larger than this process may write.
fn require_files(plan: &Plan, run: &Path, limit: Option<u64>) -> Result<(), Error> {
    let Sizes { moments, export, .. } = plan.sizes_on_disk();
    let files = [(OPTIMIZER, moments), (EXPORT, export.min(EXPORT_FILE_BYTES))];
    let Some((name, bytes)) = files.into_iter().max_by_key(|(_, bytes)| *bytes) else {
        return Ok(());
    };
    let Some(most) = limit.filter(|most| *most < bytes) else { return Ok(()) };
    let why = format!(
        "it takes {bytes} bytes, this process may write files of {most}; raise `ulimit -f`, no step was taken"
    );
    let source = std::io::Error::other(why);
    Err(Error::File { action: "cannot write", path: run.join(name), source })
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
        let tensors = plan.sizes_on_disk();
        let copied: u64 = copies(plan).iter().map(|(source, _)| size_of(source)).sum();
        let sizes = Sizes {
            checkpoint: with_slack(tensors.checkpoint + copied),
            moments: tensors.moments,
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
