//! What decides the last bits of a run's numbers beside its identity: it may change from start to start, and is written down.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::machine::device::kind;
use crate::machine::files::read_text;
use crate::plan::Plan;
use crate::train::checkpoint::Saved;

/// Where a run ran, in its folder.
pub const ENVIRONMENT: &str = "env.json";
/// Version of the numbers of a step: raise it with every change of the code that moves one of their bits.
const NUMERICS: u32 = 2;

/// What a start of a run computes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footing {
    /// Its first step follows on this one.
    pub after_step: usize,
    /// The kind of its device.
    pub device: String,
    /// The version of the code's numbers.
    pub numerics: u32,
    /// Whether activations are computed again on the way back.
    pub recompute: bool,
}

/// Every start of a run that computed in another way than the one before it; kept in `env.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footings {
    footings: Vec<Footing>,
}

impl Footing {
    /// That of a start behind a checkpoint, or at the beginning.
    pub fn of(plan: &Plan, device: &Device, from: Option<&Saved>) -> Self {
        Self {
            after_step: from.map_or(0, |saved| saved.step),
            device: kind(device),
            numerics: NUMERICS,
            recompute: plan.recompute,
        }
    }

    /// What is another than before; nothing where all is the same.
    fn differences(&self, before: &Self) -> Option<String> {
        let named = [
            ("the kind of device", before.device.clone(), self.device.clone()),
            ("the version of the numbers", before.numerics.to_string(), self.numerics.to_string()),
            ("recompute", before.recompute.to_string(), self.recompute.to_string()),
        ];
        let other = named.into_iter().filter(|(_, before, now)| before != now);
        let other: Vec<String> =
            other.map(|(name, before, now)| format!("{name} was {before}, is {now}")).collect();
        (!other.is_empty()).then(|| other.join("; "))
    }
}

impl Footings {
    /// Those of the run that a checkpoint lies in; none before the first, or where an older program wrote none.
    pub fn of_run(from: Option<&Saved>) -> Self {
        let read = |run: &Path| serde_json::from_str(&read_text(&run.join(ENVIRONMENT)).ok()?).ok();
        from.and_then(|saved| read(saved.folder.parent()?)).unwrap_or_default()
    }

    /// Goes on with another start; gives what a user should know of it.
    ///
    /// Starts that are overtaken, because no checkpoint of theirs is left, count no more.
    pub fn then(mut self, now: Footing) -> (Self, Option<String>) {
        self.footings.retain(|before| before.after_step < now.after_step);
        let note = self.footings.last().and_then(|before| {
            Some(format!(
                "{}: steps after {} may differ from those of the run as it was in their last bits",
                now.differences(before)?,
                now.after_step
            ))
        });
        if note.is_some() || self.footings.is_empty() {
            self.footings.push(now);
        }
        (self, note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(after_step: usize, device: &str) -> Footing {
        Footing { after_step, device: device.into(), numerics: 1, recompute: false }
    }

    #[test]
    fn a_start_on_another_footing_is_noted_and_an_overtaken_one_forgotten() {
        let (run, note) = Footings::default().then(on(0, "cpu"));
        assert_eq!(note, None);
        let (run, note) = run.then(on(4, "cpu"));
        assert_eq!((run.footings.len(), note), (1, None));
        let (run, note) = run.then(on(6, "cuda"));
        let note = note.unwrap();
        assert!(note.starts_with("the kind of device was cpu, is cuda: steps after 6 "), "{note}");
        assert_eq!(run.footings, [on(0, "cpu"), on(6, "cuda")]);
        // Nothing was saved on the other device: the steps so far are still those of the first.
        let (run, note) = run.then(on(6, "cpu"));
        assert_eq!((run.footings, note), (vec![on(0, "cpu")], None));
    }

    #[test]
    fn every_difference_is_named() {
        let now = Footing { numerics: 2, recompute: true, ..on(3, "cuda") };
        let told = now.differences(&on(0, "cpu")).unwrap();
        assert_eq!(
            told,
            "the kind of device was cpu, is cuda; the version of the numbers was 1, is 2; recompute was false, is true"
        );
    }

    #[test]
    fn what_an_older_program_wrote_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved { step: 2, folder: folder.path().join("checkpoint-2") };
        for text in ["", "{\"device\": \"cpu\"}", "{\"footings\": 3}"] {
            std::fs::write(folder.path().join(ENVIRONMENT), text).unwrap();
            assert_eq!(Footings::of_run(Some(&saved)), Footings::default(), "{text}");
        }
        assert_eq!(Footings::of_run(None), Footings::default());
    }
}
