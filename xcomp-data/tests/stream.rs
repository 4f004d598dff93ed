//! The stream: its order, resuming, ranks, unreadable samples, bounds.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use common::{folder, picture_mixture, small_options};
use proptest::prelude::*;
use xcomp_data::{
    BadSample, BadSamplePolicy, DataError, Example, Mixture, Order, Position, QuarantineEvent,
    StreamOptions, stream,
};

fn options(folder: &Path, workers: usize) -> StreamOptions {
    let mut options = StreamOptions::new(small_options(folder), 17);
    options.workers = workers;
    options
}

/// What tells two samples apart.
fn name(example: &Example) -> (usize, Vec<i32>, Vec<u8>) {
    (example.record, example.labels.clone(), example.frames().next().unwrap().pixels.clone())
}

fn taken(
    mixture: &Arc<Mixture>,
    options: &StreamOptions,
    from: Position,
    count: usize,
) -> Vec<(usize, Position)> {
    let samples = stream(Arc::clone(mixture), options.clone(), from).unwrap().take(count);
    samples.map(Result::unwrap).map(|(example, position)| (example.record, position)).collect()
}

#[test]
fn every_epoch_has_every_sample_in_another_order() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 60, |_| false);
    let order = |workers| taken(&mixture, &options(&folder, workers), Position::start(), 180);
    let all = order(2);
    let records = |range: std::ops::Range<usize>| {
        all[range].iter().map(|(record, _)| *record).collect::<Vec<_>>()
    };
    for epoch in [records(0..60), records(60..120), records(120..180)] {
        assert_eq!(epoch.iter().copied().collect::<BTreeSet<_>>(), (0..60).collect());
    }
    assert_ne!(records(0..60), records(60..120));
    assert_eq!(all, order(1));
    assert_eq!(all, order(4));
    let Position { epoch, next, samples, .. } = &all[61].1;
    assert_eq!((*epoch, *next, *samples), (1, 2, 62));
}

#[test]
fn blocks_put_long_texts_first() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 64, |_| false);
    let mut options = options(&folder, 2);
    options.order = Order::Blocks(16);
    let words: Vec<usize> = taken(&mixture, &options, Position::start(), 64)
        .iter()
        .map(|(record, _)| mixture.records()[*record].words)
        .collect();
    assert!(words.chunks(16).all(|block| block.is_sorted_by(|a, b| a >= b)), "{words:?}");
    assert!(!words.is_sorted_by(|a, b| a >= b));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// After a stop at any sample, the next 100 are those of the run that did not stop, for 1, 2 and 4 workers and ranks.
    #[test]
    fn resuming_changes_nothing(stop in 0_usize..150, workers in prop::sample::select(vec![1, 2, 4]),
                                world in prop::sample::select(vec![1, 2, 4]), balanced in any::<bool>()) {
        let (_keep, folder) = folder();
        let mixture = picture_mixture(&folder, 61, |i| i % 20 == 3);
        let costs: Arc<[f64]> = (0..61).map(|i| f64::from(1 + i * 31 % 17)).collect();
        for rank in 0..world {
            let mut options = options(&folder, workers);
            (options.rank, options.world, options.step_samples) = (rank, world, world * 3);
            options.lanes = world;
            options.bad.max_fraction = 1.0;
            options.balance = balanced.then(|| Arc::clone(&costs));
            let whole = taken(&mixture, &options, Position::start(), stop + 100);
            let from = if stop == 0 { Position::start() } else { whole[stop - 1].1.clone() };
            let text = serde_json::to_string(&from).unwrap();
            options.workers = 5 - workers;
            let resumed = taken(&mixture, &options, serde_json::from_str(&text).unwrap(), 100);
            prop_assert_eq!(&whole[stop..], &resumed[..]);
        }
    }
}

#[test]
fn ranks_share_each_step_and_lose_nothing() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 96, |_| false);
    let costs: Arc<[f64]> = (0..96).map(|i| f64::from(1 + i * i % 29)).collect();
    let alone = taken(&mixture, &options(&folder, 1), Position::start(), 96);
    for (world, balance) in
        [(2, None), (4, None), (8, None), (4, Some(Arc::clone(&costs))), (8, Some(costs))]
    {
        let mut steps = vec![BTreeSet::new(); 3];
        for rank in 0..world {
            let mut options = options(&folder, 1);
            (options.rank, options.world, options.step_samples) = (rank, world, 32);
            options.lanes = world;
            options.balance.clone_from(&balance);
            let mine = taken(&mixture, &options, Position::start(), 96 / world);
            mine.iter().enumerate().for_each(|(i, (record, _))| {
                assert!(steps[i * world / 32].insert(*record));
            });
        }
        for (step, set) in steps.iter().enumerate() {
            assert_eq!(
                *set,
                alone[32 * step..32 * (step + 1)].iter().map(|(record, _)| *record).collect()
            );
        }
    }
}

#[test]
fn another_mixture_or_seed_cannot_be_resumed() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 20, |_| false);
    let position = taken(&mixture, &options(&folder, 1), Position::start(), 3).pop().unwrap().1;
    let resume = |mixture: &Arc<Mixture>, seed| {
        let options = StreamOptions { seed, ..options(&folder, 1) };
        stream(Arc::clone(mixture), options, position.clone()).err().map(|error| error.to_string())
    };
    assert_eq!(resume(&mixture, 17), None);
    assert!(resume(&mixture, 18).unwrap().contains("with seed 18"));
    let other = picture_mixture(&folder, 21, |_| false);
    assert!(resume(&other, 17).unwrap().starts_with("cannot resume: "));
}

/// Everything a run meets until it ends: samples, events, the error.
fn run(
    mixture: &Arc<Mixture>,
    options: StreamOptions,
) -> (Vec<Example>, Vec<QuarantineEvent>, Option<DataError>) {
    let mut samples = stream(Arc::clone(mixture), options, Position::start()).unwrap();
    let (mut examples, mut error) = (Vec::new(), None);
    for item in samples.by_ref() {
        match item {
            Ok((example, _)) => examples.push(example),
            Err(found) => error = Some(found),
        }
    }
    let events = samples.take_events();
    assert_eq!(samples.meter().samples, examples.len() as u64);
    assert_eq!(samples.meter().bad.values().sum::<u64>(), events.len() as u64);
    (examples, events, error)
}

fn with_policy(folder: &Path, policy: BadSamplePolicy) -> StreamOptions {
    let bad = BadSample {
        policy,
        quarantine: Some(folder.join("data/quarantine.jsonl")),
        ..BadSample::default()
    };
    StreamOptions { epochs: Some(1), order: Order::Sequential, bad, ..options(folder, 3) }
}

#[test]
fn a_neighbour_takes_the_place_of_an_unreadable_sample() {
    let (_keep, folder) = folder();
    // 10 is missing, and so is 15: the next one that is tried is 20. The last one is replaced by none.
    let mixture = picture_mixture(&folder, 90, |i| i == 10 || i == 15);
    let (examples, events, error) = run(&mixture, with_policy(&folder, BadSamplePolicy::Neighbour));
    assert!(error.is_none());
    let records: Vec<usize> = examples.iter().map(|example| example.record).collect();
    let expect: Vec<usize> = (0..90).map(|i| if i == 10 || i == 15 { 20 } else { i }).collect();
    assert_eq!(records, expect);
    assert_eq!(name(&examples[10]), name(&examples[20]));
    let replaced: Vec<_> = events.iter().map(|event| (event.index, event.replaced_by)).collect();
    assert_eq!(replaced, [(10, Some(20)), (15, Some(20))]);
    let lines = std::fs::read_to_string(folder.join("data/quarantine.jsonl")).unwrap();
    let written: Vec<QuarantineEvent> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(written, events);
    assert!(events[0].reason.contains("p10.png"), "{}", events[0].reason);
}

#[test]
fn the_last_sample_is_replaced_by_one_before_it() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 12, |i| i == 11);
    let (examples, events, error) = run(&mixture, with_policy(&folder, BadSamplePolicy::Neighbour));
    assert!(error.is_none());
    assert_eq!((examples[11].record, events[0].replaced_by), (6, Some(6)));
}

#[test]
fn skipping_leaves_a_sample_out() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 40, |i| i % 10 == 4);
    let (examples, events, error) = run(&mixture, with_policy(&folder, BadSamplePolicy::Skip));
    assert!(error.is_none());
    assert_eq!((examples.len(), events.len()), (36, 4));
    assert!(events.iter().all(|event| event.replaced_by.is_none()));
}

#[test]
fn failing_ends_at_the_first_unreadable_sample() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 40, |i| i == 7);
    let (examples, _, error) = run(&mixture, with_policy(&folder, BadSamplePolicy::Fail));
    assert_eq!(examples.len(), 7);
    let message = error.unwrap().to_string();
    assert!(message.starts_with("sample 7 of pictures cannot be read: cannot read"), "{message}");
}

#[test]
fn too_many_unreadable_samples_end_the_stream() {
    let (_keep, folder) = folder();
    let message = |broken: fn(usize) -> bool| {
        let mixture = picture_mixture(&folder, 300, broken);
        let (examples, _, error) = run(&mixture, with_policy(&folder, BadSamplePolicy::Skip));
        (examples.len(), error.map(|error| error.to_string()).unwrap_or_default())
    };
    let (count, row) = message(|i| (50..90).contains(&i));
    assert_eq!(count, 50);
    assert!(row.starts_with("stopped: 20 unreadable samples in a row; last: cannot read"), "{row}");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "png") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (_, fraction) = message(|i| i % 10 == 0);
    assert!(fraction.starts_with("stopped: 11 of 101 samples are unreadable"), "{fraction}");
}

#[test]
fn a_mixture_of_unreadable_samples_ends_with_an_error() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 9, |_| true);
    let (examples, _, error) = run(&mixture, with_policy(&folder, BadSamplePolicy::Neighbour));
    assert!(examples.is_empty());
    assert!(error.unwrap().to_string().contains("nor can its neighbours"));
}

/// A queue that holds less than one sample still moves, one sample at a time.
#[test]
fn the_queue_is_bounded_in_bytes() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 50, |_| false);
    let frame_bytes = 8 * 8 * 3;
    for limit in [1, 3 * frame_bytes, 1 << 30] {
        let options = StreamOptions { queue_bytes: limit, epochs: Some(1), ..options(&folder, 4) };
        let mut samples = stream(Arc::clone(&mixture), options, Position::start()).unwrap();
        assert_eq!(samples.by_ref().flatten().count(), 50);
        let meter = samples.meter();
        assert!(meter.peak_bytes <= limit + frame_bytes, "{} above {limit}", meter.peak_bytes);
        assert_eq!(meter.queued_bytes, 0);
    }
}

#[test]
fn a_stream_that_is_dropped_early_ends_its_threads() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 30, |_| false);
    for taken in 0..4 {
        let mut samples =
            stream(Arc::clone(&mixture), options(&folder, 4), Position::start()).unwrap();
        assert_eq!(samples.by_ref().take(taken).count(), taken);
        drop(samples);
    }
    assert_eq!(Arc::strong_count(&mixture), 1, "every thread has let go of the mixture");
}

#[test]
fn contradicting_options_are_refused() {
    let (_keep, folder) = folder();
    let mixture = picture_mixture(&folder, 5, |_| false);
    let check = |change: &dyn Fn(&mut StreamOptions), expect: &str| {
        let mut options = options(&folder, 1);
        change(&mut options);
        let message =
            stream(Arc::clone(&mixture), options, Position::start()).err().unwrap().to_string();
        assert!(message.contains(expect), "{message}");
    };
    check(&|o| o.workers = 0, "workers must be at least 1");
    check(&|o| o.rank = 1, "rank must be below world");
    check(&|o| (o.world, o.lanes) = (2, 3), "lanes must be a multiple of world");
    check(&|o| (o.lanes, o.step_samples) = (2, 3), "step_samples must be a multiple of lanes");
    check(
        &|o| (o.world, o.lanes, o.step_samples) = (8, 8, 8),
        "the mixture has 5 samples, fewer than the 8",
    );
    check(&|o| o.balance = Some([1.0].into()), "balance must have one cost");
    check(
        &|o| (o.world, o.lanes, o.step_samples, o.bad.policy) = (2, 2, 2, BadSamplePolicy::Skip),
        "policy `skip` would leave ranks",
    );
}
