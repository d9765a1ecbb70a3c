//! PURE: which columns were asked for, by `--columns` and `--except-columns`.

use crate::exit::Failure;
use crate::meta::TableMeta;
use crate::names::{ProjectId, TableRef};

use super::columns;

/// The flags of a fingerprint, the same in each program that has them.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Take fingerprints of these columns only, such as `a,b.c`; `TABLE:a,b` for one table; repeatable
    #[arg(long, value_name = "[TABLE:]COLUMNS", conflicts_with = "except_columns")]
    pub columns: Vec<String>,
    /// Take fingerprints of all columns but these; repeatable
    #[arg(long, value_name = "[TABLE:]COLUMNS")]
    pub except_columns: Vec<String>,
    /// Take a fingerprint of each partition as well
    #[arg(long)]
    pub per_partition: bool,
    /// Refuse what BigQuery would bill more bytes for than this: all fingerprints together; in bq-check each other query, too
    #[arg(long, value_name = "N")]
    pub max_bytes_billed: Option<u64>,
}

impl Flags {
    /// Flags that mean nothing without `flag`, which was not given. `scans`: something else scans, which the limit of bytes is for, too.
    ///
    /// # Errors
    /// One of them was (2).
    pub fn refuse_without(&self, flag: &str, scans: bool) -> Result<(), Failure> {
        let given = [
            ("--columns", !self.columns.is_empty()),
            ("--except-columns", !self.except_columns.is_empty()),
            ("--per-partition", self.per_partition),
            ("--max-bytes-billed", self.max_bytes_billed.is_some() && !scans),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => Err(Failure::usage(
                format!("`{name}` says what `{flag}` looks at, and that was not asked for"),
                *name,
                format!("add `{flag}`, or leave `{name}` out"),
            )),
        }
    }
}

/// A column or a field of one: its name and those of the columns it is in, in lower case, the outermost first.
pub type Path = Vec<String>;

/// Which columns of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All.
    All,
    /// These, whole.
    Only(Vec<Path>),
    /// All but these.
    Except(Vec<Path>),
}

/// How much of a column is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    None,
    /// What of its fields is chosen.
    Some,
    All,
}

impl Choice {
    /// How much of the column at `path` is chosen.
    pub(crate) fn part(&self, path: &[String]) -> Part {
        let covers = |list: &[Path]| list.iter().any(|chosen| path.starts_with(chosen));
        let enters = |list: &[Path]| list.iter().any(|chosen| chosen.starts_with(path));
        match self {
            Choice::All => Part::All,
            Choice::Only(list) if covers(list) => Part::All,
            Choice::Only(list) if enters(list) => Part::Some,
            Choice::Only(_) => Part::None,
            Choice::Except(list) if covers(list) => Part::None,
            Choice::Except(list) if enters(list) => Part::Some,
            Choice::Except(_) => Part::All,
        }
    }
}

/// One flag, read.
#[derive(Clone, Debug)]
struct Entry {
    table: Option<TableRef>,
    paths: Vec<Path>,
    text: String,
}

/// What was asked of several tables.
#[derive(Clone, Debug)]
pub struct Choices {
    entries: Vec<Entry>,
    except: bool,
}

impl Choices {
    /// Reads the flags, for these tables.
    ///
    /// # Errors
    /// A flag names no column (2).
    pub fn read(flags: &Flags, tables: &[&TableRef], home: Option<&ProjectId>) -> Result<Choices, Failure> {
        let except = flags.columns.is_empty();
        let texts = if except { &flags.except_columns } else { &flags.columns };
        let mut entries = Vec::new();
        for text in texts {
            let (table, list) = split(text, tables, home);
            let paths: Vec<Path> = list.split(',').map(path).collect();
            if paths.iter().flatten().any(String::is_empty) {
                return Err(Failure::usage(
                    format!("`{}` names no columns", text.escape_debug()),
                    flag(except),
                    "write columns with commas between them and fields with dots, such as `a,b.c`",
                ));
            }
            entries.push(Entry {
                table,
                paths,
                text: text.clone(),
            });
        }
        Ok(Choices { entries, except })
    }

    fn for_table<'a>(&'a self, table: &'a TableRef) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.table.as_ref().is_none_or(|of| of == table))
    }

    /// What was asked of one table: all that was said of it, and of every table.
    pub fn of(&self, table: &TableRef) -> Choice {
        let paths: Vec<Path> = self.for_table(table).flat_map(|entry| entry.paths.clone()).collect();
        match (paths.is_empty(), self.except) {
            (true, _) => Choice::All,
            (false, true) => Choice::Except(paths),
            (false, false) => Choice::Only(paths),
        }
    }

    /// A column that none of the tables has that it was asked of.
    ///
    /// # Errors
    /// There is one (2): a slip of the pen would hash other columns than were meant.
    pub fn refuse_unknown(&self, tables: &[(&TableRef, &TableMeta)]) -> Result<(), Failure> {
        for entry in &self.entries {
            for path in &entry.paths {
                let has = |(table, meta): &(&TableRef, &TableMeta)| {
                    entry.table.as_ref().is_none_or(|of| of == *table) && columns::has(meta, path)
                };
                if !tables.iter().any(has) {
                    let of = entry.table.as_ref().map_or_else(
                        || "no table asked for has".to_owned(),
                        |t| format!("`{t}` does not have"),
                    );
                    return Err(Failure::usage(
                        format!("{of} a column `{}`", path.join(".").escape_debug()),
                        format!("{} {}", flag(self.except), entry.text.escape_debug()),
                        "mend its name; a table stands before it as in `dataset.table:column`",
                    ));
                }
            }
        }
        Ok(())
    }
}

fn flag(except: bool) -> &'static str {
    if except { "--except-columns" } else { "--columns" }
}

fn path(text: &str) -> Path {
    text.split('.').map(|name| name.trim().to_lowercase()).collect()
}

/// The table before the colon, if there is one that was asked for: names of projects and of columns may have colons,
/// too.
fn split<'a>(text: &'a str, tables: &[&TableRef], home: Option<&ProjectId>) -> (Option<TableRef>, &'a str) {
    for (at, _) in text.match_indices(':') {
        let (name, rest) = (&text[..at], &text[at + 1..]);
        if let Ok(table) = TableRef::parse(name.trim(), home)
            && tables.contains(&&table)
        {
            return (Some(table), rest);
        }
    }
    (None, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    fn flags(columns: &[&str], except: &[&str]) -> Flags {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Flags {
            columns: own(columns),
            except_columns: own(except),
            ..Flags::default()
        }
    }

    fn choices(flags: &Flags) -> Result<Choices, Failure> {
        Choices::read(
            flags,
            &[&table("p.d.t"), &table("example.com:p.d.u")],
            "p".parse().ok().as_ref(),
        )
    }

    fn paths(list: &[&str]) -> Vec<Path> {
        list.iter().map(|text| path(text)).collect()
    }

    #[test]
    fn a_table_may_stand_before_its_columns() {
        let read = choices(&flags(&["d.t:A, b.C", "example.com:p.d.u:x:y", "z"], &[])).unwrap();
        assert_eq!(read.of(&table("p.d.t")), Choice::Only(paths(&["a", "b.c", "z"])));
        assert_eq!(read.of(&table("example.com:p.d.u")), Choice::Only(paths(&["x:y", "z"])));
        let read = choices(&flags(&[], &["p.d.t:a"])).unwrap();
        assert_eq!(read.of(&table("p.d.t")), Choice::Except(paths(&["a"])));
        assert_eq!(read.of(&table("example.com:p.d.u")), Choice::All);
        // A table that was not asked for is none: what stands there is a column that no table has.
        let read = choices(&flags(&["d.other:a"], &[])).unwrap();
        assert_eq!(read.of(&table("p.d.t")), Choice::Only(paths(&["d.other:a"])));
        for bad in ["", "a,", ",", "a..b", ".", "d.t:"] {
            assert!(choices(&flags(&[bad], &[])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_column_that_no_table_has_is_named() {
        let meta: TableMeta = serde_json::from_value(json!({"schema": {"fields": [
            {"name": "A", "type": "STRING"},
            {"name": "s", "type": "RECORD", "fields": [{"name": "x", "type": "STRING"}]},
        ]}}))
        .unwrap();
        let other: TableMeta =
            serde_json::from_value(json!({"schema": {"fields": [{"name": "b", "type": "STRING"}]}})).unwrap();
        let (t, u) = (table("p.d.t"), table("example.com:p.d.u"));
        let refused = |flags: &Flags| {
            let refused = choices(flags).unwrap().refuse_unknown(&[(&t, &meta), (&u, &other)]);
            refused.err().map(|failure| failure.what)
        };
        assert_eq!(refused(&flags(&["a,b", "s.X"], &[])), None);
        assert_eq!(refused(&flags(&["d.t:a"], &[])), None);
        for (asked, what) in [
            ("c", "no table asked for has a column `c`"),
            ("s.y", "no table asked for has a column `s.y`"),
            ("a.x", "no table asked for has a column `a.x`"),
            ("d.t:b", "`p.d.t` does not have a column `b`"),
            ("_PARTITIONTIME", "no table asked for has a column `_partitiontime`"),
        ] {
            assert_eq!(refused(&flags(&[], &[asked])).as_deref(), Some(what));
        }
    }

    #[test]
    fn a_flag_without_its_question_is_refused() {
        assert!(Flags::default().refuse_without("--content", false).is_ok());
        let failure = flags(&[], &["a"]).refuse_without("--content", false).unwrap_err();
        assert!(failure.what.contains("--except-columns"), "{failure}");
    }
}
