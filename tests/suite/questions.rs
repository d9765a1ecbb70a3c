//! The user's own questions, `bq-check --sql`: what they are given, what they are answered, and what is never sent.

use std::fs;

use serde_json::{Value, json};
use tests::gateway::Call;

use crate::scene::{self, PROJECT, Scene};
use crate::world::Machine;

/// A dataset with a table of three rows, and a run that swapped one of them for another: as many rows as before.
fn migrated(dataset: &str) -> Scene {
    let scene = Scene::at(&scene::shared());
    scene.write(
        "setup.sql",
        &format!(
            "CREATE SCHEMA {dataset}; CREATE TABLE {dataset}.t (id INT64 NOT NULL, name STRING);
             INSERT INTO {dataset}.t VALUES (1, 'a'), (2, 'b'), (3, NULL);"
        ),
    );
    scene.write(
        "m.sql",
        &format!("DELETE FROM {dataset}.t WHERE id = 2; INSERT INTO {dataset}.t VALUES (4, 'd')"),
    );
    let line = format!(
        "bq-run -q --run {dataset}_setup --unprotected setup.sql >setup.stream &&
         bq-snap -q --run {dataset} {dataset}.t | bq-run -q m.sql >ran.stream"
    );
    scene.sh(&line).expect(0, "the run");
    scene
}

/// What a bq-check that changes nothing says of these files, each with its text: its status, the checks of `--sql`, and what is on stderr.
fn asked(scene: &Scene, flags: &str, files: &[(&str, &str)]) -> (i32, Vec<Value>, String) {
    let _ = fs::remove_dir_all(scene.path("checks"));
    fs::create_dir(scene.path("checks")).unwrap();
    for (name, text) in files {
        scene.write(&format!("checks/{name}"), text);
    }
    let ended = scene.sh(&format!(
        "bq-check -n --retry-for 5s {flags} <ran.stream >checked.stream"
    ));
    let checks = checks(&scene.read("checked.stream"));
    (ended.status.unwrap(), checks, ended.stderr)
}

/// The records of `--sql` in a stream.
fn checks(stream: &str) -> Vec<Value> {
    let records = stream.lines().map(|line| serde_json::from_str(line).unwrap());
    records
        .filter(|record: &Value| record["name"].as_str().is_some_and(|name| name.starts_with("sql:")))
        .collect()
}

/// A check's name, whether it held, and what it got.
fn said(check: &Value) -> (&str, Option<bool>, &str) {
    let text = |key: &str| check[key].as_str().unwrap();
    (&text("name")[4..], check["ok"].as_bool(), text("got"))
}

/// The SQL that was really sent, less the counting of tables.
fn sent(calls: &[Call]) -> Vec<&str> {
    let sent = calls
        .iter()
        .filter(|call| call.method == "POST" && call.path.ends_with("/jobs"))
        .filter(|call| call.body["configuration"]["dryRun"] != true);
    let sql = sent.filter_map(|call| call.body["configuration"]["query"]["query"].as_str());
    sql.filter(|sql| !sql.starts_with("SELECT 0 AS i, COUNT(*)")).collect()
}

/// Rows that were there before and are not now: `TABLE` is the dataset's.
const VANISHED: &str = "-- name: no row has vanished
SELECT b.id, b.name FROM ${before:DATASET.t} AS b LEFT JOIN DATASET.t AS t ON t.id = b.id WHERE t.id IS NULL";

#[test]
fn before_and_after_are_joined() {
    let scene = migrated("q_join");
    let vanished = VANISHED.replace("DATASET", "q_join");
    let with_project = vanished
        .replace("${before:q_join.t}", &format!("`${{before:{PROJECT}.q_join.t}}`"))
        .replace("has vanished", "of the project has vanished");
    let files = [
        ("a.sql", vanished.as_str()),
        ("b.sql", with_project.as_str()),
        ("c.sql", "SELECT 1 FROM ${before:q_join.t} HAVING COUNT(*) <> 3"),
        (
            "d.sql",
            "-- severity: warn\nASSERT (SELECT COUNT(*) FROM ${before:q_join.t}) = 4 AS 'four'",
        ),
    ];
    let so_far = scene.calls_so_far();
    let (status, checks, stderr) = asked(&scene, "--sql checks", &files);
    assert_eq!(status, 1, "{stderr}");
    assert_eq!(
        checks.iter().map(said).collect::<Vec<_>>(),
        [
            ("no row has vanished", Some(false), "1 row"),
            ("no row of the project has vanished", Some(false), "1 row"),
            ("c", Some(true), "no rows"),
            ("d", Some(false), "four"),
        ]
    );
    for check in &checks[..2] {
        assert_eq!(check["detail"], json!([{ "id": "2", "name": "b" }]));
    }
    assert_eq!(checks[3]["severity"], "warn");
    let calls = scene.calls_since(so_far);
    let copy = format!("`{PROJECT}.q_join.t_snapshot_q_join`");
    let sent = sent(&calls);
    assert_eq!(sent.len(), 4, "{sent:#?}");
    assert!(sent.iter().all(|sql| sql.matches(&copy).count() == 1), "{sent:#?}");

    // The same from the journal, and for real.
    for (script, stream) in [
        (
            "bq-check -q -n --run q_join --sql checks >journal.stream </dev/null",
            "journal.stream",
        ),
        ("bq-check -q --sql checks <ran.stream >real.stream", "real.stream"),
    ] {
        scene.sh(script).expect(1, script);
        assert_eq!(self::checks(&scene.read(stream)), checks, "{script}");
    }
    scene.sh("bq-restore -q >restored.stream").expect(10, "bq-restore");

    // Where nothing is made and nothing is changed, the table is what it was.
    let dry = scene.sh("bq-snap -q -n q_join.t | bq-run -q -n m.sql | bq-check -q -n --sql checks/a.sql >dry.stream");
    dry.expect(0, "the dry line");
    assert_eq!(said(&self::checks(&scene.read("dry.stream"))[0]).1, Some(true));
    drop(scene.end());
}

#[test]
fn parameters_and_variables_are_those_of_bq_run() {
    let mut scene = migrated("q_vars");
    scene.set("PROD_DATASET", "q_vars");
    let files = [
        (
            "a.sql",
            "SELECT id FROM `${PROJECT_ID}.${PROD_DATASET}.t` WHERE id > @most",
        ),
        (
            "b.sql",
            "SELECT id FROM ${PROD_DATASET}.${TABLE} WHERE name = @name OR '$${x}' = 'x'",
        ),
        ("c.sql", "ASSERT (SELECT COUNT(*) FROM q_vars.t) < @most AS 'few'"),
    ];
    let flags = "--sql checks --param most:INT64:3 --param name::none --var TABLE=t";
    let (status, checks, stderr) = asked(&scene, flags, &files);
    assert_eq!(status, 1, "{stderr}");
    assert_eq!(
        checks.iter().map(said).collect::<Vec<_>>(),
        [
            ("a", Some(false), "1 row"),
            ("b", Some(true), "no rows"),
            ("c", Some(false), "few")
        ]
    );
    let so_far = scene.calls_so_far();
    let flags = format!("{} --max-bytes-billed 20000000", flags.replace("3", "4"));
    let (status, checks, stderr) = asked(&scene, &flags, &files);
    assert_eq!(status, 0, "{stderr}");
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:#?}");
    // Whatever is sent for them may bill no more than that.
    let calls = scene.calls_since(so_far);
    let of_checks = calls.iter().filter(|call| {
        let id = call.body["jobReference"]["jobId"].as_str();
        call.method == "POST" && id.is_some_and(|id| id.contains("-check-"))
    });
    let limits: Vec<&Value> = of_checks
        .map(|call| &call.body["configuration"]["query"]["maximumBytesBilled"])
        .collect();
    assert_eq!(limits, ["20000000"; 3]);

    let (status, checks, _) = asked(
        &scene,
        "--sql checks --no-vars",
        &[("a.sql", "SELECT 1 WHERE '${x}' = 'x'")],
    );
    assert_eq!((status, said(&checks[0])), (0, ("a", Some(true), "no rows")));
    drop(scene.end());
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is() {
    let scene = migrated("q_bad");
    scene.sh("bq-count -q q_bad.t >count.stream").expect(0, "bq-count");
    fs::create_dir(scene.path("empty")).unwrap();
    fs::write(scene.path("latin.sql"), b"SELECT 1;\nSELECT '\xe9'").unwrap();
    scene.write("nul.sql", "SELECT 1;\n\nSELECT '\0'");
    let refused = |script: &str, what: &str, at: &str| {
        let so_far = scene.calls_so_far();
        let ended = scene.sh(script);
        ended.expect(2, script);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines[0].ends_with(what), "{script}: {}", ended.stderr);
        assert_eq!(lines[1], format!("at: {at}"), "{script}");
        assert!(lines[2].starts_with("hint: "), "{script}");
        let calls = scene.calls_since(so_far);
        assert!(calls.is_empty(), "{script}: {calls:#?}");
    };
    for (text, what, at) in [
        ("", "the check holds no statement", "c.sql"),
        (" \n-- nothing\n;;", "the check holds no statement", "c.sql"),
        (
            "SELECT 1;\nSELECT ${NO} ",
            "`${NO}` has no value",
            "c.sql, line 2, column 8",
        ),
        ("SELECT '${x'", "`${` without `}`", "c.sql, line 1, column 9"),
        ("\n-- severity: bad\nSELECT 1", "`bad` is no severity", "c.sql, line 2"),
        (
            "SELECT 1;\r\n-- one\rSELECT 2",
            "the check holds a carriage return without a line feed",
            "c.sql, line 2, column 7",
        ),
        (
            "CREATE TEMP FUNCTION f() AS (1);",
            "no query follows the temporary function",
            "c.sql, line 1",
        ),
        (
            "SELECT * FROM ${before:t}",
            "`t` is not a table as dataset.table or project.dataset.table",
            "c.sql, line 1, column 15",
        ),
        (
            "SELECT 1\nFROM ${before:q_bad.u}",
            "`q_bad.u` is not in the stream",
            "c.sql, line 2, column 6",
        ),
    ] {
        scene.write("c.sql", text);
        refused("bq-check -n --sql c.sql <ran.stream >x", what, at);
    }
    scene.write("c.sql", "SELECT 1 FROM ${before:q_bad.t}");
    refused(
        "bq-check --sql c.sql <count.stream >x",
        "`${before:q_bad.t}` stands for nothing: a stream of counts has no snapshots",
        "c.sql, line 1, column 15",
    );
    scene.write("c.sql", "SELECT 1");
    for (flags, what, at) in [
        ("--sql empty", "the directory holds no .sql file", "empty"),
        ("--sql none.sql", "No such file or directory (os error 2)", "none.sql"),
        (
            "--sql latin.sql",
            "the check is not UTF-8",
            "latin.sql, line 2, column 9",
        ),
        (
            "--sql nul.sql",
            "the check holds a NUL byte",
            "nul.sql, line 3, column 9",
        ),
        ("--sql c.sql --param a", "or name::value (a STRING)", "--param"),
        ("--sql c.sql --var 'V=a b'", "is not a name: `a b`", "--var"),
        (
            "--sql c.sql --timeout soon",
            "`soon` is no length of time (write 90s, 30m, 24h, 7d)",
            "--timeout",
        ),
        (
            "--sql c.sql --timeout 0s",
            "no question is answered in no time",
            "--timeout",
        ),
    ] {
        refused(&format!("bq-check -n {flags} <ran.stream >x"), what, at);
    }
    // For real, such a run is rejected: nobody has answered for it.
    fs::remove_file(scene.path("latin.sql")).unwrap();
    scene.write("c.sql", "SELECT 1 FROM ${before:q_bad.u}");
    scene
        .sh("bq-check -q --sql c.sql <ran.stream >real.stream")
        .expect(2, "for real");
    assert!(scene.read("real.stream").contains("\"accepted\":false"));
    scene.sh("bq-restore -q >restored.stream").expect(10, "bq-restore");
    drop(scene.end());
}

#[test]
fn a_check_that_does_more_than_read_is_never_sent() {
    let scene = migrated("q_write");
    let before = scene.look(".*", &["q_write"]);
    let statements = [
        "INSERT INTO q_write.t VALUES (9, 'x')",
        "UPDATE q_write.t SET name = 'x' WHERE TRUE",
        "DELETE FROM q_write.t WHERE TRUE",
        "MERGE q_write.t AS t USING q_write.t AS s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE q_write.t",
        "CREATE TABLE q_write.new AS SELECT 1 AS a",
        "CREATE OR REPLACE VIEW q_write.v AS SELECT 1 AS a",
        "CREATE TEMP TABLE x AS SELECT 1 AS a",
        "CREATE FUNCTION q_write.f() AS (1)",
        "ALTER TABLE q_write.t ADD COLUMN z INT64",
        "DROP TABLE q_write.t",
        "EXPORT DATA OPTIONS(uri = 'gs://b/*.csv', format = 'CSV') AS SELECT 1 AS a",
        "EXECUTE IMMEDIATE 'DROP TABLE q_write.t'",
        "CALL q_write.p()",
        "DECLARE x INT64 DEFAULT 1",
        "BEGIN TRANSACTION",
        // Two statements, the second of which a lexer that ends raw literals too early takes for a text in quotes.
        "DELETE FROM q_write.t WHERE name = r'\\' = ' ; DROP TABLE q_write.t; -- '",
    ];
    let names: Vec<String> = (0..statements.len()).map(|i| format!("{i:02}.sql")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(statements).collect();
    // A block comes in pieces, none of which does what the block would.
    let block = "BEGIN INSERT INTO q_write.t VALUES (9, 'x'); DROP TABLE q_write.t; END";
    let function = "CREATE TEMP FUNCTION f() AS (1); INSERT INTO q_write.t VALUES (f(), 'x')";
    files.extend([
        ("block.sql", block),
        ("function.sql", function),
        ("z.sql", "SELECT 'sent' AS a"),
    ]);
    let so_far = scene.calls_so_far();
    let (status, checks, stderr) = asked(&scene, "--sql checks", &files);
    assert_eq!(status, 1, "{stderr}");
    let (last, others) = checks.split_last().unwrap();
    assert_eq!(said(last), ("z", Some(false), "1 row"));
    assert_eq!(others.len(), statements.len() + 5);
    for check in others {
        let (name, ok, got) = said(check);
        assert_eq!(ok, None, "{name}: {got}");
        assert!(got.starts_with("could not be asked: "), "{name}: {got}");
    }
    let got = |name: &str| {
        let found = others.iter().map(said).find(|(found, ..)| *found == name);
        found.unwrap_or_else(|| panic!("no {name}")).2
    };
    assert_eq!(
        got("00"),
        "could not be asked: it is a INSERT, and a check must not write"
    );
    assert!(got("05").contains("it is a CREATE_TABLE_AS_SELECT"), "{}", got("05"));
    assert!(got("12").contains("it is a script"), "{}", got("12"));
    assert!(got("16#2").contains("it is a DROP_TABLE"), "{}", got("16#2"));
    assert!(got("14").contains("it is a script"), "{}", got("14"));
    let calls = scene.calls_since(so_far);
    assert_eq!(sent(&calls), ["SELECT 'sent' AS a"]);
    assert_eq!(scene.look(".*", &["q_write"]), before);
}

#[test]
fn what_fails_is_told_from_what_does_not_hold() {
    let scene = migrated("q_fail");
    let files = [
        (
            "a.sql",
            "ASSERT (SELECT MIN(id) FROM q_fail.t) > 0 AS 'ids are positive'",
        ),
        (
            "b.sql",
            "ASSERT (SELECT MIN(id) FROM q_fail.t) > 1 AS \"it's more  than one\"",
        ),
        ("c.sql", "ASSERT (SELECT MIN(id) FROM q_fail.t) > 1"),
        (
            "d.sql",
            "ASSERT (SELECT MAX(1 / (id - 1)) FROM q_fail.t) > 1 AS 'division by zero'",
        ),
        ("e.sql", "SELECT id, 1 / (id - 1) AS x FROM q_fail.t"),
        ("f.sql", "-- name: missing\n\nSELECT id,\n  nobody\nFROM q_fail.t"),
        ("g.sql", "SELECT 1 AS a;\n-- far down\nSELECT * FROM q_fail.none"),
        ("h.sql", "SELECT id FROM q_fail.t WHERE id > @most"),
    ];
    let (status, checks, stderr) = asked(&scene, "--sql checks", &files);
    assert_eq!(status, 1, "{stderr}");
    let told: Vec<_> = checks.iter().map(said).collect();
    assert_eq!(told[0], ("a", Some(true), "no rows"));
    assert_eq!(
        (told[1].1, checks[1]["want"].as_str()),
        (Some(false), Some("the assertion to hold"))
    );
    assert!(
        told[2].1 == Some(false) && told[2].2.starts_with("Assertion failed"),
        "{:?}",
        told[2]
    );
    for (i, place) in [
        (3, "checks/d.sql, line 1"),
        (4, "checks/e.sql, line 1"),
        (5, "checks/f.sql, line 3"),
        (7, "checks/g.sql, line 3"),
        (8, "checks/h.sql, line 1"),
    ] {
        let (name, ok, got) = told[i];
        assert_eq!(ok, None, "{name}: {got}");
        assert!(
            got.starts_with("could not be asked: ") && got.contains(place),
            "{name}: {got}"
        );
    }
    assert_eq!(told[5].0, "missing");
    assert_eq!(told[6], ("g#1", Some(false), "1 row"));
}

#[test]
fn a_warning_does_not_keep_a_run_from_being_accepted() {
    let scene = migrated("q_warn");
    scene.write("w.sql", "-- name: w\n-- Severity: Warn\nSELECT id FROM q_warn.t");
    let ended = scene.sh("bq-check -q --sql w.sql <ran.stream >checked.stream");
    ended.expect(0, "a warning");
    let stream = scene.read("checked.stream");
    assert!(stream.contains("\"accepted\":true"), "{stream}");
    assert_eq!(said(&checks(&stream)[0]), ("w", Some(false), "3 rows"));
    drop(scene.end());
}

#[test]
fn every_file_is_asked_once_and_every_record_names_its_own() {
    let scene = migrated("q_names");
    scene.write("other.sql", "-- name: a\nSELECT 1 AS other");
    scene.write("a.sql", "SELECT 1 AS working_directory");
    let function = "CREATE TEMP FUNCTION twice(n INT64) AS (n * 2);";
    let with_function =
        format!("-- name: even\n{function}\nSELECT twice(id) FROM q_names.t WHERE MOD(twice(id), 2) <> 0");
    let files = [
        ("a.sql", "SELECT 1 AS first"),
        (".b.sql", "INSERT nothing"),
        ("b.txt", "INSERT nothing"),
        ("c.sql", "SELECT 1; SELECT 2"),
        ("f.sql", &with_function),
        (
            "long.sql",
            "SELECT REPEAT('x', 300000) AS text, n FROM UNNEST(GENERATE_ARRAY(1, 20)) AS n",
        ),
    ];
    let flags = "-j 3 --sql checks --sql other.sql --sql checks/a.sql --sql ./checks/../checks --sql a.sql";
    let (status, checks, stderr) = asked(&scene, flags, &files);
    assert_eq!(status, 1, "{stderr}");
    assert_eq!(
        checks.iter().map(said).collect::<Vec<_>>(),
        [
            ("a", Some(false), "1 row"),
            ("c#1", Some(false), "1 row"),
            ("c#2", Some(false), "1 row"),
            ("even", Some(true), "no rows"),
            ("long", Some(false), "10 rows or more, shown in part"),
            ("a#2", Some(false), "1 row"),
            ("a#3", Some(false), "1 row"),
        ]
    );
    let long = &checks[4]["detail"];
    assert_eq!(long.as_array().unwrap().len(), 10);
    assert!(long[9]["text"].as_str().unwrap().ends_with("… (300000 characters)"));
    assert_eq!(checks[6]["detail"], json!([{ "working_directory": "1" }]));
    drop(scene.end());
}

#[test]
fn counts_can_be_questioned_too() {
    let scene = migrated("q_count");
    scene.write("c.sql", "SELECT id FROM q_count.t WHERE id = @id");
    for (id, status) in [(4, 1), (2, 0)] {
        let line = format!("bq-count -q q_count.t | bq-check -q --sql c.sql --param id:INT64:{id} >c{id}.stream");
        scene.sh(&line).expect(status, &line);
    }
    drop(scene.end());
}

#[test]
fn a_check_that_takes_too_long_is_cancelled() {
    let machine = Machine::new(21);
    fs::write(machine.path("m.sql"), "INSERT INTO d.stock VALUES ('jug', 1)").unwrap();
    fs::write(
        machine.path("slow.sql"),
        "-- name: slow\nSELECT * FROM d.stock WHERE n < 0",
    )
    .unwrap();
    let (status, stderr) = machine.sh("bq-snap -q --run r d.stock | bq-run -q m.sql >ran");
    assert_eq!(status, Some(0), "{stderr}");
    machine.world.hold_job("-check-");
    let (status, stderr) = machine.sh("bq-count -q d.stock | bq-check -q --timeout 300ms --sql slow.sql >counted");
    assert_eq!(status, Some(7), "{stderr}");
    let (status, stderr) = machine.sh("bq-check -q --timeout 300ms --sql slow.sql <ran >checked");
    assert_eq!(status, Some(7), "{stderr}");
    let stream = fs::read_to_string(machine.path("checked")).unwrap();
    let checks = checks(&stream);
    let (name, ok, got) = said(&checks[0]);
    assert_eq!((name, ok), ("slow", None));
    assert!(
        got.starts_with("could not be asked: it took longer than 300ms, and was cancelled (job bq-rollback-check-"),
        "{got}"
    );
    assert!(stream.contains("\"accepted\":false"), "{stream}");
    let (status, stderr) = machine.sh("bq-restore -q >restored");
    assert_eq!(status, Some(10), "{stderr}");
    // It has ended by then, and not by itself.
    let jobs = machine.world.jobs();
    let slow: Vec<_> = jobs.iter().filter(|job| job.id.contains("-check-")).collect();
    assert_eq!(slow.len(), 2, "of the counts, and of the run");
    assert_eq!(slow[0].state, "DONE");
    assert!(
        slow[0].error.as_ref().is_some_and(|e| e.ends_with("(stopped)")),
        "{:?}",
        slow[0].error
    );
    machine.no_violations();
}
