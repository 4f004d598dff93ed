//! The recipe's data, opened: mixture, tokenizer, and the stream of samples from a position on.

pub mod collate;
pub mod features;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xcomp_data::report::Histogram;
use xcomp_data::stream::cost::predict_frames;
use xcomp_data::{
    BadSample, BadSamplePolicy, DataError, FeatureCache, FrameOptions, IGNORE, IMAGE_TOKEN,
    LabelRule as Labels, LoadOptions, Mixture, MixtureOptions, Order as DataOrder, Position,
    Prompt, Stream, StreamOptions, Tokenizer, VisualRule, render_chat, stream,
};
use xcomp_model::base::config::ModelConfig;

use crate::error::Error;
use crate::plan::cost::SampleSize;
use crate::recipe::Recipe;
use crate::recipe::tables::{BrokenSample, LabelRule, Order};
use crate::show::progress::during;

/// What a run reads.
#[derive(Debug, Clone)]
pub struct Data {
    /// The samples.
    pub mixture: Arc<Mixture>,
    /// The language model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    options: StreamOptions,
}

/// How much of the mixture a recipe takes.
pub fn mixture_options(recipe: &Recipe) -> MixtureOptions {
    MixtureOptions {
        keep: (recipe.data.keep_start, recipe.data.keep_end),
        keep_seed: recipe.data.keep_seed,
        visuals: VisualRule::ExactlyOne,
        ..MixtureOptions::default()
    }
}

/// Samples of the recipe's mixture; `None` where it, or an annotation file that it names, is not there.
///
/// # Errors
/// If the mixture is there and cannot be used.
pub fn count(recipe: &Recipe) -> Result<Option<usize>, Error> {
    Ok(present_mixture(recipe)?.map(|mixture| mixture.len()))
}

/// The recipe's mixture, its media not looked at.
fn present_mixture(recipe: &Recipe) -> Result<Option<Mixture>, Error> {
    let path = Path::new(&recipe.data.mixture);
    if recipe.data.mixture.is_empty() || !path.exists() {
        return Ok(None);
    }
    let options = MixtureOptions { check_media: false, ..mixture_options(recipe) };
    match read_mixture(path, &options) {
        Ok(mixture) => Ok(Some(mixture)),
        Err(DataError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Samples whose text is tokenized for a survey, evenly spread.
const SURVEYED_TEXTS: usize = 256;

/// What the samples of a mixture are like, known without opening their media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// The mean sample.
    pub mean: SampleSize,
    /// The largest of each size.
    pub largest: SampleSize,
    /// Whether all frame counts are known from annotations, not assumed.
    pub frames_known: bool,
}

/// Surveys the recipe's mixture; `None` where it, an annotation file or the tokenizer is not there.
///
/// Text is counted as the prompt has it, but for the sentence on the video's length, which takes the media to write.
///
/// # Errors
/// If a file is there and cannot be used.
pub fn survey(recipe: &Recipe, config: &ModelConfig) -> Result<Option<Survey>, Error> {
    let Some(mixture) = present_mixture(recipe)? else { return Ok(None) };
    let tokenizer = Path::new(&recipe.model.tokenizer);
    if !tokenizer.exists() || mixture.records().is_empty() {
        return Ok(None);
    }
    let tokenizer = Tokenizer::from_file(tokenizer)?;
    let frames = predict_frames(&mixture, &frame_options(recipe, config), None);
    let texts = mixture.records().iter().step_by(mixture.len().div_ceil(SURVEYED_TEXTS));
    let prompts = texts
        .map(|record| render_chat(&tokenizer, &record.turns, &[], label_rule(recipe)))
        .collect::<Result<Vec<_>, _>>()?;

    let visible =
        |prompt: &Prompt| prompt.input_ids.iter().filter(|id| **id != IMAGE_TOKEN).count();
    let supervised = |prompt: &Prompt| prompt.labels.iter().filter(|l| **l != IGNORE).count();
    let (mean_frames, most_frames) = mean_and_most(frames.iter().map(|frames| frames.count));
    let (mean_text, most_text) = mean_and_most(prompts.iter().map(visible));
    let (mean_supervised, most_supervised) = mean_and_most(prompts.iter().map(supervised));
    let size = |frames, text_tokens, supervised_tokens| SampleSize {
        frames,
        text_tokens,
        supervised_tokens,
    };
    Ok(Some(Survey {
        mean: size(mean_frames, mean_text, mean_supervised),
        largest: size(most_frames, most_text, most_supervised),
        frames_known: frames.iter().all(|frames| frames.known),
    }))
}

/// The rounded mean, and the largest, of at least one count.
fn mean_and_most(counts: impl Iterator<Item = usize>) -> (usize, usize) {
    let counts = Histogram::of(counts.collect());
    (counts.mean.round() as usize, counts.max)
}

/// Which frames of a video a recipe takes.
pub fn frame_options(recipe: &Recipe, config: &ModelConfig) -> FrameOptions {
    FrameOptions {
        fps: recipe.data.fps,
        min_frames: recipe.data.min_frames,
        max_frames: recipe.data.max_frames,
        clip_frames: recipe.data.clip_frames,
        image_size: config.vision.image_size,
        ..FrameOptions::default()
    }
}

impl Data {
    /// Reads the mixture and the tokenizer; broken samples are noted in `quarantine`.
    ///
    /// # Errors
    /// If a file is missing or cannot be used.
    pub fn open(
        recipe: &Recipe,
        config: &ModelConfig,
        quarantine: Option<PathBuf>,
    ) -> Result<Self, Error> {
        if recipe.data.mixture.is_empty() {
            let message = "[data] mixture: a run needs the mixture YAML".to_owned();
            return Err(Error::Mismatch { path: recipe.path.clone(), message });
        }
        let tokenizer = Arc::new(Tokenizer::from_file(Path::new(&recipe.model.tokenizer))?);
        let mixture = load_mixture(recipe)?;
        let mut options = stream_options(recipe, config, Arc::clone(&tokenizer), quarantine);
        options.load.visuals = mixture.visuals();
        Ok(Self { mixture: Arc::new(mixture), tokenizer, options })
    }

    /// How records become samples.
    pub fn load_options(&self) -> &LoadOptions {
        &self.options.load
    }

    /// The order of samples within an epoch.
    pub fn order(&self) -> DataOrder {
        self.options.order
    }

    /// Starts to decode from a position on; samples whose features are in the cache are not decoded.
    ///
    /// # Errors
    /// If the position belongs to another mixture or seed.
    pub fn stream(
        &self,
        from: Position,
        features: Option<Arc<FeatureCache>>,
    ) -> Result<Stream, Error> {
        let load = LoadOptions { features, ..self.options.load.clone() };
        let options = StreamOptions { load, ..self.options.clone() };
        Ok(stream(Arc::clone(&self.mixture), options, from)?)
    }

    /// Every sample once, in the order of the mixture; broken ones are left out.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn pass(&self, features: Option<Arc<FeatureCache>>) -> Result<Stream, Error> {
        let options = StreamOptions {
            load: LoadOptions { features, ..self.options.load.clone() },
            order: DataOrder::Sequential,
            epochs: Some(1),
            bad: BadSample {
                policy: BadSamplePolicy::Skip,
                max_in_a_row: u64::MAX,
                max_fraction: 1.0,
                ..self.options.bad.clone()
            },
            step_samples: 1,
            ..self.options.clone()
        };
        Ok(stream(Arc::clone(&self.mixture), options, Position::start())?)
    }
}

/// The mixture; media may be gone where their features can be kept, and each sample says so when it is read.
fn load_mixture(recipe: &Recipe) -> Result<Mixture, Error> {
    let (path, options) = (Path::new(&recipe.data.mixture), mixture_options(recipe));
    match read_mixture(path, &options) {
        Err(DataError::MissingMedia { .. }) if Path::new(&recipe.data.feature_cache).is_dir() => {
            Ok(read_mixture(path, &MixtureOptions { check_media: false, ..options })?)
        }
        loaded => Ok(loaded?),
    }
}

fn read_mixture(path: &Path, options: &MixtureOptions) -> Result<Mixture, DataError> {
    during("reading the mixture", || Mixture::load(path, options))
}

/// Which tokens carry loss.
fn label_rule(recipe: &Recipe) -> Labels {
    match recipe.tune.labels {
        LabelRule::Reference => Labels::Reference,
        LabelRule::Answers => Labels::Answers,
    }
}

fn stream_options(
    recipe: &Recipe,
    config: &ModelConfig,
    tokenizer: Arc<Tokenizer>,
    quarantine: Option<PathBuf>,
) -> StreamOptions {
    let data = &recipe.data;
    let load = LoadOptions {
        frames: frame_options(recipe, config),
        labels: label_rule(recipe),
        ..LoadOptions::new(tokenizer)
    };
    let step = recipe.train.per_device_batch_size * recipe.train.gradient_accumulation_steps;
    StreamOptions {
        order: match data.order {
            Order::Grouped => DataOrder::Blocks(step),
            Order::Shuffled => DataOrder::Shuffled,
            Order::Listed => DataOrder::Sequential,
        },
        workers: data.workers,
        queue_bytes: (data.prefetch_mib as usize) << 20,
        bad: BadSample {
            policy: match data.on_broken {
                BrokenSample::Neighbour => BadSamplePolicy::Neighbour,
                BrokenSample::Skip => BadSamplePolicy::Skip,
                BrokenSample::Stop => BadSamplePolicy::Fail,
            },
            max_fraction: data.max_broken_share,
            quarantine,
            ..BadSample::default()
        },
        step_samples: step,
        drop_last: true,
        ..StreamOptions::new(load, recipe.train.seed)
    }
}
