//! What BigQuery says of a run's tables and snapshots now, and how that differs from the cut.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, Table};
use bqlib::clock::millis;
use bqlib::count;
use bqlib::exit::{Exit, Failure};
use bqlib::meta::{Difference, Kind, TableMeta};
use bqlib::names::{JobId, Location, TableRef};
use bqlib::perform::Held;
use bqlib::plan::restore::{Planned, Seen, definition};
use bqlib::plan::{Back, Happened, Source, Way};
use bqlib::record::{Record, Restore, RestoredFrom, Snapshot};
use bqlib::runs::look;
use bqlib::sql::{AsOf, Counted};
use bqlib::state::{Step, Undo};
use bqlib::tool::Tool;

use crate::choose::again;
use crate::clear;
use crate::finality::nonce_of;
use crate::put_back::Done;
use crate::salvage::salvaged;
use crate::unprotected::unprotected;

/// The tables and their snapshots as they are now, rows counted in one query.
pub(crate) async fn see(t: &Tool, api: &Api<'_>, held: &Held<'_>, snapshots: &[Snapshot]) -> Result<Seen, Failure> {
    if !t.dry_run {
        for snapshot in snapshots {
            let waited = api.unless_stopped(wait_for_restore(api, held, &snapshot.table)).await;
            waited.unwrap_or_else(|_| t.go_on(&again(&held.id())))?;
        }
    }
    let bases = snapshots.iter().map(|s| &s.table);
    let copies = snapshots.iter().filter_map(|s| s.snapshot.as_ref());
    let tables = look(api, t.jobs, bases.chain(copies)).await?;
    let rows = rows_now(t, api, held, snapshots, &tables).await?;
    Ok(Seen { tables, rows })
}

/// Waits for the jobs of an earlier attempt that change a table, if their end was lost: they may still be at work, and what is seen now
/// would not be what is there in a moment.
async fn wait_for_restore(api: &Api<'_>, held: &Held<'_>, table: &TableRef) -> Result<(), Failure> {
    let lost: Vec<_> = {
        let run = held.run();
        let steps = [Step::Drop, Step::Restore, Step::Clear].into_iter();
        let of_table = steps.filter_map(|step| run.step(step, table));
        of_table
            .filter(|s| s.outcome.as_ref().is_none_or(|o| o.unknown))
            .filter_map(|s| Some((s.intent.job.clone()?, s.intent.location.clone())))
            .collect()
    };
    let failed = |e: bqlib::api::ApiError| e.failure(&format!("looking for the restore of {table}"));
    for (id, location) in lost {
        if let Some(job) = api.job(&id, location.as_ref()).await.map_err(failed)?
            && !job.is_done()
        {
            api.wait(job, &id, false).await.map_err(failed)?;
        }
    }
    Ok(())
}

pub(crate) async fn rows_now(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    snapshots: &[Snapshot],
    tables: &BTreeMap<TableRef, Option<Table>>,
) -> Result<BTreeMap<TableRef, u64>, Failure> {
    let mut counted: Vec<(Counted, Option<Location>)> = Vec::new();
    for snapshot in snapshots {
        if let Some(found) = tables.get(&snapshot.table).and_then(Option::as_ref)
            && found.kind() == "TABLE"
        {
            let location = t.location.clone().or_else(|| found.location());
            counted.push((Counted::new(&snapshot.table, AsOf::Now, Some(&found.meta())), location));
        }
    }
    let rows = count::rows(api, &held.labels(), &counted).await?.rows;
    Ok(counted.into_iter().map(|(c, _)| c.table).zip(rows).collect())
}

/// When the jobs of ours ended that replaced these tables, in milliseconds since 1970. A job that the journal does not know is looked for
/// under the ID that the first would have had, and is ours if it carries this journal's nonce.
pub(crate) async fn replaced_at(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    tables: BTreeSet<TableRef>,
) -> Result<BTreeMap<TableRef, Option<u64>>, Failure> {
    let mut replaced = BTreeMap::new();
    for table in tables {
        let (known, nonce, place) = {
            let run = held.run();
            let step = run.step(Step::Restore, &table);
            let known = step.and_then(|s| Some((s.intent.job.clone()?, s.intent.location.clone())));
            let meta = run.tables.get(&table).and_then(|p| p.snapshot.meta.as_ref());
            (known, run.created.nonce.clone(), meta.and_then(TableMeta::location))
        };
        let journaled = known.is_some();
        if !journaled && held.run().round > 0 {
            // Under that ID there is the job of an earlier round.
            replaced.insert(table, None);
            continue;
        }
        let (job, location) = known.unwrap_or_else(|| {
            let first = JobId::of_step(&held.id(), &Step::Restore.to_string(), Some(&table), 1);
            (first, t.location.clone().or(place))
        });
        let found = api.job(&job, location.as_ref()).await;
        let found = found.map_err(|e| e.failure(&format!("looking for the restore of {table}")))?;
        let done = found.filter(|job| job.is_done() && job.error().is_none());
        let ours = done.filter(|job| journaled || nonce_of(job) == Some(&nonce));
        replaced.insert(table, ours.and_then(|job| job.ended_ms()));
    }
    Ok(replaced)
}

/// The record of a table that was put back.
pub(crate) fn record(held: &Held<'_>, planned: &Planned, done: &Done, rows: Option<u64>, ok: bool) -> Restore {
    Restore {
        from: done.from,
        source: done.source.clone(),
        kept: done.kept.clone(),
        without_table_ms: done.without_table_ms,
        not_restored: done.not_restored.iter().cloned().chain(unprotected(planned)).collect(),
        ok,
        salvaged: salvaged(held, planned),
        ..would_be(held, planned, rows)
    }
}

/// The record of a table that would be put back.
pub(crate) fn would_be(held: &Held<'_>, planned: &Planned, rows: Option<u64>) -> Restore {
    let snapshot = &planned.snapshot;
    let from = match &planned.way {
        Way::Unchanged if snapshot.absent => RestoredFrom::Absent,
        Way::Unchanged => RestoredFrom::Unchanged,
        Way::Remove { .. } => RestoredFrom::Absent,
        Way::Restore(Back {
            source: Source::Backup, ..
        }) => RestoredFrom::Backup,
        Way::Restore(Back {
            source: Source::History,
            ..
        }) => RestoredFrom::TimeTravel,
        Way::Restore(_) | Way::PutBack => RestoredFrom::Snapshot,
    };
    let of_snapshot = from == RestoredFrom::Snapshot;
    Restore {
        run: held.id(),
        table: snapshot.table.clone(),
        from,
        source: snapshot
            .snapshot
            .as_ref()
            .filter(|_| of_snapshot)
            .map(ToString::to_string),
        kept: None,
        until: bqlib::deadline::until(&held.run(), &snapshot.table),
        rows,
        ok: true,
        happened: Some(planned.happened.to_string()),
        how: Some(planned.way.to_string()),
        without_table_ms: None,
        to: None,
        ms: None,
        not_restored: Vec::new(),
        salvaged: None,
    }
}

/// How a table differs from the cut, or, of an undo, from what was there before the rollback; empty: it does not.
pub(crate) fn differences(
    held: &Held<'_>,
    snapshot: &Snapshot,
    way: &Way,
    now: Option<&Table>,
    rows: Option<u64>,
) -> Vec<String> {
    if snapshot.absent {
        let run = held.run();
        return match (definition(&run, &snapshot.table), now) {
            (None, None) => Vec::new(),
            (None, Some(_)) => vec!["it exists, and did not at the cut".to_owned()],
            (Some(definition), Some(now)) if now.is_like(definition) => Vec::new(),
            (Some(_), Some(now)) => vec![format!("it is another {}", now.kind().to_lowercase())],
            (Some(_), None) => vec!["the view that was there is not".to_owned()],
        };
    }
    let Some(now) = now else {
        return vec!["there is no such table".to_owned()];
    };
    let mut found = Vec::new();
    if now.kind() != "TABLE" {
        found.push(format!("it is a {}", now.kind().to_lowercase()));
    }
    // A table that was left alone still has the rows that its snapshot could not hold.
    let with_buffer = snapshot.rows.map(|rows| rows + snapshot.unprotected_rows.unwrap_or(0));
    if rows != snapshot.rows && !(*way == Way::Unchanged && rows == with_buffer) {
        let text = |rows: Option<u64>| rows.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        found.push(format!("rows: were {}, are {}", text(snapshot.rows), text(rows)));
    }
    if let Some(before) = &snapshot.meta {
        // An expiry that had passed when the table was put back was left out, and it was said so.
        let past = |d: &Difference| {
            d.kind == Kind::Expiration
                && d.is.is_null()
                && before.expires_ms().is_some_and(|at| at <= now.modified_ms())
        };
        let differences = before.differences(&now.meta());
        found.extend(differences.iter().filter(|d| !past(d)).map(ToString::to_string));
    }
    found
}

/// A run that was rolled back before, or whose rollback was undone: its tables are compared again with what they are to be, and nothing is
/// changed. 10 (of an undo 0) if they equal that, else 4.
pub(crate) async fn compare_again(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    snapshots: &[Snapshot],
    cleared: &[TableRef],
) -> Result<Exit, Failure> {
    let done = match held.run().undo {
        Undo::Done => "had its rollback undone",
        Undo::No | Undo::Begun => "was rolled back",
    };
    let seen = see(t, api, held, snapshots).await?;
    let mut bad = clear::filled_again(t, api, held, cleared).await?;
    for snapshot in snapshots {
        let now = seen.tables.get(&snapshot.table).and_then(Option::as_ref);
        let rows = seen.rows.get(&snapshot.table).copied();
        let differences = differences(held, snapshot, &Way::Unchanged, now, rows);
        let planned = Planned {
            snapshot: snapshot.clone(),
            happened: Happened::PutBack,
            way: Way::Unchanged,
            salvage: None,
        };
        let record = Restore {
            ok: differences.is_empty(),
            happened: None,
            how: None,
            ..would_be(held, &planned, rows)
        };
        let _ = t.out.write(&Record::Restore(record));
        let changed = now.is_some_and(|now| {
            held.run()
                .tables
                .get(&snapshot.table)
                .is_some_and(|p| later_than(now, p))
        });
        if !differences.is_empty() {
            bad.push(format!("`{}` {}", snapshot.table, differences.join(", ")));
        } else if changed && t.verbose {
            t.tell(&format!(
                "{} was written to since, and is equal in rows, columns and options all the same",
                snapshot.table
            ));
        }
    }
    if bad.is_empty() {
        return Ok(Exit::RolledBack);
    }
    let run = held.id();
    let what = format!(
        "run `{run}` {done}, and its tables have changed since: {}",
        bad.join("; ")
    );
    Err(Failure::refused(
        what,
        format!("run {run}"),
        "nothing was changed; these are later writes, for a person to judge",
    ))
}

/// Whether a table was changed after we last saw it.
pub(crate) fn later_than(now: &Table, protected: &bqlib::state::Protected) -> bool {
    let seen = protected.looks.as_ref().and_then(|l| l.modified_ms);
    let cut = protected.snapshot.cut.map(millis);
    seen.or(cut).is_some_and(|seen| now.modified_ms() > seen)
}
