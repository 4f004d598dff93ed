//! Chat templates as data, and what they are rendered to.

use std::borrow::Cow;

use crate::mixture::turns::{ASSISTANT, SYSTEM, USER};

/// Stands in `input_ids` for the visual tokens, which replace it.
pub const IMAGE_TOKEN: i32 = -200;
/// Label of a position that carries no loss.
pub const IGNORE: i32 = -100;
/// How annotations write the place of the picture.
pub const IMAGE_TAG: &str = "<image>";
/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, with [`IMAGE_TOKEN`] at the place of the picture.
    pub input_ids: Vec<i32>,
    /// The target of each position (not shifted), or [`IGNORE`].
    pub labels: Vec<i32>,
    /// Tokens of the system turn and the first human turn.
    pub first_turn: usize,
}

/// How the turns of a conversation are written.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its name in a family of models.
    pub name: &'static str,
    /// What the system turn says.
    pub system: Cow<'static, str>,
    /// What stands before everything.
    pub start: &'static str,
    /// What stands before the text of a role's turn.
    pub before: fn(&str) -> String,
    /// What stands behind it.
    pub after: fn(&str) -> &'static str,
    /// Behind a question, where the answer begins.
    pub answer: &'static str,
    /// Tokens that are learnt wherever they stand; a template that has some tells by them where a turn begins and ends,
    /// so that turns are tokenized one by one.
    pub marks: &'static [&'static str],
    /// Tokens that end an answer; the last one pads.
    pub ends: &'static [&'static str],
    /// All tokens that stand for no text, in the order of its tokenizers.
    pub special: &'static [&'static str],
    /// What is tokenized at a time.
    pub pieces: Pieces,
}

/// What of a conversation is tokenized at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// A turn.
    Turns,
    /// What stands between two pictures.
    Stretches,
    /// The parts of a turn; pictures stand before all words (Video-XL).
    Parts,
    /// Only what the assistant says, behind the pictures (LLaVA's first stage).
    Caption,
}

/// The template of Qwen (`ChatML`).
pub const CHATML: Template = Template {
    name: "chatml",
    system: Cow::Borrowed("You are a helpful assistant."),
    start: "",
    before: |role| format!("<|im_start|>{role}\n"),
    after: |_| "<|im_end|>\n",
    answer: "<|im_start|>assistant\n",
    marks: &["\n", "<|im_start|>", "<|im_end|>"],
    ends: &["<|im_end|>", "<|endoftext|>"],
    special: &["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    pieces: Pieces::Turns,
};

/// The same as Video-XL is trained on it: `<|im_start|>` and what ends a turn is learnt, but no line break within.
pub const VIDEO_XL: Template = Template { name: "video-xl", pieces: Pieces::Parts, ..CHATML };

/// A caption behind a picture (`plain` of Video-XL's `conversation.py`).
pub const PLAIN: Template = Template { name: "plain", pieces: Pieces::Caption, ..CHATML };

/// The template of Vicuna 1.1 and 1.5 (`vicuna_v1` of LLaVA's `conversation.py`).
pub const VICUNA: Template = Template {
    name: "vicuna",
    system: Cow::Borrowed(
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
    ),
    start: "<s>",
    before: |role| match role {
        SYSTEM => String::new(),
        USER => "USER: ".into(),
        _ => "ASSISTANT: ".into(),
    },
    after: |role| if role == ASSISTANT { "</s>" } else { " " },
    answer: "ASSISTANT:",
    marks: &[],
    ends: &["</s>"],
    special: &["<s>", "</s>"],
    pieces: Pieces::Stretches,
};

impl Template {
    /// The template of this name, if it is known.
    pub fn named(name: &str) -> Option<Self> {
        [CHATML, VICUNA, VIDEO_XL, PLAIN].into_iter().find(|template| template.name == name)
    }

    /// The start, and the system turn.
    pub fn system_turn(&self) -> String {
        format!("{}{}", self.start, self.turn(SYSTEM, &self.system))
    }

    /// What stands before the text of a turn.
    pub fn header(&self, role: &str) -> String {
        (self.before)(role)
    }

    /// What stands behind the text of a turn.
    pub fn footer(&self, role: &str) -> &'static str {
        (self.after)(role)
    }

    /// A whole turn.
    pub(super) fn turn(&self, role: &str, value: &str) -> String {
        format!("{}{value}{}", self.header(role), self.footer(role))
    }
}

/// Whether the turns of a role are learnt.
pub(super) fn is_target(role: &str) -> bool {
    !matches!(role, USER | SYSTEM)
}
