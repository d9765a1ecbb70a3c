//! PURE: what bq-snap does next with a run whose journal it holds. Looking at the tables, and which of them a snapshot can hold, is not
//! decided here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::clock::millis;
use crate::exit::Failure;
use crate::names::TableRef;
use crate::state::{Run, Status, Step};

/// What was asked for: the tables, and the names that their snapshots have in this run; `None`: the table does not exist.
pub type Request<'a> = BTreeMap<&'a TableRef, Option<&'a TableRef>>;

/// What BigQuery says: when each table that exists was last changed, in milliseconds since 1970. The pre-images were read with it.
pub type Facts<'a> = BTreeMap<&'a TableRef, u64>;

/// What comes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Take the cut, and with it the run ID in the project.
    TakeCut,
    /// Make these tables' snapshots; read all back, count them, and say that the run is protected.
    Protect {
        /// The instant.
        cut: Timestamp,
        /// The tables whose snapshots are not known to be made.
        make: BTreeSet<TableRef>,
    },
    /// Nothing may be done.
    Refuse(Failure),
}

/// What bq-snap does next. A run that died is taken up where it stopped; what is protected is read back all the same, for a snapshot of
/// yesterday may be gone today.
pub fn plan(run: &Run, facts: &Facts, request: &Request) -> Next {
    if let Err(refused) = never_submitted(run).and_then(|()| same_tables(run, request)) {
        return Next::Refuse(refused);
    }
    let Some(cut) = run.cut else { return Next::TakeCut };
    // The pre-image that was just read is then not that of the cut, which may be an old one, of an attempt that died.
    if let Some((table, _)) = facts.iter().find(|(_, modified)| **modified >= millis(cut)) {
        let what = format!("`{table}` has changed since the cut of run `{}`", run.created.run);
        return Next::Refuse(refuse(run, what).about(table));
    }
    let made = |table: &TableRef| {
        let step = run.steps.get(&(Step::Snapshot, Some(table.clone())));
        step.and_then(|s| s.outcome.as_ref())
            .is_some_and(|o| o.error.is_none() && !o.unknown)
    };
    let make = request
        .iter()
        .filter(|(table, snapshot)| snapshot.is_some() && !made(table));
    Next::Protect {
        cut,
        make: make.map(|(table, _)| (*table).clone()).collect(),
    }
}

/// A run ID that was ever submitted is never used again (4).
///
/// # Errors
/// It was, or the run is at an end.
pub fn never_submitted(run: &Run) -> Result<(), Failure> {
    if !run.was_submitted() && matches!(run.status, Status::Snapping | Status::Protected) {
        return Ok(());
    }
    let id = &run.created.run;
    Err(Failure::refused(
        format!("run `{id}` is {}: its ID is never used again", run.status),
        format!("run {id}"),
        "leave `--run` and SNAPSHOT_SUFFIX out, or name a new run",
    ))
}

fn same_tables(run: &Run, request: &Request) -> Result<(), Failure> {
    let theirs = run
        .tables
        .iter()
        .map(|(table, p)| (table, p.snapshot.snapshot.as_ref()));
    let ours = request.iter().map(|(table, snapshot)| (*table, *snapshot));
    if run.tables.is_empty() || theirs.eq(ours) {
        return Ok(());
    }
    let appeared = |table: &&TableRef| run.tables.get(*table).is_some_and(|p| p.snapshot.absent);
    let mut there = request.iter().filter_map(|(table, snapshot)| snapshot.map(|_| *table));
    if let Some(table) = there.find(appeared) {
        let what = format!(
            "`{table}` did not exist when run `{}` was begun, and exists now",
            run.created.run
        );
        return Err(refuse(run, what).about(table));
    }
    let what = format!("run `{}` was begun over other tables", run.created.run);
    Err(refuse(run, what))
}

fn refuse(run: &Run, what: String) -> Failure {
    let at = format!("run {}", run.created.run);
    Failure::refused(what, at, "name a new run, or leave `--run` out")
}

#[cfg(test)]
mod tests {
    use super::super::laws::{STATUSES, copy, created, record, run_in, table, told};
    use super::*;
    use crate::clock::from_millis;
    use crate::state::{Event, Intent, Outcome};

    /// The plan in a word, the tables last changed at these times.
    fn word(run: &Run, a_ms: u64, b_ms: u64) -> String {
        let (a, b, copy_a, copy_b) = (table(false), table(true), copy(false), copy(true));
        let facts = BTreeMap::from([(&a, a_ms), (&b, b_ms)]);
        match plan(run, &facts, &BTreeMap::from([(&a, Some(&copy_a)), (&b, Some(&copy_b))])) {
            Next::TakeCut => "cut".to_owned(),
            Next::Protect { make, .. } => format!("make {}", make.len()),
            Next::Refuse(_) => "refuse".to_owned(),
        }
    }

    #[test]
    fn every_status() {
        for status in STATUSES {
            let want = match status {
                Status::Snapping => "cut",
                Status::Protected => "make 2",
                _ => "refuse",
            };
            assert_eq!(word(&run_in(status), 0, 0), want, "{status}");
        }
    }

    #[test]
    fn what_does_not_exist_is_not_snapshotted() {
        let absent = crate::record::Snapshot {
            absent: true,
            snapshot: None,
            ..record(true, false)
        };
        let begun = told(&[
            created(false),
            Event::Table(record(false, false)),
            Event::Table(absent),
            Event::Cut { cut: from_millis(1000) },
        ]);
        let (a, b, copy_a, copy_b) = (table(false), table(true), copy(false), copy(true));
        let facts = BTreeMap::from([(&a, 0)]);
        let next = plan(&begun, &facts, &BTreeMap::from([(&a, Some(&copy_a)), (&b, None)]));
        assert!(matches!(next, Next::Protect { make, .. } if make == BTreeSet::from([a.clone()])));
        // It has appeared; it was there, and is gone.
        for (request, said) in [
            ([(&a, Some(&copy_a)), (&b, Some(&copy_b))], "exists now"),
            ([(&a, None), (&b, None)], "begun over other tables"),
        ] {
            let next = plan(&begun, &facts, &BTreeMap::from(request));
            assert!(
                matches!(&next, Next::Refuse(refused) if refused.what.contains(said)),
                "{next:?}"
            );
        }
    }

    fn step(b: bool, error: Option<&str>, unknown: bool) -> [Event; 2] {
        let (step, table, attempt) = (Step::Snapshot, Some(table(b)), 1);
        [
            Event::Intent(Intent {
                step,
                table: table.clone(),
                attempt,
                job: None,
                location: None,
                digest: String::new(),
                what: None,
            }),
            Event::Outcome(Outcome {
                step,
                table,
                attempt,
                error: error.map(str::to_owned),
                unknown,
            }),
        ]
    }

    #[test]
    fn a_run_is_taken_up_where_it_stopped() {
        let begun = [
            created(false),
            Event::Table(record(false, false)),
            Event::Table(record(true, false)),
            Event::Cut { cut: from_millis(1000) },
        ];
        let run = |more: &[&[Event]]| told(&[&begun[..], &more.concat()].concat());
        let (made, lost, failed) = (
            step(false, None, false),
            step(true, Some("?"), true),
            step(true, Some("no"), false),
        );
        assert_eq!(word(&run(&[]), 999, 0), "make 2");
        assert_eq!(
            word(&run(&[]), 1000, 0),
            "refuse",
            "changed in the cut's own millisecond"
        );
        assert_eq!(word(&run(&[&made]), 0, 0), "make 1");
        assert_eq!(
            word(&run(&[&made, &made[..1]]), 0, 0),
            "make 2",
            "sent again, its end not known"
        );
        assert_eq!(word(&run(&[&made, &lost]), 0, 0), "make 1");
        assert_eq!(word(&run(&[&made, &failed]), 0, 0), "make 1");
        assert_eq!(word(&run(&[&made, &step(true, None, false)]), 0, 0), "make 0");
        assert_eq!(word(&told(&begun[..2]), 0, 0), "refuse", "begun over other tables");
    }
}
