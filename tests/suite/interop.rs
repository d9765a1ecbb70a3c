//! What Google's own tools make, ours restore from; what ours make, Google's restore from and find again.
//!
//! Google's Python client always, and the `bq` command where it is installed.

use serde_json::{Value, json};

use crate::bq_local;
use crate::scene::{PROJECT, Scene, helper, parse_look, say};

const SETUP: &str = "
CREATE SCHEMA d;
CREATE TABLE d.t (id INT64 NOT NULL, day DATE, words ARRAY<STRING>)
  PARTITION BY day CLUSTER BY id
  OPTIONS(description='of the shop', labels=[('team', 'x')]);
INSERT INTO d.t VALUES (1, '2026-01-01', ['a']), (2, '2026-01-02', []), (3, NULL, NULL);
";
const DAMAGE: &str = "DELETE FROM d.t WHERE id = 2; INSERT INTO d.t VALUES (9, NULL, NULL);";

/// Who else works on the tables.
struct Other {
    name: &'static str,
    snapshot: &'static str,
    copy: &'static str,
    query: &'static str,
}

const PYTHON: Other = Other {
    name: "python",
    snapshot: "\"$PYTHON\" \"$COPIES\" snapshot",
    copy: "\"$PYTHON\" \"$COPIES\" copy",
    query: "\"$PYTHON\" \"$COPIES\" query",
};

const BQ: Other = Other {
    name: "bq",
    snapshot: "$BQ cp --snapshot --no_clobber",
    copy: "$BQ cp --force",
    query: "$BQ query --use_legacy_sql=false",
};

/// A scene in which `bq` speaks to the local BigQuery, as far as it is there.
fn scene(url: &str) -> (Scene, Vec<&'static Other>) {
    let mut scene = Scene::at(url);
    scene.set("COPIES", helper("copies.py").to_str().unwrap());
    let home = scene.path("").parent().unwrap().join("home");
    scene.set("HOME", home.to_str().unwrap());
    scene.set("CLOUDSDK_CONFIG", home.to_str().unwrap());
    scene.set("CLOUDSDK_CORE_CHECK_GCE_METADATA", "false");
    scene.set("CLOUDSDK_AUTH_ACCESS_TOKEN", "a-token-of-the-test");
    let bq = "bq --quiet --headless --api=\"$BIGQUERY_EMULATOR_HOST\" --project_id=\"$PROJECT_ID\"";
    scene.write("bq.sh", &format!("exec {bq} \"$@\"\n"));
    scene.set("BQ", "sh bq.sh");
    let installed = scene.sh("command -v bq").status == Some(0);
    if !installed {
        say("interop: `bq` is not installed here; Google's Python client only");
    }
    (scene, if installed { vec![&PYTHON, &BQ] } else { vec![&PYTHON] })
}

fn table(scene: &Scene) -> Value {
    scene.look("t", &["d"])["d.t"].clone()
}

#[test]
fn each_restores_from_the_others_snapshots() {
    let _machine = crate::scene::share_the_machine();
    let server = bq_local::another();
    let (scene, others) = scene(server.url());
    scene.write("setup.sql", SETUP);
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    for other in others {
        let (name, before) = (other.name, table(&scene));
        let damage = || {
            scene
                .sh(&format!("{} '{DAMAGE}'", other.query))
                .expect(0, "damage")
                .status
        };
        // Theirs, by ours.
        scene
            .sh(&format!("{} d.t d.t_{name}", other.snapshot))
            .expect(0, "their snapshot");
        let theirs = scene.look(&format!("t_{name}"), &["d"]);
        damage();
        let damaged = table(&scene);
        assert_ne!(damaged, before);
        let record = json!({"type": "snapshot", "run": format!("from_{name}"), "table": format!("{PROJECT}.d.t"),
            "snapshot": format!("{PROJECT}.d.t_{name}")});
        scene.write("records", &format!("{record}\n"));
        let refused = scene.sh("bq-restore - <records >restored");
        refused.expect(4, "others' changes are not discarded unasked");
        let hint = format!("--discard-foreign {PROJECT}.d.t");
        assert!(refused.stderr.contains(&hint), "{}", refused.stderr);
        assert_eq!(table(&scene), damaged, "a refused restore changed something");
        scene
            .sh("bq-restore - --discard-foreign d.t <records >restored")
            .expect(10, "their snapshot, restored by ours");
        assert_eq!(table(&scene), before, "{name}");
        scene.sh("bq-restore - <records >again").expect(10, "compared again");
        assert_eq!(
            scene.look(&format!("t_{name}"), &["d"]),
            theirs,
            "their snapshot was touched"
        );
        // What was there is kept.
        let kept = scene.look(&format!("t_before_restore_from_{name}"), &["d"]);
        assert_eq!(
            kept[&format!("d.t_before_restore_from_{name}")]["digest"],
            damaged["digest"]
        );

        // Ours, by theirs.
        let run = format!("ours_{name}");
        scene
            .sh(&format!("bq-snap d.t --run {run} >snap.stream"))
            .expect(0, "bq-snap");
        damage();
        scene
            .sh(&format!("{} d.t_snapshot_{run} d.t", other.copy))
            .expect(0, "our snapshot, restored by theirs");
        let restored = table(&scene);
        for what in ["rows", "digest", "schema", "timePartitioning", "clustering"] {
            assert_eq!(restored[what], before[what], "{name}: {what}");
        }
        // A copy by hand may bring our labels along: such a table is not taken for a copy of ours, nor left out.
        if restored["labels"].to_string().contains("bq-rollback-run") {
            for list in ["d.t", "d.*"] {
                let refused = scene.sh(&format!("bq-snap '{list}' >refused.stream"));
                assert!(
                    refused.expect(4, list).stderr.contains("--clear_label bq-rollback-run"),
                    "{}",
                    refused.stderr
                );
            }
            let clear = "ALTER TABLE d.t SET OPTIONS(labels=[(\"team\", \"x\")])";
            scene.sh(&format!("{} '{clear}'", other.query)).expect(0, "labels");
        }
        // And ours says that it migrated nothing, and compares with what they did.
        scene
            .sh(&format!("bq-restore --run {run} >never.stream"))
            .expect(1, "never submitted");

        // What ours did is found by its labels.
        let made = scene.look(&format!("t_snapshot_{run}"), &["d"]);
        let labels = &made[&format!("d.t_snapshot_{run}")]["labels"];
        assert_eq!(
            (&labels["bq-rollback-run"], &labels["bq-rollback-tool"]),
            (&json!(run), &json!("bq-snap"))
        );
        let cut = format!("\"$PYTHON\" \"$COPIES\" labels bq-rollback-{run}-cut-1 US");
        let labels = parse_look(&scene.sh(&cut).expect(0, "the cut's job").stdout);
        assert_eq!(
            (&labels["bq-rollback-run"], &labels["bq-rollback-tool"]),
            (&json!(run), &json!("bq-snap"))
        );
        say(&format!("interop: {name} restored from ours, ours from {name}'s"));
    }
    let _seen = scene.end();
}

#[test]
fn what_is_given_must_be_what_it_says() {
    let server = bq_local::another();
    let (scene, _) = scene(server.url());
    scene.write(
        "setup.sql",
        &format!("{SETUP} CREATE TABLE d.u (id INT64); CREATE SNAPSHOT TABLE d.s CLONE d.t;"),
    );
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let record = |table: &str, snapshot: &str, more: &str| {
        format!(
            r#"{{"type":"snapshot","run":"g","table":"{PROJECT}.d.{table}","snapshot":"{PROJECT}.d.{snapshot}"{more}}}"#
        )
    };
    let good = record("t", "s", "");
    for (what, records, status, says) in [
        ("nothing", String::new(), 5, "it holds no snapshot"),
        (
            "no snapshot",
            r#"{"type":"of another day"}"#.to_owned(),
            5,
            "it holds no snapshot",
        ),
        ("not JSON", "d.t d.s".to_owned(), 2, "standard input, line 1"),
        ("another base", record("u", "s", ""), 4, "is a snapshot of"),
        ("a table", record("t", "u", ""), 4, "and no snapshot"),
        ("gone", record("t", "x", ""), 4, "there is no snapshot"),
        (
            "another instant",
            record("t", "s", r#","cut":"2026-01-01T00:00:00Z""#),
            4,
            "and the record says",
        ),
        (
            "another count",
            record("t", "s", r#","rows":7"#),
            4,
            "and the record says 7",
        ),
        ("twice", format!("{good}\n{good}"), 2, "is in it twice"),
        (
            "two runs",
            format!("{good}\n{}", good.replace("\"g\"", "\"h\"")),
            5,
            "two runs",
        ),
    ] {
        scene.write("records", &format!("{records}\n"));
        let ended = scene.sh("bq-restore - <records >out");
        ended.expect(status, what);
        assert!(ended.stderr.contains(says), "{what}: {}", ended.stderr);
        assert!(!scene.path(".rollback/g.jsonl").exists(), "{what}: a run was begun");
    }
    // Unchanged since: nothing is done, and it says that it is equal. With `-n` not even a journal is made.
    scene.write("records", &format!("{good}\n"));
    scene.sh("bq-restore -n - <records >dry").expect(0, "would");
    assert!(!scene.path(".rollback/g.jsonl").exists());
    scene.sh("bq-restore - <records >out").expect(10, "equal");
    assert!(scene.sh("bq-restore - --pending </dev/null").status == Some(2));
}

#[test]
fn a_stream_that_was_kept_restores_elsewhere() {
    let server = bq_local::another();
    let (scene, _) = scene(server.url());
    scene.write("setup.sql", SETUP);
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup");
    let before = table(&scene);
    scene.write("bad.sql", "DELETE FROM d.t WHERE id < 3;");
    // The machine that ran the line is lost with its state directory; what it said was kept.
    scene
        .sh("bq-snap d.t --run kept | bq-run bad.sql >kept; rm -r .rollback")
        .expect(0, "a line without its end");
    assert_ne!(table(&scene), before);
    scene
        .sh("bq-restore - <kept >restore.stream")
        .expect(10, "restored from the stream");
    assert_eq!(table(&scene), before);
    // A stream cut short is no list of all tables.
    scene
        .sh("head -n 2 kept >cut; rm -r .rollback; bq-restore - <cut >none")
        .expect(5, "cut");
}
