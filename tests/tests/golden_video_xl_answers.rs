//! Kinds `v_generate` and `v_init`: answers behind videos that were read in windows; checkpoints that lack learned tokens.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use serde_json::json;
use xcomp_model::base::video_xl::VIDEO_XL;
use xcomp_model::compress::vst::pass::{empty, remember, rope, run};
use xcomp_model::compress::vst::{Kind, VstPlan};
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::generate::{Decoding, Prefix};
use xcomp_model::splice::{Prompt, splice};
use xcomp_model::weights::{Part, SINGLE_FILE, load};
use xcomp_tests::{
    Case, HostData, HostTensor, Tolerance, assert_close, cases, host, load_case, video_xl,
    video_xl_plan, video_xl_prompt, weights, write_tensors,
};

/// A prompt that is answered.
struct Question {
    llm: Qwen2ForCausalLm,
    prompt: Prompt,
    visual: Tensor<2>,
}

impl Question {
    fn of(case: &Case) -> Self {
        let device = Device::flex();
        let llm = load_case(Qwen2ForCausalLm::new(&video_xl(case).llm, &device), case, "w.");
        let visual = case.burn::<2>("visual", &device);
        Self { llm, prompt: video_xl_prompt(case), visual }
    }

    /// The whole sequence, and these tokens behind it: `[1, tokens, hidden]`.
    fn embed(&self, more: &[i32]) -> Tensor<3> {
        let ids = [&self.prompt.ids, more].concat();
        let prompt = Prompt { labels: ids.clone(), ids, visual_at: self.prompt.visual_at.clone() };
        splice(&self.llm.model.embed_tokens, &[prompt], vec![vec![self.visual.clone()]], 1).0
    }

    /// Reads the video and asks; what follows is to be decoded.
    fn ask(&self, plan: &VstPlan, max_new_tokens: usize) -> (Decoding<'_>, Tensor<1>) {
        let x = self.embed(&[]);
        let prefix = Prefix::in_windows(&self.llm, plan, |rows| x.clone().slice_dim(1, rows));
        let shared = plan.shared().last().map_or(0, |last| last.rows.end);
        let [_, all, _] = x.dims();
        Decoding::after(&self.llm, &prefix, x.slice_dim(1, shared..all), max_new_tokens)
    }
}

fn greedy(scores: &Tensor<1>) -> i32 {
    scores.clone().argmax(0).into_scalar::<i32>()
}

/// Pins: what stays of every window, positions while decoding, scores of every step, greedy tokens, the memory at the end.
#[test]
fn v_generate() {
    for case in cases("v_generate") {
        let question = Question::of(&case);
        let plan = video_xl_plan(&case, &question.prompt, 0);
        windows(&case, &plan);
        let want: Vec<i32> =
            serde_json::from_value(case.value("/expect/new_tokens").clone()).expect("tokens");
        let (mut decoding, first) = question.ask(&plan, want.len());
        let (mut tokens, mut positions, mut all) = (vec![greedy(&first)], vec![], vec![first]);
        while tokens.len() < want.len() {
            positions.push(decoding.cache_lengths()[0]);
            let scores = decoding.step(tokens[tokens.len() - 1]);
            tokens.push(greedy(&scores));
            all.push(scores);
        }
        let scores = Tensor::stack::<2>(all, 0);
        let logits = case.tensor("step.logits");
        assert_close(&case, "step.logits", scores, logits, Tolerance::FORWARD);
        assert_eq!(tokens, want, "case {}", case.name);
        assert_eq!(json!(positions), *case.value("/expect/decode_positions"), "case {}", case.name);
        let device = Device::flex();
        for (layer, held) in decoding.caches().enumerate() {
            let (keys, values) = held.held().expect("a cache");
            let what = format!("mem.k.{layer}");
            // The reference holds keys without rotation.
            let want = case.burn::<3>(&what, &device).unsqueeze::<4>();
            let rope = question.llm.model.rope(held.len(), &device);
            let want = host(rope.rotate(want).flatten::<3>(0, 1));
            let keys = keys.clone().flatten::<3>(0, 1);
            assert_close(&case, &what, keys, &want, Tolerance::FORWARD);
            let what = format!("mem.v.{layer}");
            let values = values.clone().flatten::<3>(0, 1);
            assert_close(&case, &what, values, case.tensor(&what), Tolerance::FORWARD);
        }
    }
}

fn windows(case: &Case, plan: &VstPlan) {
    let want = case.value("/expect/windows").as_array().expect("windows");
    assert_eq!(plan.segments.len(), want.len(), "case {}", case.name);
    for (segment, want) in plan.segments.iter().zip(want) {
        let ratio = match segment.kind {
            Kind::Window { ratio, .. } => json!(ratio),
            _ => json!(null),
        };
        let got = json!([ratio, segment.vst, segment.memory]);
        let wanted = json!([want["ratio"], want["vst_local_index"], want["query_pos_first"]]);
        assert_eq!(got, wanted, "case {}", case.name);
    }
}

/// A video that is read in windows and an answer that is decoded give what one run over all segments gives.
#[test]
fn v_generate_equals_a_whole_pass() {
    for case in cases("v_generate") {
        let question = Question::of(&case);
        let want = case.tensor("step.logits");
        let tokens: Vec<i32> =
            serde_json::from_value(case.value("/expect/new_tokens").clone()).expect("tokens");
        let plan = video_xl_plan(&case, &question.prompt, tokens.len() - 1);
        let x = question.embed(&tokens[..tokens.len() - 1]);
        let llm = &question.llm;
        let (rope, mut memory) = (rope(&llm.model, &plan, 0, &x), empty(&llm.model));
        let mut text = vec![];
        for segment in &plan.segments {
            let rows = x.clone().slice_dim(1, segment.rows.clone());
            let (hidden, kept) = run(&llm.model, rows, segment, &rope, &memory);
            remember(&mut memory, kept);
            if segment.kind == Kind::Tail {
                text.push(hidden);
            }
        }
        let text = Tensor::cat(text, 1);
        let [_, len, _] = text.dims();
        let asked = text.slice_dim(1, len - tokens.len()..len);
        let scores = llm.logits(llm.model.norm.forward(asked).flatten(0, 1));
        assert_close(&case, "step.logits", scores, want, Tolerance::FORWARD);
    }
}

/// Under every ratio: the text behind a video that was read in windows, one cached token at a time, has the reference's scores.
#[test]
fn v_vst_token_by_token() {
    for case in cases("v_vst") {
        let question = Question::of(&case);
        let plan = video_xl_plan(&case, &question.prompt, 0);
        let (x, shared) = (question.embed(&[]), plan.shared());
        let prefix = Prefix::in_windows(&question.llm, &plan, |rows| x.clone().slice_dim(1, rows));
        let (from, tail) = (question.prompt.visual_at[0] + 1, &plan.segments[shared.len()..]);
        let tokens = &question.prompt.ids[from..];
        let first = x.slice_dim(1, tail[0].rows.start..=tail[0].rows.start);
        let (mut decoding, scores) =
            Decoding::after(&question.llm, &prefix, first, tokens.len() - 1);
        let mut all = vec![scores];
        all.extend(tokens[1..].iter().map(|token| decoding.step(*token)));
        let mut all = all.into_iter();
        for (at, segment) in tail.iter().enumerate() {
            let what = format!("win{}.logits", shared.len() + at);
            let rows = all.by_ref().take(segment.rows.len()).collect();
            let got = Tensor::stack::<2>(rows, 0);
            assert_close(&case, &what, got, case.tensor(&what), Tolerance::FORWARD);
        }
        assert!(all.next().is_none(), "case {}", case.name);
    }
}

/// Pins: what a checkpoint lacks is copied, bit for bit, key by key; what it has is kept.
#[test]
fn v_init() {
    for case in cases("v_init") {
        let folder = tempfile::tempdir().expect("a folder");
        let stored: BTreeMap<String, HostTensor> =
            case.under("ckpt.").map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        write_tensors(&folder.path().join(SINGLE_FILE), &stored);
        let config = video_xl(&case).llm;
        let mut llm = Qwen2ForCausalLm::new(&config, &Device::flex());
        let row = llm.model.first_vst_row;
        let part = Part { names: VIDEO_XL.llm, module: &mut llm };
        load(folder.path(), &VIDEO_XL, row, &mut [part]).expect("weights");
        let got = weights(&llm);
        let mut seen = 0;
        for want in case.value("/expect/beacon_params").as_array().expect("parameters") {
            let name = want["param"].as_str().expect("a name");
            // The reference overwrites a map in every layer where one layer lacks it; here what is there is kept.
            let bits =
                |tensor: &HostTensor| tensor.f32().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let wanted = match stored.get(name) {
                Some(own) => own,
                None => case.tensor(&format!("after.{name}")),
            };
            assert_eq!(got[name].shape, wanted.shape, "case {}: {name}", case.name);
            assert_eq!(bits(&got[name]), bits(wanted), "case {}: {name}", case.name);
            seen += 1;
        }
        assert_eq!(seen, got.keys().filter(|name| name.contains("beacon_")).count());
    }
}

/// What is copied is counted, so that half a set of learned tokens can be told; a copy of nothing is a tensor that is missing.
#[test]
fn half_of_the_learned_tokens_is_told() {
    let case = &cases("v_init_missing")[0];
    let folder = tempfile::tempdir().expect("a folder");
    let mut stored: BTreeMap<String, HostTensor> =
        case.under("ckpt.").map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    let part = |llm: &mut Qwen2ForCausalLm| {
        let row = llm.model.first_vst_row;
        load(folder.path(), &VIDEO_XL, row, &mut [Part { names: VIDEO_XL.llm, module: llm }])
    };
    let mut llm = Qwen2ForCausalLm::new(&video_xl(case).llm, &Device::flex());
    let learned = weights(&llm).keys().filter(|name| name.contains("beacon_")).count();
    write_tensors(&folder.path().join(SINGLE_FILE), &stored);
    assert_eq!(part(&mut llm).expect("weights").copied, learned);
    let one = "model.layers.0.self_attn.beacon_q_proj.bias";
    stored.insert(one.into(), stored["model.layers.0.self_attn.q_proj.bias"].clone());
    write_tensors(&folder.path().join(SINGLE_FILE), &stored);
    assert_eq!(part(&mut llm).expect("weights").copied, learned - 1);
    let zeros = HostTensor { shape: vec![3], data: HostData::F32(vec![0.0; 3]) };
    stored.insert(one.into(), zeros);
    write_tensors(&folder.path().join(SINGLE_FILE), &stored);
    let told = part(&mut llm).expect_err("a shape").to_string();
    assert!(told.contains(one) && told.contains("[3]"), "{told}");
}
