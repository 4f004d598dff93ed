//! `xcomp completions SHELL`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::args::print;
use crate::error::Error;

/// Arguments of `xcomp completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell; for bash: `xcomp completions bash > ~/.local/share/bash-completion/completions/xcomp`.
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Error> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "xcomp", &mut script);
    print(&String::from_utf8_lossy(&script))
}
