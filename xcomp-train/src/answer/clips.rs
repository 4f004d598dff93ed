//! Encoded clips of one video, each run through the tower once however often it is looked at.

use std::cell::OnceCell;
use std::collections::HashMap;

use xcomp_data::Frames;
use xcomp_model::generate::Prefix;
use xcomp_model::question::qc_comp::Reading;
use xcomp_model::vision::frames::Clips;
use xcomp_model::vlm::Encoded;

use crate::error::Error;
use crate::show::progress::Progress;

/// Most bytes of readings of one video that are held for its next question.
const MAX_READ_BYTES: usize = 1 << 30;

/// Frames of a video, held as bytes, and their clips as the tower left them.
///
/// A clip is known by the numbers of its frames: scoring and answering share it where both cut the video alike.
/// At most [`EncodedClips::MAX_HELD_FRAMES`] encoded frames are held, so memory does not grow with passes over the video.
pub struct EncodedClips<'a> {
    frames: &'a Frames,
    clip_frames: usize,
    held: HeldClips,
    runs: usize,
    encode: Box<Encode<'a>>,
    shown: Option<&'a Progress>,
}

/// Runs the tower over clips.
pub(super) type Encode<'a> = dyn Fn(&Clips) -> Encoded + 'a;

/// Frames of a video or image after the tower, and what the prompt says of them.
#[derive(Debug, Clone)]
pub struct EncodedMedia {
    /// Its clips behind the tower.
    pub encoded: Encoded,
    /// The sentence about duration and frames; empty for an image.
    pub message: String,
    /// The decoder's reading of it, from its first question on.
    pub(super) prefix: OnceCell<Prefix>,
    /// Visual tokens that stay of it, where it was read in windows.
    pub(super) kept: OnceCell<usize>,
}

impl EncodedMedia {
    /// A video that no question has been asked about.
    pub fn new(encoded: Encoded, message: String) -> Self {
        Self { encoded, message, prefix: OnceCell::new(), kept: OnceCell::new() }
    }
}

impl EncodedMedia {
    /// Visual tokens that stay of it in every layer, once it has been read in windows.
    pub fn kept(&self) -> Option<usize> {
        self.kept.get().copied()
    }
}

/// What is held of a video from one question to the next.
#[derive(Debug, Default)]
pub struct HeldClips {
    /// Encoded clips by the numbers of their frames.
    clips: HashMap<Vec<usize>, Encoded>,
    /// How chunks read before a question by which frames are chosen, by the numbers of their frames; none where one question is asked.
    readings: Option<HashMap<Vec<usize>, Reading>>,
}

impl HeldClips {
    /// Of clips that are encoded already, by the numbers of their frames.
    pub fn of(clips: impl Iterator<Item = (Vec<usize>, Encoded)>) -> Self {
        Self { clips: clips.collect(), readings: None }
    }

    /// The same for several questions.
    #[must_use]
    pub fn for_questions(self) -> Self {
        Self { readings: Some(self.readings.unwrap_or_default()), ..self }
    }

    /// A clip.
    pub fn get(&self, numbers: &[usize]) -> Option<&Encoded> {
        self.clips.get(numbers)
    }
}

impl<'a> EncodedClips<'a> {
    /// Most encoded frames held: 256 MiB at 16 tokens of width 1024 in f32.
    pub const MAX_HELD_FRAMES: usize = 4096;

    /// Clips of these frames; `held` are those that are encoded already.
    pub(super) fn new(
        frames: &'a Frames,
        clip_frames: usize,
        held: HeldClips,
        encode: Box<Encode<'a>>,
    ) -> Self {
        Self { frames, clip_frames, held, runs: 0, encode, shown: None }
    }

    /// Tells `progress` of every clip that goes through the tower.
    #[must_use]
    pub fn shown(self, progress: &'a Progress) -> Self {
        Self { shown: Some(progress), ..self }
    }

    /// The clips, for another question about the same frames.
    pub fn into_held(self) -> HeldClips {
        self.held
    }

    /// Frames of the video.
    pub fn frame_count(&self) -> usize {
        self.frames.count
    }

    /// Clips that went through the tower so far.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// How a chunk of these frames reads, made once for all questions; nothing where one question is asked, or where the readings of
    /// `chunks` such chunks of `bytes` each are too much to hold.
    ///
    /// # Errors
    /// That of `make`.
    pub(super) fn reading(
        &mut self,
        numbers: &[usize],
        (chunks, bytes): (usize, usize),
        make: impl FnOnce(&mut Self) -> Result<Reading, Error>,
    ) -> Result<Option<Reading>, Error> {
        let held = match &self.held.readings {
            Some(readings) if chunks * bytes <= MAX_READ_BYTES => readings.get(numbers).cloned(),
            _ => return Ok(None),
        };
        if held.is_some() {
            return Ok(held);
        }
        let made = make(self)?;
        if let Some(readings) = &mut self.held.readings {
            readings.insert(numbers.to_vec(), made.clone());
        }
        Ok(Some(made))
    }

    /// These frames behind the tower, clip after clip.
    ///
    /// One frame alone is shown as a still clip, as the pictures of the published needle test are.
    ///
    /// # Errors
    /// If they do not make whole clips.
    pub fn encoded(&mut self, numbers: &[usize]) -> Result<Encoded, Error> {
        let clip_frames = self.clip_frames;
        if let [frame] = numbers {
            return Ok(self.clip(&vec![*frame; clip_frames]));
        }
        if numbers.is_empty() || !numbers.len().is_multiple_of(clip_frames) {
            let count = numbers.len();
            let message = format!("{count} frames do not make whole clips of {clip_frames}");
            return Err(Error::Argument(message));
        }
        let clips = numbers.chunks(clip_frames).map(|clip| self.clip(clip));
        Ok(Encoded::joined(clips.collect()))
    }

    fn clip(&mut self, numbers: &[usize]) -> Encoded {
        if let Some(held) = self.held.get(numbers) {
            return held.clone();
        }
        let bytes = self.frames.frame_bytes();
        let picture = |number: &usize| &self.frames.pixels[number * bytes..(number + 1) * bytes];
        let pixels: Vec<u8> = numbers.iter().flat_map(picture).copied().collect();
        let clip = Clips::video(pixels, numbers.len(), self.frames.size, numbers.len())
            .expect("a clip has its frames");
        let encoded = (self.encode)(&clip);
        self.runs += 1;
        self.shown.iter().for_each(|progress| progress.step());
        if (self.held.clips.len() + 1) * numbers.len() <= Self::MAX_HELD_FRAMES {
            self.held.clips.insert(numbers.to_vec(), encoded.clone());
        }
        encoded
    }
}
