//! A run whose journal is lost, rebuilt and rolled back; and one whose snapshots are prolonged: killed at each of their points, and the same
//! command finishes.

use std::fs;

use super::killed_at_each;
use super::stage::Stage;
use crate::scene::share_the_machine;

const MIGRATED: &str = "bq-snap -j $JOBS --run r d.a d.b | bq-run -j $JOBS m.sql >ran";
const BAD: (&str, &str) = (
    "m.sql",
    "DELETE FROM d.a WHERE id = 1; UPDATE d.b SET name = 'x' WHERE id = 10;",
);

#[test]
fn a_lost_run_is_killed_at_every_point_and_the_same_command_finishes() {
    let _machine = share_the_machine();
    let base = Stage::new(&[BAD]);
    let before = base.tables();
    let ran = base.sh(MIGRATED, None);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    fs::remove_dir_all(base.state_dir()).unwrap();
    base.later(10);
    killed_at_each(
        "a lost journal",
        &base,
        "bq-restore -j $JOBS --run r 'd.*'",
        10,
        |stage| stage.tables() == before,
    );
}

#[test]
fn prolonging_is_killed_at_every_point_and_the_same_command_finishes() {
    let _machine = share_the_machine();
    let base = Stage::new(&[BAD]);
    let ran = base.sh(MIGRATED, None);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    base.later(10);
    let month = base.world.now_ms() + 29 * 24 * 3600 * 1000;
    let tables = base.tables();
    killed_at_each("--extend", &base, "bq-snap -j $JOBS --extend r 30d", 0, |stage| {
        let expires = |name: &str| {
            let table = stage.world.table(&format!("pretend.d.{name}_snapshot_r"));
            table.and_then(|t| t.meta["expirationTime"].as_str()?.parse::<i64>().ok())
        };
        stage.tables() == tables && ["a", "b"].iter().all(|name| expires(name).is_some_and(|at| at > month))
    });
}
