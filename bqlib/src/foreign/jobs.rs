//! PURE: the jobs that wrote to tables since the cut, of `INFORMATION_SCHEMA.JOBS_BY_PROJECT`: the question, and who of its answer is not us.
//!
//! It tells of jobs of one project and region only, and a streaming insert is no job: what it shows is there, what it does not show may
//! be there all the same.
//! Source: <https://docs.cloud.google.com/bigquery/docs/information-schema-jobs>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::clock::from_millis;
use crate::meta::integer;
use crate::names::{JobId, Location, ProjectId, RunId, TableRef, sql_string};
use crate::sql::{RUN_LABEL, timestamp};

/// A job that ran when the cut was taken began at most so long before it.
/// Source: <https://docs.cloud.google.com/bigquery/quotas#multi_statement_query_limits>.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How many jobs are asked for: more would not be read by anybody.
const MOST: usize = 10_000;

/// How many jobs are told of a table.
const TOLD: usize = 5;

/// A job of others that wrote to a table.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignJob {
    /// Its ID.
    pub id: String,
    /// Who ran it.
    pub who: Option<String>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// `INSERT`, `LOAD` and so on.
    pub kind: String,
    /// The rows that it inserted, updated and deleted, if it says so.
    pub rows: Option<u64>,
}

impl ForeignJob {
    /// Whether it certainly changed its table after an instant: begun later, and not a statement that found no row to change.
    pub fn wrote_after(&self, ms: u64) -> bool {
        self.created_ms >= ms && self.rows != Some(0)
    }
}

impl fmt::Display for ForeignJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.who.as_deref().unwrap_or("somebody");
        write!(f, "by {who} at {} ({}", from_millis(self.ended_ms), self.kind)?;
        if let Some(rows) = self.rows {
            write!(f, ", {rows} {}", if rows == 1 { "row" } else { "rows" })?;
        }
        write!(f, ", job {})", self.id)
    }
}

/// Jobs in words, the first ones of many; empty: none.
pub fn in_words(jobs: &[ForeignJob]) -> String {
    let mut words: Vec<String> = jobs.iter().take(TOLD).map(ToString::to_string).collect();
    if jobs.len() > TOLD {
        words.push(format!("and {} more", jobs.len() - TOLD));
    }
    words.join("; ")
}

/// The query for the jobs that wrote these tables since the cut, and for what committed transactions.
pub fn question(project: &ProjectId, location: &Location, cut: Timestamp, tables: &[&TableRef]) -> String {
    // A partition of a table is written under a name of its own: `t$20260101`.
    const TABLE: &str = "REGEXP_EXTRACT(destination_table.table_id, r'^[^$]*')";
    let names: Vec<String> = tables.iter().map(|table| sql_string(&table.to_string())).collect();
    let region = location.as_str().to_ascii_lowercase();
    let since = timestamp(crate::clock::from_millis(
        crate::clock::millis(cut).saturating_sub(u64::try_from(LONGEST.as_millis()).unwrap_or(0)),
    ));
    format!(
        "SELECT job_id, parent_job_id, user_email, job_type, statement_type, transaction_id, TO_JSON_STRING(labels) AS labels, \
         UNIX_MILLIS(creation_time) AS created_ms, UNIX_MILLIS(end_time) AS ended_ms, \
         CONCAT(destination_table.project_id, '.', destination_table.dataset_id, '.', {TABLE}) AS written, \
         dml_statistics.inserted_row_count AS inserted, dml_statistics.updated_row_count AS updated, \
         dml_statistics.deleted_row_count AS deleted \
         FROM `{project}.region-{region}.INFORMATION_SCHEMA.JOBS_BY_PROJECT` \
         WHERE creation_time >= {since} AND end_time >= {} AND state = 'DONE' AND error_result IS NULL \
         AND (statement_type = 'COMMIT_TRANSACTION' OR \
         CONCAT(destination_table.project_id, '.', destination_table.dataset_id, '.', {TABLE}) IN ({})) \
         ORDER BY ended_ms LIMIT {MOST}",
        timestamp(cut),
        names.join(", ")
    )
}

/// The jobs of others among the rows of the answer, by table. Ours are those with the run's label, the migration's and their children.
pub fn of_others(
    rows: &[Map<String, Value>],
    run: &RunId,
    migration: &BTreeSet<JobId>,
) -> BTreeMap<TableRef, Vec<ForeignJob>> {
    let text = |row: &Map<String, Value>, key: &str| Some(row.get(key)?.as_str()?.to_owned());
    let committed: BTreeSet<String> = rows
        .iter()
        .filter(|row| text(row, "statement_type").as_deref() == Some("COMMIT_TRANSACTION"))
        .filter_map(|row| text(row, "transaction_id"))
        .collect();
    let of_migration = |row: &Map<String, Value>| {
        let is = |key: &str| text(row, key).is_some_and(|id| migration.iter().any(|ours| ours.as_str() == bare(&id)));
        is("job_id") || is("parent_job_id")
    };
    let mut found: BTreeMap<TableRef, Vec<ForeignJob>> = BTreeMap::new();
    for row in rows {
        let number = |key: &str| row.get(key).and_then(integer);
        let written = text(row, "written").and_then(|name| TableRef::parse(&name, None).ok());
        let undone = text(row, "transaction_id").is_some_and(|id| !committed.contains(&id));
        let (Some(table), Some(id), false) = (written, text(row, "job_id"), undone) else {
            continue;
        };
        // What a script wrote, its statements tell.
        let kind = text(row, "statement_type")
            .or_else(|| text(row, "job_type"))
            .unwrap_or_default();
        if kind == "SCRIPT" || of_migration(row) || has_label(row, run) {
            continue;
        }
        let counts = ["inserted", "updated", "deleted"].map(number);
        let rows = counts
            .iter()
            .any(Option::is_some)
            .then(|| counts.iter().flatten().sum());
        found.entry(table).or_default().push(ForeignJob {
            id: bare(&id).to_owned(),
            who: text(row, "user_email").filter(|who| !who.is_empty()),
            created_ms: number("created_ms").unwrap_or(0),
            ended_ms: number("ended_ms").unwrap_or(0),
            kind,
            rows,
        });
    }
    found
}

/// A job's ID, which some answers have as `project:location.id`.
fn bare(id: &str) -> &str {
    id.rsplit_once(['.', ':']).map_or(id, |(_, id)| id)
}

fn has_label(row: &Map<String, Value>, run: &RunId) -> bool {
    let labels = row.get("labels").and_then(Value::as_str).unwrap_or("null");
    match serde_json::from_str(labels) {
        Ok(Value::Array(labels)) => labels
            .iter()
            .any(|label| label["key"] == RUN_LABEL && label["value"] == run.as_str()),
        Ok(Value::Object(labels)) => labels.get(RUN_LABEL).and_then(Value::as_str) == Some(run.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(change: Value) -> Map<String, Value> {
        let mut row = json!({
            "job_id": "j", "parent_job_id": null, "user_email": "ann@example.com", "job_type": "QUERY", "statement_type": "INSERT",
            "transaction_id": null, "labels": "[]", "created_ms": "1500", "ended_ms": "1700", "written": "p.d.t",
            "inserted": "3", "updated": "0", "deleted": "0",
        });
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        row.as_object().unwrap().clone()
    }

    fn found(rows: &[Value]) -> Vec<String> {
        let rows: Vec<_> = rows.iter().map(|change| row(change.clone())).collect();
        let migration = BTreeSet::from(["m".parse().unwrap()]);
        let found = of_others(&rows, &"r".parse().unwrap(), &migration);
        found.into_values().flatten().map(|job| job.id).collect()
    }

    #[test]
    fn ours_are_not_others() {
        assert_eq!(found(&[json!({})]), ["j"]);
        assert_eq!(found(&[json!({"job_id": "p:EU.k"})]), ["k"]);
        for ours in [
            json!({"job_id": "m"}),
            json!({"parent_job_id": "m"}),
            json!({"parent_job_id": "p:EU.m"}),
            json!({"labels": r#"[{"key":"bq-rollback-run","value":"r"}]"#}),
            json!({"labels": r#"{"bq-rollback-run":"r"}"#}),
            json!({"statement_type": "SCRIPT"}),
            json!({"written": null}),
        ] {
            assert_eq!(found(std::slice::from_ref(&ours)), [""; 0], "{ours}");
        }
        assert_eq!(
            found(&[json!({"labels": r#"[{"key":"bq-rollback-run","value":"q"}]"#})]),
            ["j"],
            "another run's"
        );
    }

    #[test]
    fn what_was_rolled_back_with_its_transaction_was_not_written() {
        let wrote = json!({"transaction_id": "x"});
        let commit =
            json!({"job_id": "c", "statement_type": "COMMIT_TRANSACTION", "transaction_id": "x", "written": null});
        assert_eq!(found(std::slice::from_ref(&wrote)), [""; 0]);
        assert_eq!(found(&[wrote, commit]), ["j"]);
    }

    #[test]
    fn a_job_is_told_in_words() {
        let rows = [row(json!({"created_ms": "1767225600000", "ended_ms": "1767225600500"}))];
        let jobs = of_others(&rows, &"r".parse().unwrap(), &BTreeSet::new());
        let mut jobs = jobs.into_values().next().unwrap();
        assert_eq!(
            in_words(&jobs),
            "by ann@example.com at 2026-01-01T00:00:00.5Z (INSERT, 3 rows, job j)"
        );
        jobs[0].who = None;
        jobs[0].rows = None;
        jobs[0].kind = "LOAD".to_owned();
        assert_eq!(in_words(&jobs), "by somebody at 2026-01-01T00:00:00.5Z (LOAD, job j)");
        let many = vec![jobs[0].clone(); 7];
        assert!(in_words(&many).ends_with("and 2 more"));
    }

    #[test]
    fn what_proves_a_write() {
        let job = |created_ms, rows| ForeignJob {
            id: "j".to_owned(),
            who: None,
            created_ms,
            ended_ms: 2000,
            kind: "UPDATE".to_owned(),
            rows,
        };
        assert!(job(1000, Some(1)).wrote_after(1000));
        assert!(job(1000, None).wrote_after(1000));
        assert!(!job(1000, Some(0)).wrote_after(1000), "no row was found");
        assert!(!job(999, Some(1)).wrote_after(1000), "its rows may be in the snapshot");
    }
}
