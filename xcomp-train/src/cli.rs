//! The command line: verbs, and what they print and exit with.

mod ablate;
mod args;
mod ask;
mod asking;
mod bench;
mod compare;
mod completions;
mod data;
#[cfg(feature = "video")]
mod demo;
mod doctor;
mod eval;
mod export;
mod fetch;
mod niah;
mod plan;
mod recipe;
mod replay;
mod report;
mod runs;
mod schedule;
mod train;
mod vico;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xcomp_data::keep_freed_memory;

use crate::error::{EXIT_RECIPE, Error};
use crate::machine::device::PROBE_VERB;
use crate::machine::stop::outlive_file_limits;
use crate::show::progress::say;

/// The codes of `error.rs`, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   the rest: the disk or the network refuses, a run of a sweep failed
  2   arguments, the recipe, or a config.json, checkpoint, weights or name of the hub in them cannot be used
  3   data cannot be used
  4   a loss or gradient is not finite
  5   out of memory
  75  stopped early by a signal or --budget; the same command goes on";

/// Supervised compression tuning of video VLMs.
#[derive(Debug, Parser)]
#[command(name = "xcomp", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints what a run is and costs, with no weight loaded.
    Plan(plan::PlanArgs),
    /// Answers a question about a video with an exported checkpoint.
    Ask(ask::AskArgs),
    /// Brings what a recipe names on the Hugging Face hub into its cache: nothing else asks the network.
    Fetch(fetch::FetchArgs),
    /// Trains a recipe, or goes on where its run folder stands.
    Train(train::TrainArgs),
    /// Writes a run as a Hugging Face folder with the released tensor names.
    Export(export::ExportArgs),
    /// Does one step of a run again and names the first tensor and sample that are not finite.
    Replay(replay::ReplayArgs),
    /// Measures what a run has learnt: gradients and updates by layer, what each drop costs, losses by dataset and frames.
    Report(report::ReportArgs),
    /// Finds tokens of every layer under a budget, from what single drops cost the model of a run.
    Schedule(schedule::ScheduleArgs),
    /// Scores a checkpoint on the questions of a benchmark.
    Eval(eval::EvalArgs),
    /// Hides chains of pictures in long videos and asks for them.
    Niah(niah::NiahArgs),
    /// Says whether the second of two evaluations is better, whether two sweeps agree, or lays a run over the released one.
    Compare(compare::CompareArgs),
    /// Times training steps of a recipe's shapes on made-up samples: random weights, no data.
    Bench(bench::BenchArgs),
    /// Trains and examines every arm of a sweep, and says which differ.
    Ablate(ablate::AblateArgs),
    /// Looks at the mixture of a recipe.
    Data(data::DataArgs),
    /// Lists the keys of a recipe.
    Recipe(recipe::RecipeArgs),
    /// Lists the runs in a folder: steps, loss, state, size.
    Runs(runs::RunsArgs),
    /// Makes its own small world, tunes a tiny model on it with LP-Comp, and asks it held-out questions.
    #[cfg(feature = "video")]
    Demo(demo::DemoArgs),
    /// Prints what this machine has: devices, features, libraries.
    Doctor(doctor::DoctorArgs),
    /// Tries a device for another process of this program.
    #[command(name = PROBE_VERB, hide = true)]
    Probe(doctor::ProbeArgs),
    /// Prints a script that completes this program's arguments in a shell.
    Completions(completions::CompletionsArgs),
}

/// Bytes of stack of a computing thread: as many as the first thread of a process has.
const STACK_BYTES: usize = 8 << 20;

/// Runs the program on the process's arguments, on one of the threads that share a CPU's loops and matrix products.
///
/// Asked from any other thread, each of a step's hundreds of operations wakes that pool and sleeps until it is done.
/// Of one thread there are two pools: this thread is its own, and the other stays free for those whom the program waits for.
pub fn main() -> ExitCode {
    // Without it such a write ends the process, as it would have before.
    outlive_file_limits().unwrap_or_default();
    keep_freed_memory();
    let program = || run(std::env::args_os());
    let shared = rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES).build_global();
    if shared.is_ok() && rayon::current_num_threads() > 1 {
        return rayon::scope(|_| program());
    }
    let _own = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    program()
}

/// Runs the program on these arguments; the first is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; anything else is a wrong argument.
            let code = if error.use_stderr() { EXIT_RECIPE } else { 0 };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    let result = match cli.verb {
        Verb::Plan(args) => plan::run(&args),
        Verb::Ask(args) => ask::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Niah(args) => niah::run(&args),
        Verb::Fetch(args) => fetch::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Schedule(args) => schedule::run(&args),
        Verb::Compare(args) => compare::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Ablate(args) => ablate::run(&args),
        Verb::Data(args) => data::run(&args),
        #[cfg(feature = "video")]
        Verb::Demo(args) => demo::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Probe(args) => doctor::answer(&args),
        Verb::Recipe(args) => recipe::run(&args),
        Verb::Runs(args) => runs::run(&args),
        Verb::Completions(args) => completions::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// One line on stderr for each line of the error.
fn complain(error: &Error) {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let line = inner.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        source = inner.source();
    }
    say(&format!("error: {text}"));
}

#[cfg(test)]
mod tests;
