//! What a mixture holds, whether it can be read, and what one sample looks like: the reports behind `xcomp data`.

mod histogram;
mod lint;
mod show;
mod stats;

pub use histogram::Histogram;
pub use lint::{Finding, LintReport, lint};
pub use show::{ShowReport, Span, VisualReport, contact_sheet, show, write_png};
pub use stats::{Imbalance, SourceStats, StatsOptions, StatsReport, StepOrder, imbalances, stats};
