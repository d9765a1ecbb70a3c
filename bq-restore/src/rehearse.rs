//! `--rehearse`: a drill of a rollback. Every table is made again as a scratch table, in the way in which the real restore would make it,
//! compared, timed and dropped. No live table is touched, and the run stays what it is.
//!
//! What a rehearsal that dies leaves behind is dropped by the next one of the run, or dies within the hour.

use std::time::Duration;

use bqlib::api::Api;
use bqlib::exit::{Exit, Failure};
use bqlib::names::RunId;
use bqlib::perform::at_a_time;
use bqlib::plan::beside::{self as plan, Measured, Place, Target};
use bqlib::plan::restore::Request;
use bqlib::record::{Record, Restore};
use bqlib::runs;
use bqlib::sql;
use bqlib::state::Step;
use bqlib::tool::Tool;

use crate::backup::Backups;
use crate::beside::{Aside, Making, Purpose, in_ms, not_taken, open, parted, record, sum_up, tables, would};
use crate::extras::Beyond;
use crate::rollback::{Known, task};
use crate::stage::{unstage, unstage_own};

/// A scratch table.
const TO_DROP: Purpose = Purpose {
    step: Step::Rehearse,
    state: sql::REHEARSAL,
    lives: Duration::from_secs(3600),
};

/// Rehearses the run that is named, or the newest that can be.
pub(crate) async fn rehearse(t: &Tool, request: &Request, place: &Place) -> Result<Exit, Failure> {
    let run = which(t)?;
    let api = t.api().await?;
    let aside = open(t, &api, &run, request, place, &format!("_rehearsal_{run}")).await?;
    not_taken(&aside, sql::REHEARSAL)?;
    if t.dry_run {
        return would(t, &aside);
    }
    let began = t.clock.elapsed();
    let jobs = t.jobs.clamp(1, 100);
    let results = at_a_time(jobs, &aside.targets, async |target: &Target| {
        one(t, &api, &aside, target).await
    })
    .await;
    let (made, failed) = parted(results);
    let (mut made, measured): (Vec<Restore>, Vec<Measured>) = made.into_iter().unzip();
    made.sort_by(|a, b| a.table.cmp(&b.table));
    for restore in made {
        let _ = t.out.write(&Record::Restore(restore));
    }
    let until = aside.held.run().expires();
    let until = until.map_or_else(String::new, |until| format!(" until {until}"));
    let count = aside.targets.len();
    let Some(worst) = failed.iter().map(|failure| failure.exit).reduce(Exit::or_graver) else {
        t.tell(&format!(
            "run {run} could be rolled back{until}: {} in about {} (rehearsed in {}, {jobs} at a time; added: a copy of what is there)",
            tables(count),
            seconds(plan::would_take(&measured, jobs)),
            seconds(in_ms(t.clock.elapsed().saturating_sub(began))),
        ));
        return Ok(Exit::Ok);
    };
    let exit = t.stopped_by().map_or(worst, Exit::Signal);
    let (all, bad) = (tables(count), failed.len());
    let what = match exit {
        Exit::Refused => format!("run `{run}` could not be rolled back: of {all}, {bad} cannot be made again"),
        _ => format!("run `{run}` was not rehearsed to the end: of {all}, {bad} were not made again"),
    };
    let hint = format!(
        "the snapshots that are there live{until}: bq-restore --run {run} --to-dataset DATASET saves what can be had"
    );
    Err(sum_up(t, failed, &what, &format!("run {run}"), &hint).with_exit(exit))
}

/// The run to rehearse: the one named, or the newest that is accepted or pending and can still be rolled back.
fn which(t: &Tool) -> Result<RunId, Failure> {
    let (known, troubles) = runs::known(t)?;
    for trouble in &troubles {
        t.warn(trouble);
    }
    let is_known = |run: &RunId| known.iter().any(|one| one.created.run == *run);
    let what = match t.asked_run() {
        Some(run) if is_known(run) => return Ok(run.clone()),
        Some(run) => format!("there is no run `{run}`: nothing was ever begun under this ID"),
        None => match plan::newest(&known, t.clock.now()) {
            Some(run) => return Ok(run.clone()),
            None => {
                "there is nothing to rehearse: no run is pending, or accepted with snapshots that still live".to_owned()
            }
        },
    };
    let hint = "`bq-restore --list` shows the runs; `bq-snap --expires` says how long snapshots outlive their run";
    Err(Failure::new(Exit::No, what, runs::state_dir(t), hint))
}

/// Makes one scratch table, compares it and drops it: its record, and how long it took.
async fn one(t: &Tool, api: &Api<'_>, aside: &Aside<'_>, target: &Target) -> Result<(Restore, Measured), Failure> {
    let held = &aside.held;
    let planned = plan::planned(&held.run(), &target.snapshot, &aside.seen);
    let backups = Backups::none(t);
    let known = Known {
        seen: &aside.seen,
        beyond: &Beyond::default(),
        backups: &backups,
        round: held.run().round,
    };
    let task = task(api, held, &planned, &known)?;
    t.go_on("no live table was touched")?;
    let location = task.location(t);
    let location = location.as_ref();
    if aside.seen.tables.get(&target.to).is_some_and(Option::is_some) {
        unstage(api, held, &target.to, location, 1, &target.to).await?;
    }
    let making = Making {
        t,
        backups: &backups,
        api,
        held,
        task: &task,
        to: &target.to,
        purpose: TO_DROP,
        location,
    };
    let began = t.clock.elapsed();
    let made = making.make().await;
    let whole = in_ms(t.clock.elapsed().saturating_sub(began));
    // Whatever came of it, nothing is left behind.
    let dropped = unstage(api, held, &target.to, location, 1, &target.to).await;
    let cleared = unstage_own(api, held, task.table, location).await;
    let made = made?;
    dropped.and(cleared)?;
    if !made.differences.is_empty() {
        let table = task.table;
        let what = format!(
            "`{table}`, made again, differs from the cut: {}",
            made.differences.join("; ")
        );
        let hint = "a person should look at its snapshot";
        return Err(Failure::refused(what, format!("table {table}"), hint).about(table));
    }
    let measured = Measured {
        whole,
        statement: made.statement_ms,
    };
    let restore = Restore {
        from: made.from,
        source: Some(made.source),
        ms: Some(whole),
        ..record(aside, target, &planned)
    };
    Ok((restore, measured))
}

/// A time for people; what is measured by a second is at least one.
fn seconds(ms: u64) -> String {
    format!("{} s", ms.div_ceil(1000).max(1))
}
