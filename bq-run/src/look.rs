//! The last look before the migration is submitted, and the first one after it; and at what it would write.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, Table};
use bqlib::exit::Failure;
use bqlib::foresight::Thing;
use bqlib::foresight::lint::Before;
use bqlib::names::{JobId, RunId, TableRef};
use bqlib::perform::{Held, at_a_time};
use bqlib::plan::foresee::{Given, There, to_look_up};
use bqlib::record::Snapshot;
use bqlib::runs::look;
use bqlib::script::{self, Deed};
use bqlib::state::{Event, Looks};
use bqlib::tool::Tool;

use crate::foresight::Read;

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

/// What is written or made and is neither protected nor allowed, and protected tables that a known trap may be about.
pub(crate) async fn at_what_is_written(
    t: &Tool,
    api: &Api<'_>,
    read: &[Read<'_>],
    given: &Given,
) -> Result<There, Failure> {
    let deeds = || read.iter().flat_map(|file| &file.deeds);
    let wanted = to_look_up(deeds(), given);
    let renamed = read.iter().flat_map(|file| file.statements.iter().zip(&file.deeds));
    let renamed = renamed.filter(|(s, _)| matches!(s.kind, script::Kind::AlterTable | script::Kind::RenameTable));
    let renamed = renamed
        .flat_map(|(_, deeds)| &deeds.effects)
        .filter_map(|(deed, thing)| match (deed, thing) {
            (Deed::Drop, Thing::Table(table)) if given.protected.contains(table) => Some(table.clone()),
            _ => None,
        });
    let tables: BTreeSet<TableRef> = wanted
        .iter()
        .filter_map(|thing| match thing {
            Thing::Table(table) => Some(table.clone()),
            _ => None,
        })
        .chain(renamed)
        .collect();
    let others = wanted.iter().filter(|thing| !matches!(thing, Thing::Table(_)));
    let asked = at_a_time(t.jobs, others, async |thing: &Thing| {
        let found = match thing {
            Thing::Routine(name) => api.has_routine(name).await,
            Thing::Model(name) => api.has_model(name).await,
            Thing::Dataset(dataset) => api.dataset(dataset).await.map(|found| found.is_some()),
            _ => Ok(false),
        };
        found
            .map(|found| (thing.clone(), found))
            .map_err(|e| e.failure(&format!("reading {thing}")))
    });
    let others = asked.await.into_iter().collect::<Result<_, _>>()?;
    Ok(There {
        tables: look(api, t.jobs, &tables).await?,
        others,
        protected: BTreeSet::new(),
    })
}

/// The protected tables as they are before the migration, for what is known to go wrong with them.
pub(crate) async fn before_image(
    t: &Tool,
    api: &Api<'_>,
    read: &[Read<'_>],
    snapshots: &[Snapshot],
    there: &There,
) -> BTreeMap<TableRef, Before> {
    let effects = read
        .iter()
        .flat_map(|file| &file.deeds)
        .flat_map(|deeds| &deeds.effects);
    let replaced: BTreeSet<&TableRef> = effects
        .filter_map(|(deed, thing)| match thing {
            Thing::Table(table) if *deed == Deed::Replace => Some(table),
            _ => None,
        })
        .collect();
    let asked = snapshots
        .iter()
        .map(|s| &s.table)
        .filter(|table| replaced.contains(*table));
    // Without the right to list them it is not known whether there are any; bq-check compares them afterwards.
    let policies = at_a_time(t.jobs, asked, async |table: &TableRef| {
        let found = api.row_policies(table).await;
        (table.clone(), found.is_ok_and(|found| !found.is_empty()))
    });
    let policies: BTreeMap<TableRef, bool> = policies.await.into_iter().collect();
    let image = |s: &Snapshot| {
        let now = there.tables.get(&s.table).and_then(Option::as_ref);
        let before = Before {
            meta: s.meta.clone()?,
            row_policies: policies.get(&s.table).copied().unwrap_or(false),
            streams: now.is_some_and(|table| table.streaming_buffer().is_some()),
        };
        Some((s.table.clone(), before))
    };
    snapshots.iter().filter(|s| !s.absent).filter_map(image).collect()
}
