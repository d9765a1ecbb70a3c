//! PURE: reading a statement word by word. What the words mean is known elsewhere.

use std::ops::Range;

use super::lexer::Token;
use super::names::Path;
use super::reads::alias;
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

    /// Steps over what may stand between `INSERT` and the table's name. A table may be called `replace`, behind `INTO`.
    pub(super) fn insert_mode(&mut self) {
        let mut behind = *self;
        behind.take("OR");
        let mode = behind.take("REPLACE") || behind.take("UPDATE") || behind.take("IGNORE");
        // Else it is the name.
        if mode && !behind.is_over() && ![".", ")", "|>"].contains(&behind.words.symbol(behind.at)) {
            *self = behind;
        }
        self.take("INTO");
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.take_all(&["IF", "EXISTS"])
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.take_all(&["IF", "NOT", "EXISTS"])
    }

    /// The name that comes next; steps over it. One that is read in part would be another thing's, so what goes on as no
    /// name does is none: `d.t$20260101`, `d.t-1`, `p:d.t`.
    pub(super) fn name(&mut self) -> Option<Name> {
        let here = self.at < self.end;
        let path = Path::at(self.words.text, self.words.start(self.at)).filter(|_| here)?;
        // A word that is no name without quotes is none here either: what was meant is not understood.
        if self.words.is_reserved(self.at) {
            return None;
        }
        self.at = self.words.behind(path.name.range.end, self.at);
        let ends = match self
            .words
            .get(self.at)
            .filter(|_| !self.is_over())
            .map(|placed| placed.token)
        {
            Some(Token::Symbol) => matches!(self.words.symbol(self.at), "(" | ")" | "," | "|>" | "@"),
            Some(Token::Literal | Token::Number) => false,
            _ => true,
        };
        ends.then_some(path.name)
    }

    /// Whether nothing comes next.
    pub(super) fn is_over(&self) -> bool {
        self.at >= self.end
    }

    /// Whether one of these keywords comes next.
    pub(super) fn sees(&self, keywords: &[&str]) -> bool {
        !self.is_over() && self.words.is_any(self.at, keywords)
    }

    /// Whether this symbol comes next.
    pub(super) fn sees_symbol(&self, symbol: &str) -> bool {
        !self.is_over() && self.words.symbol(self.at) == symbol
    }

    /// Steps over the alias that comes next, if one does.
    pub(super) fn alias(&mut self) -> Option<String> {
        let alias = alias(self.words, self.at).filter(|_| !self.is_over())?;
        self.at += if self.words.is(self.at, "AS") { 2 } else { 1 };
        Some(alias)
    }

    /// Where this keyword stands, in no brackets, from here on.
    pub(super) fn find(&self, keyword: &str) -> Option<usize> {
        self.find_where(|at| self.words.is(at, keyword))
    }

    /// The first place in no brackets, from here on, of which this holds.
    pub(super) fn find_where(&self, holds: impl Fn(usize) -> bool) -> Option<usize> {
        let mut depth = 0;
        (self.at..self.end).find(|at| {
            depth += self.words.depth(*at);
            depth == 0 && holds(*at)
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
