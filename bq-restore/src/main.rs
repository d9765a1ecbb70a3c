//! bq-restore: puts back. What it does follows from the journal and from what BigQuery says, never from a guess.

mod finality;
mod plan;
mod put_back;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::{millis, parse_duration};
use bqlib::count;
use bqlib::exit::{Exit, Failure};
use bqlib::journal;
use bqlib::meta::{SchemaRule, TableMeta};
use bqlib::migration::{made, writes};
use bqlib::names::{Location, RunId, TableRef};
use bqlib::perform::{Held, at_a_time, of_journal};
use bqlib::record::{Record, Restore, RestoredFrom, Snapshot, Statement};
use bqlib::runs::{self, look, write_vars};
use bqlib::sql::{AsOf, Counted};
use bqlib::state::{Event, RestoreEnd, Run, Status, Step};
use bqlib::tool::{self, Tool};
use clap::Parser;
use jiff::{SignedDuration, Timestamp};

use plan::{Facts, Now, Way};
use put_back::{Task, put_back};

/// Put every protected table of a run back as it was at the cut, and compare it with the cut
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///
/// The run is --run, SNAPSHOT_SUFFIX, or the one pending run of the state directory. Standard input is never read.
/// Exit 10 says that the tables equal the cut and the migration was not accepted: `|| bq-restore` does not turn a failure green.
#[derive(Parser)]
#[command(name = "bq-restore", version, verbatim_doc_comment)]
struct Args {
    /// `-`: the snapshot records on standard input (not supported yet)
    #[arg(value_name = "-")]
    stream: Option<String>,
    /// Only this table of the run; the run stays pending; repeatable
    #[arg(long, value_name = "TABLE")]
    only: Vec<String>,
    /// Restore this table although others have written to it since the cut: their changes are only in the copy that is kept; repeatable
    #[arg(long, value_name = "TABLE")]
    discard_foreign: Vec<String>,
    /// Roll back the run named by --run although it was accepted
    #[arg(long)]
    even_accepted: bool,
    /// Settle every pending run of the state directory, newest first (for @reboot lines and CI's always-steps)
    #[arg(long, conflicts_with_all = ["only", "even_accepted", "discard_foreign"])]
    pending: bool,
    /// How long a cancelled migration is waited for
    #[arg(long, value_name = "D", default_value = "30m")]
    wait_job: String,
    /// Print the runs of the state directory and end
    #[arg(long)]
    list: bool,
    /// A list of tables to ask BigQuery about open runs, with --pending (not supported yet)
    #[arg(short, long = "file", value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Restore beside the live tables, into this dataset (not supported yet)
    #[arg(long, value_name = "DATASET")]
    to_dataset: Option<String>,
    /// Another source than snapshots: `backup` (not supported yet)
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-restore", Duration::from_secs(120), run)
}

/// What was asked for, read.
struct Asked {
    only: Vec<TableRef>,
    discard: Vec<TableRef>,
    even_accepted: bool,
    wait_job: Duration,
}

/// How long a line may leave its run without a verdict before another program takes it for abandoned.
const IN_HAND: SignedDuration = SignedDuration::from_secs(60);

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    let unsupported = [
        (args.stream.is_some(), "-"),
        (!args.file.is_empty(), "-f"),
        (args.to_dataset.is_some(), "--to-dataset"),
        (args.from.is_some(), "--from"),
    ];
    if let Some((_, flag)) = unsupported.into_iter().find(|(given, _)| *given) {
        return Err(Failure::not_yet(
            flag,
            "bq-restore --run ID restores from snapshots, in place",
        ));
    }
    if args.list {
        return bqlib::list::print(t);
    }
    let tables = |flag: &str, names: &[String]| -> Result<Vec<TableRef>, Failure> {
        let parse = |name: &String| TableRef::parse(name, t.named_project());
        let bad = |e: bqlib::names::BadName| {
            Failure::usage(e.to_string(), flag, "write dataset.table or project.dataset.table")
        };
        names.iter().map(|name| parse(name).map_err(bad)).collect()
    };
    let asked = Asked {
        only: tables("--only", &args.only)?,
        discard: tables("--discard-foreign", &args.discard_foreign)?,
        even_accepted: args.even_accepted,
        wait_job: parse_duration(&args.wait_job)
            .map_err(|e| Failure::usage(e, "--wait-job", "for example `--wait-job 30m`"))?,
    };
    if args.pending {
        return settle_pending(t, &asked).await;
    }
    let run = choose(t, &args)?;
    in_hand(t, &run).await?;
    restore(t, &asked, &run).await
}

/// The run to put back: the one named, or the only pending one.
fn choose(t: &Tool, args: &Args) -> Result<RunId, Failure> {
    let (known, troubles) = runs::known(t)?;
    for trouble in &troubles {
        t.warn(trouble);
    }
    let pending: Vec<&RunId> = known
        .iter()
        .filter(|run| run.is_pending())
        .map(|run| &run.created.run)
        .collect();
    let listed = || {
        pending
            .iter()
            .map(|run| format!("`{run}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let place = runs::state_dir(t);
    match (t.asked_run(), pending.as_slice()) {
        (Some(run), others) => {
            let is_known = known.iter().any(|known| known.created.run == *run)
                || troubles.iter().any(|f| f.at.contains(run.as_str()));
            if !t.run_flag_given() && !others.is_empty() && !others.contains(&run) {
                let what = format!(
                    "SNAPSHOT_SUFFIX names run `{run}`, which is not pending, and these are: {}",
                    listed()
                );
                return Err(Failure::refused(what, place, format!("bq-restore --run {}", others[0])));
            }
            if !is_known {
                let what = format!("there is no run `{run}`: nothing was ever begun under this ID");
                return Err(Failure::new(
                    Exit::No,
                    what,
                    place,
                    "`bq-restore --list` shows the runs; `--state-dir` names another directory",
                ));
            }
            Ok(run.clone())
        }
        (None, []) if args.even_accepted => Err(Failure::usage(
            "`--even-accepted` takes a run that is named",
            "--even-accepted",
            "bq-restore --run ID --even-accepted",
        )),
        (None, []) => {
            let what = "no run is pending: there is nothing to put back";
            Err(Failure::new(
                Exit::No,
                what,
                place,
                "`bq-restore --list` shows the runs; `--state-dir` names another directory",
            ))
        }
        (None, [run]) => Ok((*run).clone()),
        (None, _) => {
            let what = format!("several runs are pending: {}", listed());
            Err(Failure::refused(
                what,
                place,
                "name one with `--run`, or settle all with `--pending`",
            ))
        }
    }
}

/// Leaves a run to the line that has it in hand: waits while its lock is held, and for a minute after bq-run's last word as long as nobody
/// has judged it; then 6.
async fn in_hand(t: &Tool, run: &RunId) -> Result<(), Failure> {
    let started = t.clock.now();
    let patience = SignedDuration::try_from(t.wait).unwrap_or(SignedDuration::MAX);
    loop {
        let Some(why) = hand_on(t, run)? else { return Ok(()) };
        if t.dry_run || t.clock.now().duration_since(started) >= patience {
            let hint = "let the line end, or run the same command again in a minute";
            return Err(Failure::new(Exit::Busy, why, format!("run {run}"), hint));
        }
        t.go_on("run the same command again: nothing was restored yet")?;
        t.clock.sleep(Duration::from_millis(250)).await;
    }
}

/// Why a run is still its line's, if it is.
fn hand_on(t: &Tool, run: &RunId) -> Result<Option<String>, Failure> {
    let state = journal::read(&t.state_dir, run).map_err(|e| of_journal(&e))?;
    if journal::is_held(&t.state_dir, run) {
        let by = state.holder.map_or_else(
            || "another process".to_owned(),
            |(h, _)| format!("{} (process {} on {})", h.tool, h.pid, h.host),
        );
        return Ok(Some(format!("the run is held by {by}")));
    }
    let waits = matches!(state.status, Status::Running | Status::Failed | Status::Migrated) && state.verdict.is_none();
    let since = t.clock.now().duration_since(state.touched);
    // A clock that was set back would make the run its line's for ever: an event of the future is an old one.
    let fresh = since >= SignedDuration::ZERO && since < IN_HAND;
    Ok((waits && fresh).then(|| format!("the run is {}, and its line may still be at work", state.status)))
}

/// `--pending`: every pending run that no line has in hand, newest first.
async fn settle_pending(t: &Tool, asked: &Asked) -> Result<Exit, Failure> {
    let (known, troubles) = runs::known(t)?;
    t.begin(None, None)?;
    let mut pending: Vec<&Run> = known.iter().filter(|run| run.is_pending()).collect();
    pending.sort_by_key(|run| std::cmp::Reverse(run.cut));
    let mut exit = Exit::Ok;
    for trouble in &troubles {
        t.error(trouble);
        exit = exit.or_graver(trouble.exit);
    }
    for run in pending {
        let run = &run.created.run;
        let ended = match in_hand(t, run).await {
            Ok(()) => restore(t, asked, run).await,
            Err(failure) => Err(failure),
        };
        exit = exit.or_graver(match ended {
            Ok(exit) => exit,
            Err(failure) => {
                t.error(&failure);
                failure.exit
            }
        });
        t.begin_or_go_on(None, None)?;
    }
    Ok(exit)
}

/// Settles one run.
async fn restore(t: &Tool, asked: &Asked, run: &RunId) -> Result<Exit, Failure> {
    let held = Held::open(t, run).await?;
    let created = held.run().created.clone();
    let status = held.run().status;
    if created.unprotected {
        let what = format!("run `{run}` was run with `--unprotected`: it has no snapshots");
        return Err(Failure::refused(
            what,
            format!("run {run}"),
            "use the tables' own history (time travel)",
        ));
    }
    let api = t.api().await?;
    runs::same_home(t, run, &created.endpoint, Some(&created.project), api.project())?;
    if status == Status::Accepted && !(asked.even_accepted && t.run_flag_given()) {
        let what = format!("run `{run}` was accepted: it is rolled back only when a person names it");
        return Err(Failure::refused(
            what,
            format!("run {run}"),
            format!("bq-restore --run {run} --even-accepted"),
        ));
    }
    if status == Status::Abandoned || !held.run().was_submitted() {
        return abandon(t, &api, &held).await;
    }
    t.begin_or_go_on(Some(run), Some(api.project()))?;
    let jobs = finality::settle_jobs(t, &api, &held, asked.wait_job).await?;
    if !jobs.any && matches!(status, Status::Running | Status::Failed | Status::Rejected) {
        return abandon(t, &api, &held).await;
    }
    let result = match status {
        Status::RolledBack => compare_again(t, &api, &held).await,
        _ => roll_back(t, &api, &held, asked, &jobs.statements).await,
    };
    if result.is_ok() && !t.dry_run {
        runs::settle(t, &api, &held).await?;
    }
    let exit = result?;
    if held.run().status == Status::RolledBack && !t.dry_run {
        write_vars(t, run, false, &[("ROLLBACK_EXECUTED", "true".to_owned())]);
    }
    Ok(match (exit, status) {
        // To roll back an accepted run was the very thing asked for: nothing has failed that must stay red.
        (Exit::RolledBack, Status::Accepted) => Exit::Ok,
        (Exit::RolledBack, _) if t.dry_run => Exit::Ok,
        (exit, _) => exit,
    })
}

/// Ends a run whose migration was never submitted: no table is touched, and its snapshots are left to expire (1).
async fn abandon(t: &Tool, api: &Api<'_>, held: &Held<'_>) -> Result<Exit, Failure> {
    let run = held.id();
    if held.run().status != Status::Abandoned && !t.dry_run {
        held.note(&[Event::Abandoned]).await?;
        runs::settle(t, api, held).await?;
    }
    let what =
        format!("the migration of run `{run}` was never submitted: no table was touched, and the run is abandoned");
    Err(Failure::new(
        Exit::No,
        what,
        format!("run {run}"),
        "nothing is left to do; begin a new run",
    ))
}

/// The protected tables of the run that are asked for.
fn wanted(held: &Held<'_>, asked: &Asked) -> Result<Vec<Snapshot>, Failure> {
    let run = held.run();
    for (flag, table) in asked
        .only
        .iter()
        .map(|t| ("--only", t))
        .chain(asked.discard.iter().map(|t| ("--discard-foreign", t)))
    {
        if !run.tables.contains_key(table) {
            let what = format!("`{table}` is not protected by run `{}`", run.created.run);
            return Err(Failure::usage(
                what,
                flag,
                "name a table of the run; `bq-restore -n` shows them",
            ));
        }
    }
    let all = run.tables.values().map(|p| p.snapshot.clone());
    Ok(all
        .filter(|s| asked.only.is_empty() || asked.only.contains(&s.table))
        .collect())
}

/// What BigQuery says of the tables and their snapshots now, rows counted in one query.
struct Seen {
    tables: BTreeMap<TableRef, Option<Table>>,
    rows: BTreeMap<TableRef, u64>,
}

async fn see(t: &Tool, api: &Api<'_>, held: &Held<'_>, snapshots: &[Snapshot]) -> Result<Seen, Failure> {
    let bases = snapshots.iter().map(|s| &s.table);
    let copies = snapshots.iter().filter_map(|s| s.snapshot.as_ref());
    let tables = look(api, t.jobs, bases.chain(copies)).await?;
    let rows = rows_now(t, api, held, snapshots, &tables).await?;
    Ok(Seen { tables, rows })
}

async fn rows_now(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    snapshots: &[Snapshot],
    tables: &BTreeMap<TableRef, Option<Table>>,
) -> Result<BTreeMap<TableRef, u64>, Failure> {
    let mut counted: Vec<(Counted, Option<Location>)> = Vec::new();
    for snapshot in snapshots {
        if let Some(found) = tables.get(&snapshot.table).and_then(Option::as_ref)
            && found.kind() == "TABLE"
        {
            let location = t.location.clone().or_else(|| found.location());
            counted.push((Counted::new(&snapshot.table, AsOf::Now, Some(&found.meta())), location));
        }
    }
    let rows = count::rows(api, &held.labels(), &counted).await?.rows;
    Ok(counted.into_iter().map(|(c, _)| c.table).zip(rows).collect())
}

/// Whether the snapshot is there and is of this table and this instant.
fn usable<'s>(snapshot: &'s Snapshot, seen: &Seen) -> Result<&'s TableRef, String> {
    let name = snapshot.snapshot.as_ref().ok_or("was never made")?;
    let found = seen
        .tables
        .get(name)
        .and_then(Option::as_ref)
        .ok_or_else(|| format!("`{name}` has expired or was deleted"))?;
    match found.snapshot_of() {
        Some((base, at)) if base == snapshot.table && Some(at) == snapshot.cut => Ok(name),
        _ => Err(format!("`{name}` is not of this table and instant")),
    }
}

/// Whether an earlier restore of ours replaced the table and nobody has changed it since: by what it looked like when we left it, or, if
/// we died before we could look, by being the clone of the snapshot with its rows.
fn was_put_back(run: &Run, snapshot: &Snapshot, now: &Table, rows: Option<u64>) -> bool {
    let Some(step) = run.steps.get(&(Step::Restore, Some(snapshot.table.clone()))) else {
        return false;
    };
    if step.outcome.as_ref().is_some_and(|o| o.error.is_some() && !o.unknown) {
        return false;
    }
    let looks = run.tables.get(&snapshot.table).and_then(|p| p.looks.as_ref());
    let as_we_left_it = looks.is_some_and(|l| l.meta.is_none() && l.modified_ms == Some(now.modified_ms()));
    as_we_left_it || (now.clone_of() == snapshot.snapshot && now.clone_of().is_some() && rows == snapshot.rows)
}

/// Plans, refuses as a whole what cannot be put back as a whole, puts back, compares.
async fn roll_back(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    asked: &Asked,
    statements: &[Statement],
) -> Result<Exit, Failure> {
    let snapshots = wanted(held, asked)?;
    let seen = see(t, api, held, &snapshots).await?;
    let mut ways = Vec::new();
    let mut refusals = Vec::new();
    for snapshot in &snapshots {
        match plan_one(held, asked, snapshot, &seen, statements) {
            Ok(way) => ways.push((snapshot, way)),
            Err(failure) => refusals.push(failure),
        }
    }
    if !refusals.is_empty() {
        return refuse_all(t, held, asked, &snapshots, refusals).await;
    }
    warn_beforehand(t, held, &ways, statements);
    if t.dry_run {
        for (snapshot, way) in &ways {
            let rows = seen.rows.get(&snapshot.table).copied();
            t.out
                .write(&Record::Restore(record(held, snapshot, way, None, rows, true)))?;
        }
        return Ok(Exit::Ok);
    }
    held.note(&[Event::RestoreBegun {
        only: asked.only.clone(),
    }])
    .await?;
    let results = at_a_time(t.jobs, &ways, async |(snapshot, way): &(&Snapshot, Way)| {
        let result = do_one(t, api, held, snapshot, way, &seen).await;
        (*snapshot, way, result)
    })
    .await;
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for (snapshot, way, result) in results {
        match result {
            Ok((kept, now)) => done.push((snapshot, way, kept, now)),
            Err(failure) => failed.push((snapshot.table.clone(), failure)),
        }
    }
    done.sort_by(|a, b| a.0.table.cmp(&b.0.table));
    finish(t, api, held, asked, done, failed).await
}

fn plan_one(
    held: &Held<'_>,
    asked: &Asked,
    snapshot: &Snapshot,
    seen: &Seen,
    statements: &[Statement],
) -> Result<Way, Failure> {
    let run = held.run();
    let table = &snapshot.table;
    let nothing = TableMeta::default();
    let found = seen.tables.get(table).and_then(Option::as_ref);
    let meta = found.map(Table::meta);
    let rows = seen.rows.get(table).copied();
    let cut = snapshot.cut.or(run.cut).unwrap_or(Timestamp::MAX);
    plan::way(&Facts {
        table,
        cut,
        rows_at_cut: snapshot.rows.map(|rows| rows + snapshot.unprotected_rows.unwrap_or(0)),
        before: snapshot.meta.as_ref().unwrap_or(&nothing),
        now: found.zip(meta.as_ref()).map(|(found, meta)| Now {
            kind: found.kind(),
            modified_ms: found.modified_ms(),
            meta,
            rows,
        }),
        snapshot: usable(snapshot, seen),
        writes: writes(statements)
            .filter(|(_, written)| *written == table)
            .map(|(s, _)| s)
            .collect(),
        put_back: found.is_some_and(|now| was_put_back(&run, snapshot, now, rows)),
        discard: asked.discard.contains(table),
    })
}

/// A guard stops the whole run: nothing is touched, every reason is told, and the journal says that a person is needed.
async fn refuse_all(
    t: &Tool,
    held: &Held<'_>,
    asked: &Asked,
    snapshots: &[Snapshot],
    refusals: Vec<Failure>,
) -> Result<Exit, Failure> {
    let what = refusals.iter().map(|f| f.what.clone()).collect::<Vec<_>>().join("; ");
    let next = refusals.iter().map(|f| f.hint.clone()).collect::<Vec<_>>().join("; ");
    if !t.dry_run && held.run().is_pending() && held.run().status != Status::Restoring {
        let left = snapshots.iter().map(|s| s.table.clone()).collect();
        let end = RestoreEnd {
            code: Exit::Refused.code(),
            only: !asked.only.is_empty(),
            left,
            next: next.clone(),
        };
        held.note(&[Event::RestoreEnded(end)]).await?;
    }
    let at = |place: &str| {
        let copies: Vec<String> = snapshots
            .iter()
            .filter_map(|s| s.snapshot.as_ref().map(ToString::to_string))
            .collect();
        format!("{place}; run {}, its snapshots: {}", held.id(), copies.join(", "))
    };
    if let [one] = refusals.as_slice() {
        return Err(Failure {
            what: format!("nothing was restored: {}", one.what),
            at: at(&one.at),
            ..one.clone()
        });
    }
    for failure in &refusals {
        t.error(failure);
    }
    let count = refusals.len();
    Err(Failure::refused(
        format!("nothing was restored: {count} tables cannot be put back as they are: {what}"),
        at("see above"),
        next,
    ))
}

/// What a person should know before it happens, and what is left for them to do.
fn warn_beforehand(t: &Tool, held: &Held<'_>, ways: &[(&Snapshot, Way)], statements: &[Statement]) {
    for (snapshot, way) in ways {
        if matches!(way, Way::Clone { doubt: true } | Way::Copy { doubt: true }) {
            let table = &snapshot.table;
            let what = format!(
                "whether others wrote to `{table}` between the cut and the migration's last statement cannot be told"
            );
            let hint = format!("what is there now is kept as {}_before_restore_{}", table, held.id());
            t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
        }
    }
    let run = held.run();
    let made: BTreeSet<&TableRef> = made(statements)
        .into_iter()
        .filter(|table| !run.tables.contains_key(*table))
        .collect();
    for table in made {
        let what = format!("the migration made `{table}`; it is left");
        let hint = format!("bq query --use_legacy_sql=false 'DROP TABLE {}'", table.sql());
        t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
    }
}

async fn do_one(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    snapshot: &Snapshot,
    way: &Way,
    seen: &Seen,
) -> Result<(Option<TableRef>, Table), Failure> {
    let lacking = |what: &str| {
        let what = format!("the journal lacks the {what} of `{}`", snapshot.table);
        Failure::new(
            Exit::Unknown,
            what,
            format!("run {}", held.id()),
            "a person should look",
        )
        .about(&snapshot.table)
    };
    let found = seen
        .tables
        .get(&snapshot.table)
        .and_then(Option::as_ref)
        .ok_or_else(|| lacking("table"))?;
    let task = Task {
        table: &snapshot.table,
        snapshot: snapshot.snapshot.as_ref().ok_or_else(|| lacking("snapshot"))?,
        before: snapshot.meta.as_ref().ok_or_else(|| lacking("pre-image"))?,
        found,
        way: way.clone(),
    };
    put_back(t, api, held, &task).await
}

fn record(
    held: &Held<'_>,
    snapshot: &Snapshot,
    way: &Way,
    kept: Option<TableRef>,
    rows: Option<u64>,
    ok: bool,
) -> Restore {
    Restore {
        run: held.id(),
        table: snapshot.table.clone(),
        from: match way {
            Way::Unchanged => RestoredFrom::Unchanged,
            _ => RestoredFrom::Snapshot,
        },
        source: match way {
            Way::Unchanged => None,
            _ => snapshot.snapshot.as_ref().map(ToString::to_string),
        },
        kept,
        rows,
        ok,
    }
}

/// How a table differs from the cut; empty: it does not.
fn differences(snapshot: &Snapshot, now: Option<&Table>, rows: Option<u64>) -> Vec<String> {
    let Some(now) = now else {
        return vec!["there is no such table".to_owned()];
    };
    let mut found = Vec::new();
    if rows != snapshot.rows {
        let text = |rows: Option<u64>| rows.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        found.push(format!("rows: were {}, are {}", text(snapshot.rows), text(rows)));
    }
    if let Some(before) = &snapshot.meta {
        let meta = now.meta();
        if before.layout() != meta.layout() {
            found.push(format!(
                "partitioning and clustering: were {}, are {}",
                before.layout(),
                meta.layout()
            ));
        }
        found.extend(before.schema_differences(&meta, SchemaRule::Same));
        found.extend(before.option_differences(&meta));
    }
    found
}

/// Compares what was done with the cut, tells and journals it, and says how it ended.
async fn finish(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    asked: &Asked,
    done: Vec<(&Snapshot, &Way, Option<TableRef>, Table)>,
    failed: Vec<(TableRef, Failure)>,
) -> Result<Exit, Failure> {
    let tables = done
        .iter()
        .map(|(snapshot, _, _, now)| (snapshot.table.clone(), Some(now.clone())))
        .collect();
    let snapshots: Vec<Snapshot> = done.iter().map(|(snapshot, ..)| (*snapshot).clone()).collect();
    let rows = rows_now(t, api, held, &snapshots, &tables).await?;
    let replaced = done.iter().any(|(_, way, ..)| **way != Way::Unchanged);
    let mut exit = match failed.iter().map(|(_, failure)| failure.exit).reduce(Exit::or_graver) {
        None => Exit::RolledBack,
        Some(worst) => match (t.stopped_by(), replaced) {
            (Some(signal), _) => Exit::Signal(signal),
            (None, true) => Exit::Partial.or_graver(worst),
            (None, false) => worst,
        },
    };
    let mut left = Vec::new();
    let mut troubles: Vec<Failure> = Vec::new();
    for (snapshot, way, kept, now) in &done {
        let rows = rows.get(&snapshot.table).copied();
        let differences = differences(snapshot, Some(now), rows);
        let restore = record(held, snapshot, way, kept.clone(), rows, differences.is_empty());
        held.note(&[Event::Restored(restore.clone())]).await?;
        // bq-restore finishes whether or not somebody reads: its code is that of the restore.
        let _ = t.out.write(&Record::Restore(restore));
        if !differences.is_empty() {
            exit = exit.or_graver(Exit::Unknown);
            left.push(snapshot.table.clone());
            let what = format!("`{}` differs from the cut: {}", snapshot.table, differences.join("; "));
            let hint = "a person should look; its snapshot and the copy of what was there are kept";
            troubles.push(
                Failure::new(Exit::Unknown, what, format!("table {}", snapshot.table), hint).about(&snapshot.table),
            );
        }
    }
    for (table, failure) in failed {
        left.push(table);
        troubles.push(failure);
    }
    let run = held.id();
    let next = match (left.is_empty(), asked.only.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("bq-restore --run {run} restores the rest; bq-check --run {run} --accept accepts it"),
        (false, _) => format!("bq-restore --run {run}"),
    };
    let end = RestoreEnd {
        code: exit.code(),
        only: !asked.only.is_empty(),
        left: left.clone(),
        next: next.clone(),
    };
    held.note(&[Event::RestoreEnded(end)]).await?;
    if left.is_empty() {
        if !next.is_empty() {
            t.tell(&format!("run {run} stays pending: {next}"));
        }
        return Ok(exit);
    }
    let places: Vec<String> = {
        let run = held.run();
        let copy = |table: &TableRef| {
            run.tables
                .get(table)
                .and_then(|p| p.snapshot.snapshot.as_ref().map(ToString::to_string))
        };
        left.iter()
            .map(|table| format!("{table} (snapshot {})", copy(table).unwrap_or_default()))
            .collect()
    };
    let count = done.len() + left.len() - done.iter().filter(|(s, ..)| left.contains(&s.table)).count();
    let what = format!("{} of {count} tables do not equal the cut", left.len());
    if let [one] = troubles.as_slice() {
        return Err(Failure {
            what: format!("{what}: {}", one.what),
            at: places.join(", "),
            hint: next,
            ..one.clone().with_exit(exit)
        });
    }
    for failure in &troubles {
        t.error(failure);
    }
    Err(Failure::new(exit, what, places.join(", "), next))
}

/// A run that was rolled back before: its tables are compared again, and nothing is changed. 10 if they equal the cut, else 4.
async fn compare_again(t: &Tool, api: &Api<'_>, held: &Held<'_>) -> Result<Exit, Failure> {
    let snapshots: Vec<Snapshot> = held.run().tables.values().map(|p| p.snapshot.clone()).collect();
    let seen = see(t, api, held, &snapshots).await?;
    let mut bad = Vec::new();
    for snapshot in &snapshots {
        let now = seen.tables.get(&snapshot.table).and_then(Option::as_ref);
        let rows = seen.rows.get(&snapshot.table).copied();
        let differences = differences(snapshot, now, rows);
        t.out.write(&Record::Restore(record(
            held,
            snapshot,
            &Way::Unchanged,
            None,
            rows,
            differences.is_empty(),
        )))?;
        let changed = now.is_some_and(|now| {
            held.run()
                .tables
                .get(&snapshot.table)
                .is_some_and(|p| later_than(now, p))
        });
        if !differences.is_empty() {
            bad.push(format!("`{}` {}", snapshot.table, differences.join(", ")));
        } else if changed && t.verbose {
            t.tell(&format!(
                "{} was written to since it was rolled back, and equals the cut in rows, columns and options",
                snapshot.table
            ));
        }
    }
    if bad.is_empty() {
        return Ok(Exit::RolledBack);
    }
    let run = held.id();
    let what = format!(
        "run `{run}` was rolled back, and its tables have changed since: {}",
        bad.join("; ")
    );
    Err(Failure::refused(
        what,
        format!("run {run}"),
        "nothing was changed; these are later writes, for a person to judge",
    ))
}

/// Whether a table was changed after we last saw it.
fn later_than(now: &Table, protected: &bqlib::state::Protected) -> bool {
    let seen = protected.looks.as_ref().and_then(|l| l.modified_ms);
    let cut = protected.snapshot.cut.map(millis);
    seen.or(cut).is_some_and(|seen| now.modified_ms() > seen)
}
