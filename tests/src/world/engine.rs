//! PURE: what a statement does to the tables, and how BigQuery refuses it.

use std::collections::BTreeMap;

use super::ddl::not_allowed;
use super::queries::{Answer, answer, arrange, filtered, fit, known, scalar, scope};
use super::sql::{How, Name, Query, Source, Statement};
use super::tables::{Kind, Tables, Version};
use super::values::{Cells, Expr, Millis, Trouble, place};

/// What a statement did.
#[derive(Clone, Debug, Default)]
pub(super) struct Effect {
    /// `statementType`.
    pub(super) kind: &'static str,
    /// `ddlOperationPerformed`.
    pub(super) operation: Option<&'static str>,
    /// The table it wrote.
    pub(super) target: Option<Name>,
    /// Rows inserted, updated, deleted.
    pub(super) dml: Option<[usize; 3]>,
    /// Rows that a copy job copied.
    pub(super) copied: Option<usize>,
    pub(super) answer: Option<Answer>,
}

/// A transaction: its own tables until it is committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    tables: Tables,
    /// The tables it wrote, and since when each was as it found it.
    touched: BTreeMap<Name, Millis>,
}

/// `statementType` of a statement, also of one that fails.
pub(super) fn kind_of(statement: &Statement) -> &'static str {
    match statement {
        Statement::CreateSchema { .. } => "CREATE_SCHEMA",
        Statement::CreateTable { rows: Some(_), .. } => "CREATE_TABLE_AS_SELECT",
        Statement::Make { how: How::Snapshot, .. } => "CREATE_SNAPSHOT_TABLE",
        Statement::CreateTable { .. } | Statement::Make { .. } => "CREATE_TABLE",
        Statement::CreateView { .. } => "CREATE_VIEW",
        Statement::Insert { .. } => "INSERT",
        Statement::Delete { .. } => "DELETE",
        Statement::Update { .. } => "UPDATE",
        Statement::Truncate { .. } => "TRUNCATE_TABLE",
        Statement::AddColumn { .. } | Statement::DropColumn { .. } | Statement::SetOptions { .. } => "ALTER_TABLE",
        Statement::Drop { kind: "SNAPSHOT", .. } => "DROP_SNAPSHOT_TABLE",
        Statement::Drop { kind: "VIEW", .. } => "DROP_VIEW",
        Statement::Drop { .. } => "DROP_TABLE",
        Statement::Copies(_) => "",
        Statement::Query(_) => "SELECT",
        Statement::Assert { .. } => "ASSERT",
        Statement::Begin => "BEGIN_TRANSACTION",
        Statement::Commit => "COMMIT_TRANSACTION",
        Statement::Rollback => "ROLLBACK_TRANSACTION",
    }
}

/// Carries out a statement, inside the transaction if one is open.
pub(super) fn perform(
    tables: &mut Tables,
    open: &mut Option<Transaction>,
    statement: &Statement,
    now: Millis,
) -> Result<Effect, Trouble> {
    let done = Effect {
        kind: kind_of(statement),
        ..Effect::default()
    };
    match (statement, open.as_mut()) {
        (Statement::Begin, None) => {
            *open = Some(Transaction {
                tables: tables.clone(),
                ..Transaction::default()
            });
            return Ok(done);
        }
        (Statement::Begin, Some(_)) => return Err(Trouble::query("Transaction is already started")),
        (Statement::Rollback | Statement::Commit, None) => {
            return Err(Trouble::query("There is no active transaction"));
        }
        (Statement::Rollback, Some(_)) => {
            *open = None;
            return Ok(done);
        }
        (Statement::Commit, Some(_)) => {
            commit(tables, open.take().unwrap_or_default(), now)?;
            return Ok(done);
        }
        (_, None) => {}
        (statement, Some(transaction)) => {
            let effect = Doing {
                tables: &mut transaction.tables,
                now,
            }
            .statement(statement)?;
            if effect.operation.is_some() {
                *open = None;
                return Err(Trouble::query(
                    "DDL on permanent objects is not supported inside a transaction",
                ));
            }
            if let Some(name) = &effect.target {
                let since = tables.get(name).map_or(now, |version| version.at);
                transaction.touched.entry(name.clone()).or_insert(since);
            }
            return Ok(effect);
        }
    }
    let effect = Doing { tables, now }.statement(statement)?;
    tables.expire(now);
    Ok(effect)
}

fn commit(tables: &mut Tables, transaction: Transaction, now: Millis) -> Result<(), Trouble> {
    for (name, since) in &transaction.touched {
        if tables.get(name).is_none_or(|version| version.at != *since) {
            let message = format!(
                "Transaction is aborted due to concurrent update against table {}",
                name.told()
            );
            return Err(Trouble::at_run("invalidQuery", message));
        }
    }
    for name in transaction.touched.keys() {
        if let Some(version) = transaction.tables.get(name) {
            tables.write(name, version.rows.to_vec(), now);
        }
    }
    Ok(())
}

/// The rows of a table after DML, and how many were inserted, updated, deleted.
type Written = (Vec<Cells>, [usize; 3]);

/// A statement at an instant.
pub(super) struct Doing<'t> {
    pub(super) tables: &'t mut Tables,
    pub(super) now: Millis,
}

impl Doing<'_> {
    fn statement(&mut self, statement: &Statement) -> Result<Effect, Trouble> {
        let mut effect = Effect {
            kind: kind_of(statement),
            ..Effect::default()
        };
        match statement {
            Statement::Insert { table, .. }
            | Statement::Update { table, .. }
            | Statement::Delete { table, .. }
            | Statement::Truncate { table } => {
                effect.dml = Some(self.write(table, statement)?);
                effect.target = Some(table.clone());
            }
            Statement::Query(query) => effect.answer = Some(answer(self.tables, query, self.now)?),
            Statement::Assert { condition, message } => {
                known(condition, &[])?;
                let scalar = |q: &Query| scalar(self.tables, q, self.now);
                if !condition.holds(&scope(self.now, &[], &[], 0, &scalar))? {
                    return Err(Trouble::at_run("invalidQuery", message));
                }
            }
            Statement::Copies(job) => {
                effect.copied = Some(self.copy_job(job)?);
                effect.target = Some(job.table.clone());
            }
            Statement::Begin | Statement::Commit | Statement::Rollback => {}
            definition => {
                effect.operation = Some(self.define(definition)?);
                effect.target = definition.tables().first().map(|name| (*name).clone());
            }
        }
        Ok(effect)
    }

    /// DML: how many rows it inserted, updated, deleted.
    fn write(&mut self, table: &Name, statement: &Statement) -> Result<[usize; 3], Trouble> {
        let there = self.writable(table)?;
        let (rows, counts) = match statement {
            Statement::Insert { columns, rows, .. } => self.inserted(there, columns.as_deref(), rows)?,
            Statement::Update { set, filter, .. } => {
                filtered(table, there, Some(filter))?;
                self.updated(there, set, filter)?
            }
            Statement::Delete { filter, .. } => {
                filtered(table, there, Some(filter))?;
                self.deleted(there, filter)?
            }
            _ => (Vec::new(), [0, 0, there.rows.len()]),
        };
        self.tables.write(table, rows, self.now);
        Ok(counts)
    }

    fn inserted(&self, there: &Version, columns: Option<&[String]>, rows: &Source) -> Result<Written, Trouble> {
        let scalar = |q: &Query| scalar(self.tables, q, self.now);
        let new = match rows {
            Source::Query(query) => answer(self.tables, query, self.now)?.rows,
            Source::Values(rows) => {
                let value = |e: &Expr| e.value(&scope(self.now, &[], &[], 0, &scalar));
                let row = |row: &Vec<Expr>| row.iter().map(value).collect::<Result<Cells, Trouble>>();
                rows.iter().map(row).collect::<Result<Vec<Cells>, Trouble>>()?
            }
        };
        let new = fit(arrange(new, columns, &there.fields)?, &there.fields)?;
        let inserted = new.len();
        let mut all = there.rows.to_vec();
        all.extend(new);
        Ok((all, [inserted, 0, 0]))
    }

    fn updated(&self, there: &Version, set: &[(String, Expr)], filter: &Expr) -> Result<Written, Trouble> {
        let scalar = |q: &Query| scalar(self.tables, q, self.now);
        let mut places = Vec::new();
        for (column, value) in set {
            known(value, &there.fields)?;
            places.push((place(&there.fields, column)?, value));
        }
        let mut updated = 0;
        let mut rows = there.rows.to_vec();
        for row in &mut rows {
            let was = row.clone();
            let scope = scope(self.now, &there.fields, &was, 0, &scalar);
            if filter.holds(&scope)? {
                updated += 1;
                for (at, value) in &places {
                    row[*at] = value.value(&scope)?.into_column(&there.fields[*at])?;
                }
            }
        }
        Ok((rows, [0, updated, 0]))
    }

    fn deleted(&self, there: &Version, filter: &Expr) -> Result<Written, Trouble> {
        let scalar = |q: &Query| scalar(self.tables, q, self.now);
        let mut left = Vec::new();
        for row in there.rows.iter() {
            if !filter.holds(&scope(self.now, &there.fields, row, 0, &scalar))? {
                left.push(row.clone());
            }
        }
        let deleted = there.rows.len() - left.len();
        Ok((left, [0, 0, deleted]))
    }

    /// A table that DML may write.
    pub(super) fn writable(&self, name: &Name) -> Result<&Version, Trouble> {
        let there = self.tables.find(name)?;
        match there.kind {
            Kind::Table => Ok(there),
            kind => Err(not_allowed(name, kind)),
        }
    }
}
