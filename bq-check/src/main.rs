//! bq-check: decides. Everything it is sure of is written out before the journal says accepted, and that before it ends with 0.

mod answer;
mod checks;
mod content;
mod counted;
mod evaluate;
mod junit;
mod options;
mod person;
mod policies;
mod probe;
mod question;
mod questions;
mod speed;
mod verdict;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bqlib::api::Api;
use bqlib::exit::{Exit, Failure};
use bqlib::expect::{Expect, parse_expect_flag};
use bqlib::journal;
use bqlib::names::TableRef;
use bqlib::output::STDOUT;
use bqlib::perform::Held;
use bqlib::plan::check::{Next, Request, next_step, plan};
use bqlib::record::{Migration, Snapshot};
use bqlib::runs::{self, write_vars};
use bqlib::state::{Event, Judgement};
use bqlib::stream::{self, Input, Stream};
use bqlib::tool::{self, Tool};
use clap::Parser;

use counted::counted;
use evaluate::check;
use junit::Junit;
use person::{by_person, named_or_pending};
use questions::Questions;
use verdict::{Answer, accepted, exit_of, summary, tell, verdict_of, verdict_of_failure};

/// Decide whether a migration is good; the exit code answers for the whole line before it
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///     bq-count -f tables.csv | bq-check        compares counts with the column `records`
///     bq-check --run ID                        checks a migrated run from its journal
///
/// Exit 0 is given only when every check that weighs held, something was asked, and the journal says accepted.
#[derive(Parser)]
#[command(name = "bq-check", version, verbatim_doc_comment)]
struct Args {
    /// A row count that a protected table must have, such as 'd.t >= 100'; repeatable
    #[arg(long, value_name = "TABLE OP N")]
    expect: Vec<String>,
    #[command(flatten)]
    questions: questions::Flags,
    #[command(flatten)]
    probes: probe::Flags,
    #[command(flatten)]
    content: content::Flags,
    /// Write everything to this file too: nothing may stand behind bq-check in a line
    #[arg(long, value_name = "FILE")]
    copy: Option<PathBuf>,
    #[command(flatten)]
    junit: junit::Flags,
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
    questions: Questions,
    probes: probe::Probes,
    junit: Junit,
    content: Option<content::Asked>,
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    let junit = Junit::open(&args.junit, t)?;
    let result = ask_and_decide(args, t, &junit).await;
    if let Err(failure) = &result {
        junit.failed(t, failure);
    }
    result
}

async fn ask_and_decide(args: Args, t: &Tool, junit: &Junit) -> Result<Exit, Failure> {
    if args.because.as_deref().is_some_and(|because| because.trim().is_empty()) {
        return Err(Failure::usage("`--because` says nothing", "--because", "say why"));
    }
    if args.because.is_some() && !args.accept && !args.reject {
        let hint = "add `--accept` or `--reject`, or leave it out";
        return Err(Failure::usage(
            "`--because` is a person's, and settles nothing by itself",
            "--because",
            hint,
        ));
    }
    if let Some(path) = &args.copy {
        open_copy(t, path)?;
    }
    if args.accept || args.reject {
        return by_person(&args, t).await;
    }
    let wrong = read_asked(&args, t, junit);
    if t.run_flag_given() && no_stream() {
        return from_journal(t, &wrong?).await;
    }
    // Nobody has begun to migrate yet, as a rule: a bq-run whose reader is gone submits nothing. What stands in a file has happened.
    if let Err(failure) = &wrong
        && stdin_is_a_pipe()
    {
        return Err(failure.clone());
    }
    t.fetch_credentials();
    let (stream, unread) = Stream::read(t, Input::stdin(t), None).await;
    let failure = match (unread, stream.broken(t.dry_run)) {
        (Some(failure), _) => Some(stopped(&stream, failure)),
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

/// Has everything written to this file too.
///
/// # Errors
/// It cannot be (2). With `-n` nothing is written, but what could not be is refused all the same.
fn open_copy(t: &Tool, path: &Path) -> Result<(), Failure> {
    let cannot = |why: String| {
        let what = format!("the copy cannot be made: {why}");
        Failure::usage(what, path.display().to_string(), "name another file with `--copy`")
    };
    if path.is_dir() {
        return Err(cannot("it is a directory".to_owned()));
    }
    // Only a copy gives way to a copy: a journal, or the user's SQL, must not.
    let mut start = Vec::new();
    if path.is_file() {
        let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
        read.map_err(|e| cannot(e.to_string()))?;
    }
    if !start.is_empty() && !b"{\"type\":".starts_with(&start[..]) {
        return Err(cannot("what is there is no stream".to_owned()));
    }
    if !t.dry_run {
        t.out.copy_to(File::create(path).map_err(|e| cannot(e.to_string()))?);
    }
    Ok(())
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

/// What a signal in the middle of the stream leaves to do; any other failure is as it was.
fn stopped(stream: &Stream, failure: Failure) -> Failure {
    match (&stream.run, failure.exit) {
        (Some(run), Exit::Signal(_)) => Failure {
            what: format!("not accepted: {}", failure.what),
            hint: format!("bq-restore --run {run}"),
            ..failure
        },
        _ => failure,
    }
}

/// Flags and files, before standard input: what is wrong in them is wrong whatever the stream says.
fn read_asked(args: &Args, t: &Tool, junit: &Junit) -> Result<Asked, Failure> {
    let mut expect = Vec::new();
    for text in &args.expect {
        let hint = "for example `--expect 'dataset.table >= 100'`";
        let (table, wanted) = parse_expect_flag(text).map_err(|e| e.failure("--expect"))?;
        let table =
            TableRef::parse(&table, t.named_project()).map_err(|e| Failure::usage(e.to_string(), "--expect", hint))?;
        expect.push((table, wanted));
    }
    let questions = Questions::read(&args.questions, t, args.content.what.max_bytes_billed)?;
    let probes = probe::read(&args.probes, t, &questions)?;
    let scans = !questions.is_empty() || !probes.is_empty();
    if !scans {
        args.questions.refuse_without_files()?;
    }
    let content = content::read(&args.content, t, scans)?;
    Ok(Asked {
        expect,
        probes,
        questions,
        junit: junit.clone(),
        content,
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

fn stdin_is_a_pipe() -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata("/dev/stdin").is_ok_and(|stdin| stdin.file_type().is_fifo())
}

/// Ends a broken stream: a verdict that says no, and, if its migration was submitted, a journal that says rejected.
async fn reject_stream(t: &Tool, stream: &Stream, failure: Failure) -> Result<Exit, Failure> {
    let held = run_of_broken(t, stream).await;
    // Where nothing can be written, the journal says no all the same.
    let begun = t.begin(stream.run.as_ref(), None);
    let written = begun.and_then(|()| t.out.write(&verdict_of(stream.run.as_ref(), &[], false)));
    if let Ok(Some(held)) = &held
        && let Next::Judge(verdict) = plan_now(held, None, Request::Broken)
    {
        judge(t, held, verdict, &failure.what).await?;
    }
    // An output that nobody reads is what this may be about.
    if failure.at != STDOUT {
        written?;
    }
    match held {
        // The signal that ended the reading ended the waiting for the run, too: that needs no second word.
        Err(trouble) if trouble.exit == failure.exit && matches!(failure.exit, Exit::Signal(_)) => Err(failure),
        // A run that another process holds, or a journal that cannot be read, is told besides; the stream is what was asked about.
        Err(trouble) => {
            t.error(&trouble);
            let exit = failure.exit.or_graver(trouble.exit);
            Err(failure.with_exit(exit))
        }
        // What is to be done about it is the run's, not the output's.
        Ok(Some(held)) if failure.at == STDOUT => Err(Failure {
            hint: next_step(&held.run()),
            ..failure
        }),
        Ok(_) => Err(failure),
    }
}

/// The run of a broken stream, held, if there is a journal of it, or its migration was submitted as far as the stream knows.
async fn run_of_broken<'t>(t: &'t Tool, stream: &Stream) -> Result<Option<Held<'t>>, Failure> {
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
    Ok(Some(held))
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

/// A migration's stream, whole.
async fn migrated(t: &Tool, stream: &Stream, asked: &Asked) -> Result<Exit, Failure> {
    let api = match t.api().await {
        Ok(api) => api,
        Err(failure) => return reject_stream(t, stream, failure).await,
    };
    if t.dry_run {
        t.begin(stream.run.as_ref(), Some(api.project()))?;
        let run = stream
            .run
            .clone()
            .ok_or_else(|| stream::broken("it names no run", "begin the line with bq-snap"))?;
        let answer = check(t, &api, &run, &stream.snapshots, &stream.migrations, asked).await?;
        tell(t, &asked.junit, Some(&run), &answer)?;
        return Ok(exit_of(&answer));
    }
    let held = runs::of_stream(t, stream, api.project()).await?;
    decide(
        t,
        &api,
        &held,
        Request::Stream,
        &stream.snapshots,
        &stream.migrations,
        asked,
    )
    .await
}

/// A run that was migrated earlier, from its journal.
async fn from_journal(t: &Tool, asked: &Asked) -> Result<Exit, Failure> {
    let run = named_or_pending(t)?;
    let held = Held::open(t, &run).await?;
    let api = match t.api().await {
        Ok(api) => api,
        Err(failure) => return reject_unasked(t, &held, failure).await,
    };
    let (snapshots, migrations) = {
        let state = held.run();
        runs::same_home(
            t,
            &run,
            &state.created.endpoint,
            Some(&state.created.project),
            api.project(),
        )?;
        let snapshots: Vec<Snapshot> = state.tables.values().map(|table| table.snapshot.clone()).collect();
        (snapshots, state.migrations.clone())
    };
    decide(t, &api, &held, Request::Journal, &snapshots, &migrations, asked).await
}

/// Ends a run that nothing can be asked about: not accepted either.
async fn reject_unasked(t: &Tool, held: &Held<'_>, failure: Failure) -> Result<Exit, Failure> {
    let run = held.id();
    if let Next::Refuse(refused) = plan_now(held, None, Request::Journal) {
        return Err(refused);
    }
    // That it cannot be told is not the worst of it.
    let _ = t
        .begin(Some(&run), None)
        .and_then(|()| t.out.write(&verdict_of_failure(&run, &failure)));
    if let Next::Judge(verdict) = plan_now(held, Some(false), Request::Journal) {
        judge(t, held, verdict, &failure.what).await?;
    }
    Err(failure)
}

fn plan_now(held: &Held<'_>, said: Option<bool>, request: Request) -> Next {
    plan(&held.run(), said, request)
}

/// Checks, writes everything out, then journals the verdict, whichever way it went; settles an accepted run.
async fn decide(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    request: Request,
    snapshots: &[Snapshot],
    migrations: &[Migration],
    asked: &Asked,
) -> Result<Exit, Failure> {
    let run = held.id();
    if let Next::Refuse(failure) = plan_now(held, None, request) {
        return Err(failure);
    }
    let judged: Result<Answer, Failure> = async {
        t.begin(Some(&run), Some(api.project()))?;
        let answer = check(t, api, &run, snapshots, migrations, asked).await?;
        // Before the verdict is told: what is told is what is journaled.
        t.go_on("bq-restore puts the tables back")?;
        tell(t, &asked.junit, Some(&run), &answer)?;
        Ok(answer)
    }
    .await;
    let (accepted, because) = match &judged {
        Ok(answer) => (accepted(&answer.checks), summary(&answer.checks)),
        Err(failure) => {
            // Whoever keeps the verdict reads a no here too. That it cannot be written is not the worst of it.
            let _ = t.out.write(&verdict_of_failure(&run, failure));
            (false, failure.what.clone())
        }
    };
    if let Next::Judge(verdict) = plan_now(held, Some(accepted), request) {
        judge(t, held, verdict, &because).await?;
    }
    let answer = judged.map_err(|failure| match failure.exit {
        // Nothing is wrong with the question; the run was rejected all the same.
        Exit::Signal(_) | Exit::Upstream => Failure {
            at: format!("run {run}"),
            hint: next_step(&held.run()),
            ..failure
        },
        _ => failure,
    })?;
    match accepted {
        true => runs::settle(t, api, held).await,
        false => t.out.say_next(next_step(&held.run())),
    }
    Ok(exit_of(&answer))
}
