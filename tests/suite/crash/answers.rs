//! Answers that are not quite those we know: with fields that nobody knew when the programs were written, and without
//! fields that Google's definition does not promise.
//!
//! What is unknown changes nothing. What is missing changes nothing, or the programs refuse and say so: they never take
//! it for what they would like to read there. Either way the run can be settled once BigQuery answers as it should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use tests::conformance::{Definition, json_of};
use tests::gateway::Ask;
use tests::world::Shown;

use super::promises::{Ending, at_any_time, at_the_end, ending};
use super::stage::{Change, Ran, Stage};
use super::{After, LINE, Prepared, SCENARIOS, Scenario, all, note, prepare};
use crate::scene::{say, share_the_machine};

/// Objects whose keys are the caller's: what is added there is no unknown field.
const MAPS: [&str; 1] = ["labels"];

/// A rejected migration that leaves as many rows as there were: nothing but the contents tell that it was there.
const REWRITTEN: Scenario = Scenario {
    name: "rewritten",
    files: &[
        ("tables.csv", "table,after\nd.a,>=3\nd.b,=1\n"),
        (
            "m.sql",
            "UPDATE d.a SET name = 'new' WHERE id = 1; UPDATE d.b SET name = 'x' WHERE id = 10;",
        ),
    ],
    before: "",
    line: LINE,
    status: 10,
};

/// Places whose absence is an answer: that there is none. Nobody can tell such a table from one that has none, so what
/// is put back is what was seen. Each with what it is in a table.
const THERE_IS_NONE: [(&str, &str, &str); 2] = [
    ("tables.get", "description", "/description"),
    ("tables.get", "labels.team", "/labels"),
];

/// How a play ends that the missing field changes nothing of.
const AS_WITHOUT: &str = "as without";

/// The codes of the contract that say that what was asked is not so.
const REFUSALS: std::ops::RangeInclusive<i32> = 1..=9;

fn prepared(name: &str) -> Prepared {
    prepare(SCENARIOS.iter().find(|s| s.name == name).unwrap())
}

/// Which answers are meant: the method, and whether it was a dry run.
fn method_of(ask: &Ask) -> String {
    let definition = Definition::shared().unwrap();
    let (method, _) = definition.method(ask.method.as_str(), &ask.target).unwrap();
    let name = method.id.strip_prefix("bigquery.").unwrap();
    match json_of(ask)["configuration"]["dryRun"] {
        Value::Bool(true) => format!("{name} (dry)"),
        _ => name.to_owned(),
    }
}

// ---- what nobody knew ----

fn add_unknown(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_unknown),
        Value::Object(fields) => {
            for (_, value) in fields.iter_mut().filter(|(name, _)| !MAPS.contains(&name.as_str())) {
                add_unknown(value);
            }
            fields.insert("aFieldOfTomorrow".into(), json!("ERROR"));
            fields.insert("state2".into(), json!({ "state": "DONE", "errorResult": null }));
            fields.insert("zzz".into(), json!([{ "f": [{ "v": "1" }] }, 7, null]));
        }
        _ => {}
    }
}

#[test]
fn fields_that_nobody_knows_change_nothing() {
    let _machine = share_the_machine();
    for name in ["good", "rejected", "restore"] {
        let scenario = prepared(name);
        let line = scenario.scenario.line;
        let seen = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&seen);
        let change: Change = Arc::new(move |_, answer| {
            *counted.lock().unwrap() += 1;
            add_unknown(answer);
        });
        let (plain, strange) = (scenario.base.copy(), scenario.base.copy().changing(change));
        let [without, with] = [&plain, &strange].map(|stage| stage.sh(line, None));
        assert_eq!(with.status, without.status, "{name}: {}", with.stderr);
        let said = |stage: &Stage, ran: &Ran| {
            let here = stage.path().display().to_string();
            ran.stderr.replace(stage.url(), "URL").replace(&here, "DIR")
        };
        assert_eq!(said(&strange, &with), said(&plain, &without), "{name}");
        let calls = |stage: &Stage| -> Vec<_> {
            let calls = stage.calls().into_iter();
            // Questions change nothing, and need no name that is found again.
            let questions = ["count", "writers", "beyond"].map(|name| format!("bq-rollback-{name}-"));
            let drawn = |part: &str| questions.iter().any(|name| part.starts_with(name.as_str()));
            let path = |path: &str| {
                path.split('/')
                    .map(|part| if drawn(part) { "COUNT" } else { part })
                    .collect::<String>()
            };
            calls
                .map(|call| (call.method, path(&call.path), call.query, call.status))
                .collect()
        };
        assert_eq!(calls(&strange), calls(&plain), "{name}");
        at_any_time(&strange, &scenario.wanted, &with)
            .and_then(|()| at_the_end(&strange, &scenario.wanted))
            .unwrap_or_else(|why| panic!("{name}: {why}\n{}", with.stderr));
        let seen = *seen.lock().unwrap();
        assert!(seen > 20, "{name}: only {seen} answers were changed");
    }
}

// ---- what is not there ----

/// A place in the answers of a method: `jobs[].status.state`.
type Place = (String, String);

/// Each place of an answer.
fn places(value: &Value, at: &str, found: &mut impl FnMut(String)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| places(item, &format!("{at}[]"), found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                found(at.clone());
                places(value, &at, found);
            }
        }
        _ => {}
    }
}

/// Takes a place away, wherever it is.
fn leave_out(value: &mut Value, place: &str) {
    let (first, rest) = match place.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (place, None),
    };
    let name = first.trim_end_matches("[]");
    let Some(rest) = rest else {
        if let Some(fields) = value.as_object_mut() {
            fields.remove(name);
        }
        return;
    };
    let Some(below) = value.get_mut(name) else {
        return;
    };
    let mut all = vec![below];
    for _ in 0..first.matches("[]").count() {
        all = all.into_iter().filter_map(Value::as_array_mut).flatten().collect();
    }
    all.into_iter().for_each(|item| leave_out(item, rest));
}

/// Every place of the answers that a line gets.
fn places_seen(scenario: &Prepared) -> BTreeSet<Place> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&seen);
    let stage = scenario.base.copy().changing(Arc::new(move |ask, answer| {
        let method = method_of(ask);
        places(answer, "", &mut |place| {
            noted.lock().unwrap().insert((method.clone(), place));
        });
    }));
    assert_eq!(stage.sh(scenario.scenario.line, None).status, scenario.scenario.status);
    seen.lock().unwrap().clone()
}

/// A scenario, and how its migration leaves the tables when nobody puts them back.
struct Line {
    scenario: Prepared,
    migrated: BTreeMap<&'static str, Option<Shown>>,
}

impl Line {
    fn of(scenario: Prepared) -> Line {
        let stage = scenario.base.copy();
        let ran = stage.sh("bq-snap -j $JOBS -f tables.csv | bq-run -j $JOBS m.sql", None);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let migrated = stage.tables();
        Line { scenario, migrated }
    }

    /// Plays it without a place, and says how it ended.
    fn play(&self, place: &Place) -> Result<String, String> {
        let (method, left_out) = place.clone();
        let mut stage = self.scenario.base.copy().changing(Arc::new(move |ask, answer| {
            if method_of(ask) == method {
                leave_out(answer, &left_out);
            }
        }));
        let mut wanted = self.scenario.wanted.clone();
        let there_is_none = THERE_IS_NONE
            .iter()
            .find(|(m, p, _)| (*m, *p) == (&*place.0, &*place.1));
        if let Some((.., pointer)) = there_is_none {
            stage = stage.without_seeing(pointer);
            wanted.before = self.scenario.base.copy().without_seeing(pointer).tables();
            wanted.after = wanted
                .after
                .map(|_| self.scenario.whole.copy().without_seeing(pointer).tables());
        }
        let scenario = self.scenario.scenario;
        let ran = stage.sh(scenario.line, None);
        let mut said = String::new();
        note(&mut said, scenario.line, None, &ran);
        let told = |why: String| format!("{why}\n{said}");
        at_any_time(&stage, &wanted, &ran).map_err(told)?;
        if ran.status == scenario.status || ran.status == 10 {
            // That it was not accepted but put back would be true, too, as is seen here.
            at_the_end(&stage, &wanted).map_err(told)?;
            return Ok(match (ran.status == scenario.status, there_is_none) {
                (true, None) => AS_WITHOUT.to_owned(),
                (true, Some(_)) => "as if there were none".to_owned(),
                (false, _) => "10, rolled back".to_owned(),
            });
        }
        if !REFUSALS.contains(&ran.status) {
            return Err(told(format!("{} is no refusal", ran.status)));
        }
        let error = three_lines(&ran.stderr).ok_or_else(|| told("an error without its three lines".to_owned()))?;
        let state = self.state(&stage).map_err(told)?;
        // BigQuery answers as it should again.
        let clean = stage.copy();
        clean.later(10);
        match kept_from_losing(&ran.stderr) {
            // What the migration itself wrote is in the journal now, and cannot be told from what others wrote.
            Some(foreign) => {
                let script = format!("bq-restore -j $JOBS {foreign}");
                let ran = clean.sh(&script, None);
                note(&mut said, &script, None, &ran);
                let told = |why: String| format!("{why}\n{said}");
                match ran.status {
                    10 => at_any_time(&clean, &wanted, &ran).and_then(|()| at_the_end(&clean, &wanted)),
                    other => Err(format!("the hint leads to {other}")),
                }
                .map_err(told)?;
            }
            None => self.scenario.settle(&clean, After::Restore, said.clone())?,
        }
        Ok(format!("{}, {state}: {error}", ran.status))
    }

    /// The tables are as at the cut, or as migrated; and then the journal knows of it.
    fn state(&self, stage: &Stage) -> Result<&'static str, String> {
        let tables = stage.tables();
        let endings: Vec<Ending> = stage.journals().values().map(|events| ending(events)).collect();
        let open = endings.contains(&Ending::Pending);
        let accepted = endings.contains(&Ending::Accepted);
        if tables == self.scenario.wanted.before {
            return match accepted {
                true => Err("accepted, and the tables are not as migrated".to_owned()),
                false if open => Ok("as at the cut, pending"),
                false => Ok("as at the cut"),
            };
        }
        if tables == self.migrated && (open || accepted) {
            return Ok(if accepted { "accepted" } else { "as migrated, pending" });
        }
        Err(format!(
            "{endings:?}, and the tables are neither as at the cut nor as migrated: {tables:#?}"
        ))
    }
}

/// The first error that was said, if all of them have three lines and nobody panicked.
fn three_lines(stderr: &str) -> Option<String> {
    let lines: Vec<&str> = stderr.lines().collect();
    let mut first = None;
    for (n, line) in lines.iter().enumerate() {
        if let Some((_, what)) = line.split_once(": error: ") {
            let at = lines.get(n + 1)?.starts_with("at: ");
            let hint = lines.get(n + 2)?.starts_with("hint: ");
            if !(at && hint) {
                return None;
            }
            first.get_or_insert_with(|| what.to_owned());
        }
    }
    first.filter(|_| !stderr.contains("panicked"))
}

/// The flags of the hint that lead on where a restore could lose what others wrote.
fn kept_from_losing(stderr: &str) -> Option<String> {
    const FLAG: &str = "--discard-foreign ";
    let hints = stderr.lines().filter(|line| line.starts_with("hint: "));
    let tables: BTreeSet<&str> = hints
        .flat_map(|hint| hint.split(FLAG).skip(1))
        .filter_map(|rest| rest.split([';', ' ', ',']).next())
        .collect();
    let flags: Vec<String> = tables.iter().map(|table| format!("{FLAG}{table}")).collect();
    (!flags.is_empty()).then(|| flags.join(" "))
}

fn row(method: &str, place: &str) -> String {
    format!("{method:<20} {place}")
}

#[test]
fn fields_that_are_not_there_are_not_made_up() {
    let _machine = share_the_machine();
    let started = Instant::now();
    let lines = [Line::of(prepared("good")), Line::of(prepare(&REWRITTEN))];
    let mut plays = Vec::new();
    for line in &lines {
        plays.extend(places_seen(&line.scenario).into_iter().map(|place| (line, place)));
    }
    let ended = Mutex::new(BTreeMap::<String, BTreeMap<&str, String>>::new());
    all("fields that are not there", &plays, |(line, place)| {
        let name = line.scenario.scenario.name;
        let how = line
            .play(place)
            .map_err(|why| format!("{name}, {} without {}: {why}", place.0, place.1))?;
        let (method, place) = place;
        ended
            .lock()
            .unwrap()
            .entry(row(method, place))
            .or_default()
            .insert(name, how);
        Ok(())
    });
    let ended = ended.into_inner().unwrap();
    for (method, place, _) in THERE_IS_NONE {
        assert!(ended.contains_key(&row(method, place)), "{method} has no {place}");
    }
    let matters = |how: &BTreeMap<&str, String>| how.values().any(|how| how != AS_WITHOUT);
    let mut table = String::new();
    for (place, how) in ended.iter().filter(|(_, how)| matters(how)) {
        let both = how.get("good") == how.get("rewritten");
        for (name, how) in how.iter().take(if both { 1 } else { 2 }) {
            let name = if both { "both" } else { name };
            let how: String = how.chars().take(130).collect();
            table.push_str(&format!("\n  {place:<82} {name:<10} {how}"));
        }
    }
    let same = ended.values().filter(|how| !matters(how)).count();
    say(&format!(
        "answers without a field: {} fields, {} plays, in {:.0} s; {same} change nothing, and the others:{table}",
        ended.len(),
        plays.len(),
        started.elapsed().as_secs_f32(),
    ));
    assert!(
        ended.len() > 50 && same > 0 && same < ended.len(),
        "nothing was left out"
    );
}
