//! Table lists: arguments, CSV, one name a line, JSON lines, wildcards.
//!
//! Everything wrong in a list is found before anything is asked of BigQuery, and named by file, line and column;
//! wildcards are expanded after that.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use crate::api::Api;
use crate::exit::{Exit, Failure};
use crate::expect::Expect;
use crate::meta::SchemaRule;
use crate::names::{DatasetRef, ProjectId, TableRef};
use crate::sql::{RUN_LABEL, STATE_LABEL, TOOL_LABEL};
use crate::tool::{LONGEST_FILE, read_at_most};

mod place;

use place::Line;

/// A table of a list, or all tables of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Which.
    pub what: Which,
    /// What the row count must be at the cut.
    pub records: Option<Expect>,
    /// What it must be once migrated.
    pub after: Option<Expect>,
    /// What may become of the columns.
    pub schema: SchemaRule,
    /// Free text.
    pub level: Option<String>,
    /// Where it stands: a file and line, or the command line.
    pub at: String,
}

/// One table, or `dataset.*`.
#[derive(Clone, Debug, PartialEq)]
pub enum Which {
    /// One table.
    Table(TableRef),
    /// Every table and clone of a dataset: no views, no snapshots, nothing that carries our labels.
    All(DatasetRef),
}

/// The columns of a list.
const COLUMNS: [&str; 7] = ["table", "dataset", "project", "records", "after", "schema", "level"];

/// Those of them that hold expectations, in the order in which they are read.
const EXPECTATIONS: [&str; 2] = ["records", "after"];

/// Reads what names tables: arguments and files, or, when there are neither, `stdin`.
///
/// # Errors
/// Anything wrong in them, two entries for one table, or no table at all (2).
pub fn read(
    arguments: &[String],
    files: &[impl AsRef<Path>],
    stdin: Option<&str>,
    home: Option<&ProjectId>,
) -> Result<Vec<Listed>, Failure> {
    let mut list = Vec::new();
    for argument in arguments {
        let blank = Map::new();
        list.push(entry(argument, &blank, "command line", home)?);
    }
    for file in files {
        let file = file.as_ref();
        let read = read_at_most(file, LONGEST_FILE).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
        });
        let text = read.map_err(|e| {
            Failure::usage(
                format!("the list cannot be read: {e}"),
                file.display().to_string(),
                "name a readable file with `-f`",
            )
        })?;
        parse(&text, &file.display().to_string(), home, &mut list)?;
    }
    if let Some(text) = stdin {
        parse(text, "standard input", home, &mut list)?;
    }
    if list.is_empty() {
        return Err(Failure::usage(
            "no tables are named",
            "command line and standard input",
            "name tables as dataset.table, or a list with `-f tables.csv`",
        ));
    }
    refuse_twins(&list)?;
    Ok(list)
}

/// One entry a table: wildcards become the tables of their datasets, but for those that are named besides.
///
/// # Errors
/// A dataset does not exist, or a wildcard matches no table (2).
pub async fn expand(api: &Api<'_>, list: Vec<Listed>) -> Result<Vec<(TableRef, Listed)>, Failure> {
    let named: HashSet<TableRef> = list
        .iter()
        .filter_map(|l| match &l.what {
            Which::Table(table) => Some(table.clone()),
            Which::All(_) => None,
        })
        .collect();
    let mut all = Vec::new();
    for listed in list {
        let dataset = match &listed.what {
            Which::Table(table) => {
                all.push((table.clone(), listed));
                continue;
            }
            Which::All(dataset) => dataset.clone(),
        };
        let tables = api.tables(&dataset).await.map_err(|e| {
            let failure = e.failure(&format!("listing {dataset}"));
            let exit = if e.is_not_found() { Exit::Usage } else { failure.exit };
            Failure {
                at: listed.at.clone(),
                ..failure
            }
            .with_exit(exit)
        })?;
        let before = all.len();
        for table in tables {
            match table.label(RUN_LABEL) {
                _ if table.kind != "TABLE" || named.contains(&table.table) => {}
                None => all.push((table.table, listed.clone())),
                // A copy of ours is none of the dataset's tables; a table that only looks like one would be left unprotected unseen.
                Some(run) if is_copy_of(run, &table.table) => {}
                Some(_) => return Err(labelled(&table.table)),
            }
        }
        if all.len() == before {
            let what = format!("`{dataset}.*` matches no table");
            return Err(Failure::usage(
                what,
                listed.at,
                "views, snapshots and tables named besides do not count",
            ));
        }
    }
    Ok(all)
}

/// Whether a table that carries the label of this run has the name of a copy that these programs made.
fn is_copy_of(run: &str, table: &TableRef) -> bool {
    let name = table.table.as_str();
    let numbered = name
        .rsplit_once('_')
        .filter(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
    let is = |name: &str| {
        let stem = name.strip_suffix(run);
        stem.is_some_and(|stem| stem.ends_with("_snapshot_") || stem.ends_with("_before_restore_"))
    };
    is(name) || numbered.is_some_and(|(stem, _)| is(stem))
}

/// The refusal (4) of a table with our label: a copy of ours, or one that somebody put back by hand from one, labels and all.
pub fn labelled(table: &TableRef) -> Failure {
    let what = format!(
        "`{table}` carries the label `{RUN_LABEL}`: it is a copy that these programs made, or was put back from one"
    );
    let clear = [RUN_LABEL, STATE_LABEL, TOOL_LABEL]
        .map(|label| format!(" --clear_label {label}"))
        .concat();
    let hint = format!(
        "take a copy off the list; of a table remove our labels: bq update{clear} {}:{}.{}",
        table.project, table.dataset, table.table
    );
    Failure::refused(what, format!("table {table}"), hint).about(table)
}

fn refuse_twins(list: &[Listed]) -> Result<(), Failure> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for listed in list {
        let name = match &listed.what {
            Which::Table(table) => table.to_string(),
            Which::All(dataset) => format!("{dataset}.*"),
        };
        if let Some(first) = seen.insert(name.clone(), &listed.at) {
            return Err(Failure::usage(
                format!("`{name}` is listed twice"),
                format!("{first} and {}", listed.at),
                "remove one of the two",
            ));
        }
    }
    Ok(())
}

/// Reads a list in whichever of the three forms it has.
fn parse(text: &str, file: &str, home: Option<&ProjectId>, list: &mut Vec<Listed>) -> Result<(), Failure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(first) = first else { return Ok(()) };
    let has_table_column = first
        .split(',')
        .any(|c| c.trim().trim_matches('"').eq_ignore_ascii_case("table"));
    if first.starts_with('{') {
        json_lines(text, file, home, list)
    } else if has_table_column || first.contains(',') {
        csv(text, file, home, list)
    } else {
        for (i, line) in text.lines().enumerate() {
            let name = line.trim();
            if !name.is_empty() && !name.starts_with('#') {
                list.push(entry(name, &Map::new(), &format!("{file}, line {}", i + 1), home)?);
            }
        }
        Ok(())
    }
}

/// The line in which a quote opens that nothing closes: it would swallow the rest of the list, and leave those tables unprotected.
fn open_quote(text: &str) -> Option<usize> {
    let mut opened = None;
    for (i, line) in text.lines().enumerate() {
        let comment = opened.is_none() && line.starts_with('#');
        if !comment && line.matches('"').count() % 2 == 1 {
            opened = match opened {
                None => Some(i + 1),
                // A value that spans lines is closed here, but no value of a table list has a line break in it.
                Some(first) => return Some(first),
            };
        }
    }
    opened
}

fn csv(text: &str, file: &str, home: Option<&ProjectId>, list: &mut Vec<Listed>) -> Result<(), Failure> {
    if let Some(line) = open_quote(text) {
        let what = "a quote opens and does not close in its line";
        return Err(Failure::usage(
            what,
            format!("{file}, line {line}"),
            "close the quote; a quote inside a value is written twice",
        ));
    }
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let line_of = |at: Option<&csv::Position>| {
        let byte = at.and_then(|at| usize::try_from(at.byte()).ok());
        Line::from_byte(text, byte.unwrap_or(0))
    };
    let malformed = |e: csv::Error| {
        let line = line_of(e.position()).number;
        let (what, column) = match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let what = format!("the line has {len} columns, and the header {expected_len}");
                (what, format!(", column {}", len.min(expected_len) + 1))
            }
            _ => (format!("the line is no CSV: {e}"), String::new()),
        };
        Failure::usage(
            what,
            format!("{file}, line {line}{column}"),
            "quote values that hold commas",
        )
    };
    let header: Vec<String> = reader
        .headers()
        .map_err(malformed)?
        .iter()
        .map(str::to_ascii_lowercase)
        .collect();
    let first = line_of(None);
    for (i, name) in header.iter().enumerate() {
        let at = || format!("{file}, line {}, column {}", first.number, i + 1);
        if !COLUMNS.contains(&name.as_str()) {
            let what = format!("unknown column `{}`", name.escape_debug());
            return Err(Failure::usage(what, at(), columns_hint()).pointing(first.cell(i)));
        }
        if header[..i].contains(name) {
            return Err(Failure::usage(
                format!("column `{name}` stands twice"),
                at(),
                "remove one of the two",
            ));
        }
    }
    if !header.iter().any(|name| name == "table") {
        return Err(Failure::usage(
            "there is no column `table`",
            format!("{file}, line {}", first.number),
            columns_hint(),
        ));
    }
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        let line = line_of(record.position());
        let fields: Map<String, Value> = header
            .iter()
            .zip(&record)
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(name, cell)| (name.clone(), Value::from(cell)))
            .collect();
        let table = fields.get("table").and_then(Value::as_str).unwrap_or("");
        let listed = entry(table, &fields, &format!("{file}, line {}", line.number), home);
        list.push(listed.map_err(|failure| {
            let wrong = failure
                .pointer
                .as_ref()
                .map(|pointer| Value::from(pointer.text.as_str()));
            // In the order in which they are read: of two equal cells the first is the one that was found wrong.
            let column = EXPECTATIONS.iter().find(|key| fields.get(**key) == wrong.as_ref());
            let cell = header.iter().position(|name| column.is_some_and(|key| name == key));
            line.locate(failure, cell.unwrap_or(0))
        })?);
    }
    Ok(())
}

fn columns_hint() -> String {
    format!("the columns are {}", COLUMNS.join(", "))
}

fn json_lines(text: &str, file: &str, home: Option<&ProjectId>, list: &mut Vec<Listed>) -> Result<(), Failure> {
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = format!("{file}, line {}", i + 1);
        let mut fields: Map<String, Value> = serde_json::from_str(line).map_err(|e| {
            Failure::usage(
                format!("the line is no JSON object: {e}"),
                at.clone(),
                "write one object a line",
            )
        })?;
        // Records of a stream name tables too; what they say besides is not asked here.
        match fields.remove("type").as_ref().and_then(Value::as_str) {
            Some("snapshot" | "count" | "restore") => fields.retain(|key, _| COLUMNS.contains(&key.as_str())),
            Some(_) => continue,
            None => {}
        }
        fields.retain(|_, value| !value.is_null());
        if let Some(key) = fields.keys().find(|key| !COLUMNS.contains(&key.as_str())) {
            return Err(Failure::usage(
                format!("unknown field `{}`", key.escape_debug()),
                at,
                columns_hint(),
            ));
        }
        let table = fields.get("table").and_then(Value::as_str).unwrap_or("").to_owned();
        list.push(entry(&table, &fields, &at, home)?);
    }
    Ok(())
}

/// One entry, from its table's name as written and its other fields.
fn entry(name: &str, fields: &Map<String, Value>, at: &str, home: Option<&ProjectId>) -> Result<Listed, Failure> {
    let text = |key: &str| {
        fields.get(key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    let column = |key: &str| format!("{at}, column `{key}`");
    if name.is_empty() {
        return Err(Failure::usage(
            "no table is named",
            column("table"),
            "write dataset.table, or fill both columns",
        ));
    }
    let place = if fields.is_empty() {
        at.to_owned()
    } else {
        column("table")
    };
    // A name with its dataset says where it is; columns of its own may complete it, not contradict it.
    let mut full = name.trim_matches('`').to_owned();
    let depth = full
        .rsplit_once(':')
        .map_or(full.as_str(), |(_, rest)| rest)
        .matches('.')
        .count();
    for (key, has_it) in [("dataset", depth >= 1), ("project", depth >= 2)] {
        match (text(key), has_it) {
            (Some(value), false) => full = format!("{value}.{full}"),
            (Some(value), true) => {
                let parts: Vec<&str> = full.rsplit('.').collect();
                let said = if key == "dataset" {
                    parts.get(1).copied()
                } else {
                    full.rsplitn(3, '.').nth(2)
                };
                if said != Some(value.as_str()) && said.is_some() {
                    let what = format!("`{name}` is of another {key} than `{value}`");
                    return Err(Failure::usage(what, column(key), "say it once"));
                }
            }
            (None, _) if key == "dataset" && depth == 0 => {
                let hint = "write dataset.table, or fill the column `dataset`";
                return Err(Failure::usage(format!("`{name}` has no dataset"), place, hint));
            }
            (None, _) => {}
        }
    }
    let place = if fields.is_empty() {
        at.to_owned()
    } else {
        column("table")
    };
    let bad_name = |e: crate::names::BadName| {
        Failure::usage(
            e.to_string(),
            place.clone(),
            "write dataset.table, project.dataset.table or dataset.*",
        )
    };
    let needs_home = |parts: usize| {
        let dots = full
            .rsplit_once(':')
            .map_or(full.as_str(), |(_, rest)| rest)
            .matches('.')
            .count();
        (dots + 1 < parts && home.is_none()).then(|| {
            Failure::usage(
                format!("`{full}` needs a project"),
                at,
                "say `-p PROJECT`, or write project.dataset.table",
            )
        })
    };
    if let Some(failure) = needs_home(3) {
        return Err(failure);
    }
    let what = match (full.strip_suffix(".*"), home) {
        (Some(dataset), Some(home)) => Which::All(DatasetRef::parse(dataset, home).map_err(bad_name)?),
        (Some(dataset), None) => Which::All(DatasetRef::try_from(dataset.to_owned()).map_err(bad_name)?),
        (None, home) => Which::Table(TableRef::parse(&full, home).map_err(bad_name)?),
    };
    let expectation = |key: &str| {
        let read = |text: String| text.parse::<Expect>().map_err(|e| e.failure(column(key)));
        text(key).map(read).transpose()
    };
    let [records, after] = EXPECTATIONS.map(expectation);
    let records = records?;
    if records.is_some_and(|r| !matches!(r, Expect::Any | Expect::Rows(..))) {
        let what = "`records` is the row count at the cut, and cannot be told from the cut";
        return Err(Failure::usage(
            what,
            column("records"),
            "write a number, or a comparison such as >=1000",
        ));
    }
    let rule = |text: String| text.parse::<SchemaRule>();
    let schema = text("schema").map(rule).transpose();
    let schema = schema.map_err(|e| Failure::usage(e, column("schema"), "mend the value"))?;
    Ok(Listed {
        what,
        records,
        after: after?,
        schema: schema.unwrap_or_default(),
        level: text("level"),
        at: at.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<Listed>, Failure> {
        let home: ProjectId = "home".parse().unwrap();
        read(&[], &[] as &[&str], Some(text), Some(&home))
    }

    fn names(text: &str) -> Vec<String> {
        let name = |l: Listed| match l.what {
            Which::Table(table) => table.to_string(),
            Which::All(dataset) => format!("{dataset}.*"),
        };
        list(text)
            .unwrap_or_else(|f| panic!("{text}: {f}"))
            .into_iter()
            .map(name)
            .collect()
    }

    #[test]
    fn copies_of_ours_are_known_by_name_and_label() {
        let is = |run: &str, name: &str| is_copy_of(run, &TableRef::parse(&format!("p.d.{name}"), None).unwrap());
        for name in [
            "t_snapshot_r_1",
            "d__t_snapshot_r_1",
            "t_before_restore_r_1",
            "t_before_restore_r_1_2",
        ] {
            assert!(is("r_1", name), "{name}");
        }
        for name in ["t", "t_snapshot_r_2", "t_snapshot_r_1_copy", "r_1", "t_r_1"] {
            assert!(!is("r_1", name), "{name}");
        }
    }

    #[test]
    fn the_forms_name_the_same_tables() {
        let want = ["home.d.a", "p.e.b", "home.f.*"];
        for text in [
            "d.a\np.e.b\n# all of f\n\nf.*\n",
            "d.a\r\np.e.b\r\nf.*",
            "\u{feff}Table,LEVEL\nd.a,HIGH\n`p.e.b`,\nf.*,\n",
            "table,dataset,project\na,d,\nb,e,p\n*,f,home\n",
            "project,table,dataset\n,d.a,d\np,e.b,\n,*,f\n",
            "{\"table\":\"d.a\"}\n{\"table\":\"b\",\"dataset\":\"e\",\"project\":\"p\"}\n{\"table\":\"f.*\",\"level\":null}\n",
            "{\"type\":\"begin\",\"v\":1}\n{\"type\":\"snapshot\",\"table\":\"home.d.a\",\"rows\":1}\n{\"type\":\"count\",\"table\":\"p.e.b\"}\n{\"table\":\"f.*\"}",
        ] {
            assert_eq!(names(text), want, "{text}");
        }
    }

    #[test]
    fn the_columns_are_read() {
        let list = list("table,records,after,schema,level\nd.a,\"1000\",+0..,same,CORE\nd.b,>=5,,,\n").unwrap();
        assert_eq!(list[0].records.unwrap().to_string(), "=1000");
        assert_eq!(list[0].after, Some(Expect::NOT_FEWER));
        assert_eq!(list[0].schema, SchemaRule::Same);
        assert_eq!(list[0].level.as_deref(), Some("CORE"));
        assert_eq!(list[1].records.unwrap().to_string(), ">=5");
        assert_eq!((list[1].after, list[1].schema), (None, SchemaRule::Grow));
    }

    #[test]
    fn a_quote_in_a_comment_opens_nothing() {
        assert_eq!(list("table\n# 5\" wide\nd.a\n").unwrap().len(), 1);
        assert!(list("table\n\"d.a\n# 5\" wide\n").is_err());
    }
    #[test]
    fn every_bad_line_is_named() {
        // text, where the message points
        for (text, at) in [
            ("", "command line and standard input"),
            ("# nothing\n", "command line and standard input"),
            ("table,level\n", "command line and standard input"),
            ("t\n", "standard input, line 1"),
            ("d.a\nd.b;drop\n", "standard input, line 2"),
            ("table,colour\nd.a,red\n", "standard input, line 1, column 2"),
            ("\n# all\ntable,colour\nd.a,red\n", "standard input, line 3, column 2"),
            (
                "table,after\r\n# all\r\n\r\nd.a,red\r\n",
                "standard input, line 4, column `after`",
            ),
            (
                "table,level\n# all\n\nd.a,x\n#\nd.b\n",
                "standard input, line 6, column 2",
            ),
            ("table,Table\nd.a,d.b\n", "standard input, line 1, column 2"),
            ("dataset,level\nd,x\n", "standard input, line 1"),
            ("table,level\nd.a,x\nd.b\n", "standard input, line 3, column 2"),
            (
                "table,level\nd.a,x\nd.b;c,y\n",
                "standard input, line 3, column `table`",
            ),
            ("table,level\nd.a,\"x\nd.b,y\n", "standard input, line 2"),
            ("table,level\nd.a,\"x\nd.b\",y\n", "standard input, line 2"),
            (
                "table,records\nd.a,10\nd.b,many\n",
                "standard input, line 3, column `records`",
            ),
            (
                "table,after\nd.a,-5\nd.b,5%\n",
                "standard input, line 3, column `after`",
            ),
            ("table,schema\nd.a,shrink\n", "standard input, line 2, column `schema`"),
            ("table,level\n,x\n", "standard input, line 2, column `table`"),
            ("table,dataset\nd.a,e\n", "standard input, line 2, column `dataset`"),
            ("table,level\na,x\n", "standard input, line 2, column `table`"),
            (
                "table,level\nd.a,x\nd.a,y\n",
                "standard input, line 2 and standard input, line 3",
            ),
            ("d.a\nhome.d.a\n", "standard input, line 1 and standard input, line 2"),
            ("{\"table\":\"d.a\"}\n{\"table\":", "standard input, line 2"),
            ("{\"table\":\"d.a\",\"colour\":1}\n", "standard input, line 1"),
            (
                "{\"table\":\"d.a\",\"records\":-1}\n",
                "standard input, line 1, column `records`",
            ),
        ] {
            let failure = list(text).expect_err(text);
            assert_eq!(
                (failure.at.as_str(), failure.exit.code()),
                (at, 2),
                "{text:?}: {failure}"
            );
        }
    }

    #[test]
    fn the_caret_points_into_the_line() {
        for (text, shown, column) in [
            ("table,after\nd.a,=1\nd.b, >>1\n", "d.b, >>1", 6),
            (
                "table,level,after\nd.a,\"x, y\",\"+5..+1\"\n",
                "d.a,\"x, y\",\"+5..+1\"",
                16,
            ),
            ("# all\n\ntable,records\n\n# more\nd.a,many\n", "d.a,many", 4),
            ("table,after,records\nd.a,>>1,>>1\n", "d.a,>>1,>>1", 9),
            ("# all\ntable, colour\nd.a,red\n", "table, colour", 7),
            ("{\"table\":\"d.a\",\"after\":\"1_0\"}\n", "1_0", 1),
        ] {
            let pointer = list(text).expect_err(text).pointer.unwrap();
            assert_eq!((pointer.text.as_str(), pointer.column), (shown, column), "{text}");
        }
    }

    #[test]
    fn a_short_name_needs_a_project() {
        let failure = read(&["d.t".to_owned()], &[] as &[&str], None, None).unwrap_err();
        assert!(failure.what.contains("needs a project"), "{failure}");
        assert!(read(&["p.d.t".to_owned(), "p.d.*".to_owned()], &[] as &[&str], None, None).is_ok());
    }
}
