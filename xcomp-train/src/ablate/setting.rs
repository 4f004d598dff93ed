//! Recipe keys with values, as a sweep lists them.

use std::path::Path;

use toml::Value;

use crate::recipe::KEYS;
use crate::recipe::tables::ScheduleKind;

/// The table whose keys may change the examination alone.
const COMPRESSION: &str = "compression";

/// A recipe key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) table: String,
    pub(super) key: String,
    pub(super) value: Value,
}

/// `table.key=value` with a path as value.
pub(super) fn path_setting(key: &str, path: &Path) -> String {
    format!("{key}={}", Value::String(path.to_string_lossy().into_owned()))
}

/// Every combination of the grid's values; one empty point without a grid.
pub(super) fn grid(grid: &toml::Table, problems: &mut Vec<String>) -> Vec<Vec<Setting>> {
    let mut points = vec![vec![]];
    for Setting { table, key, value } in settings(grid, "grid", problems) {
        let Value::Array(values) = value else {
            problems.push(format!("[grid] {table}.{key} = {value}: give a list of values"));
            continue;
        };
        let mut next = vec![];
        for point in &points {
            for value in &values {
                let setting =
                    Setting { table: table.clone(), key: key.clone(), value: value.clone() };
                next.push([point.clone(), vec![setting]].concat());
            }
        }
        points = next;
    }
    points
}

/// Recipe keys of a table of tables; those that no recipe has become problems.
pub(super) fn settings(
    tables: &toml::Table,
    place: &str,
    problems: &mut Vec<String>,
) -> Vec<Setting> {
    let mut settings = vec![];
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
            settings.push(Setting { table: table.clone(), key: key.clone(), value: value.clone() });
        }
    }
    settings
}

/// Takes out what belongs to a compression that cannot be trained.
pub(super) fn of_answers_alone(settings: Vec<Setting>) -> (Vec<Setting>, Vec<Setting>) {
    let is_schedule = |s: &&Setting| s.table == COMPRESSION && s.key == "schedule";
    // The last setting of a key wins.
    let schedule = settings.iter().rfind(is_schedule).and_then(|s| s.value.as_str());
    let alone = schedule == Some(ScheduleKind::FastV.word());
    let moves = |s: &Setting| alone && s.table == COMPRESSION && s.key != "group_order";
    settings.into_iter().partition(moves)
}
