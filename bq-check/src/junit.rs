//! `--junit FILE`: the checks as CI systems show tests.
//!
//! Written before a verdict is told, and again when the program fails after that: so no file says yes where the
//! program says no. It appears whole, by rename; what an earlier run left under its name is taken away first.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bqlib::exit::Failure;
use bqlib::names::RunId;
use bqlib::record::{Check, Severity};
use bqlib::tool::Tool;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use tempfile::NamedTempFile;

/// What stands in place of a table where a check is of none.
const PROGRAM: &str = "bq-check";

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Write the checks to this file as JUnit XML, for CI
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accept", "reject"])]
    junit: Option<PathBuf>,
}

/// The report, if one is wanted.
#[derive(Clone)]
pub(crate) struct Junit(Option<Rc<Wanted>>);

struct Wanted {
    path: PathBuf,
    /// What is told already, should more come.
    told: RefCell<(Option<RunId>, Vec<Check>)>,
}

impl Junit {
    /// Makes sure that a report can be written. With `-n` nothing is written.
    ///
    /// # Errors
    /// It cannot (2).
    pub(crate) fn open(flags: &Flags, t: &Tool) -> Result<Junit, Failure> {
        let Some(path) = &flags.junit else {
            return Ok(Junit(None));
        };
        let there = fs::metadata(path).ok();
        // A rename would put a file in the place of a pipe or a device.
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            return Err(cannot(path, "it is no regular file"));
        }
        // Only a report gives way to a report: a journal, or the user's SQL, must not.
        let is_ours = |start: &[u8]| start.is_empty() || start.starts_with(b"<");
        if there.is_some() && !begins(path).is_ok_and(|start| is_ours(&start)) {
            return Err(cannot(path, "what is there is no report"));
        }
        if t.dry_run {
            return Ok(Junit(None));
        }
        let ready = beside(path).and_then(|_| match there {
            Some(_) => fs::remove_file(path),
            None => Ok(()),
        });
        ready.map_err(|e| cannot(path, &e.to_string()))?;
        Ok(Junit(Some(Rc::new(Wanted {
            path: path.clone(),
            told: RefCell::default(),
        }))))
    }

    /// Writes the checks, before their verdict is told.
    ///
    /// # Errors
    /// The file cannot be written (2).
    pub(crate) fn write(&self, t: &Tool, run: Option<&RunId>, checks: &[Check]) -> Result<(), Failure> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        wanted.told.replace((run.cloned(), checks.to_vec()));
        let text = report(run, checks, None, t.clock.elapsed());
        wanted.put(&text).map_err(|e| cannot(&wanted.path, &e.to_string()))
    }

    /// Writes that the program failed, beside the checks that were told.
    pub(crate) fn failed(&self, t: &Tool, failure: &Failure) {
        let Some(wanted) = &self.0 else { return };
        let (run, checks) = &*wanted.told.borrow();
        let run = run.clone().or_else(|| t.out.run());
        let text = report(run.as_ref(), checks, Some(failure), t.clock.elapsed());
        if let Err(e) = wanted.put(&text) {
            // No file is no yes either.
            let _ = fs::remove_file(&wanted.path);
            t.error(&cannot(&wanted.path, &e.to_string()));
        }
    }
}

impl Wanted {
    fn put(&self, text: &str) -> io::Result<()> {
        let mut file = beside(&self.path)?;
        file.write_all(text.as_bytes())?;
        // A temporary file is its owner's alone; this one is for others to read.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(&self.path).map(|_| ()).map_err(|e| e.error)
    }
}

/// The first bytes of a file.
fn begins(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(8).read_to_end(&mut start)?;
    Ok(start)
}

/// A file in the same directory, so that it can take the place of the other at once.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))
}

fn cannot(path: &Path, why: &str) -> Failure {
    let what = format!("the report cannot be written: {why}");
    Failure::usage(what, path.display().to_string(), "name another file with `--junit`")
}

/// The report: a test for each check, and one for what ended the program.
fn report(run: Option<&RunId>, checks: &[Check], failure: Option<&Failure>, took: Duration) -> String {
    let mut suite = TestSuite::new(run.map_or_else(|| PROGRAM.to_owned(), RunId::to_string));
    suite.set_time(took);
    suite.add_test_cases(checks.iter().map(test_of));
    suite.add_test_cases(failure.map(|failure| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type(failure.exit.name()).set_message(text(&failure.what));
        status.set_description(text(&failure.to_string()));
        test("verdict", PROGRAM, status)
    }));
    let mut report = Report::new(PROGRAM);
    report.set_time(took).add_test_suite(suite);
    // Into memory: it cannot fail.
    report.to_string().unwrap_or_default()
}

fn test(name: &str, of: &str, status: TestCaseStatus) -> TestCase {
    let mut test = TestCase::new(text(name), status);
    test.set_classname(text(of));
    test
}

/// A no is a failure, what could not be asked an error; a warning turns nothing red, and is told in the test's output.
fn test_of(check: &Check) -> TestCase {
    let of = check
        .table
        .as_ref()
        .map_or_else(|| PROGRAM.to_owned(), ToString::to_string);
    let short = format!("wanted {}, got {}", check.want, check.got);
    let detail = check
        .detail
        .as_ref()
        .and_then(|detail| serde_json::to_string_pretty(detail).ok());
    let long = [Some(format!("wanted: {}\ngot: {}", check.want, check.got)), detail];
    let long = text(&long.into_iter().flatten().collect::<Vec<_>>().join("\n"));
    let kind = match (check.ok, check.severity) {
        (Some(true), _) | (_, Severity::Warn) => None,
        (Some(false), Severity::Error) => Some((NonSuccessKind::Failure, "failed")),
        (None, Severity::Error) => Some((NonSuccessKind::Error, "not asked")),
    };
    let Some((kind, word)) = kind else {
        let mut test = test(&check.name, &of, TestCaseStatus::success());
        if check.ok != Some(true) {
            test.set_system_out(format!("warning: {long}"));
        }
        return test;
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(word).set_message(text(&short)).set_description(long);
    test(&check.name, &of, status)
}

/// What XML 1.0 has no place for, shown as a character that says so: the writer would leave it out without a word, or
/// take what follows it for a terminal's command. It leaves out tabs, too.
/// Source: <https://www.w3.org/TR/xml/#charsets>.
fn text(text: &str) -> String {
    let forbidden = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.replace(['\t', '\r'], " ").replace(forbidden, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bqlib::names::TableRef;
    use proptest::prelude::*;
    use quick_xml::events::Event;
    use quick_xml::{Reader, XmlVersion};
    use serde_json::json;

    fn check(name: &str, table: Option<&str>, ok: Option<bool>, severity: Severity, got: &str) -> Check {
        Check {
            run: None,
            name: name.into(),
            table: table.map(|table| TableRef::parse(table, None).unwrap()),
            ok,
            severity,
            want: "no rows".into(),
            got: got.into(),
            detail: (ok != Some(true)).then(|| json!([{"a": got}])),
        }
    }

    /// What another reader finds: elements with their attributes, and texts.
    fn read(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
        let mut reader = Reader::from_str(xml);
        let mut seen = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => {
                    let attributes = tag.attributes().map(|a| {
                        let a = a.unwrap();
                        let value = a
                            .decoded_and_normalized_value(XmlVersion::Implicit1_0, reader.decoder())
                            .unwrap();
                        (String::from_utf8_lossy(a.key.as_ref()).into_owned(), value.into_owned())
                    });
                    seen.push((
                        String::from_utf8_lossy(tag.name().as_ref()).into_owned(),
                        attributes.collect(),
                    ));
                }
                Event::Text(text) => seen.push((
                    "text".into(),
                    vec![(text.decode().unwrap().into_owned(), String::new())],
                )),
                Event::Eof => return seen,
                _ => {}
            }
        }
    }

    fn attribute(tag: &(String, Vec<(String, String)>), name: &str) -> String {
        let found = tag.1.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    #[test]
    fn each_answer_is_what_ci_takes_it_for() {
        let checks = [
            check("rows", Some("p.d.t"), Some(true), Severity::Error, "7"),
            check("sql:a", None, Some(false), Severity::Error, "1 row"),
            check("sql:b", None, None, Severity::Error, "could not be asked"),
            check("sql:c", None, Some(false), Severity::Warn, "2 rows"),
        ];
        let run: RunId = "r1".parse().unwrap();
        let failure = Failure::usage("the disk is full", "--copy", "free it");
        let seen = read(&report(
            Some(&run),
            &checks,
            Some(&failure),
            Duration::from_millis(1500),
        ));
        let all = |name: &str| seen.iter().filter(|(tag, _)| tag == name).collect::<Vec<_>>();
        let suite = all("testsuite")[0];
        let counts = ["name", "tests", "failures", "errors", "time"].map(|key| attribute(suite, key));
        assert_eq!(counts, ["r1", "5", "1", "2", "1.500"]);
        let tests: Vec<_> = all("testcase")
            .iter()
            .map(|t| [attribute(t, "classname"), attribute(t, "name")].concat())
            .collect();
        assert_eq!(
            tests,
            [
                "p.d.trows",
                "bq-checksql:a",
                "bq-checksql:b",
                "bq-checksql:c",
                "bq-checkverdict"
            ]
        );
        let told = |name| all(name).iter().map(|t| attribute(t, "message")).collect::<Vec<_>>();
        assert_eq!(told("failure"), ["wanted no rows, got 1 row"]);
        assert_eq!(
            told("error"),
            ["wanted no rows, got could not be asked", "the disk is full"]
        );
        assert_eq!(all("system-out").len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a check found, it is XML, and its name and message come out of it as they went in.
        #[test]
        fn no_text_breaks_the_report(
            name in "\\PC{0,9}|[\u{0}-\u{9f}<&>'\"\\]]{0,12}", got in "(?s).{0,20}|[\u{0}-\u{9f}<&>'\"\\]]{0,20}",
        ) {
            let answers = [(Some(false), Severity::Error), (None, Severity::Warn)];
            let checks = answers.map(|(ok, severity)| check(&name, None, ok, severity, &got));
            let failure = Failure::usage(got.clone(), name.clone(), "");
            let xml = report(None, &checks, Some(&failure), Duration::ZERO);
            let seen = read(&xml);
            let cases: Vec<_> = seen.iter().filter(|(tag, _)| tag == "testcase").collect();
            prop_assert_eq!(cases.len(), 3);
            // A reader makes spaces of line ends in an attribute.
            let flat = |t: &str| text(t).replace('\n', " ");
            prop_assert_eq!(flat(&attribute(cases[0], "name")), flat(&name));
            let failed = seen.iter().find(|(tag, _)| tag == "failure").unwrap();
            prop_assert_eq!(flat(&attribute(failed, "message")), flat(&format!("wanted no rows, got {got}")));
            let odd = |c: char| matches!(c, '\0'..'\t' | '\u{b}'..' ' | '\u{fffe}' | '\u{ffff}');
            prop_assert!(!xml.contains(odd), "{}", xml);
        }
    }
}
