//! The resolved recipe: every key with its value and where it comes from.

use std::fmt::Write as _;

use super::{KEYS, Origin, Recipe};

/// Keys that hold paths: absolute in the lock, which lies elsewhere than the recipe.
const PATHS: &[(&str, &[&str])] = &[
    ("model", &["checkpoint", "config", "tokenizer"]),
    ("data", &["mixture", "feature_cache"]),
    ("eval", &["checkpoint", "questions", "videos", "subtitles"]),
];

fn is_path(table: &str, key: &str) -> bool {
    PATHS.iter().any(|(name, keys)| *name == table && keys.contains(&key))
}

fn absolute(path: &toml::Value) -> toml::Value {
    let text = path.as_str().unwrap_or_default();
    match std::path::absolute(text) {
        Ok(path) if !text.is_empty() => path.to_string_lossy().into_owned().into(),
        _ => path.clone(),
    }
}

impl Recipe {
    /// The values of every table, absent options left out.
    ///
    /// # Panics
    /// Never: tables of plain values are TOML.
    pub fn resolved(&self) -> toml::Table {
        let mut tables = toml::Table::new();
        for (name, table) in [
            ("model", toml::Table::try_from(&self.model)),
            ("data", toml::Table::try_from(&self.data)),
            ("compression", toml::Table::try_from(&self.compression)),
            ("tune", toml::Table::try_from(&self.tune)),
            ("optimizer", toml::Table::try_from(&self.optimizer)),
            ("schedule", toml::Table::try_from(&self.schedule)),
            ("train", toml::Table::try_from(&self.train)),
            ("checkpoint", toml::Table::try_from(&self.checkpoint)),
            ("log", toml::Table::try_from(&self.log)),
            ("eval", toml::Table::try_from(&self.eval)),
        ] {
            let table = table.expect("a table of plain values is TOML");
            tables.insert(name.into(), table.into());
        }
        tables
    }

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
                let value = if is_path(table, key) { absolute(value) } else { value.clone() };
                let origin = match self.origin(table, key) {
                    Origin::Default => "default".into(),
                    Origin::Recipe(line) => format!("recipe, line {line}"),
                    Origin::Set => "--set".into(),
                };
                writeln!(text, "{key} = {value} # {origin}").expect("a string takes any text");
            }
        }
        text
    }
}
