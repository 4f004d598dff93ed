//! One sample from its record: media read, frames chosen and resized, prompt rendered and labelled.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::DataError;
use crate::features::{FeatureCache, Found};
use crate::frames::{Choice, FrameOptions, Sampling};
use crate::media::limits::{Limits, Watch};
use crate::media::read::Source;
use crate::mixture::ReadType;
use crate::mixture::annotation::{Media, Record};
use crate::mixture::visual_rule::VisualRule;
use crate::prompt::templates::{
    IMAGE_TOKEN, Prompt, count_image_tags, is_answer, render_chat, rendered,
};
use crate::resize::{Fit, Fitter};
use crate::sample::example::{Example, Frames, Visual, VisualData};
use crate::sample::options::{LintOptions, LoadOptions, TooLong};

/// Reads one record of a mixture; `index` is its place there, and only noted.
///
/// # Errors
/// When its media cannot be read, or its conversation has not the `<image>` tags that the rule of visuals asks for.
pub fn load_example(
    record: &Record,
    index: usize,
    options: &LoadOptions,
) -> Result<Example, DataError> {
    let watch = Watch::start(&options.limits, &Arc::new(AtomicBool::new(false)));
    load_gated(record, index, options, &watch, &mut |_| ())
}

/// Reads the frames of one file or folder, for asking about it.
///
/// # Errors
/// When it cannot be read.
pub fn load_media(
    path: &Path,
    read_type: Option<ReadType>,
    options: &FrameOptions,
    limits: &Limits,
) -> Result<(Frames, Choice, Media), DataError> {
    let source = source_of(path, read_type);
    let watch = Watch::start(limits, &Arc::new(AtomicBool::new(false)));
    let (frames, choice) = read_frames(&source, options, watch, &mut |_| ())?;
    Ok((frames, choice, source.media))
}

/// As [`load_media`], or the features of the frames where they are kept.
///
/// # Errors
/// As [`load_media`].
pub fn load_kept_media(
    path: &Path,
    read_type: Option<ReadType>,
    options: &FrameOptions,
    limits: &Limits,
    features: &Arc<FeatureCache>,
) -> Result<Visual, DataError> {
    let source = source_of(path, read_type);
    let watch = Watch::start(limits, &Arc::new(AtomicBool::new(false)));
    read_visual(&source, options, Some(features), watch, &mut |_| ())
}

fn source_of(path: &Path, read_type: Option<ReadType>) -> Source {
    let is_image = read_type.is_none() && is_picture(path);
    let media = if is_image { Media::Image } else { Media::Video };
    Source { media, path: path.to_owned(), read_type, part: None }
}

/// Whether a file's suffix is that of a still picture.
fn is_picture(path: &Path) -> bool {
    let suffix = path.extension().map(|suffix| suffix.to_string_lossy().to_lowercase());
    suffix.is_some_and(|suffix| ["jpg", "jpeg", "png", "webp", "bmp"].contains(&suffix.as_str()))
}

/// As [`load_example`]; `gate` hears the bytes of the pictures before they are read, and may wait.
pub(crate) fn load_gated(
    record: &Record,
    index: usize,
    options: &LoadOptions,
    watch: &Watch,
    gate: &mut dyn FnMut(usize),
) -> Result<Example, DataError> {
    check_record(record, options.visuals)?;
    let features = options.features.as_ref();
    let own = frames_of(record, options);
    let visuals = Source::all(record)
        .map(|source| read_visual(&source, &own, features, watch.clone(), gate))
        .collect::<Result<Vec<Visual>, _>>()?;
    let messages: Vec<String> =
        visuals.iter().map(|visual| visual.message(options.frames.time_message)).collect();
    let frames: Vec<usize> = visuals.iter().map(|visual| visual.choice.indices.len()).collect();
    let prompt = render_record(record, &messages, frames.iter().sum(), options)?;
    if let Some(fits) = &options.fits {
        let broken = |message| DataError::Prompt { id: record.id.clone(), message };
        fits.check(&prompt, &frames).map_err(broken)?;
    }
    let most = own.max_frames;
    let limited = most != options.frames.max_frames
        && visuals.iter().any(|own| own.choice.indices.len() >= most);
    Ok(Example {
        visuals,
        limited,
        input_ids: prompt.input_ids,
        labels: prompt.labels,
        first_turn: prompt.first_turn,
        source: Arc::clone(record.source()),
        id: record.id.clone(),
        record: index,
        words: record.words,
    })
}

/// How the frames of a record's videos are chosen.
///
/// Under [`TooLong::DropFrames`] at most so many whole clips are taken as fit beside its text, whatever the sentence about a video says;
/// for a video that has no more frames the choice is the same as without. No file is opened, but pictures beside a video that are cut
/// into tiles: how many these are depends on their shape.
pub fn frames_of(record: &Record, options: &LoadOptions) -> FrameOptions {
    let frames = options.frames.clone();
    match fitting(record, options) {
        Some(most) if frames.max_frames == 0 || most < frames.max_frames => {
            FrameOptions { max_frames: most, min_frames: frames.min_frames.min(most), ..frames }
        }
        _ => frames,
    }
}

/// Most frames of each video of a record that fit, at least one clip; `None` where that is not asked for.
fn fitting(record: &Record, options: &LoadOptions) -> Option<usize> {
    /// Longer videos, and more frames of one, are not there.
    const LONGEST_S: f64 = 999_999.99;
    const MOST: usize = 99_999;
    let kinds = || record.media.iter().map(|file| file.kind);
    let videos = kinds().filter(|kind| *kind == Media::Video).count();
    if options.too_long != TooLong::DropFrames || videos == 0 {
        return None;
    }
    let (frames, clip) = (&options.frames, options.frames.clip_frames.max(1));
    let most = if frames.max_frames > 0 { frames.max_frames } else { MOST };
    let longest = Choice { indices: vec![most; most], first: 0, fps: 1.0, duration_s: LONGEST_S };
    let longest = longest.message(frames.time_message);
    let messages: Vec<String> = kinds()
        .map(|kind| if kind == Media::Video { longest.clone() } else { String::new() })
        .collect();
    let (template, tokenizer) = (&options.template, &options.tokenizer);
    let prompt = render_chat(template, tokenizer, &record.turns, &messages, options.labels).ok()?;
    let text = prompt.input_ids.len() - messages.len();
    let behind = messages.len() * options.tokens_behind_frames;
    let room = options.max_tokens.saturating_sub(text + behind) / options.tokens_per_frame.max(1);
    let of_video = room.saturating_sub(frames_of_pictures(record, options)) / videos;
    Some((of_video / clip).max(1) * clip)
}

/// Frames of the pictures of a record: one each, or its tiles; one that cannot be read is told where it is loaded.
fn frames_of_pictures(record: &Record, options: &LoadOptions) -> usize {
    let pictures = Source::all(record).filter(|source| source.media == Media::Image);
    if options.frames.fit != Fit::Tiles {
        return pictures.count();
    }
    let watch = Watch::start(&options.limits, &Arc::new(AtomicBool::new(false)));
    let tiles = |source: &Source| {
        let reader = source.open(&options.frames, watch.clone())?;
        reader.choose(None, &options.frames).map(|choice| choice.indices.len())
    };
    pictures.map(|source| tiles(&source).unwrap_or(1)).sum()
}

/// The prompt of a record that shows so many frames; `messages` has one for each image or video.
pub(crate) fn render_record(
    record: &Record,
    messages: &[String],
    frames: usize,
    options: &LoadOptions,
) -> Result<Prompt, DataError> {
    let (template, tokenizer) = (&options.template, &options.tokenizer);
    let prompt = render_chat(template, tokenizer, &record.turns, messages, options.labels)?;
    let id = || record.id.clone();
    let text = prompt.input_ids.len() - messages.len();
    let visual = frames * options.tokens_per_frame + messages.len() * options.tokens_behind_frames;
    let (tokens, limit) = (text + visual, options.max_tokens);
    if tokens > limit {
        return Err(DataError::TooLong { id: id(), tokens, limit });
    }
    match outside(&prompt.input_ids, options.vocabulary) {
        Some(token) => Err(DataError::Token {
            what: format!("record `{}`", id()),
            token,
            rows: options.vocabulary,
        }),
        None => Ok(prompt),
    }
}

/// The first token that an embedding of so many rows does not have; the place of a picture is none.
pub fn outside(ids: &[i32], rows: usize) -> Option<i32> {
    let known = |id: i32| id == IMAGE_TOKEN || usize::try_from(id).is_ok_and(|id| id < rows);
    ids.iter().copied().find(|id| !known(*id))
}

/// The features of a source where they are kept, else its pictures.
fn read_visual(
    source: &Source,
    options: &FrameOptions,
    kept: Option<&Arc<FeatureCache>>,
    watch: Watch,
    gate: &mut dyn FnMut(usize),
) -> Result<Visual, DataError> {
    let media = source.media;
    let key = match kept {
        Some(cache) => match cache.find(source, options, gate) {
            Found::Features(features, choice) => {
                return Ok(Visual { media, choice, data: VisualData::Features(features) });
            }
            Found::Nothing(key) => key,
        },
        None => None,
    };
    let (frames, choice) = read_frames(source, options, watch, gate)?;
    let slot = kept.zip(key).map(|(cache, key)| cache.slot(key, &choice));
    Ok(Visual { media, choice, data: VisualData::Frames(frames, slot) })
}

/// Opens a media file as [`load_example`] does, and reads its first wanted frame where that is asked for.
pub(crate) fn probe(
    source: &Source,
    options: &LintOptions,
    cancel: &Arc<AtomicBool>,
) -> Result<Choice, DataError> {
    let frames = &options.load.frames;
    check_options(frames)?;
    let watch = Watch::start(&options.load.limits, cancel);
    let mut reader = source.open(frames, watch)?;
    let choice = reader.choose(source.part, frames)?;
    if source.media == Media::Video {
        check_clips(&source.path, &choice, frames)?;
    }
    let mut seen = false;
    let wanted =
        choice.indices.first().filter(|_| options.decode).map(|index| index + choice.first);
    let Some(wanted) = wanted else { return Ok(choice) };
    reader.read(&[wanted], &mut |_| {
        seen = true;
        Ok(())
    })?;
    if seen {
        return Ok(choice);
    }
    let message = format!("frame {wanted} cannot be decoded");
    Err(DataError::Decode { path: source.path.clone(), message })
}

/// Whether a record can be rendered and learnt from: turns are judged as the prompt has them.
///
/// Its media stand where its `<image>` tags are; a model that takes exactly one is `llava_arch.py:708`.
pub(crate) fn check_record(record: &Record, visuals: VisualRule) -> Result<(), DataError> {
    let broken = |message: &str| {
        Err(DataError::Prompt { id: record.id.clone(), message: message.to_owned() })
    };
    if let Some(why) = &record.broken {
        return broken(why);
    }
    if record.media.iter().any(|file| file.path.trim().is_empty()) {
        return broken(
            "an image or video of it has an empty path; name a file, or leave the key out",
        );
    }
    let (_, turns) = rendered(&record.turns);
    visuals.check(&record.id, count_image_tags(turns), record.media.len())?;
    if turns.iter().any(is_answer) { Ok(()) } else { broken("it has no answer to learn from") }
}

fn read_frames(
    source: &Source,
    options: &FrameOptions,
    watch: Watch,
    gate: &mut dyn FnMut(usize),
) -> Result<(Frames, Choice), DataError> {
    check_options(options)?;
    let mut reader = source.open(options, watch)?;
    let choice = reader.choose(source.part, options)?;
    if source.media == Media::Video {
        check_clips(&source.path, &choice, options)?;
    }
    let size = options.image_size;
    let mut frames = Frames { pixels: Vec::new(), count: choice.indices.len(), size };
    gate(frames.count * frames.frame_bytes());

    let mut numbers: Vec<usize> = choice.indices.iter().map(|index| index + choice.first).collect();
    numbers.dedup();
    let mut pixels = Vec::with_capacity(frames.count * frames.frame_bytes());
    let mut fitter = Fitter::new(size, options.fit, options.resize);
    reader.read(&numbers, &mut |picture| {
        let wrong = |message| DataError::Unsupported { path: source.path.clone(), message };
        fitter.fit_into(picture, &mut pixels).map_err(wrong)
    })?;
    let got = pixels.len() / frames.frame_bytes();
    if got != numbers.len() {
        let message = format!("{got} of {} wanted frames came", numbers.len());
        return Err(DataError::Decode { path: source.path.clone(), message });
    }
    frames.pixels = repeat_padded(pixels, &choice, frames.frame_bytes());
    Ok((frames, choice))
}

/// Repeats the frames that the choice names more than once.
fn repeat_padded(pixels: Vec<u8>, choice: &Choice, frame_bytes: usize) -> Vec<u8> {
    if pixels.len() == choice.indices.len() * frame_bytes {
        return pixels;
    }
    let mut padded = Vec::with_capacity(choice.indices.len() * frame_bytes);
    let mut at = 0;
    for (place, index) in choice.indices.iter().enumerate() {
        at += usize::from(place > 0 && *index != choice.indices[place - 1]);
        padded.extend_from_slice(&pixels[at * frame_bytes..][..frame_bytes]);
    }
    padded
}

fn check_options(options: &FrameOptions) -> Result<(), DataError> {
    let wrong = |message: &str| Err(DataError::Options(message.into()));
    if options.clip_frames == 0 || options.image_size == 0 {
        return wrong("clip_frames and image_size must be at least 1");
    }
    if !(options.fps.is_finite() && options.fps > 0.0) {
        return wrong("fps must be a positive number");
    }
    if options.max_frames > 0 && options.max_frames < options.min_frames {
        return wrong("max_frames is below min_frames");
    }
    if options.sampling == Sampling::Spread && options.max_frames == 0 {
        return wrong(
            "max_frames says how many frames are spread over a video; it must be at least 1",
        );
    }
    Ok(())
}

/// Frames come in whole clips, at least one (`train.py:1452`).
fn check_clips(path: &Path, choice: &Choice, options: &FrameOptions) -> Result<(), DataError> {
    let (frames, clip_frames) = (choice.indices.len(), options.clip_frames);
    if frames == 0 {
        let frames = (choice.duration_s * choice.fps).round() as usize;
        return Err(DataError::TooShort { path: path.to_owned(), frames, clip_frames });
    }
    if frames.is_multiple_of(clip_frames) {
        return Ok(());
    }
    let message = format!(
        "{frames} frames are not whole clips of {clip_frames}; set min_frames and max_frames to multiples of it"
    );
    Err(DataError::Unsupported { path: path.to_owned(), message })
}
