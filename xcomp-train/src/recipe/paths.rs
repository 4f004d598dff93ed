//! Keys that hold paths: they start at the recipe's folder, or are names of the hub.

use std::collections::BTreeMap;
use std::path::Path;

use super::Recipe;
use super::problem::{Problem, Problems, RecipeError};
use crate::hub::{Hub, Name, is_name};

/// A table and a key of it.
type Place = (&'static str, &'static str);
/// Names of the hub by where the recipe has them.
pub(super) type Named = BTreeMap<Place, Name>;

/// Every key that holds a path.
const PATHS: [Place; 10] = [
    ("model", "checkpoint"),
    ("model", "config"),
    ("model", "tokenizer"),
    ("data", "mixture"),
    ("data", "validation_mixture"),
    ("data", "feature_cache"),
    ("eval", "checkpoint"),
    ("eval", "questions"),
    ("eval", "videos"),
    ("eval", "subtitles"),
];

/// Whether a key holds a path.
pub(super) fn is_path(table: &str, key: &str) -> bool {
    PATHS.contains(&(table, key))
}

impl Recipe {
    /// The values of the keys in [`PATHS`], in that order.
    fn paths(&mut self) -> [(Place, &mut String); 10] {
        let (model, data, eval) = (&mut self.model, &mut self.data, &mut self.eval);
        let mut values = [
            &mut model.checkpoint,
            &mut model.config,
            &mut model.tokenizer,
            &mut data.mixture,
            &mut data.validation_mixture,
            &mut data.feature_cache,
            &mut eval.checkpoint,
            &mut eval.questions,
            &mut eval.videos,
            &mut eval.subtitles,
        ]
        .into_iter();
        PATHS.map(|place| (place, values.next().expect("a value for each place")))
    }

    /// Fills in the paths that the checkpoint implies, lets paths start at the recipe's folder, and notes names of the hub.
    pub(super) fn resolve_paths(&mut self, problems: &mut Problems) {
        let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let model = &mut self.model;
        for (file, path) in
            [("config.json", &mut model.config), ("tokenizer.json", &mut model.tokenizer)]
        {
            if path.is_empty() && !model.checkpoint.is_empty() {
                *path = Path::new(&model.checkpoint).join(file).to_string_lossy().into_owned();
            }
        }
        let mut named = Named::new();
        for (place, text) in self.paths() {
            let (table, key) = place;
            match (is_name(text), text.parse()) {
                (true, _) if key == "feature_cache" => {
                    let message = "features are written here; name a folder of this machine";
                    problems.push(Problem::key(table, key, message));
                }
                (true, Ok(name)) => _ = named.insert(place, name),
                (true, Err(error)) => problems.push(Problem::key(table, key, error)),
                (false, _) if text.is_empty() => (),
                (false, _) => *text = folder.join(&*text).to_string_lossy().into_owned(),
            }
        }
        self.named = named;
    }

    /// Names of the hub become the paths where they lie; those that were never fetched stay.
    pub(super) fn look_up(&mut self, hub: &Hub) {
        let mut named = std::mem::take(&mut self.named);
        for (place, text) in self.paths() {
            let Some(name) = named.get_mut(&place) else { continue };
            if let Some(pinned) = hub.pinned(name) {
                *text = hub.place(&pinned).to_string_lossy().into_owned();
                *name = pinned;
            }
        }
        self.named = named;
    }

    /// Whether all that these keys of a table name is on this machine.
    ///
    /// # Errors
    /// If a key holds a name of the hub that is not, or not whole, in its cache; the message has the command that gets it.
    pub fn require(&self, table: &str, keys: &[&str]) -> Result<(), RecipeError> {
        let wanted = |place: &Place| place.0 == table && keys.contains(&place.1);
        let hub = Hub::of_environment();
        for (_, name) in self.named.iter().filter(|(place, _)| wanted(place)) {
            hub.at_hand(name, &self.fetched_by())?;
        }
        Ok(())
    }

    /// The arguments of `xcomp fetch` that get what the recipe names.
    fn fetched_by(&self) -> String {
        let set = self.set.iter().map(|set| format!(" --set {set}"));
        set.fold(self.path.display().to_string(), |text, set| text + &set)
    }

    /// The name of the hub that a key holds, with its commit where that is known.
    pub(super) fn name_of(&self, table: &str, key: &str) -> Option<&Name> {
        self.named.iter().find(|(place, _)| **place == (table, key)).map(|(_, name)| name)
    }

    /// Every name of the hub by `table.key`, with its commit where that is known.
    pub fn names(&self) -> BTreeMap<String, Name> {
        let named = self.named.iter();
        named.map(|((table, key), name)| (format!("{table}.{key}"), name.clone())).collect()
    }
}
