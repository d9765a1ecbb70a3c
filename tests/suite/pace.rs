//! Not faster than BigQuery allows, and slower where it says so: as whoever answers sees it.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::faults::google_error;
use tests::gateway::{Answering, Ask, Gateway, GatewayOptions, Reply, Upstream};
use tests::world::{PROJECT, World};

use crate::built;
use crate::scene::{say, share_the_machine};

const SECOND: Duration = Duration::from_secs(1);

/// A world that notes when it is asked, and finds more than `most` calls of a kind within a second too many.
struct Timed {
    world: World,
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: BTreeMap<&'static str, Vec<Instant>>,
    refused: usize,
}

impl Upstream for Timed {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        let path = ask.target.split('?').next().unwrap_or_default();
        let kind = match (ask.method.as_str(), path) {
            ("POST", path) if path.ends_with("/jobs") => "jobs.insert",
            ("GET", path) if path.contains("/queries/") => "jobs.getQueryResults",
            ("GET", path) if path.ends_with("/tables") => "tables.list",
            ("GET", path) if path.contains("/tables/") => "tables.get",
            _ => "other",
        };
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap();
        let calls = seen.calls.entry(kind).or_default();
        calls.push(now);
        let lately = calls.iter().filter(|at| now.duration_since(**at) < SECOND).count();
        if lately > self.most {
            seen.refused += 1;
            let reply = Reply {
                status: http_status(429),
                headers: Default::default(),
                body: google_error(429, None, None).to_string().into(),
            };
            return Box::pin(async move { Ok(reply) });
        }
        drop(seen);
        self.world.answer(ask)
    }
}

fn http_status<T: TryFrom<u16>>(code: u16) -> T
where
    T::Error: std::fmt::Debug,
{
    code.try_into().unwrap()
}

/// Protects so many tables as fast as bq-snap can, of a BigQuery that allows so many calls of a kind a second.
fn protect(tables: usize, most: usize) -> Arc<Timed> {
    let world = World::new(1);
    let mut setup = "CREATE SCHEMA d;".to_owned();
    (0..tables).for_each(|i| setup.push_str(&format!("CREATE TABLE d.t{i} (id INT64);")));
    world.sql(&setup).unwrap();
    let timed = Arc::new(Timed {
        world: world.clone(),
        most,
        seen: Mutex::default(),
    });
    let scratch = tempfile::tempdir().unwrap();
    world.watch(&scratch.path().join(".rollback"));
    let gateway = Gateway::in_front_of(timed.clone(), GatewayOptions::default()).unwrap();
    let names: Vec<String> = (0..tables).map(|i| format!("d.t{i}\n")).collect();
    fs::write(scratch.path().join("names"), names.concat()).unwrap();
    let output = Command::new(&built::programs()["bq-snap"])
        .args(["-f", "names", "-j", "1000", "--run", "r"])
        .current_dir(scratch.path())
        .env_clear()
        .env("BIGQUERY_EMULATOR_HOST", gateway.url())
        .env("PROJECT_ID", PROJECT)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let snapshots = world
        .table_names()
        .iter()
        .filter(|t| t.ends_with("_snapshot_r"))
        .count();
    assert_eq!(snapshots, tables);
    assert_eq!(world.violations(), Vec::<String>::new());
    timed
}

/// The most calls of a kind within any second.
fn busiest(calls: &[Instant]) -> usize {
    let within = |from: &Instant| {
        calls
            .iter()
            .filter(|at| **at >= *from && at.duration_since(*from) < SECOND)
            .count()
    };
    calls.iter().map(within).max().unwrap_or(0)
}

#[test]
fn three_hundred_tables_keep_bigquerys_limits() {
    let _machine = share_the_machine();
    let started = Instant::now();
    let timed = protect(300, usize::MAX);
    let seen = timed.seen.lock().unwrap();
    for (kind, calls) in &seen.calls {
        let most = busiest(calls);
        say(&format!(
            "pace: {kind} {} times, at most {most} in a second",
            calls.len()
        ));
        // They leave at most 95 a second (the unit tests); on their way a busy machine may push some of them together.
        assert!(most <= 150, "{kind}: {most} in a second");
    }
    // Nothing else would keep them apart.
    assert!(started.elapsed() > Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_bigquery_that_allows_less_is_obeyed() {
    let _machine = share_the_machine();
    let timed = protect(120, 30);
    let seen = timed.seen.lock().unwrap();
    let all: usize = seen.calls.values().map(Vec::len).sum();
    say(&format!(
        "pace: {} of {all} calls were too fast for a BigQuery that allows 30 a second",
        seen.refused
    ));
    assert!(seen.refused > 0 && seen.refused * 3 < all, "{} of {all}", seen.refused);
}
