//! What bq-check makes of columns, layout, options and row policies, on a real SQL engine: each harm is named in its
//! record, and what a rule allows raises no alarm.

use crate::scene::{self, Scene};
use crate::world::Machine;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tests::gateway::GatewayOptions;

/// A table, the rule it stands under, how it is made, what the migration does to it, and the check that must say so.
struct Harm {
    table: &'static str,
    rule: &'static str,
    made: &'static str,
    done: &'static str,
    /// Name, severity and what is got; none: nothing may be found.
    found: Option<(&'static str, &'static str, &'static str)>,
}

const TWO_COLUMNS: &str = "CREATE TABLE h.T (id INT64 NOT NULL, name STRING)";
const RECORD: &str = "CREATE TABLE h.T AS SELECT 1 AS id, STRUCT(1 AS x, 'a' AS y) AS r";
const BY_DAY: &str = "CREATE TABLE h.T (day DATE, id INT64) PARTITION BY day CLUSTER BY id";
const OPTIONS: &str =
    "CREATE TABLE h.T (id INT64) OPTIONS (description = 'kept', labels = [('team', 'x'), ('tier', 'y')])";
const POLICY: &str = "CREATE TABLE h.T AS SELECT 1 AS id;
    CREATE ROW ACCESS POLICY everyone ON h.T GRANT TO ('allAuthenticatedUsers') FILTER USING (TRUE);
    CREATE ROW ACCESS POLICY first ON h.T GRANT TO ('allAuthenticatedUsers') FILTER USING (id = 1)";

const HARMS: [Harm; 19] = [
    Harm {
        table: "dropped",
        rule: "grow",
        made: TWO_COLUMNS,
        done: "ALTER TABLE h.T DROP COLUMN name",
        found: Some(("schema", "error", "column name is gone")),
    },
    Harm {
        table: "renamed",
        rule: "grow",
        made: TWO_COLUMNS,
        done: "ALTER TABLE h.T RENAME COLUMN name TO title",
        found: Some(("schema", "error", "column name is gone (renamed to `title`?)")),
    },
    Harm {
        table: "retyped",
        rule: "grow",
        made: TWO_COLUMNS,
        done: "CREATE OR REPLACE TABLE h.T (id STRING NOT NULL, name STRING)",
        found: Some(("schema", "error", "column id: type was INT64, is STRING")),
    },
    Harm {
        table: "tightened",
        rule: "grow",
        made: TWO_COLUMNS,
        done: "CREATE OR REPLACE TABLE h.T (id INT64 NOT NULL, name STRING NOT NULL)",
        found: Some(("schema", "error", "column name: mode was NULLABLE, is REQUIRED")),
    },
    Harm {
        table: "relaxed_same",
        rule: "same",
        made: TWO_COLUMNS,
        done: "ALTER TABLE h.T ALTER COLUMN id DROP NOT NULL",
        found: Some(("schema", "error", "column id: mode was REQUIRED, is NULLABLE")),
    },
    Harm {
        table: "relaxed_grow",
        rule: "grow",
        made: TWO_COLUMNS,
        done: "ALTER TABLE h.T ALTER COLUMN id DROP NOT NULL",
        found: None,
    },
    Harm {
        table: "reordered_same",
        rule: "same",
        made: TWO_COLUMNS,
        done: "CREATE OR REPLACE TABLE h.T (name STRING, id INT64 NOT NULL)",
        found: Some(("schema", "error", "columns are in another order: name, id")),
    },
    Harm {
        table: "nested_dropped",
        rule: "grow",
        made: RECORD,
        done: "CREATE OR REPLACE TABLE h.T AS SELECT id, STRUCT(r.x AS x) AS r FROM h.T",
        found: Some(("schema", "error", "column r.y is gone")),
    },
    Harm {
        table: "nested_added_same",
        rule: "same",
        made: RECORD,
        done: "CREATE OR REPLACE TABLE h.T AS SELECT id, STRUCT(r.x AS x, r.y AS y, 2 AS z) AS r FROM h.T",
        found: Some(("schema", "error", "column r.z was added")),
    },
    Harm {
        table: "unclustered",
        rule: "grow",
        made: BY_DAY,
        done: "DROP TABLE h.T; CREATE TABLE h.T (day DATE, id INT64) PARTITION BY day",
        found: Some(("layout", "error", "DAY(day)")),
    },
    Harm {
        table: "repartitioned",
        rule: "grow",
        made: BY_DAY,
        done: "DROP TABLE h.T;
            CREATE TABLE h.T (day DATE, id INT64) PARTITION BY DATE_TRUNC(day, MONTH) CLUSTER BY id",
        found: Some(("layout", "error", "MONTH(day), cluster(id)")),
    },
    Harm {
        table: "unlabelled_same",
        rule: "same",
        made: OPTIONS,
        done: "ALTER TABLE h.T SET OPTIONS (labels = [('tier', 'y')])",
        found: Some(("options", "error", "label team: was `x`, is not set")),
    },
    Harm {
        table: "unlabelled_grow",
        rule: "grow",
        made: OPTIONS,
        done: "ALTER TABLE h.T SET OPTIONS (labels = [('tier', 'y'), ('new', 'z')])",
        found: Some(("options", "warn", "label team: was `x`, is not set")),
    },
    Harm {
        table: "described_anew",
        rule: "grow",
        made: OPTIONS,
        done: "ALTER TABLE h.T SET OPTIONS (description = 'lost')",
        found: Some(("options", "warn", "description: was `kept`, is `lost`")),
    },
    Harm {
        table: "unkeyed",
        rule: "same",
        made: "CREATE TABLE h.T (id INT64, PRIMARY KEY (id) NOT ENFORCED)",
        done: "ALTER TABLE h.T DROP PRIMARY KEY",
        found: Some(("options", "error", r#"primary key: was ["id"], is not set"#)),
    },
    Harm {
        table: "unfiltered",
        rule: "grow",
        made: "CREATE TABLE h.T (day DATE) PARTITION BY day OPTIONS (require_partition_filter = TRUE)",
        done: "ALTER TABLE h.T SET OPTIONS (require_partition_filter = FALSE)",
        found: Some(("options", "warn", "required partition filter: was true, is false")),
    },
    Harm {
        table: "exposed_same",
        rule: "same",
        made: POLICY,
        done: "CREATE OR REPLACE TABLE h.T AS SELECT 1 AS id",
        found: Some((
            "policies",
            "error",
            "policy everyone (TRUE) is gone; policy first (id = 1) is gone; \
             every row is open to all who may read the table",
        )),
    },
    Harm {
        table: "exposed_grow",
        rule: "grow",
        made: POLICY,
        done: "CREATE OR REPLACE TABLE h.T AS SELECT 1 AS id",
        found: Some((
            "policies",
            "warn",
            "policy everyone (TRUE) is gone; policy first (id = 1) is gone; \
             every row is open to all who may read the table",
        )),
    },
    Harm {
        table: "anything",
        rule: "any",
        made: OPTIONS,
        done: "DROP TABLE h.T; CREATE TABLE h.T (other STRING) CLUSTER BY other",
        found: None,
    },
];

/// The checks of a stream, by table.
fn checks(stream: &str) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in stream.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        if let (Some("check"), Some(table)) = (record["type"].as_str(), record["table"].as_str()) {
            let table = table.rsplit('.').next().unwrap().to_owned();
            found.entry(table).or_default().push(record);
        }
    }
    found
}

fn list(tables: impl Iterator<Item = (&'static str, &'static str)>) -> String {
    let lines: String = tables.map(|(table, rule)| format!("h.{table},{rule},any\n")).collect();
    format!("table,schema,after\n{lines}")
}

#[test]
fn each_harm_to_a_schema_is_named_in_its_record() {
    let scene = Scene::at(&scene::shared());
    let all = |which: fn(&Harm) -> &'static str| -> String {
        let of = |harm: &Harm| format!("{};\n", which(harm).replace("h.T", &format!("h.{}", harm.table)));
        HARMS.iter().map(of).collect()
    };
    scene.write("setup.sql", &format!("CREATE SCHEMA h;\n{}", all(|harm| harm.made)));
    scene.write("harm.sql", &all(|harm| harm.done));
    scene.write("tables.csv", &list(HARMS.iter().map(|harm| (harm.table, harm.rule))));
    scene
        .sh("bq-run -q --run harm_setup --unprotected setup.sql >setup.stream")
        .expect(0, "setup");
    let ended = scene.sh("bq-snap -q -f tables.csv | bq-run -q harm.sql | bq-check -q >harm.stream");
    ended.expect(1, "the line");

    let found = checks(&scene.read("harm.stream"));
    for harm in &HARMS {
        let checks = &found[harm.table];
        let names: BTreeSet<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(
            names.contains("options"),
            harm.rule != "any",
            "{}: {names:?}",
            harm.table
        );
        let bad: Vec<(&str, &str, &str)> = checks
            .iter()
            .filter(|check| check["ok"] != true)
            .map(|check| {
                let text = |key: &str| check[key].as_str().unwrap();
                (text("name"), text("severity"), text("got"))
            })
            .collect();
        assert_eq!(bad, Vec::from_iter(harm.found), "{}", harm.table);
    }
    drop(scene.end());
}

/// What is made, and what a migration may do to it under its rule.
const KEPT: [(&str, &str, &str, &str); 5] = [
    ("written_same", "same", OPTIONS, "INSERT INTO h.T (id) VALUES (1)"),
    (
        "policied_same",
        "same",
        POLICY,
        "INSERT INTO h.T (id) VALUES (1); TRUNCATE TABLE h.T",
    ),
    (
        "partitioned_same",
        "same",
        "CREATE TABLE h.T (day DATE, id INT64 NOT NULL, PRIMARY KEY (id) NOT ENFORCED) PARTITION BY day CLUSTER BY id
         OPTIONS (require_partition_filter = TRUE, partition_expiration_days = 9,
                  expiration_timestamp = TIMESTAMP '2100-01-01 00:00:00+00:00')",
        "INSERT INTO h.T (day, id) VALUES (CURRENT_DATE(), 1)",
    ),
    (
        "wider_grow",
        "grow",
        "CREATE TABLE h.T (id INT64 OPTIONS (description = 'which'), name STRING DEFAULT 'x')
         OPTIONS (description = 'kept')",
        "ALTER TABLE h.T ADD COLUMN more STRING;
         ALTER TABLE h.T SET OPTIONS (labels = [('new', 'z')], friendly_name = 'New')",
    ),
    (
        "nested_grow",
        "grow",
        RECORD,
        "CREATE OR REPLACE TABLE h.T AS SELECT STRUCT(2 AS z, r.y AS y, r.x AS x) AS r, id FROM h.T",
    ),
];

#[test]
fn what_a_rule_allows_raises_no_alarm() {
    let scene = Scene::at(&scene::shared());
    let all = |which: usize| -> String {
        let of = |(table, _, made, done): &(&str, &str, &str, &str)| {
            format!("{};\n", [made, done][which].replace("h.T", &format!("allowed.{table}")))
        };
        KEPT.iter().map(of).collect()
    };
    scene.write("setup.sql", &format!("CREATE SCHEMA allowed;\n{}", all(0)));
    scene.write("m.sql", &all(1));
    let tables = list(KEPT.iter().map(|(table, rule, ..)| (*table, *rule)));
    scene.write("tables.csv", &tables.replace("h.", "allowed."));
    scene
        .sh("bq-run -q --run allowed_setup --unprotected setup.sql >setup.stream")
        .expect(0, "setup");
    let ended = scene.sh("bq-snap -q -f tables.csv | bq-run -q m.sql | bq-check -q >line.stream");
    ended.expect(0, "the line");

    let found = checks(&scene.read("line.stream"));
    let names = |table: &str| -> Vec<&str> { found[table].iter().map(|c| c["name"].as_str().unwrap()).collect() };
    for (table, rule, ..) in KEPT {
        let bad: Vec<&Value> = found[table].iter().filter(|check| check["ok"] != true).collect();
        assert!(bad.is_empty(), "{table}: {bad:#?}");
        // Policies are asked for only where they matter.
        let asked = rule == "same" || table == "nested_grow" || table == "wider_grow";
        assert_eq!(names(table).contains(&"policies"), asked, "{table}");
        assert!(names(table).contains(&"options"), "{table}");
    }
    drop(scene.end());
}

/// The answer of the one check `policies` of a line over a table under `same`.
fn policies_told(machine: &Machine) -> Value {
    std::fs::write(machine.path("t.csv"), "table,schema\nd.orders,same\n").unwrap();
    std::fs::write(machine.path("m.sql"), "INSERT INTO d.orders VALUES (4, 'pan', NULL)").unwrap();
    let (status, said) = machine.sh("bq-snap -q -f t.csv | bq-run -q m.sql | bq-check -q >out");
    assert_eq!(status, Some(0), "{said}");
    let found = checks(&std::fs::read_to_string(machine.path("out")).unwrap());
    let mut found = found["orders"].iter().filter(|check| check["name"] == "policies");
    let check = found.next().unwrap().clone();
    assert_eq!(found.next(), None);
    check
}

#[test]
fn policies_that_bigquery_does_not_tell_of_are_no_answer_and_no_rejection() {
    let denied = Machine::new(1);
    denied.world.take_right("pretend.d", "rowAccessPolicies.list");
    let check = policies_told(&denied);
    assert_eq!(
        (&check["ok"], &check["severity"]),
        (&Value::Null, &"warn".into()),
        "{check}"
    );
    let got = check["got"].as_str().unwrap();
    assert!(
        got.contains("could not be learned") && got.contains("bigquery.rowAccessPolicies.list"),
        "{got}"
    );
    denied.no_violations();

    // An endpoint that has no such method, as emulators may.
    let options = GatewayOptions {
        faults: "GET /rowAccessPolicies : 501".parse().unwrap(),
        ..GatewayOptions::default()
    };
    let check = policies_told(&Machine::behind(1, options));
    assert_eq!(
        (&check["ok"], &check["severity"]),
        (&Value::Null, &"warn".into()),
        "{check}"
    );

    let told = Machine::new(1);
    let check = policies_told(&told);
    assert_eq!((&check["ok"], &check["got"]), (&true.into(), &"kept".into()), "{check}");
}
