//! Where host data and tensors meet: an example becomes a prompt and clips, or the features that were made of them before.

use xcomp_data::{Example, FeatureSlot, Features, Frames, IGNORE, IMAGE_TOKEN, Media, Visual};
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::Clips;

/// An example whose parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message names every field")]
pub enum CollateError {
    /// Not exactly one place for the visual tokens.
    #[error("sample {id} of {source}: {found} image markers in the prompt, expected exactly one; is the conversation's first turn `<image>` once?", source = origin)]
    Markers { id: String, origin: String, found: usize },
    /// Frames that do not make whole clips.
    #[error("sample {id} of {source}: {frames} frames do not make whole clips of {clip_frames}", source = origin)]
    Clips { id: String, origin: String, frames: usize, clip_frames: usize },
}

/// What the visual tokens of a sample are made from; nothing is uploaded yet.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Frames for the tower, and where its features belong, if they are kept.
    Clips(Clips, Option<FeatureSlot>),
    /// Features of the tower.
    Features(Features),
}

/// The prompt of an example and what it shows.
///
/// # Errors
/// If the prompt has not exactly one image marker, or the frames make no whole clips.
pub fn collate(example: Example, clip_frames: usize) -> Result<(Prompt, Seen), CollateError> {
    let (id, origin) = (example.id.clone(), example.source.to_string());
    let markers =
        || example.input_ids.iter().enumerate().filter(|(_, token)| **token == IMAGE_TOKEN);
    let found = markers().count();
    let Some((image_at, _)) = markers().next().filter(|_| found == 1) else {
        return Err(CollateError::Markers { id, origin, found });
    };

    let frames = example.choice.indices.len();
    let seen = match example.visual {
        Visual::Features(features) => Some(Seen::Features(features)),
        Visual::Frames(frames, slot) => {
            clips(frames, example.media, clip_frames).map(|clips| Seen::Clips(clips, slot))
        }
    };
    let seen = seen.ok_or(CollateError::Clips { id, origin, frames, clip_frames })?;
    let labels = example
        .labels
        .into_iter()
        .map(|label| if label == IGNORE { xcomp_model::loss::IGNORE } else { label });
    Ok((
        Prompt { ids: example.input_ids, labels: labels.collect(), visual_at: vec![image_at] },
        seen,
    ))
}

fn clips(frames: Frames, media: Media, clip_frames: usize) -> Option<Clips> {
    match media {
        Media::Image => Clips::image(frames.pixels, frames.size),
        Media::Video => Clips::video(frames.pixels, frames.count, frames.size, clip_frames),
    }
}
