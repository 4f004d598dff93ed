//! Where host data and tensors meet: an example becomes a prompt and clips, or the features that were made of them before.

use burn::tensor::Tensor;
use xcomp_data::{
    Example, FeatureSlot, Features, Frames, IGNORE, IMAGE_TOKEN, Media, Visual, VisualData,
};
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::Clips;

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
    /// More images and videos than the model takes, or not one place for each.
    #[error("sample {id} of {source}: {found} image markers in the prompt for {visuals} images and videos; the model takes one", source = origin)]
    Several {
        /// The sample's id.
        id: String,
        /// Its dataset.
        origin: String,
        /// Markers found.
        found: usize,
        /// Images and videos of the sample.
        visuals: usize,
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

/// What the visual tokens of an image or video are made from; nothing is uploaded yet.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Frames for the tower, and where its features belong, if they are kept.
    Clips(Clips, Option<FeatureSlot>),
    /// Features of the tower.
    Features(Features),
}

/// The prompt of an example and what it shows, one after the other.
///
/// # Errors
/// If the prompt has not one image marker for each visual, or the frames make no whole clips.
pub fn collate(example: Example, clip_frames: usize) -> Result<(Prompt, Vec<Seen>), CollateError> {
    let image_at = image_at(&example)?;
    let (id, origin) = (example.id, example.source.to_string());
    let mut seen = vec![];
    for visual in example.visuals {
        let frames = visual.choice.indices.len();
        let clips = see(visual, clip_frames);
        let broken =
            || CollateError::Clips { id: id.clone(), origin: origin.clone(), frames, clip_frames };
        seen.push(clips.ok_or_else(broken)?);
    }
    let labels = example
        .labels
        .into_iter()
        .map(|label| if label == IGNORE { xcomp_model::loss::IGNORE } else { label });
    Ok((Prompt { ids: example.input_ids, labels: labels.collect(), image_at }, seen))
}

/// Where the visual tokens go, as the model takes it: at one place or none.
fn image_at(example: &Example) -> Result<Option<usize>, CollateError> {
    let tokens = example.input_ids.iter().enumerate();
    let markers: Vec<usize> =
        tokens.filter(|(_, token)| **token == IMAGE_TOKEN).map(|(at, _)| at).collect();
    let (id, origin) = (example.id.clone(), example.source.to_string());
    match (markers.as_slice(), example.visuals.len()) {
        (&[], 0) => Ok(None),
        (&[at], 1) => Ok(Some(at)),
        (found, 1) => Err(CollateError::Markers { id, origin, found: found.len() }),
        (found, visuals) => Err(CollateError::Several { id, origin, found: found.len(), visuals }),
    }
}

/// The merged features of a sample, as the model takes them: of the one visual that [`collate`] lets through, or of none.
pub(crate) fn for_model(merged: impl IntoIterator<Item = Tensor<3>>) -> Option<Tensor<3>> {
    merged.into_iter().next()
}

fn see(visual: Visual, clip_frames: usize) -> Option<Seen> {
    match visual.data {
        VisualData::Features(features) => Some(Seen::Features(features)),
        VisualData::Frames(frames, slot) => {
            clips(frames, visual.media, clip_frames).map(|clips| Seen::Clips(clips, slot))
        }
    }
}

fn clips(frames: Frames, media: Media, clip_frames: usize) -> Option<Clips> {
    match media {
        Media::Image => Clips::image(frames.pixels, frames.size),
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
        let data = VisualData::Features(Features { clips: 1, tokens: 1, width: 1, values });
        let input_ids = [vec![7], vec![IMAGE_TOKEN; markers], vec![8]].concat();
        Example {
            visuals: vec![Visual { media: Media::Image, choice, data }; visuals],
            labels: vec![IGNORE; input_ids.len()],
            input_ids,
            first_turn: 0,
            source: "pictures".into(),
            id: "3".into(),
            record: 0,
            words: 1,
        }
    }

    #[test]
    fn a_prompt_has_a_place_for_its_one_visual_or_none() {
        let taken = |markers, visuals| {
            let (prompt, seen) = collate(example(markers, visuals), 8)?;
            Ok::<_, CollateError>((prompt.image_at, seen.len()))
        };
        assert_eq!(taken(1, 1), Ok((Some(1), 1)));
        assert_eq!(taken(0, 0), Ok((None, 0)));
        let refused = |markers, visuals| taken(markers, visuals).unwrap_err().to_string();
        let sample = "sample 3 of pictures";
        assert_eq!(
            refused(2, 1),
            format!(
                "{sample}: 2 image markers in the prompt, expected exactly one; is the conversation's first turn `<image>` once?"
            )
        );
        assert_eq!(
            refused(2, 2),
            format!(
                "{sample}: 2 image markers in the prompt for 2 images and videos; the model takes one"
            )
        );
    }
}
