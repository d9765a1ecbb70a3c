//! PURE: what statements that make, alter and drop tables do, and what a table made of another carries along.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::engine::Doing;
use super::grammar::unknown_option;
use super::queries::{answer, fit};
use super::sql::{How, Mode, Name, Options, Statement};
use super::tables::{Dataset, Kind, Version, set};
use super::values::{Datum, Millis, Trouble, place};

/// How deep a chain of clones and snapshots may be.
const DEEPEST: u32 = 3;

impl Doing<'_> {
    /// DDL: what it did, as `ddlOperationPerformed` says it.
    pub(super) fn define(&mut self, statement: &Statement) -> Result<&'static str, Trouble> {
        match statement {
            Statement::CreateSchema {
                dataset,
                if_not_exists,
                options,
            } => self.create_schema(dataset, *if_not_exists, options),
            Statement::CreateTable {
                table,
                mode,
                fields,
                layout,
                options,
                rows,
            } => {
                let answer = rows
                    .as_ref()
                    .map(|query| answer(self.tables, query, self.now))
                    .transpose()?
                    .unwrap_or_default();
                let mut made = Version::new(Kind::Table, fields.clone().unwrap_or(answer.fields), self.now);
                made.rows = Arc::new(fit(answer.rows, &made.fields)?);
                made.options = layout.clone();
                apply(&mut made.options, options)?;
                self.put_new(table, *mode, made)
            }
            Statement::CreateView {
                table,
                mode,
                query,
                text,
            } => {
                let fields = answer(self.tables, query, self.now)?.fields;
                let mut made = Version::new(Kind::View, fields, self.now);
                let view = json!({ "query": text, "useLegacySql": false });
                made.options.insert("view".to_owned(), view);
                self.put_new(table, *mode, made)
            }
            Statement::Make {
                how,
                table,
                mode,
                of,
                as_of,
                options,
            } => {
                let made = self.copy(*how, table, of, *as_of, options)?;
                let (operation, made) = self.placed(table, *mode, made)?;
                if let Some(made) = made {
                    self.store_copy(*how, table, of, made, false);
                }
                Ok(operation)
            }
            Statement::Drop { table, kind, if_exists } => self.drop(table, kind, *if_exists),
            alter => self.alter(alter),
        }
    }

    fn create_schema(
        &mut self,
        (project, dataset): &(String, String),
        skip: bool,
        options: &Options,
    ) -> Result<&'static str, Trouble> {
        let key = (project.clone(), dataset.clone());
        if self.tables.datasets.contains_key(&key) {
            return match skip {
                true => Ok("SKIP"),
                false => Err(Trouble::of(
                    "duplicate",
                    format!("Already Exists: Dataset {project}:{dataset}"),
                )),
            };
        }
        let text = |key: &str| options.get(key).and_then(Value::as_str).map(str::to_owned);
        let known = [
            "location",
            "description",
            "default_table_expiration_days",
            "default_partition_expiration_days",
        ];
        if let Some(key) = options.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(unknown_option(key));
        }
        let made = Dataset {
            location: super::rest::location(&text("location").unwrap_or_else(|| "US".to_owned())),
            created: self.now,
            description: text("description"),
            table_expires: options.get("default_table_expiration_days").and_then(Value::as_i64),
            partition_expires: options.get("default_partition_expiration_days").and_then(Value::as_i64),
        };
        self.tables.datasets.insert(key, made);
        Ok("CREATE")
    }

    /// Puts a new table in its place, if the place is free or may be taken. What becomes of the row access policies of
    /// a table that is replaced is not documented: the worse is that they are lost.
    fn put_new(&mut self, name: &Name, mode: Mode, made: Version) -> Result<&'static str, Trouble> {
        let (operation, made) = self.placed(name, mode, made)?;
        if let Some(made) = made {
            self.tables.rights.policies.remove(&name.to_string());
            self.tables.put(name, made);
        }
        Ok(operation)
    }

    /// Stores a table that was made of another, and what goes along.
    pub(super) fn store_copy(&mut self, how: How, name: &Name, of: &Name, made: Version, gone: bool) {
        self.tables.put(name, made);
        match gone {
            true => drop(self.tables.rights.policies.remove(&name.to_string())),
            false => self.tables.rights.copy_policies(of, name),
        }
        if how == How::Snapshot {
            self.tables.made_snapshot(of, self.now);
        }
    }

    /// What a new table does to its place, and the table with the defaults of that place; none: nothing is done.
    fn placed(&self, name: &Name, mode: Mode, mut made: Version) -> Result<(&'static str, Option<Version>), Trouble> {
        if self.tables.dataset(name).is_none() {
            self.tables.find(name)?;
        }
        let operation = match (self.tables.get(name), mode) {
            (None, _) => "CREATE",
            (Some(_), Mode::IfNotExists) => return Ok(("SKIP", None)),
            (Some(_), Mode::Plain) => {
                return Err(Trouble::of(
                    "duplicate",
                    format!("Already Exists: Table {}", name.told()),
                ));
            }
            (Some(there), Mode::Replace) if there.kind != made.kind => return Err(not_allowed(name, there.kind)),
            (Some(there), Mode::Replace) if there.layout() != made.layout() => {
                let message = "Cannot replace a table with a different partitioning spec. \
                    Instead, DROP the table, and then recreate it.";
                let spec = |v: &Version| json!(v.layout()).to_string();
                let more = format!(
                    " New partitioning spec is {} and existing spec is {}",
                    spec(&made),
                    spec(there)
                );
                return Err(Trouble::of("invalid", format!("{message}{more}")));
            }
            (Some(_), Mode::Replace) => "REPLACE",
        };
        if made.kind != Kind::View {
            self.tables.default_options(name, &mut made.options, self.now);
        }
        Ok((operation, Some(made)))
    }

    /// A table made of another by SQL. What a clone does not carry is what no page of the manual says that it does.
    fn copy(
        &self,
        how: How,
        name: &Name,
        of: &Name,
        as_of: Option<Millis>,
        options: &Options,
    ) -> Result<Version, Trouble> {
        let bad = |what: String| Err(Trouble::of("invalid", what));
        let live = self.tables.find(of)?;
        if live.kind == Kind::View {
            return Err(not_allowed(of, live.kind));
        }
        if how == How::Snapshot && live.kind == Kind::Snapshot && as_of.is_some() {
            return bad(format!(
                "FOR SYSTEM_TIME AS OF is not supported for table snapshot {}",
                of.told()
            ));
        }
        if name == of {
            return bad(format!(
                "Cannot {} data from and to the same table {}",
                if how == How::Copy { "copy" } else { "clone" },
                of.told()
            ));
        }
        if let (Some(here), Some(there)) = (self.tables.dataset(name), self.tables.dataset(of))
            && here.location != there.location
        {
            return bad(format!(
                "Cannot clone across locations: {} and {}",
                there.location, here.location
            ));
        }
        let base = match as_of {
            Some(at) => self.tables.as_of(of, at, self.now)?,
            None => live,
        };
        let mut made = self.made_of(how, of, base, as_of)?;
        apply(&mut made.options, options)?;
        Ok(made)
    }

    /// A table made of a version of another.
    pub(super) fn made_of(
        &self,
        how: How,
        of: &Name,
        base: &Version,
        as_of: Option<Millis>,
    ) -> Result<Version, Trouble> {
        let bad = |what: String| Err(Trouble::of("invalid", what));
        let depth = if how == How::Copy { 0 } else { base.depth + 1 };
        if depth > DEEPEST {
            return bad(format!(
                "Clone and snapshot chain of {} is too deep: at most {DEEPEST} are allowed",
                of.told()
            ));
        }
        if how != How::Copy {
            self.tables.check_copies(of, how == How::Snapshot, self.now)?;
        }
        let kept: &[&str] = match how {
            How::Copy => &[
                "timePartitioning",
                "clustering",
                "requirePartitionFilter",
                "description",
                "friendlyName",
                "labels",
            ],
            How::Snapshot => &["timePartitioning", "clustering", "requirePartitionFilter"],
            How::Clone => &["timePartitioning", "clustering"],
        };
        let mut carried: Map<String, Value> = Map::new();
        for key in kept {
            set(&mut carried, key, base.options.get(*key).unwrap_or(&Value::Null));
        }
        if let Some(partitioning) = carried.get_mut("timePartitioning").and_then(Value::as_object_mut)
            && how != How::Copy
        {
            partitioning.remove("expirationMs");
        }
        Ok(Version {
            kind: if how == How::Snapshot {
                Kind::Snapshot
            } else {
                Kind::Table
            },
            fields: Arc::clone(&base.fields),
            rows: Arc::clone(&base.rows),
            options: carried,
            origin: (how != How::Copy).then(|| (of.clone(), as_of.unwrap_or(self.now))),
            depth,
            ..Version::new(Kind::Table, Vec::new(), self.now)
        })
    }

    fn alter(&mut self, statement: &Statement) -> Result<&'static str, Trouble> {
        let (table, metadata_only) = match statement {
            Statement::SetOptions { table, .. } => (table, true),
            Statement::AddColumn { table, .. } | Statement::DropColumn { table, .. } => (table, false),
            _ => return Err(Trouble::query("not an ALTER")),
        };
        let there = if metadata_only {
            self.tables.find(table)?
        } else {
            self.writable(table)?
        };
        let mut version = Version {
            at: self.now,
            modified: self.now,
            ..there.clone()
        };
        match statement {
            Statement::AddColumn { field, .. } => {
                let name = field["name"].as_str().unwrap_or_default();
                if place(&version.fields, name).is_ok() {
                    return Err(Trouble::query(format!(
                        "Column already exists: {name} at table {table}"
                    )));
                }
                if field["mode"] == "REQUIRED" {
                    return Err(Trouble::query(format!(
                        "Cannot add required columns to an existing schema: {name}"
                    )));
                }
                Arc::make_mut(&mut version.fields).push(field.clone());
                Arc::make_mut(&mut version.rows)
                    .iter_mut()
                    .for_each(|row| row.push(Datum::Null));
            }
            Statement::DropColumn { column, .. } => {
                let at = place(&version.fields, column)?;
                let [_, partition, cluster] = version.layout();
                let clusters = cluster
                    .and_then(|c| c["fields"].as_array())
                    .is_some_and(|c| c.contains(&json!(column)));
                if partition == Some(&json!(column)) || clusters {
                    return Err(Trouble::query(format!(
                        "Cannot drop partitioning or clustering column {column}"
                    )));
                }
                Arc::make_mut(&mut version.fields).remove(at);
                Arc::make_mut(&mut version.rows)
                    .iter_mut()
                    .for_each(|row| drop(row.remove(at)));
            }
            Statement::SetOptions { options, .. } => apply(&mut version.options, options)?,
            _ => {}
        }
        self.tables.put(table, version);
        Ok("ALTER")
    }

    fn drop(&mut self, name: &Name, kind: &str, if_exists: bool) -> Result<&'static str, Trouble> {
        let there = match self.tables.find(name) {
            Err(_) if if_exists => return Ok("SKIP"),
            there => there?,
        };
        if there.kind.word() != kind {
            let what = format!(
                "Cannot drop {} which has type {}. An object of another type was expected",
                name.told(),
                there.kind.word()
            );
            return Err(Trouble::of("invalid", what));
        }
        self.tables.bury(name, self.now);
        Ok("DROP")
    }
}

pub(super) fn not_allowed(name: &Name, kind: Kind) -> Trouble {
    let message = format!(
        "{} is not allowed for this operation because it is currently a {}.",
        name.told(),
        kind.word()
    );
    Trouble::of("invalid", message)
}

/// Options by their SQL names become fields of the API.
pub(super) fn apply(fields: &mut Map<String, Value>, options: &Options) -> Result<(), Trouble> {
    for (name, value) in options {
        match name.as_str() {
            "description" | "labels" => set(fields, name, value),
            "friendly_name" => set(fields, "friendlyName", value),
            "require_partition_filter" => set(fields, "requirePartitionFilter", value),
            "expiration_timestamp" => set(fields, "expirationTime", &as_text(value)),
            "partition_expiration_days" => match fields.get_mut("timePartitioning").and_then(Value::as_object_mut) {
                Some(partitioning) => set(partitioning, "expirationMs", &as_text(value)),
                None => {
                    return Err(Trouble::query(
                        "partition_expiration_days is not allowed on a table without partitions",
                    ));
                }
            },
            _ => return Err(unknown_option(name)),
        }
    }
    Ok(())
}

/// An int64 as the API writes it.
fn as_text(value: &Value) -> Value {
    value.as_i64().map_or(Value::Null, |number| json!(number.to_string()))
}
