//! Where host data and tensors meet: an example becomes a prompt and clips, or the features that were made of them before.

use xcomp_data::{Example, FeatureSlot, Features, Frames, IGNORE, IMAGE_TOKEN, Media, Visual};
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::Clips;

use crate::error::Error;

/// An example whose parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollateError {
    /// Not exactly one place for the visual tokens.
    #[error("sample {id} of {source}: {found} image markers in the prompt, expected exactly one; is the conversation's first turn `<image>` once?", source = origin)]
    Markers {
        /// The sample's id.
        id: String,
        /// Its dataset.
        origin: String,
        /// Markers found.
        found: usize,
    },
    /// Frames that do not make whole clips.
    #[error("sample {id} of {source}: {frames} frames do not make whole clips of {clip_frames}", source = origin)]
    Clips {
        /// The sample's id.
        id: String,
        /// Its dataset.
        origin: String,
        /// Frames of the sample.
        frames: usize,
        /// Frames of a clip.
        clip_frames: usize,
    },
}

impl From<CollateError> for Error {
    fn from(error: CollateError) -> Self {
        Self::Collate(error.into())
    }
}

/// What the visual tokens of a sample are made from; nothing is uploaded yet.
#[derive(Debug, Clone)]
pub enum VisualInput {
    /// Frames for the tower, and where its features belong, if they are kept.
    Clips(Clips, Option<FeatureSlot>),
    /// Features of the tower.
    Features(Features),
}

/// The prompt of an example and what it shows.
///
/// # Errors
/// If the prompt has not exactly one image marker, or the frames make no whole clips.
pub fn collate(
    example: Example,
    clip_frames: usize,
) -> Result<(Prompt, VisualInput), CollateError> {
    let (id, origin) = (example.id.clone(), example.source.to_string());
    let markers =
        || example.input_ids.iter().enumerate().filter(|(_, token)| **token == IMAGE_TOKEN);
    let found = markers().count();
    let Some((image_at, _)) = markers().next().filter(|_| found == 1) else {
        return Err(CollateError::Markers { id, origin, found });
    };

    let frames = example.choice.indices.len();
    let visual = match example.visual {
        Visual::Features(features) => Some(VisualInput::Features(features)),
        Visual::Frames(frames, slot) => {
            clips(frames, example.media, clip_frames).map(|clips| VisualInput::Clips(clips, slot))
        }
    };
    let visual = visual.ok_or(CollateError::Clips { id, origin, frames, clip_frames })?;
    let labels = example
        .labels
        .into_iter()
        .map(|label| if label == IGNORE { xcomp_model::loss::IGNORE } else { label });
    Ok((
        Prompt { ids: example.input_ids, labels: labels.collect(), image_at: Some(image_at) },
        visual,
    ))
}

fn clips(frames: Frames, media: Media, clip_frames: usize) -> Option<Clips> {
    match media {
        Media::Image => Clips::image(frames.pixels, frames.size),
        Media::Video => Clips::video(frames.pixels, frames.count, frames.size, clip_frames),
    }
}
