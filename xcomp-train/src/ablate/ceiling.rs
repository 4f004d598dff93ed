//! What the ideal observer of a sweep's made-up world would score: the ceiling that no arm can pass.

use std::collections::BTreeMap;

use xcomp_model::base::config::ModelConfig;

use super::sweep::Sweep;
use crate::error::Error;
use crate::eval::responses::Record;

/// By task the best share of right answers behind so many frames of a clip; `None` where the questions are not those of a world.
///
/// # Errors
/// If the table of the world is wrong, or no frames are taken at its rate.
#[cfg(feature = "video")]
pub fn by_task(
    sweep: &Sweep,
    config: &ModelConfig,
    frames: usize,
) -> Result<Option<BTreeMap<String, f64>>, Error> {
    use crate::demo::scene::FPS;
    use crate::plan::survey::asked_frames;
    let Some(table) = sweep.world.as_ref().filter(|_| sweep.head.questions.is_none()) else {
        return Ok(None);
    };
    let world = super::material::mini(table)?;
    let options = asked_frames(config, frames..=frames);
    let shown = xcomp_data::frames::whole(world.frames, f64::from(FPS), &options)?;
    Ok(Some(world.ideal(&shown.indices)))
}

/// Without video there is no world.
///
/// # Errors
/// Never.
#[cfg(not(feature = "video"))]
pub fn by_task(
    _: &Sweep,
    _: &ModelConfig,
    _: usize,
) -> Result<Option<BTreeMap<String, f64>>, Error> {
    Ok(None)
}

/// The mean over questions; `None` if there is one whose task has no ceiling.
pub fn of_records(records: &[Record], by_task: &BTreeMap<String, f64>) -> Option<f64> {
    let of = |record: &Record| by_task.get(record.tasks.first()?).copied();
    let all = records.iter().map(of).collect::<Option<Vec<f64>>>()?;
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}
