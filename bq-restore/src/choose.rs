//! Which run is to be put back, and whether it is still its line's.

use std::time::Duration;

use bqlib::exit::{Exit, Failure};
use bqlib::journal;
use bqlib::names::RunId;
use bqlib::perform::of_journal;
use bqlib::runs::{self};
use bqlib::state::Status;
use bqlib::tool::Tool;
use jiff::SignedDuration;

use crate::Args;

/// How long a line may leave its run without a verdict before another program takes it for abandoned.
pub(crate) const IN_HAND: SignedDuration = SignedDuration::from_secs(60);

/// The run to put back: the one named, or the only pending one. One that is not known is taken only if it can be rebuilt.
pub(crate) fn choose(t: &Tool, args: &Args, rebuilds: bool) -> Result<RunId, Failure> {
    if args.undo && !t.run_flag_given() {
        let hint = "bq-restore --undo --run ID";
        return Err(Failure::usage("`--undo` takes a run that is named", "--undo", hint));
    }
    let (known, troubles) = runs::known(t)?;
    for trouble in &troubles {
        t.warn(trouble);
    }
    let pending: Vec<&RunId> = known
        .iter()
        .filter(|run| run.is_pending())
        .map(|run| &run.created.run)
        .collect();
    let listed = || {
        pending
            .iter()
            .map(|run| format!("`{run}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let place = runs::state_dir(t);
    match (t.asked_run(), pending.as_slice()) {
        (Some(run), others) => {
            let is_known = known.iter().any(|known| known.created.run == *run)
                || troubles.iter().any(|f| f.at.contains(run.as_str()));
            if !t.run_flag_given() && !others.is_empty() && !others.contains(&run) {
                let what = format!(
                    "SNAPSHOT_SUFFIX names run `{run}`, which is not pending, and these are: {}",
                    listed()
                );
                return Err(Failure::refused(what, place, format!("bq-restore --run {}", others[0])));
            }
            if !is_known && !rebuilds {
                let what = format!("there is no run `{run}`: nothing was ever begun under this ID");
                return Err(Failure::new(
                    Exit::No,
                    what,
                    place,
                    format!(
                        "`bq-restore --list` shows the runs, `--state-dir` names another directory; if its journal is lost: \
                         bq-restore --run {run} dataset.*"
                    ),
                ));
            }
            Ok(run.clone())
        }
        (None, []) if args.even_accepted => Err(Failure::usage(
            "`--even-accepted` takes a run that is named",
            "--even-accepted",
            "bq-restore --run ID --even-accepted",
        )),
        // What cannot be read may be the very run that is asked for.
        (None, []) if !troubles.is_empty() => Err(troubles[0].clone()),
        (None, []) => {
            let what = "no run is pending: there is nothing to put back";
            Err(Failure::new(
                Exit::No,
                what,
                place,
                "`bq-restore --list` shows the runs; `--state-dir` names another directory",
            ))
        }
        (None, [run]) => Ok((*run).clone()),
        (None, _) => {
            let what = format!("several runs are pending: {}", listed());
            Err(Failure::refused(
                what,
                place,
                "name one with `--run`, or settle all with `--pending`",
            ))
        }
    }
}

/// Leaves a run to the line that has it in hand: waits while its lock is held, and for a minute after bq-run's last word as long as nobody
/// has judged it; then 6.
pub(crate) async fn in_hand(t: &Tool, run: &RunId) -> Result<(), Failure> {
    let started = t.clock.now();
    let patience = SignedDuration::try_from(t.wait).unwrap_or(SignedDuration::MAX);
    loop {
        let Some(why) = hand_on(t, run)? else { return Ok(()) };
        if t.dry_run || t.clock.now().duration_since(started) >= patience {
            let hint = "let the line end, or run the same command again in a minute";
            return Err(Failure::new(Exit::Busy, why, format!("run {run}"), hint));
        }
        t.pause(Duration::from_millis(250), &again(run)).await?;
    }
}

/// The same for a run that this state directory may not know.
pub(crate) async fn in_hand_if_known(t: &Tool, run: &RunId) -> Result<(), Failure> {
    match journal::read(&t.state_dir, run) {
        Err(journal::Error::Missing(_)) => Ok(()),
        _ => in_hand(t, run).await,
    }
}

/// What is left to do once bq-restore was stopped.
pub(crate) fn again(run: &RunId) -> String {
    format!("bq-restore --run {run}")
}

/// Why a run is still its line's, if it is.
pub(crate) fn hand_on(t: &Tool, run: &RunId) -> Result<Option<String>, Failure> {
    let state = journal::read(&t.state_dir, run).map_err(|e| of_journal(&e))?;
    if journal::is_held(&t.state_dir, run) {
        let by = state.holder.map_or_else(
            || "another process".to_owned(),
            |(h, _)| format!("{} (process {} on {})", h.tool, h.pid, h.host),
        );
        return Ok(Some(format!("the run is held by {by}")));
    }
    let waits = matches!(state.status, Status::Running | Status::Failed | Status::Migrated) && state.verdict.is_none();
    let since = t.clock.now().duration_since(state.touched);
    // A clock that was set back would make the run its line's for ever: an event of the future is an old one.
    let fresh = since >= SignedDuration::ZERO && since < IN_HAND;
    Ok((waits && fresh).then(|| format!("the run is {}, and its line may still be at work", state.status)))
}
