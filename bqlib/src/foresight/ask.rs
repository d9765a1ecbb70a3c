//! PURE: what is sent to BigQuery to learn whether a statement is valid, without the statements before it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use crate::names::sha256_hex;
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
    /// The parts of the file that were sent.
    pub asked: Vec<Range<usize>>,
    /// Whether that is the statement itself, with no declarations before it: the answer tells what BigQuery takes it for.
    pub is_itself: bool,
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

    /// The words before a bracket, and behind `MODEL`: functions and models, or keywords.
    pub fn calls_in(&self, range: &Range<usize>) -> BTreeSet<&str> {
        let tokens = self.words.tokens_in(range);
        let called = tokens.windows(2).filter(|two| two[1].1 == "(").map(|two| two[0].1);
        let model = tokens.iter().position(|(_, word)| *word == "model");
        let model = model.and_then(|at| self.last_of_name(&tokens[at + 1..]));
        called.chain(model).collect()
    }

    /// The last part of the name that these words begin with.
    fn last_of_name<'t>(&self, tokens: &[(usize, &'t str)]) -> Option<&'t str> {
        let parts = tokens.chunk_by(|a, b| a.1 == "." || b.1 == "." || a.0 == b.0);
        parts.into_iter().next()?.last().map(|(_, word)| *word)
    }

    /// The query whose rows a statement writes, shows or exports.
    pub fn query_of(&self, number: usize) -> Option<Range<usize>> {
        let statement = &self.statements[number];
        if statement.kind != Kind::Insert {
            return statement.query.clone();
        }
        let mut depth = 0;
        let tokens = self.words.tokens_in(&statement.range);
        let begins = tokens.into_iter().find(|(at, word)| {
            match *word {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            let is_quoted = self.text[*at..].starts_with('`');
            depth == 0 && matches!(*word, "select" | "with" | "from") && !is_quoted
        });
        begins.map(|(at, _)| at..statement.range.end)
    }

    /// Why a statement may not run, or may fail and the script goes on. (Behind a `RAISE` the script has failed, or runs on.)
    pub fn may_not_run(&self, number: usize) -> Option<String> {
        let line = |i: usize| crate::script::line_and_column(self.text, self.statements[i].range.start).0;
        let of_kind = |i: &usize, kind| self.statements[*i].kind == kind;
        if self.statements[number].conditional {
            return Some("it may not run".to_owned());
        }
        if let Some(block) = self
            .around(number)
            .find(|i| of_kind(i, Kind::Block) && self.has_handler(*i))
        {
            return Some(format!("the BEGIN of line {} handles errors", line(block)));
        }
        let leaves = |i: &usize| {
            let words = self.words.in_order(&self.statements[*i].range);
            let names_a_block = of_kind(i, Kind::Jump) && matches!(words[..], [(_, "leave" | "break"), _]);
            names_a_block
                && self
                    .around(*i)
                    .any(|block| of_kind(&block, Kind::Block) && self.holds(block, number))
        };
        let left = (0..number).rev().find(|i| of_kind(i, Kind::Return) || leaves(i))?;
        let word = self.statements[left].kind.as_str();
        let word = if word == "RETURN" { word } else { "LEAVE" };
        Some(format!(
            "it may not run: it stands behind the {word} of line {}",
            line(left)
        ))
    }

    fn holds(&self, block: usize, number: usize) -> bool {
        self.statements[block]
            .range
            .contains(&self.statements[number].range.start)
    }

    /// Whether a block has an `EXCEPTION` part of its own.
    fn has_handler(&self, block: usize) -> bool {
        let range = &self.statements[block].range;
        let inner = |at: usize| {
            let behind = self.statements[block + 1..].iter();
            behind
                .take_while(|s| s.range.start < range.end)
                .any(|s| s.range.contains(&at))
        };
        let words = self.words.in_order(range);
        let mut handlers = words
            .windows(3)
            .filter(|three| matches!(three, [(_, "exception"), (_, "when"), (_, "error")]));
        handlers.any(|three| !inner(three[0].0))
    }

    /// What is asked about each statement. `params`: those of the whole file; `by_query`: the statements whose target BigQuery does not see
    /// as it will be, so that their query is all there is to ask.
    pub fn asks(&self, params: &[Value], by_query: &BTreeSet<usize>) -> Vec<Ask> {
        match self.statements {
            [one] if !is_special(one) && by_query.is_empty() => vec![Ask::Whole],
            all => {
                let ask = |i| self.ask(i, params, by_query.contains(&i));
                (0..all.len()).map(ask).collect()
            }
        }
    }

    fn ask(&self, number: usize, params: &[Value], by_query: bool) -> Ask {
        let statement = &self.statements[number];
        if let Some(range) = self.query_of(number).filter(|_| by_query) {
            return self.piece(number, &[Part::Text(range)], params);
        }
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
        let statement = &self.statements[number];
        let is_whole = matches!(parts, [Part::Text(range)] if *range == statement.range);
        // Functions and a query are one statement to BigQuery; functions and another statement are a script.
        let ends_there = has_function && is_whole && statement.kind != Kind::Select;
        if let Some(query) = self.query_of(number).filter(|_| ends_there && !is_script) {
            let mut ask = self.piece(number, &[Part::Text(query)], params);
            if let Ask::Piece(piece) = &mut ask {
                let why =
                    "it names temporary functions: BigQuery's dry run tells of its query, and nothing of the rest";
                piece.stops_early = Some(why.to_owned());
            }
            return ask;
        }
        let is_itself = is_whole && !is_script && !ends_there;
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
        let why = match (is_script && has_function, ends_there) {
            (true, _) => {
                Some("it names variables and temporary functions, and BigQuery's dry run ends at the function")
            }
            (_, true) => Some("it names temporary functions, and BigQuery's dry run ends there"),
            _ => None,
        };
        Ask::Piece(Box::new(Piece {
            params: self.params_of(&sources, params),
            sent,
            asked: sources,
            is_itself,
            stops_early: why.map(str::to_owned),
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
        for i in 0..number {
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
            for i in (0..number).rev() {
                if taken.contains(&i) {
                    continue;
                }
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

/// Leaves of what is to be asked the first so many different texts, and says of the rest that it is not asked: which statements are asked with
/// one request.
pub fn distinct(asks: &mut [Ask], left: &mut usize) -> Vec<Vec<usize>> {
    let most = *left;
    let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (number, ask) in asks.iter_mut().enumerate() {
        let Ask::Piece(piece) = ask else { continue };
        let key = (
            sha256_hex(&piece.sent.sql),
            Value::from(piece.params.clone()).to_string(),
        );
        match known.get(&key) {
            Some(place) => found[*place].push(number),
            None if found.len() == most => {
                *ask = Ask::Unknowable(format!("not asked: there are more than {MOST} statements"))
            }
            None => {
                known.insert(key, found.len());
                found.push(vec![number]);
            }
        }
    }
    *left = most - found.len();
    found
}

/// How many dry runs of statements a run asks for.
pub const MOST: usize = 2_000;

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
