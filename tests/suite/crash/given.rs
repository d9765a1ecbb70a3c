//! `bq-restore -` over a snapshot that somebody else made, killed at each of its points: the same command finishes.

use super::all;
use super::stage::{Death, Stage};
use crate::scene::{say, share_the_machine};

const RESTORE: &str = "bq-restore -j $JOBS - --discard-foreign d.a <records";

#[test]
fn killed_at_every_point_and_the_same_command_finishes() {
    let _machine = share_the_machine();
    let base = Stage::new(&[(
        "records",
        "{\"type\":\"snapshot\",\"run\":\"g\",\"table\":\"pretend.d.a\",\"snapshot\":\"pretend.d.theirs\"}\n",
    )]);
    base.world.sql("CREATE SNAPSHOT TABLE d.theirs CLONE d.a").unwrap();
    let before = base.tables();
    let theirs = base.world.table("pretend.d.theirs");
    base.later(1);
    base.world
        .sql("DELETE FROM d.a WHERE id = 2; INSERT INTO d.a VALUES (9, 'nine')")
        .unwrap();
    let damaged = base.tables();

    let whole = base.copy();
    let ran = whole.sh(RESTORE, None);
    assert_eq!(ran.status, 10, "{}", ran.stderr);
    let points = whole.points();
    all("deaths of a given restore", &points, |point| {
        let stage = base.copy();
        let death = Death {
            program: point.program.clone(),
            point: point.number,
            machine: false,
        };
        let killed = stage.sh(RESTORE, Some(&death));
        let there = stage.tables();
        let told = |why: &str, said: &str| Err(format!("{}: {why}\n{}\n{said}", point.what, killed.stderr));
        if there != before
            && there["pretend.d.a"].as_ref().map(|t| &t.rows) != damaged["pretend.d.a"].as_ref().map(|t| &t.rows)
            && there["pretend.d.a"].as_ref().map(|t| &t.rows) != before["pretend.d.a"].as_ref().map(|t| &t.rows)
        {
            return told("a table that is neither", "");
        }
        let again = stage.sh(RESTORE, None);
        if again.status != 10 {
            return told(&format!("then {}", again.status), &again.stderr);
        }
        if stage.tables() != before || stage.world.table("pretend.d.theirs") != theirs {
            return told("not as it was", &again.stderr);
        }
        match stage.world.violations().as_slice() {
            [] => Ok(()),
            broken => told(&broken.join("; "), &again.stderr),
        }
    });
    say(&format!("a given restore: killed at each of {} points", points.len()));
}
