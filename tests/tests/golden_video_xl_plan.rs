//! Kind `v_plan`: how Video-XL cuts sequences into windows, and which ratios it allows.

use std::collections::VecDeque;

use serde_json::{Value, json};
use xcomp_model::compress::vst::{
    Kind, Parts, Purpose, RatioMix, Segment, VstError, VstPlan, VstRule,
};
use xcomp_tests::cases;

fn count(of: &Value, key: &str) -> usize {
    of[key].as_u64().unwrap_or_else(|| panic!("{key} of {of}")) as usize
}

fn rule(run: &Value) -> VstRule {
    let mix = match run["mix"].as_str().expect("a mix") {
        "step-random" => RatioMix::Step,
        "instance-random" => RatioMix::Instance,
        "sequence" => RatioMix::Sequence,
        mix => RatioMix::Adapt {
            positions: count(run, "max_position_embeddings"),
            to_come: mix.strip_prefix("adapt-").expect("a mix").parse().expect("tokens"),
        },
    };
    let ratios = serde_json::from_value(run["ratios"].clone()).expect("ratios");
    VstRule { window: count(run, "window"), ratios, mix }
}

/// Pins: segments, ratios that fit, every mix, carry, places of learned tokens, what is held, positions, refusals.
#[test]
fn v_plan() {
    for case in cases("v_plan") {
        let runs = case.value("/expect/runs").as_array().expect("runs");
        for (run, index) in runs.iter().zip(0..) {
            for (sample, row) in run["samples"].as_array().expect("samples").iter().zip(0..) {
                check(&format!("case {}, run {index}, sample {row}", case.name), run, sample);
            }
        }
    }
}

fn check(at: &str, run: &Value, sample: &Value) {
    let purpose = match run["mode"].as_str() {
        Some("train") => Purpose::Training,
        _ => Purpose::Answering,
    };
    let want = sample["segments"].as_array().expect("segments");
    let parts = Parts {
        prefix: count(sample, "prefix"),
        visual: count(sample, "n_visual"),
        tail: count(sample, "n_tail"),
    };
    let rule = rule(run);
    // The reference's random numbers are numpy's: its draws are given, and must be among what fits.
    let mut draws: VecDeque<usize> =
        want.iter().filter_map(|row| Some(row[2].as_u64()? as usize)).collect();
    let mut draw = |fitting: &[usize]| {
        let drawn = draws.pop_front();
        let drawn = drawn.unwrap_or_else(|| panic!("{at}: drawn where the reference refuses"));
        assert!(fitting.contains(&drawn), "{at}: {drawn} is not among {fitting:?}");
        drawn
    };
    let plan = rule.plan(parts, purpose, &mut draw);
    if parts.tail == 0 {
        assert_eq!(plan, Err(VstError::NoTail { visual: parts.visual }), "{at}");
        return;
    }
    if !sample["error"].is_null() {
        // What was planned before the window that fits no ratio.
        let start = want.last().expect("segments")[1].as_u64().expect("a row") as usize;
        let tokens = rule.window.min(parts.prefix + parts.visual - start);
        let ratios = rule.ratios.clone();
        assert_eq!(plan, Err(VstError::Ratio { ratios, start, tokens }), "{at}");
        return;
    }
    let got: Vec<Value> = rows(&plan.unwrap_or_else(|error| panic!("{at}: {error}")));
    assert_eq!(&got, want, "{at}");
}

/// The segments as the reference tells them.
fn rows(plan: &VstPlan) -> Vec<Value> {
    let (mut sink, mut vst, mut raw, mut carried) = (0, 0, 0, 0);
    let mut row = |segment: &Segment| {
        let kept = segment.kept();
        let ratio = match segment.kind {
            Kind::Prefix => {
                sink += kept;
                None
            }
            Kind::Window { ratio, carry } => {
                vst += kept;
                carried = carry;
                Some(ratio)
            }
            Kind::Tail => {
                raw += kept;
                None
            }
        };
        json!([
            segment.rows.start,
            segment.rows.end,
            ratio,
            segment.vst.len(),
            segment.vst.first(),
            segment.vst.last(),
            carried,
            segment.memory,
            [sink, vst, raw],
            segment.memory,
            segment.memory + segment.len() - 1,
        ])
    };
    plan.segments.iter().map(&mut row).collect()
}

/// Rules and sequences that do not fit are refused in words that say what to do.
#[test]
fn wrong_rules_are_refused() {
    let rule =
        |window, ratios: &[usize]| VstRule { window, ratios: ratios.to_vec(), mix: RatioMix::Step };
    let told = |rule: &VstRule, parts| {
        let plan = rule.plan(parts, Purpose::Training, &mut |fitting| fitting[0]);
        plan.expect_err("a refusal").to_string()
    };
    let parts = Parts { prefix: 14, visual: 33, tail: 5 };
    assert!(told(&rule(0, &[2]), parts).starts_with("vst.window_tokens is 0; "));
    assert!(told(&rule(24, &[]), parts).starts_with("vst.ratios is empty; "));
    assert!(told(&rule(24, &[2, 4]), parts).starts_with("no ratio of [2, 4] fits a window of 9 "));
    let no_tail = told(&rule(24, &[2]), Parts { tail: 0, ..parts });
    assert!(no_tail.starts_with("nothing stands behind the 33 visual tokens"), "{no_tail}");
    let cut = rule(24, &[2]).plan_windows(parts, &[24, 8], Purpose::Training, &mut |r| r[0]);
    assert_eq!(cut, Err(VstError::Windows { windows: 32, visual: 33 }));
}

/// Every token stands in one segment, behind the learned tokens that stand before it.
#[test]
fn tokens_find_their_places() {
    let rule = VstRule { window: 24, ratios: vec![5], mix: RatioMix::Step };
    let parts = Parts { prefix: 3, visual: 53, tail: 30 };
    let plan = rule.plan(parts, Purpose::Answering, &mut |r| r[0]).expect("a plan");
    for segment in &plan.segments {
        let mut taken: Vec<usize> = segment.rows.clone().map(|row| segment.place(row)).collect();
        taken.extend(&segment.vst);
        taken.sort_unstable();
        assert_eq!(taken, (0..segment.len()).collect::<Vec<_>>(), "{segment:?}");
    }
    let text = Parts { prefix: 9, visual: 0, tail: 0 };
    let plan = rule.plan(text, Purpose::Training, &mut |r| r[0]).expect("text alone");
    assert_eq!((plan.segments.len(), plan.held(), plan.positions()), (1, 9, 9));
}
