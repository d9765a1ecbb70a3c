//! The promises on a real SQL engine, the result read back by Google's own client.

use crate::bq_local;
use crate::scene::{self, Ended, PROJECT, Scene, parse_look, say};
use crate::wire::kind_of;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use tests::gateway::Call;

/// How far apart two events of one moment may be: clocks of whole seconds, and a busy machine.
const ONE_MOMENT: SignedDuration = SignedDuration::from_secs(5);

// ---- the customer's example ----

const DATASETS: [&str; 2] = ["repair_diagnostics", "diagnosticpro_prod"];
const SEVEN: &str = "dtc_codes_github|reddit_diagnostic_posts|youtube_repair_videos|equipment_registry";
const BAD: [&str; 5] = [
    "bad_deletes_too_much",
    "bad_stops_half_way",
    "bad_drops_a_column",
    "bad_empties_a_table",
    "bad_garbles_values",
];

/// The example's tables are as `setup.sql` makes them, and hold whatever else a rollback has to give back.
const MORE_OPTIONS: &str = "
ALTER TABLE diagnosticpro_prod.youtube_repair_videos SET OPTIONS (
  expiration_timestamp = TIMESTAMP '2100-01-01 00:00:00+00:00', friendly_name = 'Videos of repairs');
ALTER TABLE diagnosticpro_prod.dtc_codes_github SET OPTIONS (expiration_timestamp = TIMESTAMP '2099-01-01 00:00:00+00:00');
";

#[test]
fn the_example_is_accepted_or_rolled_back() {
    let _machine = crate::scene::share_the_machine();
    let start = Instant::now();
    let server = bq_local::another();
    let mut scene = Scene::at(server.url());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/diagnostic");
    scene.set("EXAMPLE", example.to_str().unwrap());
    scene.set("STAGING_DATASET", DATASETS[0]);
    scene.set("PROD_DATASET", DATASETS[1]);
    scene.write("options.sql", MORE_OPTIONS);
    scene
        .sh("bq-run --unprotected -q \"$EXAMPLE/setup.sql\" options.sql >setup.stream")
        .expect(0, "setup.sql");

    let (first, _) = look_around(&scene, "none");
    the_line(&scene, "merge_templates", "bq-restore >merge_templates.restore.stream").expect(0, "the good migration");
    let run = run_of(&scene, "merge_templates");
    let (at, verdict) = last(&scene, &run, "verdict");
    assert_eq!(
        (&verdict["accepted"], &verdict["by_person"]),
        (&json!(true), &json!(false))
    );
    assert!(
        !scene.path("merge_templates.restore.stream").exists(),
        "the good migration was restored"
    );
    let (merged, copies) = look_around(&scene, &run);
    snapshots_hold(&scene, &run, &first, &copies, "accepted", at);
    assert_ne!(merged, first, "the good migration changed nothing");

    for bad in BAD {
        let restore = format!(
            "{{ \"$PYTHON\" \"$LOOK\" '{SEVEN}' {} {} >left.json; bq-restore >{bad}.restore.stream; }}",
            DATASETS[0], DATASETS[1]
        );
        the_line(&scene, bad, &restore).expect(10, bad);
        let run = run_of(&scene, bad);
        let (at, end) = last(&scene, &run, "restore_ended");
        assert_eq!((&end["code"], &end["left"]), (&json!(10), &json!([])), "{bad}");
        let (restored, copies) = look_around(&scene, &run);
        same(&merged, &restored, bad);
        snapshots_hold(&scene, &run, &merged, &copies, "rolled-back", at);
        let left = parse_look(&scene.read("left.json"));
        kept_is_what_was_left(&scene, &run, &merged, &left, &copies);
    }

    drop(scene.end());
    say(&format!("the example: {:.0} s", start.elapsed().as_secs_f32()));
}

/// The one line; what it does when it is not good is given.
fn the_line(scene: &Scene, migration: &str, otherwise: &str) -> Ended {
    scene.sh(&format!(
        "bq-snap -f \"$EXAMPLE/tables.csv\" | tee {migration}.snap.stream |
         bq-run \"$EXAMPLE/{migration}.sql\" --param min_confidence:FLOAT64:0.6 --param batch_label:STRING:2025-week-40 |
         bq-check --sql \"$EXAMPLE/checks\" >{migration}.stream || {otherwise}"
    ))
}

type Tables = Map<String, Value>;

/// The seven tables, and the copies that a run made of them.
fn look_around(scene: &Scene, run: &str) -> (Tables, Tables) {
    let pattern = format!("{SEVEN}|.*_(snapshot|before_restore)_{run}(_.*)?");
    let seen = scene.look(&pattern, &DATASETS).into_iter();
    let (seven, copies): (Tables, Tables) = seen.partition(|(name, _)| SEVEN.split('|').any(|t| name.ends_with(t)));
    assert_eq!(seven.len(), 7, "{:?}", seven.keys());
    for (name, table) in &seven {
        let ours = table["labels"].to_string().contains("bq-rollback");
        assert!(!ours, "{name} carries our labels: {}", table["labels"]);
        assert_eq!(table["type"], "TABLE", "{name}");
    }
    (seven, copies)
}

/// Fails with what differs, table by table and key by key.
fn same(before: &Tables, after: &Tables, what: &str) {
    let mut differences = Vec::new();
    for (name, table) in before {
        let now = after.get(name).unwrap_or(&Value::Null);
        let (table, empty) = (table.as_object().unwrap(), Map::new());
        let now = now.as_object().unwrap_or(&empty);
        for key in table.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
            let (was, is) = (table.get(key), now.get(key));
            if was != is {
                differences.push(format!("{name}: {key}: was {was:?}, is {is:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
    assert_eq!(before.len(), after.len(), "{what}");
}

/// The run that a line made, by the stream of its bq-snap.
fn run_of(scene: &Scene, migration: &str) -> String {
    let stream = scene.read(&format!("{migration}.snap.stream"));
    let begin: Value = serde_json::from_str(stream.lines().next().unwrap()).unwrap();
    begin["run"].as_str().unwrap().to_owned()
}

/// When such an event last happened to a run, and what it says.
fn last(scene: &Scene, run: &str, kind: &str) -> (Timestamp, Value) {
    let journal = scene.journal(run);
    let entry = journal.iter().rfind(|entry| kind_of(&entry["event"]) == kind);
    let entry = entry.unwrap_or_else(|| panic!("no `{kind}` in the journal of {run}"));
    (time(&entry["at"]), entry["event"][kind].clone())
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn millis(table: &Value) -> i64 {
    table["expirationTime"].as_str().unwrap().parse().unwrap()
}

/// Seven snapshots, of the right tables at the cut, that live 24 hours from the moment the run was settled.
fn snapshots_hold(scene: &Scene, run: &str, before: &Tables, copies: &Tables, state: &str, settled_at: Timestamp) {
    let suffix = format!("_snapshot_{run}");
    let of = |copy: &str| copy.strip_suffix(&suffix).map(str::to_owned);
    let snapshots: Vec<(String, &Value)> = copies
        .iter()
        .filter_map(|(name, table)| Some((of(name)?, table)))
        .collect();
    let names: Vec<&String> = snapshots.iter().map(|(name, _)| name).collect();
    assert_eq!(names, before.keys().collect::<Vec<_>>());
    let (_, settled) = last(scene, run, "settled");
    let expires = time(&settled["expires"]);
    let wanted = settled_at + SignedDuration::from_hours(24);
    let apart = expires.duration_since(wanted).abs();
    assert!(apart <= ONE_MOMENT, "expires {expires}, settled at {settled_at}");
    let (_, cut) = last(scene, run, "cut");
    let cut = time(&cut["cut"]);
    for ((name, snapshot), table) in snapshots.iter().zip(before.values()) {
        let name = name.as_str();
        assert_eq!(snapshot["type"], "SNAPSHOT", "{name}");
        assert_eq!(millis(snapshot), expires.as_millisecond(), "{name}");
        assert_eq!(
            snapshot["labels"],
            json!({ "bq-rollback-run": run, "bq-rollback-tool": "bq-snap", "bq-rollback-state": state }),
            "{name}"
        );
        let definition = &snapshot["snapshotDefinition"];
        let (dataset, table_id) = name.split_once('.').unwrap();
        let base = json!({ "projectId": PROJECT, "datasetId": dataset, "tableId": table_id });
        assert_eq!(definition["baseTableReference"], base, "{name}");
        assert_eq!(time(&definition["snapshotTime"]), cut, "{name}");
        for key in ["rows", "digest", "schema", "clustering"] {
            assert_eq!(snapshot[key], table[key], "{name}: {key}");
        }
    }
}

/// What the migration had made of the tables is there still, in copies that live seven days.
fn kept_is_what_was_left(scene: &Scene, run: &str, before: &Tables, left: &Tables, copies: &Tables) {
    let suffix = format!("_before_restore_{run}");
    let mut changed = 0;
    for (name, table) in left.iter().filter(|(name, table)| before[*name] != **table) {
        changed += 1;
        let copy = copies.get(&format!("{name}{suffix}"));
        let copy = copy.unwrap_or_else(|| panic!("nothing is kept of {name}"));
        for key in ["rows", "digest", "schema"] {
            assert_eq!(copy[key], table[key], "{name}: {key}");
        }
        assert_eq!(
            copy["labels"],
            json!({ "bq-rollback-run": run, "bq-rollback-tool": "bq-restore", "bq-rollback-state": "kept" }),
            "{name}"
        );
        let (at, _) = last(scene, run, "kept");
        let apart = millis(copy) - (at + SignedDuration::from_hours(7 * 24)).as_millisecond();
        assert!(
            apart.abs() < 60_000,
            "the copy of {name} lives {apart} ms longer than 7 days"
        );
    }
    assert!(changed > 0, "the migration did no harm");
}

/// The SQL that a call inserts a job for.
fn query(call: &Call) -> Option<&str> {
    let is_insert = call.method == "POST" && (call.path.ends_with("/jobs") || call.path.ends_with("/queries"));
    let query = &call.body["configuration"]["query"]["query"];
    is_insert.then(|| query.as_str().or(call.body["query"].as_str()))?
}

// ---- the line in other shells ----

/// A table of three rows in a dataset of this name, a migration that adds one and one that deletes two.
fn a_small_case(scene: &Scene, dataset: &str) {
    scene.write(
        "setup.sql",
        &format!(
            "CREATE SCHEMA {dataset}; CREATE TABLE {dataset}.t (id INT64 NOT NULL); INSERT INTO {dataset}.t VALUES (1), (2), (3);"
        ),
    );
    scene.write("good.sql", &format!("INSERT INTO {dataset}.t VALUES (0)"));
    scene.write("bad.sql", &format!("DELETE FROM {dataset}.t WHERE id > 1"));
    scene
        .sh(&format!(
            "bq-run -q --run {dataset}_setup --unprotected setup.sql >setup.stream"
        ))
        .expect(0, "setup");
}

fn is_here(program: &str) -> bool {
    let mut command = Command::new(program);
    command.args(["-c", ":"]).stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn the_line_means_the_same_in_every_shell_and_in_make() {
    let scene = Scene::at(&scene::shared());
    a_small_case(&scene, "shells");
    let line = |sql: &str| {
        format!("bq-snap shells.t | bq-run {sql} | bq-check >{sql}.stream || bq-restore >>{sql}.restored.stream")
    };
    let mut good = 0;
    for shell in ["dash", "bash"] {
        if !is_here(shell) {
            say(&format!("no {shell} here: the line is not tried there"));
            continue;
        }
        scene.run(shell, &["-c", &line("good.sql")]).expect(0, shell);
        scene.run(shell, &["-c", &line("bad.sql")]).expect(10, shell);
        good += 1;
    }

    scene.write("Makefile", &format!("line:\n\t{}\n", line("$(SQL)")));
    scene.run("make", &["-f", "Makefile", "SQL=good.sql"]).expect(0, "make");
    let made = scene.run("make", &["-f", "Makefile", "SQL=bad.sql"]);
    made.expect(2, "make");
    assert!(made.stderr.contains("Error 10"), "{}", made.stderr);
    good += 1;

    let then = |sql: &str| format!("set -e\n{}\necho after", line(sql));
    let went_on = scene.sh(&then("good.sql"));
    went_on.expect(0, "set -e");
    assert_eq!(went_on.stdout, "after\n");
    let stopped = scene.sh(&then("bad.sql"));
    stopped.expect(10, "set -e");
    assert_eq!(stopped.stdout, "");
    good += 1;

    let tables = scene.look("t", &["shells"]);
    assert_eq!(tables["shells.t"]["rows"], 3 + good);
    drop(scene.end());
}

// ---- how much is asked ----

/// bq-snap makes four requests a table and a few more, and bq-count one query.
#[test]
fn requests_are_few() {
    let scene = Scene::at(&scene::shared());
    let tables: Vec<String> = (0..7).map(|n| format!("few_{}.t{n}", n % 2)).collect();
    let made = tables
        .iter()
        .map(|table| format!("CREATE TABLE {table} (day DATE) PARTITION BY day;\n"));
    let made: String = made.collect();
    scene.write(
        "setup.sql",
        &format!("CREATE SCHEMA few_0; CREATE SCHEMA few_1;\n{made}"),
    );
    scene
        .sh("bq-run -q --run few_setup --unprotected setup.sql >setup.stream")
        .expect(0, "setup");
    scene.write("tables.txt", &tables.join("\n"));

    let so_far = scene.calls_so_far();
    scene.sh("bq-count -f tables.txt >count.stream").expect(0, "bq-count");
    let count = scene.calls_since(so_far);
    let queries: Vec<&str> = count.iter().filter_map(query).collect();
    assert_eq!(queries.len(), 1, "{queries:#?}");
    assert_eq!(queries[0].matches("COUNT(*)").count(), 7, "{}", queries[0]);

    let so_far = scene.calls_so_far();
    // Under an ID of its own: a generated one may be taken, and asks once more.
    scene
        .sh("bq-snap --run few_snap -f tables.txt >snap.stream")
        .expect(0, "bq-snap");
    let snap = scene.calls_since(so_far);
    say(&format!(
        "requests for 7 tables: bq-snap {}, bq-count {}, of them 1 query",
        snap.len(),
        count.len()
    ));
    drop(scene.end());
    let told: Vec<String> = snap
        .iter()
        .map(|call| format!("{} {}", call.method, call.path))
        .collect();
    assert!(
        snap.len() <= 4 * 7 + 12,
        "bq-snap made {} requests: {told:#?}",
        told.len()
    );
}

// ---- dry runs ----

/// Whether a request can change anything.
fn changes(call: &Call) -> bool {
    let only_asks = call.method == "GET" || call.path.ends_with(":testIamPermissions");
    if only_asks || call.body["configuration"]["dryRun"] == true {
        return false;
    }
    !query(call).is_some_and(|sql| sql.trim_start().starts_with("SELECT "))
}

#[test]
fn a_dry_run_writes_nothing_anywhere() {
    let scene = Scene::at(&scene::shared());
    a_small_case(&scene, "dry");
    let tables = || scene.look(".*", &["dry"]);
    let unchanged = |what: &str, script: &str, status: i32| {
        let (before, there, so_far) = (scene.files(), tables(), scene.calls_so_far());
        let ended = scene.sh(script);
        ended.expect(status, what);
        let calls = scene.calls_since(so_far);
        assert!(!calls.is_empty(), "{what} asked nothing");
        let changing: Vec<&Call> = calls.iter().filter(|call| changes(call)).collect();
        assert!(changing.is_empty(), "{what}: {changing:#?}");
        let names = |files: &BTreeSet<(std::path::PathBuf, Vec<u8>)>| {
            files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        let after = scene.files();
        assert_eq!(names(&after), names(&before), "{what}");
        assert!(after == before, "{what} changed a file");
        same(&there, &tables(), what);
        (ended.stdout, calls)
    };

    let (stream, calls) = unchanged("the line", "bq-snap -n dry.t | bq-run -n bad.sql | bq-check -n", 0);
    assert!(stream.contains("\"accepted\":true"), "{stream}");
    let dry = calls.iter().filter(|call| call.body["configuration"]["dryRun"] == true);
    assert_eq!(dry.filter_map(query).collect::<Vec<_>>(), [scene.read("bad.sql")]);

    // The same, begun for real: so that there is something to restore, and something for `changes` to find.
    let so_far = scene.calls_so_far();
    scene
        .sh("bq-snap dry.t | bq-run bad.sql | bq-check >line.stream")
        .expect(1, "the real line");
    assert_eq!(scene.calls_since(so_far).iter().filter(|call| changes(call)).count(), 2);
    let (stream, _) = unchanged("bq-restore -n", "bq-restore -n", 0);
    assert!(stream.contains("\"type\":\"restore\""), "{stream}");
    scene.sh("bq-restore >restored.stream").expect(10, "bq-restore");
    drop(scene.end());
}
