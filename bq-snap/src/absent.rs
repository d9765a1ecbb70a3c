//! Tables that do not exist yet, protected as absent: what is asked of them, and the second look that makes it sure.
//!
//! There is nothing to snapshot. What a rollback rests on is only that there was nothing at the cut: so it is looked at before the cut
//! and after it.

use std::time::Duration;

use bqlib::api::Api;
use bqlib::exit::Failure;
use bqlib::expect::Expect;
use bqlib::meta::TableMeta;
use bqlib::names::{DatasetRef, Location, RunId, TableRef};
use bqlib::record::Snapshot;
use bqlib::runs::look;
use bqlib::tables::Listed;
use bqlib::tool::Tool;

use crate::planning::{Datasets, keep_ms, tell_all};

/// A table that is to be protected, and does not exist.
#[derive(Debug)]
pub(crate) struct Absent {
    pub(crate) table: TableRef,
    pub(crate) listed: Listed,
    /// Where snapshots are kept, if not beside their tables: another run may have one of it there.
    pub(crate) apart: Option<DatasetRef>,
    /// Where its dataset is, or jobs are to run.
    pub(crate) location: Option<Location>,
}

impl Absent {
    /// The table, if what is expected of it can be expected of one that does not exist.
    ///
    /// # Errors
    /// It is to have rows at the cut, or so many more or fewer than at the cut: its name is wrong, or the list is (2).
    pub(crate) fn of(table: &TableRef, listed: &Listed, apart: Option<&DatasetRef>) -> Result<Absent, Failure> {
        expected(listed).map_err(|what| {
            let what = format!("there is no table `{table}`, and {what}");
            Failure::usage(what, &listed.at, "mend its name, or the list").about(table)
        })?;
        Ok(Absent {
            table: table.clone(),
            listed: listed.clone(),
            apart: apart.cloned(),
            location: None,
        })
    }

    /// The record of it: what is not there has no snapshot, no rows and no pre-image.
    pub(crate) fn record(&self, run: &RunId, keep: Option<Duration>) -> Snapshot {
        Snapshot {
            absent: true,
            keep_ms: keep_ms(keep),
            level: self.listed.level.clone(),
            records: self.listed.records,
            after: self.listed.after,
            schema_rule: self.listed.schema,
            meta: Some(TableMeta::of_absent(self.location.as_ref())),
            ..Snapshot::of(run, &self.table)
        }
    }
}

/// PURE: whether what the list expects of a table can be expected of one that does not exist; else why not.
fn expected(listed: &Listed) -> Result<(), String> {
    if let Some(records) = listed
        .records
        .filter(|records| !records.holds(None, None) && !records.holds(Some(0), Some(0)))
    {
        return Err(format!("`records` ({records}) wants rows of it at the cut"));
    }
    match listed.after.filter(Expect::is_from_the_cut) {
        Some(after) => Err(format!("`after` ({after}) is reckoned from its rows at the cut")),
        None => Ok(()),
    }
}

/// Fills in where they would be: where jobs are to run, or their dataset is.
pub(crate) fn place(t: &Tool, absent: &mut [Absent], datasets: &Datasets) {
    for one in absent {
        let dataset = datasets.get(&one.table.dataset_ref());
        one.location = t.location.clone().or_else(|| dataset?.location.clone());
    }
}

/// Looks once more, the cut being taken. Refuses (4) a table that exists by now: it may have been there at the cut, and a rollback would
/// drop what is somebody's.
pub(crate) async fn still(t: &Tool, api: &Api<'_>, absent: &[Absent]) -> Result<(), Failure> {
    let there = look(api, t.jobs, absent.iter().map(|a| &a.table)).await?;
    let appeared = there.into_iter().filter(|(_, found)| found.is_some());
    let refused = appeared.map(|(table, _)| {
        let what = format!("`{table}` did not exist when it was looked at first, and exists now");
        let hint = "run again with a new run ID: then it is protected as what it is";
        Failure::refused(what, format!("table {table}"), hint).about(&table)
    });
    tell_all(t, refused.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bqlib::tables;

    fn listed(records: &str, after: &str) -> Listed {
        let text = format!("table,records,after\np.d.t,{records},{after}\n");
        tables::read(&[], &[] as &[&str], Some(&text), None).unwrap().remove(0)
    }

    #[test]
    fn of_what_does_not_exist_no_rows_are_expected() {
        for (records, after, fits) in [
            ("", "", true),
            ("0", "", true),
            (">=0", "", true),
            ("any", "", true),
            ("1", "", false),
            (">0", "", false),
            ("", "absent", true),
            ("", "any", true),
            ("", "=5", true),
            ("", ">0", true),
            ("", "+5", false),
            ("", "-5%..+5%", false),
        ] {
            let listed = listed(records, after);
            let table = TableRef::parse("p.d.t", None).unwrap();
            let got = Absent::of(&table, &listed, None);
            assert_eq!(got.is_ok(), fits, "{records} {after}: {got:?}");
        }
    }

    #[test]
    fn its_record_tells_of_nothing_but_its_place() {
        let mut one = Absent::of(&TableRef::parse("p.d.t", None).unwrap(), &listed("0", ">0"), None).unwrap();
        one.location = Some("EU".parse().unwrap());
        let record = one.record(&"r".parse().unwrap(), Some(Duration::from_secs(1)));
        let told = serde_json::to_value(&record).unwrap();
        let want = serde_json::json!({
            "run": "r", "table": "p.d.t", "absent": true, "keep_ms": 1000, "records": 0, "after": ">0",
            "schema_rule": "grow", "meta": {"location": "EU"},
        });
        assert_eq!(told, want);
    }
}
