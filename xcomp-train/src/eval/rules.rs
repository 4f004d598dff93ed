//! From what a model wrote to the letter it meant, by the rules of each benchmark (section 10.6 of the facts).

use crate::recipe::tables::Benchmark;

/// The candidate that a response means; `None` if it means none.
///
/// `draw` picks a candidate at random where the benchmark's rule does.
pub fn chosen(
    benchmark: Benchmark,
    response: &str,
    candidates: &[String],
    draw: &mut dyn FnMut(usize) -> usize,
) -> Option<usize> {
    let place = |letter: char| {
        let place = usize::from(u8::try_from(letter).ok()?.wrapping_sub(b'A'));
        (place < candidates.len()).then_some(place)
    };
    match benchmark {
        Benchmark::Lvbench | Benchmark::Mlvu => mcq_letter(response).and_then(place),
        Benchmark::Videomme => videomme_letter(response).and_then(place),
        Benchmark::Longvideobench => Some(mmmu_choice(response, candidates, draw)),
        Benchmark::Words => candidates.iter().position(|words| words == response.trim()),
    }
}

/// Whether a response counts at all: `LVBench` and `MLVU` leave empty ones out of the mean.
pub fn counts(benchmark: Benchmark, response: &str) -> bool {
    !matches!(benchmark, Benchmark::Lvbench | Benchmark::Mlvu) || !response.trim().is_empty()
}

/// `mcq_acc` of `lvbench/utils.py` and `mlvu_mc/utils.py`: `B. words`, else the first letter A to E that stands alone.
///
/// The article "a" stands alone too and means A, as in the reference.
pub fn mcq_letter(response: &str) -> Option<char> {
    let text = response.trim();
    let mut characters = text.chars();
    if let (Some(letter), Some('.')) = (characters.next(), characters.next()) {
        let letter = letter.to_ascii_uppercase();
        let rest = characters.as_str().trim();
        if ('A'..='E').contains(&letter) && !rest.is_empty() && !rest.contains('\n') {
            return Some(letter);
        }
    }
    let cleaned = without_marks(&text.replace(['\n', '\t'], " "));
    let cleaned = cleaned.trim_matches('\'').trim_matches('"');
    let cleaned = cleaned.trim_matches(')').trim_matches('(').trim().to_uppercase();
    lone_letter(&cleaned)
}

/// The reference's `processPunctuation`: marks next to a space go, others become one; full stops go unless a digit follows.
fn without_marks(text: &str) -> String {
    const MARKS: &str = ";/[]\"{}()=+\\_-><@`,?!";
    let all: Vec<char> = text.chars().collect();
    let digit = |at: Option<&char>| at.is_some_and(char::is_ascii_digit);
    let comma_in_number =
        all.windows(3).any(|w| w[1] == ',' && digit(w.first()) && digit(w.last()));
    let mut out = text.to_owned();
    for mark in MARKS.chars() {
        let spaced = text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        out = out.replace(mark, if spaced || comma_in_number { "" } else { " " });
    }
    let all: Vec<char> = out.chars().collect();
    let stays = |at: usize| all[at] != '.' || digit(all.get(at + 1));
    (0..all.len()).filter(|at| stays(*at)).map(|at| all[at]).collect()
}

/// The first of A to E with no letter, digit or underscore beside it.
fn lone_letter(text: &str) -> Option<char> {
    let all: Vec<char> = text.chars().collect();
    let word = |at: Option<usize>| {
        at.and_then(|at| all.get(at)).is_some_and(|c| c.is_alphanumeric() || *c == '_')
    };
    let alone = |at: &usize| !word(at.checked_sub(1)) && !word(Some(at + 1));
    (0..all.len()).filter(|at| ('A'..='E').contains(&all[*at])).find(alone).map(|at| all[at])
}

/// `extract_characters_regex` of `videomme/utils.py`.
pub fn videomme_letter(response: &str) -> Option<char> {
    // The last two are one string each in the reference, which lacks two commas.
    const PREFIXES: [&str; 6] = [
        "The best answer is",
        "The correct answer is",
        "The answer is",
        "The answer",
        "The best option isThe correct option is",
        "Best answer:Best option:",
    ];
    let mut text = response.trim().to_owned();
    for prefix in PREFIXES {
        text = text.replace(prefix, "");
    }
    text.chars().find(|letter| ('A'..='D').contains(letter))
}

/// `parse_multi_choice_response` of `longvideobench/utils.py`: `(B)`, `B `, `B.`, the option's words in a long response, else by lot.
pub fn mmmu_choice(
    response: &str,
    candidates: &[String],
    draw: &mut dyn FnMut(usize) -> usize,
) -> usize {
    let mut trimmed = response;
    for mark in [',', '.', '!', '?', ';', ':', '\''] {
        trimmed = trimmed.trim_matches(mark);
    }
    let text = format!(" {trimmed} ");
    let letters: Vec<char> = (0..candidates.len()).map(super::question::Question::letter).collect();
    let named = |shape: &dyn Fn(char) -> String| -> Vec<usize> {
        let found = |at: &usize| text.contains(&shape(letters[*at]));
        (0..letters.len()).filter(found).collect()
    };
    let last_of = |found: &[usize], place: &dyn Fn(usize) -> Option<usize>| {
        let mut best = found[0];
        for &at in &found[1..] {
            if place(at) > place(best) {
                best = at;
            }
        }
        best
    };

    let found = named(&|letter| format!("({letter})"));
    if !found.is_empty() {
        return last_of(&found, &|at| text.rfind(&format!("({})", letters[at])));
    }
    let shapes: [&dyn Fn(char) -> String; 2] =
        [&|letter| format!("{letter} "), &|letter| format!("{letter}.")];
    for shape in shapes {
        let found = named(shape);
        if !found.is_empty() {
            return last_of(&found, &|at| text.rfind(&format!(" {} ", letters[at])));
        }
    }
    if text.split_whitespace().count() > 5 {
        let (text, words) = (text.to_lowercase(), |at: usize| candidates[at].to_lowercase());
        let found: Vec<usize> =
            (0..candidates.len()).filter(|at| text.contains(&words(*at))).collect();
        if !found.is_empty() {
            return last_of(&found, &|at| text.rfind(&words(at)));
        }
    }
    draw(candidates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lvbench_and_mlvu_read_letters_as_the_reference_does() {
        for (response, want) in [
            ("A", Some('A')),
            ("b", Some('B')),
            ("C.", Some('C')),
            ("D. In the river", Some('D')),
            ("e.something", Some('E')),
            (" (B) y ", Some('B')),
            ("(C)", Some('C')),
            ("'D'", Some('D')),
            ("\"A\"", Some('A')),
            ("B, because it is green", Some('B')),
            ("The answer is C", Some('C')),
            ("Answer:\nD", Some('D')),
            ("It is a cat", Some('A')), // the article
            ("D-", Some('D')),
            ("A/B", Some('A')),
            ("AB", None),
            ("A_1", Some('A')), // the underscore is a mark
            ("F", None),
            ("", None),
            ("1,000 (B)", Some('B')),
        ] {
            assert_eq!(mcq_letter(response), want, "{response:?}");
        }
    }

    #[test]
    fn full_stops_stay_before_digits() {
        assert_eq!(without_marks("x. 1.5 y."), "x 1.5 y");
        assert_eq!(without_marks("a-b"), "a b");
        assert_eq!(without_marks("a - b"), "a  b");
        assert_eq!(without_marks("1,000-x"), "1000x");
    }

    #[test]
    fn videomme_takes_the_first_capital_behind_its_prefixes() {
        for (response, want) in [
            ("C", Some('C')),
            ("The best answer is B.", Some('B')),
            ("The correct answer is D", Some('D')),
            ("The answer is A. Apples", Some('A')),
            ("The answer: C", Some('C')),
            ("The best option is B", Some('B')), // not a prefix on its own
            ("Best answer: D", Some('B')),       // B of "Best": the reference's missing comma
            ("Best answer:Best option:C", Some('C')),
            ("I do not know at all which one of these it may be", None),
            ("b", None),
            ("E", None),
            ("", None),
        ] {
            assert_eq!(videomme_letter(response), want, "{response:?}");
        }
    }

    #[test]
    fn longvideobench_looks_for_brackets_letters_words_and_then_draws() {
        let candidates = ["red cube", "yellow ball", "green pen", "blue cup"].map(str::to_owned);
        for (response, want) in [
            ("(B)", 1),
            ("(A) or rather (C)", 2),
            ("B", 1),
            ("D.", 3),
            ("Answer:C.", 2), // the full stop is stripped and a space put behind it
            ("A then B then", 1),
            ("I say B.It is", 1),
            ("what the man throws is a yellow ball of course", 1),
            ("first a yellow ball, later a red cube and", 0),
            ("yellow ball", 9), // too short for words
            ("none", 9),
            ("", 9),
        ] {
            let got = mmmu_choice(response, &candidates, &mut |_| 9);
            assert_eq!(got, want, "{response:?}");
        }
    }

    #[test]
    fn only_some_benchmarks_leave_empty_responses_out() {
        assert!(!counts(Benchmark::Mlvu, " ") && !counts(Benchmark::Lvbench, ""));
        assert!(counts(Benchmark::Mlvu, "A") && counts(Benchmark::Videomme, ""));
        let two = ["x".to_owned(), "y".to_owned()];
        let mut never = |_| unreachable!("nothing is drawn");
        assert_eq!(chosen(Benchmark::Mlvu, "D", &two, &mut never), None, "no such candidate");
        assert_eq!(chosen(Benchmark::Mlvu, "B", &two, &mut never), Some(1));
    }
}
