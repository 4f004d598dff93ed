//! The recipe's data, opened: mixture, tokenizer, and the stream of samples from a position on.

pub mod collate;
pub mod features;
mod fits;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xcomp_data::{
    BadSample, BadSamplePolicy, DataError, FeatureCache, LoadOptions, Mixture, MixtureOptions,
    Order as DataOrder, Position, Share, Stream, StreamOptions, Tokenizer, TooLong, stream,
};
use xcomp_model::base::config::ModelConfig;

use crate::error::Error;
use crate::plan::survey::{
    frame_options, label_rule, mixture_options, parted, read_mixture, recipe_template,
};
use crate::recipe::Recipe;
use crate::recipe::tables::{BrokenSample, Order, TooLongWord};

/// What a run reads.
#[derive(Debug, Clone)]
pub struct Data {
    /// The samples.
    pub mixture: Arc<Mixture>,
    /// Samples that are held out, to be looked at in the course of the training.
    pub held_out: Option<Arc<Mixture>>,
    /// The language model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    options: StreamOptions,
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
        let tokenizer = Path::new(&recipe.model.tokenizer);
        let template = recipe_template(&recipe.model, config.family);
        let tokenizer = Arc::new(Tokenizer::open(tokenizer, &template)?);
        let (mixture, held_out) = mixtures(recipe)?;
        let held_out = held_out.map(Arc::new);
        let mut options = stream_options(recipe, config, Arc::clone(&tokenizer), quarantine);
        options.load.visuals = mixture.visuals();
        Ok(Self { mixture: Arc::new(mixture), held_out, tokenizer, options })
    }

    /// The records of a share of the mixture, for work that processes do apart.
    #[must_use]
    pub fn share(mut self, share: Option<Share>) -> Self {
        if let Some(share) = share {
            self.mixture = Arc::new(self.mixture.share(share));
        }
        self
    }

    /// The samples of one of `world` ranks, which share the lanes of a step.
    #[must_use]
    pub fn of_rank(mut self, rank: usize, world: usize) -> Self {
        (self.options.rank, self.options.world) = (rank, world);
        self
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
        let too_long = match self.options.load.too_long {
            TooLong::Stop => TooLong::Skip,
            other => other,
        };
        let options = StreamOptions {
            load: LoadOptions { features, too_long, ..self.options.load.clone() },
            order: DataOrder::Sequential,
            epochs: Some(1),
            bad: BadSample {
                policy: BadSamplePolicy::Skip,
                max_in_a_row: u64::MAX,
                max_fraction: 1.0,
                ..self.options.bad.clone()
            },
            step_samples: 1,
            rank: 0,
            world: 1,
            lanes: 1,
            ..self.options.clone()
        };
        Ok(stream(Arc::clone(&self.mixture), options, Position::start())?)
    }
}

/// What is trained on, and what is held out of it.
fn mixtures(recipe: &Recipe) -> Result<(Mixture, Option<Mixture>), Error> {
    let options = mixture_options(recipe)?;
    let whole = load_mixture(recipe, &recipe.data.mixture, &options)?;
    if recipe.data.validation_mixture.is_empty() {
        return Ok(parted(recipe, whole)?);
    }
    let all = MixtureOptions { keep: (0.0, 1.0), keep_seed: None, ..options };
    let held_out = load_mixture(recipe, &recipe.data.validation_mixture, &all)?;
    Ok((whole, Some(held_out)))
}

/// A mixture; media may be gone where their features can be kept, and each sample says so when it is read.
fn load_mixture(recipe: &Recipe, path: &str, options: &MixtureOptions) -> Result<Mixture, Error> {
    let path = Path::new(path);
    match read_mixture(path, options) {
        Err(DataError::MissingMedia { .. }) if Path::new(&recipe.data.feature_cache).is_dir() => {
            Ok(read_mixture(path, &MixtureOptions { check_media: false, ..options.clone() })?)
        }
        loaded => Ok(loaded?),
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
        template: recipe_template(&recipe.model, config.family),
        frames: frame_options(recipe, config),
        labels: label_rule(recipe),
        tokens_per_frame: config.tokens_per_frame(),
        tokens_behind_frames: config.connector.tail(),
        max_tokens: recipe.model.model_max_length,
        too_long: match data.too_long {
            TooLongWord::Skip => TooLong::Skip,
            TooLongWord::DropFrames => TooLong::DropFrames,
            TooLongWord::Stop => TooLong::Stop,
        },
        vocabulary: config.llm.vocab_size,
        fits: fits::fits(recipe, config),
        ..LoadOptions::new(tokenizer)
    };
    let step = recipe.train.per_device_batch_size * recipe.train.gradient_accumulation_steps;
    StreamOptions {
        lanes: recipe.train.lanes,
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
