//! `xcomp plan`.

use clap::Args;

use super::{Format, RecipeArgs, print_as};
use crate::error::Error;
use crate::plan::Plan;
use crate::recipe::Recipe;

/// Arguments of `xcomp plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// How the plan is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &PlanArgs) -> Result<(), Error> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let counted = crate::data::count(&recipe)?;
    let plan = Plan::new(recipe, counted)?;
    print_as(args.format, &plan.report())
}
