//! What bq-check sees: each mutation of a table by the check meant for it, and nothing where nothing is wrong.
//!
//! One line over a table a mutation, in front of a real SQL engine; what the mutation did is seen by Google's
//! own client.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::bq_local;
use crate::scene::{PROJECT, Scene, say, share_the_machine};

/// What is done to a table, and the checks that must not hold then: these, and no other.
struct Mutation {
    table: &'static str,
    what: &'static str,
    /// `{t}` is the table.
    sql: &'static str,
    /// The check that is meant for it, first.
    caught_by: &'static [&'static str],
    rule: &'static str,
}

const fn mutation(
    table: &'static str,
    what: &'static str,
    sql: &'static str,
    caught_by: &'static [&'static str],
) -> Mutation {
    Mutation {
        table,
        what,
        sql,
        caught_by,
        rule: "same",
    }
}

const COLUMNS: &str = "(id INT64 NOT NULL, code STRING, day DATE, score FLOAT64,
    place STRUCT<city STRING, spot STRUCT<lat FLOAT64, words ARRAY<STRING>>>, amount NUMERIC)";
const OPTIONS: &str = "OPTIONS(description='of the shop', labels=[('team', 'x'), ('tier', 'gold')])";
const ROWS: &str = "
    (1, 'a', DATE '2026-01-01', 1.5, STRUCT('Rome', STRUCT(41.9, ['x', 'y'])), NUMERIC '1.10'),
    (2, 'b', DATE '2026-01-02', 2.5, STRUCT('Oslo', STRUCT(59.9, ['z'])), NUMERIC '2'),
    (3, 'b', DATE '2026-02-03', -0.25, STRUCT('Lima', STRUCT(-12.0, ['y', 'x'])), NULL),
    (4, NULL, NULL, NULL, NULL, NUMERIC '4')";

const MUTATIONS: [Mutation; 20] = [
    mutation(
        "deleted",
        "one row deleted",
        "DELETE FROM {t} WHERE id = 3",
        &["rows", "content"],
    ),
    mutation(
        "duplicated",
        "one row duplicated",
        "INSERT INTO {t} SELECT * FROM m.unchanged WHERE id = 3",
        &["content"],
    ),
    mutation(
        "nested",
        "one value changed in one nested field",
        "UPDATE {t} SET place = STRUCT(place.city AS city, STRUCT(41.8 AS lat, place.spot.words AS words) AS spot) WHERE id = 1",
        &["content"],
    ),
    mutation(
        "sign",
        "a float's sign",
        "UPDATE {t} SET score = -score WHERE id = 3",
        &["content"],
    ),
    mutation(
        "swapped",
        "two rows swapped between partitions",
        "UPDATE {t} SET day = IF(id = 1, DATE '2026-02-03', DATE '2026-01-01') WHERE id IN (1, 3)",
        &["content"],
    ),
    mutation(
        "column_dropped",
        "a column dropped",
        "ALTER TABLE {t} DROP COLUMN amount",
        &["schema", "content"],
    ),
    mutation(
        "renamed",
        "a column renamed",
        "ALTER TABLE {t} RENAME COLUMN amount TO total",
        &["schema", "content"],
    ),
    mutation(
        "retyped",
        "a column retyped",
        "DROP TABLE {t};
         CREATE TABLE {t} (id INT64 NOT NULL, code STRING, day DATE, score STRING,
            place STRUCT<city STRING, spot STRUCT<lat FLOAT64, words ARRAY<STRING>>>, amount NUMERIC)
            PARTITION BY day CLUSTER BY code {options};
         INSERT INTO {t} SELECT * REPLACE (CAST(score AS STRING) AS score) FROM m.unchanged",
        &["schema", "content"],
    ),
    mutation(
        "relaxed",
        "a mode relaxed",
        "ALTER TABLE {t} ALTER COLUMN id DROP NOT NULL",
        &["schema"],
    ),
    mutation(
        "unclustered",
        "clustering removed",
        "DROP TABLE {t}; CREATE TABLE {t} {columns} PARTITION BY day {options}; INSERT INTO {t} SELECT * FROM m.unchanged",
        &["layout"],
    ),
    mutation(
        "repartitioned",
        "partitioning changed",
        "DROP TABLE {t}; CREATE TABLE {t} {columns} PARTITION BY DATE_TRUNC(day, MONTH) CLUSTER BY code {options};
         INSERT INTO {t} SELECT * FROM m.unchanged",
        &["layout"],
    ),
    mutation(
        "unlabelled",
        "a label removed",
        "ALTER TABLE {t} SET OPTIONS (labels=[('team', 'x')])",
        &["options"],
    ),
    mutation("emptied", "a table emptied", "TRUNCATE TABLE {t}", &["rows", "content"]),
    mutation("dropped", "a table dropped", "DROP TABLE {t}", &["exists", "content"]),
    mutation(
        "viewed",
        "a table replaced by a view",
        "DROP TABLE {t}; CREATE VIEW {t} AS SELECT * FROM m.unchanged",
        &["exists", "content"],
    ),
    mutation("unchanged", "nothing", "", &[]),
    mutation(
        "same_values",
        "every row updated to what it was",
        "UPDATE {t} SET code = code WHERE TRUE",
        &[],
    ),
    mutation(
        "reloaded",
        "the same rows loaded in another order",
        "TRUNCATE TABLE {t}; INSERT INTO {t} SELECT * FROM m.unchanged ORDER BY id DESC",
        &[],
    ),
    mutation(
        "came_back",
        "a row deleted, and put back",
        "DELETE FROM {t} WHERE id = 1; INSERT INTO {t} SELECT * FROM m.unchanged WHERE id = 1",
        &[],
    ),
    Mutation {
        table: "grown",
        what: "a column added under `grow`",
        sql: "ALTER TABLE {t} ADD COLUMN extra STRING; UPDATE {t} SET extra = 'new' WHERE TRUE",
        caught_by: &[],
        rule: "grow",
    },
];

#[test]
fn each_mutation_is_caught_by_the_check_meant_for_it() {
    let _machine = share_the_machine();
    let server = bq_local::another();
    let scene = Scene::at(server.url());
    let sql = |text: &str, table: &str| {
        let text = text.replace("{t}", &format!("m.{table}"));
        text.replace("{columns}", COLUMNS).replace("{options}", OPTIONS)
    };
    let made = MUTATIONS.iter().map(|m| {
        let create = "CREATE TABLE {t} {columns} PARTITION BY day CLUSTER BY code {options};\n";
        sql(create, m.table) + &sql(&format!("INSERT INTO {{t}} VALUES {ROWS};\n"), m.table)
    });
    scene.write("setup.sql", &format!("CREATE SCHEMA m;\n{}", made.collect::<String>()));
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let before = scene.look(".*", &["m"]);

    let rows = MUTATIONS.iter().map(|m| format!("m.{},{}\n", m.table, m.rule));
    scene.write("tables.csv", &format!("table,schema\n{}", rows.collect::<String>()));
    let done = MUTATIONS.iter().filter(|m| !m.sql.is_empty());
    let done: Vec<String> = done.map(|m| sql(m.sql, m.table)).collect();
    scene.write("mutate.sql", &done.join(";\n"));
    let line = "bq-snap -q -f tables.csv | bq-run -q mutate.sql | bq-check --content >line.stream";
    scene.sh(line).expect(1, "the line");
    let after = scene.look(".*", &["m"]);

    let found = not_held(&scene.read("line.stream"));
    let named = named_by_the_verdict(&scene.read("line.stream"));
    let mut told = String::from("mutation | check | caught\n");
    let mut wrong = Vec::new();
    for m in &MUTATIONS {
        let caught = found.get(m.table).cloned().unwrap_or_default();
        let meant = m.caught_by.first().copied().unwrap_or("none");
        let well = match m.caught_by.first() {
            Some(check) => caught.contains(*check),
            None => caught.is_empty(),
        };
        let yes = match (m.caught_by.is_empty(), well) {
            (false, true) => "yes",
            (true, true) => "no alarm",
            (_, false) => "NO",
        };
        let _ = writeln!(told, "{} | {meant} | {yes}", m.what);
        let want: BTreeSet<String> = m.caught_by.iter().map(|check| (*check).to_owned()).collect();
        if caught != want {
            wrong.push(format!("{}: {caught:?}, not {want:?}", m.what));
        }
        happened(m, &before, &after);
        for check in m.caught_by {
            let name = format!("{check} of {PROJECT}.m.{}", m.table);
            assert!(named.contains(&name), "the verdict does not name {name}: {named:?}");
        }
    }
    say(&told);
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), scene.read("line.stream"));

    drop(scene.end());
}

/// The checks of each table that did not hold, by the records.
fn not_held(stream: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    for check in records.filter(|r| r["type"] == "check" && r["ok"] != true) {
        let table = check["table"].as_str().unwrap_or_default();
        let table = table.rsplit('.').next().unwrap_or_default().to_owned();
        let name = check["name"].as_str().unwrap().to_owned();
        assert_ne!(check["want"], check["got"], "{check}");
        found.entry(table).or_default().insert(name);
    }
    found
}

/// What the verdict says that failed or could not be asked.
fn named_by_the_verdict(stream: &str) -> BTreeSet<String> {
    let mut records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let verdict = records.find(|r| r["type"] == "verdict").unwrap();
    let names = ["said_no", "unasked"]
        .iter()
        .filter_map(|list| verdict[list].as_array());
    names.flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The mutation did what it says, as Google's client sees it: else a check that is silent would be right.
fn happened(m: &Mutation, before: &Map<String, Value>, after: &Map<String, Value>) {
    let name = format!("m.{}", m.table);
    let (was, is) = (&before[&name], after.get(&name).unwrap_or(&Value::Null));
    let differs = was != is;
    assert_eq!(
        differs,
        !m.caught_by.is_empty() || m.table == "grown",
        "{}: {was} {is}",
        m.what
    );
}
