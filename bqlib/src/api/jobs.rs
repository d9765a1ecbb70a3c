//! Jobs: validated, sent, looked up, waited for, listed, cancelled. What a job is, is `job`'s; its rows are `results`'.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::error::{ApiError, Kind};
use super::job::{Job, JobError, JobPlace, QueryJob};
use super::results::{complete, in_location, rows_of};
use super::send::Call;
use super::{Api, LONG_POLL, Sent, Work, is_google, reasons, retry};
use crate::names::{JobId, Location, TableRef};

impl Api<'_> {
    /// `jobs.insert` as a dry run: BigQuery validates the SQL and estimates; nothing runs.
    ///
    /// # Errors
    /// The call failed; of SQL found wrong, with 4xx.
    pub async fn dry_run(&self, job: &QueryJob) -> Result<Job, ApiError> {
        let path = ["projects", self.project.as_str(), "jobs"];
        let call = Call {
            method: Method::POST,
            body: Some(job.body(&self.project, true)),
            until: job.until,
            ..Call::get("jobs.insert", &path)
        };
        let done = |answer| Job::of(answer).known_as(&job.id, job.location.as_ref());
        self.call(call).await.map(done)
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
    pub async fn submit(&self, job: &impl Work) -> Result<Sent, ApiError> {
        match self.insert(job).await {
            Ok(sent) => Ok(Sent::Ours(Box::new(sent))),
            Err(e) if e.is_duplicate() => {
                // Whatever keeps us from looking: there is a job of this ID, and it may be ours.
                let unseen = |e: ApiError| ApiError {
                    maybe_happened: true,
                    ..e
                };
                let there = Box::new(self.look_up(job.id(), job.location(), true).await.map_err(unseen)?);
                Ok(if job.is(&there) {
                    Sent::Ours(there)
                } else {
                    Sent::Another(there)
                })
            }
            Err(e) => Err(e),
        }
    }

    async fn insert(&self, job: &impl Work) -> Result<Job, ApiError> {
        let path = ["projects", self.project.as_str(), "jobs"];
        let call = Call {
            method: Method::POST,
            body: Some(job.body(&self.project)),
            until: job.until(),
            changes: job.changes().map(TableRef::to_string),
            ..Call::get("jobs.insert", &path)
        };
        let failed = |e: ApiError| e.of(self.place(job.id(), job.location()));
        if let Some(media) = job.media() {
            return self.upload(job, media).await.map_err(failed);
        }
        let done = |answer| Job::of(answer).known_as(job.id(), job.location());
        self.call(call).await.map(done).map_err(failed)
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

    /// A job that is in one of these places.
    ///
    /// # Errors
    /// The call failed.
    pub async fn job_in_any<'p>(
        &self,
        id: &JobId,
        places: impl IntoIterator<Item = Option<&'p Location>>,
    ) -> Result<Option<Job>, ApiError> {
        for place in places {
            if let Some(job) = self.job(id, place).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    pub(super) async fn look_up(
        &self,
        id: &JobId,
        location: Option<&Location>,
        appears: bool,
    ) -> Result<Job, ApiError> {
        let path = ["projects", self.project.as_str(), "jobs", id.as_str()];
        let call = Call {
            query: in_location(location),
            appears,
            // Without it a job would be waited for for ever.
            holds: &["status", "state"],
            ..Call::get("jobs.get", &path)
        };
        let failed = |e: ApiError| e.of(self.place(id, location));
        let job = |answer| Job::of(answer).known_as(id, location);
        self.call(call).await.map(job).map_err(failed)
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
                // Only a query has results to wait for.
                false if !sent.is_query() => None,
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

    /// A look at what a script has run so far, in the order they began: its newest thousand, and whether those are all. Asked once: it
    /// is for a person to look at, and nothing waits for it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn children_so_far(&self, parent: &JobId) -> Result<(Vec<Job>, bool), ApiError> {
        let path = ["projects", self.project.as_str(), "jobs"];
        let call = Call {
            query: vec![("parentJobId", parent.to_string()), ("maxResults", "1000".to_owned())],
            once: true,
            ..Call::get("jobs.list", &path)
        };
        let mut answer = self.call(call).await.map_err(|e| e.of(self.place(parent, None)))?;
        let all = answer.get("nextPageToken").is_none_or(|token| token == "");
        let jobs = match answer.remove("jobs") {
            Some(Value::Array(jobs)) => in_order(jobs),
            _ => Vec::new(),
        };
        Ok((jobs, all))
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
        Ok(in_order(pages))
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
}

/// Listed jobs in the order in which they began. BigQuery lists the newest first; of two that began in one millisecond the list's own
/// order, turned, decides.
fn in_order(listed: Vec<Value>) -> Vec<Job> {
    let jobs = listed.into_iter().rev();
    let mut jobs: Vec<Job> = jobs.filter_map(|job| Some(Job::of(job.as_object()?.clone()))).collect();
    jobs.sort_by_key(Job::started_ms);
    jobs
}
