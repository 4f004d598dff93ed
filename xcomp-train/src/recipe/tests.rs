use super::*;

const MINIMAL: &str = "[model]\ncheckpoint = \"base\"\n[data]\nmixture = \"m.yaml\"\n";

fn read(text: &str, set: &[&str]) -> Result<Recipe, RecipeError> {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    Recipe::parse(Path::new("runs/a.toml"), text.into(), &set)
}

fn refused(text: &str, set: &[&str]) -> String {
    read(text, set).unwrap_err().to_string()
}

#[test]
fn a_value_comes_from_the_default_the_recipe_or_the_command_line() {
    let text = format!("{MINIMAL}[train]\nseed = 7\nmax_steps = 3\n");
    let recipe = read(&text, &["train.max_steps=9"]).unwrap();
    assert_eq!((recipe.train.seed, recipe.train.max_steps), (7, 9));
    assert_eq!(recipe.origin("train", "seed"), Origin::Recipe(6));
    assert_eq!(recipe.origin("train", "max_steps"), Origin::Set);
    assert_eq!(recipe.origin("train", "loss_norm"), Origin::Default);
}

#[test]
fn paths_start_at_the_folder_of_the_recipe() {
    let recipe = read(MINIMAL, &[]).unwrap();
    assert_eq!(recipe.model.config, "runs/base/config.json");
    assert_eq!(recipe.model.tokenizer, "runs/base/tokenizer.json");
    assert_eq!(recipe.data.mixture, "runs/m.yaml");
}

#[test]
fn wrong_keys_are_named_with_line_and_nearest_key() {
    insta::assert_snapshot!(
        refused("[modle]\ncheckpoint = \"b\"\n[optimizer]\nlearning_rat = 1e-5\nseed = 3\nmax_gradnorm = 1\n", &[]),
        @r#"
    runs/a.toml:1: unknown table [modle]; did you mean [model]?
    runs/a.toml:4: unknown key `learning_rat` in [optimizer]; did you mean `learning_rate`?
    runs/a.toml:5: unknown key `seed` in [optimizer]; it belongs to [train]
    runs/a.toml:6: unknown key `max_gradnorm` in [optimizer]; did you mean `max_grad_norm`?
    runs/a.toml: [model] checkpoint: name the folder of the base checkpoint, or at least its `config`
    runs/a.toml: [data] mixture: name the mixture YAML, or for a plan alone `expected_samples`
    "#
    );
}

#[test]
fn wrong_values_and_contradictions_come_all_at_once() {
    let text = format!(
        "{MINIMAL}max_frames = 100\nkeep_end = 1.5\n[compression]\nschedule = \"cosinus\"\ntokens = [1]\n[train]\nrecompute = \"auto\"\nseed = \"x\"\n[tune]\nparts = [\"lm\"]\n"
    );
    insta::assert_snapshot!(refused(&text, &["optimizer.adam_beta1=2"]), @r#"
    runs/a.toml:3: [data] keep_start: the kept share 0..1.5 must be a part of 0..1
    runs/a.toml:3: [data] min_frames: 128 is above max_frames = 100
    runs/a.toml:5: [data] max_frames: 100 must be a positive multiple of clip_frames = 8
    runs/a.toml:8: [compression] schedule = "cosinus": unknown variant `cosinus`, expected one of `none`, `cosine`, `cosine_full_first`, `ceil`, `algorithm_b`, `step`, `pool`, `rank`, `fastv`, `uniform`, `list`, `budget`, `elastic`
    runs/a.toml:9: [compression] tokens: schedule = "cosine" has no use for this key
    runs/a.toml:11: [train] recompute: "auto" plans for [train] memory_limit_gib, which is not given
    runs/a.toml:12: [train] seed = "x": invalid type: string "x", expected u64
    runs/a.toml:14: [tune] parts: `lm` names no part; there are llm, newline, projector, vision, vst, embed, head, norm, layers and layers.A-B
    runs/a.toml: [optimizer] adam_beta1: 2 must be in 0..1, 1 excluded
    "#);
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    for (set, key) in [
        ("train.memory_limit_gib=-1", "memory_limit_gib"),
        ("train.memory_limit_gib=nan", "memory_limit_gib"),
        ("train.spike_factor=-3", "spike_factor"),
        ("train.spike_factor=inf", "spike_factor"),
        ("log.peak_tflops=nan", "peak_tflops"),
        ("data.prefetch_mib=17592186044416", "prefetch_mib"), // 2^44 MiB are 2^64 bytes
    ] {
        let told = refused(MINIMAL, &[set]);
        assert!(told.contains(key), "{set}: {told}");
    }
}

#[test]
fn a_wrong_set_says_how_it_is_written() {
    insta::assert_snapshot!(refused(MINIMAL, &["max_steps=3"]), @"--set max_steps=3: write it as table.key=value, for example --set train.max_steps=20");
    insta::assert_snapshot!(refused(MINIMAL, &["train.max_step=3"]), @"runs/a.toml: unknown key `max_step` in [train]; did you mean `max_steps`?");
}

#[test]
fn broken_toml_names_the_line() {
    insta::assert_snapshot!(refused("[model]\ncheckpoint = \n", &[]), @"runs/a.toml:2: not TOML: string values must be quoted, expected literal string");
}

#[test]
fn the_lock_is_a_recipe_with_the_same_values() {
    let text = format!("{MINIMAL}[train]\nseed = 7\n");
    let recipe =
        read(&text, &["data.keep_seed=42", "tune.parts=[\"llm\", \"projector\"]"]).unwrap();
    let lock = recipe.lock(&[("weights sha256".into(), "ab".into())]);
    assert!(lock.contains("seed = 7 # recipe, line 6"), "{lock}");
    assert!(lock.contains("keep_seed = 42 # --set"), "{lock}");
    assert!(lock.contains("loss_norm = \"sample\" # default"), "{lock}");
    let again = Recipe::parse(Path::new("elsewhere/recipe.lock.toml"), lock, &[]).unwrap();
    assert_eq!((&again.train, &again.tune), (&recipe.train, &recipe.tune));
    let mixture = std::path::absolute("runs/m.yaml").unwrap();
    assert_eq!(Path::new(&again.data.mixture), mixture);
}

#[test]
fn the_page_of_keys_is_that_of_the_tables() {
    let page = include_str!("../../../docs/recipe.md");
    let text = [keys::HEAD, &keys::markdown(&described())].concat();
    assert!(page.trim() == text.trim(), "run: xcomp recipe keys > docs/recipe.md");
}

/// A key has to earn its place; these are enough for adapters, validation, packing and more than one device.
#[test]
fn the_keys_are_at_most_a_hundred_and_twenty() {
    let count: usize = KEYS.iter().map(|(_, keys)| keys.len()).sum();
    assert!(count <= 120, "{count}");
}

#[test]
fn what_acts_on_answers_alone_is_not_trained_and_needs_no_recipe() {
    let fastv = ["schedule=fastv", "step_layers=[2]", "step_shares=[0.5]"].map(str::to_owned);
    let set = fastv.clone().map(|setting| format!("compression.{setting}"));
    let error = refused(MINIMAL, &set.each_ref().map(String::as_str));
    assert!(error.contains("cannot be trained"), "{error}");
    assert_eq!(answer_compression(&fastv).unwrap().schedule, tables::ScheduleKind::FastV);

    let wrong = ["group_order=frame", "step_layer=[2]", "fastv", "schedule=fastv"];
    let error = answer_compression(&wrong.map(str::to_owned)).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"
    --set: [compression] group_order: the order is that of the checkpoint, whose features stand in it
    --set: unknown key `step_layer` in [compression]; did you mean `step_layers`?
    --set: [compression] fastv: write it as key=value, for example schedule=fastv
    --set: [compression] step_layers: schedule = "fastv" needs this key
    --set: [compression] step_shares: schedule = "fastv" needs this key
    --set: [compression] step_layers: schedule = "fastv" drops once: give one layer
    "#);
}

/// Recipes out of hostile pieces: read, or refused by the file's name, never a panic.
#[test]
fn hostile_recipes_are_read_or_refused() {
    let pieces = [
        "[data]",
        "[tune]",
        "[train]",
        "[compression]",
        "[data",
        "[[data]]",
        "keep_seed = 42",
        "fps = nan",
        "fps = -inf",
        "seed = 18446744073709551616",
        "seed = -1",
        "parts = []",
        "parts = [7]",
        "parts = \"llm\"",
        "tokens = [1e9]",
        "max_frames = 0",
        "fps = 2",
        "schedule = \"<image>\"",
        "\u{feff}",
        "\u{0}",
        "= 3",
        "\"\\ud83d\" = 1",
        "x.y.z = {a = [",
        "step_layers = [-1]",
        "prefetch_mib = 0x7fffffffffffffff",
        "# \u{2028}",
        "workers = 2",
    ];
    let mut random = crate::machine::random::Random::new(4);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..3000 {
        let lines: Vec<&str> =
            (0..random.below(4)).map(|_| pieces[random.below(pieces.len())]).collect();
        match read(&format!("{MINIMAL}{}\n", lines.join("\n")), &[]) {
            Ok(_) => taken += 1,
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("a.toml"), "{lines:?}: {error}");
            }
        }
    }
    assert!(taken > 100 && refused > 1000, "{taken} {refused}");
}
