//! `xcomp fetch`: what a recipe names on the hub.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use xcomp_data::Mixture;

use super::args::FormatArg;
use crate::error::Error;
use crate::hub::fetch::{Fetched, Order};
use crate::hub::{Hub, HubError, Name, is_name};
use crate::recipe::Recipe;
use crate::show::progress::say;

/// Keys that hold mixtures, which name further files.
const MIXTURES: [&str; 2] = ["data.mixture", "data.validation_mixture"];

/// Arguments of `xcomp fetch`.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// The recipe file, or a name: hf:OWNER/NAME[@REVISION][/path] or hf-dataset:OWNER/NAME[@REVISION][/path].
    subject: PathBuf,
    /// Overrides a key of the recipe (`xcomp recipe keys` lists them); repeatable.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
    /// Fetches only what this key names; repeatable. `model.config` is enough for a plan.
    #[arg(long, value_name = "TABLE.KEY")]
    only: Vec<String>,
    /// Says what would be fetched, and fetches nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArg,
}

/// What is in the cache now.
#[derive(Debug, Serialize)]
struct Report {
    cache: PathBuf,
    names: Vec<Fetched>,
}

pub(super) fn run(args: &FetchArgs) -> Result<(), Error> {
    let hub = Hub::of_environment();
    let mut report = Report { cache: hub.cache().into(), names: vec![] };
    for round in [mixtures, everything] {
        let names = round(args, &hub)?;
        if names.is_empty() {
            continue;
        }
        if hub.is_offline() {
            names.iter().try_for_each(|name| whole_offline(&hub, name))?;
            continue;
        }
        let order = Order::of(&hub, &names)?;
        report.names = order.report();
        report.names.iter().for_each(|fetched| say(&fetched.to_string()));
        if !args.dry_run {
            order.fetch()?;
        }
    }
    args.format.print(&report)
}

/// The mixtures: what they name is known once they are here.
fn mixtures(args: &FetchArgs, _: &Hub) -> Result<Vec<Name>, Error> {
    if is_hub(&args.subject) {
        return Ok(vec![]);
    }
    let named = Recipe::as_given(&args.subject, &args.set)?.names();
    let mixtures = named.into_iter().filter(|(key, _)| MIXTURES.contains(&key.as_str()));
    Ok(mixtures.filter(|(key, _)| args.wants(key)).map(|(_, name)| name).collect())
}

/// Every name, also those in mixtures.
fn everything(args: &FetchArgs, hub: &Hub) -> Result<Vec<Name>, Error> {
    if is_hub(&args.subject) {
        return Ok(vec![args.subject.to_string_lossy().parse()?]);
    }
    let named = Recipe::as_given(&args.subject, &args.set)?.names();
    let wanted = named.iter().filter(|(key, _)| args.wants(key));
    let mut names: Vec<Name> = wanted.map(|(_, name)| name.clone()).collect();
    names.extend(in_mixtures(args, hub)?);
    let all = names.clone();
    names.retain(|name| !all.iter().any(|other| name.is_directly_in(other)));
    names.dedup();
    Ok(names)
}

/// Names in the mixtures that are here.
fn in_mixtures(args: &FetchArgs, hub: &Hub) -> Result<Vec<Name>, Error> {
    let data = Recipe::load(&args.subject, &args.set)?.data;
    let mut names = vec![];
    for (key, path) in MIXTURES.into_iter().zip([data.mixture, data.validation_mixture]) {
        let path = if is_name(&path) {
            hub.local(Path::new(&path)).unwrap_or_default()
        } else {
            path.into()
        };
        if args.wants(key) && path.is_file() {
            let places = Mixture::places(&path)?.into_iter().filter(|place| is_name(place));
            let parsed = places.map(|place| place.parse()).collect::<Result<Vec<_>, HubError>>();
            names.extend(parsed?);
        }
    }
    Ok(names)
}

fn whole_offline(hub: &Hub, name: &Name) -> Result<(), HubError> {
    let (text, cache) = (name.to_string(), hub.cache().to_owned());
    hub.at_hand(name, &text).map_err(|_| HubError::Offline { name: text, cache }).map(|_| ())
}

fn is_hub(subject: &Path) -> bool {
    subject.to_str().is_some_and(is_name)
}

impl FetchArgs {
    fn wants(&self, key: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == key)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Fetched { name, path, .. } in &self.names {
            writeln!(f, "{name}: {}", path.display())?;
        }
        if self.names.is_empty() {
            writeln!(f, "nothing to fetch from the hub")?;
        }
        Ok(())
    }
}
