//! Taking a run ID: its journal here, and, by the job that takes the cut, in the project.

use std::collections::BTreeSet;
use std::time::Duration;

use bqlib::api::Api;
use bqlib::clock::{from_millis, millis};
use bqlib::exit::{Exit, Failure};
use bqlib::journal;
use bqlib::names::{JobId, Location, RunId, TableRef};
use bqlib::perform::{Ended, Held, of_job_error, of_journal, taken};
use bqlib::plan::snapshot::{Next, plan};
use bqlib::runs;
use bqlib::sql::{self};
use bqlib::state::{Event, Step};
use bqlib::tool::Tool;
use jiff::{SignedDuration, Timestamp};

use crate::absent::Absent;
use crate::planning::{Planned, keep_ms, snapshot_name};

/// A run ID of the instant, `bump` seconds later.
pub(crate) fn generated(api: &Api<'_>, bump: i64) -> RunId {
    let at = api
        .now()
        .checked_add(SignedDuration::from_secs(bump))
        .unwrap_or_else(|_| api.now());
    let text = at.strftime("%Y%m%d_%H%M%S").to_string();
    // Digits and an underscore: always a run ID. Were it not, the epoch would be one that is taken at once.
    text.parse().unwrap_or_else(|_| generated(api, bump + 1))
}

/// A run whose cut is taken.
pub(crate) struct Claimed<'t> {
    pub(crate) held: Held<'t>,
    pub(crate) cut: Timestamp,
    /// The tables whose snapshots are still to be made.
    pub(crate) make: BTreeSet<TableRef>,
    pub(crate) planned: Vec<Planned>,
    pub(crate) absent: Vec<Absent>,
}

/// Takes the run ID: its journal here, and, by the job that takes the cut, in the project. A generated ID that is taken gives way to
/// the next second; one that was asked for and is taken is refused (4).
pub(crate) async fn claim<'t>(
    t: &'t Tool,
    api: &Api<'_>,
    asked: Option<RunId>,
    first_id: RunId,
    mut planned: Vec<Planned>,
    absent: Vec<Absent>,
    keep: Option<Duration>,
) -> Result<Claimed<'t>, Failure> {
    let mut run = first_id;
    for bump in 1.. {
        for one in &mut planned {
            one.snapshot = snapshot_name(&one.table, &run, one.apart.as_ref())?;
        }
        let created = runs::created(t, &run, api.project(), false, keep_ms(keep));
        let there = planned.iter().map(|p| p.record(&run, keep));
        let all = there.chain(absent.iter().map(|a| a.record(&run, keep)));
        let events = [created].into_iter().chain(all.map(Event::Table));
        let held = match Held::create(t, &run, events.collect()) {
            Ok(held) => Some(held),
            Err(journal::Error::Exists(_)) if asked.is_some() => Some(reopen(t, api, &run).await?),
            Err(journal::Error::Exists(_)) => None,
            Err(e) => return Err(of_journal(&e)),
        };
        if let Some(held) = held {
            match pursue(t, api, &held, &planned, &absent).await? {
                Ok((cut, make)) => {
                    return Ok(Claimed {
                        held,
                        cut,
                        make,
                        planned,
                        absent,
                    });
                }
                Err(job) if asked.is_some() => return Err(taken(&job)),
                Err(_) => {}
            }
        }
        run = generated(api, bump);
    }
    Err(Failure::refused(
        "no run ID is free",
        "generated run IDs",
        "name one with `--run`",
    ))
}

/// A journal that is there already, held.
async fn reopen<'t>(t: &'t Tool, api: &Api<'_>, run: &RunId) -> Result<Held<'t>, Failure> {
    let held = Held::open(t, run).await?;
    let created = held.run().created.clone();
    runs::same_home(t, run, &created.endpoint, Some(&created.project), api.project())?;
    Ok(held)
}

/// The run's cut, and the snapshots still to be made; or the job of another run that has its ID.
async fn pursue(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    planned: &[Planned],
    absent: &[Absent],
) -> Result<Result<(Timestamp, BTreeSet<TableRef>), JobId>, Failure> {
    let facts = planned.iter().map(|p| (&p.table, p.found.modified_ms())).collect();
    let there = planned.iter().map(|p| (&p.table, Some(&p.snapshot)));
    let request = there.chain(absent.iter().map(|a| (&a.table, None))).collect();
    loop {
        let next = plan(&held.run(), &facts, &request);
        match next {
            Next::TakeCut if t.dry_run => {
                let cut = from_millis(millis(api.now()));
                held.note(&[Event::Cut { cut }]).await?;
                return Ok(Ok((cut, BTreeSet::new())));
            }
            Next::TakeCut => {
                let first = planned.first().and_then(|p| p.location.as_ref());
                let first = first.or_else(|| absent.first()?.location.as_ref());
                if let Some(job) = take_cut(t, api, held, first).await? {
                    return Ok(Err(job));
                }
            }
            Next::Protect { cut, make } => return Ok(Ok((cut, make))),
            Next::Refuse(failure) => return Err(failure),
        }
    }
}

/// Takes the cut; or says which job of another run has its ID, this one being abandoned.
async fn take_cut(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    first: Option<&Location>,
) -> Result<Option<JobId>, Failure> {
    let location = t.location.as_ref().or(first);
    match held.statement(api, Step::Cut, None, location, sql::CUT).await? {
        Ended::Done(job) => {
            let cut = read_cut(api, &job).await?;
            held.note(&[Event::Cut { cut }]).await?;
            Ok(None)
        }
        Ended::Failed(e) => Err(of_job_error(&e, "taking the cut", "job of the cut")),
        Ended::Taken(job) => {
            held.note(&[Event::Abandoned]).await?;
            Ok(Some(job))
        }
    }
}

async fn read_cut(api: &Api<'_>, job: &bqlib::api::Job) -> Result<Timestamp, Failure> {
    let lacking = || {
        Failure::new(
            Exit::Retry,
            "BigQuery's answer holds no cut",
            "job of the cut",
            "run the same command again",
        )
    };
    let cut = |row: &serde_json::Map<String, serde_json::Value>| row.get("cut").and_then(bqlib::meta::integer);
    let ms = match job.first_row() {
        Some(row) => cut(row),
        None => {
            let id = job.id().ok_or_else(lacking)?;
            let rows = api.rows(&id, job.location().as_ref(), None).await;
            rows.map_err(|e| e.failure("taking the cut"))?.first().and_then(cut)
        }
    };
    ms.map(from_millis).ok_or_else(lacking)
}
