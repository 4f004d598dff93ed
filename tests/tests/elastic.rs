//! One checkpoint for any number of tokens: a budget is drawn for every sample, and answers ask for any of them.

#![cfg(feature = "video")]

use std::collections::BTreeSet;
use std::path::Path;

use xcomp_tests::Task;
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::machine::stop::Stop;
use xcomp_train::plan::Plan;
use xcomp_train::run::launch::{planned, train_recipe};

const ALONE: &str = "train.per_device_batch_size=1";

fn plan(task: &Task, set: &[&str]) -> Plan {
    planned(task.recipe(&[set, &[ALONE]].concat())).unwrap()
}

/// Weights, moments and state of the last save.
fn trained(task: &Task, out: &Path, set: &[&str]) -> [String; 3] {
    train_recipe(task.recipe(&[set, &[ALONE]].concat()), out, Choice::Cpu, Stop::never()).unwrap();
    saved(out)
}

fn saved(out: &Path) -> [String; 3] {
    ["model.safetensors", "optimizer.safetensors", "train_state.json"]
        .map(|name| size_and_sha256(&out.join("last").join(name)).unwrap().1)
}

fn elastic(budgets: &str) -> [String; 2] {
    ["compression.schedule=elastic".into(), format!("compression.budgets={budgets}")]
}

/// Of one budget it is that budget's schedule, which is a list of counts; of several it is none of theirs.
#[test]
fn one_budget_is_its_schedule_to_the_bit() {
    let task = Task::folders();
    let counts = plan(&task, &["compression.schedule=budget", "compression.budgets=[2]"]);
    let counts: Vec<usize> =
        counts.compression.tokens_per_layer().iter().map(|tokens| *tokens as usize).collect();
    let list = format!("compression.tokens={counts:?}");
    let train = |name: &str, set: [&str; 2]| trained(&task, &task.path(name), &set)[0].clone();
    let of = |name: &str, budgets: &str| {
        let [schedule, budgets] = elastic(budgets);
        train(name, [&schedule, &budgets])
    };
    let one = of("one", "[2]");
    assert_eq!(one, train("budget", ["compression.schedule=budget", "compression.budgets=[2]"]));
    assert_eq!(one, train("list", ["compression.schedule=list", &list]));
    let several = of("several", "[1,2,4]");
    assert!([one, of("all", "[4]")].iter().all(|other| *other != several));
}

#[test]
fn a_resumed_run_draws_the_same_budgets() {
    let task = Task::folders();
    let (whole, parts) = (task.path("whole"), task.path("parts"));
    let set = elastic("[1,2,3,4]");
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let want = trained(&task, &whole, &set);
    trained(&task, &parts, &set);
    std::fs::remove_dir_all(parts.join("checkpoint-6")).unwrap();
    assert_eq!(trained(&task, &parts, &set), want, "from step 4 on");
}

/// Every budget has its turn, by seed and number of the sample alone; the plan's own numbers are those of the largest.
#[test]
fn a_budget_is_a_function_of_seed_and_number() {
    let task = Task::folders();
    let [schedule, budgets] = elastic("[1,4,2]");
    let drawn = |seed: &str| -> Vec<u64> {
        let plan = plan(&task, &[&schedule, &budgets, seed]);
        assert!((plan.compression.mean_tokens() - 4.0).abs() < 1e-9);
        let of = |number| plan.of_sample(number).compression.mean_tokens().to_bits();
        (0..60).map(of).collect()
    };
    let first = drawn("train.seed=1");
    assert_eq!(first, drawn("train.seed=1"));
    assert_ne!(first, drawn("train.seed=2"));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn an_answer_asks_for_its_tokens() {
    let task = Task::tuned();
    let out = |tokens: &[&str]| {
        let ask = ["ask", "model", "pictures/0.png", "Which colour?", "--format", "json"];
        task.run(&[&ask[..], &["--device", "cpu", "--max-new-tokens", "2"], tokens].concat())
    };
    let left = |tokens: &[&str]| -> (u64, u64) {
        let ended = out(tokens);
        assert_eq!(ended.code, 0, "{ended:?}");
        let answer: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let count = |key: &str| answer[key].as_u64().unwrap();
        (count("visual_tokens_in"), count("visual_tokens_out"))
    };
    let (all, tuned) = left(&[]);
    assert!(tuned < all);
    let frame = plan(&task, &[]).compression.tokens_per_frame().to_string();
    assert_eq!(left(&["--tokens", &frame]), (all, all), "a budget of all tokens drops none");
    let refused = |tokens: &[&str], why: &str| {
        let ended = out(tokens);
        assert!(ended.code == 2 && ended.stderr.contains(why), "{ended:?}");
    };
    refused(&["--tokens", "999"], "give a number from 1 to");
    refused(&["--tokens", "0.5"], "give a number from 1 to");
    refused(
        &["--tokens", "2", "--set", "compression.keep=uniform"],
        "leave --set compression.keep=uniform out",
    );
}

#[test]
fn budgets_that_do_not_fit_are_refused() {
    let task = Task::folders();
    let refused = |set: &[&str], why: &str| {
        let error = planned(task.recipe(set)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    let [schedule, budgets] = elastic("[1,2]");
    refused(
        &[&schedule, &budgets, "train.per_device_batch_size=2"],
        "draws a budget for every sample; set it to 1",
    );
    refused(&[&schedule, "compression.budgets=[2,99]", ALONE], "a compression budget of 99");
    for (set, why) in [
        (&["compression.budgets=[2]"][..], "has no use for this key"),
        (&["compression.schedule=elastic"], "needs this key"),
        (&["compression.schedule=budget", "compression.budgets=[1,2]"], "has one: give one number"),
    ] {
        let ended = task.run(
            &[
                &["plan", "recipe.toml"],
                &set.iter().flat_map(|key| ["--set", key]).collect::<Vec<_>>()[..],
            ]
            .concat(),
        );
        assert!(ended.code == 2 && ended.stderr.contains(why), "{ended:?}");
    }
}
