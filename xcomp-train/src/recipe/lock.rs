//! The resolved recipe: every key with its value and where it comes from.

use std::fmt::Write as _;

use super::paths::is_path;
use super::{KEYS, Origin, Recipe};

/// The lock lies elsewhere than the recipe.
fn absolute(path: &toml::Value) -> toml::Value {
    let text = path.as_str().unwrap_or_default();
    match std::path::absolute(text) {
        Ok(path) if !text.is_empty() => path.to_string_lossy().into_owned().into(),
        _ => path.clone(),
    }
}

impl Recipe {
    /// `recipe.lock.toml`: a recipe that needs no default, with the origin of every value behind it.
    ///
    /// `facts` are further lines for the head, such as hashes.
    ///
    /// # Panics
    /// Never: a string takes any text.
    pub fn lock(&self, facts: &[(String, String)]) -> String {
        let resolved = self.resolved();
        let mut text = format!("# Resolved from {}\n", self.path.display());
        for (name, value) in facts {
            writeln!(text, "# {name}: {value}").expect("a string takes any text");
        }
        for (table, keys) in KEYS {
            writeln!(text, "\n[{table}]").expect("a string takes any text");
            for key in *keys {
                let Some(value) = resolved[*table].get(key) else { continue };
                let value = match self.name_of(table, key) {
                    Some(name) => name.to_string().into(),
                    None if is_path(table, key) => absolute(value),
                    None => value.clone(),
                };
                let origin = match self.origin(table, key) {
                    Origin::Default => "default".into(),
                    Origin::Recipe(line) => format!("recipe, line {line}"),
                    Origin::Set => "--set".into(),
                    Origin::Plan => "chosen by the plan".into(),
                };
                writeln!(text, "{key} = {value} # {origin}").expect("a string takes any text");
            }
        }
        text
    }
}
