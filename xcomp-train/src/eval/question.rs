//! Questions of the published benchmarks, their prompts and right answers (section 10.6 of the facts).

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entries::read_entries;
use super::subtitles::read_subtitles;
use crate::error::Error;
use crate::recipe::tables::Benchmark;

/// What every prompt ends with.
const DIRECTLY: &str = "Answer with the option's letter from the given choices directly.";

/// One question about one video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its name, unique in the file.
    pub id: String,
    /// File or folder of the video, relative to the folder of videos.
    pub video: String,
    /// What the model is asked.
    pub prompt: String,
    /// Possible answers in words.
    pub candidates: Vec<String>,
    /// Place of the right one.
    pub answer: usize,
    /// Its tasks; a question may belong to several.
    pub tasks: Vec<String>,
}

impl Question {
    /// The letter of a candidate.
    ///
    /// # Panics
    /// Never: questions have at most 26 candidates.
    pub fn letter(index: usize) -> char {
        char::from(b'A' + u8::try_from(index).expect("at most 26 candidates"))
    }
}

/// Most tokens of a response in the released evaluation (section 10.5 of the facts).
pub fn max_new_tokens(benchmark: Benchmark) -> usize {
    match benchmark {
        Benchmark::Longvideobench => 32,
        Benchmark::Lvbench | Benchmark::Mlvu | Benchmark::Videomme | Benchmark::Words => 16,
    }
}

/// Whose layout an entry has.
pub fn detect(entry: &Value) -> Benchmark {
    let lettered = |entry: &Value| {
        let first = entry["candidates"][0].as_str().unwrap_or_default();
        first.starts_with("(A) ")
    };
    match entry {
        _ if entry.get("options").is_some() => Benchmark::Videomme,
        _ if entry.get("correct_choice").is_some() => Benchmark::Longvideobench,
        _ if lettered(entry) => Benchmark::Lvbench,
        _ => Benchmark::Mlvu,
    }
}

/// A question that is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unasked {
    /// Its name, or its place in the file.
    pub id: String,
    /// Why.
    pub why: String,
}

/// What a file of questions holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Questions {
    /// Whose they are.
    pub benchmark: Benchmark,
    /// Those that can be asked.
    pub asked: Vec<Question>,
    /// Those that lack something or contradict themselves.
    pub unasked: Vec<Unasked>,
}

/// Reads a file of questions (a JSON list, JSON lines or a parquet table); `subtitles` is the folder that `LongVideoBench`'s subtitle
/// files lie in.
///
/// # Errors
/// If the file or a subtitle file cannot be read, or no entry is a question.
pub fn read_questions(
    path: &Path,
    benchmark: Option<Benchmark>,
    subtitles: Option<&Path>,
) -> Result<Questions, Error> {
    let entries = read_entries(path)?;
    let wrong = |what: &str| Error::Argument(format!("{}{what}", path.display()));
    let first = entries.first().ok_or_else(|| wrong(" holds no questions"))?;
    let benchmark = benchmark.unwrap_or_else(|| detect(first));
    let (mut asked, mut unasked) = (vec![], vec![]);
    for (index, entry) in entries.iter().enumerate() {
        let subtitle = match (benchmark, entry["subtitle_path"].as_str(), subtitles) {
            (Benchmark::Longvideobench, Some(file), Some(folder)) => {
                let number = |key: &str| entry[key].as_f64().unwrap_or(0.0);
                let start = number("starting_timestamp_for_subtitles");
                read_subtitles(&folder.join(file), start, number("duration"))?
            }
            _ => String::new(),
        };
        match question(benchmark, index, entry, &subtitle) {
            Ok(question) => asked.push(question),
            Err(why) => {
                let id = id(entry, index);
                unasked.push(Unasked { id, why: format!("question {}: {why}", index + 1) });
            }
        }
    }
    match (asked.is_empty(), unasked.first()) {
        (true, Some(first)) => Err(wrong(&format!(": no entry can be asked; {}", first.why))),
        _ => Ok(Questions { benchmark, asked, unasked }),
    }
}

/// One entry as a question; the error says what is wrong with it.
///
/// # Errors
/// If a field is missing, a candidate is neither text nor a number, or the answer is not among the candidates.
pub fn question(
    benchmark: Benchmark,
    index: usize,
    entry: &Value,
    subtitles: &str,
) -> Result<Question, String> {
    let text = |key: &str| plain(&entry[key]).ok_or_else(|| format!("it has no text `{key}`"));
    let list_key = if benchmark == Benchmark::Videomme { "options" } else { "candidates" };
    let candidates = match &entry[list_key] {
        Value::Array(list) if !list.is_empty() => candidates(list_key, list)?,
        _ => numbered_options(entry),
    };
    if candidates.len() < 2 || candidates.len() > 26 {
        return Err(format!("`{list_key}` must list 2 to 26 answers"));
    }
    let asked = text("question")?;
    let prompt = prompt(benchmark, &asked, &candidates, subtitles);
    let place = |name: &str| candidates.iter().position(|candidate| candidate == name);
    let (video, answer, tasks) = match benchmark {
        Benchmark::Lvbench | Benchmark::Mlvu | Benchmark::Words => {
            let answer = text("answer")?;
            let task = entry.get("question_type").or_else(|| entry.get("type"));
            (text("video")?, place(&answer).ok_or(answer), task.map(texts).unwrap_or_default())
        }
        Benchmark::Videomme => {
            let answer = text("answer")?;
            let letter = answer.bytes().next().map(|byte| usize::from(byte.wrapping_sub(b'A')));
            let known = letter.filter(|at| *at < candidates.len());
            (text("videoID")?, known.ok_or(answer), texts(&entry["task_type"]))
        }
        Benchmark::Longvideobench => {
            let choice = entry["correct_choice"].as_u64().map(|choice| choice as usize);
            let known = choice.filter(|at| *at < candidates.len());
            let answer = known.ok_or_else(|| entry["correct_choice"].to_string());
            (text("video_path")?, answer, texts(&entry["question_category"]))
        }
    };
    let answer = answer.map_err(|answer| format!("its answer `{answer}` is not a candidate"))?;
    Ok(Question { id: id(entry, index), video, prompt, candidates, answer, tasks })
}

/// Its name, or its place in the file.
fn id(entry: &Value, index: usize) -> String {
    let id = ["question_id", "id"].iter().find_map(|key| plain(&entry[*key]));
    id.unwrap_or_else(|| index.to_string())
}

/// A text, or a number or truth value as Python writes it.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Every candidate counts: one that is left out would give the others other letters.
fn candidates(key: &str, list: &[Value]) -> Result<Vec<String>, String> {
    let one = |(index, value): (usize, &Value)| {
        plain(value).ok_or_else(|| {
            format!("answer {} of `{key}` is neither text nor a number: {value}", index + 1)
        })
    };
    list.iter().enumerate().map(one).collect()
}

/// `option0`, `option1`, ... of `LongVideoBench`'s parquet tables, which fill up with `N/A`.
fn numbered_options(entry: &Value) -> Vec<String> {
    let options = (0..).map_while(|number| plain(&entry[format!("option{number}")]));
    options.take_while(|option| option != "N/A").collect()
}

/// A text as a list of one, a list of texts as it is.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(plain).collect(),
        one => plain(one).into_iter().collect(),
    }
}

fn prompt(benchmark: Benchmark, question: &str, candidates: &[String], subtitles: &str) -> String {
    let lines = |line: &dyn Fn(char, &str) -> String| -> String {
        let lines = candidates.iter().enumerate();
        lines.map(|(index, text)| line(Question::letter(index), text)).collect()
    };
    match benchmark {
        Benchmark::Lvbench => {
            let options = lines(&|letter, text| format!("{letter}. {text}\n"));
            format!("{question}\n{options}{DIRECTLY}")
        }
        Benchmark::Mlvu => {
            let options = lines(&|letter, text| format!("({letter}) {text}\n"));
            format!("Question:{question}\nOption:\n{options}{DIRECTLY}")
        }
        Benchmark::Words => question.to_owned(),
        Benchmark::Videomme => format!(
            "These are the frames of a video. Select the best answer to the following multiple-choice question based on the video. Respond with only the letter (A, B, C, or D) of the correct option.\nQuestion: {question}\nOption:\n{}\n{DIRECTLY}",
            candidates.join("\n")
        ),
        Benchmark::Longvideobench => {
            let options = lines(&|letter, text| format!("({letter}). {text}\n"));
            format!(
                " This video's subtitles are listed below: \n{subtitles}.\n Select the best answer to the following multiple-choice question based on the video and the subtitles. Respond with only the letter of the correct option.\nQuestion: {question}\n{options}{DIRECTLY}\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::machine::random::Random;

    fn check(entry: &Value, benchmark: Benchmark, prompt: &str, answer: usize, tasks: &[&str]) {
        assert_eq!(detect(entry), benchmark);
        let got = question(benchmark, 3, entry, "hello").unwrap();
        assert_eq!((got.prompt.as_str(), got.answer), (prompt, answer));
        assert_eq!(got.tasks, tasks);
    }

    #[test]
    fn prompts_are_those_of_the_benchmarks() {
        let entry = json!({ "video": "7", "question": "Q?", "candidates": ["(A) x", "(B) y"],
            "answer": "(B) y", "question_type": ["one", "two"] });
        let want = format!("Q?\nA. (A) x\nB. (B) y\n{DIRECTLY}");
        check(&entry, Benchmark::Lvbench, &want, 1, &["one", "two"]);

        let entry = json!({ "video": "7.mp4", "question": "Q?", "candidates": ["x", "y"],
            "answer": "x", "question_type": "count" });
        let want = format!("Question:Q?\nOption:\n(A) x\n(B) y\n{DIRECTLY}");
        check(&entry, Benchmark::Mlvu, &want, 0, &["count"]);

        let bare = question(Benchmark::Words, 0, &entry, "").unwrap();
        assert_eq!((bare.prompt.as_str(), bare.answer), ("Q?", 0));

        let entry = json!({ "videoID": "v", "question_id": "1-1", "question": "Q?",
            "options": ["A. x", "B. y", "C. z"], "answer": "C", "task_type": "t" });
        let want = format!(
            "These are the frames of a video. Select the best answer to the following multiple-choice question based on the video. Respond with only the letter (A, B, C, or D) of the correct option.\nQuestion: Q?\nOption:\nA. x\nB. y\nC. z\n{DIRECTLY}"
        );
        check(&entry, Benchmark::Videomme, &want, 2, &["t"]);

        let entry = json!({ "video_path": "v.mp4", "id": "v_0", "question": "Q?",
            "candidates": ["x", "y"], "correct_choice": 1, "question_category": "TOS" });
        let want = format!(
            " This video's subtitles are listed below: \nhello.\n Select the best answer to the following multiple-choice question based on the video and the subtitles. Respond with only the letter of the correct option.\nQuestion: Q?\n(A). x\n(B). y\n{DIRECTLY}\n"
        );
        check(&entry, Benchmark::Longvideobench, &want, 1, &["TOS"]);
        let entry = json!({ "video_path": "v.mp4", "id": "v_0", "question": "Q?", "option0": "x",
            "option1": "y", "option2": "N/A", "correct_choice": 1, "question_category": "TOS" });
        check(&entry, Benchmark::Longvideobench, &want, 1, &["TOS"]);
    }

    #[test]
    fn numbers_are_candidates() {
        let entry = json!({ "video": 7, "question": "How many?", "id": 12,
            "candidates": ["None", "One", 2, 3.5, true], "answer": 2 });
        let got = question(Benchmark::Mlvu, 0, &entry, "").unwrap();
        assert_eq!(got.candidates, ["None", "One", "2", "3.5", "True"]);
        assert_eq!((got.answer, got.video.as_str(), got.id.as_str()), (2, "7", "12"));
        let entry = json!({ "videoID": "v", "question": "Q?", "options": [1, 2], "answer": "B" });
        assert_eq!(question(Benchmark::Videomme, 0, &entry, "").unwrap().answer, 1);
    }

    #[test]
    fn what_is_no_question_is_named() {
        let fails = |entry: Value, says: &str| {
            let error = question(Benchmark::Mlvu, 0, &entry, "").unwrap_err();
            assert!(error.contains(says), "{error}");
        };
        fails(json!({ "question": "Q?" }), "`candidates`");
        fails(json!({ "candidates": ["x", "y"] }), "`question`");
        fails(json!({ "candidates": ["x", null] }), "answer 2 of `candidates` is neither");
        fails(json!({ "candidates": ["x", ["y"]] }), "answer 2 of `candidates` is neither");
        fails(
            json!({ "video": "v", "question": "Q?", "candidates": ["x", "y"], "answer": "z" }),
            "`z` is not a candidate",
        );
    }

    /// Entries out of hostile pieces: an error or a question whose letters are right, never a panic.
    #[test]
    fn hostile_entries_are_questions_or_errors() {
        let pieces = json!([null, "", "A", "x", "<image>", 7, -1.5, true, [], ["x", 7], ["x", null],
            [["x"], {}], { "A": "x" }, vec!["x"; 27], "N/A", u64::MAX]);
        let pieces = pieces.as_array().unwrap();
        let keys = [
            "question",
            "video",
            "videoID",
            "video_path",
            "candidates",
            "options",
            "option0",
            "option1",
            "answer",
            "correct_choice",
            "question_type",
            "task_type",
            "id",
        ];
        let mut random = Random::new(3);
        let mut asked = 0;
        for _ in 0..3000 {
            let mut entry = json!({ "question": "Q?", "candidates": ["x", 7], "answer": 7,
                "video": "v", "videoID": "v", "video_path": "v", "correct_choice": 1 });
            for _ in 0..random.below(4) {
                let (key, piece) = (keys[random.below(keys.len())], random.below(pieces.len()));
                entry[key] = pieces[piece].clone();
            }
            for benchmark in [
                Benchmark::Lvbench,
                Benchmark::Mlvu,
                Benchmark::Videomme,
                Benchmark::Longvideobench,
                Benchmark::Words,
                detect(&entry),
            ] {
                let Ok(question) = question(benchmark, 0, &entry, "") else { continue };
                asked += 1;
                assert!((2..=26).contains(&question.candidates.len()), "{entry}");
                assert!(question.answer < question.candidates.len(), "{entry}");
            }
        }
        assert!(asked > 1000, "{asked}");
    }
}
