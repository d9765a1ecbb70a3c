//! Inputs that nobody wrote, held against what is true of any: reading never panics, and what it tells lies in the
//! text.
//!
//! Made from the corpus by mutation, and from pieces; the same seed makes the same inputs. A few thousand run with the
//! tests; a million with `make fuzz` (`examples/fuzz.rs`).

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bqlib::foresight::deeds;
use bqlib::names::{DatasetRef, ProjectId};
use bqlib::script::{Kind, Statement, lexer, read, split};
use bqlib::variables::{NoValue, Put, replace_variables};
use fastrand::Rng;

use crate::corpus::{Script, scripts};

#[path = "covers.rs"]
mod covers;

const PIECES: [&str; 74] = [
    "SELECT ",
    "FROM ",
    "d.t",
    "`d.t`",
    "`p`.d.`t` ",
    " ",
    "\n",
    "\r",
    ";",
    "; ",
    "'",
    "\"",
    "`",
    "'''",
    "\"\"\"",
    "\\",
    "r'",
    "rb\"",
    "--",
    "#",
    "/*",
    "*/",
    "BEGIN ",
    "END ",
    "END; ",
    "END IF; ",
    "END LOOP; ",
    "END CASE; ",
    "END FOR; ",
    "END WHILE; ",
    "IF a THEN ",
    "ELSE ",
    "ELSEIF b THEN ",
    "LOOP ",
    "WHILE a DO ",
    "REPEAT ",
    "UNTIL a END REPEAT; ",
    "FOR x IN (SELECT 1) DO ",
    "CASE ",
    "WHEN a THEN ",
    "x: ",
    "EXCEPTION WHEN ERROR THEN ",
    "CREATE PROCEDURE p() ",
    "CREATE OR REPLACE ",
    "TEMP ",
    "TABLE ",
    "VIEW v ",
    "FUNCTION ",
    "AS ",
    "WITH RECURSIVE a AS (",
    "(",
    ")",
    "[",
    "}",
    "|> ",
    "INSERT INTO ",
    "MERGE ",
    "USING ",
    "DROP ",
    "ALL ",
    "ON ",
    "ALTER TABLE d.t RENAME TO ",
    "SET @@dataset_id = ",
    "DECLARE a, ",
    "EXPORT DATA ",
    "GRANT `x` ON ",
    ", ",
    "ü",
    "\u{feff}",
    "\u{a0}",
    "my-p.",
    "1.",
    "${V}",
    "$${",
];

const FLAGS: [&str; 40] = [
    "a",
    ":",
    ":",
    "::",
    "INT64",
    "STRING",
    "ARRAY<",
    "STRUCT<",
    "RANGE<",
    "DATE",
    ">",
    ">>",
    "x INT64",
    ", ",
    "y ARRAY<STRING>",
    "[",
    "]",
    "{",
    "}",
    "\"x\"",
    "\"x\": ",
    "1",
    "-1.5e3",
    "NULL",
    "null",
    "true",
    "NUMERIC(3, 1)",
    "2026-01-02",
    "2026-01-02 03:04:05.678+00",
    "[2026-01-01, UNBOUNDED)",
    "POINT(1 2)",
    "1-2 3 4:5:6",
    "\\",
    "'",
    "ü",
    "🦀",
    " ",
    "\n",
    "\u{0}",
    "é\u{301}",
];

/// Makes inputs and checks them.
pub(crate) struct Fuzzer {
    corpus: Vec<Script>,
    home: ProjectId,
    default: DatasetRef,
    random: Rng,
    /// Which of the corpus was taken last.
    last: usize,
}

impl Fuzzer {
    pub(crate) fn new(seed: u64) -> Fuzzer {
        let home: ProjectId = "p".parse().unwrap_or_else(|e| panic!("{e}"));
        Fuzzer {
            corpus: scripts(),
            default: DatasetRef::parse("d", &home).unwrap_or_else(|e| panic!("{e}")),
            home,
            random: Rng::with_seed(seed),
            last: 0,
        }
    }

    /// Runs so many inputs.
    ///
    /// # Errors
    /// One of them made something panic, or broke what is true of any: it, and which of the inputs it was.
    pub(crate) fn run(&mut self, inputs: usize) -> Result<(), (usize, String)> {
        for n in 0..inputs {
            let (text, flag) = (self.script(), self.flag());
            let held = catch_unwind(AssertUnwindSafe(|| {
                self.script_holds(&text);
                flag_holds(&flag);
            }));
            let of = &self.corpus[self.last].name;
            held.map_err(|_| {
                (
                    n,
                    format!("script (the last one of the corpus was {of}) {text:?}\nparameter {flag:?}"),
                )
            })?;
        }
        Ok(())
    }

    fn pieces(&mut self, of: &[&str], most: usize) -> String {
        let many = self.random.usize(0..=most);
        (0..many).filter_map(|_| self.random.choice(of)).copied().collect()
    }

    fn script(&mut self) -> String {
        if self.random.u8(0..3) == 0 {
            return self.pieces(&PIECES, 24);
        }
        let mut text = self.one_of_the_corpus();
        for _ in 0..self.random.usize(1..=4) {
            self.mutate(&mut text);
        }
        text
    }

    fn one_of_the_corpus(&mut self) -> String {
        self.last = self.random.usize(0..self.corpus.len());
        let text = self.corpus[self.last].text.as_str();
        // Of a long one a part, or nothing else would be read for long.
        let from = text.floor_char_boundary(self.random.usize(0..=text.len().saturating_sub(400)));
        text[from..text.floor_char_boundary(from + 400)].to_owned()
    }

    fn place(&mut self, text: &str) -> usize {
        text.floor_char_boundary(self.random.usize(0..=text.len()))
    }

    fn part(&mut self, text: &str) -> Range<usize> {
        let start = self.place(text);
        let end = text.floor_char_boundary((start + self.random.usize(0..20)).min(text.len()));
        start..end.max(start)
    }

    fn mutate(&mut self, text: &mut String) {
        let at = self.place(text);
        let part = self.part(text);
        match self.random.u8(0..7) {
            0 => text.truncate(at),
            1 => drop(text.drain(part)),
            2 => {
                let again = text[part].to_owned();
                text.insert_str(at, &again);
            }
            3 => {
                let other = self.one_of_the_corpus();
                let part = self.part(&other);
                text.insert_str(at, &other[part]);
            }
            4 => {
                text.truncate(at);
                let other = self.one_of_the_corpus();
                let from = self.place(&other);
                text.push_str(&other[from..]);
            }
            5 => text.insert(at, self.random.char('\0'..='\u{3000}')),
            _ => {
                let piece = self.random.choice(&PIECES).copied().unwrap_or_default();
                text.insert_str(at, piece);
            }
        }
    }

    fn flag(&mut self) -> String {
        match self.random.u8(0..4) {
            0 => self.pieces(&FLAGS, 12),
            1 => format!("a:ARRAY<INT64>:{}", self.pieces(&FLAGS, 8)),
            2 => format!("a:STRUCT<x INT64, y ARRAY<STRING>>:{}", self.pieces(&FLAGS, 8)),
            _ => {
                let kind = self.pieces(&FLAGS, 5);
                format!("a:{kind}:{}", self.pieces(&FLAGS, 3))
            }
        }
    }

    fn script_holds(&self, text: &str) {
        tokens_hold(text);
        split_holds(text);
        variables_hold(text);
        match read(text) {
            Ok(statements) => {
                statements_hold(text, &statements);
                covers::all_is_told(text, &statements);
                let told = deeds(text, &statements, &self.home, Some(&self.default));
                assert_eq!(told.len(), statements.len());
            }
            Err(open) => assert!(open.start < text.len() && text.is_char_boundary(open.start), "{open:?}"),
        }
    }
}

/// Tokens are the text, up to what does not end.
fn tokens_hold(text: &str) {
    let (upto, tokens) = match lexer::tokens(text) {
        Ok(tokens) => (text.len(), tokens),
        Err(open) => (
            open.start,
            lexer::tokens(&text[..open.start]).unwrap_or_else(|e| panic!("{e:?} before {open:?}")),
        ),
    };
    let mut end = 0;
    for placed in tokens {
        assert!(
            placed.start == end && placed.end > end && text.is_char_boundary(placed.end),
            "{placed:?}"
        );
        end = placed.end;
    }
    assert_eq!(end, upto);
}

/// Pieces stand in their order, and what is between them says nothing.
fn split_holds(text: &str) {
    let mut end = 0;
    let mut joined = String::new();
    for range in split(text) {
        assert!(range.start >= end && !text[range.clone()].is_empty(), "{range:?}");
        joined.push_str(&text[end..range.end]);
        end = range.end;
    }
    joined.push_str(&text[end..]);
    assert_eq!(joined, text);
}

/// Statements stand in the text, in their order, each in the block that holds it; what is told of one stands in it.
fn statements_hold(text: &str, statements: &[Statement]) {
    let mut open: Vec<Range<usize>> = Vec::new();
    let mut last = 0;
    for statement in statements {
        let range = &statement.range;
        let stands = |inner: &Range<usize>| {
            assert!(text.get(inner.clone()).is_some_and(|s| !s.is_empty()), "{inner:?}");
            assert!(
                range.start <= inner.start && inner.end <= range.end,
                "{inner:?} is not in {range:?}"
            );
        };
        stands(range);
        assert!(statement.depth <= open.len() && range.start >= last, "{range:?}");
        open.truncate(statement.depth);
        if let Some(outer) = open.last() {
            assert!(
                outer.start <= range.start && range.end <= outer.end,
                "{range:?} is not in {outer:?}"
            );
        } else {
            assert!(!statement.conditional, "{range:?}");
        }
        last = range.start;
        statement.expressions.iter().chain(&statement.query).for_each(stands);
        assert!(
            statement.parts.is_sorted() && statement.parts.iter().all(|part| range.contains(part)),
            "{statement:?}"
        );
        let effects = statement.effects.iter().filter_map(|effect| effect.name.as_ref());
        for name in statement.reads.iter().chain(effects) {
            stands(&name.range);
            assert!(!name.parts.is_empty(), "{name:?}");
        }
        open.push(range.clone());
    }
}

/// What variables leave of a text, they leave as it was.
fn variables_hold(text: &str) {
    let refused = NoValue {
        what: "no".to_owned(),
        hint: "no",
    };
    let value = |name: &str| match name.len() % 4 {
        0 => Ok(None),
        1 => Ok(Some(Put::Name("a-b.c".to_owned()))),
        2 => Ok(Some(Put::Name(name.to_owned()))),
        _ => Err(refused.clone()),
    };
    match replace_variables(text, value) {
        Ok(replaced) if !text.contains("${") => assert_eq!(replaced.text, text),
        Ok(replaced) => {
            let origins = (0..=replaced.text.len())
                .step_by(7)
                .map(|at| replaced.origins.origin(at));
            assert!(
                origins.clone().is_sorted() && origins.max().is_none_or(|last| last <= text.len()),
                "{replaced:?}"
            );
        }
        Err(bad) => assert!(bad.line > 0 && bad.column > 0, "{bad:?}"),
    }
}

/// A parameter has a type and a value, or is refused.
fn flag_holds(flag: &str) {
    if let Ok(parameter) = bqlib::params::parse(flag) {
        assert!(parameter["parameterType"]["type"].is_string(), "{parameter}");
        assert!(parameter["parameterValue"].is_object(), "{parameter}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_inputs_are_read_without_a_panic() {
        let seed = 7;
        let ran = Fuzzer::new(seed).run(5000);
        assert_eq!(ran, Ok(()), "seed {seed}");
    }

    #[test]
    fn a_statement_that_is_lost_is_noticed() {
        let text = "DROP TABLE d.t; IF a THEN x: BEGIN SELECT 1; END x; ELSE SELECT 2; END IF; @{a = 1} SELECT 3";
        let all = read(text).unwrap_or_else(|e| panic!("{e:?}"));
        covers::all_is_told(text, &all);
        for lost in 0..all.len() {
            let mut rest = all.clone();
            rest.remove(lost);
            let held = catch_unwind(|| covers::all_is_told(text, &rest));
            assert!(held.is_err(), "{:?}", all[lost]);
        }
        let mut unread = all.clone();
        unread[1].expressions.clear();
        assert!(catch_unwind(|| covers::all_is_told(text, &unread)).is_err());
    }

    #[test]
    fn a_seed_makes_the_same_inputs_again() {
        let few = |seed| {
            let mut fuzzer = Fuzzer::new(seed);
            (0..50).map(|_| (fuzzer.script(), fuzzer.flag())).collect::<Vec<_>>()
        };
        assert_eq!(few(1), few(1));
        assert_ne!(few(1), few(2));
    }
}
