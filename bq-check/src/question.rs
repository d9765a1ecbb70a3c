//! PURE: the questions of a check file: what each is called, what is sent, and where in the file BigQuery's messages point.
//!
//! Knows nothing of who asks them.

use std::rc::Rc;

use bqlib::exit::Failure;
use bqlib::place::{File, Pieces, Told};
use bqlib::record::Severity;
use bqlib::script;
use bqlib::source::not_too_long;

/// A check file, its variables replaced.
pub(crate) struct Written {
    /// What its questions are called that have no name of their own.
    pub(crate) stem: String,
    /// As it stands on disk.
    pub(crate) file: File,
    /// Its text, the variables replaced.
    pub(crate) sql: String,
}

/// A statement of a check file, with the temporary functions before it.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) severity: Severity,
    /// What is sent.
    sent: Pieces,
    file: Rc<Written>,
}

/// The questions of a file, in their order.
///
/// # Errors
/// It holds none, functions that no query follows, a severity that is none, or more text than BigQuery takes (2).
pub(crate) fn questions_of(file: Written) -> Result<Vec<Question>, Failure> {
    let file = Rc::new(file);
    let text = &file.sql;
    let (mut questions, mut functions, mut fresh) = (Vec::new(), Vec::new(), 0);
    for range in script::split(text) {
        if script::is_temp_function(&text[range.clone()]) {
            functions.push(range);
            continue;
        }
        let mut question = Question {
            name: String::new(),
            severity: Severity::Error,
            sent: Pieces::default(),
            file: Rc::clone(&file),
        };
        // BigQuery takes a query with the temporary functions before it for that query.
        for part in functions.iter().chain([&range]) {
            if !question.sql().is_empty() {
                question.sent.add_words(";\n");
            }
            question.sent.add(text, part.clone());
        }
        // What is said at the head of a file is said of its first question, also where that begins with functions.
        let leading = [&range].into_iter().chain(&functions[fresh..]);
        let said: Vec<(usize, String)> = leading
            .flat_map(|part| {
                let first = file.line(part.start);
                let comments = script::leading_comments(&text[part.clone()]);
                comments.into_iter().map(move |(line, text)| (first + line, text))
            })
            .collect();
        question.severity = severity(file.name(), &said)?;
        question.name = value(&said, "name").map_or_else(String::new, |(_, name)| name.to_owned());
        not_too_long(file.name(), question.sql())?;
        fresh = functions.len();
        questions.push(question);
    }
    if fresh < functions.len() {
        let at = format!("{}, line {}", file.name(), file.line(functions[fresh].start));
        let what = "no query follows the temporary function";
        return Err(Failure::usage(what, at, "write the query that needs it behind it"));
    }
    if questions.is_empty() {
        let (what, hint) = (
            "the check holds no statement",
            "write a query whose rows are violations",
        );
        return Err(Failure::usage(what, file.name(), hint));
    }
    let several = questions.len() > 1;
    for (question, number) in questions.iter_mut().zip(1..) {
        if question.name.is_empty() {
            let number = if several { format!("#{number}") } else { String::new() };
            question.name = format!("{}{number}", file.stem);
        }
    }
    Ok(questions)
}

/// Tells questions of one name apart: the second `x` is `x#2`.
pub(crate) fn tell_apart(questions: &mut [Question]) {
    for i in 1..questions.len() {
        let (before, rest) = questions.split_at_mut(i);
        let Some(this) = rest.first_mut() else { return };
        let taken = |name: &str| before.iter().any(|other| other.name == name);
        if taken(&this.name) {
            let free = (2..).map(|n| format!("{}#{n}", this.name)).find(|name| !taken(name));
            this.name = free.unwrap_or_default();
        }
    }
}

/// What `-- key: value` says, and in which line.
fn value<'a>(said: &'a [(usize, String)], key: &str) -> Option<(usize, &'a str)> {
    said.iter().find_map(|(line, comment)| {
        let (found, value) = comment.trim_start_matches('-').split_once(':')?;
        let value = value.trim();
        (found.trim().eq_ignore_ascii_case(key) && !value.is_empty()).then_some((*line, value))
    })
}

fn severity(file: &str, said: &[(usize, String)]) -> Result<Severity, Failure> {
    let Some((line, word)) = value(said, "severity") else {
        return Ok(Severity::Error);
    };
    match word.to_ascii_lowercase().as_str() {
        "error" => Ok(Severity::Error),
        "warn" => Ok(Severity::Warn),
        _ => {
            let what = format!("`{}` is no severity", word.escape_debug());
            let at = format!("{file}, line {line}");
            Err(Failure::usage(what, at, "write `-- severity: warn` or leave it out"))
        }
    }
}

impl Written {
    fn name(&self) -> &str {
        &self.file.name
    }

    /// The line of the file in which this part of it stands, its variables replaced.
    fn line(&self, offset: usize) -> usize {
        self.file.place(offset).line
    }
}

impl Question {
    /// What is sent.
    pub(crate) fn sql(&self) -> &str {
        &self.sent.sql
    }

    /// BigQuery's message, its `at [line:column]` being that of the file; without one, the line in which the statement begins.
    pub(crate) fn in_file(&self, message: &str) -> String {
        let told = Told::of(message).zip(self.sent.told(message));
        let told = told.map(|(told, offset)| told.in_file(&self.file.file.place(offset)));
        told.unwrap_or_else(|| format!("{message} ({}, line {})", self.file.name(), self.first_line()))
    }

    /// The line in which its own statement begins, behind comments.
    fn first_line(&self) -> usize {
        let Some((statement, stands)) = self.sent.last() else {
            return 1;
        };
        let comment = |line: &&str| {
            let line = line.trim_start();
            line.is_empty() || line.starts_with("--") || line.starts_with('#')
        };
        self.file.line(stands) + statement.lines().take_while(comment).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bqlib::variables::{Put, replace_variables};

    fn written(text: &str) -> Written {
        let value = |_: &str| Ok(Some(Put::Name("a_long_dataset".to_owned())));
        let replaced = replace_variables(text, value).unwrap();
        let (file, sql) = File::new("checks/keys.sql".to_owned(), text.to_owned(), replaced);
        let stem = "keys".to_owned();
        Written { stem, file, sql }
    }

    fn read(text: &str) -> Vec<Question> {
        questions_of(written(text)).map_err(|e| e.to_string()).unwrap()
    }

    fn names(text: &str) -> Vec<(String, Severity)> {
        let questions = read(text).into_iter();
        questions.map(|question| (question.name, question.severity)).collect()
    }

    #[test]
    fn a_question_is_called_by_its_comment_or_by_its_file() {
        let keys = |name: &str, severity| (name.to_owned(), severity);
        use Severity::{Error, Warn};
        assert_eq!(names("SELECT 1"), [keys("keys", Error)]);
        assert_eq!(
            names("/* ours */\n--  Name : one: two \nSELECT 1"),
            [keys("one: two", Error)]
        );
        assert_eq!(
            names(
                "-- names: x\nSELECT 1; -- severity: WARN\n-- name: b\nSELECT 2;\n-- severity: error\n\nSELECT 3;\n-- name: c"
            ),
            [keys("keys#1", Error), keys("b", Warn), keys("keys#3", Error)]
        );
        assert_eq!(names("SELECT 1 -- severity: warn\n"), [keys("keys", Error)]);
        assert_eq!(names("-- name:\nSELECT 1"), [keys("keys", Error)]);
    }

    #[test]
    fn functions_go_with_what_follows_them() {
        let text = "-- name: f\n-- severity: warn\nCREATE TEMP FUNCTION f() AS (1);\nSELECT f();\nSELECT f() + 1;";
        let questions = read(text);
        let sent: Vec<&str> = questions.iter().map(|question| question.sql()).collect();
        let function = "-- name: f\n-- severity: warn\nCREATE TEMP FUNCTION f() AS (1);\n";
        assert_eq!(
            sent,
            [format!("{function}SELECT f()"), format!("{function}SELECT f() + 1")]
        );
        assert_eq!(
            names(text),
            [("f".to_owned(), Severity::Warn), ("keys#2".to_owned(), Severity::Error)]
        );
    }

    #[test]
    fn what_asks_nothing_is_refused_with_its_place() {
        for (text, what, at) in [
            ("", "the check holds no statement", "checks/keys.sql"),
            ("-- name: x\n;;", "the check holds no statement", "checks/keys.sql"),
            (
                "SELECT 1;\n\nCREATE TEMP FUNCTION f() AS (1)",
                "no query follows the temporary function",
                "checks/keys.sql, line 3",
            ),
            (
                "SELECT 1;\n-- a\n-- severity: grave\nSELECT 2",
                "`grave` is no severity",
                "checks/keys.sql, line 3",
            ),
        ] {
            let failure = questions_of(written(text)).err().unwrap();
            assert_eq!((failure.what.as_str(), failure.at.as_str()), (what, at), "{text}");
        }
        let long = format!("SELECT '{}'", "x".repeat(1024 * 1024));
        assert!(
            questions_of(written(&long))
                .err()
                .unwrap()
                .what
                .contains("characters long")
        );
    }

    #[test]
    fn names_are_told_apart() {
        let mut questions =
            read("-- name: a\nSELECT 1; -- name: a\nSELECT 2; -- name: a#2\nSELECT 3; -- name: a\nSELECT 4");
        tell_apart(&mut questions);
        let names: Vec<&str> = questions.iter().map(|question| question.name.as_str()).collect();
        assert_eq!(names, ["a", "a#2", "a#2#2", "a#3"]);
    }

    #[test]
    fn messages_point_into_the_file() {
        let text = "SELECT 1;\n-- ü\nCREATE TEMP FUNCTION f() AS (\n\t\tbad);\n  -- x\n  SELECT ${D}.x, ü,\tno\nFROM t";
        let question = &read(text)[1];
        let lines: Vec<&str> = question.sql().lines().collect();
        assert_eq!(lines[4], "  SELECT a_long_dataset.x, ü,\tno");
        for (place, want) in [
            ("3:17", "line 4, column 3"),
            ("5:10", "line 6, column 10"),
            // Behind the variable, and behind a tab.
            ("5:28", "line 6, column 18"),
            ("5:33", "line 6, column 21"),
            ("6:1", "line 7, column 1"),
            ("6:99", "line 7, column 7"),
        ] {
            let message = question.in_file(&format!("Unrecognized name: no at [{place}]; or so"));
            assert_eq!(
                message,
                format!("Unrecognized name: no at checks/keys.sql, {want}; or so"),
                "{place}"
            );
        }
        for unclear in [
            "Not found: Table p:d.t",
            "odd at [x:1]",
            "far at [99:1]",
            "open at [1:2",
        ] {
            assert_eq!(
                question.in_file(unclear),
                format!("{unclear} (checks/keys.sql, line 6)")
            );
        }
    }
}
