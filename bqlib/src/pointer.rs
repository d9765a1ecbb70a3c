//! PURE: a text that somebody wrote, shown with a caret under a place of it.
//!
//! Of a file the lines around are shown too, with their numbers. Knows neither what is wrong there nor where the text comes from.

use std::fmt;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::script::line_and_column;

/// Of a line that is wider, the part around the place is shown: it may be a whole file.
const WIDEST: usize = 140;

/// What stands where a part of a line is left out.
const CUT: &str = "...";

/// A place in a text that somebody wrote, to be shown with a caret under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The text; of several lines, the one with the place.
    pub text: String,
    /// How many characters stand before the place; all of them: it is just past the end.
    pub column: usize,
    /// Of a text of several lines: those around.
    around: Option<Around>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Around {
    /// The number of the line with the place, from 1.
    number: usize,
    before: Vec<String>,
    after: Vec<String>,
}

impl Pointer {
    /// To the character that holds this byte; past the end, to the end.
    pub fn to_byte(text: &str, at: usize) -> Pointer {
        let before = text
            .char_indices()
            .skip(1)
            .take_while(|(start, _)| *start <= at)
            .count();
        Pointer {
            text: text.to_owned(),
            column: if at >= text.len() { text.chars().count() } else { before },
            around: None,
        }
    }

    /// To this byte of a file's text, shown with a line before and one behind: three in all, where there are three.
    pub fn into_text(text: &str, at: usize) -> Pointer {
        let (number, column) = line_and_column(text, at);
        let lines: Vec<&str> = text.lines().collect();
        // Past the last line break stands a line that `lines` does not count.
        let here = lines.get(number - 1).copied().unwrap_or_default();
        let last = lines.len().max(number);
        let first = number.saturating_sub(2).min(last.saturating_sub(3));
        let shown = |from: usize, to: usize| {
            let lines = lines.get(from..to.min(lines.len())).unwrap_or_default();
            lines.iter().map(|line| (*line).to_owned()).collect()
        };
        Pointer {
            text: here.to_owned(),
            column: (column - 1).min(here.chars().count()),
            around: Some(Around {
                number,
                before: shown(first, number - 1),
                after: shown(number, first + 3),
            }),
        }
    }
}

/// In a margin that no other line of an error has: `  | `, or of a file `  12 | `.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, indent) = cut(&self.text, self.column);
        let caret = format!("{}^", " ".repeat(indent));
        let Some(around) = &self.around else {
            return write!(f, "  | {line}\n  | {caret}");
        };
        let margin = (around.number + around.after.len()).to_string().len();
        let numbered = |number: usize, line: &str| format!("  {number:margin$} | {line}").trim_end().to_owned();
        for (line, number) in around.before.iter().zip(around.number - around.before.len()..) {
            writeln!(f, "{}", numbered(number, &cut(line, 0).0))?;
        }
        writeln!(f, "{}", numbered(around.number, &line))?;
        write!(f, "  {:margin$} | {caret}", "")?;
        for (line, number) in around.after.iter().zip(around.number + 1..) {
            write!(f, "\n{}", numbered(number, &cut(line, 0).0))?;
        }
        Ok(())
    }
}

/// A line as it is shown, no wider than it may be, and how many columns stand in it before this character.
fn cut(line: &str, column: usize) -> (String, usize) {
    // A tab or a line break is as wide as one space here, or the caret would stand elsewhere.
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = line.chars().map(plain).collect();
    let line = line.trim_end();
    if line.width() <= WIDEST {
        let before: String = line.chars().take(column).collect();
        let past = column.saturating_sub(line.chars().count());
        return (line.to_owned(), before.width() + past.min(1));
    }
    let (before, after): (Vec<char>, Vec<char>) = {
        let mut chars = line.chars();
        (chars.by_ref().take(column).collect(), chars.collect())
    };
    // What stands before is worth less than what stands behind.
    let left = fitting(before.iter().rev(), WIDEST / 3);
    let start = before.len() - left;
    let mut shown: String = before[start..].iter().collect();
    if start > 0 {
        shown.insert_str(0, CUT);
    }
    let indent = shown.width();
    let right = fitting(after.iter(), WIDEST.saturating_sub(indent));
    shown.extend(&after[..right]);
    if right < after.len() {
        shown.push_str(CUT);
    }
    (shown, indent)
}

/// How many characters fit so many columns.
fn fitting<'c>(chars: impl Iterator<Item = &'c char>, columns: usize) -> usize {
    let mut room = columns;
    let fits = chars.take_while(|c| {
        let width = c.width().unwrap_or(0);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    });
    fits.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Failure;
    use proptest::prelude::*;

    #[test]
    fn the_caret_stands_under_its_place() {
        for (text, at, want) in [
            (">>1", 1, "  | >>1\n  |  ^"),
            ("d.t >=", 6, "  | d.t >=\n  |       ^"),
            ("", 0, "  | \n  | ^"),
            // Wide characters take two columns, combining ones none, a tab is shown as one space.
            ("表.t >>", 7, "  | 表.t >>\n  |       ^"),
            ("e\u{301} x", 4, "  | e\u{301} x\n  |   ^"),
            ("d.t\t>>1", 5, "  | d.t >>1\n  |      ^"),
            ("a\nb", 2, "  | a b\n  |   ^"),
        ] {
            assert_eq!(Pointer::to_byte(text, at).to_string(), want, "{text:?} {at}");
        }
        let failure = Failure::usage("a", "b", "c").pointing(Pointer::to_byte("xy", 1));
        assert_eq!(failure.to_string(), "a\nat: b\n  | xy\n  |  ^\nhint: c");
    }

    #[test]
    fn a_file_is_shown_with_the_lines_around() {
        let text = "one\ntwo\n\tthree 表 x\r\nfour\nfive";
        let at = |what: &str| Pointer::into_text(text, text.find(what).unwrap()).to_string();
        assert_eq!(at("x"), "  2 | two\n  3 |  three 表 x\n    |           ^\n  4 | four");
        assert_eq!(at("ne"), "  1 | one\n    |  ^\n  2 | two\n  3 |  three 表 x");
        assert_eq!(at("five"), "  3 |  three 表 x\n  4 | four\n  5 | five\n    | ^");
        let end = Pointer::into_text("one\ntwo\n", 99).to_string();
        assert_eq!(end, "  1 | one\n  2 | two\n  3 |\n    | ^");
        assert_eq!(Pointer::into_text("", 0).to_string(), "  1 |\n    | ^");
        assert_eq!(Pointer::into_text("x", 0).to_string(), "  1 | x\n    | ^");
        let many = "x\n".repeat(120);
        let near = Pointer::into_text(&many, 2 * 98).to_string();
        assert_eq!(near, "   98 | x\n   99 | x\n      | ^\n  100 | x");
    }

    #[test]
    fn of_a_line_too_wide_the_part_around_the_place_is_shown() {
        let text = format!("{}HERE{}", "表".repeat(500), "y".repeat(500));
        let shown = Pointer::to_byte(&text, text.find("HERE").unwrap()).to_string();
        let (line, caret) = shown.split_once('\n').unwrap();
        assert!(
            line.starts_with("  | ...表表") && line.ends_with("y...") && line.contains("HERE"),
            "{line}"
        );
        assert_eq!(caret.find('^').unwrap(), line[..line.find("HERE").unwrap()].width());
        let far = Pointer::to_byte(&text, text.len()).to_string();
        assert!(far.lines().next().unwrap().ends_with("yy"), "{far}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever stands in a file: three lines at most and the caret, none too wide, and nothing that steers a terminal.
        #[test]
        fn any_place_of_any_text_is_shown(text in "(?s).{0,400}", at in 0_usize..2000) {
            let shown = Pointer::into_text(&text, at).to_string();
            prop_assert!(shown.lines().count() <= 4, "{shown}");
            prop_assert!(shown.lines().all(|line| line.width() <= WIDEST + 20), "{shown}");
            prop_assert_eq!(shown.lines().filter(|line| line.trim_start().trim_start_matches("| ").trim() == "^").count().min(1), 1);
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", shown);
        }
    }
}
