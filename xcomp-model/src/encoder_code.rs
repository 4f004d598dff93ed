//! The code that turns frames into merged features, as text: features that are kept belong to this code.

/// Files that decide the numbers of [`merged_features`](crate::frames::merged_features), by path.
pub const ENCODER_CODE: &[(&str, &str)] = &[
    ("connector.rs", include_str!("connector.rs")),
    ("frames.rs", include_str!("frames.rs")),
    ("layer_norm.rs", include_str!("layer_norm.rs")),
    ("linear.rs", include_str!("linear.rs")),
    ("ops.rs", include_str!("ops.rs")),
    ("ops/adamw.rs", include_str!("ops/adamw.rs")),
    ("ops/attention.rs", include_str!("ops/attention.rs")),
    ("ops/attention/loops.rs", include_str!("ops/attention/loops.rs")),
    ("ops/cpu.rs", include_str!("ops/cpu.rs")),
    ("ops/gelu.rs", include_str!("ops/gelu.rs")),
    ("ops/heads.rs", include_str!("ops/heads.rs")),
    ("ops/linear.rs", include_str!("ops/linear.rs")),
    ("ops/product.rs", include_str!("ops/product.rs")),
    ("ops/recorded.rs", include_str!("ops/recorded.rs")),
    ("ops/rms_norm.rs", include_str!("ops/rms_norm.rs")),
    ("ops/rotate.rs", include_str!("ops/rotate.rs")),
    ("ops/rows.rs", include_str!("ops/rows.rs")),
    ("ops/sum_of_squares.rs", include_str!("ops/sum_of_squares.rs")),
    ("ops/swiglu.rs", include_str!("ops/swiglu.rs")),
    ("ops/vector.rs", include_str!("ops/vector.rs")),
    ("position.rs", include_str!("position.rs")),
    ("tome.rs", include_str!("tome.rs")),
    ("vit.rs", include_str!("vit.rs")),
];

/// The lines of the workspace that pin the libraries which do the arithmetic.
pub fn arithmetic_libraries() -> [&'static str; 2] {
    let manifest = include_str!("../../Cargo.toml");
    ["burn = ", "faer = "]
        .map(|name| manifest.lines().find(|line| line.starts_with(name)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Modules whose content is data that is hashed beside the code, or errors.
    const NOT_CODE: &[&str] = &["error", "vision_config"];

    fn listed(path: &str) -> bool {
        ENCODER_CODE.iter().any(|(name, _)| *name == path)
    }

    #[test]
    fn all_code_that_the_encoder_uses_is_listed() {
        assert!(listed("frames.rs"));
        assert!(arithmetic_libraries().iter().all(|line| line.contains("version = \"=")));
        for (name, text) in ENCODER_CODE {
            for used in text.split("crate::").skip(1) {
                let end = used.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                let used = &used[..end.unwrap_or(used.len())];
                let known = listed(&format!("{used}.rs")) || NOT_CODE.contains(&used);
                assert!(known, "{name} uses crate::{used}, which is not listed");
            }
        }
    }

    #[test]
    fn every_file_of_the_operations_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![root.join("ops")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("tests.rs") {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                    assert!(listed(name), "{name} is not listed");
                }
            }
        }
    }
}
