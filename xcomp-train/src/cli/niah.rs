//! `xcomp niah`: chains of pictures hidden in long videos.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{DeviceArg, FormatArg, PartArg, default_out};
use crate::answer::Answerer;
use crate::error::{EXIT_STOPPED, Error};
use crate::eval::niah::kept::Kept;
use crate::eval::niah::run::{CELLS, Cell, Grid, Material, TITLE, heat_map, run as run_grid};
use crate::eval::niah::settings::settings;
use crate::eval::responses::part_folder;
use crate::hub::Hub;
use crate::machine::files::write_atomically;
use crate::machine::stop::on_end_of_input;
use crate::recipe::tables::WindowsWord;

/// Arguments of `xcomp niah`.
#[derive(Debug, Args)]
pub(super) struct NiahArgs {
    /// An exported folder.
    checkpoint: PathBuf,
    /// Where the scores and the heat map go; a second call goes on there [default: runs/NAME-niah, with the name of the checkpoint].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Chains in the published JSON layout; without it, chains and hay are drawn by code.
    #[arg(long, value_name = "FILE", requires_all = ["pictures", "haystack"])]
    chains: Option<PathBuf>,
    /// Folder that the chains' picture paths start from.
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// A haystack video or folder of pictures; repeatable.
    #[arg(long, value_name = "FILE|FOLDER")]
    haystack: Vec<PathBuf>,
    /// Haystack lengths in frames.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 2000, 4000, 8000])]
    lengths: Vec<usize>,
    /// Shares of the haystack that a chain is spread over; 1 is the published placement.
    #[arg(long, value_delimiter = ',', default_values_t = [0.25, 0.5, 0.75, 1.0])]
    depths: Vec<f64>,
    /// Chains asked in each cell.
    #[arg(long, default_value_t = 10)]
    count: usize,
    /// Pictures of a drawn chain; 1: a single needle.
    #[arg(long, default_value_t = 5)]
    links: usize,
    /// Visual tokens for each learned one, where videos are read in windows; 0 keeps all [default: the largest of config.json].
    #[arg(long, value_name = "R")]
    ratio: Option<usize>,
    /// Where windows end, for a model that reads videos in them [default: as config.json states].
    #[arg(long, value_enum)]
    windows: Option<WindowsWord>,
    /// Fixes drawn chains.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    part: PartArg,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
    /// Ends when standard input ends, for a program that starts tests; exit code 75. Cells so far are kept.
    #[arg(long)]
    until_input_ends: bool,
}

pub(super) fn run(args: &NiahArgs) -> Result<(), Error> {
    if args.until_input_ends {
        on_end_of_input(|| std::process::exit(EXIT_STOPPED.into()));
    }
    let wrong = |what: &str| Err(Error::Argument(what.into()));
    if args.depths.iter().any(|depth| !(0.0..=1.0).contains(depth)) {
        return wrong("--depths are shares from 0 to 1");
    }
    if !(1..=9).contains(&args.links) || args.lengths.contains(&0) || args.count == 0 {
        return wrong("--links is 1 to 9; --lengths and --count are at least 1");
    }
    let checkpoint = Hub::of_environment().local(&args.checkpoint)?;
    let answerer = args.open(&checkpoint)?;
    let (lengths, depths) = (args.lengths.clone(), args.depths.clone());
    let grid = Grid { lengths, depths, chains: args.count };
    let (material, share) = (args.material(), args.part.share);
    let whole = args.out.clone().unwrap_or_else(|| default_out(&args.checkpoint, "-niah"));
    let out = share.map_or(whole.clone(), |share| part_folder(&whole, share));
    let mut settings = settings(&answerer, &checkpoint, &material, args.count)?;
    if args.windows.is_some() || args.ratio.is_some() {
        settings = format!("{settings} {:?} {:?}", args.windows, args.ratio);
    }
    let mut kept = Kept::open(&out, settings)?;
    let cells = run_grid(&answerer, &material, &grid, share, &mut kept)?;
    let json = serde_json::to_string_pretty(&cells).expect("plain data is JSON");
    write_atomically(&out.join("niah.svg"), heat_map(&grid, &cells, TITLE).as_bytes())?;
    write_atomically(&out.join(CELLS), json.as_bytes())?;
    args.format.print_as(&cells.iter().map(line).collect::<Vec<_>>().join("\n"), &cells)
}

impl NiahArgs {
    fn open(&self, checkpoint: &Path) -> Result<Answerer, Error> {
        let mut answerer = Answerer::open(checkpoint, &self.device.open()?)?;
        if let Some(windows) = self.windows {
            answerer = answerer.with_windows(windows)?;
        }
        if let Some(ratio) = self.ratio {
            answerer = answerer.with_ratio(ratio)?;
        }
        answerer.fit()
    }

    fn material(&self) -> Material {
        match (&self.chains, &self.pictures) {
            (Some(chains), Some(pictures)) => Material::Files {
                chains: chains.clone(),
                pictures: pictures.clone(),
                haystack: self.haystack.clone(),
            },
            _ => Material::Drawn { links: self.links, seed: self.seed },
        }
    }
}

fn line(cell: &Cell) -> String {
    format!(
        "{:>6} frames, depth {:.2}: caption {:.2}, qa {:.2}, score {:.2}",
        cell.frames, cell.depth, cell.caption, cell.qa, cell.score
    )
}
