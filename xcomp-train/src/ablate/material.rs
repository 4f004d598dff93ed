//! What every arm of a sweep shares: a made-up world if it asks for one, and a base that is trained first.
//!
//! Of several bases each learns from a world of its own, clips and first weights, and so do the arms that start from it: else nothing
//! in a sweep would say how much a result owes to the clips that it was learnt from. All answer the questions of the first world.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::overrides::path_override;
use super::sweep::Sweep;
use crate::error::Error;
use crate::machine::files::{create_folder, read_text, write_atomically};

/// File that says which world lies in a folder; written last.
const MADE: &str = "world.toml";

/// Folder of the worlds that further bases learn from, by seed.
const OF_BASES: &str = "bases";

/// Files that arms share.
#[derive(Debug, Clone)]
pub struct Material {
    /// The mixture of a made-up world.
    pub mixture: Option<PathBuf>,
    /// Where its clips are kept as the frozen tower sees them, for all trainings.
    pub features: Option<PathBuf>,
    /// Checkpoint that a training starts from, where it is not the recipe's own.
    pub checkpoint: Option<PathBuf>,
    /// Questions between trainings of the base.
    pub validation: Option<PathBuf>,
    /// The made-up world that questions are asked about.
    pub world: Option<PathBuf>,
    /// The one that is learnt from.
    learnt: Option<PathBuf>,
    /// Folders with a world and first weights of their own, by the seed of the base.
    bases: BTreeMap<u64, PathBuf>,
    questions: PathBuf,
    videos: PathBuf,
}

impl Material {
    /// Makes the world of a sweep in `out`, unless it is there already.
    ///
    /// # Errors
    /// If it cannot be made, or another world lies there.
    pub fn prepare(sweep: &Sweep, out: &Path) -> Result<Self, Error> {
        let world = out.join("world");
        let mut material = Self {
            mixture: None,
            features: None,
            checkpoint: None,
            validation: None,
            world: None,
            learnt: None,
            bases: BTreeMap::new(),
            questions: sweep.head.questions.clone().unwrap_or_else(|| world.join("test.json")),
            videos: sweep.head.videos.clone().unwrap_or_else(|| world.clone()),
        };
        if let Some(table) = &sweep.world {
            let beside = sweep.path.parent().unwrap_or(Path::new(""));
            make_once(table, beside, out)?;
            material = material.learning_from(out);
            material.features = Some(out.join("features"));
            material.validation = Some(world.join("validation.json"));
            material.world = Some(world);
            for (place, (seed, folder)) in of_further_bases(sweep, out).enumerate() {
                make_once(&learnt_alone(table, place, seed)?, beside, &folder)?;
                material.bases.insert(seed, folder);
            }
        }
        Ok(material)
    }

    /// Whether nothing is to be made in `out`.
    pub fn is_made(sweep: &Sweep, out: &Path) -> bool {
        let further = of_further_bases(sweep, out).map(|(_, folder)| folder);
        sweep.world.is_none()
            || further.chain([out.to_owned()]).all(|folder| folder.join(MADE).is_file())
    }

    /// The same with world and first weights of a folder.
    fn learning_from(self, folder: &Path) -> Self {
        let world = folder.join("world");
        Self {
            mixture: Some(world.join("mixture.yaml")),
            checkpoint: Some(folder.join("untrained")),
            learnt: Some(world),
            ..self
        }
    }

    /// What a base and the arms from it learn from.
    #[must_use]
    pub fn of_base(&self, seed: u64) -> Self {
        match self.bases.get(&seed) {
            Some(folder) => self.clone().learning_from(folder),
            None => self.clone(),
        }
    }

    /// Questions and the folder of their videos.
    pub fn examination(&self) -> (&Path, &Path) {
        (&self.questions, &self.videos)
    }

    /// The same with a base as the checkpoint that arms start from, once it is made.
    #[must_use]
    pub fn from(&self, base: Option<&Path>) -> Self {
        let checkpoint = base.map(Path::to_owned).or_else(|| self.checkpoint.clone());
        Self { checkpoint, ..self.clone() }
    }

    /// The same with another mixture of its world, where an arm names one.
    #[must_use]
    pub fn mixed(&self, name: Option<&str>) -> Self {
        let other = self.learnt.as_ref().zip(name).map(|(world, name)| world.join(name));
        Self { mixture: other.or_else(|| self.mixture.clone()), ..self.clone() }
    }

    /// `--set` arguments that put the material into a recipe.
    pub fn settings(&self) -> Vec<String> {
        let keys = ["data.mixture", "data.feature_cache", "model.checkpoint"];
        let paths = [&self.mixture, &self.features, &self.checkpoint];
        let given = keys.iter().zip(paths).filter_map(|(key, path)| Some((key, path.as_ref()?)));
        given.map(|(key, path)| path_override(key, path)).collect()
    }
}

/// By seed, the folders of all bases but the first.
fn of_further_bases(sweep: &Sweep, out: &Path) -> impl Iterator<Item = (u64, PathBuf)> {
    let folder = out.join(OF_BASES);
    sweep.bases().into_iter().skip(1).map(move |seed| (seed, folder.join(seed.to_string())))
}

/// The world that a further base learns from: see [`Mini::of_further_base`](crate::demo::mini::Mini::of_further_base).
#[cfg(feature = "video")]
fn learnt_alone(table: &toml::Table, place: usize, seed: u64) -> Result<toml::Table, Error> {
    let mini = mini(table)?.of_further_base(place, seed);
    Ok(toml::Table::try_from(mini).expect("numbers and a path"))
}

#[cfg(not(feature = "video"))]
fn learnt_alone(table: &toml::Table, _: usize, _: u64) -> Result<toml::Table, Error> {
    Ok(table.clone())
}

/// Makes a world; one that was broken off is made again. Paths of its table are relative to `folder`.
fn make_once(table: &toml::Table, folder: &Path, out: &Path) -> Result<(), Error> {
    let made = out.join(MADE);
    let text = text(table, folder)?;
    if made.is_file() {
        if read_text(&made)? == text {
            return Ok(());
        }
        let message = format!(
            "{} holds another world; give another --out, or make [world] what {} says",
            out.display(),
            made.display()
        );
        return Err(Error::Argument(message));
    }
    create_folder(out)?;
    make(table, folder, out)?;
    write_atomically(&made, text.as_bytes())
}

/// All that decides a world: its table, and as comments the file of its model.
fn text(table: &toml::Table, folder: &Path) -> Result<String, Error> {
    let Some(config) = table.get("config").and_then(toml::Value::as_str) else {
        return Ok(table.to_string());
    };
    let config = read_text(&folder.join(config))?;
    Ok(format!("{table}# {}\n", config.trim_end().replace('\n', "\n# ")))
}

/// The table of a world.
///
/// # Errors
/// If it has keys or values that no world has.
#[cfg(feature = "video")]
pub fn mini(table: &toml::Table) -> Result<crate::demo::mini::Mini, Error> {
    let read = table.clone().try_into();
    read.map_err(|error: toml::de::Error| Error::Argument(format!("[world]: {error}")))
}

#[cfg(feature = "video")]
fn make(table: &toml::Table, folder: &Path, out: &Path) -> Result<(), Error> {
    let mut mini = mini(table)?;
    mini.config = mini.config.map(|config| folder.join(config));
    mini.write(out)?;
    Ok(())
}

#[cfg(not(feature = "video"))]
fn make(_: &toml::Table, _: &Path, _: &Path) -> Result<(), Error> {
    Err(Error::Argument("[world]: this build has no video, so it cannot make clips".into()))
}
