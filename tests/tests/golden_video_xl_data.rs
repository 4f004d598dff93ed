//! Kinds `v_frames` and `v_prompt`: which frames Video-XL sees, and how conversations become ids and labels.

use serde_json::{Value, json};
use xcomp_data::frames::whole;
use xcomp_data::{
    DataError, FrameOptions, LabelRule, PLAIN, Sampling, Template, Tokenizer, Turn, render_chat,
    render_question,
};
use xcomp_model::base::video_xl::VIDEO_XL;
use xcomp_tests::{cases, media_root};

fn count(row: &Value, key: &str) -> usize {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} of {row}")) as usize
}

fn chosen(
    row: &Value,
    rate: f64,
    fps: f64,
    max_frames: usize,
    sampling: Sampling,
) -> Result<Vec<usize>, DataError> {
    let options = FrameOptions { fps, max_frames, sampling, ..FrameOptions::default() };
    Ok(whole(count(row, "total_frames"), rate, &options)?.indices)
}

/// Pins: the step that rounds half to even, the limit, frames that are repeated, whole seconds.
#[test]
fn v_frames() {
    for case in cases("v_frames") {
        let rows = |kind: &str| {
            let rows = case.value(&format!("/expect/{kind}")).as_array().expect("rows");
            assert!(!rows.is_empty(), "case {}: no rows of {kind}", case.name);
            rows
        };
        for row in rows("train") {
            let part = |at: usize| row["rate"][at].as_f64().expect("a rate");
            let fps = row["video_fps"].as_f64().expect("frames a second");
            let got = chosen(row, part(0) / part(1), fps, count(row, "upbound"), Sampling::Fps);
            match got {
                // A video without frames is broken where it is read.
                Ok(indices) if indices.is_empty() => assert!(row["indices"].is_null(), "{row}"),
                Ok(indices) => assert_eq!(json!(indices), row["indices"], "{row}"),
                Err(error) => assert!(row["indices"].is_null(), "{row}: {error}"),
            }
        }
        for row in rows("infer_linspace") {
            let got = chosen(row, 25.0, 1.0, count(row, "max_frames"), Sampling::Spread);
            assert_eq!(json!(got.expect("frames")), row["indices"], "{row}");
        }
        for row in rows("vnbench_1fps") {
            let rate = row["fps"].as_f64().expect("a rate");
            let got = chosen(row, rate, 1.0, 0, Sampling::Seconds);
            assert_eq!(json!(got.expect("frames")), row["indices"], "{row}");
        }
    }
}

/// Pins: pictures before all words, both line breaks, which marks are learnt, captions, questions with their own system prompt.
#[test]
fn v_prompts() {
    let Some(media) = media_root("v_prompts") else { return };
    let template = Template::named(VIDEO_XL.template).expect("a template");
    let tokenizer = Tokenizer::open(&media.join("tokenizer/tokenizer.json"), &template);
    let tokenizer = tokenizer.expect("a tokenizer");
    for case in cases("v_prompt") {
        let mut compared = 0;
        for row in case.value("/expect/train").as_array().expect("rows") {
            let turns: Vec<Turn> =
                serde_json::from_value(row["conversations"].clone()).expect("turns");
            let template = if row["template"] == "plain" { &PLAIN } else { &template };
            let prompt = render_chat(template, &tokenizer, &turns, &[], LabelRule::Reference);
            let prompt = prompt.expect("a prompt");
            // The reference cuts the text of questions whose several tags do not stand first: here it is whole.
            let tags = turns[0].value.matches("<image>").count();
            if tags > 1 && !turns[0].value.starts_with(&"<image>".repeat(tags)) {
                let text = tokenizer.decode(&prompt.input_ids).expect("a text");
                let words = turns[0].value.replace("<image>", "");
                assert!(text.contains(words.trim()), "{text}");
                continue;
            }
            assert_eq!(json!(prompt.input_ids), row["ids"], "{turns:?}");
            assert_eq!(json!(prompt.labels), row["labels"], "{turns:?}");
            compared += 1;
        }
        assert!(compared > 0, "case {}: no conversation was compared", case.name);
        for row in case.value("/expect/infer").as_array().expect("rows") {
            let (before, behind) =
                row["prompt"].as_str().expect("text").split_once("<image>").expect("a tag");
            let system = before.strip_prefix("<|im_start|>system\n").expect("a system turn");
            let (system, _) = system.split_once("<|im_end|>").expect("its end");
            let own = Template { system: system.to_owned().into(), ..template.clone() };
            // A question as `ask` writes it begins on a line of its own.
            let question = behind.strip_prefix('\n').and_then(|behind| {
                behind.strip_suffix(&format!("{}{}", template.footer("user"), template.answer))
            });
            let ids = if let Some(question) = question {
                render_question(&own, &tokenizer, question, "").expect("ids")
            } else {
                let encode = |text: &str| tokenizer.encode(text).expect("ids");
                [encode(before), vec![-200], encode(behind)].concat()
            };
            assert_eq!(json!(ids), row["ids"], "{row}");
        }
    }
}
