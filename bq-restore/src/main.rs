//! bq-restore: puts back. What it does follows from the journal and from what BigQuery says, never from a guess.

mod backup;
mod beside;
mod choose;
mod clear;
mod extras;
mod finality;
mod given;
mod keep;
mod lost;
mod options;
mod policies;
mod put_back;
mod rehearse;
mod rollback;
mod salvage;
mod seen;
mod stage;
mod unprotected;
mod writers;

use std::process::ExitCode;
use std::time::Duration;

use bqlib::api::Api;
use bqlib::clock::parse_duration;
use bqlib::deadline;
use bqlib::exit::{Exit, Failure};
use bqlib::names::{RunId, TableRef};
use bqlib::perform::Held;
use bqlib::plan::restore::{Facts, Jobs, Next, Request, has_snapshots, plan};
use bqlib::runs::{self, write_vars};
use bqlib::state::{Event, RestoreEnd, Run, Status};
use bqlib::tables::Which;
use bqlib::tool::{self, Tool};
use clap::Parser;

use choose::{choose, in_hand, in_hand_if_known};
use rollback::{roll_back, stop};
use seen::{compare_again, replaced_at, see};

/// Put every protected table of a run back as it was at the cut, and compare it with the cut
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///
/// The run is --run, SNAPSHOT_SUFFIX, or the one pending run of the state directory. Standard input is read for `-` only.
/// Exit 10 says that the tables equal the cut and the migration was not accepted: `|| bq-restore` does not turn a failure green.
#[derive(Parser)]
#[command(name = "bq-restore", version, verbatim_doc_comment)]
struct Args {
    #[command(flatten)]
    lost: lost::Flags,
    /// Only this table of the run; the run stays pending; repeatable
    #[arg(long, value_name = "TABLE")]
    only: Vec<String>,
    /// All tables of the run but this one; the run stays pending; repeatable
    #[arg(long, value_name = "TABLE", conflicts_with = "only")]
    except: Vec<String>,
    /// Make every table beside the live one first, and touch no live one before all of those are as they should be
    #[arg(long)]
    stage: bool,
    /// Put back what the rollback of the run named by --run had replaced
    #[arg(long, conflicts_with_all = ["only", "except", "even_accepted", "stage", "clear", "pending"])]
    undo: bool,
    /// Empty this table outside the run's protected set, after keeping a copy and once the others are back; --undo fills it again; repeatable
    #[arg(long, value_name = "TABLE")]
    clear: Vec<String>,
    /// Restore this table although others have written to it since the cut: their changes are only in the copy that is kept; repeatable
    #[arg(long, value_name = "TABLE")]
    discard_foreign: Vec<String>,
    #[command(flatten)]
    salvage: salvage::Flags,
    /// Roll back the run named by --run although it was accepted
    #[arg(long)]
    even_accepted: bool,
    /// Settle every pending run of the state directory, newest first (for @reboot lines and CI's always-steps)
    #[arg(long, conflicts_with_all = ["only", "except", "even_accepted", "discard_foreign", "clear"])]
    pending: bool,
    /// How long a cancelled migration is waited for
    #[arg(long, value_name = "D", default_value = "30m")]
    wait_job: String,
    #[command(flatten)]
    list: bqlib::list::Flags,
    #[command(flatten)]
    beside: beside::Flags,
    #[command(flatten)]
    backup: backup::Flags,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-restore", Duration::from_secs(120), run)
}

/// What was asked for, read.
#[derive(Clone)]
struct Asked {
    request: Request,
    wait_job: Duration,
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    if args.list.list {
        return bqlib::list::print(t, &args.list);
    }
    let tables = |flag: &str, names: &[String]| -> Result<Vec<TableRef>, Failure> {
        let parse = |name: &String| TableRef::parse(name, t.named_project());
        let bad = |e: bqlib::names::BadName| {
            Failure::usage(e.to_string(), flag, "write dataset.table or project.dataset.table")
        };
        names.iter().map(|name| parse(name).map_err(bad)).collect()
    };
    let backup_dirs = args.backup.directories(t)?;
    let asked = Asked {
        request: Request {
            from_backup: !backup_dirs.is_empty(),
            backup_dirs,
            only: tables("--only", &args.only)?,
            discard: tables("--discard-foreign", &args.discard_foreign)?,
            named: t.run_flag_given(),
            even_accepted: args.even_accepted && t.run_flag_given(),
            except: tables("--except", &args.except)?,
            stage: args.stage,
            undo: args.undo,
            clear: tables("--clear", &args.clear)?,
            salvage: args.salvage.salvage,
        },
        wait_job: parse_duration(&args.wait_job)
            .map_err(|e| Failure::usage(e, "--wait-job", "for example `--wait-job 30m`"))?,
    };
    if args.beside.are_given() {
        return beside::beside(t, &args, &asked.request).await;
    }
    if args.pending {
        let listed = args.lost.listed(t)?;
        return settle_pending(t, &asked, &args.lost, &listed).await;
    }
    if args.lost.is_stream() {
        let (stream, run) = given::read(t).await?;
        in_hand_if_known(t, &run).await?;
        let api = t.api().await?;
        let held = given::held(t, &api, &stream, &run).await?;
        return settle(t, &api, &asked, held).await;
    }
    let named = args.lost.named(t)?;
    let run = choose(t, &args, !named.is_empty())?;
    if lost::is_unknown(t, &run) {
        let api = t.api().await?;
        let held = lost::held(t, &api, &run, &named, &args.lost, &asked.request).await?;
        return settle_named(t, &api, asked, held, &named).await;
    }
    in_hand(t, &run).await?;
    restore(t, asked, &run, &named).await
}

/// Settles a run, or those of its tables that are named.
async fn settle_named(t: &Tool, api: &Api<'_>, asked: Asked, held: Held<'_>, named: &[Which]) -> Result<Exit, Failure> {
    let request = lost::only(&asked.request, &held.run(), named)?;
    settle(t, api, &Asked { request, ..asked }, held).await
}

/// `--pending`: every pending run that no line has in hand, newest first.
async fn settle_pending(t: &Tool, asked: &Asked, flags: &lost::Flags, listed: &[Which]) -> Result<Exit, Failure> {
    let (known, troubles) = runs::known(t)?;
    // Here and below: bq-restore does its work whether or not somebody reads what it says.
    let _ = t.begin(None, None);
    let mut pending: Vec<&Run> = known.iter().filter(|run| run.is_pending()).collect();
    pending.sort_by_key(|run| std::cmp::Reverse(run.cut));
    let mut exit = Exit::Ok;
    for trouble in &troubles {
        t.error(trouble);
        exit = exit.or_graver(trouble.exit);
    }
    for run in pending {
        if let Err(stopped) = t.go_on("bq-restore --pending") {
            let exit = exit.or_graver(stopped.exit);
            return Err(stopped.with_exit(exit));
        }
        let run = &run.created.run;
        let ended = match in_hand(t, run).await {
            Ok(()) => restore(t, asked.clone(), run, &[]).await,
            Err(failure) => Err(failure),
        };
        exit = exit.or_graver(match ended {
            Ok(exit) => exit,
            Err(failure) => {
                t.error(&failure);
                failure.exit
            }
        });
        let _ = t.begin_or_go_on(None, None);
    }
    match lost::settle_open(t, asked, flags, listed).await {
        Ok(of_others) => exit = exit.or_graver(of_others),
        Err(failure) => {
            let exit = exit.or_graver(failure.exit);
            return Err(failure.with_exit(exit));
        }
    }
    for run in known
        .iter()
        .filter(|run| matches!(run.status, Status::Accepted | Status::RolledBack) && run.settled.is_none())
    {
        if t.stopped_by().is_some() {
            break;
        }
        if let Err(failure) = finish_settling(t, &run.created.run).await {
            t.warn(&failure);
        }
    }
    Ok(exit)
}

/// Gives a run's snapshots the last expiry and label that a program died before it could give: until then other machines take the run for
/// open.
async fn finish_settling(t: &Tool, run: &RunId) -> Result<(), Failure> {
    let held = Held::open(t, run).await?;
    let created = held.run().created.clone();
    let api = t.api().await?;
    runs::same_home(t, run, &created.endpoint, Some(&created.project), api.project())?;
    runs::settle(t, &api, &held).await;
    Ok(())
}

/// Settles one run: does what `plan` says, until it has been put back, compared, or left.
async fn restore(t: &Tool, asked: Asked, run: &RunId, named: &[Which]) -> Result<Exit, Failure> {
    let held = Held::open(t, run).await?;
    has_snapshots(&held.run())?;
    let created = held.run().created.clone();
    let api = t.api().await?;
    runs::same_home(t, run, &created.endpoint, Some(&created.project), api.project())?;
    settle_named(t, &api, asked, held, named).await
}

/// Settles a run that is held.
async fn settle(t: &Tool, api: &Api<'_>, asked: &Asked, held: Held<'_>) -> Result<Exit, Failure> {
    let (request, run) = (&asked.request, &held.id());
    let mut facts = Facts::default();
    let result = loop {
        let next = plan(&held.run(), &facts, request);
        match next {
            Next::LookForJobs => facts.lost = Some(finality::lost_jobs(t, api, &held).await?),
            Next::Note(events) => held.note(&events).await?,
            Next::Abandon { settle } => {
                held.note(&[Event::Abandoned]).await?;
                if settle {
                    runs::settle(t, api, &held).await;
                }
            }
            Next::WaitForJobs => {
                let _ = t.begin_or_go_on(Some(run), Some(api.project()));
                facts.jobs = Some(wait_for_jobs(t, api, &held, asked.wait_job).await?);
            }
            Next::Look(snapshots) => {
                let _ = t.begin_or_go_on(Some(run), Some(api.project()));
                facts.seen = Some(see(t, api, &held, &snapshots).await?);
            }
            Next::FindRestores(tables) => facts.replaced.extend(replaced_at(t, api, &held, tables).await?),
            Next::FindWriters(tables) => {
                let found = writers::writers(t, api, &held, tables, facts.seen.as_ref()).await?;
                facts.evidence.extend(found);
            }
            Next::CompareAgain(snapshots) => break compare_again(t, api, &held, &snapshots, &request.clear).await,
            Next::PutBack(ways) => break roll_back(t, api, &held, request, &facts, &ways).await,
            Next::Stop(refusals) => break Err(stop(t, &held, request, refusals).await?),
            Next::Refuse(failure) => return Err(deadline::named(failure, &held.run())),
        }
    };
    if result.is_ok() && !t.dry_run {
        runs::settle(t, api, &held).await;
    }
    let exit = result.map_err(|failure| deadline::named(failure, &held.run()))?;
    if held.run().status == Status::RolledBack && !t.dry_run {
        write_vars(t, run, false, &[("ROLLBACK_EXECUTED", "true".to_owned())]);
    }
    // To roll back an accepted run was the very thing asked for, also where an earlier attempt began it: nothing has failed that must stay
    // red.
    let was_accepted = held.run().verdict.as_ref().is_some_and(|v| v.accepted);
    Ok(match exit {
        Exit::RolledBack if was_accepted || t.dry_run => Exit::Ok,
        exit => exit,
    })
}

/// What the migration's jobs did, once all have ended. If one does not, a person is needed, and the journal says so.
async fn wait_for_jobs(t: &Tool, api: &Api<'_>, held: &Held<'_>, patience: Duration) -> Result<Jobs, Failure> {
    let settled = finality::settle_jobs(t, api, held, patience).await;
    if let Err(failure) = &settled
        && failure.exit == Exit::Unknown
        && !t.dry_run
        && held.run().is_pending()
    {
        let left = held.run().tables.keys().cloned().collect();
        let end = RestoreEnd {
            code: failure.exit.code(),
            only: false,
            left,
            next: failure.hint.clone(),
        };
        held.note(&[Event::RestoreEnded(end)]).await?;
    }
    settled
}
