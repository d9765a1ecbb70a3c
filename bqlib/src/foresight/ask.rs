//! PURE: what is sent to BigQuery to learn whether a statement is valid, without the statements before it.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use crate::place::Pieces;
use crate::script::{Kind, Statement};

use super::words::Words;

/// What is asked about a statement.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Nothing: it decides which others run, or there is nothing to be wrong in it.
    NoNeed,
    /// The dry run of the whole file tells, for the file is nothing else.
    Whole,
    /// This, by itself.
    Piece(Box<Piece>),
    /// Nothing can be: why not.
    Unknowable(String),
}

/// A statement, behind what it needs of those before it.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What is sent, and where it stands in the file.
    pub sent: Pieces,
    /// The parameters that stand in it.
    pub params: Vec<Value>,
    /// Why an answer that nothing is wrong says little, if it does.
    pub stops_early: Option<String>,
}

/// A file with its statements.
pub struct Script<'a> {
    text: &'a str,
    statements: &'a [Statement],
    words: Words,
}

impl<'a> Script<'a> {
    /// Of a text and what it is read as.
    pub fn new(text: &'a str, statements: &'a [Statement]) -> Script<'a> {
        Script {
            text,
            statements,
            words: Words::of(text),
        }
    }

    /// The words of a statement that may be names, in small letters.
    pub fn names_in(&self, range: &Range<usize>) -> BTreeSet<&str> {
        self.words.names_in(range)
    }

    /// Whether a statement may run many times.
    pub fn is_in_a_loop(&self, number: usize) -> bool {
        let loops = |kind| matches!(kind, Kind::Loop | Kind::While | Kind::Repeat | Kind::For);
        self.around(number).any(|i| loops(self.statements[i].kind))
    }

    /// What is asked about each statement. `params`: those of the whole file.
    pub fn asks(&self, params: &[Value]) -> Vec<Ask> {
        match self.statements {
            [one] if !is_special(one) => vec![Ask::Whole],
            all => (0..all.len()).map(|i| self.ask(i, params)).collect(),
        }
    }

    fn ask(&self, number: usize, params: &[Value]) -> Ask {
        let statement = &self.statements[number];
        let range = &statement.range;
        let whole = || vec![Part::Text(range.clone())];
        let query = |range: &Range<usize>| vec![Part::Text(range.clone())];
        let parts = match statement.kind {
            kind if kind.is_opaque() => {
                return Ask::Unknowable(match kind {
                    Kind::Opaque => "not understood here".to_owned(),
                    kind => format!(
                        "what {} runs is not known before it runs",
                        kind.as_str().replace('_', " ")
                    ),
                });
            }
            Kind::For => statement.expressions.first().map(query),
            kind if kind.is_control() && statement.expressions.is_empty() => None,
            kind if kind.is_control() => Some(expressions(&statement.expressions)),
            kind if kind.is_transaction() || kind == Kind::Raise => None,
            Kind::Declare => self
                .default_of(statement)
                .filter(|default| default.must_be_asked())
                .map(|default| {
                    let behind = default.at..range.end;
                    expressions(&[behind])
                }),
            // What is set to a system variable is a constant: nothing of it can be wrong for a table's sake.
            Kind::Set if !self.words.system_in(range).is_empty() && !self.reads(range) => None,
            // A function alone is no query.
            Kind::CreateFunction if statement.temporary() => {
                Some(vec![Part::Text(range.clone()), Part::Words(";\nSELECT 1")])
            }
            // BigQuery dry-runs no temporary table.
            // Source: <https://docs.cloud.google.com/bigquery/docs/multi-statement-queries#dry-run>.
            _ if statement.temporary() => match &statement.query {
                Some(range) => Some(query(range)),
                None => return Ask::Unknowable("BigQuery dry-runs no temporary table".to_owned()),
            },
            _ => Some(whole()),
        };
        match parts {
            None => Ask::NoNeed,
            Some(parts) => self.piece(number, &parts, params),
        }
    }

    /// Whether there is a query in this text.
    fn reads(&self, range: &Range<usize>) -> bool {
        let words = self.words.names_in(range);
        words.contains("select") || words.contains("from")
    }

    fn piece(&self, number: usize, parts: &[Part], params: &[Value]) -> Ask {
        let own: Vec<Range<usize>> = parts.iter().filter_map(Part::range).cloned().collect();
        let mut needed = match self.needs(number, &own) {
            Ok(needed) => needed,
            Err(why) => return Ask::Unknowable(why),
        };
        if let Some(why) = self.of_the_moment(number, &own) {
            return Ask::Unknowable(why);
        }
        needed.sort_by_key(|(first, part)| (*first, part.start));
        let is_script = needed.iter().any(|(order, _)| *order != Order::Function);
        let has_function = needed.iter().any(|(order, _)| *order == Order::Function);
        let mut sent = Pieces::default();
        let mut sources: Vec<Range<usize>> = Vec::new();
        for (_, range) in needed {
            sent.add(self.text, range.clone());
            sent.add_words(";\n");
            sources.push(range);
        }
        for part in parts {
            match part {
                Part::Text(range) => {
                    sent.add(self.text, range.clone());
                    sources.push(range.clone());
                }
                Part::Words(words) => sent.add_words(words),
            }
        }
        // The dry run of a script ends at the first thing that is made in it; of one query with its functions it does not.
        let stops = is_script && has_function;
        let why = "it names variables and temporary functions, and BigQuery's dry run ends at the function";
        Ask::Piece(Box::new(Piece {
            params: self.params_of(&sources, params),
            sent,
            stops_early: stops.then(|| why.to_owned()),
        }))
    }

    /// The parameters of these parts of the file: all that have names (those that nothing names do no harm), or those whose marks stand in it.
    fn params_of(&self, sources: &[Range<usize>], params: &[Value]) -> Vec<Value> {
        if params.iter().any(|param| param.get("name").is_some()) {
            return params.to_vec();
        }
        let of = |range: &Range<usize>| {
            let first = self.words.marks_before(range.start);
            (first..).take(self.words.marks_in(range).len())
        };
        let places = sources.iter().flat_map(of);
        places.filter_map(|place| params.get(place).cloned()).collect()
    }

    /// Of the statements before this one those that it cannot be read without: the declarations of variables, what is set for the whole
    /// script, temporary functions.
    fn needs(&self, number: usize, own: &[Range<usize>]) -> Result<Vec<(Order, Range<usize>)>, String> {
        let mut needed: Vec<(Order, Range<usize>)> = Vec::new();
        let mut declared: BTreeSet<&str> = BTreeSet::new();
        let mut texts: Vec<Range<usize>> = own.to_vec();
        let before: Vec<usize> = self.seen_from(number);
        for &i in &before {
            let statement = &self.statements[i];
            if statement.kind == Kind::Set && !self.words.system_in(&statement.range).is_empty() {
                texts.push(statement.range.clone());
                needed.push((Order::Setting, statement.range.clone()));
            }
        }
        let mut taken: BTreeSet<usize> = BTreeSet::new();
        // What is taken along may itself need more.
        while let Some(text) = texts.pop() {
            let words = self.words.names_in(&text);
            for &i in before.iter().rev().filter(|i| !taken.contains(i)).collect::<Vec<_>>() {
                let statement = &self.statements[i];
                let order = match statement.kind {
                    Kind::Declare if self.is_visible(i, number) => Order::Variable,
                    Kind::CreateFunction if statement.temporary() => Order::Function,
                    _ => continue,
                };
                let names: Vec<String> = match order {
                    Order::Variable => statement.variables.iter().map(|name| name.to_lowercase()).collect(),
                    _ => self.function_name(statement).into_iter().collect(),
                };
                if !names.iter().any(|name| words.contains(name.as_str())) {
                    continue;
                }
                taken.insert(i);
                if order == Order::Variable {
                    // The nearer declaration hides the farther one.
                    let new: Vec<&str> = statement.variables.iter().map(String::as_str).collect();
                    let hidden = new.iter().filter(|name| declared.contains(*name)).count();
                    match hidden {
                        0 => declared.extend(new),
                        hidden if hidden == new.len() => continue,
                        _ => return Err("a variable that it names is declared twice, in blocks around it".to_owned()),
                    }
                }
                let part = match self
                    .default_of(statement)
                    .filter(|default| default.typed && default.queries)
                {
                    Some(default) => statement.range.start..default.word,
                    None => statement.range.clone(),
                };
                texts.push(part.clone());
                needed.push((order, part));
            }
        }
        Ok(needed)
    }

    /// Why a statement cannot be asked about before the script runs: it names what only its loop or its handler has.
    fn of_the_moment(&self, number: usize, own: &[Range<usize>]) -> Option<String> {
        if own.iter().any(|range| self.words.system_in(range).contains("error")) {
            return Some("reads @@error, which only a handler has".to_owned());
        }
        self.around(number).find_map(|i| {
            let statement = &self.statements[i];
            let variable = statement.variables.first().filter(|_| statement.kind == Kind::For)?;
            let named = own
                .iter()
                .any(|range| self.words.names_in(range).contains(variable.to_lowercase().as_str()));
            let (line, _) = crate::script::line_and_column(self.text, statement.range.start);
            named.then(|| format!("uses {variable}, the variable of the FOR of line {line}"))
        })
    }

    /// The blocks that a statement stands in, the innermost first.
    fn around(&self, number: usize) -> impl Iterator<Item = usize> + '_ {
        let mut depth = self.statements[number].depth;
        (0..number).rev().filter(move |&i| {
            let is_around = self.statements[i].depth < depth;
            depth = depth.min(self.statements[i].depth);
            is_around
        })
    }

    /// Whether a declaration is of the block of a statement, or of one around it.
    fn is_visible(&self, declaration: usize, number: usize) -> bool {
        let depth = self.statements[declaration].depth;
        self.statements[declaration..=number].iter().all(|s| s.depth >= depth)
    }

    /// The statements before this one.
    fn seen_from(&self, number: usize) -> Vec<usize> {
        (0..number).collect()
    }

    /// The name of the function that a statement makes: what stands before its first bracket.
    fn function_name(&self, statement: &Statement) -> Option<String> {
        let tokens = self.words.tokens_in(&statement.range);
        let bracket = tokens.iter().position(|(_, token)| *token == "(")?;
        Some(tokens.get(bracket.checked_sub(1)?)?.1.to_owned())
    }

    fn default_of(&self, statement: &Statement) -> Option<Default> {
        if statement.kind != Kind::Declare {
            return None;
        }
        let words = self.words.in_order(&statement.range);
        let place = words.iter().position(|(_, word)| *word == "default")?;
        let (word, behind) = (words[place].0, words[place].0 + "default".len());
        Some(Default {
            word,
            at: behind,
            // `DECLARE`, the variables, and more than those: a type.
            typed: place > statement.variables.len() + 1,
            queries: self.reads(&(behind..statement.range.end)),
        })
    }
}

/// What a variable begins with.
struct Default {
    /// Where the word stands.
    word: usize,
    /// Where what is behind it begins.
    at: usize,
    /// Whether the variable's type is said.
    typed: bool,
    /// Whether it is asked of tables.
    queries: bool,
}

impl Default {
    fn must_be_asked(&self) -> bool {
        self.queries || !self.typed
    }
}

/// In which order what a statement needs is sent: BigQuery takes declarations only at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Variable,
    Setting,
    Function,
}

enum Part {
    Text(Range<usize>),
    Words(&'static str),
}

impl Part {
    fn range(&self) -> Option<&Range<usize>> {
        match self {
            Part::Text(range) => Some(range),
            Part::Words(_) => None,
        }
    }
}

/// A query of these expressions.
fn expressions(all: &[Range<usize>]) -> Vec<Part> {
    let mut parts = Vec::new();
    for (i, range) in all.iter().enumerate() {
        parts.push(Part::Words(if i == 0 { "SELECT (" } else { "), (" }));
        parts.push(Part::Text(range.clone()));
    }
    parts.push(Part::Words(")"));
    parts
}

/// Whether the dry run of a file that is this one statement is not its own.
fn is_special(statement: &Statement) -> bool {
    statement.temporary()
        || statement.kind.is_opaque()
        || statement.kind.is_control()
        || statement.kind.is_transaction()
}

#[cfg(test)]
mod tests;
