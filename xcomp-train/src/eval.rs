//! Multiple-choice benchmarks: questions as published, answers by their own rules, honest statistics.

pub mod crossed;
pub mod entries;
pub mod interval;
pub mod model;
pub mod niah;
pub mod question;
pub mod report;
pub mod responses;
pub mod results;
pub mod rules;
pub mod statistics;
pub mod subtitles;
