//! Kinds `n_image` and `n_prompt`: pictures as towers of the LLaVA families get them, frames, sentences, templates.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

use burn::tensor::{Device, Int, Tensor};
use serde_json::{Value, json};
use xcomp_data::frames::whole;
use xcomp_data::resize::{Fitter, Picture};
use xcomp_data::{
    Choice, Fit, FrameOptions, IGNORE, LabelRule, Resize, Sampling, Template, TimeMessage,
    Tokenizer, Turn, VICUNA, render_chat, render_question,
};
use xcomp_model::base::llava_next_video::LLAVA_NEXT_VIDEO;
use xcomp_model::base::llava_video::LLAVA_VIDEO;
use xcomp_model::vision::frames::normalise;
use xcomp_tests::{Case, HostTensor, Tolerance, assert_close, cases, media_root};

/// Pins: the straight resize and the centre crop, exact to the last bit, and both sets of constants.
#[test]
fn n_pictures() {
    let squeezed = cases("n_image_siglip").into_iter().map(|case| (case, &LLAVA_VIDEO));
    let cropped = cases("n_image_clip").into_iter().map(|case| (case, &LLAVA_NEXT_VIDEO));
    for (case, family) in squeezed.chain(cropped) {
        let style = xcomp_data::FrameStyle::named(family.frames).unwrap();
        let source = case.tensor("source_u8");
        let (height, width) = (source.shape[0], source.shape[1]);
        let side = case.count("/config/target");
        let mut got = Vec::new();
        let mut fitter = Fitter::new(side, style.fit, Resize::Exact);
        fitter.fit_into(Picture::packed(width, height, source.u8()), &mut got).unwrap();
        if let Some(size) = case.json.pointer("/config/resized_hw") {
            let (width, height) = style.fit.resized(width, height, side);
            assert_eq!(json!([height, width]), *size, "case {}", case.name);
        }
        let square = if style.fit == Fit::Crop { "cropped_u8" } else { "resized_u8" };
        if case.has(square) {
            assert_eq!(got, case.tensor(square).u8(), "case {}", case.name);
        } else {
            let (stride, want) = strided(&case, &format!("{square}_rows"));
            let rows = got.chunks(3 * side).step_by(stride).flatten();
            assert!(rows.eq(want.u8()), "case {}: every {stride}th row", case.name);
        }
        let pixels = normalise(&got, 1, side, &family.pixels, &Device::flex());
        check_pixels(&case, pixels, side);
    }
}

/// Large cases keep every so manyth row, and of pixels column.
fn strided<'a>(case: &'a Case, name: &str) -> (usize, &'a HostTensor) {
    let prefix = format!("{name}_stride");
    let mut found = case.under(&prefix);
    let (stride, tensor) = found.next().unwrap_or_else(|| panic!("case {}: no {name}", case.name));
    (stride.parse().unwrap(), tensor)
}

fn check_pixels(case: &Case, pixels: Tensor<4>, side: usize) {
    let tolerance = case.tolerance("forward", Tolerance::TABLE);
    let all = pixels.reshape([3, side, side]);
    let sum: f64 = all.clone().into_data().iter::<f64>().sum();
    let want = case.number("/expect/pixel_values_sum");
    assert!((sum - want).abs() <= 1e-5 * (3 * side * side) as f64, "case {}: {sum}", case.name);
    if case.has("pixel_values") {
        assert_close(case, "pixel_values", all, case.tensor("pixel_values"), tolerance);
    } else {
        let (stride, want) = strided(case, "pixel_values");
        let kept: Vec<i32> = (0..side as i32).step_by(stride).collect();
        let kept = Tensor::<1, Int>::from_ints(kept.as_slice(), &Device::flex());
        let some = all.select(1, kept.clone()).select(2, kept);
        assert_close(case, "pixel_values", some, want, tolerance);
    }
}

#[test]
fn a_picture_that_would_fill_the_memory_is_refused() {
    let thread = vec![0; 3 * 101];
    let mut fitter = Fitter::new(8, Fit::Crop, Resize::Exact);
    let told = fitter.fit_into(Picture::packed(101, 1, &thread), &mut vec![]).unwrap_err();
    assert!(told.contains("101 x 1 pixels"), "{told}");
}

fn sampled(row: &Value, args: &Value) -> Result<Choice, xcomp_data::DataError> {
    let options = FrameOptions {
        fps: args["video_fps"].as_f64().unwrap(),
        max_frames: args["frames_upbound"].as_u64().unwrap() as usize,
        sampling: if args["force_sample"] == true { Sampling::Uniform } else { Sampling::Fps },
        ..FrameOptions::default()
    };
    let frames = row["total_frames"].as_u64().unwrap() as usize;
    whole(frames, row["fps"].as_f64().unwrap(), &options)
}

/// Pins: the step that rounds half to even, the limit, repeated frames, and which times are printed.
#[test]
fn n_frames() {
    for case in cases("n_prompt_sampling") {
        for row in case.value("/expect/rows").as_array().expect("rows") {
            let choice = match sampled(row, row) {
                Ok(choice) => choice,
                Err(error) => {
                    assert!(row.get("error").is_some(), "{row}: {error}");
                    continue;
                }
            };
            assert!(row.get("error").is_none(), "{row}: the reference raises");
            assert_eq!(json!(choice.indices.len()), row["n"], "{row}");
            let indices: Vec<i32> = choice.indices.iter().map(|index| *index as i32).collect();
            assert_eq!(indices, case.tensor(row["tensor"].as_str().unwrap()).i32(), "{row}");
            assert_eq!(json!(format!("{:.2}", choice.duration_s)), row["video_time_2f"], "{row}");
            let times: Vec<String> = choice.times_s().map(|t| format!("{t:.2}s")).collect();
            let ends = |key: &str| row[key].as_array().unwrap().len();
            let (first, last) = (ends("frame_time_first"), ends("frame_time_last"));
            assert_eq!(json!(times[..first]), row["frame_time_first"], "{row}");
            assert_eq!(json!(times[times.len() - last..]), row["frame_time_last"], "{row}");
        }
    }
}

/// Pins: ids and labels with the time instruction and without, whatever the place of the tag, and questions.
#[test]
fn n_prompts() {
    let Some(media) = media_root("n_prompts") else { return };
    let template = Template::named(LLAVA_VIDEO.template).unwrap();
    let tokenizer = Tokenizer::open(&media.join("tokenizer/tokenizer.json"), &template).unwrap();
    for case in cases("n_prompt_llavavideo") {
        for row in case.value("/expect/rows").as_array().expect("rows") {
            let turns: Vec<Turn> = serde_json::from_value(row["conversations"].clone()).unwrap();
            let timed = row["args"]["add_time_instruction"] == true;
            let kind = if timed { TimeMessage::Instruction } else { TimeMessage::None };
            let messages: Vec<String> = if row["video"].is_null() {
                vec![]
            } else {
                let choice = sampled(&row["video"], &row["args"]).unwrap();
                assert_eq!(json!(choice.indices), row["frame_indices"]);
                vec![choice.message(kind)]
            };
            let prompt =
                render_chat(&template, &tokenizer, &turns, &messages, LabelRule::Reference);
            let prompt = prompt.unwrap();
            assert_eq!(json!(prompt.input_ids), row["input_ids"], "{turns:?}");
            assert_eq!(json!(prompt.labels), row["labels"], "{turns:?}");
            let learnt = prompt.labels.iter().filter(|label| **label != IGNORE).count();
            assert_eq!(json!(learnt), row["n_unmasked"]);
        }
        for row in case.value("/expect/inference_qwen_1_5").as_array().expect("rows") {
            let prompt = row["prompt"].as_str().unwrap();
            let (_, about) = prompt.split_once("<image>").unwrap();
            let (about, _) = about.split_once("<|im_end|>").unwrap();
            let (message, question) = about.split_once('\n').unwrap();
            let line = if message.is_empty() { String::new() } else { format!("\n{message}\n") };
            let ids = render_question(&template, &tokenizer, question, &line).unwrap();
            assert_eq!(json!(ids), row["input_ids"], "{prompt}");
        }
        for row in case.value("/expect/vicuna_v1_strings").as_array().expect("rows") {
            assert_eq!(json!(written(&VICUNA, &row["turns"])), row["prompt"]);
        }
    }
}

/// A conversation as text; the last question waits for its answer.
fn written(template: &Template, turns: &Value) -> String {
    let mut text = template.system_turn()[template.start.len()..].to_owned();
    for (index, turn) in turns.as_array().unwrap().iter().enumerate() {
        let tag = if index == 0 { "<image>\n" } else { "" };
        let question = turn[0].as_str().unwrap();
        text += &[&template.header("user"), tag, question, template.footer("user")].concat();
        match turn[1].as_str() {
            Some(answer) => {
                text +=
                    &[&template.header("assistant"), answer, template.footer("assistant")].concat();
            }
            None => text += template.answer,
        }
    }
    text
}

/// A tokenizer of whole words with Vicuna's special tokens: what the assistant says is learnt, with what ends it.
#[test]
fn answers_of_a_template_without_marks_are_learnt() {
    let words =
        ["<s>", "</s>", "USER:", "ASSISTANT:", "Be", "brief.", "What?", "A", "dog.", "And?", "No."];
    let vocab: serde_json::Map<_, _> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let special = |id: usize| {
        json!({"id": id, "content": words[id], "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(0), special(1)], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "A"},
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let template = Template { system: "Be brief.".into(), ..VICUNA };
    let tokenizer = Tokenizer::open(&path, &template).unwrap();
    let turn = |from: &str, value: &str| Turn { from: from.into(), value: value.into() };
    let turns = [
        turn("human", "<image>\nWhat?"),
        turn("gpt", "A dog."),
        turn("human", "And?"),
        turn("gpt", "No."),
    ];
    let prompt = render_chat(&template, &tokenizer, &turns, &[String::new()], LabelRule::Reference);
    let prompt = prompt.unwrap();
    let no = IGNORE;
    assert_eq!(prompt.input_ids, [0, 4, 5, 2, -200, 6, 3, 7, 8, 1, 2, 9, 3, 10, 1]);
    assert_eq!(prompt.labels, [no, no, no, no, no, no, no, 7, 8, 1, no, no, no, 10, 1]);
    assert_eq!(prompt.first_turn, 6);
    let asked = render_question(&template, &tokenizer, "What?", "").unwrap();
    assert_eq!(asked, [0, 4, 5, 2, -200, 6, 3]);
    let missing = Tokenizer::from_file(&path).unwrap_err().to_string();
    assert!(missing.contains("has no token"), "{missing}");
}
