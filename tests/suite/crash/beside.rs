//! `--to-dataset` and `--rehearse`, killed at each of their points: the same command finishes, no live table is touched, and the run is
//! what it was.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::world::Shown;

use super::promises::ending;
use super::stage::{Death, Stage};
use super::{all, at_calls};
use crate::scene::{say, share_the_machine};

const FILES: [(&str, &str); 2] = [
    ("tables.csv", "table\nd.a\nd.b\n"),
    (
        "m.sql",
        "DELETE FROM d.a WHERE TRUE; UPDATE d.b SET name = 'x' WHERE TRUE;",
    ),
];

/// A run `r` that was rejected.
fn rejected() -> Stage {
    let base = Stage::new(&FILES);
    base.world.sql("CREATE SCHEMA look").unwrap();
    let line = "bq-snap --run r -j $JOBS -f tables.csv | bq-run -j $JOBS m.sql | bq-check -j $JOBS";
    let ran = base.sh(line, None);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    base
}

/// Every live table with all that BigQuery says of it, when it was changed last too.
fn live(stage: &Stage) -> BTreeMap<&'static str, Option<Shown>> {
    let names = ["pretend.d.a", "pretend.d.b", "pretend.d.c"];
    names.into_iter().map(|name| (name, stage.world.table(name))).collect()
}

fn events(stage: &Stage) -> Vec<Value> {
    stage.journals().remove("r").unwrap()
}

/// Kills a command at each of its points and lets it run again, and then looks.
fn killed_everywhere(base: &Stage, command: &str, at_the_end: impl Fn(&Stage) -> Result<(), String> + Sync) {
    let (before, was) = (live(base), ending(&events(base)));
    let whole = base.copy();
    let ran = whole.sh(command, None);
    assert_eq!(ran.status, 0, "{command}: {}", ran.stderr);
    at_the_end(&whole).unwrap_or_else(|why| panic!("{command}: {why}\n{}", ran.stderr));
    let points = at_calls(&whole);
    assert!(points.len() > 10, "{command}: only {} points", points.len());
    all(command, &points, |point| {
        let stage = base.copy();
        let death = Death {
            program: point.program.clone(),
            point: point.number,
            machine: false,
        };
        let killed = stage.sh(command, Some(&death));
        let told = |why: &str, said: &str| Err(format!("{}: {why}\n{}\n{said}", point.what, killed.stderr));
        let again = stage.sh(command, None);
        if again.status != 0 {
            return told(&format!("then {}", again.status), &again.stderr);
        }
        if live(&stage) != before || ending(&events(&stage)) != was {
            return told("a live table was touched, or the run is another", &again.stderr);
        }
        if let Err(why) = at_the_end(&stage) {
            return told(&why, &again.stderr);
        }
        match stage.violations().as_slice() {
            [] => Ok(()),
            broken => told(&broken.join("; "), &again.stderr),
        }
    });
    say(&format!("{command}: killed at each of {} points", points.len()));
}

#[test]
fn what_is_put_beside_is_finished_by_the_same_command() {
    let _machine = share_the_machine();
    let cut = Stage::new(&FILES).tables();
    killed_everywhere(&rejected(), "bq-restore -j $JOBS --to-dataset look", |stage| {
        for (name, beside) in [("pretend.d.a", "pretend.look.a"), ("pretend.d.b", "pretend.look.b")] {
            let (Some(was), Some(made)) = (&cut[name], stage.world.table(beside)) else {
                return Err(format!("there is no {beside}"));
            };
            if made.rows != was.rows {
                return Err(format!("{beside}: {:?} instead of {:?}", made.rows, was.rows));
            }
            for key in ["schema", "description", "labels", "expirationTime"] {
                let (is, want) = (&made.meta[key], &was.meta[key]);
                let is_empty = |value: &Value| value.is_null() || *value == serde_json::json!({});
                if is != want && !(is_empty(is) && is_empty(want)) {
                    return Err(format!("{beside}: {key} is {is} instead of {want}"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn what_a_rehearsal_left_is_dropped_by_the_next() {
    let _machine = share_the_machine();
    let base = rejected();
    killed_everywhere(&base, "bq-restore -j $JOBS --rehearse --run r", |stage| {
        let left = ["pretend.d.a_rehearsal_r", "pretend.d.b_rehearsal_r"];
        match left.iter().find(|name| stage.world.table(name).is_some()) {
            Some(name) => Err(format!("{name} is left")),
            None => Ok(()),
        }
    });
}

#[test]
fn a_dataset_elsewhere_is_refused() {
    let base = rejected();
    base.world.sql("CREATE SCHEMA far OPTIONS(location='EU')").unwrap();
    let before = live(&base);
    for command in ["bq-restore --to-dataset far", "bq-restore --rehearse --to-dataset far"] {
        let ran = base.sh(command, None);
        assert_eq!(ran.status, 4, "{command}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("is in EU, and `pretend.d."),
            "{command}: {}",
            ran.stderr
        );
        assert!(base.world.table("pretend.far.a").is_none() && live(&base) == before);
    }
    assert_eq!(base.violations(), Vec::<String>::new());
}
