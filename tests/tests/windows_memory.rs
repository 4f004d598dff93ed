//! What a sequence of many windows takes on one tape, and window by window: printed, as it depends on the allocator. What is asserted
//! is what it follows from: no more than a window is ever embedded at once. Alone in its file: it reads what the process takes.

#![cfg(all(feature = "flex", target_os = "linux"))]

use std::fs;
use std::ops::Range;

use burn::tensor::{Device, Gradients, Tensor};
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::base::vst::{VstConfig, VstMaps};
use xcomp_model::compress::layout::{Layout, SequenceLayout, VisualSpan};
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstPlan, VstRule};
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::loss::{IGNORE, Labels, SupervisedRows};
use xcomp_model::windows::{Sequence, backward, loss};
use xcomp_tests::{drawn, drawn_module};

const WIDTH: usize = 256;
const WINDOW: usize = 256;
const TEXT: usize = 16;

fn model() -> Qwen2ForCausalLm {
    let maps = VstMaps { q: true, k: true, v: true, ..VstMaps::default() };
    let vst = VstConfig { maps, window: WINDOW, ratios: vec![16], first_row: 0 };
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
    let rule = VstRule { window: WINDOW, ratios: vec![16], mix: RatioMix::Step };
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
}
