//! `--list`: the runs of a state directory, for bq-snap and bq-restore.

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
        let text = |value: Option<String>| value.unwrap_or_default();
        vec![
            run.created.run.to_string(),
            run.status.to_string(),
            if run.is_pending() { "pending" } else { "" }.to_owned(),
            run.tables.len().to_string(),
            bytes.to_string(),
            text(run.cut.map(|at| at.to_string())),
            text(run.expires().map(|at| at.to_string())),
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
