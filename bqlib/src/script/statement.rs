//! PURE: what a statement of a script is, seen from outside: where it stands, its kind, what it writes and reads.
//!
//! Knows no table of BigQuery: names are as the text has them. Whether one exists, and who protects it, is asked elsewhere.

use std::fmt;
use std::ops::Range;

/// One statement of a script. A block (`IF`, `LOOP`, `BEGIN … END`, …) is a statement that others stand in.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Its bytes in the script: from its first word (behind comments and labels) to its last token, without the semicolon.
    pub range: Range<usize>,
    /// What it is.
    pub kind: Kind,
    /// In how many blocks it stands.
    pub depth: usize,
    /// Whether it may run not at all, or many times: it stands in a branch, a loop or an exception handler.
    pub conditional: bool,
    /// What it does, as far as its text tells. Empty: nothing.
    pub effects: Vec<Effect>,
    /// The names that stand where a table is read; those of its own CTEs and aliases are left out.
    pub reads: Vec<Name>,
    /// The expressions of a control statement (of `IF`, `WHILE`, `UNTIL`, `CASE` and each `WHEN`), and the query of a `FOR`.
    pub expressions: Vec<Range<usize>>,
    /// The query of what is made of one (a table, a view), and of `EXPORT DATA`.
    pub query: Option<Range<usize>>,
    /// The variables that it makes: `DECLARE a, b`, and the variable of a `FOR`.
    pub variables: Vec<String>,
    /// The bytes where the further parts of a block begin: at `ELSEIF`, `ELSE`, `WHEN`, `EXCEPTION`. Of them one runs at
    /// most, or (of a `BEGIN`) the handler in the middle of what is before it.
    pub parts: Vec<usize>,
}

impl Statement {
    /// Whether it makes something that lives no longer than the script.
    pub fn temporary(&self) -> bool {
        self.effects.iter().any(|effect| effect.temporary)
    }
}

/// What a statement does to one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// What it does.
    pub deed: Deed,
    /// To what kind of thing.
    pub object: Object,
    /// To which; `None`: it has no name, or none that this reader understands.
    pub name: Option<Name>,
    /// Whether it is made to live no longer than the script: `TEMP`.
    pub temporary: bool,
}

/// What is done to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Made; if there is one already, the statement fails, or (`IF NOT EXISTS`) does nothing.
    Create,
    /// Made in the place of what may be there (`OR REPLACE`).
    Replace,
    /// What is there is changed: its rows, its columns, its options. (`LOAD DATA` also makes what is not there.)
    Write,
    /// Taken away: dropped, or renamed to another name.
    Drop,
    /// Done to something that no snapshot holds: exported, granted, a row policy, a procedure, an index, a reservation.
    Beyond,
}

/// What kind of thing a statement does something to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A table, or anything that is named as one: a clone, a snapshot, an external table, a view, a materialized view.
    Table,
    /// A function or a procedure.
    Routine,
    /// A dataset.
    Dataset,
    /// A model.
    Model,
    /// Anything else.
    Other,
}

/// A name of one or more parts, as it stands in the text, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its parts; `` `p.d.t` `` has three.
    pub parts: Vec<String>,
    /// Where it stands in the script.
    pub range: Range<usize>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal,)*) => {
        /// The kind of a statement, in the words of BigQuery's `statementType` where it has one.
        /// Source: `statementType` of <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2>.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each says its own name")]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    Select "SELECT",
    Insert "INSERT",
    Update "UPDATE",
    Delete "DELETE",
    Merge "MERGE",
    Truncate "TRUNCATE_TABLE",
    CreateTable "CREATE_TABLE",
    CreateTableAsSelect "CREATE_TABLE_AS_SELECT",
    CreateTableLike "CREATE_TABLE_LIKE",
    CreateTableCopy "CREATE_TABLE_COPY",
    CreateTableClone "CREATE_TABLE_CLONE",
    CreateSnapshotTable "CREATE_SNAPSHOT_TABLE",
    CreateExternalTable "CREATE_EXTERNAL_TABLE",
    CreateView "CREATE_VIEW",
    CreateMaterializedView "CREATE_MATERIALIZED_VIEW",
    CreateFunction "CREATE_FUNCTION",
    CreateTableFunction "CREATE_TABLE_FUNCTION",
    CreateProcedure "CREATE_PROCEDURE",
    CreateSchema "CREATE_SCHEMA",
    CreateModel "CREATE_MODEL",
    CreateIndex "CREATE_INDEX",
    CreateRowAccessPolicy "CREATE_ROW_ACCESS_POLICY",
    AlterTable "ALTER_TABLE",
    AlterView "ALTER_VIEW",
    AlterMaterializedView "ALTER_MATERIALIZED_VIEW",
    AlterSchema "ALTER_SCHEMA",
    AlterModel "ALTER_MODEL",
    RenameTable "RENAME_TABLE",
    DropTable "DROP_TABLE",
    DropSnapshotTable "DROP_SNAPSHOT_TABLE",
    DropExternalTable "DROP_EXTERNAL_TABLE",
    DropView "DROP_VIEW",
    DropMaterializedView "DROP_MATERIALIZED_VIEW",
    DropFunction "DROP_FUNCTION",
    DropTableFunction "DROP_TABLE_FUNCTION",
    DropProcedure "DROP_PROCEDURE",
    DropSchema "DROP_SCHEMA",
    DropModel "DROP_MODEL",
    DropIndex "DROP_INDEX",
    DropRowAccessPolicy "DROP_ROW_ACCESS_POLICY",
    UndropSchema "UNDROP_SCHEMA",
    ExportData "EXPORT_DATA",
    ExportModel "EXPORT_MODEL",
    LoadData "LOAD_DATA",
    Grant "GRANT",
    Revoke "REVOKE",
    /// Makes, alters or drops something else that is no table: a reservation, a connection, a project's options.
    OtherDdl "DDL",
    Declare "DECLARE",
    Set "SET",
    Assert "ASSERT",
    Raise "RAISE",
    Return "RETURN",
    /// `BREAK`, `LEAVE`, `CONTINUE`, `ITERATE`.
    Jump "JUMP",
    Call "CALL",
    ExecuteImmediate "EXECUTE_IMMEDIATE",
    BeginTransaction "BEGIN_TRANSACTION",
    CommitTransaction "COMMIT_TRANSACTION",
    RollbackTransaction "ROLLBACK_TRANSACTION",
    Block "BEGIN",
    If "IF",
    Case "CASE",
    Loop "LOOP",
    While "WHILE",
    Repeat "REPEAT",
    For "FOR",
    /// Not understood: it may do anything.
    Opaque "OPAQUE",
}

impl Kind {
    /// Whether it only decides which other statements run.
    pub fn is_control(self) -> bool {
        use Kind::*;
        self.holds_statements() || matches!(self, Jump | Return)
    }

    /// Whether it is a block that others stand in.
    pub fn holds_statements(self) -> bool {
        self.is_loop() || matches!(self, Kind::Block | Kind::If | Kind::Case)
    }

    /// Whether what stands in it may run many times.
    pub fn is_loop(self) -> bool {
        use Kind::*;
        matches!(self, Loop | While | Repeat | For)
    }

    /// Whether it begins or ends a transaction.
    pub fn is_transaction(self) -> bool {
        use Kind::*;
        matches!(self, BeginTransaction | CommitTransaction | RollbackTransaction)
    }

    /// Whether what it does cannot be known from its text.
    pub fn is_opaque(self) -> bool {
        matches!(self, Kind::Call | Kind::ExecuteImmediate | Kind::Opaque)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
