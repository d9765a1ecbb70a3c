//! One transcript played: its dataset filled, its working directory laid out, its script run behind a gateway of its own.

use super::{name, text};
use crate::bq_local::Relay;
use crate::built;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::gateway::{Call, Gateway, GatewayOptions};

const PROJECT: &str = "diagnostic-pro-start-up";

/// The programs' clock stands still here, and their waits take no time.
const CLOCK: &str = "2026-01-01T00:00:00Z";

/// Only a transcript that hangs waits this out.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server works on one statement at a time and takes half a gigabyte.
const MOST_SERVERS: usize = 4;

/// Files of a folder that are not copied into the working directory.
const OURS: [&str; 8] = [
    "cmd",
    "setup.sql",
    "faults",
    "stdout",
    "stderr",
    "status",
    "calls",
    "journal",
];

/// What all transcripts use.
pub(super) struct Shared {
    programs: TempDir,
    shell: &'static str,
    servers: Vec<Relay>,
}

impl Shared {
    /// Builds the programs and makes a directory with them alone.
    pub(super) fn new() -> Shared {
        let programs = tempfile::tempdir().unwrap();
        for program in built::PROGRAMS {
            symlink(&built::programs()[program], programs.path().join(program)).unwrap();
        }
        let dash = Command::new("dash").args(["-c", ":"]).stderr(Stdio::null()).status();
        let shell = if dash.is_ok_and(|status| status.success()) {
            "dash"
        } else {
            "sh"
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let servers = (0..cores.clamp(1, MOST_SERVERS)).map(|_| Relay::new()).collect();
        Shared {
            programs,
            shell,
            servers,
        }
    }

    /// How many servers there are at a time.
    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }
}

/// What came of it.
pub(super) struct Played {
    pub(super) status: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) calls: Vec<Call>,
    /// The working directory, for as long as this value lives.
    pub(super) directory: PathBuf,
    /// What differs from one playing to the next, and what it is called in the transcript.
    pub(super) places: Vec<(String, &'static str)>,
    _scratch: TempDir,
}

/// Plays a folder. `Err`: it could not be set up.
pub(super) fn play(folder: &Path, shared: &Shared, server: usize) -> Result<Played, String> {
    let server = shared.servers[server].server();
    let server = server.url();
    let dataset = format!("t_{}", name(folder));
    let replace = |text: String| text.replace("${D}", &dataset);
    let setup = folder.join("setup.sql");
    if setup.is_file() {
        let create = format!("CREATE SCHEMA `{PROJECT}.{dataset}`;\n");
        query(server, &(create + &replace(text(&setup))), &dataset)?;
    }
    let options = GatewayOptions {
        faults: replace(text(&folder.join("faults")))
            .parse()
            .map_err(|e| format!("faults: {e:?}"))?,
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(server, options).map_err(|e| format!("{e:?}"))?;
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("work");
    lay_out(folder, &directory, &replace)?;
    let script = scratch.path().join("cmd");
    fs::write(&script, replace(text(&folder.join("cmd")))).map_err(|e| format!("cmd: {e}"))?;
    let path = format!("{}:/usr/bin:/bin", shared.programs.path().display());
    let output = |which: &str| File::create(scratch.path().join(which)).unwrap();
    let mut command = Command::new(shared.shell);
    command
        .arg(&script)
        .current_dir(&directory)
        .env_clear()
        .env("PATH", path)
        .env("BIGQUERY_EMULATOR_HOST", gateway.url())
        .env("PROJECT_ID", PROJECT)
        .env("SNAPSHOT_SUFFIX", run_of(folder))
        .env("BQ_ROLLBACK_PRETEND_CLOCK", CLOCK)
        .env("D", &dataset)
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"))
        .process_group(0);
    let status = run(command)?;
    if let [first, ..] = gateway.nonconforming().as_slice() {
        return Err(first.clone());
    }
    let read = |which: &str| {
        let bytes = fs::read(scratch.path().join(which)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let places = vec![
        (gateway.url().to_owned(), "http://[HOST]"),
        (gateway.url().replace("http://", ""), "[HOST]"),
        (directory.display().to_string(), "[DIR]"),
        (shared.programs.path().display().to_string(), "[BIN]"),
        (
            rustix::system::uname().nodename().to_string_lossy().into_owned(),
            "[MACHINE]",
        ),
        (dataset, "${D}"),
        (PROJECT.to_owned(), "[P]"),
        (env!("CARGO_PKG_VERSION").to_owned(), "[VERSION]"),
    ];
    Ok(Played {
        status,
        stdout: read("stdout"),
        stderr: read("stderr"),
        calls: gateway.calls(),
        directory,
        places,
        _scratch: scratch,
    })
}

/// The run of a transcript: all of them share one project, and a run ID is used once.
fn run_of(folder: &Path) -> String {
    format!("r_{}", name(folder))
}

fn lay_out(folder: &Path, directory: &Path, replace: &dyn Fn(String) -> String) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (from, to) = (entry.path(), directory.join(entry.file_name()));
        if OURS.iter().any(|ours| *ours == entry.file_name()) {
            continue;
        }
        if from.is_dir() {
            lay_out(&from, &to, replace)?;
            continue;
        }
        let bytes = fs::read(&from).map_err(|e| format!("{}: {e}", from.display()))?;
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => replace(text).into_bytes(),
            Err(e) => e.into_bytes(),
        };
        fs::write(&to, bytes).map_err(|e| format!("{}: {e}", to.display()))?;
    }
    Ok(())
}

/// Runs to the end, with all that it left in the background.
fn run(mut command: Command) -> Result<i32, String> {
    let mut child = command.spawn().map_err(|e| format!("the shell: {e}"))?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            return Err(format!("not at an end in {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let _ = kill_process_group(group, Signal::KILL);
    Ok(status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}

/// The events of every run in the state directory, in order. Tables are worked on at a time, so what is done for each of them is
/// counted instead.
pub(super) fn journals(directory: &Path) -> String {
    let mut files: Vec<PathBuf> = fs::read_dir(directory.join(".rollback"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut out = String::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        out.push_str(&format!("{name}\n"));
        let mut groups: Vec<(bool, Vec<(String, usize)>)> = Vec::new();
        for line in text(&file).lines() {
            let event = serde_json::from_str::<Value>(line).map_or(Value::Null, |entry| entry["event"].clone());
            let (what, a_table) = describe(&event);
            match groups.last_mut() {
                Some((true, group)) if a_table => match group.iter_mut().find(|(seen, _)| *seen == what) {
                    Some((_, count)) => *count += 1,
                    None => group.push((what, 1)),
                },
                _ => groups.push((a_table, vec![(what, 1)])),
            }
        }
        for (what, count) in groups.into_iter().flat_map(|(_, group)| group) {
            match count {
                1 => out.push_str(&format!("  {what}\n")),
                _ => out.push_str(&format!("  {what} x{count}\n")),
            }
        }
    }
    out
}

/// An event in a few words, and whether it is of one table among several.
fn describe(event: &Value) -> (String, bool) {
    let (name, body) = match event {
        Value::String(name) => (name.as_str(), &Value::Null),
        Value::Object(object) => match object.iter().next() {
            Some((name, body)) => (name.as_str(), body),
            None => ("?", &Value::Null),
        },
        _ => ("not an event", &Value::Null),
    };
    let step = match &body["step"] {
        Value::String(step) => step.clone(),
        Value::Null => String::new(),
        step => step.to_string(),
    };
    let (what, a_table) = match name {
        "opened" => (
            format!("opened by {}", body["tool"].as_str().unwrap_or_default()),
            false,
        ),
        "intent" => (format!("intent {step}"), !body["table"].is_null()),
        "outcome" => {
            let how = match (body["unknown"] == true, body["error"].is_null()) {
                (true, _) => " unknown",
                (false, true) => "",
                (false, false) => " failed",
            };
            (format!("outcome {step}{how}"), !body["table"].is_null())
        }
        "verdict" => {
            let accepted = if body["accepted"] == true {
                "accepted"
            } else {
                "rejected"
            };
            let by = if body["by_person"] == true { " by a person" } else { "" };
            (format!("verdict {accepted}{by}"), false)
        }
        "restore_ended" => (format!("restore_ended {}", body["code"]), false),
        "table" | "verified" | "looks" | "kept" | "restored" => (name.to_owned(), true),
        other => (other.to_owned(), false),
    };
    (what, a_table)
}

/// Runs SQL on the local BigQuery, past the gateway.
fn query(server: &str, sql: &str, dataset: &str) -> Result<(), String> {
    let body = json!({ "query": sql, "useLegacySql": false, "timeoutMs": 60000,
        "defaultDataset": { "projectId": PROJECT, "datasetId": dataset } });
    let answer = post(server, &format!("/bigquery/v2/projects/{PROJECT}/queries"), &body);
    let answer = answer.map_err(|e| format!("setup.sql: {e}"))?;
    match answer["jobComplete"] == true && answer["error"].is_null() && answer["errors"].is_null() {
        true => Ok(()),
        false => Err(format!("setup.sql: {answer:#}")),
    }
}

fn post(server: &str, path: &str, body: &Value) -> std::io::Result<Value> {
    let address = server.trim_start_matches("http://");
    let body = body.to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (_, json) = answer.split_once("\r\n\r\n").unwrap_or_default();
    serde_json::from_str(json).map_err(std::io::Error::other)
}
