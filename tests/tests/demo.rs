//! `xcomp demo`: the main job from nothing, with what it promises.

use serde_json::Value;
use xcomp_tests::Task;

#[test]
fn the_demo_learns_to_answer_held_out_questions() {
    let folder = Task::pictures();
    let ended = folder.run(&["demo", "--out", "demo", "--device", "cpu", "--format", "json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(number("loss_last") <= number("loss_first") / 2.0, "{report}");
    assert!(number("peak_gib") < 4.0, "{report}");
    assert_eq!(report["tokens_per_layer"].as_array().unwrap().last().unwrap(), 1.0);
    for row in report["rows"].as_array().unwrap() {
        let share = |when: &str| {
            row[when]["right"].as_f64().unwrap() / row[when]["asked"].as_f64().unwrap()
        };
        let chance = row["chance"].as_f64().unwrap();
        assert!(share("after") > chance + 0.25 && share("after") > share("before"), "{row}");
    }
}
