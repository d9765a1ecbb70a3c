//! PURE: what is said of a statement that failed: which it is, where in the user's file, and what BigQuery says of it.
//!
//! Asks nothing. That the place stands in `at:` and under the caret is why BigQuery's own, which counts otherwise, is left out.

use bqlib::api::JobError;
use bqlib::exit::{Failure, one_line};
use bqlib::failing::Failing;
use bqlib::place::Told;
use bqlib::source::Source;

/// The failure of a job, at its place in the file.
pub(crate) fn located(source: &Source, failure: Failure, error: &JobError, found: &Failing) -> Failure {
    let of = [
        Some(source.name.clone()),
        Some(found.words()).filter(|words| !words.is_empty()),
    ];
    let of: Vec<String> = of.into_iter().flatten().collect();
    let what = format!("{}: {}", of.join(": "), said(error, "", found));
    let job = failure.at.clone();
    let failure = source.locate(Failure { what, ..failure }, found.offset);
    let at = format!("{}, {job}", failure.at);
    Failure { at, ..failure }
}

/// What the record says, on one line: BigQuery's words, the statement's place in the file, and the reason.
pub(crate) fn in_record(source: &Source, error: &JobError, found: &Failing) -> String {
    one_line(&said(error, &format!(" at {}", source.place(found.offset)), found))
}

/// BigQuery's words with this place instead of its own, where in what was called it was, and the reason.
fn said(error: &JobError, at: &str, found: &Failing) -> String {
    let message = error.message.strip_prefix("Query error: ").unwrap_or(&error.message);
    let (message, behind) = Told::of(message).map_or((message, ""), |told| (told.before, told.after));
    let inside = found
        .inside_words()
        .map_or_else(String::new, |words| format!(", {words}"));
    format!("{message}{behind}{at}{inside} ({})", error.reason)
}
