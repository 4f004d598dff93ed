//! Records of LLaVA-style annotation files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mixture::dataset::Dataset;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks: `human`, `gpt`, or another role name.
    pub from: String,
    /// What is said; `<image>` stands for the picture.
    pub value: String,
}

/// Whether a record shows a picture or a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Media {
    /// One picture, one frame.
    Image,
    /// Several frames, a multiple of the clip length.
    Video,
}

/// One sample of the mixture, not yet read from its media file.
#[derive(Debug, Clone)]
pub struct Record {
    /// The dataset that it comes from.
    pub dataset: Arc<Dataset>,
    /// Its `id`, or its index in the annotation file.
    pub id: String,
    /// Picture or video.
    pub media: Media,
    /// Media files as written in the annotation; more than one only for lists of pictures.
    pub paths: Vec<String>,
    /// The conversation.
    pub turns: Vec<Turn>,
    /// First and last second of the part that is shown, where given.
    pub part: Option<(f64, f64)>,
    /// Duration as the annotation gives it, in seconds; only used to predict costs.
    pub duration_s: Option<f64>,
    /// Words of all turns, split at white space: the length that the reference groups by.
    pub words: usize,
}

impl Record {
    /// The media file, or the first of a list.
    pub fn path(&self) -> PathBuf {
        self.dataset.data_root.join(self.paths.first().map_or("", String::as_str))
    }

    /// All media files.
    pub fn all_paths(&self) -> Vec<PathBuf> {
        self.paths.iter().map(|path| self.dataset.data_root.join(path)).collect()
    }

    /// Name of its dataset.
    pub fn source(&self) -> &Arc<str> {
        &self.dataset.tag
    }
}

/// What a media field of a record holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum MediaField {
    #[default]
    Absent,
    One(String),
    List(Vec<String>),
}

/// The fields of a record that are read; every other one is ignored.
#[derive(Debug, Deserialize)]
pub(crate) struct RawRecord {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default, deserialize_with = "media_field")]
    pub(crate) image: MediaField,
    #[serde(default, deserialize_with = "media_field")]
    pub(crate) video: MediaField,
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
    /// Whether exactly one medium is given; lists only count where `lists` allows them (`train.py:1224-1237`).
    pub(crate) fn medium(&self, lists: bool) -> Option<(Media, Vec<String>)> {
        let (media, field) = match (&self.image, &self.video) {
            (field, MediaField::Absent) => (Media::Image, field),
            (MediaField::Absent, field) => (Media::Video, field),
            _ => return None,
        };
        match field {
            MediaField::One(path) => Some((media, vec![path.clone()])),
            MediaField::List(paths) if lists && !paths.is_empty() => Some((media, paths.clone())),
            _ => None,
        }
    }

    /// The record, or why it cannot be one.
    pub(crate) fn into_record(
        self,
        dataset: &Arc<Dataset>,
        index: usize,
        (media, paths): (Media, Vec<String>),
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
            paths,
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

    fn medium(json: &str, lists: bool) -> Option<(Media, Vec<String>)> {
        serde_json::from_str::<RawRecord>(json).unwrap().medium(lists)
    }

    #[test]
    fn exactly_one_medium_is_kept() {
        let one = |media, path: &str| Some((media, vec![path.to_owned()]));
        assert_eq!(medium(r#"{"image": "a.jpg"}"#, false), one(Media::Image, "a.jpg"));
        assert_eq!(
            medium(r#"{"video": "a.mp4", "image": null}"#, false),
            one(Media::Video, "a.mp4")
        );
        assert_eq!(medium(r#"{"video": "a.mp4", "image": "b.jpg"}"#, false), None);
        assert_eq!(medium(r#"{"id": 3}"#, false), None);
        assert_eq!(medium(r#"{"image": ["a.jpg"]}"#, false), None);
        assert_eq!(medium(r#"{"image": ["a.jpg"]}"#, true), one(Media::Image, "a.jpg"));
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
