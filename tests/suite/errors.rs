//! Every error that Google documents, wherever it can come from: the code, whether it is tried again, and the three lines.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/error-messages>.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::gateway::{Answering, Ask, Gateway, GatewayOptions, Reply, Upstream};
use tests::world::{PROJECT, World};

use crate::built;
use crate::scene::say;

/// Reason, HTTP status, how a program ends that meets nothing else, whether the request is sent again, whether the job is.
const WORDS: [(&str, u16, i32, bool, bool); 25] = [
    ("accessDenied", 403, 8, false, false),
    ("badRequest", 400, 4, false, false),
    ("backendError", 500, 7, true, true),
    ("backendError", 502, 7, true, true),
    ("backendError", 503, 7, true, true),
    ("backendError", 504, 7, true, true),
    ("billingNotEnabled", 403, 8, false, false),
    ("billingTierLimitExceeded", 400, 4, false, false),
    ("blocked", 403, 8, false, false),
    ("internalError", 500, 7, true, true),
    ("invalid", 400, 4, false, false),
    ("invalidQuery", 400, 4, false, false),
    ("jobBackendError", 400, 7, false, true),
    ("jobInternalError", 400, 7, false, true),
    ("jobRateLimitExceeded", 400, 7, false, true),
    ("notFound", 404, 4, false, false),
    ("notImplemented", 501, 4, false, false),
    ("proxyAuthenticationRequired", 407, 8, false, false),
    ("quotaExceeded", 403, 7, false, false),
    ("rateLimitExceeded", 403, 7, true, true),
    ("resourceInUse", 400, 4, false, false),
    ("resourcesExceeded", 400, 4, false, false),
    ("responseTooLarge", 403, 4, false, false),
    ("tableUnavailable", 400, 7, true, true),
    ("timeout", 400, 7, false, false),
];

/// Which calls are answered with an error.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Insert,
    Results,
    /// The job is made, and ends with it.
    ErrorResult,
}

/// A world, some of whose answers are errors.
struct Failing {
    world: World,
    at: Where,
    status: u16,
    body: String,
    /// How many calls were answered so.
    met: AtomicUsize,
}

impl Upstream for Failing {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        let hit = match self.at {
            Where::Insert => ask.method == "POST" && ask.target.contains("/jobs?"),
            Where::Results => ask.method == "GET" && ask.target.contains("/queries/"),
            Where::ErrorResult => false,
        };
        if !hit {
            return self.world.answer(ask);
        }
        self.met.fetch_add(1, Ordering::SeqCst);
        let reply = Reply {
            status: self.status.try_into().unwrap(),
            headers: Default::default(),
            body: self.body.clone().into(),
        };
        Box::pin(async move { Ok(reply) })
    }
}

/// What came of it.
struct Came {
    status: i32,
    stderr: String,
    met: usize,
    jobs: usize,
}

/// Counts one table of a world that answers so.
fn count(at: Where, status: u16, body: &str, fail: Option<&str>) -> Came {
    let world = World::new(1);
    world.sql("CREATE SCHEMA d; CREATE TABLE d.t (id INT64);").unwrap();
    if let Some(reason) = fail {
        (1..=3).for_each(|nth| world.fail_job("-count-", nth, reason));
    }
    let failing = Arc::new(Failing {
        world: world.clone(),
        at,
        status,
        body: body.to_owned(),
        met: AtomicUsize::new(0),
    });
    let gateway = Gateway::in_front_of(failing.clone(), GatewayOptions::default()).unwrap();
    let output = Command::new(&built::programs()["bq-count"])
        .args(["d.t", "--retry-for", "20s"])
        .current_dir(std::env::temp_dir())
        .env_clear()
        .env("BIGQUERY_EMULATOR_HOST", gateway.url())
        .env("PROJECT_ID", PROJECT)
        .env("BQ_ROLLBACK_PRETEND_CLOCK", "2026-01-01T00:00:00Z")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Came {
        status: output.status.code().unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        met: failing.met.load(Ordering::SeqCst),
        jobs: world.jobs().len(),
    }
}

/// Google's older form, which BigQuery answers with.
fn older(status: u16, reason: &str) -> Value {
    let error = json!({"reason": reason, "message": "Said by\nGoogle: x", "domain": "global"});
    json!({"error": {"code": status, "message": "Said by\nGoogle: x", "errors": [error]}})
}

/// The newer, with `status` and `details`.
fn newer(status: u16, reason: &str) -> Value {
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "bigquery.googleapis.com"});
    let help = json!({"@type": "type.googleapis.com/google.rpc.Help", "links": []});
    json!({"error": {"code": status, "message": "Said by\nGoogle: x", "status": "SOME_STATUS", "details": [help, info]}})
}

/// The last error said is three lines that name what a person looks for.
fn told(came: &Came, wants: &[&str]) -> Result<(), String> {
    let lines: Vec<&str> = came.stderr.lines().collect();
    let start = lines.iter().rposition(|line| line.contains("error: "));
    let said = start.map(|start| &lines[start..]).unwrap_or_default();
    match said {
        [what, at, hint]
            if what.starts_with("bq-count: error: ") && at.starts_with("at: ") && hint.starts_with("hint: ") =>
        {
            let missing = wants.iter().find(|want| !what.contains(*want) && !at.contains(*want));
            missing.map_or(Ok(()), |want| Err(format!("`{want}` is not said:\n{}", came.stderr)))
        }
        _ => Err(format!("not three lines:\n{}", came.stderr)),
    }
}

#[test]
fn every_reason_from_every_place() {
    let mut plays = 0;
    let mut wrong = Vec::new();
    for (reason, status, exit, request_again, job_again) in WORDS {
        let forms = [
            (Where::Insert, "older", older(status, reason)),
            (Where::Insert, "newer", newer(status, reason)),
            (Where::Results, "older", older(status, reason)),
            (Where::Results, "newer", newer(status, reason)),
        ];
        for (at, form, body) in forms {
            let came = count(at, status, &body.to_string(), None);
            plays += 1;
            // A query only reads: where the request is not worth another try, the job may be, thrice in all.
            let tries_fit = match (request_again, job_again) {
                (true, _) => came.met > 1,
                (false, true) => came.met == 3,
                (false, false) => came.met == 1,
            };
            if came.status != exit || !tries_fit {
                wrong.push(format!(
                    "{reason} {status} at {at:?} ({form}): {} after {} tries\n{}",
                    came.status, came.met, came.stderr
                ));
            }
            let wants = [reason, "Said by Google: x", "job bq-rollback-count-", " in US"];
            wrong.extend(told(&came, &wants).err().map(|e| format!("{reason} at {at:?}: {e}")));
        }
        let came = count(Where::ErrorResult, 200, "", Some(reason));
        plays += 1;
        let jobs = if job_again { 3 } else { 1 };
        if came.status != exit || came.jobs != jobs {
            wrong.push(format!(
                "{reason} as errorResult: {} after {} jobs\n{}",
                came.status, came.jobs, came.stderr
            ));
        }
        let wants = [reason, "job bq-rollback-count-", " in US"];
        wrong.extend(
            told(&came, &wants)
                .err()
                .map(|e| format!("{reason} as errorResult: {e}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    say(&format!("errors: {} reasons, {plays} plays", WORDS.len()));
}

#[test]
fn what_is_not_bigquerys() {
    const PAGE: &str = "<!DOCTYPE html>\n<html><body>\n<h1>Bad Gateway</h1></body></html>";
    // Where, status, body, code, whether it is tried again.
    let cases = [
        (Where::Insert, 502, PAGE, 7, true),
        (Where::Insert, 200, PAGE, 7, true),
        (Where::Insert, 404, PAGE, 7, false),
        (Where::Insert, 302, "", 7, false),
        (Where::Insert, 200, "", 7, true),
        (Where::Insert, 500, "", 7, true),
        (Where::Insert, 429, "", 7, true),
        (Where::Insert, 200, "{\"kind\":", 7, true),
        (Where::Insert, 503, r#"{"error":"unavailable"}"#, 7, true),
        (Where::Results, 502, PAGE, 7, true),
        (Where::Results, 200, "", 7, true),
        (Where::Results, 404, PAGE, 7, false),
    ];
    for (at, status, body, exit, again) in cases {
        let came = count(at, status, body, None);
        let what = format!("{status} {body:?} at {at:?}");
        assert_eq!(came.status, exit, "{what}: {}", came.stderr);
        assert_eq!(came.met > 1, again, "{what}: {} tries\n{}", came.met, came.stderr);
        told(&came, &[]).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}
