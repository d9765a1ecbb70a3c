//! PURE: what BigQuery's answer to a dry run says of the statement.

use std::collections::BTreeSet;

use crate::exit::one_line;

/// How a statement stands before it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// BigQuery finds nothing wrong.
    Validated,
    /// That cannot be known before the script runs: why.
    NotKnowable(String),
    /// BigQuery finds it wrong: its message, and the byte of the file where, if it said so.
    Wrong(String, Option<usize>),
    /// There is nothing to validate.
    NoNeed,
}

/// What BigQuery said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Nothing is wrong; the bytes it would process, and the tables that it reads.
    Fine {
        /// Bytes.
        bytes: Option<u64>,
        /// `project.dataset.table`.
        reads: BTreeSet<String>,
    },
    /// It is wrong: the message, where in the file, and whether the endpoint only has no such dry run.
    Wrong {
        /// BigQuery's words.
        message: String,
        /// The byte of the file.
        at: Option<usize>,
        /// It is not the SQL that is wrong.
        unsupported: bool,
    },
}

/// What an answer means. `under`: why it says nothing whatever it says, if it does; `beneath`: the same by the tables that BigQuery says are
/// read; `excuse`: why it may not be wrong that is found wrong, by the message.
pub fn verdict(
    said: &Said,
    under: Option<String>,
    beneath: impl Fn(&BTreeSet<String>) -> Option<String>,
    excuse: impl Fn(&str) -> Option<String>,
    stops_early: Option<&String>,
) -> Verdict {
    match said {
        Said::Fine { reads, .. } => match under.or_else(|| beneath(reads)).or_else(|| stops_early.cloned()) {
            Some(why) => Verdict::NotKnowable(why),
            None => Verdict::Validated,
        },
        Said::Wrong {
            message, unsupported, ..
        } if *unsupported || is_of_the_dry_run(message) => {
            Verdict::NotKnowable(format!("BigQuery does not dry-run it: {}", one_line(message)))
        }
        Said::Wrong { message, at, .. } => match under.or_else(|| excuse(message)) {
            Some(why) => Verdict::NotKnowable(why),
            None => Verdict::Wrong(one_line(message), *at),
        },
    }
}

/// Whether it is the dry run that BigQuery refuses, and not what is to run.
fn is_of_the_dry_run(message: &str) -> bool {
    let message = message.to_lowercase();
    ["dry run", "dry-run", "dryrun"]
        .iter()
        .any(|word| message.contains(word))
}
