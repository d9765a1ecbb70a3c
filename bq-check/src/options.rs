//! PURE: the check of a protected table's options and constraints, and of what stands beside its columns.
//!
//! Columns themselves and the layout are `checks`' own; who may see which rows is `policies`'.

use bqlib::meta::{Difference, Kind, SchemaRule, TableMeta};
use bqlib::names::RunId;
use bqlib::record::{Check, Severity, Snapshot};
use serde_json::json;

use crate::checks::Finding;

/// What labels of ours begin with. They are of copies and of nobody's concern here.
const OURS: &str = "bq-rollback-";

/// Under `same` whatever differs; under `grow` what was lost or became narrower, as a warning, since the default
/// checks must not reject a run for it; under `any` nothing is asked.
pub(crate) fn of_table(run: &RunId, snapshot: &Snapshot, before: &TableMeta, now: &TableMeta) -> Option<Check> {
    let ours = |d: &Difference| d.kind == Kind::Label && d.path.as_deref().is_some_and(|name| name.starts_with(OURS));
    let mut found = before.option_differences(now);
    found.retain(|difference| !ours(difference));
    let (severity, want) = match snapshot.schema_rule {
        SchemaRule::Any => return None,
        // Descriptions and defaults of columns are the check `schema`'s then.
        SchemaRule::Same => (Severity::Error, "same"),
        SchemaRule::Grow => {
            found.retain(Difference::takes_away);
            found.extend(before.column_losses(now));
            (Severity::Warn, "nothing lost")
        }
    };
    let finding = Finding {
        name: "options",
        table: Some(&snapshot.table),
        ok: found.is_empty(),
        want: want.to_owned(),
        got: told(&found),
    };
    Some(Check {
        severity,
        detail: (!found.is_empty()).then(|| json!(found)),
        ..finding.record(Some(run))
    })
}

/// Differences in one line.
pub(crate) fn told(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "kept".to_owned();
    }
    let lines: Vec<String> = differences.iter().map(Difference::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn meta(value: Value) -> TableMeta {
        serde_json::from_value(value).unwrap()
    }

    fn check(rule: &str, before: Value, now: Value) -> Option<Check> {
        let snapshot: Snapshot =
            serde_json::from_value(json!({ "run": "r", "table": "p.d.t", "schema_rule": rule })).unwrap();
        of_table(&"r".parse().unwrap(), &snapshot, &meta(before), &meta(now))
    }

    #[test]
    fn same_sees_all_and_grow_only_what_was_lost() {
        let column = |more: Value| {
            let mut field = json!({ "name": "a", "type": "STRING" });
            let more = more.as_object().unwrap().clone();
            field.as_object_mut().unwrap().extend(more);
            json!({ "schema": { "fields": [field] } })
        };
        let lives = |ms: Value| json!({ "timePartitioning": { "type": "DAY", "expirationMs": ms } });
        // before, now, what `same` finds, what `grow` finds
        for (before, now, same, grow) in [
            (json!({}), json!({}), 0, 0),
            (json!({"description": "d"}), json!({}), 1, 1),
            (json!({"description": "d"}), json!({"description": "e"}), 1, 1),
            (json!({}), json!({"description": "d"}), 1, 0),
            (json!({"labels": {"a": "x"}}), json!({"labels": {"b": "x"}}), 2, 1),
            (json!({}), json!({"labels": {"bq-rollback-run": "r"}}), 0, 0),
            (json!({"labels": {"bq-rollback-run": "r"}}), json!({}), 0, 0),
            (json!({}), json!({"expirationTime": "5"}), 1, 1),
            (json!({"expirationTime": "5"}), json!({"expirationTime": "4"}), 1, 1),
            (json!({"expirationTime": "5"}), json!({"expirationTime": "6"}), 1, 0),
            (json!({"expirationTime": "5"}), json!({}), 1, 0),
            (json!({"expirationTime": "5"}), json!({"expirationTime": 5}), 0, 0),
            (lives(json!("5")), lives(json!("4")), 1, 1),
            (lives(json!("5")), lives(json!("6")), 1, 0),
            (json!({"requirePartitionFilter": true}), json!({}), 1, 1),
            (json!({}), json!({"requirePartitionFilter": true}), 1, 1),
            (json!({"requirePartitionFilter": false}), json!({}), 0, 0),
            (
                json!({"tableConstraints": {"primaryKey": {"columns": ["a"]}}}),
                json!({}),
                1,
                1,
            ),
            (
                json!({}),
                json!({"tableConstraints": {"primaryKey": {"columns": ["a"]}}}),
                1,
                0,
            ),
            (
                json!({"friendlyName": "f", "maxStaleness": "0-0 0 1:0:0"}),
                json!({}),
                2,
                2,
            ),
            (
                json!({"defaultCollation": "und:ci", "defaultRoundingMode": "ROUND_HALF_EVEN"}),
                json!({}),
                2,
                2,
            ),
            // What stands beside a column is the check `schema`'s under `same`.
            (
                column(json!({"description": "d", "defaultValueExpression": "'x'"})),
                column(json!({})),
                0,
                2,
            ),
            (column(json!({"policyTags": {"names": ["t"]}})), column(json!({})), 0, 1),
            (column(json!({})), column(json!({"description": "d"})), 0, 0),
        ] {
            let found = |rule| {
                let check = check(rule, before.clone(), now.clone()).unwrap();
                let number = check.detail.as_ref().map_or(0, |found| found.as_array().unwrap().len());
                assert_eq!(check.ok, Some(number == 0), "{check:?}");
                assert_eq!(check.got == "kept", number == 0, "{check:?}");
                (check.severity, number)
            };
            assert_eq!(found("same"), (Severity::Error, same), "{before} {now}");
            assert_eq!(found("grow"), (Severity::Warn, grow), "{before} {now}");
        }
        assert!(check("any", json!({"description": "d"}), json!({})).is_none());
    }
}
