//! A lost journal: a run that this state directory does not know, rebuilt from what BigQuery has of it. Its snapshots are found by label and
//! by name, its migration by the job's ID. What they tell is decided in `plan::lost`; from there on all goes as with a journal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bqlib::api::{Api, Listed, Table};
use bqlib::clock::{from_millis, later};
use bqlib::exit::{Exit, Failure};
use bqlib::journal;
use bqlib::names::{DatasetRef, Location, RunId, TableRef};
use bqlib::perform::{Held, of_journal};
use bqlib::plan::lost::{Found, candidates, chosen, judge, keep_for, open_in, said, snapshots};
use bqlib::plan::restore::{Lost, Request};
use bqlib::record::Snapshot;
use bqlib::rivals::{Shared, open_over, places_said};
use bqlib::runs;
use bqlib::state::{Event, Intent, Run, Status};
use bqlib::tables::{self, Which};
use bqlib::tool::Tool;

use crate::choose::{IN_HAND, again};
use crate::finality::{files, first_file, nonce_of, places};
use crate::given::{nonce_of_the_run, records};
use crate::{Asked, settle};

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Only these tables of the run, or `dataset.*`; where its journal is lost: rebuild it from the snapshots found there.
    /// `-`: restore from the snapshot records on standard input, a run's stream or lines that name snapshots made by others
    #[arg(value_name = "TABLE", conflicts_with_all = ["pending", "list"])]
    tables: Vec<String>,
    /// With --pending: settle open runs over the tables of this list too that BigQuery knows and this state directory does not
    #[arg(short, long = "file", value_name = "FILE", requires = "pending")]
    file: Vec<PathBuf>,
    /// Where a journal is lost: look for snapshots in this dataset too
    #[arg(long, value_name = "DATASET")]
    snapshot_dataset: Option<String>,
}

impl Flags {
    /// Whether standard input is to be read.
    pub(crate) fn is_stream(&self) -> bool {
        self.tables == ["-"]
    }

    /// What names tables on the command line.
    pub(crate) fn named(&self, t: &Tool) -> Result<Vec<Which>, Failure> {
        if self.is_stream() || self.tables.is_empty() {
            return Ok(Vec::new());
        }
        if self.tables.iter().any(|name| name == "-") {
            let what = "`-` stands for the tables of a stream, and others are named beside it";
            let hint = "leave one of them out; --only restricts a stream to some of its tables";
            return Err(Failure::usage(what, "command line", hint));
        }
        let none: [PathBuf; 0] = [];
        let list = tables::read(&self.tables, &none, None, t.named_project())?;
        Ok(list.into_iter().map(|listed| listed.what).collect())
    }

    /// What names tables in files, if any does.
    pub(crate) fn listed(&self, t: &Tool) -> Result<Vec<Which>, Failure> {
        if self.file.is_empty() {
            return Ok(Vec::new());
        }
        let list = tables::read(&[], &self.file, None, t.named_project())?;
        Ok(list.into_iter().map(|listed| listed.what).collect())
    }

    fn apart(&self, api: &Api<'_>) -> Result<Option<DatasetRef>, Failure> {
        let parse = |name| DatasetRef::parse(name, api.project());
        let apart = self.snapshot_dataset.as_deref().map(parse).transpose();
        apart.map_err(|e| Failure::usage(e.to_string(), "--snapshot-dataset", "name a dataset"))
    }
}

/// Whether this state directory has no journal of a run.
pub(crate) fn is_unknown(t: &Tool, run: &RunId) -> bool {
    matches!(journal::read(&t.state_dir, run), Err(journal::Error::Missing(_)))
}

/// The request for the tables that were named of a run; all of its tables are the whole run.
pub(crate) fn only(request: &Request, run: &Run, named: &[Which]) -> Result<Request, Failure> {
    let of = run
        .tables
        .iter()
        .map(|(table, p)| (table, p.snapshot.snapshot.as_ref()));
    let chosen = chosen(&run.created.run, of, named)?;
    let only = match request.only.is_empty() {
        true => chosen,
        false => request.only.clone(),
    };
    Ok(Request {
        only,
        ..request.clone()
    })
}

/// A run that this state directory does not know, as BigQuery tells of it, held.
pub(crate) async fn held<'t>(
    t: &'t Tool,
    api: &Api<'_>,
    run: &RunId,
    named: &[Which],
    flags: &Flags,
    request: &Request,
) -> Result<Held<'t>, Failure> {
    let listed = list(api, &datasets_of(named, flags.apart(api)?)).await?;
    let remains = remains(t, api, run, &listed).await?;
    if remains.found.is_empty() {
        let what = format!("there is no journal of run `{run}` here, and no snapshot of it where it was looked for");
        let hint = "name other tables or `dataset.*`; --snapshot-dataset; a snapshot that has expired may be undeleted \
                    for some days";
        return Err(Failure::new(Exit::No, what, runs::state_dir(t), hint));
    }
    let of = remains.found.iter().map(|f| (&f.table, Some(&f.snapshot)));
    chosen(run, of, named)?;
    begin(t, api, run, &remains, request.even_accepted).await
}

/// The datasets that are looked through for snapshots.
fn datasets_of(named: &[Which], apart: Option<DatasetRef>) -> BTreeSet<DatasetRef> {
    let of = |which: &Which| match which {
        Which::Table(table) => table.dataset_ref(),
        Which::All(dataset) => dataset.clone(),
    };
    named.iter().map(of).chain(apart).collect()
}

async fn list(api: &Api<'_>, datasets: &BTreeSet<DatasetRef>) -> Result<Vec<Listed>, Failure> {
    let mut all = Vec::new();
    for dataset in datasets {
        let listed = api.tables(dataset).await;
        all.extend(listed.map_err(|e| {
            let failure = e.failure(&format!("listing {dataset}"));
            let exit = if e.is_not_found() { Exit::Usage } else { failure.exit };
            failure.with_exit(exit)
        })?);
    }
    Ok(all)
}

/// What BigQuery has of a run.
struct Remains {
    found: Vec<Found>,
    /// The snapshots and their tables.
    there: BTreeMap<TableRef, Option<Table>>,
    /// Where its jobs may be.
    places: Vec<Option<Location>>,
    /// The word of chance that its jobs carry, if one was found.
    nonce: Option<String>,
    /// The jobs of its migration.
    sent: Vec<Intent>,
}

async fn remains(t: &Tool, api: &Api<'_>, run: &RunId, listed: &[Listed]) -> Result<Remains, Failure> {
    let mut there = runs::look(api, t.jobs, candidates(run, listed)).await?;
    let found = snapshots(run, &there)?;
    there.extend(runs::look(api, t.jobs, found.iter().map(|f| &f.table)).await?);
    let copies = || found.iter().filter_map(|f| there.get(&f.snapshot)?.as_ref());
    let said = copies().flat_map(|copy| places_said(|label| copy.label(label)));
    let of_copies = copies().map(Table::location);
    let places = places(t, said.map(Some).chain(of_copies), std::iter::empty());
    // The migration's own word counts first: its journal may have begun from a stream, after another had taken the cut.
    let nonce = match first_file(api, run, &places).await? {
        Some(job) => nonce_of(&job).map(str::to_owned),
        None => None,
    };
    let sent = match &nonce {
        None => Vec::new(),
        Some(nonce) => match files(api, run, &places, nonce, 1).await? {
            Lost::Ours(sent) => sent,
            Lost::None | Lost::Elsewhere => Vec::new(),
        },
    };
    Ok(Remains {
        found,
        there,
        places,
        nonce,
        sent,
    })
}

/// Begins the journal of a run from what BigQuery has of it.
async fn begin<'t>(
    t: &'t Tool,
    api: &Api<'_>,
    run: &RunId,
    remains: &Remains,
    even_accepted: bool,
) -> Result<Held<'t>, Failure> {
    let verdict = judge(run, said(&remains.found), !remains.sent.is_empty(), even_accepted)?;
    let told: Vec<Snapshot> = remains.found.iter().map(|found| told(run, found)).collect();
    let mut tables = records(t, api, run, &told, &remains.there).await?;
    let cut = tables.iter().find_map(|s| s.cut);
    let keep = tables
        .iter()
        .find_map(|s| s.cut.zip(s.expires))
        .and_then(|(cut, expires)| keep_for(cut, Some(bqlib::clock::millis(expires))));
    let keep_ms = keep.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
    tables.iter_mut().for_each(|s| s.keep_ms = keep_ms);
    let nonce = match &remains.nonce {
        Some(nonce) => Some(nonce.clone()),
        None => nonce_of_the_run(api, run, &remains.places).await?,
    };
    let mut created = runs::created(t, run, api.project(), false, keep_ms);
    if let (Event::Created(created), Some(nonce)) = (&mut created, nonce) {
        created.nonce = nonce;
    }
    let mut events = vec![created];
    events.extend(cut.map(|cut| Event::Cut { cut }));
    events.extend(tables.into_iter().map(Event::Verified));
    events.push(Event::Protected);
    events.extend(remains.sent.iter().cloned().map(Event::Found));
    if let Some(verdict) = verdict {
        events.extend([Event::Migrated, Event::Verdict(verdict)]);
    }
    warn(t, run, remains.found.len());
    match Held::create(t, run, events) {
        Ok(held) => Ok(held),
        Err(journal::Error::Exists(_)) => Held::open(t, run).await,
        Err(e) => Err(of_journal(&e)),
    }
}

/// What no snapshot holds.
fn warn(t: &Tool, run: &RunId, tables: usize) {
    let what = format!(
        "the journal of run `{run}` is not here, and was rebuilt from {tables} of its snapshots; not known are the tables' \
         description, labels and expirations at the cut, which stay as they are now (a table that is gone comes back without them), rows that were in the streaming \
         buffer then, and tables of the run that are elsewhere"
    );
    let hint = "compare the options yourself, if the migration changed any; name all datasets that the run was over";
    t.warn(&Failure::new(Exit::Ok, what, runs::state_dir(t), hint));
}

/// What is known of a table before its snapshot is read.
fn told(run: &RunId, found: &Found) -> Snapshot {
    Snapshot {
        run: run.clone(),
        table: found.table.clone(),
        absent: false,
        snapshot: Some(found.snapshot.clone()),
        cut: Some(found.cut),
        expires: None,
        keep_ms: None,
        time_travel_hours: None,
        rows: None,
        bytes: None,
        unprotected_rows: None,
        level: None,
        records: None,
        after: None,
        schema_rule: Default::default(),
        meta: None,
    }
}

/// `--pending -f`: settles every open run over the listed tables that BigQuery knows and this state directory does not. Says the gravest
/// code.
pub(crate) async fn settle_open(t: &Tool, asked: &Asked, flags: &Flags, named: &[Which]) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    if named.is_empty() {
        return Ok(exit);
    }
    let api = t.api().await?;
    let apart = flags.apart(&api)?;
    let listed = list(&api, &datasets_of(named, apart.clone())).await?;
    for run in open_runs(named, apart.as_ref(), &listed) {
        t.go_on("bq-restore --pending")?;
        let ended = match journal::read(&t.state_dir, &run) {
            Err(journal::Error::Missing(_)) => settle_one(t, &api, asked, &run, &listed).await,
            // What cannot be read was told with the runs of this state directory.
            Err(_) => Ok(Exit::Ok),
            Ok(known) => {
                warn_of_more(t, &known, &listed);
                Ok(Exit::Ok)
            }
        };
        exit = exit.or_graver(ended.unwrap_or_else(|failure| {
            t.error(&failure);
            failure.exit
        }));
        let _ = t.begin_or_go_on(None, None);
    }
    Ok(exit)
}

/// The runs that have open snapshots of these tables, newest name first.
fn open_runs(named: &[Which], apart: Option<&DatasetRef>, listed: &[Listed]) -> Vec<RunId> {
    let (mut shared, mut whole) = (Vec::new(), BTreeSet::new());
    for which in named {
        match which {
            Which::All(dataset) => {
                whole.insert(dataset.clone());
            }
            Which::Table(table) => {
                let homes = [None, apart];
                let wherever = homes[..1 + usize::from(apart.is_some())].iter();
                shared.extend(wherever.filter_map(|home| Shared::wherever(table, *home)));
            }
        }
    }
    let mut runs = open_in(listed, &whole);
    runs.extend(open_over(listed, &shared).into_keys());
    runs.into_iter().rev().collect()
}

/// Settles an open run that this state directory does not know, unless it was never submitted, or may be in somebody's hand.
async fn settle_one(t: &Tool, api: &Api<'_>, asked: &Asked, run: &RunId, listed: &[Listed]) -> Result<Exit, Failure> {
    let remains = remains(t, api, run, listed).await?;
    let Some(last) = remains.sent.last() else {
        t.tell(&format!(
            "run {run} has open snapshots, and its migration was never submitted: nothing is to be settled"
        ));
        return Ok(Exit::Ok);
    };
    not_in_hand(t, api, run, last).await?;
    let held = begin(t, api, run, &remains, false).await?;
    settle(t, api, asked, held).await
}

/// Leaves a run alone (6) whose line may be at work on another machine: its last job runs, or ended just now. Nobody here sees its lock.
async fn not_in_hand(t: &Tool, api: &Api<'_>, run: &RunId, last: &Intent) -> Result<(), Failure> {
    let busy = |what: String| {
        let hint = format!("let its line end; or name the run: bq-restore --run {run} and its tables, or dataset.*");
        Failure::new(Exit::Busy, what, format!("run {run}"), hint)
    };
    let Some(id) = &last.job else { return Ok(()) };
    let job = api.job(id, last.location.as_ref()).await;
    let job = job.map_err(|e| e.failure("looking for the migration's job"))?;
    let Some(ended) = job.filter(bqlib::api::Job::is_done).and_then(|job| job.ended_ms()) else {
        let what =
            format!("the migration of run `{run}` is running, and is not known here: it may be somebody's in hand");
        return Err(busy(what));
    };
    let free = later(from_millis(ended), Duration::try_from(IN_HAND).unwrap_or_default());
    let left = Duration::try_from(free.duration_since(api.now())).unwrap_or_default();
    match (left.is_zero(), t.dry_run || left > t.wait) {
        (true, _) => Ok(()),
        (false, true) => Err(busy(format!(
            "the migration of run `{run}` has ended just now, and its line may be at work"
        ))),
        (false, false) => t.pause(left, &again(run)).await,
    }
}

/// A run that is known here may have tables that its journal here does not have: it was rebuilt from some of its datasets.
fn warn_of_more(t: &Tool, known: &Run, listed: &[Listed]) {
    let run = &known.created.run;
    let ours: BTreeSet<&TableRef> = known
        .tables
        .values()
        .filter_map(|p| p.snapshot.snapshot.as_ref())
        .collect();
    let more: Vec<String> = candidates(run, listed)
        .into_iter()
        .filter(|snapshot| !ours.contains(snapshot) && known.status != Status::Snapping)
        .map(ToString::to_string)
        .collect();
    if !more.is_empty() {
        let what = format!(
            "run `{run}` has snapshots that its journal here does not know: {}",
            more.join(", ")
        );
        let hint = format!("bq-restore --run {run} --state-dir ANOTHER dataset.* rebuilds a run of those");
        t.warn(&Failure::new(Exit::Ok, what, runs::state_dir(t), hint));
    }
}
