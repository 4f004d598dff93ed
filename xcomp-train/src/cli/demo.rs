//! `xcomp demo`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{DeviceArg, FormatArg};
use crate::error::Error;

/// Arguments of `xcomp demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Folder for the material and the run; it must not be there yet [default: the first free of runs/demo, runs/demo-2, ...].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Trains with so many training seeds (orders of samples) and prints mean and range of answers and losses; each run has a folder of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,
    /// Overrides a key of the demo's recipe, such as `tune.lora_rank`; repeatable.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Error> {
    let out = args.out.clone().unwrap_or_else(unused);
    if out.exists() {
        return Err(Error::Argument(format!(
            "{} is there already; give another --out",
            out.display()
        )));
    }
    let device = args.device.choice;
    match args.seeds {
        1 => args.format.print(&crate::demo::run::run(&out, &args.set, device)?),
        count => {
            args.format.print(&crate::demo::seeds::run(&out, count.into(), &args.set, device)?)
        }
    }
}

/// The first of runs/demo, runs/demo-2, ... that is not there.
fn unused() -> PathBuf {
    let named = |n: usize| if n == 1 { "demo".to_owned() } else { format!("demo-{n}") };
    let folders = (1..).map(|n| Path::new("runs").join(named(n)));
    folders.into_iter().find(|folder| !folder.exists()).expect("one of all numbers is free")
}
