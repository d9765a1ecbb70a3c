//! What a migration's job did, statement by statement, from BigQuery's own account of it.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/multi-statement-queries#enumerate>.

use std::collections::BTreeSet;

use crate::api::{Api, ApiError, Job};
use crate::names::{JobId, TableRef};
use crate::record::Statement;

/// The statements that a job ran: its child jobs', or, if it was one statement, its own.
///
/// # Errors
/// The child jobs cannot be listed.
pub async fn statements(api: &Api<'_>, job: &Job, id: &JobId) -> Result<Vec<Statement>, ApiError> {
    Ok(statements_of(job, &children(api, job, id).await?))
}

/// The jobs that a script ran, one after the other.
///
/// # Errors
/// They cannot be listed.
pub async fn children(api: &Api<'_>, job: &Job, id: &JobId) -> Result<Vec<Job>, ApiError> {
    match is_script(job) {
        true => api.children(id, job.children()).await,
        false => Ok(Vec::new()),
    }
}

fn is_script(job: &Job) -> bool {
    job.children() > 0 || job.statement_type() == "SCRIPT"
}

/// The statements that a job ran, of which these are the children.
pub fn statements_of(job: &Job, children: &[Job]) -> Vec<Statement> {
    if !is_script(job) {
        return statement(job, 1).into_iter().collect();
    }
    // A script also runs a job for each expression of an IF or SET; those write nothing.
    let ran = children.iter().filter(|child| {
        child
            .get(&["statistics", "scriptStatistics", "evaluationKind"])
            .as_str()
            != Some("EXPRESSION")
    });
    let mut statements: Vec<Statement> = (1..)
        .zip(ran)
        .filter_map(|(number, child)| statement(child, number))
        .collect();
    transactions(&mut statements);
    statements
}

/// Writes inside a transaction are made when it is committed, and never if it is not.
/// Source: <https://docs.cloud.google.com/bigquery/docs/transactions>.
fn transactions(statements: &mut [Statement]) {
    let mut open: Option<usize> = None;
    for i in 0..=statements.len() {
        let (kind, failed, ended) = match statements.get(i) {
            Some(s) => (s.kind.as_str(), s.error.is_some(), s.ended_ms),
            // A script that ends with its transaction open has it rolled back.
            None => ("ROLLBACK_TRANSACTION", false, None),
        };
        match (kind, failed, open) {
            ("BEGIN_TRANSACTION", false, _) => open = Some(i),
            ("COMMIT_TRANSACTION", false, Some(from)) => {
                statements[from..i]
                    .iter_mut()
                    .for_each(|s| s.ended_ms = s.ended_ms.max(ended));
                open = None;
            }
            ("ROLLBACK_TRANSACTION", _, Some(from)) => {
                for s in statements[from..i]
                    .iter_mut()
                    .filter(|s| s.table.is_some() && s.error.is_none())
                {
                    s.error = Some("rolled back with its transaction".to_owned());
                }
                open = None;
            }
            _ => {}
        }
    }
}

fn statement(job: &Job, number: u32) -> Option<Statement> {
    let error = job.error().map(|e| format!("{} ({})", e.message, e.reason));
    if job.statement_type().is_empty() && error.is_none() {
        return None;
    }
    let (inserted, updated, deleted) = job.dml();
    Some(Statement {
        number,
        kind: job.statement_type().to_owned(),
        table: job.written(),
        routine: job.routine(),
        dataset: job.dataset(),
        operation: job
            .get(&["statistics", "query", "ddlOperationPerformed"])
            .as_str()
            .map(str::to_owned),
        inserted,
        updated,
        deleted,
        bytes: job.bytes_billed(),
        slot_ms: job.slot_ms(),
        ms: job.ms(),
        started_ms: job.started_ms(),
        ended_ms: job.ended_ms(),
        error,
    })
}

/// The tables that a migration's statements wrote, in order, but for BigQuery's temporary ones. A statement that failed wrote nothing.
pub fn writes(statements: &[Statement]) -> impl Iterator<Item = (&Statement, &TableRef)> {
    statements
        .iter()
        .filter(|s| s.error.is_none() && s.operation.as_deref() != Some("SKIP"))
        .filter_map(|s| Some((s, s.table.as_ref()?)))
        .filter(|(_, table)| !is_temporary(table.dataset.as_str()))
}

/// The routines and datasets that were there and that a migration's statements replaced, altered or dropped, those that it had made itself
/// apart: by kind of statement, what it is, its name.
pub fn other_writes(statements: &[Statement]) -> Vec<(&str, &'static str, String)> {
    let mut made = BTreeSet::new();
    let mut found = Vec::new();
    let done = statements
        .iter()
        .filter(|s| s.error.is_none() && s.operation.as_deref() != Some("SKIP"));
    for s in done {
        let routine = s.routine.as_ref().filter(|name| !is_temporary(name.dataset.as_str()));
        let named = routine.map(|name| ("routine", name.to_string()));
        let named = named.or_else(|| s.dataset.as_ref().map(|name| ("dataset", name.to_string())));
        let Some((what, name)) = named else { continue };
        match s.operation.as_deref() {
            Some("CREATE") => _ = made.insert((what, name)),
            _ if made.contains(&(what, name.clone())) => {}
            _ => found.push((s.kind.as_str(), what, name)),
        }
    }
    found
}

/// The statements that wrote a table, and BigQuery does not tell which. What is not told was not "nothing".
pub fn untold(statements: &[Statement]) -> impl Iterator<Item = &Statement> {
    let done = |s: &&Statement| s.error.is_none() && s.operation.as_deref() != Some("SKIP");
    let of_tables = |s: &&Statement| is_told(&s.kind) || MAY_BE_TOLD.contains(&s.kind.as_str());
    statements
        .iter()
        .filter(done)
        .filter(of_tables)
        .filter(|s| s.table.is_none())
}

/// Of these BigQuery's documentation does not promise that it names the table.
/// Source: `ddlTargetTable` of <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2>.
const MAY_BE_TOLD: [&str; 5] = [
    "ALTER_TABLE",
    "TRUNCATE_TABLE",
    "LOAD_DATA",
    "CREATE_SNAPSHOT_TABLE",
    "DROP_SNAPSHOT_TABLE",
];

/// Whether BigQuery always names the table that a statement of this kind writes.
pub fn is_told(kind: &str) -> bool {
    matches!(
        kind,
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "CREATE_TABLE" | "CREATE_TABLE_AS_SELECT" | "DROP_TABLE"
    )
}

/// Whether a statement of this kind changes rows and nothing else, and says how many.
pub fn is_dml(kind: &str) -> bool {
    matches!(kind, "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE_TABLE")
}

/// Whether a dataset is one that BigQuery makes for temporary tables and results: `_` and a long hash, or `_script` and one. A user's
/// own hidden dataset (`_archive`) is not.
pub(crate) fn is_temporary(dataset: &str) -> bool {
    let Some(name) = dataset.strip_prefix('_') else {
        return false;
    };
    let hash = name.strip_prefix("script").unwrap_or(name);
    hash.len() >= 32 && hash.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_')
}

/// The tables that a migration made: created by it, and not written or dropped by it before. No protection was owed to them.
pub fn made(statements: &[Statement]) -> BTreeSet<&TableRef> {
    let mut seen = BTreeSet::new();
    let first = writes(statements).filter(|(_, table)| seen.insert(*table));
    first
        .filter(|(s, _)| s.operation.as_deref() == Some("CREATE"))
        .map(|(_, table)| table)
        .collect()
}
