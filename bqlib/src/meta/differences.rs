//! PURE: how two tables differ, as data: columns with their nested paths, layout, options, constraints.
//!
//! What a difference means for a run is not known here: that is the checks' and the restore's to say.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{SchemaRule, TableMeta};

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A column is new.
    Added,
    /// A column is gone.
    Dropped,
    /// A column has another type.
    Retyped,
    /// A column has another mode.
    Mode,
    /// Columns, or the fields of a record, stand in another order.
    Reordered,
    /// The description of a column or of the table.
    Description,
    /// The default value of a column.
    Default,
    /// The policy tags of a column.
    PolicyTags,
    /// The data policies of a column.
    DataPolicies,
    /// The collation of a column, or the table's default.
    Collation,
    /// The rounding mode of a column, or the table's default.
    RoundingMode,
    /// Partitioning and clustering.
    Layout,
    /// The table's friendly name.
    FriendlyName,
    /// One label of the table.
    Label,
    /// When the table expires.
    Expiration,
    /// How long a partition lives.
    PartitionExpiration,
    /// Whether queries must filter by partition.
    RequiredFilter,
    /// How stale answers may be.
    MaxStaleness,
    /// The primary key.
    PrimaryKey,
    /// One foreign key.
    ForeignKey,
    /// Anything else of the table's constraints.
    Constraints,
    /// One tag of the organization's on the table.
    ResourceTag,
    /// The key that the table is encrypted with.
    Encryption,
}

/// One thing in which a table is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The column, nested ones by BigQuery's own paths (`record.field`, a repeated record no other); the label; the
    /// foreign key. Absent: the table as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What differs.
    pub kind: Kind,
    /// What it was; null: it was not there.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub was: Value,
    /// What it is; null: it is not there.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub is: Value,
    /// Of a column that is gone: the one new column of its type beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perhaps_renamed: Option<String>,
}

impl Difference {
    pub(super) fn new(path: Option<String>, kind: Kind, was: Value, is: Value) -> Difference {
        Difference {
            path,
            kind,
            was,
            is,
            perhaps_renamed: None,
        }
    }

    /// Whether something was taken away or made narrower by it, for those who use the table, rather than added.
    pub fn takes_away(&self) -> bool {
        match self.kind {
            Kind::Added | Kind::Reordered => false,
            // Queries without a filter fail where one is demanded anew; where it no longer is, they cost a full scan.
            Kind::RequiredFilter => true,
            // What lives longer than it did harms nobody.
            Kind::Expiration | Kind::PartitionExpiration => match (number(&self.was), number(&self.is)) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(was), Some(is)) => is < was,
            },
            _ => !self.was.is_null(),
        }
    }

    fn aspect(&self) -> &'static str {
        let of_column = self.path.is_some();
        match self.kind {
            Kind::Added | Kind::Dropped | Kind::Reordered => "columns",
            Kind::Retyped => "type",
            Kind::Mode => "mode",
            Kind::Description => "description",
            Kind::Default => "default",
            Kind::PolicyTags => "policy tags",
            Kind::DataPolicies => "data policies",
            Kind::Collation if of_column => "collation",
            Kind::Collation => "default collation",
            Kind::RoundingMode if of_column => "rounding mode",
            Kind::RoundingMode => "default rounding mode",
            Kind::Layout => "partitioning and clustering",
            Kind::FriendlyName => "friendly name",
            Kind::Label => "label",
            Kind::Expiration => "expiration",
            Kind::PartitionExpiration => "partition expiration",
            Kind::RequiredFilter => "required partition filter",
            Kind::MaxStaleness => "max staleness",
            Kind::PrimaryKey => "primary key",
            Kind::ForeignKey => "foreign key",
            Kind::Constraints => "table constraints",
            Kind::ResourceTag => "tag",
            Kind::Encryption => "encryption key",
        }
    }

    /// A value for people.
    fn told(&self, value: &Value) -> String {
        match (self.kind, value) {
            (_, Value::Null) => "not set".to_owned(),
            (Kind::Retyped | Kind::Mode | Kind::Layout, Value::String(text)) => text.clone(),
            (Kind::Expiration, value) => match number(value).map(crate::clock::from_millis) {
                Some(at) => at.to_string(),
                None => value.to_string(),
            },
            (Kind::PartitionExpiration, value) => format!("{value} ms"),
            (_, Value::String(text)) => format!("`{text}`"),
            (_, value) => value.to_string(),
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    super::integer(value)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or_default();
        let (was, is) = (self.told(&self.was), self.told(&self.is));
        match self.kind {
            Kind::Added => write!(f, "column {path} was added"),
            Kind::Dropped => {
                write!(f, "column {path} is gone")?;
                match &self.perhaps_renamed {
                    Some(name) => write!(f, " (renamed to `{name}`?)"),
                    None => Ok(()),
                }
            }
            Kind::Reordered => {
                let names = self.is.as_array().map(Vec::as_slice).unwrap_or_default();
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                let names = names.join(", ");
                match &self.path {
                    None => write!(f, "columns are in another order: {names}"),
                    Some(record) => write!(f, "the fields of {record} are in another order: {names}"),
                }
            }
            Kind::Label | Kind::ForeignKey | Kind::ResourceTag => {
                write!(f, "{} {path}: was {was}, is {is}", self.aspect())
            }
            Kind::Layout => write!(f, "{}: were {was}, are {is}", self.aspect()),
            _ if self.path.is_some() => write!(f, "column {path}: {} was {was}, is {is}", self.aspect()),
            _ => write!(f, "{}: was {was}, is {is}", self.aspect()),
        }
    }
}

impl TableMeta {
    /// Whatever of `now` is not as here: layout, columns, options.
    pub fn differences(&self, now: &TableMeta) -> Vec<Difference> {
        let mut found = Vec::new();
        let (was, is) = (self.layout(), now.layout());
        if was != is {
            found.push(Difference::new(None, Kind::Layout, was.into(), is.into()));
        }
        found.extend(self.schema_differences(now, SchemaRule::Same));
        found.extend(self.option_differences(now));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taking_away_is_told_from_giving() {
        let of = |kind, was: Value, is: Value| Difference::new(None, kind, was, is).takes_away();
        for (kind, was, is, takes) in [
            (Kind::Label, json!("x"), Value::Null, true),
            (Kind::Label, json!("x"), json!("y"), true),
            (Kind::Label, Value::Null, json!("y"), false),
            (Kind::Expiration, Value::Null, json!(5), true),
            (Kind::Expiration, json!(5), json!(4), true),
            (Kind::Expiration, json!(4), json!(5), false),
            (Kind::Expiration, json!(4), Value::Null, false),
            (Kind::PartitionExpiration, json!(5), json!(4), true),
            (Kind::RequiredFilter, json!(true), json!(false), true),
            (Kind::RequiredFilter, json!(false), json!(true), true),
            (Kind::PrimaryKey, json!(["a"]), Value::Null, true),
            (Kind::PrimaryKey, Value::Null, json!(["a"]), false),
        ] {
            assert_eq!(of(kind, was.clone(), is.clone()), takes, "{kind:?} {was} {is}");
        }
    }
}
