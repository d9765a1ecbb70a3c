//! The user's own questions: `--sql` files, whose rows are violations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bqlib::api::{Api, ApiError, Kind, QueryJob};
use bqlib::count::{Question as Query, query};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{JobId, Location, RunId};
use bqlib::perform::at_a_time;
use bqlib::record::{Check, Severity};
use bqlib::script;
use serde_json::json;

/// How many violating rows are shown.
const SHOWN: usize = 10;

/// A statement of a check file.
pub(crate) struct Question {
    name: String,
    severity: Severity,
    sql: String,
}

/// Reads the files, and every `.sql` of the directories, sorted.
///
/// # Errors
/// One cannot be read, holds no statement, or a directory holds no file (2).
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Question>, Failure> {
    let mut questions = Vec::new();
    for path in paths {
        let unreadable = |e: std::io::Error| {
            let what = format!("the checks cannot be read: {e}");
            Failure::usage(
                what,
                path.display().to_string(),
                "name a readable file or directory with `--sql`",
            )
        };
        if path.is_dir() {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(path).map_err(unreadable)? {
                let file = entry.map_err(unreadable)?.path();
                if file.extension().is_some_and(|e| e == "sql") {
                    files.push(file);
                }
            }
            files.sort();
            if files.is_empty() {
                return Err(Failure::usage(
                    "the directory holds no .sql file",
                    path.display().to_string(),
                    "name another with `--sql`",
                ));
            }
            for file in &files {
                read_file(file, &mut questions)?;
            }
        } else {
            read_file(path, &mut questions)?;
        }
    }
    Ok(questions)
}

fn read_file(path: &Path, questions: &mut Vec<Question>) -> Result<(), Failure> {
    let at = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::usage(
            format!("the check cannot be read: {e}"),
            at(),
            "name a readable file with `--sql`",
        )
    })?;
    let statements = script::statements(text.strip_prefix('\u{feff}').unwrap_or(&text));
    if statements.is_empty() {
        return Err(Failure::usage(
            "the check holds no statement",
            at(),
            "write a query whose rows are violations",
        ));
    }
    let stem = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let several = statements.len() > 1;
    for (i, sql) in statements.into_iter().enumerate() {
        let said = |key: &str| {
            let comments = sql
                .lines()
                .map(str::trim)
                .take_while(|line| line.starts_with("--") || line.is_empty());
            comments
                .filter_map(|line| line.trim_start_matches('-').trim().strip_prefix(key))
                .find_map(|rest| Some(rest.trim().strip_prefix(':')?.trim().to_owned()))
        };
        let severity = match said("severity").as_deref() {
            None | Some("error") => Severity::Error,
            Some("warn") => Severity::Warn,
            Some(other) => {
                let what = format!("`{}` is no severity", other.escape_debug());
                return Err(Failure::usage(what, at(), "write `-- severity: warn` or leave it out"));
            }
        };
        let number = if several { format!("#{}", i + 1) } else { String::new() };
        questions.push(Question {
            name: said("name").unwrap_or_else(|| format!("{stem}{number}")),
            severity,
            sql: sql.to_owned(),
        });
    }
    Ok(())
}

/// Asks all questions, a record each in their order, and the gravest code of those that could not be asked.
pub(crate) async fn ask(
    api: &Api<'_>,
    at_once: usize,
    questions: &[Question],
    run: Option<&RunId>,
    location: Option<&Location>,
    labels: &BTreeMap<String, String>,
) -> (Vec<Check>, Exit) {
    let mut answers = at_a_time(
        at_once,
        questions.iter().enumerate(),
        async |(i, question): (usize, &Question)| (i, ask_one(api, question, run, location, labels).await),
    )
    .await;
    answers.sort_by_key(|(i, _)| *i);
    let mut exit = Exit::Ok;
    let checks = answers.into_iter().map(|(_, (check, trouble))| {
        exit = exit.or_graver(trouble);
        check
    });
    (checks.collect(), exit)
}

async fn ask_one(
    api: &Api<'_>,
    question: &Question,
    run: Option<&RunId>,
    location: Option<&Location>,
    labels: &BTreeMap<String, String>,
) -> (Check, Exit) {
    let mut check = Check {
        run: run.cloned(),
        name: format!("sql:{}", question.name),
        table: None,
        ok: None,
        severity: question.severity,
        want: "no rows".to_owned(),
        got: String::new(),
        detail: None,
    };
    let unasked = |mut check: Check, error: &str, exit: Exit| {
        check.got = format!("could not be asked: {error}");
        (check, exit)
    };
    let of_job = |e: &ApiError| e.job.as_ref().map_or_else(String::new, |job| format!(" ({job})"));
    // A check must not write: BigQuery says what kind of statement it is before it is sent.
    let (kind, place) = match kind(api, question, location, labels).await {
        Ok(told) => told,
        Err(e) => return unasked(check, &e.to_string(), asked_in_vain(&e)),
    };
    match kind.as_str() {
        "SELECT" | "ASSERT" => {}
        // A single ASSERT may be called a script; more than one statement it cannot be without a semicolon.
        "SCRIPT" if asserts(&question.sql) => {}
        kind => return unasked(check, &format!("it is a {kind}, and a check must not write"), Exit::No),
    }
    let asked = Query {
        what: "check",
        location: location.or(place.as_ref()),
        labels,
        params: &[],
    };
    match query(api, &asked, &question.sql, Some(SHOWN)).await {
        Ok((rows, ..)) => {
            check.ok = Some(rows.is_empty());
            check.got = match rows.len() {
                0 => "no rows".to_owned(),
                SHOWN => format!("{SHOWN} rows or more"),
                1 => "1 row".to_owned(),
                n => format!("{n} rows"),
            };
            check.detail = (!rows.is_empty()).then(|| json!(rows));
            (check, Exit::Ok)
        }
        Err(e) if kind != "SELECT" && matches!(&e.kind, Kind::Answer { status: 400, .. }) => {
            check.ok = Some(false);
            check.want = "the assertion to hold".to_owned();
            check.got = e.to_string();
            (check, Exit::Ok)
        }
        Err(e) => unasked(check, &format!("{e}{}", of_job(&e)), asked_in_vain(&e)),
    }
}

fn asserts(sql: &str) -> bool {
    let code = sql
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with('#'));
    let word = code.and_then(|line| line.split_whitespace().next()).unwrap_or("");
    word.eq_ignore_ascii_case("assert") && !sql.contains(';')
}

/// A question that BigQuery finds wrong is a no like any other; one that could not be put is 7 or 8.
fn asked_in_vain(e: &ApiError) -> Exit {
    match e.exit() {
        Exit::Refused => Exit::No,
        exit => exit,
    }
}

/// What kind of statement it is, and where BigQuery finds its tables.
async fn kind(
    api: &Api<'_>,
    question: &Question,
    location: Option<&Location>,
    labels: &BTreeMap<String, String>,
) -> Result<(String, Option<Location>), ApiError> {
    let run: RunId = "check"
        .parse()
        .map_err(|e: bqlib::names::BadName| never(&e.to_string()))?;
    let id = JobId::of_step(&run, "dry-run", None, 1);
    let job = QueryJob::plain(id, location.cloned(), question.sql.clone(), labels.clone());
    let plan = api.dry_run(&job).await?;
    Ok((plan.statement_type().to_owned(), plan.location()))
}

fn never(why: &str) -> ApiError {
    ApiError::new(Kind::Unreachable(why.to_owned()), "dry run".to_owned(), false)
}
