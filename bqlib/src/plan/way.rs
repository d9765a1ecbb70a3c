//! PURE: the way back of one table, from its journal and from what BigQuery says now, or why there is none. Knows no other table.

use std::fmt;

use jiff::Timestamp;

use super::others::{Others, others_wrote};
use crate::clock::millis;
use crate::exit::Failure;
use crate::foreign::jobs::{ForeignJob, in_words as jobs_in_words};
use crate::meta::{SchemaRule, TableMeta};
use crate::names::TableRef;
use crate::record::Statement;
use crate::state::Left;

/// A table, as it was, as the migration wrote it, and as it is.
pub(super) struct Facts<'a> {
    /// The table.
    pub(super) table: &'a TableRef,
    /// The instant of its snapshot.
    pub(super) cut: Timestamp,
    /// Its rows at the cut.
    pub(super) rows_at_cut: Option<u64>,
    /// Its schema, layout and options at the cut; `None`: there was no such table.
    pub(super) before: Option<&'a TableMeta>,
    /// What it is now.
    pub(super) now: Option<Now<'a>>,
    /// Whether its snapshot is there, is of this table and of the cut; else what is wrong with it.
    pub(super) snapshot: Result<&'a TableRef, String>,
    /// Whether a file of backup is what a person asked for.
    pub(super) from_backup: bool,
    /// Whether it is first made beside the live one, whatever the way.
    pub(super) stage: bool,
    /// What is not others' doing.
    pub(super) expected: Expected<'a>,
    /// Whether a restore of ours has put it back already, and nothing has changed it since.
    pub(super) put_back: Replaced,
    /// Whether a restore of ours has taken away what was in its place.
    pub(super) dropped_by_us: bool,
    /// Whether others' changes to it may be discarded.
    pub(super) discard: bool,
    /// Jobs of others that wrote it since the cut, as far as that is known.
    pub(super) jobs: &'a [ForeignJob],
    /// Of an undo: whether what is to be in its place is no table, and is there already.
    pub(super) definition: Option<bool>,
}

/// Which changes of a table are not others'.
pub(super) enum Expected<'a> {
    /// Those of the migration.
    Migration {
        /// Its statements that wrote the table.
        writes: Vec<&'a Statement>,
        /// Whether bq-run saw, before it submitted, that others had changed it since the cut.
        changed_before: bool,
    },
    /// Those of an earlier restore or undo of ours, which left it so.
    Restore(Left),
}

/// What an earlier restore of ours has made of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It did not come to it, or others have written since.
    No,
    /// It is as that restore left it.
    Yes,
    /// It was replaced, and changed after that: by our own options, of which it is not known when they arrived, or by others.
    CannotBeTold,
}

/// A table as it is.
pub(super) struct Now<'a> {
    /// `TABLE`, `VIEW` and so on.
    pub(super) kind: &'a str,
    /// When it was last changed, milliseconds since 1970.
    pub(super) modified_ms: u64,
    /// When it was made, milliseconds since 1970.
    pub(super) created_ms: u64,
    /// Whether it has rows in the streaming buffer.
    pub(super) streaming: bool,
    /// Schema, layout and options.
    pub(super) meta: &'a TableMeta,
    /// Its rows, if they were counted.
    pub(super) rows: Option<u64>,
}

/// What has happened to a table since the cut.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// Nothing that shows.
    Nothing,
    /// Its rows or options, its columns and layout being the same.
    Rows,
    /// Its columns.
    Columns,
    /// Its partitioning or clustering: from this to that.
    Layout(String, String),
    /// It is gone.
    Dropped,
    /// It is gone, and its own expiry at the cut has passed.
    Expired,
    /// Something else has its name: a view, an external table.
    Became(String),
    /// There is a new one of that name, of the same columns and layout.
    Recreated,
    /// It did not exist at the cut, and does now.
    Appeared,
    /// An earlier restore of ours has put it back already.
    PutBack,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happened::Nothing => f.write_str("unchanged since the cut"),
            Happened::Rows => f.write_str("rows or options changed"),
            Happened::Columns => f.write_str("columns changed"),
            Happened::Layout(was, is) => write!(f, "partitioning or clustering changed: was {was}, is {is}"),
            Happened::Dropped => f.write_str("dropped"),
            Happened::Expired => f.write_str("expired"),
            Happened::Became(kind) => write!(f, "became a {}", in_words(kind)),
            Happened::Recreated => f.write_str("replaced by a new table"),
            Happened::Appeared => f.write_str("did not exist at the cut, and does now"),
            Happened::PutBack => f.write_str("put back by an earlier attempt"),
        }
    }
}

/// `MATERIALIZED_VIEW` as people say it.
fn in_words(kind: &str) -> String {
    kind.to_lowercase().replace('_', " ")
}

/// What to do about a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// Nothing but to compare it: it has not changed since the cut.
    Unchanged,
    /// Nothing but to put its options back and compare it: an earlier restore replaced it.
    PutBack,
    /// Keep what is there, then put the table in its place.
    Restore(Back),
    /// Keep what is there, then drop it: there was no table at the cut.
    Remove {
        /// What is there.
        over: Over,
        /// Others' changes between the cut and the last statement could not be told apart.
        doubt: bool,
    },
}

/// How a table is put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Back {
    /// From where.
    pub source: Source,
    /// Over what.
    pub over: Over,
    /// Whether it is first made beside the live one, and looked at.
    pub staged: bool,
    /// Others' changes between the cut and the last statement could not be told apart.
    pub doubt: bool,
}

/// Where a table's contents come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its snapshot, cloned.
    Clone,
    /// Its snapshot, copied in full: it is not the first of its chain.
    Copy,
    /// The history of the snapshot, which is gone, or of the table: the first that still reaches back.
    History,
    /// A file.
    Backup,
}

/// What is in a table's place.
#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    /// A table that one statement can replace.
    Same,
    /// A table of another partitioning or clustering, which BigQuery replaces by nothing: it is dropped first.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_table_statement>.
    Other,
    /// Nothing.
    Nothing,
    /// What is no table, of this kind: it is dropped first.
    Kind(String),
}

impl Over {
    /// Whether what is there has to be dropped before a table can be made in its place.
    pub fn is_dropped_first(&self) -> bool {
        matches!(self, Over::Other | Over::Kind(_))
    }
}

impl Way {
    /// Whether others' changes between the cut and the migration's last statement could not be told apart.
    pub fn is_doubtful(&self) -> bool {
        match self {
            Way::Unchanged | Way::PutBack => false,
            Way::Restore(Back { doubt, .. }) | Way::Remove { doubt, .. } => *doubt,
        }
    }

    /// What is in the table's place, if that is replaced or taken away.
    pub fn over(&self) -> Option<&Over> {
        match self {
            Way::Unchanged | Way::PutBack => None,
            Way::Restore(back) => Some(&back.over),
            Way::Remove { over, .. } => Some(over),
        }
    }

    /// Whether a table is made beside the live one before that is touched.
    pub fn is_staged(&self) -> bool {
        matches!(self, Way::Restore(Back { staged: true, .. }))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Unchanged => f.write_str("nothing to do but compare it"),
            Way::PutBack => f.write_str("put its options back"),
            Way::Remove {
                over: Over::Kind(kind), ..
            } => write!(f, "write its definition down, drop the {}", in_words(kind)),
            Way::Remove {
                over: Over::Nothing, ..
            } => f.write_str("make it again of its definition"),
            Way::Remove { .. } => f.write_str("keep a copy, drop it"),
            Way::Restore(back) => back.fmt(f),
        }
    }
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.over {
            Over::Nothing => {}
            Over::Kind(kind) => write!(f, "write the {}'s definition down, ", in_words(kind))?,
            _ => f.write_str("keep a copy, ")?,
        }
        let source = match self.source {
            Source::Clone => "clone the snapshot",
            Source::Copy => "copy the snapshot in full",
            Source::History => "take it from history",
            Source::Backup => "load the newest file of it that fits",
        };
        match (self.staged, &self.over) {
            (false, Over::Nothing) => write!(f, "{source}"),
            (false, _) => write!(f, "{source} over it"),
            (true, Over::Nothing) => write!(f, "{source} beside it, compare that, put it in place"),
            (true, Over::Same) => write!(f, "{source} beside it, compare that, replace it"),
            (true, _) => write!(
                f,
                "{source} beside it, compare that, drop what is there, put it in place"
            ),
        }
    }
}

/// Why there is no way.
#[derive(Clone, Debug)]
pub(super) struct No {
    /// A guard (4).
    pub(super) why: Failure,
    /// Whether it is that others seem to have written to the table.
    pub(super) others: bool,
}

/// What has happened to a table.
pub(super) fn happened(facts: &Facts) -> Happened {
    let Some(now) = &facts.now else {
        let expired = |before: &TableMeta| before.expires_ms().is_some_and(|ms| ms > millis(facts.cut));
        return match facts.before {
            None => Happened::Nothing,
            Some(before) if expired(before) => Happened::Expired,
            Some(_) => Happened::Dropped,
        };
    };
    let Some(before) = facts.before else {
        return Happened::Appeared;
    };
    let (was, is) = (before.layout(), now.meta.layout());
    if now.kind != "TABLE" {
        Happened::Became(now.kind.to_owned())
    } else if is_unchanged(facts, now) {
        Happened::Nothing
    } else if facts.put_back == Replaced::Yes {
        Happened::PutBack
    } else if was != is {
        Happened::Layout(was, is)
    } else if !before.schema_differences(now.meta, SchemaRule::Same).is_empty() {
        Happened::Columns
    } else if now.created_ms > millis(facts.cut) {
        Happened::Recreated
    } else {
        Happened::Rows
    }
}

/// Before the cut is before the cut: a transaction that was rolled back wrote nothing. But where a statement is known to have written, and
/// the rows are not those of the cut, BigQuery's word for the last change is not to be believed.
fn is_unchanged(facts: &Facts, now: &Now) -> bool {
    let unwritten = match &facts.expected {
        Expected::Migration { writes, .. } => writes.is_empty(),
        Expected::Restore(_) => true,
    };
    let as_written = unwritten || now.rows.is_some_and(|rows| facts.rows_at_cut == Some(rows));
    now.kind == "TABLE" && now.modified_ms < millis(facts.cut) && as_written
}

/// The way for a table, or why there is none.
pub(super) fn way(facts: &Facts) -> Result<Way, No> {
    let Some(before) = facts.before else {
        return removal(facts);
    };
    let source = match facts.from_backup {
        true => Source::Backup,
        false => source(facts.snapshot.is_ok(), before),
    };
    let lossy = matches!(source, Source::History | Source::Backup);
    let back = |over: Over, doubt| {
        let staged = facts.stage || lossy || over.is_dropped_first();
        Ok(Way::Restore(Back {
            source,
            over,
            staged,
            doubt,
        }))
    };
    let Some(now) = &facts.now else {
        may_be_made_again(facts)?;
        return back(Over::Nothing, false);
    };
    if is_unchanged(facts, now) {
        return Ok(Way::Unchanged);
    }
    if facts.put_back == Replaced::Yes && !facts.discard {
        return Ok(Way::PutBack);
    }
    let doubt = guard(facts, now)?;
    if now.kind != "TABLE" {
        return back(Over::Kind(now.kind.to_owned()), doubt);
    }
    let over = match before.layout() == now.meta.layout() {
        true => Over::Same,
        false => Over::Other,
    };
    back(over, doubt)
}

/// Where the contents of a table come from unless a person says otherwise.
pub(super) fn source(has_snapshot: bool, before: &TableMeta) -> Source {
    match has_snapshot {
        true if before.is_clone() => Source::Copy,
        true => Source::Clone,
        false => Source::History,
    }
}

/// The way for what did not exist at the cut.
fn removal(facts: &Facts) -> Result<Way, No> {
    let Some(now) = &facts.now else {
        // What is to be there is no table, and is made again.
        return Ok(match facts.definition {
            None => Way::Unchanged,
            Some(_) => Way::Remove {
                over: Over::Nothing,
                doubt: false,
            },
        });
    };
    if facts.definition == Some(true) {
        return Ok(Way::Unchanged);
    }
    let doubt = guard(facts, now)?;
    let over = match now.kind {
        "TABLE" => Over::Same,
        kind => Over::Kind(kind.to_owned()),
    };
    Ok(Way::Remove { over, doubt })
}

/// Refuses to make a table again that others had written to before it went: what they wrote would look as if it had never been.
fn may_be_made_again(facts: &Facts) -> Result<(), No> {
    let (table, cut) = (facts.table, millis(facts.cut));
    let proven = facts.jobs.iter().any(|job| job.wrote_after(cut));
    if !proven || facts.discard || facts.dropped_by_us || !matches!(facts.expected, Expected::Migration { .. }) {
        return Ok(());
    }
    let who = jobs_in_words(facts.jobs);
    let what = format!("others have written to `{table}` since the cut, before it was dropped: {who}");
    let hint = format!("look for what they wrote in its history; to lose it: --discard-foreign {table}");
    let why = Failure::refused(what, format!("table {table}"), hint).about(table);
    Err(No { why, others: true })
}

/// Whether what is there may be taken away, all of it being kept and none of it others'; and whether that is in doubt.
fn guard(facts: &Facts, now: &Now) -> Result<bool, No> {
    let table = facts.table;
    let no = |what: String, hint: String, others| {
        let why = Failure::refused(what, format!("table {table}"), hint).about(table);
        Err(No { why, others })
    };
    if now.kind == "SNAPSHOT" {
        // Its definition is not its rows.
        let what = format!("`{table}` has become a snapshot, and bq-restore keeps no copy of the rows of one");
        let hint = "copy it to another name (bq cp), drop it (bq rm -t), then run the same command again";
        return no(what, hint.to_owned(), false);
    }
    if now.streaming {
        let hint =
            "stop the writer, wait until the buffer is written (up to 90 minutes), then run the same command again";
        let what = format!("`{table}` has rows in the streaming buffer, which no copy of it would keep");
        return no(what, hint.to_owned(), false);
    }
    match others_wrote(facts, now) {
        // Restored anew: only then it equals the cut for certain, and what is there is kept.
        _ if facts.put_back == Replaced::CannotBeTold => Ok(!facts.discard),
        Others::Wrote(how) if !facts.discard => {
            let since = match facts.expected {
                Expected::Migration { .. } => "the cut",
                Expected::Restore(_) => "its rollback",
            };
            let hint = format!(
                "look at it; to lose those changes: --discard-foreign {table}; with --salvage what they added is first copied"
            );
            let who = match facts.jobs {
                [] => String::new(),
                jobs => format!("; {}", jobs_in_words(jobs)),
            };
            no(
                format!("others have written to `{table}` since {since}: {how}{who}"),
                hint,
                true,
            )
        }
        Others::Wrote(_) | Others::DidNot => Ok(false),
        Others::CannotBeTold => Ok(!facts.discard),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(kind: &str, inserted: u64, deleted: u64, ended_ms: u64) -> Statement {
        serde_json::from_value(serde_json::json!({
            "number": 1, "kind": kind, "table": "p.d.t", "inserted": inserted, "deleted": deleted, "ended_ms": ended_ms,
        }))
        .unwrap()
    }

    /// The cut is at 1000 ms, with 100 rows.
    struct Case {
        kind: &'static str,
        modified_ms: u64,
        rows: u64,
        writes: Vec<Statement>,
        snapshot: bool,
        layout: bool,
        clone: bool,
        put_back: Replaced,
        changed_before: bool,
        streaming: bool,
        discard: bool,
        absent: bool,
        created_ms: u64,
        backup: bool,
        stage: bool,
        columns: bool,
        undo: Option<Left>,
        dropped_by_us: bool,
        expires_ms: u64,
        jobs: Vec<ForeignJob>,
        definition: Option<bool>,
    }

    fn case() -> Case {
        Case {
            kind: "TABLE",
            modified_ms: 2000,
            rows: 90,
            writes: vec![statement("DELETE", 0, 10, 2000)],
            snapshot: true,
            layout: true,
            clone: false,
            put_back: Replaced::No,
            changed_before: false,
            streaming: false,
            discard: false,
            absent: false,
            created_ms: 1,
            backup: false,
            stage: false,
            columns: true,
            undo: None,
            dropped_by_us: false,
            expires_ms: 0,
            jobs: Vec::new(),
            definition: None,
        }
    }

    fn decide(case: &Case) -> (Happened, Option<Way>) {
        let table = TableRef::parse("p.d.t", None).unwrap();
        let snapshot = TableRef::parse("p.d.t_snapshot_r", None).unwrap();
        let meta = |value| serde_json::from_value::<TableMeta>(value).unwrap();
        let mut before = serde_json::json!({});
        if case.clone {
            before["cloneDefinition"] = serde_json::json!({});
        }
        if case.expires_ms > 0 {
            before["expirationTime"] = serde_json::json!(case.expires_ms.to_string());
        }
        let mut now = serde_json::json!({});
        if !case.layout {
            now["clustering"] = serde_json::json!({"fields": ["a"]});
        }
        if !case.columns {
            now["schema"] = serde_json::json!({"fields": [{"name": "b", "type": "STRING"}]});
        }
        let (before, now) = (meta(before), meta(now));
        let facts = Facts {
            table: &table,
            cut: Timestamp::from_millisecond(1000).unwrap(),
            rows_at_cut: Some(100),
            before: (!case.absent).then_some(&before),
            now: (!case.kind.is_empty()).then_some(Now {
                kind: case.kind,
                modified_ms: case.modified_ms,
                created_ms: case.created_ms,
                streaming: case.streaming,
                meta: &now,
                rows: Some(case.rows),
            }),
            snapshot: if case.snapshot {
                Ok(&snapshot)
            } else {
                Err("is gone".into())
            },
            from_backup: case.backup,
            stage: case.stage,
            expected: match case.undo {
                Some(left) => Expected::Restore(left),
                None => Expected::Migration {
                    writes: case.writes.iter().collect(),
                    changed_before: case.changed_before,
                },
            },
            put_back: case.put_back,
            dropped_by_us: case.dropped_by_us,
            discard: case.discard,
            jobs: &case.jobs,
            definition: case.definition,
        };
        (happened(&facts), way(&facts).ok())
    }

    fn back(source: Source, over: Over, staged: bool) -> Option<Way> {
        Some(Way::Restore(Back {
            source,
            over,
            staged,
            doubt: false,
        }))
    }

    fn doubtful(way: Option<Way>) -> Option<Way> {
        match way {
            Some(Way::Restore(back)) => Some(Way::Restore(Back { doubt: true, ..back })),
            other => other,
        }
    }

    fn layout() -> Happened {
        Happened::Layout("none".to_owned(), "cluster(a)".to_owned())
    }

    fn alters() -> Vec<Statement> {
        vec![statement("ALTER_TABLE", 0, 0, 2000)]
    }

    fn job(created_ms: u64, rows: Option<u64>) -> ForeignJob {
        ForeignJob {
            id: "j".to_owned(),
            who: None,
            created_ms,
            ended_ms: created_ms + 1,
            kind: "UPDATE".to_owned(),
            rows,
        }
    }

    #[test]
    fn what_happened_and_the_ways() {
        use Happened::*;
        let clone = || back(Source::Clone, Over::Same, false);
        let view = || Over::Kind("VIEW".to_owned());
        let gone = || Case {
            snapshot: false,
            ..case()
        };
        for (name, case, what, want) in [
            ("written by the migration", case(), Rows, clone()),
            (
                "a clone is copied",
                Case { clone: true, ..case() },
                Rows,
                back(Source::Copy, Over::Same, false),
            ),
            (
                "staged",
                Case { stage: true, ..case() },
                Rows,
                back(Source::Clone, Over::Same, true),
            ),
            (
                "from a file",
                Case { backup: true, ..case() },
                Rows,
                back(Source::Backup, Over::Same, true),
            ),
            (
                "untouched",
                Case {
                    modified_ms: 999,
                    writes: vec![],
                    ..case()
                },
                Nothing,
                Some(Way::Unchanged),
            ),
            (
                "changed in the cut's own millisecond",
                Case {
                    modified_ms: 1000,
                    writes: vec![],
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "changed after the last statement",
                Case {
                    modified_ms: 2001,
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "the same, discarded",
                Case {
                    modified_ms: 2001,
                    discard: true,
                    ..case()
                },
                Rows,
                clone(),
            ),
            (
                "rolled back with its transaction",
                Case {
                    modified_ms: 999,
                    rows: 100,
                    ..case()
                },
                Nothing,
                Some(Way::Unchanged),
            ),
            (
                "written, and said to be as it was before the cut",
                Case {
                    modified_ms: 999,
                    ..case()
                },
                Rows,
                clone(),
            ),
            (
                "untouched, its snapshot gone",
                Case {
                    modified_ms: 999,
                    writes: vec![],
                    ..gone()
                },
                Nothing,
                Some(Way::Unchanged),
            ),
            (
                "changed before the migration",
                Case {
                    changed_before: true,
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "rows in the streaming buffer",
                Case {
                    streaming: true,
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "the same, though discarded",
                Case {
                    streaming: true,
                    discard: true,
                    ..case()
                },
                Rows,
                None,
            ),
            ("rows that do not add up", Case { rows: 91, ..case() }, Rows, None),
            (
                "DDL hides others",
                Case {
                    writes: vec![statement("ALTER_TABLE", 0, 0, 2000)],
                    ..case()
                },
                Rows,
                doubtful(clone()),
            ),
            (
                "replaced by the migration",
                Case {
                    created_ms: 1500,
                    writes: vec![statement("CREATE_TABLE_AS_SELECT", 0, 0, 2000)],
                    ..case()
                },
                Recreated,
                doubtful(clone()),
            ),
            (
                "replaced by others, with as many rows",
                Case {
                    created_ms: 1500,
                    ..case()
                },
                Recreated,
                None,
            ),
            (
                "rows that add up, and a job of others",
                Case {
                    jobs: vec![job(1200, Some(3))],
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "the same, discarded",
                Case {
                    jobs: vec![job(1200, Some(3))],
                    discard: true,
                    ..case()
                },
                Rows,
                clone(),
            ),
            (
                "a job of others that found no row",
                Case {
                    jobs: vec![job(1200, Some(0))],
                    ..case()
                },
                Rows,
                clone(),
            ),
            (
                "a job of others that began before the cut",
                Case {
                    jobs: vec![job(999, Some(3))],
                    ..case()
                },
                Rows,
                clone(),
            ),
            (
                "DDL hides others, and a job of theirs",
                Case {
                    writes: vec![statement("ALTER_TABLE", 0, 0, 2000)],
                    jobs: vec![job(1200, None)],
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "dropped, after a job of others",
                Case {
                    kind: "",
                    jobs: vec![job(1200, Some(3))],
                    ..case()
                },
                Dropped,
                None,
            ),
            (
                "put back already",
                Case {
                    modified_ms: 5000,
                    put_back: Replaced::Yes,
                    ..case()
                },
                PutBack,
                Some(Way::PutBack),
            ),
            (
                "put back perhaps",
                Case {
                    modified_ms: 5000,
                    put_back: Replaced::CannotBeTold,
                    ..case()
                },
                Rows,
                doubtful(clone()),
            ),
            (
                "columns",
                Case {
                    columns: false,
                    writes: alters(),
                    ..case()
                },
                Columns,
                doubtful(clone()),
            ),
            (
                "columns that DML cannot have changed",
                Case {
                    columns: false,
                    ..case()
                },
                Columns,
                None,
            ),
            (
                "repartitioned",
                Case {
                    layout: false,
                    writes: alters(),
                    ..case()
                },
                layout(),
                doubtful(back(Source::Clone, Over::Other, true)),
            ),
            (
                "a clone, repartitioned",
                Case {
                    layout: false,
                    clone: true,
                    writes: alters(),
                    ..case()
                },
                layout(),
                doubtful(back(Source::Copy, Over::Other, true)),
            ),
            (
                "repartitioned by others",
                Case {
                    layout: false,
                    writes: vec![],
                    ..case()
                },
                layout(),
                None,
            ),
            (
                "dropped",
                Case { kind: "", ..case() },
                Dropped,
                back(Source::Clone, Over::Nothing, false),
            ),
            (
                "dropped, staged",
                Case {
                    kind: "",
                    stage: true,
                    ..case()
                },
                Dropped,
                back(Source::Clone, Over::Nothing, true),
            ),
            (
                "dropped, its snapshot gone",
                Case { kind: "", ..gone() },
                Dropped,
                back(Source::History, Over::Nothing, true),
            ),
            (
                "expired",
                Case {
                    kind: "",
                    expires_ms: 1500,
                    ..case()
                },
                Expired,
                back(Source::Clone, Over::Nothing, false),
            ),
            (
                "a view now",
                Case { kind: "VIEW", ..case() },
                Became("VIEW".to_owned()),
                back(Source::Clone, view(), true),
            ),
            (
                "a view of others now",
                Case {
                    kind: "VIEW",
                    writes: vec![],
                    ..case()
                },
                Became("VIEW".to_owned()),
                None,
            ),
            ("snapshot gone", gone(), Rows, back(Source::History, Over::Same, true)),
            (
                "snapshot gone, repartitioned",
                Case {
                    layout: false,
                    writes: alters(),
                    ..gone()
                },
                layout(),
                doubtful(back(Source::History, Over::Other, true)),
            ),
            (
                "a file, though the snapshot is gone",
                Case { backup: true, ..gone() },
                Rows,
                back(Source::Backup, Over::Same, true),
            ),
            (
                "absent, and absent",
                Case {
                    absent: true,
                    kind: "",
                    ..gone()
                },
                Nothing,
                Some(Way::Unchanged),
            ),
            (
                "absent, and made by the migration",
                Case {
                    absent: true,
                    writes: vec![statement("CREATE_TABLE", 0, 0, 2000)],
                    ..gone()
                },
                Appeared,
                Some(Way::Remove {
                    over: Over::Same,
                    doubt: true,
                }),
            ),
            (
                "absent, and a view that the migration made",
                Case {
                    absent: true,
                    kind: "VIEW",
                    writes: vec![statement("CREATE_VIEW", 0, 0, 2000)],
                    ..gone()
                },
                Appeared,
                Some(Way::Remove {
                    over: view(),
                    doubt: true,
                }),
            ),
            (
                "absent, and made by others",
                Case {
                    absent: true,
                    writes: vec![],
                    ..gone()
                },
                Appeared,
                None,
            ),
            (
                "made anew since we dropped it",
                Case {
                    dropped_by_us: true,
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "undone",
                Case {
                    undo: Some(Left::At(2000)),
                    ..case()
                },
                Rows,
                clone(),
            ),
            (
                "undone, changed since",
                Case {
                    undo: Some(Left::At(1999)),
                    ..case()
                },
                Rows,
                None,
            ),
            (
                "undone, not known how it was left",
                Case {
                    undo: Some(Left::Unknown),
                    ..case()
                },
                Rows,
                doubtful(clone()),
            ),
            (
                "a snapshot of that name is in the way",
                Case {
                    kind: "SNAPSHOT",
                    discard: true,
                    ..case()
                },
                Became("SNAPSHOT".to_owned()),
                None,
            ),
            (
                "undone, and the view is not there",
                Case {
                    absent: true,
                    kind: "",
                    definition: Some(false),
                    ..gone()
                },
                Nothing,
                Some(Way::Remove {
                    over: Over::Nothing,
                    doubt: false,
                }),
            ),
            (
                "undone, and the view is there",
                Case {
                    absent: true,
                    kind: "VIEW",
                    definition: Some(true),
                    ..gone()
                },
                Appeared,
                Some(Way::Unchanged),
            ),
        ] {
            assert_eq!(decide(&case), (what, want), "{name}");
        }
    }

    #[test]
    fn a_way_is_told_in_words() {
        for (way, want) in [
            (
                back(Source::Clone, Over::Same, false),
                "keep a copy, clone the snapshot over it",
            ),
            (back(Source::Copy, Over::Nothing, false), "copy the snapshot in full"),
            (
                back(Source::Clone, Over::Kind("MATERIALIZED_VIEW".into()), true),
                "write the materialized view's definition down, clone the snapshot beside it, compare that, drop what is there, \
                 put it in place",
            ),
            (
                back(Source::History, Over::Same, true),
                "keep a copy, take it from history beside it, compare that, replace it",
            ),
            (
                Some(Way::Remove {
                    over: Over::Same,
                    doubt: false,
                }),
                "keep a copy, drop it",
            ),
        ] {
            assert_eq!(way.unwrap().to_string(), want);
        }
    }
}
