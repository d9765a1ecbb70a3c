//! What a table has beside its rows, put back each way that a table can come back, and read by Google's own client property by property; in
//! datasets whose defaults would end what comes back.

use crate::scene::{self, Ended, Scene, helper, python};
use serde_json::Value;
use tests::gateway::GatewayOptions;

/// What happens to the tables, and whether what is there can be read as the same table after it.
const CHANGE: &str = "
DELETE FROM DATASET.full WHERE day > DATE '2020-01-20';
DELETE FROM DATASET.plain WHERE day > DATE '2020-01-20';
ALTER TABLE DATASET.full SET OPTIONS (description = 'worse', labels = [('team', 'x'), ('new', 'y')], require_partition_filter = FALSE,
  friendly_name = NULL);
ALTER TABLE DATASET.full ALTER COLUMN id SET OPTIONS (description = 'nobody');
";
const DROP: &str = "DROP TABLE DATASET.full; DROP TABLE DATASET.plain;";
const REPARTITION: &str = "
DROP TABLE DATASET.full; DROP TABLE DATASET.plain;
CREATE TABLE DATASET.full (day DATE, id INT64) PARTITION BY DATE_TRUNC(day, MONTH);
CREATE TABLE DATASET.plain (day DATE, id INT64);
";

struct Case {
    scene: Scene,
    dataset: &'static str,
}

impl Case {
    fn new(dataset: &'static str) -> Case {
        Case::behind(dataset, "")
    }

    fn behind(dataset: &'static str, faults: &str) -> Case {
        let options = GatewayOptions {
            faults: faults.parse().unwrap(),
            ..GatewayOptions::default()
        };
        let case = Case {
            scene: Scene::behind(&scene::shared(), options),
            dataset,
        };
        case.python(&["make", dataset]);
        case
    }

    fn python(&self, args: &[&str]) -> String {
        let script = helper("extras.py");
        let args = [&[script.to_str().unwrap()], args].concat();
        let ended = self.scene.run(python().to_str().unwrap(), &args);
        ended.expect(0, "extras.py").stdout.clone()
    }

    fn look(&self, table: &str) -> Value {
        serde_json::from_str(&self.python(&["look", self.dataset, table])).unwrap()
    }

    fn both(&self) -> [Value; 2] {
        ["full", "plain"].map(|table| self.look(table))
    }

    /// The one line over both tables up to bq-restore; what it says goes to `NAME.stream`.
    fn migrate(&self, name: &str, sql: &str) {
        let dataset = self.dataset;
        self.scene.write("bad.sql", &sql.replace("DATASET", dataset));
        let line = format!(
            "bq-snap --run {name} --snapshot-dataset {dataset}_copies {dataset}.full {dataset}.plain |
             bq-run bad.sql | bq-check >{name}.line.stream"
        );
        self.scene.sh(&line).expect(1, name);
    }

    /// Restores, in a dataset that by now ends what is made in it.
    fn restore(&self, name: &str, status: i32) -> Ended {
        self.python(&["defaults", self.dataset, "on"]);
        let ended = self.scene.sh(&format!("bq-restore --run {name} >{name}.stream"));
        ended.expect(status, name);
        // bq-snap refuses a dataset that would end parts of what is kept in it.
        self.python(&["defaults", self.dataset, "off"]);
        ended
    }

    /// What the record of a table says was not put back.
    fn not_restored(&self, name: &str, table: &str) -> Vec<String> {
        let stream = self.scene.read(&format!("{name}.stream"));
        let mut records = stream.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let table = format!("{}.{table}", self.dataset);
        let of_table = |record: &Value| {
            record["type"] == "restore" && record["table"].as_str().is_some_and(|name| name.ends_with(&table))
        };
        let record = records
            .rfind(of_table)
            .unwrap_or_else(|| panic!("no record of {table}: {stream}"));
        let list = record["not_restored"].as_array().cloned().unwrap_or_default();
        list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }
}

/// Fails with each property that differs.
#[track_caller]
fn same(was: &Value, is: &Value, apart: &[&str], what: &str) {
    let (was, is) = (was.as_object().unwrap(), is.as_object().unwrap());
    let keys = was.keys().chain(is.keys()).filter(|key| !apart.contains(&key.as_str()));
    let differ: Vec<String> = keys
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| format!("{key}: was {:?}, is {:?}", was.get(key), is.get(key)))
        .collect();
    assert_eq!(differ, Vec::<String>::new(), "{what}");
}

#[track_caller]
fn all_there(was: &[Value; 2], is: &[Value; 2], apart: &[&str], what: &str) {
    same(&was[0], &is[0], apart, what);
    same(&was[1], &is[1], &[], what);
    for key in [
        "tableConstraints",
        "maxStaleness",
        "defaultCollation",
        "defaultRoundingMode",
        "expirationTime",
        "labels",
    ] {
        assert!(!was[0][key].is_null(), "{key}: {}", was[0]);
        assert!(was[1][key].is_null(), "{key}: {}", was[1]);
    }
    assert_eq!(was[0]["rows"].as_array().unwrap().len(), 40);
    assert_eq!(was[0]["policies"].as_object().unwrap().len(), 2);
    assert_ne!(was[0]["grants"].as_array().unwrap().len(), 0);
}

/// Cloned over what is there, then, the table being a clone by then, copied over it: nothing is lost, and nothing of ours stays.
#[test]
fn everything_comes_back_over_what_is_there() {
    let case = Case::new("extras_over");
    let before = case.both();
    for (name, how) in [
        ("cloned", "clone the snapshot over it"),
        ("copied", "copy the snapshot in full over it"),
    ] {
        case.migrate(name, CHANGE);
        assert_ne!(case.both(), before);
        case.restore(name, 10);
        all_there(&before, &case.both(), &[], name);
        assert!(case.scene.read(&format!("{name}.stream")).contains(how), "{name}");
        let lost = case.not_restored(name, "full");
        // The second time there is no index left on it.
        match name {
            "cloned" => assert!(
                matches!(&lost[..], [one] if one.starts_with("search index words (CREATE SEARCH INDEX")),
                "{lost:?}"
            ),
            _ => assert_eq!(lost, Vec::<String>::new()),
        }
        assert_eq!(case.not_restored(name, "plain"), Vec::<String>::new());
    }
    drop(case.scene.end());
}

/// The migration dropped it: all but what went with it is there again, and that is said.
#[test]
fn everything_comes_back_where_there_is_nothing() {
    let case = Case::new("extras_dropped");
    let before = case.both();
    case.migrate("dropped", DROP);
    let said = case.restore("dropped", 10).stderr;
    let after = case.both();
    all_there(&before, &after, &["grants"], "dropped");
    assert_eq!(after[0]["grants"].as_array().unwrap().len(), 0);
    let lost = case.not_restored("dropped", "full");
    assert!(
        matches!(&lost[..], [grants, tags] if grants.starts_with("grants on the table itself") && tags.starts_with("tags of")),
        "{lost:?}"
    );
    assert!(
        said.contains("put back without: grants on the table itself, if it had any"),
        "{said}"
    );
    drop(case.scene.end());
}

/// What is there has to be dropped: its grants are kept and given again, by the undo too.
#[test]
fn grants_outlive_a_drop() {
    let case = Case::new("extras_grants");
    let before = case.both();
    case.migrate("repartitioned", REPARTITION);
    case.python(&["grant", case.dataset]);
    let migrated = case.both();
    assert_ne!(migrated[0]["grants"], before[0]["grants"]);
    case.restore("repartitioned", 10);
    let after = case.both();
    all_there(&before, &after, &["grants"], "repartitioned");
    assert_eq!(after[0]["grants"], migrated[0]["grants"]);
    let lost = case.not_restored("repartitioned", "full");
    assert!(
        matches!(&lost[..], [tags] if tags.starts_with("tags of the catalog")),
        "{lost:?}"
    );

    case.scene
        .sh("bq-restore --undo --run repartitioned >undone.stream")
        .expect(0, "the undo");
    let undone = case.both();
    same(&migrated[0], &undone[0], &[], "undone");
    same(&migrated[1], &undone[1], &[], "undone");
    drop(case.scene.end());
}

/// Its snapshot is gone, and the table was dropped: it is made of a copy that has lost its layout, and its options all the same.
#[test]
fn options_come_back_with_a_table_made_of_history() {
    let case = Case::new("extras_history");
    let before = case.both();
    case.migrate("history", DROP);
    case.python(&["forget", case.dataset]);
    case.restore("history", 10);
    let after = case.both();
    all_there(&before, &after, &["grants", "policies"], "history");
    let lost = case.not_restored("history", "full");
    assert!(
        lost.iter()
            .any(|one| one.starts_with("row access policies, if it had any")),
        "{lost:?}"
    );
    drop(case.scene.end());
}

/// The next call did not come: the same command takes away what the dataset gave, and makes again the policies that somebody dropped meanwhile.
#[test]
fn a_restore_cut_short_before_its_options_is_finished() {
    let case = Case::behind("extras_cut", "PATCH /tables/full #1 : 412 conditionNotMet");
    let before = case.both();
    case.migrate("cut", CHANGE);
    let said = case.restore("cut", 3).stderr;
    assert!(said.contains("options of"), "{said}");
    let between = case.look("full");
    assert_eq!(
        between["rows"], before[0]["rows"],
        "the dataset's default took partitions away"
    );
    case.python(&["open", case.dataset]);
    assert_eq!(case.look("full")["policies"].as_object().unwrap().len(), 0);
    case.restore("cut", 10);
    all_there(&before, &case.both(), &[], "cut");
    drop(case.scene.end());
}

/// For whom a policy was is not told: it is not made for the wrong people, and a person must look.
#[test]
fn a_policy_that_cannot_be_made_is_a_difference() {
    let case = Case::behind(
        "extras_closed",
        "PATCH /tables/full #1 : 412 conditionNotMet\nPOST /rowAccessPolicies/eu:getIamPolicy : 403 accessDenied",
    );
    case.migrate("closed", CHANGE);
    case.restore("closed", 3);
    case.python(&["open", case.dataset]);
    let said = case.restore("closed", 9).stderr;
    assert!(said.contains("row access policy eu was not made again"), "{said}");
    assert!(said.contains("bigquery.rowAccessPolicies.getIamPolicy"), "{said}");
    let seen: Value = case
        .scene
        .read("closed.stream")
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .find(|r: &Value| r["type"] == "restore" && r["ok"] == false)
        .unwrap();
    assert!(seen["table"].as_str().unwrap().ends_with(".full"));
    drop(case.scene.end());
}

/// One part of the patch is refused: the others, and what ends the table most of all, are put back, and the rest is said.
#[test]
fn one_refused_option_does_not_keep_the_others_back() {
    let case = Case::behind(
        "extras_refused",
        "PATCH /tables/full body~\"friendlyName\" : 403 accessDenied",
    );
    let before = case.both();
    case.migrate("refused", CHANGE);
    let said = case.restore("refused", 9).stderr;
    assert!(said.contains("friendly name: was `All of it`, is not set"), "{said}");
    all_there(&before, &case.both(), &["friendlyName"], "refused");
    let lost = case.not_restored("refused", "full");
    assert!(lost.iter().any(|one| one.starts_with("friendlyName: ")), "{lost:?}");
    drop(case.scene.end());
}
