//! PURE: values, the expressions that our statements and the toy migrations hold, and what can be wrong with them.

use std::cmp::Ordering;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::sql::Query;

/// Milliseconds since 1970.
pub(super) type Millis = i64;

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Datum {
    /// NULL.
    Null,
    /// BOOL.
    Bool(bool),
    /// INT64.
    Int(i64),
    /// FLOAT64 or NUMERIC, as it was written: nothing is reckoned with it.
    Real(String),
    /// STRING and DATE.
    Text(String),
    /// TIMESTAMP.
    Stamp(Millis),
}

/// A row of a table.
pub(super) type Cells = Vec<Datum>;

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Null => f.write_str("NULL"),
            Datum::Bool(yes) => write!(f, "{yes}"),
            Datum::Int(number) => write!(f, "{number}"),
            Datum::Real(text) | Datum::Text(text) => f.write_str(text),
            Datum::Stamp(ms) => f.write_str(&rfc3339(*ms)),
        }
    }
}

impl Datum {
    /// As `getQueryResults` has it.
    pub(super) fn wire(&self) -> Value {
        match self {
            Datum::Null => Value::Null,
            // Seconds, with a fraction.
            Datum::Stamp(ms) => json!(format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))),
            other => json!(other.to_string()),
        }
    }

    /// The API's name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Datum::Bool(_) => "BOOLEAN",
            Datum::Null | Datum::Int(_) => "INTEGER",
            Datum::Real(_) => "FLOAT",
            Datum::Text(_) => "STRING",
            Datum::Stamp(_) => "TIMESTAMP",
        }
    }

    /// As a value of a column.
    pub(super) fn into_column(self, field: &Value) -> Result<Datum, Trouble> {
        let text = |key: &str| field.get(key).and_then(Value::as_str).unwrap_or("");
        let (name, kind) = (text("name"), text("type"));
        Ok(match (kind, self) {
            (_, Datum::Null) if text("mode") == "REQUIRED" => {
                let message = format!("Required field {name} cannot be null");
                return Err(Trouble::at_run("invalidQuery", message));
            }
            (_, Datum::Null) => Datum::Null,
            ("BOOLEAN", it @ Datum::Bool(_))
            | ("INTEGER", it @ Datum::Int(_))
            | ("STRING", it @ Datum::Text(_))
            | ("TIMESTAMP", it @ Datum::Stamp(_))
            | ("FLOAT" | "NUMERIC" | "BIGNUMERIC", it @ Datum::Real(_)) => it,
            ("FLOAT" | "NUMERIC" | "BIGNUMERIC", Datum::Int(number)) => Datum::Real(number.to_string()),
            ("TIMESTAMP", Datum::Text(text)) => Datum::Stamp(instant(&text)?),
            ("DATE", Datum::Text(text)) => {
                instant(&text)?;
                Datum::Text(text)
            }
            (kind, other) => {
                let given = other.type_name();
                let message = format!(
                    "Value has type {given} which cannot be inserted into column {name}, which has type {kind}"
                );
                return Err(Trouble::query(message));
            }
        })
    }
}

/// An instant as the API writes it.
pub(super) fn rfc3339(ms: Millis) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}

/// A TIMESTAMP or DATE written out. One without an offset is refused: BigQuery would read it as Los Angeles time in
/// some places and as UTC in others, and no program of ours may rest on that.
pub(super) fn instant(text: &str) -> Result<Millis, Trouble> {
    let bad = || Trouble::query(format!("Invalid timestamp: '{text}'"));
    if text.len() == 10 {
        let date: jiff::civil::Date = text.parse().map_err(|_| bad())?;
        let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| bad())?;
        return Ok(zoned.timestamp().as_millisecond());
    }
    let at: Timestamp = text.parse().map_err(|_| bad())?;
    Ok(at.as_millisecond())
}

/// Why something was not done, in BigQuery's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    /// BigQuery's reason word.
    pub(super) reason: String,
    /// Its message.
    pub(super) message: String,
    /// Found only when it runs: a dry run does not see it.
    pub(super) at_run: bool,
}

impl Trouble {
    /// The SQL is wrong.
    pub(super) fn query(message: impl Into<String>) -> Trouble {
        Trouble::of("invalidQuery", message)
    }

    pub(super) fn of(reason: &str, message: impl Into<String>) -> Trouble {
        Trouble {
            reason: reason.to_owned(),
            message: message.into(),
            at_run: false,
        }
    }

    pub(super) fn at_run(reason: &str, message: impl Into<String>) -> Trouble {
        Trouble {
            at_run: true,
            ..Trouble::of(reason, message)
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Literal(Datum),
    Column(String),
    /// `CURRENT_TIMESTAMP()`: one instant for a whole statement.
    Now,
    /// `COUNT(*)`.
    Count,
    /// `UNIX_MILLIS(…)`.
    UnixMillis(Box<Expr>),
    /// `TIMESTAMP(…)`.
    Timestamp(Box<Expr>),
    /// `TIMESTAMP_TRUNC(…, unit)`.
    Trunc(Box<Expr>, String),
    /// `ERROR(…)`.
    Error(Box<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>, bool),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// A query of one value.
    Scalar(Box<Query>),
}

/// What an expression is reckoned in.
pub(super) struct Scope<'a> {
    /// The statement's instant.
    pub(super) now: Millis,
    /// The columns of the row.
    pub(super) fields: &'a [Value],
    /// The row.
    pub(super) row: &'a [Datum],
    /// `COUNT(*)`.
    pub(super) count: i64,
    /// Answers a query of one value.
    pub(super) scalar: &'a dyn Fn(&Query) -> Result<Datum, Trouble>,
}

/// The column's place.
pub(super) fn place(fields: &[Value], name: &str) -> Result<usize, Trouble> {
    let is = |field: &Value| {
        field
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    };
    fields
        .iter()
        .position(is)
        .ok_or_else(|| Trouble::query(format!("Unrecognized name: {name}")))
}

impl Expr {
    /// The columns it names.
    pub(super) fn columns<'e>(&'e self, found: &mut Vec<&'e str>) {
        match self {
            Expr::Column(name) => found.push(name),
            Expr::UnixMillis(a) | Expr::Timestamp(a) | Expr::Trunc(a, _) | Expr::Error(a) | Expr::Not(a) => {
                a.columns(found);
            }
            Expr::IsNull(a, _) => a.columns(found),
            Expr::Binary(_, a, b) => {
                a.columns(found);
                b.columns(found);
            }
            Expr::Literal(_) | Expr::Now | Expr::Count | Expr::Scalar(_) => {}
        }
    }

    /// Whether it counts rows.
    pub(super) fn counts(&self) -> bool {
        match self {
            Expr::Count => true,
            Expr::UnixMillis(a) | Expr::Timestamp(a) | Expr::Trunc(a, _) | Expr::Error(a) | Expr::Not(a) => a.counts(),
            Expr::IsNull(a, _) => a.counts(),
            Expr::Binary(_, a, b) => a.counts() || b.counts(),
            _ => false,
        }
    }

    /// The type of what it gives, by the API's name.
    pub(super) fn type_name(&self, fields: &[Value]) -> String {
        let fixed = match self {
            Expr::Literal(datum) => datum.type_name(),
            Expr::Column(name) => {
                let field = place(fields, name).ok().and_then(|at| fields.get(at));
                let kind = field.and_then(|f| f.get("type")).and_then(Value::as_str);
                return kind.unwrap_or("STRING").to_owned();
            }
            Expr::Now | Expr::Timestamp(_) | Expr::Trunc(..) => "TIMESTAMP",
            Expr::Count | Expr::UnixMillis(_) | Expr::Error(_) | Expr::Scalar(_) => "INTEGER",
            Expr::Binary("+" | "-", ..) => "INTEGER",
            Expr::Not(_) | Expr::IsNull(..) | Expr::Binary(..) => "BOOLEAN",
        };
        fixed.to_owned()
    }

    /// Whether it is true; NULL is not.
    pub(super) fn holds(&self, scope: &Scope) -> Result<bool, Trouble> {
        match self.value(scope)? {
            Datum::Bool(yes) => Ok(yes),
            Datum::Null => Ok(false),
            other => Err(Trouble::query(format!(
                "WHERE clause should return type BOOL, but returns {}",
                other.type_name()
            ))),
        }
    }

    /// What it comes to.
    pub(super) fn value(&self, scope: &Scope) -> Result<Datum, Trouble> {
        Ok(match self {
            Expr::Literal(datum) => datum.clone(),
            Expr::Column(name) => scope
                .row
                .get(place(scope.fields, name)?)
                .cloned()
                .unwrap_or(Datum::Null),
            Expr::Now => Datum::Stamp(scope.now),
            Expr::Count => Datum::Int(scope.count),
            Expr::UnixMillis(a) => match a.value(scope)? {
                Datum::Stamp(ms) => Datum::Int(ms),
                Datum::Null => Datum::Null,
                _ => return Err(no_signature("UNIX_MILLIS")),
            },
            Expr::Timestamp(a) => match a.value(scope)? {
                Datum::Text(text) => Datum::Stamp(instant(&text)?),
                it @ (Datum::Stamp(_) | Datum::Null) => it,
                _ => return Err(no_signature("TIMESTAMP")),
            },
            Expr::Trunc(a, unit) => match a.value(scope)? {
                Datum::Stamp(ms) => Datum::Stamp(truncated(ms, unit)?),
                Datum::Null => Datum::Null,
                _ => return Err(no_signature("TIMESTAMP_TRUNC")),
            },
            Expr::Error(a) => return Err(Trouble::at_run("invalidQuery", a.value(scope)?.to_string())),
            Expr::Not(a) => match a.value(scope)? {
                Datum::Bool(yes) => Datum::Bool(!yes),
                Datum::Null => Datum::Null,
                _ => return Err(no_signature("NOT")),
            },
            Expr::IsNull(a, negated) => Datum::Bool((a.value(scope)? == Datum::Null) != *negated),
            Expr::Binary(op, a, b) => binary(op, a.value(scope)?, b.value(scope)?)?,
            Expr::Scalar(query) => (scope.scalar)(query)?,
        })
    }
}

fn no_signature(name: &str) -> Trouble {
    Trouble::query(format!("No matching signature for {name}"))
}

fn binary(op: &'static str, a: Datum, b: Datum) -> Result<Datum, Trouble> {
    match (op, &a, &b) {
        ("OR", Datum::Bool(true), _) | ("OR", _, Datum::Bool(true)) => return Ok(Datum::Bool(true)),
        ("AND", Datum::Bool(false), _) | ("AND", _, Datum::Bool(false)) => return Ok(Datum::Bool(false)),
        (_, Datum::Null, _) | (_, _, Datum::Null) => return Ok(Datum::Null),
        ("OR", Datum::Bool(a), Datum::Bool(b)) => return Ok(Datum::Bool(*a || *b)),
        ("AND", Datum::Bool(a), Datum::Bool(b)) => return Ok(Datum::Bool(*a && *b)),
        ("+", Datum::Int(a), Datum::Int(b)) => return sum(a.checked_add(*b)),
        ("-", Datum::Int(a), Datum::Int(b)) => return sum(a.checked_sub(*b)),
        _ => {}
    }
    if std::mem::discriminant(&a) != std::mem::discriminant(&b) || matches!(op, "AND" | "OR" | "+" | "-") {
        return Err(no_signature(op));
    }
    let order = a.cmp(&b);
    Ok(Datum::Bool(match op {
        "=" => order == Ordering::Equal,
        "<" => order == Ordering::Less,
        ">" => order == Ordering::Greater,
        "<=" => order != Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => order != Ordering::Equal,
    }))
}

fn sum(sum: Option<i64>) -> Result<Datum, Trouble> {
    sum.map(Datum::Int)
        .ok_or_else(|| Trouble::at_run("invalidQuery", "int64 overflow"))
}

/// The beginning of the unit that an instant is in.
pub(super) fn truncated(ms: Millis, unit: &str) -> Result<Millis, Trouble> {
    const HOUR: Millis = 3_600_000;
    let by = |unit: Millis| Ok(ms.div_euclid(unit) * unit);
    let begin = |year: bool| {
        let date = Timestamp::from_millisecond(ms)
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        let date = if year {
            date.first_of_year()
        } else {
            date.first_of_month()
        };
        Some(
            date.to_zoned(jiff::tz::TimeZone::UTC)
                .ok()?
                .timestamp()
                .as_millisecond(),
        )
    };
    let bad = || Trouble::query(format!("A valid date part argument is required, but found {unit}"));
    match unit {
        "HOUR" => by(HOUR),
        "DAY" => by(24 * HOUR),
        "MONTH" => begin(false).ok_or_else(bad),
        "YEAR" => begin(true).ok_or_else(bad),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_need_an_offset_and_are_truncated() {
        let at = instant("2026-03-04 05:06:07.089+00:00").unwrap();
        assert_eq!(rfc3339(at), "2026-03-04T05:06:07.089Z");
        assert!(instant("2026-03-04 05:06:07").is_err());
        for (unit, begin) in [
            ("HOUR", "2026-03-04T05:00:00Z"),
            ("DAY", "2026-03-04T00:00:00Z"),
            ("MONTH", "2026-03-01T00:00:00Z"),
            ("YEAR", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(truncated(at, unit).unwrap()), begin);
        }
    }

    #[test]
    fn a_value_fits_its_column_or_is_refused() {
        let field = |kind: &str, mode: &str| json!({ "name": "c", "type": kind, "mode": mode });
        let fits = |datum: Datum, kind: &str| datum.into_column(&field(kind, "NULLABLE")).is_ok();
        assert!(fits(Datum::Int(1), "INTEGER") && fits(Datum::Int(1), "FLOAT") && fits(Datum::Null, "DATE"));
        assert!(!fits(Datum::Int(1), "STRING") && !fits(Datum::Text("x".into()), "INTEGER"));
        assert!(!fits(Datum::Text("soon".into()), "DATE"));
        assert!(Datum::Null.into_column(&field("STRING", "REQUIRED")).is_err());
    }
}
