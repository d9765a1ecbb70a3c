//! A stage for one play: a pretend BigQuery, a gateway in front of it, a working directory, and shells that run in it.
//!
//! It knows how to start, kill, copy and look; not what should come of it: that is `promises`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tests::faults::Faults;
use tests::gateway::{Answering, Ask, Call, Gateway, GatewayOptions, Upstream};
use tests::world::{Shown, World};

use crate::built;

/// The tables of every play.
pub(super) const TABLES: [&str; 3] = ["pretend.d.a", "pretend.d.b", "pretend.d.c"];

/// Three tables with something that cloning loses, and a fourth that nobody protects.
const SETUP: &str = "
CREATE SCHEMA d;
CREATE TABLE d.a (id INT64 NOT NULL, name STRING);
INSERT INTO d.a VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE TABLE d.b (id INT64, name STRING) OPTIONS(description='the second', labels=[('team', 'x')]);
INSERT INTO d.b VALUES (10, 'ten'), (20, 'twenty');
CREATE TABLE d.c (id INT64);
INSERT INTO d.c VALUES (100);
CREATE TABLE d.free (id INT64);
";

/// Only a play that hangs waits this out.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a program dies, and who dies with it.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) program: String,
    /// Its point, from 1.
    pub(super) point: u32,
    /// The shell and the whole line with it, as when the machine loses its power.
    pub(super) machine: bool,
}

/// A point that a program passed.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) program: String,
    pub(super) number: u32,
    pub(super) what: String,
}

/// How a shell ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) status: i32,
    pub(super) stderr: String,
}

/// Something that happens while a call waits for its answer.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// Something that is done to the answers that say that all went well.
pub(super) type Change = Arc<dyn Fn(&Ask, &mut Value) + Send + Sync>;

/// The world, what happens before the call of a number is answered, and what becomes of the answers.
struct Behind {
    world: World,
    calls: AtomicU64,
    meanwhile: Mutex<Option<(u64, Meanwhile)>>,
    change: Mutex<Option<Change>>,
}

impl Upstream for Behind {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let mut meanwhile = self.meanwhile.lock().unwrap();
        let due = meanwhile.take_if(|(at, _)| *at == n);
        Box::pin(async move {
            if let Some((_, happens)) = due {
                tokio::task::spawn_blocking(happens).await.map_err(|e| e.to_string())?;
            }
            let change = self.change.lock().unwrap().clone();
            let Some(change) = change else {
                return self.world.answer(ask).await;
            };
            let mut reply = self.world.answer(ask.clone()).await?;
            if reply.status.is_success() {
                let mut answer = serde_json::from_slice(&reply.body).map_err(|e| e.to_string())?;
                change(&ask, &mut answer);
                reply.body = answer.to_string().into();
            }
            Ok(reply)
        })
    }
}

pub(super) struct Stage {
    pub(super) world: World,
    gateway: Gateway,
    behind: Arc<Behind>,
    directory: TempDir,
    /// Minutes by which the programs' own clock is late.
    minutes: AtomicU32,
    jobs: u32,
    /// Milliseconds that the programs wait for an answer; as long as they do for real, if it is not said.
    patience: Option<u32>,
    /// What of a table is not looked at, as a JSON pointer's way into `tables.get`.
    unseen: Option<&'static str>,
}

impl Stage {
    /// A stage with the tables filled and these files in its working directory.
    pub(super) fn new(files: &[(&str, &str)]) -> Stage {
        let world = World::new(1);
        world.sql(SETUP).unwrap();
        let directory = scratch();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Stage::of(world, directory, Faults::default())
    }

    fn of(world: World, directory: TempDir, faults: Faults) -> Stage {
        world.watch(&directory.path().join(".rollback"));
        let options = GatewayOptions {
            faults,
            ..GatewayOptions::default()
        };
        let behind = Arc::new(Behind {
            world: world.clone(),
            calls: AtomicU64::new(0),
            meanwhile: Mutex::new(None),
            change: Mutex::new(None),
        });
        let gateway = Gateway::in_front_of(behind.clone(), options).unwrap();
        Stage {
            world,
            gateway,
            behind,
            directory,
            minutes: AtomicU32::new(0),
            jobs: 1,
            patience: None,
            unseen: None,
        }
    }

    /// Another stage on which everything is as it is on this one; only the address differs, also where files name it.
    pub(super) fn copy(&self) -> Stage {
        self.copy_with(Faults::default())
    }

    /// As [`Stage::copy`], and from here on this goes wrong.
    pub(super) fn copy_with(&self, faults: Faults) -> Stage {
        let directory = scratch();
        let world = self.world.fork();
        // Its journals are elsewhere.
        world.unwatch();
        let stage = Stage {
            minutes: AtomicU32::new(self.minutes()),
            jobs: self.jobs,
            ..Stage::of(world, directory, faults)
        };
        let (from, to) = (self.gateway.url(), stage.gateway.url());
        copy_files(self.path(), stage.path(), &|text| text.replace(from, to));
        stage
    }

    /// Another machine in the same world: a working directory and journals of its own.
    pub(super) fn another_machine(&self) -> Stage {
        let stage = Stage::of(self.world.clone(), scratch(), Faults::default());
        copy_files(self.path(), stage.path(), &|text| text);
        stage
    }

    /// Before the call of this number is answered, this happens.
    pub(super) fn at_call(&self, n: u64, happens: impl FnOnce() + Send + 'static) {
        *self.behind.meanwhile.lock().unwrap() = Some((n, Box::new(happens)));
    }

    /// From here on its BigQuery answers otherwise; a copy's does not.
    pub(super) fn changing(self, change: Change) -> Stage {
        *self.behind.change.lock().unwrap() = Some(change);
        self
    }

    /// From here on this of a table is not looked at.
    pub(super) fn without_seeing(self, pointer: &'static str) -> Stage {
        let unseen = Some(pointer);
        Stage { unseen, ..self }
    }

    pub(super) fn with_jobs(self, jobs: u32) -> Stage {
        Stage { jobs, ..self }
    }

    /// Its programs do not wait long for an answer.
    pub(super) fn impatient(self) -> Stage {
        let patience = Some(1500);
        Stage { patience, ..self }
    }

    /// Where its BigQuery is.
    pub(super) fn url(&self) -> &str {
        self.gateway.url()
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.gateway.calls()
    }

    /// What should never have been asked: by the rules of the world, or by Google's definition.
    pub(super) fn violations(&self) -> Vec<String> {
        [self.world.violations(), self.gateway.nonconforming()].concat()
    }

    /// Time goes on, for BigQuery and for the programs.
    pub(super) fn later(&self, minutes: u32) {
        self.world.advance(Duration::from_secs(u64::from(minutes) * 60));
        self.local_clock_jumps(minutes);
    }

    fn minutes(&self) -> u32 {
        self.minutes.load(Ordering::Relaxed)
    }

    /// Only the programs' own clock goes on.
    pub(super) fn local_clock_jumps(&self, minutes: u32) {
        self.minutes.fetch_add(minutes, Ordering::Relaxed);
    }

    /// Runs a script with the programs on the path.
    pub(super) fn sh(&self, script: &str, death: Option<&Death>) -> Ran {
        let log = self.path().join("points");
        let _ = fs::remove_file(&log);
        let mut command = self.command(script);
        command.env("BQ_ROLLBACK_CRASH_LOG", &log);
        if let Some(Death {
            program,
            point,
            machine,
        }) = death
        {
            let who = if *machine { ":all" } else { "" };
            command.env("BQ_ROLLBACK_CRASH_AT", format!("{program}:{point}{who}"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let (status, stderr) = to_the_end(command.spawn().unwrap());
        Ran { status, stderr }
    }

    fn command(&self, script: &str) -> Command {
        let clock = format!("2026-01-01T{:02}:{:02}:00Z", self.minutes() / 60, self.minutes() % 60);
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .current_dir(self.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", built::mortal_programs().display()))
            .env("BIGQUERY_EMULATOR_HOST", self.gateway.url())
            .env("PROJECT_ID", "pretend")
            .env("BQ_ROLLBACK_PRETEND_CLOCK", clock)
            .env("JOBS", self.jobs.to_string())
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(ms) = self.patience {
            command.env("BQ_ROLLBACK_CRASH_PATIENCE", ms.to_string());
        }
        command
    }

    /// The points that the programs of the last script passed, a program at a time, in order.
    pub(super) fn points(&self) -> Vec<Point> {
        let text = fs::read_to_string(self.path().join("points")).unwrap_or_default();
        let mut points: Vec<Point> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.splitn(3, '\t');
                Some(Point {
                    program: words.next()?.to_owned(),
                    number: words.next()?.parse().ok()?,
                    what: words.next()?.to_owned(),
                })
            })
            .collect();
        points.sort_by(|a, b| (&a.program, a.number).cmp(&(&b.program, b.number)));
        points
    }

    /// The journals, as their lines, by run.
    pub(super) fn journals(&self) -> BTreeMap<String, Vec<Value>> {
        journals_in(&self.state_dir())
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.path().join(".rollback")
    }

    /// Where a run's journal is.
    pub(super) fn journal_file(&self, run: &str) -> PathBuf {
        self.state_dir().join(format!("{run}.jsonl"))
    }

    /// Each table as it is now, without what a restore cannot bring back.
    pub(super) fn tables(&self) -> BTreeMap<&'static str, Option<Shown>> {
        let seen = |table: Shown| lasting(table, self.unseen);
        TABLES
            .iter()
            .map(|name| (*name, self.world.table(name).map(seen)))
            .collect()
    }
}

/// The journals of a state directory, as their events, by run.
pub(super) fn journals_in(state_dir: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut journals = BTreeMap::new();
    for file in fs::read_dir(state_dir).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let Some(run) = name.strip_suffix(".jsonl") else {
            continue;
        };
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let events = whole.map(|line| serde_json::from_str::<Value>(line).unwrap_or_default()["event"].clone());
        journals.insert(run.to_owned(), events.collect());
    }
    journals
}

/// A working directory in memory where there is one: thousands of plays sync their journals, and only the programs' own death is tried
/// here, not the disk's.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    match tempfile::tempdir_in(memory) {
        Ok(directory) => directory,
        Err(_) => tempfile::tempdir().unwrap(),
    }
}

/// A table without what differs between a table and the same table put back, and without what is not to be seen.
fn lasting(mut table: Shown, unseen: Option<&str>) -> Shown {
    const PASSING: [&str; 8] = [
        "creationTime",
        "lastModifiedTime",
        "etag",
        "cloneDefinition",
        "numBytes",
        "numLongTermBytes",
        "numActiveLogicalBytes",
        "numTotalLogicalBytes",
    ];
    if let Some((parent, name)) = unseen.and_then(|pointer| pointer.rsplit_once('/'))
        && let Some(Value::Object(fields)) = table.meta.pointer_mut(parent)
    {
        fields.remove(name);
    }
    if let Value::Object(meta) = &mut table.meta {
        meta.retain(|key, value| !PASSING.contains(&key.as_str()) && !value.is_null());
    }
    table
}

fn copy_files(from: &Path, to: &Path, change: &dyn Fn(String) -> String) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy_files(&from, &to, change);
            continue;
        }
        match String::from_utf8(fs::read(&from).unwrap()) {
            Ok(text) => fs::write(&to, change(text)).unwrap(),
            Err(bytes) => fs::write(&to, bytes.into_bytes()).unwrap(),
        }
    }
}

/// What is said on stderr until the shell and all that it started have ended, and how the shell ended.
///
/// The shell itself waits for the last program of a pipe only, and a line that is killed as a whole leaves orphans: that nobody holds the
/// pipe any more is what says that all are gone.
fn to_the_end(mut child: Child) -> (i32, String) {
    let start = Instant::now();
    let mut stderr = child.stderr.take().unwrap();
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let heard = poll(&mut [PollFd::new(&stderr, PollFlags::IN)], Some(&second)).unwrap_or(0);
        if heard > 0 {
            match stderr.read(&mut chunk).unwrap() {
                0 => break,
                n => said.extend_from_slice(&chunk[..n]),
            }
        }
        if start.elapsed() > PATIENCE {
            let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            panic!("not at an end in {PATIENCE:?}:\n{}", String::from_utf8_lossy(&said));
        }
    }
    let status = child.wait().unwrap();
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    (code, String::from_utf8_lossy(&said).into_owned())
}
