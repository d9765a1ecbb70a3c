//! Row counts: few queries whatever the number of tables, little memory whatever the number of rows, and no yes without a count.

use std::fs;

use serde_json::Value;

use crate::bq_local;
use crate::scene::{Scene, say, shared};
use crate::world::Machine;

/// The records of one kind in a stream.
fn records(stream: &str, kind: &str) -> Vec<Value> {
    let records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["type"] == kind).collect()
}

/// The SQL of the jobs that were inserted.
fn queries(calls: &[tests::gateway::Call]) -> Vec<String> {
    let inserted = calls
        .iter()
        .filter(|call| call.method == "POST" && call.path.ends_with("/jobs"));
    let text = |call: &tests::gateway::Call| call.body["configuration"]["query"]["query"].as_str().map(str::to_owned);
    inserted.filter_map(text).collect()
}

const MIB: u64 = 1024 * 1024;
const TEN_MILLION: u64 = 10_000_000;
/// What of bq-count may be in memory at once.
const MEMORY: u64 = 30 * MIB;

/// Runs a command to its end and says how much memory of it was there at most, in KiB: a shell's `time` does not tell that everywhere.
const MEASURED: &str = "import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=open('memory', 'w'))
sys.exit(status)
";

const BILLED: &str = "import os, sys
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
endpoint = ClientOptions(api_endpoint=os.environ['BIGQUERY_EMULATOR_HOST'])
client = bigquery.Client(os.environ['PROJECT_ID'], AnonymousCredentials(), client_options=endpoint)
print(client.get_job(sys.argv[1]).total_bytes_billed)
";

#[test]
fn ten_million_rows_are_one_query_that_is_not_billed() {
    let server = bq_local::another();
    let scene = Scene::at(server.url());
    scene.write(
        "setup.sql",
        &format!(
            "CREATE SCHEMA large;
             CREATE TABLE large.t AS SELECT n, MOD(n, 7) AS digit FROM UNNEST(GENERATE_ARRAY(1, {TEN_MILLION})) AS n;"
        ),
    );
    scene.write("measured.py", MEASURED);
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let so_far = scene.calls_so_far();
    scene
        .sh("\"$PYTHON\" measured.py bq-count large.t >count.stream")
        .expect(0, "bq-count");
    let calls = scene.calls_since(so_far);
    let stream = scene.read("count.stream");
    let count = &records(&stream, "count")[0];
    assert_eq!(count["rows"], TEN_MILLION);
    let asked = queries(&calls);
    assert_eq!(asked.len(), 1, "{asked:#?}");
    // By the statistics of the job itself, asked by Google's client.
    let insert = calls
        .iter()
        .find(|call| call.method == "POST" && call.path.ends_with("/jobs"));
    let job = insert.unwrap().body["jobReference"]["jobId"]
        .as_str()
        .unwrap()
        .to_owned();
    scene.write("billed.py", BILLED);
    let billed = scene
        .sh(&format!("\"$PYTHON\" billed.py {job}"))
        .expect(0, "billed.py")
        .stdout
        .clone();
    assert_eq!(billed.trim(), "0");
    assert_eq!(records(&stream, "end")[0]["bytes_billed"], 0);
    let kib: u64 = scene.read("memory").trim().parse().unwrap();
    say(&format!(
        "10,000,000 rows: {} query, {} bytes billed, bq-count had {} MiB at most",
        asked.len(),
        billed.trim(),
        kib / 1024
    ));
    assert!(kib * 1024 < MEMORY, "{kib} KiB");
    drop(scene.end());
}

#[test]
fn very_many_tables_are_a_query_for_each_four_hundred_of_one_instant() {
    let machine = Machine::new(1);
    let names: Vec<String> = (0..801).map(|n| format!("many.t{n}")).collect();
    let made: Vec<String> = names
        .iter()
        .map(|name| format!("CREATE TABLE {name} (id INT64); INSERT INTO {name} VALUES (1);"))
        .collect();
    machine
        .world
        .sql(&format!("CREATE SCHEMA many; {}", made.concat()))
        .unwrap();
    fs::write(machine.path("names"), names.join("\n")).unwrap();
    let (status, said) = machine.sh("bq-count -q -f names >stream");
    assert_eq!(status, Some(0), "{said}");
    let counts = records(&fs::read_to_string(machine.path("stream")).unwrap(), "count");
    assert_eq!(counts.len(), 801);
    assert!(counts.iter().all(|count| count["rows"] == 1));
    assert!(counts.iter().all(|count| count["as_of"] == counts[0]["as_of"]));
    let asked = queries(&machine.gateway.calls());
    let tables: Vec<usize> = asked.iter().map(|sql| sql.matches("COUNT(*)").count()).collect();
    let mut sorted = tables.clone();
    sorted.sort_unstable();
    // The first asks for the instant.
    assert_eq!(sorted, [0, 1, 400, 400], "{tables:?}");
}

#[test]
fn a_view_is_counted_on_request() {
    let scene = Scene::at(&shared());
    scene.write(
        "setup.sql",
        "CREATE SCHEMA views; CREATE TABLE views.t AS SELECT 1 AS n UNION ALL SELECT 2;
         CREATE VIEW views.v AS SELECT * FROM views.t CROSS JOIN views.t AS u;",
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let refused = scene.sh("bq-count -q views.v");
    refused.expect(4, "a view");
    assert!(refused.stderr.contains("--views"), "{}", refused.stderr);
    scene
        .sh("bq-count -q --views views.v views.t >views.stream")
        .expect(0, "--views");
    let counts = records(&scene.read("views.stream"), "count");
    assert_eq!((&counts[0]["rows"], &counts[1]["rows"]), (&4.into(), &2.into()));
    let refused = scene.sh("bq-count -q --views --as-of 2026-01-01T00:00:00Z views.v");
    refused.expect(4, "a view of the past");
    assert!(refused.stderr.contains("as of an instant"), "{}", refused.stderr);
    drop(scene.end());
}

/// What was counted and nobody could read was not told.
#[test]
fn what_cannot_be_written_is_no_yes() {
    let scene = Scene::at(&shared());
    scene.write("setup.sql", "CREATE SCHEMA brim; CREATE TABLE brim.t AS SELECT 1 AS n;");
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    for format in ["json", "table", "csv"] {
        let ended = scene.sh(&format!("bq-count -q --format {format} brim.t >/dev/full"));
        ended.expect(5, format);
        assert!(
            ended.stderr.contains("standard output cannot be written"),
            "{}",
            ended.stderr
        );
    }
    scene.write("more.sql", "INSERT INTO brim.t VALUES (2)");
    scene
        .sh("bq-snap -q --run full_disk brim.t | bq-run -q more.sql >ran.stream")
        .expect(0, "migrated");
    for format in ["table", "json"] {
        scene
            .sh(&format!(
                "bq-check -q --run full_disk --format {format} </dev/null >/dev/full"
            ))
            .expect(if format == "table" { 5 } else { 4 }, format);
        let judged = scene
            .journal("full_disk")
            .into_iter()
            .rfind(|line| line["event"]["verdict"].is_object());
        assert_eq!(judged.unwrap()["event"]["verdict"]["accepted"], false, "{format}");
    }
    drop(scene.end());
}

/// The customer's verification after a restore, in one line; and what is no verification.
#[test]
fn counts_are_compared_with_records() {
    let scene = Scene::at(&shared());
    scene.write(
        "setup.sql",
        "CREATE SCHEMA plain; CREATE TABLE plain.a AS SELECT 1 AS n UNION ALL SELECT 2; CREATE TABLE plain.b AS SELECT 1 AS n;",
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let journals = || fs::read_dir(scene.path(".rollback")).unwrap().count();
    let before = journals();
    scene.write("tables.csv", "table,records\nplain.a,2\nplain.b,>=1\n");
    scene.write("wrong.csv", "table,records\nplain.a,3\nplain.b,any\n");
    scene.write("free.csv", "table,records\nplain.a,any\n");
    scene.write(
        "counts",
        &scene.sh("bq-count -q -f tables.csv").expect(0, "counts").stdout,
    );
    scene.write("twice", &(scene.read("counts") + &scene.read("counts")));
    scene.write(
        "gained",
        "{\"type\":\"count\",\"table\":\"p.d.t\",\"rows\":1,\"as_of\":\"2026-01-01T00:00:00Z\",\"records\":\"+0..\"}\n",
    );
    for (line, status, said) in [
        ("bq-count -q -f tables.csv | bq-check", 0, ""),
        (
            "bq-count -q -f wrong.csv | bq-check",
            1,
            "records of diagnostic-pro-start-up.plain.a: wanted =3, got 2",
        ),
        // `any` is no question: a yes to it would be a yes to nothing.
        ("bq-count -q -f free.csv | bq-check", 1, "nothing was asked"),
        ("bq-count -q plain.a | bq-check", 1, "nothing was asked"),
        ("bq-count -q plain.a | bq-check --expect 'plain.a = 2'", 0, ""),
        ("bq-count -q plain.a | bq-check --expect 'plain.a > 2'", 1, "expect of"),
        (
            "bq-count -q plain.a | bq-check --expect 'plain.b > 2'",
            2,
            "is not in the stream",
        ),
        (
            "bq-count -q plain.a | bq-check --expect 'plain.a +0..'",
            2,
            "has no cut",
        ),
        ("bq-check <gained", 2, "has no cut"),
        ("bq-count -q -f tables.csv | bq-check --run another", 2, "of no run"),
        ("bq-count -q -f tables.csv | bq-check --var A=b", 2, "none was named"),
        ("bq-check <twice", 2, "is counted twice"),
        ("head -n 2 counts | bq-check", 5, "never said that it ended"),
        ("bq-count -q plain.none | bq-check", 5, "bq-count ended with 2"),
    ] {
        let ended = scene.sh(line);
        ended.expect(status, line);
        assert!(ended.stderr.contains(said), "{line}: {}", ended.stderr);
        let accepted = records(&ended.stdout, "verdict").iter().any(|v| v["accepted"] == true);
        assert_eq!(accepted, status == 0, "{line}: {}", ended.stdout);
    }
    assert_eq!(journals(), before, "counts have no run to journal");
    drop(scene.end());
}
