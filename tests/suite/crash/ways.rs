//! Every way back, its undo, and what is emptied besides: killed at each of their points, and the same command finishes. Whoever looks at any
//! time finds a copy of what was there, which the world watches over.

use super::stage::Stage;
use super::{killed_at_each, killed_at_one_in};
use crate::scene::share_the_machine;

/// Another layout, a drop, and a view in the place of a table.
const EVERYTHING: &str =
    "DROP TABLE d.a; CREATE TABLE d.a (id INT64, name STRING) CLUSTER BY name; INSERT INTO d.a VALUES (9, 'nine');
DROP TABLE d.b;
DROP TABLE d.c; CREATE VIEW d.c AS SELECT id FROM d.free;";

/// A stage on which this migration has run.
fn migrated(sql: &str, snap: &str, run: &str) -> Stage {
    let stage = Stage::new(&[("m.sql", sql)]);
    let line = format!("bq-snap -j $JOBS --run r {snap} | bq-run -j $JOBS {run} m.sql >ran");
    let ran = stage.sh(&line, None);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    stage.later(10);
    stage
}

/// Whether nothing that was made beside a table is still there.
fn tidy(stage: &Stage) -> bool {
    let numbers = ["", "_2", "_3", "_51", "_101", "_102", "_201"];
    let of = |table: &str| numbers.map(|number| format!("pretend.d.{table}_restoring_r{number}"));
    ["a", "b", "c", "new"]
        .iter()
        .flat_map(|table| of(table))
        .all(|name| stage.world.table(&name).is_none())
}

#[test]
fn every_way_is_killed_at_every_point_and_the_same_command_finishes() {
    let _machine = share_the_machine();
    let before = Stage::new(&[]).tables();
    let base = migrated(EVERYTHING, "d.a d.b d.c", "");
    let after = base.tables();
    assert_ne!(after, before);
    let restore = "bq-restore -j $JOBS --run r";
    killed_at_each("every way back", &base, restore, 10, |stage| {
        stage.tables() == before && tidy(stage)
    });
    let staged = format!("{restore} --stage");
    killed_at_one_in(4, "every way back, staged", &base, &staged, 10, |stage| {
        stage.tables() == before && tidy(stage)
    });

    // And back again.
    let undone = base.copy();
    assert_eq!(undone.sh(restore, None).status, 10);
    let undo = "bq-restore -j $JOBS --undo --run r";
    killed_at_one_in(3, "an undo", &undone, undo, 0, |stage| {
        stage.tables() == after && tidy(stage)
    });
    assert_eq!(undone.sh(undo, None).status, 0);
    let again = format!("{restore} --even-accepted");
    killed_at_one_in(4, "a rollback after its undo", &undone, &again, 0, |stage| {
        stage.tables() == before && tidy(stage)
    });
}

#[test]
fn what_is_taken_from_history_is_killed_at_every_point() {
    let _machine = share_the_machine();
    let base = Stage::new(&[("m.sql", "DELETE FROM d.a WHERE TRUE; DROP TABLE d.b; DROP TABLE d.c")]);
    // What comes back of what was dropped has lost its clustering: it is made anew, and filled.
    base.world
        .sql("DROP TABLE d.b; CREATE TABLE d.b (id INT64, name STRING) CLUSTER BY name; INSERT INTO d.b VALUES (10, 'ten')")
        .unwrap();
    let before = base.tables();
    let ran = base.sh(
        "bq-snap -j $JOBS --run r d.a d.b d.c | bq-run -j $JOBS m.sql >ran",
        None,
    );
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    base.later(10);
    for table in ["a", "b"] {
        base.world
            .sql(&format!("DROP SNAPSHOT TABLE d.{table}_snapshot_r"))
            .unwrap();
    }
    killed_at_each("history", &base, "bq-restore -j $JOBS --run r", 10, |stage| {
        stage.tables() == before && tidy(stage)
    });
}

#[test]
fn what_was_absent_and_what_is_emptied_are_killed_at_every_point() {
    let _machine = share_the_machine();
    let before = Stage::new(&[]).tables();
    let base = migrated(
        "CREATE TABLE d.new (id INT64); INSERT INTO d.new VALUES (1); INSERT INTO d.free VALUES (5), (6); DELETE FROM d.a WHERE TRUE",
        "--absent-ok d.a d.new",
        "--allow-unprotected d.free",
    );
    let rows = |stage: &Stage, name: &str| stage.world.table(&format!("pretend.d.{name}")).map(|t| t.rows.len());
    killed_at_one_in(
        2,
        "absent, and emptied",
        &base,
        "bq-restore -j $JOBS --run r --clear d.free",
        10,
        |stage| {
            stage.tables() == before && rows(stage, "new").is_none() && rows(stage, "free") == Some(0) && tidy(stage)
        },
    );
    let undone = base.copy();
    assert_eq!(undone.sh("bq-restore -j $JOBS --run r --clear d.free", None).status, 10);
    killed_at_one_in(
        4,
        "the undo of both",
        &undone,
        "bq-restore -j $JOBS --undo --run r",
        0,
        |stage| {
            stage.tables() == base.tables()
                && rows(stage, "new") == Some(1)
                && rows(stage, "free") == Some(2)
                && tidy(stage)
        },
    );
}
