//! Every SQL text that the programs send is one that Google's own parser reads.
//!
//! The texts come from two sides: what real lines sent (every [`Scene`](crate::scene::Scene) hands in its calls), and what
//! `bqlib::sql` makes of the nastiest names that are valid.

use crate::scene::{helper, python, say};
use bqlib::fingerprint::choice::Choice;
use bqlib::fingerprint::columns::Columns;
use bqlib::fingerprint::partitions::Partitions;
use bqlib::fingerprint::query::{Asked, query};
use bqlib::foreign::query::{Apart, Stated};
use bqlib::names::{RunId, TableRef};
use bqlib::sql::{AsOf, CopyOptions, Counted, Lives, Verb};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use tests::gateway::Call;

/// The SQL of the jobs among these calls that carry our labels.
pub(crate) fn ours(calls: &[Call]) -> BTreeSet<String> {
    calls
        .iter()
        .filter(|call| call.method == "POST" && call.path.ends_with("/jobs"))
        .filter(|call| call.body["configuration"]["labels"]["bq-rollback-tool"].is_string())
        .filter_map(|call| Some(call.body["configuration"]["query"]["query"].as_str()?.to_owned()))
        .collect()
}

/// Parses all of them; fails with those that do not parse. How many did.
pub(crate) fn parse(texts: &BTreeSet<String>) -> usize {
    let (parsed, wrong) = ask(texts);
    assert!(
        wrong.is_empty(),
        "{} of {} SQL texts are none to Google's parser:\n{}",
        wrong.len(),
        texts.len(),
        wrong.join("\n")
    );
    assert_eq!(parsed, texts.len());
    parsed
}

/// What Google's parser, asked by this helper, answers about these texts. The first to ask compiles it, half a minute; the
/// others wait, and find it compiled.
pub(crate) fn ask_google<T: DeserializeOwned>(script: &str, texts: &impl Serialize) -> T {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, texts).unwrap();
    let output = Command::new(python())
        .arg(helper(script))
        .arg(file.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How many parse, and what is said of the others.
fn ask(texts: &BTreeSet<String>) -> (usize, Vec<String>) {
    let answer: Value = ask_google("parse_sql.py", texts);
    let wrong = answer["wrong"].as_array().unwrap();
    let wrong = wrong
        .iter()
        .map(|pair| {
            let (text, why) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
            let text: String = text.chars().take(400).collect();
            format!("{why}\n    {text}")
        })
        .collect();
    (answer["parsed"].as_u64().unwrap().try_into().unwrap(), wrong)
}

#[test]
fn what_is_no_sql_does_not_pass() {
    let texts = ["SELECT 1 AS n", "SELECT 1 AS at", "CREATE SNAPSHOT `p.d.t`", ""].map(str::to_owned);
    let (parsed, wrong) = ask(&texts.into());
    assert_eq!((parsed, wrong.len()), (1, 3), "{wrong:?}");
}

/// What a person copies from the recovery page at night is SQL, and finds a run by its labels.
#[test]
fn the_recovery_page_speaks_sql() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recovery.md")).unwrap();
    let queries = page.split("bq query --use_legacy_sql=false '").skip(1);
    let texts: BTreeSet<String> = queries
        .map(|rest| rest.split_once('\'').unwrap().0.replace('…', "x"))
        .collect();
    assert!(texts.len() > 8, "{texts:#?}");
    for label in [bqlib::sql::RUN_LABEL, bqlib::sql::TOOL_LABEL] {
        let asks = |text: &&String| text.contains("INFORMATION_SCHEMA.JOBS") && text.contains(label);
        assert!(texts.iter().any(|text| asks(&text)), "no query of jobs by {label}");
    }
    say(&format!("docs/recovery.md: {} SQL texts parsed", parse(&texts)));
}

/// Names that are valid and look as if they were not.
fn tables() -> Vec<TableRef> {
    let long = "n".repeat(1000);
    let accents = "é".repeat(500);
    let texts = [
        "p.d.t",
        "diagnostic-pro-start-up.repair_diagnostics.dtc_codes_github",
        "example.com:old-project.data_set.t",
        "1-project.1dataset.1table",
        "p.select.from",
        "p.d.with-dash",
        "p.d.two words",
        "p.d. begins and ends with a space ",
        "p.d.20260101",
        "p.d.-- no comment",
        "p.d.Größe 表 таблица ٣ e\u{301}",
        "p.d.‿⁀",
        "p.данные.t",
        &format!("p.d.{long}"),
        &format!("p.d.{accents}"),
        &format!("p.{long}.t"),
    ];
    texts
        .iter()
        .map(|text| TableRef::parse(text, None).unwrap_or_else(|e| panic!("{e}")))
        .collect()
}

/// Fingerprints of a table with this column, of every type and depth, for each way of partitioning.
fn fingerprints(counted: &Counted, column: &str) -> Vec<String> {
    let types = [
        "STRING",
        "BYTES",
        "INTEGER",
        "FLOAT",
        "NUMERIC",
        "BIGNUMERIC",
        "BOOLEAN",
        "TIMESTAMP",
        "DATE",
        "TIME",
        "DATETIME",
        "GEOGRAPHY",
        "JSON",
        "INTERVAL",
    ];
    let named = types
        .iter()
        .map(|of| json!({"name": format!("{column}{of}"), "type": of}));
    let repeated = types
        .iter()
        .map(|of| json!({"name": format!("{column}{of}s"), "type": of, "mode": "REPEATED"}));
    let range = json!({"name": column, "type": "RANGE", "rangeElementType": {"type": "TIMESTAMP"}});
    let inner: Vec<Value> = named.chain(repeated).chain([range]).collect();
    let fields = json!([
        {"name": column, "type": "RECORD", "fields": inner},
        {"name": "v0", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": column, "type": "RECORD", "mode": "REPEATED", "fields": inner}]},
    ]);
    let time = |unit: &str| json!({"timePartitioning": {"type": unit, "field": column}});
    let range = json!({"field": column, "range": {"start": "-9223372036854775808", "end": "9223372036854775807", "interval": "1"}});
    let layouts = [
        json!({}),
        json!({"timePartitioning": {"type": "HOUR"}}),
        time("DAY"),
        time("MONTH"),
        time("YEAR"),
        json!({"rangePartitioning": range}),
    ];
    let lives = bqlib::sql::lives(column, "DAY", 1, "2026-01-02T03:04:05Z".parse().unwrap());
    let one = |mut resource: Value| {
        resource["schema"] = json!({"fields": fields});
        let meta = serde_json::from_value(resource).unwrap();
        query(&Asked {
            table: counted,
            columns: &Columns::of(&meta, &Choice::All).unwrap(),
            by: Partitions::of(&meta).as_ref(),
            only: Some(&lives),
        })
    };
    layouts.into_iter().map(one).collect()
}

/// What is asked and copied of others' writes, of tables with these columns.
fn foreign(table: &TableRef, other: &TableRef, columns: &[&str]) -> Vec<String> {
    let at = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let run: RunId = "r".parse().unwrap();
    let options = CopyOptions {
        places: &[],
        tool: "bq-restore",
        expires: None,
        run: &run,
        state: "foreign",
        description: "what others wrote",
    };
    let meta = |kind: &str| {
        let fields: Vec<Value> = columns.iter().map(|name| json!({"name": name, "type": kind})).collect();
        let layout = json!({"type": "DAY", "field": columns[0]});
        let resource =
            json!({"schema": {"fields": fields}, "timePartitioning": layout, "requirePartitionFilter": true});
        serde_json::from_value(resource).unwrap()
    };
    let part = |before: Option<&str>, after: &str| Apart {
        before: before.map(|kind| Stated::new(other, &meta(kind))),
        after: Stated::new(table, &meta(after)),
    };
    let parts = [
        part(Some("DATE"), "DATE"),
        part(Some("DATE"), "STRING"),
        part(None, "DATE"),
    ];
    let all: Vec<&Apart> = parts.iter().collect();
    vec![
        bqlib::foreign::query::measure(&parts),
        bqlib::foreign::query::copy(other, &all, &options),
        bqlib::foreign::query::copy(other, &all[..1], &options),
        bqlib::foreign::query::state(other, &Counted::new(table, AsOf::At(at), Some(&meta("DATE"))), &options),
        bqlib::foreign::jobs::question(&table.project, &"europe-west1".parse().unwrap(), at, &[table, other]),
    ]
}

#[test]
fn nasty_names_make_sql_that_google_parses() {
    let columns = [
        "day",
        "_PARTITIONTIME",
        "select",
        "b`ck",
        "back\\slash",
        "two words",
        "größe",
        "--",
        "a\"b'c",
    ];
    let instants = [
        "2026-01-02T03:04:05.678Z",
        "1999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
    ];
    let descriptions = [
        "",
        "it's",
        "a \"quoted\" `name`",
        "ends with \\",
        "two\nlines\r\n\tand \u{1} more",
        "'''",
        "größer 🦀",
    ];
    let tables = tables();
    let mut texts = BTreeSet::from([bqlib::sql::CUT.to_owned()]);
    for table in &tables {
        let other = tables.last().unwrap();
        for instant in instants {
            let at = instant.parse().unwrap();
            for (run, expires) in [("r", Some(at)), (&"9_z".repeat(21), None)] {
                let run: RunId = run.parse().unwrap();
                for description in descriptions {
                    let options = CopyOptions {
                        places: &[],
                        tool: "bq-snap",
                        expires,
                        run: &run,
                        state: "rolled-back",
                        description,
                    };
                    texts.insert(bqlib::sql::snapshot(other, table, at, &options));
                    texts.insert(bqlib::sql::keep(table, other, &options));
                    texts.insert(bqlib::sql::keep_in_full(table, other, &options));
                    for verb in [Verb::Clone, Verb::Copy] {
                        let at = (verb == Verb::Clone).then_some(at);
                        let lives = Lives {
                            expires,
                            partition_ms: expires.map(|_| 90_000_000),
                        };
                        texts.insert(bqlib::sql::stage(table, other, verb, at, &options, lives));
                        texts.insert(bqlib::sql::restore(table, other, verb, true, lives));
                    }
                }
                for (verb, over) in [
                    (Verb::Clone, true),
                    (Verb::Copy, true),
                    (Verb::Clone, false),
                    (Verb::Copy, false),
                ] {
                    texts.insert(bqlib::sql::restore(table, other, verb, over, expires));
                }
            }
        }
        texts.insert(bqlib::sql::fine_grained(&table.dataset_ref()));
        texts.insert(bqlib::sql::standing(&table.dataset_ref()));
        for (id, filter) in [("all_rows", "TRUE"), ("select", "region = ')' -- (")] {
            let grantees = ["user:o'neill@example.com", "allUsers"].map(str::to_owned);
            for grantees in [grantees.into(), BTreeSet::new()] {
                texts.insert(bqlib::sql::row_policy(table, id, &grantees, filter).unwrap());
            }
        }
        texts.extend(foreign(table, other, &columns));
        texts.insert(bqlib::sql::clear(table));
        for kind in ["TABLE", "VIEW", "MATERIALIZED_VIEW", "EXTERNAL", "SNAPSHOT"] {
            texts.insert(bqlib::sql::drop(kind, table));
        }
        texts.insert(bqlib::sql::fill(table, other, &columns.map(str::to_owned)));
        let at = instants[0].parse().unwrap();
        for column in columns {
            for unit in ["HOUR", "DAY", "MONTH", "YEAR"] {
                texts.insert(bqlib::sql::living_rows(
                    &Counted::new(table, AsOf::Plain, None),
                    column,
                    unit,
                    u64::MAX,
                    at,
                ));
            }
            for as_of in [AsOf::Now, AsOf::At(at), AsOf::Plain] {
                let filter_by = Some(column.to_owned());
                let mut counted = Counted::new(table, as_of, None);
                texts.insert(bqlib::sql::counts(&[counted.clone()]));
                counted.filter_by = filter_by;
                texts.insert(bqlib::sql::counts(&[counted]));
            }
        }
    }
    // These are long: each name of a column once, and each of a table.
    let all: Vec<Counted> = tables.iter().map(|t| Counted::new(t, AsOf::Now, None)).collect();
    texts.extend(columns.iter().flat_map(|column| fingerprints(&all[1], column)));
    texts.extend(all.iter().flat_map(|counted| fingerprints(counted, "day").pop()));
    texts.insert(bqlib::sql::counts(&all));
    let most = vec![all[1].clone(); bqlib::sql::TABLES_A_COUNT];
    texts.insert(bqlib::sql::counts(&most));
    say(&format!("{} SQL texts of nasty names parsed", parse(&texts)));
}
