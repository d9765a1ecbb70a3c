//! Making sure that the migration's jobs have ended, before anything is decided by what the tables look like.

use std::collections::BTreeMap;
use std::time::Duration;

use bqlib::api::{Api, ApiError, Job, QueryJob, Sent};
use bqlib::exit::{Exit, Failure};
use bqlib::migration;
use bqlib::names::{JobId, Location, RunId};
use bqlib::perform::Held;
use bqlib::plan::restore::{Jobs, Lost};
use bqlib::record::{MigrationState, Snapshot, Statement};
use bqlib::sql::{self, FENCE_LABEL, NONCE_LABEL};
use bqlib::state::{Event, Intent, Progress, Status, Step};
use bqlib::tool::Tool;
use jiff::SignedDuration;

use crate::choose::again;

/// The jobs of the migration that BigQuery has and a journal without any has lost: a disk that lied, or an old copy of the journal. They
/// are looked for where the protected tables are, each after the one before it.
pub(crate) async fn lost_jobs(t: &Tool, api: &Api<'_>, held: &Held<'_>) -> Result<Lost, Failure> {
    from_file(t, api, held, 1).await
}

/// The jobs of the migration that BigQuery has, from the file of this number on. Each file may have run in another place.
async fn from_file(t: &Tool, api: &Api<'_>, held: &Held<'_>, first: u32) -> Result<Lost, Failure> {
    let (places, nonce) = {
        let run = held.run();
        let of_jobs = run.submitted().map(|p| p.intent.location.clone());
        let snapshots = run.tables.values().map(|p| &p.snapshot);
        (places(t, of_jobs, snapshots), run.created.nonce.clone())
    };
    files(api, &held.id(), &places, &nonce, first).await
}

/// The jobs of a run's migration that carry this nonce, from the file of this number on, in these places.
pub(crate) async fn files(
    api: &Api<'_>,
    run: &RunId,
    places: &[Option<Location>],
    nonce: &str,
    first: u32,
) -> Result<Lost, Failure> {
    let mut found = Vec::new();
    for number in first.. {
        let step = Step::Migrate(number);
        let id = JobId::of_step(run, &step.to_string(), None, 1);
        let there = api.job_in_any(&id, places.iter().map(Option::as_ref)).await;
        let Some(job) = there.map_err(|e| lost(&e))? else {
            break;
        };
        if job.is_fence() {
            break;
        }
        if nonce_of(&job) != Some(nonce) {
            return Ok(Lost::Elsewhere);
        }
        found.push(Intent {
            step,
            table: None,
            attempt: 1,
            location: job.location(),
            digest: job.digest(),
            job: Some(id),
            what: None,
        });
    }
    Ok(if found.is_empty() {
        Lost::None
    } else {
        Lost::Ours(found)
    })
}

/// The first job of a run's migration, whoever sent it.
pub(crate) async fn first_file(
    api: &Api<'_>,
    run: &RunId,
    places: &[Option<Location>],
) -> Result<Option<Job>, Failure> {
    let id = JobId::of_step(run, &Step::Migrate(1).to_string(), None, 1);
    let there = api.job_in_any(&id, places.iter().map(Option::as_ref)).await;
    Ok(there.map_err(|e| lost(&e))?.filter(|job| !job.is_fence()))
}

/// Where a run's jobs may be: where that was said, where jobs of it were, where the tables of these snapshots are.
pub(crate) fn places<'s>(
    t: &Tool,
    of_jobs: impl IntoIterator<Item = Option<Location>>,
    snapshots: impl Iterator<Item = &'s Snapshot>,
) -> Vec<Option<Location>> {
    let of_tables = snapshots.map(|s| s.meta.as_ref()?.location());
    let all = t.location.clone().map(Some).into_iter().chain(of_jobs).chain(of_tables);
    all.fold(Vec::new(), |mut places, place| {
        if !places.contains(&place) {
            places.push(place);
        }
        places
    })
}

/// Notes the files that were sent after the last one that the journal knows, if it may have lost its tail: it ends in the middle of the
/// migration.
async fn note_lost_files(t: &Tool, api: &Api<'_>, held: &Held<'_>) -> Result<(), Failure> {
    let last = {
        let run = held.run();
        match (run.status, run.submitted().last().map(|p| p.intent.step)) {
            (Status::Running, Some(Step::Migrate(last))) => last,
            _ => return Ok(()),
        }
    };
    if let Lost::Ours(jobs) = from_file(t, api, held, last + 1).await? {
        let events: Vec<Event> = jobs.into_iter().map(Event::Found).collect();
        held.note(&events).await?;
    }
    Ok(())
}

pub(crate) fn nonce_of(job: &Job) -> Option<&str> {
    job.get(&["configuration", "labels", NONCE_LABEL]).as_str()
}

/// Waits until every job of the migration has ended, cancelling those that have not; fences off those that never arrived.
///
/// # Errors
/// 9 if one has not ended within `patience`: nothing may be restored under a running migration.
pub(crate) async fn settle_jobs(t: &Tool, api: &Api<'_>, held: &Held<'_>, patience: Duration) -> Result<Jobs, Failure> {
    note_lost_files(t, api, held).await?;
    let (sent, ended) = {
        let run = held.run();
        // A job that was sent from here carries this journal's nonce; of one that a stream told of, nobody here knows the nonce.
        let nonce = |p: &Progress| p.intent.what.is_none().then(|| run.created.nonce.clone());
        let sent: Vec<(JobId, Option<Location>, Option<String>)> = run
            .submitted()
            .filter_map(|p| Some((p.intent.job.clone()?, p.intent.location.clone(), nonce(p))))
            .collect();
        let ended: BTreeMap<JobId, (MigrationState, Vec<Statement>)> = run
            .migrations
            .iter()
            .filter_map(|m| Some((m.job.clone()?, (m.state, m.statements.clone()))))
            .collect();
        (sent, ended)
    };
    let mut all = Jobs::default();
    for (id, location, nonce) in sent {
        if let Some((state, statements)) = ended.get(&id)
            && !statements.is_empty()
            // Of a job that did not end well a child may have outlived it: BigQuery is asked unless every statement has its end.
            && (*state == MigrationState::Done
                || (matches!(state, MigrationState::Failed | MigrationState::Cancelled)
                    && statements.iter().all(|s| s.ended_ms.is_some())))
        {
            // The journal has its end and what it did: BigQuery need not be asked again.
            all.any = true;
            all.statements.extend(statements.iter().cloned());
            continue;
        }
        let job = match end_of(t, api, held, &id, location.as_ref(), nonce.as_deref(), patience).await? {
            Found::Ended(job) => job,
            Found::Never => continue,
            Found::Elsewhere => {
                all.elsewhere = true;
                continue;
            }
        };
        all.any = true;
        let statements = migration::statements(api, &job, &id).await;
        all.statements
            .extend(statements.map_err(|e| e.failure("listing what the migration did"))?);
    }
    Ok(all)
}

pub(crate) fn lost(e: &ApiError) -> Failure {
    e.failure("looking for the migration's job")
}

/// What became of a job of the migration.
enum Found {
    /// It and its children have ended.
    Ended(Box<Job>),
    /// It never was, and now never will be.
    Never,
    /// Another journal's migration has its ID.
    Elsewhere,
}

/// A job of the migration once it and its children have ended.
async fn end_of(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    id: &JobId,
    location: Option<&Location>,
    nonce: Option<&str>,
    patience: Duration,
) -> Result<Found, Failure> {
    let started = t.clock.now();
    let mut told = false;
    loop {
        let found = api.job(id, location).await.map_err(|e| lost(&e))?;
        let Some(job) = found else {
            if t.dry_run {
                return Ok(Found::Never);
            }
            match fence(api, held, id, location).await? {
                true => return Ok(Found::Never),
                // It has arrived after all: look again.
                false => continue,
            }
        };
        if job.is_fence() {
            return Ok(Found::Never);
        }
        if let (Some(ours), Some(theirs)) = (nonce, nonce_of(&job))
            && ours != theirs
        {
            return Ok(Found::Elsewhere);
        }
        let mut open = !job.is_done();
        if !open && job.children() > 0 {
            let children = api
                .children(id, job.children())
                .await
                .map_err(|e| e.failure("listing what the migration did"))?;
            open = children.iter().any(|child| !child.is_done());
        }
        if !open {
            return Ok(Found::Ended(Box::new(job)));
        }
        if t.dry_run {
            let what = "the migration's job is still running";
            return Err(Failure::new(
                Exit::Busy,
                what,
                api.place(id, location).to_string(),
                "without `-n` it would be cancelled",
            )
            .of_job(id));
        }
        if t.clock.now().duration_since(started) > SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX) {
            let what = "the migration's job has not ended, although it was cancelled; nothing was restored";
            let hint = format!(
                "run the same command again, or give it more time with `--wait-job`: bq-restore --run {}",
                held.id()
            );
            return Err(Failure::new(Exit::Unknown, what, api.place(id, location).to_string(), hint).of_job(id));
        }
        if !told {
            t.tell(&format!("cancelling the migration's job {id}, and waiting for its end"));
            told = true;
        }
        api.cancel(id, location)
            .await
            .map_err(|e| e.failure("cancelling the migration's job"))?;
        t.pause(Duration::from_secs(1), &again(&held.id())).await?;
    }
}

/// Takes the ID of a migration's job that is not there. A request that is still under way would else begin the migration after its
/// rollback; with its ID taken, BigQuery refuses it. False: it arrived first.
async fn fence(api: &Api<'_>, held: &Held<'_>, id: &JobId, location: Option<&Location>) -> Result<bool, Failure> {
    let mut labels = sql::labels(held.tool(), Some(&held.id()));
    labels.insert(FENCE_LABEL.to_owned(), "taken".to_owned());
    let job = QueryJob::plain(
        id.clone(),
        location.cloned(),
        "SELECT 'this run was abandoned'".to_owned(),
        labels,
    );
    match api.submit(&job).await {
        Ok(Sent::Ours(_)) => Ok(true),
        Ok(Sent::Another(_)) => Ok(false),
        Err(e) => Err(e.failure("making sure that the migration can no longer begin")),
    }
}
