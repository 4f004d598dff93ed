//! A line of `metrics.jsonl`: one flat object, so that any reader of JSON lines makes a table of it without code.
//!
//! `kind` says whether it is of a step (`train`) or of held-out samples (`eval`); what is known by dataset has a column for each,
//! `loss/NAME` and `eval_loss/NAME`. Lines of older runs have objects in their place.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::run::name::RunName;
use crate::train::held_out::HeldOut;
use crate::train::meter::Record;

/// What has one number for each dataset: the field of the record, and what its columns begin with.
const BY_DATASET: [(&str, &str); 2] = [("sources", "loss/"), ("eval_sources", "eval_loss/")];

/// A line as it is written.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Written(Map<String, Value>);

impl Written {
    /// That of a step.
    pub(super) fn step(run: &RunName, record: &Record) -> Self {
        Self::of("train", run, record)
    }

    /// That of held-out samples.
    pub(super) fn held_out(run: &RunName, held_out: &HeldOut) -> Self {
        Self::of("eval", run, held_out)
    }

    fn of(kind: &str, run: &RunName, fields: &impl Serialize) -> Self {
        let mut line =
            Map::from_iter([("kind".to_owned(), json!(kind)), ("run".to_owned(), json!(run.name))]);
        if !run.tags.is_empty() {
            line.insert("tags".into(), json!(run.tags.join(",")));
        }
        let fields = serde_json::to_value(fields).expect("plain data is JSON");
        for (name, value) in fields.as_object().into_iter().flatten() {
            match (BY_DATASET.iter().find(|(field, _)| field == name), value) {
                (Some((_, prefix)), Value::Object(own)) => {
                    line.extend(
                        own.iter().map(|(set, loss)| (format!("{prefix}{set}"), loss.clone())),
                    );
                }
                _ => _ = line.insert(name.clone(), value.clone()),
            }
        }
        Self(line)
    }
}

/// A line as it is read.
#[derive(Debug)]
pub(super) enum Line {
    /// Of a step.
    Step(Box<Record>),
    /// Of held-out samples.
    HeldOut(HeldOut),
}

/// A line whose columns by dataset are objects again.
#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Step(Box<Record>),
    HeldOut(HeldOut),
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let nested = nested(Map::deserialize(from)?);
        Ok(match serde_json::from_value(nested).map_err(D::Error::custom)? {
            Nested::Step(record) => Self::Step(record),
            Nested::HeldOut(held_out) => Self::HeldOut(held_out),
        })
    }
}

fn nested(line: Map<String, Value>) -> Value {
    let is_eval = line.contains_key("eval_loss");
    let (field, prefix) = BY_DATASET[usize::from(is_eval)];
    let (mut own, mut fields) = (Map::new(), Map::new());
    for (name, value) in line {
        match name.strip_prefix(prefix) {
            Some(set) => own.insert(set.to_owned(), value),
            None => fields.insert(name, value),
        };
    }
    fields.entry(field).or_insert(Value::Object(own));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"{"step": 1, "loss": 2.5, "grad_norm": 1.0, "learning_rate": 0.1, "lr_used": 0.0, "epoch": 0.5,
        "samples": 1, "frames": 8, "tokens_in": 128, "tokens_mean": 66.0, "step_s": 1.0, "data_wait_pct": 0.0,
        "samples_per_sec": 1.0, "frames_per_sec": 8.0, "tokens_per_sec": 128.0, "mfu_pct": null, "peak_gib": 0.1,
        "sources": {"a/b": "NaN", "c": 2.0}}"#;
    const HELD_OUT: &str = r#"{"step": 1, "eval_loss": 2.5, "eval_samples": 3, "eval_left_out": 0, "eval_s": 1.0,
        "eval_sources": {"a": 2.5}}"#;

    fn run() -> RunName {
        RunName { name: "mine".into(), tags: vec!["a".into(), "b".into()] }
    }

    #[test]
    fn a_line_is_flat_and_read_as_it_was() {
        let record = match serde_json::from_str(STEP).unwrap() {
            Line::Step(record) => record,
            Line::HeldOut(_) => panic!("a step was read as held-out samples"),
        };
        let text = serde_json::to_string(&Written::step(&run(), &record)).unwrap();
        assert!(
            text.starts_with(r#"{"kind":"train","run":"mine","tags":"a,b","step":1,"#),
            "{text}"
        );
        assert!(text.ends_with(r#""loss/a/b":"NaN","loss/c":2.0}"#), "{text}");
        let Line::Step(again) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(format!("{again:?}"), format!("{record:?}"));
    }

    #[test]
    fn held_out_losses_are_a_kind_of_their_own() {
        let Line::HeldOut(held_out) = serde_json::from_str(HELD_OUT).unwrap() else {
            panic!("held-out samples were read as a step")
        };
        let text = serde_json::to_string(&Written::held_out(&run(), &held_out)).unwrap();
        assert!(text.starts_with(r#"{"kind":"eval""#) && text.contains(r#""eval_loss/a":2.5"#));
        assert!(!text[1..].contains('{'), "{text}");
        let Line::HeldOut(again) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(again, held_out);
    }
}
