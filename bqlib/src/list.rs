//! `--list`: the runs of a state directory, for bq-snap and bq-restore.

use std::time::Duration;

use serde_json::json;

use crate::clock::parse_duration;
use crate::deadline::{WARN_UNDER, by_time_travel, warning};
use crate::exit::{Exit, Failure};
use crate::runs::{known, state_dir};
use crate::tool::Tool;

/// The flags of `--list`.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Flags {
    /// Print the runs of the state directory, and until when each can be rolled back, and end
    #[arg(long)]
    pub list: bool,
    /// With --list: warn of each pending run whose snapshots live no longer than this [default: 24h]
    #[arg(long, value_name = "D", requires = "list")]
    warn_under: Option<String>,
}

/// Prints every run with its state, its tables and how long it can be rolled back, and warns of those that are pending and near their end
/// or past it. Asks BigQuery nothing: what is left is reckoned by the local clock.
///
/// # Errors
/// The state directory cannot be read, or standard output not be written; 2 if `--warn-under` is no length of time.
pub fn print(tool: &Tool, flags: &Flags) -> Result<Exit, Failure> {
    let under = match &flags.warn_under {
        None => WARN_UNDER,
        Some(text) => parsed(text)?,
    };
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
            json!(by_time_travel(run)),
        ]
    });
    const HEAD: [&str; 8] = [
        "run",
        "state",
        "pending",
        "tables",
        "bytes",
        "cut",
        "until",
        "time_travel_until",
    ];
    tool.out.print_rows("run", &HEAD, rows.collect())?;
    let now = tool.clock.now();
    for run in &runs {
        if let Some(warning) = warning(run, now, under) {
            tool.warn_of(&run.created.run, &warning);
        }
    }
    Ok(troubles
        .iter()
        .fold(Exit::Ok, |exit, trouble| exit.or_graver(trouble.exit)))
}

fn parsed(text: &str) -> Result<Duration, Failure> {
    parse_duration(text).map_err(|e| Failure::usage(e, "--warn-under", "for example `--warn-under 6h`"))
}
