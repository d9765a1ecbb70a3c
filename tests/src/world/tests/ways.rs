//! The ways back: copy jobs, what comes back of what was dropped, limits, policies, and the layout of tables.

use super::*;

/// An hour.
const HOUR: Duration = Duration::from_secs(3600);

/// A copy job of somebody who is watched by nobody; its end.
fn copy(world: &World, from: &str, to: &str, more: Value) -> Value {
    let name = |table: &str| json!({ "projectId": "pretend", "datasetId": "d", "tableId": table });
    let mut config = json!({ "sourceTable": name(from), "destinationTable": name(to) });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let id = format!("bq-rollback-r-copy-{}", world.jobs().len());
    let intent = format!("{{\"at\":\"\",\"event\":{{\"intent\":{{\"job\":\"{id}\"}}}}}}\n");
    let dir = journal(world, &format!("{UNPROTECTED}{intent}"));
    let labels = json!({ "bq-rollback-run": "r", "bq-rollback-tool": "bq-restore" });
    let body = json!({
        "jobReference": { "projectId": "pretend", "jobId": id, "location": "US" },
        "configuration": { "copy": config, "labels": labels },
    });
    assert_eq!(ask(world, "POST", "jobs", body.clone()).0, 200, "{from} {to}");
    assert_eq!(ask(world, "POST", "jobs", body).0, 409);
    let job = end(world, &id);
    assert_eq!(job["configuration"]["jobType"], "COPY");
    drop(dir);
    world.unwatch();
    job
}

/// How many rows a copy job copied.
fn copied(world: &World, from: &str, to: &str, more: Value) -> String {
    let job = copy(world, from, to, more);
    let rows = job["statistics"]["copy"]["copiedRows"].as_str();
    rows.unwrap_or_else(|| panic!("{from} to {to}: {job}")).to_owned()
}

/// The reason and the message that a copy job ends with.
fn refused(world: &World, from: &str, to: &str, more: Value) -> String {
    let error = &copy(world, from, to, more)["status"]["errorResult"];
    format!(
        "{}: {}",
        error["reason"].as_str().unwrap_or_default(),
        error["message"].as_str().unwrap_or_default()
    )
}

fn kind(world: &World, name: &str) -> Option<String> {
    Some(world.table(&format!("pretend.d.{name}"))?.kind)
}

fn operation(name: &str) -> Value {
    json!({ "operationType": name })
}

#[test]
fn a_dropped_table_comes_back_by_decorator_and_without_its_layout() {
    let world = world();
    world
        .sql(
            "CREATE TABLE d.p (a INT64, day DATE) PARTITION BY day CLUSTER BY a OPTIONS(description='x', \
             labels=[('a', 'b')]); INSERT INTO d.p VALUES (1, '2026-01-01')",
        )
        .unwrap();
    let cut = world.now_ms();
    world.advance(HOUR);
    world
        .sql("DROP TABLE d.p; CREATE TABLE d.p (b STRING); INSERT INTO d.p VALUES ('new'), ('other')")
        .unwrap();
    for (to, how) in [("c", "COPY"), ("l", "CLONE"), ("s", "SNAPSHOT")] {
        assert_eq!(copied(&world, &format!("p@{cut}"), to, operation(how)), "1");
        let back = world.table(&format!("pretend.d.{to}")).unwrap();
        assert_eq!(back.meta["schema"]["fields"][1]["name"], "day");
        for lost in ["timePartitioning", "clustering", "description", "labels"] {
            assert_eq!(back.meta[lost], Value::Null, "{lost} of {to}");
        }
    }
    assert_eq!(kind(&world, "s").as_deref(), Some("SNAPSHOT"));
    assert_eq!(copied(&world, "p", "now", json!({})), "2");
    assert_eq!(copied(&world, "p@-1", "then", json!({})), "2");
    let at = jiff::Timestamp::from_millisecond(cut).unwrap();
    let clone = format!("CREATE TABLE d.x CLONE d.p FOR SYSTEM_TIME AS OF TIMESTAMP '{at}'");
    assert!(world.sql(&clone).unwrap_err().contains("Invalid snapshot time"));
    world.sql("DROP TABLE d.p").unwrap();
    assert!(world.sql(&clone).unwrap_err().starts_with("Not found: Table"));
    assert!(refused(&world, "p", "x", json!({})).starts_with("notFound: "));
    assert!(refused(&world, "never@1767225600001", "x", json!({})).starts_with("notFound: "));
    assert_eq!(copied(&world, &format!("p@{cut}"), "p", json!({})), "1");
    world.advance(HOUR * 24 * 8);
    assert!(refused(&world, &format!("p@{cut}"), "y", json!({})).contains("Cannot read before"));
}

#[test]
fn a_snapshot_that_expired_comes_back() {
    let world = world();
    world
        .sql("CREATE SNAPSHOT TABLE d.s CLONE d.t OPTIONS(expiration_timestamp=TIMESTAMP '2026-01-01 01:00:00+00:00')")
        .unwrap();
    let cut = world.now_ms();
    world.advance(HOUR);
    assert_eq!(kind(&world, "s"), None);
    let then = format!("s@{cut}");
    assert_eq!(copied(&world, &then, "plain", json!({})), "2");
    assert_eq!(copied(&world, &then, "back", operation("RESTORE")), "2");
    let expires = json!({ "operationType": "SNAPSHOT", "destinationExpirationTime": "2026-02-01T00:00:00Z" });
    assert_eq!(copied(&world, &then, "s", expires), "2");
    let kinds = ["plain", "back", "s"].map(|name| kind(&world, name).unwrap_or_default());
    assert_eq!(kinds, ["TABLE", "TABLE", "SNAPSHOT"]);
    let plain = world.table("pretend.d.plain").unwrap().meta;
    assert_eq!(
        (&plain["cloneDefinition"], &plain["expirationTime"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        world.table("pretend.d.s").unwrap().meta["expirationTime"],
        "1769904000000"
    );
    let later = format!("s@{}", world.now_ms());
    world.sql("DROP SNAPSHOT TABLE d.s").unwrap();
    assert_eq!(copied(&world, &later, "s", operation("SNAPSHOT")), "2");
    // Between its two lives there was none.
    let between = format!("s@{}", cut + 3_600_000);
    assert!(refused(&world, &between, "x", json!({})).contains("did not exist then"));
}

#[test]
fn a_copy_job_writes_where_it_may() {
    let world = world();
    world
        .sql(
            "CREATE SNAPSHOT TABLE d.s CLONE d.t; CREATE TABLE d.e (a INT64); CREATE VIEW d.v AS SELECT 1 AS a; \
             CREATE TABLE d.p (day DATE) PARTITION BY day",
        )
        .unwrap();
    let over = |how: &str| json!({ "operationType": how, "writeDisposition": "WRITE_TRUNCATE" });
    assert!(refused(&world, "s", "t", json!({})).starts_with("duplicate: Already Exists"));
    assert!(refused(&world, "t", "e", operation("CLONE")).starts_with("duplicate: Already Exists"));
    assert!(refused(&world, "s", "t", over("CLONE")).contains("WRITE_TRUNCATE is not supported"));
    assert!(refused(&world, "t", "x", operation("RESTORE")).contains("is not a snapshot"));
    assert!(refused(&world, "t", "p", json!({})).contains("Incompatible table partitioning"));
    assert!(refused(&world, "t", "v", over("COPY")).contains("currently a VIEW"));
    assert!(refused(&world, "v", "x", json!({})).contains("currently a VIEW"));
    assert!(refused(&world, "t", "x", json!({ "createDisposition": "CREATE_NEVER" })).starts_with("notFound"));
    assert!(refused(&world, "t", "t", over("COPY")).contains("same table"));
    assert_eq!(copied(&world, "s", "e", operation("RESTORE")), "2");
    world.sql("DELETE FROM d.t WHERE a = 1").unwrap();
    assert_eq!(copied(&world, "s", "t", over("RESTORE")), "2");
    assert_eq!(rows(&world, "t").len(), 2);
    assert_eq!(copied(&world, "s", "t", over("COPY")), "2");
    // The second held what the snapshot holds. That over the view was refused, and should not have been asked.
    let seen = world.violations();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains("overwrites `pretend.d.v`, whose definition is in no journal"));
    assert!(seen[1].contains("overwrites `pretend.d.t`, whose 1 rows are kept nowhere"));
}

#[test]
fn a_view_is_dropped_when_its_definition_is_kept() {
    let world = world();
    world
        .sql("DROP TABLE d.t; CREATE VIEW d.t AS SELECT 7 AS seven")
        .unwrap();
    let intent = "{\"at\":\"\",\"event\":{\"intent\":{\"job\":\"bq-rollback-r-drop-0-1\"}}}\n";
    let told = "{\"at\":\"\",\"event\":{\"found\":{\"view\":{\"query\":\"SELECT 7 AS seven\"}}}}\n";
    for (journaled, seen) in [
        (format!("{UNPROTECTED}{intent}"), 1),
        (format!("{UNPROTECTED}{intent}{told}"), 0),
    ] {
        let world = world.fork();
        let _dir = journal(&world, &journaled);
        assert_eq!(insert(&world, "bq-rollback-r-drop-0-1", "DROP VIEW d.t").0, 200);
        assert_eq!(
            end(&world, "bq-rollback-r-drop-0-1")["status"]["errorResult"],
            Value::Null
        );
        assert_eq!(world.violations().len(), seen, "{:?}", world.violations());
        assert_eq!(kind(&world, "t"), None);
    }
    assert!(world.sql("DROP TABLE d.t").is_err(), "each kind has its own verb");
}

#[test]
fn what_bigquery_limits_is_limited() {
    let world = world();
    world.limit(2, 3);
    world
        .sql("CREATE SNAPSHOT TABLE d.s1 CLONE d.t; CREATE SNAPSHOT TABLE d.s2 CLONE d.t; DROP SNAPSHOT TABLE d.s2")
        .unwrap();
    let again = "CREATE SNAPSHOT TABLE d.s2 CLONE d.t";
    assert!(world.sql(again).unwrap_err().contains("(quotaExceeded)"));
    assert!(refused(&world, "t", "s2", operation("SNAPSHOT")).starts_with("quotaExceeded: "));
    world
        .sql("CREATE TABLE d.c1 CLONE d.t; CREATE TABLE d.c2 CLONE d.t")
        .unwrap();
    let many = world.sql("CREATE TABLE d.c3 CLONE d.t").unwrap_err();
    assert!(many.contains("more than 3 active clones and snapshots"), "{many}");
    world
        .sql("CREATE TABLE d.c3 COPY d.t; DROP TABLE d.c2; CREATE TABLE d.c4 CLONE d.t; DROP TABLE d.c4")
        .unwrap();
    world.advance(HOUR * 24);
    world.sql(again).unwrap();
}

#[test]
fn another_layout_needs_a_drop_and_old_versions_outlive_a_replacement() {
    let world = world();
    let cut = jiff::Timestamp::from_millisecond(world.now_ms()).unwrap();
    let partitioned = "TABLE d.t (a INT64, day DATE) PARTITION BY day CLUSTER BY a";
    let refused = world.sql(&format!("CREATE OR REPLACE {partitioned}")).unwrap_err();
    assert!(refused.starts_with("Cannot replace a table with a different partitioning spec."));
    world
        .sql("CREATE OR REPLACE TABLE d.t (c STRING); INSERT INTO d.t VALUES ('new')")
        .unwrap();
    world
        .sql(&format!(
            "CREATE TABLE d.was CLONE d.t FOR SYSTEM_TIME AS OF TIMESTAMP '{cut}' OPTIONS(description='then')"
        ))
        .unwrap();
    let was = world.table("pretend.d.was").unwrap();
    assert_eq!((was.rows.len(), &was.meta["description"]), (2, &json!("then")));
    world
        .sql(&format!(
            "DROP TABLE d.t; CREATE {partitioned}; CREATE TABLE d.n (day DATE, a INT64); \
             INSERT INTO d.n VALUES ('2026-01-01', 4); INSERT INTO d.t (day, a) SELECT day, a FROM d.n"
        ))
        .unwrap();
    assert_eq!(rows(&world, "t"), [["4", "2026-01-01"]]);
    for replaced in [
        "CREATE OR REPLACE TABLE d.n COPY d.t",
        "CREATE OR REPLACE TABLE d.n CLONE d.t",
    ] {
        assert!(world.sql(replaced).unwrap_err().contains("different partitioning spec"));
    }
    world
        .sql("DROP TABLE d.n; CREATE TABLE d.n COPY d.t OPTIONS(description='whole')")
        .unwrap();
    assert_eq!(
        world.table("pretend.d.n").unwrap().meta["clustering"],
        json!({ "fields": ["a"] })
    );
}

#[test]
fn policies_stay_with_a_replaced_table_and_go_with_a_dropped_one() {
    let world = world();
    world.add_policy("pretend.d.t", "a = 1");
    world.sql("CREATE SNAPSHOT TABLE d.s CLONE d.t").unwrap();
    assert_eq!(world.policies("pretend.d.s"), ["a = 1"]);
    let iam = |verb: &str, body: Value| ask(&world, "POST", &format!("datasets/d/tables/t:{verb}"), body);
    let none = iam("getIamPolicy", json!({})).1;
    assert_eq!(none["bindings"], Value::Null);
    let bindings = json!([{ "role": "roles/bigquery.dataViewer", "members": ["user:a@example.com"] }]);
    let policy = json!({ "policy": { "bindings": bindings, "etag": none["etag"] } });
    let dir = journal(&world, UNPROTECTED);
    assert_eq!(iam("setIamPolicy", policy.clone()).0, 400, "not announced");
    let intent = r#"{"at":"","event":{"intent":{"step":"iam","table":"pretend.d.t","attempt":1}}}"#;
    std::fs::write(dir.path().join("r.jsonl"), format!("{UNPROTECTED}{intent}\n")).unwrap();
    let (status, kept) = iam("setIamPolicy", policy.clone());
    assert_eq!((status, &kept["bindings"]), (200, &bindings));
    assert_eq!(iam("setIamPolicy", policy).0, 409, "its etag is old");
    world.sql("CREATE OR REPLACE TABLE d.t CLONE d.s").unwrap();
    assert_eq!(iam("getIamPolicy", json!({})).1, kept);
    assert_eq!(world.iam_policy("pretend.d.t"), Some(kept));
    assert_eq!(world.policies("pretend.d.t"), ["a = 1"]);
    world.sql("DROP TABLE d.t").unwrap();
    assert_eq!(iam("getIamPolicy", json!({})).0, 404);
    world.sql("CREATE TABLE d.t (a INT64)").unwrap();
    assert_eq!(iam("getIamPolicy", json!({})).1, none);
    assert_eq!(world.policies("pretend.d.t"), Vec::<String>::new());
    world.take_right("pretend.d.t", "tables.getIamPolicy");
    assert_eq!(iam("getIamPolicy", json!({})).0, 403);
}
