//! PURE: the same query on other tables: names of tables in a SQL text replaced, and nothing else.
//!
//! A name is replaced where a query names a table: behind `FROM`, `JOIN`, a comma of a FROM clause, `TABLE` in a
//! call. In comments, literals and column lists it stands untouched. There is no grammar here: whether BigQuery reads
//! the new text as meant is for the caller to ask it (the tables that its dry run names).

use sqlparser::tokenizer::{Token, Word};

use crate::lexer;
use crate::names::{ProjectId, TableRef};
use crate::script::Offsets;
use crate::variables::is_reserved;

/// The text with every name of a table for which `other` knows another one replaced by that one, in full and quoted.
/// Where the query gave no alias, the one that the old name implied is said. `home`: the project of names without
/// one.
///
/// `None`: the text cannot be read as words.
pub fn retarget<'a>(text: &str, home: &ProjectId, other: impl Fn(&TableRef) -> Option<&'a TableRef>) -> Option<String> {
    let words = Words::of(text)?;
    let mut scopes = vec![Scope::default()];
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while let Some((start, token)) = words.get(at) {
        let scope = scopes.last()?;
        let path = match scope.expects {
            Expects::Nothing => None,
            _ => Path::at(text, start).filter(|_| !is_keyword(token)),
        };
        let Some(path) = path else {
            step(&mut scopes, &words, at);
            at += 1;
            continue;
        };
        at = words.behind(path.end, at);
        let alias = words.alias(at);
        let called = matches!(words.get(at), Some((_, Token::LParen)));
        let is_column = path.first.as_ref().is_some_and(|first| knows(&scopes, first));
        let table = TableRef::parse(&path.name, Some(home)).ok();
        if let Some((table, other)) = table.and_then(|t| other(&t).map(|other| (t, other)))
            && !called
            && !is_column
        {
            out.push_str(&text[copied..start]);
            out.push_str(&other.sql());
            if alias.is_none() && scope.expects == Expects::Table {
                out.push_str(&format!(" AS `{}`", table.table));
            }
            copied = path.end;
        }
        let implied = path.name.rsplit('.').next().unwrap_or_default().to_owned();
        let scope = scopes.last_mut()?;
        scope.aliases.push(alias.unwrap_or(implied));
        scope.expects = Expects::Nothing;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Expects {
    #[default]
    Nothing,
    /// A table of a FROM clause, which may have an alias.
    Table,
    /// A table as an argument, which may not.
    Argument,
}

/// What is known inside a pair of brackets.
#[derive(Debug, Default)]
struct Scope {
    in_from: bool,
    expects: Expects,
    /// `EXTRACT(DAY FROM …)`: its FROM begins no clause.
    extracts: bool,
    /// Names that stand for a table here: `FROM d.t AS d, d.items` reads a column of it, not another table.
    aliases: Vec<String>,
}

fn knows(scopes: &[Scope], name: &str) -> bool {
    let mut aliases = scopes.iter().flat_map(|scope| &scope.aliases);
    aliases.any(|alias| alias.eq_ignore_ascii_case(name))
}

/// Takes in a token that names no table.
fn step(scopes: &mut Vec<Scope>, words: &Words, at: usize) {
    let inside = scopes.len() > 1;
    let (Some(scope), Some((_, token))) = (scopes.last_mut(), words.get(at)) else {
        return;
    };
    let before = at.checked_sub(1).and_then(|at| words.get(at)).map(|(_, token)| token);
    let expected = std::mem::take(&mut scope.expects);
    match token {
        Token::LParen => {
            let joins = expected == Expects::Table;
            let extracts = before.is_some_and(|token| is(token, "EXTRACT"));
            scopes.push(Scope {
                in_from: joins,
                expects: expected,
                extracts,
                aliases: Vec::new(),
            });
        }
        Token::LBracket | Token::LBrace => scopes.push(Scope::default()),
        Token::RParen | Token::RBracket | Token::RBrace if inside => {
            scopes.pop();
            let alias = words.alias(at + 1);
            if let Some(scope) = scopes.last_mut().filter(|scope| scope.in_from) {
                scope.aliases.extend(alias);
            }
        }
        Token::Comma if scope.in_from => scope.expects = Expects::Table,
        Token::VerticalBarRightAngleBracket => scope.in_from = false,
        Token::Word(word) if word.quote_style.is_none() => match word.value.to_ascii_uppercase().as_str() {
            "FROM" if scope.extracts || before.is_some_and(|token| is(token, "DISTINCT")) => {}
            "FROM" | "JOIN" => (scope.in_from, scope.expects) = (true, Expects::Table),
            "TABLE" if inside => scope.expects = Expects::Argument,
            "SELECT" | "UNION" | "INTERSECT" | "EXCEPT" => {
                scope.in_from = false;
                scope.aliases.clear();
            }
            "WHERE" | "GROUP" | "HAVING" | "QUALIFY" | "WINDOW" | "ORDER" | "LIMIT" => scope.in_from = false,
            _ => {}
        },
        _ => {}
    }
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
}

/// Whether a token is a word that no table can begin with.
fn is_keyword(token: &Token) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if is_reserved(value))
}

/// The tokens of a text that are neither space nor comment, with the byte where each begins.
struct Words(Vec<(usize, Token)>);

impl Words {
    fn of(text: &str) -> Option<Words> {
        let mut offsets = Offsets::of(text);
        let tokens = lexer::tokens(text)?.into_iter();
        let words = tokens.filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        let placed = words.map(|token| Some((offsets.byte(token.span.start)?, token.token)));
        placed.collect::<Option<Vec<_>>>().map(Words)
    }

    fn get(&self, at: usize) -> Option<(usize, &Token)> {
        self.0.get(at).map(|(start, token)| (*start, token))
    }

    /// The first token that begins at this byte or behind it, looked for from here.
    fn behind(&self, end: usize, from: usize) -> usize {
        let more = self.0[from..].iter().take_while(|(start, _)| *start < end).count();
        from + more
    }

    /// The alias that stands here, if one does.
    fn alias(&self, at: usize) -> Option<String> {
        let (_, token) = self.get(at)?;
        if is(token, "AS") {
            return self.alias(at + 1);
        }
        let Token::Word(word) = token else { return None };
        if is_keyword(token) {
            return None;
        }
        // No reserved words, and operators where a bracket follows.
        let operator = ["PIVOT", "UNPIVOT", "MATCH_RECOGNIZE"].iter().any(|o| is(token, o));
        if operator && matches!(self.get(at + 1), Some((_, Token::LParen))) {
            return None;
        }
        Some(word.value.clone())
    }
}

/// A name with dots, as it may stand for a table.
struct Path {
    /// Its parts, without quotes, joined by dots.
    name: String,
    /// Its first part, if more follow outside its quotes.
    first: Option<String>,
    /// The byte behind it.
    end: usize,
}

impl Path {
    /// The path that begins at a byte. Dashes need no quotes in its first part.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#table_names>.
    fn at(text: &str, start: usize) -> Option<Path> {
        let mut parts: Vec<&str> = Vec::new();
        let mut at = start;
        loop {
            let rest = &text[at..];
            let (part, len) = match rest.strip_prefix('`') {
                Some(quoted) => {
                    let end = quoted.find('`')?;
                    (&quoted[..end], end + 2)
                }
                None => {
                    let len = bare(rest, parts.is_empty());
                    (&rest[..len], len)
                }
            };
            // What is escaped is no name of ours.
            if part.is_empty() || part.contains('\\') {
                return None;
            }
            parts.push(part);
            at += len;
            let behind = text[at..].trim_start();
            let Some(next) = behind.strip_prefix('.') else { break };
            at = text.len() - next.trim_start().len();
        }
        let first = parts.first().filter(|_| parts.len() > 1);
        Some(Path {
            name: parts.join("."),
            first: first.map(|first| (*first).to_owned()),
            end: at,
        })
    }
}

/// How many bytes of a text are an identifier without quotes.
fn bare(text: &str, dashes: bool) -> usize {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        // Two dashes begin a comment.
        let joins = dashes && at > 0 && c == '-' && chars.peek().is_some_and(|(_, next)| letter(*next));
        if !letter(c) && !joins {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    /// Protected are `my-p.d.t` and `my-p.d.u`; the project is `my-p`.
    fn to_snapshots(text: &str) -> Option<String> {
        let pairs = ["t", "u"].map(|t| (table(&format!("my-p.d.{t}")), table(&format!("my-p.d.{t}_s"))));
        let other = |t: &TableRef| pairs.iter().find(|(table, _)| table == t).map(|(_, other)| other);
        retarget(text, &"my-p".parse().unwrap(), other)
    }

    /// In these texts `‹spelling›` is to become the snapshot with the alias said, `«spelling»` without.
    fn check(marked: &str) {
        let text: String = marked.replace(['‹', '›', '«', '»'], "");
        let mut want = String::new();
        let mut rest = marked;
        while let Some(at) = rest.find(['‹', '«']) {
            want.push_str(&rest[..at]);
            let end = rest.find(['›', '»']).unwrap();
            let t = if rest[at..end].trim_end_matches('`').ends_with('u') {
                "u"
            } else {
                "t"
            };
            want.push_str(&format!("`my-p.d.{t}_s`"));
            if rest[at..].starts_with('‹') {
                want.push_str(&format!(" AS `{t}`"));
            }
            rest = rest[end..].strip_prefix(['›', '»']).unwrap();
        }
        want.push_str(rest);
        assert_eq!(to_snapshots(&text).unwrap(), want, "{text}");
    }

    #[test]
    fn names_of_tables_are_replaced_and_keep_their_alias() {
        for text in [
            "SELECT t.a FROM ‹d.t›",
            "SELECT t.a FROM ‹my-p.d.t› WHERE t.a > 1",
            "SELECT t.a FROM ‹`my-p.d.t`›",
            "SELECT t.a FROM ‹`my-p`.d.`t`›\nGROUP BY a",
            "SELECT t.a FROM ‹`my-p.d`.t›, ‹d.u›",
            "SELECT a FROM ‹`d.t`› LEFT JOIN «d.u» x USING (a, b)",
            "SELECT a FROM «d.t» AS x JOIN «d . `u`»AS y ON x.a = y.a, ‹d.u›;",
            "SELECT a FROM ‹d.t›--comment of d.t\nJOIN ‹d.u› ON t.a = u.a",
            "SELECT a FROM (‹d.t› JOIN ‹d.u› USING (a)) JOIN other.t ON TRUE",
            "SELECT (SELECT MAX(a) FROM ‹d.u›) FROM (SELECT * FROM ‹d.t›) AS t",
            "SELECT 1 FROM UNNEST([1, 2]) AS n, ‹d.t›",
            "SELECT EXTRACT(DAY FROM d.t), a IS DISTINCT FROM d.t FROM ‹d.t›",
            "FROM ‹d.t› |> WHERE a > 1 |> JOIN ‹d.u› USING (a) |> SELECT d.t, d.u",
            "SELECT a FROM ‹d.t› PIVOT(SUM(a) FOR b IN ('x')) JOIN «d.u» pivot ON TRUE",
            "SELECT a FROM ‹d.t› TABLESAMPLE SYSTEM (10 PERCENT)",
            "SELECT a FROM ‹d.t› FOR SYSTEM_TIME AS OF ts, ‹d.u›",
            "FROM ‹d.t› |> EXTEND 1 AS x, d.u",
            "SELECT a FROM x.y AS d UNION ALL SELECT a FROM ‹d.u›",
            "SELECT * FROM d.f(TABLE «d.t», 7)",
            "WITH t AS (SELECT * FROM ‹d.t›), u AS (SELECT 1 AS a) SELECT t.a FROM t JOIN u USING (a)",
            "SELECT a FROM ‹d.t› UNION ALL SELECT a FROM ‹d.u› ORDER BY a LIMIT 1",
        ] {
            check(text);
        }
    }

    #[test]
    fn what_is_no_name_of_a_table_stands() {
        for text in [
            "SELECT 'FROM d.t', \"\"\"FROM d.t\"\"\", r'd.t' -- FROM d.t\n# FROM d.t\n/* FROM d.t */ FROM x.y",
            "SELECT d.t FROM x.y AS d WHERE d.t > d.u",
            "SELECT i FROM x.y AS d, d.t AS i",
            "SELECT i FROM x.y AS d JOIN UNNEST(d.t) AS i, D.u",
            "SELECT i FROM (SELECT 1) AS d, d.t",
            "SELECT a FROM `d.t*`, d.`t*`, other.d.t, d.tt, d.t.items, p.d.t",
            "SELECT a FROM d.T, `my-p.d\\x2et`",
            "SELECT d.t(1) FROM d.t(2)",
            "SELECT t FROM t, u",
            "",
        ] {
            assert_eq!(to_snapshots(text).as_deref(), Some(text));
        }
        assert_eq!(to_snapshots("SELECT 'open FROM d.t"), None);
    }

    #[test]
    fn a_long_line_is_read_once() {
        let columns = "a + ü, ".repeat(50_000);
        let text = format!("SELECT {columns} t.b FROM d.t");
        let new = to_snapshots(&text).unwrap();
        assert_eq!(new, format!("SELECT {columns} t.b FROM `my-p.d.t_s` AS `t`"));
    }

    const BEFORE: [&str; 8] = [
        "SELECT d.t, 'd.t' FROM ",
        "SELECT 1 -- d.t\nFROM ",
        "SELECT * FROM x.y JOIN ",
        "SELECT * FROM x.y AS z , ",
        "WITH d AS (SELECT d.u) SELECT * FROM /* d.u */ ",
        "SELECT ARRAY(SELECT a FROM x.y), [d.t, d.u], STRUCT(d.t AS u) FROM ",
        "SELECT CASE WHEN a THEN d.t END FROM ",
        "FROM x.y |> JOIN ",
    ];
    const SPELT: [&str; 9] = [
        "d.t",
        "`d.t`",
        "d.`t`",
        "my-p.d.t",
        "`my-p`.d.t",
        "`my-p.d.t`",
        "`my-p.d`.`t`",
        "d . t",
        "`my-p`.`d`.`t`",
    ];
    const BEHIND: [(&str, bool); 8] = [
        ("", true),
        (" WHERE d.t = 'FROM d.t'", true),
        (" AS d_t", false),
        (" x", false),
        (" `x y` ON d.t = d.u", false),
        ("\n, UNNEST(d.u)", true),
        (" GROUP BY d.t, d.u", true),
        (") SELECT d.t", true),
    ];
    const PIECES: [&str; 34] = [
        "SELECT", "FROM", "JOIN", "TABLE", "AS", " ", "\n", ",", "(", ")", "[", "]", "d.t", "d", ".", "t", "`d.t`",
        "`", "'", "\"", "--", "#", "/*", "*/", "my-p.d.t", "x", "my-", "1", "EXTRACT", "|>", "\\", "ü", "UNNEST", ";",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn only_the_table_is_touched(
            before in prop::sample::select(&BEFORE[..]), spelt in prop::sample::select(&SPELT[..]),
            (behind, implied) in prop::sample::select(&BEHIND[..]),
        ) {
            let alias = if implied { " AS `t`" } else { "" };
            prop_assert_eq!(
                to_snapshots(&format!("{before}{spelt}{behind}")).unwrap(),
                format!("{before}`my-p.d.t_s`{alias}{behind}")
            );
        }

        /// Whatever the text: what is left of it beside the new names was there before, in this order.
        #[test]
        fn nothing_else_comes_or_goes(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
            let text = pieces.concat();
            let Some(new) = to_snapshots(&text) else { return Ok(()) };
            let mut rest = text.as_str();
            for (i, kept) in new.split("`my-p.d.t_s`").enumerate() {
                let kept = if i == 0 { kept } else { kept.strip_prefix(" AS `t`").unwrap_or(kept) };
                let at = rest.find(kept);
                prop_assert!(at.is_some(), "{kept:?} is not in {rest:?}: {new}");
                rest = &rest[at.unwrap_or_default() + kept.len()..];
            }
        }

        /// No name becomes SQL: of a hostile one there are as many tokens as of a plain one.
        #[test]
        fn nothing_becomes_sql(name in "\\PC{1,12}|[a-z`'\"\\\\;()#/*$ .:@\\-\n]{1,9}") {
            let Ok(odd) = TableRef::parse(&format!("p.d.{name}"), None) else { return Ok(()) };
            let kinds = |text: &str| {
                let tokens = lexer::tokens(text).unwrap_or_default();
                tokens.iter().map(|t| std::mem::discriminant(&t.token)).collect::<Vec<_>>()
            };
            let text = format!("SELECT a FROM {} WHERE b", odd.sql());
            let new = retarget(&text, &"p".parse().unwrap(), |t| (*t == odd).then_some(&odd)).unwrap();
            prop_assert_eq!(kinds(&new), kinds("SELECT a FROM `t` AS `t` WHERE b"), "{}", new);
        }
    }
}
