//! PURE: the statements that make, change and take away things.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language>.

use super::cursor::Cursor;
use super::kinds::Reading;
use super::statement::{Deed, Kind, Name, Object};

/// How a thing is made.
#[derive(Clone, Copy, Default)]
pub(super) struct Made {
    replace: bool,
    pub(super) temporary: bool,
}

impl Made {
    pub(super) fn deed(self, if_not_exists: bool) -> Deed {
        match self.replace && !if_not_exists {
            true => Deed::Replace,
            false => Deed::Create,
        }
    }
}

/// `OR REPLACE` and `TEMP`, behind `CREATE`.
pub(super) fn made(cursor: &mut Cursor<'_, '_>) -> Made {
    Made {
        replace: cursor.take_all(&["OR", "REPLACE"]),
        temporary: cursor.take("TEMP") || cursor.take("TEMPORARY"),
    }
}

pub(super) fn create(it: &mut Reading<'_, '_>) -> Kind {
    let made = made(&mut it.cursor);
    let Some(thing) = thing(&mut it.cursor) else {
        return Kind::Opaque;
    };
    let known = match thing {
        Thing::Table => Kind::CreateTable,
        Thing::Snapshot => Kind::CreateSnapshotTable,
        Thing::External => Kind::CreateExternalTable,
        Thing::View => Kind::CreateView,
        Thing::MaterializedView => Kind::CreateMaterializedView,
        Thing::Function => Kind::CreateFunction,
        Thing::TableFunction => Kind::CreateTableFunction,
        Thing::Procedure => Kind::CreateProcedure,
        Thing::Schema => Kind::CreateSchema,
        Thing::Model => Kind::CreateModel,
        Thing::Index => return on_table(it, Kind::CreateIndex),
        Thing::RowPolicy => return on_table(it, Kind::CreateRowAccessPolicy),
        Thing::Other => return other(it),
    };
    let if_not_exists = it.cursor.if_not_exists();
    let name = it.cursor.name();
    let deed = match thing {
        Thing::Procedure => Deed::Beyond,
        _ => made.deed(if_not_exists),
    };
    it.makes(deed, thing.object(), name, made.temporary);
    it.reads_from = Some(it.cursor.at);
    match thing {
        Thing::Table => return create_table(it),
        Thing::Snapshot => {
            copied(it, "CLONE");
        }
        Thing::View => it.statement.query = it.cursor.query(),
        Thing::MaterializedView => {
            it.statement.query = it.cursor.query();
            if let Some(of) = it.cursor.find("REPLICA") {
                it.cursor.at = of + 1;
                copied(it, "OF");
            }
        }
        // What a procedure reads, it reads when it is called.
        Thing::Procedure | Thing::External | Thing::Schema => it.reads_from = None,
        _ => {}
    }
    known
}

fn create_table(it: &mut Reading<'_, '_>) -> Kind {
    if copied(it, "CLONE") {
        return Kind::CreateTableClone;
    }
    if copied(it, "COPY") {
        return Kind::CreateTableCopy;
    }
    let like = copied(it, "LIKE");
    it.statement.query = it.cursor.query();
    match it.statement.query {
        _ if like => Kind::CreateTableLike,
        Some(_) => Kind::CreateTableAsSelect,
        None => Kind::CreateTable,
    }
}

/// Takes in the table that is copied, if this word says that one is.
fn copied(it: &mut Reading<'_, '_>, word: &str) -> bool {
    let is = it.cursor.take(word);
    if is {
        let source = it.cursor.name();
        it.statement.reads.extend(source);
        it.reads_from = Some(it.cursor.at);
    }
    is
}

pub(super) fn alter(it: &mut Reading<'_, '_>) -> Kind {
    it.reads_from = None;
    let Some(thing) = thing(&mut it.cursor) else {
        return Kind::Opaque;
    };
    let kind = match thing {
        Thing::Table => Kind::AlterTable,
        Thing::View => Kind::AlterView,
        Thing::MaterializedView => Kind::AlterMaterializedView,
        Thing::Schema => Kind::AlterSchema,
        Thing::Model => Kind::AlterModel,
        Thing::Index | Thing::RowPolicy => return on_table(it, Kind::OtherDdl),
        Thing::Other => return other(it),
        // BigQuery alters none of these yet; what such a statement did would be done to this.
        _ => Kind::OtherDdl,
    };
    it.cursor.if_exists();
    let name = it.cursor.name();
    if thing == Thing::Table
        && let Some(to) = renames(&it.cursor)
    {
        it.cursor.at = to + 1;
        return renamed(it, name);
    }
    let deed = match thing {
        Thing::Procedure => Deed::Beyond,
        _ => Deed::Write,
    };
    it.effect(deed, thing.object(), name);
    kind
}

/// The `TO` of a `RENAME TO`, which begins what is changed, or stands behind a comma; `RENAME COLUMN rename TO b` has none.
fn renames(cursor: &Cursor<'_, '_>) -> Option<usize> {
    let renames = |at: usize| cursor.words.are(at, &["RENAME", "TO"]);
    let found = match renames(cursor.at) {
        true => cursor.at,
        false => cursor.find_where(|at| cursor.words.symbol(at) == "," && renames(at + 1))? + 1,
    };
    Some(found + 1)
}

/// `RENAME TABLE a TO b`.
pub(super) fn rename(it: &mut Reading<'_, '_>) -> Kind {
    it.reads_from = None;
    it.cursor.take("TABLE");
    it.cursor.if_exists();
    let name = it.cursor.name();
    it.cursor.take("TO");
    renamed(it, name)
}

/// What is renamed is gone from its name, and at another, whose dataset is its own if the text names none.
fn renamed(it: &mut Reading<'_, '_>, old: Option<Name>) -> Kind {
    let new = it.cursor.name().and_then(|new| match new.parts.as_slice() {
        [one] => {
            let mut parts = old.as_ref()?.parts.clone();
            *parts.last_mut()? = one.clone();
            Some(Name { parts, ..new })
        }
        _ => Some(new),
    });
    it.effect(Deed::Drop, Object::Table, old);
    it.effect(Deed::Create, Object::Table, new);
    Kind::RenameTable
}

pub(super) fn drop(it: &mut Reading<'_, '_>) -> Kind {
    it.reads_from = None;
    if it.cursor.take("ALL") {
        // DROP ALL ROW ACCESS POLICIES ON t
        return on_table(it, Kind::DropRowAccessPolicy);
    }
    let Some(thing) = thing(&mut it.cursor) else {
        return Kind::Opaque;
    };
    let kind = match thing {
        Thing::Table => Kind::DropTable,
        Thing::Snapshot => Kind::DropSnapshotTable,
        Thing::External => Kind::DropExternalTable,
        Thing::View => Kind::DropView,
        Thing::MaterializedView => Kind::DropMaterializedView,
        Thing::Function => Kind::DropFunction,
        Thing::TableFunction => Kind::DropTableFunction,
        Thing::Procedure => Kind::DropProcedure,
        Thing::Schema => Kind::DropSchema,
        Thing::Model => Kind::DropModel,
        Thing::Index => return on_table(it, Kind::DropIndex),
        Thing::RowPolicy => return on_table(it, Kind::DropRowAccessPolicy),
        Thing::Other => return other(it),
    };
    it.cursor.if_exists();
    let name = it.cursor.name();
    let deed = match thing {
        Thing::Procedure => Deed::Beyond,
        _ => Deed::Drop,
    };
    it.effect(deed, thing.object(), name);
    kind
}

pub(super) fn undrop(it: &mut Reading<'_, '_>) -> Kind {
    it.reads_from = None;
    if thing(&mut it.cursor) != Some(Thing::Schema) {
        return Kind::Opaque;
    }
    it.cursor.if_not_exists();
    let name = it.cursor.name();
    it.effect(Deed::Create, Object::Dataset, name);
    Kind::UndropSchema
}

/// What stands on a table: an index, a row policy. The table's name follows `ON`.
fn on_table(it: &mut Reading<'_, '_>, kind: Kind) -> Kind {
    let mut name = None;
    if let Some(on) = it.cursor.find("ON") {
        it.cursor.at = on + 1;
        name = it.cursor.name();
    }
    it.effect(Deed::Beyond, Object::Table, name);
    it.reads_from = (kind == Kind::CreateRowAccessPolicy).then_some(it.cursor.at);
    kind
}

/// What is none of a dataset's things: a reservation, a connection, a project's options.
fn other(it: &mut Reading<'_, '_>) -> Kind {
    it.reads_from = None;
    let _ = it.cursor.if_not_exists() || it.cursor.if_exists();
    let name = match it.cursor.words.is(it.cursor.at, "SET") {
        true => None,
        false => it.cursor.name(),
    };
    it.effect(Deed::Beyond, Object::Other, name);
    Kind::OtherDdl
}

/// What kind of thing a `GRANT` is of.
pub(super) fn object(cursor: &mut Cursor<'_, '_>) -> Object {
    let at = cursor.at;
    // A table may be called `view`: a word that the name ends at is none of these.
    match thing(cursor) {
        Some(thing) if !cursor.words.is_any(cursor.at, &["TO", "FROM"]) => thing.object(),
        _ => {
            cursor.at = at;
            Object::Table
        }
    }
}

/// What a statement makes, changes or takes away.
#[derive(Clone, Copy, PartialEq)]
enum Thing {
    Table,
    Snapshot,
    External,
    View,
    MaterializedView,
    Function,
    TableFunction,
    Procedure,
    Schema,
    Model,
    Index,
    RowPolicy,
    Other,
}

impl Thing {
    fn object(self) -> Object {
        match self {
            Thing::Table | Thing::Snapshot | Thing::External | Thing::View | Thing::MaterializedView => Object::Table,
            Thing::Function | Thing::TableFunction | Thing::Procedure => Object::Routine,
            Thing::Schema => Object::Dataset,
            Thing::Model => Object::Model,
            Thing::Index | Thing::RowPolicy => Object::Table,
            Thing::Other => Object::Other,
        }
    }
}

/// The words for each, the longer before the shorter.
const THINGS: [(&[&str], Thing); 29] = [
    (&["TABLE", "FUNCTION"], Thing::TableFunction),
    (&["TABLE"], Thing::Table),
    (&["SNAPSHOT", "TABLE"], Thing::Snapshot),
    (&["EXTERNAL", "TABLE"], Thing::External),
    (&["EXTERNAL", "SCHEMA"], Thing::Schema),
    (&["VIEW"], Thing::View),
    (&["RECURSIVE", "VIEW"], Thing::View),
    (&["MATERIALIZED", "VIEW"], Thing::MaterializedView),
    (&["MATERIALIZED", "RECURSIVE", "VIEW"], Thing::MaterializedView),
    (&["FUNCTION"], Thing::Function),
    (&["AGGREGATE", "FUNCTION"], Thing::Function),
    (&["PROCEDURE"], Thing::Procedure),
    (&["SCHEMA"], Thing::Schema),
    (&["MODEL"], Thing::Model),
    (&["INDEX"], Thing::Index),
    (&["SEARCH", "INDEX"], Thing::Index),
    (&["VECTOR", "INDEX"], Thing::Index),
    (&["ROW", "ACCESS", "POLICY"], Thing::RowPolicy),
    (&["ROW", "POLICY"], Thing::RowPolicy),
    (&["CAPACITY"], Thing::Other),
    (&["RESERVATION"], Thing::Other),
    (&["ASSIGNMENT"], Thing::Other),
    (&["CONNECTION"], Thing::Other),
    (&["BI_CAPACITY"], Thing::Other),
    (&["ORGANIZATION"], Thing::Other),
    (&["PROJECT"], Thing::Other),
    (&["DATA_POLICY"], Thing::Other),
    (&["PROPERTY", "GRAPH"], Thing::Other),
    (&["PRIVILEGE", "RESTRICTION"], Thing::Other),
];

fn thing(cursor: &mut Cursor<'_, '_>) -> Option<Thing> {
    let words = cursor.words;
    let (found, thing) = THINGS.iter().find(|(these, thing)| {
        let behind = cursor.at + these.len();
        // A table may be called `function`: then no name follows.
        let named = words.is(behind, "IF") || words.name(behind).is_some() && !words.is_reserved(behind);
        words.are(cursor.at, these) && (*thing != Thing::TableFunction || named)
    })?;
    cursor.take_all(found).then_some(*thing)
}
