//! Writes by others on a real SQL engine: a table that others have written to is restored only when a person names it, and with
//! `--salvage` what they added is in a table of its own. Read back by Google's own client.

use crate::scene::{self, Scene, helper, python};
use serde_json::{Map, Value, json};

/// A table of ten rows in a dataset of this name, and somebody else's program at `$FOREIGN`.
fn a_table(dataset: &str) -> Scene {
    let mut scene = Scene::at(&scene::shared());
    scene.set("FOREIGN", helper("foreign.py").to_str().unwrap());
    let rows: Vec<String> = (1..=10).map(|id| format!("({id}, 'ours')")).collect();
    scene.write(
        "setup.sql",
        &format!(
            "CREATE SCHEMA {dataset}; CREATE TABLE {dataset}.t (id INT64 NOT NULL, who STRING); \
             INSERT INTO {dataset}.t VALUES {};",
            rows.join(", ")
        ),
    );
    scene
        .sh(&format!(
            "bq-run -q --run {dataset}_setup --unprotected setup.sql >setup.stream"
        ))
        .expect(0, "setup");
    scene
}

/// Somebody else runs a statement: when its job ended.
fn others(scene: &Scene, sql: &str) -> u64 {
    let ended = scene.run(
        python().to_str().unwrap(),
        &[helper("foreign.py").to_str().unwrap(), "insert", sql],
    );
    ended.expect(0, sql).stdout.trim().parse().unwrap()
}

/// Every row of a table, sorted.
fn rows(scene: &Scene, table: &str) -> Vec<Value> {
    let ended = scene.run(
        python().to_str().unwrap(),
        &[helper("foreign.py").to_str().unwrap(), "rows", table],
    );
    let lines = &ended.expect(0, table).stdout;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn row(id: u64, who: &str) -> Value {
    json!({"id": id, "who": who})
}

/// Everything in a dataset, its tables' last changes too.
fn all(scene: &Scene, dataset: &str) -> Map<String, Value> {
    let mut seen = scene.look(".*", &[dataset]);
    let changed = scene.sh(&format!(
        "curl -s \"$BIGQUERY_EMULATOR_HOST/bigquery/v2/projects/$PROJECT_ID/datasets/{dataset}/tables/t\""
    ));
    let table: Value = serde_json::from_str(&changed.expect(0, "tables.get").stdout).unwrap();
    seen.insert("changed".to_owned(), table["lastModifiedTime"].clone());
    seen
}

/// The records of a type in a stream.
fn records(scene: &Scene, stream: &str, of: &str) -> Vec<Value> {
    let text = scene.read(stream);
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["type"] == of).collect()
}

/// bq-restore refuses and changes nothing; with `--salvage --discard-foreign` these rows are in the side table, and the table is as it was.
fn refused_then_salvaged(scene: &Scene, dataset: &str, run: &str, cut: &[Value], foreign: &[Value], by: &str) -> Value {
    let before = all(scene, dataset);
    let refused = scene.sh(&format!("bq-restore -v --run {run} >refused.stream"));
    refused.expect(4, "bq-restore after others wrote");
    assert!(refused.stderr.contains("others have written to"), "{}", refused.stderr);
    assert!(refused.stderr.contains(by), "{}", refused.stderr);
    assert_eq!(
        all(scene, dataset),
        before,
        "a restore that was refused changed something"
    );

    let table = format!("{dataset}.t");
    let line = format!("bq-restore --run {run} --discard-foreign {table} --salvage >salvaged.stream");
    let salvaged = scene.sh(&line);
    salvaged.expect(10, "bq-restore --salvage");
    assert_eq!(rows(scene, &table), cut, "the table does not equal the cut");
    let record = records(scene, "salvaged.stream", "restore").remove(0);
    let side = format!("{table}_foreign_{run}");
    let there: Vec<String> = scene.look(".*", &[dataset]).into_iter().map(|(name, _)| name).collect();
    assert!(!there.iter().any(|name| name.contains("salvaging")), "{there:?}");
    match foreign {
        [] => assert!(!there.contains(&side), "{there:?}"),
        foreign => {
            assert_eq!(rows(scene, &side), foreign, "{}", salvaged.stderr);
            let meta = &scene.look(".*_foreign_.*", &[dataset])[&side];
            assert_eq!(meta["expirationTime"], Value::Null);
            assert_eq!(meta["labels"]["bq-rollback-state"], "foreign");
            assert!(
                record["salvaged"]["table"].as_str().unwrap().ends_with(&side),
                "{record}"
            );
        }
    }
    assert_eq!(record["salvaged"]["rows"], foreign.len(), "{record}");
    record
}

#[test]
fn what_others_insert_after_a_migration_is_kept_from_the_rollback() {
    let scene = a_table("foreign_after");
    let cut = rows(&scene, "foreign_after.t");
    scene.write(
        "bad.sql",
        "DELETE FROM foreign_after.t WHERE id > 4; INSERT INTO foreign_after.t VALUES (70, 'migration');",
    );
    scene
        .sh("bq-snap --run fa foreign_after.t | bq-run bad.sql | bq-check >line.stream")
        .expect(1, "the line");
    // Twice the same row, and one that was there at the cut and that the migration deleted.
    others(
        &scene,
        "INSERT INTO foreign_after.t VALUES (500, 'others'), (500, 'others'), (10, 'ours')",
    );
    let foreign = [row(10, "ours"), row(500, "others"), row(500, "others")];
    let record = refused_then_salvaged(&scene, "foreign_after", "fa", &cut, &foreign, "(INSERT, 3 rows, job ");
    assert_eq!(record["salvaged"]["more"], Value::Null, "{record}");
    // Again: it is settled, and nothing is copied a second time.
    scene.sh("bq-restore --run fa >again.stream").expect(10, "again");
    assert_eq!(scene.look(".*_foreign_.*", &["foreign_after"]).len(), 1);
    drop(scene.end());
}

#[test]
fn what_others_insert_while_a_migration_runs_is_kept_from_the_rollback() {
    let scene = a_table("foreign_while");
    let cut = rows(&scene, "foreign_while.t");
    // The others' rows come between two statements, and add up to nothing: only their jobs tell.
    scene.write(
        "slow.sql",
        "DECLARE i INT64 DEFAULT 0; INSERT INTO foreign_while.t VALUES (70, 'migration'), (71, 'migration');
         WHILE i < 1000 AND (SELECT COUNT(*) FROM foreign_while.t WHERE id = 500) = 0 DO SET i = i + 1; END WHILE;
         DELETE FROM foreign_while.t WHERE id BETWEEN 1 AND 3;
         UPDATE foreign_while.t SET who = 'migrated' WHERE id BETWEEN 4 AND 6;",
    );
    let wait = "SELECT COUNT(*) FROM foreign_while.t WHERE id = 70";
    let sql = "MERGE foreign_while.t t USING (SELECT 500 AS id UNION ALL SELECT 501 UNION ALL SELECT 9 UNION ALL SELECT 10) s \
               ON t.id = s.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, who) VALUES (id, 'others')";
    let line = format!(
        "\"$PYTHON\" \"$FOREIGN\" insert \"{sql}\" '{wait}' >foreign.txt & foreign=$!
         bq-snap --run fw foreign_while.t | bq-run slow.sql >line.stream; echo $? >status.txt; wait $foreign"
    );
    scene.sh(&line).expect(0, "others write while the migration runs");
    assert_eq!(scene.read("status.txt").trim(), "0");
    let written: u64 = scene.read("foreign.txt").trim().parse().unwrap();
    let migration = &records(&scene, "line.stream", "migration")[0];
    let statements = migration["statements"].as_array().unwrap();
    let time = |kind: &str, key: &str| {
        statements.iter().find(|s| s["kind"] == kind).unwrap()[key]
            .as_u64()
            .unwrap()
    };
    assert!(
        time("INSERT", "ended_ms") < written && written < time("DELETE", "started_ms"),
        "others wrote at {written}, which is not between two statements: {statements:#?}"
    );
    let foreign = [row(500, "others"), row(501, "others")];
    let record = refused_then_salvaged(&scene, "foreign_while", "fw", &cut, &foreign, "(MERGE, 4 rows, job ");
    assert_eq!(record["salvaged"]["more"], Value::Null, "{record}");
    drop(scene.end());
}

#[test]
fn rows_of_other_columns_are_salvaged_as_they_are_and_old_ones_are_not() {
    let scene = a_table("foreign_columns");
    let cut = rows(&scene, "foreign_columns.t");
    scene.write("bad.sql", "DELETE FROM foreign_columns.t WHERE id > 4;");
    scene
        .sh("bq-snap --run fc foreign_columns.t | bq-run bad.sql | bq-check >line.stream")
        .expect(1, "the line");
    others(&scene, "ALTER TABLE foreign_columns.t ADD COLUMN note STRING");
    others(
        &scene,
        "INSERT INTO foreign_columns.t (id, who, note) VALUES (500, 'others', 'new')",
    );
    let foreign = [json!({"id": 500, "who": "others", "note": "new"})];
    refused_then_salvaged(&scene, "foreign_columns", "fc", &cut, &foreign, "INSERT, 1 row, job ");
    drop(scene.end());
}

#[test]
fn where_history_does_not_tell_more_is_salvaged_and_nothing_is_lost() {
    let scene = a_table("foreign_recreated");
    let cut = rows(&scene, "foreign_recreated.t");
    // Dropped and made anew: no instant before that can be read.
    scene.write(
        "bad.sql",
        "INSERT INTO foreign_recreated.t VALUES (70, 'migration'); DROP TABLE foreign_recreated.t;
         CREATE TABLE foreign_recreated.t (id INT64, who STRING); INSERT INTO foreign_recreated.t VALUES (1, 'ours'), (71, 'migration');",
    );
    scene
        .sh("bq-snap --run fr foreign_recreated.t | bq-run bad.sql | bq-check >line.stream")
        .expect(1, "the line");
    others(&scene, "INSERT INTO foreign_recreated.t VALUES (500, 'others')");
    let foreign = [row(500, "others"), row(71, "migration")];
    let record = refused_then_salvaged(&scene, "foreign_recreated", "fr", &cut, &foreign, "others have written");
    assert!(
        record["salvaged"]["more"].as_str().unwrap().contains("history"),
        "{record}"
    );
    drop(scene.end());
}
