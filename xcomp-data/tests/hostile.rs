//! Annotations as people have them, mixed at random out of hostile pieces: every bad record is named once, every good one is used.
//!
//! 300 cases here; `XCOMP_HOSTILE_CASES=10000` runs as many as `make torture`.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use common::{folder, small_options, write_picture};
use xcomp_data::prompt::templates::IMAGE_TOKEN;
use xcomp_data::{
    BadSample, BadSamplePolicy, LintOptions, LoadOptions, Mixture, MixtureOptions, Order, Position,
    PythonRandom, StreamOptions, SystemTurn, lint, load_example, stream,
};

/// What a record of this kind comes to.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// It is a sample.
    Used,
    /// It is a broken sample.
    Broken,
    /// One picture or one video is asked for: it is passed over and counted.
    LeftOut,
}
use Fate::{Broken, LeftOut, Used};

const ASK: &str = r#"{"from": "human", "value": "<image>\nWhat?"}"#;
const SAY: &str = r#"{"from": "gpt", "value": "Red."}"#;

/// Fields of a record without its id, and whether it can be used.
const KINDS: &[(Fate, &str)] = &[
    (Used, r#""image": "a.png", "conversations": [ASK, SAY]"#),
    (
        Used,
        r#""image": "a.png", "score": NaN, "far": [-Infinity, 1e999], "conversations": [ASK, SAY]"#,
    ),
    (Used, r#""image": "b.png", "image": "a.png", "conversations": [ASK, SAY]"#),
    (Used, r#""image": "a.png", "video": null, "conversations": [ASK, SAY]"#),
    (
        Used,
        r#""image": "a.png", "conversations": [ASK, {"from": "gpt", "value": "half \ud83d of it \\ud83d \""}]"#,
    ),
    (
        Used,
        r#""image": "a.png", "conversations": [ASK, {"from": "gpt", "value": "an <image> tag"}]"#,
    ),
    (
        Used,
        r#""image": "a.png", "conversations": [{"from": "system", "value": "<image>? Be brief."}, ASK, SAY]"#,
    ),
    (Used, r#""image": "a.png", "conversations": [ASK, {"from": "system", "value": ""}, SAY]"#),
    (Used, r#""image": "a.png", "conversations": [{"from": "gpt", "value": "Hello."}, ASK, SAY]"#),
    (
        Used,
        r#""image": "a.png", "conversations": [{"from": "user", "value": "What? <image>"}, {"from": "assistant", "value": "Red."}]"#,
    ),
    (Broken, r#""image": "gone.png", "conversations": [ASK, SAY]"#),
    (Broken, r#""image": "", "conversations": [ASK, SAY]"#),
    (Broken, r#""image": "../a.png", "conversations": [ASK, SAY]"#),
    (Broken, r#""image": 7, "conversations": [ASK, SAY]"#),
    (Broken, r#""image": "a.png", "conversations": [ASK]"#),
    (
        Broken,
        r#""image": "a.png", "conversations": [{"from": "gpt", "value": "<image> first"}, {"from": "human", "value": "q"}, SAY]"#,
    ),
    (
        Broken,
        r#""image": "a.png", "conversations": [{"from": "Human", "value": "<image>"}, {"from": "GPT", "value": "y"}]"#,
    ),
    (Broken, r#""image": "a.png", "conversations": [ASK, {"from": "gpt", "value": 3}]"#),
    (Broken, r#""image": "a.png", "conversations": [ASK, {"from": "gpt", "value": null}]"#),
    (Broken, r#""image": "a.png", "conversations": [ASK, {"from": "gpt", "value": NaN}]"#),
    (Broken, r#""image": "a.png", "conversations": [ASK, ["gpt", "Red."]]"#),
    (Broken, r#""image": "a.png", "conversations": []"#),
    (Broken, r#""image": "a.png", "conversations": {"from": "human"}"#),
    (Broken, r#""image": "a.png""#),
    (Broken, r#""image": "a.png", "conversations": [ASK, SAY, ASK, SAY]"#),
    (Broken, r#""image": "a.png", "start": "00:00:01", "end": 2, "conversations": [ASK, SAY]"#),
    (Broken, r#""image": "a.png", "start": NaN, "end": 2, "conversations": [ASK, SAY]"#),
    (Broken, r#""image": "a.png", "conversations": [ASK, {"from": "gpt", "value": "LONG"}]"#),
    (Broken, r#""image": "a.png", "deep": DEEP, "conversations": [ASK, SAY]"#),
    (LeftOut, r#""conversations": [ASK, SAY]"#),
    (LeftOut, r#""videos": ["a.mp4"], "conversations": [ASK, SAY]"#),
    (LeftOut, r#""image": ["a.png"], "conversations": [ASK, SAY]"#),
    (LeftOut, r#""image": "a.png", "video": "b.mp4", "conversations": [ASK, SAY]"#),
];

/// Most tokens of a sample here; the long answer has more.
const MAX_TOKENS: usize = 600;

fn written(id: usize, fields: &str) -> String {
    let (deep, long) = (format!("{}{}", "[".repeat(300), "]".repeat(300)), "word ".repeat(200));
    let fields = fields.replace("ASK", ASK).replace("SAY", SAY);
    format!(r#"{{"id": {id}, {}}}"#, fields.replace("DEEP", &deep).replace("LONG", &long))
}

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for from outside")]
fn cases() -> u64 {
    std::env::var("XCOMP_HOSTILE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// An annotation of these kinds: an array or lines, with or without a byte order mark, one `.JSON` in a while.
fn write_mixture(folder: &Path, kinds: &[usize], random: &mut PythonRandom) -> Arc<Mixture> {
    let records: Vec<String> =
        kinds.iter().enumerate().map(|(id, kind)| written(id, KINDS[*kind].1)).collect();
    let as_lines = random.getrandbits(1) == 1;
    let ending = ["\n", "\r\n", "\n\n"][random.randbelow(3) as usize];
    let body = if as_lines {
        records.join(ending)
    } else {
        format!("[{}]", records.join(&format!(",{ending}")))
    };
    let mark = if random.getrandbits(1) == 1 { "\u{feff}" } else { "" };
    let suffix = ["json", "jsonl", "JSON", "Jsonl"]
        [usize::from(as_lines) + 2 * random.randbelow(2) as usize];
    let (name, yaml) = (format!("a.{suffix}"), folder.join("m.yaml"));
    std::fs::write(folder.join(&name), format!("{mark}{body}")).unwrap();
    std::fs::write(&yaml, format!("datasets: [{{json_path: {name}}}]")).unwrap();
    let options = MixtureOptions { check_media: false, ..MixtureOptions::default() };
    Arc::new(Mixture::load(&yaml, &options).unwrap())
}

fn options(folder: &Path) -> LoadOptions {
    LoadOptions { max_tokens: MAX_TOKENS, vocabulary: 259, ..small_options(folder) }
}

/// Ids that a pass over the mixture hands out.
fn trained(mixture: &Arc<Mixture>, load: &LoadOptions) -> BTreeSet<String> {
    let bad = BadSample {
        policy: BadSamplePolicy::Skip,
        max_in_a_row: u64::MAX,
        max_fraction: 1.0,
        quarantine: None,
    };
    let options = StreamOptions {
        order: Order::Sequential,
        epochs: Some(1),
        bad,
        step_samples: 1,
        workers: 1,
        ..StreamOptions::new(load.clone(), 0)
    };
    let samples = stream(Arc::clone(mixture), options, Position::start()).unwrap();
    samples.map(|sample| sample.unwrap().0.id.clone()).collect()
}

#[test]
fn bad_records_are_named_once_and_good_ones_used() {
    let (_keep, folder) = folder();
    write_picture(&folder.join("a.png"), [9, 9, 9], 6);
    let load = options(&folder);
    let lint_options = LintOptions { load: load.clone(), decode: true, threads: 1 };
    let mut random = PythonRandom::new(1);
    for case in 0..cases() {
        let count = 2 + random.randbelow(9);
        let mut kinds: Vec<usize> =
            (0..count).map(|_| random.randbelow(KINDS.len() as u32) as usize).collect();
        // Every kind comes at least once, and a mixture is never empty.
        kinds[0] = case as usize % KINDS.len();
        kinds[1] = 0;
        let of = |fate: Fate| -> BTreeSet<String> {
            let wanted = kinds.iter().enumerate().filter(|(_, kind)| KINDS[**kind].0 == fate);
            wanted.map(|(id, _)| id.to_string()).collect()
        };
        let mixture = write_mixture(&folder, &kinds, &mut random);
        let report = lint(&mixture, &lint_options, &|_, _| ()).unwrap();
        let named: Vec<String> = report.findings.iter().map(|found| found.id.clone()).collect();
        let once: BTreeSet<String> = named.iter().cloned().collect();
        let what = || kinds.iter().map(|kind| KINDS[*kind].1).collect::<Vec<_>>().join("\n");
        assert_eq!((once.len(), report.broken), (named.len(), named.len()), "{}", what());
        assert_eq!(once, of(Broken), "{}\n{:?}", what(), report.findings);
        let left_out: usize = mixture.left_out()[0].iter().map(|(_, count)| count).sum();
        assert_eq!(left_out, of(LeftOut).len(), "{}", what());
        assert_eq!(trained(&mixture, &load), of(Used), "{}", what());
    }
}

/// A tag that is no place for a picture is text, and a first system turn stands for the template's own.
#[test]
fn words_are_never_markers() {
    let (_keep, folder) = folder();
    write_picture(&folder.join("a.png"), [9, 9, 9], 6);
    let load = options(&folder);
    let mut random = PythonRandom::new(2);
    for (kind, says) in
        [(5, "an <image> tag<|im_end|>"), (6, "system\n<image>? Be brief.<|im_end|>")]
    {
        let mixture = write_mixture(&folder, &[kind], &mut random);
        let ids = load_example(&mixture.records()[0], 0, &load).unwrap().input_ids;
        assert_eq!(ids.iter().filter(|id| **id == IMAGE_TOKEN).count(), 1);
        let text = load.tokenizer.decode_all(&ids).unwrap();
        assert!(text.contains(says) && text.contains("helpful") != (kind == 6), "{text}");
    }
    let question = xcomp_data::render_question(
        &load.template,
        &load.tokenizer,
        "How do I turn this into an <image> tag?",
        "",
    )
    .unwrap();
    assert_eq!(question.iter().filter(|id| **id == IMAGE_TOKEN).count(), 1);
    let text = load.tokenizer.decode_all(&question).unwrap();
    assert!(text.contains("user\n\nHow do I turn this into an <image> tag?<|im_end|>"), "{text}");
}

/// What a record lacks is said with its file and line, and by the key that would allow it.
#[test]
fn a_broken_record_says_where_and_what_to_do() {
    let (_keep, folder) = folder();
    let yaml = folder.join("m.yaml");
    let turns = format!("[{ASK}, {SAY}]");
    let records = [
        format!(r#"{{"id": "out", "image": "/x.png", "conversations": {turns}}}"#),
        format!(
            r#"{{"id": "system", "image": "a.png", "conversations": [{{"from": "system", "value": "x"}}, {ASK}, {SAY}]}}"#
        ),
        r#"{"id": "cut", "image": "a.png", "conversations""#.to_owned(),
    ];
    std::fs::write(folder.join("a.jsonl"), records.join("\n\n")).unwrap();
    std::fs::write(&yaml, "datasets: [{json_path: a.jsonl}]").unwrap();
    let broken = |options: MixtureOptions| -> Vec<(String, String)> {
        let options = MixtureOptions { check_media: false, ..options };
        let mixture = Mixture::load(&yaml, &options).unwrap();
        let mut broken: Vec<_> = mixture
            .records()
            .iter()
            .filter_map(|record| Some((record.id.clone(), record.broken.clone()?)))
            .collect();
        broken.sort();
        broken
    };
    let told = broken(MixtureOptions { system: SystemTurn::Refuse, ..MixtureOptions::default() });
    let ids: Vec<&str> = told.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["2", "out", "system"]);
    for ((_, why), (says, line)) in told.iter().zip([
        ("EOF while parsing", 5),
        ("set [data] allow_outside_paths = true", 1),
        ("which [data] system = \"refuse\" refuses", 3),
    ]) {
        assert!(why.contains(says) && why.ends_with(&format!("a.jsonl, line {line})")), "{why}");
    }
    let told = broken(MixtureOptions { allow_outside_paths: true, ..MixtureOptions::default() });
    assert_eq!(told.len(), 1, "{told:?}");
}
