//! PURE: traps that a migration may walk into with open eyes: all of it is valid, and does not do what most people think.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use crate::meta::TableMeta;
use crate::migration::is_dml;
use crate::names::TableRef;
use crate::script::{Deed, Kind, Statement};

use super::layout::layout;
use super::things::{Deeds, Thing};
use super::words::Words;

/// A protected table as it is before the migration.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Columns and layout.
    pub meta: TableMeta,
    /// Whether it has row access policies, as far as that is known.
    pub row_policies: bool,
    /// Whether rows are in its streaming buffer.
    pub streams: bool,
}

/// A trap.
#[derive(Clone, Debug, PartialEq)]
pub struct Trap {
    /// The byte of the script.
    pub at: usize,
    /// What happens.
    pub what: String,
    /// What to do instead.
    pub next: String,
}

impl Trap {
    fn new(at: usize, what: impl Into<String>, next: impl Into<String>) -> Trap {
        Trap {
            at,
            what: what.into(),
            next: next.into(),
        }
    }
}

/// The traps of a file, in the order in which they stand.
pub fn traps(text: &str, statements: &[Statement], deeds: &[Deeds], tables: &BTreeMap<TableRef, Before>) -> Vec<Trap> {
    let words = Words::of(text);
    let mut found = Vec::new();
    for (statement, deeds) in statements.iter().zip(deeds) {
        for (deed, thing) in &deeds.effects {
            let Thing::Table(table) = thing else { continue };
            let Some(before) = tables.get(table) else { continue };
            match (deed, statement.kind) {
                (Deed::Replace, kind) if makes_a_table(kind) => {
                    found.extend(of_replaced(table, before, statement, &words));
                }
                (Deed::Drop, Kind::AlterTable | Kind::RenameTable) if before.streams => {
                    let what = format!(
                        "`{table}` is renamed while rows are streamed into it: BigQuery refuses that for hours after the last"
                    );
                    found.push(Trap::new(
                        statement.range.start,
                        what,
                        "stop what streams, and wait until its buffer is empty",
                    ));
                }
                _ => {}
            }
        }
    }
    found.extend(one_transaction(statements));
    found.extend(times_without_zone(text, statements, &words));
    found.extend(legacy(text, &words));
    found.sort_by_key(|trap| trap.at);
    found
}

fn makes_a_table(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::CreateTable
            | Kind::CreateTableAsSelect
            | Kind::CreateTableLike
            | Kind::CreateTableCopy
            | Kind::CreateTableClone
    )
}

/// What `CREATE OR REPLACE TABLE` takes away besides the rows.
/// Source: <https://docs.cloud.google.com/bigquery/docs/column-level-security-intro#limitations>.
fn of_replaced(table: &TableRef, before: &Before, statement: &Statement, words: &Words) -> Vec<Trap> {
    let at = statement.range.start;
    let mut found = Vec::new();
    let tagged = tagged(before.meta.fields());
    let instead = "empty it with TRUNCATE TABLE and INSERT the rows: that keeps them; or make them again behind it";
    if !tagged.is_empty() && !matches!(statement.kind, Kind::CreateTableCopy | Kind::CreateTableClone) {
        let columns = tagged.join(", ");
        let what = format!(
            "`{table}` is replaced, and the policy tags of its columns ({columns}) are gone: all may read them"
        );
        found.push(Trap::new(at, what, instead));
    }
    if before.row_policies {
        let what = format!("`{table}` is replaced, and its row access policies are gone: every row is open");
        found.push(Trap::new(at, what, instead));
    }
    if matches!(statement.kind, Kind::CreateTable | Kind::CreateTableAsSelect) {
        let tokens = words.tokens_in(&statement.range);
        let tokens: Vec<&str> = tokens.iter().map(|(_, token)| *token).collect();
        let (was, is) = (before.meta.layout(), layout(&tokens));
        if let Some(is) = is.filter(|is| !is.eq_ignore_ascii_case(&was)) {
            let what = format!("`{table}` is replaced by a table of another layout: was {was}, would be {is}");
            let next = "say PARTITION BY and CLUSTER BY as they are; to change them, DROP the table first";
            found.push(Trap::new(at, what, next));
        }
    }
    found
}

/// The columns that have policy tags or data policies, records' own columns too.
fn tagged(fields: &[Value]) -> Vec<String> {
    let is_tagged = |field: &Value| {
        let lists = ["/policyTags/names", "/dataPolicies", "/dataPolicyList/dataPolicies"];
        lists.iter().any(|list| {
            field
                .pointer(list)
                .and_then(Value::as_array)
                .is_some_and(|names| !names.is_empty())
        })
    };
    let mut found = Vec::new();
    for field in fields {
        let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
        if is_tagged(field) {
            found.push(name.to_owned());
        }
        let inner = field
            .get("fields")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        found.extend(tagged(inner).into_iter().map(|inner| format!("{name}.{inner}")));
    }
    found
}

/// A script that only changes rows, several times, and could be all or nothing.
/// Source: <https://docs.cloud.google.com/bigquery/docs/transactions>.
fn one_transaction(statements: &[Statement]) -> Option<Trap> {
    let harmless =
        |s: &Statement| matches!(s.kind, Kind::Declare | Kind::Set | Kind::Select | Kind::Assert) || s.temporary();
    let all_rows = statements
        .iter()
        .all(|s| s.depth == 0 && (is_dml(s.kind.as_str()) || harmless(s)));
    let mut dml = statements.iter().filter(|s| is_dml(s.kind.as_str()));
    let first = dml.next().filter(|_| all_rows)?;
    let more = dml.count();
    let what = format!(
        "{} statements change rows, each for itself: if a later one fails, the earlier ones stand",
        more + 1
    );
    let next = "could be one transaction: BEGIN TRANSACTION; before them, COMMIT TRANSACTION; behind";
    (more > 0).then(|| Trap::new(first.range.start, what, next))
}

/// `FOR SYSTEM_TIME AS OF '2026-01-01 00:00:00'`: in Los Angeles, unless the script has said where.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/system-variables>.
fn times_without_zone(text: &str, statements: &[Statement], words: &Words) -> Vec<Trap> {
    let mut found = Vec::new();
    for statement in statements {
        if statement.kind == Kind::Set && words.system_in(&statement.range).contains("time_zone") {
            break;
        }
        let own = std::slice::from_ref(&statement.range);
        let ranges = match statement.kind.is_control() {
            true => &statement.expressions,
            false => own,
        };
        for range in ranges {
            found.extend(without_zone(text, range, words));
        }
    }
    found
}

fn without_zone(text: &str, range: &Range<usize>, words: &Words) -> Vec<Trap> {
    let mut found = Vec::new();
    let named = words.in_order(range);
    for four in named.windows(4) {
        let [for_, system_time, as_, (of, _)] = four else {
            continue;
        };
        if (for_.1, system_time.1, as_.1) != ("for", "system_time", "as") || four[3].1 != "of" {
            continue;
        }
        let behind = of + "of".len()..range.end;
        if let Some((at, literal)) = literal_behind(text, &behind).filter(|(_, literal)| !has_zone(literal)) {
            let what = format!("`{literal}` has no time zone: BigQuery reads it as of America/Los_Angeles");
            found.push(Trap::new(
                at,
                what,
                "write the offset, such as +00, or SET @@time_zone at the top",
            ));
        }
    }
    found
}

/// The literal that comes next, but for brackets and the word `TIMESTAMP`; none, if a zone comes behind it.
fn literal_behind<'t>(text: &'t str, range: &Range<usize>) -> Option<(usize, &'t str)> {
    let rest = text.get(range.clone())?;
    let skipped = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let word = skipped.get(..9).filter(|word| word.eq_ignore_ascii_case("timestamp"));
    let skipped = skipped.get(word.map_or(0, str::len)..)?;
    let inner = skipped.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let is_called = skipped.len() - skipped.trim_start().len() < skipped.len() - inner.len();
    let skipped = inner;
    let quote = skipped.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (literal, behind) = skipped[1..].split_once(quote)?;
    let has_zone = is_called && behind.trim_start().starts_with(',');
    (!has_zone).then_some((range.end - skipped.len(), literal))
}

/// Whether a timestamp says where: an offset, `Z`, or a name.
fn has_zone(literal: &str) -> bool {
    let literal = literal.trim();
    // Behind the date a minus is an offset's.
    let time = literal.get(10..).unwrap_or_default();
    literal.ends_with(['z', 'Z']) || time.contains(['+', '-', '/']) || time.to_uppercase().contains("UTC")
}

/// Names and comments of the SQL before GoogleSQL.
/// Source: <https://docs.cloud.google.com/bigquery/docs/introduction-sql#changing_from_the_default_dialect>.
fn legacy(text: &str, words: &Words) -> Vec<Trap> {
    let next = "write `project.dataset.table`: the jobs of these programs are GoogleSQL";
    let mut found = Vec::new();
    let all = 0..text.len();
    for (at, _) in words.tokens_in(&all).into_iter().filter(|(_, token)| *token == "[") {
        let Some((name, _)) = text[at + 1..].split_once(']') else {
            continue;
        };
        let part = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '@'))
        };
        if let Some((project, rest)) = name.split_once(':')
            && let Some((dataset, table)) = rest.split_once('.')
            && part(project)
            && part(dataset)
            && part(table)
        {
            found.push(Trap::new(at, format!("`[{name}]` is a name of legacy SQL"), next));
        }
    }
    let head = text.trim_start();
    if head
        .get(..10)
        .is_some_and(|head| head.eq_ignore_ascii_case("#legacysql"))
    {
        found.push(Trap::new(
            text.len() - head.len(),
            "`#legacySQL` asks for legacy SQL, and these jobs say GoogleSQL: BigQuery refuses what says both",
            "take it out",
        ));
    }
    found
}

#[cfg(test)]
mod tests;
