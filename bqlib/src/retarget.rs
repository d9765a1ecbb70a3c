//! PURE: the same query on other tables: names of tables in a SQL text replaced, and nothing else.
//!
//! A name is replaced where a query names a table, as `script::reads` finds them; elsewhere it stands untouched.
//! Whether BigQuery reads the new text as meant is for the caller to ask it (the tables that its dry run names).

use crate::names::{ProjectId, TableRef};
use crate::script::reads::reads;
use crate::script::words::Words;

/// The text with every name of a table for which `other` knows another one replaced by that one, in full and quoted.
/// Where the query gave no alias, the one that the old name implied is said. `home`: the project of names without
/// one.
///
/// `None`: the text cannot be read as words.
pub fn retarget<'a>(text: &str, home: &ProjectId, other: impl Fn(&TableRef) -> Option<&'a TableRef>) -> Option<String> {
    let words = Words::of(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for read in reads(&words, 0..words.len(), false, &[]) {
        let name = &read.path.name;
        let table = TableRef::parse(&name.to_string(), Some(home)).ok();
        let Some((table, other)) = table.and_then(|table| other(&table).map(|other| (table, other))) else {
            continue;
        };
        out.push_str(&text[copied..name.range.start]);
        out.push_str(&other.sql());
        if !read.aliased && !read.argument {
            out.push_str(&format!(" AS `{}`", table.table));
        }
        copied = name.range.end;
    }
    out.push_str(&text[copied..]);
    Some(out)
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

    /// Whether a text is spellings of the table, each with one of these behind it: of what was kept, all that is there.
    fn is_explained(text: &str, kept: &[&str]) -> bool {
        let Some((first, others)) = kept.split_first() else {
            return text.is_empty();
        };
        let spellings = (1..=text.len()).filter(|end| text.is_char_boundary(*end) && is_spelling(&text[..*end]));
        spellings.map(|end| &text[end..]).any(|rest| {
            let behind = [Some(*first), first.strip_prefix(" AS `t`")];
            let mut left = behind.iter().flatten().filter_map(|kept| rest.strip_prefix(*kept));
            left.any(|left| is_explained(left, others))
        })
    }

    /// Whether a text is a name of `my-p.d.t` and nothing else.
    fn is_spelling(text: &str) -> bool {
        let Ok(words) = Words::of(text) else { return false };
        let bare = (0..words.len())
            .filter_map(|at| words.get(at))
            .map(|placed| text[placed.range()].replace('`', ""));
        ["d.t", "my-p.d.t"].contains(&bare.collect::<String>().as_str())
            && words.start(0) == 0
            && words.end_before(words.len()) == text.len()
    }

    #[test]
    fn what_goes_must_be_the_table() {
        for (text, new, is) in [
            ("d.t, x", &["", ", x"][..], true),
            ("`my-p` .d./* */`t` AS y", &["", " AS y"], true),
            ("d.t x d.t", &["", " AS `t` x ", " AS `t`"], true),
            ("d.t, y, x", &["", ", x"], false),
            ("d.t WHERE d.t", &["", ""], false),
            (" d.t", &["", ""], false),
            ("d.u", &["", ""], false),
        ] {
            assert_eq!(is_explained(text, &new[1..]), is, "{text}");
        }
    }

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

        /// Whatever the text: what is left of it beside the new names was there before, in this order, and what is
        /// gone spelt the table.
        #[test]
        fn nothing_else_comes_or_goes(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
            let text = pieces.concat();
            let Some(new) = to_snapshots(&text) else { return Ok(()) };
            let kept: Vec<&str> = new.split("`my-p.d.t_s`").collect();
            let rest = text.strip_prefix(kept[0]);
            prop_assert!(rest.is_some_and(|rest| is_explained(rest, &kept[1..])), "{text:?} became {new:?}");
        }

        /// No name becomes SQL: of a hostile one there are as many tokens as of a plain one.
        #[test]
        fn nothing_becomes_sql(name in "\\PC{1,12}|[a-z`'\"\\\\;()#/*$ .:@\\-\n]{1,9}") {
            let Ok(odd) = TableRef::parse(&format!("p.d.{name}"), None) else { return Ok(()) };
            let kinds = |text: &str| {
                let tokens = crate::script::lexer::tokens(text).unwrap();
                tokens.iter().map(|placed| placed.token).collect::<Vec<_>>()
            };
            let text = format!("SELECT a FROM {} WHERE b", odd.sql());
            let new = retarget(&text, &"p".parse().unwrap(), |t| (*t == odd).then_some(&odd)).unwrap();
            prop_assert_eq!(kinds(&new), kinds("SELECT a FROM `t` AS `t` WHERE b"), "{}", new);
        }
    }
}
