use super::*;

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
    assert_eq!(report.tokens_per_layer, [16,16,16,15,15,14,14,13,12,12,11,10,9,9,8,7,6,5,5,4,3,3,2,2,1,1,1,1]);
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
    compression  cosine, suffix kept, 8.25 tokens a frame in the mean; in each layer
                 16 16 16 15 15 14 14 13 12 12 11 10 9 9 8 7 6 5 5 4 3 3 2 2 1 1 1 1
    data         71,927 samples (expected, mixture not read)
    steps        2,247 of 32 samples, warm-up 68
    mean sample  260 frames, 247 text tokens: 4,407 tokens in, 507 out
                 260T FLOPs: vision 239T, merge 55.2G, projector 32.7G, llm forward 6.92T, backward 13.8T, head 179G
    worst sample 1024 frames, 247 text tokens: 16,631 tokens in, 1,271 out
                 1.04P FLOPs: vision 940T, merge 217G, projector 129G, llm forward 31.8T, backward 63.7T, head 179G
    run          18.7E model FLOPs, 18.7E on the device (everything kept)
    memory       87.3 GiB at the peak of the worst step
                 tuned weights 5.8 GiB, frozen 1.1 GiB, gradients 11.5 GiB, moments 11.5 GiB
                 work 1.7 GiB, activations 55.5 GiB, logits 222.6 MiB, or frames and tower 760.9 MiB
                 and on the host 19.3 GiB for frames that wait and a checkpoint on its way to disk
    disk         34.5 GiB at most; a checkpoint 17.3 GiB, an export 3.4 GiB
    time         16.5 h at 40 % of the device's peak, which needs 315 frames/s from the data path
    ");
}

#[test]
fn auto_recomputes_only_what_does_not_fit() {
    let auto = |gib: &str| {
        let limit = format!("train.memory_limit_gib={gib}");
        plan("xcomp-2b.toml", &["train.recompute=auto", &limit]).recompute
    };
    assert!(!auto("400"));
    assert!(auto("40"));
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
    refused(&["compression.schedule=list", "compression.tokens=[16]"], "one number per layer");
    refused(&["data.expected_samples=31"], "do not fill one optimizer step of 32");
    refused(&["model.config=nowhere.json"], "nowhere.json");
}
