//! How many images and videos a sample may show: a property of the model family.

use serde::{Deserialize, Serialize};

use crate::DataError;

/// How many visuals (images and videos) a sample has, and how its conversation refers to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualRule {
    /// One image or one video, and one `<image>` tag: the reference drops every other record (`train.py:1224-1237`).
    #[default]
    ExactlyOne,
    /// Any number, none included, and an `<image>` tag for each.
    Any,
}

impl VisualRule {
    /// An error where a record's tags and media are not as many as the rule asks for.
    pub(crate) fn check(self, id: &str, tags: usize, media: usize) -> Result<(), DataError> {
        let message = match self {
            Self::ExactlyOne if tags != 1 => {
                format!("its conversation has {tags} `<image>` tags; it needs exactly one")
            }
            Self::ExactlyOne if media != 1 => {
                format!("it gives {media} images and videos; it needs exactly one")
            }
            Self::Any if tags != media => format!(
                "its conversation has {tags} `<image>` tags for {media} images and videos; it needs one for each"
            ),
            Self::ExactlyOne | Self::Any => return Ok(()),
        };
        Err(DataError::Prompt { id: id.to_owned(), message })
    }
}

#[cfg(test)]
mod tests {
    use super::VisualRule::{self, Any, ExactlyOne};

    #[test]
    fn tags_and_media_are_as_many_as_the_rule_asks_for() {
        let check = |rule: VisualRule, tags, media, expect: &str| {
            let got = rule.check("7", tags, media).map_err(|error| error.to_string());
            assert_eq!(got.err().unwrap_or_default(), expect, "{rule:?} {tags} {media}");
        };
        check(ExactlyOne, 1, 1, "");
        let words = "record `7`: its conversation has 0 `<image>` tags; it needs exactly one";
        check(ExactlyOne, 0, 1, words);
        check(ExactlyOne, 2, 2, &words.replace('0', "2"));
        check(ExactlyOne, 1, 2, "record `7`: it gives 2 images and videos; it needs exactly one");
        (0..4).for_each(|count| check(Any, count, count, ""));
        check(
            Any,
            3,
            2,
            "record `7`: its conversation has 3 `<image>` tags for 2 images and videos; it needs one for each",
        );
    }
}
