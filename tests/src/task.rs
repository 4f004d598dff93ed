//! A whole task made by code: media, annotations, tokenizer, configuration, recipe; small enough for many runs in a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use xcomp_model::base::config::FAMILIES;
use xcomp_train::demo::bpe::write_tokenizer;
use xcomp_train::recipe::Recipe;

/// Colours of the media, which are also the answers.
const COLOURS: [(&str, [u8; 3]); 3] =
    [("red", [200, 20, 20]), ("green", [20, 200, 20]), ("blue", [20, 20, 200])];

/// A folder with everything that a run needs; it is removed when dropped.
#[derive(Debug)]
pub struct Task {
    folder: tempfile::TempDir,
}

impl Task {
    /// Eight pictures of 64 pixels in four colours; the recipe takes four steps.
    ///
    /// # Panics
    /// If the disk refuses.
    pub fn pictures() -> Self {
        const SIDE: u32 = 64;
        let task = Self::with_folder("pictures");
        let words = ["red", "green", "blue", "white"];
        let picture = |index: usize| {
            let name = format!("{index}.png");
            striped(index, SIDE).save(task.path("pictures").join(&name)).expect("a picture");
            let answer = words[index % words.len()];
            json!({
                "id": format!("picture-{index}"), "image": name,
                "conversations": turns("Which colour is it?", answer),
            })
        };
        task.write("train.json", &(0..8).map(picture).collect::<Value>().to_string());
        task.write("mixture.yaml", PICTURES);
        task.write("config.json", &config(SIDE, 16, 32).to_string());
        task.write_tokenizer(&["Which colour is it?", "red green blue white"]);
        task.write("recipe.toml", &recipe(4, 0.0));
        task
    }

    /// Nine pictures and three folders of 16 frames, of 32 pixels and one colour each; the recipe takes six steps.
    ///
    /// # Panics
    /// If the disk refuses.
    pub fn folders() -> Self {
        const SIDE: u32 = 32;
        let task = Self::with_folder("media");
        let write = |name: &str, colour: usize, shade: usize| {
            plain(colour, shade, SIDE).save(task.path("media").join(name)).expect("a picture");
        };
        let record = |kind: &str, name: String, index: usize| {
            let turns = turns("What colour is it?", &format!("It is {}.", COLOURS[index % 3].0));
            json!({"id": name, kind: name, "conversations": turns})
        };
        let picture = |index: usize| {
            let name = format!("picture_{index}.png");
            write(&name, index % 3, index);
            record("image", name, index)
        };
        let folder = |index: usize| {
            let name = format!("folder_{index}");
            fs::create_dir(task.path("media").join(&name)).expect("a folder of frames");
            (0..16).for_each(|at| write(&format!("{name}/frame_{at}.png"), index % 3, at));
            record("video", name, index)
        };
        task.write("pictures.json", &(0..9).map(picture).collect::<Value>().to_string());
        task.write("folders.json", &(0..3).map(folder).collect::<Value>().to_string());
        task.write("mixture.yaml", FOLDERS);
        task.write("config.json", &config(SIDE, 4, 16).to_string());
        let texts = COLOURS.map(|(name, _)| format!("What colour is it? It is {name}."));
        task.write_tokenizer(&texts);
        task.write("recipe.toml", &recipe(6, 0.1));
        task
    }

    /// [`Task::pictures`] with its model after one step, exported to the folder `model`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn tuned() -> Self {
        let task = Self::pictures();
        let train = ["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"];
        for arguments in [&train[..], &["export", "base", "model"]] {
            let ended = task.run(arguments);
            assert_eq!(ended.code, 0, "{ended:?}");
        }
        task
    }

    fn with_folder(media: &str) -> Self {
        let task = Self { folder: tempfile::tempdir().expect("a folder for the task") };
        fs::create_dir(task.path(media)).expect("a folder for media");
        task
    }

    fn write_tokenizer(&self, texts: &[impl ToString]) {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        write_tokenizer(&self.path("tokenizer.json"), &texts, FAMILIES[0], 400)
            .expect("a tokenizer");
    }

    /// Trains the folder's recipe with these keys as the program does; loss and gradient norm of every step.
    ///
    /// # Panics
    /// If the run does not end as it should.
    pub fn trained(&self, out: &str, set: &[&str]) -> Vec<[f64; 2]> {
        let set = set.iter().flat_map(|set| ["--set", *set]);
        let arguments: Vec<&str> =
            ["train", "recipe.toml", "--out", out].into_iter().chain(set).collect();
        let ended = self.run(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        self.losses(out)
    }

    /// Loss and gradient norm of every step that a run in the folder has told.
    ///
    /// # Panics
    /// If its records cannot be read.
    pub fn losses(&self, run: &str) -> Vec<[f64; 2]> {
        let lines = fs::read_to_string(self.path(run).join("metrics.jsonl")).expect("records");
        let record = |line: &str| {
            let record: Value = serde_json::from_str(line).expect("a record");
            ["loss", "grad_norm"].map(|key| record[key].as_f64().expect("a number"))
        };
        lines.lines().map(record).collect()
    }

    /// A path inside the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes or replaces a text file.
    ///
    /// # Panics
    /// If the disk refuses.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the task");
    }

    /// Its recipe, with keys overridden.
    ///
    /// # Panics
    /// If the recipe is wrong.
    pub fn recipe(&self, set: &[&str]) -> Recipe {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        Recipe::load(&self.path("recipe.toml"), &set).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs the program under test in the folder.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(Command::new(program()).args(arguments).current_dir(self.folder.path()))
    }
}

/// The program under test, which cargo builds beside the folder of the tests.
///
/// # Panics
/// If the test does not lie where cargo puts it.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in a folder of their own");
    folder.join("xcomp-under-test")
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

fn turns(question: &str, answer: &str) -> Value {
    json!([
        {"from": "human", "value": format!("<image>\n{question}")},
        {"from": "gpt", "value": answer},
    ])
}

/// Stripes of a colour and a brightness of its own for each `index`.
fn striped(index: usize, side: u32) -> RgbImage {
    let level = 255 - 20 * (index / 4) as u8;
    let colour = [[level, 0, 0], [0, level, 0], [0, 0, level], [level; 3]][index % 4];
    RgbImage::from_fn(side, side, |x, y| Rgb(if (x + y) % 16 < 12 { colour } else { [40; 3] }))
}

/// One colour, slightly different for every `shade`.
fn plain(colour: usize, shade: usize, side: u32) -> RgbImage {
    let [r, g, b] = COLOURS[colour].1;
    RgbImage::from_pixel(side, side, Rgb([r, g, b.saturating_add(shade as u8)]))
}

/// A model of the released shape with a small tower, `tokens` of a frame and 9 layers of `width`.
fn config(side: u32, tokens: usize, width: usize) -> Value {
    json!({
        "architectures": ["LlavaQwenForCausalLM"], "model_type": "qwen2", "vocab_size": 512,
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 9,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
        "rope_theta": 1e6, "tie_word_embeddings": true, "mm_hidden_size": 16,
        "mm_vision_select_layer": -2, "mm_local_num_frames": 8, "mm_vision_tower": "tiny",
        "mm_projector_type": format!("tome{tokens}_mlp_hd64"),
        "vision_config": {
            "image_size": side, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 32,
        },
    })
}

const PICTURES: &str = "datasets:
  - json_path: train.json
    data_root: pictures
    media_type: image
";

const FOLDERS: &str = "datasets:
  - json_path: pictures.json
    data_root: media
  - json_path: folders.json
    data_root: media
    video_read_type: img
";

fn recipe(max_steps: usize, warmup_ratio: f64) -> String {
    format!(
        r#"[model]
init = "random"
config = "config.json"
tokenizer = "tokenizer.json"

[data]
mixture = "mixture.yaml"
min_frames = 8
max_frames = 16
workers = 1
prefetch_mib = 16

[tune]
parts = ["llm", "projector"]

[optimizer]
learning_rate = 1e-2

[schedule]
warmup_ratio = {warmup_ratio}

[train]
max_steps = {max_steps}
gradient_accumulation_steps = 2

[checkpoint]
save_steps = 2
save_total_limit = 2
export_dtype = "f32"

[log]
tensorboard = false
"#
    )
}
