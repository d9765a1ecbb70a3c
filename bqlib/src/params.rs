//! PURE: query parameters as `bq query --parameter` writes them: `name:type:value`.
//!
//! An empty name makes a positional parameter, an empty type a STRING; arrays and structs have their values as JSON; `NULL` is null.
//! Source: <https://docs.cloud.google.com/bigquery/docs/parameterized-queries>.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use crate::exit::Failure;

/// The parameters of `--param` flags, as the API has them.
///
/// # Errors
/// One cannot be read (2).
pub(crate) fn of_flags(flags: &[String]) -> std::result::Result<Vec<Value>, Failure> {
    let example = "for example `--param min_rows:INT64:100`";
    parse_all(flags).map_err(|e| Failure::usage(format!("{e:#}"), "--param", example))
}

/// The parameters of several flags, as the API has them. A flag that names a file stands for the JSON list in it.
fn parse_all(flags: &[String]) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    for flag in flags {
        if std::path::Path::new(flag).is_file() {
            let text = std::fs::read_to_string(flag).with_context(|| flag.clone())?;
            let list: Vec<Value> =
                serde_json::from_str(&text).with_context(|| format!("{flag} holds no JSON list of parameters"))?;
            all.extend(list);
        } else {
            all.push(parse(flag).with_context(|| format!("`{}`", flag.escape_debug()))?);
        }
    }
    let name = |p: &Value| p.get("name").and_then(Value::as_str).map(str::to_lowercase);
    let named = all.iter().filter(|p| name(p).is_some()).count();
    if named != 0 && named != all.len() {
        bail!("named and positional parameters cannot be mixed");
    }
    for (i, one) in all.iter().enumerate() {
        if let Some(name) = name(one)
            && all[..i]
                .iter()
                .any(|other| other.get("name").and_then(Value::as_str).map(str::to_lowercase) == Some(name.clone()))
        {
            bail!("parameter `{name}` is given twice");
        }
    }
    Ok(all)
}

/// The parameter of one flag, as the API has it.
///
/// # Errors
/// It cannot be read.
pub fn parse(flag: &str) -> Result<Value> {
    const FORM: &str = "write name:type:value, :type:value (positional) or name::value (a STRING)";
    let (name, rest) = flag.split_once(':').context(FORM)?;
    let (kind, value) = rest.split_once(':').context(FORM)?;
    if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        bail!("`{}` is no parameter name", name.escape_debug());
    }
    let kind = parse_type(if kind.is_empty() { "STRING" } else { kind })?;
    let value = match value {
        "NULL" => Value::Null,
        text if kind.get("arrayType").is_some() || kind.get("structTypes").is_some() => {
            serde_json::from_str(text).context("the value of an array or struct is JSON")?
        }
        text => Value::from(text),
    };
    let mut parameter = json!({ "parameterType": kind, "parameterValue": parse_value(&kind, &value)? });
    if !name.is_empty() {
        parameter["name"] = json!(name);
    }
    Ok(parameter)
}

fn parse_type(text: &str) -> Result<Value> {
    let text = text.trim();
    let upper = text.to_uppercase();
    let inner = |prefix: usize| text[prefix..].strip_suffix('>').context("`<` without `>`");
    if upper.starts_with("ARRAY<") {
        return Ok(json!({ "type": "ARRAY", "arrayType": parse_type(inner(6)?)? }));
    }
    if upper.starts_with("RANGE<") {
        return Ok(json!({ "type": "RANGE", "rangeElementType": parse_type(inner(6)?)? }));
    }
    if upper.starts_with("STRUCT<") {
        let mut fields = Vec::new();
        for field in split_fields(inner(7)?) {
            let (name, kind) = field
                .trim()
                .split_once(char::is_whitespace)
                .context("a struct's fields are written `name TYPE`")?;
            fields.push(json!({ "name": name, "type": parse_type(kind)? }));
        }
        return Ok(json!({ "type": "STRUCT", "structTypes": fields }));
    }
    const SCALARS: [&str; 21] = [
        "STRING",
        "BYTES",
        "INT64",
        "INTEGER",
        "FLOAT64",
        "FLOAT",
        "NUMERIC",
        "DECIMAL",
        "BIGNUMERIC",
        "BIGDECIMAL",
        "BOOL",
        "BOOLEAN",
        "TIMESTAMP",
        "DATE",
        "TIME",
        "DATETIME",
        "GEOGRAPHY",
        "JSON",
        "INTERVAL",
        "INT",
        "BIGINT",
    ];
    if !SCALARS.contains(&upper.as_str()) {
        bail!("`{}` is no type of BigQuery", text.escape_debug());
    }
    Ok(json!({ "type": upper }))
}

/// A struct's fields, split at the commas that are not inside `<>`.
fn split_fields(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(move |c: char| {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn parse_value(kind: &Value, value: &Value) -> Result<Value> {
    if let Some(element) = kind.get("arrayType") {
        let Some(list) = value.as_array() else {
            if value.is_null() {
                return Ok(json!({ "arrayValues": null }));
            }
            bail!("the value of an array is a JSON list");
        };
        // An empty arrayValues would be read as null; an empty value is an empty array.
        if list.is_empty() {
            return Ok(json!({ "value": {} }));
        }
        let values = list
            .iter()
            .map(|v| parse_value(element, v))
            .collect::<Result<Vec<_>>>()?;
        return Ok(json!({ "arrayValues": values }));
    }
    if let Some(fields) = kind.get("structTypes").and_then(Value::as_array) {
        let Some(object) = value.as_object() else {
            if value.is_null() {
                return Ok(json!({ "structValues": null }));
            }
            bail!("the value of a struct is a JSON object");
        };
        let mut values = Map::new();
        for (name, value) in object {
            let field = fields
                .iter()
                .find(|f| f.get("name").and_then(Value::as_str) == Some(name));
            let field = field.with_context(|| format!("the struct has no field `{}`", name.escape_debug()))?;
            values.insert(
                name.clone(),
                parse_value(field.get("type").unwrap_or(&Value::Null), value)?,
            );
        }
        return Ok(json!({ "structValues": values }));
    }
    let text = match value {
        Value::Null => return Ok(json!({ "value": null })),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let good = match kind.get("type").and_then(Value::as_str).unwrap_or("") {
        "INT64" | "INTEGER" | "INT" | "BIGINT" => text.parse::<i64>().is_ok(),
        "FLOAT64" | "FLOAT" => text.parse::<f64>().is_ok(),
        "BOOL" | "BOOLEAN" => matches!(text.to_lowercase().as_str(), "true" | "false" | "t" | "f" | "1" | "0"),
        // BigQuery itself reads the rest, at the dry run, before anything happens.
        _ => true,
    };
    if !good {
        bail!(
            "`{}` is no {}",
            text.escape_debug(),
            kind.get("type").and_then(Value::as_str).unwrap_or("value")
        );
    }
    Ok(json!({ "value": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_bq_query_reads_them() {
        for (flag, want) in [
            (
                "a:INT64:5",
                json!({"name": "a", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "5"}}),
            ),
            (
                "a::x:y",
                json!({"name": "a", "parameterType": {"type": "STRING"}, "parameterValue": {"value": "x:y"}}),
            ),
            (
                ":bool:true",
                json!({"parameterType": {"type": "BOOL"}, "parameterValue": {"value": "true"}}),
            ),
            (
                "a:DATE:NULL",
                json!({"name": "a", "parameterType": {"type": "DATE"}, "parameterValue": {"value": null}}),
            ),
            (
                "a:ARRAY<INT64>:[1,2]",
                json!({"name": "a", "parameterType": {"type": "ARRAY", "arrayType": {"type": "INT64"}},
                       "parameterValue": {"arrayValues": [{"value": "1"}, {"value": "2"}]}}),
            ),
            (
                "a:ARRAY<STRING>:[]",
                json!({"name": "a", "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}}, "parameterValue": {"value": {}}}),
            ),
            (
                "s:STRUCT<x INT64, y ARRAY<STRUCT<z STRING, w BOOL>>>:{\"x\":1,\"y\":[{\"z\":\"q\",\"w\":true}]}",
                json!({"name": "s",
                    "parameterType": {"type": "STRUCT", "structTypes": [
                        {"name": "x", "type": {"type": "INT64"}},
                        {"name": "y", "type": {"type": "ARRAY", "arrayType": {"type": "STRUCT", "structTypes": [
                            {"name": "z", "type": {"type": "STRING"}}, {"name": "w", "type": {"type": "BOOL"}}]}}}]},
                    "parameterValue": {"structValues": {"x": {"value": "1"}, "y": {"arrayValues": [
                        {"structValues": {"z": {"value": "q"}, "w": {"value": "true"}}}]}}}}),
            ),
        ] {
            assert_eq!(parse(flag).unwrap(), want, "{flag}");
        }
    }

    #[test]
    fn bad_parameters_are_refused() {
        for flag in [
            "",
            "a",
            "a:INT64",
            "a:INT64:x",
            "a:INT64:",
            "a:COLOUR:red",
            "a b:INT64:1",
            "a:BOOL:maybe",
            "a:FLOAT64:1,5",
            "a:ARRAY<INT64>:1",
            "a:ARRAY<INT64:[1]",
            "a:ARRAY<INT64>:[\"x\"]",
            "a:STRUCT<x>:{}",
            "a:STRUCT<x INT64>:{\"y\":1}",
        ] {
            assert!(parse(flag).is_err(), "{flag}");
        }
        let all = |flags: &[&str]| parse_all(&flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
        assert!(all(&["a:INT64:1", ":INT64:2"]).is_err());
        assert!(all(&["a:INT64:1", "A:INT64:2"]).is_err());
        assert!(all(&[":INT64:1", ":INT64:2"]).is_ok());
    }
}
