//! What the five programs ask of BigQuery, beside what Google's own client asks for the same deeds: in one run, through
//! one gateway, told apart by who asks.
//!
//! Compared are a deed's method, the names of its query parameters, and the places of its body with their JSON types;
//! not values, and not how often. Google's definition judges all of it, too ([`tests::conformance`]): that our requests
//! pass is seen to everywhere, that Google's do is seen to here. So the judge is known to be no stricter than it may
//! be.

use crate::built;
use crate::scene::{self, Scene, helper, python, say};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use tests::conformance::{Definition, Wrong, is_ours, ledger};
use tests::gateway::Call;

/// What is compared of a deed, a line a part: `?location`, `configuration.dryRun: boolean`.
type Deed = BTreeSet<String>;

/// Who does what the other does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Ours,
    Googles,
}

/// A deed, a part of it, who has it alone, and why that is well.
type Difference = (&'static str, &'static str, Who, &'static str);

const ALL_OF_IT: &str = "all of it";

/// All there are: one that is not there any more fails, too.
const DIFFERENCES: [Difference; 10] = [
    (
        "rowAccessPolicies.list",
        ALL_OF_IT,
        Who::Ours,
        "Google's client has no call for the row access policies that a restore compares",
    ),
    (
        "tables.testIamPermissions",
        ALL_OF_IT,
        Who::Ours,
        "deeds.py does what ours does to tables and jobs; it asks for no rights beforehand",
    ),
    (
        "jobs.insert, a dry run",
        "jobReference.jobId: string",
        Who::Googles,
        "it makes no job, so there is none to find again",
    ),
    (
        "jobs.insert, a load",
        ALL_OF_IT,
        Who::Googles,
        "ours load files only when asked to (backup::*, uploads::*); that the judge reads uploads is shown by Google's",
    ),
    (
        "jobs.get",
        "?projection",
        Who::Googles,
        "beside the definition, see below; no answer lacks anything without it",
    ),
    (
        "jobs.cancel",
        ALL_OF_IT,
        Who::Googles,
        "ours cancel when they are told to stop (signals::*), not in a line that goes well",
    ),
    (
        "jobs.getQueryResults",
        "?timeoutMs",
        Who::Ours,
        "one long call instead of many short ones; Google's asks `jobs.get` first, and finds the job done",
    ),
    (
        "jobs.getQueryResults",
        "?formatOptions.useInt64Timestamp",
        Who::Googles,
        "our own queries answer with no TIMESTAMP; those of `bq-check --sql` are shown as they come",
    ),
    (
        "jobs.getQueryResults",
        "?pageToken",
        Who::Googles,
        "deeds.py asks for pages of two rows; ours take what one answer holds, and ask on if it says so",
    ),
    (
        "jobs.getQueryResults",
        "?fields",
        Who::Googles,
        "of later pages its client wants only what differs",
    ),
];

/// Where Google's client itself leaves the definition, and BigQuery takes it. Ours may not.
const BESIDE_THE_DEFINITION: [(&str, &str); 3] = [
    // Of old, and for `jobs.list`, which has it.
    ("bigquery.jobs.get", "projection: an unknown query parameter"),
    ("bigquery.jobs.cancel", "projection: an unknown query parameter"),
    // It writes this int32 as it writes an int64.
    (
        "bigquery.jobs.insert",
        "configuration.load.skipLeadingRows: the string `1` where an integer from -2147483648 to 2147483647 is wanted",
    ),
];

const SETUP: &str = "
CREATE SCHEMA deeds;
CREATE TABLE deeds.t (id INT64 NOT NULL);
CREATE TABLE deeds.u (id INT64) OPTIONS(description='the other', labels=[('team', 'x')],
  expiration_timestamp=TIMESTAMP '2100-01-01 00:00:00+00:00');
INSERT INTO deeds.t VALUES (1), (2), (3);
INSERT INTO deeds.u VALUES (10), (20);
";

const MIGRATION: &str = "DELETE FROM deeds.t WHERE id > @least; DELETE FROM deeds.u WHERE id > @least;";

const LINE: &str = "bq-snap 'deeds.*' --snapshot-dataset deeds_kept | tee snap.stream |
 bq-run --param least:INT64:1 --max-bytes-billed 1000000000 --timeout 10m --label made-by=test m.sql |
 bq-check >line.stream || bq-restore >restored.stream";

#[test]
fn the_programs_ask_as_googles_client_does() {
    let _machine = scene::share_the_machine();
    let scene = Scene::at(&scene::shared());
    scene.write("setup.sql", &format!("CREATE SCHEMA deeds_kept; {SETUP}"));
    scene.write("m.sql", MIGRATION);
    scene
        .sh("bq-run -q --run deeds_setup --unprotected setup.sql >setup.stream")
        .expect(0, "setup");
    scene.sh(LINE).expect(10, "the line");
    let script = helper("deeds.py");
    let arguments = [script.to_str().unwrap(), "deeds"];
    scene.run(python().to_str().unwrap(), &arguments).expect(0, "deeds.py");
    let calls = scene.calls_since(0);
    drop(scene.end());

    let (ours, googles): (Vec<&Call>, Vec<&Call>) = calls.iter().partition(|call| is_ours(&call.agent));
    assert!(
        googles.iter().all(|call| call.agent.contains("gl-python")),
        "somebody else asked"
    );
    for call in &googles {
        if let Some(wrong) = &call.wrong {
            assert!(
                is_known(wrong),
                "{} {}?{}: {wrong}\n{}",
                call.method,
                call.path,
                call.query,
                call.body
            );
        }
    }
    let (ours, googles) = (deeds(&ours), deeds(&googles));
    let listed: BTreeSet<_> = DIFFERENCES
        .iter()
        .map(|(deed, part, who, _)| (*deed, *part, *who))
        .collect();
    let found = differences(&ours, &googles);
    let found: BTreeSet<_> = found
        .iter()
        .map(|(d, part, who)| (d.as_str(), part.as_str(), *who))
        .collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        unlisted.is_empty() && gone.is_empty(),
        "not listed: {unlisted:#?}\nlisted, and not there: {gone:#?}"
    );
    let same = |(name, deed): (&String, &Deed)| googles.get(name).map_or(0, |g| g.intersection(deed).count());
    say(&format!(
        "beside Google's client: {} deeds, {} parts of them the same, {} differences listed",
        ours.len(),
        ours.iter().map(same).sum::<usize>(),
        found.len(),
    ));
}

/// Asks as one of ours, what BigQuery has no name for; then the same as somebody else.
const ASK_WRONGLY: &str = r#"
import os, urllib.error, urllib.request
url = os.environ["BIGQUERY_EMULATOR_HOST"] + "/bigquery/v2/projects/" + os.environ["PROJECT_ID"] + "/jobs?nonsense=1"
for agent in ["bq-rollback/9 (bq-test)", "somebody/1"]:
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": agent}))
    except urllib.error.HTTPError as error:
        answer = error
    print(answer.status, " ".join(answer.read().decode().split()))
"#;

/// The whole way: the gateway, the ledger, and the last line of `make test`. In a process of its own, whose ledger is
/// not that of the tests.
#[test]
fn a_wrong_request_is_refused_remembered_and_reported() {
    let scratch = tempfile::tempdir().unwrap();
    let (ledger, faults, script) = (
        scratch.path().join("ledger"),
        scratch.path().join("faults"),
        scratch.path().join("ask.py"),
    );
    // It is not asked about a call that should not have been made.
    std::fs::write(&faults, "1 : 503 backendError\n").unwrap();
    std::fs::write(&script, ASK_WRONGLY).unwrap();
    let output = Command::new(&built::programs()["bq-local"])
        .arg("--faults")
        .arg(&faults)
        .args(["--", "sh", "-c", "\"$BQ_LOCAL_PYTHON\" \"$0\""])
        .arg(&script)
        .env(ledger::LEDGER, &ledger)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<&str> = said.lines().collect();
    let [ours, others] = answers[..] else {
        panic!("{said}{}", String::from_utf8_lossy(&output.stderr));
    };
    let wrong = "not conforming to bigquery.jobs.list: nonsense: an unknown query parameter";
    assert!(ours.starts_with("400 ") && ours.contains(wrong), "{ours}");
    assert!(others.starts_with("200 "), "{others}");
    let report = Command::new(&built::programs()["bq-conformance"])
        .arg(&ledger)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&report.stderr);
    assert_eq!(report.status.code(), Some(1), "{told}");
    let first = "bq-conformance: 1 requests or answers do not conform to BigQuery v2:";
    assert!(
        told.starts_with(first) && told.contains(wrong) && told.contains("bq-test"),
        "{told}"
    );
    assert!(told.contains("\nat: ") && told.contains("\nhint: "), "{told}");
}

#[test]
fn a_difference_is_found() {
    let call = |agent: &str, query: &str, body: Value| Call {
        n: 1,
        method: "POST".into(),
        path: "/bigquery/v2/projects/p/jobs".into(),
        query: query.into(),
        body,
        status: Some(200),
        fault: None,
        headers: Default::default(),
        agent: agent.into(),
        wrong: None,
    };
    let job = |more: Value| json!({ "jobReference": { "jobId": "j" }, "configuration": { "query": more } });
    let ours = call(
        "",
        "prettyPrint=false",
        job(json!({ "useLegacySql": "false", "query": "SELECT 1" })),
    );
    let googles = call(
        "",
        "alt=json",
        job(json!({ "useLegacySql": false, "query": "SELECT 2" })),
    );
    let found = differences(&deeds(&[&ours]), &deeds(&[&googles]));
    let part = |part: &str, who| ("jobs.insert".to_owned(), part.to_owned(), who);
    let wanted = [
        part("?prettyPrint", Who::Ours),
        part("configuration.query.useLegacySql: string", Who::Ours),
        part("?alt", Who::Googles),
        part("configuration.query.useLegacySql: boolean", Who::Googles),
    ];
    assert_eq!(found, wanted);
    let dry = call(
        "",
        "",
        json!({ "configuration": { "dryRun": true, "labels": { "a": null, "b": null } } }),
    );
    let places = [
        "POST /bigquery/v2/projects/{}/jobs",
        "configuration.dryRun: boolean",
        "configuration.labels.*: null",
    ];
    let wanted = BTreeMap::from([("jobs.insert, a dry run".to_owned(), places.map(str::to_owned).into())]);
    assert_eq!(deeds(&[&dry]), wanted);
    assert_eq!(differences(&deeds(&[&dry]), &BTreeMap::new()).len(), 1);
}

fn is_known(wrong: &Wrong) -> bool {
    let method = wrong.method.as_deref().unwrap_or_default();
    let known = |what: &String| BESIDE_THE_DEFINITION.contains(&(method, what));
    wrong.what.iter().all(known)
}

/// What was done, and what of the calls is compared.
fn deeds(calls: &[&Call]) -> BTreeMap<String, Deed> {
    let mut deeds: BTreeMap<String, Deed> = BTreeMap::new();
    for call in calls {
        let (method, upload) = Definition::shared().unwrap().method(&call.method, &call.path).unwrap();
        let name = method.id.strip_prefix("bigquery.").unwrap();
        let name = match (name, upload, &call.body["configuration"]["dryRun"]) {
            ("jobs.insert", true, _) => "jobs.insert, a load",
            ("jobs.insert", _, Value::Bool(true)) => "jobs.insert, a dry run",
            (name, ..) => name,
        };
        let deed = deeds.entry(name.to_owned()).or_default();
        deed.insert(format!("{} {}", method.verb(), method.path()));
        let query = call.query.split('&').filter(|pair| !pair.is_empty());
        deed.extend(query.map(|pair| format!("?{}", pair.split('=').next().unwrap())));
        places(&call.body, "", deed);
    }
    deeds
}

/// Each place of a value with its JSON type. A label's key is the caller's, and stands as `*`.
fn places(value: &Value, at: &str, found: &mut Deed) {
    let kind = match value {
        Value::Null if at.is_empty() => return,
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => return items.iter().for_each(|item| places(item, &format!("{at}[]"), found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if at.ends_with("labels") { "*" } else { name };
                let dot = if at.is_empty() { "" } else { "." };
                places(value, &format!("{at}{dot}{name}"), found);
            }
            return;
        }
    };
    found.insert(format!("{at}: {kind}"));
}

fn differences(ours: &BTreeMap<String, Deed>, googles: &BTreeMap<String, Deed>) -> Vec<(String, String, Who)> {
    let mut found = Vec::new();
    for (name, who, has, lacks) in ours
        .iter()
        .map(|(name, deed)| (name, Who::Ours, deed, googles.get(name)))
        .chain(
            googles
                .iter()
                .map(|(name, deed)| (name, Who::Googles, deed, ours.get(name))),
        )
    {
        match lacks {
            None => found.push((name.clone(), ALL_OF_IT.to_owned(), who)),
            Some(lacks) => found.extend(has.difference(lacks).map(|part| (name.clone(), part.clone(), who))),
        }
    }
    found
}
