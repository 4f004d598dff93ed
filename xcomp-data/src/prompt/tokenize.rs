//! The tokenizer of the language model, with the ids that the Qwen chat template needs.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::DataError;

/// Largest tokenizer file, in bytes; that of Qwen2.5 has 7 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// A byte-level BPE tokenizer read from a Hugging Face `tokenizer.json`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    sha256: String,
    special: SpecialIds,
}

/// Ids of the tokens that the chat template is made of, looked up by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// `<|im_start|>`, which opens a turn.
    pub im_start: i32,
    /// `<|im_end|>`, which closes a turn and an answer.
    pub im_end: i32,
    /// `<|endoftext|>`, which pads.
    pub endoftext: i32,
    /// The line break.
    pub newline: i32,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be read as a tokenizer, or lacks a token of the Qwen chat template.
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        let bytes = crate::open::read_regular(path, MAX_TOKENIZER_BYTES)?;
        let inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| {
            DataError::Tokenizer { path: path.to_owned(), message: error.to_string() }
        })?;
        let special = SpecialIds::look_up(&inner, path)?;
        let sha256 = crate::hash::hex(&Sha256::digest(&bytes));
        Ok(Self { inner, path: path.to_owned(), sha256, special })
    }

    /// Ids of a text; special tokens written in it become their ids, none is added.
    ///
    /// # Errors
    /// When the tokenizer's own model fails, which a valid file never does.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, DataError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| self.failed(&*error))?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    /// Text of ids; special tokens are left out, ids that no token has are skipped.
    ///
    /// # Errors
    /// When the tokenizer's own decoder fails.
    pub fn decode(&self, ids: &[i32]) -> Result<String, DataError> {
        self.decode_with(ids, true)
    }

    /// Text of ids with special tokens written out, for showing prompts.
    ///
    /// # Errors
    /// When the tokenizer's own decoder fails.
    pub fn decode_all(&self, ids: &[i32]) -> Result<String, DataError> {
        self.decode_with(ids, false)
    }

    fn decode_with(&self, ids: &[i32], skip_special: bool) -> Result<String, DataError> {
        let known: Vec<u32> = ids.iter().filter_map(|&id| u32::try_from(id).ok()).collect();
        self.inner.decode(&known, skip_special).map_err(|error| self.failed(&*error))
    }

    fn failed(&self, error: &(dyn std::error::Error + Send + Sync)) -> DataError {
        DataError::Tokenizer { path: self.path.clone(), message: error.to_string() }
    }

    /// Ids of the template's tokens.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// Number of tokens, added ones included; the embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The file that it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Content hash of the file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}

impl SpecialIds {
    fn look_up(inner: &tokenizers::Tokenizer, path: &Path) -> Result<Self, DataError> {
        let missing = |token: &str| DataError::MissingToken {
            path: path.to_owned(),
            token: token.to_owned(),
        };
        let id = |token: &str| {
            inner.token_to_id(token).map(|id| id as i32).ok_or_else(|| missing(token))
        };
        let newline = inner.encode_fast("\n", false).map_err(|_| missing("\\n"))?;
        let &[newline] = newline.get_ids() else { return Err(missing("\\n")) };
        Ok(Self {
            im_start: id("<|im_start|>")?,
            im_end: id("<|im_end|>")?,
            endoftext: id("<|endoftext|>")?,
            newline: newline as i32,
        })
    }
}
