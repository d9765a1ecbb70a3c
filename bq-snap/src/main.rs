//! bq-snap: protects. Every named table gets a snapshot of one instant, read back and counted, or none is claimed to have one.

mod absent;
mod asking;
mod claim;
mod explicit;
mod extend;
mod guard;
mod limits;
mod pending;
mod planning;
mod preflight;
mod protect;
mod remove;
mod rights;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bqlib::clock::parse_duration;
use bqlib::exit::{Exit, Failure};
use bqlib::names::{RunId, TableRef};
use bqlib::plan::snapshot::never_submitted;
use bqlib::rivals;
use bqlib::runs::{self, KEEP_FOR};
use bqlib::stream::Input;
use bqlib::tables::{self};
use bqlib::tool::{self, Tool};
use clap::Parser;

use asking::Known;
use claim::{claim, generated};
use planning::{Plan, plan};
use protect::protect;

/// Snapshot every named table at one instant, verify the snapshots, and say so on standard output
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///
/// Tables are dataset.table, project.dataset.table or dataset.*; without any and without -f they are read from standard input.
/// The run is --run, SNAPSHOT_SUFFIX, or now in UTC as YYYYMMDD_HHMMSS.
#[derive(Parser)]
#[command(name = "bq-snap", version, verbatim_doc_comment)]
struct Args {
    /// Tables to protect
    #[arg(value_name = "TABLE", conflicts_with = "list")]
    tables: Vec<String>,
    /// A list of tables: CSV with a header, one name a line, or JSON lines
    #[arg(short, long = "file", value_name = "FILE", conflicts_with = "list")]
    file: Vec<PathBuf>,
    /// How long snapshots live once the run is settled: a length of time, or `never` [env: SNAPSHOT_HOURS; default: 24h]
    #[arg(long, value_name = "D")]
    expires: Option<String>,
    /// Keep the snapshots in this dataset, as <dataset>__<table>_snapshot_<run>
    #[arg(long, value_name = "DATASET")]
    snapshot_dataset: Option<String>,
    /// Wait so long for rows in the streaming buffer to be written
    #[arg(long, value_name = "D", conflicts_with = "without_buffer")]
    wait_buffer: Option<String>,
    /// Leave rows in the streaming buffer out; they are counted as `unprotected_rows`
    #[arg(long)]
    without_buffer: bool,
    /// Go on although row counts differ from `records`
    #[arg(long)]
    accept_drift: bool,
    /// Protect named tables that do not exist as absent: a rollback makes them absent again
    #[arg(long)]
    absent_ok: bool,
    /// Test all that a run and its rollback need, print what was found, make nothing; 4 if a run should not start
    #[arg(long, conflicts_with_all = ["no_preflight", "list", "drop"])]
    preflight: bool,
    /// Go on without testing rights, datasets and daily limits first
    #[arg(long)]
    no_preflight: bool,
    #[command(flatten)]
    list: bqlib::list::Flags,
    #[command(flatten)]
    extend: extend::Flags,
    /// Remove a settled run's snapshots, and end
    #[arg(long, value_name = "RUN", conflicts_with_all = ["tables", "file"])]
    drop: Option<RunId>,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-snap", tool::WAIT, run)
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    if args.list.list {
        return bqlib::list::print(t, &args.list);
    }
    if let Some((run, by)) = args.extend.asked()? {
        return extend::extend(t, &run, by).await;
    }
    if let Some(run) = &args.drop {
        t.fetch_credentials();
        return remove::snapshots(t, run).await;
    }
    let keep = keep_for(&args, t)?;
    t.fetch_credentials();
    // A terminal names nothing: no program prompts.
    let text = match args.tables.is_empty() && args.file.is_empty() && !std::io::stdin().is_terminal() {
        true => Some(Input::stdin(t).text(None).await?),
        false => None,
    };
    let list = tables::read(&args.tables, &args.file, text.as_deref(), t.named_project())?;
    let api = t.api().await?;
    let list = tables::expand(&api, list).await?;

    let names: BTreeSet<&TableRef> = list.iter().map(|(table, _)| table).collect();
    let (known, troubles) = runs::known(t)?;
    for trouble in troubles {
        t.warn(&trouble);
    }
    let expire = keep.is_some();
    if args.preflight {
        let run = t.asked_run().cloned().unwrap_or_else(|| generated(&api, 0));
        return explicit::report(&args, t, &api, &list, &known, &run, expire).await;
    }
    pending::here(&known, &names)?;
    let asked = t.asked_run().cloned();
    if let Some(run) = known.iter().find(|run| Some(&run.created.run) == asked.as_ref()) {
        never_submitted(run)?;
    }

    let first_id = asked.clone().unwrap_or_else(|| generated(&api, 0));
    let Plan {
        planned,
        absent,
        datasets,
    } = plan(&args, t, &api, &list, &first_id, expire).await?;
    let shared = pending::shared(&first_id, &planned, &absent);
    let beside = rivals::beside(&api, &shared).await?;
    pending::elsewhere(t, &api, &known, &shared, &beside).await?;
    if !args.no_preflight {
        let known = Known {
            planned: &planned,
            absent: &absent,
            datasets: &datasets,
            beside: &beside,
            shared: &shared,
            runs: &known,
            run: &first_id,
            expire,
        };
        asking::preflight(t, &api, &known).await?;
    }
    t.go_on(AGAIN)?;
    let claimed = claim(t, &api, asked, first_id, planned, absent, keep).await?;
    protect(&args, t, &api, &claimed, keep).await?;
    Ok(Exit::Ok)
}

/// What is left to do once bq-snap was stopped: nothing needs to be settled.
const AGAIN: &str = "nothing was migrated; run the same line again";

/// How long snapshots live once the run is settled; `None`: for ever.
fn keep_for(args: &Args, t: &Tool) -> Result<Option<Duration>, Failure> {
    let (text, from) = match (&args.expires, t.env("SNAPSHOT_HOURS")) {
        (Some(text), _) => (text.clone(), "--expires"),
        (None, Some(hours)) => (format!("{hours}h"), "SNAPSHOT_HOURS"),
        (None, None) => return Ok(Some(KEEP_FOR)),
    };
    if text == "never" || text == "neverh" {
        return Ok(None);
    }
    let duration = parse_duration(&text).ok().filter(|d| !d.is_zero());
    duration.map(Some).ok_or_else(|| {
        Failure::usage(
            format!("`{}` is no length of time", text.trim_end_matches('h')),
            from,
            "say for example `--expires 24h`, or `never`",
        )
    })
}
