//! The whole mixture of the released run: 84 annotation files at the sizes of the real ones, made by code.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails like the test itself; tests print what they measured"
)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use xcomp_data::stream::cost::CostModel;
use xcomp_data::{FrameOptions, Media, Mixture, MixtureOptions, Order, StatsOptions, stats};

/// For each dataset in the order of the YAML: the interval in which the real number of records lies, and a number in
/// it such that the sum is that of the released run (spec, section 1.4).
#[rustfmt::skip]
const SIZES: [(usize, usize, usize); 84] = [
    (21_942, 21_942, 21_942),
    (25_104, 25_104, 25_104),
    (9995, 9995, 9995),
    (5658, 5658, 5658),
    (19_790, 19_790, 19_790),
    (19_990, 19_990, 19_990),
    (49_990, 49_990, 49_990),
    (57_284, 57_284, 57_284),
    (50_017, 50_017, 50_017),
    (1988, 1988, 1988),
    (29_990, 29_990, 29_990),
    (8990, 8990, 8990),
    (98_675, 98_675, 98_675),
    (17_242, 17_242, 17_242),
    (738_551, 738_600, 738_551),
    (615_801, 615_833, 615_801),
    (221_951, 221_966, 221_951),
    (39_634, 39_650, 39_634),
    (801, 833, 833),
    (9951, 10_000, 9951),
    (301_751, 301_800, 301_751),
    (2101, 2133, 2133),
    (122_034, 122_050, 122_034),
    (52_651, 52_700, 52_651),
    (42_601, 42_633, 42_633),
    (39_967, 40_000, 40_000),
    (39_951, 40_000, 40_000),
    (7367, 7400, 7400),
    (52_651, 52_700, 52_651),
    (39_101, 39_150, 39_101),
    (26_834, 26_850, 26_834),
    (20_467, 20_500, 20_500),
    (34_101, 34_133, 34_133),
    (801, 833, 833),
    (239_951, 240_000, 240_000),
    (10_667, 10_700, 10_700),
    (601, 633, 633),
    (5701, 5733, 5701),
    (551, 566, 551),
    (400_001, 400_050, 400_001),
    (8767, 8800, 8767),
    (94_967, 95_000, 94_967),
    (6867, 6900, 6867),
    (61, 61, 61),
    (420_200, 420_200, 420_200),
    (26_302, 26_302, 26_302),
    (39_667, 39_700, 39_667),
    (6843, 6843, 6843),
    (39_951, 39_966, 39_951),
    (3124, 3124, 3124),
    (57_924, 57_924, 57_924),
    (24_685, 24_685, 24_685),
    (39_927, 39_927, 39_927),
    (2950, 2950, 2950),
    (4694, 4694, 4694),
    (110_624, 110_624, 110_624),
    (4241, 4241, 4241),
    (39_353, 39_353, 39_353),
    (4530, 4530, 4530),
    (137_645, 137_645, 137_645),
    (20_346, 20_346, 20_346),
    (19_995, 19_995, 19_995),
    (5496, 5496, 5496),
    (5753, 5753, 5753),
    (141_451, 141_466, 141_451),
    (4633, 4633, 4633),
    (7460, 7460, 7460),
    (52, 52, 52),
    (8590, 8590, 8590),
    (4627, 4627, 4627),
    (10_514, 10_514, 10_514),
    (24_201, 24_233, 24_201),
    (6843, 6843, 6843),
    (5492, 5492, 5492),
    (48_468, 48_468, 48_468),
    (79_346, 79_346, 79_346),
    (18_101, 18_133, 18_101),
    (1785, 1785, 1785),
    (618, 618, 618),
    (11_985, 11_985, 11_985),
    (967, 1000, 967),
    (1901, 1933, 1901),
    (951, 966, 951),
    (2000, 2000, 2000),
];

/// The annotation files that the mixture names, in its order.
fn annotation_paths(yaml: &str) -> Vec<&str> {
    yaml.lines()
        .filter_map(|line| line.trim().strip_prefix("- json_path: "))
        .map(|path| path.trim_matches('"'))
        .collect()
}

/// One record, about as long as a short real one.
fn record(out: &mut impl Write, index: usize, medium: &str) {
    write!(
        out,
        r#"{{"id": {index}, {medium}, "conversations": [{{"from": "human", "value": "<image>\nWhat happens in part {index} of it, and \"why\"?"}}, {{"from": "gpt", "value": "Somebody opens a door and walks into the garden, because the dog barks; then it is quiet again."}}]}}"#
    )
    .unwrap();
}

/// Writes one annotation file; pictures for image sets, lists of pictures for M4, files or folders for videos.
fn write_annotation(path: &Path, count: usize) -> u64 {
    let name = path.to_string_lossy();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let lines = name.ends_with(".jsonl");
    write!(out, "{}", if lines { "" } else { "[" }).unwrap();
    for index in 0..count {
        let medium = if name.contains("m4_instruct") {
            format!(r#""image": ["a/{index}.jpg", "b/{index}.jpg"]"#)
        } else if name.contains("/image/") {
            format!(r#""image": "a/{index}.jpg""#)
        } else {
            let (least, most) = seconds_of(&name);
            format!(
                r#""video": "clips/{index}.mp4", "duration": {}"#,
                least + index % (most - least)
            )
        };
        let end = if lines {
            "\n"
        } else if index + 1 == count {
            "]"
        } else {
            ",\n"
        };
        record(&mut out, index, &medium);
        write!(out, "{end}").unwrap();
    }
    out.into_inner().unwrap().metadata().unwrap().len()
}

/// Durations of the clips of a dataset, in seconds: by its name where that tells, else as its makers describe it.
fn seconds_of(name: &str) -> (usize, usize) {
    let known = [
        ("_0_30_s_", (5, 30)),
        ("_30_60_s_", (30, 60)),
        ("_1_2_m_", (60, 120)),
        ("_2_3_m_", (120, 180)),
        ("moviechat", (400, 500)),
        ("nextqa", (20, 80)),
        ("next_qa", (20, 80)),
        ("tvqa", (60, 90)),
        ("htstep", (300, 600)),
        ("ego4dhcap", (300, 600)),
        ("guiworld", (20, 40)),
        ("textvr", (5, 30)),
    ];
    known.iter().find(|(part, _)| name.contains(part)).map_or((5, 15), |(_, seconds)| *seconds)
}

/// The 2B model: 0.92 TFLOP a frame in the frozen tower (290 M parameters, joint attention over 6272 tokens), and
/// 8 operations a parameter and token in the language model, whose 28 layers see 8.25 tokens a frame on average.
fn cost_of_the_2b_model() -> CostModel {
    CostModel {
        per_frame: 0.92e12,
        per_token: 8.0 * 1.31e9,
        per_token_pair: 8.0 * 28.0 * 1536.0,
        tokens_per_frame: 231.0 / 28.0,
        frames: FrameOptions::default(),
    }
}

/// Ranks that share a step by predicted cost wait for each other far less.
fn check_imbalance(mixture: &Mixture) {
    let options = StatsOptions {
        template: xcomp_data::CHATML,
        cost: cost_of_the_2b_model(),
        tokenizer: None,
        max_tokenized: 0,
        order: Order::Blocks(32),
        seed: 42,
        step_samples: 32,
        world: 8,
    };
    let report = stats(mixture, &options).unwrap();
    println!(
        "8 ranks, steps of 32: costliest rank over the average {:.3} (worst {:.2}) in turn, {:.3} (worst {:.2}) by cost; {:.2e} operations an epoch",
        report.in_turn.mean,
        report.in_turn.max,
        report.by_cost.mean,
        report.by_cost.max,
        report.flops
    );
    assert_eq!((report.sources.len(), report.images, report.videos), (83, 12_805, 59_122));
    assert!(report.in_turn.mean > 1.4 && report.by_cost.mean <= 1.1);
}

/// The most memory that this process has held, in MB.
fn peak_memory_mb() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? / 1000)
}

/// 12,805 pictures and 59,122 videos, in under 10 seconds and 600 MB.
#[test]
fn the_released_mixture_has_71_927_samples() {
    let yaml = include_str!("../../recipes/mixtures/sct-2.5pct.yaml");
    let folder = tempfile::tempdir().unwrap();
    let paths = annotation_paths(yaml);
    assert_eq!(paths.len(), SIZES.len());
    let mut bytes = 0;
    for (path, (least, most, count)) in paths.iter().zip(SIZES) {
        assert!((least..=most).contains(&count));
        bytes += write_annotation(&folder.path().join(path), count);
    }
    let mixture_file = folder.path().join("mixture.yaml");
    std::fs::write(&mixture_file, yaml).unwrap();

    let started = Instant::now();
    let options = MixtureOptions { check_media: false, ..MixtureOptions::released() };
    let mixture = Mixture::load(&mixture_file, &options).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let memory_mb = peak_memory_mb();

    let images =
        mixture.records().iter().filter(|record| record.media[0].kind == Media::Image).count();
    let total: usize = mixture.datasets().iter().map(|dataset| dataset.total).sum();
    println!(
        "84 files, {total} records, {:.2} GB of JSON -> {images} images + {} videos = {} samples in {seconds:.2} s, peak memory {} MB",
        bytes as f64 / 1e9,
        mixture.len() - images,
        mixture.len(),
        memory_mb.map_or("unknown".to_owned(), |mb| mb.to_string()),
    );
    assert_eq!((images, mixture.len() - images, mixture.len()), (12_805, 59_122, 71_927));
    assert_eq!(
        mixture.notes(),
        [
            "dataset `m4_instruct_annotations`: 15395 of 15395 records are left out, because a sample shows one image or one video: 15395 whose `image` or `video` is a list"
        ]
    );
    assert!(seconds < 10.0, "loading took {seconds} s");
    check_imbalance(&mixture);
    assert!(memory_mb.is_none_or(|mb| mb < 600), "peak memory {memory_mb:?} MB");
}
