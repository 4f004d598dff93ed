//! Samples longer than the model takes: broken, taken with fewer frames, or the end of the stream.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{folder, small_options, write_picture};
use xcomp_data::features::coverage;
use xcomp_data::features::store::StoreOptions;
use xcomp_data::frames::dynamic_fps;
use xcomp_data::{
    BadSample, BadSamplePolicy, DataError, Encoder, Example, FeatureCache, FeatureValues, Features,
    Fit, FrameOptions, LintOptions, LoadOptions, Mixture, MixtureOptions, Order, Position,
    StreamOptions, TooLong, VisualData, VisualRule, frames_of, lint, load_example, stream,
};

const TOKENS_PER_FRAME: usize = 4;
/// A film of 40 frames, of which the options here take 32 in clips of 8.
const FULL: usize = 32;

/// A film, a picture, and a film with a text of a thousand letters.
fn mixture(folder: &Path) -> Arc<Mixture> {
    std::fs::create_dir(folder.join("film")).unwrap();
    for at in 0..40 {
        write_picture(&folder.join(format!("film/frame_{at}.png")), [at, 7, 9], 4);
    }
    write_picture(&folder.join("a.png"), [1, 2, 3], 4);
    let record = |id: &str, media: &str, answer: &str| {
        serde_json::json!({"id": id, "conversations": [
            {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": answer}],
            media: if media == "image" { "a.png" } else { "film" }})
    };
    let records = serde_json::json!([
        record("film", "video", "Red."),
        record("picture", "image", "Red."),
        record("tale", "video", &"x".repeat(1000)),
    ]);
    std::fs::write(folder.join("a.json"), records.to_string()).unwrap();
    std::fs::write(folder.join("m.yaml"), "datasets: [{json_path: a.json, video_read_type: img}]")
        .unwrap();
    Arc::new(Mixture::load(&folder.join("m.yaml"), &MixtureOptions::default()).unwrap())
}

fn options(folder: &Path, max_tokens: usize, too_long: TooLong) -> LoadOptions {
    let small = small_options(folder);
    let frames = FrameOptions { max_frames: FULL, min_frames: 16, ..small.frames };
    LoadOptions { frames, tokens_per_frame: TOKENS_PER_FRAME, max_tokens, too_long, ..small }
}

fn load(mixture: &Mixture, id: &str, options: &LoadOptions) -> Result<Example, DataError> {
    let index = mixture.records().iter().position(|record| record.id == id).unwrap();
    load_example(&mixture.records()[index], index, options)
}

fn length(example: &Example) -> usize {
    example.input_ids.len() - example.visuals.len() + TOKENS_PER_FRAME * example.frame_count()
}

#[test]
fn frames_are_dropped_until_the_sample_fits() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder);
    let with =
        |max_tokens, too_long| load(&mixture, "film", &options(&folder, max_tokens, too_long));
    let full = with(usize::MAX, TooLong::Skip).unwrap();
    assert_eq!((full.frame_count(), full.limited), (FULL, false));
    let long = length(&full);
    assert!(with(long - 1, TooLong::Skip).is_err() && with(long, TooLong::Skip).is_ok());

    let mut counts = vec![];
    for limit in (long - TOKENS_PER_FRAME * FULL..long + 40).rev() {
        let told =
            |error: &DataError| assert!(matches!(error, DataError::TooLong { .. }), "{error}");
        let Ok(example) = with(limit, TooLong::DropFrames).inspect_err(told) else {
            counts.push(0);
            continue;
        };
        let frames = example.frame_count();
        // The sentence about the video may turn out shorter than the longest: by less than a clip's tokens.
        let next = length(&example) + TOKENS_PER_FRAME * 8;
        assert!(length(&example) <= limit && (frames == FULL || next + 8 > limit), "{limit}");
        assert!(example.limited || frames == FULL, "{limit}");
        let said = small_options(&folder).tokenizer.decode_all(&example.input_ids).unwrap();
        assert!(said.contains(&format!("and {frames} frames are uniformly sampled")), "{said}");
        // The frames are those that so many would be without a limit.
        let fewer = FrameOptions {
            max_frames: frames,
            min_frames: 8,
            ..options(&folder, 0, TooLong::Skip).frames
        };
        let same = load(
            &mixture,
            "film",
            &LoadOptions { frames: fewer, ..options(&folder, usize::MAX, TooLong::Skip) },
        );
        let pixels = |example: &Example| example.frames().next().unwrap().pixels.clone();
        assert!(pixels(&example) == pixels(&same.unwrap()), "{limit}");
        counts.push(frames);
    }
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    counts.dedup();
    assert_eq!(counts, [32, 24, 16, 8, 0]);
    assert!(load(&mixture, "picture", &options(&folder, 40, TooLong::DropFrames)).is_err());
}

/// Tiles of pictures, and what stands behind the frames of every visual, take from the room of a video's frames.
#[test]
fn a_video_leaves_room_for_what_is_shown_beside_it() {
    const BEHIND: usize = 5;
    let (_keep, folder) = folder();
    drop(mixture(&folder));
    let record = serde_json::json!([{"id": "both", "image": ["a.png", "a.png"], "video": ["film"], "conversations": [
        {"from": "human", "value": "<image>\n<image>\n<image>\nWhat?"}, {"from": "gpt", "value": "Red."}]}]);
    std::fs::write(folder.join("a.json"), record.to_string()).unwrap();
    let any = MixtureOptions { visuals: VisualRule::Any, ..MixtureOptions::default() };
    let mixture = Mixture::load(&folder.join("m.yaml"), &any).unwrap();
    let shown = |fit, max_frames, max_tokens, too_long| {
        let usual = options(&folder, max_tokens, too_long);
        let frames = FrameOptions { fit, max_frames, min_frames: 8, ..usual.frames.clone() };
        let (visuals, tokens_behind_frames) = (VisualRule::Any, BEHIND);
        load(&mixture, "both", &LoadOptions { frames, visuals, tokens_behind_frames, ..usual })
    };
    for (fit, of_pictures) in [(Fit::Squeeze, 2), (Fit::Tiles, 4)] {
        let length = |example: &Example| length(example) + 3 * BEHIND;
        let least = length(&shown(fit, 8, usize::MAX, TooLong::Skip).unwrap());
        let most = length(&shown(fit, FULL, usize::MAX, TooLong::Skip).unwrap());
        for limit in least..=most {
            let example = shown(fit, FULL, limit, TooLong::DropFrames).unwrap();
            assert!(length(&example) <= limit, "{fit:?}, {limit}");
            assert!(example.frame_count() >= 8 + of_pictures, "{fit:?}, {limit}");
        }
    }
}

/// A limit above what a video has changes nothing.
#[test]
fn a_limit_that_is_not_reached_chooses_the_same_frames() {
    for (vlen, fps, max_frames) in
        (0..300).step_by(7).flat_map(|vlen| [(vlen, 25.0, 64), (vlen, 1.0, 64), (vlen, 7.5, 0)])
    {
        let all = FrameOptions { max_frames, min_frames: 16, ..FrameOptions::default() };
        let full = dynamic_fps(vlen, fps, &all);
        for most in (8..400).step_by(8).filter(|most| max_frames == 0 || *most <= max_frames) {
            let fewer = FrameOptions { max_frames: most, min_frames: 16.min(most), ..all.clone() };
            let chosen = dynamic_fps(vlen, fps, &fewer);
            if full.len() <= most {
                assert_eq!(chosen, full, "{vlen} at {fps}, at most {most}");
            } else {
                assert_eq!(chosen.len(), most, "{vlen} at {fps}");
            }
        }
    }
}

fn streamed(mixture: &Arc<Mixture>, load: LoadOptions) -> (Vec<String>, u64, Option<String>) {
    let bad =
        BadSample { policy: BadSamplePolicy::Skip, max_fraction: 1.0, ..BadSample::default() };
    let options = StreamOptions {
        order: Order::Sequential,
        epochs: Some(1),
        workers: 1,
        bad,
        ..StreamOptions::new(load, 0)
    };
    let mut samples = stream(Arc::clone(mixture), options, Position::start()).unwrap();
    let (mut ids, mut error) = (vec![], None);
    for sample in samples.by_ref() {
        match sample {
            Ok((example, _)) => ids.push(example.id),
            Err(found) => error = Some(found.to_string()),
        }
    }
    ids.sort_unstable();
    (ids, samples.meter().limited, error)
}

#[test]
fn a_sample_that_is_too_long_is_left_out_shortened_or_ends_the_stream() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder);
    let long =
        length(&load(&mixture, "film", &options(&folder, usize::MAX, TooLong::Skip)).unwrap());
    let with = |too_long| streamed(&mixture, options(&folder, long - 1, too_long));
    assert_eq!(with(TooLong::Skip), (vec!["picture".into()], 0, None));
    assert_eq!(with(TooLong::DropFrames), (vec!["film".into(), "picture".into()], 1, None));
    let (_, _, error) = with(TooLong::Stop);
    let error = error.unwrap();
    assert!(error.contains(&format!("model_max_length is {}", long - 1)), "{error}");

    let linted = |too_long| {
        let options =
            LintOptions { load: options(&folder, long - 1, too_long), decode: true, threads: 1 };
        let report = lint(&mixture, &options, &|_, _| ()).unwrap();
        assert!(report.findings.iter().all(|found| found.reason.contains("model_max_length is")));
        (report.broken, report.limited)
    };
    assert_eq!([linted(TooLong::Skip), linted(TooLong::Stop)], [(2, 0); 2]);
    assert_eq!(linted(TooLong::DropFrames), (1, 1));
}

/// What is kept of a shortened sample is found without its media, and not by a run with more room.
#[test]
fn features_of_fewer_frames_have_records_of_their_own() {
    let (_keep, folder) = folder();
    let mixture = mixture(&folder);
    let store = StoreOptions { max_bytes: 1 << 20, now: std::time::UNIX_EPOCH };
    let cache = FeatureCache::open(&folder.join("features"), store, &Encoder::default()).unwrap();
    let cache = Arc::new(cache);
    let long =
        length(&load(&mixture, "film", &options(&folder, usize::MAX, TooLong::Skip)).unwrap());
    let with = |limit| LoadOptions {
        features: Some(Arc::clone(&cache)),
        ..options(&folder, limit, TooLong::DropFrames)
    };
    let film: Vec<_> =
        mixture.records().iter().filter(|record| record.id == "film").cloned().collect();
    let covered = |limit| coverage(&cache, &film, &|record| frames_of(record, &with(limit)));
    let example = load(&mixture, "film", &with(long - 1)).unwrap();
    let VisualData::Frames(_, Some(slot)) = &example.visuals[0].data else {
        panic!("nothing is kept yet")
    };
    let values = FeatureValues::F32(vec![0; 4]);
    slot.fill(&Features { clips: 1, tokens: 1, width: 1, values, class: vec![] });
    assert_eq!((covered(long - 1), covered(long + 40)), ((1, 0), (0, 1)));
    std::fs::remove_dir_all(folder.join("film")).unwrap();
    let again = load(&mixture, "film", &with(long - 1)).unwrap();
    assert!(matches!(again.visuals[0].data, VisualData::Features(_)) && again.limited);
    assert_eq!(again.input_ids, example.input_ids);
}
