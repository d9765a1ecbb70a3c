//! PURE: names of tables, routines and datasets: as a text writes them, and what they stand for.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#path_expressions>.

use std::collections::BTreeSet;

use super::lexer::{is_letter, is_space};
use super::statement::{Kind, Name, Statement};
use super::words::Words;
use crate::names::{DatasetRef, ProjectId, TableRef};

/// A name with dots, as it may stand for a table.
pub(crate) struct Path {
    /// It.
    pub(crate) name: Name,
    /// Its first part, if more follow outside its quotes.
    pub(crate) first: Option<String>,
}

impl Path {
    /// The path that begins at a byte. Dashes need no quotes in its first part.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#table_names>.
    pub(crate) fn at(text: &str, start: usize) -> Option<Path> {
        let mut written: Vec<&str> = Vec::new();
        let mut at = start;
        loop {
            let rest = &text[at..];
            let (part, len) = match rest.strip_prefix('`') {
                Some(quoted) => {
                    let end = quoted.find('`')?;
                    (&quoted[..end], end + 2)
                }
                None => {
                    let len = bare(rest, written.is_empty());
                    (&rest[..len], len)
                }
            };
            // What is escaped is no name of ours.
            if part.is_empty() || part.contains('\\') {
                return None;
            }
            written.push(part);
            at += len;
            let behind = blank(&text[at..]);
            let Some(next) = text[at + behind..].strip_prefix('.') else {
                break;
            };
            at = text.len() - next.len() + blank(next);
        }
        let first = written.first().filter(|_| written.len() > 1);
        Some(Path {
            first: first.map(|first| (*first).to_owned()),
            name: Name {
                parts: parts(&written.join(".")),
                range: start..at,
            },
        })
    }

    /// The name by which a query knows the table if it gives no other.
    pub(crate) fn implied(&self) -> &str {
        self.name.parts.last().map_or("", String::as_str)
    }
}

/// A name's parts. The domain of an old project holds dots: `example.com:p.d.t` has three parts.
fn parts(name: &str) -> Vec<String> {
    let project = name.find(':').map_or(0, |colon| colon + 1);
    let first = project + name[project..].find('.').unwrap_or(name.len() - project);
    let rest = name[first..].split('.').skip(1);
    [&name[..first]].into_iter().chain(rest).map(str::to_owned).collect()
}

/// How many bytes of a text are an identifier without quotes.
fn bare(text: &str, dashes: bool) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        // Two dashes begin a comment.
        let joins = dashes && at > 0 && c == '-' && chars.peek().is_some_and(|(_, next)| is_letter(*next));
        if !is_letter(c) && !joins {
            return at;
        }
    }
    text.len()
}

/// How many bytes at the beginning of a text are space and comments.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        let behind = match () {
            () if rest.starts_with("--") || rest.starts_with('#') => rest.find(['\n', '\r']),
            () if rest.starts_with("/*") => rest[2..].find("*/").map(|end| end + 4),
            () => None,
        };
        match behind {
            Some(behind) => rest = &rest[behind..],
            None => return text.len() - rest.len(),
        }
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// A table; or a routine or a model, which are named as tables are.
    Table(TableRef),
    /// A table that lives no longer than the script.
    Temporary,
    /// Not known: one part without a default dataset, or no name of ours (a wildcard, `INFORMATION_SCHEMA`).
    Unresolved,
}

/// What the name of a table, a routine or a model stands for, as BigQuery has it.
///
/// `home`: the project of names without one; `default_dataset`: the dataset of names without one; `temporary`: the
/// temporary tables that the script has made before, in small letters. What follows a `SET` that [`changes_default`] is
/// to be asked with other defaults, or none.
/// Source: <https://docs.cloud.google.com/bigquery/docs/multi-statement-queries#temporary_tables>.
pub fn resolve(
    name: &Name,
    home: &ProjectId,
    default_dataset: Option<&DatasetRef>,
    temporary: &BTreeSet<String>,
) -> Resolved {
    let resolved = match name.parts.as_slice() {
        [one] if temporary.contains(&one.to_lowercase()) => return Resolved::Temporary,
        [session, _] if session.eq_ignore_ascii_case("_SESSION") => return Resolved::Temporary,
        [one] => default_dataset.and_then(|dataset| Some(dataset.table(one.parse().ok()?))),
        [.., view, _] if view.eq_ignore_ascii_case("INFORMATION_SCHEMA") => None,
        [_, _] | [_, _, _] => TableRef::parse(&name.to_string(), Some(home)).ok(),
        _ => None,
    };
    resolved.map_or(Resolved::Unresolved, Resolved::Table)
}

/// The dataset that a name of one or two parts stands for; `None`: it is no name of a dataset.
pub fn resolve_dataset(name: &Name, home: &ProjectId) -> Option<DatasetRef> {
    let text = name.to_string();
    match name.parts.len() {
        1 | 2 => DatasetRef::parse(&text, home).ok(),
        _ => None,
    }
}

/// Whether a statement changes what names without dataset or project stand for from there on: `SET @@dataset_id = …`.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/system-variables>.
pub fn changes_default(text: &str, statement: &Statement) -> bool {
    let Some(set) = text
        .get(statement.range.clone())
        .filter(|_| statement.kind == Kind::Set)
    else {
        return false;
    };
    let Ok(words) = Words::of(set) else { return true };
    let assigned = (0..words.len()).take_while(|at| words.symbol(*at) != "=");
    assigned.filter(|at| words.symbol(*at) == "@@").any(|at| {
        let name = words.name(at + 1).unwrap_or_default().to_ascii_lowercase();
        matches!(name.as_str(), "dataset_id" | "dataset_project_id")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Vec<String>, usize)> {
        Path::at(text, 0).map(|path| (path.name.parts, path.name.range.end))
    }

    #[test]
    fn names_are_read_in_every_spelling() {
        for (text, want, end) in [
            ("t", "t", 1),
            ("d.t x", "d|t", 3),
            ("`p.d.t`", "p|d|t", 7),
            ("`p`.`d`.`t`", "p|d|t", 11),
            ("`my-p.d`.t,", "my-p|d|t", 10),
            ("my-p.d.t-1", "my-p|d|t", 8),
            ("my-1p.d.1t", "my-1p|d|1t", 10),
            ("d /*.*/ . -- x\n t", "d|t", 17),
            ("d.t--1", "d|t", 3),
            ("`example.com:my-p.d.t`", "example.com:my-p|d|t", 22),
            ("`example.com:my-p`.d.t", "example.com:my-p|d|t", 22),
            ("p.d.INFORMATION_SCHEMA.TABLES", "p|d|INFORMATION_SCHEMA|TABLES", 29),
            ("`d.t*`", "d|t*", 6),
            ("`two words`", "two words", 11),
            ("p:d.t", "p", 1),
        ] {
            let want: Vec<String> = want.split('|').map(str::to_owned).collect();
            assert_eq!(read(text), Some((want, end)), "{text}");
        }
        for text in ["", "(", "`a\\`b`", "`a", "d.", "'t'", "``"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn names_stand_for_what_bigquery_takes_them_for() {
        let home: ProjectId = "home".parse().unwrap();
        let dataset = DatasetRef::parse("other.dflt", &home).unwrap();
        let temporary = BTreeSet::from(["tmp".to_owned()]);
        let of = |text: &str, dataset: Option<&DatasetRef>| {
            let name = Path::at(text, 0).unwrap().name;
            match resolve(&name, &home, dataset, &temporary) {
                Resolved::Table(table) => table.to_string(),
                Resolved::Temporary => "temporary".to_owned(),
                Resolved::Unresolved => "?".to_owned(),
            }
        };
        for (text, want) in [
            ("t", "other.dflt.t"),
            ("TMP", "temporary"),
            ("`tmp`", "temporary"),
            ("_session.x", "temporary"),
            ("d.tmp", "home.d.tmp"),
            ("p.d.t", "p.d.t"),
            ("`example.com:p.d.t`", "example.com:p.d.t"),
            ("`d.t*`", "?"),
            ("d.INFORMATION_SCHEMA.TABLES", "?"),
            ("INFORMATION_SCHEMA.TABLES", "?"),
            ("`region-eu`.INFORMATION_SCHEMA.JOBS", "?"),
            ("a.b.c.d", "?"),
        ] {
            assert_eq!(of(text, Some(&dataset)), want, "{text}");
        }
        assert_eq!(of("t", None), "?");
        assert_eq!(of("tmp", None), "temporary");
        let dataset = |text| resolve_dataset(&Path::at(text, 0).unwrap().name, &home).map(|d| d.to_string());
        assert_eq!(dataset("d").as_deref(), Some("home.d"));
        assert_eq!(dataset("`my-p.d`").as_deref(), Some("my-p.d"));
        assert_eq!(dataset("a.b.c"), None);
    }

    #[test]
    fn a_change_of_the_default_is_seen() {
        for (text, is) in [
            ("SET @@dataset_id = 'd'", true),
            ("set @@ /**/ `Dataset_Project_Id`='d'", true),
            ("SET (a, @@dataset_id) = ('d', 1)", true),
            ("SET a = @@dataset_id", false),
            ("SET @@time_zone = 'dataset_id'", false),
            ("SELECT @@dataset_id", false),
        ] {
            let statements = super::super::read(text).unwrap();
            assert_eq!(changes_default(text, &statements[0]), is, "{text}");
        }
    }
}
