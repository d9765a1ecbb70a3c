//! Journals cut short: a disk that lied about a sync, a machine restored from yesterday's copy. Every cut is read, and where a line was
//! lost whole the programs recover, or say that they cannot, and change nothing that they have no copy of.

use std::fs;
use std::time::Instant;

use super::promises::{Ending, at_any_time, ending};
use super::stage::Stage;
use super::{Prepared, SCENARIOS, all, prepare};
use crate::scene::{say, share_the_machine};

/// The one run of a stage, and its journal.
fn journal(stage: &Stage) -> (String, Vec<u8>) {
    let run = stage.journals().into_keys().next().unwrap();
    let bytes = fs::read(stage.journal_file(&run)).unwrap();
    (run, bytes)
}

/// How long a journal is with its last `table`.
fn tables_end(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let last = text.rfind(r#""event":{"table":"#).unwrap();
    last + text[last..].find('\n').unwrap() + 1
}

#[test]
fn cut_at_every_byte_a_journal_is_read_as_its_whole_lines() {
    let started = Instant::now();
    let scenario = prepare(&SCENARIOS[2]);
    let (run, bytes) = journal(&scenario.whole);
    let id = run.parse().unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == b'\n').map(|i| i + 1).collect();
    let cuts: Vec<usize> = (0..=bytes.len()).collect();
    let chunks: Vec<&[usize]> = cuts.chunks(500).collect();
    let read = |upto: usize| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(format!("{run}.jsonl")), &bytes[..upto]).unwrap();
        bqlib::journal::read(directory.path(), &id).map(|run| (run.status, run.touched, run.steps.len()))
    };
    all("cut journals", &chunks, |chunk| {
        let mut last = None;
        for cut in *chunk {
            let whole = ends.iter().copied().take_while(|end| end <= cut).last();
            let got = read(*cut);
            match whole {
                // No line is whole: there is no run to speak of, and it says so.
                None if got.is_err() => {}
                None => return Err(format!("cut after {cut} bytes it is read as a run")),
                Some(whole) => {
                    if last.as_ref().is_none_or(|(at, _)| *at != whole) {
                        last = Some((
                            whole,
                            read(whole).map_err(|e| format!("cut after {whole} bytes: {e:?}"))?,
                        ));
                    }
                    let got = got.map_err(|e| format!("cut after {cut} bytes: {e:?}"))?;
                    if last.as_ref().is_some_and(|(_, want)| *want != got) {
                        return Err(format!("cut after {cut} bytes it is another run than after {whole}"));
                    }
                }
            }
        }
        Ok(())
    });
    say(&format!(
        "cut journals: read at each of {} bytes, in {:.0} s",
        bytes.len(),
        started.elapsed().as_secs_f32()
    ));
}

#[test]
fn a_journal_that_lost_lines_is_recovered_or_refused() {
    let _machine = share_the_machine();
    let prepared: Vec<Prepared> = SCENARIOS.iter().map(prepare).collect();
    let mut plays = Vec::new();
    let finished = prepared.iter().map(|scenario| (scenario, &scenario.whole));
    // Migrated, and not put back yet.
    let begun = prepared.iter().filter(|scenario| !scenario.scenario.before.is_empty());
    for (scenario, from) in finished.chain(begun.map(|scenario| (scenario, &scenario.base))) {
        let (run, bytes) = journal(from);
        let mut start = 0;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let restored = std::ptr::eq(from, &scenario.whole);
            // The events up to the last table are there together, or none is: without the tables nobody knows where to look for a job.
            if restored || start >= tables_end(&bytes) {
                plays.push((scenario, from, run.clone(), bytes[..start].to_vec()));
                plays.push((scenario, from, run.clone(), bytes[..start + line.len() / 2].to_vec()));
            }
            start += line.len();
        }
    }
    all("recovery from cut journals", &plays, |(scenario, from, run, bytes)| {
        let stage = from.copy();
        let before = stage.tables();
        let text = String::from_utf8_lossy(bytes).into_owned();
        let moved = text.replace(from.url(), stage.url());
        fs::write(stage.journal_file(run), moved).unwrap();
        stage.later(10);
        let ran = stage.sh(&format!("bq-restore -j 1 --run {run}"), None);
        let told = |why: String| {
            let name = scenario.scenario.name;
            let lines = text.lines().count();
            format!(
                "{name}, cut after {lines} lines: {why}\n{}-> {}",
                ran.stderr, ran.status
            )
        };
        at_any_time(&stage, &scenario.wanted, &ran).map_err(told)?;
        let after = stage.tables();
        let was_accepted = scenario.wanted.after.is_some();
        if was_accepted && after != before {
            return Err(told("an accepted run's tables were changed unasked".to_owned()));
        }
        if after != before && after != scenario.wanted.before {
            return Err(told(format!(
                "the tables are neither as they were nor as at the cut: {after:#?}"
            )));
        }
        if ran.status == 1 && !was_accepted && after != scenario.wanted.before {
            return Err(told(
                "it says that no table was touched, and they are not as at the cut".to_owned(),
            ));
        }
        let pending = stage
            .journals()
            .values()
            .any(|events| ending(events) == Ending::Pending);
        match ran.status {
            10 => Ok(()),
            // It says that it cannot, or that nothing is there to be done.
            1 | 2 | 4 | 9 => Ok(()),
            // Accepted is accepted, whoever asks.
            other => Err(told(format!("{other}, pending: {pending}"))),
        }
    });
    say(&format!("cut journals: {} recoveries", plays.len()));
}
