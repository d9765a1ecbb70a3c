//! Uploads against a server of a few lines that keeps what arrives and breaks where it is told to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::{PIECE, SMALL};
use crate::api::auth::{Auth, Settings};
use crate::api::{Api, ApiError, Config, Kind, LoadJob, Media, Sent};
use crate::clock::Clock;
use crate::names::TableRef;
use crate::tool::Stop;

/// What the server does with a piece instead of taking it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The line is cut after so many bytes of it have arrived, in whole units.
    Cut,
    /// It arrives, and no answer does.
    Unanswered,
    /// 503; nothing arrives.
    Busy,
    /// The session is forgotten.
    Gone,
}

#[derive(Default)]
struct Server {
    /// By the number of the piece among all, from 0.
    faults: BTreeMap<usize, Fault>,
    pieces: usize,
    sessions: usize,
    arrived: u64,
    total: u64,
    job: Option<String>,
    jobs_made: usize,
    /// Method and range of each request.
    asked: Vec<String>,
    parts: Vec<u8>,
}

const UNIT: u64 = 256 * 1024;

fn answer(line: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    );
    let _ = line.write_all(text.as_bytes());
}

fn not_found(line: &mut TcpStream) {
    answer(
        line,
        "404 Not Found",
        "",
        r#"{"error": {"code": 404, "message": "not found", "errors": [{"reason": "notFound"}]}}"#,
    );
}

fn serve(line: TcpStream, server: &Mutex<Server>, address: &str) {
    let mut reader = BufReader::new(line.try_clone().unwrap());
    let mut line = line;
    let (mut head, mut headers) = (String::new(), BTreeMap::new());
    if reader.read_line(&mut head).unwrap_or(0) == 0 {
        return;
    }
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        match header.trim().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut server = server.lock().unwrap();
    let length: u64 = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let range = headers.get("content-range").cloned().unwrap_or_default();
    let (method, path) = head.split_once(' ').unwrap();
    server.asked.push(format!("{method} {range}").trim().to_owned());
    let resource = |server: &Server| server.job.clone().unwrap();
    if method == "GET" {
        return match server.job {
            Some(_) => answer(&mut line, "200 OK", "", &resource(&server)),
            None => not_found(&mut line),
        };
    }
    if path.contains("uploadType=resumable") && method == "POST" {
        let mut body = vec![0; length as usize];
        reader.read_exact(&mut body).unwrap();
        assert_eq!(headers["x-upload-content-type"], "application/octet-stream");
        server.total = headers["x-upload-content-length"].parse().unwrap();
        server.sessions += 1;
        server.arrived = 0;
        let to = format!(
            "Location: {address}/upload/bigquery/v2/projects/p/jobs?upload_id={}\r\n",
            server.sessions
        );
        server.parts = body;
        return answer(&mut line, "200 OK", &to, "");
    }
    let make = |server: &mut Server, described: &[u8]| {
        server.jobs_made += 1;
        let mut made: serde_json::Value = serde_json::from_slice(described).unwrap();
        made["status"] = json!({"state": "DONE"});
        server.job = Some(made.to_string());
    };
    if path.contains("uploadType=multipart") {
        let mut body = vec![0; length as usize];
        reader.read_exact(&mut body).unwrap();
        let boundary = headers["content-type"].split_once("boundary=").unwrap().1.to_owned();
        let text = String::from_utf8_lossy(&body).into_owned();
        let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
        assert_eq!((parts.len(), parts[3]), (4, "--\r\n"));
        let part = |number: usize| {
            parts[number]
                .split_once("\r\n\r\n")
                .unwrap()
                .1
                .strip_suffix("\r\n")
                .unwrap()
        };
        let described = part(1).to_owned();
        server.parts = part(2).into();
        let fault = server.faults.get(&server.pieces).copied();
        server.pieces += 1;
        if server.job.is_some() {
            let said = r#"{"error": {"code": 409, "message": "there", "errors": [{"reason": "duplicate"}]}}"#;
            return answer(&mut line, "409 Conflict", "", said);
        }
        if fault != Some(Fault::Busy) {
            make(&mut server, described.as_bytes());
        }
        return match fault {
            Some(Fault::Busy) => answer(&mut line, "503 Busy", "", "{}"),
            Some(_) => {}
            None => answer(&mut line, "200 OK", "", &resource(&server)),
        };
    }
    let session: usize = path
        .split_once("upload_id=")
        .unwrap()
        .1
        .split(['&', ' '])
        .next()
        .unwrap()
        .parse()
        .unwrap();
    if session != server.sessions {
        return not_found(&mut line);
    }
    let mut fault = None;
    if let Some((from, _)) = range.strip_prefix("bytes ").and_then(|range| range.split_once('-')) {
        let from: u64 = from.parse().unwrap();
        assert_eq!(from, server.arrived, "it goes on where it was");
        assert!(from + length == server.total || length.is_multiple_of(UNIT), "{length}");
        fault = server.faults.get(&server.pieces).copied();
        server.pieces += 1;
        let taken = match fault {
            Some(Fault::Cut) => length / 2 / UNIT * UNIT,
            Some(Fault::Busy | Fault::Gone) => 0,
            _ => length,
        };
        std::io::copy(&mut reader.by_ref().take(taken), &mut std::io::sink()).unwrap();
        server.arrived += taken;
    }
    match fault {
        Some(Fault::Busy) => {
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap();
            return answer(&mut line, "503 Busy", "", "{}");
        }
        Some(Fault::Gone) => {
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap();
            server.sessions += 1;
            return not_found(&mut line);
        }
        _ => {}
    }
    if server.arrived == server.total && server.job.is_none() {
        let described = server.parts.clone();
        make(&mut server, &described);
    }
    match fault {
        Some(Fault::Cut | Fault::Unanswered) => {}
        _ if server.job.is_some() => answer(&mut line, "200 OK", "", &resource(&server)),
        _ if server.arrived == 0 => answer(&mut line, "308 Resume Incomplete", "", ""),
        _ => {
            let range = format!("Range: bytes=0-{}\r\n", server.arrived - 1);
            answer(&mut line, "308 Resume Incomplete", &range, "");
        }
    }
}

fn load(path: &Path, told: &Rc<Mutex<Vec<u64>>>) -> LoadJob {
    let mut file = Media::of(path).unwrap();
    file.sha256 = "digest".to_owned();
    let told = Rc::clone(told);
    file.progress = Rc::new(move |bytes| told.lock().unwrap().push(bytes));
    LoadJob {
        id: "j".parse().unwrap(),
        location: Some("US".parse().unwrap()),
        to: TableRef::parse("p.d.t", None).unwrap(),
        settings: json!({"sourceFormat": "CSV"}).as_object().unwrap().clone(),
        first: true,
        file,
        labels: BTreeMap::new(),
    }
}

struct Uploaded {
    sent: Result<bool, ApiError>,
    server: Server,
    progress: Vec<u64>,
}

/// Uploads a file to a server of these faults; `Ok(true)`: the job is there, and ours.
fn upload(path: &Path, faults: &[(usize, Fault)]) -> Uploaded {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = Arc::new(Mutex::new(Server {
        faults: faults.iter().copied().collect(),
        ..Server::default()
    }));
    let (shared, there) = (Arc::clone(&server), address.clone());
    std::thread::spawn(move || {
        for line in listener.incoming() {
            serve(line.unwrap(), &shared, &there);
        }
    });
    let told = Rc::new(Mutex::new(Vec::new()));
    // A clock that is told, so that nothing waits.
    let clock = Clock::new(Some("2026-11-23T00:00:00Z")).unwrap();
    let config = Config {
        endpoint: address.parse().unwrap(),
        project: Some("p".parse().unwrap()),
        auth: Auth::new(false, Settings::default(), false),
        retry_for: Duration::from_secs(600),
        verbose: false,
        tool: "test",
        stop: Stop::never(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sent = runtime.block_on(async {
        let api = Api::new(config, &clock).await.ok().unwrap();
        api.submit(&load(path, &told))
            .await
            .map(|sent| matches!(sent, Sent::Ours(_)))
    });
    let progress = told.lock().unwrap().clone();
    let server = std::mem::take(&mut *server.lock().unwrap());
    Uploaded { sent, server, progress }
}

/// A file of so many bytes that takes no place on the disk.
fn sparse(bytes: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("t.csv");
    File::create(&path).unwrap().set_len(bytes).unwrap();
    (place, path)
}

#[test]
fn a_small_file_is_one_request() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("t.csv");
    std::fs::write(&path, "id\r\n1\r\n").unwrap();
    for (faults, jobs) in [(&[][..], 1), (&[(0, Fault::Busy)], 1), (&[(0, Fault::Unanswered)], 1)] {
        let done = upload(&path, faults);
        assert!(
            done.sent.as_ref().is_ok_and(|ours| *ours),
            "{faults:?}: {:?}",
            done.sent
        );
        assert_eq!(
            (done.server.jobs_made, done.server.parts.as_slice()),
            (jobs, &b"id\r\n1\r\n"[..]),
            "{faults:?}"
        );
    }
}

#[test]
fn a_large_file_goes_on_where_the_line_was_cut() {
    let bytes = 2 * PIECE + 1000;
    assert!(bytes > SMALL);
    let (_place, path) = sparse(bytes);
    for fault in [
        None,
        Some(Fault::Cut),
        Some(Fault::Unanswered),
        Some(Fault::Busy),
        Some(Fault::Gone),
    ] {
        for piece in 0..3 {
            let faults: Vec<_> = fault.map(|fault| (piece, fault)).into_iter().collect();
            let done = upload(&path, &faults);
            assert!(
                done.sent.as_ref().is_ok_and(|ours| *ours),
                "{faults:?}: {:?} {:?}",
                done.sent,
                done.server.asked
            );
            assert_eq!((done.server.jobs_made, done.server.arrived), (1, bytes), "{faults:?}");
            assert_eq!(done.progress.last(), Some(&bytes));
            assert!(
                fault == Some(Fault::Gone) || done.progress.is_sorted(),
                "{faults:?}: {:?}",
                done.progress
            );
            let probes = done.server.asked.iter().filter(|asked| asked.contains('*')).count();
            let probed = matches!(fault, Some(Fault::Cut | Fault::Unanswered | Fault::Busy));
            assert_eq!(probes > 0, probed, "{faults:?}: {:?}", done.server.asked);
        }
    }
}

#[test]
fn many_cuts_in_a_row_make_one_job() {
    let (_place, path) = sparse(3 * PIECE);
    let faults = [
        (0, Fault::Cut),
        (1, Fault::Busy),
        (2, Fault::Cut),
        (3, Fault::Gone),
        (5, Fault::Unanswered),
        (7, Fault::Unanswered),
    ];
    let done = upload(&path, &faults);
    assert!(done.sent.as_ref().is_ok_and(|ours| *ours), "{:?}", done.server.asked);
    assert_eq!(done.server.jobs_made, 1);
}

#[test]
fn a_file_larger_than_the_memory_is_read_by_pieces() {
    let bytes = 512 * 1024 * 1024;
    let (_place, path) = sparse(bytes);
    let before = resident_kib();
    let done = upload(&path, &[(10, Fault::Cut)]);
    assert!(done.sent.is_ok_and(|ours| ours));
    assert_eq!(done.server.arrived, bytes);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 150 * 1024, "{grown} KiB more at most");
}

/// The most memory that this process has had.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_file_that_vanishes_is_no_job() {
    let (place, path) = sparse(SMALL);
    let job = load(&path, &Rc::default());
    drop(place);
    let why = job.file.read(0, 1).unwrap_err();
    assert!(why.contains("t.csv"), "{why}");
    let error = super::not_read(why);
    assert!(matches!(error.kind, Kind::NotRead(_)) && !error.maybe_happened);
}
