//! The one table of exit codes, and the one shape of a failure.
//!
//! Every program of the house ends through [`Exit`]; `--help` prints this table from [`Exit::table`], so that
//! what a caller reads and what a caller gets cannot part. Knows nothing of BigQuery, files or terminals.

use std::fmt;

use crate::names::{JobId, TableRef};

pub use crate::pointer::Pointer;

/// How a program ended: what a shell sees in `$?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: did it; accepted; nothing needed doing.
    Ok,
    /// 1: worked, and the answer is no.
    No,
    /// 2: bad flag, file, line or configuration.
    Usage,
    /// 3: part done, part not; running it again continues.
    Partial,
    /// 4: a guard stopped it.
    Refused,
    /// 5: the input stream is broken or says it failed, or the reader went away.
    Upstream,
    /// 6: another process, or a line in hand, holds this run.
    Busy,
    /// 7: BigQuery or the network failed beyond the program's own retries.
    Retry,
    /// 8: no credentials, or no permission.
    Denied,
    /// 9: it cannot be established whether a change happened, or a restored table differs from the cut.
    Unknown,
    /// 10: the tables asked for have just been compared with the cut and are equal; their run was not accepted.
    RolledBack,
    /// 128 + n: ended by signal n, journal complete.
    Signal(u8),
}

/// The codes in the order of the table that people read.
const ALL: [Exit; 12] = [
    Exit::Ok,
    Exit::No,
    Exit::Usage,
    Exit::Partial,
    Exit::Refused,
    Exit::Upstream,
    Exit::Busy,
    Exit::Retry,
    Exit::Denied,
    Exit::Unknown,
    Exit::RolledBack,
    Exit::Signal(0),
];

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
            Exit::Refused => 4,
            Exit::Upstream => 5,
            Exit::Busy => 6,
            Exit::Retry => 7,
            Exit::Denied => 8,
            Exit::Unknown => 9,
            Exit::RolledBack => 10,
            Exit::Signal(n) => 128_u8.saturating_add(n),
        }
    }

    /// The word for the code in `end` records and messages.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Exit::Ok => ("ok", "did it; accepted; nothing needed doing", "as asked"),
            Exit::No => (
                "no",
                "worked, and the answer is no: not accepted, the SQL failed, nothing pending",
                "the records say",
            ),
            Exit::Usage => ("usage", "bad flag, file, line or configuration", "untouched"),
            Exit::Partial => (
                "partial",
                "part done, part not; running it again continues",
                "the records say",
            ),
            Exit::Refused => ("refused", "a guard stopped it", "untouched by this program"),
            Exit::Upstream => (
                "upstream",
                "the input stream is broken or says it failed, or the reader went away",
                "untouched if nothing was sent, else as journaled",
            ),
            Exit::Busy => (
                "busy",
                "another process, or a line in hand, holds this run",
                "untouched",
            ),
            Exit::Retry => (
                "retry",
                "BigQuery or the network failed beyond the program's own retries",
                "untouched, or journaled",
            ),
            Exit::Denied => (
                "denied",
                "no credentials, or no permission (the message names it)",
                "untouched by the denied call",
            ),
            Exit::Unknown => (
                "unknown",
                "it cannot be established whether a change happened, or a restored table differs from the cut",
                "unknown: a person should look",
            ),
            Exit::RolledBack => (
                "rolled-back",
                "the tables asked for have just been compared with the cut and are equal; the run was not accepted",
                "equal to the cut",
            ),
            Exit::Signal(_) => ("signal", "INT, TERM or HUP; journal complete", "as journaled"),
        }
    }

    /// The whole table, as `--help` prints it.
    pub fn table() -> String {
        let mut text = String::from("Exit status:\n");
        for exit in ALL {
            let (name, meaning, data) = exit.words();
            let code = match exit {
                Exit::Signal(_) => "128+n".to_owned(),
                other => other.code().to_string(),
            };
            text.push_str(&format!("  {code:>5}  {name:<12} {}\n", wrapped(meaning)));
            text.push_str(&format!("{INDENT}data: {}\n", wrapped(data)));
        }
        text.push_str("New codes may come: treat any you do not know as failure.");
        text
    }

    /// Of two codes that both apply, the one to report: 9, then 3, 4, 1, then the rest, and 0 last.
    #[must_use]
    pub fn or_graver(self, other: Exit) -> Exit {
        fn rank(exit: Exit) -> u8 {
            match exit {
                Exit::Unknown => 0,
                Exit::Partial => 1,
                Exit::Refused => 2,
                Exit::No => 3,
                Exit::RolledBack => 5,
                Exit::Ok => 6,
                _ => 4,
            }
        }
        if rank(other) < rank(self) { other } else { self }
    }
}

/// Where the meanings stand in the table.
const INDENT: &str = "                      ";

/// Words folded to lines that fit 80 columns beside the codes: a terminal's own folding would break the table.
fn wrapped(words: &str) -> String {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < 50 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join(&format!("\n{INDENT}"))
}

/// Why a program could not do what was asked: one sentence, a place, and what to type next.
///
/// `Display` prints the three lines that reach stderr, and those of the pointer, if there is one, below `at:`.
/// Secrets never enter it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// What is wrong, lower case, no final period.
    pub what: String,
    /// Where: a file and line, a table, a job, a URL.
    pub at: String,
    /// What to do next, preferably a command.
    pub hint: String,
    /// BigQuery's reason word, if it gave one.
    pub reason: Option<String>,
    /// The job that this is about.
    pub job: Option<JobId>,
    /// The table that this is about.
    pub table: Option<TableRef>,
    /// The place in what the caller wrote.
    pub pointer: Option<Box<Pointer>>,
}

impl Failure {
    /// A failure with its three lines.
    pub fn new(exit: Exit, what: impl Into<String>, at: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure {
            exit,
            what: what.into(),
            at: at.into(),
            hint: hint.into(),
            reason: None,
            job: None,
            table: None,
            pointer: None,
        }
    }

    /// A mistake of the caller's (2): nothing was asked of BigQuery.
    pub fn usage(what: impl Into<String>, at: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, what, at, hint)
    }

    /// A guard of ours (4).
    pub fn refused(what: impl Into<String>, at: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::new(Exit::Refused, what, at, hint)
    }

    /// The same failure, about this table.
    #[must_use]
    pub fn about(mut self, table: &TableRef) -> Failure {
        self.table = Some(table.clone());
        self
    }

    /// The same failure, at this place of what the caller wrote.
    #[must_use]
    pub fn pointing(mut self, pointer: Pointer) -> Failure {
        self.pointer = Some(Box::new(pointer));
        self
    }

    /// The same failure, about this job.
    #[must_use]
    pub fn of_job(mut self, job: &JobId) -> Failure {
        self.job = Some(job.clone());
        self
    }

    /// The same failure under another code: the caller knows better what it means for the data.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nat: {}", one_line(&self.what), one_line(&self.at))?;
        if let Some(pointer) = &self.pointer {
            write!(f, "\n{pointer}")?;
        }
        write!(f, "\nhint: {}", one_line(&self.hint))
    }
}

impl std::error::Error for Failure {}

/// Text from outside (BigQuery's messages span lines) folded to one line, so that an error stays three lines.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graver_of_two_is_9_then_3_4_1_then_the_rest() {
        let order = [
            Exit::Unknown,
            Exit::Partial,
            Exit::Refused,
            Exit::No,
            Exit::Retry,
            Exit::RolledBack,
            Exit::Ok,
        ];
        for (i, a) in order.iter().enumerate() {
            for b in &order[i..] {
                assert_eq!(a.or_graver(*b), *a, "{a:?} against {b:?}");
                assert_eq!(b.or_graver(*a), *a, "{b:?} against {a:?}");
            }
        }
    }

    #[test]
    fn a_failure_is_three_lines_whatever_bigquery_said() {
        let failure = Failure::usage("bad\n\nthing", "a\nb", "c");
        assert_eq!(failure.to_string().lines().count(), 3);
    }
}
