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
            let is_there = is_there(thing);
            let never_was = is_there == Some(false) && self.opaque.is_none() && self.change_of(thing).is_none();
            // `DROP TABLE IF EXISTS` of what is not there.
            if never_was && *deed == Deed::Drop && statement.kind.as_str().starts_with("DROP_") {
                continue;
            }
            if let Some(how) = matters(script, statement, *deed, is_there) {
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

    /// Why BigQuery's answer about a statement says nothing, by what it reads and calls.
    pub fn under(&self, named: &Named<'_>) -> Option<String> {
        let read = named
            .reads
            .iter()
            .find_map(|thing| Some((*thing, self.change_of(thing)?)));
        if let Some((thing, change)) = read {
            return Some(self.why("reads", thing, change));
        }
        let called = |change: &&Change| {
            matches!(change.thing, Thing::Routine(_) | Thing::Model(_)) && named.calls.contains(change.word.as_str())
        };
        let change = self.changes.iter().rev().find(called)?;
        Some(self.why("names", &change.thing, change))
    }

    /// The same, by what it writes; and whether its query alone tells as much as there is to know.
    pub fn target(&self, named: &Named<'_>) -> Option<(String, bool)> {
        let of = |(deed, thing): &(Deed, &Thing)| {
            let change = self.change_of(thing)?;
            let is_free = match &change.thing {
                Thing::Dataset(_) => change.how == "makes",
                _ => matches!(change.how, "drops" | "renames"),
            };
            let tells = *deed == Deed::Replace || (*deed == Deed::Create && is_free);
            Some((self.why("writes", thing, change), tells))
        };
        let found: Vec<(String, bool)> = named.written.iter().filter_map(of).collect();
        let tells = found.iter().all(|(_, tells)| *tells);
        found.into_iter().next().map(|(why, _)| (why, tells))
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

    /// Why what BigQuery finds wrong may be none: by what the statement names, and the things that BigQuery's message does.
    pub fn excuse(&self, named: Option<&Named<'_>>, message: &str) -> Option<String> {
        let mut words = named_by(message);
        words.extend(named.into_iter().flat_map(Named::words));
        if let Some(change) = self.changes.iter().rev().find(|change| words.contains(&change.word)) {
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

/// The last words of the tables, datasets and routines that a message of BigQuery's names; columns and aliases are none.
fn named_by(message: &str) -> BTreeSet<String> {
    let small = message.to_lowercase();
    let bare = |word: &'_ str| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_').to_owned();
    let words: Vec<&str> = small.split_whitespace().collect();
    let mut found = BTreeSet::new();
    for (i, word) in words.iter().enumerate() {
        let before = |n: usize| i.checked_sub(n).map(|i| words[i]).unwrap_or_default();
        let name = bare(word);
        let introduced = matches!(
            bare(before(1)).as_str(),
            "table" | "view" | "dataset" | "routine" | "function" | "procedure" | "model"
        ) || before(1) == "found:"
            || (before(2), before(1)) == ("table", "name");
        if introduced || (name.contains(['.', ':']) && before(1) != "name:") {
            let last = name.rsplit(['.', ':']).next().unwrap_or_default();
            found.insert(last.to_owned());
        }
    }
    found
}

/// What a statement names where a table, a function or a model can stand, as far as it was asked about.
#[derive(Clone, Debug, Default)]
pub struct Named<'a> {
    reads: Vec<&'a Thing>,
    written: Vec<(Deed, &'a Thing)>,
    /// The last words of functions and models.
    calls: BTreeSet<&'a str>,
}

impl<'a> Named<'a> {
    /// Of a statement of which these parts were asked about, with what they took along.
    pub fn of(script: &'a Script<'_>, statement: &'a Statement, deeds: &'a Deeds, asked: &[Range<usize>]) -> Named<'a> {
        let is_asked = |at: usize| asked.iter().any(|range| range.contains(&at));
        let reads = statement.reads.iter().zip(&deeds.reads);
        let whole = asked.contains(&statement.range);
        Named {
            reads: reads
                .filter(|(name, _)| is_asked(name.range.start))
                .map(|(_, thing)| thing)
                .collect(),
            written: match whole {
                true => deeds.effects.iter().map(|(deed, thing)| (*deed, thing)).collect(),
                false => Vec::new(),
            },
            calls: asked.iter().flat_map(|range| script.calls_in(range)).collect(),
        }
    }

    fn words(&self) -> impl Iterator<Item = String> {
        let things = self
            .reads
            .iter()
            .copied()
            .chain(self.written.iter().map(|(_, thing)| *thing));
        things
            .map(Thing::last_word)
            .chain(self.calls.iter().map(|word| (*word).to_owned()))
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
