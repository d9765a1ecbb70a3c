//! PURE: the names of a script's statements as the things that they stand for.

use std::fmt;

use crate::names::{DatasetRef, ProjectId, TableRef};
use crate::script::{Deed, Statement};

use super::naming::{Naming, is_temporary_function, makes};

/// Something that a statement reads or does something to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A table, or what is named as one: a view, a clone, a snapshot.
    Table(TableRef),
    /// A function or a procedure.
    Routine(TableRef),
    /// A model.
    Model(TableRef),
    /// A dataset.
    Dataset(DatasetRef),
    /// What lives no longer than the script: its name in small letters.
    Temporary(String),
    /// Which one cannot be told.
    Unknown(String),
    /// None that has a name: where something is exported to, a reservation.
    Other(String),
}

impl Thing {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Thing::Table(_) => "table",
            Thing::Routine(_) => "routine",
            Thing::Model(_) => "model",
            Thing::Dataset(_) => "dataset",
            Thing::Temporary(_) => "temporary table",
            Thing::Unknown(_) | Thing::Other(_) => "thing",
        }
    }

    /// The last part of its name, in small letters: the word by which any text must name it.
    pub fn last_word(&self) -> String {
        let name = self.to_string();
        name.rsplit('.').next().unwrap_or_default().to_lowercase()
    }

    /// The dataset that it is in, or is.
    pub fn dataset(&self) -> Option<DatasetRef> {
        match self {
            Thing::Table(name) | Thing::Routine(name) | Thing::Model(name) => Some(name.dataset_ref()),
            Thing::Dataset(dataset) => Some(dataset.clone()),
            _ => None,
        }
    }

    /// As a table, a routine or a model is called.
    pub fn name(&self) -> Option<&TableRef> {
        match self {
            Thing::Table(name) | Thing::Routine(name) | Thing::Model(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Table(name) | Thing::Routine(name) | Thing::Model(name) => name.fmt(f),
            Thing::Dataset(dataset) => dataset.fmt(f),
            Thing::Temporary(name) | Thing::Unknown(name) | Thing::Other(name) => f.write_str(name),
        }
    }
}

/// What a statement does and reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deeds {
    /// What it does, and to what.
    pub effects: Vec<(Deed, Thing)>,
    /// What it reads.
    pub reads: Vec<Thing>,
    /// What it makes for the script alone.
    pub makes: Vec<String>,
}

/// What each statement of a file does and reads. `home`: the project of names without one; `default`: the dataset of names without one.
pub fn deeds(text: &str, statements: &[Statement], home: &ProjectId, default: Option<&DatasetRef>) -> Vec<Deeds> {
    let mut naming = Naming::new(text, statements, home, default);
    let all = statements.iter().enumerate().map(|(number, statement)| {
        naming.arrive(number);
        let told = told(&naming, statement);
        naming.note(statement);
        told
    });
    all.collect()
}

/// What one statement does and reads, by what names stand for before it.
fn told(naming: &Naming<'_>, statement: &Statement) -> Deeds {
    let mut deeds = Deeds {
        reads: statement.reads.iter().map(|name| naming.table(name)).collect(),
        ..Deeds::default()
    };
    for effect in &statement.effects {
        if let Some(name) = makes(statement, effect) {
            deeds.makes.push(name.to_lowercase());
            continue;
        }
        let thing = match &effect.name {
            _ if is_temporary_function(effect) => continue,
            Some(name) => naming.thing(statement, effect, name),
            None if effect.deed == Deed::Beyond => {
                Thing::Other(statement.kind.to_string().to_lowercase().replace('_', " "))
            }
            None => Thing::Unknown("what has no name here".to_owned()),
        };
        deeds.effects.push((effect.deed, thing));
    }
    deeds
}

#[cfg(test)]
mod tests;
