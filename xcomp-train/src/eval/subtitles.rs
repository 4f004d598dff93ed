//! The subtitles that a `LongVideoBench` prompt quotes (`longvideobench/utils.py` of the reference's evaluation).

use std::path::Path;

use serde_json::Value;

use crate::error::Error;
use crate::machine::files::{at, read_text};

/// Times at which a subtitle must be seen to be quoted.
const TIMES: usize = 512;
/// Shorter subtitles are widened to this, in seconds.
const SHORTEST_S: f64 = 1.0;

/// The quoted lines of a subtitle file.
///
/// # Errors
/// If it cannot be read as a JSON list.
pub fn read_subtitles(path: &Path, start_s: f64, duration_s: f64) -> Result<String, Error> {
    let lines: Vec<Value> = serde_json::from_str(&read_text(path)?)
        .map_err(|error| at("cannot read", path)(error.into()))?;
    Ok(quoted(&lines, start_s, duration_s))
}

/// Lines during which some frame time falls, one below the other.
fn quoted(lines: &[Value], start_s: f64, duration_s: f64) -> String {
    let times: Vec<f64> = if duration_s > TIMES as f64 {
        (0..TIMES).map(|i| duration_s / TIMES as f64 * i as f64).collect()
    } else {
        (0..duration_s as usize).map(|second| second as f64).collect()
    };
    let kept = lines.iter().filter_map(|line| {
        let (from, to, text) = span(line, duration_s)?;
        let (mut from, mut to) = (from - start_s, to - start_s);
        if to - from < SHORTEST_S {
            let middle = f64::midpoint(from, to);
            (from, to) = (middle - SHORTEST_S / 2.0, middle + SHORTEST_S / 2.0);
        }
        times.iter().any(|time| *time > from && *time < to).then_some(text)
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// Start and end in seconds, and the words, of either published layout.
fn span(line: &Value, duration_s: f64) -> Option<(f64, f64, &str)> {
    if let Some(times) = line.get("timestamp") {
        // An end that is not a fraction is missing in the published files.
        let to = if times[1].is_f64() { times[1].as_f64()? } else { duration_s };
        return Some((times[0].as_f64()?, to, line["text"].as_str()?));
    }
    let seconds = |key: &str| clock_s(line[key].as_str()?);
    Some((seconds("start")?, seconds("end")?, line["line"].as_str()?))
}

/// `hh:mm:ss.fff` in seconds.
fn clock_s(clock: &str) -> Option<f64> {
    clock.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_between_frame_times_are_left_out() {
        let lines = [
            json!({ "timestamp": [0.2, 2.5], "text": "one" }),
            json!({ "timestamp": [2.4, 2.6], "text": "two" }), // widened to 2.0..3.0, which no second is inside
            json!({ "timestamp": [2.9, 3.1], "text": "three" }),
            json!({ "timestamp": [8.5, null], "text": "four" }),
            json!({ "start": "00:00:05.500", "end": "00:00:06.500", "line": "five" }),
        ];
        assert_eq!(quoted(&lines, 0.0, 10.0), "one\nthree\nfour\nfive");
        assert_eq!(quoted(&lines, 2.0, 4.0), "one\nthree");
        assert_eq!(clock_s("01:02:03.5"), Some(3723.5));
    }

    #[test]
    fn long_videos_have_512_times() {
        let line = [json!({ "timestamp": [3.0, 5.0], "text": "x" })];
        assert_eq!(quoted(&line, 0.0, 512.0 * 6.0), "", "times are 0, 6, 12, ...");
        assert_eq!(quoted(&line, 0.0, 512.0 * 4.0), "x", "times are 0, 4, 8, ...");
    }
}
