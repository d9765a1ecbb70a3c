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
    if job.children() == 0 && job.statement_type() != "SCRIPT" {
        return Ok(statement(job, 1).into_iter().collect());
    }
    let children = api.children(id).await?;
    // A script also runs a job for each expression of an IF or SET; those write nothing.
    let ran = children.iter().filter(|child| {
        child
            .get(&["statistics", "scriptStatistics", "evaluationKind"])
            .as_str()
            != Some("EXPRESSION")
    });
    Ok((1..)
        .zip(ran)
        .filter_map(|(number, child)| statement(child, number))
        .collect())
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
        .filter(|(_, table)| !table.dataset.as_str().starts_with('_'))
}

/// The tables that a migration made: they did not exist before, so no protection was owed to them.
pub fn made(statements: &[Statement]) -> BTreeSet<&TableRef> {
    writes(statements)
        .filter(|(s, _)| s.operation.as_deref() == Some("CREATE"))
        .map(|(_, table)| table)
        .collect()
}
