use serde_json::json;

use super::*;
use crate::foresight::deeds;
use crate::script::read;

/// `p.d.plain`, `p.d.tagged`, `p.d.policies`, `p.d.laid_out`, `p.d.streams`.
fn tables() -> BTreeMap<TableRef, Before> {
    let name = |text: &str| TableRef::parse(&format!("p.d.{text}"), None).unwrap();
    let of = |resource: Value| Before {
        meta: TableMeta::of(resource.as_object().unwrap()),
        ..Before::default()
    };
    let tags = json!({ "names": ["projects/p/locations/us/taxonomies/1/policyTags/2"] });
    let tagged = json!({ "schema": { "fields": [
        { "name": "id", "type": "INTEGER", "policyTags": { "names": [] } },
        { "name": "who", "type": "RECORD", "fields": [{ "name": "mail", "type": "STRING", "policyTags": tags }] },
    ] } });
    let laid_out = json!({ "timePartitioning": { "type": "DAY", "field": "At" }, "clustering": { "fields": ["id"] } });
    [
        (name("plain"), of(json!({}))),
        (name("tagged"), of(tagged)),
        (
            name("policies"),
            Before {
                row_policies: true,
                ..Before::default()
            },
        ),
        (name("laid_out"), of(laid_out)),
        (
            name("streams"),
            Before {
                streams: true,
                ..Before::default()
            },
        ),
    ]
    .into()
}

fn found(text: &str) -> Vec<Trap> {
    let statements = read(text).unwrap();
    let deeds = deeds(text, &statements, &"p".parse().unwrap(), None);
    traps(text, &statements, &deeds, &tables())
}

#[test]
fn what_a_replaced_table_loses() {
    for (text, want) in [
        ("CREATE OR REPLACE TABLE d.plain AS SELECT 1 AS a", None),
        (
            "CREATE OR REPLACE TABLE d.tagged AS SELECT 1 AS a",
            Some("policy tags of its columns (who.mail)"),
        ),
        (
            "CREATE OR REPLACE TABLE d.policies (a INT64)",
            Some("row access policies are gone"),
        ),
        (
            "CREATE OR REPLACE TABLE d.laid_out PARTITION BY at CLUSTER BY ID AS SELECT 1 AS id",
            None,
        ),
        (
            "CREATE OR REPLACE TABLE d.laid_out CLUSTER BY id AS SELECT 1 AS id",
            Some("was DAY(At), cluster(id), would be cluster(id)"),
        ),
        (
            "CREATE OR REPLACE TABLE d.laid_out AS SELECT 1 AS id",
            Some("would be none"),
        ),
        (
            "CREATE OR REPLACE TABLE d.plain CLUSTER BY a AS SELECT 1 AS a",
            Some("was none, would be cluster(a)"),
        ),
        // What is partitioned by something that is not understood is not said to differ.
        (
            "CREATE OR REPLACE TABLE d.laid_out PARTITION BY f(a, b, c) AS SELECT 1 AS id",
            None,
        ),
        // Another's table, and one that nothing is lost of.
        ("CREATE OR REPLACE TABLE d.unknown AS SELECT 1 AS a", None),
        ("DROP TABLE d.tagged", None),
    ] {
        let found = found(text);
        match want {
            None => assert_eq!(found, [], "{text}"),
            Some(want) => assert!(found.len() == 1 && found[0].what.contains(want), "{text}: {found:?}"),
        }
    }
}

#[test]
fn rows_changed_one_statement_at_a_time_could_be_one_transaction() {
    for (text, is) in [
        (
            "UPDATE d.plain SET a = 1 WHERE TRUE; DELETE FROM d.plain WHERE a = 2",
            true,
        ),
        (
            "DECLARE x INT64; SELECT 1; UPDATE d.plain SET a = 1 WHERE TRUE; ASSERT TRUE; DELETE FROM d.plain WHERE a = 2",
            true,
        ),
        ("UPDATE d.plain SET a = 1 WHERE TRUE", false),
        (
            "BEGIN TRANSACTION; UPDATE d.plain SET a = 1 WHERE TRUE; DELETE FROM d.plain WHERE a = 2; COMMIT TRANSACTION",
            false,
        ),
        (
            "UPDATE d.plain SET a = 1 WHERE TRUE; DELETE FROM d.plain WHERE a = 2; DROP TABLE d.x",
            false,
        ),
    ] {
        let found = found(text);
        assert_eq!(
            found.iter().any(|trap| trap.next.contains("one transaction")),
            is,
            "{text}"
        );
    }
}

#[test]
fn an_instant_without_a_zone_is_in_los_angeles() {
    let of = |time: &str| format!("SELECT * FROM d.plain FOR SYSTEM_TIME AS OF {time}");
    for (time, trap) in [
        ("'2026-01-01 00:00:00'", true),
        ("TIMESTAMP '2026-01-01'", true),
        ("TIMESTAMP(\"2026-01-01 00:00:00\")", true),
        ("'2026-01-01 00:00:00+00'", false),
        ("'2026-01-01 00:00:00-08:00'", false),
        ("'2026-01-01T00:00:00Z'", false),
        ("TIMESTAMP '2026-01-01 00:00:00 Europe/Berlin'", false),
        ("'2026-01-01 00:00:00 UTC'", false),
        ("TIMESTAMP('2026-01-01 00:00:00', 'UTC')", false),
        ("(TIMESTAMP ( \"2026-01-01 00:00:00\" , zone))", false),
        ("'2026-01-01 00:00:00', d.plain", true),
        ("TIMESTAMP '2026-01-01 00:00:00', d.plain", true),
        ("TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR)", false),
        ("at_that_time", false),
    ] {
        let text = of(time);
        let traps = found(&text);
        assert_eq!(traps.len(), usize::from(trap), "{text}: {traps:?}");
        assert!(found(&format!("SET @@time_zone = 'UTC'; {text}")).is_empty(), "{text}");
    }
    let query = of("'2026-01-01 00:00:00'");
    for block in [
        format!("FOR r IN ({query}) DO SELECT 1; END FOR"),
        format!("IF EXISTS({query}) THEN SELECT 1; END IF"),
        format!("WHILE EXISTS({query}) DO SELECT 1; END WHILE"),
    ] {
        assert_eq!(found(&block).len(), 1, "{block}");
    }
    let commented = "SELECT ' FOR SYSTEM_TIME AS OF' -- FOR SYSTEM_TIME AS OF '2026-01-01'\n, 1";
    assert!(found(commented).is_empty());
}

#[test]
fn names_of_the_sql_before() {
    for (text, trap) in [
        ("SELECT * FROM [my-project:d.plain]", Some(14)),
        ("#legacySQL\nSELECT 1", Some(0)),
        ("SELECT '[p:d.t]', [1, 2], a[b] -- [p:d.t]", None),
        ("SELECT * FROM `p.d.t`", None),
    ] {
        let found: Vec<usize> = found(text).iter().map(|trap| trap.at).collect();
        assert_eq!(found, trap.into_iter().collect::<Vec<usize>>(), "{text}");
    }
}

#[test]
fn a_table_is_not_renamed_under_a_streamer() {
    let name = |text: &str| TableRef::parse(&format!("p.d.{text}"), None).unwrap();
    for (table, kind, is) in [
        ("streams", Kind::AlterTable, true),
        ("plain", Kind::AlterTable, false),
        ("streams", Kind::DropTable, false),
    ] {
        let text = "ALTER TABLE d.x RENAME TO y";
        let statement = Statement {
            kind,
            ..read(text).unwrap().remove(0)
        };
        let deeds = Deeds {
            effects: vec![(Deed::Drop, Thing::Table(name(table)))],
            ..Deeds::default()
        };
        assert_eq!(
            !traps(text, &[statement], &[deeds], &tables()).is_empty(),
            is,
            "{table} {kind}"
        );
    }
}
