//! PURE: the words of a script, outside its literals and comments: by them is told which variables and functions a statement names.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::script::lexer::{Token, tokens};

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A keyword or a name.
    Plain,
    /// `@name`: a parameter.
    Parameter,
    /// `@@name`: a system variable.
    System,
    /// `?`: the next parameter.
    Mark,
    /// Anything else, such as a bracket.
    Symbol,
}

/// The words of a text in their order, in small letters, each with the byte where it begins.
pub(crate) struct Words(Vec<(usize, Kind, String)>);

impl Words {
    /// Of a text that cannot be read as words: none.
    pub(crate) fn of(text: &str) -> Words {
        let mut words: Vec<(usize, Kind, String)> = Vec::new();
        let mut before = "";
        for token in tokens(text).unwrap_or_default() {
            let (at, written) = (token.start, &text[token.range()]);
            let kind = match token.token {
                Token::Space | Token::Comment => continue,
                Token::Word | Token::Part | Token::Quoted if before == "@@" => Kind::System,
                Token::Word | Token::Part | Token::Quoted if before == "@" => Kind::Parameter,
                Token::Word | Token::Part | Token::Quoted => Kind::Plain,
                Token::Symbol if written == "?" => Kind::Mark,
                Token::Symbol | Token::Literal | Token::Number => Kind::Symbol,
            };
            before = written;
            match token.token {
                // Each part of a quoted name is a name.
                Token::Quoted => {
                    let parts = written.trim_matches('`').split('.');
                    words.extend(parts.map(|part| (at, kind, part.to_lowercase())));
                }
                _ => words.push((at, kind, written.to_lowercase())),
            }
        }
        Words(words)
    }

    fn within<'w>(&'w self, range: &Range<usize>) -> &'w [(usize, Kind, String)] {
        let from = self.0.partition_point(|(at, ..)| *at < range.start);
        let to = self.0.partition_point(|(at, ..)| *at < range.end);
        self.0.get(from..to).unwrap_or_default()
    }

    fn of_kind<'w>(&'w self, range: &Range<usize>, kind: Kind) -> impl Iterator<Item = (usize, &'w str)> + use<'w> {
        let all = self.within(range).iter().filter(move |(_, of, _)| *of == kind);
        all.map(|(at, _, word)| (*at, word.as_str()))
    }

    /// Keywords and names, each part of a name alone.
    pub(crate) fn names_in(&self, range: &Range<usize>) -> BTreeSet<&str> {
        self.of_kind(range, Kind::Plain).map(|(_, word)| word).collect()
    }

    /// Keywords and names in their order.
    pub(crate) fn in_order(&self, range: &Range<usize>) -> Vec<(usize, &str)> {
        self.of_kind(range, Kind::Plain).collect()
    }

    /// Keywords, names and symbols in their order.
    pub(crate) fn tokens_in(&self, range: &Range<usize>) -> Vec<(usize, &str)> {
        let all = self.within(range).iter();
        all.map(|(at, _, word)| (*at, word.as_str())).collect()
    }

    /// System variables, without their `@@`.
    pub(crate) fn system_in(&self, range: &Range<usize>) -> BTreeSet<&str> {
        self.of_kind(range, Kind::System).map(|(_, word)| word).collect()
    }

    /// Where the marks of positional parameters stand.
    pub(crate) fn marks_in(&self, range: &Range<usize>) -> Vec<usize> {
        self.of_kind(range, Kind::Mark).map(|(at, _)| at).collect()
    }

    /// How many marks stand before a byte.
    pub(crate) fn marks_before(&self, at: usize) -> usize {
        self.marks_in(&(0..at)).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_parameters_are_told_from_names_in_every_spelling() {
        for (text, system, names) in [
            ("SET @@dataset_id = x", vec!["dataset_id"], vec!["set", "x"]),
            ("SET @@ Dataset_ID = x", vec!["dataset_id"], vec!["set", "x"]),
            ("SET @@/**/`dataset_id` = x", vec!["dataset_id"], vec!["set", "x"]),
            ("SELECT @ a, @`b`, `c.d`, '@@e'", vec![], vec!["c", "d", "select"]),
        ] {
            let words = Words::of(text);
            let all = 0..text.len();
            assert_eq!(Vec::from_iter(words.system_in(&all)), system, "{text}");
            assert_eq!(Vec::from_iter(words.names_in(&all)), names, "{text}");
        }
    }
}
