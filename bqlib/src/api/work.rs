//! What a job is to the code that sends, journals and finds it again, whatever it does; and copy jobs, which no statement can replace.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationTableCopy>.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::job::{Job, QueryJob};
use super::load::Media;
use crate::names::{JobId, Location, ProjectId, TableRef, sha256_hex};

/// A job that can be sent.
pub trait Work {
    /// Its ID, computed by the caller: what makes a repeated insert harmless.
    fn id(&self) -> &JobId;

    /// Where it runs; absent: where BigQuery finds its tables.
    fn location(&self) -> Option<&Location>;

    /// The request's body.
    fn body(&self, project: &ProjectId) -> Value;

    /// A digest of what makes a job of this ID ours.
    fn digest(&self) -> String;

    /// Whether a job that BigQuery has under our ID is this one.
    fn is(&self, job: &Job) -> bool;

    /// No try to send it is made later than this, by BigQuery's clock.
    fn until(&self) -> Option<Timestamp> {
        None
    }

    /// The table whose metadata it changes, for BigQuery's limit of such changes.
    fn changes(&self) -> Option<&TableRef> {
        None
    }

    /// The file that is sent with it.
    fn media(&self) -> Option<&Media> {
        None
    }
}

impl Work for QueryJob {
    fn id(&self) -> &JobId {
        &self.id
    }

    fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    fn body(&self, project: &ProjectId) -> Value {
        QueryJob::body(self, project, false)
    }

    fn digest(&self) -> String {
        QueryJob::digest(self)
    }

    fn is(&self, job: &Job) -> bool {
        QueryJob::is(self, job)
    }

    fn until(&self) -> Option<Timestamp> {
        self.until
    }

    fn changes(&self) -> Option<&TableRef> {
        self.changes.as_ref()
    }
}

/// A job that copies a table as it was at an instant, also one that is gone: no statement can name it then.
/// Source: <https://docs.cloud.google.com/bigquery/docs/restore-deleted-tables>.
#[derive(Clone, Debug)]
pub struct CopyJob {
    /// Its ID.
    pub id: JobId,
    /// Where it runs.
    pub location: Option<Location>,
    /// What it copies.
    pub from: TableRef,
    /// As it was at this instant.
    pub at: Timestamp,
    /// To a table that must not be there.
    pub to: TableRef,
    /// When that table expires.
    pub expires: Option<Timestamp>,
    /// Labels of the job (a copy job cannot label its table).
    pub labels: BTreeMap<String, String>,
}

impl CopyJob {
    /// `configuration.copy`.
    fn copy(&self) -> Value {
        let reference = |table: &TableRef, name: &str| json!({"projectId": table.project, "datasetId": table.dataset, "tableId": name});
        let source = format!("{}@{}", self.from.table, self.at.as_millisecond());
        let mut copy = json!({
            "sourceTable": reference(&self.from, &source),
            "destinationTable": reference(&self.to, self.to.table.as_str()),
            "createDisposition": "CREATE_IF_NEEDED",
            "writeDisposition": "WRITE_EMPTY",
            "operationType": "COPY",
        });
        if let Some(at) = self.expires {
            copy["destinationExpirationTime"] = json!(at.to_string());
        }
        copy
    }
}

impl Work for CopyJob {
    fn id(&self) -> &JobId {
        &self.id
    }

    fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    fn body(&self, project: &ProjectId) -> Value {
        let mut reference = json!({ "projectId": project, "jobId": self.id });
        if let Some(location) = &self.location {
            reference["location"] = json!(location);
        }
        json!({ "jobReference": reference, "configuration": { "copy": self.copy(), "labels": self.labels } })
    }

    fn digest(&self) -> String {
        sha256_hex(&json!([self.copy(), self.labels]).to_string())
    }

    fn is(&self, job: &Job) -> bool {
        let labels = serde_json::from_value(job.get(&["configuration", "labels"]).clone());
        let same_table = |key: &str| {
            let there = job.get(&["configuration", "copy", key]);
            // One source comes back as a list of one, if BigQuery likes.
            let only = job.get(&["configuration", "copy", "sourceTables"]).get(0);
            let ours = &self.copy()[key];
            let part = |name: &str| ours[name] == there[name] || only.is_some_and(|only| ours[name] == only[name]);
            ["projectId", "datasetId", "tableId"].into_iter().all(part)
        };
        labels.is_ok_and(|labels: BTreeMap<String, String>| labels == self.labels)
            && same_table("sourceTable")
            && same_table("destinationTable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(ms: i64) -> CopyJob {
        CopyJob {
            id: "j".parse().unwrap(),
            location: Some("EU".parse().unwrap()),
            from: TableRef::parse("p.d.t", None).unwrap(),
            at: Timestamp::from_millisecond(ms).unwrap(),
            to: TableRef::parse("p.d.u", None).unwrap(),
            expires: Some(Timestamp::from_millisecond(86_400_000).unwrap()),
            labels: BTreeMap::from([("bq-rollback-run".to_owned(), "r".to_owned())]),
        }
    }

    fn theirs(change: impl Fn(&mut Value)) -> Job {
        let mut resource = copy(1).body(&"p".parse().unwrap());
        change(&mut resource);
        Job::of(resource.as_object().unwrap().clone())
    }

    #[test]
    fn a_copy_is_of_an_instant() {
        let body = copy(1_700_000_000_123).body(&"p".parse().unwrap());
        assert_eq!(
            body["jobReference"],
            json!({"projectId": "p", "jobId": "j", "location": "EU"})
        );
        let copy = &body["configuration"]["copy"];
        assert_eq!(copy["sourceTable"]["tableId"], "t@1700000000123");
        assert_eq!(copy["writeDisposition"], "WRITE_EMPTY");
        assert_eq!(copy["destinationExpirationTime"], "1970-01-02T00:00:00Z");
    }

    #[test]
    fn a_copy_is_ours_by_tables_instant_and_labels() {
        assert!(copy(1).is(&theirs(|_| ())));
        assert!(!copy(2).is(&theirs(|_| ())));
        assert!(!copy(1).is(&theirs(|job| job["configuration"]["labels"]["x"] = json!("y"))));
        assert!(!copy(1).is(&theirs(
            |job| job["configuration"]["copy"]["destinationTable"]["tableId"] = json!("v")
        )));
        assert!(copy(1).is(&theirs(|job| {
            let copy = &mut job["configuration"]["copy"];
            let source = copy["sourceTable"].take();
            copy["sourceTables"] = json!([source]);
        })));
        assert!(!copy(1).is(&theirs(|job| job["configuration"]["copy"] = json!(null))));
        assert_ne!(copy(1).digest(), copy(2).digest());
    }
}
