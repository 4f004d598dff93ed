//! `xcomp ablate`: every arm of a sweep, with seeds, intervals and a verdict.
//!
//! A sweep is a file; it becomes a list of trainings and examinations, each a process of this program in a folder named by what decides its numbers;
//! their results become tables, pictures and a page. Whatever is finished is never done again.

pub mod base;
pub mod blind;
pub mod estimate;
pub mod execute;
pub mod html;
pub mod material;
pub mod outcome;
mod overrides;
pub mod plots;
pub mod process;
pub mod report;
pub mod runs;
pub mod sweep;
pub mod text;

use std::path::Path;

use base::{Base, BaseReport};
use estimate::Estimate;
use execute::{Workers, work};
use material::Material;
use outcome::{Outcome, outcomes};
use plots::plots;
use report::{SweepReport, tables};
use runs::Runs;
use sweep::Sweep;

use crate::error::Error;
use crate::machine::files::{write_atomically, write_json};
use crate::run::folder::RunDir;
use crate::show::progress::say;

/// Prepares a sweep and says what is to do: makes its world, trains nothing.
///
/// # Errors
/// If a recipe does not fit, or the material cannot be made.
pub fn estimate(sweep: &Sweep, out: &Path, jobs: usize) -> Result<Estimate, Error> {
    let mut material = Material::prepare(sweep, out)?;
    let base = Base::of(sweep, &material, out)?;
    if let Some(base) = base.as_ref().filter(|base| execute::is_finished(base.training())) {
        material.checkpoint = Some(base.checkpoint());
    }
    let runs = Runs::of(sweep, &material, out)?;
    Estimate::of(base.as_ref().map(Base::training), &runs, jobs)
}

/// Does what is not done of a sweep and writes its report into `out`.
///
/// # Errors
/// If the sweep is stopped or runs fail, after the report of what is there was written; or if the disk refuses.
pub fn ablate(
    sweep: &Sweep,
    out: &Path,
    workers: Workers,
    facts: Vec<(String, String)>,
) -> Result<SweepReport, Error> {
    let folder = RunDir::open(out)?;
    write_atomically(&folder.file("sweep.toml"), sweep.text.as_bytes())?;
    say(estimate(sweep, out, workers.jobs)?.to_string().trim_end());
    let mut material = Material::prepare(sweep, out)?;
    let mut known = None;
    if let Some(base) = Base::of(sweep, &material, out)? {
        let Some(report) = base.make(workers)? else {
            return Err(stopped(workers, 0, 0, out));
        };
        known = Some(report);
        material.checkpoint = Some(base.checkpoint());
    }
    let runs = Runs::of(sweep, &material, out)?;
    let worked = work(&runs.trainings, workers)?;
    let outcomes = outcomes(sweep, &runs)?;
    let report = write(sweep, &folder, known, &outcomes, facts)?;
    if !worked.failed.is_empty() {
        return Err(Error::RunsFailed { logs: worked.failed });
    }
    if worked.done < runs.trainings.len() {
        return Err(stopped(workers, worked.done, runs.trainings.len(), out));
    }
    Ok(report)
}

fn stopped(workers: Workers, done: usize, all: usize, out: &Path) -> Error {
    let why = workers.stop.asked().unwrap_or("a signal to a run");
    Error::SweepStopped { why, done, all, out: out.into() }
}

/// Tables, pictures and the page.
fn write(
    sweep: &Sweep,
    folder: &RunDir,
    base: Option<BaseReport>,
    outcomes: &[Outcome],
    facts: Vec<(String, String)>,
) -> Result<SweepReport, Error> {
    let tables = tables(sweep, outcomes);
    let report = SweepReport { sweep: sweep.path.display().to_string(), facts, base, tables };
    let plots = plots(report.base.as_ref(), outcomes);
    write_json(&folder.file("table.json"), &report)?;
    let page = html::page(&report, &plots, &sweep.text);
    let texts = [
        ("table.md", text::markdown(&report)),
        ("table.csv", text::csv(&report)),
        ("report.html", page),
    ];
    for (name, text) in texts.iter().chain(&plots) {
        write_atomically(&folder.file(name), text.as_bytes())?;
    }
    Ok(report)
}
