//! Kind k: generation over compressed caches, against the official code.

use burn::tensor::Device;
use xcomp_model::config::LlmConfig;
use xcomp_model::generate::Decoding;
use xcomp_model::qwen2::Qwen2ForCausalLm;
use xcomp_model::sample::Sampling;
use xcomp_model::schedule::CompressionPlan;
use xcomp_model::splice::{Prompt, splice};
use xcomp_tests::{
    Case, HostData, HostTensor, Tolerance, assert_close, case_schedule, cases, load_case,
};

/// Pins: one cache per layer with its own length, decode positions per layer, greedy tokens, logits of every step.
#[test]
fn k_generate() {
    for case in cases("k_generate") {
        let config: LlmConfig = serde_json::from_value(case.value("/config").clone()).unwrap();
        let device = Device::flex();
        let llm = load_case(Qwen2ForCausalLm::new(&config, &device), &case, "w.");
        let (schedule, keep) = case_schedule(&case, config.num_hidden_layers);
        let n = case.count("/config/tokens_per_frame");
        let plan = CompressionPlan::new(&schedule, keep, n, config.num_hidden_layers).unwrap();

        let ids = case.tensor("input_ids").i32().to_vec();
        let image_at = ids.iter().position(|id| *id < 0);
        let prompt = Prompt { labels: vec![-100; ids.len()], ids, image_at };
        let visual = vec![Some(case.burn::<2>("visual.0", &device))];
        let (x, layout) = splice(&llm.model.embed_tokens, &[prompt], visual, n);

        let want = case.tensor("new_tokens").i32();
        let (mut decoding, mut scores) = Decoding::prefill(&llm, x, layout, &plan, want.len());
        let mut tokens = vec![];
        for step in 0..want.len() {
            compare_scores(&case, step, scores.clone());
            let row: Vec<f32> = scores.clone().into_data().iter().collect();
            tokens.push(Sampling::GREEDY.pick(&row, &tokens, 0.0));
            if step + 1 < want.len() {
                scores = decoding.step(tokens[step]);
            }
        }
        assert_eq!(tokens, want, "case {}", case.name);
        let lengths = case.value("/expect/final_cache_len_per_layer").as_array().unwrap();
        let lengths: Vec<usize> =
            lengths.iter().map(|len| len.as_u64().unwrap() as usize).collect();
        assert_eq!(decoding.cache_lengths(), lengths, "case {}", case.name);
    }
}

fn compare_scores(case: &Case, step: usize, scores: burn::tensor::Tensor<1>) {
    let all = case.tensor("step_logits");
    let width = all.shape[1];
    let row = all.f32()[step * width..(step + 1) * width].to_vec();
    let want = HostTensor { shape: vec![width], data: HostData::F32(row) };
    assert_close(case, &format!("step_logits[{step}]"), scores, &want, Tolerance::FORWARD);
}
