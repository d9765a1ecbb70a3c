//! PURE: what names stand for at each place of a script: temporary tables that come and go, a default dataset that is set.
//!
//! What may or may not have run by then leaves a name unsure; one that is unsure is never taken for a temporary table where it could
//! be another. Knows nothing of what exists.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{DatasetRef, ProjectId, TableRef};
use crate::script::{Deed, Effect, Kind, Name, NewDefault, Object, Statement, new_default, of_session, resolve};

use super::things::Thing;

/// In how many blocks a statement may stand; BigQuery runs no script with more.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language#begin>.
const MOST_NESTED: usize = 50;

/// The temporary table that an effect makes. One is temporary only by its `TEMP`, or in `_SESSION`: `CREATE TABLE t` makes another,
/// whatever temporary table is called `t`.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_table_statement>.
pub(super) fn makes<'s>(statement: &Statement, effect: &'s Effect) -> Option<&'s str> {
    let name = effect.name.as_ref().filter(|_| is_made(statement, effect))?;
    match name.parts.as_slice() {
        [one] if effect.temporary => Some(one),
        _ => of_session(name),
    }
}

/// Whether its name is that of what it makes, not of what is there.
fn is_made(statement: &Statement, effect: &Effect) -> bool {
    let made = matches!(effect.deed, Deed::Create | Deed::Replace) || statement.kind == Kind::LoadData;
    made && effect.object == Object::Table
}

/// Whether it makes a function for the script alone, which hides none that others see.
pub(super) fn is_temporary_function(effect: &Effect) -> bool {
    effect.temporary && effect.object == Object::Routine && effect.deed != Deed::Beyond
}

/// The name that a temporary table could have.
fn temporary_name(name: &Name) -> Option<&str> {
    match name.parts.as_slice() {
        [one] => Some(one),
        _ => of_session(name),
    }
}

/// A temporary table, or one that may be.
struct Temporary {
    /// As it was written; `None`: in several ways, and whether BigQuery tells them apart is not known.
    spelled: Option<String>,
    /// Whether it is there.
    sure: bool,
}

/// A block that is being read.
struct Open {
    /// Its statement.
    number: usize,
    /// Which of its parts.
    part: usize,
    /// How many names had changed before that part.
    changed: usize,
    /// Whether it may be left before its end.
    left: bool,
}

/// What names stand for at a place of a script.
pub(super) struct Naming<'a> {
    text: &'a str,
    statements: &'a [Statement],
    home: &'a ProjectId,
    default: Option<DatasetRef>,
    /// How many parts a name must have to be sure of: `SET @@dataset_id` changes what shorter ones mean.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/system-variables>.
    sure: usize,
    /// By their names in small letters.
    temporary: BTreeMap<String, Temporary>,
    /// Datasets that come back with tables that nobody can look up before.
    undropped: BTreeSet<DatasetRef>,
    /// The names of temporary tables that were made or dropped, in order.
    changed: Vec<String>,
    /// How many of them before the transaction that may be open.
    transaction: Option<usize>,
    open: Vec<Open>,
    /// Whether something ran of which is not known what it did.
    opaque: bool,
}

impl<'a> Naming<'a> {
    pub(super) fn new(
        text: &'a str,
        statements: &'a [Statement],
        home: &'a ProjectId,
        default: Option<&DatasetRef>,
    ) -> Naming<'a> {
        Naming {
            text,
            statements,
            home,
            default: default.cloned(),
            sure: 1,
            temporary: BTreeMap::new(),
            undropped: BTreeSet::new(),
            changed: Vec::new(),
            transaction: None,
            open: Vec::new(),
            opaque: false,
        }
    }

    /// What a table's name stands for.
    pub(super) fn table(&self, name: &Name) -> Thing {
        if let Some(one) = of_session(name) {
            return Thing::Temporary(one.to_lowercase());
        }
        let unknown = || Thing::Unknown(name.to_string());
        if let [one] = name.parts.as_slice()
            && let Some(temporary) = self.temporary.get(&one.to_lowercase())
        {
            let is_it = temporary.sure && temporary.spelled.as_ref() == Some(one);
            let could_be_another = self.default.is_some() || self.sure > 1;
            return match is_it || !could_be_another {
                true => Thing::Temporary(one.to_lowercase()),
                false => unknown(),
            };
        }
        self.lasting(name).map_or_else(unknown, Thing::Table)
    }

    fn lasting(&self, name: &Name) -> Option<TableRef> {
        let table = resolve(name, self.home, self.default.as_ref()).filter(|_| name.parts.len() >= self.sure)?;
        (!self.undropped.contains(&table.dataset_ref())).then_some(table)
    }

    fn dataset(&self, name: &Name) -> Option<DatasetRef> {
        let sure = self.sure < 3 || name.parts.len() > 1;
        DatasetRef::parse(&name.to_string(), self.home).ok().filter(|_| sure)
    }

    /// What the name of an effect stands for.
    pub(super) fn thing(&self, statement: &Statement, effect: &Effect, name: &Name) -> Thing {
        let of = match effect.object {
            Object::Table if is_made(statement, effect) => self.lasting(name).map(Thing::Table),
            Object::Table => Some(self.table(name)),
            Object::Routine => self.lasting(name).map(Thing::Routine),
            Object::Model => self.lasting(name).map(Thing::Model),
            Object::Dataset => self.dataset(name).map(Thing::Dataset),
            Object::Other => Some(Thing::Other(name.to_string())),
        };
        of.unwrap_or_else(|| Thing::Unknown(name.to_string()))
    }

    /// Comes to a statement: ends the blocks and parts of blocks before it, and begins its own.
    pub(super) fn arrive(&mut self, number: usize) {
        let statement = &self.statements[number];
        let depth = statement.depth.min(MOST_NESTED);
        while self.open.len() > depth {
            self.close();
        }
        if let Some(open) = self.open.last_mut() {
            let parts = &self.statements[open.number].parts;
            let part = parts.partition_point(|begins| *begins <= statement.range.start);
            if part != open.part {
                open.part = part;
                let before = std::mem::replace(&mut open.changed, self.changed.len());
                self.unsure_since(before);
            }
        }
        if self.open.len() != statement.depth || depth == MOST_NESTED || !statement.kind.holds_statements() {
            return;
        }
        if statement.kind.is_loop() {
            self.foresee(number);
        }
        self.open.push(Open {
            number,
            part: 0,
            changed: self.changed.len(),
            left: false,
        });
    }

    /// Behind a block is not known how far it ran, but for a plain `BEGIN … END`.
    fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let statement = &self.statements[open.number];
        if statement.kind != Kind::Block || !statement.parts.is_empty() || open.left {
            self.unsure_since(open.changed);
        }
    }

    /// At the beginning of a loop all that is in it may have run already.
    fn foresee(&mut self, number: usize) {
        let all = self.statements;
        let depth = all[number].depth;
        for statement in all[number + 1..].iter().take_while(|inner| inner.depth > depth) {
            for effect in &statement.effects {
                if let Some(name) = makes(statement, effect).or_else(|| self.drops(effect)) {
                    self.unsure(name);
                }
            }
            self.note_others(statement);
        }
    }

    /// Takes in what a statement does.
    pub(super) fn note(&mut self, statement: &Statement) {
        for effect in &statement.effects {
            if let Some(name) = makes(statement, effect) {
                self.changed.push(name.to_owned());
                self.made(name);
            } else if let Some(name) = self.drops(effect) {
                self.changed.push(name.to_owned());
                self.dropped(name);
            }
        }
        match statement.kind {
            Kind::BeginTransaction => self.transaction = self.transaction.or(Some(self.changed.len())),
            Kind::CommitTransaction if statement.depth == 0 => self.transaction = None,
            Kind::RollbackTransaction => {
                if let Some(before) = self.transaction.take() {
                    self.unsure_since(before);
                }
                // Where it may not have run, there is still one to roll back.
                self.transaction = Some(self.changed.len()).filter(|_| statement.depth > 0);
            }
            Kind::Jump => self.open.iter_mut().for_each(|open| open.left = true),
            _ => {}
        }
        self.note_others(statement);
    }

    /// What a statement does to names that is no temporary table's coming or going.
    fn note_others(&mut self, statement: &Statement) {
        if statement.kind.is_opaque() {
            self.opaque = true;
            self.temporary.values_mut().for_each(|temporary| temporary.sure = false);
        }
        if statement.kind == Kind::UndropSchema {
            for effect in &statement.effects {
                match effect.name.as_ref().and_then(|name| self.dataset(name)) {
                    Some(dataset) => drop(self.undropped.insert(dataset)),
                    None => self.sure = usize::MAX,
                }
            }
        }
        self.sure = match new_default(self.text, statement) {
            None => self.sure,
            Some(NewDefault::AnyProject) => self.sure.max(3),
            Some(NewDefault::AnyDataset) => self.sure.max(2),
            Some(NewDefault::Dataset(name)) => match DatasetRef::parse(&name, self.home) {
                Ok(dataset) if self.is_clean() && statement.depth == 0 && !name.contains('.') => {
                    self.default = Some(dataset);
                    self.sure
                }
                _ => self.sure.max(2),
            },
        };
    }

    /// Whether nothing leaves a doubt of which project a dataset is that is set now.
    fn is_clean(&self) -> bool {
        let of_home = self
            .default
            .as_ref()
            .is_none_or(|dataset| dataset.project == *self.home);
        of_home && self.sure == 1 && self.transaction.is_none() && !self.opaque
    }

    /// The temporary table that an effect may drop.
    fn drops<'s>(&self, effect: &'s Effect) -> Option<&'s str> {
        let drops = effect.deed == Deed::Drop && effect.object == Object::Table;
        let name = effect.name.as_ref().filter(|_| drops).and_then(temporary_name)?;
        self.temporary.contains_key(&name.to_lowercase()).then_some(name)
    }

    fn made(&mut self, name: &str) {
        let spelled = Some(name.to_owned());
        let temporary = self.temporary.entry(name.to_lowercase()).or_insert(Temporary {
            spelled: spelled.clone(),
            sure: true,
        });
        temporary.sure = true;
        if temporary.spelled != spelled {
            temporary.spelled = None;
        }
    }

    fn dropped(&mut self, name: &str) {
        let small = name.to_lowercase();
        match self.temporary.get_mut(&small) {
            Some(temporary) if temporary.spelled.as_deref() != Some(name) => temporary.sure = false,
            _ => drop(self.temporary.remove(&small)),
        }
    }

    fn unsure(&mut self, name: &str) {
        let temporary = self.temporary.entry(name.to_lowercase()).or_insert(Temporary {
            spelled: Some(name.to_owned()),
            sure: false,
        });
        temporary.sure = false;
    }

    /// Of what has changed since then is not known whether it has.
    fn unsure_since(&mut self, changed: usize) {
        let since = self.changed.split_off(changed.min(self.changed.len()));
        since.iter().for_each(|name| self.unsure(name));
        self.changed.extend(since);
    }
}
