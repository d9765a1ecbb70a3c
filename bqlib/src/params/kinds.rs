//! PURE: the types of query parameters: read from a flag, and as the API writes them.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameterType>.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::beginning;

/// So deep structs may stand in structs.
/// Source: <https://docs.cloud.google.com/bigquery/docs/nested-repeated#limitations>.
const DEEPEST: usize = 15;

/// The types that hold no others. An alias is sent as it was written: BigQuery knows it.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types>.
const SCALARS: [&str; 24] = [
    "STRING",
    "BYTES",
    "INT64",
    "INTEGER",
    "INT",
    "SMALLINT",
    "BIGINT",
    "TINYINT",
    "BYTEINT",
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
];

/// The types that a range may be of.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types#range_type>.
const OF_RANGES: [&str; 3] = ["DATE", "DATETIME", "TIMESTAMP"];

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Its name, in capitals.
    Scalar(String),
    Array(Box<Kind>),
    /// Fields in their order.
    Struct(Vec<(String, Kind)>),
    /// Of which scalar.
    Range(String),
}

impl Kind {
    /// As the API has it.
    pub(super) fn json(&self) -> Value {
        match self {
            Kind::Scalar(name) => json!({ "type": name }),
            Kind::Array(of) => json!({ "type": "ARRAY", "arrayType": of.json() }),
            Kind::Range(of) => json!({ "type": "RANGE", "rangeElementType": { "type": of } }),
            Kind::Struct(fields) => {
                let fields = fields.iter();
                let fields = fields.map(|(name, kind)| json!({ "name": name, "type": kind.json() }));
                json!({ "type": "STRUCT", "structTypes": fields.collect::<Vec<_>>() })
            }
        }
    }
}

/// Reads a type, in letters of any case.
///
/// # Errors
/// It is none of BigQuery's, or deeper than those.
pub(super) fn parse(text: &str) -> Result<Kind> {
    parse_within(text, 0)
}

/// `structs`: in how many it stands. No array stands in an array, so that this bounds the recursion too.
fn parse_within(text: &str, structs: usize) -> Result<Kind> {
    let text = text.trim();
    let Some((outer, rest)) = text.split_once('<') else {
        let name = text.to_ascii_uppercase();
        if !SCALARS.contains(&name.as_str()) {
            bail!("`{}` is no type of BigQuery", beginning(text));
        }
        return Ok(Kind::Scalar(name));
    };
    let inner = rest
        .strip_suffix('>')
        .with_context(|| format!("`<` without `>` in `{}`", beginning(text)))?;
    match outer.trim_end().to_ascii_uppercase().as_str() {
        "ARRAY" => match parse_element(inner, structs)? {
            Kind::Array(_) => bail!("BigQuery has no array of arrays; make it an array of structs that hold one"),
            of => Ok(Kind::Array(Box::new(of))),
        },
        "RANGE" => match parse_element(inner, structs)? {
            Kind::Scalar(of) if OF_RANGES.contains(&of.as_str()) => Ok(Kind::Range(of)),
            _ => bail!(
                "a range is of DATE, DATETIME or TIMESTAMP, not of `{}`",
                beginning(inner)
            ),
        },
        "STRUCT" if structs == DEEPEST => {
            bail!("structs stand in structs deeper than the {DEEPEST} that BigQuery takes")
        }
        "STRUCT" => Ok(Kind::Struct(parse_fields(inner, structs + 1)?)),
        _ => bail!("`{}` is no type of BigQuery", beginning(text)),
    }
}

/// What an array or a range is of: an array itself it is not, which is said before that is read.
fn parse_element(text: &str, structs: usize) -> Result<Kind> {
    let outer = text.trim_start().split('<').next().unwrap_or_default();
    if text.contains('<') && outer.trim_end().eq_ignore_ascii_case("ARRAY") {
        return Ok(Kind::Array(Box::new(Kind::Scalar(String::new()))));
    }
    parse_within(text, structs)
}

fn parse_fields(text: &str, structs: usize) -> Result<Vec<(String, Kind)>> {
    let mut fields: Vec<(String, Kind)> = Vec::new();
    for field in split_fields(text) {
        let (name, kind) = field
            .trim()
            .split_once(char::is_whitespace)
            .context("a struct's fields are written `name TYPE`")?;
        if name.contains(['<', '>']) {
            bail!("a struct's fields are written `name TYPE`");
        }
        // Their values are a JSON object: of two that differ in case alone BigQuery knows one.
        if fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            bail!("the struct has two fields `{}`", beginning(name));
        }
        fields.push((name.to_owned(), parse_within(kind, structs)?));
    }
    Ok(fields)
}

/// A struct's fields, split at the commas that are not inside `<>`.
fn split_fields(text: &str) -> Vec<&str> {
    let mut depth = 0_i64;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_in_any_case_and_with_spaces() {
        let int = || Kind::Scalar("INT64".to_owned());
        let array = |of| Kind::Array(Box::new(of));
        for (text, want) in [
            (" int64 ", int()),
            ("array< Int64 >", array(int())),
            ("Range <date>", Kind::Range("DATE".to_owned())),
            (
                "struct<a  array<INT64> , b INT64>",
                Kind::Struct(vec![("a".to_owned(), array(int())), ("b".to_owned(), int())]),
            ),
            (
                "ARRAY<STRUCT<ü RANGE<TIMESTAMP>>>",
                array(Kind::Struct(vec![(
                    "ü".to_owned(),
                    Kind::Range("TIMESTAMP".to_owned()),
                )])),
            ),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn a_type_is_as_deep_as_bigquerys_and_no_deeper() {
        let nested = |depth: usize| format!("{}INT64{}", "STRUCT<a ".repeat(depth), ">".repeat(depth));
        let mixed = |depth: usize| format!("{}INT64{}", "ARRAY<STRUCT<a ".repeat(depth), ">>".repeat(depth));
        assert!(parse(&nested(15)).is_ok() && parse(&mixed(15)).is_ok());
        for deep in [nested(16), mixed(16), nested(100_000), mixed(100_000)] {
            let said = parse(&deep).unwrap_err().to_string();
            assert!(said.contains("deeper than the 15"), "{said}");
        }
        let arrays = format!("{}INT64{}", "ARRAY<".repeat(100_000), ">".repeat(100_000));
        assert!(parse(&arrays).unwrap_err().to_string().contains("no array of arrays"));
        for open in ["ARRAY<", "STRUCT<a ", "RANGE<", "<", "ARRAY<STRUCT<a "] {
            let said = parse(&open.repeat(100_000)).unwrap_err().to_string();
            assert!(said.len() < 200, "{said}");
        }
    }
}
