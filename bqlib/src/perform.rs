//! THE JOINT between the journal and BigQuery: intent, sync, call, outcome, sync.
//!
//! A call that changes BigQuery is made here or nowhere. It leaves only when its intent is on the disk; its job ID is computed, so that
//! after a crash the same step finds the same job; a job that failed is sent again under the next attempt's ID.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::{Api, ApiError, CopyJob, Job, JobError, LoadJob, QueryJob, Sent, Work, job_may_be_sent_again};
use crate::exit::{Exit, Failure};
use crate::journal::{self, Journal};
use crate::names::{JobId, Location, RunId, TableRef, sha256_hex};
use crate::sql::{self, Labels};
use crate::state::{Event, Holder, Intent, Outcome, Run, Step};
use crate::tool::Tool;

/// A run in hand: its journal, held, and what it says.
pub struct Held<'t> {
    tool: &'t Tool,
    // Absent with `-n`: events then change only what is known in memory.
    journal: Option<Journal>,
    run: RefCell<Run>,
    /// The last changing call of this process: from then on a journal that fails leaves the run unknown.
    sent: RefCell<Option<String>>,
}

/// A copy of a table as it was.
pub struct Copy<'c> {
    /// Of this table.
    pub from: &'c TableRef,
    /// As it was at this instant.
    pub at: Timestamp,
    /// To this name, which must be free.
    pub to: &'c TableRef,
    /// When the copy expires.
    pub expires: Timestamp,
}

/// How a changing call ended that was answered.
#[derive(Debug)]
pub enum Ended {
    /// It happened.
    Done(Box<Job>),
    /// BigQuery refused it, or its job failed; it did not happen.
    Failed(JobError),
    /// A job of other SQL, parameters or labels has the ID; it did not happen.
    Taken(JobId),
}

impl<'t> Held<'t> {
    /// Begins a run's journal with these events, all or none of them, and holds it. With `-n`, nothing is written.
    ///
    /// # Errors
    /// As [`Journal::create`].
    pub fn create(tool: &'t Tool, run: &RunId, first: Vec<Event>) -> Result<Held<'t>, journal::Error> {
        let now = tool.clock.now();
        let mut events = first;
        events.insert(1.min(events.len()), opened(tool));
        let history = events.iter().map(|event| (now, event));
        let state = crate::state::fold(history)
            .map_err(|(line, e)| journal::Error::Damaged(tool.state_dir.clone(), line, e.to_string()))?;
        let journal = match tool.dry_run {
            true => None,
            false => Some(Journal::create(&tool.state_dir, run, now, &events)?),
        };
        Ok(Held {
            tool,
            journal,
            run: RefCell::new(state),
            sent: RefCell::new(None),
        })
    }

    /// Opens a run's journal and holds it, waiting while another process does. With `-n`, reads it only.
    ///
    /// # Errors
    /// 6 if it is still held when the wait is over; 2, 9 or 4 if the journal cannot be used; 128+n if a signal came.
    pub async fn open(tool: &'t Tool, run: &RunId) -> Result<Held<'t>, Failure> {
        if tool.dry_run {
            let state = journal::read(&tool.state_dir, run).map_err(|e| of_journal(&e))?;
            return Ok(Held {
                tool,
                journal: None,
                run: RefCell::new(state),
                sent: RefCell::new(None),
            });
        }
        let started = tool.clock.now();
        let patience = SignedDuration::try_from(tool.wait).unwrap_or(SignedDuration::MAX);
        loop {
            match Journal::open(&tool.state_dir, run) {
                Ok((journal, state)) => {
                    let held = Held {
                        tool,
                        journal: Some(journal),
                        run: RefCell::new(state),
                        sent: RefCell::new(None),
                    };
                    held.note(&[opened(tool)]).await?;
                    return Ok(held);
                }
                Err(journal::Error::Held(..)) if tool.clock.now().duration_since(started) < patience => {
                    tool.pause(Duration::from_millis(100), "run the same command again")
                        .await?;
                }
                Err(e) => return Err(of_journal(&e)),
            }
        }
    }

    /// What the journal says the run is.
    pub fn run(&self) -> Ref<'_, Run> {
        self.run.borrow()
    }

    /// The run's ID.
    pub fn id(&self) -> RunId {
        self.run.borrow().created.run.clone()
    }

    /// Writes events, and says what the run is then. They are on the disk when this returns.
    ///
    /// # Errors
    /// 9 if the events cannot be written, or cannot follow what is there: the program must stop.
    pub async fn note(&self, events: &[Event]) -> Result<(), Failure> {
        let at = self.tool.clock.now();
        // Refuse an impossible history before it is on the disk, where it would make the journal unreadable.
        for event in events {
            self.run.borrow_mut().apply(at, event).map_err(|e| {
                let place = self.place();
                Failure::new(
                    Exit::Unknown,
                    e.to_string(),
                    place,
                    "this is a bug in the program: report it with the journal",
                )
            })?;
        }
        let Some(journal) = &self.journal else { return Ok(()) };
        journal.append(at, events).await.map_err(|e| {
            let failure = of_journal(&e);
            match &*self.sent.borrow() {
                None => failure,
                Some(call) => Failure {
                    what: format!("{}; {call} was sent", failure.what),
                    hint: format!("free the disk, then: bq-restore --run {}", self.id()),
                    ..failure.with_exit(Exit::Unknown)
                },
            }
        })
    }

    fn place(&self) -> String {
        self.journal
            .as_ref()
            .map_or_else(|| "-n".to_owned(), |j| j.path().display().to_string())
    }

    /// The program that holds the run.
    pub fn tool(&self) -> &'static str {
        self.tool.name
    }

    /// Labels that every job of the run carries.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let run = self.run.borrow();
        sql::job_labels(&run.created.run, self.tool.name, &run.created.nonce)
    }

    /// Sends one of our own statements as a job, again under the next ID if it fails for reasons of BigQuery's own, and waits
    /// until it has ended.
    ///
    /// # Errors
    /// It could not be sent, or not be learned how it ended.
    pub async fn statement(
        &self,
        api: &Api<'_>,
        step: Step,
        table: Option<&TableRef>,
        location: Option<&Location>,
        text: &str,
    ) -> Result<Ended, Failure> {
        // An attempt whose end was lost is sent as it was, though an expiry in it be reckoned otherwise today: only then a 409 is known
        // for our own.
        let lost = self.lost(step, table);
        let text = lost.as_ref().and_then(Value::as_str).unwrap_or(text).to_owned();
        let make = |id| {
            let mut job = QueryJob::plain(id, location.cloned(), text.clone(), self.labels());
            // Every other step makes something new, which has not been changed before.
            job.changes = table.filter(|_| step == Step::Restore).cloned();
            job
        };
        self.attempts(api, step, table, &json!(text), make).await
    }

    /// Copies a table as it was at an instant to a name of its own, as [`Held::statement`] sends a statement.
    ///
    /// # Errors
    /// As [`Held::statement`].
    pub async fn copy(
        &self,
        api: &Api<'_>,
        step: Step,
        table: &TableRef,
        location: Option<&Location>,
        copy: &Copy<'_>,
    ) -> Result<Ended, Failure> {
        let lost: Option<Timestamp> = self
            .lost(step, Some(table))
            .and_then(|what| what.get("expires")?.as_str()?.parse().ok());
        let expires = lost.unwrap_or(copy.expires);
        let make = |id| CopyJob {
            id,
            location: location.cloned(),
            from: copy.from.clone(),
            at: copy.at,
            to: copy.to.clone(),
            expires: Some(expires),
            labels: self.labels(),
        };
        let what = json!({"copy": copy.from, "as_of": copy.at, "to": copy.to, "expires": expires});
        self.attempts(api, step, Some(table), &what, make).await
    }

    /// Loads a file into a table, as [`Held::statement`] sends a statement; `what` is what tells it from a load of another file, for the
    /// journal.
    ///
    /// # Errors
    /// As [`Held::statement`].
    pub async fn load(
        &self,
        api: &Api<'_>,
        step: Step,
        table: &TableRef,
        what: &Value,
        make: impl Fn(JobId) -> LoadJob,
    ) -> Result<Ended, Failure> {
        self.attempts(api, step, Some(table), what, make).await
    }

    /// Gives the last attempt of a step up if its end was lost, once its job is at an end: what is done for the step next is another job.
    ///
    /// # Errors
    /// It could not be learned whether it has ended.
    pub async fn give_up(&self, api: &Api<'_>, step: Step, table: &TableRef) -> Result<(), Failure> {
        let lost = {
            let run = self.run.borrow();
            let lost = run
                .step(step, table)
                .filter(|p| p.outcome.as_ref().is_none_or(|o| o.unknown));
            lost.map(|progress| progress.intent.clone())
        };
        let Some(intent) = lost else { return Ok(()) };
        let failed = |e: ApiError| e.failure(&format!("looking for the {step} of {table}")).about(table);
        if let Some(id) = &intent.job {
            match api.job(id, intent.location.as_ref()).await.map_err(failed)? {
                Some(job) if !job.is_done() => api.wait(job, id, false).await.map(|_| ()).map_err(failed)?,
                _ => {}
            }
        }
        let outcome = Outcome {
            step,
            table: Some(table.clone()),
            attempt: intent.attempt,
            error: Some("its end was lost, and another takes its place".to_owned()),
            unknown: false,
        };
        self.note(&[Event::Outcome(outcome)]).await
    }

    /// Sends a job under one ID after the other until it ends for other reasons than BigQuery's own.
    async fn attempts<W: Work>(
        &self,
        api: &Api<'_>,
        step: Step,
        table: Option<&TableRef>,
        what: &Value,
        make: impl Fn(JobId) -> W,
    ) -> Result<Ended, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let attempt = self.next_attempt(step, table);
            let job = make(JobId::of_step(&self.id(), &step.to_string(), table, attempt));
            let ended = self
                .job(api, step, table, attempt, &job, Some(what.clone()), false)
                .await?;
            match &ended {
                Ended::Failed(e) if tries < crate::api::JOB_ATTEMPTS && job_may_be_sent_again(&e.reason) => {
                    if self.tool.verbose {
                        self.tool.tell(&format!(
                            "{step}: {} ({}); sent again as another job",
                            e.message, e.reason
                        ));
                    }
                    self.tool
                        .pause(api.wait_before(tries + 1, &e.reason), "run the same command again")
                        .await?;
                }
                _ => return Ok(ended),
            }
        }
    }

    /// Sends a file of the migration: once, whatever it ends with.
    ///
    /// # Errors
    /// As [`Held::statement`]; with 9 if it may be running.
    pub async fn migrate(&self, api: &Api<'_>, file: u32, job: &QueryJob) -> Result<Ended, Failure> {
        self.job(api, Step::Migrate(file), None, 1, job, None, true).await
    }

    /// Whether the last attempt of a step on a table sent a text with this in it.
    pub fn said(&self, step: Step, table: &TableRef, part: &str) -> bool {
        let run = self.run.borrow();
        let progress = run.steps.get(&(step, Some(table.clone())));
        let text = progress.and_then(|progress| progress.intent.what.as_ref());
        text.is_some_and(|what| match what.as_str() {
            Some(text) => text.contains(part),
            None => what.to_string().contains(part),
        })
    }

    /// What the last attempt of a step sent, if it is not known how that ended.
    fn lost(&self, step: Step, table: Option<&TableRef>) -> Option<Value> {
        let run = self.run.borrow();
        let progress = run.steps.get(&(step, table.cloned()))?;
        if progress.round != run.round {
            return None;
        }
        let lost = progress.outcome.as_ref().is_none_or(|o| o.unknown);
        lost.then(|| progress.intent.what.clone()).flatten()
    }

    /// The attempt that comes next: the one whose outcome is not known, or the one after a failed one.
    fn next_attempt(&self, step: Step, table: Option<&TableRef>) -> u32 {
        let run = self.run.borrow();
        match run.steps.get(&(step, table.cloned())) {
            None => 1,
            Some(progress) => match &progress.outcome {
                Some(outcome) if !outcome.unknown => progress.intent.attempt + 1,
                // What an earlier round left open is over, and of another text.
                _ if progress.round != run.round => progress.intent.attempt + 1,
                _ => progress.intent.attempt,
            },
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn job(
        &self,
        api: &Api<'_>,
        step: Step,
        table: Option<&TableRef>,
        attempt: u32,
        job: &impl Work,
        what: Option<Value>,
        details: bool,
    ) -> Result<Ended, Failure> {
        let intent = Intent {
            step,
            table: table.cloned(),
            attempt,
            job: Some(job.id().clone()),
            location: job.location().cloned(),
            digest: job.digest(),
            what,
        };
        let doing = || match table {
            Some(table) => format!("{step} of {table}"),
            None => step.to_string(),
        };
        let outcome = |error: Option<String>, unknown: bool| {
            Event::Outcome(Outcome {
                step,
                table: table.cloned(),
                attempt,
                error,
                unknown,
            })
        };
        self.note(&[Event::Intent(intent)]).await?;
        *self.sent.borrow_mut() = Some(format!("job {}", job.id()));
        let sent = match api.submit(job).await {
            Ok(Sent::Ours(sent)) => *sent,
            Ok(Sent::Another(_)) => {
                let what = format!("{}: a job that is not this run's has the ID {}", doing(), job.id());
                self.note(&[outcome(Some(what), false)]).await?;
                return Ok(Ended::Taken(job.id().clone()));
            }
            Err(e) => {
                let unknown = e.maybe_happened;
                self.note(&[outcome(Some(e.to_string()), unknown)]).await?;
                if !unknown && let Some(error) = answered(&e) {
                    return Ok(Ended::Failed(error));
                }
                return Err(self.without_end(&e, &doing(), step, unknown));
            }
        };
        match api.wait(sent, job.id(), details).await {
            Ok((Some(error), _)) => {
                self.note(&[outcome(Some(format!("{} ({})", error.message, error.reason)), false)])
                    .await?;
                Ok(Ended::Failed(error))
            }
            Ok((None, done)) => {
                self.note(&[outcome(None, false)]).await?;
                Ok(Ended::Done(Box::new(done)))
            }
            Err(e) => {
                self.note(&[outcome(Some(e.to_string()), true)]).await?;
                Err(self.without_end(&e, &doing(), step, true))
            }
        }
    }

    /// Patches a table: its options, or a snapshot's last expiry and label.
    ///
    /// # Errors
    /// The patch was refused, or it is not known whether it happened.
    pub async fn patch(&self, api: &Api<'_>, step: Step, table: &TableRef, body: &Value) -> Result<(), Failure> {
        let sent = api.patch_table(table, body);
        let ended = self.change(step, table, "patch", body, sent).await?;
        let failed = |e: ApiError| e.failure(&format!("{step} of {table}")).about(table);
        ended.map(|_| ()).map_err(failed)
    }

    /// Labels a table of ours as what it is: what a copy job makes has no labels, and without them nobody knows whose it is.
    ///
    /// # Errors
    /// As [`Held::patch`].
    pub async fn label(&self, api: &Api<'_>, step: Step, table: &TableRef, labels: &Labels) -> Result<(), Failure> {
        self.patch(api, step, table, &json!({ "labels": labels })).await
    }

    /// Makes a table of ours last, whatever its dataset's default is.
    ///
    /// # Errors
    /// As [`Held::patch`].
    pub async fn make_last(&self, api: &Api<'_>, step: Step, table: &TableRef) -> Result<(), Failure> {
        self.patch(api, step, table, &json!({ "expirationTime": null })).await
    }

    /// Whether the last thing sent for this step in this round was this statement, and it is known to have ended well.
    pub fn has_done(&self, step: Step, table: &TableRef, text: &str) -> bool {
        let run = self.run.borrow();
        run.step(step, table).is_some_and(|progress| {
            let done = progress
                .outcome
                .as_ref()
                .is_some_and(|o| o.error.is_none() && !o.unknown);
            done && progress.intent.what.as_ref().and_then(Value::as_str) == Some(text)
        })
    }

    /// A call that is no job, between its intent and its outcome in the journal; `called` is its name for people.
    ///
    /// # Errors
    /// The journal cannot be written. How the call ended is in what is returned.
    pub async fn change<T>(
        &self,
        step: Step,
        table: &TableRef,
        called: &str,
        body: &Value,
        call: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Result<T, ApiError>, Failure> {
        let attempt = self.next_attempt(step, Some(table));
        let intent = Intent {
            step,
            table: Some(table.clone()),
            attempt,
            job: None,
            location: None,
            digest: sha256_hex(&body.to_string()),
            what: Some(body.clone()),
        };
        self.note(&[Event::Intent(intent)]).await?;
        *self.sent.borrow_mut() = Some(format!("the {called} of {table}"));
        let result = call.await;
        let outcome = Outcome {
            step,
            table: Some(table.clone()),
            attempt,
            error: result.as_ref().err().map(ToString::to_string),
            unknown: result.as_ref().is_err_and(|e| e.maybe_happened),
        };
        self.note(&[Event::Outcome(outcome)]).await?;
        Ok(result)
    }

    /// The failure of a call without an end. A lost snapshot has changed no table; a lost migration or restore may have.
    fn without_end(&self, e: &ApiError, doing: &str, step: Step, unknown: bool) -> Failure {
        let mut failure = e.failure(doing);
        let settles = format!("bq-restore --run {}", self.id());
        match step {
            // Whoever takes the snapshot again finds it, and no table has changed.
            Step::Cut | Step::Snapshot | Step::Announce if unknown => {
                failure.hint = "nothing was migrated; run the same line again".to_owned();
            }
            // What is still there is found again, and removed then.
            Step::Remove if unknown => failure.hint = "run the same command again".to_owned(),
            Step::Beside | Step::Release | Step::Rehearse if unknown => {
                failure.hint = "no live table was touched; the same command again looks it up".to_owned();
            }
            _ if unknown => {
                failure.hint = format!("{settles}: it looks the job up");
                if matches!(step, Step::Migrate(_) | Step::Drop | Step::Restore | Step::Clear) {
                    failure.exit = Exit::Unknown;
                }
            }
            // The migration counts as begun: another bq-run would be refused.
            Step::Migrate(_) => failure.hint = settles,
            Step::Keep(_) | Step::Restore if matches!(failure.exit, Exit::Signal(_)) => failure.hint = settles,
            _ => {}
        }
        failure
    }
}

/// BigQuery's refusal of a job at insert, as the job's own failure: for the caller the two are one.
fn answered(e: &ApiError) -> Option<JobError> {
    match &e.kind {
        crate::api::Kind::Answer {
            status: 400 | 404 | 409,
            reason,
            message,
        } => Some(JobError {
            reason: reason.clone(),
            message: message.clone(),
            job: e.job.clone(),
        }),
        crate::api::Kind::NotRead(why) => Some(JobError {
            reason: "notRead".to_owned(),
            message: why.clone(),
            job: None,
        }),
        _ => None,
    }
}

fn opened(tool: &Tool) -> Event {
    Event::Opened(Holder {
        tool: tool.name.to_owned(),
        pid: std::process::id(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    })
}

/// The failure of a step whose job ID is taken (4): the run's ID is in use elsewhere in the project.
pub fn taken(job: &JobId) -> Failure {
    let what = "a job that is not this run's has the ID that this run would use";
    Failure::refused(
        what,
        format!("job {job}"),
        "use another run ID: this one is taken in the project",
    )
    .of_job(job)
}

/// The failure of a job that ended with an error, at `at` unless the job is known: with what its reason means.
pub fn of_job_error(error: &JobError, doing: &str, at: &str) -> Failure {
    let meaning = crate::api::meaning(&error.reason, None);
    let what = format!("{doing}: {} ({})", error.message, error.reason);
    let mut failure = match &error.job {
        Some(job) => Failure::new(meaning.exit, what, job.to_string(), meaning.hint).of_job(&job.id),
        None => Failure::new(meaning.exit, what, at, meaning.hint),
    };
    failure.reason = Some(error.reason.clone());
    failure
}

/// What a journal's trouble means to a program that has sent nothing yet, or has said so itself.
pub fn of_journal(e: &journal::Error) -> Failure {
    use journal::Error;
    let place = |path: &Path| path.display().to_string();
    match e {
        Error::Io(path, e) => Failure::usage(
            format!("the state directory cannot be used: {e}"),
            place(path),
            "free the disk or mend the rights, or name another with `--state-dir`",
        ),
        Error::Exists(path) => Failure::refused(
            "there is a journal of this run already",
            place(path),
            "use another run ID with `--run`",
        ),
        Error::Missing(path) => Failure::new(
            Exit::No,
            "there is no journal of this run",
            place(path),
            "`bq-restore --list` shows the runs of this state directory; `--state-dir` names another",
        ),
        Error::Held(path, holder) => Failure::new(
            Exit::Busy,
            format!("the run is held by {holder}"),
            place(path),
            "wait until it has ended, or give `--wait` more time",
        ),
        Error::Damaged(path, line, why) => Failure::new(
            Exit::Unknown,
            format!("the journal is damaged: {why}"),
            format!("{}, line {line}", place(path)),
            "keep the file; a person should look at the tables and their snapshots (label bq-rollback-run)",
        ),
        Error::Newer(path, v) => Failure::refused(
            format!(
                "the journal is of version {v}, and this program knows {}",
                crate::state::VERSION
            ),
            place(path),
            "use the newer version of these programs",
        ),
    }
}

/// Does something for each item, at most `limit` at a time; results come as they are ready, in no order.
pub async fn at_a_time<'a, T, R, F>(limit: usize, items: impl IntoIterator<Item = T>, work: F) -> Vec<R>
where
    F: AsyncFn(T) -> R + 'a,
{
    let mut items = items.into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut results = Vec::new();
    for item in items.by_ref().take(limit) {
        under_way.push(work(item));
    }
    while let Some(result) = under_way.next().await {
        results.push(result);
        if let Some(item) = items.next() {
            under_way.push(work(item));
        }
    }
    results
}
