//! A task with more than one of everything, to see what keys of a recipe change.

use std::fs;

use serde_json::{Value, json};
use xcomp_model::base::config::FAMILIES;
use xcomp_train::demo::bpe::write_tokenizer;

use crate::{Task, windows_config};

/// [`Task::folders`] with another of everything that a key of its recipe can name.
///
/// # Panics
/// If it cannot be made.
pub fn varied() -> Task {
    let task = Task::folders();
    let read = |name: &str| fs::read_to_string(task.path(name)).unwrap();
    task.write("other.json", &read("config.json").replace("1e-6", "1e-3").replace("1e-06", "1e-3"));
    // So many tokens that the last round of merging leaves some alone: only then is there an order to choose.
    task.write("three.json", &read("config.json").replace("tome4", "tome3"));
    task.write("windows.json", &windows_config(&read("config.json")).to_string());
    let texts = ["It is red.".into()];
    write_tokenizer(&task.path("other_tokenizer.json"), &texts, FAMILIES[0], 400).unwrap();
    let mixture = |name: &str, annotation: &str| {
        let text = format!(
            "datasets:\n  - json_path: {annotation}\n    data_root: media\n    video_read_type: img\n"
        );
        task.write(name, &text);
    };
    mixture("folders.yaml", "folders.json");
    let pictures: Vec<Value> = serde_json::from_str(&read("pictures.json")).unwrap();
    let changed = |name: &str, change: &dyn Fn(usize, &mut Value)| {
        let mut records = pictures.clone();
        records.iter_mut().enumerate().for_each(|(at, record)| change(at, record));
        task.write(&format!("{name}.json"), &json!(records).to_string());
        mixture(&format!("{name}.yaml"), &format!("{name}.json"));
    };
    changed("outside", &|at, record| {
        if at % 2 == 0 {
            record["image"] = json!(format!("../media/picture_{at}.png"));
        }
    });
    changed("system", &|at, record| {
        if at % 2 == 0 {
            let turns = record["conversations"].as_array_mut().unwrap();
            turns.insert(0, json!({"from": "system", "value": "Be brief."}));
        }
    });
    let whole = fs::read(task.path("media/picture_0.png")).unwrap();
    fs::write(task.path("media/cut.png"), &whole[..whole.len() - 30]).unwrap();
    changed("cut", &|at, record| {
        if at % 4 == 1 {
            record["image"] = json!("cut.png");
        }
    });
    changed("half", &|at, record| {
        if at % 2 == 1 {
            record["image"] = json!("gone.png");
        }
    });
    for word in ["red", "green"] {
        let many = json!([word; 12].join(" "));
        changed(word, &|_, record| record["conversations"][1]["value"] = many.clone());
    }
    let record = |turns: &Value| json!([{"id": "noise", "video": "noise", "conversations": turns}]);
    let turns = record(&pictures[0]["conversations"]).to_string();
    task.write("noise.json", &format!("{},{}", &turns[..turns.len() - 1], &turns[1..]));
    mixture("noise.yaml", "noise.json");
    for film in ["media/noise", "other_media", "other_media/folder_0", "other_media/folder_1"] {
        fs::create_dir(task.path(film)).unwrap();
    }
    for at in 0..16_u32 {
        let noise =
            |x: u32, y: u32| (x + 32 * y + 1024 * at).wrapping_mul(2_654_435_761).to_be_bytes();
        let frame =
            image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([0, 1, 2].map(|c| noise(x, y)[c])));
        let films = ["media/noise", "other_media/folder_0", "other_media/folder_1"];
        for film in &films[..if at < 8 { 3 } else { 1 }] {
            frame.save(task.path(&format!("{film}/frame_{at}.png"))).unwrap();
        }
    }
    let question = |at: usize, asked: &str| {
        json!({"video": format!("folder_{at}"), "question": asked, "question_type": "colour",
            "candidates": ["(A) red", "(B) green", "(C) blue"], "answer": "(A) red"})
    };
    let questions = |asked: &str| json!([question(0, asked), question(1, asked)]).to_string();
    task.write("questions.json", &questions("What colour is it?"));
    task.write("other_questions.json", &questions("It is what colour?"));
    let subtitled = json!([{"video_path": "folder_0", "question": "What colour is it?",
        "candidates": ["red", "green"], "correct_choice": 0, "question_category": "T", "duration": 16,
        "subtitle_path": "says.json", "starting_timestamp_for_subtitles": 0}]);
    task.write("subtitled.json", &subtitled.to_string());
    task.write(
        "media/says.json",
        &json!([{"timestamp": [0.5, 9.5], "text": "It is red."}]).to_string(),
    );
    for (out, annotation) in [("base", "red.yaml"), ("other_base", "green.yaml")] {
        let mixture = format!("data.mixture={annotation}");
        let taught = [
            mixture.as_str(),
            "optimizer.learning_rate=0.03",
            "schedule.warmup_ratio=0",
            "train.max_steps=60",
            "tune.labels=answers",
        ];
        let set = taught.iter().flat_map(|set| ["--set", *set]);
        let train: Vec<&str> =
            ["train", "recipe.toml", "--out", "made"].into_iter().chain(set).collect();
        for arguments in [&train[..], &["export", "made", out]] {
            let ended = task.run(arguments);
            assert_eq!(ended.code, 0, "{ended:?}");
        }
        fs::remove_dir_all(task.path("made")).unwrap();
    }
    task
}
