//! What the samples of a recipe's mixture are like, known without opening their media.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use xcomp_data::report::Histogram;
use xcomp_data::stream::cost::predict_frames;
use xcomp_data::{
    DataError, Fit, FrameOptions, FrameRule, FrameStyle, IGNORE, IMAGE_TOKEN, LabelRule as Labels,
    Mixture, MixtureOptions, Prompt, Sampling, SystemTurn, Template, Tokenizer, Truncated,
    VisualRule, render_chat,
};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::{Family, Visuals};

use crate::error::Error;
use crate::hub::{Hub, is_name};
use crate::plan::cost::SampleSize;
use crate::plan::padding::{Length, Padding};
use crate::recipe::Recipe;
use crate::recipe::tables::{LabelRule, ModelTable, SampleWord, SystemWord, TruncatedWord};
use crate::show::progress::during;

/// How much of the mixture a recipe takes, and of what kind: how many visuals a sample shows is a property of the model's family.
///
/// # Errors
/// If the model's `config.json` cannot be read.
pub fn mixture_options(recipe: &Recipe) -> Result<MixtureOptions, Error> {
    let config = ModelConfig::from_file(recipe.model.config.as_ref())?;
    let visuals = match config.family.visuals {
        Visuals::ExactlyOne => VisualRule::ExactlyOne,
        Visuals::Any => VisualRule::Any,
    };
    Ok(MixtureOptions {
        keep: (recipe.data.keep_start, recipe.data.keep_end),
        keep_seed: recipe.data.keep_seed,
        visuals,
        allow_outside_paths: recipe.data.allow_outside_paths,
        system: match recipe.data.system {
            SystemWord::Keep => SystemTurn::Keep,
            SystemWord::Refuse => SystemTurn::Refuse,
        },
        ..MixtureOptions::default()
    })
}

/// How the prompts of a family's models are written.
pub fn template(family: &Family) -> Template {
    Template::named(family.template).expect("a family names a template that is known")
}

/// How the prompts of a recipe are written.
pub fn recipe_template(model: &ModelTable, family: &Family) -> Template {
    let named = match model.template {
        None => template(family),
        Some(word) => Template::named(word.word()).expect("a word of recipes is a known template"),
    };
    match &model.system_prompt {
        Some(words) => Template { system: words.clone().into(), ..named },
        None => named,
    }
}

/// Reads a mixture, and says so where it takes long.
pub(crate) fn read_mixture(path: &Path, options: &MixtureOptions) -> Result<Mixture, DataError> {
    let options = MixtureOptions { elsewhere: named(path)?, ..options.clone() };
    during("reading the mixture", || Mixture::load(path, &options))
}

/// Where annotation files and media lie that a mixture has by names of the hub.
fn named(mixture: &Path) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let hub = Hub::of_environment();
    let names = Mixture::places(mixture)?.into_iter().filter(|place| is_name(place));
    let place = |name: String| match hub.local(Path::new(&name)) {
        Ok(path) => Ok((name, path)),
        Err(error) => {
            let source = std::io::Error::new(ErrorKind::NotFound, error);
            Err(DataError::Read { path: name.into(), source })
        }
    };
    names.map(place).collect()
}

/// What of a recipe's mixture is trained on, and what is held out of it.
pub(crate) fn parted(
    recipe: &Recipe,
    whole: Mixture,
) -> Result<(Mixture, Option<Mixture>), DataError> {
    let share = recipe.data.validation_share;
    if share > 0.0 {
        return whole.hold_out(share, recipe.train.seed).map(|(rest, out)| (rest, Some(out)));
    }
    Ok((whole, None))
}

/// Samples of the recipe's mixture; `None` where it, or an annotation file that it names, is not there.
///
/// # Errors
/// If the mixture is there and cannot be used.
pub fn count(recipe: &Recipe) -> Result<Option<usize>, Error> {
    Ok(present_mixture(recipe)?.map(|mixture| mixture.len()))
}

/// The recipe's mixture, its media not looked at.
pub(super) fn present_mixture(recipe: &Recipe) -> Result<Option<Mixture>, Error> {
    let path = Path::new(&recipe.data.mixture);
    if recipe.data.mixture.is_empty() || !path.exists() {
        return Ok(None);
    }
    let options = MixtureOptions { check_media: false, ..mixture_options(recipe)? };
    match read_mixture(path, &options) {
        Ok(mixture) => Ok(Some(parted(recipe, mixture)?.0)),
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
    /// What padding adds to forwards of several samples.
    pub padding: Option<Padding>,
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
    let template = recipe_template(&recipe.model, config.family);
    let tokenizer = Tokenizer::open(tokenizer, &template)?;
    let frames = predict_frames(&mixture, &frame_options(recipe, config));
    let every = mixture.len().div_ceil(SURVEYED_TEXTS);
    let texts = mixture.records().iter().step_by(every);
    let prompts = texts
        .map(|record| render_chat(&template, &tokenizer, &record.turns, &[], label_rule(recipe)))
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
        padding: Padding::of(
            recipe,
            prompts.iter().zip(frames.iter().step_by(every)).map(|(prompt, frames)| Length {
                text: visible(prompt),
                all: visible(prompt) + frames.count * config.tokens_per_frame(),
            }),
        ),
    }))
}

/// The rounded mean, and the largest, of at least one count.
fn mean_and_most(counts: impl Iterator<Item = usize>) -> (usize, usize) {
    let counts = Histogram::of(counts.collect());
    (counts.mean.round() as usize, counts.max)
}

/// Which frames of a video a recipe takes.
pub fn frame_options(recipe: &Recipe, config: &ModelConfig) -> FrameOptions {
    let of_family = styled(config);
    let sampling = match recipe.data.sample_type {
        None => of_family.sampling,
        Some(SampleWord::Clips) => Sampling::Clips,
        Some(SampleWord::Fps) => Sampling::Fps,
        Some(SampleWord::Uniform) => Sampling::Uniform,
        Some(SampleWord::Spread) => Sampling::Spread,
        Some(SampleWord::Seconds) => Sampling::Seconds,
    };
    FrameOptions {
        sampling,
        fps: match sampling {
            Sampling::Clips | Sampling::Fps => recipe.data.fps,
            // They ask for a number of frames; a video of fewer than half a frame a second is refused as by LLaVA-Video.
            Sampling::Uniform | Sampling::Spread | Sampling::Seconds => 1.0,
        },
        min_frames: recipe.data.min_frames,
        max_frames: recipe.data.max_frames,
        clip_frames: recipe.data.clip_frames,
        image_size: config.vision.image_size,
        truncated: match recipe.data.truncated {
            TruncatedWord::Refuse => Truncated::Refuse,
            TruncatedWord::Pad => Truncated::Pad,
        },
        ..of_family
    }
}

/// How a family's models look at videos.
pub fn frame_style(family: &Family) -> FrameStyle {
    FrameStyle::named(family.frames).expect("a family names a style that is known")
}

/// The options that follow from a model alone.
pub fn styled(config: &ModelConfig) -> FrameOptions {
    let FrameStyle { sampling, fps, time_message, fit, .. } = frame_style(config.family);
    let usual = FrameOptions::default();
    // A model that cuts no picture has the usual number: keys of kept features stay as they were.
    let most_tiles = if fit == Fit::Tiles { config.most_tiles } else { usual.most_tiles };
    FrameOptions { sampling, fps, time_message, fit, most_tiles, ..usual }
}

/// How a model looks at a video that a question is about: at so many frames, repeated where it has fewer.
pub fn asked_frames(config: &ModelConfig, frames: RangeInclusive<usize>) -> FrameOptions {
    FrameOptions {
        min_frames: *frames.start(),
        max_frames: *frames.end(),
        clip_frames: config.vision.clip_frames,
        image_size: config.vision.image_size,
        rule: FrameRule::Inference,
        ..styled(config)
    }
}

/// Which tokens carry loss.
pub(crate) fn label_rule(recipe: &Recipe) -> Labels {
    match recipe.tune.labels {
        LabelRule::Reference => Labels::Reference,
        LabelRule::Answers => Labels::Answers,
    }
}

#[cfg(test)]
mod tests {
    use xcomp_model::base::config::FAMILIES;

    use crate::recipe::tables::TemplateWord;

    use super::*;

    #[test]
    fn every_family_names_a_template() {
        for family in FAMILIES {
            assert_eq!(template(family).name, family.template);
            let model =
                ModelTable { template: Some(TemplateWord::Vicuna), ..ModelTable::default() };
            assert_eq!(recipe_template(&model, family).name, "vicuna");
            assert_eq!(frame_style(family).name, family.frames);
        }
    }
}
