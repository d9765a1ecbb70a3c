//! What should never be asked: the promises of the programs, held against what they ask and what their journals hold in
//! that moment. Reads journals as JSON: it shares no code with those who write them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::grammar::split_name;
use super::jobs::{Asked, Job};
use super::sql::{How, Mode, Name, Statement};
use super::tables::{Kind, Tables, Version};
use super::values::{Millis, rfc3339};

/// The label of a job that only takes an ID.
const FENCE: &str = "bq-rollback-fence";
/// The label that says which journal a job is of.
const NONCE: &str = "bq-rollback-nonce";
/// The labels by which an auditor finds a run's jobs, and who sent them.
const RUN: &str = "bq-rollback-run";
const TOOL: &str = "bq-rollback-tool";

/// Who looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Where journals are.
    pub(super) dirs: Vec<PathBuf>,
    /// What was seen that should not be.
    pub(super) violations: Vec<String>,
    /// The job of each run's file.
    migrations: BTreeMap<(String, u32), String>,
}

/// What the ID of a job of ours says.
struct Ours<'a> {
    run: &'a str,
    step: &'a str,
}

impl<'a> Ours<'a> {
    /// `bq-rollback-<run>-<step>[-<table>]-<attempt>`: neither run nor step holds a hyphen.
    fn of(id: &'a str) -> Option<Ours<'a>> {
        let (run, rest) = id.strip_prefix("bq-rollback-")?.split_once('-')?;
        let (step, attempt) = rest.split_once('-')?;
        (!run.is_empty() && !step.is_empty() && !attempt.is_empty()).then_some(Ours { run, step })
    }

    /// The number of the migration's file.
    fn file(&self) -> Option<u32> {
        self.step.strip_prefix("migrate")?.parse().ok()
    }

    /// A question's ID has chance where others have a step: `bq-rollback-count-<nonce>-1`.
    fn asks(&self) -> bool {
        self.step.len() == 32 && self.step.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// The events of one journal.
struct Journal(Vec<Value>);

impl Journal {
    /// The fields of every event of a kind.
    fn events<'j>(&'j self, kind: &'j str) -> impl DoubleEndedIterator<Item = &'j Value> {
        self.0.iter().filter_map(move |event| event.get(kind))
    }

    fn intends(&self, job: &str) -> bool {
        self.events("intent").any(|intent| intent["job"] == job)
    }

    /// Whether its run has come to an end: its last word on that is that it was accepted, rolled back or given up.
    fn is_settled(&self) -> bool {
        let mut words = self.0.iter().filter_map(|event| {
            let end = event.get("restore_ended");
            let back = end.map(|end| end["code"] == 10 && end["only"] == false);
            let verdict = event.get("verdict").map(|verdict| verdict["accepted"] == true);
            let begun = event
                .get("restore_begun")
                .or_else(|| event.get("intent").filter(|i| i["step"]["migrate"].is_u64()));
            back.or(verdict)
                .or((event == "abandoned").then_some(true))
                .or(begun.map(|_| false))
        });
        words.next_back() == Some(true)
    }

    fn created(&self) -> &Value {
        self.events("created").next().unwrap_or(&Value::Null)
    }

    /// The patches that are announced and whose end is not known.
    fn open_patches(&self) -> Vec<&Value> {
        let mut open: Vec<&Value> = Vec::new();
        for event in &self.0 {
            let same = |a: &Value, b: &Value| ["step", "table", "attempt"].iter().all(|key| a[key] == b[key]);
            if let Some(intent) = event.get("intent") {
                open.push(intent);
            } else if let Some(outcome) = event.get("outcome") {
                open.retain(|intent| !same(intent, outcome));
            }
        }
        open.retain(|intent| intent["job"].is_null());
        open
    }
}

impl Watch {
    /// What the journals of a run hold in whole lines.
    fn journals(&self, run: &str) -> Vec<Journal> {
        let read = |dir: &PathBuf| {
            let bytes = std::fs::read(dir.join(format!("{run}.jsonl"))).ok()?;
            let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let lines = bytes[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty());
            let event = |line| serde_json::from_slice::<Value>(line).ok()?.get("event").cloned();
            Some(Journal(lines.filter_map(event).collect()))
        };
        self.dirs.iter().filter_map(read).collect()
    }

    /// Every run that a watched directory has a journal of, the latest first: it is the one most often asked for.
    fn runs(&self) -> Vec<String> {
        let entries = self
            .dirs
            .iter()
            .filter_map(|dir| std::fs::read_dir(dir).ok())
            .flatten()
            .flatten();
        let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned());
        let mut runs: Vec<String> = entries.filter_map(name).collect();
        runs.sort();
        runs.reverse();
        runs
    }

    fn refuse(&mut self, what: String) -> Result<(), String> {
        self.violations.push(what.clone());
        Err(what)
    }

    /// Before `jobs.insert`: a job that changes something must be in its journal.
    pub(super) fn before_insert(&mut self, asked: &Asked) -> Result<(), String> {
        let ours = Ours::of(&asked.id);
        let changes = match &asked.script {
            Ok(script) => script.iter().any(|(_, statement)| !statement.reads()),
            Err(_) => !ours.as_ref().is_some_and(Ours::asks),
        };
        let Some(ours) = ours else {
            return match changes {
                true => self.refuse(format!(
                    "a job that changes something has the ID `{}`: {}",
                    asked.id, asked.sql
                )),
                false => Ok(()),
            };
        };
        if !changes && ours.step != "cut" && ours.file().is_none() {
            return Ok(());
        }
        if !self.journals(ours.run).iter().any(|journal| journal.intends(&asked.id)) {
            return self.refuse(format!(
                "job `{}` was sent before its intent was on the disk: {}",
                asked.id, asked.sql
            ));
        }
        let settled = || self.journals(ours.run).iter().any(Journal::is_settled);
        let removes =
            |(_, statement): &(String, Statement)| matches!(statement, Statement::Drop { kind: "SNAPSHOT", .. });
        if ours.step == "remove" && !(asked.script.iter().flatten().all(removes) && settled()) {
            return self.refuse(format!("job `{}` removes what may not go: {}", asked.id, asked.sql));
        }
        Ok(())
    }

    /// Before `tables.patch`: its intent must be in a journal, and its outcome must not.
    pub(super) fn before_patch(&mut self, table: &Name, body: &Value) -> Result<(), String> {
        let announced = self.runs().iter().flat_map(|run| self.journals(run)).any(|journal| {
            let is = |intent: &&Value| intent["table"] == table.to_string() && intent["what"] == *body;
            journal.open_patches().iter().any(is)
        });
        match announced {
            true => Ok(()),
            false => self.refuse(format!(
                "`{table}` was patched before the intent was on the disk: {body}"
            )),
        }
    }

    /// Before `tables.insert`: that just this is to be made must be in a journal, and its outcome must not.
    pub(super) fn before_insert_table(&mut self, table: &Name, body: &Value) -> Result<(), String> {
        let mut what = body.clone();
        if let Some(what) = what.as_object_mut() {
            what.remove("tableReference");
        }
        let announced = self.runs().iter().flat_map(|run| self.journals(run)).any(|journal| {
            let is = |intent: &&Value| intent["what"] == what;
            journal.open_patches().iter().any(is)
        });
        match announced {
            true => Ok(()),
            false => self.refuse(format!("`{table}` was made before the intent was on the disk: {body}")),
        }
    }

    /// Before `tables.setIamPolicy`: that something is to become of this table must be in a journal, and its outcome
    /// must not.
    pub(super) fn before_iam(&mut self, table: &Name, body: &Value) -> Result<(), String> {
        let announced = self.runs().iter().flat_map(|run| self.journals(run)).any(|journal| {
            let is = |intent: &&Value| intent["table"] == table.to_string();
            journal.open_patches().iter().any(is)
        });
        match announced {
            true => Ok(()),
            false => self.refuse(format!(
                "the IAM policy of `{table}` was set before the intent was on the disk: {body}"
            )),
        }
    }

    /// A job is looked up: without its location BigQuery looks in US and EU only.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get>.
    pub(super) fn looked_up(&mut self, id: &str, location: Option<&str>) {
        if location.is_none() && !self.dirs.is_empty() && Ours::of(id).is_some() {
            self.violations
                .push(format!("job `{id}` was looked up without its location"));
        }
    }

    /// A job of ours is taken up: who looks through the project's jobs must find it. A migration's is not sent without protection, nor
    /// twice.
    pub(super) fn inserted(&mut self, job: &Job, tables: &Tables) {
        if let Some(ours) = Ours::of(&job.id) {
            let run = job.label(RUN);
            if job.label(TOOL).is_none() || (run != Some(ours.run) && !ours.asks()) {
                self.violations
                    .push(format!("job `{}` does not say of which run and tool it is", job.id));
            }
        }
        self.migrating(job, tables);
    }

    /// A migration's job is taken up: every table of its run must be protected, and no other job have run the file.
    fn migrating(&mut self, job: &Job, tables: &Tables) {
        let Some(ours) = Ours::of(&job.id) else { return };
        let Some(file) = ours.file().filter(|_| job.label(FENCE).is_none()) else {
            return;
        };
        let before = self.migrations.insert((ours.run.to_owned(), file), job.id.clone());
        if let Some(before) = before.filter(|before| *before != job.id) {
            let what = format!(
                "two jobs ran file {file} of run `{}`: `{before}` and `{}`",
                ours.run, job.id
            );
            self.violations.push(what);
        }
        let journals = self.journals(ours.run);
        let of_job = |j: &&Journal| j.intends(&job.id);
        let of_nonce = |j: &&Journal| j.created()["nonce"].as_str() == job.label(NONCE);
        let journal = journals
            .iter()
            .filter(of_job)
            .find(of_nonce)
            .or_else(|| journals.iter().find(of_job));
        if let Some(journal) = journal
            && journal.created()["unprotected"] != true
        {
            let found = unprotected(journal, tables);
            self.violations.extend(
                found
                    .into_iter()
                    .map(|why| format!("job `{}` was sent although {why}", job.id)),
            );
        }
    }

    /// A statement is about to run: ours may not overwrite, empty or drop what nothing else holds.
    pub(super) fn before_statement(&mut self, job: &Job, statement: &Statement, tables: &Tables) {
        // What a settled run's snapshots hold is nobody's any more (see `before_insert`).
        let Some(ours) = Ours::of(&job.id).filter(|ours| ours.file().is_none() && ours.step != "remove") else {
            return;
        };
        let Some((table, verb)) = loses(statement) else { return };
        // States of a table that a salvage makes beside it, and drops once their rows are counted.
        if table.table.contains("_salvaging_at") && table.table.contains(ours.run) {
            return;
        }
        let Some(there) = tables.get(table) else { return };
        let kept = match there.kind {
            Kind::View => self.tells(ours.run, there),
            Kind::Table | Kind::Snapshot => tables
                .all()
                .any(|(name, other)| name != table && other.kind != Kind::View && there.same_content(other)),
        };
        if !kept {
            let what = match there.kind {
                Kind::View => "definition is in no journal".to_owned(),
                _ => format!("{} rows are kept nowhere", there.rows.len()),
            };
            self.violations
                .push(format!("job `{}` {verb} `{table}`, whose {what}", job.id));
        }
    }

    /// Whether a journal of the run holds the query of a view.
    fn tells(&self, run: &str, view: &Version) -> bool {
        let query = view.options.get("view").and_then(|view| view["query"].as_str());
        let Some(query) = query else { return false };
        let journals = self.journals(run);
        journals
            .iter()
            .flat_map(|journal| &journal.0)
            .any(|event| holds(event, query))
    }
}

/// Whether a text stands somewhere in a value.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(there) => there.contains(text),
        Value::Array(all) => all.iter().any(|value| holds(value, text)),
        Value::Object(fields) => fields.values().any(|value| holds(value, text)),
        _ => false,
    }
}

/// The table whose rows a statement takes away, and the word for it.
fn loses(statement: &Statement) -> Option<(&Name, &'static str)> {
    match statement {
        Statement::Make {
            how: How::Clone | How::Copy,
            mode: Mode::Replace,
            table,
            ..
        } => Some((table, "overwrites")),
        Statement::Copies(job) if job.overwrites => Some((&job.table, "overwrites")),
        Statement::Drop { table, .. } => Some((table, "drops")),
        Statement::Truncate { table } | Statement::Delete { table, .. } => Some((table, "empties")),
        _ => None,
    }
}

/// Why a migration must not begin: what its journal lacks, and every table whose snapshot is not there or does not hold
/// it.
fn unprotected(journal: &Journal, tables: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    if !journal.0.iter().any(|event| event == "protected") {
        found.push("its journal does not say that the run is protected".to_owned());
    }
    let cut = journal
        .events("cut")
        .next_back()
        .and_then(|cut| cut["cut"].as_str()?.parse::<jiff::Timestamp>().ok());
    let Some(cut) = cut.map(jiff::Timestamp::as_millisecond) else {
        found.push("its journal names no cut".to_owned());
        return found;
    };
    let mut named: Map<String, Value> = Map::new();
    for record in journal.events("table").chain(journal.events("verified")) {
        named.insert(record["table"].as_str().unwrap_or_default().to_owned(), record.clone());
    }
    let wrong = |(table, record): (&String, &Value)| {
        let why = match record["absent"] == true {
            true => not_absent(tables, table, cut),
            false => not_held(tables, table, &record["snapshot"], cut),
        };
        Some(format!("{table} {}", why?))
    };
    found.extend(named.iter().filter_map(wrong));
    found
}

/// The table of this name, in full.
fn name(text: &str) -> Option<Name> {
    match split_name(text).as_slice() {
        [project, dataset, table] => Some(Name {
            project: project.clone(),
            dataset: dataset.clone(),
            table: table.clone(),
        }),
        _ => None,
    }
}

/// What is wrong with a table that is protected as absent; none: nothing.
fn not_absent(tables: &Tables, table: &str, cut: Millis) -> Option<String> {
    let there = name(table).is_some_and(|table| tables.older_than(&table, cut));
    there.then(|| format!("is protected as absent, and was there at {}", rfc3339(cut)))
}

/// What is wrong with a table's snapshot; absent: nothing.
fn not_held(tables: &Tables, table: &str, snapshot: &Value, cut: Millis) -> Option<String> {
    let text = snapshot.as_str().unwrap_or_default();
    let copy = name(text).and_then(|snapshot| tables.get(&snapshot));
    let Some(copy) = copy.filter(|copy| copy.kind == Kind::Snapshot) else {
        return Some(format!("has no snapshot: `{text}`"));
    };
    match name(table).and_then(|table| tables.ever(&table, cut)) {
        Some(then) if then.same_content(copy) => None,
        Some(_) => Some(format!(
            "has a snapshot `{text}` that does not hold it as of {}",
            rfc3339(cut)
        )),
        None => Some(format!("was not there at {}", rfc3339(cut))),
    }
}
