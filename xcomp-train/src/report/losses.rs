//! Losses of the samples: over all, by dataset, by number of frames.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::eval::statistics::estimate;

/// The loss of one sample: the mean over its supervised tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleLoss {
    /// Its id in the annotation.
    pub id: String,
    /// Its dataset.
    pub source: String,
    /// Its frames; a picture is one.
    pub frames: usize,
    /// Its loss.
    pub loss: f64,
}

/// A mean over samples, each counted the same, with its 95 % interval from drawing samples again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Samples.
    pub samples: usize,
}

/// Samples that have something in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupRow {
    /// What they have in common.
    pub name: String,
    /// Their loss.
    pub loss: Mean,
}

/// The mean of values by sample id; `None` if there is none.
pub fn mean_of<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> Option<Mean> {
    let found = estimate(values)?;
    let (mean, low, high) = (found.mean, found.low, found.high);
    Some(Mean { mean, low, high, samples: found.questions })
}

/// The loss of each dataset, by name.
pub fn by_source(losses: &[SampleLoss]) -> Vec<GroupRow> {
    grouped(losses, |loss| loss.source.clone(), String::clone)
}

/// The loss by number of frames; ranges end at powers of two.
pub fn by_frames(losses: &[SampleLoss]) -> Vec<GroupRow> {
    let name = |most: &usize| match most / 2 + 1 {
        least if least >= *most => most.to_string(),
        least => format!("{least} to {most}"),
    };
    grouped(losses, |loss| loss.frames.next_power_of_two(), name)
}

fn grouped<K: Ord>(
    losses: &[SampleLoss],
    key: impl Fn(&SampleLoss) -> K,
    name: impl Fn(&K) -> String,
) -> Vec<GroupRow> {
    let mut groups: BTreeMap<K, Vec<(&str, f64)>> = BTreeMap::new();
    for loss in losses {
        groups.entry(key(loss)).or_default().push((&loss.id, loss.loss));
    }
    let row = |(key, values): (&K, Vec<(&str, f64)>)| {
        mean_of(values).map(|loss| GroupRow { name: name(key), loss })
    };
    groups.iter().filter_map(|(key, values)| row((key, values.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: &str, frames: usize, loss: f64) -> SampleLoss {
        SampleLoss { id: format!("{source} {frames}"), source: source.into(), frames, loss }
    }

    #[test]
    fn samples_are_grouped_by_dataset_and_by_frames() {
        let losses =
            [sample("b", 1, 1.0), sample("a", 2, 2.0), sample("a", 9, 3.0), sample("a", 16, 5.0)];
        let shown = |rows: Vec<GroupRow>| -> Vec<(String, f64, usize)> {
            rows.into_iter().map(|row| (row.name, row.loss.mean, row.loss.samples)).collect()
        };
        let want = |name: &str, mean, samples| (name.to_owned(), mean, samples);
        let (a, b) = (want("a", 10.0 / 3.0, 3), want("b", 1.0, 1));
        assert_eq!(shown(by_source(&losses)), [a, b]);
        let frames = [want("1", 1.0, 1), want("2", 2.0, 1), want("9 to 16", 4.0, 2)];
        assert_eq!(shown(by_frames(&losses)), frames);
    }
}
