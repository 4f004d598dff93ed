//! Where test material lies: the workspace, and folders shared next to it.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of real clips and their mixture, or `None` after a visible `SKIPPED` line.
///
/// It is `XCOMP_MEDIA`, else `media` in the folder shared next to the workspace.
///
/// # Panics
///
/// If `XCOMP_MEDIA` names no folder, or if the folder is absent and `XCOMP_REQUIRE_SHARED=1`.
pub fn media_root(test: &str) -> Option<PathBuf> {
    let found = match environment("XCOMP_MEDIA") {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            assert!(folder.is_dir(), "XCOMP_MEDIA: no folder {}", folder.display());
            Some(folder)
        }
        None => shared_root("media"),
    };
    if found.is_none() {
        skipped(test, "no media folder; set XCOMP_MEDIA");
    }
    found
}

/// A folder shared next to the workspace, where it exists.
///
/// # Panics
///
/// If it is absent and `XCOMP_REQUIRE_SHARED=1`.
pub fn shared_root(name: &str) -> Option<PathBuf> {
    let folder = workspace_root().join("../shared").join(name);
    let found = folder.is_dir();
    assert!(found || !shared_required(), "required folder {} is absent", folder.display());
    found.then_some(folder)
}

/// Says on the terminal that a test did not run, and why.
///
/// # Panics
///
/// If `XCOMP_REQUIRE_SHARED=1`: there, nothing may be skipped.
pub fn skipped(test: &str, why: &str) {
    assert!(!shared_required(), "{test} must not be skipped: {why}");
    // Written to the stream itself: the print macros are captured in tests that pass.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// How many times the kill test kills: `XCOMP_TORTURE`, else 20.
///
/// # Panics
///
/// If the variable is no number.
pub fn kills() -> usize {
    let given = environment("XCOMP_TORTURE");
    given.map_or(20, |kills| kills.to_string_lossy().parse().expect("XCOMP_TORTURE is a number"))
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the tests crate lies in the workspace").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "tests learn from it where their material lies")]
pub(crate) fn environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn shared_required() -> bool {
    environment("XCOMP_REQUIRE_SHARED").is_some_and(|value| value == "1")
}
