//! One of several equal shares of work that processes do apart.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

/// Share `index` of `of`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which one.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Share {
    /// Whether each thing is in this share. Equal keys are in the same one: they take turns in the order in which they first come.
    pub fn takes<K: Hash + Eq>(self, keys: impl IntoIterator<Item = K>) -> Vec<bool> {
        let mut turns: HashMap<K, usize> = HashMap::new();
        keys.into_iter()
            .map(|key| {
                let next = turns.len();
                *turns.entry(key).or_insert(next) % self.of == self.index
            })
            .collect()
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let number = |word: &str| word.parse::<usize>().ok();
        let numbers = word.split_once('/').and_then(|(i, n)| Some((number(i)?, number(n)?)));
        match numbers {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            _ => Err(format!("`{word}` is no part: give I/N with I from 0 to N - 1, as 0/3")),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_disjoint_and_whole_and_keep_equals_together() {
        let keys = ["a", "b", "a", "c", "d", "b", "e"];
        let shares = [0, 1, 2].map(|index| Share { index, of: 3 }.takes(keys));
        for at in 0..keys.len() {
            assert_eq!(shares.iter().filter(|share| share[at]).count(), 1, "{}", keys[at]);
        }
        assert_eq!(shares[0], [true, false, true, false, true, false, false]);
        assert!(shares.iter().all(|share| share[0] == share[2] && share[1] == share[5]));
    }

    #[test]
    fn words_name_shares() {
        assert_eq!("2/3".parse(), Ok(Share { index: 2, of: 3 }));
        for wrong in ["", "3", "3/3", "-1/2", "0/0", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
