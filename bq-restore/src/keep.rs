//! Keeping what is in a table's place before it is replaced or taken away: a copy under a name of its own, or a definition in the journal.

use bqlib::api::{Api, Table};
use bqlib::clock::{later, millis};
use bqlib::exit::Failure;
use bqlib::names::{Location, RunId, TableRef};
use bqlib::perform::{Ended, Held, of_job_error, taken};
use bqlib::runs::OPEN_FOR;
use bqlib::sql::{self, CopyOptions, RUN_LABEL};
use bqlib::state::{Event, Kept, Step};

/// How many names are tried for the copy of what was there.
const NAMES: u32 = 50;

/// Keeps a table as it was found under a name of its own, and makes sure that it is what is there; journals what was kept, and what else is
/// known of it (`beside`).
pub(crate) async fn keep(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    found: &Table,
    rows: Option<u64>,
    beside: Kept,
    location: Option<&Location>,
) -> Result<TableRef, Failure> {
    let run = held.id();
    let description = format!("{table} as it was before run {run} was rolled back, kept by bq-restore");
    let options = CopyOptions {
        places: &[],
        expires: Some(later(api.now(), OPEN_FOR)),
        tool: held.tool(),
        run: &run,
        state: sql::KEPT,
        description: &description,
    };
    for number in 1..=NAMES {
        let name = kept_name(table, &run, number)?;
        let step = Step::Keep(number);
        let snapshot = sql::keep(&name, table, &options);
        let ended = held.statement(api, step, Some(table), location, &snapshot).await?;
        let ended = match ended {
            // No snapshot of a table deep in a chain, of one with too many of them, or of one that had its fill today: then a full copy.
            Ended::Failed(e) if e.reason == "invalid" || e.reason == "quotaExceeded" => {
                let copy = sql::keep_in_full(&name, table, &options);
                held.statement(api, step, Some(table), location, &copy).await?
            }
            ended => ended,
        };
        match ended {
            Ended::Done(_) => {}
            Ended::Failed(e) if e.reason == "duplicate" => {}
            Ended::Failed(e) => {
                let doing = format!("keeping {table}");
                return Err(of_job_error(&e, &doing, &format!("table {table}")).about(table));
            }
            Ended::Taken(job) => return Err(taken(&job).about(table)),
        }
        let copy = api
            .table(&name)
            .await
            .map_err(|e| e.failure(&format!("reading back {name}")).about(table))?;
        let Some(copy) = copy.filter(|copy| holds(copy, table, found, &run)) else {
            // The name is somebody else's, or holds an older state of an earlier restore: that one stays, the next name is tried.
            continue;
        };
        not_changed(api, table, found).await?;
        let kept = Kept {
            table: Some(table.clone()),
            kept: Some(name.clone()),
            cut: copy.snapshot_of().map(|(_, at)| at),
            rows,
            meta: Some(found.meta()),
            ..beside
        };
        held.note(&[Event::Kept(Box::new(kept))]).await?;
        return Ok(name);
    }
    let what = format!("no name is free for the copy of `{table}`");
    let hint = "remove old copies (label bq-rollback-state: kept)";
    Err(Failure::refused(what, format!("table {table}"), hint).about(table))
}

/// Writes down what is no table, whole: of this it can be made again.
pub(crate) async fn keep_definition(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    found: &Table,
    beside: Kept,
) -> Result<(), Failure> {
    not_changed(api, table, found).await?;
    let kept = Kept {
        table: Some(table.clone()),
        definition: Some(found.resource()),
        ..beside
    };
    held.note(&[Event::Kept(Box::new(kept))]).await
}

/// Writes down that there was nothing, unless it is known what there was before we took it away.
pub(crate) async fn keep_nothing(held: &Held<'_>, table: &TableRef, beyond: Vec<String>) -> Result<(), Failure> {
    let known = held.run().tables.get(table).is_some_and(|p| p.was.is_some());
    if known {
        return Ok(());
    }
    let kept = Kept {
        table: Some(table.clone()),
        beyond,
        ..Kept::default()
    };
    held.note(&[Event::Kept(Box::new(kept))]).await
}

/// Refuses (4) to touch what is no longer as it was looked at.
pub(crate) async fn not_changed(api: &Api<'_>, table: &TableRef, found: &Table) -> Result<(), Failure> {
    let live = api
        .table(table)
        .await
        .map_err(|e| e.failure(&format!("reading {table}")).about(table))?;
    if live.map(|live| live.modified_ms()) == Some(found.modified_ms()) {
        return Ok(());
    }
    let what = format!("`{table}` was changed while it was being restored; it was left as it is");
    let hint = "stop the writer, then run the same command again";
    Err(Failure::refused(what, format!("table {table}"), hint).about(table))
}

fn kept_name(table: &TableRef, run: &RunId, number: u32) -> Result<TableRef, Failure> {
    beside(table, "before_restore", run, number)
}

/// The name of a table of ours beside a live one: what it is, of which run, and a number from 1, which is left out if it is 1.
pub(crate) fn beside(table: &TableRef, what: &str, run: &RunId, number: u32) -> Result<TableRef, Failure> {
    let suffix = match number {
        1 => format!("_{what}_{run}"),
        n => format!("_{what}_{run}_{n}"),
    };
    table.with_suffix(&suffix).map_err(|e| {
        let hint = "its name leaves no room for a copy beside it";
        Failure::refused(e.to_string(), format!("table {table}"), hint).about(table)
    })
}

/// Whether a copy is ours and holds the table as it is now: taken after its last change.
fn holds(copy: &Table, table: &TableRef, found: &Table, run: &RunId) -> bool {
    let taken_at = match copy.snapshot_of() {
        Some((base, at)) if base == *table => millis(at),
        Some(_) => return false,
        None => copy.created_ms(),
    };
    copy.label(RUN_LABEL) == Some(run.as_str()) && taken_at >= found.modified_ms()
}
