//! Putting back one table: keep what is there, replace it, put its options back, each call journaled before it is sent.

use bqlib::api::{Api, Table};
use bqlib::clock::{from_millis, later, millis};
use bqlib::exit::{Exit, Failure};
use bqlib::meta::TableMeta;
use bqlib::names::{Location, RunId, TableRef};
use bqlib::perform::{Ended, Held, of_job_error, taken};
use bqlib::runs::OPEN_FOR;
use bqlib::sql::{self, CopyOptions, RUN_LABEL};
use bqlib::state::{Event, Looks, Step};
use bqlib::tool::Tool;

use bqlib::plan::Way;

/// A table that is to be put back.
pub(crate) struct Task<'a> {
    pub(crate) table: &'a TableRef,
    pub(crate) snapshot: &'a TableRef,
    pub(crate) before: &'a TableMeta,
    pub(crate) found: &'a Table,
    pub(crate) way: Way,
}

/// How many names are tried for the copy of what was there.
const NAMES: u32 = 50;

/// Puts one table back; says what was kept, and how the table is now.
pub(crate) async fn put_back(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
) -> Result<(Option<TableRef>, Table), Failure> {
    if task.way != Way::Unchanged {
        // The last place to stop: from here on the table is seen through, copy, replacement and options.
        t.go_on("run the same command again")?;
    }
    let location = t.location.clone().or_else(|| task.found.location());
    let kept = match &task.way {
        Way::Unchanged => return Ok((None, task.found.clone())),
        Way::PutBack => held.run().tables.get(task.table).and_then(|p| p.kept.clone()),
        Way::Clone { .. } | Way::Copy { .. } => {
            let kept = keep(api, held, task, location.as_ref()).await?;
            replace(api, held, task, location.as_ref()).await?;
            Some(kept)
        }
    };
    let now = options(api, held, task).await?;
    let looks = Looks {
        table: task.table.clone(),
        modified_ms: Some(now.modified_ms()),
        meta: None,
    };
    held.note(&[Event::Looks(looks)]).await?;
    Ok((kept, now))
}

/// Keeps what is there under a name of its own, and makes sure that it is what is there.
async fn keep(
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    location: Option<&Location>,
) -> Result<TableRef, Failure> {
    let run = held.id();
    let description = format!(
        "{} as it was before run {run} was rolled back, kept by bq-restore",
        task.table
    );
    let options = CopyOptions {
        places: &[],
        expires: Some(later(api.now(), OPEN_FOR)),
        tool: held.tool(),
        run: &run,
        state: "kept",
        description: &description,
    };
    for number in 1..=NAMES {
        let name = kept_name(task.table, &run, number)?;
        let step = Step::Keep(number);
        let ended = held
            .statement(
                api,
                step,
                Some(task.table),
                location,
                &sql::keep(&name, task.table, &options),
            )
            .await?;
        let ended = match ended {
            // No snapshot of a table deep in a chain: then a full copy.
            Ended::Failed(e) if e.reason == "invalid" => {
                held.statement(
                    api,
                    step,
                    Some(task.table),
                    location,
                    &sql::keep_in_full(&name, task.table, &options),
                )
                .await?
            }
            ended => ended,
        };
        match ended {
            Ended::Done(_) => {}
            Ended::Failed(e) if e.reason == "duplicate" => {}
            Ended::Failed(e) => {
                let doing = format!("keeping {}", task.table);
                return Err(of_job_error(&e, &doing, &format!("table {}", task.table)).about(task.table));
            }
            Ended::Taken(job) => return Err(taken(&job).about(task.table)),
        }
        let copy = api
            .table(&name)
            .await
            .map_err(|e| e.failure(&format!("reading back {name}")).about(task.table))?;
        if !copy.is_some_and(|copy| holds(&copy, task, &run)) {
            // The name is somebody else's, or holds an older state of an earlier restore: that one stays, the next name is tried.
            continue;
        }
        let live = api
            .table(task.table)
            .await
            .map_err(|e| e.failure(&format!("reading {}", task.table)).about(task.table))?;
        if live.map(|live| live.modified_ms()) != Some(task.found.modified_ms()) {
            let what = format!(
                "`{}` was changed while it was being restored; it was left as it is",
                task.table
            );
            return Err(Failure::refused(
                what,
                format!("table {}", task.table),
                "stop the writer, then run the same command again",
            )
            .about(task.table));
        }
        held.note(&[Event::Kept {
            table: task.table.clone(),
            kept: name.clone(),
        }])
        .await?;
        return Ok(name);
    }
    let what = format!("no name is free for the copy of `{}`", task.table);
    Err(Failure::refused(
        what,
        format!("table {}", task.table),
        "remove old copies (label bq-rollback-state: kept)",
    )
    .about(task.table))
}

fn kept_name(table: &TableRef, run: &RunId, number: u32) -> Result<TableRef, Failure> {
    let suffix = match number {
        1 => format!("_before_restore_{run}"),
        n => format!("_before_restore_{run}_{n}"),
    };
    table.with_suffix(&suffix).map_err(|e| {
        Failure::refused(
            e.to_string(),
            format!("table {table}"),
            "its name leaves no room for a copy beside it",
        )
        .about(table)
    })
}

/// Whether a copy is ours and holds the table as it is now: taken after its last change.
fn holds(copy: &Table, task: &Task<'_>, run: &RunId) -> bool {
    let taken_at = match copy.snapshot_of() {
        Some((base, at)) if base == *task.table => millis(at),
        Some(_) => return false,
        None => copy.created_ms(),
    };
    copy.label(RUN_LABEL) == Some(run.as_str()) && taken_at >= task.found.modified_ms()
}

/// Replaces the table by its snapshot, in one statement.
async fn replace(api: &Api<'_>, held: &Held<'_>, task: &Task<'_>, location: Option<&Location>) -> Result<(), Failure> {
    let mut in_full = matches!(task.way, Way::Copy { .. });
    let expires = task.before.expires_ms().map(from_millis).filter(|at| *at > api.now());
    let ended = loop {
        let text = sql::restore(task.table, task.snapshot, in_full, expires);
        let ended = held
            .statement(api, Step::Restore, Some(task.table), location, &text)
            .await?;
        match ended {
            // Deeper in a chain than what was written down of it says: then a full copy.
            Ended::Failed(e) if e.reason == "invalid" && !in_full => in_full = true,
            // The job of an earlier attempt, whose end was lost: what is there was written after it, and it replaced nothing of that.
            Ended::Done(job) if job.ended_ms().is_some_and(|ms| ms < task.found.modified_ms()) => {}
            ended => break ended,
        }
    };
    match ended {
        Ended::Done(_) => Ok(()),
        Ended::Failed(e) => {
            let failure = of_job_error(
                &e,
                &format!("restoring {}", task.table),
                &format!("table {}", task.table),
            );
            Err(failure.about(task.table))
        }
        Ended::Taken(job) => Err(taken(&job).about(task.table)),
    }
}

/// Puts back what cloning loses, and takes away what it brings: expirations, labels, description and the rest, in one patch.
async fn options(api: &Api<'_>, held: &Held<'_>, task: &Task<'_>) -> Result<Table, Failure> {
    let read = async || {
        let found = api
            .table(task.table)
            .await
            .map_err(|e| e.failure(&format!("reading {}", task.table)).about(task.table))?;
        found.ok_or_else(|| {
            let what = format!("`{}` is gone right after it was restored", task.table);
            Failure::new(
                Exit::Unknown,
                what,
                format!("table {}", task.table),
                "look at who dropped it; its snapshot is there",
            )
            .about(task.table)
        })
    };
    let now = read().await?;
    match task.before.options_patch(&now.meta()) {
        None => Ok(now),
        Some(body) => {
            held.patch(api, Step::Options, task.table, &body).await?;
            read().await
        }
    }
}
