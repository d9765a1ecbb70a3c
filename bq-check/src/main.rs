//! bq-check: decides. Everything it is sure of is written out before the journal says accepted, and that before it ends with 0.

mod checks;
mod questions;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use bqlib::api::{Api, Table};
use bqlib::count::{self, Question as Query};
use bqlib::exit::{Exit, Failure};
use bqlib::expect::{Expect, parse_expect_flag};
use bqlib::journal;
use bqlib::meta::integer;
use bqlib::names::{Location, RunId, TableRef};
use bqlib::perform::Held;
use bqlib::record::{Check, Migration, Record, Severity, Snapshot, Verdict};
use bqlib::runs::{self, look, write_vars};
use bqlib::sql::{self, AsOf, Counted, RUN_LABEL, TOOL_LABEL};
use bqlib::state::{Event, Judgement, Status};
use bqlib::stream::{self, Input, Stream};
use bqlib::tool::{self, Tool};
use clap::Parser;

use checks::{Finding, Now};
use questions::Question;

/// Decide whether a migration is good; the exit code answers for the whole line before it
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///     bq-count -f tables.csv | bq-check        compares counts with the column `records`
///     bq-check --run ID                        checks a migrated run from its journal
///
/// Exit 0 is given only for a whole stream whose every check held, with the journal saying accepted.
#[derive(Parser)]
#[command(name = "bq-check", version, verbatim_doc_comment)]
struct Args {
    /// A row count that a protected table must have, such as 'd.t >= 100'; repeatable
    #[arg(long, value_name = "TABLE OP N")]
    expect: Vec<String>,
    /// SQL whose rows are violations: a file, or every .sql of a directory; repeatable
    #[arg(long, value_name = "FILE|DIR")]
    sql: Vec<PathBuf>,
    /// Compare a query's speed on the snapshots and on the live tables (not supported yet)
    #[arg(long, value_name = "FILE.sql")]
    probe: Vec<PathBuf>,
    /// Write everything to this file too: nothing may stand behind bq-check in a line
    #[arg(long, value_name = "FILE")]
    copy: Option<PathBuf>,
    /// A person's yes to a run that is migrated or rejected
    #[arg(long, conflicts_with_all = ["expect", "sql", "probe", "reject"])]
    accept: bool,
    /// A person's no
    #[arg(long, requires = "because", conflicts_with_all = ["expect", "sql", "probe"])]
    reject: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-check", tool::WAIT, run)
}

/// What is asked besides the default checks.
struct Asked {
    expect: Vec<(TableRef, Expect)>,
    questions: Vec<Question>,
}

/// How the checks ended.
struct Answer {
    checks: Vec<Check>,
    /// The gravest code of what could not be asked.
    trouble: Exit,
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    if !args.probe.is_empty() {
        return Err(Failure::not_yet("--probe", "leave it out, or ask with `--sql`"));
    }
    if let Some(path) = &args.copy {
        let file = File::create(path).map_err(|e| {
            Failure::usage(
                format!("the copy cannot be made: {e}"),
                path.display().to_string(),
                "name another file with `--copy`",
            )
        })?;
        t.out.copy_to(file);
    }
    if args.accept || args.reject {
        return by_person(&args, t).await;
    }
    let wrong = read_asked(&args, t);
    if t.run_flag_given() && no_stream() {
        return from_journal(t, &wrong?).await;
    }
    t.fetch_credentials();
    let (stream, unread) = Stream::read(t, Input::stdin(), None).await;
    let failure = match (unread, stream.broken(t.dry_run)) {
        (Some(failure), _) => Some(failure),
        (None, Some(why)) => Some(not_accepted(&stream, &why)),
        (None, None) if !stream.snapshots.is_empty() && stream.migrations.is_empty() => Some(stream::broken(
            "it holds snapshots and no migration",
            "put bq-run between bq-snap and bq-check",
        )),
        (None, None) => None,
    };
    let (failure, asked) = match (failure, wrong) {
        (Some(failure), _) | (None, Err(failure)) => (Some(failure), None),
        (None, Ok(asked)) => (None, Some(asked)),
    };
    match (failure, asked) {
        (None, Some(asked)) if stream.snapshots.is_empty() => counted(t, &stream, &asked).await,
        (None, Some(asked)) => migrated(t, &stream, &asked).await,
        (failure, _) => {
            let failure = failure.unwrap_or_else(|| stream::broken("it cannot be read", "look at the line"));
            reject_stream(t, &stream, failure).await
        }
    }
}

/// The failure of a broken stream: not accepted, and what puts the tables back if there is anything to put back.
fn not_accepted(stream: &Stream, why: &str) -> Failure {
    let submitted = stream.migrations.iter().any(|m| m.job.is_some());
    let hint = match (&stream.run, submitted) {
        (Some(run), true) => format!("bq-restore --run {run}"),
        _ => "look at what the programs before this one said; no migration is known to have been submitted".to_owned(),
    };
    let failure = stream::broken(why, &hint);
    Failure {
        what: format!("not accepted: {}", failure.what),
        ..failure
    }
}

/// Flags and files, before standard input: what is wrong in them is wrong whatever the stream says.
fn read_asked(args: &Args, t: &Tool) -> Result<Asked, Failure> {
    let mut expect = Vec::new();
    for text in &args.expect {
        let hint = "for example `--expect 'dataset.table >= 100'`";
        let (table, wanted) = parse_expect_flag(text).map_err(|e| Failure::usage(e.to_string(), "--expect", hint))?;
        let table =
            TableRef::parse(&table, t.named_project()).map_err(|e| Failure::usage(e.to_string(), "--expect", hint))?;
        expect.push((table, wanted));
    }
    Ok(Asked {
        expect,
        questions: questions::read(&args.sql)?,
    })
}

/// Whether standard input cannot be a stream: a terminal, /dev/null, or closed. An empty pipe is a stream, and a broken one.
fn no_stream() -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::metadata("/dev/stdin") {
        Ok(stdin) => stdin.file_type().is_char_device(),
        Err(_) => true,
    }
}

/// Ends a broken stream: a verdict that says no, and, if its migration was submitted, a journal that says rejected.
async fn reject_stream(t: &Tool, stream: &Stream, failure: Failure) -> Result<Exit, Failure> {
    let held = submitted_run(t, stream).await;
    t.begin(stream.run.as_ref(), None)?;
    let written = t.out.write(&verdict_of(stream.run.as_ref(), &[], false));
    if let Ok(Some(held)) = &held {
        judge(t, held, false, &failure.what).await?;
    }
    written?;
    match held {
        // A run that another process holds, or a journal that cannot be read, is told besides; the stream is what was asked about.
        Err(trouble) => {
            t.error(&trouble);
            let exit = failure.exit.or_graver(trouble.exit);
            Err(failure.with_exit(exit))
        }
        Ok(_) => Err(failure),
    }
}

/// The run of a stream, held, if its migration was ever submitted as far as this journal or this stream knows.
async fn submitted_run<'t>(t: &'t Tool, stream: &Stream) -> Result<Option<Held<'t>>, Failure> {
    let Some(run) = &stream.run else { return Ok(None) };
    if t.dry_run || stream.dry_run {
        return Ok(None);
    }
    let held = match journal::read(&t.state_dir, run) {
        Ok(_) => Held::open(t, run).await?,
        Err(journal::Error::Missing(_)) if stream.migrations.iter().any(|m| m.job.is_some()) => {
            let project = stream.home.as_ref().and_then(|(project, _)| project.clone());
            let Some(project) = project else { return Ok(None) };
            runs::of_stream(t, stream, &project).await?
        }
        Err(journal::Error::Missing(_)) => return Ok(None),
        Err(e) => return Err(bqlib::perform::of_journal(&e)),
    };
    let status = held.run().status;
    Ok(matches!(
        status,
        Status::Running | Status::Failed | Status::Migrated | Status::Rejected
    )
    .then_some(held))
}

/// Journals a verdict of the program's, and tells the shell.
async fn judge(t: &Tool, held: &Held<'_>, accepted: bool, because: &str) -> Result<(), Failure> {
    let judgement = Judgement {
        accepted,
        by_person: false,
        because: because.to_owned(),
    };
    held.note(&[Event::Verdict(judgement)]).await?;
    write_vars(t, &held.id(), false, &[("MIGRATION_SUCCESS", accepted.to_string())]);
    Ok(())
}

/// Counts against `records`: the stream of bq-count.
async fn counted(t: &Tool, stream: &Stream, asked: &Asked) -> Result<Exit, Failure> {
    let run = stream.run.as_ref();
    let mut checks = Vec::new();
    for count in &stream.counts {
        let expected = asked
            .expect
            .iter()
            .filter(|(table, _)| *table == count.table)
            .map(|(_, wanted)| ("expect", *wanted));
        for (name, wanted) in count
            .records
            .map(|wanted| ("records", wanted))
            .into_iter()
            .chain(expected)
        {
            let finding = Finding {
                name,
                table: Some(&count.table),
                ok: wanted.holds(Some(count.rows), Some(count.rows)),
                want: wanted.to_string(),
                got: count.rows.to_string(),
            };
            checks.push(finding.record(run));
        }
    }
    let known = |table: &TableRef| stream.counts.iter().any(|count| count.table == *table);
    not_in_the_set(asked, known)?;
    let mut trouble = Exit::Ok;
    t.begin(run, None)?;
    if !asked.questions.is_empty() {
        let api = t.api().await?;
        let labels = labels(t, run);
        let (more, exit) = questions::ask(&api, t.jobs, &asked.questions, run, t.location.as_ref(), &labels).await;
        checks.extend(more);
        trouble = exit;
    }
    let answer = Answer { checks, trouble };
    tell(t, run, &answer)?;
    if answer.checks.is_empty() {
        let hint = "fill the column `records` of the list, or ask with `--expect` or `--sql`";
        return Err(Failure::new(
            Exit::No,
            "nothing was asked: no count has `records`",
            "the stream",
            hint,
        ));
    }
    Ok(exit_of(&answer))
}

fn labels(t: &Tool, run: Option<&RunId>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([(TOOL_LABEL.to_owned(), t.name.to_owned())]);
    labels.extend(run.map(|run| (RUN_LABEL.to_owned(), run.to_string())));
    labels
}

fn not_in_the_set(asked: &Asked, known: impl Fn(&TableRef) -> bool) -> Result<(), Failure> {
    match asked.expect.iter().find(|(table, _)| !known(table)) {
        None => Ok(()),
        Some((table, _)) => {
            let what = format!("`{table}` is not in the stream");
            Err(Failure::usage(what, "--expect", "name a table of the list"))
        }
    }
}

/// A migration's stream, whole.
async fn migrated(t: &Tool, stream: &Stream, asked: &Asked) -> Result<Exit, Failure> {
    let api = t.api().await?;
    if t.dry_run {
        t.begin(stream.run.as_ref(), Some(api.project()))?;
        let run = stream
            .run
            .clone()
            .ok_or_else(|| stream::broken("it names no run", "begin the line with bq-snap"))?;
        let answer = check(t, &api, &run, &stream.snapshots, &stream.migrations, asked).await?;
        tell(t, Some(&run), &answer)?;
        return Ok(exit_of(&answer));
    }
    let held = runs::of_stream(t, stream, api.project()).await?;
    decide(t, &api, &held, &stream.snapshots, &stream.migrations, asked).await
}

/// A run that was migrated earlier, from its journal.
async fn from_journal(t: &Tool, asked: &Asked) -> Result<Exit, Failure> {
    let run = named_or_pending(t)?;
    let held = Held::open(t, &run).await?;
    let api = t.api().await?;
    let (snapshots, migrations) = {
        let state = held.run();
        runs::same_home(
            t,
            &run,
            &state.created.endpoint,
            Some(&state.created.project),
            api.project(),
        )?;
        if state.status != Status::Migrated {
            let what = format!(
                "run `{run}` is {}, and only a migrated run can be checked",
                state.status
            );
            return Err(Failure::refused(what, format!("run {run}"), next_step(&state)));
        }
        let snapshots: Vec<Snapshot> = state.tables.values().map(|table| table.snapshot.clone()).collect();
        (snapshots, state.migrations.clone())
    };
    decide(t, &api, &held, &snapshots, &migrations, asked).await
}

fn next_step(run: &bqlib::state::Run) -> String {
    let id = &run.created.run;
    if run.is_pending() {
        format!("bq-restore --run {id}")
    } else {
        "bq-restore --list shows the runs".to_owned()
    }
}

/// Checks, writes everything out, then journals the verdict, whichever way it went; settles an accepted run.
async fn decide(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    snapshots: &[Snapshot],
    migrations: &[Migration],
    asked: &Asked,
) -> Result<Exit, Failure> {
    let run = held.id();
    let status = held.run().status;
    if !matches!(status, Status::Migrated | Status::Accepted) {
        let what = format!("the stream says that run `{run}` is migrated, and its journal that it is {status}");
        let hint = next_step(&held.run());
        return Err(Failure::refused(what, format!("run {run}"), hint));
    }
    let judged: Result<Answer, Failure> = async {
        t.begin(Some(&run), Some(api.project()))?;
        let answer = check(t, api, &run, snapshots, migrations, asked).await?;
        tell(t, Some(&run), &answer)?;
        t.go_on("bq-restore puts the tables back")?;
        Ok(answer)
    }
    .await;
    let (accepted, because) = match &judged {
        Ok(answer) => (accepted(&answer.checks), summary(&answer.checks)),
        Err(failure) => {
            // Whoever keeps the verdict reads a no here too. That it cannot be written is not the worst of it.
            let _ = t.out.write(&verdict_of(Some(&run), &[], false));
            (false, failure.what.clone())
        }
    };
    if accepted || status == Status::Migrated {
        judge(t, held, accepted, &because).await?;
    }
    let answer = judged?;
    if accepted {
        runs::settle(t, api, held).await?;
    }
    Ok(exit_of(&answer))
}

/// Asks everything: the default checks, `--expect`, `--sql`.
async fn check(
    t: &Tool,
    api: &Api<'_>,
    run: &RunId,
    snapshots: &[Snapshot],
    migrations: &[Migration],
    asked: &Asked,
) -> Result<Answer, Failure> {
    not_in_the_set(asked, |table| snapshots.iter().any(|s| s.table == *table))?;
    let labels = labels(t, Some(run));
    let there = look(api, t.jobs, snapshots.iter().map(|s| &s.table)).await?;
    let now = count_now(t, api, &labels, there).await?;
    let mut checks = Vec::new();
    for snapshot in snapshots {
        let now = now.get(&snapshot.table).and_then(Option::as_ref);
        let missed = match now {
            Some(now) => missed(api, &labels, snapshot, now).await?,
            None => 0,
        };
        checks.extend(checks::of_table(run, snapshot, now, missed));
    }
    checks.push(checks::of_writes(run, snapshots, migrations));
    for (table, wanted) in &asked.expect {
        let rows = now.get(table).and_then(Option::as_ref).and_then(|now| now.rows);
        let cut = snapshots.iter().find(|s| s.table == *table).and_then(|s| s.rows);
        let finding = Finding {
            name: "expect",
            table: Some(table),
            ok: wanted.holds(rows, cut),
            want: wanted.to_string(),
            got: rows.map_or_else(|| "no such table".to_owned(), |rows| rows.to_string()),
        };
        checks.push(finding.record(Some(run)));
    }
    let location = t.location.clone().or_else(|| location_of(snapshots));
    let (more, trouble) = questions::ask(api, t.jobs, &asked.questions, Some(run), location.as_ref(), &labels).await;
    checks.extend(more);
    Ok(Answer { checks, trouble })
}

fn location_of(snapshots: &[Snapshot]) -> Option<Location> {
    snapshots.iter().find_map(|s| s.meta.as_ref()?.location())
}

/// The tables that are there, with their rows, counted in one query.
async fn count_now(
    t: &Tool,
    api: &Api<'_>,
    labels: &BTreeMap<String, String>,
    there: BTreeMap<TableRef, Option<Table>>,
) -> Result<BTreeMap<TableRef, Option<Now>>, Failure> {
    let tables: Vec<(&TableRef, &Table)> = there
        .iter()
        .filter_map(|(name, found)| Some((name, found.as_ref()?)))
        .filter(|(_, found)| found.kind() == "TABLE")
        .collect();
    let counted: Vec<_> = tables
        .iter()
        .map(|(name, found)| {
            (
                Counted::new(name, AsOf::Now, Some(&found.meta())),
                t.location.clone().or_else(|| found.location()),
            )
        })
        .collect();
    let rows = count::rows(api, labels, &counted).await?.rows;
    let rows: BTreeMap<TableRef, u64> = tables.iter().map(|(name, _)| (*name).clone()).zip(rows).collect();
    let now = there.into_iter().map(|(name, found)| {
        let now = found.map(|found| Now {
            kind: found.kind().to_owned(),
            meta: found.meta(),
            rows: rows.get(&name).copied(),
        });
        (name, now)
    });
    Ok(now.collect())
}

/// Rows of the cut in partitions that have expired since: nobody may miss them. Asked only of a table that has fewer rows than it had.
async fn missed(
    api: &Api<'_>,
    labels: &BTreeMap<String, String>,
    snapshot: &Snapshot,
    now: &Now,
) -> Result<u64, Failure> {
    let (Some(meta), Some(copy), Some(cut), Some(rows)) = (&snapshot.meta, &snapshot.snapshot, snapshot.rows, now.rows)
    else {
        return Ok(0);
    };
    let (Some((column, unit)), Some(lives)) = (meta.time_partitioning(), meta.partition_expiration_ms()) else {
        return Ok(0);
    };
    if rows >= cut || snapshot.after.is_some() {
        return Ok(0);
    }
    let location = meta.location();
    let question = Query {
        what: "living",
        location: location.as_ref(),
        labels,
        params: &[],
    };
    let text = sql::living_rows(copy, &column, &unit, lives, api.now());
    let (found, ..) = count::query(api, &question, &text, None).await.map_err(|e| {
        e.failure(&format!("counting the living partitions of {copy}"))
            .about(&snapshot.table)
    })?;
    let living = found
        .first()
        .and_then(|row| row.get("n"))
        .and_then(integer)
        .unwrap_or(cut);
    Ok(cut.saturating_sub(living))
}

/// Writes the checks and the verdict.
fn tell(t: &Tool, run: Option<&RunId>, answer: &Answer) -> Result<(), Failure> {
    for check in &answer.checks {
        t.out.write(&Record::Check(check.clone()))?;
    }
    t.out.write(&verdict_of(run, &answer.checks, accepted(&answer.checks)))
}

/// A yes that was earned: something was asked, and nothing that weighs failed or could not be asked.
fn accepted(checks: &[Check]) -> bool {
    !checks.is_empty()
        && checks
            .iter()
            .all(|c| c.ok == Some(true) || c.severity == Severity::Warn)
}

fn verdict_of(run: Option<&RunId>, checks: &[Check], accepted: bool) -> Record {
    let count = |what: Option<bool>| checks.iter().filter(|c| c.ok == what).count() as u64;
    Record::Verdict(Verdict {
        run: run.cloned(),
        accepted,
        passed: count(Some(true)),
        failed: count(Some(false)),
        errors: count(None),
        content: checks.iter().filter(|c| c.name.starts_with("sql:")).count() as u64,
    })
}

fn summary(checks: &[Check]) -> String {
    let bad: Vec<String> = checks
        .iter()
        .filter(|c| c.ok != Some(true))
        .map(|c| match &c.table {
            Some(table) => format!("{} of {table}: wanted {}, got {}", c.name, c.want, c.got),
            None => format!("{}: wanted {}, got {}", c.name, c.want, c.got),
        })
        .collect();
    if bad.is_empty() {
        format!("{} checks held", checks.len())
    } else {
        bad.join("; ")
    }
}

/// 0 accepted; 1 a check said no; else the code of what could not be asked.
fn exit_of(answer: &Answer) -> Exit {
    if accepted(&answer.checks) {
        return Exit::Ok;
    }
    let said_no = answer
        .checks
        .iter()
        .any(|c| c.ok == Some(false) && c.severity == Severity::Error);
    match (said_no, answer.trouble) {
        (true, trouble) => Exit::No.or_graver(trouble),
        (false, Exit::Ok) => Exit::No,
        (false, trouble) => trouble,
    }
}

/// The run that is named, or the one that is pending.
fn named_or_pending(t: &Tool) -> Result<RunId, Failure> {
    if let Some(run) = t.asked_run() {
        return Ok(run.clone());
    }
    let (known, _) = runs::known(t)?;
    let mut pending = known.iter().filter(|run| run.is_pending()).map(|run| &run.created.run);
    match (pending.next(), pending.next()) {
        (Some(run), None) => Ok(run.clone()),
        (None, _) => {
            let what = "no run is pending";
            Err(Failure::new(
                Exit::No,
                what,
                runs::state_dir(t),
                "name a run with `--run`; `bq-restore --list` shows them",
            ))
        }
        (Some(_), Some(_)) => Err(Failure::refused(
            "several runs are pending",
            runs::state_dir(t),
            "name one with `--run`; `bq-restore --list` shows them",
        )),
    }
}

/// `--accept` and `--reject`: a person settles a run that is migrated or rejected.
async fn by_person(args: &Args, t: &Tool) -> Result<Exit, Failure> {
    let run = named_or_pending(t)?;
    let held = Held::open(t, &run).await?;
    {
        let state = held.run();
        let settled = if args.accept {
            state.status == Status::Accepted
        } else {
            state.status == Status::Rejected
        };
        let open = matches!(state.status, Status::Migrated | Status::Rejected)
            || (args.reject && state.status == Status::Failed);
        if !settled && (!open || (args.accept && state.restore_begun)) {
            let what = match state.restore_begun {
                true => format!("a restore of run `{run}` has begun: it cannot be accepted any more"),
                false => format!(
                    "run `{run}` is {}, and only a migrated or rejected run can be settled by a person",
                    state.status
                ),
            };
            return Err(Failure::refused(what, format!("run {run}"), next_step(&state)));
        }
    }
    let api = t.api().await?;
    let created = held.run().created.clone();
    runs::same_home(t, &run, &created.endpoint, Some(&created.project), api.project())?;
    t.begin(Some(&run), Some(api.project()))?;
    let because = args
        .because
        .clone()
        .unwrap_or_else(|| "accepted by a person".to_owned());
    let judgement = Judgement {
        accepted: args.accept,
        by_person: true,
        because,
    };
    t.out.write(&verdict_of(Some(&run), &[], args.accept))?;
    if !t.dry_run {
        held.note(&[Event::Verdict(judgement)]).await?;
        write_vars(t, &run, false, &[("MIGRATION_SUCCESS", args.accept.to_string())]);
        runs::settle(t, &api, &held).await?;
    }
    Ok(Exit::Ok)
}
