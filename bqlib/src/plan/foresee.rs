//! PURE: what a migration would write, replace, drop or set free, and whether that is allowed: the blast radius.
//!
//! Decided from what its statements say, what exists, what is protected and what was allowed. Whether BigQuery finds a statement wrong is not
//! decided here, nor what is asked of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::Table;
use crate::exit::Failure;
use crate::foresight::{Deeds, Reading, Thing};
use crate::names::{DatasetRef, TableRef};
use crate::script::{Deed, Kind, Statement};

/// What is protected, and what was allowed.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The protected tables.
    pub protected: BTreeSet<TableRef>,
    /// The snapshots that a rollback would rest on.
    pub snapshots: BTreeSet<TableRef>,
    /// `--allow-unprotected`: tables, views, routines, models.
    pub allowed: BTreeSet<TableRef>,
    /// The same: datasets.
    pub allowed_datasets: BTreeSet<DatasetRef>,
    /// `--allow-irreversible`.
    pub irreversible: bool,
    /// `--allow-opaque`.
    pub opaque: bool,
    /// `--unprotected`: nothing is guarded, for nothing could be put back.
    pub unprotected: bool,
}

impl Given {
    /// Whether what the rollback rests on is in a dataset, or what it is for.
    fn holds(&self, dataset: &DatasetRef) -> bool {
        let mut ours = self.snapshots.iter().chain(&self.protected);
        ours.any(|table| table.dataset_ref() == *dataset)
    }

    /// The snapshot whose name stands in a text that nobody can read, or that a name whose dataset is not known may mean.
    fn snapshot_in(&self, text: &str) -> Option<&TableRef> {
        let text = text.to_lowercase();
        self.snapshots.iter().find(|snapshot| {
            let name = snapshot.table.as_str().to_lowercase();
            let part = |c: char| c.is_alphanumeric() || c == '_';
            let is_alone = |at: usize| {
                let (before, behind) = (&text[..at], &text[at + name.len()..]);
                !before.ends_with(part) && !behind.starts_with(part)
            };
            text.match_indices(&name).any(|(at, _)| is_alone(at))
        })
    }
}

/// What was looked up; a thing that is not in here was not.
#[derive(Clone, Debug, Default)]
pub struct There {
    /// Tables, and what is named as one.
    pub tables: BTreeMap<TableRef, Option<Table>>,
    /// Routines, models and datasets.
    pub others: BTreeMap<Thing, bool>,
    /// The protected tables that exist: bq-snap has seen them.
    pub protected: BTreeSet<TableRef>,
}

impl There {
    /// Whether a thing exists; `None`: it was not looked up.
    pub fn has(&self, thing: &Thing) -> Option<bool> {
        match thing {
            Thing::Table(table) if self.protected.contains(table) => Some(true),
            Thing::Table(table) => self.tables.get(table).map(Option::is_some),
            other => self.others.get(other).copied(),
        }
    }

    /// What a thing is called: `view` rather than `table`, if it is one.
    fn word(&self, thing: &Thing) -> String {
        let kind = match thing {
            Thing::Table(table) => self
                .tables
                .get(table)
                .and_then(|t| Some(t.as_ref()?.kind().to_lowercase())),
            _ => None,
        };
        kind.unwrap_or_else(|| thing.word().to_owned()).replace('_', " ")
    }
}

/// The things whose existence decides whether the migration may run.
pub fn to_look_up<'d>(all: impl IntoIterator<Item = &'d Deeds>, given: &Given) -> BTreeSet<Thing> {
    let mut wanted = BTreeSet::new();
    if given.unprotected {
        return wanted;
    }
    for (deed, thing) in all.into_iter().flat_map(|deeds| &deeds.effects) {
        let known = thing.name().is_some_and(|name| {
            let of_the_run = given.protected.contains(name) || given.snapshots.contains(name);
            of_the_run && matches!(thing, Thing::Table(_))
        });
        let asked = matches!(
            thing,
            Thing::Table(_) | Thing::Routine(_) | Thing::Model(_) | Thing::Dataset(_)
        );
        if !known && asked && *deed != Deed::Beyond {
            wanted.insert(thing.clone());
        }
    }
    wanted
}

/// How a thing that a statement does something to stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is protected.
    Protected,
    /// It is not, and was allowed by name.
    Allowed,
    /// It does not exist yet.
    New,
    /// It exists, is not protected, and was not allowed.
    Outside,
    /// It exists, and a statement would make one: that changes nothing there.
    There,
    /// It holds the run's own snapshots.
    Ours,
    /// No rollback undoes it.
    Irreversible,
    /// Which one is meant is not known.
    Opaque,
    /// Nothing was looked up, for nothing is guarded.
    Unguarded,
}

impl Standing {
    /// The word for it in records.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Protected => "protected",
            Standing::Allowed => "allowed",
            Standing::New => "new",
            Standing::Outside => "outside",
            Standing::There => "there",
            Standing::Ours => "snapshot",
            Standing::Irreversible => "irreversible",
            Standing::Opaque => "opaque",
            Standing::Unguarded => "unguarded",
        }
    }
}

/// How an effect stands.
pub fn standing(deed: Deed, thing: &Thing, given: &Given, there: &There) -> Standing {
    match (deed, thing) {
        (Deed::Drop, Thing::Dataset(dataset)) if given.holds(dataset) => Standing::Ours,
        (Deed::Replace | Deed::Write | Deed::Drop, Thing::Table(table)) if given.snapshots.contains(table) => {
            Standing::Ours
        }
        (Deed::Replace | Deed::Write | Deed::Drop, Thing::Unknown(_))
            if given.snapshot_in(&thing.last_word()).is_some() =>
        {
            Standing::Ours
        }
        (Deed::Beyond, _) => Standing::Irreversible,
        (Deed::Replace | Deed::Write | Deed::Drop, Thing::Dataset(dataset)) => {
            let named = given.unprotected || given.holds(dataset) || given.allowed_datasets.contains(dataset);
            match there.has(thing) {
                Some(false) => Standing::New,
                _ if named => Standing::Irreversible,
                _ => Standing::Outside,
            }
        }
        (_, Thing::Table(table)) if given.protected.contains(table) => Standing::Protected,
        (_, Thing::Temporary(_)) => Standing::New,
        // What is made where something is, whichever it is, changes nothing.
        (Deed::Create, Thing::Unknown(_)) => Standing::New,
        (_, Thing::Unknown(_)) => Standing::Opaque,
        (_, Thing::Other(_)) => Standing::Irreversible,
        (Deed::Create, _) if given.unprotected => Standing::Unguarded,
        (Deed::Create, thing) => match there.has(thing) {
            Some(true) => Standing::There,
            _ => Standing::New,
        },
        (_, thing) if thing.name().is_some_and(|name| given.allowed.contains(name)) => Standing::Allowed,
        _ if given.unprotected => Standing::Unguarded,
        (_, thing) => match there.has(thing) {
            Some(false) => Standing::New,
            _ => Standing::Outside,
        },
    }
}

/// Something that keeps the migration from being run.
#[derive(Clone, Debug, PartialEq)]
pub struct Objection {
    /// The file, counted from 0.
    pub file: usize,
    /// The statement, counted from 0.
    pub statement: usize,
    /// The byte of the file where the name stands.
    pub at: usize,
    /// What it does: `UPDATE writes table p.d.t, which is not protected`.
    pub what: String,
    /// The thing.
    pub thing: Option<Thing>,
    /// The flags that together let it pass; empty: none does.
    pub flags: Vec<String>,
}

/// All that the guards have against a file's statements.
pub fn objections(
    file: usize,
    text: &str,
    statements: &[Statement],
    deeds: &[Deeds],
    given: &Given,
    there: &There,
) -> Vec<Objection> {
    if given.unprotected {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, (statement, deeds)) in statements.iter().zip(deeds).enumerate() {
        let mut object = |what: String, thing: Option<&Thing>, flags: &[&str]| {
            let named = thing.and_then(|thing| place_of(statement, thing));
            found.push(Objection {
                file,
                statement: number,
                at: named.unwrap_or(statement.range.start),
                what,
                thing: thing.cloned(),
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            });
        };
        if statement.kind.is_opaque() {
            let who = match statement.kind {
                Kind::Opaque => "is not understood".to_owned(),
                kind => format!("({})", kind.as_str().replace('_', " ")),
            };
            let snapshot = text
                .get(statement.range.clone())
                .and_then(|text| given.snapshot_in(text));
            match snapshot {
                Some(snapshot) => {
                    let what = format!("{who} and names `{snapshot}`, a snapshot that the rollback rests on");
                    object(what, None, &[]);
                }
                None if given.opaque => {}
                None => object(format!("{who}: what it does is not known"), None, &[OPAQUE]),
            }
        }
        for (deed, thing) in &deeds.effects {
            let kind = statement.kind.as_str().replace('_', " ");
            let does = |verb: &str| format!("({kind}) {verb} {} `{thing}`", there.word(thing));
            match standing(*deed, thing, given, there) {
                Standing::Ours => {
                    let holds = match thing {
                        Thing::Dataset(_) => "which holds what the rollback rests on",
                        _ => "a snapshot that the rollback rests on",
                    };
                    object(format!("{}, {holds}", does(verb(*deed))), Some(thing), &[]);
                }
                Standing::Outside => {
                    let named = format!("--allow-unprotected {thing}");
                    let is_dataset = matches!(thing, Thing::Dataset(_)) && !given.irreversible;
                    let flags = [named.as_str(), IRREVERSIBLE];
                    object(
                        format!("{}, which is not protected", does(verb(*deed))),
                        Some(thing),
                        &flags[..1 + usize::from(is_dataset)],
                    );
                }
                Standing::Irreversible if !given.irreversible => {
                    let what = match (deed, thing) {
                        (_, Thing::Other(_)) => format!("({kind})"),
                        (Deed::Beyond, thing) => format!("({kind}) of `{thing}`"),
                        (deed, _) => does(verb(*deed)),
                    };
                    let what = format!("{what}: no rollback undoes that");
                    object(what, Some(thing), &[IRREVERSIBLE]);
                }
                Standing::Opaque if !given.opaque => {
                    let what = format!("({kind}) {} `{thing}`, and which that is cannot be told", verb(*deed));
                    object(what, Some(thing), &[OPAQUE]);
                }
                _ => {}
            }
        }
    }
    found
}

const OPAQUE: &str = "--allow-opaque";
const IRREVERSIBLE: &str = "--allow-irreversible";

/// What the guards have against a statement that BigQuery takes for another than it was read as: what it does is not known.
pub fn misread(
    (file, number): (usize, usize),
    statement: &Statement,
    reading: &Reading,
    given: &Given,
) -> Option<Objection> {
    let touches_ours = reading
        .table
        .as_ref()
        .is_some_and(|table| given.snapshots.contains(table));
    if given.unprotected || (given.opaque && !touches_ours) {
        return None;
    }
    let kind = statement.kind.as_str().replace('_', " ");
    Some(Objection {
        file,
        statement: number,
        at: statement.range.start,
        what: format!("({kind}) is {reading} to BigQuery: what it does is not known"),
        thing: reading.table.clone().map(Thing::Table),
        flags: if touches_ours {
            Vec::new()
        } else {
            vec![OPAQUE.to_owned()]
        },
    })
}

fn place_of(statement: &Statement, thing: &Thing) -> Option<usize> {
    let last = thing.last_word();
    let mut names = statement.effects.iter().filter_map(|effect| effect.name.as_ref());
    let named = names.find(|name| name.parts.last().is_some_and(|part| part.to_lowercase() == last))?;
    Some(named.range.start)
}

fn verb(deed: Deed) -> &'static str {
    match deed {
        Deed::Create => "makes",
        Deed::Replace => "replaces",
        Deed::Write => "writes",
        Deed::Drop => "drops",
        Deed::Beyond => "is of",
    }
}

/// How many objections are said in full.
const SAID: usize = 8;

/// The one refusal of all that is objected to. `place`: where in the user's files one stands (`m.sql, line 3, column 8`).
pub fn refusal(all: &[Objection], place: impl Fn(&Objection) -> String) -> Option<Failure> {
    let first = all.first()?;
    let said = all.iter().take(SAID).enumerate().map(|(i, objection)| {
        let number = objection.statement + 1;
        match i {
            0 => format!("statement {number} {}", objection.what),
            _ => format!("statement {number} ({}) {}", place(objection), objection.what),
        }
    });
    let mut what: Vec<String> = said.collect();
    if all.len() > SAID {
        what.push(format!("and {} more", all.len() - SAID));
    }
    let mut flags: Vec<&str> = Vec::new();
    for flag in all.iter().flat_map(|objection| &objection.flags) {
        if !flags.contains(&flag.as_str()) {
            flags.push(flag);
        }
    }
    let never = all.iter().any(|objection| objection.flags.is_empty());
    let could_be_protected = all.iter().any(|objection| {
        let is_dataset = matches!(objection.thing, Some(Thing::Dataset(_)));
        !is_dataset
            && objection
                .flags
                .iter()
                .any(|flag| flag.starts_with("--allow-unprotected"))
    });
    let hint = match (never, could_be_protected) {
        (true, _) if flags.is_empty() => "take it out: no flag lets it pass; nothing was submitted".to_owned(),
        (true, _) => format!(
            "take out what touches the snapshots; for the rest say `{}`",
            flags.join(" ")
        ),
        (false, true) => format!(
            "protect it too (bq-snap), or say `{}`; nothing was submitted",
            flags.join(" ")
        ),
        (false, false) => {
            let unnamed = all
                .iter()
                .any(|objection| matches!(objection.thing, Some(Thing::Unknown(_))));
            let named = if unnamed {
                "name the dataset (`dataset.table`, `--dataset D`); "
            } else {
                ""
            };
            let flags = flags.join(" ");
            format!("{named}if that is meant, say `{flags}`; nothing was submitted")
        }
    };
    let failure = Failure::refused(what.join("; "), place(first), hint);
    Some(match first.thing.as_ref().and_then(Thing::name) {
        Some(table) => failure.about(table),
        None => failure,
    })
}

#[cfg(test)]
mod tests;
