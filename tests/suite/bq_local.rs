//! `bq-local` itself: the status it gives, what it leaves behind, and every fault as a plain socket sees it.

use crate::built;
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tests::Stop;
use tests::emulator::{self, Emulator, EmulatorOptions};
use tests::gateway::{Gateway, GatewayOptions};
use tests::python::{self, Surroundings};

const PROJECT: &str = "diagnostic-pro-start-up";

/// Long enough for a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(90);

/// How many tests one server serves: with every table that it has, all that it is asked takes longer.
const MOST_SERVED: u32 = 16;

/// Servers that relieve each other. One leaves when nobody has it any more.
pub(crate) struct Relay(Mutex<Option<(Arc<Emulator>, u32)>>);

impl Relay {
    pub(crate) const fn new() -> Relay {
        Relay(Mutex::new(None))
    }

    /// The server that is there, or the next one.
    pub(crate) fn server(&self) -> Arc<Emulator> {
        let mut on_duty = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (server, served) = match on_duty.take() {
            Some((server, served)) if served < MOST_SERVED => (server, served + 1),
            _ => (Arc::new(another()), 1),
        };
        *on_duty = Some((Arc::clone(&server), served));
        server
    }
}

/// The server that this test shares with others; for the whole of the test it is the same.
pub(crate) fn shared() -> Arc<Emulator> {
    static ALL: Relay = Relay::new();
    // Every test has a thread of its own.
    thread_local!(static MINE: OnceCell<Arc<Emulator>> = const { OnceCell::new() });
    MINE.with(|mine| Arc::clone(mine.get_or_init(|| ALL.server())))
}

/// A server of its own, for those to whom one is not enough.
pub(crate) fn another() -> Emulator {
    let home = emulator::home().unwrap();
    let mut say = |text: &str| {
        let _ = writeln!(std::io::stderr(), "{text}");
    };
    let python = python::ready(&Surroundings::of_this_process(), &home, &Stop::default(), &mut say);
    let options = EmulatorOptions {
        home,
        project: PROJECT.into(),
        data: None,
    };
    Emulator::start(&python.unwrap(), &options, &Stop::default()).unwrap()
}

fn gateway(faults: &str) -> Gateway {
    let options = GatewayOptions {
        faults: faults.parse().unwrap(),
        ..GatewayOptions::default()
    };
    Gateway::start(shared().url(), options).unwrap()
}

// ---- running it ----

fn bq_local(args: &[&str]) -> Command {
    // Not `CARGO_BIN_EXE_bq-local`: the same file, but what is built for other tests would put it anew while it runs.
    let mut command = Command::new(&built::programs()["bq-local"]);
    command.args(args).stdin(Stdio::null());
    command
}

fn sh(options: &[&str], script: &str) -> Output {
    let args = [options, &["--", "sh", "-c", script]].concat();
    bq_local(&args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A child of ours that is killed when a test fails.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Running {
        Running(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    fn until_exists(&mut self, file: &Path) {
        wait_until("the command runs", || {
            assert_eq!(self.0.try_wait().unwrap(), None, "it ended before");
            file.exists()
        });
    }

    fn ended(&mut self) -> i32 {
        let mut status = None;
        wait_until("bq-local ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
    }

    /// The living processes that descend from it, as `/proc` has them.
    fn descendants(&self) -> BTreeSet<u32> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| {
                let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let (parent, state) = parent_and_state(pid)?;
                (state != 'Z').then_some((pid, parent))
            })
            .collect();
        let mut found = BTreeSet::from([self.0.id()]);
        loop {
            let more = parents
                .iter()
                .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        found.remove(&self.0.id());
        found
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parent_and_state(pid: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

fn living(pids: &BTreeSet<u32>) -> BTreeSet<u32> {
    let alive = |pid: &u32| parent_and_state(*pid).is_some_and(|(_, state)| state != 'Z');
    pids.iter().copied().filter(alive).collect()
}

fn command_line(pid: u32) -> String {
    text(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// Starts a command that says in a file when it runs and then stays, with a child of its own in the background.
fn start_and_stay(scratch: &Path, on_signal: &str) -> Running {
    let here = scratch.join("here");
    let script = format!(
        "{on_signal}\nsleep 600 &\n: > '{}'\nwhile :; do wait; done",
        here.display()
    );
    let mut command = bq_local(&["--", "sh", "-c", &script]);
    command.env("TMPDIR", scratch).stderr(Stdio::inherit());
    let mut running = Running::start(command);
    running.until_exists(&here);
    running
}

fn temporary(scratch: &Path) -> usize {
    let names = fs::read_dir(scratch).unwrap().flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("bq-local-"))
        .count()
}

#[test]
fn a_command_finds_its_bigquery_and_gives_its_status() {
    let scratch = tempfile::tempdir().unwrap();
    let record = scratch.path().join("record");
    let faults = scratch.path().join("faults");
    fs::write(&faults, "GET /datasets #2 : 503\n").unwrap();
    let script = "echo $BIGQUERY_EMULATOR_HOST $PROJECT_ID; \"$BQ_LOCAL_PYTHON\" -c 'import local_bigquery, os, urllib.request as u
base = os.environ[\"BIGQUERY_EMULATOR_HOST\"] + \"/bigquery/v2/projects/other/\"
u.urlopen(base + \"datasets?maxResults=3\").read()
try: u.urlopen(base + \"datasets\")
except u.HTTPError as e: print(e.code)
u.urlopen(u.Request(base + \"queries\", b\"{\\\"query\\\": \\\"SELECT 1\\\", \\\"useLegacySql\\\": false}\", {\"Content-Type\": \"application/json\"})).read()'; exit 7";
    let args = [
        "--project",
        "other",
        "--record",
        record.to_str().unwrap(),
        "--faults",
        faults.to_str().unwrap(),
        "--",
        "sh",
        "-c",
        script,
    ];
    let output = bq_local(&args).env("TMPDIR", scratch.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let (first, rest) = stdout.split_once('\n').unwrap();
    assert!(
        first.starts_with("http://127.0.0.1:") && first.ends_with(" other"),
        "{first}"
    );
    assert_eq!(rest, "503\n");
    let calls: Vec<Value> = fs::read_to_string(&record)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        calls,
        [
            json!({ "n": 1, "method": "GET", "path": "/bigquery/v2/projects/other/datasets", "query": "maxResults=3",
                "body": null, "status": 200 }),
            json!({ "n": 2, "method": "GET", "path": "/bigquery/v2/projects/other/datasets", "query": "",
                "body": null, "status": 503, "fault": "503" }),
            json!({ "n": 3, "method": "POST", "path": "/bigquery/v2/projects/other/queries", "query": "",
                "body": { "query": "SELECT 1", "useLegacySql": false }, "status": 200 }),
        ]
    );
    assert_eq!(temporary(scratch.path()), 0);
}

#[test]
fn a_command_that_dies_or_is_not_there() {
    assert_eq!(sh(&[], "kill -9 $$").status.code(), Some(137));
    let output = bq_local(&["--", "/no/such/program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(text(&output.stderr).lines().count(), 3);
}

#[test]
fn a_signal_reaches_the_command_and_nothing_survives() {
    let scratch = tempfile::tempdir().unwrap();
    let mut running = start_and_stay(scratch.path(), "trap 'exit 3' TERM");
    let descendants = running.descendants();
    assert!(
        descendants.iter().any(|pid| command_line(*pid).contains("launcher.py")),
        "{descendants:?}"
    );
    running.signal("TERM");
    assert_eq!(running.ended(), 3);
    assert_eq!(living(&descendants), BTreeSet::new());
    assert_eq!(temporary(scratch.path()), 0);
}

#[test]
fn an_interrupt_or_hangup_that_the_command_dies_of_is_its_status() {
    for (name, status) in [("INT", 130), ("HUP", 129)] {
        let scratch = tempfile::tempdir().unwrap();
        let mut running = start_and_stay(scratch.path(), "");
        let descendants = running.descendants();
        running.signal(name);
        assert_eq!(running.ended(), status, "{name}");
        assert_eq!(living(&descendants), BTreeSet::new(), "{name}");
    }
}

#[test]
fn nothing_survives_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let mut running = start_and_stay(scratch.path(), "trap '' TERM INT HUP");
    let descendants = running.descendants();
    running.signal("KILL");
    assert_eq!(running.ended(), -9);
    wait_until("all are gone", || living(&descendants).is_empty());
    // Its directory goes with the next start.
    assert_eq!(temporary(scratch.path()), 1);
    let next = bq_local(&["--", "true"]).env("TMPDIR", scratch.path()).status();
    assert!(next.unwrap().success());
    assert_eq!(temporary(scratch.path()), 0);
}

#[test]
fn a_server_that_dies_ends_the_command_with_one_error() {
    let scratch = tempfile::tempdir().unwrap();
    let here = scratch.path().join("here");
    let script = format!(": > '{}'; exec sleep 600", here.display());
    let mut command = bq_local(&["--", "sh", "-c", &script]);
    command.stderr(Stdio::piped());
    let mut running = Running::start(command);
    running.until_exists(&here);
    let server = running.descendants();
    let server = server
        .iter()
        .find(|pid| command_line(**pid).contains("launcher.py"))
        .unwrap();
    let killed = Command::new("kill").args(["-9", &server.to_string()]).status();
    assert!(killed.unwrap().success());
    assert_eq!(running.ended(), 1);
    let mut stderr = String::new();
    let mut pipe = running.0.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    let lines: Vec<&str> = stderr.lines().skip_while(|line| line.starts_with("| ")).collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(lines[0].contains("ended by itself (signal: 9"), "{stderr}");
}

#[test]
fn two_at_once_do_not_see_each_other_and_data_stays_where_it_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let names = ["one", "two"];
    let run = |name: &str| {
        let data = scratch.path().join(name);
        let script = format!(
            "\"$BQ_LOCAL_PYTHON\" -c 'import os, json, urllib.request as u
base = os.environ[\"BIGQUERY_EMULATOR_HOST\"] + \"/bigquery/v2/projects/{PROJECT}/datasets\"
try: u.urlopen(u.Request(base, json.dumps({{\"datasetReference\": {{\"datasetId\": \"{name}\"}}}}).encode(), {{\"Content-Type\": \"application/json\"}}))
except u.HTTPError as e: print(e.code)
print(*sorted(d[\"datasetReference\"][\"datasetId\"] for d in json.load(u.urlopen(base))[\"datasets\"]))'"
        );
        sh(&["--data", data.to_str().unwrap()], &script)
    };
    for (round, before) in [(1, ""), (2, "409\n")] {
        let outputs = std::thread::scope(|scope| {
            let threads = names.map(|name| scope.spawn(move || run(name)));
            threads.map(|thread| thread.join().unwrap())
        });
        for (name, output) in names.iter().zip(outputs) {
            let expected = BTreeSet::from(["local", *name]);
            let stdout = text(&output.stdout);
            let listed = stdout.strip_prefix(before).unwrap_or(&stdout);
            let listed: BTreeSet<&str> = listed.split_whitespace().collect();
            assert_eq!(listed, expected, "round {round}: {}", text(&output.stderr));
        }
    }
}

// ---- errors before anything runs ----

#[test]
fn without_python_the_error_says_what_to_install() {
    let output = bq_local(&["--", "true"]).env_clear().env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(lines[0].starts_with("bq-local: no Python 3.13 or newer"), "{stderr}");
    assert!(
        lines[1].starts_with("at: ") && lines[2].starts_with("hint: "),
        "{stderr}"
    );
}

#[test]
fn wrong_flags_and_files_are_exit_2_in_three_lines() {
    let scratch = tempfile::tempdir().unwrap();
    let faults = scratch.path().join("faults");
    fs::write(&faults, "# fine\n1 : explode\n").unwrap();
    let faults = faults.to_str().unwrap();
    for (args, at) in [
        (vec![], "at: the command line".to_owned()),
        (vec!["--"], "at: the command line".into()),
        (vec!["--latency", "soon", "--", "true"], "at: the command line".into()),
        (vec!["--faults", faults, "--", "true"], format!("at: {faults}:2")),
        (vec!["--faults", "/no/file", "--", "true"], "at: /no/file".into()),
    ] {
        let output = bq_local(&args).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 3, "{args:?}: {stderr}");
        assert_eq!(lines[1], at, "{args:?}");
    }
}

/// A Python that only pretends: `-m pip` and the launcher do as told.
fn pretend_python(scratch: &Path, pip: &str, launcher: &str) -> PathBuf {
    let python = scratch.join("python");
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n-S*) echo 3.13.0;;\n\
        '-m venv') for d; do :; done; mkdir -p \"$d/bin\" && cp \"$0\" \"$d/bin/python\";;\n\
        '-m pip') {pip};;\n*launcher.py*) {launcher};;\nesac\n"
    );
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
        .arg(&python)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    python
}

fn bq_local_with(scratch: &Path, pip: &str, launcher: &str) -> Command {
    let mut command = bq_local(&["--", "true"]);
    command
        .env("BQ_LOCAL_PYTHON_BASE", pretend_python(scratch, pip, launcher))
        .env("XDG_CACHE_HOME", scratch.join("cache"));
    command
}

#[test]
fn a_server_that_does_not_start_is_one_error_with_its_last_words() {
    let scratch = tempfile::tempdir().unwrap();
    let output = bq_local_with(scratch.path(), "true", "echo boom; exit 3")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("| boom\nbq-local: the local BigQuery ended by itself (exit status: 3)\nat: "),
        "{stderr}"
    );
}

#[test]
fn a_port_that_is_taken_is_given_up_for_another() {
    let scratch = tempfile::tempdir().unwrap();
    let count = scratch.path().join("count");
    let launcher = format!(
        "echo x >> '{}'; echo \"[Errno 98] address already in use\"; exit 1",
        count.display()
    );
    let output = bq_local_with(scratch.path(), "true", &launcher).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n".repeat(5));
    assert!(text(&output.stderr).contains("found no free port"));
}

#[test]
fn a_signal_ends_an_installation() {
    let scratch = tempfile::tempdir().unwrap();
    let here = scratch.path().join("here");
    let pip = format!(": > '{}'; exec sleep 600", here.display());
    let mut command = bq_local_with(scratch.path(), &pip, "true");
    command.stderr(Stdio::null());
    let mut running = Running::start(command);
    running.until_exists(&here);
    let descendants = running.descendants();
    running.signal("TERM");
    assert_eq!(running.ended(), 143);
    assert_eq!(living(&descendants), BTreeSet::new());
}

// ---- faults, seen by a plain socket ----

/// What comes back until the connection closes or rests, and how it ended.
struct Seen {
    head: String,
    body: String,
    reset: bool,
}

impl Seen {
    fn status(&self) -> &str {
        self.head.get(9..12).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

fn send(gateway: &Gateway, method: &str, path: &str, body: &str) -> TcpStream {
    let address = gateway.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} /bigquery/v2/projects/{PROJECT}{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

fn receive(mut stream: TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let reset = match stream.read_to_end(&mut bytes) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    };
    let all = text(&bytes);
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or_default();
    Seen {
        head: head.into(),
        body: body.into(),
        reset,
    }
}

fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Seen {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    receive(send(gateway, method, path, &body))
}

fn get(gateway: &Gateway) -> Seen {
    ask(gateway, "GET", "/datasets", &Value::Null)
}

#[test]
fn errors_come_in_googles_shape_with_a_date() {
    for (what, status, reason, grpc) in [
        ("503", "503", "backendError", "UNAVAILABLE"),
        ("500", "500", "internalError", "INTERNAL"),
        ("429 retry-after=2", "429", "rateLimitExceeded", "RESOURCE_EXHAUSTED"),
        ("403 rateLimitExceeded", "403", "rateLimitExceeded", "PERMISSION_DENIED"),
        (
            "403 accessDenied \"go away\"",
            "403",
            "accessDenied",
            "PERMISSION_DENIED",
        ),
        ("404", "404", "notFound", "NOT_FOUND"),
        ("401", "401", "authError", "UNAUTHENTICATED"),
    ] {
        let gateway = gateway(&format!("* : {what}"));
        let seen = get(&gateway);
        assert_eq!(seen.status(), status, "{what}");
        let error = &seen.json()["error"];
        assert_eq!(error["errors"][0]["reason"], reason, "{what}");
        assert_eq!(error["status"], grpc, "{what}");
        assert_eq!(error["code"].to_string(), status, "{what}");
        assert!(seen.header("date").is_some(), "{what}");
        assert_eq!(
            seen.header("retry-after").is_some(),
            what.contains("retry-after"),
            "{what}"
        );
        if what.contains("go away") {
            assert_eq!(error["message"], "go away");
        }
        let calls = gateway.calls();
        assert_eq!(calls.len(), 1, "{what}");
        assert_eq!(calls[0].fault.as_deref(), Some(what));
        assert_eq!(calls[0].status.map(|s| s.to_string()).as_deref(), Some(status));
    }
}

#[test]
fn broken_answers_and_broken_connections() {
    let gateway = gateway("1 : html\n2 : empty\n3 : truncate\n4 : refuse\n5 : reset\n6 : delay 300ms\n");
    let html = get(&gateway);
    assert_eq!((html.status(), html.body.starts_with("<!DOCTYPE html>")), ("502", true));
    let empty = get(&gateway);
    assert_eq!((empty.status(), empty.body.as_str()), ("200", ""));
    let truncated = get(&gateway);
    let promised: usize = truncated.header("content-length").unwrap().parse().unwrap();
    assert_eq!((truncated.status(), truncated.body.len()), ("200", promised / 2));
    let refused = get(&gateway);
    assert_eq!((refused.head.as_str(), refused.reset), ("", false));
    let reset = get(&gateway);
    assert_eq!((reset.head.as_str(), reset.reset), ("", true));
    let start = Instant::now();
    let late = get(&gateway);
    assert!(late.status() == "200" && start.elapsed() >= Duration::from_millis(300));
    assert_eq!(late.header("server"), Some("uvicorn"));
    assert!(late.header("date").is_some());
    let statuses: Vec<Option<u16>> = gateway.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(502), Some(200), Some(200), None, None, Some(200)]);
}

#[test]
fn hang_lasts_until_the_caller_goes_away() {
    let gateway = gateway("1 : hang");
    let mut stream = send(&gateway, "GET", "/datasets", "");
    wait_until("the call arrives", || gateway.calls().len() == 1);
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
    drop(stream);
    assert_eq!(get(&gateway).status(), "200");
    // A caller that hangs does not keep the gateway from ending.
    let _waiting = send(&gateway, "GET", "/datasets", "");
    drop(gateway);
}

#[test]
fn apply_then_drop_applies_and_refuse_does_not() {
    let gateway = gateway("* body~\"lost_reply\" #1 : apply-then-drop\n* body~\"lost_call\" #1 : refuse");
    for (name, second) in [("lost_reply", "409"), ("lost_call", "200")] {
        let body = json!({ "datasetReference": { "projectId": PROJECT, "datasetId": name } });
        assert_eq!(ask(&gateway, "POST", "/datasets", &body).head, "", "{name}");
        assert_eq!(ask(&gateway, "POST", "/datasets", &body).status(), second, "{name}");
    }
}

#[test]
fn a_pending_job_is_done_after_so_many_answers() {
    let gateway = gateway("POST /jobs : pending 2\nPOST /queries : pending 1");
    let body = json!({ "jobReference": { "projectId": PROJECT, "jobId": "pending_job" },
        "configuration": { "query": { "query": "SELECT 1 AS x", "useLegacySql": false } } });
    let state = |seen: &Seen| seen.json()["status"]["state"].clone();
    let inserted = ask(&gateway, "POST", "/jobs", &body);
    assert_eq!(state(&inserted), "RUNNING", "{}", inserted.body);
    // The server takes its own time: what is looked at below is what the gateway adds.
    let plain = self::gateway("");
    wait_until("the job is done", || {
        state(&ask(&plain, "GET", "/jobs/pending_job", &Value::Null)) == "DONE"
    });
    let mut states = Vec::new();
    for _ in 0..3 {
        states.push(state(&ask(&gateway, "GET", "/jobs/pending_job", &Value::Null)));
    }
    assert_eq!(states, ["RUNNING", "RUNNING", "DONE"]);

    let query = json!({ "query": "SELECT 1 AS x", "useLegacySql": false });
    let asked = ask(&gateway, "POST", "/queries", &query).json();
    assert_eq!((&asked["jobComplete"], &asked["rows"]), (&json!(false), &Value::Null));
    let id = asked["jobReference"]["jobId"].as_str().unwrap();
    for complete in [false, true] {
        let results = ask(&gateway, "GET", &format!("/queries/{id}"), &Value::Null).json();
        assert_eq!(results["jobComplete"], complete);
        assert_eq!(results.get("rows").is_some(), complete);
    }
    let faults: Vec<Option<String>> = gateway.calls().into_iter().map(|call| call.fault).collect();
    let expected = ["pending 2", "pending", "pending", "", "pending 1", "pending", ""];
    assert_eq!(
        faults
            .iter()
            .map(|f| f.as_deref().unwrap_or_default())
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn latency_is_added_and_connections_are_kept() {
    let options = GatewayOptions {
        latency: Duration::from_millis(50),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(shared().url(), options).unwrap();
    let start = Instant::now();
    let address = gateway.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    for last in [false, false, true] {
        let close = if last { "Connection: close\r\n" } else { "" };
        write!(stream, "GET /nothing HTTP/1.1\r\nHost: x\r\n{close}\r\n").unwrap();
    }
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 3, "{answers}");
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn an_upstream_that_is_gone_is_a_502_that_says_so() {
    let gateway = Gateway::start("http://127.0.0.1:1", GatewayOptions::default()).unwrap();
    let seen = get(&gateway);
    assert_eq!(seen.status(), "502");
    let message = seen.json()["error"]["message"].to_string();
    assert!(message.contains("no answer from the local BigQuery"), "{message}");
}
