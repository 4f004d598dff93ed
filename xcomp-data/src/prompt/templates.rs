//! Conversations as tokens and labels, as the reference renders them (`train.py:399-440`, `597-681`).

use serde::{Deserialize, Serialize};

use crate::mixture::turns::{SYSTEM, Turn, USER, role};
pub use crate::prompt::template::{IGNORE, IMAGE_TAG, IMAGE_TOKEN, Prompt, Template};
use crate::prompt::template::{Pieces, is_target};
use crate::prompt::{parts, whole};
use crate::python::is_space;
use crate::{DataError, Tokenizer};

/// A mark of noisy annotations that the reference deletes (`train.py:436`).
const NOISE_MARK: &str = "QA_GT_caption_based_noisy";

/// Which positions are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelRule {
    /// As the reference: assistant turns with their header, and every line break, `<|im_start|>` and `<|im_end|>` anywhere.
    #[default]
    Reference,
    /// Only what the assistant says, and the `<|im_end|>` that ends it.
    Answers,
}

/// Renders a conversation for training.
///
/// The first of `time_messages` is put after the first `<image>`, and so on; an empty one (pictures) changes nothing.
///
/// # Errors
/// When the tokenizer fails.
pub fn render_chat(
    template: &Template,
    tokenizer: &Tokenizer,
    turns: &[Turn],
    time_messages: &[String],
    rule: LabelRule,
) -> Result<Prompt, DataError> {
    let (system, heard) = rendered(turns);
    let mut messages = time_messages.iter();
    let said = heard.iter().map(|turn| {
        let value = match role(&turn.from) {
            USER => place_messages(&turn.value, &mut messages),
            _ => turn.value.clone(),
        };
        (role(&turn.from), value.replace(NOISE_MARK, ""))
    });
    let system = (SYSTEM, system.unwrap_or(&template.system).to_owned());
    let said: Vec<(&str, String)> = std::iter::once(system).chain(said).collect();
    match template.pieces {
        Pieces::Stretches => return whole::render(template, tokenizer, &said),
        Pieces::Caption => return parts::caption(tokenizer, &said),
        Pieces::Turns | Pieces::Parts => {}
    }
    let mut prompt = Prompt { input_ids: Vec::new(), labels: Vec::new(), first_turn: 0 };
    for (index, (role, value)) in said.iter().enumerate() {
        if template.pieces == Pieces::Parts {
            let marks = rule == LabelRule::Reference;
            parts::push(&mut prompt, template, tokenizer, (role, value), marks)?;
        } else {
            prompt.push(template, tokenizer, (role, value), rule)?;
        }
        if index == 1 {
            prompt.first_turn = prompt.input_ids.len();
        }
    }
    Ok(prompt)
}

/// Renders a question about one video or picture, ready for an answer to be generated.
///
/// The picture stands before the question; an `<image>` in the question's words is text.
/// The evaluation of `XComp` joins the time message and the question with one space, where training has a space and a line break.
///
/// # Errors
/// When the tokenizer fails.
pub fn render_question(
    template: &Template,
    tokenizer: &Tokenizer,
    question: &str,
    time_message: &str,
) -> Result<Vec<i32>, DataError> {
    let about = match trim(time_message) {
        "" => format!("\n{question}"),
        // The example in LLaVA-Video's documents has no line break before the sentence, training has one.
        message if is_line(time_message) => format!("{message}\n{question}"),
        message => format!("\n{message} {question}"),
    };
    let mut ids = tokenizer.encode(&(template.system_turn() + &template.header(USER)))?;
    ids.push(IMAGE_TOKEN);
    let footer = template.footer(USER);
    ids.extend(tokenizer.encode(&format!("{about}{footer}{}", template.answer))?);
    Ok(ids)
}

/// What a first system turn says, and the turns that are rendered: an assistant that speaks first is not heard (`train.py:617`).
///
/// The reference fails on a system turn at the beginning (`KeyError: 'system'`); here it stands for the template's own.
pub(crate) fn rendered(turns: &[Turn]) -> (Option<&str>, &[Turn]) {
    let (system, turns) = match turns {
        [first, rest @ ..] if role(&first.from) == SYSTEM => (Some(first.value.as_str()), rest),
        turns => (None, turns),
    };
    match turns {
        [first, rest @ ..] if role(&first.from) != USER => (system, rest),
        turns => (system, turns),
    }
}

/// Whether a turn is the assistant's, and says something.
pub(crate) fn is_answer(turn: &Turn) -> bool {
    is_target(role(&turn.from)) && !trim(&turn.value).is_empty()
}

/// Number of places for images and videos in a conversation: the `<image>` tags of its human turns.
///
/// A tag in an answer or a system turn is text.
pub fn count_image_tags(turns: &[Turn]) -> usize {
    let human = turns.iter().filter(|turn| role(&turn.from) == USER);
    human.map(|turn| turn.value.matches(IMAGE_TAG).count()).sum()
}

impl Prompt {
    fn push(
        &mut self,
        template: &Template,
        tokenizer: &Tokenizer,
        (role, value): (&str, &str),
        rule: LabelRule,
    ) -> Result<(), DataError> {
        let text = template.turn(role, value);
        let ids = match role {
            USER => encode_tagged(tokenizer, &text)?,
            _ => tokenizer.encode(&text)?,
        };
        let target = is_target(role);
        match rule {
            LabelRule::Reference => self.labels.extend(reference_labels(tokenizer, &ids, target)),
            LabelRule::Answers => {
                let header = tokenizer.encode(&template.header(role))?.len();
                let tail = tokenizer.encode("\n")?.len();
                self.labels.extend(answer_labels(&ids, target, header, tail));
            }
        }
        self.input_ids.extend(ids);
        Ok(())
    }
}

/// Everything of a target turn; line breaks and turn marks of every turn; never the picture.
fn reference_labels(tokenizer: &Tokenizer, ids: &[i32], target: bool) -> impl Iterator<Item = i32> {
    let marks = tokenizer.marks();
    ids.iter().map(move |&id| {
        let supervised = id != IMAGE_TOKEN && (target || marks.contains(&id));
        if supervised { id } else { IGNORE }
    })
}

/// The turn without its header and without the line break after `<|im_end|>`.
fn answer_labels(
    ids: &[i32],
    target: bool,
    header: usize,
    tail: usize,
) -> impl Iterator<Item = i32> {
    let said = header..ids.len() - tail;
    ids.iter().enumerate().map(move |(index, &id)| {
        let supervised = target && id != IMAGE_TOKEN && said.contains(&index);
        if supervised { id } else { IGNORE }
    })
}

/// Tokens of a text, [`IMAGE_TOKEN`] for each tag, which is cut out before tokenizing.
fn encode_tagged(tokenizer: &Tokenizer, text: &str) -> Result<Vec<i32>, DataError> {
    let mut ids = Vec::new();
    for (index, piece) in text.split(IMAGE_TAG).enumerate() {
        if index > 0 {
            ids.push(IMAGE_TOKEN);
        }
        if !piece.is_empty() {
            ids.extend(tokenizer.encode(piece)?);
        }
    }
    Ok(ids)
}

/// Moves a single tag to the front, puts the next time message after each tag (`train.py:399-440`).
///
/// A message that is a line of its own stands for the line break behind the tag: what was said around the tag follows as it is
/// (LLaVA-Video's `_get_item`).
fn place_messages(value: &str, messages: &mut std::slice::Iter<'_, String>) -> String {
    let single = value.matches(IMAGE_TAG).count() == 1;
    if let Some(line) = messages.as_slice().first().filter(|line| single && is_line(line)) {
        messages.next();
        return format!("{IMAGE_TAG}{line}{}", value.replace(IMAGE_TAG, ""));
    }
    let text = if single && !value.starts_with(IMAGE_TAG) {
        let without = value.replace(IMAGE_TAG, "");
        trim(&format!("{IMAGE_TAG}\n{}", trim(&without))).to_owned()
    } else {
        value.to_owned()
    };
    let mut pieces = text.split(IMAGE_TAG);
    let mut placed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        placed.push_str(IMAGE_TAG);
        let whole = messages.next().map_or("", String::as_str);
        let message = whole.trim_end_matches(is_space);
        if !message.is_empty() {
            placed.extend([message, if is_line(whole) { "\n" } else { " " }]);
        }
        placed.push_str(piece);
    }
    placed
}

/// Whether a time message is a line of its own.
fn is_line(message: &str) -> bool {
    message.ends_with('\n')
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, message: &str, expect: &str) {
        assert_eq!(place_messages(value, &mut [message.to_owned()].iter()), expect);
    }

    #[test]
    fn the_message_follows_the_tag() {
        check("<image>\nWhat?", "\nIt lasts. ", "<image>\nIt lasts. \nWhat?");
        check("Describe it. <image>", "\nIt lasts. ", "<image>\nIt lasts. \nDescribe it.");
        check("<image>", "\nIt lasts. ", "<image>\nIt lasts. ");
        check("What is it?\n<image>", "", "<image>\nWhat is it?");
        check("Look at <image> and <image>.", "", "Look at <image> and <image>.");
        check("no picture", "\nIt lasts. ", "no picture");
        check("<image>\nWhat?", "\nIt lasts.\n", "<image>\nIt lasts.\n\nWhat?");
        check("What?\n<image>", "\nIt lasts.\n", "<image>\nIt lasts.\nWhat?\n");
    }

    #[test]
    fn each_tag_of_a_conversation_has_its_own_message() {
        let messages = ["\nOne. ".to_owned(), String::new(), "\nThree. ".to_owned()];
        let mut next = messages.iter();
        assert_eq!(
            place_messages("<image>, <image>: same?", &mut next),
            "<image>\nOne. , <image>: same?"
        );
        assert_eq!(place_messages("No.", &mut next), "No.");
        assert_eq!(place_messages("And <image>?", &mut next), "<image>\nThree. \nAnd ?");
        assert_eq!(place_messages("<image>", &mut next), "<image>", "no message is left");
    }

    #[test]
    fn answers_are_labelled_without_header_and_tail() {
        let labels: Vec<i32> = answer_labels(&[1, 77, 198, 32, 2, 198], true, 3, 1).collect();
        assert_eq!(labels, [IGNORE, IGNORE, IGNORE, 32, 2, IGNORE]);
    }
}
