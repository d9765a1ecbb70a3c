//! PURE: the SQL that finds the rows which a table has at one instant and had not at another, and copies them to a table of their own.
//!
//! One statement may not read a table at two instants, so each state is a table by itself. Rows are compared by the columns that both
//! states have, each as often as it is there.
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#for_system_time_as_of>.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::meta::TableMeta;
use crate::names::TableRef;
use crate::sql::{AsOf, CopyOptions, Counted, quoted};

/// A state of a table, as a table of its own.
#[derive(Clone, Debug)]
pub struct Stated {
    table: Counted,
    /// Its columns, and their types in one word each.
    columns: Vec<(String, String)>,
}

/// Rows of a later state that an earlier one has not.
#[derive(Clone, Debug)]
pub struct Apart {
    /// The earlier one; `None`: it has no rows.
    pub before: Option<Stated>,
    /// The later one.
    pub after: Stated,
}

impl Stated {
    /// Of a table, as BigQuery tells of it.
    pub fn new(name: &TableRef, meta: &TableMeta) -> Stated {
        let columns = meta.fields().iter().filter_map(|field| {
            let name = field.get("name")?.as_str()?.to_owned();
            Some((name, shape_of(field)))
        });
        Stated {
            table: Counted::new(name, AsOf::Plain, Some(meta)),
            columns: columns.collect(),
        }
    }

    fn type_of(&self, name: &str) -> Option<&str> {
        let same = |(there, _): &&(String, String)| there.eq_ignore_ascii_case(name);
        self.columns.iter().find(same).map(|(_, shape)| shape.as_str())
    }

    fn filter(&self) -> String {
        self.table
            .filter()
            .map(|filter| format!(" WHERE {filter}"))
            .unwrap_or_default()
    }

    /// What stands for a row when it is compared: these columns.
    fn key(&self, columns: &[&str]) -> String {
        let values = columns.iter().enumerate();
        let values: Vec<String> = values
            .map(|(i, column)| format!("{} AS c{i}", quoted(column)))
            .collect();
        format!("TO_JSON_STRING(STRUCT({}))", values.join(", "))
    }
}

/// A column's type and all below it in one word. Whether a value may be missing is no part of what it is.
fn shape_of(field: &Value) -> String {
    let text = |key: &str| field.get(key).and_then(Value::as_str).unwrap_or_default();
    let repeated = if text("mode") == "REPEATED" { "[]" } else { "" };
    let below = field
        .get("fields")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let below: Vec<String> = below
        .iter()
        .map(|field| {
            format!(
                "{} {}",
                field.get("name").and_then(Value::as_str).unwrap_or_default(),
                shape_of(field)
            )
        })
        .collect();
    format!("{}{repeated}<{}>", text("type"), below.join(","))
}

/// The columns of rows that are put together: all that any of them has, and of which not all have one type.
struct Columns {
    names: Vec<String>,
    mixed: BTreeSet<String>,
}

impl Columns {
    fn of(parts: &[&Apart]) -> Columns {
        let (mut names, mut mixed): (Vec<String>, BTreeSet<String>) = Default::default();
        // The newest state first: its columns are those that a person knows.
        for part in parts.iter().rev() {
            for (name, shape) in &part.after.columns {
                let differs = |other: &&Apart| other.after.type_of(name).is_some_and(|there| there != shape);
                if parts.iter().any(differs) {
                    mixed.insert(name.to_lowercase());
                }
                if !names.iter().any(|there| there.eq_ignore_ascii_case(name)) {
                    names.push(name.clone());
                }
            }
        }
        Columns { names, mixed }
    }
}

/// The rows of the later state that the earlier one has not, or not as often. Of rows that are the same any of them is new.
fn rows(part: &Apart, columns: &Columns) -> String {
    let after = &part.after;
    let both: Vec<&str> = match &part.before {
        Some(before) => after
            .columns
            .iter()
            .filter(|(name, shape)| before.type_of(name) == Some(shape))
            .map(|(name, _)| name.as_str())
            .collect(),
        None => Vec::new(),
    };
    let value = |(i, name): (usize, &String)| match after.type_of(name) {
        None => format!("NULL AS o{i}"),
        Some(_) if columns.mixed.contains(&name.to_lowercase()) => format!("TO_JSON_STRING({}) AS o{i}", quoted(name)),
        Some(_) => format!("{} AS o{i}", quoted(name)),
    };
    let values: Vec<String> = columns.names.iter().enumerate().map(value).collect();
    let values = values.join(", ");
    let out = columns.names.iter().enumerate();
    let out: Vec<String> = out.map(|(i, name)| format!("o{i} AS {}", quoted(name))).collect();
    let (out, from) = (out.join(", "), after.table.table.sql());
    let Some(before) = part.before.as_ref().filter(|_| !both.is_empty()) else {
        return format!("SELECT {out} FROM (SELECT {values} FROM {from}{})", after.filter());
    };
    format!(
        "SELECT {out} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k) AS nth FROM \
         (SELECT {values}, {} AS k FROM {from}{})) AS later \
         LEFT JOIN (SELECT k AS known, COUNT(*) AS times FROM (SELECT {} AS k FROM {}{}) GROUP BY k) AS earlier \
         ON later.k = earlier.known WHERE nth > IFNULL(times, 0)",
        after.key(&both),
        after.filter(),
        before.key(&both),
        before.table.table.sql(),
        before.filter()
    )
}

/// How far states are apart: columns `i`, `n_before`, `n_after` and `n_added`, a row each.
pub fn measure(parts: &[Apart]) -> String {
    let count = |of: &Stated| format!("(SELECT COUNT(*) FROM {}{})", of.table.table.sql(), of.filter());
    let one = |(i, part): (usize, &Apart)| {
        let before = part.before.as_ref().map_or_else(|| "0".to_owned(), count);
        let rows = rows(part, &Columns::of(&[part]));
        format!(
            "SELECT {i} AS i, {before} AS n_before, {} AS n_after, COUNT(*) AS n_added FROM ({rows})",
            count(&part.after)
        )
    };
    let parts: Vec<String> = parts.iter().enumerate().map(one).collect();
    parts.join("\nUNION ALL ")
}

/// Copies the rows that are apart to a table of their own. It must not be there.
pub fn copy(name: &TableRef, parts: &[&Apart], options: &CopyOptions) -> String {
    let columns = Columns::of(parts);
    let parts: Vec<String> = parts.iter().map(|part| rows(part, &columns)).collect();
    format!(
        "CREATE TABLE {} {} AS\n{}",
        name.sql(),
        options.sql(),
        parts.join("\nUNION ALL ")
    )
}

/// Makes a table of a state, where BigQuery allows no clone of it: of one at the end of a chain.
pub fn state(name: &TableRef, of: &Counted, options: &CopyOptions) -> String {
    let filter = of.filter().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
    format!(
        "CREATE TABLE {} {} AS SELECT * FROM {}{}{filter}",
        name.sql(),
        options.sql(),
        of.table.sql(),
        of.as_of.sql()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stated(name: &str, columns: &[(&str, &str)]) -> Stated {
        let fields: Vec<Value> = columns
            .iter()
            .map(|(name, of)| json!({"name": name, "type": of}))
            .collect();
        let meta = serde_json::from_value(json!({"schema": {"fields": fields}})).unwrap();
        Stated::new(&TableRef::parse(name, None).unwrap(), &meta)
    }

    #[test]
    fn rows_are_compared_by_what_both_states_have_and_copied_with_all_that_they_have() {
        let part = Apart {
            before: Some(stated(
                "p.d.before",
                &[("ID", "INTEGER"), ("was", "STRING"), ("x", "DATE")],
            )),
            after: stated("p.d.after", &[("id", "INTEGER"), ("x", "STRING"), ("new", "STRING")]),
        };
        let text = rows(&part, &Columns::of(&[&part]));
        assert_eq!(text.matches("STRUCT(`id` AS c0))").count(), 2, "{text}");
        assert!(
            text.starts_with("SELECT o0 AS `id`, o1 AS `x`, o2 AS `new` FROM"),
            "{text}"
        );
    }

    #[test]
    fn what_has_nothing_in_common_is_all_new() {
        let part = Apart {
            before: Some(stated("p.d.before", &[("a", "INTEGER")])),
            after: stated("p.d.after", &[("b", "INTEGER")]),
        };
        let text = rows(&part, &Columns::of(&[&part]));
        assert_eq!(text, "SELECT o0 AS `b` FROM (SELECT `b` AS o0 FROM `p.d.after`)");
    }

    #[test]
    fn rows_of_several_states_have_the_columns_of_all() {
        let part = |columns| Apart {
            before: None,
            after: stated("p.d.t", columns),
        };
        let parts = [
            part(&[("id", "INTEGER"), ("gone", "STRING"), ("x", "DATE")]),
            part(&[("Id", "INTEGER"), ("x", "STRING"), ("new", "STRING")]),
        ];
        let columns = Columns::of(&[&parts[0], &parts[1]]);
        assert_eq!(columns.names, ["Id", "x", "new", "gone"]);
        let earlier = rows(&parts[0], &columns);
        assert!(
            earlier.contains("`Id` AS o0, TO_JSON_STRING(`x`) AS o1, NULL AS o2, `gone` AS o3"),
            "{earlier}"
        );
    }
}
