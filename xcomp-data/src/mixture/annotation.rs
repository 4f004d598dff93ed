//! Records of LLaVA-style annotation files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mixture::dataset::Dataset;
use crate::mixture::visual_rule::VisualRule;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks: `human`, `gpt`, or another role name.
    pub from: String,
    /// What is said; `<image>` stands for the picture.
    pub value: String,
}

/// Whether a visual is a picture or a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Media {
    /// One picture, one frame.
    Image,
    /// Several frames, a multiple of the clip length.
    Video,
}

/// A picture or a video that a record shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// Picture or video.
    pub kind: Media,
    /// The file or folder, as written in the annotation.
    pub path: String,
}

/// One sample of the mixture, not yet read from its media files.
#[derive(Debug, Clone)]
pub struct Record {
    /// The dataset that it comes from.
    pub dataset: Arc<Dataset>,
    /// Its `id`, or its index in the annotation file.
    pub id: String,
    /// What it shows, one for each `<image>` tag in turn: its images, then its videos, as the annotation lists them.
    pub media: Vec<MediaFile>,
    /// The conversation.
    pub turns: Vec<Turn>,
    /// First and last second of the part of its videos that is shown, where given.
    pub part: Option<(f64, f64)>,
    /// Duration of each video as the annotation gives it, in seconds; only used to predict costs.
    pub duration_s: Option<f64>,
    /// Words of all turns, split at white space: the length that the reference groups by.
    pub words: usize,
}

impl Record {
    /// The first of its media files; the annotation file where it has none.
    pub fn path(&self) -> PathBuf {
        self.paths().next().unwrap_or_else(|| self.dataset.annotation.clone())
    }

    /// Its media files, in the order of [`Self::media`].
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.media.iter().map(|file| self.dataset.data_root.join(&file.path))
    }

    /// Name of its dataset.
    pub fn source(&self) -> &Arc<str> {
        &self.dataset.tag
    }
}

/// What a media field of a record holds.
#[derive(Debug, Clone, PartialEq, Default)]
enum MediaField {
    #[default]
    Absent,
    One(String),
    List(Vec<String>),
}

impl MediaField {
    fn into_files(self, kind: Media) -> impl Iterator<Item = MediaFile> {
        let paths = match self {
            Self::Absent => vec![],
            Self::One(path) => vec![path],
            Self::List(paths) => paths,
        };
        paths.into_iter().map(move |path| MediaFile { kind, path })
    }
}

/// The fields of a record that are read; every other one is ignored.
#[derive(Debug, Deserialize)]
pub(crate) struct RawRecord {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default, deserialize_with = "media_field")]
    image: MediaField,
    #[serde(default, deserialize_with = "media_field")]
    video: MediaField,
    #[serde(default)]
    conversations: Vec<Turn>,
    #[serde(default)]
    start: Option<Value>,
    #[serde(default)]
    end: Option<Value>,
    #[serde(default)]
    duration: Option<Value>,
}

fn media_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<MediaField, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(MediaField::Absent),
        Value::String(path) => Ok(MediaField::One(path)),
        Value::Array(items) => {
            let paths = items.into_iter().map(|item| match item {
                Value::String(path) => Ok(path),
                _ => {
                    Err(serde::de::Error::custom("a media list holds something that is not a path"))
                }
            });
            Ok(MediaField::List(paths.collect::<Result<_, _>>()?))
        }
        _ => Err(serde::de::Error::custom("a media field is neither a path nor a list of paths")),
    }
}

impl RawRecord {
    /// What is shown; `None` where the rule drops the record: a list, even of one, is not exactly one.
    pub(crate) fn take_media(&mut self, rule: VisualRule) -> Option<Vec<MediaFile>> {
        use MediaField::{Absent, One};
        let one = matches!((&self.image, &self.video), (One(_), Absent) | (Absent, One(_)));
        if rule == VisualRule::ExactlyOne && !one {
            return None;
        }
        let images = std::mem::take(&mut self.image).into_files(Media::Image);
        let videos = std::mem::take(&mut self.video).into_files(Media::Video);
        Some(images.chain(videos).collect())
    }

    /// The record, or why it cannot be one.
    pub(crate) fn into_record(
        self,
        dataset: &Arc<Dataset>,
        index: usize,
        media: Vec<MediaFile>,
    ) -> Result<Record, String> {
        if self.conversations.is_empty() {
            return Err("a record has no `conversations`".into());
        }
        let part =
            match (seconds(self.start.as_ref(), "start")?, seconds(self.end.as_ref(), "end")?) {
                (Some(start), Some(end)) => Some((start, end)),
                _ => None,
            };
        let words = self.conversations.iter().map(|t| t.value.split_whitespace().count()).sum();
        let id = match self.id {
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) => id.to_string(),
            _ => index.to_string(),
        };
        Ok(Record {
            dataset: Arc::clone(dataset),
            id,
            media,
            turns: self.conversations,
            part,
            duration_s: seconds(self.duration.as_ref(), "duration").unwrap_or(None),
            words,
        })
    }
}

/// A number of seconds, written as a number or as text.
fn seconds(value: Option<&Value>, field: &str) -> Result<Option<f64>, String> {
    let number = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    match number {
        Some(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(format!("`{field}` is not a number of seconds")),
    }
}

/// Whether a media path stays under its root as written.
pub(crate) fn is_confined(path: &str) -> bool {
    use std::path::Component::{CurDir, Normal};
    Path::new(path).components().all(|part| matches!(part, Normal(_) | CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_decides_which_media_a_record_may_have() {
        const BOTH: &str = r#"{"video": ["a.mp4", "b.mp4"], "image": "c.jpg"}"#;
        let check = |json: &str, rule, expect: Option<&[(Media, &str)]>| {
            let media = serde_json::from_str::<RawRecord>(json).unwrap().take_media(rule);
            let file =
                |(kind, path): &(Media, &str)| MediaFile { kind: *kind, path: (*path).into() };
            assert_eq!(media, expect.map(|files| files.iter().map(file).collect()), "{json}");
        };
        let (image, video) = (Media::Image, Media::Video);
        for rule in [VisualRule::ExactlyOne, VisualRule::Any] {
            check(r#"{"image": "a.jpg"}"#, rule, Some(&[(image, "a.jpg")]));
            check(r#"{"video": "a.mp4", "image": null}"#, rule, Some(&[(video, "a.mp4")]));
        }
        for dropped in [BOTH, r#"{"id": 3}"#, r#"{"image": ["a.jpg"]}"#, r#"{"video": []}"#] {
            check(dropped, VisualRule::ExactlyOne, None);
        }
        check(BOTH, VisualRule::Any, Some(&[(image, "c.jpg"), (video, "a.mp4"), (video, "b.mp4")]));
        check(r#"{"image": []}"#, VisualRule::Any, Some(&[]));
        check(r#"{"id": 3}"#, VisualRule::Any, Some(&[]));
    }

    #[test]
    fn seconds_may_be_text() {
        let value = |json: &str| serde_json::from_str::<Value>(json).unwrap();
        assert_eq!(seconds(Some(&value("\"12.5\"")), "start").unwrap(), Some(12.5));
        assert_eq!(seconds(Some(&value("3")), "start").unwrap(), Some(3.0));
        assert!(seconds(Some(&value("\"soon\"")), "start").is_err());
        assert!(seconds(Some(&value("\"inf\"")), "start").is_err());
    }

    #[test]
    fn paths_that_climb_are_not_confined() {
        assert!(is_confined("a/b.mp4") && is_confined("./a.mp4"));
        assert!(!is_confined("/a.mp4") && !is_confined("a/../../b.mp4"));
    }
}
