//! PURE: which statement of a file a job failed at, from BigQuery's own account of it.
//!
//! A script runs its statements as child jobs, and each of them says where it stands in the script. Knows no file: places are those of
//! the text that was sent.
//! Source: `ScriptStatistics` of <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job>.

use std::ops::Range;

use serde_json::Value;

use crate::api::{Job, JobError};
use crate::exit::one_line;
use crate::meta::integer;
use crate::place::{Told, offset};
use crate::script::Statement;

/// The statement that a job failed at.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing {
    /// Where in what was sent it is wrong, as exactly as is known.
    pub offset: usize,
    /// Which statement it is, and of how many.
    pub number: Option<(usize, usize)>,
    /// Its kind, in BigQuery's words.
    pub kind: Option<String>,
    /// What it called in which it went wrong, and the line and column there.
    pub inside: Option<(String, u64, u64)>,
}

impl Failing {
    /// Which statement it is, in words; empty: nothing is known but the place.
    pub fn words(&self) -> String {
        let number = self.number.filter(|(_, all)| *all > 1);
        match (number, &self.kind) {
            (Some((n, all)), Some(kind)) => format!("statement {n} of {all} ({kind})"),
            (Some((n, all)), None) => format!("statement {n} of {all}"),
            (None, Some(kind)) => kind.clone(),
            (None, None) => String::new(),
        }
    }

    /// What it called that failed, in words.
    pub fn inside_words(&self) -> Option<String> {
        let (procedure, line, column) = self.inside.as_ref()?;
        Some(format!("in `{procedure}`, line {line}, column {column}"))
    }
}

/// Where a child job stands: the frame of its own text first, that of the script last.
struct Frame {
    start: (u64, u64),
    end: (u64, u64),
    text: String,
    procedure: Option<String>,
}

impl Frame {
    fn of(frame: &Value) -> Option<Frame> {
        let number = |key: &str| integer(frame.get(key).unwrap_or(&Value::Null));
        let text = |key: &str| frame.get(key).and_then(Value::as_str).map(str::to_owned);
        let start = (number("startLine")?, number("startColumn")?);
        let end = (number("endLine"), number("endColumn"));
        Some(Frame {
            start,
            end: (end.0.unwrap_or(start.0), end.1.unwrap_or(start.1)),
            text: text("text").unwrap_or_default(),
            procedure: text("procedureId").filter(|procedure| !procedure.is_empty()),
        })
    }

    /// Its bytes in the script.
    fn range(&self, sql: &str) -> Option<Range<usize>> {
        let place =
            |(line, column): (u64, u64)| offset(sql, usize::try_from(line).ok()?, usize::try_from(column).ok()?);
        let start = place(self.start)?;
        Some(start..place(self.end).unwrap_or(start).max(start))
    }
}

/// The statement that a job failed at, which was sent as this text of these statements and had these children.
pub fn failing(sql: &str, statements: &[Statement], error: &JobError, children: &[Job]) -> Option<Failing> {
    let said = Told::of(&error.message).and_then(|told| told.offset(sql));
    let whole = |offset: usize| Failing {
        offset,
        number: number(statements, offset),
        kind: None,
        inside: None,
    };
    // Where there is one statement it is that one, though nobody says so.
    let only = || Some(statements.first()?.range.start).filter(|_| statements.len() == 1);
    let Some((child, frames)) = cause(error, said.is_some(), children) else {
        return said.or_else(only).map(whole);
    };
    let Some(range) = frames.last().and_then(|frame| frame.range(sql)) else {
        return said.or_else(only).map(whole);
    };
    let inside = frames.len() > 1;
    // What was called counts its lines anew: only a place of the script itself is one in its text.
    let offset = said.filter(|said| !inside && range.start <= *said && *said <= range.end);
    let leaf = frames.first().filter(|_| inside);
    Some(Failing {
        kind: kind(child, &frames),
        inside: leaf.and_then(|leaf| Some((leaf.procedure.clone()?, leaf.start.0, leaf.start.1))),
        ..whole(offset.unwrap_or(range.start))
    })
}

/// The child job that the script's job failed of. One whose failure was caught is none, and there may be one behind it.
fn cause<'j>(error: &JobError, has_place: bool, children: &'j [Job]) -> Option<(&'j Job, Vec<Frame>)> {
    let failed = || {
        let failed = children.iter().rev();
        failed.filter_map(|child| Some((child, bare(&child.error()?.message))))
    };
    let script = bare(&error.message);
    let same = |(child, said): (&'j Job, String)| {
        (script == said || (!said.is_empty() && script.contains(&said))).then_some(child)
    };
    let found = failed().find_map(same);
    // A script that raises an error of its own words says where itself.
    let found = found.or_else(|| failed().next().map(|(child, _)| child).filter(|_| !has_place));
    found.map(|child| (child, frames(child)))
}

fn frames(child: &Job) -> Vec<Frame> {
    let frames = child.get(&["statistics", "scriptStatistics", "stackFrames"]).as_array();
    frames.into_iter().flatten().filter_map(Frame::of).collect()
}

/// A message without what a script adds to those of its statements.
fn bare(message: &str) -> String {
    let message = one_line(message);
    let message = message.strip_prefix("Query error: ").unwrap_or(&message);
    Told::of(message).map_or(message, |told| told.before).to_owned()
}

/// What kind of statement of the script it was.
fn kind(child: &Job, frames: &[Frame]) -> Option<String> {
    let evaluated = child
        .get(&["statistics", "scriptStatistics", "evaluationKind"])
        .as_str();
    let own = child.statement_type();
    if frames.len() == 1 && evaluated != Some("EXPRESSION") {
        return (!own.is_empty()).then(|| own.to_owned());
    }
    // The job of a condition is a query of BigQuery's own making, and that of a call is what was called.
    const SAYS_ITSELF: [&str; 9] = [
        "CALL", "EXECUTE", "IF", "SET", "DECLARE", "WHILE", "REPEAT", "FOR", "CASE",
    ];
    let text = frames.last().map_or("", |frame| frame.text.as_str());
    let word = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()?
        .to_ascii_uppercase();
    SAYS_ITSELF.contains(&word.as_str()).then(|| match word.as_str() {
        "EXECUTE" => "EXECUTE_IMMEDIATE".to_owned(),
        _ => word,
    })
}

/// Where in a script the statement of a child job stands: that of the script, also where it was called from there.
pub fn stands(sql: &str, child: &Job) -> Option<usize> {
    frames(child).last()?.range(sql).map(|range| range.start)
}

/// How many statements there are, if people can count them: not where blocks decide which of them run.
pub fn count(statements: &[Statement]) -> Option<usize> {
    let blocks = statements.iter().any(|statement| statement.kind.is_control());
    (!blocks).then_some(statements.len())
}

/// Which of the statements stands at this byte, counted from 1, and how many there are.
pub fn number(statements: &[Statement], offset: usize) -> Option<(usize, usize)> {
    let all = count(statements)?;
    // The innermost is the last that begins before it.
    let at = statements
        .iter()
        .rposition(|statement| statement.range.start <= offset && offset <= statement.range.end)?;
    Some((at + 1, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::read;
    use serde_json::json;

    fn failing(sql: &str, error: &JobError, children: &[Job]) -> Option<Failing> {
        super::failing(sql, &read(sql).unwrap(), error, children)
    }

    fn job(resource: Value) -> Job {
        serde_json::from_value(resource).map(Job::of).unwrap()
    }

    fn error(message: &str) -> JobError {
        JobError {
            reason: "invalidQuery".to_owned(),
            message: message.to_owned(),
            job: None,
        }
    }

    /// A child that stood there, the frames from the innermost to the script's; `said`: it failed so.
    fn child(kind: &str, evaluated: &str, frames: Value, said: Option<&str>) -> Job {
        let status = match said {
            Some(message) => json!({"state": "DONE", "errorResult": {"reason": "invalidQuery", "message": message}}),
            None => json!({"state": "DONE"}),
        };
        job(
            json!({"status": status, "statistics": {"query": {"statementType": kind},
            "scriptStatistics": {"evaluationKind": evaluated, "stackFrames": frames}}}),
        )
    }

    fn frame(from: (u64, u64), to: (u64, u64), text: &str) -> Value {
        json!({"startLine": from.0, "startColumn": from.1, "endLine": to.0, "endColumn": to.1, "text": text})
    }

    const SCRIPT: &str =
        "DELETE d.t WHERE TRUE;\r\nSELECT 1;\r\n\tUPDATE d.t\r\n  SET x = 1 / 0\r\n  WHERE TRUE;\r\nSELECT 2";

    #[test]
    fn the_childs_frame_says_where_and_the_message_where_exactly() {
        let frames = json!([frame((3, 9), (5, 12), "UPDATE ...")]);
        let children = [
            child("DELETE", "STATEMENT", json!([frame((1, 1), (1, 21), "DELETE")]), None),
            child("UPDATE", "STATEMENT", frames, Some("Division by zero: 1 / 0")),
        ];
        let update = SCRIPT.find("UPDATE").unwrap();
        for (said, want) in [
            ("Query error: Division by zero: 1 / 0 at [3:9]", update),
            (
                "Query error: Division by zero: 1 / 0 at [4:11]",
                SCRIPT.find("1 / 0").unwrap(),
            ),
            ("Query error: Division by zero: 1 / 0", update),
            // Not in the statement that failed: not a place of this text.
            ("Query error: Division by zero: 1 / 0 at [1:1]", update),
        ] {
            let found = failing(SCRIPT, &error(said), &children).unwrap();
            assert_eq!(
                (found.offset, found.words().as_str()),
                (want, "statement 3 of 4 (UPDATE)"),
                "{said}"
            );
        }
    }

    #[test]
    fn what_was_caught_is_not_what_failed() {
        let at = |line: u64| json!([frame((line, 1), (line, 9), "SELECT")]);
        let caught = child("SELECT", "STATEMENT", at(2), Some("Not found: Table p:d.gone"));
        let last = child("SELECT", "STATEMENT", at(6), Some("Division by zero: 1 / 0"));
        let later = failing(
            SCRIPT,
            &error("Query error: Division by zero: 1 / 0 at [6:8]"),
            &[caught.clone(), last],
        );
        assert_eq!(later.unwrap().offset, SCRIPT.rfind("2").unwrap());
        // Raised again as it was, from wherever it was caught.
        let again = failing(
            SCRIPT,
            &error("Query error: Not found: Table p:d.gone at [2:1]"),
            std::slice::from_ref(&caught),
        );
        assert_eq!(again.unwrap().offset, SCRIPT.find("SELECT 1").unwrap());
        // Raised in other words: where the script says, not where it was caught.
        let raised = failing(SCRIPT, &error("Query error: no good at [4:3]"), &[caught]).unwrap();
        assert_eq!((raised.offset, raised.kind), (SCRIPT.find("SET").unwrap(), None));
    }

    #[test]
    fn in_what_was_called_the_call_is_the_place() {
        let script = "SELECT 1;\nCALL d.f(1);";
        let mut inner = frame((2, 3), (2, 20), "UPDATE ...");
        inner["procedureId"] = json!("p.d.f");
        let frames = json!([inner, frame((2, 1), (2, 11), "CALL d.f(1)")]);
        let children = [child("UPDATE", "STATEMENT", frames, Some("Division by zero: 1 / 0"))];
        let found = failing(
            script,
            &error("Query error: Division by zero: 1 / 0 at [1:3]"),
            &children,
        )
        .unwrap();
        assert_eq!((found.offset, found.words().as_str()), (10, "statement 2 of 2 (CALL)"));
        assert_eq!(found.inside_words().as_deref(), Some("in `p.d.f`, line 2, column 3"));
    }

    #[test]
    fn without_children_the_message_alone_says_where() {
        let found = failing(SCRIPT, &error("Unrecognized name: x at [4:7]; Did you mean y?"), &[]).unwrap();
        assert_eq!(
            (found.offset, found.words().as_str()),
            (SCRIPT.find("x =").unwrap(), "statement 3 of 4")
        );
        assert_eq!(failing("SELECT x", &error("no x at [1:8]"), &[]).unwrap().words(), "");
        assert_eq!(failing(SCRIPT, &error("Quota exceeded"), &[]), None);
        let one = failing(
            "-- a\nSELECT CAST(s AS INT64) FROM d.t",
            &error("Bad int64 value: x"),
            &[],
        )
        .unwrap();
        assert_eq!((one.offset, one.words().as_str()), (5, ""));
        assert_eq!(failing(SCRIPT, &error("far at [99:1]"), &[]), None);
        let nowhere = child("SELECT", "STATEMENT", json!([]), Some("Division by zero"));
        assert_eq!(
            failing(SCRIPT, &error("Query error: Division by zero"), &[nowhere]),
            None
        );
    }

    #[test]
    fn the_job_of_a_condition_is_no_query_of_the_users() {
        let script = "IF (SELECT 1 / 0) > 0 THEN SELECT 1; END IF";
        let frames = json!([frame((1, 1), (1, 44), "IF (SELECT 1 / 0) > 0 THEN")]);
        let children = [child("SELECT", "EXPRESSION", frames, Some("Division by zero: 1 / 0"))];
        let found = failing(
            script,
            &error("Query error: Division by zero: 1 / 0 at [1:5]"),
            &children,
        )
        .unwrap();
        assert_eq!((found.offset, found.kind.as_deref()), (4, Some("IF")));
    }
}
