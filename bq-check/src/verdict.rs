//! From checks to a verdict, and from a verdict to an exit code.

use bqlib::exit::{Exit, Failure};
use bqlib::names::RunId;
use bqlib::record::{Check, Record, Severity, Verdict};
use bqlib::tool::Tool;

use crate::content;
use crate::junit::Junit;

/// How the checks ended.
pub(crate) struct Answer {
    pub(crate) checks: Vec<Check>,
    /// The gravest code of what could not be asked.
    pub(crate) trouble: Exit,
}

/// Writes the checks and the verdict, and says on stderr what stood in the way of a yes, or would have; the report for CI first: where
/// that cannot be written, no yes is told.
pub(crate) fn tell(t: &Tool, junit: &Junit, run: Option<&RunId>, answer: &Answer) -> Result<(), Failure> {
    junit.write(t, run, &answer.checks)?;
    for check in &answer.checks {
        t.out.write(&Record::Check(check.clone()))?;
    }
    t.out
        .write(&verdict_of(run, &answer.checks, accepted(&answer.checks)))?;
    // Whoever reads only stderr, as cron's mail of a line whose records go to a file, learns it too.
    let mut bad: Vec<&Check> = answer.checks.iter().filter(|c| c.ok != Some(true)).collect();
    bad.sort_by_key(|c| c.severity == Severity::Warn);
    for check in bad.iter().take(TOLD) {
        let weighs = match check.severity {
            Severity::Error => "",
            Severity::Warn => "warning: ",
        };
        t.tell(&format!("{weighs}{}", in_words(check)));
    }
    if bad.len() > TOLD {
        t.tell(&format!("and {} more checks that did not hold", bad.len() - TOLD));
    }
    Ok(())
}

/// How many checks that did not hold are told on stderr: the records hold them all.
const TOLD: usize = 20;

/// A yes that was earned: something was asked and held, and nothing that weighs failed or could not be asked.
///
/// A check that only warns, and did not hold, is no reason for a yes.
pub(crate) fn accepted(checks: &[Check]) -> bool {
    checks.iter().any(|c| c.ok == Some(true))
        && checks
            .iter()
            .all(|c| c.ok == Some(true) || c.severity == Severity::Warn)
}

pub(crate) fn verdict_of(run: Option<&RunId>, checks: &[Check], accepted: bool) -> Record {
    let of = |what: Option<bool>| checks.iter().filter(move |c| c.ok == what);
    let names = |what| of(what).map(name_of).collect();
    let warned = |c: &&Check| c.ok != Some(true) && c.severity == Severity::Warn;
    Record::Verdict(Verdict {
        run: run.cloned(),
        accepted,
        passed: of(Some(true)).count() as u64,
        failed: of(Some(false)).count() as u64,
        errors: of(None).count() as u64,
        warned: checks.iter().filter(warned).count() as u64,
        content: checks
            .iter()
            .filter(|c| c.ok.is_some() && looks_at_contents(&c.name))
            .count() as u64,
        said_no: names(Some(false)),
        unasked: names(None),
    })
}

fn looks_at_contents(name: &str) -> bool {
    name.starts_with("sql:") || name == content::NAME
}

/// The verdict where the checks could not be asked to their end: what stood in the way is what could not be asked.
pub(crate) fn verdict_of_failure(run: &RunId, failure: &Failure) -> Record {
    match verdict_of(Some(run), &[], false) {
        Record::Verdict(verdict) => Record::Verdict(Verdict {
            errors: 1,
            unasked: vec![failure.what.clone()],
            ..verdict
        }),
        other => other,
    }
}

/// `rows of p.d.t`.
fn name_of(check: &Check) -> String {
    match &check.table {
        Some(table) => format!("{} of {table}", check.name),
        None => check.name.clone(),
    }
}

fn in_words(check: &Check) -> String {
    format!("{}: wanted {}, got {}", name_of(check), check.want, check.got)
}

pub(crate) fn summary(checks: &[Check]) -> String {
    let bad: Vec<String> = checks.iter().filter(|c| c.ok != Some(true)).map(in_words).collect();
    if bad.is_empty() {
        format!("{} checks held", checks.len())
    } else {
        bad.join("; ")
    }
}

/// 0 accepted; 1 a check said no; else the code of what could not be asked.
pub(crate) fn exit_of(answer: &Answer) -> Exit {
    if accepted(&answer.checks) {
        return Exit::Ok;
    }
    let said_no = answer
        .checks
        .iter()
        .any(|c| c.ok == Some(false) && c.severity == Severity::Error);
    match (said_no, answer.trouble) {
        (true, trouble) => Exit::No.or_graver(trouble),
        (false, Exit::Ok) => Exit::No,
        (false, trouble) => trouble,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, ok: Option<bool>, severity: Severity) -> Check {
        Check {
            run: None,
            name: name.to_owned(),
            table: None,
            ok,
            severity,
            want: String::new(),
            got: String::new(),
            detail: None,
        }
    }

    #[test]
    fn a_yes_is_earned_by_something_that_held() {
        use Severity::{Error, Warn};
        let (held, failed, unasked) = (Some(true), Some(false), None);
        for (checks, yes) in [
            (&[][..], false),
            (&[(held, Error)], true),
            (&[(held, Warn)], true),
            (&[(failed, Warn)], false),
            (&[(unasked, Warn)], false),
            (&[(held, Error), (failed, Warn), (unasked, Warn)], true),
            (&[(held, Error), (failed, Error)], false),
            (&[(held, Error), (unasked, Error)], false),
        ] {
            let all: Vec<Check> = checks.iter().map(|(ok, severity)| check("c", *ok, *severity)).collect();
            assert_eq!(accepted(&all), yes, "{checks:?}");
            let trouble = Exit::Ok;
            assert_eq!(exit_of(&Answer { checks: all, trouble }) == Exit::Ok, yes, "{checks:?}");
        }
    }

    #[test]
    fn the_verdict_names_what_failed_apart_from_what_could_not_be_asked() {
        let checks = [
            check("a", Some(true), Severity::Error),
            check("b", Some(false), Severity::Error),
            check("content", None, Severity::Error),
            check("sql:d", Some(false), Severity::Warn),
        ];
        let Record::Verdict(verdict) = verdict_of(None, &checks, false) else {
            panic!("no verdict");
        };
        assert_eq!(
            (verdict.said_no, verdict.unasked),
            (vec!["b".to_owned(), "sql:d".to_owned()], vec!["content".to_owned()])
        );
        assert_eq!(
            (verdict.passed, verdict.failed, verdict.errors, verdict.warned),
            (1, 2, 1, 1)
        );
        assert_eq!(verdict.content, 1, "what looked at rows themselves");
    }

    #[test]
    fn the_gravest_code_of_what_could_not_be_asked() {
        let of = |ok, trouble| {
            exit_of(&Answer {
                checks: vec![check("c", ok, Severity::Error)],
                trouble,
            })
        };
        assert_eq!(of(Some(false), Exit::Ok), Exit::No);
        assert_eq!(of(Some(false), Exit::Retry), Exit::No);
        assert_eq!(of(Some(false), Exit::Unknown), Exit::Unknown);
        assert_eq!(of(None, Exit::Retry), Exit::Retry);
        assert_eq!(of(None, Exit::Denied), Exit::Denied);
        assert_eq!(of(None, Exit::Ok), Exit::No);
        // A warning's no is not what kept it from a yes.
        let warned = Answer {
            checks: vec![
                check("w", Some(false), Severity::Warn),
                check("c", None, Severity::Error),
            ],
            trouble: Exit::Retry,
        };
        assert_eq!(exit_of(&warned), Exit::Retry);
    }
}
