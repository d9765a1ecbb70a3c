//! Putting back one table: keep what is there, take it away or replace it, put its options back, each call journaled before it is sent.

use bqlib::api::{Api, Table, as_input};
use bqlib::exit::{Exit, Failure};
use bqlib::meta::TableMeta;
use bqlib::names::{Location, TableRef};
use bqlib::perform::{Ended, Held, of_job_error, taken};
use bqlib::plan::restore::{Planned, definition};
use bqlib::plan::{Back, Over, Source, Way};
use bqlib::record::RestoredFrom;
use bqlib::sql::{self, Lives, Verb};
use bqlib::state::{Event, Looks, Step, Undo};
use bqlib::tool::Tool;
use jiff::Timestamp;

use crate::extras::{access, before, gone, warn};
use crate::keep::{keep, keep_definition, keep_nothing, not_changed};
use crate::options::{put_back_options, read};
use crate::policies::put_back_policies;
use crate::salvage::salvage;
use crate::stage::{OF_A_ROUND, Staged, unstage_all};

/// A table that is to be put back.
pub(crate) struct Task<'a> {
    pub(crate) planned: &'a Planned,
    pub(crate) table: &'a TableRef,
    pub(crate) snapshot: Option<&'a TableRef>,
    /// The instant that it is put back to.
    pub(crate) cut: Option<Timestamp>,
    /// Its rows then, as far as its snapshot holds them.
    pub(crate) rows: Option<u64>,
    pub(crate) before: &'a TableMeta,
    /// What is in its place.
    pub(crate) found: Option<&'a Table>,
    /// The rows of that.
    pub(crate) found_rows: Option<u64>,
    /// In which round of restoring and undoing.
    pub(crate) round: u32,
    /// What the statement that makes it says of how long it lives.
    pub(crate) lives: Lives,
    /// What stands on it that no rollback puts back, for people.
    pub(crate) beyond: Vec<String>,
}

impl Task<'_> {
    /// Where its jobs run.
    pub(crate) fn location(&self, t: &Tool) -> Option<Location> {
        let found = || self.found.and_then(Table::location);
        t.location.clone().or_else(found).or_else(|| self.before.location())
    }

    /// Where its contents come from.
    pub(crate) fn source(&self) -> Source {
        match &self.planned.way {
            Way::Restore(back) => back.source,
            Way::Unchanged | Way::PutBack | Way::Remove { .. } => Source::Clone,
        }
    }

    fn found(&self) -> Result<&Table, Failure> {
        self.found
            .ok_or_else(|| lost(self.table, "is gone, although it was there"))
    }
}

fn lost(table: &TableRef, what: &str) -> Failure {
    let what = format!("`{table}` {what}");
    Failure::new(
        Exit::Unknown,
        what,
        format!("table {table}"),
        "run the same command again",
    )
    .about(table)
}

/// How a table was put back.
pub(crate) struct Done {
    pub(crate) kept: Option<TableRef>,
    /// The table as it is now; `None`: there is none, as at the cut.
    pub(crate) now: Option<Table>,
    pub(crate) from: RestoredFrom,
    pub(crate) source: Option<String>,
    pub(crate) without_table_ms: Option<u64>,
    /// What it had and no rollback can put back, for people.
    pub(crate) not_restored: Vec<String>,
    /// In what it is not what it was, though rows, columns and options be the same.
    pub(crate) wrong: Vec<String>,
}

/// Puts one table back.
pub(crate) async fn put_back(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    staged: Option<&Staged>,
) -> Result<Done, Failure> {
    let (table, way) = (task.table, &task.planned.way);
    if *way == Way::Unchanged {
        return Ok(Done {
            kept: None,
            now: task.found.cloned(),
            from: if task.found.is_some() {
                RestoredFrom::Unchanged
            } else {
                RestoredFrom::Absent
            },
            source: None,
            without_table_ms: None,
            not_restored: Vec::new(),
            wrong: Vec::new(),
        });
    }
    // The last place to stop: from here on the table is seen through, copy, replacement and options.
    t.go_on("run the same command again")?;
    let location = task.location(t);
    let location = location.as_ref();
    let (mut from, mut source) = of_snapshot(held, task);
    match way {
        Way::Unchanged | Way::PutBack => {}
        Way::Remove { over, .. } => {
            set_aside(api, held, task, over, true, location).await?;
            salvage(t, api, held, task, location).await?;
            still_as_kept(api, task).await?;
            if *over != Over::Nothing {
                drop_it(api, held, task, location).await?;
            }
            from = RestoredFrom::Absent;
            source = None;
        }
        Way::Restore(back) => {
            set_aside(api, held, task, &back.over, back.over.is_dropped_first(), location).await?;
            salvage(t, api, held, task, location).await?;
            still_as_kept(api, task).await?;
            if back.over.is_dropped_first() {
                drop_it(api, held, task, location).await?;
            }
            replace(t, api, held, task, back, staged, location).await?;
            if let Some(staged) = staged {
                from = staged.from;
                source = Some(staged.source.clone());
            }
        }
    }
    let kept = held.run().kept(table).cloned();
    let without_table_ms = without_table(t, held, table);
    let (mut not_restored, mut wrong) = (Vec::new(), Vec::new());
    let now = match way {
        Way::Remove { .. } => {
            let made = make_again(api, held, task).await?;
            if made.is_some() {
                not_restored = access(api, held, table).await?.0;
            }
            made
        }
        _ => {
            let (now, without) = put_back_options(api, held, task).await?;
            let policies = put_back_policies(api, held, task, location).await?;
            let (without_grants, granted) = access(api, held, table).await?;
            not_restored = [without, policies.unknown, without_grants, gone(&held.run(), table)].concat();
            wrong = policies.wrong;
            match policies.made || granted {
                true => Some(read(api, table).await?),
                false => Some(now),
            }
        }
    };
    warn(t, table, &not_restored);
    unstage_all(api, held, table, location).await?;
    let looks = Looks {
        table: table.clone(),
        modified_ms: now.as_ref().map(Table::modified_ms),
        meta: None,
    };
    held.note(&[Event::Looks(looks)]).await?;
    Ok(Done {
        kept,
        now,
        from,
        source,
        without_table_ms,
        not_restored,
        wrong,
    })
}

/// What a table is, or was by an earlier attempt, put back from, unless it is first made beside by this one.
fn of_snapshot(held: &Held<'_>, task: &Task<'_>) -> (RestoredFrom, Option<String>) {
    let begun = held.run().undo == Undo::Begun;
    // A journal that has lost that statement tells of no other source.
    let known = held.run().step(Step::Restore, task.table).is_some();
    let said = |name: &TableRef| !known || held.said(Step::Restore, task.table, &name.sql());
    match task.snapshot {
        Some(snapshot) if task.planned.way != Way::PutBack || said(snapshot) => {
            let from = if begun {
                RestoredFrom::Kept
            } else {
                RestoredFrom::Snapshot
            };
            (from, Some(snapshot.to_string()))
        }
        _ => {
            let first = task.round * OF_A_ROUND + 1;
            let file = |number| held.said(Step::Stage(number), task.table, "\"load\"");
            let from = match (first..first + OF_A_ROUND).any(file) {
                true => RestoredFrom::Backup,
                false => RestoredFrom::TimeTravel,
            };
            (from, None)
        }
    }
}

/// Copying what others wrote takes its time: what came in the while is in no copy.
async fn still_as_kept(api: &Api<'_>, task: &Task<'_>) -> Result<(), Failure> {
    match task.found {
        Some(found) if task.planned.salvage.is_some() => not_changed(api, task.table, found).await,
        _ => Ok(()),
    }
}

/// Keeps what is in the table's place, whatever it is.
async fn set_aside(
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    over: &Over,
    dropped: bool,
    location: Option<&Location>,
) -> Result<(), Failure> {
    match over {
        Over::Nothing => keep_nothing(held, task.table, task.beyond.clone()).await,
        Over::Kind(_) => {
            let beside = before(api, task, dropped).await?;
            keep_definition(api, held, task.table, task.found()?, beside).await
        }
        Over::Same | Over::Other => {
            let beside = before(api, task, dropped).await?;
            let kept = keep(api, held, task.table, task.found()?, task.found_rows, beside, location).await;
            kept.map(|_| ())
        }
    }
}

/// Takes away what is in the table's place. All that is needed to make the table again is known to be there.
async fn drop_it(api: &Api<'_>, held: &Held<'_>, task: &Task<'_>, location: Option<&Location>) -> Result<(), Failure> {
    let (table, found) = (task.table, task.found()?);
    let text = sql::drop(found.kind(), table);
    loop {
        // The job of an attempt whose end was lost may have dropped what was there before somebody made this.
        let is_lost = held
            .run()
            .step(Step::Drop, table)
            .is_some_and(|p| p.outcome.as_ref().is_none_or(|o| o.unknown));
        let failed = match held.statement(api, Step::Drop, Some(table), location, &text).await? {
            Ended::Done(_) if is_lost && is_there(api, table).await? => continue,
            Ended::Done(_) => return Ok(()),
            Ended::Failed(e) => of_job_error(&e, &format!("dropping {table}"), &format!("table {table}")),
            Ended::Taken(job) => taken(&job),
        };
        return Err(failed.about(table));
    }
}

async fn is_there(api: &Api<'_>, table: &TableRef) -> Result<bool, Failure> {
    let read = api.table(table).await;
    read.map(|there| there.is_some())
        .map_err(|e| e.failure(&format!("reading {table}")).about(table))
}

/// Puts the snapshot, or what was made beside, in the table's place, in one statement.
async fn replace(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    back: &Back,
    staged: Option<&Staged>,
    location: Option<&Location>,
) -> Result<(), Failure> {
    let table = task.table;
    // What was made beside is dropped afterwards, and a clone would need it; a snapshot can be cloned.
    let (copy, mut verb) = match (staged, back.source, task.snapshot) {
        (Some(staged), Source::History | Source::Backup, _) => (&staged.name, Verb::Copy),
        (_, Source::Copy, Some(snapshot)) => (snapshot, Verb::Copy),
        (_, _, Some(snapshot)) => (snapshot, Verb::Clone),
        (_, _, None) => return Err(lost(table, "has no snapshot in the journal")),
    };
    let over = back.over == Over::Same;
    let plain = Lives::from(task.before.expiry_to_come(api.now()));
    let mut lives = task.lives;
    let mut uncloned = None;
    let ended = loop {
        let text = sql::restore(table, copy, verb, over, lives);
        let ended = held.statement(api, Step::Restore, Some(table), location, &text).await?;
        match ended {
            // Deeper in a chain than what was written down of it says, or a snapshot with too many clones: then a full copy.
            Ended::Failed(e) if e.reason == "invalid" && verb == Verb::Clone => {
                verb = Verb::Copy;
                uncloned = Some(e.message);
            }
            // What is there no more must not be missing for the sake of the moment until its expirations are put back.
            Ended::Failed(e) if e.reason == "invalid" && lives != plain => lives = plain,
            // The statement of an earlier attempt, whose end was lost, was of another source than is wanted now.
            Ended::Done(_) if !held.said(Step::Restore, table, &copy.sql()) => {}
            // The job of an earlier attempt, whose end was lost: what is there was written after it, and it replaced nothing of that.
            Ended::Done(job) if over && is_older(&job, task.found) => {}
            ended => break ended,
        }
    };
    if let (Ended::Done(_), Some(message)) = (&ended, uncloned) {
        let what = format!("`{table}` could not be cloned from its snapshot and is copied in full: {message}");
        let hint = "nothing is to be done; a full copy frees the table from its chain of clones";
        t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
    }
    match ended {
        Ended::Done(_) => Ok(()),
        Ended::Failed(e) => {
            let failure = of_job_error(&e, &format!("restoring {table}"), &format!("table {table}"));
            Err(failure.about(table))
        }
        Ended::Taken(job) => Err(taken(&job).about(table)),
    }
}

fn is_older(job: &bqlib::api::Job, found: Option<&Table>) -> bool {
    job.ended_ms()
        .zip(found)
        .is_some_and(|(ended, found)| ended < found.modified_ms())
}

/// For how long there was no table of this name, if we took it away: from before it was dropped to after it was there again.
fn without_table(t: &Tool, held: &Held<'_>, table: &TableRef) -> Option<u64> {
    let run = held.run();
    let dropped = run.step(Step::Drop, table)?;
    run.step(Step::Restore, table)
        .filter(|restore| restore.order > dropped.order)?;
    u64::try_from(t.clock.now().duration_since(dropped.since).as_millis()).ok()
}

/// Of an undo: makes a view, or another that is no table, again of its definition.
async fn make_again(api: &Api<'_>, held: &Held<'_>, task: &Task<'_>) -> Result<Option<Table>, Failure> {
    let table = task.table;
    let definition = definition(&held.run(), table).cloned();
    let Some(definition) = definition else { return Ok(None) };
    let resource = as_input(&definition);
    let made = api.insert_table(table, &resource);
    match held.change(Step::Restore, table, "making", &resource, made).await? {
        Ok(made) => Ok(Some(made)),
        Err(e) => Err(e.failure(&format!("making {table} again")).about(table)),
    }
}
