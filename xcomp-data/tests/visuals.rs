//! Samples that show several images and videos, or none: their order, their features, and what counts them.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{folder, small_options, write_picture};
use serde_json::json;
use xcomp_data::features::coverage;
use xcomp_data::features::store::StoreOptions;
use xcomp_data::report::contact_sheet;
use xcomp_data::stream::cost::predict_frames;
use xcomp_data::{
    BadSamplePolicy, Encoder, Example, FeatureCache, FeatureValues, Features, IMAGE_TOKEN,
    LintOptions, LoadOptions, Media, Mixture, MixtureOptions, Order, Position, StreamOptions,
    VisualData, VisualRule, lint, load_example, show, stream,
};

/// Bytes of a small frame.
const FRAME_BYTES: usize = 8 * 8 * 3;

/// Records with two images, an image and a video, no visual, one image, and a tag too few.
fn mixture(folder: &Path, visuals: VisualRule) -> Arc<Mixture> {
    for red in [1, 2, 3] {
        write_picture(&folder.join(format!("{red}.png")), [red, 0, 0], 6);
    }
    std::fs::create_dir_all(folder.join("film")).unwrap();
    (0..9_u8).for_each(|i| write_picture(&folder.join(format!("film/f_{i}.png")), [100 + i; 3], 6));
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let asked = |question: &str| json!([turn("human", question), turn("gpt", "Red.")]);
    let twice = json!([
        turn("human", "What? <image>"),
        turn("gpt", "Red."),
        turn("human", "<image>\nAnd this?"),
        turn("gpt", "Redder."),
    ]);
    let records = json!([
        {"id": "two", "image": ["1.png", "2.png"], "conversations": twice},
        {"id": "both", "video": ["film"], "image": "3.png", "conversations": asked("Is <image> in <image>?")},
        {"id": "none", "conversations": asked("Which colour?")},
        {"id": "one", "image": "1.png", "conversations": asked("<image>\nWhich colour?")},
        {"id": "short", "image": ["1.png", "3.png"], "conversations": asked("<image>\nWhich colour?")},
    ]);
    std::fs::write(folder.join("a.json"), records.to_string()).unwrap();
    let yaml = folder.join("mixture.yaml");
    std::fs::write(&yaml, "datasets: [{json_path: a.json, video_read_type: img}]").unwrap();
    let options = MixtureOptions { visuals, ..MixtureOptions::default() };
    Arc::new(Mixture::load(&yaml, &options).unwrap())
}

fn any(folder: &Path) -> LoadOptions {
    LoadOptions { visuals: VisualRule::Any, ..small_options(folder) }
}

fn load(mixture: &Mixture, id: &str, options: &LoadOptions) -> Result<Example, String> {
    let index = mixture.records().iter().position(|record| record.id == id).unwrap();
    load_example(&mixture.records()[index], index, options).map_err(|error| error.to_string())
}

/// What a sample shows: kind, frames, red of the first one.
fn shown(example: &Example) -> Vec<(Media, usize, u8)> {
    let of = |visual: &xcomp_data::Visual| {
        let frames = visual.frames().unwrap();
        (visual.media, frames.count, frames.pixels[0])
    };
    example.visuals.iter().map(of).collect()
}

#[test]
fn a_stream_has_samples_with_any_number_of_visuals() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder, VisualRule::Any);
    let mut options = StreamOptions::new(any(&folder), 3);
    (options.order, options.epochs) = (Order::Sequential, Some(1));
    options.bad.policy = BadSamplePolicy::Skip;
    for limit in [1, 3 * FRAME_BYTES, 1 << 30] {
        options.queue_bytes = limit;
        let mut samples = stream(Arc::clone(&mixture), options.clone(), Position::start()).unwrap();
        let mut examples: Vec<Example> = samples.by_ref().map(|sample| sample.unwrap().0).collect();
        examples.sort_by(|a, b| a.id.cmp(&b.id));
        let got: Vec<_> = examples.iter().map(|e| (e.id.as_str(), shown(e))).collect();
        let (image, video) = (Media::Image, Media::Video);
        assert_eq!(
            got,
            [
                ("both", vec![(image, 1, 3), (video, 8, 100)]),
                ("none", vec![]),
                ("one", vec![(image, 1, 1)]),
                ("two", vec![(image, 1, 1), (image, 1, 2)]),
            ]
        );
        for example in &examples {
            let markers = example.input_ids.iter().filter(|id| **id == IMAGE_TOKEN).count();
            assert_eq!(markers, example.visuals.len(), "{}", example.id);
        }
        let events = samples.take_events();
        assert_eq!(events.len(), 1);
        assert_eq!(
            events[0].reason,
            "record `short`: its conversation has 1 `<image>` tags for 2 images and videos; it needs one for each"
        );
        let meter = samples.meter();
        assert_eq!((meter.samples, meter.frames, meter.queued_bytes), (4, 1 + 8 + 1 + 2, 0));
        assert!(meter.peak_bytes <= limit + 9 * FRAME_BYTES, "{} above {limit}", meter.peak_bytes);
        assert!(meter.peak_bytes >= 9 * FRAME_BYTES, "both visuals of a sample count");
    }
}

#[test]
fn a_prompt_has_a_place_and_a_message_for_each_visual() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder, VisualRule::Any);
    let text = |id: &str| {
        let index = mixture.records().iter().position(|record| record.id == id).unwrap();
        let (report, example) = show(&mixture, index, &any(&folder)).unwrap();
        assert_eq!(report.visuals.len(), example.visuals.len());
        let sheet = contact_sheet(example.frames(), 4, 20);
        assert_eq!(sheet.height, example.frame_count().div_ceil(4).max(1) * 24 + 4);
        report.spans.iter().map(|span| span.text.as_str()).collect::<String>()
    };
    let said = "The video lasts for 9.00 seconds, and 8 frames are uniformly sampled from it. ";
    let both = format!("user\nIs <image> in <image>\n{said}?<|im_end|>");
    assert!(text("both").contains(&both), "{}", text("both"));
    let two = text("two");
    assert!(two.contains("user\n<image>\nWhat?<|im_end|>"), "{two}");
    assert!(two.contains("user\n<image>\nAnd this?<|im_end|>"), "{two}");
    assert!(text("none").contains("user\nWhich colour?<|im_end|>"), "{}", text("none"));
}

/// A tag before an assistant that speaks first is not heard, so it is no place for a medium.
#[test]
fn tags_that_are_not_rendered_do_not_count() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder, VisualRule::Any);
    let mut record = mixture.records().iter().find(|record| record.id == "one").unwrap().clone();
    record.turns.remove(0);
    record.turns[0].value = "<image>".into();
    let error = load_example(&record, 0, &any(&folder)).unwrap_err().to_string();
    assert!(error.contains("0 `<image>` tags for 1 images and videos"), "{error}");
}

#[test]
fn exactly_one_drops_and_refuses_as_ever() {
    let (_keep, folder) = folder();
    let one = mixture(&folder, VisualRule::ExactlyOne);
    let ids: Vec<&str> = one.records().iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["one"]);
    let all = mixture(&folder, VisualRule::Any);
    let options = small_options(&folder);
    let refused = |id: &str| load(&all, id, &options).err();
    let words = |id: &str, tags: usize| {
        Some(format!(
            "record `{id}`: its conversation has {tags} `<image>` tags; it needs exactly one"
        ))
    };
    assert_eq!(refused("one"), None);
    assert_eq!(refused("two"), words("two", 2));
    assert_eq!(refused("none"), words("none", 0));
    let short = "record `short`: it gives 2 images and videos; it needs exactly one";
    assert_eq!(refused("short").unwrap(), short);
    let (a, b) = (load(&one, "one", &options), load(&all, "one", &any(&folder)));
    assert_eq!(format!("{:?}", a.unwrap().input_ids), format!("{:?}", b.unwrap().input_ids));
}

/// Keeps made-up features of every visual that has none; gives how many were there and how many not.
fn keep(example: &Example) -> (usize, usize) {
    let mut found = 0;
    for (place, visual) in example.visuals.iter().enumerate() {
        match &visual.data {
            VisualData::Features(_) => found += 1,
            VisualData::Frames(_, slot) => {
                let values = FeatureValues::F32(vec![place as u8; 4]);
                let features = Features { clips: 1, tokens: 1, width: 1, values, class: vec![] };
                slot.as_ref().unwrap().fill(&features);
            }
        }
    }
    (found, example.visuals.len() - found)
}

#[test]
fn features_are_kept_and_found_one_by_one() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder, VisualRule::Any);
    let store = StoreOptions { max_bytes: 1 << 20, now: std::time::UNIX_EPOCH };
    let cache = FeatureCache::open(&folder.join("features"), store, &Encoder::default()).unwrap();
    let cache = Arc::new(cache);
    let options = LoadOptions { features: Some(Arc::clone(&cache)), ..any(&folder) };
    let covered = || coverage(&cache, mixture.records(), &|_| options.frames.clone());
    let kept = |id: &str| keep(&load(&mixture, id, &options).unwrap());
    assert_eq!(covered(), (1, 4), "nothing is missing of a sample that shows nothing");
    assert_eq!(kept("one"), (0, 1));
    assert_eq!(kept("two"), (1, 1), "its first image is that of another sample");
    assert_eq!(covered(), (3, 2));
    assert_eq!(kept("both"), (0, 2));
    assert_eq!(covered(), (5, 0));
    for picture in ["1.png", "2.png", "3.png"] {
        std::fs::remove_file(folder.join(picture)).unwrap();
    }
    std::fs::remove_dir_all(folder.join("film")).unwrap();
    assert_eq!((kept("two"), kept("both"), kept("none")), ((2, 0), (2, 0), (0, 0)));
    let both = load(&mixture, "both", &options).unwrap();
    assert_eq!(both.frame_count(), 9, "the choice of frames comes with the features");
}

#[test]
fn reports_look_at_every_visual() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder, VisualRule::Any);
    let load = small_options(&folder);
    let frames = load.frames.clone();
    let predicted = predict_frames(&mixture, &frames);
    let by_id = |id: &str| {
        let index = mixture.records().iter().position(|record| record.id == id).unwrap();
        (predicted[index].count, predicted[index].known)
    };
    assert_eq!((by_id("two"), by_id("none")), ((2, true), (0, true)));
    assert_eq!(by_id("both"), (1 + 16, false), "the length of the video is assumed");

    std::fs::remove_file(folder.join("2.png")).unwrap();
    let options = LintOptions { load, decode: true, threads: 0 };
    let report = lint(&mixture, &options, &|_, _| ()).unwrap();
    assert_eq!((report.samples, report.media, report.broken), (5, 4, 2));
    let finding = |id: &str| report.findings.iter().find(|finding| finding.id == id).unwrap();
    assert_eq!(finding("two").path, folder.join("2.png"));
    assert!(finding("two").reason.starts_with("cannot read"), "{}", finding("two").reason);
    assert!(finding("short").reason.contains("1 `<image>` tags for 2 images and videos"));
}
