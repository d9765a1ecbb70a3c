//! bq-run: migrates. Once, behind snapshots that were just looked at, and never a second time.

mod look;
mod params;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bqlib::api::{Api, Job, Limits, QueryJob};
use bqlib::clock::parse_duration;
use bqlib::exit::{Exit, Failure};
use bqlib::migration;
use bqlib::names::{JobId, Location, TableRef};
use bqlib::perform::{Ended, Held, of_journal};
use bqlib::record::{Migration, MigrationState, Record};
use bqlib::runs;
use bqlib::sql::RUN_LABEL;
use bqlib::state::{Created, Event, Status, Step, VERSION};
use bqlib::stream::{self, Input, Stream};
use bqlib::tool::{self, Tool};
use clap::Parser;
use serde_json::Value;

use source::Source;

/// Run a migration on BigQuery, once, behind the snapshots of the stream on standard input
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///
/// Reads the stream to its end first; does nothing if it is broken. Each file is one job; the first that fails is the last.
#[derive(Parser)]
#[command(name = "bq-run", version, verbatim_doc_comment)]
struct Args {
    /// SQL files, run in this order
    #[arg(value_name = "FILE.sql", required = true)]
    files: Vec<PathBuf>,
    /// A query parameter, as `bq query --parameter` writes it; repeatable
    #[arg(long, value_name = "NAME:TYPE:VALUE")]
    param: Vec<String>,
    /// Replace ${NAME} in the files by VALUE, which must be a name; repeatable. PROJECT_ID, PROD_DATASET and STAGING_DATASET may come
    /// from the environment
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// Replace no ${NAME}
    #[arg(long, conflicts_with = "var")]
    no_vars: bool,
    /// Do not dry-run the files on the server first
    #[arg(long)]
    no_foresight: bool,
    /// A table outside the protected set that the migration may write; bq-check then lets it pass; repeatable
    #[arg(long, value_name = "TABLE")]
    allow_unprotected: Vec<String>,
    /// Refuse, instead of warn, when a protected table has changed since the cut
    #[arg(long)]
    strict: bool,
    /// Run without a stream: nothing is protected, standard input is not read
    #[arg(long)]
    unprotected: bool,
    /// Let BigQuery refuse a job that would bill more bytes
    #[arg(long, value_name = "N")]
    max_bytes_billed: Option<u64>,
    /// Let BigQuery end a job that takes longer, as far as it can
    #[arg(long, value_name = "D")]
    timeout: Option<String>,
    /// Run at batch priority
    #[arg(long)]
    batch: bool,
    /// A label of the jobs; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-run", tool::WAIT, run)
}

/// What every file of the migration runs with.
struct Setting {
    sources: Vec<Source>,
    params: Vec<Value>,
    limits: Limits,
    labels: Vec<(String, String)>,
    allowed: Vec<TableRef>,
    foresight: bool,
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    let setting = read_setting(&args, t)?;
    t.fetch_credentials();
    if args.unprotected {
        let api = t.api().await?;
        let held = unprotected(t, &api).await?;
        t.begin(Some(&held.id()), Some(api.project()))?;
        t.warn_of_endpoint();
        return migrate(t, &api, &held, &setting, t.location.clone(), None).await;
    }
    // The whole stream first: its end says whether it may be acted upon.
    let (stream, wrong) = Stream::read(t, Input::stdin(), None).await;
    if let Some(failure) = wrong {
        return Err(failure);
    }
    let hint = "begin the line with bq-snap, or say `--unprotected`";
    if let Some(why) = stream.broken(t.dry_run) {
        return Err(stream::broken(&why, hint));
    }
    if stream.snapshots.is_empty() {
        return Err(stream::broken("it protects no table", hint));
    }
    let api = t.api().await?;
    let held = match (t.dry_run, stream.dry_run) {
        (true, true) => None,
        _ => Some(runs::of_stream(t, &stream, api.project()).await?),
    };
    if let Some(held) = &held {
        may_submit(held)?;
    }
    t.begin(stream.run.as_ref(), Some(api.project()))?;
    let location = t.location.clone().or_else(|| {
        stream
            .snapshots
            .iter()
            .find_map(|s| s.meta.as_ref().and_then(bqlib::meta::TableMeta::location))
    });
    if t.dry_run {
        look::before(t, &api, &stream.snapshots, args.strict, stream.dry_run).await?;
        return plan_only(t, &api, &stream, &setting, location).await;
    }
    let held = held.ok_or_else(|| stream::broken("it was made with `-n`", hint))?;
    migrate(t, &api, &held, &setting, location, Some((&stream, args.strict))).await
}

/// Everything that can be wrong before anything is asked of BigQuery.
fn read_setting(args: &Args, t: &Tool) -> Result<Setting, Failure> {
    let vars = source::parse_vars(&args.var)?;
    let params = params::parse_all(&args.param)
        .map_err(|e| Failure::usage(format!("{e:#}"), "--param", "for example `--param min_rows:INT64:100`"))?;
    let sources = args
        .files
        .iter()
        .map(|file| source::read(t, file, &vars, !args.no_vars))
        .collect::<Result<_, _>>()?;
    let timeout = args.timeout.as_deref().map(parse_duration).transpose();
    let mut labels = Vec::new();
    for label in &args.label {
        labels.push(parse_label(label)?);
    }
    let allowed = args.allow_unprotected.iter().map(|name| {
        TableRef::parse(name, t.named_project()).map_err(|e| {
            Failure::usage(
                e.to_string(),
                "--allow-unprotected",
                "write dataset.table or project.dataset.table",
            )
        })
    });
    Ok(Setting {
        sources,
        params,
        limits: Limits {
            max_bytes_billed: args.max_bytes_billed,
            timeout: timeout.map_err(|e| Failure::usage(e, "--timeout", "for example `--timeout 30m`"))?,
            batch: args.batch,
            default_dataset: None,
        },
        labels,
        allowed: allowed.collect::<Result<_, _>>()?,
        foresight: !args.no_foresight,
    })
}

/// Source of the rules: <https://docs.cloud.google.com/bigquery/docs/labels-intro#requirements>.
fn parse_label(text: &str) -> Result<(String, String), Failure> {
    let part = |c: char| (c.is_alphanumeric() && !c.is_uppercase()) || matches!(c, '_' | '-');
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let good = key.chars().next().is_some_and(char::is_alphabetic)
        && key.chars().count() <= 63
        && value.chars().count() <= 63
        && key.chars().chain(value.chars()).all(part)
        && !key.starts_with("bq-rollback");
    if good {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let hint = "write `--label key=value`: lower case letters, digits, `_`, `-`; keys of ours begin with bq-rollback";
    Err(Failure::usage(
        format!("`{}` is no label", text.escape_debug()),
        "--label",
        hint,
    ))
}

/// Begins a run that protects nothing.
async fn unprotected<'t>(t: &'t Tool, api: &Api<'_>) -> Result<Held<'t>, Failure> {
    let run = match t.asked_run() {
        Some(run) => run.clone(),
        None => look::generated(api)?,
    };
    let created = Event::Created(Created {
        v: VERSION,
        run: run.clone(),
        project: api.project().clone(),
        endpoint: t.endpoint.clone(),
        tool: t.name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: t.clock.nonce(),
        unprotected: true,
        keep_ms: None,
    });
    let held = Held::create(t, &run, created).map_err(|e| of_journal(&e))?;
    held.note(&[Event::Protected]).await?;
    Ok(held)
}

/// Refuses (4) a run whose migration was ever submitted, or that is at an end.
fn may_submit(held: &Held<'_>) -> Result<(), Failure> {
    let run = held.run();
    if run.status == Status::Protected && !run.was_submitted() {
        return Ok(());
    }
    let id = &run.created.run;
    let what = format!(
        "run `{id}` is {}: its migration is submitted once and never again",
        run.status
    );
    let hint = match run.is_pending() {
        true => format!("bq-restore --run {id}"),
        false => "snapshot again: bq-snap … | bq-run …".to_owned(),
    };
    Err(Failure::refused(what, format!("run {id}"), hint))
}

fn query_job(
    setting: &Setting,
    source: &Source,
    id: JobId,
    location: Option<Location>,
    held: Option<&Held<'_>>,
    stream: Option<&Stream>,
) -> QueryJob {
    let mut labels = match (held, stream.and_then(|s| s.run.as_ref())) {
        (Some(held), _) => held.labels(),
        (None, Some(run)) => [(RUN_LABEL.to_owned(), run.to_string())].into(),
        (None, None) => Default::default(),
    };
    labels.extend(setting.labels.iter().cloned());
    QueryJob {
        params: setting.params.clone(),
        limits: setting.limits.clone(),
        ..QueryJob::plain(id, location, source.sql.clone(), labels)
    }
}

/// The record of a file before it has run.
fn record_of(run: &bqlib::names::RunId, setting: &Setting, source: &Source, state: MigrationState) -> Migration {
    Migration {
        run: run.clone(),
        source: source.name.clone(),
        sha256: source.sha256.clone(),
        job: None,
        location: None,
        state,
        statements: Vec::new(),
        allowed: setting.allowed.clone(),
        bytes_billed: None,
        slot_ms: None,
        ms: None,
        error: None,
    }
}

/// Lets BigQuery validate each file. A file found wrong is 1: nothing was submitted.
async fn foresee(
    t: &Tool,
    api: &Api<'_>,
    setting: &Setting,
    location: Option<&Location>,
) -> Result<Vec<Option<Job>>, Failure> {
    let mut plans = Vec::new();
    for (i, source) in setting.sources.iter().enumerate() {
        let id = JobId::of_step(&look::generated(api)?, "dry-run", None, 1);
        let job = query_job(setting, source, id, location.cloned(), None, None);
        let planned = api.dry_run(&job).await;
        if let Err(e) = &planned
            && e.is_not_found()
            && i > 0
        {
            // What an earlier file will make is not there yet: this file cannot be validated before that one has run.
            let what = format!("{}: not validated: {e}", source.name);
            let hint = "if no earlier file makes it, stop here and mend the file";
            t.warn(&Failure::new(Exit::Ok, what, &source.name, hint));
            plans.push(None);
            continue;
        }
        let plan = planned.map_err(|e| {
            let failure = e.failure(&format!("checking {}", source.name));
            match failure.exit {
                Exit::Refused => Failure {
                    what: format!("{}: BigQuery finds the SQL wrong: {e}", source.name),
                    at: source.name.clone(),
                    hint: "mend the file; nothing was submitted".to_owned(),
                    ..failure.with_exit(Exit::No)
                },
                _ => failure,
            }
        })?;
        if t.verbose {
            let bytes = plan.bytes_processed().unwrap_or(0);
            t.tell(&format!(
                "{}: valid as a whole ({}), {bytes} bytes to process",
                source.name,
                plan.statement_type()
            ));
        }
        plans.push(Some(plan));
    }
    Ok(plans)
}

/// `-n`: the same guards and the dry run, and records that say so.
async fn plan_only(
    t: &Tool,
    api: &Api<'_>,
    stream: &Stream,
    setting: &Setting,
    location: Option<Location>,
) -> Result<Exit, Failure> {
    let run = stream
        .run
        .clone()
        .ok_or_else(|| stream::broken("it names no run", "begin the line with bq-snap"))?;
    let plans = match setting.foresight {
        true => foresee(t, api, setting, location.as_ref()).await?,
        false => Vec::new(),
    };
    for (i, source) in setting.sources.iter().enumerate() {
        let mut record = record_of(&run, setting, source, MigrationState::Planned);
        record.bytes_billed = plans.get(i).and_then(|plan| plan.as_ref()?.bytes_processed());
        t.out.write(&Record::Migration(record))?;
    }
    Ok(Exit::Ok)
}

/// Submits the files, one after the other, until one does not end well.
async fn migrate(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    setting: &Setting,
    location: Option<Location>,
    protection: Option<(&Stream, bool)>,
) -> Result<Exit, Failure> {
    let run = held.id();
    if setting.foresight {
        foresee(t, api, setting, location.as_ref()).await?;
    }
    if t.dry_run {
        return Ok(Exit::Ok);
    }
    if let Some((stream, strict)) = protection {
        look::before(t, api, &stream.snapshots, strict, false).await?;
    }
    t.go_on("nothing was submitted; run the same line again")?;
    if !t.out.look_for_reader() {
        let hint = "nothing was submitted; look at the program after this one";
        return Err(Failure::new(Exit::Upstream, "the reader went away", "stdout", hint));
    }
    if protection.is_some() {
        runs::write_vars(t, &run, true, &[("MIGRATION_START", api.now().to_string())]);
    }
    let mut bad: Option<Failure> = None;
    for (number, source) in (1..).zip(&setting.sources) {
        let mut record = record_of(&run, setting, source, MigrationState::Refused);
        if bad.is_some() {
            record.error = Some("an earlier file did not end well".to_owned());
            t.out.write(&Record::Migration(record)).or_else(reader_may_be_gone)?;
            continue;
        }
        let id = JobId::of_step(&run, &Step::Migrate(number).to_string(), None, 1);
        let job = query_job(setting, source, id.clone(), location.clone(), Some(held), None);
        record.job = Some(id.clone());
        record.location = location.clone();
        let ended = submit(t, api, held, number, &job).await;
        let taken = matches!(ended, Ok(Ended::Taken(_)));
        let failure = settle_record(api, &mut record, ended, &id, source).await;
        if record.state != MigrationState::Unknown {
            held.note(&[Event::Ended(record.clone())]).await?;
        }
        t.out.write(&Record::Migration(record)).or_else(reader_may_be_gone)?;
        if taken && let Some(failure) = failure {
            // Another run of this ID, from elsewhere, has submitted its migration: the tables and their snapshots are its own now.
            held.note(&[Event::Abandoned]).await?;
            return Err(failure);
        }
        bad = failure.or_else(|| interrupted(t, number as usize == setting.sources.len()));
    }
    if bad.as_ref().is_some_and(|f| f.exit == Exit::Unknown) {
        // How it ended is for bq-restore to find out: the journal says "running", which is what is known.
        return Err(bad.unwrap_or_else(|| Failure::new(Exit::Unknown, "", "", "")));
    }
    if protection.is_some() {
        look::after(t, api, held).await?;
    }
    let end = match &bad {
        None => Event::Migrated,
        Some(failure) => Event::Failed {
            what: failure.what.clone(),
        },
    };
    held.note(&[end]).await?;
    match bad {
        Some(failure) => Err(failure),
        None if t.out.reader_is_gone() => Err(gone()),
        None => match t.stopped_by() {
            Some(signal) => Err(Failure::new(
                Exit::Signal(signal),
                "stopped by a signal; the migration had ended",
                "bq-run",
                restore(&run),
            )),
            None => Ok(Exit::Ok),
        },
    }
}

fn restore(run: &bqlib::names::RunId) -> String {
    format!("bq-restore --run {run}")
}

fn gone() -> Failure {
    Failure::new(
        Exit::Upstream,
        "the reader went away",
        "stdout",
        "bq-restore settles the run",
    )
}

/// Once the migration is under way the journal matters, not the reader: a record nobody reads must not stop it from being written.
fn reader_may_be_gone(failure: Failure) -> Result<(), Failure> {
    if failure.exit == Exit::Upstream {
        Ok(())
    } else {
        Err(failure)
    }
}

/// Why no further file is begun, if there is one and somebody wants the program to stop.
fn interrupted(t: &Tool, last: bool) -> Option<Failure> {
    if last {
        return None;
    }
    if let Some(signal) = t.stopped_by() {
        return Some(Failure::new(
            Exit::Signal(signal),
            "stopped by a signal between two files",
            "bq-run",
            "bq-restore settles the run",
        ));
    }
    (!t.out.look_for_reader()).then(gone)
}

/// Sends one file and waits for its end; on a signal, or when the reader goes away, cancels the job and still waits for its end.
async fn submit(t: &Tool, api: &Api<'_>, held: &Held<'_>, number: u32, job: &QueryJob) -> Result<Ended, Failure> {
    let mut migrating = std::pin::pin!(held.migrate(api, number, job));
    let stop = async {
        tokio::select! {
            _ = t.stop_signal() => {}
            () = reader_goes(t) => {}
        }
    };
    tokio::select! {
        ended = &mut migrating => return ended,
        () = stop => {}
    }
    t.tell("cancelling the migration's job, and waiting for its end");
    loop {
        // The job may not be there yet, or BigQuery may not hear it at once: it is asked again until the job has ended.
        let ask = async {
            if let Err(e) = api.cancel(&job.id, job.location.as_ref()).await
                && t.verbose
            {
                t.tell(&format!("cancelling: {e}"));
            }
            t.clock.sleep(Duration::from_secs(5)).await;
        };
        tokio::select! {
            ended = &mut migrating => return ended,
            () = ask => {}
        }
    }
}

/// Returns when nobody reads standard output any more.
async fn reader_goes(t: &Tool) {
    while t.out.look_for_reader() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Writes into the record how the file ended, and says why it did not end well.
async fn settle_record(
    api: &Api<'_>,
    record: &mut Migration,
    ended: Result<Ended, Failure>,
    id: &JobId,
    source: &Source,
) -> Option<Failure> {
    let failed = |error: &str, reason: &str, exit: Exit| {
        let what = format!("{}: {error}", source.name);
        let mut failure = Failure::new(exit, what, format!("job {id}"), "bq-restore puts the tables back").of_job(id);
        failure.reason = Some(reason.to_owned());
        failure
    };
    match ended {
        Ok(Ended::Done(job)) => {
            record.state = MigrationState::Done;
            describe(api, record, &job, id).await.err()
        }
        Ok(Ended::Failed(e)) => {
            record.state = if e.reason == "stopped" {
                MigrationState::Cancelled
            } else {
                MigrationState::Failed
            };
            record.error = Some(format!("{} ({})", e.message, e.reason));
            // What the statements before the failing one did stands: it is told as far as it can be learned.
            if let Ok(Some(job)) = api.job(id, record.location.as_ref()).await
                && let Err(failure) = describe(api, record, &job, id).await
            {
                return Some(failure);
            }
            let exit = if e.reason == "accessDenied" {
                Exit::Denied
            } else {
                Exit::No
            };
            Some(failed(&e.message, &e.reason, exit))
        }
        Ok(Ended::Taken(job)) => {
            record.state = MigrationState::Refused;
            record.job = None;
            let failure = bqlib::perform::taken(&job);
            record.error = Some(failure.what.clone());
            Some(failure)
        }
        Err(failure) => {
            record.state = match failure.exit {
                Exit::Unknown => MigrationState::Unknown,
                _ => MigrationState::Failed,
            };
            record.error = Some(failure.what.clone());
            Some(failure)
        }
    }
}

/// Statistics and statements of a job that has ended.
async fn describe(api: &Api<'_>, record: &mut Migration, job: &Job, id: &JobId) -> Result<(), Failure> {
    record.location = job.location().or(record.location.take());
    record.bytes_billed = job.bytes_billed();
    record.slot_ms = job.slot_ms();
    record.ms = job.ms();
    let statements = migration::statements(api, job, id).await;
    record.statements = statements.map_err(|e| e.failure("listing what the migration did").of_job(id))?;
    Ok(())
}
