//! What statements are read as, one beside the other.

use super::*;

/// A script's statements: in how many blocks, `?` if it may not run, its kind, what it does, `< ` what it reads.
fn told(text: &str) -> Vec<String> {
    let statements = read(text).unwrap_or_else(|e| panic!("{e:?} in {text}"));
    statements.iter().map(one).collect()
}

fn one(statement: &Statement) -> String {
    let mut out = format!(
        "{}{} {}",
        statement.depth,
        if statement.conditional { "?" } else { "" },
        statement.kind
    );
    for effect in &statement.effects {
        let name = effect.name.as_ref().map_or("-".to_owned(), ToString::to_string);
        let temporary = if effect.temporary { " temp" } else { "" };
        out.push_str(&format!(" {:?} {:?} {name}{temporary}", effect.deed, effect.object));
    }
    for name in &statement.reads {
        out.push_str(&format!(" < {name}"));
    }
    out
}

#[test]
fn statements_are_told_by_their_words() {
    for (text, want) in [
        ("SELECT 1", "SELECT"),
        ("WITH a AS (SELECT * FROM d.t) SELECT * FROM a", "SELECT < d.t"),
        ("(SELECT 1 FROM d.t)", "SELECT < d.t"),
        ("FROM d.t |> WHERE x", "SELECT < d.t"),
        ("TABLE d.t", "SELECT < d.t"),
        ("INSERT INTO d.t (a) SELECT a FROM d.s", "INSERT Write Table d.t < d.s"),
        ("insert `p.d.t` values (1)", "INSERT Write Table p.d.t"),
        (
            "INSERT my-p.d.t(a) VALUES ((SELECT 1 FROM x.y))",
            "INSERT Write Table my-p.d.t < x.y",
        ),
        (
            "UPDATE d.t AS t SET a = 1 FROM d.s, t.items WHERE TRUE",
            "UPDATE Write Table d.t < d.s",
        ),
        (
            "DELETE FROM d.t WHERE a IN (SELECT a FROM d.s)",
            "DELETE Write Table d.t < d.s",
        ),
        ("DELETE d.t WHERE TRUE", "DELETE Write Table d.t"),
        (
            "MERGE INTO d.t t USING d.s s ON t.a = s.a WHEN MATCHED THEN DELETE",
            "MERGE Write Table d.t < d.s",
        ),
        (
            "MERGE d.t USING (SELECT * FROM d.s) ON FALSE WHEN NOT MATCHED THEN INSERT ROW",
            "MERGE Write Table d.t < d.s",
        ),
        ("TRUNCATE TABLE d.t", "TRUNCATE_TABLE Write Table d.t"),
        ("CREATE TABLE d.t (a INT64)", "CREATE_TABLE Create Table d.t"),
        (
            "CREATE OR REPLACE TABLE d.t AS SELECT 1 FROM d.s",
            "CREATE_TABLE_AS_SELECT Replace Table d.t < d.s",
        ),
        (
            "CREATE TABLE IF NOT EXISTS d.t AS (SELECT 1)",
            "CREATE_TABLE_AS_SELECT Create Table d.t",
        ),
        (
            "CREATE TEMP TABLE t AS SELECT 1",
            "CREATE_TABLE_AS_SELECT Create Table t temp",
        ),
        ("CREATE TABLE d.t LIKE d.s", "CREATE_TABLE_LIKE Create Table d.t < d.s"),
        (
            "CREATE TABLE d.t LIKE d.s AS SELECT * FROM d.u",
            "CREATE_TABLE_LIKE Create Table d.t < d.s < d.u",
        ),
        ("CREATE TABLE d.t COPY d.s", "CREATE_TABLE_COPY Create Table d.t < d.s"),
        (
            "CREATE TABLE d.t CLONE d.s FOR SYSTEM_TIME AS OF x",
            "CREATE_TABLE_CLONE Create Table d.t < d.s",
        ),
        (
            "CREATE SNAPSHOT TABLE IF NOT EXISTS d.s CLONE d.t",
            "CREATE_SNAPSHOT_TABLE Create Table d.s < d.t",
        ),
        (
            "CREATE EXTERNAL TABLE d.e OPTIONS(format = 'CSV')",
            "CREATE_EXTERNAL_TABLE Create Table d.e",
        ),
        (
            "CREATE OR REPLACE VIEW d.v (a) AS SELECT a FROM d.t",
            "CREATE_VIEW Replace Table d.v < d.t",
        ),
        (
            "CREATE MATERIALIZED VIEW d.v AS REPLICA OF d.w",
            "CREATE_MATERIALIZED_VIEW Create Table d.v < d.w",
        ),
        (
            "CREATE TEMP AGGREGATE FUNCTION f(x INT64) AS (SUM(x))",
            "CREATE_FUNCTION Create Routine f temp",
        ),
        (
            "CREATE OR REPLACE FUNCTION d.f() AS (1)",
            "CREATE_FUNCTION Replace Routine d.f",
        ),
        (
            "CREATE TABLE FUNCTION d.f() AS SELECT * FROM d.t",
            "CREATE_TABLE_FUNCTION Create Routine d.f < d.t",
        ),
        (
            "CREATE TABLE function AS SELECT 1",
            "CREATE_TABLE_AS_SELECT Create Table function",
        ),
        (
            "CREATE PROCEDURE d.p() BEGIN DROP TABLE d.t; END",
            "CREATE_PROCEDURE Beyond Routine d.p",
        ),
        (
            "CREATE PROCEDURE d.p() LANGUAGE PYTHON AS '''a;b'''",
            "CREATE_PROCEDURE Beyond Routine d.p",
        ),
        ("CREATE SCHEMA IF NOT EXISTS `p.d`", "CREATE_SCHEMA Create Dataset p.d"),
        (
            "CREATE OR REPLACE MODEL d.m OPTIONS(x=1) AS SELECT 1 FROM d.t",
            "CREATE_MODEL Replace Model d.m < d.t",
        ),
        (
            "CREATE SEARCH INDEX IF NOT EXISTS i ON d.t(ALL COLUMNS)",
            "CREATE_INDEX Beyond Table d.t",
        ),
        (
            "DROP VECTOR INDEX IF EXISTS i ON `p.d.t`",
            "DROP_INDEX Beyond Table p.d.t",
        ),
        (
            "CREATE ROW ACCESS POLICY p ON d.t FILTER USING (a IN (SELECT a FROM d.s))",
            "CREATE_ROW_ACCESS_POLICY Beyond Table d.t < d.s",
        ),
        (
            "DROP ROW ACCESS POLICY IF EXISTS p ON d.t",
            "DROP_ROW_ACCESS_POLICY Beyond Table d.t",
        ),
        (
            "DROP ALL ROW ACCESS POLICIES ON d.t",
            "DROP_ROW_ACCESS_POLICY Beyond Table d.t",
        ),
        (
            "ALTER TABLE IF EXISTS d.t ADD COLUMN a INT64, RENAME COLUMN b TO c",
            "ALTER_TABLE Write Table d.t",
        ),
        (
            "ALTER TABLE d.t RENAME TO u",
            "RENAME_TABLE Drop Table d.t Create Table d.u",
        ),
        (
            "ALTER TABLE `p.d.t` RENAME TO `u`",
            "RENAME_TABLE Drop Table p.d.t Create Table p.d.u",
        ),
        ("ALTER SCHEMA d SET OPTIONS(x=1)", "ALTER_SCHEMA Write Dataset d"),
        ("ALTER VECTOR INDEX i ON d.t REBUILD", "DDL Beyond Table d.t"),
        ("ALTER PROJECT `p` SET OPTIONS(x=1)", "DDL Beyond Other p"),
        ("ALTER ORGANIZATION SET OPTIONS(x=1)", "DDL Beyond Other -"),
        (
            "CREATE RESERVATION `p.region-us.r` OPTIONS(x=1)",
            "DDL Beyond Other p.region-us.r",
        ),
        ("DROP TABLE IF EXISTS d.t", "DROP_TABLE Drop Table d.t"),
        ("DROP TABLE FUNCTION d.f", "DROP_TABLE_FUNCTION Drop Routine d.f"),
        ("DROP PROCEDURE d.p", "DROP_PROCEDURE Beyond Routine d.p"),
        ("DROP SCHEMA d CASCADE", "DROP_SCHEMA Drop Dataset d"),
        ("UNDROP SCHEMA d", "UNDROP_SCHEMA Create Dataset d"),
        (
            "EXPORT DATA OPTIONS(uri='x') AS SELECT * FROM d.t",
            "EXPORT_DATA Beyond Other - < d.t",
        ),
        ("EXPORT MODEL d.m", "EXPORT_MODEL Beyond Model d.m"),
        (
            "LOAD DATA INTO d.t FROM FILES(format='CSV')",
            "LOAD_DATA Write Table d.t",
        ),
        (
            "LOAD DATA OVERWRITE d.t PARTITIONS(x) (a INT64) FROM FILES()",
            "LOAD_DATA Write Table d.t",
        ),
        (
            "LOAD DATA INTO TEMP TABLE t FROM FILES()",
            "LOAD_DATA Write Table t temp",
        ),
        ("GRANT `roles/x` ON TABLE d.t TO 'u'", "GRANT Beyond Table d.t"),
        (
            "REVOKE `roles/x`, `roles/y` ON SCHEMA `p`.d FROM 'u'",
            "REVOKE Beyond Dataset p.d",
        ),
        ("SET a = (SELECT 1 FROM d.t)", "SET < d.t"),
        ("ASSERT EXISTS (SELECT 1 FROM d.t)", "ASSERT < d.t"),
        ("CALL d.p(1)", "CALL"),
        (
            "EXECUTE IMMEDIATE 'x' USING (SELECT 1 FROM d.t)",
            "EXECUTE_IMMEDIATE < d.t",
        ),
        ("RAISE USING MESSAGE = 'x'", "RAISE"),
        ("BEGIN", "BEGIN_TRANSACTION"),
        ("BEGIN TRANSACTION", "BEGIN_TRANSACTION"),
        ("COMMIT TRANSACTION", "COMMIT_TRANSACTION"),
        ("ROLLBACK", "ROLLBACK_TRANSACTION"),
        // Pipes that write.
        ("FROM d.s |> INSERT INTO d.t", "SELECT Write Table d.t < d.s"),
        (
            "FROM d.s |> FORK (|> CREATE OR REPLACE TABLE d.t), (|> EXPORT DATA OPTIONS(x=1))",
            "SELECT Replace Table d.t Beyond Other - < d.s",
        ),
        ("FROM d.s |> CREATE TEMP TABLE t", "SELECT Create Table t temp < d.s"),
        // What a name is not.
        ("INSERT INTO `a\\`b` SELECT 1", "INSERT Write Table -"),
        ("DROP TABLE [p:d.t]", "DROP_TABLE Drop Table -"),
        ("VACUUM d.t; SELECT 1", "OPAQUE"),
        ("CREATE WIDGET d.t", "OPAQUE"),
        ("EXPLAIN SELECT 1", "OPAQUE"),
        ("`SELECT` 1", "OPAQUE"),
        // A name that is read in part, or a keyword that is read as one, is none.
        ("DELETE d.t$20260101 WHERE TRUE", "DELETE Write Table -"),
        ("DROP TABLE p:d.t", "DROP_TABLE Drop Table -"),
        (
            "CREATE OR REPLACE TABLE d.t-1 (a INT64)",
            "CREATE_TABLE Replace Table -",
        ),
        ("INSERT replace (a) VALUES (1)", "INSERT Write Table -"),
        ("INSERT d t VALUES (1)", "INSERT Write Table -"),
        ("UPDATE d.t, d.u SET a = 1 WHERE TRUE", "UPDATE Write Table -"),
        ("MERGE d.t x y USING d.s ON TRUE", "MERGE Write Table - < d.s"),
        ("TRUNCATE TABLE d.t d.u", "TRUNCATE_TABLE Write Table -"),
        ("LOAD DATA INTO TEMP d.t FROM FILES ()", "LOAD_DATA Write Table -"),
        ("INSERT REPLACE d.t (a) VALUES (1)", "INSERT Write Table d.t"),
        ("INSERT OR UPDATE INTO d.t (a) VALUES (1)", "INSERT Write Table d.t"),
        (
            "LOAD DATA OVERWRITE temp.t FROM FILES ()",
            "LOAD_DATA Write Table temp.t",
        ),
        ("LOAD DATA INTO table FROM FILES ()", "LOAD_DATA Write Table table"),
        (
            "ALTER TABLE d.t RENAME COLUMN rename TO x",
            "ALTER_TABLE Write Table d.t",
        ),
        ("@{a = 1} @5 DELETE d.t WHERE TRUE", "DELETE Write Table d.t"),
        ("@{a = 1; DELETE d.t WHERE TRUE", "OPAQUE"),
    ] {
        assert_eq!(told(text), [format!("0 {want}")], "{text}");
    }
}

#[test]
fn what_is_read_is_tables_and_nothing_else() {
    for (query, want) in [
        ("SELECT * FROM a, a.items, UNNEST([1]) AS n", vec!["a"]),
        (
            "WITH a AS (SELECT * FROM a) SELECT * FROM a JOIN d.b USING (x)",
            vec!["a", "d.b"],
        ),
        (
            "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a), b AS (SELECT * FROM b) SELECT * FROM a, b",
            vec![],
        ),
        ("WITH d AS (SELECT 1) SELECT * FROM d.t", vec!["d.t"]),
        (
            "SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t) JOIN t ON TRUE",
            vec!["t"],
        ),
        ("SELECT EXTRACT(DAY FROM x), a IS DISTINCT FROM b FROM d.t", vec!["d.t"]),
        ("SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t), d.f(1)", vec!["d.t"]),
        (
            "SELECT ARRAY(SELECT AS STRUCT * FROM d.t) FROM `p.d.u*`",
            vec!["d.t", "p.d.u*"],
        ),
        ("SELECT @from, a.from FROM d/**/.t", vec!["d.t"]),
        (
            "FROM d.a |> LEFT JOIN d.b USING (x) |> UNION ALL (SELECT * FROM d.c)",
            vec!["d.a", "d.b", "d.c"],
        ),
        (
            "SELECT * FROM d.t PIVOT(SUM(a) FOR b IN ('x')), EXTERNAL_QUERY('c', 'SELECT 1 FROM x')",
            vec!["d.t"],
        ),
    ] {
        let statements = read(query).unwrap();
        let names: Vec<String> = statements[0].reads.iter().map(ToString::to_string).collect();
        assert_eq!(names, want, "{query}");
    }
}

#[test]
fn blocks_stand_before_what_stands_in_them() {
    for (text, want) in [
        (
            "IF EXISTS (SELECT 1 FROM d.a) THEN SELECT 1; ELSEIF CASE WHEN x THEN y END THEN BEGIN SELECT 2; END; ELSE SELECT 3; END IF; COMMIT",
            vec![
                "0 IF < d.a",
                "1? SELECT",
                "1? BEGIN",
                "2? SELECT",
                "1? SELECT",
                "0 COMMIT_TRANSACTION",
            ],
        ),
        (
            "x: BEGIN SELECT 1; EXCEPTION WHEN ERROR THEN SELECT 2; END x; SELECT 3",
            vec!["0 BEGIN", "1 SELECT", "1? SELECT", "0 SELECT"],
        ),
        ("LOOP LEAVE; END LOOP;", vec!["0 LOOP", "1? JUMP"]),
        (
            "`l l`: WHILE do DO SELECT 1; END WHILE `L L`",
            vec!["0 WHILE", "1? SELECT"],
        ),
        (
            "REPEAT SET a = 1; UNTIL a > CASE a WHEN 1 THEN 2 END END REPEAT;",
            vec!["0 REPEAT", "1? SET"],
        ),
        (
            "FOR r IN (SELECT * FROM d.t) DO SELECT r; END FOR",
            vec!["0 FOR < d.t", "1? SELECT"],
        ),
        (
            "CASE x WHEN 1 THEN SELECT 1; WHEN (SELECT 2 FROM d.t) THEN ELSE SELECT 3; END CASE; CASE WHEN a THEN END CASE",
            vec!["0 CASE < d.t", "1? SELECT", "1? SELECT", "0 CASE"],
        ),
        (
            "CREATE OR REPLACE PROCEDURE d.p(begin INT64) BEGIN IF a THEN BEGIN END; END IF; EXCEPTION WHEN ERROR THEN RETURN; END; SELECT 1",
            vec!["0 CREATE_PROCEDURE Beyond Routine d.p", "0 SELECT"],
        ),
        (
            "BEGIN BEGIN TRANSACTION; BEGIN; END; SELECT 1",
            vec!["0 BEGIN", "1 BEGIN_TRANSACTION", "1 BEGIN_TRANSACTION", "0 SELECT"],
        ),
        // What does not fit.
        ("SELECT 1; END; SELECT 2", vec!["0 SELECT", "0 OPAQUE"]),
        ("SELECT 1; BEGIN SELECT 2; SELECT 3", vec!["0 SELECT", "0 OPAQUE"]),
        ("BEGIN SELECT 1 END", vec!["0 OPAQUE"]),
        (
            "IF a THEN SELECT 1; END; SELECT 2",
            vec!["0 IF", "1? SELECT", "1? OPAQUE"],
        ),
        ("IF a SELECT 1; END IF", vec!["0 OPAQUE"]),
        ("FOR r IN (SELECT 1) x DO SELECT 1; END FOR", vec!["0 OPAQUE"]),
        (
            "FOR r IN (SELECT 1) + (SELECT 2) DO SELECT 1; END FOR",
            vec!["0 OPAQUE"],
        ),
        ("BEGIN END x; SELECT 1", vec!["0 BEGIN", "1 OPAQUE"]),
        ("x: IF a THEN END IF", vec!["0 OPAQUE"]),
        ("CREATE PROCEDURE d.p() BEGIN WHAT; END; SELECT 1", vec!["0 OPAQUE"]),
        (
            "REPEAT SELECT 1; END REPEAT",
            vec!["0 REPEAT", "1? SELECT", "1? OPAQUE"],
        ),
        ("", vec![]),
        (" -- nothing\n;; ", vec![]),
    ] {
        assert_eq!(told(text), want, "{text}");
    }
}

#[test]
fn ranges_are_those_of_the_words() {
    let text =
        "/* a */ x: BEGIN -- b\n FOR r IN ( SELECT 1 ) DO INSERT d.t SELECT 1 -- c\n ; END FOR; END x /* d */ ; ";
    let statements = read(text).unwrap();
    let texts: Vec<&str> = statements.iter().map(|s| &text[s.range.clone()]).collect();
    assert!(
        texts[0].starts_with("BEGIN -- b") && texts[0].ends_with("END FOR; END x"),
        "{texts:?}"
    );
    assert!(
        texts[1].starts_with("FOR r") && texts[1].ends_with("END FOR"),
        "{texts:?}"
    );
    assert_eq!(texts[2], "INSERT d.t SELECT 1");
    assert_eq!(&text[statements[1].expressions[0].clone()], "SELECT 1");
    assert_eq!(statements[1].variables, ["r"]);
    let text = "DECLARE a, `b c` INT64 DEFAULT 1; WHILE a > 1 DO END WHILE; EXPORT DATA OPTIONS(x=1) AS (SELECT 1); \
                CREATE VIEW d.v AS WITH x AS (SELECT 1) SELECT * FROM x";
    let statements = read(text).unwrap();
    assert_eq!(statements[0].variables, ["a", "b c"]);
    assert_eq!(&text[statements[1].expressions[0].clone()], "a > 1");
    assert_eq!(&text[statements[2].query.clone().unwrap()], "(SELECT 1)");
    assert_eq!(
        &text[statements[3].query.clone().unwrap()],
        "WITH x AS (SELECT 1) SELECT * FROM x"
    );
}
