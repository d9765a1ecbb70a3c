//! PURE: what the caller may do. At first everything; tests take rights away, of a table, of a dataset with all that is
//! in it, or of a project. Whoever
//! speaks through `World::sql` is somebody else, and may do everything.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::copies::Operation;
use super::sql::{How, Mode, Name, Source, Statement};
use super::tables::{Kind, Tables};
use super::values::{Cells, Datum, Trouble};

/// What a query reads that no table holds: `dataset.INFORMATION_SCHEMA.TABLES`.
pub(super) const TABLES: &str = "INFORMATION_SCHEMA.TABLES";

/// The rights that are not there, and what only other methods than `tables.get` tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    /// A table or dataset, and a right of IAM's without its `bigquery.`.
    taken: BTreeSet<(String, String)>,
    /// The filters of the row access policies of a table.
    pub(super) policies: BTreeMap<String, Vec<String>>,
    /// The IAM policies that were set, as the API has them.
    pub(super) iam: BTreeMap<String, Value>,
    /// Tables with fine-grained DML.
    pub(super) fine_grained: BTreeSet<String>,
}

impl Rights {
    pub(super) fn take(&mut self, place: &str, right: &str) {
        self.taken.insert((place.to_owned(), right.to_owned()));
    }

    /// Whether the caller has a right in a project, a dataset or a table, that it was taken of.
    pub(super) fn may(&self, place: &str, right: &str) -> bool {
        !self.taken.contains(&(place.to_owned(), right.to_owned()))
    }

    /// Whether the caller has a right on a table, `bigquery.` before it or not.
    pub(super) fn has(&self, name: &Name, right: &str) -> bool {
        let right = right.strip_prefix("bigquery.").unwrap_or(right);
        self.may(&name.to_string(), right) && self.may(&format!("{}.{}", name.project, name.dataset), right)
    }

    /// Refuses what the caller may not do, as Google says it.
    pub(super) fn check(&self, name: &Name, right: &str) -> Result<(), Trouble> {
        if self.has(name, right) {
            return Ok(());
        }
        let table = name.told();
        let message = format!(
            "Access Denied: Table {table}: Permission bigquery.{right} denied on table {table} (or it may not exist)."
        );
        Err(Trouble::of("accessDenied", message))
    }

    /// A table is gone: so is what was said of who may see it.
    pub(super) fn forget(&mut self, name: &Name) {
        self.policies.remove(&name.to_string());
        self.iam.remove(&name.to_string());
    }

    /// A table was made of another: its row access policies are the other's.
    pub(super) fn copy_policies(&mut self, from: &Name, to: &Name) {
        match self.policies.get(&from.to_string()).cloned() {
            Some(policies) => self.policies.insert(to.to_string(), policies),
            None => self.policies.remove(&to.to_string()),
        };
    }

    /// The rows of `INFORMATION_SCHEMA.TABLES`, and its columns.
    pub(super) fn told_of(&self, tables: &Tables, of: &Name) -> (Vec<Value>, Vec<Cells>) {
        let column = |name: &str| serde_json::json!({ "name": name, "type": "STRING", "mode": "NULLABLE" });
        let fields = ["table_name", "is_fine_grained_mutations_enabled"].map(column).to_vec();
        let here = tables
            .all()
            .map(|(name, _)| name)
            .filter(|name| name.project == of.project && name.dataset == of.dataset);
        let row = |name: &Name| {
            let enabled = self.fine_grained.contains(&name.to_string());
            vec![
                Datum::Text(name.table.clone()),
                Datum::Text(if enabled { "YES" } else { "NO" }.to_owned()),
            ]
        };
        (fields, here.map(row).collect())
    }
}

/// Refuses a statement that the caller may not run.
pub(super) fn permitted(tables: &Tables, statement: &Statement) -> Result<(), Trouble> {
    let needs = needed(tables, statement);
    needs
        .into_iter()
        .try_for_each(|(name, right)| tables.rights.check(name, right))
}

/// The rights that a statement needs, as Google's pages have them.
fn needed<'s>(tables: &Tables, statement: &'s Statement) -> Vec<(&'s Name, &'static str)> {
    let reads = |skip: usize| {
        let read = statement.tables().into_iter().skip(skip);
        read.filter(|name| name.table != TABLES)
            .map(|name| (name, "tables.getData"))
    };
    match statement {
        Statement::Make {
            how,
            table,
            mode,
            of,
            options,
            ..
        } => {
            let mut needs = vec![(of, "tables.get"), (of, "tables.getData")];
            needs.extend([(table, "tables.create"), (table, "tables.updateData")]);
            if *how == How::Snapshot {
                needs.push((of, "tables.createSnapshot"));
            } else if tables.get(of).is_some_and(|v| v.kind == Kind::Snapshot) {
                needs.push((of, "tables.restoreSnapshot"));
            }
            if *mode == Mode::Replace && tables.get(table).is_some() {
                needs.push((table, "tables.update"));
            }
            if options.get("expiration_timestamp").is_some_and(|at| !at.is_null()) {
                let right = match how {
                    How::Snapshot => "tables.deleteSnapshot",
                    _ => "tables.delete",
                };
                needs.push((table, right));
            }
            needs
        }
        Statement::Copies(job) => {
            let mut needs = vec![(&job.of, "tables.get"), (&job.of, "tables.getData")];
            needs.extend([(&job.table, "tables.create"), (&job.table, "tables.updateData")]);
            match job.operation {
                Operation::Snapshot => needs.push((&job.of, "tables.createSnapshot")),
                Operation::Restore => needs.push((&job.of, "tables.restoreSnapshot")),
                Operation::Copy | Operation::Clone => {}
            }
            match (job.operation, job.expires) {
                (_, None) => {}
                (Operation::Snapshot, Some(_)) => needs.push((&job.table, "tables.deleteSnapshot")),
                (_, Some(_)) => needs.push((&job.table, "tables.delete")),
            }
            needs
        }
        Statement::Query(_) => reads(0).collect(),
        Statement::Insert { table, rows, .. } => {
            let mut needs = vec![(table, "tables.updateData")];
            if matches!(rows, Source::Query(_)) {
                needs.extend(reads(1));
            }
            needs
        }
        Statement::Delete { table, .. } | Statement::Update { table, .. } | Statement::Truncate { table } => {
            vec![(table, "tables.updateData")]
        }
        Statement::CreateTable { table, .. } | Statement::CreateView { table, .. } => {
            let mut needs = vec![(table, "tables.create")];
            needs.extend(reads(1));
            needs
        }
        Statement::AddColumn { table, .. }
        | Statement::DropColumn { table, .. }
        | Statement::SetOptions { table, .. } => vec![(table, "tables.update")],
        Statement::Drop { table, kind, .. } => match *kind {
            "SNAPSHOT" => vec![(table, "tables.deleteSnapshot")],
            _ => vec![(table, "tables.delete")],
        },
        Statement::CreateSchema { .. }
        | Statement::Assert { .. }
        | Statement::Begin
        | Statement::Commit
        | Statement::Rollback => Vec::new(),
    }
}
