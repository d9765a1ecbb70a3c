//! A place to run lines in: a working directory, the programs on PATH, a gateway of its own in front of a local
//! BigQuery.
//!
//! What a scene leaves is checked when it ends ([`Scene::end`]): every stream and journal against the wire as the
//! contract has it, every SQL text of ours against Google's own parser, every request of ours against Google's
//! definition, and all of it against a secret of the environment that may be nowhere.

use crate::{bq_local, built, secrets, sql, wire};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::Stop;
use tests::conformance::is_ours;
use tests::emulator;
use tests::gateway::{Call, Gateway, GatewayOptions};
use tests::python::{self, Surroundings};

/// The customer's project, and that of every local BigQuery of these tests.
pub(crate) const PROJECT: &str = "diagnostic-pro-start-up";

/// Only what hangs waits this out.
const PATIENCE: Duration = Duration::from_secs(400);

/// What a program or a shell came to.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails with all that was said unless it ended with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: i32, what: &str) -> &Ended {
        assert_eq!(
            self.status,
            Some(status),
            "{what}\n---- stdout ----\n{}\n---- stderr ----\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

pub(crate) struct Scene {
    gateway: Gateway,
    scratch: TempDir,
    environment: Vec<(String, String)>,
}

impl Scene {
    /// In front of the server at `url`.
    pub(crate) fn at(url: &str) -> Scene {
        Scene::behind(url, GatewayOptions::default())
    }

    /// The same, with a gateway that plays these faults.
    pub(crate) fn with_faults(url: &str, faults: &str) -> Scene {
        let options = GatewayOptions {
            faults: faults.parse().unwrap(),
            ..GatewayOptions::default()
        };
        Scene::behind(url, options)
    }

    /// The same, the gateway doing this.
    pub(crate) fn behind(url: &str, options: GatewayOptions) -> Scene {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["work", "bin"] {
            fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        for program in built::PROGRAMS {
            symlink(&built::programs()[program], scratch.path().join("bin").join(program)).unwrap();
        }
        Scene {
            gateway: Gateway::start(url, options).unwrap(),
            scratch,
            environment: Vec::new(),
        }
    }

    /// Sets a variable for what is run from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// A file of the working directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("work").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Runs a script with `sh`.
    pub(crate) fn sh(&self, script: &str) -> Ended {
        self.run("sh", &["-c", script])
    }

    /// Runs a program with nothing in its environment but what cron would leave, PATH, and where BigQuery is.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Ended {
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin",
            self.scratch.path().join("bin").display()
        );
        let said = |which: &str| File::create(self.scratch.path().join(which)).unwrap();
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", path)
            .env("BIGQUERY_EMULATOR_HOST", self.gateway.url())
            .env("PROJECT_ID", PROJECT)
            .env("PYTHON", python())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LOOK", helper("look.py"))
            .env("CLOUDSDK_AUTH_ACCESS_TOKEN", secrets::TOKEN)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(said("stdout"))
            .stderr(said("stderr"))
            .process_group(0);
        let status = to_the_end(&mut command, PATIENCE);
        let read = |which: &str| {
            let said = fs::read(self.scratch.path().join(which)).unwrap();
            secrets::none_in(which, &said, [secrets::TOKEN]);
            String::from_utf8_lossy(&said).into()
        };
        Ended {
            status,
            stdout: read("stdout"),
            stderr: read("stderr"),
        }
    }

    /// What Google's own client finds: every table of these datasets whose name the pattern matches, by
    /// `dataset.table`.
    pub(crate) fn look(&self, pattern: &str, datasets: &[&str]) -> serde_json::Map<String, Value> {
        let look = helper("look.py");
        let args = [&[look.to_str().unwrap(), pattern], datasets].concat();
        let ended = self.run(python().to_str().unwrap(), &args);
        parse_look(&ended.expect(0, "look.py").stdout)
    }

    /// How many calls were made so far.
    pub(crate) fn calls_so_far(&self) -> usize {
        self.gateway.calls().len()
    }

    /// The calls made since so many.
    pub(crate) fn calls_since(&self, number: usize) -> Vec<Call> {
        self.gateway.calls().split_off(number)
    }

    /// The lines of a run's journal.
    pub(crate) fn journal(&self, run: &str) -> Vec<Value> {
        let lines = self.read(&format!(".rollback/{run}.jsonl"));
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every file below the working directory with its content.
    pub(crate) fn files(&self) -> BTreeSet<(PathBuf, Vec<u8>)> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.path() {
                    // A folder counts, too, be it empty.
                    path if path.is_dir() => {
                        found.insert((path.clone(), Vec::new()));
                        folders.push(path);
                    }
                    path => {
                        let content = fs::read(&path).unwrap();
                        found.insert((path, content));
                    }
                }
            }
        }
        found
    }

    /// Checks what it leaves: every `*.stream` and every journal in the working directory, the SQL of every call, and
    /// that the token of the environment went nowhere.
    pub(crate) fn end(self) -> wire::Seen {
        let mut seen = wire::Seen::default();
        for (path, content) in self.files() {
            let name = path.strip_prefix(self.path("")).unwrap().display().to_string();
            secrets::none_in(&name, &content, [secrets::TOKEN]);
            let text = String::from_utf8(content).unwrap_or_else(|e| panic!("{name}: {e}"));
            match path.extension().and_then(|end| end.to_str()) {
                Some("stream") => seen.stream(&name, &text),
                Some("jsonl") if name.starts_with(".rollback/") => seen.journal(&name, &text),
                _ => {}
            }
        }
        assert_eq!(self.gateway.nonconforming(), Vec::<String>::new());
        let calls = self.gateway.calls();
        for call in calls.iter().filter(|call| is_ours(&call.agent)) {
            let shown = call.headers.get("authorization");
            assert!(
                shown.is_none(),
                "{} {} came with {shown:?} over plain http",
                call.method,
                call.path
            );
        }
        let texts = sql::ours(&calls);
        let parsed = sql::parse(&texts);
        say(&format!(
            "{}: {} records, {} journal entries fit the wire; {parsed} SQL texts parsed",
            std::thread::current().name().unwrap_or_default(),
            seen.records(),
            seen.entries()
        ));
        seen
    }
}

/// Reads what look.py printed.
pub(crate) fn parse_look(text: &str) -> serde_json::Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

/// Says something even where the test runner keeps what passing tests print.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The crash loop has a limit of time to keep, on two cores: the other long tests let it have them.
static MACHINE: RwLock<()> = RwLock::new(());

/// The machine, together with other long tests.
pub(crate) fn share_the_machine() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// The machine, without them.
pub(crate) fn have_the_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The Python of the local BigQuery's environment.
pub(crate) fn python() -> &'static Path {
    static ONE: OnceLock<PathBuf> = OnceLock::new();
    ONE.get_or_init(|| {
        let home = emulator::home().unwrap();
        let ready = python::ready(&Surroundings::of_this_process(), &home, &Stop::default(), &mut say);
        ready.unwrap().path
    })
}

/// A script of `suite/real/`.
pub(crate) fn helper(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/real").join(name)
}

/// Runs a command that leads a process group of its own to its end, and ends whatever it leaves behind.
pub(crate) fn to_the_end(command: &mut Command, patience: Duration) -> Option<i32> {
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > patience {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            panic!("{command:?}: not at an end in {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let _ = kill_process_group(group, Signal::KILL);
    status.code()
}

/// Another server, or the one that small tests share.
pub(crate) fn shared() -> String {
    bq_local::shared().url().to_owned()
}
