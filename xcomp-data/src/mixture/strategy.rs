//! `sampling_strategy`: which part of a shuffled annotation file is used.

use std::ops::Range;

/// Which slice of a dataset is used, parsed from `all`, `first:10%`, `first2:2.5%`, `end:300`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strategy {
    slice: Slice,
    amount: Option<Amount>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Slice {
    All,
    /// The n-th run of `amount` records, counted from 1.
    First(usize),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Amount {
    Percent(f64),
    Count(usize),
}

impl Strategy {
    /// Reads a strategy as the reference does (`train.py:1169-1207`).
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let slice = match name.trim() {
            "all" => Slice::All,
            "first" => Slice::First(1),
            "end" => Slice::End,
            "random" => return Err("sampling_strategy `random` is not supported (nor is it by the reference); every dataset is shuffled anyway, use `first:`".into()),
            other => match other.strip_prefix("first").and_then(|n| n.parse().ok()) {
                Some(n) if (2..=6).contains(&n) => Slice::First(n),
                _ => return Err(format!("sampling_strategy `{text}` is unknown; use all, first:N, first2:N .. first6:N or end:N, N a count or a percentage like 2.5%")),
            },
        };
        let amount = number.map(|number| parse_amount(number.trim())).transpose()?;
        Ok(Self { slice, amount })
    }

    /// The range of a shuffled list of `length` records that is used.
    ///
    /// ```
    /// let strategy = xcomp_data::Strategy::parse("first2:10%").unwrap();
    /// assert_eq!(strategy.range(21_942), 2_195..4_390);
    /// ```
    pub fn range(self, length: usize) -> Range<usize> {
        let Some(amount) = self.amount else { return 0..length };
        let n = match amount {
            Amount::Percent(percent) => (percent * length as f64 / 100.0).ceil() as usize,
            Amount::Count(count) => count,
        };
        match self.slice {
            Slice::All => 0..length,
            Slice::First(part) => {
                n.saturating_mul(part - 1).min(length)..n.saturating_mul(part).min(length)
            }
            // Python's list[-0:] is the whole list.
            Slice::End if n == 0 => 0..length,
            Slice::End => length.saturating_sub(n)..length,
        }
    }
}

fn parse_amount(number: &str) -> Result<Amount, String> {
    let wrong = || {
        format!("sampling_strategy amount `{number}` is neither a count nor a percentage like 2.5%")
    };
    match number.strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(Amount::Percent(value)),
            _ => Err(wrong()),
        },
        None => number.parse().map(Amount::Count).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, length: usize, expect: Range<usize>) {
        assert_eq!(Strategy::parse(text).unwrap().range(length), expect, "{text} of {length}");
    }

    #[test]
    fn slices_as_python_does() {
        check("all", 7, 0..7);
        check("first:3", 7, 0..3);
        check("first2:3", 7, 3..6);
        check("first3:3", 7, 6..7);
        check("first4:3", 7, 7..7);
        check("first", 7, 0..7);
        check("end:2", 7, 5..7);
        check("end:0", 7, 0..7);
        check("end:9", 7, 0..7);
        check("first2:10%", 61, 7..14);
        check("first2:2.5%", 738_551, 18_464..36_928);
        check("first2:1%", 98_675, 987..1_974);
    }

    #[test]
    fn says_what_is_allowed() {
        for wrong in ["first7:1", "random:3", "frist:3", "first:x%", "first:-3", "first:nan%"] {
            assert!(Strategy::parse(wrong).is_err(), "{wrong}");
        }
    }
}
