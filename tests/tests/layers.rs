//! The order of folders that ARCHITECTURE.md states, held against what the sources import.

use std::fs;
use std::path::{Path, PathBuf};

use xcomp_tests::imports::{Imports, Order};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(name: &str) -> Imports {
    Imports::of_crate(&root().join(name).join("src"))
}

/// No folder imports from its own line of the list or from a later one, and the list names exactly the folders that are there.
fn folders_keep_their_order(name: &str) {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let wrong = sources(name).against(&Order::of_crate(&text, name));
    assert!(wrong.is_empty(), "{name}, against ARCHITECTURE.md:\n  {}", wrong.join("\n  "));
}

/// Files import each other in no circle; that a file uses its parent module does not count.
fn files_make_no_circle(name: &str) {
    let circles = sources(name).circles();
    assert!(circles.is_empty(), "{name}, circles:\n  {}", circles.join("\n  "));
}

#[test]
fn folders_of_xcomp_data_keep_their_order() {
    folders_keep_their_order("xcomp-data");
}

#[test]
fn folders_of_xcomp_model_keep_their_order() {
    folders_keep_their_order("xcomp-model");
}

#[test]
fn folders_of_xcomp_train_keep_their_order() {
    folders_keep_their_order("xcomp-train");
}

#[test]
fn files_of_xcomp_data_make_no_circle() {
    files_make_no_circle("xcomp-data");
}

#[test]
fn files_of_xcomp_model_make_no_circle() {
    files_make_no_circle("xcomp-model");
}

#[test]
fn files_of_xcomp_train_make_no_circle() {
    files_make_no_circle("xcomp-train");
}

/// What crosses between host and device goes through `transfer`, where it is counted.
#[test]
fn nothing_crosses_to_a_device_uncounted() {
    // The one answer that a CPU has without a wait.
    let known = ["xcomp-model/src/transfer.rs", "xcomp-train/src/train/optimizer/adamw.rs"];
    let words = [".into_data()", ".to_data()", "from_data(", "into_scalar", "::from_floats("];
    let mut found = vec![];
    for name in ["xcomp-model", "xcomp-train"] {
        for path in rust_files(&root().join(name).join("src")) {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let is_test = shown.ends_with("tests.rs") || known.contains(&shown.as_str());
            let lines = code.lines().enumerate().filter(|_| !is_test);
            let crossing = |(_, line): &(usize, &str)| words.iter().any(|word| line.contains(word));
            found.extend(
                lines.filter(crossing).map(|(at, line)| format!("{shown}:{}: {line}", at + 1)),
            );
        }
    }
    assert!(found.is_empty(), "use xcomp_model::transfer:\n{}", found.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| if path.is_dir() { rust_files(&path) } else { vec![path] };
    entries.flat_map(of).collect()
}

/// What only some machines have is no part of the default build.
#[test]
fn the_default_build_needs_no_mpi() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--workspace", "--prefix", "none", "--edges", "normal,build"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    assert!(text.contains("xcomp-train v"), "{}", String::from_utf8_lossy(&tree.stderr));
    assert!(!text.lines().any(|line| line.starts_with("mpi")), "the default build has MPI in it");
}
