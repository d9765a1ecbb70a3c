//! Tables that do not exist yet, protected as absent, through the line; and `bq-snap --drop`. What is there is read back by Google's own
//! client.

use serde_json::{Value, json};

use crate::scene::{Scene, shared};

/// A table of three rows in a dataset of this name, and migrations that make and fill another.
fn case(dataset: &str) -> Scene {
    let scene = Scene::at(&shared());
    let files = [
        (
            "setup.sql",
            "CREATE SCHEMA {d}; CREATE TABLE {d}.t (id INT64); INSERT INTO {d}.t VALUES (1), (2), (3);",
        ),
        (
            "make.sql",
            "CREATE TABLE {d}.fresh (id INT64); INSERT INTO {d}.fresh SELECT id FROM {d}.t;",
        ),
        (
            "others.sql",
            "CREATE TABLE {d}.fresh (id INT64); INSERT INTO {d}.fresh VALUES (7);",
        ),
        ("fill.sql", "INSERT INTO {d}.fresh VALUES (8), (9);"),
        ("touch.sql", "UPDATE {d}.t SET id = 0 WHERE id = 1;"),
        ("spoil.sql", "DELETE FROM {d}.t WHERE id > 1;"),
    ];
    for (name, text) in files {
        scene.write(name, &text.replace("{d}", dataset));
    }
    scene
        .sh(&format!(
            "bq-run -q --run {dataset}_setup --unprotected setup.sql >setup.stream"
        ))
        .expect(0, "setup");
    scene
}

/// The records of one kind in a stream of the working directory.
fn records(scene: &Scene, name: &str, kind: &str) -> Vec<Value> {
    let stream = scene.read(name);
    let records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["type"] == kind).collect()
}

fn end_of(scene: &Scene, name: &str, tool: &str) -> Value {
    let ends = records(scene, name, "end");
    ends.into_iter().rfind(|end| end["tool"] == tool).unwrap()
}

#[test]
fn a_new_table_is_inside_the_protected_set() {
    let scene = case("absent_line");
    scene.write(
        "tables.csv",
        "table,records,after,level\nabsent_line.t,3,,\nabsent_line.fresh,0,=3,CORE\n",
    );
    scene
        .sh("bq-snap --absent-ok -f tables.csv | tee snap.stream | bq-run make.sql | bq-count | bq-check >line.stream")
        .expect(0, "the line");
    let snapshots = records(&scene, "snap.stream", "snapshot");
    let absent = &snapshots[1];
    let want = json!({
        "type": "snapshot", "run": absent["run"], "table": "diagnostic-pro-start-up.absent_line.fresh", "absent": true,
        "cut": snapshots[0]["cut"], "keep_ms": 86_400_000, "level": "CORE", "records": 0, "after": 3,
        "schema_rule": "grow", "meta": {"location": "US"},
    });
    assert_eq!(*absent, want);
    assert_eq!(end_of(&scene, "snap.stream", "bq-snap")["count"], 2);
    // Made by now, it is counted.
    let counts = records(&scene, "line.stream", "count");
    assert_eq!(
        counts.iter().map(|c| c["rows"].clone()).collect::<Vec<_>>(),
        [json!(3), json!(3)]
    );
    let checks = records(&scene, "line.stream", "check");
    let of_new = checks.iter().filter(|c| c["table"] == absent["table"]);
    let of_new: Vec<_> = of_new
        .map(|c| (c["name"].as_str().unwrap(), &c["ok"], &c["got"]))
        .collect();
    assert_eq!(
        of_new,
        [
            ("exists", &json!(true), &json!("a table")),
            ("rows", &json!(true), &json!("3"))
        ]
    );
    let run = absent["run"].as_str().unwrap();
    let journal = scene.journal(run);
    let looks = journal
        .iter()
        .filter(|entry| entry["event"]["looks"]["table"] == absent["table"]);
    assert_eq!(
        looks
            .filter(|entry| entry["event"]["looks"]["modified_ms"].is_u64())
            .count(),
        1
    );
    let there = scene.look(".*", &["absent_line"]);
    assert_eq!(there["absent_line.fresh"]["rows"], 3);
    assert!(
        !there.keys().any(|name| name.starts_with("absent_line.fresh_snapshot")),
        "{:?}",
        there.keys()
    );
    drop(scene.end());
}

#[test]
fn a_run_may_protect_nothing_but_absent_tables() {
    let scene = case("absent_only");
    let snap = "bq-snap --absent-ok --run absent_only absent_only.fresh";
    // With -n, then twice for real: what died after the cut would be taken up alike.
    scene
        .sh(&format!("{snap} -n | bq-run -n make.sql | bq-check -n >dry.stream"))
        .expect(0, "-n");
    assert!(!scene.path(".rollback/absent_only.jsonl").exists());
    scene.sh(&format!("{snap} >first.stream")).expect(0, "bq-snap");
    scene.sh(&format!("{snap} >snap.stream")).expect(0, "the same again");
    let (first, second) = (
        records(&scene, "first.stream", "snapshot"),
        records(&scene, "snap.stream", "snapshot"),
    );
    assert_eq!(first, second);
    // Nothing is there to count, and that is no failure.
    scene.sh("bq-count <snap.stream >count.stream").expect(0, "bq-count");
    assert_eq!(end_of(&scene, "count.stream", "bq-count")["count"], 0);
    // Without a table the default checks ask only what was written; `make.sql` makes it, and then a person wants it gone.
    scene.sh("bq-run make.sql <snap.stream >run.stream").expect(0, "bq-run");
    scene
        .sh("bq-check --expect 'absent_only.fresh absent' <run.stream >check.stream")
        .expect(1, "it is there");
    let told = records(&scene, "check.stream", "check");
    let told: Vec<_> = told.iter().map(|c| (c["name"].as_str().unwrap(), &c["ok"])).collect();
    assert_eq!(told, [("writes", &json!(true)), ("expect", &json!(false))]);
    // Rejected, it is pending: nobody else may protect its table now.
    let other = scene.sh("bq-snap --run absent_other absent_only.fresh >other.refused");
    other.expect(4, "over a pending run");
    assert!(other.stderr.contains("run `absent_only` over"), "{}", other.stderr);
    // What is put back is settled elsewhere; here a person says that it is good.
    scene
        .sh("bq-check --run absent_only --accept >accept.stream")
        .expect(0, "--accept");
    let listed = scene.sh("bq-snap --list --format json").stdout;
    let of_run = listed.lines().find(|line| line.contains("\"absent_only\"")).unwrap();
    let of_run: Value = serde_json::from_str(of_run).unwrap();
    assert_eq!(
        (&of_run["state"], &of_run["tables"], &of_run["bytes"]),
        (&json!("accepted"), &json!(1), &json!(0))
    );
    drop(scene.end());
}

#[test]
fn what_others_make_is_told_of_and_is_inside_the_set() {
    let scene = case("absent_made");
    for (run, strict, status) in [("made_strict", " --strict", 4), ("made", "", 0)] {
        // Dropped again for the second.
        if status == 0 {
            scene.write("drop.sql", "DROP TABLE absent_made.fresh;");
            scene
                .sh("bq-run -q --run made_drop --unprotected drop.sql >drop.stream")
                .expect(0, "drop");
        }
        scene
            .sh(&format!(
                "bq-snap --absent-ok --run {run} absent_made.t absent_made.fresh >{run}.snap.stream"
            ))
            .expect(0, "bq-snap");
        scene
            .sh(&format!(
                "bq-run -q --run others_{run} --unprotected others.sql >others_{run}.stream"
            ))
            .expect(0, "others");
        let dry = scene.sh(&format!("bq-run -n{strict} fill.sql <{run}.snap.stream >{run}.dry"));
        dry.expect(status, "-n");
        let ran = scene.sh(&format!("bq-run{strict} fill.sql <{run}.snap.stream >{run}.stream"));
        ran.expect(status, run);
        assert!(
            ran.stderr
                .contains("did not exist at the cut, and others have made it since"),
            "{}",
            ran.stderr
        );
    }
    let journal = scene.journal("made");
    let changed: Vec<&Value> = journal
        .iter()
        .map(|entry| &entry["event"]["changed"]["tables"])
        .filter(|t| t.is_array())
        .collect();
    assert_eq!(changed, [&json!(["diagnostic-pro-start-up.absent_made.fresh"])]);
    // An INSERT into a table that the migration did not make: only that it is protected lets it pass.
    scene
        .sh("bq-check <made.stream >made.check.stream")
        .expect(0, "bq-check");
    assert_eq!(scene.look("fresh", &["absent_made"])["absent_made.fresh"]["rows"], 3);
    let asked = scene.sh("bq-check --content=absent_made.fresh <made.stream 2>&1 >/dev/null");
    assert_eq!(asked.status, Some(2), "{}", asked.stdout);
    assert!(
        asked
            .stdout
            .contains("did not exist at the cut: there is no content to compare"),
        "{}",
        asked.stdout
    );
    drop(scene.end());
}

#[test]
fn what_is_wrong_with_an_absent_table_is_said_before_anything_is_made() {
    let scene = case("absent_bad");
    let so_far = scene.calls_so_far();
    scene.write("rows.csv", "table,records\nabsent_bad.fresh,5\n");
    scene.write("gained.csv", "table,after\nabsent_bad.fresh,+5\n");
    for (args, said) in [
        (
            "absent_bad.fresh",
            "there is no table `diagnostic-pro-start-up.absent_bad.fresh`",
        ),
        (
            "--absent-ok absent_nowhere.fresh",
            "there is no dataset `diagnostic-pro-start-up.absent_nowhere`",
        ),
        ("--absent-ok -f rows.csv", "`records` (=5) wants rows of it at the cut"),
        (
            "--absent-ok -f gained.csv",
            "`after` (+5) is reckoned from its rows at the cut",
        ),
        ("--absent-ok 'absent_bad.nothing*'", "nothing*"),
    ] {
        let ended = scene.sh(&format!("bq-snap {args} >bad.out"));
        ended.expect(2, args);
        assert!(ended.stderr.contains(said), "{args}: {}", ended.stderr);
    }
    let changing = scene
        .calls_since(so_far)
        .iter()
        .filter(|call| call.method != "GET")
        .count();
    assert_eq!(changing, 0);
    assert!(!scene.path(".rollback").join("absent_bad.jsonl").exists());
    let report = scene.sh("bq-snap --preflight --absent-ok absent_bad.t absent_bad.fresh --format table");
    report.expect(0, "--preflight");
    assert!(
        report.stdout.contains("it does not exist, and is protected as absent"),
        "{}",
        report.stdout
    );
    drop(scene.end());
}

/// A run that was begun when the table was not there is not gone on with once it is; nor are two migrations of one state directory let
/// loose on a name that nothing in BigQuery tells of.
#[test]
fn two_runs_over_an_absent_table() {
    let scene = case("absent_two");
    for run in ["two_a", "two_b", "two_c"] {
        scene
            .sh(&format!(
                "bq-snap --absent-ok --run {run} absent_two.fresh >{run}.stream"
            ))
            .expect(0, run);
    }
    scene
        .sh("bq-run make.sql <two_a.stream >two_a.run.stream")
        .expect(0, "the first");
    let second = scene.sh("bq-run fill.sql <two_b.stream >two_b.run.stream");
    second.expect(4, "the second");
    assert!(
        second
            .stderr
            .contains("another run over `diagnostic-pro-start-up.absent_two.fresh`, `two_a`, is submitted"),
        "{}",
        second.stderr
    );
    assert_eq!(
        scene.look("fresh", &["absent_two"])["absent_two.fresh"]["rows"],
        3,
        "the second wrote"
    );
    scene
        .sh("bq-check <two_a.run.stream >two_a.check.stream")
        .expect(0, "bq-check");
    let again = scene.sh("bq-snap --absent-ok --run two_c absent_two.fresh >two_c.refused");
    again.expect(4, "taken up when it exists");
    assert!(
        again
            .stderr
            .contains("did not exist when run `two_c` was begun, and exists now"),
        "{}",
        again.stderr
    );
    drop(scene.end());
}

// ---- bq-snap --drop ----

#[test]
fn a_settled_run_loses_its_snapshots_and_nothing_else() {
    let scene = case("drop_settled");
    let line = |run: &str, migration: &str| {
        format!(
            "bq-snap --run {run} drop_settled.t | bq-run {migration}.sql | bq-check >{run}.stream || bq-restore >{run}.back.stream"
        )
    };
    scene.sh(&line("drop_good", "touch")).expect(0, "accepted");
    scene.sh(&line("drop_bad", "spoil")).expect(10, "rolled back");
    let there = || scene.look(".*", &["drop_settled"]);
    let all = there();
    assert_eq!(all.len(), 4, "{:?}", all.keys());

    let files = scene.files();
    let so_far = scene.calls_so_far();
    let dry = scene.sh("bq-snap -n --drop drop_good");
    dry.expect(0, "-n");
    assert!(dry.stdout.contains("\"result\":\"would be removed\""), "{}", dry.stdout);
    assert!(scene.calls_since(so_far).iter().all(|call| call.method == "GET"));
    assert!(files == scene.files() && all == there());

    for (run, left) in [("drop_good", 3), ("drop_bad", 2)] {
        let ended = scene.sh(&format!("bq-snap --drop {run}"));
        ended.expect(0, run);
        let line: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
        let snapshot = format!("diagnostic-pro-start-up.drop_settled.t_snapshot_{run}");
        assert_eq!(
            line,
            json!({"type": "removed", "run": run, "snapshot": snapshot, "result": "removed"})
        );
        assert_eq!(there().len(), left, "{:?}", there().keys());
        // Intent and outcome, and what is left to settle: nothing.
        let journal = scene.journal(run);
        let step = |kind: &str| {
            journal
                .iter()
                .filter(|e| e["event"][kind]["step"] == "remove" && e["event"][kind]["table"] == snapshot)
                .count()
        };
        assert_eq!((step("intent"), step("outcome")), (1, 1));
        let again = scene.sh(&format!("bq-snap --drop {run}"));
        again.expect(0, "again");
        assert!(
            again.stdout.is_empty() && again.stderr.contains("has no snapshots left"),
            "{} {}",
            again.stdout,
            again.stderr
        );
    }
    let now = there();
    for (name, table) in &now {
        assert_eq!(table, &all[name], "{name}");
    }
    assert!(
        now.contains_key("drop_settled.t_before_restore_drop_bad"),
        "{:?}",
        now.keys()
    );
    drop(scene.end());
}

#[test]
fn a_run_that_is_not_settled_keeps_its_snapshots() {
    let scene = case("drop_pending");
    scene
        .sh("bq-snap --run drop_p drop_pending.t >snap.stream")
        .expect(0, "bq-snap");
    let refused = |what: &str| {
        let ended = scene.sh("bq-snap --drop drop_p");
        ended.expect(4, what);
        assert!(ended.stderr.contains("bq-restore --run drop_p"), "{}", ended.stderr);
        assert_eq!(scene.look(".*_snapshot_.*", &["drop_pending"]).len(), 1);
    };
    refused("protected");
    scene
        .sh("bq-run touch.sql <snap.stream >run.stream")
        .expect(0, "bq-run");
    refused("migrated");
    scene.sh("bq-snap --drop nobody").expect(1, "no such run");
    scene
        .sh("bq-snap --drop drop_pending_setup")
        .expect(0, "a run without protection has none");
    scene
        .sh("bq-check --run drop_p --accept >accept.stream")
        .expect(0, "--accept");
    scene.sh("bq-snap --drop drop_p >removed.out").expect(0, "accepted");
    assert_eq!(scene.look(".*_snapshot_.*", &["drop_pending"]).len(), 0);
    drop(scene.end());
}
