//! Greedy tokens and scores of a plain Qwen2 folder, as JSON: what other implementations are compared with.
//!
//! `qwen2-tokens FOLDER NEW_TOKENS PROMPT`; the prompt is a JSON list of token ids, or a question that is put into the chat template.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use serde_json::{Value, json};
use xcomp_data::Tokenizer;
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::base::videochat_flash::VIDEOCHAT_FLASH;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::generate::Decoding;
use xcomp_model::generate::sample::Sampling;
use xcomp_model::splice::{Prompt, splice};
use xcomp_model::weights::{Part, load};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, prompt] = arguments.as_slice() else {
        return Err("usage: qwen2-tokens FOLDER NEW_TOKENS PROMPT".into());
    };
    let (folder, count) = (Path::new(folder), count.parse::<usize>()?);
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let config = LlmConfig::from_hf(&config)?;
    let device = Device::flex();
    let mut llm = Qwen2ForCausalLm::new(&config, &device);
    let names = VIDEOCHAT_FLASH.llm;
    load(folder, &VIDEOCHAT_FLASH, None, &mut [Part { names, module: &mut llm }])?;

    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json")).ok();
    let ids = match (serde_json::from_str::<Vec<i32>>(prompt), &tokenizer) {
        (Ok(ids), _) => ids,
        (Err(_), Some(tokenizer)) => tokenizer.encode(&chat(prompt))?,
        (Err(_), None) => return Err("a question needs a tokenizer.json in the folder".into()),
    };
    let stop = tokenizer.as_ref().map(|tokenizer| tokenizer.ends()[0]);
    let ran = generate(&llm, &config, &ids, count, stop)?;
    let text = tokenizer.map(|tokenizer| tokenizer.decode(&ran.tokens)).transpose()?;
    let report = json!({
        "prompt": ids, "tokens": ran.tokens, "text": text, "scores": ran.scores,
        "prefill_s": ran.prefill_s, "tokens_per_s": ran.tokens_per_s,
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn chat(question: &str) -> String {
    format!(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )
}

struct Ran {
    tokens: Vec<i32>,
    /// Of every step, the first the prompt's.
    scores: Vec<Vec<f32>>,
    prefill_s: f64,
    tokens_per_s: f64,
}

fn generate(
    llm: &Qwen2ForCausalLm,
    config: &LlmConfig,
    ids: &[i32],
    count: usize,
    stop: Option<i32>,
) -> Result<Ran, Box<dyn Error>> {
    let labels = vec![xcomp_model::loss::IGNORE; ids.len()];
    let prompt = Prompt { ids: ids.to_vec(), labels, visual_at: vec![] };
    let plan =
        CompressionPlan::new(&Schedule::None, KeepRule::Suffix, 1, config.num_hidden_layers)?;
    let started = Instant::now();
    let (x, layout) = splice(&llm.model.embed_tokens, &[prompt], vec![vec![]], 1);
    let (mut decoding, mut row) = Decoding::prefill(llm, x, layout, &plan, count);
    let (mut tokens, mut scores) = (vec![], vec![]);
    let mut prefill_s = 0.0;
    while tokens.len() < count {
        let host: Vec<f32> = row.into_data().iter().collect();
        if tokens.is_empty() {
            prefill_s = started.elapsed().as_secs_f64();
        }
        let token = Sampling::GREEDY.pick(&host, &tokens, 0.0);
        tokens.push(token);
        scores.push(host);
        if Some(token) == stop || tokens.len() == count {
            break;
        }
        row = decoding.step(token);
    }
    let decode_s = started.elapsed().as_secs_f64() - prefill_s;
    let tokens_per_s = (tokens.len() - 1) as f64 / decode_s.max(f64::EPSILON);
    Ok(Ran { tokens, scores, prefill_s, tokens_per_s })
}
