//! The crash loop: every program of the line is killed at every call to BigQuery, every write and sync of a journal and every line of
//! output, and what is left is settled by the same line or by bq-restore.
//!
//! Pass one plays a scenario and counts its points. Pass two plays it once for each point and each way to go on, and kills there. The
//! programs are real and so is the kill (SIGKILL); BigQuery is a pretend one, `tests::world`, which refuses a changing call that is not
//! in a journal.

mod absent;
mod answers;
mod beside;
mod cut;
mod faults;
mod given;
mod lost;
mod promises;
mod rivals;
mod salvage;
mod soak;
mod stage;
mod ways;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use promises::{Ending, Wanted, at_any_time, at_the_end, ending};
use stage::{Death, Point, Ran, Stage};

use crate::scene::{have_the_machine, say, share_the_machine};

/// A migration, and what may come of it.
struct Scenario {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// What is run before anything is killed; nothing: everything may be killed.
    before: &'static str,
    line: &'static str,
    /// How the line ends when nobody is killed.
    status: i32,
}

const TWO: (&str, &str) = ("tables.csv", "table,after\nd.a,>=3\nd.b,\n");
const THREE: (&str, &str) = ("tables.csv", "table,after\nd.a,>=3\nd.b,\nd.c,=1\n");

const LINE: &str = "bq-snap -j $JOBS -f tables.csv | bq-run -j $JOBS m.sql | bq-check -j $JOBS || bq-restore -j $JOBS";

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "good",
        files: &[
            TWO,
            (
                "m.sql",
                "UPDATE d.a SET name = 'new' WHERE TRUE; ALTER TABLE d.b ADD COLUMN more STRING;",
            ),
        ],
        before: "",
        line: LINE,
        status: 0,
    },
    Scenario {
        name: "failing",
        files: &[
            TWO,
            ("m.sql", "DELETE FROM d.a WHERE TRUE; SELECT ERROR('no further');"),
        ],
        before: "",
        line: LINE,
        status: 10,
    },
    Scenario {
        name: "rejected",
        files: &[
            TWO,
            (
                "m.sql",
                "DELETE FROM d.a WHERE id = 1; UPDATE d.b SET name = 'x' WHERE id = 10;",
            ),
        ],
        before: "",
        line: LINE,
        status: 10,
    },
    Scenario {
        name: "restore",
        files: &[
            THREE,
            ("m.sql", "TRUNCATE TABLE d.a; ALTER TABLE d.b DROP COLUMN name;"),
            ("n.sql", "INSERT INTO d.c VALUES (7);"),
        ],
        before: "bq-snap -j $JOBS -f tables.csv | bq-run -j $JOBS m.sql n.sql | bq-check -j $JOBS",
        line: "bq-restore -j $JOBS",
        status: 10,
    },
];

/// How it goes on after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Somebody types bq-restore.
    Restore,
    /// The same line runs again, as cron would have it.
    Line,
}

impl Point {
    /// Who dies here, and how it goes on; every state that a crash can leave is gone on from in each of three ways.
    ///
    /// Nothing is done between an answer, or a sync, and the point before the next deed, so both leave one state: the ways are divided
    /// between them, and of those by hand it is the program's death at one point and the machine's at the next. Half a write is a state of its own.
    fn ways_to_go_on(&self) -> Vec<(bool, After)> {
        let by_hand = [(false, After::Restore), (true, After::Restore)];
        let by_the_line = [(true, After::Line)];
        let before = ["about to be sent", "before", "a line of output"];
        if self.what.contains("half a write") {
            [&by_hand[..], &by_the_line].concat()
        } else if before.iter().any(|word| self.what.contains(word)) {
            by_the_line.into()
        } else {
            vec![by_hand[self.number as usize % 2]]
        }
    }
}

/// A scenario ready to be played many times.
struct Prepared {
    scenario: &'static Scenario,
    base: Stage,
    wanted: Wanted,
    points: Vec<Point>,
    /// Played to its end, nobody killed.
    whole: Stage,
}

fn prepare(scenario: &'static Scenario) -> Prepared {
    let base = Stage::new(scenario.files);
    let before = base.tables();
    if !scenario.before.is_empty() {
        let ran = base.sh(scenario.before, None);
        assert_eq!(ran.status, 1, "{}: {}", scenario.name, ran.stderr);
    }
    let whole = base.copy();
    let ran = whole.sh(scenario.line, None);
    assert_eq!(ran.status, scenario.status, "{}: {}", scenario.name, ran.stderr);
    let after = (scenario.status == 0).then(|| whole.tables());
    let wanted = Wanted { before, after };
    at_any_time(&whole, &wanted, &ran)
        .and_then(|()| at_the_end(&whole, &wanted))
        .unwrap_or_else(|why| panic!("{} without a crash: {why}\n{}", scenario.name, ran.stderr));
    let points = whole.points();
    Prepared {
        scenario,
        base,
        wanted,
        points,
        whole,
    }
}

impl Prepared {
    /// Plays it, kills, goes on, and looks. `Err`: which promise was broken, with all that was said.
    fn play(&self, stage: &Stage, deaths: &[Death], after: After) -> Result<(), String> {
        let mut said = String::new();
        let mut script = self.scenario.line;
        for death in deaths {
            let ran = stage.sh(script, Some(death));
            note(&mut said, script, Some(death), &ran);
            at_any_time(stage, &self.wanted, &ran).map_err(|why| format!("{why}\n{said}"))?;
            // Every point of theirs is before the last line of their output: the stream has lost its end.
            if matches!(death.program.as_str(), "bq-snap" | "bq-run") && ran.status == 0 {
                return Err(format!("0, and {} was killed\n{said}", death.program));
            }
            script = self.next(after);
            // At once, or when nobody else can still be at work.
            if death.point % 2 == 0 {
                stage.later(10);
            }
        }
        // Once is enough where nothing else goes wrong.
        self.settle_within(1, stage, after, said)
    }

    fn next(&self, after: After) -> &'static str {
        match after {
            After::Restore => "bq-restore -j $JOBS",
            After::Line => self.scenario.line,
        }
    }

    /// Runs the same until no run is pending, as a person or cron would; then every promise must hold.
    fn settle(&self, stage: &Stage, after: After, said: String) -> Result<(), String> {
        self.settle_within(4, stage, after, said)
    }

    fn settle_within(&self, times: u32, stage: &Stage, after: After, mut said: String) -> Result<(), String> {
        for _ in 0..times {
            let script = self.next(after);
            let ran = stage.sh(script, None);
            note(&mut said, script, None, &ran);
            at_any_time(stage, &self.wanted, &ran).map_err(|why| format!("{why}\n{said}"))?;
            let pending = stage
                .journals()
                .values()
                .any(|events| ending(events) == Ending::Pending);
            if matches!(ran.status, 0 | 1 | 10) && !pending {
                return at_the_end(stage, &self.wanted).map_err(|why| format!("{why}\n{said}"));
            }
            stage.later(10);
        }
        Err(format!("not settled after {times} times\n{said}"))
    }
}

fn note(said: &mut String, script: &str, death: Option<&Death>, ran: &Ran) {
    let death = death.map(|d| format!(" (killed: {d:?})")).unwrap_or_default();
    said.push_str(&format!("$ {script}{death}\n{}-> {}\n", ran.stderr, ran.status));
}

/// Does all of it on as many threads as there are cores, and names what failed.
fn all<T: Sync>(what: &str, items: &[T], play: impl Fn(&T) -> Result<(), String> + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = play(item) {
                        wrong.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{what}: {} of {} went wrong; the first:\n{}",
        wrong.len(),
        items.len(),
        wrong[..wrong.len().min(3)].join("\n----\n")
    );
}

/// The points of a play at its calls: before each is sent, and once it is answered. Where a journal is torn in between is the crash loop's.
fn at_calls(stage: &Stage) -> Vec<Point> {
    let points = stage.points().into_iter();
    points.filter(|point| point.what.starts_with("call")).collect()
}

/// Plays a command, killed at each of its points, or, where there are many, at one in so many: the same command again must end so, and leave what is good.
fn killed_at_each(what: &str, base: &Stage, command: &str, status: i32, good: impl Fn(&Stage) -> bool + Sync) {
    killed_at_one_in(1, what, base, command, status, good);
}

fn killed_at_one_in(
    every: usize,
    what: &str,
    base: &Stage,
    command: &str,
    status: i32,
    good: impl Fn(&Stage) -> bool + Sync,
) {
    let whole = base.copy();
    let ran = whole.sh(command, None);
    assert_eq!(ran.status, status, "{}", ran.stderr);
    assert!(good(&whole), "{what}, and nobody was killed: {}", ran.stderr);
    let points: Vec<Point> = at_calls(&whole).into_iter().step_by(every).collect();
    all(what, &points, |point| {
        let stage = base.copy();
        let death = Death {
            program: point.program.clone(),
            point: point.number,
            machine: false,
        };
        let killed = stage.sh(command, Some(&death));
        let again = stage.sh(command, None);
        let told = |why: &str| Err(format!("{}: {why}\n{}\n{}", point.what, killed.stderr, again.stderr));
        if again.status != status {
            return told(&format!("then {}", again.status));
        }
        if !good(&stage) {
            return told(&format!("not as it should be: {:#?}", stage.tables()));
        }
        match stage.violations().as_slice() {
            [] => Ok(()),
            broken => told(&broken.join("; ")),
        }
    });
    let which = if every == 1 { "each" } else { "some" };
    say(&format!(
        "{what}: killed at {which} of its calls, {} plays",
        points.len()
    ));
    assert!(points.len() > 5, "the points are not counted");
}

#[test]
fn killed_at_every_point_and_settled() {
    let _machine = have_the_machine();
    let started = Instant::now();
    let prepared: Vec<Prepared> = SCENARIOS.iter().map(prepare).collect();
    let mut plays: Vec<(&Prepared, Death, &str, After)> = Vec::new();
    for scenario in &prepared {
        for point in &scenario.points {
            for (machine, after) in point.ways_to_go_on() {
                let death = Death {
                    program: point.program.clone(),
                    point: point.number,
                    machine,
                };
                plays.push((scenario, death, &point.what, after));
            }
        }
    }
    all("the crash loop", &plays, |(scenario, death, what, after)| {
        let stage = scenario.base.copy();
        scenario
            .play(&stage, std::slice::from_ref(death), *after)
            .map_err(|why| format!("{}, {death:?} ({what}), then {after:?}: {why}", scenario.scenario.name))
    });
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for scenario in &prepared {
        counts.insert(scenario.scenario.name, scenario.points.len());
    }
    let points: usize = counts.values().sum();
    say(&format!(
        "crash loop: {points} points {counts:?}, {} plays, each killed, settled and compared, in {:.0} s",
        plays.len(),
        started.elapsed().as_secs_f32()
    ));
    assert!(points > 300, "the points are not counted: {counts:?}");
}

#[test]
fn killed_twice_in_a_row_and_settled() {
    let _machine = share_the_machine();
    let prepared: Vec<Prepared> = SCENARIOS.iter().map(prepare).collect();
    let mut plays: Vec<(&Prepared, [Death; 2], After)> = Vec::new();
    for scenario in &prepared {
        // Primes: so that every program and every kind of point comes up.
        for (i, point) in scenario.points.iter().enumerate().step_by(13) {
            let after = if i % 2 == 0 { After::Restore } else { After::Line };
            let first = Death {
                program: point.program.clone(),
                point: point.number,
                machine: true,
            };
            let second = Death {
                program: "bq-restore".to_owned(),
                point: u32::try_from(i * 7 % 97).unwrap() + 1,
                machine: true,
            };
            plays.push((scenario, [first, second], after));
        }
    }
    all("two crashes in a row", &plays, |(scenario, deaths, after)| {
        let stage = scenario.base.copy();
        scenario
            .play(&stage, deaths, *after)
            .map_err(|why| format!("{}, {deaths:?}, then {after:?}: {why}", scenario.scenario.name))
    });
    say(&format!("two crashes in a row: {} plays", plays.len()));
}

#[test]
fn tables_worked_on_together_share_their_syncs() {
    let stage = Stage::new(&[]).with_jobs(100);
    let names: Vec<String> = (0..100).map(|i| format!("d.t{i}")).collect();
    for name in &names {
        stage.world.sql(&format!("CREATE TABLE {name} (id INT64);")).unwrap();
    }
    let disk = "BQ_ROLLBACK_CRASH_SYNC=50";
    let ran = stage.sh(&format!("{disk} bq-snap -q -j $JOBS {}", names.join(" ")), None);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let journal = stage.journals().into_values().next().unwrap();
    let changing = journal.iter().filter(|event| event.get("intent").is_some()).count();
    let synced = stage.points().iter().filter(|p| p.what == "journal: synced").count();
    say(&format!(
        "group commit on a disk of 50 ms: {changing} intents and as many outcomes in {synced} syncs"
    ));
    assert_eq!(changing, 101, "a snapshot for each table, and the cut");
    // One by one it would be two for each of the hundred. The slower the machine the more of them come one by one.
    assert!(synced <= 60, "{synced} syncs");
}
