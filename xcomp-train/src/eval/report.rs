//! Scores of an evaluation: over all questions and over tasks.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::question::Unasked;
use super::responses::{Answers, Record};
use super::statistics::{Estimate, estimate};
use crate::recipe::tables::Benchmark;

/// So many questions are named on a terminal.
const NAMED: usize = 20;

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvalReport {
    /// Whose questions.
    pub benchmark: Benchmark,
    /// Right answers over questions that count (micro average), with an interval clustered by video.
    pub micro: Option<Estimate>,
    /// Mean over tasks of their means.
    pub task_mean: Option<f64>,
    /// Right answers of each task and its questions.
    pub tasks: BTreeMap<String, (f64, usize)>,
    /// Questions whose response the benchmark leaves out.
    pub left_out: usize,
    /// Questions that were not asked, and why; they are in no mean.
    pub unasked: Vec<Unasked>,
}

impl EvalReport {
    /// Counts answers.
    pub fn new(benchmark: Benchmark, answers: &Answers) -> Self {
        let Answers { records, unasked } = answers;
        let scored: Vec<(&Record, f64)> =
            records.iter().filter_map(|record| Some((record, record.score?))).collect();
        let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
        for (record, score) in &scored {
            for task in &record.tasks {
                let (sum, count) = sums.entry(task.clone()).or_default();
                *sum += score;
                *count += 1;
            }
        }
        let tasks: BTreeMap<String, (f64, usize)> = sums
            .into_iter()
            .map(|(task, (sum, count))| (task, (sum / count as f64, count)))
            .collect();
        let sum: f64 = tasks.values().map(|(mean, _)| mean).sum();
        Self {
            benchmark,
            micro: estimate(scored.iter().map(|(record, score)| (record.video.as_str(), *score)))
                .map(Estimate::as_share),
            task_mean: (!tasks.is_empty()).then(|| sum / tasks.len() as f64),
            tasks,
            left_out: records.len() - scored.len(),
            unasked: unasked.clone(),
        }
    }
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (task, (mean, count)) in &self.tasks {
            writeln!(f, "{task:<32} {:6.2} %  {count} questions", mean * 100.0)?;
        }
        if let Some(mean) = self.task_mean {
            writeln!(f, "{:<32} {:6.2} %", "mean over tasks", mean * 100.0)?;
        }
        if !self.unasked.is_empty() {
            writeln!(
                f,
                "{} questions were not asked:{}",
                self.unasked.len(),
                named(&self.unasked)
            )?;
        }
        match self.micro {
            None => write!(f, "no response counts"),
            Some(micro) => write!(
                f,
                "{:<32} {:6.2} %  95 % interval {:.2} to {:.2}, {} questions about {} videos, {} left out",
                "all questions",
                micro.mean * 100.0,
                micro.low * 100.0,
                micro.high * 100.0,
                micro.questions,
                micro.videos,
                self.left_out
            ),
        }
    }
}

/// The first questions that are not asked, a line each.
pub fn named(unasked: &[Unasked]) -> String {
    let line = |Unasked { id, why }: &Unasked| format!("\n  {id}: {why}");
    let more = unasked.len().saturating_sub(NAMED);
    let rest = (more > 0).then(|| format!("\n  and {more} more"));
    unasked.iter().take(NAMED).map(line).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::eval::question::Question;
    use crate::eval::responses::{Missing, Responder, Response, answer_all};

    /// Answers from a function and counts its calls.
    struct Fake<F>(F, usize);

    impl<F: FnMut(&Question) -> String> Responder for Fake<F> {
        fn settings(&self) -> String {
            "fake".into()
        }

        fn respond(&mut self, question: &Question) -> Result<Response, Error> {
            self.1 += 1;
            Ok(Response { text: self.0(question), frames_s: vec![0.5] })
        }
    }

    /// Five questions: 3 of task x, 2 of task y; right answers A B C A A.
    fn questions() -> Vec<Question> {
        let one = |(index, answer): (usize, &usize)| Question {
            id: index.to_string(),
            video: format!("v{}", index / 2),
            prompt: format!("question {index}"),
            candidates: ["a cat", "a dog", "a cow"].map(str::to_owned).to_vec(),
            answer: *answer,
            tasks: vec![if index < 3 { "x" } else { "y" }.to_owned()],
        };
        [0, 1, 2, 0, 0].iter().enumerate().map(one).collect()
    }

    fn run(folder: &std::path::Path, fake: &mut dyn Responder, count: usize) -> EvalReport {
        let questions = &questions()[..count];
        let stop = Missing::Stop;
        let answers =
            answer_all(Benchmark::Mlvu, questions, stop, fake, folder, &mut |_, _| ()).unwrap();
        EvalReport::new(Benchmark::Mlvu, &answers)
    }

    fn scores(answer: impl FnMut(&Question) -> String) -> (f64, f64, usize) {
        let folder = tempfile::tempdir().unwrap();
        let report = run(folder.path(), &mut Fake(answer, 0), 5);
        (report.micro.unwrap().mean, report.task_mean.unwrap(), report.left_out)
    }

    #[test]
    fn fakes_score_what_is_computed_by_hand() {
        let close = |got: (f64, f64, usize), want: (f64, f64, usize)| {
            let near = (got.0 - want.0).abs() < 1e-12 && (got.1 - want.1).abs() < 1e-12;
            assert!(near && got.2 == want.2, "{got:?} {want:?}");
        };
        close(scores(|question| Question::letter(question.answer).into()), (1.0, 1.0, 0));
        // Always A: 1 of 3 in x, 2 of 2 in y; always B: 1 of 3 and none.
        close(scores(|_| "A".into()), (3.0 / 5.0, 2.0 / 3.0, 0));
        close(scores(|_| "(B)".into()), (1.0 / 5.0, 1.0 / 6.0, 0));
        // Silent on the first question, which then counts nowhere: 0 of 2 in x, 2 of 2 in y.
        let silent = |question: &Question| if question.id == "0" { "" } else { "A" }.to_owned();
        close(scores(silent), (2.0 / 4.0, 0.5, 1));
    }

    #[test]
    fn a_broken_run_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let mut fake = Fake(|_: &Question| "A".to_owned(), 0);
        run(folder.path(), &mut fake, 3);
        assert_eq!(fake.1, 3);
        // As a kill in the middle of a line leaves it.
        let path = folder.path().join("responses.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();

        let report = run(folder.path(), &mut fake, 5);
        assert_eq!(fake.1, 3 + 3, "two are remembered");
        assert_eq!(report.micro.unwrap().questions, 5);
        run(folder.path(), &mut fake, 5);
        assert_eq!(fake.1, 6, "nothing is asked twice");
    }
}
