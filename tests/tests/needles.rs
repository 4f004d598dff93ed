//! `xcomp niah` from drawn material and from files in the published layout.

use serde_json::{Value, json};
use xcomp_tests::Task;

fn niah(run: &Task, more: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["niah", "model", "--out", "out", "--format", "json"];
    arguments.extend([
        "--device",
        "cpu",
        "--lengths",
        "16,64",
        "--depths",
        "0.5,1",
        "--count",
        "2",
    ]);
    arguments.extend(more);
    let ended = run.run(&arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn every_cell_of_the_grid_is_scored_and_drawn() {
    let run = Task::tuned();
    let chain = json!({
        "images": ["0.png", "1.png", "2.png"],
        "question1": "Which?\n(A) red\n(B) green\nOnly give the best option. Best option: (",
        "answer1": "A",
        "question2": "What?\n(A) red\n(B) green\nOnly give the best option. Best option: (",
        "answer2": "B",
    });
    run.write("chains.json", &json!([chain, chain]).to_string());
    let files = ["--chains", "chains.json", "--pictures", "pictures", "--haystack", "pictures"];
    for more in [&[][..], &files] {
        let cells = niah(&run, more);
        let at: Vec<(u64, f64)> = cells
            .iter()
            .map(|cell| (cell["frames"].as_u64().unwrap(), cell["depth"].as_f64().unwrap()))
            .collect();
        assert_eq!(at, [(16, 0.5), (16, 1.0), (64, 0.5), (64, 1.0)]);
        for cell in &cells {
            let share = |key: &str| cell[key].as_f64().unwrap();
            assert!((share("score") - f64::midpoint(share("caption"), share("qa"))).abs() < 1e-12);
            assert!((0.0..=1.0).contains(&share("qa")));
        }
        let svg = std::fs::read_to_string(run.path("out/niah.svg")).unwrap();
        assert_eq!(svg.matches("<rect").count(), 4);
    }
}
