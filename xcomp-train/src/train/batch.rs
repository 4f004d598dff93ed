//! One micro-step: samples from the stream, through the frozen tower, to gradients.

use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use xcomp_data::{Position, Stream};
use xcomp_model::compress::layout::Arrangement;
use xcomp_model::compress::vst::VstPlan;
use xcomp_model::loss::IGNORE;
use xcomp_model::splice::Prompt;
use xcomp_model::vlm::Vlm;

use crate::data::collate::{CollateError, VisualInput, collate};
use crate::data::features::{gaps, merged};
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::tapes::tapes;
use crate::recipe::tables::{BackwardWord, HeldWord};
use crate::train::apart;
use crate::train::meter::Meter;
use crate::train::optimizer::grads::NamedTensors;
use crate::train::step::{Backward, EveryLayer, Keep, MicroBatch, MicroStep, tuned};
use crate::train::windows;

/// The samples of one forward, on the host.
#[derive(Debug)]
pub(crate) struct HostBatch {
    /// Dataset of the first sample.
    pub(crate) source: Arc<str>,
    /// Id of each sample.
    pub(crate) ids: Vec<String>,
    prompts: Vec<Prompt>,
    /// What each sample shows.
    visuals: Vec<Vec<VisualInput>>,
    /// Where each sample stands in the run.
    places: Vec<Place>,
}

/// A sample's place in the run: what is drawn for it follows from it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) source: Arc<str>,
    /// Frames of each of its images and videos.
    pub(crate) frames: Vec<usize>,
    /// Samples of the run before it, whichever rank takes them.
    pub(crate) number: u64,
    /// The share of the run behind it.
    pub(crate) progress: f64,
}

/// Similarities of consecutive frames of each image and video of a sample, where they are looked at.
pub(crate) type Gaps = Vec<Vec<f64>>;

/// How a sample is read in windows, if the model does.
pub(crate) fn windows(
    plan: &Plan,
    prompt: &Prompt,
    place: &Place,
    gaps: &Gaps,
) -> Result<Option<VstPlan>, CollateError> {
    let Some(windows) = &plan.vst else { return Ok(None) };
    let sequence = prompt.layout(&place.frames, plan.config.connector.span_shape());
    windows.of(&sequence, gaps, place.number, place.progress).map(Some).map_err(|error| {
        let (id, origin) = (place.id.clone(), place.source.to_string());
        CollateError::Windows { id, origin, error }
    })
}

/// Takes the next samples off the stream and moves the position behind them.
///
/// `number` is that of the first of them among all samples of the run, whichever rank takes it: what is drawn for a sample follows from it.
pub(crate) fn load_micro_batch(
    plan: &Plan,
    examples: &mut Stream,
    meter: &mut Meter,
    number: u64,
    position: &mut Position,
) -> Result<HostBatch, Error> {
    let mut batch = HostBatch {
        source: "".into(),
        ids: vec![],
        prompts: vec![],
        visuals: vec![],
        places: vec![],
    };
    let mut sizes = vec![];
    for number in (number..).take(plan.recipe.train.per_device_batch_size) {
        let asked = Instant::now();
        let next = examples.next();
        meter.waited(asked.elapsed().as_secs_f64());
        let (example, after) = next.ok_or(Error::OutOfData)??;

        let (source, id) = (Arc::clone(&example.source), example.id.clone());
        batch.ids.push(id.clone());
        let frames = example.frame_count();
        if example.limited {
            meter.limited();
        }
        let shown: Vec<usize> =
            example.visuals.iter().map(|visual| visual.choice.indices.len()).collect();
        let (prompt, visuals) = collate(example, plan.recipe.data.clip_frames)?;
        let progress = number as f64 / (plan.steps * plan.samples_per_step()) as f64;
        if batch.places.is_empty() {
            batch.source = Arc::clone(&source);
        }
        batch.places.push(Place { id, source, frames: shown, number, progress });
        let size = SampleSize {
            frames,
            text_tokens: prompt.text_tokens(),
            supervised_tokens: prompt.labels.iter().filter(|label| **label != IGNORE).count(),
        };
        sizes.push(size);
        batch.prompts.push(prompt);
        batch.visuals.push(visuals);
        *position = after;
    }
    meter.count(plan, sizes);
    Ok(batch)
}

/// Frames through the tower, or features from the cache; then windows, which may end where frames differ.
///
/// # Errors
/// If a sample does not fit windows.
pub(crate) fn encode(
    plan: &Plan,
    model: &Vlm,
    batch: HostBatch,
    device: &Device,
    meter: &mut Meter,
) -> Result<MicroBatch, CollateError> {
    let of_cache = |visual: &VisualInput| matches!(visual, VisualInput::Features(_));
    let is_cached = |own: &&Vec<VisualInput>| !own.is_empty() && own.iter().all(of_cache);
    let (begun, cached) = (Instant::now(), batch.visuals.iter().filter(is_cached).count());
    let (mut micro, gaps) = seen(plan, model, batch.prompts, batch.visuals, device);
    micro.number = batch.places.first().map(|place| place.number);
    for ((prompt, place), gaps) in micro.prompts.iter().zip(&batch.places).zip(&gaps) {
        micro.windows.extend(windows(plan, prompt, place, gaps)?);
    }
    meter.encoded(begun.elapsed().as_secs_f64(), cached);
    Ok(micro)
}

/// Prompts and what each shows; a tuned tower leaves a tape, or, with `recompute`, the pixels to run again. Windows are not yet known.
pub(crate) fn seen(
    plan: &Plan,
    model: &Vlm,
    prompts: Vec<Prompt>,
    visuals: Vec<Vec<VisualInput>>,
    device: &Device,
) -> (MicroBatch, Vec<Gaps>) {
    let in_windows = plan.vst.as_ref().is_some_and(|vst| vst.backward == BackwardWord::Windows);
    let replayed = (plan.recompute || in_windows) && tuned(&model.vision);
    let pixels = |visual: &VisualInput| match visual {
        VisualInput::Clips(clips, _) => Some(clips.clone()),
        VisualInput::Features(_) => None,
    };
    let of_sample = |own: &Vec<VisualInput>| own.iter().filter_map(pixels).collect();
    let replay = if replayed { visuals.iter().map(of_sample).collect() } else { vec![] };
    let plain = replayed.then(|| model.valid());
    let model = plain.as_ref().unwrap_or(model);
    if in_windows && replayed {
        // Every window runs the tower over its own frames.
        let own = |own: &Vec<VisualInput>| {
            own.iter().map(|visual| gaps(plan, model, visual, device)).collect()
        };
        let gaps = visuals.iter().map(own).collect();
        let merged = vec![vec![]; prompts.len()];
        let (windows, arrangement) = (vec![], Arrangement::Padded);
        return (MicroBatch { prompts, merged, replay, windows, number: None, arrangement }, gaps);
    }
    let encoded = |own: Vec<VisualInput>| {
        own.into_iter().map(|visual| merged(plan, model, visual, device)).unzip()
    };
    let (merged, gaps) = visuals.into_iter().map(encoded).unzip();
    let arrangement = plan.arrangement();
    (MicroBatch { prompts, merged, replay, windows: vec![], number: None, arrangement }, gaps)
}

/// Forward and backward of what is trained, behind the tower.
pub(crate) fn backward(plan: &Plan, model: &Vlm, micro: MicroBatch) -> MicroStep {
    let mut early = NamedTensors::default();
    let done = backward_giving(plan, model, micro, &mut |grads| early.add(grads));
    MicroStep { grads: NamedTensors::sum(early, done.grads), ..done }
}

/// As [`backward`], but gradients that nothing will be added to are given away as soon as they are there, those of each layer together.
pub(crate) fn backward_giving(
    plan: &Plan,
    model: &Vlm,
    micro: MicroBatch,
    give: &mut dyn FnMut(NamedTensors),
) -> MicroStep {
    let norm = plan.loss_norm();
    if plan.running.apart && micro.prompts.len() > 1 {
        let counts = tapes(&plan.config, micro.taped());
        return apart::each(model, micro.split(&counts), |model, part| {
            let dropping = dropping(plan, model, part.number);
            Keep.run(dropping.as_ref().unwrap_or(model), part, &plan.compression, norm)
        });
    }
    let dropping = dropping(plan, model, micro.number);
    let model = dropping.as_ref().unwrap_or(model);
    let mut run = |model: &Vlm, micro: MicroBatch| match &plan.vst {
        None if plan.recompute => {
            EveryLayer.run_giving(model, micro, &plan.compression, norm, &mut *give)
        }
        None => Keep.run(model, micro, &plan.compression, norm),
        Some(vst) if vst.backward == BackwardWord::Tape => windows::on_one_tape(model, micro, norm),
        Some(_) => windows::run(model, micro, plan.encoding(), norm),
    };
    if silent_projector(plan, &micro) {
        let (mut model, mut micro) = (model.clone(), micro);
        model.connector = model.connector.valid();
        if tuned(&model.vision) {
            model.vision = model.vision.valid(); // what is before the projector learns no more than it
            if micro.replay.is_empty() {
                let plain = |own: Vec<Tensor<3>>| own.into_iter().map(Tensor::inner).collect();
                micro.merged = micro.merged.into_iter().map(plain).collect();
            }
            micro.replay.clear();
        }
        return run(&model, micro);
    }
    run(model, micro)
}

/// The model whose adapters drop inputs of the sample with this number; nothing if they do not.
fn dropping(plan: &Plan, model: &Vlm, number: Option<u64>) -> Option<Vlm> {
    let number = number.filter(|_| plan.running.drops)?;
    let mut model = model.clone();
    for map in model.maps() {
        if let Some(lora) = &mut map.linear.lora {
            lora.dropout = plan.dropout(number, &map.name);
        }
    }
    Some(model)
}

/// Whether this batch gives the projector no gradient: the released code, for a video of so many frames, alone in its batch (`llava_arch.py:454-466`).
fn silent_projector(plan: &Plan, micro: &MicroBatch) -> bool {
    let Some(limit) = plan.recipe.tune.projector_gradient_below_frames else { return false };
    let [own] = micro.merged.as_slice() else { return false };
    let [merged] = own.as_slice() else { return false };
    let [clips, tokens, _] = merged.dims();
    clips * tokens / plan.config.connector.cached_tokens_per_frame() >= limit
}

/// Adds the gradients of a micro-step in the recipe's format.
pub(crate) fn sum_gradients(plan: &Plan, sum: &mut NamedTensors, micro: NamedTensors) {
    match plan.recipe.train.accumulate_dtype {
        HeldWord::F32 | HeldWord::Auto => sum.add(micro),
        HeldWord::Bf16 => sum.add_rounded(micro),
    }
}
