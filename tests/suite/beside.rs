//! `--to-dataset` and `--rehearse` on a real SQL engine, the result read back by Google's own client; and that neither touches a live
//! table, or makes a run another than it was.

use serde_json::{Map, Value};

use crate::scene::{self, Scene, helper, parse_look};

/// Four tables, with some of what cloning loses; each comes to another harm.
fn setup(dataset: &str) -> String {
    format!(
        "CREATE SCHEMA {dataset};
         CREATE TABLE {dataset}.changed (id INT64 NOT NULL, name STRING)
         OPTIONS (description = 'the first', labels = [('team', 'x')]);
         INSERT INTO {dataset}.changed VALUES (1, 'one'), (2, 'two'), (3, 'three');
         CREATE TABLE {dataset}.parted (day DATE, n INT64) PARTITION BY day
         OPTIONS (partition_expiration_days = 100000, require_partition_filter = FALSE);
         INSERT INTO {dataset}.parted VALUES ('2026-01-01', 1), ('2026-01-02', 2);
         CREATE TABLE {dataset}.dropped (id INT64) OPTIONS (friendly_name = 'gone');
         INSERT INTO {dataset}.dropped VALUES (10), (20);
         CREATE TABLE {dataset}.calm (id INT64);
         INSERT INTO {dataset}.calm VALUES (100);"
    )
}

fn harm(dataset: &str) -> String {
    format!(
        "DELETE FROM {dataset}.changed WHERE id > 1;
         DROP TABLE {dataset}.parted;
         CREATE TABLE {dataset}.parted (day DATE, n INT64);
         DROP TABLE {dataset}.dropped;"
    )
}

const ALL: &str = "changed|parted|dropped|calm";

/// A run of all four, harmed and not accepted.
fn harmed(dataset: &str) -> (Scene, Map<String, Value>) {
    let scene = Scene::at(&scene::shared());
    scene.write("setup.sql", &setup(dataset));
    scene.write("harm.sql", &harm(dataset));
    scene
        .sh(&format!(
            "bq-run -q --run {dataset}_setup --unprotected setup.sql >setup.stream"
        ))
        .expect(0, "setup");
    let before = scene.look(ALL, &[dataset]);
    assert_eq!(before.len(), 4);
    scene
        .sh(&format!(
            "bq-snap -q --run {dataset} '{dataset}.*' | bq-run -q harm.sql | bq-check -q >line.stream"
        ))
        .expect(1, "the line");
    (scene, before)
}

/// What shows that a table was touched.
fn marks(scene: &Scene, dataset: &str) -> Map<String, Value> {
    let script = helper("marks.py");
    let ended = scene.run(
        scene::python().to_str().unwrap(),
        &[script.to_str().unwrap(), ".*", dataset],
    );
    parse_look(&ended.expect(0, "marks.py").stdout)
}

fn make_dataset(scene: &Scene, name: &str, more: &str) {
    scene.write("more.sql", &format!("CREATE SCHEMA {name}; {more}"));
    scene
        .sh(&format!(
            "bq-run -q --run {name}_made --unprotected more.sql >more.stream"
        ))
        .expect(0, name);
}

/// The tables of a dataset under the names that they have in another.
fn moved(tables: &Map<String, Value>, to: &str) -> Map<String, Value> {
    let name = |name: &str| format!("{to}.{}", name.split_once('.').unwrap().1);
    tables.iter().map(|(key, table)| (name(key), table.clone())).collect()
}

fn records(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|record| record["type"] == "restore").collect()
}

/// What the state directory says of the runs.
fn list(scene: &Scene) -> String {
    scene.sh("bq-restore --list").expect(0, "--list").stdout.clone()
}

#[test]
fn whatever_happened_to_a_table_it_is_put_beside_as_it_was() {
    let (scene, before) = harmed("bsd");
    make_dataset(&scene, "bsd_look", "");
    let (there, runs) = (marks(&scene, "bsd"), list(&scene));
    assert!(runs.contains("rejected"), "{runs}");

    let dry = scene.sh("bq-restore -n --to-dataset bsd_look");
    assert_eq!(records(&dry.expect(0, "-n").stdout).len(), 4);
    assert!(scene.look(".*", &["bsd_look"]).is_empty(), "-n made something");

    let ended = scene.sh("bq-restore --to-dataset bsd_look");
    let made = records(&ended.expect(0, "a pending run").stdout);
    assert_eq!(made.len(), 4);
    for record in &made {
        let to = record["to"].as_str().unwrap();
        assert_eq!(record["table"], to.replace(".bsd_look.", ".bsd."), "{record}");
        assert_eq!(
            (&record["ok"], &record["from"]),
            (&true.into(), &"snapshot".into()),
            "{record}"
        );
    }
    assert_eq!(scene.look(".*", &["bsd_look"]), moved(&before, "bsd_look"));
    assert_eq!(marks(&scene, "bsd"), there, "a live table was touched");
    assert_eq!(list(&scene), runs, "the run became another");

    // Twice equals once.
    let marked = marks(&scene, "bsd_look");
    let again = scene.sh("bq-restore --to-dataset bsd_look");
    let again = records(&again.expect(0, "once more").stdout);
    assert!(again.iter().all(|record| record["from"] == "unchanged"), "{again:?}");
    assert_eq!(marks(&scene, "bsd_look"), marked, "made anew");

    // One that was dropped is made anew, the others are not.
    make_dataset(&scene, "bsd_again", "DROP TABLE bsd_look.changed");
    scene
        .sh("bq-restore --to-dataset bsd_look >anew.stream")
        .expect(0, "made anew");
    assert_eq!(scene.look(".*", &["bsd_look"]), moved(&before, "bsd_look"));

    // What somebody has done to one of them since is his, and nothing is made.
    make_dataset(
        &scene,
        "bsd_other",
        "INSERT INTO bsd_look.calm VALUES (7); DROP TABLE bsd_look.changed",
    );
    let marked = marks(&scene, "bsd_look");
    let ended = scene.sh("bq-restore --to-dataset bsd_look");
    assert!(
        ended.stderr.contains("bsd_look.calm` was made earlier"),
        "{}",
        ended.stderr
    );
    ended.expect(4, "a table of theirs");
    assert_eq!(marks(&scene, "bsd_look"), marked, "something was made all the same");

    // Rolled back, it can still be looked at; and the rollback was not in the way of it, nor it in that of the rollback.
    scene.sh("bq-restore >back.stream").expect(10, "the rollback");
    make_dataset(&scene, "bsd_after", "");
    scene
        .sh("bq-restore --run bsd --to-dataset bsd_after --only bsd.parted --to-project diagnostic-pro-start-up")
        .expect(0, "a run that was rolled back");
    let one = scene.look(".*", &["bsd_after"]);
    assert_eq!(one["bsd_after.parted"], before["bsd.parted"]);
    assert_eq!(one.len(), 1);
    drop(scene.end());
}

#[test]
fn nothing_is_made_over_what_is_there() {
    let (scene, _) = harmed("bst");
    make_dataset(
        &scene,
        "bst_full",
        "CREATE TABLE bst_full.parted (x INT64); CREATE VIEW bst_full.calm AS SELECT 1 AS x",
    );
    let (there, runs) = (marks(&scene, "bst_full"), list(&scene));
    let ended = scene.sh("bq-restore --to-dataset bst_full");
    ended.expect(4, "two names are taken");
    for name in ["bst_full.parted`", "bst_full.calm`"] {
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
    assert_eq!(marks(&scene, "bst_full"), there);
    let refused = |command: &str, status: i32, word: &str| {
        let ended = scene.sh(command);
        ended.expect(status, command);
        assert!(ended.stderr.contains(word), "{command}: {}", ended.stderr);
    };
    refused("bq-restore --to-dataset bst_nowhere", 4, "there is no dataset");
    // Where the live tables are is not beside them, though one of them be gone.
    refused("bq-restore --to-dataset bst --only bst.dropped", 2, "is a table of run");
    refused(
        "bq-restore --to-dataset bst_full --only bst.none",
        2,
        "is not protected",
    );
    refused("bq-restore --to-project p-roject", 2, "--to-dataset");
    refused(
        "bq-restore --run bst --to-dataset bst_full --even-accepted",
        2,
        "cannot be used with",
    );
    assert_eq!(list(&scene), runs);
    assert_eq!(marks(&scene, "bst_full"), there);
    drop(scene.end());
}

#[test]
fn a_rehearsal_leaves_nothing_and_says_how_long_it_takes() {
    let (scene, before) = harmed("bsr");
    let there = marks(&scene, "bsr");
    let runs = list(&scene);
    let ended = scene.sh("bq-restore --rehearse");
    let told = records(&ended.expect(0, "a pending run").stdout);
    assert!(
        ended.stderr.contains("run bsr could be rolled back until "),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(": 4 tables in about "), "{}", ended.stderr);
    assert_eq!(told.len(), 4);
    for record in &told {
        let to = record["to"].as_str().unwrap();
        assert!(
            to.ends_with("_rehearsal_bsr") && record["ms"].is_u64() && record["ok"] == true,
            "{record}"
        );
    }
    assert_eq!(
        marks(&scene, "bsr"),
        there,
        "a live table was touched, or something was left"
    );
    assert_eq!(list(&scene), runs);

    // It takes nothing from the real one; and of a run that is over there is no rehearsal.
    scene.sh("bq-restore >back.stream").expect(10, "the real one");
    assert_eq!(scene.look(ALL, &["bsr"]), before);
    let none = scene.sh("bq-restore --rehearse");
    none.expect(1, "nothing to rehearse");
    assert!(none.stderr.contains("there is nothing to rehearse"), "{}", none.stderr);
    drop(scene.end());
}

#[test]
fn a_rehearsal_of_an_accepted_run_tells_when_a_way_back_is_gone() {
    let scene = Scene::at(&scene::shared());
    scene.write("setup.sql", &setup("bsa"));
    scene.write("good.sql", "INSERT INTO bsa.changed VALUES (4, 'four')");
    scene
        .sh("bq-run -q --run bsa_setup --unprotected setup.sql >setup.stream")
        .expect(0, "setup");
    scene
        .sh("bq-snap -q --run bsa bsa.changed bsa.calm | bq-run -q good.sql | bq-check -q >line.stream")
        .expect(0, "accepted");
    scene
        .sh("bq-restore --rehearse >rehearsed.stream")
        .expect(0, "its snapshots are there");

    // Without one of the snapshots history has to do: here that of the snapshot itself.
    make_dataset(&scene, "bsa_one", "DROP SNAPSHOT TABLE bsa.changed_snapshot_bsa");
    let (there, runs) = (marks(&scene, "bsa"), list(&scene));
    let ended = scene.sh("bq-restore --rehearse");
    let told = records(&ended.expect(0, "from history").stdout);
    let is_of = |record: &&Value, table: &str| record["table"].as_str().unwrap().ends_with(table);
    let changed = told.iter().find(|record| is_of(record, ".changed")).unwrap();
    assert!(
        changed["source"].as_str().unwrap().contains(".changed_snapshot_bsa@"),
        "{changed}"
    );
    assert_eq!(changed["how"], "take it from history");
    assert_eq!(
        marks(&scene, "bsa"),
        there,
        "a live table was touched, or something was left"
    );
    assert_eq!(list(&scene), runs);

    // A journal that says otherwise of the cut than all that is left: the alarm; and the other table was rehearsed all the same.
    let journal = scene.read(".rollback/bsa.jsonl");
    let lost = journal.replace("\"rows\":3,", "\"rows\":33,");
    assert_ne!(lost, journal);
    scene.write(".rollback/bsa.jsonl", &lost);
    let ended = scene.sh("bq-restore --rehearse");
    ended.expect(4, "one table cannot be had back");
    assert_eq!(records(&ended.stdout).len(), 1, "{}", ended.stdout);
    let said = "of 2 tables, 1 cannot be made again: `diagnostic-pro-start-up.bsa.changed` could not be made again";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(ended.stderr.contains("live until 20"), "{}", ended.stderr);
    assert_eq!(marks(&scene, "bsa"), there, "something was touched, or left");
    assert_eq!(list(&scene), runs);
    drop(scene.end());
}
