//! What was judged in all the processes of a test run: each adds its counts to one file, and a report reads it.
//!
//! The file is named by [`LEDGER`]; where it is not set nothing is written. `make test` sets it, begins it anew, and
//! prints the report. It is JSON lines, each written at once: what many processes append does not mix.

use super::{Definition, Wrong};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The environment variable that names the file.
pub const LEDGER: &str = "BQ_CONFORMANCE_LEDGER";

/// Fewer requests than this in a whole run, and something is not looked at any more.
const FEWEST: u64 = 5_000;

/// How much of a body is shown, in characters.
const MOST_OF_A_BODY: usize = 1_000;

/// How often each method was called.
type Counts = BTreeMap<String, u64>;

/// A line: what was judged since the line before.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Tally {
    /// The edition of the document.
    revision: String,
    /// Requests of the five programs.
    ours: Counts,
    /// Conforming requests of others: tests, Google's client.
    others: Counts,
    /// Requests of others that do not conform: tests may do that.
    strange: u64,
    /// Answers of the pretend BigQuery.
    answers: Counts,
    /// What judging the requests of the five took, and the answers.
    nanoseconds: u64,
    answers_nanoseconds: u64,
    /// What must not be.
    violations: Vec<Violation>,
}

/// A request of ours, or an answer of the pretend BigQuery, that does not conform.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Violation {
    /// `User-Agent`, or `the pretend BigQuery`.
    pub who: String,
    /// Method and target.
    pub call: String,
    /// What is wrong.
    pub wrong: String,
    /// The JSON that was sent.
    pub body: Value,
}

/// Of this process, and not yet written.
static TALLY: Mutex<Option<Tally>> = Mutex::new(None);

fn tally() -> MutexGuard<'static, Option<Tally>> {
    TALLY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Judges and counts a request.
///
/// # Errors
/// It does not conform; if it is of one of ours it is a violation, remembered at once.
pub fn request(definition: &Definition, ask: &crate::gateway::Ask, json: &Value, agent: &str) -> Result<(), Wrong> {
    let began = Instant::now();
    let judged = definition.request(ask, json);
    let took = nanoseconds(began);
    let ours = super::is_ours(agent);
    let mut guard = tally();
    let tally = guard.get_or_insert_default();
    if ours {
        tally.nanoseconds += took;
    }
    match (&judged, ours) {
        (Ok(method), true) => count(&mut tally.ours, &method.id),
        (Ok(method), false) => count(&mut tally.others, &method.id),
        (Err(_), false) => tally.strange += 1,
        (Err(wrong), true) => {
            tally.violations.push(Violation {
                who: agent.to_owned(),
                call: format!("{} {}", ask.method, ask.target),
                wrong: wrong.to_string(),
                body: json.clone(),
            });
            write(&mut guard);
        }
    }
    judged.map(|_| ())
}

/// Judges and counts an answer of the pretend BigQuery that says that all went well.
///
/// # Errors
/// It does not conform: a violation, remembered at once.
pub fn answer(definition: &Definition, verb: &str, target: &str, json: &Value) -> Result<(), Wrong> {
    let began = Instant::now();
    let judged = definition.answer(verb, target, json);
    let took = nanoseconds(began);
    let mut guard = tally();
    let tally = guard.get_or_insert_default();
    tally.answers_nanoseconds += took;
    match &judged {
        Ok(method) => count(&mut tally.answers, &method.id),
        Err(wrong) => {
            tally.violations.push(Violation {
                who: "the pretend BigQuery".to_owned(),
                call: format!("{verb} {target}"),
                wrong: wrong.to_string(),
                body: json.clone(),
            });
            write(&mut guard);
        }
    }
    judged.map(|_| ())
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn count(counts: &mut Counts, method: &str) {
    match counts.get_mut(method) {
        Some(count) => *count += 1,
        None => drop(counts.insert(method.to_owned(), 1)),
    }
}

/// Adds what this process has judged to the file, if there is one: at the end of each gateway.
pub fn flush() {
    write(&mut tally());
}

fn write(tally: &mut Option<Tally>) {
    let Some(path) = std::env::var_os(LEDGER).filter(|path| !path.is_empty()) else {
        return;
    };
    let Some(mut judged) = tally.take() else {
        return;
    };
    judged.revision = Definition::shared().map_or_else(|_| String::new(), |d| d.revision.clone());
    let line = serde_json::to_string(&judged).map(|line| line + "\n");
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = line
        .map_err(std::io::Error::from)
        .and_then(|line| file?.write_all(line.as_bytes()));
    if let Err(error) = written {
        // Kept for another try; a count that stays away makes the report fail.
        *tally = Some(judged);
        let _ = writeln!(std::io::stderr(), "{}: {error}", Path::new(&path).display());
    }
}

// ---- the report ----

/// What a ledger says in words.
///
/// # Errors
/// It cannot be read, there is a violation in it, or too little was judged.
pub fn report(path: &Path) -> Result<String, Error> {
    let unread = |what: String| Error::usage(what, path.display(), "`make test` begins the ledger and fills it");
    let text =
        std::fs::read_to_string(path).map_err(|e| unread(format!("cannot read what was judged in the tests: {e}")))?;
    let mut all = Tally::default();
    for line in text.lines() {
        let tally = serde_json::from_str(line).map_err(|e| unread(format!("a line of the ledger is broken: {e}")))?;
        all.add(tally);
    }
    all.verdict(FEWEST)
        .map_err(|(what, hint)| Error::usage(what, path.display(), hint))
}

impl Tally {
    fn add(&mut self, other: Tally) {
        for (counts, more) in [
            (&mut self.ours, other.ours),
            (&mut self.others, other.others),
            (&mut self.answers, other.answers),
        ] {
            for (method, n) in more {
                *counts.entry(method).or_default() += n;
            }
        }
        self.strange += other.strange;
        self.nanoseconds += other.nanoseconds;
        self.answers_nanoseconds += other.answers_nanoseconds;
        self.violations.extend(other.violations);
        self.revision = self.revision.clone().max(other.revision);
    }

    /// The report; or what is wrong, and what to do about it.
    fn verdict(&self, fewest: u64) -> Result<String, (String, &'static str)> {
        let ours: u64 = self.ours.values().sum();
        let answers: u64 = self.answers.values().sum();
        if !self.violations.is_empty() {
            let told = self.violations.iter().take(10).map(|v| {
                let body: String = v.body.to_string().chars().take(MOST_OF_A_BODY).collect();
                format!("\n{}: {}: {}\n  {body}", v.who, v.call, v.wrong)
            });
            let told: String = told.collect();
            let number = self.violations.len();
            return Err((
                format!("{number} requests or answers do not conform to BigQuery v2:{told}"),
                "mend who sent it; the definition is `discovery.json` in the local BigQuery's environment",
            ));
        }
        if ours < fewest {
            return Err((
                format!("only {ours} requests of the five programs were judged; {fewest} is the least of a whole run"),
                "run all of it: `make test`; if that was all, the gateway does not judge any more",
            ));
        }
        let each = |nanoseconds: u64, of: u64| Duration::from_nanos(nanoseconds / of.max(1));
        let mut text = format!(
            "conformance: {} requests of {} methods validated against BigQuery v2 revision {}, 0 unknown fields or \
             parameters; {} answers of the pretend BigQuery validated\n",
            thousands(ours),
            self.ours.len(),
            self.revision,
            thousands(answers),
        );
        for (method, n) in &self.ours {
            let answered = self.answers.get(method).copied().unwrap_or_default();
            let (n, answered) = (thousands(*n), thousands(answered));
            text.push_str(&format!("  {method:<30} {n:>9} requests {answered:>9} answers\n"));
        }
        let others: u64 = self.others.values().sum();
        text.push_str(&format!(
            "  {:.1?} a request, {:.1?} an answer; of tests and of Google's client, not counted: {} that conform, {} \
             that do not",
            each(self.nanoseconds, ours),
            each(self.answers_nanoseconds, answers),
            thousands(others),
            thousands(self.strange),
        ));
        Ok(text)
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ours: u64) -> Tally {
        Tally {
            revision: "20260811".to_owned(),
            ours: Counts::from([("bigquery.jobs.get".to_owned(), ours)]),
            answers: Counts::from([("bigquery.jobs.get".to_owned(), 7)]),
            nanoseconds: ours * 3_000,
            ..Tally::default()
        }
    }

    fn reported(lines: &[Tally]) -> Result<String, Error> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let lines: String = lines
            .iter()
            .map(|line| serde_json::to_string(line).expect("a line") + "\n")
            .collect();
        std::fs::write(file.path(), lines).expect("written");
        report(file.path())
    }

    #[test]
    fn processes_add_up() {
        let told = reported(&[tally(1_234_000), tally(567)]).expect("a report");
        let first = "conformance: 1,234,567 requests of 1 methods validated against BigQuery v2 revision 20260811, \
                     0 unknown fields or parameters; 14 answers of the pretend BigQuery validated\n";
        assert!(told.starts_with(first), "{told}");
        assert!(told.contains("bigquery.jobs.get"), "{told}");
        assert!(told.contains("3.0µs a request"), "{told}");
    }

    #[test]
    fn one_violation_is_enough() {
        let violation = Violation {
            who: "bq-rollback/1 (bq-snap)".to_owned(),
            call: "GET /x".to_owned(),
            wrong: "not conforming to BigQuery v2: no method has the path /x".to_owned(),
            body: Value::Null,
        };
        let violations = vec![violation];
        let one = Tally {
            violations,
            ..Tally::default()
        };
        let error = reported(&[tally(10_000), one, tally(10_000)]).expect_err("a violation");
        assert!(
            error.what.starts_with("1 requests or answers do not conform"),
            "{error}"
        );
        assert!(error.what.contains("bq-snap): GET /x: not conforming"), "{error}");
    }

    #[test]
    fn too_little_is_no_success() {
        assert!(reported(&[tally(FEWEST - 1)]).is_err());
        assert!(reported(&[tally(FEWEST)]).is_ok());
        let error = reported(&[]).expect_err("an empty ledger");
        assert!(error.what.starts_with("only 0 requests"), "{error}");
        assert!(report(Path::new("no/such/ledger")).is_err());
        let broken = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(broken.path(), "{\"ours\":").expect("written");
        assert!(report(broken.path()).is_err());
    }
}
