//! `xcomp train`: opens what a run needs, shows what the loop tells, and says how it ended.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::args::{DeviceArg, FormatArg, RecipeArgs, default_out};
use crate::error::Error;
use crate::machine::stop::{Stop, parse_duration};
use crate::peers::{Alone, Peers};
use crate::run::launch::{Launch, launch};
use crate::show::numbers::duration;
use crate::train::together::end;

/// Arguments of `xcomp train`.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Folder of the run; a run in it is continued [default: runs/NAME, with the name of the recipe].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The checkpoint folder to go on from [default: the newest complete one of the run].
    #[arg(long, value_name = "CHECKPOINT")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    /// Stops in time to save, for example 9m; exit code 75.
    #[arg(long, value_parser = parse_duration)]
    budget: Option<Duration>,
    /// Stops in time to save when standard input ends, for a program that starts runs; exit code 75.
    #[arg(long)]
    until_input_ends: bool,
    /// Trains together with the processes that mpirun or srun has started beside this one; in builds with MPI.
    #[arg(long)]
    mpi: bool,
    /// With --mpi: how long a rank waits for the others, of which one may hang, before all end with exit code 6; longer than any step, save or export takes.
    #[arg(long, value_parser = parse_duration, default_value = "2h")]
    patience: Duration,
    #[command(flatten)]
    format: FormatArg,
}

/// How a start ended.
#[derive(Debug, Serialize)]
struct Trained {
    /// Steps of all starts together.
    steps: usize,
    /// Mean loss of the last record.
    loss: Option<f64>,
    /// Seconds of this start.
    seconds: f64,
    run: PathBuf,
}

pub(super) fn run(args: &TrainArgs) -> Result<(), Error> {
    let stop = Stop::on_signals(args.budget)?;
    if args.until_input_ends {
        stop.at_end_of_input();
    }
    let recipe = args.recipe.load()?;
    let run = args.out.clone().unwrap_or_else(|| default_out(&recipe.path, ""));
    let resume = args.resume.as_deref();
    let peers = peers(args)?;
    let (peers, device, out) = (&*peers, args.device.choice, run.as_path());
    let summary = end(peers, launch(recipe, Launch { out, resume, device, stop, peers }))?;
    if peers.rank() > 0 {
        return Ok(());
    }
    let loss = summary.last.map(|last| last.loss);
    args.format.print(&Trained { steps: summary.step, loss, seconds: summary.seconds, run })
}

/// The processes that this one trains with.
fn peers(args: &TrainArgs) -> Result<Box<dyn Peers>, Error> {
    if args.mpi { started(args.patience) } else { Ok(Box::new(Alone)) }
}

#[cfg(feature = "mpi")]
fn started(patience: Duration) -> Result<Box<dyn Peers>, Error> {
    Ok(Box::new(crate::peers::mpi::Mpi::start(patience)?))
}

#[cfg(not(feature = "mpi"))]
fn started(_: Duration) -> Result<Box<dyn Peers>, Error> {
    let message = "--mpi: this build has no MPI; build with --features xcomp-train/mpi";
    Err(Error::Argument(message.into()))
}

impl fmt::Display for Trained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = self.loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
        let (took, run) = (duration(self.seconds), self.run.display());
        write!(f, "{} steps{loss}, {took} in this start: {run}", self.steps)
    }
}
