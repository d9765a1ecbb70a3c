//! `kill -9` of bq-run at a random moment on a real SQL engine, twenty times in a row over the same tables; then bq-restore, and the
//! result read back by Google's own client.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bq_local;
use crate::scene::{Scene, say, share_the_machine};
use crate::wire::kind_of;

const TIMES: usize = 20;

const SETUP: &str = "
CREATE SCHEMA killed;
CREATE TABLE killed.a (id INT64 NOT NULL, name STRING) OPTIONS (description = 'the first', labels = [('team', 'x')]) AS
SELECT n AS id, CONCAT('n', CAST(n AS STRING)) AS name FROM UNNEST(GENERATE_ARRAY(1, 500)) AS n;
CREATE TABLE killed.b (day DATE, n INT64) PARTITION BY day OPTIONS (partition_expiration_days = 100000) AS
SELECT DATE '2026-01-01' AS day, n FROM UNNEST(GENERATE_ARRAY(1, 300)) AS n;
";

/// Some of everything, so that a moment falls between two statements of different kinds.
const MIGRATION: &str = "
UPDATE killed.a SET name = 'new' WHERE id > 100;
DELETE FROM killed.b WHERE n > 10;
ALTER TABLE killed.a ADD COLUMN more STRING;
TRUNCATE TABLE killed.b;
";

/// The programs' clock when bq-restore runs: by then the line has long let go of its run.
const LATER: &str = "2036-01-01T00:00:00Z";

/// How many events of a kind a run's journal holds.
fn count(journal: &[Value], of: impl Fn(&Value) -> bool) -> usize {
    journal.iter().filter(|entry| of(&entry["event"])).count()
}

#[test]
fn killed_at_a_random_moment_bq_restore_settles_it() {
    let _machine = share_the_machine();
    let start = Instant::now();
    let server = bq_local::another();
    let scene = Scene::at(server.url());
    scene.write("setup.sql", SETUP);
    scene.write("m.sql", MIGRATION);
    scene
        .sh("bq-run --unprotected -q setup.sql >setup.stream")
        .expect(0, "setup.sql");
    let look = || scene.look("a|b", &["killed"]);
    let before = look();

    // How long it takes when nobody kills it: the moments are chosen within that.
    let whole = Instant::now();
    scene
        .sh("SNAPSHOT_SUFFIX=r_whole; export SNAPSHOT_SUFFIX
             bq-snap -q killed.a killed.b | bq-run -q m.sql >whole.stream")
        .expect(0, "nobody killed");
    let whole = whole.elapsed();
    let restore = |run: &str| {
        let clock = format!("BQ_ROLLBACK_PRETEND_CLOCK={LATER}");
        scene.sh(&format!("{clock} bq-restore -q --run {run} >{run}.restore.stream"))
    };
    restore("r_whole").expect(10, "the first");

    let mut ends = [0, 0];
    for i in 0..TIMES {
        let run = format!("r{i}");
        scene
            .sh(&format!("bq-snap -q --run {run} killed.a killed.b >{run}.stream"))
            .expect(0, &run);
        // bq-run takes a good half of the line.
        let moment = whole.mul_f32(0.6 * fastrand::f32());
        let pause = format!("{:.3}", Duration::as_secs_f32(&moment));
        let killed = scene.sh(&format!(
            "bq-run -q m.sql <{run}.stream >{run}.out & sleep {pause}; kill -9 $!; wait $!; echo $?"
        ));
        killed.expect(0, &run);
        let ended = restore(&run);
        let journal = scene.journal(&run);
        let submitted = count(&journal, |event| event["intent"]["step"].get("migrate").is_some()) > 0;
        let abandoned = count(&journal, |event| kind_of(event) == "abandoned") > 0;
        let rolled_back = count(&journal, |event| event["restore_ended"]["code"] == 10) == 1;
        let want = if submitted && !abandoned { 10 } else { 1 };
        let what = format!("{run}, killed after {pause} s of {whole:?} ({})", killed.stdout.trim());
        ended.expect(want, &what);
        assert_eq!(rolled_back, want == 10, "{what}: the journal says otherwise");
        assert_eq!(look(), before, "{what}: the tables differ from the cut");
        ends[usize::from(want == 10)] += 1;
    }
    say(&format!(
        "kill -9 of bq-run, {TIMES} times: {} rolled back, {} never submitted, in {:.0} s",
        ends[1],
        ends[0],
        start.elapsed().as_secs_f32()
    ));
    drop(scene.end());
}
