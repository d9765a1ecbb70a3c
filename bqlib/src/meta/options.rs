//! PURE: a table's options and constraints: how two tables differ in them, and the patch that makes them equal again.

use serde_json::{Map, Value, json};

use super::columns::same_shape;
use super::differences::{Difference, Kind};
use super::{SchemaRule, TableMeta, integer};

/// Options that one `tables.patch` puts back, besides the required filter, labels, partitioning and schema, which
/// need care.
const PLAIN_OPTIONS: [(&str, Kind); 7] = [
    ("description", Kind::Description),
    ("friendlyName", Kind::FriendlyName),
    ("expirationTime", Kind::Expiration),
    ("maxStaleness", Kind::MaxStaleness),
    ("defaultCollation", Kind::Collation),
    ("defaultRoundingMode", Kind::RoundingMode),
    ("tableConstraints", Kind::Constraints),
];

impl TableMeta {
    /// How the options of `now` differ from these (layout and columns apart); empty: they do not.
    pub fn option_differences(&self, now: &TableMeta) -> Vec<Difference> {
        let mut found = Vec::new();
        for (key, kind) in PLAIN_OPTIONS {
            let (was, is) = (self.option(key), now.option(key));
            match kind {
                _ if was == is => {}
                Kind::Constraints => constraints(was, is, &mut found),
                _ => found.push(Difference::new(None, kind, was, is)),
            }
        }
        let mut compare = |path, kind, was: Value, is: Value| {
            if was != is {
                found.push(Difference::new(path, kind, was, is));
            }
        };
        let (was, is) = (self.requires_filter(), now.requires_filter());
        compare(None, Kind::RequiredFilter, was.into(), is.into());
        for (name, was, is) in either(self.at(&["labels"]), now.at(&["labels"])) {
            compare(Some(name), Kind::Label, was, is);
        }
        let (was, is) = (self.partition_expiration_ms(), now.partition_expiration_ms());
        compare(None, Kind::PartitionExpiration, was.into(), is.into());
        found
    }

    /// An option in a form that compares: absent, empty and null are one.
    fn option(&self, key: &str) -> Value {
        match self.at(&[key]) {
            Value::Object(map) if map.is_empty() => Value::Null,
            Value::String(text) if text.is_empty() => Value::Null,
            Value::String(text) if key == "defaultRoundingMode" && text == "ROUNDING_MODE_UNSPECIFIED" => Value::Null,
            // An instant is the same in a string and in a number.
            value if key == "expirationTime" => integer(value).map_or_else(|| value.clone(), Value::from),
            other => other.clone(),
        }
    }

    /// The `tables.patch` body that gives a table which is like `now` these options again; `None`: nothing to do.
    ///
    /// In a patch, null removes a value, also a single label.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables/patch>.
    pub fn options_patch(&self, now: &TableMeta) -> Option<Value> {
        let mut patch = Map::new();
        for (key, _) in PLAIN_OPTIONS {
            let was = self.option(key);
            if was != now.option(key) {
                // The API writes and reads its int64 as strings.
                let was = was.as_u64().map_or(was, |number| number.to_string().into());
                patch.insert(key.to_owned(), was);
            }
        }
        if self.requires_filter() != now.requires_filter() {
            patch.insert("requirePartitionFilter".to_owned(), self.requires_filter().into());
        }
        if self.option("labels") != now.option("labels") {
            let empty = Map::new();
            let before = self.at(&["labels"]).as_object().unwrap_or(&empty);
            let there = now.at(&["labels"]).as_object().unwrap_or(&empty);
            let mut labels = before.clone();
            for key in there.keys().filter(|key| !before.contains_key(*key)) {
                labels.insert(key.clone(), Value::Null);
            }
            patch.insert("labels".to_owned(), Value::Object(labels));
        }
        if self.partition_expiration_ms() != now.partition_expiration_ms() && now.is_time_partitioned() {
            let mut partitioning = self.at(&["timePartitioning"]).as_object().cloned().unwrap_or_default();
            partitioning.remove("requirePartitionFilter");
            partitioning.entry("expirationMs").or_insert(Value::Null);
            patch.insert("timePartitioning".to_owned(), Value::Object(partitioning));
        }
        // Column descriptions, defaults and policy tags travel in the schema; it is sent only when nothing but those
        // differ, for a patch cannot change a type or tighten a mode, and would be refused whole.
        let columns = self.schema_differences(now, SchemaRule::Same);
        if !columns.is_empty() && same_shape(self.fields(), now.fields()) {
            patch.insert("schema".to_owned(), json!({ "fields": self.fields() }));
        }
        (!patch.is_empty()).then_some(Value::Object(patch))
    }
}

/// What two objects hold, by name; null: not there.
fn either(was: &Value, is: &Value) -> Vec<(String, Value, Value)> {
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().map_or_else(Vec::new, |m| m.keys().cloned().collect()) };
    let mut names = [keys(was), keys(is)].concat();
    names.sort();
    names.dedup();
    let of = |value: &Value, name: &str| value.get(name).cloned().unwrap_or_default();
    let both = |name: String| (name.clone(), of(was, &name), of(is, &name));
    names.into_iter().map(both).collect()
}

/// The differences of constraints that are known to differ: keys by name; whatever else there may be, whole.
fn constraints(was: Value, is: Value, found: &mut Vec<Difference>) {
    let before = found.len();
    let mut compare = |path, kind, was: Value, is: Value| {
        if was != is {
            found.push(Difference::new(path, kind, was, is));
        }
    };
    let primary = |constraints: &Value| constraints.get("primaryKey").cloned().unwrap_or_default();
    compare(None, Kind::PrimaryKey, columns(primary(&was)), columns(primary(&is)));
    for (name, was, is) in either(&by_name(&was), &by_name(&is)) {
        compare(Some(name), Kind::ForeignKey, was, is);
    }
    if found.len() == before {
        found.push(Difference::new(None, Kind::Constraints, was, is));
    }
}

/// A primary key as the list of its columns.
fn columns(mut key: Value) -> Value {
    let columns = key.get_mut("columns").map(Value::take);
    columns.unwrap_or(key)
}

/// Foreign keys by their names.
fn by_name(constraints: &Value) -> Value {
    let keys = constraints.get("foreignKeys").and_then(Value::as_array);
    let named = keys.into_iter().flatten().enumerate().map(|(i, key)| {
        let name = key.get("name").and_then(Value::as_str);
        (name.map_or_else(|| (i + 1).to_string(), str::to_owned), key.clone())
    });
    Value::Object(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(value: Value) -> TableMeta {
        TableMeta::of(value.as_object().unwrap())
    }

    #[test]
    fn the_patch_makes_options_equal_and_is_none_when_they_are() {
        let before = meta(json!({
            "labels": {"team": "x"}, "description": "d", "requirePartitionFilter": true,
            "timePartitioning": {"type": "DAY", "field": "at", "expirationMs": "1000"},
            "schema": {"fields": [{"name": "at", "type": "TIMESTAMP", "description": "when"}]},
        }));
        let now = meta(json!({
            "labels": {"bq-rollback-run": "r"}, "expirationTime": "5", "friendlyName": "f",
            "timePartitioning": {"type": "DAY", "field": "at"},
            "schema": {"fields": [{"name": "at", "type": "TIMESTAMP"}]},
        }));
        let patch = before.options_patch(&now).unwrap();
        assert_eq!(
            patch,
            json!({
                "description": "d", "friendlyName": null, "expirationTime": null, "requirePartitionFilter": true,
                "labels": {"team": "x", "bq-rollback-run": null},
                "timePartitioning": {"type": "DAY", "field": "at", "expirationMs": "1000"},
                "schema": {"fields": [{"name": "at", "type": "TIMESTAMP", "description": "when"}]},
            })
        );
        assert_eq!(now.options_patch(&before).unwrap()["expirationTime"], "5");
        assert_eq!(before.options_patch(&before), None);
        assert_eq!(before.option_differences(&before), []);
        let told: Vec<String> = before
            .option_differences(&now)
            .iter()
            .map(Difference::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "description: was `d`, is not set",
                "friendly name: was not set, is `f`",
                "expiration: was not set, is 1970-01-01T00:00:00.005Z",
                "required partition filter: was true, is false",
                "label bq-rollback-run: was not set, is `r`",
                "label team: was `x`, is not set",
                "partition expiration: was 1000 ms, is not set",
            ]
        );
    }

    #[test]
    fn instants_are_compared_and_not_their_spelling() {
        let at = |value: Value| meta(json!({ "expirationTime": value }));
        assert_eq!(at(json!("5")).option_differences(&at(json!(5))), []);
        assert_eq!(at(json!("5")).option_differences(&at(json!("6"))).len(), 1);
    }

    #[test]
    fn constraints_are_told_apart_and_none_is_overlooked() {
        let key = |name: &str, table: &str| json!({"name": name, "referencedTable": {"tableId": table}});
        let before = meta(json!({ "tableConstraints": {
            "primaryKey": {"columns": ["id"]}, "foreignKeys": [key("one", "a"), key("two", "b")] } }));
        for (now, want) in [
            (
                json!({}),
                &[
                    "primary key: was [\"id\"], is not set",
                    "foreign key one",
                    "foreign key two",
                ][..],
            ),
            (
                json!({"primaryKey": {"columns": ["id", "x"]}, "foreignKeys": [key("one", "a"), key("two", "c")]}),
                &["primary key: was [\"id\"], is [\"id\",\"x\"]", "foreign key two"],
            ),
            // Nothing that is known of differs: that they do is said all the same.
            (
                json!({"primaryKey": {"columns": ["id"]}, "foreignKeys": [key("two", "b"), key("one", "a")]}),
                &["table constraints"],
            ),
            (
                json!({"primaryKey": {"columns": ["id"], "enforced": true}, "foreignKeys": [key("one", "a"), key("two", "b")]}),
                &["table constraints"],
            ),
        ] {
            let found = before.option_differences(&meta(json!({ "tableConstraints": now })));
            assert_eq!(found.len(), want.len(), "{found:?}");
            for (found, want) in found.iter().zip(want) {
                assert!(found.to_string().starts_with(want), "{found} and not {want}");
            }
        }
    }
}
