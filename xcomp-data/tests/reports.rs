//! Lint, stats and show on small mixtures; readers of folders and gifs.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

mod common;

use std::path::Path;

use common::{folder, picture_mixture, small_options, tiny_tokenizer, write_picture};
use serde_json::json;
use xcomp_data::media::picture::read_picture;
use xcomp_data::report::{contact_sheet, write_png};
use xcomp_data::stream::cost::CostModel;
use xcomp_data::{
    FrameOptions, Limits, LintOptions, LoadOptions, Media, Mixture, MixtureOptions, Order,
    StatsOptions, Truncated, lint, load_example, show, stats,
};

fn small_frames() -> FrameOptions {
    FrameOptions { image_size: 8, min_frames: 8, max_frames: 16, ..FrameOptions::default() }
}

fn lint_options(folder: &Path) -> LintOptions {
    LintOptions { load: small_options(folder), decode: true, threads: 0 }
}

/// A folder of `count` frames whose red channel is their number.
fn frame_folder(path: &Path, count: u8) {
    std::fs::create_dir_all(path).unwrap();
    // Names without leading zeros: the order is that of the numbers, not of the names.
    (0..count).for_each(|i| write_picture(&path.join(format!("f_{i}.png")), [i, 0, 0], 6));
}

/// One record of each kind; the mixture shuffles them.
fn mixed(folder: &Path) -> Mixture {
    frame_folder(&folder.join("long"), 30);
    frame_folder(&folder.join("tvqa_short"), 12);
    write_picture(&folder.join("still.png"), [9, 9, 9], 6);
    let said = |question: &str| json!([{"from": "human", "value": question}, {"from": "gpt", "value": "It is red."}]);
    let records = json!([
        {"id": "long", "video": "long", "conversations": said("<image>\nWhat?")},
        {"id": "part", "video": "long", "start": 5, "end": "21.0", "conversations": said("<image>\nWhat?")},
        {"id": "tvqa", "video": "tvqa_short", "conversations": said("<image>\nWhat?")},
        {"id": "still", "image": "still.png", "conversations": said("<image>\nWhat?")},
        {"id": "list", "video": (0..10).map(|i| format!("long/f_{i}.png")).collect::<Vec<_>>(), "conversations": said("<image>\nWhat?")},
        {"id": "absent", "image": "absent.png", "conversations": said("<image>\nWhat?")},
        {"id": "no-tag", "image": "still.png", "conversations": said("What?")},
        {"id": "two-tags", "image": "still.png", "conversations": said("<image> or <image>?")},
    ]);
    std::fs::write(folder.join("a.json"), records.to_string()).unwrap();
    let yaml = folder.join("mixture.yaml");
    std::fs::write(&yaml, "datasets: [{json_path: a.json, video_read_type: img, tag: mixed}]")
        .unwrap();
    Mixture::load(&yaml, &MixtureOptions::default()).unwrap()
}

fn find(mixture: &Mixture, id: &str) -> usize {
    mixture.records().iter().position(|record| record.id == id).unwrap()
}

#[test]
fn folders_and_pictures_are_read() {
    let (_keep, folder) = folder();
    let mixture = mixed(&folder);
    let options = small_options(&folder);
    let reds = |id: &str| {
        let index = find(&mixture, id);
        let example = load_example(&mixture.records()[index], index, &options).unwrap();
        let reds: Vec<u8> = example.frames().next().unwrap().iter().map(|frame| frame[0]).collect();
        (reds, example.visuals[0].choice.duration_s, example.visuals[0].media)
    };
    let (long, duration_s, media) = reds("long");
    assert_eq!((long.len(), long[0], long[15], media), (16, 0, 28, Media::Video));
    assert!((duration_s - 30.0).abs() < 1e-9);
    let (tvqa, duration_s, _) = reds("tvqa");
    assert_eq!(tvqa, [0, 1, 3, 4, 6, 7, 9, 10]);
    assert!((duration_s - 4.0).abs() < 1e-9, "three frames a second");
    // 16 of 16 seconds at one frame a second, from frame 5 to 21.
    assert_eq!(reds("part").0, [5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21]);
    assert_eq!((reds("still").0, reds("still").2), (vec![9], Media::Image));
}

#[test]
fn a_note_beside_a_folder_tells_its_duration() {
    let (_keep, folder) = folder();
    let mixture = mixed(&folder);
    std::fs::write(folder.join("long.json"), r#"{"duration": 120.5}"#).unwrap();
    let index = find(&mixture, "long");
    let example = load_example(&mixture.records()[index], index, &small_options(&folder)).unwrap();
    assert!((example.visuals[0].choice.duration_s - 120.5).abs() < 1e-9);
    assert_eq!(example.frames().next().unwrap().count, 16);
}

#[test]
fn lint_finds_what_cannot_be_used() {
    let (_keep, folder) = folder();
    let mixture = mixed(&folder);
    let report = lint(&mixture, &lint_options(&folder), &|_, _| ()).unwrap();
    let mut found: Vec<(&str, &str)> = report
        .findings
        .iter()
        .map(|finding| (finding.id.as_str(), finding.reason.as_str()))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        ["absent", "no-tag", "two-tags"]
    );
    assert!(found[0].1.starts_with("cannot read"), "{}", found[0].1);
    assert!(found[2].1.contains("2 `<image>` tags; it needs exactly one"), "{}", found[2].1);
    assert_eq!((report.samples, report.media, report.by_source["mixed"]), (7, 5, 3));
    assert!(!report.is_clean());
    assert_eq!(report.quarantine_lines().lines().count(), 3);
}

#[test]
fn show_renders_the_prompt_with_its_mask_and_a_sheet() {
    let (_keep, folder) = folder();
    let mixture = mixed(&folder);
    let (report, example) =
        show(&mixture, find(&mixture, "tvqa"), &small_options(&folder)).unwrap();
    let text: String = report.spans.iter().map(|span| span.text.as_str()).collect();
    assert_eq!(
        text,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nThe video lasts for 4.00 seconds, and 8 frames are uniformly sampled from it. \nWhat?<|im_end|>\n<|im_start|>assistant\nIt is red.<|im_end|>\n"
    );
    let last = report.spans.last().unwrap();
    assert!(
        last.supervised && last.text.ends_with("<|im_start|>assistant\nIt is red.<|im_end|>\n"),
        "{last:?}"
    );
    assert_eq!(report.tokens, example.input_ids.len());
    assert_eq!(
        report.supervised,
        report.spans.iter().filter(|span| span.supervised).map(|span| span.tokens).sum::<usize>()
    );
    assert_eq!(report.visuals[0].frames.len(), 8);
    assert_eq!(report.visuals[0].frames[1].0, 1);
    assert!((report.visuals[0].frames[1].1 - 1.0 / 3.0).abs() < 1e-9);

    let sheet = contact_sheet(example.frames(), 5, 20);
    assert_eq!((sheet.width, sheet.height), (5 * 24 + 4, 2 * 24 + 4));
    let path = folder.join("sheet.png");
    write_png(&path, &sheet).unwrap();
    assert_eq!(read_picture(&path, &Limits::default(), Truncated::Refuse).unwrap(), sheet);
    assert!(show(&mixture, 99, &small_options(&folder)).is_err());
}

#[test]
fn an_empty_path_is_no_folder_of_pictures() {
    let (_keep, folder) = folder();
    std::fs::write(folder.join("m.yaml"), "datasets: [{json_path: a.json, data_root: clips}]")
        .unwrap();
    std::fs::create_dir(folder.join("clips")).unwrap();
    write_picture(&folder.join("clips/a.png"), [9, 9, 9], 6);
    let turns = json!([{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]);
    let records = json!([
        {"id": "good", "image": "a.png", "conversations": turns},
        {"id": "empty", "video": "", "conversations": turns},
    ]);
    std::fs::write(folder.join("a.json"), records.to_string()).unwrap();
    let mixture = Mixture::load(&folder.join("m.yaml"), &MixtureOptions::default()).unwrap();
    let report = lint(&mixture, &lint_options(&folder), &|_, _| ()).unwrap();
    let empty = |finding: &xcomp_data::report::Finding| {
        (finding.id.clone(), finding.reason.contains("empty path"))
    };
    let told: Vec<_> = report.findings.iter().map(empty).collect();
    assert_eq!(told, [("empty".to_owned(), true)]);
}

#[test]
fn records_are_judged_as_they_are_rendered() {
    let (_keep, folder) = folder();
    write_picture(&folder.join("a.png"), [9, 9, 9], 6);
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let (asks, answers) = (turn("human", "<image>\nq"), turn("gpt", "a"));
    let records = json!([
        {"id": "good", "image": "a.png", "conversations": [asks, answers]},
        {"id": "unheard", "image": "a.png", "conversations": [turn("gpt", "<image>\na"), turn("human", "q"), answers]},
        {"id": "silent", "image": "a.png", "conversations": [asks]},
        {"id": "blank", "image": "a.png", "conversations": [asks, turn("gpt", " ")]},
    ]);
    std::fs::write(folder.join("a.json"), records.to_string()).unwrap();
    std::fs::write(folder.join("m.yaml"), "datasets: [{json_path: a.json}]").unwrap();
    let mixture = Mixture::load(&folder.join("m.yaml"), &MixtureOptions::default()).unwrap();
    let report = lint(&mixture, &lint_options(&folder), &|_, _| ()).unwrap();
    let mut broken: Vec<_> = report.findings.into_iter().map(|finding| finding.id).collect();
    broken.sort_unstable();
    assert_eq!(broken, ["blank", "silent", "unheard"]);

    let good = &mixture.records()[find(&mixture, "good")];
    let length =
        load_example(good, 0, &small_options(&folder)).unwrap().input_ids.len() - 1 + 4 + 1;
    let with = |max_tokens| {
        let small = small_options(&folder);
        let (tokens_per_frame, tokens_behind_frames) = (4, 1);
        let options = LoadOptions { tokens_per_frame, tokens_behind_frames, max_tokens, ..small };
        load_example(good, 0, &options).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with(length), Ok(()));
    let told = with(length - 1).unwrap_err();
    let want = format!("record `good` has {length} tokens, model_max_length is {};", length - 1);
    assert!(told.starts_with(&want), "{told}");
}

fn stats_options(folder: &Path, world: usize) -> StatsOptions {
    StatsOptions {
        template: xcomp_data::CHATML,
        cost: CostModel {
            per_frame: 1000.0,
            per_token: 1.0,
            per_token_pair: 0.0,
            tokens_per_frame: 8.0,
            frames: small_frames(),
        },
        tokenizer: Some(tiny_tokenizer(folder)),
        max_tokenized: 10,
        order: Order::Shuffled,
        seed: 1,
        step_samples: 8,
        world,
    }
}

#[test]
fn stats_count_what_is_there() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 64, |_| false);
    let report = stats(&mixture, &stats_options(&folder, 4)).unwrap();
    assert_eq!((report.samples, report.images, report.videos), (64, 64, 0));
    let source = &report.sources[0];
    assert_eq!(
        (source.source.as_str(), source.total, source.frames.max, source.frames_known),
        ("pictures", 64, 1, 64)
    );
    let words: usize = mixture.records().iter().map(|record| record.words).sum();
    assert!((report.flops - (64.0 * 1008.0 + words as f64)).abs() < 1e-6);
    assert!(source.text_tokens.min > 70, "{:?}", source.text_tokens);
    assert!(report.by_cost.mean <= report.in_turn.mean && report.by_cost.mean >= 1.0);
}
