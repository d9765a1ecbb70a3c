//! PURE: what `bq-snap --extend` does with each snapshot of a run: nothing is ever made shorter, and what is gone is said to be.

use jiff::Timestamp;

use super::restore::has_snapshots;
use crate::api::Table;
use crate::clock::from_millis;
use crate::deadline::readable_until;
use crate::exit::Failure;
use crate::names::{RunId, TableRef};
use crate::sql::RUN_LABEL;
use crate::state::{Protected, Run, Status};

/// Refuses (4) a run whose snapshots are none, or not ours to keep.
///
/// # Errors
/// It is one.
pub fn extendable(run: &Run) -> Result<(), Failure> {
    has_snapshots(run)?;
    let id = &run.created.run;
    let refuse = |what: String, hint: &str| Err(Failure::refused(what, format!("run {id}"), hint));
    if run.created.given {
        let what = format!("the snapshots of run `{id}` were made by somebody else, and are theirs to keep");
        return refuse(what, "bq update --expiration SECONDS PROJECT:DATASET.SNAPSHOT");
    }
    if run.status == Status::Snapping {
        let what = format!("run `{id}` is snapping: it has no verified snapshots yet");
        return refuse(what, "let its line end, or run the line again");
    }
    Ok(())
}

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It lives longer than was asked for, or for ever (absent).
    Keep(Option<Timestamp>),
    /// It is to expire later than this.
    Prolong(Timestamp),
}

/// What becomes of the snapshot of a table that is to live until `wanted`; or why nothing can.
///
/// # Errors
/// It is gone, or not the run's.
pub fn decide(
    run: &RunId,
    protected: &Protected,
    copy: &TableRef,
    there: Option<&Table>,
    (now, wanted): (Timestamp, Timestamp),
) -> Result<What, Failure> {
    let table = &protected.snapshot.table;
    let Some(there) = there else {
        let what = format!("the snapshot of `{table}` has expired or was deleted, and cannot be prolonged");
        let hint = match readable_until(protected, None) {
            Some(end) if end > now => {
                format!("by time travel `{table}` can be read as of the cut until about {end}: bq-restore --run {run}")
            }
            Some(end) => format!("time travel reached back to the cut until about {end}; a backup is what is left"),
            None => "a backup is what is left".to_owned(),
        };
        return Err(Failure::refused(what, format!("snapshot {copy}"), hint));
    };
    let is_ours = there.label(RUN_LABEL) == Some(run.as_str())
        && there
            .snapshot_of()
            .is_some_and(|(base, at)| base == *table && Some(at) == protected.snapshot.cut);
    if !is_ours {
        let what = format!("`{copy}` is not this run's snapshot of `{table}`");
        let hint = "look at it: bq show --format=prettyjson; nothing was changed";
        return Err(Failure::refused(what, format!("snapshot {copy}"), hint));
    }
    Ok(match there.expires_ms().map(from_millis) {
        Some(at) if at < wanted => What::Prolong(at),
        expires => What::Keep(expires),
    })
}

#[cfg(test)]
mod tests {
    use super::super::laws::{STATUSES, run_in, table};
    use super::*;
    use serde_json::{Value, json};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn snapshot(run: &str, taken: &str, expires: Option<i64>) -> Value {
        let base = table(false);
        let mut all = json!({
            "type": "SNAPSHOT",
            "labels": { "bq-rollback-run": run },
            "snapshotDefinition": {
                "baseTableReference": { "projectId": base.project, "datasetId": base.dataset, "tableId": base.table },
                "snapshotTime": taken,
            },
        });
        if let Some(expires) = expires {
            all["expirationTime"] = json!((expires * 1000).to_string());
        }
        all
    }

    #[test]
    fn what_becomes_of_a_snapshot() {
        let run = run_in(Status::Accepted);
        let protected = &run.tables[&table(false)];
        let cut = "1970-01-01T00:00:01Z";
        // the snapshot, until when it is wanted, what becomes of it (none: refused)
        for (there, wanted, what) in [
            (snapshot("r", cut, Some(100)), 200, Some(What::Prolong(at(100)))),
            (snapshot("r", cut, Some(200)), 200, Some(What::Keep(Some(at(200))))),
            (snapshot("r", cut, Some(300)), 200, Some(What::Keep(Some(at(300))))),
            (snapshot("r", cut, None), 200, Some(What::Keep(None))),
            (snapshot("s", cut, Some(100)), 200, None),
            (snapshot("r", "1970-01-01T00:00:02Z", Some(100)), 200, None),
            (
                json!({ "type": "TABLE", "labels": { "bq-rollback-run": "r" } }),
                200,
                None,
            ),
        ] {
            let found = Table::of(&there);
            let got = decide(
                &run.created.run,
                protected,
                &table(true),
                Some(&found),
                (at(50), at(wanted)),
            );
            assert_eq!(got.ok(), what, "{there}");
        }
    }

    #[test]
    fn of_one_that_is_gone_it_is_said_what_is_still_possible() {
        let run = run_in(Status::Stuck);
        let protected = &run.tables[&table(false)];
        let day = 24 * 3600;
        for (now, word) in [
            (6 * day, "until about 1970-01-08T00:00:01Z: bq-restore --run r"),
            (8 * day, "a backup"),
        ] {
            let no = decide(
                &run.created.run,
                protected,
                &table(true),
                None,
                (at(now), at(now + day)),
            )
            .unwrap_err();
            assert_eq!(no.exit.code(), 4);
            assert!(no.hint.contains(word), "{no}");
        }
    }

    #[test]
    fn every_run_with_snapshots_of_ours_can_be_prolonged() {
        for status in STATUSES {
            let run = run_in(status);
            assert_eq!(extendable(&run).is_ok(), status != Status::Snapping, "{status}");
        }
        for change in [
            |run: &mut Run| run.created.given = true,
            |run: &mut Run| run.created.unprotected = true,
        ] {
            let mut run = run_in(Status::Running);
            change(&mut run);
            assert!(extendable(&run).is_err());
        }
    }
}
