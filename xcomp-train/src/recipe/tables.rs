//! Every key of a recipe, with its default: the only list of them.
//!
//! Words are those of Hugging Face's `TrainingArguments` and LLaVA wherever the meaning is the same.

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Problems};

/// Declares one table of the recipe: a struct, its defaults, its key names, and a reader that reports every bad value.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $kind:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$key_doc])* #[serde(skip_serializing_if = "Skip::skip")] pub $key: $kind,)* }

        impl $name {
            /// The keys of this table.
            pub const KEYS: &[&str] = &[$(stringify!($key)),*];

            /// Reads the table over the defaults; bad values become problems.
            pub(super) fn read(name: &'static str, values: &toml::Table, problems: &mut Problems) -> Self {
                let mut table = Self::default();
                $(if let Some(value) = values.get(stringify!($key)) {
                    match value.clone().try_into() {
                        Ok(value) => table.$key = value,
                        Err(error) => problems.push(Problem::value(name, stringify!($key), value, &error)),
                    }
                })*
                table
            }
        }

        impl Default for $name {
            fn default() -> Self { Self { $($key: $default,)* } }
        }
    };
}

/// Whether a value has nothing to write into the resolved recipe.
trait Skip {
    fn skip(&self) -> bool {
        false
    }
}
impl Skip for String {}
impl Skip for f64 {}
impl Skip for u64 {}
impl Skip for usize {}
impl Skip for bool {}
impl<T> Skip for Vec<T> {}
impl<T> Skip for Option<T> {
    fn skip(&self) -> bool {
        self.is_none()
    }
}

/// Declares the words that a key may take.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$word_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word as a recipe writes it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Skip for $name {}
    };
}

words! {
    /// Where the weights of the first step come from.
    Init {
        /// The safetensors of `model.checkpoint`.
        Checkpoint = "checkpoint",
        /// Drawn from `train.seed`: for tests and for measuring, not for results.
        Random = "random",
    }
}

words! {
    /// How frames lose tokens over the decoder layers.
    ScheduleKind {
        /// Never.
        None = "none",
        /// The released code.
        Cosine = "cosine",
        /// Eq. 1 of the paper as printed.
        Ceil = "ceil",
        /// Algorithm B of the supplement as printed.
        AlgorithmB = "algorithm_b",
        /// The last of every stride, at `step_layers`.
        Step = "step",
        /// The mean of every stride, at `step_layers`.
        Pool = "pool",
        /// `uniform_tokens` in every layer.
        Uniform = "uniform",
        /// `tokens`, one number per layer.
        List = "list",
    }
}

words! {
    /// Which tokens of a frame survive a drop.
    Keep {
        /// The last ones.
        Suffix = "suffix",
        /// An evenly spread subset.
        Uniform = "uniform",
    }
}

words! {
    /// Which tokens carry loss.
    LabelRule {
        /// The released code's: answers, and every line break and turn marker.
        Reference = "reference",
        /// Only the answers.
        Answers = "answers",
    }
}

words! {
    /// What a broken sample does.
    BrokenSample {
        /// A near neighbour in the list takes its place, as in the released code.
        Neighbour = "neighbour",
        /// It is left out.
        Skip = "skip",
        /// The run ends with exit code 3.
        Stop = "stop",
    }
}

words! {
    /// The order of samples within an epoch.
    Order {
        /// Random blocks of one optimizer step each, longest text first inside a block: the released sampler.
        Grouped = "group_by_length",
        /// Random.
        Shuffled = "shuffle",
        /// As listed.
        Listed = "sequential",
    }
}

words! {
    /// Which tensors weight decay acts on.
    DecayRule {
        /// All tuned tensors: one flat group, as the released run (DeepSpeed bypasses the groups).
        All = "all",
        /// All but biases and `LayerNorm`s, as Hugging Face's `create_optimizer`.
        HuggingFace = "huggingface",
    }
}

words! {
    /// The shape of the learning rate over the run.
    LrKind {
        /// Half a cosine down to zero.
        Cosine = "cosine",
        /// A straight line down to zero.
        Linear = "linear",
        /// Flat after the warm-up.
        Constant = "constant",
    }
}

words! {
    /// How the losses of a step are averaged.
    LossNormWord {
        /// The mean of per-sample means, as the released run.
        Sample = "sample",
        /// The mean over all supervised tokens of the step.
        Token = "token",
    }
}

words! {
    /// Which activations are computed again on the way back.
    RecomputeWord {
        /// None: everything is kept.
        None = "none",
        /// Those inside every decoder layer.
        Layer = "layer",
        /// `layer` if the plan does not fit `memory_limit_gib` otherwise.
        Auto = "auto",
    }
}

words! {
    /// A floating-point format.
    FloatWord {
        /// 32 bits.
        F32 = "f32",
        /// 16 bits, the exponent of f32.
        Bf16 = "bf16",
        /// 16 bits, IEEE.
        F16 = "f16",
    }
}

words! {
    /// What a non-finite loss or gradient does.
    NonFinite {
        /// The run ends with exit code 4 and a dump for `xcomp replay`.
        Stop = "stop",
        /// The step changes no weight; it is logged and dumped all the same.
        Skip = "skip",
    }
}

table! {
    /// `[model]`: what is tuned.
    ModelTable {
        /// Folder of the base checkpoint, as the released VideoChat-Flash folder is laid out.
        checkpoint: String = String::new(),
        /// Its sizes; `config.json` of the checkpoint if empty.
        config: String = String::new(),
        /// Its tokenizer; `tokenizer.json` of the checkpoint if empty.
        tokenizer: String = String::new(),
        /// Where the first weights come from.
        init: Init = Init::Checkpoint,
        /// Longest sequence in tokens, before compression; a longer sample is a broken sample.
        model_max_length: usize = 32_768,
    }
}

table! {
    /// `[data]`: what it is tuned on.
    DataTable {
        /// The mixture YAML of VideoChat-Flash / XComp, read unchanged.
        mixture: String = String::new(),
        /// Start of the kept share of every dataset.
        keep_start: f64 = 0.0,
        /// End of the kept share of every dataset.
        keep_end: f64 = 1.0,
        /// Seed of the second shuffle before the share is cut; no second shuffle if absent.
        keep_seed: Option<u64> = None,
        /// Frames taken per second of video.
        fps: f64 = 8.0,
        /// Fewest frames of a video.
        min_frames: usize = 128,
        /// Most frames of a video.
        max_frames: usize = 1024,
        /// Frames that the vision tower sees together; frame counts are multiples of it.
        clip_frames: usize = 8,
        /// The order of samples within an epoch.
        order: Order = Order::Grouped,
        /// Decoding threads.
        workers: usize = 4,
        /// Most bytes of decoded frames that wait for the trainer, in MiB.
        prefetch_mib: u64 = 2048,
        /// What a broken sample does.
        on_broken: BrokenSample = BrokenSample::Neighbour,
        /// Share of broken samples above which the run stops with exit code 3.
        max_broken_share: f64 = 0.05,
        /// Samples of the mixture, for a plan made where its files are absent.
        expected_samples: usize = 0,
        /// Mean frames of a sample, for the same.
        expected_frames: usize = 256,
        /// Mean text tokens of a sample, for the same.
        expected_text_tokens: usize = 256,
        /// Mean supervised tokens of a sample, for the same.
        expected_supervised_tokens: usize = 128,
    }
}

table! {
    /// `[compression]`: LP-Comp.
    CompressionTable {
        /// How frames lose tokens over the decoder layers.
        schedule: ScheduleKind = ScheduleKind::Cosine,
        /// Which tokens survive.
        keep: Keep = Keep::Suffix,
        /// For `step` and `pool`: after these 1-based layers.
        step_layers: Vec<usize> = vec![],
        /// For `step` and `pool`: the stride at each of `step_layers`.
        step_strides: Vec<usize> = vec![],
        /// For `uniform`: tokens of a frame in every layer.
        uniform_tokens: Option<usize> = None,
        /// For `list`: tokens of a frame in each layer.
        tokens: Vec<usize> = vec![],
    }
}

table! {
    /// `[tune]`: which weights move, and what carries loss.
    TuneTable {
        /// `llm`, `projector`, `vision`, `embed`, `head`, `norm`, `layers` or `layers.A-B`.
        parts: Vec<String> = vec!["llm".into()],
        /// Which tokens carry loss.
        labels: LabelRule = LabelRule::Reference,
        /// Videos of so many frames give the projector no gradient (the released code: 512); always a gradient if absent.
        projector_gradient_below_frames: Option<usize> = None,
    }
}

table! {
    /// `[optimizer]`: AdamW on f32 master weights.
    OptimizerTable {
        /// Peak learning rate.
        learning_rate: f64 = 1e-5,
        /// Decoupled weight decay.
        weight_decay: f64 = 0.0,
        /// Which tensors it acts on.
        decay_on: DecayRule = DecayRule::All,
        /// Decay of the mean gradient.
        adam_beta1: f64 = 0.9,
        /// Decay of the mean squared gradient.
        adam_beta2: f64 = 0.999,
        /// Keeps the division finite.
        adam_epsilon: f64 = 1e-8,
        /// The gradient's global norm is cut to this; 0 leaves it.
        max_grad_norm: f64 = 1.0,
        /// Peak rate of the projector; `learning_rate` if absent.
        mm_projector_lr: Option<f64> = None,
        /// Peak rate of the vision tower; `learning_rate` if absent.
        mm_vision_tower_lr: Option<f64> = None,
    }
}

table! {
    /// `[schedule]`: the learning rate over the run.
    LrTable {
        /// Its shape.
        lr_scheduler_type: LrKind = LrKind::Cosine,
        /// Share of the steps that warm up, rounded up.
        warmup_ratio: f64 = 0.0,
        /// Steps that warm up; wins over the ratio if not 0.
        warmup_steps: usize = 0,
    }
}

table! {
    /// `[train]`: the loop.
    TrainTable {
        /// Passes over the data.
        num_train_epochs: f64 = 1.0,
        /// Optimizer steps; wins over the epochs if not 0.
        max_steps: usize = 0,
        /// Samples of one forward.
        per_device_batch_size: usize = 1,
        /// Forwards of one optimizer step.
        gradient_accumulation_steps: usize = 1,
        /// How the losses of a step are averaged.
        loss_norm: LossNormWord = LossNormWord::Sample,
        /// Which activations are computed again on the way back.
        recompute: RecomputeWord = RecomputeWord::None,
        /// Device memory that `recompute = "auto"` plans for, in GiB.
        memory_limit_gib: Option<f64> = None,
        /// The format of activations; master weights are f32.
        dtype: FloatWord = FloatWord::F32,
        /// The format in which gradients of micro-steps are summed.
        accumulate_dtype: FloatWord = FloatWord::F32,
        /// Fixes the order of samples and all drawn numbers.
        seed: u64 = 42,
        /// What a non-finite loss or gradient does.
        on_non_finite: NonFinite = NonFinite::Stop,
        /// A loss so many times its running mean is reported as a spike; 0 never.
        spike_factor: f64 = 3.0,
    }
}

table! {
    /// `[checkpoint]`: what is kept of a run.
    CheckpointTable {
        /// Steps between saves; 0 saves at the end only.
        save_steps: usize = 100,
        /// Checkpoints that are kept; 0 keeps all.
        save_total_limit: usize = 1,
        /// Also keeps the checkpoint with the lowest mean loss since the save before it.
        keep_best: bool = false,
        /// The format of exported weights.
        export_dtype: FloatWord = FloatWord::Bf16,
    }
}

table! {
    /// `[log]`: what is written down.
    LogTable {
        /// Steps between records; each one waits for the device.
        logging_steps: usize = 1,
        /// Whether `TensorBoard` events are written beside `metrics.jsonl`.
        tensorboard: bool = true,
        /// What the device can do, in TFLOP/s, for the utilisation figure; none if 0.
        peak_tflops: f64 = 0.0,
    }
}
