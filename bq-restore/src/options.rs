//! Putting back what cloning loses of a table's options, and taking away what it brings: expirations, labels, description and the rest.

use bqlib::api::{Api, ApiError, Table};
use bqlib::exit::{Exit, Failure};
use bqlib::meta::{Patch, patch_in_parts};
use bqlib::names::TableRef;
use bqlib::perform::Held;
use bqlib::state::Step;

use crate::extras::past_expiry;
use crate::put_back::Task;

/// Makes a table's options what they were, in one patch: the table as it is then, and what could not be put back, for people.
pub(crate) async fn put_back_options(
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
) -> Result<(Table, Vec<String>), Failure> {
    let table = task.table;
    let now = read(api, table).await?;
    let mut not_restored: Vec<String> = past_expiry(task.before, api.now()).into_iter().collect();
    let before = task.before.without_past_expiry(api.now());
    let (first, further) = (before.options_patch(&now.meta()), before.further_patches(&now.meta()));
    if first.is_none() && further.is_empty() {
        return Ok((now, not_restored));
    }
    if let Some(body) = first {
        match patch(api, held, table, &body).await? {
            Ok(()) => {}
            Err(e) if is_refused(&e) => not_restored.extend(one_by_one(api, held, table, &body, e).await?),
            Err(e) => return Err(of_patch(&e, table)),
        }
    }
    for (what, body) in further {
        match patch(api, held, table, &body).await? {
            Ok(()) => {}
            Err(e) if is_refused(&e) => not_restored.push(format!("{what}: {e}")),
            Err(e) => return Err(of_patch(&e, table)),
        }
    }
    Ok((read(api, table).await?, not_restored))
}

/// Where BigQuery refuses one part of a patch, the rest is sent by itself: what could not be put back, for people.
async fn one_by_one(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    body: &Patch,
    refused: ApiError,
) -> Result<Vec<String>, Failure> {
    let parts = patch_in_parts(body);
    let (all, mut not_restored) = (parts.len(), Vec::new());
    if all < 2 {
        return Err(of_patch(&refused, table));
    }
    for (name, urgent, part) in parts {
        match patch(api, held, table, &part).await? {
            Ok(()) => {}
            Err(e) if is_refused(&e) && !urgent => not_restored.push(format!("{name}: {e}")),
            Err(e) => return Err(of_patch(&e, table)),
        }
    }
    match not_restored.len() == all {
        // Nothing of it may be changed: that is no matter of one part.
        true => Err(of_patch(&refused, table)),
        false => Ok(not_restored),
    }
}

async fn patch(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    body: &Patch,
) -> Result<Result<(), ApiError>, Failure> {
    let sent = api.patch_table(table, body);
    let ended = held.change(Step::Options, table, "patch", body, sent).await?;
    Ok(ended.map(|_| ()))
}

/// Whether BigQuery said no, and will say so again.
fn is_refused(e: &ApiError) -> bool {
    !e.maybe_happened && matches!(e.status(), Some(400 | 403 | 404))
}

fn of_patch(e: &ApiError, table: &TableRef) -> Failure {
    e.failure(&format!("{} of {table}", Step::Options)).about(table)
}

/// A table that was just put back.
pub(crate) async fn read(api: &Api<'_>, table: &TableRef) -> Result<Table, Failure> {
    let found = api.table(table).await;
    let found = found.map_err(|e| e.failure(&format!("reading {table}")).about(table))?;
    found.ok_or_else(|| {
        let what = format!("`{table}` is gone right after it was restored");
        let hint = "look at who dropped it; its snapshot is there";
        Failure::new(Exit::Unknown, what, format!("table {table}"), hint).about(table)
    })
}
