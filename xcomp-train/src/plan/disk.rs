//! Room that a run takes on disk: checkpoints as they come and go, and the export behind the last.

use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::cost::parameters::{PartCount, tensors};
use crate::recipe::tables::FloatWord;

/// Bytes of tensors in one file of an export; above it, shards with an index are written.
pub const EXPORT_FILE_BYTES: u64 = 5_000_000_000;

/// Bytes of what a run leaves on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// One checkpoint.
    pub checkpoint: u64,
    /// Of which moments.
    pub moments: u64,
    /// The export.
    pub export: u64,
}

/// The checkpoints of what is left of a run, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoints {
    /// On disk when it starts.
    pub present: usize,
    /// Most at the same time, while one is written and none is removed for it yet.
    pub most: usize,
    /// At the end.
    pub left: usize,
}

impl Checkpoints {
    /// Counts them for `saves` saves, of which the newest `limit` stay; 0 keeps all.
    fn count(present: usize, saves: usize, limit: usize) -> Self {
        let stay = |count: usize| if limit == 0 { count } else { count.min(limit) };
        let before_last = if saves > 1 { stay(present + saves - 1) } else { present };
        let first = present + usize::from(saves > 0);
        let most = first.max(before_last + usize::from(saves > 0));
        let left = if saves > 0 { stay(present + saves) } else { present };
        Self { present, most, left }
    }

    /// Bytes that they and an export take at most beside those of the checkpoints that are there.
    pub fn bytes(self, sizes: Sizes) -> u64 {
        let saving = self.most as u64 * sizes.checkpoint;
        let exporting = self.left as u64 * sizes.checkpoint + sizes.export;
        saving.max(exporting).saturating_sub(self.present as u64 * sizes.checkpoint)
    }
}

impl Plan {
    /// Bytes of tensors in a checkpoint and in an export.
    pub fn sizes_on_disk(&self) -> Sizes {
        let value = if self.recipe.checkpoint.export_dtype == FloatWord::F32 { 4 } else { 2 };
        let tuned = tensors(&self.config).into_iter().filter(|tensor| tensor.moves(&self.tuning));
        let saved = tuned.map(|tensor| self.running.held.saved(&tensor));
        let (weights, moments) = saved.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let moments = if self.recipe.checkpoint.moments { moments } else { 0 };
        Sizes { checkpoint: weights + moments, moments, export: export_bytes(&self.counts, value) }
    }

    /// Bytes on the host beside the device's: frames of samples of this size that wait, and a tensor on its way to the disk.
    pub fn host_bytes(&self, size: SampleSize) -> u64 {
        let tuned = tensors(&self.config).into_iter().filter(|tensor| self.tunes(&tensor.name));
        let largest = tuned.map(|tensor| tensor.count).max().unwrap_or(0);
        // As it was read, and as it is written.
        let saved = 2 * 4 * largest;
        let data = &self.recipe.data;
        let side = self.config.vision.image_size as u64;
        let sample = (size.frames as u64 * 3 * side * side).max(1);
        let waiting = (data.workers * xcomp_data::stream::WAITING_PER_WORKER) as u64;
        // Whole samples wait, and one always may.
        sample * waiting.min((data.prefetch_mib << 20) / sample).max(1) + saved
    }

    /// The checkpoints of the steps behind `step`, where `present` are on disk.
    pub fn checkpoints_behind(&self, step: usize, present: usize) -> Checkpoints {
        let table = &self.recipe.checkpoint;
        let limit = match table.save_total_limit {
            0 => 0,
            limit => limit + usize::from(table.keep_best),
        };
        Checkpoints::count(present, self.saves_behind(step), limit)
    }

    /// Saves behind `step`: every `save_steps`, and the last step's.
    fn saves_behind(&self, step: usize) -> usize {
        if step >= self.steps {
            return 0;
        }
        match self.recipe.checkpoint.save_steps {
            0 => 1,
            every => self.steps.div_ceil(every) - step / every,
        }
    }
}

/// Bytes on disk of an export: every weight.
fn export_bytes(counts: &[PartCount], bytes_per_value: u64) -> u64 {
    counts.iter().map(|count| bytes_per_value * (count.tuned + count.frozen)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the saves one by one.
    fn played(present: usize, saves: usize, limit: usize) -> Checkpoints {
        let (mut most, mut now) = (present, present);
        for _ in 0..saves {
            now += 1;
            most = most.max(now);
            now = if limit == 0 { now } else { now.min(limit) };
        }
        Checkpoints { present, most, left: now }
    }

    #[test]
    fn counts_are_those_of_the_saves_played_one_by_one() {
        for present in 0..6 {
            for saves in 0..8 {
                for limit in 0..5 {
                    let counted = Checkpoints::count(present, saves, limit);
                    assert_eq!(counted, played(present, saves, limit), "{present} {saves} {limit}");
                }
            }
        }
    }

    #[test]
    fn a_resume_counts_only_what_comes_to_what_is_there() {
        let sizes = Sizes { checkpoint: 100, moments: 60, export: 30 };
        let bytes = |present, saves, limit| Checkpoints::count(present, saves, limit).bytes(sizes);
        assert_eq!(bytes(0, 1, 1), 130, "the only checkpoint, then the export");
        assert_eq!(bytes(0, 9, 1), 200, "a second one before the first goes");
        assert_eq!(bytes(1, 8, 1), 100, "the first is there already");
        assert_eq!(bytes(3, 8, 1), 100, "more than stay: room for one");
        assert_eq!(bytes(2, 5, 0), 530, "all stay");
        assert_eq!(bytes(1, 0, 1), 30, "only the export");
    }
}
