//! The one `main` of the five programs: flags, settings, signals, what is printed, how it ends.
//!
//! Only this file exits, catches a signal or writes to stderr. A program gives it its flags and one function, and gets a
//! [`Tool`]: settings, clock, output. Nothing here knows what a program does.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args as _, FromArgMatches as _, Parser};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use reqwest::Url;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::api::auth::{self, Auth};
use crate::api::{self, Api};
use crate::clock::{Clock, PRETEND, parse_duration};
use crate::exit::{Exit, Failure};
use crate::names::{Location, ProjectId, RunId};
use crate::output::{Format, Output, STDOUT};
use crate::progress::Bars;
use crate::record::{Begin, End, Record, Trouble, VERSION};

/// Flags that every program has.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Settings of all five programs")]
pub struct Common {
    /// Project that jobs run in and that short table names are of [env: PROJECT_ID, GOOGLE_CLOUD_PROJECT; default: the credentials']
    #[arg(short, long, value_name = "ID", global = true)]
    project: Option<String>,
    /// The run, 1 to 63 of a-z 0-9 _ [env: SNAPSHOT_SUFFIX; default: see above]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Where the journals of runs are [env: BQ_STATE_DIR; default: .rollback]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// BigQuery's API [env: BIGQUERY_EMULATOR_HOST; default: Google's]. No credentials go to a plain-http one
    #[arg(long, value_name = "URL")]
    api_endpoint: Option<String>,
    /// Where jobs run [env: BIGQUERY_LOCATION; default: each dataset's own]
    #[arg(long, value_name = "L")]
    location: Option<String>,
    /// How many tables are worked on at a time
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    jobs: u16,
    /// How long transient failures of BigQuery or the network are retried
    #[arg(long, value_name = "D", default_value = "10m")]
    retry_for: String,
    /// How long a run that another process holds is waited for [default: 30s; bq-restore: 2m]
    #[arg(long, value_name = "D")]
    wait: Option<String>,
    /// Write nothing, in BigQuery or on disk; the same guards and codes, 0 meaning "would"
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// What standard output is: JSON lines, or a table for people
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,
    /// Only errors on standard error
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Also each retry and wait on standard error
    #[arg(short, long)]
    verbose: bool,
}

/// How long a held run is waited for when `--wait` is not given; bq-restore waits longer, for its line may still be at work.
pub const WAIT: Duration = Duration::from_secs(30);

/// What [`Tool::go_on`] says of a step that was not begun.
pub const STOPPED: &str = "stopped by a signal";

/// What a program runs with: settings, clock, output, signals.
pub struct Tool {
    /// The program's name.
    pub name: &'static str,
    /// The clock.
    pub clock: Clock,
    /// Standard output.
    pub out: Output,
    /// Where journals are.
    pub state_dir: PathBuf,
    /// Where jobs run, if that was said.
    pub location: Option<Location>,
    /// Tables worked on at a time.
    pub jobs: usize,
    /// How long a held run is waited for.
    pub wait: Duration,
    /// Write nothing.
    pub dry_run: bool,
    /// The API endpoint as it stands in `begin` and in journals.
    pub endpoint: String,
    project: Option<ProjectId>,
    asked_run: Option<RunId>,
    run_flag: bool,
    env: HashMap<String, String>,
    auth: Auth,
    retry_for: Duration,
    quiet: bool,
    /// Tell retries and waits.
    pub verbose: bool,
    stop: Stop,
}

/// A signal that told the program to stop, once there is one.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<Option<u8>>);

impl Stop {
    #[cfg(test)]
    pub(crate) fn never() -> Stop {
        Stop(watch::channel(None).1)
    }

    /// Its number, if it came.
    pub(crate) fn by(&self) -> Option<u8> {
        *self.0.borrow()
    }

    /// Waits for it.
    pub(crate) async fn came(&self) -> u8 {
        let mut signals = self.0.clone();
        match signals.wait_for(Option::is_some).await {
            Ok(signal) => (*signal).unwrap_or(0),
            // No signal can come any more.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The whole of each program's `main`: its own flags are `A`, the common ones are added here.
pub fn main<A, F>(name: &'static str, wait: Duration, run: F) -> ExitCode
where
    A: Parser,
    F: AsyncFnOnce(A, &Tool) -> Result<Exit, Failure>,
{
    let (args, common) = match parse::<A>(name) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let hint = "look at the process's limits (ulimit -a)";
            return ended(complain(
                name,
                &Failure::new(Exit::Retry, e.to_string(), "starting", hint),
            ));
        }
    };
    let exit = runtime.block_on(async {
        let tool = match Tool::new(name, &common, wait) {
            Ok(tool) => tool,
            Err(failure) => return complain(name, &failure),
        };
        let result = run(args, &tool).await;
        tool.finish(result)
    });
    // A thread may still sit in a read of standard input; waiting for it would hang.
    runtime.shutdown_background();
    ended(exit)
}

fn ended(exit: Exit) -> ExitCode {
    ExitCode::from(exit.code())
}

/// Flags as typed, or the code to end with: help and version are 0, anything wrong is 2 in three lines.
fn parse<A: Parser>(name: &str) -> Result<(A, Common), ExitCode> {
    let own = A::command();
    // Adding arguments takes their group's description over; it is the program's that people read.
    let (about, long_about) = (
        own.get_about().cloned().unwrap_or_default(),
        own.get_long_about().cloned().unwrap_or_default(),
    );
    let mut command = Common::augment_args(own)
        .about(about)
        .long_about(long_about)
        .after_help(Exit::table());
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let both = |m: &ArgMatches| Ok((A::from_arg_matches(m)?, Common::from_arg_matches(m)?));
    let error = match matches.and_then(|m| both(&m)) {
        Ok(parsed) => return Ok(parsed),
        Err(error) => error,
    };
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed pipe (`--help | head -1`) is no failure.
        let _ = error.print();
        return Err(ExitCode::SUCCESS);
    }
    let suggestion = [ContextKind::SuggestedArg, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| match error.get(kind)? {
            ContextValue::String(text) => Some(text.clone()),
            ContextValue::Strings(list) => list.first().cloned(),
            _ => None,
        });
    let text = error.to_string();
    let what: Vec<&str> = text
        .lines()
        .take_while(|line| {
            !["Usage:", "tip:", "For more"]
                .iter()
                .any(|end| line.trim_start().starts_with(end))
        })
        .filter(|line| !line.trim().is_empty())
        .collect();
    let what = what.join(" ");
    let hint = match suggestion {
        Some(suggestion) => format!("did you mean `{suggestion}`? `{name} --help` lists every flag"),
        None => format!("`{name} --help` lists every flag"),
    };
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    Err(ended(complain(name, &Failure::usage(what, "command line", hint))))
}

/// Three lines on stderr, and the code.
fn complain(name: &str, failure: &Failure) -> Exit {
    say(&format!("{name}: error: {failure}"));
    failure.exit
}

/// A line on stderr. That nobody reads it is no reason to fail. BigQuery's messages quote what is in the tables, which must not steer the
/// terminal.
pub(crate) fn say(text: &str) {
    let text = text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}");
    let _ = writeln!(io::stderr().lock(), "{text}");
}

impl Tool {
    fn new(name: &'static str, common: &Common, wait: Duration) -> Result<Tool, Failure> {
        let env: HashMap<String, String> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        // A flag, or the first of these variables that is set and not empty; with the name to blame it by.
        let pick = |flag: &Option<String>, flag_name: &str, variables: &[&str]| -> Option<(String, String)> {
            if let Some(value) = flag {
                return Some((value.clone(), flag_name.to_owned()));
            }
            variables
                .iter()
                .find_map(|v| Some((env.get(*v)?.clone(), (*v).to_owned())))
        };
        fn parsed<T: std::str::FromStr>(picked: Option<(String, String)>) -> Result<Option<T>, Failure>
        where
            T::Err: std::fmt::Display,
        {
            picked
                .map(|(value, from)| {
                    value
                        .parse()
                        .map_err(|e: T::Err| Failure::usage(e.to_string(), from, "give a valid one"))
                })
                .transpose()
        }
        let duration = |text: &str, flag: &str| {
            parse_duration(text).map_err(|e| Failure::usage(e, flag, format!("for example `{flag} 5m`")))
        };
        let clock = Clock::new(env.get(PRETEND).map(String::as_str))
            .map_err(|e| Failure::usage(e.to_string(), PRETEND, "it is for tests; unset it"))?;
        if common.format == Format::Csv && name != "bq-count" {
            return Err(Failure::usage(
                "only bq-count writes CSV",
                "--format csv",
                "use `--format json` or `table`",
            ));
        }
        let endpoint = pick(&common.api_endpoint, "--api-endpoint", &["BIGQUERY_EMULATOR_HOST"]);
        let endpoint = endpoint_url(endpoint)?;
        let quota_project = parsed(pick(&None, "", &["GOOGLE_CLOUD_QUOTA_PROJECT"]))?;
        let settings = auth::Settings::new(&env, std::env::var_os(auth::FILE_VARIABLE), quota_project);
        Ok(Tool {
            name,
            clock,
            auth: Auth::new(endpoint.starts_with("https://"), settings, common.verbose),
            // Source: <https://no-color.org>.
            out: Output::new(
                common.format,
                env.contains_key("NO_COLOR") || env.get("TERM").is_some_and(|t| t == "dumb"),
            ),
            state_dir: common
                .state_dir
                .clone()
                .or_else(|| env.get("BQ_STATE_DIR").map(PathBuf::from))
                .unwrap_or_else(|| PathBuf::from(".rollback")),
            location: parsed(pick(&common.location, "--location", &["BIGQUERY_LOCATION"]))?,
            jobs: usize::from(common.jobs),
            wait: common.wait.as_deref().map_or(Ok(wait), |w| duration(w, "--wait"))?,
            dry_run: common.dry_run,
            endpoint,
            project: parsed(pick(
                &common.project,
                "--project",
                &["PROJECT_ID", "GOOGLE_CLOUD_PROJECT"],
            ))?,
            asked_run: parsed(pick(&common.run, "--run", &["SNAPSHOT_SUFFIX"]))?,
            run_flag: common.run.is_some(),
            retry_for: duration(&common.retry_for, "--retry-for")?,
            quiet: common.quiet,
            verbose: common.verbose,
            stop: watch_signals(name, common.quiet),
            env,
        })
    }

    /// An environment variable that is set and not empty.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// The run that `--run` or `SNAPSHOT_SUFFIX` names.
    pub fn asked_run(&self) -> Option<&RunId> {
        self.asked_run.as_ref()
    }

    /// Whether `--run` itself was given: a word meant for this program, where the variable may be meant for the whole line.
    pub fn run_flag_given(&self) -> bool {
        self.run_flag
    }

    /// The project, if it was named; else it is the credentials', which [`Tool::api`] asks.
    pub fn named_project(&self) -> Option<&ProjectId> {
        self.project.as_ref()
    }

    /// Begins to look for credentials while flags, files and the stream are read.
    pub fn fetch_credentials(&self) {
        self.auth.fetch_meanwhile();
    }

    /// A client for the endpoint and project of the settings.
    ///
    /// # Errors
    /// No project is named anywhere (2).
    pub async fn api(&self) -> Result<Api<'_>, Failure> {
        let endpoint = Url::parse(&self.endpoint)
            .map_err(|e| Failure::usage(e.to_string(), self.endpoint.clone(), "give a URL with `--api-endpoint`"))?;
        let config = api::Config {
            endpoint,
            project: self.project.clone(),
            auth: self.auth.clone(),
            retry_for: self.retry_for,
            verbose: self.verbose,
            tool: self.name,
            stop: self.stop.clone(),
        };
        Api::new(config, &self.clock).await.map_err(|e| match e {
            api::NoApi::Other(e) if matches!(e.kind, api::Kind::NoCredentials(_) | api::Kind::Stopped(..)) => {
                e.failure("asking the credentials for a project")
            }
            api::NoApi::Other(e) => e.failure("starting the HTTP client"),
            api::NoApi::NoProject => Failure::usage(
                "no project is named, and there are no credentials that name one",
                "settings",
                "say `-p PROJECT`, or set PROJECT_ID",
            ),
        })
    }

    /// Writes the program's `begin`. Its `end` then comes with the end of the program.
    ///
    /// # Errors
    /// The reader is gone (5).
    pub fn begin(&self, run: Option<&RunId>, project: Option<&ProjectId>) -> Result<(), Failure> {
        self.out.set_run(run);
        self.out.write(&Record::Begin(Begin {
            run: run.cloned(),
            v: VERSION,
            tool: self.name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            project: project.or(self.project.as_ref()).cloned(),
            endpoint: self.endpoint.clone(),
            dry_run: self.dry_run,
            at: self.clock.now(),
        }))
    }

    /// Begins, or, where one program settles several runs, says which run the records from here on are of.
    ///
    /// # Errors
    /// The reader is gone (5).
    pub fn begin_or_go_on(&self, run: Option<&RunId>, project: Option<&ProjectId>) -> Result<(), Failure> {
        if self.out.has_begun() {
            self.out.set_run(run);
            return Ok(());
        }
        self.begin(run, project)
    }

    /// A warning: three lines on stderr unless `-q`, and a record.
    pub fn warn(&self, warning: &Failure) {
        if !self.quiet {
            say(&format!("{}: warning: {warning}", self.name));
        }
        // A warning that cannot be written to a reader that is gone is still on stderr.
        let _ = self.out.write(&Record::Warning(self.trouble(warning)));
    }

    /// A warning about a run of a list, which is no stream: three lines on stderr unless `-q`, and a record among the rows.
    pub fn warn_of(&self, run: &RunId, warning: &Failure) {
        if !self.quiet {
            say(&format!("{}: warning: {warning}", self.name));
        }
        let run = Some(run.clone());
        let record = Record::Warning(Trouble {
            run,
            ..self.trouble(warning)
        });
        // As in `warn`.
        let _ = self.out.put_record(&record);
    }

    /// An error that is not the last word: three lines on stderr, and a record.
    pub fn error(&self, failure: &Failure) {
        complain(self.name, failure);
        let _ = self.out.write(&Record::Error(self.trouble(failure)));
    }

    /// A line on stderr unless `-q`.
    pub fn tell(&self, text: &str) {
        if !self.quiet {
            say(&format!("{}: {text}", self.name));
        }
    }

    /// Bars on a terminal, for work that takes long.
    pub fn bars(&self) -> Bars {
        Bars::new(self.quiet)
    }

    /// A warning, once a run, that the endpoint is not Google's.
    pub fn warn_of_endpoint(&self) {
        if !Url::parse(&self.endpoint).is_ok_and(|endpoint| api::is_google(&endpoint)) {
            self.warn(&Failure::new(
                Exit::Ok,
                "the API endpoint is not Google's",
                self.endpoint.clone(),
                "unset BIGQUERY_EMULATOR_HOST and `--api-endpoint` to reach the real BigQuery",
            ));
        }
    }

    fn trouble(&self, failure: &Failure) -> Trouble {
        Trouble {
            run: self.out.run(),
            tool: self.name.to_owned(),
            table: failure.table.clone(),
            what: failure.what.clone(),
            at: failure.at.clone(),
            next: failure.hint.clone(),
            reason: failure.reason.clone(),
            job: failure.job.clone(),
            text: failure.pointer.as_ref().map(|pointer| pointer.text.clone()),
            column: failure.pointer.as_ref().map(|pointer| pointer.column + 1),
        }
    }

    /// The last words: an `error` record if there was one, the `end`, the table for people.
    fn finish(&self, result: Result<Exit, Failure>) -> Exit {
        let exit = match &result {
            Ok(exit) => *exit,
            Err(failure) => failure.exit,
        };
        if let Err(failure) = &result {
            // That the reader of standard output went away needs no words: `bq-count | head` ends quietly. What that did to a run needs them.
            if !self.out.pipe_is_broken() || exit != Exit::Upstream || failure.at != STDOUT {
                complain(self.name, failure);
            }
            if !self.out.has_begun() {
                let _ = self.begin(None, None);
            }
            let _ = self.out.write(&Record::Error(self.trouble(failure)));
        }
        if self.out.has_begun() {
            let _ = self.out.write(&Record::End(End {
                run: self.out.run(),
                tool: self.name.to_owned(),
                ok: matches!(exit, Exit::Ok | Exit::RolledBack),
                code: exit.code(),
                name: exit.name().to_owned(),
                count: self.out.count(),
                bytes_billed: self.out.bytes_billed(),
            }));
        }
        match (self.out.finish(), exit) {
            // A yes that nobody received is none.
            (Err(failure), Exit::Ok) => {
                if !self.out.pipe_is_broken() {
                    complain(self.name, &failure);
                }
                failure.exit
            }
            _ => exit,
        }
    }

    /// The signal that told the program to stop, if one did.
    pub fn stopped_by(&self) -> Option<u8> {
        self.stop.by()
    }

    /// Waits for a signal to stop.
    pub async fn stop_signal(&self) -> u8 {
        self.stop.came().await
    }

    /// The bytes of a file that somebody named; a signal ends the waiting for a pipe that says nothing.
    ///
    /// # Errors
    /// The signal's (128+n); within: what kept it from being read, more than [`LONGEST_FILE`] being one such thing.
    pub fn read_file(&self, path: &Path) -> Result<io::Result<Vec<u8>>, Failure> {
        let (path, (tell, told)) = (path.to_owned(), mpsc::channel());
        // Of its own accord such a read never ends, and no thread can be made to leave it.
        std::thread::spawn(move || tell.send(read_at_most(&path, LONGEST_FILE)));
        loop {
            match told.recv_timeout(Duration::from_millis(20)) {
                Ok(read) => return Ok(read),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Err(io::ErrorKind::Other.into())),
                Err(mpsc::RecvTimeoutError::Timeout) => self.go_on("run the same command again")?,
            }
        }
    }

    /// Waits, but not for longer than until a signal tells the program to stop.
    ///
    /// # Errors
    /// As [`Tool::go_on`].
    pub async fn pause(&self, how_long: Duration, left: &str) -> Result<(), Failure> {
        tokio::select! {
            biased;
            _ = self.stop_signal() => {}
            () = self.clock.sleep(how_long) => {}
        }
        self.go_on(left)
    }

    /// Fails if a signal told the program to stop: asked before each new step.
    ///
    /// # Errors
    /// 128 + the signal's number; `left` says what is left to do.
    pub fn go_on(&self, left: &str) -> Result<(), Failure> {
        match self.stopped_by() {
            None => Ok(()),
            Some(signal) => Err(Failure::new(Exit::Signal(signal), STOPPED, self.name, left)),
        }
    }
}

/// How many bytes a list or a file of SQL may have: a device would fill the memory.
pub const LONGEST_FILE: u64 = 32 * 1024 * 1024;

/// A file's bytes, if they are not more than these.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {} MiB", most >> 20),
        )),
        false => Ok(bytes),
    }
}

/// The base URL of the API: a flag or `BIGQUERY_EMULATOR_HOST` (with or without a scheme), or Google's.
fn endpoint_url(picked: Option<(String, String)>) -> Result<String, Failure> {
    let Some((text, from)) = picked else {
        return Ok(api::GOOGLE.to_owned());
    };
    let bad = |what: String| Failure::usage(what, from.clone(), "give it as http://HOST:PORT or https://HOST");
    let full = if text.contains("://") {
        text.clone()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&full).map_err(|e| bad(format!("`{text}` is no URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad(format!("`{text}` is no http or https URL")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("the endpoint holds a user name or password".to_owned()));
    }
    Ok(full.trim_end_matches('/').to_owned())
}

/// One `kill` may arrive twice: timeout(1) sends TERM to its child and then to the group it made for it, and make passes on what its group
/// got. Nobody types a second Ctrl-C so soon and means it.
const ECHO: Duration = Duration::from_millis(500);

/// Listens for INT, TERM and HUP: the first is told to the program, the second ends it at once.
///
/// On a thread of its own: the second must end a program that is blocked, in a write to a reader that does not read, or in a sync to a disk
/// that hangs. One that was ignored when the program started stays ignored (`nohup`, `&`).
fn watch_signals(name: &'static str, quiet: bool) -> Stop {
    let (tell, told) = watch::channel(None);
    let ignored = ignored_signals();
    // Without it the signals keep their default: the program dies of them, and the journal is as it was synced.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return Stop(told);
    };
    let mut heard = FuturesUnordered::new();
    {
        let _inside = runtime.enter();
        for (kind, number) in [
            (SignalKind::interrupt(), 2),
            (SignalKind::terminate(), 15),
            (SignalKind::hangup(), 1),
        ] {
            if ignored & (1 << (number - 1)) == 0
                && let Ok(stream) = signal(kind)
            {
                heard.push(next_of(stream, number));
            }
        }
    }
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut first: Option<Instant> = None;
            while let Some((stream, number)) = heard.next().await {
                heard.push(next_of(stream, number));
                match first {
                    None => {
                        first = Some(Instant::now());
                        tell.send_replace(Some(number));
                        if !quiet {
                            // What is under way may take its time to end: whoever typed Ctrl-C sees that it was heard.
                            // On a thread of its own: nobody may read stderr, and the second signal must still be heard.
                            std::thread::spawn(move || {
                                say(&format!("{name}: stopping; a second signal leaves at once"))
                            });
                        }
                    }
                    Some(at) if at.elapsed() < ECHO => {}
                    Some(_) => std::process::exit(i32::from(Exit::Signal(number).code())),
                }
            }
        });
    });
    Stop(told)
}

async fn next_of(mut stream: Signal, number: u8) -> (Signal, u8) {
    stream.recv().await;
    (stream, number)
}

/// The signals that are ignored, a bit each, as Linux tells; elsewhere none are known to be.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_with_and_without_scheme() {
        let of = |text: &str| endpoint_url(Some((text.to_owned(), "X".to_owned()))).map_err(|f| f.exit);
        assert_eq!(endpoint_url(None).unwrap(), api::GOOGLE);
        assert_eq!(of("127.0.0.1:9050").unwrap(), "http://127.0.0.1:9050");
        assert_eq!(
            of("https://eu-bigquery.googleapis.com/").unwrap(),
            "https://eu-bigquery.googleapis.com"
        );
        for text in ["ftp://x", "http://", "http://u:p@h", "::::"] {
            assert_eq!(of(text), Err(Exit::Usage), "{text}");
        }
    }
}
