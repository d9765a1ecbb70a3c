//! A pretend BigQuery in memory, for crash, fault and scale tests: deterministic, with a clock that tests move.
//!
//! It knows only the statements that the programs send and a toy migration language, and refuses everything else. It
//! watches: a call that changes something and is not in a journal yet is refused, and becomes a violation; so do other
//! things that should never be asked ([`World::violations`]). It stands behind a [`Gateway`](crate::gateway::Gateway)
//! and knows nothing of the programs but their journals, the IDs of their jobs and their labels.
//!
//! | File | What it knows |
//! |---|---|
//! | `tables`, `limits` | PURE: tables as versions over a clock, and how many may be made of one |
//! | `sql`, and `words`, `grammar`, `statements`, `expressions` | PURE: the statements, and reading them |
//! | `apart` | PURE: the one text of theirs that is more |
//! | `values`, `engine`, `ddl`, `queries` | PURE: what they do |
//! | `copies` | PURE: copy jobs, and what comes back of what was dropped |
//! | `jobs` | the lives of jobs |
//! | `rest` | paths to answers |
//! | `rights` | PURE: what the caller may do |
//! | `watch` | what should never be asked |
//!
//! The clock starts at 2026-01-01T00:00:00Z. A call that is answered moves it by a millisecond, and so does every
//! statement, so that no two changes have one instant; waiting for a job moves it by up to 200 ms; [`World::advance`]
//! does the rest.

mod apart;
mod copies;
mod ddl;
mod engine;
mod expressions;
mod grammar;
mod jobs;
mod limits;
mod queries;
mod rest;
mod rights;
mod sql;
mod statements;
mod tables;
mod values;
mod watch;
mod words;

use crate::conformance::{Definition, ledger};
use crate::gateway::{Answering, Ask, Reply, Upstream};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grammar::parse;
use jobs::Jobs;
use rest::Request;
use tables::Tables;
use values::Millis;
use watch::Watch;

/// The project that names without one are of.
pub const PROJECT: &str = "pretend";

/// 2026-01-01T00:00:00Z.
const BEGINNING: Millis = 1_767_225_600_000;

/// A pretend BigQuery; a clone is the same one, a [`fork`](World::fork) another.
#[derive(Clone, Debug)]
pub struct World(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
struct State {
    now: Millis,
    tables: Tables,
    jobs: Jobs,
    watch: Watch,
}

/// A row of a table: its values as text, NULL being `NULL`.
pub type Row = Vec<String>;

/// A table as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// `TABLE`, `SNAPSHOT` or `VIEW`.
    pub kind: String,
    /// Its rows, sorted.
    pub rows: Vec<Row>,
    /// What `tables.get` says of it.
    pub meta: Value,
}

/// A job, or the child of one.
#[derive(Clone, Debug, PartialEq)]
pub struct JobShown {
    /// Its ID.
    pub id: String,
    /// What it runs.
    pub sql: String,
    /// `PENDING`, `RUNNING` or `DONE`.
    pub state: String,
    /// Why it failed, the reason in brackets at the end.
    pub error: Option<String>,
    /// The script that it is a statement of.
    pub parent: Option<String>,
}

impl World {
    /// An empty one. The seed decides how many polls a job takes, and nothing else.
    pub fn new(seed: u64) -> World {
        World(Arc::new(Mutex::new(State {
            now: BEGINNING,
            tables: Tables::default(),
            jobs: Jobs::new(seed),
            watch: Watch::default(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere should still be told what this one holds.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another world that is like this one now, and goes its own way: tables, jobs, clock, plans, watched directories
    /// and violations.
    pub fn fork(&self) -> World {
        World(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Runs statements at once, as somebody else: nobody watches. Those before one that fails stand.
    ///
    /// # Errors
    /// BigQuery would refuse it: in its words.
    pub fn sql(&self, script: &str) -> Result<(), String> {
        let state = &mut *self.state();
        let mut open = None;
        for (text, statement) in parse(script, PROJECT).map_err(|e| e.message)? {
            state.now += 1;
            state.tables.expire(state.now);
            engine::perform(&mut state.tables, &mut open, &statement, state.now)
                .map_err(|e| format!("{} ({}): {text}", e.message, e.reason))?;
        }
        Ok(())
    }

    /// Takes a right of IAM's (`tables.createSnapshot`) away from the programs: on a table, on a dataset
    /// and all that is in it, or on the project.
    pub fn take_right(&self, place: &str, right: &str) {
        self.state().tables.rights.take(place, right);
    }

    /// Gives a table a row access policy with this filter. Nobody's rows are hidden by it.
    pub fn add_policy(&self, table: &str, filter: &str) {
        let mut state = self.state();
        let policies = state.tables.rights.policies.entry(table.to_owned()).or_default();
        policies.push(filter.to_owned());
    }

    /// Makes BigQuery's limits small: snapshots of a table in 24 hours, living clones and snapshots of a base.
    pub fn limit(&self, snapshots_a_day: usize, copies_of_a_base: usize) {
        let mut state = self.state();
        state.tables.limits.snapshots_a_day = snapshots_a_day;
        state.tables.limits.copies_of_a_base = copies_of_a_base;
    }

    /// The IAM policy of a table by `project.dataset.table`, if one was set.
    pub fn iam_policy(&self, table: &str) -> Option<Value> {
        self.state().tables.rights.iam.get(table).cloned()
    }

    /// The filters of a table's row access policies.
    pub fn policies(&self, table: &str) -> Vec<String> {
        let state = self.state();
        state.tables.rights.policies.get(table).cloned().unwrap_or_default()
    }

    /// Says of a table that it has fine-grained DML.
    pub fn make_fine_grained(&self, table: &str) {
        self.state().tables.rights.fine_grained.insert(table.to_owned());
    }

    /// Moves the clock; what expires by then is gone.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now = state
            .now
            .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        let now = state.now;
        state.tables.expire(now);
    }

    /// The clock: milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.state().now
    }

    /// Watches a directory of journals; each machine has its own.
    pub fn watch(&self, state_dir: &Path) {
        self.state().watch.dirs.push(state_dir.to_owned());
    }

    /// Watches no directory any more: for a fork whose journals are elsewhere.
    pub fn unwatch(&self) {
        self.state().watch.dirs.clear();
    }

    /// What should never have been asked, in words.
    pub fn violations(&self) -> Vec<String> {
        self.state().watch.violations.clone()
    }

    /// A table by `project.dataset.table`, as it is now.
    pub fn table(&self, name: &str) -> Option<Shown> {
        let state = self.state();
        let (name, version) = state.tables.all().find(|(there, _)| there.to_string() == name)?;
        let shown = |row: &Vec<values::Datum>| row.iter().map(ToString::to_string).collect();
        Some(Shown {
            kind: version.kind.word().to_owned(),
            rows: version.sorted_rows().into_iter().map(shown).collect(),
            meta: state.tables.resource(name)?,
        })
    }

    /// Every table, snapshot and view, as `project.dataset.table`, sorted.
    pub fn table_names(&self) -> Vec<String> {
        self.state().tables.all().map(|(name, _)| name.to_string()).collect()
    }

    /// Every job in the order in which they were made, dry runs apart.
    pub fn jobs(&self) -> Vec<JobShown> {
        let shown = |job: &jobs::Job| JobShown {
            id: job.id.clone(),
            sql: job.sql.clone(),
            state: job.state.word().to_owned(),
            error: job.error.as_ref().map(|e| format!("{} ({})", e.message, e.reason)),
            parent: job.parent.clone(),
        };
        self.state().jobs.all().map(shown).collect()
    }

    /// The `nth` job from now on, counted from 1, whose ID contains this ends with this reason, and without effect.
    pub fn fail_job(&self, id_contains: &str, nth: u32, reason: &str) {
        self.state().jobs.fail(id_contains, nth.max(1), reason);
    }

    /// Jobs from now on whose ID contains this run until they are cancelled.
    pub fn hold_job(&self, id_contains: &str) {
        self.state().jobs.hold(id_contains, false);
    }

    /// Jobs from now on whose ID contains this run until they are cancelled; the statement they are at runs on for a while, and takes
    /// effect.
    pub fn child_outlives(&self, id_contains: &str) {
        self.state().jobs.outlive(id_contains);
    }

    /// Jobs from now on whose ID contains this run for ever, also when they are cancelled.
    pub fn never_end(&self, id_contains: &str) {
        self.state().jobs.hold(id_contains, true);
    }

    /// Forgets what was planned for jobs, those that run included: they go their way.
    pub fn release(&self) {
        self.state().jobs.release();
    }
}

impl State {
    /// One call: time passes, jobs move, the call is answered.
    fn answer(&mut self, method: &str, target: &str, body: &[u8]) -> rest::Answered {
        self.now += 1;
        self.tables.expire(self.now);
        let watch = &mut self.watch;
        self.jobs
            .step(&mut self.tables, &mut self.now, &mut |job, statement, tables| {
                watch.before_statement(job, statement, tables);
            });
        match Request::of(method, target, body) {
            Some(request) => self.route(&request),
            None => (
                404,
                crate::faults::google_error(404, None, Some(&format!("Not Found: {target}"))),
            ),
        }
    }
}

impl State {
    /// What is answered here is what BigQuery could answer; if it is not, what the programs do with it proves nothing.
    fn hold_against_the_definition(&mut self, ask: &Ask, (status, body): &rest::Answered) {
        if !(200..300).contains(status) {
            return;
        }
        let verb = ask.method.as_str();
        let wrong = match Definition::shared() {
            Ok(definition) => ledger::answer(definition, verb, &ask.target, body)
                .err()
                .map(|wrong| wrong.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(wrong) = wrong {
            let told = format!("this world's own answer to {verb} {}: {wrong}\n{body}", ask.target);
            self.watch.violations.push(told);
        }
    }
}

impl Upstream for World {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        let ((status, body), now) = {
            let mut state = self.state();
            let answered = state.answer(ask.method.as_str(), &ask.target, &ask.body);
            state.hold_against_the_definition(&ask, &answered);
            (answered, state.now)
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=UTF-8"),
        );
        if let Some(date) = http_date(now) {
            headers.insert(DATE, date);
        }
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers,
            body: body.to_string().into(),
        };
        Box::pin(std::future::ready(Ok(reply)))
    }
}

/// `Thu, 01 Jan 2026 00:00:00 GMT`: whole seconds, as BigQuery says it.
fn http_date(now: Millis) -> Option<HeaderValue> {
    let at = jiff::Timestamp::from_millisecond(now).ok()?;
    HeaderValue::from_str(&at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

#[cfg(test)]
mod tests;
