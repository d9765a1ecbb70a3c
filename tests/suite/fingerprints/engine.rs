//! What is the same and what is not, to the reference implementation of Google's own SQL engine.
//!
//! The queries are those that the programs send; only the table they name is brought along in a WITH. GEOGRAPHY is not known
//! there: bq-local has it.

use std::process::{Command, Stdio};

use bqlib::fingerprint::choice::Choice;
use bqlib::fingerprint::columns::Columns;
use bqlib::fingerprint::partitions::Partitions;
use bqlib::fingerprint::query::{Asked, query};
use bqlib::fingerprint::{Fingerprint, Print};
use bqlib::meta::TableMeta;
use bqlib::names::TableRef;
use bqlib::sql::{AsOf, Counted};
use serde_json::{Map, Value, json};

use crate::scene::{helper, python};

/// Answers queries, each with its rows.
fn evaluate(texts: &[String]) -> Vec<Vec<Map<String, Value>>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, texts).unwrap();
    let output = Command::new(python())
        .arg(helper("evaluate_sql.py"))
        .arg(file.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), texts.len());
    let rows = |(answer, text): (Value, &String)| match answer.get("error") {
        Some(why) => panic!("{why}\n{text}"),
        None => serde_json::from_value(answer).unwrap(),
    };
    answers.into_iter().zip(texts).map(rows).collect()
}

fn evaluate_prints(texts: &[String]) -> Vec<Print> {
    let print = |rows: Vec<_>| Print::of_rows(&rows, true).unwrap_or_else(|| panic!("{rows:?}"));
    evaluate(texts).into_iter().map(print).collect()
}

fn meta(resource: Value) -> TableMeta {
    serde_json::from_value(resource).unwrap()
}

fn schema(fields: Value) -> TableMeta {
    meta(json!({"schema": {"fields": fields}}))
}

/// The query of a table of these rows.
fn with_rows(rows: &str, columns: &Columns, by: Option<&Partitions>) -> String {
    let table = Counted::new(&TableRef::parse("p.d.t", None).unwrap(), AsOf::Plain, None);
    let asked = Asked {
        table: &table,
        columns,
        by,
        only: None,
    };
    format!("WITH `p.d.t` AS ({rows})\n{}", query(&asked))
}

fn whole(meta: &TableMeta) -> Columns {
    Columns::of(meta, &Choice::All).unwrap()
}

/// A column a type, and a value of it.
const COLUMNS: [(&str, &str); 19] = [
    ("i", "CAST(1 AS INT64)"),
    ("f", "CAST(1.5 AS FLOAT64)"),
    ("n", "NUMERIC '1.5'"),
    ("b", "BIGNUMERIC '1.5'"),
    ("s", "CAST('x' AS STRING)"),
    ("t", "CAST('y' AS STRING)"),
    ("y", "CAST(b'x' AS BYTES)"),
    ("o", "TRUE"),
    ("d", "DATE '2026-01-01'"),
    ("dt", "DATETIME '2026-01-01 00:00:00'"),
    ("tm", "TIME '00:00:00'"),
    ("ts", "TIMESTAMP '2026-01-01 00:00:00+00'"),
    ("j", "JSON '{\"a\": 1}'"),
    ("iv", "CAST('1-2 3 4:5:6' AS INTERVAL)"),
    ("rg", "RANGE<DATE> '[2026-01-01, 2026-02-01)'"),
    ("st", "STRUCT<a INT64, b STRUCT<c STRING>>(1, STRUCT('z'))"),
    ("ar", "ARRAY<STRING>['p', 'q']"),
    ("fa", "ARRAY<FLOAT64>[1.5, 2.5]"),
    (
        "sa",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(1.5, [1, 2]), (2.5, [3])]",
    ),
];

fn all_types() -> TableMeta {
    let field = |name: &str, of: &str| json!({"name": name, "type": of});
    let many =
        |name: &str, of: &str, fields: Value| json!({"name": name, "type": of, "mode": "REPEATED", "fields": fields});
    schema(json!([
        field("i", "INTEGER"), field("f", "FLOAT"), field("n", "NUMERIC"), field("b", "BIGNUMERIC"), field("s", "STRING"),
        field("t", "STRING"), field("y", "BYTES"), field("o", "BOOLEAN"), field("d", "DATE"), field("dt", "DATETIME"),
        field("tm", "TIME"), field("ts", "TIMESTAMP"), field("j", "JSON"), field("iv", "INTERVAL"),
        {"name": "rg", "type": "RANGE", "rangeElementType": {"type": "DATE"}},
        {"name": "st", "type": "RECORD", "fields": [field("a", "INTEGER"), {"name": "b", "type": "RECORD", "fields": [field("c", "STRING")]}]},
        many("ar", "STRING", json!([])), many("fa", "FLOAT", json!([])),
        many("sa", "RECORD", json!([field("x", "FLOAT"), many("y", "INTEGER", json!([]))])),
    ]))
}

/// One row, some of its values other than in [`COLUMNS`].
fn row(values: &[(&str, &str)]) -> String {
    let one = |(name, usual): &(&str, &str)| {
        let value = values
            .iter()
            .find(|(n, _)| n == name)
            .map_or(*usual, |(_, value)| value);
        // A NULL has its type from the usual value.
        match value {
            "NULL" => format!("IF(TRUE, NULL, {usual}) AS {name}"),
            value => format!("{value} AS {name}"),
        }
    };
    format!("SELECT {}", COLUMNS.iter().map(one).collect::<Vec<_>>().join(", "))
}

const SAME: bool = true;
const CHANGED: bool = false;

/// A column, two values of it, and whether they are the same.
const VALUES: [(&str, &str, &str, bool); 67] = [
    ("i", "1", "2", CHANGED),
    ("i", "NULL", "0", CHANGED),
    ("i", "9007199254740992", "9007199254740993", CHANGED),
    ("i", "-9223372036854775808", "9223372036854775807", CHANGED),
    ("f", "1.5", "-1.5", CHANGED),
    ("f", "CAST('nan' AS FLOAT64)", "-CAST('nan' AS FLOAT64)", SAME),
    (
        "f",
        "CAST('nan' AS FLOAT64)",
        "CAST('inf' AS FLOAT64) - CAST('inf' AS FLOAT64)",
        SAME,
    ),
    ("f", "CAST('nan' AS FLOAT64)", "NULL", CHANGED),
    ("f", "CAST('inf' AS FLOAT64)", "CAST('-inf' AS FLOAT64)", CHANGED),
    ("f", "0.0", "-0.0", SAME),
    ("f", "0.0", "NULL", CHANGED),
    ("f", "0.0", "4.9406564584124654e-324", CHANGED),
    ("f", "0.1", "1e-1", SAME),
    ("f", "0.1", "0.10000000000000002", CHANGED),
    ("f", "0.30000000000000004", "0.3", CHANGED),
    ("f", "1e300", "1.0000000000000002e300", CHANGED),
    ("n", "NUMERIC '1.5'", "NUMERIC '1.500'", SAME),
    ("n", "NUMERIC '1.5'", "NUMERIC '1.500000001'", CHANGED),
    ("n", "NUMERIC '0'", "NULL", CHANGED),
    ("b", "BIGNUMERIC '100'", "BIGNUMERIC '1e2'", SAME),
    (
        "b",
        "BIGNUMERIC '1'",
        "BIGNUMERIC '1.00000000000000000000000000000000000001'",
        CHANGED,
    ),
    ("s", "''", "NULL", CHANGED),
    ("s", "'null'", "NULL", CHANGED),
    ("s", "'x'", "'x '", CHANGED),
    ("s", "'x'", "'X'", CHANGED),
    ("s", "'\\u00e9'", "'e\\u0301'", CHANGED),
    ("s", "'a\\nb'", "'a\\\\nb'", CHANGED),
    ("s", "'\",\"f2\":\"'", "'\\\",\\\"f2\\\":\\\"'", SAME),
    ("y", "b''", "NULL", CHANGED),
    ("y", "b'\\x00'", "b'\\x00\\x00'", CHANGED),
    ("o", "TRUE", "FALSE", CHANGED),
    ("o", "FALSE", "NULL", CHANGED),
    ("d", "DATE '2026-01-01'", "DATE '2026-01-02'", CHANGED),
    (
        "dt",
        "DATETIME '2026-01-01 00:00:00'",
        "DATETIME '2026-01-01 00:00:00.000001'",
        CHANGED,
    ),
    ("tm", "TIME '00:00:00'", "TIME '00:00:00.000001'", CHANGED),
    (
        "ts",
        "TIMESTAMP '2026-01-01 00:00:00+00'",
        "TIMESTAMP '2026-01-01 02:00:00+02'",
        SAME,
    ),
    (
        "ts",
        "TIMESTAMP '2026-01-01 00:00:00+00'",
        "TIMESTAMP '2026-01-01 00:00:00.000001+00'",
        CHANGED,
    ),
    (
        "j",
        "JSON '{\"a\": 1, \"b\": [2, {\"d\": 3, \"c\": 4}]}'",
        "JSON '{\"b\":[2,{\"c\":4,\"d\":3}],\"a\":1}'",
        SAME,
    ),
    ("j", "JSON '{\"a\": 1}'", "JSON '{\"a\": \"1\"}'", CHANGED),
    ("j", "JSON '[1, 2]'", "JSON '[2, 1]'", CHANGED),
    ("j", "JSON 'null'", "NULL", CHANGED),
    ("j", "JSON 'null'", "JSON '\"null\"'", CHANGED),
    ("j", "JSON '{}'", "JSON '{\"a\": null}'", CHANGED),
    (
        "iv",
        "CAST('0-1 0 0:0:0' AS INTERVAL)",
        "CAST('0-2 0 0:0:0' AS INTERVAL)",
        CHANGED,
    ),
    (
        "iv",
        "CAST('0-0 1 0:0:0' AS INTERVAL)",
        "CAST('0-0 -1 0:0:0' AS INTERVAL)",
        CHANGED,
    ),
    (
        "iv",
        "CAST('0-0 0 0:0:0' AS INTERVAL)",
        "CAST('0-0 0 0:0:0.000001' AS INTERVAL)",
        CHANGED,
    ),
    ("iv", "CAST('0-0 0 0:0:0' AS INTERVAL)", "NULL", CHANGED),
    (
        "rg",
        "RANGE<DATE> '[2026-01-01, UNBOUNDED)'",
        "RANGE<DATE> '[2026-01-01, 9999-12-31)'",
        CHANGED,
    ),
    (
        "rg",
        "RANGE<DATE> '[UNBOUNDED, 2026-01-01)'",
        "RANGE<DATE> '[2026-01-01, UNBOUNDED)'",
        CHANGED,
    ),
    ("rg", "RANGE<DATE> '[UNBOUNDED, UNBOUNDED)'", "NULL", CHANGED),
    (
        "st",
        "STRUCT<a INT64, b STRUCT<c STRING>>(1, STRUCT('w'))",
        "STRUCT<a INT64, b STRUCT<c STRING>>(1, STRUCT('z'))",
        CHANGED,
    ),
    ("st", "STRUCT<a INT64, b STRUCT<c STRING>>(NULL, NULL)", "NULL", CHANGED),
    (
        "st",
        "STRUCT<a INT64, b STRUCT<c STRING>>(1, NULL)",
        "STRUCT<a INT64, b STRUCT<c STRING>>(1, STRUCT(NULL))",
        CHANGED,
    ),
    ("ar", "ARRAY<STRING>['p', 'q']", "ARRAY<STRING>['q', 'p']", CHANGED),
    ("ar", "ARRAY<STRING>['p', 'q']", "ARRAY<STRING>['p,q']", CHANGED),
    ("ar", "ARRAY<STRING>['p\",\"q']", "ARRAY<STRING>['p', 'q']", CHANGED),
    ("ar", "ARRAY<STRING>[]", "NULL", SAME),
    ("ar", "ARRAY<STRING>[]", "ARRAY<STRING>['']", CHANGED),
    ("fa", "ARRAY<FLOAT64>[0.0]", "ARRAY<FLOAT64>[-0.0]", SAME),
    ("fa", "ARRAY<FLOAT64>[0.0]", "ARRAY<FLOAT64>[0.0, 0.0]", CHANGED),
    ("fa", "ARRAY<FLOAT64>[1.0, 2.0]", "ARRAY<FLOAT64>[2.0, 1.0]", CHANGED),
    ("fa", "ARRAY<FLOAT64>[]", "NULL", SAME),
    (
        "sa",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(1.0, [1, 2])]",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(1.0, [2, 1])]",
        CHANGED,
    ),
    (
        "sa",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(1.0, [1]), (2.0, [2])]",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(2.0, [2]), (1.0, [1])]",
        CHANGED,
    ),
    (
        "sa",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(1.0, [1, 2]), (1.0, [])]",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(1.0, [1]), (1.0, [2])]",
        CHANGED,
    ),
    (
        "sa",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(0.0, NULL)]",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(-0.0, [])]",
        SAME,
    ),
    (
        "sa",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[]",
        "ARRAY<STRUCT<x FLOAT64, y ARRAY<INT64>>>[(NULL, NULL)]",
        CHANGED,
    ),
];

#[test]
fn every_type_says_what_is_the_same() {
    let columns = whole(&all_types());
    let one = |name: &str, value: &str| with_rows(&row(&[(name, value)]), &columns, None);
    let texts: Vec<String> = VALUES
        .iter()
        .flat_map(|(name, a, b, _)| [one(name, a), one(name, b)])
        .collect();
    let prints = evaluate_prints(&texts);
    for ((name, a, b, same), prints) in VALUES.iter().zip(prints.chunks(2)) {
        assert_eq!(prints[0].whole.rows, 1);
        // Each of the hashes alone tells them apart.
        let parts = |print: &Print| {
            (
                print.whole.xor == prints[1].whole.xor,
                print.whole.sum == prints[1].whole.sum,
            )
        };
        assert_eq!(parts(&prints[0]), (*same, *same), "{name}: {a} and {b}");
    }
    for (name, _) in COLUMNS {
        assert!(
            VALUES.iter().any(|(n, ..)| *n == name) || name == "t",
            "{name} is not tried"
        );
    }
}

#[test]
fn rows_deleted_doubled_swapped_and_moved_are_found() {
    let columns = whole(&all_types());
    let rows = |rows: &[&[(&str, &str)]]| {
        let rows: Vec<String> = rows.iter().map(|values| row(values)).collect();
        let none = format!("{} LIMIT 0", row(&[]));
        let text = if rows.is_empty() {
            none
        } else {
            rows.join("\nUNION ALL ")
        };
        with_rows(&text, &columns, None)
    };
    let (a, b, c): (&[_], &[_], &[_]) = (&[("i", "1")], &[("i", "2")], &[("i", "3")]);
    let cases: [(&str, String, String, bool); 9] = [
        ("another order", rows(&[a, b, c]), rows(&[c, a, b]), SAME),
        ("one row deleted", rows(&[a, b, c]), rows(&[a, b]), CHANGED),
        ("one row doubled", rows(&[a, b]), rows(&[a, b, b]), CHANGED),
        ("one row doubled twice", rows(&[a, b]), rows(&[a, b, b, b]), CHANGED),
        (
            "two rows doubled, two others gone",
            rows(&[a, a]),
            rows(&[b, b]),
            CHANGED,
        ),
        ("all rows deleted", rows(&[a]), rows(&[]), CHANGED),
        ("none, twice", rows(&[]), rows(&[]), SAME),
        (
            "values swapped between rows",
            rows(&[&[("s", "'1'"), ("t", "'2'")], &[("s", "'3'"), ("t", "'4'")]]),
            rows(&[&[("s", "'1'"), ("t", "'4'")], &[("s", "'3'"), ("t", "'2'")]]),
            CHANGED,
        ),
        (
            "a value moved to another column",
            rows(&[&[("s", "'1'"), ("t", "NULL")]]),
            rows(&[&[("s", "NULL"), ("t", "'1'")]]),
            CHANGED,
        ),
    ];
    let texts: Vec<String> = cases.iter().flat_map(|(_, a, b, _)| [a.clone(), b.clone()]).collect();
    let prints = evaluate_prints(&texts);
    for ((what, .., same), prints) in cases.iter().zip(prints.chunks(2)) {
        let [before, after] = [prints[0].whole, prints[1].whole];
        assert_eq!(before == after, *same, "{what}: {before} {after}");
        // The xor alone would not have seen these: what the other parts are for.
        if what.contains("twice") || what.contains("others gone") {
            assert_eq!(before.xor, after.xor, "{what}");
        }
        if what.contains("others gone") {
            assert_eq!(before.rows, after.rows, "{what}");
        }
    }
    assert_eq!(prints.last().unwrap().whole.rows, 1);
    assert_eq!(prints[13], Print::default(), "of no rows everything is nought");
}

/// Values are the same only in columns of the same names and types, in any order.
#[test]
fn columns_are_part_of_a_row() {
    let field = |name: &str, of: &str| json!({"name": name, "type": of});
    let print = |fields: Value, rows: &str| with_rows(rows, &whole(&schema(fields)), None);
    let texts = [
        print(
            json!([field("a", "STRING"), field("b", "INTEGER")]),
            "SELECT '1' AS a, 1 AS b",
        ),
        print(
            json!([field("B", "INT64"), field("A", "STRING")]),
            "SELECT 1 AS B, '1' AS A",
        ),
        print(
            json!([field("a", "INTEGER"), field("b", "INTEGER")]),
            "SELECT 1 AS a, 1 AS b",
        ),
        print(
            json!([field("a", "STRING"), field("c", "INTEGER")]),
            "SELECT '1' AS a, 1 AS c",
        ),
        print(
            json!([field("a", "STRING"), field("b", "NUMERIC")]),
            "SELECT '1' AS a, NUMERIC '1' AS b",
        ),
    ];
    let prints: Vec<Fingerprint> = evaluate_prints(&texts).iter().map(|print| print.whole).collect();
    assert_eq!(prints[0], prints[1]);
    for (i, other) in prints.iter().enumerate().skip(2) {
        assert_ne!(prints[0], *other, "{i}");
    }
}

/// What was widened since the cut is compared as the wider type.
#[test]
fn widened_values_are_the_same() {
    let of = |kind: &str| {
        let fields = json!([{"name": "a", "type": kind}, {"name": "l", "type": kind, "mode": "REPEATED"},
            {"name": "s", "type": "RECORD", "fields": [{"name": "x", "type": kind}]}]);
        schema(fields)
    };
    let rows = |cast: &str, value: &str| {
        let one = |value: &str| format!("CAST({value} AS {cast})");
        format!(
            "SELECT {} AS a, [{}, {}] AS l, STRUCT({} AS x) AS s, 'new' AS added",
            one(value),
            one("2"),
            one("3"),
            one("4")
        )
    };
    let types = [
        ("INTEGER", "INT64", "NUMERIC", "NUMERIC"),
        ("INTEGER", "INT64", "BIGNUMERIC", "BIGNUMERIC"),
        ("INTEGER", "INT64", "FLOAT", "FLOAT64"),
        ("NUMERIC", "NUMERIC", "BIGNUMERIC", "BIGNUMERIC"),
        ("NUMERIC", "NUMERIC", "FLOAT", "FLOAT64"),
    ];
    let mut texts = Vec::new();
    for (was, was_sql, is, is_sql) in types {
        let (before, now) = whole(&of(was)).at_the_cut_and_now(&of(is)).unwrap();
        texts.push(with_rows(&rows(was_sql, "1"), &before, None));
        texts.push(with_rows(&rows(is_sql, "1"), &now, None));
        texts.push(with_rows(&rows(is_sql, "7"), &now, None));
    }
    for (prints, case) in evaluate_prints(&texts).chunks(3).zip(types) {
        assert_eq!(prints[0], prints[1], "{case:?}");
        assert_ne!(prints[0], prints[2], "{case:?}");
    }
}

#[test]
fn partitions_have_the_ids_of_bigquery_and_add_up() {
    let by = |kind: &str, layout: Value| {
        let mut resource = json!({"schema": {"fields": [{"name": "at", "type": kind}]}});
        resource
            .as_object_mut()
            .unwrap()
            .extend(layout.as_object().unwrap().clone());
        meta(resource)
    };
    let time = |kind: &str, unit: &str| by(kind, json!({"timePartitioning": {"type": unit, "field": "at"}}));
    let range = json!({"rangePartitioning": {"field": "at", "range": {"start": "-10", "end": "10", "interval": "5"}}});
    let cases = [
        (
            time("DATE", "DAY"),
            "[DATE '2026-01-31', DATE '2026-02-01', NULL]",
            vec!["20260131", "20260201", "__NULL__"],
        ),
        (
            time("DATE", "MONTH"),
            "[DATE '2026-01-01', DATE '2026-01-31', DATE '2026-02-01']",
            vec!["202601", "202602"],
        ),
        (
            time("DATETIME", "HOUR"),
            "[DATETIME '2026-01-31 23:59:59']",
            vec!["2026013123"],
        ),
        // In UTC, whatever the zone of the session.
        (
            time("TIMESTAMP", "DAY"),
            "[TIMESTAMP '2026-01-31 23:59:59+00', TIMESTAMP '2026-01-31 23:59:59-02']",
            vec!["20260131", "20260201"],
        ),
        (
            time("TIMESTAMP", "YEAR"),
            "[TIMESTAMP '2026-01-31 00:00:00+00']",
            vec!["2026"],
        ),
        (
            by("INTEGER", range),
            "[-10, -6, -5, 0, 4, 9, 10, -11, NULL]",
            vec!["-10", "-5", "0", "5", "__NULL__", "__UNPARTITIONED__"],
        ),
    ];
    let text = |meta: &TableMeta, rows: &str, by: Option<&Partitions>| {
        with_rows(&format!("SELECT `at` FROM UNNEST({rows}) AS `at`"), &whole(meta), by)
    };
    let texts: Vec<String> = cases
        .iter()
        .flat_map(|(meta, rows, _)| [text(meta, rows, Partitions::of(meta).as_ref()), text(meta, rows, None)])
        .collect();
    let prints = evaluate_prints(&texts);
    for ((_, rows, ids), prints) in cases.iter().zip(prints.chunks(2)) {
        assert_eq!(
            prints[0].partitions.keys().collect::<Vec<_>>(),
            ids.iter().collect::<Vec<_>>(),
            "{rows}"
        );
        assert_eq!(prints[0].whole, prints[1].whole, "{rows}");
    }
}
