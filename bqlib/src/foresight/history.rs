//! PURE: what earlier statements will have changed when a statement runs, and BigQuery does not know of before.
//!
//! Its answer about a statement that rests on such a thing is about another thing: neither its yes nor its no counts.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::script::{Deed, Kind, Statement};

use super::ask::Script;
use super::things::{Deeds, Thing};

/// What an earlier statement does that later ones may rest on.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    thing: Thing,
    /// By what it is named in any text.
    word: String,
    /// `statement 3`, or `statement 3 of a.sql`.
    by: String,
    /// The file of it, counted from 0.
    file: usize,
    how: &'static str,
}

/// What the statements so far change.
#[derive(Clone, Debug, Default)]
pub struct History {
    changes: Vec<Change>,
    /// The first that may have done anything.
    opaque: Option<(usize, String)>,
    files: Vec<String>,
}

impl History {
    /// From here on statements are of this file.
    pub fn begin_file(&mut self, name: &str) {
        self.files.push(name.to_owned());
    }

    fn label(&self, file: usize, by: &str) -> String {
        match self.files.get(file).filter(|_| file + 1 < self.files.len()) {
            Some(name) => format!("{by} of {name}"),
            None => by.to_owned(),
        }
    }

    /// Takes in a statement, by its number in the file. `is_there`: whether a thing exists now, where that was looked up.
    pub fn note(
        &mut self,
        script: &Script<'_>,
        (number, statement): (usize, &Statement),
        deeds: &Deeds,
        is_there: impl Fn(&Thing) -> Option<bool>,
    ) {
        let file = self.files.len().saturating_sub(1);
        let by = format!("statement {number}");
        if statement.kind.is_opaque() && self.opaque.is_none() {
            self.opaque = Some((file, by.clone()));
        }
        for name in &deeds.makes {
            self.add(Thing::Temporary(name.clone()), &by, file, "makes");
        }
        for (deed, thing) in &deeds.effects {
            if let Some(how) = matters(script, statement, *deed, is_there(thing)) {
                self.add(thing.clone(), &by, file, how);
            }
        }
    }

    fn add(&mut self, thing: Thing, by: &str, file: usize, how: &'static str) {
        let word = thing.last_word();
        let by = by.to_owned();
        self.changes.push(Change {
            thing,
            word,
            by,
            file,
            how,
        });
    }

    /// Why BigQuery's answer about a statement says nothing, by what the statement names.
    pub fn under(&self, script: &Script<'_>, range: &Range<usize>, deeds: &Deeds) -> Option<String> {
        let words = script.names_in(range);
        let written = deeds.effects.iter().map(|(_, thing)| thing);
        // Of a function no name stands where a table is read.
        let called =
            |change: &&Change| matches!(change.thing, Thing::Routine(_)) && words.contains(change.word.as_str());
        let found = deeds.reads.iter().map(|thing| ("reads", thing));
        let found = found.chain(written.map(|thing| ("writes", thing)));
        let by_name = found
            .filter_map(|(verb, thing)| Some((verb, thing, self.change_of(thing)?)))
            .map(|(verb, thing, change)| self.why(verb, thing, change));
        let by_call = self
            .changes
            .iter()
            .rev()
            .filter(called)
            .map(|change| self.why("names", &change.thing, change));
        by_name.chain(by_call).next()
    }

    /// The same, by the tables that BigQuery says it reads, through views too (`project.dataset.table`).
    pub fn beneath(&self, reads: &BTreeSet<String>) -> Option<String> {
        let changed = |change: &&Change| match &change.thing {
            Thing::Dataset(dataset) => reads.iter().any(|table| table.starts_with(&format!("{dataset}."))),
            thing => reads.contains(&thing.to_string()),
        };
        let change = self.changes.iter().rev().find(changed)?;
        Some(self.why("reads", &change.thing, change))
    }

    /// Why what BigQuery finds wrong may be none: by the words of the statement and of BigQuery's message.
    pub fn excuse(&self, words: &BTreeSet<&str>, message: &str) -> Option<String> {
        let small = message.to_lowercase();
        let said: BTreeSet<&str> = small.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let named = |change: &&Change| words.contains(change.word.as_str()) || said.contains(change.word.as_str());
        if let Some(change) = self.changes.iter().rev().find(named) {
            return Some(self.why("rests on", &change.thing, change));
        }
        let (file, by) = self.opaque.as_ref()?;
        let by = self.label(*file, by);
        Some(format!(
            "stands behind {by}, of which is not known what it does; now BigQuery says: {message}"
        ))
    }

    fn change_of(&self, thing: &Thing) -> Option<&Change> {
        let dataset = thing.dataset();
        self.changes.iter().rev().find(|change| {
            let same = match (&change.thing, thing) {
                // Temporary tables are told apart without case.
                (Thing::Temporary(a), Thing::Temporary(b)) => a.eq_ignore_ascii_case(b),
                (a, b) => a == b,
            };
            same || matches!(&change.thing, Thing::Dataset(of) if Some(of) == dataset.as_ref())
        })
    }

    fn why(&self, verb: &str, thing: &Thing, change: &Change) -> String {
        let (by, how) = (self.label(change.file, &change.by), change.how);
        match thing == &change.thing {
            true => format!("{verb} {thing}, which {by} {how}"),
            false => format!("{verb} {thing}, and {by} {how} {}", change.thing),
        }
    }
}

/// How what a statement does is called, if a later statement's validity can rest on it.
fn matters(script: &Script<'_>, statement: &Statement, deed: Deed, is_there: Option<bool>) -> Option<&'static str> {
    match (deed, statement.kind) {
        // Where there is one already, it stays as it is, or the statement fails.
        (Deed::Create, _) if is_there == Some(true) => None,
        (Deed::Create, _) => Some("makes"),
        (Deed::Replace, _) => Some("replaces"),
        (Deed::Drop, Kind::AlterTable | Kind::AlterView | Kind::RenameTable) => Some("renames"),
        (Deed::Drop, _) => Some("drops"),
        // Rows change, and with them neither columns nor their types.
        (Deed::Write, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::Truncate) => None,
        (Deed::Write, Kind::LoadData) => Some("loads"),
        (Deed::Write, _) if sets_options_only(script, statement) => None,
        (Deed::Write, _) => Some("alters"),
        // Policies, grants and indexes leave columns as they are.
        (Deed::Beyond, Kind::CreateProcedure | Kind::DropProcedure) => Some("makes or drops"),
        (Deed::Beyond, _) => None,
    }
}

/// Whether an `ALTER` sets options and nothing else. That a partition filter is required makes queries invalid.
fn sets_options_only(script: &Script<'_>, statement: &Statement) -> bool {
    const MORE: [&str; 7] = [
        "add",
        "drop",
        "rename",
        "collate",
        "column",
        "constraint",
        "require_partition_filter",
    ];
    let words = script.names_in(&statement.range);
    words.contains("options") && !MORE.iter().any(|word| words.contains(word))
}

#[cfg(test)]
mod tests;
