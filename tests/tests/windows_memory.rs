//! What a sequence of many windows takes on one tape, and window by window: printed, as it depends on the allocator. What is asserted
//! is what it follows from: no more than a window is ever embedded at once. Alone in its file: it reads what the process takes.

#![cfg(all(feature = "flex", target_os = "linux"))]

use std::fs;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Device, Gradients, Tensor};
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::base::vst::{VstConfig, VstMaps};
use xcomp_model::compress::layout::{Layout, SequenceLayout, VisualSpan};
use xcomp_model::compress::vst::pass;
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstPlan, VstRule};
use xcomp_model::decoder::qwen2::{Qwen2, Qwen2ForCausalLm};
use xcomp_model::generate::{Decoding, Prefix};
use xcomp_model::loss::{IGNORE, Labels, SupervisedRows};
use xcomp_model::windows::{KEPT_COPIES, Sequence, backward, loss};
use xcomp_tests::{drawn, drawn_module};

/// One test at a time: they read what the process takes.
static ALONE: Mutex<()> = Mutex::new(());
const WIDTH: usize = 256;
const WINDOW: usize = 256;
const RATIO: usize = 16;
/// Tokens of a frame of the long video.
const FRAME: usize = 36;
const TEXT: usize = 16;

fn model() -> Qwen2ForCausalLm {
    let maps = VstMaps { q: true, k: true, v: true, ..VstMaps::default() };
    let vst = VstConfig { maps, window: WINDOW, ratios: vec![RATIO], first_row: 0 };
    let config = LlmConfig {
        vocab_size: 64,
        hidden_size: WIDTH,
        intermediate_size: 4 * WIDTH,
        num_hidden_layers: 2,
        num_attention_heads: 8,
        num_key_value_heads: 1,
        rms_norm_eps: 1e-6,
        rope_theta: 1e6,
        tie_word_embeddings: true,
        qkv_bias: true,
        rope_factor: 1.0,
        vst: Some(vst),
    };
    drawn_module(Qwen2ForCausalLm::new(&config, &Device::flex().autodiff()), 3)
}

/// So many windows between two texts, the last of which is learnt.
fn planned(windows: usize) -> (VstPlan, SupervisedRows) {
    let rule = VstRule { window: WINDOW, ratios: vec![RATIO], mix: RatioMix::Step };
    let parts = Parts { prefix: TEXT, visual: windows * WINDOW, tail: TEXT };
    let plan = rule.plan(parts, Purpose::Training, &mut |ratios| ratios[0]).unwrap();
    let span = VisualSpan::new(TEXT, windows, WINDOW);
    let layout = SequenceLayout::new(2 * TEXT + windows * WINDOW, Some(span));
    let mut labels = vec![IGNORE; 2 * TEXT + 1];
    (TEXT + 2..=2 * TEXT).for_each(|at| labels[at] = at as i32);
    let labels = [Labels { labels: &labels, visual_at: &[TEXT] }];
    (plan, SupervisedRows::new(&labels, &Layout::padded(vec![layout])))
}

/// Tokens that are made when they are asked for, and which rows were.
#[derive(Default)]
struct MadeUp {
    asked: Vec<Range<usize>>,
    learnt: Vec<Range<usize>>,
}

fn tokens(rows: Range<usize>, device: &Device) -> Tensor<3> {
    drawn(rows.start as u64, [1, rows.len(), WIDTH], device)
}

impl Sequence for MadeUp {
    fn embed(&mut self, rows: Range<usize>) -> Tensor<3> {
        self.asked.push(rows.clone());
        tokens(rows, &Device::flex())
    }
    fn learn(&mut self, rows: Range<usize>, _: Tensor<3>) {
        self.learnt.push(rows);
    }
    fn collect(&mut self, _: Gradients) {}
}

/// MiB that the process takes at most while `run` runs, beyond what it took before.
fn peak(run: impl FnOnce()) -> f64 {
    let kib = |key: &str| -> f64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // The peak begins anew, where that is permitted: it is only printed.
    let _permitted = fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = kib("VmRSS:");
    run();
    (kib("VmHWM:") - before) / 1024.0
}

#[test]
fn one_window_at_a_time_is_on_a_tape() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let llm = model();
    let in_windows = |windows| {
        let (plan, rows) = planned(windows);
        let mut tokens = MadeUp::default();
        let mib = peak(|| drop(backward(&llm, &plan, &rows, 1.0, &mut tokens)));
        let segments: Vec<_> = plan.segments.iter().map(|segment| segment.rows.clone()).collect();
        assert!(segments.len() >= windows && segments.iter().all(|rows| rows.len() <= WINDOW));
        assert!(tokens.asked.iter().all(|rows| segments.contains(rows)), "{:?}", tokens.asked);
        for rows in &segments {
            let times = tokens.asked.iter().filter(|asked| *asked == rows).count();
            assert!((1..=2).contains(&times), "{rows:?} was embedded {times} times");
        }
        // Last to first, each once: the memory that is before a window stays, its inside does not.
        assert!(tokens.learnt.iter().rev().is_sorted_by_key(|rows| rows.start));
        assert_eq!(tokens.learnt.len(), segments.len());
        mib
    };
    let on_one_tape = |windows| {
        let (plan, rows) = planned(windows);
        peak(|| {
            let device = Device::flex().autodiff();
            let each = plan.segments.iter().map(|segment| tokens(segment.rows.clone(), &device));
            let x = Tensor::cat(each.collect(), 1);
            drop(loss(&llm, &x, &plan, &rows).backward());
        })
    };
    in_windows(2); // pools of threads and their scratch
    let counts = [4, 16, 64];
    let windows = counts.map(in_windows);
    let tape = counts.map(on_one_tape);
    println!("windows {counts:?}: MiB window by window {windows:.1?}, on one tape {tape:.1?}");
    let learned = kept_mib(&llm.model, (counts[2] - counts[0]) * WINDOW / RATIO);
    let grown = windows[2] - windows[0] - KEPT_COPIES as f64 * learned;
    println!("beyond {KEPT_COPIES} copies of {learned:.2} MiB of keys and values: {grown:.2} MiB");
}

/// MiB of the keys and values of so many tokens, in f32.
fn kept_mib(llm: &Qwen2, tokens: usize) -> f64 {
    let keys = llm.layers[0].self_attn.k_proj.weight.dims()[0];
    (2 * 4 * tokens * llm.layers.len() * keys) as f64 / f64::from(1 << 20)
}

/// 2,048 frames of 36 tokens in 205 windows of ten: the answer that is decoded behind them is that of one run over all segments.
#[test]
fn two_thousand_frames_are_read_in_bounded_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let llm = model();
    let llm = llm.valid();
    let rule = VstRule { window: 10 * FRAME, ratios: vec![RATIO], mix: RatioMix::Step };
    let planned = |frames: usize, more: usize| {
        let parts = Parts { prefix: TEXT, visual: frames * FRAME, tail: TEXT + more };
        rule.plan(parts, Purpose::Answering, &mut |ratios| ratios[0]).unwrap()
    };
    let device = Device::flex();
    let read = |frames: usize| {
        let plan = planned(frames, 0);
        let mut prefix = None;
        let mib = peak(|| {
            prefix = Some(Prefix::in_windows(&llm, &plan, |rows| {
                assert!(rows.len() <= rule.window);
                tokens(rows, &device)
            }));
        });
        (mib, prefix.unwrap())
    };
    read(40); // pools of threads and their scratch
    let (short, _) = read(128);
    let (long, prefix) = read(2048);
    let learned = kept_mib(&llm.model, 1920 * FRAME / RATIO);
    println!(
        "MiB for 128 frames {short:.1}, for 2,048 {long:.1}; keys and values {learned:.1} more"
    );

    let plan = planned(2048, 3);
    assert_eq!(plan.shared().len(), 1 + 205);
    let tail = plan.segments.last().unwrap().rows.clone();
    let words = |at: Range<usize>| -> Tensor<3> {
        let ids: Vec<i32> = at.map(|at| (at % 64) as i32).collect();
        llm.model.embed_tokens.forward(&ids).unsqueeze()
    };
    let (mut decoding, first) =
        Decoding::after(&llm, &prefix, words(tail.start..tail.start + TEXT), 3);
    let more = (tail.start + TEXT..tail.end).map(|at| decoding.step((at % 64) as i32));
    let got: Vec<Tensor<1>> = std::iter::once(first).chain(more).collect();

    let rope = llm.model.rope(plan.positions(), &device);
    let memory = pass::read(&llm.model, plan.shared(), &rope, |rows| tokens(rows, &device));
    let segment = plan.segments.last().unwrap();
    let (hidden, _) = pass::run(&llm.model, words(tail), segment, &rope, &memory);
    let hidden = hidden.slice_dim(1, TEXT - 1..TEXT + 3);
    let want = llm.logits(llm.model.norm.forward(hidden).flatten(0, 1));
    let off = (Tensor::stack::<2>(got, 0) - want.clone()).abs().max().into_scalar::<f32>();
    let size = want.abs().max().into_scalar::<f32>();
    assert!(off <= 1e-4 * size.max(1.0), "{off} of {size}");
}
