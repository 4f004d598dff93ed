//! A sweep as a file: which recipes are compared, with which seeds, and what is claimed of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::needles::Needles;
use super::overrides::{Override, grid, of_answers_alone, overrides};
use crate::error::Error;
use crate::eval::crossed::Draw;
use crate::machine::files::read_text;

/// The table of a recipe whose keys change the examination alone, not the training.
const EVAL: &str = "eval";

/// What is compared.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What holds for every arm.
    pub head: Head,
    /// A world to be made by code before anything else, as the demo's `Mini` reads it.
    pub world: Option<toml::Table>,
    /// What differs.
    pub arms: Vec<Arm>,
    /// Which arms stand beside each other in the report, and what is claimed of them.
    pub tables: Vec<TableSpec>,
    /// Needles that some arms look for.
    pub needles: Option<Needles>,
}

/// `[sweep]`: what holds for every arm. Paths are relative to the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The recipe that arms change.
    pub recipe: PathBuf,
    /// A recipe that is trained first; every arm starts from its export.
    pub base: Option<PathBuf>,
    /// `table.key=value` arguments of every arm, under its own keys.
    #[serde(default)]
    pub set: Vec<String>,
    /// The same of the base.
    #[serde(default)]
    pub base_set: Vec<String>,
    /// Seeds of an arm.
    pub seeds: Vec<u64>,
    /// Training seeds of the base: it is trained with each of them, and every arm from each of these bases; one base as its recipe says if empty.
    #[serde(default)]
    pub base_seeds: Vec<u64>,
    /// Whether an arm is trained from the n-th base with its n-th seed alone, or with its only one, instead of with every seed.
    #[serde(default)]
    pub pair_seeds: bool,
    /// The arm that the others are compared with.
    pub reference: String,
    /// The questions; those of the world if absent.
    pub questions: Option<PathBuf>,
    /// Folder of their videos; the world if absent.
    pub videos: Option<PathBuf>,
    /// Frames to look at, for the table first, then for the curve over frames; as the evaluation's default if empty.
    #[serde(default)]
    pub frames: Vec<usize>,
    /// Further arguments of `xcomp eval`.
    #[serde(default)]
    pub ask: Vec<String>,
}

/// One way to train and to ask.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// Its seeds.
    pub seeds: Vec<u64>,
    /// The mixture of the made-up world that it is trained on, if not the usual one.
    pub mixture: Option<String>,
    /// `table.key=value` arguments of its training.
    pub train: Vec<String>,
    /// The same of its evaluation.
    pub eval: Vec<String>,
    /// `key=value` settings of a compression that acts on answers alone (`fastv`): the training has its recipe's own.
    pub answers: Vec<String>,
    /// Frames to look at, for the table first.
    pub frames: Vec<usize>,
    /// Further arguments of its evaluation.
    pub ask: Vec<String>,
    /// Arms of one curve are joined where accuracy is drawn over cost.
    pub curve: Option<String>,
}

/// `[[table]]`: arms that stand beside each other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// What is shown.
    pub title: String,
    /// Its arms, in this order.
    pub arms: Vec<String>,
    /// What they are compared with; the sweep's reference if absent.
    pub reference: Option<String>,
    /// Whether the arms are meant to use as many visual tokens in the mean.
    #[serde(default)]
    pub same_tokens: bool,
    /// What is claimed.
    #[serde(default)]
    pub claim: Vec<Claim>,
}

/// A claim that can turn out not to hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The claim in words, with its source.
    pub text: String,
    /// The arm that is claimed to be better.
    pub better: String,
    /// Than this one.
    pub than: String,
    /// The tasks that it is about; all if empty.
    #[serde(default)]
    pub tasks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sweep: Head,
    world: Option<toml::Table>,
    #[serde(default)]
    grid: toml::Table,
    #[serde(default)]
    arm: Vec<toml::Table>,
    #[serde(default)]
    table: Vec<TableSpec>,
    needles: Option<Needles>,
}

impl Sweep {
    /// Reads a sweep.
    ///
    /// # Errors
    /// If the file cannot be read, is no sweep, or its arms, keys and tables do not fit together; all of it at once.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = read_text(path)?;
        let wrong = |what: String| Error::Argument(format!("{}: {what}", path.display()));
        let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let mut problems = vec![];
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut head = file.sweep;
        head.recipe = folder.join(&head.recipe);
        for path in [&mut head.base, &mut head.questions, &mut head.videos].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        let points = grid(&file.grid, &mut problems);
        let named = if file.arm.is_empty() { vec![toml::Table::new()] } else { file.arm };
        let arms: Vec<Arm> = named
            .iter()
            .flat_map(|named| points.iter().map(move |point| (named, point)))
            .filter_map(|(named, point)| arm(&head, named, point, &mut problems))
            .collect();
        let File { world, table: tables, needles, .. } = file;
        let sweep = Self { path: path.into(), text, head, world, arms, tables, needles };
        sweep.check(&mut problems);
        if problems.is_empty() { Ok(sweep) } else { Err(wrong(problems.join("\n  "))) }
    }

    /// The sweep with the first seeds of every arm only, `count` of them; where seeds go with bases, with so many bases.
    #[must_use]
    pub fn with_first_seeds(mut self, count: usize) -> Self {
        self.arms.iter_mut().for_each(|arm| arm.seeds.truncate(count));
        if self.head.pair_seeds {
            self.head.base_seeds.truncate(count);
        }
        self
    }

    /// Seeds of the bases in draws; 0 stands for a base as its recipe says.
    pub fn bases(&self) -> Vec<u64> {
        if self.head.base_seeds.is_empty() { vec![0] } else { self.head.base_seeds.clone() }
    }

    /// Every draw of an arm.
    pub fn draws(&self, arm: &Arm) -> Vec<Draw> {
        let of = |(at, base): (usize, u64)| {
            let own = if self.head.pair_seeds {
                &arm.seeds[at % arm.seeds.len()..][..1]
            } else {
                &arm.seeds
            };
            own.iter().map(move |seed| Draw { base, seed: *seed }).collect::<Vec<_>>()
        };
        self.bases().into_iter().enumerate().flat_map(of).collect()
    }

    /// Every draw of any arm once, round by round: a sweep that is cut short has whole rounds.
    pub fn rounds(&self) -> Vec<Draw> {
        let bases = self.bases();
        let place = |draw: &Draw| bases.iter().position(|base| *base == draw.base);
        let round = |draw: Draw| {
            let base = place(&draw).unwrap_or(0) as u64;
            if self.head.pair_seeds { (base, draw.seed) } else { (draw.seed, base) }
        };
        let all = self.arms.iter().flat_map(|arm| self.draws(arm));
        let rounds: BTreeMap<_, Draw> = all.map(|draw| (round(draw), draw)).collect();
        rounds.into_values().collect()
    }

    /// The arm of this name.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    fn check(&self, problems: &mut Vec<String>) {
        let names: Vec<&str> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                problems.push(format!("two arms are named `{name}`; give each a name of its own"));
            }
        }
        let mut require = |place: &str, name: &str| require_arm(place, name, &names, problems);
        require("[sweep] reference", &self.head.reference);
        for table in &self.tables {
            let place = format!("table `{}`", table.title);
            let claimed = table.claim.iter().flat_map(|claim| [&claim.better, &claim.than]);
            table
                .arms
                .iter()
                .chain(&table.reference)
                .chain(claimed)
                .for_each(|n| require(&place, n));
        }
        if self.head.seeds.is_empty() || self.arms.iter().any(|arm| arm.seeds.is_empty()) {
            problems.push("every arm needs a seed; give [sweep] seeds = [1, 2, 3]".into());
        }
        if let Some(needles) = &self.needles {
            needles
                .arms
                .iter()
                .for_each(|name| require_arm("[needles] arms", name, &names, problems));
            problems.extend(needles.problem().map(String::from));
        }
        self.check_bases(problems);
        self.check_world(problems);
        let asked = self.head.questions.is_some() && self.head.videos.is_some();
        if !asked && self.world.is_none() {
            problems
                .push("nothing is asked; give [sweep] questions and videos, or a [world]".into());
        }
    }
}

fn require_arm(place: &str, name: &str, names: &[&str], problems: &mut Vec<String>) {
    if !names.contains(&name) {
        let known = names.join("`, `");
        problems.push(format!("{place}: no arm is named `{name}`; there are `{known}`"));
    }
}

impl Sweep {
    /// What is of a made-up world needs one.
    fn check_world(&self, problems: &mut Vec<String>) {
        if self.world.is_some() {
            return;
        }
        if self.needles.is_some() {
            problems.push("[needles] are those of a made-up world; give a [world]".into());
        }
        for arm in self.arms.iter().filter(|arm| arm.mixture.is_some()) {
            let name = &arm.name;
            problems.push(format!("arm `{name}`: mixture names a file of the made-up world, and there is no [world]; give data.mixture"));
        }
    }

    fn check_bases(&self, problems: &mut Vec<String>) {
        let Head { base, base_seeds, pair_seeds, .. } = &self.head;
        if base_seeds.is_empty() {
            if *pair_seeds {
                problems.push(
                    "pair_seeds: there are no bases to pair seeds with; give [sweep] base_seeds"
                        .into(),
                );
            }
            return;
        }
        if base.is_none() {
            problems.push("base_seeds: no base is trained; give [sweep] base".into());
        }
        if base_seeds.iter().collect::<BTreeSet<_>>().len() < base_seeds.len() {
            problems.push(format!("base_seeds = {base_seeds:?}: give each seed once"));
        }
        let bases = base_seeds.len();
        let unpaired = |arm: &&Arm| *pair_seeds && ![1, bases].contains(&arm.seeds.len());
        for arm in self.arms.iter().filter(unpaired) {
            let Arm { name, seeds, .. } = arm;
            problems.push(format!(
                "arm `{name}`: pair_seeds wants one seed or {bases}, as many as base_seeds; there are {}", seeds.len()
            ));
        }
    }
}

/// An arm at a point of the grid.
fn arm(
    head: &Head,
    named: &toml::Table,
    point: &[Override],
    problems: &mut Vec<String>,
) -> Option<Arm> {
    let mut own = named.clone();
    let mut take = |key: &str| own.remove(key);
    let (name, seeds, frames, ask) = (take("name"), take("seeds"), take("frames"), take("ask"));
    let mixture = take("mixture");
    let name = name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    if name.is_empty() && !named.is_empty() {
        problems.push("every [[arm]] needs a name".into());
        return None;
    }
    let place = format!("arm `{name}`");
    let curve =
        take("curve").map(|curve| curve.as_str().map_or_else(|| curve.to_string(), str::to_owned));
    let seeds = given(seeds, &place, "seeds", problems).unwrap_or_else(|| head.seeds.clone());
    let frames = given(frames, &place, "frames", problems).unwrap_or_else(|| head.frames.clone());
    let own_words: Vec<String> = given(ask, &place, "ask", problems).unwrap_or_default();
    let mixture: Option<String> = given(mixture, &place, "mixture", problems);
    let ask = [head.ask.clone(), own_words].concat();
    let settings = [overrides(&own, &place, problems), point.to_vec()].concat();
    let parts = parts_of_name(name, point);
    let (answers, settings) = of_answers_alone(settings);
    let words = |of_eval: bool| {
        let chosen = settings.iter().filter(|s| (s.table == EVAL) == of_eval);
        chosen.map(|s| format!("{}.{}={}", s.table, s.key, s.value)).collect()
    };
    Some(Arm {
        name: parts.join(", "),
        seeds,
        mixture,
        train: words(false),
        eval: words(true),
        answers: answers.iter().map(|s| format!("{}={}", s.key, s.value)).collect(),
        frames,
        ask,
        curve,
    })
}

/// The name of an arm, and where it stands in the grid.
fn parts_of_name(name: String, point: &[Override]) -> Vec<String> {
    let shown = |s: &Override| format!("{}={}", s.key, s.value.to_string().replace('"', ""));
    (!name.is_empty()).then_some(name).into_iter().chain(point.iter().map(shown)).collect()
}

/// What stands under a key of an arm, if it is there.
fn given<T: DeserializeOwned>(
    value: Option<Value>,
    place: &str,
    key: &str,
    problems: &mut Vec<String>,
) -> Option<T> {
    match value?.try_into() {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(format!("{place}: {key}: {}", error.message().trim()));
            None
        }
    }
}

#[cfg(test)]
mod tests;
