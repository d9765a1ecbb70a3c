//! From checks to a verdict, and from a verdict to an exit code.

use bqlib::exit::{Exit, Failure};
use bqlib::names::RunId;
use bqlib::record::{Check, Record, Severity, Verdict};
use bqlib::tool::Tool;

/// How the checks ended.
pub(crate) struct Answer {
    pub(crate) checks: Vec<Check>,
    /// The gravest code of what could not be asked.
    pub(crate) trouble: Exit,
}

/// Writes the checks and the verdict.
pub(crate) fn tell(t: &Tool, run: Option<&RunId>, answer: &Answer) -> Result<(), Failure> {
    for check in &answer.checks {
        t.out.write(&Record::Check(check.clone()))?;
    }
    t.out.write(&verdict_of(run, &answer.checks, accepted(&answer.checks)))
}

/// A yes that was earned: something was asked, and nothing that weighs failed or could not be asked.
pub(crate) fn accepted(checks: &[Check]) -> bool {
    !checks.is_empty()
        && checks
            .iter()
            .all(|c| c.ok == Some(true) || c.severity == Severity::Warn)
}

pub(crate) fn verdict_of(run: Option<&RunId>, checks: &[Check], accepted: bool) -> Record {
    let count = |what: Option<bool>| checks.iter().filter(|c| c.ok == what).count() as u64;
    Record::Verdict(Verdict {
        run: run.cloned(),
        accepted,
        passed: count(Some(true)),
        failed: count(Some(false)),
        errors: count(None),
        content: checks.iter().filter(|c| c.name.starts_with("sql:")).count() as u64,
    })
}

pub(crate) fn summary(checks: &[Check]) -> String {
    let bad: Vec<String> = checks
        .iter()
        .filter(|c| c.ok != Some(true))
        .map(|c| match &c.table {
            Some(table) => format!("{} of {table}: wanted {}, got {}", c.name, c.want, c.got),
            None => format!("{}: wanted {}, got {}", c.name, c.want, c.got),
        })
        .collect();
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
