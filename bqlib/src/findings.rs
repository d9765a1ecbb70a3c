//! PURE: what bq-check found, for a person at a terminal: what is wrong first, the verdict last.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};

use crate::exit::one_line;
use crate::record::{Check, Severity, Verdict};

/// More lines than these of a terminal no cell takes: the records hold the whole text.
const MOST_LINES: usize = 6;

/// What is written on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Screen {
    /// Columns; `None`: no terminal, and no line is folded.
    pub(crate) width: Option<u16>,
    /// Whether words may be coloured.
    pub(crate) colour: bool,
}

/// How a check ended, in the order in which people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Failed,
    NotAsked,
    Warned,
    Passed,
}

impl Outcome {
    fn of(check: &Check) -> Outcome {
        match (check.ok, check.severity) {
            (Some(true), _) => Outcome::Passed,
            (_, Severity::Warn) => Outcome::Warned,
            (Some(false), Severity::Error) => Outcome::Failed,
            (None, Severity::Error) => Outcome::NotAsked,
        }
    }

    const ALL: [Outcome; 4] = [Outcome::Failed, Outcome::NotAsked, Outcome::Warned, Outcome::Passed];

    fn word(self) -> &'static str {
        match self {
            Outcome::Failed => "NO",
            Outcome::NotAsked => "?",
            Outcome::Warned => "warn",
            Outcome::Passed => "ok",
        }
    }

    fn in_the_verdict(self) -> &'static str {
        match self {
            Outcome::Failed => "failed",
            Outcome::NotAsked => "could not be asked",
            Outcome::Warned => "warned",
            Outcome::Passed => "passed",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Outcome::Failed => RED,
            Outcome::NotAsked | Outcome::Warned => YELLOW,
            Outcome::Passed => GREEN,
        }
    }
}

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const PLAIN: &str = "\u{1b}[0m";

/// The table, the verdict, and what to type next if that is known.
pub(crate) fn told(checks: &[Check], verdict: Option<&Verdict>, next: Option<&str>, screen: Screen) -> String {
    let mut text = String::new();
    if !checks.is_empty() {
        text.push_str(&table(checks, screen));
    }
    for check in checks.iter().filter(|check| check.ok == Some(false)) {
        text.push_str(&rows_of(check, screen));
    }
    if let Some(verdict) = verdict {
        if !checks.is_empty() {
            text.push('\n');
        }
        text.push_str(&last_line(checks, verdict, screen.colour));
    }
    if let Some(next) = next {
        text.push_str(&format!("next: {}\n", shown(next)));
    }
    text
}

/// The rows that a question of the user's own found, a line each.
fn rows_of(check: &Check, screen: Screen) -> String {
    let rows = check.detail.as_ref().and_then(serde_json::Value::as_array);
    let Some(rows) = rows.filter(|_| check.name.starts_with("sql:")) else {
        return String::new();
    };
    let most = screen.width.map_or(200, usize::from).saturating_sub(4);
    let line = |row: &serde_json::Value| {
        let text = shown(&row.to_string());
        match text.char_indices().nth(most) {
            Some((at, _)) => format!("    {}...\n", &text[..at.saturating_sub(3)]),
            None => format!("    {text}\n"),
        }
    };
    let lines: String = rows.iter().map(line).collect();
    format!("\n{}\n{lines}", shown(&check.name))
}

fn table(checks: &[Check], screen: Screen) -> String {
    let mut sorted: Vec<(Outcome, &Check)> = checks.iter().map(|check| (Outcome::of(check), check)).collect();
    sorted.sort_by_key(|(result, _)| *result);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["RESULT", "CHECK", "TABLE", "WANTED", "FOUND"]);
    match screen.width {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let wanted = width_of_numbers(checks.iter().map(|check| &check.want));
    let found = width_of_numbers(checks.iter().map(|check| &check.got));
    for (result, check) in &sorted {
        let of = check.table.as_ref().map(ToString::to_string).unwrap_or_default();
        let (want, got) = (cell(&check.want, wanted), cell(&check.got, found));
        let mut row = Row::from([result.word(), &shown(&check.name), &of, &want, &got]);
        if screen.width.is_some() {
            row.max_height(MOST_LINES);
        }
        table.add_row(row);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    let word_of = |line: &str| {
        let first = line.trim_start().split(' ').next().unwrap_or_default();
        // Only a row's first line has a word there; the others are indented.
        let result = Outcome::ALL.into_iter().find(|result| result.word() == first)?;
        line.find(|c| c != ' ').filter(|at| *at < 2).map(|at| (result, at))
    };
    let mut text = String::new();
    for line in table.lines() {
        let line = line.trim_end();
        match word_of(line).filter(|_| screen.colour) {
            None => text.push_str(line),
            Some((result, at)) => {
                let (before, rest) = line.split_at(at);
                let (word, rest) = rest.split_at(result.word().len());
                text.push_str(&format!("{before}{}{word}{PLAIN}{rest}", result.colour()));
            }
        }
        text.push('\n');
    }
    text
}

/// How wide the numbers of a column are: they stand by their last digits, at the left, for beside a long text nobody
/// looks for a number at the right.
fn width_of_numbers<'a>(texts: impl Iterator<Item = &'a String>) -> usize {
    texts.filter(|text| is_number(text)).map(String::len).max().unwrap_or(0)
}

fn cell(text: &str, width: usize) -> String {
    match is_number(text) {
        true => format!("{text:>width$}"),
        false => shown(text),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['=', '!', '<', '>', '+', '-', ' ']);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '%'))
}

/// On one line, and without what a terminal takes for a command: texts come from BigQuery and from rows of tables.
fn shown(text: &str) -> String {
    one_line(text).replace(char::is_control, "\u{fffd}")
}

fn last_line(checks: &[Check], verdict: &Verdict, colour: bool) -> String {
    let counts = Outcome::ALL.into_iter().filter_map(|result| {
        let number = checks.iter().filter(|check| Outcome::of(check) == result).count();
        (number > 0).then(|| format!("{number} {}", result.in_the_verdict()))
    });
    let counts: Vec<String> = counts.collect();
    let (word, paint) = match verdict.accepted {
        true => ("ACCEPTED", GREEN),
        false => ("NOT ACCEPTED", RED),
    };
    let word = match colour {
        true => format!("{paint}{word}{PLAIN}"),
        false => word.to_owned(),
    };
    match counts.is_empty() {
        true => format!("{word}\n"),
        false => format!("{word}: {}\n", counts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TableRef;
    use proptest::prelude::*;

    fn check(name: &str, table: &str, ok: Option<bool>, severity: Severity, want: &str, got: &str) -> Check {
        Check {
            run: None,
            name: name.into(),
            table: TableRef::parse(table, None).ok(),
            ok,
            severity,
            want: want.into(),
            got: got.into(),
            detail: None,
        }
    }

    fn checks() -> Vec<Check> {
        use Severity::{Error, Warn};
        vec![
            check("exists", "p.d.t", Some(true), Error, "a table", "a table"),
            check("rows", "p.d.t", Some(true), Error, ">= 5", "11462"),
            check("sql:w", "", Some(false), Warn, "no rows", "2 rows"),
            check(
                "sql:q",
                "",
                None,
                Error,
                "no rows",
                "could not be asked:\n  no \u{1b}[2J such table",
            ),
            check("rows", "p.d.u", Some(false), Error, ">= 11462", "9"),
        ]
    }

    fn verdict(accepted: bool) -> Verdict {
        Verdict {
            run: None,
            accepted,
            passed: 0,
            failed: 0,
            errors: 0,
            warned: 0,
            content: 0,
            said_no: vec![],
            unasked: vec![],
        }
    }

    #[test]
    fn what_is_wrong_comes_first_and_the_verdict_last() {
        let next = Some("bq-restore --run r");
        let text = told(&checks(), Some(&verdict(false)), next, Screen::default());
        let want = "
 RESULT  CHECK   TABLE  WANTED    FOUND
 NO      rows    p.d.u  >= 11462      9
 ?       sql:q          no rows   could not be asked: no \u{fffd}[2J such table
 warn    sql:w          no rows   2 rows
 ok      exists  p.d.t  a table   a table
 ok      rows    p.d.t      >= 5  11462

NOT ACCEPTED: 1 failed, 1 could not be asked, 1 warned, 2 passed
next: bq-restore --run r
";
        assert_eq!(format!("\n{text}"), want);
        let good = told(&checks()[..2], Some(&verdict(true)), None, Screen::default());
        assert!(good.ends_with("\n\nACCEPTED: 2 passed\n"), "{good}");
        assert_eq!(
            told(&[], Some(&verdict(false)), None, Screen::default()),
            "NOT ACCEPTED\n"
        );
    }

    #[test]
    fn words_are_coloured_and_nothing_else() {
        let screen = Screen {
            width: None,
            colour: true,
        };
        let text = told(&checks(), Some(&verdict(false)), None, screen);
        for word in [
            "\u{1b}[1;31mNO\u{1b}[0m ",
            "\u{1b}[33m?\u{1b}[0m ",
            "\u{1b}[33mwarn\u{1b}[0m ",
            "\u{1b}[32mok\u{1b}[0m ",
        ] {
            assert!(text.contains(word), "{word:?} in {text:?}");
        }
        let bare = [RED, YELLOW, GREEN, PLAIN]
            .iter()
            .fold(text, |text, code| text.replace(code, ""));
        assert_eq!(bare, told(&checks(), Some(&verdict(false)), None, Screen::default()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// On a terminal of a usual width no line is longer than it, and no cell takes more than its lines.
        #[test]
        fn lines_fit_the_terminal(width in 60_u16..200, got in "[ -~]{0,2000}", name in "[a-z:]{1,40}") {
            let table = "some-project.some_dataset.some_table";
            let checks = [check(&name, table, Some(false), Severity::Error, "no rows", &got)];
            let screen = Screen { width: Some(width), colour: false };
            let text = told(&checks, None, None, screen);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            prop_assert!(widest <= usize::from(width), "{widest} of {width}\n{text}");
            prop_assert!(text.lines().count() <= MOST_LINES + 2, "{text}");
            prop_assert!(text.contains("NO"), "{text}");
        }
    }
}
