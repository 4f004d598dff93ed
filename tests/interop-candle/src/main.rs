//! `interop-candle FOLDER OURS.json`: candle's Qwen2 on the folder must give our scores and greedy tokens.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen2::{Config, ModelForCausalLM};
use serde_json::Value;

/// Largest allowed difference of a score.
const TOLERANCE: f32 = 1e-4;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, ours] = arguments.as_slice() else { bail!("usage: interop-candle FOLDER OURS.json") };
    let folder = Path::new(folder);
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)
        .context("candle's configuration")?;
    let weights = std::fs::read(folder.join("model.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let mut model = ModelForCausalLM::new(&config, weights).context("candle's Qwen2")?;

    let ours: Value = serde_json::from_slice(&std::fs::read(ours)?)?;
    let prompt: Vec<u32> = serde_json::from_value(ours["prompt"].clone())?;
    let tokens: Vec<u32> = serde_json::from_value(ours["tokens"].clone())?;
    let scores: Vec<Vec<f32>> = serde_json::from_value(ours["scores"].clone())?;
    ensure!(!tokens.is_empty() && tokens.len() == scores.len(), "no tokens to compare");

    let (mut input, mut offset, mut largest) = (prompt, 0, 0_f32);
    for (step, (token, ours)) in tokens.iter().zip(&scores).enumerate() {
        let row = Tensor::new(input.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        let theirs: Vec<f32> = model.forward(&row, offset)?.flatten_all()?.to_vec1()?;
        ensure!(theirs.len() == ours.len(), "step {step}: {} scores, ours {}", theirs.len(), ours.len());
        let off = theirs.iter().zip(ours).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        largest = largest.max(off);
        let best = (0..theirs.len()).max_by(|a, b| theirs[*a].total_cmp(&theirs[*b]));
        ensure!(best == Some(*token as usize), "step {step}: candle takes {best:?}, ours {token}");
        offset += input.len();
        input = vec![*token];
    }
    ensure!(largest <= TOLERANCE, "scores differ by {largest}");
    println!("candle: {} greedy tokens equal, scores within {largest:.1e}", tokens.len());
    Ok(())
}
