//! A model that answers the questions of a benchmark about videos on disk.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use xcomp_data::{
    Choice, FeatureCache, FeatureSlot, Frames, Media, ReadType, Visual, VisualData, is_confined,
    load_kept_media, load_media,
};

use super::question::{Question, Unasked};
use super::responses::{Responder, Response};
use crate::answer::asking::Asking;
use crate::answer::clips::HeldClips;
use crate::answer::precision::Precision;
use crate::answer::select::Selection;
use crate::answer::{Answerer, EncodedMedia, patient_limits};
use crate::data::features::{Stored, encoded_to_host};
use crate::error::Error;
use crate::machine::files::{entries, size_and_sha256};
use crate::recipe::tables::{AnswerBy, DataTable};
use crate::show::progress::during;

/// Endings that are tried where a benchmark names a video without one.
const ENDINGS: [&str; 6] = ["mp4", "mkv", "webm", "avi", "mov", "gif"];

/// A checkpoint that answers; frames of the last video are kept for the next question.
pub struct ModelResponder {
    answerer: Answerer,
    weights: String,
    videos: PathBuf,
    asking: Asking,
    features: Option<Arc<FeatureCache>>,
    last: Option<(String, Video)>,
}

struct Video {
    frames: Frames,
    choice: Choice,
    media: Media,
    held: HeldClips,
    /// What the last question was shown: questions that are shown the same frames share it.
    seen: Option<(Selection, EncodedMedia)>,
}

impl Video {
    fn new(frames: Frames, choice: Choice, media: Media, held: HeldClips) -> Self {
        Self { frames, choice, media, held: held.for_questions(), seen: None }
    }
}

impl ModelResponder {
    /// Puts questions about the videos of a folder to `answerer`, which was opened from `folder`.
    ///
    /// # Errors
    /// If the folder's files cannot be hashed.
    pub fn new(
        answerer: Answerer,
        folder: &Path,
        videos: &Path,
        asking: Asking,
    ) -> Result<Self, Error> {
        let weights = during("hashing the weights", || hashes(folder))?;
        let videos = videos.to_owned();
        Ok(Self { answerer, weights, videos, asking, features: None, last: None })
    }

    /// Takes features of videos from the cache that the table names, and keeps new ones there; answers stay the same.
    ///
    /// Frames that a question chooses are cut into other clips each time: then nothing is kept.
    ///
    /// # Errors
    /// If the cache cannot be opened.
    pub fn keeping(self, data: &DataTable) -> Result<Self, Error> {
        let features = match self.asking.select {
            None => self.answerer.feature_cache(data)?,
            Some(_) => None,
        };
        Ok(Self { features, ..self })
    }

    /// How often visual tokens went through the decoder.
    pub fn prefills(&self) -> usize {
        self.answerer.prefills()
    }

    fn load(&self, name: &str) -> Result<Video, Error> {
        let path = find(&self.videos, name)?;
        let options = self.answerer.frame_options(self.asking.frames.clone());
        let read_type = path.is_dir().then_some(ReadType::Img);
        let limits = patient_limits();
        let Some(features) = &self.features else {
            let (frames, choice, media) = load_media(&path, read_type, &options, &limits)?;
            return Ok(Video::new(frames, choice, media, HeldClips::default()));
        };
        let Visual { media, choice, data } =
            load_kept_media(&path, read_type, &options, &limits, features)?;
        let (count, size) = (choice.indices.len(), options.image_size);
        let (frames, held) = match data {
            // The held clips are all that is asked for: no pixel is looked at.
            VisualData::Features(features) => {
                (Frames { pixels: vec![], count, size }, self.answerer.held(features, count))
            }
            VisualData::Frames(frames, slot) => {
                let held = self.fill(&frames, &choice, media, slot)?;
                (frames, held)
            }
        };
        Ok(Video::new(frames, choice, media, held))
    }

    /// Keeps the features of frames that have just been read.
    fn fill(
        &self,
        frames: &Frames,
        choice: &Choice,
        media: Media,
        slot: Option<FeatureSlot>,
    ) -> Result<HeldClips, Error> {
        let Some(slot) = slot else { return Ok(HeldClips::default()) };
        let seen = self.answerer.see(frames.clone(), choice, media)?;
        let features = encoded_to_host(seen.encoded, Stored::F32);
        slot.fill(&features);
        Ok(self.answerer.held(features, frames.count))
    }

    /// What the model sees of a video when it is asked this.
    fn look(&self, video: &mut Video, question: &str) -> Result<(), Error> {
        let all = || Selection { frames: (0..video.frames.count).collect(), scores: vec![] };
        if video.media == Media::Image {
            if video.seen.is_none() {
                let all = all();
                let seen = match video.held.get(&all.frames) {
                    Some(encoded) => EncodedMedia::new(encoded.clone(), String::new()),
                    None => self.answerer.see(video.frames.clone(), &video.choice, video.media)?,
                };
                video.seen = Some((all, seen));
            }
            return Ok(());
        }
        let message = video.choice.message(self.answerer.time_message());
        let held = std::mem::take(&mut video.held);
        let mut clips = self.answerer.clips(&video.frames, held);
        let selection = match &self.asking.select {
            Some(options) => self.answerer.select(&mut clips, &message, question, options)?,
            None => all(),
        };
        let same = |(shown, _): &(Selection, _)| shown.frames == selection.frames;
        let seen = match video.seen.take().filter(same) {
            Some((_, seen)) => seen,
            None => EncodedMedia::new(clips.encoded(&selection.frames)?, message),
        };
        video.held = clips.into_held();
        video.seen = Some((selection, seen));
        Ok(())
    }
}

impl Responder for ModelResponder {
    fn settings(&self) -> String {
        let Asking { frames, select, by, answer } = &self.asking;
        let clip = self.answerer.config().vision.clip_frames;
        let compression = self.answerer.compression();
        let weights = &self.weights;
        let mut settings =
            format!("{weights}{frames:?} {select:?} {by:?} {answer:?} {clip} {compression:?}");
        if let Some(ratio) = self.answerer.ratio() {
            settings = format!("{settings} ratio {ratio}");
        }
        if let Some(cut) = self.answerer.cut() {
            settings = format!("{settings} windows {cut:?}");
        }
        match self.answerer.precision() {
            Precision::F32 => settings,
            Precision::Bf16 => settings + " Bf16",
        }
    }

    fn respond(&mut self, question: &Question) -> Result<Response, Error> {
        let mut video = match self.last.take() {
            Some((name, video)) if name == question.video => video,
            _ => self.load(&question.video)?,
        };
        self.look(&mut video, &question.prompt)?;
        let (selection, seen) = video.seen.as_ref().expect("it has been looked at");
        let text = match self.asking.by {
            AnswerBy::Generation => {
                self.answerer.answer(seen, &question.prompt, &self.asking.answer, &mut |_| ())?
            }
            AnswerBy::Likelihood => {
                let letters: Vec<char> =
                    (0..question.candidates.len()).map(Question::letter).collect();
                let scores = self.answerer.letter_likelihoods(seen, &question.prompt, &letters)?;
                likeliest(&letters, &scores).to_string()
            }
        };
        // In whole microseconds, which JSON gives back as they were written.
        let times: Vec<f64> =
            video.choice.times_s().map(|time| (time * 1e6).round() / 1e6).collect();
        let frames_s = selection.frames.iter().filter_map(|at| times.get(*at)).copied().collect();
        self.last = Some((question.video.clone(), video));
        Ok(Response { text, frames_s })
    }
}

/// Name and hash of each file of a folder.
pub(super) fn hashes(folder: &Path) -> Result<String, Error> {
    let mut lines = String::new();
    for path in entries(folder)?.into_iter().filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines += &[&name, " ", &size_and_sha256(&path)?.1, "\n"].concat();
    }
    Ok(lines)
}

/// The letter with the best score, the first of equals.
fn likeliest(letters: &[char], scores: &[f64]) -> char {
    let mut best = 0;
    for at in 1..letters.len() {
        if scores[at] > scores[best] {
            best = at;
        }
    }
    letters[best]
}

/// The questions whose video is not in the folder; the others stay in `questions`.
pub fn without_video(videos: &Path, questions: &mut Vec<Question>) -> Vec<Unasked> {
    let mut missing = vec![];
    questions.retain(|question| match find(videos, &question.video) {
        Ok(_) => true,
        Err(error) => {
            missing.push(Unasked { id: question.id.clone(), why: error.to_string() });
            false
        }
    });
    missing
}

/// The file or folder of a video.
fn find(videos: &Path, name: &str) -> Result<PathBuf, Error> {
    if !is_confined(name) {
        let message = format!("video `{name}` leaves {} (absolute or `..`)", videos.display());
        return Err(Error::Argument(message));
    }
    let plain = videos.join(name);
    let with_ending = ENDINGS.iter().map(|ending| videos.join(format!("{name}.{ending}")));
    std::iter::once(plain).chain(with_ending).find(|path| path.exists()).ok_or_else(|| {
        let message =
            format!("no video `{name}` in {}, with or without an ending", videos.display());
        Error::Argument(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_likeliest() {
        assert_eq!(likeliest(&['A', 'B', 'C'], &[-2.0, -1.0, -1.0]), 'B');
    }

    #[test]
    fn videos_are_found_with_and_without_an_ending() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["one.mp4", "two.webm"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        for (name, file) in [("one.mp4", "one.mp4"), ("one", "one.mp4"), ("two", "two.webm")] {
            assert_eq!(find(folder.path(), name).unwrap(), folder.path().join(file));
        }
        for outside in [folder.path().join("one.mp4").to_str().unwrap(), "../one.mp4"] {
            assert!(find(folder.path(), outside).unwrap_err().to_string().contains("leaves"));
        }
        assert!(find(folder.path(), "three").unwrap_err().to_string().contains("three"));
    }
}
