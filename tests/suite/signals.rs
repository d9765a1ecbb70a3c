//! INT, TERM, HUP; readers that go away, writers that die, `timeout`, a shell that is killed: at each program, under bash, dash and make.
//!
//! Nothing here waits for a time to pass. A program is held at a call that the pretended upstream keeps back; what it has heard it says
//! on stderr; then the call is let go.

use crate::built;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::gateway::{Answering, Ask, Gateway, GatewayOptions, Reply, Upstream};
use tests::world::{PROJECT, Row, World};
use tokio::sync::watch;

const CLOCK: &str = "2026-01-01T00:00:00Z";

/// Only what hangs waits this out.
const PATIENCE: Duration = Duration::from_secs(120);

// ---- a BigQuery that is held at a call ----

/// What becomes of the calls that a gate is for, as long as it is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// They wait, and are made once it opens.
    Wait,
    /// They are answered 503.
    Down,
    /// They send jobs, which run until they are cancelled; what they wrote until then stands.
    Run,
    /// The same, and BigQuery does not hear `cancel`.
    RunDeaf,
}

/// Which calls: of this method, with these texts in the target and in the body.
#[derive(Clone, Copy, Debug)]
struct At {
    kind: Kind,
    method: &'static str,
    target: &'static str,
    body: &'static str,
}

#[derive(Debug)]
struct Gate {
    world: World,
    at: At,
    /// How many of its calls have come.
    came: watch::Sender<u32>,
    open: watch::Sender<bool>,
    /// How often `cancel` was asked for its jobs.
    cancels: watch::Sender<u32>,
}

impl Gate {
    fn is_for(&self, ask: &Ask) -> bool {
        ask.method == self.at.method
            && ask.target.contains(self.at.target)
            && String::from_utf8_lossy(&ask.body).contains(self.at.body)
    }

    /// Whether jobs that run still do.
    fn runs(&self) -> bool {
        let deaf = self.at.kind == Kind::RunDeaf && !*self.open.borrow();
        deaf || *self.cancels.borrow() == 0
    }

    /// A migration that runs until it is cancelled. It is sent at once, and only shown as running.
    async fn running(&self, ask: Ask) -> Result<Reply, String> {
        let (submits, cancels, results) = (
            self.is_for(&ask),
            ask.target.contains("/cancel"),
            ask.target.contains("/queries/"),
        );
        if cancels {
            self.cancels.send_modify(|n| *n += 1);
        }
        let mut reply = self.world.answer(ask).await?;
        if submits {
            self.came.send_modify(|n| *n += 1);
        }
        if results && self.runs() {
            // As BigQuery's long poll does; else the caller would ask without a pause.
            let mut cancels = self.cancels.subscribe();
            let _ = tokio::time::timeout(Duration::from_millis(200), cancels.changed()).await;
        }
        let stopped = json!({ "reason": "stopped", "message": "Job execution was cancelled" });
        let mut answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        match (results, self.runs()) {
            (true, true) => answer = json!({ "jobReference": answer["jobReference"], "jobComplete": false }),
            (true, false) => {
                reply.status = http_status(400);
                answer = json!({ "error": { "code": 400, "message": stopped["message"], "errors": [stopped] } });
            }
            (false, true) => answer["status"] = json!({ "state": "RUNNING" }),
            (false, false) => answer["status"] = json!({ "state": "DONE", "errorResult": stopped }),
        }
        reply.headers.remove("content-length");
        reply.body = answer.to_string().into();
        Ok(reply)
    }
}

fn http_status(code: u16) -> reqwest::StatusCode {
    reqwest::StatusCode::from_u16(code).unwrap()
}

impl Upstream for Gate {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        Box::pin(async move {
            let dry = String::from_utf8_lossy(&ask.body).contains("\"dryRun\":true");
            let of_its_job = ask.target.contains("-migrate1-1");
            match self.at.kind {
                Kind::Run | Kind::RunDeaf if of_its_job || (self.is_for(&ask) && !dry) => {
                    return self.running(ask).await;
                }
                Kind::Run | Kind::RunDeaf => {}
                Kind::Down if self.is_for(&ask) && !*self.open.borrow() => {
                    self.came.send_modify(|n| *n += 1);
                    let error = json!({ "error": { "code": 503, "message": "down", "errors": [{ "reason": "backendError" }] } });
                    return Ok(Reply {
                        status: http_status(503),
                        headers: Default::default(),
                        body: error.to_string().into(),
                    });
                }
                Kind::Wait if self.is_for(&ask) => {
                    self.came.send_modify(|n| *n += 1);
                    let _ = self.open.subscribe().wait_for(|open| *open).await;
                }
                Kind::Down | Kind::Wait => {}
            }
            self.world.answer(ask).await
        })
    }
}

const fn at(kind: Kind, method: &'static str, target: &'static str, body: &'static str) -> At {
    At {
        kind,
        method,
        target,
        body,
    }
}

const SNAPSHOT: At = at(Kind::Wait, "POST", "/jobs", "CREATE SNAPSHOT TABLE");
const DRY_RUN: At = at(Kind::Wait, "POST", "/jobs", "\"dryRun\":true");
const SUBMIT: At = at(Kind::Wait, "POST", "/jobs", "-migrate1-1");
const MIGRATION: At = at(Kind::Run, "POST", "/jobs", "-migrate1-1");
const DEAF: At = at(Kind::RunDeaf, "POST", "/jobs", "-migrate1-1");
const CHECK: At = at(Kind::Wait, "POST", "/jobs", "\"bq-rollback-tool\":\"bq-check\"");
const RESTORE: At = at(Kind::Wait, "POST", "/jobs", "CREATE OR REPLACE TABLE");

// ---- a place to run in ----

/// Two tables, a migration, and the programs; everything of its own, the world behind the gate included.
struct Place {
    gateway: Gateway,
    gate: Arc<Gate>,
    scratch: TempDir,
    dataset: String,
    /// What the tables held at the cut.
    before: Vec<Vec<Row>>,
    pretend: bool,
}

impl Place {
    fn new(at: At) -> Place {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let dataset = format!("signals_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let world = World::new(1);
        let table = |name| {
            format!(
                "CREATE TABLE {dataset}.{name} (id INT64 NOT NULL); INSERT INTO {dataset}.{name} VALUES (1), (2), (3);"
            )
        };
        let setup = format!("CREATE SCHEMA {dataset}; {} {}", table("a"), table("b"));
        world.sql(&setup).unwrap();
        let gate = Arc::new(Gate {
            world,
            at,
            came: watch::Sender::new(0),
            open: watch::Sender::new(false),
            cancels: watch::Sender::new(0),
        });
        let gateway = Gateway::in_front_of(gate.clone(), GatewayOptions::default()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["work", "bin"] {
            fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        for program in built::PROGRAMS {
            symlink(&built::programs()[program], scratch.path().join("bin").join(program)).unwrap();
        }
        let mut place = Place {
            gateway,
            gate,
            scratch,
            before: Vec::new(),
            dataset,
            pretend: true,
        };
        place.gate.world.watch(&place.path(".rollback"));
        place.before = place.rows();
        let inserts = ["a", "b"].map(|table| format!("INSERT INTO {}.{table} VALUES (4);\n", place.dataset));
        fs::write(place.path("m.sql"), inserts.concat()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("work").join(name)
    }

    /// The rows of both tables.
    fn rows(&self) -> Vec<Vec<Row>> {
        let table = |name: &str| self.gate.world.table(&format!("{PROJECT}.{}.{name}", self.dataset));
        ["a", "b"].map(|name| table(name).unwrap().rows).into()
    }

    /// A command line with `$D` for the dataset, which is the run's ID, too.
    fn words(&self, text: &str) -> String {
        text.replace("$D", &self.dataset)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let output = |name: &str| {
            let file = OpenOptions::new().create(true).append(true).open(self.path(name));
            Stdio::from(file.unwrap())
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path(""))
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.scratch.path().join("bin").display()),
            )
            .env("BIGQUERY_EMULATOR_HOST", self.gateway.url())
            .env("PROJECT_ID", PROJECT)
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .process_group(0);
        if self.pretend {
            command.env("BQ_ROLLBACK_PRETEND_CLOCK", CLOCK);
        }
        command
    }

    fn start(&self, mut command: Command) -> Running<'_> {
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        Running {
            place: self,
            child,
            group,
        }
    }

    /// A line under a shell.
    fn line(&self, shell: Shell, line: &str) -> Running<'_> {
        let line = self.words(line);
        let command = match shell {
            Shell::Bash => self.command("bash", &["-c", &line]),
            Shell::Dash => self.command(dash(), &["-c", &line]),
            Shell::Make => {
                fs::write(self.path("Makefile"), format!("merge:\n\t@{line}\n")).unwrap();
                self.command("make", &["merge"])
            }
        };
        self.start(command)
    }

    /// A line in `sh`, to its end.
    fn sh(&self, line: &str) -> i32 {
        self.line(Shell::Dash, line).ended()
    }

    /// Waits until the call that the gate is for has come.
    fn held(&self) {
        self.until("the call that is held", || *self.gate.came.borrow() > 0);
    }

    fn open(&self) {
        self.gate.open.send_replace(true);
    }

    /// Waits until a program has said that it heard a signal.
    fn heard(&self, program: &str) {
        // One that has nothing to wait for may have gone with its error before its first word was written.
        let at_once = format!("{program}: stopping;");
        let at_its_end = |line: &str| line.starts_with(&format!("{program}: error:")) && line.contains("by a signal");
        self.until(&at_once, || {
            let said = self.said();
            said.contains(&at_once) || said.lines().any(at_its_end)
        });
    }

    #[track_caller]
    fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is() {
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: not in {PATIENCE:?}\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// The run's state as `bq-restore --list` has it; empty: there is none.
    fn state(&self) -> String {
        let mut command = self.command("bq-restore", &["--list", "--format", "json"]);
        let output = command.stdout(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let run = text.lines().next().map(|line| serde_json::from_str(line).unwrap());
        run.map_or(String::new(), |run: Value| run["state"].as_str().unwrap().to_owned())
    }

    /// The codes that a program's `end` records have on standard output.
    fn codes(&self, program: &str) -> Vec<u64> {
        let text = fs::read_to_string(self.path("stdout")).unwrap_or_default();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ends = records.filter(|r| r["type"] == "end" && r["tool"] == program);
        ends.map(|r| r["code"].as_u64().unwrap()).collect()
    }

    /// What a person or the next line does about it: `bq-restore` ends with this, and the tables equal the cut, or the run was accepted.
    #[track_caller]
    fn settles(&self, status: i32, what: &str) {
        self.open();
        let mut command = self.command("bq-restore", &["--wait", "2m"]);
        command.env("BQ_ROLLBACK_PRETEND_CLOCK", CLOCK);
        let ended = self.start(command).ended();
        assert_eq!(ended, status, "{what}: bq-restore\n{}", self.said());
        match self.state().as_str() {
            "accepted" => assert_ne!(self.rows(), self.before, "{what}: accepted\n{}", self.said()),
            state => {
                assert!(
                    ["", "snapping", "protected", "abandoned", "rolled-back"].contains(&state),
                    "{what}: {state}"
                );
                assert_eq!(self.rows(), self.before, "{what}: {state}\n{}", self.said());
            }
        }
    }
}

/// Something that was started, with all that it started.
struct Running<'p> {
    place: &'p Place,
    child: Child,
    group: Pid,
}

impl Running<'_> {
    /// Waits until it and all that it left behind has ended; its status as a shell has it.
    #[track_caller]
    fn ended(mut self) -> i32 {
        let mut status = None;
        self.place.until("the line ends", || {
            status = status.or(self.child.try_wait().unwrap());
            status.is_some() && members(self.group, None).is_empty()
        });
        let status = status.unwrap();
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// The process of one program in it.
    #[track_caller]
    fn process(&self, program: &str) -> Pid {
        let mut found = Vec::new();
        self.place.until(program, || {
            found = members(self.group, Some(program));
            !found.is_empty()
        });
        found[0]
    }

    #[track_caller]
    fn signal(&self, aim: Aim, program: &str, signal: Signal) {
        match aim {
            Aim::One => kill_process(self.process(program), signal).unwrap(),
            Aim::All => kill_process_group(self.group, signal).unwrap(),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The living processes of a group, or those among them of a program.
fn members(group: Pid, program: Option<&str>) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Whatever ends while it is looked at is not there.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((name, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = fields.split(' ').collect();
        let name = name.split_once('(').map_or("", |(_, name)| name);
        if fields[0] != "Z"
            && fields[2] == group.as_raw_nonzero().to_string()
            && program.is_none_or(|program| program == name)
        {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

fn dash() -> &'static str {
    let dash = Command::new("dash").args(["-c", ":"]).stderr(Stdio::null()).status();
    if dash.is_ok_and(|status| status.success()) {
        "dash"
    } else {
        "sh"
    }
}

// ---- the tables ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    Bash,
    Dash,
    Make,
}

/// Whom a signal is for: one program, or the process group, as Ctrl-C and a terminal that closes have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    One,
    All,
}

const SIGNALS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

/// A moment in the line: the program that is held, and where.
#[derive(Clone, Copy, Debug)]
struct Moment {
    program: &'static str,
    at: At,
    line: &'static str,
    /// The run's state once the program has gone, if nothing else had been done about it.
    leaves: &'static str,
    /// What settles it.
    settles: i32,
}

const GOOD: &str = "bq-snap -j 1 --run $D $D.a $D.b | bq-run m.sql | bq-check || bq-restore";
const BAD: &str = "bq-snap --run $D $D.a $D.b | bq-run m.sql | bq-check --expect '$D.a > 99' || bq-restore -j 1";

const MOMENTS: [Moment; 5] = [
    Moment {
        program: "bq-snap",
        at: SNAPSHOT,
        line: GOOD,
        leaves: "snapping",
        settles: 1,
    },
    Moment {
        program: "bq-run",
        at: DRY_RUN,
        line: GOOD,
        leaves: "protected",
        settles: 1,
    },
    Moment {
        program: "bq-run",
        at: MIGRATION,
        line: GOOD,
        leaves: "failed",
        settles: 10,
    },
    Moment {
        program: "bq-check",
        at: CHECK,
        line: GOOD,
        leaves: "rejected",
        settles: 10,
    },
    Moment {
        program: "bq-restore",
        at: RESTORE,
        line: BAD,
        leaves: "stuck",
        settles: 10,
    },
];

/// What the line may end with. A shell that lives on runs `|| bq-restore`; one that dies of the signal leaves the run as it is.
fn line_ends(shell: Shell, aim: Aim, code: i32, moment: &Moment) -> Vec<i32> {
    let restored = match moment.program {
        "bq-restore" => code,
        _ => moment.settles,
    };
    match (aim, shell) {
        // Make turns every failure into its own 2.
        (Aim::One, Shell::Make) => vec![2],
        (Aim::One, _) => vec![restored],
        // The programs do not die of INT, so bash goes on.
        (Aim::All, Shell::Bash) if code == 130 => vec![restored],
        // Make dies of the signal, unless it just then waits for a child that died of it first.
        (Aim::All, Shell::Make) => vec![code, 2],
        (Aim::All, _) => vec![code],
    }
}

/// Each signal at one program and at the whole group, at each moment.
fn under(shell: Shell) {
    for (signal, code) in SIGNALS {
        for aim in [Aim::One, Aim::All] {
            for moment in &MOMENTS {
                signalled(shell, aim, signal, code, moment);
            }
        }
    }
}

fn signalled(shell: Shell, aim: Aim, signal: Signal, code: i32, moment: &Moment) {
    let what = format!(
        "{shell:?}, {code} to {aim:?}, {} at {} {}",
        moment.program, moment.at.target, moment.at.body
    );
    let place = Place::new(moment.at);
    let running = place.line(shell, moment.line);
    place.held();
    running.signal(aim, moment.program, signal);
    place.heard(moment.program);
    place.open();
    let ended = running.ended();
    let want = line_ends(shell, aim, code, moment);
    assert!(
        want.contains(&ended),
        "{what}: the line ended with {ended}, not {want:?}\n{}",
        place.said()
    );
    // What the others have passed on cannot be read where they were told to stop, too.
    if aim == Aim::One || matches!(moment.program, "bq-check" | "bq-restore") {
        let codes = place.codes(moment.program);
        assert_eq!(codes, [u64::try_from(code).unwrap()], "{what}\n{}", place.said());
    }
    let state = place.state();
    let restored = state == "rolled-back";
    let goes_on = aim == Aim::One || (shell == Shell::Bash && code == 130);
    assert_eq!(
        restored,
        goes_on && moment.settles == 10 && moment.program != "bq-restore",
        "{what}: {state}"
    );
    // bq-check, told to stop too, rejects the run if it comes to hold it.
    let as_it_was = state == moment.leaves || (aim == Aim::All && (moment.leaves, &*state) == ("failed", "rejected"));
    assert!(restored || as_it_was, "{what}: {state}\n{}", place.said());
    place.settles(if restored { 1 } else { moment.settles }, &what);
}

#[test]
fn signals_under_bash() {
    under(Shell::Bash);
}

#[test]
fn signals_under_dash() {
    under(Shell::Dash);
}

#[test]
fn signals_under_make() {
    under(Shell::Make);
}

const SNAP: &str = "bq-snap -q --run $D $D.a $D.b >stream";
const RUN: &str = "bq-run -q m.sql <stream >migrated";
const REJECT: &str = "! bq-check -q --expect '$D.a > 99' <migrated >rejected";

impl Place {
    /// What comes before a program of the line, done.
    fn before(&self, program: &str) {
        let lines: &[&str] = match program {
            "bq-run" => &[SNAP],
            "bq-check" => &[SNAP, RUN],
            "bq-restore" => &[SNAP, RUN, REJECT],
            _ => &[],
        };
        for line in lines {
            assert_eq!(self.sh(line), 0, "{line}\n{}", self.said());
        }
    }

    /// A program alone, as the line has it.
    fn alone(&self, program: &str) -> Command {
        let (line, stdin) = match program {
            "bq-snap" => ("-j 1 --run $D $D.a $D.b", None),
            "bq-count" => ("$D.a", None),
            "bq-run" => ("m.sql", Some("stream")),
            "bq-check" => ("", Some("migrated")),
            _ => ("-j 1", None),
        };
        let line = self.words(line);
        let mut command = self.command(program, &line.split_whitespace().collect::<Vec<_>>());
        if let Some(name) = stdin {
            command.stdin(File::open(self.path(name)).unwrap());
        }
        command
    }
}

/// BigQuery is down, and would be tried for ten minutes: a signal is not kept waiting.
#[test]
fn a_signal_ends_the_wait_for_another_try() {
    let tables = at(Kind::Down, "GET", "/tables/", "");
    let submit = at(Kind::Down, "POST", "/jobs", "-migrate1-1");
    for (program, at, code, state, settles) in [
        ("bq-snap", tables, 143, "", 1),
        ("bq-count", tables, 143, "", 1),
        ("bq-run", tables, 143, "protected", 1),
        // 503 does not say that the job was not made.
        ("bq-run", submit, 9, "running", 1),
        ("bq-check", tables, 143, "rejected", 10),
        ("bq-restore", tables, 143, "rejected", 10),
    ] {
        let what = format!("{program}, {} {}", at.target, at.body);
        let mut place = Place::new(at);
        place.open();
        place.before(program);
        place.gate.open.send_replace(false);
        place.pretend = false;
        let running = place.start(place.alone(program));
        place.held();
        running.signal(Aim::One, program, Signal::TERM);
        assert_eq!(running.ended(), code, "{what}\n{}", place.said());
        // Before the list is asked for: it has its own to say of a run of that clock.
        let last = place.said().lines().last().unwrap().to_owned();
        assert_eq!(place.state(), state, "{what}\n{}", place.said());
        let settling = format!("hint: bq-restore --run {}", place.dataset);
        let begun = matches!(state, "running" | "rejected");
        assert_eq!(
            begun && program != "bq-restore",
            last.starts_with(&settling),
            "{what}: {last}"
        );
        place.settles(settles, &what);
    }
}

/// The second signal does not wait for the job to hear.
#[test]
fn a_second_signal_leaves_at_once() {
    let mut place = Place::new(DEAF);
    place.before("bq-run");
    place.pretend = false;
    let mut running = place.start(place.alone("bq-run"));
    place.held();
    running.signal(Aim::One, "bq-run", Signal::INT);
    place.until("the job is cancelled", || *place.gate.cancels.borrow() > 0);
    place.until("the program leaves", || {
        // One that comes too soon after the first is taken for its echo.
        let _ = kill_process(running.group, Signal::TERM);
        std::thread::sleep(Duration::from_millis(50));
        running.child.try_wait().unwrap().is_some()
    });
    assert_eq!(running.ended(), 143);
    assert_eq!(place.state(), "running");
    place.settles(10, "after a second signal");
}

/// `nohup`, and `&` in a script.
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let place = Place::new(SUBMIT);
    place.before("bq-run");
    let running = place.line(Shell::Dash, "trap '' INT TERM HUP; exec bq-run m.sql <stream >migrated");
    place.held();
    for (signal, _) in SIGNALS {
        running.signal(Aim::All, "bq-run", signal);
    }
    place.open();
    assert_eq!(running.ended(), 0, "{}", place.said());
    assert_eq!(
        (place.state().as_str(), place.said().contains("stopping")),
        ("migrated", false)
    );
}

#[test]
fn a_reader_goes_away() {
    let count = at(Kind::Wait, "GET", "/tables/a", "");
    for (program, at, code, state, settles) in [
        ("bq-count", count, 5, "", 1),
        ("bq-snap", SNAPSHOT, 5, "snapping", 1),
        ("bq-run", DRY_RUN, 5, "protected", 1),
        ("bq-run", MIGRATION, 5, "failed", 10),
        ("bq-check", CHECK, 5, "rejected", 10),
        ("bq-restore", RESTORE, 10, "rolled-back", 1),
    ] {
        let what = format!("the reader of {program}, {}", at.body);
        let place = Place::new(at);
        if program == "bq-check" {
            place.open();
        }
        place.before(program);
        let mut command = place.alone(program);
        let mut running = place.start({
            command.stdout(Stdio::piped());
            command
        });
        place.held();
        drop(running.child.stdout.take());
        place.open();
        assert_eq!(running.ended(), code, "{what}\n{}", place.said());
        assert_eq!(place.state(), state, "{what}\n{}", place.said());
        place.settles(settles, &what);
    }
}

#[test]
fn a_writer_dies() {
    for (program, at, status, state) in [
        ("bq-snap", SNAPSHOT, 1, "snapping"),
        ("bq-run", DRY_RUN, 1, "protected"),
        ("bq-run", MIGRATION, 10, "rolled-back"),
    ] {
        let what = format!("{program} is killed, {}", at.body);
        let place = Place::new(at);
        let running = place.line(Shell::Dash, GOOD);
        place.held();
        running.signal(Aim::One, program, Signal::KILL);
        place.open();
        assert_eq!(running.ended(), status, "{what}\n{}", place.said());
        assert_eq!(place.state(), state, "{what}\n{}", place.said());
        place.settles(1, &what);
    }
}

/// `timeout` sends its signal twice, to its child and to its group: that is one signal.
#[test]
fn a_timeout_cancels_the_migration() {
    let place = Place::new(MIGRATION);
    place.before("bq-run");
    let line = "timeout 1 bq-run m.sql <stream >migrated; test $? = 124 && tail -n 1 migrated; bq-check <migrated || bq-restore";
    let ended = place.line(Shell::Dash, line).ended();
    assert_eq!(place.codes("bq-run").first(), Some(&143), "{}", place.said());
    // On a slow machine the second is over before the migration is sent.
    let state = place.state();
    let submitted = *place.gate.came.borrow() > 0;
    let want = if submitted {
        (10, "rolled-back")
    } else {
        (1, "protected")
    };
    assert_eq!((ended, state.as_str()), want, "{}", place.said());
    place.settles(1, "after a timeout");
}

/// The programs go on without their shell; only `|| bq-restore` is not run any more. Make's own death leaves its shell alive.
#[test]
fn the_shell_is_killed() {
    for (shell, line, state, settles) in [
        (Shell::Bash, GOOD, "accepted", 1),
        (Shell::Bash, BAD, "rejected", 10),
        (Shell::Dash, BAD, "rejected", 10),
        (Shell::Make, BAD, "rolled-back", 1),
    ] {
        let what = format!("{shell:?} is killed, {line}");
        let place = Place::new(SUBMIT);
        let running = place.line(shell, line);
        place.held();
        kill_process(running.group, Signal::KILL).unwrap();
        place.open();
        assert_eq!(running.ended(), 137, "{what}");
        assert_eq!(place.state(), state, "{what}\n{}", place.said());
        place.settles(settles, &what);
    }
}
