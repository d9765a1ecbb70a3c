//! A lost journal is not a lost run; and how long a run can be rolled back, told and prolonged. On the pretend BigQuery, and, where tables
//! are to be read back by somebody else's client, on `bq-local`.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tests::world::Shown;

use crate::bq_local;
use crate::scene::Scene;
use crate::world::{Machine, without_times};

const HOUR: u64 = 3600;

/// A machine on which this migration ran over both tables as run `r`, and what they were before it.
fn migrated(migration: &str) -> (Machine, [Shown; 2]) {
    let machine = Machine::new(1);
    let before = machine.tables().map(without_times);
    fs::write(machine.path("m.sql"), migration).unwrap();
    ran(&machine, "bq-snap --run r d.orders d.stock | bq-run m.sql >ran", 0);
    (machine, before)
}

const BAD: &str = "DELETE FROM d.orders WHERE id = 1; UPDATE d.stock SET n = 100 WHERE TRUE;";

/// Runs a script, which ends so, and says what it said.
#[track_caller]
fn ran(machine: &Machine, script: &str, status: i32) -> String {
    let (ended, said) = machine.sh(script);
    assert_eq!(ended, Some(status), "{script}\n{said}");
    said
}

fn lose_the_journal(machine: &Machine) {
    fs::remove_dir_all(machine.path(".rollback")).unwrap();
}

fn now(machine: &Machine) -> [Shown; 2] {
    machine.tables().map(without_times)
}

fn label(machine: &Machine, table: &str, labels: &str) {
    let sql = format!("ALTER SNAPSHOT TABLE d.{table}_snapshot_r SET OPTIONS(labels=[{labels}])");
    machine.world.sql(&sql).unwrap();
}

fn label_both(machine: &Machine, labels: &str) {
    ["orders", "stock"]
        .iter()
        .for_each(|table| label(machine, table, labels));
}

fn snapshots_say(machine: &Machine) -> Vec<String> {
    let snapshots = machine.world.table_names().into_iter();
    let state = |name: String| machine.world.table(&name).unwrap().meta["labels"]["bq-rollback-state"].clone();
    let states = snapshots.filter(|name| name.contains("_snapshot_")).map(state);
    states
        .map(|state| state.as_str().unwrap_or_default().to_owned())
        .collect()
}

fn journal(machine: &Machine, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(machine.path(&format!(".rollback/{run}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_whose_journal_is_lost_is_rolled_back_from_its_snapshots() {
    for named in ["'d.*'", "d.orders d.stock", "pretend.d.stock d.orders"] {
        let (machine, before) = migrated(BAD);
        lose_the_journal(&machine);
        let said = ran(&machine, "bq-restore --run r", 1);
        assert!(said.contains("bq-restore --run r dataset.*"), "{said}");
        let calls = machine.gateway.calls().len();
        ran(&machine, &format!("bq-restore -n --run r {named}"), 0);
        assert!(!machine.path(".rollback").exists(), "-n wrote a journal");
        let changing = |call: &tests::gateway::Call| call.method == "PATCH" || call.path.ends_with("/cancel");
        assert!(
            !machine.gateway.calls()[calls..].iter().any(changing),
            "-n changed something"
        );
        let said = ran(&machine, &format!("bq-restore --run r {named} >restored"), 10);
        assert!(said.contains("was rebuilt from 2 of its snapshots"), "{said}");
        assert_eq!(now(&machine), before, "{named}");
        assert_eq!(snapshots_say(&machine), ["rolled-back"; 2]);
        // The same command compares again; so does the one that names no table.
        ran(&machine, &format!("bq-restore --run r {named}"), 10);
        ran(&machine, "bq-restore --run r", 10);
        machine.no_violations();
    }
}

#[test]
fn what_was_lost_twice_is_found_twice() {
    let (machine, before) = migrated(BAD);
    lose_the_journal(&machine);
    ran(&machine, "bq-restore --run r 'd.*'", 10);
    lose_the_journal(&machine);
    // What put the tables back was ours, and is not taken for others' writes.
    ran(&machine, "bq-restore --run r 'd.*'", 10);
    assert_eq!(now(&machine), before);
    machine.no_violations();
}

#[test]
fn only_the_tables_that_are_named_are_put_back_and_the_rest_can_be() {
    let (machine, before) = migrated(BAD);
    lose_the_journal(&machine);
    let damaged = now(&machine);
    let said = ran(&machine, "bq-restore --run r d.stock", 10);
    assert!(said.contains("run r stays pending"), "{said}");
    assert_eq!(now(&machine), [damaged[0].clone(), before[1].clone()]);
    ran(&machine, "bq-restore --run r d.none", 1);
    ran(&machine, "bq-restore --run r", 10);
    assert_eq!(now(&machine), before);
    machine.no_violations();
}

#[test]
fn what_is_not_there_is_no_run() {
    let (machine, _) = migrated(BAD);
    lose_the_journal(&machine);
    let damaged = now(&machine);
    machine
        .world
        .sql("CREATE SCHEMA other; CREATE TABLE other.t (id INT64)")
        .unwrap();
    for (command, status) in [
        ("bq-restore --run r d.none", 1),
        ("bq-restore --run r d.orders d.none", 1),
        ("bq-restore --run r 'other.*'", 1),
        ("bq-restore --run another 'd.*'", 1),
        ("bq-restore --run r 'gone.*'", 2),
        ("bq-restore --run r - d.orders </dev/null", 2),
        ("bq-restore --run r d.orders d.orders", 2),
        ("bq-restore --run r -f m.sql", 2),
    ] {
        ran(&machine, command, status);
        assert!(!machine.path(".rollback").exists(), "{command} left a journal");
    }
    assert_eq!(now(&machine), damaged);
    machine.no_violations();
}

#[test]
fn an_accepted_run_is_rolled_back_only_when_a_person_says_so() {
    let good = "INSERT INTO d.stock VALUES ('jug', 1)";
    let machine = Machine::new(2);
    let before = machine.tables().map(without_times);
    fs::write(machine.path("m.sql"), good).unwrap();
    ran(
        &machine,
        "bq-snap --run r d.orders d.stock | bq-run m.sql | bq-check >checked",
        0,
    );
    assert_eq!(snapshots_say(&machine), ["accepted"; 2]);
    lose_the_journal(&machine);
    let after = now(&machine);
    let said = ran(&machine, "bq-restore --run r 'd.*'", 4);
    assert!(
        said.contains("say that it was accepted") && said.contains("--even-accepted"),
        "{said}"
    );
    assert!(!machine.path(".rollback").exists());
    assert_eq!(now(&machine), after);
    ran(&machine, "bq-restore --run r --even-accepted 'd.*'", 0);
    assert_eq!(now(&machine), before);
    assert_eq!(snapshots_say(&machine), ["rolled-back"; 2]);
    machine.no_violations();
}

#[test]
fn without_a_label_nobody_knows_whether_it_was_accepted() {
    let (machine, before) = migrated(BAD);
    lose_the_journal(&machine);
    label_both(&machine, "");
    let damaged = now(&machine);
    let said = ran(&machine, "bq-restore --run r 'd.*'", 4);
    assert!(said.contains("whether run `r` was accepted is not known"), "{said}");
    assert_eq!(now(&machine), damaged);
    assert!(!machine.path(".rollback").exists());
    ran(&machine, "bq-restore --run r --even-accepted 'd.*'", 0);
    assert_eq!(now(&machine), before);
    machine.no_violations();
}

#[test]
fn snapshots_of_a_dataset_of_their_own_are_found_in_it() {
    for command in [
        "bq-restore --run r 's.*'",
        "bq-restore --run r --snapshot-dataset s d.orders d.stock",
        "bq-restore --run r --snapshot-dataset s 'd.*'",
    ] {
        let machine = Machine::new(3);
        machine.world.sql("CREATE SCHEMA s").unwrap();
        let before = now(&machine);
        fs::write(machine.path("m.sql"), BAD).unwrap();
        let line = "bq-snap --run r --snapshot-dataset s d.orders d.stock | bq-run m.sql >ran";
        ran(&machine, line, 0);
        lose_the_journal(&machine);
        ran(&machine, "bq-restore --run r d.orders", 1);
        ran(&machine, command, 10);
        assert_eq!(now(&machine), before, "{command}");
        machine.no_violations();
    }
}

#[test]
fn a_run_that_was_never_submitted_is_given_up() {
    let machine = Machine::new(4);
    let before = now(&machine);
    ran(&machine, "bq-snap --run r d.orders d.stock >snapped", 0);
    lose_the_journal(&machine);
    ran(&machine, "bq-restore --run r 'd.*'", 1);
    assert_eq!(snapshots_say(&machine), ["abandoned"; 2]);
    assert_eq!(now(&machine), before);
    machine.no_violations();
}

#[test]
fn what_others_wrote_is_refused_as_with_a_journal() {
    let (machine, before) = migrated(BAD);
    lose_the_journal(&machine);
    machine.world.advance(Duration::from_secs(60));
    machine.world.sql("INSERT INTO d.stock VALUES ('theirs', 1)").unwrap();
    let theirs = now(&machine);
    let said = ran(&machine, "bq-restore --run r 'd.*'", 4);
    assert!(said.contains("others have written to `pretend.d.stock`"), "{said}");
    assert!(said.contains("can be rolled back until 2026-01-08"), "{said}");
    assert_eq!(now(&machine), theirs);
    ran(&machine, "bq-restore --run r 'd.*' --discard-foreign d.stock", 10);
    assert_eq!(now(&machine), before);
    machine.no_violations();
}

#[test]
fn pending_asks_bigquery_for_the_open_runs_over_a_list() {
    for list in ["table\nd.orders\n", "table\nd.*\n"] {
        let (machine, before) = migrated(BAD);
        lose_the_journal(&machine);
        fs::write(machine.path("tables.csv"), list).unwrap();
        // In hand, for all that can be seen from here.
        ran(&machine, "bq-restore --pending -f tables.csv -n", 6);
        machine.world.advance(Duration::from_secs(61));
        ran(&machine, "bq-restore --pending", 0);
        assert_ne!(now(&machine), before);
        ran(&machine, "bq-restore --pending -f tables.csv", 10);
        assert_eq!(now(&machine), before, "{list}");
        ran(&machine, "bq-restore --pending -f tables.csv", 0);
        machine.no_violations();
    }
}

#[test]
fn pending_leaves_what_was_never_submitted() {
    let machine = Machine::new(6);
    fs::write(machine.path("tables.csv"), "table\nd.orders\nd.stock\n").unwrap();
    ran(&machine, "bq-snap --run r d.orders d.stock >snapped", 0);
    lose_the_journal(&machine);
    let said = ran(&machine, "bq-restore --pending -f tables.csv", 0);
    assert!(said.contains("its migration was never submitted"), "{said}");
    assert_eq!(
        snapshots_say(&machine),
        ["open"; 2],
        "it is somebody's, who may still submit it"
    );
    fs::write(machine.path("empty.csv"), "table\n").unwrap();
    ran(&machine, "bq-restore --pending -f empty.csv", 2);
    ran(&machine, "bq-restore -f tables.csv", 2);
    machine.no_violations();
}

// ---- deadlines ----

fn lives_until(machine: &Machine, table: &str) -> i64 {
    let snapshot = machine.world.table(&format!("pretend.d.{table}_snapshot_r")).unwrap();
    snapshot.meta["expirationTime"].as_str().unwrap().parse().unwrap()
}

/// What `--list` says of run `r`, and on stderr.
fn listed(machine: &Machine, more: &str) -> (Value, String) {
    let said = ran(machine, &format!("bq-restore --list {more} >listed"), 0);
    let text = fs::read_to_string(machine.path("listed")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (lines.find(|line| line["type"] == "run").unwrap(), said)
}

#[test]
fn snapshots_are_prolonged_and_never_made_shorter() {
    let (machine, before) = migrated(BAD);
    let was = lives_until(&machine, "stock");
    ran(&machine, "bq-snap -n --extend r 30d >prolonged", 0);
    assert_eq!(lives_until(&machine, "stock"), was, "-n");
    ran(&machine, "bq-snap --extend r 30d >prolonged", 0);
    let prolonged = lives_until(&machine, "stock");
    let days = (prolonged - machine.world.now_ms()) / 1000 / 3600;
    assert!((719..=720).contains(&days), "{days}");
    assert_eq!(prolonged, lives_until(&machine, "orders"));
    let (run, _) = listed(&machine, "");
    let until: jiff::Timestamp = run["until"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.as_millisecond(), prolonged);
    assert!(
        run["time_travel_until"].as_str().unwrap().starts_with("2026-01-08"),
        "{run}"
    );
    let said = ran(&machine, "bq-snap --extend r 1d >prolonged", 0);
    assert!(said.contains("2 snapshots of run r live longer"), "{said}");
    assert_eq!(lives_until(&machine, "stock"), prolonged);
    // A stream without a snapshot record: nothing of it can be taken for protection.
    let stream = fs::read_to_string(machine.path("prolonged")).unwrap();
    assert!(!stream.contains(r#""type":"snapshot""#), "{stream}");

    // Past the seven days; the run is pending still, and settled as ever.
    machine.world.advance(Duration::from_secs(20 * 24 * HOUR));
    ran(&machine, "bq-restore --run r >restored", 10);
    assert_eq!(now(&machine), before);
    let restored = fs::read_to_string(machine.path("restored")).unwrap();
    let until = format!(r#""until":"{}"#, jiff::Timestamp::from_millisecond(prolonged).unwrap());
    assert!(restored.contains(until.trim_end_matches('Z')), "{restored}");
    // Rolled back: a day, and then another two.
    let settled = lives_until(&machine, "stock");
    assert!(settled < prolonged);
    ran(&machine, "bq-snap --extend r 3d", 0);
    assert!(lives_until(&machine, "stock") >= settled + 47 * 3600 * 1000);
    let extends = journal(&machine, "r");
    let extended = extends.iter().filter(|entry| !entry["event"]["extended"].is_null());
    assert_eq!(extended.count(), 4);
    machine.no_violations();
}

#[test]
fn a_snapshot_that_is_gone_cannot_be_prolonged_and_is_named() {
    let (machine, _) = migrated(BAD);
    machine.world.sql("DROP SNAPSHOT TABLE d.stock_snapshot_r").unwrap();
    let said = ran(&machine, "bq-snap --extend r 30d", 3);
    assert!(
        said.contains("the snapshot of `pretend.d.stock` has expired or was deleted"),
        "{said}"
    );
    assert!(
        said.contains("can be read as of the cut until about 2026-01-08"),
        "{said}"
    );
    machine.world.advance(Duration::from_secs(31 * 24 * HOUR));
    // Nothing that is there tells BigQuery's time: the local clock has to do for a hint.
    let late = "BQ_ROLLBACK_PRETEND_CLOCK=2026-02-05T00:00:00Z";
    let said = ran(&machine, &format!("{late} bq-snap --extend r 30d"), 4);
    assert!(said.contains("a backup is what is left"), "{said}");
    machine.no_violations();
}

#[test]
fn what_cannot_be_prolonged_is_refused() {
    let (machine, _) = migrated(BAD);
    ran(&machine, "bq-run --run u --unprotected m.sql >ran", 0);
    for (command, status) in [
        ("bq-snap --extend none 24h", 1),
        ("bq-snap --extend u 24h", 4),
        ("bq-snap --extend r soon", 2),
        ("bq-snap --extend r 0s", 2),
        ("bq-snap --extend r", 2),
        ("bq-snap --extend R 24h", 2),
        ("bq-snap --extend r 24h d.stock", 2),
        ("bq-snap --list d.stock", 2),
        ("bq-snap --warn-under 6h", 2),
        ("bq-restore --warn-under 6h", 2),
        ("bq-restore --list --warn-under soon", 2),
    ] {
        ran(&machine, command, status);
    }
    machine.no_violations();
}

#[test]
fn a_list_warns_of_pending_runs_that_are_near_their_end() {
    let (machine, _) = migrated(BAD);
    let (_, said) = listed(&machine, "");
    assert_eq!(said, "", "a week is time enough");
    let (_, said) = listed(&machine, "--warn-under 8d");
    assert!(
        said.contains("its snapshots expire in") && said.contains("bq-snap --extend r 24h"),
        "{said}"
    );
    let text = fs::read_to_string(machine.path("listed")).unwrap();
    assert!(
        text.lines().any(|line| line.contains(r#""type":"warning","run":"r""#)),
        "{text}"
    );
    let later = |script: &str| format!("BQ_ROLLBACK_PRETEND_CLOCK=2026-01-09T00:00:00Z {script}");
    let said = ran(&machine, &later("bq-snap --list"), 0);
    assert!(said.contains("is past its deadline"), "{said}");
    let said = ran(&machine, &later("bq-snap -q --list >listed"), 0);
    assert_eq!(said, "");
    let text = fs::read_to_string(machine.path("listed")).unwrap();
    assert!(text.contains("is past its deadline"), "{text}");
    ran(&machine, "bq-restore", 10);
    let said = ran(&machine, &later("bq-restore --list"), 0);
    assert_eq!(said, "", "a run that is settled needs no more time");
    machine.no_violations();
}

// ---- on an engine that is not ours ----

#[test]
fn on_bq_local_a_lost_journal_is_rebuilt_and_snapshots_are_prolonged() {
    let _machine = crate::scene::share_the_machine();
    let scene = Scene::at(bq_local::shared().url());
    scene.write(
        "setup.sql",
        "CREATE SCHEMA lost; CREATE TABLE lost.a (id INT64 NOT NULL, name STRING); INSERT INTO lost.a VALUES (1, 'x'), (2, NULL);
         CREATE TABLE lost.b (id INT64) OPTIONS(description='the second'); INSERT INTO lost.b VALUES (3);",
    );
    scene.write(
        "bad.sql",
        "DELETE FROM lost.a WHERE id = 1; UPDATE lost.b SET id = 4 WHERE TRUE;",
    );
    scene
        .sh("bq-run -q --run lost_setup --unprotected setup.sql >setup.stream")
        .expect(0, "setup");
    let before = scene.look("a|b", &["lost"]);
    scene
        .sh("bq-snap -q --run lost_1 lost.a lost.b | bq-run -q bad.sql >ran.stream")
        .expect(0, "the migration");
    scene
        .sh("bq-snap -q --extend lost_1 30d >prolonged.jsonl")
        .expect(0, "--extend");
    let prolonged = scene.look(".*_snapshot_lost_1", &["lost"]);
    let expires = |table: &Value| table["expirationTime"].as_str().unwrap().parse::<i64>().unwrap();
    let in_29_days = jiff::Timestamp::now().as_millisecond() + 29 * 24 * 3600 * 1000;
    assert_eq!(prolonged.len(), 2);
    assert!(
        prolonged.values().all(|table| expires(table) > in_29_days),
        "{prolonged:?}"
    );
    assert_ne!(scene.look("a|b", &["lost"]), before);
    scene.sh("rm -r .rollback").expect(0, "rm");
    scene
        .sh("bq-restore --run lost_1 'lost.*' >restored.stream")
        .expect(10, "the journal is lost");
    assert_eq!(scene.look("a|b", &["lost"]), before);
    drop(scene.end());
}
