//! PURE: what BigQuery's answer to a dry run says of the statement.

use std::collections::BTreeSet;
use std::fmt;

use crate::exit::one_line;
use crate::migration::is_temporary;
use crate::names::TableRef;
use crate::script::{Deed, Kind};

use super::things::{Deeds, Thing};

/// How a statement stands before it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// BigQuery finds nothing wrong.
    Validated,
    /// That cannot be known before the script runs: why.
    NotKnowable(String),
    /// BigQuery finds it wrong: its message, and the byte of the file where, if it said so.
    Wrong(String, Option<usize>),
    /// BigQuery finds it wrong, and the script may be right all the same, for it may not run: why, the message, and the byte.
    MayFail(String, Option<usize>),
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
/// read; `excuse`: why it may not be wrong that is found wrong, by the message; `may_not_run`: why it may not run at all.
pub fn verdict(
    said: &Said,
    under: Option<String>,
    beneath: impl Fn(&BTreeSet<String>) -> Option<String>,
    excuse: impl Fn(&str) -> Option<String>,
    stops_early: Option<&String>,
    may_not_run: impl FnOnce() -> Option<String>,
) -> Verdict {
    match said {
        Said::Fine { reads, .. } => match under.or_else(|| beneath(reads)).or_else(|| stops_early.cloned()) {
            Some(why) => Verdict::NotKnowable(why),
            None => Verdict::Validated,
        },
        // Whatever runs before it: BigQuery reads a whole script before it runs any of it.
        Said::Wrong { message, at, .. } if is_of_the_syntax(message) => Verdict::Wrong(one_line(message), *at),
        Said::Wrong {
            message, unsupported, ..
        } if *unsupported || is_of_the_dry_run(message) => {
            Verdict::NotKnowable(format!("BigQuery does not dry-run it: {}", one_line(message)))
        }
        Said::Wrong { message, at, .. } => match under.or_else(|| excuse(message)) {
            Some(why) => Verdict::NotKnowable(why),
            None => match may_not_run() {
                Some(why) => Verdict::MayFail(format!("{why}; now BigQuery says: {}", one_line(message)), *at),
                None => Verdict::Wrong(one_line(message), *at),
            },
        },
    }
}

/// Whether a message is about words that are no GoogleSQL, whatever tables there are.
pub fn is_of_the_syntax(message: &str) -> bool {
    ["Syntax error", "Unclosed", "Illegal"]
        .iter()
        .any(|begins| message.starts_with(begins))
}

/// What BigQuery takes a statement for.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Its `statementType`.
    pub kind: String,
    /// The table that it writes, if it is not the one that was read here.
    pub table: Option<TableRef>,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind.replace('_', " "))?;
        match &self.table {
            Some(table) => write!(f, " of `{table}`"),
            None => Ok(()),
        }
    }
}

/// What BigQuery takes a statement for, where that is not what it was read as here: a query that is none, or another table. `kind` and
/// `written` are of its answer; it need not say either.
pub fn other_reading(ours: Kind, deeds: &Deeds, kind: &str, written: Option<TableRef>) -> Option<Reading> {
    if matches!(kind, "" | "SCRIPT" | "SELECT" | "ASSERT") {
        return None;
    }
    let tables = || {
        deeds.effects.iter().filter_map(|(deed, thing)| match thing {
            Thing::Table(table) if *deed != Deed::Beyond => Some(table.to_string()),
            _ => None,
        })
    };
    let is_new = |table: &TableRef| {
        let name = table.to_string();
        !is_temporary(table.dataset.as_str()) && !tables().any(|ours| ours.eq_ignore_ascii_case(&name))
    };
    let table = written.filter(is_new);
    let reads = matches!(ours, Kind::Select | Kind::Assert) && deeds.effects.is_empty();
    // What is done to no table here, such as a policy's, may well be called by its table there.
    let differs = reads || (table.is_some() && tables().next().is_some());
    let kind = kind.to_owned();
    differs.then_some(Reading { kind, table })
}

/// Whether it is the dry run that BigQuery refuses, and not what is to run: in its own words, not in a name or a literal that it repeats.
fn is_of_the_dry_run(message: &str) -> bool {
    let message = unquoted(&message.to_lowercase());
    let words = message
        .split_whitespace()
        .map(|word| word.trim_matches([',', ';', '(', ')', '.']));
    let words: Vec<&str> = words.collect();
    let named = words.iter().any(|word| matches!(*word, "dryrun" | "dry-run"))
        || words.windows(2).any(|two| matches!(two, ["dry", "run" | "runs"]));
    let refused = ["support", "allow", "cannot", "can't", "available"];
    named && refused.iter().any(|word| message.contains(word))
}

/// A message without what it quotes.
fn unquoted(message: &str) -> String {
    let mut left = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(['\'', '"', '`']) {
        let (before, quoted) = rest.split_at(at);
        let (quote, behind) = quoted.split_at(1);
        left.push_str(before);
        // An apostrophe in a word quotes nothing.
        let quotes = !before.ends_with(char::is_alphanumeric);
        rest = match behind.split_once(quote).filter(|_| quotes) {
            Some((_, behind)) => behind,
            None => behind,
        };
    }
    left + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foresight::deeds;
    use crate::script::read;

    #[test]
    fn a_dry_run_that_is_refused_is_told_from_names_and_literals() {
        for (message, is) in [
            ("Dry run of CREATE TEMP TABLE is not supported", true),
            ("CREATE TEMP TABLE is not supported in dry-run mode", true),
            ("Can't dryRun this statement: 'x' is not supported", true),
            ("Not found: Table p:d.dryrun_orders is not available", false),
            ("Unrecognized name: dryrun", false),
            ("Could not cast literal \"dry run not supported\" to type INT64", false),
            ("Column `dry run` cannot be used", false),
        ] {
            assert_eq!(is_of_the_dry_run(message), is, "{message}");
        }
    }

    #[test]
    fn bigquery_has_a_second_opinion() {
        let table = |name: &str| TableRef::parse(name, None).ok();
        let scratch = "p._0123456789abcdef0123456789abcdef01234567.anon";
        for (text, kind, written, other) in [
            ("SELECT 1", "SELECT", Some(scratch), false),
            ("SELECT 1", "", None, false),
            ("SELECT 1", "SCRIPT", None, false),
            ("SELECT 1", "DELETE", Some("p.d.t"), true),
            ("ASSERT TRUE", "DROP_TABLE", None, true),
            ("UPDATE d.t SET a = 1 WHERE TRUE", "UPDATE", Some("p.d.t"), false),
            ("UPDATE d.t SET a = 1 WHERE TRUE", "UPDATE", Some("p.d.T"), false),
            ("UPDATE d.t SET a = 1 WHERE TRUE", "UPDATE", None, false),
            ("UPDATE d.t SET a = 1 WHERE TRUE", "UPDATE", Some("p.d.u"), true),
            (
                "DROP ROW ACCESS POLICY x ON d.t",
                "DROP_ROW_ACCESS_POLICY",
                Some("p.d.t"),
                false,
            ),
        ] {
            let statements = read(text).unwrap();
            let deeds = deeds(text, &statements, &"p".parse().unwrap(), None);
            let found = other_reading(statements[0].kind, &deeds[0], kind, written.and_then(table));
            assert_eq!(found.is_some(), other, "{text} {kind} {written:?}: {found:?}");
        }
    }
}
