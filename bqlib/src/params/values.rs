//! PURE: the values of query parameters: read from a flag, and as the API writes them.
//!
//! Numbers in JSON go out as they were written: as a number of JSON's they would lose digits that a NUMERIC has.
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameterValue>.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::beginning;
use super::kinds::Kind;

/// What stands for null, in a flag and as a string of its JSON.
const NULL: &str = "NULL";

/// How a range is written.
const RANGE: &str = "write a range as `[start, end)`, either of them `UNBOUNDED` or `NULL` for none";

/// The value that a text stands for.
///
/// # Errors
/// It is none of this type.
pub(super) fn of_text(kind: &Kind, text: &str) -> Result<Value> {
    if text == NULL {
        return Ok(null(kind));
    }
    match kind {
        Kind::Array(of) => array(of, text),
        Kind::Struct(fields) => structure(fields, text),
        Kind::Range(_) => range(text),
        Kind::Scalar(name) => scalar(name, text),
    }
}

/// A null of this type.
fn null(kind: &Kind) -> Value {
    match kind {
        Kind::Array(_) => json!({ "arrayValues": null }),
        Kind::Struct(_) => json!({ "structValues": null }),
        Kind::Range(_) => json!({ "rangeValue": null }),
        Kind::Scalar(_) => json!({ "value": null }),
    }
}

/// The value that a piece of JSON stands for. In a string stands what would stand in a flag.
fn of_json(kind: &Kind, json: &RawValue) -> Result<Value> {
    let text = json.get();
    match (text.bytes().next(), kind) {
        _ if text == "null" => Ok(null(kind)),
        (Some(b'"'), _) => of_text(kind, &serde_json::from_str::<String>(text)?),
        (_, Kind::Array(of)) => array(of, text),
        (_, Kind::Struct(fields)) => structure(fields, text),
        (Some(b'[' | b'{'), Kind::Scalar(name)) if name != "JSON" => {
            bail!("`{}` is no {name}", beginning(text))
        }
        (_, Kind::Scalar(name)) => scalar(name, text),
        (_, Kind::Range(_)) => bail!("{RANGE}, in quotes"),
    }
}

fn array(of: &Kind, text: &str) -> Result<Value> {
    const LIST: &str = "the value of an array is a JSON list";
    if text.trim() == "null" {
        return Ok(json!({ "arrayValues": null }));
    }
    let list: Vec<&RawValue> = serde_json::from_str(text).context(LIST)?;
    // An empty arrayValues would be read as null; an empty value is an empty array.
    if list.is_empty() {
        return Ok(json!({ "value": {} }));
    }
    let values = list.iter().map(|one| of_json(of, one)).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "arrayValues": values }))
}

fn structure(fields: &[(String, Kind)], text: &str) -> Result<Value> {
    const OBJECT: &str = "the value of a struct is a JSON object";
    if text.trim() == "null" {
        return Ok(json!({ "structValues": null }));
    }
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(text).context(OBJECT)?;
    let mut values = Map::new();
    for (name, value) in object {
        let field = fields.iter().find(|(field, _)| *field == name);
        let (_, kind) = field.with_context(|| format!("the struct has no field `{}`", beginning(&name)))?;
        let value = of_json(kind, value).with_context(|| format!("field `{}`", beginning(&name)))?;
        values.insert(name, value);
    }
    Ok(json!({ "structValues": values }))
}

/// A range, its ends as they are written: what each of them is BigQuery reads.
fn range(text: &str) -> Result<Value> {
    let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(')'));
    let (start, end) = inner.and_then(|inner| inner.split_once(',')).context(RANGE)?;
    let end_of = |text: &str| match text.trim() {
        "" => bail!(RANGE),
        text if text.contains(',') => bail!(RANGE),
        NULL => Ok(json!({ "value": null })),
        text if text.eq_ignore_ascii_case("UNBOUNDED") => Ok(json!({ "value": null })),
        text => Ok(json!({ "value": text })),
    };
    Ok(json!({ "rangeValue": { "start": end_of(start)?, "end": end_of(end)? } }))
}

/// A value of a type that holds no others, as it is written.
fn scalar(name: &str, text: &str) -> Result<Value> {
    // Spaces around a number BigQuery takes; they go with it.
    let bare = text.trim();
    let good = match name {
        "INT64" | "INTEGER" | "INT" | "SMALLINT" | "BIGINT" | "TINYINT" | "BYTEINT" => is_integer(bare),
        "FLOAT64" | "FLOAT" => bare.parse::<f64>().is_ok(),
        "BOOL" | "BOOLEAN" => matches!(bare.to_lowercase().as_str(), "true" | "false" | "t" | "f" | "1" | "0"),
        // BigQuery itself reads the rest, at the dry run, before anything happens.
        _ => true,
    };
    if !good {
        bail!("`{}` is no {name}", beginning(text));
    }
    Ok(json!({ "value": text }))
}

/// Whether a text is an integer of 64 bits, in either of the ways that GoogleSQL has of writing one.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => !hex.starts_with(['+', '-']) && u64::from_str_radix(hex, 16).is_ok(),
        None => text.parse::<i64>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn value(flag: &str) -> Value {
        let parameter = parse(flag).unwrap_or_else(|e| panic!("{flag}: {e:#}"));
        parameter["parameterValue"].clone()
    }

    #[test]
    fn there_is_a_null_at_every_depth() {
        for (flag, want) in [
            ("a:DATE:NULL", json!({"value": null})),
            ("a:STRING:null", json!({"value": "null"})),
            ("a:ARRAY<INT64>:NULL", json!({"arrayValues": null})),
            ("a:ARRAY<INT64>:null", json!({"arrayValues": null})),
            (
                "a:ARRAY<INT64>:[null, \"NULL\"]",
                json!({"arrayValues": [{"value": null}, {"value": null}]}),
            ),
            ("a:STRUCT<x INT64>:NULL", json!({"structValues": null})),
            (
                "a:STRUCT<x INT64>:{\"x\": null}",
                json!({"structValues": {"x": {"value": null}}}),
            ),
            (
                "a:ARRAY<STRUCT<x ARRAY<INT64>, r RANGE<DATE>>>:[null, {\"x\": null, \"r\": null}, \"NULL\"]",
                json!({"arrayValues": [{"structValues": null},
                    {"structValues": {"x": {"arrayValues": null}, "r": {"rangeValue": null}}}, {"structValues": null}]}),
            ),
            ("a:RANGE<DATE>:NULL", json!({"rangeValue": null})),
            (
                "a:RANGE<DATE>:[NULL, unbounded)",
                json!({"rangeValue": {"start": {"value": null}, "end": {"value": null}}}),
            ),
        ] {
            assert_eq!(value(flag), want, "{flag}");
        }
    }

    #[test]
    fn no_digit_is_lost_in_json() {
        for number in [
            "9223372036854775807",
            "99999999999999999999999999999.999999999",
            "5.7896044618658097711785492504343953926634992332820282019728792003956564819967E+38",
        ] {
            let want = json!({"arrayValues": [{"value": number}]});
            let kind = if number.contains('.') { "BIGNUMERIC" } else { "INT64" };
            assert_eq!(value(&format!("a:ARRAY<{kind}>:[ {number} ]")), want);
        }
        assert!(parse("a:ARRAY<INT64>:[9223372036854775808]").is_err());
    }

    #[test]
    fn json_is_kept_as_it_was_written() {
        let want = json!({"arrayValues": [{"value": "{\"b\": [1.0,  null], \"a\":\"NULL\"}"}, {"value": "1e2"}, {"value": "null"}]});
        assert_eq!(
            value("a:ARRAY<JSON>:[{\"b\": [1.0,  null], \"a\":\"NULL\"}, 1e2, \"null\"]"),
            want
        );
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            value(&format!("a:ARRAY<JSON>:[{deep}]")),
            json!({"arrayValues": [{"value": deep}]})
        );
        let said = format!("{:#}", parse(&format!("a:ARRAY<INT64>:[{deep}]")).unwrap_err());
        assert!(said.contains("is no INT64") && said.len() < 200, "{said}");
    }
}
