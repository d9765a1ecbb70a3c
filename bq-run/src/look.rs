//! The last look before the migration is submitted, and the first one after it.

use std::collections::BTreeMap;

use bqlib::api::{Api, Table};
use bqlib::exit::Failure;
use bqlib::names::{JobId, RunId, TableRef};
use bqlib::perform::Held;
use bqlib::record::Snapshot;
use bqlib::runs::look;
use bqlib::state::{Event, Looks};
use bqlib::tool::Tool;

/// Every protected table and, if they were made, its snapshot, once more.
pub(crate) async fn before(
    t: &Tool,
    api: &Api<'_>,
    snapshots: &[Snapshot],
    made: bool,
) -> Result<BTreeMap<TableRef, Option<Table>>, Failure> {
    let bases = snapshots.iter().map(|s| &s.table);
    let copies = snapshots.iter().filter(|_| made).filter_map(|s| s.snapshot.as_ref());
    look(api, t.jobs, bases.chain(copies)).await
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

/// An ID for a dry run; BigQuery takes none for one, so it only has to be well-formed.
pub(crate) fn dry_run_id(api: &Api<'_>) -> Result<JobId, Failure> {
    Ok(JobId::of_step(&generated(api)?, "dry-run", None, 1))
}

/// A run ID for a migration without protection. A word of chance keeps two of one second apart: unlike bq-snap, bq-run cannot try the next
/// second, for the job that would tell it is the migration itself.
pub(crate) fn generated(api: &Api<'_>) -> Result<RunId, Failure> {
    let text = format!("{}_{}", api.now().strftime("%Y%m%d_%H%M%S"), &api.clock().nonce()[..6]);
    text.parse()
        .map_err(|e: bqlib::names::BadName| Failure::usage(e.to_string(), "the clock", "name a run with `--run`"))
}
