//! The recipe: the only configuration of a run, one strict TOML file of flat tables.

pub mod check;
pub mod described;
pub mod keys;
pub mod lock;
mod paths;
pub mod problem;
pub mod tables;
pub mod tune;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::hub::Hub;
use described::Described;
use paths::Named;
use problem::{Problem, Problems, RecipeError};
use tables::{
    CheckpointTable, CompressionTable, DataTable, EvalTable, LogTable, LrTable, ModelTable,
    OptimizerTable, TrainTable, TuneTable, VstTable,
};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The recipe does not say it.
    Default,
    /// This line of the file.
    Recipe(usize),
    /// The command line.
    Set,
    /// The plan: the recipe says "auto".
    Plan,
}

/// Declares the recipe: the only list of its tables, in the order of the file.
macro_rules! recipe {
    ($($(#[doc = $doc:literal])* $name:ident: $table:ident,)*) => {
        /// Every table with its keys, in the order of the file.
        pub const KEYS: &[(&str, &[&str])] = &[$((stringify!($name), $table::KEYS)),*];

        /// A recipe as read: values, and where each one comes from.
        #[derive(Debug, Clone)]
        pub struct Recipe {
            $($(#[doc = $doc])* pub $name: $table,)*
            /// The file it was read from.
            pub path: PathBuf,
            /// Its text as given.
            pub text: String,
            origins: Origins,
            /// Values that are names of the hub; with their commits once those are known.
            named: Named,
            /// What is laid over the file.
            set: Vec<String>,
        }

        impl Recipe {
            /// Reads every table over its defaults.
            fn of(values: &Values, path: &Path, text: String, origins: Origins, problems: &mut Problems) -> Self {
                let empty = toml::Table::new();
                let of = |name: &str| values.get(name).unwrap_or(&empty);
                Self {
                    $($name: $table::read(stringify!($name), of(stringify!($name)), problems),)*
                    path: path.into(),
                    text,
                    origins,
                    named: Named::new(),
                    set: vec![],
                }
            }

            /// The values of every table, absent options left out.
            ///
            /// # Panics
            /// Never: tables of plain values are TOML.
            pub fn resolved(&self) -> toml::Table {
                let value = |table: Result<toml::Table, _>| table.expect("a table of plain values is TOML").into();
                [$((stringify!($name).to_owned(), value(toml::Table::try_from(&self.$name)))),*].into_iter().collect()
            }
        }

        /// Every table with its keys in words.
        pub fn described() -> Vec<Described> {
            vec![$($table::described(stringify!($name))),*]
        }
    };
}

recipe! {
    /// What is tuned.
    model: ModelTable,
    /// What it is tuned on.
    data: DataTable,
    /// LP-Comp.
    compression: CompressionTable,
    /// Windows of Video-XL.
    vst: VstTable,
    /// Which weights move.
    tune: TuneTable,
    /// `AdamW`.
    optimizer: OptimizerTable,
    /// The learning rate over the run.
    schedule: LrTable,
    /// The loop.
    train: TrainTable,
    /// What is kept.
    checkpoint: CheckpointTable,
    /// What is written down.
    log: LogTable,
    /// What a checkpoint is asked.
    eval: EvalTable,
}

impl Recipe {
    /// Reads a recipe file and lays `--set table.key=value` arguments over it; names of the hub become the paths where they lie.
    ///
    /// What is not in the cache of the hub keeps its name: [`Recipe::require`] tells of it where it is needed.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, or has wrong keys, wrong values or values that contradict each other; all of them at once.
    pub fn load(path: &Path, set: &[String]) -> Result<Self, RecipeError> {
        let mut recipe = Self::as_given(path, set)?;
        recipe.look_up(&Hub::of_environment());
        Ok(recipe)
    }

    /// As [`Recipe::load`], with names of the hub as they are given.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn as_given(path: &Path, set: &[String]) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.into(), source })?;
        Self::parse(path, text, set)
    }

    /// As [`Recipe::as_given`], from text; `path` is what errors name and what relative paths start from.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(path: &Path, text: String, set: &[String]) -> Result<Self, RecipeError> {
        let mut problems = Problems::new();
        let (mut values, mut origins) = file_values(path, &text, &mut problems)?;
        for given in set {
            let (table, key, value) =
                set_value(given).ok_or_else(|| RecipeError::Set { given: given.clone() })?;
            origins.insert((table.clone(), key.clone()), Origin::Set);
            if known(&table, &key, &mut problems, None) {
                values.entry(table).or_default().insert(key, value);
            }
        }

        let mut recipe = Self::of(&values, path, text, origins, &mut problems);
        recipe.set = set.to_vec();
        check::cross_fields(&recipe, &mut problems);
        recipe.resolve_paths(&mut problems);
        if problems.is_empty() {
            return Ok(recipe);
        }
        for problem in &mut problems {
            let given = recipe.origin(&problem.table, &problem.key) == Origin::Set;
            let line = || recipe.line(&problem.table, &problem.key);
            let table = || recipe.line(&problem.table, "").filter(|_| !given);
            problem.line = problem.line.or_else(line).or_else(table);
        }
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Err(RecipeError::Invalid { path: path.into(), problems })
    }

    /// Where the value of a key comes from.
    pub fn origin(&self, table: &str, key: &str) -> Origin {
        let place = (table.to_owned(), key.to_owned());
        self.origins.get(&place).copied().unwrap_or(Origin::Default)
    }

    /// Notes that the plan gave a key its value.
    pub(crate) fn decided(&mut self, table: &str, key: &str) {
        self.origins.insert((table.into(), key.into()), Origin::Plan);
    }

    fn line(&self, table: &str, key: &str) -> Option<usize> {
        match self.origin(table, key) {
            Origin::Recipe(line) => Some(line),
            Origin::Default | Origin::Set | Origin::Plan => None,
        }
    }
}

/// The block of an exported `config.json` that states how the model was tuned to compress.
///
/// It holds the recipe's `[compression]` table. Hugging Face code ignores it.
pub const COMPRESSION_BLOCK: &str = "xcomp_compression";

/// The key of `config.json` under which an export states its template and system prompt, where they are not the family's.
pub const PROMPT_BLOCK: &str = "xcomp_prompt";

/// The key of `config.json` of an export that says where windows end, if not after so many tokens.
pub const WINDOWS_BLOCK: &str = "xcomp_windows";

/// A `[compression]` table made of `key=value` settings alone, for answers: here `fastv` has its place.
///
/// # Errors
/// If a key or value is wrong, or values contradict each other; all of them at once.
pub fn answer_compression(settings: &[String]) -> Result<CompressionTable, RecipeError> {
    const TABLE: &str = "compression";
    let (mut problems, mut values) = (Problems::new(), toml::Table::new());
    for given in settings {
        match set_value(&format!("{TABLE}.{given}")) {
            Some((_, key, _)) if key == "group_order" => {
                let message = "the order is that of the checkpoint, whose features stand in it";
                problems.push(Problem::key(TABLE, &key, message));
            }
            Some((_, key, value)) if known(TABLE, &key, &mut problems, None) => {
                values.insert(key, value);
            }
            Some(_) => {}
            None => {
                let message = "write it as key=value, for example schedule=fastv";
                problems.push(Problem::key(TABLE, given, message));
            }
        }
    }
    let table = CompressionTable::read(TABLE, &values, &mut problems);
    checked_compression(table, Path::new("--set"), problems)
}

/// A table whose keys fit each other; `path` is what errors name.
///
/// # Errors
/// If there are problems already, or keys contradict each other.
pub(crate) fn checked_compression(
    table: CompressionTable,
    path: &Path,
    mut problems: Problems,
) -> Result<CompressionTable, RecipeError> {
    check::compression(&table, &mut |holds, table, key, message| {
        if !holds {
            problems.push(Problem::key(table, key, message));
        }
    });
    if problems.is_empty() {
        return Ok(table);
    }
    Err(RecipeError::Invalid { path: path.into(), problems })
}

type Values = BTreeMap<String, toml::Table>;
type Origins = BTreeMap<(String, String), Origin>;

/// Values of the file with the line of each key; unknown keys become problems.
fn file_values(
    path: &Path,
    text: &str,
    problems: &mut Problems,
) -> Result<(Values, Origins), RecipeError> {
    let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
    let syntax = |error: toml::de::Error| RecipeError::Syntax {
        path: path.into(),
        line: error.span().map_or(1, |span| line_of(span.start)),
        message: error.message().trim().into(),
    };
    let document = DeTable::parse(text).map_err(syntax)?;
    let plain: toml::Table = toml::from_str(text).map_err(syntax)?;

    let (mut values, mut origins) = (Values::new(), Origins::new());
    for (table, content) in document.get_ref() {
        let name = table.get_ref().as_ref();
        let line = line_of(table.span().start);
        let DeValue::Table(content) = content.get_ref() else {
            problems.push(misplaced(name, line));
            continue;
        };
        if keys_of(name).is_none() {
            problems.push(unknown_table(name, Some(line)));
            continue;
        }
        origins.insert((name.into(), String::new()), Origin::Recipe(line));
        let mut kept = toml::Table::new();
        for key in content.keys() {
            let (key, line) = (key.get_ref().as_ref(), line_of(key.span().start));
            if known(name, key, problems, Some(line)) {
                kept.insert(key.into(), plain[name][key].clone());
                origins.insert((name.into(), key.into()), Origin::Recipe(line));
            }
        }
        values.insert(name.into(), kept);
    }
    Ok((values, origins))
}

/// `table.key=value`; a value that is not TOML is taken as a string.
fn set_value(given: &str) -> Option<(String, String, toml::Value)> {
    let (place, value) = given.split_once('=')?;
    let (table, key) = place.trim().split_once('.')?;
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let value = match parsed {
        Ok(mut table) => table.remove("value")?,
        Err(_) => toml::Value::String(value.trim().into()),
    };
    Some((table.into(), key.into(), value))
}

fn keys_of(table: &str) -> Option<&'static [&'static str]> {
    KEYS.iter().find(|(name, _)| *name == table).map(|(_, keys)| *keys)
}

/// Whether the recipe has such a key; if not, a problem with the nearest one is noted.
fn known(table: &str, key: &str, problems: &mut Problems, line: Option<usize>) -> bool {
    let Some(keys) = keys_of(table) else {
        problems.push(unknown_table(table, line));
        return false;
    };
    if keys.contains(&key) {
        return true;
    }
    let elsewhere = KEYS.iter().find(|(_, keys)| keys.contains(&key));
    let hint = match (elsewhere, nearest(key, keys.iter().copied())) {
        (Some((other, _)), _) => format!("it belongs to [{other}]"),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("[{table}] has {}", keys.join(", ")),
    };
    let message = format!("unknown key `{key}` in [{table}]; {hint}");
    problems.push(Problem { table: table.into(), key: key.into(), message, line });
    false
}

fn unknown_table(table: &str, line: Option<usize>) -> Problem {
    let tables = KEYS.iter().map(|(name, _)| *name);
    let hint = match nearest(table, tables.clone()) {
        Some(near) => format!("did you mean [{near}]?"),
        None => format!("a recipe has {}", tables.collect::<Vec<_>>().join(", ")),
    };
    let message = format!("unknown table [{table}]; {hint}");
    Problem { table: table.into(), key: String::new(), message, line }
}

/// A key outside of any table.
fn misplaced(key: &str, line: usize) -> Problem {
    let home = KEYS.iter().find(|(_, keys)| keys.contains(&key));
    let hint = match home {
        Some((table, _)) => format!("put it under [{table}]"),
        None => "every key stands under a table".into(),
    };
    let message = format!("key `{key}` stands outside of any table; {hint}");
    Problem { table: String::new(), key: key.into(), message, line: Some(line) }
}

/// The candidate most like `given`, if any is like it at all.
fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.6; // of Jaro-Winkler, which is 1 for equal words
    candidates
        .map(|candidate| (strsim::jaro_winkler(given, candidate), candidate))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
