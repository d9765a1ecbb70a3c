//! Laws of the plans over histories nobody thought of, and the small world that these and the tables of tests are told in: run `r` of
//! two tables, `p.d.a` and `p.d.b`, cut at 1000 ms.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{check, restore, run as migrate, snapshot};
use crate::api::Table;
use crate::clock::from_millis;
use crate::exit::{Exit, Failure};
use crate::names::{JobId, RunId, TableRef};
use crate::record::{Migration, MigrationState, Restore, RestoredFrom, Snapshot, Statement};
use crate::state::{
    Created, Event, Intent, Judgement, Kept, Looks, Outcome, RestoreEnd, Run, Status, Step, Undo, VERSION, fold,
    next_status,
};

// ---- the small world ----

pub(super) fn id() -> RunId {
    "r".parse().unwrap()
}

pub(super) fn table(b: bool) -> TableRef {
    TableRef::parse(if b { "p.d.b" } else { "p.d.a" }, None).unwrap()
}

pub(super) fn copy(b: bool) -> TableRef {
    table(b).with_suffix("_snapshot_r").unwrap()
}

pub(super) fn created(unprotected: bool) -> Event {
    Event::Created(Created {
        v: VERSION,
        run: id(),
        project: "p".parse().unwrap(),
        endpoint: String::new(),
        tool: String::new(),
        version: String::new(),
        nonce: String::new(),
        unprotected,
        keep_ms: None,
        given: false,
    })
}

pub(super) fn record(b: bool, cut: bool) -> Snapshot {
    Snapshot {
        run: id(),
        table: table(b),
        absent: false,
        snapshot: Some(copy(b)),
        cut: cut.then(|| from_millis(1000)),
        expires: None,
        keep_ms: None,
        time_travel_hours: None,
        rows: cut.then_some(100),
        bytes: None,
        unprotected_rows: None,
        level: None,
        records: None,
        after: None,
        schema_rule: Default::default(),
        meta: Some(Default::default()),
    }
}

fn intent(step: Step, b: Option<bool>) -> Intent {
    let table = b.map(table);
    Intent {
        job: Some(JobId::of_step(&id(), &step.to_string(), table.as_ref(), 1)),
        step,
        table,
        attempt: 1,
        location: None,
        digest: String::new(),
        what: None,
    }
}

fn outcome(step: Step, b: Option<bool>, error: bool, unknown: bool) -> Event {
    Event::Outcome(Outcome {
        step,
        table: b.map(table),
        attempt: 1,
        error: error.then(|| "no".to_owned()),
        unknown,
    })
}

fn migration(file: u32, state: MigrationState) -> Migration {
    Migration {
        run: id(),
        source: String::new(),
        sha256: String::new(),
        job: Some(JobId::of_step(&id(), &Step::Migrate(file).to_string(), None, 1)),
        location: None,
        state,
        statements: Vec::new(),
        allowed: Vec::new(),
        bytes_billed: None,
        slot_ms: None,
        ms: None,
        error: None,
        foreseen: None,
        allowed_datasets: Vec::new(),
        unforeseen: Vec::new(),
    }
}

pub(super) fn verdict(accepted: bool, by_person: bool) -> Event {
    Event::Verdict(Judgement {
        accepted,
        by_person,
        because: String::new(),
    })
}

fn restore_ended(code: u8, only: bool, left: bool) -> Event {
    Event::RestoreEnded(RestoreEnd {
        code,
        only,
        left: left.then(|| table(false)).into_iter().collect(),
        next: String::new(),
    })
}

fn restored(b: bool) -> Event {
    Event::Restored(Restore {
        run: id(),
        table: table(b),
        from: RestoredFrom::Snapshot,
        source: None,
        kept: None,
        until: None,
        rows: None,
        ok: true,
        happened: None,
        how: None,
        without_table_ms: None,
        to: None,
        ms: None,
        not_restored: Vec::new(),
        salvaged: None,
    })
}

/// The shortest history of each status.
pub(super) fn history(status: Status) -> Vec<Event> {
    use Status::*;
    let after = |status: Status, events: Vec<Event>| [history(status), events].concat();
    let migrated = |state| {
        vec![
            outcome(Step::Migrate(1), None, state != MigrationState::Done, false),
            Event::Ended(migration(1, state)),
        ]
    };
    match status {
        Snapping => vec![
            created(false),
            Event::Table(record(false, false)),
            Event::Table(record(true, false)),
        ],
        Protected => after(
            Snapping,
            vec![
                Event::Cut { cut: from_millis(1000) },
                Event::Verified(record(false, true)),
                Event::Verified(record(true, true)),
                Event::Protected,
            ],
        ),
        Abandoned => after(Protected, vec![Event::Abandoned]),
        Running => after(Protected, vec![Event::Intent(intent(Step::Migrate(1), None))]),
        Failed => {
            let failed = Event::Failed { what: String::new() };
            after(Running, [migrated(MigrationState::Failed), vec![failed]].concat())
        }
        Migrated => after(
            Running,
            [migrated(MigrationState::Done), vec![Event::Migrated]].concat(),
        ),
        Rejected => after(Migrated, vec![verdict(false, false)]),
        Accepted => after(Migrated, vec![verdict(true, false)]),
        Restoring => after(Rejected, vec![Event::RestoreBegun { only: vec![] }]),
        RolledBack => after(Restoring, vec![restore_ended(10, false, false)]),
        Stuck => after(Rejected, vec![restore_ended(4, false, true)]),
    }
}

pub(super) fn told(events: &[Event]) -> Run {
    fold(events.iter().map(|e| (Timestamp::UNIX_EPOCH, e))).unwrap()
}

pub(super) fn run_in(status: Status) -> Run {
    let run = told(&history(status));
    assert_eq!(run.status, status);
    run
}

pub(super) const STATUSES: [Status; 11] = [
    Status::Snapping,
    Status::Protected,
    Status::Abandoned,
    Status::Running,
    Status::Failed,
    Status::Migrated,
    Status::Rejected,
    Status::Accepted,
    Status::Restoring,
    Status::RolledBack,
    Status::Stuck,
];

pub(super) fn live(modified_ms: u64) -> Table {
    Table::of(&json!({ "lastModifiedTime": modified_ms.to_string() }))
}

pub(super) fn snapshot_of(b: bool, state: &str) -> Table {
    let base = table(b);
    Table::of(&json!({
        "type": "SNAPSHOT",
        "labels": { "bq-rollback-state": state },
        "snapshotDefinition": {
            "baseTableReference": { "projectId": base.project, "datasetId": base.dataset, "tableId": base.table },
            "snapshotTime": "1970-01-01T00:00:01Z",
        },
    }))
}

/// Tables and snapshots as they should be, the tables changed last at these times.
pub(super) fn there(a_ms: u64, b_ms: u64) -> BTreeMap<TableRef, Option<Table>> {
    BTreeMap::from([
        (table(false), Some(live(a_ms))),
        (table(true), Some(live(b_ms))),
        (copy(false), Some(snapshot_of(false, "open"))),
        (copy(true), Some(snapshot_of(true, "open"))),
    ])
}

pub(super) fn deletes(b: bool, ended_ms: u64) -> Statement {
    let one: Value = json!({
        "number": 1, "kind": "DELETE", "table": table(b), "inserted": 0, "deleted": 10, "ended_ms": ended_ms,
    });
    serde_json::from_value(one).unwrap()
}

// ---- histories ----

/// Any event, of three numbers: small ones are the simplest.
fn event((kind, a, b): (u8, u8, u8)) -> Event {
    let flag = a % 2 == 1;
    let step = match b % 15 {
        0 => Step::Migrate(1),
        1 => Step::Migrate(2),
        2 => Step::Cut,
        3 => Step::Snapshot,
        4 => Step::Keep(1),
        5 => Step::Restore,
        6 => Step::Options,
        7 => Step::Stage(1),
        8 => Step::Drop,
        9 => Step::Clear,
        10 => Step::Remove,
        11 => Step::Extend,
        12 => Step::Beside,
        13 => Step::Rehearse,
        _ => Step::Settle,
    };
    let of = (!matches!(step, Step::Migrate(_) | Step::Cut)).then_some(flag);
    match kind % 24 {
        0 => Event::Verified(record(flag, true)),
        1 => Event::Protected,
        2 | 21 => Event::Intent(intent(step, of)),
        3 => outcome(step, of, b & 8 != 0, b & 16 != 0),
        4 => Event::Ended(migration(
            u32::from(a % 2) + 1,
            match b % 4 {
                0 => MigrationState::Done,
                1 => MigrationState::Failed,
                2 => MigrationState::Refused,
                _ => MigrationState::Unknown,
            },
        )),
        5 => Event::Migrated,
        6 => Event::Failed { what: String::new() },
        7 => verdict(flag, b % 2 == 1),
        8 => Event::RestoreBegun {
            only: (b % 2 == 1).then(|| table(flag)).into_iter().collect(),
        },
        9 => restored(flag),
        10 => restore_ended([0, 3, 4, 9, 10][usize::from(a) % 5], b % 2 == 1, b & 2 != 0),
        11 => Event::Abandoned,
        12 => Event::Found(intent(step, None)),
        13 => Event::Settled { expires: None },
        14 => Event::Table(record(flag, false)),
        15 => Event::Cut {
            cut: from_millis(u64::from(a) * 100),
        },
        16 => Event::Changed {
            tables: vec![table(flag)],
        },
        17 => Event::Looks(Looks {
            table: table(flag),
            modified_ms: Some(u64::from(b) * 100),
            meta: (a & 2 != 0).then(Default::default),
        }),
        18 => Event::Kept(Box::new(Kept {
            table: Some(table(flag)),
            kept: (a & 2 != 0).then(|| copy(flag)),
            ..Kept::default()
        })),
        19 => Event::UndoBegun,
        20 => Event::Clearing { table: table(flag) },
        22 => Event::Extended {
            table: table(flag),
            expires: from_millis(u64::from(b) * 100),
        },
        _ => created(flag),
    }
}

fn numbers() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    vec(any::<(u8, u8, u8)>(), 0..40)
}

/// A legal history: what `next_status` allows of a random walk from one of the statuses.
fn legal() -> impl Strategy<Value = Run> {
    (0..STATUSES.len(), numbers()).prop_map(|(from, numbers)| {
        let mut run = run_in(STATUSES[from]);
        for event in numbers.into_iter().map(event) {
            // What is impossible is left out: the run is as it was.
            let _ = run.apply(Timestamp::UNIX_EPOCH, &event);
        }
        run
    })
}

fn apply(run: &mut Run, event: &Event) {
    run.apply(Timestamp::UNIX_EPOCH, event).unwrap();
}

fn trouble(exit: Exit) -> Failure {
    Failure::new(exit, "it did not end well", "", "")
}

// ---- what BigQuery may say to bq-restore ----

#[derive(Clone, Debug)]
struct World {
    lost: restore::Lost,
    jobs: restore::Jobs,
    seen: restore::Seen,
    replaced: Option<u64>,
}

fn world() -> impl Strategy<Value = World> {
    (0..3u8, 0..4u8, any::<[u8; 4]>(), 0..3u64).prop_map(|(lost, jobs, tables, replaced)| {
        let base = |n: u8| match n % 5 {
            0 => Some(live(500)),
            1 => Some(live(1000)),
            2 => Some(live(2000)),
            3 => Some(live(9000)),
            _ => None,
        };
        let held = |b: bool, n: u8| match n % 4 {
            0 | 1 => Some(snapshot_of(b, "open")),
            2 => Some(snapshot_of(b, "accepted")),
            _ => None,
        };
        World {
            lost: match lost {
                0 => restore::Lost::None,
                1 => restore::Lost::Ours(vec![intent(Step::Migrate(1), None)]),
                _ => restore::Lost::Elsewhere,
            },
            jobs: restore::Jobs {
                statements: vec![deletes(false, 2000), deletes(true, 2000)],
                any: jobs & 1 != 0,
                elsewhere: jobs & 2 != 0,
            },
            seen: restore::Seen {
                tables: BTreeMap::from([
                    (table(false), base(tables[0])),
                    (table(true), base(tables[1])),
                    (copy(false), held(false, tables[2])),
                    (copy(true), held(true, tables[3])),
                ]),
                rows: BTreeMap::from([(table(false), 90), (table(true), 90)]),
            },
            replaced: replaced.checked_sub(1).map(|n| 2000 + n * 7000),
        }
    })
}

fn request() -> impl Strategy<Value = restore::Request> {
    (any::<[bool; 2]>(), any::<[bool; 2]>(), any::<bool>()).prop_map(|(only, discard, even_accepted)| {
        let chosen = |flags: [bool; 2]| {
            let both = [false, true].into_iter().zip(flags);
            both.filter(|(_, on)| *on).map(|(b, _)| table(b)).collect()
        };
        restore::Request {
            only: chosen(only),
            discard: chosen(discard),
            named: even_accepted,
            even_accepted,
            ..restore::Request::default()
        }
    })
}

/// Does what `plan` says, each answer being the world's, until it says how it ends.
fn settle(run: &mut Run, world: &World, request: &restore::Request) -> restore::Next {
    use restore::Next;
    let mut facts = restore::Facts::default();
    for _ in 0..9 {
        match restore::plan(run, &facts, request) {
            Next::LookForJobs => facts.lost = Some(world.lost.clone()),
            Next::Note(events) => events.iter().for_each(|event| apply(run, event)),
            Next::Abandon { .. } => apply(run, &Event::Abandoned),
            Next::WaitForJobs => facts.jobs = Some(world.jobs.clone()),
            Next::Look(_) => facts.seen = Some(world.seen.clone()),
            Next::FindRestores(tables) => facts
                .replaced
                .extend(tables.into_iter().map(|table| (table, world.replaced))),
            Next::FindWriters(tables) => facts
                .evidence
                .extend(tables.into_iter().map(|table| (table, Vec::new()))),
            end => return end,
        }
    }
    panic!("it does not end: {} {facts:?}", run.status);
}

fn journal_end(run: &mut Run, request: &restore::Request, end: &restore::Next) {
    use restore::Next;
    let only = !request.only.is_empty();
    match end {
        Next::PutBack(_) if run.undo == Undo::Begun => {
            apply(run, &Event::UndoBegun);
            apply(run, &restore_ended(0, false, false));
        }
        Next::PutBack(ways) => {
            apply(
                run,
                &Event::RestoreBegun {
                    only: request.only.clone(),
                },
            );
            ways.iter()
                .for_each(|planned| apply(run, &restored(planned.snapshot.table == table(true))));
            apply(run, &restore_ended(10, only, false));
        }
        Next::Stop(_) if run.is_pending() && run.status != Status::Restoring => {
            apply(run, &restore_ended(4, only, true));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fold_never_panics(numbers in numbers()) {
        let events: Vec<Event> = numbers.into_iter().map(event).collect();
        let told = events.iter().map(|e| (Timestamp::UNIX_EPOCH, e));
        if let Err((line, _)) = fold(told) {
            prop_assert!(line <= events.len());
        }
    }

    #[test]
    fn what_is_impossible_changes_nothing(run in legal(), one in any::<(u8, u8, u8)>()) {
        let (event, mut after) = (event(one), run.clone());
        if after.apply(Timestamp::MAX, &event).is_err() {
            prop_assert_eq!(format!("{after:?}"), format!("{run:?}"));
        }
    }

    #[test]
    fn what_was_submitted_never_goes_back(run in legal(), one in any::<(u8, u8, u8)>()) {
        if run.status.is_pending() && let Ok(next) = next_status(Some(run.status), None, &event(one)) {
            prop_assert!(!matches!(next, Status::Snapping | Status::Protected));
        }
    }

    #[test]
    fn snapshots_are_made_once(run in legal(), a in 0..3000u64, b in 0..3000u64, at in 0..3000u64) {
        let (mut run, (ta, tb, ca, cb)) = (run, (table(false), table(true), copy(false), copy(true)));
        let facts = BTreeMap::from([(&ta, a), (&tb, b)]);
        let request = BTreeMap::from([(&ta, Some(&ca)), (&tb, Some(&cb))]);
        for _ in 0..2 {
            match snapshot::plan(&run, &facts, &request) {
                snapshot::Next::TakeCut => {
                    prop_assert_eq!(run.cut, None);
                    prop_assert!(!run.was_submitted());
                    // From `protected` without a cut no journal of ours tells.
                    if run.status == Status::Protected { return Ok(()) }
                    apply(&mut run, &Event::Cut { cut: from_millis(at) });
                }
                snapshot::Next::Protect { cut, make } => {
                    prop_assert!(!run.was_submitted() && a.max(b) < crate::clock::millis(cut));
                    for table in make {
                        let of = Some(table == tb);
                        apply(&mut run, &Event::Intent(intent(Step::Snapshot, of)));
                        apply(&mut run, &outcome(Step::Snapshot, of, false, false));
                    }
                    apply(&mut run, &Event::Verified(record(false, true)));
                    apply(&mut run, &Event::Verified(record(true, true)));
                    apply(&mut run, &Event::Protected);
                    // Asked again, it makes none, and reads the same ones back.
                    let again = snapshot::plan(&run, &facts, &request);
                    let nothing = matches!(&again, snapshot::Next::Protect { cut: c, make } if *c == cut && make.is_empty());
                    prop_assert!(nothing, "{:?}", again);
                    return Ok(());
                }
                snapshot::Next::Refuse(_) => return Ok(()),
            }
        }
        prop_assert!(false, "it does not end");
    }

    #[test]
    fn a_file_is_submitted_once(run in legal(), ends in vec(0..4u8, 3), stop in 0..4u32, late in any::<bool>(), strict: bool) {
        let mut run = run;
        let (there, snapshots) = (there(if late { 1000 } else { 999 }, 0), [record(false, true), record(true, true)]);
        let look = migrate::Look { snapshots: &snapshots, there: &there, now: Timestamp::UNIX_EPOCH, made: true };
        let request = migrate::Request { files: 3, strict };
        let (mut sent, mut bad, mut looked) = (0, None, false);
        for _ in 0..6 {
            let facts = migrate::Facts { look: looked.then_some(look), sent, bad: bad.as_ref() };
            match migrate::plan(&run, &facts, &request) {
                migrate::Next::Look => looked = true,
                migrate::Next::Submit { file, changed } => {
                    prop_assert!(!run.steps.contains_key(&(Step::Migrate(file), None)), "twice");
                    prop_assert!(run.tables.values().all(|t| t.verified), "unverified");
                    prop_assert!(file == sent + 1 && bad.is_none());
                    prop_assert_eq!(changed.is_empty(), !(late && file == 1));
                    apply(&mut run, &Event::Intent(intent(Step::Migrate(file), None)));
                    let (state, exit) = match ends[file as usize - 1] {
                        0 => (MigrationState::Done, None),
                        1 => (MigrationState::Failed, Some(Exit::No)),
                        2 => (MigrationState::Refused, Some(Exit::Refused)),
                        _ => (MigrationState::Unknown, Some(Exit::Unknown)),
                    };
                    if state != MigrationState::Unknown {
                        apply(&mut run, &Event::Ended(migration(file, state)));
                    }
                    bad = exit.or((stop == file).then_some(Exit::Upstream)).map(trouble);
                    sent = file;
                    // Whoever comes after a crash sends nothing.
                    for sent in 0..file {
                        let facts = migrate::Facts { look: Some(look), sent, bad: None };
                        let next = migrate::plan(&run, &facts, &request);
                        prop_assert!(matches!(next, migrate::Next::Refuse(_)), "{:?}", next);
                    }
                }
                migrate::Next::End(event) => apply(&mut run, &event),
                migrate::Next::Nothing | migrate::Next::Refuse(_) => return Ok(()),
            }
        }
        prop_assert!(false, "it does not end");
    }

    #[test]
    fn no_plan_submits_what_was_submitted(run in legal(), sent in 0..4u32, files in 1..4u32, exit in 0..2u8) {
        let (there, snapshots) = (there(0, 0), [record(false, true), record(true, true)]);
        let look = migrate::Look { snapshots: &snapshots, there: &there, now: Timestamp::UNIX_EPOCH, made: true };
        let bad = (exit == 1).then(|| trouble(Exit::No));
        let facts = migrate::Facts { look: Some(look), sent, bad: bad.as_ref() };
        if let migrate::Next::Submit { file, .. } = migrate::plan(&run, &facts, &migrate::Request { files, strict: false }) {
            prop_assert!(!run.steps.keys().any(|(step, _)| *step == Step::Migrate(file)));
            prop_assert!(file <= files && file > sent);
        }
    }

    #[test]
    fn a_verdict_given_twice_is_given_once(run in legal(), said: bool, which in 0..5usize) {
        let mut run = run;
        let request = [
            check::Request::Stream, check::Request::Journal, check::Request::Broken, check::Request::Accept, check::Request::Reject,
        ][which];
        let by_person = matches!(request, check::Request::Accept | check::Request::Reject);
        let before = run.status;
        let mut next = check::plan(&run, None, request);
        if matches!(next, check::Next::Ask) {
            next = check::plan(&run, Some(said), request);
            prop_assert!(!matches!(next, check::Next::Ask | check::Next::Refuse(_)));
        }
        let check::Next::Judge(accepted) = next else { return Ok(()) };
        prop_assert!(run.was_submitted() || run.status != Status::Protected);
        apply(&mut run, &verdict(accepted, by_person));
        if accepted && !by_person {
            prop_assert!(matches!(before, Status::Migrated | Status::Accepted) && said);
        }
        let status = run.status;
        if let check::Next::Judge(again) = check::plan(&run, Some(said), request) {
            apply(&mut run, &verdict(again, by_person));
            prop_assert_eq!(run.status, status);
        }
    }

    #[test]
    fn a_restore_ends_and_twice_is_once(run in legal(), world in world(), request in request()) {
        use restore::Next;
        let mut run = run;
        let before = run.status;
        let by_name = run.created.given || (request.named && !request.discard.is_empty());
        let undo = run.undo == Undo::Begun;
        let end = settle(&mut run, &world, &request);
        if let (Next::PutBack(_), true) = (&end, undo) {
            journal_end(&mut run, &request, &end);
            // What was undone stays undone until a person says otherwise.
            prop_assert_eq!((run.status, run.undo), (Status::Accepted, Undo::Done));
            let again = settle(&mut run, &world, &request);
            prop_assert!(request.even_accepted || matches!(again, Next::Refuse(_)), "{:?}", again);
            return Ok(());
        }
        if let Next::PutBack(ways) = &end {
            prop_assert!(before != Status::Accepted || request.even_accepted);
            prop_assert!(!ways.iter().any(|planned| !run.tables.contains_key(&planned.snapshot.table)));
            let begun = matches!(before, Status::Restoring | Status::Stuck | Status::RolledBack);
            // Without a migration of ours a person names run and tables, or names the snapshots.
            prop_assert!(run.was_submitted() || by_name || begun);
        }
        if run.status == Status::Abandoned {
            prop_assert!(matches!(end, Next::Refuse(_)) || by_name);
        }
        journal_end(&mut run, &request, &end);
        let whole = request.only.is_empty();
        let again = settle(&mut run, &world, &request);
        match end {
            Next::PutBack(_) if whole => prop_assert!(matches!(again, Next::CompareAgain(_)), "{:?}", again),
            // After some of an accepted run's tables it is accepted again, and another may still be refused.
            Next::PutBack(_) => {}
            Next::Stop(_) => prop_assert!(matches!(again, Next::Stop(_)), "{:?}", again),
            Next::CompareAgain(_) => prop_assert!(matches!(again, Next::CompareAgain(_))),
            _ => prop_assert!(matches!(again, Next::Refuse(_)), "{:?}", again),
        }
    }
}
