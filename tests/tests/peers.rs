//! Ranks under MPI: the same bits on every number of them, whatever ends them.

#![cfg(all(feature = "video", feature = "mpi"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xcomp_tests::{Ended, Task, kills, program, windows_config};
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::train::meter::Record;

/// Eight micro-batches a step in four lanes.
const SET: [&str; 3] =
    ["train.gradient_accumulation_steps=8", "train.lanes=4", "checkpoint.save_steps=2"];
const PATIENCE: Duration = Duration::from_mins(2);

/// What only Open MPI's `mpirun` asks for where there are more ranks than cores, as in a container.
fn launcher_arguments() -> &'static [&'static str] {
    static ARGUMENTS: LazyLock<&[&str]> = LazyLock::new(|| {
        let version = Command::new("mpirun").arg("--version").output().expect("an mpirun").stdout;
        let open_mpi = String::from_utf8_lossy(&version).contains("Open MPI");
        if open_mpi { &["--allow-run-as-root", "--oversubscribe"] } else { &[] }
    });
    &ARGUMENTS
}

/// `xcomp train` on `ranks` processes; 0 starts it without MPI.
fn command(task: &Task, run: &Path, ranks: usize, set: &[&str]) -> Command {
    let mut command = Command::new(if ranks == 0 { program() } else { "mpirun".into() });
    if ranks > 0 {
        command.args(launcher_arguments()).args(["-np", &ranks.to_string()]).arg(program());
    }
    command.arg("train").arg(task.path("recipe.toml")).arg("--out").arg(run);
    command.args(["--device", "cpu"]).env("RAYON_NUM_THREADS", "1");
    for set in SET.iter().chain(set) {
        command.args(["--set", set]);
    }
    if ranks > 0 {
        command.arg("--mpi");
    }
    command
}

/// Trains to the end; gives the hashes of everything that decides what comes next.
fn trained(task: &Task, name: &str, ranks: usize, set: &[&str]) -> BTreeMap<String, String> {
    let run = task.path(name);
    let ended = Ended::of(&mut command(task, &run, ranks, set));
    assert_eq!(ended.code, 0, "{name} on {ranks} ranks: {ended:?}");
    fingerprint(&run)
}

fn fingerprint(run: &Path) -> BTreeMap<String, String> {
    let files = ["model.safetensors", "optimizer.safetensors", "train_state.json"];
    let hash = |name: &str| size_and_sha256(&run.join("last").join(name)).unwrap().1;
    files.map(|name| (name.to_owned(), hash(name))).into()
}

fn records(run: &Path) -> Vec<Record> {
    let read = xcomp_train::run::metrics::read(&run.join("metrics.jsonl")).unwrap();
    read.records.into_values().collect()
}

/// Step, loss, gradient norm, samples, frames and the imbalance of lanes of every record, to the bit.
fn numbers(run: &Path) -> Vec<(usize, [u64; 5])> {
    let bits = |r: Record| {
        let imbalance = r.lane_imbalance.map_or(0, f64::to_bits);
        (r.step, [r.loss.to_bits(), r.grad_norm.to_bits(), r.samples, r.frames, imbalance])
    };
    records(run).into_iter().map(bits).collect()
}

/// Every number of ranks gives the bits of the run without MPI.
fn same_on_all(task: &Task, set: &[&str]) -> BTreeMap<String, String> {
    let tag = set.concat().replace(['/', '"'], "");
    let alone = trained(task, &format!("alone{tag}"), 0, set);
    for ranks in [1, 2, 4] {
        let name = format!("on-{ranks}{tag}");
        assert_eq!(alone, trained(task, &name, ranks, set), "{ranks} ranks, {set:?}");
        let of = |name: String| numbers(&task.path(&name));
        assert_eq!(of(format!("alone{tag}")), of(name), "{ranks} ranks, {set:?}");
    }
    alone
}

#[test]
fn one_two_and_four_ranks_end_with_the_same_bits() {
    let task = Task::folders();
    let four = same_on_all(&task, &[]);
    // The lanes decide numbers: the test can tell another order of additions.
    let one = trained(&task, "one-lane", 0, &["train.lanes=1"]);
    assert_ne!(four["model.safetensors"], one["model.safetensors"]);
    let spent = |name: &str| records(&task.path(name)).into_iter().map(|record| record.exchange);
    assert!(spent("alone").chain(spent("on-1")).all(|spent| spent.is_none()));
    for spent in spent("on-2").chain(spent("on-4")) {
        let spent = spent.expect("ranks exchange in every step");
        assert!(spent.wait_s > 0.0 && spent.reduce_s > 0.0 && spent.gather_s > 0.0, "{spent:?}");
    }
    for set in [
        &[
            "train.per_device_batch_size=2",
            "train.gradient_accumulation_steps=4",
            "train.max_steps=3",
        ][..],
        &["train.accumulate_dtype=bf16", "train.max_steps=3"],
        &["train.recompute=layer", "train.max_steps=3"],
        &["tune.parts=[\"layers.2-4\", \"projector\"]", "train.max_steps=3"],
        &["tune.lora_rank=2", "tune.lora_dropout=0.25", "train.max_steps=3"],
        &["data.validation_mixture=mixture.yaml", "eval.samples=7", "train.max_steps=3"],
    ] {
        same_on_all(&task, set);
    }
}

/// Long samples are spread over the lanes: other bits than in turn, the same on every number of ranks.
#[test]
fn balanced_lanes_end_with_the_same_bits_on_all_ranks() {
    let task = Task::folders();
    let steps = "train.max_steps=4";
    let in_turn = trained(&task, "in-turn", 0, &[steps]);
    let balanced = same_on_all(&task, &["train.balance=true", steps]);
    assert_ne!(in_turn["model.safetensors"], balanced["model.safetensors"]);
    let most = |name: &str| -> f64 {
        records(&task.path(name)).iter().map(|record| record.lane_imbalance.unwrap()).sum()
    };
    let (before, after) = (most("in-turn"), most("alonetrain.balance=truetrain.max_steps=4"));
    assert!(after < before, "{after} is not below {before}");
}

/// Two films and two pictures, which every mixture shuffles alike: in turn one of two lanes has both films.
#[test]
fn a_plan_says_what_balance_gains() {
    let task = Task::folders();
    let read = |name: &str| -> Vec<Value> {
        serde_json::from_str(&std::fs::read_to_string(task.path(name)).unwrap()).unwrap()
    };
    let (films, pictures) = (read("folders.json"), read("pictures.json"));
    let four = [&films[0], &pictures[0], &pictures[1], &films[1]];
    task.write("folders.json", &json!(four).to_string());
    let mixture = std::fs::read_to_string(task.path("mixture.yaml")).unwrap();
    let (_, films) = mixture.split_once("  - json_path: folders.json").unwrap();
    task.write("mixture.yaml", &format!("datasets:\n  - json_path: folders.json{films}"));
    let set = ["train.gradient_accumulation_steps=4", "train.lanes=2", "data.order=sequential"];
    let set = set.iter().flat_map(|set| ["--set", *set]);
    let plan: Vec<&str> = ["plan", "recipe.toml"].into_iter().chain(set).collect();
    let told = task.run(&[&plan[..], &["--format", "json"]].concat());
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let mean = |way: &str| told["lanes"][way]["mean"].as_f64().unwrap();
    assert_eq!(told["lanes"]["lanes"], 2);
    assert!(mean("in_turn") > 1.5 && mean("by_cost") < 1.1, "{told}");
    let text = task.run(&plan).stdout;
    assert!(text.contains("lanes        2: the costliest of a step takes"), "{text}");
}

/// Ratios are drawn for each sample by its number, whichever rank takes it.
#[test]
fn a_model_that_reads_in_windows_has_the_same_bits_on_all_ranks() {
    let task = Task::folders();
    let read = |name: &str| std::fs::read_to_string(task.path(name)).unwrap();
    task.write("windows.json", &windows_config(&read("config.json")).to_string());
    let films: Vec<Value> = serde_json::from_str(&read("folders.json")).unwrap();
    task.write("films.json", &json!(vec![films; 4].concat()).to_string());
    task.write(
        "mixture.yaml",
        "datasets:\n  - json_path: films.json\n    data_root: media\n    video_read_type: img\n",
    );
    let set = [
        "model.config=windows.json",
        "compression.schedule=none",
        "data.clip_frames=1",
        "vst.ratios=[2,4]",
        "train.max_steps=3",
    ];
    same_on_all(&task, &[&set[..], &["vst.backward=windows"]].concat());
}

/// Every second sample is text alone: on the second of two ranks the projector has no gradient at all.
#[test]
fn a_rank_whose_samples_show_nothing_changes_no_bit() {
    let task = Task::folders();
    let config = json!({
        "architectures": ["LlavaQwenForCausalLM"], "vocab_size": 512, "hidden_size": 16,
        "intermediate_size": 32, "num_hidden_layers": 9, "num_attention_heads": 2,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "hidden_act": "silu",
        "tie_word_embeddings": false, "mm_vision_tower": "google/siglip-tiny",
        "mm_projector_type": "mlp2x_gelu", "mm_patch_merge_type": "spatial_unpad",
        "mm_newline_position": "grid", "mm_spatial_pool_mode": "bilinear",
        "vision_config": {"image_size": 32, "patch_size": 6, "hidden_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    });
    task.write("config.json", &config.to_string());
    let record = |at: usize| {
        let (shown, tag) = if at.is_multiple_of(2) {
            (json!(format!("picture_{at}.png")), "<image>\n")
        } else {
            (Value::Null, "")
        };
        let says = |from: &str, value: String| json!({"from": from, "value": value});
        let turns =
            [says("human", format!("{tag}What colour is it?")), says("gpt", "It is red.".into())];
        let mut record = json!({"id": at.to_string(), "conversations": turns});
        if at.is_multiple_of(2) {
            record["image"] = shown;
        }
        record
    };
    task.write("mixed.json", &(0..8).map(record).collect::<Value>().to_string());
    task.write("mixture.yaml", "datasets:\n  - json_path: mixed.json\n    data_root: media\n");
    let set = [
        "data.order=sequential",
        "data.clip_frames=1",
        "data.min_frames=1",
        "data.fps=1.0",
        "compression.schedule=cosine_full_first",
        "train.lanes=2",
        "train.gradient_accumulation_steps=2",
        "train.max_steps=4",
    ];
    let alone = trained(&task, "alone", 0, &set);
    for ranks in [1, 2] {
        assert_eq!(alone, trained(&task, &format!("on-{ranks}"), ranks, &set), "{ranks} ranks");
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let task = Task::folders();
    let keep = ["checkpoint.save_total_limit=0"];
    let whole = trained(&task, "whole", 0, &keep);
    trained(&task, "parts", 2, &keep);
    let parts = task.path("parts");
    for (from, ranks) in [(4, 4), (2, 0), (4, 1), (2, 4)] {
        for newer in (from + 2..=6).step_by(2) {
            std::fs::remove_dir_all(parts.join(format!("checkpoint-{newer}"))).unwrap();
        }
        let ended = Ended::of(&mut command(&task, &parts, ranks, &keep));
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains(&format!("goes on after step {from}")), "{ended:?}");
        assert_eq!(whole, fingerprint(&parts), "from step {from} on {ranks} ranks");
    }
}

#[test]
fn ranks_that_cannot_share_the_lanes_are_refused() {
    let task = Task::folders();
    let ended = Ended::of(&mut command(&task, &task.path("run"), 3, &[]));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("lanes = 4 cannot be shared by 3 ranks"), "{ended:?}");
    let ended = Ended::of(&mut command(&task, &task.path("run"), 0, &["train.lanes=3"]));
    assert!(ended.stderr.contains("[train] lanes: 3 is no power of two"), "{ended:?}");
}

/// The picture of one sample is none: its rank alone finds it, and all end with its exit code and its message.
#[test]
fn a_rank_that_fails_alone_ends_all_with_its_exit_code() {
    let task = Task::folders();
    std::fs::write(task.path("media/picture_3.png"), "no picture").unwrap();
    let set = ["data.on_broken=\"stop\"", "train.max_steps=30"];
    let ended = Ended::of(&mut command(&task, &task.path("run"), 2, &set));
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("picture_3"), "{ended:?}");
}

/// A job that is running, and its ranks.
struct Job {
    launcher: Child,
    run: PathBuf,
    said: PathBuf,
}

impl Job {
    fn start(task: &Task, run: &Path, set: &[&str]) -> Self {
        Self::of(task, run, command(task, run, 2, set))
    }

    fn of(task: &Task, run: &Path, mut command: Command) -> Self {
        let said = task.path("stderr.txt");
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&said).unwrap());
        Self { launcher: command.spawn().unwrap(), run: run.to_owned(), said }
    }

    /// Waits until so many steps have been recorded, or the job has ended.
    fn until_step(&mut self, step: usize) {
        let begun = Instant::now();
        let steps = |run: &Path| {
            std::fs::read_to_string(run.join("metrics.jsonl"))
                .map_or(0, |text| text.lines().count())
        };
        while steps(&self.run) < step && self.launcher.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "no step {step}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to one of the ranks.
    fn signal(&self, signal: &str, rank: usize) {
        if let Some(process) = self.ranks().get(rank) {
            let _ = Command::new("kill").args([signal, process]).status().unwrap();
        }
    }

    /// Processes at the bottom: some launchers start others that start the ranks.
    fn ranks(&self) -> Vec<String> {
        let below = |parents: &[String]| -> Vec<String> {
            let found = Command::new("pgrep").args(["-P", &parents.join(",")]).output();
            let found = String::from_utf8(found.unwrap().stdout).unwrap();
            found.lines().map(str::to_owned).collect()
        };
        let mut level = below(&[self.launcher.id().to_string()]);
        loop {
            match below(&level) {
                children if level.is_empty() || children.is_empty() => return level,
                children => level = children,
            }
        }
    }

    fn end(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.launcher.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the job does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The rate is constant, so that a run which is stopped long before its end has the bits of a run of as many steps.
#[test]
fn a_signal_to_one_rank_stops_all_between_steps() {
    let task = Task::folders();
    let set = [
        "schedule.lr_scheduler_type=constant",
        "schedule.warmup_ratio=0.0",
        "checkpoint.save_steps=0",
    ];
    let hashes = |run: &Path| {
        let mut hashes = fingerprint(run);
        hashes.remove("train_state.json"); // which states the steps of the whole run
        hashes
    };
    for signal in ["-TERM", "-USR1"] {
        let run = task.path(&format!("stopped{signal}"));
        let mut job = Job::start(&task, &run, &[&set[..], &["train.max_steps=1000000"]].concat());
        job.until_step(2);
        job.signal(signal, 1);
        assert_eq!(job.end().code(), Some(75), "{signal}");
        let stopped = numbers(&run).last().unwrap().0;
        let steps = format!("train.max_steps={stopped}");
        let name = format!("alone{signal}");
        trained(&task, &name, 0, &[&set[..], &[&steps]].concat());
        assert_eq!(hashes(&run), hashes(&task.path(&name)), "{signal} at step {stopped}");
    }
}

/// A rank that is stopped answers nobody: the other ends the job, and says why.
#[test]
fn a_rank_that_hangs_ends_the_job() {
    let task = Task::folders();
    let run = task.path("hangs");
    let mut command = command(&task, &run, 2, &["train.max_steps=1000000"]);
    command.args(["--patience", "10s"]); // a busy machine is no hung rank
    let mut job = Job::of(&task, &run, command);
    job.until_step(2);
    job.signal("-STOP", 1);
    let said = job.said.clone();
    assert_eq!(job.end().code(), Some(6));
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.contains("rank 0 has waited 10s for the other ranks"), "{said}");
}

/// Ranks are killed at moments that wander through steps and saves; the same command always goes on, and ends with the same bits.
#[test]
fn killed_ranks_take_the_others_along_and_the_run_goes_on() {
    let task = Task::folders();
    let set = ["train.max_steps=40"];
    let whole = trained(&task, "whole", 0, &set);
    let run = task.path("killed");
    let most = kills().div_ceil(4);
    let mut seed = 7_u64;
    for kill in 0..most {
        let mut job = Job::start(&task, &run, &set);
        job.until_step(1 + kill % 7);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((seed >> 33) % 60_000));
        job.signal("-KILL", kill % 2);
        job.end();
    }
    assert_eq!(whole, trained(&task, "killed", 2, &set));
}
