//! Credentials of every kind, end to end: real programs, a pretend BigQuery behind https, and who gives tokens on
//! loopback. What the programs say and leave is searched for every secret there is, after success and after failure.

mod bench;
mod failures;
mod issuer;
mod life;

use crate::scene::Ended;
use bench::Bench;
use issuer::{PROVIDER_HEADER, SUBJECT_TOKEN};
use serde_json::{Value, json};

/// A program failed as it should: this code, three lines, and these words in them.
#[track_caller]
fn failed(ended: &Ended, code: i32, words: &[&str]) {
    ended.expect(code, "it should have failed");
    let mut lines = ended.stderr.lines().skip_while(|line| !line.contains(": error: "));
    let three: Vec<&str> = lines.by_ref().take(3).collect();
    let [what, at, hint] = three[..] else {
        panic!("no three lines: {}", ended.stderr);
    };
    assert!(at.starts_with("at: ") && hint.starts_with("hint: "), "{}", ended.stderr);
    assert_eq!(lines.next(), None, "more than three lines: {}", ended.stderr);
    for word in words {
        assert!(
            [what, at, hint].iter().any(|line| line.contains(word)),
            "no `{word}` in:\n{}",
            ended.stderr
        );
    }
}

/// The only token that was given is the one that every call came with.
#[track_caller]
fn one_token(bench: &Bench, asked: &[&str], quota_project: Option<&str>) {
    assert_eq!(bench.issuer.asked(), asked);
    let last = bench.issuer.issued().pop().unwrap();
    bench.every_call_came_with(|bearer| bearer == last, quota_project);
}

fn file_source(bench: &Bench) -> Value {
    json!({ "file": bench.write("subject", SUBJECT_TOKEN) })
}

fn url_source(bench: &Bench) -> Value {
    json!({
        "url": format!("{}/subject?audience=x", bench.issuer_url), "headers": { "X-Provider": PROVIDER_HEADER },
        "format": { "type": "json", "subject_token_field_name": "value" },
    })
}

fn executable_source(bench: &Bench) -> Value {
    let answer = json!({
        "version": 1, "success": true, "token_type": "urn:ietf:params:oauth:token-type:jwt", "id_token": SUBJECT_TOKEN,
    });
    json!({ "executable": { "command": bench.script("provider", &format!("echo '{answer}'")), "timeout_millis": 5000 } })
}

const LINE: &str = "bq-snap -v pretend.d.stock | bq-run -v m.sql | bq-check -v >checks || bq-restore -v >restore";

/// The whole line, with a migration that is bad: all but bq-count ask BigQuery.
fn whole_line(bench: &mut Bench) {
    bench.set("PATH", format!("{}:/usr/bin:/bin", bench.path("bin").display()));
    bench.write("work/m.sql", "DELETE FROM d.stock WHERE item = 'cup'");
    bench.run("sh", &["-c", LINE]).expect(10, LINE);
}

// ---- every kind, as it should be ----

#[test]
fn an_access_token_of_the_environment_wins() {
    let mut bench = Bench::new();
    let token = bench.plant("planted-token-given");
    bench.takes(&token);
    bench.set("CLOUDSDK_AUTH_ACCESS_TOKEN", token.clone());
    bench.set("GOOGLE_APPLICATION_CREDENTIALS", "/absent");
    bench.snap().expect(0, "token");
    whole_line(&mut bench);
    bench.every_call_came_with(|bearer| bearer == token, None);
    assert!(bench.issuer.asked().is_empty());
    bench.end();
}

#[test]
fn a_key_of_a_service_account() {
    let mut bench = Bench::new();
    let key = bench.service_account();
    bench.name_file(&key);
    bench.unset("PROJECT_ID");
    bench.snap().expect(0, "key");
    one_token(&bench, &["key"], None);
    whole_line(&mut bench);
    bench.end();
}

#[test]
fn what_is_named_without_a_project_is_in_that_of_the_credentials() {
    let mut bench = Bench::new();
    let key = bench.service_account();
    bench.name_file(&key);
    bench.unset("PROJECT_ID");
    bench.set("PATH", format!("{}:/usr/bin:/bin", bench.path("bin").display()));
    bench.write("work/m.sql", "DELETE FROM d.stock WHERE item = 'cup'");
    let line =
        "bq-snap -n -q pretend.d.stock | bq-run -n -q --allow-unprotected d.other --allow-unprotected x.d.other m.sql";
    let ended = bench.run("sh", &["-c", line]);
    ended.expect(0, line);
    let project = key["project_id"].as_str().unwrap();
    let allowed = format!("\"allowed\":[\"{project}.d.other\",\"x.d.other\"]");
    assert!(ended.stdout.contains(&allowed), "{}", ended.stdout);
    bench.end();
}

#[test]
fn the_key_of_a_service_account_names_no_quota_project_but_the_environment_does() {
    let mut bench = Bench::new();
    let mut key = bench.service_account();
    key["quota_project_id"] = json!("of-the-key");
    bench.name_file(&key);
    bench.set("GOOGLE_CLOUD_QUOTA_PROJECT", "of-the-environment");
    bench.snap().expect(0, "key");
    one_token(&bench, &["key"], Some("of-the-environment"));
    bench.set("GOOGLE_CLOUD_QUOTA_PROJECT", "no project");
    failed(&bench.snap(), 2, &["GOOGLE_CLOUD_QUOTA_PROJECT"]);
    bench.end();
}

#[test]
fn a_person_in_a_file_that_is_named() {
    let mut bench = Bench::new();
    let person = bench.person();
    bench.name_file(&person);
    bench.snap().expect(0, "person");
    one_token(&bench, &["refresh"], Some("payer-of-the-file"));
    bench.set("GOOGLE_CLOUD_QUOTA_PROJECT", "of-the-environment");
    bench.snap().expect(0, "person");
    let newest = bench.issuer.issued().pop().unwrap();
    let calls = bench.calls();
    let last = &calls.last().unwrap().headers;
    assert_eq!(last["authorization"], format!("Bearer {newest}"));
    assert_eq!(last["x-goog-user-project"], "of-the-environment");
    bench.end();
}

#[test]
fn a_person_at_gclouds_place() {
    for place in ["home/.config/gcloud", "config"] {
        let mut bench = Bench::new();
        bench.write(
            &format!("{place}/application_default_credentials.json"),
            &bench.person().to_string(),
        );
        if place == "config" {
            bench.set("CLOUDSDK_CONFIG", bench.path(place).display().to_string());
        }
        bench.snap().expect(0, place);
        one_token(&bench, &["refresh"], Some("payer-of-the-file"));
        bench.end();
    }
}

#[test]
fn federation_by_a_file() {
    let mut bench = Bench::new();
    let mut file = bench.federated(file_source(&bench));
    file["quota_project_id"] = json!("payer-of-the-file");
    bench.name_file(&file);
    bench.snap().expect(0, "file");
    one_token(&bench, &["exchange"], Some("payer-of-the-file"));
    let scope = &bench.issuer.last("exchange").fields["scope"];
    assert_eq!(scope, "https://www.googleapis.com/auth/bigquery");
    whole_line(&mut bench);
    bench.end();
}

#[test]
fn federation_by_a_url() {
    let mut bench = Bench::new();
    let file = bench.federated(url_source(&bench));
    bench.name_file(&file);
    bench.snap().expect(0, "url");
    one_token(&bench, &["subject", "exchange"], None);
    bench.end();
}

#[test]
fn federation_by_a_program() {
    let mut bench = Bench::new();
    let file = bench.federated(executable_source(&bench));
    bench.name_file(&file);
    failed(
        &bench.snap(),
        8,
        &[
            "none is allowed",
            "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1",
            "credentials.json",
        ],
    );
    bench.set("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1");
    bench.snap().expect(0, "program");
    one_token(&bench, &["exchange"], None);
    bench.end();
}

#[test]
fn federation_that_acts_as_a_service_account() {
    let mut bench = Bench::new();
    let mut file = bench.federated(file_source(&bench));
    file["service_account_impersonation_url"] = json!(bench.impersonation_url());
    bench.name_file(&file);
    bench.snap().expect(0, "federated robot");
    one_token(&bench, &["exchange", "impersonate"], None);
    bench.end();
}

#[test]
fn somebody_acts_as_a_service_account() {
    for (source, asked) in [("person", &["refresh", "impersonate"][..]), ("key", &["impersonate"])] {
        let bench = Bench::new();
        let of = if source == "person" {
            bench.person()
        } else {
            bench.service_account()
        };
        let mut file = bench.impersonated(of);
        file["quota_project_id"] = json!("payer");
        // At gcloud's place: `gcloud auth application-default login --impersonate-service-account` writes it there.
        bench.write(
            "home/.config/gcloud/application_default_credentials.json",
            &file.to_string(),
        );
        bench.snap().expect(0, source);
        one_token(&bench, asked, Some("payer"));
        bench.end();
    }
}

#[test]
fn the_metadata_server_at_another_address() {
    let mut bench = Bench::new();
    bench.set("GCE_METADATA_HOST", bench.issuer_host());
    bench.unset("PROJECT_ID");
    bench.snap().expect(0, "metadata");
    one_token(&bench, &["metadata", "project"], None);
    bench.end();
}

#[test]
fn gcloud_as_the_last_resort() {
    let mut bench = Bench::new();
    let token = bench.plant("planted-token-of-gcloud");
    bench.takes(&token);
    let gcloud = format!("case \"$1\" in auth) echo {token};; config) echo pretend;; *) exit 1;; esac");
    bench.script("gcloud", &gcloud);
    bench.unset("PROJECT_ID");
    bench.snap().expect(0, "gcloud");
    bench.every_call_came_with(|bearer| bearer == token, None);
    bench.script("gcloud", &format!("echo {token} >&2; exit 1"));
    failed(
        &bench.snap(),
        8,
        &["no usable credentials", "gcloud auth application-default login"],
    );
    bench.end();
}

/// Credentials of a kind, and the request for them that may fail.
type OfKind = (&'static str, &'static str, fn(&mut Bench));

const KINDS: [OfKind; 7] = [
    ("key", "key", |b| {
        let file = b.service_account();
        b.name_file(&file);
    }),
    ("person", "refresh", |b| {
        let file = b.person();
        b.name_file(&file);
    }),
    ("federation", "exchange", |b| {
        let file = b.federated(file_source(b));
        b.name_file(&file);
    }),
    ("federation", "subject", |b| {
        let file = b.federated(url_source(b));
        b.name_file(&file);
    }),
    ("federation that acts", "impersonate", |b| {
        let mut file = b.federated(file_source(b));
        file["service_account_impersonation_url"] = json!(b.impersonation_url());
        b.name_file(&file);
    }),
    ("a person who acts", "refresh", |b| {
        let file = b.impersonated(b.person());
        b.name_file(&file);
    }),
    ("metadata", "metadata", |b| {
        let host = b.issuer_host();
        b.set("GCE_METADATA_HOST", host);
    }),
];
