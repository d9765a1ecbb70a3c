//! PURE: a SQL text as its statements, and what each of them looks like from outside.
//!
//! Lexing is sqlparser's; a text it cannot lex is one statement, for no user's SQL is refused because a lexer here cannot read it.

mod statement;

use std::ops::Range;

use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Whitespace};

use crate::exit::one_line;
use crate::lexer;

pub use statement::{Deed, Effect, Kind, Name, Object, Statement};

/// The statements of a text that has no blocks, split at semicolons outside literals and comments, trimmed, empty ones left out.
pub fn statements(text: &str) -> Vec<&str> {
    split(text).into_iter().map(|range| &text[range]).collect()
}

/// Where the [`statements`] of a text stand in it.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let trimmed = |start: usize, end: usize| {
        let piece = &text[start..end];
        let start = start + (piece.len() - piece.trim_start().len());
        start..start + piece.trim().len()
    };
    let whole = || match text.trim().is_empty() {
        true => Vec::new(),
        false => vec![trimmed(0, text.len())],
    };
    let Some(tokens) = lexer::tokens(text) else {
        return whole();
    };
    let mut offsets = Offsets::of(text);
    let mut found = Vec::new();
    let mut start = 0;
    let mut has_code = false;
    for token in tokens {
        match token.token {
            Token::SemiColon => {
                let Some(end) = offsets.byte(token.span.start) else {
                    return whole();
                };
                if has_code {
                    found.push(trimmed(start, end));
                }
                start = end + 1;
                has_code = false;
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => has_code = true,
        }
    }
    if has_code {
        found.push(trimmed(start, text.len()));
    }
    found
}

/// The statements of a script by which people count: none, where its blocks cannot be told from its statements.
pub fn numbered(text: &str) -> Vec<Range<usize>> {
    const OF_BLOCKS: [&str; 11] = [
        "BEGIN", "IF", "LOOP", "WHILE", "REPEAT", "FOR", "CASE", "END", "ELSE", "ELSEIF", "UNTIL",
    ];
    let ranges = split(text);
    let is_of_a_block = |range: &Range<usize>| match opening(&text[range.clone()]).as_slice() {
        [begin, next, ..] if begin == "BEGIN" => next != "TRANSACTION",
        // `CREATE [OR REPLACE] PROCEDURE` has statements inside.
        [create, rest @ ..] if create == "CREATE" => rest.iter().any(|word| word == "PROCEDURE"),
        [begin] if begin == "BEGIN" => false,
        [first, ..] => OF_BLOCKS.contains(&first.as_str()),
        // A label, or what this reader does not know.
        [] => !text[range.clone()].starts_with(['(', '@']),
    };
    match ranges.iter().any(is_of_a_block) {
        true => Vec::new(),
        false => ranges,
    }
}

/// The words that a text begins with, behind its comments, in capitals: what kind of statement it is, as far as that shows.
fn opening(text: &str) -> Vec<String> {
    let tokens = lexer::tokens(text).unwrap_or_default().into_iter();
    let code = tokens
        .map(|token| token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)));
    let words = code.map_while(|token| match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    });
    words.take(6).collect()
}

/// The `--` comments before a text's first word, each with its line, from 0.
pub fn leading_comments(text: &str) -> Vec<(usize, String)> {
    let tokens = lexer::tokens(text).unwrap_or_default();
    let leading = tokens
        .iter()
        .take_while(|token| matches!(token.token, Token::Whitespace(_)));
    let comment = |token: &TokenWithSpan| match &token.token {
        Token::Whitespace(Whitespace::SingleLineComment { comment, prefix }) if prefix == "--" => {
            let line = usize::try_from(token.span.start.line).ok()?.checked_sub(1)?;
            Some((line, comment.trim().to_owned()))
        }
        _ => None,
    };
    leading.filter_map(comment).collect()
}

/// Whether a statement makes a function for the `SELECT` behind it, with which BigQuery takes it for one statement.
/// Source: <https://docs.cloud.google.com/bigquery/docs/multi-statement-queries#write_a_multi-statement_query>.
pub fn is_temp_function(statement: &str) -> bool {
    let words = opening(statement);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rest = match words.as_slice() {
        ["CREATE", "OR", "REPLACE", rest @ ..] | ["CREATE", rest @ ..] => rest,
        _ => return false,
    };
    matches!(
        rest,
        ["TEMP" | "TEMPORARY", "FUNCTION", ..] | ["TEMP" | "TEMPORARY", "AGGREGATE", "FUNCTION", ..]
    )
}

/// Whether a text is nothing but one `ASSERT`, whoever reads it: it holds nothing that this lexer and BigQuery may read differently.
pub fn is_one_assertion(text: &str) -> bool {
    // Without a semicolon there is no second statement; a lone carriage return ends a comment for BigQuery, and not here.
    let plain = !text.contains(';') && !text.replace("\r\n", "").contains('\r');
    plain && opening(text).first().is_some_and(|word| word == "ASSERT")
}

/// What an `ASSERT … AS 'description'` says when it fails, on one line.
pub fn assertion_says(statement: &str) -> Option<String> {
    let tokens = lexer::tokens(statement)?;
    let mut code = tokens
        .iter()
        .rev()
        .map(|token| &token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_) | Token::EOF));
    let says = match code.next()? {
        Token::SingleQuotedString(text)
        | Token::DoubleQuotedString(text)
        | Token::TripleSingleQuotedString(text)
        | Token::TripleDoubleQuotedString(text) => unescaped(text),
        Token::SingleQuotedRawStringLiteral(text) | Token::DoubleQuotedRawStringLiteral(text) => text.clone(),
        _ => return None,
    };
    let described = matches!(code.next()?, Token::Word(word) if word.value.eq_ignore_ascii_case("AS"));
    described.then(|| one_line(&says))
}

/// A literal's text; of its escapes, those that people write.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'r' | 't') => out.push(' '),
                other => out.extend(other),
            },
            c => out.push(c),
        }
    }
    out
}

/// Where each line of a text begins, for turning the lexer's lines and columns into bytes. Asked in the order of the
/// text, it reads it once, be it all in one line.
pub(crate) struct Offsets<'a> {
    text: &'a str,
    lines: Vec<usize>,
    /// The place asked for last, and its byte.
    last: (Location, usize),
}

impl<'a> Offsets<'a> {
    pub(crate) fn of(text: &'a str) -> Offsets<'a> {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(i, _)| i + 1);
        Offsets {
            text,
            lines: std::iter::once(0).chain(starts).collect(),
            last: (Location::new(1, 1), 0),
        }
    }

    pub(crate) fn byte(&mut self, at: Location) -> Option<usize> {
        let line = *self.lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
        let (known, column) = match self.last {
            (last, byte) if last.line == at.line && last.column <= at.column => (byte, last.column),
            _ => (line, 1),
        };
        let more = usize::try_from(at.column.checked_sub(column)?).ok()?;
        let (offset, _) = self.text[known..].char_indices().nth(more)?;
        self.last = (at, known + offset);
        Some(known + offset)
    }
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
    fn one_assertion_is_nothing_else_to_whoever_reads_it() {
        for (text, is) in [
            ("ASSERT TRUE", true),
            ("-- name: x\r\n# y\n/* z */ assert(SELECT TRUE) AS 'x'", true),
            ("ASSERT TRUE; DROP TABLE d.t", false),
            ("ASSERT ';' = ';'", false),
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
