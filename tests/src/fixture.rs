//! A tiny run made by code: pictures, annotations, tokenizer, configuration, recipe.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

/// Number of pictures and records.
const RECORDS: usize = 8;
/// Pixels per side of a picture.
const SIZE: u32 = 64;

/// A folder with everything that a run needs; it is removed when dropped.
pub struct TinyRun {
    folder: tempfile::TempDir,
}

impl TinyRun {
    /// Writes the material.
    ///
    /// # Panics
    /// If it cannot be written.
    #[expect(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let run = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(run.path("pictures")).expect("a folder of pictures");
        let words = ["red", "green", "blue", "white"];
        let records: Vec<_> = (0..RECORDS)
            .map(|index| {
                let name = format!("{index}.png");
                picture(&run.path("pictures").join(&name), index);
                json!({
                    "id": format!("picture-{index}"),
                    "image": name,
                    "conversations": [
                        { "from": "human", "value": "<image>\nWhich colour is it?" },
                        { "from": "gpt", "value": words[index % words.len()] },
                    ],
                })
            })
            .collect();
        run.write("train.json", &serde_json::to_string(&records).expect("records are JSON"));
        run.write("mixture.yaml", "datasets:\n  - json_path: train.json\n    data_root: pictures\n    media_type: image\n");
        run.write("config.json", &config().to_string());
        let texts: Vec<String> =
            ["Which colour is it?", "red green blue white"].map(String::from).to_vec();
        xcomp_train::demo::bpe::write_tokenizer(&run.path("tokenizer.json"), &texts, 400)
            .expect("a tokenizer");
        run.write("recipe.toml", RECIPE);
        run
    }

    /// Also its model after one step, exported to the folder `model` by `program`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn tuned(program: &str) -> Self {
        let run = Self::new();
        for arguments in [
            &["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"][..],
            &["export", "base", "model"],
        ] {
            let ended = run.run(program, arguments);
            assert_eq!(ended.code, 0, "{ended:?}");
        }
        run
    }

    /// A path inside the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a text file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the fixture");
    }

    /// Runs a program in the folder.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Ended {
        Ended::of(Command::new(program).args(arguments).current_dir(self.folder.path()))
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed as a result.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Ended {
    /// Runs a program to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// Each picture has a colour and a brightness of its own.
fn picture(path: &Path, index: usize) {
    let level = 255 - 20 * (index / 4) as u8;
    let colour = [[level, 0, 0], [0, level, 0], [0, 0, level], [level; 3]][index % 4];
    image::RgbImage::from_fn(SIZE, SIZE, |x, y| {
        image::Rgb(if (x + y) % 16 < 12 { colour } else { [40; 3] })
    })
    .save(path)
    .expect("a picture of the fixture");
}

/// A model of the released shape with a tower for 64 pixels and 9 narrow layers.
fn config() -> serde_json::Value {
    json!({
        "model_type": "qwen2", "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 9, "num_attention_heads": 2, "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true,
        "mm_vision_tower": "tiny", "mm_vision_select_layer": -2, "mm_hidden_size": 16,
        "mm_projector_type": "tome16_mlp_hd64", "mm_local_num_frames": 8,
        "vision_config": {
            "image_size": SIZE, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 1, "intermediate_size": 32,
        },
    })
}

const RECIPE: &str = r#"
[model]
init = "random"
config = "config.json"
tokenizer = "tokenizer.json"

[data]
mixture = "mixture.yaml"
workers = 1

[tune]
parts = ["llm", "projector"]

[optimizer]
learning_rate = 1e-2

[train]
max_steps = 4
gradient_accumulation_steps = 2

[checkpoint]
save_steps = 2
export_dtype = "f32"
"#;
