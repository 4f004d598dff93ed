//! The demo's tokenizer: a byte-level BPE in Qwen2.5's form, trained on the few words of the world.

use std::path::Path;

use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainerBuilder;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::error::DemoError;

/// Tokens of the chat template, in Qwen's order; they follow the trained ones.
pub const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Qwen2.5's split into words (`tokenizer.json`, `pre_tokenizer`): digits stand alone, line breaks too.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What the chat template and the time message add to every conversation.
const TEMPLATE: [&str; 4] = [
    "system\nYou are a helpful assistant.",
    "user\n",
    "assistant\n",
    "\nThe video lasts for 2.00 seconds, and 16 frames are uniformly sampled from it. \n",
];

/// Trains on `texts` and the chat template, writes a `tokenizer.json` of at most `vocab_size` tokens, and returns how many it has.
///
/// # Errors
/// If the trainer fails or the file cannot be written.
pub fn write_tokenizer(
    path: &Path,
    texts: &[String],
    vocab_size: usize,
) -> Result<usize, DemoError> {
    train(texts, vocab_size)
        .and_then(|tokenizer| tokenizer.save(path, true).map(|()| tokenizer.get_vocab_size(true)))
        .map_err(|source| DemoError::Tokenizer { path: path.to_owned(), source })
}

fn train(texts: &[String], vocab_size: usize) -> tokenizers::Result<Tokenizer> {
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    let split = json!({
        "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Isolated", "invert": false,
    });
    let untrained = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [split, byte_level] },
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": { "type": "BPE", "vocab": {}, "merges": [] },
    });
    let mut tokenizer = Tokenizer::from_bytes(untrained.to_string())?;
    let trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab_size.saturating_sub(SPECIAL_TOKENS.len()))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let lines = texts.iter().map(String::as_str).chain(TEMPLATE);
    tokenizer.train(&mut TrainerWrapper::from(trainer), lines)?;
    tokenizer.add_special_tokens(SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)))?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::clip::DrawnClip;
    use crate::demo::scene::Scene;

    fn texts() -> Vec<String> {
        Scene::vocabulary()
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(text, false).unwrap().get_ids().to_vec()
    }

    #[test]
    fn what_is_encoded_is_what_is_decoded() {
        let tokenizer = train(&texts(), 512).unwrap();
        let foreign = "Zwölf Boxkämpfer 你好 \u{1f980}\t...\n\n x".to_owned();
        for text in texts().iter().chain([&foreign]) {
            assert_eq!(&tokenizer.decode(&ids(&tokenizer, text), false).unwrap(), text);
        }
    }

    #[test]
    fn marks_and_answers_are_single_tokens() {
        let tokenizer = train(&texts(), 512).unwrap();
        let size = tokenizer.get_vocab_size(true);
        assert!((300..=512).contains(&size), "{size} tokens");
        for (at, mark) in SPECIAL_TOKENS.iter().enumerate() {
            assert_eq!(ids(&tokenizer, mark), [(size - 3 + at) as u32]);
        }
        for word in ["\n", "red", "yellow", "grows", "shrinks", "assistant", " helpful"] {
            assert_eq!(ids(&tokenizer, word).len(), 1, "{word:?}");
        }
        let turn = "<|im_start|>assistant\nred<|im_end|>\n";
        assert_eq!(ids(&tokenizer, turn).len(), 6);
        assert_eq!(ids(&tokenizer, turn)[2], ids(&tokenizer, "\n")[0]);
    }

    #[test]
    fn the_same_texts_give_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.json", "b.json"].map(|name| folder.path().join(name));
        for path in &paths {
            write_tokenizer(path, &texts(), 512).unwrap();
        }
        let [a, b] = paths.map(|path| std::fs::read(path).unwrap());
        assert!(a == b);
    }
}
