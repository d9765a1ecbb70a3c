//! That nothing of a text is lost when it is read: each word stands in a statement, in a label, or is one of a block's own.
//!
//! Shared by the laws of the library and the fuzzer of the tests, which bring the library's names with them.

use super::{Kind, Statement, lexer};

/// Asserts it of a text that can be read.
pub(crate) fn all_is_told(text: &str, statements: &[Statement]) {
    let words = lexer::tokens(text).unwrap_or_default();
    let words: Vec<lexer::Placed> = words.into_iter().filter(|word| !word.token.is_blank()).collect();
    let say = |at: usize| words.get(at).map_or("", |word| &text[word.range()]);
    let mut next = 0;
    let mut open: Vec<&Statement> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        // Statements stand in their order, so the last that begins before a word and does not end before it is the innermost.
        while let Some(begins) = statements.get(next).filter(|one| one.range.start <= word.start) {
            open.truncate(begins.depth);
            open.push(begins);
            next += 1;
        }
        while open.last().is_some_and(|one| one.range.end <= word.start) {
            open.pop();
        }
        let labels = statements.get(next).is_some_and(|one| {
            let begins = words.partition_point(|word| word.start < one.range.start);
            let label = begins.checked_sub(2).filter(|label| say(label + 1) == ":");
            label.is_some_and(|label| (label..begins).contains(&at))
        });
        let told = labels
            || say(at) == ";"
            || open.last().is_some_and(|inner| {
                let expressed = inner.expressions.iter().any(|range| range.contains(&word.start));
                // A label, at the block's end.
                let last = word.end == inner.range.end;
                expressed || last || own(inner.kind).is_none_or(|own| is_one_of(own, inner, say(at)))
            });
        assert!(told, "{:?} is in no statement of {text:?}: {statements:?}", say(at));
    }
}

fn is_one_of(own: &[&str], inner: &Statement, word: &str) -> bool {
    let variable = word.trim_matches('`');
    own.iter().any(|own| own.eq_ignore_ascii_case(word)) || inner.variables.iter().any(|name| name == variable)
}

/// The words of a block that stand in no statement of it; `None`: it is no block.
fn own(kind: Kind) -> Option<&'static [&'static str]> {
    Some(match kind {
        Kind::Block => &["BEGIN", "EXCEPTION", "WHEN", "ERROR", "THEN", "END"],
        Kind::If => &["IF", "THEN", "ELSEIF", "ELSE", "END"],
        Kind::Case => &["CASE", "WHEN", "THEN", "ELSE", "END"],
        Kind::Loop => &["LOOP", "END"],
        Kind::While => &["WHILE", "DO", "END"],
        Kind::Repeat => &["REPEAT", "UNTIL", "END"],
        Kind::For => &["FOR", "IN", "(", ")", "DO", "END"],
        _ => return None,
    })
}
