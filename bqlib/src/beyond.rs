//! What stands on a table that no rollback puts back: search and vector indexes, materialized views. Asked of a dataset, told of a table.

use std::cell::Cell;

use serde_json::{Map, Value};

use crate::api::{Api, ApiError, Rows};
use crate::count::{self, Question};
use crate::names::TableRef;
use crate::retarget::retarget;

/// What stands on the tables of a dataset.
pub struct Standing(Rows);

/// Asks for it by the query that tells ([`crate::sql::standing`]).
///
/// # Errors
/// The query failed or could not be asked.
pub async fn standing(api: &Api<'_>, question: &Question<'_>, text: &str) -> Result<Standing, ApiError> {
    let (rows, ..) = count::query(api, question, text, None).await?;
    Ok(Standing(rows))
}

impl Standing {
    /// What of it stands on a table, for people.
    pub fn on(&self, table: &TableRef) -> Vec<String> {
        self.0.iter().filter_map(|row| stands_on(table, row)).collect()
    }
}

fn stands_on(table: &TableRef, row: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, name, ddl) = (text("kind"), text("name"), text("ddl"));
    let is_on = match kind {
        "materialized view" => reads(ddl, table),
        _ => text("on_table") == table.table.as_str(),
    };
    let ddl = ddl.split_whitespace().collect::<Vec<_>>().join(" ");
    is_on.then(|| format!("{kind} {name} ({ddl})"))
}

/// Whether a statement names a table where a query names one.
fn reads(text: &str, table: &TableRef) -> bool {
    let found = Cell::new(false);
    retarget(text, &table.project, |named| {
        found.set(found.get() || named == table);
        None
    });
    found.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stands_on_a_table_is_told_from_what_stands_on_others() {
        let table = TableRef::parse("p.d.t", None).unwrap();
        let row = |kind: &str, on: &str, ddl: &str| {
            let row = json!({ "kind": kind, "on_table": on, "name": "x", "ddl": ddl });
            Standing(vec![row.as_object().unwrap().clone()]).on(&table)
        };
        let view = "CREATE MATERIALIZED VIEW p.d.x AS SELECT";
        for (kind, on, ddl, stands) in [
            ("search index", "t", "", true),
            ("vector index", "tt", "", false),
            ("materialized view", "", &format!("{view} COUNT(*) AS n FROM d.t"), true),
            (
                "materialized view",
                "",
                &format!("{view} 't' AS t FROM `p.d.u` /* p.d.t */"),
                false,
            ),
            (
                "materialized view",
                "",
                &format!("{view} 1 FROM d.u JOIN `p.d.t` USING (id)"),
                true,
            ),
            (
                "materialized view",
                "",
                "CREATE MATERIALIZED VIEW p.d.t AS SELECT 1 FROM p.d.u",
                false,
            ),
        ] {
            assert_eq!(row(kind, on, ddl).len(), usize::from(stands), "{ddl}");
        }
        let told = row("search index", "t", "CREATE SEARCH INDEX x\n ON p.d.t(ALL COLUMNS)");
        assert_eq!(told, ["search index x (CREATE SEARCH INDEX x ON p.d.t(ALL COLUMNS))"]);
    }
}
