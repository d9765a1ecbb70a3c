//! PURE: how the columns of two tables differ, nested ones too, against a schema rule.

use serde_json::{Value, json};

use super::differences::{Difference, Kind};
use super::types::{mode_of, subfields, text, type_of, widens};
use super::{SchemaRule, TableMeta};

impl TableMeta {
    /// How the columns of `now` differ from these against a rule; empty: they do not.
    pub fn schema_differences(&self, now: &TableMeta, rule: SchemaRule) -> Vec<Difference> {
        let mut found = Vec::new();
        if rule != SchemaRule::Any {
            columns(None, self.fields(), now.fields(), &mut found);
        }
        found.retain(|(difference, widened)| rule == SchemaRule::Same || breaks_growth(difference, *widened));
        found.into_iter().map(|(difference, _)| difference).collect()
    }

    /// What the columns of `now` have lost that no schema rule but `same` asks for: descriptions, defaults, policy
    /// tags and the like.
    pub fn column_losses(&self, now: &TableMeta) -> Vec<Difference> {
        let all = self.schema_differences(now, SchemaRule::Same);
        let beside = |d: &Difference| COLUMN_OPTIONS.iter().any(|(_, kind)| *kind == d.kind) && d.takes_away();
        all.into_iter().filter(beside).collect()
    }
}

/// Whether a difference is more than growing: columns added, modes relaxed, types widened.
fn breaks_growth(difference: &Difference, widened: bool) -> bool {
    match difference.kind {
        Kind::Dropped => true,
        Kind::Retyped => !widened,
        Kind::Mode => difference.was != "REQUIRED" || difference.is != "NULLABLE",
        _ => false,
    }
}

/// What is written beside a column's name, type and mode.
const COLUMN_OPTIONS: [(&str, Kind); 7] = [
    ("description", Kind::Description),
    ("defaultValueExpression", Kind::Default),
    ("policyTags", Kind::PolicyTags),
    ("dataPolicies", Kind::DataPolicies),
    ("dataPolicyList", Kind::DataPolicies),
    ("collation", Kind::Collation),
    ("roundingMode", Kind::RoundingMode),
];

fn of_name<'a>(fields: &'a [Value], name: &str) -> Option<&'a Value> {
    fields.iter().find(|f| text(f, "name").eq_ignore_ascii_case(name))
}

/// All differences of the columns of a table, or of the fields of a record; with each, whether it is a type that was
/// only widened.
fn columns(record: Option<&str>, before: &[Value], now: &[Value], found: &mut Vec<(Difference, bool)>) {
    let path = |field: &Value| match record {
        Some(record) => format!("{record}.{}", text(field, "name")),
        None => text(field, "name").to_owned(),
    };
    let gone: Vec<&Value> = missing(before, now);
    let new: Vec<&Value> = missing(now, before);
    for field in before {
        let name = path(field);
        let Some(there) = of_name(now, text(field, "name")) else {
            let mut dropped = Difference::new(Some(name), Kind::Dropped, type_of(field).into(), Value::Null);
            dropped.perhaps_renamed = match (gone.as_slice(), new.as_slice()) {
                ([_], [new]) if same_shape(&[unnamed(field)], &[unnamed(new)]) => Some(text(new, "name").to_owned()),
                _ => None,
            };
            found.push((dropped, false));
            continue;
        };
        let mut compare = |kind, was: Value, is: Value, widened| {
            if was != is {
                found.push((Difference::new(Some(name.clone()), kind, was, is), widened));
            }
        };
        let widened = widens(field, there);
        compare(Kind::Retyped, type_of(field).into(), type_of(there).into(), widened);
        compare(Kind::Mode, mode_of(field).into(), mode_of(there).into(), false);
        for (key, kind) in COLUMN_OPTIONS {
            compare(kind, set(field, key), set(there, key), false);
        }
        columns(Some(&name), subfields(field), subfields(there), found);
    }
    for field in &new {
        let added = Difference::new(Some(path(field)), Kind::Added, Value::Null, type_of(field).into());
        found.push((added, false));
    }
    let (was, is) = (names(before, now), names(now, before));
    if was != is {
        let reordered = Difference::new(record.map(str::to_owned), Kind::Reordered, was.into(), is.into());
        found.push((reordered, false));
    }
}

/// The fields that `other` does not have.
fn missing<'a>(fields: &'a [Value], other: &[Value]) -> Vec<&'a Value> {
    let there = |field: &&Value| of_name(other, text(field, "name")).is_none();
    fields.iter().filter(there).collect()
}

/// The names, in order, of the fields that `other` has, too.
fn names(fields: &[Value], other: &[Value]) -> Vec<String> {
    let common = fields.iter().filter(|f| of_name(other, text(f, "name")).is_some());
    common.map(|f| text(f, "name").to_lowercase()).collect()
}

/// A value that compares: absent, null, empty text and an empty list of tags or policies are one.
fn set(field: &Value, key: &str) -> Value {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    match field.get(key) {
        None => Value::Null,
        Some(Value::String(text)) if text.is_empty() || text == "ROUNDING_MODE_UNSPECIFIED" => Value::Null,
        Some(list) if is_empty(list) => Value::Null,
        Some(Value::Object(map)) if map.values().all(is_empty) => Value::Null,
        Some(other) => other.clone(),
    }
}

/// The columns, for a patch that makes those of `now` like them: what only `now` has beside a column is taken away by its name, for
/// what is left out of a patch may stay.
/// Source: <https://docs.cloud.google.com/bigquery/docs/column-level-security#clear-policy-tags>.
pub(super) fn to_patch(before: &[Value], now: &[Value]) -> Vec<Value> {
    const TAKEN_AWAY: [(&str, &str); 2] = [("policyTags", "names"), ("dataPolicyList", "dataPolicies")];
    let one = |(field, there): (&Value, &Value)| {
        let mut field = field.clone();
        for (key, list) in TAKEN_AWAY {
            if set(&field, key).is_null() && !set(there, key).is_null() {
                field[key] = json!({ list: [] });
            }
        }
        let inner = to_patch(subfields(&field), subfields(there));
        if !inner.is_empty() {
            field["fields"] = Value::Array(inner);
        }
        field
    };
    before.iter().zip(now).map(one).collect()
}

fn unnamed(field: &Value) -> Value {
    let mut field = field.clone();
    if let Some(map) = field.as_object_mut() {
        map.remove("name");
    }
    field
}

/// Whether two lists of columns have the same names, types, modes and order, whatever is written beside them.
pub(super) fn same_shape(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            text(a, "name").eq_ignore_ascii_case(text(b, "name"))
                && type_of(a) == type_of(b)
                && mode_of(a) == mode_of(b)
                && same_shape(subfields(a), subfields(b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(fields: Value) -> TableMeta {
        let resource = json!({ "schema": { "fields": fields } });
        TableMeta::of(resource.as_object().unwrap())
    }

    fn told(differences: &[Difference]) -> Vec<String> {
        differences.iter().map(Difference::to_string).collect()
    }

    #[test]
    fn grow_allows_what_bigquery_can_widen_and_nothing_else() {
        let before = table(json!([
            {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
            {"name": "s", "type": "STRING", "maxLength": "5"},
            {"name": "r", "type": "RECORD", "fields": [{"name": "x", "type": "INTEGER"}]},
        ]));
        let grown = table(json!([
            {"name": "id", "type": "NUMERIC", "mode": "NULLABLE"},
            {"name": "s", "type": "STRING", "maxLength": "9"},
            {"name": "r", "type": "STRUCT", "fields": [{"name": "x", "type": "INT64"}, {"name": "y", "type": "STRING"}]},
            {"name": "new", "type": "STRING"},
        ]));
        assert_eq!(before.schema_differences(&grown, SchemaRule::Grow), []);
        assert_eq!(before.schema_differences(&grown, SchemaRule::Any), []);
        assert_eq!(
            told(&before.schema_differences(&grown, SchemaRule::Same)),
            [
                "column id: type was INT64, is NUMERIC",
                "column id: mode was REQUIRED, is NULLABLE",
                "column s: type was STRING(5), is STRING(9)",
                "column r.y was added",
                "column new was added",
            ]
        );
        assert_eq!(
            told(&grown.schema_differences(&before, SchemaRule::Grow)),
            [
                "column id: type was NUMERIC, is INT64",
                "column id: mode was NULLABLE, is REQUIRED",
                "column s: type was STRING(9), is STRING(5)",
                "column r.y is gone",
                "column new is gone",
            ]
        );
    }

    #[test]
    fn a_repeated_column_never_becomes_another() {
        let of = |mode: &str| table(json!([{"name": "a", "type": "STRING", "mode": mode}]));
        let modes = ["REQUIRED", "NULLABLE", "REPEATED"];
        for was in modes {
            for is in modes {
                let found = of(was).schema_differences(&of(is), SchemaRule::Grow);
                let allowed = was == is || (was, is) == ("REQUIRED", "NULLABLE");
                assert_eq!(found.is_empty(), allowed, "{was} to {is}");
            }
        }
    }

    #[test]
    fn order_matters_to_same_only_in_records_too() {
        let a = table(
            json!([{"name": "a", "type": "STRING"}, {"name": "r", "type": "RECORD", "fields": [
            {"name": "x", "type": "STRING"}, {"name": "y", "type": "STRING"}]}]),
        );
        let b = table(json!([{"name": "r", "type": "RECORD", "fields": [
            {"name": "y", "type": "STRING"}, {"name": "x", "type": "STRING"}]}, {"name": "A", "type": "STRING"}]));
        assert_eq!(a.schema_differences(&b, SchemaRule::Grow), []);
        assert_eq!(
            told(&a.schema_differences(&b, SchemaRule::Same)),
            [
                "the fields of r are in another order: y, x",
                "columns are in another order: r, a"
            ]
        );
    }

    #[test]
    fn a_column_is_perhaps_renamed_if_one_of_its_type_is_gone_and_one_is_new() {
        let of = |names: &[(&str, &str)]| {
            table(
                names
                    .iter()
                    .map(|(name, kind)| json!({"name": name, "type": kind}))
                    .collect(),
            )
        };
        let before = of(&[("id", "INT64"), ("name", "STRING"), ("age", "INT64")]);
        let found = |now: &[(&str, &str)]| told(&before.schema_differences(&of(now), SchemaRule::Grow));
        assert_eq!(
            found(&[("id", "INT64"), ("title", "STRING"), ("age", "INT64")]),
            ["column name is gone (renamed to `title`?)"]
        );
        assert_eq!(
            found(&[("id", "INT64"), ("title", "BYTES"), ("age", "INT64")]),
            ["column name is gone"]
        );
        assert_eq!(
            found(&[("id", "INT64"), ("title", "STRING"), ("years", "INT64")]),
            ["column name is gone", "column age is gone"]
        );
    }

    #[test]
    fn a_difference_is_data() {
        let before = table(json!([
            {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [
                {"name": "x", "type": "INTEGER", "description": "old", "policyTags": {"names": ["t"]}}]},
            {"name": "a", "type": "STRING", "defaultValueExpression": "'x'"},
        ]));
        let now = table(json!([
            {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "x", "type": "STRING"}]},
            {"name": "b", "type": "STRING", "description": "new"},
        ]));
        let found = before.schema_differences(&now, SchemaRule::Same);
        assert_eq!(
            serde_json::to_value(&found).unwrap(),
            json!([
                {"path": "r.x", "kind": "retyped", "was": "INT64", "is": "STRING"},
                {"path": "r.x", "kind": "description", "was": "old"},
                {"path": "r.x", "kind": "policy_tags", "was": {"names": ["t"]}},
                {"path": "a", "kind": "dropped", "was": "STRING", "perhaps_renamed": "b"},
                {"path": "b", "kind": "added", "is": "STRING"},
            ])
        );
        // What is beside name, type and mode is lost with its column, or by itself.
        let lost = told(&before.column_losses(&now));
        assert_eq!(
            lost,
            [
                "column r.x: description was `old`, is not set",
                r#"column r.x: policy tags was {"names":["t"]}, is not set"#
            ]
        );
        assert_eq!(now.column_losses(&before).len(), 0);
    }

    fn any_fields(depth: u32) -> BoxedStrategy<Vec<Value>> {
        let leaf = (
            "[a-d]",
            proptest::sample::select(vec!["INT64", "NUMERIC", "STRING"]),
            "(REQUIRED|NULLABLE|REPEATED)",
        )
            .prop_map(|(name, kind, mode)| json!({ "name": name, "type": kind, "mode": mode }));
        let field = match depth {
            0 => leaf.boxed(),
            _ => prop_oneof![
                3 => leaf,
                1 => ("[a-d]", any_fields(depth - 1))
                    .prop_map(|(name, fields)| json!({ "name": name, "type": "RECORD", "fields": fields })),
            ]
            .boxed(),
        };
        let distinct = |mut fields: Vec<Value>| {
            let mut seen = std::collections::BTreeSet::new();
            fields.retain(|field| seen.insert(text(field, "name").to_owned()));
            fields
        };
        proptest::collection::vec(field, 0..4).prop_map(distinct).boxed()
    }

    proptest! {
        #[test]
        fn same_is_the_strictest_rule_and_a_table_is_like_itself(a in any_fields(2), b in any_fields(2)) {
            let equal = same_shape(&a, &b);
            let (a, b) = (table(a.into()), table(b.into()));
            prop_assert_eq!(a.schema_differences(&a, SchemaRule::Same), vec![]);
            let same = a.schema_differences(&b, SchemaRule::Same);
            prop_assert_eq!(same.is_empty(), equal);
            for difference in a.schema_differences(&b, SchemaRule::Grow) {
                prop_assert!(same.contains(&difference), "{}", difference);
            }
        }

        #[test]
        fn columns_may_be_added_anywhere(a in any_fields(2), at in any::<proptest::sample::Index>()) {
            let mut grown = a.clone();
            grown.insert(at.index(a.len() + 1), json!({ "name": "new", "type": "STRING" }));
            prop_assert_eq!(table(a.into()).schema_differences(&table(grown.into()), SchemaRule::Grow), vec![]);
        }
    }
}
