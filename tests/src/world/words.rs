//! PURE: GoogleSQL text as words. Knows nothing of what they mean.

use super::values::Trouble;

/// A word of a statement, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Without quotes: a keyword or a name.
    Word(String),
    /// In backticks.
    Quoted(String),
    /// A string.
    Text(String),
    /// A number, unsigned.
    Number(String),
    /// Everything else.
    Sign(&'static str),
    /// After the last.
    End,
}

/// Longer ones first: `<=` is not `<` and `=`.
const SIGNS: [&str; 18] = [
    "<=", ">=", "!=", "<>", "(", ")", ",", ";", ".", "=", "<", ">", "+", "-", "*", "[", "]", "/",
];

/// Splits a text; the last token is [`Kind::End`].
pub(super) fn split(sql: &str) -> Result<Vec<Token>, Trouble> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let from = at;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if rest.starts_with("--") || c == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("/*") {
            let end = rest.find("*/").ok_or_else(|| unclosed("comment", rest))?;
            at += end + 2;
            continue;
        }
        let kind = match c {
            '\'' | '"' | '`' => {
                let (text, length) = quoted(rest, c)?;
                at += length;
                if c == '`' { Kind::Quoted(text) } else { Kind::Text(text) }
            }
            c if c.is_ascii_digit() => {
                let length = rest
                    .find(|c: char| !c.is_ascii_digit() && c != '.')
                    .unwrap_or(rest.len());
                at += length;
                Kind::Number(rest[..length].to_owned())
            }
            c if c.is_alphabetic() || matches!(c, '_' | '@') => {
                let length = rest
                    .find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '@'))
                    .unwrap_or(rest.len());
                at += length;
                Kind::Word(rest[..length].to_owned())
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| {
                    let what: String = rest.chars().take(12).collect();
                    Trouble::query(format!("Syntax error: Illegal input character at \"{what}\""))
                })?;
                at += sign.len();
                Kind::Sign(sign)
            }
        };
        tokens.push(Token { kind, from, to: at });
    }
    tokens.push(Token {
        kind: Kind::End,
        from: sql.len(),
        to: sql.len(),
    });
    Ok(tokens)
}

fn unclosed(what: &str, rest: &str) -> Trouble {
    let start: String = rest.chars().take(12).collect();
    Trouble::query(format!("Syntax error: Unclosed {what} at {start}"))
}

/// The text between quotes, its escapes undone, and how long it was with both quotes.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), Trouble> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((text, at + 1)),
            '\\' => text.push(
                escaped(&mut chars)
                    .ok_or_else(|| unclosed("string literal (or an escape this world does not know)", rest))?,
            ),
            c => text.push(c),
        }
    }
    Err(unclosed("string literal", rest))
}

/// What follows a backslash.
fn escaped(chars: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let digits = match chars.next()?.1 {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        c @ ('\\' | '\'' | '"' | '`' | '?') => return Some(c),
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let code: String = chars.take(digits).map(|(_, c)| c).collect();
    char::from_u32(u32::from_str_radix(&code, 16).ok().filter(|_| code.len() == digits)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<Kind> {
        split(sql).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn a_text_is_words_strings_names_and_signs() {
        let word = |text: &str| Kind::Word(text.into());
        assert_eq!(
            kinds("SELECT 'it\\'s' -- no\n, `a.b` /* nor */ >= 12 # end"),
            [
                word("SELECT"),
                Kind::Text("it's".into()),
                Kind::Sign(","),
                Kind::Quoted("a.b".into()),
                Kind::Sign(">="),
                Kind::Number("12".into()),
                Kind::End
            ]
        );
        assert_eq!(kinds("'\\u00e4'")[0], Kind::Text("ä".into()));
        for bad in ["'\\u00'", "SELECT 'x", "SELECT `x", "/* x", "SELECT ?", "'\\z'"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
