//! A tuned checkpoint that answers questions about videos.

pub mod asking;
pub mod clips;
mod generation_config;
pub mod precision;
mod prefill;
pub mod select;
mod stated;
pub mod text_stream;
mod windows;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use burn::tensor::{Device, Tensor};
use xcomp_data::{
    Choice, FeatureCache, Features, FrameOptions, Frames, Limits, Media, Template, TimeMessage,
    Tokenizer,
};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::generate::sample::{Sampling, best};
use xcomp_model::transfer::read;
use xcomp_model::vision::frames::{Clips, Encoding};
use xcomp_model::vlm::{Encoded, Vlm};

pub use self::clips::EncodedMedia;
use self::clips::{EncodedClips, HeldClips};
use self::generation_config::Generation;
use self::precision::Precision;
use self::stated::{compression_of, folder_template, windows_of};
use self::text_stream::GrowingText;
use crate::data::features::{Stored, Tower, encoded};
use crate::error::Error;
use crate::machine::random::Random;
use crate::plan::cut::Ends;
use crate::plan::survey::{asked_frames, frame_style};
use crate::plan::{compression_plan, model_config};
use crate::recipe::tables::DataTable;
use crate::show::progress::during;

/// Seconds that reading one video may take where a person waits for it; videos of many hours are welcome.
const PATIENCE_S: f64 = 86_400.0;

/// What reading a video may cost when it is asked about; training gives up sooner.
pub fn patient_limits() -> Limits {
    Limits { max_seconds: PATIENCE_S, ..Limits::default() }
}

/// A model with its tokenizer and compression, ready to answer.
pub struct Answerer {
    model: Vlm,
    config: ModelConfig,
    compression: CompressionPlan,
    template: Template,
    /// Visual tokens for each learned one, if videos are read in windows.
    ratio: Option<usize>,
    /// Where their windows end.
    ends: Ends,
    tokenizer: Arc<Tokenizer>,
    generation: Generation,
    device: Device,
    precision: Precision,
    prefills: AtomicUsize,
}

/// How an answer is written.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerOptions {
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// Strings that end it and are no part of it.
    pub stop: Vec<String>,
    /// How each token is drawn.
    pub sampling: Sampling,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self { max_new_tokens: 64, stop: vec![], sampling: Sampling::GREEDY, seed: 0 }
    }
}

impl Answerer {
    /// Loads an exported folder; a folder without a compression block answers without compression.
    ///
    /// # Errors
    /// If configuration, weights or tokenizer cannot be used.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        Self::open_as(folder, None, Precision::of(device), device)
    }

    /// As [`Answerer::open`], with another number of frames in a clip than `config.json` states, and in this precision.
    ///
    /// The released model was tuned with clips of 8 frames and is evaluated with clips of 4.
    ///
    /// # Errors
    /// As [`Answerer::open`].
    pub fn open_as(
        folder: &Path,
        clip_frames: Option<usize>,
        precision: Precision,
        device: &Device,
    ) -> Result<Self, Error> {
        precision.require(device)?;
        let path = folder.join("config.json");
        let table = compression_of(&path)?;
        let mut config = model_config(&path, &table)?;
        if let Some(frames) = clip_frames {
            config.vision.clip_frames = frames;
        }
        let compression = compression_plan(&table, &config, &path)?;
        let ends = windows_of(&path)?;
        let template = folder_template(&path, config.family)?;
        let tokenizer = Arc::new(Tokenizer::open(&folder.join("tokenizer.json"), &template)?);
        let generation = Generation::of(folder, &tokenizer)?;
        let device = device.clone().inner();
        let mut model = Vlm::new(&config, &device);
        let stored = model.stored_weights(folder)?;
        during("loading the weights", || model.take_weights(&stored, precision.held()))?;
        let answerer = Self {
            model,
            config,
            compression,
            template,
            ratio: None,
            ends: Ends::Nowhere,
            tokenizer,
            generation,
            device,
            precision,
            prefills: AtomicUsize::new(0),
        };
        Ok(answerer.ending(ends))
    }

    /// The same model, answering under another compression: an untuned model under LP-Comp, say.
    #[must_use]
    pub fn with_compression(self, compression: CompressionPlan) -> Self {
        Self { compression, ..self }
    }

    /// In which dtype it is held and computes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    fn encoding(&self) -> Encoding {
        self.precision.encoding(&self.device)
    }

    /// How its prompts are written.
    fn template(&self) -> &Template {
        &self.template
    }

    /// The model.
    pub fn model(&self) -> &Vlm {
        &self.model
    }

    /// Sizes of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How tokens are drawn by the folder's `generation_config.json`.
    pub fn sampling(&self) -> &Sampling {
        &self.generation.sampling
    }

    /// Tokens of a frame in every layer.
    pub fn compression(&self) -> &CompressionPlan {
        &self.compression
    }

    /// The frame choice of the reference's evaluation: repeats frames of short videos up to `min_frames`.
    pub fn frame_options(&self, frames: std::ops::RangeInclusive<usize>) -> FrameOptions {
        asked_frames(&self.config, frames)
    }

    /// What its prompts say of a video.
    pub fn time_message(&self) -> TimeMessage {
        frame_style(self.config.family).time_message
    }

    /// The cache that the table names for this model's tower, if it names one; features are kept as they are.
    ///
    /// # Errors
    /// If its folder cannot be used.
    pub fn feature_cache(&self, data: &DataTable) -> Result<Option<Arc<FeatureCache>>, Error> {
        let (encoding, stored) = (self.encoding(), Stored::F32);
        let (model, config, device) = (&self.model, &self.config, &self.device);
        let class = self.cut().is_some();
        Tower { model, config, encoding, stored, class, device }.open_cache(data)
    }

    /// The clips of a video, encoded as they are asked for; `held` are those of the same frames from before.
    pub fn clips<'a>(&'a self, frames: &'a Frames, held: HeldClips) -> EncodedClips<'a> {
        let encode = |clips: &Clips| self.encode(clips);
        EncodedClips::new(frames, self.config.vision.clip_frames, held, Box::new(encode))
    }

    /// Kept features of so many frames, clip by clip.
    pub(crate) fn held(&self, features: Features, frames: usize) -> HeldClips {
        let encoded =
            encoded(features, self.config.vision.hidden_size, self.encoding().dtype, &self.device);
        let clips = encoded.features.dims()[0];
        let length = frames / clips;
        let clip = |at: usize| {
            let numbers: Vec<usize> = (at * length..(at + 1) * length).collect();
            (numbers, encoded.clips(at..at + 1))
        };
        HeldClips::of((0..clips).map(clip))
    }

    /// Runs the tower over frames.
    ///
    /// # Errors
    /// If they do not make whole clips.
    pub fn see(
        &self,
        frames: Frames,
        choice: &Choice,
        media: Media,
    ) -> Result<EncodedMedia, Error> {
        let (count, size, clip) = (frames.count, frames.size, self.config.vision.clip_frames);
        let (clips, message) = match media {
            Media::Image => (Clips::video(frames.pixels, count, size, 1), String::new()),
            Media::Video => (
                Clips::video(frames.pixels, count, size, clip),
                choice.message(self.time_message()),
            ),
        };
        let wrong = || {
            Error::Argument(format!(
                "{count} frames do not make whole clips of {clip}; ask with a multiple"
            ))
        };
        Ok(EncodedMedia::new(self.encode(&clips.ok_or_else(wrong)?), message))
    }

    /// Clips behind the tower, with class tokens where they decide where windows end.
    ///
    /// # Panics
    /// If the frames are not of the tower's size.
    pub fn encode(&self, clips: &Clips) -> Encoded {
        if self.cut().is_some() {
            return self.model.encode_with_class(clips, &self.device, self.encoding());
        }
        let features = self.model.encode(clips, &self.device, self.encoding());
        Encoded { features, class: None }
    }

    /// Answers a question; `on_text` gets the answer as it grows, never a stop string or a part of one.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn answer(
        &self,
        seen: &EncodedMedia,
        question: &str,
        options: &AnswerOptions,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<String, Error> {
        let (mut decoding, mut scores) = self.prefill(seen, question, options.max_new_tokens)?;
        let mut random = Random::new(options.seed);
        let (mut tokens, mut text) = (vec![], GrowingText::new(&options.stop));
        while tokens.len() < options.max_new_tokens {
            let token = chosen(scores, &options.sampling, &tokens, random.uniform(), question)?;
            if self.generation.stop_tokens.contains(&token) {
                break;
            }
            tokens.push(token);
            on_text(text.grow(self.tokenizer.decode(&tokens)?));
            if text.ended() || tokens.len() == options.max_new_tokens {
                break;
            }
            scores = decoding.step(token);
        }
        on_text(text.rest());
        Ok(text.into_text().trim().to_owned())
    }

    /// Log-likelihood of each letter as the first token of the answer.
    ///
    /// # Errors
    /// If the tokenizer fails, or a letter is not one token of it.
    pub fn letter_likelihoods(
        &self,
        seen: &EncodedMedia,
        question: &str,
        letters: &[char],
    ) -> Result<Vec<f64>, Error> {
        let ids =
            letters.iter().map(|letter| match *self.tokenizer.encode(&letter.to_string())? {
                [id] => Ok(id as usize),
                _ => Err(Error::Argument(format!("`{letter}` is not one token of this tokenizer"))),
            });
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let (_, scores) = self.prefill(seen, question, 0)?;
        let row = finite(scores, question)?;
        let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|score| f64::from(score - best).exp()).sum();
        Ok(ids.iter().map(|id| f64::from(row[*id] - best) - total.ln()).collect())
    }

    /// Text of the likeliest first token behind `[system, user: video, question, assistant]`, without a time message.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn first_token(&self, seen: &EncodedMedia, question: &str) -> Result<String, Error> {
        let template = self.template();
        let opening = template.system_turn() + &template.header("user");
        let mut ids = self.tokenizer.encode(&opening)?;
        let image_at = ids.len();
        ids.push(xcomp_data::IMAGE_TOKEN);
        let text = [question, template.footer("user"), template.answer].concat();
        ids.extend(self.tokenizer.encode(&text)?);
        let (_, scores) = self.prefill_ids(&ids, image_at, seen, 0)?;
        let token = chosen(scores, &Sampling::GREEDY, &[], 0.0, question)?;
        Ok(self.tokenizer.decode(&[token])?)
    }

    /// How often visual tokens went through the decoder for an answer: once for each video, however many questions it is asked.
    pub fn prefills(&self) -> usize {
        self.prefills.load(Relaxed)
    }
}

/// The next token; the best of all is found on the device.
fn chosen(
    scores: Tensor<1>,
    sampling: &Sampling,
    generated: &[i32],
    uniform: f32,
    question: &str,
) -> Result<i32, Error> {
    if sampling.is_best() {
        return best(scores).ok_or_else(|| unsound(question));
    }
    Ok(sampling.pick(&finite(scores, question)?, generated, uniform))
}

/// Scores on the host; one that is not finite would pass for an answer.
fn finite(scores: Tensor<1>, question: &str) -> Result<Vec<f32>, Error> {
    let row: Vec<f32> = read(scores).iter().collect();
    if row.iter().all(|score| score.is_finite()) {
        return Ok(row);
    }
    Err(unsound(question))
}

fn unsound(question: &str) -> Error {
    Error::Scores { what: format!("the question `{question}`") }
}
