//! PURE: what bq-restore does next with a run whose journal it holds: give it up, wait for its jobs, compare it again, put it back, or
//! leave it to a person. The way of one table is `way`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;

use super::undo;
use super::way::{self, Expected, Happened, Now, Replaced, Way};
use crate::api::Table;
use crate::exit::{Exit, Failure};
use crate::foreign::jobs::ForeignJob;
use crate::foreign::windows::{Since, windows};
use crate::meta::TableMeta;
use crate::migration::{untold, writes};
use crate::names::TableRef;
use crate::record::{Snapshot, Statement};
use crate::sql::{KEPT, RUN_LABEL, STATE_LABEL};
use crate::state::{Event, Intent, Left, Run, Status, Step, Undo};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these tables; empty: all.
    pub only: Vec<TableRef>,
    /// Others' changes to these tables may be discarded.
    pub discard: Vec<TableRef>,
    /// A person has named the run.
    pub named: bool,
    /// A person has named the run, accepted or not.
    pub even_accepted: bool,
    /// All tables but these.
    pub except: Vec<TableRef>,
    /// Every table is first made beside the live one, and no live one is touched before all of those are good.
    pub stage: bool,
    /// From files, not from snapshots.
    pub from_backup: bool,
    /// Below these directories.
    pub backup_dirs: Vec<PathBuf>,
    /// What an earlier restore replaced is put back.
    pub undo: bool,
    /// Tables outside the protected set that are to be emptied.
    pub clear: Vec<TableRef>,
    /// What others added to tables whose changes may be discarded is copied first.
    pub salvage: bool,
}

impl Request {
    /// Whether it leaves tables of the run out.
    pub fn is_partial(&self) -> bool {
        !self.only.is_empty() || !self.except.is_empty()
    }
}

/// What BigQuery said, as far as it was asked.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The migration's jobs that the journal knows nothing of.
    pub lost: Option<Lost>,
    /// What the migration's jobs did, all of them having ended.
    pub jobs: Option<Jobs>,
    /// The tables and their snapshots.
    pub seen: Option<Seen>,
    /// When a restore job of ours replaced a table, in milliseconds since 1970; `None`: none did.
    pub replaced: BTreeMap<TableRef, Option<u64>>,
    /// Jobs of others that wrote to tables since the cut, of the tables that were asked about; none where BigQuery does not tell.
    pub evidence: BTreeMap<TableRef, Vec<ForeignJob>>,
}

/// Jobs of the migration that a journal without any has lost.
#[derive(Clone, Debug)]
pub enum Lost {
    /// There are none.
    None,
    /// These are this journal's.
    Ours(Vec<Intent>),
    /// Another journal's migration has the ID of the first.
    Elsewhere,
}

/// What the migration's jobs did.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    /// The statements of all of them, in order.
    pub statements: Vec<Statement>,
    /// Whether any of them was ever there.
    pub any: bool,
    /// Whether another journal's migration has the ID of one: the tables and their snapshots are that run's.
    pub elsewhere: bool,
}

/// What BigQuery says of the tables and their snapshots now.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All of them.
    pub tables: BTreeMap<TableRef, Option<Table>>,
    /// The tables' rows, counted in one query.
    pub rows: BTreeMap<TableRef, u64>,
}

/// What comes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Look for jobs of the migration that the journal has lost.
    LookForJobs,
    /// Journal what was found.
    Note(Vec<Event>),
    /// Journal that the run is abandoned; settle its snapshots unless they are another journal's.
    Abandon {
        /// Whether they are settled.
        settle: bool,
    },
    /// Wait until every job of the migration has ended.
    WaitForJobs,
    /// Compare a run that was rolled back with the cut once more, or one whose rollback was undone with what it was before that.
    CompareAgain(Vec<Snapshot>),
    /// Look at these tables and their snapshots, and count.
    Look(Vec<Snapshot>),
    /// Look for the jobs of ours that replaced these tables.
    FindRestores(BTreeSet<TableRef>),
    /// Ask which jobs of others wrote to these tables since the cut.
    FindWriters(BTreeSet<TableRef>),
    /// Put the tables back, each its way, and compare them with the cut.
    PutBack(Vec<Planned>),
    /// Some cannot be put back, so none is: the run is left to a person.
    Stop(Vec<Failure>),
    /// Nothing is done.
    Refuse(Failure),
}

/// A table, and how it is put back.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What it shall be again.
    pub snapshot: Snapshot,
    /// What has happened to it.
    pub happened: Happened,
    /// What is done about it.
    pub way: Way,
    /// Since when what others added to it is looked for and copied, if it is.
    pub salvage: Option<Since>,
}

/// What bq-restore does next.
pub fn plan(run: &Run, facts: &Facts, request: &Request) -> Next {
    if let Err(refused) = has_snapshots(run) {
        return Next::Refuse(refused);
    }
    if request.undo || run.undo == Undo::Begun {
        return undo::plan(run, facts, request);
    }
    if let Err(refused) = not_accepted(run, request) {
        return Next::Refuse(refused);
    }
    // What an undo has done says nothing of a restore that comes after it.
    let again;
    let run = match run.undo {
        Undo::Done => {
            again = run.in_next_round(Undo::No);
            &again
        }
        Undo::No | Undo::Begun => run,
    };
    let statements = match of_the_migration(run, facts, request) {
        Ok(statements) => statements,
        Err(next) => return next,
    };
    if run.status == Status::RolledBack {
        return match request.clear.iter().find(|table| !run.cleared.contains_key(*table)) {
            Some(table) => Next::Refuse(cleared_too_late(run, table)),
            None => Next::CompareAgain(run.tables.values().map(|p| p.snapshot.clone()).collect()),
        };
    }
    let snapshots = match wanted(run, request) {
        Ok(snapshots) => snapshots,
        Err(refused) => return Next::Refuse(refused),
    };
    let Some(seen) = &facts.seen else {
        return Next::Look(snapshots);
    };
    if let Err(refused) = not_accepted_elsewhere(run, seen, request) {
        return Next::Refuse(refused);
    }
    put_back(run, facts, request, snapshots, seen, statements)
}

/// What the migration did, all its jobs having ended; or what comes before that is known, or instead.
fn of_the_migration<'f>(run: &Run, facts: &'f Facts, request: &Request) -> Result<&'f [Statement], Next> {
    let begun = matches!(run.status, Status::Restoring | Status::Stuck | Status::RolledBack);
    // Without a migration of ours all changes are others', and somebody has said which of them are to be lost.
    let asked = run.created.given || (request.named && !request.discard.is_empty());
    let protected = run.status != Status::Snapping && run.tables.values().all(|p| p.verified);
    let without = begun || (asked && protected);
    if !run.was_submitted() {
        return match &facts.lost {
            None => Err(Next::LookForJobs),
            Some(Lost::Ours(jobs)) => Err(Next::Note(jobs.iter().cloned().map(Event::Found).collect())),
            Some(Lost::None) if without => Ok(&[]),
            Some(lost) => Err(over(run, matches!(lost, Lost::Elsewhere))),
        };
    }
    match &facts.jobs {
        None if run.status == Status::Abandoned && !without => Err(over(run, false)),
        None => Err(Next::WaitForJobs),
        Some(jobs) if !jobs.any && (jobs.elsewhere || may_be_abandoned(run)) => Err(over(run, jobs.elsewhere)),
        Some(jobs) if run.status == Status::Abandoned && (jobs.elsewhere || !without) => Err(over(run, jobs.elsewhere)),
        Some(jobs) => Ok(&jobs.statements),
    }
}

/// Refuses (4) a run that protects nothing.
///
/// # Errors
/// It does not.
pub fn has_snapshots(run: &Run) -> Result<(), Failure> {
    let id = &run.created.run;
    match run.created.unprotected {
        false => Ok(()),
        true => Err(Failure::refused(
            format!("run `{id}` was run with `--unprotected`: it has no snapshots"),
            format!("run {id}"),
            "use the tables' own history (time travel)",
        )),
    }
}

fn not_accepted(run: &Run, request: &Request) -> Result<(), Failure> {
    let id = &run.created.run;
    match run.status == Status::Accepted && !request.even_accepted {
        false => Ok(()),
        true => Err(Failure::refused(
            format!("run `{id}` was accepted: it is rolled back only when a person names it"),
            format!("run {id}"),
            format!("bq-restore --run {id} --even-accepted"),
        )),
    }
}

/// A run that this journal calls pending and its snapshots call accepted: its verdict was given from another state directory.
fn not_accepted_elsewhere(run: &Run, seen: &Seen, request: &Request) -> Result<(), Failure> {
    let mut there = seen.tables.values().flatten();
    let accepted = there.any(|t| t.label(STATE_LABEL) == Some(Status::Accepted.name()));
    // A run that was accepted here, and whose rollback a person began, says the same of itself.
    let here = run.verdict.as_ref().is_some_and(|verdict| verdict.accepted);
    if !accepted || here || request.even_accepted {
        return Ok(());
    }
    let id = &run.created.run;
    Err(Failure::refused(
        format!("the snapshots of run `{id}` say that it was accepted, from another state directory"),
        format!("run {id}"),
        format!("bq-restore --run {id} --even-accepted, or bq-check --run {id} --accept"),
    ))
}

/// A table that was to be emptied with a rollback that is over: its copy would be kept in no run.
fn cleared_too_late(run: &Run, table: &TableRef) -> Failure {
    let id = &run.created.run;
    let what = format!("run `{id}` is rolled back already: `{table}` is no longer emptied with it");
    let hint = format!(
        "by hand: bq query --use_legacy_sql=false 'CREATE SNAPSHOT TABLE `{table}_before_{id}` CLONE {0}; TRUNCATE TABLE {0}'",
        table.sql()
    );
    Failure::refused(what, format!("table {table}"), hint).about(table)
}

fn may_be_abandoned(run: &Run) -> bool {
    use Status::*;
    matches!(run.status, Snapping | Protected | Running | Failed | Rejected)
}

/// A run whose migration was not submitted from here and never will be.
fn over(run: &Run, elsewhere: bool) -> Next {
    if may_be_abandoned(run) {
        return Next::Abandon { settle: !elsewhere };
    }
    let id = &run.created.run;
    let at = format!("run {id}");
    Next::Refuse(match elsewhere {
        true => Failure::refused(
            format!(
                "the migration of run `{id}` was submitted from another state directory; from here no table was touched"
            ),
            at,
            "settle it there",
        ),
        false => Failure::new(
            Exit::No,
            format!("the migration of run `{id}` was never submitted: no table was touched, and the run is abandoned"),
            at,
            "nothing is left to do; begin a new run",
        ),
    })
}

/// The protected tables of the run that are asked for.
///
/// # Errors
/// One that is named is not protected by it.
pub fn wanted(run: &Run, request: &Request) -> Result<Vec<Snapshot>, Failure> {
    let only = request.only.iter().map(|table| ("--only", table));
    let except = request.except.iter().map(|table| ("--except", table));
    let discard = request.discard.iter().map(|table| ("--discard-foreign", table));
    let mut named = only.chain(except).chain(discard);
    if let Some((flag, table)) = named.find(|(_, table)| !run.tables.contains_key(*table)) {
        let what = format!("`{table}` is not protected by run `{}`", run.created.run);
        let hint = "name a table of the run; `bq-restore -n` shows them";
        return Err(Failure::usage(what, flag, hint));
    }
    if let Some(table) = request.clear.iter().find(|table| run.tables.contains_key(*table)) {
        let what = format!(
            "`{table}` is protected by run `{}`: restoring puts it back as it was at the cut",
            run.created.run
        );
        return Err(Failure::usage(what, "--clear", "leave it out of --clear"));
    }
    let all = run.tables.values().map(|p| p.snapshot.clone());
    Ok(all
        .filter(|s| request.only.is_empty() || request.only.contains(&s.table))
        .filter(|s| !request.except.contains(&s.table))
        .collect())
}

/// Before which a table is put back: first by its level, then the smaller ones, so that most are back soonest.
pub fn turn(snapshot: &Snapshot) -> (usize, String, u64, TableRef) {
    /// The levels that people use, the gravest first; others come after them, by name, and tables without one last.
    const LEVELS: [&str; 5] = ["CRITICAL", "HIGH", "CORE", "MEDIUM", "LOW"];
    let level = snapshot.level.as_deref().unwrap_or_default().to_uppercase();
    let known = LEVELS.iter().position(|known| *known == level);
    let place = known.unwrap_or(LEVELS.len() + usize::from(level.is_empty()));
    (place, level, snapshot.bytes.unwrap_or(0), snapshot.table.clone())
}

/// The way of each table; or, if one has none, of none.
fn put_back(
    run: &Run,
    facts: &Facts,
    request: &Request,
    snapshots: Vec<Snapshot>,
    seen: &Seen,
    statements: &[Statement],
) -> Next {
    each(run, facts, request, snapshots, |snapshot| {
        let table = &snapshot.table;
        // One whose table is not told may have written this one.
        let written = writes(statements)
            .filter(|(_, written)| *written == table)
            .map(|(s, _)| s);
        let expected = match run.round > 0 && run.is_touched(table) {
            false => Expected::Migration {
                writes: written.chain(untold(statements)).collect(),
                changed_before: run.changed.contains(table),
            },
            // After an undo the tables are as that left them, and not as the migration did.
            true => Expected::Restore(run.left(table)),
        };
        way_of(run, facts, request, snapshot, seen, expected)
    })
}

/// What has happened to each table, and its way or why it has none.
type Judged = (Happened, Result<Way, way::No>, Since);

/// The plan for all tables: their ways if each has one.
pub(super) fn each(
    run: &Run,
    facts: &Facts,
    request: &Request,
    snapshots: Vec<Snapshot>,
    judge: impl Fn(&Snapshot) -> Judged,
) -> Next {
    let (mut ways, mut refusals, mut ask) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut who = BTreeSet::new();
    for snapshot in snapshots {
        let table = snapshot.table.clone();
        let (happened, way, since) = judge(&snapshot);
        // A journal that lost its tail after a restore would take that restore for others' doing.
        let others = way.as_ref().is_err_and(|no| no.others);
        if (others || knows_restore(run, &table)) && !facts.replaced.contains_key(&table) {
            ask.insert(table.clone());
        }
        let named = request.discard.contains(&table);
        let touched = matches!(way, Ok(Way::Restore(_) | Way::Remove { .. }));
        if (others || (touched && !named)) && !facts.evidence.contains_key(&table) {
            who.insert(table);
        }
        match way {
            Ok(way) => ways.push(Planned {
                snapshot,
                happened,
                way,
                salvage: (request.salvage && named && touched).then_some(since),
            }),
            Err(no) => refusals.push(no.why),
        }
    }
    ways.sort_by_cached_key(|planned| turn(&planned.snapshot));
    if !ask.is_empty() {
        return Next::FindRestores(ask);
    }
    match (who.is_empty(), refusals.is_empty()) {
        (false, _) => Next::FindWriters(who),
        (true, false) => Next::Stop(refusals),
        (true, true) => Next::PutBack(ways),
    }
}

fn knows_restore(run: &Run, table: &TableRef) -> bool {
    run.step(Step::Restore, table).is_some()
}

/// What has happened to a table, and its way.
pub(super) fn way_of(
    run: &Run,
    facts: &Facts,
    request: &Request,
    snapshot: &Snapshot,
    seen: &Seen,
    expected: Expected,
) -> Judged {
    let table = &snapshot.table;
    let nothing = TableMeta::default();
    let found = seen.tables.get(table).and_then(Option::as_ref);
    let meta = found.map(Table::meta);
    let rows = seen.rows.get(table).copied();
    let replaced = facts.replaced.get(table).copied().flatten();
    let since = since(run, snapshot, &expected, replaced);
    // What was before a rollback was not written after it.
    let left = match expected {
        Expected::Restore(Left::At(left)) => left,
        Expected::Restore(Left::Gone | Left::Unknown) => 0,
        Expected::Migration { .. } => 0,
    };
    let jobs = facts.evidence.get(table).into_iter().flatten();
    let jobs: Vec<ForeignJob> = jobs.filter(|job| job.ended_ms >= left).cloned().collect();
    let facts = way::Facts {
        table,
        cut: snapshot.cut.or(run.cut).unwrap_or(Timestamp::MAX),
        rows_at_cut: snapshot.rows.map(|rows| rows + snapshot.unprotected_rows.unwrap_or(0)),
        before: (!snapshot.absent).then(|| snapshot.meta.as_ref().unwrap_or(&nothing)),
        now: found.zip(meta.as_ref()).map(|(found, meta)| Now {
            kind: found.kind(),
            streaming: found.streaming_buffer().is_some(),
            modified_ms: found.modified_ms(),
            created_ms: found.created_ms(),
            meta,
            rows,
        }),
        snapshot: usable(run, snapshot, seen),
        from_backup: request.from_backup,
        stage: request.stage,
        expected,
        put_back: found.map_or(Replaced::No, |now| replaced_by_us(run, snapshot, now, rows, replaced)),
        dropped_by_us: dropped_by_us(run, table),
        discard: request.discard.contains(table),
        jobs: &jobs,
        definition: definition(run, table).map(|definition| found.is_some_and(|found| found.is_like(definition))),
    };
    (way::happened(&facts), way::way(&facts), since)
}

/// From when on what was added to a table is others'.
fn since(run: &Run, snapshot: &Snapshot, expected: &Expected, replaced: Option<u64>) -> Since {
    if replaced.is_some() || dropped_by_us(run, &snapshot.table) {
        return Since::PutBack;
    }
    match expected {
        Expected::Restore(Left::At(left)) => Since::Left(*left),
        Expected::Restore(Left::Gone | Left::Unknown) => {
            Since::Ever("it is not known when bq-restore had left it".to_owned())
        }
        Expected::Migration { .. } if snapshot.absent => {
            Since::Ever("it did not exist at the cut, and the migration's rows are among them".to_owned())
        }
        Expected::Migration { writes, .. } => match windows(writes.iter().copied()) {
            Some(windows) => Since::Cut(windows),
            None => Since::CutAsAWhole("BigQuery does not say when the migration's statements ran".to_owned()),
        },
    }
}

/// Of an undo: what is to be in a table's place, if that is no table.
pub fn definition<'r>(run: &'r Run, table: &TableRef) -> Option<&'r Value> {
    let to = run
        .tables
        .get(table)?
        .undo_to
        .as_ref()
        .filter(|_| run.undo != Undo::No)?;
    to.definition.as_ref()
}

/// Whether what was in a table's place was taken away by us, and nothing of ours was put there since.
fn dropped_by_us(run: &Run, table: &TableRef) -> bool {
    let done = |step| {
        let progress = run.step(step, table)?;
        progress
            .outcome
            .as_ref()
            .is_some_and(|o| o.error.is_none())
            .then_some(progress.order)
    };
    match (done(Step::Drop), done(Step::Restore)) {
        (Some(_), None) => !knows_restore(run, table),
        (Some(dropped), Some(restored)) => dropped > restored,
        (None, _) => false,
    }
}

/// Whether the snapshot is there and is of this table and this instant; or, of an undo, is a copy that a restore of this run kept.
pub(super) fn usable<'s>(run: &Run, snapshot: &'s Snapshot, seen: &Seen) -> Result<&'s TableRef, String> {
    let name = snapshot.snapshot.as_ref().ok_or("was never made")?;
    let found = seen.tables.get(name).and_then(Option::as_ref);
    let found = found.ok_or_else(|| format!("`{name}` has expired or was deleted"))?;
    let kept = found.label(RUN_LABEL) == Some(run.created.run.as_str()) && found.label(STATE_LABEL) == Some(KEPT);
    match found.snapshot_of() {
        Some((base, at)) if base == snapshot.table && Some(at) == snapshot.cut => Ok(name),
        // Where BigQuery allowed no snapshot of what was there, its copy is a table.
        None if kept && found.kind() == "TABLE" => Ok(name),
        _ => Err(format!("`{name}` is not of this table and instant")),
    }
}

/// What a restore job of an earlier attempt, that ended at `replaced`, has made of the table. If we died after we had sent its options, it
/// is not known when they arrived; another number of rows is others' doing for certain.
fn replaced_by_us(run: &Run, snapshot: &Snapshot, now: &Table, rows: Option<u64>, replaced: Option<u64>) -> Replaced {
    let Some(replaced) = replaced else { return Replaced::No };
    let table = &snapshot.table;
    let left_now = run.tables.get(table).is_some_and(|p| p.left_in == Some(run.round));
    let as_we_left_it = left_now && run.left(table) == Left::At(now.modified_ms());
    if as_we_left_it || now.modified_ms() <= replaced {
        return Replaced::Yes;
    }
    if left_now || rows != snapshot.rows {
        return Replaced::No;
    }
    match (run.step(Step::Options, table).is_some(), knows_restore(run, table)) {
        (true, _) => Replaced::CannotBeTold,
        // The journal lost that restore and all it did after it: as many rows as at the cut have to do.
        (false, false) => Replaced::Yes,
        (false, true) => Replaced::No,
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{STATUSES, created, deletes, history, run_in, table, there, told};
    use super::*;
    use crate::names::JobId;

    fn word(next: &Next) -> String {
        match next {
            Next::LookForJobs => "look for jobs".to_owned(),
            Next::Note(events) => format!("note {}", events.len()),
            Next::Abandon { settle: true } => "abandon".to_owned(),
            Next::Abandon { settle: false } => "abandon to elsewhere".to_owned(),
            Next::WaitForJobs => "wait".to_owned(),
            Next::CompareAgain(_) => "compare".to_owned(),
            Next::Look(tables) => format!("look at {}", tables.len()),
            Next::FindRestores(tables) => format!("find {}", tables.len()),
            Next::FindWriters(tables) => format!("who wrote to {}", tables.len()),
            Next::PutBack(ways) => {
                let words: Vec<String> = ways.iter().map(|planned| word_of(&planned.way)).collect();
                format!("[{}]", words.join(", "))
            }
            Next::Stop(refusals) => format!("stop {}", refusals.len()),
            Next::Refuse(failure) => format!("refuse {}", failure.exit.code()),
        }
    }

    fn word_of(way: &Way) -> String {
        match way {
            Way::Restore(back) => format!("{:?} {{ doubt: {} }}", back.source, back.doubt),
            other => format!("{other:?}"),
        }
    }

    fn intent(step: Step, b: Option<bool>) -> Intent {
        let table = b.map(table);
        Intent {
            job: Some(JobId::of_step(
                &"r".parse().unwrap(),
                &step.to_string(),
                table.as_ref(),
                1,
            )),
            step,
            table,
            attempt: 1,
            location: None,
            digest: String::new(),
            what: None,
        }
    }

    /// The migration deleted rows of `a`, at 2000 ms; the tables were changed last at these times.
    fn known(any: bool, elsewhere: bool, a_ms: u64, b_ms: u64) -> Facts {
        Facts {
            jobs: Some(Jobs {
                statements: vec![deletes(false, 2000)],
                any,
                elsewhere,
            }),
            seen: Some(Seen {
                tables: there(a_ms, b_ms),
                rows: [(table(false), 90), (table(true), 100)].into(),
            }),
            evidence: [(table(false), Vec::new()), (table(true), Vec::new())].into(),
            ..Facts::default()
        }
    }

    #[test]
    fn every_status_and_every_request() {
        let plain = Request::default();
        let named = Request {
            even_accepted: true,
            ..Request::default()
        };
        let discard = Request {
            discard: vec![table(false)],
            named: true,
            ..Request::default()
        };
        for status in STATUSES {
            let run = run_in(status);
            let first = [&plain, &named, &discard].map(|request| word(&plan(&run, &Facts::default(), request)));
            let want = match status {
                Status::Snapping | Status::Protected | Status::Abandoned => ["look for jobs"; 3],
                Status::Accepted => ["refuse 4", "wait", "refuse 4"],
                _ => ["wait", "wait", "wait"],
            };
            assert_eq!(first, want, "{status}");
            let ended = [(true, false), (false, false), (false, true)]
                .map(|(any, elsewhere)| word(&plan(&run, &known(any, elsewhere, 2000, 0), &named)));
            let ways = "[Clone { doubt: false }, Unchanged]";
            let want = match status {
                Status::Snapping | Status::Protected | Status::Abandoned => ["look for jobs"; 3],
                Status::Running | Status::Failed | Status::Rejected => [ways, "abandon", "abandon to elsewhere"],
                Status::RolledBack => ["compare", "compare", "refuse 4"],
                _ => [ways, ways, "refuse 4"],
            };
            assert_eq!(ended, want, "{status}");
        }
        let unprotected = told(&[created(true), Event::Protected]);
        assert_eq!(word(&plan(&unprotected, &Facts::default(), &named)), "refuse 4");
    }

    #[test]
    fn a_journal_without_a_job_is_not_believed() {
        let lost = |lost: Lost| Facts {
            lost: Some(lost),
            ..Facts::default()
        };
        let ours = Lost::Ours(vec![intent(Step::Migrate(1), None)]);
        for (status, none, elsewhere) in [
            (Status::Snapping, "abandon", "abandon to elsewhere"),
            (Status::Protected, "abandon", "abandon to elsewhere"),
            (Status::Abandoned, "refuse 1", "refuse 4"),
        ] {
            let mut run = run_in(status);
            let request = Request::default();
            assert_eq!(word(&plan(&run, &lost(Lost::None), &request)), none, "{status}");
            assert_eq!(
                word(&plan(&run, &lost(Lost::Elsewhere), &request)),
                elsewhere,
                "{status}"
            );
            let Next::Note(events) = plan(&run, &lost(ours.clone()), &request) else {
                panic!("{status}: what was found is not noted");
            };
            events.iter().for_each(|e| run.apply(Timestamp::UNIX_EPOCH, e).unwrap());
            assert_eq!(run.status, Status::Running);
            assert_eq!(word(&plan(&run, &lost(ours.clone()), &request)), "wait", "{status}");
        }
    }

    #[test]
    fn without_a_migration_a_person_says_what_is_lost() {
        let facts = |ms| Facts {
            lost: Some(Lost::None),
            ..known(false, false, ms, 0)
        };
        let request = |named, discard: &[TableRef]| Request {
            named,
            discard: discard.to_vec(),
            ..Request::default()
        };
        let (a, ways) = ([table(false)], "[Clone { doubt: false }, Unchanged]");
        for status in [Status::Protected, Status::Abandoned] {
            let mut run = run_in(status);
            let over = word(&plan(&run, &facts(2000), &request(true, &[])));
            assert!(over == "abandon" || over == "refuse 1", "{over}");
            assert_eq!(word(&plan(&run, &facts(2000), &request(false, &a))), over);
            assert_eq!(word(&plan(&run, &facts(2000), &request(true, &a))), ways);
            let unseen = Facts {
                seen: None,
                ..facts(2000)
            };
            assert_eq!(word(&plan(&run, &unseen, &request(true, &a))), "look at 2");
            // The other table has changed, too, and was not named. (A restore of ours is asked for first.)
            let mut both = facts(2000);
            both.seen.as_mut().unwrap().tables = there(2000, 2000);
            both.replaced = [(table(true), None)].into();
            assert_eq!(word(&plan(&run, &both, &request(true, &a))), "stop 1");
            // Given snapshots: the same without the run being named.
            run.created.given = true;
            assert_eq!(word(&plan(&run, &facts(2000), &request(false, &a))), ways);
            assert_eq!(
                word(&plan(&run, &facts(0), &request(false, &[]))),
                "[Unchanged, Unchanged]"
            );
        }
        // Once begun, it goes on.
        let mut run = run_in(Status::Protected);
        run.apply(Timestamp::UNIX_EPOCH, &Event::RestoreBegun { only: Vec::new() })
            .unwrap();
        assert_eq!(word(&plan(&run, &facts(2000), &request(false, &a))), ways);
        // A migration from elsewhere is another matter.
        let elsewhere = Facts {
            lost: Some(Lost::Elsewhere),
            ..Facts::default()
        };
        assert_eq!(
            word(&plan(&run_in(Status::Protected), &elsewhere, &request(true, &a))),
            "abandon to elsewhere"
        );
    }

    #[test]
    fn a_restore_that_the_journal_lost_is_not_others_doing() {
        let run = run_in(Status::Rejected);
        let at = |modified_ms: u64, rows: u64, answer: Option<Option<u64>>| {
            let mut facts = known(true, false, modified_ms, 0);
            facts.seen.as_mut().unwrap().rows.insert(table(false), rows);
            facts.replaced.extend(answer.map(|replaced| (table(false), replaced)));
            word(&plan(&run, &facts, &Request::default()))
        };
        let (clone, back) = ("[Clone { doubt: false }, Unchanged]", "[PutBack, Unchanged]");
        for (modified_ms, rows, answer, want) in [
            // As the migration left it: nothing is asked.
            (2000, 90, None, clone),
            // Changed later: was it a restore of ours?
            (5000, 100, None, "find 1"),
            (5000, 100, Some(None), "stop 1"),
            (5000, 100, Some(Some(5000)), back),
            // Its options may have been put back after it: its rows tell.
            (5001, 100, Some(Some(5000)), back),
            (5001, 101, Some(Some(5000)), "stop 1"),
        ] {
            assert_eq!(at(modified_ms, rows, answer), want, "{modified_ms} {rows} {answer:?}");
        }
        // A journal that knows that options were sent, and not when they arrived: as many rows tell nothing, others may have written.
        let sent = [Step::Restore, Step::Options].map(|step| Event::Intent(intent(step, Some(false))));
        let run = told(&[&history(Status::Restoring)[..], &sent].concat());
        let mut facts = known(true, false, 5001, 0);
        facts.seen.as_mut().unwrap().rows.insert(table(false), 100);
        facts.replaced.insert(table(false), Some(5000));
        let next = word(&plan(&run, &facts, &Request::default()));
        assert_eq!(next, "[Clone { doubt: true }, Unchanged]");
        // A restore that the journal knows is always asked about.
        let begun = [Event::Intent(intent(Step::Restore, Some(false)))];
        let run = told(&[&history(Status::Restoring)[..], &begun].concat());
        let next = plan(&run, &known(true, false, 2000, 0), &Request::default());
        assert_eq!(word(&next), "find 1");
    }

    #[test]
    fn others_are_asked_for_before_a_table_is_replaced() {
        let run = run_in(Status::Rejected);
        let mut facts = known(true, false, 2000, 0);
        facts.evidence.clear();
        let request = Request::default();
        assert_eq!(word(&plan(&run, &facts, &request)), "who wrote to 1");
        // What may be lost is asked about no more.
        let discard = Request {
            discard: vec![table(false)],
            ..Request::default()
        };
        assert_eq!(
            word(&plan(&run, &facts, &discard)),
            "[Clone { doubt: false }, Unchanged]"
        );
        // Nobody is known: as without having asked. A job is: it is told.
        facts.evidence.insert(table(false), Vec::new());
        assert_eq!(
            word(&plan(&run, &facts, &request)),
            "[Clone { doubt: false }, Unchanged]"
        );
        let job = ForeignJob {
            id: "j".to_owned(),
            who: Some("ann@example.com".to_owned()),
            created_ms: 1500,
            ended_ms: 1600,
            kind: "UPDATE".to_owned(),
            rows: Some(1),
        };
        facts.evidence.insert(table(false), vec![job]);
        // A restore of ours that the journal lost is asked for first.
        assert_eq!(word(&plan(&run, &facts, &request)), "find 1");
        facts.replaced.insert(table(false), None);
        let Next::Stop(refusals) = plan(&run, &facts, &request) else {
            panic!("others' write is not refused");
        };
        assert!(
            refusals[0]
                .what
                .ends_with("by ann@example.com at 1970-01-01T00:00:01.6Z (UPDATE, 1 row, job j)"),
            "{}",
            refusals[0].what
        );
    }

    #[test]
    fn what_is_salvaged_is_what_may_be_lost() {
        let run = run_in(Status::Rejected);
        let facts = known(true, false, 2000, 0);
        let ask = |salvage, discard: &[TableRef]| {
            let request = Request {
                salvage,
                discard: discard.to_vec(),
                ..Request::default()
            };
            match plan(&run, &facts, &request) {
                Next::PutBack(ways) => ways
                    .into_iter()
                    .filter_map(|planned| planned.salvage)
                    .collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ask(false, &[table(false)]), []);
        assert_eq!(ask(true, &[table(true)]), [], "it is not touched");
        // The statements of these tests have no beginning.
        assert!(matches!(ask(true, &[table(false)])[..], [Since::CutAsAWhole(_)]));
    }

    #[test]
    fn guards_of_the_whole_run() {
        let run = run_in(Status::Rejected);
        let mut facts = known(true, false, 2000, 0);
        let no_such = Request {
            only: vec![TableRef::parse("p.d.c", None).unwrap()],
            ..Request::default()
        };
        assert_eq!(word(&plan(&run, &facts, &no_such)), "refuse 2");
        let one = Request {
            only: vec![table(true)],
            ..Request::default()
        };
        assert_eq!(word(&plan(&run, &facts, &one)), "[Unchanged]");
        let accepted = super::super::laws::snapshot_of(false, "accepted");
        let seen = facts.seen.as_mut().unwrap();
        seen.tables.insert(super::super::laws::copy(false), Some(accepted));
        assert_eq!(word(&plan(&run, &facts, &one)), "refuse 4");
        let named = Request {
            even_accepted: true,
            ..one
        };
        assert_eq!(word(&plan(&run, &facts, &named)), "[Unchanged]");
    }
}
