//! How an exported folder says that it compresses, and how its prompts are written.

use std::path::Path;

use serde_json::Value;
use xcomp_data::Template;
use xcomp_model::base::family::Family;
use xcomp_model::error::ModelError;

use super::Answerer;
use crate::error::Error;
use crate::plan::cut::Ends;
use crate::plan::survey::template;
use crate::plan::{at_tokens, compression_plan};
use crate::recipe::tables::{CompressionTable, ScheduleKind};
use crate::recipe::{COMPRESSION_BLOCK, PROMPT_BLOCK, checked_compression};

/// The compression that a folder's `config.json` states.
pub(super) fn compression_of(path: &Path) -> Result<CompressionTable, Error> {
    let wrong = |source| ModelError::ConfigFile { path: path.into(), source };
    let table = match read_config(path)?.get(COMPRESSION_BLOCK) {
        Some(block) => {
            serde_json::from_value(block.clone()).map_err(|error| wrong(error.into()))?
        }
        None => CompressionTable { schedule: ScheduleKind::None, ..CompressionTable::default() },
    };
    Ok(checked_compression(table, path, vec![])?)
}

impl Answerer {
    /// The same model, with so many tokens of a frame in the mean over the layers; `folder` is where it came from.
    ///
    /// # Errors
    /// If the model reads videos in windows, or frames do not have so many tokens.
    pub fn with_tokens(self, tokens: f64, folder: &Path) -> Result<Self, Error> {
        if self.ratio.is_some() {
            return Err(Error::Argument(format!(
                "--tokens {tokens}: a {} reads videos in windows; say --ratio instead",
                self.config.family.name
            )));
        }
        let stated = compression_of(&folder.join("config.json"))?;
        let table = at_tokens(&stated, tokens);
        let compression = compression_plan(&table, &self.config, Path::new("--tokens"))?;
        Ok(self.with_compression(compression))
    }
}

/// Where windows end by a folder's `config.json`, of a model that has some.
pub(super) fn windows_of(path: &Path) -> Result<Ends, Error> {
    let wrong = |why: String| ModelError::ConfigFile { path: path.into(), source: why.into() };
    Ok(Ends::read(&read_config(path)?).map_err(wrong)?)
}

/// A folder's `config.json`.
fn read_config(path: &Path) -> Result<Value, ModelError> {
    let wrong = |source| ModelError::ConfigFile { path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.into()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.into()))
}

/// How a folder's prompts are written: as its `config.json` states, else as its family's.
pub(super) fn folder_template(path: &Path, family: &Family) -> Result<Template, Error> {
    let whole = read_config(path)?;
    let Some(block) = whole.get(PROMPT_BLOCK) else { return Ok(template(family)) };
    let word = |key: &str| block.get(key).and_then(Value::as_str);
    let named = word("template").and_then(Template::named);
    let (Some(named), Some(system)) = (named, word("system")) else {
        let source =
            format!("`{PROMPT_BLOCK}` is {block}, expected a known template and a system prompt");
        return Err(ModelError::ConfigFile { path: path.into(), source: source.into() }.into());
    };
    Ok(Template { system: system.to_owned().into(), ..named })
}
