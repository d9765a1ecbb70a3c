//! A table that is protected as absent, and that somebody makes: at each call of the line. Either the run is refused, or nothing was there
//! at the cut: the world's watch looks at that when the migration is submitted.

use super::stage::{Death, Stage};
use super::{all, at_calls};
use crate::scene::{say, share_the_machine};

const LINE: &str = "bq-snap -j 1 --absent-ok -f tables.csv | bq-run -j 1 m.sql | bq-check -j 1";
const FILES: [(&str, &str); 2] = [
    ("tables.csv", "table,after\nd.a,>=3\nd.new,any\n"),
    ("m.sql", "INSERT INTO d.a VALUES (4, 'four');"),
];

#[test]
fn whoever_makes_an_absent_table_is_seen_at_each_call() {
    let _machine = share_the_machine();
    let base = Stage::new(&FILES);
    let whole = base.copy();
    let ran = whole.sh(LINE, None);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(whole.violations(), Vec::<String>::new());
    let calls = whole.calls();
    let cut = calls
        .iter()
        .position(|call| call.body.to_string().contains("AS cut"))
        .unwrap() as u64
        + 1;
    let numbers: Vec<u64> = calls.iter().map(|call| call.n).collect();
    let outcomes = std::sync::Mutex::new(std::collections::BTreeMap::new());
    all("an absent table is made", &numbers, |n| {
        let stage = base.copy();
        let world = stage.world.clone();
        stage.at_call(*n, move || world.sql("CREATE TABLE d.new (id INT64);").unwrap());
        let ran = stage.sh(LINE, None);
        let told = |why: &str| Err(format!("made at call {n}: {why}\n{} {}", ran.status, ran.stderr));
        if !stage.violations().is_empty() {
            return told(&format!("{:?}", stage.violations()));
        }
        let said = |text: &str| ran.stderr.contains(text);
        let how = match ran.status {
            // It is there before it is first looked at: then it is protected like any other; or it is made when nobody looks any more.
            0 if said("others have made it since") => "warned",
            0 => "protected",
            // bq-snap saw it in its second look, and bq-check says that its stream is broken.
            5 if said("did not exist when it was looked at first, and exists now") => "refused",
            _ => return told("neither refused nor warned of"),
        };
        let submitted = stage
            .journals()
            .values()
            .flatten()
            .any(|event| event["intent"]["step"].get("migrate").is_some());
        if submitted == (how == "refused") {
            return told("submitted or not is not as it says");
        }
        // From the first look to the cut nobody may make it unseen.
        let refused = how == "refused" || *n > cut || how == "protected";
        *outcomes.lock().unwrap().entry(how).or_insert(0) += 1;
        if refused {
            Ok(())
        } else {
            told("made before the cut, and only warned of")
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    say(&format!(
        "an absent table is made at each of {} calls: {outcomes:?}",
        numbers.len()
    ));
    // Each way was met: the loop looked at something.
    assert!(
        ["warned", "protected", "refused"]
            .iter()
            .all(|how| outcomes.contains_key(how)),
        "{outcomes:?}"
    );
}

/// Kills a command at each of its points, types it again, and looks.
fn killed_and_typed_again(what: &str, base: &Stage, script: &str, look: impl Fn(&Stage) -> Result<(), String> + Sync) {
    let whole = base.copy();
    let ran = whole.sh(script, None);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    look(&whole).unwrap();
    let points = at_calls(&whole);
    all(what, &points, |point| {
        let stage = base.copy();
        let death = Death {
            program: point.program.clone(),
            point: point.number,
            machine: true,
        };
        let killed = stage.sh(script, Some(&death));
        let again = stage.sh(script, None);
        let told = |why: &str| format!("{why}\n{point:?}\n{}\n{}", killed.stderr, again.stderr);
        match again.status {
            0 => look(&stage).map_err(|why| told(&why)),
            other => Err(told(&format!("{other} instead of 0"))),
        }
    });
    say(&format!("{what}: killed at each of {} points", points.len()));
    assert!(points.len() > 10, "{points:?}");
}

fn none_violated(stage: &Stage) -> Result<(), String> {
    match stage.violations() {
        found if found.is_empty() => Ok(()),
        found => Err(format!("{found:?}")),
    }
}

#[test]
fn absent_tables_are_protected_whoever_dies() {
    let _machine = share_the_machine();
    let base = Stage::new(&FILES);
    let snap = "bq-snap -j 1 --absent-ok --run r -f tables.csv >snap.stream";
    killed_and_typed_again("absent tables", &base, snap, |stage| {
        let ran = stage.sh("bq-run -j 1 m.sql <snap.stream | bq-check -j 1", None);
        match ran.status {
            0 => none_violated(stage),
            other => Err(format!("{other} of the rest of the line\n{}", ran.stderr)),
        }
    });
}

#[test]
fn what_was_being_removed_is_removed() {
    let _machine = share_the_machine();
    let base = Stage::new(&FILES);
    let ran = base.sh("bq-snap -j 1 --run r d.a d.b | bq-run -j 1 m.sql | bq-check -j 1", None);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let copies = || ["a", "b"].map(|name| format!("pretend.d.{name}_snapshot_r"));
    assert!(copies().iter().all(|name| base.world.table(name).is_some()));
    killed_and_typed_again("bq-snap --drop", &base, "bq-snap -j 1 --drop r", |stage| match copies()
        .iter()
        .find(|name| stage.world.table(name).is_some())
    {
        Some(name) => Err(format!("{name} is still there")),
        None => none_violated(stage),
    });
}
