//! What a table is besides its rows: schema, layout (partitioning, clustering) and options; how two of them differ is told by
//! `differences` (as data), `columns`, `types` (what may be widened) and `options` (and what puts them back).
//!
//! Pure. The pre-image of a protected table is a [`TableMeta`]: the parts of `tables.get` that a rollback answers for, as
//! BigQuery wrote them, so that fields it gains later are carried along.
//! Source of the fields: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables>.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::names::Location;
use crate::sql::Labels;

mod columns;
mod differences;
mod options;
pub(crate) mod types;

pub use differences::{Difference, Kind};
pub use options::{Patch, patch_in_parts};

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

    /// Of a table that is not there: where its dataset is, and so where a table of this name will be.
    pub fn of_absent(location: Option<&Location>) -> TableMeta {
        let place = location.map(|place| ("location".to_owned(), Value::from(place.as_str())));
        TableMeta(place.into_iter().collect())
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

    /// What this snapshot tells of its table where that is gone, or is something else now: no options, for those it has are its own.
    pub fn of_its_table(&self) -> TableMeta {
        let mut bare = Map::from_iter([("type".to_owned(), "TABLE".into())]);
        bare.extend(self.0.get_key_value("location").map(|(k, v)| (k.clone(), v.clone())));
        TableMeta(bare).as_held_by(self)
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

    pub(crate) fn fields(&self) -> &[Value] {
        self.at(&["schema", "fields"]).as_array().map_or(&[], Vec::as_slice)
    }

    /// The names of its columns, in their order.
    pub fn column_names(&self) -> Vec<String> {
        let names = self.fields().iter().filter_map(|field| field.get("name")?.as_str());
        names.map(str::to_owned).collect()
    }

    /// Whether the partition that a row is in is no column of the row: of when it came.
    pub fn is_partitioned_by_arrival(&self) -> bool {
        self.is_time_partitioned() && self.at(&["timePartitioning", "field"]).is_null()
    }

    /// The resource of an empty table of the same columns, keys and layout, for `tables.insert`; with its own expiry and labels.
    pub fn shape(&self, expires: Timestamp, labels: &Labels) -> Value {
        const SHAPE: [&str; 7] = [
            "schema",
            "timePartitioning",
            "rangePartitioning",
            "clustering",
            "tableConstraints",
            "defaultCollation",
            "defaultRoundingMode",
        ];
        let parts = SHAPE.iter().filter_map(|key| self.0.get_key_value(*key));
        let mut shape: Map<String, Value> = parts.map(|(key, value)| (key.clone(), value.clone())).collect();
        shape.insert("expirationTime".to_owned(), expires.as_millisecond().to_string().into());
        shape.insert("labels".to_owned(), json!(labels));
        if let Some(key) = self.encryption_key() {
            shape.insert("encryptionConfiguration".to_owned(), json!({ "kmsKeyName": key }));
        }
        Value::Object(shape)
    }

    /// Its columns and layout as a load job says them.
    pub fn load_shape(&self) -> Map<String, Value> {
        const SHAPE: [&str; 4] = ["schema", "timePartitioning", "rangePartitioning", "clustering"];
        let parts = SHAPE.iter().filter_map(|key| self.0.get_key_value(*key));
        parts.map(|(key, value)| (key.clone(), value.clone())).collect()
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

    /// The column that the table is partitioned by in ranges of numbers: from, to, and how wide each is.
    pub fn range_partitioning(&self) -> Option<(String, [i64; 3])> {
        let bound = |key| match self.at(&["rangePartitioning", "range", key]) {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        let column = self.at(&["rangePartitioning", "field"]).as_str()?.to_owned();
        Some((column, [bound("start")?, bound("end")?, bound("interval")?]))
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
}

/// An int64 of the API, which comes as a string, and in some answers as a number.
pub fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(value: Value) -> TableMeta {
        TableMeta::of(value.as_object().unwrap())
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
    fn an_expiry_that_has_passed_is_left_out() {
        let expiring = meta(json!({"expirationTime": "5000", "description": "d"}));
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        assert_eq!(expiring.without_past_expiry(at(4999)), expiring);
        assert_eq!(
            expiring.without_past_expiry(at(5000)),
            meta(json!({"description": "d"}))
        );
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
