//! A person's yes or no.

use bqlib::exit::{Exit, Failure};
use bqlib::names::RunId;
use bqlib::perform::Held;
use bqlib::plan::check::{Next, Request, plan};
use bqlib::runs::{self, write_vars};
use bqlib::state::{Event, Judgement};
use bqlib::tool::Tool;

use crate::Args;
use crate::verdict::verdict_of;

/// The run that is named, or the one that is pending.
pub(crate) fn named_or_pending(t: &Tool) -> Result<RunId, Failure> {
    if let Some(run) = t.asked_run() {
        return Ok(run.clone());
    }
    let (known, troubles) = runs::known(t)?;
    let mut pending = known.iter().filter(|run| run.is_pending()).map(|run| &run.created.run);
    match (pending.next(), pending.next()) {
        (Some(run), None) => Ok(run.clone()),
        (None, _) if !troubles.is_empty() => Err(troubles[0].clone()),
        (None, _) => {
            let what = "no run is pending";
            Err(Failure::new(
                Exit::No,
                what,
                runs::state_dir(t),
                "name a run with `--run`; `bq-restore --list` shows them",
            ))
        }
        (Some(_), Some(_)) => Err(Failure::refused(
            "several runs are pending",
            runs::state_dir(t),
            "name one with `--run`; `bq-restore --list` shows them",
        )),
    }
}

/// `--accept` and `--reject`: a person settles a run that is migrated or rejected.
pub(crate) async fn by_person(args: &Args, t: &Tool) -> Result<Exit, Failure> {
    let run = named_or_pending(t)?;
    let held = Held::open(t, &run).await?;
    let request = if args.accept { Request::Accept } else { Request::Reject };
    if let Next::Refuse(failure) = plan(&held.run(), None, request) {
        return Err(failure);
    }
    let api = t.api().await?;
    let created = held.run().created.clone();
    runs::same_home(t, &run, &created.endpoint, Some(&created.project), api.project())?;
    t.begin(Some(&run), Some(api.project()))?;
    let because = args
        .because
        .clone()
        .unwrap_or_else(|| "accepted by a person".to_owned());
    let judgement = Judgement {
        accepted: args.accept,
        by_person: true,
        because,
    };
    t.out.write(&verdict_of(Some(&run), &[], args.accept))?;
    if !t.dry_run {
        held.note(&[Event::Verdict(judgement)]).await?;
        write_vars(t, &run, false, &[("MIGRATION_SUCCESS", args.accept.to_string())]);
        runs::settle(t, &api, &held).await;
    }
    Ok(Exit::Ok)
}
