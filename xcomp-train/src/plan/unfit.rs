//! What of a recipe does not fit the model.

use xcomp_model::base::config::ModelConfig;

use crate::plan::cost::parameters::count;
use crate::plan::tuning::Tuning;
use crate::plan::vst::Windows;
use crate::recipe::Recipe;
use crate::recipe::tables::{RecomputeWord, ScheduleKind, TuneTable, VstTable, WindowsWord};
use crate::recipe::tune::Part;

/// The first of it, in words.
pub(super) fn unfit(recipe: &Recipe, config: &ModelConfig, tuning: &Tuning) -> Option<String> {
    no_such_map(recipe, config, tuning)
        .or_else(|| group_without_tensors(recipe, config, &tuning.parts))
        .or_else(|| other_clips(recipe, config))
        .or_else(|| learned_tokens(recipe, config))
        .or_else(|| drawn_budgets(recipe))
}

/// A target that names no map of the tuned parts.
fn no_such_map(recipe: &Recipe, config: &ModelConfig, tuning: &Tuning) -> Option<String> {
    tuning.lora.as_ref()?;
    let none = |target: &&String| {
        let lora_targets = vec![(*target).clone()];
        let table = TuneTable { lora_targets, ..recipe.tune.clone() };
        let alone = Tuning::of(&table, &tuning.parts, config).lora;
        alone.is_none_or(|lora| lora.maps.is_empty())
    };
    let target = recipe.tune.lora_targets.iter().find(none)?;
    Some(format!(
        "[tune] lora_targets: `{target}` ends the name of no linear map of the tuned parts; maps are called as in the checkpoint, such as q_proj, up_proj, or mlp.0 of the projector"
    ))
}

/// What names no tuned tensor: a part, or a learning rate of one.
fn group_without_tensors(recipe: &Recipe, config: &ModelConfig, parts: &[Part]) -> Option<String> {
    let none = |parts: &[Part]| {
        let tuning = Tuning::of(&recipe.tune, parts, config);
        count(config, &tuning).iter().all(|count| count.tuned == 0)
    };
    for (part, word) in parts.iter().zip(&recipe.tune.parts) {
        if none(std::slice::from_ref(part)) {
            let tied = *part == Part::Head;
            return Some(format!(
                "[tune] parts: `{word}` matches no tensor of this model of {} layers{}",
                config.llm.num_hidden_layers,
                if tied { ", whose head is tied to the embeddings" } else { "" }
            ));
        }
    }
    let optimizer = &recipe.optimizer;
    let rates = [
        ("mm_projector_lr", optimizer.mm_projector_lr, Part::Projector, "projector"),
        ("mm_vision_tower_lr", optimizer.mm_vision_tower_lr, Part::Vision, "vision"),
    ];
    let idle = |part: &Part| !parts.contains(part);
    let (key, _, _, word) =
        rates.into_iter().find(|(_, rate, part, _)| rate.is_some() && idle(part))?;
    Some(format!(
        "[optimizer] {key}: no tensor of {word} is tuned; add \"{word}\" to [tune] parts, or leave the key out"
    ))
}

/// Clips that the tower has no positions for: it sees those of its own length, or single frames.
fn other_clips(recipe: &Recipe, config: &ModelConfig) -> Option<String> {
    let (asked, own) = (recipe.data.clip_frames, config.vision.clip_frames);
    (own > 1 && asked != own && asked != 1).then(|| {
        format!(
            "[data] clip_frames = {asked}: the tower sees clips of {own} frames, or single ones; set it to {own} or 1, or state other clips in {}",
            recipe.model.config
        )
    })
}

/// What of a recipe does not fit budgets that are drawn sample by sample.
fn drawn_budgets(recipe: &Recipe) -> Option<String> {
    let elastic = recipe.compression.schedule == ScheduleKind::Elastic;
    let samples = recipe.train.per_device_batch_size;
    (elastic && samples > 1).then(|| {
        format!("[train] per_device_batch_size = {samples}: schedule = \"elastic\" draws a budget for every sample; set it to 1 and raise gradient_accumulation_steps")
    })
}

/// What of a recipe does not fit a model with learned tokens, or is meant for one.
fn learned_tokens(recipe: &Recipe, config: &ModelConfig) -> Option<String> {
    match config.llm.vst {
        None => meant_for_windows(recipe, config),
        Some(_) => windows_beside_others(recipe, config),
    }
}

fn meant_for_windows(recipe: &Recipe, config: &ModelConfig) -> Option<String> {
    let table = |vst: &VstTable| toml::Table::try_from(vst).unwrap_or_default();
    let (given, usual) = (table(&recipe.vst), table(&VstTable::default()));
    let key = VstTable::KEYS.iter().find(|key| given.get(**key) != usual.get(**key))?;
    Some(format!(
        "[vst] {key}: a {} has no learned tokens for windows; leave the table out",
        config.family.name
    ))
}

fn windows_beside_others(recipe: &Recipe, config: &ModelConfig) -> Option<String> {
    let name = config.family.name;
    let (learning, answering) = (recipe.vst.windows, recipe.vst.answering());
    if recipe.data.clip_frames != 1 {
        return Some(format!(
            "[data] clip_frames = {}: the tower of a {name} sees single frames; set it to 1",
            recipe.data.clip_frames
        ));
    }
    let schedule = recipe.compression.schedule;
    let on = [("windows", learning), ("answer_windows", answering)];
    let on = on.into_iter().find(|(_, word)| *word != WindowsWord::None);
    if let (Some((key, word)), true) = (on, schedule != ScheduleKind::None) {
        return Some(format!(
            "[compression] schedule = \"{}\": a {name} summarises windows and drops no tokens between layers, and [vst] {key} = \"{}\"; set one of them to \"none\"",
            schedule.word(),
            word.word()
        ));
    }
    if learning == WindowsWord::None {
        let vst = recipe.tune.parts.iter().any(|part| part.parse() == Ok(Part::Vst));
        return vst.then(|| "[tune] parts: `vst`: [vst] windows = \"none\" leaves learned tokens out, so they learn nothing; leave one of the two out".into());
    }
    if recipe.train.recompute != RecomputeWord::None {
        return Some(format!(
            "[train] recompute: a {name} computes whole windows again by [vst] backward = \"windows\"; set it to \"none\""
        ));
    }
    if recipe.data.packing {
        return Some(format!(
            "[data] packing: a {name} reads every sample in windows, each over the memory of those before it, which no other sample shares; set it to false"
        ));
    }
    let windows = Windows::new(&recipe.vst, config, recipe.train.seed);
    windows.and_then(|windows| windows.impossible(config.tokens_per_frame()))
}
