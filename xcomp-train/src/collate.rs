//! Where host data and tensors meet: an example becomes a prompt and clips.

use xcomp_data::{Example, IGNORE, IMAGE_TOKEN, Media};
use xcomp_model::frames::Clips;
use xcomp_model::splice::Prompt;

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

/// The prompt and the clips of an example; nothing is uploaded yet.
///
/// # Errors
/// If the prompt has not exactly one image marker, or the frames make no whole clips.
pub fn collate(example: Example, clip_frames: usize) -> Result<(Prompt, Clips), CollateError> {
    let (id, origin) = (example.id.clone(), example.source.to_string());
    let markers =
        || example.input_ids.iter().enumerate().filter(|(_, token)| **token == IMAGE_TOKEN);
    let found = markers().count();
    let Some((image_at, _)) = markers().next().filter(|_| found == 1) else {
        return Err(CollateError::Markers { id, origin, found });
    };

    let (frames, size) = (example.frames.count, example.frames.size);
    let clips = match example.media {
        Media::Image => Clips::image(example.frames.pixels, size),
        Media::Video => Clips::video(example.frames.pixels, frames, size, clip_frames),
    };
    let clips = clips.ok_or(CollateError::Clips { id, origin, frames, clip_frames })?;
    let labels = example
        .labels
        .into_iter()
        .map(|label| if label == IGNORE { xcomp_model::loss::IGNORE } else { label });
    Ok((
        Prompt { ids: example.input_ids, labels: labels.collect(), image_at: Some(image_at) },
        clips,
    ))
}
