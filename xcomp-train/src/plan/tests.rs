use super::*;
use crate::plan::fit::{Fit, Setting};

/// A checked-in recipe, from the crate's folder.
fn recipe(name: &str, set: &[&str]) -> Recipe {
    let path = Path::new("../recipes").join(name);
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    Recipe::load(&path, &set).unwrap()
}

fn plan(name: &str, set: &[&str]) -> Plan {
    Plan::new(recipe(name, set), None).unwrap()
}

#[test]
fn the_missions_recipe_tunes_the_language_model_for_2247_steps() {
    let report = plan("xcomp-2b.toml", &[]).report();
    assert_eq!((report.tuned, report.total), (1_543_714_304, 1_838_128_640));
    assert_eq!((report.steps, report.warmup_steps, report.samples_per_step), (2247, 68, 32));
    #[rustfmt::skip]
    assert_eq!(report.tokens_per_layer, [16.,16.,16.,15.,15.,14.,14.,13.,12.,12.,11.,10.,9.,9.,8.,7.,6.,5.,5.,4.,3.,3.,2.,2.,1.,1.,1.,1.]);
}

#[test]
fn the_released_scripts_recipe_also_tunes_the_projector() {
    let report = plan("xcomp-2b-released.toml", &[]).report();
    assert_eq!((report.tuned, report.total), (1_547_649_536, 1_838_128_640));
    assert_eq!((report.steps, report.warmup_steps), (2247, 68));
}

#[test]
fn the_page_of_the_missions_recipe_reads_so() {
    insta::assert_snapshot!(plan("xcomp-2b.toml", &[]).report(), @"
    recipe       ../recipes/xcomp-2b.toml
    model        ../recipes/models/videochat-flash-2b.json
    parameters   part                   tuned          frozen
                 llm            1,543,714,304               0
                 projector                  0       3,935,232
                 vision                     0     290,479,104
                 all            1,543,714,304     294,414,336  of 1,838,128,640
    groups       part                 tensors      parameters   peak lr     decay
                 llm                      338   1,543,714,304    1.0e-5         0
    compression  cosine, suffix kept, 8.25 tokens a frame in the mean; in each layer
                 16 16 16 15 15 14 14 13 12 12 11 10 9 9 8 7 6 5 5 4 3 3 2 2 1 1 1 1
    data         71,927 samples (expected, mixture not read)
    steps        2,247 of 32 samples, warm-up 68
    mean sample  260 frames, 247 text tokens, 128 of them supervised: 4,407 tokens in, 507 out, 9.2 GiB
                 260T FLOPs: vision 239T, merge 55.2G, projector 32.7G, llm forward 6.92T, backward 13.8T, head 179G
                 FLOPs of each layer: 1.42T 1.42T 1.42T 1.32T 1.32T 1.23T 1.23T 1.14T 1.05T 1.05T 961G 874G 788G 788G 703G 620G 537G 456G 456G 377G 298G 298G 221G 221G 145G 145G 145G 145G
                 bytes kept by each: 629M 629M 629M 597M 597M 565M 565M 534M 502M 502M 471M 439M 408M 408M 376M 345M 313M 281M 281M 250M 218M 218M 187M 187M 155M 155M 155M 155M
    worst sample 1024 frames, 247 text tokens, 128 of them supervised: 16,631 tokens in, 1,271 out, 30.3 GiB
                 1.04P FLOPs: vision 940T, merge 217G, projector 129G, llm forward 31.8T, backward 63.7T, head 179G
                 FLOPs of each layer: 7.22T 7.22T 7.22T 6.63T 6.63T 6.05T 6.05T 5.50T 4.97T 4.97T 4.45T 3.96T 3.48T 3.48T 3.03T 2.59T 2.17T 1.77T 1.77T 1.39T 1.03T 1.03T 693G 693G 372G 372G 372G 372G
                 bytes kept by each: 2.11G 2.11G 2.11G 1.99G 1.99G 1.86G 1.86G 1.74G 1.62G 1.62G 1.49G 1.37G 1.24G 1.24G 1.12G 994M 869M 745M 745M 621M 496M 496M 372M 372M 248M 248M 248M 248M
    run          18.7E model FLOPs, 18.7E on the device (everything kept)
    memory       55.3 GiB at the peak of the worst step, when the loss goes back
                 tuned weights 5.8 GiB, frozen 1.1 GiB, gradients 6.6 GiB, moments 11.5 GiB
                 activations 30.0 GiB, logits 296.8 MiB, work 0 B, frames 32.0 MiB, process 0 B
                 and on the host 3.5 GiB for frames that wait and a tensor on its way to disk
    disk         34.5 GiB at most; a checkpoint 17.3 GiB, an export 3.4 GiB
    time         16.5 h at 40 % of the device's peak, which needs 315 frames/s from the data path
    ");
}

/// Keys that say "auto" are taken in their order, a later one only where no choice of those before it fits.
#[test]
fn auto_gives_up_no_more_than_the_limit_asks_for() {
    const AUTO: [&str; 4] = [
        "train.recompute=auto",
        "train.accumulate_dtype=auto",
        "optimizer.moments_dtype=auto",
        "train.weights_dtype=auto",
    ];
    const LESS: [&str; 4] = [
        "train.recompute=layer",
        "train.accumulate_dtype=bf16",
        "optimizer.moments_dtype=int8",
        "train.weights_dtype=bf16",
    ];
    let peak = |set: &[&str]| plan("xcomp-2b.toml", set).report().memory_peak;
    let peaks: Vec<u64> = (0..16)
        .map(|choice| {
            let taken = (0..4).filter(|key| choice >> key & 1 == 1);
            peak(&taken.map(|key| LESS[key]).collect::<Vec<_>>())
        })
        .collect();
    for gib in [400.0, 50.0, 40.0, 30.0, 25.0, 22.0, 19.0, 1.0] {
        let first = peaks.iter().position(|peak| *peak as f64 <= gib * GIB);
        let least = *peaks.iter().min().unwrap();
        let limit = format!("train.memory_limit_gib={gib}");
        let chosen = plan("xcomp-2b.toml", &[&AUTO[..], &[limit.as_str()]].concat());
        let choice = chosen.choice.clone().unwrap();
        assert_eq!(choice.peak, first.map_or(least, |at| peaks[at]), "{choice}");
        assert_eq!(chosen.report().memory_peak, choice.peak, "{choice}");
        if let Some(at) = first {
            let taken = (0..4).filter(|key| at >> key & 1 == 1).map(|key| LESS[key]);
            assert_eq!(choice.set, taken.collect::<Vec<_>>());
            assert_eq!(choice.refused, peaks[..at].iter().copied().min());
        }
        // What is written down needs no plan any more.
        let lock = chosen.recipe.lock(&[]);
        assert!(!lock.contains("auto") && lock.contains("# chosen by the plan"), "{lock}");
    }
    assert!(plan("xcomp-2b.toml", &["train.memory_limit_gib=22"]).choice.is_none());
    let one = plan("xcomp-2b.toml", &[AUTO[0], "train.memory_limit_gib=400"]).choice.unwrap();
    assert!(one.set.is_empty() && one.refused.is_none());
    assert!(one.to_string().starts_with("auto         everything exact: "), "{one}");
}

/// On a GPU the tower takes as many clips together as do not raise the peak; a tuned tower and a CPU take one.
#[test]
fn clips_go_through_the_tower_together_where_that_takes_no_more() {
    let clips = |set: &[&str]| plan("xcomp-2b.toml", set).report().clips_at_once;
    assert_eq!(clips(&[]), 8);
    assert_eq!(clips(&["train.clips_at_once=3"]), 3);
    assert_eq!(clips(&["train.dtype=f32"]), 1);
    assert_eq!(clips(&["tune.parts=[\"llm\",\"vision\"]"]), 1);
    let peak = |clips: usize| {
        let given = format!("train.clips_at_once={clips}");
        let few = ["tune.parts=[\"norm\"]", "train.recompute=layer", &given];
        plan("xcomp-2b.toml", &few).report().memory_peak
    };
    assert_eq!(peak(1), peak(8));
    assert!(peak(128) > peak(32) && peak(32) > peak(8));
    assert_eq!(peak(4096), peak(128), "1,024 frames are no more than 128 clips");
}

#[test]
fn what_does_not_fit_says_what_would() {
    let told = |file, gib: f64| {
        plan(file, &[&format!("train.memory_limit_gib={gib}")]).report().does_not_fit
    };
    assert_eq!(told("xcomp-2b.toml", 60.0), None);
    let again = told("xcomp-2b.toml", 40.0).unwrap();
    assert!(
        again.contains("memory_limit_gib = 40: with recompute = \"layer\" it takes "),
        "{again}"
    );
    let device = told("xcomp-llava-video-7b.toml", 100.0).unwrap();
    assert!(device.contains("a device of ") && device.contains("moments alone take "), "{device}");
}

/// Parameters of the full sizes, and tokens of every layer.
#[test]
fn seven_billion_parameters_are_planned_with_no_weights() {
    let check = |file, total, first: &[f64]| {
        let report = plan(file, &[]).report();
        assert_eq!(report.total, total, "{file}");
        assert_eq!(report.tokens_per_layer[..first.len()], *first, "{file}");
        assert_eq!(report.tokens_per_layer.last(), Some(&1.0));
    };
    check("xcomp-llava-video-7b.toml", 8_030_348_832, &[182.0, 180.0, 177.0]);
    check("xcomp-llava-next-video-7b.toml", 7_063_431_168, &[144.0, 143.0, 141.0]);
}

#[test]
fn recompute_lowers_memory_and_raises_the_devices_work_alone() {
    let kept = plan("xcomp-2b.toml", &["train.recompute=none"]).report();
    let again = plan("xcomp-2b.toml", &["train.recompute=layer"]).report();
    assert!(again.memory.activations < kept.memory.activations / 4);
    assert!((again.run_flops - kept.run_flops).abs() < 1.0);
    assert!(again.run_hardware_flops > kept.run_hardware_flops);
}

#[test]
fn what_does_not_fit_the_model_or_the_data_is_refused() {
    let refused = |set: &[&str], want: &str| {
        let error = Plan::new(recipe("xcomp-2b.toml", set), None).unwrap_err();
        assert_eq!(error.exit_code(), crate::error::EXIT_RECIPE);
        assert!(error.to_string().contains(want), "{error}");
    };
    refused(&["tune.parts=[\"head\"]"], "tied to the embeddings");
    refused(&["tune.parts=[\"layers.30-40\"]"], "matches no tensor of this model of 28 layers");
    refused(
        &["optimizer.mm_vision_tower_lr=1e-6"],
        "mm_vision_tower_lr: no tensor of vision is tuned",
    );
    refused(&["compression.schedule=list", "compression.tokens=[16]"], "one number per layer");
    let rank = |layers, shares, want| refused(&["compression.schedule=rank", layers, shares], want);
    rank(
        "compression.step_layers=[28]",
        "compression.step_shares=[0.5]",
        "does not fit a stack of 28 layers",
    );
    rank(
        "compression.step_layers=[4,18]",
        "compression.step_shares=[0.5,0.75]",
        "above the 0.5 that is left",
    );
    refused(&["data.clip_frames=4"], "the tower sees clips of 8 frames, or single ones");
    refused(&["data.expected_samples=31"], "do not fill one optimizer step of 32");
    refused(&["model.config=nowhere.json"], "nowhere.json");
}

/// The reference's evaluation of the heuristic: three quarters of the video behind layer 4, one quarter behind layer 18.
#[test]
fn a_ranked_video_is_planned_without_data() {
    let stages = ["compression.step_layers=[4,18]", "compression.step_shares=[0.75,0.25]"];
    let set = [&["compression.schedule=rank"], &stages[..]].concat();
    let report = plan("xcomp-2b.toml", &set).report();
    assert!((report.mean_tokens_per_frame - 272.0 / 28.0).abs() < 1e-12);
    assert_eq!(report.keep, "most attended");
    let tokens: Vec<usize> = report.mean.layers.iter().map(|layer| layer.tokens).collect();
    let visual = |layer: usize| tokens[layer] - report.mean.text_tokens;
    assert_eq!((visual(3), visual(4), visual(17), visual(18)), (4160, 3120, 3120, 1040));
    assert_eq!(report.mean.tokens_out, 1040 + report.mean.text_tokens);
    let page = report.to_string();
    assert!(page.contains("rank, most attended kept, 9.71 tokens a frame"), "{page}");
    assert!(page.contains("16 16 16 16 12 12"), "{page}");
}

/// Pooling before the language model: a frame enters with the means of every four of its sixteen tokens.
#[test]
fn pooling_before_the_first_layer_counts_in_every_layer() {
    let stage = ["compression.step_layers=[0]", "compression.step_strides=[4]"];
    let set = [&["compression.schedule=pool"], &stage[..]].concat();
    let report = plan("xcomp-2b.toml", &set).report();
    assert_eq!(report.tokens_per_layer, [4.0; 28]);
    assert!(report.to_string().contains("pool, means kept, 4.00 tokens a frame"));
    let tokens = 4 * report.mean.frames + report.mean.text_tokens;
    assert!(report.mean.layers.iter().all(|layer| layer.tokens == tokens));
    assert_eq!(report.mean.tokens_out, tokens);
    assert_eq!(report.mean.tokens_in, 16 * report.mean.frames + report.mean.text_tokens);
}

#[test]
fn a_card_of_24_gib_is_told_what_it_can_hold() {
    let base = plan("xcomp-2b.toml", &[]);
    let fit = Fit::new(&base, 24.0).unwrap();
    let (whole, last) = (&fit.rows[0], fit.rows.last().unwrap());
    assert!(whole.set.is_empty() && !whole.fits && whole.peak == base.report().memory_peak);
    assert!(last.fits && last.set[1].starts_with("tune.parts=[\"layers."), "{fit}");
    // What is offered is what the plan of the same keys says, and one layer more would not fit.
    for row in &fit.rows {
        let set: Vec<&str> = row.set.iter().map(String::as_str).collect();
        let planned = plan("xcomp-2b.toml", &set).report();
        assert_eq!(row.peak, planned.memory_peak, "{set:?}");
        assert_eq!(row.fits, planned.memory_peak as f64 <= 24.0 * GIB, "{set:?}");
    }
    let first: usize =
        last.set[1].split("layers.").nth(1).unwrap().split('-').next().unwrap().parse().unwrap();
    let more = format!("tune.parts=[\"layers.{}-27\"]", first - 1);
    let more = plan("xcomp-2b.toml", &["train.recompute=layer", &more]).report();
    assert!(more.memory_peak as f64 > 24.0 * GIB);
    let large = Fit::new(&base, 80.0).unwrap();
    assert!(large.rows.len() == 2 && large.rows[0].fits, "{large}");
    assert!(large.to_string().ends_with("80 GiB hold the recipe as it is\n"));
}

/// What gaming cards hold: all 1,024 frames and every layer.
#[test]
fn the_mission_fits_22_gib_in_fewer_bits() {
    let base = plan("xcomp-2b.toml", &[]);
    assert_eq!(base.samples.worst.frames, 1024);
    let fit = Fit::new(&base, 22.0).unwrap();
    let whole = |row: &&Setting| {
        !row.set.iter().any(|set| set.starts_with("tune.") || set.starts_with("data."))
    };
    let found = fit.rows.iter().filter(whole).find(|row| row.fits);
    let found = found.unwrap_or_else(|| panic!("{fit}"));
    assert!(found.run_s.is_some() && found.price.contains("in "), "{fit}");
    let adapters = fit.rows.iter().find(|row| row.set.contains(&"tune.lora_rank=16".to_owned()));
    assert!(adapters.is_some_and(|row| row.fits), "{fit}");
}

/// Bytes of whole parts follow from the formats alone.
#[test]
fn formats_of_weights_gradients_and_moments_show_in_the_plan() {
    let memory = |set: &[&str]| plan("xcomp-2b.toml", set).report().memory;
    let wide = memory(&[]);
    let near = |got: u64, want: f64| (got as f64 / want - 1.0).abs() < 2e-3;
    let narrow = memory(&["train.weights_dtype=bf16"]);
    assert!(near(narrow.tuned_weights, wide.tuned_weights as f64 / 2.0), "{narrow:?}");
    let half = memory(&["optimizer.moments_dtype=bf16"]);
    assert!(near(half.moments, wide.moments as f64 / 2.0), "{half:?}");
    let bytes = memory(&["optimizer.moments_dtype=int8"]);
    assert!(near(bytes.moments, wide.moments as f64 * (1.0 + 4.0 / 256.0) / 4.0), "{bytes:?}");
    let peak = |set: &[&str]| plan("xcomp-2b.toml", set).report().memory_peak;
    let again = "train.recompute=layer";
    let saved = peak(&[again]) - peak(&[again, "train.accumulate_dtype=bf16"]);
    assert!(saved as f64 > 0.8 * wide.tuned_weights as f64 / 2.0, "{saved}");
}

#[test]
fn the_most_frames_that_fit_are_named() {
    let base = plan("xcomp-2b.toml", &["train.recompute=layer"]);
    let of = |frames: usize| base.memory(SampleSize { frames, ..base.samples.worst }).peak() as f64;
    let limit = of(512) / GIB;
    let fit = Fit::new(&base, limit).unwrap();
    let row = fit.rows.iter().find(|row| row.set == ["data.max_frames=512"]);
    assert!(row.is_some_and(|row| row.fits), "{fit}");
    assert!(of(520) > limit * GIB);
}
