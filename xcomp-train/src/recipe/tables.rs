//! Every key of a recipe, with its default: the only list of them.
//!
//! Words are those of Hugging Face's `TrainingArguments` and LLaVA wherever the meaning is the same.

use serde::{Deserialize, Serialize};

use super::described::{Described, Key};
use super::problem::{Problem, Problems};
pub use super::words::*;

/// Declares one table of the recipe: a struct, its defaults, its key names, and a reader that reports every bad value.
macro_rules! table {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $key_doc:literal])* $key:ident: $kind:ty = $default:expr,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[doc = $key_doc])* #[serde(skip_serializing_if = "Value::skip")] pub $key: $kind,)* }

        impl $name {
            /// The keys of this table.
            pub const KEYS: &[&str] = &[$(stringify!($key)),*];

            /// Every key with its meaning, kind, words and default.
            pub(super) fn described(name: &'static str) -> Described {
                let default = Self::default();
                Described {
                    name,
                    meaning: concat!($($doc),*).trim(),
                    keys: vec![$(Key {
                        key: stringify!($key),
                        meaning: concat!($($key_doc),*).trim(),
                        kind: <$kind as Value>::kind(),
                        words: <$kind as Value>::WORDS,
                        default: toml::Value::try_from(&default.$key).ok(),
                    }),*],
                }
            }

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

table! {
    /// `[model]`: what is tuned.
    ModelTable {
        /// Folder of the base checkpoint: of VideoChat-Flash, LLaVA-Video or LLaVA-NeXT-Video as released, or an export.
        checkpoint: String = String::new(),
        /// Sizes of the model; `config.json` of the checkpoint if empty.
        config: String = String::new(),
        /// The tokenizer; `tokenizer.json` of the checkpoint if empty.
        tokenizer: String = String::new(),
        /// How the turns of a conversation are written; as the model's family does if absent.
        template: Option<TemplateWord> = None,
        /// What the system turn says where a conversation has none; the template's own words if absent.
        system_prompt: Option<String> = None,
        /// Where the first weights come from.
        init: Init = Init::Checkpoint,
        /// Longest sequence in tokens, before compression; `data.too_long` says what a longer sample does.
        model_max_length: usize = 32_768,
    }
}

table! {
    /// `[data]`: what it is tuned on.
    DataTable {
        /// The mixture YAML of VideoChat-Flash / XComp, read unchanged.
        mixture: String = String::new(),
        /// A mixture YAML of samples that are not trained on; `[eval]` says when their loss is measured.
        validation_mixture: String = String::new(),
        /// Share of the media of `mixture` that are held out in its place: all samples of a video are on one side.
        validation_share: f64 = 0.0,
        /// Start of the kept share of every dataset.
        keep_start: f64 = 0.0,
        /// End of the kept share of every dataset.
        keep_end: f64 = 1.0,
        /// Seed of the second shuffle before the share is cut; no second shuffle if absent.
        keep_seed: Option<u64> = None,
        /// By which rule frames of a video are taken; by that of the model's family if absent.
        sample_type: Option<SampleWord> = None,
        /// Frames taken per second of video, where whole clips or one of every so many frames are taken.
        fps: f64 = 8.0,
        /// Fewest frames of a video.
        min_frames: usize = 128,
        /// Most frames of a video.
        max_frames: usize = 1024,
        /// Frames that the vision tower sees together; frame counts are multiples of it.
        clip_frames: usize = 8,
        /// The order of samples within an epoch.
        order: Order = Order::Grouped,
        /// Whether the samples of a forward stand one behind the other in one sequence, none of which sees another, instead of being padded to the longest: the same losses and gradients but for their last bits.
        packing: bool = false,
        /// Decoding threads.
        workers: usize = 4,
        /// Most bytes of decoded frames that wait for the trainer, in MiB.
        prefetch_mib: u64 = 2048,
        /// Folder where features of the frozen tower are kept, for later epochs and runs; nothing is kept if empty.
        feature_cache: String = String::new(),
        /// Most GiB of `feature_cache`; what was used longest ago goes first. 0: no limit.
        feature_cache_gib: f64 = 0.0,
        /// The format of features.
        feature_format: FeatureWord = FeatureWord::Exact,
        /// Whether media paths may be absolute or contain `..`; where they may not, such a record is a broken sample.
        allow_outside_paths: bool = false,
        /// What a system turn of a conversation does.
        system: SystemWord = SystemWord::Keep,
        /// What a picture does whose file ends too early.
        truncated: TruncatedWord = TruncatedWord::Refuse,
        /// What a sample does that is longer than `model.model_max_length`.
        too_long: TooLongWord = TooLongWord::Skip,
        /// What a broken sample does.
        on_broken: BrokenSample = BrokenSample::Neighbour,
        /// Share of broken samples above which the run stops with exit code 3.
        max_broken_share: f64 = 0.05,
        /// Samples of the mixture, for a plan made where its files are absent.
        expected_samples: usize = 0,
        /// Mean frames of a sample, for such a plan.
        expected_frames: usize = 256,
        /// Mean text tokens of a sample, for such a plan.
        expected_text_tokens: usize = 256,
        /// Mean supervised tokens of a sample, for such a plan.
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
        /// For `step`, `pool`, `rank` and `fastv`: after these 1-based layers; 0 is before the first.
        step_layers: Vec<usize> = vec![],
        /// For `step` and `pool`: the stride at each of `step_layers`.
        step_strides: Vec<usize> = vec![],
        /// For `rank` and `fastv`: the share of a video's first tokens that is left behind each of `step_layers`.
        step_shares: Vec<f64> = vec![],
        /// For `uniform`: tokens of a frame in every layer.
        uniform_tokens: Option<usize> = None,
        /// For `list`: tokens of a frame in each layer.
        tokens: Vec<usize> = vec![],
        /// For `budget` and `elastic`: tokens of a frame in the mean over the layers; plans and answers without `--tokens` take the largest.
        budgets: Vec<f64> = vec![],
        /// The order in which merged tokens form frames.
        group_order: GroupOrderWord = GroupOrderWord::Reference,
    }
}

table! {
    /// `[vst]`: windows of models that have learned tokens for them (Video-XL).
    VstTable {
        /// Visual tokens of a window; as `beacon_window` of `config.json` if absent.
        window_tokens: Option<usize> = None,
        /// Visual tokens for each learned one, 0 for a window that stays raw; as `beacon_ratio` of `config.json` if empty.
        ratios: Vec<usize> = vec![],
        /// How one of several ratios is found: among those that divide a window.
        ratio_mix: RatioMixWord = RatioMixWord::Step,
        /// How much of a sample is on a tape at a time.
        backward: BackwardWord = BackwardWord::Windows,
        /// Where the windows of a video end while it is learnt from; `none` leaves them out, and with them `vst` of `tune.parts`: then frames may lose tokens between layers.
        windows: WindowsWord = WindowsWord::Fixed,
        /// Where they end when the export answers; as `windows` if absent.
        answer_windows: Option<WindowsWord> = None,
        /// For `dynamic`: what the similarity of two frames is measured against.
        depth: DepthWord = DepthWord::Whole,
        /// For `dynamic`: a window ends at gaps deeper than this; wins over `depth_deviations`.
        depth_above: Option<f64> = None,
        /// For `dynamic`: a window ends at gaps deeper than the mean and so many standard deviations of all gaps of the video.
        depth_deviations: f64 = 0.5,
        /// For `dynamic`: fewest frames of a window; an image or video that has fewer is one.
        least_frames: usize = 1,
        /// For `dynamic`: most frames of a window, longer ones are split evenly; as many as `window_tokens` hold if absent.
        most_frames: Option<usize> = None,
        /// Ratios by time, each phase a table `[[vst.curriculum]]` with `until`, the share of the run where it ends, and `ratios`; wins over `ratios`.
        curriculum: Vec<RatioPhase> = vec![],
    }
}

table! {
    /// `[tune]`: which weights move, and what carries loss.
    TuneTable {
        /// `llm`, `projector`, `vision`, `embed`, `head`, `norm`, `layers`, `layers.A-B`, or `vst`, the learned tokens of windows and their maps.
        parts: Vec<String> = vec!["llm".into()],
        /// Which tokens carry loss.
        labels: LabelRule = LabelRule::Reference,
        /// Inner width of low-rank adapters (`LoRA`) that are tuned in the place of linear maps; 0: none, whole weights move.
        /// With adapters `llm` and `layers` stay as they are but for them; other parts that are named move as a whole.
        lora_rank: usize = 0,
        /// Their strength: over `lora_rank` it multiplies what they add.
        lora_alpha: f64 = 16.0,
        /// Share of the inputs of adapters that is dropped while training.
        lora_dropout: f64 = 0.0,
        /// Maps of `parts` that get one, by the end of their names (`q_proj`, `mlp.0`); `all-linear`: every map of the decoder layers.
        lora_targets: Vec<String> = vec!["all-linear".into()],
        /// Whether the strength is over the root of the rank (rsLoRA).
        lora_rslora: bool = false,
        /// Videos of so many frames give the projector no gradient (the released code: 512); always a gradient if absent.
        projector_gradient_below_frames: Option<usize> = None,
    }
}

table! {
    /// `[optimizer]`: AdamW, computed in f32.
    OptimizerTable {
        /// Peak learning rate.
        learning_rate: f64 = 1e-5,
        /// Decoupled weight decay.
        weight_decay: f64 = 0.0,
        /// Which tensors weight decay acts on.
        decay_on: DecayRule = DecayRule::All,
        /// Decay of the mean gradient.
        adam_beta1: f64 = 0.9,
        /// Decay of the mean squared gradient.
        adam_beta2: f64 = 0.999,
        /// Keeps the division finite.
        adam_epsilon: f64 = 1e-8,
        /// The gradient's global norm is cut to this; 0 leaves it.
        max_grad_norm: f64 = 1.0,
        /// How moments are held between steps.
        moments_dtype: MomentWord = MomentWord::F32,
        /// The rate of a decoder layer over that of the layer above it (`BEiT`, `layer_decay`): final norm and head have the full one,
        /// the embeddings that of a layer below the first; projector and tower have their own.
        layer_decay: f64 = 1.0,
        /// Peak rate of the projector; `learning_rate` if absent.
        mm_projector_lr: Option<f64> = None,
        /// Peak rate of the vision tower; `learning_rate` if absent.
        mm_vision_tower_lr: Option<f64> = None,
    }
}

table! {
    /// `[schedule]`: the learning rate over the run.
    LrTable {
        /// Shape of the learning rate.
        lr_scheduler_type: LrKind = LrKind::Cosine,
        /// Share of the steps that warm up, rounded up.
        warmup_ratio: f64 = 0.0,
        /// Steps that warm up; wins over the ratio if not 0.
        warmup_steps: usize = 0,
        /// For `cosine_with_min_lr` and `warmup_stable_decay`: the share of the peak rate at which the run ends.
        min_lr_rate: f64 = 0.0,
        /// For `warmup_stable_decay`: the last steps, in which the rate falls.
        decay_steps: usize = 0,
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
        /// Sums that the micro-batches of a step are cut into, a power of two: a run has the same bits on every number of ranks that divides it.
        lanes: usize = 1,
        /// Samples of a step go to lanes by their predicted cost, equally many to each, instead of in turn: ranks wait less for each other.
        balance: bool = false,
        /// How the losses of a step are averaged.
        loss_norm: LossNormWord = LossNormWord::Sample,
        /// Which activations are computed again on the way back.
        recompute: RecomputeWord = RecomputeWord::None,
        /// Memory that the run may take, in GiB: keys that say `auto` are chosen for it, and a run that needs more ends with exit code 5.
        memory_limit_gib: Option<f64> = None,
        /// Clips that go through the vision tower together; 0: on a GPU as many as do not raise the peak of the largest step, else one.
        clips_at_once: usize = 0,
        /// The format of activations, `f32` or `bf16`.
        dtype: FloatWord = FloatWord::F32,
        /// The format of tuned matrices: master weights in `f32`, or `bf16` alone, where every step rounds by chance; vectors are f32.
        weights_dtype: HeldWord = HeldWord::F32,
        /// The format in which gradients of micro-steps are summed and held, `f32` or `bf16`.
        accumulate_dtype: HeldWord = HeldWord::F32,
        /// Fixes the order of samples and all drawn numbers.
        seed: u64 = 42,
        /// So many validations in a row whose loss is not below the lowest end the run; 0 never.
        early_stopping_patience: usize = 0,
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
        /// Also keeps the checkpoint with the lowest loss on held-out samples; without any, with the lowest mean loss since the save before it.
        keep_best: bool = false,
        /// Whether saves hold the optimizer's moments, two thirds of their size. Without, a run goes on only from where a signal stopped it.
        moments: bool = true,
        /// The format of exported weights.
        export_dtype: FloatWord = FloatWord::Bf16,
    }
}

table! {
    /// `[log]`: what is written down.
    LogTable {
        /// The name of the run in its records, `env.json`, `TensorBoard` and reports; that of its folder if empty.
        run_name: String = String::new(),
        /// Words by which the run is found again, beside its name.
        tags: Vec<String> = vec![],
        /// Steps between records; each one waits for the device.
        logging_steps: usize = 1,
        /// Whether `TensorBoard` events are written beside `metrics.jsonl`.
        tensorboard: bool = true,
        /// What the device can do, in TFLOP/s, for the utilisation figure; none if 0.
        peak_tflops: f64 = 0.0,
    }
}

table! {
    /// `[eval]`: how a run is measured on held-out samples, and what `xcomp eval` asks a checkpoint; nothing here moves a number of the training.
    EvalTable {
        /// Steps between two validations, besides the one before every save; 0: only those.
        every_steps: usize = 0,
        /// Most samples of a validation, evenly spread over those that are held out; 0: all.
        samples: usize = 256,
        /// An exported folder or the folder of a run: what `xcomp eval RECIPE` evaluates.
        checkpoint: String = String::new(),
        /// The questions, JSON, JSON lines or parquet as published.
        questions: String = String::new(),
        /// Folder of the videos that the questions name.
        videos: String = String::new(),
        /// Folder of the subtitles that the questions name; quoted if given.
        subtitles: String = String::new(),
        /// Whose questions; told from the file if absent.
        benchmark: Option<Benchmark> = None,
        /// How the letter is got out of the model.
        answer_by: AnswerBy = AnswerBy::Generation,
        /// Fewest frames to look at; frames of shorter videos are repeated.
        min_frames: usize = 128,
        /// Most frames to look at.
        max_frames: usize = 1024,
        /// Frames that each question chooses out of those looked at (QC-Comp); all if absent.
        select: Option<usize> = None,
        /// Passes over a video for the choice, each shifted.
        repeat: usize = 2,
        /// Most tokens of a response; as the released evaluation of the benchmark if absent.
        max_new_tokens: Option<usize> = None,
    }
}
