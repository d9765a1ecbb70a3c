//! Golden transcripts: what the programs print, end with and ask of BigQuery, a folder a behaviour.
//!
//! `tests/transcripts/<behaviour>/` holds `cmd`, a sh script; if wanted `setup.sql` (run before, past the gateway), `faults`
//! (the gateway's script) and files for the working directory; and what must come of it: `stdout`, `stderr`, `status`,
//! `calls` (the requests made), `journal` (the events of each run). A file that is missing stands for nothing at all, and
//! `status` for 0. `${D}` in all of them is the transcript's own dataset, which exists if there is a `setup.sql`.
//!
//! `SNAPSHOTS=overwrite` records anew, but for `status`: that is a promise, written by hand. `TRANSCRIPT=word` runs only those
//! with the word in their name.

mod calls;
mod redact;
mod stage;

use redact::Redact;
use similar::TextDiff;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many run at a time on each server: while one waits for it, another computes.
const AT_A_TIME: usize = 2;

/// What a transcript is compared with, besides `status`.
const EXPECTATIONS: [&str; 4] = ["stdout", "stderr", "calls", "journal"];

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

/// The folders, by name.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(home())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("cmd").is_file())
        .collect();
    folders.sort();
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

/// A file's text; none: empty.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn transcripts_are_as_recorded() {
    let _machine = crate::scene::share_the_machine();
    let wanted = std::env::var("TRANSCRIPT").unwrap_or_default();
    let overwrite = std::env::var("SNAPSHOTS").is_ok_and(|value| value == "overwrite");
    let folders: Vec<PathBuf> = folders()
        .into_iter()
        .filter(|folder| name(folder).contains(&wanted))
        .collect();
    assert!(!folders.is_empty(), "no transcript is called `{wanted}`");
    let shared = stage::Shared::new();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..AT_A_TIME * shared.servers() {
            let (folders, shared, next, wrong) = (&folders, &shared, &next, &wrong);
            scope.spawn(move || {
                while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = check(folder, shared, thread % shared.servers(), overwrite) {
                        wrong.lock().unwrap().push((name(folder).to_owned(), why));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    for (name, why) in &wrong {
        let _ = writeln!(std::io::stderr(), "---- transcript {name} ----\n{why}");
    }
    let names: Vec<&str> = wrong.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.is_empty(),
        "{} of {} differ: {names:#?}",
        names.len(),
        folders.len()
    );
}

/// Plays one and compares; `Err` with the differences.
fn check(folder: &Path, shared: &stage::Shared, server: usize, overwrite: bool) -> Result<(), String> {
    let played = stage::play(folder, shared, server)?;
    let redact = Redact::of(&played.places);
    let mut differences = String::new();
    let expected: i32 = match text(&folder.join("status")).trim() {
        "" => 0,
        status => status.parse().map_err(|e| format!("status: {e}"))?,
    };
    if played.status != expected {
        differences.push_str(&format!("status: {} instead of {expected}\n", played.status));
    }
    for which in EXPECTATIONS {
        let got = match which {
            "stdout" => redact.text(&played.stdout),
            "stderr" => redact.text(&played.stderr),
            "calls" => calls::list(&played.calls, &redact),
            _ => stage::journals(&played.directory),
        };
        let path = folder.join(which);
        let want = text(&path);
        if got == want {
            continue;
        }
        if overwrite {
            match got.is_empty() {
                true => fs::remove_file(&path),
                false => fs::write(&path, &got),
            }
            .map_err(|e| format!("{which}: {e}"))?;
        } else {
            let diff = TextDiff::from_lines(&want, &got);
            let mut unified = diff.unified_diff();
            differences.push_str(&unified.context_radius(2).header(which, "now").to_string());
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences)
    }
}

// ---- laws over what is recorded ----

/// The calls of a transcript, each as often as it was made.
fn recorded_calls(name: &str) -> usize {
    text(&home().join(name).join("calls"))
        .lines()
        .map(|line| line.trim_start().split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

#[test]
fn bq_snap_makes_four_requests_a_table_and_a_few() {
    let (one, twelve) = (recorded_calls("snap_one_table"), recorded_calls("snap_twelve_tables"));
    assert!(one > 0 && one <= 4 + 8, "{one}");
    assert!(twelve - one <= 11 * 4, "{one} for one table, {twelve} for twelve");
}

#[test]
fn bq_count_asks_one_query_for_twelve_tables() {
    let calls = text(&home().join("count_twelve_tables/calls"));
    let queries: Vec<&str> = calls.lines().filter(|line| line.contains(" POST jobs")).collect();
    assert_eq!(queries.len(), 1, "{calls}");
    assert!(queries[0].trim_start().starts_with("1 "), "{calls}");
}

/// Whether a line shows one of a file, or a caret under it: `  12 | …`, `     | ^`.
fn is_numbered(line: &str) -> bool {
    let margin = line.strip_prefix("  ").and_then(|line| line.split_once('|'));
    margin.is_some_and(|(number, _)| number.trim().chars().all(|c| c.is_ascii_digit()))
}

#[test]
fn every_error_and_warning_is_three_lines() {
    for folder in folders() {
        let stderr = text(&folder.join("stderr"));
        let mut lines = stderr.lines();
        while let Some(line) = lines.next() {
            let said = ["bq-snap", "bq-run", "bq-count", "bq-check", "bq-restore"]
                .iter()
                .find_map(|program| line.strip_prefix(program)?.strip_prefix(": "));
            let said = said.unwrap_or_else(|| panic!("{}: a line of nobody's: {line}", name(&folder)));
            if said.starts_with("error: ") || said.starts_with("warning: ") {
                let mut next = || lines.next().unwrap_or_default();
                let at = next();
                // What has a place in a text is shown, with a caret under it: an expectation, a column's name; nothing else is.
                let has_a_place =
                    said.contains(" is no expectation of a row count: ") || said.starts_with("error: unknown column ");
                let shown = has_a_place.then(|| [next(), next()]);
                let mut hint = next();
                // Of a SQL file the lines around are shown, with their numbers.
                let in_a_file = at.contains(".sql, line ") && at.contains(", column ");
                let mut around = Vec::new();
                while in_a_file && is_numbered(hint) {
                    around.push(hint);
                    hint = next();
                }
                let carets = around
                    .iter()
                    .filter(|line| line.ends_with("| ^") || line.ends_with(" ^"))
                    .count();
                assert_eq!(carets, usize::from(!around.is_empty()), "{}: {around:?}", name(&folder));
                let is_caret = |line: &str| line.strip_prefix("  | ").is_some_and(|rest| rest.trim_start() == "^");
                assert!(
                    at.starts_with("at: ")
                        && hint.starts_with("hint: ")
                        && shown.is_none_or(|[text, caret]| text.starts_with("  | ") && is_caret(caret)),
                    "{}: {line}\n{at}\n{shown:?}\n{hint}",
                    name(&folder)
                );
            }
        }
    }
}

#[test]
fn every_program_shows_each_of_its_codes() {
    let mut ends: BTreeSet<String> = BTreeSet::new();
    for folder in folders() {
        let stdout = text(&folder.join("stdout"));
        ends.extend(
            stdout
                .lines()
                .filter(|l| l.contains(r#""type":"end""#))
                .map(str::to_owned),
        );
    }
    for (program, codes) in [
        ("bq-snap", &[0, 2, 4, 6, 7, 8][..]),
        ("bq-run", &[0, 1, 2, 4, 5, 6, 7, 8, 9, 143]),
        ("bq-count", &[0, 1, 2, 4, 5, 7, 8]),
        ("bq-check", &[0, 1, 2, 4, 5, 6, 7, 8, 9]),
        ("bq-restore", &[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
    ] {
        for code in codes {
            let shown = |end: &String| {
                end.contains(&format!(r#""tool":"{program}""#)) && end.contains(&format!(r#""code":{code},"#))
            };
            assert!(
                ends.iter().any(shown),
                "no transcript shows {program} ending with {code}"
            );
        }
    }
}
