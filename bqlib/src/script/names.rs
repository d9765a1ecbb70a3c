//! PURE: names of tables, routines and datasets: as a text writes them, and what they stand for.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#path_expressions>.

use super::lexer::{Token, is_letter, is_space, text_of};
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

/// What the name of a table, a routine or a model that outlives the script stands for, as BigQuery has it. `home`: the
/// project of names without one; `default`: the dataset of names without one. `None`: not known, for want of a default
/// dataset, or no name of ours (a wildcard, `INFORMATION_SCHEMA`, what lives in `_SESSION`).
pub fn resolve(name: &Name, home: &ProjectId, default: Option<&DatasetRef>) -> Option<TableRef> {
    match name.parts.as_slice() {
        [one] => Some(default?.table(one.parse().ok()?)),
        [.., view, _] if view.eq_ignore_ascii_case("INFORMATION_SCHEMA") => None,
        [_, _] | [_, _, _] if of_session(name).is_none() => TableRef::parse(&name.to_string(), Some(home)).ok(),
        _ => None,
    }
}

/// The temporary table that `_SESSION.t` is, wherever it stands.
/// Source: <https://docs.cloud.google.com/bigquery/docs/multi-statement-queries#temporary_tables>.
pub fn of_session(name: &Name) -> Option<&str> {
    match name.parts.as_slice() {
        [session, one] if session.eq_ignore_ascii_case("_SESSION") => Some(one),
        _ => None,
    }
}

/// A change of what names without dataset or project stand for from there on: `SET @@dataset_id = …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewDefault {
    /// To the dataset of this name.
    Dataset(String),
    /// To another dataset, not known which.
    AnyDataset,
    /// Of the project, or of both.
    AnyProject,
}

/// How a statement changes that, if it does.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/system-variables>.
pub fn new_default(text: &str, statement: &Statement) -> Option<NewDefault> {
    let set = text
        .get(statement.range.clone())
        .filter(|_| statement.kind == Kind::Set)?;
    let words = Words::of(set).ok()?;
    let assigned = (0..words.len()).take_while(|at| words.symbol(*at) != "=");
    let system = assigned.filter(|at| words.symbol(*at) == "@@").map(|at| at + 1);
    let is = |name: &str| {
        let mut system = system.clone();
        system.find(|at| words.name(*at).is_some_and(|word| word.eq_ignore_ascii_case(name)))
    };
    if is("dataset_project_id").is_some() {
        return Some(NewDefault::AnyProject);
    }
    let at = is("dataset_id")?;
    let value = words.get(at + 2).filter(|value| value.token == Token::Literal);
    let literal = value.filter(|_| words.symbol(at + 1) == "=" && words.len() == at + 3);
    let name = literal.and_then(|literal| text_of(&set[literal.range()]));
    Some(name.map_or(NewDefault::AnyDataset, NewDefault::Dataset))
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
        let of = |text: &str, dataset: Option<&DatasetRef>| {
            let table = resolve(&Path::at(text, 0).unwrap().name, &home, dataset);
            table.map_or("?".to_owned(), |table| table.to_string())
        };
        for (text, want) in [
            ("t", "other.dflt.t"),
            ("_session.x", "?"),
            ("d.t", "home.d.t"),
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
        let name = |text| Path::at(text, 0).unwrap().name;
        assert_eq!(of_session(&name("`_session`.x")), Some("x"));
        assert_eq!(of_session(&name("session.x")), None);
    }

    #[test]
    fn a_change_of_the_default_is_seen() {
        use NewDefault::*;
        for (text, want) in [
            ("SET @@dataset_id = 'd'", Some(Dataset("d".to_owned()))),
            ("SET @@ dataset_id = r\"d\" -- x", Some(Dataset("d".to_owned()))),
            ("SET @@dataset_id = 'd' || 'e'", Some(AnyDataset)),
            ("SET @@dataset_id = b'd'", Some(AnyDataset)),
            ("SET @@dataset_id = (SELECT 'd')", Some(AnyDataset)),
            ("SET @@/**/dataset_id = x", Some(AnyDataset)),
            ("set @@ /**/ `Dataset_Project_Id`='d'", Some(AnyProject)),
            ("SET (a, @@dataset_id) = ('d', 1)", Some(AnyDataset)),
            (
                "SET (@@dataset_id, @@dataset_project_id) = ('d', 'p')",
                Some(AnyProject),
            ),
            ("SET a = @@dataset_id", None),
            ("SET @@time_zone = 'dataset_id'", None),
            ("SELECT @@dataset_id", None),
        ] {
            let statements = super::super::read(text).unwrap();
            assert_eq!(new_default(text, &statements[0]), want, "{text}");
        }
    }
}
