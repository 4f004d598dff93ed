//! Kind `v_vst`: losses and gradients of sequences that are read in windows, on one tape and window by window.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Gradients, Tensor};
use serde_json::json;
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::base::vst::{VstConfig, VstMaps};
use xcomp_model::compress::vst::pass::{empty, remember, rope, run, woven};
use xcomp_model::compress::vst::{Kind, Parts, Purpose, RatioMix, Segment, VstPlan, VstRule};
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::decoder::vst::Roles;
use xcomp_model::loss::{IGNORE, SupervisedRows};
use xcomp_model::splice::{Prompt, splice};
use xcomp_model::vlm::supervised;
use xcomp_model::windows::{Sequence, backward, loss};
use xcomp_tests::{
    Case, HostTensor, Tolerance, WholeSequence, assert_close, assert_scalar,
    assert_video_xl_gradients, cases, drawn, drawn_module, gradients, host, load_case, video_xl,
    video_xl_plan, video_xl_prompt,
};

/// A sequence with visual tokens, to be learnt from.
struct Lesson {
    llm: Qwen2ForCausalLm,
    prompt: Prompt,
    visual: Tensor<2>,
    plan: VstPlan,
}

impl Lesson {
    fn of(case: &Case) -> Self {
        let device = Device::flex().autodiff();
        let llm = load_case(Qwen2ForCausalLm::new(&video_xl(case).llm, &device), case, "w.");
        let prompt = video_xl_prompt(case);
        let visual = case.burn::<2>("visual", &device).require_grad();
        Self { llm, plan: video_xl_plan(case, &prompt, 0), prompt, visual }
    }

    /// The sequence on the tape, `[1, tokens, hidden]`, and what it is to predict.
    fn embed(&self) -> (Tensor<3>, SupervisedRows) {
        let prompts = std::slice::from_ref(&self.prompt);
        let visual = vec![vec![self.visual.clone()]];
        let (x, layout) = splice(&self.llm.model.embed_tokens, prompts, visual, 1);
        (x, supervised(prompts, &layout))
    }

    fn named(&self, tape: Gradients) -> BTreeMap<String, HostTensor> {
        gradients(&self.llm, &GradientsParams::from_grads(tape, &self.llm))
    }

    /// The mean loss and all gradients, on one tape.
    fn on_one_tape(&self) -> (f64, BTreeMap<String, HostTensor>) {
        let (x, rows) = self.embed();
        let loss = loss(&self.llm, &x, &self.plan, &rows) / rows.len() as f64;
        let mut tape = loss.backward();
        let visual = self.visual.grad_remove(&mut tape).map(host);
        let mut found = self.named(tape);
        found.extend(visual.map(|visual| ("visual".to_owned(), visual)));
        (f64::from(loss.into_scalar::<f32>()), found)
    }

    /// The same, window by window.
    fn in_windows(&self) -> (f64, BTreeMap<String, HostTensor>) {
        let (x, rows) = self.embed();
        let mut whole = WholeSequence::new(x.clone().inner(), |tape| self.named(tape));
        let factor = 1.0 / rows.len() as f64;
        let loss = backward(&self.llm, &self.plan, &rows, factor, &mut whole);
        let mut tape = (x * whole.below.clone().autodiff()).sum().backward();
        let visual = self.visual.grad_remove(&mut tape).map(host);
        whole.collect(tape);
        let mut found = whole.found;
        found.extend(visual.map(|visual| ("visual".to_owned(), visual)));
        (f64::from(loss.into_scalar::<f32>()), found)
    }
}

/// Pins: ids, places, targets, hidden states of every layer, logits, and what stays in the memory.
#[test]
fn v_vst_forward() {
    for case in cases("v_vst") {
        forward(&case);
    }
}

fn forward(case: &Case) {
    let Lesson { llm, prompt, visual, plan } = Lesson::of(case);
    let llm = llm.valid();
    let (x, _) = splice(
        &llm.model.embed_tokens,
        std::slice::from_ref(&prompt),
        vec![vec![visual.inner()]],
        1,
    );
    let close = |name: &str, got: Tensor<2>| {
        if case.has(name) {
            let tolerance = case.tolerance("forward", Tolerance::FORWARD);
            assert_close(case, name, got, case.tensor(name), tolerance);
        }
    };
    let windows = case.value("/expect/windows").as_array().expect("windows");
    assert_eq!(plan.segments.len(), windows.len(), "case {}", case.name);
    let (ids, targets) = expanded(case, &prompt);
    let (rope, mut memory) = (rope(&llm.model, &plan, 0, &x), empty(&llm.model));
    for (index, segment) in plan.segments.iter().enumerate() {
        let at = |what: &str| format!("win{index}.{what}");
        assert_eq!(json!(segment.vst), windows[index]["vst_local_index"], "case {}", case.name);
        let learned = case.count("/config/vocab_size") as i32;
        let mut own = vec![(learned, IGNORE); segment.len()];
        for row in segment.rows.clone() {
            own[segment.place(row)] = (ids[row], targets[row]);
        }
        let (own_ids, own_targets): (Vec<i32>, Vec<i32>) = own.into_iter().unzip();
        assert_eq!(own_ids, case.tensor(&at("ids")).i32(), "case {}: {}", case.name, at("ids"));
        let labels = case.tensor(&at("labels")).i32();
        assert_eq!(own_targets, labels, "case {}: {}", case.name, at("labels"));
        let positions: Vec<i32> =
            (segment.memory..segment.memory + segment.len()).map(|p| p as i32).collect();
        assert_eq!(positions, case.tensor(&at("pos")).i32(), "case {}", case.name);

        let rows = x.clone().slice_dim(1, segment.rows.clone());
        let roles = Roles::new(segment.len(), &segment.vst);
        let mut hidden = woven(&llm.model, rows.clone(), roles.as_ref(), segment.vst.len());
        for (layer, held) in memory.iter().enumerate() {
            close(&at(&format!("hidden.{layer}")), hidden.clone().flatten(0, 1));
            hidden = llm.model.layers[layer].forward_segment(hidden, roles.as_ref(), &rope, held).0;
        }
        let normed = llm.model.norm.forward(hidden).flatten::<2>(0, 1);
        close(&at(&format!("hidden.{}", memory.len())), normed.clone());
        close(&at("logits"), llm.logits(normed));
        let (_, kept) = run(&llm.model, rows, segment, &rope, &memory);
        remember(&mut memory, kept);
    }
    let held = case.value("/expect/cache");
    let of = |kind: fn(&Kind) -> bool| -> usize {
        plan.segments.iter().filter(|one| kind(&one.kind)).map(Segment::kept).sum()
    };
    let got = json!({ "sink": of(|k| *k == Kind::Prefix), "raw": of(|k| *k == Kind::Tail),
        "vst": of(|k| matches!(k, Kind::Window { .. })) });
    assert_eq!(got, *held, "case {}", case.name);
    for (layer, held) in memory.iter().enumerate() {
        let (keys, values) = held.held().expect("a memory");
        // The reference holds keys without rotation.
        let want = case.burn::<3>(&format!("mem.k.{layer}"), &Device::flex());
        let want = host(rope.rotate(want.unsqueeze()).flatten::<3>(0, 1));
        let what = format!("mem.k.{layer}");
        assert_close(case, &what, keys.clone().flatten::<3>(0, 1), &want, Tolerance::FORWARD);
        let what = format!("mem.v.{layer}");
        let values = values.clone().flatten::<3>(0, 1);
        assert_close(case, &what, values, case.tensor(&what), Tolerance::FORWARD);
    }
}

/// Ids, and the target of every row, once the visual tokens stand in the prompt.
fn expanded(case: &Case, prompt: &Prompt) -> (Vec<i32>, Vec<i32>) {
    let (visual, at) = (case.count("/config/n_visual"), prompt.visual_at[0]);
    let placeholder = case.count("/config/vocab_size") as i32 - 1;
    let wide =
        |from: &[i32], filler: i32| [&from[..at], &vec![filler; visual], &from[at + 1..]].concat();
    let mut targets = wide(&prompt.labels, IGNORE).split_off(1);
    targets.push(IGNORE);
    (wide(&prompt.ids, placeholder), targets)
}

/// Pins: the loss over prefix and tail, and the gradient of every parameter and visual token, through all windows.
#[test]
fn v_vst_gradients_on_one_tape() {
    for case in cases("v_vst") {
        compare(&case, Lesson::of(&case).on_one_tape());
    }
}

/// Window by window gives what the reference's one tape gives.
#[test]
fn v_vst_gradients_in_windows() {
    for case in cases("v_vst") {
        compare(&case, Lesson::of(&case).in_windows());
    }
}

fn compare(case: &Case, (loss, found): (f64, BTreeMap<String, HostTensor>)) {
    let tolerance = case.tolerance("loss", Tolerance::LOSS);
    assert_scalar(case, "loss", loss, case.number("/expect/loss"), tolerance);
    assert_video_xl_gradients(case, &found);
}

/// Four layers, five windows under other ratios each with something left over, two pieces of text behind them.
fn drawn_lesson() -> Lesson {
    let device = Device::flex().autodiff();
    let maps = VstMaps { q: true, k: true, v: true, o: true, mlp: true };
    let vst = VstConfig { maps, window: 24, ratios: vec![3, 4, 8], first_row: 0 };
    let config = LlmConfig {
        vocab_size: 40,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        tie_word_embeddings: false,
        qkv_bias: true,
        rope_factor: 1.0,
        vst: Some(vst),
    };
    let windows = [24, 20, 21, 24, 16];
    let visual: usize = windows.iter().sum();
    let labels: Vec<i32> =
        (0..50).map(|at| if at < 4 || (9..20).contains(&at) { IGNORE } else { at % 40 }).collect();
    let ids = (0..50).map(|at| if at == 9 { -1 } else { (at * 7) % 40 }).collect();
    let rule = VstRule { window: 24, ratios: vec![3, 4, 8], mix: RatioMix::Sequence };
    let parts = Parts { prefix: 9, visual, tail: 40 };
    let plan = rule.plan_windows(parts, &windows, Purpose::Training, &mut |fitting| fitting[0]);
    Lesson {
        llm: drawn_module(Qwen2ForCausalLm::new(&config, &device), 17),
        prompt: Prompt { ids, labels, visual_at: vec![9] },
        visual: drawn::<2>(5, [visual, 32], &device).require_grad(),
        plan: plan.expect("a plan"),
    }
}

/// Both ways give the same gradients to 1e-4 of the largest of each tensor, and every learned token's map learns.
#[test]
fn both_ways_are_equal() {
    let lesson = drawn_lesson();
    let carries = |kind: &Kind| matches!(kind, Kind::Window { carry: 1.., .. });
    assert!(lesson.plan.segments.iter().any(|one| carries(&one.kind)), "something is left over");
    let (loss, want) = lesson.on_one_tape();
    let (again, got) = lesson.in_windows();
    assert!((loss - again).abs() < 1e-5, "{loss} {again}");
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    let largest = |x: &[f32]| x.iter().fold(0.0, |max: f32, value| max.max(value.abs()));
    for (name, want) in &want {
        let (got, want) = (got[name].f32(), want.f32());
        let off: Vec<f32> = got.iter().zip(want).map(|(got, want)| got - want).collect();
        let (off, size) = (largest(&off), largest(want));
        assert!(off <= 1e-4 * size, "{name}: {off} off, largest {size}");
        if name.contains("beacon_") || name == "visual" {
            assert!(size > 0.0, "{name} does not learn");
        }
    }
    // Nothing looks at what the last layer gives to a learned token: only its keys and values are used.
    let learned = want.keys().filter(|name| name.contains("beacon_")).count();
    assert_eq!(learned, 1 + 3 * (2 * 3 + 1 + 2) + 2 * 2);
}

/// A window of which nothing stays is not run, on one tape or otherwise: its visual tokens learn nothing.
#[test]
fn a_window_without_learned_tokens_is_skipped() {
    let mut lesson = drawn_lesson();
    let rule = VstRule { window: 24, ratios: vec![16], mix: RatioMix::Step };
    let parts = Parts { prefix: 9, visual: 52, tail: 40 };
    lesson.plan = rule.plan(parts, Purpose::Training, &mut |_| unreachable!()).expect("a plan");
    lesson.visual = drawn::<2>(6, [52, 32], &Device::flex().autodiff()).require_grad();
    assert_eq!(lesson.plan.segments[3].kept(), 0);
    for (_, found) in [lesson.on_one_tape(), lesson.in_windows()] {
        let visual = found["visual"].f32();
        assert!(visual[48 * 32..].iter().all(|value| *value == 0.0));
        assert!(visual[..48 * 32].iter().any(|value| *value != 0.0));
    }
}
