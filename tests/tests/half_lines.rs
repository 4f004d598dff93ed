//! What a kill, a full disk or a lost machine leaves at the end of a file that grows, and a run that goes on behind it.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use xcomp_tests::Task;
use xcomp_train::machine::files::entries;

/// Trains six steps with a checkpoint each two, from where the folder stands.
fn train(task: &Task, set: &[&str]) {
    let set = set.iter().flat_map(|key| ["--set", key]);
    let arguments = ["train", "recipe.toml", "--out", "run", "--set", "train.max_steps=6"];
    let ended = task.run(&arguments.into_iter().chain(set).collect::<Vec<_>>());
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// As a kill between two saves leaves a run: with nothing newer than step 4.
fn go_back(task: &Task) {
    fs::remove_dir_all(task.path("run/checkpoint-6")).unwrap();
}

fn values(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    let value = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(value).collect()
}

/// What becomes of the end of a file.
type End = fn(&mut Vec<u8>);

#[test]
fn every_line_is_whole_after_a_resume() {
    let task = Task::pictures();
    task.write("pictures/3.png", "no picture");
    // A name with a letter of two bytes, in the middle of which a file can end.
    let annotations = fs::read_to_string(task.path("train.json")).unwrap();
    task.write("train.json", &annotations.replace("picture-3", "bild-ä"));
    train(&task, &[]);
    let files = ["run/metrics.jsonl", "run/data/quarantine.jsonl"].map(|name| task.path(name));
    let ends: [(&str, End); 4] = [
        ("half a line", |bytes| bytes.truncate(bytes.len() - 40)),
        ("no line break", |bytes| bytes.truncate(bytes.len() - 1)),
        ("zeros", |bytes| bytes.extend([0; 100])),
        ("half a letter", |bytes| bytes.extend("{\"id\": \"bild-ä".bytes().take(14))),
    ];
    for (name, end) in ends {
        for file in &files {
            let mut bytes = fs::read(file).unwrap();
            end(&mut bytes);
            fs::write(file, bytes).unwrap();
        }
        go_back(&task);
        train(&task, &[]);
        let [records, events] = files.each_ref().map(|file| values(file));
        assert!(!events.is_empty(), "{name}");
        let last: Vec<_> =
            records.iter().rev().take(2).map(|record| record["step"].clone()).collect();
        assert_eq!(last, [6, 5], "{name}: the resumed steps are there");
    }
}

/// Lines in the middle that nobody wrote whole: whoever reads the records says so.
#[test]
fn broken_lines_are_told_by_every_reader() {
    let task = Task::pictures();
    train(&task, &[]);
    let path = task.path("run/metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1] = &lines[1][..40];
    lines.insert(3, "\0\0\0");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let told = "metrics.jsonl: 2 of its lines cannot be read and are left out (line 2, 4)";
    let verbs: [&[&str]; 6] = [
        &["runs", "."],
        &["compare", "run", "reference"],
        &["report", "run", "--samples", "2"],
        &["plan", "recipe.toml", "--measured", "run"],
        &["train", "recipe.toml", "--out", "run", "--set", "train.max_steps=6"],
        &["runs", ".", "--format", "json"],
    ];
    for verb in verbs {
        let ended = task.run(verb);
        assert_eq!(ended.code, 0, "{ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let counted = || {
            serde_json::from_str::<Value>(&ended.stdout).unwrap()[0]["broken_lines"]
                == serde_json::json!([2, 4])
        };
        assert!(said.contains(told) || (verb.contains(&"json") && counted()), "{verb:?}: {said}");
    }
}

/// A reader of event files as `TensorBoard` is: files by name, records until one is cut, overtaken points dropped.
fn points(run: &Path) -> BTreeMap<String, Vec<u64>> {
    let mut points = BTreeMap::<String, Vec<u64>>::new();
    for path in entries(run).unwrap() {
        if !path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents.") {
            continue;
        }
        for event in events(&fs::read(path).unwrap()) {
            let step = number(&event, 2);
            // `session_log`, its `status` START.
            if bytes(&event, 7).is_some_and(|log| number(&fields(&log), 1) == 1) {
                for steps in points.values_mut() {
                    steps.retain(|earlier| *earlier < step);
                }
            }
            // `summary`, its one `value`, its `tag`.
            let value = bytes(&event, 5).and_then(|summary| bytes(&fields(&summary), 1));
            if let Some(tag) = value.and_then(|value| bytes(&fields(&value), 1)) {
                points.entry(String::from_utf8(tag).unwrap()).or_default().push(step);
            }
        }
    }
    points
}

/// A field of a protocol buffer message: its number, and a number or bytes.
type Field = (u64, Result<u64, Vec<u8>>);

fn number(fields: &[Field], wanted: u64) -> u64 {
    let found = fields.iter().find(|(field, _)| *field == wanted);
    found.map_or(0, |(_, value)| value.clone().unwrap_or_default())
}

fn bytes(fields: &[Field], wanted: u64) -> Option<Vec<u8>> {
    fields.iter().find(|(field, _)| *field == wanted).and_then(|(_, value)| value.clone().err())
}

/// Length, its checksum, data, its checksum.
fn events(mut file: &[u8]) -> Vec<Vec<Field>> {
    let mut events = vec![];
    while let Some((head, rest)) = file.split_at_checked(12) {
        let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
        let Some((record, rest)) = rest.split_at_checked(length + 4) else { break };
        events.push(fields(&record[..length]));
        file = rest;
    }
    events
}

fn fields(mut message: &[u8]) -> Vec<Field> {
    let mut found = vec![];
    while !message.is_empty() {
        let key = varint(&mut message);
        if key.is_multiple_of(8) {
            found.push((key >> 3, Ok(varint(&mut message))));
            continue;
        }
        let length = match key % 8 {
            1 => 8,
            5 => 4,
            _ => varint(&mut message) as usize,
        };
        let (value, rest) = message.split_at(length);
        message = rest;
        found.push((key >> 3, Err(value.to_vec())));
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().expect("a number has an end");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return number;
        }
    }
}

#[test]
fn tensorboard_has_one_point_a_step_after_resumes() {
    let task = Task::pictures();
    let tensorboard = ["log.tensorboard=true"];
    train(&task, &tensorboard);
    let one_each = |when: &str| {
        let points = points(&task.path("run"));
        assert!(points.len() > 10 && points.contains_key("train/loss"), "{when}: {points:?}");
        // The words that a run is found again by are no curve.
        for (tag, steps) in points.into_iter().filter(|(tag, _)| tag != "run") {
            assert_eq!(steps, [1, 2, 3, 4, 5, 6], "{when}: {tag}");
        }
    };
    one_each("the first start");
    go_back(&task);
    train(&task, &tensorboard);
    one_each("a resume in the same second");

    let last = entries(&task.path("run")).unwrap();
    let last = last.iter().rfind(|path| path.to_string_lossy().contains("tfevents"));
    let whole = fs::read(last.unwrap()).unwrap();
    fs::write(last.unwrap(), &whole[..whole.len() - 7]).unwrap();
    go_back(&task);
    train(&task, &tensorboard);
    one_each("a resume behind half an event");

    // A kill before the first save: everything is done again.
    for name in ["checkpoint-4", "checkpoint-6"] {
        fs::remove_dir_all(task.path(&format!("run/{name}"))).unwrap();
    }
    train(&task, &tensorboard);
    one_each("a start from the beginning");
}
