//! PURE: where a value of a table list stands in the line that it was read from, to show the line with a caret under
//! the mistake.
//!
//! Reads no CSV: that is the crate's, and what it made of a cell decides. Knows no columns and no values.

use crate::exit::{Failure, Pointer};

/// A line of a CSV list.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// The line of the record that the crate began to look for at this byte: it counts the empty lines and comments
    /// before a record as part of it.
    pub(super) fn from_byte(list: &'a str, at: usize) -> Line<'a> {
        let (before, rest) = list.split_at_checked(at).unwrap_or((list, ""));
        let first = before.matches('\n').count() + 1;
        let mut lines = (first..).zip(rest.lines());
        let found = lines.find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (number, text) = found.unwrap_or((first, ""));
        Line { number, text }
    }

    /// The place of a cell.
    pub(super) fn cell(self, cell: usize) -> Pointer {
        Pointer::to_byte(self.text, start_of(self.text, cell))
    }

    /// The failure, which may point into the cell, pointing into the line; as it was where the cell is not found as
    /// it stands.
    pub(super) fn locate(self, failure: Failure, cell: usize) -> Failure {
        let Some(pointer) = &failure.pointer else {
            return failure;
        };
        let mut place = self.cell(cell);
        match self.text[start_of(self.text, cell)..].starts_with(&pointer.text) {
            false => failure,
            true => {
                place.column += pointer.column;
                failure.pointing(place)
            }
        }
    }
}

/// The byte at which a cell begins, past its spaces and its opening quote.
fn start_of(line: &str, cell: usize) -> usize {
    let mut quoted = false;
    let ends = line.char_indices().filter(|(_, c)| {
        quoted ^= *c == '"';
        *c == ',' && !quoted
    });
    let start = match cell.checked_sub(1).map(|before| ends.map(|(at, _)| at + 1).nth(before)) {
        None => 0,
        Some(found) => found.unwrap_or(line.len()),
    };
    let value = line[start..].trim_start();
    line.len() - value.strip_prefix('"').unwrap_or(value).trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_found_behind_spaces_quotes_and_commas_in_quotes() {
        for (line, cell, want) in [
            ("a,b,c", 0, "a,b,c"),
            ("a,b,c", 2, "c"),
            ("a , b,c", 1, "b,c"),
            ("\"a,b\",c", 1, "c"),
            ("a,\" b\",c", 1, "b\",c"),
            ("\"a \"\"b, c\"\"\",d", 1, "d"),
            ("表,é,c", 1, "é,c"),
            ("a,", 1, ""),
            ("a", 3, ""),
            ("", 0, ""),
        ] {
            assert_eq!(&line[start_of(line, cell)..], want, "{line} {cell}");
        }
    }

    #[test]
    fn the_caret_moves_into_the_line_or_stays() {
        let failure = || Failure::usage("a", "b", "c").pointing(Pointer::to_byte(">>1", 1));
        let line = |text| Line { number: 1, text };
        let column = |text, cell| {
            let pointer = line(text).locate(failure(), cell).pointer.unwrap();
            (pointer.text.clone(), pointer.column)
        };
        assert_eq!(column("表, \">>1\",x", 1), ("表, \">>1\",x".to_owned(), 5));
        for (text, cell) in [("", 1), ("d.t,=1", 1), ("d.t", 1)] {
            assert_eq!(column(text, cell), (">>1".to_owned(), 1), "{text:?}");
        }
        let without = Failure::usage("a", "b", "c");
        assert!(line("x").locate(without, 0).pointer.is_none());
    }

    #[test]
    fn a_record_is_behind_the_empty_lines_and_comments_before_it() {
        let list = "# a\r\n\r\nhead\r\nd.a\r\n#\r\nd.b";
        for (at, number, text) in [
            (0, 3, "head"),
            (12, 4, "d.a"),
            (13, 4, "d.a"),
            (18, 6, "d.b"),
            (99, 6, ""),
        ] {
            let line = Line::from_byte(list, at);
            assert_eq!((line.number, line.text), (number, text), "{at}");
        }
    }
}
