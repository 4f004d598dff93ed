//! What a step sends to the device and reads from it.

use xcomp_model::transfer::Traffic;
use xcomp_tests::Task;
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::stop::Stop;
use xcomp_train::run::launch::train_recipe;

/// Samples of an optimizer step of the task's recipe.
const SAMPLES: usize = 2;
/// A picture of the task.
const PICTURE: usize = 64 * 64 * 3;

/// What a run of so many steps moves between host and device.
fn moved(task: &Task, steps: usize, more: &[&str]) -> Traffic {
    let out = task.path(&format!("{steps}-{}", more.concat()));
    let steps = format!("train.max_steps={steps}");
    let accumulation = format!("train.gradient_accumulation_steps={SAMPLES}");
    let set = [&[steps.as_str(), &accumulation, "log.logging_steps=100"], more].concat();
    let before = Traffic::now();
    train_recipe(task.recipe(&set), &out, Choice::Cpu, Stop::never()).unwrap();
    Traffic::now().since(before)
}

/// Between records a step reads nothing from the device, and sends pixels and token ids alone: tables, rows of drops and
/// weights of losses are there already, once their lengths have been seen.
///
/// The counts are those of the process: no other test may run in it.
#[test]
fn a_step_reads_nothing_and_sends_pixels_and_ids() {
    let task = Task::pictures();
    // The picture, the tokens of its prompt, which are embedded again on the way back, and those of its answer.
    for (recompute, uploads) in [("train.recompute=none", 3), ("train.recompute=layer", 4)] {
        let set = ["checkpoint.save_steps=0", recompute];
        moved(&task, 9, &set); // all lengths
        std::fs::remove_dir_all(task.path(&format!("9-{}", set.concat()))).unwrap();
        let (long, short) = (moved(&task, 9, &set), moved(&task, 2, &set));
        let of_seven = long.since(short);
        assert_eq!(of_seven.reads, 0, "{recompute}");
        assert_eq!(of_seven.uploads, 7 * SAMPLES * uploads, "{recompute}");
        let text = of_seven.uploaded_bytes - 7 * SAMPLES * PICTURE;
        assert!(text < 7 * SAMPLES * 1000, "{recompute}: {text} bytes of ids");
    }
}
