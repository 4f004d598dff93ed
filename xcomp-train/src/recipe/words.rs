//! The words that keys of a recipe may take, each a type of its own.

use serde::{Deserialize, Serialize};

/// A word with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Word {
    /// As a recipe writes it.
    pub word: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// A kind of value that a key may have.
pub(super) trait Value {
    /// All words that there are; none where it is no word.
    const WORDS: &'static [Word] = &[];

    /// The kind, for people.
    fn kind() -> String;

    /// Whether there is nothing to write into the resolved recipe.
    fn skip(&self) -> bool {
        false
    }
}

/// Kinds that need no more than a name.
macro_rules! kinds {
    ($($kind:ty = $name:literal,)*) => {
        $(impl Value for $kind { fn kind() -> String { $name.into() } })*
    };
}
kinds! { String = "text", f64 = "number", u64 = "whole number", usize = "whole number", bool = "true or false", }

impl<T: Value> Value for Vec<T> {
    const WORDS: &'static [Word] = T::WORDS;

    fn kind() -> String {
        format!("list of {}s", T::kind())
    }
}

impl<T: Value> Value for Option<T> {
    const WORDS: &'static [Word] = T::WORDS;

    fn kind() -> String {
        T::kind()
    }

    fn skip(&self) -> bool {
        self.is_none()
    }
}

/// Declares the words that a key may take.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $word_doc:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $word_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word as a recipe writes it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Value for $name {
            const WORDS: &'static [Word] =
                &[$(Word { word: $word, meaning: concat!($($word_doc),*).trim_ascii() }),*];

            fn kind() -> String { "word".into() }
        }
    };
}

mod compression;

pub use self::compression::*;

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
    /// How the turns of a conversation are written.
    TemplateWord {
        /// Qwen's.
        Chatml = "chatml",
        /// That of Vicuna 1.1 and 1.5.
        Vicuna = "vicuna",
    }
}

words! {
    /// By which rule frames of a video are taken.
    SampleWord {
        /// Whole clips at `fps`, at least `min_frames`, at most `max_frames` (VideoChat-Flash).
        Clips = "clips",
        /// One frame of every so many that `fps` asks for; where these are more than `max_frames`, so many evenly spread ones (LLaVA-Video).
        Fps = "fps",
        /// `max_frames` evenly spread frames of every video, repeated where it has fewer (LLaVA-Video with `force_sample`).
        Uniform = "uniform",
        /// The same of videos of any rate (Video-XL).
        Spread = "spread",
        /// The frame at every whole second; where these are more than `max_frames`, so many evenly spread ones (Video-XL's evaluation at 1 fps).
        Seconds = "seconds",
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
    /// What a picture does whose file ends too early.
    TruncatedWord {
        /// Its sample is broken, as in the released code.
        Refuse = "refuse",
        /// What is missing is filled in as by Pillow under `LOAD_TRUNCATED_IMAGES`: of a JPEG mostly grey, of a PNG black; other kinds are refused.
        Pad = "pad",
    }
}

words! {
    /// What a sample does that is longer than `model.model_max_length`.
    TooLongWord {
        /// It is a broken sample, and `on_broken` says what takes its place.
        Skip = "skip",
        /// Its videos are taken with fewer frames, evenly spread as ever: as many whole clips as fit; broken where one clip is too much.
        DropFrames = "drop_frames",
        /// The run ends with exit code 3, whatever `on_broken` says.
        Stop = "stop",
    }
}

words! {
    /// What a system turn of a conversation does.
    SystemWord {
        /// At the beginning it stands for the template's own; behind that it is rendered where it stands.
        Keep = "keep",
        /// Its record is a broken sample, as in the released code, which fails on one at the beginning.
        Refuse = "refuse",
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
        /// Flat after the warm-up (`constant_with_warmup` where there is one).
        Constant = "constant",
        /// Half a cosine down to `min_lr_rate`.
        CosineWithMinLr = "cosine_with_min_lr",
        /// Flat after the warm-up, then in the last `decay_steps` half a cosine down to `min_lr_rate`.
        WarmupStableDecay = "warmup_stable_decay",
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
        /// `layer` if the plan does not fit `memory_limit_gib` otherwise; of several keys that say `auto` this one comes first.
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
    /// A format of numbers that outlive a step.
    HeldWord {
        /// 32 bits.
        F32 = "f32",
        /// 16 bits, the exponent of f32.
        Bf16 = "bf16",
        /// `bf16` if the plan does not fit `memory_limit_gib` otherwise; weights come last of all keys that say `auto`.
        Auto = "auto",
    }
}

words! {
    /// How the optimizer's moments are held between steps.
    MomentWord {
        /// 32 bits.
        F32 = "f32",
        /// 16 bits, the exponent of f32, rounded by chance.
        Bf16 = "bf16",
        /// A byte, and a scale for each block of 256 numbers (8-bit Adam); tensors of fewer than 4,096 numbers in f32.
        Int8 = "int8",
        /// `int8` if the plan does not fit `memory_limit_gib` otherwise.
        Auto = "auto",
    }
}

words! {
    /// The format of the tower's features, whether they are kept on disk or not: it changes numbers, a cache does not.
    FeatureWord {
        /// That of the activations, `train.dtype`: nothing is rounded.
        Exact = "exact",
        /// 16 bits, the exponent of f32.
        Bf16 = "bf16",
        /// A byte, with one scale for each token.
        Int8 = "int8",
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

words! {
    /// Whose files of questions, prompt and answer rule.
    #[derive(clap::ValueEnum)]
    Benchmark {
        /// `LVBench`: candidates begin with their letter already.
        Lvbench = "lvbench",
        /// `MLVU` multiple choice; also `MVBench` and any list of video, question, candidates, answer.
        Mlvu = "mlvu",
        /// Video-MME without subtitles.
        Videomme = "videomme",
        /// `LongVideoBench` with subtitles.
        Longvideobench = "longvideobench",
        /// Any list of video, question, candidates, answer: the bare question, to be answered in the very words of a candidate.
        Words = "words",
    }
}

words! {
    /// How a letter is got out of a model.
    #[derive(clap::ValueEnum)]
    AnswerBy {
        /// It writes an answer, which the benchmark's rule reads.
        Generation = "generation",
        /// The likeliest letter as the first token.
        Likelihood = "likelihood",
    }
}
