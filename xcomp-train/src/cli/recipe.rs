//! `xcomp recipe keys`: every key of a recipe.

use clap::{Args, Subcommand};

use super::args::FormatArg;
use crate::error::Error;
use crate::recipe::keys::{HEAD, markdown};
use crate::recipe::{KEYS, described};

/// Arguments of `xcomp recipe`.
#[derive(Debug, Args)]
pub(super) struct RecipeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists every key with its meaning, default and words; the text is the Markdown of docs/recipe.md.
    Keys(KeysArgs),
}

#[derive(Debug, Args)]
struct KeysArgs {
    /// Only the keys of this table.
    #[arg(long, value_parser = KEYS.iter().map(|(table, _)| *table).collect::<Vec<_>>())]
    table: Option<String>,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &RecipeArgs) -> Result<(), Error> {
    let Verb::Keys(args) = &args.verb;
    let mut shown = described();
    let head = if args.table.is_none() { HEAD } else { "" };
    shown.retain(|table| args.table.as_ref().is_none_or(|name| name == table.name));
    args.format.print_as(&[head, &markdown(&shown)].concat(), &shown)
}
