//! Paths to answers: BigQuery's REST, as far as our programs use it. Knows HTTP and no SQL.

use serde_json::{Value, json};
use std::borrow::Cow;

use super::State;
use super::engine;
use super::grammar::parse;
use super::jobs::{Asked, Job, State as JobState};
use super::sql::Name;
use super::values::Trouble;
use crate::conformance::{decoded, parameters};
use crate::faults::google_error;

/// The longest that a call which waits for a job takes, in milliseconds of the world's clock.
const LONGEST_WAIT: i64 = 200;

/// What a path ends with that asks for rights.
const TEST: &str = ":testIamPermissions";

/// And those that ask for the table's IAM policy, and set it.
const GET_IAM: &str = ":getIamPolicy";
const SET_IAM: &str = ":setIamPolicy";

/// A status and a body.
pub(super) type Answered = (u16, Value);

/// A request, taken apart.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Below `/bigquery/v2/projects`.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
}

impl<'a> Request<'a> {
    /// Absent: it is not a path of BigQuery's.
    pub(super) fn of(method: &'a str, target: &str, body: &[u8]) -> Option<Request<'a>> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let path = path.strip_prefix("/bigquery/v2/projects/")?;
        let owned = |(key, value): (Cow<str>, Cow<str>)| (key.into_owned(), value.into_owned());
        Some(Request {
            method,
            path: path.split('/').map(|part| decoded(part).into_owned()).collect(),
            query: parameters(target).map(owned).collect(),
            body: serde_json::from_slice(body).unwrap_or_default(),
        })
    }

    fn asked(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.asked(key)?.parse().ok()
    }

    /// The part of a list that this page has, and the token of the next.
    fn page<T>(&self, all: Vec<T>) -> (Vec<T>, Option<String>) {
        let from = self.number("pageToken").unwrap_or(0);
        let most = self.number("maxResults").unwrap_or(usize::MAX);
        let next = from.saturating_add(most);
        let token = (next < all.len()).then(|| next.to_string());
        (all.into_iter().skip(from).take(most).collect(), token)
    }
}

/// A location by its one name: BigQuery answers `US` for `us`, and `us-central1` for `US-Central1`.
pub(super) fn location(text: &str) -> String {
    match text.to_ascii_uppercase() {
        upper if upper == "US" || upper == "EU" => upper,
        other => other.to_ascii_lowercase(),
    }
}

fn error(code: u16, reason: &str, message: &str) -> Answered {
    (code, google_error(code, Some(reason), Some(message)))
}

fn troubled(trouble: &Trouble) -> Answered {
    let code = match trouble.reason.as_str() {
        "notFound" => 404,
        "duplicate" => 409,
        "accessDenied" | "quotaExceeded" | "rateLimitExceeded" | "responseTooLarge" => 403,
        "internalError" => 500,
        "backendError" => 503,
        "stopped" => 499,
        _ => 400,
    };
    error(code, &trouble.reason, &trouble.message)
}

impl State {
    /// Answers one request.
    pub(super) fn route(&mut self, request: &Request) -> Answered {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let name = |project: &str, dataset: &str, table: &str| Name {
            project: project.to_owned(),
            dataset: dataset.to_owned(),
            table: table.to_owned(),
        };
        if let [_, "jobs" | "queries", id] | [_, "jobs", id, "cancel"] = path.as_slice() {
            self.watch.looked_up(id, request.asked("location"));
        }
        match (request.method, path.as_slice()) {
            ("GET", [project, "datasets"]) => self.list_datasets(request, project),
            ("GET", [project, "datasets", dataset]) => self.get_dataset(project, dataset),
            ("GET", [project, "datasets", dataset, "tables"]) => self.list_tables(request, project, dataset),
            ("POST", [project, "datasets", dataset, "tables"]) => self.insert_table(project, dataset, &request.body),
            ("POST", [project, "datasets", dataset, "tables", method]) if method.ends_with(TEST) => {
                let table = method.strip_suffix(TEST).unwrap_or(method);
                self.test_permissions(&name(project, dataset, table), &request.body)
            }
            ("POST", [project, "datasets", dataset, "tables", method]) if method.ends_with(GET_IAM) => {
                let table = method.strip_suffix(GET_IAM).unwrap_or(method);
                self.get_iam(&name(project, dataset, table))
            }
            ("POST", [project, "datasets", dataset, "tables", method]) if method.ends_with(SET_IAM) => {
                let table = method.strip_suffix(SET_IAM).unwrap_or(method);
                self.set_iam(&name(project, dataset, table), &request.body)
            }
            ("GET", [project, "datasets", dataset, "tables", table, "rowAccessPolicies"]) => {
                self.list_policies(request, &name(project, dataset, table))
            }
            // This world has neither.
            ("GET", [project, "datasets", dataset, kind @ ("routines" | "models"), name]) => {
                let kind = if *kind == "routines" { "Routine" } else { "Model" };
                error(
                    404,
                    "notFound",
                    &format!("Not found: {kind} {project}:{dataset}.{name}"),
                )
            }
            ("GET", [project, "datasets", dataset, "tables", table]) => self.get_table(&name(project, dataset, table)),
            ("PATCH", [project, "datasets", dataset, "tables", table]) => {
                self.patch_table(&name(project, dataset, table), &request.body)
            }
            ("POST", [project, "jobs"]) => self.insert_job(project, &request.body),
            ("GET", [project, "jobs"]) => self.list_jobs(request, project),
            ("GET", [project, "jobs", id]) => match self.job(request, project, id) {
                Ok(job) => (200, job.resource()),
                Err(missing) => missing,
            },
            ("POST", [project, "jobs", id, "cancel"]) => self.cancel_job(request, project, id),
            ("GET", [project, "queries", id]) => self.results(request, project, id),
            _ => {
                let what = format!(
                    "this pretend BigQuery does not know {} {}",
                    request.method,
                    path.join("/")
                );
                error(501, "notImplemented", &what)
            }
        }
    }

    fn list_datasets(&self, request: &Request, project: &str) -> Answered {
        let ours = self.tables.datasets.iter().filter(|((p, _), _)| p == project);
        let entry = |((project, dataset), d): (&(String, String), &super::tables::Dataset)| {
            json!({
                "kind": "bigquery#dataset",
                "id": format!("{project}:{dataset}"),
                "datasetReference": { "projectId": project, "datasetId": dataset },
                "location": d.location,
            })
        };
        let (datasets, next) = request.page(ours.map(entry).collect());
        listed(json!({ "kind": "bigquery#datasetList", "datasets": datasets }), next)
    }

    fn get_dataset(&self, project: &str, dataset: &str) -> Answered {
        let Some(found) = self.tables.datasets.get(&(project.to_owned(), dataset.to_owned())) else {
            return error(404, "notFound", &format!("Not found: Dataset {project}:{dataset}"));
        };
        let mut resource = json!({
            "kind": "bigquery#dataset",
            "id": format!("{project}:{dataset}"),
            "datasetReference": { "projectId": project, "datasetId": dataset },
            "location": found.location,
            "creationTime": found.created.to_string(),
            "lastModifiedTime": found.created.to_string(),
        });
        for (key, ms) in [
            ("defaultTableExpirationMs", found.table_expires),
            ("defaultPartitionExpirationMs", found.partition_expires),
        ] {
            if let Some(ms) = ms {
                resource[key] = json!(ms.to_string());
            }
        }
        if let Some(description) = &found.description {
            resource["description"] = json!(description);
        }
        (200, resource)
    }

    fn list_tables(&self, request: &Request, project: &str, dataset: &str) -> Answered {
        if !self
            .tables
            .datasets
            .contains_key(&(project.to_owned(), dataset.to_owned()))
        {
            return error(404, "notFound", &format!("Not found: Dataset {project}:{dataset}"));
        }
        if !self.tables.rights.may(&format!("{project}.{dataset}"), "tables.list") {
            let what = format!("{project}:{dataset}");
            let message = format!(
                "Access Denied: Dataset {what}: Permission bigquery.tables.list denied on dataset {what} (or it may not exist)."
            );
            return error(403, "accessDenied", &message);
        }
        let here = self
            .tables
            .all()
            .filter(|(name, _)| name.project == project && name.dataset == dataset);
        let all: Vec<Value> = here
            .filter_map(|(name, _)| {
                let resource = self.tables.resource(name)?;
                let keys = [
                    "id",
                    "tableReference",
                    "type",
                    "labels",
                    "timePartitioning",
                    "clustering",
                    "creationTime",
                    "expirationTime",
                    "friendlyName",
                ];
                let kept = keys
                    .iter()
                    .filter_map(|key| Some(((*key).to_owned(), resource.get(*key)?.clone())));
                let mut entry: serde_json::Map<String, Value> = kept.collect();
                entry.insert("kind".to_owned(), json!("bigquery#table"));
                Some(Value::Object(entry))
            })
            .collect();
        let total = all.len();
        let (tables, next) = request.page(all);
        listed(
            json!({ "kind": "bigquery#tableList", "tables": tables, "totalItems": total }),
            next,
        )
    }

    /// Those of the rights asked about that the caller has; none of a table that does not exist.
    fn test_permissions(&self, name: &Name, body: &Value) -> Answered {
        let asked = body["permissions"].as_array().map_or(&[][..], Vec::as_slice);
        let exists = self.tables.get(name).is_some();
        let held = asked.iter().filter_map(Value::as_str);
        let held: Vec<&str> = held
            .filter(|right| exists && self.tables.rights.has(name, right))
            .collect();
        // No field is ever empty.
        match held.is_empty() {
            true => (200, json!({})),
            false => (200, json!({ "permissions": held })),
        }
    }

    fn list_policies(&self, request: &Request, name: &Name) -> Answered {
        if let Err(trouble) = self
            .tables
            .find(name)
            .and_then(|_| self.tables.rights.check(name, "rowAccessPolicies.list"))
        {
            return troubled(&trouble);
        }
        let filters = self
            .tables
            .rights
            .policies
            .get(&name.to_string())
            .cloned()
            .unwrap_or_default();
        let policy = |(i, filter): (usize, String)| {
            let mut reference = name.reference();
            reference["policyId"] = json!(format!("policy_{i}"));
            json!({ "rowAccessPolicyReference": reference, "filterPredicate": filter })
        };
        let (policies, next) = request.page(filters.into_iter().enumerate().map(policy).collect::<Vec<_>>());
        match policies.is_empty() {
            true => (200, json!({})),
            false => listed(json!({ "rowAccessPolicies": policies }), next),
        }
    }

    fn get_iam(&self, name: &Name) -> Answered {
        let checked = self.tables.find(name);
        match checked.and_then(|_| self.tables.rights.check(name, "tables.getIamPolicy")) {
            Err(trouble) => troubled(&trouble),
            Ok(()) => (200, self.iam_of(name)),
        }
    }

    fn iam_of(&self, name: &Name) -> Value {
        let none = || json!({ "version": 1, "etag": "ACAB" });
        self.tables
            .rights
            .iam
            .get(&name.to_string())
            .cloned()
            .unwrap_or_else(none)
    }

    /// The whole policy is replaced, if it is still the one that was read.
    fn set_iam(&mut self, name: &Name, body: &Value) -> Answered {
        if let Err(why) = self.watch.before_iam(name, body) {
            return error(400, "invalid", &why);
        }
        let checked = self.tables.find(name);
        if let Err(trouble) = checked.and_then(|_| self.tables.rights.check(name, "tables.setIamPolicy")) {
            return troubled(&trouble);
        }
        let mut policy = body.get("policy").cloned().unwrap_or_else(|| json!({}));
        if policy
            .get("etag")
            .is_some_and(|etag| *etag != self.iam_of(name)["etag"])
        {
            return error(409, "conflict", "There were concurrent policy changes.");
        }
        policy["version"] = json!(1);
        // Eight letters of base64, another for each change.
        policy["etag"] = json!(format!("{:08x}", self.now & 0xffff_ffff));
        self.tables.rights.iam.insert(name.to_string(), policy.clone());
        (200, policy)
    }

    fn get_table(&self, name: &Name) -> Answered {
        if let (Some(_), Err(trouble)) = (self.tables.get(name), self.tables.rights.check(name, "tables.get")) {
            return troubled(&trouble);
        }
        match self.tables.resource(name) {
            Some(table) => (200, table),
            None => error(404, "notFound", &format!("Not found: Table {}", name.told())),
        }
    }

    /// Makes a view of its query, or a table of its columns and clustering, as the statement that says the same would.
    fn insert_table(&mut self, project: &str, dataset: &str, body: &Value) -> Answered {
        let name = Name {
            project: project.to_owned(),
            dataset: dataset.to_owned(),
            table: body["tableReference"]["tableId"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        if let Err(why) = self.watch.before_insert_table(&name, body) {
            return error(400, "invalid", &why);
        }
        if let Err(trouble) = self.tables.rights.check(&name, "tables.create") {
            return troubled(&trouble);
        }
        let column = |field: &Value| {
            let kind = match field["type"].as_str().unwrap_or_default() {
                "INTEGER" => "INT64",
                other => other,
            };
            let mode = if field["mode"] == "REQUIRED" { " NOT NULL" } else { "" };
            format!("{} {kind}{mode}", field["name"].as_str().unwrap_or_default())
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = match body["view"]["query"].as_str() {
            Some(query) => format!("CREATE VIEW `{name}` AS {query}"),
            None => {
                let columns: Vec<String> = list(&body["schema"]["fields"]).iter().map(column).collect();
                let cluster: Vec<String> = list(&body["clustering"]["fields"])
                    .iter()
                    .filter_map(|field| field.as_str().map(str::to_owned))
                    .collect();
                let cluster = match cluster.is_empty() {
                    true => String::new(),
                    false => format!(" CLUSTER BY {}", cluster.join(", ")),
                };
                format!("CREATE TABLE `{name}` ({}){cluster}", columns.join(", "))
            }
        };
        let statements = match parse(&text, project) {
            Ok(statements) => statements,
            Err(e) => return error(400, "invalid", &format!("{}: {text}", e.message)),
        };
        for (_, statement) in statements {
            self.now += 1;
            if let Err(trouble) = engine::perform(&mut self.tables, &mut None, &statement, self.now) {
                return troubled(&trouble);
            }
        }
        let said = ["labels", "expirationTime", "description"];
        let said = said
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), body.get(key)?.clone())));
        match self.tables.patch(&name, &said.collect(), self.now) {
            Ok(()) => (200, self.tables.resource(&name).unwrap_or_default()),
            Err(trouble) => troubled(&trouble),
        }
    }

    fn patch_table(&mut self, name: &Name, body: &Value) -> Answered {
        if let Err(why) = self.watch.before_patch(name, body) {
            return error(400, "invalid", &why);
        }
        if let Err(trouble) = self.tables.rights.check(name, "tables.update") {
            return troubled(&trouble);
        }
        let empty = serde_json::Map::new();
        match self.tables.patch(name, body.as_object().unwrap_or(&empty), self.now) {
            // A table that expires at once is gone before it can be shown.
            Ok(()) => (
                200,
                self.tables
                    .resource(name)
                    .unwrap_or_else(|| json!({ "kind": "bigquery#table" })),
            ),
            Err(trouble) => troubled(&trouble),
        }
    }

    fn insert_job(&mut self, project: &str, body: &Value) -> Answered {
        if !self.tables.rights.may(project, "jobs.create") {
            let message = format!(
                "Access Denied: Project {project}: User does not have bigquery.jobs.create permission in project {project}."
            );
            return error(403, "accessDenied", &message);
        }
        let Some(asked) = Asked::of(project, body) else {
            return error(
                501,
                "notImplemented",
                "this pretend BigQuery knows no jobs but queries in GoogleSQL and copies of one table",
            );
        };
        if body.pointer("/configuration/copy").is_some() && body.pointer("/configuration/dryRun").is_some() {
            return error(400, "invalid", "a dry run of a job that is no query is not defined");
        }
        if body.pointer("/configuration/dryRun") == Some(&json!(true)) {
            return match asked.dry_run(&self.tables, self.now) {
                Ok(plan) => (200, plan),
                Err(trouble) => troubled(&trouble),
            };
        }
        if let Err(why) = self.watch.before_insert(&asked) {
            return error(400, "invalid", &why);
        }
        if let Some(there) = self.jobs.get(&asked.id) {
            let message = format!("Already Exists: Job {}:{}.{}", there.project, there.location, there.id);
            return error(409, "duplicate", &message);
        }
        let job = self.jobs.insert(asked, &self.tables, self.now);
        self.watch.inserted(job, &self.tables);
        (200, job.resource())
    }

    /// A job where it was looked for: without a location BigQuery looks in US and EU only.
    fn job(&self, request: &Request, project: &str, id: &str) -> Result<&Job, Answered> {
        let asked = request.asked("location").map(location);
        let here = |job: &&Job| match &asked {
            Some(asked) => job.location == *asked,
            None => job.location == "US" || job.location == "EU",
        };
        let found = self.jobs.get(id).filter(|job| job.project == project).filter(here);
        found.ok_or_else(|| {
            let place = asked.as_ref().map_or_else(String::new, |l| format!("{l}."));
            error(404, "notFound", &format!("Not found: Job {project}:{place}{id}"))
        })
    }

    fn list_jobs(&self, request: &Request, project: &str) -> Answered {
        let parent = request.asked("parentJobId");
        let here = |job: &&Job| job.project == project && job.parent.as_deref() == parent;
        // Newest first.
        let all = self.jobs.all().filter(here).rev().map(Job::resource).collect();
        let (jobs, next) = request.page::<Value>(all);
        let jobs: Vec<Value> = jobs
            .into_iter()
            .map(|mut job| {
                // In a list the state and the error stand beside the status, too, and nothing has an etag.
                if let Some(job) = job.as_object_mut() {
                    job.remove("etag");
                }
                job["state"] = job["status"]["state"].clone();
                if let Some(error) = job["status"].get("errorResult").cloned() {
                    job["errorResult"] = error;
                }
                job
            })
            .collect();
        listed(json!({ "kind": "bigquery#jobList", "jobs": jobs }), next)
    }

    fn cancel_job(&mut self, request: &Request, project: &str, id: &str) -> Answered {
        if let Err(missing) = self.job(request, project, id) {
            return missing;
        }
        self.jobs.cancel(id);
        match self.job(request, project, id) {
            Ok(job) => (
                200,
                json!({ "kind": "bigquery#jobCancelResponse", "job": job.resource() }),
            ),
            Err(missing) => missing,
        }
    }

    fn results(&mut self, request: &Request, project: &str, id: &str) -> Answered {
        let job = match self.job(request, project, id) {
            Ok(job) => job,
            Err(missing) => return missing,
        };
        let mut answer = json!({
            "kind": "bigquery#getQueryResultsResponse",
            "etag": "results",
            "jobReference": job.reference(),
            "jobComplete": job.state == JobState::Done,
        });
        if job.state != JobState::Done {
            let timeout = request.number("timeoutMs").and_then(|ms| i64::try_from(ms).ok());
            self.now += timeout.unwrap_or(10_000).clamp(0, LONGEST_WAIT);
            return (200, answer);
        }
        if let Some(trouble) = &job.error {
            return troubled(trouble);
        }
        if let Some([inserted, updated, deleted]) = job.effect.dml {
            answer["numDmlAffectedRows"] = json!((inserted + updated + deleted).to_string());
        }
        let found = job.answer.clone().unwrap_or_default();
        answer["totalRows"] = json!(found.rows.len().to_string());
        answer["totalBytesProcessed"] = json!("0");
        answer["cacheHit"] = json!(false);
        answer["schema"] = json!({ "fields": found.fields });
        let (rows, next) = request.page(found.rows);
        if !rows.is_empty() {
            let cells =
                |row: Vec<super::values::Datum>| row.iter().map(|c| json!({ "v": c.wire() })).collect::<Vec<_>>();
            answer["rows"] = rows.into_iter().map(|row| json!({ "f": cells(row) })).collect();
        }
        if let Some(token) = next {
            answer["pageToken"] = json!(token);
        }
        (200, answer)
    }
}

fn listed(mut answer: Value, next: Option<String>) -> Answered {
    if let Some(token) = next {
        answer["nextPageToken"] = json!(token);
    }
    (200, answer)
}
