//! How results are shown: charts, tables, pages.

pub mod charts;
pub mod numbers;
pub mod page;
pub mod progress;
pub mod table;
