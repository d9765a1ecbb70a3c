//! PURE: where in the user's file something stands that BigQuery speaks of.
//!
//! BigQuery counts lines and columns in the text that was sent: a file with its variables replaced, or pieces of one. People look into
//! the file. Knows no job and no check.

use std::fmt;
use std::ops::Range;

use crate::pointer::Pointer;
use crate::script::line_and_column;
use crate::variables::{Origins, Replaced};

/// BigQuery's columns count a tab as up to so many.
/// Source: GoogleSQL's own `ParseLocationTranslator`.
const TAB: usize = 8;

/// A SQL file: its text as it stands on disk, and what was replaced in it.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// As it was named.
    pub name: String,
    /// As it stands on disk, without its byte order mark.
    pub text: String,
    origins: Origins,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}, column {}", self.file, self.line, self.column)
    }
}

impl File {
    /// A file of this name and text, and what of it remains to be sent once its variables are replaced.
    pub fn new(name: String, text: String, replaced: Replaced) -> (File, String) {
        let Replaced { text: sql, origins } = replaced;
        (File { name, text, origins }, sql)
    }

    /// The place of what stands at this byte of the text with its variables replaced.
    pub fn place(&self, offset: usize) -> Place {
        let (line, column) = line_and_column(&self.text, self.origins.origin(offset));
        let file = self.name.clone();
        Place { file, line, column }
    }

    /// The places of what stands at these bytes, in the order in which they stand: the file is gone through once.
    pub fn places(&self, offsets: impl IntoIterator<Item = usize>) -> Vec<Place> {
        let (mut start, mut lines) = (0, 0);
        let place = |offset: usize| {
            let at = self.text.floor_char_boundary(self.origins.origin(offset));
            if at < start {
                return self.place(offset);
            }
            let between = &self.text[start..at];
            lines += between.matches('\n').count();
            start += between.rfind('\n').map_or(0, |n| n + 1);
            Place {
                file: self.name.clone(),
                line: lines + 1,
                column: self.text[start..at].chars().count() + 1,
            }
        };
        offsets.into_iter().map(place).collect()
    }

    /// The lines around it, with a caret under it.
    pub fn context(&self, offset: usize) -> Pointer {
        Pointer::into_text(&self.text, self.origins.origin(offset))
    }
}

/// A message of BigQuery's that ends with a place: ` at [line:column]`, and perhaps words behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'m> {
    /// What stands before the place.
    pub before: &'m str,
    /// What stands behind it.
    pub after: &'m str,
    /// From 1.
    pub line: usize,
    /// From 1, as BigQuery counts columns.
    pub column: usize,
}

impl<'m> Told<'m> {
    /// The place that a message names; one in a procedure (`at [p.d.f:1:2]`) is none in what was sent.
    pub fn of(message: &'m str) -> Option<Told<'m>> {
        const AT: &str = " at [";
        let start = message.rfind(AT)?;
        let (place, after) = message[start + AT.len()..].split_once(']')?;
        let (line, column) = place.split_once(':')?;
        Some(Told {
            before: &message[..start],
            after,
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        })
    }

    /// Where that is in the text that was sent, in bytes.
    pub fn offset(&self, sent: &str) -> Option<usize> {
        offset(sent, self.line, self.column)
    }

    /// The message, saying a place of the file instead.
    pub fn in_file(&self, place: &Place) -> String {
        format!("{} at {place}{}", self.before, self.after)
    }
}

/// Where in a text BigQuery's line and column are, in bytes.
pub fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    let (mut at_line, mut at_column) = (1, 1);
    while let Some((offset, c)) = chars.next() {
        if at_line == line && at_column >= column {
            return Some(offset);
        }
        // A carriage return alone ends a line, too.
        let ends = c == '\n' || (c == '\r' && chars.peek().is_none_or(|(_, next)| *next != '\n'));
        match c {
            _ if ends && at_line == line => return Some(offset),
            _ if ends => (at_line, at_column) = (at_line + 1, 1),
            '\t' => at_column += TAB - (at_column - 1) % TAB,
            _ => at_column += 1,
        }
    }
    (at_line == line).then_some(text.len())
}

/// Pieces of a text that are sent together, and where each of them stands in it.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    /// What is sent.
    pub sql: String,
    /// Of each piece: its bytes there, and where it begins in the text.
    parts: Vec<(Range<usize>, usize)>,
}

impl Pieces {
    /// Adds a piece of the text.
    pub fn add(&mut self, text: &str, range: Range<usize>) {
        let sent = self.sql.len();
        self.sql.push_str(&text[range.clone()]);
        self.parts.push((sent..self.sql.len(), range.start));
    }

    /// Adds words that stand nowhere in the text: what is said of them is said of the end of the piece before.
    pub fn add_words(&mut self, words: &str) {
        self.sql.push_str(words);
    }

    /// The last piece: as it is sent, and where it begins in the text.
    pub fn last(&self) -> Option<(&str, usize)> {
        let (sent, stands) = self.parts.last()?;
        Some((&self.sql[sent.clone()], *stands))
    }

    /// Where in the text stands what is at this byte of what is sent; `None`: before the first piece.
    pub fn origin(&self, offset: usize) -> Option<usize> {
        let (sent, stands) = self.parts.iter().rfind(|(sent, _)| sent.start <= offset)?;
        Some(stands + (offset.min(sent.end) - sent.start))
    }

    /// Where in the text stands what a message of BigQuery's speaks of.
    pub fn told(&self, message: &str) -> Option<usize> {
        self.origin(Told::of(message)?.offset(&self.sql)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::{Put, replace_variables};
    use proptest::prelude::*;

    /// A file with `${D}` standing for a name that is longer, and what of it is sent.
    fn file(text: &str) -> (File, String) {
        let value = |_: &str| Ok(Some(Put::Name("a_long_dataset".to_owned())));
        let replaced = replace_variables(text, value).unwrap();
        File::new("m.sql".to_owned(), text.to_owned(), replaced)
    }

    #[test]
    fn what_bigquery_says_of_the_text_is_said_of_the_file() {
        let (file, sql) = file("SELECT 1;\r\n\tUPDATE ${D}.t SET x = ü,\tno\r\nWHERE TRUE");
        assert!(sql.contains("a_long_dataset.t"));
        for (told, want) in [
            ("1:8", "line 1, column 8"),
            ("2:9", "line 2, column 2"),
            // In the name that a variable stands for, and behind it.
            ("2:20", "line 2, column 9"),
            ("2:39", "line 2, column 22"),
            // Behind a tab, which ends at a column that eight divides.
            ("2:49", "line 2, column 27"),
            ("3:1", "line 3, column 1"),
            ("3:99", "line 3, column 11"),
        ] {
            let message = format!("Unrecognized name: no at [{told}]");
            let told = Told::of(&message).unwrap();
            let place = file.place(told.offset(&sql).unwrap());
            assert_eq!(
                told.in_file(&place),
                format!("Unrecognized name: no at m.sql, {want}"),
                "{message}"
            );
        }
        for none in [
            "Not found",
            "odd at [x:1]",
            "open at [1:2",
            "in a procedure at [p.d.f:3:1]",
        ] {
            assert_eq!(Told::of(none), None, "{none}");
        }
        assert_eq!(offset(&sql, 99, 1), None);
    }

    #[test]
    fn of_several_places_the_last_counts() {
        let told = Told::of("no at [1:1] of x at [2:3]; more").unwrap();
        assert_eq!(
            (told.before, told.line, told.column, told.after),
            ("no at [1:1] of x", 2, 3, "; more")
        );
    }

    #[test]
    fn pieces_know_where_they_stand() {
        let text = "DECLARE a INT64;\nSELECT 1;\nSELECT (\n  no)";
        let mut pieces = Pieces::default();
        assert_eq!(pieces.told("x at [1:1]"), None);
        pieces.add_words("-- ");
        pieces.add(text, 0..15);
        pieces.add_words(";\n");
        let last = text.rfind("SELECT").unwrap();
        pieces.add(text, last..text.len());
        assert_eq!(pieces.sql, "-- DECLARE a INT64;\nSELECT (\n  no)");
        assert_eq!(pieces.last(), Some(("SELECT (\n  no)", last)));
        assert_eq!(pieces.told("x at [3:3]"), text.find("no"));
        assert_eq!(pieces.told("x at [1:4]"), Some(0));
        // In the words between them: the end of the piece before.
        assert_eq!(pieces.told("x at [1:19]"), Some(15));
        assert_eq!(pieces.told("x at [1:1]"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any place that anybody could name is on a character of the text, or past its end, and is in the file too.
        #[test]
        fn any_place_is_in_the_file(text in "(?s)[a-z\t\r\n ü表;\\$\\{D\\}]{0,60}", line in 0_usize..8, column in 0_usize..40) {
            if let Ok(replaced) = replace_variables(&text, |_| Ok(Some(Put::Name("name".to_owned())))) {
                let (file, sql) = File::new(String::new(), text.clone(), replaced);
                if let Some(offset) = offset(&sql, line, column) {
                    prop_assert!(sql.is_char_boundary(offset));
                    let place = file.place(offset);
                    let behind = file.places([offset, sql.len(), offset]);
                    prop_assert_eq!(&behind, &[place.clone(), file.place(sql.len()), place.clone()]);
                    prop_assert!(place.line <= text.matches('\n').count() + 1, "{place}");
                }
            }
        }
    }
}
