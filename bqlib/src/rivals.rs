//! Other runs over the same tables that this state directory need not know: found in BigQuery by their snapshots, told apart by their jobs.
//! A run that protects a table as absent has no snapshot of it: only the state directory that knows the run tells.
//!
//! Before bq-run submits, it *announces*: a job of the run's own, which anybody can look up by its ID, and whose creation time BigQuery
//! gives. Only then it looks for others. Of two that announce at once each sees the other, whoever looks first; the earlier one goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Api, Job, Listed};
use crate::clock::{from_millis, later};
use crate::exit::Failure;
use crate::names::{DatasetRef, JobId, Location, RunId, TableRef};
use crate::perform::{Ended, Held, of_job_error, taken};
use crate::sql::{ANNOUNCE, PLACE_LABEL, RUN_LABEL, STATE_LABEL};
use crate::state::{Run, Step};

/// How long after its announcement a run may submit. Then it must announce anew.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// How long an announcement keeps others away: twice as long, for two machines do not read BigQuery's clock alike.
const RESPECTED: Duration = Duration::from_secs(10 * 60);

/// So many attempts in a row without a job: there are no more.
const GAPS: u32 = 4;

/// A run whose snapshots say that it is open, and one of the tables it shares with us.
#[derive(Clone, Debug)]
pub struct Open {
    /// The run.
    pub run: RunId,
    /// A table that both protect.
    pub table: TableRef,
    /// Where its jobs may be: where that table is, and, of a run over several regions, what its snapshots say.
    pub places: BTreeSet<Location>,
}

/// A protected table of ours, and what tells other runs' snapshots of it: where they are, and how they are called but for the run at the
/// end.
#[derive(Clone, Debug)]
pub struct Shared {
    table: TableRef,
    location: Option<Location>,
    home: DatasetRef,
    stem: String,
}

impl Shared {
    /// A table, by the name of its snapshot of a run; `None`: that is not called as ours are.
    pub fn of(table: &TableRef, location: Option<Location>, snapshot: &TableRef, run: &RunId) -> Option<Shared> {
        Some(Shared {
            table: table.clone(),
            location,
            home: snapshot.dataset_ref(),
            stem: snapshot.table.as_str().strip_suffix(run.as_str())?.to_owned(),
        })
    }

    /// A table whose snapshots of any run are beside it, or in the dataset `apart`; where its jobs are is not known.
    pub fn wherever(table: &TableRef, apart: Option<&DatasetRef>) -> Option<Shared> {
        let any: RunId = "any".parse().ok()?;
        Shared::of(table, None, &table.snapshot_name(&any, apart).ok()?, &any)
    }

    /// The table.
    pub fn table(&self) -> &TableRef {
        &self.table
    }

    /// Whether this is the name of the table's snapshot of that run.
    pub fn has(&self, run: &RunId, snapshot: &TableRef) -> bool {
        let name = snapshot.table.as_str().strip_prefix(&self.stem);
        self.home == snapshot.dataset_ref() && name == Some(run.as_str())
    }
}

/// Everything in the datasets where our own snapshots of these tables are.
///
/// # Errors
/// A dataset cannot be listed.
pub async fn beside(api: &Api<'_>, tables: &[Shared]) -> Result<Vec<Listed>, Failure> {
    let datasets: BTreeSet<&DatasetRef> = tables.iter().map(|t| &t.home).collect();
    let mut all = Vec::new();
    for dataset in datasets {
        let listed = api.tables(dataset).await;
        all.extend(listed.map_err(|e| e.failure(&format!("listing {dataset}")))?);
    }
    Ok(all)
}

/// PURE: the runs that have an open snapshot of one of these tables among what is [`beside`] our own.
pub fn open_over(beside: &[Listed], tables: &[Shared]) -> BTreeMap<RunId, Open> {
    let mut open = BTreeMap::new();
    for entry in beside
        .iter()
        .filter(|entry| entry.kind == "SNAPSHOT" && entry.label(STATE_LABEL) == Some("open"))
    {
        let Some(run) = entry.label(RUN_LABEL).and_then(|run| run.parse::<RunId>().ok()) else {
            continue;
        };
        // A copy that a restore kept carries the run's label too; only `<table>_snapshot_<run>` protects a table.
        if let Some(shared) = tables.iter().find(|t| t.has(&run, &entry.table)) {
            let found = open.entry(run.clone()).or_insert_with(|| Open {
                run,
                table: shared.table.clone(),
                places: BTreeSet::new(),
            });
            found.places.extend(shared.location.clone());
            found.places.extend(places_said(|label| entry.label(label)));
        }
    }
    open
}

/// PURE: the runs among those known here that share with ours a table that one of the two protects as absent, and are not at an end.
pub fn unseen(ours: &Run, known: &[Run]) -> BTreeMap<RunId, Open> {
    let others = known
        .iter()
        .filter(|run| run.created.run != ours.created.run && !run.status.is_settled());
    let open = others.filter_map(|run| {
        let absent = |table: &&TableRef| {
            let of = |run: &Run| run.tables.get(*table).map(|p| p.snapshot.absent);
            matches!((of(ours), of(run)), (Some(a), Some(b)) if a || b)
        };
        let table = run.tables.keys().find(absent)?.clone();
        let of_tables = run.tables.values().filter_map(|p| p.snapshot.meta.as_ref()?.location());
        let of_jobs = run.steps.values().filter_map(|step| step.intent.location.clone());
        let (places, run) = (of_tables.chain(of_jobs).collect(), run.created.run.clone());
        Some((run.clone(), Open { run, table, places }))
    });
    open.collect()
}

/// Where the jobs of a run may be, by the labels of one of its snapshots.
pub fn places_said<'l>(label: impl Fn(&str) -> Option<&'l str>) -> Vec<Location> {
    let said = (1..).map_while(|n| label(&format!("{PLACE_LABEL}{n}")));
    said.filter_map(|place| place.parse().ok()).collect()
}

/// The first job of a run's migration.
///
/// # Errors
/// It cannot be asked for.
pub async fn migration_of(api: &Api<'_>, open: &Open, location: Option<&Location>) -> Result<Option<Job>, Failure> {
    let job = JobId::of_step(&open.run, &Step::Migrate(1).to_string(), None, 1);
    // What only took the ID was never a migration.
    Ok(of_run(api, open, &job, location).await?.filter(|job| !job.is_fence()))
}

/// A job of another run, wherever it may be; `location`: where our own jobs were said to run.
async fn of_run(api: &Api<'_>, open: &Open, id: &JobId, location: Option<&Location>) -> Result<Option<Job>, Failure> {
    let more = location.filter(|location| !open.places.iter().any(|place| place.is(location)));
    let found = api.job_in_any(id, open.places.iter().chain(more).map(Some)).await;
    found.map_err(|e| e.failure(&format!("looking for run {}", open.run)))
}

/// What another run has made known of itself.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    submitted: bool,
    /// When it announced, last.
    announced: Option<Timestamp>,
}

/// PURE: whether a run that announced at `ours` must give way to another, at `now` of BigQuery's clock; and why.
fn gives_way(ours: (Timestamp, &RunId), other: &Known, run: &RunId, now: Timestamp) -> Option<&'static str> {
    if other.submitted {
        return Some("is submitted and not settled");
    }
    let announced = other.announced?;
    // It died, or gave way itself, long ago: it can no longer submit.
    if later(announced, RESPECTED) <= now {
        return None;
    }
    ((announced, run) < ours).then_some("is about to be submitted")
}

/// Announces that the run is about to be submitted, and refuses (4) if another over the same tables was first, but for `harmless` ones.
/// `known`: the runs of this state directory, as they are once it is announced.
/// Returns until when it may be submitted, by BigQuery's clock.
///
/// # Errors
/// Another run was first, or it cannot be established.
pub async fn clear_the_way(
    api: &Api<'_>,
    held: &Held<'_>,
    location: Option<&Location>,
    known: impl FnOnce() -> Result<(Vec<Run>, BTreeSet<RunId>), Failure>,
) -> Result<Timestamp, Failure> {
    let us = held.id();
    let announced = match held.statement(api, Step::Announce, None, location, ANNOUNCE).await? {
        Ended::Done(job) => created_at(api, &job).await?,
        Ended::Failed(e) => return Err(of_job_error(&e, "announcing the migration", "job of the announcement")),
        Ended::Taken(job) => return Err(taken(&job)),
    };
    let tables: Vec<Shared> = held
        .run()
        .tables
        .values()
        .filter_map(|p| {
            let home = p.snapshot.meta.as_ref().and_then(crate::meta::TableMeta::location);
            let table = &p.snapshot.table;
            // Another run may have protected it while it was there.
            let absent = || {
                p.snapshot
                    .absent
                    .then(|| table.with_suffix(&format!("_snapshot_{us}")).ok())
            };
            let snapshot = p.snapshot.snapshot.clone().or_else(|| absent().flatten())?;
            Shared::of(table, home, &snapshot, &us)
        })
        .collect();
    let (known, harmless) = known()?;
    let mut open = unseen(&held.run(), &known);
    // A journal that says so is enough: its job may still be on its way.
    let pending = |run: &Run| run.is_pending() && open.contains_key(&run.created.run);
    let pending: BTreeSet<RunId> = known
        .iter()
        .filter(|run| pending(run))
        .map(|run| run.created.run.clone())
        .collect();
    for (run, found) in open_over(&beside(api, &tables).await?, &tables) {
        match open.get_mut(&run) {
            Some(open) => open.places.extend(found.places),
            None => drop(open.insert(run, found)),
        }
    }
    for (run, open) in open {
        if run == us || harmless.contains(&run) {
            continue;
        }
        let known = Known {
            submitted: pending.contains(&run) || migration_of(api, &open, location).await?.is_some(),
            announced: announcement(api, &open, location).await?,
        };
        if let Some(how) = gives_way((announced, &us), &known, &run, api.now()) {
            let what = format!(
                "another run over `{}`, `{run}`, {how}: a second migration would make its rollback unsafe",
                open.table
            );
            let hint = format!(
                "nothing was submitted; once that run is settled (bq-restore --run {run}, where it was begun), run the line again"
            );
            return Err(Failure::refused(what, format!("table {}", open.table), hint).about(&open.table));
        }
    }
    Ok(later(announced, LEASE))
}

/// When a run announced last. Each time it did it took the next attempt's ID.
async fn announcement(api: &Api<'_>, open: &Open, location: Option<&Location>) -> Result<Option<Timestamp>, Failure> {
    let mut newest = None;
    // An attempt that BigQuery refused has left no job, and there may be one after it.
    let (mut attempt, mut missing) = (0, 0);
    while missing < GAPS {
        attempt += 1;
        let id = JobId::of_step(&open.run, &Step::Announce.to_string(), None, attempt);
        match of_run(api, open, &id, location).await? {
            None => missing += 1,
            Some(job) => {
                missing = 0;
                newest = Some(created_at(api, &job).await?);
            }
        }
    }
    Ok(newest)
}

/// When BigQuery made a job.
async fn created_at(api: &Api<'_>, job: &Job) -> Result<Timestamp, Failure> {
    if let Some(ms) = job.created_ms() {
        return Ok(from_millis(ms));
    }
    let found = match job.id() {
        Some(id) => api
            .job(&id, job.location().as_ref())
            .await
            .map_err(|e| e.failure("reading when a job was made"))?,
        None => None,
    };
    // Without it, last of all: whoever does not know his place gives way.
    Ok(found
        .and_then(|job| job.created_ms())
        .map_or(Timestamp::MAX, from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Status;

    #[test]
    fn of_two_that_announced_exactly_one_goes_on() {
        let (a, b): (RunId, RunId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let known = |submitted, announced: Option<i64>| Known {
            submitted,
            announced: announced.map(at),
        };
        for (ours, theirs) in [(1, 2), (2, 1), (1, 1)] {
            let a_waits = gives_way((at(ours), &a), &known(false, Some(theirs)), &b, at(3)).is_some();
            let b_waits = gives_way((at(theirs), &b), &known(false, Some(ours)), &a, at(3)).is_some();
            assert!(a_waits != b_waits, "{ours} {theirs}");
        }
        assert!(gives_way((at(5), &a), &known(true, None), &b, at(9)).is_some());
        assert!(gives_way((at(5), &a), &known(true, Some(9)), &b, at(9)).is_some());
        assert!(gives_way((at(5), &a), &known(false, None), &b, at(9)).is_none());
        // One that announced eleven minutes ago and never submitted is dead.
        assert!(gives_way((at(700), &a), &known(false, Some(1)), &b, at(701)).is_none());
    }

    /// A run of this name over these tables, each absent at its cut or not, in this state.
    fn run_over(name: &str, tables: &[(&str, bool)], status: Status) -> Run {
        use crate::state::{Created, Event, VERSION};
        let created = Event::Created(Created {
            v: VERSION,
            run: name.parse().unwrap(),
            project: "p".parse().unwrap(),
            endpoint: String::new(),
            tool: String::new(),
            version: String::new(),
            nonce: String::new(),
            unprotected: false,
            keep_ms: None,
            given: false,
        });
        let mut run = Run::begin(Timestamp::UNIX_EPOCH, &created).unwrap();
        for (table, absent) in tables {
            let record = serde_json::json!({"run": name, "table": table, "absent": absent, "meta": {"location": "EU"}});
            let event = Event::Table(serde_json::from_value(record).unwrap());
            run.apply(Timestamp::UNIX_EPOCH, &event).unwrap();
        }
        run.status = status;
        run
    }

    #[test]
    fn who_shares_an_absent_table_is_known_from_journals() {
        let ours = run_over("ours", &[("p.d.new", true), ("p.d.t", false)], Status::Protected);
        for (tables, status, sees) in [
            (&[("p.d.new", true)][..], Status::Migrated, true),
            (&[("p.d.new", false)], Status::Protected, true),
            (&[("p.d.t", true)], Status::Stuck, true),
            // By its snapshot BigQuery tells of it.
            (&[("p.d.t", false)], Status::Migrated, false),
            (&[("p.d.other", true)], Status::Migrated, false),
            (&[("p.d.new", true)], Status::Accepted, false),
            (&[("p.d.new", true)], Status::RolledBack, false),
            (&[("p.d.new", true)], Status::Abandoned, false),
        ] {
            let known = [ours.clone(), run_over("other", tables, status)];
            let found = unseen(&ours, &known);
            assert_eq!(found.len() == 1, sees, "{tables:?} {status}");
            let eu: BTreeSet<Location> = [("EU".parse().unwrap())].into();
            assert!(
                found
                    .values()
                    .all(|open| open.run.as_str() == "other" && open.places == eu)
            );
        }
    }

    #[test]
    fn snapshots_are_known_by_their_names() {
        let table = |name: &str| TableRef::parse(name, None).unwrap();
        let run = |name: &str| name.parse::<RunId>().unwrap();
        let of = |snapshot: &str| Shared::of(&table("p.d.t"), None, &table(snapshot), &run("r1"));
        let shared = of("p.d.t_snapshot_r1").unwrap();
        assert!(shared.has(&run("r2"), &table("p.d.t_snapshot_r2")));
        assert!(!shared.has(&run("r2"), &table("p.d.t_before_restore_r2")));
        assert!(!shared.has(&run("r2"), &table("p.e.t_snapshot_r2")));
        assert!(of("p.d.t_copy").is_none());
    }
}
