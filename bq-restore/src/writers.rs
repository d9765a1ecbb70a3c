//! Asking BigQuery which jobs of others wrote to tables since the cut. That it does not tell is no trouble: who wrote is then not known.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, Table};
use bqlib::count::{Question, query};
use bqlib::exit::Failure;
use bqlib::foreign::jobs::{ForeignJob, of_others, question};
use bqlib::names::{JobId, Location, TableRef};
use bqlib::perform::Held;
use bqlib::plan::restore::Seen;
use bqlib::tool::Tool;

/// The jobs of others by table, asked for once for all tables of a location; none of a table of which BigQuery does not tell.
pub(crate) async fn writers(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    tables: BTreeSet<TableRef>,
    seen: Option<&Seen>,
) -> Result<BTreeMap<TableRef, Vec<ForeignJob>>, Failure> {
    let (run, cut, migration, places) = {
        let run = held.run();
        let jobs: BTreeSet<JobId> = run.submitted().filter_map(|p| p.intent.job.clone()).collect();
        let at_cut = |table: &TableRef| run.tables.get(table)?.snapshot.meta.as_ref()?.location();
        let now = |table: &TableRef| seen?.tables.get(table)?.as_ref().and_then(Table::location);
        let place = |table: &TableRef| t.location.clone().or_else(|| now(table)).or_else(|| at_cut(table));
        let mut places: BTreeMap<Option<Location>, Vec<&TableRef>> = BTreeMap::new();
        for table in &tables {
            places.entry(place(table)).or_default().push(table);
        }
        (held.id(), run.cut, jobs, places)
    };
    let mut found: BTreeMap<TableRef, Vec<ForeignJob>> = tables.iter().map(|t| (t.clone(), Vec::new())).collect();
    let labels = held.labels();
    for (place, tables) in places {
        // Without an instant or a region there is no question.
        let (Some(place), Some(cut)) = (place, cut) else {
            continue;
        };
        let asked = Question {
            what: "writers",
            location: Some(&place),
            labels: &labels,
            params: &[],
        };
        let text = question(api.project(), &place, cut, &tables);
        match query(api, &asked, &text, None).await {
            Ok((rows, ..)) => {
                for (table, jobs) in of_others(&rows, &run, &migration) {
                    found.entry(table).and_modify(|known| known.extend(jobs));
                }
            }
            Err(e) => {
                t.go_on("run the same command again")?;
                if t.verbose {
                    t.tell(&format!("who else wrote in {place} is not known ({e})"));
                }
            }
        }
    }
    Ok(found)
}
