//! Sweeps as files.

use super::*;

fn load(text: &str) -> Result<Sweep, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.toml");
    std::fs::write(&path, text).unwrap();
    Sweep::load(&path).map_err(|error| error.to_string())
}

const HEAD: &str =
    "[sweep]\nrecipe = \"r.toml\"\nseeds = [1, 2]\nquestions = \"q.json\"\nvideos = \".\"\n";

#[test]
fn a_grid_is_every_combination_and_names_itself() {
    let sweep = load(&format!(
        "{HEAD}reference = \"schedule=none, learning_rate=0.001\"\n[grid]\n\
         compression.schedule = [\"none\", \"cosine\"]\noptimizer.learning_rate = [1e-3, 1e-4]\n"
    ))
    .unwrap();
    let names: Vec<&str> = sweep.arms.iter().map(|arm| arm.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "schedule=none, learning_rate=0.001",
            "schedule=none, learning_rate=0.0001",
            "schedule=cosine, learning_rate=0.001",
            "schedule=cosine, learning_rate=0.0001",
        ]
    );
    assert_eq!(
        sweep.arms[3].train,
        ["compression.schedule=\"cosine\"", "optimizer.learning_rate=0.0001",]
    );
    assert!(sweep.arms.iter().all(|arm| arm.seeds == [1, 2] && arm.eval.is_empty()));
}

#[test]
fn arms_have_names_seeds_and_questions_of_their_own() {
    let sweep = load(&format!(
        "{HEAD}reference = \"a\"\nask = [\"--by\", \"likelihood\"]\n[[arm]]\nname = \"a\"\n\
         [[arm]]\nname = \"b\"\nseeds = [7]\nask = [\"--global\"]\ncompression.step_layers = [3, 6]\n"
    ))
    .unwrap();
    let want = Arm {
        name: "b".into(),
        seeds: vec![7],
        mixture: None,
        train: vec!["compression.step_layers=[3, 6]".into()],
        eval: vec![],
        answers: vec![],
        frames: vec![],
        curve: None,
        ask: ["--by", "likelihood", "--global"].map(str::to_owned).to_vec(),
    };
    assert_eq!(sweep.arms[1], want);
    let seeds =
        |sweep: &Sweep| -> Vec<u64> { sweep.rounds().iter().map(|draw| draw.seed).collect() };
    assert_eq!(seeds(&sweep), [1, 2, 7]);
    assert_eq!(seeds(&sweep.with_first_seeds(1)), [1, 7]);
}

#[test]
fn a_compression_of_answers_alone_is_no_matter_of_the_training() {
    let sweep = load(&format!(
        "{HEAD}reference = \"a\"\n[[arm]]\nname = \"a\"\ntrain.max_steps = 1\ncompression.schedule = \"fastv\"\n\
         compression.step_layers = [2]\ncompression.step_shares = [0.5]\n"
    ))
    .unwrap();
    assert_eq!(sweep.arms[0].train, ["train.max_steps=1"]);
    let want = ["schedule=\"fastv\"", "step_layers=[2]", "step_shares=[0.5]"];
    assert_eq!(sweep.arms[0].answers, want);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let error = load(
        "[sweep]\nrecipe = \"r.toml\"\nseeds = []\nreference = \"x\"\n[grid]\n\
         optimizer.learning_rate = 3\n[[arm]]\nname = \"a\"\ncompression.schdule = \"none\"\n\
         [[arm]]\nname = \"a\"\n[[arm]]\nname = \"b\"\nmixture = \"m.yaml\"\n\
         [[table]]\ntitle = \"T\"\narms = [\"a\", \"c\"]\n\
         [needles]\narms = [\"d\"]\nlengths = [4]\ndepths = [1.5]\ncount = 1\n",
    )
    .unwrap_err();
    for says in [
        "no arm is named `x`",
        "no arm is named `c`",
        "two arms are named `a`",
        "no key compression.schdule",
        "give a list of values",
        "needs a seed",
        "nothing is asked",
        "[needles] arms: no arm is named `d`",
        "depths from 0 to 1",
        "[needles] are those of a made-up world",
        "mixture names a file of the made-up world",
    ] {
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(load("[sweep]\nrecipes = 1\n").unwrap_err().contains("recipes"));
}

/// Draws of arms and rounds, as `base/seed`.
fn drawn(draws: &[Draw]) -> String {
    let words = draws.iter().map(|draw| format!("{}/{}", draw.base, draw.seed));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_arm_is_trained_from_every_base_or_from_its_own() {
    let text = |keys: &str| {
        format!(
            "{HEAD}reference = \"a\"\nbase = \"b.toml\"\nbase_seeds = [9, 5]\n{keys}\
             [[arm]]\nname = \"a\"\n[[arm]]\nname = \"b\"\nseeds = [1]\n"
        )
    };
    let crossed = load(&text("")).unwrap();
    assert_eq!(drawn(&crossed.draws(&crossed.arms[0])), "9/1 9/2 5/1 5/2");
    assert_eq!(drawn(&crossed.draws(&crossed.arms[1])), "9/1 5/1");
    assert_eq!(drawn(&crossed.rounds()), "9/1 5/1 9/2 5/2");
    let paired = load(&text("pair_seeds = true\n")).unwrap();
    assert_eq!(drawn(&paired.draws(&paired.arms[0])), "9/1 5/2");
    assert_eq!(drawn(&paired.draws(&paired.arms[1])), "9/1 5/1");
    assert_eq!(drawn(&paired.rounds()), "9/1 5/1 5/2");
    assert_eq!(drawn(&paired.with_first_seeds(1).rounds()), "9/1");
}

#[test]
fn bases_that_do_not_fit_are_refused() {
    let arms = "[[arm]]\nname = \"a\"\n";
    let error = |keys: &str| load(&format!("{HEAD}reference = \"a\"\n{keys}{arms}")).unwrap_err();
    assert!(error("pair_seeds = true\n").contains("give [sweep] base_seeds"));
    let all = error("pair_seeds = true\nbase_seeds = [1, 1, 2]\n");
    for says in
        ["give [sweep] base", "give each seed once", "arm `a`: pair_seeds wants one seed or 3"]
    {
        assert!(all.contains(says), "{says}: {all}");
    }
}
