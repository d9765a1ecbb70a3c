//! PURE: a script as its statements, split where BigQuery splits it; blocks stand before what stands in them.
//!
//! Knows where a statement ends, not what it does. What does not fit is no error here: from there on the script is one
//! opaque statement. Nothing recurses, for blocks may be nested as deep as a text is long.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language>.

use super::kinds;
use super::lexer::{Token, Unclosed};
use super::statement::{Kind, Statement};
use super::words::Words;

/// A script's statements.
///
/// # Errors
/// A literal, a quoted name or a comment has no end: nobody can tell statements behind it.
pub fn read(text: &str) -> Result<Vec<Statement>, Unclosed> {
    let words = Words::of(text)?;
    let mut reader = Reader {
        words: &words,
        at: 0,
        open: Vec::new(),
        found: Vec::new(),
        conditions: 0,
    };
    while reader.at < words.len() {
        if reader.step().is_none() {
            reader.rest_is_opaque();
        }
    }
    reader.end();
    Ok(reader.found)
}

/// A block whose end has not been met.
struct Block {
    kind: Kind,
    /// Where its statement stands among those found.
    statement: usize,
    label: Option<String>,
    /// Which of its parts is read.
    part: Part,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// Up to `ELSE` or `EXCEPTION`, if there is one.
    First,
    /// Behind it.
    Last,
}

impl Block {
    /// Whether what stands here may run not at all, or many times.
    fn is_conditional(&self) -> bool {
        match self.kind {
            Kind::Block | Kind::CreateProcedure => self.part == Part::Last,
            _ => true,
        }
    }
}

struct Reader<'w, 'a> {
    words: &'w Words<'a>,
    /// The word that comes next.
    at: usize,
    open: Vec<Block>,
    found: Vec<Statement>,
    /// How many of the open blocks are conditional where it reads.
    conditions: usize,
}

impl Reader<'_, '_> {
    /// Reads a statement, the beginning of a block, or a word that parts or ends one. `None`: what stands here does not
    /// fit.
    fn step(&mut self) -> Option<()> {
        if self.words.symbol(self.at) == ";" {
            self.at += 1;
            return Some(());
        }
        let label = self.label();
        let begins = if label.is_some() { self.at + 2 } else { self.at };
        if label.is_none()
            && self
                .words
                .is_any(begins, &["END", "ELSE", "ELSEIF", "WHEN", "EXCEPTION", "UNTIL"])
        {
            return self.part();
        }
        if matches!(self.words.symbol(begins), "(" | "@") {
            return self.statement();
        }
        match self.words.word(begins)?.to_ascii_uppercase().as_str() {
            "BEGIN" if !self.is_transaction(begins) => self.begin(Kind::Block, label, begins, begins + 1),
            "LOOP" => self.begin(Kind::Loop, label, begins, begins + 1),
            "REPEAT" => self.begin(Kind::Repeat, label, begins, begins + 1),
            "WHILE" => self.begin_with(Kind::While, label, begins, "DO"),
            "FOR" => self.begin_for(label, begins),
            _ if label.is_some() => None,
            "IF" => self.begin_with(Kind::If, None, begins, "THEN"),
            "CASE" => self.begin_case(begins),
            _ => self.statement(),
        }
    }

    /// The label that stands here.
    fn label(&self) -> Option<String> {
        let name = self.words.name(self.at)?;
        (self.words.symbol(self.at + 1) == ":" && !self.words.is_reserved(self.at)).then(|| name.to_owned())
    }

    fn is_transaction(&self, at: usize) -> bool {
        let behind = at + 1;
        behind == self.words.len() || self.words.symbol(behind) == ";" || self.words.is(behind, "TRANSACTION")
    }

    /// Opens a block that begins at one word, its first statement at another.
    fn begin(&mut self, kind: Kind, label: Option<String>, at: usize, inner: usize) -> Option<()> {
        let statement = self.empty(kind, at, inner);
        self.found.push(statement);
        self.push(kind, label);
        self.at = inner;
        Some(())
    }

    /// Opens a block of the statement that was found last.
    fn push(&mut self, kind: Kind, label: Option<String>) {
        let block = Block {
            kind,
            statement: self.found.len().saturating_sub(1),
            label,
            part: Part::First,
        };
        self.conditions += usize::from(block.is_conditional());
        self.open.push(block);
    }

    fn begin_with(&mut self, kind: Kind, label: Option<String>, at: usize, behind: &str) -> Option<()> {
        let end = self.expression(at + 1, &[behind])?;
        self.begin(kind, label, at, end + 1)?;
        self.expressed(at + 1, end);
        Some(())
    }

    fn begin_case(&mut self, at: usize) -> Option<()> {
        let first = self.expression(at + 1, &["WHEN"])?;
        let end = self.expression(first + 1, &["THEN"])?;
        self.begin(Kind::Case, None, at, end + 1)?;
        self.expressed(at + 1, first);
        self.expressed(first + 1, end);
        Some(())
    }

    fn begin_for(&mut self, label: Option<String>, at: usize) -> Option<()> {
        let variable = self.words.name(at + 1)?.to_owned();
        let brackets = self.words.is(at + 2, "IN") && self.words.symbol(at + 3) == "(";
        let mut depth = 0;
        let last = (at + 3..self.words.len())
            .take_while(|at| self.words.symbol(*at) != ";")
            .find(|at| {
                depth += self.words.depth(*at);
                depth == 0
            });
        let last = last.filter(|last| brackets && self.words.is(last + 1, "DO"))?;
        self.begin(Kind::For, label, at, last + 2)?;
        self.expressed(at + 4, last);
        if let Some(last) = self.found.last_mut() {
            last.variables.push(variable);
        }
        Some(())
    }

    /// The word behind an expression: the first of these that stands in no brackets and no `CASE`. `None`: the
    /// statement ends before it.
    fn expression(&self, from: usize, ends: &[&str]) -> Option<usize> {
        let (mut brackets, mut cases) = (0, 0);
        for at in from..self.words.len() {
            let depth = self.words.depth(at);
            brackets += depth;
            if depth != 0 {
                if brackets < 0 {
                    return None;
                }
                continue;
            }
            match () {
                () if self.words.symbol(at) == ";" => return None,
                () if brackets > 0 => {}
                () if cases == 0 && self.words.is_any(at, ends) && self.may_end(from, at) => return Some(at),
                () if self.words.is(at, "CASE") => cases += 1,
                () if self.words.is(at, "END") && cases == 0 => return None,
                () if self.words.is(at, "END") => cases -= 1,
                () => {}
            }
        }
        None
    }

    /// Whether an expression may end before this word. `DO` is a name, too: the second of `WHILE do DO` ends it. (A
    /// `CASE` statement may have no expression at all.)
    fn may_end(&self, from: usize, at: usize) -> bool {
        if !self.words.is(at, "DO") {
            return at > from || self.words.is(at, "WHEN");
        }
        let Some(before) = at.checked_sub(1).filter(|before| *before >= from) else {
            return false;
        };
        match self.words.get(before).map(|placed| placed.token) {
            Some(Token::Symbol) => matches!(self.words.symbol(before), ")" | "]" | "}" | "?"),
            Some(Token::Word) => {
                !self.words.is_reserved(before) || self.words.is_any(before, &["END", "NULL", "TRUE", "FALSE"])
            }
            _ => true,
        }
    }

    /// Keeps the expression between these words for the statement of the innermost block, with what it reads and does.
    fn expressed(&mut self, from: usize, end: usize) {
        let Some(block) = self.open.last().filter(|_| from < end) else {
            return;
        };
        let range = self.words.start(from)..self.words.end_before(end);
        let reads = kinds::reads(self.words, from..end);
        let effects = kinds::piped(self.words, from..end);
        if let Some(statement) = self.found.get_mut(block.statement) {
            statement.expressions.push(range);
            statement.reads.extend(reads);
            statement.effects.extend(effects);
        }
    }

    /// A word that parts or ends the innermost block.
    fn part(&mut self) -> Option<()> {
        let (words, at) = (self.words, self.at);
        let block = self.open.last()?;
        let (kind, first) = (block.kind, block.part == Part::First);
        let (next, expression) = match words.word(at)?.to_ascii_uppercase().as_str() {
            "END" if kind != Kind::Repeat => return self.close(at),
            "UNTIL" if kind == Kind::Repeat => {
                let end = self.expression(at + 1, &["END"])?;
                self.expressed(at + 1, end);
                self.at = end;
                return self.close(end);
            }
            "ELSEIF" if kind == Kind::If && first => (self.expression(at + 1, &["THEN"])?, true),
            "WHEN" if kind == Kind::Case && first => (self.expression(at + 1, &["THEN"])?, true),
            "ELSE" if matches!(kind, Kind::If | Kind::Case) && first => (at, false),
            "EXCEPTION" if matches!(kind, Kind::Block | Kind::CreateProcedure) && first => {
                (words.are(at + 1, &["WHEN", "ERROR", "THEN"]).then_some(at + 3)?, false)
            }
            _ => return None,
        };
        let begins = words.start(at);
        if let Some(statement) = self.found.get_mut(block.statement) {
            statement.parts.push(begins);
        }
        match expression {
            true => self.expressed(at + 1, next),
            false => {
                let block = self.open.last_mut()?;
                let before = block.is_conditional();
                block.part = Part::Last;
                self.conditions += usize::from(block.is_conditional() && !before);
            }
        }
        self.at = next + 1;
        Some(())
    }

    /// Closes the innermost block, whose `END` stands here.
    fn close(&mut self, at: usize) -> Option<()> {
        let block = self.open.last()?;
        let mut end = match block.kind {
            Kind::Block | Kind::CreateProcedure => Some(at + 1),
            kind => self.words.is(at + 1, kind.as_str()).then_some(at + 2),
        }?;
        if let Some(label) = &block.label
            && self
                .words
                .name(end)
                .is_some_and(|name| name.eq_ignore_ascii_case(label))
        {
            end += 1;
        }
        if end < self.words.len() && self.words.symbol(end) != ";" {
            return None;
        }
        self.conditions -= usize::from(block.is_conditional());
        let block = self.open.pop()?;
        if block.kind == Kind::CreateProcedure {
            // Its statements are not the script's.
            self.found.truncate(block.statement + 1);
        }
        if let Some(statement) = self.found.get_mut(block.statement) {
            statement.range.end = self.words.end_before(end);
        }
        self.at = end;
        Some(())
    }

    /// A statement that is no block. A procedure is, as far as its end is looked for.
    fn statement(&mut self) -> Option<()> {
        if let Some(inner) = kinds::procedure_body(self.words, self.words.behind_hints(self.at)) {
            let statement = kinds::statement(self.words, self.at..inner)?;
            self.place(statement);
            self.push(Kind::CreateProcedure, None);
            self.at = inner + 1;
            return Some(());
        }
        let end = (self.at..self.words.len())
            .find(|at| self.words.symbol(*at) == ";")
            .unwrap_or(self.words.len());
        let statement = kinds::statement(self.words, self.at..end)?;
        self.place(statement);
        self.at = end;
        Some(())
    }

    fn place(&mut self, statement: Statement) {
        self.found.push(Statement {
            depth: self.open.len(),
            conditional: self.conditions > 0,
            ..statement
        });
    }

    fn empty(&self, kind: Kind, from: usize, end: usize) -> Statement {
        Statement {
            depth: self.open.len(),
            conditional: self.conditions > 0,
            ..kinds::empty(kind, self.words.start(from)..self.words.end_before(end))
        }
    }

    /// What does not fit and all behind it is one statement.
    fn rest_is_opaque(&mut self) {
        let end = self.words.len();
        let rest = self.empty(Kind::Opaque, self.at, end);
        self.at = end;
        // Where a procedure's body would end is not known, so it is no statement of its own.
        if let Some(procedure) = self.open.iter().position(|block| block.kind == Kind::CreateProcedure) {
            self.open.truncate(procedure + 1);
            return;
        }
        for block in self.open.drain(..) {
            if let Some(statement) = self.found.get_mut(block.statement) {
                statement.range.end = rest.range.end;
            }
        }
        self.found.push(rest);
    }

    /// The text is at its end: a block that is still open never ends, and nothing of it is known.
    fn end(&mut self) {
        let Some(outermost) = self.open.first().map(|block| block.statement) else {
            return;
        };
        self.found.truncate(outermost + 1);
        if let Some(found) = self.found.get_mut(outermost) {
            let end = self.words.end_before(self.words.len());
            *found = Statement {
                depth: found.depth,
                conditional: found.conditional,
                ..kinds::empty(Kind::Opaque, found.range.start..end)
            };
        }
    }
}
