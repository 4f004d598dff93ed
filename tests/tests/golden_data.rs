//! Golden kinds h (frame choice, pictures) and i (prompts): the reference's own indices, pixels, ids and labels.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;
use xcomp_data::frames::{clip_at_one_fps, clip_of_video, dynamic_fps};
use xcomp_data::prompt::templates::{IGNORE, IMAGE_TOKEN, count_image_tags};
use xcomp_data::resize::{Picture, resize_into};
use xcomp_data::{
    Choice, FrameOptions, LabelRule, Prompt, Resize, TimeMessage, Tokenizer, Turn, render_chat,
};
use xcomp_tests::{Case, cases, media_root};

#[derive(Deserialize)]
struct FrameRow {
    vlen: usize,
    fps: f64,
    frames_lowbound: usize,
    frames_upbound: usize,
    #[serde(rename = "EXTRA_PARAM_FPS")]
    nominal_fps: f64,
    time_msg: Option<String>,
    clip: Option<(f64, f64)>,
    via: String,
    time_message: Option<String>,
    duration: Option<f64>,
    n: usize,
    tensor: String,
}

impl FrameRow {
    fn options(&self, case: &Case) -> FrameOptions {
        FrameOptions {
            fps: self.nominal_fps,
            min_frames: self.frames_lowbound,
            max_frames: self.frames_upbound,
            clip_frames: case.count("/config/local_num_frames"),
            time_message: match self.time_msg.as_deref() {
                Some("short") => TimeMessage::Short,
                Some("long") => TimeMessage::Long,
                None => TimeMessage::None,
                Some(other) => panic!("{}: time_msg {other}", case.name),
            },
            ..FrameOptions::default()
        }
    }

    fn choice(&self, options: &FrameOptions) -> Choice {
        match (self.clip, self.via.as_str()) {
            (None, _) => Choice {
                indices: dynamic_fps(self.vlen, self.fps, options),
                first: 0,
                fps: self.fps,
                duration_s: self.vlen as f64 / self.fps,
            },
            (Some((start, end)), "read_frames_decord") => {
                clip_of_video(self.vlen, self.fps, start, end, options)
            }
            (Some((start, end)), _) => clip_at_one_fps(self.fps, start, end, options),
        }
    }
}

fn rows<T: for<'de> Deserialize<'de>>(case: &Case) -> Vec<T> {
    let rows: Vec<T> = serde_json::from_value(case.value("/expect/rows").clone())
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    assert!(!rows.is_empty(), "{} has no rows", case.name);
    rows
}

/// The indices of `dynamic_fps1`, whole videos and parts, and the sentence that the prompt gets.
#[test]
fn frames_are_chosen_as_the_reference_does() {
    for case in cases("h_frame") {
        for row in rows::<FrameRow>(&case) {
            let options = row.options(&case);
            let choice = row.choice(&options);
            let what = format!(
                "{}: {} frames at {}, clip {:?}, {}",
                case.name, row.vlen, row.fps, row.clip, row.via
            );
            let got: Vec<i32> = choice.indices.iter().map(|&index| index as i32).collect();
            assert_eq!(got.len(), row.n, "{what}");
            if case.has(&row.tensor) {
                assert_eq!(got, case.tensor(&row.tensor).i32(), "{what}");
            } else {
                assert_eq!(row.n, 0, "{what}: {} is not in the file", row.tensor);
            }
            if let Some(message) = &row.time_message {
                assert_eq!(&choice.message(options.time_message), message, "{what}");
            }
            if let Some(duration) = row.duration {
                assert!((choice.duration_s - duration).abs() < 1e-9, "{what}");
            }
        }
    }
}

/// Pillow's resize, exact to the last bit (the case's tolerance would allow one level).
#[test]
fn pictures_are_resized_as_pillow_does() {
    for case in cases("h_image") {
        let source = case.tensor("source_u8");
        let (height, width) = (source.shape[0], source.shape[1]);
        let size = case.count("/config/target");
        let padded = padded_to_square(&case, width, height, source.u8());
        let (width, height, pixels) = padded
            .as_ref()
            .map_or((width, height, source.u8()), |(side, pixels)| (*side, *side, pixels));
        let mut got = Vec::new();
        resize_into(Picture::packed(width, height, pixels), size, size, Resize::Exact, &mut got);
        if case.has("resized_u8") {
            assert_eq!(got, case.tensor("resized_u8").u8(), "{}", case.name);
        } else {
            let rows: Vec<u8> = got.chunks(3 * size).step_by(4).flatten().copied().collect();
            assert_eq!(rows, case.tensor("resized_u8_rows_stride4").u8(), "{}", case.name);
        }
    }
}

/// The reference's `expand2square`, which the released recipe does not use: a test-side copy keeps its case in use.
fn padded_to_square(
    case: &Case,
    width: usize,
    height: usize,
    pixels: &[u8],
) -> Option<(usize, Vec<u8>)> {
    if case.value("/config/pad") != &Value::Bool(true) {
        return None;
    }
    let side = width.max(height);
    let mean: Vec<f64> = serde_json::from_value(case.value("/config/mean").clone()).unwrap();
    let fill: Vec<u8> = mean.iter().map(|mean| (mean * 255.0) as u8).collect();
    let mut square: Vec<u8> = fill.iter().copied().cycle().take(3 * side * side).collect();
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    for (y, row) in pixels.chunks(3 * width).enumerate() {
        square[3 * ((top + y) * side + left)..][..row.len()].copy_from_slice(row);
    }
    Some((side, square))
}

#[derive(Deserialize)]
struct PromptRow {
    conversations: Vec<Turn>,
    kind: String,
    time_message: String,
    input_ids: Vec<i32>,
    labels: Vec<i32>,
    first_conv_length: usize,
    n_unmasked: usize,
}

impl PromptRow {
    /// The reference says the same of every visual.
    fn render(&self, tokenizer: &Tokenizer, rule: LabelRule) -> Prompt {
        let tags = count_image_tags(&self.conversations);
        let messages = vec![self.time_message.clone(); tags];
        render_chat(&xcomp_data::CHATML, tokenizer, &self.conversations, &messages, rule).unwrap()
    }
}

fn tokenizer(test: &str) -> Option<&'static Tokenizer> {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    let path = media_root(test)?.join("tokenizer/tokenizer.json");
    Some(TOKENIZER.get_or_init(|| Tokenizer::from_file(&path).unwrap()))
}

/// Ids and labels of the Qwen chat template with the real tokenizer, and the right-padded batch of the first rows.
#[test]
fn prompts_are_rendered_and_labelled_as_the_reference_does() {
    let Some(tokenizer) = tokenizer("prompts_are_rendered_and_labelled_as_the_reference_does")
    else {
        return;
    };
    for case in cases("i_prompt") {
        let rows = rows::<PromptRow>(&case);
        for row in &rows {
            assert!(["video", "image", "text"].contains(&row.kind.as_str()), "{}", row.kind);
            let prompt = row.render(tokenizer, LabelRule::Reference);
            let what = format!("{}: {:?}", case.name, row.conversations);
            assert_eq!(prompt.input_ids, row.input_ids, "{what}");
            assert_eq!(prompt.labels, row.labels, "{what}");
            assert_eq!(prompt.first_turn, row.first_conv_length, "{what}");
            let supervised = prompt.labels.iter().filter(|&&label| label != IGNORE).count();
            assert_eq!(supervised, row.n_unmasked, "{what}");
        }
        check_batch(&case, tokenizer, &rows);
    }
}

fn check_batch(case: &Case, tokenizer: &Tokenizer, rows: &[PromptRow]) {
    let list = |key: &str| -> Vec<Vec<i32>> {
        serde_json::from_value(case.value(&format!("/expect/collated_first_two/{key}")).clone())
            .unwrap()
    };
    let used = case.count("/expect/collated_first_two/rows_used");
    let longest = rows[..used].iter().map(|row| row.input_ids.len()).max().unwrap();
    let pad = tokenizer.ends()[1];
    assert_eq!(pad as usize, case.count("/expect/collated_first_two/pad_token_id"));
    for (row, (ids, labels)) in rows.iter().zip(list("input_ids").iter().zip(list("labels"))) {
        let prompt = row.render(tokenizer, LabelRule::Reference);
        let padded = |mut values: Vec<i32>, with| {
            values.resize(longest, with);
            values
        };
        assert_eq!(&padded(prompt.input_ids, pad), ids);
        assert_eq!(padded(prompt.labels, IGNORE), labels);
    }
}

/// Only the answer and its end are trained on; the picture never is.
#[test]
fn answers_only_is_a_part_of_the_reference_labels() {
    let Some(tokenizer) = tokenizer("answers_only_is_a_part_of_the_reference_labels") else {
        return;
    };
    for row in cases("i_prompt").iter().flat_map(rows::<PromptRow>) {
        let prompt = row.render(tokenizer, LabelRule::Answers);
        let said: Vec<i32> =
            prompt.labels.iter().copied().filter(|&label| label != IGNORE).collect();
        let answers = row.conversations.iter().filter(|turn| turn.from == "gpt").count();
        let ends = said.iter().filter(|&&id| id == tokenizer.ends()[0]).count();
        assert!(
            ends >= answers - usize::from(row.conversations[0].from == "gpt"),
            "{:?}",
            row.conversations
        );
        assert!(
            prompt
                .labels
                .iter()
                .zip(&row.labels)
                .all(|(label, full)| *label == IGNORE || label == full)
        );
        assert!(!said.contains(&IMAGE_TOKEN));
        assert!(said.len() < row.n_unmasked);
    }
}
