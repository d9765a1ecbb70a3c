//! `bq-snap --preflight`: asks everything about every table, makes nothing, and says what was tested, what is lacking,
//! what to type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bqlib::api::Api;
use bqlib::clock::{from_millis, later, millis};
use bqlib::count::{self, Question as Query};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{DatasetRef, Location, RunId, TableRef};
use bqlib::perform::at_a_time;
use bqlib::rivals;
use bqlib::sql;
use bqlib::state::Run;
use bqlib::tables::Listed;
use bqlib::tool::Tool;
use serde_json::json;

use crate::absent::Absent;
use crate::asking::{self, Known, Question};
use crate::planning::{self, Datasets, Found, Planned, tell_all};
use crate::preflight::{self, Finding};
use crate::rights::{self, JOBS, OF_DATASETS, Right};
use crate::{Args, absent, limits, pending};

/// A line of the report.
struct Line {
    check: &'static str,
    place: String,
    /// `ok`, `refused`, `warning`; `unknown`: it cannot be known beforehand.
    result: &'static str,
    detail: String,
}

/// The report: its lines, and what is wrong.
#[derive(Default)]
struct Report {
    lines: Vec<Line>,
    findings: Vec<Finding>,
}

impl Report {
    fn line(&mut self, check: &'static str, place: impl ToString, result: &'static str, detail: impl Into<String>) {
        self.lines.push(Line {
            check,
            place: place.to_string(),
            result,
            detail: detail.into(),
        });
    }

    /// A refusal of a guard, or a question that was denied: then the run would not start either.
    fn refused(&mut self, check: &'static str, failure: Failure) {
        let place = failure
            .table
            .as_ref()
            .map_or_else(|| failure.at.clone(), ToString::to_string);
        self.line(check, place, "refused", failure.what.clone());
        let failure = failure.with_exit(Exit::Refused);
        self.findings.push(Finding { refuses: true, failure });
    }

    /// A refusal or a denial is a line of the report; any other failure ends it.
    fn unless_refused<T>(&mut self, check: &'static str, result: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(failure) if matches!(failure.exit, Exit::Refused | Exit::Denied) => {
                self.refused(check, failure);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn found(&mut self, check: &'static str, findings: Vec<Finding>) {
        for finding in findings {
            let failure = &finding.failure;
            let place = failure
                .table
                .as_ref()
                .map_or_else(|| failure.at.clone(), ToString::to_string);
            let result = if finding.refuses { "refused" } else { "warning" };
            self.line(check, place, result, failure.what.clone());
            self.findings.push(finding);
        }
    }

    /// Prints it all; 4 if anything refuses.
    fn tell(self, t: &Tool) -> Result<Exit, Failure> {
        let rows = self.lines.into_iter().map(|line| {
            vec![
                json!(line.check),
                json!(line.place),
                json!(line.result),
                json!(line.detail),
            ]
        });
        t.out
            .print_rows("preflight", &["check", "place", "result", "detail"], rows.collect())?;
        let (refusals, warnings): (Vec<Finding>, Vec<Finding>) = self.findings.into_iter().partition(|f| f.refuses);
        for warning in &warnings {
            t.warn(&warning.failure);
        }
        tell_all(t, refusals.into_iter().map(|f| f.failure).collect())?;
        Ok(Exit::Ok)
    }
}

/// Asks everything, and ends with 0 or 4.
pub(crate) async fn report(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    list: &[(TableRef, Listed)],
    runs: &[Run],
    run: &RunId,
    expire: bool,
) -> Result<Exit, Failure> {
    t.begin(None, Some(api.project()))?;
    t.warn_of_endpoint();
    let mut report = Report::default();
    let names: BTreeSet<&TableRef> = list.iter().map(|(table, _)| table).collect();
    report.unless_refused("runs", pending::here(runs, &names))?;

    let looked = planning::look(args, t, api, list, run).await?;
    let (planned, mut absent) = planning::sorted(readable(t, &mut report, looked)?.into_iter());
    let datasets = datasets(t, api, &mut report, &planned, &absent).await?;
    absent::place(t, &mut absent, &datasets);
    let guarded = planning::guarded(args, t, api, &planned, &datasets).await;
    for (p, result) in planned.iter().zip(guarded) {
        if report.unless_refused("table", result)?.is_some() {
            report.line("table", &p.table, "ok", told_of(p));
        }
    }
    for one in &absent {
        report.line(
            "table",
            &one.table,
            "ok",
            "it does not exist, and is protected as absent",
        );
    }
    let shared = pending::shared(run, &planned, &absent);
    let beside = report.unless_refused("runs", rivals::beside(api, &shared).await)?;
    if let Some(beside) = &beside {
        report.unless_refused("runs", pending::elsewhere(t, api, runs, &shared, beside).await)?;
    }
    let known = Known {
        planned: &planned,
        absent: &absent,
        datasets: &datasets,
        beside: beside.as_deref().unwrap_or_default(),
        shared: &shared,
        runs,
        run,
        expire,
    };
    rights(t, api, &mut report, &known).await?;
    report.found("datasets and limits", asking::of_facts(t, api, &known));
    for (table, made) in asking::numbers(t, &known) {
        report.line("snapshots", table, "ok", limits::told(&made, api.now()));
    }
    fine_grained(t, api, &mut report, &planned, &absent).await;
    organisations(&mut report, &planned);
    report.tell(t)
}

/// The tables that could be read; a table that is not there ends the program, one that may not be read is refused.
fn readable(t: &Tool, report: &mut Report, looked: planning::Looked) -> Result<Vec<Found>, Failure> {
    let (mut planned, mut others) = (Vec::new(), Vec::new());
    for (_, result) in looked {
        match report.unless_refused("rights", result) {
            Ok(one) => planned.extend(one),
            Err(failure) => others.push(failure),
        }
    }
    tell_all(t, others).map(|()| planned)
}

fn told_of(p: &Planned) -> String {
    let place = p.found.location().map_or_else(String::new, |l| format!(" in {l}"));
    let buffer = match p.found.streaming_buffer() {
        None => "nothing in the streaming buffer".to_owned(),
        Some(rows) => format!("about {rows} rows in the streaming buffer are left out"),
    };
    format!("a table{place} that a snapshot can hold; {buffer}")
}

/// Every dataset that the tables and their snapshots are in, as far as they may be read.
async fn datasets(
    t: &Tool,
    api: &Api<'_>,
    report: &mut Report,
    planned: &[Planned],
    absent: &[Absent],
) -> Result<Datasets, Failure> {
    let of = |p: &Planned| [p.snapshot.dataset_ref(), p.table.dataset_ref()];
    let mut names: BTreeSet<DatasetRef> = planned.iter().flat_map(of).collect();
    names.extend(absent.iter().map(|a| a.table.dataset_ref()));
    let found = at_a_time(t.jobs, &names, async |name: &DatasetRef| {
        (name.clone(), planning::dataset(api, name, absent).await)
    })
    .await;
    let found: BTreeMap<DatasetRef, _> = found.into_iter().collect();
    let mut datasets = Datasets::new();
    for (name, result) in found {
        let Some(dataset) = report.unless_refused("datasets and limits", result)? else {
            continue;
        };
        let default = |ms: Option<u64>| ms.map_or_else(|| "no default".to_owned(), preflight::hours);
        let detail = format!(
            "tables expire: {}; partitions: {}",
            default(dataset.table_expiration_ms),
            default(dataset.partition_expiration_ms)
        );
        report.line("expirations", &name, "ok", detail);
        let window = Duration::from_secs(3600 * dataset.time_travel_hours.unwrap_or(bqlib::deadline::WINDOW_HOURS));
        if planned.iter().any(|p| p.table.dataset_ref() == name) {
            let until = from_millis(millis(later(api.now(), window)) / 1000 * 1000);
            let detail = format!("a cut taken now can be read from the tables' own past until {until}");
            report.line("time travel", &name, "ok", detail);
        }
        datasets.insert(name, dataset);
    }
    Ok(datasets)
}

/// The rights on every table, with its row policies, and where the snapshots are to be.
async fn rights(t: &Tool, api: &Api<'_>, report: &mut Report, known: &Known<'_>) -> Result<(), Failure> {
    let policies = policies(t, api, report, known.planned).await?;
    let mut questions: Vec<Question> = known
        .planned
        .iter()
        .map(|p| Question {
            on: p.table.clone(),
            of: Some(1),
            wanted: rights::on_table(p.apart.is_some(), policies.contains(&p.table)),
        })
        .collect();
    let snapshots = asking::of_snapshots(known, !policies.is_empty());
    if let (None, Some(home)) = (&snapshots, known.planned.iter().find_map(|p| p.apart.as_ref())) {
        let detail = "nothing is in it yet that could be asked about: the first snapshot will tell";
        report.line("rights", home, "unknown", detail);
    }
    questions.extend(snapshots);
    let homes = known.planned.iter().map(|p| p.snapshot.dataset_ref());
    let homes: BTreeSet<DatasetRef> = homes
        .chain(known.absent.iter().map(|a| a.table.dataset_ref()))
        .collect();
    for home in homes {
        let detail = format!("{OF_DATASETS}: of rights on datasets BigQuery tells nothing: the first snapshot will");
        report.line("rights", home, "unknown", detail);
    }
    let answers = asking::ask_all(t, api, &questions).await?;
    let (findings, told) = asking::judge(t, &questions, &answers);
    let short = |rights: &[Right]| {
        let names = rights.iter().map(|right| right.name.trim_start_matches("bigquery."));
        names.collect::<Vec<_>>().join(", ")
    };
    for (question, told) in questions.iter().zip(told) {
        match told {
            Err(why) => report.line("rights", &question.on, "unknown", why),
            Ok(lacking) if lacking.is_empty() => report.line("rights", &question.on, "ok", short(&question.wanted)),
            Ok(lacking) => report.line("rights", &question.on, "lacking", short(&lacking)),
        }
    }
    report.findings.extend(findings);
    Ok(())
}

/// The tables that have row access policies.
async fn policies(
    t: &Tool,
    api: &Api<'_>,
    report: &mut Report,
    planned: &[Planned],
) -> Result<BTreeSet<TableRef>, Failure> {
    let found = at_a_time(t.jobs, planned, async |p: &Planned| {
        (p.table.clone(), api.row_policies(&p.table).await)
    })
    .await;
    let found: BTreeMap<TableRef, _> = found.into_iter().collect();
    let mut with = BTreeSet::new();
    for (table, result) in found {
        match result {
            Ok(policies) if policies.is_empty() => report.line("row policies", &table, "ok", "none"),
            Ok(policies) => {
                let filters: Vec<String> = policies.into_iter().map(|policy| policy.filter).collect();
                report.found("row policies", vec![preflight::of_row_policies(&table, &filters)]);
                with.insert(table);
            }
            Err(e) if e.lacks_the_method() || e.exit() == Exit::Denied => {
                let finding = Finding::warning(
                    format!("whether `{table}` has row access policies could not be learned: {e}"),
                    format!("table {table}"),
                    "grant `bigquery.rowAccessPolicies.list` (roles/bigquery.dataOwner has it), or look yourself",
                );
                report.found("row policies", vec![finding.about(&table)]);
            }
            Err(e) => return Err(e.failure(&format!("asking for the row access policies of {table}"))),
        }
    }
    Ok(with)
}

/// Fine-grained DML keeps a table from being snapshotted from its first UPDATE on, and `tables.get` does not tell of it:
/// one query a dataset.
async fn fine_grained(t: &Tool, api: &Api<'_>, report: &mut Report, planned: &[Planned], absent: &[Absent]) {
    let there = planned.iter().map(|p| (p.table.dataset_ref(), p.location.clone()));
    // Of a table that is not there nothing is learned, but whether such queries may be made at all.
    let gone = absent.iter().map(|a| (a.table.dataset_ref(), a.location.clone()));
    let places: BTreeMap<DatasetRef, Option<Location>> = there.chain(gone).collect();
    let labels = sql::labels(t.name, None);
    let found = at_a_time(
        t.jobs,
        &places,
        async |(name, location): (&DatasetRef, &Option<Location>)| {
            let query = Query {
                what: "preflight",
                location: location.as_ref(),
                labels: &labels,
                params: &[],
            };
            let rows = count::query(api, &query, &sql::fine_grained(name), None).await;
            (name.clone(), rows.map(|(rows, ..)| rows))
        },
    )
    .await;
    let found: BTreeMap<DatasetRef, _> = found.into_iter().collect();
    // No request tests this right, but these queries are jobs, as the run's first one is.
    let denied = found.values().filter_map(|result| result.as_ref().err());
    match denied.map(ToString::to_string).find(|why| why.contains(JOBS)) {
        None => report.line("rights", api.project(), "ok", "jobs.create"),
        Some(why) => report.found("rights", vec![rights::of_jobs(api.project(), &why)]),
    }
    for (name, result) in found {
        let rows = match result {
            Ok(rows) => rows,
            Err(e) => {
                let detail = format!("tables with it cannot be snapshotted; which have it could not be learned: {e}");
                report.line("fine-grained DML", &name, "unknown", detail);
                continue;
            }
        };
        let names: BTreeSet<&str> = rows.iter().filter_map(|row| row.get("table_name")?.as_str()).collect();
        let of_list = |p: &&Planned| p.table.dataset_ref() == name && names.contains(p.table.table.as_str());
        let with: Vec<Finding> = planned
            .iter()
            .filter(of_list)
            .map(|p| preflight::of_fine_grained(&p.table))
            .collect();
        if with.is_empty() {
            report.line("fine-grained DML", &name, "ok", "no table of the list has it");
        }
        report.found("fine-grained DML", with);
    }
}

/// Snapshots must stay in one organisation, and of which one a project is BigQuery's API does not tell.
fn organisations(report: &mut Report, planned: &[Planned]) {
    let pairs: BTreeSet<_> = planned
        .iter()
        .filter(|p| p.table.project != p.snapshot.project)
        .map(|p| (&p.table.project, &p.snapshot.project))
        .collect();
    for (table, snapshot) in pairs {
        let detail = format!("whether it and {snapshot} are of one organisation, as snapshots must be, is not told");
        report.line("organisation", table, "unknown", detail);
    }
}
