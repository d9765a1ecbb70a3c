//! The last look before the migration is submitted, and the first one after it.

use std::collections::BTreeMap;
use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::{from_millis, millis};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{RunId, TableRef};
use bqlib::perform::Held;
use bqlib::record::Snapshot;
use bqlib::runs::{later, look};
use bqlib::state::{Event, Looks};
use bqlib::tool::Tool;

/// How long a snapshot must still live when the migration begins.
const ENOUGH: Duration = Duration::from_secs(24 * 3600);

/// Looks at every protected table and its snapshot once more. Refuses (4) what could no longer be put back; a table that changed since
/// the cut is a warning, or with `--strict` refused; these are returned.
pub(crate) async fn before(
    t: &Tool,
    api: &Api<'_>,
    snapshots: &[Snapshot],
    strict: bool,
    dry_stream: bool,
) -> Result<Vec<TableRef>, Failure> {
    let bases = snapshots.iter().map(|s| &s.table);
    // The snapshots of a dry run are not there to be looked at.
    let copies = snapshots
        .iter()
        .filter(|_| !dry_stream)
        .filter_map(|s| s.snapshot.as_ref());
    let there = look(api, t.jobs, bases.chain(copies)).await?;
    let mut changed = Vec::new();
    for snapshot in snapshots {
        let refuse = |what: String| {
            let hint = "snapshot again: bq-snap … | bq-run …";
            Failure::refused(what, format!("table {}", snapshot.table), hint).about(&snapshot.table)
        };
        if !dry_stream {
            usable(snapshot, &there, api)
                .map_err(|what| refuse(format!("the snapshot of `{}` {what}", snapshot.table)))?;
        }
        let base = there.get(&snapshot.table).and_then(Option::as_ref);
        let Some(base) = base else {
            return Err(refuse(format!("`{}` is gone since it was snapshotted", snapshot.table)));
        };
        if snapshot.cut.is_some_and(|cut| base.modified_ms() >= millis(cut)) {
            changed.push(snapshot);
        }
    }
    for snapshot in &changed {
        let table = &snapshot.table;
        let what = format!("`{table}` has changed since the cut");
        let hint = format!("its rollback will need `--discard-foreign {table}`; or snapshot again");
        let failure = Failure::new(Exit::Refused, what, format!("table {table}"), hint).about(table);
        if strict {
            return Err(failure);
        }
        t.warn(&failure);
    }
    Ok(changed.into_iter().map(|s| s.table.clone()).collect())
}

/// What is wrong with a snapshot that a rollback would rest on.
fn usable(snapshot: &Snapshot, there: &BTreeMap<TableRef, Option<Table>>, api: &Api<'_>) -> Result<(), String> {
    let name = snapshot.snapshot.as_ref().ok_or("is not named in the stream")?;
    let found = there.get(name).and_then(Option::as_ref).ok_or("is missing")?;
    match found.snapshot_of() {
        Some((base, at)) if base == snapshot.table && Some(at) == snapshot.cut => {}
        Some((base, at)) => return Err(format!("is of {base} as of {at}")),
        None => return Err("is no snapshot any more".to_owned()),
    }
    match found.expires_ms() {
        Some(ms) if ms < millis(later(api.now(), ENOUGH)) => Err(format!("expires too soon, at {}", from_millis(ms))),
        _ => Ok(()),
    }
}

/// How each protected table looks once the migration has ended: what bq-restore tells later writes by.
pub(crate) async fn after(t: &Tool, api: &Api<'_>, held: &Held<'_>) -> Result<(), Failure> {
    let tables: Vec<TableRef> = held.run().tables.keys().cloned().collect();
    let there = look(api, t.jobs, &tables).await?;
    let events: Vec<Event> = there
        .into_iter()
        .map(|(table, found)| {
            Event::Looks(Looks {
                table,
                modified_ms: found.as_ref().map(Table::modified_ms),
                meta: found.as_ref().map(Table::meta),
            })
        })
        .collect();
    held.note(&events).await
}

/// A run ID for a migration without protection. A word of chance keeps two of one second apart: unlike bq-snap, bq-run cannot try the next
/// second, for the job that would tell it is the migration itself.
pub(crate) fn generated(api: &Api<'_>) -> Result<RunId, Failure> {
    let text = format!("{}_{}", api.now().strftime("%Y%m%d_%H%M%S"), &api.clock().nonce()[..6]);
    text.parse()
        .map_err(|e: bqlib::names::BadName| Failure::usage(e.to_string(), "the clock", "name a run with `--run`"))
}
