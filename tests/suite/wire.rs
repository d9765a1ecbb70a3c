//! The wire and the journal written down a second time, from `docs/protocol.md` and not from the code, with unknown fields denied.
//!
//! What the programs write has to fit: a field that is renamed, added or turned into another type without a word in the protocol
//! fails here, while the programs' own reader, which ignores what it does not know, would pass it.
#![allow(dead_code)] // The fields are there to be demanded, not to be read.

use crate::scene::{self, Scene};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

// ---- the shapes of single values ----

/// RFC 3339 in UTC.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Time(jiff::Timestamp);

impl TryFrom<String> for Time {
    type Error = String;
    fn try_from(text: String) -> Result<Time, String> {
        let time = text.strip_suffix('Z').ok_or(format!("`{text}` is not in UTC"))?;
        match time.bytes().all(|b| b.is_ascii_digit() || b"-:.T".contains(&b)) {
            true => text.parse().map(Time).map_err(|e| format!("`{text}`: {e}")),
            false => Err(format!("`{text}` is no RFC 3339")),
        }
    }
}

/// `project.dataset.table`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Table(String);

impl TryFrom<String> for Table {
    type Error = String;
    fn try_from(text: String) -> Result<Table, String> {
        match text.split('.').filter(|part| !part.is_empty()).count() {
            3 => Ok(Table(text)),
            _ => Err(format!("`{text}` is not project.dataset.table")),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct RunId(String);

impl TryFrom<String> for RunId {
    type Error = String;
    fn try_from(text: String) -> Result<RunId, String> {
        let fine = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        match fine && (1..=63).contains(&text.len()) {
            true => Ok(RunId(text)),
            false => Err(format!("`{text}` is no run ID")),
        }
    }
}

#[derive(Deserialize)]
enum Tool {
    #[serde(rename = "bq-snap")]
    Snap,
    #[serde(rename = "bq-run")]
    Run,
    #[serde(rename = "bq-count")]
    Count,
    #[serde(rename = "bq-check")]
    Check,
    #[serde(rename = "bq-restore")]
    Restore,
}

/// `v1:<rows>:<16 hexadecimal digits>:<32 hexadecimal digits>`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Fingerprint(String);

impl TryFrom<String> for Fingerprint {
    type Error = String;
    fn try_from(text: String) -> Result<Fingerprint, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        match parts[..] {
            ["v1", rows, xor, sum] if rows.parse::<u64>().is_ok() && hex(xor, 16) && hex(sum, 32) => {
                Ok(Fingerprint(text))
            }
            _ => Err(format!("`{text}` is no fingerprint")),
        }
    }
}

/// A number of rows, or a text such as `+0..+500`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expectation {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SchemaRule {
    Grow,
    Same,
    Any,
}

/// The pre-image: these parts of `tables.get`, as BigQuery wrote them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Meta {
    r#type: String,
    location: Option<String>,
    schema: Option<Value>,
    time_partitioning: Option<Value>,
    range_partitioning: Option<Value>,
    clustering: Option<Value>,
    require_partition_filter: Option<bool>,
    description: Option<String>,
    friendly_name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    expiration_time: Option<String>,
    default_collation: Option<String>,
    default_rounding_mode: Option<String>,
    max_staleness: Option<String>,
    table_constraints: Option<Value>,
    resource_tags: Option<Value>,
    encryption_configuration: Option<Value>,
    creation_time: Option<String>,
    clone_definition: Option<Value>,
}

// ---- the stream ----

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Record {
    Begin(Begin),
    Snapshot(Box<Protected>),
    Migration(Migration),
    Count(Count),
    Check(Check),
    Verdict(Verdict),
    Restore(Restore),
    Preflight(Preflight),
    Warning(Trouble),
    Error(Trouble),
    End(End),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    run: Option<RunId>,
    v: u32,
    tool: Tool,
    version: String,
    project: Option<String>,
    endpoint: String,
    dry_run: bool,
    at: Time,
}

/// A table of a run, or a name that nothing had.
#[derive(Deserialize)]
#[serde(untagged)]
enum Protected {
    There(Box<Snapshot>),
    Absent(Absent),
}

/// `absent: true`, and where a table of this name will be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Absent {
    run: RunId,
    table: Table,
    absent: True,
    /// Lacking before the cut is taken.
    cut: Option<Time>,
    keep_ms: Option<u64>,
    level: Option<String>,
    records: Option<Expectation>,
    after: Option<Expectation>,
    schema_rule: SchemaRule,
    meta: Place,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    location: Option<String>,
}

/// A field that is left out unless it holds.
#[derive(Deserialize)]
#[serde(try_from = "bool")]
struct True;

impl TryFrom<bool> for True {
    type Error = &'static str;
    fn try_from(yes: bool) -> Result<Self, Self::Error> {
        if yes {
            Ok(True)
        } else {
            Err("a field that is false is left out")
        }
    }
}

/// What is known of a table before the cut.
#[derive(Deserialize)]
#[serde(untagged)]
enum Before {
    There(Box<PreImage>),
    Absent(Absent),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    run: RunId,
    table: Table,
    snapshot: Table,
    cut: Time,
    expires: Option<Time>,
    keep_ms: Option<u64>,
    time_travel_hours: Option<u64>,
    rows: u64,
    bytes: u64,
    unprotected_rows: Option<u64>,
    level: Option<String>,
    records: Option<Expectation>,
    after: Option<Expectation>,
    schema_rule: SchemaRule,
    meta: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum MigrationState {
    Done,
    Failed,
    Cancelled,
    Refused,
    Unknown,
    Planned,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Migration {
    run: RunId,
    source: String,
    sha256: String,
    job: Option<String>,
    location: Option<String>,
    state: MigrationState,
    statements: Vec<Statement>,
    allowed: Vec<Table>,
    allowed_datasets: Option<Vec<String>>,
    bytes_billed: Option<u64>,
    slot_ms: Option<u64>,
    ms: Option<u64>,
    error: Option<String>,
    foreseen: Option<Foreseen>,
    unforeseen: Option<Vec<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreseen {
    coverage: Option<u8>,
    validated: Option<u64>,
    statements: Vec<ForeseenStatement>,
    bytes: Option<u64>,
    at_least: Option<True>,
    cost_usd: Option<f64>,
    price_per_tib: Option<f64>,
    writes: Option<Vec<String>>,
    new: Option<Vec<String>>,
    irreversible: Option<Vec<String>>,
    opaque: Option<Vec<String>>,
    traps: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForeseenStatement {
    number: u32,
    line: u32,
    column: u32,
    kind: String,
    conditional: Option<True>,
    effects: Option<Vec<ForeseenEffect>>,
    verdict: Option<ForeseenVerdict>,
    why: Option<String>,
    bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ForeseenVerdict {
    Validated,
    NotKnowable,
    Wrong,
    NoNeed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForeseenEffect {
    deed: Deed,
    object: Object,
    name: String,
    standing: Standing,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deed {
    Creates,
    Replaces,
    Writes,
    Drops,
    Beyond,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Object {
    Table,
    Routine,
    Model,
    Dataset,
    Thing,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Protected,
    Allowed,
    New,
    There,
    Outside,
    Snapshot,
    Irreversible,
    Opaque,
    Unguarded,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Operation {
    Create,
    Replace,
    Skip,
    Alter,
    Drop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    number: u32,
    kind: String,
    table: Option<Table>,
    routine: Option<Table>,
    dataset: Option<String>,
    operation: Option<Operation>,
    inserted: Option<u64>,
    updated: Option<u64>,
    deleted: Option<u64>,
    bytes: Option<u64>,
    slot_ms: Option<u64>,
    ms: Option<u64>,
    started_ms: Option<u64>,
    ended_ms: Option<u64>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    run: Option<RunId>,
    table: Table,
    rows: u64,
    as_of: Time,
    fingerprint: Option<Fingerprint>,
    columns: Option<Vec<String>>,
    partitions: Option<BTreeMap<String, Fingerprint>>,
    records: Option<Expectation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Error,
    Warn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    run: Option<RunId>,
    name: String,
    table: Option<Table>,
    ok: Option<bool>,
    severity: Severity,
    want: String,
    got: String,
    detail: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    run: Option<RunId>,
    accepted: bool,
    passed: u64,
    failed: u64,
    errors: u64,
    warned: u64,
    content: u64,
    #[serde(default)]
    said_no: Vec<String>,
    #[serde(default)]
    unasked: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum From {
    Snapshot,
    TimeTravel,
    Backup,
    Unchanged,
    Absent,
    Kept,
    Cleared,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restore {
    run: RunId,
    table: Table,
    from: From,
    source: Option<String>,
    kept: Option<Table>,
    until: Option<Time>,
    rows: Option<u64>,
    ok: bool,
    happened: Option<String>,
    how: Option<String>,
    without_table_ms: Option<u64>,
    to: Option<Table>,
    ms: Option<u64>,
    #[serde(default)]
    not_restored: Vec<String>,
    salvaged: Option<Salvaged>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Salvaged {
    table: Option<Table>,
    rows: u64,
    more: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trouble {
    run: Option<RunId>,
    tool: Tool,
    table: Option<Table>,
    what: String,
    r#where: String,
    next: String,
    reason: Option<String>,
    job: Option<String>,
    text: Option<String>,
    column: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    run: Option<RunId>,
    tool: Tool,
    ok: bool,
    code: u8,
    name: String,
    count: u64,
    bytes_billed: Option<u64>,
}

/// A line of `bq-snap --preflight`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preflight {
    check: String,
    place: String,
    result: Found,
    detail: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Found {
    Ok,
    Lacking,
    Refused,
    Warning,
    Unknown,
}

/// A line of `--list`, which is no stream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    r#type: String,
    run: RunId,
    state: String,
    pending: bool,
    tables: u64,
    bytes: u64,
    cut: Option<Time>,
    until: Option<Time>,
    time_travel_until: Option<Time>,
}

// ---- the journal ----

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    at: Time,
    event: Event,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Event {
    Created(Created),
    Opened(Opened),
    Table(Before),
    Cut { cut: Time },
    Intent(Intent),
    Outcome(Outcome),
    Found(Intent),
    Verified(Protected),
    Protected,
    Changed { tables: Vec<String> },
    Ended(Migration),
    Looks(Box<Looks>),
    Migrated,
    Failed { what: String },
    Verdict(Judgement),
    Abandoned,
    RestoreBegun { only: Vec<Table> },
    Kept(Box<Kept>),
    Salvaged(Saved),
    UndoBegun,
    Clearing { table: Table },
    Restored(Restore),
    RestoreEnded(RestoreEnded),
    Extended { table: Table, expires: Time },
    Settled { expires: Option<Time> },
}

/// What was in a table's place before it was put back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    of: Table,
    kept: Table,
    table: Option<Table>,
    rows: u64,
    more: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Created {
    v: u32,
    run: RunId,
    project: String,
    endpoint: String,
    tool: Tool,
    version: String,
    nonce: String,
    unprotected: bool,
    keep_ms: Option<u64>,
    #[serde(default)]
    given: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    tool: Tool,
    pid: u32,
    host: String,
}

/// A snapshot record without what is not known yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreImage {
    run: RunId,
    table: Table,
    snapshot: Table,
    keep_ms: Option<u64>,
    time_travel_hours: Option<u64>,
    bytes: u64,
    level: Option<String>,
    records: Option<Expectation>,
    after: Option<Expectation>,
    schema_rule: SchemaRule,
    meta: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Cut,
    Snapshot,
    Announce,
    Migrate(u32),
    Keep(u32),
    Stage(u32),
    Part(u32),
    Shape,
    Fill,
    Drop,
    Restore,
    Options,
    Access,
    Policies,
    Clear,
    Salvage(u32),
    Unstage(u32),
    Beside,
    Release,
    Rehearse,
    Settle,
    Remove,
    Extend,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Intent {
    step: Step,
    table: Option<Table>,
    attempt: u32,
    job: Option<String>,
    location: Option<String>,
    digest: String,
    what: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    step: Step,
    table: Option<Table>,
    attempt: u32,
    error: Option<String>,
    unknown: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Looks {
    table: Table,
    modified_ms: Option<u64>,
    meta: Option<Meta>,
}

/// What was in a table's place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    table: Table,
    kept: Option<Table>,
    cut: Option<Time>,
    rows: Option<u64>,
    meta: Option<Meta>,
    definition: Option<Value>,
    access: Option<Value>,
    #[serde(default)]
    beyond: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judgement {
    accepted: bool,
    by_person: bool,
    because: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreEnded {
    code: u8,
    only: bool,
    left: Vec<Table>,
    next: String,
}

// ---- what was read ----

/// How many records of each type and events of each kind were read; each fitted.
#[derive(Default)]
pub(crate) struct Seen {
    types: BTreeMap<String, usize>,
    events: BTreeMap<String, usize>,
}

impl Seen {
    pub(crate) fn records(&self) -> usize {
        self.types.values().sum()
    }

    pub(crate) fn entries(&self) -> usize {
        self.events.values().sum()
    }

    /// Reads a stream that came from where `name` says.
    pub(crate) fn stream(&mut self, name: &str, text: &str) {
        assert!(text.ends_with('\n'), "{name}: the last line has no end");
        for (number, line) in text.lines().enumerate() {
            let value = read::<Record>(line).unwrap_or_else(|e| panic!("{name}, line {}: {e}\n{line}", number + 1));
            no_nulls(&value).unwrap_or_else(|at| panic!("{name}, line {}: {at} is null\n{line}", number + 1));
            let kind = value["type"].as_str().unwrap_or_default().to_owned();
            *self.types.entry(kind).or_default() += 1;
        }
    }

    /// Reads a journal.
    pub(crate) fn journal(&mut self, name: &str, text: &str) {
        assert!(text.ends_with('\n'), "{name}: the last line has no end");
        for (number, line) in text.lines().enumerate() {
            let value = read::<Entry>(line).unwrap_or_else(|e| panic!("{name}, line {}: {e}\n{line}", number + 1));
            *self.events.entry(kind_of(&value["event"]).to_owned()).or_default() += 1;
        }
    }
}

/// The word for an event in the journal.
pub(crate) fn kind_of(event: &Value) -> &str {
    let key = event.as_object().and_then(|object| object.keys().next());
    event.as_str().or(key.map(String::as_str)).unwrap_or("nothing")
}

fn read<T: for<'a> Deserialize<'a>>(line: &str) -> Result<Value, String> {
    serde_json::from_str::<T>(line).map_err(|e| e.to_string())?;
    serde_json::from_str(line).map_err(|e| e.to_string())
}

/// "A field that has no value is left out." What BigQuery and checks put into theirs is not ours.
fn no_nulls(record: &Value) -> Result<(), String> {
    let fields = record.as_object().into_iter().flatten();
    let null = fields
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key.clone())
        .next();
    null.map_or(Ok(()), Err)
}

#[test]
fn what_does_not_fit_is_seen() {
    let end = json!({ "type": "end", "tool": "bq-run", "ok": true, "code": 0, "name": "ok", "count": 1 });
    assert!(read::<Record>(&end.to_string()).is_ok());
    let count = json!({ "type": "count", "table": "p.d.t", "rows": 1, "as_of": "2026-01-02T03:04:05.678Z" });
    assert!(read::<Record>(&count.to_string()).is_ok());
    let with = |of: &Value, key: &str, value: Value| {
        let mut changed = of.clone();
        changed[key] = value;
        changed.to_string()
    };
    for wrong in [
        with(&end, "later", json!(1)),
        with(&end, "count", json!("1")),
        with(&end, "tool", json!("bq-other")),
        with(&end, "type", json!("stop")),
        with(&count, "as_of", json!("2026-01-02T03:04:05+01:00")),
        with(&count, "as_of", json!(1_767_000_000_000_u64)),
        with(&count, "table", json!("d.t")),
        with(&count, "rows", json!(-1)),
        json!({ "type": "end" }).to_string(),
    ] {
        assert!(read::<Record>(&wrong).is_err(), "{wrong}");
    }
    assert!(no_nulls(&json!({ "type": "end", "run": null })).is_err());
    let at = "2026-01-02T03:04:05Z";
    for (entry, fits) in [
        (json!({ "at": at, "event": "protected" }), true),
        (json!({ "at": at, "event": "protected", "by": "me" }), false),
        (json!({ "at": at, "event": "retired" }), false),
        (json!({ "at": at, "event": { "failed": { "what": "x" } } }), true),
        (
            json!({ "at": at, "event": { "failed": { "what": "x", "why": "y" } } }),
            false,
        ),
        (json!({ "at": at, "event": { "cut": { "cut": 5 } } }), false),
    ] {
        assert_eq!(read::<Entry>(&entry.to_string()).is_ok(), fits, "{entry}");
    }
}

/// One small play in which every type of record and every kind of event comes up.
#[test]
fn every_record_and_event_is_as_the_protocol_says() {
    let mut scene = Scene::at(&scene::shared());
    scene.write(
        "setup.sql",
        "CREATE SCHEMA wire; CREATE TABLE wire.a (id INT64 NOT NULL, d DATE) PARTITION BY d CLUSTER BY id OPTIONS(description='A', labels=[('k', 'v')]);
         INSERT INTO wire.a SELECT n, DATE '2026-01-01' FROM UNNEST(GENERATE_ARRAY(1, 9)) AS n;
         CREATE TABLE wire.b AS SELECT 1 AS id;",
    );
    scene.write(
        "tables.csv",
        "dataset,table,records,after,schema,level\nwire,a,9,+0..+5,same,CORE\nwire,b,=1,,,\n",
    );
    scene.write(
        "good.sql",
        "INSERT INTO wire.a VALUES (10, NULL); UPDATE wire.b SET id = 2 WHERE TRUE;",
    );
    scene.write(
        "fails.sql",
        "DELETE FROM wire.a WHERE id > 3; SELECT ERROR('as it should');",
    );
    scene.write(
        "checks.sql",
        "-- name: nothing negative\nSELECT id FROM wire.a WHERE id < 0;\n",
    );
    scene
        .sh("bq-run -q --run wire_setup --unprotected setup.sql >setup.stream")
        .expect(0, "setup");
    scene
        .sh("bq-count -f tables.csv >counts.stream && bq-check <counts.stream >checked.stream && bq-count -q wire.none >error.stream")
        .expect(2, "counts");
    scene.set("SNAPSHOT_SUFFIX", "wire_good");
    scene
        .sh("bq-snap -f tables.csv | bq-run good.sql | bq-count | bq-check --sql checks.sql >good.stream || bq-restore")
        .expect(0, "good");
    scene.set("SNAPSHOT_SUFFIX", "wire_fails");
    scene.write("tables.csv", "table\nwire.a\nwire.b\n");
    scene
        .sh("bq-snap -f tables.csv --expires 48h | bq-run fails.sql | tee fails.stream | bq-check --copy copy.stream >/dev/null || bq-restore >restored.stream")
        .expect(10, "fails");
    scene.set("SNAPSHOT_SUFFIX", "wire_abandoned");
    scene
        .sh("bq-snap -f tables.csv --expires never >snapped.stream; bq-restore >abandoned.stream")
        .expect(1, "abandoned");
    scene.set("SNAPSHOT_SUFFIX", "wire_dry");
    scene
        .sh("bq-snap -n -f tables.csv | bq-run -n good.sql | bq-check -n >dry.stream")
        .expect(0, "dry run");
    let listed = scene.sh("bq-restore -q --list");
    let listed = listed.expect(0, "--list").stdout.lines().map(|line| {
        let value = read::<Listed>(line).unwrap_or_else(|e| panic!("--list: {e}\n{line}"));
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        (text("type"), text("run"), text("state"))
    });
    let ended: Vec<_> = listed.filter(|(_, run, _)| run != "wire_setup").collect();
    let run = |run: &str, state: &str| ("run".to_owned(), run.to_owned(), state.to_owned());
    let wanted = [
        run("wire_abandoned", "abandoned"),
        run("wire_fails", "rolled-back"),
        run("wire_good", "accepted"),
    ];
    assert_eq!(ended.into_iter().collect::<BTreeSet<_>>(), wanted.into());
    let seen = scene.end();
    let types: Vec<&str> = seen.types.keys().map(String::as_str).collect();
    assert_eq!(
        types,
        [
            "begin",
            "check",
            "count",
            "end",
            "error",
            "migration",
            "restore",
            "snapshot",
            "verdict",
            "warning"
        ]
    );
    let events: Vec<&str> = seen.events.keys().map(String::as_str).collect();
    assert_eq!(
        events,
        [
            "abandoned",
            "created",
            "cut",
            "ended",
            "failed",
            "intent",
            "kept",
            "looks",
            "migrated",
            "opened",
            "outcome",
            "protected",
            "restore_begun",
            "restore_ended",
            "restored",
            "settled",
            "table",
            "verdict",
            "verified"
        ]
    );
}
