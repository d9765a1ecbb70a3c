//! PURE: a SQL text as tokens: where each word, literal, comment and symbol of GoogleSQL stands. Nothing of its
//! grammar.
//!
//! Our own, and not that of a parser for many dialects, because BigQuery and whoever reads for it must agree on where a
//! literal ends: where they do not, a `DROP` hides in what one of them takes for a text. sqlparser's, which stood here,
//! ended `r'\''` behind the backslash (in GoogleSQL a raw literal's backslash keeps the quote), knew no `rb''`, ended
//! `--` and `#` at a line feed only (in GoogleSQL also at a lone carriage return), and took `$$…$$` for a literal
//! (GoogleSQL has none).
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical>; where that is silent, what
//! Google's own parser does, which the tests ask (`tests/suite/scripts.rs`).

use std::fmt;
use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Spaces and line ends.
    Space,
    /// `--` or `#` up to the line's end, or `/* */`.
    Comment,
    /// A name or a keyword.
    Word,
    /// A word that is no keyword, whatever it says: behind a dot, `@` or `@@`.
    Part,
    /// A name in backticks.
    Quoted,
    /// A string or bytes, with its prefix and quotes.
    Literal,
    /// A number.
    Number,
    /// Anything else: an operator, a bracket, what is no SQL at all.
    Symbol,
}

impl Token {
    /// Whether it says nothing to BigQuery.
    pub fn is_blank(self) -> bool {
        matches!(self, Token::Space | Token::Comment)
    }
}

/// A token, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it is.
    pub token: Token,
    /// Its first byte.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
}

impl Placed {
    /// Its bytes.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A text that BigQuery cannot read: something that begins in it does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclosed {
    /// What.
    pub what: Open,
    /// The byte where it begins.
    pub start: usize,
}

/// What has a beginning and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A string or bytes.
    Literal,
    /// A name in backticks.
    Name,
    /// `/*`.
    Comment,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Open::Literal => "a literal",
            Open::Name => "a name in backticks",
            Open::Comment => "a comment",
        })
    }
}

/// The tokens of a text, which together are the text.
///
/// # Errors
/// A literal, a quoted name or a comment has no end.
pub fn tokens(text: &str) -> Result<Vec<Placed>, Unclosed> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut before = Before::default();
    while start < text.len() {
        let (token, len) = next(&text[start..], before).map_err(|what| Unclosed { what, start })?;
        let end = start + len;
        before = before.then(token, &text[start..end]);
        found.push(Placed { token, start, end });
        start = end;
    }
    Ok(found)
}

/// What a token means can depend on what stands before it.
#[derive(Clone, Copy, Default)]
struct Before {
    /// A dot, `@` or `@@`, maybe with blanks behind it: a word is a name.
    names: bool,
    /// Something that has parts, without blanks behind it: a dot is no decimal point.
    has_parts: bool,
}

impl Before {
    fn then(self, token: Token, text: &str) -> Before {
        Before {
            names: if token.is_blank() {
                self.names
            } else {
                matches!(text, "." | "@" | "@@")
            },
            has_parts: matches!(token, Token::Word | Token::Part | Token::Quoted) || matches!(text, ")" | "]"),
        }
    }
}

/// The token that a text begins with, which is not empty, and its length.
fn next(text: &str, before: Before) -> Result<(Token, usize), Open> {
    let bytes = text.as_bytes();
    let first = text.chars().next().unwrap_or_default();
    let second = bytes.get(1).copied().unwrap_or_default();
    match first {
        c if is_space(c) => Ok((Token::Space, span(text, is_space))),
        '#' => Ok((Token::Comment, line(text))),
        '-' if second == b'-' => Ok((Token::Comment, line(text))),
        '/' if second == b'*' => {
            let end = text[2..].find("*/").ok_or(Open::Comment)?;
            Ok((Token::Comment, end + 4))
        }
        '`' => match closed(bytes, 0, 1) {
            Some(end) => Ok((Token::Quoted, end)),
            None => Err(Open::Name),
        },
        '\'' | '"' => literal(bytes, 0),
        c if is_letter(c) && !c.is_ascii_digit() => match prefix(bytes) {
            Some(len) => literal(bytes, len),
            None if before.names => Ok((Token::Part, span(text, is_letter))),
            None => Ok((Token::Word, span(text, is_letter))),
        },
        c if c.is_ascii_digit() && before.names => Ok((Token::Part, span(text, is_letter))),
        c if c.is_ascii_digit() => Ok((Token::Number, number(bytes))),
        '.' if second.is_ascii_digit() && !before.names && !before.has_parts => Ok((Token::Number, number(bytes))),
        c => Ok((Token::Symbol, symbol(bytes, c))),
    }
}

/// What GoogleSQL takes for space: of Unicode's, those that its parser knows. (No byte order mark, no line separator.)
pub fn is_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\n' | '\r' | '\t' | '\u{8}' | '\u{b}' | '\u{c}' | '\u{a0}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// What words are made of. GoogleSQL's have no letters but ASCII's; one of another kind is in no word either way.
pub fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn span(text: &str, of: fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

/// A comment up to the line's end.
fn line(text: &str) -> usize {
    text.find(['\n', '\r']).unwrap_or(text.len())
}

/// How long the prefix of a literal is that begins here: `r`, `b`, `rb`, `br`, in any case.
fn prefix(bytes: &[u8]) -> Option<usize> {
    let len = bytes.iter().take(3).position(|b| matches!(b, b'\'' | b'"'))?;
    let prefix = bytes[..len].to_ascii_lowercase();
    matches!(prefix.as_slice(), b"r" | b"b" | b"rb" | b"br").then_some(len)
}

/// A literal whose quotes begin at a byte.
fn literal(bytes: &[u8], at: usize) -> Result<(Token, usize), Open> {
    let quote = bytes[at];
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let end = closed(bytes, at, if triple { 3 } else { 1 });
    end.map(|end| (Token::Literal, end)).ok_or(Open::Literal)
}

/// The byte behind what begins with so many quotes and ends with as many; `None`: it does not end. A backslash keeps
/// what is behind it, also in a raw literal; a line's end is no part of what has one quote.
fn closed(bytes: &[u8], at: usize, quotes: usize) -> Option<usize> {
    let ends = &bytes[at..at + quotes];
    let mut i = at + quotes;
    while i < bytes.len() {
        match bytes[i] {
            // Of two bytes that end a line, both are kept.
            b'\\' if bytes[i + 1..].starts_with(b"\r\n") => i += 3,
            b'\\' => i += 2,
            b'\n' | b'\r' if quotes == 1 => return None,
            _ if bytes[i..].starts_with(ends) => return Some(i + quotes),
            _ => i += 1,
        }
    }
    None
}

/// What a string literal says; of its escapes, those that people write. `None`: it is bytes.
pub fn text_of(literal: &str) -> Option<String> {
    let at = literal.find(['\'', '"'])?;
    let (prefix, quoted) = literal.split_at(at);
    let quote = quoted.get(..1)?;
    let quotes = if quoted.len() >= 6 && quoted.starts_with(&quote.repeat(3)) {
        3
    } else {
        1
    };
    let text = quoted.get(quotes..quoted.len().checked_sub(quotes)?)?;
    match prefix {
        "" => Some(unescaped(text)),
        "r" | "R" => Some(text.to_owned()),
        _ => None,
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'r' | 't') => out.push(' '),
                other => out.extend(other),
            },
            c => out.push(c),
        }
    }
    out
}

fn number(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    if bytes[0] == b'0' && matches!(bytes.get(1), Some(b'x' | b'X')) {
        let hex = bytes[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        return if hex > 0 { hex + 2 } else { 1 };
    }
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

const LONG: [&[u8]; 14] = [
    b"|>", b"=>", b"->", b"+=", b"-=", b"<=", b">=", b"<>", b"!=", b"||", b"<<", b">>", b"@@", b"$$",
];

fn symbol(bytes: &[u8], first: char) -> usize {
    match LONG.iter().any(|long| bytes.starts_with(long)) {
        true => 2,
        false => first.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tokens that are no space, as kind and text.
    fn read(text: &str) -> Vec<(Token, &str)> {
        let all = tokens(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let told = all.into_iter().filter(|t| t.token != Token::Space);
        told.map(|t| (t.token, &text[t.range()])).collect()
    }

    #[test]
    fn literals_end_where_bigquery_ends_them() {
        for whole in [
            "'a'",
            "\"a\"",
            "''",
            "'it\\'s'",
            "\"'\"",
            "'''a\n'b''c'''",
            "\"\"\"a\\\"\"\"\"",
            "''''''",
            r"r'\''",
            r"R'\\'",
            "rb'x'",
            "bR\"y\"",
            "B'''a\r\nb'''",
            "Br'''\\''''",
            "'a\\\nb'",
            "r'a\\\r\nb'",
            "'$${x}'",
            "'-- no #'",
        ] {
            assert_eq!(read(whole), [(Token::Literal, whole)], "{whole}");
        }
        assert_eq!(read("'a''b'"), [(Token::Literal, "'a'"), (Token::Literal, "'b'")]);
        assert_eq!(read("rbr'x'"), [(Token::Word, "rbr"), (Token::Literal, "'x'")]);
        assert_eq!(read("`a\\`b`"), [(Token::Quoted, "`a\\`b`")]);
    }

    #[test]
    fn what_does_not_end_is_told_with_its_beginning() {
        for (text, what, at) in [
            ("SELECT 'a", Open::Literal, 7),
            ("SELECT 'a\nb'", Open::Literal, 7),
            ("SELECT 'a\rb'", Open::Literal, 7),
            ("SELECT r'\\'", Open::Literal, 7),
            ("SELECT 'a\\", Open::Literal, 7),
            ("ü \"\"\"a\"\"", Open::Literal, 3),
            ("'''a''''", Open::Literal, 7),
            ("SELECT `a", Open::Name, 7),
            ("SELECT `a\nb`", Open::Name, 7),
            ("SELECT 1 /* a", Open::Comment, 9),
            ("/*/", Open::Comment, 0),
        ] {
            assert_eq!(tokens(text), Err(Unclosed { what, start: at }), "{text}");
        }
    }

    #[test]
    fn comments_end_where_bigquery_ends_them() {
        use Token::{Comment, Word};
        assert_eq!(read("-- a\rDROP"), [(Comment, "-- a"), (Word, "DROP")]);
        assert_eq!(read("# a\r\nb--"), [(Comment, "# a"), (Word, "b"), (Comment, "--")]);
        assert_eq!(
            read("/* /* ; */b/**/"),
            [(Comment, "/* /* ; */"), (Word, "b"), (Comment, "/**/")]
        );
        assert_eq!(read("-- a\u{2028}b"), [(Comment, "-- a\u{2028}b")]);
    }

    #[test]
    fn words_numbers_and_symbols() {
        use Token::{Number, Part, Quoted, Symbol, Word};
        assert_eq!(
            read("a.end @begin @@`x`.1b"),
            [
                (Word, "a"),
                (Symbol, "."),
                (Part, "end"),
                (Symbol, "@"),
                (Part, "begin"),
                (Symbol, "@@"),
                (Quoted, "`x`"),
                (Symbol, "."),
                (Part, "1b")
            ]
        );
        for number in ["1", "1.", ".5", "1e5", "1.5E+5", "0xAf", "0X1"] {
            assert_eq!(read(number), [(Number, number)]);
        }
        assert_eq!(read("1ex"), [(Number, "1"), (Word, "ex")]);
        assert_eq!(read("0xg"), [(Number, "0"), (Word, "xg")]);
        for symbol in ["|>", "=>", "+=", ";", "(", "\\", "$$", "\u{feff}", "\0", "…"] {
            assert_eq!(read(symbol), [(Symbol, symbol)]);
        }
        assert_eq!(read("a\u{a0}b\u{3000}c").len(), 3);
    }

    const PIECES: [&str; 38] = [
        "SELECT", " ", "\n", "\r", ";", "'", "\"", "`", "'''", "\"\"\"", "\\", "\\'", "r'", "b'", "rb'", "x'", "--",
        "#", "//", "/*", "*/", "/* /*", "@", "@@v", "$1", "$$", "1_000", "1e5", ".5", "|>", "?", "ü", "a-b", ".", "0x",
        "\u{feff}", "\u{a0}", "🦀",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn tokens_are_the_text(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
            let text = pieces.concat();
            let (upto, all) = match tokens(&text) {
                Ok(all) => (text.len(), all),
                Err(open) => (open.start, tokens(&text[..open.start]).unwrap()),
            };
            let mut end = 0;
            for placed in &all {
                prop_assert_eq!(placed.start, end);
                prop_assert!(placed.end > placed.start && text.is_char_boundary(placed.end), "{}", text);
                end = placed.end;
            }
            prop_assert_eq!(end, upto);
        }
    }
}
