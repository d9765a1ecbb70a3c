//! A table, snapshot or view as `tables.get` tells of it.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table>.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::job::table_of;
use crate::meta::{TableMeta, integer};
use crate::names::{Location, TableRef};

/// A table resource.
#[derive(Clone, Debug)]
pub struct Table(pub(super) Map<String, Value>);

impl Table {
    /// The table of this resource.
    #[cfg(test)]
    pub(crate) fn of(resource: &Value) -> Table {
        Table(resource.as_object().cloned().unwrap_or_default())
    }

    /// All that was told.
    pub fn resource(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Whether it is what this resource describes, as far as that makes it: its kind, and the query of a view.
    pub fn is_like(&self, definition: &Value) -> bool {
        let query = |resource: &Value| {
            let of = |kind: &str| resource.get(kind).and_then(|view| view.get("query")).cloned();
            of("view").or_else(|| of("materializedView"))
        };
        let kind = definition.get("type").and_then(Value::as_str).unwrap_or("TABLE");
        self.kind() == kind && query(&self.resource()) == query(definition)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key).and_then(integer)
    }

    /// `TABLE`, `SNAPSHOT`, `VIEW`, `MATERIALIZED_VIEW`, `EXTERNAL`.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or("TABLE")
    }

    /// Whether its rows are in Iceberg files: such a table is a `TABLE` as well, and has no snapshots.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/iceberg-tables#limitations>.
    pub fn is_iceberg(&self) -> bool {
        self.0.get("biglakeConfiguration").is_some_and(|c| !c.is_null())
    }

    /// Where it is.
    pub fn location(&self) -> Option<Location> {
        self.text("location")?.parse().ok()
    }

    /// When it was last changed, in milliseconds since 1970.
    pub fn modified_ms(&self) -> u64 {
        self.number("lastModifiedTime").unwrap_or(0)
    }

    /// When it was made, in milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.number("creationTime").unwrap_or(0)
    }

    /// Logical bytes, the streaming buffer apart.
    pub fn bytes(&self) -> Option<u64> {
        self.number("numBytes")
    }

    /// The rows that BigQuery thinks are in the streaming buffer, if there is one: a lower bound.
    pub fn streaming_buffer(&self) -> Option<u64> {
        let buffer = self.0.get("streamingBuffer").filter(|b| !b.is_null())?;
        Some(buffer.get("estimatedRows").and_then(integer).unwrap_or(0))
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.0.get("labels")?.get(key)?.as_str()
    }

    /// When it expires, in milliseconds since 1970.
    pub fn expires_ms(&self) -> Option<u64> {
        self.number("expirationTime")
    }

    /// Of a snapshot: the table it was taken of, and the instant.
    pub fn snapshot_of(&self) -> Option<(TableRef, Timestamp)> {
        let definition = self.0.get("snapshotDefinition")?;
        let base = table_of(definition.get("baseTableReference")?)?;
        let at = definition.get("snapshotTime")?.as_str()?.parse().ok()?;
        Some((base, at))
    }

    /// Of a clone: the table or snapshot it was cloned from.
    pub fn clone_of(&self) -> Option<TableRef> {
        table_of(self.0.get("cloneDefinition")?.get("baseTableReference")?)
    }

    /// Schema, layout and options.
    pub fn meta(&self) -> TableMeta {
        TableMeta::of(&self.0)
    }
}

/// The parts of a view's or an external table's resource of which `tables.insert` makes another like it; the rest is BigQuery's to tell.
pub fn as_input(resource: &Value) -> Value {
    const INPUT: [&str; 14] = [
        "view",
        "materializedView",
        "externalDataConfiguration",
        "schema",
        "timePartitioning",
        "rangePartitioning",
        "clustering",
        "description",
        "friendlyName",
        "labels",
        "expirationTime",
        "requirePartitionFilter",
        "maxStaleness",
        "resourceTags",
    ];
    // The columns of a view are those of its query.
    let is_view = ["view", "materializedView"]
        .iter()
        .any(|key| resource.get(key).is_some());
    let parts = INPUT.iter().filter(|key| !is_view || **key != "schema");
    let part = |key: &&str| Some(((*key).to_owned(), resource.get(*key)?.clone()));
    Value::Object(parts.filter_map(part).collect())
}

/// One entry of `tables.list`.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The table.
    pub table: TableRef,
    /// As [`Table::kind`].
    pub kind: String,
    /// Its labels.
    pub labels: Map<String, Value>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Listed {
    /// Reads an entry; one whose name no statement of ours could hold is left out.
    pub(super) fn of(entry: &Value) -> Option<Listed> {
        Some(Listed {
            table: table_of(entry.get("tableReference")?)?,
            kind: entry.get("type").and_then(Value::as_str).unwrap_or("TABLE").to_owned(),
            labels: entry
                .get("labels")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            created_ms: entry.get("creationTime").and_then(integer).unwrap_or(0),
        })
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key)?.as_str()
    }
}

/// What a dataset does to the tables in it by default.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Where it is.
    pub location: Option<Location>,
    /// How long a table's partitions live, in milliseconds, unless the table says otherwise.
    pub partition_expiration_ms: Option<u64>,
    /// How long a table lives, in milliseconds, unless it is made with an expiry of its own.
    pub table_expiration_ms: Option<u64>,
    /// How far back its tables can be read, if that was set.
    pub time_travel_hours: Option<u64>,
    /// `DEFAULT`, `LINKED`, `EXTERNAL` and so on.
    pub kind: String,
}

impl Dataset {
    pub(super) fn of(resource: &Value) -> Dataset {
        Dataset {
            location: resource
                .get("location")
                .and_then(Value::as_str)
                .and_then(|l| l.parse().ok()),
            partition_expiration_ms: resource.get("defaultPartitionExpirationMs").and_then(integer),
            table_expiration_ms: resource.get("defaultTableExpirationMs").and_then(integer),
            time_travel_hours: resource.get("maxTimeTravelHours").and_then(integer),
            kind: resource
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("DEFAULT")
                .to_owned(),
        }
    }
}
