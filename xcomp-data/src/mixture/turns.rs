//! Turns of a conversation and who speaks them.

use serde::{Deserialize, Serialize};

/// Role of who asks.
pub const USER: &str = "user";
/// Role of who answers.
pub const ASSISTANT: &str = "assistant";
/// Role of who instructs.
pub const SYSTEM: &str = "system";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks: `human`, `gpt`, or another role name.
    pub from: String,
    /// What is said; `<image>` stands for the picture.
    pub value: String,
}

/// What a system turn of a conversation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemTurn {
    /// At the beginning it stands for the template's own; behind that it is rendered where it stands.
    #[default]
    Keep,
    /// Its record cannot be used, as in the reference, which fails on one at the beginning (`KeyError: 'system'`).
    Refuse,
}

/// Whether a turn's role is one that a template can write.
pub(crate) fn is_known_role(from: &str) -> bool {
    matches!(role(from), USER | ASSISTANT | SYSTEM)
}

/// Whether a turn is the system's.
pub(crate) fn is_system(turn: &Turn) -> bool {
    role(&turn.from) == SYSTEM
}

/// The role of a speaker, as templates name it.
pub(crate) fn role(from: &str) -> &str {
    match from {
        "human" => USER,
        "gpt" => ASSISTANT,
        other => other,
    }
}
