//! The tokenizer of the language model, with the ids that its chat template needs.

use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::DataError;
use crate::prompt::template::{CHATML, Template};

/// Largest tokenizer file, in bytes; that of Qwen2.5 has 7 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// A byte-level BPE tokenizer read from a Hugging Face `tokenizer.json`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    sha256: String,
    marks: Vec<i32>,
    ends: Vec<i32>,
}

impl Tokenizer {
    /// Loads a `tokenizer.json` for Qwen's template.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        Self::open(path, &CHATML)
    }

    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be read as a tokenizer, or lacks a token of the chat template.
    pub fn open(path: &Path, template: &Template) -> Result<Self, DataError> {
        let bytes = crate::open::read_regular(path, MAX_TOKENIZER_BYTES)?;
        let inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| {
            DataError::Tokenizer { path: path.to_owned(), message: error.to_string() }
        })?;
        let id = |token: &&str| {
            let alone = inner.encode_fast(*token, false).ok().map(|ids| ids.get_ids().to_vec());
            match alone.as_deref() {
                Some(&[id]) => Ok(id as i32),
                _ => Err(DataError::MissingToken {
                    path: path.to_owned(),
                    token: token.escape_debug().to_string(),
                }),
            }
        };
        let ids = |tokens: &[&str]| tokens.iter().map(id).collect::<Result<Vec<i32>, _>>();
        let (marks, ends) = (ids(template.marks)?, ids(template.ends)?);
        if !template.start.is_empty() {
            id(&template.start)?;
        }
        let sha256 = crate::hash::hex(&Sha256::digest(&bytes));
        Ok(Self { inner, path: path.to_owned(), sha256, marks, ends })
    }

    /// Ids of a text; special tokens written in it become their ids, none is added.
    ///
    /// # Errors
    /// When the tokenizer's own model fails, which a valid file never does.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, DataError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| self.failed(&*error))?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    /// As [`Tokenizer::encode`], each id with the bytes of the text that it stands for.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_places(&self, text: &str) -> Result<Vec<(i32, Range<usize>)>, DataError> {
        let encoding = self.inner.encode(text, false).map_err(|error| self.failed(&*error))?;
        let places = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().map(|&id| id as i32).zip(places).collect())
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

    /// Ids of the template's tokens that are learnt wherever they stand.
    pub fn marks(&self) -> &[i32] {
        &self.marks
    }

    /// Ids of the template's tokens that end an answer; the last one pads.
    pub fn ends(&self) -> &[i32] {
        &self.ends
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
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
