//! The check of row access policies: those of the snapshot, to which BigQuery copies them, against those of the table
//! now.
//!
//! Two requests a table, so it is asked only where something can have touched them. What they protect is not known
//! here.
//! Source: <https://docs.cloud.google.com/bigquery/docs/using-row-level-security-with-features>.

use std::collections::BTreeMap;

use bqlib::api::{Api, ApiError, RowPolicy, policy_differences};
use bqlib::exit::{Exit, Failure};
use bqlib::meta::SchemaRule;
use bqlib::names::{RunId, TableRef};
use bqlib::perform::at_a_time;
use bqlib::record::{Check, Migration, Severity, Snapshot};
use bqlib::tool::Tool;
use serde_json::json;

use crate::checks::{Finding, Now};

/// Asks for the policies of the tables that may have lost some, a check each in the order of the tables.
///
/// # Errors
/// A signal came. That BigQuery does not tell is a check without an answer, which weighs nothing: it must not take a good migration away.
pub(crate) async fn ask(
    t: &Tool,
    api: &Api<'_>,
    run: &RunId,
    snapshots: &[Snapshot],
    migrations: &[Migration],
    now: &BTreeMap<TableRef, Option<Now>>,
) -> Result<Vec<Check>, Failure> {
    let there = |s: &&Snapshot| matches!(now.get(&s.table), Some(Some(now)) if now.kind == "TABLE");
    let asked = snapshots.iter().filter(there).filter_map(|snapshot| {
        let copy = snapshot.snapshot.as_ref()?;
        may_have_changed(snapshot, migrations).then_some((snapshot, copy))
    });
    let mut told = at_a_time(t.jobs, asked.enumerate(), async |(i, (snapshot, copy))| {
        (i, snapshot, both(api, copy, &snapshot.table).await)
    })
    .await;
    told.sort_by_key(|(i, ..)| *i);
    told.into_iter()
        .map(|(_, snapshot, both)| match both {
            Ok((was, is)) => Ok(of_table(run, snapshot, &was, &is)),
            Err(e) if !matches!(e.exit(), Exit::Signal(_)) => Ok(not_told(run, snapshot, &e)),
            Err(e) => {
                let doing = format!("asking for the row access policies of {}", snapshot.table);
                Err(e.failure(&doing).about(&snapshot.table))
            }
        })
        .collect()
}

async fn both(api: &Api<'_>, was: &TableRef, is: &TableRef) -> Result<(Vec<RowPolicy>, Vec<RowPolicy>), ApiError> {
    Ok((api.row_policies(was).await?, api.row_policies(is).await?))
}

/// Whether it is worth asking: the rule is `same`, a statement other than DML was of the table (Google does not say
/// what CREATE OR REPLACE leaves of its policies), or one was of policies, which need not name the table that
/// BigQuery tells of.
fn may_have_changed(snapshot: &Snapshot, migrations: &[Migration]) -> bool {
    const KEEPS: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE_TABLE", "SELECT"];
    let mut statements = migrations.iter().flat_map(|m| &m.statements);
    snapshot.schema_rule == SchemaRule::Same
        || statements.any(|s| {
            let of_policies = s.kind.contains("ROW_ACCESS_POLIC");
            s.error.is_none()
                && (of_policies || s.table.as_ref() == Some(&snapshot.table) && !KEEPS.contains(&s.kind.as_str()))
        })
}

/// Under `same` any difference rejects; else it is told.
fn of_table(run: &RunId, snapshot: &Snapshot, was: &[RowPolicy], is: &[RowPolicy]) -> Check {
    let found = policy_differences(was, is);
    let got = match found.is_empty() {
        true => "kept".to_owned(),
        false => found.join("; "),
    };
    let finding = Finding {
        name: "policies",
        table: Some(&snapshot.table),
        ok: found.is_empty(),
        want: "as at the cut".to_owned(),
        got,
    };
    Check {
        severity: match snapshot.schema_rule {
            SchemaRule::Same => Severity::Error,
            SchemaRule::Grow | SchemaRule::Any => Severity::Warn,
        },
        detail: (!found.is_empty()).then(|| json!(found)),
        ..finding.record(Some(run))
    }
}

fn not_told(run: &RunId, snapshot: &Snapshot, e: &ApiError) -> Check {
    Check {
        ok: None,
        severity: Severity::Warn,
        got: match e.exit() {
            Exit::Denied => format!("could not be learned ({e}); the right to it is bigquery.rowAccessPolicies.list"),
            _ => format!("could not be learned ({e})"),
        },
        ..of_table(run, snapshot, &[], &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn snapshot(rule: &str) -> Snapshot {
        let record = json!({ "run": "r", "table": "p.d.t", "snapshot": "p.d.s", "schema_rule": rule });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn it_is_asked_only_where_policies_can_have_changed() {
        let migration = |statements: Value| -> Vec<Migration> {
            let record =
                json!([{ "run": "r", "source": "m.sql", "sha256": "", "state": "done", "statements": statements }]);
            serde_json::from_value(record).unwrap()
        };
        let of = |kind: &str, table: Option<&str>| json!([{ "number": 1, "kind": kind, "table": table }]);
        for (statements, asked) in [
            (json!([]), false),
            (of("MERGE", Some("p.d.t")), false),
            (of("TRUNCATE_TABLE", Some("p.d.t")), false),
            (of("SELECT", None), false),
            (of("CREATE_TABLE_AS_SELECT", Some("p.d.t")), true),
            (of("CREATE_TABLE_AS_SELECT", Some("p.d.other")), false),
            (of("ALTER_TABLE", Some("p.d.t")), true),
            (of("DROP_ROW_ACCESS_POLICY", None), true),
            (of("DROP_ALL_ROW_ACCESS_POLICIES", Some("p.d.other")), true),
            (of("CREATE_ROW_ACCESS_POLICY", Some("p.d.t")), true),
            (
                json!([{ "number": 1, "kind": "DROP_TABLE", "table": "p.d.t", "error": "no" }]),
                false,
            ),
        ] {
            let migrations = migration(statements.clone());
            for rule in ["grow", "any"] {
                assert_eq!(may_have_changed(&snapshot(rule), &migrations), asked, "{statements}");
            }
            assert!(may_have_changed(&snapshot("same"), &migrations), "{statements}");
        }
    }

    #[test]
    fn a_difference_rejects_under_same_and_is_told_else() {
        let policy = |filter: &str| RowPolicy {
            id: "eu".to_owned(),
            filter: filter.to_owned(),
            grantees: None,
        };
        let kept = vec![policy("region = 'EU'")];
        for (is, ok) in [(kept.clone(), true), (vec![policy("TRUE")], false), (vec![], false)] {
            for (rule, severity) in [
                ("same", Severity::Error),
                ("grow", Severity::Warn),
                ("any", Severity::Warn),
            ] {
                let check = of_table(&"r".parse().unwrap(), &snapshot(rule), &kept, &is);
                assert_eq!((check.ok, check.severity), (Some(ok), severity), "{check:?}");
            }
        }
    }
}
