//! VICO (Video-XL, section 4.1): time-ordered events of a video become questions about their order, with distinct options.
//!
//! The paper lets a language model find the events and write the questions; here events are given, and every right answer follows from
//! their times.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::DataError;
use crate::open::open_regular;
use crate::python::mt19937::PythonRandom;

/// Most options of a question.
const OPTIONS: usize = 4;
/// Events that a question about a whole order names.
const ORDERED: usize = 3;

/// A video and what happens in it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "GivenFilm")]
pub struct Film {
    /// Its file, relative to the `data_root` of the mixture that the questions are for.
    pub video: String,
    /// What happens, first to last, and nothing of it twice.
    events: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenFilm {
    video: String,
    events: Vec<Event>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "GivenEvent")]
struct Event {
    start_s: f64,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenEvent {
    /// Seconds from the beginning of the video.
    start: f64,
    text: String,
}

impl TryFrom<GivenEvent> for Event {
    type Error = String;

    fn try_from(given: GivenEvent) -> Result<Self, String> {
        let GivenEvent { start, text } = given;
        if !(start.is_finite() && start >= 0.0) {
            return Err(format!("an event starts at {start} s; give seconds of 0 or more"));
        }
        match text.split_whitespace().collect::<Vec<_>>().join(" ") {
            text if text.is_empty() => Err(format!("the event at {start} s has no text")),
            text => Ok(Self { start_s: start, text }),
        }
    }
}

impl TryFrom<GivenFilm> for Film {
    type Error = String;

    fn try_from(given: GivenFilm) -> Result<Self, String> {
        let GivenFilm { video, events } = given;
        if video.trim().is_empty() {
            return Err("a video has an empty path".into());
        }
        let late = events.windows(2).find(|two| two[0].start_s >= two[1].start_s);
        if let Some([one, next]) = late {
            return Err(format!(
                "events of `{video}` are not in order: one at {} s follows one at {} s; sort them by start, and give no two the same",
                next.start_s, one.start_s
            ));
        }
        // What happens twice has no place in an order.
        let count = |text: &str| events.iter().filter(|event| event.text == text).count();
        let once = events.iter().filter(|event| count(&event.text) == 1);
        let events = once.map(|event| event.text.clone()).collect();
        Ok(Self { video, events })
    }
}

/// Reads a JSON list of videos: `[{"video": "a.mp4", "events": [{"start": 1.5, "text": "a man sits down"}, ...]}, ...]`.
///
/// # Errors
/// If the file cannot be read, or what is wrong in which line of it.
pub fn read_films(path: &Path) -> Result<Vec<Film>, DataError> {
    let text = std::io::read_to_string(open_regular(path)?)
        .map_err(|source| DataError::Read { path: path.into(), source })?;
    serde_json::from_str(&text).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string().trim_end_matches(&place).to_owned();
        DataError::Events { path: path.into(), line: line_of(&error, text.as_bytes()), message }
    })
}

/// The line of an error: what is wrong about a value is noticed where the next one begins.
fn line_of(error: &serde_json::Error, text: &[u8]) -> usize {
    if error.classify() != Category::Data {
        return error.line();
    }
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let end = (before + error.column()).saturating_sub(1).min(text.len());
    text[..end].trim_ascii_end().split(|byte| *byte == b'\n').count()
}

/// One record in `LLaVA` form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    id: String,
    video: String,
    conversations: [Turn; 2],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Turn {
    from: &'static str,
    value: String,
}

/// Questions about films, and what could not be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    /// One for each film that has two events or more that happen once.
    pub records: Vec<Record>,
    /// Films that have not.
    pub left_out: usize,
}

/// One question about each film; `seed` fixes which, and where the right option stands.
pub fn questions(films: &[Film], seed: u64) -> Questions {
    let mut random = PythonRandom::new(seed);
    let asked = films.iter().enumerate().filter_map(|(at, film)| {
        let (question, options, right) = film.ask(&mut random)?;
        Some(record(at, film, &question, &options, right, &mut random))
    });
    let records: Vec<Record> = asked.collect();
    Questions { left_out: films.len() - records.len(), records }
}

/// Question, options, and the right one of them.
type Asked = (String, Vec<String>, usize);

impl Film {
    /// What happens once in it, first to last.
    pub fn events(&self) -> &[String] {
        &self.events
    }

    /// By lot one of the questions that so many events allow.
    fn ask(&self, random: &mut PythonRandom) -> Option<Asked> {
        let events = &self.events;
        let kinds = match events.len() {
            0 | 1 => return None,
            2 => 2,
            _ => 5,
        };
        Some(match random.randbelow(kinds) {
            0 => self.choose("Which of these happens first in the video?".into(), 0, None, random),
            1 => {
                let last = events.len() - 1;
                self.choose("Which of these happens last in the video?".into(), last, None, random)
            }
            2 => self.order(random),
            3 => {
                let at = below(random, events.len() - 1);
                let question = format!("What happens right after this: {}?", events[at]);
                self.choose(question, at + 1, Some(at), random)
            }
            _ => {
                let at = 1 + below(random, events.len() - 1);
                let question = format!("What happens right before this: {}?", events[at]);
                self.choose(question, at - 1, Some(at), random)
            }
        })
    }

    /// The right event beside others, none of which is named in the question.
    fn choose(
        &self,
        question: String,
        right: usize,
        named: Option<usize>,
        random: &mut PythonRandom,
    ) -> Asked {
        let mut others: Vec<usize> =
            (0..self.events.len()).filter(|at| *at != right && Some(*at) != named).collect();
        random.shuffle(&mut others);
        let options = std::iter::once(right).chain(others).take(OPTIONS);
        (question, options.map(|at| self.events[at].clone()).collect(), 0)
    }

    /// Some events in the order in which they happen, beside other orders of them.
    fn order(&self, random: &mut PythonRandom) -> Asked {
        let mut chosen: Vec<usize> = (0..self.events.len()).collect();
        random.shuffle(&mut chosen);
        chosen.truncate(ORDERED);
        chosen.sort_unstable();
        let mut orders = vec![chosen.clone()];
        while orders.len() < OPTIONS {
            random.shuffle(&mut chosen);
            if !orders.contains(&chosen) {
                orders.push(chosen.clone());
            }
        }
        let words = |order: &Vec<usize>| {
            let texts: Vec<&str> = order.iter().map(|at| self.events[*at].as_str()).collect();
            texts.join("; then ")
        };
        let question = "In which order do these happen in the video?".to_owned();
        (question, orders.iter().map(words).collect(), 0)
    }
}

fn below(random: &mut PythonRandom, bound: usize) -> usize {
    random.randbelow(bound as u32) as usize
}

/// Puts the options into an order drawn by lot, behind letters.
fn record(
    at: usize,
    film: &Film,
    question: &str,
    options: &[String],
    right: usize,
    random: &mut PythonRandom,
) -> Record {
    let mut places: Vec<usize> = (0..options.len()).collect();
    random.shuffle(&mut places);
    let line = |(letter, option): (char, &usize)| format!("{letter}. {}", options[*option]);
    let lines: Vec<String> = ('A'..).zip(&places).map(line).collect();
    let place = places.iter().position(|option| *option == right).expect("it is one of them");
    let human = format!("<image>\n{question}\n{}", lines.join("\n"));
    Record {
        id: format!("vico-{at:06}"),
        video: film.video.clone(),
        conversations: [
            Turn { from: "human", value: human },
            Turn { from: "gpt", value: lines[place].clone() },
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn films(text: &str) -> Result<Vec<Film>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.json");
        std::fs::write(&path, text).unwrap();
        read_films(&path).map_err(|error| error.to_string())
    }

    fn film(events: &[&str]) -> Film {
        Film { video: "a.mp4".into(), events: events.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn every_answer_follows_from_the_times() {
        let events = ["rain falls", "a dog barks", "a man sits", "he eats", "it is night"];
        let place = |text: &str| events.iter().position(|event| *event == text).unwrap();
        let films = vec![film(&events); 300];
        let Questions { records, left_out } = questions(&films, 7);
        assert_eq!((records.len(), left_out), (300, 0));
        let (mut openings, mut letters) = (BTreeSet::new(), BTreeSet::new());
        for record in &records {
            let [human, answer] = &record.conversations;
            let mut lines = human.value.strip_prefix("<image>\n").unwrap().lines();
            let question = lines.next().unwrap();
            let options: Vec<&str> = lines.collect();
            assert!(options.contains(&answer.value.as_str()), "{record:?}");
            let texts: BTreeSet<&str> = options.iter().map(|line| &line[3..]).collect();
            assert_eq!(texts.len(), if question.contains("right") { 4 } else { OPTIONS });
            openings.insert(question.split(':').next().unwrap());
            letters.insert(&answer.value[..3]);
            let said = &answer.value[3..];
            let named =
                question.split_once(": ").map(|(_, event)| place(&event[..event.len() - 1]));
            match named {
                Some(at) if question.contains("after") => assert_eq!(place(said), at + 1),
                Some(at) => assert_eq!(place(said) + 1, at),
                None if question.contains("order") => {
                    let order: Vec<usize> = said.split("; then ").map(place).collect();
                    assert!(order.len() == 3 && order.is_sorted(), "{said}");
                }
                None => {
                    let all = texts.iter().map(|text| place(text));
                    let want = if question.contains("first") { all.min() } else { all.max() };
                    assert_eq!(Some(place(said)), want);
                }
            }
        }
        assert_eq!((openings.len(), letters.len()), (5, 4), "every kind, at every letter");
    }

    #[test]
    fn a_seed_fixes_every_question() {
        let films = vec![film(&["a", "b", "c"]), film(&["x", "y"]), film(&["alone"]), film(&[])];
        assert_eq!(questions(&films, 3), questions(&films, 3));
        assert_eq!(questions(&films, 3).left_out, 2);
        assert!((0..20).any(|seed| questions(&films, seed) != questions(&films, 3)));
    }

    #[test]
    fn what_happens_twice_is_not_asked_about() {
        let text = r#"[{"video": "a.mp4", "events": [{"start": 0, "text": "a dog barks"},
            {"start": 1.5, "text": "rain"}, {"start": 2, "text": "a  dog barks "}, {"start": 9, "text": "sun"}]}]"#;
        assert_eq!(films(text), Ok(vec![film(&["rain", "sun"])]));
    }

    #[test]
    fn bad_events_are_told_by_line() {
        let line = |event: &str| {
            format!(
                "[\n{{\"video\": \"a.mp4\",\n\"events\": [\n{{\"start\": 3, \"text\": \"a\"}},\n{event}\n]}}\n]"
            )
        };
        for (event, at, words) in [
            (r#"{"start": -1, "text": "b"}"#, 5, "an event starts at -1 s"),
            (r#"{"start": 5, "text": "  "}"#, 5, "the event at 5 s has no text"),
            (r#"{"start": "5", "text": "b"}"#, 5, "invalid type: string"),
            (r#"{"start": 5}"#, 5, "missing field `text`"),
            (r#"{"start": 5, "text": "b", "end": 6}"#, 5, "unknown field `end`"),
            (r#"{"start": 3, "text": "b"}"#, 6, "one at 3 s follows one at 3 s"),
            (r#"{"start": 5, "text": "b""#, 6, "expected `,` or `}`"),
        ] {
            let told = films(&line(event)).unwrap_err();
            assert!(told.contains(&format!("line {at}: ")) && told.contains(words), "{told}");
            assert_eq!(told.matches("line").count(), 1, "{told}");
        }
        assert!(films("{}").unwrap_err().contains("expected a sequence"));
        assert!(films(r#"[{"video": " ", "events": []}]"#).unwrap_err().contains("empty path"));
    }
}
