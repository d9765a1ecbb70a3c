//! "Could it be undone?": bq-snap before its first snapshot, and `--preflight`, in front of a BigQuery whose rights a
//! test takes away.

use crate::bq_local;
use crate::scene::Scene;
use crate::world::Machine;
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::Duration;
use tests::gateway::{Call, GatewayOptions};

/// What every table of one dataset needs, its snapshots beside it.
const RIGHTS: [&str; 7] = [
    "tables.getData",
    "tables.createSnapshot",
    "tables.update",
    "tables.updateData",
    "tables.delete",
    "tables.deleteSnapshot",
    "tables.restoreSnapshot",
];

/// The calls that ask for rights.
fn asked(machine: &Machine) -> Vec<Call> {
    let calls = machine.gateway.calls().into_iter();
    calls
        .filter(|call| call.path.ends_with(":testIamPermissions"))
        .collect()
}

fn with_faults(script: &str) -> Machine {
    let options = GatewayOptions {
        faults: script.parse().unwrap(),
        ..GatewayOptions::default()
    };
    Machine::behind(1, options)
}

/// Nothing was made: no job, no table, no journal.
#[track_caller]
fn nothing_was_made(machine: &Machine) {
    assert_eq!(machine.world.jobs(), []);
    assert_eq!(only_tables(machine), Vec::<String>::new());
    assert!(!machine.path(".rollback").exists() || fs::read_dir(machine.path(".rollback")).unwrap().next().is_none());
    machine.no_violations();
}

/// What is there that these programs made.
fn only_tables(machine: &Machine) -> Vec<String> {
    let names = machine.world.table_names().into_iter();
    names
        .filter(|n| n.contains("_snapshot_") || n.contains("_before_restore_"))
        .collect()
}

/// Runs it and gives the status, stderr, and the records on stdout.
fn run(machine: &Machine, command: &str) -> (Option<i32>, String, Vec<Value>) {
    let (status, said) = machine.sh(&format!("{command} >out"));
    let text = fs::read_to_string(machine.path("out")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (status, said, records)
}

fn of_type<'r>(records: &'r [Value], kind: &str) -> Vec<&'r Value> {
    records.iter().filter(|record| record["type"] == kind).collect()
}

#[test]
fn each_right_that_is_lacking_refuses_before_anything_is_made() {
    for right in RIGHTS {
        let machine = Machine::new(1);
        machine.world.take_right("pretend.d", right);
        for command in [
            "bq-snap -j 1 d.orders d.stock",
            "bq-snap -n d.orders d.stock",
            "bq-snap --preflight d.orders d.stock",
        ] {
            let (status, said, records) = run(&machine, command);
            // Without `getData` the query about fine-grained DML still goes: it reads no table.
            assert_eq!(status, Some(4), "{right}: {command}\n{said}");
            let what = format!("`bigquery.{right}` (");
            assert!(said.contains(&what), "{right}: {command}\n{said}");
            assert!(
                said.contains("at: table pretend.d.orders") && said.contains("roles/bigquery.data"),
                "{said}"
            );
            let ends = of_type(&records, "end");
            assert_eq!(
                (ends[0]["ok"].as_bool(), ends[0]["code"].as_u64()),
                (Some(false), Some(4))
            );
            if !command.contains("--preflight") {
                nothing_was_made(&machine);
                assert_eq!(of_type(&records, "snapshot"), Vec::<&Value>::new());
            }
        }
    }
}

#[test]
fn a_table_that_may_not_be_read_is_denied_or_named_by_the_report() {
    let machine = Machine::new(1);
    machine.world.take_right("pretend.d.stock", "tables.get");
    let (status, said, _) = run(&machine, "bq-snap d.orders d.stock");
    assert_eq!(status, Some(8), "{said}");
    assert!(said.contains("bigquery.tables.get"), "{said}");
    nothing_was_made(&machine);
    let (status, said, _) = run(&machine, "bq-snap --preflight d.orders d.stock");
    assert_eq!(status, Some(4), "{said}");
    assert!(
        said.contains("bigquery.tables.get") && said.contains("pretend:d.stock"),
        "{said}"
    );
}

#[test]
fn no_preflight_goes_on() {
    let machine = Machine::new(1);
    machine.world.take_right("pretend.d", "tables.restoreSnapshot");
    let (status, said, _) = run(&machine, "bq-snap --no-preflight d.orders d.stock");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!((asked(&machine).len(), only_tables(&machine).len()), (0, 2));
    // What is needed for a snapshot itself, BigQuery refuses.
    let machine = Machine::new(1);
    machine.world.take_right("pretend.d", "tables.createSnapshot");
    let (status, said, _) = run(&machine, "bq-snap --no-preflight d.orders");
    assert_eq!(status, Some(8), "{said}");
    assert!(said.contains("bigquery.tables.createSnapshot denied"), "{said}");
    assert_eq!(only_tables(&machine), Vec::<String>::new());
}

#[test]
fn a_refused_line_migrates_nothing_and_stays_red() {
    let machine = Machine::new(1);
    machine.world.take_right("pretend.d", "tables.deleteSnapshot");
    fs::write(machine.path("m.sql"), "DELETE FROM d.stock WHERE TRUE").unwrap();
    let (status, said) = machine.sh("bq-snap d.stock | bq-run m.sql | bq-check >checks || bq-restore >restore");
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(machine.world.table("pretend.d.stock").unwrap().rows.len(), 2);
    nothing_was_made(&machine);
}

#[test]
fn one_question_a_dataset_unless_everything_was_asked_for() {
    let machine = Machine::new(1);
    let more = "CREATE SCHEMA e; CREATE TABLE e.a (n INT64); CREATE TABLE e.b (n INT64); CREATE SCHEMA apart;";
    machine.world.sql(more).unwrap();
    let all = "d.orders d.stock e.a e.b";
    for (command, questions) in [
        (format!("bq-snap --run r1 {all}"), vec!["d/tables/orders", "e/tables/a"]),
        (format!("bq-snap -n {all}"), vec!["d/tables/orders", "e/tables/a"]),
        // Nothing is in `apart` yet that could be asked about; then there is.
        (
            format!("bq-snap --run r2 --snapshot-dataset apart {all}"),
            vec!["d/tables/orders", "e/tables/a"],
        ),
        (
            format!("bq-snap --run r3 --snapshot-dataset apart {all}"),
            vec!["apart/tables/d__orders_snapshot_r2", "d/tables/orders", "e/tables/a"],
        ),
        (
            format!("bq-snap --preflight {all}"),
            vec!["d/tables/orders", "d/tables/stock", "e/tables/a", "e/tables/b"],
        ),
    ] {
        let before = asked(&machine).len();
        let (status, said, _) = run(&machine, &command);
        assert_eq!(status, Some(0), "{command}\n{said}");
        let mut paths: Vec<String> = asked(&machine)
            .split_off(before)
            .into_iter()
            .map(|call| call.path)
            .collect();
        paths.sort();
        let place = |q: &&str| format!("/bigquery/v2/projects/pretend/datasets/{q}:testIamPermissions");
        assert_eq!(paths, questions.iter().map(place).collect::<Vec<_>>(), "{command}");
    }
    machine.no_violations();
}

#[test]
fn the_dataset_of_the_snapshots_is_asked_about_as_such() {
    for (right, status, expires) in [
        ("tables.restoreSnapshot", 4, ""),
        ("tables.deleteSnapshot", 4, ""),
        ("tables.deleteSnapshot", 0, "--expires never"),
        // The snapshots could not be told how their run ended, and would keep others off its tables.
        ("tables.update", 4, ""),
        // What only tables need.
        ("tables.delete", 0, ""),
        ("tables.createSnapshot", 0, ""),
    ] {
        let machine = Machine::new(1);
        machine
            .world
            .sql("CREATE SCHEMA apart; CREATE TABLE apart.there (n INT64)")
            .unwrap();
        machine.world.take_right("pretend.apart", right);
        let command = format!("bq-snap {expires} --snapshot-dataset apart d.stock");
        let (ended, said, _) = run(&machine, &command);
        assert_eq!(ended, Some(status), "{right} {expires}\n{said}");
        let told = said.contains(&format!("`bigquery.{right}`")) && said.contains("at: dataset pretend.apart");
        assert_eq!(told, status == 4, "{right} {expires}\n{said}");
        if status == 4 {
            nothing_was_made(&machine);
        }
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let machine = Machine::new(1);
    machine
        .world
        .sql("CREATE SCHEMA e OPTIONS(default_table_expiration_days=3); CREATE TABLE e.a (n INT64)")
        .unwrap();
    machine.world.take_right("pretend.d", "tables.createSnapshot");
    machine.world.take_right("pretend.e", "tables.deleteSnapshot");
    let (status, said, records) = run(&machine, "bq-snap --expires never d.orders d.stock e.a");
    assert_eq!(status, Some(4), "{said}");
    for what in [
        "bigquery.tables.createSnapshot",
        "bigquery.tables.deleteSnapshot",
        "`pretend.e` deletes what is made without an expiry after 3 days",
    ] {
        assert!(said.contains(what), "{what}\n{said}");
    }
    assert_eq!(of_type(&records, "error").len(), 3);
    assert_eq!(said.matches("--no-preflight").count(), 1, "{said}");
    nothing_was_made(&machine);
    // An expiry of its own keeps a snapshot from the default.
    let (status, said, _) = run(&machine, "bq-snap --no-preflight e.a");
    assert_eq!(status, Some(8), "{said}");
}

#[test]
fn the_report_looks_at_every_table() {
    let machine = Machine::new(1);
    machine
        .world
        .sql(
            "CREATE SCHEMA e; CREATE TABLE e.a (n INT64); CREATE TABLE e.b (n INT64); CREATE TABLE e.c (n INT64);
             CREATE VIEW e.v AS SELECT 1 AS n",
        )
        .unwrap();
    machine.world.take_right("pretend.d.stock", "tables.createSnapshot");
    machine.world.take_right("pretend.e.a", "tables.updateData");
    machine.world.add_policy("pretend.e.b", "n = 1");
    machine.world.make_fine_grained("pretend.e.c");
    let (status, said, records) = run(&machine, "bq-snap --preflight d.orders d.stock e.a e.b e.c e.v");
    assert_eq!(status, Some(4), "{said}");
    let mut of: Vec<&str> = of_type(&records, "error")
        .iter()
        .filter_map(|r| r["table"].as_str())
        .collect();
    of.sort_unstable();
    assert_eq!(
        of,
        [
            "pretend.d.stock",
            "pretend.e.a",
            "pretend.e.b",
            "pretend.e.c",
            "pretend.e.v"
        ],
        "{said}"
    );
    let line = |check: &str, place: &str| {
        let lines = of_type(&records, "preflight").into_iter();
        let mut lines = lines.filter(|line| line["check"] == check && line["place"] == place);
        let found = lines.next().unwrap_or_else(|| panic!("{check} {place}\n{records:#?}"));
        (found["result"].as_str().unwrap(), found["detail"].as_str().unwrap())
    };
    assert_eq!(line("rights", "pretend.d.orders").0, "ok");
    assert_eq!(line("rights", "pretend.d.stock"), ("lacking", "tables.createSnapshot"));
    assert_eq!(line("rights", "pretend.e.a"), ("lacking", "tables.updateData"));
    // A table with row policies needs more, and here all of it is there.
    assert!(
        line("rights", "pretend.e.b")
            .1
            .contains("overrideTimeTravelRestrictions")
    );
    assert_eq!(line("row policies", "pretend.e.b").0, "refused");
    assert_eq!(line("row policies", "pretend.e.a"), ("ok", "none"));
    assert_eq!(line("fine-grained DML", "pretend.e.c").0, "refused");
    assert_eq!(line("fine-grained DML", "pretend.d").0, "ok");
    assert_eq!(line("table", "pretend.e.v").0, "refused");
    assert!(line("time travel", "pretend.d").1.contains("until 2026-01-08T00:00"));
    assert!(line("snapshots", "pretend.d.stock").1.starts_with("0 of 50"));
    assert_eq!(line("rights", "pretend"), ("ok", "jobs.create"));
    assert_eq!(only_tables(&machine), Vec::<String>::new());
    assert!(!machine.path(".rollback").exists());
    // By default one table stands for its dataset: that `d.stock` lacks a right shows by its own snapshot, still before
    // the migration.
    let (status, said) = machine.sh("bq-snap d.orders d.stock >stream");
    assert_eq!(status, Some(8), "{said}");
    assert!(
        said.contains("bigquery.tables.createSnapshot denied on table pretend:d.stock"),
        "{said}"
    );
}

#[test]
fn the_report_names_a_run_in_hand_and_a_project_without_jobs() {
    let machine = Machine::new(1);
    fs::write(machine.path("m.sql"), "DELETE FROM d.stock WHERE TRUE").unwrap();
    let (status, said) = machine.sh("bq-snap --run r1 d.stock | bq-run m.sql >stream");
    assert_eq!(status, Some(0), "{said}");
    machine.world.take_right("pretend", "jobs.create");
    let before = machine.world.jobs().len();
    let (status, said, records) = run(&machine, "bq-snap --preflight d.orders d.stock");
    assert_eq!(status, Some(4), "{said}");
    assert_eq!(of_type(&records, "error").len(), 2, "{said}");
    assert!(said.contains("hint: bq-restore --run r1"), "{said}");
    assert!(
        said.contains("`bigquery.jobs.create` is lacking") && said.contains("roles/bigquery.jobUser"),
        "{said}"
    );
    // A run would find out by its first job.
    let (status, said, _) = run(&machine, "bq-snap d.orders");
    assert_eq!(status, Some(8), "{said}");
    assert!(said.contains("bigquery.jobs.create permission"), "{said}");
    assert_eq!(machine.world.jobs().len(), before);
}

#[test]
fn with_nothing_to_find_the_report_is_0_and_makes_nothing() {
    let machine = Machine::new(1);
    machine.world.sql("CREATE SCHEMA apart").unwrap();
    machine.world.add_policy("pretend.d.stock", "TRUE");
    let before = (machine.world.table("pretend.d.stock"), machine.world.table_names());
    for command in [
        "bq-snap --preflight d.orders d.stock",
        "bq-snap --preflight -n --snapshot-dataset apart d.orders d.stock",
        "bq-snap --preflight --expires never d.orders d.stock",
    ] {
        let (status, said, records) = run(&machine, command);
        assert_eq!(status, Some(0), "{command}\n{said}");
        // The endpoint that is not Google's; and a policy that lets all rows through, to whom is not told.
        assert_eq!(of_type(&records, "warning").len(), 2, "{command}\n{said}");
        assert_eq!(records.last().unwrap()["ok"], true);
        assert_eq!(of_type(&records, "snapshot"), Vec::<&Value>::new());
        if command.contains("apart") {
            // Whether tables may be made there, and all the rest, nothing being in it.
            let unknown = |r: &&&Value| r["place"] == "pretend.apart" && r["result"] == "unknown";
            assert_eq!(
                of_type(&records, "preflight").iter().filter(unknown).count(),
                2,
                "{said}"
            );
        }
    }
    assert_eq!(
        before,
        (machine.world.table("pretend.d.stock"), machine.world.table_names())
    );
    assert!(machine.world.jobs().iter().all(|job| job.sql.starts_with("SELECT")));
    assert!(!machine.path(".rollback").exists() && !machine.path(".rollback_vars").exists());
    machine.no_violations();
    let (_, _) = machine.sh("bq-snap --preflight --format table -q d.orders >table");
    let table = fs::read_to_string(machine.path("table")).unwrap();
    assert!(
        table.contains("CHECK") && table.contains("tables.createSnapshot"),
        "{table}"
    );
    // It is no stream that anything can be run on.
    fs::write(machine.path("m.sql"), "DELETE FROM d.stock WHERE TRUE").unwrap();
    let (status, said) = machine.sh("bq-snap --preflight d.stock | bq-run m.sql >stream");
    assert_eq!(status, Some(5), "{said}");
}

#[test]
fn an_endpoint_that_cannot_be_asked_is_a_warning_once() {
    for fault in ["404", "405", "501 notImplemented", "400 notImplemented"] {
        for command in ["bq-snap d.orders d.stock", "bq-snap --preflight d.orders d.stock"] {
            let machine = with_faults(&format!("POST :testIamPermissions : {fault}"));
            let (status, said, _) = run(&machine, command);
            assert_eq!(status, Some(0), "{fault}: {command}\n{said}");
            assert_eq!(
                said.matches("could not be tested beforehand").count(),
                1,
                "{fault}\n{said}"
            );
            assert!(!asked(&machine).is_empty());
        }
    }
    // One that answers everything with nothing does not test either: these tables were just read.
    let machine = Machine::new(1);
    for right in RIGHTS.iter().chain(&["tables.get"]) {
        machine.world.take_right("pretend.d", right);
    }
    let (status, said, _) = run(&machine, "bq-snap d.orders");
    assert_eq!(status, Some(8), "{said}");
    // A failure is none of these.
    let machine = with_faults("POST :testIamPermissions : 403 accessDenied");
    let (status, said, _) = run(&machine, "bq-snap d.orders");
    assert_eq!(status, Some(8), "{said}");
    nothing_was_made(&machine);
}

#[test]
fn trouble_is_tried_again_and_is_no_missing_method() {
    for fault in ["html", "empty", "truncate", "apply-then-drop", "reset", "503", "429"] {
        let machine = with_faults(&format!("POST :testIamPermissions #1 : {fault}"));
        let (status, said, _) = run(&machine, "bq-snap d.orders");
        assert_eq!(status, Some(0), "{fault}\n{said}");
        assert_eq!(
            (asked(&machine).len(), said.contains("could not be tested")),
            (2, false),
            "{fault}\n{said}"
        );
        // For ever: then it is not known whether the run could be undone.
        let machine = with_faults(&format!("POST :testIamPermissions : {fault}"));
        let (status, said, _) = run(&machine, "bq-snap --retry-for 5s d.orders");
        assert_eq!(status, Some(7), "{fault}\n{said}");
        nothing_was_made(&machine);
    }
}

#[test]
fn the_right_to_make_tables_is_told_by_the_first_snapshot() {
    let machine = Machine::new(1);
    machine.world.take_right("pretend.d", "tables.create");
    let (status, said, lines) = run(&machine, "bq-snap --preflight d.orders d.stock");
    assert_eq!(status, Some(0), "{said}");
    let unknown =
        |line: &Value| line["result"] == "unknown" && line["detail"].to_string().contains("bigquery.tables.create");
    assert!(lines.iter().any(unknown), "{lines:?}");
    let (status, said, _) = run(&machine, "bq-snap d.orders d.stock");
    assert_eq!(status, Some(8), "{said}");
    assert!(said.contains("bigquery.tables.create"), "{said}");
    assert_eq!(only_tables(&machine), Vec::<String>::new());
    machine.no_violations();
}

#[test]
fn a_question_that_iam_refuses_is_a_warning() {
    let machine = with_faults("POST :testIamPermissions : 400 invalid");
    let (status, said, _) = run(&machine, "bq-snap d.orders d.stock");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(asked(&machine).len(), 1);
    assert!(said.contains("could not be tested beforehand"), "{said}");
}

/// Snapshots of `d.stock` as bq-snap makes them.
fn snapshots(machine: &Machine, from: u32, to: u32) {
    for i in from..to {
        let sql = format!(
            "CREATE SNAPSHOT TABLE d.stock_snapshot_r{i} CLONE d.stock
             OPTIONS(labels=[('bq-rollback-run', 'r{i}'), ('bq-rollback-state', 'accepted')])"
        );
        machine.world.sql(&sql).unwrap();
    }
}

#[test]
fn fifty_snapshots_a_day_are_foreseen() {
    let machine = Machine::new(1);
    snapshots(&machine, 0, 39);
    let say = |status: i32, word: &str, n: usize| {
        let (ended, said, _) = run(&machine, "bq-snap -n d.orders d.stock");
        assert_eq!(ended, Some(status), "{said}");
        let what = format!("{word}: {n} snapshots of `pretend.d.stock` were made in the last 24 hours");
        assert_eq!(said.contains(&what), !word.is_empty(), "{what}\n{said}");
    };
    say(0, "", 39);
    machine.world.advance(Duration::from_secs(3600));
    snapshots(&machine, 39, 40);
    say(0, "warning", 40);
    snapshots(&machine, 40, 50);
    say(4, "error", 50);
    let (_, said, _) = run(&machine, "bq-snap d.orders d.stock");
    assert!(said.contains("run again from 2026-01-02T00:00:00"), "{said}");
    let (ended, said, _) = run(&machine, "bq-snap --no-preflight -n d.stock");
    assert_eq!(ended, Some(0), "{said}");
    machine.world.advance(Duration::from_secs(23 * 3600));
    say(0, "", 11);
    assert_eq!(
        machine
            .world
            .jobs()
            .iter()
            .filter(|job| job.sql.contains("SNAPSHOT"))
            .count(),
        0
    );
}

#[test]
fn snapshots_that_are_gone_count_by_the_journals() {
    let machine = Machine::new(1);
    for i in 0..40 {
        let (ended, said) = machine.sh(&format!("bq-snap -q --run r{i} d.stock >stream"));
        assert_eq!(ended, Some(0), "{i}\n{said}");
        machine
            .world
            .sql(&format!("DROP SNAPSHOT TABLE d.stock_snapshot_r{i}"))
            .unwrap();
    }
    let (ended, said) = machine.sh("bq-snap --run r40 d.stock >stream");
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("40 snapshots of `pretend.d.stock` were made"), "{said}");
}

#[test]
fn a_location_that_is_not_the_tables_is_refused() {
    let machine = Machine::new(1);
    let (ended, said, _) = run(&machine, "bq-snap --location EU d.orders d.stock");
    assert_eq!(ended, Some(4), "{said}");
    assert_eq!(said.matches("jobs are to run in EU").count(), 2, "{said}");
    nothing_was_made(&machine);
    let (ended, said, _) = run(&machine, "bq-snap --location us d.orders d.stock");
    assert_eq!(ended, Some(0), "{said}");
}

#[test]
fn a_local_bigquery_has_every_right() {
    let scene = Scene::at(bq_local::shared().url());
    scene.write(
        "setup.sql",
        "CREATE SCHEMA preflight; CREATE TABLE preflight.a (n INT64) AS SELECT 1 AS n;",
    );
    scene.write("m.sql", "UPDATE preflight.a SET n = 2 WHERE TRUE;");
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.out")
        .expect(0, "setup.sql");
    let report = scene.sh("bq-snap --preflight preflight.a >report.stream");
    report.expect(0, "--preflight");
    assert!(!report.stderr.contains("could not be tested"), "{}", report.stderr);
    let rights = r#""check":"rights","detail":"tables.get, tables.getData"#;
    assert!(
        scene.read("report.stream").contains(rights),
        "{}",
        scene.read("report.stream")
    );
    let line = scene.sh("bq-snap -q preflight.a | bq-run -q m.sql | bq-check -q >checks || bq-restore -q >restore");
    line.expect(0, "the line");
    drop(scene.end());
}

#[test]
fn the_script_of_roles_is_one_that_sh_reads() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/permissions.sh");
    let output = Command::new("sh").args(["-n", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // And says what it would do: each right that bq-snap asks for is one that it grants, where it is asked for.
    let output = Command::new("sh")
        .arg(script)
        .env("DO", "echo")
        .env("SNAPSHOTS", "kept")
        .env("ROW_POLICIES", "yes")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let role = |name: &str| {
        let made = |line: &&str| line.starts_with(&format!("gcloud iam roles create {name} "));
        text.lines().find(made).unwrap_or_else(|| panic!("{name}\n{text}"))
    };
    let grants = |role: &str, right: &str| {
        role.split([',', '=', ' '])
            .any(|word| word == format!("bigquery.{right}"))
    };
    for right in RIGHTS.iter().chain(&["tables.get", "tables.list", "datasets.get"]) {
        assert!(grants(role("bqRollbackTables"), right), "{right}");
    }
    for right in RIGHTS
        .iter()
        .filter(|right| !right.ends_with("createSnapshot") && !right.ends_with(".delete"))
    {
        assert!(grants(role("bqRollbackSnapshots"), right), "{right}");
    }
    for right in [
        "list",
        "getIamPolicy",
        "create",
        "setIamPolicy",
        "overrideTimeTravelRestrictions",
    ] {
        assert!(
            grants(role("bqRollbackPolicies"), &format!("rowAccessPolicies.{right}")),
            "{right}"
        );
    }
    for dataset in ["shop", "crm"] {
        let grant = format!("GRANT `projects/my-project/roles/bqRollbackTables` ON SCHEMA `my-project`.`{dataset}` TO");
        assert!(text.contains(&grant), "{grant}\n{text}");
    }
}
