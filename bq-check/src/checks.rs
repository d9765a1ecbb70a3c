//! PURE: the default checks of a migration, from what was protected, what is there now, and what the migration wrote.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::expect::Expect;
use bqlib::meta::{SchemaRule, TableMeta};
use bqlib::migration::{is_told, made, other_writes, untold, writes};
use bqlib::names::{RunId, TableRef};
use bqlib::record::{Check, Migration, Severity, Snapshot};
use serde_json::json;

use crate::options;

/// A protected table now.
pub(crate) struct Now {
    /// `TABLE`, `VIEW` and so on.
    pub(crate) kind: String,
    /// Schema, layout, options.
    pub(crate) meta: TableMeta,
    /// Its rows; absent: it is no table whose rows can be compared.
    pub(crate) rows: Option<u64>,
}

impl Now {
    /// What it is, for people: `table`, `materialized view`.
    pub(crate) fn kind_in_words(&self) -> String {
        self.kind.to_lowercase().replace('_', " ")
    }
}

/// What a check is about, and what it found.
pub(crate) struct Finding<'a> {
    pub(crate) name: &'a str,
    pub(crate) table: Option<&'a TableRef>,
    pub(crate) ok: bool,
    pub(crate) want: String,
    pub(crate) got: String,
}

impl Finding<'_> {
    pub(crate) fn record(self, run: Option<&RunId>) -> Check {
        Check {
            run: run.cloned(),
            name: self.name.to_owned(),
            table: self.table.cloned(),
            ok: Some(self.ok),
            severity: Severity::Error,
            want: self.want,
            got: self.got,
            detail: None,
        }
    }
}

/// The checks of one protected table. `missed`: rows of the cut that its own partition expiration has taken since.
pub(crate) fn of_table(run: &RunId, snapshot: &Snapshot, now: Option<&Now>, missed: u64) -> Vec<Check> {
    let table = Some(&snapshot.table);
    let check = |name, ok, want: String, got: String| {
        let finding = Finding {
            name,
            table,
            ok,
            want,
            got,
        };
        finding.record(Some(run))
    };
    if snapshot.absent {
        return of_absent(run, snapshot, now);
    }
    let after = snapshot.after.unwrap_or(Expect::NOT_FEWER);
    let Some(now) = now else {
        let ok = after == Expect::Absent;
        let want = if ok { "no such table" } else { "a table" };
        return vec![check("exists", ok, want.to_owned(), "no such table".to_owned())];
    };
    if now.kind != "TABLE" || after == Expect::Absent {
        let want = if after == Expect::Absent {
            "no such table"
        } else {
            "a table"
        };
        let got = format!("a {}", now.kind_in_words());
        return vec![check("exists", false, want.to_owned(), got)];
    }
    let mut checks = vec![check("exists", true, "a table".to_owned(), "a table".to_owned())];
    let unasked = |name, want: String| Check {
        ok: None,
        ..check(
            name,
            false,
            want,
            "could not be asked: the record of its snapshot does not hold what it was at the cut".to_owned(),
        )
    };
    // What always holds (`any`) is no check: a yes must be earned.
    if snapshot.meta.is_none() && snapshot.schema_rule != SchemaRule::Any {
        checks.push(unasked("schema", snapshot.schema_rule.to_string()));
    }
    if let Some(before) = snapshot
        .meta
        .as_ref()
        .filter(|_| snapshot.schema_rule != SchemaRule::Any)
    {
        let differences = before.schema_differences(&now.meta, snapshot.schema_rule);
        let got = options::told(&differences);
        let mut schema = check("schema", differences.is_empty(), snapshot.schema_rule.to_string(), got);
        schema.detail = (!differences.is_empty()).then(|| json!(differences));
        checks.push(schema);
        let (want, got) = (before.layout(), now.meta.layout());
        checks.push(check("layout", want == got, want, got));
        checks.extend(options::of_table(run, snapshot, before, &now.meta));
    }
    if after == Expect::Any {
        return checks;
    }
    if after.is_from_the_cut() && snapshot.rows.is_none() {
        checks.push(unasked("rows", after.to_string()));
        return checks;
    }
    let cut = snapshot.rows.map(|rows| rows.saturating_sub(missed));
    let ok = after.holds(now.rows, cut);
    let want = match (snapshot.after, cut) {
        (None, Some(cut)) => format!("not fewer than {cut}"),
        (Some(Expect::Gained(..) | Expect::GainedPercent(..)), Some(cut)) => format!("{after} from {cut}"),
        _ => after.to_string(),
    };
    let got = now
        .rows
        .map_or_else(|| "not counted".to_owned(), |rows| rows.to_string());
    checks.push(check("rows", ok, want, got));
    checks
}

/// The checks of a table that did not exist at the cut: there is nothing to compare it with, and unless `after` asks for more it may exist
/// or not.
fn of_absent(run: &RunId, snapshot: &Snapshot, now: Option<&Now>) -> Vec<Check> {
    let after = snapshot.after.unwrap_or(Expect::Any);
    // What always holds is no check: a yes must be earned.
    if after == Expect::Any {
        return Vec::new();
    }
    let check = |name, ok, want: &str, got: String| {
        let finding = Finding {
            name,
            table: Some(&snapshot.table),
            ok,
            want: want.to_owned(),
            got,
        };
        finding.record(Some(run))
    };
    let got = now.map_or_else(
        || "no such table".to_owned(),
        |now| format!("a {}", now.kind_in_words()),
    );
    if after == Expect::Absent {
        return vec![check("exists", now.is_none(), "no such table", got)];
    }
    let Some(now) = now.filter(|now| now.kind == "TABLE") else {
        return vec![check("exists", false, "a table", got)];
    };
    let got = now
        .rows
        .map_or_else(|| "not counted".to_owned(), |rows| rows.to_string());
    let mut rows = check("rows", after.holds(now.rows, None), &after.to_string(), got);
    if after.is_from_the_cut() {
        rows.ok = None;
        rows.got = "could not be asked: the table did not exist at the cut".to_owned();
    }
    vec![check("exists", true, "a table", "a table".to_owned()), rows]
}

/// Whether a routine or a dataset is one that no rollback gives back, and bq-run was told to let it pass.
fn was_let_pass(migration: &Migration, what: &str, name: &str) -> bool {
    let statements = migration.foreseen.iter().flat_map(|foreseen| &foreseen.statements);
    let mut effects = statements.flat_map(|statement| &statement.effects);
    effects.any(|effect| effect.standing == "irreversible" && effect.object == what && effect.name == name)
}

/// Whether the migration wrote nothing but protected tables, tables it made, and tables it was allowed.
pub(crate) fn of_writes(run: &RunId, protected: &[Snapshot], migrations: &[Migration]) -> Check {
    let inside: BTreeSet<&TableRef> = protected.iter().map(|s| &s.table).collect();
    let mut new: BTreeSet<&TableRef> = BTreeSet::new();
    let mut outside: BTreeMap<&TableRef, &str> = BTreeMap::new();
    let mut unknown = Vec::new();
    for migration in migrations {
        let untold = untold(&migration.statements).filter(|s| is_told(&s.kind));
        unknown.extend(untold.map(|s| {
            format!(
                "statement {}, {} of a table that BigQuery does not name",
                s.number, s.kind
            )
        }));
        new.extend(made(&migration.statements));
        for (kind, what, name) in other_writes(&migration.statements) {
            let tables = migration.allowed.iter().map(ToString::to_string);
            let mut allowed = tables.chain(migration.allowed_datasets.iter().map(ToString::to_string));
            let allowed = allowed.any(|allowed| allowed == name);
            if !allowed && !was_let_pass(migration, what, &name) {
                unknown.push(format!("{kind} of the {what} {name}"));
            }
        }
        for (statement, table) in writes(&migration.statements) {
            if !inside.contains(table) && !new.contains(table) && !migration.allowed.contains(table) {
                outside.entry(table).or_insert(&statement.kind);
            }
        }
    }
    let outside = outside.iter().map(|(table, kind)| format!("{kind} of {table}"));
    let found: Vec<String> = outside.chain(unknown).collect();
    let got = match found.is_empty() {
        true => "nothing outside the protected set".to_owned(),
        false => found.join(", "),
    };
    let finding = Finding {
        name: "writes",
        table: None,
        ok: found.is_empty(),
        want: "nothing outside the protected set".to_owned(),
        got,
    };
    finding.record(Some(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bqlib::record::{MigrationState, Statement};

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    fn run() -> RunId {
        "r".parse().unwrap()
    }

    fn snapshot(after: Option<&str>) -> Snapshot {
        serde_json::from_value(json!({
            "run": "r", "table": "p.d.t", "rows": 100, "after": after,
            "meta": {"schema": {"fields": [{"name": "a", "type": "STRING"}]}, "clustering": {"fields": ["a"]}},
        }))
        .unwrap()
    }

    fn now(rows: u64, meta: serde_json::Value) -> Now {
        Now {
            kind: "TABLE".into(),
            meta: serde_json::from_value(meta).unwrap(),
            rows: Some(rows),
        }
    }

    fn failed(checks: &[Check]) -> Vec<&str> {
        checks
            .iter()
            .filter(|c| c.ok != Some(true))
            .map(|c| c.name.as_str())
            .collect()
    }

    #[test]
    fn each_default_check_catches_what_it_is_for() {
        let same = json!({"schema": {"fields": [{"name": "a", "type": "STRING"}]}, "clustering": {"fields": ["a"]}});
        let dropped = json!({"schema": {"fields": []}, "clustering": {"fields": ["a"]}});
        let unclustered = json!({"schema": {"fields": [{"name": "a", "type": "STRING"}]}});
        for (after, now, missed, want) in [
            (None, Some(now(100, same.clone())), 0, vec![]),
            (None, Some(now(99, same.clone())), 0, vec!["rows"]),
            (None, Some(now(99, same.clone())), 1, vec![]),
            (Some("=99"), Some(now(99, same.clone())), 0, vec![]),
            (None, Some(now(100, dropped)), 0, vec!["schema"]),
            (None, Some(now(100, unclustered)), 0, vec!["layout"]),
            (None, None, 0, vec!["exists"]),
            (Some("absent"), None, 0, vec![]),
            (Some("absent"), Some(now(0, same.clone())), 0, vec!["exists"]),
            (Some("any"), Some(now(0, same.clone())), 0, vec![]),
            (Some("any"), None, 0, vec!["exists"]),
        ] {
            let checks = of_table(&run(), &snapshot(after), now.as_ref(), missed);
            assert_eq!(failed(&checks), want, "{after:?}");
        }
        let view = Now {
            kind: "VIEW".into(),
            ..now(100, same)
        };
        assert_eq!(failed(&of_table(&run(), &snapshot(None), Some(&view), 0)), ["exists"]);
    }

    #[test]
    fn a_table_that_was_not_there_is_compared_with_nothing() {
        let here = now(5, json!({"schema": {"fields": [{"name": "b", "type": "DATE"}]}}));
        let view = Now {
            kind: "VIEW".into(),
            meta: here.meta.clone(),
            rows: None,
        };
        // after, what is there, how many checks, those that are not met
        for (after, now, asked, want) in [
            (None, None, 0, vec![]),
            (None, Some(&here), 0, vec![]),
            (None, Some(&view), 0, vec![]),
            (Some("any"), None, 0, vec![]),
            (Some("absent"), None, 1, vec![]),
            (Some("absent"), Some(&here), 1, vec!["exists"]),
            (Some("absent"), Some(&view), 1, vec!["exists"]),
            (Some(">0"), Some(&here), 2, vec![]),
            (Some(">0"), None, 1, vec!["exists"]),
            (Some(">0"), Some(&view), 1, vec!["exists"]),
            (Some("=4"), Some(&here), 2, vec!["rows"]),
            (Some("+5"), Some(&here), 2, vec!["rows"]),
        ] {
            let snapshot: Snapshot = serde_json::from_value(json!({
                "run": "r", "table": "p.d.t", "absent": true, "after": after, "meta": {"location": "EU"},
            }))
            .unwrap();
            let checks = of_table(&run(), &snapshot, now, 0);
            assert_eq!((checks.len(), failed(&checks)), (asked, want), "{after:?}");
        }
    }

    #[test]
    fn what_was_at_the_cut_must_be_known() {
        let bare: Snapshot = serde_json::from_value(json!({"run": "r", "table": "p.d.t"})).unwrap();
        let checks = of_table(&run(), &bare, Some(&now(5, json!({}))), 0);
        let unasked = checks.iter().filter(|c| c.ok.is_none()).map(|c| c.name.as_str());
        assert_eq!(unasked.collect::<Vec<_>>(), ["schema", "rows"]);
        let free = Snapshot {
            after: Some("=5".parse().unwrap()),
            schema_rule: SchemaRule::Any,
            ..bare
        };
        let checks = of_table(&run(), &free, Some(&now(5, json!({}))), 0);
        assert!(checks.iter().all(|c| c.ok == Some(true)), "{checks:?}");
    }

    #[test]
    fn writes_outside_the_set_are_found_and_allowed_ones_pass() {
        let statement = |kind: &str, name: &str, operation: Option<&str>| Statement {
            number: 1,
            kind: kind.into(),
            table: Some(table(name)),
            routine: None,
            dataset: None,
            operation: operation.map(str::to_owned),
            inserted: None,
            updated: None,
            deleted: None,
            bytes: None,
            slot_ms: None,
            ms: None,
            started_ms: None,
            ended_ms: None,
            error: None,
        };
        let migration = |statements: Vec<Statement>, allowed: Vec<TableRef>| Migration {
            run: run(),
            source: String::new(),
            sha256: String::new(),
            job: None,
            location: None,
            state: MigrationState::Done,
            statements,
            allowed,
            bytes_billed: None,
            slot_ms: None,
            ms: None,
            error: None,
            foreseen: None,
            allowed_datasets: Vec::new(),
            unforeseen: Vec::new(),
        };
        let ok = |statements, allowed| of_writes(&run(), &[snapshot(None)], &[migration(statements, allowed)]).ok;
        assert_eq!(ok(vec![statement("MERGE", "p.d.t", None)], vec![]), Some(true));
        assert_eq!(ok(vec![statement("INSERT", "p.d.other", None)], vec![]), Some(false));
        assert_eq!(
            ok(vec![statement("INSERT", "p.d.other", None)], vec![table("p.d.other")]),
            Some(true)
        );
        let made = vec![
            statement("CREATE_TABLE", "p.d.new", Some("CREATE")),
            statement("INSERT", "p.d.new", None),
        ];
        assert_eq!(ok(made, vec![]), Some(true));
        let of_routine = |operation: &str| Statement {
            table: None,
            routine: Some(table("p.d.f")),
            ..statement("CREATE_FUNCTION", "p.d.f", Some(operation))
        };
        assert_eq!(
            ok(vec![of_routine("CREATE"), of_routine("REPLACE")], vec![]),
            Some(true)
        );
        assert_eq!(ok(vec![of_routine("REPLACE")], vec![]), Some(false));
        assert_eq!(ok(vec![of_routine("SKIP")], vec![]), Some(true));
        assert_eq!(ok(vec![of_routine("DROP")], vec![table("p.d.f")]), Some(true));
        let dropped = Statement {
            table: None,
            dataset: Some("p.e".to_owned().try_into().unwrap()),
            ..statement("DROP_SCHEMA", "p.d.f", Some("DROP"))
        };
        assert_eq!(ok(vec![dropped.clone()], vec![]), Some(false));
        let let_pass = Migration {
            foreseen: serde_json::from_value(json!({ "statements": [{
                "number": 1, "line": 1, "column": 1, "kind": "DROP_SCHEMA",
                "effects": [{ "deed": "drops", "object": "dataset", "name": "p.e", "standing": "irreversible" }],
            }] }))
            .unwrap(),
            ..migration(vec![dropped.clone()], vec![])
        };
        assert_eq!(of_writes(&run(), &[snapshot(None)], &[let_pass]).ok, Some(true));
        for (named, ok) in [("p.e", true), ("p.d", false)] {
            let named = Migration {
                allowed_datasets: vec![named.to_owned().try_into().unwrap()],
                ..migration(vec![dropped.clone()], vec![])
            };
            assert_eq!(of_writes(&run(), &[snapshot(None)], &[named]).ok, Some(ok));
        }
        let replaced = vec![statement("CREATE_TABLE_AS_SELECT", "p.d.other", Some("REPLACE"))];
        assert_eq!(ok(replaced, vec![]), Some(false));
        let remade = vec![
            statement("DROP_TABLE", "p.d.other", Some("DROP")),
            statement("CREATE_TABLE", "p.d.other", Some("CREATE")),
        ];
        assert_eq!(ok(remade, vec![]), Some(false));
        assert_eq!(ok(vec![statement("INSERT", "p._archive.t", None)], vec![]), Some(false));
        assert_eq!(
            ok(vec![statement("CREATE_TABLE", "p.d.other", Some("SKIP"))], vec![]),
            Some(true)
        );
        assert_eq!(
            ok(
                vec![statement(
                    "INSERT",
                    "p._scriptb1bf1b6e6bb1df5f0f6b7bd0c3a7e8a2.tmp",
                    None
                )],
                vec![]
            ),
            Some(true)
        );
        // Where a statement wrote is not told: that is not nowhere.
        let nowhere = |kind: &str, operation| Statement {
            table: None,
            ..statement(kind, "p.d.t", operation)
        };
        for (kind, operation, ok) in [
            ("UPDATE", None, false),
            ("CREATE_TABLE_AS_SELECT", Some("CREATE"), false),
            ("CREATE_TABLE", Some("SKIP"), true),
            ("SELECT", None, true),
            // Nobody promises that its table is named.
            ("ALTER_TABLE", Some("REPLACE"), true),
            ("CREATE_FUNCTION", Some("CREATE"), true),
        ] {
            let told = of_writes(&run(), &[], &[migration(vec![nowhere(kind, operation)], vec![])]);
            assert_eq!(told.ok, Some(ok), "{kind}");
        }
    }
}
