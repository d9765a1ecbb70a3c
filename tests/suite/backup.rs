//! `bq-restore --from backup`, on a real SQL engine: files that other programs wrote bring damaged and dropped tables back, read back by
//! Google's client; and what no file can bring back is left as it is.

use crate::scene::{self, Ended, Scene, helper};
use serde_json::Value;
use std::fs;

/// No text and no bytes are empty or NULL: CSV does not tell the two apart.
const FLAT: &str = "CREATE SCHEMA IF NOT EXISTS D;
    CREATE TABLE D.orders (id INT64 NOT NULL, note STRING, price NUMERIC, raw BYTES, day DATE NOT NULL, seen TIMESTAMP, ok BOOL, f FLOAT64)
      PARTITION BY day CLUSTER BY id OPTIONS (description = 'kept', labels = [('team', 'x')]);
    INSERT INTO D.orders VALUES
      (1, 'two\\nlines, and \"quotes\"', NUMERIC '12.345', b'abc', DATE '2026-11-01', TIMESTAMP '2026-11-01 10:00:00.123456+00', TRUE, 0.1),
      (2, 'é', NULL, b'd', DATE '2026-11-02', NULL, NULL, NULL),
      (3, 'c', NUMERIC '-1', b'e', DATE '2026-11-02', TIMESTAMP '2026-11-02 10:00:00+00', FALSE, -2.5);";

const NESTED: &str = "CREATE SCHEMA IF NOT EXISTS D;
    CREATE TABLE D.orders (id INT64 NOT NULL, tags ARRAY<STRING>, who STRUCT<name STRING, age INT64>,
      parts ARRAY<STRUCT<sku STRING, n INT64>>, day DATE NOT NULL) PARTITION BY day CLUSTER BY id;
    INSERT INTO D.orders VALUES
      (1, ['a', 'b'], STRUCT('x', 7), [STRUCT('s', 1), STRUCT('t', 2)], DATE '2026-11-01'),
      (2, [], STRUCT('y', NULL), [], DATE '2026-11-02');";

/// A table that is protected, written to files, and then damaged.
struct Damaged {
    scene: Scene,
    dataset: String,
    before: serde_json::Map<String, Value>,
}

impl Damaged {
    fn new(dataset: &str, made: &str, files: &[&str], damage: &str) -> Damaged {
        let scene = Scene::at(&scene::shared());
        let d = |text: &str| {
            text.replace("D.", &format!("{dataset}."))
                .replace("EXISTS D;", &format!("EXISTS {dataset};"))
        };
        scene.write("made.sql", &d(made));
        scene.write("damage.sql", &d(damage));
        fs::create_dir(scene.path("backups")).unwrap();
        scene
            .sh("bq-run --unprotected -q made.sql >made.stream")
            .expect(0, "made.sql");
        let before = scene.look("orders", &[dataset]);
        let damaged = Damaged {
            scene,
            dataset: dataset.to_owned(),
            before,
        };
        files.iter().for_each(|file| damaged.write(file));
        let run = format!(
            "bq-snap --run {dataset} {dataset}.orders >snap.stream && bq-run damage.sql <snap.stream >run.stream &&
             bq-check --run {dataset} --reject --because damaged >check.stream"
        );
        damaged.scene.sh(&run).expect(0, "the migration");
        assert_ne!(damaged.look(), damaged.before, "nothing was damaged");
        damaged
    }

    /// Writes the table as it is to a file.
    fn write(&self, file: &str) {
        let table = format!("{}.orders", self.dataset);
        let path = self.scene.path("backups").join(file);
        let script = helper("backups.py");
        let args = [script.to_str().unwrap(), &table, path.to_str().unwrap()];
        self.scene.run(scene::python().to_str().unwrap(), &args).expect(0, file);
    }

    fn look(&self) -> serde_json::Map<String, Value> {
        self.scene.look("orders", &[&self.dataset])
    }

    fn restore(&self, flags: &str) -> Ended {
        self.scene.sh(&format!(
            "bq-restore --run {} --from backup --backup-dir backups {flags} >restore.stream",
            self.dataset
        ))
    }

    fn record(&self) -> Value {
        let stream = self.scene.read("restore.stream");
        let mut records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.find(|record| record["type"] == "restore").unwrap()
    }

    /// The files went nowhere but into the tables, and not all of them are text.
    fn end(self) {
        fs::remove_dir_all(self.scene.path("backups")).unwrap();
        drop(self.scene.end());
    }

    /// It is restored from this file, and nothing of ours is left beside it.
    #[track_caller]
    fn restored_from(self, file: &str) {
        self.restore("").expect(10, file);
        assert_eq!(self.look(), self.before, "{file}");
        let record = self.record();
        assert_eq!(record["from"], "backup");
        assert!(record["source"].as_str().unwrap().ends_with(file), "{record}");
        let beside = self.scene.look(".*restoring.*", &[&self.dataset]);
        assert!(beside.is_empty(), "{beside:?}");
        self.end();
    }
}

const DELETE: &str = "DELETE FROM D.orders WHERE id = 2;";
const DROP: &str = "DROP TABLE D.orders;";

#[test]
fn a_file_of_each_format_brings_a_table_back() {
    let _machine = scene::share_the_machine();
    for (dataset, made, file, damage) in [
        ("bk_csv", FLAT, "orders.csv", DELETE),
        ("bk_csv_gz", FLAT, "bk_csv_gz.orders-20261120.csv.gz", DROP),
        ("bk_json", NESTED, "orders_backup.jsonl", DELETE),
        ("bk_json_gz", NESTED, "orders.json.gz", DROP),
        ("bk_avro", FLAT, "orders.avro", DELETE),
        ("bk_avro_nested", NESTED, "orders.avro", DROP),
        ("bk_parquet", FLAT, "orders.parquet", DROP),
        ("bk_parquet_nested", NESTED, "orders.parquet", DELETE),
    ] {
        Damaged::new(dataset, made, &[file], damage).restored_from(file);
    }
}

#[test]
fn a_table_of_another_layout_gives_way_to_a_file() {
    let _machine = scene::share_the_machine();
    let damage = "CREATE TABLE D.aside AS SELECT * FROM D.orders; DROP TABLE D.orders;
        CREATE TABLE D.orders AS SELECT id, note FROM D.aside; DROP TABLE D.aside;";
    Damaged::new("bk_layout", FLAT, &["orders.csv"], damage).restored_from("orders.csv");
}

#[test]
fn the_newest_file_that_fits_is_taken() {
    let _machine = scene::share_the_machine();
    let damaged = Damaged::new(
        "bk_newest",
        FLAT,
        &["orders_20260101.csv", "orders_20261101.csv"],
        DELETE,
    );
    // Of the damaged table: a row is missing.
    damaged.write("orders_20261120.csv");
    damaged
        .scene
        .write("backups/orders_20261119.csv", "id,note\n1,a\n2,b\n");
    let in_order =
        "day,id,note,price,raw,seen,ok,f\n2026-11-01,1,a,1,,,,\n2026-11-01,2,b,1,,,,\n2026-11-01,3,b,1,,,,\n";
    damaged.scene.write("backups/orders_20261118.csv", in_order);
    let garbage = format!(
        "{}not a number,{}\n",
        "1,a,1,,2026-11-01,,,\n".repeat(2),
        "a,1,,2026-11-01,,,"
    );
    damaged.scene.write("backups/orders_20261117.csv", &garbage);

    let calls = damaged.scene.calls_so_far();
    let listed = damaged.restore("-n");
    let lines: Vec<&str> = listed
        .expect(0, "-n")
        .stderr
        .lines()
        .filter(|l| l.contains("/backups/"))
        .collect();
    assert_eq!(lines.len(), 6, "{}", listed.stderr);
    assert!(
        lines[0].contains("orders_20261120.csv") && lines[0].contains("3 records"),
        "{}",
        lines[0]
    );
    assert!(
        lines[5].contains("orders_20260101.csv") && lines[5].contains("2026-01-01"),
        "{}",
        lines[5]
    );
    assert!(
        damaged.record()["source"]
            .as_str()
            .unwrap()
            .ends_with("orders_20261120.csv")
    );
    let changing = damaged
        .scene
        .calls_since(calls)
        .into_iter()
        .filter(|call| call.path.contains("/upload/"));
    assert_eq!(changing.count(), 0);

    let restored = damaged.restore("").expect(10, "the fifth file").stderr.clone();
    for why in [
        "2 rows, and not 3",
        "its columns are id, note",
        "its columns are day, id",
        "Error while reading data",
    ] {
        assert!(restored.contains(why), "{why}: {restored}");
    }
    assert_eq!(damaged.look(), damaged.before);
    assert!(
        damaged.record()["source"]
            .as_str()
            .unwrap()
            .ends_with("orders_20261101.csv")
    );
    damaged.end();
}

#[test]
fn the_parts_of_an_export_are_one_backup() {
    let _machine = scene::share_the_machine();
    let made = "CREATE SCHEMA IF NOT EXISTS D; CREATE TABLE D.orders (id INT64 NOT NULL, note STRING);
        INSERT INTO D.orders VALUES (1, 'a'), (2, 'b'), (3, 'c');";
    let damaged = Damaged::new("bk_parts", made, &[], DELETE);
    let part = |number: u32, text: &str| damaged.scene.write(&format!("backups/orders-{number:012}.csv"), text);
    part(0, "id,note\n1,a\n");
    part(2, "id,note\n3,c\n");
    let refused = damaged.restore("").expect(4, "a part is missing").stderr.clone();
    assert!(
        refused.contains("part 1 is missing") && refused.contains("/backups"),
        "{refused}"
    );
    part(1, "id,note\n2,b\n");
    damaged.restored_from("orders-000000000000.csv and 2 more");
}

#[test]
fn without_a_file_that_fits_nothing_is_touched() {
    let _machine = scene::share_the_machine();
    let damaged = Damaged::new("bk_none", FLAT, &[], DELETE);
    let left = damaged.look();
    let said = damaged.restore("-n").expect(4, "no file, would").stderr.clone();
    assert!(
        said.contains("there is no file of") && said.contains("backups"),
        "{said}"
    );
    damaged.restore("").expect(4, "no file");
    damaged.write("orders.avro");
    let said = damaged.restore("").expect(4, "a file of fewer rows").stderr.clone();
    assert!(said.contains("2 rows, and not 3"), "{said}");
    assert_eq!(damaged.look(), left);
    assert!(damaged.scene.look(".*restoring.*", &["bk_none"]).is_empty());
    for flags in [
        "--from elsewhere",
        "--from backup",
        "--from backup --backup-dir nowhere",
        "--backup-dir backups",
    ] {
        damaged
            .scene
            .sh(&format!("bq-restore --run bk_none {flags}"))
            .expect(2, flags);
    }
    let set = "BACKUP_DIR=backups ARCHIVE_DIR=$PWD/backups bq-restore --run bk_none --from backup -n";
    damaged.scene.sh(set).expect(0, "directories of the environment");
    damaged.end();
}

#[test]
fn a_large_file_goes_in_pieces() {
    let _machine = scene::share_the_machine();
    let made = "CREATE SCHEMA IF NOT EXISTS D; CREATE TABLE D.orders (id INT64 NOT NULL, note STRING);
        INSERT INTO D.orders SELECT id, REPEAT('x', 1000) FROM UNNEST(GENERATE_ARRAY(1, 20000)) AS id;";
    let damaged = Damaged::new("bk_large", made, &["orders.csv"], DELETE);
    let calls = damaged.scene.calls_so_far();
    damaged.restore("-v").expect(10, "20 MB");
    let uploads: Vec<_> = damaged
        .scene
        .calls_since(calls)
        .into_iter()
        .filter(|c| c.path.contains("/upload/"))
        .collect();
    let puts = uploads.iter().filter(|call| call.method == "PUT").count();
    assert_eq!((uploads.len(), puts), (4, 3), "one address, and three pieces");
    damaged.restored_again();
}

impl Damaged {
    /// It equals what it was, and is compared again as such.
    #[track_caller]
    fn restored_again(self) {
        assert_eq!(self.look(), self.before);
        self.restore("").expect(10, "again");
        self.end();
    }
}
