//! `${NAME}` in SQL: replaced by names, and by nothing that could be SQL.
//!
//! PURE. What a variable stands for is the caller's to know.

use std::ops::Range;

use crate::names::TableRef;
use crate::script::line_and_column;

/// Why a `${…}` cannot be replaced.
#[derive(Debug, PartialEq)]
pub struct BadVariable {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it, if that is not what one does about any variable.
    pub hint: Option<&'static str>,
}

/// What a `${NAME}` stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// What somebody gave: put in as it is, if it is a name.
    Name(String),
    /// A table: in backticks, unless it stands in some already.
    Table(TableRef),
}

/// Why a `${NAME}` that is known stands for nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct NoValue {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// A text with its variables replaced, that knows what stood where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replaced {
    /// The new text.
    pub text: String,
    /// What stood where.
    pub origins: Origins,
}

/// Of each replacement in a text: where it stands now, where the variable stood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origins(Vec<(Range<usize>, Range<usize>)>);

impl Origins {
    /// Where in the old text stood what is here in the new one.
    pub fn origin(&self, offset: usize) -> usize {
        let last = self.0.iter().rfind(|(now, _)| now.start <= offset);
        match last {
            Some((now, then)) if offset < now.end => then.start,
            Some((now, then)) => then.end + (offset - now.end),
            None => offset,
        }
    }
}

impl Replaced {
    /// A text in which nothing was replaced.
    pub fn plain(text: &str) -> Replaced {
        Replaced {
            text: text.to_owned(),
            origins: Origins::default(),
        }
    }

    fn put(&mut self, text: &str, stood: Range<usize>) {
        let start = self.text.len();
        self.text.push_str(text);
        self.origins.0.push((start..self.text.len(), stood));
    }
}

/// Replaces every `${NAME}` by its value, and `$${` by `${`, everywhere in the text.
///
/// # Errors
/// A name has no value, a value is no name, or a `${` has no end.
pub fn replace_variables(
    text: &str,
    value: impl Fn(&str) -> Result<Option<Put>, NoValue>,
) -> Result<Replaced, BadVariable> {
    let mut out = Replaced::default();
    let mut done = 0;
    while let Some(at) = text[done..].find("${").map(|at| done + at) {
        let (line, column) = line_and_column(text, at);
        let bad = |what: String, hint| BadVariable {
            line,
            column,
            what,
            hint,
        };
        if text[done..at].ends_with('$') {
            out.text.push_str(&text[done..at - 1]);
            done = at + 2;
            out.put("${", at - 1..done);
            continue;
        }
        out.text.push_str(&text[done..at]);
        let end = text[at..]
            .find('}')
            .ok_or_else(|| bad("`${` without `}`".to_owned(), None))?;
        let name = &text[at + 2..at + end];
        done = at + end + 1;
        let found = value(name).map_err(|no| bad(no.what, Some(no.hint)))?;
        let quoted = in_backticks(&out.text);
        match found.ok_or_else(|| bad(format!("`${{{}}}` has no value", name.escape_debug()), None))? {
            Put::Name(value) if is_name(&value) && (quoted || !is_reserved(&value)) => out.put(&value, at..done),
            Put::Name(value) => {
                let value = value.escape_debug();
                return Err(bad(
                    format!("the value of `${{{name}}}` is not a name: `{value}`"),
                    None,
                ));
            }
            // Beside anything else in those backticks it would not be the table's name.
            Put::Table(table) if quoted && out.text.ends_with('`') && text[done..].starts_with('`') => {
                out.put(&table.to_string(), at..done);
            }
            Put::Table(table) => out.put(&table.sql(), at..done),
        }
    }
    out.text.push_str(&text[done..]);
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
pub(crate) fn is_reserved(text: &str) -> bool {
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
    use sqlparser::tokenizer::{Token, Tokenizer};

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
            let put = |text: &str| {
                replace_variables(text, |_| Ok(Some(Put::Name(value.clone())))).map(|replaced| replaced.text)
            };
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
            "P" => Ok(Some(Put::Name("my-project".to_owned()))),
            "BAD" => Ok(Some(Put::Name("a; DROP".to_owned()))),
            "DASH" => Ok(Some(Put::Name("a--b".to_owned()))),
            "before:d.t" => Ok(Some(Put::Table(TableRef::parse("p.d.two words", None).unwrap()))),
            "before:d.u" => Err(NoValue {
                what: "no".to_owned(),
                hint: "name another",
            }),
            _ => Ok(None),
        };
        let replace = |text: &str| replace_variables(text, value).map(|replaced| replaced.text);
        assert_eq!(
            replace("`${P}.d.t` $${P} ${P}$").unwrap(),
            "`my-project.d.t` ${P} my-project$"
        );
        let bad = replace("a\nbü ${NO}").unwrap_err();
        assert_eq!((bad.line, bad.column), (2, 4));
        for (text, want) in [
            ("FROM ${before:d.t} AS a", "FROM `p.d.two words` AS a"),
            ("`x` JOIN `${before:d.t}` b", "`x` JOIN `p.d.two words` b"),
            // What would not be one name is none at all, and nothing of it is SQL.
            ("`a`${before:d.t}`b`", "`a``p.d.two words``b`"),
            ("`${before:d.t}_x`", "``p.d.two words`_x`"),
            ("$${before:d.t}", "${before:d.t}"),
        ] {
            assert_eq!(replace(text).unwrap(), want, "{text}");
        }
        let refused = replace("a\n  ${before:d.u}").unwrap_err();
        assert_eq!(
            (refused.line, refused.column, refused.hint),
            (2, 3, Some("name another"))
        );
        let odd = |text: &str| replace_variables(text, |_| Ok(Some(Put::Name("Default".to_owned()))));
        assert_eq!(
            odd("SELECT 1;\nSELECT `a` FROM `p.${V}.t`").unwrap().text,
            "SELECT 1;\nSELECT `a` FROM `p.Default.t`"
        );
        assert!(odd("SELECT `a` FROM p.${V}.t").is_err());
        for text in ["${BAD}", "${DASH}", "${P", "${}"] {
            assert!(replace(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_replaced_is_found_again() {
        let text = "a ${V} $${b} ${V}c";
        let replaced = replace_variables(text, |_| Ok(Some(Put::Name("longer_than_it".to_owned())))).unwrap();
        assert_eq!(replaced.text, "a longer_than_it ${b} longer_than_itc");
        for (now, then) in [
            (0, 0),
            (2, 2),
            (10, 2),
            (16, 6),
            (17, 7),
            (18, 7),
            (19, 10),
            (22, 13),
            (30, 13),
            (36, 17),
        ] {
            assert_eq!(replaced.origins.origin(now), then, "{now}");
        }
    }
}
