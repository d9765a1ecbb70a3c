//! Fingerprints: what `bq-check --content` finds and what it does not take for a change, and what `bq-count
//! --fingerprint` says.
//!
//! Here on bq-local, with the programs as they are; `engine` asks Google's own engine of single values.

mod engine;

use serde_json::{Value, json};

use crate::bq_local;
use crate::scene::{Ended, Scene};

/// A table, how it is made, what the migration does to it, and whether its rows are those of the cut then.
const TABLES: [(&str, &str, &str, bool); 32] = [
    // What nobody may miss.
    (
        "deleted",
        "AS SELECT id FROM UNNEST([1, 2, 3]) AS id",
        "DELETE FROM fp.T WHERE id = 2",
        false,
    ),
    (
        "doubled",
        "AS SELECT id FROM UNNEST([1, 2, 3]) AS id",
        "INSERT INTO fp.T VALUES (2)",
        false,
    ),
    (
        "doubled_twice",
        "AS SELECT id FROM UNNEST([1, 2, 3]) AS id",
        "INSERT INTO fp.T VALUES (2), (2)",
        false,
    ),
    (
        "other_twins",
        "AS SELECT id FROM UNNEST([1, 1, 2]) AS id",
        "UPDATE fp.T SET id = 3 WHERE id = 1",
        false,
    ),
    (
        "pairs",
        "AS SELECT 1 AS a, 2 AS b UNION ALL SELECT 3, 4",
        "UPDATE fp.T SET b = 6 - b WHERE TRUE",
        false,
    ),
    (
        "nested",
        "AS SELECT 1 AS id, STRUCT('x' AS a, STRUCT('y' AS c) AS b) AS s",
        "UPDATE fp.T SET s = STRUCT('x', STRUCT('z')) WHERE id = 1",
        false,
    ),
    (
        "nested_null",
        "(id INT64, s STRUCT<a STRING>); INSERT INTO fp.T VALUES (1, NULL)",
        "UPDATE fp.T SET s = STRUCT(CAST(NULL AS STRING)) WHERE id = 1",
        false,
    ),
    ("sign", "AS SELECT 0.5 AS f", "UPDATE fp.T SET f = -f WHERE TRUE", false),
    (
        "last_bit",
        "AS SELECT 0.1 AS f",
        "UPDATE fp.T SET f = 0.10000000000000002 WHERE TRUE",
        false,
    ),
    (
        "partitions",
        "(id INT64, day DATE) PARTITION BY day; INSERT INTO fp.T VALUES (1, '2026-01-01'), (2, '2026-01-02')",
        "UPDATE fp.T SET day = IF(id = 1, DATE '2026-01-02', DATE '2026-01-01') WHERE TRUE",
        false,
    ),
    (
        "ingested",
        "(id INT64) PARTITION BY _PARTITIONDATE; \
         INSERT INTO fp.T (_PARTITIONTIME, id) VALUES ('2026-01-01', 1), ('2026-01-02', 2), ('2026-01-03', 3)",
        "UPDATE fp.T SET _PARTITIONTIME = '2026-01-05' WHERE id = 1; UPDATE fp.T SET _PARTITIONTIME = '2026-01-01' WHERE id = 2; \
         UPDATE fp.T SET _PARTITIONTIME = '2026-01-02' WHERE id = 1",
        false,
    ),
    (
        "null_text",
        "(t STRING); INSERT INTO fp.T VALUES (NULL)",
        "UPDATE fp.T SET t = '' WHERE TRUE",
        false,
    ),
    (
        "null_zero",
        "(n INT64); INSERT INTO fp.T VALUES (NULL)",
        "UPDATE fp.T SET n = 0 WHERE TRUE",
        false,
    ),
    (
        "elements",
        "AS SELECT ['a', 'b'] AS l",
        "CREATE OR REPLACE TABLE fp.T AS SELECT ['b', 'a'] AS l",
        false,
    ),
    (
        "moved",
        "(a STRING, b STRING); INSERT INTO fp.T VALUES ('x', NULL)",
        "UPDATE fp.T SET a = NULL, b = 'x' WHERE TRUE",
        false,
    ),
    (
        "text_number",
        "(j JSON); INSERT INTO fp.T VALUES (JSON '{\"a\": 1}')",
        "CREATE OR REPLACE TABLE fp.T AS SELECT JSON '{\"a\": \"1\"}' AS j",
        false,
    ),
    (
        "place",
        "AS SELECT ST_GEOGPOINT(1, 2) AS g",
        "UPDATE fp.T SET g = ST_GEOGPOINT(1, 2.0000000000000004) WHERE TRUE",
        false,
    ),
    (
        "ranges",
        "(r RANGE<DATE>); INSERT INTO fp.T VALUES (RANGE<DATE> '[2026-01-01, 2026-02-01)')",
        "UPDATE fp.T SET r = RANGE<DATE> '[2026-01-01, UNBOUNDED)' WHERE TRUE",
        false,
    ),
    (
        "bytes",
        "AS SELECT b'a' AS y",
        "UPDATE fp.T SET y = b'a\\x00' WHERE TRUE",
        false,
    ),
    (
        "retyped",
        "AS SELECT 1 AS a",
        "CREATE OR REPLACE TABLE fp.T AS SELECT '1' AS a",
        false,
    ),
    (
        "column_gone",
        "AS SELECT 1 AS a, 2 AS b",
        "ALTER TABLE fp.T DROP COLUMN b",
        false,
    ),
    ("table_gone", "AS SELECT 1 AS a", "DROP TABLE fp.T", false),
    (
        "living",
        "(id INT64, day DATE) PARTITION BY day OPTIONS(partition_expiration_days=30); \
         INSERT INTO fp.T VALUES (1, '2020-01-01'), (2, CURRENT_DATE())",
        "DELETE FROM fp.T WHERE id = 2",
        false,
    ),
    // What nobody may be troubled with.
    ("untouched", "AS SELECT 1 AS a", "SELECT 1", true),
    (
        "reloaded",
        "AS SELECT id, CAST(id AS STRING) AS t FROM UNNEST(GENERATE_ARRAY(1, 500)) AS id",
        "CREATE OR REPLACE TABLE fp.T AS SELECT * FROM fp.T ORDER BY id DESC",
        true,
    ),
    (
        "reordered",
        "AS SELECT 1 AS a, 'x' AS b",
        "CREATE OR REPLACE TABLE fp.T AS SELECT b, a FROM fp.T",
        true,
    ),
    (
        "zero",
        "AS SELECT 0.0 AS f, [0.0] AS l",
        "CREATE OR REPLACE TABLE fp.T AS SELECT -0.0 AS f, [-0.0] AS l",
        true,
    ),
    (
        "nan",
        "AS SELECT CAST('nan' AS FLOAT64) AS f",
        "UPDATE fp.T SET f = CAST('inf' AS FLOAT64) - CAST('inf' AS FLOAT64) WHERE TRUE",
        true,
    ),
    (
        "grown",
        "AS SELECT 1 AS a",
        "ALTER TABLE fp.T ADD COLUMN b STRING; UPDATE fp.T SET b = 'new' WHERE TRUE",
        true,
    ),
    (
        "widened",
        "AS SELECT 1 AS a, 2 AS b",
        "ALTER TABLE fp.T ALTER COLUMN a SET DATA TYPE NUMERIC",
        true,
    ),
    ("empty", "(a INT64)", "SELECT 1", true),
    // As if its partition had expired.
    (
        "expired",
        "(id INT64, day DATE) PARTITION BY day OPTIONS(partition_expiration_days=30); \
         INSERT INTO fp.T VALUES (1, '2020-01-01'), (2, CURRENT_DATE())",
        "DELETE FROM fp.T WHERE id = 1",
        true,
    ),
];

fn scene(url: &str, setup: &str) -> Scene {
    let scene = Scene::at(url);
    scene.write("setup.sql", setup);
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    scene
}

fn records(ended: &Ended, kind: &str) -> Vec<Value> {
    let all = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["type"] == kind).collect()
}

fn content(ended: &Ended) -> Vec<Value> {
    let all = records(ended, "check").into_iter();
    all.filter(|record| record["name"] == "content").collect()
}

fn short(record: &Value) -> String {
    let table = record["table"].as_str().unwrap();
    table.rsplit('.').next().unwrap().to_owned()
}

#[test]
fn content_finds_every_change_and_nothing_else() {
    let _machine = crate::scene::share_the_machine();
    let server = bq_local::another();
    let mut setup = "CREATE SCHEMA fp;\n".to_owned();
    let mut migration = String::new();
    for (name, made, change, _) in TABLES {
        let own = |text: &str| text.replace("fp.T", &format!("fp.{name}"));
        setup.push_str(&format!("CREATE TABLE fp.{name} {};\n", own(made)));
        migration.push_str(&format!("{};\n", own(change)));
    }
    let scene = scene(server.url(), &setup);
    scene.write("m.sql", &migration);
    scene.sh("bq-snap -q 'fp.*' --run fp >snap.stream").expect(0, "bq-snap");
    // Before the migration table and snapshot have the same fingerprints.
    let names: Vec<String> = TABLES.iter().map(|(name, ..)| format!("fp.{name}")).collect();
    let both = format!(
        "bq-count -q --fingerprint {} {}",
        names.join(" "),
        names
            .iter()
            .map(|n| format!("{n}_snapshot_fp"))
            .collect::<Vec<_>>()
            .join(" ")
    );
    let counts = records(scene.sh(&both).expect(0, "bq-count"), "count");
    assert_eq!(counts.len(), 2 * TABLES.len());
    let (tables, copies) = counts.split_at(TABLES.len());
    for (table, copy) in tables.iter().zip(copies) {
        assert_eq!(table["fingerprint"], copy["fingerprint"], "{table}");
    }
    scene.sh("bq-run -q m.sql <snap.stream >run.stream").expect(0, "bq-run");
    let checked = scene.sh("bq-check --content <run.stream | tee check.stream");
    let checks = content(&checked);
    let said: Vec<(String, Option<bool>)> = checks.iter().map(|c| (short(c), c["ok"].as_bool())).collect();
    let mut wanted: Vec<(String, Option<bool>)> = TABLES
        .iter()
        .map(|(name, .., same)| ((*name).to_owned(), Some(*same)))
        .collect();
    wanted.sort();
    let mut sorted = said.clone();
    sorted.sort();
    assert_eq!(sorted, wanted, "{}\n{}", checked.stdout, checked.stderr);
    let got = |name: &str| {
        let check = checks.iter().find(|c| short(c) == name).unwrap();
        check["got"].as_str().unwrap().to_owned()
    };
    assert_eq!(got("retyped"), "column a: type was INT64, is STRING");
    assert_eq!(got("column_gone"), "column b is gone");
    assert_eq!(got("table_gone"), "no such table");
    assert_eq!(got("untouched"), "the same");
    assert!(got("deleted").starts_with("v1:2:"), "{}", got("deleted"));
    let verdict = &records(&checked, "verdict")[0];
    assert_eq!(
        (&verdict["content"], &verdict["accepted"]),
        (&json!(TABLES.len()), &json!(false))
    );
    // Bytes are said before, and what they cost after.
    assert!(checked.stderr.contains(" tables will scan "), "{}", checked.stderr);
    assert!(
        checked.stderr.contains("bytes billed for fingerprints"),
        "{}",
        checked.stderr
    );
    drop(scene.end());
}

const SALES: &str = "
CREATE SCHEMA shop;
CREATE TABLE shop.sales (id INT64, day DATE, price NUMERIC, who STRUCT<name STRING, mail STRING>)
  PARTITION BY day OPTIONS(require_partition_filter=TRUE);
INSERT INTO shop.sales VALUES (1, '2026-01-01', 10, STRUCT('a', 'x')), (2, '2026-01-02', 20, STRUCT('b', 'y')), (3, NULL, 30, NULL);
CREATE TABLE shop.other (id INT64); INSERT INTO shop.other VALUES (1);
CREATE TABLE shop.turned (id INT64); INSERT INTO shop.turned VALUES (1);
CREATE TABLE shop.fresh (id INT64); INSERT INTO shop.fresh VALUES (1);
";

#[test]
fn nothing_but_these_columns_changed() {
    let scene = scene(&crate::scene::shared(), SALES);
    scene.write(
        "m.sql",
        "UPDATE shop.sales SET price = price * 2, who = STRUCT(who.name, 'z') WHERE day = '2026-01-02';",
    );
    scene
        .sh("bq-snap -q shop.sales shop.other shop.turned >snap.stream && bq-run -q m.sql <snap.stream >run.stream")
        .expect(0, "the migration");
    // With -n the verdict is not journaled: the same stream can be asked many times.
    let ask = |flags: &str| scene.sh(&format!("bq-check -n {flags} <run.stream"));
    let ok = |flags: &str| -> Vec<(String, Value)> {
        let asked = ask(flags);
        content(&asked).iter().map(|c| (short(c), c["ok"].clone())).collect()
    };
    let sales = |ok: bool| vec![("sales".to_owned(), json!(ok))];
    assert_eq!(
        ok("--content"),
        [("sales", false), ("other", true), ("turned", true)].map(|(name, ok)| (name.to_owned(), json!(ok)))
    );
    assert_eq!(ok("--content=shop.sales --except-columns price,who.mail"), sales(true));
    assert_eq!(
        ok("--content=shop.sales --except-columns shop.sales:PRICE --except-columns who"),
        sales(true)
    );
    assert_eq!(ok("--content=shop.sales --except-columns who.mail"), sales(false));
    assert_eq!(ok("--content=shop.sales --columns id,day,who.name"), sales(true));
    assert_eq!(ok("--content=shop.sales --columns id,who"), sales(false));
    // Columns of one table, all of the other.
    assert_eq!(
        ok("--content=shop.sales --content=shop.other --columns shop.sales:id").len(),
        2
    );
    let whole = ask("--content=shop.sales --per-partition");
    whole.expect(1, "changed");
    let check = &content(&whole)[0];
    assert_eq!(check["detail"], json!({"partitions": ["20260102"]}));
    assert!(
        check["got"].as_str().unwrap().ends_with("; 1 partition differs"),
        "{check}"
    );
    ask("--content=shop.sales --except-columns price,who.mail").expect(0, "nothing else changed");

    // The limit is asked before anything is scanned.
    let before = scene.calls_so_far();
    let limited = ask("--content=shop.sales --max-bytes-billed 10");
    limited.expect(1, "over the limit");
    let check = &content(&limited)[0];
    assert_eq!(check["ok"], Value::Null);
    assert!(check["got"].as_str().unwrap().contains("would scan "), "{check}");
    let scans = |from: usize| {
        let calls = scene.calls_since(from);
        let jobs = calls.iter().filter(|c| c.method == "POST" && c.path.ends_with("/jobs"));
        let scans = jobs.filter(|c| {
            c.body["configuration"]["query"]["query"]
                .as_str()
                .unwrap()
                .contains("FARM_FINGERPRINT")
        });
        scans
            .map(|c| {
                (
                    c.body["configuration"]["dryRun"] == true,
                    c.body["configuration"]["query"]["maximumBytesBilled"].clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(scans(before), vec![(true, Value::Null); 2]);
    let before = scene.calls_so_far();
    ask("--content=shop.other --max-bytes-billed 21000000").expect(0, "under the limit");
    let limit = json!("21000000");
    assert_eq!(
        scans(before),
        [
            (true, Value::Null),
            (true, Value::Null),
            (false, limit.clone()),
            (false, limit)
        ]
    );

    for (flags, what) in [
        ("--content --columns nope", "no table asked for has a column `nope`"),
        ("--content=shop.none", "has no snapshot in the stream"),
        ("--columns id", "`--columns` says what `--content` looks at"),
        (
            "--max-bytes-billed 5",
            "`--max-bytes-billed` says what `--content` looks at",
        ),
        ("--content=not_a_table", "not_a_table"),
        ("--content --columns a --except-columns b", "cannot be used with"),
        ("--content --accept", "cannot be used with"),
    ] {
        let refused = ask(flags);
        refused.expect(2, flags);
        assert!(refused.stderr.contains(what), "{flags}: {}", refused.stderr);
    }
    scene.sh("bq-count -q shop.other >count.stream").expect(0, "bq-count");
    let refused = scene.sh("bq-check --content <count.stream >/dev/null");
    refused.expect(2, "a count stream");
    assert!(refused.stderr.contains("no snapshots to compare"), "{}", refused.stderr);
    // A line that is only planned has no snapshots: nothing is compared, and nothing is wrong.
    scene.write("fresh.sql", "UPDATE shop.fresh SET id = 2 WHERE TRUE;");
    let planned = "bq-snap -n shop.fresh | bq-run -n fresh.sql | bq-check -n --content";
    let planned = scene.sh(planned);
    planned.expect(0, "a planned line");
    assert!(
        planned.stderr.contains("`--content` and `--probe` are not asked"),
        "{}",
        planned.stderr
    );

    // What is a view now, or whose snapshot is gone, is no yes.
    scene.write(
        "w.sql",
        "DROP TABLE shop.turned; CREATE VIEW shop.turned AS SELECT 1 AS id; DROP SNAPSHOT TABLE shop.other_snapshot_RUN;",
    );
    let run = records_of(&scene.read("snap.stream"))[0]["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = scene.read("w.sql").replace("RUN", &run);
    scene.write("w.sql", &text);
    scene
        .sh("bq-run -q --unprotected w.sql >w.stream")
        .expect(0, "others' changes");
    let gone = ask("--content=shop.turned --content=shop.other");
    gone.expect(1, "a view, and a snapshot that is gone");
    let said: Vec<_> = content(&gone)
        .iter()
        .map(|c| (c["ok"].clone(), c["got"].clone()))
        .collect();
    assert_eq!(
        said,
        [
            (json!(false), json!("a view")),
            (Value::Null, json!("could not be asked: the snapshot is gone"))
        ]
    );
    drop(scene.end());
}

fn records_of(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn bq_count_tells_fingerprints_of_tables_columns_and_partitions() {
    let scene = scene(&crate::scene::shared(), &SALES.replace("shop", "till"));
    let counts = |flags: &str| {
        let counted = scene.sh(&format!("bq-count -q --fingerprint {flags}"));
        records(counted.expect(0, flags), "count")
    };
    let [sales, other] = &counts("till.sales till.other")[..] else {
        panic!()
    };
    assert_eq!((&sales["rows"], &other["rows"]), (&json!(3), &json!(1)));
    assert_eq!(sales["as_of"], other["as_of"], "one instant");
    assert!(sales["fingerprint"].as_str().unwrap().starts_with("v1:3:"), "{sales}");
    assert!(
        sales.get("columns").is_none() && sales.get("partitions").is_none(),
        "{sales}"
    );
    // Twice the same; restricted, it says to what.
    assert_eq!(counts("till.sales")[0]["fingerprint"], sales["fingerprint"]);
    let part = &counts("till.sales till.other --columns id,who.NAME")[..];
    assert_eq!(part[0]["columns"], json!(["id", "who.name"]));
    assert_eq!(part[1]["columns"], json!(["id"]));
    assert_ne!(part[0]["fingerprint"], sales["fingerprint"]);
    let except = &counts("till.sales --except-columns day,price,who.mail")[0];
    assert_eq!(
        (&except["columns"], &except["fingerprint"]),
        (&part[0]["columns"], &part[0]["fingerprint"])
    );
    let scoped = &counts("till.sales till.other --columns till.sales:id,who.name")[..];
    assert_eq!(
        (&scoped[0]["fingerprint"], scoped[1].get("columns")),
        (&part[0]["fingerprint"], None)
    );
    // Partitions, of tables that have some.
    let parted = &counts("till.sales till.other --per-partition")[..];
    assert_eq!(parted[0]["fingerprint"], sales["fingerprint"]);
    let ids: Vec<&String> = parted[0]["partitions"].as_object().unwrap().keys().collect();
    assert_eq!(ids, ["20260101", "20260102", "__NULL__"]);
    assert!(parted[1].get("partitions").is_none());
    let csv = scene.sh("bq-count -q --fingerprint --format csv till.other");
    assert!(
        csv.stdout.starts_with("table,rows,as_of,records,fingerprint\n"),
        "{}",
        csv.stdout
    );

    // As of an instant, and in a stream as of its cut, with the columns of then.
    scene
        .sh("bq-snap -q till.other till.sales >snap.stream")
        .expect(0, "bq-snap");
    let now = "INSERT INTO till.other VALUES (2); ALTER TABLE till.other ADD COLUMN late STRING;";
    scene.write("m.sql", now);
    scene.sh("bq-run -q m.sql <snap.stream >run.stream").expect(0, "bq-run");
    let at_the_cut = scene.sh("bq-count -q --fingerprint --as-of cut <run.stream");
    let told = records(at_the_cut.expect(0, "as of the cut"), "count");
    assert_eq!(
        (&told[0]["fingerprint"], &told[1]["fingerprint"]),
        (&other["fingerprint"], &sales["fingerprint"])
    );
    let live = records(
        scene.sh("bq-count -q --fingerprint <run.stream").expect(0, "now"),
        "count",
    );
    assert_ne!(live[0]["fingerprint"], other["fingerprint"]);
    assert_eq!(live[1]["fingerprint"], sales["fingerprint"]);

    // A type that BigQuery may bring one day: nothing is guessed of it, and nothing is asked.
    let before = scene.calls_so_far();
    let odd = r#"sed 's/"name":"id","type":"INTEGER"/"name":"id","type":"UUID"/' run.stream | bq-count --fingerprint --as-of cut"#;
    let refused = scene.sh(odd);
    refused.expect(4, "a type that nobody knows");
    for part in [
        "column `id` is of type UUID",
        "hint: leave it out with `--except-columns id`",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert!(scene.calls_since(before).iter().all(|call| call.method == "GET"));
    scene
        .sh(&format!("{odd} --except-columns id"))
        .expect(2, "no column of `other` is left");

    // The bytes first; with -n nothing else.
    let loud = scene.sh("bq-count --fingerprint till.sales till.other 2>&1 >/dev/null");
    let (bytes, billed) = (loud.stdout.find(" tables will scan "), loud.stdout.find("bytes billed"));
    assert!(bytes.is_some() && bytes < billed, "{}", loud.stdout);
    assert!(loud.stdout.contains("fingerprints of 2 tables"), "{}", loud.stdout);
    let planned = scene.sh("bq-count -n --fingerprint till.sales");
    assert!(
        planned
            .expect(0, "-n")
            .stderr
            .contains("fingerprints of 1 table will scan"),
        "{}",
        planned.stderr
    );
    assert_eq!(records(&planned, "count")[0].get("fingerprint"), None);
    for (flags, code, what) in [
        ("--fingerprint till.sales --max-bytes-billed 10", 4, "would scan"),
        (
            "--fingerprint till.sales --columns till.sales:nope",
            2,
            "`diagnostic-pro-start-up.till.sales` does not have a column `nope`",
        ),
        ("--fingerprint till.sales --columns a,", 2, "names no columns"),
        (
            "--fingerprint till.other --except-columns id,late",
            2,
            "no column is left",
        ),
        (
            "till.sales --per-partition",
            2,
            "`--per-partition` says what `--fingerprint` looks at",
        ),
    ] {
        let refused = scene.sh(&format!("bq-count {flags}"));
        refused.expect(code, flags);
        assert!(refused.stderr.contains(what), "{flags}: {}", refused.stderr);
    }
    drop(scene.end());
}
