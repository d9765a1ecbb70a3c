//! `--clear`: emptying a table outside the protected set, after keeping a copy, in the run whose rollback leaves it to be emptied.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, Table};
use bqlib::exit::Failure;
use bqlib::names::TableRef;
use bqlib::perform::{Ended, Held, of_job_error, taken};
use bqlib::plan::restore::Request;
use bqlib::record::{Record, Restore, RestoredFrom, Snapshot};
use bqlib::runs::look as look_at;
use bqlib::sql;
use bqlib::state::{Event, Kept, Looks, Run, Step, Undo};
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
    let asked = asked(&held.run(), request);
    let tables = look_at(api, t.jobs, asked.iter()).await?;
    let rows = count(t, api, held, asked.iter(), &tables).await?;
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
    asked.iter().map(one).collect()
}

/// The tables that are asked for, and those that an earlier attempt had begun to empty: a run is not rolled back before they are.
fn asked(run: &Run, request: &Request) -> BTreeSet<TableRef> {
    if request.undo || run.undo == Undo::Begun {
        return BTreeSet::new();
    }
    let open = run.cleared.iter().filter(|(_, cleared)| cleared.looks.is_none());
    let open = open.map(|(table, _)| table.clone());
    open.chain(request.clear.iter().cloned()).collect()
}

/// Those that were emptied, and are not empty any more; each with what it is now, for people.
pub(crate) async fn filled_again(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    tables: &[TableRef],
) -> Result<Vec<String>, Failure> {
    let found = look_at(api, t.jobs, tables.iter()).await?;
    let rows = count(t, api, held, tables.iter(), &found).await?;
    let now = |table: &TableRef| match rows.get(table) {
        Some(0) => None,
        Some(rows) => Some(format!("`{table}` was emptied, and has {rows} rows")),
        None => Some(format!("`{table}` was emptied, and is no table any more")),
    };
    Ok(tables.iter().filter_map(now).collect())
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
    held.note(&[Event::Clearing { table: table.clone() }]).await?;
    let mut now = Some(one.found.clone());
    if rows > 0 {
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
        let there = look_at(api, t.jobs, [table]).await?;
        let counted = count(t, api, held, [table].into_iter(), &there).await?;
        rows = counted.get(table).copied().unwrap_or(0);
        now = there.get(table).cloned().flatten();
    }
    let looks = Looks {
        table: table.clone(),
        modified_ms: now.as_ref().map(Table::modified_ms),
        meta: None,
    };
    held.note(&[Event::Looks(looks)]).await?;
    let kept = held.run().kept(table).cloned();
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
