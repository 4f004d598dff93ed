//! Samples that are looked at one by one, and not trained on.

use std::sync::Arc;

use burn::tensor::Device;
use xcomp_data::mixture::annotation::Record;
use xcomp_data::{LoadOptions, load_example};
use xcomp_model::loss::IGNORE;
use xcomp_model::vlm::Vlm;

use crate::data::collate::collate;
use crate::data::features::merged;
use crate::error::Error;
use crate::plan::Plan;
use crate::train::batch::{Place, windows};
use crate::train::step::MicroBatch;

/// One sample behind the tower.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Its dataset.
    pub(crate) source: Arc<str>,
    /// Its id in the annotation.
    pub(crate) id: String,
    /// Its frames; a picture is one.
    pub(crate) frames: usize,
    /// Itself alone.
    pub(crate) batch: MicroBatch,
}

/// Up to `wanted` of the numbers below `all`, evenly spread, ascending.
pub(crate) fn evenly(wanted: usize, all: usize) -> Vec<usize> {
    let count = wanted.min(all);
    (0..count).map(|at| at * all / count).collect()
}

/// Reads a record, the whole of it or in windows of the run's last ratios, and runs the tower over it unless its features are kept.
pub(crate) fn load(
    plan: &Plan,
    model: &Vlm,
    record: &Record,
    index: usize,
    options: &LoadOptions,
    device: &Device,
) -> Result<Sample, Error> {
    let example = load_example(record, index, options)?;
    let (source, id) = (Arc::clone(&example.source), example.id.clone());
    let frames = example.frame_count();
    let shown: Vec<usize> =
        example.visuals.iter().map(|visual| visual.choice.indices.len()).collect();
    let (prompt, seen) = collate(example, plan.recipe.data.clip_frames)?;
    if prompt.labels.iter().skip(1).all(|label| *label == IGNORE) {
        return Err(Error::Argument(format!("sample {id} of {source} has no token with a loss")));
    }
    let (merged, gaps) = seen.into_iter().map(|seen| merged(plan, model, seen, device)).unzip();
    let place = Place { id, source, frames: shown, number: index as u64, progress: 1.0 };
    let windows = windows(plan, &prompt, &place, &gaps)?;
    let Place { id, source, .. } = place;
    let batch = MicroBatch {
        prompts: vec![prompt],
        merged: vec![merged],
        replay: vec![],
        windows: windows.into_iter().collect(),
        number: None,
    };
    Ok(Sample { source, id, frames, batch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_numbers_spread_over_all() {
        assert_eq!(evenly(4, 10), [0, 2, 5, 7]);
        assert_eq!(evenly(9, 3), [0, 1, 2]);
        assert!(evenly(0, 3).is_empty() && evenly(3, 0).is_empty());
    }
}
