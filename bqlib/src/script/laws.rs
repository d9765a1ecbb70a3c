//! What holds of every text, whatever stands in it. (More of it is held against many more texts by the fuzzer of the
//! tests.)

use std::time::{Duration, Instant};

use super::*;
use proptest::prelude::*;

#[path = "../../../tests/suite/covers.rs"]
mod covers;

const PIECES: [&str; 62] = [
    "SELECT",
    "FROM",
    "d.t",
    "`d.t`",
    " ",
    "\n",
    "\r",
    ";",
    ";",
    "; ",
    "'",
    "\"",
    "`",
    "'''",
    "\\",
    "r'",
    "rb\"",
    "--",
    "#",
    "/*",
    "*/",
    "BEGIN ",
    "END",
    "END IF",
    "END LOOP",
    "IF a THEN ",
    "ELSE ",
    "ELSEIF ",
    "LOOP ",
    "WHILE a DO ",
    "REPEAT ",
    "UNTIL a ",
    "END REPEAT",
    "FOR x IN (SELECT 1) DO ",
    "END FOR",
    "CASE ",
    "WHEN a THEN ",
    "END CASE",
    "x: ",
    "EXCEPTION WHEN ERROR THEN ",
    "CREATE PROCEDURE p() ",
    "CREATE ",
    "OR REPLACE ",
    "TABLE ",
    "AS ",
    "WITH a AS (",
    "(",
    ")",
    "|>",
    " INSERT INTO ",
    "MERGE ",
    "USING ",
    "DROP ALL ON ",
    "ALTER TABLE d.t RENAME TO ",
    "SET @@dataset_id",
    "DECLARE a,",
    ",",
    "ü",
    "\u{feff}",
    "a-b.",
    "1.",
    "TRANSACTION",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    /// Nothing is lost: what is split off is semicolons, spaces and comments, and what is read holds every word.
    #[test]
    fn all_of_a_text_is_told(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)) {
        let text = pieces.concat();
        if let Ok(statements) = read(&text) {
            covers::all_is_told(&text, &statements);
            let ranges = split(&text);
            let starts = ranges.iter().map(|range| range.start).chain([text.len()]);
            let ends = [0].into_iter().chain(ranges.iter().map(|range| range.end));
            for (end, start) in ends.zip(starts) {
                let between = &text[end..start];
                let tokens = lexer::tokens(between).unwrap();
                prop_assert!(tokens.iter().all(|t| t.token.is_blank() || &between[t.range()] == ";"), "{:?} in {:?}", between, text);
            }
            // As many as BigQuery would tell apart if none of them were a block.
            let again: Vec<&str> = ranges.iter().flat_map(|range| super::statements(&text[range.clone()])).collect();
            prop_assert_eq!(again, super::statements(&text));
        }
    }

    #[test]
    fn nothing_in_a_literal_or_a_comment_splits(
        inside in "[a-zA-Z;()#/*$ .:@\u{fc}-]{0,20}", quotes in prop::sample::select(&QUOTES[..])
    ) {
        let (before, behind) = quotes;
        prop_assume!(!inside.contains("*/"));
        let text = format!("SELECT {before}{inside}{behind} FROM d.t; DROP TABLE d.u");
        let kinds: Vec<Kind> = read(&text).unwrap().iter().map(|s| s.kind).collect();
        prop_assert_eq!(kinds, [Kind::Select, Kind::DropTable], "{}", text);
        prop_assert_eq!(statements(&text).len(), 2);
    }
}

const QUOTES: [(&str, &str); 17] = [
    ("'", "'"),
    ("\"", "\""),
    ("'''", "'''"),
    ("\"\"\"", "\"\"\""),
    ("r'\\'", "\\''"),
    ("R\"", "\""),
    ("rb'''\n", "'''"),
    ("bR\"\"\"'", "\"\"\""),
    ("'\\'", "\\\\'"),
    ("'a\\\n", "'"),
    ("`a\\`", "`"),
    ("`", "x`"),
    ("1 -- ", "\n"),
    ("1 -- ", "\r"),
    ("1 # '", "\r\n"),
    ("1 /* ` ", "*/"),
    ("1 /* /* ' ", "*/"),
];

/// A megabyte of each is read in a time that grows with it, and without the stack growing.
#[test]
fn a_megabyte_of_anything_is_read_at_once() {
    for piece in [
        "BEGIN ",
        "BEGIN;",
        "END ",
        "x: BEGIN ",
        "IF ",
        "IF a THEN ",
        "CASE ",
        "CASE WHEN a THEN ",
        "LOOP ",
        "REPEAT ",
        "WHILE a DO ",
        "FOR x IN (SELECT 1) DO ",
        "CREATE PROCEDURE p() BEGIN ",
        "CREATE PROCEDURE p( ",
        "CREATE PROCEDURE ",
        "SELECT (",
        "SELECT ",
        "FROM d.t, ",
        "FROM t AS a, a.b, ",
        "(",
        "WITH a AS (",
        "a.",
        "-",
        "`d`.",
        "SELECT 1;",
        "INSERT INTO d.t SELECT * FROM d.s;",
        "|> INSERT INTO d.t ",
        "ALTER TABLE d.t RENAME ",
        "'a' ",
        "/**/",
        "-- \n",
        "FROM d/**/",
        "ON ",
        "DECLARE a, ",
        "UNTIL ",
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        let began = Instant::now();
        let statements = read(&text).unwrap();
        assert!(
            statements
                .iter()
                .all(|one| text.get(one.range.clone()).is_some_and(|s| !s.is_empty()))
        );
        split(&text);
        // Far more than it needs, and far less than what grows with the square of it.
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{piece:?}: {:?}",
            began.elapsed()
        );
    }
}
