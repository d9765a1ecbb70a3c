//! Every way back: whatever a migration did to a table, against whatever has become of its snapshot. One line over a table a pair, in front
//! of a real SQL engine; that each table is as it was is seen by Google's own client, row by row.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::bq_local;
use crate::scene::{PROJECT, Scene, say, share_the_machine};

/// What a migration does to a table, and what bq-restore has to call it.
struct Deed {
    name: &'static str,
    /// `{t}` is the table, `{o}` another that was not touched.
    sql: &'static str,
    happened: &'static str,
    /// Whether what is there has to be dropped before the table can be put back.
    dropped_first: bool,
}

const fn deed(name: &'static str, sql: &'static str, happened: &'static str, dropped_first: bool) -> Deed {
    Deed {
        name,
        sql,
        happened,
        dropped_first,
    }
}

const COLUMNS: &str = "(id INT64 NOT NULL OPTIONS(description='the number'), code STRING, day DATE,
    place STRUCT<city STRING, words ARRAY<STRING>>, amount NUMERIC)";
const OPTIONS: &str = "OPTIONS(description='of the shop', labels=[('team', 'x')], friendly_name='Shop')";
const ROWS: &str = "
    (1, 'a', DATE '2026-01-01', STRUCT('Rome', ['x', 'y']), NUMERIC '1.10'),
    (2, 'b', DATE '2026-01-02', STRUCT('Oslo', ['z']), NUMERIC '2'),
    (3, 'b', DATE '2026-02-03', STRUCT('Lima', []), NULL),
    (4, NULL, NULL, NULL, NUMERIC '4')";

const DEEDS: [Deed; 9] = [
    deed(
        "rows",
        "DELETE FROM {t} WHERE id > 2; UPDATE {t} SET code = 'spoilt' WHERE id = 1",
        "rows or options changed",
        false,
    ),
    deed(
        "columns",
        "ALTER TABLE {t} ADD COLUMN extra STRING; UPDATE {t} SET extra = 'x' WHERE TRUE",
        "columns changed",
        false,
    ),
    deed(
        "column_dropped",
        "ALTER TABLE {t} DROP COLUMN amount",
        "columns changed",
        false,
    ),
    deed(
        "options",
        "ALTER TABLE {t} SET OPTIONS (description='spoilt', labels=[('team', 'y')], friendly_name=NULL)",
        "rows or options changed",
        false,
    ),
    deed(
        "replaced",
        "CREATE OR REPLACE TABLE {t} {columns} PARTITION BY day CLUSTER BY code AS SELECT * FROM {o} WHERE id = 1",
        "replaced by a new table",
        false,
    ),
    deed(
        "partitioning",
        "DROP TABLE {t}; CREATE TABLE {t} {columns} PARTITION BY DATE_TRUNC(day, MONTH) CLUSTER BY code;
         INSERT INTO {t} SELECT * FROM {o}",
        "partitioning or clustering changed: was DAY(day), cluster(code), is MONTH(day), cluster(code)",
        true,
    ),
    deed(
        "clustering",
        "DROP TABLE {t}; CREATE TABLE {t} {columns} PARTITION BY day; INSERT INTO {t} SELECT * FROM {o} WHERE id < 3",
        "partitioning or clustering changed: was DAY(day), cluster(code), is DAY(day)",
        true,
    ),
    deed("dropped", "DROP TABLE {t}", "dropped", false),
    deed(
        "viewed",
        "DROP TABLE {t}; CREATE VIEW {t} AS SELECT id, code FROM {o}",
        "became a view",
        true,
    ),
];

/// What has become of a table's snapshot, and from where it is put back then.
const SOURCES: [(&str, &str); 4] = [
    // There, and the first of its chain: cloned.
    ("first", "snapshot"),
    // There, and of a table that is a clone itself: copied in full.
    ("chained", "snapshot"),
    // Dropped, within its own time travel.
    ("undeleted", "snapshot"),
    // Dropped, and out of its own time travel: the table's history has to do.
    ("gone", "time-travel"),
];

fn table(deed: &Deed, source: &str) -> String {
    format!("{}_{source}", deed.name)
}

fn pairs() -> impl Iterator<Item = (&'static Deed, &'static str, &'static str)> {
    DEEDS
        .iter()
        .flat_map(|deed| SOURCES.iter().map(move |(source, from)| (deed, *source, *from)))
        // No name reaches a table's history past the view in its place: that pair is a refusal, and has a test of its own.
        .filter(|(deed, source, _)| (deed.name, *source) != ("viewed", "gone"))
}

/// The restore records of a stream, by table.
fn restored(stream: &str) -> BTreeMap<String, Value> {
    let records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_table = |record: &Value| record["table"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
    records
        .filter(|r| r["type"] == "restore")
        .map(|r| (of_table(&r), r))
        .collect()
}

/// The datasets of these tests hold nothing of ours but copies that were kept, and snapshots.
fn nothing_left_beside(scene: &Scene, dataset: &str) {
    let left = scene.look(".*_restoring_.*", &[dataset]);
    assert_eq!(left.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn whatever_happened_whatever_became_of_the_snapshot() {
    let _machine = share_the_machine();
    let server = bq_local::another();
    // The history of these snapshots is over, as it is a week after they were dropped.
    let over = pairs().filter(|(_, source, _)| *source == "gone");
    let over =
        over.map(|(deed, source, _)| format!("* /jobs body~\"{}_snapshot_w1@\" : 404 notFound\n", table(deed, source)));
    let mut scene = Scene::with_faults(server.url(), &over.collect::<String>());
    let sql = |text: &str, table: &str| {
        let text = text.replace("{t}", &format!("w.{table}")).replace("{o}", "w.other");
        text.replace("{columns}", COLUMNS).replace("{options}", OPTIONS)
    };
    let create = "CREATE TABLE {t} {columns} PARTITION BY day CLUSTER BY code {options};\n";
    let make = |name: &str| sql(create, name) + &sql(&format!("INSERT INTO {{t}} VALUES {ROWS};\n"), name);
    let mut setup = "CREATE SCHEMA w;\n".to_owned() + &make("other") + &make("unchanged");
    for (deed, source, _) in pairs() {
        let name = table(deed, source);
        match source {
            "chained" => {
                setup += &make(&format!("base_{name}"));
                setup += &sql(&format!("CREATE TABLE {{t}} CLONE w.base_{name} {{options}};\n"), &name);
            }
            _ => setup += &make(&name),
        }
    }
    scene.write("setup.sql", &setup);
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let live = "(?!base_|other).*(?<!_w1)(?<!_2)";
    let before = scene.look(live, &["w"]);

    let names: Vec<String> = pairs().map(|(deed, source, _)| table(deed, source)).collect();
    scene.write(
        "tables.csv",
        &format!(
            "table\nw.unchanged\n{}",
            names.iter().fold(String::new(), |all, name| all + "w." + name + "\n")
        ),
    );
    let deeds: Vec<String> = pairs()
        .map(|(deed, source, _)| sql(deed.sql, &table(deed, source)))
        .collect();
    scene.write("migrate.sql", &deeds.join(";\n"));
    scene.set("SNAPSHOT_SUFFIX", "w1");
    scene
        .sh("bq-snap -q -f tables.csv | bq-run -q migrate.sql >migrated.stream")
        .expect(0, "the migration");
    let after = scene.look(live, &["w"]);
    for (deed, source, _) in pairs() {
        let name = format!("w.{}", table(deed, source));
        assert_ne!(before.get(&name), after.get(&name), "{name}: nothing happened");
    }
    let gone = pairs().filter(|(_, source, _)| ["undeleted", "gone"].contains(source));
    let gone: Vec<String> = gone
        .map(|(deed, source, _)| format!("DROP SNAPSHOT TABLE w.{}_snapshot_w1", table(deed, source)))
        .collect();
    scene.write("gone.sql", &gone.join(";\n"));
    scene
        .sh("SNAPSHOT_SUFFIX= bq-run --unprotected -q gone.sql >gone.stream")
        .expect(0, "the snapshots go");

    // Looked at first: the same is said, and nothing is done.
    scene
        .sh("bq-check --reject --because 'it is bad' </dev/null >rejected.stream")
        .expect(0, "the verdict");
    scene.sh("bq-restore -n >plan.stream").expect(0, "the plan");
    assert_eq!(scene.look(live, &["w"]), after);
    scene.sh("bq-restore >restore.stream").expect(10, "the restore");
    let now = scene.look(live, &["w"]);
    nothing_left_beside(&scene, "w");

    let (plan, done) = (
        restored(&scene.read("plan.stream")),
        restored(&scene.read("restore.stream")),
    );
    let mut told = String::from("happened | snapshot | put back from | without a table | equal\n");
    let mut wrong = Vec::new();
    for (deed, source, from) in pairs() {
        let name = table(deed, source);
        let (record, key) = (&done[&name], format!("w.{name}"));
        let equal = now.get(&key) == before.get(&key);
        let without = record["without_table_ms"].as_u64();
        let _ = writeln!(
            told,
            "{} | {source} | {} | {} | {}",
            deed.name,
            record["from"].as_str().unwrap(),
            without.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            if equal { "yes" } else { "NO" },
        );
        let fits = equal
            && record["ok"] == true
            && record["from"] == from
            && record["happened"] == deed.happened
            && record["happened"] == plan[&name]["happened"]
            && record["how"] == plan[&name]["how"]
            && without.is_some() == deed.dropped_first
            && (deed.name == "dropped" || deed.name == "viewed" || record["kept"].is_string());
        if !fits {
            wrong.push(format!("{record}\nwas {:?}\nis {:?}", before.get(&key), now.get(&key)));
        }
    }
    say(&told);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(done["unchanged"]["from"], "unchanged");
    assert_eq!(now, before);
    drop(scene.end());
}

/// A run's tables after its migration, and what they were.
struct Migrated {
    scene: Scene,
    before: Map<String, Value>,
    after: Map<String, Value>,
}

const LIVE: &str = "(changed|dropped|viewed|repartitioned|fresh)";

/// A run over a table of each kind, migrated badly and rolled back; and a table outside of it that the migration filled.
fn rolled_back(dataset: &str, run: &str) -> Migrated {
    let mut scene = Scene::at(bq_local::shared().url());
    let tables = ["changed", "dropped", "viewed", "repartitioned"];
    let make = |table: &&str| {
        format!(
            "CREATE TABLE {dataset}.{table} {COLUMNS} PARTITION BY day CLUSTER BY code {OPTIONS};\nINSERT INTO {dataset}.{table} VALUES {ROWS};\n"
        )
    };
    let all: String = tables.iter().map(make).collect();
    scene.write(
        "setup.sql",
        &format!("CREATE SCHEMA {dataset};\nCREATE TABLE {dataset}.outside (id INT64);\n{all}"),
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let before = scene.look(LIVE, &[dataset]);
    let d = dataset;
    scene.write(
        "tables.csv",
        &format!("table\n{d}.changed\n{d}.dropped\n{d}.viewed\n{d}.repartitioned\n"),
    );
    scene.write(
        "migrate.sql",
        &format!(
            "DELETE FROM {d}.changed WHERE id = 1;
             DROP TABLE {d}.dropped;
             DROP TABLE {d}.viewed;
             CREATE VIEW {d}.viewed AS SELECT id FROM {d}.changed;
             DROP TABLE {d}.repartitioned;
             CREATE TABLE {d}.repartitioned {COLUMNS};
             INSERT INTO {d}.repartitioned SELECT * FROM {d}.changed;
             INSERT INTO {d}.outside SELECT id FROM {d}.changed"
        ),
    );
    scene.set("SNAPSHOT_SUFFIX", run);
    scene
        .sh(&format!(
            "bq-snap -q -f tables.csv | bq-run -q --allow-unprotected {d}.outside migrate.sql >migrated.stream"
        ))
        .expect(0, "the migration");
    let after = scene.look(LIVE, &[dataset]);
    assert_eq!((before.len(), after.len()), (4, 3));
    scene
        .sh("bq-check --reject --because 'it is bad' </dev/null >rejected.stream")
        .expect(0, "the verdict");
    scene.sh("bq-restore >restore.stream").expect(10, "the restore");
    assert_eq!(scene.look(LIVE, &[dataset]), before);
    Migrated { scene, before, after }
}

#[test]
fn a_rollback_is_undone_and_done_again() {
    let _machine = share_the_machine();
    let Migrated { scene, before, after } = rolled_back("undo", "u1");
    scene
        .sh("bq-restore --undo >no.stream")
        .expect(2, "a run that is not named");
    scene
        .sh("bq-restore --undo --run u1 -n >plan.stream")
        .expect(0, "the plan of the undo");
    assert_eq!(scene.look(LIVE, &["undo"]), before);
    let undone = scene.sh("bq-restore --undo --run u1 >undo.stream");
    undone.expect(0, "the undo");
    assert_eq!(scene.look(LIVE, &["undo"]), after);
    let records = restored(&scene.read("undo.stream"));
    assert_eq!(records["changed"]["from"], "kept");
    assert_eq!(records["dropped"]["from"], "absent");
    nothing_left_beside(&scene, "undo");

    // Nothing rolls it back again unasked, and it is undone once.
    scene
        .sh("bq-restore --pending >pending.stream")
        .expect(0, "nothing is pending");
    scene
        .sh("bq-restore --run u1 >again.stream")
        .expect(4, "what a person put back stays");
    scene
        .sh("bq-restore --undo --run u1 >twice.stream")
        .expect(0, "it is undone already, and as it is to be");
    assert_eq!(scene.look(LIVE, &["undo"]), after);
    scene
        .sh("bq-restore --run u1 --even-accepted >redo.stream")
        .expect(0, "a person may");
    assert_eq!(scene.look(LIVE, &["undo"]), before);
    // And back once more: the copies of each round are told apart.
    scene
        .sh("bq-restore --undo --run u1 >undo2.stream")
        .expect(0, "the second undo");
    assert_eq!(scene.look(LIVE, &["undo"]), after);
    drop(scene.end());
}

#[test]
fn an_undo_takes_nothing_from_others() {
    let _machine = share_the_machine();
    let Migrated { scene, before, .. } = rolled_back("undo2", "u2");
    scene.write("later.sql", "INSERT INTO undo2.changed (id) VALUES (99)");
    scene
        .sh("SNAPSHOT_SUFFIX= bq-run --unprotected -q later.sql >later.stream")
        .expect(0, "somebody writes");
    let later = scene.look(LIVE, &["undo2"]);
    let refused = scene.sh("bq-restore --undo --run u2 >refused.stream");
    refused.expect(4, "the undo");
    assert!(
        refused.stderr.contains("undo2.changed` since its rollback"),
        "{}",
        refused.stderr
    );
    assert_eq!(scene.look(LIVE, &["undo2"]), later);
    scene
        .sh("bq-restore --undo --run u2 --discard-foreign undo2.changed >undo.stream")
        .expect(0, "a person says so");
    let kept = restored(&scene.read("undo.stream"))["changed"]["kept"]
        .as_str()
        .unwrap()
        .to_owned();
    let kept = kept.rsplit('.').next().unwrap().to_owned();
    let copy = scene.look(&kept, &["undo2"]);
    assert_eq!(
        copy[&format!("undo2.{kept}")]["digest"],
        later["undo2.changed"]["digest"],
        "the others' row is kept"
    );
    assert_ne!(scene.look(LIVE, &["undo2"]), before);
    drop(scene.end());
}

#[test]
fn a_table_outside_is_emptied_and_filled_again() {
    let _machine = share_the_machine();
    let mut scene = Scene::at(bq_local::shared().url());
    scene.write(
        "setup.sql",
        "CREATE SCHEMA clr; CREATE TABLE clr.staging (id INT64); INSERT INTO clr.staging VALUES (1), (2);
         CREATE TABLE clr.production (id INT64)",
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    scene.write(
        "move.sql",
        "INSERT INTO clr.production SELECT id FROM clr.staging; DELETE FROM clr.staging WHERE TRUE",
    );
    scene.set("SNAPSHOT_SUFFIX", "c1");
    scene
        .sh("bq-snap -q clr.staging | bq-run -q --allow-unprotected clr.production move.sql >migrated.stream")
        .expect(0, "the migration");
    let after = scene.look("staging|production", &["clr"]);
    scene
        .sh("bq-restore --run c1 --clear clr.staging >no.stream")
        .expect(2, "a protected table is restored");
    scene
        .sh("bq-restore --run c1 --clear clr.nothing >no.stream")
        .expect(4, "a table that is not there");
    assert_eq!(scene.look("staging|production", &["clr"]), after);
    scene
        .sh("bq-restore --run c1 --clear clr.production >restore.stream")
        .expect(10, "the restore");
    let now = scene.look("staging|production", &["clr"]);
    assert_eq!(
        (&now["clr.staging"]["rows"], &now["clr.production"]["rows"]),
        (&2.into(), &0.into())
    );
    let record = &restored(&scene.read("restore.stream"))["production"];
    assert_eq!((&record["from"], &record["rows"]), (&"cleared".into(), &0.into()));
    assert_eq!(record["kept"], format!("{PROJECT}.clr.production_before_restore_c1"));
    scene
        .sh("bq-restore --undo --run c1 >undo.stream")
        .expect(0, "the undo");
    assert_eq!(scene.look("staging|production", &["clr"]), after);
    drop(scene.end());
}

#[test]
fn ten_bad_migrations_in_a_row() {
    let _machine = share_the_machine();
    let scene = Scene::at(bq_local::shared().url());
    scene.write(
        "setup.sql",
        &format!(
            "CREATE SCHEMA ten; CREATE TABLE ten.a {COLUMNS} {OPTIONS}; INSERT INTO ten.a VALUES {ROWS};
                  CREATE TABLE ten.b {COLUMNS} PARTITION BY day; INSERT INTO ten.b VALUES {ROWS}"
        ),
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let before = scene.look("[ab]", &["ten"]);
    scene.write(
        "bad.sql",
        "DELETE FROM ten.a WHERE id = 1; UPDATE ten.b SET code = 'x' WHERE TRUE; DELETE FROM ten.b WHERE id = 2",
    );
    let mut told = Vec::new();
    for run in 1..=10 {
        let line = "bq-snap -q ten.a ten.b | bq-run -q bad.sql | bq-check >check.stream || bq-restore";
        let ended = scene.sh(&format!("export SNAPSHOT_SUFFIX=t{run}; {line} >t{run}.stream"));
        ended.expect(10, &format!("run {run}"));
        assert_eq!(scene.look("[ab]", &["ten"]), before, "after run {run}");
        let records = restored(&scene.read(&format!("t{run}.stream")));
        let full = records["a"]["how"].as_str().unwrap().contains("in full");
        told.push(if full { "copy" } else { "clone" });
    }
    say(&format!(
        "ten runs in a row on the same tables ended in 10: {}",
        told.join(", ")
    ));
    // The limit of three is met, and a full copy begins a new chain.
    assert!(told.contains(&"copy") && told.iter().filter(|how| **how == "clone").count() > 1);
    drop(scene.end());
}

#[test]
fn a_table_behind_a_view_whose_snapshot_is_gone_is_not_guessed_at() {
    let _machine = share_the_machine();
    let faults = "* /jobs body~\"behind_snapshot_v1@\" : 404 notFound\n";
    let mut scene = Scene::with_faults(bq_local::shared().url(), faults);
    scene.write(
        "setup.sql",
        "CREATE SCHEMA bhd; CREATE TABLE bhd.behind (id INT64); INSERT INTO bhd.behind VALUES (1), (2)",
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let before = scene.look("behind", &["bhd"]);
    scene.write(
        "view.sql",
        "DROP TABLE bhd.behind; CREATE VIEW bhd.behind AS SELECT 1 AS id",
    );
    scene.write("gone.sql", "DROP SNAPSHOT TABLE bhd.behind_snapshot_v1");
    scene.set("SNAPSHOT_SUFFIX", "v1");
    scene
        .sh("bq-snap -q bhd.behind | bq-run -q view.sql >migrated.stream")
        .expect(0, "the migration");
    let after = scene.look("behind", &["bhd"]);
    scene
        .sh("SNAPSHOT_SUFFIX= bq-run --unprotected -q gone.sql >gone.stream")
        .expect(0, "the snapshot goes");
    let refused =
        scene.sh("bq-check --reject --because 'it is bad' </dev/null >rejected.stream; bq-restore >refused.stream");
    refused.expect(4, "the restore");
    assert!(refused.stderr.contains("DROP VIEW"), "{}", refused.stderr);
    assert_eq!(scene.look("behind", &["bhd"]), after);
    // What the message says to type.
    scene.write("drop.sql", "DROP VIEW bhd.behind");
    scene
        .sh("SNAPSHOT_SUFFIX= bq-run --unprotected -q drop.sql >drop.stream")
        .expect(0, "a person drops the view");
    scene.sh("bq-restore >restore.stream").expect(10, "the restore");
    assert_eq!(scene.look("behind", &["bhd"]), before);
    drop(scene.end());
}
