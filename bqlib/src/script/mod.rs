//! PURE: a SQL text as its statements, and what each of them looks like from outside.
//!
//! `lexer` knows where tokens end, `words` which of them say something; `blocks` knows where statements end, `kinds`
//! and `create` what they do, `reads` where they name tables, `names` what names stand for. A script that none of them
//! understands is opaque, and never refused; one in which a literal or a comment does not end is none to BigQuery
//! either.

mod blocks;
mod create;
mod cursor;
mod kinds;
#[cfg(test)]
mod laws;
pub mod lexer;
mod names;
pub(crate) mod reads;
mod statement;
#[cfg(test)]
mod tables;
pub(crate) mod words;

use std::ops::Range;

use crate::exit::one_line;
use lexer::Token;
use words::Words;

pub use blocks::read;
pub use lexer::{Open, Unclosed};
pub use names::{NewDefault, new_default, of_session, resolve};
pub use statement::{Deed, Effect, Kind, Name, Object, Statement};

/// The statements of a text that has no blocks, split at semicolons outside literals and comments, trimmed, empty ones
/// left out.
pub fn statements(text: &str) -> Vec<&str> {
    split(text).into_iter().map(|range| &text[range]).collect()
}

/// Where the [`statements`] of a text stand in it, each with the comments before it. A text that BigQuery cannot read
/// is one.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let trimmed = |start: usize, end: usize| {
        let piece = text[start..end].trim_start_matches(lexer::is_space);
        let start = end - piece.len();
        start..start + piece.trim_end_matches(lexer::is_space).len()
    };
    let Ok(tokens) = lexer::tokens(text) else {
        return vec![trimmed(0, text.len())];
    };
    let mut found = Vec::new();
    let mut start = 0;
    let mut has_code = false;
    for placed in tokens {
        if placed.token == Token::Symbol && &text[placed.range()] == ";" {
            if has_code {
                found.push(trimmed(start, placed.start));
            }
            (start, has_code) = (placed.end, false);
        } else {
            has_code |= !placed.token.is_blank();
        }
    }
    if has_code {
        found.push(trimmed(start, text.len()));
    }
    found
}

/// The `--` comments before a text's first word, each with its line, from 0.
pub fn leading_comments(text: &str) -> Vec<(usize, String)> {
    let tokens = lexer::tokens(text).unwrap_or_default();
    let mut line = 0;
    let mut found = Vec::new();
    for placed in tokens.iter().take_while(|placed| placed.token.is_blank()) {
        let blank = &text[placed.range()];
        if let Some(comment) = blank.strip_prefix("--").filter(|_| placed.token == Token::Comment) {
            found.push((line, comment.trim().to_owned()));
        }
        line += blank.matches('\n').count();
    }
    found
}

/// Whether a statement makes a function for the `SELECT` behind it, with which BigQuery takes it for one statement.
/// Source: <https://docs.cloud.google.com/bigquery/docs/multi-statement-queries#write_a_multi-statement_query>.
pub fn is_temp_function(statement: &str) -> bool {
    one(statement).is_some_and(|one| one.kind == Kind::CreateFunction && one.temporary())
}

/// Whether a text is nothing but one `ASSERT`.
pub fn is_one_assertion(text: &str) -> bool {
    one(text).is_some_and(|one| one.kind == Kind::Assert)
}

/// The statement of a text that holds one.
fn one(text: &str) -> Option<Statement> {
    let mut statements = read(text).ok()?;
    statements.pop().filter(|_| statements.is_empty())
}

/// What an `ASSERT … AS 'description'` says when it fails, on one line.
pub fn assertion_says(statement: &str) -> Option<String> {
    let words = Words::of(statement).ok()?;
    let last = words.len().checked_sub(1)?;
    let literal = words.get(last).filter(|placed| placed.token == Token::Literal)?;
    let described = last.checked_sub(1).is_some_and(|before| words.is(before, "AS"));
    let says = lexer::text_of(&statement[literal.range()]).filter(|_| described)?;
    Some(one_line(&says))
}

/// Line and column of a place in a text, both from 1, the column in characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let column = before[line_start..].chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_literals_and_comments() {
        for (text, want) in [
            ("SELECT 1", vec!["SELECT 1"]),
            ("SELECT 1;", vec!["SELECT 1"]),
            (";;\n -- x;\n", vec![]),
            (
                "SELECT ';'; SELECT \"a;b\" ;\nSELECT `x;y`",
                vec!["SELECT ';'", "SELECT \"a;b\"", "SELECT `x;y`"],
            ),
            (
                "SELECT '''a;\n';b''' ; SELECT r'\\;' /* ; */",
                vec!["SELECT '''a;\n';b'''", "SELECT r'\\;' /* ; */"],
            ),
            (
                "-- name: x;\nSELECT 'ü;' AS ü; # ;\nSELECT 2",
                vec!["-- name: x;\nSELECT 'ü;' AS ü", "# ;\nSELECT 2"],
            ),
            ("SELECT 'open; SELECT 2", vec!["SELECT 'open; SELECT 2"]),
        ] {
            assert_eq!(statements(text), want, "{text}");
        }
    }

    #[test]
    fn comments_before_the_first_word_are_read_with_their_lines() {
        let text = "/* a\n-- no */\n-- name: x\n\n# no\n--- b\nSELECT 1 -- no";
        let want = [(2, "name: x".to_owned()), (5, "- b".to_owned())];
        assert_eq!(leading_comments(text), want);
        assert_eq!(leading_comments("-- a"), [(0, "a".to_owned())]);
    }

    #[test]
    fn temporary_functions_are_told_from_what_stays() {
        for (text, is) in [
            ("-- a\ncreate temp function f() as (1)", true),
            (
                "CREATE OR REPLACE TEMPORARY AGGREGATE FUNCTION f(x INT64) AS (SUM(x))",
                true,
            ),
            ("CREATE FUNCTION d.f() AS (1)", false),
            ("CREATE OR TEMP FUNCTION f() AS (1)", false),
            ("CREATE TEMP TABLE function AS SELECT 1", false),
            ("`CREATE` TEMP FUNCTION", false),
            ("", false),
        ] {
            assert_eq!(is_temp_function(text), is, "{text}");
        }
    }

    #[test]
    fn one_assertion_is_nothing_else() {
        for (text, is) in [
            ("ASSERT TRUE", true),
            ("-- name: x\r\n# y\n/* z */ assert(SELECT TRUE) AS 'x'", true),
            ("ASSERT TRUE; DROP TABLE d.t", false),
            ("ASSERT ';' = ';';", true),
            ("ASSERT r'\\'' = ''; DROP TABLE d.t; --'", false),
            // To BigQuery the comment ends before CALL.
            ("-- \rCALL d.\nassert()", false),
            ("/* */ CALL d.p()", false),
            ("/* ASSERT */ EXECUTE IMMEDIATE 'x'", false),
            ("/* /* */ BEGIN /* */ ASSERT", false),
            ("`ASSERT` TRUE", false),
            ("ASSERTS", false),
        ] {
            assert_eq!(is_one_assertion(text), is, "{text}");
        }
    }

    #[test]
    fn an_assertion_says_its_description() {
        for (text, says) in [
            ("ASSERT a > 1 AS 'too  few' -- x", Some("too few")),
            ("ASSERT a = 'b' AS \"it's \\\"so\\\"\"", Some("it's \"so\"")),
            ("ASSERT a AS '''two\nlines'''", Some("two lines")),
            ("ASSERT a = 'b'", None),
            ("ASSERT a", None),
        ] {
            assert_eq!(assertion_says(text).as_deref(), says, "{text}");
        }
    }

    #[test]
    fn lines_and_columns_are_those_of_an_editor() {
        let text = "a\nbü c\r\n\td";
        for (offset, place) in [
            (0, (1, 1)),
            (2, (2, 1)),
            (5, (2, 3)),
            (4, (2, 2)),
            (9, (3, 1)),
            (10, (3, 2)),
            (99, (3, 3)),
        ] {
            assert_eq!(line_and_column(text, offset), place, "{offset}");
        }
    }
}
