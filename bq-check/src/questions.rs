//! The user's own questions: `--sql` files, whose rows are violations. Read before anything else; asked many at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bqlib::api::{Api, ApiError, Kind, Limits};
use bqlib::clock::parse_duration;
use bqlib::count::{Question as Query, foresee, query_for};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{Location, ProjectId, RunId, TableRef};
use bqlib::perform::at_a_time;
use bqlib::place::File;
use bqlib::record::{Check, Migration, MigrationState, Snapshot};
use bqlib::script;
use bqlib::source::{self, Before, Variables};
use bqlib::tool::Tool;
use bqlib::variables::{NoValue, Put};
use serde_json::Value;

use crate::answer::{SHOWN, assertion_failed, found, message};
use crate::question::{Question, Written, questions_of, tell_apart};

/// What is asked besides, and with what.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// SQL whose rows are violations: a file, or every .sql of a directory; repeatable. ${before:dataset.table} is a table's snapshot
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) sql: Vec<PathBuf>,
    #[command(flatten)]
    files_with: source::Flags,
    /// Cancel a query of `--sql` or `--probe` that takes longer than this, by default 10m: it could then not be asked
    #[arg(long, value_name = "D", conflicts_with_all = ["accept", "reject"])]
    timeout: Option<String>,
}

/// The check files, as they were read, and what all of them are asked with.
pub(crate) struct Questions {
    files: Vec<CheckFile>,
    /// Of the files of `--sql` and of `--probe`.
    pub(crate) variables: Variables,
    pub(crate) params: Vec<Value>,
    pub(crate) timeout: Duration,
    pub(crate) max_bytes_billed: Option<u64>,
    /// As it was written.
    timeout_text: String,
}

struct CheckFile {
    path: PathBuf,
    text: String,
}

const WRITE_BEFORE: &str = "write `${before:dataset.table}`, the table being one of the list";

impl Flags {
    /// Flags that mean nothing where no file is read.
    ///
    /// # Errors
    /// One of them was given (2).
    pub(crate) fn refuse_without_files(&self) -> Result<(), Failure> {
        let timeout = self.timeout.as_ref().map(|_| "--timeout");
        match self.files_with.given().or(timeout) {
            None => Ok(()),
            Some(flag) => Err(Failure::usage(
                format!("`{flag}` is for the files of `--sql` and `--probe`, and none was named"),
                flag,
                format!("add `--sql FILE`, or leave `{flag}` out"),
            )),
        }
    }
}

impl Questions {
    /// Reads the files, and every `.sql` of the directories, sorted; each file once, however often it is named. No query of them, and
    /// none of a probe's, may bill more than `max_bytes_billed`.
    ///
    /// # Errors
    /// A flag or a file is wrong, as far as that shows before it is known which tables are protected (2).
    pub(crate) fn read(flags: &Flags, t: &Tool, max_bytes_billed: Option<u64>) -> Result<Questions, Failure> {
        let timeout_text = flags.timeout.as_deref().unwrap_or("10m").trim();
        let timeout = parse_duration(timeout_text).and_then(|timeout| match timeout.is_zero() {
            true => Err("no question is answered in no time".to_owned()),
            false => Ok(timeout),
        });
        let (variables, params) = flags.files_with.read()?;
        let questions = Questions {
            variables,
            params,
            timeout: timeout.map_err(|e| Failure::usage(e, "--timeout", "for example `--timeout 30m`"))?,
            max_bytes_billed,
            timeout_text: timeout_text.to_owned(),
            files: read_files(t, &flags.sql)?,
        };
        // Whether the table is protected, the stream says; whether it is a table, shows now.
        let some_project: Option<ProjectId> = "a-project".parse().ok();
        let named = |text: &str| match TableRef::parse(text, t.named_project().or(some_project.as_ref())) {
            Ok(table) => Ok(Some(Put::Table(table))),
            Err(e) => Err(NoValue {
                what: e.to_string(),
                hint: WRITE_BEFORE,
            }),
        };
        questions.with(t, &named)?;
        Ok(questions)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The questions about a run, `${before:…}` standing for the snapshots of its protected tables.
    ///
    /// # Errors
    /// A table that is named there is not protected, or has no snapshot (2).
    pub(crate) fn of_run(
        &self,
        t: &Tool,
        snapshots: &[Snapshot],
        migrations: &[Migration],
    ) -> Result<Vec<Question>, Failure> {
        // A line with `-n` makes no snapshot; nor did it change the table, which is what the snapshot would hold.
        let dry = !migrations.is_empty() && migrations.iter().all(|m| m.state == MigrationState::Planned);
        self.with(t, &|text| before(text, t.named_project(), snapshots, dry).map(Some))
    }

    /// The questions where nothing is protected: beside a stream of counts.
    ///
    /// # Errors
    /// One is about what was before (2).
    pub(crate) fn of_counts(&self, t: &Tool) -> Result<Vec<Question>, Failure> {
        let none = |text: &str| {
            Err(NoValue {
                what: format!(
                    "`${{before:{}}}` stands for nothing: a stream of counts has no snapshots",
                    text.escape_debug()
                ),
                hint: "ask it in the line of a migration, behind bq-snap and bq-run",
            })
        };
        self.with(t, &none)
    }

    fn with(&self, t: &Tool, before: Before<'_>) -> Result<Vec<Question>, Failure> {
        let mut questions = Vec::new();
        for file in &self.files {
            let name = file.path.display().to_string();
            let stem = file.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let replaced = self.variables.replaced(t, &name, &file.text, before)?;
            let stem = stem.unwrap_or_default();
            let (file, sql) = File::new(name, file.text.clone(), replaced);
            questions.extend(questions_of(Written { stem, file, sql })?);
        }
        tell_apart(&mut questions);
        Ok(questions)
    }

    /// Asks questions, a record each in their order, and the gravest code of those that could not be asked.
    pub(crate) async fn ask(
        &self,
        api: &Api<'_>,
        at_once: usize,
        questions: &[Question],
        run: Option<&RunId>,
        location: Option<&Location>,
        labels: &BTreeMap<String, String>,
    ) -> (Vec<Check>, Exit) {
        let asking = Asking {
            api,
            location,
            labels,
            with: self,
        };
        let mut answers = at_a_time(
            at_once,
            questions.iter().enumerate(),
            async |(i, question): (usize, &Question)| (i, asking.ask(question, run).await),
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
}

/// The snapshot of a table; `dry`: the table itself.
fn before(text: &str, home: Option<&ProjectId>, snapshots: &[Snapshot], dry: bool) -> Result<Put, NoValue> {
    let no = |what: String, hint| NoValue { what, hint };
    let plain = text.trim_matches('`');
    let named = |snapshot: &&Snapshot| {
        let table = &snapshot.table;
        plain == table.to_string()
            || (plain == format!("{}.{}", table.dataset, table.table) && home.is_none_or(|home| *home == table.project))
    };
    let mut found = snapshots.iter().filter(named);
    let Some(snapshot) = found.next() else {
        let what = format!("`{}` is not in the stream", plain.escape_debug());
        return Err(no(what, "name a table of the list"));
    };
    if found.next().is_some() {
        let what = format!("`{}` may be a table of several projects", plain.escape_debug());
        return Err(no(what, "write `${before:project.dataset.table}`"));
    }
    let table = &snapshot.table;
    match &snapshot.snapshot {
        Some(_) if dry => Ok(Put::Table(table.clone())),
        Some(copy) => Ok(Put::Table(copy.clone())),
        None => Err(no(
            format!("`{table}` did not exist at the cut: it has no snapshot"),
            "ask about what is there now only",
        )),
    }
}

fn read_files(t: &Tool, paths: &[PathBuf]) -> Result<Vec<CheckFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(files_of(path)?),
            false => files.push(path.clone()),
        }
    }
    let mut seen = Vec::new();
    let mut read = Vec::new();
    for path in files {
        // What has no path of its own, such as a pipe of the shell, is what it is called.
        let one = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !seen.contains(&one) {
            seen.push(one);
            let text = source::statements_text(t, &path, "the check", "name a readable file with `--sql`")?;
            read.push(CheckFile { path, text });
        }
    }
    Ok(read)
}

/// Every `.sql` of a directory, as the shell's `*.sql` would have it: without those whose names begin with a dot.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let at = || directory.display().to_string();
    let unreadable = |e: std::io::Error| {
        let what = format!("the checks cannot be read: {e}");
        Failure::usage(what, at(), "name a readable file or directory with `--sql`")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let hidden = file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && !file.is_dir() && file.extension().is_some_and(|end| end == "sql") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        let hint = "name another with `--sql`";
        return Err(Failure::usage("the directory holds no .sql file", at(), hint));
    }
    Ok(files)
}

/// What all questions are asked with.
struct Asking<'a> {
    api: &'a Api<'a>,
    location: Option<&'a Location>,
    labels: &'a BTreeMap<String, String>,
    with: &'a Questions,
}

impl Asking<'_> {
    async fn ask(&self, question: &Question, run: Option<&RunId>) -> (Check, Exit) {
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
        match self.answer(question).await {
            Ok(Answer::Rows(rows)) => {
                check.ok = Some(rows.is_empty());
                (check.got, check.detail) = found(&rows);
            }
            Ok(Answer::AssertionFailed(said)) => {
                check.ok = Some(false);
                check.want = "the assertion to hold".to_owned();
                check.got = said;
            }
            Err((why, exit)) => {
                check.got = format!("could not be asked: {why}");
                return (check, exit);
            }
        }
        (check, Exit::Ok)
    }

    /// Asks, if BigQuery says that it only reads.
    async fn answer(&self, question: &Question) -> Result<Answer, (String, Exit)> {
        let failed = |e: ApiError| (self.told(question, &e), asked_in_vain(&e));
        let (kind, place) = self.kind(question).await.map_err(failed)?;
        if let Some(why) = writes(&kind, question.sql()) {
            return Err((why, Exit::No));
        }
        let asked = self.query(self.location.or(place.as_ref()));
        let limits = Limits {
            max_bytes_billed: self.with.max_bytes_billed,
            ..Limits::default()
        };
        match query_for(
            self.api,
            &asked,
            question.sql(),
            Some(SHOWN),
            &limits,
            self.with.timeout,
        )
        .await
        {
            Ok((rows, ..)) => Ok(Answer::Rows(rows)),
            Err(e) if kind != "SELECT" => match said_of(&e).and_then(|said| assertion_failed(question.sql(), said)) {
                Some(said) => Ok(Answer::AssertionFailed(said)),
                None => Err(failed(e)),
            },
            Err(e) => Err(failed(e)),
        }
    }

    /// What a question is asked with, there.
    fn query<'q>(&'q self, location: Option<&'q Location>) -> Query<'q> {
        Query {
            what: "check",
            location,
            labels: self.labels,
            params: &self.with.params,
        }
    }

    /// What kind of statement it is, and where BigQuery finds its tables.
    async fn kind(&self, question: &Question) -> Result<(String, Option<Location>), ApiError> {
        let plan = foresee(self.api, &self.query(self.location), question.sql()).await?;
        Ok((plan.statement_type().to_owned(), plan.location()))
    }

    /// Why a question has no answer: what BigQuery found wrong with it, where in the file, and the job.
    fn told(&self, question: &Question, e: &ApiError) -> String {
        let mut e = e.clone();
        match &mut e.kind {
            Kind::Answer {
                message,
                status: 400 | 404,
                ..
            } => *message = question.in_file(message),
            Kind::TooLong { cancelled, .. } => {
                let heard = match cancelled {
                    true => ", and was cancelled",
                    false => "; whether it was cancelled is not known",
                };
                let place = e.job.as_ref().map_or_else(String::new, |job| format!(" ({job})"));
                return format!("it took longer than {}{heard}{place}", self.with.timeout_text);
            }
            _ => {}
        }
        let place = e.job.as_ref().map_or_else(String::new, |job| format!(" ({job})"));
        message(&format!("{e}{place}"))
    }
}

/// What came of a question.
enum Answer {
    Rows(bqlib::api::Rows),
    AssertionFailed(String),
}

/// What BigQuery said, if it answered.
fn said_of(e: &ApiError) -> Option<&str> {
    match &e.kind {
        Kind::Answer { message, .. } => Some(message),
        _ => None,
    }
}

/// Why a statement is not sent: it is not one of those that only read, by the kind that BigQuery's dry run tells.
fn writes(kind: &str, sql: &str) -> Option<String> {
    match kind {
        "SELECT" | "ASSERT" => None,
        // One `ASSERT` may be told as a script of one statement.
        "SCRIPT" if script::is_one_assertion(sql) => None,
        "SCRIPT" => Some(
            "it is a script, and of a script a dry run cannot show that it only reads: write one query (temporary functions \
             may stand before it) or one `ASSERT`; values come with `--param`"
                .to_owned(),
        ),
        "" => Some("BigQuery does not say what kind of statement it is".to_owned()),
        kind => Some(format!("it is a {kind}, and a check must not write")),
    }
}

/// A question that BigQuery finds wrong is a no like any other; one that could not be put is 7 or 8.
pub(crate) fn asked_in_vain(e: &ApiError) -> Exit {
    match e.exit() {
        Exit::Refused => Exit::No,
        exit => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(table: &str, copy: Option<&str>) -> Snapshot {
        let record = serde_json::json!({ "run": "r", "table": table, "snapshot": copy, "absent": copy.is_none() });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn before_is_the_snapshot_of_a_protected_table() {
        let snapshots = [
            snapshot("p.d.t", Some("p.keep.d__t_snapshot_r")),
            snapshot("p.d.new", None),
            snapshot("p.d.two", Some("p.d.two_snapshot_r")),
            snapshot("q.d.two", Some("q.d.two_snapshot_r")),
        ];
        let (p, q): (ProjectId, ProjectId) = ("p".parse().unwrap(), "q".parse().unwrap());
        let put = |text: &str, home: Option<&ProjectId>, dry| match before(text, home, &snapshots, dry) {
            Ok(Put::Table(table)) => table.to_string(),
            Ok(Put::Name(name)) => panic!("{name}"),
            Err(no) => no.what,
        };
        for (text, home, want) in [
            ("d.t", Some(&p), "p.keep.d__t_snapshot_r"),
            ("d.t", None, "p.keep.d__t_snapshot_r"),
            ("p.d.t", Some(&q), "p.keep.d__t_snapshot_r"),
            ("`p.d.t`", Some(&q), "p.keep.d__t_snapshot_r"),
            ("d.t", Some(&q), "`d.t` is not in the stream"),
            ("d.T", Some(&p), "`d.T` is not in the stream"),
            ("t", Some(&p), "`t` is not in the stream"),
            (
                "d.t` WHERE FALSE --",
                None,
                "`d.t` WHERE FALSE --` is not in the stream",
            ),
            (
                "d.new",
                Some(&p),
                "`p.d.new` did not exist at the cut: it has no snapshot",
            ),
            ("d.two", Some(&q), "q.d.two_snapshot_r"),
            ("d.two", None, "`d.two` may be a table of several projects"),
        ] {
            assert_eq!(put(text, home, false), want, "{text}");
        }
        assert_eq!(put("d.t", Some(&p), true), "p.d.t");
        assert!(put("d.new", Some(&p), true).contains("no snapshot"));
    }

    #[test]
    fn only_what_reads_is_sent() {
        let one = "-- x\nASSERT TRUE";
        for (kind, sql, sent) in [
            ("SELECT", "SELECT 1", true),
            ("ASSERT", one, true),
            ("SCRIPT", one, true),
            ("SCRIPT", "ASSERT TRUE; DROP TABLE d.t", false),
            ("SCRIPT", "ASSERT ';' = ''", true),
            ("SCRIPT", "-- \rCALL d.\nassert()", false),
            ("SCRIPT", "SELECT 1", false),
            ("INSERT", "SELECT 1", false),
            ("EXPORT_DATA", "SELECT 1", false),
            ("CREATE_TABLE_AS_SELECT", "SELECT 1", false),
            ("CALL", one, false),
            ("SELECT_INTO_SOMETHING_NEW", "SELECT 1", false),
            ("", "SELECT 1", false),
        ] {
            assert_eq!(writes(kind, sql).is_none(), sent, "{kind}: {sql}");
        }
        assert!(writes("SCRIPT", "BEGIN END").unwrap().contains("a dry run cannot show"));
        assert!(writes("CALL", "CALL p()").unwrap().contains("it is a CALL"));
    }
}
