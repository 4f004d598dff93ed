//! Records of LLaVA-style annotation files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mixture::dataset::Dataset;
use crate::mixture::turns::{SystemTurn, Turn, is_known_role, is_system};
use crate::mixture::visual_rule::VisualRule;
use crate::python::json::NO_NUMBER;

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
    /// Why it cannot be used, where its annotation alone says so.
    pub broken: Option<String>,
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

/// Why a record is not taken, although nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// It has neither an `image` nor a `video`.
    NoVisual,
    /// Its `image` or `video` is a list.
    List,
    /// It has both an `image` and a `video`.
    Both,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoVisual => "with neither `image` nor `video`",
            Self::List => "whose `image` or `video` is a list",
            Self::Both => "with both `image` and `video`",
        })
    }
}

/// What is asked of the records of an annotation file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordRules {
    /// How many images and videos a record may show.
    pub(crate) visuals: VisualRule,
    /// What a system turn does.
    pub(crate) system: SystemTurn,
    /// Whether media paths may leave `data_root`.
    pub(crate) outside_paths: bool,
}

/// What a media field of a record holds.
#[derive(Debug, Clone, PartialEq)]
enum MediaField {
    Absent,
    One(String),
    List(Vec<String>),
}

impl MediaField {
    fn of(fields: &Fields, key: &str) -> Result<Self, String> {
        match fields.get(key) {
            None | Some(Value::Null) => Ok(Self::Absent),
            Some(Value::String(path)) => Ok(Self::One(path.clone())),
            Some(Value::Array(items)) => {
                let path = |item: &Value| {
                    let path = item.as_str().map(str::to_owned);
                    path.ok_or_else(|| format!("`{key}` lists {}, which is no path", kind(item)))
                };
                Ok(Self::List(items.iter().map(path).collect::<Result<_, _>>()?))
            }
            Some(other) => {
                Err(format!("`{key}` is {}, neither a path nor a list of paths", kind(other)))
            }
        }
    }

    fn into_files(self, kind: Media) -> impl Iterator<Item = MediaFile> {
        let paths = match self {
            Self::Absent => vec![],
            Self::One(path) => vec![path],
            Self::List(paths) => paths,
        };
        paths.into_iter().map(move |path| MediaFile { kind, path })
    }
}

type Fields = serde_json::Map<String, Value>;

/// The record of an object, the place `index` of its file standing for an `id`; one that cannot be used says why.
///
/// `Err` where the rules do not take it: the reference passes over it as well (`train.py:1224-1237`).
pub(crate) fn read_record(
    json: Result<Value, String>,
    dataset: &Arc<Dataset>,
    index: usize,
    rules: RecordRules,
) -> Result<Record, LeftOut> {
    let mut record = Record {
        dataset: Arc::clone(dataset),
        id: index.to_string(),
        media: vec![],
        turns: vec![],
        part: None,
        duration_s: None,
        words: 0,
        broken: None,
    };
    let fields = match json {
        Ok(Value::Object(fields)) => fields,
        Ok(other) => return Ok(record.because(format!("it is {}, not an object", kind(&other)))),
        Err(message) => return Ok(record.because(message)),
    };
    match fields.get("id") {
        Some(Value::String(id)) => record.id.clone_from(id),
        Some(Value::Number(id)) => record.id = id.to_string(),
        _ => (),
    }
    match media(&fields, rules.visuals) {
        Ok(media) => record.media = media?,
        Err(message) => return Ok(record.because(message)),
    }
    Ok(match record.fill(&fields, rules) {
        Ok(()) => record,
        Err(message) => record.because(message),
    })
}

/// What is shown, if the rule takes it: a list, even of one, is not exactly one.
fn media(fields: &Fields, rule: VisualRule) -> Result<Result<Vec<MediaFile>, LeftOut>, String> {
    use MediaField::{Absent, List, One};
    let (image, video) = (MediaField::of(fields, "image")?, MediaField::of(fields, "video")?);
    let left_out = match (rule, &image, &video) {
        (VisualRule::Any, ..) | (_, One(_), Absent) | (_, Absent, One(_)) => None,
        (_, Absent, Absent) => Some(LeftOut::NoVisual),
        (_, List(_), Absent) | (_, Absent, List(_)) => Some(LeftOut::List),
        _ => Some(LeftOut::Both),
    };
    let files = image.into_files(Media::Image).chain(video.into_files(Media::Video));
    Ok(left_out.map_or_else(|| Ok(files.collect()), Err))
}

impl Record {
    fn because(mut self, message: String) -> Self {
        self.broken = Some(message);
        self
    }

    /// Reads all but id and media, or says what is wrong.
    fn fill(&mut self, fields: &Fields, rules: RecordRules) -> Result<(), String> {
        if let Some(file) = self.media.iter().find(|file| !is_confined(&file.path))
            && !rules.outside_paths
        {
            let why = format!(
                "media path `{}` leaves data_root (absolute or `..`); fix it, or set [data] allow_outside_paths = true",
                file.path
            );
            self.media.clear(); // nobody opens it
            return Err(why);
        }
        self.turns = turns(fields)?;
        if rules.system == SystemTurn::Refuse && self.turns.iter().any(is_system) {
            return Err("it has a system turn, which [data] system = \"refuse\" refuses".into());
        }
        let second = |key: &str| seconds(fields.get(key), key);
        self.part = second("start")?.zip(second("end")?);
        self.duration_s = second("duration").unwrap_or(None);
        self.words = self.turns.iter().map(|turn| turn.value.split_whitespace().count()).sum();
        Ok(())
    }
}

fn turns(fields: &Fields) -> Result<Vec<Turn>, String> {
    let turns = match fields.get("conversations") {
        Some(Value::Array(turns)) if !turns.is_empty() => turns,
        _ => return Err("it has no `conversations`".into()),
    };
    let turn = |(index, turn): (usize, &Value)| {
        let text = |key: &str| match turn.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            None => Err(format!("turn {} has no `{key}`", index + 1)),
            Some(other) => {
                Err(format!("`{key}` of turn {} is {}, not text", index + 1, kind(other)))
            }
        };
        let turn = Turn { from: text("from")?, value: text("value")? };
        if is_known_role(&turn.from) {
            return Ok(turn);
        }
        Err(format!(
            "turn {} is spoken by `{}`; known are human, gpt, user, assistant and system",
            index + 1,
            turn.from
        ))
    };
    turns.iter().enumerate().map(turn).collect()
}

/// A value's kind in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(fields) if fields.contains_key(NO_NUMBER) => NO_NUMBER,
        Value::Object(_) => "an object",
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
pub fn is_confined(path: &str) -> bool {
    use std::path::Component::{CurDir, Normal};
    Path::new(path).components().all(|part| matches!(part, Normal(_) | CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> Arc<Dataset> {
        Arc::new(Dataset {
            tag: "d".into(),
            annotation: PathBuf::new(),
            data_root: PathBuf::new(),
            read_type: None,
            total: 1,
            chosen: 1,
        })
    }

    fn read(json: &str, visuals: VisualRule, system: SystemTurn) -> Result<Record, LeftOut> {
        let rules = RecordRules { visuals, system, outside_paths: false };
        let json = crate::python::json::from_slice(json.as_bytes());
        read_record(json.map_err(|error| error.to_string()), &dataset(), 3, rules)
    }

    #[test]
    fn a_rule_decides_which_media_a_record_may_have() {
        const BOTH: &str = r#"{"video": ["a.mp4", "b.mp4"], "image": "c.jpg"}"#;
        let check = |json: &str, rule, expect: Result<&[(Media, &str)], LeftOut>| {
            let media = read(json, rule, SystemTurn::Keep).map(|record| record.media);
            let file =
                |(kind, path): &(Media, &str)| MediaFile { kind: *kind, path: (*path).into() };
            assert_eq!(media, expect.map(|files| files.iter().map(file).collect()), "{json}");
        };
        let (image, video) = (Media::Image, Media::Video);
        for rule in [VisualRule::ExactlyOne, VisualRule::Any] {
            check(r#"{"image": "a.jpg"}"#, rule, Ok(&[(image, "a.jpg")]));
            check(r#"{"video": "a.mp4", "image": null}"#, rule, Ok(&[(video, "a.mp4")]));
        }
        for (dropped, why) in [
            (BOTH, LeftOut::Both),
            (r#"{"image": "a.jpg", "video": "a.mp4"}"#, LeftOut::Both),
            (r#"{"id": 3, "videos": "a.mp4"}"#, LeftOut::NoVisual),
            (r#"{"image": ["a.jpg"]}"#, LeftOut::List),
            (r#"{"video": []}"#, LeftOut::List),
        ] {
            check(dropped, VisualRule::ExactlyOne, Err(why));
        }
        check(BOTH, VisualRule::Any, Ok(&[(image, "c.jpg"), (video, "a.mp4"), (video, "b.mp4")]));
        check(r#"{"image": []}"#, VisualRule::Any, Ok(&[]));
        check(r#"{"id": 3}"#, VisualRule::Any, Ok(&[]));
    }

    #[test]
    fn what_is_wrong_with_a_record_is_said() {
        let check = |json: &str, id: &str, says: &str| {
            let record = read(json, VisualRule::ExactlyOne, SystemTurn::Refuse).unwrap();
            assert_eq!(record.id, id, "{json}");
            let broken = record.broken.unwrap_or_default();
            assert!(
                if says.is_empty() { broken.is_empty() } else { broken.contains(says) },
                "{broken}"
            );
        };
        let turns =
            |turns: &str| format!(r#"{{"id": "x", "video": "a.mp4", "conversations": {turns}}}"#);
        let one = r#"{"from": "human", "value": "<image>"}"#;
        check(&turns(&format!("[{one}]")), "x", "");
        check(&turns(r#"[{"from": "human", "value": 3}]"#), "x", "`value` of turn 1 is a number");
        check(&turns(r#"[{"from": "human", "value": null}]"#), "x", "`value` of turn 1 is null");
        check(&turns(r#"[{"from": "human", "value": NaN}]"#), "x", "is not a finite number");
        check(&turns(&format!(r#"[{one}, {{"value": "y"}}]"#)), "x", "turn 2 has no `from`");
        check(&turns(&format!(r#"[{one}, "y"]"#)), "x", "turn 2 has no `from`");
        check(
            &turns(&format!(r#"[{one}, {{"from": "GPT", "value": "y"}}]"#)),
            "x",
            "spoken by `GPT`",
        );
        check(&turns(r#"[{"from": "system", "value": "y"}]"#), "x", "system turn");
        for none in ["[]", "null", "7", "{}"] {
            check(&turns(none), "x", "no `conversations`");
        }
        check(r#"{"id": 7, "video": "a.mp4"}"#, "7", "no `conversations`");
        check(r#"{"id": [7], "video": 8}"#, "3", "`video` is a number");
        check(r#"{"id": "x", "video": ["a.mp4", 8]}"#, "x", "`video` lists a number");
        check("7", "3", "it is a number");
        check("{", "3", "EOF");
        check(r#"{"video": "/a.mp4"}"#, "3", "allow_outside_paths = true");
        let timed = |start: &str| {
            let rest = format!(r#""conversations": [{one}], "start": {start}, "end": 9"#);
            format!(r#"{{"id": "x", "video": "a.mp4", {rest}}}"#)
        };
        check(&timed("\"00:00:01\""), "x", "`start` is not a number of seconds");
        check(&timed("NaN"), "x", "`start` is not a number of seconds");
        check(&timed("null"), "x", "");
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
