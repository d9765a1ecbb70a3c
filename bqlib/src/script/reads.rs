//! PURE: where a query names tables: behind `FROM`, `JOIN`, a comma of a FROM clause, `TABLE` in a call. There is no
//! grammar here.
//!
//! What stands in comments, literals and column lists is none; nor is the name of a CTE, or a column of what is read
//! already.

use std::collections::HashMap;
use std::ops::Range;

use super::names::Path;
use super::words::Words;

/// A name where a table is read.
pub(crate) struct Read {
    /// It.
    pub(crate) path: Path,
    /// Whether an alias is said with it.
    pub(crate) aliased: bool,
    /// Whether it is an argument of a call, which can have none.
    pub(crate) argument: bool,
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Expects {
    #[default]
    Nothing,
    /// A table of a FROM clause, which may have an alias.
    Table,
    /// A table as an argument, which may not.
    Argument,
}

/// What is known inside a pair of brackets.
#[derive(Debug, Default)]
struct Scope {
    in_from: bool,
    expects: Expects,
    /// `EXTRACT(DAY FROM …)`: its FROM begins no clause.
    extracts: bool,
    /// Names that stand for a table here: `FROM d.t AS d, d.items` reads a column of it, not another table.
    aliases: Vec<String>,
    /// The CTEs that are known here.
    ctes: Vec<String>,
    /// The CTE whose query these brackets hold: known to what stands behind them.
    defines: Option<String>,
    /// Whether it stands behind `WITH`, where CTEs are defined.
    with: bool,
    /// Whether these may read themselves.
    recursive: bool,
}

/// How often each name is known, in the scopes that are open: asked for each table, of which a text may have as many as
/// scopes.
#[derive(Default)]
struct Known(HashMap<String, usize>);

impl Known {
    fn add(&mut self, name: &str) -> String {
        let name = name.to_lowercase();
        *self.0.entry(name.clone()).or_default() += 1;
        name
    }

    fn forget(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            if let Some(count) = self.0.get_mut(&name) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(&name.to_lowercase()).is_some_and(|count| *count > 0)
    }
}

/// The names where the words of a range read tables, in their order. `table`: whether the first word is one of a FROM
/// clause; `aliases`: what stands for a table from the beginning.
pub(crate) fn reads(words: &Words, range: Range<usize>, table: bool, aliases: &[String]) -> Vec<Read> {
    let mut walk = Walk::new(words);
    for alias in aliases {
        walk.alias(alias);
    }
    if table {
        walk.expect(Expects::Table);
    }
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let expects = walk.scope().expects;
        let path = match expects {
            Expects::Nothing => None,
            _ if words.is_reserved(at) => None,
            _ => Path::at(words.text, words.start(at)),
        };
        let Some(path) = path else {
            walk.step(at);
            at += 1;
            continue;
        };
        at = words.behind(path.name.range.end, at);
        let alias = alias(words, at);
        let called = words.symbol(at) == "(";
        let known = walk.is_column(&path) || walk.is_cte(&path);
        walk.alias(alias.as_deref().unwrap_or_else(|| path.implied()));
        walk.expect(Expects::Nothing);
        if !called && !known {
            found.push(Read {
                aliased: alias.is_some(),
                argument: expects == Expects::Argument,
                path,
            });
        }
    }
    found
}

/// The alias that stands here, if one does.
pub(crate) fn alias(words: &Words, at: usize) -> Option<String> {
    let at = if words.is(at, "AS") { at + 1 } else { at };
    if words.is_reserved(at) {
        return None;
    }
    // No reserved words, and operators where a bracket follows.
    if words.is_any(at, &["PIVOT", "UNPIVOT", "MATCH_RECOGNIZE"]) && words.symbol(at + 1) == "(" {
        return None;
    }
    words.name(at).map(str::to_owned)
}

struct Walk<'w, 'a> {
    words: &'w Words<'a>,
    /// One for each open bracket, and one around all.
    scopes: Vec<Scope>,
    aliases: Known,
    ctes: Known,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(words: &'w Words<'a>) -> Walk<'w, 'a> {
        Walk {
            words,
            scopes: vec![Scope::default()],
            aliases: Known::default(),
            ctes: Known::default(),
        }
    }

    fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn expect(&mut self, what: Expects) {
        let scope = self.scope();
        scope.in_from |= what == Expects::Table;
        scope.expects = what;
    }

    fn alias(&mut self, name: &str) {
        let name = self.aliases.add(name);
        self.scope().aliases.push(name);
    }

    /// Whether it is a column of what is read already.
    fn is_column(&self, path: &Path) -> bool {
        path.first.as_ref().is_some_and(|first| self.aliases.has(first))
    }

    fn is_cte(&self, path: &Path) -> bool {
        matches!(path.name.parts.as_slice(), [one] if self.ctes.has(one))
    }

    fn define(&mut self, name: &str) {
        let name = self.ctes.add(name);
        self.scope().ctes.push(name);
    }

    /// Takes in a token that names no table.
    fn step(&mut self, at: usize) {
        let expected = std::mem::take(&mut self.scope().expects);
        match self.words.symbol(at) {
            "(" => self.open(at, expected),
            "[" | "{" => self.scopes.push(Scope::default()),
            ")" | "]" | "}" if self.scopes.len() > 1 => self.close(at),
            "," if self.scope().in_from => self.expect(Expects::Table),
            "|>" => self.scope().in_from = false,
            ";" => {
                let (aliases, ctes) = (
                    std::mem::take(&mut self.scope().aliases),
                    std::mem::take(&mut self.scope().ctes),
                );
                self.aliases.forget(aliases);
                self.ctes.forget(ctes);
                *self.scope() = Scope::default();
            }
            _ => self.keyword(at),
        }
    }

    fn open(&mut self, at: usize, expected: Expects) {
        let words = self.words;
        let before = |n: usize| at.checked_sub(n);
        let behind_as = before(1).is_some_and(|at| words.is(at, "AS"));
        let cte = before(2).filter(|_| behind_as && self.scope().with);
        let cte = cte.and_then(|at| words.name(at)).map(str::to_owned);
        let recursive = self.scope().recursive;
        if let Some(name) = cte.as_ref().filter(|_| recursive) {
            self.define(name);
        }
        self.scopes.push(Scope {
            in_from: expected == Expects::Table,
            expects: expected,
            extracts: before(1).is_some_and(|at| words.is(at, "EXTRACT")),
            defines: cte,
            ..Scope::default()
        });
    }

    fn close(&mut self, at: usize) {
        let Some(closed) = self.scopes.pop() else { return };
        self.aliases.forget(closed.aliases);
        self.ctes.forget(closed.ctes);
        if let Some(name) = closed.defines {
            self.define(&name);
        }
        if self.scope().in_from
            && let Some(alias) = alias(self.words, at + 1)
        {
            self.alias(&alias);
        }
    }

    fn keyword(&mut self, at: usize) {
        let words = self.words;
        let inside = self.scopes.len() > 1;
        let behind = |keywords: &[&str]| at.checked_sub(1).is_some_and(|at| words.is_any(at, keywords));
        let Some(word) = words.word(at) else { return };
        match word.to_ascii_uppercase().as_str() {
            "FROM" if self.scope().extracts || behind(&["DISTINCT"]) => {}
            "FROM" | "JOIN" => {
                self.scope().with = false;
                self.expect(Expects::Table);
            }
            // In a call, or a query of its own; not what a pipe makes.
            "TABLE" if inside && !behind(&["CREATE", "REPLACE", "TEMP", "TEMPORARY"]) => self.expect(Expects::Argument),
            "WITH" => {
                let scope = self.scope();
                (scope.with, scope.recursive) = (true, words.is(at + 1, "RECURSIVE"));
            }
            "SELECT" | "UNION" | "INTERSECT" | "EXCEPT" => {
                let scope = self.scope();
                (scope.in_from, scope.with) = (false, false);
                let aliases = std::mem::take(&mut scope.aliases);
                self.aliases.forget(aliases);
            }
            "WHERE" | "GROUP" | "HAVING" | "QUALIFY" | "WINDOW" | "ORDER" | "LIMIT" => self.scope().in_from = false,
            _ => {}
        }
    }
}
