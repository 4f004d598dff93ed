//! The tokenizer of made-up models: a byte-level BPE in Qwen2.5's form, trained on the few words of their world.

use std::path::Path;

use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainerBuilder;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};
use xcomp_data::mixture::turns::{ASSISTANT, SYSTEM, USER};
use xcomp_data::{Choice, Template};
use xcomp_model::base::family::Family;

use super::error::DemoError;
use crate::plan::survey::{frame_style, template};

/// Qwen2.5's split into words (`tokenizer.json`, `pre_tokenizer`): digits stand alone, line breaks too.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Trains on `texts` and on what prompts of the family add to them, and writes a `tokenizer.json` of at most `vocab_size` tokens.
///
/// # Errors
/// If the trainer fails or the file cannot be written.
pub fn write_tokenizer(
    path: &Path,
    texts: &[String],
    family: &Family,
    vocab_size: usize,
) -> Result<Tokenizer, DemoError> {
    train(texts, family, vocab_size)
        .and_then(|tokenizer| tokenizer.save(path, true).map(|()| tokenizer))
        .map_err(|source| DemoError::Tokenizer { path: path.to_owned(), source })
}

/// What template and time message add to every conversation, without tokens that stand for no text.
fn added(family: &Family, template: &Template) -> Vec<String> {
    let seen = Choice { indices: (0..16).collect(), first: 0, fps: 8.0, duration_s: 2.0 };
    let time = seen.message(frame_style(family).time_message);
    let time = if time.is_empty() || time.ends_with('\n') { time } else { time + "\n" };
    let turns = [(SYSTEM, &*template.system), (USER, ""), (ASSISTANT, "")];
    let turns = turns.map(|(role, words)| template.header(role) + words);
    let plain = |text| template.special.iter().fold(text, |text: String, s| text.replace(s, ""));
    turns.into_iter().chain([time]).map(plain).collect()
}

fn train(texts: &[String], family: &Family, vocab_size: usize) -> tokenizers::Result<Tokenizer> {
    let template = template(family);
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
        .vocab_size(vocab_size.saturating_sub(template.special.len()))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let added = added(family, &template);
    let lines = texts.iter().chain(&added).map(String::as_str);
    tokenizer.train(&mut TrainerWrapper::from(trainer), lines)?;
    let special = template.special.iter().map(|token| AddedToken::from(*token, true));
    tokenizer.add_special_tokens(special)?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::clip::DrawnClip;
    use crate::demo::scene::Scene;
    use xcomp_data::{CHATML, VICUNA};
    use xcomp_model::base::config::FAMILIES;

    /// The family whose model the demo makes.
    fn of_demo() -> &'static Family {
        FAMILIES[0]
    }

    fn texts() -> Vec<String> {
        Scene::vocabulary()
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(text, false).unwrap().get_ids().to_vec()
    }

    #[test]
    fn what_is_encoded_is_what_is_decoded() {
        let tokenizer = train(&texts(), of_demo(), 512).unwrap();
        let foreign = "Zwölf Boxkämpfer 你好 \u{1f980}\t...\n\n x".to_owned();
        for text in texts().iter().chain([&foreign]) {
            assert_eq!(&tokenizer.decode(&ids(&tokenizer, text), false).unwrap(), text);
        }
    }

    #[test]
    fn marks_and_answers_are_single_tokens() {
        let tokenizer = train(&texts(), of_demo(), 512).unwrap();
        let size = tokenizer.get_vocab_size(true);
        assert!((300..=512).contains(&size), "{size} tokens");
        for (at, mark) in CHATML.special.iter().enumerate() {
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
            write_tokenizer(path, &texts(), of_demo(), 512).unwrap();
        }
        let [a, b] = paths.map(|path| std::fs::read(path).unwrap());
        assert!(a == b);
    }
    #[test]
    fn a_family_adds_the_words_of_its_own_prompts() {
        let demo = added(of_demo(), &CHATML);
        let time =
            "\nThe video lasts for 2.00 seconds, and 16 frames are uniformly sampled from it. \n";
        let want = ["system\nYou are a helpful assistant.", "user\n", "assistant\n", time];
        assert_eq!(demo, want);
        for family in FAMILIES {
            let (template, tokenizer) = (template(family), train(&texts(), family, 512).unwrap());
            let size = tokenizer.get_vocab_size(true);
            assert!(size <= 512);
            let first = size - template.special.len();
            for (at, token) in template.special.iter().enumerate() {
                assert_eq!(ids(&tokenizer, token), [(first + at) as u32], "{}", family.name);
            }
            assert!(template.ends.iter().all(|end| template.special.contains(end)));
            let system: &str = &template.system;
            assert!(ids(&tokenizer, system).len() < system.len() / 3, "{}", family.name);
        }
        assert_eq!(VICUNA.special, ["<s>", "</s>"]);
    }
}
