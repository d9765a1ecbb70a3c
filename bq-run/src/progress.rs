//! How far a long job is, for a person at a terminal: which statement it is at, for how long, and how much it has read.
//!
//! Where there is no terminal nothing is asked for it.

use std::convert::Infallible;
use std::time::Duration;

use bqlib::api::{Api, Job};
use bqlib::failing::{count, number, stands};
use bqlib::names::JobId;
use bqlib::progress::in_words;
use bqlib::source::Source;
use bqlib::tool::Tool;

/// BigQuery is asked no more often.
const LOOKS: Duration = Duration::from_secs(5);

/// What is known of a job that runs.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// The statement that it is at, and of how many.
    at: Option<(usize, Option<usize>)>,
    /// Bytes that its statements have processed.
    bytes: Option<u64>,
}

/// Says how far a file's job is, for as long as it is waited for.
pub(crate) async fn follow(t: &Tool, api: &Api<'_>, source: &Source, job: &JobId) -> Infallible {
    let Some(line) = t.bars().line() else {
        return std::future::pending().await;
    };
    let several = count(&source.statements) != Some(1);
    let (started, mut looked, mut seen) = (t.clock.elapsed(), t.clock.elapsed(), Seen::default());
    loop {
        let now = t.clock.elapsed();
        line.tell(words(&source.name, &seen, now.saturating_sub(started)));
        // A job that is one statement has no children to be asked for.
        if several && now.saturating_sub(looked) >= LOOKS {
            looked = now;
            if let Ok((children, all)) = api.children_so_far(job).await {
                seen = of_children(source, &children, all);
            }
        }
        // The terminal's own pace: no clock of a test is moved by it.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What the children of a script tell.
fn of_children(source: &Source, children: &[Job], all: bool) -> Seen {
    let of_statement = |child: &&Job| {
        let kind = child.get(&["statistics", "scriptStatistics", "evaluationKind"]);
        kind.as_str() != Some("EXPRESSION")
    };
    let counted = children.iter().filter(of_statement).count();
    let newest = children
        .last()
        .and_then(|child| number(&source.statements, stands(&source.sql, child)?));
    Seen {
        at: match newest {
            Some((at, of)) => Some((at, Some(of))),
            None => Some((counted, None)).filter(|_| all && counted > 0),
        },
        bytes: all.then(|| children.iter().filter_map(Job::bytes_processed).sum()),
    }
}

fn words(file: &str, seen: &Seen, elapsed: Duration) -> String {
    let (minutes, seconds) = (elapsed.as_secs() / 60, elapsed.as_secs() % 60);
    let elapsed = match minutes / 60 {
        0 => format!("{minutes:02}:{seconds:02}"),
        hours => format!("{hours}:{:02}:{seconds:02}", minutes % 60),
    };
    let statement = match seen.at {
        Some((at, Some(of))) => format!("statement {at} of {of}, "),
        Some((at, None)) => format!("statement {at}, "),
        None => String::new(),
    };
    let bytes = seen
        .bytes
        .map_or_else(String::new, |bytes| format!(", {}", in_words(bytes)));
    format!("{file}: {statement}{elapsed}{bytes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        let said = |at, bytes, seconds| words("m.sql", &Seen { at, bytes }, Duration::from_secs(seconds));
        assert_eq!(
            said(Some((3, Some(7))), Some(1_288_490_189), 42),
            "m.sql: statement 3 of 7, 00:42, 1.20 GiB"
        );
        assert_eq!(
            said(Some((12, None)), Some(0), 3723),
            "m.sql: statement 12, 1:02:03, 0 B"
        );
        assert_eq!(said(None, None, 0), "m.sql: 00:00");
    }
}
