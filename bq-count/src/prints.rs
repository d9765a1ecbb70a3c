//! `--fingerprint`: which columns of each table, how many bytes that scans, and what it found.

use std::collections::BTreeMap;

use bqlib::api::{Api, Table};
use bqlib::exit::{Exit, Failure};
use bqlib::fingerprint::choice::{Choices, Flags};
use bqlib::fingerprint::columns::{Columns, Unfit};
use bqlib::fingerprint::partitions::Partitions;
use bqlib::fingerprint::query::{Asked as Query, query};
use bqlib::meta::TableMeta;
use bqlib::names::{Location, RunId, TableRef};
use bqlib::record::{Count, Record};
use bqlib::scan::{self, Scan, Scanned};
use bqlib::sql::{Counted, Labels};
use bqlib::tool::Tool;
use jiff::Timestamp;

use crate::Asked;

/// What will be hashed of each table, in their order.
pub(crate) struct Subjects {
    columns: Vec<Columns>,
    partitions: Vec<Option<Partitions>>,
}

/// Reads the flags against what the tables are.
///
/// # Errors
/// A column that no table has, or none left (2); one that cannot be hashed (4).
pub(crate) fn choose(
    t: &Tool,
    flags: &Flags,
    asked: &[Asked],
    there: &BTreeMap<TableRef, Option<Table>>,
) -> Result<Subjects, Failure> {
    let metas: Vec<TableMeta> = asked
        .iter()
        .map(|a| match &a.meta {
            Some(meta) => meta.clone(),
            None => there
                .get(&a.table)
                .and_then(Option::as_ref)
                .map(Table::meta)
                .unwrap_or_default(),
        })
        .collect();
    let tables: Vec<&TableRef> = asked.iter().map(|a| &a.table).collect();
    let choices = Choices::read(flags, &tables, t.named_project())?;
    let with_meta: Vec<_> = tables.iter().copied().zip(&metas).collect();
    choices.refuse_unknown(&with_meta)?;
    let columns = with_meta.iter().map(|(table, meta)| {
        Columns::of(meta, &choices.of(table)).map_err(|unfit| {
            let at = format!("table {table}");
            match &unfit {
                Unfit::Unknown { column, .. } => {
                    let hint = format!("leave it out with `--except-columns {column}`");
                    Failure::refused(unfit.to_string(), at, hint).about(table)
                }
                Unfit::Nothing => Failure::usage(unfit.to_string(), at, "name a column that it has").about(table),
            }
        })
    });
    Ok(Subjects {
        columns: columns.collect::<Result<_, _>>()?,
        partitions: metas
            .iter()
            .map(|meta| Partitions::of(meta).filter(|_| flags.per_partition))
            .collect(),
    })
}

/// Says how many bytes will be scanned, and refuses what is over the limit.
///
/// # Errors
/// A query is wrong or could not be asked; too many bytes (4).
pub(crate) async fn announce(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    flags: &Flags,
    subjects: &Subjects,
    counted: &[(Counted, Option<Location>)],
) -> Result<Vec<Scan>, Failure> {
    let mut scans = Vec::new();
    for (((table, location), columns), by) in counted.iter().zip(&subjects.columns).zip(&subjects.partitions) {
        let sql = query(&Query {
            table,
            columns,
            by: by.as_ref(),
            only: None,
        });
        scans.push(Scan {
            table: table.table.clone(),
            location: location.clone(),
            sql,
            by_partition: by.is_some(),
        });
    }
    let mut processed = Vec::new();
    for (scan, bytes) in scans.iter().zip(scan::foresee(t, api, labels, &scans).await) {
        let bytes = bytes.map_err(|e| {
            let doing = format!("asking how many bytes a fingerprint of {} scans", scan.table);
            e.failure(&doing).about(&scan.table)
        })?;
        processed.push(bytes);
    }
    scan::announce(t, &processed, scans.len(), flags.max_bytes_billed)?;
    Ok(scans)
}

/// Scans the tables; a scan each, in their order.
///
/// # Errors
/// A query failed or could not be asked.
pub(crate) async fn take(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    flags: &Flags,
    scans: &[Scan],
) -> Result<Vec<Scanned>, Failure> {
    let found = scan::scan(t, api, labels, scans, flags.max_bytes_billed).await;
    let mut all = Vec::new();
    let mut failed: Option<Failure> = None;
    for (scan, found) in scans.iter().zip(found) {
        match found {
            Some(Ok(scanned)) => all.push(scanned),
            Some(Err(e)) if failed.is_none() => {
                failed = Some(
                    e.failure(&format!("taking the fingerprint of {}", scan.table))
                        .about(&scan.table),
                );
            }
            _ => {}
        }
    }
    match failed {
        Some(failure) => Err(failure),
        // Nothing is left out but behind a failure.
        None if all.len() < scans.len() => Err(Failure::new(
            Exit::Retry,
            "a fingerprint is missing",
            t.name,
            "run the same command again",
        )),
        None => Ok(all),
    }
}

/// The record of a table.
pub(crate) fn record(
    run: Option<&RunId>,
    asked: Asked,
    i: usize,
    subjects: &Subjects,
    found: &Scanned,
    as_of: Timestamp,
) -> Record {
    let partitions = subjects.partitions.get(i).and_then(Option::as_ref);
    let by_id = found.print.partitions.iter();
    Record::Count(Count {
        run: run.cloned(),
        table: asked.table,
        rows: found.print.whole.rows,
        as_of,
        fingerprint: Some(found.print.whole.to_string()),
        columns: subjects.columns.get(i).and_then(Columns::restricted),
        partitions: partitions.map(|_| by_id.map(|(id, print)| (id.clone(), print.to_string())).collect()),
        records: asked.records,
    })
}
