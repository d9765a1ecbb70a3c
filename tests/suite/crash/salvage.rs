//! `bq-restore --salvage` killed at each of its points: the same command finishes, and what others added is copied once.

use super::stage::{Death, Stage};
use super::{all, at_calls};
use crate::scene::{say, share_the_machine};

const RESTORE: &str = "bq-restore -j $JOBS --discard-foreign d.a --salvage";

/// The rows of the tables of a world whose name has this in it, table by table.
fn of(stage: &Stage, word: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let names = stage.world.table_names().into_iter().filter(|name| name.contains(word));
    names
        .map(|name| (name.clone(), stage.world.table(&name).unwrap().rows))
        .collect()
}

#[test]
fn killed_at_every_point_and_the_same_command_finishes() {
    let _machine = share_the_machine();
    let base = Stage::new(&[
        ("tables.csv", "table,after\nd.a,>=99\nd.b,\n"),
        (
            "m.sql",
            "DELETE FROM d.a WHERE id = 1; UPDATE d.b SET name = 'x' WHERE id = 10; INSERT INTO d.a VALUES (70, 'migration');",
        ),
    ]);
    let before = base.tables();
    let ran = base.sh(
        "bq-snap -j $JOBS -f tables.csv | bq-run -j $JOBS m.sql | bq-check -j $JOBS",
        None,
    );
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    base.later(1);
    let foreign = "INSERT INTO d.a VALUES (500, 'others'), (500, 'others')";
    base.world.sql(foreign).unwrap();

    let refused = base.copy().sh("bq-restore -j $JOBS", None);
    assert_eq!(refused.status, 4, "{}", refused.stderr);
    let whole = base.copy();
    let ran = whole.sh(RESTORE, None);
    assert_eq!(ran.status, 10, "{}", ran.stderr);
    assert_eq!(whole.tables(), before);
    let side = of(&whole, "_foreign_");
    let row = ["500".to_owned(), "others".to_owned()].to_vec();
    assert_eq!(
        side.iter().map(|(_, rows)| rows.clone()).collect::<Vec<_>>(),
        [vec![row.clone(), row]]
    );
    let points = at_calls(&whole);
    all("deaths of a salvage", &points, |point| {
        let stage = base.copy();
        let death = Death {
            program: point.program.clone(),
            point: point.number,
            machine: point.number % 2 == 0,
        };
        let killed = stage.sh(RESTORE, Some(&death));
        let again = stage.sh(RESTORE, None);
        let told = |why: &str| {
            Err(format!(
                "{}: {why}\n{}\n----\n{}",
                point.what, killed.stderr, again.stderr
            ))
        };
        // Killed after its last word in the journal there is nothing left to do.
        let over = again.status == 1 && again.stderr.contains("no run is pending");
        if again.status != 10 && !over {
            return told(&format!("then {}", again.status));
        }
        if stage.tables() != before {
            return told("the tables are not as they were");
        }
        if of(&stage, "_foreign_") != side {
            return told(&format!("not once what others added: {:?}", of(&stage, "_foreign_")));
        }
        stage.later(120);
        if !of(&stage, "salvaging").is_empty() {
            return told("states of the table are left");
        }
        match stage.world.violations().as_slice() {
            [] => Ok(()),
            broken => told(&broken.join("; ")),
        }
    });
    say(&format!(
        "a salvage: killed at each of its calls, {} plays",
        points.len()
    ));
    assert!(points.len() > 50, "{} points", points.len());
}
