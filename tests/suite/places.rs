//! Where things are: regions, endpoints, projects and names of every kind, on the pretend BigQuery.
//!
//! It answers as BigQuery does: a job runs in one place and finds nothing elsewhere, and a job that is looked up without its place is
//! found in US and EU only. That any job of ours is looked up so is noted, and fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::world::Machine;

const SPREAD: &str = "
CREATE SCHEMA eu OPTIONS(location='EU');
CREATE TABLE eu.t (id INT64); INSERT INTO eu.t VALUES (1), (2);
CREATE SCHEMA iowa OPTIONS(location='us-central1');
CREATE TABLE iowa.t (id INT64); INSERT INTO iowa.t VALUES (3);
CREATE SCHEMA us OPTIONS(location='US');
CREATE TABLE us.t (id INT64); INSERT INTO us.t VALUES (4);
CREATE SCHEMA tokyo OPTIONS(location='asia-northeast1');
CREATE TABLE tokyo.t (id INT64); INSERT INTO tokyo.t VALUES (5);
";

/// The place of each job that was sent, by what it does.
fn places(machine: &Machine) -> BTreeMap<String, BTreeSet<String>> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in machine.gateway.calls() {
        let is_job = call.method == "POST" && call.path.ends_with("/jobs");
        if is_job && call.body["configuration"]["dryRun"] != true {
            let id = call.body["jobReference"]["jobId"].as_str().unwrap();
            let words: Vec<&str> = id.trim_start_matches("bq-rollback-").split('-').collect();
            let what = if words[0] == "count" { "count" } else { words[1] };
            let place = call.body["jobReference"]["location"].as_str().unwrap_or("none");
            places.entry(what.to_owned()).or_default().insert(place.to_owned());
        }
    }
    places
}

fn journal(machine: &Machine, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(machine.path(&format!(".rollback/{run}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn tables_of_four_regions_are_one_run() {
    let all = ["EU", "US", "asia-northeast1", "us-central1"].map(str::to_owned);
    for (file, place) in [
        ("DELETE FROM tokyo.t WHERE id = 5;", "asia-northeast1"),
        ("DELETE FROM iowa.t WHERE id = 3;", "us-central1"),
        ("DELETE FROM us.t WHERE id = 4;", "US"),
    ] {
        let machine = Machine::new(1);
        machine.world.sql(SPREAD).unwrap();
        let tables =
            || ["eu", "iowa", "us", "tokyo"].map(|d| machine.world.table(&format!("pretend.{d}.t")).unwrap().rows);
        let before = tables();
        fs::write(machine.path("m.sql"), file).unwrap();
        let (status, said) = machine.sh(
            "bq-snap --run r eu.t iowa.t us.t tokyo.t >snap && bq-run m.sql <snap >ran; bq-check <ran >checked || bq-restore >restored",
        );
        assert_eq!(status, Some(10), "{said}");
        assert_eq!(tables(), before);
        let places = places(&machine);
        assert_eq!(places["snapshot"], all.clone().into());
        assert_eq!(places["count"], all.clone().into());
        assert_eq!(places["migrate1"], [place.to_owned()].into(), "{file}");
        assert_eq!(places["restore"], [place.to_owned()].into(), "{file}");
        machine.no_violations();
        // One query counts all tables of a place.
        let migrated = journal(&machine, "r")
            .into_iter()
            .find(|line| line["event"]["ended"].is_object())
            .unwrap();
        assert_eq!(migrated["event"]["ended"]["location"], place);
    }
}

#[test]
fn a_file_that_works_in_no_single_place_is_not_sent() {
    let machine = Machine::new(1);
    machine.world.sql(SPREAD).unwrap();
    fs::write(
        machine.path("m.sql"),
        "DELETE FROM eu.t WHERE TRUE; DELETE FROM iowa.t WHERE TRUE;",
    )
    .unwrap();
    let (status, said) = machine.sh("bq-snap --run r eu.t iowa.t >snap && bq-run m.sql <snap >ran");
    assert_eq!(status, Some(1), "{said}");
    assert!(!places(&machine).contains_key("migrate1"));
    // Told where, it is not looked for elsewhere.
    fs::write(machine.path("m.sql"), "DELETE FROM eu.t WHERE TRUE;").unwrap();
    let (status, said) = machine.sh("bq-run --location us-central1 m.sql <snap >ran");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("us-central1"), "{said}");
    machine.no_violations();
}

#[test]
fn a_lost_answer_is_looked_up_in_its_place() {
    for unprotected in [false, true] {
        let options = tests::gateway::GatewayOptions {
            faults: "POST /jobs body~\"DELETE\" #2 : apply-then-drop".parse().unwrap(),
            ..Default::default()
        };
        let machine = Machine::behind(1, options);
        machine.world.sql(SPREAD).unwrap();
        fs::write(machine.path("m.sql"), "DELETE FROM tokyo.t WHERE id = 5;").unwrap();
        let line = match unprotected {
            false => "bq-snap tokyo.t | bq-run m.sql >ran",
            true => "bq-run --unprotected m.sql >ran",
        };
        let (status, said) = machine.sh(line);
        assert_eq!(status, Some(0), "{line}\n{said}");
        machine.no_violations();
    }
}

#[test]
fn names_of_every_kind_are_protected_and_put_back() {
    let names = [
        "with-dash",
        "two words",
        "Größe 表 таблица ٣",
        "20260101",
        "select",
        "Case",
        "case",
        "e\u{301}‿",
        "_underscore",
        "-- no comment",
        "_t_snapshot_r",
    ];
    let machine = Machine::new(1);
    let project = "example.com:old-project";
    let mut setup = format!("CREATE SCHEMA `{project}.d` OPTIONS(location='EU');");
    for name in names {
        setup.push_str(&format!(
            "CREATE TABLE `{project}.d.{name}` (id INT64); INSERT INTO `{project}.d.{name}` VALUES (1);"
        ));
    }
    machine.world.sql(&setup).unwrap();
    let damage: String = names
        .iter()
        .map(|name| format!("DELETE FROM `{project}.d.{name}` WHERE TRUE;\n"))
        .collect();
    fs::write(machine.path("m.sql"), damage).unwrap();
    let list: Vec<String> = names.iter().map(|name| format!("{project}.d.{name}\n")).collect();
    fs::write(machine.path("list"), list.concat()).unwrap();
    let (status, said) =
        machine.sh("bq-snap --run r -f list | bq-run m.sql | bq-check >checked || bq-restore >restored");
    assert_eq!(status, Some(10), "{said}");
    for name in names {
        let table = machine.world.table(&format!("{project}.d.{name}")).unwrap();
        assert_eq!(table.rows.len(), 1, "{name}");
        assert!(
            machine.world.table(&format!("{project}.d.{name}_snapshot_r")).is_some(),
            "{name}"
        );
    }
    // All of them by the wildcard, too: the copies are none of them.
    let (status, said) = machine.sh(&format!(
        "bq-count '{project}.d.*' --format csv >counted && wc -l <counted >&2"
    ));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.trim().ends_with(&(names.len() + 1).to_string()), "{said}");
    machine.no_violations();
}

#[test]
fn what_is_no_name_is_told_before_anything_is_asked() {
    let machine = Machine::new(1);
    for name in [
        "d.t*",
        "d.t$20260101",
        "d.t@1700000000000",
        "d.a/b",
        "d.a`b",
        "d.t;DROP TABLE d.t",
        "d.",
        ".t",
        "d.t\\",
        "d.t'",
        "d.$(x)",
        "d.t\n",
        "a b.t.x.y",
        "d..t",
        "p:q.d.t:",
    ] {
        fs::write(machine.path("list"), format!("table\n\"{name}\"\n")).unwrap();
        for program in ["bq-snap", "bq-count"] {
            let (status, said) = machine.sh(&format!("{program} -f list"));
            assert_eq!(status, Some(2), "{program} {name:?}\n{said}");
        }
    }
    assert!(machine.gateway.calls().is_empty());
}

/// A run of two files in two regions, migrated and left; the second machine has no journal of it.
fn two_files(machine: &Machine) {
    machine.world.sql(SPREAD).unwrap();
    fs::write(machine.path("m.sql"), "DELETE FROM us.t WHERE id = 4;").unwrap();
    fs::write(machine.path("n.sql"), "DELETE FROM tokyo.t WHERE id = 5;").unwrap();
    let (status, said) = machine.sh("bq-snap --run r us.t tokyo.t eu.t >snap && bq-run m.sql n.sql <snap >ran");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(places(machine)["migrate1"], ["US".to_owned()].into());
    assert_eq!(places(machine)["migrate2"], ["asia-northeast1".to_owned()].into());
}

#[test]
fn a_file_in_another_region_is_found_again() {
    // The journal loses its tail: from the second file's intent on, and from the first's.
    for keep in ["\"migrate\":2", "\"migrate\":1"] {
        let machine = Machine::new(1);
        two_files(&machine);
        let path = machine.path(".rollback/r.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines
            .iter()
            .position(|line| line.contains("\"intent\"") && line.contains(keep))
            .unwrap();
        fs::write(&path, lines[..end].join("\n") + "\n").unwrap();
        let (status, said) = machine.sh("bq-restore --run r >restored");
        assert_eq!(status, Some(10), "{keep}\n{said}");
        for table in ["us.t", "tokyo.t", "eu.t"] {
            let rows = machine.world.table(&format!("pretend.{table}")).unwrap().rows.len();
            assert_eq!(rows, if table == "eu.t" { 2 } else { 1 }, "{table}");
        }
        machine.no_violations();
    }
}

#[test]
fn a_run_of_several_regions_is_seen_from_each_of_them() {
    let machine = Machine::new(1);
    two_files(&machine);
    // Where nothing of it ran, and from another machine.
    for table in ["eu.t", "tokyo.t", "us.t"] {
        let (status, said) = machine.sh(&format!("bq-snap --state-dir other {table} >snap2"));
        assert_eq!(status, Some(4), "{table}\n{said}");
        assert!(said.contains("`r`"), "{said}");
    }
    let labels = machine.world.table("pretend.eu.t_snapshot_r").unwrap().meta["labels"].clone();
    let said: BTreeSet<&str> = (1..=3)
        .map(|n| labels[format!("bq-rollback-place-{n}")].as_str().unwrap())
        .collect();
    assert_eq!(said, ["asia-northeast1", "eu", "us"].into());
    machine.no_violations();
}

#[test]
fn a_kept_stream_restores_whatever_it_lost() {
    let whole = Machine::new(1);
    two_files(&whole);
    let stream = fs::read_to_string(whole.path("ran")).unwrap();
    let lines: Vec<&str> = stream.lines().collect();
    let begin = lines
        .iter()
        .rposition(|line| line.contains("\"type\":\"begin\""))
        .unwrap();
    let cuts: Vec<usize> = (begin..=lines.len()).collect();
    for cut in cuts {
        let machine = Machine::new(1);
        two_files(&machine);
        // The same line elsewhere had another nonce, and another cut: what this one wrote is cut.
        let stream = fs::read_to_string(machine.path("ran")).unwrap();
        let lines: Vec<&str> = stream.lines().collect();
        fs::write(machine.path("kept"), lines[..cut].join("\n") + "\n").unwrap();
        fs::remove_dir_all(machine.path(".rollback")).unwrap();
        let (status, said) = machine.sh("bq-restore - <kept | cat >restored; bq-restore --list >&2");
        assert_eq!(status, Some(0), "{said}");
        assert!(
            said.contains("rolled-back"),
            "cut after {cut} of {} lines\n{said}",
            lines.len()
        );
        assert_eq!(machine.world.table("pretend.tokyo.t").unwrap().rows.len(), 1);
        assert_eq!(machine.world.table("pretend.us.t").unwrap().rows.len(), 1);
        machine.no_violations();
    }
    // What its bq-check said counts: an accepted run is put back only when a person names it.
    let machine = Machine::new(1);
    two_files(&machine);
    let (status, said) = machine.sh("bq-check --expect 'us.t >= 0' <ran >kept; rm -r .rollback");
    assert_eq!(status, Some(0), "{said}");
    let kept = fs::read_to_string(machine.path("kept")).unwrap();
    fs::write(
        machine.path("kept"),
        kept.replace("\"accepted\":false", "\"accepted\":true"),
    )
    .unwrap();
    let (status, said) = machine.sh("bq-restore - <kept >restored");
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("run `r` was accepted"), "{said}");
}
