//! `${NAME}` in SQL: replaced by names, and by nothing that could be SQL.
//!
//! PURE. What a variable stands for is the caller's to know.

use std::ops::Range;

use crate::names::TableRef;
use crate::script::lexer::{Placed, Token, is_letter, tokens};
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
        let before = self.0.partition_point(|(now, _)| now.start <= offset);
        match before.checked_sub(1).and_then(|last| self.0.get(last)) {
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
/// A name has no value, a value is no name or would be read as SQL where it stands, or a `${` has no end.
pub fn replace_variables(
    text: &str,
    value: impl Fn(&str) -> Result<Option<Put>, NoValue>,
) -> Result<Replaced, BadVariable> {
    let mut out = Replaced::default();
    let mut done = 0;
    let mut around = Around::of(text);
    while let Some(at) = text[done..].find("${").map(|at| done + at) {
        // Reckoned only for an error: there may be as many variables as the text has room for.
        let bad = |what: String, hint| {
            let (line, column) = line_and_column(text, at);
            BadVariable {
                line,
                column,
                what,
                hint,
            }
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
        let inside = around.inside(at);
        match found.ok_or_else(|| bad(format!("`${{{}}}` has no value", name.escape_debug()), None))? {
            Put::Name(value) => {
                let wrong = |why: &str| format!("the value of `${{{name}}}` {why}: `{}`", value.escape_debug());
                if !is_name(&value) {
                    return Err(bad(wrong("is not a name"), None));
                }
                if inside.is_none() && text[done..].starts_with(['\'', '"']) {
                    let hint = "it would be read as the prefix of the literal: part them by a space";
                    return Err(bad(wrong("stands right before a quote"), Some(hint)));
                }
                if inside.is_none() && becomes_keyword(&out.text, &value, &text[done..]) {
                    let hint = "it would be read as SQL: put the name in backticks, or name something else";
                    return Err(bad(wrong("is not a name without backticks"), Some(hint)));
                }
                out.put(&value, at..done);
            }
            // Beside anything else in those backticks it would not be the table's name.
            Put::Table(table)
                if inside == Some(Token::Quoted) && out.text.ends_with('`') && text[done..].starts_with('`') =>
            {
                out.put(&table.to_string(), at..done);
            }
            Put::Table(table) => out.put(&table.sql(), at..done),
        }
    }
    out.text.push_str(&text[done..]);
    Ok(out)
}

/// What places of a text stand in, asked from its start to its end.
struct Around {
    /// Literals, comments and names in backticks. What does not end is none: such a text is refused for that.
    closed: Vec<Placed>,
    next: usize,
}

impl Around {
    /// A name in the place of a variable moves no token's end: those of the text are those of what is made of it.
    fn of(text: &str) -> Around {
        let text = letters_for_variables(text);
        let tokens = tokens(&text).or_else(|open| tokens(&text[..open.start]));
        let mut closed = tokens.unwrap_or_default();
        closed.retain(|placed| matches!(placed.token, Token::Quoted | Token::Literal | Token::Comment));
        Around { closed, next: 0 }
    }

    fn inside(&mut self, at: usize) -> Option<Token> {
        let behind = self.closed[self.next..].iter().take_while(|placed| placed.end <= at);
        self.next += behind.count();
        let placed = self.closed.get(self.next)?;
        (placed.start < at).then_some(placed.token)
    }
}

/// A text with as many letters in the place of each variable: what its name says (`before:d.a--b`) is no comment.
fn letters_for_variables(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    while let Some(at) = text[out.len()..].find("${").map(|at| out.len() + at) {
        let end = match text[out.len()..at].ends_with('$') {
            true => at + 2,
            false => text[at..].find('}').map_or(text.len(), |end| at + end + 1),
        };
        out.push_str(&text[out.len()..at]);
        out.push_str(&"x".repeat(end - at));
    }
    out.push_str(&text[out.len()..]);
    out
}

/// Whether a text is a project, dataset, table or column name, or several joined by dots: nothing that could be SQL.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| is_letter(c) || is_joint(c))
        // Two dashes would begin a comment, and the other may stand beside the value.
        && !text.contains("--") && !text.starts_with(is_joint) && !text.ends_with(is_joint)
}

fn is_joint(c: char) -> bool {
    matches!(c, '-' | '.' | ':')
}

/// Whether a keyword comes of a value between these texts: of `TR` before `UE`, or of `1OR`, a number and a word.
fn becomes_keyword(before: &str, value: &str, behind: &str) -> bool {
    let letters = |c: &char| is_letter(*c);
    let mut glued: Vec<char> = before.chars().rev().take_while(letters).take(LONGEST).collect();
    glued.reverse();
    glued.extend(value.chars());
    glued.extend(behind.chars().take_while(letters).take(LONGEST));
    let glued: String = glued.into_iter().collect();
    let mut words = tokens(&glued).into_iter().flatten();
    words.any(|placed| placed.token == Token::Word && is_reserved(&glued[placed.range()]))
}

/// More letters than any of [`RESERVED`] has: of a longer word no more is looked at.
const LONGEST: usize = 24;

/// Whether a word is no name without backticks: `WHERE ${COLUMN} IS NOT NULL` with a column of the name TRUE would be all rows.
pub(crate) fn is_reserved(text: &str) -> bool {
    RESERVED.contains(&text.to_ascii_uppercase().as_str())
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

    /// What kind each token of a text is.
    fn kinds(text: &str) -> Vec<Token> {
        tokens(text).unwrap().iter().map(|placed| placed.token).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_value_becomes_sql(
            value in "\\PC{1,12}|[a-z`'\"\\\\;()#/*$ .:-]{1,8}|(?i)true|null|or|select|1or|[rb]{1,2}|tr|ue",
        ) {
            let put = |text: &str| {
                replace_variables(text, |_| Ok(Some(Put::Name(value.clone())))).map(|replaced| replaced.text)
            };
            // In backticks it is a part of one name.
            if let Ok(text) = put("SELECT a FROM `p.x${V}y` WHERE b -- c") {
                prop_assert_eq!(kinds(&text), kinds("SELECT a FROM `p.xvy` WHERE b -- c"), "{}", text);
            }
            // Without, it is names and what joins them; nothing around it is taken in.
            for before in ["SELECT 'a' -", "SELECT '`' FROM d.t WHERE ", "/* ` */ SELECT `a\\``, x.", "SELECT 1 -- '`\n, tr", "SELECT 1", "# ${V}\n"] {
                for behind in ["- 'b';", "'\\'' OR TRUE --'", "\"\"\"a\"\"\"", "ue `x`", "${V}", " '${V}'", ""] {
                    let Ok(text) = put(&format!("{before}${{V}}{behind}")) else { continue };
                    let stands = before.replace("${V}", &value).len();
                    let behind = behind.replace("${V}", &value);
                    prop_assert_eq!(&text[stands..stands + value.len()], value.as_str());
                    for one in tokens(&text).unwrap() {
                        if one.end <= stands || one.start >= stands + value.len() {
                            continue;
                        }
                        let joint = ["-", ".", ":"].contains(&&text[one.range()]);
                        let word = matches!(one.token, Token::Word | Token::Part | Token::Number);
                        prop_assert!(word || joint, "{one:?} in {text}");
                        let keyword = one.token == Token::Word && is_reserved(&text[one.range()]);
                        prop_assert!(!keyword, "{one:?} in {text}");
                    }
                    prop_assert!(text.ends_with(&behind));
                }
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
    fn what_a_value_would_become_depends_on_where_it_stands() {
        let put = |text: &str, value: &str| {
            let named = |name: &str| if name == "a--b" { "d.t" } else { value };
            replace_variables(text, |name| Ok(Some(Put::Name(named(name).to_owned())))).map(|replaced| replaced.text)
        };
        for (text, value, why) in [
            ("SELECT '`' FROM d.t WHERE ${C}", "TRUE", "without backticks"),
            ("SELECT 1 -- a ` here\nFROM d.t WHERE ${C}", "true", "without backticks"),
            ("SELECT /* ` */ 1 FROM d.t WHERE ${C}", "NULL", "without backticks"),
            ("SELECT `a\\`` FROM d.t WHERE ${C}", "TRUE", "without backticks"),
            ("SELECT 1 FROM d.t WHERE TR${C}", "UE", "without backticks"),
            ("SELECT 1 FROM d.t WHERE ${C}UE", "tr", "without backticks"),
            ("SELECT a ${C} b", "1OR", "without backticks"),
            ("SELECT a FROM ${C}.d.t", "a-from", "without backticks"),
            ("SELECT ${C}'\\' OR 1 = 1 --'", "r", "before a quote"),
            ("SELECT ${C}\"\"\"x\"\"\"", "rb", "before a quote"),
            ("SELECT b${C}'x'", "R", "before a quote"),
            ("SELECT 1 FROM d.t WHERE ${C} = 'open", "TRUE", "without backticks"),
            ("SELECT 1 FROM ${a--b} WHERE ${C}", "TRUE", "without backticks"),
        ] {
            let bad = put(text, value).unwrap_err();
            assert!(bad.what.contains(why) && bad.hint.is_some(), "{text}: {bad:?}");
        }
        for (text, value, want) in [
            ("SELECT '`', `${C}`", "TRUE", "SELECT '`', `TRUE`"),
            ("SELECT 'all ${C}', '${C}'", "NULL", "SELECT 'all NULL', 'NULL'"),
            ("-- of ${C}\nSELECT 1", "all", "-- of all\nSELECT 1"),
            ("SELECT ${C} 'x', ${C}_not", "r", "SELECT r 'x', r_not"),
            ("SELECT a FROM ${C}.d.t", "a-fromage", "SELECT a FROM a-fromage.d.t"),
        ] {
            assert_eq!(put(text, value).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn as_many_variables_as_a_file_has_room_for_are_replaced_at_once() {
        let took = |times: usize| {
            let text = "`${V}`,".repeat(times);
            let started = std::time::Instant::now();
            let replaced = replace_variables(&text, |_| Ok(Some(Put::Name("a".to_owned())))).unwrap();
            assert_eq!(replaced.text.len(), 4 * times);
            assert!((0..times).all(|_| replaced.origins.origin(1) == 1));
            started.elapsed()
        };
        let few = (0..3).map(|_| took(2_000)).min().unwrap();
        // A hundred times as many, on one line; were it quadratic, it would take ten thousand times as long.
        let many = took(200_000);
        assert!(many < few * 1_000, "{many:?} after {few:?}");
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
