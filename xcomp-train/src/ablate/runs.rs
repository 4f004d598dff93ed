//! What a sweep has to do, as data: trainings, the examinations that rest on them, and which of them belong to which arm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xcomp_data::Share;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::schedule::CompressionPlan;

use super::asked::AnswerWindows;
use super::cost::{Prompts, QuestionCost, of_flag};
use super::material::Material;
use super::sweep::{Arm, Sweep};
use crate::data::Data;
use crate::error::Error;
use crate::eval::crossed::Draw;
use crate::machine::files::{at, read_text, sha256};
use crate::plan::survey::count;
use crate::plan::{Plan, at_tokens, compression_plan};
use crate::recipe::tables::CompressionTable;
use crate::recipe::{Recipe, answer_compression};
use crate::train::checkpoint::identity::of_run;

/// Frames of an examination that states none, for the estimate.
const USUAL_FRAMES: usize = 128;
/// Letters of a hash that name a folder.
const NAME: usize = 12;

/// One `xcomp train`.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Seed of the base that it starts from.
    pub base: u64,
    /// Its folder, named by what decides its numbers: arms that train alike share it.
    pub folder: PathBuf,
    /// Arguments of `xcomp train`.
    pub arguments: Vec<String>,
    /// Its examinations.
    pub exams: Vec<Exam>,
    /// FLOPs that it will do.
    pub flops: f64,
    /// FLOPs of its examinations, about.
    pub exam_flops: f64,
    /// FLOPs of a question about one frame.
    frame_flops: f64,
    /// How it compresses, and with it its examinations unless an arm says otherwise.
    compression: CompressionPlan,
    /// The table that says so.
    table: CompressionTable,
    /// How it reads in windows, if it does.
    windows: Option<AnswerWindows>,
    /// Sizes of its model.
    config: ModelConfig,
}

/// One `xcomp eval`, or `xcomp niah`.
#[derive(Debug, Clone, PartialEq)]
pub struct Exam {
    /// Which of them.
    pub verb: &'static str,
    /// Its folder, inside that of the training.
    pub folder: PathBuf,
    /// Arguments of `xcomp eval` behind the checkpoint.
    pub arguments: Vec<String>,
    /// Questions.
    pub questions: usize,
}

/// Where the numbers of an arm with a seed come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Name of the arm.
    pub arm: String,
    /// Base and seed.
    pub draw: Draw,
    /// Place of the training.
    pub training: usize,
    /// Tokens of a frame in each layer when it is examined: of windows the learned ones that stay.
    pub tokens: Vec<f64>,
    /// Frames that stand in the prompt, if that is said.
    pub frames: Option<usize>,
    /// Every examination, that of the table first.
    pub exams: Vec<Asked>,
}

/// An examination of an arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Frames looked at; as the model's family is evaluated if absent.
    pub frames: Option<usize>,
    /// Its folder.
    pub folder: PathBuf,
    /// What one of its questions costs, where that is known.
    pub cost: Option<QuestionCost>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Runs {
    /// Trainings, none twice.
    pub trainings: Vec<Training>,
    /// Every arm with every seed of it.
    pub cells: Vec<Cell>,
    /// Arms that look for needles, and where the test of each lies.
    pub needles: Vec<(String, PathBuf)>,
}

impl Runs {
    /// Resolves every arm with every draw of it; `bases` are those that are made, by seed.
    ///
    /// # Errors
    /// If a recipe does not fit the model, or a file that decides numbers cannot be read.
    pub fn of(
        sweep: &Sweep,
        material: &Material,
        bases: &BTreeMap<u64, PathBuf>,
        out: &Path,
    ) -> Result<Self, Error> {
        let mut runs = Self::default();
        let prompts = Prompts::of(sweep, material)?;
        for draw in sweep.rounds() {
            let material =
                material.of_base(draw.base).from(bases.get(&draw.base).map(PathBuf::as_path));
            for arm in sweep.arms.iter().filter(|arm| sweep.draws(arm).contains(&draw)) {
                runs.add(sweep, (&material, &prompts), (arm, draw), out)?;
            }
        }
        Ok(runs)
    }

    /// Adds an arm with a draw: a training, unless another arm trains alike from the same base, and its examinations.
    fn add(
        &mut self,
        sweep: &Sweep,
        (material, prompts): (&Material, &Prompts),
        (arm, draw): (&Arm, Draw),
        out: &Path,
    ) -> Result<(), Error> {
        let own = [&sweep.head.set[..], &arm.train, &[format!("train.seed={}", draw.seed)]];
        let set = [own.concat(), material.mixed(arm.mixture.as_deref()).settings()].concat();
        let training = Training { base: draw.base, ..training(&sweep.head.recipe, set, out)? };
        let at = self.trainings.iter().position(|known| known.place() == training.place());
        let at = at.unwrap_or_else(|| {
            self.trainings.push(training);
            self.trainings.len() - 1
        });
        let known = &mut self.trainings[at];
        let compression = known.compression_of(arm, &sweep.path)?;
        let ratio = known.windows.and_then(|windows| windows.ratio(&arm.ask));
        let mut exams = vec![];
        for (frames, exam) in exams_of(material, arm, &known.folder)? {
            let in_one_pass = frames.filter(|_| ratio.is_none());
            let cost = prompts.cost(arm, &compression, in_one_pass);
            exams.push(Asked { frames, folder: exam.folder.clone(), cost });
            known.add(exam, frames);
        }
        let tokens = known.tokens(&compression, ratio);
        let chosen = of_flag(&arm.ask, "--select").and_then(|count| count.parse().ok());
        let frames = chosen.or(exams[0].frames);
        self.add_needles(sweep, material, arm, at)?;
        self.cells.push(Cell { arm: arm.name.clone(), draw, training: at, tokens, frames, exams });
        Ok(())
    }

    /// Adds the needles that an arm looks for, to its first training alone.
    fn add_needles(
        &mut self,
        sweep: &Sweep,
        material: &Material,
        arm: &Arm,
        training: usize,
    ) -> Result<(), Error> {
        let asked = sweep.needles.as_ref().filter(|needles| needles.arms.contains(&arm.name));
        let (Some(needles), Some(world)) = (asked, &material.world) else { return Ok(()) };
        if self.needles.iter().any(|(known, _)| *known == arm.name) {
            return Ok(());
        }
        let known = &mut self.trainings[training];
        let windows = ["--windows", "--ratio"].into_iter();
        let windows = windows.filter_map(|key| Some((key, of_flag(&arm.ask, key)?.to_owned())));
        let (folder, arguments) = needles.test(world, windows, &known.folder)?;
        self.needles.push((arm.name.clone(), folder.clone()));
        let exam = Exam { verb: "niah", folder, arguments, questions: needles.questions() };
        known.add(exam, Some(needles.mean_frames()));
        Ok(())
    }

    /// The trainings of a share of them.
    pub fn of_share(&self, share: Option<Share>) -> Vec<&Training> {
        let Some(share) = share else { return self.trainings.iter().collect() };
        let taken = share.takes(self.trainings.iter().map(Training::place));
        let own = self.trainings.iter().zip(taken).filter(|(_, taken)| *taken);
        own.map(|(training, _)| training).collect()
    }
}

impl Training {
    /// What tells it from others; folders of bases that are not made yet cannot be told apart.
    fn place(&self) -> (u64, &Path) {
        (self.base, &self.folder)
    }

    /// How an arm on this training compresses when it is examined.
    fn compression_of(&self, arm: &Arm, sweep: &Path) -> Result<CompressionPlan, Error> {
        let tokens = of_flag(&arm.ask, "--tokens").and_then(|tokens| tokens.parse().ok());
        let table = match tokens {
            Some(tokens) => at_tokens(&self.table, tokens),
            None if arm.answers.is_empty() => return Ok(self.compression.clone()),
            None => answer_compression(&arm.answers)?,
        };
        compression_plan(&table, &self.config, sweep)
    }

    /// Tokens of a frame in each layer of an answer under a compression, or behind windows of a ratio: the learned ones that stay.
    fn tokens(&self, compression: &CompressionPlan, ratio: Option<usize>) -> Vec<f64> {
        let Some(ratio @ 1..) = ratio else { return compression.tokens_per_layer().to_vec() };
        let learned = self.config.tokens_per_frame() as f64 / ratio as f64;
        vec![learned; compression.layers()]
    }

    /// Sizes of its model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Adds an examination, unless it is there.
    pub fn add(&mut self, exam: Exam, frames: Option<usize>) {
        if self.exams.contains(&exam) {
            return;
        }
        self.exam_flops +=
            (exam.questions * frames.unwrap_or(USUAL_FRAMES)) as f64 * self.frame_flops;
        self.exams.push(exam);
    }
}

/// FLOPs that one frame more costs an answer: a third of what it costs a training step, forward alone.
fn frame_flops(plan: &Plan) -> f64 {
    let size = plan.samples.mean;
    plan.flops(size).model() / 3.0 / size.frames.max(1) as f64
}

/// The training of a recipe with keys overridden, in a folder of `out`.
///
/// # Errors
/// If the recipe does not fit the model, or a file that decides numbers cannot be read.
pub fn training(path: &Path, set: Vec<String>, out: &Path) -> Result<Training, Error> {
    let recipe = Recipe::load(path, &set)?;
    let counted = count(&recipe)?;
    let plan = Plan::new(recipe, counted)?;
    let data = Data::open(&plan.recipe, &plan.config, None)?;
    let identity = of_run(&plan, &data)?;
    let lines: Vec<String> =
        identity.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let folder = out.join("runs").join(&sha256(lines.join("\n").as_bytes())[..NAME]);
    let recipe = path.to_string_lossy().into_owned();
    let set = set.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
    Ok(Training {
        base: 0,
        arguments: [recipe].into_iter().chain(set).collect(),
        exams: vec![],
        flops: plan.report().run_hardware_flops,
        exam_flops: 0.0,
        frame_flops: frame_flops(&plan),
        windows: AnswerWindows::of(&plan),
        compression: plan.compression,
        table: plan.recipe.compression,
        config: plan.config,
        folder,
    })
}

/// An examination for every number of frames.
fn exams_of(
    material: &Material,
    arm: &Arm,
    folder: &Path,
) -> Result<Vec<(Option<usize>, Exam)>, Error> {
    let of = |frames: Option<usize>| -> Result<(Option<usize>, Exam), Error> {
        let mut own = arm.ask.clone();
        own.extend(frames.into_iter().flat_map(|n| ["--frames".into(), n.to_string()]));
        own.extend(arm.eval.iter().flat_map(|setting| ["--set".into(), setting.clone()]));
        // The old spelling of `--set compression.KEY`: these words are hashed into the name of a folder that may be there.
        let answers = arm.answers.iter();
        own.extend(answers.flat_map(|setting| ["--compression".into(), setting.clone()]));
        Ok((frames, exam(material.examination(), own, folder)?))
    };
    match &arm.frames[..] {
        [] => Ok(vec![of(None)?]),
        frames => frames.iter().map(|frames| of(Some(*frames))).collect(),
    }
}

/// Questions about videos, put in the manner of `arguments`, with answers in a folder of `folder`.
///
/// # Errors
/// If the questions cannot be read.
pub fn exam(
    (questions, videos): (&Path, &Path),
    arguments: Vec<String>,
    folder: &Path,
) -> Result<Exam, Error> {
    let content = read_text(questions)?;
    let list: Vec<serde_json::Value> = serde_json::from_str(&content)
        .map_err(|error| at("cannot read", questions)(error.into()))?;
    let content = sha256(content.as_bytes());
    let name = sha256(format!("{content} {}", arguments.join(" ")).as_bytes());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let fixed = ["--questions".into(), text(questions), "--videos".into(), text(videos)];
    let folder = folder.join(format!("eval-{}", &name[..NAME]));
    let arguments = fixed.into_iter().chain(arguments).collect();
    Ok(Exam { verb: "eval", folder, arguments, questions: list.len() })
}
