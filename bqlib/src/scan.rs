//! Asking for fingerprints: how many bytes that will scan, whether that is allowed, then the scan.
//!
//! Read-only, so never journaled. What is asked, and what an answer means, is `fingerprint`'s.

use std::cell::Cell;

use jiff::Timestamp;

use crate::api::{Api, ApiError, Kind, Limits};
use crate::clock::from_millis;
use crate::count::{self, Question, query_within};
use crate::exit::Failure;
use crate::fingerprint::{Print, bytes};
use crate::meta::integer;
use crate::names::{Location, TableRef};
use crate::perform::at_a_time;
use crate::sql::Labels;
use crate::tool::Tool;

/// One query that scans a table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table that it scans.
    pub table: TableRef,
    /// Where it runs.
    pub location: Option<Location>,
    /// Its text, of [`crate::fingerprint::query::query`].
    pub sql: String,
    /// Whether it gives a row for each partition, and so none for a table without rows; else it gives one.
    pub by_partition: bool,
}

/// What a scan found.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The fingerprint.
    pub print: Print,
    /// The query's own instant.
    pub at: Timestamp,
    /// The bytes that BigQuery bills for it.
    pub billed: u64,
}

/// How many bytes the scans will process, as a dry run of each says, in their order.
pub async fn foresee(t: &Tool, api: &Api<'_>, labels: &Labels, scans: &[Scan]) -> Vec<Result<u64, ApiError>> {
    in_order(t.jobs, scans, async |scan: &Scan| {
        let plan = count::foresee(api, &question(scan, labels), &scan.sql).await?;
        Ok(plan.bytes_processed().unwrap_or(0))
    })
    .await
}

/// Of a query over one table BigQuery bills whole MB, and at least ten of them, unless it scans nothing.
/// Source: <https://cloud.google.com/bigquery/pricing#on_demand_pricing>.
fn billed_for(processed: u64) -> u64 {
    const MB: u64 = 1024 * 1024;
    match processed {
        0 => 0,
        bytes => bytes.div_ceil(MB).saturating_mul(MB).max(10 * MB),
    }
}

/// Says how many bytes the scans will process and BigQuery will bill; `processed`: of each scan.
///
/// # Errors
/// More would be billed than `--max-bytes-billed` (4).
pub fn announce(t: &Tool, processed: &[u64], tables: usize, limit: Option<u64>) -> Result<(), Failure> {
    let total = processed.iter().fold(0, |sum: u64, one| sum.saturating_add(*one));
    let billed = processed
        .iter()
        .fold(0, |sum: u64, one| sum.saturating_add(billed_for(*one)));
    let what = format!("scan {}, billed as {}", bytes(total), bytes(billed));
    if let Some(limit) = limit.filter(|limit| billed > *limit) {
        return Err(Failure::refused(
            format!("taking fingerprints would {what}, which is over the limit"),
            format!("--max-bytes-billed {limit}"),
            "raise the limit, or look at less: `--columns`, `--except-columns`, fewer tables (each is billed 10 MiB at least)",
        ));
    }
    let tables = match tables {
        1 => "1 table".to_owned(),
        n => format!("{n} tables"),
    };
    t.tell(&format!("fingerprints of {tables} will {what}"));
    Ok(())
}

/// Scans, and answers in the order of the scans. Once one has failed no further one is begun: `None`.
pub async fn scan(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    scans: &[Scan],
    limit: Option<u64>,
) -> Vec<Option<Result<Scanned, ApiError>>> {
    let failed = Cell::new(false);
    in_order(t.jobs, scans, async |one: &Scan| {
        if failed.get() {
            return None;
        }
        let answer = scan_one(api, labels, one, limit).await;
        failed.set(failed.get() || answer.is_err());
        Some(answer)
    })
    .await
}

fn question<'a>(scan: &'a Scan, labels: &'a Labels) -> Question<'a> {
    Question {
        what: "fingerprint",
        location: scan.location.as_ref(),
        labels,
        params: &[],
    }
}

async fn scan_one(api: &Api<'_>, labels: &Labels, scan: &Scan, limit: Option<u64>) -> Result<Scanned, ApiError> {
    let question = question(scan, labels);
    let limits = Limits {
        max_bytes_billed: limit,
        ..Limits::default()
    };
    let (rows, id, location) = query_within(api, &question, &scan.sql, None, &limits).await?;
    let at = rows.first().and_then(|row| row.get("as_of_ms")).and_then(integer);
    let print = Print::of_rows(&rows, scan.by_partition).ok_or_else(|| {
        let kind = Kind::Unreachable(format!("the answer about {} is no fingerprint", scan.table));
        ApiError::new(kind, "getQueryResults".to_owned(), false)
    })?;
    let job = api.job(&id, location.as_ref()).await?;
    Ok(Scanned {
        print,
        at: at.map_or_else(|| api.now(), from_millis),
        billed: job.and_then(|job| job.bytes_billed()).unwrap_or(0),
    })
}

/// Works on many, some at a time, and answers in their order.
async fn in_order<'a, T, R>(at_once: usize, items: &'a [T], work: impl AsyncFn(&'a T) -> R) -> Vec<R> {
    let numbered = items.iter().enumerate();
    let mut answers = at_a_time(at_once, numbered, async |(i, item): (usize, &'a T)| {
        (i, work(item).await)
    })
    .await;
    answers.sort_by_key(|(i, _)| *i);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::billed_for;

    #[test]
    fn bigquery_bills_whole_mb_and_ten_at_least() {
        const MB: u64 = 1024 * 1024;
        for (processed, billed) in [
            (0, 0),
            (1, 10 * MB),
            (10 * MB, 10 * MB),
            (10 * MB + 1, 11 * MB),
            (99 * MB, 99 * MB),
        ] {
            assert_eq!(billed_for(processed), billed, "{processed}");
        }
    }
}
