//! Two lines over the same tables: while one of them waits for an answer, at each of its calls, the other one runs from beginning to end.

use std::sync::{Arc, mpsc};

use super::promises::{Ending, Wanted, at_any_time, at_the_end, ending};
use super::stage::{Ran, Stage, TABLES, journals_in};
use super::{LINE, SCENARIOS, all, note, prepare};
use crate::scene::{say, share_the_machine};

/// What the other line came to.
struct Other {
    stage: Stage,
    ran: Ran,
    /// What does not hold when it has ended, and the first has not.
    broken: Option<String>,
    /// Whether the first line's run was submitted and not settled when the other one began.
    first_was_pending: bool,
}

fn was_submitted(stage: &Stage) -> bool {
    let sent = |event: &serde_json::Value| event["intent"]["step"].get("migrate").is_some();
    stage.journals().values().flatten().any(sent)
}

fn is_pending(stage: &Stage) -> bool {
    stage
        .journals()
        .values()
        .any(|events| ending(events) == Ending::Pending)
}

/// Plays a line; at call `n` of it another script, from another machine.
fn play(first: &Stage, line: &str, n: u64, script: &'static str, wanted: &Wanted) -> (Ran, Option<Other>) {
    let wanted = wanted.clone();
    let other = first.another_machine();
    let (send, receive) = mpsc::channel();
    let state_dir = first.state_dir();
    first.at_call(n, move || {
        let first_was_pending = journals_in(&state_dir)
            .values()
            .any(|events| ending(events) == Ending::Pending);
        let ran = other.sh(script, None);
        let broken = match script {
            LINE => at_any_time(&other, &wanted, &ran).err(),
            _ => other.violations().into_iter().next(),
        };
        let _ = send.send(Other {
            broken,
            stage: other,
            ran,
            first_was_pending,
        });
    });
    let ran = first.sh(line, None);
    (ran, receive.try_recv().ok())
}

#[test]
fn of_two_lines_at_once_none_migrates_under_the_other() {
    let _machine = share_the_machine();
    let mut count = 0;
    for name in ["good", "rejected"] {
        let scenario = prepare(SCENARIOS.iter().find(|s| s.name == name).unwrap());
        let calls: Vec<u64> = scenario.whole.calls().iter().map(|call| call.n).collect();
        count += calls.len();
        all("two lines", &calls, |n| {
            let first = scenario.base.copy();
            let (ran, other) = play(&first, LINE, *n, LINE, &scenario.wanted);
            let other = other.ok_or_else(|| format!("call {n} was never made"))?;
            let told = |why: &str| {
                format!(
                    "{name}, the other line at call {n}: {why}\nthe first ({}):\n{}\nthe other ({}):\n{}",
                    ran.status, ran.stderr, other.ran.status, other.ran.stderr
                )
            };
            if let Some(why) = &other.broken {
                return Err(told(why));
            }
            at_any_time(&first, &scenario.wanted, &ran).map_err(|why| told(&why))?;
            if other.first_was_pending && was_submitted(&other.stage) {
                return Err(told("the other migrated while the first was submitted and not settled"));
            }
            if is_pending(&other.stage) {
                return Err(told("the other is left pending"));
            }
            // The first may be left with a person, if the other was accepted between its cut and its own migration: its rollback would
            // take that away. Then it says so, and nothing was lost.
            if is_pending(&first) && !(ran.status == 4 && ran.stderr.contains("--discard-foreign")) {
                return Err(told("the first is left pending, and does not say how to go on"));
            }
            match (ran.status, other.ran.status) {
                // One of them, at least, came to its end; the other one was refused and has nothing to put back (1).
                (0 | 10, 0 | 1 | 10) | (1 | 4, 0 | 10) => Ok(()),
                _ => Err(told("neither came to its end")),
            }
        });
    }
    say(&format!("two lines at once: at each of {count} calls"));
}

/// What a line that was accepted has done is not taken away by another one that is put back, wherever the two meet.
#[test]
fn what_was_accepted_stays() {
    const GOOD: &str =
        "bq-snap -j 1 -f tables.csv | bq-run -j 1 good.sql | bq-check -j 1 --expect 'd.a >= 1' || bq-restore -j 1";
    let _machine = share_the_machine();
    let scenario = prepare(SCENARIOS.iter().find(|s| s.name == "rejected").unwrap());
    // As many rows as before: only the time of the change tells.
    let sql = "UPDATE d.a SET name = 'good' WHERE id = 2;";
    std::fs::write(scenario.base.path().join("good.sql"), sql).unwrap();
    let calls: Vec<u64> = scenario.whole.calls().iter().map(|call| call.n).collect();
    all("an accepted line", &calls, |n| {
        let first = scenario.base.copy();
        let (ran, other) = play(&first, LINE, *n, GOOD, &scenario.wanted);
        let other = other.ok_or_else(|| format!("call {n} was never made"))?;
        let rows = first.world.table(TABLES[0]).unwrap().rows;
        let there = rows.iter().flatten().any(|value| value.contains("good"));
        match (other.ran.status, there, &other.broken) {
            (0, true, None) | (1 | 4 | 10, false, None) => Ok(()),
            _ => Err(format!(
                "the other line at call {n}: {rows:?} {:?}\nthe first ({}):\n{}\nthe other ({}):\n{}",
                other.broken, ran.status, ran.stderr, other.ran.status, other.ran.stderr
            )),
        }
    });
}

#[test]
fn one_run_id_is_one_run_from_whatever_machine() {
    const SNAP: &str = "bq-snap -j 1 --run same -f tables.csv";
    let scenario = prepare(&SCENARIOS[0]);
    let alone = scenario.base.copy();
    assert_eq!(alone.sh(SNAP, None).status, 0);
    let calls: Vec<u64> = alone.calls().iter().map(|call| call.n).collect();
    all("one run ID", &calls, |n| {
        let first = scenario.base.copy();
        let (ran, other) = play(&first, SNAP, *n, SNAP, &scenario.wanted);
        let other = other.ok_or_else(|| format!("call {n} was never made"))?;
        let mut codes = [ran.status, other.ran.status];
        codes.sort_unstable();
        match codes {
            [0, 4] if first.violations().is_empty() => Ok(()),
            _ => Err(format!("at call {n}: {codes:?}\n{}\n{}", ran.stderr, other.ran.stderr)),
        }
    });
}

#[test]
fn a_run_that_a_program_holds_is_left_to_it() {
    const RESTORE: &str = "bq-restore -j 1 --wait 0s";
    let scenario = prepare(SCENARIOS.iter().find(|s| s.name == "rejected").unwrap());
    let calls: Vec<u64> = scenario.whole.calls().iter().map(|call| call.n).collect();
    all("one state directory", &calls, |n| {
        let stage = Arc::new(scenario.base.copy());
        let (send, receive) = mpsc::channel();
        let same = Arc::clone(&stage);
        stage.at_call(*n, move || {
            // Only the lock says that the line still has it in hand.
            same.local_clock_jumps(10);
            let _ = send.send(same.sh(RESTORE, None));
        });
        let ran = stage.sh(LINE, None);
        let other = receive.try_recv().map_err(|_| format!("call {n} was never made"))?;
        let told = |why: String| {
            format!(
                "{RESTORE} at call {n}: {why}\nthe line ({}):\n{}\nthe other ({}):\n{}",
                ran.status, ran.stderr, other.status, other.stderr
            )
        };
        // Nothing is pending yet, or any more; or it is busy.
        if !matches!(other.status, 1 | 6) || ran.status != scenario.scenario.status {
            return Err(told("it was not left to its line".to_owned()));
        }
        at_any_time(&stage, &scenario.wanted, &ran)
            .and_then(|()| at_the_end(&stage, &scenario.wanted))
            .map_err(told)
    });
}

#[test]
fn what_others_write_during_a_restore_is_not_lost() {
    let scenario = prepare(SCENARIOS.iter().find(|s| s.name == "restore").unwrap());
    let calls = scenario.whole.calls();
    // From the last look until the statement has replaced the table nobody can tell: `docs/promises.md`, "The instant of replacement".
    let replaces = |call: &tests::gateway::Call| {
        let id = call.body["jobReference"]["jobId"].as_str().unwrap_or_default();
        id.contains("-restore-") || call.path.contains("-restore-")
    };
    let calls: Vec<_> = calls.iter().filter(|call| !replaces(call)).collect();
    all("others who write", &calls, |call| {
        let stage = scenario.base.copy();
        let world = stage.world.clone();
        stage.at_call(call.n, move || {
            world.sql("INSERT INTO d.a VALUES (9, 'of others')").unwrap();
        });
        let holds = |name: &String| {
            let rows = stage.world.table(name).map(|table| table.rows).unwrap_or_default();
            rows.iter().flatten().any(|value| value.contains("of others"))
        };
        let mut said = String::new();
        for script in [scenario.scenario.line, "bq-restore -j 1 --discard-foreign d.a"] {
            let ran = stage.sh(script, None);
            note(&mut said, script, None, &ran);
            let violations = stage.violations();
            let told = |why: &str| {
                let (n, method, path) = (call.n, &call.method, &call.path);
                format!("others wrote before call {n} ({method} {path}), and it is {why}: {violations:?}\n{said}")
            };
            if !violations.is_empty() || !stage.world.table_names().iter().any(holds) {
                return Err(told("nowhere"));
            }
            // Nobody has said `--discard-foreign` yet.
            if script == scenario.scenario.line && !holds(&TABLES[0].to_owned()) {
                return Err(told("no longer in its table"));
            }
            if ran.status == 10 {
                break;
            }
        }
        Ok(())
    });
}
