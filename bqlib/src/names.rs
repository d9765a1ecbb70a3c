//! Names of BigQuery things, made only by parsing; quoting for SQL lives here and nowhere else.
//!
//! A name that exists as one of these types cannot end a quoted identifier, so no text from a user, a file or a
//! record can become SQL through it. Knows nothing of what the names are used for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a text is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName {
    /// The text that was given.
    pub given: String,
    /// What would be right.
    pub want: &'static str,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", self.given.escape_debug(), self.want)
    }
}

impl std::error::Error for BadName {}

fn bad(given: &str, want: &'static str) -> BadName {
    BadName {
        given: given.to_owned(),
        want,
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $want:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as it is written, without quotes.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(bad(text, $want)) }
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A project ID, domain-scoped ones (`example.com:proj`) too.
    /// Source: <https://docs.cloud.google.com/resource-manager/docs/creating-managing-projects>.
    ProjectId,
    "a project ID (letters, digits, `-`, and for old ones `domain:`)",
    |s| {
        let (domain, id) = s.rsplit_once(':').unwrap_or(("", s));
        !id.is_empty()
            && s.len() <= 255
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
            && (!s.contains(':') || !domain.is_empty())
    }
);

name!(
    /// A dataset ID: letters, digits, underscores, at most 1,024.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/datasets#dataset-naming>.
    DatasetId,
    "a dataset name (letters, digits, `_`)",
    |s| !s.is_empty() && s.len() <= 1024 && s.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
);

name!(
    /// A table's own name: letters, marks, numbers, connectors, dashes and spaces, at most 1,024 bytes of UTF-8.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/tables#table_naming>.
    TableId,
    "a table name (letters, digits, `_`, `-`, spaces; at most 1,024 bytes)",
    |s| {
        !s.trim().is_empty()
            && s.len() <= 1024
            && s.chars().all(|c| {
                // Outside ASCII, BigQuery itself says what is a letter or mark; here only what could break quoting,
                // a message or a name's parts is kept out.
                if c.is_ascii() { c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ') } else { !c.is_control() }
            })
    }
);

name!(
    /// A run's ID: 1 to 63 of `a-z0-9_`, for it is a label value and part of table names too.
    RunId,
    "a run ID (1 to 63 of a-z, 0-9, `_`)",
    |s| (1..=63).contains(&s.len()) && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
);

name!(
    /// A job's ID: `[A-Za-z0-9_-]`, at most 1,024.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/JobReference>.
    JobId,
    "a job ID (letters, digits, `_`, `-`)",
    |s| (1..=1024).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
);

name!(
    /// A location such as `US`, `EU`, `us-central1`.
    Location,
    "a location (such as US, EU, us-central1)",
    |s| (1..=63).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
);

impl Location {
    /// Whether two locations are the same place: BigQuery answers `US` for `us`.
    pub fn is(&self, other: &Location) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// A dataset with its project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetRef {
    /// The project.
    pub project: ProjectId,
    /// The dataset.
    pub dataset: DatasetId,
}

impl DatasetRef {
    /// `dataset` or `project.dataset`; the project of the first form is `home`.
    pub fn parse(text: &str, home: &ProjectId) -> Result<DatasetRef, BadName> {
        let (project, dataset) = DatasetRef::parts(text)?;
        let project = project.unwrap_or_else(|| home.clone());
        Ok(DatasetRef { project, dataset })
    }

    /// The parts of `dataset` or `project.dataset`, where the project of the first form is not known yet.
    pub fn parts(text: &str) -> Result<(Option<ProjectId>, DatasetId), BadName> {
        match text.rsplit_once('.') {
            None => Ok((None, text.parse()?)),
            Some((project, dataset)) => Ok((Some(project.parse()?), dataset.parse()?)),
        }
    }

    /// The table of this name in this dataset.
    pub fn table(&self, table: TableId) -> TableRef {
        TableRef {
            project: self.project.clone(),
            dataset: self.dataset.clone(),
            table,
        }
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.project, self.dataset)
    }
}

impl TryFrom<String> for DatasetRef {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        let (project, dataset) = text
            .rsplit_once('.')
            .ok_or_else(|| bad(&text, "a dataset as project.dataset"))?;
        Ok(DatasetRef {
            project: project.parse()?,
            dataset: dataset.parse()?,
        })
    }
}

impl From<DatasetRef> for String {
    fn from(dataset: DatasetRef) -> String {
        dataset.to_string()
    }
}

/// A table's project, if it was said, its dataset and its own name.
pub type TableParts = (Option<ProjectId>, DatasetId, TableId);

/// A table with its dataset and project; on the wire and in the journal `project.dataset.table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableRef {
    /// The project.
    pub project: ProjectId,
    /// The dataset.
    pub dataset: DatasetId,
    /// The table.
    pub table: TableId,
}

impl TableRef {
    /// `dataset.table` or `project.dataset.table`, in backticks or not; the project of the first form is `home`.
    pub fn parse(text: &str, home: Option<&ProjectId>) -> Result<TableRef, BadName> {
        match (TableRef::parts(text)?, home) {
            ((Some(project), dataset, table), _) => Ok(TableRef {
                project,
                dataset,
                table,
            }),
            (named, Some(home)) => Ok(TableRef::in_project(named, home)),
            _ => Err(bad(
                text,
                "a table as project.dataset.table, and no project is named: say `-p PROJECT`",
            )),
        }
    }

    /// The parts of `dataset.table` or `project.dataset.table`, where the project of the first form is not known yet.
    pub fn parts(text: &str) -> Result<TableParts, BadName> {
        const WANT: &str = "a table as dataset.table or project.dataset.table";
        let plain = text
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('`'))
            .unwrap_or(text);
        let (rest, table) = plain.rsplit_once('.').ok_or_else(|| bad(text, WANT))?;
        let (project, dataset) = match rest.rsplit_once('.') {
            Some((project, dataset)) => (Some(project.parse()?), dataset),
            None => (None, rest),
        };
        Ok((project, dataset.parse()?, table.parse()?))
    }

    /// A table whose project, if it was not said, is this one.
    pub fn in_project((project, dataset, table): TableParts, home: &ProjectId) -> TableRef {
        let project = project.unwrap_or_else(|| home.clone());
        TableRef {
            project,
            dataset,
            table,
        }
    }

    /// The dataset that holds it.
    pub fn dataset_ref(&self) -> DatasetRef {
        DatasetRef {
            project: self.project.clone(),
            dataset: self.dataset.clone(),
        }
    }

    /// Quoted for GoogleSQL. No name of this type can hold a backtick or a backslash.
    pub fn sql(&self) -> String {
        format!("`{}.{}.{}`", self.project, self.dataset, self.table)
    }

    /// The name of this table's snapshot by a run: beside it, or in the dataset `apart`.
    ///
    /// # Errors
    /// It is over BigQuery's 1,024 bytes.
    pub fn snapshot_name(&self, run: &RunId, apart: Option<&DatasetRef>) -> Result<TableRef, BadName> {
        match apart {
            None => self.with_suffix(&format!("_snapshot_{run}")),
            Some(home) => {
                let name = format!("{}__{}_snapshot_{run}", self.dataset, self.table);
                Ok(home.table(name.parse()?))
            }
        }
    }

    /// A table beside this one, its name being this one's with a suffix.
    ///
    /// # Errors
    /// The longer name is over BigQuery's 1,024 bytes.
    pub fn with_suffix(&self, suffix: &str) -> Result<TableRef, BadName> {
        Ok(TableRef {
            table: format!("{}{suffix}", self.table).parse()?,
            ..self.clone()
        })
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

impl TryFrom<String> for TableRef {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        TableRef::parse(&text, None)
    }
}

impl From<TableRef> for String {
    fn from(table: TableRef) -> String {
        table.to_string()
    }
}

impl JobId {
    /// The ID of a run's job, computed from what it does, so that after a crash the same step finds the same job.
    ///
    /// `what` is the step (`cut`, `snapshot`, `migrate1`); the table enters as a hash, since table names may be
    /// longer and richer than job IDs.
    pub fn of_step(run: &RunId, what: &str, table: Option<&TableRef>, attempt: u32) -> JobId {
        let table = table
            .map(|t| format!("-{}", short_hash(&t.to_string())))
            .unwrap_or_default();
        JobId(format!("bq-rollback-{run}-{what}{table}-{attempt}"))
    }
}

/// The SHA-256 of a text in hexadecimal digits.
pub fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Twelve hexadecimal digits that tell one table of a run from another.
fn short_hash(text: &str) -> String {
    sha256_hex(text)[..12].to_owned()
}

/// A text as a GoogleSQL string literal.
///
/// Everything but plain printable ASCII is escaped, so that no value can end the literal.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#string_and_bytes_literals>.
pub fn sql_string(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' => literal.push_str("\\'"),
            '\\' => literal.push_str("\\\\"),
            ' '..='~' => literal.push(c),
            c if (c as u32) < 0x1_0000 => literal.push_str(&format!("\\u{:04x}", c as u32)),
            c => literal.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_a_project_waits_for_one() {
        let home: ProjectId = "home".parse().unwrap();
        for (text, want) in [("d.t", "home.d.t"), ("`d.t`", "home.d.t"), ("p.d.t", "p.d.t")] {
            let placed = TableRef::in_project(TableRef::parts(text).unwrap(), &home);
            assert_eq!(placed.to_string(), want);
            assert_eq!(TableRef::parse(text, Some(&home)).unwrap(), placed);
        }
        let homeless = TableRef::parse("d.t", None).unwrap_err().to_string();
        assert!(homeless.contains("say `-p PROJECT`"), "{homeless}");
        assert!(TableRef::parts("t").is_err() && TableRef::parts("d.t`").is_err());
    }

    #[test]
    fn tables_parse_with_and_without_project() {
        let home: ProjectId = "home".parse().unwrap();
        for (text, want) in [
            ("d.t", "home.d.t"),
            ("p.d.t", "p.d.t"),
            ("`p.d.t`", "p.d.t"),
            ("example.com:proj.d.t", "example.com:proj.d.t"),
            ("p.d.a table-ünï", "p.d.a table-ünï"),
        ] {
            assert_eq!(TableRef::parse(text, Some(&home)).unwrap().to_string(), want);
        }
        for text in ["t", "", "d.", ".t", "d.t`x", "d.a;b", "p.d.t\\", "a.b.c.d", "d.t\n"] {
            assert!(TableRef::parse(text, Some(&home)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn run_ids_are_label_values() {
        assert!("20260101_000000".parse::<RunId>().is_ok());
        for text in ["", "A", "a-b", "a b", &"a".repeat(64)] {
            assert!(text.parse::<RunId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_literal_cannot_be_ended_from_inside() {
        assert_eq!(sql_string("a'b\\\n\u{1F600}"), r"'a\'b\\\u000a\U0001f600'");
    }

    #[test]
    fn job_ids_are_the_same_for_the_same_step_only() {
        let run: RunId = "r1".parse().unwrap();
        let a = TableRef::parse("p.d.a", None).unwrap();
        let b = TableRef::parse("p.d.b", None).unwrap();
        let id = |t, n| JobId::of_step(&run, "snapshot", Some(t), n);
        assert_eq!(id(&a, 1), id(&a, 1));
        assert_ne!(id(&a, 1), id(&b, 1));
        assert_ne!(id(&a, 1), id(&a, 2));
    }
}
