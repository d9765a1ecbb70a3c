//! PURE: the names of a script's statements as the things that they stand for.

use std::collections::BTreeSet;
use std::fmt;

use crate::names::{DatasetRef, ProjectId, TableRef};
use crate::script::{Deed, Kind, Name, Object, Resolved, Statement, resolve};

use super::words::Words;

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
    pub makes: Option<String>,
}

/// What each statement of a file does and reads. `home`: the project of names without one; `default`: the dataset of names without one.
pub fn deeds(text: &str, statements: &[Statement], home: &ProjectId, default: Option<&DatasetRef>) -> Vec<Deeds> {
    let words = Words::of(text);
    let mut naming = Naming {
        home,
        default,
        temporary: BTreeSet::new(),
        sure: 1,
    };
    let mut all = Vec::with_capacity(statements.len());
    for statement in statements {
        let mut deeds = Deeds {
            reads: statement.reads.iter().map(|name| naming.table(name)).collect(),
            ..Deeds::default()
        };
        let makes = statement.temporary && !matches!(statement.kind, Kind::CreateFunction | Kind::CreateTableFunction);
        for effect in &statement.effects {
            match (&effect.name, makes) {
                (Some(name), true) => {
                    let name = name.parts.last().map(|part| part.to_lowercase()).unwrap_or_default();
                    naming.temporary.insert(name.clone());
                    deeds.makes = Some(name);
                }
                (Some(name), false) if !statement.temporary => {
                    deeds.effects.push((effect.deed, naming.thing(effect.object, name)));
                }
                (None, _) if statement.temporary => {}
                (None, _) if effect.deed == Deed::Beyond => {
                    let what = statement.kind.to_string().to_lowercase().replace('_', " ");
                    deeds.effects.push((effect.deed, Thing::Other(what)));
                }
                (None, _) => deeds
                    .effects
                    .push((effect.deed, Thing::Unknown("what has no name here".to_owned()))),
                _ => {}
            }
        }
        if statement.kind == Kind::Set {
            let system = words.system_in(&statement.range);
            naming.sure = match () {
                () if system.contains("dataset_project_id") => 3,
                () if system.contains("dataset_id") => naming.sure.max(2),
                () => naming.sure,
            };
        }
        all.push(deeds);
    }
    all
}

/// What names stand for at a place of a script.
struct Naming<'a> {
    home: &'a ProjectId,
    default: Option<&'a DatasetRef>,
    temporary: BTreeSet<String>,
    /// How many parts a name must have to be sure of: `SET @@dataset_id` changes what shorter ones mean.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/system-variables>.
    sure: usize,
}

impl Naming<'_> {
    fn table(&self, name: &Name) -> Thing {
        match resolve(name, self.home, self.default, &self.temporary) {
            Resolved::Temporary => Thing::Temporary(name.parts.last().map(|p| p.to_lowercase()).unwrap_or_default()),
            Resolved::Table(table) if name.parts.len() >= self.sure => Thing::Table(table),
            _ => Thing::Unknown(name.to_string()),
        }
    }

    fn thing(&self, object: Object, name: &Name) -> Thing {
        let lasting = || match resolve(name, self.home, self.default, &BTreeSet::new()) {
            Resolved::Table(table) if name.parts.len() >= self.sure => Some(table),
            _ => None,
        };
        let unknown = || Thing::Unknown(name.to_string());
        match object {
            Object::Table => self.table(name),
            Object::Routine => lasting().map_or_else(unknown, Thing::Routine),
            Object::Model => lasting().map_or_else(unknown, Thing::Model),
            Object::Dataset if self.sure < 3 || name.parts.len() > 1 => {
                DatasetRef::parse(&name.to_string(), self.home).map_or_else(|_| unknown(), Thing::Dataset)
            }
            Object::Dataset => unknown(),
            Object::Other => Thing::Other(name.to_string()),
        }
    }
}
