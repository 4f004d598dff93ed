//! The same sweep done twice, with another world or on another machine: do its means and its verdicts come back?

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::report::REPORT;
use crate::error::Error;
use crate::machine::files::{at, read_text};

/// What became of a sweep that was done again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Again {
    /// Arms that both have answers of.
    pub arms: usize,
    /// Of them, those whose first mean lies in the second's 95 % interval.
    pub first_in_second: usize,
    /// The other way round.
    pub second_in_first: usize,
    /// Those whose difference is no larger than a repeat's may be: the root of the squares of both half intervals.
    pub as_a_repeat: usize,
    /// Claims that are in both.
    pub claims: Vec<ClaimAgain>,
}

/// A claim and what became of it, twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClaimAgain {
    /// Its words.
    pub text: String,
    /// What became of it first.
    pub first: String,
    /// What became of it then.
    pub second: String,
}

impl ClaimAgain {
    /// Whether what held is found to be the opposite.
    pub fn is_turned(&self) -> bool {
        let both = [&self.first[..], &self.second[..]];
        both == ["holds", "contradicted"] || both == ["contradicted", "holds"]
    }
}

/// Whether a folder holds the report of a sweep.
pub fn is_sweep(folder: &Path) -> bool {
    folder.join(REPORT).is_file()
}

/// Two folders of sweeps beside each other.
///
/// # Errors
/// If a report cannot be read, or they share no arm.
pub fn again(first: &Path, second: &Path) -> Result<Again, Error> {
    let [one, two] = [read(first)?, read(second)?];
    let found = beside(&one, &two);
    if found.arms == 0 {
        let [first, second] = [first.display(), second.display()];
        return Err(Error::Argument(format!("{first} and {second} share no arm with answers")));
    }
    Ok(found)
}

fn read(folder: &Path) -> Result<Value, Error> {
    let path = folder.join(REPORT);
    serde_json::from_str(&read_text(&path)?).map_err(|error| at("cannot read", &path)(error.into()))
}

fn beside(first: &Value, second: &Value) -> Again {
    let (one, two) = (means(first), means(second));
    let pairs: Vec<(Mean, Mean)> = one
        .iter()
        .filter_map(|(arm, mean)| Some((*mean, two.iter().find(|(other, _)| other == arm)?.1)))
        .collect();
    let count = |holds: fn(&(Mean, Mean)) -> bool| pairs.iter().filter(|pair| holds(pair)).count();
    let others = claims(second);
    let claims = claims(first).into_iter().filter_map(|(key, text, first)| {
        let (_, _, second) = others.iter().find(|(other, ..)| *other == key)?.clone();
        Some(ClaimAgain { text, first, second })
    });
    Again {
        arms: pairs.len(),
        first_in_second: count(|(first, second)| second.holds(first.at)),
        second_in_first: count(|(first, second)| first.holds(second.at)),
        as_a_repeat: count(|(first, second)| {
            let most = first.towards(second.at).hypot(second.towards(first.at));
            (first.at - second.at).abs() <= most
        }),
        claims: claims.collect(),
    }
}

/// A mean with its interval.
#[derive(Debug, Clone, Copy)]
struct Mean {
    at: f64,
    low: f64,
    high: f64,
}

impl Mean {
    /// Whether its interval holds another.
    fn holds(self, other: f64) -> bool {
        (self.low..=self.high).contains(&other)
    }

    /// How far its interval reaches on the side of another.
    fn towards(self, other: f64) -> f64 {
        if other < self.at { self.at - self.low } else { self.high - self.at }
    }
}

/// Every arm once, with its mean.
fn means(report: &Value) -> Vec<(String, Mean)> {
    let mut found: Vec<(String, Mean)> = vec![];
    for row in lists(report, "rows") {
        let number = |key: &str| row["accuracy"][key].as_f64();
        let (Some(at), Some(low), Some(high)) = (number("mean"), number("low"), number("high"))
        else {
            continue;
        };
        let arm = row["arm"].as_str().unwrap_or_default().to_owned();
        if found.iter().all(|(known, _)| *known != arm) {
            found.push((arm, Mean { at, low, high }));
        }
    }
    found
}

/// What is compared, the words of it, and what became of it.
fn claims(report: &Value) -> Vec<(String, String, String)> {
    let of = |claim: &Value| {
        let word = |key: &str| claim[key].as_str().unwrap_or_default().to_owned();
        let key = format!("{} {} {}", word("better"), word("than"), claim["tasks"]);
        (key, word("text"), word("outcome"))
    };
    lists(report, "claims").map(of).collect()
}

/// All entries of a list that every table has.
fn lists<'a>(report: &'a Value, key: &'a str) -> impl Iterator<Item = &'a Value> {
    let tables = report["tables"].as_array().into_iter().flatten();
    tables.flat_map(move |table| table[key].as_array().into_iter().flatten())
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: usize| {
            format!("{count} of {} ({:.0} %)", self.arms, 100.0 * count as f64 / self.arms as f64)
        };
        writeln!(f, "first means in the second's intervals    {}", of(self.first_in_second))?;
        writeln!(f, "second means in the first's intervals    {}", of(self.second_in_first))?;
        writeln!(f, "differences no larger than a repeat's    {}", of(self.as_a_repeat))?;
        let same = self.claims.iter().filter(|claim| claim.first == claim.second).count();
        let turned = self.claims.iter().filter(|claim| claim.is_turned()).count();
        let all = self.claims.len();
        write!(f, "claims: {same} of {all} come to the same, {turned} to the opposite")?;
        for ClaimAgain { text, first, second } in &self.claims {
            write!(f, "\n  {text}: {first}, then {second}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(arm: &str, [mean, low, high]: [f64; 3]) -> Value {
        json!({"arm": arm, "accuracy": {"mean": mean, "low": low, "high": high}})
    }

    fn claim(better: &str, outcome: &str) -> Value {
        json!({"better": better, "than": "a", "text": format!("{better} wins"), "outcome": outcome})
    }

    #[test]
    fn means_and_outcomes_of_two_sweeps_are_laid_beside_each_other() {
        let first = json!({"tables": [
            {"rows": [row("a", [0.5, 0.4, 0.6]), row("b", [0.7, 0.65, 0.75]), row("c", [0.2, 0.1, 0.3])],
             "claims": [claim("b", "holds"), claim("c", "contradicted")]},
            {"rows": [row("a", [0.9, 0.9, 0.9]), {"arm": "d", "accuracy": null}], "claims": []},
        ]});
        let second = json!({"tables": [
            {"rows": [row("b", [0.76, 0.71, 0.81]), row("a", [0.55, 0.5, 0.6]), row("d", [0.5, 0.4, 0.6])],
             "claims": [claim("b", "not_shown"), claim("c", "holds")]},
        ]});
        let found = beside(&first, &second);
        // a: 0.5 in 0.5 to 0.6 and 0.55 in 0.4 to 0.6; b: in neither, and 0.06 is less than the root of twice the square of 0.05.
        assert_eq!((found.arms, found.first_in_second, found.second_in_first), (2, 1, 1));
        assert_eq!(found.as_a_repeat, 2);
        let turned: Vec<bool> = found.claims.iter().map(ClaimAgain::is_turned).collect();
        assert_eq!(turned, [false, true]);
        let text = found.to_string();
        assert!(text.contains("claims: 0 of 2 come to the same, 1 to the opposite"), "{text}");
        assert!(text.contains("b wins: holds, then not_shown"), "{text}");
    }
}
