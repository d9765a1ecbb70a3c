//! What must hold of a play, read from its journals and its world by other eyes than the programs' own.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::world::Shown;

use super::stage::{Ran, Stage};

/// How a run ended, by its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It never came to submitting, or that was undone by taking its job's ID.
    NeverSubmitted,
    Accepted,
    RolledBack,
    /// Submitted, and none of these.
    Pending,
}

/// An independent reading of a journal: what was the last word of it.
pub(super) fn ending(events: &[Value]) -> Ending {
    let mut ending = Ending::NeverSubmitted;
    for event in events {
        let of = |name: &str| event.get(name);
        if of("intent").is_some_and(|i| i["step"].get("migrate").is_some()) {
            ending = Ending::Pending;
        } else if let Some(verdict) = of("verdict") {
            ending = if verdict["accepted"] == true {
                Ending::Accepted
            } else {
                Ending::Pending
            };
        } else if of("restore_begun").is_some() {
            ending = Ending::Pending;
        } else if let Some(end) = of("restore_ended") {
            let all = end["left"].as_array().is_some_and(Vec::is_empty) && end["only"] == false;
            let well = end["code"] == 10 || end["code"] == 0;
            ending = if all && well {
                Ending::RolledBack
            } else {
                Ending::Pending
            };
        } else if event.as_str() == Some("abandoned") {
            ending = Ending::NeverSubmitted;
        }
    }
    ending
}

/// How the tables may look at the end.
#[derive(Clone)]
pub(super) struct Wanted {
    /// As at the cut.
    pub(super) before: BTreeMap<&'static str, Option<Shown>>,
    /// As the migration leaves them, if it can be accepted.
    pub(super) after: Option<BTreeMap<&'static str, Option<Shown>>>,
}

/// What holds at any time, also right after a crash: nothing was asked of BigQuery that must not be, and a code says the truth.
///
/// # Errors
/// What does not hold.
pub(super) fn at_any_time(stage: &Stage, wanted: &Wanted, ran: &Ran) -> Result<(), String> {
    let violations = stage.violations();
    if !violations.is_empty() {
        return Err(violations.join("\n"));
    }
    let endings: Vec<Ending> = stage.journals().values().map(|events| ending(events)).collect();
    let tables = stage.tables();
    match ran.status {
        // P6
        0 if !endings.contains(&Ending::Accepted) => Err("0, and no run is accepted".to_owned()),
        0 if wanted.after.as_ref() != Some(&tables) => Err("0, and the tables are not as migrated".to_owned()),
        10 if !endings.contains(&Ending::RolledBack) => Err("10, and no run is rolled back".to_owned()),
        // What was accepted before is the cut of the run after it.
        10 if tables != wanted.before
            && !(endings.contains(&Ending::Accepted) && Some(&tables) == wanted.after.as_ref()) =>
        {
            Err(format!("10, and the tables differ from the cut: {tables:#?}"))
        }
        _ => Ok(()),
    }
}

/// What holds once it is settled: every run has one of its ends, and the tables are as that end says.
///
/// # Errors
/// What does not hold.
pub(super) fn at_the_end(stage: &Stage, wanted: &Wanted) -> Result<(), String> {
    let mut accepted = false;
    for (run, events) in stage.journals() {
        match ending(&events) {
            Ending::Pending => return Err(format!("run {run} is still pending")),
            Ending::NeverSubmitted => continue,
            Ending::Accepted => accepted = true,
            Ending::RolledBack => {}
        }
        let mut snapshots = events
            .iter()
            .filter_map(|event| event.get("verified")?["snapshot"].as_str());
        if let Some(gone) = snapshots.find(|name| !lives_on(stage, name)) {
            return Err(format!(
                "run {run} can be restored for a day, and its snapshot {gone} is gone or soon will be"
            ));
        }
    }
    let tables = stage.tables();
    match accepted {
        true if Some(&tables) != wanted.after.as_ref() => {
            Err(format!("accepted, and the tables are not as migrated: {tables:#?}"))
        }
        false if tables != wanted.before => Err(format!("not accepted, and the tables are not as before: {tables:#?}")),
        _ => Ok(()),
    }
}

/// Whether a snapshot is there for most of a day yet.
fn lives_on(stage: &Stage, snapshot: &str) -> bool {
    const HALF_A_DAY: i64 = 12 * 3600 * 1000;
    stage.world.table(snapshot).is_some_and(|there| {
        let expires = there.meta["expirationTime"]
            .as_str()
            .and_then(|ms| ms.parse::<i64>().ok());
        expires.is_none_or(|ms| ms > stage.world.now_ms() + HALF_A_DAY)
    })
}
