//! The BigQuery client: about ten methods over one `call`, which retries by the policy of `retry`.
//!
//! Knows nothing of runs, journals or what the calls are for. Every job is sent with an ID that the caller computed, so
//! every request may be repeated; a 409 on insert is answered by looking the job up, never by believing it.

pub(crate) mod auth;
mod error;
mod job;
mod pace;
mod reasons;
mod retry;
mod send;
mod table;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};

pub use auth::NoToken;
pub use error::{ApiError, Kind};
pub use job::{Job, JobError, JobPlace, Limits, QueryJob, table_of};
pub use reasons::{Meaning, meaning};
pub use retry::{JOB_ATTEMPTS, job as job_may_be_sent_again};
pub use table::{Dataset, Listed, Table};

use crate::clock::Clock;
use crate::names::{DatasetRef, JobId, Location, ProjectId, TableRef};
use crate::tool::Stop;
use auth::Auth;
use pace::Pace;
use send::{Call, why};

/// Google's own endpoint.
pub const GOOGLE: &str = "https://bigquery.googleapis.com";

/// How long a request without an answer is waited for. BigQuery answers metadata calls in well under a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one `getQueryResults` waits on the server for a job to end. The server's own cap is about 200 s.
const LONG_POLL: Duration = Duration::from_secs(60);
/// How long a job that BigQuery said exists may still be answered 404: its metadata arrive a little later.
/// Source: <https://github.com/googleapis/python-bigquery/issues/2134>.
const JOB_APPEARS: Duration = Duration::from_secs(200);

/// What the client needs to know.
pub struct Config {
    /// Base URL of the API, `http` or `https`, without a path.
    pub endpoint: Url,
    /// The project that jobs run in; `None`: that of the credentials.
    pub project: Option<ProjectId>,
    /// Where tokens come from.
    pub(crate) auth: Auth,
    /// How long transient failures are retried, in all.
    pub retry_for: Duration,
    /// Whether each retry is told on stderr.
    pub verbose: bool,
    /// The program, for the User-Agent.
    pub tool: &'static str,
    /// What ends the waiting for another try.
    pub(crate) stop: Stop,
}

/// A client of one endpoint and project.
pub struct Api<'c> {
    http: reqwest::Client,
    clock: &'c Clock,
    config: Config,
    project: ProjectId,
    /// BigQuery's `Date` and when it was read.
    server: Cell<Option<(Timestamp, Instant)>>,
    /// Until when calls wait for another try, and how long the program has waited so in all; both by [`Clock::elapsed`].
    waited: Cell<(Duration, Duration)>,
    /// When a wait was first ended by a signal, by [`Clock::elapsed`].
    stopped: Cell<Option<Duration>>,
    pace: Pace,
}

/// Why the client could not be made.
pub enum NoApi {
    /// No project was named, and the credentials name none.
    NoProject,
    /// The HTTP client or the credentials.
    Other(Box<ApiError>),
}

/// How a job that was sent is found to be.
pub enum Sent {
    /// It is there, and it is ours.
    Ours(Box<Job>),
    /// A job of other SQL, parameters or labels has the ID.
    Another(Box<Job>),
}

/// The rows of a query, each a JSON object by column name.
pub type Rows = Vec<Map<String, Value>>;

impl<'c> Api<'c> {
    /// A client. Asks the credentials for the project if none was named; asks BigQuery nothing.
    ///
    /// # Errors
    /// There is no project, or no HTTP client could be made.
    pub async fn new(config: Config, clock: &'c Clock) -> Result<Api<'c>, NoApi> {
        let unreachable = |why: String| {
            let endpoint = config.endpoint.to_string();
            NoApi::Other(Box::new(ApiError::new(Kind::Unreachable(why), endpoint, false)))
        };
        let mut builder = reqwest::Client::builder();
        if config.endpoint.scheme() == "http" {
            // No certificate will be looked at, and reading the machine's three hundred takes longer than all else at a start.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .user_agent(format!("bq-rollback/{} ({})", env!("CARGO_PKG_VERSION"), config.tool))
            // A redirect would send a POST's body to a place nobody named.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .build()
            .map_err(|e| unreachable(why(&e)))?;
        let project = match &config.project {
            Some(project) => project.clone(),
            None => {
                let named = config.auth.project().await.map_err(|why| {
                    let endpoint = config.endpoint.to_string();
                    NoApi::Other(Box::new(ApiError::new(Kind::NoCredentials(why), endpoint, false)))
                })?;
                named.and_then(|p| p.parse().ok()).ok_or(NoApi::NoProject)?
            }
        };
        Ok(Api {
            http,
            clock,
            config,
            project,
            server: Cell::new(None),
            waited: Cell::default(),
            stopped: Cell::new(None),
            pace: Pace::new(),
        })
    }

    /// The project that jobs run in.
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// Now by BigQuery's clock, as far as it has told us; before its first answer, by the local one.
    pub fn now(&self) -> Timestamp {
        match self.server.get() {
            Some((date, read)) => {
                let since = SignedDuration::try_from(read.elapsed()).unwrap_or_default();
                date.checked_add(since).unwrap_or(date)
            }
            None => self.clock.now(),
        }
    }

    /// Whether [`Api::now`] is BigQuery's clock yet.
    pub fn knows_the_time(&self) -> bool {
        self.server.get().is_some()
    }

    /// Does something that only reads and may take long, until a signal comes. What begins after the signal is part of leaving,
    /// and is done.
    ///
    /// # Errors
    /// The signal that came.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, u8> {
        if self.config.stop.by().is_some() {
            return Ok(work.await);
        }
        tokio::select! {
            done = work => Ok(done),
            signal = self.config.stop.came() => Err(signal),
        }
    }

    /// The clock that waits are made by.
    pub fn clock(&self) -> &Clock {
        self.clock
    }

    /// `tables.get`; `None`: there is no such table, or no such dataset.
    ///
    /// # Errors
    /// The call failed.
    pub async fn table(&self, table: &TableRef) -> Result<Option<Table>, ApiError> {
        let path = [
            "projects",
            table.project.as_str(),
            "datasets",
            table.dataset.as_str(),
            "tables",
            table.table.as_str(),
        ];
        let call = Call {
            // Without it a table that was written to would pass for one that was not.
            holds: &["lastModifiedTime"],
            ..Call::get("tables.get", &path)
        };
        match self.call(call).await {
            Ok(resource) => Ok(Some(Table(resource))),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// `tables.patch`: the fields of `body` get these values, null removing one.
    ///
    /// # Errors
    /// The call failed.
    pub async fn patch_table(&self, table: &TableRef, body: &Value) -> Result<Table, ApiError> {
        let path = [
            "projects",
            table.project.as_str(),
            "datasets",
            table.dataset.as_str(),
            "tables",
            table.table.as_str(),
        ];
        let call = Call {
            method: Method::PATCH,
            body: Some(body.clone()),
            changes: Some(table.to_string()),
            ..Call::get("tables.patch", &path)
        };
        self.call(call).await.map(Table)
    }

    /// `tables.testIamPermissions`: those of the `asked` permissions that the caller has on a table. A table that does
    /// not exist gives none, and BigQuery does not promise that the answer is whole.
    ///
    /// # Errors
    /// The call failed; of an endpoint that has no such method, with 404 or 501.
    pub async fn permissions(&self, table: &TableRef, asked: &[&str]) -> Result<BTreeSet<String>, ApiError> {
        let method = format!("{}:testIamPermissions", table.table);
        let path = [
            "projects",
            table.project.as_str(),
            "datasets",
            table.dataset.as_str(),
            "tables",
            &method,
        ];
        let call = Call {
            method: Method::POST,
            body: Some(json!({ "permissions": asked })),
            ..Call::get("tables.testIamPermissions", &path)
        };
        let answer = self.call(call).await?;
        let held = answer.get("permissions").and_then(Value::as_array);
        let names = held.into_iter().flatten().filter_map(Value::as_str);
        Ok(names.map(str::to_owned).collect())
    }

    /// `rowAccessPolicies.list` of a table, all pages: the filter of each policy.
    ///
    /// # Errors
    /// The call failed; of a table that does not exist, with 404.
    pub async fn row_policies(&self, table: &TableRef) -> Result<Vec<String>, ApiError> {
        let path = [
            "projects",
            table.project.as_str(),
            "datasets",
            table.dataset.as_str(),
            "tables",
            table.table.as_str(),
            "rowAccessPolicies",
        ];
        let policies = self
            .pages("rowAccessPolicies.list", &path, Vec::new(), "rowAccessPolicies")
            .await?;
        let filter = |policy: &Value| Some(policy.get("filterPredicate")?.as_str()?.to_owned());
        // A policy whose filter is not told is one all the same.
        Ok(policies.iter().map(|p| filter(p).unwrap_or_default()).collect())
    }

    /// `tables.list`, all pages.
    ///
    /// # Errors
    /// The call failed; of a dataset that does not exist, with 404.
    pub async fn tables(&self, dataset: &DatasetRef) -> Result<Vec<Listed>, ApiError> {
        let path = [
            "projects",
            dataset.project.as_str(),
            "datasets",
            dataset.dataset.as_str(),
            "tables",
        ];
        let query = vec![("maxResults", "1000".to_owned())];
        let pages = self.pages("tables.list", &path, query, "tables").await?;
        Ok(pages.iter().filter_map(Listed::of).collect())
    }

    /// `datasets.get`; `None`: there is no such dataset.
    ///
    /// # Errors
    /// The call failed.
    pub async fn dataset(&self, dataset: &DatasetRef) -> Result<Option<Dataset>, ApiError> {
        let path = [
            "projects",
            dataset.project.as_str(),
            "datasets",
            dataset.dataset.as_str(),
        ];
        match self.call(Call::get("datasets.get", &path)).await {
            Ok(resource) => Ok(Some(Dataset::of(&Value::Object(resource)))),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// `jobs.insert` as a dry run: BigQuery validates the SQL and estimates; nothing runs.
    ///
    /// # Errors
    /// The call failed; of SQL found wrong, with 4xx.
    pub async fn dry_run(&self, job: &QueryJob) -> Result<Job, ApiError> {
        self.insert(job, true).await
    }

    /// How long is waited before a job that ended with this reason is sent anew, for this time, from 2.
    pub fn wait_before(&self, time: u32, reason: &str) -> Duration {
        retry::before_job(time, reason, self.clock.seed())
    }

    /// A job of ours, for people to find it.
    pub fn place(&self, id: &JobId, location: Option<&Location>) -> JobPlace {
        JobPlace {
            project: self.project.clone(),
            id: id.clone(),
            location: location.cloned(),
            console: is_google(&self.config.endpoint),
        }
    }

    /// `jobs.insert`. If the ID is taken, looks up by whom.
    ///
    /// # Errors
    /// The call failed; `maybe_happened` says whether the job may exist all the same.
    pub async fn submit(&self, job: &QueryJob) -> Result<Sent, ApiError> {
        match self.insert(job, false).await {
            Ok(sent) => Ok(Sent::Ours(Box::new(sent))),
            Err(e) if e.is_duplicate() => {
                // Whatever keeps us from looking: there is a job of this ID, and it may be ours.
                let unseen = |e: ApiError| ApiError {
                    maybe_happened: true,
                    ..e
                };
                let there = Box::new(
                    self.look_up(&job.id, job.location.as_ref(), true)
                        .await
                        .map_err(unseen)?,
                );
                Ok(if job.is(&there) {
                    Sent::Ours(there)
                } else {
                    Sent::Another(there)
                })
            }
            Err(e) => Err(e),
        }
    }

    async fn insert(&self, job: &QueryJob, dry_run: bool) -> Result<Job, ApiError> {
        let path = ["projects", self.project.as_str(), "jobs"];
        let call = Call {
            method: Method::POST,
            body: Some(job.body(&self.project, dry_run)),
            until: job.until,
            changes: job.changes.as_ref().map(TableRef::to_string),
            ..Call::get("jobs.insert", &path)
        };
        let failed = |e: ApiError| match dry_run {
            true => e,
            false => e.of(self.place(&job.id, job.location.as_ref())),
        };
        let job = |answer| Job::of(answer).known_as(&job.id, job.location.as_ref());
        self.call(call).await.map(job).map_err(failed)
    }

    /// `jobs.get`; `None`: there is no such job in that location.
    ///
    /// # Errors
    /// The call failed.
    pub async fn job(&self, id: &JobId, location: Option<&Location>) -> Result<Option<Job>, ApiError> {
        match self.look_up(id, location, false).await {
            Ok(job) => Ok(Some(job)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn look_up(&self, id: &JobId, location: Option<&Location>, appears: bool) -> Result<Job, ApiError> {
        let path = ["projects", self.project.as_str(), "jobs", id.as_str()];
        let call = Call {
            query: in_location(location),
            appears,
            // Without it a job would be waited for for ever.
            holds: &["status", "state"],
            ..Call::get("jobs.get", &path)
        };
        let failed = |e: ApiError| e.of(self.place(id, location));
        self.call(call).await.map(Job::of).map_err(failed)
    }

    /// Waits until a job that was sent has ended, and says how: with all its details, or only with its error.
    ///
    /// One long-polled `getQueryResults` a minute. It turns a job's failure into an HTTP error, so on any error the job itself
    /// is asked: only its `status.errorResult` decides.
    ///
    /// # Errors
    /// It could not be learned how the job ended. It may have, either way.
    pub async fn wait(&self, sent: Job, id: &JobId, details: bool) -> Result<(Option<JobError>, Job), ApiError> {
        let location = sent.location();
        let failed = |job: &Job| {
            let error = job.error()?;
            // So BigQuery refuses what a job does to a table: it is jobs that come too fast, not the questions about them.
            if reasons::is_too_fast(&error.reason, None) {
                self.pace.slower("jobs.insert", self.clock.elapsed());
            }
            let job = Some(self.place(id, location.as_ref()));
            Some(JobError { job, ..error })
        };
        if sent.is_done() && !details {
            return Ok((failed(&sent), sent));
        }
        let mut waits = retry::waits(self.clock.seed());
        loop {
            let answer = match sent.is_done() {
                true => None,
                // A statement has no row, or the one that the caller wants; a migration may have any, which nobody reads.
                false => {
                    let most = usize::from(!details);
                    self.results(id, location.as_ref(), Some(most), None).await.ok()
                }
            };
            match answer {
                Some(answer) if !complete(&answer) => {}
                Some(answer) if !details => {
                    let rows = Some(rows_of(&answer));
                    return Ok((None, Job { rows, ..sent }));
                }
                // No answer, or one that it has ended: the job itself may be told of a moment later.
                _ => {
                    let job = self.look_up(id, location.as_ref(), true).await?;
                    if job.is_done() {
                        return Ok((failed(&job), job));
                    }
                    let wait = waits.next().unwrap_or(LONG_POLL);
                    if self.wait_to_try(wait, true).await.is_err() {
                        // What was sent is waited for, whatever comes.
                        self.clock.sleep(wait).await;
                    }
                }
            }
        }
    }

    /// The rows of a query that was sent, waiting until it has ended; at most `most` of them.
    ///
    /// # Errors
    /// The query failed (then with BigQuery's reason, as an answer), or it could not be asked.
    pub async fn rows(&self, id: &JobId, location: Option<&Location>, most: Option<usize>) -> Result<Rows, ApiError> {
        let mut rows = Rows::new();
        let mut page: Option<String> = None;
        let mut waits = retry::waits(self.clock.seed());
        let mut troubled = None;
        let leaving = self.config.stop.by().is_some();
        loop {
            let answer = match self.results(id, location, most, page.clone()).await {
                Ok(answer) if !complete(&answer) => continue,
                Ok(answer) => answer,
                Err(e) => {
                    let job = self.look_up(id, location, true).await?;
                    if let Some(failed) = job.error() {
                        let kind = Kind::Answer {
                            status: e.status().unwrap_or(400),
                            reason: failed.reason,
                            message: failed.message,
                        };
                        return Err(ApiError { kind, ..e });
                    }
                    let since = *troubled.get_or_insert_with(|| self.clock.elapsed());
                    if retry::request(&e, true) == retry::Next::Stop
                        || self.clock.elapsed().saturating_sub(since) > self.config.retry_for
                    {
                        return Err(e);
                    }
                    let wait = waits.next().unwrap_or(LONG_POLL);
                    match self.wait_to_try(wait, leaving).await {
                        Ok(()) => continue,
                        Err(signal) => return Err(e.stopped(signal)),
                    }
                }
            };
            rows.extend(rows_of(&answer));
            let next = answer
                .get("pageToken")
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty());
            match next {
                Some(token) if most.is_none_or(|most| rows.len() < most) => page = Some(token.to_owned()),
                _ => return Ok(rows),
            }
        }
    }

    async fn results(
        &self,
        id: &JobId,
        location: Option<&Location>,
        most: Option<usize>,
        page: Option<String>,
    ) -> Result<Map<String, Value>, ApiError> {
        let path = ["projects", self.project.as_str(), "queries", id.as_str()];
        let mut query = in_location(location);
        query.push(("timeoutMs", LONG_POLL.as_millis().to_string()));
        query.extend(most.map(|most| ("maxResults", most.to_string())));
        query.extend(page.map(|page| ("pageToken", page)));
        let call = Call {
            query,
            timeout: LONG_POLL + REQUEST_TIMEOUT,
            once: true,
            holds: &["jobComplete"],
            ..Call::get("jobs.getQueryResults", &path)
        };
        let failed = |e: ApiError| e.of(self.place(id, location));
        self.call(call).await.map_err(failed)
    }

    /// `jobs.list` of a script's child jobs, in the order they ran; their parent has `number` of them.
    ///
    /// # Errors
    /// The call failed, or not all of them are listed.
    pub async fn children(&self, parent: &JobId, number: u64) -> Result<Vec<Job>, ApiError> {
        let own = self.list_children(parent, false).await?;
        if own.len() as u64 >= number {
            return Ok(own);
        }
        // Without `allUsers` only one's own jobs are listed, and the migration may have been another account's.
        let all = self.list_children(parent, true).await?;
        if all.len() as u64 >= number {
            return Ok(all);
        }
        // A short list read as "it wrote nothing else" would take the migration's writes for those of others.
        let message = format!("BigQuery lists {} of the {number} child jobs", all.len());
        let kind = Kind::Answer {
            status: 403,
            reason: "accessDenied".to_owned(),
            message: format!("{message}; bigquery.jobs.listAll may be missing"),
        };
        Err(ApiError::new(kind, format!("GET jobs?parentJobId={parent}"), false).of(self.place(parent, None)))
    }

    async fn list_children(&self, parent: &JobId, of_all: bool) -> Result<Vec<Job>, ApiError> {
        let path = ["projects", self.project.as_str(), "jobs"];
        let mut query = vec![
            ("parentJobId", parent.to_string()),
            ("projection", "full".to_owned()),
            ("maxResults", "1000".to_owned()),
        ];
        if of_all {
            query.push(("allUsers", "true".to_owned()));
        }
        let failed = |e: ApiError| e.of(self.place(parent, None));
        let pages = self.pages("jobs.list", &path, query, "jobs").await.map_err(failed)?;
        let mut jobs: Vec<Job> = pages
            .into_iter()
            .filter_map(|job| Some(Job::of(job.as_object()?.clone())))
            .collect();
        // BigQuery lists the newest first; of two that began in one millisecond the list's own order, turned, decides.
        jobs.reverse();
        jobs.sort_by_key(Job::started_ms);
        Ok(jobs)
    }

    /// `jobs.cancel`: asks BigQuery to end a job. It may still end well; the caller waits for what it did.
    ///
    /// # Errors
    /// The call failed.
    pub async fn cancel(&self, id: &JobId, location: Option<&Location>) -> Result<(), ApiError> {
        let path = ["projects", self.project.as_str(), "jobs", id.as_str(), "cancel"];
        let call = Call {
            method: Method::POST,
            query: in_location(location),
            ..Call::get("jobs.cancel", &path)
        };
        let failed = |e: ApiError| e.of(self.place(id, location));
        self.call(call).await.map(|_| ()).map_err(failed)
    }

    async fn pages(
        &self,
        method: &'static str,
        path: &[&str],
        query: Vec<(&str, String)>,
        key: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let mut all = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let mut query = query.clone();
            query.extend(page.take().map(|page| ("pageToken", page)));
            let mut answer = self
                .call(Call {
                    query,
                    ..Call::get(method, path)
                })
                .await?;
            if let Some(Value::Array(list)) = answer.remove(key) {
                all.extend(list);
            }
            match answer
                .get("nextPageToken")
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
            {
                Some(token) => page = Some(token.to_owned()),
                None => return Ok(all),
            }
        }
    }
}

/// Whether an endpoint is Google's: the global one, or a region's.
/// Source: <https://docs.cloud.google.com/bigquery/docs/locations>.
pub fn is_google(endpoint: &Url) -> bool {
    endpoint.scheme() == "https"
        && endpoint
            .host_str()
            .is_some_and(|host| host.ends_with(".googleapis.com"))
}

/// Whether an answer of `getQueryResults` says that the job has ended.
fn complete(answer: &Map<String, Value>) -> bool {
    answer.get("jobComplete") == Some(&json!(true))
}

fn in_location<'a>(location: Option<&Location>) -> Vec<(&'a str, String)> {
    location.map(|l| ("location", l.to_string())).into_iter().collect()
}

/// The rows of an answer of `getQueryResults`.
fn rows_of(answer: &Map<String, Value>) -> Rows {
    let list = |value: Option<&'_ Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = list(answer.get("schema").and_then(|schema| schema.get("fields")));
    list(answer.get("rows"))
        .iter()
        .map(|row| decode(&fields, row))
        .collect()
}

/// A row of `getQueryResults` (`{"f":[{"v":…}]}`) as an object by column name.
fn decode(fields: &[Value], row: &Value) -> Map<String, Value> {
    let cells = row.get("f").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut object = Map::new();
    for (field, cell) in fields.iter().zip(cells) {
        let name = field.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
        object.insert(name, decode_value(field, cell.get("v").unwrap_or(&Value::Null)));
    }
    object
}

fn decode_value(field: &Value, value: &Value) -> Value {
    if let Some(list) = value.as_array() {
        return list
            .iter()
            .map(|v| decode_value(field, v.get("v").unwrap_or(&Value::Null)))
            .collect();
    }
    match field.get("fields").and_then(Value::as_array) {
        Some(fields) if value.is_object() => Value::Object(decode(fields, value)),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regional_endpoints_are_googles() {
        for (url, google) in [
            (GOOGLE, true),
            ("https://europe-west3-bigquery.googleapis.com", true),
            ("https://bigquery.europe-west3.rep.googleapis.com/", true),
            ("https://bigquery-myendpoint.p.googleapis.com", true),
            ("http://bigquery.googleapis.com", false),
            ("https://googleapis.com.example.org", false),
            ("https://bigquery.example.org", false),
            ("http://127.0.0.1:9050", false),
        ] {
            assert_eq!(is_google(&url.parse().unwrap()), google, "{url}");
        }
    }

    #[test]
    fn rows_are_decoded_by_column_nested_and_repeated() {
        let fields = json!([
            {"name": "n", "type": "INTEGER"},
            {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "x", "type": "STRING"}]},
        ]);
        let row = json!({"f": [{"v": "7"}, {"v": [{"v": {"f": [{"v": "a"}]}}, {"v": {"f": [{"v": null}]}}]}]});
        let decoded = decode(fields.as_array().unwrap(), &row);
        assert_eq!(
            Value::Object(decoded),
            json!({"n": "7", "r": [{"x": "a"}, {"x": null}]})
        );
    }
}
