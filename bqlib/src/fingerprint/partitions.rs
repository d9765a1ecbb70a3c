//! PURE: the partitions of a table, as an expression that says of a row which one it is in.
//!
//! IDs are BigQuery's own, as in `INFORMATION_SCHEMA.PARTITIONS`.
//! Source: <https://docs.cloud.google.com/bigquery/docs/querying-partitioned-tables>.

use crate::meta::TableMeta;
use crate::meta::types::{text, type_of};

use super::columns::PARTITION_TIME;

/// The partition of rows without a value in the partitioning column.
const NULL: &str = "__NULL__";
/// The partition of rows that are in none yet, or outside the range.
const NONE: &str = "__UNPARTITIONED__";

/// How the rows of a table are partitioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// By the time in a column.
    Time {
        /// The column.
        column: String,
        /// `HOUR`, `DAY`, `MONTH` or `YEAR`.
        unit: String,
        /// `DATE`, `DATETIME` or `TIMESTAMP`.
        of: &'static str,
    },
    /// By the number in a column.
    Range {
        /// The column.
        column: String,
        /// From, to, and how wide a partition is.
        range: [i64; 3],
    },
}

impl Partitions {
    /// How a table is partitioned; `None`: it is not.
    pub fn of(meta: &TableMeta) -> Option<Partitions> {
        if let Some((column, unit)) = meta.time_partitioning() {
            let field = meta
                .fields()
                .iter()
                .find(|field| text(field, "name").eq_ignore_ascii_case(&column));
            let of = match field.map(type_of).as_deref() {
                Some("DATE") => "DATE",
                Some("DATETIME") => "DATETIME",
                _ => "TIMESTAMP",
            };
            return Some(Partitions::Time { column, unit, of });
        }
        let (column, range) = meta.range_partitioning()?;
        Some(Partitions::Range { column, range })
    }

    /// The column that they are by.
    pub fn column(&self) -> &str {
        match self {
            Partitions::Time { column, .. } | Partitions::Range { column, .. } => column,
        }
    }

    /// The ID of the partition that a row is in; `of` makes of a column's name what it is in the query.
    pub(crate) fn sql(&self, of: impl Fn(&str) -> String) -> String {
        match self {
            Partitions::Time { column, unit, of: kind } => {
                let format = match unit.as_str() {
                    "HOUR" => "%Y%m%d%H",
                    "MONTH" => "%Y%m",
                    "YEAR" => "%Y",
                    _ => "%Y%m%d",
                };
                let none = if column == PARTITION_TIME { NONE } else { NULL };
                let zone = if *kind == "TIMESTAMP" { ", 'UTC'" } else { "" };
                let column = of(column);
                format!("IFNULL(FORMAT_{kind}('{format}', {column}{zone}), '{none}')")
            }
            Partitions::Range {
                column,
                range: [start, end, interval],
            } => {
                let column = of(column);
                format!(
                    "CASE WHEN {column} IS NULL THEN '{NULL}' WHEN {column} < ({start}) OR {column} >= ({end}) THEN '{NONE}' \
                     ELSE CAST(({start}) + DIV({column} - ({start}), {interval}) * {interval} AS STRING) END"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_says_how_it_is_partitioned() {
        let of = |meta: serde_json::Value| {
            let partitions = Partitions::of(&serde_json::from_value(meta).unwrap());
            partitions.map(|p| p.sql(|column| format!("`{column}`")))
        };
        let schema = |kind: &str| json!({"fields": [{"name": "at", "type": kind}]});
        let time = |kind: &str, unit: &str| {
            of(json!({"schema": schema(kind), "timePartitioning": {"type": unit, "field": "at"}}))
        };
        for (kind, unit, sql) in [
            ("DATE", "MONTH", "IFNULL(FORMAT_DATE('%Y%m', `at`), '__NULL__')"),
            (
                "DATETIME",
                "HOUR",
                "IFNULL(FORMAT_DATETIME('%Y%m%d%H', `at`), '__NULL__')",
            ),
            (
                "TIMESTAMP",
                "DAY",
                "IFNULL(FORMAT_TIMESTAMP('%Y%m%d', `at`, 'UTC'), '__NULL__')",
            ),
            (
                "TIMESTAMP",
                "YEAR",
                "IFNULL(FORMAT_TIMESTAMP('%Y', `at`, 'UTC'), '__NULL__')",
            ),
        ] {
            assert_eq!(time(kind, unit).as_deref(), Some(sql));
        }
        assert_eq!(
            of(json!({"timePartitioning": {"type": "DAY"}})).as_deref(),
            Some("IFNULL(FORMAT_TIMESTAMP('%Y%m%d', `_PARTITIONTIME`, 'UTC'), '__UNPARTITIONED__')")
        );
        let range = json!({"field": "n", "range": {"start": "-10", "end": "100", "interval": "5"}});
        assert_eq!(
            of(json!({"rangePartitioning": range})).as_deref(),
            Some(
                "CASE WHEN `n` IS NULL THEN '__NULL__' WHEN `n` < (-10) OR `n` >= (100) THEN '__UNPARTITIONED__' \
                 ELSE CAST((-10) + DIV(`n` - (-10), 5) * 5 AS STRING) END"
            )
        );
        assert_eq!(of(json!({})), None);
    }
}
