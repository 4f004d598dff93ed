//! What a run is called.

use std::path::Path;

use crate::recipe::tables::LogTable;

/// The name of a run and the words beside it, as every record has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunName {
    /// Its name.
    pub name: String,
    /// Further words.
    pub tags: Vec<String>,
}

impl RunName {
    /// That of the run in a folder: as the recipe says, else as the folder is called.
    pub fn of(log: &LogTable, folder: &Path) -> Self {
        let absolute = std::path::absolute(folder).unwrap_or_default();
        let of_folder = absolute.file_name().unwrap_or_default().to_string_lossy();
        let name = if log.run_name.is_empty() { &*of_folder } else { log.run_name.as_str() };
        Self { name: name.to_owned(), tags: log.tags.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_called_as_the_recipe_says_or_as_its_folder() {
        let log = |name: &str| LogTable { run_name: name.into(), ..LogTable::default() };
        assert_eq!(RunName::of(&log(""), Path::new("runs/mine")).name, "mine");
        assert_eq!(RunName::of(&log("other"), Path::new("runs/mine")).name, "other");
    }
}
