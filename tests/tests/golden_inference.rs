//! Kind k: question-based frame scores and choice, and generation over compressed caches, against the official code.

use burn::tensor::Tensor;
use xcomp_model::compress::pass::forward;
use xcomp_model::question::frame_select::SelectRule;
use xcomp_model::question::qc_comp::{ClipScores, Reading, Scope, ScoreRule, clip_scores};
use xcomp_tests::{Case, HostData, HostTensor, Prompted, Tolerance, assert_close, cases, host};

/// Pins: one cache per layer with its own length, decode positions per layer, greedy tokens, logits of every step.
#[test]
fn k_generate() {
    for case in cases("k_generate") {
        let want = case.tensor("new_tokens").i32();
        let (tokens, scores, lengths) = Prompted::new(&case).generate(want.len());
        for (step, scores) in scores.into_iter().enumerate() {
            compare_scores(&case, step, scores);
        }
        assert_eq!(tokens, want, "case {}", case.name);
        let held = case.value("/expect/final_cache_len_per_layer").as_array().unwrap();
        let held: Vec<usize> = held.iter().map(|len| len.as_u64().unwrap() as usize).collect();
        assert_eq!(lengths, held, "case {}", case.name);
    }
}

/// Decoding over caches gives what a pass over the whole sequence gives under the same plan.
#[test]
fn k_generate_equals_a_whole_pass() {
    for case in cases("k_generate") {
        let prompted = Prompted::new(&case);
        let (tokens, scores, _) = prompted.generate(case.tensor("new_tokens").i32().len());
        let (x, layout) = prompted.embed(&tokens[..tokens.len() - 1]);
        let (hidden, layout) = forward(&prompted.llm.model, x, layout, &prompted.plan);
        let rows = hidden.slice_dim(1, layout.longest() - tokens.len()..layout.longest());
        let whole = prompted.llm.logits(rows.flatten(0, 1));
        let cached = Tensor::stack::<2>(scores, 0);
        assert_close(&case, "cached scores", cached, &host(whole), Tolerance::FORWARD);
    }
}

/// A prefix that is read once gives every question the reference's scores, whatever was asked and answered before it.
#[test]
fn k_generate_behind_a_shared_prefix() {
    for case in cases("k_generate") {
        let prompted = Prompted::new(&case);
        let (prefix, question) = prompted.prefix();
        let (mut other, _) = prompted.ask(&prefix, &question[question.len() / 2..], 1);
        other.step(1);
        let want = case.tensor("new_tokens").i32();
        let (mut decoding, first) = prompted.ask(&prefix, question, want.len());
        compare_scores(&case, 0, first);
        for (step, token) in want[..want.len() - 1].iter().enumerate() {
            compare_scores(&case, step + 1, decoding.step(*token));
        }
    }
}

fn compare_scores(case: &Case, step: usize, scores: Tensor<1>) {
    let all = case.tensor("step_logits");
    let width = all.shape[1];
    let row = all.f32()[step * width..(step + 1) * width].to_vec();
    let want = HostTensor { shape: vec![width], data: HostData::F32(row) };
    assert_close(case, &format!("step_logits[{step}]"), scores, &want, Tolerance::FORWARD);
}

/// Scores above this stand for "not scored" in the reference.
const UNSCORED: f32 = 1000.0;

/// Pins: windows, query rows behind the time message, the softmax that is not causal, means over heads and tokens, clips that are not scored.
#[test]
fn k_qc_scores() {
    for case in cases("k_qc") {
        let prompted = Prompted::new(&case);
        let visual = prompted.visual.dims()[0];
        let user_end = case.count("/config/first_conv_length") + visual - 1;
        let (x, layout) = prompted.embed(&[]);
        let llm = &prompted.llm.model;
        let rule = score_rule(&case);
        compare_clips(&case, &clip_scores(llm, x, layout, user_end, &prompted.plan, rule));

        // Read once, whatever else was asked before.
        let ((x, layout), question) = prompted.before();
        let read = layout.longest();
        let reading = Reading::of(llm, x, layout, &prompted.plan, rule);
        let ask = |question: &[i32]| {
            let behind = llm.embed_tokens.forward(question).unsqueeze::<3>();
            reading.clip_scores(llm, behind, user_end - read, rule)
        };
        let other: Vec<i32> = question.iter().rev().copied().collect();
        let _ = ask(&other);
        compare_clips(&case, &ask(question));
    }
}

fn compare_clips(case: &Case, got: &[ClipScores]) {
    let want = case.tensor("clip_scores");
    for (layer, row) in want.f32().chunks(want.shape[1]).enumerate() {
        for (clip, want) in row.iter().enumerate() {
            let got = got[layer][clip];
            assert_eq!(
                got.is_some(),
                *want < UNSCORED,
                "case {}: layer {layer}, clip {clip}",
                case.name
            );
            let off = got.map_or(0.0, |got| (got - want).abs() / (1e-7 + 5e-4 * want.abs()));
            assert!(off <= 1.0, "case {}: layer {layer}, clip {clip}: {got:?}, {want}", case.name);
        }
    }
}

fn score_rule(case: &Case) -> ScoreRule {
    let kind = case.value("/config/score_type").as_str().expect("a score type");
    let scope = match kind.strip_prefix("segments_").and_then(|sizes| sizes.split_once('_')) {
        Some((clips, stride)) => {
            let size = |word: &str| word.parse().expect("segments_<clips>_<stride>");
            Scope::Segments { clips: size(clips), stride: size(stride) }
        }
        None => Scope::Global,
    };
    ScoreRule {
        scope,
        clip_frames: case.count("/config/frames_per_clip"),
        query_skip: case.count("/config/query_bias"),
        causal: false,
        half_precision: false,
        first_layer: 0,
        last_layer: usize::MAX,
    }
}

/// Pins: circular chunks and their shifts, the sum over layers 6 to 23, the stable choice.
#[test]
fn k_selection() {
    for case in cases("k_select") {
        let rule = SelectRule::reference(case.count("/config/duplicate"));
        let frames = case.count("/config/frames");
        let starts: Vec<i32> =
            rule.chunk_starts(frames).into_iter().map(|start| start as i32).collect();
        assert_eq!(starts, case.tensor("chunk_start").i32(), "case {}", case.name);
        assert!(
            case.tensor("chunk_len").i32().iter().all(|len| *len as usize == rule.chunk_frames())
        );

        let given = case.tensor("scores");
        let [layers, clips] = [given.shape[1], given.shape[2]];
        let scored = |score: &f32| (*score < UNSCORED).then_some(*score);
        let scores: Vec<Vec<ClipScores>> = given
            .f32()
            .chunks(layers * clips)
            .map(|chunk| chunk.chunks(clips).map(|row| row.iter().map(scored).collect()).collect())
            .collect();
        let chosen: Vec<i32> = rule
            .select(frames, case.count("/config/select"), &scores)
            .into_iter()
            .map(|f| f as i32)
            .collect();
        assert_eq!(chosen, case.tensor("selected_frames").i32(), "case {}", case.name);
    }
}
