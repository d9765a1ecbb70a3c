//! PURE: reading a statement word by word. What the words mean is known elsewhere.

use std::ops::Range;

use super::names::Path;
use super::statement::Name;
use super::words::Words;

/// A place between the words of a statement.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'w, 'a> {
    pub(super) words: &'w Words<'a>,
    /// The word that comes next.
    pub(super) at: usize,
    /// The word at which the statement is over.
    end: usize,
}

impl<'w, 'a> Cursor<'w, 'a> {
    pub(super) fn new(words: &'w Words<'a>, range: Range<usize>) -> Cursor<'w, 'a> {
        Cursor {
            words,
            at: range.start,
            end: range.end,
        }
    }

    /// Steps over this keyword, if it comes next.
    pub(super) fn take(&mut self, keyword: &str) -> bool {
        let is = self.at < self.end && self.words.is(self.at, keyword);
        self.at += usize::from(is);
        is
    }

    /// Steps over these keywords, if they come next.
    pub(super) fn take_all(&mut self, keywords: &[&str]) -> bool {
        let are = self.at + keywords.len() <= self.end && self.words.are(self.at, keywords);
        self.at += if are { keywords.len() } else { 0 };
        are
    }

    /// The word that comes next, in capitals; steps over it.
    pub(super) fn next_word(&mut self) -> Option<String> {
        let word = self.words.word(self.at).filter(|_| self.at < self.end)?;
        self.at += 1;
        Some(word.to_ascii_uppercase())
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.take_all(&["IF", "EXISTS"])
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.take_all(&["IF", "NOT", "EXISTS"])
    }

    /// The name that comes next; steps over it.
    pub(super) fn name(&mut self) -> Option<Name> {
        let here = self.at < self.end;
        let path = Path::at(self.words.text, self.words.start(self.at)).filter(|_| here)?;
        // A word that is no name without quotes is none here either: what was meant is not understood.
        if self.words.is_reserved(self.at) {
            return None;
        }
        self.at = self.words.behind(path.name.range.end, self.at);
        Some(path.name)
    }

    /// Where this keyword stands, in no brackets, from here on.
    pub(super) fn find(&self, keyword: &str) -> Option<usize> {
        let mut depth = 0;
        (self.at..self.end).find(|at| {
            depth += self.words.depth(*at);
            depth == 0 && self.words.is(*at, keyword)
        })
    }

    /// The query behind the `AS` that comes next in no brackets.
    pub(super) fn query(&self) -> Option<Range<usize>> {
        let query = self.find("AS")? + 1;
        let begins =
            self.words.symbol(query) == "(" || self.words.is_any(query, &["SELECT", "WITH", "FROM", "TABLE", "GRAPH"]);
        let range = self.words.start(query)..self.words.end_before(self.end);
        (begins && query < self.end).then_some(range)
    }
}
