//! Doing a rollback that `plan` decided: put back, compare, journal how it ended; or leave it to a person.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bqlib::api::Api;
use bqlib::exit::{Exit, Failure};
use bqlib::meta::TableMeta;
use bqlib::migration::{made, writes};
use bqlib::names::TableRef;
use bqlib::perform::{Held, at_a_time};
use bqlib::plan::Over;
use bqlib::plan::restore::{Facts, Planned, Request, Seen, wanted};
use bqlib::plan::undo;
use bqlib::record::{Record, Restore, Snapshot, Statement};
use bqlib::state::{Event, RestoreEnd, Step, Undo};
use bqlib::tool::{STOPPED, Tool};

use crate::backup::Backups;
use crate::choose::again;
use crate::clear;
use crate::extras::{self, Beyond};
use crate::put_back::{Done, Task, put_back};
use crate::seen::{differences, record, rows_now, would_be};
use crate::stage::{Staged, stage, unstage_all};
use crate::unprotected;

/// Puts the tables back, each its way, and compares them with the cut; of an undo: with what was there before the rollback.
pub(crate) async fn roll_back(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    request: &Request,
    facts: &Facts,
    plans: &[Planned],
) -> Result<Exit, Failure> {
    let nothing = Seen::default();
    let seen = facts.seen.as_ref().unwrap_or(&nothing);
    let statements = facts.jobs.as_ref().map_or(&[][..], |jobs| &jobs.statements);
    warn_beforehand(t, held, plans, statements);
    unprotected::warn(t, held, plans);
    let clears = clear::look(t, api, held, request).await?;
    let beyond = extras::look(t, api, held, plans).await?;
    let backups = match Backups::find(t, held, &request.backup_dirs, plans) {
        Ok(backups) => backups,
        Err(refusals) => return Err(stop(t, held, request, refusals).await?),
    };
    if t.dry_run {
        for planned in plans {
            let rows = seen.rows.get(&planned.snapshot.table).copied();
            let restore = Restore {
                not_restored: beyond.of(&planned.snapshot.table),
                ..would_be(held, planned, rows)
            };
            t.out.write(&Record::Restore(backups.would_be(planned, restore)))?;
        }
        clears
            .iter()
            .try_for_each(|one| t.out.write(&Record::Restore(clear::would_be(held, one))))?;
        return Ok(Exit::Ok);
    }
    t.go_on(&again(&held.id()))?;
    let undo = request.undo || held.run().undo == Undo::Begun;
    let known = Known {
        seen,
        beyond: &beyond,
        backups: &backups,
        round: held.run().coming_round(undo),
    };
    // No live table is touched before every table that has to be made beside one is there and good.
    let staged = stage_all(t, api, held, request, plans, &known).await?;
    let begun = match undo {
        true => Event::UndoBegun,
        false => Event::RestoreBegun {
            only: partial(held, request),
        },
    };
    held.note(&[begun]).await?;
    let results = at_a_time(t.jobs.min(100), plans, async |planned: &Planned| {
        let result = match task(api, held, planned, &known) {
            Ok(task) => put_back(t, api, held, &task, staged.get(&planned.snapshot.table)).await,
            Err(failure) => Err(failure),
        };
        (planned, result)
    })
    .await;
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for (planned, result) in results {
        match result {
            Ok(one) => done.push((planned, one)),
            Err(failure) => failed.push((planned.snapshot.table.clone(), failure)),
        }
    }
    done.sort_by(|a, b| a.0.snapshot.table.cmp(&b.0.snapshot.table));
    // What is to be emptied is emptied only once the rest is back: it may be what the tables were moved to.
    if failed.is_empty() {
        for one in &clears {
            if let Err(failure) = clear::clear(t, api, held, one).await {
                failed.push((one.table.clone(), failure));
            }
        }
    }
    finish(t, api, held, request, done, failed).await
}

/// The tables that a restore of some of them is of; empty: all.
fn partial(held: &Held<'_>, request: &Request) -> Vec<TableRef> {
    match request.is_partial() {
        false => Vec::new(),
        true => {
            wanted(&held.run(), request).map_or_else(|_| Vec::new(), |all| all.into_iter().map(|s| s.table).collect())
        }
    }
}

/// Makes every table that has to be made beside the live one. If one cannot be made, none is needed: they are taken away again.
async fn stage_all(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    request: &Request,
    plans: &[Planned],
    known: &Known<'_>,
) -> Result<BTreeMap<TableRef, Staged>, Failure> {
    let of_stage = plans.iter().filter(|planned| planned.way.is_staged());
    let results = at_a_time(t.jobs.min(100), of_stage, async |planned: &Planned| {
        let made = match task(api, held, planned, known) {
            Ok(task) => stage(t, api, held, &task, known.backups).await,
            Err(failure) => Err(failure),
        };
        (planned, made)
    })
    .await;
    let (mut staged, mut failed) = (BTreeMap::new(), Vec::new());
    for (planned, made) in results {
        match made {
            Ok(made) => {
                staged.insert(planned.snapshot.table.clone(), made);
            }
            Err(failure) => failed.push(failure),
        }
    }
    let Some(worst) = failed.iter().map(|failure| failure.exit).reduce(Exit::or_graver) else {
        return Ok(staged);
    };
    for planned in plans
        .iter()
        .filter(|planned| staged.contains_key(&planned.snapshot.table))
    {
        let task = task(api, held, planned, known)?;
        if let Err(failure) = unstage_all(api, held, task.table, task.location(t).as_ref()).await {
            t.warn(&failure);
        }
    }
    Err(stop(t, held, request, failed).await?.with_exit(worst))
}

/// Something stops the whole run before a live table is touched: every reason is told, and the journal says that a person is needed.
pub(crate) async fn stop(
    t: &Tool,
    held: &Held<'_>,
    request: &Request,
    refusals: Vec<Failure>,
) -> Result<Failure, Failure> {
    let snapshots = match request.undo || held.run().undo == Undo::Begun {
        true => undo::tables(&held.run()),
        false => wanted(&held.run(), request)?,
    };
    let what = refusals.iter().map(|f| f.what.clone()).collect::<Vec<_>>().join("; ");
    let next = refusals.iter().map(|f| f.hint.clone()).collect::<Vec<_>>().join("; ");
    if !t.dry_run && held.run().is_pending() {
        let left = snapshots.iter().map(|s| s.table.clone()).collect();
        let end = RestoreEnd {
            code: Exit::Refused.code(),
            only: request.is_partial(),
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
pub(crate) fn warn_beforehand(t: &Tool, held: &Held<'_>, plans: &[Planned], statements: &[Statement]) {
    for planned in plans.iter().filter(|planned| planned.way.is_doubtful()) {
        let table = &planned.snapshot.table;
        let what = format!(
            "whether others wrote to `{table}` between the cut and the migration's last statement cannot be told"
        );
        let hint = match planned.way.over() {
            Some(Over::Kind(_)) => format!(
                "its definition is kept in the journal of run {} (event `kept`)",
                held.id()
            ),
            _ => format!("what is there now is kept as {}_before_restore_{}", table, held.id()),
        };
        t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
    }
    let run = held.run();
    let made: BTreeSet<&TableRef> = made(statements)
        .into_iter()
        .filter(|table| !run.tables.contains_key(*table))
        .filter(|table| {
            let last = writes(statements).filter(|(_, written)| written == table).last();
            !last.is_some_and(|(s, _)| s.kind.starts_with("DROP"))
        })
        .collect();
    for table in made {
        let what = format!("the migration made `{table}`; it is left");
        let hint = format!("bq query --use_legacy_sql=false 'DROP TABLE {}'", table.sql());
        t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
    }
}

/// What is known before the first table is touched.
pub(crate) struct Known<'a> {
    pub(crate) seen: &'a Seen,
    pub(crate) beyond: &'a Beyond,
    pub(crate) backups: &'a Backups,
    /// The round of restoring and undoing that this is.
    pub(crate) round: u32,
}

/// What is to be done about a table, with all that is known of it.
pub(crate) fn task<'a>(
    api: &Api<'_>,
    held: &Held<'_>,
    planned: &'a Planned,
    known: &Known<'a>,
) -> Result<Task<'a>, Failure> {
    static NOTHING: LazyLock<TableMeta> = LazyLock::new(TableMeta::default);
    let snapshot = &planned.snapshot;
    let before = match (&snapshot.meta, snapshot.absent) {
        (Some(meta), _) => meta,
        (None, true) => &*NOTHING,
        (None, false) => {
            let what = format!("the journal lacks the pre-image of `{}`", snapshot.table);
            let at = format!("run {}", held.id());
            return Err(Failure::new(Exit::Unknown, what, at, "a person should look").about(&snapshot.table));
        }
    };
    Ok(Task {
        planned,
        table: &snapshot.table,
        snapshot: snapshot.snapshot.as_ref(),
        cut: snapshot.cut,
        rows: snapshot.rows,
        before,
        found: known.seen.tables.get(&snapshot.table).and_then(Option::as_ref),
        found_rows: known.seen.rows.get(&snapshot.table).copied(),
        round: known.round,
        lives: known.beyond.lives(&snapshot.table, before, api.now()),
        beyond: known.beyond.of(&snapshot.table),
    })
}

/// The same command again, as a person would type it.
fn the_same(held: &Held<'_>, request: &Request) -> String {
    let mut words = vec!["bq-restore".to_owned()];
    if held.run().undo == Undo::Begun {
        words.push("--undo".to_owned());
    }
    words.push(format!("--run {}", held.id()));
    if request.even_accepted {
        words.push("--even-accepted".to_owned());
    }
    let named = |flag: &str, tables: &[TableRef]| -> Vec<String> {
        tables.iter().map(|table| format!("{flag} {table}")).collect()
    };
    words.extend(named("--only", &request.only));
    words.extend(named("--except", &request.except));
    words.extend(named("--discard-foreign", &request.discard));
    words.extend(named("--clear", &request.clear));
    if request.salvage {
        words.push("--salvage".to_owned());
    }
    if request.from_backup {
        words.push("--from backup".to_owned());
        words.extend(
            request
                .backup_dirs
                .iter()
                .map(|dir| format!("--backup-dir {}", dir.display())),
        );
    }
    words.join(" ")
}

/// Compares what was done with the cut, tells and journals it, and says how it ended.
pub(crate) async fn finish(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    request: &Request,
    mut done: Vec<(&Planned, Done)>,
    mut failed: Vec<(TableRef, Failure)>,
) -> Result<Exit, Failure> {
    let cut = match held.run().undo {
        Undo::Begun => "what was there before the rollback",
        Undo::No | Undo::Done => "the cut",
    };
    let tables = done
        .iter()
        .map(|(planned, done)| (planned.snapshot.table.clone(), done.now.clone()))
        .collect();
    let snapshots: Vec<Snapshot> = done.iter().map(|(planned, _)| planned.snapshot.clone()).collect();
    let rows = match rows_now(t, api, held, &snapshots, &tables).await {
        Ok(rows) => rows,
        // What was not compared is not said to be equal: it is left, and the journal says so.
        Err(failure) => {
            let undone = done.drain(..);
            failed.extend(undone.map(|(planned, _)| (planned.snapshot.table.clone(), failure.clone())));
            BTreeMap::new()
        }
    };
    // A table whose replacement was sent counts, also where only its options could not be put back after it.
    let replaced = held.run().steps.iter().any(|((step, _), progress)| {
        matches!(step, Step::Restore | Step::Drop | Step::Clear)
            && progress.round == held.run().round
            && progress.outcome.as_ref().is_none_or(|o| o.error.is_none() || o.unknown)
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
    for (planned, one) in &done {
        let snapshot = &planned.snapshot;
        let rows = rows.get(&snapshot.table).copied();
        let mut differences = differences(held, snapshot, &planned.way, one.now.as_ref(), rows);
        differences.extend(one.wrong.iter().cloned());
        let restore = record(held, planned, one, rows, differences.is_empty());
        held.note(&[Event::Restored(restore.clone())]).await?;
        // bq-restore finishes whether or not somebody reads: its code is that of the restore.
        let _ = t.out.write(&Record::Restore(restore));
        if !differences.is_empty() {
            exit = exit.or_graver(Exit::Unknown);
            left.push(snapshot.table.clone());
            let what = format!("`{}` differs from {cut}: {}", snapshot.table, differences.join("; "));
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
    let undone = held.run().undo == Undo::Begun;
    let next = match (left.is_empty(), request.is_partial()) {
        (true, false) => String::new(),
        (true, true) => format!("bq-restore --run {run} restores the rest; bq-check --run {run} --accept accepts it"),
        (false, _) => the_same(held, request),
    };
    if undone && exit == Exit::RolledBack {
        exit = Exit::Ok;
    }
    let end = RestoreEnd {
        code: exit.code(),
        only: request.is_partial(),
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
    let count = done.len() + left.len()
        - done
            .iter()
            .filter(|(planned, _)| left.contains(&planned.snapshot.table))
            .count();
    let what = match stopped {
        0 => format!("{} of {count} tables do not equal {cut}", left.len()),
        _ => format!("{STOPPED}: {} of {count} tables do not equal {cut} yet", left.len()),
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
