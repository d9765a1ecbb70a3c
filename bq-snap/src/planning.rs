//! Looking at every table before it is protected, and naming its snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bqlib::api::{Api, Dataset, Table};
use bqlib::clock::parse_duration;
use bqlib::exit::Failure;
use bqlib::names::{DatasetRef, Location, RunId, TableRef};
use bqlib::perform::at_a_time;
use bqlib::record::Snapshot;
use bqlib::sql::RUN_LABEL;
use bqlib::tables::{Listed, Which, labelled};
use bqlib::tool::Tool;
use jiff::SignedDuration;

use crate::absent::Absent;
use crate::{AGAIN, Args, absent, guard, pending};

/// A table that is to be protected, with what BigQuery said of it.
pub(crate) struct Planned {
    pub(crate) table: TableRef,
    pub(crate) snapshot: TableRef,
    pub(crate) apart: Option<DatasetRef>,
    pub(crate) location: Option<Location>,
    pub(crate) listed: Listed,
    pub(crate) found: Table,
    /// How far back its dataset lets it be read, if that dataset was asked.
    pub(crate) time_travel_hours: Option<u64>,
}

/// A length of time in milliseconds, as records and journals have it.
pub(crate) fn keep_ms(keep: Option<Duration>) -> Option<u64> {
    keep.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The name of a table's snapshot.
pub(crate) fn snapshot_name(table: &TableRef, run: &RunId, apart: Option<&DatasetRef>) -> Result<TableRef, Failure> {
    table.snapshot_name(run, apart).map_err(|e| {
        let hint = "use a shorter run ID with `--run`";
        Failure::usage(e.to_string(), format!("table {table}"), hint).about(table)
    })
}

impl Planned {
    /// The record of it, as far as it is known before its snapshot is verified.
    pub(crate) fn record(&self, run: &RunId, keep: Option<Duration>) -> Snapshot {
        Snapshot {
            run: run.clone(),
            table: self.table.clone(),
            absent: false,
            snapshot: Some(self.snapshot.clone()),
            cut: None,
            expires: None,
            keep_ms: keep_ms(keep),
            time_travel_hours: self.time_travel_hours,
            rows: None,
            bytes: self.found.bytes(),
            unprotected_rows: None,
            level: self.listed.level.clone(),
            records: self.listed.records,
            after: self.listed.after,
            schema_rule: self.listed.schema,
            meta: Some(self.found.meta()),
        }
    }
}

/// What is known of all tables that are to be protected, and of their datasets.
pub(crate) struct Plan {
    pub(crate) planned: Vec<Planned>,
    /// Those that do not exist yet.
    pub(crate) absent: Vec<Absent>,
    pub(crate) datasets: Datasets,
}

/// A table that was looked for.
pub(crate) enum Found {
    /// It is there.
    There(Box<Planned>),
    /// It is not, and that is to be protected.
    Absent(Box<Absent>),
}

/// What is asked of BigQuery for each table.
pub(crate) type Looked = Vec<(usize, Result<Found, Failure>)>;

/// Datasets by name.
pub(crate) type Datasets = BTreeMap<DatasetRef, Dataset>;

/// Looks at every table and refuses those that could not be put back, each by its own words.
pub(crate) async fn plan(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    list: &[(TableRef, Listed)],
    run: &RunId,
    expire: bool,
) -> Result<Plan, Failure> {
    let (mut planned, mut absent) = all_or_none(t, look(args, t, api, list, run).await?)?;
    let datasets = datasets(t, api, &planned, &absent, expire).await?;
    absent::place(t, &mut absent, &datasets);
    for one in &mut planned {
        one.time_travel_hours = datasets.get(&one.table.dataset_ref()).and_then(|d| d.time_travel_hours);
    }
    let guarded = guarded(args, t, api, &planned, &datasets).await;
    let refused = guarded.into_iter().filter_map(Result::err).collect();
    tell_all(t, refused)?;
    Ok(Plan {
        planned,
        absent,
        datasets,
    })
}

/// Looks at every table; the streaming buffer is waited for as long as that was asked for.
pub(crate) async fn look(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    list: &[(TableRef, Listed)],
    run: &RunId,
) -> Result<Looked, Failure> {
    let apart = match &args.snapshot_dataset {
        None => None,
        Some(name) => Some(
            DatasetRef::parse(name, api.project())
                .map_err(|e| Failure::usage(e.to_string(), "--snapshot-dataset", "name a dataset"))?,
        ),
    };
    let wait = match &args.wait_buffer {
        None => Duration::ZERO,
        Some(text) => parse_duration(text)
            .map_err(|e| Failure::usage(e, "--wait-buffer", "say for example `--wait-buffer 90m`"))?,
    };
    let mut looked = at_a_time(
        t.jobs,
        list.iter().enumerate(),
        async |(i, (table, listed)): (usize, &(TableRef, Listed))| {
            let found = look_at(args, t, api, table, listed, run, apart.as_ref(), wait).await;
            (i, found)
        },
    )
    .await;
    looked.sort_by_key(|(i, _)| *i);
    Ok(looked)
}

/// The tables in the order of the list; or the last of the failures, those before it being told.
fn all_or_none(t: &Tool, results: Looked) -> Result<(Vec<Planned>, Vec<Absent>), Failure> {
    let mut refused = Vec::new();
    let found = results.into_iter().filter_map(|(_, result)| match result {
        Ok(found) => Some(found),
        Err(failure) => {
            refused.push(failure);
            None
        }
    });
    let sorted = sorted(found);
    tell_all(t, refused).map(|()| sorted)
}

/// The tables that are there, and those that are not.
pub(crate) fn sorted(found: impl Iterator<Item = Found>) -> (Vec<Planned>, Vec<Absent>) {
    let (mut planned, mut absent) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Found::There(there) => planned.push(*there),
            Found::Absent(one) => absent.push(*one),
        }
    }
    (planned, absent)
}

/// Every failure is told; the last of them, with the gravest code, ends the program.
pub(crate) fn tell_all(t: &Tool, mut failures: Vec<Failure>) -> Result<(), Failure> {
    let Some(mut last) = failures.pop() else {
        return Ok(());
    };
    for failure in &failures {
        t.error(failure);
    }
    last.exit = failures
        .iter()
        .rev()
        .fold(last.exit, |exit, failure| failure.exit.or_graver(exit));
    Err(last)
}

/// Reads a table, waiting for its streaming buffer as long as that was asked for.
#[allow(clippy::too_many_arguments)]
async fn look_at(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    table: &TableRef,
    listed: &Listed,
    run: &RunId,
    apart: Option<&DatasetRef>,
    wait: Duration,
) -> Result<Found, Failure> {
    let snapshot = snapshot_name(table, run, apart)?;
    let started = t.clock.now();
    let found = loop {
        let found = api
            .table(table)
            .await
            .map_err(|e| e.failure(&format!("reading {table}")).about(table))?;
        // A table that a wildcard found a moment ago was not named.
        let named = matches!(listed.what, Which::Table(_));
        let Some(found) = found else {
            return match args.absent_ok && named {
                true => Absent::of(table, listed, apart).map(|one| Found::Absent(Box::new(one))),
                false => {
                    let what = format!("there is no table `{table}`");
                    let hint = match named {
                        true => "mend its name, take it off the list, or protect that it is absent with `--absent-ok`",
                        false => "mend its name, or take it off the list",
                    };
                    Err(Failure::usage(what, &listed.at, hint).about(table))
                }
            };
        };
        let waited = t.clock.now().duration_since(started);
        if found.streaming_buffer().is_none() || waited >= SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)
        {
            break found;
        }
        t.pause(Duration::from_secs(10), AGAIN).await?;
    };
    Ok(Found::There(Box::new(Planned {
        table: table.clone(),
        snapshot,
        apart: apart.cloned(),
        location: t.location.clone().or_else(|| found.location()),
        listed: listed.clone(),
        found,
        time_travel_hours: None,
    })))
}

/// The datasets whose defaults or place matter to the snapshots in them, and those of tables that are not there: each asked for once.
async fn datasets(
    t: &Tool,
    api: &Api<'_>,
    planned: &[Planned],
    absent: &[Absent],
    expire: bool,
) -> Result<Datasets, Failure> {
    let matters = |p: &&Planned| !expire || p.apart.is_some() || p.found.meta().is_time_partitioned();
    // Its own dataset too: what a restore keeps of a table stands beside it.
    let of = |p: &Planned| [p.snapshot.dataset_ref(), p.table.dataset_ref()];
    let mut names: BTreeSet<DatasetRef> = planned.iter().filter(matters).flat_map(of).collect();
    names.extend(absent.iter().map(|a| a.table.dataset_ref()));
    let found = at_a_time(t.jobs, names, async |name: DatasetRef| {
        let found = dataset(api, &name, absent).await?;
        Ok((name, found))
    })
    .await;
    found.into_iter().collect()
}

/// A dataset that has to be there.
pub(crate) async fn dataset(api: &Api<'_>, name: &DatasetRef, absent: &[Absent]) -> Result<Dataset, Failure> {
    let found = api
        .dataset(name)
        .await
        .map_err(|e| e.failure(&format!("reading {name}")))?;
    found.ok_or_else(|| {
        let of = absent.iter().find(|a| a.table.dataset_ref() == *name);
        let at = of.map_or("--snapshot-dataset", |a| &a.listed.at);
        Failure::usage(format!("there is no dataset `{name}`"), at, "create it first")
    })
}

/// What keeps tables from being put back, each by its own words, in the order of the list.
pub(crate) async fn guarded(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    planned: &[Planned],
    datasets: &Datasets,
) -> Vec<Result<(), Failure>> {
    let mut guarded = at_a_time(
        t.jobs,
        planned.iter().enumerate(),
        async |(i, planned): (usize, &Planned)| (i, guard_one(args, api, planned, datasets).await),
    )
    .await;
    guarded.sort_by_key(|(i, _)| *i);
    guarded.into_iter().map(|(_, result)| result).collect()
}

/// Refuses a table that could not be put back.
async fn guard_one(args: &Args, api: &Api<'_>, planned: &Planned, datasets: &Datasets) -> Result<(), Failure> {
    let Planned { table, found, .. } = planned;
    let refuse = |what: String, hint: &str| Failure::refused(what, format!("table {table}"), hint).about(table);
    if found.label(RUN_LABEL).is_some() {
        return Err(labelled(table));
    }
    let home = datasets.get(&planned.snapshot.dataset_ref());
    if let (Some(there), Some(here)) = (home.and_then(|d| d.location.as_ref()), found.location())
        && !there.is(&here)
    {
        let what = format!("`{table}` is in {here}, and the dataset for its snapshot in {there}");
        return Err(refuse(what, "choose a dataset in the same location"));
    }
    guard::protectable(&guard::Facts {
        table,
        kind: found.kind(),
        iceberg: found.is_iceberg(),
        streaming: found.streaming_buffer(),
        without_buffer: args.without_buffer,
        depth: pending::depth(api, table, found).await?,
        meta: &found.meta(),
        default_partition_ms: [home, datasets.get(&table.dataset_ref())]
            .into_iter()
            .filter_map(|d| d?.partition_expiration_ms)
            .min(),
    })
}
