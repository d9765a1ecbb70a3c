//! PURE: a SQL text as its statements, and its `${NAME}`s.
//!
//! Lexing is sqlparser's; a text it cannot lex is one statement, for no user's SQL is refused because a lexer here cannot read it.

use sqlparser::tokenizer::{Location, Token};

use crate::lexer;

/// The statements of a text that has no blocks, split at semicolons outside literals and comments, trimmed, empty ones left out.
pub fn statements(text: &str) -> Vec<&str> {
    let whole = || {
        if text.trim().is_empty() {
            Vec::new()
        } else {
            vec![text.trim()]
        }
    };
    let Some(tokens) = lexer::tokens(text) else {
        return whole();
    };
    let offsets = Offsets::of(text);
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
                    found.push(text[start..end].trim());
                }
                start = end + 1;
                has_code = false;
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => has_code = true,
        }
    }
    if has_code {
        found.push(text[start..].trim());
    }
    found
}

/// Where each line of a text begins, for turning the lexer's lines and columns into bytes.
struct Offsets<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Offsets<'a> {
    fn of(text: &'a str) -> Offsets<'a> {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(i, _)| i + 1);
        Offsets {
            text,
            lines: std::iter::once(0).chain(starts).collect(),
        }
    }

    fn byte(&self, at: Location) -> Option<usize> {
        let line = *self.lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
        let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
        let (offset, _) = self.text[line..].char_indices().nth(column)?;
        Some(line + offset)
    }
}

/// Why a `${…}` cannot be replaced.
#[derive(Debug, PartialEq)]
pub struct BadVariable {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// Replaces every `${NAME}` by its value, and `$${` by `${`, everywhere in the text.
///
/// # Errors
/// A name has no value, a value is no name, or a `${` has no end.
pub fn replace_variables(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, BadVariable> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let here = text.len() - rest.len() + at;
        let bad = |what: String| {
            let before = &text[..here];
            let line_start = before.rfind('\n').map_or(0, |n| n + 1);
            BadVariable {
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                what,
            }
        };
        if at > 0 && rest.as_bytes()[at - 1] == b'$' {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find('}').ok_or_else(|| bad("`${` without `}`".to_owned()))?;
        let name = &after[..end];
        let value = value(name).ok_or_else(|| bad(format!("`${{{}}}` has no value", name.escape_debug())))?;
        let reserved = is_reserved(&value) && !in_backticks(&out);
        if !is_name(&value) || reserved {
            return Err(bad(format!(
                "the value of `${{{name}}}` is not a name: `{}`",
                value.escape_debug()
            )));
        }
        out.push_str(&value);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether a text is a project, dataset, table or column name, or several joined by dots: nothing that could be SQL.
fn is_name(text: &str) -> bool {
    let joint = |c: char| matches!(c, '-' | '.' | ':');
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || joint(c))
        // Two dashes would begin a comment, and the other may stand beside the value.
        && !text.contains("--") && !text.starts_with(joint) && !text.ends_with(joint)
}

/// Whether a word is no name without backticks: `WHERE ${COLUMN} IS NOT NULL` with a column of the name TRUE would be all rows.
fn is_reserved(text: &str) -> bool {
    RESERVED.contains(&text.to_ascii_uppercase().as_str())
}

/// Whether what comes behind this text stands in backticks, as far as its own line tells.
fn in_backticks(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or(text);
    line.matches('`').count() % 2 == 1
}

/// Words that are no names without backticks.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords>.
const RESERVED: [&str; 96] = [
    "ALL",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "ASSERT_ROWS_MODIFIED",
    "AT",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COLLATE",
    "CONTAINS",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT",
    "DEFAULT",
    "DEFINE",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "ENUM",
    "ESCAPE",
    "EXCEPT",
    "EXCLUDE",
    "EXISTS",
    "EXTRACT",
    "FALSE",
    "FETCH",
    "FOLLOWING",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "GROUPING",
    "GROUPS",
    "HASH",
    "HAVING",
    "IF",
    "IGNORE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOOKUP",
    "MERGE",
    "NATURAL",
    "NEW",
    "NO",
    "NOT",
    "NULL",
    "NULLS",
    "OF",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "PROTO",
    "QUALIFY",
    "RANGE",
    "RECURSIVE",
    "RESPECT",
    "RIGHT",
    "ROLLUP",
    "ROWS",
    "SELECT",
    "SET",
    "SOME",
    "STRUCT",
    "TABLESAMPLE",
    "THEN",
    "TO",
    "TREAT",
    "TRUE",
    "UNBOUNDED",
    "UNION",
    "UNNEST",
    "USING",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHIN",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sqlparser::dialect::BigQueryDialect;
    use sqlparser::tokenizer::Tokenizer;

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

    /// What kind each token of a text is.
    fn kinds(text: &str) -> Vec<std::mem::Discriminant<Token>> {
        let tokens = Tokenizer::new(&BigQueryDialect {}, text)
            .with_unescape(false)
            .tokenize();
        tokens.unwrap().iter().map(std::mem::discriminant).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_value_becomes_sql(value in "\\PC{1,12}|[a-z`'\"\\\\;()#/*$ .:-]{1,8}|(?i)true|null|or|select") {
            let put = |text: &str| replace_variables(text, |_| Some(value.clone()));
            // In backticks it is a part of one name.
            if let Ok(text) = put("SELECT a FROM `p.x${V}y` WHERE b -- c") {
                prop_assert_eq!(kinds(&text), kinds("SELECT a FROM `p.xvy` WHERE b -- c"), "{}", text);
            }
            // Without, it is names and what joins them; nothing around it is taken in.
            if let Ok(text) = put("SELECT 'a' -${V}- 'b';") {
                let tokens = Tokenizer::new(&BigQueryDialect {}, &text).tokenize().unwrap();
                for token in &tokens[5..tokens.len() - 4] {
                    let word = matches!(token, Token::Word(w) if w.quote_style.is_none());
                    let joint = matches!(token, Token::Period | Token::Minus | Token::Colon | Token::DoubleColon);
                    // What the lexer calls a letter and GoogleSQL does not, or the other way round, is no sign to either.
                    let letter = matches!(token, Token::Char(c) if c.is_alphanumeric()) || matches!(token, Token::Number(..));
                    prop_assert!(word || joint || letter, "{token:?} in {text}");
                }
                prop_assert_eq!(tokens.last(), Some(&Token::SemiColon));
            }
        }
    }

    #[test]
    fn variables_are_replaced_by_names_only() {
        let value = |name: &str| match name {
            "P" => Some("my-project".to_owned()),
            "BAD" => Some("a; DROP".to_owned()),
            "DASH" => Some("a--b".to_owned()),
            _ => None,
        };
        let replace = |text: &str| replace_variables(text, value);
        assert_eq!(
            replace("`${P}.d.t` $${P} ${P}$").unwrap(),
            "`my-project.d.t` ${P} my-project$"
        );
        let bad = replace("a\nbü ${NO}").unwrap_err();
        assert_eq!((bad.line, bad.column), (2, 4));
        let odd = |text: &str| replace_variables(text, |_| Some("Default".to_owned()));
        assert_eq!(
            odd("SELECT 1;\nSELECT `a` FROM `p.${V}.t`").unwrap(),
            "SELECT 1;\nSELECT `a` FROM `p.Default.t`"
        );
        assert!(odd("SELECT `a` FROM p.${V}.t").is_err());
        for text in ["${BAD}", "${DASH}", "${P", "${}"] {
            assert!(replace(text).is_err(), "{text}");
        }
    }
}
