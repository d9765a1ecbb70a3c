//! bq-run with what its user gives it: files that are none, parameters, a dataset; and the statement that fails, shown in the file.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tests::gateway::{Call, Gateway, GatewayOptions};
use tests::world::{PROJECT, World};

use crate::bq_local;
use crate::built;
use crate::scene::{Ended, Scene, helper, shared};

// ---- against the pretended BigQuery ----

/// Runs bq-run without a stream on files of these contents. What it came to, and what was asked of BigQuery.
fn run_on(world: &World, files: &[(&str, &[u8])], flags: &[&str]) -> (Ended, Vec<Call>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    world.watch(&folder.path().join(".rollback"));
    let gateway = Gateway::in_front_of(Arc::new(world.clone()), GatewayOptions::default()).unwrap();
    let output = Command::new(&built::programs()["bq-run"])
        .args(["--unprotected", "--run", "r", "-q"])
        .args(files.iter().map(|(name, _)| name))
        .args(flags)
        .current_dir(folder.path())
        .env_clear()
        .env("BIGQUERY_EMULATOR_HOST", gateway.url())
        .env("PROJECT_ID", PROJECT)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended = Ended {
        status: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    };
    (ended, gateway.calls())
}

fn world() -> World {
    let world = World::new(1);
    world
        .sql("CREATE SCHEMA d; CREATE TABLE d.t (id INT64); INSERT INTO d.t (id) VALUES (1), (2);")
        .unwrap();
    world
}

#[test]
fn a_file_that_is_none_is_refused_with_its_place_and_nothing_is_sent() {
    let long = format!("SELECT '{}'", "x".repeat(1024 * 1024));
    let lines = format!("{}SELECT '{}'", "-- x\n".repeat(3), "ü".repeat(1024 * 1024 - 23));
    let whole = "the SQL is 1048577 characters long, and BigQuery takes 1048576";
    for (content, what, at) in [
        (&b""[..], "the SQL file holds no statement", "line 1, column 1"),
        (b"\xef\xbb\xbf", "the SQL file holds no statement", "line 1, column 1"),
        (
            b"-- a\n# b\n/* c\n */\n;;\n",
            "the SQL file holds no statement",
            "line 5, column 3",
        ),
        (b"-- a\r\n-- b", "the SQL file holds no statement", "line 2, column 5"),
        (
            b"SELECT 1;\nSELECT '\xc3\xbc', \xff",
            "the SQL file is not UTF-8",
            "line 2, column 13",
        ),
        (b"\xef\xbb\xbfS\xff", "the SQL file is not UTF-8", "line 1, column 2"),
        (
            b"SELECT 1;\r\n\r\nSELECT \0;",
            "the SQL file holds a NUL byte",
            "line 3, column 8",
        ),
        (b"\xef\xbb\xbf\0", "the SQL file holds a NUL byte", "line 1, column 1"),
        (b"SELECT 1 FROM\n  ${NO}", "`${NO}` has no value", "line 2, column 3"),
        (
            long.as_bytes(),
            "the SQL is 1048585 characters long, and BigQuery takes 1048576",
            "line 1, column 1048577",
        ),
        // In bytes it is twice as long: BigQuery counts characters.
        (lines.as_bytes(), whole, "line 4, column 1048562"),
    ] {
        let (ended, calls) = run_on(&world(), &[("m.sql", content)], &[]);
        ended.expect(2, what);
        let said = format!("bq-run: error: {what}\nat: m.sql, {at}\nhint: ");
        assert!(ended.stderr.starts_with(&said), "{said}\n{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 3, "{}", ended.stderr);
        assert!(calls.is_empty(), "{what}: {calls:?}");
    }
}

#[test]
fn a_flag_that_is_none_is_refused_and_nothing_is_sent() {
    let deep = format!("p:{}INT64:x", "ARRAY<".repeat(10_000));
    for (flags, what, at) in [
        (
            ["--param", "p:ARRAY<INT64>:[1,"],
            "the value of an array is a JSON list",
            "--param",
        ),
        (["--param", &deep], "`<` without `>`", "--param"),
        (["--dataset", "a.b.c"], "`a.b` is not", "--dataset"),
        (["--dataset", "p-1.d 1"], "`d 1` is not", "--dataset"),
    ] {
        let (ended, calls) = run_on(&world(), &[("m.sql", b"SELECT 1")], &flags);
        ended.expect(2, what);
        let at = format!("\nat: {at}\n");
        assert!(
            ended.stderr.contains(what) && ended.stderr.contains(&at),
            "{}",
            ended.stderr
        );
        assert!(calls.is_empty(), "{what}: {calls:?}");
    }
}

#[test]
fn a_file_of_the_limits_own_length_is_sent_with_its_mark_taken_away() {
    let text = format!("\u{feff}SELECT 1 -- {}", "ü".repeat(1024 * 1024 - 12));
    let (ended, calls) = run_on(&world(), &[("m.sql", text.as_bytes())], &["--no-foresight"]);
    ended.expect(0, "as long as BigQuery takes");
    let sent = calls
        .iter()
        .find_map(|call| call.body["configuration"]["query"]["query"].as_str());
    assert_eq!(sent, text.strip_prefix('\u{feff}'));
}

#[test]
fn the_failing_statement_of_a_script_is_shown_in_the_file() {
    let file = "DELETE FROM d.t WHERE id = 9;\r\n-- ${T} 表\r\n\tDELETE FROM d.${T} WHERE id = 1; DELETE FROM d.gone WHERE TRUE;\r\nDELETE FROM d.t WHERE TRUE;\r\n";
    let world = world();
    world.sql("CREATE TABLE d.a_name_of_some_length (id INT64)").unwrap();
    let flags = ["--var", "T=a_name_of_some_length", "--no-foresight"];
    let (ended, _) = run_on(&world, &[("m.sql", file.as_bytes())], &flags);
    ended.expect(1, "the third statement fails");
    let shown = "\
        \n  2 | -- ${T} 表\
        \n  3 |  DELETE FROM d.${T} WHERE id = 1; DELETE FROM d.gone WHERE TRUE;\
        \n    |                                   ^\
        \n  4 | DELETE FROM d.t WHERE TRUE;\
        \nhint: ";
    let what = "bq-run: error: m.sql: statement 3 of 4 (DELETE): Not found";
    assert!(ended.stderr.starts_with(what), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("\nat: m.sql, line 3, column 35, job bq-rollback-r-migrate1-1"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(shown), "{}", ended.stderr);
    let records: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let migration = records.iter().find(|record| record["type"] == "migration").unwrap();
    let error = migration["error"].as_str().unwrap();
    assert!(error.contains(" at m.sql, line 3, column 35 ("), "{error}");
    let error = records.iter().find(|record| record["type"] == "error").unwrap();
    assert!(
        error["where"]
            .as_str()
            .unwrap()
            .starts_with("m.sql, line 3, column 35, job "),
        "{error}"
    );
}

// ---- against the local BigQuery ----

const SETUP: &str =
    "CREATE SCHEMA IF NOT EXISTS D; CREATE OR REPLACE TABLE D.t (id INT64); INSERT INTO D.t VALUES (1), (2);";

/// A scene with a dataset of its own.
fn scene(dataset: &str) -> Scene {
    prepared(Scene::at(&shared()), dataset)
}

fn prepared(scene: Scene, dataset: &str) -> Scene {
    scene.write(
        "setup.sql",
        &SETUP.replace("D", dataset).replace(&format!("I{dataset}"), "ID"),
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    scene
}

#[test]
fn the_failing_statement_is_found_inside_blocks_handlers_and_procedures() {
    let scene = scene("run_fails");
    for (name, file, what, at) in [
        (
            "if",
            "DECLARE n INT64 DEFAULT 1;\nIF n > 0 THEN\n  SELECT 1;\n  SELECT ERROR('no good');\nEND IF;\n",
            "no good",
            (4, 3),
        ),
        (
            "caught",
            "BEGIN\n  SELECT ERROR('first');\nEXCEPTION WHEN ERROR THEN\n  SELECT 1;\nEND;\nSELECT\n ERROR('second');",
            "second",
            (6, 1),
        ),
        (
            "again",
            "BEGIN\n  SELECT ERROR('first');\nEXCEPTION WHEN ERROR THEN\n  RAISE;\nEND;",
            "first",
            (2, 3),
        ),
        (
            "raised",
            "BEGIN\n  SELECT ERROR('first');\nEXCEPTION WHEN ERROR THEN\n  RAISE USING MESSAGE = 'other';\nEND;",
            "other",
            (4, 3),
        ),
        (
            "called",
            "CREATE OR REPLACE PROCEDURE run_fails.p()\nBEGIN\n  SELECT 1;\n  SELECT ERROR('inside');\nEND;\nCALL run_fails.p();",
            "inside",
            (6, 1),
        ),
        (
            "set",
            "DECLARE n INT64;\r\n\tSET n = CAST('x' AS INT64);\r\n",
            "Could not convert",
            (2, 2),
        ),
    ] {
        let file_name = format!("{name}.sql");
        scene.write(&file_name, file);
        let line = format!("bq-run --unprotected --no-foresight -q {file_name} >{name}.stream");
        let ended = scene.sh(&line);
        ended.expect(1, name);
        let place = format!("\nat: {file_name}, line {}, column {}, job ", at.0, at.1);
        assert!(
            ended.stderr.contains(what) && ended.stderr.contains(&place),
            "{name}: {}",
            ended.stderr
        );
        let number = format!("  {} | ", at.0);
        let mut lines = ended.stderr.lines().skip_while(|line| !line.starts_with(&number));
        let (shown, caret) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(caret.find('^'), Some(5 + at.1), "{shown}\n{caret}");
        assert_eq!(caret.trim_start_matches([' ', '|']), "^");
    }
    let called = scene
        .sh("bq-run --unprotected --no-foresight -q called.sql >called.stream")
        .stderr;
    assert!(
        called.contains("called.sql: statement 2 of 2 (CALL): inside at [") && called.contains("run_fails.p:"),
        "{called}"
    );
    drop(scene.end());
}

#[test]
fn a_file_found_wrong_is_shown_where_it_is_wrong() {
    let scene = scene("run_wrong");
    scene.write(
        "wrong.sql",
        "SELECT 1;\n-- ü\nSELECT '表', id FROM run_wrong.t\n  WHERE WHERE;\n",
    );
    let before = scene.calls_so_far();
    let ended = scene.sh("bq-run --unprotected -q wrong.sql >wrong.stream");
    ended.expect(1, "a syntax error");
    assert!(
        ended
            .stderr
            .contains("wrong.sql: BigQuery finds statement 2 (SELECT) wrong: Syntax error"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("\nat: wrong.sql, line 4, column "),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .contains("\n  3 | SELECT '表', id FROM run_wrong.t\n  4 |   WHERE WHERE;\n    | ")
    );
    let calls = scene.calls_since(before);
    let sent = calls.iter().filter(|call| call.method == "POST");
    assert!(sent.clone().count() > 0);
    assert!(
        sent.clone().all(|call| call.body["configuration"]["dryRun"] == true),
        "{calls:?}"
    );
    // Not ended as others are: what it sent is no SQL to Google's parser, either.
    drop(scene);
}

#[test]
fn names_without_a_dataset_are_of_the_one_that_was_named() {
    let server = bq_local::another();
    // The answer to the job is lost: what is found under its ID must be known for our own.
    let lost = "POST /jobs body~\"home-migrate1\" #1 : apply-then-drop";
    let scene = prepared(Scene::with_faults(server.url(), lost), "run_home");
    scene.write(
        "m.sql",
        "CREATE TABLE made AS SELECT id FROM t;\nINSERT INTO made SELECT id + 10 FROM run_home.t;\n",
    );
    let without = scene.sh("bq-run --unprotected -q m.sql >without.stream");
    assert_ne!(without.status, Some(0), "{}", without.stderr);
    let before = scene.calls_so_far();
    let dry = "bq-snap -n -q run_home.t | bq-run -n -q --dataset run_home m.sql >dry.stream";
    scene.sh(dry).expect(0, "a dry run");
    let line = "bq-snap -q --run home run_home.t | bq-run -q --dataset run_home m.sql >with.stream";
    scene.sh(line).expect(0, "names of one part, and a lost answer");
    let rows = scene.sh(&format!("\"$PYTHON\" {} run_home.made", helper("rows.py").display()));
    let rows: Vec<Value> = serde_json::from_str(&rows.expect(0, "rows").stdout).unwrap();
    assert_eq!(rows.len(), 4);
    let calls = scene.calls_since(before);
    let of_file = calls.iter().filter(|call| {
        let text = call.body["configuration"]["query"]["query"].as_str();
        call.method == "POST" && text.is_some_and(|text| text.starts_with("CREATE TABLE made"))
    });
    let (mut dry, mut sent) = (0, 0);
    for call in of_file {
        let query = &call.body["configuration"]["query"];
        assert_eq!(
            query["defaultDataset"],
            json!({"projectId": crate::scene::PROJECT, "datasetId": "run_home"})
        );
        match call.body["configuration"]["dryRun"] == true {
            true => dry += 1,
            false => sent += 1,
        }
    }
    assert!(dry >= 2 && sent == 2, "{dry} dry runs, {sent} tries to send the job");
    drop(scene.end());
}

#[test]
fn every_type_of_parameter_is_bound() {
    let scene = scene("run_params");
    let flags: Vec<(&str, &str, &str, Value)> = vec![
        ("i", "INT64", "-9223372036854775808", json!(i64::MIN)),
        ("s", "", "it's \"ü\"", json!("it's \"ü\"")),
        ("sn", "STRING", "NULL", Value::Null),
        ("y", "BYTES", "aGVsbG8=", json!("b'hello'")),
        ("f", "FLOAT64", "1.5", json!(1.5)),
        (
            "n",
            "NUMERIC",
            "12345678901234567890123456789.123456789",
            json!("12345678901234567890123456789.123456789"),
        ),
        ("bn", "BIGNUMERIC", "1.25", json!("1.25")),
        ("o", "BOOL", "true", json!(true)),
        ("d", "DATE", "2026-01-02", json!("2026-01-02")),
        ("dn", "DATE", "NULL", Value::Null),
        ("tm", "TIME", "01:02:03.5", json!("01:02:03.500000")),
        ("dt", "DATETIME", "2026-01-02T03:04:05", json!("2026-01-02 03:04:05")),
        (
            "ts",
            "TIMESTAMP",
            "2026-01-02 03:04:05+02:00",
            json!("2026-01-02 01:04:05+00:00"),
        ),
        ("g", "GEOGRAPHY", "POINT(1 2)", json!("POINT(1 2)")),
        ("j", "JSON", "{\"a\": [1, null]}", json!({"a": [1, null]})),
        (
            "iv",
            "INTERVAL",
            "1-2 3 4:5:6",
            json!("relativedelta(years=+1, months=+2, days=+3, hours=+4, minutes=+5, seconds=+6)"),
        ),
        (
            "r",
            "RANGE<DATE>",
            "[2020-01-01, 2020-12-31)",
            json!({"start": "2020-01-01", "end": "2020-12-31"}),
        ),
        (
            "ro",
            "RANGE<DATE>",
            "[UNBOUNDED, 2020-12-31)",
            json!({"start": null, "end": "2020-12-31"}),
        ),
        ("rn", "RANGE<DATE>", "NULL", Value::Null),
        ("a", "ARRAY<INT64>", "[1, 2]", json!([1, 2])),
        ("ae", "ARRAY<INT64>", "[]", json!([])),
        (
            "an",
            "ARRAY<NUMERIC>",
            "[12345678901234567890123456789.123456789]",
            json!(["12345678901234567890123456789.123456789"]),
        ),
        (
            "st",
            "STRUCT<x INT64, y STRING>",
            "{\"x\": 1, \"y\": null}",
            json!({"x": 1, "y": null}),
        ),
        ("stn", "STRUCT<x INT64>", "NULL", Value::Null),
        (
            "deep",
            "STRUCT<a ARRAY<INT64>, e ARRAY<INT64>, r RANGE<DATE>, s STRUCT<q DATE>, t STRUCT<q BOOL>>",
            "{\"a\": [1], \"e\": [], \"r\": null, \"s\": null, \"t\": {\"q\": true}}",
            json!({"a": [1], "e": [], "r": null, "s": null, "t": {"q": true}}),
        ),
        (
            "sa",
            "ARRAY<STRUCT<x INT64, y STRING>>",
            "[{\"x\": 1, \"y\": \"a\"}, {\"x\": null, \"y\": \"NULL\"}]",
            json!([{"x": 1, "y": "a"}, {"x": null, "y": null}]),
        ),
    ];
    let columns: Vec<String> = flags.iter().map(|(name, ..)| format!("@{name} AS {name}")).collect();
    let told = "@null_array IS NULL AS no_array, @ae IS NULL AS no_empty";
    let sql = format!(
        "CREATE TABLE run_params.bound AS SELECT {}, {told};",
        columns.join(", ")
    );
    scene.write("m.sql", &sql);
    let mut args = vec!["--unprotected".to_owned(), "-q".to_owned(), "m.sql".to_owned()];
    for (name, kind, value, _) in &flags {
        args.extend(["--param".to_owned(), format!("{name}:{kind}:{value}")]);
    }
    args.extend(["--param".to_owned(), "null_array:ARRAY<INT64>:NULL".to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    scene.run("bq-run", &args).expect(0, "all of them");
    let rows = scene.sh(&format!("\"$PYTHON\" {} run_params.bound", helper("rows.py").display()));
    let rows: Vec<Value> = serde_json::from_str(&rows.expect(0, "rows").stdout).unwrap();
    for (name, kind, _, want) in &flags {
        assert_eq!(&rows[0][name], want, "{name}:{kind}");
    }
    assert_eq!(
        (&rows[0]["no_array"], &rows[0]["no_empty"]),
        (&json!(true), &json!(false))
    );
    drop(scene.end());
}

#[test]
fn a_long_job_tells_a_terminal_which_statement_it_is_at() {
    let mut scene = scene("run_long");
    scene.set("TERMINAL", helper("terminal.py").to_str().unwrap());
    scene.set("TERM", "xterm");
    // The second takes some seconds; who looks at a terminal is told of it, and of the third.
    let long = "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 40000)) AS a CROSS JOIN UNNEST(GENERATE_ARRAY(1, 40000)) AS b \
        WHERE MOD(a * b, 1000003) = 7";
    scene.write("m.sql", &format!("SELECT 1;\n{long};\nSELECT 3;\n"));
    let listed = |scene: &Scene, since: usize| {
        let calls = scene.calls_since(since);
        calls.iter().filter(|call| call.query.contains("parentJobId=")).count()
    };
    let before = scene.calls_so_far();
    let told = scene.sh("\"$PYTHON\" \"$TERMINAL\" 100 'bq-run --unprotected --no-foresight m.sql 2>&1 >told.stream'");
    told.expect(0, "on a terminal");
    let looks = listed(&scene, before);
    assert!(told.stdout.contains("m.sql: 00:00"), "{:?}", told.stdout);
    assert!(
        told.stdout.contains("m.sql: statement 2 of 3, 00:0"),
        "{:?}",
        told.stdout
    );
    assert!(looks >= 2, "{looks} looks");
    // Into a pipe, or with -q: nothing is told, and nothing is asked for it but what was done, at the end.
    for flags in ["", "-q"] {
        let before = scene.calls_so_far();
        let line = format!(
            "bq-run --unprotected --no-foresight {flags} m.sql 2>&1 >{}.stream",
            if flags.is_empty() { "pipe" } else { "q" }
        );
        let line = match flags {
            "" => line,
            _ => format!("\"$PYTHON\" \"$TERMINAL\" 100 '{line}'"),
        };
        let quiet = scene.sh(&line);
        quiet.expect(0, flags);
        assert!(!quiet.stdout.contains("statement"), "{:?}", quiet.stdout);
        assert_eq!(listed(&scene, before), 1);
    }
    drop(scene.end());
}
