//! PURE: the query that takes a fingerprint.
//!
//! Each row becomes one text: a struct of its columns in the order of their names, as JSON. Values whose JSON
//! encoding would not tell them apart, or would tell apart what is the same, become something else first ([`value`]).
//! The text begins with a digest of the columns' names and types, so that equal values in other columns are no equal
//! rows.

use crate::names::sha256_hex;
use crate::sql::{Counted, quoted};

use super::columns::{Column, Columns, Kind, Scalar};
use super::partitions::Partitions;

/// The columns of the answer with the sums of the 128 bits, 32 at a time and the highest first: a sum of 32-bit words
/// overflows no NUMERIC, however many rows there are.
pub(crate) const WORDS: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// What of a table is hashed.
pub struct Asked<'a> {
    /// The table, at an instant.
    pub table: &'a Counted,
    /// These columns.
    pub columns: &'a Columns,
    /// A row for each of these, its ID in column `p`; else one row.
    pub by: Option<&'a Partitions>,
    /// Only rows of which this holds.
    pub only: Option<&'a str>,
}

/// Columns `n` (rows), `x` (their xor), [`WORDS`] (their sum), and `as_of_ms`, the query's own instant in milliseconds.
pub fn query(asked: &Asked) -> String {
    let Asked {
        table,
        columns,
        by,
        only,
    } = asked;
    let row = format!("{}0", columns.alias);
    let digest = sha256_hex(&columns.signature());
    let text = format!(
        "CONCAT('{}', TO_JSON_STRING({}))",
        &digest[..16],
        fields(&columns.list, &row, columns, 1)
    );
    let (partition, passed, grouped) = match by {
        Some(by) => {
            let id = by.sql(|column| format!("{row}.{}", quoted(column)));
            (format!("{id} AS p, "), "p, ", " GROUP BY p")
        }
        None => (String::new(), "", ""),
    };
    let conditions: Vec<String> = [table.filter(), only.map(str::to_owned)]
        .into_iter()
        .flatten()
        .collect();
    let filter = match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHERE ({})", conditions.join(") AND (")),
    };
    let words: Vec<String> = WORDS.iter().enumerate().map(|(i, name)| word(i, name)).collect();
    format!(
        "SELECT {passed}COUNT(*) AS n, BIT_XOR(FARM_FINGERPRINT(t)) AS x, {}, UNIX_MILLIS(CURRENT_TIMESTAMP()) AS as_of_ms\n\
         FROM (SELECT {passed}t, TO_HEX(SHA256(t)) AS h\n\
         FROM (SELECT {partition}{text} AS t\n\
         FROM {} AS {row}{}{filter})){grouped}",
        words.join(", "),
        table.table.sql(),
        table.as_of.sql()
    )
}

/// The sum of one 32-bit word of the hashes `h`.
fn word(i: usize, name: &str) -> String {
    let from = i * 8 + 1;
    format!("CAST(SUM(CAST(CAST(CONCAT('0x', SUBSTR(h, {from}, 8)) AS INT64) AS NUMERIC)) AS STRING) AS {name}")
}

/// A struct of the columns, none of them by its own name: those are in the digest.
fn fields(list: &[Column], within: &str, columns: &Columns, depth: usize) -> String {
    let one = |(i, column): (usize, &Column)| {
        let path = format!("{within}.{}", quoted(&column.name));
        format!("{} AS f{i}", field(column, &path, columns, depth))
    };
    let all: Vec<String> = list.iter().enumerate().map(one).collect();
    format!("STRUCT({})", all.join(", "))
}

fn field(column: &Column, path: &str, columns: &Columns, depth: usize) -> String {
    if !column.repeated {
        return value(column, path, columns, depth);
    }
    // A stored array is never null; what is no array here was an empty one.
    if matches!(column.kind, Kind::Scalar(Scalar::Plain(_))) && !column.cast {
        return format!("IFNULL({path}, [])");
    }
    let element = format!("{}{depth}", columns.alias);
    format!(
        "ARRAY(SELECT {} FROM UNNEST({path}) AS {element} WITH OFFSET AS {element}o ORDER BY {element}o)",
        value(column, &element, columns, depth + 1)
    )
}

/// A value as it is encoded: equal values equally, others differently, NULL as NULL.
fn value(column: &Column, path: &str, columns: &Columns, depth: usize) -> String {
    let scalar = match &column.kind {
        // NULL is another value than a struct of NULLs.
        Kind::Struct(inner) => return format!("IF({path} IS NULL, NULL, {})", fields(inner, path, columns, depth)),
        Kind::Scalar(scalar) => scalar,
    };
    let path = match column.cast {
        true => format!("CAST({path} AS {scalar})"),
        false => path.to_owned(),
    };
    match scalar {
        Scalar::Plain(_) => path,
        // 17 digits tell any two apart; `CAST` promises an approximation only. -0.0 equals 0.0, and every NaN is NaN.
        // Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions#cast_as_string>.
        Scalar::Float64 => {
            format!("CASE WHEN {path} = 0 THEN '0' WHEN IS_NAN({path}) THEN 'nan' ELSE FORMAT('%.17g', {path}) END")
        }
        // As a text, because the JSON value null is not NULL.
        Scalar::Json => format!("IF({path} IS NULL, NULL, TO_JSON_STRING({path}))"),
        // The coordinates in binary: ST_ASTEXT writes 15 digits of them.
        Scalar::Geography => format!("TO_HEX(ST_ASBINARY({path}))"),
        Scalar::Interval => format!("CAST({path} AS STRING)"),
        // An end that is unbounded is NULL.
        Scalar::Range(_) => {
            format!("IF({path} IS NULL, NULL, STRUCT(RANGE_START({path}) AS f0, RANGE_END({path}) AS f1))")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::choice::Choice;
    use super::*;
    use crate::names::TableRef;
    use crate::sql::AsOf;
    use serde_json::json;

    #[test]
    fn a_query_of_everything() {
        let field = |name: &str, of: &str| json!({"name": name, "type": of});
        let meta = serde_json::from_value(json!({"schema": {"fields": [
            field("f", "FLOAT"), {"name": "A", "type": "STRING", "mode": "REPEATED"}, field("v0", "INTEGER"),
            {"name": "s", "type": "RECORD", "mode": "REPEATED", "fields": [field("j", "JSON"), field("g", "GEOGRAPHY")]},
            {"name": "r", "type": "RANGE", "rangeElementType": {"type": "DATE"}}, field("i", "INTERVAL"),
        ]}, "timePartitioning": {"type": "DAY"}, "requirePartitionFilter": true}))
        .unwrap();
        let columns = Columns::of(&meta, &Choice::All).unwrap();
        let table = Counted::new(&TableRef::parse("p.d.t", None).unwrap(), AsOf::Now, Some(&meta));
        let by = Partitions::of(&meta);
        let asked = Asked {
            table: &table,
            columns: &columns,
            by: by.as_ref(),
            only: Some("TRUE"),
        };
        let sql = query(&asked);
        let digest = &sha256_hex(&columns.signature())[..16];
        for part in [
            format!("CONCAT('{digest}', TO_JSON_STRING(STRUCT(v_0.`_PARTITIONTIME` AS f0, IFNULL(v_0.`A`, []) AS f1, "),
            "CASE WHEN v_0.`f` = 0 THEN '0' WHEN IS_NAN(v_0.`f`) THEN 'nan' ELSE FORMAT('%.17g', v_0.`f`) END AS f2"
                .to_owned(),
            "CAST(v_0.`i` AS STRING) AS f3".to_owned(),
            "IF(v_0.`r` IS NULL, NULL, STRUCT(RANGE_START(v_0.`r`) AS f0, RANGE_END(v_0.`r`) AS f1)) AS f4".to_owned(),
            "ARRAY(SELECT IF(v_1 IS NULL, NULL, STRUCT(TO_HEX(ST_ASBINARY(v_1.`g`)) AS f0, \
             IF(v_1.`j` IS NULL, NULL, TO_JSON_STRING(v_1.`j`)) AS f1)) \
             FROM UNNEST(v_0.`s`) AS v_1 WITH OFFSET AS v_1o ORDER BY v_1o) AS f5"
                .to_owned(),
            "v_0.`v0` AS f6)".to_owned(),
            "FROM `p.d.t` AS v_0 FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP() \
             WHERE (`_PARTITIONTIME` IS NULL OR `_PARTITIONTIME` IS NOT NULL) AND (TRUE))) GROUP BY p"
                .to_owned(),
            "CAST(SUM(CAST(CAST(CONCAT('0x', SUBSTR(h, 25, 8)) AS INT64) AS NUMERIC)) AS STRING) AS s3".to_owned(),
        ] {
            assert!(sql.contains(&part), "{part}\nis not in\n{sql}");
        }
    }

    #[test]
    fn a_narrower_value_is_cast_and_hashed_as_the_wider_type_is() {
        let meta = |of: &str| {
            let repeated = json!({"name": "b", "type": of, "mode": "REPEATED"});
            serde_json::from_value(json!({"schema": {"fields": [{"name": "a", "type": of}, repeated]}})).unwrap()
        };
        let columns = Columns::of(&meta("INTEGER"), &Choice::All).unwrap();
        let (before, now) = columns.at_the_cut_and_now(&meta("NUMERIC")).unwrap();
        let table = Counted::new(&TableRef::parse("p.d.t", None).unwrap(), AsOf::Plain, None);
        let text = |columns: &Columns| {
            query(&Asked {
                table: &table,
                columns,
                by: None,
                only: None,
            })
        };
        let digest = &sha256_hex(&now.signature())[..16];
        let cast = "STRUCT(CAST(v0.`a` AS NUMERIC) AS f0, \
            ARRAY(SELECT CAST(v1 AS NUMERIC) FROM UNNEST(v0.`b`) AS v1 WITH OFFSET AS v1o ORDER BY v1o) AS f1)";
        for (columns, part) in [
            (&before, cast),
            (&now, "STRUCT(v0.`a` AS f0, IFNULL(v0.`b`, []) AS f1)"),
        ] {
            let text = text(columns);
            assert!(text.contains(&format!("'{digest}', TO_JSON_STRING({part})")), "{text}");
        }
        let floats = columns.at_the_cut_and_now(&meta("FLOAT")).unwrap().0;
        assert!(text(&floats).contains("CASE WHEN CAST(v0.`a` AS FLOAT64) = 0 THEN '0'"));
    }
}
