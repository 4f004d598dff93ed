//! The recipe's data: the mixture and the stream of its samples.

use std::path::Path;
use std::sync::Arc;

use xcomp_data::stream::{BadSample, BadSamplePolicy, Order, Stream, StreamOptions, stream};
use xcomp_data::{
    DataError, FrameOptions, LabelRule, LoadOptions, Mixture, MixtureOptions, Position, Tokenizer,
};

use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::recipe::tables::{BrokenSample, LabelRule as LabelWord, Order as OrderWord};

/// Reads the recipe's mixture.
///
/// # Errors
/// If the YAML or an annotation file cannot be read, or nothing is left of the mixture.
pub fn mixture(recipe: &Recipe) -> Result<Mixture, DataError> {
    let data = &recipe.data;
    let options = MixtureOptions {
        keep: (data.keep_start, data.keep_end),
        keep_seed: data.keep_seed,
        ..MixtureOptions::default()
    };
    Mixture::load(Path::new(&data.mixture), &options)
}

/// Starts to read samples behind `from`.
///
/// # Errors
/// If the tokenizer cannot be read, or `from` belongs to another mixture or seed.
pub fn samples(
    plan: &Plan,
    mixture: Arc<Mixture>,
    run: &Path,
    from: Position,
) -> Result<Stream, DataError> {
    let (recipe, data) = (&plan.recipe, &plan.recipe.data);
    let step = plan.samples_per_step();
    let options = StreamOptions {
        order: match data.order {
            OrderWord::Grouped => Order::Blocks(step),
            OrderWord::Shuffled => Order::Shuffled,
            OrderWord::Listed => Order::Sequential,
        },
        workers: data.workers,
        queue_bytes: (data.prefetch_mib << 20) as usize,
        bad: BadSample {
            policy: match data.on_broken {
                BrokenSample::Neighbour => BadSamplePolicy::Neighbour,
                BrokenSample::Skip => BadSamplePolicy::Skip,
                BrokenSample::Stop => BadSamplePolicy::Fail,
            },
            max_fraction: data.max_broken_share,
            quarantine: Some(run.join("data").join("quarantine.jsonl")),
            ..BadSample::default()
        },
        step_samples: step,
        drop_last: mixture.len() >= step,
        ..StreamOptions::new(load_options(plan)?, recipe.train.seed)
    };
    stream(mixture, options, from)
}

/// How the recipe's records become samples.
///
/// # Errors
/// If the tokenizer cannot be read.
pub fn load_options(plan: &Plan) -> Result<LoadOptions, DataError> {
    let (recipe, data) = (&plan.recipe, &plan.recipe.data);
    let tokenizer = Arc::new(Tokenizer::from_file(Path::new(&recipe.model.tokenizer))?);
    Ok(LoadOptions {
        frames: FrameOptions {
            fps: data.fps,
            min_frames: data.min_frames,
            max_frames: data.max_frames,
            clip_frames: data.clip_frames,
            image_size: plan.config.vision.image_size,
            ..FrameOptions::default()
        },
        labels: match recipe.tune.labels {
            LabelWord::Reference => LabelRule::Reference,
            LabelWord::Answers => LabelRule::Answers,
        },
        ..LoadOptions::new(tokenizer)
    })
}
