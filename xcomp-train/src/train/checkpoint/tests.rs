use burn::tensor::{Device, Tensor};
use xcomp_model::weights::StoredWeights;

use super::tensors::Held;
use super::*;

fn snapshot(step: usize) -> Snapshot {
    let tensor = Held::new(Tensor::<1>::from_floats([step as f32; 2], &Device::flex()));
    let tensors: HeldTensors = [("a".to_owned(), tensor)].into();
    Snapshot {
        step,
        weights: tensors.clone(),
        moments: Some(tensors),
        state: serde_json::json!({ "step": step }),
        copies: vec![],
    }
}

fn steps(checkpoints: &Checkpoints) -> Vec<usize> {
    checkpoints.folders().unwrap().iter().map(|saved| saved.step).collect()
}

const TWO: Keep = Keep { newest: 2, best: None };

#[test]
fn a_saved_checkpoint_is_found_and_read() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    assert_eq!(checkpoints.latest().unwrap(), (None, vec![]));
    let saved = checkpoints.save(snapshot(3), &TWO, || ()).unwrap();
    assert_eq!(checkpoints.latest().unwrap(), (Some(saved.clone()), vec![]));
    for file in [MODEL, OPTIMIZER] {
        let stored = StoredWeights::in_file(&saved.folder.join(file)).unwrap();
        assert_eq!(stored.numbers("a").unwrap().unwrap().try_into_vec::<f32>().unwrap(), [3.0; 2]);
    }
    assert_eq!(fs::read_link(run.path().join(LAST)).unwrap(), Path::new("checkpoint-3"));
}

#[test]
fn a_link_that_a_kill_left_behind_is_mended() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    let saved = [1, 2].map(|step| checkpoints.save(snapshot(step), &TWO, || ()).unwrap());
    checkpoints.point_last_at("checkpoint-1").unwrap();
    checkpoints.mend_last(&saved[1]).unwrap();
    assert_eq!(fs::read_link(run.path().join(LAST)).unwrap(), Path::new("checkpoint-2"));
    let foreign = Saved { step: 1, folder: "elsewhere/checkpoint-1".into() };
    checkpoints.mend_last(&foreign).unwrap();
    assert_eq!(fs::read_link(run.path().join(LAST)).unwrap(), Path::new("checkpoint-2"));
}

#[test]
fn the_newest_and_the_best_stay() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    for step in [1, 2, 9, 10] {
        checkpoints.save(snapshot(step), &Keep { newest: 2, best: Some(1) }, || ()).unwrap();
    }
    assert_eq!(steps(&checkpoints), [1, 9, 10]);
    checkpoints.save(snapshot(11), &TWO, || ()).unwrap();
    assert_eq!(steps(&checkpoints), [10, 11]);
    checkpoints.save(snapshot(12), &Keep::default(), || ()).unwrap();
    assert_eq!(steps(&checkpoints), [10, 11, 12]);
}

type Damage<'a> = &'a dyn Fn(&Path);

#[test]
fn damaged_checkpoints_are_passed_over_and_named() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    let damages: [(usize, Damage, &str); 4] = [
        (2, &|f| fs::remove_file(f.join(manifest::MANIFEST)).unwrap(), "MANIFEST"),
        (3, &|f| fs::write(f.join(MODEL), b"short").unwrap(), "model.safetensors has 5 bytes"),
        (4, &|f| fs::remove_file(f.join(OPTIMIZER)).unwrap(), "optimizer.safetensors"),
        (
            5,
            &|f| {
                let mut bytes = fs::read(f.join(MODEL)).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(f.join(MODEL), bytes).unwrap();
            },
            "model.safetensors has been changed",
        ),
    ];
    checkpoints.save(snapshot(1), &Keep::default(), || ()).unwrap();
    for (step, damage, want) in damages {
        let saved = checkpoints.save(snapshot(step), &Keep::default(), || ()).unwrap();
        damage(&saved.folder);
        let (latest, notes) = checkpoints.latest().unwrap();
        assert_eq!(latest.unwrap().step, 1);
        assert!(
            notes[0].contains(want) && notes[0].contains(&format!("checkpoint-{step}")),
            "{notes:?}"
        );
        assert!(saved.folder.exists(), "start-up deletes nothing");
    }
}

#[test]
fn a_save_over_a_damaged_folder_replaces_it_and_sweeps_leftovers() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    fs::create_dir(run.path().join("checkpoint-7")).unwrap();
    fs::create_dir(run.path().join(".partial-checkpoint-7-1")).unwrap();
    checkpoints.save(snapshot(7), &TWO, || ()).unwrap();
    assert_eq!(checkpoints.latest().unwrap().0.unwrap().step, 7);
    let names: Vec<_> = entries(run.path()).unwrap();
    assert_eq!(names, [run.path().join("checkpoint-7"), run.path().join(LAST)]);
}

#[test]
fn the_same_values_give_the_same_bytes() {
    let hash = || {
        let run = tempfile::tempdir().unwrap();
        let saved = Checkpoints::open(run.path()).save(snapshot(5), &TWO, || ()).unwrap();
        fs::read(saved.folder.join(manifest::MANIFEST)).unwrap()
    };
    assert_eq!(hash(), hash());
}

#[test]
fn only_a_checkpoint_that_is_whole_is_called_intact() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    let told = || checkpoints.compare_room(1000, 999).unwrap_err().to_string();
    let none = "needs 1000 bytes, 999 are free; make room; there is no complete checkpoint";
    assert!(told().contains(none), "{}", told());
    let saved = checkpoints.save(snapshot(3), &TWO, || ()).unwrap();
    assert!(told().contains("the last checkpoint is intact (") && told().contains("checkpoint-3"));
    fs::write(saved.folder.join(MODEL), b"short").unwrap();
    assert!(told().contains(none), "{}", told());
    checkpoints.compare_room(1000, 1000).unwrap();
}

#[test]
fn damaged_checkpoints_of_later_steps_push_out_nothing() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    let keep = Keep { newest: 1, best: None };
    let saved = checkpoints.save(snapshot(6), &keep, || ()).unwrap();
    fs::write(saved.folder.join(MODEL), b"short").unwrap();
    checkpoints.save(snapshot(4), &keep, || ()).unwrap();
    checkpoints.save(snapshot(5), &keep, || ()).unwrap();
    assert_eq!(steps(&checkpoints), [5, 6]);
    assert_eq!(checkpoints.latest().unwrap().0.unwrap().step, 5);
}

#[test]
fn a_save_that_fails_leaves_nothing_behind() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path());
    let saved = checkpoints.save(snapshot(1), &TWO, || ()).unwrap();
    // A file that is there and cannot be read.
    let copies = vec![("/proc/self/mem".into(), "config.json")];
    checkpoints.save(Snapshot { copies, ..snapshot(2) }, &TWO, || ()).unwrap_err();
    assert_eq!(entries(run.path()).unwrap(), [saved.folder, run.path().join(LAST)]);
}
