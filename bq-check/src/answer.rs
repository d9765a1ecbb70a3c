//! PURE: what BigQuery's answer to a question means and how much of it is shown.

use bqlib::exit::one_line;
use bqlib::script;
use serde_json::{Map, Value, json};

/// How many violating rows are shown.
pub(crate) const SHOWN: usize = 10;

/// The bytes of JSON that a row is shown with; a line of the stream has 32 MiB, and one cell of BigQuery may have more.
const ROW: usize = 16 * 1024;
/// Of a row that is longer: the characters of a text, and the elements of a list.
const TEXT: usize = 200;
const LIST: usize = 10;

/// The characters of BigQuery's message that are shown: it may quote what it found.
const MESSAGE: usize = 4000;

/// How many rows were found, and those of them that are shown.
pub(crate) fn found(rows: &[Map<String, Value>]) -> (String, Option<Value>) {
    let number = match rows.len() {
        0 => return ("no rows".to_owned(), None),
        1 => "1 row".to_owned(),
        n if n < SHOWN => format!("{n} rows"),
        _ => format!("{SHOWN} rows or more"),
    };
    let mut cut = false;
    let shown: Vec<Value> = rows
        .iter()
        .take(SHOWN)
        .map(|row| {
            let whole = Value::Object(row.clone());
            if size(&whole) <= ROW {
                return whole;
            }
            cut = true;
            Value::Object(shortened(row))
        })
        .collect();
    let got = if cut {
        format!("{number}, shown in part")
    } else {
        number
    };
    (got, Some(json!(shown)))
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

/// A row that fits: long values cut first, then columns left out.
fn shortened(row: &Map<String, Value>) -> Map<String, Value> {
    let mut short = Map::new();
    let mut room = ROW;
    for (i, (name, value)) in row.iter().enumerate() {
        let value = match cut(value) {
            value if size(&value) <= ROW / 4 => value,
            value => Value::String(beginning(&value.to_string(), TEXT)),
        };
        // Quotes, a colon and a comma stand around it.
        let takes = name.len() + size(&value) + 4;
        if takes > room {
            let left = row.len() - i;
            short.insert("…".to_owned(), json!(format!("{left} more columns")));
            break;
        }
        room -= takes;
        short.insert(name.clone(), value);
    }
    short
}

fn cut(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(beginning(text, TEXT)),
        Value::Array(list) => {
            let mut shown: Vec<Value> = list.iter().take(LIST).map(cut).collect();
            if list.len() > LIST {
                shown.push(json!(format!("… ({} elements)", list.len())));
            }
            Value::Array(shown)
        }
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), cut(value))).collect(),
        other => other.clone(),
    }
}

/// A text's beginning, and how long it is if that is not all of it.
fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
    }
}

/// A message as it is shown.
pub(crate) fn message(text: &str) -> String {
    beginning(&one_line(text), MESSAGE)
}

/// What an `ASSERT` said that failed; `None`: the message is of something else, and whether it holds is not known.
///
/// BigQuery documents `Assertion failed: DESCRIPTION`, and is also seen to say no more than the description.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/debugging-statements#assert>.
pub(crate) fn assertion_failed(sql: &str, message: &str) -> Option<String> {
    const FAILED: &str = "Assertion failed";
    let line = one_line(message);
    let said = line.strip_prefix("Query error: ").unwrap_or(&line);
    let said = match said.rsplit_once(" at [") {
        Some((said, place)) if place.ends_with(']') => said,
        _ => said,
    };
    let described = script::assertion_says(sql).is_some_and(|says| says == said);
    (described || said.starts_with(FAILED)).then(|| beginning(said, MESSAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize, value: &Value) -> Vec<Map<String, Value>> {
        vec![Map::from_iter([("id".to_owned(), value.clone())]); n]
    }

    #[test]
    fn the_first_rows_are_shown_and_counted() {
        for (n, got) in [
            (0, "no rows"),
            (1, "1 row"),
            (9, "9 rows"),
            (10, "10 rows or more"),
            (11, "10 rows or more"),
        ] {
            let (said, shown) = found(&rows(n, &json!("7")));
            assert_eq!(said, got);
            let shown = shown.map_or(0, |shown| shown.as_array().unwrap().len());
            assert_eq!(shown, n.min(10));
        }
    }

    #[test]
    fn an_enormous_row_is_cut_and_says_so() {
        let long = "ü".repeat(1_000_000);
        let wide: Map<String, Value> = (0..9000).map(|i| (format!("a_{i:04}"), json!("x"))).collect();
        let deep = json!({ "list": vec![json!({ "text": "a text" }); 5000] });
        let nested: Map<String, Value> = (0..3000).map(|i| (format!("field_{i}"), json!("y"))).collect();
        for row in [
            json!({ "a": "1", "text": long }),
            Value::Object(wide),
            json!({ "a": "1", "deep": deep }),
            json!({ "a": "1", "nested": nested }),
        ] {
            let row = row.as_object().unwrap().clone();
            let first = row
                .iter()
                .next()
                .map(|(key, value)| (key.clone(), value.clone()))
                .unwrap();
            let (got, shown) = found(&vec![row; 10]);
            assert_eq!(got, "10 rows or more, shown in part");
            let shown = shown.unwrap();
            assert!(
                shown.to_string().len() < SHOWN * (ROW + 100),
                "{}",
                shown.to_string().len()
            );
            assert_eq!(shown[0][first.0.as_str()], first.1);
            assert!(shown[9].to_string().contains('…'));
        }
        let (got, shown) = found(&rows(1, &json!("x".repeat(ROW / 2))));
        assert_eq!(
            (got.as_str(), shown.unwrap()[0]["id"].as_str().unwrap().len()),
            ("1 row", ROW / 2)
        );
    }

    #[test]
    fn a_failed_assertion_is_told_from_a_query_that_fails() {
        let sql = "-- name: x\nASSERT (SELECT 1 / n > 0 FROM d.t) AS 'all  positive'";
        for (message, failed) in [
            (
                "Assertion failed: all  positive",
                Some("Assertion failed: all positive"),
            ),
            ("all  positive", Some("all positive")),
            ("Query error: all positive at [2:1]", Some("all positive")),
            ("Query error: Assertion failed at [1:1]", Some("Assertion failed")),
            ("division by zero: 1 / 0", None),
            ("Query error: division by zero: all positive at [2:1]", None),
            ("Bad int64 value: Assertion failed", None),
        ] {
            assert_eq!(assertion_failed(sql, message).as_deref(), failed, "{message}");
        }
        assert_eq!(assertion_failed("ASSERT FALSE", "x"), None);
        assert_eq!(message("a\n b"), "a b");
        assert!(message(&"x".repeat(9000)).len() < 4100);
    }
}
