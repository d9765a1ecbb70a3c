//! The lives of jobs: inserted, pending, running a statement a step, done. Each call that is answered moves every job
//! that has not ended one step. Knows no HTTP.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::copies::CopyJob;
use super::engine::{Effect, Transaction, kind_of, perform};
use super::grammar::parse;
use super::queries::Answer;
use super::rights::permitted;
use super::sql::Statement;
use super::tables::Tables;
use super::values::{Millis, Trouble};

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Running,
    Done,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Running => "RUNNING",
            State::Done => "DONE",
        }
    }
}

/// What a test has in mind for a job.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// It ends with this reason, and without effect.
    Fails(String),
    /// It runs until it is cancelled.
    Held,
    /// The same, and the statement that it is at goes on alone, for a while, and takes effect.
    Outlived,
    /// It runs for ever.
    NeverEnds,
}

/// Steps that a statement runs on after its job.
const ALONE: u64 = 60;

/// A job, or a child of one.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) project: String,
    pub(super) location: String,
    pub(super) sql: String,
    pub(super) parent: Option<String>,
    /// Of a child: where its statement stands in the script.
    frame: Option<Value>,
    pub(super) state: State,
    pub(super) error: Option<Trouble>,
    pub(super) answer: Option<Answer>,
    /// `configuration`, as sent.
    configuration: Value,
    script: Result<Vec<(String, Statement)>, Trouble>,
    created: Millis,
    started: Option<Millis>,
    ended: Option<Millis>,
    /// Steps that it takes longer than it must.
    linger: u64,
    fate: Option<Fate>,
    pub(super) cancelled: bool,
    /// Statements that have run.
    done: usize,
    transaction: Option<Transaction>,
    pub(super) effect: Effect,
    children: Vec<String>,
}

/// A job that was asked for.
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) project: String,
    pub(super) location: Option<String>,
    pub(super) configuration: Value,
    pub(super) sql: String,
    pub(super) script: Result<Vec<(String, Statement)>, Trouble>,
}

impl Asked {
    /// From the body of `jobs.insert`; absent: neither a query in GoogleSQL nor a copy.
    pub(super) fn of(project: &str, body: &Value) -> Option<Asked> {
        let configuration = body.get("configuration")?;
        let (sql, script) = match configuration.get("copy") {
            Some(copy) => {
                let job = CopyJob::of(copy)?;
                (job.told(), Ok(vec![(job.told(), Statement::Copies(job))]))
            }
            None => {
                let query = configuration.get("query")?;
                let sql = query.get("query")?.as_str()?.to_owned();
                if query.get("useLegacySql") != Some(&json!(false)) {
                    return None;
                }
                let script = parse(&sql, project);
                (sql, script)
            }
        };
        let text = |key: &str| {
            body.get("jobReference")
                .and_then(|r| r.get(key))
                .and_then(Value::as_str)
        };
        Some(Asked {
            id: text("jobId").unwrap_or_default().to_owned(),
            project: project.to_owned(),
            location: text("location").map(super::rest::location),
            configuration: configuration.clone(),
            script,
            sql,
        })
    }

    /// Where it runs: where it says, or where its tables are.
    fn place(&self, tables: &Tables) -> String {
        let named = self
            .script
            .iter()
            .flatten()
            .flat_map(|(_, statement)| statement.tables());
        let there = || {
            named
                .filter_map(|name| tables.dataset(name))
                .map(|d| d.location.clone())
                .next()
        };
        self.location.clone().or_else(there).unwrap_or_else(|| "US".to_owned())
    }

    /// What BigQuery says of it without running it: nothing beyond the first DDL statement of a script.
    pub(super) fn dry_run(&self, tables: &Tables, now: Millis) -> Result<Value, Trouble> {
        let script = self.script.as_ref().map_err(Trouble::clone)?;
        let (mut tables, mut open, location) = (tables.clone(), None, self.place(tables));
        for (_, statement) in script {
            in_place(&tables, statement, &location)?;
            match perform(&mut tables, &mut open, statement, now) {
                Ok(effect) if effect.operation.is_some() => break,
                Err(trouble) if !trouble.at_run => return Err(trouble),
                _ => {}
            }
        }
        let kind = match script.as_slice() {
            [(_, one)] => kind_of(one),
            _ => "SCRIPT",
        };
        Ok(json!({
            "kind": "bigquery#job",
            "jobReference": { "projectId": self.project, "location": location },
            "configuration": self.configuration,
            "status": { "state": "DONE" },
            "statistics": {
                "creationTime": now.to_string(),
                "totalBytesProcessed": "0",
                "query": { "statementType": kind, "totalBytesProcessed": "0", "totalBytesBilled": "0", "cacheHit": false },
            },
        }))
    }
}

/// Refuses a statement over tables that are not where it runs.
fn in_place(tables: &Tables, statement: &Statement, location: &str) -> Result<(), Trouble> {
    let elsewhere = |name: &&super::sql::Name| tables.dataset(name).is_none_or(|d| d.location != location);
    match statement.tables().into_iter().find(elsewhere) {
        None => Ok(()),
        Some(name) => {
            let dataset = format!("{}:{}", name.project, name.dataset);
            Err(Trouble::of(
                "notFound",
                format!("Not found: Dataset {dataset} was not found in location {location}"),
            ))
        }
    }
}

/// Looks at what a job is about to do to the tables.
pub(super) type Judge<'a> = &'a mut dyn FnMut(&Job, &Statement, &Tables);

/// Every job there ever was.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    seed: u64,
    all: BTreeMap<String, Job>,
    /// In the order in which they were made.
    order: Vec<String>,
    /// What tests have in mind: part of an ID, which of those jobs (0: every one), what becomes of it.
    fates: Vec<(String, u32, Fate)>,
    /// How many jobs of such an ID there were.
    met: Vec<u32>,
}

impl Jobs {
    pub(super) fn new(seed: u64) -> Jobs {
        Jobs {
            seed,
            ..Jobs::default()
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Job> {
        self.all.get(id)
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.order.iter().filter_map(|id| self.all.get(id))
    }

    pub(super) fn fail(&mut self, id_contains: &str, nth: u32, reason: &str) {
        self.plan(id_contains, nth, Fate::Fails(reason.to_owned()));
    }

    pub(super) fn hold(&mut self, id_contains: &str, for_ever: bool) {
        self.plan(id_contains, 0, if for_ever { Fate::NeverEnds } else { Fate::Held });
    }

    pub(super) fn outlive(&mut self, id_contains: &str) {
        self.plan(id_contains, 0, Fate::Outlived);
    }

    pub(super) fn release(&mut self) {
        self.fates.clear();
        self.met.clear();
        self.all.values_mut().for_each(|job| job.fate = None);
    }

    fn plan(&mut self, id_contains: &str, nth: u32, fate: Fate) {
        self.fates.push((id_contains.to_owned(), nth, fate));
        self.met.push(0);
    }

    /// Takes up a job whose ID is free.
    pub(super) fn insert(&mut self, asked: Asked, tables: &Tables, now: Millis) -> &Job {
        let location = asked.place(tables);
        let id = match asked.id.is_empty() {
            true => format!("job_{}", self.order.len()),
            false => asked.id,
        };
        let mut fate = None;
        for ((contains, nth, planned), met) in self.fates.iter().zip(&mut self.met) {
            if id.contains(contains.as_str()) {
                *met += 1;
                if (*nth == 0 || nth == met) && fate.is_none() {
                    fate = Some(planned.clone());
                }
            }
        }
        let kind = match asked.script.as_deref() {
            Ok([(_, one)]) => kind_of(one),
            Ok(_) => "SCRIPT",
            Err(_) => "",
        };
        let job = Job {
            id: id.clone(),
            project: asked.project,
            location,
            sql: asked.sql,
            parent: None,
            frame: None,
            state: State::Pending,
            error: None,
            answer: None,
            configuration: asked.configuration,
            script: asked.script,
            created: now,
            started: None,
            ended: None,
            linger: chance(self.seed, self.order.len()) % 3,
            fate,
            cancelled: false,
            done: 0,
            transaction: None,
            effect: Effect {
                kind,
                ..Effect::default()
            },
            children: Vec::new(),
        };
        self.order.push(id.clone());
        self.all.entry(id).or_insert(job)
    }

    /// Whether there was such a job to cancel.
    pub(super) fn cancel(&mut self, id: &str) {
        if let Some(job) = self.all.get_mut(id) {
            job.cancelled = true;
        }
    }

    /// Moves every job that has not ended one step.
    pub(super) fn step(&mut self, tables: &mut Tables, now: &mut Millis, judge: Judge) {
        let open = |job: &&Job| job.parent.is_none() && job.state != State::Done;
        let open: Vec<String> = self.all().filter(open).map(|job| job.id.clone()).collect();
        for id in open {
            if let Some(mut job) = self.all.remove(&id) {
                self.step_one(&mut job, tables, now, judge);
                self.all.insert(id, job);
            }
        }
        let ended = |id: &String| self.all.get(id).is_some_and(|parent| parent.state == State::Done);
        let alone = |job: &&Job| job.state != State::Done && job.parent.as_ref().is_some_and(ended);
        let alone: Vec<String> = self.all().filter(alone).map(|job| job.id.clone()).collect();
        for child in alone {
            if let Some(child) = self.all.get_mut(&child) {
                child.step_alone(tables, now);
            }
        }
    }

    fn step_one(&mut self, job: &mut Job, tables: &mut Tables, now: &mut Millis, judge: Judge) {
        if job.linger > 0 {
            job.linger -= 1;
            return;
        }
        if job.state == State::Pending {
            job.state = State::Running;
            job.started = Some(*now);
            self.begin_child(job, *now);
            return;
        }
        let script = match &job.script {
            Ok(script) => script,
            Err(trouble) => return self.end(job, Some(trouble.clone()), *now),
        };
        let Some((_, statement)) = script.get(job.done).cloned() else {
            return self.end(job, None, *now);
        };
        let stops = job.cancelled && job.fate != Some(Fate::NeverEnds) && !(statement.copies() && job.fate.is_none());
        match &job.fate {
            _ if stops => {
                let message = "Job execution was cancelled: User requested cancellation";
                let trouble = Some(Trouble::of("stopped", message));
                if let (Some(Fate::Outlived), Some(child)) = (&job.fate, self.child(job)) {
                    child.linger = ALONE;
                    return job.end(trouble, *now);
                }
                return self.end(job, trouble, *now);
            }
            Some(Fate::Held | Fate::Outlived | Fate::NeverEnds) => return,
            Some(Fate::Fails(reason)) => {
                let message = format!("this job was meant to end with {reason}");
                return self.end(job, Some(Trouble::of(reason, message)), *now);
            }
            None => {}
        }
        // Every change has its own instant.
        *now += 1;
        judge(job, &statement, tables);
        let result = in_place(tables, &statement, &job.location)
            .and_then(|()| permitted(tables, &statement))
            .and_then(|()| perform(tables, &mut job.transaction, &statement, *now));
        match result {
            Err(trouble) => self.end(job, Some(trouble), *now),
            Ok(effect) => {
                if let Some(child) = self.child(job) {
                    child.settle(effect.clone(), *now);
                }
                job.done += 1;
                let last = job.script.as_ref().is_ok_and(|script| job.done == script.len());
                if effect.answer.is_some() {
                    job.answer.clone_from(&effect.answer);
                }
                if job.children.is_empty() {
                    job.effect = effect;
                }
                match last {
                    true => self.end(job, None, *now),
                    false => self.begin_child(job, *now),
                }
            }
        }
    }

    /// Ends a job and the statement that it is at.
    fn end(&mut self, job: &mut Job, error: Option<Trouble>, now: Millis) {
        if let Some(child) = self.child(job).filter(|child| child.state != State::Done) {
            child.end(error.clone(), now);
        }
        // A script that ends with its transaction open has it rolled back.
        job.transaction = None;
        job.end(error, now);
    }

    /// The child of the statement that the script is at.
    fn child(&mut self, job: &Job) -> Option<&mut Job> {
        self.all.get_mut(job.children.last()?)
    }

    fn begin_child(&mut self, job: &mut Job, now: Millis) {
        let Ok(script) = &job.script else { return };
        let Some((text, statement)) = script.get(job.done).filter(|_| script.len() > 1) else {
            return;
        };
        let number = job.children.len();
        let id = format!("script_job_{:016x}_{number}", chance(hash(&job.id), 0));
        let mut configuration = job.configuration.clone();
        configuration["query"]["query"] = json!(text);
        let child = Job {
            id: id.clone(),
            sql: text.clone(),
            parent: Some(job.id.clone()),
            frame: frame(&job.sql, script.iter().take(job.done + 1).map(|(text, _)| text)),
            state: State::Running,
            configuration,
            created: now,
            started: Some(now),
            effect: Effect {
                kind: kind_of(statement),
                ..Effect::default()
            },
            transaction: None,
            children: Vec::new(),
            ..job.clone()
        };
        job.children.push(id.clone());
        self.order.push(id.clone());
        self.all.insert(id, child);
    }
}

impl Job {
    /// The statement of a script that has ended without it.
    fn step_alone(&mut self, tables: &mut Tables, now: &mut Millis) {
        if self.linger > 0 {
            self.linger -= 1;
            return;
        }
        let Some((_, statement)) = self.script.as_ref().ok().and_then(|script| script.get(self.done)) else {
            return;
        };
        *now += 1;
        match perform(tables, &mut None, statement, *now) {
            Ok(effect) => self.settle(effect, *now),
            Err(trouble) => self.end(Some(trouble), *now),
        }
    }

    fn end(&mut self, error: Option<Trouble>, now: Millis) {
        self.state = State::Done;
        self.ended = Some(now);
        self.error = error;
    }

    fn settle(&mut self, effect: Effect, now: Millis) {
        self.answer.clone_from(&effect.answer);
        self.effect = effect;
        self.end(None, now);
    }

    /// `jobReference`.
    pub(super) fn reference(&self) -> Value {
        json!({ "projectId": self.project, "jobId": self.id, "location": self.location })
    }

    /// A label of the job.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.configuration.get("labels")?.get(key)?.as_str()
    }

    /// `jobs.get`.
    pub(super) fn resource(&self) -> Value {
        let mut configuration = self.configuration.clone();
        let copies = configuration.get("copy").is_some();
        configuration["jobType"] = json!(if copies { "COPY" } else { "QUERY" });
        let done = self.state == State::Done;
        match (&self.effect.target, self.effect.dml, self.effect.kind) {
            (Some(target), Some(_), _) => configuration["query"]["destinationTable"] = target.reference(),
            // Where BigQuery keeps a query's rows: a hidden dataset of a long name.
            (_, _, "SELECT") if done && self.parent.is_none() => {
                let hidden = format!("_{:016x}{:016x}{:08x}", hash(&self.project), hash("hidden"), 0);
                let table = format!("anon{:016x}", hash(&self.id));
                let place = json!({ "projectId": self.project, "datasetId": hidden, "tableId": table });
                configuration["query"]["destinationTable"] = place;
            }
            _ => {}
        }
        let mut status = json!({ "state": self.state.word() });
        if let Some(error) = &self.error {
            status["errorResult"] = json!({ "reason": error.reason, "message": error.message });
            status["errors"] = json!([status["errorResult"]]);
        }
        json!({
            "kind": "bigquery#job",
            "etag": format!("{:016x}", hash(&format!("{}{}", self.id, self.state.word()))),
            "id": format!("{}:{}.{}", self.project, self.location, self.id),
            "jobReference": self.reference(),
            "configuration": configuration,
            "status": status,
            "statistics": self.statistics(),
        })
    }

    fn statistics(&self) -> Value {
        let mut all = Map::new();
        let say = |all: &mut Map<String, Value>, key: &str, value: Option<Millis>| {
            all.extend(value.map(|ms| (key.to_owned(), json!(ms.to_string()))));
        };
        say(&mut all, "creationTime", Some(self.created));
        say(&mut all, "startTime", self.started);
        say(&mut all, "endTime", self.ended);
        let number = i64::try_from(self.children.len()).unwrap_or(0);
        say(&mut all, "numChildJobs", (number > 0).then_some(number));
        if let Some(parent) = &self.parent {
            all.insert("parentJobId".into(), json!(parent));
            let frames: Vec<&Value> = self.frame.iter().collect();
            let told = json!({ "evaluationKind": "STATEMENT", "stackFrames": frames });
            all.insert("scriptStatistics".into(), told);
        }
        if let (State::Done, Some(rows)) = (self.state, self.effect.copied) {
            let copied = json!({ "copiedRows": rows.to_string(), "copiedLogicalBytes": (rows * 8).to_string() });
            all.insert("copy".into(), copied);
        }
        if self.state == State::Done && !self.effect.kind.is_empty() {
            let ms = self.ended.unwrap_or(0) - self.started.unwrap_or(0);
            say(&mut all, "totalSlotMs", Some(ms));
            say(&mut all, "totalBytesProcessed", Some(0));
            all.insert("query".into(), self.query_statistics(ms));
        }
        Value::Object(all)
    }

    fn query_statistics(&self, slot_ms: Millis) -> Value {
        let writes = self.effect.dml.is_some();
        let mut query = json!({
            "statementType": self.effect.kind,
            "totalBytesProcessed": "0",
            "totalBytesBilled": if writes { "10485760" } else { "0" },
            "totalSlotMs": slot_ms.to_string(),
            "cacheHit": false,
        });
        if let Some(operation) = self.effect.operation {
            query["ddlOperationPerformed"] = json!(operation);
            if let Some(target) = &self.effect.target {
                query["ddlTargetTable"] = target.reference();
            }
        }
        if let Some(rows) = self.effect.dml {
            let keys = ["insertedRowCount", "updatedRowCount", "deletedRowCount"];
            query["dmlStats"] = keys
                .iter()
                .zip(rows)
                .map(|(key, n)| ((*key).to_owned(), json!(n.to_string())))
                .collect();
            query["numDmlAffectedRows"] = json!(rows.iter().sum::<usize>().to_string());
        }
        query
    }
}

/// Where the last of these statements stands in the script that they begin, as `scriptStatistics.stackFrames` has it: lines and columns
/// from 1, a tab reaching to the next column that eight divides.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#ScriptStackFrame>.
fn frame<'t>(sql: &str, statements: impl Iterator<Item = &'t String>) -> Option<Value> {
    let (mut from, mut found) = (0, None);
    for text in statements {
        let start = from + sql.get(from..)?.find(text.as_str())?;
        from = start + text.len();
        found = Some((start, text));
    }
    let place = |end: usize| {
        let before = &sql[..end];
        let line = before.rsplit('\n').next().unwrap_or_default();
        let column = line.chars().fold(1, |column, c| match c {
            '\t' => column + 8 - (column - 1) % 8,
            _ => column + 1,
        });
        (before.matches('\n').count() + 1, column)
    };
    let (start, text) = found?;
    let (first, last) = (place(start), place(start + text.len()));
    Some(json!({ "startLine": first.0, "startColumn": first.1, "endLine": last.0, "endColumn": last.1, "text": text }))
}

/// A number that looks like chance and is the same for the same seed and place.
fn chance(seed: u64, at: usize) -> u64 {
    // splitmix64
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(at as u64 + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hash(text: &str) -> u64 {
    // FNV-1a
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
