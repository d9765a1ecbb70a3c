//! Two lines over the same tables: while one of them waits for an answer, at each of its calls, the other one runs from beginning to end.

use std::sync::mpsc;

use super::promises::{Ending, Wanted, at_any_time, ending};
use super::stage::{Ran, Stage, journals_in};
use super::{LINE, SCENARIOS, all, prepare};
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

/// Plays a line; at call `n` of it another one, from another machine.
fn play(first: &Stage, n: u64, script: &'static str, wanted: &Wanted) -> (Ran, Option<Other>) {
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
            _ => other.world.violations().into_iter().next(),
        };
        let _ = send.send(Other {
            broken,
            stage: other,
            ran,
            first_was_pending,
        });
    });
    let ran = first.sh(script, None);
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
            let (ran, other) = play(&first, *n, LINE, &scenario.wanted);
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

#[test]
fn one_run_id_is_one_run_from_whatever_machine() {
    const SNAP: &str = "bq-snap -j 1 --run same -f tables.csv";
    let scenario = prepare(&SCENARIOS[0]);
    let alone = scenario.base.copy();
    assert_eq!(alone.sh(SNAP, None).status, 0);
    let calls: Vec<u64> = alone.calls().iter().map(|call| call.n).collect();
    all("one run ID", &calls, |n| {
        let first = scenario.base.copy();
        let (ran, other) = play(&first, *n, SNAP, &scenario.wanted);
        let other = other.ok_or_else(|| format!("call {n} was never made"))?;
        let mut codes = [ran.status, other.ran.status];
        codes.sort_unstable();
        match codes {
            [0, 4] if first.world.violations().is_empty() => Ok(()),
            _ => Err(format!("at call {n}: {codes:?}\n{}\n{}", ran.stderr, other.ran.stderr)),
        }
    });
}
