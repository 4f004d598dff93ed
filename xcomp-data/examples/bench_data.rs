//! One measurement of the data path, as a line of JSON; `scripts/bench-data.py` runs it beside other decoders.
//!
//! `bench_data frames FILE COUNT THREADS [sequential]`: decodes and resizes COUNT frames in each of THREADS threads.
//! `bench_data pictures FOLDER ROUNDS`: decodes every picture of FOLDER, ROUNDS times in one thread, without resizing.
//! `bench_data memory MIXTURE TOKENIZER SAMPLES`: streams samples and prints the memory held on the way.
#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;
use sha2::{Digest, Sha256};
use xcomp_data::frames::dynamic_fps;
use xcomp_data::media::decode::Video;
use xcomp_data::media::picture::read_picture;
use xcomp_data::resize::{Resize, Resizer};
use xcomp_data::{
    FrameOptions, Limits, LoadOptions, Mixture, MixtureOptions, Position, StreamOptions, Tokenizer,
    Truncated, Watch, stream,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Side of the frames, in pixels.
const SIZE: usize = 448;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["frames", file, count, threads] => {
            frames(Path::new(file), count.parse()?, threads.parse()?, true)
        }
        ["frames", file, count, threads, "sequential"] => {
            frames(Path::new(file), count.parse()?, threads.parse()?, false)
        }
        ["pictures", folder, rounds] => pictures(Path::new(folder), rounds.parse()?),
        ["memory", mixture, tokenizer, samples] => {
            memory(Path::new(mixture), Path::new(tokenizer), samples.parse()?)
        }
        _ => Err("see the head of bench_data.rs for its arguments".into()),
    }
}

fn frames(file: &Path, count: usize, threads: usize, jump: bool) -> Result<(), Failure> {
    let (started, before) = (Instant::now(), cpu_seconds()?);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let file = file.to_owned();
            std::thread::spawn(move || read(&file, count, jump))
        })
        .collect();
    let mut pixels = Vec::new();
    for worker in workers {
        pixels = worker.join().map_err(|_| "a thread panicked")??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds()? - before;
    let frames = (threads * pixels.len() / (3 * SIZE * SIZE)) as f64;
    let digest = xcomp_data::hash::hex(&Sha256::digest(&pixels)[..8]);
    println!("{}", json!({"fps": frames / seconds, "cpu_fps": frames / cpu, "pixels": digest}));
    Ok(())
}

fn read(file: &Path, count: usize, jump: bool) -> Result<Vec<u8>, Failure> {
    let watch = Watch::start(&Limits::default(), &Arc::new(AtomicBool::new(false)));
    let mut video = Video::open(file, None, watch)?.jump(jump);
    let options = FrameOptions { min_frames: count, max_frames: count, ..FrameOptions::default() };
    let wanted = dynamic_fps(video.index().frames, video.index().fps, &options);
    let mut pixels = Vec::with_capacity(wanted.len() * 3 * SIZE * SIZE);
    let mut resizer = Resizer::new(SIZE, SIZE, Resize::Exact);
    video.read(&wanted, &mut |picture| {
        resizer.resize_into(picture, &mut pixels);
        Ok(())
    })?;
    Ok(pixels)
}

fn pictures(folder: &Path, rounds: usize) -> Result<(), Failure> {
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    let (started, before) = (Instant::now(), cpu_seconds()?);
    let mut hasher = Sha256::new();
    for round in 0..rounds {
        for file in &files {
            let picture = read_picture(file, &Limits::default(), Truncated::Refuse)?;
            if round == 0 {
                hasher.update(&picture.pixels);
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let (count, cpu) = ((rounds * files.len()) as f64, cpu_seconds()? - before);
    let digest = xcomp_data::hash::hex(&hasher.finalize()[..8]);
    println!("{}", json!({"fps": count / seconds, "cpu_fps": count / cpu, "pixels": digest}));
    Ok(())
}

/// CPU time of all threads of this process.
fn cpu_seconds() -> Result<f64, Failure> {
    /// Linux counts in hundredths of a second there.
    const TICKS_PER_SECOND: f64 = 100.0;
    let line = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = line.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).map_or(Ok(0.0), |text| text.parse::<f64>());
    // Fields 14 and 15 of the line: user and system time; the first two lie before the bracket.
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Memory held now, in MB.
fn memory_mb() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? / 1000)
}

fn memory(mixture: &Path, tokenizer: &Path, samples: usize) -> Result<(), Failure> {
    let mut load = LoadOptions::new(Arc::new(Tokenizer::from_file(tokenizer)?));
    load.frames = FrameOptions { min_frames: 16, max_frames: 32, ..FrameOptions::default() };
    let mixture = Arc::new(Mixture::load(mixture, &MixtureOptions::default())?);
    let mut options = StreamOptions::new(load, 1);
    options.workers = 2;
    options.queue_bytes = 128 << 20;
    let started = Instant::now();
    let mut held = Vec::new();
    let mut samples_in_order = stream(mixture, options, Position::start())?;
    for (index, item) in samples_in_order.by_ref().take(samples).enumerate() {
        item?;
        if index % 50 == 49 {
            held.push(memory_mb());
        }
    }
    let meter = samples_in_order.meter();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"samples": meter.samples, "frames": meter.frames, "seconds": seconds, "queue_limit_mb": 134,
               "queue_peak_mb": meter.peak_bytes / 1_000_000, "held_mb_every_50_samples": held})
    );
    Ok(())
}
