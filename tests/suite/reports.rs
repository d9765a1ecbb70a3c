//! How bq-check tells people and CI what it found: `--junit`, and the table of a terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::bq_local;
use crate::scene::{PROJECT, Scene, helper};

const SETUP: &str = "
CREATE SCHEMA d;
CREATE TABLE d.t (a INT64);
INSERT INTO d.t SELECT n FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS n;
CREATE TABLE d.u AS SELECT a FROM d.t;
";
const GOOD: &str = "UPDATE d.u SET a = 0 WHERE a = 1;";

fn scene() -> (Scene, tests::emulator::Emulator) {
    let server = bq_local::another();
    let mut scene = Scene::at(server.url());
    scene.set("TERMINAL", helper("terminal.py").to_str().unwrap());
    scene.set("JUNIT", helper("junit.py").to_str().unwrap());
    scene.write("setup.sql", SETUP);
    scene.write("good.sql", GOOD);
    scene.write("bad.sql", "DELETE FROM d.t WHERE a > 5;");
    fs::create_dir(scene.path("checks")).unwrap();
    scene.write("checks/a.sql", "-- severity: warn\nSELECT 'a&b <c> \"d\"' AS odd");
    scene.write("checks/b.sql", "SELECT nothing FROM d.t");
    scene.write("checks/c.sql", "SELECT a FROM d.t WHERE a < 0");
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    (scene, server)
}

/// Runs a migration of both tables; its stream is `<run>.ran`.
fn migrated(scene: &Scene, run: &str, migration: &str) {
    let line = format!("bq-snap -q --run {run} d.t d.u | bq-run -q {migration} >{run}.ran");
    scene.sh(&line).expect(0, run);
}

/// A report as another parser reads it.
fn report(scene: &Scene, name: &str) -> Value {
    let read = scene.sh(&format!("\"$PYTHON\" \"$JUNIT\" {name}"));
    serde_json::from_str(&read.expect(0, name).stdout).unwrap()
}

fn tests_of(report: &Value) -> Vec<Value> {
    report["tests"].as_array().unwrap().clone()
}

fn accepted(scene: &Scene, run: &str) -> Option<bool> {
    let journal = scene.journal(run);
    let verdict = journal.iter().rfind(|line| line["event"]["verdict"].is_object())?;
    verdict["event"]["verdict"]["accepted"].as_bool()
}

#[test]
fn ci_reads_every_verdict() {
    let _machine = crate::scene::share_the_machine();
    let (scene, _server) = scene();
    let (t, u) = (format!("{PROJECT}.d.t"), format!("{PROJECT}.d.u"));

    // Accepted: a warning turns nothing red.
    migrated(&scene, "good", "good.sql");
    scene.write("report.xml", "<of another day/>");
    let line = "bq-check -q --junit report.xml --sql checks/a.sql --sql checks/c.sql <good.ran >good.stream";
    scene.sh(line).expect(0, "accepted");
    assert_eq!(accepted(&scene, "good"), Some(true));
    let good = report(&scene, "report.xml");
    assert_eq!(
        good["suite"],
        json!({"name": "good", "tests": "13", "failures": "0", "errors": "0"})
    );
    let tests = tests_of(&good);
    assert_eq!(tests[0], json!([t, "exists"]));
    assert_eq!(tests[10], json!(["bq-check", "writes"]));
    let warned = &tests[11];
    assert_eq!(
        (&warned[0], &warned[1], &warned[2][0]),
        (&json!("bq-check"), &json!("sql:a"), &json!("system-out"))
    );
    let told = warned[2][1].as_str().unwrap();
    assert!(told.starts_with("warning: wanted: no rows\ngot: 1 row\n"), "{told}");
    assert!(told.contains(r#"a&b <c> \"d\""#), "{told}");
    assert_eq!(tests[12], json!(["bq-check", "sql:c"]));
    // For others to read, and nothing beside it.
    let mode = fs::metadata(scene.path("report.xml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let left: Vec<_> = fs::read_dir(scene.path(""))
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().starts_with(".tmp")),
        "{left:?}"
    );

    // Not accepted: a no is a failure, what could not be asked an error.
    migrated(&scene, "bad", "bad.sql");
    let line = "bq-check -q --junit report.xml --sql checks/b.sql <bad.ran >bad.stream";
    scene.sh(line).expect(1, "not accepted");
    let bad = report(&scene, "report.xml");
    assert_eq!(
        bad["suite"],
        json!({"name": "bad", "tests": "12", "failures": "1", "errors": "1"})
    );
    let red: Vec<Value> = tests_of(&bad)
        .into_iter()
        .filter(|test| test.get(2).is_some())
        .collect();
    assert_eq!(
        red[0],
        json!([t, "rows", ["failure", "wanted not fewer than 1000, got 5"]])
    );
    assert_eq!(
        (red[1][1].as_str(), red[1][2][0].as_str()),
        (Some("sql:b"), Some("error"))
    );
    assert!(!tests_of(&bad).contains(&json!([t, "rows"])) && tests_of(&bad).contains(&json!([u, "rows"])));
    scene.sh("bq-restore -q >restored").expect(10, "put back");

    // A broken stream.
    migrated(&scene, "cut", "good.sql");
    let line = "head -n 3 cut.ran | bq-check -q --junit report.xml >cut.stream";
    scene.sh(line).expect(5, "broken");
    let cut = report(&scene, "report.xml");
    assert_eq!(
        cut["suite"],
        json!({"name": "cut", "tests": "1", "failures": "0", "errors": "1"})
    );
    let test = &tests_of(&cut)[0];
    assert_eq!(
        (test[0].as_str(), test[1].as_str()),
        (Some("bq-check"), Some("verdict"))
    );
    assert!(test[2][1].as_str().unwrap().starts_with("not accepted: "), "{test}");

    scene.sh("bq-restore -q >restored").expect(10, "put back");

    // Nor is what ends without a verdict green.
    migrated(&scene, "full", "good.sql");
    scene
        .sh("bq-check -q --junit report.xml <full.ran >/dev/full")
        .expect(5, "standard output is full");
    let full = report(&scene, "report.xml");
    assert_eq!(full["suite"]["errors"], "1");
    let said = &tests_of(&full)[0][2];
    assert!(
        said[1]
            .as_str()
            .unwrap()
            .starts_with("standard output cannot be written"),
        "{said}"
    );
    scene.sh("bq-restore -q >restored").expect(10, "put back");

    // Counts have reports too.
    scene.write("list.csv", "table,records\nd.t,1000\nd.u,7\n");
    let line = "bq-count -q -f list.csv | bq-check -q --junit report.xml >counts.stream";
    scene.sh(line).expect(1, "a count that is not as it should be");
    let counts = report(&scene, "report.xml");
    assert_eq!(
        counts["suite"],
        json!({"name": "bq-check", "tests": "2", "failures": "1", "errors": "0"})
    );
    // What was written without a test, before it turned out that nothing was asked, is written anew.
    let line = "bq-count -q d.t | bq-check -q --junit report.xml >nothing.stream";
    scene.sh(line).expect(1, "nothing was asked");
    let nothing = report(&scene, "report.xml");
    assert_eq!(
        tests_of(&nothing)[0][2],
        json!(["error", "nothing was asked: no count has `records`"])
    );
    drop(scene.end());
}

#[test]
fn a_report_that_cannot_be_written_is_no_yes() {
    let _machine = crate::scene::share_the_machine();
    let (scene, _server) = scene();
    migrated(&scene, "r", "good.sql");
    fs::create_dir(scene.path("directory")).unwrap();
    let before = (scene.calls_so_far(), scene.files());
    for (file, why) in [
        ("directory", "it is no regular file"),
        ("/dev/null", "it is no regular file"),
        ("missing/report.xml", "No such file or directory"),
        ("good.sql/report.xml", "Not a directory"),
    ] {
        let ended = scene.sh(&format!("bq-check --junit {file} <r.ran"));
        ended.expect(2, file);
        let said = format!("the report cannot be written: {why}");
        assert!(ended.stderr.contains(&said), "{file}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("\nat: {file}\nhint: ")),
            "{}",
            ended.stderr
        );
    }
    for wrong in ["--junit x.xml --accept", "--junit x.xml --reject --because no"] {
        scene
            .sh(&format!("bq-check --run r {wrong} </dev/null"))
            .expect(2, wrong);
    }
    // What is there and is no report or copy stays: the user's SQL, the journal of the run.
    for wrong in [
        "--junit good.sql",
        "--junit .rollback/r.jsonl",
        "--copy good.sql",
        "--copy .rollback/r.jsonl",
        "-n --junit good.sql",
        "-n --copy good.sql",
    ] {
        let ended = scene.sh(&format!("bq-check -q {wrong} <r.ran >/dev/null"));
        ended.expect(2, wrong);
        assert!(
            ended.stderr.contains("what is there is no "),
            "{wrong}: {}",
            ended.stderr
        );
    }
    // With `-n` nothing is written.
    scene
        .sh("bq-check -q -n --junit fresh.xml <r.ran >/dev/null")
        .expect(0, "would be accepted");
    scene
        .sh("bq-check -q -n --junit directory <r.ran >/dev/null")
        .expect(2, "a directory");
    assert_eq!(scene.files(), before.1);

    // It could have been written when the program began, and cannot when there is something to write.
    fs::create_dir(scene.path("reports")).unwrap();
    scene.write("reports/old.xml", "<of another day/>");
    let line = "{ cat r.ran; n=0; while [ -e reports/old.xml ] && [ $n -lt 600 ]; do n=$((n + 1)); sleep 0.1; done; rmdir reports; } \
                | bq-check --junit reports/old.xml >gone.stream";
    let ended = scene.sh(line);
    ended.expect(2, "the directory is gone");
    assert!(
        ended.stderr.contains("the report cannot be written"),
        "{}",
        ended.stderr
    );
    assert_eq!(accepted(&scene, "r"), Some(false));
    let told = scene.read("gone.stream");
    let verdict: Value = told
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .find(|r: &Value| r["type"] == "verdict")
        .unwrap();
    assert_eq!(verdict["accepted"], json!(false));
    drop(scene.end());
}

#[test]
fn people_read_what_is_wrong_first() {
    let _machine = crate::scene::share_the_machine();
    let (mut scene, _server) = scene();
    migrated(&scene, "bad", "bad.sql");
    let table = "bq-check -n -q --format table --sql checks --expect 'd.u +0..+9' <bad.ran";
    let ended = scene.sh(table);
    ended.expect(1, "not accepted");
    let lines: Vec<&str> = ended.stdout.lines().map(str::trim_end).collect();
    let words: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["RESULT", "CHECK", "TABLE", "WANTED", "FOUND"]);
    let results: Vec<&str> = words[1..].iter().map_while(|words| words.first().copied()).collect();
    let wanted = [vec!["NO", "?", "warn"], vec!["ok"; 12]].concat();
    assert_eq!(results, wanted, "{}", ended.stdout);
    assert_eq!(
        words[1],
        [
            "NO",
            "rows",
            "diagnostic-pro-start-up.d.t",
            "not",
            "fewer",
            "than",
            "1000",
            "5"
        ]
    );
    assert_eq!(
        lines[lines.len() - 2..],
        ["", "NOT ACCEPTED: 1 failed, 1 could not be asked, 1 warned, 12 passed"]
    );
    // Numbers stand by their last digits.
    let ends = |number: &str| {
        lines
            .iter()
            .find(|line| line.ends_with(number))
            .map(|line| line.chars().count())
            .unwrap()
    };
    assert_eq!(ends(" 5"), ends(" 1000"));
    assert!(!ended.stdout.contains('\u{1b}'), "colours in a pipe");

    // On a terminal: the same without being asked, as wide as it is, in colours.
    let shown = scene.sh("\"$PYTHON\" \"$TERMINAL\" 100 'bq-check -n -q --sql checks <bad.ran'");
    shown.expect(1, "not accepted");
    assert!(shown.stdout.contains("\u{1b}[1;31mNO\u{1b}[0m "), "{:?}", shown.stdout);
    assert!(
        shown.stdout.contains("\u{1b}[1;31mNOT ACCEPTED\u{1b}[0m: 1 failed"),
        "{:?}",
        shown.stdout
    );
    scene.set("NO_COLOR", "1");
    let plain = scene
        .sh("\"$PYTHON\" \"$TERMINAL\" 100 'bq-check -n -q --sql checks <bad.ran'")
        .stdout;
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    for line in plain.lines() {
        assert!(line.chars().count() <= 100, "{line:?}");
    }
    assert!(plain.lines().any(|line| line.starts_with(" NO ")), "{plain}");

    // What was rejected for good says what puts the tables back; what was accepted says nothing more.
    let rejected = scene.sh("\"$PYTHON\" \"$TERMINAL\" 100 'bq-check -q <bad.ran'");
    let last: Vec<&str> = rejected.expect(1, "rejected").stdout.lines().rev().take(2).collect();
    assert_eq!(
        last,
        ["next: bq-restore --run bad", "NOT ACCEPTED: 1 failed, 10 passed"]
    );
    scene.sh("bq-restore -q >restored").expect(10, "put back");
    migrated(&scene, "good", "good.sql");
    let good = scene.sh("bq-check -q --format table <good.ran");
    assert_eq!(
        good.expect(0, "accepted").stdout.lines().last(),
        Some("ACCEPTED: 11 passed")
    );
    let cut = scene.sh("head -n 3 good.ran | bq-check -q --format table");
    assert_eq!(cut.expect(5, "broken").stdout, "NOT ACCEPTED\n");
    drop(scene.end());
}
