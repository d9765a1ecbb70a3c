//! PURE: the way back of one table, from its journal and from what BigQuery says now, or why there is none. Knows no other table.

use crate::clock::millis;
use crate::exit::Failure;
use crate::meta::TableMeta;
use crate::names::TableRef;
use crate::record::Statement;
use jiff::Timestamp;

/// A table, as it was, as the migration wrote it, and as it is.
pub(super) struct Facts<'a> {
    /// The table.
    pub(super) table: &'a TableRef,
    /// The instant of its snapshot.
    pub(super) cut: Timestamp,
    /// Its rows at the cut.
    pub(super) rows_at_cut: Option<u64>,
    /// Its schema, layout and options at the cut.
    pub(super) before: &'a TableMeta,
    /// What it is now.
    pub(super) now: Option<Now<'a>>,
    /// Whether its snapshot is there, is of this table and of the cut; else what is wrong with it.
    pub(super) snapshot: Result<&'a TableRef, String>,
    /// The migration's statements that wrote it.
    pub(super) writes: Vec<&'a Statement>,
    /// Whether a restore of ours has put it back already, and nothing has changed it since.
    pub(super) put_back: Replaced,
    /// Whether bq-run saw, before it submitted, that others had changed it since the cut.
    pub(super) changed_before: bool,
    /// Whether others' changes to it may be discarded.
    pub(super) discard: bool,
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
    /// Whether it has rows in the streaming buffer.
    pub(super) streaming: bool,
    /// Schema, layout and options.
    pub(super) meta: &'a TableMeta,
    /// Its rows, if they were counted.
    pub(super) rows: Option<u64>,
}

/// What to do about a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// Nothing but to compare it: it has not changed since the cut.
    Unchanged,
    /// Nothing but to put its options back and compare it: an earlier restore replaced it.
    PutBack,
    /// Keep what is there, then clone the snapshot over it.
    Clone {
        /// Others' changes between the cut and the last statement could not be told apart.
        doubt: bool,
    },
    /// Keep what is there, then copy the snapshot over it in full: the snapshot is not the first of its chain.
    Copy {
        /// As above.
        doubt: bool,
    },
}

/// Why there is no way.
#[derive(Clone, Debug)]
pub(super) struct No {
    /// A guard (4).
    pub(super) why: Failure,
    /// Whether it is that others seem to have written to the table.
    pub(super) others: bool,
}

/// The way for a table, or why there is none.
pub(super) fn way(facts: &Facts) -> Result<Way, No> {
    let table = facts.table;
    let no = |what: String, hint: String| No {
        why: Failure::refused(what, format!("table {table}"), hint).about(table),
        others: false,
    };
    let refuse = |what: String, hint: String| Err(no(what, hint));
    let Some(now) = &facts.now else {
        let hint = match &facts.snapshot {
            Ok(snapshot) => by_hand(&format!("CREATE TABLE {} CLONE {}", table.sql(), snapshot.sql())),
            Err(_) => "restore it from its history: bq cp 'dataset.table@MILLISECONDS' dataset.table".to_owned(),
        };
        return refuse(
            format!("`{table}` was dropped, and restoring a dropped table is not supported yet"),
            hint,
        );
    };
    // Before the cut is before the cut: a transaction that was rolled back wrote nothing. But where a statement is known to have written,
    // and the rows are not those of the cut, BigQuery's word for the last change is not to be believed.
    let as_written = facts.writes.is_empty() || now.rows.is_some_and(|rows| facts.rows_at_cut == Some(rows));
    if now.kind == "TABLE" && now.modified_ms < millis(facts.cut) && as_written {
        return Ok(Way::Unchanged);
    }
    let snapshot = match &facts.snapshot {
        Ok(snapshot) => *snapshot,
        Err(why) => {
            let hint = format!(
                "restore it from its history: bq cp '{table}@{}' to a new table",
                millis(facts.cut)
            );
            return refuse(
                format!("the snapshot of `{table}` {why}, and other ways back are not supported yet"),
                hint,
            );
        }
    };
    if now.kind != "TABLE" {
        let what = format!(
            "`{table}` has become a {}, and restoring over it is not supported yet",
            now.kind.to_lowercase()
        );
        let drop = format!("DROP {} {}", now.kind.replace('_', " "), table.sql());
        return refuse(
            what,
            by_hand(&format!(
                "{drop}; CREATE TABLE {} CLONE {}",
                table.sql(),
                snapshot.sql()
            )),
        );
    }
    if now.streaming {
        let what = format!("`{table}` has rows in the streaming buffer, which no copy of it would keep");
        return refuse(
            what,
            "stop the writer, wait until the buffer is written (up to 90 minutes), then run the same command again"
                .to_owned(),
        );
    }
    if facts.put_back == Replaced::Yes && !facts.discard {
        return Ok(Way::PutBack);
    }
    let doubt = match others_wrote(facts, now) {
        // Restored anew: only then it equals the cut for certain, and what is there is kept.
        _ if facts.put_back == Replaced::CannotBeTold => !facts.discard,
        Others::Wrote(how) if !facts.discard => {
            let hint = format!("look at it; to lose those changes: --discard-foreign {table}");
            let what = format!("others have written to `{table}` since the cut: {how}");
            return Err(No {
                others: true,
                ..no(what, hint)
            });
        }
        Others::Wrote(_) | Others::DidNot => false,
        Others::CannotBeTold => !facts.discard,
    };
    if facts.before.layout() != now.meta.layout() {
        let what = format!(
            "`{table}` was {} at the cut and is {} now: restoring over another partitioning or clustering is not supported yet",
            facts.before.layout(),
            now.meta.layout()
        );
        return refuse(
            what,
            by_hand(&format!(
                "CREATE TABLE {} CLONE {}",
                beside(table).sql(),
                snapshot.sql()
            )),
        );
    }
    Ok(if facts.before.is_clone() {
        Way::Copy { doubt }
    } else {
        Way::Clone { doubt }
    })
}

fn by_hand(sql: &str) -> String {
    format!("by hand: bq query --use_legacy_sql=false '{sql}'")
}

fn beside(table: &TableRef) -> TableRef {
    table.with_suffix("_restored").unwrap_or_else(|_| table.clone())
}

/// Whether others changed a table since the cut, besides the migration.
#[derive(Debug, PartialEq)]
enum Others {
    /// They did, and how that shows.
    Wrote(String),
    /// Everything that changed is the migration's.
    DidNot,
    /// The last change is the migration's; what happened before it cannot be told.
    CannotBeTold,
}

fn others_wrote(facts: &Facts, now: &Now) -> Others {
    if facts.changed_before {
        return Others::Wrote("it had changed between the cut and the migration".to_owned());
    }
    let Some(last) = facts.writes.iter().filter_map(|s| s.ended_ms).max() else {
        return Others::Wrote("it changed, and no statement of the migration wrote it".to_owned());
    };
    if now.modified_ms > last {
        return Others::Wrote(format!(
            "it changed {} ms after the migration's last statement on it had ended",
            now.modified_ms - last
        ));
    }
    let all_dml = facts.writes.iter().all(|s| {
        matches!(
            s.kind.as_str(),
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE_TABLE"
        )
    });
    let (Some(before), Some(rows), true) = (facts.rows_at_cut, now.rows, all_dml) else {
        return Others::CannotBeTold;
    };
    let sum = |of: fn(&Statement) -> Option<u64>| {
        facts
            .writes
            .iter()
            .map(|s| i128::from(of(s).unwrap_or(0)))
            .sum::<i128>()
    };
    let should = i128::from(before) + sum(|s| s.inserted) - sum(|s| s.deleted);
    if should == i128::from(rows) {
        return Others::DidNot;
    }
    Others::Wrote(format!("it has {rows} rows, and the migration left {should}"))
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
        }
    }

    fn decide(case: &Case) -> Option<Way> {
        let table = TableRef::parse("p.d.t", None).unwrap();
        let snapshot = TableRef::parse("p.d.t_snapshot_r", None).unwrap();
        let before: TableMeta = serde_json::from_value(match case.clone {
            true => serde_json::json!({"cloneDefinition": {}}),
            false => serde_json::json!({}),
        })
        .unwrap();
        let now: TableMeta = serde_json::from_value(match case.layout {
            true => serde_json::json!({}),
            false => serde_json::json!({"clustering": {"fields": ["a"]}}),
        })
        .unwrap();
        let facts = Facts {
            table: &table,
            cut: Timestamp::from_millisecond(1000).unwrap(),
            rows_at_cut: Some(100),
            before: &before,
            now: (!case.kind.is_empty()).then_some(Now {
                kind: case.kind,
                modified_ms: case.modified_ms,
                streaming: case.streaming,
                meta: &now,
                rows: Some(case.rows),
            }),
            snapshot: if case.snapshot {
                Ok(&snapshot)
            } else {
                Err("is gone".into())
            },
            writes: case.writes.iter().collect(),
            put_back: case.put_back,
            changed_before: case.changed_before,
            discard: case.discard,
        };
        way(&facts).ok()
    }

    #[test]
    fn the_ways() {
        let clone = Some(Way::Clone { doubt: false });
        let doubtful = Some(Way::Clone { doubt: true });
        for (name, case, want) in [
            ("written by the migration", case(), clone.clone()),
            (
                "a clone is copied",
                Case { clone: true, ..case() },
                Some(Way::Copy { doubt: false }),
            ),
            (
                "untouched",
                Case {
                    modified_ms: 999,
                    writes: vec![],
                    ..case()
                },
                Some(Way::Unchanged),
            ),
            (
                "changed in the cut's own millisecond",
                Case {
                    modified_ms: 1000,
                    writes: vec![],
                    ..case()
                },
                None,
            ),
            (
                "changed after the last statement",
                Case {
                    modified_ms: 2001,
                    ..case()
                },
                None,
            ),
            (
                "the same, discarded",
                Case {
                    modified_ms: 2001,
                    discard: true,
                    ..case()
                },
                clone.clone(),
            ),
            (
                "rolled back with its transaction",
                Case {
                    modified_ms: 999,
                    rows: 100,
                    ..case()
                },
                Some(Way::Unchanged),
            ),
            (
                "written, and said to be as it was before the cut",
                Case {
                    modified_ms: 999,
                    ..case()
                },
                clone.clone(),
            ),
            (
                "untouched, its snapshot gone",
                Case {
                    modified_ms: 999,
                    writes: vec![],
                    snapshot: false,
                    ..case()
                },
                Some(Way::Unchanged),
            ),
            (
                "changed before the migration",
                Case {
                    changed_before: true,
                    ..case()
                },
                None,
            ),
            (
                "rows in the streaming buffer",
                Case {
                    streaming: true,
                    ..case()
                },
                None,
            ),
            (
                "the same, though discarded",
                Case {
                    streaming: true,
                    discard: true,
                    ..case()
                },
                None,
            ),
            ("rows that do not add up", Case { rows: 91, ..case() }, None),
            (
                "DDL hides others",
                Case {
                    writes: vec![statement("ALTER_TABLE", 0, 0, 2000)],
                    ..case()
                },
                doubtful,
            ),
            (
                "put back already",
                Case {
                    modified_ms: 5000,
                    put_back: Replaced::Yes,
                    ..case()
                },
                Some(Way::PutBack),
            ),
            ("dropped", Case { kind: "", ..case() }, None),
            ("a view now", Case { kind: "VIEW", ..case() }, None),
            (
                "repartitioned",
                Case {
                    layout: false,
                    ..case()
                },
                None,
            ),
            (
                "snapshot gone",
                Case {
                    snapshot: false,
                    ..case()
                },
                None,
            ),
        ] {
            assert_eq!(decide(&case), want, "{name}");
        }
    }
}
