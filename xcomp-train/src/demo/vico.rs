//! Order questions among those of the mini world: what `xcomp data vico` makes of its events, and mixtures that hold some of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use xcomp_data::vico::{questions, read_films};

use super::error::DemoError;
use super::world::write_json;

/// The records, beside `train.json`.
const RECORDS: &str = "vico.json";
/// What the records fix, as the verb without `--seed`.
const SEED: u64 = 0;

/// Writes `vico.json` of the `events.json` in `world`, and for each percentage `mixture-vico-PERCENT.yaml`, which has as many samples
/// of the `clips` as the usual mixture; gives all texts of the records.
///
/// # Errors
/// If a percentage is none, or a file cannot be read or written.
pub(super) fn write(
    world: &Path,
    percentages: &[usize],
    clips: usize,
) -> Result<BTreeSet<String>, DemoError> {
    let records = json!(questions(&read_films(&world.join("events.json"))?, SEED).records);
    write_json(&world.join(RECORDS), &records)?;
    for percent in percentages {
        let asked = clips * percent / 100;
        let usual = clips.checked_sub(asked).ok_or(DemoError::Share { percent: *percent })?;
        let entries = [("train.json", usual), (RECORDS, asked)];
        let entries = entries.into_iter().filter(|(_, count)| *count > 0).map(entry);
        let path = world.join(format!("mixture-vico-{percent}.yaml"));
        let text = format!("datasets:\n{}", entries.collect::<String>());
        fs::write(&path, text).map_err(DemoError::write(&path))?;
    }
    Ok(texts(&records))
}

fn entry((records, count): (&str, usize)) -> String {
    format!(
        "  - json_path: {records}\n    sampling_strategy: first:{count}\n    data_root: clips\n    video_read_type: decord\n"
    )
}

/// What is said in them, once each, so that the tokenizer knows the words.
fn texts(records: &Value) -> BTreeSet<String> {
    let turns = records.as_array().into_iter().flatten().map(|record| &record["conversations"]);
    let lines = turns.flat_map(|turns| turns.as_array().into_iter().flatten());
    let lines = lines.filter_map(|turn| turn["value"].as_str()).flat_map(str::lines);
    lines.filter(|line| *line != "<image>").map(str::to_owned).collect()
}
