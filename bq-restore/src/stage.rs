//! Making a table beside the live one, and making sure that it is what the table was, before the live one is touched.
//!
//! One source after the other is tried: the snapshot; where that is gone, its own history, that of the table, a copy of the table as it was.

use bqlib::api::{Api, JOB_ATTEMPTS, Table};
use bqlib::backup::Backup;
use bqlib::clock::{from_millis, later};
use bqlib::count;
use bqlib::exit::Failure;
use bqlib::meta::{SchemaRule, TableMeta};
use bqlib::names::{JobId, Location, RunId, TableRef};
use bqlib::perform::{Copy, Ended, Held, of_job_error, taken};
use bqlib::plan::Source;
use bqlib::record::RestoredFrom;
use bqlib::sql::{self, AsOf, CopyOptions, Counted, RUN_LABEL, Verb};
use bqlib::state::{Progress, Run, Status, Step};
use bqlib::tool::Tool;
use jiff::Timestamp;
use std::time::Duration;

use crate::backup::Backups;
use crate::keep::beside;
use crate::put_back::Task;

/// How long a table beside a live one lives, if nobody takes it away: long enough for a restore that is cut short to be finished.
pub(crate) const STAGED_FOR: Duration = Duration::from_secs(24 * 3600);

/// A table beside the live one that is what the table was.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) name: TableRef,
    pub(crate) from: RestoredFrom,
    pub(crate) source: String,
}

/// One place where a table's contents may still be.
enum Place {
    /// A table or snapshot that is there, as it is or as it was at an instant.
    Statement(TableRef, Verb, Option<Timestamp>),
    /// What was there at an instant, though it be gone now.
    Was(TableRef, Timestamp),
    /// A file, or the files of one export.
    File(Backup),
}

impl Place {
    fn is_from(&self, table: &TableRef) -> RestoredFrom {
        match self {
            Place::File(_) => RestoredFrom::Backup,
            Place::Statement(of, ..) | Place::Was(of, _) if of != table => RestoredFrom::Snapshot,
            _ => RestoredFrom::TimeTravel,
        }
    }

    fn source(&self) -> String {
        match self {
            Place::File(backup) => backup.name(),
            Place::Statement(of, _, None) => of.to_string(),
            Place::Statement(of, _, Some(at)) | Place::Was(of, at) => format!("{of}@{}", at.as_millisecond()),
        }
    }
}

/// Makes the table of the first source that gives what it was; each table of ours that was not good is dropped again.
pub(crate) async fn stage(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    backups: &Backups,
) -> Result<Staged, Failure> {
    let location = task.location(t);
    let mut tried = Vec::new();
    // Numbers of one round are not those of another: what a restore made beside is not what its undo needs.
    let first = task.round * OF_A_ROUND + 1;
    for (number, place) in (first..).zip(places(api, held, task, location.as_ref(), backups).await?) {
        t.go_on("run the same command again")?;
        let one = Beside {
            t,
            api,
            held,
            task,
            location: location.as_ref(),
            number,
            backups,
        };
        match one.make(&place).await? {
            Ok(name) => {
                if let Place::File(backup) = &place {
                    one.warn_of_contents(backup);
                }
                return Ok(Staged {
                    name,
                    from: place.is_from(task.table),
                    source: place.source(),
                });
            }
            Err(why) => {
                if t.verbose || matches!(place, Place::File(_)) {
                    t.tell(&format!("{}: {why}", place.source()));
                }
                tried.push(format!("{}: {why}", place.source()));
            }
        }
    }
    let table = task.table;
    let what = format!(
        "`{table}` could not be made again from what is left: {}",
        tried.join("; ")
    );
    let from_files = format!("bq-restore --run {} --from backup --backup-dir DIR", held.id());
    let hint = match task.found.map(Table::kind) {
        _ if task.source() == Source::Backup => {
            "nothing was touched; name another directory with --backup-dir".to_owned()
        }
        // No name reaches a table's history past what stands in its place now; and nothing is dropped that no way back is known for.
        Some(kind) if kind != "TABLE" => {
            let drop = sql::drop(kind, table);
            format!(
                "nothing was touched; its history may be reached once the name is free: write the definition down (bq show \
                 --format=prettyjson), bq query --use_legacy_sql=false '{drop}', then the same command again; or, from files: {from_files}"
            )
        }
        _ => format!("nothing was touched; if there are files of it: {from_files}"),
    };
    Err(Failure::refused(what, format!("table {table}"), hint).about(table))
}

/// Where the contents of a table may be, the best place first.
async fn places(
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    location: Option<&Location>,
    backups: &Backups,
) -> Result<Vec<Place>, Failure> {
    let snapshot = task.snapshot.cloned();
    let of_snapshot = |verb: Verb| {
        snapshot
            .clone()
            .into_iter()
            .map(move |name| Place::Statement(name, verb, None))
    };
    let mut places = match task.source() {
        Source::Copy => return Ok(of_snapshot(Verb::Copy).collect()),
        Source::Clone => return Ok(of_snapshot(Verb::Clone).chain(of_snapshot(Verb::Copy)).collect()),
        Source::Backup => return Ok(backups.of(task.table).iter().cloned().map(Place::File).collect()),
        Source::History => Vec::new(),
    };
    if let Some(name) = &snapshot {
        let was = |at| Place::Was(name.clone(), at);
        let instants = when_it_was_there(api, held, task, location).await?;
        places.extend(instants.into_iter().map(was));
    }
    if let Some(cut) = task.cut {
        // A table that is there has its history, which keeps columns and layout; of one that is gone only a copy can be had.
        // Source: <https://docs.cloud.google.com/bigquery/docs/access-historical-data>.
        if task.found.is_some_and(|found| found.kind() == "TABLE") {
            places.push(Place::Statement(task.table.clone(), Verb::Clone, Some(cut)));
        }
        places.push(Place::Was(task.table.clone(), cut));
    }
    Ok(places)
}

/// Instants at which a snapshot that is gone was there: just before it expired, and just after it was made.
/// Source: <https://docs.cloud.google.com/bigquery/docs/table-snapshots-delete>.
async fn when_it_was_there(
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    location: Option<&Location>,
) -> Result<Vec<Timestamp>, Failure> {
    let expired = {
        let run = held.run();
        let expires = run.tables.get(task.table).and_then(|p| p.expires);
        expires.filter(|at| *at <= api.now())
    };
    let before = expired.and_then(|at| at.checked_sub(jiff::SignedDuration::from_secs(1)).ok());
    let step = Step::Snapshot;
    let attempts = match held.run().steps.get(&(step, Some(task.table.clone()))) {
        Some(progress) => progress.intent.attempt..=progress.intent.attempt,
        None => 1..=JOB_ATTEMPTS,
    };
    let mut made = None;
    for attempt in attempts.rev() {
        let id = JobId::of_step(&held.id(), &step.to_string(), Some(task.table), attempt);
        let found = api.job(&id, location).await;
        let found = found.map_err(|e| e.failure(&format!("looking for the snapshot of {}", task.table)))?;
        made = found.filter(|job| job.error().is_none()).and_then(|job| job.ended_ms());
        if made.is_some() {
            break;
        }
    }
    // Its own millisecond may still be before it; settling it changed only its options.
    let made = made.map(|ms| from_millis(ms + 1));
    Ok(before.into_iter().chain(made).collect())
}

/// One table beside a live one, in the making.
pub(crate) struct Beside<'a, 'h> {
    pub(crate) t: &'a Tool,
    pub(crate) api: &'a Api<'a>,
    pub(crate) held: &'a Held<'h>,
    pub(crate) task: &'a Task<'a>,
    pub(crate) location: Option<&'a Location>,
    pub(crate) number: u32,
    pub(crate) backups: &'a Backups,
}

impl Beside<'_, '_> {
    /// Makes it of this place: its name, or why it is not what the table was.
    async fn make(&self, place: &Place) -> Result<Result<TableRef, String>, Failure> {
        let name = self.name(self.number)?;
        // Which file an earlier attempt had, only who loads it can tell.
        let is_file = matches!(place, Place::File(_));
        if !is_file && self.is_done(self.number) && !self.is_of(place) {
            // Made by an attempt that had another source.
            unstage(self.api, self.held, self.task.table, self.location, self.number, &name).await?;
        }
        if (is_file || !self.is_made(self.number, &name).await?)
            && let Err(why) = self.copy(place, &name).await?
        {
            if is_file {
                unstage(self.api, self.held, self.task.table, self.location, self.number, &name).await?;
            }
            return Ok(Err(why));
        }
        let mut copy = self.read(&name).await?;
        // A copy job labels nothing: what it has made is ours by its own name and the journal's word, and is to say so itself.
        let unlabelled = |copy: &Table| copy.label(RUN_LABEL).is_none();
        if matches!(place, Place::Was(..)) && copy.as_ref().is_some_and(unlabelled) && self.is_done(self.number) {
            let (held, labels) = (self.held, sql::staged_labels(&self.held.id()));
            held.label(self.api, Step::Stage(self.number), &name, &labels).await?;
            copy = self.read(&name).await?;
        }
        let differences = match &copy {
            Some(copy) => self.differences(copy, &name, true).await?,
            None => vec!["it is gone again".to_owned()],
        };
        if differences.is_empty() {
            return Ok(Ok(name));
        }
        // A copy of what was there has lost its partitioning, and BigQuery has no other way to have it back.
        // Source: <https://docs.cloud.google.com/bigquery/docs/access-historical-data#restore-a-table>.
        let why = differences.join(", ");
        let reshaped = match (&copy, place) {
            (Some(copy), Place::Was(..)) if self.rows(copy, &name).await? == self.task.rows => {
                self.reshape(&name).await?
            }
            _ => Err(why),
        };
        if reshaped.is_err() {
            unstage(self.api, self.held, self.task.table, self.location, self.number, &name).await?;
        }
        Ok(reshaped)
    }

    pub(crate) fn name(&self, number: u32) -> Result<TableRef, Failure> {
        staged_name(self.task.table, &self.held.id(), number)
    }

    /// Whether an earlier attempt has made it: then it is only looked at again.
    async fn is_made(&self, number: u32, name: &TableRef) -> Result<bool, Failure> {
        Ok(self.is_done(number) && self.read(name).await?.is_some())
    }

    /// Whether what the last attempt sent was of this place.
    fn is_of(&self, place: &Place) -> bool {
        let said = |part: &str| self.held.said(Step::Stage(self.number), self.task.table, part);
        match place {
            Place::Statement(of, _, None) => said(&of.sql()),
            Place::Statement(of, _, Some(_)) => said(&of.sql()) && said("FOR SYSTEM_TIME"),
            Place::Was(of, at) => said(&of.to_string()) && said(&at.to_string()),
            Place::File(_) => false,
        }
    }

    fn is_done(&self, number: u32) -> bool {
        let key = (Step::Stage(number), Some(self.task.table.clone()));
        self.held.run().steps.get(&key).is_some_and(is_done)
    }

    async fn copy(&self, place: &Place, name: &TableRef) -> Result<Result<(), String>, Failure> {
        let (held, table, step) = (self.held, self.task.table, Step::Stage(self.number));
        let expires = later(self.api.now(), STAGED_FOR);
        let run = held.id();
        let ended = match place {
            Place::File(backup) => return self.load(self.backups, backup, name).await,
            Place::Statement(of, verb, at) => {
                let description = format!("{table} as it was at the cut of run {run}, to be looked at by bq-restore");
                let options = CopyOptions {
                    places: &[],
                    expires: Some(expires),
                    tool: held.tool(),
                    run: &run,
                    state: sql::STAGED,
                    description: &description,
                };
                let text = sql::stage(name, of, *verb, *at, &options, self.task.lives);
                held.statement(self.api, step, Some(table), self.location, &text)
                    .await?
            }
            Place::Was(from, at) => {
                let copy = Copy {
                    from,
                    at: *at,
                    to: name,
                    expires,
                };
                held.copy(self.api, step, table, self.location, &copy).await?
            }
        };
        match ended {
            Ended::Done(_) => {}
            // Of an attempt that was cut short: it is looked at like any other.
            Ended::Failed(e) if e.reason == "duplicate" => {}
            Ended::Failed(e) if is_over(&e.reason) => return Ok(Err(format!("{} ({})", e.message, e.reason))),
            Ended::Failed(e) => {
                let failure = of_job_error(&e, &format!("making {name}"), &format!("table {table}"));
                return Err(failure.about(table));
            }
            Ended::Taken(job) => return Err(taken(&job).about(table)),
        }
        Ok(Ok(()))
    }

    /// Makes an empty table of the columns and layout of the cut, and fills it with the rows of the copy.
    async fn reshape(&self, copy: &TableRef) -> Result<Result<TableRef, String>, Failure> {
        let (held, table, before) = (self.held, self.task.table, self.task.before);
        if before.is_partitioned_by_arrival() {
            let why = "which partition a row was in is lost with the table (it was partitioned by when rows came)";
            return Ok(Err(why.to_owned()));
        }
        let number = self.number + SHAPED;
        let name = self.name(number)?;
        let fill = (Step::Fill, Some(table.clone()));
        let filled = held.run().steps.get(&fill).is_some_and(is_done) && held.said(Step::Fill, table, &name.sql());
        if !filled || self.read(&name).await?.is_none() {
            let shape = before.shape(later(self.api.now(), STAGED_FOR), &sql::staged_labels(&held.id()));
            let made = self.api.insert_table(&name, &shape);
            match held
                .change(Step::Shape, table, "making of a table beside", &shape, made)
                .await?
            {
                Ok(_) => {}
                Err(e) if e.is_duplicate() => {}
                Err(e) => return Err(e.failure(&format!("making {name}")).about(table)),
            }
            let text = sql::fill(&name, copy, &before.column_names());
            match held
                .statement(self.api, Step::Fill, Some(table), self.location, &text)
                .await?
            {
                Ended::Done(_) => {}
                Ended::Failed(e) => return Ok(Err(format!("filling {name}: {} ({})", e.message, e.reason))),
                Ended::Taken(job) => return Err(taken(&job).about(table)),
            }
        }
        unstage(self.api, held, table, self.location, self.number, copy).await?;
        let differences = match self.read(&name).await? {
            Some(made) => self.differences(&made, &name, true).await?,
            None => vec!["it is gone again".to_owned()],
        };
        if differences.is_empty() {
            return Ok(Ok(name));
        }
        unstage(self.api, held, table, self.location, number, &name).await?;
        Ok(Err(differences.join(", ")))
    }

    pub(crate) async fn read(&self, name: &TableRef) -> Result<Option<Table>, Failure> {
        let read = self.api.table(name).await;
        read.map_err(|e| e.failure(&format!("reading back {name}")).about(self.task.table))
    }

    async fn rows(&self, copy: &Table, name: &TableRef) -> Result<Option<u64>, Failure> {
        let counted = Counted::new(name, AsOf::Plain, Some(&copy.meta()));
        let location = self.t.location.clone().or_else(|| copy.location());
        let counts = count::rows(self.api, &self.held.labels(), &[(counted, location)]).await?;
        Ok(counts.rows.first().copied())
    }

    /// How it differs from what the table was: in whose it is (while it carries our labels), rows, columns, layout.
    pub(crate) async fn differences(
        &self,
        copy: &Table,
        name: &TableRef,
        labelled: bool,
    ) -> Result<Vec<String>, Failure> {
        let task = self.task;
        let mut found = Vec::new();
        let foreign = labelled && copy.label(RUN_LABEL) != Some(self.held.id().as_str());
        if foreign || copy.kind() != "TABLE" {
            found.push(format!("`{name}` is there and none of ours"));
        }
        let rows = self.rows(copy, name).await?;
        if task.rows.is_some() && rows != task.rows {
            let text = |rows: Option<u64>| rows.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
            found.push(format!("{} rows, and not {}", text(rows), text(task.rows)));
        }
        // Where nobody counted at the cut, the list of tables may say how many there must be.
        if let (None, Some(records)) = (task.rows, task.planned.snapshot.records)
            && !records.holds(rows, None)
        {
            found.push(format!("its rows are not {records}, as the list of tables says"));
        }
        found.extend(unlike(task.before, &copy.meta()));
        Ok(found)
    }
}

/// How many numbers there are for the tables of one round.
pub(crate) const OF_A_ROUND: u32 = 100;

/// Numbers of tables that were shaped anew are apart from those of what they were made of.
const SHAPED: u32 = 50;

/// How a table beside a live one differs from what that was, options apart.
fn unlike(before: &TableMeta, copy: &TableMeta) -> Vec<String> {
    let columns = before.schema_differences(copy, SchemaRule::Same);
    let mut found: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let (was, is) = (before.layout(), copy.layout());
    if was != is {
        found.push(format!("partitioning or clustering: was {was}, is {is}"));
    }
    found
}

/// The name of the table beside a live one.
pub(crate) fn staged_name(table: &TableRef, run: &RunId, number: u32) -> Result<TableRef, Failure> {
    beside(table, "restoring", run, number)
}

/// Whether BigQuery's reason says that there is nothing to be had from this source; another is trouble, and not the source's.
pub(crate) fn is_over(reason: &str) -> bool {
    matches!(
        reason,
        "notFound" | "invalid" | "invalidQuery" | "badRequest" | "quotaExceeded"
    )
}

/// Whether a step was seen to end well.
pub(crate) fn is_done(progress: &Progress) -> bool {
    progress
        .outcome
        .as_ref()
        .is_some_and(|o| o.error.is_none() && !o.unknown)
}

/// Takes away every table that was made beside a table, and is not known to be gone.
pub(crate) async fn unstage_all(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    location: Option<&Location>,
) -> Result<(), Failure> {
    let numbers = beside_still(&held.run(), table);
    for number in numbers {
        let name = staged_name(table, &held.id(), number)?;
        unstage(api, held, table, location, number, &name).await?;
    }
    Ok(())
}

/// The same, unless a restore is under way: what that has made beside may be all that is left of the cut.
pub(crate) async fn unstage_own(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    location: Option<&Location>,
) -> Result<(), Failure> {
    let status = held.run().status;
    match status {
        Status::Restoring | Status::Stuck => Ok(()),
        _ => unstage_all(api, held, table, location).await,
    }
}

/// PURE: the numbers of the tables that were made beside a table, and not taken away after that.
fn beside_still(run: &Run, table: &TableRef) -> Vec<u32> {
    let of = |step| run.steps.get(&(step, Some(table.clone())));
    let shaped = of(Step::Shape).map(|progress| progress.order);
    let mut still = Vec::new();
    for ((step, of_table), made) in &run.steps {
        let Step::Stage(number) = *step else { continue };
        if of_table.as_ref() != Some(table) {
            continue;
        }
        // What was shaped anew was shaped of the copy of one of these numbers: which of them, its name tells.
        let anew = shaped.map(|since| (number + SHAPED, since));
        for (number, since) in [(number, made.order)].into_iter().chain(anew) {
            let gone = of(Step::Unstage(number)).is_some_and(|gone| is_done(gone) && gone.order >= since);
            if !gone {
                still.push(number);
            }
        }
    }
    still
}

/// Takes a table beside a live one away, if it is ours.
pub(crate) async fn unstage(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    location: Option<&Location>,
    number: u32,
    name: &TableRef,
) -> Result<(), Failure> {
    let step = Step::Unstage(number);
    let failed = |e: bqlib::api::ApiError| e.failure(&format!("reading {name}")).about(table);
    let text = sql::drop("TABLE", name);
    loop {
        let ours = api.table(name).await.map_err(failed)?;
        if ours.is_none_or(|there| there.label(RUN_LABEL) != Some(held.id().as_str())) {
            return Ok(());
        }
        // The job of an attempt whose end was lost may have dropped what was there before this was made: then it is looked at again.
        let is_lost = held.run().step(step, table).is_some_and(|p| !is_known(p));
        match held.statement(api, step, Some(table), location, &text).await? {
            Ended::Done(_) if is_lost => {}
            Ended::Done(_) => return Ok(()),
            Ended::Failed(e) => {
                return Err(of_job_error(&e, &format!("dropping {name}"), &format!("table {table}")).about(table));
            }
            Ended::Taken(job) => return Err(taken(&job).about(table)),
        }
    }
}

/// Whether it is known how a step ended.
fn is_known(progress: &Progress) -> bool {
    progress.outcome.as_ref().is_some_and(|o| !o.unknown)
}
