//! Recipe keys with values, as a sweep lists them.

use std::path::Path;

use toml::Value;

use crate::recipe::KEYS;
use crate::recipe::tables::ScheduleKind;

/// The table whose keys may change the examination alone.
const COMPRESSION: &str = "compression";

/// A recipe key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Override {
    pub(super) table: String,
    pub(super) key: String,
    pub(super) value: Value,
}

/// `table.key=value` with a path as value.
pub(super) fn path_override(key: &str, path: &Path) -> String {
    format!("{key}={}", Value::String(path.to_string_lossy().into_owned()))
}

/// Every combination of the grid's values; one empty point without a grid.
pub(super) fn grid(grid: &toml::Table, problems: &mut Vec<String>) -> Vec<Vec<Override>> {
    let mut points = vec![vec![]];
    for Override { table, key, value } in overrides(grid, "grid", problems) {
        let Value::Array(values) = value else {
            problems.push(format!("[grid] {table}.{key} = {value}: give a list of values"));
            continue;
        };
        let mut next = vec![];
        for point in &points {
            for value in &values {
                let one = Override { table: table.clone(), key: key.clone(), value: value.clone() };
                next.push([point.clone(), vec![one]].concat());
            }
        }
        points = next;
    }
    points
}

/// Recipe keys of a table of tables; those that no recipe has become problems.
pub(super) fn overrides(
    tables: &toml::Table,
    place: &str,
    problems: &mut Vec<String>,
) -> Vec<Override> {
    let mut overrides = vec![];
    for (table, content) in tables {
        let Value::Table(content) = content else {
            problems
                .push(format!("{place}: `{table} = {content}` is no recipe key; write table.key"));
            continue;
        };
        for (key, value) in content {
            let known =
                KEYS.iter().any(|(name, keys)| name == table && keys.contains(&key.as_str()));
            if !known {
                problems.push(format!("{place}: a recipe has no key {table}.{key}"));
            }
            overrides.push(Override {
                table: table.clone(),
                key: key.clone(),
                value: value.clone(),
            });
        }
    }
    overrides
}

/// Takes out what belongs to a compression that cannot be trained.
pub(super) fn of_answers_alone(overrides: Vec<Override>) -> (Vec<Override>, Vec<Override>) {
    let is_schedule = |s: &&Override| s.table == COMPRESSION && s.key == "schedule";
    // The last one of a key wins.
    let schedule = overrides.iter().rfind(is_schedule).and_then(|s| s.value.as_str());
    let alone = schedule == Some(ScheduleKind::FastV.word());
    let moves = |s: &Override| alone && s.table == COMPRESSION && s.key != "group_order";
    overrides.into_iter().partition(moves)
}
