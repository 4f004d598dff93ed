//! Where host data and tensors meet: an example becomes a prompt and clips, or the features that were made of them before.

use xcomp_data::{
    Example, FeatureSlot, Features, Frames, IGNORE, IMAGE_TOKEN, Media, Visual, VisualData,
};
use xcomp_model::compress::vst::VstError;
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::Clips;

use crate::error::Error;

/// An example whose parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message names every field")]
pub enum CollateError {
    /// Not exactly one place for the visual tokens.
    #[error("sample {id} of {source}: {found} image markers in the prompt, expected exactly one; is the conversation's first turn `<image>` once?", source = origin)]
    Markers { id: String, origin: String, found: usize },
    /// Not one place for each of several images and videos, or of none.
    #[error("sample {id} of {source}: {found} image markers in the prompt for {visuals} images and videos", source = origin)]
    Several { id: String, origin: String, found: usize, visuals: usize },
    /// Windows that do not fit it.
    #[error("sample {id} of {source}: {error}", source = origin)]
    Windows { id: String, origin: String, error: VstError },
    /// Frames that do not make whole clips.
    #[error("sample {id} of {source}: {frames} frames do not make whole clips of {clip_frames}", source = origin)]
    Clips { id: String, origin: String, frames: usize, clip_frames: usize },
}

impl From<CollateError> for Error {
    fn from(error: CollateError) -> Self {
        Self::Collate(error.into())
    }
}

/// What the visual tokens of an image or video are made from; nothing is uploaded yet.
#[derive(Debug, Clone)]
pub enum VisualInput {
    /// Frames for the tower, and where its features belong, if they are kept.
    Clips(Clips, Option<FeatureSlot>),
    /// Features of the tower.
    Features(Features),
}

/// The prompt of an example and what it shows, one after the other.
///
/// # Errors
/// If the prompt has not one image marker for each visual, or the frames make no whole clips.
pub fn collate(
    example: Example,
    clip_frames: usize,
) -> Result<(Prompt, Vec<VisualInput>), CollateError> {
    let visual_at = visual_at(&example)?;
    let (id, origin) = (example.id, example.source.to_string());
    let mut inputs = vec![];
    for visual in example.visuals {
        let frames = visual.choice.indices.len();
        let broken =
            || CollateError::Clips { id: id.clone(), origin: origin.clone(), frames, clip_frames };
        inputs.push(input(visual, clip_frames).ok_or_else(broken)?);
    }
    let labels = example
        .labels
        .into_iter()
        .map(|label| if label == IGNORE { xcomp_model::loss::IGNORE } else { label });
    Ok((Prompt { ids: example.input_ids, labels: labels.collect(), visual_at }, inputs))
}

/// Where the tokens of each image and video go.
fn visual_at(example: &Example) -> Result<Vec<usize>, CollateError> {
    let tokens = example.input_ids.iter().enumerate();
    let markers: Vec<usize> =
        tokens.filter(|(_, token)| **token == IMAGE_TOKEN).map(|(at, _)| at).collect();
    let (id, origin, found) = (example.id.clone(), example.source.to_string(), markers.len());
    match example.visuals.len() {
        visuals if visuals == found => Ok(markers),
        1 => Err(CollateError::Markers { id, origin, found }),
        visuals => Err(CollateError::Several { id, origin, found, visuals }),
    }
}

fn input(visual: Visual, clip_frames: usize) -> Option<VisualInput> {
    match visual.data {
        VisualData::Features(features) => Some(VisualInput::Features(features)),
        VisualData::Frames(frames, slot) => {
            clips(frames, visual.media, clip_frames).map(|clips| VisualInput::Clips(clips, slot))
        }
    }
}

fn clips(frames: Frames, media: Media, clip_frames: usize) -> Option<Clips> {
    match media {
        // A picture may be several tiles.
        Media::Image => Clips::video(frames.pixels, frames.count, frames.size, 1),
        Media::Video => Clips::video(frames.pixels, frames.count, frames.size, clip_frames),
    }
}

#[cfg(test)]
mod tests {
    use xcomp_data::{Choice, FeatureValues};

    use super::*;

    /// A sample with so many placeholders and kept features.
    fn example(markers: usize, visuals: usize) -> Example {
        let choice = Choice { indices: vec![0], first: 0, fps: 1.0, duration_s: 0.0 };
        let values = FeatureValues::F32(vec![0; 4]);
        let data =
            VisualData::Features(Features { clips: 1, tokens: 1, width: 1, values, class: vec![] });
        let input_ids = [vec![7], vec![IMAGE_TOKEN; markers], vec![8]].concat();
        Example {
            visuals: vec![Visual { media: Media::Image, choice, data }; visuals],
            labels: vec![IGNORE; input_ids.len()],
            input_ids,
            first_turn: 0,
            limited: false,
            source: "pictures".into(),
            id: "3".into(),
            record: 0,
            words: 1,
        }
    }

    #[test]
    fn a_prompt_has_a_place_for_each_visual() {
        let taken = |markers, visuals| {
            let (prompt, seen) = collate(example(markers, visuals), 8)?;
            Ok::<_, CollateError>((prompt.visual_at, seen.len()))
        };
        assert_eq!(taken(1, 1), Ok((vec![1], 1)));
        assert_eq!(taken(0, 0), Ok((vec![], 0)));
        assert_eq!(taken(2, 2), Ok((vec![1, 2], 2)));
        let refused = |markers, visuals| taken(markers, visuals).unwrap_err().to_string();
        let sample = "sample 3 of pictures";
        assert_eq!(
            refused(2, 1),
            format!(
                "{sample}: 2 image markers in the prompt, expected exactly one; is the conversation's first turn `<image>` once?"
            )
        );
        assert_eq!(
            refused(1, 2),
            format!("{sample}: 1 image markers in the prompt for 2 images and videos")
        );
    }
}
