//! The words of BigQuery's SQL, and nothing of its grammar.
//!
//! sqlparser's own dialect for BigQuery can parse a statement, so its lexer brings the whole parser into a program: a
//! fifth of it, never run. This is that dialect as far as the lexer asks it.

use std::any::TypeId;

use sqlparser::dialect::{BigQueryDialect, Dialect};
use sqlparser::tokenizer::{TokenWithSpan, Tokenizer};

#[derive(Debug)]
struct Words;

impl Dialect for Words {
    fn dialect(&self) -> TypeId {
        TypeId::of::<BigQueryDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        BigQueryDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        BigQueryDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        BigQueryDialect.is_identifier_part(ch)
    }

    fn supports_triple_quoted_string(&self) -> bool {
        true
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_pipe_operator(&self) -> bool {
        true
    }
}

/// The tokens of a text; `None`: the lexer cannot read it.
pub(crate) fn tokens(text: &str) -> Option<Vec<TokenWithSpan>> {
    // Without unescaping, so that a literal that GoogleSQL knows and the lexer does not is still one token.
    let lexer = Tokenizer::new(&Words, text)
        .with_unescape(false)
        .tokenize_with_location();
    lexer.ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn as_sqlparser_has_it(text: &str) -> Option<Vec<TokenWithSpan>> {
        let lexer = Tokenizer::new(&BigQueryDialect, text)
            .with_unescape(false)
            .tokenize_with_location();
        lexer.ok()
    }

    const PIECES: [&str; 34] = [
        "SELECT", " ", "\n", ";", "'", "\"", "`", "'''", "\"\"\"", "\\", "\\'", "r'", "b'", "rb'", "x'", "u&'", "q'(",
        "--", "#", "//", "/*", "*/", "/* /*", "@", "@@v", "$1", "$$", "1_000", "1e5", ".5", "|>", "?", "ü", "a-b",
    ];

    proptest! {
        #[test]
        fn the_lexer_reads_as_it_does_with_sqlparsers_own_dialect(
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)
        ) {
            let text = pieces.concat();
            prop_assert_eq!(tokens(&text), as_sqlparser_has_it(&text), "{}", text);
        }
    }
}
