//! The blind baseline: the best score that is possible without a look at any video.

use std::collections::BTreeMap;

use crate::eval::responses::Record;

/// The share of right answers if every question gets the letter that is right most often behind its words.
///
/// It is computed from the very answers that are asked for, so nothing that is blind can score more.
pub fn blind_accuracy<'a>(records: impl IntoIterator<Item = &'a Record>) -> f64 {
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
        assert!((blind_accuracy(&records) - 3.0 / 5.0).abs() < 1e-12);
    }
}
