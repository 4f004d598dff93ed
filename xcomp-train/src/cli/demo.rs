//! `xcomp demo`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Format, print_as};
use crate::error::Error;
use crate::machine::device::Choice;

/// Arguments of `xcomp demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Folder for the material and the run; it must not be there yet. Default: runs/demo, runs/demo-2, ...
    #[arg(long)]
    out: Option<PathBuf>,
    /// cpu, cuda[:i], vulkan[:i] or auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// How the table is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Error> {
    let out = args.out.clone().unwrap_or_else(unused);
    if out.exists() {
        return Err(Error::Argument(format!(
            "{} is there already; give another --out",
            out.display()
        )));
    }
    print_as(args.format, &crate::demo::run::run(&out, args.device)?)
}

/// The first of runs/demo, runs/demo-2, ... that is not there.
fn unused() -> PathBuf {
    let named = |n: usize| if n == 1 { "demo".to_owned() } else { format!("demo-{n}") };
    let folders = (1..).map(|n| Path::new("runs").join(named(n)));
    folders.into_iter().find(|folder| !folder.exists()).expect("one of all numbers is free")
}
