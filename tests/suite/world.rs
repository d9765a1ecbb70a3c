//! The pretend BigQuery under the real programs: whole lines, their end states, and what its watch makes of them.

use crate::built;
use crate::scene::say;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::gateway::{Gateway, GatewayOptions};
use tests::world::{PROJECT, Shown, World};

/// Two tables, with what a rollback has to give back besides rows.
const TABLES: &str = "
CREATE SCHEMA d;
CREATE TABLE d.orders (id INT64 NOT NULL, item STRING, at DATE)
  PARTITION BY at CLUSTER BY item
  OPTIONS(description='all orders', labels=[('team', 'shop')], partition_expiration_days=100000);
INSERT INTO d.orders VALUES (1, 'cup', '2026-01-01'), (2, 'pot', '2026-01-02'), (3, NULL, NULL);
CREATE TABLE d.stock (item STRING, n INT64) OPTIONS(friendly_name='Stock');
INSERT INTO d.stock VALUES ('cup', 7), ('pot', 0);
";

const BOTH: [&str; 2] = ["pretend.d.orders", "pretend.d.stock"];

/// A machine with a state directory, and a world in front of it.
pub(crate) struct Machine {
    pub(crate) world: World,
    pub(crate) gateway: Gateway,
    scratch: TempDir,
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Machine {
        Machine::behind(seed, GatewayOptions::default())
    }

    /// One whose gateway does this.
    pub(crate) fn behind(seed: u64, options: GatewayOptions) -> Machine {
        let world = World::new(seed);
        world.sql(TABLES).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("bin")).unwrap();
        for program in built::PROGRAMS {
            symlink(&built::programs()[program], scratch.path().join("bin").join(program)).unwrap();
        }
        let gateway = Gateway::in_front_of(Arc::new(world.clone()), options).unwrap();
        world.watch(&scratch.path().join(".rollback"));
        Machine {
            world,
            gateway,
            scratch,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Runs a script with `sh`, and says its status and what it said on stderr.
    pub(crate) fn sh(&self, script: &str) -> (Option<i32>, String) {
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(self.scratch.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("BIGQUERY_EMULATOR_HOST", self.gateway.url())
            .env("PROJECT_ID", PROJECT)
            .env("BQ_ROLLBACK_PRETEND_CLOCK", "2026-01-01T00:00:00Z")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// The one line over both tables, with this migration.
    #[track_caller]
    fn line(&self, migration: &str, status: i32) {
        fs::write(self.path("m.sql"), migration).unwrap();
        let line =
            "bq-snap -j 1 d.orders d.stock | bq-run -j 1 m.sql | bq-check -j 1 >checks || bq-restore -j 1 >restore";
        let (ended, said) = self.sh(line);
        assert_eq!(ended, Some(status), "{migration}\n{said}");
    }

    pub(crate) fn tables(&self) -> [Shown; 2] {
        BOTH.map(|name| self.world.table(name).unwrap())
    }

    #[track_caller]
    pub(crate) fn no_violations(&self) {
        assert_eq!(self.world.violations(), Vec::<String>::new());
        assert_eq!(self.gateway.nonconforming(), Vec::<String>::new());
    }
}

/// A table without what a restore may change: when it was made and changed, and of what.
pub(crate) fn without_times(shown: Shown) -> Shown {
    let mut shown = shown;
    for key in ["creationTime", "lastModifiedTime", "etag", "cloneDefinition"] {
        shown.meta.as_object_mut().unwrap().remove(key);
    }
    shown
}

#[test]
fn a_good_migration_is_accepted_and_kept() {
    let machine = Machine::new(1);
    machine.line(
        "INSERT INTO d.orders VALUES (4, 'jug', '2026-01-03'); UPDATE d.stock SET n = n + 1 WHERE item = 'cup';",
        0,
    );
    let [orders, stock] = machine.tables();
    assert_eq!(orders.rows.len(), 4);
    assert_eq!(stock.rows, [["cup", "8"], ["pot", "0"]]);
    let snapshots = machine
        .world
        .table_names()
        .into_iter()
        .filter(|name| name.contains("_snapshot_"));
    let snapshots: Vec<Shown> = snapshots.map(|name| machine.world.table(&name).unwrap()).collect();
    let labels: Vec<_> = snapshots
        .iter()
        .map(|s| s.meta["labels"]["bq-rollback-state"].as_str())
        .collect();
    assert_eq!(labels, [Some("accepted"); 2]);
    machine.no_violations();
    // What the settled run leaves is gone in its time, and nothing else.
    machine.world.advance(Duration::from_secs(25 * 3600));
    assert_eq!(machine.world.table_names(), BOTH);
}

#[test]
fn bad_migrations_are_rolled_back() {
    for (migration, what) in [
        ("DELETE FROM d.orders WHERE id = 1", "rejected: one statement"),
        (
            "INSERT INTO d.stock VALUES ('jug', 1); DELETE FROM d.orders WHERE TRUE; SELECT 1",
            "rejected: a script",
        ),
        (
            "DELETE FROM d.orders WHERE TRUE; SELECT ERROR('half way')",
            "failed half way",
        ),
        (
            "ALTER TABLE d.stock SET OPTIONS(friendly_name='?'); DELETE FROM d.stock WHERE TRUE",
            "options",
        ),
    ] {
        let machine = Machine::new(2);
        let before = machine.tables().map(without_times);
        machine.line(migration, 10);
        assert_eq!(machine.tables().map(without_times), before, "{what}");
        machine.no_violations();
        let kept = machine
            .world
            .table_names()
            .into_iter()
            .filter(|name| name.contains("_before_restore_"));
        assert!(kept.count() > 0, "{what}");
    }
}

#[test]
fn a_table_that_was_restored_twice_is_restored_again() {
    let machine = Machine::new(3);
    let before = machine.tables().map(without_times);
    for _ in 0..3 {
        machine.line("DELETE FROM d.orders WHERE id = 1", 10);
        assert_eq!(machine.tables().map(without_times), before);
        machine.world.advance(Duration::from_secs(60));
    }
    machine.no_violations();
}

#[test]
fn a_line_in_another_location_and_over_odd_names() {
    let machine = Machine::new(4);
    machine
        .world
        .sql(
            "CREATE SCHEMA far OPTIONS(location='europe-west4');
             CREATE TABLE `far.ein Tisch mit ä` (a INT64); INSERT INTO `far.ein Tisch mit ä` VALUES (1)",
        )
        .unwrap();
    let before = machine.world.table("pretend.far.ein Tisch mit ä").map(without_times);
    fs::write(machine.path("m.sql"), "DELETE FROM `far.ein Tisch mit ä` WHERE TRUE").unwrap();
    let line =
        "bq-snap -j 1 'far.ein Tisch mit ä' | bq-run -j 1 m.sql | bq-check -j 1 >checks || bq-restore -j 1 >restore";
    let (ended, said) = machine.sh(line);
    assert_eq!(ended, Some(10), "{said}");
    assert_eq!(
        machine.world.table("pretend.far.ein Tisch mit ä").map(without_times),
        before
    );
    machine.no_violations();
}

#[test]
fn checks_counts_and_unprotected_runs() {
    let machine = Machine::new(5);
    fs::write(machine.path("good.sql"), "SELECT * FROM d.stock WHERE n < 0").unwrap();
    fs::write(machine.path("bad.sql"), "SELECT item, n FROM d.stock WHERE n = 0").unwrap();
    fs::write(machine.path("m.sql"), "INSERT INTO d.stock VALUES ('jug', 1)").unwrap();
    let line = |check: &str| {
        format!(
            "bq-snap -j 1 d.stock | bq-run -j 1 m.sql | bq-check -j 1 --sql {check}.sql >checks || bq-restore -j 1 >restore"
        )
    };
    for (script, status) in [
        ("bq-count -j 1 d.orders d.stock >count".to_owned(), 0),
        (line("good"), 0),
        (line("bad"), 10),
        ("bq-run -j 1 --unprotected m.sql >stream".to_owned(), 0),
    ] {
        let (ended, said) = machine.sh(&script);
        assert_eq!(ended, Some(status), "{script}\n{said}");
    }
    assert_eq!(machine.tables()[1].rows.len(), 4);
    machine.no_violations();
}

#[test]
fn the_watch_sees_what_no_journal_holds() {
    let machine = Machine::new(6);
    // The same line, but nobody can see its journal.
    machine.world.unwatch();
    let (ended, _) = machine.sh("bq-snap -j 1 d.stock >stream");
    assert_ne!(ended, Some(0));
    let violations = machine.world.violations();
    assert!(
        violations
            .iter()
            .any(|v| v.contains("-cut-1") && v.contains("before its intent")),
        "{violations:?}"
    );
    assert_eq!(machine.world.jobs(), []);
}

#[test]
fn the_watch_sees_a_migration_without_its_snapshots() {
    let machine = Machine::new(7);
    fs::write(machine.path("m.sql"), "DELETE FROM d.stock WHERE TRUE").unwrap();
    let (ended, said) = machine.sh("bq-snap -j 1 --run r d.stock >stream");
    assert_eq!(ended, Some(0), "{said}");
    // A job of the run's own ID, its intent forged, after the snapshot is gone.
    machine.world.sql("DROP SNAPSHOT TABLE d.stock_snapshot_r").unwrap();
    let journal = machine.path(".rollback/r.jsonl");
    let intent = r#"{"at":"2026-01-01T00:00:00Z","event":{"intent":{"job":"bq-rollback-r-migrate1-1"}}}"#;
    let forged = fs::read_to_string(&journal).unwrap() + intent + "\n";
    fs::write(&journal, forged).unwrap();
    let ask = r#"{"jobReference":{"projectId":"pretend","jobId":"bq-rollback-r-migrate1-1"},
        "configuration":{"query":{"query":"DELETE FROM d.stock WHERE TRUE","useLegacySql":false}}}"#;
    post(&machine, ask);
    let violations = machine.world.violations();
    assert!(
        violations.iter().any(|v| v.contains("has no snapshot")),
        "{violations:?}"
    );
}

/// Sends a job past the programs.
fn post(machine: &Machine, body: &str) {
    let url = format!("{}/bigquery/v2/projects/{PROJECT}/jobs", machine.gateway.url());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    runtime.block_on(client.post(url).body(body.to_owned()).send()).unwrap();
}

#[test]
fn two_runs_of_one_seed_do_the_same_and_a_fork_goes_its_own_way() {
    let machine = Machine::new(8);
    machine.line("DELETE FROM d.orders WHERE id = 1", 10);
    let checkpoint = machine.world.fork();
    machine.world.sql("DROP TABLE d.stock").unwrap();
    assert!(checkpoint.table(BOTH[1]).is_some() && machine.world.table(BOTH[1]).is_none());
    let again = Machine::new(8);
    again.line("DELETE FROM d.orders WHERE id = 1", 10);
    let rows = |world: &World| BOTH.map(|name| world.table(name).map(|t| t.rows));
    assert_eq!(rows(&again.world), rows(&checkpoint));
    let calls = |machine: &Machine| machine.gateway.calls().len();
    assert_eq!(calls(&again), calls(&machine));
}

#[test]
fn how_long_a_line_takes() {
    const LINES: u32 = 10;
    let machine = Machine::new(9);
    let start = Instant::now();
    for _ in 0..LINES {
        machine.line("DELETE FROM d.orders WHERE id = 1", 10);
        machine.world.advance(Duration::from_secs(60));
    }
    let each = start.elapsed() / LINES;
    let calls = machine.gateway.calls().len();
    say(&format!(
        "a rejected line over two tables in front of the pretend BigQuery: {} ms, {} calls",
        each.as_millis(),
        calls / LINES as usize
    ));
    machine.no_violations();
}
