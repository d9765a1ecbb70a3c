//! bq-snap: protects. Every named table gets a snapshot of one instant, read back and counted, or none is claimed to have one.

mod guard;
mod pending;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::{from_millis, millis, parse_duration};
use bqlib::count;
use bqlib::exit::{Exit, Failure};
use bqlib::journal;
use bqlib::meta::SchemaRule;
use bqlib::names::{DatasetRef, Location, RunId, TableRef};
use bqlib::perform::{Ended, Held, at_a_time, of_job_error, of_journal, taken};
use bqlib::record::{Record, Snapshot};
use bqlib::runs::{self, KEEP_FOR, OPEN_FOR, later};
use bqlib::sql::{self, AsOf, CopyOptions, Counted, RUN_LABEL};
use bqlib::state::{Created, Event, Status, Step, VERSION};
use bqlib::tables::{self, Listed};
use bqlib::tool::{self, Tool};
use clap::Parser;
use jiff::{SignedDuration, Timestamp};

/// Snapshot every named table at one instant, verify the snapshots, and say so on standard output
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///
/// Tables are dataset.table, project.dataset.table or dataset.*; without any and without -f they are read from standard input.
/// The run is --run, SNAPSHOT_SUFFIX, or now in UTC as YYYYMMDD_HHMMSS.
#[derive(Parser)]
#[command(name = "bq-snap", version, verbatim_doc_comment)]
struct Args {
    /// Tables to protect
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// A list of tables: CSV with a header, one name a line, or JSON lines
    #[arg(short, long = "file", value_name = "FILE")]
    file: Vec<PathBuf>,
    /// How long snapshots live once the run is settled: a length of time, or `never` [env: SNAPSHOT_HOURS; default: 24h]
    #[arg(long, value_name = "D")]
    expires: Option<String>,
    /// Keep the snapshots in this dataset, as <dataset>__<table>_snapshot_<run>
    #[arg(long, value_name = "DATASET")]
    snapshot_dataset: Option<String>,
    /// Wait so long for rows in the streaming buffer to be written
    #[arg(long, value_name = "D", conflicts_with = "without_buffer")]
    wait_buffer: Option<String>,
    /// Leave rows in the streaming buffer out; they are counted as `unprotected_rows`
    #[arg(long)]
    without_buffer: bool,
    /// Go on although row counts differ from `records`
    #[arg(long)]
    accept_drift: bool,
    /// Protect named tables that do not exist as absent (not supported yet)
    #[arg(long)]
    absent_ok: bool,
    /// Print the runs of the state directory and end
    #[arg(long, conflicts_with_all = ["tables", "file"])]
    list: bool,
    /// Remove a settled run's snapshots (not supported yet)
    #[arg(long, value_name = "RUN")]
    drop: Option<RunId>,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-snap", tool::WAIT, run)
}

/// A table that is to be protected, with what BigQuery said of it.
struct Planned {
    table: TableRef,
    snapshot: TableRef,
    apart: Option<DatasetRef>,
    location: Option<Location>,
    listed: Listed,
    found: Table,
}

/// The name of a table's snapshot.
fn snapshot_name(table: &TableRef, run: &RunId, apart: Option<&DatasetRef>) -> Result<TableRef, Failure> {
    let name = match apart {
        None => format!("{}_snapshot_{run}", table.table),
        Some(_) => format!("{}__{}_snapshot_{run}", table.dataset, table.table),
    };
    let home = apart.cloned().unwrap_or_else(|| table.dataset_ref());
    let parsed = name.parse().map_err(|e: bqlib::names::BadName| {
        Failure::usage(
            e.to_string(),
            format!("table {table}"),
            "use a shorter run ID with `--run`",
        )
        .about(table)
    })?;
    Ok(home.table(parsed))
}

impl Planned {
    fn name_for(&self, run: &RunId) -> Option<TableRef> {
        snapshot_name(&self.table, run, self.apart.as_ref()).ok()
    }

    /// The record of it, as far as it is known before its snapshot is verified.
    fn record(&self, run: &RunId, keep: Option<Duration>) -> Snapshot {
        Snapshot {
            run: run.clone(),
            table: self.table.clone(),
            absent: false,
            snapshot: Some(self.snapshot.clone()),
            cut: None,
            expires: None,
            keep_ms: keep.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            rows: None,
            bytes: self.found.bytes(),
            unprotected_rows: None,
            level: self.listed.level.clone(),
            records: self.listed.records,
            after: self.listed.after,
            schema_rule: self.listed.schema,
            meta: Some(self.found.meta()),
        }
    }
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    if args.list {
        return bqlib::list::print(t);
    }
    if args.drop.is_some() {
        return Err(Failure::not_yet(
            "--drop",
            "snapshots expire by themselves; or use `bq rm -t`",
        ));
    }
    if args.absent_ok {
        return Err(Failure::not_yet(
            "--absent-ok",
            "take tables that do not exist off the list",
        ));
    }
    let keep = keep_for(&args, t)?;
    t.fetch_credentials();
    let list = tables::read_named(&args.tables, &args.file, t.named_project())?;
    let api = t.api().await?;
    let list = tables::expand(&api, list).await?;

    let names: BTreeSet<&TableRef> = list.iter().map(|(table, _)| table).collect();
    let (known, troubles) = runs::known(t)?;
    for trouble in troubles {
        t.warn(&trouble);
    }
    pending::here(&known, &names)?;
    let asked = t.asked_run().cloned();
    if let Some(run) = known.iter().find(|run| Some(&run.created.run) == asked.as_ref()) {
        not_submitted(run)?;
    }

    let first_id = asked.clone().unwrap_or_else(|| generated(&api, 0));
    let planned = plan(&args, t, &api, &list, &first_id).await?;
    pending::elsewhere(t, &api, &known, &planned).await?;
    let (held, cut, planned) = claim(t, &api, asked, first_id, planned, keep).await?;
    protect(&args, t, &api, &held, cut, &planned, keep).await?;
    Ok(Exit::Ok)
}

/// How long snapshots live once the run is settled; `None`: for ever.
fn keep_for(args: &Args, t: &Tool) -> Result<Option<Duration>, Failure> {
    let (text, from) = match (&args.expires, t.env("SNAPSHOT_HOURS")) {
        (Some(text), _) => (text.clone(), "--expires"),
        (None, Some(hours)) => (format!("{hours}h"), "SNAPSHOT_HOURS"),
        (None, None) => return Ok(Some(KEEP_FOR)),
    };
    if text == "never" || text == "neverh" {
        return Ok(None);
    }
    let duration = parse_duration(&text).ok().filter(|d| !d.is_zero());
    duration.map(Some).ok_or_else(|| {
        Failure::usage(
            format!("`{}` is no length of time", text.trim_end_matches('h')),
            from,
            "say for example `--expires 24h`, or `never`",
        )
    })
}

/// A run ID of the instant, `bump` seconds later.
fn generated(api: &Api<'_>, bump: i64) -> RunId {
    let at = api
        .now()
        .checked_add(SignedDuration::from_secs(bump))
        .unwrap_or_else(|_| api.now());
    let text = at.strftime("%Y%m%d_%H%M%S").to_string();
    // Digits and an underscore: always a run ID. Were it not, the epoch would be one that is taken at once.
    text.parse().unwrap_or_else(|_| generated(api, bump + 1))
}

/// A run ID that was ever submitted is never used again (4).
fn not_submitted(run: &bqlib::state::Run) -> Result<(), Failure> {
    let id = &run.created.run;
    if run.was_submitted() || !matches!(run.status, Status::Snapping | Status::Protected) {
        let what = format!("run `{id}` is {}: its ID is never used again", run.status);
        return Err(Failure::refused(
            what,
            format!("run {id}"),
            "leave `--run` and SNAPSHOT_SUFFIX out, or name a new run",
        ));
    }
    Ok(())
}

/// Looks at every table and refuses those that could not be put back, each by its own words.
async fn plan(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    list: &[(TableRef, Listed)],
    run: &RunId,
) -> Result<Vec<Planned>, Failure> {
    let apart = match &args.snapshot_dataset {
        None => None,
        Some(name) => Some(
            DatasetRef::parse(name, api.project())
                .map_err(|e| Failure::usage(e.to_string(), "--snapshot-dataset", "name a dataset"))?,
        ),
    };
    let wait = match &args.wait_buffer {
        None => Duration::ZERO,
        Some(text) => parse_duration(text)
            .map_err(|e| Failure::usage(e, "--wait-buffer", "say for example `--wait-buffer 90m`"))?,
    };
    let results = at_a_time(
        t.jobs,
        list.iter().enumerate(),
        async |(i, (table, listed)): (usize, &(TableRef, Listed))| {
            let planned = plan_one(args, t, api, table, listed, run, apart.as_ref(), wait).await;
            (i, planned)
        },
    )
    .await;
    let mut results = results;
    results.sort_by_key(|(i, _)| *i);
    let mut planned = Vec::new();
    let mut refused: Option<Failure> = None;
    for (_, result) in results {
        match (result, &mut refused) {
            (Ok(one), _) => planned.push(one),
            (Err(failure), None) => refused = Some(failure),
            (Err(failure), Some(first)) => {
                let exit = first.exit.or_graver(failure.exit);
                t.error(&std::mem::replace(first, failure));
                first.exit = exit;
            }
        }
    }
    match refused {
        Some(failure) => Err(failure),
        None => Ok(planned),
    }
}

#[allow(clippy::too_many_arguments)]
async fn plan_one(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    table: &TableRef,
    listed: &Listed,
    run: &RunId,
    apart: Option<&DatasetRef>,
    wait: Duration,
) -> Result<Planned, Failure> {
    let snapshot = snapshot_name(table, run, apart)?;
    let started = t.clock.now();
    let found = loop {
        let found = api
            .table(table)
            .await
            .map_err(|e| e.failure(&format!("reading {table}")).about(table))?;
        let found = found.ok_or_else(|| {
            Failure::usage(
                format!("there is no table `{table}`"),
                &listed.at,
                "mend its name, or take it off the list",
            )
            .about(table)
        })?;
        let waited = t.clock.now().duration_since(started);
        if found.streaming_buffer().is_none() || waited >= SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)
        {
            break found;
        }
        t.go_on("run the same command again")?;
        t.clock.sleep(Duration::from_secs(10)).await;
    };
    if found.label(RUN_LABEL).is_some() {
        let what = format!("`{table}` is a copy that these programs made");
        return Err(Failure::refused(what, format!("table {table}"), "take it off the list").about(table));
    }
    let meta = found.meta();
    let default_partition_ms = match (apart, meta.is_time_partitioned()) {
        (None, false) => None,
        _ => {
            let dataset = snapshot.dataset_ref();
            let there = api
                .dataset(&dataset)
                .await
                .map_err(|e| e.failure(&format!("reading {dataset}")))?;
            let there = there.ok_or_else(|| {
                Failure::usage(
                    format!("there is no dataset `{dataset}`"),
                    "--snapshot-dataset",
                    "create it first",
                )
            })?;
            if let (Some(a), Some(b)) = (&there.location, found.location())
                && !a.is(&b)
            {
                let what = format!("`{table}` is in {b}, and the dataset for its snapshot in {a}");
                return Err(
                    Failure::refused(what, format!("table {table}"), "choose a dataset in the same location")
                        .about(table),
                );
            }
            there.partition_expiration_ms
        }
    };
    guard::protectable(&guard::Facts {
        table,
        kind: found.kind(),
        streaming: found.streaming_buffer(),
        without_buffer: args.without_buffer,
        depth: pending::depth(api, table, &found).await?,
        meta: &meta,
        default_partition_ms,
    })?;
    Ok(Planned {
        table: table.clone(),
        snapshot,
        apart: apart.cloned(),
        location: t.location.clone().or_else(|| found.location()),
        listed: listed.clone(),
        found,
    })
}

/// Takes the run ID: its journal here, and, by the job that takes the cut, in the project. A generated ID that is taken gives way to
/// the next second; one that was asked for and is taken is refused (4).
async fn claim<'t>(
    t: &'t Tool,
    api: &Api<'_>,
    asked: Option<RunId>,
    first_id: RunId,
    mut planned: Vec<Planned>,
    keep: Option<Duration>,
) -> Result<(Held<'t>, Timestamp, Vec<Planned>), Failure> {
    let location = t
        .location
        .clone()
        .or_else(|| planned.first().and_then(|p| p.location.clone()));
    let mut run = first_id;
    for bump in 1.. {
        for one in &mut planned {
            one.snapshot = snapshot_name(&one.table, &run, one.apart.as_ref())?;
        }
        let created = Event::Created(Created {
            v: VERSION,
            run: run.clone(),
            project: api.project().clone(),
            endpoint: t.endpoint.clone(),
            tool: t.name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nonce: t.clock.nonce(),
            unprotected: false,
            keep_ms: keep.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        });
        let held = match Held::create(t, &run, created) {
            Ok(held) => {
                let pre_images = planned.iter().map(|p| Event::Table(p.record(&run, keep)));
                held.note(&pre_images.collect::<Vec<_>>()).await?;
                held
            }
            Err(journal::Error::Exists(_)) if asked.is_some() => take_up(t, &run, &planned).await?,
            Err(journal::Error::Exists(_)) => {
                run = generated(api, bump);
                continue;
            }
            Err(e) => return Err(of_journal(&e)),
        };
        if t.dry_run {
            let now = from_millis(millis(api.now()));
            held.note(&[Event::Cut { cut: now }]).await?;
            return Ok((held, now, planned));
        }
        let already = held.run().cut;
        if let Some(cut) = already {
            return Ok((held, cut, planned));
        }
        match held
            .statement(api, Step::Cut, None, location.as_ref(), sql::CUT)
            .await?
        {
            Ended::Done(job) => {
                let cut = read_cut(api, &job).await?;
                held.note(&[Event::Cut { cut }]).await?;
                return Ok((held, cut, planned));
            }
            Ended::Failed(e) => return Err(of_job_error(&e, "taking the cut", "job of the cut")),
            Ended::Taken(job) => {
                held.note(&[Event::Abandoned]).await?;
                if asked.is_some() {
                    return Err(taken(&job));
                }
                run = generated(api, bump);
            }
        }
    }
    Err(Failure::refused(
        "no run ID is free",
        "generated run IDs",
        "name one with `--run`",
    ))
}

async fn read_cut(api: &Api<'_>, job: &bqlib::api::Job) -> Result<Timestamp, Failure> {
    let lacking = || {
        Failure::new(
            Exit::Retry,
            "BigQuery's answer holds no cut",
            "job of the cut",
            "run the same command again",
        )
    };
    let id = job.id().ok_or_else(lacking)?;
    let rows = api
        .rows(&id, job.location().as_ref(), None)
        .await
        .map_err(|e| e.failure("taking the cut").of_job(&id))?;
    let ms = rows
        .first()
        .and_then(|row| row.get("cut"))
        .and_then(bqlib::meta::integer);
    ms.map(from_millis).ok_or_else(lacking)
}

/// Takes up a run that was never submitted: the same tables, unchanged since its cut.
async fn take_up<'t>(t: &'t Tool, run: &RunId, planned: &[Planned]) -> Result<Held<'t>, Failure> {
    let held = Held::open(t, run).await?;
    {
        let state = held.run();
        not_submitted(&state)?;
        let refuse = |what: String| {
            Err(Failure::refused(
                what,
                format!("run {run}"),
                "name a new run, or leave `--run` out",
            ))
        };
        let ours: BTreeSet<_> = planned.iter().map(|p| (&p.table, Some(&p.snapshot))).collect();
        let theirs: BTreeSet<_> = state
            .tables
            .values()
            .map(|p| (&p.snapshot.table, p.snapshot.snapshot.as_ref()))
            .collect();
        if ours != theirs && !theirs.is_empty() {
            return refuse(format!("run `{run}` was begun over other tables"));
        }
        if let Some(cut) = state.cut
            && let Some(changed) = planned.iter().find(|p| p.found.modified_ms() >= millis(cut))
        {
            return refuse(format!("`{}` has changed since the cut of run `{run}`", changed.table));
        }
    }
    Ok(held)
}

/// Makes the snapshots, reads them back, counts them, and says so.
async fn protect(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    cut: Timestamp,
    planned: &[Planned],
    keep: Option<Duration>,
) -> Result<(), Failure> {
    let run = held.id();
    t.begin(Some(&run), Some(api.project()))?;
    t.warn_of_endpoint();
    let labels = held.labels();
    // With `-n` there is no instant that BigQuery was asked for, and its `Date` is up to a second old: then now is counted.
    let as_of = if t.dry_run { AsOf::Now } else { AsOf::At(cut) };
    let at_cut: Vec<_> = planned
        .iter()
        .map(|p| (Counted::new(&p.table, as_of, Some(&p.found.meta())), p.location.clone()))
        .collect();
    let counts = count::rows(api, &labels, &at_cut).await?;
    let cut = counts.at.iter().max().copied().filter(|_| t.dry_run).unwrap_or(cut);
    let base = counts.rows;
    if !args.accept_drift {
        drift(planned, &base)?;
    }
    let expires = keep.map(|keep| later(cut, keep.max(OPEN_FOR)));
    if !t.dry_run {
        make_snapshots(t, api, held, cut, expires, planned).await?;
    }
    let copies: Vec<_> = planned
        .iter()
        .map(|p| {
            (
                Counted::new(&p.snapshot, AsOf::Plain, Some(&p.found.meta())),
                p.location.clone(),
            )
        })
        .collect();
    let copied = match t.dry_run {
        true => base.clone(),
        false => count::rows(api, &labels, &copies).await?.rows,
    };
    let mut records = Vec::new();
    for ((p, base), copied) in planned.iter().zip(&base).zip(&copied) {
        if base != copied && !(args.without_buffer && copied < base) {
            let what = format!(
                "`{}` had {base} rows at the cut, and its snapshot has {copied}",
                p.table
            );
            return Err(Failure::refused(
                what,
                format!("snapshot {}", p.snapshot),
                "run again: a new snapshot is taken",
            )
            .about(&p.table));
        }
        let mut record = p.record(&run, keep);
        record.cut = Some(cut);
        record.expires = expires;
        record.rows = Some(*copied);
        record.unprotected_rows = (base != copied).then(|| base - copied);
        records.push(record);
    }
    let verified = records.iter().cloned().map(Event::Verified);
    held.note(&verified.chain([Event::Protected]).collect::<Vec<_>>())
        .await?;
    for record in records {
        t.out.write(&Record::Snapshot(record))?;
    }
    runs::write_vars(t, &run, true, &[("MIGRATION_START", cut.to_string())]);
    Ok(())
}

/// Refuses (4) a table whose rows at the cut are not its `records`: each is told, the last ends the program.
fn drift(planned: &[Planned], base: &[u64]) -> Result<(), Failure> {
    let bad: Vec<String> = planned
        .iter()
        .zip(base)
        .filter_map(|(p, rows)| {
            let records = p
                .listed
                .records
                .filter(|records| !records.holds(Some(*rows), Some(*rows)))?;
            Some(format!("`{}` has {rows} rows where {records} was expected", p.table))
        })
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let hint = "find out why; then mend `records`, or say `--accept-drift`";
    Err(Failure::refused(bad.join("; "), "column `records`", hint))
}

async fn make_snapshots(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    cut: Timestamp,
    expires: Option<Timestamp>,
    planned: &[Planned],
) -> Result<(), Failure> {
    let results = at_a_time(t.jobs.min(100), planned, async |p: &Planned| {
        t.go_on("nothing was migrated; run the same line again")?;
        if !t.out.look_for_reader() {
            return Err(Failure::new(
                Exit::Upstream,
                "the reader went away",
                "stdout",
                "look at the program after this one",
            ));
        }
        make_one(api, held, cut, expires, p).await
    })
    .await;
    let mut first: Option<Failure> = None;
    for failure in results.into_iter().filter_map(Result::err) {
        match &first {
            None => first = Some(failure),
            Some(_) => t.error(&failure),
        }
    }
    first.map_or(Ok(()), Err)
}

async fn make_one(
    api: &Api<'_>,
    held: &Held<'_>,
    cut: Timestamp,
    expires: Option<Timestamp>,
    p: &Planned,
) -> Result<(), Failure> {
    let run = held.id();
    let description = format!("{} as of {cut}, kept by bq-snap for run {run}", p.table);
    let options = CopyOptions {
        expires,
        run: &run,
        state: "open",
        description: &description,
    };
    let key = (Step::Snapshot, Some(p.table.clone()));
    let made = held
        .run()
        .steps
        .get(&key)
        .and_then(|s| s.outcome.as_ref())
        .is_some_and(|o| o.error.is_none() && !o.unknown);
    if !made {
        let text = sql::snapshot(&p.snapshot, &p.table, cut, &options);
        match held
            .statement(api, Step::Snapshot, Some(&p.table), p.location.as_ref(), &text)
            .await?
        {
            Ended::Done(_) => {}
            // The name is taken: by an earlier attempt of ours whose end was lost, or by something else. Reading it back tells.
            Ended::Failed(e) if e.reason == "duplicate" => {}
            Ended::Failed(e) => {
                let failure = of_job_error(&e, &format!("snapshot of {}", p.table), &format!("table {}", p.table));
                return Err(failure.about(&p.table));
            }
            Ended::Taken(job) => return Err(taken(&job).about(&p.table)),
        }
    }
    let there = api
        .table(&p.snapshot)
        .await
        .map_err(|e| e.failure(&format!("reading back {}", p.snapshot)).about(&p.table))?;
    verify(p, &run, cut, expires, there.as_ref()).map_err(|what| {
        let what = format!("the snapshot of `{}` is not what it should be: {what}", p.table);
        Failure::refused(
            what,
            format!("snapshot {}", p.snapshot),
            "run again with a new run ID; nothing was migrated",
        )
        .about(&p.table)
    })
}

/// What is wrong with a snapshot that was read back. A name that was taken, or a statement that did nothing, is found here.
fn verify(
    p: &Planned,
    run: &RunId,
    cut: Timestamp,
    expires: Option<Timestamp>,
    there: Option<&Table>,
) -> Result<(), String> {
    let there = there.ok_or("it does not exist")?;
    if there.kind() != "SNAPSHOT" {
        return Err(format!("it is a {}", there.kind().to_lowercase()));
    }
    match there.snapshot_of() {
        Some((base, at)) if base == p.table && at == cut => {}
        Some((base, at)) => return Err(format!("it is of {base} as of {at}")),
        None => return Err("it does not say of what it is".to_owned()),
    }
    if there.label(RUN_LABEL) != Some(run.as_str()) {
        return Err("it is not labelled with this run".to_owned());
    }
    if there.expires_ms() != expires.map(millis) {
        return Err(format!(
            "it expires at {:?} instead of {expires:?}",
            there.expires_ms().map(from_millis)
        ));
    }
    let (before, held) = (p.found.meta(), there.meta());
    if before.layout() != held.layout() {
        return Err(format!(
            "its partitioning and clustering are {}, and the table's {}",
            held.layout(),
            before.layout()
        ));
    }
    match before.schema_differences(&held, SchemaRule::Same).first() {
        Some(difference) => Err(format!("the table changed meanwhile: {difference}")),
        None => Ok(()),
    }
}
