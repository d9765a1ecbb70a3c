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
            let under = history.under(&script, &statement.range, deeds);
            let words = script.names_in(&statement.range);
            found = verdict(
                said,
                under,
                |reads| history.beneath(reads),
                |m| history.excuse(&words, m),
                None,
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
            assert_eq!(word(&last(&[script], &said, &[])), want, "{script}");
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
