//! Doing a rollback that `plan` decided: put back, compare, journal how it ended; or leave it to a person.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, Table};
use bqlib::exit::{Exit, Failure};
use bqlib::migration::made;
use bqlib::names::TableRef;
use bqlib::perform::{Held, at_a_time};
use bqlib::plan::Way;
use bqlib::plan::restore::{Facts, Request, Seen, wanted};
use bqlib::record::{Record, Snapshot, Statement};
use bqlib::state::{Event, RestoreEnd, Step};
use bqlib::tool::{STOPPED, Tool};

use crate::choose::again;
use crate::put_back::{Task, put_back};
use crate::seen::{differences, record, rows_now};

/// Puts the tables back, each its way, and compares them with the cut.
pub(crate) async fn roll_back(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    request: &Request,
    facts: &Facts,
    ways: &[(Snapshot, Way)],
) -> Result<Exit, Failure> {
    let nothing = Seen::default();
    let seen = facts.seen.as_ref().unwrap_or(&nothing);
    let statements = facts.jobs.as_ref().map_or(&[][..], |jobs| &jobs.statements);
    warn_beforehand(t, held, ways, statements);
    if t.dry_run {
        for (snapshot, way) in ways {
            let rows = seen.rows.get(&snapshot.table).copied();
            t.out
                .write(&Record::Restore(record(held, snapshot, way, None, rows, true)))?;
        }
        return Ok(Exit::Ok);
    }
    t.go_on(&again(&held.id()))?;
    held.note(&[Event::RestoreBegun {
        only: request.only.clone(),
    }])
    .await?;
    let results = at_a_time(t.jobs.min(100), ways, async |(snapshot, way): &(Snapshot, Way)| {
        let result = do_one(t, api, held, snapshot, way, seen).await;
        (snapshot, way, result)
    })
    .await;
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for (snapshot, way, result) in results {
        match result {
            Ok((kept, now)) => done.push((snapshot, way, kept, now)),
            Err(failure) => failed.push((snapshot.table.clone(), failure)),
        }
    }
    done.sort_by(|a, b| a.0.table.cmp(&b.0.table));
    finish(t, api, held, request, done, failed).await
}

/// A guard stops the whole run: nothing is touched, every reason is told, and the journal says that a person is needed.
pub(crate) async fn stop(
    t: &Tool,
    held: &Held<'_>,
    request: &Request,
    refusals: Vec<Failure>,
) -> Result<Failure, Failure> {
    let snapshots = wanted(&held.run(), request)?;
    let what = refusals.iter().map(|f| f.what.clone()).collect::<Vec<_>>().join("; ");
    let next = refusals.iter().map(|f| f.hint.clone()).collect::<Vec<_>>().join("; ");
    if !t.dry_run && held.run().is_pending() {
        let left = snapshots.iter().map(|s| s.table.clone()).collect();
        let end = RestoreEnd {
            code: Exit::Refused.code(),
            only: !request.only.is_empty(),
            left,
            next: next.clone(),
        };
        held.note(&[Event::RestoreEnded(end)]).await?;
    }
    let at = |place: &str| {
        let copies: Vec<String> = snapshots
            .iter()
            .filter_map(|s| s.snapshot.as_ref().map(ToString::to_string))
            .collect();
        format!("{place}; run {}, its snapshots: {}", held.id(), copies.join(", "))
    };
    if let [one] = refusals.as_slice() {
        return Ok(Failure {
            what: format!("nothing was restored: {}", one.what),
            at: at(&one.at),
            ..one.clone()
        });
    }
    for failure in &refusals {
        t.error(failure);
    }
    let count = refusals.len();
    Ok(Failure::refused(
        format!("nothing was restored: {count} tables cannot be put back as they are: {what}"),
        at("see above"),
        next,
    ))
}

/// What a person should know before it happens, and what is left for them to do.
pub(crate) fn warn_beforehand(t: &Tool, held: &Held<'_>, ways: &[(Snapshot, Way)], statements: &[Statement]) {
    for (snapshot, way) in ways {
        if matches!(way, Way::Clone { doubt: true } | Way::Copy { doubt: true }) {
            let table = &snapshot.table;
            let what = format!(
                "whether others wrote to `{table}` between the cut and the migration's last statement cannot be told"
            );
            let hint = format!("what is there now is kept as {}_before_restore_{}", table, held.id());
            t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
        }
    }
    let run = held.run();
    let made: BTreeSet<&TableRef> = made(statements)
        .into_iter()
        .filter(|table| !run.tables.contains_key(*table))
        .collect();
    for table in made {
        let what = format!("the migration made `{table}`; it is left");
        let hint = format!("bq query --use_legacy_sql=false 'DROP TABLE {}'", table.sql());
        t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
    }
}

pub(crate) async fn do_one(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    snapshot: &Snapshot,
    way: &Way,
    seen: &Seen,
) -> Result<(Option<TableRef>, Table), Failure> {
    let lacking = |what: &str| {
        let what = format!("the journal lacks the {what} of `{}`", snapshot.table);
        Failure::new(
            Exit::Unknown,
            what,
            format!("run {}", held.id()),
            "a person should look",
        )
        .about(&snapshot.table)
    };
    let found = seen
        .tables
        .get(&snapshot.table)
        .and_then(Option::as_ref)
        .ok_or_else(|| lacking("table"))?;
    let task = Task {
        table: &snapshot.table,
        snapshot: snapshot.snapshot.as_ref().ok_or_else(|| lacking("snapshot"))?,
        before: snapshot.meta.as_ref().ok_or_else(|| lacking("pre-image"))?,
        found,
        way: way.clone(),
    };
    put_back(t, api, held, &task).await
}

/// Compares what was done with the cut, tells and journals it, and says how it ended.
pub(crate) async fn finish(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    request: &Request,
    mut done: Vec<(&Snapshot, &Way, Option<TableRef>, Table)>,
    mut failed: Vec<(TableRef, Failure)>,
) -> Result<Exit, Failure> {
    let tables = done
        .iter()
        .map(|(snapshot, _, _, now)| (snapshot.table.clone(), Some(now.clone())))
        .collect();
    let snapshots: Vec<Snapshot> = done.iter().map(|(snapshot, ..)| (*snapshot).clone()).collect();
    let rows = match rows_now(t, api, held, &snapshots, &tables).await {
        Ok(rows) => rows,
        // What was not compared is not said to be equal: it is left, and the journal says so.
        Err(failure) => {
            let undone = done.drain(..);
            failed.extend(undone.map(|(snapshot, ..)| (snapshot.table.clone(), failure.clone())));
            BTreeMap::new()
        }
    };
    // A table whose replacement was sent counts, also where only its options could not be put back after it.
    let replaced = held.run().steps.iter().any(|((step, _), progress)| {
        *step == Step::Restore && progress.outcome.as_ref().is_none_or(|o| o.error.is_none() || o.unknown)
    });
    let mut exit = match failed.iter().map(|(_, failure)| failure.exit).reduce(Exit::or_graver) {
        None => Exit::RolledBack,
        Some(worst) => match (t.stopped_by(), replaced) {
            (Some(signal), _) => Exit::Signal(signal).or_graver(worst),
            (None, true) => Exit::Partial.or_graver(worst),
            (None, false) => worst,
        },
    };
    let mut left = Vec::new();
    let mut troubles: Vec<Failure> = Vec::new();
    for (snapshot, way, kept, now) in &done {
        let rows = rows.get(&snapshot.table).copied();
        let differences = differences(snapshot, way, Some(now), rows);
        let restore = record(held, snapshot, way, kept.clone(), rows, differences.is_empty());
        held.note(&[Event::Restored(restore.clone())]).await?;
        // bq-restore finishes whether or not somebody reads: its code is that of the restore.
        let _ = t.out.write(&Record::Restore(restore));
        if !differences.is_empty() {
            exit = exit.or_graver(Exit::Unknown);
            left.push(snapshot.table.clone());
            let what = format!("`{}` differs from the cut: {}", snapshot.table, differences.join("; "));
            let hint = "a person should look; its snapshot and the copy of what was there are kept";
            troubles.push(
                Failure::new(Exit::Unknown, what, format!("table {}", snapshot.table), hint).about(&snapshot.table),
            );
        }
    }
    let not_begun = |failure: &Failure| failure.what == STOPPED;
    let mut stopped = 0;
    for (table, failure) in failed {
        left.push(table);
        match troubles.last() {
            _ if not_begun(&failure) => stopped += 1,
            Some(last) if last.what == failure.what => {}
            _ => troubles.push(failure),
        }
    }
    let run = held.id();
    let next = match (left.is_empty(), request.only.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("bq-restore --run {run} restores the rest; bq-check --run {run} --accept accepts it"),
        (false, _) => format!("bq-restore --run {run}"),
    };
    let end = RestoreEnd {
        code: exit.code(),
        only: !request.only.is_empty(),
        left: left.clone(),
        next: next.clone(),
    };
    held.note(&[Event::RestoreEnded(end)]).await?;
    if left.is_empty() {
        if !next.is_empty() {
            t.tell(&format!("run {run} stays pending: {next}"));
        }
        return Ok(exit);
    }
    let places: Vec<String> = {
        let run = held.run();
        let copy = |table: &TableRef| {
            run.tables
                .get(table)
                .and_then(|p| p.snapshot.snapshot.as_ref().map(ToString::to_string))
        };
        left.iter()
            .map(|table| format!("{table} (snapshot {})", copy(table).unwrap_or_default()))
            .collect()
    };
    let count = done.len() + left.len() - done.iter().filter(|(s, ..)| left.contains(&s.table)).count();
    let what = match stopped {
        0 => format!("{} of {count} tables do not equal the cut", left.len()),
        _ => format!("{STOPPED}: {} of {count} tables do not equal the cut yet", left.len()),
    };
    if let [one] = troubles.as_slice() {
        return Err(Failure {
            what: format!("{what}: {}", one.what),
            at: places.join(", "),
            hint: next,
            ..one.clone().with_exit(exit)
        });
    }
    for failure in &troubles {
        t.error(failure);
    }
    Err(Failure::new(exit, what, places.join(", "), next))
}
