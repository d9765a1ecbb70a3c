//! The world as its callers meet it: statements, refusals, the lives of jobs, requests.

use super::*;
use bqlib::names::TableRef;
use bqlib::sql::{self as ours, AsOf, CopyOptions, Counted};
use serde_json::json;

mod ways;

fn world() -> World {
    let world = World::new(1);
    let script =
        "CREATE SCHEMA d; CREATE TABLE d.t (a INT64 NOT NULL, b STRING); INSERT INTO d.t VALUES (1, 'x'), (2, NULL)";
    world.sql(script).unwrap();
    world
}

fn rows(world: &World, name: &str) -> Vec<Row> {
    world
        .table(&format!("pretend.d.{name}"))
        .map(|t| t.rows)
        .unwrap_or_default()
}

fn ask(world: &World, method: &str, target: &str, body: Value) -> (u16, Value) {
    let target = format!("/bigquery/v2/projects/pretend/{target}");
    world.state().answer(method, &target, body.to_string().as_bytes())
}

fn insert(world: &World, id: &str, sql: &str) -> (u16, Value) {
    let labels = json!({ "bq-rollback-run": "r", "bq-rollback-tool": "bq-run" });
    insert_labelled(world, id, sql, &labels)
}

fn insert_labelled(world: &World, id: &str, sql: &str, labels: &Value) -> (u16, Value) {
    let query = json!({ "query": sql, "useLegacySql": false });
    let body = json!({ "jobReference": { "jobId": id }, "configuration": { "query": query, "labels": labels } });
    ask(world, "POST", "jobs", body)
}

/// Polls a job to its end.
fn end(world: &World, id: &str) -> Value {
    for _ in 0..50 {
        let (status, job) = ask(world, "GET", &format!("jobs/{id}?location=US"), Value::Null);
        assert_eq!(status, 200, "{job}");
        if job["status"]["state"] == "DONE" {
            return job;
        }
    }
    panic!("{id} does not end");
}

/// A job that only reads: nobody needs to have announced it.
fn read(world: &World, sql: &str) -> Result<Vec<Value>, String> {
    let id = format!("read_{}", world.jobs().len());
    assert_eq!(insert(world, &id, sql).0, 200);
    let job = end(world, &id);
    match job["status"]["errorResult"]["message"].as_str() {
        Some(message) => Err(message.to_owned()),
        None => Ok(ask(world, "GET", &format!("queries/{id}"), Value::Null).1["rows"]
            .as_array()
            .cloned()
            .unwrap_or_default()),
    }
}

fn table(name: &str) -> TableRef {
    TableRef::parse(&format!("pretend.d.{name}"), None).unwrap()
}

#[test]
fn every_text_that_the_programs_send_is_understood() {
    let world = world();
    let run = "r1".parse().unwrap();
    let now = jiff::Timestamp::from_millisecond(world.now_ms()).unwrap();
    let later = now.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    let options = |expires| CopyOptions {
        places: &[],
        tool: "bq-snap",
        expires,
        run: &run,
        state: "open",
        description: "it's ä \u{1f600}",
    };
    for sql in [
        ours::snapshot(&table("s"), &table("t"), now, &options(Some(later))),
        ours::keep(&table("k"), &table("t"), &options(None)),
        ours::keep_in_full(&table("f"), &table("t"), &options(Some(later))),
        ours::restore(&table("t"), &table("s"), ours::Verb::Clone, true, Some(later)),
        ours::restore(&table("t"), &table("s"), ours::Verb::Copy, true, None),
    ] {
        world.sql(&sql).unwrap();
    }
    let snapshot = world.table("pretend.d.s").unwrap();
    assert_eq!(
        snapshot.meta["labels"],
        json!({ "bq-rollback-run": "r1", "bq-rollback-tool": "bq-snap", "bq-rollback-state": "open" })
    );
    assert_eq!(snapshot.meta["description"], "it's ä \u{1f600}");
    assert_eq!(snapshot.meta["snapshotDefinition"]["snapshotTime"], now.to_string());
    world
        .sql("CREATE TABLE d.days (day DATE) PARTITION BY day OPTIONS(require_partition_filter=TRUE)")
        .unwrap();
    world
        .sql("INSERT INTO d.days VALUES ('2026-01-01'), ('2026-01-03'), (NULL)")
        .unwrap();
    let enabled = || read(&world, &ours::fine_grained(&table("t").dataset_ref())).unwrap();
    assert_eq!(enabled(), Vec::<Value>::new());
    world.make_fine_grained("pretend.d.t");
    assert_eq!(enabled(), [json!({ "f": [{ "v": "t" }] })]);
    let mut days = Counted::new(&table("days"), AsOf::Now, None);
    assert!(
        read(&world, &ours::counts(&[days.clone()]))
            .unwrap_err()
            .contains("without a filter")
    );
    days.filter_by = Some("day".into());
    let counted = [
        Counted::new(&table("s"), AsOf::Plain, None),
        days,
        Counted::new(&table("t"), AsOf::At(now), None),
    ];
    let counts = read(&world, &ours::counts(&counted)).unwrap();
    let pairs: Vec<_> = counts
        .iter()
        .map(|row| (&row["f"][0]["v"], &row["f"][1]["v"]))
        .collect();
    assert_eq!(
        pairs,
        [
            (&json!("0"), &json!("2")),
            (&json!("1"), &json!("3")),
            (&json!("2"), &json!("2"))
        ]
    );
    let at = "2026-01-03T12:00:00Z".parse().unwrap();
    let living = ours::living_rows(
        &ours::Counted::new(&table("days"), ours::AsOf::Plain, None),
        "day",
        "DAY",
        86_400_000,
        at,
    );
    assert_eq!(read(&world, &living).unwrap()[0]["f"][0]["v"], "2");
    assert_eq!(read(&world, ours::CUT).unwrap().len(), 1);
    assert_eq!(read(&world, "SELECT 'this run was abandoned'").unwrap().len(), 1);
}

#[test]
fn the_toy_language_does_what_it_says() {
    let world = world();
    for (sql, left) in [
        ("UPDATE d.t SET a = a + 10, b = 'y' WHERE a = 1", vec!["11 y", "2 NULL"]),
        ("INSERT INTO d.t (b, a) VALUES ('z', 3)", vec!["11 y", "2 NULL", "3 z"]),
        (
            "INSERT INTO d.t SELECT a + 1, b FROM d.t WHERE b IS NULL",
            vec!["11 y", "2 NULL", "3 NULL", "3 z"],
        ),
        (
            "DELETE FROM d.t WHERE a = 3 AND NOT b IS NULL",
            vec!["11 y", "2 NULL", "3 NULL"],
        ),
        (
            "BEGIN TRANSACTION; TRUNCATE TABLE d.t; ROLLBACK TRANSACTION",
            vec!["11 y", "2 NULL", "3 NULL"],
        ),
        (
            "BEGIN TRANSACTION; DELETE FROM d.t WHERE a < 5; COMMIT TRANSACTION",
            vec!["11 y"],
        ),
        ("ALTER TABLE d.t ADD COLUMN c INT64", vec!["11 y NULL"]),
        ("ALTER TABLE d.t DROP COLUMN b", vec!["11 NULL"]),
        (
            "CREATE OR REPLACE TABLE d.t AS SELECT 1 AS a UNION ALL SELECT 2",
            vec!["1", "2"],
        ),
        ("TRUNCATE TABLE d.t", vec![]),
    ] {
        world.sql(sql).unwrap();
        let mut there: Vec<String> = rows(&world, "t").iter().map(|row| row.join(" ")).collect();
        there.sort();
        assert_eq!(there, left, "{sql}");
    }
    world
        .sql("ASSERT (SELECT COUNT(*) FROM d.t) = 0; DROP TABLE d.t; DROP TABLE IF EXISTS d.t")
        .unwrap();
    assert_eq!(world.table_names(), Vec::<String>::new());
}

#[test]
fn what_bigquery_refuses_is_refused() {
    let world = world();
    world
        .sql(
            "CREATE VIEW d.v AS SELECT a FROM d.t; CREATE SNAPSHOT TABLE d.s CLONE d.t;
             CREATE TABLE d.day (at DATE) PARTITION BY at; CREATE TABLE d.plain (at DATE);
             CREATE TABLE d.c CLONE d.s; CREATE SNAPSHOT TABLE d.s3 CLONE d.c",
        )
        .unwrap();
    for (sql, words) in [
        (
            "CREATE SNAPSHOT TABLE d.s CLONE d.t",
            "Already Exists: Table pretend:d.s (duplicate)",
        ),
        ("CREATE SNAPSHOT TABLE d.w CLONE d.v", "currently a VIEW. (invalid)"),
        ("CREATE OR REPLACE TABLE d.t CLONE d.t", "the same table"),
        (
            "CREATE OR REPLACE TABLE d.day CLONE d.plain",
            "different partitioning spec",
        ),
        ("CREATE TABLE d.c4 CLONE d.s3", "too deep"),
        (
            "CREATE SNAPSHOT TABLE d.x CLONE d.t FOR SYSTEM_TIME AS OF TIMESTAMP '2025-12-31 00:00:00+00:00'",
            "Cannot read before",
        ),
        ("DELETE FROM d.s WHERE TRUE", "currently a SNAPSHOT. (invalid)"),
        ("DROP TABLE d.s", "(invalid)"),
        ("DELETE FROM d.none WHERE TRUE", "Not found: Table pretend:d.none"),
        ("DELETE FROM none.t WHERE TRUE", "Not found: Dataset pretend:none"),
        ("UPDATE d.t SET z = 1 WHERE TRUE", "Unrecognized name: z"),
        ("INSERT INTO d.t VALUES (NULL, 'x')", "Required field a cannot be null"),
        ("INSERT INTO d.t VALUES (1)", "wrong column count"),
        ("BEGIN TRANSACTION; DROP TABLE d.t", "DDL"),
        ("SELECT ERROR('no')", "no (invalidQuery)"),
        ("ASSERT FALSE AS 'never'", "never"),
        ("MERGE d.t USING d.s ON TRUE", "Unexpected \"MERGE\" at [1:1]"),
    ] {
        let refused = world.fork().sql(sql).unwrap_err();
        assert!(refused.contains(words), "{sql}: {refused}");
    }
    // A copy in full begins a chain of its own.
    world
        .sql("CREATE TABLE d.c4 COPY d.s3; CREATE SNAPSHOT TABLE d.s4 CLONE d.c4")
        .unwrap();
    assert!(world.violations().is_empty());
}

#[test]
fn a_clone_loses_what_the_manual_does_not_promise() {
    let world = world();
    world
        .sql(
            "CREATE SCHEMA e OPTIONS(default_table_expiration_days=1);
             CREATE TABLE e.t (at DATE) PARTITION BY at
               OPTIONS(description='x', labels=[('k', 'v')], partition_expiration_days=9, expiration_timestamp=NULL);
             CREATE SNAPSHOT TABLE d.s CLONE e.t; CREATE OR REPLACE TABLE e.t CLONE d.s",
        )
        .unwrap();
    let restored = world.table("pretend.e.t").unwrap().meta;
    assert_eq!(restored["timePartitioning"], json!({ "type": "DAY", "field": "at" }));
    assert_eq!(
        (&restored["description"], &restored["labels"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(restored["cloneDefinition"]["baseTableReference"]["tableId"], "s");
    world.advance(Duration::from_secs(86_400));
    assert_eq!(world.table("pretend.e.t"), None);
}

#[test]
fn a_job_lives_step_by_step_and_is_looked_up_where_it_is() {
    let world = World::new(3);
    world
        .sql("CREATE SCHEMA far OPTIONS(location='Asia-East1'); CREATE TABLE far.t (a INT64)")
        .unwrap();
    let (status, job) = insert(&world, "j", "SELECT COUNT(*) AS n FROM far.t");
    assert_eq!((status, &job["status"]["state"]), (200, &json!("PENDING")));
    assert_eq!(job["jobReference"]["location"], "asia-east1");
    assert_eq!(insert(&world, "j", "SELECT 1").0, 409);
    for (target, status) in [
        ("jobs/j", 404),
        ("queries/j", 404),
        ("jobs/j?location=US", 404),
        ("jobs/j?location=asia-east1", 200),
        ("queries/j?location=asia-east1&timeoutMs=60000", 200),
        ("datasets/far/tables/none", 404),
        ("datasets/none", 404),
        ("routines", 501),
    ] {
        assert_eq!(ask(&world, "GET", target, Value::Null).0, status, "{target}");
    }
    let (_, here) = insert(&world, "k", "SELECT 1");
    assert_eq!(here["jobReference"]["location"], "US");
    let body = json!({ "jobReference": { "jobId": "l", "location": "EU" },
        "configuration": { "query": { "query": "SELECT * FROM far.t", "useLegacySql": false } } });
    assert_eq!(ask(&world, "POST", "jobs", body).0, 200);
    for _ in 0..9 {
        ask(&world, "GET", "jobs/l", Value::Null);
    }
    let (status, error) = ask(&world, "GET", "queries/l", Value::Null);
    assert_eq!(
        (status, &error["error"]["errors"][0]["reason"]),
        (404, &json!("notFound"))
    );
}

/// A directory whose journal of run `r` announces the job of its migration, unprotected.
fn journal(world: &World, lines: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("r.jsonl"), lines).unwrap();
    world.watch(dir.path());
    dir
}

const UNPROTECTED: &str = r#"{"at":"","event":{"created":{"unprotected":true}}}
{"at":"","event":{"intent":{"step":{"migrate":1},"attempt":1,"job":"bq-rollback-r-migrate1-1"}}}
"#;

const MIGRATE: &str = "bq-rollback-r-migrate1-1";

#[test]
fn a_script_fails_half_way_and_its_children_tell() {
    let world = world();
    let _dir = journal(&world, UNPROTECTED);
    assert_eq!(
        insert(
            &world,
            MIGRATE,
            "DELETE FROM d.t WHERE a = 1; SELECT ERROR('no'); TRUNCATE TABLE d.t"
        )
        .0,
        200
    );
    let job = end(&world, MIGRATE);
    assert_eq!(job["status"]["errorResult"]["message"], "no");
    assert_eq!(job["statistics"]["numChildJobs"], "2");
    assert_eq!(rows(&world, "t"), [["2", "NULL"]]);
    let (_, list) = ask(
        &world,
        "GET",
        &format!("jobs?parentJobId={MIGRATE}&maxResults=1"),
        Value::Null,
    );
    assert_eq!(
        (&list["nextPageToken"], &list["jobs"][0]["state"]),
        (&json!("1"), &json!("DONE"))
    );
    let (_, list) = ask(&world, "GET", &format!("jobs?parentJobId={MIGRATE}"), Value::Null);
    let (last, first) = (&list["jobs"][0], &list["jobs"][1]);
    assert_eq!(last["errorResult"]["message"], "no");
    assert_eq!(first["statistics"]["query"]["dmlStats"]["deletedRowCount"], "1");
    assert_eq!(first["configuration"]["query"]["destinationTable"]["tableId"], "t");
    // No dry run left a job, and none changes anything.
    let body = json!({ "configuration": { "dryRun": true, "query": { "query": "TRUNCATE TABLE d.t", "useLegacySql": false } } });
    assert_eq!(
        ask(&world, "POST", "jobs", body).1["statistics"]["query"]["statementType"],
        "TRUNCATE_TABLE"
    );
    assert_eq!((rows(&world, "t").len(), world.jobs().len()), (1, 3));
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[test]
fn jobs_fail_are_held_and_never_end_as_planned() {
    let state = |world: &World| world.jobs()[0].clone();
    let poll = |world: &World| (0..20).for_each(|_| drop(ask(world, "GET", "datasets/d", Value::Null)));
    let cancel = |world: &World| ask(world, "POST", &format!("jobs/{MIGRATE}/cancel"), Value::Null);
    let start = |plan: fn(&World)| {
        let world = world();
        let dir = journal(&world, UNPROTECTED);
        plan(&world);
        insert(&world, MIGRATE, "TRUNCATE TABLE d.t");
        poll(&world);
        (world, dir)
    };
    let (world, _dir) = start(|world| world.fail_job("migrate1", 1, "backendError"));
    assert!(state(&world).error.is_some_and(|e| e.ends_with("(backendError)")));
    assert_eq!(rows(&world, "t").len(), 2);
    let (world, _dir) = start(|world| world.fail_job("migrate1", 2, "backendError"));
    assert_eq!(state(&world).error, None);
    let (world, _dir) = start(|world| world.hold_job("migrate1"));
    assert_eq!(state(&world).state, "RUNNING");
    assert_eq!(cancel(&world).0, 200);
    poll(&world);
    assert!(state(&world).error.is_some_and(|e| e.ends_with("(stopped)")));
    let (world, _dir) = start(|world| world.never_end("migrate1"));
    cancel(&world);
    poll(&world);
    assert_eq!(state(&world).state, "RUNNING");
    assert_eq!(rows(&world, "t").len(), 2);
}

#[test]
fn the_watch_sees_a_job_that_no_auditor_finds() {
    let (run, tool) = ("bq-rollback-run", "bq-rollback-tool");
    let count = format!("bq-rollback-count-{:032x}-1", 7);
    for (id, labels, seen) in [
        (MIGRATE, json!({ run: "r", tool: "bq-run" }), 0),
        (MIGRATE, json!({ run: "s", tool: "bq-run" }), 1),
        (MIGRATE, json!({ run: "r" }), 1),
        (MIGRATE, json!({}), 1),
        (&*count, json!({ tool: "bq-count" }), 0),
        (&*count, json!({}), 1),
        ("a-job-of-somebody-else", json!({}), 0),
    ] {
        let world = world();
        let _dir = journal(&world, UNPROTECTED);
        assert_eq!(insert_labelled(&world, id, "SELECT 1", &labels).0, 200);
        assert_eq!(
            world.violations().len(),
            seen,
            "{id} {labels}: {:?}",
            world.violations()
        );
    }
    // Nor may one be looked up where it may not be.
    let world = world();
    let _dir = journal(&world, UNPROTECTED);
    insert(&world, MIGRATE, "SELECT 1");
    for (path, seen) in [
        ("jobs/ID?location=US", 0),
        ("jobs/ID", 1),
        ("queries/ID", 2),
        ("queries/other", 2),
    ] {
        ask(&world, "GET", &path.replace("ID", MIGRATE), Value::Null);
        assert_eq!(world.violations().len(), seen, "{path}");
    }
}

#[test]
fn the_watch_refuses_what_is_not_announced() {
    let world = world();
    let torn = UNPROTECTED.trim_end();
    let dir = journal(&world, torn);
    // A last line without its end was not synced, perhaps.
    assert_eq!(insert(&world, MIGRATE, "TRUNCATE TABLE d.t").0, 400);
    assert_eq!(insert(&world, "other", "TRUNCATE TABLE d.t").0, 400);
    assert_eq!(insert(&world, "bq-rollback-r-cut-1", "SELECT 1").0, 400);
    let count = format!("bq-rollback-count-{:032x}-1", 7);
    assert_eq!(insert(&world, &count, "SELECT 1").0, 200);
    let patch = |body: Value| ask(&world, "PATCH", "datasets/d/tables/t", body).0;
    assert_eq!(patch(json!({ "description": "x" })), 400);
    assert_eq!(world.violations().len(), 4);
    let intent = r#"{"at":"","event":{"intent":{"step":"options","table":"pretend.d.t","attempt":1,"what":{"description":"x"}}}}"#;
    let outcome = r#"{"at":"","event":{"outcome":{"step":"options","table":"pretend.d.t","attempt":1}}}"#;
    let path = dir.path().join("r.jsonl");
    std::fs::write(&path, format!("{UNPROTECTED}{intent}\n")).unwrap();
    assert_eq!(
        (
            patch(json!({ "description": "x" })),
            patch(json!({ "description": "y" }))
        ),
        (200, 400)
    );
    std::fs::write(&path, format!("{UNPROTECTED}{intent}\n{outcome}\n")).unwrap();
    assert_eq!(patch(json!({ "description": "x" })), 400);
    assert_eq!(insert(&world, MIGRATE, "TRUNCATE TABLE d.t").0, 200);
    assert_eq!(world.violations().len(), 6);
}

#[test]
fn the_watch_sees_a_restore_that_keeps_nothing_and_a_second_migration() {
    let world = world();
    world
        .sql("CREATE SNAPSHOT TABLE d.s CLONE d.t; TRUNCATE TABLE d.t; INSERT INTO d.t VALUES (9, 'only here')")
        .unwrap();
    let intents = ["restore-0-1", "drop-0-1", "migrate1-2"]
        .map(|step| format!("{{\"at\":\"\",\"event\":{{\"intent\":{{\"job\":\"bq-rollback-r-{step}\"}}}}}}\n"))
        .concat();
    let _dir = journal(&world, &format!("{UNPROTECTED}{intents}"));
    let restore = ours::restore(&table("t"), &table("s"), ours::Verb::Clone, true, None);
    assert_eq!(insert(&world, "bq-rollback-r-restore-0-1", &restore).0, 200);
    end(&world, "bq-rollback-r-restore-0-1");
    assert!(world.violations()[0].contains("kept nowhere"));
    world.sql("INSERT INTO d.t VALUES (9, 'only here')").unwrap();
    assert_eq!(insert(&world, "bq-rollback-r-drop-0-1", "DROP TABLE d.t").0, 200);
    end(&world, "bq-rollback-r-drop-0-1");
    assert!(world.violations()[1].contains("drops `pretend.d.t`, whose 3 rows are kept nowhere"));
    world.sql("CREATE TABLE d.t (a INT64)").unwrap();
    for id in [MIGRATE, "bq-rollback-r-migrate1-2"] {
        assert_eq!(insert(&world, id, "TRUNCATE TABLE d.t").0, 200);
    }
    assert!(
        world.violations()[2].contains("two jobs ran file 1"),
        "{:?}",
        world.violations()
    );
}

#[test]
fn a_right_that_was_taken_away_is_told_and_refused() {
    let world = world();
    let held = |world: &World, name: &str| {
        let body = json!({ "permissions": ["bigquery.tables.get", "bigquery.tables.getData"] });
        let (status, answer) = ask(
            world,
            "POST",
            &format!("datasets/d/tables/{name}:testIamPermissions"),
            body,
        );
        assert_eq!(status, 200);
        answer["permissions"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((held(&world, "t"), held(&world, "nothing")), (2, 0));
    world.take_right("pretend.d.t", "tables.getData");
    assert_eq!(held(&world, "t"), 1);
    let why = read(&world, "SELECT * FROM d.t").unwrap_err();
    assert!(
        why.starts_with("Access Denied: Table pretend:d.t: Permission bigquery.tables.getData denied"),
        "{why}"
    );
    // Of the dataset: everything in it.
    world.take_right("pretend.d", "tables.get");
    assert_eq!(held(&world, "t"), 0);
    assert_eq!(ask(&world, "GET", "datasets/d/tables/t", Value::Null).0, 403);
    world.take_right("pretend.d", "tables.list");
    assert_eq!(ask(&world, "GET", "datasets/d/tables", Value::Null).0, 403);
    world.take_right("pretend", "jobs.create");
    assert_eq!(insert(&world, "j", "SELECT 1").0, 403);
    // Somebody else.
    world.sql("CREATE TABLE d.u CLONE d.t").unwrap();
}

#[test]
fn what_a_statement_needs() {
    for (statement, right) in [
        ("CREATE SNAPSHOT TABLE d.s CLONE d.t", "tables.createSnapshot"),
        ("CREATE SNAPSHOT TABLE d.s CLONE d.t", "tables.create"),
        (
            "CREATE SNAPSHOT TABLE d.s CLONE d.t OPTIONS(expiration_timestamp=TIMESTAMP '2027-01-01 00:00:00+00:00')",
            "tables.deleteSnapshot",
        ),
        ("CREATE OR REPLACE TABLE d.t CLONE d.k", "tables.restoreSnapshot"),
        ("CREATE OR REPLACE TABLE d.t COPY d.k", "tables.update"),
        (
            "CREATE OR REPLACE TABLE d.t CLONE d.k OPTIONS(expiration_timestamp=TIMESTAMP '2027-01-01 00:00:00+00:00')",
            "tables.delete",
        ),
        ("INSERT INTO d.t SELECT * FROM d.k", "tables.getData"),
        ("INSERT INTO d.t (a) VALUES (1)", "tables.updateData"),
        ("DROP SNAPSHOT TABLE d.k", "tables.deleteSnapshot"),
        ("DROP TABLE d.t", "tables.delete"),
        ("ALTER TABLE d.t SET OPTIONS(description='x')", "tables.update"),
    ] {
        let world = world();
        world.sql("CREATE SNAPSHOT TABLE d.k CLONE d.t").unwrap();
        let parsed = parse(statement, PROJECT).unwrap_or_else(|e| panic!("{}", e.message));
        let may = |world: &World| rights::permitted(&world.state().tables, &parsed[0].1);
        assert!(may(&world).is_ok(), "{statement}");
        world.take_right("pretend.d", right);
        assert!(
            may(&world).is_err_and(|e| e.message.contains(right)),
            "{statement} {right}"
        );
    }
}
