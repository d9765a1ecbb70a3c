//! Counting rows: many tables in one query, each at an instant.
//!
//! Read-only, so never journaled; the jobs carry the labels of the run they are for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Api, ApiError, JOB_ATTEMPTS, Job, Kind, Limits, QueryJob, Rows, Sent, job_may_be_sent_again};
use crate::clock::from_millis;
use crate::exit::{Exit, Failure};
use crate::meta::integer;
use crate::names::{JobId, Location};
use crate::perform::at_a_time;
use crate::sql::{self, AsOf, Counted, TABLES_A_COUNT};

/// What is asked of a query that only reads.
pub struct Question<'a> {
    /// For its job's ID, to tell jobs of one kind apart when one looks at them (`count`, `check`).
    pub what: &'a str,
    /// Where it runs.
    pub location: Option<&'a Location>,
    /// Its job's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Parameters of the API.
    pub params: &'a [serde_json::Value],
}

/// What BigQuery says of a query before it runs: its kind, the tables it reads, where they are, the bytes it will process.
///
/// # Errors
/// BigQuery finds the query wrong, or could not be asked.
pub async fn foresee(api: &Api<'_>, question: &Question<'_>, text: &str) -> Result<Job, ApiError> {
    // A dry run takes no ID.
    let id: JobId = format!("bq-rollback-{}-dry-run", question.what)
        .parse()
        .map_err(|e: crate::names::BadName| not_ours(&e.to_string()))?;
    let (location, labels) = (question.location.cloned(), question.labels.clone());
    let mut job = QueryJob::plain(id, location, text.to_owned(), labels);
    job.params = question.params.to_vec();
    api.dry_run(&job).await
}

/// The rows of a query that only reads, and its job's ID. Sent again under another ID if it fails for reasons of BigQuery's own.
///
/// # Errors
/// The query failed or could not be asked.
pub async fn query(
    api: &Api<'_>,
    question: &Question<'_>,
    text: &str,
    most: Option<usize>,
) -> Result<Answer, ApiError> {
    query_within(api, question, text, most, &Limits::default()).await
}

/// The rows of a query, its job's ID, and where that ran.
pub type Answer = (Rows, JobId, Option<Location>);

/// The same, its job running within these limits.
///
/// # Errors
/// As [`query`].
pub async fn query_within(
    api: &Api<'_>,
    question: &Question<'_>,
    text: &str,
    most: Option<usize>,
    limits: &Limits,
) -> Result<Answer, ApiError> {
    tries(api, question, text, most, limits, &Cell::default()).await
}

/// The same, for so long. Then its job is cancelled, whether it was still on its way to BigQuery, waited for its turn or ran.
///
/// # Errors
/// The query failed, could not be asked, or took longer ([`Kind::TooLong`]).
pub async fn query_for(
    api: &Api<'_>,
    question: &Question<'_>,
    text: &str,
    most: Option<usize>,
    limits: &Limits,
    within: Duration,
) -> Result<Answer, ApiError> {
    let sent = Cell::default();
    if let Ok(answer) = tokio::time::timeout(within, tries(api, question, text, most, limits, &sent)).await {
        return answer;
    }
    let mut kind = Kind::TooLong {
        within,
        cancelled: false,
    };
    let call = format!("query ({})", question.what);
    let Some((id, location)) = sent.take() else {
        return Err(ApiError::new(kind, call, false));
    };
    let heard = tokio::time::timeout(CANCEL, api.cancel(&id, location.as_ref())).await;
    if let Kind::TooLong { cancelled, .. } = &mut kind {
        *cancelled = matches!(heard, Ok(Ok(())));
    }
    let job = Some(api.place(&id, location.as_ref()));
    Err(ApiError {
        job,
        ..ApiError::new(kind, call, true)
    })
}

/// Asks until there is an answer that counts. `under_way`: the job that is waited for.
async fn tries(
    api: &Api<'_>,
    question: &Question<'_>,
    text: &str,
    most: Option<usize>,
    limits: &Limits,
    under_way: &Cell<Option<(JobId, Option<Location>)>>,
) -> Result<Answer, ApiError> {
    let nonce = api.clock().nonce();
    let mut attempt = 1;
    loop {
        let id: JobId = format!("bq-rollback-{}-{nonce}-{attempt}", question.what)
            .parse()
            .map_err(|e: crate::names::BadName| not_ours(&e.to_string()))?;
        let mut job = QueryJob::plain(
            id.clone(),
            question.location.cloned(),
            text.to_owned(),
            question.labels.clone(),
        );
        job.params = question.params.to_vec();
        job.limits = limits.clone();
        // BigQuery says where it put the job; without that a job outside US and EU is not found again.
        let mut location = question.location.cloned();
        under_way.set(Some((id.clone(), location.clone())));
        let asked = api.unless_stopped(async {
            let sent = match api.submit(&job).await {
                Ok(Sent::Ours(sent)) => *sent,
                Ok(Sent::Another(_)) => return Err(not_ours(id.as_str())),
                // The answer to the insert is how the job ended.
                Err(e) if e.status() == Some(400) => return Ok(Err(e)),
                Err(e) => return Err(e),
            };
            location = sent.location().or(location.take());
            under_way.set(Some((id.clone(), location.clone())));
            Ok(api.rows(&id, location.as_ref(), most).await)
        });
        let answer = match asked.await {
            // What could not be sent was tried often enough.
            Ok(sent) => sent?,
            Err(signal) => {
                // Nobody waits for it any more, but it would be billed. Whether it is heard changes nothing.
                let _ = tokio::time::timeout(CANCEL, api.cancel(&id, location.as_ref())).await;
                return Err(stopped(signal, question.what));
            }
        };
        match answer {
            Ok(rows) => return Ok((rows, id, location)),
            Err(e) if attempt < JOB_ATTEMPTS && e.reason().is_some_and(job_may_be_sent_again) => {
                attempt += 1;
                let wait = api
                    .clock()
                    .sleep(api.wait_before(attempt, e.reason().unwrap_or_default()));
                api.unless_stopped(wait)
                    .await
                    .map_err(|signal| stopped(signal, question.what))?;
            }
            Err(e) => return Err(e),
        }
    }
}

/// How long the cancelling of a query that only reads may take.
const CANCEL: Duration = Duration::from_secs(2);

/// A query that was not waited for.
fn stopped(signal: u8, what: &str) -> ApiError {
    let kind = Kind::Stopped(signal, "before the query had ended".to_owned());
    ApiError::new(kind, format!("query ({what})"), false)
}

/// A job ID of chance that is taken: not possible, but not to be believed either.
fn not_ours(id: &str) -> ApiError {
    let kind = Kind::Answer {
        status: 409,
        reason: "duplicate".to_owned(),
        message: format!("a job with the ID {id} is there already, and is not ours"),
    };
    ApiError::new(kind, "POST jobs".to_owned(), false)
}

/// What a count found.
#[derive(Debug, Default)]
pub struct Counts {
    /// Rows, in the order of the tables asked for.
    pub rows: Vec<u64>,
    /// The instants they were counted at, in the same order.
    pub at: Vec<Timestamp>,
    /// The jobs that counted, with their locations.
    pub jobs: Vec<(JobId, Option<Location>)>,
}

/// Counts tables, with one query for up to 400 tables of a location.
///
/// # Errors
/// A query failed, or its answer lacks a table.
pub async fn rows(
    api: &Api<'_>,
    labels: &BTreeMap<String, String>,
    tables: &[(Counted, Option<Location>)],
) -> Result<Counts, Failure> {
    let queries = queries(tables);
    let results = at_a_time(8, queries, async |(location, some): (Option<&Location>, Vec<usize>)| {
        let counted: Vec<Counted> = some.iter().map(|i| tables[*i].0.clone()).collect();
        let question = Question {
            what: "count",
            location,
            labels,
            params: &[],
        };
        let answer = query(api, &question, &sql::counts(&counted), None).await;
        (some, counted, answer)
    })
    .await;
    let mut found = vec![None; tables.len()];
    let mut jobs = Vec::new();
    for (some, counted, answer) in results {
        let (rows, job, location) = answer.map_err(|e| e.failure(&format!("counting {}", names(&counted))))?;
        for row in rows {
            let number = |key| row.get(key).and_then(integer);
            if let (Some(i), Some(n)) = (number("i").and_then(|i| usize::try_from(i).ok()), number("n"))
                && let Some(place) = some.get(i)
            {
                let at = match counted.get(i).map(|c| c.as_of) {
                    Some(AsOf::At(at)) => at,
                    _ => number("as_of_ms").map_or_else(|| api.now(), from_millis),
                };
                found[*place] = Some((n, at));
            }
        }
        jobs.push((job, location));
    }
    let found: Option<Vec<(u64, Timestamp)>> = found.into_iter().collect();
    match found {
        Some(found) => {
            let (rows, at) = found.into_iter().unzip();
            Ok(Counts { rows, at, jobs })
        }
        None => Err(Failure::new(
            Exit::Retry,
            "the count's answer lacks a table",
            "getQueryResults",
            "run the same command again; if it stays so, report it",
        )),
    }
}

/// The queries that count tables, each with its place and the tables it counts.
pub fn queries(tables: &[(Counted, Option<Location>)]) -> Vec<(Option<&Location>, Vec<usize>)> {
    let mut places: BTreeMap<Option<&Location>, Vec<usize>> = BTreeMap::new();
    for (i, (_, location)) in tables.iter().enumerate() {
        places.entry(location.as_ref()).or_default().push(i);
    }
    let length = |i: usize| sql::count_of(i, &tables[i].0).len();
    let split = |(location, all): (_, Vec<usize>)| chunks(&all, length).into_iter().map(move |some| (location, some));
    places.into_iter().flat_map(split).collect()
}

/// How long a counting query may be, in bytes: BigQuery allows 1 MB.
/// Source: <https://docs.cloud.google.com/bigquery/quotas#query_jobs>.
const TEXT_OF_A_COUNT: usize = 900_000;

/// Splits what is to be counted into queries that BigQuery takes: so many tables, and so long a text.
fn chunks(all: &[usize], length: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for i in all {
        let more = length(*i);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < TABLES_A_COUNT && bytes + more <= TEXT_OF_A_COUNT => chunk.push(*i),
            _ => {
                chunks.push(vec![*i]);
                bytes = 0;
            }
        }
        bytes += more;
    }
    chunks
}

fn names(tables: &[Counted]) -> String {
    match tables {
        [one] => one.table.to_string(),
        [first, ..] => format!("{} and {} more tables", first.table, tables.len() - 1),
        [] => "no table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_so_many_tables_and_so_long_a_text() {
        let all: Vec<usize> = (0..1000).collect();
        let short = chunks(&all, |_| 100);
        assert_eq!(short.iter().map(Vec::len).collect::<Vec<_>>(), [400, 400, 200]);
        assert_eq!(short.concat(), all);
        // Names as long as BigQuery allows.
        let long = chunks(&all, |_| 5_000);
        assert!(
            long.iter().all(|chunk| chunk.len() == 180 || chunk.len() == 100),
            "{long:?}"
        );
        assert_eq!(long.concat(), all);
        assert_eq!(chunks(&[7], |_| 2_000_000), [[7]]);
        assert_eq!(chunks(&[], |_| 1), Vec::<Vec<usize>>::new());
    }
}
