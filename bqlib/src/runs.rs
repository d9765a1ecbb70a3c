//! Runs as the programs find them: in the state directory, in a stream; and how a run is settled.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::api::{Api, Table};
use crate::clock::later;
use crate::exit::{Exit, Failure};
use crate::journal;
use crate::names::{ProjectId, RunId, TableRef};
use crate::perform::{Held, at_a_time, of_journal};
use crate::record::MigrationState;
use crate::sql::STATE_LABEL;
use crate::state::{Created, Event, Intent, Judgement, Run, Step, VERSION};
use crate::stream::Stream;
use crate::tool::Tool;

/// How long a snapshot lives while its run is not settled, at least.
pub const OPEN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it lives once the run is settled, unless said otherwise.
pub const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);

/// Every run of the state directory that can be read, and the troubles of those that cannot.
///
/// # Errors
/// The directory cannot be read.
pub fn known(tool: &Tool) -> Result<(Vec<Run>, Vec<Failure>), Failure> {
    let mut runs = Vec::new();
    let mut troubles = Vec::new();
    for run in journal::list(&tool.state_dir).map_err(|e| of_journal(&e))? {
        match journal::read(&tool.state_dir, &run) {
            Ok(run) => runs.push(run),
            Err(e) => troubles.push(of_journal(&e)),
        }
    }
    Ok((runs, troubles))
}

/// The state directory as an absolute path, for messages: "no run is pending" helps nobody without saying where.
pub fn state_dir(tool: &Tool) -> String {
    std::path::absolute(&tool.state_dir)
        .unwrap_or_else(|_| tool.state_dir.clone())
        .display()
        .to_string()
}

/// Refuses (4) a run of another endpoint or project than this program speaks to.
///
/// # Errors
/// It is of another.
pub fn same_home(
    tool: &Tool,
    run: &RunId,
    endpoint: &str,
    project: Option<&ProjectId>,
    ours: &ProjectId,
) -> Result<(), Failure> {
    if endpoint != tool.endpoint {
        let what = format!(
            "run `{run}` is of the endpoint {endpoint}, and this is {}",
            tool.endpoint
        );
        return Err(Failure::refused(
            what,
            "settings",
            format!("say `--api-endpoint {endpoint}`"),
        ));
    }
    match project {
        Some(project) if project != ours => {
            let what = format!("run `{run}` is of the project `{project}`, and this is `{ours}`");
            Err(Failure::refused(what, "settings", format!("say `-p {project}`")))
        }
        _ => Ok(()),
    }
}

/// The event that begins a run: of this program, endpoint and project, with a nonce of its own. `keep_ms`: how long its snapshots live once
/// it is settled; `None`: for ever.
pub fn created(tool: &Tool, run: &RunId, project: &ProjectId, unprotected: bool, keep_ms: Option<u64>) -> Event {
    Event::Created(Created {
        v: VERSION,
        run: run.clone(),
        project: project.clone(),
        endpoint: tool.endpoint.clone(),
        tool: tool.name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: tool.clock.nonce(),
        unprotected,
        keep_ms,
        given: false,
    })
}

/// The run of a stream, held: opened, or, when this state directory does not know it, begun from what the stream says.
///
/// # Errors
/// As [`Held::open`]; 2 if the settings name another run than the stream.
pub async fn of_stream<'t>(tool: &'t Tool, stream: &Stream, project: &ProjectId) -> Result<Held<'t>, Failure> {
    of_stream_with(tool, stream, project, None).await
}

/// As [`of_stream`], and a journal that is begun gets this nonce, by which the run's jobs are known for its own.
///
/// # Errors
/// As [`of_stream`].
pub async fn of_stream_with<'t>(
    tool: &'t Tool,
    stream: &Stream,
    project: &ProjectId,
    nonce: Option<String>,
) -> Result<Held<'t>, Failure> {
    let Some(run) = &stream.run else {
        return Err(crate::stream::broken("it names no run", "begin the line with bq-snap"));
    };
    not_another(tool, run)?;
    if let Some((project_there, endpoint)) = &stream.home {
        same_home(tool, run, endpoint, project_there.as_ref(), project)?;
    }
    match journal::read(&tool.state_dir, run) {
        Err(journal::Error::Missing(_)) => {}
        // A dry run of bq-snap leaves no journal, and with `-n` none is made here either.
        _ => return open_ours(tool, run, project).await,
    }
    let first = stream.snapshots.first();
    let mut created = created(tool, run, project, false, first.and_then(|s| s.keep_ms));
    if let (Event::Created(created), Some(nonce)) = (&mut created, nonce) {
        created.nonce = nonce;
    }
    match Held::create(tool, run, [created].into_iter().chain(told_by(stream)).collect()) {
        Ok(held) => Ok(held),
        Err(journal::Error::Exists(_)) => open_ours(tool, run, project).await,
        Err(e) => Err(of_journal(&e)),
    }
}

/// A run's journal, held, if it is of this endpoint and project.
async fn open_ours<'t>(tool: &'t Tool, run: &RunId, project: &ProjectId) -> Result<Held<'t>, Failure> {
    let held = Held::open(tool, run).await?;
    let created = held.run().created.clone();
    same_home(tool, run, &created.endpoint, Some(&created.project), project)?;
    Ok(held)
}

/// Refuses (2) settings that name another run than `run`.
///
/// # Errors
/// They do.
pub fn not_another(tool: &Tool, run: &RunId) -> Result<(), Failure> {
    match tool.asked_run() {
        Some(asked) if asked != run => Err(Failure::usage(
            format!("the stream is of run `{run}`, and `{asked}` was asked for"),
            "--run or SNAPSHOT_SUFFIX",
            "leave it out: in a line the run is the stream's",
        )),
        _ => Ok(()),
    }
}

/// What a stream tells of its run's history.
fn told_by(stream: &Stream) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(cut) = stream.snapshots.iter().find_map(|s| s.cut) {
        events.push(Event::Cut { cut });
    }
    events.extend(stream.snapshots.iter().cloned().map(Event::Verified));
    events.push(Event::Protected);
    let sent: Vec<_> = stream.migrations.iter().filter(|m| m.job.is_some()).collect();
    for (i, migration) in sent.iter().enumerate() {
        events.push(Event::Intent(Intent {
            step: Step::Migrate(u32::try_from(i + 1).unwrap_or(u32::MAX)),
            table: None,
            attempt: 1,
            job: migration.job.clone(),
            location: migration.location.clone(),
            digest: migration.sha256.clone(),
            // Not sent from here: its job carries another journal's nonce.
            what: Some(json!("told by the stream")),
        }));
        events.push(Event::Ended((*migration).clone()));
    }
    match sent.iter().find(|m| m.state != MigrationState::Done) {
        Some(bad) => events.push(Event::Failed {
            what: bad.error.clone().unwrap_or_default(),
        }),
        // A bq-run that did not end may have sent another file: what BigQuery has of the run is looked for.
        None if !sent.is_empty() && stream.has_ended("bq-run") => events.push(Event::Migrated),
        None => {}
    }
    if let (Some(verdict), Some(Event::Migrated | Event::Failed { .. })) = (&stream.verdict, events.last()) {
        let migrated = matches!(events.last(), Some(Event::Migrated));
        if migrated || !verdict.accepted {
            events.push(Event::Verdict(Judgement {
                accepted: verdict.accepted,
                by_person: false,
                because: "told by the stream".to_owned(),
            }));
        }
    }
    events
}

/// Several tables as BigQuery tells of them now; `None`: there is no such table.
///
/// # Errors
/// One could not be asked for.
pub async fn look(
    api: &Api<'_>,
    at_once: usize,
    tables: impl IntoIterator<Item = &TableRef>,
) -> Result<BTreeMap<TableRef, Option<Table>>, Failure> {
    let results = at_a_time(at_once, tables, async |table: &TableRef| {
        let found = api
            .table(table)
            .await
            .map_err(|e| e.failure(&format!("reading {table}")).about(table))?;
        Ok((table.clone(), found))
    })
    .await;
    results.into_iter().collect()
}

/// Gives a settled run's snapshots their last expiry and label. What cannot be done of it is a warning: it changes nothing of the data, and
/// `bq-restore --pending` does it later.
pub async fn settle(tool: &Tool, api: &Api<'_>, held: &Held<'_>) {
    if let Err(failure) = try_to_settle(tool, api, held).await {
        let what = format!(
            "the run's snapshots keep the expiry they were made with: {}",
            failure.what
        );
        tool.warn(&Failure { what, ..failure });
    }
}

async fn try_to_settle(tool: &Tool, api: &Api<'_>, held: &Held<'_>) -> Result<(), Failure> {
    let (state, keep, snapshots) = {
        let run = held.run();
        if tool.dry_run || !run.status.is_settled() || run.settled.is_some() || run.created.given {
            return Ok(());
        }
        let snapshots: Vec<_> = run
            .tables
            .values()
            .filter(|t| t.verified)
            .filter_map(|t| t.snapshot.snapshot.clone())
            .collect();
        (run.status, run.created.keep_ms, snapshots)
    };
    if let (false, Some(first)) = (api.knows_the_time(), snapshots.first()) {
        // By the local clock the expiry could be in the past, and the snapshots gone at once.
        api.table(first)
            .await
            .map_err(|e| e.failure(&format!("reading {first}")))?;
    }
    let now = api.now();
    let expires = keep.map(|ms| later(now, Duration::from_millis(ms)));
    let body = json!({
        "expirationTime": expires.map(|at| crate::clock::millis(at).to_string()),
        "labels": { STATE_LABEL: state.name() },
    });
    let results = at_a_time(tool.jobs, &snapshots, async |snapshot| {
        held.patch(api, Step::Settle, snapshot, &body).await
    })
    .await;
    let mut all = true;
    // A snapshot that is gone has no expiry left to be given.
    let gone = |failure: &Failure| failure.reason.as_deref() == Some("notFound");
    for failure in results
        .into_iter()
        .filter_map(Result::err)
        .filter(|failure| !gone(failure))
    {
        all = false;
        if failure.table.is_none() {
            return Err(failure);
        }
        let what = format!("a snapshot keeps the expiry it was made with: {}", failure.what);
        tool.warn(&Failure { what, ..failure });
    }
    if all {
        held.note(&[Event::Settled { expires }]).await?;
    }
    Ok(())
}

/// Writes `.rollback_vars` in the working directory, for shells to source: whole, by rename.
///
/// It is of the newest run: `newest` says that this run is (bq-snap, bq-run); otherwise it is written only if the file is of this run.
/// That it cannot be written is a warning: nothing rests on it.
pub fn write_vars(tool: &Tool, run: &RunId, newest: bool, set: &[(&str, String)]) {
    const FILE: &str = ".rollback_vars";
    if tool.dry_run {
        return;
    }
    let old = std::fs::read_to_string(FILE).unwrap_or_default();
    let of_this_run = old.lines().any(|line| line == format!("SNAPSHOT_SUFFIX={run}"));
    if !newest && !of_this_run && !old.is_empty() {
        return;
    }
    let mut lines: Vec<String> = vec![format!("SNAPSHOT_SUFFIX={run}")];
    if of_this_run {
        let kept = old.lines().skip(1).filter(|line| {
            let name = line.split_once('=').map_or(*line, |(name, _)| name);
            !set.iter().any(|(new, _)| *new == name)
        });
        lines.extend(kept.map(str::to_owned));
    }
    lines.extend(set.iter().map(|(name, value)| format!("{name}={value}")));
    let written = tempfile::NamedTempFile::new_in(".").and_then(|mut file| {
        file.write_all((lines.join("\n") + "\n").as_bytes())?;
        crate::crash::point(".rollback_vars: written, not renamed");
        file.persist(FILE).map_err(|e| e.error)
    });
    if let Err(e) = written {
        tool.warn(&Failure::new(
            Exit::Ok,
            format!("{FILE} cannot be written: {e}"),
            "the working directory",
            "nothing rests on it; the journal is whole",
        ));
    }
}
