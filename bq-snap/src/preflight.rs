//! PURE: could the run be undone? What datasets, places and the kinds of tables mean for that; rights and limits have
//! files of their own.

use bqlib::api::Dataset;
use bqlib::exit::{Exit, Failure};
use bqlib::names::{DatasetRef, Location, TableRef};

/// Something worth saying before the first snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Whether the run must not start; else it is a warning.
    pub(crate) refuses: bool,
    /// What, where, and what to type.
    pub(crate) failure: Failure,
}

impl Finding {
    pub(crate) fn refusal(what: impl Into<String>, at: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding {
            refuses: true,
            failure: Failure::refused(what, at, hint),
        }
    }

    pub(crate) fn warning(what: impl Into<String>, at: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding {
            refuses: false,
            failure: Failure::new(Exit::Ok, what, at, hint),
        }
    }

    /// The same, about this protected table.
    pub(crate) fn about(self, table: &TableRef) -> Finding {
        Finding {
            failure: self.failure.about(table),
            ..self
        }
    }
}

/// What is to be said of the dataset that takes the snapshots of a table, all of which `expire` or none.
pub(crate) fn of_snapshot_dataset(name: &DatasetRef, dataset: &Dataset, expire: bool) -> Option<Finding> {
    let ms = dataset.table_expiration_ms.filter(|_| !expire)?;
    let what = format!(
        "the dataset `{name}` deletes what is made without an expiry after {}, and `--expires never` makes snapshots so",
        hours(ms)
    );
    let hint = format!(
        "say `--expires 720h`, or name a dataset without a default with `--snapshot-dataset`, or remove it: \
         bq query --use_legacy_sql=false 'ALTER SCHEMA `{}`.`{}` SET OPTIONS (default_table_expiration_days = NULL)'",
        name.project, name.dataset
    );
    Some(Finding::refusal(what, format!("dataset {name}"), hint))
}

/// What is to be said of the dataset of a protected table that is no dataset like others.
pub(crate) fn of_table_dataset(name: &DatasetRef, dataset: &Dataset) -> Option<Finding> {
    if !matches!(dataset.kind.as_str(), "LINKED" | "EXTERNAL") {
        return None;
    }
    let what = format!(
        "`{name}` is a {} dataset: its tables are another's, and cannot be put back",
        dataset.kind.to_lowercase()
    );
    let hint = "take its tables off the list, or protect them where they are";
    Some(Finding::refusal(what, format!("dataset {name}"), hint))
}

/// What is to be said of a table that is not where jobs are to run.
pub(crate) fn of_location(table: &TableRef, here: Option<&Location>, asked: Option<&Location>) -> Option<Finding> {
    let (here, asked) = (here?, asked?);
    if here.is(asked) {
        return None;
    }
    let what = format!("`{table}` is in {here}, and jobs are to run in {asked}: they would not find it");
    let hint = format!("leave `--location` and BIGQUERY_LOCATION out, or say `--location {here}`");
    Some(Finding::refusal(what, format!("table {table}"), hint).about(table))
}

/// What is to be said of a table that has row access policies, of these filters.
pub(crate) fn of_row_policies(table: &TableRef, filters: &[String]) -> Finding {
    let all_rows = filters.iter().any(|filter| filter.trim().eq_ignore_ascii_case("true"));
    let what = format!(
        "`{table}` has {} row access polic{}{}: who does not see every row, counts and snapshots fewer",
        filters.len(),
        if filters.len() == 1 { "y" } else { "ies" },
        if all_rows {
            ""
        } else {
            ", and none that lets every row through"
        }
    );
    let hint = format!(
        "let yourself see all of it: bq query --use_legacy_sql=false \
         'CREATE ROW ACCESS POLICY bq_rollback ON {} GRANT TO (\"user:WHO\") FILTER USING (TRUE)'",
        table.sql()
    );
    // With such a policy it may be somebody else's: whom it is granted to is not listed.
    match all_rows {
        true => Finding::warning(what, format!("table {table}"), hint),
        false => Finding::refusal(what, format!("table {table}"), hint),
    }
    .about(table)
}

/// What is to be said of a table with fine-grained DML.
/// Source: <https://docs.cloud.google.com/bigquery/docs/data-manipulation-language#fine-grained_dml>.
pub(crate) fn of_fine_grained(table: &TableRef) -> Finding {
    let what =
        format!("`{table}` has fine-grained DML, and after an UPDATE, DELETE or MERGE BigQuery snapshots it no more");
    let hint = "take it off the list, or copy it into a table without: CREATE TABLE … AS SELECT";
    Finding::refusal(what, format!("table {table}"), hint).about(table)
}

/// Milliseconds for people.
pub(crate) fn hours(ms: u64) -> String {
    match ms / 3_600_000 {
        1 => "an hour".to_owned(),
        h if h >= 48 && h.is_multiple_of(24) => format!("{} days", h / 24),
        h => format!("{h} hours"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    #[test]
    fn what_datasets_do() {
        let name = DatasetRef::parse("p.d", &"p".parse().unwrap()).unwrap();
        let of = |table_expiration_ms, kind: &str| Dataset {
            table_expiration_ms,
            kind: kind.to_owned(),
            ..Dataset::default()
        };
        let refused = |finding: Option<Finding>| finding.is_some_and(|f| f.refuses);
        for (default, expire, refuses) in [
            (None, false, false),
            (Some(3_600_000), true, false),
            (Some(3_600_000), false, true),
        ] {
            let found = of_snapshot_dataset(&name, &of(default, "DEFAULT"), expire);
            assert_eq!(refused(found), refuses, "{default:?} {expire}");
        }
        for (filters, refuses) in [
            (&["a = 1"][..], true),
            (&["a = 1", " true "][..], false),
            (&[""][..], true),
        ] {
            let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
            assert_eq!(
                of_row_policies(&table("p.d.t"), &filters).refuses,
                refuses,
                "{filters:?}"
            );
        }
        assert!(of_fine_grained(&table("p.d.t")).refuses);
        for (kind, refuses) in [("DEFAULT", false), ("", false), ("LINKED", true), ("EXTERNAL", true)] {
            assert_eq!(refused(of_table_dataset(&name, &of(None, kind))), refuses, "{kind}");
        }
        let at = |text: &str| Some(text.parse::<Location>().unwrap());
        for (here, asked, refuses) in [
            (at("US"), None, false),
            (None, at("EU"), false),
            (at("US"), at("us"), false),
            (at("US"), at("EU"), true),
        ] {
            let found = of_location(&table("p.d.t"), here.as_ref(), asked.as_ref());
            assert_eq!(refused(found), refuses, "{here:?} {asked:?}");
        }
        assert_eq!(
            [1, 47, 48].map(|h| hours(h * 3_600_000)),
            ["an hour", "47 hours", "2 days"]
        );
    }
}
