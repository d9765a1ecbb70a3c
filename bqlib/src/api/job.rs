//! Query jobs: what is sent, what comes back, and whether a job that is there is ours.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Rows;
use crate::meta::integer;
use crate::names::{DatasetRef, JobId, Location, ProjectId, TableRef, sha256_hex};
use crate::sql::FENCE_LABEL;

/// A query job to be sent.
#[derive(Clone, Debug)]
pub struct QueryJob {
    /// Its ID, computed by the caller: what makes a repeated insert harmless.
    pub id: JobId,
    /// Where it runs; absent: where BigQuery finds its tables.
    pub location: Option<Location>,
    /// GoogleSQL.
    pub sql: String,
    /// `queryParameters` of the API.
    pub params: Vec<Value>,
    /// Labels of the job.
    pub labels: BTreeMap<String, String>,
    /// How it runs.
    pub limits: Limits,
    /// No try to send it is made later than this, by BigQuery's clock.
    pub until: Option<Timestamp>,
    /// The table whose metadata it changes, for BigQuery's limit of such changes.
    pub changes: Option<TableRef>,
}

/// How a job runs.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Refused by BigQuery if it would bill more bytes.
    pub max_bytes_billed: Option<u64>,
    /// Ended by BigQuery, as far as it can, after this time.
    pub timeout: Option<Duration>,
    /// At batch priority.
    pub batch: bool,
    /// Worked out anew, though BigQuery may still have the rows of the same query.
    pub no_cache: bool,
    /// The dataset of names without one.
    pub default_dataset: Option<DatasetRef>,
}

impl QueryJob {
    /// A job of ours, with no parameters and no limits.
    pub fn plain(id: JobId, location: Option<Location>, sql: String, labels: BTreeMap<String, String>) -> QueryJob {
        QueryJob {
            id,
            location,
            sql,
            params: Vec::new(),
            labels,
            limits: Limits::default(),
            until: None,
            changes: None,
        }
    }

    /// The request's body.
    pub(super) fn body(&self, project: &ProjectId, dry_run: bool) -> Value {
        let mut query = json!({ "query": self.sql, "useLegacySql": false });
        if !self.params.is_empty() {
            let named = self.params.iter().all(|p| p.get("name").is_some());
            query["parameterMode"] = json!(if named { "NAMED" } else { "POSITIONAL" });
            query["queryParameters"] = json!(self.params);
        }
        if let Some(bytes) = self.limits.max_bytes_billed {
            query["maximumBytesBilled"] = json!(bytes.to_string());
        }
        if self.limits.batch {
            query["priority"] = json!("BATCH");
        }
        if self.limits.no_cache {
            query["useQueryCache"] = json!(false);
        }
        if let Some(dataset) = &self.limits.default_dataset {
            query["defaultDataset"] = json!({ "projectId": dataset.project, "datasetId": dataset.dataset });
        }
        let mut configuration = json!({ "query": query, "labels": self.labels });
        if let Some(timeout) = self.limits.timeout {
            configuration["jobTimeoutMs"] = json!(timeout.as_millis().to_string());
        }
        let mut reference = json!({ "projectId": project });
        if dry_run {
            configuration["dryRun"] = json!(true);
        } else {
            reference["jobId"] = json!(self.id);
        }
        if let Some(location) = &self.location {
            reference["location"] = json!(location);
        }
        json!({ "jobReference": reference, "configuration": configuration })
    }

    /// A digest of what makes a job of this ID ours: SQL, parameters, labels, and the dataset of names without one.
    pub fn digest(&self) -> String {
        let dataset = self.limits.default_dataset.as_ref().map(ToString::to_string);
        digest_of(json!([self.sql, self.params, self.labels]), dataset)
    }

    /// Whether a job that BigQuery has under our ID is this one: its SQL, parameters, labels and default dataset are ours.
    pub fn is(&self, job: &Job) -> bool {
        let query = |key: &str| job.get(&["configuration", "query", key]);
        let labels = job.get(&["configuration", "labels"]);
        let theirs: BTreeMap<String, String> = serde_json::from_value(labels.clone()).unwrap_or_default();
        let params = query("queryParameters").as_array().cloned().unwrap_or_default();
        let dataset = self.limits.default_dataset.as_ref().map(ToString::to_string);
        query("query").as_str() == Some(&self.sql)
            && theirs == self.labels
            && job.default_dataset() == dataset
            && params.len() == self.params.len()
            && params
                .iter()
                .zip(&self.params)
                .all(|(a, b)| a.get("name") == b.get("name"))
            && params
                .iter()
                .zip(&self.params)
                .all(|(a, b)| same_value(a.get("parameterValue"), b.get("parameterValue")))
    }
}

/// The digest of what makes a job ours; a default dataset counts where there is one, as in the journals of before it could be named.
fn digest_of(parts: Value, dataset: Option<String>) -> String {
    let parts = match (parts, dataset) {
        (Value::Array(mut parts), Some(dataset)) => {
            parts.push(json!({ "dataset": dataset }));
            Value::Array(parts)
        }
        (parts, _) => parts,
    };
    sha256_hex(&parts.to_string())
}

/// Whether two parameter values are the same, BigQuery's answer being allowed to add empty parts.
fn same_value(a: Option<&Value>, b: Option<&Value>) -> bool {
    fn bare(value: Option<&Value>) -> Value {
        match value {
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| (key.clone(), bare(Some(value))))
                .filter(|(_, value)| !value.is_null() && value.as_object().is_none_or(|parts| !parts.is_empty()))
                .collect::<Map<_, _>>()
                .into(),
            Some(Value::Array(list)) => list.iter().map(|v| bare(Some(v))).collect(),
            Some(other) => other.clone(),
            None => Value::Null,
        }
    }
    bare(a) == bare(b)
}

/// A job, and where a person finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlace {
    /// The project that it runs in.
    pub project: ProjectId,
    /// Its ID.
    pub id: JobId,
    /// Where it runs, if that is known.
    pub location: Option<Location>,
    /// Whether it is in Google's own BigQuery, which has a page for it.
    pub console: bool,
}

impl fmt::Display for JobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.id)?;
        let Some(location) = &self.location else {
            return Ok(());
        };
        write!(f, " in {location}")?;
        if self.console {
            let (project, id) = (&self.project, &self.id);
            write!(
                f,
                ", https://console.cloud.google.com/bigquery?project={project}&j=bq:{location}:{id}&page=queryresults"
            )?;
        }
        Ok(())
    }
}

/// An error that a job ended with.
#[derive(Clone, Debug, PartialEq)]
pub struct JobError {
    /// The reason word.
    pub reason: String,
    /// The message, and its place in the SQL if BigQuery gave one.
    pub message: String,
    /// The job, if it is known which.
    pub job: Option<JobPlace>,
}

/// A job as BigQuery tells of it.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) resource: Map<String, Value>,
    /// The rows that came with the answer that it had ended: the first ones of a query, where they were asked for.
    pub(super) rows: Option<Rows>,
}

impl Job {
    pub(crate) fn of(resource: Map<String, Value>) -> Job {
        Job { resource, rows: None }
    }

    /// A part of the resource; null if it is not there.
    pub fn get(&self, path: &[&str]) -> &Value {
        let Some((first, rest)) = path.split_first() else {
            return &Value::Null;
        };
        let start = self.resource.get(*first).unwrap_or(&Value::Null);
        rest.iter()
            .fold(start, |value, key| value.get(key).unwrap_or(&Value::Null))
    }

    /// The same job, where its answer does not say which it is: it is looked up by ID and location, and without them nowhere.
    pub(super) fn known_as(mut self, id: &JobId, location: Option<&Location>) -> Job {
        let reference = self.resource.entry("jobReference").or_insert_with(|| json!({}));
        if let Value::Object(reference) = reference {
            reference.entry("jobId").or_insert_with(|| json!(id));
            if let Some(location) = location {
                reference.entry("location").or_insert_with(|| json!(location));
            }
        }
        self
    }

    /// The first row of what it found, if that came with the answer that it had ended.
    pub fn first_row(&self) -> Option<&Map<String, Value>> {
        self.rows.as_ref()?.first()
    }

    fn number(&self, path: &[&str]) -> Option<u64> {
        integer(self.get(path))
    }

    /// What [`QueryJob::digest`] was when it was sent, as far as its resource tells.
    pub fn digest(&self) -> String {
        let configuration = |path: &[&str], none: Value| match self.get(&[&["configuration"], path].concat()) {
            Value::Null => none,
            there => there.clone(),
        };
        let sql = configuration(&["query", "query"], json!(""));
        let params = configuration(&["query", "queryParameters"], json!([]));
        let parts = json!([sql, params, configuration(&["labels"], json!({}))]);
        digest_of(parts, self.default_dataset())
    }

    /// The dataset of names without one, as `project.dataset`.
    fn default_dataset(&self) -> Option<String> {
        let dataset = self.get(&["configuration", "query", "defaultDataset"]);
        let project = dataset.get("projectId").and_then(Value::as_str);
        // Where it says no project it is the job's own.
        let project = project.or_else(|| self.get(&["jobReference", "projectId"]).as_str());
        Some(format!("{}.{}", project?, dataset.get("datasetId")?.as_str()?))
    }

    /// Its ID, if the resource has a valid one.
    pub fn id(&self) -> Option<JobId> {
        self.get(&["jobReference", "jobId"]).as_str()?.parse().ok()
    }

    /// Where it runs.
    pub fn location(&self) -> Option<Location> {
        self.get(&["jobReference", "location"]).as_str()?.parse().ok()
    }

    /// Whether it only takes an ID, so that no migration can have it.
    pub fn is_fence(&self) -> bool {
        !self.get(&["configuration", "labels", FENCE_LABEL]).is_null()
    }

    /// Whether it is a query or statement, and no copy or load.
    pub fn is_query(&self) -> bool {
        let other = |kind: &str| !self.get(&["configuration", kind]).is_null();
        !other("copy") && !other("load")
    }

    /// Whether it has ended, well or not.
    pub fn is_done(&self) -> bool {
        self.get(&["status", "state"]).as_str() == Some("DONE")
    }

    /// Why it failed. `status.errors` are not asked: of a job that ended well they are warnings.
    pub fn error(&self) -> Option<JobError> {
        let error = self.get(&["status", "errorResult"]);
        error.is_object().then(|| JobError {
            reason: error.get("reason").and_then(Value::as_str).unwrap_or("").to_owned(),
            message: error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("no message")
                .to_owned()
                + &self.bad_rows(),
            job: None,
        })
    }

    /// Of a load that failed: what BigQuery says of the rows themselves, where its one message only counts them.
    fn bad_rows(&self) -> String {
        const TOLD: usize = 3;
        if self.get(&["configuration", "load"]).is_null() {
            return String::new();
        }
        let said = self.get(&["status", "errorResult", "message"]);
        let errors = self
            .get(&["status", "errors"])
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let messages = errors.iter().filter_map(|error| error.get("message"));
        let messages: Vec<&str> = messages
            .filter(|text| *text != said)
            .filter_map(Value::as_str)
            .collect();
        let more = match messages.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        messages
            .iter()
            .take(TOLD)
            .map(|text| format!("; {text}"))
            .collect::<String>()
            + &more
    }

    /// BigQuery's `statementType`; `SCRIPT` for several statements.
    pub fn statement_type(&self) -> &str {
        self.get(&["statistics", "query", "statementType"])
            .as_str()
            .unwrap_or("")
    }

    /// How many child jobs it had.
    pub fn children(&self) -> u64 {
        self.number(&["statistics", "numChildJobs"]).unwrap_or(0)
    }

    /// When BigQuery made it, in milliseconds since 1970.
    pub fn created_ms(&self) -> Option<u64> {
        self.number(&["statistics", "creationTime"])
    }

    /// When it started, in milliseconds since 1970.
    pub fn started_ms(&self) -> Option<u64> {
        self.number(&["statistics", "startTime"])
    }

    /// When it ended, in milliseconds since 1970.
    pub fn ended_ms(&self) -> Option<u64> {
        self.number(&["statistics", "endTime"])
    }

    /// From start to end in milliseconds.
    pub fn ms(&self) -> Option<u64> {
        Some(self.ended_ms()?.saturating_sub(self.started_ms()?))
    }

    /// Slot time in milliseconds.
    pub fn slot_ms(&self) -> Option<u64> {
        self.number(&["statistics", "totalSlotMs"])
            .or_else(|| self.number(&["statistics", "query", "totalSlotMs"]))
    }

    /// Bytes billed.
    pub fn bytes_billed(&self) -> Option<u64> {
        self.number(&["statistics", "query", "totalBytesBilled"])
    }

    /// Whether the rows are those of an earlier query.
    pub fn is_from_cache(&self) -> bool {
        self.get(&["statistics", "query", "cacheHit"]) == &Value::Bool(true)
    }

    /// The tables that it reads, as `project.dataset.table`: of fifty or more not all.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2>.
    pub fn reads(&self) -> BTreeSet<String> {
        let tables = self.get(&["statistics", "query", "referencedTables"]).as_array();
        let part = |table: &Value, key: &str| table.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let name = |table| {
            ["projectId", "datasetId", "tableId"]
                .map(|key| part(table, key))
                .join(".")
        };
        tables.into_iter().flatten().map(name).collect()
    }

    /// Bytes that a query processed, or that a dry run expects to.
    pub fn bytes_processed(&self) -> Option<u64> {
        self.number(&["statistics", "query", "totalBytesProcessed"])
            .or_else(|| self.number(&["statistics", "totalBytesProcessed"]))
    }

    /// Rows inserted, updated, deleted by DML.
    pub fn dml(&self) -> (Option<u64>, Option<u64>, Option<u64>) {
        let stat = |key| self.number(&["statistics", "query", "dmlStats", key]);
        (
            stat("insertedRowCount"),
            stat("updatedRowCount"),
            stat("deletedRowCount"),
        )
    }

    /// The table that the job wrote, made, altered or dropped. A query's own temporary result table does not count.
    pub fn written(&self) -> Option<TableRef> {
        let target = match self.get(&["statistics", "query", "ddlTargetTable"]) {
            Value::Null if self.statement_type() != "SELECT" => {
                self.get(&["configuration", "query", "destinationTable"])
            }
            target => target,
        };
        table_of(target)
    }
}

impl Job {
    /// The routine that it made, replaced or dropped.
    pub fn routine(&self) -> Option<TableRef> {
        let routine = self.get(&["statistics", "query", "ddlTargetRoutine"]);
        let part = |key: &str| routine.get(key).and_then(Value::as_str);
        Some(TableRef {
            project: part("projectId")?.parse().ok()?,
            dataset: part("datasetId")?.parse().ok()?,
            table: part("routineId")?.parse().ok()?,
        })
    }

    /// The dataset that it made, altered or dropped.
    pub fn dataset(&self) -> Option<DatasetRef> {
        let dataset = self.get(&["statistics", "query", "ddlTargetDataset"]);
        let part = |key: &str| dataset.get(key).and_then(Value::as_str);
        Some(DatasetRef {
            project: part("projectId")?.parse().ok()?,
            dataset: part("datasetId")?.parse().ok()?,
        })
    }
}

/// A table reference of the API (`projectId`, `datasetId`, `tableId`).
pub fn table_of(reference: &Value) -> Option<TableRef> {
    let part = |key: &str| reference.get(key).and_then(Value::as_str);
    // Partition decorators name a part of the table; it is the table that was written.
    let table = part("tableId")?;
    let table = table.split_once('$').map_or(table, |(table, _)| table);
    Some(TableRef {
        project: part("projectId")?.parse().ok()?,
        dataset: part("datasetId")?.parse().ok()?,
        table: table.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> QueryJob {
        let labels = BTreeMap::from([("bq-rollback-run".to_owned(), "r".to_owned())]);
        let mut job = QueryJob::plain("j".parse().unwrap(), None, "SELECT @a".into(), labels);
        job.params = vec![json!({"name": "a", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}})];
        job
    }

    fn theirs(change: impl Fn(&mut Value)) -> Job {
        let mut resource = ours().body(&"p".parse().unwrap(), false);
        change(&mut resource);
        Job::of(resource.as_object().unwrap().clone())
    }

    #[test]
    fn a_job_is_ours_only_by_sql_parameters_and_labels() {
        assert!(ours().is(&theirs(|_| ())));
        assert_eq!(ours().digest(), theirs(|_| ()).digest());
        assert!(ours().is(&theirs(
            |job| job["configuration"]["query"]["queryParameters"][0]["parameterValue"]["structValues"] =
                json!({}).get("x").cloned().unwrap_or_default()
        )));
        assert!(!ours().is(&theirs(|job| job["configuration"]["query"]["query"] = json!("SELECT 2"))));
        assert!(!ours().is(&theirs(
            |job| job["configuration"]["labels"]["bq-rollback-run"] = json!("s")
        )));
        assert!(!ours().is(&theirs(|job| job["configuration"]["labels"]["x"] = json!("y"))));
        assert!(!ours().is(&theirs(
            |job| job["configuration"]["query"]["queryParameters"][0]["parameterValue"]["value"] = json!("2")
        )));
        assert!(!ours().is(&theirs(
            |job| job["configuration"]["query"]["queryParameters"] = json!([])
        )));
    }

    #[test]
    fn the_same_words_in_another_dataset_are_another_job() {
        let dataset = |name: &str| DatasetRef::parse(name, &"p".parse().unwrap()).ok();
        let mut in_dataset = ours();
        in_dataset.limits.default_dataset = dataset("d");
        let there = |told: Value| theirs(|job| job["configuration"]["query"]["defaultDataset"] = told.clone());
        let told = in_dataset.body(&"p".parse().unwrap(), false)["configuration"]["query"]["defaultDataset"].clone();
        assert_eq!(told, json!({"projectId": "p", "datasetId": "d"}));
        assert!(in_dataset.is(&there(told.clone())) && in_dataset.is(&there(json!({"datasetId": "d"}))));
        assert_eq!(in_dataset.digest(), there(told.clone()).digest());
        assert!(!in_dataset.is(&theirs(|_| ())) && !ours().is(&there(told)));
        for other in [json!({"datasetId": "e"}), json!({"projectId": "q", "datasetId": "d"})] {
            assert!(!in_dataset.is(&there(other.clone())));
            assert_ne!(in_dataset.digest(), there(other).digest());
        }
    }

    #[test]
    fn what_a_query_reads_and_whether_it_was_worked_out_anew() {
        let mut job = ours();
        assert_eq!(
            job.body(&"p".parse().unwrap(), false)["configuration"]["query"].get("useQueryCache"),
            None
        );
        job.limits.no_cache = true;
        let body = job.body(&"p".parse().unwrap(), false);
        assert_eq!(body["configuration"]["query"]["useQueryCache"], json!(false));
        let table = |name: &str| json!({"projectId": "p", "datasetId": "d", "tableId": name});
        let told = theirs(|job| {
            job["statistics"] = json!({"query": {"referencedTables": [table("b"), table("a")], "cacheHit": true}});
        });
        assert_eq!(told.reads(), BTreeSet::from(["p.d.a".to_owned(), "p.d.b".to_owned()]));
        assert!(told.is_from_cache() && !theirs(|_| ()).is_from_cache());
        assert!(theirs(|_| ()).reads().is_empty());
    }

    #[test]
    fn a_dry_run_claims_no_id() {
        let body = ours().body(&"p".parse().unwrap(), true);
        assert_eq!(body["jobReference"], json!({"projectId": "p"}));
        assert_eq!(body["configuration"]["dryRun"], json!(true));
    }

    #[test]
    fn a_load_that_failed_says_which_rows_were_bad() {
        let job = |kind: &str, errors: Value| {
            let status = json!({"state": "DONE", "errorResult": {"reason": "invalid", "message": "1 bad row"}, "errors": errors});
            let resource = json!({"status": status, "configuration": {kind: {}}});
            Job::of(resource.as_object().unwrap().clone()).error().unwrap().message
        };
        let message = |text: &str| json!({"reason": "invalid", "message": text});
        let errors = json!([message("1 bad row"), message("line 7: no number")]);
        assert_eq!(job("load", errors.clone()), "1 bad row; line 7: no number");
        assert_eq!(job("query", errors), "1 bad row");
        assert_eq!(job("load", Value::Null), "1 bad row");
        let many: Vec<Value> = (1..=5).map(|line| message(&line.to_string())).collect();
        assert_eq!(job("load", json!(many)), "1 bad row; 1; 2; 3; and 2 more");
    }

    #[test]
    fn the_table_written_is_no_querys_result() {
        let job = |statement: &str| {
            Job::of(json!({
                "statistics": {"query": {"statementType": statement}},
                "configuration": {"query": {"destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "t$20260101"}}},
            })
            .as_object()
            .unwrap()
            .clone())
        };
        assert_eq!(job("SELECT").written(), None);
        assert_eq!(job("INSERT").written().unwrap().to_string(), "p.d.t");
    }
}
