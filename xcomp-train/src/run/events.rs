//! `TensorBoard`'s event files: <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto>.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use protobuf::{Message as _, RepeatedField};
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::{
    Summary, Summary_Value, SummaryMetadata, SummaryMetadata_PluginData,
};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::types::DataType;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

use crate::error::Error;
use crate::machine::files::{at, entries};
use crate::run::name::RunName;

const PREFIX: &str = "events.out.tfevents.";
/// The format since which a reader heeds a `SessionLog`.
const VERSION: &str = "brain.Event:2";

/// The event file of one start of a run.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Begins a file behind those of earlier starts; what they hold from step `first` on is overtaken.
    ///
    /// `SessionLog` START makes a reader drop points of that step and later ones, as the `purge_step` of other writers
    /// (`_CheckForRestartAndMaybePurge` in tensorboard's `event_accumulator.py`).
    pub(super) fn start(folder: &Path, first: usize, run: &RunName) -> Result<Self, Error> {
        let path = folder.join(next_name(folder)?);
        let file = File::create_new(&path).map_err(at("cannot create", &path))?;
        let mut events = Self { path, file };
        let mut version = Event::new();
        version.set_file_version(VERSION.into());
        let mut log = SessionLog::new();
        log.set_status(SessionLog_SessionStatus::START);
        let mut start = Event::new();
        start.set_session_log(log);
        start.set_step(first as i64);
        let mut name = Event::new();
        name.set_summary(text("run", &[&[run.name.clone()][..], &run.tags].concat()));
        events.write(vec![version, start, name])?;
        Ok(events)
    }

    /// Adds the scalars of a step.
    pub(super) fn add(&mut self, step: usize, scalars: &[(String, f64)]) -> Result<(), Error> {
        let event = |(tag, value): &(String, f64)| {
            let mut event = Event::new();
            event.set_step(step as i64);
            event.set_summary(scalar(tag, *value as f32));
            event
        };
        self.write(scalars.iter().map(event).collect())
    }

    /// Writes events at once, so that a kill leaves at most the last one cut.
    fn write(&mut self, events: Vec<Event>) -> Result<(), Error> {
        let wall_time = since_1970().as_secs_f64();
        let mut bytes = vec![];
        let mut records = RecordWriter::new(&mut bytes);
        let written = events.into_iter().try_for_each(|mut event| {
            event.set_wall_time(wall_time);
            records.write(&event.write_to_bytes().map_err(io::Error::other)?)
        });
        written.and_then(|()| self.file.write_all(&bytes)).map_err(at("cannot write", &self.path))
    }
}

/// Lines under a tag, for the page of texts.
fn text(tag: &str, lines: &[String]) -> Summary {
    let mut plugin = SummaryMetadata_PluginData::new();
    plugin.set_plugin_name("text".into());
    let mut metadata = SummaryMetadata::new();
    metadata.set_plugin_data(plugin);
    let mut tensor = TensorProto::new();
    tensor.set_dtype(DataType::DT_STRING);
    tensor.set_string_val(RepeatedField::from_vec(vec![lines.join("  \n").into_bytes()]));
    let mut value = Summary_Value::new();
    value.set_tag(tag.into());
    value.set_metadata(metadata);
    value.set_tensor(tensor);
    let mut summary = Summary::new();
    summary.set_value(RepeatedField::from_vec(vec![value]));
    summary
}

/// A name that sorts behind the event files that are there: a reader takes them by name, and two starts can share a second.
fn next_name(folder: &Path) -> Result<String, Error> {
    let second = |path: PathBuf| -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
        name.split('.').next()?.parse().ok()
    };
    let last = entries(folder)?.into_iter().filter_map(second).max();
    let at = since_1970().as_secs().max(last.map_or(0, |last| last + 1));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Ok(format!("{PREFIX}{at:010}.{}.{}.0", host.trim(), std::process::id()))
}

#[expect(clippy::disallowed_methods, reason = "an event states when it was written")]
fn since_1970() -> Duration {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
