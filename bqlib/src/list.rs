//! `--list`: the runs of a state directory, for bq-snap and bq-restore.

use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::runs::{known, state_dir};
use crate::tool::Tool;

/// Prints every run with its state, its tables and how long it can be rolled back. Asks BigQuery nothing.
///
/// # Errors
/// The state directory cannot be read, or standard output not be written.
pub fn print(tool: &Tool) -> Result<Exit, Failure> {
    let (runs, troubles) = known(tool)?;
    for trouble in &troubles {
        tool.warn(trouble);
    }
    if runs.is_empty() {
        tool.tell(&format!("no runs in {}", state_dir(tool)));
    }
    let rows = runs.iter().map(|run| {
        let bytes: u64 = run.tables.values().filter_map(|t| t.snapshot.bytes).sum();
        vec![
            json!(run.created.run),
            json!(run.status.name()),
            json!(run.is_pending()),
            json!(run.tables.len()),
            json!(bytes),
            json!(run.cut),
            json!(run.expires()),
        ]
    });
    tool.out.print_rows(
        "run",
        &["run", "state", "pending", "tables", "bytes", "cut", "until"],
        rows.collect(),
    )?;
    Ok(troubles
        .iter()
        .fold(Exit::Ok, |exit, trouble| exit.or_graver(trouble.exit)))
}
