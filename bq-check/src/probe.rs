//! `--probe`: the same query on the snapshots and on the live tables, in turn, and what each took.
//!
//! Here is the asking; `speed` judges, and `bqlib::retarget` writes the query anew. Whether that is the same query is
//! asked of BigQuery: its dry runs name the tables that each reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bqlib::api::{Api, ApiError, Job, Limits};
use bqlib::count::{Question as Query, foresee, query_for};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{Location, RunId, TableRef};
use bqlib::record::{Check, Severity, Snapshot};
use bqlib::retarget::retarget;
use bqlib::runs::look;
use bqlib::script;
use bqlib::source;
use bqlib::tool::{STOPPED, Tool};
use bqlib::variables::NoValue;

use crate::questions::{Questions, asked_in_vain};
use crate::speed::{Judged, Next, Race, Side, Took};

/// Of more tables than these BigQuery does not name all.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2>.
const MOST_TABLES: usize = 50;

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// A query that must not have become slower: it is run on the snapshots and on the live tables in turn; repeatable
    #[arg(long, value_name = "FILE.sql")]
    probe: Vec<PathBuf>,
    /// How many times the snapshots' slot time and bytes a probe may take on the live tables
    #[arg(long, value_name = "F", default_value_t = 1.5, value_parser = slowdown, requires = "probe")]
    max_slowdown: f64,
    /// How often a probe runs on each side, at least 3; up to three times as often if the times differ too much
    #[arg(long, value_name = "N", default_value_t = 5, requires = "probe",
        value_parser = clap::value_parser!(u16).range(3..=100))]
    rounds: u16,
}

fn slowdown(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if f64::is_finite(factor) && factor > 1.0 => Ok(factor),
        _ => Err("it is a number greater than 1, such as 1.5".to_owned()),
    }
}

/// The probes that were asked for.
pub(crate) struct Probes {
    probes: Vec<Probe>,
    most: f64,
    rounds: usize,
}

struct Probe {
    name: String,
    sql: String,
}

impl Probes {
    pub(crate) fn is_empty(&self) -> bool {
        self.probes.is_empty()
    }
}

/// Reads the files; `with`: what the `${NAME}`s in them stand for.
///
/// # Errors
/// One cannot be read, does not hold one statement, or a variable in it has no value (2).
pub(crate) fn read(flags: &Flags, t: &Tool, with: &Questions) -> Result<Probes, Failure> {
    let probes = flags.probe.iter().map(|path| read_file(path, t, with));
    Ok(Probes {
        probes: probes.collect::<Result<_, _>>()?,
        most: flags.max_slowdown,
        rounds: usize::from(flags.rounds),
    })
}

fn read_file(path: &Path, t: &Tool, with: &Questions) -> Result<Probe, Failure> {
    let name = path.display().to_string();
    let wrong = |what: &str, hint: &str| Failure::usage(what, name.clone(), hint);
    let text = source::statements_text(t, path, "the probe", "name a readable file with `--probe`")?;
    // It runs on both sides as it is: what was before has no place of its own in it.
    let no_before = |_: &str| {
        Err(NoValue {
            what: "a probe reads the snapshots by itself".to_owned(),
            hint: "write the table's name as it is",
        })
    };
    let text = with.variables.replaced(t, &name, &text, &no_before)?.text;
    match script::statements(&text)[..] {
        [sql] => Ok(Probe {
            name: path
                .file_stem()
                .map(|s| s.to_string_lossy().into_owned())
                .unwrap_or_default(),
            sql: sql.to_owned(),
        }),
        [] => Err(wrong("the probe holds no statement", "write one query into it")),
        [..] => Err(wrong(
            "the probe holds several statements",
            "write each query into a file of its own",
        )),
    }
}

/// What all probes of a run are asked with.
pub(crate) struct Asking<'a> {
    pub(crate) t: &'a Tool,
    pub(crate) api: &'a Api<'a>,
    pub(crate) run: &'a RunId,
    pub(crate) snapshots: &'a [Snapshot],
    pub(crate) location: Option<&'a Location>,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// The parameters of the queries, how long each may take and what it may bill.
    pub(crate) with: &'a Questions,
}

/// Why a probe has no answer, and the code that this is.
struct Unasked {
    why: String,
    exit: Exit,
}

impl Unasked {
    fn no(why: impl Into<String>) -> Unasked {
        let (why, exit) = (why.into(), Exit::No);
        Unasked { why, exit }
    }

    fn of(error: &ApiError, side: Side) -> Unasked {
        let job = error.job.as_ref().map_or_else(String::new, |job| format!(" ({job})"));
        let why = match side {
            Side::Snapshots => format!("on the snapshots: {error}{job}"),
            Side::Live => format!("on the live tables: {error}{job}"),
        };
        let exit = asked_in_vain(error);
        Unasked { why, exit }
    }
}

/// A query on both sides.
struct Pair {
    live: String,
    snapshots: String,
    place: Option<Location>,
    /// What both together process, by BigQuery's estimate.
    bytes: u64,
}

impl Asking<'_> {
    /// Asks all probes, one query at a time, for they would slow one another; a record each, and the gravest code of
    /// those that could not be asked.
    pub(crate) async fn ask(&self, asked: &Probes) -> (Vec<Check>, Exit) {
        let mut exit = Exit::Ok;
        let mut checks = Vec::new();
        for probe in &asked.probes {
            let mut check = Check {
                run: Some(self.run.clone()),
                name: format!("probe:{}", probe.name),
                table: None,
                ok: None,
                severity: Severity::Error,
                want: format!("at most {} times the snapshots' slot time and bytes", asked.most),
                got: String::new(),
                detail: None,
            };
            match self.compare(probe, asked).await {
                Ok(judged) => (check.ok, check.got, check.detail) = (judged.ok, judged.got, Some(judged.detail)),
                Err(unasked) => {
                    check.got = format!("could not be asked: {}", unasked.why);
                    exit = exit.or_graver(unasked.exit);
                }
            }
            checks.push(check);
        }
        (checks, exit)
    }

    async fn compare(&self, probe: &Probe, asked: &Probes) -> Result<Judged, Unasked> {
        self.go_on()?;
        let pair = self.on_both_sides(&probe.sql).await?;
        let (name, rounds) = (&probe.name, asked.rounds);
        let bytes = |rounds: usize| pair.bytes.saturating_mul(rounds as u64 + 1);
        let (usual, most) = (bytes(rounds), bytes(3 * rounds));
        self.t.tell(&format!(
            "probe {name}: {rounds} rounds and one to warm up, about {usual} bytes; at most {} rounds, {most} bytes",
            3 * rounds,
        ));
        let mut race = Race::new(asked.rounds, asked.most);
        loop {
            match race.next() {
                Next::Run(side) => race.add(self.took(&pair, side).await?),
                Next::Done(judged) => return Ok(judged),
            }
        }
    }

    /// The query as it stands, and as it reads the snapshots, if BigQuery agrees that it does and changes nothing else.
    async fn on_both_sides(&self, sql: &str) -> Result<Pair, Unasked> {
        let live = self.plan(sql, Side::Live).await?;
        match live.statement_type() {
            "SELECT" => {}
            kind => return Err(Unasked::no(format!("it is a {kind}, and a probe must only read"))),
        }
        let reads = live.reads();
        if reads.len() >= MOST_TABLES {
            let why = format!(
                "it reads {} tables or more, and BigQuery does not name them all",
                reads.len()
            );
            return Err(Unasked::no(why));
        }
        self.no_views(&reads).await?;
        let snapshot_of = self.pairs(&reads)?;
        let other = |table: &TableRef| snapshot_of.get(table).copied();
        let text = retarget(sql, self.api.project(), other)
            .ok_or_else(|| Unasked::no("its words cannot be told apart, so no name in it can be replaced"))?;
        let there = self.plan(&text, Side::Snapshots).await?;
        let name = |table: &String| match TableRef::parse(table, None).ok().and_then(|t| other(&t)) {
            Some(snapshot) => snapshot.to_string(),
            None => table.clone(),
        };
        let wanted: BTreeSet<String> = reads.iter().map(name).collect();
        if there.reads() != wanted || there.statement_type() != live.statement_type() {
            let odd: Vec<String> = there.reads().symmetric_difference(&wanted).cloned().collect();
            let why = "not every name of a protected table in it could be replaced by its snapshot";
            return Err(Unasked::no(format!("{why} ({})", odd.join(", "))));
        }
        let bytes = |plan: &Job| plan.bytes_processed().unwrap_or(0);
        Ok(Pair {
            live: sql.to_owned(),
            snapshots: text,
            place: self.location.cloned().or_else(|| live.location()),
            bytes: bytes(&live).saturating_add(bytes(&there)),
        })
    }

    /// The protected tables among those that are read, each with its snapshot.
    fn pairs(&self, reads: &BTreeSet<String>) -> Result<BTreeMap<&TableRef, &TableRef>, Unasked> {
        let protected: Vec<&Snapshot> = self
            .snapshots
            .iter()
            .filter(|s| reads.contains(&s.table.to_string()))
            .collect();
        if let Some(absent) = protected.iter().find(|s| s.snapshot.is_none()) {
            let why = match absent.absent {
                true => "did not exist at the cut: there is nothing to compare with",
                false => "has no snapshot to compare with",
            };
            return Err(Unasked::no(format!("{} {why}", absent.table)));
        }
        let pairs = protected.into_iter().map(|s| Some((&s.table, s.snapshot.as_ref()?)));
        let pairs: BTreeMap<_, _> = pairs.flatten().collect();
        match pairs.is_empty() {
            false => Ok(pairs),
            true => Err(Unasked::no(
                "it reads none of the protected tables by its name, so there is nothing to compare",
            )),
        }
    }

    /// A view reads the live tables on both sides, whatever the query around it reads.
    async fn no_views(&self, reads: &BTreeSet<String>) -> Result<(), Unasked> {
        let protected = |table: &TableRef| self.snapshots.iter().any(|s| s.table == *table);
        let named = reads.iter().filter_map(|table| TableRef::parse(table, None).ok());
        let others: Vec<TableRef> = named.filter(|table| !protected(table)).collect();
        let found = look(self.api, self.t.jobs, &others).await.map_err(|failure| Unasked {
            why: failure.what,
            exit: failure.exit,
        })?;
        let view = |found: &Option<bqlib::api::Table>| found.as_ref().is_some_and(|t| t.kind().ends_with("VIEW"));
        match found.iter().find(|(_, found)| view(found)) {
            None => Ok(()),
            Some((table, _)) => Err(Unasked::no(format!(
                "{table} is a view: what it reads cannot be replaced by snapshots"
            ))),
        }
    }

    async fn plan(&self, sql: &str, side: Side) -> Result<Job, Unasked> {
        let asked = self.query(self.location);
        let plan = foresee(self.api, &asked, sql).await;
        plan.map_err(|e| Unasked::of(&e, side))
    }

    /// What a probe is asked with, there.
    fn query<'q>(&'q self, location: Option<&'q Location>) -> Query<'q> {
        Query {
            what: "probe",
            location,
            labels: self.labels,
            params: &self.with.params,
        }
    }

    /// Fails if a signal told the program to stop.
    fn go_on(&self) -> Result<(), Unasked> {
        let stopped = |signal| Unasked {
            why: STOPPED.to_owned(),
            exit: Exit::Signal(signal),
        };
        self.t.stopped_by().map_or(Ok(()), |signal| Err(stopped(signal)))
    }

    /// Runs the query on one side.
    async fn took(&self, pair: &Pair, side: Side) -> Result<Took, Unasked> {
        self.go_on()?;
        let sql = match side {
            Side::Snapshots => &pair.snapshots,
            Side::Live => &pair.live,
        };
        let question = self.query(pair.place.as_ref());
        let limits = Limits {
            max_bytes_billed: self.with.max_bytes_billed,
            no_cache: true,
            ..Limits::default()
        };
        let failed = |e: ApiError| Unasked::of(&e, side);
        let (_, id, location) = query_for(self.api, &question, sql, Some(0), &limits, self.with.timeout)
            .await
            .map_err(failed)?;
        let gone = || Unasked {
            why: format!("BigQuery does not know job {id} any more"),
            exit: Exit::Retry,
        };
        let mut job = self
            .api
            .job(&id, location.as_ref())
            .await
            .map_err(failed)?
            .ok_or_else(gone)?;
        if !job.is_done() {
            // Its rows may be there a moment before its statistics.
            (_, job) = self.api.wait(job, &id, true).await.map_err(failed)?;
        }
        if job.is_from_cache() {
            return Err(Unasked::no(format!("BigQuery answered job {id} from its cache")));
        }
        Ok(Took {
            slot_ms: job.slot_ms(),
            bytes: job.bytes_processed(),
        })
    }
}
