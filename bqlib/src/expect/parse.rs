//! PURE: reading the little language of row counts; of a text that is none of it, what is wrong and at which character.
//!
//! Knows no table: of `--expect` it only finds where the table's name ends.

use std::fmt;

use super::{Expect, OPS, Op, PARTS, Percent};
use crate::exit::{Failure, Pointer};

/// The forms, for who wrote another.
const FORMS: &str = "write =1000, !=0, <5, <=5, >0, >=11462, +0, +0.., +1..+500, -5%..+5%, any or absent";

/// Why a text is no expectation, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadExpect {
    /// The text and the place.
    pub pointer: Pointer,
    why: String,
}

impl BadExpect {
    fn new(text: &str, at: usize, why: impl Into<String>) -> BadExpect {
        BadExpect {
            pointer: Pointer::to_byte(text, at),
            why: why.into(),
        }
    }

    /// The mistake of whoever wrote it, who wrote it there.
    pub fn failure(self, at: impl Into<String>) -> Failure {
        Failure::usage(self.to_string(), at, FORMS).pointing(self.pointer)
    }
}

impl fmt::Display for BadExpect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.pointer.text.escape_debug();
        write!(f, "`{text}` is no expectation of a row count: {}", self.why)
    }
}

impl std::error::Error for BadExpect {}

/// What is wrong, and at which byte.
type Wrong = (usize, String);

fn wrong<T>(at: usize, why: impl Into<String>) -> Result<T, Wrong> {
    Err((at, why.into()))
}

/// Reads a whole text.
pub(super) fn expectation(text: &str) -> Result<Expect, BadExpect> {
    expectation_at(text, 0).map_err(|(at, why)| BadExpect::new(text, at, why))
}

/// `TABLE OP N` of `--expect`: the table's name as typed but for its backticks, and the expectation. A name with
/// spaces in it stands in backticks.
///
/// # Errors
/// There is no table or no expectation, or what follows the name is none.
pub fn parse_expect_flag(text: &str) -> Result<(String, Expect), BadExpect> {
    let wrong = |(at, why): Wrong| BadExpect::new(text, at, why);
    let start = text.len() - text.trim_start().len();
    let end = end_of_name(text, start).map_err(wrong)?;
    let name: String = text[start..end].trim_end().replace('`', "");
    if name.is_empty() {
        return Err(wrong((start, "it names no table before the comparison".to_owned())));
    }
    Ok((name, expectation_at(text, end).map_err(wrong)?))
}

/// Where a table's name ends: at a space or at an operator outside of backticks.
fn end_of_name(text: &str, start: usize) -> Result<usize, Wrong> {
    let mut opened = None;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < start) {
        match (c, opened) {
            ('`', None) => opened = Some(at),
            ('`', Some(_)) => opened = None,
            (c, None) if c.is_whitespace() || "=!<>+".contains(c) => return Ok(at),
            _ => {}
        }
    }
    match opened {
        Some(at) => wrong(at, "this backtick opens and does not close"),
        None => Ok(text.len()),
    }
}

/// Reads what stands from this byte on.
fn expectation_at(text: &str, from: usize) -> Result<Expect, Wrong> {
    let mut cursor = Cursor { text, at: from };
    cursor.skip_space();
    let start = cursor.at;
    let expect = cursor.expectation()?;
    cursor.skip_space();
    match cursor.rest() {
        "" => Ok(expect),
        rest if rest.starts_with("..") && !text[start..].starts_with(['+', '-']) => {
            wrong(start, "a range begins with `+` or `-`, such as +1..+500")
        }
        _ => wrong(cursor.at, "nothing may follow here"),
    }
}

/// An end of a range.
#[derive(Clone, Copy)]
enum End {
    Rows(i64),
    Percent(Percent),
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.take(char::is_whitespace);
    }

    fn take(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !is(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// What stands here up to a space, to be shown.
    fn word(&self) -> &'a str {
        self.rest().split_whitespace().next().unwrap_or_default()
    }

    fn expectation(&mut self) -> Result<Expect, Wrong> {
        let start = self.at;
        if self.rest().is_empty() {
            return wrong(start, "a comparison or a number is missing");
        }
        if let Some(wanted) = ["=>", "=<"].iter().find(|word| self.rest().starts_with(**word)) {
            let mended: String = wanted.chars().rev().collect();
            return wrong(start, format!("`{wanted}` is no comparison; write `{mended}`"));
        }
        if let Some((word, op)) = OPS.iter().find(|(word, _)| self.rest().starts_with(word)) {
            self.at += word.len();
            self.skip_space();
            return Ok(Expect::Rows(*op, self.rows(&format!("after `{word}`"))?));
        }
        if self.rest().starts_with(['+', '-']) {
            return self.range();
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Expect::Rows(Op::Eq, self.rows("here")?));
        }
        let named = match self.word() {
            "any" => Expect::Any,
            "absent" => Expect::Absent,
            "!" => return wrong(start, "`!` is no comparison; write `!=`"),
            _ => return wrong(start, "a comparison or a number is wanted here"),
        };
        self.at += self.word().len();
        Ok(named)
    }

    /// A number of rows, and nothing that looks like the rest of another number.
    fn rows(&mut self, place: &str) -> Result<u64, Wrong> {
        let start = self.at;
        let word = self.word();
        let digits = self.take(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return match word.chars().next() {
                None => wrong(start, format!("a number is missing {place}")),
                Some('-') => wrong(
                    start,
                    format!("`{}` is below zero; a table has 0 rows or more", word.escape_debug()),
                ),
                Some(_) => wrong(start, format!("`{}` is no number", word.escape_debug())),
            };
        }
        if self.rest().starts_with('%') {
            return wrong(
                self.at,
                format!("a percentage is of a change: write `+{digits}%` or `-{digits}%`"),
            );
        }
        self.no_more_of(word)?;
        match digits.parse() {
            Ok(rows) => Ok(rows),
            Err(_) => wrong(
                start,
                format!("`{digits}` is more than any table has ({} at most)", u64::MAX),
            ),
        }
    }

    /// Refuses what stands after digits and belongs to them: `1_000`, `1,000`, `1e3`, `1O0`, `1.5`.
    fn no_more_of(&self, word: &str) -> Result<(), Wrong> {
        let word = word.split("..").next().unwrap_or(word).escape_debug();
        match self.rest().chars().next() {
            None => Ok(()),
            Some(c) if c.is_whitespace() || self.rest().starts_with("..") => Ok(()),
            Some('.') => wrong(self.at, "rows are whole numbers"),
            Some('_' | ',' | '\'') => wrong(self.at, format!("`{word}` is no number; write digits only")),
            Some(_) => wrong(self.at, format!("`{word}` is no number")),
        }
    }

    fn range(&mut self) -> Result<Expect, Wrong> {
        let low = self.end()?;
        if !self.rest().starts_with("..") {
            return Ok(match low {
                End::Rows(n) => Expect::Gained(n, Some(n)),
                End::Percent(p) => Expect::GainedPercent(p, Some(p)),
            });
        }
        self.at += 2;
        let start = self.at;
        if self.word().is_empty() || self.rest().starts_with(char::is_whitespace) {
            return Ok(match low {
                End::Rows(n) => Expect::Gained(n, None),
                End::Percent(p) => Expect::GainedPercent(p, None),
            });
        }
        if !self.rest().starts_with(['+', '-']) {
            return wrong(start, "the end of a range needs its `+` or `-`");
        }
        match (low, self.end()?) {
            (End::Rows(low), End::Rows(high)) if low <= high => Ok(Expect::Gained(low, Some(high))),
            (End::Percent(low), End::Percent(high)) if low <= high => Ok(Expect::GainedPercent(low, Some(high))),
            (End::Rows(_), End::Percent(_)) => wrong(start, "the range begins with rows and ends with a percentage"),
            (End::Percent(_), End::Rows(_)) => wrong(start, "the range begins with a percentage and ends with rows"),
            _ => wrong(start, "the range ends before it begins"),
        }
    }

    /// `+1`, `-5%`, `+0.25%`.
    fn end(&mut self) -> Result<End, Wrong> {
        let (sign, start) = (if self.rest().starts_with('-') { -1 } else { 1 }, self.at);
        self.at += 1;
        let (from, word) = (self.at, self.word());
        let digits = self.take(|c| c.is_ascii_digit());
        if digits.is_empty() {
            let given = &self.text[start..from];
            return wrong(from, format!("a number is missing after `{given}`"));
        }
        let fraction = match self.rest().strip_prefix('.') {
            Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => {
                self.at += 1;
                Some((self.at, self.take(|c| c.is_ascii_digit())))
            }
            _ => None,
        };
        if self.rest().starts_with('%') {
            self.at += 1;
            let percent = percent(digits, fraction, from)?;
            return Ok(End::Percent(Percent(sign * percent)));
        }
        if let Some((at, _)) = fraction {
            return wrong(at - 1, "rows are whole numbers");
        }
        self.no_more_of(word)?;
        match digits.parse::<i64>() {
            Ok(rows) => Ok(End::Rows(sign * rows)),
            Err(_) => wrong(
                from,
                format!("`{digits}` is more than can be gained or lost ({} at most)", i64::MAX),
            ),
        }
    }
}

/// The parts of a percentage: digits before the point, and those after it with their place.
fn percent(digits: &str, fraction: Option<(usize, &str)>, from: usize) -> Result<i64, Wrong> {
    let (at, fraction) = fraction.unwrap_or((from, ""));
    if fraction.len() > 6 {
        return wrong(at + 6, "a percentage has at most six digits after the point");
    }
    let whole = digits.parse::<i64>().ok().and_then(|whole| whole.checked_mul(PARTS));
    let parts = format!("{fraction:0<6}").parse::<i64>().ok();
    match whole.zip(parts).and_then(|(whole, parts)| whole.checked_add(parts)) {
        Some(percent) => Ok(percent),
        None => wrong(from, format!("`{digits}%` is more than can be reckoned with")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text that is shown with a caret under the place.
    fn place(bad: &BadExpect) -> usize {
        bad.pointer.column
    }

    #[test]
    fn every_mistake_is_named_at_its_place() {
        // text, character, what is said of it
        for (text, at, why) in [
            ("", 0, "a comparison or a number is missing"),
            ("   ", 3, "a comparison or a number is missing"),
            ("=", 1, "a number is missing after `=`"),
            (">= ", 3, "a number is missing after `>=`"),
            ("=-1", 1, "`-1` is below zero; a table has 0 rows or more"),
            ("==1", 1, "`=1` is no number"),
            (">>1", 1, "`>1` is no number"),
            ("=>1", 0, "`=>` is no comparison; write `>=`"),
            ("!1", 0, "a comparison or a number is wanted here"),
            ("! 1", 0, "`!` is no comparison; write `!=`"),
            ("1e3", 1, "`1e3` is no number"),
            ("1O0", 1, "`1O0` is no number"),
            ("1.5", 1, "rows are whole numbers"),
            (">= 1_000", 4, "`1_000` is no number; write digits only"),
            ("1,000", 1, "`1,000` is no number; write digits only"),
            ("=1 0", 3, "nothing may follow here"),
            ("any 1", 4, "nothing may follow here"),
            ("anything", 0, "a comparison or a number is wanted here"),
            ("ANY", 0, "a comparison or a number is wanted here"),
            ("many", 0, "a comparison or a number is wanted here"),
            ("5%", 1, "a percentage is of a change: write `+5%` or `-5%`"),
            ("=5%", 2, "a percentage is of a change: write `+5%` or `-5%`"),
            ("+", 1, "a number is missing after `+`"),
            ("+a", 1, "a number is missing after `+`"),
            ("-..+1", 1, "a number is missing after `-`"),
            ("-%", 1, "a number is missing after `-`"),
            ("+.5%", 1, "a number is missing after `+`"),
            ("+1.5", 2, "rows are whole numbers"),
            ("+1_000", 2, "`1_000` is no number; write digits only"),
            ("+5..+1", 4, "the range ends before it begins"),
            ("+5%..-5%", 5, "the range ends before it begins"),
            ("-1..5", 4, "the end of a range needs its `+` or `-`"),
            ("1..5", 0, "a range begins with `+` or `-`, such as +1..+500"),
            ("..+5", 0, "a comparison or a number is wanted here"),
            ("+1..+", 5, "a number is missing after `+`"),
            ("+1..+5%", 4, "the range begins with rows and ends with a percentage"),
            ("+1%..+5", 5, "the range begins with a percentage and ends with rows"),
            ("+1..+2..+3", 6, "nothing may follow here"),
            ("+NaN%", 1, "a number is missing after `+`"),
            ("+1e3%", 2, "`1e3%` is no number"),
            ("+1.2.3%", 2, "rows are whole numbers"),
            ("+0.1234567%", 9, "a percentage has at most six digits after the point"),
            (
                "=18446744073709551616",
                1,
                "`18446744073709551616` is more than any table has (18446744073709551615 at most)",
            ),
            (
                "-9223372036854775808",
                1,
                "`9223372036854775808` is more than can be gained or lost (9223372036854775807 at most)",
            ),
            (
                "+9223372036855%",
                1,
                "`9223372036855%` is more than can be reckoned with",
            ),
            ("＝１", 0, "a comparison or a number is wanted here"),
        ] {
            let bad = text.parse::<Expect>().expect_err(text);
            assert_eq!((place(&bad), bad.why.as_str()), (at, why), "{text:?}");
        }
    }

    #[test]
    fn the_flag_names_a_table_and_an_expectation() {
        let at_least = Expect::Rows(Op::Ge, 100);
        let percent = Expect::GainedPercent(Percent(-5 * PARTS), Some(Percent(5 * PARTS)));
        for (text, table, expect) in [
            ("d.t >= 100", "d.t", at_least),
            ("d.t>=100", "d.t", at_least),
            (" d.t  >=100 ", "d.t", at_least),
            ("d.t = 5", "d.t", Expect::Rows(Op::Eq, 5)),
            ("d.t 5", "d.t", Expect::Rows(Op::Eq, 5)),
            ("d.t  any", "d.t", Expect::Any),
            ("d.t\tabsent", "d.t", Expect::Absent),
            ("p-1.d.t -5", "p-1.d.t", Expect::Gained(-5, Some(-5))),
            ("p-1.d.t -5%..+5%", "p-1.d.t", percent),
            ("p-1.d.t+0..", "p-1.d.t", Expect::NOT_FEWER),
            ("`p-1.d.my table` >= 100", "p-1.d.my table", at_least),
            ("`p-1`.`d`.`t`>=100", "p-1.d.t", at_least),
            ("example.com:p.d.t any", "example.com:p.d.t", Expect::Any),
        ] {
            assert_eq!(parse_expect_flag(text), Ok((table.to_owned(), expect)), "{text:?}");
        }
        for (text, at, why) in [
            ("", 0, "it names no table before the comparison"),
            (">= 100", 0, "it names no table before the comparison"),
            ("d.t", 3, "a comparison or a number is missing"),
            ("d.t => 1", 4, "`=>` is no comparison; write `>=`"),
            ("d.t about 5", 4, "a comparison or a number is wanted here"),
            ("d.t-5", 5, "a comparison or a number is missing"),
            ("`d.t >= 1", 0, "this backtick opens and does not close"),
            ("d.tä >=", 7, "a number is missing after `>=`"),
        ] {
            let bad = parse_expect_flag(text).expect_err(text);
            assert_eq!((place(&bad), bad.why.as_str()), (at, why), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics_and_the_caret_is_never_outside(
            text in prop_oneof![any::<String>(), "[ad.t`=!<>+%0-9 _,\t\u{4e00}é-]{0,24}"]
        ) {
            for bad in [text.parse::<Expect>().err(), parse_expect_flag(&text).err()].into_iter().flatten() {
                prop_assert_eq!(&bad.pointer.text, &text);
                prop_assert!(bad.pointer.column <= text.chars().count());
                prop_assert_eq!(bad.failure("there").to_string().lines().count(), 5);
            }
        }
    }
}
