//! PURE: what a column's type and mode are called, and which types BigQuery can widen into which.
//!
//! Works on the fields of a schema as `tables.get` writes them; knows neither tables nor rules.

use serde_json::Value;

use super::integer;

pub(crate) fn text<'a>(field: &'a Value, key: &str) -> &'a str {
    field.get(key).and_then(Value::as_str).unwrap_or("")
}

/// The type's name without its limits: the API writes legacy names (`INTEGER`), SQL the others (`INT64`).
fn base(field: &Value) -> String {
    let name = text(field, "type").to_ascii_uppercase();
    match name.as_str() {
        "INTEGER" => "INT64".to_owned(),
        "FLOAT" => "FLOAT64".to_owned(),
        "BOOLEAN" => "BOOL".to_owned(),
        "RECORD" => "STRUCT".to_owned(),
        _ => name,
    }
}

fn limit(field: &Value, key: &str) -> Option<u64> {
    integer(field.get(key)?)
}

/// The type by one name, with its limits.
pub(crate) fn type_of(field: &Value) -> String {
    let base = base(field);
    let element = field.get("rangeElementType").map(type_of);
    let mut limits: Vec<String> = ["maxLength", "precision", "scale"]
        .iter()
        .filter_map(|key| limit(field, key).map(|n| n.to_string()))
        .collect();
    limits.extend(
        timestamp_digits(field)
            .filter(|n| *n != MICROSECONDS)
            .map(|n| n.to_string()),
    );
    match (element, limits.is_empty()) {
        (Some(element), _) => format!("{base}<{element}>"),
        (None, true) => base,
        (None, false) => format!("{base}({})", limits.join(", ")),
    }
}

/// What a TIMESTAMP holds unless it says otherwise.
const MICROSECONDS: u64 = 6;

/// The digits of a TIMESTAMP's seconds.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema>.
fn timestamp_digits(field: &Value) -> Option<u64> {
    (base(field) == "TIMESTAMP").then(|| limit(field, "timestampPrecision").unwrap_or(MICROSECONDS))
}

/// The mode: NULLABLE unless it says otherwise.
pub(crate) fn mode_of(field: &Value) -> &str {
    match text(field, "mode") {
        "" => "NULLABLE",
        mode => mode,
    }
}

/// The fields of a record.
pub(crate) fn subfields(field: &Value) -> &[Value] {
    field.get("fields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What an exact number can hold: its place in the order of widening, its digits before the point and after it.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types>.
fn exact(field: &Value) -> Option<(u8, u64, u64)> {
    let (order, whole, fraction) = match base(field).as_str() {
        "INT64" => (0, 19, 0),
        "NUMERIC" => (1, 29, 9),
        "BIGNUMERIC" => (2, 38, 38),
        _ => return None,
    };
    Some(match (limit(field, "precision"), limit(field, "scale").unwrap_or(0)) {
        (Some(precision), scale) => (order, precision.saturating_sub(scale), scale),
        (None, _) => (order, whole, fraction),
    })
}

/// Whether a column of this type may become one of that type by BigQuery's own widening: what is coerced without a
/// cast, and wider limits. A NUMERIC(10, 4) is not wider than a NUMERIC(10, 2): it holds two digits less before the
/// point.
///
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement>
/// and <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules#comparison_chart>.
pub(crate) fn widens(before: &Value, now: &Value) -> bool {
    if let (Some((order, whole, fraction)), Some(now)) = (exact(before), exact(now)) {
        return order <= now.0 && whole <= now.1 && fraction <= now.2;
    }
    if let (Some(was), Some(is)) = (timestamp_digits(before), timestamp_digits(now)) {
        return was <= is;
    }
    match (base(before).as_str(), base(now).as_str()) {
        (_, "FLOAT64") => exact(before).is_some(),
        ("DATE", "DATETIME") => true,
        ("STRING", "STRING") | ("BYTES", "BYTES") => match (limit(before, "maxLength"), limit(now, "maxLength")) {
            (Some(was), Some(is)) => was <= is,
            (_, is) => is.is_none(),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(text: &str) -> Value {
        let (base, limits) = text.split_once('(').unwrap_or((text, ")"));
        let mut limits = limits.trim_end_matches(')').split(',').filter(|n| !n.is_empty());
        let mut field = json!({ "name": "x", "type": base });
        let keys = if base.contains("NUMERIC") {
            &["precision", "scale"][..]
        } else {
            &["maxLength"]
        };
        for key in keys {
            if let Some(n) = limits.next() {
                field[*key] = json!(n.trim());
            }
        }
        field
    }

    #[test]
    fn a_timestamp_of_fewer_digits_is_another_type() {
        let of = |digits: Value| json!({ "name": "x", "type": "TIMESTAMP", "timestampPrecision": digits });
        let (plain, six, twelve) = (of(Value::Null), of(json!("6")), of(json!("12")));
        assert_eq!(type_of(&plain), type_of(&six));
        assert_eq!(type_of(&twelve), "TIMESTAMP(12)");
        assert!(widens(&six, &twelve) && !widens(&twelve, &plain));
    }

    #[test]
    fn what_bigquery_can_widen() {
        for (was, is, widens_) in [
            ("INTEGER", "NUMERIC", true),
            ("INT64", "BIGNUMERIC", true),
            ("INT64", "FLOAT", true),
            ("NUMERIC", "BIGNUMERIC", true),
            ("NUMERIC", "FLOAT64", true),
            ("BIGNUMERIC", "FLOAT64", true),
            ("BIGNUMERIC", "NUMERIC", false),
            ("NUMERIC", "INT64", false),
            ("FLOAT64", "NUMERIC", false),
            ("FLOAT64", "BIGNUMERIC", false),
            ("INT64", "STRING", false),
            ("BOOL", "INT64", false),
            ("INT64", "NUMERIC(5)", false),
            ("INT64", "NUMERIC(19)", true),
            ("INT64", "NUMERIC(20, 2)", false),
            ("NUMERIC(10, 2)", "NUMERIC(10, 4)", false),
            ("NUMERIC(10, 2)", "NUMERIC(12, 4)", true),
            ("NUMERIC(10, 2)", "NUMERIC(12, 2)", true),
            ("NUMERIC(10, 2)", "NUMERIC(12, 1)", false),
            ("NUMERIC(10, 2)", "NUMERIC(9, 2)", false),
            ("NUMERIC(10)", "NUMERIC(10, 2)", false),
            ("NUMERIC(10, 2)", "NUMERIC", true),
            ("NUMERIC", "NUMERIC(10, 2)", false),
            ("NUMERIC", "BIGNUMERIC(40, 10)", true),
            ("NUMERIC", "BIGNUMERIC(40, 20)", false),
            ("NUMERIC(10, 2)", "BIGNUMERIC", true),
            ("NUMERIC(10, 2)", "FLOAT64", true),
            ("BIGNUMERIC(50, 20)", "BIGNUMERIC", true),
            ("STRING(5)", "STRING(9)", true),
            ("STRING(5)", "STRING", true),
            ("STRING", "STRING(9)", false),
            ("STRING(9)", "STRING(5)", false),
            ("BYTES(5)", "BYTES(6)", true),
            ("BYTES(5)", "STRING(6)", false),
            ("STRING", "BYTES", false),
            ("DATE", "DATETIME", true),
            ("DATETIME", "DATE", false),
            ("DATE", "TIMESTAMP", false),
            ("DATETIME", "TIMESTAMP", false),
            ("TIMESTAMP", "DATETIME", false),
            ("STRING", "JSON", false),
            ("RECORD", "JSON", false),
        ] {
            assert_eq!(widens(&field(was), &field(is)), widens_, "{was} to {is}");
        }
    }

    #[test]
    fn a_range_is_named_with_its_element() {
        let range = json!({ "name": "x", "type": "RANGE", "rangeElementType": { "type": "DATE" } });
        assert_eq!(type_of(&range), "RANGE<DATE>");
        assert_eq!(type_of(&field("NUMERIC(10, 2)")), "NUMERIC(10, 2)");
    }

    /// Two widenings after one another are one, and none can be taken back.
    #[test]
    fn widening_is_an_order() {
        let types = [
            "INT64",
            "NUMERIC",
            "BIGNUMERIC",
            "FLOAT64",
            "NUMERIC(10, 2)",
            "NUMERIC(12, 2)",
            "NUMERIC(12, 4)",
            "NUMERIC(19)",
            "BIGNUMERIC(40, 10)",
            "STRING",
            "STRING(5)",
            "STRING(9)",
            "BYTES",
            "BYTES(5)",
            "DATE",
            "DATETIME",
            "TIMESTAMP",
            "BOOL",
            "JSON",
        ];
        for a in types {
            for b in types.iter().filter(|b| **b != a && widens(&field(a), &field(b))) {
                assert!(!widens(&field(b), &field(a)), "{a} and {b}");
                for c in types.iter().filter(|c| widens(&field(b), &field(c))) {
                    assert!(widens(&field(a), &field(c)), "{a} to {b} to {c}");
                }
            }
        }
    }
}
