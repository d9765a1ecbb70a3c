//! Credentials that are wrong, refused, or cannot be had for now: the code, the three lines, and what they do not say.

use super::bench::Bench;
use super::issuer::{ROBOT, Trouble};
use super::{KINDS, failed};
use serde_json::json;
use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

// ---- what is wrong with a file ----

#[test]
fn a_file_that_cannot_be_read_is_named_and_nothing_further_down_is_tried() {
    let mut bench = Bench::new();
    let secret = bench.plant("planted-in-a-bad-file");
    bench.set("GCE_METADATA_HOST", bench.issuer_host());
    let mut key = bench.service_account();
    key["private_key"] = json!(format!(
        "-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"
    ));
    let mut source = bench.federated(json!({ "file": 7, "x": secret }));
    source["client_secret"] = json!(secret);
    for (content, what) in [
        (format!("{secret} is not JSON"), "is not JSON"),
        (json!({ "type": secret }).to_string(), "type that is not known here"),
        (
            json!({ "type": "service_account", "private_key": secret }).to_string(),
            "has no `client_email`",
        ),
        (key.to_string(), "no RSA key"),
        (source.to_string(), "not as its type wants it"),
    ] {
        let path = bench.write("bad.json", &content);
        bench.set("GOOGLE_APPLICATION_CREDENTIALS", path);
        failed(&bench.snap(), 8, &[what, "bad.json (GOOGLE_APPLICATION_CREDENTIALS)"]);
    }
    for (path, what) in [
        (bench.path("absent"), "does not exist"),
        (bench.path("home"), "is a directory"),
    ] {
        bench.set("GOOGLE_APPLICATION_CREDENTIALS", path.display().to_string());
        failed(
            &bench.snap(),
            8,
            &[what, path.to_str().unwrap(), "GOOGLE_APPLICATION_CREDENTIALS"],
        );
        // Without a project the credentials are looked at earlier, and it is they that are wrong.
        bench.unset("PROJECT_ID");
        failed(&bench.snap(), 8, &[what]);
        bench.set("PROJECT_ID", "pretend");
    }
    assert!(bench.calls().is_empty() && bench.issuer.asked().is_empty());
    bench.end();
}

// ---- who refuses, and who is in trouble ----

/// Of every kind at the same time: most of these wait.
fn of_every_kind(try_one: fn(&'static str, &'static str, Bench)) {
    of_every_kind_at(None, try_one);
}

/// With an issuer somewhere else.
fn of_every_kind_at(issuer_url: Option<&str>, try_one: fn(&'static str, &'static str, Bench)) {
    std::thread::scope(|scope| {
        for (kind, request, set_up) in KINDS {
            scope.spawn(move || {
                let mut bench = Bench::new();
                if let Some(url) = issuer_url {
                    bench.issuer_url = url.to_owned();
                }
                set_up(&mut bench);
                try_one(kind, request, bench);
            });
        }
    });
}

#[test]
fn a_refusal_is_denied_and_its_echo_is_not_printed() {
    of_every_kind(|kind, request, bench| {
        for (status, word) in [(400, "invalid_grant"), (401, "invalid_client"), (403, "access_denied")] {
            bench.issuer.fails(request, Trouble::Says(status, word, usize::MAX));
            let ended = bench.snap();
            failed(
                &ended,
                8,
                &[&format!("HTTP {status} ({word})"), "no usable credentials"],
            );
            let place = if kind == "metadata" {
                "GCE_METADATA_HOST"
            } else {
                "credentials.json (GOOGLE_APPLICATION_CREDENTIALS)"
            };
            failed(&ended, 8, &[place]);
        }
        assert!(bench.calls().is_empty(), "{kind}");
        bench.end();
    });
}

#[test]
fn trouble_that_passes_is_outlived() {
    of_every_kind(|kind, request, bench| {
        bench
            .issuer
            .fails(request, Trouble::Says(503, "temporarily_unavailable", 2));
        bench.snap().expect(0, kind);
        assert_eq!(bench.issuer.refused(), 2, "{kind}");
        bench.end();
    });
}

/// How long a server that gives nothing may be waited for.
const SECONDS: Duration = Duration::from_secs(45);

#[test]
fn a_server_that_gives_nothing_is_left_to_a_later_run_within_seconds() {
    // At the same time: they wait, and nothing else.
    std::thread::scope(|scope| {
        for way in [stays, hangs, gone, hangs_up] {
            scope.spawn(way);
        }
    });
}

fn stays() {
    of_every_kind(|kind, request, bench| {
        bench
            .issuer
            .fails(request, Trouble::Says(503, "temporarily_unavailable", usize::MAX));
        let started = Instant::now();
        failed(&bench.snap(), 7, &["no token for now"]);
        assert!(started.elapsed() < SECONDS, "{kind}: {:?}", started.elapsed());
        assert!(
            (2..=40).contains(&bench.issuer.refused()),
            "{kind}: {} times",
            bench.issuer.refused()
        );
        assert!(bench.calls().is_empty(), "{kind}");
        bench.end();
    });
}

fn hangs() {
    of_every_kind(|kind, request, bench| {
        bench.issuer.fails(request, Trouble::Hangs);
        let started = Instant::now();
        failed(&bench.snap(), 7, &["no token"]);
        assert!(started.elapsed() < SECONDS, "{kind}: {:?}", started.elapsed());
        bench.end();
    });
}

fn hangs_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It ends with the process: nobody waits for its last caller.
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let _ = caller.map(|mut caller| caller.read(&mut [0; 64]));
        }
    });
    of_every_kind_at(Some(&url), |kind, _, bench| {
        let started = Instant::now();
        failed(&bench.snap(), 7, &["no token for now"]);
        assert!(started.elapsed() < SECONDS, "{kind}: {:?}", started.elapsed());
        bench.end();
    });
}

fn gone() {
    of_every_kind(|kind, _, mut bench| {
        bench.issuer_is_gone();
        let started = Instant::now();
        let ended = bench.snap();
        failed(&ended, 7, &["no token"]);
        let port = bench.issuer_url.rsplit(':').next().unwrap();
        assert!(
            ended.stderr.contains(port) || ended.stderr.contains("credentials.json"),
            "{kind}: {}",
            ended.stderr
        );
        assert!(started.elapsed() < SECONDS, "{kind}: {:?}", started.elapsed());
        bench.end();
    });
}

#[test]
fn a_signal_does_not_outwait_a_token_endpoint() {
    let mut bench = Bench::new();
    bench.set("PATH", format!("{}:/usr/bin:/bin", bench.path("bin").display()));
    let key = bench.service_account();
    bench.name_file(&key);
    bench.issuer.fails("key", Trouble::Hangs);
    let started = Instant::now();
    let ended = bench.run(
        "timeout",
        &["--preserve-status", "-s", "TERM", "2", "bq-snap", "pretend.d.stock"],
    );
    ended.expect(128 + 15, "TERM while it asks for a token");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    bench.end();
}

#[test]
fn a_page_for_a_token_is_not_printed() {
    of_every_kind(|kind, request, bench| {
        bench.issuer.fails(request, Trouble::Page);
        let ended = bench.snap();
        // What an identity provider gives is the file's to say; what a token endpoint gives may be a proxy's page.
        match request {
            "subject" => failed(&ended, 8, &["is not the JSON"]),
            _ => failed(&ended, 7, &["is no token"]),
        }
        assert!(!ended.stderr.contains("<html>"), "{kind}: {}", ended.stderr);
        bench.end();
    });
}

#[test]
fn a_subject_token_that_cannot_be_had_is_said_without_it() {
    let mut bench = Bench::new();
    bench.set("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1");
    let leak = bench.plant("planted-by-the-provider");
    let fails = bench.script("fails", &format!("echo {leak} >&2; echo {leak}; exit 3"));
    let no = json!({ "version": 1, "success": false, "token_type": "x", "code": leak, "message": leak });
    let says_no = bench.script("says-no", &format!("echo '{no}'"));
    let other = bench.write("other.json", &json!({ "other": leak }).to_string());
    for (source, code, words) in [
        (json!({ "file": "/absent/subject" }), 8, "not found"),
        (
            json!({ "file": other, "format": { "type": "json", "subject_token_field_name": "value" } }),
            8,
            "no field of the name",
        ),
        (
            json!({ "executable": { "command": "/absent/provider" } }),
            8,
            "not found",
        ),
        (
            json!({ "executable": { "command": fails } }),
            7,
            "the program that gives the subject token failed",
        ),
        (json!({ "executable": { "command": says_no } }), 7, "says it could not"),
    ] {
        let file = bench.federated(source);
        bench.name_file(&file);
        failed(&bench.snap(), code, &[words, "credentials.json"]);
    }
    bench.end();
}

#[test]
fn an_impersonation_that_is_not_granted() {
    let mut bench = Bench::new();
    let file = bench.impersonated(bench.person());
    bench.name_file(&file);
    bench
        .issuer
        .fails("impersonate", Trouble::Says(403, "PERMISSION_DENIED", usize::MAX));
    failed(
        &bench.snap(),
        8,
        &["HTTP 403 (PERMISSION_DENIED)", "roles/iam.serviceAccountTokenCreator"],
    );
    bench.end();
}

#[test]
fn the_robot_of_these_tests_is_who_signs() {
    let mut bench = Bench::new();
    let mut key = bench.service_account();
    key["client_email"] = json!(format!("other-{ROBOT}"));
    bench.name_file(&key);
    failed(&bench.snap(), 8, &["HTTP 400 (invalid_request)"]);
    bench.end();
}
