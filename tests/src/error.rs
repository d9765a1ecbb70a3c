//! A failure of the test machinery in three lines: what, where, what to do next.
//!
//! It knows no exit numbers but the two that `bq-local` has of its own.

use std::fmt;

/// Whose fault a failure is; it decides `bq-local`'s exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A wrong flag or file, or no Python: the caller can mend it. Exit 2.
    Usage,
    /// The local BigQuery could not be started or died. Exit 1.
    Emulator,
    /// Somebody asked for a stop before there was anything to stop.
    Stopped,
}

/// What went wrong, where, and what to do next: the three lines that `Display` prints. The last words of a child are
/// for whoever prints it to show before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit status.
    pub kind: Kind,
    /// One sentence, lower case, no final period.
    pub what: String,
    /// A file, a flag or an address.
    pub at: String,
    /// What to type or install next.
    pub hint: String,
    /// The last lines of a child's output; empty when no child spoke.
    pub tail: String,
}

impl Error {
    /// A failure the caller can mend.
    pub fn usage(what: impl Into<String>, at: impl fmt::Display, hint: impl Into<String>) -> Self {
        Error {
            kind: Kind::Usage,
            what: what.into(),
            at: at.to_string(),
            hint: hint.into(),
            tail: String::new(),
        }
    }

    /// A failure of the local BigQuery.
    pub fn emulator(what: impl Into<String>, at: impl fmt::Display, hint: impl Into<String>) -> Self {
        Error {
            kind: Kind::Emulator,
            ..Error::usage(what, at, hint)
        }
    }

    /// Not a failure: the caller's [`Stop`](crate::Stop) was asked.
    pub fn stopped(at: impl fmt::Display) -> Self {
        Error {
            kind: Kind::Stopped,
            ..Error::usage("stopped", at, "run it again")
        }
    }

    /// Adds the last `lines` lines of a child's output.
    #[must_use]
    pub fn with_tail(mut self, output: &str, lines: usize) -> Self {
        let all: Vec<&str> = output.trim_end().lines().collect();
        let from = all.len().saturating_sub(lines);
        self.tail = all.get(from..).unwrap_or_default().join("\n");
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(f, "at: {}", self.at)?;
        write!(f, "hint: {}", self.hint)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_and_the_last_words_of_a_child_apart() {
        let error = Error::emulator("it ended", "launcher.py", "read its words").with_tail("a\nb\nc\n", 2);
        assert_eq!(error.to_string(), "it ended\nat: launcher.py\nhint: read its words");
        assert_eq!(error.tail, "b\nc");
    }
}
