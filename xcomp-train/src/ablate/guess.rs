//! What one would score without a look at any video.

use std::collections::BTreeMap;

use crate::eval::responses::Record;

/// The share of right answers of one who knows the words of every question and which letter is right most often behind them.
///
/// It is computed from the very answers that are asked for, so it is the best that guessing can do.
pub fn best_guess<'a>(records: impl IntoIterator<Item = &'a Record>) -> f64 {
    let mut letters: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for record in records {
        *letters.entry(&record.input).or_default().entry(&record.target).or_default() += 1;
    }
    let asked: usize = letters.values().flat_map(BTreeMap::values).sum();
    let right: usize = letters.values().filter_map(|counts| counts.values().max()).sum();
    right as f64 / asked.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_letter_of_each_question_is_guessed() {
        let record = |(input, target): &(&str, &str)| -> Record {
            serde_json::from_value(serde_json::json!({
                "doc_id": "", "video": "", "tasks": [], "input": input, "target": target,
                "resps": [], "filtered_resps": null, "score": null, "frames_s": [], "key": "",
            }))
            .unwrap()
        };
        let records: Vec<Record> = [("x", "A"), ("x", "A"), ("x", "B"), ("y", "B"), ("y", "C")]
            .iter()
            .map(record)
            .collect();
        assert!((best_guess(&records) - 3.0 / 5.0).abs() < 1e-12);
    }
}
