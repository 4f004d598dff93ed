//! The code that turns frames into merged features, as text: features that are kept belong to this code.

/// The files that decide the numbers of [`merged_features`](crate::frames::merged_features).
pub const ENCODER_CODE: &[(&str, &str)] = &[
    ("attention", include_str!("attention.rs")),
    ("connector", include_str!("connector.rs")),
    ("frames", include_str!("frames.rs")),
    ("layer_norm", include_str!("layer_norm.rs")),
    ("linear", include_str!("linear.rs")),
    ("position", include_str!("position.rs")),
    ("tome", include_str!("tome.rs")),
    ("vit", include_str!("vit.rs")),
];

/// The line of the workspace that pins Burn.
pub fn burn_version() -> &'static str {
    let manifest = include_str!("../../Cargo.toml");
    manifest.lines().find(|line| line.starts_with("burn = ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules whose content is data that is hashed beside the code, or errors.
    const NOT_CODE: &[&str] = &["error", "vision_config"];

    #[test]
    fn all_code_that_the_encoder_uses_is_listed() {
        let listed: Vec<&str> = ENCODER_CODE.iter().map(|(name, _)| *name).collect();
        assert!(listed.contains(&"frames") && burn_version().contains("version"));
        for (name, text) in ENCODER_CODE {
            for used in text.split("crate::").skip(1) {
                let end = used.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                let used = &used[..end.unwrap_or(used.len())];
                let known = listed.contains(&used) || NOT_CODE.contains(&used);
                assert!(known, "{name}.rs uses crate::{used}, which is not listed");
            }
        }
    }
}
