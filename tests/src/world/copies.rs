//! PURE: copy jobs, also of tables and snapshots that are gone: `table@<ms>`. What BigQuery leaves undocumented is
//! decided for the worse, and as the local BigQuery does it: what comes back of what was dropped has its schema and no
//! more.

use serde_json::{Value, json};

use super::ddl::not_allowed;
use super::engine::Doing;
use super::sql::{How, Name};
use super::tables::{Kind, Version};
use super::values::{Millis, Trouble, instant};

/// `operationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Copy,
    Snapshot,
    Clone,
    Restore,
}

impl Operation {
    fn how(self) -> How {
        match self {
            Operation::Copy => How::Copy,
            Operation::Snapshot => How::Snapshot,
            Operation::Clone | Operation::Restore => How::Clone,
        }
    }

    /// Neither writes over anything.
    fn only_new(self) -> bool {
        matches!(self, Operation::Snapshot | Operation::Clone)
    }
}

/// What follows the `@` of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decorator {
    At(Millis),
    Before(Millis),
    Oldest,
}

/// A copy job, as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CopyJob {
    pub(super) operation: Operation,
    pub(super) of: Name,
    decorator: Option<Decorator>,
    pub(super) table: Name,
    /// `WRITE_TRUNCATE`; else `WRITE_EMPTY`.
    pub(super) overwrites: bool,
    never_creates: bool,
    pub(super) expires: Option<Millis>,
}

impl CopyJob {
    /// From `configuration.copy`; absent: more than this world knows.
    pub(super) fn of(copy: &Value) -> Option<CopyJob> {
        let known = [
            "sourceTable",
            "sourceTables",
            "destinationTable",
            "createDisposition",
            "writeDisposition",
            "operationType",
            "destinationExpirationTime",
        ];
        if copy.as_object()?.keys().any(|key| !known.contains(&key.as_str())) {
            return None;
        }
        let source = match copy.get("sourceTable") {
            Some(table) => table,
            None => match copy.get("sourceTables")?.as_array()?.as_slice() {
                [one] => one,
                _ => return None,
            },
        };
        let text = |key: &str| copy.get(key).and_then(Value::as_str);
        let (of, decorator) = decorated(name(source)?)?;
        Some(CopyJob {
            operation: match text("operationType") {
                None | Some("COPY") => Operation::Copy,
                Some("SNAPSHOT") => Operation::Snapshot,
                Some("CLONE") => Operation::Clone,
                Some("RESTORE") => Operation::Restore,
                Some(_) => return None,
            },
            of,
            decorator,
            table: name(copy.get("destinationTable")?)?,
            overwrites: match text("writeDisposition") {
                None | Some("WRITE_EMPTY") => false,
                Some("WRITE_TRUNCATE") => true,
                Some(_) => return None,
            },
            never_creates: text("createDisposition") == Some("CREATE_NEVER"),
            expires: match text("destinationExpirationTime") {
                Some(at) => Some(instant(at).ok()?),
                None => None,
            },
        })
    }

    /// For who reads what a job does.
    pub(super) fn told(&self) -> String {
        let at = match self.decorator {
            None => String::new(),
            Some(Decorator::At(ms)) => format!("@{ms}"),
            Some(Decorator::Before(ms)) => format!("@-{ms}"),
            Some(Decorator::Oldest) => "@0".to_owned(),
        };
        let over = if self.overwrites { " over" } else { " to" };
        format!("copy job: {:?} {}{at}{over} {}", self.operation, self.of, self.table)
    }

    /// What it asks that BigQuery never does.
    fn check(&self, source: &Version) -> Result<(), Trouble> {
        if self.operation.only_new() && self.overwrites {
            return bad(format!(
                "{:?} operation with write disposition WRITE_TRUNCATE is not supported. Please try again with \
                 WRITE_EMPTY.",
                self.operation
            ));
        }
        if source.kind == Kind::View {
            return Err(not_allowed(&self.of, source.kind));
        }
        match self.operation == Operation::Restore && source.kind != Kind::Snapshot {
            true => bad(format!(
                "Restore operation is not supported: {} is not a snapshot.",
                self.of.told()
            )),
            false => Ok(()),
        }
    }
}

fn bad<T>(what: String) -> Result<T, Trouble> {
    Err(Trouble::of("invalid", what))
}

fn name(reference: &Value) -> Option<Name> {
    let text = |key: &str| Some(reference.get(key)?.as_str()?.to_owned());
    Some(Name {
        project: text("projectId")?,
        dataset: text("datasetId")?,
        table: text("tableId")?,
    })
}

/// A name without its decorator, and the decorator. Absent: an `@` and no number.
fn decorated(mut name: Name) -> Option<(Name, Option<Decorator>)> {
    let Some((table, ms)) = name.table.rsplit_once('@') else {
        return Some((name, None));
    };
    let ms: Millis = ms.parse().ok()?;
    name.table = table.to_owned();
    let decorator = match ms {
        0 => Decorator::Oldest,
        ms if ms < 0 => Decorator::Before(-ms),
        ms => Decorator::At(ms),
    };
    Some((name, Some(decorator)))
}

impl Doing<'_> {
    /// Carries out a copy job: how many rows it copied.
    pub(super) fn copy_job(&mut self, job: &CopyJob) -> Result<usize, Trouble> {
        let at = match job.decorator {
            None => None,
            Some(Decorator::At(at)) => Some(at),
            Some(Decorator::Before(ms)) => Some(self.now - ms),
            Some(Decorator::Oldest) => Some(self.tables.oldest(&job.of, self.now)),
        };
        let (source, gone) = match at {
            None => (self.tables.find(&job.of)?, false),
            Some(at) => self.tables.even_if_gone(&job.of, at, self.now)?,
        };
        job.check(source)?;
        let there = self.tables.get(&job.table);
        if job.of == job.table && !(gone && there.is_none()) {
            return bad(format!("Cannot copy data from and to the same table {}", job.of.told()));
        }
        let how = job.operation.how();
        if how == How::Snapshot && source.kind == Kind::Snapshot && at.is_some() && !gone {
            return bad(format!(
                "A snapshot of table snapshot {} cannot be of an instant",
                job.of.told()
            ));
        }
        let mut made = self.made_of(how, &job.of, source, at)?;
        if gone || (how == How::Copy && at.is_some()) {
            made.options.clear();
        }
        self.check_place(job, &made)?;
        if let Some(at) = job.expires {
            made.options.insert("expirationTime".to_owned(), json!(at.to_string()));
        } else if how == How::Copy {
            made.options.remove("expirationTime");
        }
        let copied = made.rows.len();
        self.tables.default_options(&job.table, &mut made.options, self.now);
        self.store_copy(how, &job.table, &job.of, made, gone);
        Ok(copied)
    }

    fn check_place(&self, job: &CopyJob, made: &Version) -> Result<(), Trouble> {
        let Some(there) = self.tables.get(&job.table) else {
            return match job.never_creates || self.tables.dataset(&job.table).is_none() {
                true => self.tables.find(&job.table).map(drop),
                false => Ok(()),
            };
        };
        if job.operation.only_new() || (!job.overwrites && !there.rows.is_empty()) {
            let message = format!("Already Exists: Table {}", job.table.told());
            return Err(Trouble::of("duplicate", message));
        }
        if there.kind != Kind::Table {
            return Err(not_allowed(&job.table, there.kind));
        }
        match there.layout() == made.layout() {
            true => Ok(()),
            false => bad(format!(
                "Incompatible table partitioning specification when copying to {}",
                job.table.told()
            )),
        }
    }
}
