use super::*;
use crate::script::read;

/// What each statement that does anything does: `W` writes, `C` makes, `R` replaces, `D` drops, `B` beyond; to a table by its
/// name, `~t` temporary, `?t` not known which. `+t`: a temporary table is made.
fn told(text: &str, default: Option<&str>) -> String {
    let home: ProjectId = "p".parse().unwrap();
    let default = default.map(|name| DatasetRef::parse(name, &home).unwrap());
    let statements = read(text).unwrap();
    let mut out: Vec<String> = Vec::new();
    for deeds in deeds(text, &statements, &home, default.as_ref()) {
        out.extend(deeds.makes.iter().map(|name| format!("+{name}")));
        out.extend(deeds.effects.iter().map(|(deed, thing)| {
            let deed = &format!("{deed:?}")[..1];
            match thing {
                Thing::Temporary(name) => format!("{deed} ~{name}"),
                Thing::Unknown(name) => format!("{deed} ?{name}"),
                Thing::Dataset(dataset) => format!("{deed} {}", dataset.dataset),
                thing => format!("{deed} {}", thing.to_string().trim_start_matches("p.")),
            }
        }));
    }
    out.join(", ")
}

#[test]
fn a_table_is_temporary_by_its_keyword_alone() {
    for (text, want) in [
        ("CREATE TEMP TABLE t AS SELECT 1; INSERT t SELECT 1", "+t, W ~t"),
        (
            "CREATE TEMP TABLE t AS SELECT 1; CREATE OR REPLACE TABLE t AS SELECT 1",
            "+t, R d.t",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT 1; CREATE VIEW t AS SELECT 1",
            "+t, C d.t",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT 1; CREATE OR REPLACE EXTERNAL TABLE t OPTIONS (format = 'CSV')",
            "+t, R d.t",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT 1; CREATE SNAPSHOT TABLE t CLONE d.u",
            "+t, C d.t",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT 1; LOAD DATA OVERWRITE t FROM FILES (format = 'CSV')",
            "+t, W d.t",
        ),
        (
            "LOAD DATA INTO TEMP TABLE t FROM FILES (format = 'CSV'); DELETE t WHERE TRUE",
            "+t, W ~t",
        ),
        (
            "LOAD DATA OVERWRITE temp.orders FROM FILES (format = 'CSV')",
            "W temp.orders",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT 1; ALTER TABLE d.u RENAME TO t",
            "+t, D d.u, C d.t",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT 1; FROM d.s |> CREATE OR REPLACE TABLE t",
            "+t, R d.t",
        ),
        ("CREATE TABLE _SESSION.t AS SELECT 1; DELETE t WHERE TRUE", "+t, W ~t"),
        // A pipe that makes one hides nothing that others do.
        (
            "FROM d.s |> FORK (|> CREATE TEMP TABLE t), (|> INSERT INTO d.u), (|> EXPORT DATA OPTIONS (uri = 'x')), \
             (|> CREATE TEMP TABLE w)",
            "+t, W d.u, B select, +w",
        ),
        // What has no name that can be read is not nothing.
        (
            r"CREATE OR REPLACE TEMP TABLE `a\x62` AS SELECT 1",
            "R ?what has no name here",
        ),
        ("CREATE OR REPLACE TEMP TABLE d.t AS SELECT 1", "R d.t"),
        ("CREATE TEMP FUNCTION f() AS (1); DROP FUNCTION f", "D d.f"),
        ("INSERT REPLACE (a) VALUES (1)", "W ?what has no name here"),
        // Of two spellings is not known whether they are two.
        ("CREATE TEMP TABLE t AS SELECT 1; DELETE T WHERE TRUE", "+t, W ?T"),
        (
            "CREATE TEMP TABLE t (a INT64); CREATE TEMP TABLE T (a INT64); DROP TABLE t; DELETE T WHERE TRUE",
            "+t, +t, D ?t, W ?T",
        ),
    ] {
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split(", ").map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(sorted(&told(text, Some("d"))), sorted(want), "{text}");
    }
}

#[test]
fn what_may_not_be_there_any_more_is_not_taken_for_temporary() {
    for (text, want) in [
        ("MAKE DROP TABLE t; DELETE t WHERE TRUE", "+t, D ~t, W d.t"),
        (
            "MAKE DROP TABLE IF EXISTS _SESSION.t; DELETE t WHERE TRUE",
            "+t, D ~t, W d.t",
        ),
        ("MAKE DROP TABLE t; MAKE DELETE t WHERE TRUE", "+t, D ~t, +t, W ~t"),
        (
            "IF a THEN MAKE DELETE t WHERE TRUE; END IF; DELETE t WHERE TRUE",
            "+t, W ~t, W ?t",
        ),
        ("IF a THEN MAKE ELSE DELETE t WHERE TRUE; END IF", "+t, W ?t"),
        (
            "IF a THEN SELECT 1; ELSEIF b THEN MAKE ELSE DELETE t WHERE TRUE; END IF",
            "+t, W ?t",
        ),
        (
            "CASE WHEN a THEN MAKE WHEN b THEN DELETE t WHERE TRUE; END CASE",
            "+t, W ?t",
        ),
        (
            "MAKE IF a THEN DROP TABLE t; END IF; DELETE t WHERE TRUE",
            "+t, D ~t, W ?t",
        ),
        ("IF a THEN DROP TABLE t; END IF; DELETE t WHERE TRUE", "D d.t, W d.t"),
        ("BEGIN MAKE END; DELETE t WHERE TRUE", "+t, W ~t"),
        (
            "BEGIN MAKE EXCEPTION WHEN ERROR THEN DELETE t WHERE TRUE; END",
            "+t, W ?t",
        ),
        (
            "BEGIN MAKE EXCEPTION WHEN ERROR THEN END; DELETE t WHERE TRUE",
            "+t, W ?t",
        ),
        (
            "MAKE BEGIN DROP TABLE t; MAKE EXCEPTION WHEN ERROR THEN DELETE t WHERE TRUE; END",
            "+t, D ~t, +t, W ?t",
        ),
        (
            "x: BEGIN IF a THEN LEAVE x; END IF; MAKE END x; DELETE t WHERE TRUE",
            "+t, W ?t",
        ),
        ("WHILE a DO MAKE END WHILE; DELETE t WHERE TRUE", "+t, W ?t"),
        (
            "MAKE LOOP DELETE t WHERE TRUE; DROP TABLE t; END LOOP",
            "+t, W ?t, D ?t",
        ),
        ("LOOP DELETE t WHERE TRUE; MAKE END LOOP", "W ?t, +t"),
        ("MAKE FOR r IN (SELECT 1) DO INSERT t VALUES (1); END FOR", "+t, W ~t"),
        (
            "LOOP MAKE LOOP DELETE t WHERE TRUE; DROP TABLE t; END LOOP; END LOOP",
            "+t, W ?t, D ?t",
        ),
        ("BEGIN TRANSACTION; MAKE ROLLBACK; DELETE t WHERE TRUE", "+t, W ?t"),
        ("BEGIN TRANSACTION; MAKE COMMIT; DELETE t WHERE TRUE", "+t, W ~t"),
        (
            "MAKE BEGIN TRANSACTION; DROP TABLE t; ROLLBACK; DELETE t WHERE TRUE",
            "+t, D ~t, W ?t",
        ),
        ("MAKE CALL d.p(); DELETE t WHERE TRUE", "+t, W ?t"),
        ("MAKE EXECUTE IMMEDIATE 'x'; MAKE DELETE t WHERE TRUE", "+t, +t, W ~t"),
        ("MAKE LOOP DELETE t WHERE TRUE; CALL d.p(); END LOOP", "+t, W ?t"),
    ] {
        let text = text.replace("MAKE", "CREATE TEMP TABLE t (a INT64);");
        assert_eq!(told(&text, Some("d")), want, "{text}");
        // Without another table that it could be it is temporary or the script fails.
        let alone = want.replace('?', "~").replace(" d.t", " ?t");
        assert_eq!(told(&text, None), alone, "{text}");
    }
}

#[test]
fn a_default_dataset_that_is_set_is_followed_or_not_known() {
    for (text, want) in [
        ("SET @@dataset_id = 'e'; DELETE t WHERE TRUE", "W e.t"),
        (
            "SET @@dataset_id = 'e'; SET @@dataset_id = 'f'; DELETE t WHERE TRUE",
            "W f.t",
        ),
        (
            "SET @@ dataset_id = x; DELETE t WHERE TRUE; DELETE d.t WHERE TRUE",
            "W ?t, W d.t",
        ),
        ("SET @@`dataset_id` = x; DELETE t WHERE TRUE", "W ?t"),
        ("SET @@/**/dataset_id = x; DELETE t WHERE TRUE", "W ?t"),
        ("SET @@dataset_id = 'q.e'; DELETE t WHERE TRUE", "W ?t"),
        (
            "SET @@dataset_id = x; SET @@dataset_id = 'e'; DELETE t WHERE TRUE",
            "W ?t",
        ),
        ("CALL d.p(); SET @@dataset_id = 'e'; DELETE t WHERE TRUE", "W ?t"),
        ("BEGIN TRANSACTION; SET @@dataset_id = 'e'; DELETE t WHERE TRUE", "W ?t"),
        ("IF a THEN SET @@dataset_id = 'e'; END IF; DELETE t WHERE TRUE", "W ?t"),
        ("LOOP DELETE t WHERE TRUE; SET @@dataset_id = 'e'; END LOOP", "W ?t"),
        ("SET x = @@dataset_id; DELETE t WHERE TRUE", "W d.t"),
        (
            "SET @@dataset_project_id = 'q'; DELETE d.t WHERE TRUE; DROP SCHEMA d",
            "W ?d.t, D ?d",
        ),
        (
            "SET @@dataset_project_id = 'q'; SET @@dataset_id = 'e'; DELETE t WHERE TRUE",
            "W ?t",
        ),
        (
            "CREATE TEMP TABLE t (a INT64); SET @@dataset_id = x; DELETE t WHERE TRUE; CREATE OR REPLACE TABLE t (a INT64)",
            "+t, W ~t, R ?t",
        ),
    ] {
        assert_eq!(told(text, Some("d")), want, "{text}");
    }
    assert_eq!(told("SET @@dataset_id = 'e'; DELETE t WHERE TRUE", Some("q.d")), "W ?t");
    assert_eq!(told("SET @@dataset_id = 'e'; DELETE t WHERE TRUE", None), "W e.t");
    // Without a default, but maybe with one.
    let text = "IF a THEN CREATE TEMP TABLE t (a INT64); END IF; SET @@dataset_id = x; DELETE t WHERE TRUE";
    assert_eq!(told(text, None), "+t, W ?t");
}

#[test]
fn what_comes_back_cannot_be_looked_up() {
    for (text, want) in [
        (
            "DELETE e.t WHERE TRUE; UNDROP SCHEMA e; DELETE e.t WHERE TRUE; DROP FUNCTION e.f; DELETE d.t WHERE TRUE",
            "W e.t, C e, W ?e.t, D ?e.f, W d.t",
        ),
        ("UNDROP SCHEMA d; CREATE OR REPLACE TABLE t (a INT64)", "C d, R ?t"),
        (
            r"UNDROP SCHEMA `e\x62`; DELETE q.e.t WHERE TRUE",
            "C ?what has no name here, W ?q.e.t",
        ),
        ("LOOP DELETE e.t WHERE TRUE; UNDROP SCHEMA e; END LOOP", "W ?e.t, C e"),
    ] {
        assert_eq!(told(text, Some("d")), want, "{text}");
    }
}

/// As with reading: a script as long as BigQuery takes one, in far less than what grows with the square of it.
#[test]
fn a_megabyte_of_names_that_come_and_go_is_followed_at_once() {
    const MAKES: &str = "CREATE TEMP TABLE t (a INT64); ";
    let nested = |piece: &str, end: &str| {
        let times = (1 << 20) / (piece.len() + end.len());
        piece.repeat(times) + &end.repeat(times)
    };
    for text in [
        format!("IF a THEN {} END IF", format!("{MAKES} ELSEIF b THEN ").repeat(22_000)),
        nested(&format!("LOOP {MAKES}"), "END LOOP; "),
        nested("LOOP SET @@dataset_id = x; ", "DROP TABLE t; END LOOP; "),
        format!("BEGIN TRANSACTION; {MAKES} ROLLBACK; ").repeat(16_000),
        format!("x: BEGIN {MAKES} LEAVE x; END; ").repeat(16_000),
        format!("{MAKES} CALL d.p(); ").repeat(22_000),
    ] {
        let statements = read(&text).unwrap();
        let began = std::time::Instant::now();
        let all = deeds(&text, &statements, &"p".parse().unwrap(), None);
        assert!(all.len() > 10_000, "{}", all.len());
        assert!(
            began.elapsed() < std::time::Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
    }
}
