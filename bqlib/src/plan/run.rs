//! PURE: what bq-run does next with a run whose journal it holds: look, submit the next file, journal the end. Whether BigQuery finds the
//! SQL wrong, and whether the reader is gone, is not decided here.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Table;
use crate::clock::{from_millis, later, millis};
use crate::exit::{Exit, Failure};
use crate::meta::TableMeta;
use crate::names::TableRef;
use crate::record::{MigrationState, Snapshot};
use crate::state::{Event, Run, Status, Step};

/// How long a snapshot must still live when the migration begins.
const ENOUGH: Duration = Duration::from_secs(24 * 3600);

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// How many files the migration has.
    pub files: u32,
    /// Whether a table that changed since the cut is refused.
    pub strict: bool,
}

/// What is known besides the journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The tables and snapshots, looked at just now; absent: not yet.
    pub look: Option<Look<'a>>,
    /// How many files this process has sent. What another one sent is never gone on with.
    pub sent: u32,
    /// Why no further file may be begun: how the last one ended, or that somebody wants the program to stop.
    pub bad: Option<&'a Failure>,
}

/// The last look before the migration.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What the stream says of the tables.
    pub snapshots: &'a [Snapshot],
    /// What BigQuery says of them and of their snapshots.
    pub there: &'a BTreeMap<TableRef, Option<Table>>,
    /// Now, by BigQuery's clock.
    pub now: Timestamp,
    /// False: the snapshots are those of a dry run, and not there to be looked at.
    pub made: bool,
}

/// What comes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Look at every table and snapshot once more.
    Look,
    /// Send this file, counted from 1; before the first: say and journal that others have changed these tables since the cut.
    Submit {
        /// Which.
        file: u32,
        /// Only before the first.
        changed: Vec<TableRef>,
    },
    /// Journal how the migration ended.
    End(Box<Event>),
    /// Nothing: how it ended is for bq-restore to find out, or is journaled.
    Nothing,
    /// Nothing may be sent.
    Refuse(Failure),
}

/// What bq-run does next. It yields each file once, in order, and only to the process that sent those before it.
pub fn plan(run: &Run, facts: &Facts, request: &Request) -> Next {
    let sent = run.submitted().map(|p| p.intent.step);
    if !sent.eq((1..=facts.sent).map(Step::Migrate)) || (facts.sent == 0 && !is_protected(run)) {
        return Next::Refuse(never_again(run));
    }
    if facts.sent == 0 {
        let changed = match (run.created.unprotected, &facts.look) {
            (true, _) => Ok(Vec::new()),
            (false, None) => return Next::Look,
            (false, Some(look)) => guard(look, request.strict),
        };
        return match changed {
            Ok(changed) => Next::Submit { file: 1, changed },
            Err(refused) => Next::Refuse(refused),
        };
    }
    if run.status != Status::Running {
        return Next::Nothing;
    }
    let taken = run
        .migrations
        .last()
        .is_some_and(|m| m.state == MigrationState::Refused);
    match facts.bad {
        // Another run of this ID, from elsewhere, has submitted its migration: the tables and their snapshots are its own now.
        _ if taken && facts.sent == 1 => Next::End(Box::new(Event::Abandoned)),
        Some(bad) if bad.exit == Exit::Unknown => Next::Nothing,
        Some(bad) => Next::End(Box::new(Event::Failed { what: bad.what.clone() })),
        None if facts.sent < request.files => Next::Submit {
            file: facts.sent + 1,
            changed: Vec::new(),
        },
        None => Next::End(Box::new(Event::Migrated)),
    }
}

fn is_protected(run: &Run) -> bool {
    let protects = !run.tables.is_empty() && run.tables.values().all(|t| t.verified);
    run.status == Status::Protected && (protects || run.created.unprotected)
}

fn never_again(run: &Run) -> Failure {
    let id = &run.created.run;
    let what = format!(
        "run `{id}` is {}: its migration is submitted once and never again",
        run.status
    );
    let hint = match run.is_pending() {
        true => format!("bq-restore --run {id}"),
        false => "snapshot again: bq-snap … | bq-run …".to_owned(),
    };
    Failure::refused(what, format!("run {id}"), hint)
}

/// The tables that others have changed since the cut.
///
/// # Errors
/// A table could no longer be put back (4); or, if `strict`, has changed.
pub fn guard(look: &Look, strict: bool) -> Result<Vec<TableRef>, Failure> {
    let mut changed = Vec::new();
    for snapshot in look.snapshots {
        let table = &snapshot.table;
        let refuse = |what: String| {
            let hint = "snapshot again: bq-snap … | bq-run …";
            Failure::refused(what, format!("table {table}"), hint).about(table)
        };
        if snapshot.absent {
            // There was nothing: whatever is there by now was made by others.
            if look.there.get(table).is_some_and(Option::is_some) {
                changed.push(table.clone());
            }
            continue;
        }
        if look.made {
            usable(snapshot, look).map_err(|what| refuse(format!("the snapshot of `{table}` {what}")))?;
        }
        let Some(base) = look.there.get(table).and_then(Option::as_ref) else {
            return Err(refuse(format!("`{table}` is gone since it was snapshotted")));
        };
        match snapshot.cut {
            Some(cut) if base.modified_ms() >= millis(cut) => changed.push(table.clone()),
            // It is as it was at the cut: so must be what was written down of it, which was read some moments before.
            Some(_) if look.made && is_stale(snapshot, base) => {
                return Err(refuse(format!("`{table}` was changed while it was being snapshotted")));
            }
            _ => {}
        }
    }
    match changed.first() {
        Some(table) if strict => {
            let absent = look.snapshots.iter().any(|s| s.absent && s.table == *table);
            Err(has_changed(table, absent))
        }
        _ => Ok(changed),
    }
}

/// Whether what was written down of a table is not what the table is.
fn is_stale(snapshot: &Snapshot, base: &Table) -> bool {
    let now = base.meta();
    let as_it_is = |before: &TableMeta| before.differences(&now).is_empty() && before.is_clone() == now.is_clone();
    snapshot.meta.as_ref().is_some_and(|before| !as_it_is(before))
}

/// What is said of a table that others have changed since the cut; or made, if it is protected as `absent`.
pub fn has_changed(table: &TableRef, absent: bool) -> Failure {
    let hint = format!("its rollback will need `--discard-foreign {table}`; or snapshot again");
    Failure::refused(
        match absent {
            false => format!("`{table}` has changed since the cut"),
            true => format!("`{table}` did not exist at the cut, and others have made it since"),
        },
        format!("table {table}"),
        hint,
    )
    .about(table)
}

/// What is wrong with a snapshot that a rollback would rest on.
fn usable(snapshot: &Snapshot, look: &Look) -> Result<(), String> {
    let name = snapshot.snapshot.as_ref().ok_or("is not named in the stream")?;
    let found = look.there.get(name).and_then(Option::as_ref).ok_or("is missing")?;
    match found.snapshot_of() {
        Some((base, at)) if base == snapshot.table && Some(at) == snapshot.cut => {}
        Some((base, at)) => return Err(format!("is of {base} as of {at}")),
        None => return Err("is no snapshot any more".to_owned()),
    }
    match found.expires_ms() {
        Some(ms) if ms < millis(later(look.now, ENOUGH)) => Err(format!("expires too soon, at {}", from_millis(ms))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{STATUSES, copy, created, history, live, record, run_in, snapshot_of, table, there, told};
    use super::*;
    use crate::api::Table;
    use crate::state::Event;

    fn word(next: &Next) -> String {
        match next {
            Next::Look => "look".to_owned(),
            Next::Submit { file, changed } => format!("submit {file}, {} changed", changed.len()),
            Next::End(event) => match **event {
                Event::Migrated => "migrated".to_owned(),
                Event::Failed { .. } => "failed".to_owned(),
                _ => "abandoned".to_owned(),
            },
            Next::Nothing => "nothing".to_owned(),
            Next::Refuse(_) => "refuse".to_owned(),
        }
    }

    const TWO: Request = Request {
        files: 2,
        strict: false,
    };

    #[test]
    fn every_status_to_a_process_that_has_sent_nothing() {
        for status in STATUSES {
            let want = if status == Status::Protected { "look" } else { "refuse" };
            assert_eq!(word(&plan(&run_in(status), &Facts::default(), &TWO)), want, "{status}");
        }
        let unprotected = told(&[created(true), Event::Protected]);
        assert_eq!(
            word(&plan(&unprotected, &Facts::default(), &TWO)),
            "submit 1, 0 changed"
        );
        let nothing = told(&[created(false), Event::Protected]);
        assert_eq!(
            word(&plan(&nothing, &Facts::default(), &TWO)),
            "refuse",
            "protects nothing"
        );
        let unverified = [&history(Status::Snapping)[..], &[Event::Protected]].concat();
        assert_eq!(
            word(&plan(&told(&unverified), &Facts::default(), &TWO)),
            "refuse",
            "unverified"
        );
    }

    #[test]
    fn the_last_look() {
        let snapshots = [record(false, true), record(true, true)];
        let looked = |name: TableRef, found: Option<Table>, strict: bool| {
            let mut there = there(0, 0);
            there.insert(name, found);
            let look = Look {
                snapshots: &snapshots,
                there: &there,
                now: Timestamp::UNIX_EPOCH,
                made: true,
            };
            let facts = Facts {
                look: Some(look),
                ..Facts::default()
            };
            word(&plan(&run_in(Status::Protected), &facts, &Request { strict, ..TWO }))
        };
        let expiring = |ms: u64| {
            let mut resource = serde_json::json!({"expirationTime": ms.to_string(), "type": "SNAPSHOT"});
            resource["snapshotDefinition"] = serde_json::json!({
                "baseTableReference": {"projectId": "p", "datasetId": "d", "tableId": "b"},
                "snapshotTime": "1970-01-01T00:00:01Z",
            });
            Some(Table::of(&resource))
        };
        let labelled = |ms: u64| {
            let resource = serde_json::json!({"lastModifiedTime": ms.to_string(), "labels": {"a": "b"}});
            Some(Table::of(&resource))
        };
        let day = 24 * 3600 * 1000;
        for (name, found, strict, want) in [
            (table(true), Some(live(999)), false, "submit 1, 0 changed"),
            (table(true), Some(live(1000)), false, "submit 1, 1 changed"),
            // Unchanged since the cut, and not as it was written down: that was read before a change that came before the cut.
            (table(true), labelled(999), false, "refuse"),
            (table(true), labelled(1000), false, "submit 1, 1 changed"),
            (table(true), Some(live(1000)), true, "refuse"),
            (table(true), None, false, "refuse"),
            (copy(true), None, false, "refuse"),
            (copy(true), Some(live(0)), false, "refuse"),
            (copy(true), Some(snapshot_of(false, "open")), false, "refuse"),
            (copy(true), expiring(day - 1), false, "refuse"),
            (copy(true), expiring(day), false, "submit 1, 0 changed"),
        ] {
            assert_eq!(
                looked(name.clone(), found.clone(), strict),
                want,
                "{name} {found:?} {strict}"
            );
        }
    }

    #[test]
    fn a_table_that_was_absent_is_changed_once_it_is_there() {
        let absent = Snapshot {
            absent: true,
            snapshot: None,
            rows: None,
            meta: None,
            ..record(true, true)
        };
        let snapshots = [record(false, true), absent];
        // As it was at the cut but that it is there; there is no snapshot to look for.
        for (found, made, strict, want) in [
            (None, true, false, Some(0)),
            (Some(live(0)), true, false, Some(1)),
            (Some(live(5000)), true, false, Some(1)),
            (Some(live(5000)), true, true, None),
            (None, true, true, Some(0)),
            (Some(live(5000)), false, false, Some(1)),
            (None, false, false, Some(0)),
        ] {
            let mut there = there(0, 0);
            there.remove(&copy(true));
            there.insert(table(true), found);
            let look = Look {
                snapshots: &snapshots,
                there: &there,
                now: Timestamp::UNIX_EPOCH,
                made,
            };
            let changed = guard(&look, strict);
            assert_eq!(changed.as_ref().ok().map(Vec::len), want, "{made} {strict} {changed:?}");
            assert!(
                changed
                    .err()
                    .is_none_or(|e| e.what.contains("others have made it since"))
            );
        }
    }

    #[test]
    fn after_the_first_file() {
        let running = run_in(Status::Running);
        let bad = |exit| Failure::new(exit, "", "", "");
        let (failed, unknown) = (bad(Exit::No), bad(Exit::Unknown));
        for (sent, files, bad, want) in [
            (0, 2, None, "refuse"),
            (2, 2, None, "refuse"),
            (1, 2, None, "submit 2, 0 changed"),
            (1, 1, None, "migrated"),
            (1, 2, Some(&failed), "failed"),
            (1, 2, Some(&unknown), "nothing"),
        ] {
            let facts = Facts { look: None, sent, bad };
            let next = plan(&running, &facts, &Request { files, strict: false });
            assert_eq!(word(&next), want, "{sent} of {files}, {bad:?}");
        }
        let facts = Facts {
            sent: 1,
            ..Facts::default()
        };
        assert_eq!(word(&plan(&run_in(Status::Migrated), &facts, &TWO)), "nothing");
    }
}
