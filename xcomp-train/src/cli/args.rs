//! Arguments that several verbs share, each with one help text, and how a verb prints its result.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::{Args, ValueEnum};
use serde::Serialize;
use xcomp_data::Share;

use crate::error::Error;
use crate::machine::device::{Choice, open};
use crate::recipe::Recipe;
use crate::show::progress::say;

/// The recipe of a run.
#[derive(Debug, Args)]
pub(super) struct RecipeArgs {
    /// The recipe file.
    recipe: PathBuf,
    /// Overrides a key of the recipe (`xcomp recipe keys` lists them); repeatable.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
}

impl RecipeArgs {
    /// The recipe with its overrides; the sizes of its model are on this machine.
    pub(super) fn load(&self) -> Result<Recipe, Error> {
        let recipe = Recipe::load(&self.recipe, &self.set)?;
        recipe.require("model", &["config"])?;
        Ok(recipe)
    }
}

/// The device of a verb that computes.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct DeviceArg {
    /// Where to compute: cpu, cuda[:i], vulkan[:i], wgpu[:i], or auto: the first of them that works, the processor last; without `i` each rank of a machine has the card of its own number. `vulkan:cpu` and `wgpu:cpu` are drivers in software, for tests; auto never takes one.
    #[arg(long = "device", value_name = "DEVICE", default_value = "auto")]
    pub(super) choice: Choice,
}

impl DeviceArg {
    /// The device, once it works.
    pub(super) fn open(self) -> Result<Device, Error> {
        let opened = open(self.choice)?;
        opened.passed_over.iter().for_each(|line| say(line));
        if self.choice == Choice::Auto && !opened.passed_over.is_empty() {
            say(&format!("computing on {}: {}", opened.choice, opened.about));
        }
        Ok(opened.device)
    }
}

/// The share of the work that this process does.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct PartArg {
    /// Does only part I of N (counted from 0), beside processes that do the others; without it, everything that is left.
    #[arg(long = "part", value_name = "I/N")]
    pub(super) share: Option<Share>,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct FormatArg {
    /// How the result is printed on stdout.
    #[arg(long = "format", value_name = "FORMAT", value_enum, default_value = "text")]
    word: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value.
    Json,
}

impl FormatArg {
    pub(super) fn is_text(self) -> bool {
        self.word == Format::Text
    }

    /// Prints a report that is its own text.
    pub(super) fn print(self, report: &(impl Serialize + Display)) -> Result<(), Error> {
        self.print_as(report, report)
    }

    /// Prints a report, or its text.
    pub(super) fn print_as(
        self,
        text: &impl Display,
        report: &impl Serialize,
    ) -> Result<(), Error> {
        match self.word {
            Format::Text => print(&text.to_string()),
            Format::Json => print(
                &serde_json::to_string_pretty(report).expect("a report of plain data is JSON"),
            ),
        }
    }
}

/// Writes a result to stdout.
pub(super) fn print(text: &str) -> Result<(), Error> {
    writeln!(std::io::stdout(), "{}", text.trim_end()).map_err(|source| Error::File {
        action: "cannot write to",
        path: "stdout".into(),
        source,
    })
}

/// Where a result goes if no `--out` says so: `runs/NAME` and an ending.
///
/// The name is that of the recipe file or of the folder; an export inside a run's folder also has the name of the run.
pub(super) fn default_out(subject: &Path, ending: &str) -> PathBuf {
    let name = if subject.is_dir() { subject.file_name() } else { subject.file_stem() };
    let mut name = name.unwrap_or("here".as_ref()).to_string_lossy().into_owned();
    let run = subject.parent().and_then(Path::file_name);
    if let Some(run) = run.filter(|_| name.starts_with("export")) {
        name = format!("{}-{name}", run.to_string_lossy());
    }
    Path::new("runs").join(name + ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_name_of_what_they_are_of() {
        for (subject, ending, out) in [
            ("recipes/mine.toml", "", "runs/mine"),
            ("runs/mine", "-eval", "runs/mine-eval"),
            ("runs/mine/export", "-niah", "runs/mine-export-niah"),
            ("..", "-export", "runs/here-export"),
        ] {
            assert_eq!(default_out(subject.as_ref(), ending), Path::new(out), "{subject}");
        }
    }
}
