//! PURE: which columns of a table are hashed, in which order, and as which types.
//!
//! The order is that of the names, so that columns may stand in any. Two tables compare over the same columns only:
//! what a table had at the cut is looked for in what it has now ([`Columns::at_the_cut_and_now`]).

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use crate::meta::types::{mode_of, subfields, text, type_of, widens};
use crate::meta::{TableMeta, integer};

use super::choice::{Choice, Part};

/// A type that is hashed, by itself or as what an array or a struct holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// One whose JSON encoding tells any two values apart, and says the same of equal ones.
    Plain(&'static str),
    Float64,
    Json,
    Geography,
    Interval,
    /// A range of `DATE`, `DATETIME` or `TIMESTAMP`.
    Range(&'static str),
}

/// The types of [`Scalar::Plain`].
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings>.
const PLAIN: [&str; 10] = [
    "BIGNUMERIC",
    "BOOL",
    "BYTES",
    "DATE",
    "DATETIME",
    "INT64",
    "NUMERIC",
    "STRING",
    "TIME",
    "TIMESTAMP",
];

impl Scalar {
    /// The type of a column, its limits left away; `None`: one that we do not know.
    fn of(field: &Value) -> Option<Scalar> {
        let full = type_of(field);
        let name = full.split_once('(').map_or(full.as_str(), |(name, _)| name);
        match name {
            "FLOAT64" => Some(Scalar::Float64),
            "JSON" => Some(Scalar::Json),
            "GEOGRAPHY" => Some(Scalar::Geography),
            "INTERVAL" => Some(Scalar::Interval),
            "RANGE<DATE>" => Some(Scalar::Range("DATE")),
            "RANGE<DATETIME>" => Some(Scalar::Range("DATETIME")),
            "RANGE<TIMESTAMP>" => Some(Scalar::Range("TIMESTAMP")),
            // Picoseconds: nothing that we have seen says how they are encoded.
            "TIMESTAMP" if field.get("timestampPrecision").and_then(integer).is_some_and(|p| p > 6) => None,
            _ => PLAIN
                .iter()
                .find(|plain| **plain == name)
                .map(|plain| Scalar::Plain(plain)),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Plain(name) => f.write_str(name),
            Scalar::Float64 => f.write_str("FLOAT64"),
            Scalar::Json => f.write_str("JSON"),
            Scalar::Geography => f.write_str("GEOGRAPHY"),
            Scalar::Interval => f.write_str("INTERVAL"),
            Scalar::Range(of) => write!(f, "RANGE<{of}>"),
        }
    }
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Struct(Vec<Column>),
}

/// A column, or a field of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// As the schema writes it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// Its values are of a narrower type than `kind`, which they are compared as.
    pub(crate) cast: bool,
}

/// The columns of a table that are hashed.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    pub(crate) list: Vec<Column>,
    /// What no name of the table begins with, for the names of a query's own.
    pub(crate) alias: String,
    whole: bool,
}

/// A column that cannot be hashed, or none that could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A type that we do not know.
    Unknown {
        /// The column.
        column: String,
        /// Its type.
        of: String,
    },
    /// No column is left.
    Nothing,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Unknown { column, of } => write!(
                f,
                "column `{column}` is of type {of}, of which no fingerprint can be taken"
            ),
            Unfit::Nothing => f.write_str("no column is left to take a fingerprint of"),
        }
    }
}

/// The pseudo column that says which partition a row is in, where no column of the table does. `*` leaves it out:
/// <https://docs.cloud.google.com/bigquery/docs/querying-partitioned-tables#query_an_ingestion-time_partitioned_table>.
pub(crate) const PARTITION_TIME: &str = "_PARTITIONTIME";

/// Whether the rows of a table are partitioned by when they came.
fn by_ingestion(meta: &TableMeta) -> bool {
    meta.time_partitioning()
        .is_some_and(|(column, _)| column == PARTITION_TIME)
}

fn find<'a>(fields: &'a [Value], name: &str) -> Option<&'a Value> {
    fields
        .iter()
        .find(|field| text(field, "name").to_lowercase() == name.to_lowercase())
}

/// Whether a table has a column at this path, in lower case.
pub fn has(meta: &TableMeta, path: &[String]) -> bool {
    if path.len() == 1 && path[0] == PARTITION_TIME.to_lowercase() {
        return by_ingestion(meta);
    }
    let mut fields = meta.fields();
    path.iter().all(|name| match find(fields, name) {
        Some(field) => {
            fields = subfields(field);
            true
        }
        None => false,
    })
}

impl Columns {
    /// What is hashed of a table.
    ///
    /// # Errors
    /// A chosen column is of a type that we do not know, or none is chosen.
    pub fn of(meta: &TableMeta, choice: &Choice) -> Result<Columns, Unfit> {
        let mut list = chosen(meta.fields(), choice, &[])?;
        if by_ingestion(meta) && choice.part(&[PARTITION_TIME.to_lowercase()]) == Part::All {
            list.push(Column {
                name: PARTITION_TIME.to_owned(),
                kind: Kind::Scalar(Scalar::Plain("TIMESTAMP")),
                repeated: false,
                cast: false,
            });
        }
        sort(&mut list);
        if list.is_empty() {
            return Err(Unfit::Nothing);
        }
        Ok(Columns {
            list,
            alias: alias(meta),
            whole: *choice == Choice::All,
        })
    }

    /// The columns of these that a table has to be compared over now: as they were, their values cast where their
    /// type was widened since, and as they are.
    ///
    /// # Errors
    /// What keeps them from being compared: a column is gone, or of another type.
    pub fn at_the_cut_and_now(&self, now: &TableMeta) -> Result<(Columns, Columns), Vec<String>> {
        let (mut before, mut after) = (self.clone(), self.clone());
        after.alias = alias(now);
        let mut found = Vec::new();
        match_up(
            &mut before.list,
            &mut after.list,
            now.fields(),
            "",
            by_ingestion(now),
            &mut found,
        );
        if found.is_empty() {
            Ok((before, after))
        } else {
            Err(found)
        }
    }

    /// The paths of the columns, where they are not all that the table has.
    pub fn restricted(&self) -> Option<Vec<String>> {
        let mut paths = Vec::new();
        collect(&self.list, "", &mut paths);
        (!self.whole).then_some(paths)
    }

    /// Names and types as one text: what the values of two tables must have in common to be compared.
    pub(crate) fn signature(&self) -> String {
        json!([super::VERSION, signature(&self.list)]).to_string()
    }
}

fn chosen(fields: &[Value], choice: &Choice, within: &[String]) -> Result<Vec<Column>, Unfit> {
    let mut list = Vec::new();
    for field in fields {
        let name = text(field, "name").to_owned();
        let path = [within, &[name.to_lowercase()]].concat();
        let part = choice.part(&path);
        if part == Part::None {
            continue;
        }
        let inner = subfields(field);
        let kind = if type_of(field) == "STRUCT" {
            let inner = chosen(inner, choice, &path)?;
            if inner.is_empty() {
                continue;
            }
            Kind::Struct(inner)
        } else {
            Kind::Scalar(Scalar::of(field).ok_or_else(|| Unfit::Unknown {
                column: path.join("."),
                of: type_of(field),
            })?)
        };
        list.push(Column {
            name,
            kind,
            repeated: mode_of(field) == "REPEATED",
            cast: false,
        });
    }
    sort(&mut list);
    Ok(list)
}

fn sort(list: &mut [Column]) {
    list.sort_by_key(|column| column.name.to_lowercase());
}

fn match_up(
    before: &mut [Column],
    after: &mut [Column],
    now: &[Value],
    within: &str,
    by_ingestion: bool,
    found: &mut Vec<String>,
) {
    for (was, is) in before.iter_mut().zip(after) {
        let name = format!("{within}{}", was.name);
        if within.is_empty() && was.name == PARTITION_TIME {
            if !by_ingestion {
                found.push("the table is no longer partitioned by ingestion time".to_owned());
            }
            continue;
        }
        let Some(field) = find(now, &was.name) else {
            found.push(format!("column {name} is gone"));
            continue;
        };
        is.name = text(field, "name").to_owned();
        if was.repeated != (mode_of(field) == "REPEATED") {
            found.push(format!("column {name}: mode is {}", mode_of(field)));
            continue;
        }
        match (&mut was.kind, &mut is.kind) {
            (Kind::Struct(was), Kind::Struct(is)) if type_of(field) == "STRUCT" => {
                match_up(was, is, subfields(field), &format!("{name}."), by_ingestion, found);
            }
            (Kind::Scalar(old), Kind::Scalar(new)) => match Scalar::of(field) {
                Some(there) if there == *old => {}
                Some(there)
                    if widens(
                        &json!({ "type": old.to_string() }),
                        &json!({ "type": there.to_string() }),
                    ) =>
                {
                    (*old, *new) = (there, there);
                    was.cast = true;
                }
                _ => found.push(format!("column {name}: type was {old}, is {}", type_of(field))),
            },
            _ => found.push(format!("column {name}: type is {}", type_of(field))),
        }
    }
}

fn collect(list: &[Column], within: &str, paths: &mut Vec<String>) {
    for column in list {
        let path = format!("{within}{}", column.name.to_lowercase());
        match &column.kind {
            Kind::Scalar(_) => paths.push(path),
            Kind::Struct(inner) => collect(inner, &format!("{path}."), paths),
        }
    }
}

fn signature(list: &[Column]) -> Value {
    let one = |column: &Column| {
        let of = match &column.kind {
            Kind::Scalar(scalar) => json!(scalar.to_string()),
            Kind::Struct(inner) => signature(inner),
        };
        json!([column.name.to_lowercase(), of, column.repeated])
    };
    list.iter().map(one).collect()
}

/// What no name of the table begins with, of whatever depth: the fields of an array's structs are names of their own
/// beside it.
fn alias(meta: &TableMeta) -> String {
    fn names(fields: &[Value], all: &mut BTreeSet<String>) {
        for field in fields {
            all.insert(text(field, "name").to_lowercase());
            names(subfields(field), all);
        }
    }
    let mut all = BTreeSet::new();
    names(meta.fields(), &mut all);
    let mut alias = "v".to_owned();
    while all.iter().any(|name| name.starts_with(&alias)) {
        alias.push('_');
    }
    alias
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(fields: Value) -> TableMeta {
        serde_json::from_value(json!({"schema": {"fields": fields}})).unwrap()
    }

    fn field(name: &str, of: &str) -> Value {
        json!({"name": name, "type": of})
    }

    fn all(fields: Value) -> Result<Columns, Unfit> {
        Columns::of(&meta(fields), &Choice::All)
    }

    fn only(fields: Value, list: &[&str]) -> Result<Columns, Unfit> {
        let paths = list.iter().map(|text| text.split('.').map(str::to_owned).collect());
        Columns::of(&meta(fields), &Choice::Only(paths.collect()))
    }

    #[test]
    fn neither_the_order_of_columns_nor_their_case_matters_and_names_and_types_do() {
        let signature = |fields| all(fields).unwrap().signature();
        let nested = |inner: Value| json!([field("b", "INTEGER"), {"name": "S", "type": "RECORD", "fields": inner}]);
        let one = signature(nested(json!([field("x", "FLOAT"), field("y", "STRING")])));
        let turned = json!([
            {"name": "s", "type": "STRUCT", "fields": [field("Y", "STRING"), field("X", "FLOAT64")]}, field("B", "INT64")]);
        assert_eq!(one, signature(turned));
        assert_ne!(
            one,
            signature(nested(json!([field("x", "FLOAT"), field("z", "STRING")])))
        );
        assert_ne!(
            one,
            signature(nested(json!([field("x", "FLOAT"), field("y", "BYTES")])))
        );
        let repeated = json!([field("b", "INTEGER"), {"name": "S", "type": "RECORD", "mode": "REPEATED",
            "fields": [field("x", "FLOAT"), field("y", "STRING")]}]);
        assert_ne!(one, signature(repeated));
        // The limits of a type are the schema's business.
        let limited = json!([{"name": "a", "type": "STRING", "maxLength": "3"}]);
        assert_eq!(signature(limited), signature(json!([field("a", "STRING")])));
    }

    #[test]
    fn every_type_of_today_is_known_and_no_other() {
        for of in [
            "STRING",
            "BYTES",
            "INTEGER",
            "INT64",
            "FLOAT",
            "FLOAT64",
            "NUMERIC",
            "BIGNUMERIC",
            "BOOLEAN",
            "BOOL",
            "TIMESTAMP",
            "DATE",
            "TIME",
            "DATETIME",
            "GEOGRAPHY",
            "JSON",
            "INTERVAL",
        ] {
            assert!(all(json!([field("a", of)])).is_ok(), "{of}");
        }
        for of in ["DATE", "DATETIME", "TIMESTAMP"] {
            let range = json!([{"name": "a", "type": "RANGE", "rangeElementType": {"type": of}}]);
            assert!(all(range).is_ok(), "{of}");
        }
        let unknown = |fields| match all(fields).unwrap_err() {
            Unfit::Unknown { column, of } => (column, of),
            Unfit::Nothing => unreachable!(),
        };
        let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(unknown(json!([field("a", "UUID")])), own("a", "UUID"));
        let nested = json!([{"name": "s", "type": "RECORD", "fields": [field("T", "TENSOR")]}]);
        assert_eq!(unknown(nested), own("s.t", "TENSOR"));
        let fine = json!([{"name": "a", "type": "TIMESTAMP", "timestampPrecision": "12"}]);
        assert_eq!(unknown(fine), own("a", "TIMESTAMP(12)"));
        let usual = json!([{"name": "a", "type": "TIMESTAMP", "timestampPrecision": "6"}]);
        assert!(all(usual).is_ok());
    }

    #[test]
    fn columns_can_be_left_out_of_any_depth_and_unknown_types_with_them() {
        let fields = json!([field("a", "UUID"), field("b", "STRING"),
            {"name": "s", "type": "RECORD", "fields": [field("x", "STRING"), field("y", "UUID")]}]);
        let except = |list: &[&str]| {
            let paths = list.iter().map(|text| text.split('.').map(str::to_owned).collect());
            Columns::of(&meta(fields.clone()), &Choice::Except(paths.collect())).map(|columns| columns.restricted())
        };
        let own = |list: &[&str]| Ok(Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()));
        assert_eq!(except(&["a", "s.y"]), own(&["b", "s.x"]));
        assert_eq!(except(&["a", "s"]), own(&["b"]));
        assert_eq!(except(&["a", "s.x", "s.y"]), own(&["b"]));
        assert_eq!(except(&["a", "b", "s"]), Err(Unfit::Nothing));
        assert_eq!(only(fields.clone(), &["s.x"]).map(|c| c.restricted()), own(&["s.x"]));
        assert!(only(fields.clone(), &["s"]).is_err());
        assert_eq!(all(json!([field("b", "STRING")])).map(|c| c.restricted()), Ok(None));
    }

    #[test]
    fn the_partition_of_a_row_is_hashed_where_no_column_says_it() {
        let paths = |meta: Value, choice: Choice| {
            let meta: TableMeta = serde_json::from_value(meta).unwrap();
            Columns::of(&meta, &choice).map(|columns| columns.list.iter().map(|c| c.name.clone()).collect::<Vec<_>>())
        };
        let by =
            |partitioning: Value| json!({"schema": {"fields": [field("a", "DATE")]}, "timePartitioning": partitioning});
        let only = |name: &str| Choice::Only(vec![vec![name.to_owned()]]);
        let ingested = || by(json!({"type": "DAY"}));
        assert_eq!(paths(ingested(), Choice::All).unwrap(), ["_PARTITIONTIME", "a"]);
        assert_eq!(paths(ingested(), only("a")).unwrap(), ["a"]);
        assert_eq!(paths(ingested(), only("_partitiontime")).unwrap(), ["_PARTITIONTIME"]);
        let except = Choice::Except(vec![vec!["_partitiontime".to_owned()]]);
        assert_eq!(paths(ingested(), except).unwrap(), ["a"]);
        assert_eq!(
            paths(by(json!({"type": "DAY", "field": "a"})), Choice::All).unwrap(),
            ["a"]
        );
    }

    #[test]
    fn what_was_at_the_cut_is_looked_for_in_what_is_now() {
        let before = json!([field("a", "INTEGER"), field("n", "NUMERIC"), field("t", "STRING"),
            {"name": "s", "type": "RECORD", "mode": "REPEATED", "fields": [field("x", "INTEGER")]}]);
        let compare = |now: Value| all(before.clone()).unwrap().at_the_cut_and_now(&meta(now));
        let grown = json!([field("new", "UUID"), field("T", "STRING"), field("a", "BIGNUMERIC"), field("n", "FLOAT"),
            {"name": "s", "type": "RECORD", "mode": "REPEATED", "fields": [field("y", "UUID"), field("x", "NUMERIC")]}]);
        let (was, is) = compare(grown).unwrap();
        assert_eq!(was.signature(), is.signature());
        assert_eq!(
            was.list.iter().map(|c| c.cast).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(matches!(&was.list[2].kind, Kind::Struct(inner) if inner[0].cast));
        assert!(is.list.iter().all(|c| !c.cast));
        let wrong = json!([field("a", "STRING"), {"name": "n", "type": "NUMERIC", "mode": "REPEATED"}, field("t", "RECORD"),
            {"name": "s", "type": "RECORD", "mode": "REPEATED", "fields": []}]);
        assert_eq!(
            compare(wrong).unwrap_err(),
            [
                "column a: type was INT64, is STRING",
                "column n: mode is REPEATED",
                "column s.x is gone",
                "column t: type was STRING, is STRUCT"
            ]
        );
    }

    #[test]
    fn no_name_of_the_table_is_an_alias() {
        let alias = |fields| all(fields).unwrap().alias;
        assert_eq!(alias(json!([field("a", "STRING")])), "v");
        assert_eq!(alias(json!([field("V1", "STRING")])), "v_");
        let nested =
            json!([field("value", "STRING"), {"name": "s", "type": "RECORD", "fields": [field("v_0", "STRING")]}]);
        assert_eq!(alias(nested), "v__");
    }
}
