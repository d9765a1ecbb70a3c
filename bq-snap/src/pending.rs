//! Runs that are still open over the same tables: known to this state directory, or to BigQuery by their snapshots.

use std::collections::BTreeSet;

use bqlib::api::{Api, Listed, Table};
use bqlib::deadline;
use bqlib::exit::{Exit, Failure};
use bqlib::names::{RunId, TableRef};
use bqlib::rivals::{self, Shared};
use bqlib::state::{Run, Status};
use bqlib::tool::Tool;

use crate::absent::Absent;
use crate::planning::{Planned, snapshot_name};

/// Refuses (4) tables that a pending run of this state directory holds.
pub(crate) fn here(runs: &[Run], tables: &BTreeSet<&TableRef>) -> Result<(), Failure> {
    let open = runs.iter().filter(|run| run.is_pending());
    for run in open {
        if let Some(table) = run.tables.keys().find(|table| tables.contains(table)) {
            let next = run
                .restore_end
                .as_ref()
                .map(|end| end.next.clone())
                .filter(|next| !next.is_empty());
            let failure = refused(table, &run.created.run, &format!("is {} and not settled", run.status));
            let failure = deadline::named(failure, run);
            let hint = next.unwrap_or_else(|| failure.hint.clone());
            return Err(Failure { hint, ..failure });
        }
    }
    Ok(())
}

fn refused(table: &TableRef, run: &RunId, how: &str) -> Failure {
    let what = format!("run `{run}` over `{table}` {how}: a second one would make its rollback unsafe");
    Failure::refused(what, format!("table {table}"), format!("bq-restore --run {run}")).about(table)
}

/// What tells other runs' snapshots of these tables, and where they are. A table that is gone may have been there for another run.
pub(crate) fn shared(run: &RunId, planned: &[Planned], absent: &[Absent]) -> Vec<Shared> {
    let there = planned.iter();
    let there = there.filter_map(|p| Shared::of(&p.table, p.location.clone(), &p.snapshot, run));
    let gone = absent.iter().filter_map(|a| {
        let snapshot = snapshot_name(&a.table, run, a.apart.as_ref()).ok()?;
        Shared::of(&a.table, a.location.clone(), &snapshot, run)
    });
    there.chain(gone).collect()
}

/// Refuses (4) tables that a run of another state directory, or another machine, holds: one whose snapshots are not
/// settled and whose migration was submitted. `beside` is what is where the snapshots are to be.
pub(crate) async fn elsewhere(
    tool: &Tool,
    api: &Api<'_>,
    known: &[Run],
    shared: &[Shared],
    beside: &[Listed],
) -> Result<(), Failure> {
    // A run that was abandoned here may have been begun elsewhere under the same ID: it is asked about like any other.
    let known: BTreeSet<&RunId> = known
        .iter()
        .filter(|run| run.status != Status::Abandoned)
        .map(|run| &run.created.run)
        .collect();
    for (run, open) in rivals::open_over(beside, shared) {
        if !known.contains(&run)
            && rivals::migration_of(api, &open, tool.location.as_ref())
                .await?
                .is_some()
        {
            let how = "was begun from another state directory and is not settled";
            let mut failure = refused(&open.table, &run, how);
            failure.hint = format!(
                "bq-restore --run {run}, in the state directory that knows it, or, if that is lost, with the tables or dataset.*"
            );
            return Err(failure);
        }
    }
    Ok(())
}

/// How many clones and snapshots stand between a table and a table of its own; looked up only for clones that are not what a restore of
/// ours leaves: a clone of the table's own snapshot, which is two.
///
/// A chain that leads back to a table already seen (a table restored over itself) or to one that is gone ends there.
pub(crate) async fn depth(api: &Api<'_>, name: &TableRef, table: &Table) -> Result<u32, Failure> {
    let mut seen = BTreeSet::from([name.clone()]);
    let mut depth = 0;
    let mut base = table.clone_of();
    let own = [
        format!("{}_snapshot_", name.table),
        format!("{}__{}_snapshot_", name.dataset, name.table),
    ];
    if base
        .as_ref()
        .is_some_and(|base| own.iter().any(|own| base.table.as_str().starts_with(own)))
    {
        return Ok(2);
    }
    while let Some(name) = base.take() {
        depth += 1;
        if depth >= crate::guard::DEEPEST {
            break;
        }
        let next = api
            .table(&name)
            .await
            .map_err(|e| e.failure(&format!("reading {name}")).with_exit(Exit::Retry))?;
        let further = next.and_then(|t| t.snapshot_of().map(|(base, _)| base).or_else(|| t.clone_of()));
        match further {
            Some(further) if seen.insert(name) && !seen.contains(&further) => base = Some(further),
            Some(_) => {
                depth += 1;
            }
            None => {}
        }
    }
    Ok(depth)
}
