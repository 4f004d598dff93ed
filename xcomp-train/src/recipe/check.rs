//! What must hold between the values of a recipe, whatever the model: all violations at once.

use super::Recipe;
use super::problem::{Problem, Problems};
use super::tables::{
    CompressionTable, FeatureWord, FloatWord, HeldWord, Init, LrKind, MomentWord, RecomputeWord,
    ScheduleKind, TuneTable, VstTable,
};
use crate::recipe::tune::Part;

/// A pebibyte: more is a slip of the pen.
const MAX_PREFETCH_MIB: u64 = 1 << 30;

/// Notes every value that is out of range or contradicts another.
pub(super) fn cross_fields(recipe: &Recipe, problems: &mut Problems) {
    let mut require = |holds: bool, table: &str, key: &str, message: String| {
        if !holds {
            problems.push(Problem::key(table, key, message));
        }
    };
    model(recipe, &mut require);
    data(recipe, &mut require);
    features(recipe, &mut require);
    compression(&recipe.compression, &mut require);
    require(
        recipe.compression.schedule != ScheduleKind::FastV,
        "compression",
        "schedule",
        "\"fastv\" drops tokens when a question is answered and cannot be trained; train under another schedule and answer with --set compression.schedule=fastv".into(),
    );
    vst(&recipe.vst, &mut require);
    tune(recipe, &mut require);
    optimizer(recipe, &mut require);
    train(recipe, &mut require);
    eval(recipe, &mut require);
}

type Require<'a> = dyn FnMut(bool, &str, &str, String) + 'a;

fn model(recipe: &Recipe, require: &mut Require) {
    let model = &recipe.model;
    require(
        !(model.checkpoint.is_empty() && model.config.is_empty()),
        "model",
        "checkpoint",
        "name the folder of the base checkpoint, or at least its `config`".into(),
    );
    require(
        model.init == Init::Checkpoint || !model.config.is_empty() || !model.checkpoint.is_empty(),
        "model",
        "init",
        "random weights need the sizes in `config`".into(),
    );
    require(model.model_max_length > 0, "model", "model_max_length", "must be positive".into());
}

fn data(recipe: &Recipe, require: &mut Require) {
    let data = &recipe.data;
    require(
        0.0 <= data.keep_start && data.keep_start < data.keep_end && data.keep_end <= 1.0,
        "data",
        "keep_start",
        format!("the kept share {}..{} must be a part of 0..1", data.keep_start, data.keep_end),
    );
    require(data.fps > 0.0, "data", "fps", format!("{} must be positive", data.fps));
    require(data.clip_frames > 0, "data", "clip_frames", "must be positive".into());
    let clip = data.clip_frames.max(1);
    for (key, frames) in [("min_frames", data.min_frames), ("max_frames", data.max_frames)] {
        require(
            frames > 0 && frames.is_multiple_of(clip),
            "data",
            key,
            format!("{frames} must be a positive multiple of clip_frames = {clip}"),
        );
    }
    require(
        data.min_frames <= data.max_frames,
        "data",
        "min_frames",
        format!("{} is above max_frames = {}", data.min_frames, data.max_frames),
    );
    require(
        (0.0..1.0).contains(&data.validation_share),
        "data",
        "validation_share",
        format!("{} is not a share in 0..1, 1 excluded", data.validation_share),
    );
    let (named, cut) = (!data.validation_mixture.is_empty(), data.validation_share > 0.0);
    require(
        !(named && cut),
        "data",
        "validation_share",
        "validation_mixture names what is held out already; give one of them".into(),
    );
    require(
        named || cut || recipe.train.early_stopping_patience == 0,
        "train",
        "early_stopping_patience",
        "nothing is held out to watch; give [data] validation_mixture or validation_share".into(),
    );
    require(data.workers > 0, "data", "workers", "at least one decoding thread is needed".into());
    require(
        (1..=MAX_PREFETCH_MIB).contains(&data.prefetch_mib),
        "data",
        "prefetch_mib",
        format!("{} is not in 1..{MAX_PREFETCH_MIB}", data.prefetch_mib),
    );
    require(
        (0.0..=1.0).contains(&data.max_broken_share),
        "data",
        "max_broken_share",
        format!("{} is not a share in 0..1", data.max_broken_share),
    );
    require(
        !(data.mixture.is_empty() && data.expected_samples == 0),
        "data",
        "mixture",
        "name the mixture YAML, or for a plan alone `expected_samples`".into(),
    );
}

/// Ratios by time fill the whole run; windows have bounds.
fn vst(vst: &VstTable, require: &mut Require) {
    require(vst.window_tokens != Some(0), "vst", "window_tokens", "must be positive".into());
    require(vst.least_frames > 0, "vst", "least_frames", "must be at least 1".into());
    let most = vst.most_frames.unwrap_or(usize::MAX);
    let message = format!("{most} is below least_frames = {}", vst.least_frames);
    require(vst.least_frames <= most, "vst", "most_frames", message);
    for (key, number) in [
        ("depth_above", vst.depth_above.unwrap_or(0.0)),
        ("depth_deviations", vst.depth_deviations),
    ] {
        require(number.is_finite(), "vst", key, format!("{number} must be a finite number"));
    }
    let (mut from, mut message) = (0.0, None);
    for phase in &vst.curriculum {
        if phase.ratios.is_empty() {
            message = Some(format!("the phase until {} has no ratios", phase.until));
        }
        if phase.until <= from || phase.until > 1.0 || phase.until.is_nan() {
            message = Some(format!("`until` {} must be above {from} and at most 1", phase.until));
        }
        from = phase.until;
    }
    if message.is_none() && !vst.curriculum.is_empty() && from < 1.0 {
        message = Some(format!("the last phase ends at {from}; let it end at 1.0"));
    }
    require(message.is_none(), "vst", "curriculum", message.unwrap_or_default());
}

/// Features can be kept or rounded only while nothing in the tower moves.
fn features(recipe: &Recipe, require: &mut Require) {
    let data = &recipe.data;
    let moves = |part: &String| part.parse() == Ok(Part::Vision);
    let frozen = !recipe.tune.parts.iter().any(moves);
    let why = "the vision tower is tuned, so its features change with every step";
    require(frozen || data.feature_cache.is_empty(), "data", "feature_cache", why.into());
    let exact = data.feature_format == FeatureWord::Exact;
    require(frozen || exact, "data", "feature_format", why.into());
    let limit = data.feature_cache_gib;
    require(
        limit >= 0.0 && limit.is_finite(),
        "data",
        "feature_cache_gib",
        format!("{limit} must be 0 or more"),
    );
}

/// Whether the keys of a schedule fit it.
pub(super) fn compression(compression: &CompressionTable, require: &mut Require) {
    let kind = compression.schedule;
    let word = kind.word();
    let strided = matches!(kind, ScheduleKind::Step | ScheduleKind::Pool);
    let shared = matches!(kind, ScheduleKind::Rank | ScheduleKind::FastV);
    let stages = compression.step_layers.len();
    for (key, wanted, count) in [
        ("step_layers", strided || shared, stages),
        ("step_strides", strided, compression.step_strides.len()),
        ("step_shares", shared, compression.step_shares.len()),
    ] {
        let message = format!("schedule = \"{word}\" {}", wants(wanted));
        require(wanted != (count == 0), "compression", key, message);
        let message = format!("{count} of them for {stages} step_layers");
        require(count == 0 || count == stages, "compression", key, message);
    }
    require(
        kind != ScheduleKind::FastV || stages == 1,
        "compression",
        "step_layers",
        format!("schedule = \"{word}\" drops once: give one layer"),
    );
    let uniform = kind == ScheduleKind::Uniform;
    require(
        uniform == compression.uniform_tokens.is_some(),
        "compression",
        "uniform_tokens",
        format!("schedule = \"{word}\" {}", wants(uniform)),
    );
    let list = kind == ScheduleKind::List;
    require(
        list != compression.tokens.is_empty(),
        "compression",
        "tokens",
        format!("schedule = \"{word}\" {}", wants(list)),
    );
    let budgets = compression.budgets.len();
    let wanted = matches!(kind, ScheduleKind::Budget | ScheduleKind::Elastic);
    let message = format!("schedule = \"{word}\" {}", wants(wanted));
    require(wanted == (budgets > 0), "compression", "budgets", message);
    require(
        kind != ScheduleKind::Budget || budgets <= 1,
        "compression",
        "budgets",
        format!("schedule = \"{word}\" has one: give one number, or schedule = \"elastic\""),
    );
}

fn wants(wanted: bool) -> &'static str {
    if wanted { "needs this key" } else { "has no use for this key" }
}

fn tune(recipe: &Recipe, require: &mut Require) {
    let parts = &recipe.tune.parts;
    require(
        !parts.is_empty(),
        "tune",
        "parts",
        "nothing would be tuned; name at least one part".into(),
    );
    for part in parts {
        if let Err(error) = part.parse::<Part>() {
            require(false, "tune", "parts", error.to_string());
        }
    }
    lora(&recipe.tune, require);
}

fn lora(tune: &TuneTable, require: &mut Require) {
    let plain = TuneTable { lora_rank: tune.lora_rank, ..TuneTable::default() };
    for (key, given) in [
        ("lora_alpha", tune.lora_alpha.to_bits() != plain.lora_alpha.to_bits()),
        ("lora_dropout", tune.lora_dropout.to_bits() != plain.lora_dropout.to_bits()),
        ("lora_targets", tune.lora_targets != plain.lora_targets),
        ("lora_rslora", tune.lora_rslora),
    ] {
        let message = "there are no adapters; give lora_rank";
        require(tune.lora_rank > 0 || !given, "tune", key, message.into());
    }
    let (alpha, dropout) = (tune.lora_alpha, tune.lora_dropout);
    let message = format!("{alpha} must be above 0");
    require(alpha > 0.0 && alpha.is_finite(), "tune", "lora_alpha", message);
    let message = format!("{dropout} must be in 0..1, 1 excluded");
    require((0.0..1.0).contains(&dropout), "tune", "lora_dropout", message);
    let message = "name at least one map, or `all-linear`";
    require(!tune.lora_targets.is_empty(), "tune", "lora_targets", message.into());
}

fn optimizer(recipe: &Recipe, require: &mut Require) {
    let optimizer = &recipe.optimizer;
    let rates = [
        ("learning_rate", Some(optimizer.learning_rate)),
        ("mm_projector_lr", optimizer.mm_projector_lr),
        ("mm_vision_tower_lr", optimizer.mm_vision_tower_lr),
        ("weight_decay", Some(optimizer.weight_decay)),
        ("adam_epsilon", Some(optimizer.adam_epsilon)),
        ("max_grad_norm", Some(optimizer.max_grad_norm)),
    ];
    for (key, value) in rates {
        let value = value.unwrap_or(0.0);
        require(
            value >= 0.0 && value.is_finite(),
            "optimizer",
            key,
            format!("{value} must be 0 or more"),
        );
    }
    for (key, beta) in [("adam_beta1", optimizer.adam_beta1), ("adam_beta2", optimizer.adam_beta2)]
    {
        require(
            (0.0..1.0).contains(&beta),
            "optimizer",
            key,
            format!("{beta} must be in 0..1, 1 excluded"),
        );
    }
    let decay = optimizer.layer_decay;
    let message = format!("{decay} must be above 0 and at most 1");
    require(decay > 0.0 && decay <= 1.0, "optimizer", "layer_decay", message);
    let table = &recipe.schedule;
    let (kind, word) = (table.lr_scheduler_type, table.lr_scheduler_type.word());
    let (floor, falls) = (table.min_lr_rate, kind == LrKind::WarmupStableDecay);
    require(
        (0.0..=1.0).contains(&floor),
        "schedule",
        "min_lr_rate",
        format!("{floor} is not a share in 0..1"),
    );
    let lowest = kind == LrKind::CosineWithMinLr;
    let given = floor > 0.0;
    let message = format!("lr_scheduler_type = \"{word}\" {}", wants(lowest));
    require(falls || lowest == given, "schedule", "min_lr_rate", message);
    let message = format!("lr_scheduler_type = \"{word}\" {}", wants(falls));
    require(falls == (table.decay_steps > 0), "schedule", "decay_steps", message);
    let ratio = table.warmup_ratio;
    require(
        (0.0..=1.0).contains(&ratio),
        "schedule",
        "warmup_ratio",
        format!("{ratio} is not a share in 0..1"),
    );
}

fn train(recipe: &Recipe, require: &mut Require) {
    let train = &recipe.train;
    require(
        train.num_train_epochs > 0.0 || train.max_steps > 0,
        "train",
        "num_train_epochs",
        format!("{} epochs and no max_steps: nothing to do", train.num_train_epochs),
    );
    for (key, count) in [
        ("per_device_batch_size", train.per_device_batch_size),
        ("gradient_accumulation_steps", train.gradient_accumulation_steps),
    ] {
        require(count > 0, "train", key, "must be at least 1".into());
    }
    let (lanes, micro_steps) = (train.lanes, train.gradient_accumulation_steps);
    require(
        lanes.is_power_of_two() && micro_steps.is_multiple_of(lanes),
        "train",
        "lanes",
        format!(
            "{lanes} is no power of two that divides gradient_accumulation_steps = {micro_steps}"
        ),
    );
    require(
        !train.balance || lanes > 1,
        "train",
        "balance",
        "one lane has nothing to balance; set `lanes` to the number of ranks".into(),
    );
    for (table, key, is_auto) in [
        ("train", "recompute", train.recompute == RecomputeWord::Auto),
        ("train", "accumulate_dtype", train.accumulate_dtype == HeldWord::Auto),
        ("optimizer", "moments_dtype", recipe.optimizer.moments_dtype == MomentWord::Auto),
        ("train", "weights_dtype", train.weights_dtype == HeldWord::Auto),
    ] {
        let message = "\"auto\" plans for [train] memory_limit_gib, which is not given".into();
        require(!is_auto || train.memory_limit_gib.is_some(), table, key, message);
    }
    require(
        train.dtype != FloatWord::F16,
        "train",
        "dtype",
        "f16 needs loss scaling, which is not there; take \"bf16\" or \"f32\"".into(),
    );
    for (table, key, number) in [
        ("train", "memory_limit_gib", train.memory_limit_gib.unwrap_or(f64::MIN_POSITIVE)),
        ("train", "spike_factor", train.spike_factor),
        ("log", "peak_tflops", recipe.log.peak_tflops),
    ] {
        let sound = number.is_finite() && number >= 0.0;
        require(sound, table, key, format!("{number} must be a number of 0 or more"));
    }
    require(recipe.log.logging_steps > 0, "log", "logging_steps", "must be at least 1".into());
}

fn eval(recipe: &Recipe, require: &mut Require) {
    let eval = &recipe.eval;
    require(
        eval.min_frames <= eval.max_frames,
        "eval",
        "min_frames",
        format!("{} is above max_frames = {}", eval.min_frames, eval.max_frames),
    );
    for (key, count) in [
        ("min_frames", eval.min_frames),
        ("repeat", eval.repeat),
        ("max_new_tokens", eval.max_new_tokens.unwrap_or(1)),
        ("select", eval.select.unwrap_or(1)),
    ] {
        require(count > 0, "eval", key, "must be at least 1".into());
    }
}
