//! What bq-run knows of a script before it runs it, on a real SQL engine: what each statement would write, what of it BigQuery finds valid,
//! and that a write outside the protected set is stopped before anything is submitted.

use std::path::Path;

use serde_json::Value;
use tests::gateway::Call;

use crate::bq_local;
use crate::scene::{self, Ended, PROJECT, Scene};
use crate::world::Machine;

/// The jobs that were inserted, dry runs apart, since so many calls; and how many dry runs.
fn inserted(scene: &Scene, since: usize) -> (Vec<String>, usize) {
    let calls = scene.calls_since(since);
    let is_insert = |call: &&Call| call.method == "POST" && call.path.ends_with("/jobs");
    let (dry, real): (Vec<&Call>, Vec<&Call>) = calls
        .iter()
        .filter(is_insert)
        .partition(|call| call.body["configuration"]["dryRun"] == true);
    let sql = |call: &&Call| {
        call.body["configuration"]["query"]["query"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (real.iter().map(sql).collect(), dry.len())
}

/// What was foreseen of each file of a stream.
fn foreseen(stream: &str) -> Vec<Value> {
    let records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .filter(|record| record["type"] == "migration")
        .map(|mut record| record["foreseen"].take())
        .collect()
}

/// Number, verdict and why of each statement.
fn verdicts(foreseen: &Value) -> Vec<(u64, String, String)> {
    let statements = foreseen["statements"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    statements
        .map(|s| (s["number"].as_u64().unwrap(), text(&s["verdict"]), text(&s["why"])))
        .collect()
}

fn full(name: &str) -> String {
    format!("{PROJECT}.{name}")
}

#[test]
fn the_examples_good_migration_is_foreseen_whole() {
    let _machine = scene::share_the_machine();
    let server = bq_local::another();
    let mut scene = Scene::at(server.url());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/diagnostic");
    scene.set("EXAMPLE", example.to_str().unwrap());
    scene.set("STAGING_DATASET", "repair_diagnostics");
    scene.set("PROD_DATASET", "diagnosticpro_prod");
    scene
        .sh("bq-run --unprotected -q \"$EXAMPLE/setup.sql\" >setup.stream")
        .expect(0, "setup.sql");
    let with = "--param min_confidence:FLOAT64:0.6 --param batch_label:STRING:2025-week-40";
    let before = scene.calls_so_far();
    scene
        .sh(&format!(
            "bq-snap -n -q -f \"$EXAMPLE/tables.csv\" | bq-run -n -q --min-coverage 100% {with} \"$EXAMPLE/merge_templates.sql\" >good.stream"
        ))
        .expect(0, "the good migration");
    let foreseen_whole = &foreseen(&scene.read("good.stream"))[0];
    assert_eq!(foreseen_whole["coverage"], 100, "{foreseen_whole}");
    assert_eq!(foreseen_whole["validated"], 4);
    let writes = [
        "dtc_codes_github",
        "reddit_diagnostic_posts",
        "youtube_repair_videos",
        "equipment_registry",
    ];
    let writes = writes.map(|table| full(&format!("diagnosticpro_prod.{table}")));
    assert_eq!(foreseen_whole["writes"], serde_json::json!(writes));
    assert!(foreseen_whole["bytes"].as_u64().unwrap() > 0, "{foreseen_whole}");
    assert!(foreseen_whole["cost_usd"].is_number() && foreseen_whole["price_per_tib"] == 6.25);
    assert_eq!(
        inserted(&scene, before)
            .0
            .iter()
            .filter(|sql| sql.contains("MERGE"))
            .count(),
        0
    );

    let table = scene.sh(&format!(
        "bq-snap -n -q -f \"$EXAMPLE/tables.csv\" | bq-run -n -q --format table {with} \"$EXAMPLE/merge_templates.sql\""
    ));
    let shown = table.expect(0, "for people").stdout.clone();
    let line_of = |what: &str| {
        shown
            .lines()
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what}: {shown}"))
    };
    let merge = line_of("diagnosticpro_prod.dtc_codes_github");
    assert!(
        merge.contains("MERGE") && merge.contains('$') && merge.ends_with("yes"),
        "{merge}"
    );
    assert!(line_of("merge_templates.sql").contains("100 %"), "{shown}");
    assert!(
        line_of("each for itself")
            .trim_start()
            .starts_with("line 10: 4 statements"),
        "{shown}"
    );

    // The same, and a table that nobody protects.
    let good = std::fs::read_to_string(example.join("merge_templates.sql")).unwrap();
    scene.write(
        "other.sql",
        "CREATE TABLE diagnosticpro_prod.unlisted AS SELECT 1 AS a;",
    );
    scene
        .sh("bq-run --unprotected -q --run unlisted other.sql >unlisted.stream")
        .expect(0, "another table");
    scene.write(
        "stray.sql",
        &format!("{good}\n  UPDATE diagnosticpro_prod.unlisted\nSET a = 2 WHERE TRUE;\n"),
    );
    let line = |flags: &str| {
        format!("bq-snap -n -q -f \"$EXAMPLE/tables.csv\" | bq-run -n -q {flags} {with} stray.sql >stray.stream")
    };
    let before = scene.calls_so_far();
    let refused = scene.sh(&line(""));
    refused.expect(4, "an unlisted table");
    let last = good.lines().count() + 2;
    let table = full("diagnosticpro_prod.unlisted");
    let wanted = format!(
        "statement 6 (UPDATE) writes table `{table}`, which is not protected\nat: stray.sql, line {last}, column 10\n"
    );
    assert!(refused.stderr.contains(&wanted), "{}", refused.stderr);
    assert!(
        refused.stderr.contains(&format!("`--allow-unprotected {table}`")),
        "{}",
        refused.stderr
    );
    let (real, dry) = inserted(&scene, before);
    assert!(
        real.iter().all(|sql| !sql.contains("UPDATE") && !sql.contains("MERGE")),
        "{real:?}"
    );
    assert_eq!(dry, 6, "the whole, and five statements");
    // The records are there all the same, for a person to see all of it.
    assert_eq!(foreseen(&scene.read("stray.stream"))[0]["coverage"], 100);
    scene
        .sh(&line("--allow-unprotected diagnosticpro_prod.unlisted"))
        .expect(0, "allowed");
    scene
        .sh(&line("--allow-opaque --allow-irreversible"))
        .expect(4, "allowed something else");
    drop(scene.end());
}

/// A dataset of a scene's own with two tables, one of them protected.
fn small(name: &str) -> Scene {
    let mut scene = Scene::at(&scene::shared());
    scene.set("D", name);
    scene.write(
        "setup.sql",
        &format!(
            "CREATE SCHEMA {name}; CREATE TABLE {name}.a AS SELECT 1 AS id, 'x' AS word;
             CREATE TABLE {name}.other AS SELECT 1 AS id; CREATE VIEW {name}.v AS SELECT 1 AS id;
             CREATE FUNCTION {name}.f() AS (1); CREATE SCHEMA {name}_else;"
        ),
    );
    let setup = format!("bq-run -q --run setup_{name} --unprotected setup.sql >setup.stream");
    scene.sh(&setup).expect(0, "setup");
    scene
}

fn plan(scene: &Scene, flags: &str, files: &str) -> Ended {
    scene.sh(&format!(
        "bq-snap -n -q \"$D\".a >snap.stream; bq-run -n -q {flags} {files} <snap.stream >plan.stream"
    ))
}

#[test]
fn each_flag_lets_its_own_thing_pass() {
    let scene = small("radius");
    for (sql, flag) in [
        (
            "UPDATE radius.other SET id = 2 WHERE TRUE",
            "--allow-unprotected radius.other",
        ),
        ("DROP VIEW radius.v", "--allow-unprotected radius.v"),
        (
            "CREATE OR REPLACE TABLE radius.other AS SELECT 2 AS id",
            "--allow-unprotected radius.other",
        ),
        (
            "CREATE OR REPLACE FUNCTION radius.f() AS (2)",
            "--allow-unprotected radius.f",
        ),
        ("EXECUTE IMMEDIATE 'SELECT 1'", "--allow-opaque"),
        (
            "DROP SCHEMA radius_else CASCADE",
            "--allow-irreversible --allow-unprotected radius_else",
        ),
    ] {
        scene.write("m.sql", &format!("{sql};\n"));
        let flags = [
            "--allow-unprotected radius.other",
            "--allow-unprotected radius.v",
            "--allow-unprotected radius.f",
            "--allow-opaque",
            "--allow-irreversible",
            "--allow-irreversible --allow-unprotected radius_else",
        ];
        for given in flags {
            let ended = plan(&scene, &format!("--no-foresight {given}"), "m.sql");
            ended.expect(if given == flag { 0 } else { 4 }, &format!("{sql} with {given}"));
        }
    }
    for (sql, what) in [
        ("DROP SCHEMA radius CASCADE", "a dataset with protected tables"),
        ("DROP SNAPSHOT TABLE radius.a_snapshot_fixed", "its own snapshot"),
        (
            "EXECUTE IMMEDIATE 'DROP SNAPSHOT TABLE radius.a_snapshot_fixed'",
            "its own snapshot, in a literal",
        ),
        (
            "DROP SNAPSHOT TABLE a_snapshot_fixed",
            "its own snapshot, in a dataset that is not said",
        ),
    ] {
        scene.write("m.sql", sql);
        let all = "--run fixed --allow-unprotected radius.a_snapshot_fixed --allow-irreversible --allow-opaque --no-foresight";
        let line = format!(
            "bq-snap -n -q --run fixed \"$D\".a >snap.stream; bq-run -n -q {all} m.sql <snap.stream >plan.stream"
        );
        let ended = scene.sh(&line);
        ended.expect(4, what);
        assert!(ended.stderr.contains("no flag lets it pass"), "{}", ended.stderr);
    }
    for sql in [
        "DROP TABLE IF EXISTS radius.none",
        "DROP SCHEMA IF EXISTS radius_none",
        "CREATE TABLE radius.fresh AS SELECT 1 AS a",
        "DELETE FROM radius.a WHERE id = 9",
    ] {
        scene.write("m.sql", sql);
        plan(&scene, "", "m.sql").expect(0, sql);
    }
    drop(scene.end());
}

#[test]
fn a_refused_run_says_what_it_would_have_done_and_has_done_nothing() {
    let scene = small("refused");
    scene.write("good.sql", "DELETE FROM refused.a WHERE TRUE;\n");
    scene.write("stray.sql", "UPDATE refused.other SET id = 2 WHERE TRUE;\n");
    let line = "bq-snap -q --run held \"$D\".a | bq-run -q good.sql stray.sql | tee refused.stream \
        | bq-check -q >checked.stream || bq-restore -q";
    let before = scene.calls_so_far();
    let ended = scene.sh(line);
    ended.expect(1, "nothing to put back");
    assert!(ended.stderr.contains("writes table"), "{}", ended.stderr);
    let (real, _) = inserted(&scene, before);
    assert!(
        real.iter()
            .all(|sql| !sql.contains("DELETE") && !sql.contains("UPDATE")),
        "{real:?}"
    );
    let stream = scene.read("refused.stream");
    let records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (files, others): (Vec<Value>, Vec<Value>) = records.partition(|record| record["type"] == "migration");
    for (file, (source, table)) in files
        .iter()
        .zip([("good.sql", "refused.a"), ("stray.sql", "refused.other")])
    {
        assert_eq!(
            (&file["source"], &file["state"]),
            (&source.into(), &"refused".into()),
            "{file}"
        );
        assert!(file["job"].is_null() && file["bytes_billed"].is_null(), "{file}");
        assert_eq!(file["foreseen"]["statements"][0]["effects"][0]["name"], full(table));
        assert!(
            file["error"]
                .as_str()
                .unwrap()
                .ends_with(" at stray.sql, line 1, column 8"),
            "{file}"
        );
    }
    assert_eq!((files.len(), &others.last().unwrap()["count"]), (2, &2.into()));
    // It is no run that was submitted, for a reader with the journal or without.
    assert!(scene.read("checked.stream").contains("\"accepted\":false"));
    let elsewhere = scene.sh("bq-check -q --state-dir elsewhere <refused.stream >elsewhere.stream");
    elsewhere.expect(5, "a broken stream");
    scene
        .sh("bq-restore -q --state-dir elsewhere")
        .expect(1, "nothing pending there");
    let listed = scene.sh("bq-restore --list");
    assert!(
        listed
            .stdout
            .contains("\"pending\":false,\"run\":\"held\",\"state\":\"protected\""),
        "{}",
        listed.stdout
    );
    drop(scene.end());
}

#[test]
fn what_is_not_there_yet_is_told_from_what_is_wrong() {
    let scene = small("depends");
    scene.write(
        "m.sql",
        "CREATE TABLE depends.fresh AS SELECT 1 AS n;\nINSERT INTO depends.a SELECT n, 'y' FROM depends.fresh;\nSELECT nothing FROM depends.fresh;\n",
    );
    plan(&scene, "", "m.sql").expect(0, "it cannot be known");
    let found = foreseen(&scene.read("plan.stream"));
    let why = format!("reads {}, which statement 1 makes", full("depends.fresh"));
    assert_eq!(
        verdicts(&found[0]),
        [
            (1, "validated".into(), String::new()),
            (2, "not_knowable".into(), why.clone()),
            (3, "not_knowable".into(), why),
        ]
    );
    assert_eq!(found[0]["coverage"], 33);
    assert_eq!(found[0]["new"], serde_json::json!([full("depends.fresh")]));
    let ended = plan(&scene, "--min-coverage 34%", "m.sql");
    ended.expect(4, "too little is known");
    assert!(ended.stderr.contains("statement 2 of line 2"), "{}", ended.stderr);
    plan(&scene, "--min-coverage 33", "m.sql").expect(0, "enough is known");

    // Nothing was there, so that to drop it changes nothing; and where only the target is another, the query tells.
    scene.write(
        "made.sql",
        "DROP TABLE IF EXISTS depends.fresh;\nCREATE TABLE depends.fresh AS SELECT 1 AS n;\nDROP TABLE depends.a;\n\
         CREATE TABLE depends.a AS SELECT id FROM depends.other;\nINSERT INTO depends.fresh SELECT id FROM depends.other;\n",
    );
    plan(&scene, "", "made.sql").expect(0, "what was dropped is made again");
    let found = foreseen(&scene.read("plan.stream"));
    let words: Vec<String> = verdicts(&found[0]).into_iter().map(|(_, word, _)| word).collect();
    assert_eq!(
        words,
        ["validated", "validated", "validated", "validated", "not_knowable"]
    );
    scene.write(
        "made.sql",
        "CREATE TABLE depends.fresh AS SELECT 1 AS n;\nINSERT INTO depends.fresh SELECT idd FROM depends.other;\n",
    );
    // That too little is known says nothing where the file is wrong.
    let ended = plan(&scene, "--min-coverage 100%", "made.sql");
    ended.expect(1, "a query that is wrong whatever its rows are put into");
    assert!(
        ended
            .stderr
            .contains("made.sql: BigQuery finds statement 2 (INSERT) wrong"),
        "{}",
        ended.stderr
    );

    // Behind a DDL statement, where BigQuery's own dry run of the script stops.
    scene.write(
        "wrong.sql",
        "CREATE TABLE depends.fresh AS SELECT 1 AS n;\nSELECT 1;\nSELECT 2;\n\nUPDATE depends.a\nSET wordd = 'z' WHERE TRUE;\n",
    );
    let before = scene.calls_so_far();
    let ended = plan(&scene, "", "wrong.sql");
    ended.expect(1, "a column that is not there");
    assert!(
        ended
            .stderr
            .contains("wrong.sql: BigQuery finds statement 4 (UPDATE) wrong"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("at: wrong.sql, line "), "{}", ended.stderr);
    assert!(inserted(&scene, before).0.iter().all(|sql| !sql.contains("UPDATE")));

    // The second file rests on the first.
    scene.write("one.sql", "CREATE TABLE depends.fresh AS SELECT 1 AS n;");
    scene.write("two.sql", "INSERT INTO depends.a SELECT n, 'y' FROM depends.fresh;");
    plan(&scene, "", "one.sql two.sql").expect(0, "two files");
    let found = foreseen(&scene.read("plan.stream"));
    let why = format!("reads {}, which statement 1 of one.sql makes", full("depends.fresh"));
    assert_eq!(verdicts(&found[1]), [(1, "not_knowable".into(), why)]);
    drop(scene.end());
}

#[test]
fn statements_are_asked_about_with_what_they_need() {
    let scene = small("needs");
    scene.write(
        "m.sql",
        "DECLARE least INT64 DEFAULT (SELECT MIN(id) FROM needs.a);
DECLARE label STRING DEFAULT 'z';
CREATE TEMP FUNCTION twice(x INT64) AS (x * 2);
CREATE TEMP TABLE few AS SELECT id FROM needs.a;
IF (SELECT COUNT(*) FROM needs.a) > least THEN
  UPDATE needs.a SET word = label WHERE id = least;
END IF;
SELECT twice(id) FROM needs.a;
SELECT id FROM few;
FOR r IN (SELECT id FROM needs.a) DO
  UPDATE needs.a SET word = label WHERE id = r.id;
END FOR;
",
    );
    plan(&scene, "", "m.sql").expect(0, "all of it");
    let found = foreseen(&scene.read("plan.stream"));
    let verdicts: Vec<(u64, String)> = verdicts(&found[0])
        .into_iter()
        .map(|(n, verdict, _)| (n, verdict))
        .collect();
    let want = [
        "validated",
        "no_need",
        "validated",
        "validated",
        "validated",
        "validated",
        "validated",
        "not_knowable",
        "validated",
        "not_knowable",
    ];
    let want: Vec<(u64, String)> = (1..).zip(want.map(str::to_owned)).collect();
    assert_eq!(verdicts, want);
    let in_loop = &found[0]["statements"][9];
    assert_eq!(in_loop["why"], "uses r, the variable of the FOR of line 10");
    assert_eq!(found[0]["at_least"], true);
    drop(scene.end());
}

#[test]
fn a_run_says_what_was_foreseen_and_what_was_not() {
    let scene = small("after");
    scene.write(
        "m.sql",
        "UPDATE after.a SET word = 'y' WHERE TRUE;\nEXECUTE IMMEDIATE 'UPDATE after.other SET id = 7 WHERE TRUE';\n",
    );
    let line = |flags: &str| {
        format!(
            "bq-snap -q \"$D\".a | bq-run -q {flags} m.sql | tee ran.stream | bq-check >checked.stream || bq-restore >restored.stream"
        )
    };
    let before = scene.calls_so_far();
    // Refused: bq-restore finds nothing to put back.
    scene.sh(&line("")).expect(1, "it is opaque");
    assert!(
        inserted(&scene, before)
            .0
            .iter()
            .all(|sql| !sql.contains("UPDATE after"))
    );
    scene.sh(&line("--allow-opaque")).expect(10, "bq-check sees the write");
    let record = scene.read("ran.stream");
    let migration = record
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|r| r["type"] == "migration")
        .unwrap();
    assert_eq!(migration["unforeseen"], serde_json::json!([full("after.other")]));
    assert_eq!(
        migration["foreseen"]["opaque"],
        serde_json::json!(["statement 2: EXECUTE IMMEDIATE"])
    );
    let warned = record
        .lines()
        .any(|line| line.contains("\"type\":\"warning\"") && line.contains("no statement of it says so"));
    assert!(warned, "{record}");
    drop(scene.end());
}

#[test]
fn what_may_not_run_is_warned_of_and_what_is_no_sql_is_wrong() {
    let scene = small("may");
    scene.write(
        "m.sql",
        "IF (SELECT COUNT(*) FROM may.a) > 5 THEN\n  UPDATE may.a SET wordd = 'z' WHERE TRUE;\nEND IF;\nBEGIN\n  \
         UPDATE may.a SET worddd = 'z' WHERE TRUE;\nEXCEPTION WHEN ERROR THEN\n  SELECT 1;\nEND;\n",
    );
    let ended = plan(&scene, "", "m.sql");
    ended.expect(0, "it may not run");
    let stream = scene.read("plan.stream");
    for what in [
        "statement 2 (UPDATE) may be wrong: it may not run; now BigQuery says: ",
        "may be wrong: the BEGIN of line 4 handles errors; now BigQuery says: ",
        "m.sql, line 2, column ",
    ] {
        let warned = stream
            .lines()
            .any(|line| line.contains("\"type\":\"warning\"") && line.contains(what));
        assert!(warned, "{what}: {stream}");
    }
    let found = foreseen(&stream);
    let words: Vec<String> = verdicts(&found[0]).into_iter().map(|(_, word, _)| word).collect();
    assert_eq!(
        words,
        ["validated", "not_knowable", "no_need", "not_knowable", "validated"]
    );
    plan(&scene, "--strict", "m.sql").expect(4, "strictly");

    // Behind a function BigQuery looks at nothing but a query.
    scene.write(
        "f.sql",
        "CREATE TEMP FUNCTION one() AS (1);\nUPDATE may.a SET id = one() WHERE TRUE;\nINSERT INTO may.other SELECT one();\nSELECT one();\n",
    );
    plan(&scene, "--allow-unprotected may.other", "f.sql").expect(0, "behind a function");
    let found = foreseen(&scene.read("plan.stream"));
    let words: Vec<String> = verdicts(&found[0]).into_iter().map(|(_, word, _)| word).collect();
    assert_eq!(words, ["validated", "not_knowable", "not_knowable", "validated"]);
    assert_eq!(found[0]["at_least"], true);

    let bad = "EXECUTE IMMEDIATE 'SELECT 1';\nSELECT 2;\nSELECT WHERE;\n";
    scene.write("bad.sql", bad);
    let ended = plan(&scene, "--allow-opaque", "bad.sql");
    ended.expect(1, bad);
    assert!(ended.stderr.contains("Syntax error"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("\nat: bad.sql, line 3, column "),
        "{}",
        ended.stderr
    );
    // Not ended as others are: what it sent last is no SQL to Google's parser, either.
    drop(scene);
}

#[test]
fn nothing_more_is_asked_once_bigquery_does_not_answer() {
    // What is asked of the statement alone, not the whole file.
    let lost = "POST /jobs body~\"SELECT 22\\\"\" : 503";
    let scene = Scene::with_faults(&scene::shared(), lost);
    scene.write("first.sql", "SELECT 11;\nSELECT 33;\nSELECT 44;\nSELECT 55;\n");
    let before = scene.calls_so_far();
    let line = |file: &str| format!("bq-run --unprotected -q -j 1 --retry-for 0s {file} >out.stream");
    scene.sh(&line("first.sql")).expect(0, "all is asked");
    assert_eq!(inserted(&scene, before).1, 5, "the whole, and four statements");
    scene.write("second.sql", "SELECT 11;\nSELECT 22;\nSELECT 44;\nSELECT 55;\n");
    let before = scene.calls_so_far();
    scene.sh(&line("second.sql")).expect(7, "BigQuery does not answer");
    assert_eq!(inserted(&scene, before).1, 3, "the whole, and two statements");
    drop(scene.end());
}

#[test]
fn what_nobody_can_read_is_said_in_bigquerys_words() {
    let machine = Machine::new(1);
    std::fs::write(machine.path("bad.sql"), "DELETE FROM d.stock WHERE TRUE;\n  END;\n").unwrap();
    let (status, said) = machine.sh("bq-snap -n -q d.stock | bq-run -n -q bad.sql >out");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("(OPAQUE) wrong: Syntax error: Unexpected"), "{said}");
    assert!(said.contains("\nat: bad.sql, line 2, column 3\n"), "{said}");
    machine.no_violations();
}

#[test]
fn what_is_wrong_nowhere_in_particular_is_said_of_the_file() {
    // The whole file, and none of its statements.
    let odd = "POST /jobs body~\"SELECT 1;\" : 400 invalidQuery \"something odd\"";
    let scene = Scene::with_faults(&scene::shared(), odd);
    scene.write("odd.sql", "SELECT 1;\nSELECT 2;\n");
    let ended = scene.sh("bq-run --unprotected -q odd.sql >out.stream");
    ended.expect(1, "it is wrong");
    let wanted = "odd.sql: BigQuery finds it wrong, and does not say where: something odd (invalidQuery, HTTP 400)\nat: odd.sql\n";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    drop(scene.end());
}
