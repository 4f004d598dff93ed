//! `xcomp ablate`: every arm of a sweep, with seeds, intervals and a verdict.
//!
//! A sweep is a file; it becomes a list of trainings and examinations, each a process of this program in a folder named by what decides its numbers;
//! their results become tables, pictures and a page. Whatever is finished is never done again.
//! Several processes may work at shares of one sweep in one folder.

pub mod again;
mod asked;
pub mod base;
pub mod blind;
pub mod ceiling;
pub mod cost;
pub mod estimate;
pub mod execute;
pub mod html;
pub mod material;
pub mod needles;
pub mod outcome;
mod overrides;
pub mod plots;
pub mod power;
pub mod process;
pub mod report;
pub mod runs;
pub mod sweep;
pub mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use xcomp_data::Share;
use xcomp_data::lock::LockedFile;

use base::{BaseReport, Bases};
use estimate::Estimate;
use execute::{Worked, Workers, work};
use material::Material;
use outcome::{Outcome, outcomes};
use plots::{Plot, plots};
use power::power;
use report::{REPORT, SweepReport, tables};
use runs::Runs;
use sweep::Sweep;

use crate::error::Error;
use crate::machine::files::{write_atomically, write_json};
use crate::run::folder::{RunDir, turn};
use crate::show::progress::say;

/// What the process that prepares a sweep, its world and its bases, has locked.
const PREPARING: &str = ".preparing";

/// Where a sweep is worked at, how, and which share of its trainings.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// Its folder.
    pub out: &'a Path,
    /// How processes are run.
    pub workers: Workers<'a>,
    /// The share; without one all.
    pub share: Option<Share>,
}

/// What a share of a sweep came to.
#[derive(Debug, Clone, Serialize)]
pub struct PartReport {
    /// Which share.
    pub part: String,
    /// Its trainings, each with its examinations: all are finished.
    pub trainings: usize,
}

impl fmt::Display for PartReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, trainings } = self;
        write!(
            f,
            "part {part}: {trainings} trainings are finished; the same command without --part joins all parts in the report"
        )
    }
}

/// Prepares a sweep and says what is to do, and what it can tell apart: makes its world, trains nothing.
///
/// # Errors
/// If a recipe does not fit, or the material cannot be made.
pub fn estimate(sweep: &Sweep, work: Work) -> Result<Estimate, Error> {
    // Who makes the base has its turn for long; only the world is waited for.
    let absent = !Material::is_made(sweep, work.out);
    let _turn = absent.then(|| preparing(work)).transpose()?;
    let (estimate, bases, runs) = estimated(sweep, work)?;
    let base = bases.as_ref().map(Bases::outcome).transpose()?.flatten();
    let power = power(sweep, &outcomes(sweep, &runs)?, base.as_ref());
    Ok(Estimate { power, ..estimate })
}

/// Waits until no other process prepares this sweep.
fn preparing(work: Work) -> Result<LockedFile, Error> {
    let turn = turn(&work.out.join(PREPARING), work.workers.stop)?;
    turn.ok_or_else(|| stopped(work, 0, 0))
}

/// What is left, the bases, and all that rests on them.
fn estimated(sweep: &Sweep, work: Work) -> Result<(Estimate, Option<Bases>, Runs), Error> {
    let material = Material::prepare(sweep, work.out)?;
    let bases = Bases::of(sweep, &material, work.out)?;
    let made = bases.as_ref().map(Bases::made).unwrap_or_default();
    let runs = Runs::of(sweep, &material, &made, work.out)?;
    let first = bases.as_ref().map(Bases::trainings).unwrap_or_default();
    let estimate = Estimate::of(first, runs.of_share(work.share), work.workers.jobs)?;
    Ok((estimate, bases, runs))
}

/// Does what is not done of a sweep and writes its report into its folder, which it has alone.
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
    let whole = Work { out, workers, share: None };
    let (known, runs) = prepared(sweep, &folder, whole)?;
    let worked = work(&runs.of_share(None), workers)?;
    let outcomes = outcomes(sweep, &runs)?;
    let report = write(sweep, &folder, (known, &outcomes, &runs), facts)?;
    finished(worked, runs.trainings.len(), whole)?;
    Ok(report)
}

/// Does what is not done of a share of a sweep, beside processes that do the others in the same folder; [`ablate`] joins them.
///
/// # Errors
/// If it is stopped or runs fail, or the disk refuses.
pub fn ablate_part(
    sweep: &Sweep,
    out: &Path,
    workers: Workers,
    share: Share,
) -> Result<PartReport, Error> {
    let folder = RunDir::share(out)?;
    let part = Work { out, workers, share: Some(share) };
    let (_, runs) = prepared(sweep, &folder, part)?;
    let own = runs.of_share(Some(share));
    finished(work(&own, workers)?, own.len(), part)?;
    Ok(PartReport { part: share.to_string(), trainings: own.len() })
}

/// The world and the bases of a sweep, made by one process while others wait for them, and what is to do on top.
fn prepared(
    sweep: &Sweep,
    folder: &RunDir,
    work: Work,
) -> Result<(Option<BaseReport>, Runs), Error> {
    let _turn = preparing(work)?;
    write_atomically(&folder.file("sweep.toml"), sweep.text.as_bytes())?;
    say(estimated(sweep, work)?.0.to_string().trim_end());
    let material = Material::prepare(sweep, work.out)?;
    let Some(bases) = Bases::of(sweep, &material, work.out)? else {
        return Ok((None, Runs::of(sweep, &material, &BTreeMap::new(), work.out)?));
    };
    let known = bases.make(work.workers)?.ok_or_else(|| stopped(work, 0, 0))?;
    Ok((Some(known), Runs::of(sweep, &material, &bases.made(), work.out)?))
}

/// Whether all that was to be done is done.
fn finished(worked: Worked, all: usize, work: Work) -> Result<(), Error> {
    if !worked.failed.is_empty() {
        return Err(Error::RunsFailed { logs: worked.failed });
    }
    if worked.done < all {
        return Err(stopped(work, worked.done, all));
    }
    Ok(())
}

fn stopped(work: Work, done: usize, all: usize) -> Error {
    let why = work.workers.stop.asked().unwrap_or("a signal to a run");
    Error::SweepStopped { why, done, all, out: work.out.into() }
}

/// Tables, pictures and the page.
fn write(
    sweep: &Sweep,
    folder: &RunDir,
    (base, outcomes, runs): (Option<BaseReport>, &[Outcome], &Runs),
    facts: Vec<(String, String)>,
) -> Result<SweepReport, Error> {
    let tables = tables(sweep, outcomes);
    let report = SweepReport { sweep: sweep.path.display().to_string(), facts, base, tables };
    let mut plots = plots(report.base.as_ref(), &report.tables, outcomes);
    plots.extend(needle_plots(sweep, runs)?);
    write_json(&folder.file(REPORT), &report)?;
    let page = html::page(&report, &plots, &sweep.text);
    let texts = [
        ("table.md".to_owned(), text::markdown(&report)),
        ("table.csv".to_owned(), text::csv(&report)),
        ("report.html".to_owned(), page),
    ];
    for (name, text) in texts.iter().chain(&plots) {
        write_atomically(&folder.file(name), text.as_bytes())?;
    }
    Ok(report)
}

/// The heat maps of needles that are there.
fn needle_plots(sweep: &Sweep, runs: &Runs) -> Result<Vec<Plot>, Error> {
    let mut plots = vec![];
    for (at, (arm, folder)) in runs.needles.iter().enumerate() {
        let picture = sweep.needles.as_ref().map(|needles| needles.picture(arm, folder));
        let picture = picture.transpose()?.flatten();
        plots.extend(picture.map(|svg| (format!("needles-{}.svg", at + 1), svg)));
    }
    Ok(plots)
}
