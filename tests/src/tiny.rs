//! A whole task made by code: pictures, frame folders, tokenizer, sizes and recipe, small enough for many runs in a test.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use xcomp_data::Frames;
use xcomp_data::report::{contact_sheet, write_png};
use xcomp_train::demo::bpe::write_tokenizer;
use xcomp_train::recipe::Recipe;

/// Samples that are pictures.
const PICTURES: usize = 9;
/// Samples that are folders of frames.
const FOLDERS: usize = 3;
/// Frames of a folder.
const FRAMES: usize = 16;
/// Pixels per side.
const SIDE: usize = 32;
const COLOURS: [(&str, [u8; 3]); 3] =
    [("red", [200, 20, 20]), ("green", [20, 200, 20]), ("blue", [20, 20, 200])];

/// The folder of a tiny task.
#[derive(Debug)]
pub struct Tiny {
    folder: tempfile::TempDir,
}

impl Default for Tiny {
    fn default() -> Self {
        Self::new()
    }
}

impl Tiny {
    /// Draws and writes everything.
    ///
    /// # Panics
    /// If the disk refuses.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the task");
        let tiny = Self { folder };
        tiny.write_media();
        let texts: Vec<String> =
            COLOURS.iter().map(|(name, _)| format!("What colour is it? It is {name}.")).collect();
        write_tokenizer(&tiny.path("tokenizer.json"), &texts, 400).expect("a tokenizer");
        tiny.write("config.json", &config().to_string());
        tiny.write("mixture.yaml", MIXTURE);
        tiny.write("recipe.toml", RECIPE);
        tiny
    }

    /// A file of the task.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its recipe, with keys overridden.
    ///
    /// # Panics
    /// If the recipe is wrong.
    pub fn recipe(&self, set: &[&str]) -> Recipe {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        Recipe::load(&self.path("recipe.toml"), &set).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Replaces a file of the task.
    ///
    /// # Panics
    /// If the disk refuses.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the task");
    }

    fn write_media(&self) {
        let turns = |index: usize| {
            json!([
                {"from": "human", "value": "<image>\nWhat colour is it?"},
                {"from": "gpt", "value": format!("It is {}.", COLOURS[index % 3].0)},
            ])
        };
        fs::create_dir_all(self.path("media")).expect("a folder for media");
        let mut pictures = vec![];
        for index in 0..PICTURES {
            let name = format!("picture_{index}.png");
            write_colour(&self.path("media").join(&name), index % 3, index);
            pictures.push(json!({"id": name, "image": name, "conversations": turns(index)}));
        }
        let mut folders = vec![];
        for index in 0..FOLDERS {
            let name = format!("folder_{index}");
            let folder = self.path("media").join(&name);
            fs::create_dir_all(&folder).expect("a folder of frames");
            for frame in 0..FRAMES {
                write_colour(&folder.join(format!("frame_{frame}.png")), index % 3, frame);
            }
            folders.push(json!({"id": name, "video": name, "conversations": turns(index)}));
        }
        self.write("pictures.json", &json!(pictures).to_string());
        self.write("folders.json", &json!(folders).to_string());
    }
}

/// A picture of one colour, slightly different for every `shade`.
fn write_colour(path: &Path, colour: usize, shade: usize) {
    let [r, g, b] = COLOURS[colour].1;
    let pixel = [r, g, b.saturating_add(shade as u8)];
    let pixels = pixel.repeat(SIDE * SIDE);
    let frames = Frames { pixels, count: 1, size: SIDE };
    write_png(path, &contact_sheet([&frames], 1, SIDE)).expect("a picture of the task");
}

fn config() -> serde_json::Value {
    json!({
        "architectures": ["LlavaQwenForCausalLM"], "model_type": "qwen2",
        "vocab_size": 512, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 9,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
        "rope_theta": 1e6, "tie_word_embeddings": true, "mm_hidden_size": 16,
        "mm_vision_select_layer": -2, "mm_local_num_frames": 8,
        "mm_projector_type": "tome4_mlp_hd64", "mm_vision_tower": "tiny",
        "vision_config": {
            "image_size": SIDE, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 32,
        },
    })
}

const MIXTURE: &str = "datasets:
  - json_path: pictures.json
    data_root: media
  - json_path: folders.json
    data_root: media
    video_read_type: img
";

const RECIPE: &str = r#"[model]
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
warmup_ratio = 0.1

[train]
max_steps = 6
gradient_accumulation_steps = 2

[checkpoint]
save_steps = 2
save_total_limit = 2
export_dtype = "f32"

[log]
tensorboard = false
"#;
