//! PURE: the tokens of a text that say something: no spaces, no comments. What kinds of statements there are is not
//! known here.

use super::lexer::{self, Placed, Token, Unclosed};
use crate::variables::is_reserved;

/// The tokens of a text that are neither space nor comment.
pub(crate) struct Words<'a> {
    /// The text.
    pub(crate) text: &'a str,
    tokens: Vec<Placed>,
}

impl<'a> Words<'a> {
    /// # Errors
    /// A literal, a quoted name or a comment has no end.
    pub(crate) fn of(text: &'a str) -> Result<Words<'a>, Unclosed> {
        let mut tokens = lexer::tokens(text)?;
        tokens.retain(|placed| !placed.token.is_blank());
        Ok(Words { text, tokens })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<Placed> {
        self.tokens.get(at).copied()
    }

    /// The byte where one begins; behind the last, the end of the text.
    pub(crate) fn start(&self, at: usize) -> usize {
        self.get(at).map_or(self.text.len(), |placed| placed.start)
    }

    /// The byte behind the one that stands before this place.
    pub(crate) fn end_before(&self, at: usize) -> usize {
        at.checked_sub(1).and_then(|at| self.get(at)).map_or(0, |last| last.end)
    }

    /// A word that may be a keyword.
    pub(crate) fn word(&self, at: usize) -> Option<&'a str> {
        let placed = self.get(at).filter(|placed| placed.token == Token::Word)?;
        Some(&self.text[placed.range()])
    }

    /// A symbol; what is no symbol is none.
    pub(crate) fn symbol(&self, at: usize) -> &'a str {
        let symbol = self.get(at).filter(|placed| placed.token == Token::Symbol);
        symbol.map_or("", |placed| &self.text[placed.range()])
    }

    /// A name of one part, without its quotes; `None`: what stands here is none, or is not understood.
    pub(crate) fn name(&self, at: usize) -> Option<&'a str> {
        let placed = self.get(at)?;
        let text = &self.text[placed.range()];
        match placed.token {
            Token::Word | Token::Part => Some(text),
            Token::Quoted => text.get(1..text.len() - 1).filter(|name| !name.contains('\\')),
            _ => None,
        }
    }

    /// Whether this keyword stands here.
    pub(crate) fn is(&self, at: usize, keyword: &str) -> bool {
        self.word(at).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    /// Whether these keywords stand here.
    pub(crate) fn are(&self, at: usize, keywords: &[&str]) -> bool {
        keywords.iter().zip(at..).all(|(keyword, at)| self.is(at, keyword))
    }

    /// Whether one of these keywords stands here.
    pub(crate) fn is_any(&self, at: usize, keywords: &[&str]) -> bool {
        self.word(at)
            .is_some_and(|word| keywords.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)))
    }

    /// Whether what stands here is a word that no name can be without quotes.
    pub(crate) fn is_reserved(&self, at: usize) -> bool {
        self.word(at).is_some_and(is_reserved)
    }

    /// The first that begins at this byte or behind it, looked for from here.
    pub(crate) fn behind(&self, byte: usize, from: usize) -> usize {
        let before = self.tokens.iter().skip(from).take_while(|placed| placed.start < byte);
        from + before.count()
    }

    /// The place behind the hints that stand here: `@{a = 1}`, `@1`.
    pub(crate) fn behind_hints(&self, at: usize) -> usize {
        let mut at = at;
        while self.symbol(at) == "@" {
            let mut depth = 0;
            let mut rest = (at + 1..self.len()).take_while(|at| self.symbol(*at) != ";");
            let end = rest.find(|at| {
                depth += self.depth(*at);
                depth == 0
            });
            let hint = self.get(at + 1).map_or("", |next| &self.text[next.range()]);
            match end.filter(|_| hint == "{" || hint.starts_with(|c: char| c.is_ascii_digit())) {
                Some(end) => at = end + 1,
                None => break,
            }
        }
        at
    }

    /// How much deeper in brackets it is behind this token than before it.
    pub(crate) fn depth(&self, at: usize) -> isize {
        match self.symbol(at) {
            "(" | "[" | "{" => 1,
            ")" | "]" | "}" => -1,
            _ => 0,
        }
    }
}
