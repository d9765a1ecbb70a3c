//! PURE: datasets and tables as versions over a clock. Knows no statement, no job, no request.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::limits::Limits;
use super::rights::Rights;
use super::sql::Name;
use super::values::{Cells, Datum, Millis, Trouble, instant, place, rfc3339, truncated};

/// How far back a table can be read.
const TIME_TRAVEL: Millis = 7 * 86_400_000;

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    Snapshot,
    View,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Table => "TABLE",
            Kind::Snapshot => "SNAPSHOT",
            Kind::View => "VIEW",
        }
    }
}

/// A table from an instant on.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// From when on.
    pub(super) at: Millis,
    /// `creationTime`.
    pub(super) created: Millis,
    /// `lastModifiedTime`: an expired partition does not move it.
    pub(super) modified: Millis,
    pub(super) kind: Kind,
    /// `schema.fields`.
    pub(super) fields: Arc<Vec<Value>>,
    pub(super) rows: Arc<Vec<Cells>>,
    /// Every other field that a statement or a patch may set, as the API has it.
    pub(super) options: Map<String, Value>,
    /// Of a snapshot or a clone: what it was made of, and the instant.
    pub(super) origin: Option<(Name, Millis)>,
    /// How many clones and snapshots stand between it and a table of its own.
    pub(super) depth: u32,
}

impl Version {
    /// An empty table.
    pub(super) fn new(kind: Kind, fields: Vec<Value>, now: Millis) -> Version {
        Version {
            at: now,
            created: now,
            modified: now,
            kind,
            fields: Arc::new(fields),
            rows: Arc::default(),
            options: Map::new(),
            origin: None,
            depth: 0,
        }
    }

    /// Whether another holds the same rows in the same columns.
    pub(super) fn same_content(&self, other: &Version) -> bool {
        self.fields == other.fields && self.sorted_rows() == other.sorted_rows()
    }

    pub(super) fn sorted_rows(&self) -> Vec<&Cells> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort();
        rows
    }

    /// Partitioning and clustering, which no replacement may change.
    pub(super) fn layout(&self) -> [Option<&Value>; 3] {
        let partition = |key: &str| self.options.get("timePartitioning").and_then(|p| p.get(key));
        [partition("type"), partition("field"), self.options.get("clustering")]
    }

    /// The column that a query must filter by, if it must.
    pub(super) fn required_filter(&self) -> Option<&str> {
        let demanded = self.options.get("requirePartitionFilter") == Some(&json!(true));
        let field = self.options.get("timePartitioning")?.get("field")?.as_str();
        field.filter(|_| demanded)
    }

    fn expires(&self) -> Option<Millis> {
        integer(self.options.get("expirationTime")?)
    }

    /// The rows whose partitions live, if any have expired.
    fn living_rows(&self, now: Millis) -> Option<Vec<Cells>> {
        let partitioning = self.options.get("timePartitioning")?;
        let lives = integer(partitioning.get("expirationMs")?)?;
        let unit = partitioning.get("type")?.as_str()?;
        let column = place(&self.fields, partitioning.get("field")?.as_str()?).ok()?;
        let lives = |row: &&Cells| {
            let at = match row.get(column) {
                Some(Datum::Stamp(ms)) => Some(*ms),
                Some(Datum::Text(text)) => instant(text).ok(),
                _ => None,
            };
            at.and_then(|at| truncated(at, unit).ok())
                .is_none_or(|begin| begin + lives > now)
        };
        let living: Vec<Cells> = self.rows.iter().filter(lives).cloned().collect();
        (living.len() < self.rows.len()).then_some(living)
    }
}

/// An int64 of the API.
pub(super) fn integer(value: &Value) -> Option<Millis> {
    value.as_str().map_or_else(|| value.as_i64(), |text| text.parse().ok())
}

/// What a dataset does to the tables in it.
#[derive(Clone, Debug)]
pub(super) struct Dataset {
    pub(super) location: String,
    pub(super) created: Millis,
    pub(super) description: Option<String>,
    pub(super) table_expires: Option<Millis>,
    pub(super) partition_expires: Option<Millis>,
}

type Life = Vec<Version>;

/// A table that is gone: its versions, and since when.
#[derive(Clone, Debug)]
struct Buried {
    name: Name,
    life: Life,
    since: Millis,
}

/// Everything that is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) datasets: BTreeMap<(String, String), Dataset>,
    living: BTreeMap<Name, Life>,
    /// Dropped and expired ones: no query reads them, but who judges a run may.
    buried: Vec<Buried>,
    pub(super) limits: Limits,
    /// Who may do what, and what `tables.get` does not tell.
    pub(super) rights: Rights,
}

impl Tables {
    pub(super) fn dataset(&self, name: &Name) -> Option<&Dataset> {
        self.datasets.get(&(name.project.clone(), name.dataset.clone()))
    }

    /// The table as it is.
    pub(super) fn get(&self, name: &Name) -> Option<&Version> {
        self.living.get(name)?.last()
    }

    /// The table as it is, or why not.
    pub(super) fn find(&self, name: &Name) -> Result<&Version, Trouble> {
        self.get(name).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &Name) -> Trouble {
        let message = match self.dataset(name) {
            Some(dataset) => format!(
                "Not found: Table {} was not found in location {}",
                name.told(),
                dataset.location
            ),
            None => format!(
                "Not found: Dataset {}:{} was not found in location US",
                name.project, name.dataset
            ),
        };
        Trouble::of("notFound", message)
    }

    /// Every table there is.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, &Version)> {
        self.living.iter().filter_map(|(name, life)| Some((name, life.last()?)))
    }

    /// The table as it was: within the life of the present one, and within seven days.
    pub(super) fn as_of(&self, name: &Name, at: Millis, now: Millis) -> Result<&Version, Trouble> {
        self.find(name)?;
        if at > now {
            let message = format!(
                "Invalid snapshot time {at} for table {}@{at}. Cannot read from the future",
                name.told()
            );
            return Err(Trouble::query(message));
        }
        let life = self.living.get(name).map_or(&[][..], Vec::as_slice);
        let first = life.first().map_or(now, |version| version.at).max(now - TIME_TRAVEL);
        let version = life.iter().rfind(|version| version.at <= at);
        version.filter(|_| at >= first).ok_or_else(|| {
            let message = format!(
                "Invalid snapshot time {at} for table {}@{at}. Cannot read before {first}",
                name.told()
            );
            Trouble::query(message)
        })
    }

    /// Whether the table that is there now was there before this millisecond.
    pub(super) fn older_than(&self, name: &Name, at: Millis) -> bool {
        let first = self.living.get(name).and_then(|life| life.first());
        first.is_some_and(|version| version.at < at)
    }

    /// The table as it was, in whatever life of it: for who judges a run, never for a query.
    pub(super) fn ever(&self, name: &Name, at: Millis) -> Option<&Version> {
        let buried = self.buried.iter().filter(|b| b.name == *name).map(|b| &b.life);
        let lives = self.living.get(name).into_iter().chain(buried.rev());
        lives
            .filter_map(|life| life.iter().rfind(|version| version.at <= at))
            .max_by_key(|version| version.at)
    }

    /// The table as it was, also if it has been dropped since or has expired, or if another has its name: then the
    /// second is true.
    pub(super) fn even_if_gone(&self, name: &Name, at: Millis, now: Millis) -> Result<(&Version, bool), Trouble> {
        let message = |why: String| format!("Invalid snapshot time {at} for table {}@{at}. {why}", name.told());
        let invalid = |why: String| Err(Trouble::of("invalid", message(why)));
        let mut buried = self.buried.iter().filter(|b| b.name == *name).peekable();
        let living = self.living.get(name);
        if living.is_none() && buried.peek().is_none() {
            return Err(self.missing(name));
        }
        // Whether a table behind a view can be reached is not documented: the worse is that it cannot.
        if let Some(view) = self.get(name).filter(|version| version.kind == Kind::View) {
            return Ok((view, false));
        }
        if at > now {
            return invalid("Cannot read from the future".to_owned());
        }
        if at < now - TIME_TRAVEL {
            return invalid(format!("Cannot read before {}", now - TIME_TRAVEL));
        }
        let of = |life: &'_ Life| life.iter().rposition(|version| version.at <= at);
        if let Some(version) = living.and_then(|life| life.get(of(life)?)) {
            return Ok((version, false));
        }
        let then = buried
            .filter(|b| at < b.since)
            .find_map(|b| Some((b.life.get(of(&b.life)?)?, true)));
        then.map_or_else(|| invalid("The table did not exist then".to_owned()), Ok)
    }

    /// The first instant that the table of this name can be read at.
    pub(super) fn oldest(&self, name: &Name, now: Millis) -> Millis {
        let first = self.living.get(name).and_then(|life| life.first());
        first.map_or(now, |version| version.at).max(now - TIME_TRAVEL)
    }

    /// Stores the next version of a table, or the first one.
    pub(super) fn put(&mut self, name: &Name, version: Version) {
        self.living.entry(name.clone()).or_default().push(version);
    }

    /// Stores new rows of a table that is there.
    pub(super) fn write(&mut self, name: &Name, rows: Vec<Cells>, now: Millis) {
        if let Some(version) = self.get(name).cloned() {
            let rows = Arc::new(rows);
            self.put(
                name,
                Version {
                    at: now,
                    modified: now,
                    rows,
                    ..version
                },
            );
        }
    }

    /// The table is gone, and with it who may see it.
    pub(super) fn bury(&mut self, name: &Name, now: Millis) {
        if let Some(life) = self.living.remove(name) {
            self.buried.push(Buried {
                name: name.clone(),
                life,
                since: now,
            });
            self.rights.forget(name);
        }
    }

    /// Lets everything expire whose time has come.
    pub(super) fn expire(&mut self, now: Millis) {
        let gone = |v: &Version| v.expires().is_some_and(|at| at <= now);
        let expired: Vec<Name> = self
            .all()
            .filter(|(_, v)| gone(v))
            .map(|(name, _)| name.clone())
            .collect();
        for name in expired {
            self.bury(&name, now);
        }
        let partly = self
            .all()
            .filter_map(|(name, v)| Some((name.clone(), v.living_rows(now)?, v.clone())));
        for (name, rows, version) in partly.collect::<Vec<_>>() {
            let rows = Arc::new(rows);
            self.put(
                &name,
                Version {
                    at: now,
                    rows,
                    ..version
                },
            );
        }
    }

    /// The defaults of its dataset, where a new table says nothing else.
    pub(super) fn default_options(&self, name: &Name, options: &mut Map<String, Value>, now: Millis) {
        let Some(dataset) = self.dataset(name) else { return };
        let mut of_partitions = false;
        if let Some(partitioning) = options.get_mut("timePartitioning").and_then(Value::as_object_mut)
            && let Some(ms) = dataset.partition_expires
        {
            partitioning.entry("expirationMs").or_insert(json!(ms.to_string()));
            of_partitions = true;
        }
        if let Some(ms) = dataset.table_expires.filter(|_| !of_partitions) {
            options.entry("expirationTime").or_insert(json!((now + ms).to_string()));
        }
    }

    /// `tables.get`.
    pub(super) fn resource(&self, name: &Name) -> Option<Value> {
        let version = self.get(name)?;
        let bytes: usize = version.rows.iter().flatten().map(|cell| cell.to_string().len()).sum();
        let mut table = json!({
            "kind": "bigquery#table",
            "id": name.told(),
            "tableReference": name.reference(),
            "type": version.kind.word(),
            "location": self.dataset(name)?.location,
            "schema": { "fields": *version.fields },
            "creationTime": version.created.to_string(),
            "lastModifiedTime": version.modified.to_string(),
        });
        if version.kind != Kind::View {
            table["numRows"] = json!(version.rows.len().to_string());
            table["numBytes"] = json!(bytes.to_string());
            table["numLongTermBytes"] = json!("0");
        }
        for (key, value) in &version.options {
            table[key] = value.clone();
        }
        if let Some((base, at)) = &version.origin {
            let (key, time) = match version.kind {
                Kind::Snapshot => ("snapshotDefinition", "snapshotTime"),
                _ => ("cloneDefinition", "cloneTime"),
            };
            table[key] = json!({ "baseTableReference": base.reference(), time: rfc3339(*at) });
        }
        // It changes whenever anything does.
        table["etag"] = json!(format!("{:x}.{:x}", version.modified, version.options.len()));
        Some(table)
    }

    /// `tables.patch`: what is given is set, null removes, also a single label.
    pub(super) fn patch(&mut self, name: &Name, body: &Map<String, Value>, now: Millis) -> Result<(), Trouble> {
        let mut version = self.find(name)?.clone();
        let bad = |what: String| Trouble::of("invalid", what);
        for (key, value) in body {
            match key.as_str() {
                "labels" => merge_labels(&mut version.options, value),
                "description" | "friendlyName" | "expirationTime" => set(&mut version.options, key, value),
                _ if version.kind == Kind::Snapshot => {
                    return Err(bad(format!(
                        "{key} of a table snapshot cannot be changed: {}",
                        name.told()
                    )));
                }
                "requirePartitionFilter" | "maxStaleness" | "defaultCollation" | "defaultRoundingMode" => {
                    set(&mut version.options, key, value);
                }
                "timePartitioning" => {
                    let before = version.layout().map(|part| part.cloned());
                    let mut partitioning = value.clone();
                    if let Some(fields) = partitioning.as_object_mut() {
                        fields.retain(|_, value| !value.is_null());
                    }
                    set(&mut version.options, key, &partitioning);
                    if before != version.layout().map(|part| part.cloned()) {
                        return Err(bad(format!(
                            "Cannot change partitioning spec for table {}",
                            name.told()
                        )));
                    }
                }
                "schema" => {
                    let fields = value
                        .get("fields")
                        .and_then(Value::as_array)
                        .cloned()
                        .unwrap_or_default();
                    let shape = |fields: &[Value]| -> Vec<[Value; 3]> {
                        fields
                            .iter()
                            .map(|f| ["name", "type", "mode"].map(|key| f[key].clone()))
                            .collect()
                    };
                    if shape(&fields) != shape(&version.fields) {
                        return Err(bad(format!("Provided Schema does not match Table {}.", name.told())));
                    }
                    version.fields = Arc::new(fields);
                }
                _ => return Err(bad(format!("this pretend BigQuery does not know how to patch `{key}`"))),
            }
        }
        self.put(
            name,
            Version {
                at: now,
                modified: now,
                ..version
            },
        );
        self.expire(now);
        Ok(())
    }
}

/// Sets a field of the API; null takes it away.
pub(super) fn set(options: &mut Map<String, Value>, key: &str, value: &Value) {
    match value {
        Value::Null => options.remove(key),
        value => options.insert(key.to_owned(), value.clone()),
    };
}

fn merge_labels(options: &mut Map<String, Value>, labels: &Value) {
    let Some(labels) = labels.as_object() else {
        options.remove("labels");
        return;
    };
    let mut all = options
        .get("labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (key, value) in labels {
        set(&mut all, key, value);
    }
    match all.is_empty() {
        true => options.remove("labels"),
        false => options.insert("labels".to_owned(), Value::Object(all)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name {
            project: "p".into(),
            dataset: "d".into(),
            table: "t".into(),
        }
    }

    fn tables() -> Tables {
        let mut tables = Tables::default();
        let dataset = Dataset {
            location: "US".into(),
            created: 0,
            description: None,
            table_expires: None,
            partition_expires: None,
        };
        tables.datasets.insert(("p".into(), "d".into()), dataset);
        let field = json!({ "name": "a", "type": "DATE", "mode": "NULLABLE" });
        tables.put(&name(), Version::new(Kind::Table, vec![field], 1000));
        tables
    }

    #[test]
    fn a_table_is_read_at_any_instant_of_its_life_and_no_other() {
        let mut tables = tables();
        tables.write(&name(), vec![vec![Datum::Null]], 2000);
        let rows = |tables: &Tables, at, now| {
            tables
                .as_of(&name(), at, now)
                .map(|v| v.rows.len())
                .map_err(|e| e.message)
        };
        assert_eq!(rows(&tables, 1999, 3000), Ok(0));
        assert_eq!(rows(&tables, 2000, 3000), Ok(1));
        assert!(
            rows(&tables, 999, 3000)
                .unwrap_err()
                .ends_with("Cannot read before 1000")
        );
        assert!(rows(&tables, 3001, 3000).unwrap_err().contains("future"));
        assert!(rows(&tables, 3000, 3001 + TIME_TRAVEL).is_err());
        tables.bury(&name(), 3500);
        tables.put(&name(), Version::new(Kind::Table, Vec::new(), 4000));
        assert!(
            rows(&tables, 2000, 5000)
                .unwrap_err()
                .ends_with("Cannot read before 4000")
        );
        assert_eq!(tables.ever(&name(), 2500).map(|v| v.rows.len()), Some(1));
    }

    #[test]
    fn a_patch_merges_and_null_removes() {
        let mut tables = tables();
        let patch = |tables: &mut Tables, body: Value, now| tables.patch(&name(), body.as_object().unwrap(), now);
        patch(
            &mut tables,
            json!({ "labels": { "a": "1", "b": "2" }, "description": "x" }),
            2000,
        )
        .unwrap();
        patch(
            &mut tables,
            json!({ "labels": { "a": null }, "description": null }),
            3000,
        )
        .unwrap();
        let now = tables.resource(&name()).unwrap();
        assert_eq!(
            (&now["labels"], &now["description"]),
            (&json!({ "b": "2" }), &Value::Null)
        );
        assert_eq!(
            (&now["creationTime"], &now["lastModifiedTime"]),
            (&json!("1000"), &json!("3000"))
        );
        assert!(patch(&mut tables, json!({ "schema": { "fields": [] } }), 4000).is_err());
        assert!(patch(&mut tables, json!({ "surprise": 1 }), 4000).is_err());
        patch(&mut tables, json!({ "expirationTime": "4000" }), 5000).unwrap();
        assert_eq!(tables.resource(&name()), None);
    }

    #[test]
    fn tables_and_partitions_expire_in_their_time() {
        let mut tables = tables();
        let day = |text: &str| vec![Datum::Text(text.into())];
        tables.write(
            &name(),
            vec![day("2026-01-01"), day("2026-01-03"), vec![Datum::Null]],
            2000,
        );
        let partitioning = json!({ "type": "DAY", "field": "a", "expirationMs": "86400000" });
        if let Some(version) = tables.living.get_mut(&name()).and_then(|life| life.last_mut()) {
            version.options.insert("timePartitioning".into(), partitioning);
            version.options.insert(
                "expirationTime".into(),
                json!(instant("2026-01-05").unwrap().to_string()),
            );
        }
        tables.expire(instant("2026-01-03").unwrap());
        assert_eq!(tables.get(&name()).map(|v| (v.rows.len(), v.modified)), Some((2, 2000)));
        tables.expire(instant("2026-01-05").unwrap());
        assert!(tables.get(&name()).is_none());
    }
}
