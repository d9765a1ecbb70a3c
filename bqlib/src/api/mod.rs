//! The BigQuery client: about ten methods over one `call`, which retries by the policy of `retry`.
//!
//! Knows nothing of runs, journals or what the calls are for. Every job is sent with an ID that the caller computed, so
//! every request may be repeated; a 409 on insert is answered by looking the job up, never by believing it.

mod access;
pub(crate) mod auth;
mod error;
mod job;
mod jobs;
mod load;
mod pace;
mod reasons;
mod results;
mod retry;
mod send;
mod table;
mod upload;
mod work;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

pub use access::{RowPolicy, grants, policy_differences, policy_with_grants};
pub use auth::NoToken;
pub use error::{ApiError, Kind};
pub use job::{Job, JobError, JobPlace, Limits, QueryJob, table_of};
pub use load::{LoadJob, Media};
pub use reasons::{Meaning, meaning};
pub use retry::{JOB_ATTEMPTS, job as job_may_be_sent_again};
pub use table::{Dataset, Listed, Table, as_input};
pub use work::{CopyJob, Work};

use crate::clock::Clock;
use crate::names::{DatasetRef, ProjectId, TableRef};
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
/// How many files are on their way at a time.
const UPLOADS: usize = 4;
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
    /// Places for files on their way.
    uploads: Semaphore,
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
                let asked = async {
                    tokio::select! {
                        named = config.auth.project() => named.map_err(Kind::NoCredentials),
                        signal = config.stop.came() => {
                            Err(Kind::Stopped(signal, "before the credentials had named a project".to_owned()))
                        }
                    }
                };
                let named = asked.await.map_err(|kind| {
                    let endpoint = config.endpoint.to_string();
                    NoApi::Other(Box::new(ApiError::new(kind, endpoint, false)))
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
            uploads: Semaphore::new(UPLOADS),
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
        let path = of_table(table, table.table.as_str());
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
        let path = of_table(table, table.table.as_str());
        let call = Call {
            method: Method::PATCH,
            body: Some(body.clone()),
            changes: Some(table.to_string()),
            ..Call::get("tables.patch", &path)
        };
        self.call(call).await.map(Table)
    }

    /// `tables.insert`: makes a table, or a view, of this resource.
    ///
    /// # Errors
    /// The call failed; where there is something of that name, with 409.
    pub async fn insert_table(&self, table: &TableRef, resource: &Value) -> Result<Table, ApiError> {
        let (project, dataset) = (table.project.as_str(), table.dataset.as_str());
        let path = ["projects", project, "datasets", dataset, "tables"];
        let mut body = resource.clone();
        body["tableReference"] = json!({"projectId": project, "datasetId": dataset, "tableId": table.table});
        let call = Call {
            method: Method::POST,
            body: Some(body),
            ..Call::get("tables.insert", &path)
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
        let path = of_table(table, &method);
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

    /// Whether there is such a routine (`routines.get`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn has_routine(&self, routine: &TableRef) -> Result<bool, ApiError> {
        self.has("routines.get", "routines", routine).await
    }

    /// Whether there is such a model (`models.get`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn has_model(&self, model: &TableRef) -> Result<bool, ApiError> {
        self.has("models.get", "models", model).await
    }

    async fn has(&self, method: &'static str, kind: &str, name: &TableRef) -> Result<bool, ApiError> {
        let mut path = of_table(name, name.table.as_str());
        path[4] = kind;
        match self.call(Call::get(method, &path)).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
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

/// The path of a table, under this name for it.
fn of_table<'a>(table: &'a TableRef, name: &'a str) -> [&'a str; 6] {
    let (project, dataset) = (table.project.as_str(), table.dataset.as_str());
    ["projects", project, "datasets", dataset, "tables", name]
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
}
