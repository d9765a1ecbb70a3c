//! Looking at every table before it is protected, and naming its snapshot.
use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::parse_duration;
use bqlib::exit::Failure;
use bqlib::names::{DatasetRef, Location, RunId, TableRef};
use bqlib::perform::at_a_time;
use bqlib::record::Snapshot;
use bqlib::sql::RUN_LABEL;
use bqlib::tables::Listed;
use bqlib::tool::Tool;
use jiff::SignedDuration;

use crate::{Args, guard, pending};

/// A table that is to be protected, with what BigQuery said of it.
pub(crate) struct Planned {
    pub(crate) table: TableRef,
    pub(crate) snapshot: TableRef,
    pub(crate) apart: Option<DatasetRef>,
    pub(crate) location: Option<Location>,
    pub(crate) listed: Listed,
    pub(crate) found: Table,
}

/// The name of a table's snapshot.
pub(crate) fn snapshot_name(table: &TableRef, run: &RunId, apart: Option<&DatasetRef>) -> Result<TableRef, Failure> {
    let name = match apart {
        None => format!("{}_snapshot_{run}", table.table),
        Some(_) => format!("{}__{}_snapshot_{run}", table.dataset, table.table),
    };
    let home = apart.cloned().unwrap_or_else(|| table.dataset_ref());
    let parsed = name.parse().map_err(|e: bqlib::names::BadName| {
        Failure::usage(
            e.to_string(),
            format!("table {table}"),
            "use a shorter run ID with `--run`",
        )
        .about(table)
    })?;
    Ok(home.table(parsed))
}

impl Planned {
    pub(crate) fn name_for(&self, run: &RunId) -> Option<TableRef> {
        snapshot_name(&self.table, run, self.apart.as_ref()).ok()
    }

    /// The record of it, as far as it is known before its snapshot is verified.
    pub(crate) fn record(&self, run: &RunId, keep: Option<Duration>) -> Snapshot {
        Snapshot {
            run: run.clone(),
            table: self.table.clone(),
            absent: false,
            snapshot: Some(self.snapshot.clone()),
            cut: None,
            expires: None,
            keep_ms: keep.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
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

/// Looks at every table and refuses those that could not be put back, each by its own words.
pub(crate) async fn plan(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    list: &[(TableRef, Listed)],
    run: &RunId,
) -> Result<Vec<Planned>, Failure> {
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
    let results = at_a_time(
        t.jobs,
        list.iter().enumerate(),
        async |(i, (table, listed)): (usize, &(TableRef, Listed))| {
            let planned = plan_one(args, t, api, table, listed, run, apart.as_ref(), wait).await;
            (i, planned)
        },
    )
    .await;
    let mut results = results;
    results.sort_by_key(|(i, _)| *i);
    let mut planned = Vec::new();
    let mut refused: Option<Failure> = None;
    for (_, result) in results {
        match (result, &mut refused) {
            (Ok(one), _) => planned.push(one),
            (Err(failure), None) => refused = Some(failure),
            (Err(failure), Some(first)) => {
                let exit = first.exit.or_graver(failure.exit);
                t.error(&std::mem::replace(first, failure));
                first.exit = exit;
            }
        }
    }
    match refused {
        Some(failure) => Err(failure),
        None => Ok(planned),
    }
}

#[allow(clippy::too_many_arguments)]
pub(crate) async fn plan_one(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    table: &TableRef,
    listed: &Listed,
    run: &RunId,
    apart: Option<&DatasetRef>,
    wait: Duration,
) -> Result<Planned, Failure> {
    let snapshot = snapshot_name(table, run, apart)?;
    let started = t.clock.now();
    let found = loop {
        let found = api
            .table(table)
            .await
            .map_err(|e| e.failure(&format!("reading {table}")).about(table))?;
        let found = found.ok_or_else(|| {
            Failure::usage(
                format!("there is no table `{table}`"),
                &listed.at,
                "mend its name, or take it off the list",
            )
            .about(table)
        })?;
        let waited = t.clock.now().duration_since(started);
        if found.streaming_buffer().is_none() || waited >= SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)
        {
            break found;
        }
        t.go_on("run the same command again")?;
        t.clock.sleep(Duration::from_secs(10)).await;
    };
    if found.label(RUN_LABEL).is_some() {
        let what = format!("`{table}` is a copy that these programs made");
        return Err(Failure::refused(what, format!("table {table}"), "take it off the list").about(table));
    }
    let meta = found.meta();
    let default_partition_ms = match (apart, meta.is_time_partitioned()) {
        (None, false) => None,
        _ => {
            let dataset = snapshot.dataset_ref();
            let there = api
                .dataset(&dataset)
                .await
                .map_err(|e| e.failure(&format!("reading {dataset}")))?;
            let there = there.ok_or_else(|| {
                Failure::usage(
                    format!("there is no dataset `{dataset}`"),
                    "--snapshot-dataset",
                    "create it first",
                )
            })?;
            if let (Some(a), Some(b)) = (&there.location, found.location())
                && !a.is(&b)
            {
                let what = format!("`{table}` is in {b}, and the dataset for its snapshot in {a}");
                return Err(
                    Failure::refused(what, format!("table {table}"), "choose a dataset in the same location")
                        .about(table),
                );
            }
            there.partition_expiration_ms
        }
    };
    guard::protectable(&guard::Facts {
        table,
        kind: found.kind(),
        streaming: found.streaming_buffer(),
        without_buffer: args.without_buffer,
        depth: pending::depth(api, table, &found).await?,
        meta: &meta,
        default_partition_ms,
    })?;
    Ok(Planned {
        table: table.clone(),
        snapshot,
        apart: apart.cloned(),
        location: t.location.clone().or_else(|| found.location()),
        listed: listed.clone(),
        found,
    })
}
