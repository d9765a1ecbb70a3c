//! The wire: one JSON object a line, each with a `type`; what the five programs say to one another.
//!
//! The rules of a whole stream (what makes one broken) are in `stream`; this file knows single records. Fields may be
//! added later, so reading ignores fields it does not know; a record of a type it does not know is passed on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::expect::Expect;
use crate::meta::{SchemaRule, TableMeta};
use crate::names::{DatasetRef, JobId, Location, ProjectId, RunId, TableRef};

mod foreseen;

pub use foreseen::{Foreseen, ForeseenEffect, ForeseenStatement, ForeseenVerdict};

/// The version of the stream written into `begin`.
pub const VERSION: u32 = 1;
/// The longest line of a stream, in bytes.
pub const MAX_LINE: usize = 32 << 20;

/// One line of the stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// A program has begun to write.
    Begin(Begin),
    /// A table is protected.
    Snapshot(Snapshot),
    /// A file of the migration has ended.
    Migration(Migration),
    /// A table was counted.
    Count(Count),
    /// A question was asked.
    Check(Check),
    /// The answer of all the checks.
    Verdict(Verdict),
    /// A table was put back.
    Restore(Restore),
    /// Something a person should know that changes no exit code.
    Warning(Trouble),
    /// Why the program did not do what was asked.
    Error(Trouble),
    /// A program has written all it will.
    End(End),
}

/// The first record of each program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// Absent while the program holds no run: one that was refused does not speak for the run it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The version of the stream.
    pub v: u32,
    /// The program.
    pub tool: String,
    /// The program's version.
    pub version: String,
    /// The project that jobs run in; absent if it failed before it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// The API endpoint.
    pub endpoint: String,
    /// Whether the program was told to change nothing.
    pub dry_run: bool,
    /// When.
    pub at: Timestamp,
}

/// One protected table, as bq-snap leaves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The run.
    pub run: RunId,
    /// The protected table.
    pub table: TableRef,
    /// True: the table did not exist at the cut. There is no snapshot and nothing of one; of `meta` only the place of its dataset.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The snapshot that holds it (with `-n`: would hold it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<TableRef>,
    /// The instant of all snapshots of the run, whole milliseconds of BigQuery's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Timestamp>,
    /// When the snapshot expires unless the run is settled before; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// How long the snapshot lives once the run is settled, in milliseconds; absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
    /// How far back the table's dataset lets it be read, in hours, as bq-snap found it; absent: bq-snap had no reason to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_travel_hours: Option<u64>,
    /// Rows at the cut, in the table and in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Logical bytes of the table as `tables.get` told them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Rows at the cut that the snapshot does not hold, being in the streaming buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unprotected_rows: Option<u64>,
    /// Free text such as HIGH, CRITICAL, CORE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// What the row count must be at the cut and after a restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Expect>,
    /// What the row count must be once migrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Expect>,
    /// What may become of the columns.
    #[serde(default)]
    pub schema_rule: SchemaRule,
    /// What `tables.get` said of the table: the pre-image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<TableMeta>,
}

impl Snapshot {
    /// A record of a run's table of which nothing else is known.
    pub fn of(run: &RunId, table: &TableRef) -> Snapshot {
        Snapshot {
            run: run.clone(),
            table: table.clone(),
            absent: false,
            snapshot: None,
            cut: None,
            expires: None,
            keep_ms: None,
            time_travel_hours: None,
            rows: None,
            bytes: None,
            unprotected_rows: None,
            level: None,
            records: None,
            after: None,
            schema_rule: SchemaRule::default(),
            meta: None,
        }
    }
}

/// Where all of these tables are; `None` if they are in several places, or it is not known.
pub fn only_place(snapshots: &[Snapshot]) -> Option<Location> {
    let mut places = snapshots.iter().map(|s| s.meta.as_ref()?.location());
    let first = places.next()??;
    places
        .all(|place| place.is_some_and(|place| place.is(&first)))
        .then_some(first)
}

/// How a file of the migration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// The job ended well.
    Done,
    /// The job ended with an error.
    Failed,
    /// The job was cancelled.
    Cancelled,
    /// Not submitted: found wrong beforehand, or an earlier file failed.
    Refused,
    /// It could not be learned how it ended.
    Unknown,
    /// `-n`: validated, not submitted.
    Planned,
}

/// One file of the migration, as bq-run leaves it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Migration {
    /// The run.
    pub run: RunId,
    /// The file, as it was named.
    pub source: String,
    /// Digest of the SQL as it was sent, names replaced.
    pub sha256: String,
    /// The job, if there was to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Where the job ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// How it ended.
    pub state: MigrationState,
    /// What ran, in order.
    #[serde(default)]
    pub statements: Vec<Statement>,
    /// Tables outside the protected set that `--allow-unprotected` named.
    #[serde(default)]
    pub allowed: Vec<TableRef>,
    /// The same: datasets of the run's project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_datasets: Vec<DatasetRef>,
    /// Bytes billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_billed: Option<u64>,
    /// Slot time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_ms: Option<u64>,
    /// From start to end by BigQuery's clock, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// Why it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was foreseen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreseen: Option<Box<Foreseen>>,
    /// The tables that it wrote, and no statement of it was foreseen to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unforeseen: Vec<TableRef>,
}

/// One statement of a migration, from its child job (or its job, if the file is one statement).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Its place among the statements that ran, from 1.
    pub number: u32,
    /// BigQuery's `statementType`.
    pub kind: String,
    /// The table it wrote, made, altered or dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRef>,
    /// The routine that it made, replaced or dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routine: Option<TableRef>,
    /// The dataset that it made, altered or dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetRef>,
    /// BigQuery's `ddlOperationPerformed`: `CREATE`, `REPLACE`, `SKIP`, `ALTER`, `DROP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Rows inserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inserted: Option<u64>,
    /// Rows updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<u64>,
    /// Rows deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Bytes billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Slot time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_ms: Option<u64>,
    /// From start to end in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// When it began, milliseconds of BigQuery's clock since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended, milliseconds of BigQuery's clock since 1970: what tells its writes from those of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One table's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Count {
    /// The run, in a run's stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The table.
    pub table: TableRef,
    /// Its rows.
    pub rows: u64,
    /// The instant the rows were counted at.
    pub as_of: Timestamp,
    /// Its content hash, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The columns that the fingerprint is of, where they are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The fingerprint of each partition by its ID, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<BTreeMap<String, String>>,
    /// What the count should be, carried from the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Expect>,
}

/// How much a failed check weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The migration is not accepted.
    Error,
    /// Told, and changes nothing.
    Warn,
}

/// One question and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// The run, in a run's stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What was asked: `exists`, `schema`, `layout`, `options`, `policies`, `rows`, `writes`, `expect`, `records`, `content`, `sql:NAME`, `probe:NAME`.
    pub name: String,
    /// Of which table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRef>,
    /// Whether it is as wanted; absent: it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// How much it weighs.
    pub severity: Severity,
    /// What was wanted.
    pub want: String,
    /// What was found.
    pub got: String,
    /// More: differences, the first violating rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

/// The answer of all the checks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The run, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Whether the migration (or the counts) are as they should be.
    pub accepted: bool,
    /// Checks that held.
    pub passed: u64,
    /// Checks that did not.
    pub failed: u64,
    /// Checks that could not be asked.
    pub errors: u64,
    /// How many of those that failed or could not be asked only warn.
    #[serde(default)]
    pub warned: u64,
    /// How many of the checks looked at contents.
    pub content: u64,
    /// The checks that failed, by name and table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said_no: Vec<String>,
    /// The checks that could not be asked, by name and table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unasked: Vec<String>,
}

/// From where a table was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoredFrom {
    /// Its snapshot.
    Snapshot,
    /// Its own history.
    TimeTravel,
    /// A file.
    Backup,
    /// It had not changed since the cut.
    Unchanged,
    /// It did not exist at the cut and does not exist now.
    Absent,
    /// A copy that an earlier restore had kept: its rollback was undone.
    Kept,
    /// Nothing: it is no table of the run, and was emptied because a person named it.
    Cleared,
}

/// One table after bq-restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restore {
    /// The run.
    pub run: RunId,
    /// The table.
    pub table: TableRef,
    /// Where its contents come from.
    pub from: RestoredFrom,
    /// The snapshot or file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The copy of what was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<TableRef>,
    /// When its snapshot expires unless the run is settled before; absent: never, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Its rows now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Whether it equals the cut; with `-n`: whether it could be restored.
    pub ok: bool,
    /// What had happened to it since the cut, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened: Option<String>,
    /// How it was put back (with `-n`: would be), for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// For how long there was no table of this name while it was put back, in milliseconds, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_table_ms: Option<u64>,
    /// The table that it was put into, where that is another: beside the live one, or for a rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<TableRef>,
    /// How long it took to make and compare it, in milliseconds (of a rehearsal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// What it had and no rollback can put back, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<String>,
    /// What others had written to it and is in a table of its own now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salvaged: Option<Salvaged>,
}

/// Rows that others had written to a table, copied before it was put back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Salvaged {
    /// Where they are; absent: there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRef>,
    /// How many.
    pub rows: u64,
    /// Why there may be rows among them that are not others', for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
}

/// A warning or an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// The run, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The program.
    pub tool: String,
    /// The table, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRef>,
    /// What is wrong.
    pub what: String,
    /// Where.
    #[serde(rename = "where")]
    pub at: String,
    /// What to do next.
    pub next: String,
    /// BigQuery's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The job, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What the caller wrote, if the place in it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The place in `text`, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// The last record of each program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// The run, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The program.
    pub tool: String,
    /// Whether the program did what was asked.
    pub ok: bool,
    /// The code it exits with.
    pub code: u8,
    /// The code's name.
    pub name: String,
    /// How many snapshot, migration, count, check or restore records it wrote.
    pub count: u64,
    /// Bytes billed by its counting queries (bq-count).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_billed: Option<u64>,
}

/// What every reader looks at first.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// A line, read.
#[derive(Debug)]
pub enum Line {
    /// A record of a known type.
    Known(Box<Record>),
    /// A record of a type that a later version brought: passed on, not understood.
    Other,
}

/// Reads one line of a stream.
///
/// # Errors
/// The line is no JSON object with a `type`, or a record of a known type lacks what it must have; the text says which.
pub fn parse(line: &[u8]) -> Result<Line, String> {
    let head: Head = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    const KNOWN: [&str; 10] = [
        "begin",
        "snapshot",
        "migration",
        "count",
        "check",
        "verdict",
        "restore",
        "warning",
        "error",
        "end",
    ];
    if !KNOWN.contains(&head.kind.as_ref()) {
        return Ok(Line::Other);
    }
    let record = serde_json::from_slice(line).map_err(|e| format!("{} record: {e}", head.kind))?;
    Ok(Line::Known(Box::new(record)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_pass_and_unknown_fields_are_ignored() {
        assert!(matches!(parse(br#"{"type":"lineage","x":1}"#), Ok(Line::Other)));
        let end = br#"{"type":"end","tool":"bq-snap","ok":true,"code":0,"name":"ok","count":7,"later":[]}"#;
        assert!(matches!(parse(end), Ok(Line::Known(_))));
    }

    #[test]
    fn what_is_no_record_is_said() {
        for line in [&b"{"[..], b"[]", b"{}", b"null", br#"{"type":"end"}"#, b"\xff"] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
