use super::*;
use crate::foresight::{Said, Verdict, deeds, verdict};
use crate::script::read;

/// What is found of the last statement of the last file, if BigQuery says this; `there`: the tables that exist.
fn last(files: &[&str], said: &Said, there: &[&str]) -> Verdict {
    let mut history = History::default();
    let mut found = Verdict::NoNeed;
    for (i, text) in files.iter().enumerate() {
        history.begin_file(&format!("{i}.sql"));
        let statements = read(text).unwrap();
        let script = Script::new(text, &statements);
        let deeds = deeds(text, &statements, &"p".parse().unwrap(), None);
        for (number, (statement, deeds)) in statements.iter().zip(&deeds).enumerate() {
            let named = Named::of(&script, statement, deeds, std::slice::from_ref(&statement.range));
            let under = history.under(&named).or_else(|| Some(history.target(&named)?.0));
            found = verdict(
                said,
                under,
                |reads| history.beneath(reads),
                |m| history.excuse(Some(&named), m),
                None,
                || script.may_not_run(number),
            );
            let is_there = |thing: &Thing| Some(there.contains(&thing.to_string().as_str()));
            history.note(&script, (number + 1, statement), deeds, is_there);
        }
    }
    found
}

fn fine(reads: &[&str]) -> Said {
    Said::Fine {
        bytes: Some(5),
        reads: reads.iter().map(|table| (*table).to_owned()).collect(),
    }
}

fn wrong(message: &str) -> Said {
    Said::Wrong {
        message: message.to_owned(),
        at: None,
        unsupported: false,
    }
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Validated => "validated".to_owned(),
        Verdict::NotKnowable(why) => why.clone(),
        Verdict::Wrong(why, _) => format!("wrong: {why}"),
        Verdict::MayFail(why, _) => format!("may fail: {why}"),
        Verdict::NoNeed => "no need".to_owned(),
    }
}

#[test]
fn an_answer_about_what_an_earlier_statement_changes_says_nothing() {
    let reads = "reads p.d.t, which statement 1";
    for (script, want) in [
        (
            "CREATE TABLE d.t AS SELECT 1 AS a; SELECT a FROM d.t",
            format!("{reads} makes"),
        ),
        (
            "CREATE OR REPLACE TABLE d.t AS SELECT 1 AS a; SELECT a FROM d.t",
            format!("{reads} replaces"),
        ),
        (
            "ALTER TABLE d.t ADD COLUMN b INT64; SELECT b FROM d.t",
            format!("{reads} alters"),
        ),
        ("DROP TABLE d.t; SELECT b FROM d.t", format!("{reads} drops")),
        (
            "CREATE TABLE d.t AS SELECT 1 AS a; INSERT INTO d.t VALUES (1)",
            "writes p.d.t, which statement 1 makes".to_owned(),
        ),
        (
            "CREATE SCHEMA e; CREATE TABLE e.t AS SELECT 1 AS a",
            "writes p.e.t, and statement 1 makes p.e".to_owned(),
        ),
        (
            "CREATE TEMP TABLE x AS SELECT 1 AS a; SELECT a FROM x",
            "reads x, which statement 1 makes".to_owned(),
        ),
        (
            "CREATE FUNCTION d.f() AS (1); SELECT d.f()",
            "names p.d.f, which statement 1 makes".to_owned(),
        ),
    ] {
        for said in [fine(&[]), wrong("Not found: Table p:d.t")] {
            let there: &[&str] = if script.starts_with("DROP") { &["p.d.t"] } else { &[] };
            assert_eq!(word(&last(&[script], &said, there)), want, "{script}");
        }
    }
}

#[test]
fn what_changes_no_column_changes_no_answer() {
    for script in [
        "INSERT INTO d.t VALUES (1); SELECT a FROM d.t",
        "TRUNCATE TABLE d.t; SELECT a FROM d.t",
        "ALTER TABLE d.t SET OPTIONS (description = 'x'); SELECT a FROM d.t",
        "CREATE TABLE IF NOT EXISTS d.t (a INT64); SELECT a FROM d.t",
        "CREATE TABLE d.u AS SELECT 1 AS a; SELECT a FROM d.t",
    ] {
        assert_eq!(
            word(&last(&[script], &fine(&["p.d.t"]), &["p.d.t"])),
            "validated",
            "{script}"
        );
        assert_eq!(
            word(&last(&[script], &wrong("no such column"), &["p.d.t"])),
            "wrong: no such column",
            "{script}"
        );
    }
    let filtered = "ALTER TABLE d.t SET OPTIONS (require_partition_filter = TRUE); SELECT a FROM d.t";
    assert_eq!(
        word(&last(&[filtered], &fine(&[]), &[])),
        "reads p.d.t, which statement 1 alters"
    );
}

#[test]
fn what_a_view_reads_counts_and_so_does_what_the_message_names() {
    let script = "CREATE OR REPLACE TABLE d.t AS SELECT 1 AS a; SELECT a FROM d.v";
    let beneath = last(&[script], &fine(&["p.d.v", "p.d.t"]), &[]);
    assert_eq!(word(&beneath), "reads p.d.t, which statement 1 replaces");
    assert_eq!(word(&last(&[script], &fine(&["p.d.v"]), &[])), "validated");
    let excused = last(&[script], &wrong("Not found: Table p:d.t was not found"), &[]);
    assert_eq!(word(&excused), "rests on p.d.t, which statement 1 replaces");
    assert_eq!(
        word(&last(&[script], &wrong("Unrecognized name: b"), &[])),
        "wrong: Unrecognized name: b"
    );
}

#[test]
fn behind_what_may_have_done_anything_nothing_is_wrong_for_sure() {
    let script = "CALL d.p(); SELECT a FROM d.t";
    assert_eq!(word(&last(&[script], &fine(&["p.d.t"]), &[])), "validated");
    let excused = word(&last(&[script], &wrong("Not found: Table p:d.T"), &[]));
    assert_eq!(
        excused,
        "stands behind statement 1, of which is not known what it does; now BigQuery says: Not found: Table p:d.T"
    );
}

#[test]
fn an_earlier_file_counts_and_is_named() {
    let files = ["SELECT 1; CREATE TABLE d.t AS SELECT 1 AS a", "SELECT a FROM d.t"];
    assert_eq!(
        word(&last(&files, &wrong("Not found"), &[])),
        "reads p.d.t, which statement 2 of 0.sql makes"
    );
    assert_eq!(
        word(&last(&["CALL d.p()", "SELECT 1"], &wrong("x"), &[])),
        "stands behind statement 1 of 0.sql, of which is not known what it does; now BigQuery says: x"
    );
}

#[test]
fn that_there_is_no_such_dry_run_is_nobodys_fault() {
    let told = |message: &str, unsupported| {
        let said = Said::Wrong {
            message: message.to_owned(),
            at: None,
            unsupported,
        };
        word(&last(&["EXPORT DATA OPTIONS(uri='x') AS SELECT 1"], &said, &[]))
    };
    assert!(told("Dry run of CREATE TEMP TABLE is not supported", false).starts_with("BigQuery does not dry-run it"));
    assert!(told("not here", true).starts_with("BigQuery does not dry-run it"));
    assert_eq!(told("Syntax error", false), "wrong: Syntax error");
}

#[test]
fn what_is_no_sql_is_wrong_whatever_ran_before() {
    for (script, message) in [
        ("CALL d.p(); SELECT FROM", "Syntax error: Unexpected end of script"),
        (
            "CREATE TABLE d.t AS SELECT 1 AS a; SELECT a FROM d.t WHERE",
            "Syntax error: Unexpected end of script",
        ),
        ("SELECT 1; END", "Syntax error: Unexpected keyword END"),
        ("CALL d.p(); SELECT '\\q'", "Illegal escape sequence: \\q"),
        (
            "EXECUTE IMMEDIATE 'x'; SELECT 1 dry run",
            "Syntax error: dry run is not supported",
        ),
    ] {
        assert_eq!(
            word(&last(&[script], &wrong(message), &[])),
            format!("wrong: {message}")
        );
    }
}

#[test]
fn an_alias_or_a_column_excuses_nothing() {
    let made = "CREATE TEMP TABLE t AS SELECT 1 AS a; CREATE FUNCTION d.f() AS (1);";
    let is_wrong = |rest: &str, message: &str| {
        let found = word(&last(&[&format!("{made} {rest}")], &wrong(message), &[]));
        assert_eq!(found, format!("wrong: {message}"), "{rest}");
    };
    is_wrong("SELECT totl FROM d.x AS t", "Unrecognized name: totl");
    is_wrong("SELECT t.totl FROM d.x AS t", "Name totl not found inside t");
    is_wrong("SELECT x.t FROM d.x", "Unrecognized name: x.t; Did you mean s?");
    is_wrong("SELECT f, totl FROM d.x", "Unrecognized name: totl");
    for (rest, message) in [
        ("SELECT f(1)", "No matching signature for function F"),
        ("SELECT a FROM d.view", "Not found: Table p:d.t was not found"),
        ("SELECT a FROM d.view", "Table \"t\" must be qualified with a dataset"),
        ("SELECT a FROM d.view", "Function not found: f"),
    ] {
        let found = word(&last(&[&format!("{made} {rest}")], &wrong(message), &[]));
        assert!(found.contains("which statement "), "{rest}: {message}: {found}");
    }
}

#[test]
fn what_may_not_run_may_be_wrong() {
    let message = "Already Exists: Table p:d.x";
    let found = |script: &str| word(&last(&[script], &wrong(message), &["p.d.x"]));
    for (script, why) in [
        (
            "IF FALSE THEN CREATE TABLE d.x (a INT64); END IF",
            Some("it may not run"),
        ),
        (
            "BEGIN\nCREATE TABLE d.x (a INT64); EXCEPTION WHEN ERROR THEN END",
            Some("the BEGIN of line 1 handles errors"),
        ),
        (
            "IF d.f() THEN\nRETURN; END IF; CREATE TABLE d.x (a INT64)",
            Some("it may not run: it stands behind the RETURN of line 2"),
        ),
        (
            "x: BEGIN\nIF d.f() THEN LEAVE x; END IF; CREATE TABLE d.x (a INT64); END x",
            Some("it may not run: it stands behind the LEAVE of line 2"),
        ),
        // The handler is of a block in it, or the loop is over.
        (
            "BEGIN BEGIN SELECT 1; EXCEPTION WHEN ERROR THEN SELECT 2; END; CREATE TABLE d.x (a INT64); END",
            None,
        ),
        ("LOOP BREAK; END LOOP; CREATE TABLE d.x (a INT64)", None),
        ("IF d.f() THEN RAISE; END IF; CREATE TABLE d.x (a INT64)", None),
    ] {
        let want = match why {
            Some(why) => format!("may fail: {why}; now BigQuery says: {message}"),
            None => format!("wrong: {message}"),
        };
        assert_eq!(found(script), want, "{script}");
    }
}

#[test]
fn to_drop_what_never_was_is_nothing() {
    for (script, want) in [
        (
            "DROP TABLE IF EXISTS d.t; CREATE TABLE d.t AS SELECT 1 AS a",
            "validated",
        ),
        (
            "CALL d.p(); DROP TABLE IF EXISTS d.t; SELECT 1 FROM d.t",
            "reads p.d.t, which statement 2 drops",
        ),
        (
            "CREATE TABLE d.t (a INT64); DROP TABLE d.t; SELECT 1 FROM d.t",
            "reads p.d.t, which statement 2 drops",
        ),
    ] {
        assert_eq!(word(&last(&[script], &fine(&[]), &[])), want, "{script}");
    }
}

#[test]
fn of_some_targets_the_query_tells_enough() {
    for (script, want) in [
        ("DROP TABLE d.t; CREATE TABLE d.t AS SELECT 1 AS a", Some(true)),
        ("CREATE SCHEMA e; CREATE VIEW e.t AS SELECT 1 AS a", Some(true)),
        (
            "CREATE TABLE d.new (a INT64); CREATE OR REPLACE TABLE d.new AS SELECT 1 AS a",
            Some(true),
        ),
        (
            "CREATE TABLE d.new (a INT64); CREATE TABLE d.new AS SELECT 1 AS a",
            Some(false),
        ),
        ("CREATE TABLE d.new (a INT64); INSERT INTO d.new SELECT 1", Some(false)),
        ("SELECT 1; INSERT INTO d.t SELECT 1", None),
    ] {
        let statements = crate::script::read(script).unwrap();
        let deeds = deeds(script, &statements, &"p".parse().unwrap(), None);
        let read = Script::new(script, &statements);
        let mut history = History::default();
        history.begin_file("m.sql");
        let there = |thing: &Thing| Some(thing.to_string() == "p.d.t");
        history.note(&read, (1, &statements[0]), &deeds[0], there);
        let named = Named::of(
            &read,
            &statements[1],
            &deeds[1],
            std::slice::from_ref(&statements[1].range),
        );
        assert_eq!(history.target(&named).map(|(_, tells)| tells), want, "{script}");
    }
}
