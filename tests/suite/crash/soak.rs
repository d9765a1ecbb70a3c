//! Chance: random scenarios with random faults, failing jobs, clock jumps and crashes, from a seed; then it is settled without them, and
//! every promise must hold.
//!
//! `make soak SECONDS=600` plays for so long, `make soak SEED=7` plays one again. In `make test` it plays the first seeds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::promises::at_any_time;
use super::stage::Death;
use super::{After, Prepared, SCENARIOS, all, note, prepare};
use crate::scene::{say, share_the_machine};

/// How many plays in `make test`: always the same ones, so that what is found does not come and go.
const IN_TESTS: u64 = 150;

const FAULTS: [&str; 12] = [
    "refuse",
    "reset",
    "apply-then-drop",
    "truncate",
    "html",
    "empty",
    "429 rateLimitExceeded retry-after=7",
    "503 backendError",
    "403 rateLimitExceeded",
    "403 quotaExceeded",
    "404",
    "delay 20ms",
];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .filter(|text| !text.is_empty())?
        .parse()
        .ok()
}

#[test]
fn chance() {
    let _machine = share_the_machine();
    let prepared: Vec<Prepared> = SCENARIOS.iter().map(prepare).collect();
    if let Some(seed) = number("SOAK_SEED") {
        play(&prepared, seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        return;
    }
    let (seeds, until) = match number("SOAK_SECONDS") {
        None => ((0..IN_TESTS).collect(), None),
        Some(seconds) => {
            let first = fastrand::u64(IN_TESTS..1_000_000_000);
            let until = Instant::now() + Duration::from_secs(seconds);
            ((first..first + 1_000_000).collect::<Vec<u64>>(), Some(until))
        }
    };
    let played = AtomicU64::new(0);
    all("soak", &seeds, |seed| {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(());
        }
        played.fetch_add(1, Ordering::Relaxed);
        play(&prepared, *seed).map_err(|why| format!("`make soak SEED={seed}` plays it again: {why}"))
    });
    let played = played.into_inner();
    say(&format!("soak: {played} plays of chance, seeds from {}", seeds[0]));
    assert!(played > 0);
}

fn play(prepared: &[Prepared], seed: u64) -> Result<(), String> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let scenario = &prepared[chance.usize(..prepared.len())];
    let calls = scenario.whole.calls().len() as u64;
    let faults: Vec<String> = (0..chance.usize(..4))
        .map(|_| format!("{} : {}", chance.u64(1..=calls), FAULTS[chance.usize(..FAULTS.len())]))
        .collect();
    let jobs = [1, 1, 2, 32][chance.usize(..4)];
    let stage = scenario
        .base
        .copy_with(faults.join("\n").parse().unwrap())
        .with_jobs(jobs);
    let mut said = format!("{} with -j {jobs} and {faults:?}\n", scenario.scenario.name);
    if chance.u8(..4) == 0 {
        let reason = ["backendError", "internalError", "stopped"][chance.usize(..3)];
        let nth = chance.u32(1..20);
        stage.world.fail_job("", nth, reason);
        said.push_str(&format!("job {nth} ends with {reason}\n"));
    }
    let after = [After::Restore, After::Line][chance.usize(..2)];
    let mut script = scenario.scenario.line;
    for _ in 0..chance.usize(..3) {
        let point = &scenario.points[chance.usize(..scenario.points.len())];
        let death = Death {
            program: point.program.clone(),
            point: point.number,
            machine: chance.bool(),
        };
        let ran = stage.sh(script, Some(&death));
        note(&mut said, script, Some(&death), &ran);
        at_any_time(&stage, &scenario.wanted, &ran).map_err(|why| format!("{why}\n{said}"))?;
        script = scenario.next(after);
        if chance.bool() {
            stage.later(chance.u32(1..100));
        }
        if chance.u8(..4) == 0 {
            stage.local_clock_jumps(chance.u32(1..300));
        }
    }
    stage.later(10);
    let clean = stage.copy();
    clean.world.release();
    scenario.settle(&clean, after, said)
}
