//! PURE: the partitioning and clustering that a `CREATE TABLE` asks for, in the words of [`crate::meta::TableMeta::layout`].
//!
//! Source of the forms: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#partition_expression>.

/// Of a statement's words, in small letters. `None`: it partitions by what is not understood here.
pub(crate) fn layout(tokens: &[&str]) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(expression) = behind(tokens, &["partition", "by"]) {
        parts.push(partitioning(expression)?);
    }
    if let Some(columns) = behind(tokens, &["cluster", "by"]) {
        parts.push(format!(
            "cluster({})",
            plain(columns).split(',').collect::<Vec<_>>().join(", ")
        ));
    }
    Some(match parts.is_empty() {
        true => "none".to_owned(),
        false => parts.join(", "),
    })
}

/// What stands behind these words outside brackets and before the query, up to the next clause.
fn behind<'t>(tokens: &'t [&'t str], words: &[&str]) -> Option<&'t [&'t str]> {
    let mut depth = 0_usize;
    let mut from = None;
    for (i, token) in tokens.iter().enumerate() {
        match *token {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "partition" | "cluster" | "options" | "as" | "with" | "default" if depth == 0 => match from {
                Some(from) => return tokens.get(from..i),
                // Behind it comes the query, which has clauses of its own.
                None if *token == "as" => return None,
                None if tokens[i..].starts_with(words) => from = Some(i + words.len()),
                None => {}
            },
            _ => {}
        }
    }
    tokens.get(from?..)
}

fn plain(tokens: &[&str]) -> String {
    tokens.concat().replace('`', "")
}

fn partitioning(expression: &[&str]) -> Option<String> {
    let text = plain(expression);
    let day = |column: &str| match column {
        "_partitiontime" | "_partitiondate" => "DAY(_PARTITIONTIME)".to_owned(),
        column => format!("DAY({column})"),
    };
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_name(&text) {
        return Some(day(&text));
    }
    let (function, rest) = text.split_once('(')?;
    let arguments: Vec<&str> = rest.strip_suffix(')')?.split(',').collect();
    match (function, arguments.as_slice()) {
        ("date", [column]) if is_name(column) => Some(day(column)),
        ("timestamp_trunc" | "datetime_trunc" | "date_trunc", [column, unit]) if is_name(column) && is_name(unit) => {
            let column = if *column == "_partitiontime" {
                "_PARTITIONTIME"
            } else {
                column
            };
            Some(format!("{}({column})", unit.to_uppercase()))
        }
        ("range_bucket", [column, start, end, step]) if is_name(column) => {
            let (start, step) = (start.strip_prefix("generate_array(")?, step.strip_suffix(')')?);
            Some(format!("RANGE({column}, {start}, {end}, {step})"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foresight::words::Words;

    #[test]
    fn layouts_are_read_as_bigquery_tells_them() {
        for (text, want) in [
            ("CREATE OR REPLACE TABLE d.t (a INT64)", Some("none")),
            (
                "CREATE TABLE d.t AS SELECT ROW_NUMBER() OVER (PARTITION BY a) FROM d.u",
                Some("none"),
            ),
            (
                "CREATE TABLE d.t PARTITION BY at CLUSTER BY a, `b` OPTIONS(description='x') AS SELECT 1",
                Some("DAY(at), cluster(a, b)"),
            ),
            (
                "CREATE TABLE d.t (a INT64) PARTITION BY DATE(_PARTITIONTIME)",
                Some("DAY(_PARTITIONTIME)"),
            ),
            (
                "CREATE TABLE d.t PARTITION BY TIMESTAMP_TRUNC(at, HOUR) AS (SELECT 1)",
                Some("HOUR(at)"),
            ),
            (
                "CREATE TABLE d.t PARTITION BY DATE_TRUNC(d, MONTH) AS SELECT 1",
                Some("MONTH(d)"),
            ),
            (
                "CREATE TABLE d.t PARTITION BY RANGE_BUCKET(n, GENERATE_ARRAY(0, 100, 10)) AS SELECT 1",
                Some("RANGE(n, 0, 100, 10)"),
            ),
            ("CREATE TABLE d.t CLUSTER BY a AS SELECT 1", Some("cluster(a)")),
            ("CREATE TABLE d.t PARTITION BY f(x, y, z) AS SELECT 1", None),
        ] {
            let words = Words::of(text);
            let tokens = words.tokens_in(&(0..text.len()));
            let tokens: Vec<&str> = tokens.iter().map(|(_, token)| *token).collect();
            assert_eq!(layout(&tokens).as_deref(), want, "{text}");
        }
    }
}
