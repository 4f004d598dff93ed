//! The page of a run that is going on: its curves so far, written again until nobody trains in its folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::machine::files::{read_text, write_atomically};
use crate::report::plots::curves;
use crate::run::footing::ENVIRONMENT;
use crate::run::list::{Listed, State};
use crate::run::metrics::{Recorded, broken};
use crate::show::page::Page;
use crate::show::table::Table;
use crate::train::held_out::HeldOut;

/// The page in the folder of a run.
pub const PAGE: &str = "report.html";

/// What a look at a run found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// The page.
    pub page: PathBuf,
    /// The run.
    pub run: Listed,
}

/// Writes the page every so often while a process trains in the folder, and once more when none does.
///
/// # Errors
/// If the folder holds no run, cannot be read, or the disk refuses.
pub fn follow(run: &Path, every: Duration, looked: &mut dyn FnMut(&Look)) -> Result<Look, Error> {
    loop {
        // Before the records: what is written meanwhile is shown by the next look.
        let listed = Listed::of(run)?;
        let going_on = listed.state == State::Running;
        let text = page(&listed, &Recorded::of_run(run)?, every);
        let look = Look { page: run.join(PAGE), run: listed };
        write_atomically(&look.page, text.as_bytes())?;
        looked(&look);
        if !going_on {
            return Ok(look);
        }
        std::thread::sleep(every);
    }
}

/// The page of a run; it reads itself again while the run goes on.
fn page(run: &Listed, recorded: &Recorded, every: Duration) -> String {
    let mut page = Page::new(&name(&run.folder));
    if run.state == State::Running {
        page.reload_every(every.as_secs().max(1));
    }
    let held_out: Vec<&HeldOut> = recorded.held_out.values().collect();
    page.list(facts(run, recorded));
    page.pictures(&curves(&recorded.records, &held_out));
    if !held_out.is_empty() {
        page.heading("Held-out samples");
        page.table(&table(&held_out));
    }
    page.into_html()
}

/// The name of the run and its tags, as its folder states them.
fn name(folder: &Path) -> String {
    let stated = read_text(&folder.join(ENVIRONMENT)).unwrap_or_default();
    let stated: serde_json::Value = serde_json::from_str(&stated).unwrap_or_default();
    let tags = stated["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str());
    let folder = folder.display().to_string();
    let name = stated["run_name"].as_str().unwrap_or(&folder).to_owned();
    std::iter::once(name).chain(tags.map(|tag| format!("#{tag}"))).collect::<Vec<_>>().join(" ")
}

fn facts(run: &Listed, recorded: &Recorded) -> Vec<String> {
    let planned = run.planned.map_or("?".into(), |steps| steps.to_string());
    let state = format!("{:?}", run.state).to_lowercase();
    let mut facts =
        vec![format!("{}: {state}, step {} of {planned}", run.folder.display(), run.steps)];
    facts.extend(recorded.records.values().next_back().map(|last| {
        format!(
            "loss {:.4}, gradient norm {:.3e}, {:.2} samples/s, epoch {:.2}",
            last.loss, last.grad_norm, last.samples_per_sec, last.epoch
        )
    }));
    facts.extend(broken(&recorded.broken_lines));
    facts
}

fn table(held_out: &[&HeldOut]) -> Table {
    let row = |held: &&HeldOut| {
        [
            held.step.to_string(),
            format!("{:.4}", held.eval_loss.0),
            held.eval_samples.to_string(),
            held.eval_left_out.to_string(),
        ]
    };
    Table::new(["after step", "loss", "samples", "left out"], held_out.iter().map(row))
}
