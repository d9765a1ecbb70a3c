//! PURE: the statements that this world understands: those that our programs send, and a toy migration language that is
//! plain GoogleSQL. How they are read is in `grammar` (names, options, queries), `statements` and `expressions`.

use serde_json::{Map, Value, json};

use super::copies::CopyJob;
use super::values::{Expr, Millis};

/// A table's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) project: String,
    pub(super) dataset: String,
    pub(super) table: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

impl Name {
    /// As BigQuery's messages have it.
    pub(super) fn told(&self) -> String {
        format!("{}:{}.{}", self.project, self.dataset, self.table)
    }

    /// As the API refers to it.
    pub(super) fn reference(&self) -> Value {
        json!({ "projectId": self.project, "datasetId": self.dataset, "tableId": self.table })
    }
}

/// What happens if there is something of that name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// It is refused.
    Plain,
    /// `OR REPLACE`.
    Replace,
    /// `IF NOT EXISTS`.
    IfNotExists,
}

/// How a table is made of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum How {
    Snapshot,
    Clone,
    Copy,
}

/// Rows to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    Values(Vec<Vec<Expr>>),
    Query(Query),
}

/// Options by their SQL name; an expiry in milliseconds, labels as an object, null to remove.
pub(super) type Options = Map<String, Value>;

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    CreateSchema {
        dataset: (String, String),
        if_not_exists: bool,
        options: Options,
    },
    CreateTable {
        table: Name,
        mode: Mode,
        fields: Option<Vec<Value>>,
        /// `timePartitioning` and `clustering`, as the API has them.
        layout: Map<String, Value>,
        options: Options,
        rows: Option<Query>,
    },
    CreateView {
        table: Name,
        mode: Mode,
        query: Query,
        text: String,
    },
    Make {
        how: How,
        table: Name,
        mode: Mode,
        of: Name,
        as_of: Option<Millis>,
        options: Options,
    },
    /// Not SQL: a copy job.
    Copies(CopyJob),
    Insert {
        table: Name,
        columns: Option<Vec<String>>,
        rows: Source,
    },
    Delete {
        table: Name,
        filter: Expr,
    },
    Update {
        table: Name,
        set: Vec<(String, Expr)>,
        filter: Expr,
    },
    Truncate {
        table: Name,
    },
    AddColumn {
        table: Name,
        field: Value,
    },
    DropColumn {
        table: Name,
        column: String,
    },
    SetOptions {
        table: Name,
        options: Options,
    },
    Drop {
        table: Name,
        kind: &'static str,
        if_exists: bool,
    },
    Query(Query),
    Assert {
        condition: Expr,
        message: String,
    },
    Begin,
    Commit,
    Rollback,
}

/// `SELECT … UNION ALL SELECT …`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query(pub(super) Vec<Select>);

/// One `SELECT`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Select {
    /// Each with its name; none: `*`.
    pub(super) items: Vec<(Option<String>, Expr)>,
    /// The table, and the instant that it is read at.
    pub(super) from: Option<(Name, Option<Expr>)>,
    /// A table whose rows are left out, each as often as it is there.
    pub(super) without: Option<Name>,
    pub(super) filter: Option<Expr>,
}

impl Statement {
    /// Every table it names.
    pub(super) fn tables(&self) -> Vec<&Name> {
        match self {
            Statement::CreateTable {
                table,
                rows: Some(query),
                ..
            }
            | Statement::CreateView { table, query, .. }
            | Statement::Insert {
                table,
                rows: Source::Query(query),
                ..
            } => {
                let read = query.0.iter().filter_map(|select| Some(&select.from.as_ref()?.0));
                std::iter::once(table).chain(read).collect()
            }
            Statement::Make { table, of, .. } => vec![table, of],
            Statement::Copies(job) => vec![&job.table, &job.of],
            Statement::CreateTable { table, .. }
            | Statement::Insert { table, .. }
            | Statement::Delete { table, .. }
            | Statement::Update { table, .. }
            | Statement::Truncate { table }
            | Statement::AddColumn { table, .. }
            | Statement::DropColumn { table, .. }
            | Statement::SetOptions { table, .. }
            | Statement::Drop { table, .. } => vec![table],
            Statement::Query(query) => query.0.iter().filter_map(|s| Some(&s.from.as_ref()?.0)).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it only reads.
    pub(super) fn reads(&self) -> bool {
        matches!(self, Statement::Query(_) | Statement::Assert { .. })
    }

    /// Whether BigQuery cannot stop it once it runs.
    pub(super) fn copies(&self) -> bool {
        matches!(self, Statement::Make { .. } | Statement::Copies(_))
    }
}
