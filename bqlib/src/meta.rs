//! What a table is besides its rows: schema, layout (partitioning, clustering) and options; and how two of them differ.
//!
//! Pure. The pre-image of a protected table is a [`TableMeta`]: the parts of `tables.get` that a rollback answers for, as
//! BigQuery wrote them, so that fields it gains later are carried along.
//! Source of the fields: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables>.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::names::Location;

/// The fields of a table resource that are kept in records and in the journal.
const KEPT: [&str; 19] = [
    "type",
    "location",
    "schema",
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "requirePartitionFilter",
    "description",
    "friendlyName",
    "labels",
    "expirationTime",
    "defaultCollation",
    "defaultRoundingMode",
    "maxStaleness",
    "tableConstraints",
    "resourceTags",
    "encryptionConfiguration",
    "creationTime",
    "cloneDefinition",
];

/// Options that one `tables.patch` puts back, besides labels, partitioning and schema, which need care.
const PLAIN_OPTIONS: [&str; 8] = [
    "description",
    "friendlyName",
    "expirationTime",
    "requirePartitionFilter",
    "maxStaleness",
    "defaultCollation",
    "defaultRoundingMode",
    "tableConstraints",
];

/// What may become of a protected table's columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaRule {
    /// Columns may be added, modes relaxed, types widened.
    #[default]
    Grow,
    /// Nothing may change.
    Same,
    /// Anything may, partitioning and clustering too.
    Any,
}

impl std::str::FromStr for SchemaRule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "grow" => Ok(SchemaRule::Grow),
            "same" => Ok(SchemaRule::Same),
            "any" => Ok(SchemaRule::Any),
            other => Err(format!(
                "`{}` is no schema rule (write grow, same or any)",
                other.escape_debug()
            )),
        }
    }
}

impl fmt::Display for SchemaRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SchemaRule::Grow => "grow",
            SchemaRule::Same => "same",
            SchemaRule::Any => "any",
        })
    }
}

/// What a table is besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableMeta(Map<String, Value>);

impl TableMeta {
    /// The parts of a table resource that are kept.
    pub fn of(resource: &Map<String, Value>) -> TableMeta {
        let kept = KEPT
            .iter()
            .filter_map(|key| resource.get(*key).map(|value| ((*key).to_owned(), value.clone())));
        TableMeta(kept.collect())
    }

    /// What a table was that is `self` now, as far as a snapshot of it tells: columns, constraints and layout are the snapshot's, options
    /// (which a snapshot does not hold) are those of now.
    #[must_use]
    pub fn as_held_by(&self, snapshot: &TableMeta) -> TableMeta {
        const HELD: [&str; 5] = [
            "schema",
            "timePartitioning",
            "rangePartitioning",
            "clustering",
            "tableConstraints",
        ];
        let mut was = self.0.clone();
        was.retain(|key, _| !HELD.contains(&key.as_str()));
        was.extend(
            HELD.iter()
                .filter_map(|key| snapshot.0.get_key_value(*key))
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        // No snapshot holds how long partitions live.
        // Source: <https://docs.cloud.google.com/bigquery/docs/table-snapshots-intro#limitations>.
        let lives = self.at(&["timePartitioning", "expirationMs"]);
        if let (Some(Value::Object(partitioning)), false) = (was.get_mut("timePartitioning"), lives.is_null()) {
            partitioning.insert("expirationMs".to_owned(), lives.clone());
        }
        TableMeta(was)
    }

    fn at(&self, pointer: &[&str]) -> &Value {
        let (first, rest) = match pointer.split_first() {
            Some(parts) => parts,
            None => return &Value::Null,
        };
        let start = self.0.get(*first).unwrap_or(&Value::Null);
        rest.iter()
            .fold(start, |value, key| value.get(key).unwrap_or(&Value::Null))
    }

    fn fields(&self) -> &[Value] {
        self.at(&["schema", "fields"]).as_array().map_or(&[], Vec::as_slice)
    }

    /// Where the table is.
    pub fn location(&self) -> Option<Location> {
        self.at(&["location"]).as_str()?.parse().ok()
    }

    /// When the table expires, in milliseconds since 1970.
    pub fn expires_ms(&self) -> Option<u64> {
        integer(self.at(&["expirationTime"]))
    }

    /// How long a partition lives, in milliseconds.
    pub fn partition_expiration_ms(&self) -> Option<u64> {
        integer(self.at(&["timePartitioning", "expirationMs"]))
    }

    /// Whether the table is a clone: then its snapshot is not the first of its chain.
    pub fn is_clone(&self) -> bool {
        !self.at(&["cloneDefinition"]).is_null()
    }

    /// The column and the unit that the table is partitioned by in time: `_PARTITIONTIME` and `DAY` unless it says otherwise.
    pub fn time_partitioning(&self) -> Option<(String, String)> {
        let text = |key, otherwise: &str| {
            self.at(&["timePartitioning", key])
                .as_str()
                .unwrap_or(otherwise)
                .to_owned()
        };
        self.is_time_partitioned()
            .then(|| (text("field", "_PARTITIONTIME"), text("type", "DAY")))
    }

    /// Whether the table is partitioned by time.
    pub fn is_time_partitioned(&self) -> bool {
        !self.at(&["timePartitioning"]).is_null()
    }

    /// The column that queries must filter by, if the table demands a filter.
    ///
    /// Source: <https://docs.cloud.google.com/bigquery/docs/querying-partitioned-tables#require_a_partition_filter_in_queries>.
    pub fn required_filter_column(&self) -> Option<String> {
        if !self.requires_filter() {
            return None;
        }
        let column = self
            .at(&["timePartitioning", "field"])
            .as_str()
            .or_else(|| self.at(&["rangePartitioning", "field"]).as_str());
        Some(column.unwrap_or("_PARTITIONTIME").to_owned())
    }

    fn requires_filter(&self) -> bool {
        self.at(&["requirePartitionFilter"]).as_bool().unwrap_or(false)
            || self
                .at(&["timePartitioning", "requirePartitionFilter"])
                .as_bool()
                .unwrap_or(false)
    }

    /// Whatever of `now` is not as here: layout, columns, options.
    pub fn differences(&self, now: &TableMeta) -> Vec<String> {
        let mut found = Vec::new();
        if self.layout() != now.layout() {
            found.push(format!(
                "partitioning and clustering: were {}, are {}",
                self.layout(),
                now.layout()
            ));
        }
        found.extend(self.schema_differences(now, SchemaRule::Same));
        found.extend(self.option_differences(now));
        found
    }

    /// Partitioning and clustering as one text, such as `DAY(at), cluster(a, b)`; `none` for neither.
    pub fn layout(&self) -> String {
        let mut parts = Vec::new();
        if let Some((field, unit)) = self.time_partitioning() {
            parts.push(format!("{unit}({field})"));
        }
        if let Some(field) = self.at(&["rangePartitioning", "field"]).as_str() {
            let bound = |key| match self.at(&["rangePartitioning", "range", key]) {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            parts.push(format!(
                "RANGE({field}, {}, {}, {})",
                bound("start"),
                bound("end"),
                bound("interval")
            ));
        }
        let cluster: Vec<&str> = self
            .at(&["clustering", "fields"])
            .as_array()
            .map(|fields| fields.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if !cluster.is_empty() {
            parts.push(format!("cluster({})", cluster.join(", ")));
        }
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    }

    /// How the columns of `now` differ from these against a rule; empty: they do not.
    pub fn schema_differences(&self, now: &TableMeta, rule: SchemaRule) -> Vec<String> {
        let mut found = Vec::new();
        if rule != SchemaRule::Any {
            compare_fields("", self.fields(), now.fields(), rule, &mut found);
        }
        found
    }

    /// How the options of `now` differ from these (layout and columns apart); empty: they do not.
    pub fn option_differences(&self, now: &TableMeta) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |name: &str, before: Value, now: Value| {
            if before != now {
                found.push(format!("{name}: was {}, is {}", brief(&before), brief(&now)));
            }
        };
        for key in PLAIN_OPTIONS.iter().filter(|key| **key != "requirePartitionFilter") {
            compare(key, self.option(key), now.option(key));
        }
        compare(
            "requirePartitionFilter",
            self.requires_filter().into(),
            now.requires_filter().into(),
        );
        compare("labels", self.option("labels"), now.option("labels"));
        compare(
            "partition expiration",
            self.partition_expiration_ms().into(),
            now.partition_expiration_ms().into(),
        );
        found
    }

    /// An option in a form that compares: absent, empty and null are one.
    fn option(&self, key: &str) -> Value {
        match self.at(&[key]) {
            Value::Object(map) if map.is_empty() => Value::Null,
            Value::String(text) if text.is_empty() => Value::Null,
            Value::String(text) if key == "defaultRoundingMode" && text == "ROUNDING_MODE_UNSPECIFIED" => Value::Null,
            other => other.clone(),
        }
    }

    /// The `tables.patch` body that gives a table which is like `now` these options again; `None`: nothing to do.
    ///
    /// In a patch, null removes a value, also a single label.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables/patch>.
    pub fn options_patch(&self, now: &TableMeta) -> Option<Value> {
        let mut patch = Map::new();
        for key in PLAIN_OPTIONS.iter().filter(|key| **key != "requirePartitionFilter") {
            if self.option(key) != now.option(key) {
                patch.insert((*key).to_owned(), self.option(key));
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

/// An int64 of the API, which comes as a string, and in some answers as a number.
pub fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}

fn text<'a>(field: &'a Value, key: &str) -> &'a str {
    field.get(key).and_then(Value::as_str).unwrap_or("")
}

/// The type by one name: the API writes legacy names (`INTEGER`), SQL the others (`INT64`).
fn type_of(field: &Value) -> String {
    let name = text(field, "type").to_ascii_uppercase();
    let base = match name.as_str() {
        "INTEGER" => "INT64",
        "FLOAT" => "FLOAT64",
        "BOOLEAN" => "BOOL",
        "RECORD" => "STRUCT",
        other => other,
    };
    let element = field.get("rangeElementType").map(type_of);
    let limits: Vec<String> = ["maxLength", "precision", "scale"]
        .iter()
        .filter_map(|key| integer(field.get(*key)?).map(|n| n.to_string()))
        .collect();
    match (element, limits.is_empty()) {
        (Some(element), _) => format!("{base}<{element}>"),
        (None, true) => base.to_owned(),
        (None, false) => format!("{base}({})", limits.join(", ")),
    }
}

fn mode_of(field: &Value) -> &str {
    match text(field, "mode") {
        "" => "NULLABLE",
        mode => mode,
    }
}

fn subfields(field: &Value) -> &[Value] {
    field.get("fields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a column of type `before` may become `now` by BigQuery's own widening (`ALTER COLUMN SET DATA TYPE`).
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement>.
fn widened(before: &str, now: &str) -> bool {
    let split = |t: &str| -> (String, Vec<u64>) {
        match t.split_once('(') {
            None => (t.to_owned(), Vec::new()),
            Some((base, limits)) => (
                base.to_owned(),
                limits
                    .trim_end_matches(')')
                    .split(", ")
                    .filter_map(|n| n.parse().ok())
                    .collect(),
            ),
        }
    };
    let ((base, limits), (now_base, now_limits)) = (split(before), split(now));
    let wider_type = matches!(
        (base.as_str(), now_base.as_str()),
        ("INT64", "NUMERIC" | "BIGNUMERIC" | "FLOAT64") | ("NUMERIC", "BIGNUMERIC" | "FLOAT64")
    );
    let wider_limits = base == now_base
        && !limits.is_empty()
        && (now_limits.is_empty()
            || (limits.len() == now_limits.len() && limits.iter().zip(&now_limits).all(|(a, b)| a <= b)));
    (wider_type && now_limits.is_empty()) || wider_limits
}

fn compare_fields(path: &str, before: &[Value], now: &[Value], rule: SchemaRule, found: &mut Vec<String>) {
    let of_name =
        |fields: &'_ [Value], name: &str| fields.iter().position(|f| text(f, "name").eq_ignore_ascii_case(name));
    for field in before {
        let name = format!("{path}{}", text(field, "name"));
        let Some(there) = of_name(now, text(field, "name")).and_then(|at| now.get(at)) else {
            found.push(format!("column {name} is gone"));
            continue;
        };
        let (was, is) = (type_of(field), type_of(there));
        if was != is && !(rule == SchemaRule::Grow && widened(&was, &is)) {
            found.push(format!("column {name}: type was {was}, is {is}"));
        }
        let (was, is) = (mode_of(field), mode_of(there));
        if was != is && !(rule == SchemaRule::Grow && was == "REQUIRED" && is == "NULLABLE") {
            found.push(format!("column {name}: mode was {was}, is {is}"));
        }
        if rule == SchemaRule::Same {
            for key in [
                "description",
                "defaultValueExpression",
                "policyTags",
                "collation",
                "roundingMode",
            ] {
                let value = |f: &Value| match f.get(key) {
                    None | Some(Value::Null) => Value::Null,
                    Some(Value::String(text)) if text.is_empty() => Value::Null,
                    Some(other) => other.clone(),
                };
                let (was, is) = (value(field), value(there));
                if was != is {
                    found.push(format!("column {name}: {key} was {}, is {}", brief(&was), brief(&is)));
                }
            }
        }
        compare_fields(&format!("{name}."), subfields(field), subfields(there), rule, found);
    }
    if rule != SchemaRule::Same {
        return;
    }
    for field in now {
        if of_name(before, text(field, "name")).is_none() {
            found.push(format!("column {path}{} was added", text(field, "name")));
        }
    }
    let names = |fields: &[Value]| -> Vec<String> { fields.iter().map(|f| text(f, "name").to_lowercase()).collect() };
    if found.is_empty() && names(before) != names(now) {
        found.push(format!("columns are in another order: {}", names(now).join(", ")));
    }
}

/// Whether two lists of columns have the same names, types, modes and order, whatever is written beside them.
fn same_shape(a: &[Value], b: &[Value]) -> bool {
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

    fn meta(value: Value) -> TableMeta {
        TableMeta::of(value.as_object().unwrap())
    }

    fn columns(fields: Value) -> TableMeta {
        meta(json!({ "schema": { "fields": fields } }))
    }

    #[test]
    fn grow_allows_what_bigquery_can_widen_and_nothing_else() {
        let before = columns(json!([
            {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
            {"name": "s", "type": "STRING", "maxLength": "5"},
            {"name": "r", "type": "RECORD", "fields": [{"name": "x", "type": "INTEGER"}]},
        ]));
        let grown = columns(json!([
            {"name": "id", "type": "NUMERIC", "mode": "NULLABLE"},
            {"name": "s", "type": "STRING", "maxLength": "9"},
            {"name": "r", "type": "STRUCT", "fields": [{"name": "x", "type": "INT64"}, {"name": "y", "type": "STRING"}]},
            {"name": "new", "type": "STRING"},
        ]));
        assert_eq!(
            before.schema_differences(&grown, SchemaRule::Grow),
            Vec::<String>::new()
        );
        assert_eq!(before.schema_differences(&grown, SchemaRule::Any), Vec::<String>::new());
        assert_eq!(before.schema_differences(&grown, SchemaRule::Same).len(), 5);
        let shrunk = grown.schema_differences(&before, SchemaRule::Grow);
        assert_eq!(
            shrunk,
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
    fn order_matters_to_same_only() {
        let a = columns(json!([{"name": "a", "type": "STRING"}, {"name": "b", "type": "STRING"}]));
        let b = columns(json!([{"name": "b", "type": "STRING"}, {"name": "a", "type": "STRING"}]));
        assert_eq!(a.schema_differences(&b, SchemaRule::Grow).len(), 0);
        assert_eq!(
            a.schema_differences(&b, SchemaRule::Same),
            ["columns are in another order: b, a"]
        );
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
        assert_eq!(before.options_patch(&before), None);
        assert_eq!(before.option_differences(&before), Vec::<String>::new());
        assert_eq!(before.option_differences(&now).len(), 6);
    }

    #[test]
    fn what_a_table_was_is_the_snapshots_columns_and_its_own_options() {
        let now = meta(json!({
            "type": "TABLE", "labels": {"a": "b"}, "requirePartitionFilter": true, "clustering": {"fields": ["x"]},
            "timePartitioning": {"type": "DAY", "field": "at", "expirationMs": "1000"},
            "schema": {"fields": [{"name": "new", "type": "STRING"}]},
        }));
        let snapshot = meta(json!({
            "type": "SNAPSHOT", "labels": {"kept": "yes"}, "expirationTime": "5",
            "timePartitioning": {"type": "DAY", "field": "at"},
            "schema": {"fields": [{"name": "old", "type": "STRING"}]},
        }));
        let was = meta(json!({
            "type": "TABLE", "labels": {"a": "b"}, "requirePartitionFilter": true,
            "timePartitioning": {"type": "DAY", "field": "at", "expirationMs": "1000"},
            "schema": {"fields": [{"name": "old", "type": "STRING"}]},
        }));
        assert_eq!(now.as_held_by(&snapshot), was);
    }

    #[test]
    fn a_layout_is_one_text() {
        let table = meta(json!({
            "rangePartitioning": {"field": "n", "range": {"start": "0", "end": 100, "interval": "10"}},
            "clustering": {"fields": ["a", "b"]},
        }));
        assert_eq!(table.layout(), "RANGE(n, 0, 100, 10), cluster(a, b)");
        assert_eq!(meta(json!({})).layout(), "none");
        assert_eq!(
            meta(json!({"timePartitioning": {"type": "DAY"}})).layout(),
            "DAY(_PARTITIONTIME)"
        );
    }
}
