//! `bq-local`: runs a command against a BigQuery on this machine, and leaves nothing behind.
//!
//! The order of steps is here; how each is done is in the library.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tests::Stop;
use tests::conformance::Definition;
use tests::emulator::{self, Emulator, EmulatorOptions};
use tests::error::{Error, Kind};
use tests::faults::Faults;
use tests::gateway::{Gateway, GatewayOptions};
use tests::guard::{self, Guard};
use tests::python::{self, Surroundings};

/// How often the server is looked after while the command runs.
const LOOK: Duration = Duration::from_millis(250);

/// Run a command against a local BigQuery, and end with its status.
///
/// The command finds BIGQUERY_EMULATOR_HOST (http://127.0.0.1:PORT), PROJECT_ID and BQ_LOCAL_PYTHON (the Python of
/// the server's environment) set. The first start installs the server: half a minute, 650 MB in the user's cache.
#[derive(Debug, Parser)]
#[command(
    name = "bq-local",
    version,
    override_usage = "bq-local [OPTIONS] -- COMMAND [ARG]...",
    after_help = "Exit status: the command's (128+N if it died of signal N, 127 if there is no such command); \
2 for a wrong flag or file or when no Python will do; 1 when the local BigQuery cannot be started or dies.\n\n\
Example: bq-local -- sh -c 'curl -s $BIGQUERY_EMULATOR_HOST/bigquery/v2/projects/$PROJECT_ID/datasets'"
)]
struct Args {
    /// Keep the data in this directory (default: a temporary one, removed at the end)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A script of what goes wrong, one `<when> : <what>` a line
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Milliseconds added before every call
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Write every call to this file, one JSON line each
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The project
    #[arg(long, value_name = "ID", default_value = "diagnostic-pro-start-up")]
    project: String,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

enum Event {
    Signal(Signal),
    CommandEnded,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new(guard::FLAG)) {
        guard::run(std::io::stdin().lock());
        return ExitCode::SUCCESS;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misused(&error),
    };
    let (send, events) = channel();
    let stop = Stop::default();
    let outcome = watch_signals(send.clone(), stop.clone()).and_then(|()| run(args, &stop, send, &events));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nothing was running yet that could take the signal: it is ours.
            if error.kind == Kind::Stopped
                && let Ok(Event::Signal(signal)) = events.try_recv()
            {
                return ExitCode::from(128 + low_byte(signal.as_raw()));
            }
            complain(&error);
            ExitCode::from(match error.kind {
                Kind::Usage => 2,
                Kind::Emulator | Kind::Stopped => 1,
            })
        }
    }
}

fn run(args: Args, stop: &Stop, send: Sender<Event>, events: &Receiver<Event>) -> Result<u8, Error> {
    let faults = match &args.faults {
        Some(path) => read_faults(path)?,
        None => Faults::default(),
    };
    let home = emulator::home()?;
    let python = python::ready(&Surroundings::of_this_process(), &home, stop, &mut say)?;
    let mut emulator = Emulator::start(
        &python,
        &EmulatorOptions {
            home,
            project: args.project.clone(),
            data: args.data,
        },
        stop,
    )?;
    // For the gateway, which would look for the Python once more.
    Definition::shared_of(&python)?;
    let gateway = Gateway::start(
        emulator.url(),
        GatewayOptions {
            faults,
            latency: Duration::from_millis(args.latency),
            record: args.record.clone(),
            tls: None,
            ..GatewayOptions::default()
        },
    )?;
    let mut command = Command::new(args.command.first().map_or(OsStr::new(""), |name| name));
    command
        .args(args.command.iter().skip(1))
        .env("BIGQUERY_EMULATOR_HOST", gateway.url())
        .env("PROJECT_ID", &args.project)
        .env("BQ_LOCAL_PYTHON", &python.path);
    spare_the_proxy(&mut command);
    let code = run_command(command, &mut emulator, send, events)?;
    match (gateway.record_error(), &args.record) {
        (Some(error), Some(path)) => Err(Error::usage(
            format!("the record is not complete: {error}"),
            path.display(),
            format!("make room for it; the command itself ended with {code}"),
        )),
        _ => Ok(code),
    }
}

fn read_faults(path: &Path) -> Result<Faults, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::usage(
            format!("cannot read the faults: {error}"),
            path.display(),
            "give `--faults` a file with one `<when> : <what>` a line",
        )
    })?;
    text.parse().map_err(|bad: tests::faults::BadScript| {
        Error::usage(
            bad.what,
            format!("{}:{}", path.display(), bad.line),
            "docs/bq-local.md lists every <when> and <what>",
        )
    })
}

/// A proxy of the environment would be asked for loopback too, by clients that obey it to the letter.
fn spare_the_proxy(command: &mut Command) {
    for name in ["NO_PROXY", "no_proxy"] {
        let mut hosts = std::env::var_os(name).unwrap_or_default();
        if !hosts.is_empty() {
            hosts.push(",");
        }
        hosts.push("127.0.0.1");
        command.env(name, hosts);
    }
}

/// Runs the command to its end, hands it every signal, and ends whatever it left running.
fn run_command(
    mut command: Command,
    emulator: &mut Emulator,
    send: Sender<Event>,
    events: &Receiver<Event>,
) -> Result<u8, Error> {
    let name = command.get_program().to_owned();
    let trouble = |error: std::io::Error| {
        Error::emulator(
            format!("cannot run the command: {error}"),
            name.display(),
            "see how many processes run on this machine",
        )
    };
    // At a terminal, the command must be in the group that may read it; the terminal then sends its Ctrl-C itself.
    let terminal = std::io::stdin().is_terminal();
    if !terminal {
        command.process_group(0);
    }
    let mut guard = Guard::start().map_err(trouble)?;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let hint = "give a program on PATH after `--`, or `sh -c '…'`";
            complain(&Error::usage(
                format!("cannot run the command: {error}"),
                name.display(),
                hint,
            ));
            return Ok(if missing { 127 } else { 126 });
        }
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| trouble(std::io::ErrorKind::InvalidData.into()))?;
    guard.kill(child.id(), !terminal).map_err(trouble)?;
    let watcher = std::thread::spawn(move || {
        // Not reaped here: as long as it is not, nobody else can get its number, and its group can be killed safely.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), look) {}
        // The receiver is gone only when the answer is not wanted any more.
        let _ = send.send(Event::CommandEnded);
    });
    let mut dead = None;
    loop {
        match events.recv_timeout(LOOK) {
            Ok(Event::CommandEnded) => break,
            // The terminal has sent it to the command already: twice would be two.
            Ok(Event::Signal(Signal::INT)) if terminal => {}
            Ok(Event::Signal(signal)) => pass(signal, pid, !terminal),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                if dead.is_none()
                    && let Err(error) = emulator.alive()
                {
                    // What the command does from here on means nothing.
                    pass(Signal::TERM, pid, !terminal);
                    dead = Some(error);
                }
            }
        }
    }
    if !terminal {
        pass(Signal::KILL, pid, true);
    }
    let status = child.wait().map_err(trouble)?;
    let _ = watcher.join();
    drop(guard);
    match dead {
        Some(error) => Err(error),
        None => Ok(code_of(status)),
    }
}

fn pass(signal: Signal, pid: Pid, group: bool) {
    // It may be gone: then there is nobody to tell.
    let _ = match group {
        true => kill_process_group(pid, signal),
        false => kill_process(pid, signal),
    };
}

fn code_of(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => low_byte(code),
        (None, Some(signal)) => 128 + low_byte(signal),
        (None, None) => 1,
    }
}

fn low_byte(number: i32) -> u8 {
    u8::try_from(number & 0xff).unwrap_or(1)
}

/// A thread that turns INT, TERM and HUP into events, and into a wish to stop for whoever looks at that.
fn watch_signals(send: Sender<Event>, stop: Stop) -> Result<(), Error> {
    let trouble = |error: std::io::Error| {
        Error::emulator(
            format!("cannot watch for signals: {error}"),
            "bq-local",
            "see how many files and processes are open on this machine",
        )
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(trouble)?;
    let watched = {
        let _inside = runtime.enter();
        use tokio::signal::unix::{SignalKind, signal};
        let mut all = Vec::new();
        for one in [Signal::INT, Signal::TERM, Signal::HUP] {
            if !ignored(one) {
                let kind = SignalKind::from_raw(one.as_raw());
                all.push((one, signal(kind).map_err(trouble)?));
            }
        }
        all
    };
    let work = move || {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for (one, mut arrivals) in watched {
                let (send, stop) = (send.clone(), stop.clone());
                tasks.spawn(async move {
                    while arrivals.recv().await.is_some() {
                        // Sent before it is asked: who sees the wish finds the signal.
                        let _ = send.send(Event::Signal(one));
                        stop.ask();
                    }
                });
            }
            tasks.join_all().await;
        });
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(work)
        .map(drop)
        .map_err(trouble)
}

/// Whether the signal was ignored when we started (`nohup`, a shell's `&`): then it stays so, for the command too.
fn ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask & (1 << (signal.as_raw() - 1)) != 0
}

fn say(text: &str) {
    // A closed stderr must not stop a run.
    let _ = writeln!(std::io::stderr(), "bq-local: {text}");
}

/// The last words of a child, and then the three lines: what stays in view.
fn complain(error: &Error) {
    for line in error.tail.lines() {
        let _ = writeln!(std::io::stderr(), "| {line}");
    }
    say(&error.to_string());
}

/// Help and version as they are; anything else in three lines.
fn misused(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let words: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.is_empty())
        .collect();
    let what = words.join(" ");
    let usage = Args::command().render_usage().to_string();
    complain(&Error::usage(
        what.strip_prefix("error: ").unwrap_or(&what),
        "the command line",
        format!("{}; `bq-local --help` tells more", usage.replacen("Usage: ", "", 1)),
    ));
    ExitCode::from(2)
}
