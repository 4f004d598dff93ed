//! Media that are held out of a mixture.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Mixture, hash_of};
use crate::DataError;
use crate::mixture::annotation::Record;
use crate::mixture::share::Share;

impl Mixture {
    /// Parts the samples into those that are trained on and those that are held out, each in its order.
    ///
    /// `share` is that of the media, at least one. Samples that show a medium in common, over whatever chain, stay together, so that
    /// none is on both sides; a sample without media is a medium of its own, told by its text. Media are told apart by their paths.
    /// Which ones are held out depends on their names and `seed` alone, not on where they lie.
    ///
    /// # Errors
    /// If nothing would be left to train on.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let group_of = groups(&self.records);
        let mut first = BTreeMap::new();
        for (record, group) in self.records.iter().zip(&group_of) {
            first.entry(*group).or_insert_with(|| rank(record, seed));
        }
        let mut order: Vec<_> = first.into_iter().map(|(group, rank)| (rank, group)).collect();
        order.sort_unstable();
        let count = ((share * order.len() as f64).round() as usize).max(1);
        if count >= order.len() {
            let have = order.len();
            return Err(DataError::Options(format!(
                "holding out {share} of {have} media (those that a sample shows together count as one) leaves none to train on"
            )));
        }
        order.truncate(count);
        let held: HashSet<usize> = order.into_iter().map(|(_, group)| group).collect();
        let (mut out, mut rest) = (vec![], vec![]);
        for (record, group) in self.records.iter().zip(group_of) {
            if held.contains(&group) { &mut out } else { &mut rest }.push(record.clone());
        }
        let (rest, out) = (self.with_records(rest), self.with_records(out));
        Ok((rest, Self { notes: vec![], ..out }))
    }

    /// The records of a share, in their order: samples that show a medium in common stay together.
    #[must_use]
    pub fn share(&self, share: Share) -> Self {
        let taken = share.takes(groups(&self.records));
        let records = self.records.iter().zip(taken).filter(|(_, taken)| *taken);
        self.with_records(records.map(|(record, _)| record.clone()).collect())
    }

    /// The same mixture with some of its records.
    fn with_records(&self, records: Vec<Record>) -> Self {
        Self {
            path: self.path.clone(),
            hash: hash_of(&records),
            records,
            datasets: self.datasets.clone(),
            visuals: self.visuals,
            notes: self.notes.clone(),
            left_out: self.left_out.clone(),
        }
    }

    /// How many of its media another mixture shows as well.
    pub fn media_in_common(&self, other: &Self) -> usize {
        let of = |mixture: &Self| -> HashSet<PathBuf> {
            mixture.records.iter().flat_map(Record::paths).map(|path| plain(&path)).collect()
        };
        of(self).intersection(&of(other)).count()
    }
}

/// A path without `.` and doubled separators.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// For each record the first one that it hangs together with.
fn groups(records: &[Record]) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..records.len()).collect();
    let mut seen: HashMap<PathBuf, usize> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        let own: Vec<PathBuf> = if record.media.is_empty() {
            vec![PathBuf::from(format!("{}\0{:?}", record.dataset.tag, record.turns))]
        } else {
            record.paths().map(|path| plain(&path)).collect()
        };
        for path in own {
            let other = *seen.entry(path).or_insert(at);
            let (a, b) = (root(&mut parents, at), root(&mut parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    (0..records.len()).map(|at| root(&mut parents, at)).collect()
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

/// Where a group stands in the order that is cut, by its first record.
fn rank(record: &Record, seed: u64) -> [u8; 32] {
    let shown = match record.media.first() {
        Some(file) => plain(file.path.as_ref()).to_string_lossy().into_owned(),
        None => format!("{:?}", record.turns),
    };
    Sha256::digest(format!("{seed}\0{}\0{shown}", record.dataset.tag)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixture::MixtureOptions;
    use crate::mixture::visual_rule::VisualRule;

    /// Records that show these media, by number; a record without any is told by its text.
    fn mixture(shown: &[&[usize]]) -> Mixture {
        let folder = tempfile::tempdir().unwrap();
        let record = |(at, media): (usize, &&[usize])| {
            let names: Vec<String> = media
                .iter()
                .map(|n| format!("{}m{n}.mp4", if at % 2 == 0 { "./" } else { "" }))
                .collect();
            let tags = "<image>".repeat(names.len());
            serde_json::json!({"id": at, "video": names,
                "conversations": [{"from": "human", "value": format!("{tags} {}", at / 2)}, {"from": "gpt", "value": "a"}]})
        };
        let records: Vec<_> = shown.iter().enumerate().map(record).collect();
        let text = serde_json::Value::from(records).to_string();
        std::fs::write(folder.path().join("a.json"), text).unwrap();
        let yaml = folder.path().join("m.yaml");
        std::fs::write(&yaml, "datasets:\n  - json_path: a.json\n").unwrap();
        let options = MixtureOptions {
            check_media: false,
            visuals: VisualRule::Any,
            ..MixtureOptions::default()
        };
        Mixture::load(&yaml, &options).unwrap()
    }

    fn ids(mixture: &Mixture) -> Vec<String> {
        mixture.records.iter().map(|record| record.id.clone()).collect()
    }

    #[test]
    fn no_medium_is_on_both_sides() {
        let shown: Vec<Vec<usize>> = (0..60).map(|at| vec![at % 25, (at * 7) % 40 + 25]).collect();
        let shown: Vec<&[usize]> = shown
            .iter()
            .enumerate()
            .map(|(at, media)| if at % 3 == 0 { &media[..] } else { &media[..1] })
            .collect();
        for seed in 0..20 {
            let whole = mixture(&shown);
            let order = ids(&whole);
            let (train, held) = whole.hold_out(0.2, seed).unwrap();
            assert_eq!(train.media_in_common(&held), 0);
            assert_eq!(train.len() + held.len(), 60);
            for side in [&train, &held] {
                let own: HashSet<String> = ids(side).into_iter().collect();
                let kept: Vec<_> = order.iter().filter(|id| own.contains(*id)).cloned().collect();
                assert_eq!(ids(side), kept, "the order stays");
                assert_eq!(side.hash, hash_of(&side.records));
            }
        }
    }

    #[test]
    fn the_share_is_one_of_media_and_two_questions_of_a_video_stay_together() {
        // Ten media, two questions each; `./m1.mp4` and `m1.mp4` are one.
        let shown: Vec<Vec<usize>> = (0..20).map(|at| vec![at / 2]).collect();
        let shown: Vec<&[usize]> = shown.iter().map(Vec::as_slice).collect();
        for (share, media) in [(0.3, 3), (0.001, 1), (0.9, 9)] {
            let (train, held) = mixture(&shown).hold_out(share, 42).unwrap();
            assert_eq!((train.len(), held.len()), (20 - 2 * media, 2 * media), "{share}");
        }
        let (_, once) = mixture(&shown).hold_out(0.3, 42).unwrap();
        let (_, again) = mixture(&shown).hold_out(0.3, 42).unwrap();
        let (_, other) = mixture(&shown).hold_out(0.3, 43).unwrap();
        assert_eq!(ids(&once), ids(&again), "where the folder lies decides nothing");
        assert_ne!(ids(&once), ids(&other));
    }

    #[test]
    fn samples_of_text_alone_are_told_by_their_text() {
        // Two by two the same text.
        let none: [&[usize]; 12] = [&[]; 12];
        let (train, held) = mixture(&none).hold_out(0.5, 1).unwrap();
        assert_eq!((train.len(), held.len()), (6, 6));
        let turns = |m: &Mixture| -> HashSet<String> {
            m.records.iter().map(|r| format!("{:?}", r.turns)).collect()
        };
        assert!(turns(&train).is_disjoint(&turns(&held)));
    }

    #[test]
    fn media_that_hang_together_leave_nothing_to_hold_out() {
        let error = mixture(&[&[0, 1], &[1, 2], &[2, 0]]).hold_out(0.1, 1).unwrap_err().to_string();
        assert!(error.contains("0.1 of 1 media"), "{error}");
    }
}
