//! `--clear`: emptying a table outside the protected set, after keeping a copy, in the run whose rollback leaves it to be emptied.

use std::collections::BTreeMap;

use bqlib::api::{Api, Table};
use bqlib::exit::Failure;
use bqlib::names::TableRef;
use bqlib::perform::{Ended, Held, of_job_error, taken};
use bqlib::plan::restore::Request;
use bqlib::record::{Record, Restore, RestoredFrom, Snapshot};
use bqlib::runs::look as look_at;
use bqlib::sql;
use bqlib::state::{Event, Kept, Looks, Step};
use bqlib::tool::Tool;

use crate::keep::keep;
use crate::seen::rows_now;

/// A table that is to be emptied.
pub(crate) struct Clear {
    pub(crate) table: TableRef,
    found: Table,
    rows: u64,
}

/// Looks at the tables to be emptied: before anything is done, each is known to be one that can be.
pub(crate) async fn look(t: &Tool, api: &Api<'_>, held: &Held<'_>, request: &Request) -> Result<Vec<Clear>, Failure> {
    let tables = look_at(api, t.jobs, request.clear.iter()).await?;
    let rows = count(t, api, held, request.clear.iter(), &tables).await?;
    let one = |table: &TableRef| {
        let refuse =
            |what: String, hint: &str| Err(Failure::refused(what, format!("table {table}"), hint).about(table));
        match tables.get(table).and_then(Option::as_ref) {
            None => refuse(
                format!("`{table}` is not there, and cannot be emptied"),
                "leave it out of --clear",
            ),
            Some(found) if found.kind() != "TABLE" => refuse(
                format!("`{table}` is a {}, and cannot be emptied", found.kind().to_lowercase()),
                "leave it out of --clear",
            ),
            Some(found) if found.streaming_buffer().is_some() => refuse(
                format!("`{table}` has rows in the streaming buffer, which no copy of it would keep"),
                "stop the writer, wait until the buffer is written (up to 90 minutes), then run the same command again",
            ),
            Some(found) => Ok(Clear {
                table: table.clone(),
                found: found.clone(),
                rows: rows.get(table).copied().unwrap_or(0),
            }),
        }
    };
    request.clear.iter().map(one).collect()
}

async fn count<'r>(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    tables: impl Iterator<Item = &'r TableRef>,
    found: &BTreeMap<TableRef, Option<Table>>,
) -> Result<BTreeMap<TableRef, u64>, Failure> {
    let counted: Vec<Snapshot> = tables.map(|table| Snapshot::of(&held.id(), table)).collect();
    rows_now(t, api, held, &counted, found).await
}

/// The record of a table that would be emptied.
pub(crate) fn would_be(held: &Held<'_>, one: &Clear) -> Restore {
    Restore {
        run: held.id(),
        table: one.table.clone(),
        from: RestoredFrom::Cleared,
        source: None,
        kept: None,
        until: None,
        rows: Some(one.rows),
        ok: true,
        happened: Some("outside the protected set".to_owned()),
        how: Some("keep a copy, empty it".to_owned()),
        without_table_ms: None,
        to: None,
        ms: None,
        not_restored: Vec::new(),
        salvaged: None,
    }
}

/// Empties a table, a copy of it being kept, and makes sure that it is empty. One that is empty already is left alone.
pub(crate) async fn clear(t: &Tool, api: &Api<'_>, held: &Held<'_>, one: &Clear) -> Result<(), Failure> {
    let table = &one.table;
    let location = t.location.clone().or_else(|| one.found.location());
    let mut rows = one.rows;
    if rows > 0 {
        held.note(&[Event::Clearing { table: table.clone() }]).await?;
        keep(
            api,
            held,
            table,
            &one.found,
            Some(rows),
            Kept::default(),
            location.as_ref(),
        )
        .await?;
        match held
            .statement(api, Step::Clear, Some(table), location.as_ref(), &sql::clear(table))
            .await?
        {
            Ended::Done(_) => {}
            Ended::Failed(e) => {
                return Err(of_job_error(&e, &format!("emptying {table}"), &format!("table {table}")).about(table));
            }
            Ended::Taken(job) => return Err(taken(&job).about(table)),
        }
        let now = look_at(api, t.jobs, [table]).await?;
        rows = count(t, api, held, [table].into_iter(), &now)
            .await?
            .get(table)
            .copied()
            .unwrap_or(0);
        let modified_ms = now.get(table).and_then(Option::as_ref).map(Table::modified_ms);
        let looks = Looks {
            table: table.clone(),
            modified_ms,
            meta: None,
        };
        held.note(&[Event::Looks(looks)]).await?;
    }
    let kept = held
        .run()
        .cleared
        .get(table)
        .and_then(|cleared| cleared.was.as_ref()?.kept.clone());
    let restore = Restore {
        kept,
        rows: Some(rows),
        ok: rows == 0,
        ..would_be(held, one)
    };
    held.note(&[Event::Restored(restore.clone())]).await?;
    let _ = t.out.write(&Record::Restore(restore));
    if rows == 0 {
        return Ok(());
    }
    let what = format!("`{table}` was emptied, and has {rows} rows again: somebody writes to it");
    Err(Failure::refused(
        what,
        format!("table {table}"),
        "stop the writer, then run the same command again",
    )
    .about(table))
}
