//! PURE: which tables a snapshot cannot hold, or a rollback could not undo.
//!
//! Sources: <https://docs.cloud.google.com/bigquery/docs/table-snapshots-intro#limitations>,
//! <https://docs.cloud.google.com/bigquery/quotas#table_snapshots>.

use bqlib::exit::Failure;
use bqlib::meta::TableMeta;
use bqlib::names::TableRef;

/// How deep a chain of clones and snapshots may be.
pub(crate) const DEEPEST: u32 = 3;

/// What is asked of a table before it is protected.
pub(crate) struct Facts<'a> {
    /// The table.
    pub table: &'a TableRef,
    /// `TABLE`, `VIEW` and so on.
    pub kind: &'a str,
    /// Whether its rows are in Iceberg files.
    pub iceberg: bool,
    /// Rows that BigQuery thinks are in the streaming buffer, if there is one.
    pub streaming: Option<u64>,
    /// Whether rows in the streaming buffer may be left out.
    pub without_buffer: bool,
    /// How many clones and snapshots stand between the table and a table of its own.
    pub depth: u32,
    /// Its schema, layout and options.
    pub meta: &'a TableMeta,
    /// How long partitions live in the dataset that will hold the snapshot, unless a table says otherwise.
    pub default_partition_ms: Option<u64>,
}

/// Refuses (4) a table that could not be put back.
pub(crate) fn protectable(facts: &Facts) -> Result<(), Failure> {
    let table = facts.table;
    let refuse = |what: String, hint: String| Err(Failure::refused(what, format!("table {table}"), hint).about(table));
    if facts.kind != "TABLE" {
        let what = format!(
            "`{table}` is a {}, and only tables can be snapshotted",
            facts.kind.to_lowercase().replace('_', " ")
        );
        return refuse(what, "take it off the list".to_owned());
    }
    if facts.iceberg {
        let what = format!("`{table}` is an Iceberg table, and BigQuery makes no snapshots of those");
        return refuse(what, "take it off the list".to_owned());
    }
    if let Some(rows) = facts.streaming
        && !facts.without_buffer
    {
        let what = format!("`{table}` has rows in the streaming buffer (about {rows}), which no snapshot holds");
        let hint = "stop the writer and say `--wait-buffer 90m`, or leave those rows out with `--without-buffer`";
        return refuse(what, hint.to_owned());
    }
    if facts.depth >= DEEPEST {
        let what = format!(
            "`{table}` is the {}th of a chain of clones and snapshots, and BigQuery allows {DEEPEST}",
            facts.depth
        );
        let copy = table.with_suffix("_full").unwrap_or_else(|_| table.clone());
        let hint = format!(
            "free it by a full copy: bq query --use_legacy_sql=false 'CREATE TABLE {} COPY {}', then let the copy take its place",
            copy.sql(),
            table.sql()
        );
        return refuse(what, hint);
    }
    if facts.meta.is_time_partitioned()
        && let Some(default) = facts.default_partition_ms
        && facts.meta.partition_expiration_ms().is_none_or(|own| default < own)
    {
        let what =
            format!("the dataset for the snapshot of `{table}` lets partitions expire earlier than the table does");
        let hint =
            "choose a dataset without a default partition expiration with `--snapshot-dataset`, or remove the default";
        return refuse(what, hint.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_put_back_is_refused() {
        let table = TableRef::parse("p.d.t", None).unwrap();
        let plain = TableMeta::default();
        let day: TableMeta =
            serde_json_meta(r#"{"timePartitioning":{"type":"DAY","field":"at","expirationMs":"1000"}}"#);
        // kind, streaming, without buffer, depth, partitioned, dataset's default, refused
        for (kind, streaming, without_buffer, depth, meta, default_partition_ms, refused) in [
            ("TABLE", None, false, 0, &plain, None, false),
            ("TABLE", None, false, 2, &plain, None, false),
            ("TABLE", None, false, 3, &plain, None, true),
            ("VIEW", None, false, 0, &plain, None, true),
            ("EXTERNAL", None, false, 0, &plain, None, true),
            ("SNAPSHOT", None, false, 0, &plain, None, true),
            ("TABLE", Some(5), false, 0, &plain, None, true),
            ("TABLE", Some(5), true, 0, &plain, None, false),
            ("TABLE", None, false, 0, &plain, Some(1), false),
            ("TABLE", None, false, 0, &day, Some(999), true),
            ("TABLE", None, false, 0, &day, Some(1000), false),
        ] {
            let facts = Facts {
                table: &table,
                kind,
                iceberg: false,
                streaming,
                without_buffer,
                depth,
                meta,
                default_partition_ms,
            };
            assert_eq!(
                protectable(&facts).is_err(),
                refused,
                "{kind} {streaming:?} {depth} {default_partition_ms:?}"
            );
        }
        let iceberg = Facts {
            table: &table,
            kind: "TABLE",
            iceberg: true,
            streaming: None,
            without_buffer: false,
            depth: 0,
            meta: &plain,
            default_partition_ms: None,
        };
        assert!(protectable(&iceberg).is_err());
    }

    fn serde_json_meta(text: &str) -> TableMeta {
        serde_json::from_str(text).unwrap()
    }
}
