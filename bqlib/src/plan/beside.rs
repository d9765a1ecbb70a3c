//! PURE: the tables of a run made again beside the live ones, for a look or a drill: which, under which names, of what, what a name that is
//! taken means, and how long the real restore would take. Touches no live table, and so asks for no verdict and waits for no job.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::restore::{Planned, Seen, turn, usable};
use super::way::{Back, Happened, Over, Way, source};
use crate::api::Table;
use crate::exit::{Exit, Failure};
use crate::meta::TableMeta;
use crate::names::{BadName, DatasetId, ProjectId, RunId, TableRef};
use crate::record::Snapshot;
use crate::sql::{RUN_LABEL, STATE_LABEL};
use crate::state::{Run, Status, Step};

/// Where tables are made.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The dataset; absent: that of the live table.
    pub dataset: Option<DatasetId>,
    /// The project; absent: that of the live table.
    pub project: Option<ProjectId>,
}

/// A protected table, and what it is made as.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it shall be.
    pub snapshot: Snapshot,
    /// Where it is put.
    pub to: TableRef,
}

/// What the name of a table that is to be made stands for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Free,
    /// A table of ours that was not finished.
    Unfinished,
    /// A table that an earlier attempt had finished, or was about to: it is only compared.
    Finished,
    /// What is none of ours.
    Taken,
}

/// The tables to make for these protected ones, in the order in which a restore puts them back. One that did not exist has none.
///
/// # Errors
/// 2: two of them would be one, or one is a table or snapshot of the run itself. 4: the run has no snapshots yet.
pub fn targets(run: &Run, snapshots: Vec<Snapshot>, place: &Place, suffix: &str) -> Result<Vec<Target>, Failure> {
    let id = &run.created.run;
    if run.status == Status::Snapping {
        let what = format!("run `{id}` has no complete set of snapshots");
        let hint = "let its bq-snap end, or begin a new run";
        return Err(Failure::refused(what, format!("run {id}"), hint));
    }
    let mut targets = Vec::new();
    for snapshot in snapshots.into_iter().filter(|snapshot| !snapshot.absent) {
        let to = put_in(place, &snapshot.table, suffix).map_err(|e| {
            let at = format!("table {}", snapshot.table);
            Failure::refused(e.to_string(), at, "its name leaves no room for a copy beside it").about(&snapshot.table)
        })?;
        targets.push(Target { snapshot, to });
    }
    let mut by_name: BTreeMap<&TableRef, &TableRef> = BTreeMap::new();
    for Target { snapshot, to } in &targets {
        if run.tables.contains_key(to) || run.tables.values().any(|p| p.snapshot.snapshot.as_ref() == Some(to)) {
            let what = format!("`{to}` is a table of run `{id}` itself");
            return Err(Failure::usage(what, "--to-dataset", "name another dataset"));
        }
        if let Some(other) = by_name.insert(to, &snapshot.table) {
            let what = format!("`{other}` and `{}` would both be put into `{to}`", snapshot.table);
            let hint = "take one at a time: --only TABLE, each with a --to-dataset of its own";
            return Err(Failure::usage(what, "--to-dataset", hint));
        }
    }
    targets.sort_by_cached_key(|target| turn(&target.snapshot));
    Ok(targets)
}

fn put_in(place: &Place, table: &TableRef, suffix: &str) -> Result<TableRef, BadName> {
    let beside = table.with_suffix(suffix)?;
    Ok(TableRef {
        project: place.project.clone().unwrap_or(beside.project),
        dataset: place.dataset.clone().unwrap_or(beside.dataset),
        table: beside.table,
    })
}

/// Of what a table is made: of that of which it would be restored, and over nothing.
pub fn planned(run: &Run, snapshot: &Snapshot, seen: &Seen) -> Planned {
    let nothing = TableMeta::default();
    let source = source(
        usable(run, snapshot, seen).is_ok(),
        snapshot.meta.as_ref().unwrap_or(&nothing),
    );
    Planned {
        salvage: None,
        snapshot: snapshot.clone(),
        // What has happened to the live table changes nothing of this.
        happened: Happened::Nothing,
        way: Way::Restore(Back {
            source,
            over: Over::Nothing,
            staged: false,
            doubt: false,
        }),
    }
}

/// What is there under the name of a table that is to be made; `state`: the label of those that are not finished.
pub fn standing(run: &Run, to: &TableRef, found: Option<&Table>, state: &str) -> Standing {
    let Some(found) = found else { return Standing::Free };
    let id = run.created.run.as_str();
    if found.kind() == "TABLE" && found.label(RUN_LABEL) == Some(id) && found.label(STATE_LABEL) == Some(state) {
        return Standing::Unfinished;
    }
    // Without labels it is finished; that it is ours, only the journal knows.
    match run.steps.contains_key(&(Step::Release, Some(to.clone()))) {
        true => Standing::Finished,
        false => Standing::Taken,
    }
}

/// The refusal (4) of names that are taken; nothing is made then.
///
/// # Errors
/// There are any.
pub fn none_taken(taken: &[&TableRef]) -> Result<(), Failure> {
    let names: Vec<String> = taken.iter().map(|name| format!("`{name}`")).collect();
    match taken {
        [] => Ok(()),
        [first, ..] => Err(Failure::refused(
            format!("nothing was made, for this is there already: {}", names.join(", ")),
            format!("table {first}"),
            "name another dataset, or take it away; nothing that is there is ever replaced",
        )
        .about(first)),
    }
}

/// The run to rehearse unless one is named: the newest that is accepted or pending and has a snapshot that still lives at this instant.
pub fn newest(known: &[Run], now: Timestamp) -> Option<&RunId> {
    let lives = |run: &&Run| run.expires().is_none_or(|expires| expires > now);
    let open = known.iter().filter(|run| {
        let is_accepted = run.status == Status::Accepted && !run.created.unprotected;
        is_accepted || run.is_pending()
    });
    let newest = open.filter(lives).max_by_key(|run| run.cut);
    newest.map(|run| &run.created.run)
}

/// What a rehearsal measured of a table, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// From its beginning until the scratch table was compared.
    pub whole: u64,
    /// The statement that made the scratch table, alone.
    pub statement: u64,
}

/// How long the real restore of all these tables would take, in milliseconds, so many at a time: each takes what it took to make and
/// compare it, and once more what the statement took, for what is there is copied before it is replaced.
pub fn would_take(tables: &[Measured], at_a_time: usize) -> u64 {
    let mut free_at = vec![0_u64; at_a_time.clamp(1, tables.len().max(1))];
    for table in tables {
        // Each table goes to the place that is free first, as in the real one.
        if let Some(first) = free_at.iter_mut().min() {
            *first += table.whole + table.statement;
        }
    }
    free_at.into_iter().max().unwrap_or(0)
}

/// How an attempt ended of which some tables were made and others failed with these codes.
pub fn exit(made: usize, failed: &[Exit]) -> Exit {
    let worst = failed.iter().copied().reduce(Exit::or_graver);
    match (made, worst) {
        (_, None) => Exit::Ok,
        (0, Some(worst)) => worst,
        (_, Some(worst)) => Exit::Partial.or_graver(worst),
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{STATUSES, copy, history, record, run_in, table, there, told};
    use super::super::way::Source;
    use super::*;
    use crate::state::{Event, Intent};
    use serde_json::json;

    fn place(dataset: &str) -> Place {
        Place {
            dataset: Some(dataset.parse().unwrap()),
            project: None,
        }
    }

    fn names(targets: &[Target]) -> Vec<String> {
        targets.iter().map(|target| target.to.to_string()).collect()
    }

    #[test]
    fn every_table_has_a_name_of_its_own() {
        let both = || vec![record(false, true), record(true, true)];
        for status in STATUSES {
            let run = run_in(status);
            match targets(&run, both(), &place("look"), "") {
                Ok(made) => assert_eq!(names(&made), ["p.look.a", "p.look.b"], "{status}"),
                Err(refused) => assert_eq!((refused.exit.code(), status), (4, Status::Snapping)),
            }
        }
        let run = run_in(Status::Accepted);
        let scratch = targets(&run, both(), &Place::default(), "_rehearsal_r").unwrap();
        assert_eq!(names(&scratch), ["p.d.a_rehearsal_r", "p.d.b_rehearsal_r"]);
        let elsewhere = Place {
            project: Some("q-roject".parse().unwrap()),
            ..place("look")
        };
        let one = targets(&run, vec![record(true, true)], &elsewhere, "").unwrap();
        assert_eq!(names(&one), ["q-roject.look.b"]);
        // Their own dataset is where the live ones are, or were.
        assert_eq!(targets(&run, both(), &place("d"), "").unwrap_err().exit.code(), 2);
        let over_the_snapshots = targets(&run, both(), &Place::default(), "_snapshot_r").unwrap_err();
        assert_eq!(over_the_snapshots.exit.code(), 2);
        let mut absent = record(false, true);
        absent.absent = true;
        let one = targets(&run, vec![absent, record(true, true)], &place("look"), "").unwrap();
        assert_eq!(names(&one), ["p.look.b"]);
        let mut same_name = record(true, true);
        same_name.table = TableRef::parse("p.e.a", None).unwrap();
        let refused = targets(&run, vec![record(false, true), same_name], &place("look"), "").unwrap_err();
        assert_eq!(refused.exit.code(), 2);
        assert!(
            refused.what.contains("`p.d.a` and `p.e.a`") && refused.what.contains("`p.look.a`"),
            "{}",
            refused.what
        );
    }

    #[test]
    fn the_graver_tables_come_first() {
        let mut critical = record(true, true);
        critical.level = Some("CRITICAL".to_owned());
        let run = run_in(Status::Accepted);
        let both = targets(&run, vec![record(false, true), critical], &place("look"), "").unwrap();
        assert_eq!(names(&both), ["p.look.b", "p.look.a"]);
    }

    #[test]
    fn a_table_is_made_of_what_is_left() {
        let source_of = |change: &dyn Fn(&mut Snapshot, &mut Seen)| {
            let mut snapshot = record(false, true);
            let mut seen = Seen {
                tables: there(5000, 0),
                ..Seen::default()
            };
            change(&mut snapshot, &mut seen);
            match planned(&run_in(Status::Accepted), &snapshot, &seen).way {
                Way::Restore(back) => back.source,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(source_of(&|_, _| ()), Source::Clone);
        let deep = json!({"cloneDefinition": {"cloneTime": "x"}});
        let deep: TableMeta = serde_json::from_value(deep).unwrap();
        assert_eq!(
            source_of(&|snapshot, _| snapshot.meta = Some(deep.clone())),
            Source::Copy
        );
        let gone = |_: &mut Snapshot, seen: &mut Seen| {
            seen.tables.insert(copy(false), None);
        };
        assert_eq!(source_of(&gone), Source::History);
        let other_instant = |snapshot: &mut Snapshot, _: &mut Seen| snapshot.cut = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(source_of(&other_instant), Source::History);
    }

    fn found(labels: serde_json::Value) -> Table {
        Table::of(&json!({"type": "TABLE", "labels": labels}))
    }

    #[test]
    fn only_what_is_ours_is_gone_on_with() {
        let to = TableRef::parse("p.look.a", None).unwrap();
        let plain = run_in(Status::Accepted);
        let release = Event::Intent(Intent {
            step: Step::Release,
            table: Some(to.clone()),
            attempt: 1,
            job: None,
            location: None,
            digest: String::new(),
            what: None,
        });
        let released = told(&[history(Status::Accepted), vec![release]].concat());
        let ours = found(json!({"bq-rollback-run": "r", "bq-rollback-state": "beside"}));
        let of_another_run = found(json!({"bq-rollback-run": "s", "bq-rollback-state": "beside"}));
        let kept = found(json!({"bq-rollback-run": "r", "bq-rollback-state": "kept"}));
        let bare = found(json!({}));
        let view = Table::of(&json!({"type": "VIEW"}));
        let of = |run: &Run, found: Option<&Table>| standing(run, &to, found, "beside");
        assert_eq!(of(&plain, None), Standing::Free);
        assert_eq!(of(&released, None), Standing::Free);
        assert_eq!(of(&plain, Some(&ours)), Standing::Unfinished);
        assert_eq!(of(&released, Some(&ours)), Standing::Unfinished);
        for taken in [&of_another_run, &kept, &bare, &view] {
            assert_eq!(of(&plain, Some(taken)), Standing::Taken);
        }
        assert_eq!(of(&released, Some(&bare)), Standing::Finished);
    }

    #[test]
    fn the_newest_run_that_can_still_be_rolled_back_is_rehearsed() {
        let at = |status: Status, run: &str, cut_ms: u64, expires_ms: Option<u64>| {
            let mut one = run_in(status);
            one.created.run = run.parse().unwrap();
            one.cut = Some(crate::clock::from_millis(cut_ms));
            let expires = expires_ms.map(crate::clock::from_millis);
            one.settled = Some(expires);
            one.tables.values_mut().for_each(|table| table.expires = expires);
            one
        };
        let now = crate::clock::from_millis(50_000);
        let pick = |known: &[Run]| newest(known, now).map(ToString::to_string);
        assert_eq!(pick(&[]), None);
        let known = [
            at(Status::Accepted, "old", 1, None),
            at(Status::Rejected, "pending", 2, Some(60_000)),
            at(Status::Accepted, "over", 3, Some(40_000)),
            at(Status::RolledBack, "back", 4, None),
            at(Status::Abandoned, "never", 5, None),
            at(Status::Protected, "before", 6, None),
        ];
        assert_eq!(pick(&known).as_deref(), Some("pending"));
        assert_eq!(pick(&known[..1]).as_deref(), Some("old"));
        assert_eq!(pick(&known[2..]), None);
        let mut unprotected = at(Status::Accepted, "bare", 9, None);
        unprotected.created.unprotected = true;
        assert_eq!(pick(&[unprotected]), None);
    }

    #[test]
    fn the_real_one_takes_as_long_as_its_slowest_place() {
        let of = |tables: &[(u64, u64)], at_a_time| {
            let measured = |&(whole, statement): &(u64, u64)| Measured { whole, statement };
            would_take(&tables.iter().map(measured).collect::<Vec<_>>(), at_a_time)
        };
        assert_eq!(of(&[], 4), 0);
        assert_eq!(of(&[(10, 5)], 4), 15);
        assert_eq!(of(&[(10, 5), (10, 5), (10, 5)], 1), 45);
        assert_eq!(of(&[(10, 5), (10, 5), (10, 5)], 2), 30);
        assert_eq!(of(&[(10, 5), (10, 5), (100, 50)], 32), 150);
        assert_eq!(of(&[(10, 5)], 0), 15);
    }

    #[test]
    fn what_was_made_counts() {
        assert_eq!(exit(2, &[]), Exit::Ok);
        assert_eq!(exit(0, &[Exit::Refused]), Exit::Refused);
        assert_eq!(exit(1, &[Exit::Refused]), Exit::Partial);
        assert_eq!(exit(1, &[Exit::Refused, Exit::Unknown]), Exit::Unknown);
    }

    #[test]
    fn every_taken_name_is_told() {
        assert!(none_taken(&[]).is_ok());
        let refused = none_taken(&[&table(false), &table(true)]).unwrap_err();
        assert_eq!(refused.exit.code(), 4);
        assert!(refused.what.contains("`p.d.a`, `p.d.b`"), "{}", refused.what);
    }
}
