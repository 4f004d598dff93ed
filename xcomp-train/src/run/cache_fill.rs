//! The whole mixture through the tower once, into the recipe's cache.

use std::fmt;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use serde::Serialize;
use xcomp_data::features::coverage;
use xcomp_data::features::store::StoreReport;
use xcomp_data::{Example, Position, Record, frames_of};

use crate::data::Data;
use crate::data::collate::{VisualInput, collate};
use crate::data::features::{Stored, merged, open_cache, to_device, to_host};
use crate::error::Error;
use crate::plan::Plan;
use crate::show::numbers::GIB;
use crate::show::progress::{Progress, during};
use crate::train::checkpoint::identity::Identity;
use crate::train::state::TrainState;
use xcomp_model::transfer::read_number;

/// Samples whose loss is compared with that of exact features.
const COMPARED: usize = 8;

/// What `xcomp data cache` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FillReport {
    /// Folder of the store.
    pub folder: String,
    /// Samples of the mixture.
    pub samples: usize,
    /// Of which their features were there.
    pub found: usize,
    /// Of which they were made now.
    pub made: usize,
    /// Of which they are missing: their media cannot be read, or nothing was to be made.
    pub missing: usize,
    /// Seconds.
    pub seconds: f64,
    /// Bytes of the store.
    pub bytes: u64,
    /// Mean losses of the first new samples under the base weights, with exact features and with kept ones; none where kept features are exact.
    pub losses: Option<(f64, f64)>,
    /// What a check of the store found.
    pub check: Option<StoreReport>,
    /// What was damaged or could not be read.
    pub notes: Vec<String>,
}

/// What is done besides looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Missing features are made.
    Fill,
    /// Every record is read and damaged ones are dropped; nothing is made.
    Verify,
}

/// Fills or checks the recipe's cache.
///
/// # Errors
/// If the recipe names no cache, or the model, the data or the store cannot be used.
pub fn fill(plan: &Plan, data: &Data, device: &Device, task: Task) -> Result<FillReport, Error> {
    let begun = Instant::now();
    let state = TrainState::start(plan, Identity::new(), device)?;
    let cache = open_cache(plan, &state.model, device)?.ok_or_else(|| {
        let message = "[data] feature_cache names no folder; set it to keep features".to_owned();
        Error::Mismatch { path: plan.recipe.path.clone(), message }
    })?;
    let read_all = || during("reading every record", || cache.store().check());
    let check = (task == Task::Verify).then(read_all).transpose()?;
    let frames = |record: &Record| frames_of(record, data.load_options());
    let look = || coverage(&cache, data.mixture.records(), &frames);
    let (found, missing) = during("looking for kept features", look);
    let mut report = FillReport {
        folder: plan.recipe.data.feature_cache.clone(),
        samples: data.mixture.len(),
        found,
        made: 0,
        missing,
        seconds: 0.0,
        bytes: 0,
        losses: None,
        check,
        notes: vec![],
    };
    if task == Task::Fill && missing > 0 {
        let mut stream = data.pass(Some(cache.clone()))?;
        let mut compared = Compared::default();
        let progress = Progress::new("samples", report.samples);
        for next in stream.by_ref() {
            let (example, Position { samples, .. }) = next?;
            if !exact(plan) && compared.count < COMPARED {
                compared.add(plan, &state, example.clone(), device)?;
            }
            let (_, visuals) = collate(example, plan.recipe.data.clip_frames)?;
            let is_new = |visual: &VisualInput| matches!(visual, VisualInput::Clips(..));
            for visual in visuals.into_iter().filter(is_new) {
                merged(plan, &state.model, visual, device);
            }
            progress.at(samples as usize);
        }
        drop(progress);
        let broken = stream.take_events();
        report
            .notes
            .extend(broken.into_iter().map(|event| format!("{}: {}", event.id, event.reason)));
        report.losses = compared.means();
        let (have, missing) = look();
        (report.made, report.missing) = (have - report.found.min(have), missing);
    }
    report.notes.extend(cache.store().take_notes());
    report.bytes = cache.store().bytes();
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn exact(plan: &Plan) -> bool {
    Stored::of(plan).holds(plan.encoding().dtype)
}

/// Losses of the same samples with exact features and with kept ones.
#[derive(Default)]
struct Compared {
    exact: f64,
    kept: f64,
    count: usize,
}

impl Compared {
    fn add(
        &mut self,
        plan: &Plan,
        state: &TrainState,
        example: Example,
        device: &Device,
    ) -> Result<(), Error> {
        let (prompt, visuals) = collate(example, plan.recipe.data.clip_frames)?;
        let mut exact = vec![];
        for visual in visuals {
            let VisualInput::Clips(clips, _) = visual else { return Ok(()) };
            exact.push(state.model.encode(&clips, device, plan.encoding()));
        }
        let rounded = |features: &Tensor<3>| {
            to_device(to_host(features, Stored::of(plan)), plan.encoding().dtype, device)
        };
        let kept: Vec<_> = exact.iter().map(rounded).collect();
        let loss = |merged: Vec<Tensor<3>>| {
            let (prompts, merged) = (std::slice::from_ref(&prompt), vec![merged]);
            let (loss, weight) =
                state.model.loss(prompts, merged, &plan.compression, plan.loss_norm());
            f64::from(read_number(loss)) / weight.max(1) as f64
        };
        self.exact += loss(exact);
        self.kept += loss(kept);
        self.count += 1;
        Ok(())
    }

    fn means(&self) -> Option<(f64, f64)> {
        let count = self.count as f64;
        (self.count > 0).then(|| (self.exact / count, self.kept / count))
    }
}

impl FillReport {
    /// Whether nothing was damaged and nothing is missing.
    pub fn is_clean(&self) -> bool {
        let dropped = self.check.as_ref().is_some_and(|check| !check.dropped.is_empty());
        self.missing == 0 && !dropped
    }
}

impl fmt::Display for FillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} samples have features: {} were there, {} were made, {} are missing",
            self.found + self.made,
            self.samples,
            self.found,
            self.made,
            self.missing
        )?;
        writeln!(
            f,
            "{:.3} GiB in {}, {:.1} s",
            self.bytes as f64 / GIB,
            self.folder,
            self.seconds
        )?;
        if let Some((exact, kept)) = self.losses {
            writeln!(
                f,
                "loss of the base weights on the first new samples: {exact:.6} with exact features, {kept:.6} with kept ones ({:+.2e})",
                kept - exact
            )?;
        }
        if let Some(check) = &self.check {
            let (records, files) = (check.records, check.files);
            writeln!(f, "checked {records} records in {files} files")?;
            check.dropped.iter().try_for_each(|line| writeln!(f, "dropped: {line}"))?;
            let in_use = |path: &std::path::PathBuf| (path.display().to_string(), "in use");
            for (path, what) in check.in_use.iter().map(in_use) {
                writeln!(f, "not checked: {path} is {what}")?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
