//! Taking a run ID: its journal here, and, by the job that takes the cut, in the project.

use std::collections::BTreeSet;
use std::time::Duration;

use bqlib::api::Api;
use bqlib::clock::{from_millis, millis};
use bqlib::exit::{Exit, Failure};
use bqlib::journal;
use bqlib::names::RunId;
use bqlib::perform::{Ended, Held, of_job_error, of_journal, taken};
use bqlib::runs;
use bqlib::sql::{self};
use bqlib::state::{Event, Status, Step};
use bqlib::tool::Tool;
use jiff::{SignedDuration, Timestamp};

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

/// A run ID that was ever submitted is never used again (4).
pub(crate) fn not_submitted(run: &bqlib::state::Run) -> Result<(), Failure> {
    let id = &run.created.run;
    if run.was_submitted() || !matches!(run.status, Status::Snapping | Status::Protected) {
        let what = format!("run `{id}` is {}: its ID is never used again", run.status);
        return Err(Failure::refused(
            what,
            format!("run {id}"),
            "leave `--run` and SNAPSHOT_SUFFIX out, or name a new run",
        ));
    }
    Ok(())
}

/// Takes the run ID: its journal here, and, by the job that takes the cut, in the project. A generated ID that is taken gives way to
/// the next second; one that was asked for and is taken is refused (4).
pub(crate) async fn claim<'t>(
    t: &'t Tool,
    api: &Api<'_>,
    asked: Option<RunId>,
    first_id: RunId,
    mut planned: Vec<Planned>,
    keep: Option<Duration>,
) -> Result<(Held<'t>, Timestamp, Vec<Planned>), Failure> {
    let location = t
        .location
        .clone()
        .or_else(|| planned.first().and_then(|p| p.location.clone()));
    let mut run = first_id;
    for bump in 1.. {
        for one in &mut planned {
            one.snapshot = snapshot_name(&one.table, &run, one.apart.as_ref())?;
        }
        let created = runs::created(t, &run, api.project(), false, keep_ms(keep));
        let pre_images = planned.iter().map(|p| Event::Table(p.record(&run, keep)));
        let held = match Held::create(t, &run, [created].into_iter().chain(pre_images).collect()) {
            Ok(held) => held,
            Err(journal::Error::Exists(_)) if asked.is_some() => take_up(t, api, &run, &planned).await?,
            Err(journal::Error::Exists(_)) => {
                run = generated(api, bump);
                continue;
            }
            Err(e) => return Err(of_journal(&e)),
        };
        if t.dry_run {
            let now = from_millis(millis(api.now()));
            held.note(&[Event::Cut { cut: now }]).await?;
            return Ok((held, now, planned));
        }
        let already = held.run().cut;
        if let Some(cut) = already {
            unchanged_since(&run, cut, &planned)?;
            return Ok((held, cut, planned));
        }
        match held
            .statement(api, Step::Cut, None, location.as_ref(), sql::CUT)
            .await?
        {
            Ended::Done(job) => {
                let cut = read_cut(api, &job).await?;
                held.note(&[Event::Cut { cut }]).await?;
                unchanged_since(&run, cut, &planned)?;
                return Ok((held, cut, planned));
            }
            Ended::Failed(e) => return Err(of_job_error(&e, "taking the cut", "job of the cut")),
            Ended::Taken(job) => {
                held.note(&[Event::Abandoned]).await?;
                if asked.is_some() {
                    return Err(taken(&job));
                }
                run = generated(api, bump);
            }
        }
    }
    Err(Failure::refused(
        "no run ID is free",
        "generated run IDs",
        "name one with `--run`",
    ))
}

pub(crate) async fn read_cut(api: &Api<'_>, job: &bqlib::api::Job) -> Result<Timestamp, Failure> {
    let lacking = || {
        Failure::new(
            Exit::Retry,
            "BigQuery's answer holds no cut",
            "job of the cut",
            "run the same command again",
        )
    };
    let id = job.id().ok_or_else(lacking)?;
    let rows = api
        .rows(&id, job.location().as_ref(), None)
        .await
        .map_err(|e| e.failure("taking the cut").of_job(&id))?;
    let ms = rows
        .first()
        .and_then(|row| row.get("cut"))
        .and_then(bqlib::meta::integer);
    ms.map(from_millis).ok_or_else(lacking)
}

/// Refuses (4) a cut that a table has changed since: the pre-image that was just read is not that of the cut. A cut may be an old one,
/// taken by an earlier attempt that died before it could write it down.
fn unchanged_since(run: &RunId, cut: Timestamp, planned: &[Planned]) -> Result<(), Failure> {
    match planned.iter().find(|p| p.found.modified_ms() >= millis(cut)) {
        None => Ok(()),
        Some(changed) => {
            let what = format!("`{}` has changed since the cut of run `{run}`", changed.table);
            Err(
                Failure::refused(what, format!("run {run}"), "name a new run, or leave `--run` out")
                    .about(&changed.table),
            )
        }
    }
}

/// Takes up a run that was never submitted: the same tables, unchanged since its cut.
pub(crate) async fn take_up<'t>(
    t: &'t Tool,
    api: &Api<'_>,
    run: &RunId,
    planned: &[Planned],
) -> Result<Held<'t>, Failure> {
    let held = Held::open(t, run).await?;
    {
        let state = held.run();
        not_submitted(&state)?;
        runs::same_home(
            t,
            run,
            &state.created.endpoint,
            Some(&state.created.project),
            api.project(),
        )?;
        let refuse = |what: String| {
            Err(Failure::refused(
                what,
                format!("run {run}"),
                "name a new run, or leave `--run` out",
            ))
        };
        let ours: BTreeSet<_> = planned.iter().map(|p| (&p.table, Some(&p.snapshot))).collect();
        let theirs: BTreeSet<_> = state
            .tables
            .values()
            .map(|p| (&p.snapshot.table, p.snapshot.snapshot.as_ref()))
            .collect();
        if ours != theirs && !theirs.is_empty() {
            return refuse(format!("run `{run}` was begun over other tables"));
        }
    }
    Ok(held)
}
