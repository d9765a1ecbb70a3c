//! PURE: what bq-restore does next to undo a rollback: what its restore replaced is put back, by the rules by which that was restored.

use super::restore::{Facts, Next, Request, each, way_of};
use super::way::Expected;
use crate::exit::{Exit, Failure};
use crate::names::TableRef;
use crate::record::Snapshot;
use crate::state::{Kept, Run, Status, Undo};

/// What comes next of an undo.
pub(super) fn plan(run: &Run, facts: &Facts, request: &Request) -> Next {
    if let Err(refused) = may_be_undone(run, request) {
        return Next::Refuse(refused);
    }
    if run.undo == Undo::Done && run.status == Status::Accepted {
        return Next::CompareAgain(targets(run));
    }
    let begun = run.undo == Undo::Begun;
    let run = &match begun {
        true => run.clone(),
        false => run.in_next_round(Undo::Begun),
    };
    let targets = targets(run);
    let id = &run.created.run;
    if targets.is_empty() {
        let what = format!("nothing is to be undone: bq-restore has replaced no table of run `{id}`");
        return Next::Refuse(Failure::new(
            Exit::No,
            what,
            format!("run {id}"),
            "`bq-restore --list` shows the runs",
        ));
    }
    let named = |table: &TableRef| targets.iter().any(|target| target.table == *table);
    if let Some(table) = request.discard.iter().find(|table| !named(table)) {
        let what = format!("`{table}` is no table that bq-restore has replaced in run `{id}`");
        return Next::Refuse(Failure::usage(what, "--discard-foreign", "name a table of the run"));
    }
    let Some(seen) = &facts.seen else {
        return Next::Look(targets);
    };
    let mut facts = facts.clone();
    if !begun {
        // No restore of this round can have replaced anything yet.
        facts.replaced = targets.iter().map(|target| (target.table.clone(), None)).collect();
    }
    each(run, &facts, request, targets, |target| {
        way_of(
            run,
            &facts,
            request,
            target,
            seen,
            Expected::Restore(run.left(&target.table)),
        )
    })
}

fn may_be_undone(run: &Run, request: &Request) -> Result<(), Failure> {
    let id = &run.created.run;
    let refuse = |what: String, hint: &str| Err(Failure::refused(what, format!("run {id}"), hint));
    match (run.undo, run.status) {
        (Undo::Begun, _) if request.is_partial() => refuse(
            format!("the rollback of run `{id}` is being undone, which is done as a whole"),
            "leave out --only and --except",
        ),
        (Undo::Begun, _) => Ok(()),
        _ if !request.named => Err(Failure::usage(
            "`--undo` takes a run that is named",
            "--undo",
            "bq-restore --undo --run ID",
        )),
        (Undo::Done, Status::Accepted) => Ok(()),
        (_, Status::RolledBack | Status::Stuck | Status::Restoring) => Ok(()),
        (_, status) => refuse(
            format!("run `{id}` is {status}: there is no rollback of it to undo"),
            "`bq-restore --list` shows the runs",
        ),
    }
}

/// What an undo puts back, whether it has begun or not.
pub fn tables(run: &Run) -> Vec<Snapshot> {
    match run.undo {
        Undo::No => targets(&run.in_next_round(Undo::Begun)),
        Undo::Begun | Undo::Done => targets(run),
    }
}

/// What an undo puts back: every table that the restore replaced, as it was before that.
fn targets(run: &Run) -> Vec<Snapshot> {
    let of_tables = run.tables.iter().filter_map(|(table, protected)| {
        let level = protected.snapshot.level.clone();
        Some(target(run, table, protected.undo_to.as_ref()?, level))
    });
    let of_cleared = run.cleared.iter();
    let of_cleared =
        of_cleared.filter_map(|(table, cleared)| Some(target(run, table, cleared.undo_to.as_ref()?, None)));
    of_tables.chain(of_cleared).collect()
}

fn target(run: &Run, table: &TableRef, was: &Kept, level: Option<String>) -> Snapshot {
    Snapshot {
        absent: was.kept.is_none(),
        snapshot: was.kept.clone(),
        cut: was.cut,
        rows: was.rows,
        level,
        meta: was.meta.clone(),
        ..Snapshot::of(&run.created.run, table)
    }
}
