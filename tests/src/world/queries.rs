//! PURE: what a query gives, and how rows become rows of a table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sql::{Name, Query, Select};
use super::tables::{Kind, Tables, Version};
use super::values::{Cells, Datum, Expr, Millis, Scope, Trouble, place};

/// What a query gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// `schema.fields`.
    pub(super) fields: Vec<Value>,
    pub(super) rows: Vec<Cells>,
}

/// The values in the order of the table's columns.
pub(super) fn arrange(rows: Vec<Cells>, columns: Option<&[String]>, fields: &[Value]) -> Result<Vec<Cells>, Trouble> {
    let Some(columns) = columns else { return Ok(rows) };
    let places = columns
        .iter()
        .map(|column| place(fields, column))
        .collect::<Result<Vec<_>, _>>()?;
    let arranged = rows.into_iter().map(|row| {
        if row.len() != places.len() {
            return row;
        }
        let mut whole = vec![Datum::Null; fields.len()];
        for (at, value) in places.iter().zip(row) {
            whole[*at] = value;
        }
        whole
    });
    Ok(arranged.collect())
}

/// Rows as values of the columns.
pub(super) fn fit(rows: Vec<Cells>, fields: &[Value]) -> Result<Vec<Cells>, Trouble> {
    let fit = |row: Cells| {
        if row.len() != fields.len() {
            let message = format!(
                "Inserted row has wrong column count; Has {}, expected {}",
                row.len(),
                fields.len()
            );
            return Err(Trouble::query(message));
        }
        row.into_iter()
            .zip(fields)
            .map(|(value, field)| value.into_column(field))
            .collect()
    };
    rows.into_iter().map(fit).collect()
}

// ---- queries ----

pub(super) fn scope<'a>(
    now: Millis,
    fields: &'a [Value],
    row: &'a [Datum],
    count: i64,
    scalar: &'a dyn Fn(&Query) -> Result<Datum, Trouble>,
) -> Scope<'a> {
    Scope {
        now,
        fields,
        row,
        count,
        scalar,
    }
}

pub(super) fn scalar(tables: &Tables, query: &Query, now: Millis) -> Result<Datum, Trouble> {
    let answer = answer(tables, query, now)?;
    match answer.rows.as_slice() {
        [] => Ok(Datum::Null),
        [row] => Ok(row.first().cloned().unwrap_or(Datum::Null)),
        _ => Err(Trouble::at_run(
            "invalidQuery",
            "Scalar subquery produced more than one element",
        )),
    }
}

/// Refuses columns that are not there, also where there is no row to find it out by.
pub(super) fn known(expr: &Expr, fields: &[Value]) -> Result<(), Trouble> {
    let mut columns = Vec::new();
    expr.columns(&mut columns);
    columns
        .into_iter()
        .try_for_each(|column| place(fields, column).map(drop))
}

/// Refuses a filter of unknown columns, and a table without the filter that it demands.
pub(super) fn filtered(name: &Name, table: &Version, filter: Option<&Expr>) -> Result<(), Trouble> {
    let mut columns = Vec::new();
    if let Some(filter) = filter {
        known(filter, &table.fields)?;
        filter.columns(&mut columns);
    }
    match table.required_filter() {
        Some(column) if !columns.iter().any(|c| c.eq_ignore_ascii_case(column)) => {
            let message = format!(
                "Cannot query over table '{name}' without a filter over column(s) '{column}' that can be used for \
                 partition elimination"
            );
            Err(Trouble::query(message))
        }
        _ => Ok(()),
    }
}

pub(super) fn answer(tables: &Tables, query: &Query, now: Millis) -> Result<Answer, Trouble> {
    let mut instants: BTreeMap<&Name, Option<Millis>> = BTreeMap::new();
    let mut all: Option<Answer> = None;
    for select in &query.0 {
        let scalar = |q: &Query| scalar(tables, q, now);
        let at = match &select.from {
            Some((_, Some(at))) => match at.value(&scope(now, &[], &[], 0, &scalar))? {
                Datum::Stamp(at) => Some(at),
                _ => {
                    return Err(Trouble::query(
                        "FOR SYSTEM_TIME AS OF expression must be of type TIMESTAMP",
                    ));
                }
            },
            _ => None,
        };
        if let Some((name, _)) = &select.from
            && *instants.entry(name).or_insert(at) != at
        {
            return Err(Trouble::query(format!(
                "Table {name} is referenced with different FOR SYSTEM_TIME AS OF expressions"
            )));
        }
        let one = answer_one(tables, select, at, now)?;
        match &mut all {
            None => all = Some(one),
            Some(all) if all.fields.len() == one.fields.len() => all.rows.extend(one.rows),
            Some(_) => return Err(Trouble::query("Queries in UNION ALL have mismatched column count")),
        }
    }
    Ok(all.unwrap_or_default())
}

fn answer_one(tables: &Tables, select: &Select, at: Option<Millis>, now: Millis) -> Result<Answer, Trouble> {
    let schema = match &select.from {
        Some((name, None)) if name.table == super::rights::TABLES => Some(tables.rights.told_of(tables, name)),
        _ => None,
    };
    let version = match (&select.from, at) {
        (None, _) => None,
        _ if schema.is_some() => None,
        (Some((name, _)), Some(at)) => Some((name, tables.as_of(name, at, now)?)),
        (Some((name, _)), None) => Some((name, tables.find(name)?)),
    };
    let (fields, rows): (&[Value], Vec<Cells>) = match version {
        None if let Some((fields, rows)) = &schema => (fields, rows.clone()),
        None => (&[], vec![Vec::new()]),
        Some((name, version)) if version.kind == Kind::View => {
            // Nobody of ours reads a view; a toy check that does would see no rows, which is worse than a refusal.
            return Err(Trouble::query(format!(
                "this pretend BigQuery does not read views: {name}"
            )));
        }
        Some((name, version)) => {
            filtered(name, version, select.filter.as_ref())?;
            (&version.fields, version.rows.to_vec())
        }
    };
    let mut rows = rows;
    if let Some(without) = &select.without {
        for row in tables.find(without)?.rows.iter() {
            if let Some(place) = rows.iter().position(|there| there == row) {
                rows.swap_remove(place);
            }
        }
    }
    let scalar = |q: &Query| scalar(tables, q, now);
    let mut passed = Vec::new();
    for row in rows {
        let passes = match &select.filter {
            Some(filter) => filter.holds(&scope(now, fields, &row, 0, &scalar))?,
            None => true,
        };
        if passes {
            passed.push(row);
        }
    }
    if select.items.is_empty() {
        return Ok(Answer {
            fields: fields.to_vec(),
            rows: passed,
        });
    }
    for (_, item) in &select.items {
        known(item, fields)?;
    }
    let columns = select.items.iter().zip(0..).map(|((name, item), i)| {
        let name = name.clone().unwrap_or_else(|| format!("f{i}_"));
        json!({ "name": name, "type": item.type_name(fields), "mode": "NULLABLE" })
    });
    let count = i64::try_from(passed.len()).unwrap_or(i64::MAX);
    if select.items.iter().any(|(_, item)| item.counts()) {
        passed = vec![Vec::new()];
    }
    let value_of = |row: &Cells| {
        let scope = scope(now, fields, row, count, &scalar);
        select
            .items
            .iter()
            .map(|(_, item)| item.value(&scope))
            .collect::<Result<Cells, Trouble>>()
    };
    Ok(Answer {
        fields: columns.collect(),
        rows: passed.iter().map(value_of).collect::<Result<_, _>>()?,
    })
}
