//! PURE: what a statement that is no block is and does: its kind, what it writes and reads. By its words; no grammar of
//! expressions.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language> and its
//! neighbours: data manipulation, data control, load, other statements, the procedural language, and pipe syntax.

use std::ops::Range;

use super::create;
use super::cursor::Cursor;
use super::reads;
use super::statement::{Deed, Effect, Kind, Name, Object, Statement};
use super::words::Words;

/// A statement of which nothing is known but its kind and place.
pub(crate) fn empty(kind: Kind, range: Range<usize>) -> Statement {
    Statement {
        range,
        kind,
        depth: 0,
        conditional: false,
        effects: Vec::new(),
        reads: Vec::new(),
        expressions: Vec::new(),
        query: None,
        variables: Vec::new(),
        parts: Vec::new(),
    }
}

/// The names that the words of a range read tables by.
pub(crate) fn reads(words: &Words, range: Range<usize>) -> Vec<Name> {
    names(reads::reads(words, range, false, &[]))
}

fn names(reads: Vec<reads::Read>) -> Vec<Name> {
    reads.into_iter().map(|read| read.path.name).collect()
}

/// What the pipe operators of a range's queries do.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/pipe-syntax>.
pub(crate) fn piped(words: &Words, range: Range<usize>) -> Vec<Effect> {
    let pipes = range.clone().filter(|at| words.symbol(*at) == "|>");
    let done = pipes.filter_map(|pipe| {
        let mut cursor = Cursor::new(words, pipe + 1..range.end);
        let (deed, temporary) = match cursor.next_word()?.as_str() {
            "INSERT" => {
                cursor.insert_mode();
                (Deed::Write, false)
            }
            "CREATE" => {
                let made = create::made(&mut cursor);
                cursor.take("TABLE");
                (made.deed(cursor.if_not_exists()), made.temporary)
            }
            "EXPORT" => {
                return Some(Effect {
                    deed: Deed::Beyond,
                    object: Object::Other,
                    name: None,
                    temporary: false,
                });
            }
            _ => return None,
        };
        Some(Effect {
            deed,
            object: Object::Table,
            name: cursor.name(),
            temporary,
        })
    });
    done.collect()
}

/// The `BEGIN` of the body of the procedure that is created here. `None`: none is, or it has no body of statements.
pub(crate) fn procedure_body(words: &Words, at: usize) -> Option<usize> {
    let made = if words.are(at, &["CREATE", "OR", "REPLACE"]) {
        at + 3
    } else {
        at + 1
    };
    if !words.is(at, "CREATE") || !words.is(made, "PROCEDURE") {
        return None;
    }
    let upto = |from: usize| (from..words.len()).take_while(|at| words.symbol(*at) != ";");
    // Its name may be any word; its parameters stand in brackets.
    let brackets = upto(made).find(|at| words.symbol(*at) == "(")?;
    let mut depth = 0;
    upto(brackets).find(|at| {
        depth += words.depth(*at);
        depth == 0 && words.is(*at, "BEGIN")
    })
}

/// What a statement is and does; `None`: it begins as none that is known. It stands in no block as far as this knows.
pub(crate) fn statement(words: &Words, range: Range<usize>) -> Option<Statement> {
    let placed = words.start(range.start)..words.end_before(range.end);
    let range = words.behind_hints(range.start)..range.end;
    let mut it = Reading {
        cursor: Cursor::new(words, range.clone()),
        statement: empty(Kind::Opaque, placed),
        reads_from: Some(range.start),
        table_first: false,
        aliases: Vec::new(),
    };
    it.statement.kind = it.kind()?;
    if let Some(from) = it.reads_from {
        let found = reads::reads(words, from..range.end, it.table_first, &it.aliases);
        it.statement.reads.extend(names(found));
        it.statement.effects.extend(piped(words, range));
    }
    Some(it.statement)
}

/// A statement that is being read.
pub(super) struct Reading<'w, 'a> {
    pub(super) cursor: Cursor<'w, 'a>,
    pub(super) statement: Statement,
    /// The word from which on tables may be read; `None`: it reads none.
    pub(super) reads_from: Option<usize>,
    /// Whether that word is itself such a table.
    table_first: bool,
    /// What stands for a table there.
    aliases: Vec<String>,
}

impl Reading<'_, '_> {
    pub(super) fn effect(&mut self, deed: Deed, object: Object, name: Option<Name>) {
        self.makes(deed, object, name, false);
    }

    /// One that makes something, maybe for the script alone.
    pub(super) fn makes(&mut self, deed: Deed, object: Object, name: Option<Name>, temporary: bool) {
        self.statement.effects.push(Effect {
            deed,
            object,
            name,
            temporary,
        });
    }

    fn kind(&mut self) -> Option<Kind> {
        let at = self.cursor.at;
        if self.cursor.words.symbol(at) == "(" {
            return Some(Kind::Select);
        }
        let first = self.cursor.next_word()?;
        Some(match first.as_str() {
            "SELECT" | "WITH" | "FROM" | "GRAPH" => Kind::Select,
            "TABLE" => {
                (self.reads_from, self.table_first) = (Some(self.cursor.at), true);
                Kind::Select
            }
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" => self.dml(&first),
            "TRUNCATE" => {
                self.cursor.take("TABLE");
                self.writes(Kind::Truncate)
            }
            "CREATE" => create::create(self),
            "ALTER" => create::alter(self),
            "DROP" => create::drop(self),
            "UNDROP" => create::undrop(self),
            "RENAME" => create::rename(self),
            "EXPORT" => self.export(),
            "LOAD" => self.load(),
            "GRANT" | "REVOKE" => self.grant(&first),
            "DECLARE" => self.declare(),
            "BEGIN" => self.plain(Kind::BeginTransaction),
            "COMMIT" => self.plain(Kind::CommitTransaction),
            "ROLLBACK" => self.plain(Kind::RollbackTransaction),
            "BREAK" | "LEAVE" | "CONTINUE" | "ITERATE" => self.plain(Kind::Jump),
            "RETURN" => self.plain(Kind::Return),
            "SET" => Kind::Set,
            "ASSERT" => Kind::Assert,
            "RAISE" => Kind::Raise,
            "CALL" => Kind::Call,
            "EXECUTE" if self.cursor.take("IMMEDIATE") => Kind::ExecuteImmediate,
            _ => return None,
        })
    }

    /// One that reads nothing.
    fn plain(&mut self, kind: Kind) -> Kind {
        self.reads_from = None;
        kind
    }

    /// One that writes the table whose name comes next, if what follows is what may.
    fn writes(&mut self, kind: Kind) -> Kind {
        let name = self.cursor.name();
        self.reads_from = Some(self.cursor.at);
        let mut behind = self.cursor;
        behind.at = behind.words.behind_hints(behind.at);
        let implied = name.as_ref().and_then(|name| name.parts.last().cloned());
        // What the rest may call the table.
        let alias = match kind {
            Kind::Update | Kind::Delete | Kind::Merge => behind.alias().or(implied),
            _ => None,
        };
        self.aliases.extend(alias);
        let fits = match kind {
            Kind::Insert => {
                behind.sees_symbol("(") || behind.sees(&["VALUES", "SELECT", "WITH", "FROM", "TABLE", "GRAPH"])
            }
            Kind::Update => behind.sees(&["SET"]),
            Kind::Merge => behind.sees(&["USING"]),
            _ => behind.is_over() || behind.sees(&["WHERE", "WITH", "ASSERT_ROWS_MODIFIED", "THEN"]),
        };
        // Else a keyword was taken for a name, or a name for a part of it: it would be another table.
        self.effect(Deed::Write, Object::Table, name.filter(|_| fits));
        kind
    }

    fn dml(&mut self, first: &str) -> Kind {
        self.cursor.at = self.cursor.words.behind_hints(self.cursor.at);
        let kind = match first {
            "INSERT" => {
                self.cursor.insert_mode();
                Kind::Insert
            }
            "UPDATE" => Kind::Update,
            "DELETE" => {
                self.cursor.take("FROM");
                Kind::Delete
            }
            _ => {
                self.cursor.take("INTO");
                Kind::Merge
            }
        };
        self.writes(kind);
        if kind == Kind::Merge
            && let Some(using) = self.cursor.find("USING")
        {
            (self.reads_from, self.table_first) = (Some(using + 1), true);
        }
        kind
    }

    fn export(&mut self) -> Kind {
        if self.cursor.take("MODEL") {
            let name = self.cursor.name();
            self.effect(Deed::Beyond, Object::Model, name);
            return self.plain(Kind::ExportModel);
        }
        self.effect(Deed::Beyond, Object::Other, None);
        match self.cursor.take("DATA") {
            true => {
                self.statement.query = self.cursor.query();
                Kind::ExportData
            }
            false => self.plain(Kind::OtherDdl),
        }
    }

    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/load-statements>.
    fn load(&mut self) -> Kind {
        self.reads_from = None;
        if !(self.cursor.take("DATA") && (self.cursor.take("INTO") || self.cursor.take("OVERWRITE"))) {
            return Kind::Opaque;
        }
        let temporary = self.cursor.take_all(&["TEMP", "TABLE"]) || self.cursor.take_all(&["TEMPORARY", "TABLE"]);
        let name = self.cursor.name();
        let fits = self.cursor.sees_symbol("(")
            || self.cursor.sees(&["FROM", "OVERWRITE", "PARTITIONS", "PARTITION"])
            || self.cursor.sees(&["CLUSTER", "OPTIONS", "WITH"]);
        self.makes(Deed::Write, Object::Table, name.filter(|_| fits), temporary);
        Kind::LoadData
    }

    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-control-language>.
    fn grant(&mut self, first: &str) -> Kind {
        self.reads_from = None;
        let mut of = Object::Table;
        let mut name = None;
        if let Some(on) = self.cursor.find("ON") {
            self.cursor.at = on + 1;
            of = create::object(&mut self.cursor);
            name = self.cursor.name();
        }
        self.effect(Deed::Beyond, of, name);
        match first {
            "GRANT" => Kind::Grant,
            _ => Kind::Revoke,
        }
    }

    fn declare(&mut self) -> Kind {
        let words = self.cursor.words;
        while let Some(name) = words.name(self.cursor.at) {
            self.statement.variables.push(name.to_owned());
            if words.symbol(self.cursor.at + 1) != "," {
                break;
            }
            self.cursor.at += 2;
        }
        Kind::Declare
    }
}
