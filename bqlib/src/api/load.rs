//! Load jobs: a file of this machine into a table. How its bytes travel is `upload`'s.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::job::Job;
use super::work::Work;
use crate::names::{JobId, Location, ProjectId, TableRef, sha256_hex};

/// The label of a load job that says which file it loads, and how.
const FILE_LABEL: &str = "bq-rollback-file";

/// A file that is sent with a job, as it was when its digest was taken.
#[derive(Clone)]
pub struct Media {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// When it was last written.
    pub modified: Option<SystemTime>,
    /// The digest of its bytes.
    pub sha256: String,
    /// Is told how many of its bytes have arrived.
    pub progress: Rc<dyn Fn(u64)>,
}

impl Media {
    #[cfg(test)]
    pub(super) fn of(path: &Path) -> io::Result<Media> {
        let about = path.metadata()?;
        Ok(Media {
            path: path.to_owned(),
            bytes: about.len(),
            modified: about.modified().ok(),
            sha256: String::new(),
            progress: Rc::new(|_| ()),
        })
    }

    /// So many of its bytes, from there on; fewer at its end.
    ///
    /// # Errors
    /// It cannot be read, or it is not what it was.
    pub(super) fn read(&self, from: u64, most: u64) -> Result<Bytes, String> {
        let piece = || -> io::Result<Option<Vec<u8>>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut piece = Vec::new();
            let wanted = most.min(self.bytes - from);
            file.by_ref().take(wanted).read_to_end(&mut piece)?;
            let about = file.metadata()?;
            let same = about.len() == self.bytes && about.modified().ok() == self.modified;
            Ok((same && piece.len() as u64 == wanted).then_some(piece))
        };
        match piece() {
            Ok(Some(piece)) => Ok(piece.into()),
            Ok(None) => Err(format!("{} has changed while it was read", self.path.display())),
            Err(e) => Err(format!("{}: {e}", self.path.display())),
        }
    }
}

/// A job that loads a file into a table, which the first of several makes.
#[derive(Clone)]
pub struct LoadJob {
    /// Its ID.
    pub id: JobId,
    /// Where it runs.
    pub location: Option<Location>,
    /// Into this table.
    pub to: TableRef,
    /// `configuration.load` but for the destination: schema, layout, and how the file is read.
    pub settings: Map<String, Value>,
    /// Whether it makes the table; else it adds to the rows that are there.
    pub first: bool,
    /// The file.
    pub file: Media,
    /// Labels of the job.
    pub labels: BTreeMap<String, String>,
}

impl LoadJob {
    fn load(&self) -> Value {
        let mut load = self.settings.clone();
        let (project, dataset) = (&self.to.project, &self.to.dataset);
        let to = json!({ "projectId": project, "datasetId": dataset, "tableId": self.to.table });
        load.insert("destinationTable".to_owned(), to);
        // What a first part has made is added to by the others; gone, it is not made anew of a part.
        let (create, write) = match self.first {
            true => ("CREATE_IF_NEEDED", "WRITE_EMPTY"),
            false => ("CREATE_NEVER", "WRITE_APPEND"),
        };
        load.insert("createDisposition".to_owned(), json!(create));
        load.insert("writeDisposition".to_owned(), json!(write));
        Value::Object(load)
    }

    /// Its labels, among them one that no load of another file, or in another way, has.
    fn labels(&self) -> BTreeMap<String, String> {
        let file = json!([self.file.path.display().to_string(), self.file.bytes, self.file.sha256]);
        let digest = sha256_hex(&json!([file, self.load()]).to_string());
        let mut labels = self.labels.clone();
        // A label's value has 63 characters at most.
        labels.insert(FILE_LABEL.to_owned(), digest.chars().take(60).collect());
        labels
    }
}

impl Work for LoadJob {
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
        json!({ "jobReference": reference, "configuration": { "load": self.load(), "labels": self.labels() } })
    }

    fn digest(&self) -> String {
        sha256_hex(&json!([self.load(), self.labels()]).to_string())
    }

    fn is(&self, job: &Job) -> bool {
        let labels = serde_json::from_value(job.get(&["configuration", "labels"]).clone());
        let ours = self.load();
        let same = |key: &str| {
            let there = job.get(&["configuration", "load", "destinationTable", key]);
            *there == ours["destinationTable"][key]
        };
        labels.is_ok_and(|labels: BTreeMap<String, String>| labels == self.labels())
            && ["projectId", "datasetId", "tableId"].into_iter().all(same)
            && *job.get(&["configuration", "load", "sourceFormat"]) == ours["sourceFormat"]
    }

    fn media(&self) -> Option<&Media> {
        Some(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> LoadJob {
        LoadJob {
            id: "j".parse().unwrap(),
            location: Some("EU".parse().unwrap()),
            to: TableRef::parse("p.d.t", None).unwrap(),
            settings: json!({"sourceFormat": "CSV"}).as_object().unwrap().clone(),
            first: true,
            file: Media {
                path: "/backups/t.csv".into(),
                bytes: 3,
                modified: None,
                sha256: "abc".to_owned(),
                progress: Rc::new(|_| ()),
            },
            labels: BTreeMap::from([("bq-rollback-run".to_owned(), "r".to_owned())]),
        }
    }

    #[test]
    fn a_load_is_ours_by_its_table_and_its_file() {
        let there = load().body(&"p".parse().unwrap());
        assert!(there["configuration"]["labels"][FILE_LABEL].as_str().unwrap().len() <= 63);
        let job = Job::of(there.as_object().unwrap().clone());
        assert!(load().is(&job));
        type Change = fn(&mut LoadJob);
        let changes: [Change; 6] = [
            |job| job.file.sha256 = "abd".to_owned(),
            |job| job.file.bytes = 4,
            |job| job.file.path = "/backups/u.csv".into(),
            |job| job.to = TableRef::parse("p.d.u", None).unwrap(),
            |job| job.first = false,
            |job| job.labels.clear(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = load();
            change(&mut other);
            assert!(!other.is(&job), "{number}");
            assert_ne!(other.digest(), load().digest(), "{number}");
        }
    }

    #[test]
    fn a_file_that_changes_is_not_read_on() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("t.csv");
        std::fs::write(&path, "0123456789").unwrap();
        let media = Media::of(&path).unwrap();
        assert_eq!(media.read(2, 3).unwrap(), "234");
        assert_eq!(media.read(8, 5).unwrap(), "89");
        std::fs::write(&path, "01234567890").unwrap();
        assert!(media.read(2, 3).unwrap_err().contains("has changed"));
        std::fs::remove_file(&path).unwrap();
        assert!(media.read(2, 3).is_err());
    }
}
