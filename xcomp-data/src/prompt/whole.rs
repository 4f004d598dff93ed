//! Conversations whose turns no special token parts: tokenized as one text between pictures, so that spaces fall as in the reference
//! (`preprocess_v1` of LLaVA's `train.py`).

use std::ops::Range;

use crate::mixture::turns::USER;
use crate::prompt::template::{IGNORE, IMAGE_TAG, IMAGE_TOKEN, Prompt, Template, is_target};
use crate::{DataError, Tokenizer};

/// A text between two pictures, and which bytes of it are answers.
#[derive(Default)]
struct Stretch {
    text: String,
    answers: Vec<Range<usize>>,
}

/// Renders the system turn and all others; learnt is what the assistant says, and what ends it.
pub(super) fn render(
    template: &Template,
    tokenizer: &Tokenizer,
    said: &[(&str, String)],
) -> Result<Prompt, DataError> {
    let (mut stretches, mut first_turn) = (vec![Stretch::default()], (0, 0));
    stretches[0].text.push_str(template.start);
    for (index, (role, value)) in said.iter().enumerate() {
        let header = template.header(role);
        let pieces: Vec<&str> =
            if *role == USER { value.split(IMAGE_TAG).collect() } else { vec![value] };
        for (piece_index, piece) in pieces.iter().enumerate() {
            if piece_index > 0 {
                stretches.push(Stretch::default());
            }
            let stretch = stretches.last_mut().expect("there is one");
            if piece_index == 0 {
                stretch.text.push_str(&header);
            }
            let start = stretch.text.len();
            stretch.text.push_str(piece);
            if piece_index + 1 == pieces.len() {
                stretch.text.push_str(template.footer(role));
            }
            if is_target(role) {
                stretch.answers.push(start..stretch.text.len());
            }
        }
        if index <= 1 {
            first_turn = (stretches.len() - 1, stretches[stretches.len() - 1].text.len());
        }
    }
    tokenized(tokenizer, &stretches, first_turn)
}

fn tokenized(
    tokenizer: &Tokenizer,
    stretches: &[Stretch],
    (turn_stretch, turn_end): (usize, usize),
) -> Result<Prompt, DataError> {
    let mut prompt = Prompt { input_ids: Vec::new(), labels: Vec::new(), first_turn: 0 };
    for (index, stretch) in stretches.iter().enumerate() {
        if index > 0 {
            prompt.input_ids.push(IMAGE_TOKEN);
            prompt.labels.push(IGNORE);
        }
        for (id, bytes) in tokenizer.encode_with_places(&stretch.text)? {
            // A space before an answer is part of its first token.
            let learnt =
                |answer: &Range<usize>| bytes.start < answer.end && bytes.end > answer.start;
            let is_learnt = stretch.answers.iter().any(learnt);
            prompt.input_ids.push(id);
            prompt.labels.push(if is_learnt { id } else { IGNORE });
            if index < turn_stretch || index == turn_stretch && bytes.end <= turn_end {
                prompt.first_turn = prompt.input_ids.len();
            }
        }
    }
    Ok(prompt)
}
