//! PURE: how BigQuery is to read a file into a table that is made of its pre-image: nothing is left for it to guess.

use serde_json::{Map, Value, json};

use super::name::Format;
use crate::meta::TableMeta;

/// What the first record of a CSV file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// A row.
    No,
    /// The names of the columns, in their order.
    Yes,
    /// Names of columns, but not these: to read it by position would put values into other columns.
    Another(String),
}

/// What the first record of a CSV file is, the table having these columns.
pub fn header(first: Option<&[String]>, columns: &[String]) -> Header {
    let bare = |text: &str| text.trim_start_matches('\u{feff}').trim().to_lowercase();
    let first: Vec<String> = first.unwrap_or_default().iter().map(|text| bare(text)).collect();
    let columns: Vec<String> = columns.iter().map(|text| bare(text)).collect();
    if first.is_empty() {
        return Header::No;
    }
    if first == columns {
        return Header::Yes;
    }
    match first.iter().all(|name| columns.contains(name)) {
        true => Header::Another(format!(
            "its columns are {}, and those of the table {}",
            first.join(", "),
            columns.join(", ")
        )),
        false => Header::No,
    }
}

/// Why a file of this format cannot hold a table, if it cannot.
pub fn cannot_hold(format: Format, before: &TableMeta) -> Option<String> {
    if before.is_partitioned_by_arrival() {
        let why = "no file says which partition a row was in (the table is partitioned by when rows came)";
        return Some(why.to_owned());
    }
    let text = |field: &Value, key: &str| {
        field
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_uppercase()
    };
    let nested = |field: &&Value| {
        text(field, "mode") == "REPEATED" || matches!(text(field, "type").as_str(), "RECORD" | "STRUCT")
    };
    let column = before.fields().iter().find(nested).filter(|_| format == Format::Csv)?;
    let name = column.get("name").and_then(Value::as_str).unwrap_or_default();
    Some(format!("CSV cannot hold the nested or repeated column `{name}`"))
}

/// `configuration.load` but for its destination: the pre-image's schema and layout, and each thing that BigQuery would otherwise guess.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad>.
pub fn settings(format: Format, header: &Header, before: &TableMeta) -> Map<String, Value> {
    let mut load = before.load_shape();
    let mut set = |key: &str, value: Value| load.insert(key.to_owned(), value);
    set("sourceFormat", json!(format.api()));
    set("autodetect", json!(false));
    set("maxBadRecords", json!(0));
    set("ignoreUnknownValues", json!(false));
    match format {
        Format::Csv => {
            set("encoding", json!("UTF-8"));
            set("skipLeadingRows", json!(u8::from(*header == Header::Yes)));
            set("allowQuotedNewlines", json!(true));
            set("allowJaggedRows", json!(false));
            set("preserveAsciiControlCharacters", json!(true));
        }
        Format::Json => {
            set("encoding", json!("UTF-8"));
        }
        Format::Avro => {
            set("useAvroLogicalTypes", json!(true));
            set("decimalTargetTypes", decimals());
        }
        Format::Parquet => {
            // Other writers than BigQuery wrap what is repeated in a LIST.
            set("parquetOptions", json!({ "enableListInference": true }));
            set("decimalTargetTypes", decimals());
        }
    }
    load
}

fn decimals() -> Value {
    json!(["NUMERIC", "BIGNUMERIC", "STRING"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    fn meta(value: Value) -> TableMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_header_is_the_columns_in_their_order() {
        let columns = texts(&["id", "Name"]);
        for (first, want) in [
            (texts(&["id", "name"]), "yes"),
            (texts(&["\u{feff}ID", " Name "]), "yes"),
            (texts(&["1", "a"]), "no"),
            (texts(&["id", "a"]), "no"),
            (texts(&["name", "id"]), "another"),
            (texts(&["id"]), "another"),
            (Vec::new(), "no"),
        ] {
            let got = match header(Some(&first), &columns) {
                Header::Yes => "yes",
                Header::No => "no",
                Header::Another(_) => "another",
            };
            assert_eq!(got, want, "{first:?}");
        }
        assert_eq!(header(None, &columns), Header::No);
    }

    #[test]
    fn what_a_file_cannot_hold_is_told_beforehand() {
        let flat = meta(json!({"schema": {"fields": [{"name": "a", "type": "STRING"}]}}));
        let nested = meta(json!({"schema": {"fields": [{"name": "r", "type": "RECORD", "fields": []}]}}));
        let repeated = meta(json!({"schema": {"fields": [{"name": "l", "type": "STRING", "mode": "REPEATED"}]}}));
        let by_arrival = meta(json!({"timePartitioning": {"type": "DAY"}}));
        assert_eq!(cannot_hold(Format::Csv, &flat), None);
        assert!(cannot_hold(Format::Csv, &nested).unwrap().contains("`r`"));
        assert!(cannot_hold(Format::Csv, &repeated).unwrap().contains("`l`"));
        assert_eq!(cannot_hold(Format::Json, &nested), None);
        assert!(cannot_hold(Format::Avro, &by_arrival).is_some());
    }

    #[test]
    fn nothing_is_left_to_guess() {
        let before = meta(json!({
            "schema": {"fields": [{"name": "a", "type": "STRING", "mode": "REQUIRED"}]}, "clustering": {"fields": ["a"]},
            "timePartitioning": {"type": "DAY", "field": "d"}, "description": "of no load",
        }));
        let csv = settings(Format::Csv, &Header::Yes, &before);
        assert_eq!(csv["schema"]["fields"][0]["mode"], "REQUIRED");
        assert_eq!(
            (&csv["skipLeadingRows"], &csv["autodetect"], &csv["maxBadRecords"]),
            (&json!(1), &json!(false), &json!(0))
        );
        assert!(
            csv.contains_key("clustering") && csv.contains_key("timePartitioning") && !csv.contains_key("description")
        );
        assert_eq!(settings(Format::Csv, &Header::No, &before)["skipLeadingRows"], 0);
        let avro = settings(Format::Avro, &Header::No, &before);
        assert_eq!(avro["useAvroLogicalTypes"], true);
        assert!(!avro.contains_key("skipLeadingRows"));
    }
}
