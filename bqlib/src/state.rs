//! PURE: what can happen to a run, and what the run is after it happened.
//!
//! The live programs and every recovery go through one function, [`Run::apply`], so an impossible history is refused in
//! one place. Knows no file, no network, no clock. The table of statuses is in `docs/protocol.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::from_millis;
use crate::meta::TableMeta;
use crate::names::{JobId, Location, ProjectId, RunId, TableRef};
use crate::record::{Migration, MigrationState, Restore, Salvaged, Snapshot};

/// The version of the journal; a journal of a later one is refused.
pub const VERSION: u32 = 1;

/// What has happened, one line of the journal each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run exists.
    Created(Created),
    /// A process holds the run's lock from here on, until the next of these.
    Opened(Holder),
    /// A table will be protected: its pre-image, and the snapshot's name. Rows and cut are not known yet.
    Table(Snapshot),
    /// The instant was taken.
    Cut {
        /// Whole milliseconds of BigQuery's clock.
        cut: Timestamp,
    },
    /// A call that changes BigQuery is about to be sent.
    Intent(Intent),
    /// It ended.
    Outcome(Outcome),
    /// A job of the migration is in BigQuery, and the journal, whose tail was lost, knew nothing of it: the intent it must have had.
    Found(Intent),
    /// A table's snapshot was read back and holds the table as of the cut.
    Verified(Snapshot),
    /// Every table of the run is verified.
    Protected,
    /// These tables were changed by others between the cut and the migration.
    Changed {
        /// Which.
        tables: Vec<TableRef>,
    },
    /// A file of the migration ended.
    Ended(Migration),
    /// How a protected table looks after the migration.
    Looks(Looks),
    /// Every file of the migration ended well.
    Migrated,
    /// The migration did not end well.
    Failed {
        /// Why.
        what: String,
    },
    /// The migration is good, or it is not.
    Verdict(Judgement),
    /// The run ended without its migration ever having been submitted.
    Abandoned,
    /// bq-restore begins to put tables back.
    RestoreBegun {
        /// The tables named by `--only`; empty: all.
        only: Vec<TableRef>,
    },
    /// What was there before a restore is kept, or there was nothing.
    Kept(Box<Kept>),
    /// Rows that others wrote to a table are in one of their own, or there were none.
    Salvaged(Saved),
    /// bq-restore begins to put back what its restore had replaced.
    UndoBegun,
    /// A table outside the protected set is about to be emptied.
    Clearing {
        /// Which.
        table: TableRef,
    },
    /// A table was put back and compared with the cut, or found unchanged.
    Restored(Restore),
    /// bq-restore has done what it could.
    RestoreEnded(RestoreEnd),
    /// A snapshot of the run was read back with an expiry that a person asked for.
    Extended {
        /// The table that it protects.
        table: TableRef,
        /// When the snapshot expires now.
        expires: Timestamp,
    },
    /// The run's snapshots were given their last expiry and label.
    Settled {
        /// When they expire; absent: never.
        expires: Option<Timestamp>,
    },
}

/// How a run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// The version of the journal.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// The project that its jobs run in.
    pub project: ProjectId,
    /// The API endpoint.
    pub endpoint: String,
    /// The program that began it.
    pub tool: String,
    /// The program's version.
    pub version: String,
    /// A word of chance in the labels of the run's jobs: tells this run's cut from that of another run with the same ID.
    pub nonce: String,
    /// True: bq-run without a stream; nothing is protected, and the run is never pending.
    pub unprotected: bool,
    /// How long snapshots live once the run is settled, in milliseconds; absent: for ever.
    pub keep_ms: Option<u64>,
    /// True: bq-restore was given snapshots that somebody else made. What was done to the tables since is not known, and what becomes of
    /// the snapshots is not ours to say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given: bool,
}

/// Who holds a run's lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The program.
    pub tool: String,
    /// Its process.
    pub pid: u32,
    /// Its machine.
    pub host: String,
}

/// A step of a run that changes BigQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Take the cut, and claim the run ID.
    Cut,
    /// Snapshot a table.
    Snapshot,
    /// Make known to other runs that the migration is about to be submitted.
    Announce,
    /// Run a file of the migration, counted from 1.
    Migrate(u32),
    /// Keep what is there before restoring, under the name number so many.
    Keep(u32),
    /// Make a table beside the live one, of one source so numbered, to be looked at before the live one is touched.
    Stage(u32),
    /// Load a further file of an export into a table beside the live one, so numbered: the first is that table's [`Step::Stage`].
    Part(u32),
    /// Make an empty table of the pre-image's columns and layout, where a source has lost them.
    Shape,
    /// Fill it.
    Fill,
    /// Take away the table or view that is in the way.
    Drop,
    /// Put a table back.
    Restore,
    /// Put its options back.
    Options,
    /// Put back the IAM policy that went with a drop.
    Access,
    /// Put row access policies back.
    Policies,
    /// Empty a table outside the protected set.
    Clear,
    /// Copy rows that others wrote to a table of their own, in pieces so numbered.
    Salvage(u32),
    /// Take away a table made beside the live one, so numbered.
    Unstage(u32),
    /// Make a table in another dataset, as a protected one was at the cut. The step's table is the one that is made.
    Beside,
    /// Give such a table its options, and take our labels off it.
    Release,
    /// Make a scratch table, to see that a protected one could be made again. The step's table is the scratch table.
    Rehearse,
    /// Give a snapshot its last expiry and label.
    Settle,
    /// Remove a settled run's snapshot.
    Remove,
    /// Let a snapshot live longer.
    Extend,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Cut => f.write_str("cut"),
            Step::Snapshot => f.write_str("snapshot"),
            Step::Announce => f.write_str("announce"),
            Step::Migrate(file) => write!(f, "migrate{file}"),
            Step::Keep(number) => write!(f, "keep{number}"),
            Step::Stage(number) => write!(f, "stage{number}"),
            Step::Part(number) => write!(f, "part{number}"),
            Step::Shape => f.write_str("shape"),
            Step::Fill => f.write_str("fill"),
            Step::Drop => f.write_str("drop"),
            Step::Restore => f.write_str("restore"),
            Step::Options => f.write_str("options"),
            Step::Access => f.write_str("access"),
            Step::Policies => f.write_str("policies"),
            Step::Clear => f.write_str("clear"),
            Step::Salvage(number) => write!(f, "salvage{number}"),
            Step::Unstage(number) => write!(f, "unstage{number}"),
            Step::Beside => f.write_str("beside"),
            Step::Release => f.write_str("release"),
            Step::Rehearse => f.write_str("rehearse"),
            Step::Settle => f.write_str("settle"),
            Step::Remove => f.write_str("remove"),
            Step::Extend => f.write_str("extend"),
        }
    }
}

impl Step {
    /// Whether it only makes, fills or takes away tables of ours beside the live ones.
    fn is_beside(self) -> bool {
        let of_restore = matches!(
            self,
            Step::Stage(_) | Step::Part(_) | Step::Shape | Step::Fill | Step::Salvage(_) | Step::Unstage(_)
        );
        of_restore || matches!(self, Step::Beside | Step::Release | Step::Rehearse)
    }

    /// Whether it is part of putting tables back.
    fn is_of_restore(self) -> bool {
        use Step::*;
        let live = matches!(self, Keep(_) | Drop | Restore | Options | Access | Policies | Clear);
        live || self.is_beside()
    }
}

/// A call that is about to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What for.
    pub step: Step,
    /// On which table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRef>,
    /// Which attempt, from 1. A failed job's ID is never used again.
    pub attempt: u32,
    /// The job, if it is one (else it is a patch).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Where the job runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Digest of SQL, parameters and labels: what makes a job of this ID ours. See `api::job`.
    pub digest: String,
    /// The SQL or patch, where it is our own. A migration's is in its file, and told apart by its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<Value>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What for.
    pub step: Step,
    /// On which table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRef>,
    /// Which attempt.
    pub attempt: u32,
    /// Absent: done. Else why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// True: it could not be learned whether it happened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// How a table looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looks {
    /// The table.
    pub table: TableRef,
    /// When it was last changed, milliseconds since 1970; absent: there is no such table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<u64>,
    /// The rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<TableMeta>,
}

/// A verdict, in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether it is good.
    pub accepted: bool,
    /// True: a person said so (`--accept`, `--reject`).
    pub by_person: bool,
    /// Why.
    pub because: String,
}

/// What was in a table's place before a restore replaced it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The table.
    pub table: Option<TableRef>,
    /// Its copy; absent: there was no table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<TableRef>,
    /// The instant of that copy, if it is a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Timestamp>,
    /// Its rows, if they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Its schema, layout and options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<TableMeta>,
    /// Of a view or another that is no table: all that `tables.get` said, of which it can be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Value>,
    /// Its own IAM policy, where it had to be dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Value>,
    /// What stood on it that no rollback puts back, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond: Vec<String>,
}

/// Rows that others wrote, copied before a restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The table that they were in.
    pub of: TableRef,
    /// The copy of what was there that they were found in.
    pub kept: TableRef,
    /// Where they are.
    #[serde(flatten)]
    pub salvaged: Salvaged,
}

/// How a restore ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreEnd {
    /// The exit code.
    pub code: u8,
    /// Whether only some tables were asked for.
    pub only: bool,
    /// Tables that do not equal the cut, with their snapshots.
    pub left: Vec<TableRef>,
    /// What to type next.
    pub next: String,
}

/// What a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Snapshots are being made.
    Snapping,
    /// Every table has its snapshot; nothing was submitted.
    Protected,
    /// Never submitted, and never will be.
    Abandoned,
    /// The migration was, or may have been, submitted.
    Running,
    /// It did not end well.
    Failed,
    /// It ended well and waits for a verdict.
    Migrated,
    /// It is not good.
    Rejected,
    /// It is good.
    Accepted,
    /// Tables are being put back.
    Restoring,
    /// Every table equals the cut.
    RolledBack,
    /// bq-restore could not put everything back: a person is needed.
    Stuck,
}

impl Status {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Snapping => "snapping",
            Status::Protected => "protected",
            Status::Abandoned => "abandoned",
            Status::Running => "running",
            Status::Failed => "failed",
            Status::Migrated => "migrated",
            Status::Rejected => "rejected",
            Status::Accepted => "accepted",
            Status::Restoring => "restoring",
            Status::RolledBack => "rolled-back",
            Status::Stuck => "stuck",
        }
    }

    /// Whether the run still has to be settled: submitted, and neither accepted nor rolled back.
    pub fn is_pending(self) -> bool {
        use Status::*;
        matches!(self, Running | Failed | Migrated | Rejected | Restoring | Stuck)
    }

    /// Whether the run has come to an end that nothing follows unless a person asks.
    pub fn is_settled(self) -> bool {
        matches!(self, Status::Accepted | Status::RolledBack | Status::Abandoned)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An event that cannot follow what is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Impossible {
    /// The status, if there is a run.
    pub status: Option<Status>,
    /// The event's name.
    pub event: &'static str,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or("not begun", Status::name);
        write!(f, "`{}` cannot happen to a run that is {status}", self.event)
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Event::Created(_) => "created",
            Event::Opened(_) => "opened",
            Event::Table(_) => "table",
            Event::Cut { .. } => "cut",
            Event::Intent(_) => "intent",
            Event::Outcome(_) => "outcome",
            Event::Found(_) => "found",
            Event::Verified(_) => "verified",
            Event::Protected => "protected",
            Event::Changed { .. } => "changed",
            Event::Ended(_) => "ended",
            Event::Looks(_) => "looks",
            Event::Migrated => "migrated",
            Event::Failed { .. } => "failed",
            Event::Verdict(_) => "verdict",
            Event::Abandoned => "abandoned",
            Event::RestoreBegun { .. } => "restore_begun",
            Event::Kept(_) => "kept",
            Event::Salvaged(_) => "salvaged",
            Event::UndoBegun => "undo_begun",
            Event::Clearing { .. } => "clearing",
            Event::Restored(_) => "restored",
            Event::RestoreEnded(_) => "restore_ended",
            Event::Extended { .. } => "extended",
            Event::Settled { .. } => "settled",
        }
    }
}

/// The status after an event. `before` is the status that a restore under way began from.
///
/// # Errors
/// The event cannot happen now: the journal is damaged, or a program has a bug.
pub fn next_status(status: Option<Status>, before: Option<Status>, event: &Event) -> Result<Status, Impossible> {
    use Status::*;
    let impossible = Impossible {
        status,
        event: event.name(),
    };
    let Some(now) = status else {
        return match event {
            Event::Created(_) => Ok(Snapping),
            _ => Err(impossible),
        };
    };
    let step = match event {
        Event::Intent(intent) => Some(intent.step),
        Event::Outcome(outcome) => Some(outcome.step),
        _ => None,
    };
    Ok(match (now, event) {
        (_, Event::Created(_)) => return Err(impossible),
        (_, Event::Opened(_)) => now,
        // Whatever becomes of a run, its snapshots may live longer; one that is still snapping has none to rely on.
        (Snapping, Event::Extended { .. }) => return Err(impossible),
        (_, Event::Extended { .. }) => now,
        (_, _) if step == Some(Step::Extend) && now != Snapping => now,
        (Snapping | Protected, Event::Verified(_)) => now,
        (Snapping, Event::Table(_) | Event::Cut { .. }) => now,
        (Snapping | Protected, Event::Protected) => Protected,
        (Protected, Event::Changed { .. }) => Protected,
        (Protected, _) if step == Some(Step::Announce) => Protected,
        (Snapping | Protected, _) if matches!(step, Some(Step::Cut | Step::Snapshot)) => now,
        (Snapping | Protected | Running | Failed | Rejected, Event::Abandoned) => Abandoned,
        // An outcome without its intent would make a run that was submitted and knows no job.
        (Protected, Event::Intent(i)) if matches!(i.step, Step::Migrate(_)) => Running,
        (Running, _) if matches!(step, Some(Step::Migrate(_))) => Running,
        // A journal that knows how the migration ended has not lost its beginning.
        (Snapping | Protected | Abandoned | Running, Event::Found(i)) if matches!(i.step, Step::Migrate(_)) => Running,
        // A restore that began without a migration of ours, and there was one.
        (Restoring | Stuck | RolledBack | Accepted, Event::Found(i)) if matches!(i.step, Step::Migrate(_)) => now,
        (Running, Event::Ended(_) | Event::Looks(_)) => Running,
        (Running, Event::Migrated) => Migrated,
        (Running, Event::Failed { .. }) => Failed,
        (Migrated, Event::Verdict(v)) if v.accepted => Accepted,
        // Only a person may overrule a no; and a yes is repeated, never turned, by a program.
        (Rejected | Accepted, Event::Verdict(v)) if v.accepted && (v.by_person || now == Accepted) => Accepted,
        // Stuck before anything was touched: a guard refused the restore, and a person may still say that it is good.
        (Stuck, Event::Verdict(v)) if v.accepted && v.by_person => Accepted,
        (Running | Failed | Migrated | Rejected, Event::Verdict(v)) if !v.accepted => Rejected,
        (Running | Failed | Migrated | Rejected | Stuck | Accepted | Restoring, Event::RestoreBegun { .. }) => {
            Restoring
        }
        // No migration of ours, but a person who wants the tables back as they were all the same.
        (Protected | Abandoned, Event::RestoreBegun { .. }) => Restoring,
        (RolledBack | Accepted | Stuck | Restoring, Event::UndoBegun) => Restoring,
        (
            Restoring,
            Event::Kept(_) | Event::Salvaged(_) | Event::Restored(_) | Event::Looks(_) | Event::Clearing { .. },
        ) => Restoring,
        (Restoring, _) if step.is_some_and(Step::is_of_restore) => Restoring,
        // No live table is touched by what is made beside it.
        (now, _) if now != Snapping && step.is_some_and(Step::is_beside) => now,
        (Restoring, Event::RestoreEnded(end)) => match (end.left.is_empty() && matches!(end.code, 0 | 10), end.only) {
            (true, false) => RolledBack,
            (true, true) => before.unwrap_or(Stuck),
            (false, _) => Stuck,
        },
        // A restore that a guard refused before it began has still left the run with a person.
        (Running | Failed | Migrated | Rejected | Stuck, Event::RestoreEnded(_)) => Stuck,
        (Accepted | RolledBack | Abandoned, Event::Settled { .. }) => now,
        (Accepted | RolledBack | Abandoned, _) if matches!(step, Some(Step::Settle | Step::Remove)) => now,
        _ => return Err(impossible),
    })
}

/// How far a step has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The latest intent.
    pub intent: Intent,
    /// Its outcome, if it is known.
    pub outcome: Option<Outcome>,
    /// When the intent was written.
    pub since: Timestamp,
    /// Which event of the run the intent was: clocks may stand still or go back.
    pub order: u64,
    /// In which round of restoring and undoing.
    pub round: u32,
}

/// A protected table.
#[derive(Clone, Debug)]
pub struct Protected {
    /// What is known of its protection; complete once verified.
    pub snapshot: Snapshot,
    /// Whether the snapshot was read back.
    pub verified: bool,
    /// When the snapshot expires, as the last call left it; absent: never, or not known.
    pub expires: Option<Timestamp>,
    /// How the table looked after the migration, or after a restore of ours.
    pub looks: Option<Looks>,
    /// The round of the restore after which it looked so; absent: it was after the migration.
    pub left_in: Option<u32>,
    /// The newest copy of what was there before a restore.
    pub kept: Option<TableRef>,
    /// What was there before the restore of this round touched it.
    pub was: Option<Kept>,
    /// What an undo puts back: what was there before the round before this.
    pub undo_to: Option<Kept>,
    /// What others had written that is in a table of its own, of this round.
    pub salvaged: Option<Saved>,
    /// The newest result of a restore.
    pub restored: Option<Restore>,
}

/// How a table was when we last saw to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// That is not known.
    Unknown,
    /// There was none.
    Gone,
    /// Last changed at this time, in milliseconds since 1970.
    At(u64),
}

/// A table outside the protected set that was to be emptied.
#[derive(Clone, Debug, Default)]
pub struct Cleared {
    /// What was in it, once that is kept.
    pub was: Option<Kept>,
    /// What an undo puts back.
    pub undo_to: Option<Kept>,
    /// How it looked after it was emptied.
    pub looks: Option<Looks>,
}

/// How far the undo of a rollback has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// None was asked for since the last restore began.
    No,
    /// It is under way.
    Begun,
    /// It is done: the tables are as they were before the rollback.
    Done,
}

/// A run: everything its journal says.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it began.
    pub created: Created,
    /// What it is.
    pub status: Status,
    /// What it was when a restore under way began.
    before_restore: Option<Status>,
    /// When the status changed last, or anything of the migration happened.
    pub touched: Timestamp,
    /// Who held its lock last, and since when.
    pub holder: Option<(Holder, Timestamp)>,
    /// The instant of its snapshots.
    pub cut: Option<Timestamp>,
    /// Its tables, by name.
    pub tables: BTreeMap<TableRef, Protected>,
    /// Its tables that others changed between the cut and the migration.
    pub changed: BTreeSet<TableRef>,
    /// Tables outside the protected set that were to be emptied, and what was in them.
    pub cleared: BTreeMap<TableRef, Cleared>,
    /// How many events its journal has.
    pub events: u64,
    /// How often it turned from restoring to undoing and back: what was done in an earlier round says nothing of this one.
    pub round: u32,
    /// Whether an undo of its rollback is under way, or was the last thing done.
    pub undo: Undo,
    /// Its steps.
    pub steps: BTreeMap<(Step, Option<TableRef>), Progress>,
    /// The files of its migration that ended.
    pub migrations: Vec<Migration>,
    /// Whether a restore of all its tables has ever begun: from then on a person can no longer accept it.
    pub restore_begun: bool,
    /// The last verdict.
    pub verdict: Option<Judgement>,
    /// How the last restore ended.
    pub restore_end: Option<RestoreEnd>,
    /// When its snapshots expire, once that is settled.
    pub settled: Option<Option<Timestamp>>,
}

impl Run {
    /// The run that an event begins.
    ///
    /// # Errors
    /// The event is not `created`.
    pub fn begin(at: Timestamp, event: &Event) -> Result<Run, Impossible> {
        let status = next_status(None, None, event)?;
        let Event::Created(created) = event else {
            return Err(Impossible {
                status: None,
                event: event.name(),
            });
        };
        Ok(Run {
            created: created.clone(),
            status,
            before_restore: None,
            touched: at,
            holder: None,
            cut: None,
            tables: BTreeMap::new(),
            changed: BTreeSet::new(),
            cleared: BTreeMap::new(),
            events: 1,
            round: 0,
            undo: Undo::No,
            steps: BTreeMap::new(),
            migrations: Vec::new(),
            restore_begun: false,
            verdict: None,
            restore_end: None,
            settled: None,
        })
    }

    /// The run after an event.
    ///
    /// # Errors
    /// The event cannot happen to it; the run is as it was.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), Impossible> {
        // After a restore of all tables began, one of a few does not bring back what was before it.
        let before = self.before_restore.filter(|_| !self.restore_begun);
        let mut status = next_status(Some(self.status), before, event)?;
        let ended = matches!(event, Event::RestoreEnded(_)) && status != Status::Stuck;
        if self.undo == Undo::Begun && ended {
            // What it was rolled back from is there again, because a person said so: nothing may roll it back again unasked.
            status = Status::Accepted;
        }
        self.events += 1;
        match event {
            Event::Opened(holder) => self.holder = Some((holder.clone(), at)),
            Event::Table(snapshot) | Event::Verified(snapshot) => {
                let verified = matches!(event, Event::Verified(_));
                self.tables.insert(
                    snapshot.table.clone(),
                    Protected {
                        snapshot: snapshot.clone(),
                        verified,
                        expires: snapshot.expires,
                        looks: None,
                        left_in: None,
                        kept: None,
                        was: None,
                        undo_to: None,
                        salvaged: None,
                        restored: None,
                    },
                );
            }
            Event::Cut { cut } => self.cut = Some(*cut),
            Event::Changed { tables } => self.changed.extend(tables.iter().cloned()),
            Event::Intent(intent) | Event::Found(intent) => {
                if matches!(event, Event::Found(_)) {
                    // What an abandoned run's snapshots were given was given in error: they are to be settled anew.
                    self.settled = None;
                }
                let key = (intent.step, intent.table.clone());
                let progress = Progress {
                    intent: intent.clone(),
                    outcome: None,
                    since: at,
                    order: self.events,
                    round: self.round,
                };
                self.steps.insert(key, progress);
            }
            Event::Outcome(outcome) => {
                if let Some(progress) = self.steps.get_mut(&(outcome.step, outcome.table.clone())) {
                    progress.outcome = Some(outcome.clone());
                }
                self.patched(outcome);
            }
            Event::Ended(migration) => self.migrations.push(migration.clone()),
            Event::Looks(looks) => {
                if let Some(table) = self.tables.get_mut(&looks.table) {
                    table.looks = Some(looks.clone());
                    table.left_in = (self.status == Status::Restoring).then_some(self.round);
                } else if let Some(cleared) = self.cleared.get_mut(&looks.table) {
                    cleared.looks = Some(looks.clone());
                }
            }
            Event::Verdict(judgement) => self.verdict = Some(judgement.clone()),
            Event::RestoreBegun { only } => {
                self.restore_begun |= only.is_empty();
                if self.status != Status::Restoring {
                    self.before_restore = Some(self.status);
                }
                if self.undo == Undo::Done {
                    self.next_round(Undo::No);
                }
            }
            Event::UndoBegun if self.undo != Undo::Begun => self.next_round(Undo::Begun),
            Event::Kept(kept) => self.keep(kept),
            Event::Salvaged(saved) => {
                if let Some(table) = self.tables.get_mut(&saved.of) {
                    table.salvaged = Some(saved.clone());
                }
            }
            Event::Clearing { table } => {
                self.cleared.entry(table.clone()).or_default();
            }
            Event::Restored(restore) => {
                if let Some(table) = self.tables.get_mut(&restore.table) {
                    table.restored = Some(restore.clone());
                }
            }
            Event::RestoreEnded(end) => {
                // A partial restore that did not finish is a restore like any other: the run is no longer acceptable.
                self.restore_begun |= self.status == Status::Restoring && status == Status::Stuck;
                // An accepted run's snapshots say so: they are told anew how it ended.
                self.settled = self.settled.filter(|_| status != Status::RolledBack);
                self.restore_end = Some(end.clone());
                if self.undo == Undo::Begun && status == Status::Accepted {
                    self.undo = Undo::Done;
                    self.restore_begun = false;
                    self.verdict = Some(Judgement {
                        accepted: true,
                        by_person: true,
                        because: "its rollback was undone".to_owned(),
                    });
                    self.settled = None;
                }
            }
            Event::Extended { table, expires } => {
                if let Some(table) = self.tables.get_mut(table) {
                    table.expires = Some(*expires);
                }
            }
            Event::Settled { expires } => {
                self.settled = Some(*expires);
                self.tables.values_mut().for_each(|table| table.expires = *expires);
            }
            Event::UndoBegun
            | Event::Created(_)
            | Event::Protected
            | Event::Migrated
            | Event::Failed { .. }
            | Event::Abandoned => {}
        }
        let of_migration = matches!(
            event,
            Event::Intent(Intent {
                step: Step::Migrate(_),
                ..
            }) | Event::Outcome(Outcome {
                step: Step::Migrate(_),
                ..
            }) | Event::Ended(_)
        );
        if status != self.status || of_migration {
            self.touched = at;
        }
        self.status = status;
        Ok(())
    }

    fn next_round(&mut self, undo: Undo) {
        self.undo = undo;
        self.round += 1;
        for table in self.tables.values_mut() {
            table.undo_to = table.was.take();
            table.salvaged = None;
        }
        for cleared in self.cleared.values_mut() {
            cleared.undo_to = cleared.was.take();
        }
    }

    /// The run as it will be once the next round has begun.
    #[must_use]
    pub fn in_next_round(&self, undo: Undo) -> Run {
        let mut run = self.clone();
        run.next_round(undo);
        run
    }

    /// The round that a restore, or an undo, which goes on or begins now, is of.
    pub fn coming_round(&self, undo: bool) -> u32 {
        let goes_on = match self.undo {
            Undo::No => !undo,
            Undo::Begun => undo,
            Undo::Done => false,
        };
        self.round + u32::from(!goes_on)
    }

    /// The newest copy of what was in a table's place.
    pub fn kept(&self, table: &TableRef) -> Option<&TableRef> {
        let protected = self.tables.get(table).and_then(|p| p.kept.as_ref());
        let cleared = self.cleared.get(table).and_then(|c| c.was.as_ref()?.kept.as_ref());
        protected.or(cleared)
    }

    /// Whether a restore or an undo of any round has, or may have, changed a table.
    pub fn is_touched(&self, table: &TableRef) -> bool {
        let begun = |step| self.steps.contains_key(&(step, Some(table.clone())));
        begun(Step::Restore) || begun(Step::Drop) || begun(Step::Clear)
    }

    /// How we left a table.
    pub fn left(&self, table: &TableRef) -> Left {
        let protected = self.tables.get(table).and_then(|p| p.looks.as_ref());
        let cleared = self.cleared.get(table).and_then(|c| c.looks.as_ref());
        match protected.or(cleared) {
            None => Left::Unknown,
            Some(Looks { modified_ms: None, .. }) => Left::Gone,
            Some(Looks {
                modified_ms: Some(ms), ..
            }) => Left::At(*ms),
        }
    }

    /// The first copy of a round is what was there before it; a later one may be of a restore that was cut short.
    fn keep(&mut self, kept: &Kept) {
        let Some(name) = &kept.table else { return };
        if let Some(table) = self.tables.get_mut(name) {
            table.kept = kept.kept.clone().or(table.kept.take());
            table.was.get_or_insert_with(|| kept.clone());
        } else if let Some(cleared) = self.cleared.get_mut(name) {
            cleared.was.get_or_insert_with(|| kept.clone());
        }
    }

    /// How far a step on a table has come in this round.
    pub fn step(&self, step: Step, table: &TableRef) -> Option<&Progress> {
        let progress = self.steps.get(&(step, Some(table.clone())));
        progress.filter(|progress| progress.round == self.round)
    }

    /// Whether it has to be settled. A run without protection never has: there is nothing to put back.
    pub fn is_pending(&self) -> bool {
        self.status.is_pending() && !self.created.unprotected
    }

    /// Whether a job of its migration was, or may have been, sent.
    pub fn was_submitted(&self) -> bool {
        self.submitted().next().is_some()
    }

    /// The migration's jobs that were, or may have been, sent, in order.
    pub fn submitted(&self) -> impl Iterator<Item = &Progress> {
        self.steps
            .iter()
            .filter(|((step, _), _)| matches!(step, Step::Migrate(_)))
            .map(|(_, progress)| progress)
    }

    /// Whether every file that was sent is known to have ended well.
    pub fn migrations_done(&self) -> bool {
        !self.migrations.is_empty() && self.migrations.iter().all(|m| m.state == MigrationState::Done)
    }

    /// What the patch of a snapshot's expiry has made of it. Where it is not known whether it happened, the earlier of the two counts.
    fn patched(&mut self, outcome: &Outcome) {
        let Some(body) = matches!(outcome.step, Step::Settle | Step::Extend)
            .then(|| {
                self.steps
                    .get(&(outcome.step, outcome.table.clone()))?
                    .intent
                    .what
                    .as_ref()
            })
            .flatten()
            .filter(|_| outcome.unknown || outcome.error.is_none())
        else {
            return;
        };
        let Some(told) = body.get("expirationTime") else { return };
        let expires = told.as_str().and_then(|ms| ms.parse().ok()).map(from_millis);
        let mut patched = self
            .tables
            .values_mut()
            .filter(|t| t.snapshot.snapshot == outcome.table);
        if let Some(table) = patched.next() {
            table.expires = match outcome.unknown {
                true => table.expires.into_iter().chain(expires).min(),
                false => expires,
            };
        }
    }

    /// When the first of its snapshots expires, as journaled; absent: never, or not known.
    pub fn expires(&self) -> Option<Timestamp> {
        self.tables.values().filter_map(|table| table.expires).min()
    }
}

/// The run that a whole history makes, with the line number (from 1) of the first event that cannot be.
///
/// # Errors
/// The history is empty (line 0) or impossible from that line on.
pub fn fold<'a>(history: impl IntoIterator<Item = (Timestamp, &'a Event)>) -> Result<Run, (usize, Impossible)> {
    let mut history = history.into_iter();
    let nothing = Impossible {
        status: None,
        event: "nothing",
    };
    let (at, event) = history.next().ok_or((0, nothing))?;
    let mut run = Run::begin(at, event).map_err(|e| (1, e))?;
    for (i, (at, event)) in history.enumerate() {
        run.apply(at, event).map_err(|e| (i + 2, e))?;
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::*;

    fn intent(step: Step) -> Event {
        Event::Intent(Intent {
            step,
            table: None,
            attempt: 1,
            job: None,
            location: None,
            digest: String::new(),
            what: None,
        })
    }

    fn outcome(step: Step) -> Event {
        Event::Outcome(Outcome {
            step,
            table: None,
            attempt: 1,
            error: None,
            unknown: false,
        })
    }

    fn found(step: Step) -> Event {
        match intent(step) {
            Event::Intent(intent) => Event::Found(intent),
            other => other,
        }
    }

    fn verdict(accepted: bool, by_person: bool) -> Event {
        Event::Verdict(Judgement {
            accepted,
            by_person,
            because: String::new(),
        })
    }

    fn ended(code: u8, only: bool, left: bool) -> Event {
        let left = if left {
            vec![TableRef::parse("p.d.t", None).unwrap()]
        } else {
            vec![]
        };
        Event::RestoreEnded(RestoreEnd {
            code,
            only,
            left,
            next: String::new(),
        })
    }

    fn failed() -> Event {
        Event::Failed { what: String::new() }
    }

    fn extended() -> Event {
        Event::Extended {
            table: TableRef::parse("p.d.t", None).unwrap(),
            expires: Timestamp::UNIX_EPOCH,
        }
    }

    fn begun() -> Event {
        Event::RestoreBegun { only: vec![] }
    }

    #[test]
    fn the_table_of_statuses() {
        // status, event, what follows (None: impossible)
        let rows = [
            (Snapping, Event::Protected, Some(Protected)),
            (Snapping, intent(Step::Snapshot), Some(Snapping)),
            (Snapping, intent(Step::Migrate(1)), None),
            (Snapping, Event::Abandoned, Some(Abandoned)),
            (Protected, intent(Step::Migrate(1)), Some(Running)),
            (Protected, outcome(Step::Migrate(1)), None),
            (Running, outcome(Step::Migrate(1)), Some(Running)),
            (Protected, intent(Step::Restore), None),
            (Protected, verdict(true, false), None),
            (Protected, begun(), Some(Restoring)),
            (Abandoned, begun(), Some(Restoring)),
            (Snapping, begun(), None),
            (Running, intent(Step::Migrate(2)), Some(Running)),
            (Running, Event::Migrated, Some(Migrated)),
            (Running, failed(), Some(Failed)),
            (Running, Event::Abandoned, Some(Abandoned)),
            (Running, verdict(false, false), Some(Rejected)),
            (Running, verdict(true, false), None),
            (Snapping, found(Step::Migrate(1)), Some(Running)),
            (Protected, found(Step::Migrate(1)), Some(Running)),
            (Abandoned, found(Step::Migrate(1)), Some(Running)),
            (Protected, found(Step::Restore), None),
            (Migrated, found(Step::Migrate(2)), None),
            (Accepted, found(Step::Migrate(1)), Some(Accepted)),
            (Stuck, found(Step::Migrate(1)), Some(Stuck)),
            (Failed, verdict(true, true), None),
            (Failed, begun(), Some(Restoring)),
            (Migrated, verdict(true, false), Some(Accepted)),
            (Migrated, verdict(false, false), Some(Rejected)),
            (Migrated, intent(Step::Migrate(2)), None),
            (Rejected, verdict(true, false), None),
            (Rejected, verdict(true, true), Some(Accepted)),
            (Accepted, verdict(false, false), None),
            (Accepted, verdict(true, false), Some(Accepted)),
            (Accepted, begun(), Some(Restoring)),
            (Accepted, intent(Step::Settle), Some(Accepted)),
            (Accepted, intent(Step::Extend), Some(Accepted)),
            (Stuck, outcome(Step::Extend), Some(Stuck)),
            (Restoring, extended(), Some(Restoring)),
            (Abandoned, extended(), Some(Abandoned)),
            (Snapping, extended(), None),
            (Snapping, intent(Step::Extend), None),
            (Restoring, verdict(true, true), None),
            (Restoring, begun(), Some(Restoring)),
            (Restoring, ended(10, false, false), Some(RolledBack)),
            (Restoring, ended(10, true, false), Some(Failed)),
            (Restoring, ended(3, false, true), Some(Stuck)),
            (Restoring, ended(9, true, true), Some(Stuck)),
            (Rejected, ended(4, false, true), Some(Stuck)),
            (Stuck, begun(), Some(Restoring)),
            (Stuck, verdict(true, true), Some(Accepted)),
            (Stuck, verdict(true, false), None),
            (Stuck, verdict(false, false), None),
            (RolledBack, intent(Step::Settle), Some(RolledBack)),
            (Accepted, intent(Step::Remove), Some(Accepted)),
            (Abandoned, outcome(Step::Remove), Some(Abandoned)),
            (Migrated, intent(Step::Remove), None),
            (Protected, intent(Step::Remove), None),
            (RolledBack, intent(Step::Migrate(1)), None),
            (Snapping, intent(Step::Beside), None),
            (Running, intent(Step::Beside), Some(Running)),
            (Stuck, outcome(Step::Release), Some(Stuck)),
            (Accepted, intent(Step::Rehearse), Some(Accepted)),
            (RolledBack, intent(Step::Beside), Some(RolledBack)),
            (RolledBack, verdict(true, true), None),
            (Abandoned, intent(Step::Migrate(1)), None),
        ];
        for (status, event, want) in rows {
            let got = next_status(Some(status), Some(Failed), &event).ok();
            assert_eq!(got, want, "{status} and then {}", event.name());
        }
    }

    #[test]
    fn only_what_was_submitted_and_not_settled_is_pending() {
        for status in [Running, Failed, Migrated, Rejected, Restoring, Stuck] {
            assert!(status.is_pending() && !status.is_settled());
        }
        for status in [Snapping, Protected, Abandoned, Accepted, RolledBack] {
            assert!(!status.is_pending());
        }
    }
}
