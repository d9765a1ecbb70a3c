//! Every fault at every call of a line: what passes is ridden out and changes nothing; what does not pass ends the line with a code that
//! is true, and the run can be settled afterwards.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tests::gateway::Call;

use super::promises::{at_any_time, at_the_end};
use super::stage::{Death, Stage};
use super::{After, LINE, Prepared, SCENARIOS, all, note, prepare};
use crate::scene::{say, share_the_machine};

/// What should come of a fault that happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    /// The request is sent again, and the line ends as if nothing had been.
    Yes,
    /// It may stand: any documented code but a false 0 or 10.
    No,
}

/// The faults of one call, in the gateway's words. Source of what passes:
/// <https://docs.cloud.google.com/bigquery/docs/error-messages>.
const OF_A_CALL: [(&str, Passes); 18] = [
    ("refuse", Passes::Yes),
    ("reset", Passes::Yes),
    ("apply-then-drop", Passes::Yes),
    ("hang", Passes::Yes),
    ("delay 100ms", Passes::Yes),
    ("truncate", Passes::Yes),
    ("html", Passes::Yes),
    ("empty", Passes::Yes),
    ("429 rateLimitExceeded retry-after=7", Passes::Yes),
    ("500 internalError", Passes::Yes),
    ("502", Passes::Yes),
    ("503 backendError", Passes::Yes),
    ("403 rateLimitExceeded", Passes::Yes),
    ("403 quotaExceeded", Passes::No),
    ("403 accessDenied", Passes::No),
    ("401", Passes::No),
    ("404", Passes::No),
    ("409 duplicate", Passes::No),
];

/// The failures of a job that BigQuery itself calls worth another try.
const OF_A_JOB: [(&str, Passes); 6] = [
    ("backendError", Passes::Yes),
    ("internalError", Passes::Yes),
    ("rateLimitExceeded", Passes::Yes),
    ("stopped", Passes::No),
    ("quotaExceeded", Passes::No),
    ("invalidQuery", Passes::No),
];

/// The line that goes through every program but bq-count.
fn rejected() -> Prepared {
    prepare(SCENARIOS.iter().find(|s| s.name == "rejected").unwrap())
}

fn end_of(scenario: &Prepared, stage: &Stage, passes: Passes) -> Result<(), String> {
    let mut said = String::new();
    let ran = stage.sh(LINE, None);
    note(&mut said, LINE, None, &ran);
    let told = |why: String| format!("{why}\n{said}");
    at_any_time(stage, &scenario.wanted, &ran).map_err(told)?;
    if passes == Passes::Yes {
        return match ran.status == scenario.scenario.status {
            true => at_the_end(stage, &scenario.wanted).map_err(told),
            false => Err(told(format!("{} instead of {}", ran.status, scenario.scenario.status))),
        };
    }
    if matches!(ran.status, 0 | 1 | 10) && at_the_end(stage, &scenario.wanted).is_ok() {
        return Ok(());
    }
    stage.later(10);
    scenario.settle(stage, After::Restore, said)
}

/// Whether a call may change something; a query that only reads is taken for one that may.
fn changes(call: &Call) -> bool {
    call.method != "GET" && call.body["configuration"]["dryRun"] != true
}

#[test]
fn every_fault_at_every_call() {
    let _machine = share_the_machine();
    let started = Instant::now();
    let scenario = rejected();
    let calls = scenario.whole.calls();
    let mut plays = Vec::new();
    for (i, call) in calls.iter().enumerate() {
        for (k, (fault, passes)) in OF_A_CALL.into_iter().enumerate() {
            // Many calls ask the same of another table: of those a third of the kinds each, in turn.
            if changes(call) || (i + k) % 3 == 0 {
                plays.push((call, fault, passes));
            }
        }
    }
    all("faults of calls", &plays, |(call, fault, passes)| {
        let rule = format!("{} : {fault}", call.n);
        let mut stage = scenario.base.copy_with(rule.parse().unwrap());
        if *fault == "hang" {
            stage = stage.impatient();
        }
        end_of(&scenario, &stage, *passes).map_err(|why| format!("{rule} ({} {}): {why}", call.method, call.path))
    });
    say(&format!(
        "faults: {} kinds at each of {} calls that change something, a third of them at each of {} others, {} plays, in {:.0} s",
        OF_A_CALL.len(),
        calls.iter().filter(|call| changes(call)).count(),
        calls.iter().filter(|call| !changes(call)).count(),
        plays.len(),
        started.elapsed().as_secs_f32()
    ));
}

/// The answer to a change is lost, and so is that to the question what became of it.
#[test]
fn a_fault_right_after_a_lost_answer() {
    let scenario = rejected();
    let calls = scenario.whole.calls();
    let mut plays = Vec::new();
    for call in calls.iter().filter(|call| changes(call)) {
        for (fault, _) in OF_A_CALL.iter().filter(|(_, passes)| *passes == Passes::No) {
            // The same again, which finds the ID taken; then who has it.
            plays.extend([1, 2].map(|after| (call, after, *fault)));
        }
    }
    all("faults after a lost answer", &plays, |(call, after, fault)| {
        let rules = format!("{} : apply-then-drop\n{} : {fault}", call.n, call.n + after);
        let stage = scenario.base.copy_with(rules.parse().unwrap());
        let told = |why| format!("{rules} ({} {}): {why}", call.method, call.path);
        end_of(&scenario, &stage, Passes::No).map_err(told)
    });
    say(&format!("faults after a lost answer: {} plays", plays.len()));
}

#[test]
fn every_failure_of_every_job() {
    let scenario = rejected();
    let jobs: Vec<String> = scenario
        .whole
        .world
        .jobs()
        .into_iter()
        .filter(|job| job.parent.is_none())
        .map(|job| job.id)
        .collect();
    let mut plays = Vec::new();
    for (i, id) in jobs.iter().enumerate() {
        for (reason, passes) in OF_A_JOB {
            plays.push((i, id, reason, passes));
        }
    }
    all("failures of jobs", &plays, |(i, id, reason, passes)| {
        let stage = scenario.base.copy();
        stage.world.fail_job("", *i as u32 + 1, reason);
        // The migration has no second attempt: the line rolls back, and its code is the same.
        let passes = if id.contains("-migrate") { Passes::Yes } else { *passes };
        end_of(&scenario, &stage, passes).map_err(|why| format!("job {i} ({id}) ends with {reason}: {why}"))?;
        let migrations = |job: &&tests::world::JobShown| job.id.contains("-migrate") && job.parent.is_none();
        match stage.world.jobs().iter().filter(migrations).count() {
            0 | 1 => Ok(()),
            n => Err(format!("job {i} ({id}) ends with {reason}: {n} migrations")),
        }
    });
    say(&format!(
        "faults: {} ways for each of {} jobs to fail",
        OF_A_JOB.len(),
        jobs.len()
    ));
}

/// bq-run waits for as long as its job takes: so it is killed once the job is there.
fn once_it_migrates(scenario: &Prepared) -> Death {
    let sent = "call answered: POST /bigquery/v2/projects/pretend/jobs";
    let mut points = scenario.points.iter();
    let point = points.rfind(|p| p.program == "bq-run" && p.what == sent).unwrap();
    Death {
        program: point.program.clone(),
        point: point.number,
        machine: true,
    }
}

#[test]
fn a_statement_that_outlives_its_job_is_waited_for() {
    let scenario = rejected();
    let stage = scenario.base.copy();
    stage.world.child_outlives("-migrate1-1");
    let death = once_it_migrates(&scenario);
    let mut said = String::new();
    let ran = stage.sh(LINE, Some(&death));
    note(&mut said, LINE, Some(&death), &ran);
    stage.later(10);
    scenario.settle(&stage, After::Restore, said.clone()).unwrap();
    // Time passes only with calls.
    while stage.world.jobs().iter().any(|job| job.state != "DONE") {
        assert_eq!(stage.sh("bq-count d.a", None).status, 0);
    }
    at_the_end(&stage, &scenario.wanted).unwrap_or_else(|why| panic!("{why}\n{said}"));
}

#[test]
fn a_migration_that_never_ends_is_never_restored_under() {
    let scenario = rejected();
    let stage = scenario.base.copy();
    stage.world.never_end("-migrate1-1");
    let death = once_it_migrates(&scenario);
    let mut said = String::new();
    let ran = stage.sh(LINE, Some(&death));
    note(&mut said, LINE, Some(&death), &ran);
    stage.later(10);
    let before = stage.tables();
    let ran = stage.sh("bq-restore --wait-job 30m", None);
    note(&mut said, "bq-restore --wait-job 30m", None, &ran);
    assert_eq!(ran.status, 9, "{said}");
    assert_eq!(stage.tables(), before, "{said}");
    assert!(ran.stderr.contains("bq-restore --run"), "{said}");
    stage.world.release();
    scenario.settle(&stage, After::Restore, said).unwrap();
}

#[test]
fn a_migration_that_arrives_late_begins_nothing() {
    let scenario = rejected();
    let is_migration = |call: &&Call| {
        let id = call.body["jobReference"]["jobId"].as_str().unwrap_or_default();
        id.contains("-migrate1-") && call.body["configuration"]["dryRun"] != true
    };
    let n = scenario.whole.calls().iter().find(is_migration).unwrap().n;
    let stage = scenario.base.copy();
    let (arrives, waits) = mpsc::channel::<()>();
    stage.at_call(n, move || {
        let _ = waits.recv();
    });
    // It loses patience before it has an answer, and dies where it would send it again.
    let death = once_it_migrates(&scenario);
    let mut said = String::new();
    let ran = stage.sh(LINE, Some(&death));
    note(&mut said, LINE, Some(&death), &ran);
    stage.later(10);
    let ran = stage.sh("bq-restore -j 1", None);
    note(&mut said, "bq-restore -j 1", None, &ran);
    assert_eq!(ran.status, 1, "{said}");
    drop(arrives);
    let until = Instant::now() + Duration::from_secs(10);
    while !stage.calls().iter().any(|call| call.n == n) {
        assert!(Instant::now() < until, "the late call was never made\n{said}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let jobs = stage.world.jobs();
    assert!(jobs.iter().all(|job| !job.sql.contains("DELETE")), "it ran\n{said}");
    at_the_end(&stage, &scenario.wanted).unwrap_or_else(|why| panic!("{why}\n{said}"));
}

#[test]
fn slow_jobs_are_waited_for() {
    let scenario = rejected();
    let stage = scenario.base.copy_with("POST /jobs : pending 40".parse().unwrap());
    end_of(&scenario, &stage, Passes::Yes).unwrap();
}

#[test]
fn a_clock_that_jumps_decides_nothing() {
    let scenario = rejected();
    let plays: Vec<(&str, &str)> = ["bq-snap", "bq-run", "bq-check", "bq-restore"]
        .into_iter()
        .flat_map(|program| {
            ["2025-12-31T00:00:00Z", "2026-01-02T00:00:00Z", "2036-01-01T00:00:00Z"].map(|clock| (program, clock))
        })
        .collect();
    all("clocks that jump", &plays, |(program, clock)| {
        let stage = scenario.base.copy();
        let line = LINE.replace(program, &format!("BQ_ROLLBACK_PRETEND_CLOCK={clock} {program}"));
        let ran = stage.sh(&line, None);
        let told = |why: String| format!("{program} at {clock}: {why}\n{}", ran.stderr);
        if ran.status != scenario.scenario.status {
            return Err(told(format!("ended with {}", ran.status)));
        }
        at_any_time(&stage, &scenario.wanted, &ran)
            .and_then(|()| at_the_end(&stage, &scenario.wanted))
            .map_err(told)
    });
}
