//! What was answered so far: one line per question, kept as it comes, so that a broken run goes on where it stopped.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xcomp_data::Share;
use xcomp_data::lines::JsonLines;

use super::question::{Question, Unasked};
use super::rules::{chosen, counts};
use crate::error::Error;
use crate::machine::files::{at, create_folder, entries, sha256};
use crate::machine::random::Random;
use crate::recipe::tables::Benchmark;

/// The file of responses in a folder of an evaluation.
const RESPONSES: &str = "responses.jsonl";
/// How folders of shares begin.
const PART: &str = "part-";

/// One answered question; the words are those of lmms-eval's sample logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the question.
    pub doc_id: String,
    /// Its video.
    pub video: String,
    /// Its tasks.
    pub tasks: Vec<String>,
    /// What the model was asked.
    pub input: String,
    /// The right letter.
    pub target: String,
    /// What the model wrote.
    pub resps: Vec<String>,
    /// The letter that it means; none if it means none.
    pub filtered_resps: Option<String>,
    /// 1 if right, 0 if wrong; none if the benchmark leaves the response out.
    pub score: Option<f64>,
    /// Times of the frames that the answer rests on, in seconds.
    pub frames_s: Vec<f64>,
    /// Hash of all that decides the response.
    pub key: String,
}

/// What a responder gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// What the model wrote.
    pub text: String,
    /// Times of the frames that it saw, in seconds.
    pub frames_s: Vec<f64>,
}

/// Something that answers questions.
pub trait Responder {
    /// All that decides its responses, besides the question.
    fn settings(&self) -> String;

    /// Answers one question.
    ///
    /// # Errors
    /// If it cannot.
    fn respond(&mut self, question: &Question) -> Result<Response, Error>;
}

/// What questions do that cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Missing {
    /// All are named before the first question, and nothing is asked.
    Stop,
    /// They are left out and counted.
    Skip,
}

/// What came of the questions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answers {
    /// Those that were answered, in their order.
    pub records: Vec<Record>,
    /// Those whose video cannot be used.
    pub unasked: Vec<Unasked>,
}

/// Where the responses of a share lie.
pub fn part_folder(whole: &Path, share: Share) -> PathBuf {
    whole.join(format!("{PART}{}-of-{}", share.index, share.of))
}

/// Files of this name in the folders of shares, which other processes wrote, and behind them that of the whole.
pub(super) fn files_of_all(whole: &Path, name: &str) -> Result<Vec<PathBuf>, Error> {
    let is_part = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PART))
    };
    let folders = entries(whole)?.into_iter().filter(is_part).chain([whole.to_owned()]);
    Ok(folders.map(|folder| folder.join(name)).collect())
}

/// Questions in their order, but those about a video all at its first: it is read once.
fn by_video(questions: &[Question]) -> Vec<usize> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, question) in questions.iter().enumerate() {
        first.entry(&question.video).or_insert(index);
    }
    let mut order: Vec<usize> = (0..questions.len()).collect();
    order.sort_by_key(|index| first[questions[*index].video.as_str()]);
    order
}

/// Answers every question that has no record yet, video by video; one about a video that cannot be used is left out where `missing` says so.
///
/// # Errors
/// If a question cannot be answered or a record not be written.
pub fn answer_all(
    benchmark: Benchmark,
    questions: &[Question],
    missing: Missing,
    responder: &mut dyn Responder,
    folder: &Path,
    on_record: &mut dyn FnMut(usize, &Record),
) -> Result<Answers, Error> {
    create_folder(folder)?;
    let path = folder.join(RESPONSES);
    let mut held: HashMap<String, Record> = HashMap::new();
    for file in files_of_all(folder, RESPONSES)? {
        held.extend(read_records(&file)?.into_iter().map(|record| (record.key.clone(), record)));
    }
    let mut file = JsonLines::open(&path).map_err(at("cannot write", &path))?;
    let settings = responder.settings();
    let mut answers = Answers::default();
    let mut records = vec![None; questions.len()];
    for (done, index) in by_video(questions).into_iter().enumerate() {
        let question = &questions[index];
        let key = sha256(format!("{settings}\n{}\n{}", question.video, question.prompt).as_bytes());
        let record = if let Some(held) = held.get(&key).cloned() {
            judged(benchmark, question, held.resps.concat(), held.frames_s, key)
        } else {
            let Response { text, frames_s } = match responder.respond(question) {
                Err(Error::Data(error)) if missing == Missing::Skip => {
                    let (id, why) = (question.id.clone(), error.to_string());
                    answers.unasked.push(Unasked { id, why });
                    continue;
                }
                response => response?,
            };
            let record = judged(benchmark, question, text, frames_s, key);
            file.push(&record).map_err(at("cannot write", &path))?;
            held.insert(record.key.clone(), record.clone());
            record
        };
        on_record(done, &record);
        records[index] = Some(record);
    }
    answers.records = records.into_iter().flatten().collect();
    Ok(answers)
}

/// A response with its score.
fn judged(
    benchmark: Benchmark,
    question: &Question,
    text: String,
    frames_s: Vec<f64>,
    key: String,
) -> Record {
    // By lot as the benchmark asks, but the same lot for the same question.
    let mut random =
        Random::new(u64::from_str_radix(&key[..16], 16).expect("a hash is hexadecimal"));
    let meant = chosen(benchmark, &text, &question.candidates, &mut |count| random.below(count));
    let letter = |at: usize| Question::letter(at).to_string();
    Record {
        doc_id: question.id.clone(),
        video: question.video.clone(),
        tasks: question.tasks.clone(),
        input: question.prompt.clone(),
        target: letter(question.answer),
        filtered_resps: meant.map(letter),
        score: counts(benchmark, &text)
            .then(|| f64::from(u8::from(meant == Some(question.answer)))),
        resps: vec![text],
        frames_s,
        key,
    }
}

/// The records of a file; a last line that was cut off is left out.
///
/// # Errors
/// If the file cannot be read, or a line before the last is no record.
pub fn read_records(path: &Path) -> Result<Vec<Record>, Error> {
    if !path.is_file() {
        return Ok(vec![]);
    }
    // As bytes: a line can be cut off inside a character.
    let bytes = std::fs::read(path).map_err(at("cannot read", path))?;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    let mut records = vec![];
    while let Some(line) = lines.next() {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) if lines.peek().is_none() && !line.ends_with(b"\n") => {}
            Err(error) => return Err(at("cannot read", path)(error.into())),
        }
    }
    Ok(records)
}
