//! Submitting the files, once each, and learning how each of them ended.

use std::time::Duration;

use bqlib::api::{Api, Job, JobError, QueryJob};
use bqlib::exit::{Exit, Failure};
use bqlib::failing::failing;
use bqlib::journal;
use bqlib::migration;
use bqlib::names::{JobId, Location, RunId, TableRef};
use bqlib::perform::{Ended, Held, of_job_error};
use bqlib::plan::run::{Facts, Look, Next, Request, has_changed, plan};
use bqlib::record::{Migration, MigrationState, Record, Snapshot};
use bqlib::rivals;
use bqlib::runs;
use bqlib::source::Source;
use bqlib::sql::Labels;
use bqlib::state::{Event, Run, Status, Step};
use bqlib::tool::Tool;
use jiff::Timestamp;

use crate::foresight::{Foresight, foresee, query_job, record_of, unforeseen, write_plans};
use crate::progress::follow;
use crate::{Setting, blame, look};

/// Submits the files as `plan` says, one after the other, until one does not end well. `snapshots`: what the stream protects.
pub(crate) async fn migrate(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    setting: &Setting,
    location: Option<Location>,
    request: &Request,
    snapshots: &[Snapshot],
) -> Result<Exit, Failure> {
    let of = (snapshots, held.run().created.unprotected);
    let foresight = foresee(t, api, &held.labels(), setting, location.as_ref(), of).await?;
    if t.dry_run || foresight.refused.is_some() {
        let written = write_plans(t, &held.id(), setting, &foresight);
        // Why nothing is run counts for more than that nobody reads what would be.
        return match foresight.refused {
            Some(refused) => Err(refused),
            None => written.map(|()| Exit::Ok),
        };
    }
    let places = places(t, api, &held.labels(), setting, location, snapshots, &foresight.places).await?;
    let first = places.first().and_then(Option::as_ref);
    let (mut until, mut there, mut sent, mut bad) = (None, None, 0, None);
    let end = loop {
        let look = there.as_ref().map(|there| Look {
            snapshots,
            there,
            now: api.now(),
            made: true,
        });
        let facts = Facts {
            look,
            sent,
            bad: bad.as_ref(),
        };
        let next = plan(&held.run(), &facts, request);
        match next {
            // Announced first: what another run did until then is seen, and after it no other begins.
            Next::Look => {
                wanted(t)?;
                until = Some(clear_the_way(t, api, held, first).await?);
                there = Some(look::before(t, api, snapshots, true).await?);
            }
            Next::Submit { file, changed } => {
                if file == 1 {
                    ready(t, api, held, until, changed).await?;
                }
                bad = send(
                    t,
                    api,
                    held,
                    (setting, &foresight),
                    file,
                    places[file as usize - 1].clone(),
                    until.take(),
                )
                .await?;
                bad = bad.or_else(|| interrupted(t, &held.id(), file == request.files));
                sent = file;
            }
            Next::End(event) => break Some(*event),
            Next::Nothing => break None,
            Next::Refuse(failure) => return Err(failure),
        }
    };
    if !matches!(end, Some(Event::Abandoned)) {
        for source in &setting.sources[sent as usize..] {
            let mut record = record_of(&held.id(), setting, source, MigrationState::Refused);
            record.error = Some("an earlier file did not end well".to_owned());
            t.out.write(&Record::Migration(record)).or_else(reader_may_be_gone)?;
        }
        // If the SQL failed, that is what the caller should read; bq-restore does without this look.
        if end.is_some() && !held.run().created.unprotected {
            let looked = look::after(t, api, held).await;
            if bad.is_none() {
                looked?;
            }
        }
    }
    if let Some(event) = end {
        held.note(&[event]).await?;
    }
    match bad {
        Some(failure) => Err(failure),
        None if t.out.reader_is_gone() => Err(gone("the reader went away; the migration had ended", &held.id())),
        None => match t.stopped_by() {
            Some(signal) => Err(Failure::new(
                Exit::Signal(signal),
                "stopped by a signal; the migration had ended",
                "bq-run",
                restore(&held.id()),
            )),
            None => Ok(Exit::Ok),
        },
    }
}

/// Where each file runs: where that was said, where all protected tables are, or where BigQuery finds the tables that the file names.
///
/// It must be known before a file is sent: a job whose answer is lost is looked up in its place, and outside US and EU nowhere else.
///
/// # Errors
/// The tables are in several places, and BigQuery does not say in which of them a file runs (2).
pub(crate) async fn places(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    setting: &Setting,
    location: Option<Location>,
    snapshots: &[Snapshot],
    told: &[Option<Location>],
) -> Result<Vec<Option<Location>>, Failure> {
    if location.is_some() {
        return Ok(vec![location; setting.sources.len()]);
    }
    let mut places = Vec::new();
    for (i, source) in setting.sources.iter().enumerate() {
        let name = &source.name;
        let found = match told.get(i) {
            Some(told) => told.clone(),
            // Not asked about; where it runs must be known all the same.
            None => {
                let job = query_job(labels.clone(), setting, source, look::dry_run_id(api)?, None);
                match api.dry_run(&job).await {
                    Ok(plan) => plan.location(),
                    Err(e) if e.exit() == Exit::Refused => None,
                    Err(e) => return Err(e.failure(&format!("asking where {name} runs"))),
                }
            }
        };
        if found.is_none() && !snapshots.is_empty() {
            let what = format!(
                "{name}: the protected tables are in no single known location, and where it runs cannot be told"
            );
            let hint = "say where with `--location`, or make a line for each location; nothing was submitted";
            return Err(Failure::usage(what, name, hint));
        }
        if let (true, Some(found)) = (t.verbose, &found) {
            t.tell(&format!("{name}: runs in {found}"));
        }
        places.push(found);
    }
    Ok(places)
}

/// Makes sure that no other run over these tables is submitted, or about to be. Returns until when this one may be.
async fn clear_the_way(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    location: Option<&Location>,
) -> Result<Timestamp, Failure> {
    // What ended here has ended, also if its snapshots could not be told so; and one that nobody holds, and that was not submitted, must
    // announce anew. But an ID that was given up here may be another machine's.
    let harmless = |run: &Run| match run.status {
        Status::Accepted | Status::RolledBack => true,
        Status::Snapping | Status::Protected => !journal::is_held(&t.state_dir, &run.created.run),
        _ => false,
    };
    let known = || {
        let known = runs::known(t)?.0;
        let harmless = known.iter().filter(|run| harmless(run));
        let harmless = harmless.map(|run| run.created.run.clone()).collect();
        Ok((known, harmless))
    };
    rivals::clear_the_way(api, held, location, known).await
}

/// The last moment before the first file.
async fn ready(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    until: Option<Timestamp>,
    changed: Vec<TableRef>,
) -> Result<(), Failure> {
    for table in &changed {
        let absent = held.run().tables.get(table).is_some_and(|p| p.snapshot.absent);
        t.warn(&has_changed(table, absent));
    }
    if !changed.is_empty() {
        held.note(&[Event::Changed { tables: changed }]).await?;
    }
    wanted(t)?;
    if !held.run().created.unprotected {
        runs::write_vars(t, &held.id(), true, &[("MIGRATION_START", api.now().to_string())]);
    }
    if until.is_some_and(|until| api.now() > until) {
        let what = "too long after it was announced to other runs";
        let hint = "nothing was submitted; run the same line again";
        return Err(Failure::refused(what, format!("run {}", held.id()), hint));
    }
    Ok(())
}

/// Whether the migration is still wanted: nobody has asked to stop, and somebody reads what becomes of it.
fn wanted(t: &Tool) -> Result<(), Failure> {
    t.go_on("nothing was submitted; run the same line again")?;
    if !t.out.look_for_reader() {
        let hint = "nothing was submitted; look at the program after this one";
        return Err(Failure::new(Exit::Upstream, "the reader went away", "stdout", hint));
    }
    Ok(())
}

/// Sends a file, journals and tells how it ended, and says why it did not end well.
async fn send(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    (setting, foresight): (&Setting, &Foresight),
    number: u32,
    location: Option<Location>,
    until: Option<Timestamp>,
) -> Result<Option<Failure>, Failure> {
    let source = &setting.sources[number as usize - 1];
    let id = JobId::of_step(&held.id(), &Step::Migrate(number).to_string(), None, 1);
    let mut job = query_job(held.labels(), setting, source, id.clone(), location.clone());
    job.until = until;
    let mut record = record_of(&held.id(), setting, source, MigrationState::Refused);
    record.job = Some(id.clone());
    record.location = location;
    record.foreseen = foresight.files.get(number as usize - 1).cloned().map(Box::new);
    let ended = submit(t, api, held, number, source, &job).await;
    let mut failure = settle_record(api, &mut record, ended, &id, source).await;
    record.unforeseen = unforeseen(&record, foresight, number as usize - 1);
    for table in &record.unforeseen {
        let what = format!("{}: `{table}` was written, and no statement of it says so", source.name);
        let hint = "look at what it calls; bq-check fails if the table existed before and was not allowed";
        t.warn(&Failure::new(Exit::Ok, what, format!("job {id}"), hint).about(table));
    }
    if record.state == MigrationState::Cancelled {
        failure = failure.map(|failure| of_our_doing(t, &held.id(), failure));
    }
    if record.state != MigrationState::Unknown {
        held.note(&[Event::Ended(record.clone())]).await?;
    }
    t.out.write(&Record::Migration(record)).or_else(reader_may_be_gone)?;
    Ok(failure)
}

pub(crate) fn restore(run: &RunId) -> String {
    format!("bq-restore --run {run}")
}

pub(crate) fn gone(what: &str, run: &RunId) -> Failure {
    Failure::new(Exit::Upstream, what, format!("run {run}"), restore(run))
}

/// A job that ended because it was cancelled from here did not fail: the program ends by what made it cancel.
fn of_our_doing(t: &Tool, run: &RunId, failure: Failure) -> Failure {
    let (exit, why) = match t.stopped_by() {
        Some(signal) => (Exit::Signal(signal), "stopped by a signal"),
        None if t.out.reader_is_gone() => (Exit::Upstream, "the reader went away"),
        None => return failure,
    };
    Failure {
        what: format!("{why}; the migration was cancelled"),
        hint: restore(run),
        ..failure.with_exit(exit)
    }
}

/// Once the migration is under way the journal matters, not the reader: a record nobody reads must not stop it from being written.
pub(crate) fn reader_may_be_gone(failure: Failure) -> Result<(), Failure> {
    if failure.exit == Exit::Upstream {
        Ok(())
    } else {
        Err(failure)
    }
}

/// Why no further file is begun, if there is one and somebody wants the program to stop.
pub(crate) fn interrupted(t: &Tool, run: &RunId, last: bool) -> Option<Failure> {
    if last {
        return None;
    }
    if let Some(signal) = t.stopped_by() {
        return Some(Failure::new(
            Exit::Signal(signal),
            "stopped by a signal between two files",
            "bq-run",
            restore(run),
        ));
    }
    (!t.out.look_for_reader()).then(|| gone("the reader went away between two files", run))
}

/// Sends one file and waits for its end; on a signal, or when the reader goes away, cancels the job and still waits for its end.
pub(crate) async fn submit(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    number: u32,
    source: &Source,
    job: &QueryJob,
) -> Result<Ended, Failure> {
    let mut migrating = std::pin::pin!(held.migrate(api, number, job));
    let stop = async {
        tokio::select! {
            _ = t.stop_signal() => {}
            () = reader_goes(t) => {}
            never = follow(t, api, source, &job.id) => match never {},
        }
    };
    tokio::select! {
        ended = &mut migrating => return ended,
        () = stop => {}
    }
    t.tell("cancelling the migration's job, and waiting for its end");
    loop {
        // The job may not be there yet, or BigQuery may not hear it at once: it is asked again until the job has ended.
        let ask = async {
            if let Err(e) = api.cancel(&job.id, job.location.as_ref()).await
                && t.verbose
            {
                t.tell(&format!("cancelling: {e}"));
            }
            t.clock.sleep(Duration::from_secs(5)).await;
        };
        tokio::select! {
            ended = &mut migrating => return ended,
            () = ask => {}
        }
    }
}

/// Returns when nobody reads standard output any more.
pub(crate) async fn reader_goes(t: &Tool) {
    while t.out.look_for_reader() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Writes into the record how the file ended, and says why it did not end well.
pub(crate) async fn settle_record(
    api: &Api<'_>,
    record: &mut Migration,
    ended: Result<Ended, Failure>,
    id: &JobId,
    source: &Source,
) -> Option<Failure> {
    // What its reason means is told; that its job is not to be sent again is ours to know.
    let failed = |e: &JobError| {
        let failure = of_job_error(e, &source.name, &format!("job {id}"));
        let exit = match failure.exit {
            Exit::Denied => Exit::Denied,
            _ => Exit::No,
        };
        let hint = "bq-restore puts the tables back".to_owned();
        Failure { exit, hint, ..failure }
    };
    match ended {
        Ok(Ended::Done(job)) => {
            record.state = MigrationState::Done;
            describe(api, record, &job, id).await.err()
        }
        Ok(Ended::Failed(e)) => {
            record.state = if e.reason == "stopped" {
                MigrationState::Cancelled
            } else {
                MigrationState::Failed
            };
            record.error = Some(format!("{} ({})", source.in_file(&e.message), e.reason));
            // What the statements before the failing one did stands: it is told as far as it can be learned.
            let mut children = Vec::new();
            if let Ok(Some(job)) = api.job(id, record.location.as_ref()).await {
                match describe(api, record, &job, id).await {
                    Ok(listed) => children = listed,
                    Err(failure) => return Some(failure),
                }
            }
            Some(match failing(&source.sql, &source.statements, &e, &children) {
                Some(found) if record.state == MigrationState::Failed => {
                    record.error = Some(blame::in_record(source, &e, &found));
                    blame::located(source, failed(&e), &e, &found)
                }
                _ => failed(&e),
            })
        }
        Ok(Ended::Taken(job)) => {
            record.state = MigrationState::Refused;
            record.job = None;
            let failure = bqlib::perform::taken(&job);
            record.error = Some(failure.what.clone());
            Some(failure)
        }
        Err(failure) => {
            record.state = match failure.exit {
                Exit::Unknown => MigrationState::Unknown,
                _ => MigrationState::Failed,
            };
            record.error = Some(failure.what.clone());
            Some(failure)
        }
    }
}

/// Statistics and statements of a job that has ended; its children.
pub(crate) async fn describe(
    api: &Api<'_>,
    record: &mut Migration,
    job: &Job,
    id: &JobId,
) -> Result<Vec<Job>, Failure> {
    record.location = job.location().or(record.location.take());
    record.bytes_billed = job.bytes_billed();
    record.slot_ms = job.slot_ms();
    record.ms = job.ms();
    let children = migration::children(api, job, id).await;
    let children = children.map_err(|e| e.failure("listing what the migration did"))?;
    record.statements = migration::statements_of(job, &children);
    Ok(children)
}
