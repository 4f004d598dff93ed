use std::path::Path;

use super::*;
use crate::error::EXIT_MEMORY;
use crate::recipe::Recipe;

fn plan(set: &[&str]) -> Plan {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    Plan::new(Recipe::load(Path::new("../recipes/xcomp-2b.toml"), &set).unwrap(), None).unwrap()
}

fn guard(plan: &Plan, gib: f64) -> MemoryGuard {
    let mut plan = plan.clone();
    plan.recipe.train.memory_limit_gib = Some(gib);
    MemoryGuard::of(&plan, &Device::flex())
}

#[test]
fn a_mean_step_that_does_not_fit_is_refused_with_plan_actual_and_key() {
    let plan = plan(&[]);
    let error = guard(&plan, 20.0).check(&plan).unwrap_err();
    assert_eq!(error.exit_code(), EXIT_MEMORY);
    let text = error.to_string();
    let words =
        ["out of memory", "260 frames", "moments 11.5 GiB", "memory_limit_gib allows 20.0 GiB"];
    for word in words.into_iter().chain(["; tune fewer weights with [tune] parts"]) {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn the_first_key_that_suffices_is_named() {
    let advice = |set: &[&str], gib: f64| {
        let plan = plan(set);
        guard(&plan, gib).advice(&plan, &plan.batch(plan.samples.worst))
    };
    let kept = |set: &[&str]| {
        let plan = plan(set);
        plan.needs(&plan.batch(plan.samples.worst)) as f64 / GIB
    };
    let (recompute, batch) = ("train.recompute=layer", "train.per_device_batch_size=4");
    assert_eq!(advice(&[], kept(&[]) - 1.0), "set [train] recompute = \"layer\"");
    let four = kept(&[recompute, batch]);
    assert_eq!(advice(&[recompute, batch], four - 0.5), "set [train] per_device_batch_size = 2");
    let one = kept(&[recompute]);
    assert_eq!(advice(&[recompute], one - 0.01), "set [data] max_frames = 1016");
}

#[test]
fn a_largest_step_that_does_not_fit_is_only_told() {
    let plan = plan(&[]);
    let mean = plan.needs(&plan.batch(plan.samples.mean)) as f64 / GIB;
    let told = guard(&plan, mean + 1.0).check(&plan).unwrap().unwrap();
    assert!(told.starts_with("memory: the largest step would not fit; "), "{told}");
    assert!(told.contains("1024 frames"), "{told}");
    assert_eq!(guard(&plan, 1000.0).check(&plan).unwrap(), None);
}

#[test]
fn a_process_that_grows_above_the_limit_ends() {
    let plan = plan(&[]);
    let guard = guard(&plan, 1.0);
    guard.judge(&plan, &[plan.samples.mean], 1 << 30).unwrap();
    let error = guard.judge(&plan, &[plan.samples.mean], (1 << 30) + 1).unwrap_err();
    assert_eq!(error.exit_code(), EXIT_MEMORY);
    assert!(error.to_string().contains("the run has taken 1.0 GiB"), "{error}");
}

#[test]
fn a_panic_of_the_backend_about_memory_is_an_error_and_any_other_stays_one() {
    let plan = plan(&[]);
    let guard = guard(&plan, 1000.0);
    for text in [
        "called `Result::unwrap()` on an `Err` value: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
        "out of device memory allocating 17179869184 bytes",
        "An out-of-memory error happened during launch",
    ] {
        let result: Result<(), _> = guard.guard(&plan, || panic!("{text}"));
        assert_eq!(result.unwrap_err().exit_code(), EXIT_MEMORY, "{text}");
    }
    let other = catch_unwind(AssertUnwindSafe(|| {
        guard.guard(&plan, || -> Result<(), Error> { panic!("index out of bounds") })
    }));
    assert!(other.is_err());
    assert_eq!(guard.guard(&plan, || Ok(3)).unwrap(), 3);
}
