//! `bq-check --probe` on a local BigQuery: what is compared, what is refused, and what is asked for it.

use serde_json::{Value, json};
use tests::gateway::Call;

use crate::bq_local;
use crate::scene::{PROJECT, Scene};

const SETUP: &str = "
CREATE SCHEMA d;
CREATE TABLE d.t (a INT64, b STRING);
INSERT INTO d.t SELECT n, CAST(n AS STRING) FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS n;
CREATE TABLE d.u AS SELECT a FROM d.t;
CREATE TABLE d.other AS SELECT a FROM d.t;
CREATE VIEW d.v AS SELECT * FROM d.t;
";

/// A scene with two protected tables whose migration has run: its stream is `ran`, and `bq-check -n <ran` may be
/// asked again and again.
fn migrated(url: &str, migration: &str) -> Scene {
    let scene = Scene::at(url);
    scene.write("setup.sql", SETUP);
    scene.write("m.sql", migration);
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    scene
        .sh("bq-snap -q --run r d.t d.u | bq-run -q m.sql >ran")
        .expect(0, "the migration");
    scene
}

fn records(text: &str, kind: &str) -> Vec<Value> {
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["type"] == kind).collect()
}

/// The queries of probes that were sent, dry runs or not.
fn queries(calls: &[Call], dry: bool) -> Vec<&Value> {
    let jobs = calls
        .iter()
        .filter(|call| call.method == "POST" && call.path.ends_with("/jobs"));
    let configuration = |call: &'_ Call| call.body["configuration"]["dryRun"] == json!(true);
    jobs.filter(|call| configuration(call) == dry)
        .filter(|call| dry || call.body["jobReference"]["jobId"].as_str().unwrap().contains("-probe-"))
        .map(|call| &call.body["configuration"])
        .collect()
}

fn texts(queries: &[&Value]) -> Vec<String> {
    queries
        .iter()
        .map(|query| query["query"]["query"].as_str().unwrap().to_owned())
        .collect()
}

/// What is asked on the live tables, and what that becomes on the snapshots.
const REWRITTEN: [(&str, &str); 9] = [
    ("SELECT t.a FROM d.t", "SELECT t.a FROM ‹t› AS `t`"),
    ("SELECT x.a FROM `d.t` AS x", "SELECT x.a FROM ‹t› AS x"),
    (
        "SELECT t.a, u.a FROM diagnostic-pro-start-up.d.t JOIN `diagnostic-pro-start-up`.d.`u` ON t.a = u.a",
        "SELECT t.a, u.a FROM ‹t› AS `t` JOIN ‹u› AS `u` ON t.a = u.a",
    ),
    (
        "SELECT t.a FROM d.t, `diagnostic-pro-start-up.d.u` u WHERE t.a = u.a",
        "SELECT t.a FROM ‹t› AS `t`, ‹u› u WHERE t.a = u.a",
    ),
    (
        "SELECT a FROM d.other WHERE a IN (SELECT t.a FROM d.t WHERE t.a < 9)",
        "SELECT a FROM d.other WHERE a IN (SELECT t.a FROM ‹t› AS `t` WHERE t.a < 9)",
    ),
    (
        "WITH t AS (SELECT a FROM d.t) SELECT t.a FROM t JOIN d.t AS x ON x.a = t.a",
        "WITH t AS (SELECT a FROM ‹t› AS `t`) SELECT t.a FROM t JOIN ‹t› AS x ON x.a = t.a",
    ),
    (
        "-- FROM d.t\nSELECT a, 'FROM d.t' AS d /* d.u */ FROM d.t # d.t\nWHERE b != \"d.t\"",
        "-- FROM d.t\nSELECT a, 'FROM d.t' AS d /* d.u */ FROM ‹t› AS `t` # d.t\nWHERE b != \"d.t\"",
    ),
    (
        "SELECT a FROM d.t UNION ALL SELECT a FROM d.u",
        "SELECT a FROM ‹t› AS `t` UNION ALL SELECT a FROM ‹u› AS `u`",
    ),
    ("SELECT COUNT(*) AS n FROM d.t", "SELECT COUNT(*) AS n FROM ‹t› AS `t`"),
];

#[test]
fn the_same_query_is_asked_of_the_snapshots() {
    let _machine = crate::scene::share_the_machine();
    let server = bq_local::another();
    let scene = migrated(server.url(), "UPDATE d.t SET b = 'x' WHERE a = 1;");
    let mut flags = String::new();
    for (i, (sql, _)) in REWRITTEN.iter().enumerate() {
        scene.write(&format!("q{i}.sql"), &format!("{sql};\n"));
        flags.push_str(&format!(" --probe q{i}.sql"));
    }
    let before = scene.calls_so_far();
    let ended = scene.sh(&format!(
        "bq-check -n --rounds 3 --max-bytes-billed 20000000{flags} <ran"
    ));
    ended.expect(0, "every probe held");
    let calls = scene.calls_since(before);
    let checks = records(&ended.stdout, "check");
    let probes: Vec<&Value> = checks
        .iter()
        .filter(|c| c["name"].as_str().unwrap().starts_with("probe:"))
        .collect();
    assert_eq!(probes.len(), REWRITTEN.len());
    for probe in &probes {
        assert_eq!(probe["ok"], json!(true), "{probe}");
        assert_eq!(probe["want"], "at most 1.5 times the snapshots' slot time and bytes");
        assert_eq!(probe["detail"]["rounds"], json!(3));
        for (what, side) in [
            ("slot_ms", "live"),
            ("slot_ms", "snapshots"),
            ("bytes", "live"),
            ("bytes", "snapshots"),
        ] {
            assert_eq!(probe["detail"][what][side].as_array().unwrap().len(), 3, "{probe}");
        }
        assert_eq!(probe["detail"]["bytes"]["live"], probe["detail"]["bytes"]["snapshots"]);
    }
    assert_eq!(probes[0]["name"], "probe:q0");
    assert_eq!(probes[0]["detail"]["bytes"]["live"], json!([8000, 8000, 8000]));
    // In turn, after a round to warm up; never from the cache; labelled as all that is ours.
    let sent = queries(&calls, false);
    let text = texts(&sent);
    let on = |there: &str| {
        let there = there.replace("‹t›", &format!("`{PROJECT}.d.t_snapshot_r`"));
        there.replace("‹u›", &format!("`{PROJECT}.d.u_snapshot_r`"))
    };
    let wanted: Vec<String> = REWRITTEN
        .iter()
        .flat_map(|(live, there)| {
            let (live, there) = ((*live).to_owned(), on(there));
            [&there, &live, &live, &there, &there, &live, &live, &there].map(String::clone)
        })
        .collect();
    assert_eq!(text, wanted);
    for query in &sent {
        assert_eq!(query["query"]["useQueryCache"], json!(false), "{query}");
        assert_eq!(query["query"]["maximumBytesBilled"], json!("20000000"), "{query}");
        assert_eq!(
            query["labels"],
            json!({"bq-rollback-run": "r", "bq-rollback-tool": "bq-check"})
        );
    }
    // What it costs is said before: four rounds on both sides, one column of a thousand rows each.
    let said = "bq-check: probe q0: 3 rounds and one to warm up, about 64000 bytes; at most 9 rounds, 160000 bytes\n";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    drop(scene.end());
}

#[test]
fn what_cannot_be_compared_is_not_judged() {
    let _machine = crate::scene::share_the_machine();
    let server = bq_local::another();
    let scene = migrated(
        server.url(),
        "ALTER TABLE d.t DROP COLUMN b; ALTER TABLE d.t ADD COLUMN c INT64;",
    );
    let cases = [
        ("none", "SELECT a FROM d.other", "it reads none of the protected tables"),
        ("nothing", "SELECT 1 AS d", "it reads none of the protected tables"),
        ("view", "SELECT a FROM d.v", "diagnostic-pro-start-up.d.v is a view"),
        (
            "beside",
            "SELECT t.a FROM d.t JOIN d.v ON t.a = v.a",
            "diagnostic-pro-start-up.d.v is a view",
        ),
        (
            "wildcard",
            "SELECT a FROM `d.t*`",
            "it reads none of the protected tables",
        ),
        (
            "write",
            "DELETE FROM d.t WHERE TRUE",
            "it is a DELETE, and a probe must only read",
        ),
        (
            "copy",
            "CREATE TABLE d.w AS SELECT a FROM d.t",
            "and a probe must only read",
        ),
        ("gone", "SELECT b FROM d.t", "on the live tables: Unrecognized name: b"),
        ("new", "SELECT c FROM d.t", "on the snapshots: Unrecognized name: c"),
        ("wrong", "SELECT a FROM d.t WHERE", "on the live tables: "),
        // A name that this BigQuery reads and the program does not (to Google's the space is none): its dry run still names
        // the live table.
        (
            "hidden",
            "SELECT a FROM d\u{1680}. t",
            "not every name of a protected table in it could be replaced by its snapshot",
        ),
    ];
    let mut flags = String::new();
    for (name, sql, _) in cases {
        scene.write(&format!("{name}.sql"), sql);
        flags.push_str(&format!(" --probe {name}.sql"));
    }
    let before = scene.calls_so_far();
    let ended = scene.sh(&format!("bq-check -n{flags} <ran"));
    ended.expect(1, "nothing that was not judged is accepted");
    let checks = records(&ended.stdout, "check");
    for (name, _, why) in cases {
        let check = checks.iter().find(|c| c["name"] == format!("probe:{name}")).unwrap();
        assert_eq!(check.get("ok"), None, "{check}");
        let got = check["got"].as_str().unwrap();
        assert!(got.starts_with("could not be asked: ") && got.contains(why), "{check}");
    }
    let calls = scene.calls_since(before);
    assert_eq!(
        texts(&queries(&calls, false)),
        Vec::<String>::new(),
        "something was run"
    );
    assert_eq!(records(&ended.stdout, "verdict")[0]["accepted"], json!(false));
    let counted = scene.sh("bq-count -q d.t | bq-check --probe none.sql --expect 'd.t > 1'");
    let said = &counted.expect(2, "counts have no snapshots").stderr;
    assert!(
        said.contains("a count stream has no snapshots to compare with"),
        "{said}"
    );
}

/// Ten times the rows: ten times the bytes, and the tables are put back, unless that much was asked for.
#[test]
fn a_table_ten_times_as_big_is_a_slowdown() {
    let _machine = crate::scene::share_the_machine();
    let server = bq_local::another();
    let grow = "INSERT INTO d.t SELECT t.a + 1000 * n, t.b FROM d.t, UNNEST(GENERATE_ARRAY(1, 9)) AS n;";
    let scene = migrated(server.url(), grow);
    scene.write("slow.sql", "SELECT SUM(t.a) AS n FROM d.t");
    let probe = |text: &str| {
        records(text, "check")
            .into_iter()
            .find(|c| c["name"] == "probe:slow")
            .unwrap()
    };
    let patient = scene.sh("bq-check -n --rounds 3 --probe slow.sql --max-slowdown 10 <ran");
    assert_eq!(
        probe(&patient.expect(0, "as much as that was allowed").stdout)["ok"],
        json!(true)
    );

    let checked = scene.sh("bq-check --probe slow.sql <ran >checked; echo \"$?\"; bq-restore >restored");
    checked.expect(10, "rolled back");
    assert_eq!(checked.stdout, "1\n");
    let text = scene.read("checked");
    let slow = probe(&text);
    assert_eq!(slow["ok"], json!(false), "{slow}");
    assert!(
        slow["got"].as_str().unwrap().ends_with(", 10.00 times the bytes"),
        "{slow}"
    );
    assert_eq!(
        slow["detail"]["bytes"]["snapshots"],
        json!([8000, 8000, 8000, 8000, 8000])
    );
    assert_eq!(
        slow["detail"]["bytes"]["live"],
        json!([80_000, 80_000, 80_000, 80_000, 80_000])
    );
    let verdict = &records(&text, "verdict")[0];
    assert_eq!((&verdict["accepted"], &verdict["failed"]), (&json!(false), &json!(1)));
    let judged = scene
        .journal("r")
        .into_iter()
        .find(|line| line["event"]["verdict"].is_object())
        .unwrap();
    assert!(
        judged["event"]["verdict"]["because"]
            .as_str()
            .unwrap()
            .contains("probe:slow"),
        "{judged}"
    );
    drop(scene.end());
}

/// Prints something once a query of a probe runs.
const RUNNING: &str = "
import json, os, urllib.request
jobs = '{BIGQUERY_EMULATOR_HOST}/bigquery/v2/projects/{PROJECT_ID}/jobs?projection=full'.format(**os.environ)
for job in json.load(urllib.request.urlopen(jobs)).get('jobs', []):
    if '-probe-' in job['jobReference']['jobId'] and job['status']['state'] == 'RUNNING':
        print(job['jobReference']['jobId'])
";

/// Nobody waits for the query any more: it is cancelled, no other is begun, and the run is rejected.
#[test]
fn a_signal_ends_a_probe() {
    let _machine = crate::scene::share_the_machine();
    let server = bq_local::another();
    let scene = migrated(server.url(), "UPDATE d.t SET b = 'x' WHERE a = 1;");
    scene.write(
        "long.sql",
        "SELECT SUM(x.a * y.a + z.a) AS n FROM d.t AS x, d.t AS y, d.t AS z, UNNEST(GENERATE_ARRAY(1, 50)) AS i",
    );
    scene.write("running.py", RUNNING);
    let before = scene.calls_so_far();
    let ended = scene.sh("bq-check --probe long.sql <ran >checked 2>said & pid=$!
         until grep -q 'probe long' said; do kill -0 $pid || exit 99; done
         until [ -n \"$(\"$PYTHON\" running.py)\" ]; do kill -0 $pid || exit 98; done
         kill -TERM $pid; wait $pid");
    ended.expect(143, "ended by the signal");
    let calls = scene.calls_since(before);
    let cancelled = calls.iter().filter(|call| call.path.ends_with("/cancel")).count();
    assert_eq!((queries(&calls, false).len(), cancelled), (1, 1));
    assert_eq!(records(&scene.read("checked"), "verdict")[0]["accepted"], json!(false));
    let verdict = scene
        .journal("r")
        .into_iter()
        .find(|line| line["event"]["verdict"].is_object())
        .unwrap();
    assert_eq!(verdict["event"]["verdict"]["accepted"], json!(false));
}

#[test]
fn what_is_asked_wrongly_is_usage() {
    let scene = Scene::at(&crate::scene::shared());
    scene.write("one.sql", "SELECT 1 AS n");
    scene.write("two.sql", "SELECT 1 AS n; SELECT 2 AS n;");
    scene.write("none.sql", "-- nothing\n;");
    for (flags, says) in [
        ("--probe one.sql --max-slowdown 1", "a number greater than 1"),
        ("--probe one.sql --max-slowdown=-3", "a number greater than 1"),
        ("--probe one.sql --max-slowdown inf", "a number greater than 1"),
        ("--probe one.sql --max-slowdown NaN", "a number greater than 1"),
        ("--probe one.sql --rounds 2", "--rounds"),
        ("--rounds 5", "--probe"),
        ("--max-slowdown 2", "--probe"),
        ("--accept --probe one.sql", "--probe"),
        ("--probe two.sql", "the probe holds several statements"),
        ("--probe none.sql", "the probe holds no statement"),
        ("--probe missing.sql", "the probe cannot be read"),
        ("--probe .", "the probe cannot be read"),
    ] {
        let ended = scene.sh(&format!("bq-check --run r {flags} </dev/null"));
        ended.expect(2, flags);
        assert!(ended.stderr.contains(says), "{flags}: {}", ended.stderr);
    }
    assert_eq!(scene.calls_so_far(), 0);
}
