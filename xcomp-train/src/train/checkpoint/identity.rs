//! What a run is: a resume must find all of it unchanged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::Data;
use crate::error::Error;
use crate::machine::files::{entries, read_text, sha256, size_and_sha256};
use crate::plan::Plan;
use crate::plan::lanes::predicted;
use crate::recipe::described::Described;
use crate::recipe::tables::{EvalTable, Init};
use crate::recipe::{KEYS, described};
use crate::show::progress::during;

/// Names and values that fix the numbers of a run.
pub type Identity = BTreeMap<String, String>;

/// Keys that may change between starts: they move files, threads, saves and logs, not numbers.
const FREE: &[(&str, &[&str])] = &[
    ("eval", EvalTable::KEYS), // asked of what the run has made so far
    ("model", &["checkpoint", "config", "tokenizer"]), // their content is compared instead
    (
        "data",
        &[
            "mixture",
            "validation_mixture", // nothing of it is trained on; what `validation_share` takes away is another matter
            "allow_outside_paths", // the hash of the mixture has what it does, and what `system` does
            "system",
            "workers",
            "prefetch_mib",
            "feature_cache",
            "feature_cache_gib",
            "expected_samples",
            "expected_frames",
            "expected_text_tokens",
            "expected_supervised_tokens",
        ],
    ),
    ("vst", &["backward"]),
    (
        "train",
        &[
            "recompute",
            "memory_limit_gib",
            "clips_at_once",
            "spike_factor",
            "early_stopping_patience",
        ],
    ),
    ("checkpoint", &["save_steps", "save_total_limit", "keep_best", "moments", "export_dtype"]),
    ("log", &["run_name", "tags", "logging_steps", "tensorboard", "peak_tflops"]),
];

/// The identity of a run.
///
/// # Errors
/// If a file that is part of it cannot be read.
pub fn of_run(plan: &Plan, data: &Data) -> Result<Identity, Error> {
    let recipe = &plan.recipe;
    let mut identity = Identity::new();
    let resolved = recipe.resolved();
    for (table, keys) in KEYS {
        let free = FREE.iter().find(|(name, _)| name == table).map_or(&[][..], |(_, keys)| keys);
        for key in keys.iter().filter(|key| !free.contains(key)) {
            if let Some(value) = resolved[*table].get(key) {
                identity.insert(format!("[{table}] {key}"), value.to_string());
            }
        }
    }
    let config = read_text(Path::new(&recipe.model.config))?;
    identity.insert("sha256 of config.json".into(), sha256(config.as_bytes()));
    identity.insert("sha256 of the tokenizer".into(), data.tokenizer.sha256().into());
    identity.insert("sha256 of the mixture".into(), data.mixture.hash().into());
    if let Some(costs) = predicted(plan, &data.mixture) {
        let bytes: Vec<u8> = costs.iter().flat_map(|cost| cost.to_bits().to_le_bytes()).collect();
        identity.insert("sha256 of the predicted costs".into(), sha256(&bytes));
    }
    if recipe.model.init == Init::Checkpoint {
        recipe.require("model", &["checkpoint"])?;
        identity.insert(
            "sha256 of the base weights".into(),
            during("hashing the base weights", || weights(&recipe.model.checkpoint))?,
        );
    }
    Ok(identity)
}

/// One hash over the hashes of all weight files of a folder.
fn weights(folder: &str) -> Result<String, Error> {
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors");
    let mut text = String::new();
    for path in entries(Path::new(folder))?.iter().filter(|path| is_weights(path)) {
        text += &size_and_sha256(path)?.1;
    }
    Ok(sha256(text.as_bytes()))
}

/// A line for every difference. A key that was not there when the run was saved had what is its default now.
pub fn differences(saved: &Identity, now: &Identity) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
    let defaults = defaults();
    let absent = "absent".to_owned();
    let of = |identity: &Identity, name| {
        identity.get(name).or(defaults.get(name)).unwrap_or(&absent).clone()
    };
    names
        .into_iter()
        .map(|name| (name, of(saved, name), of(now, name)))
        .filter(|(_, saved, now)| saved != now)
        .map(|(name, saved, now)| format!("{name} was {saved}, is {now}"))
        .collect()
}

/// The default of every key that has one.
fn defaults() -> Identity {
    let keys = |table: Described| {
        let name = move |key: &str| format!("[{}] {key}", table.name);
        table
            .keys
            .into_iter()
            .filter_map(move |key| Some((name(key.key), key.default?.to_string())))
    };
    described().into_iter().flat_map(keys).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_keys_are_keys() {
        for (table, keys) in FREE {
            let known = KEYS.iter().find(|(name, _)| name == table).unwrap().1;
            assert!(keys.iter().all(|key| known.contains(key)), "{table}");
        }
    }

    #[test]
    fn every_difference_is_named() {
        let of = |pairs: &[(&str, &str)]| -> Identity {
            pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
        };
        let found = differences(&of(&[("a", "1"), ("b", "2")]), &of(&[("a", "1"), ("c", "3")]));
        assert_eq!(found, ["b was 2, is absent", "c was absent, is 3"]);
    }

    /// Runs that were saved before a key was there go on.
    #[test]
    fn a_key_that_was_not_there_had_its_default() {
        let now = |word: &str| Identity::from([("[data] truncated".into(), format!("\"{word}\""))]);
        assert!(differences(&Identity::new(), &now("refuse")).is_empty());
        let found = differences(&Identity::new(), &now("pad"));
        assert_eq!(found, ["[data] truncated was \"refuse\", is \"pad\""]);
    }
}
