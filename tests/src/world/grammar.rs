//! PURE: the parser, and what all statements are made of: names, queries, options. What it does not understand is
//! refused, never guessed: a program's new SQL shows up at once.

use serde_json::{Map, Value, json};

use super::sql::{Name, Options, Query, Select, Statement};
use super::values::{Datum, Expr, Millis, Trouble, instant};
use super::words::{Kind, Token, split};

/// The statements of a script, each with its text. A script with one that is not understood is refused whole, as one
/// with a syntax error is.
pub(super) fn parse(sql: &str, home: &str) -> Result<Vec<(String, Statement)>, Trouble> {
    if let Some(plain) = super::apart::plainly(sql) {
        let statements = parse(&plain, home)?;
        return Ok(statements
            .into_iter()
            .map(|(_, statement)| (sql.to_owned(), statement))
            .collect());
    }
    let mut parser = Parser {
        sql,
        home,
        tokens: split(sql)?,
        at: 0,
    };
    let mut statements = Vec::new();
    loop {
        while parser.sign(";") {}
        if parser.peek() == &Kind::End {
            break;
        }
        let from = parser.token().from;
        let statement = parser.statement()?;
        let to = parser.tokens[parser.at.saturating_sub(1)].to;
        if parser.peek() != &Kind::End {
            parser.expect(";")?;
        }
        statements.push((sql[from..to].to_owned(), statement));
    }
    match statements.is_empty() {
        true => Err(Trouble::query("Syntax error: Unexpected end of statement at [1:1]")),
        false => Ok(statements),
    }
}

/// Where the parser is.
pub(super) struct Parser<'s> {
    pub(super) sql: &'s str,
    pub(super) home: &'s str,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
}

impl Parser<'_> {
    pub(super) fn token(&self) -> &Token {
        // The last token is the end, and nothing steps over it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    pub(super) fn peek(&self) -> &Kind {
        &self.token().kind
    }

    pub(super) fn next(&mut self) -> Kind {
        let kind = self.peek().clone();
        self.at += usize::from(kind != Kind::End);
        kind
    }

    /// What is wrong, and where.
    pub(super) fn unexpected(&self) -> Trouble {
        let token = self.token();
        let before = &self.sql[..token.from];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let what = match token.kind {
            Kind::End => "end of statement".to_owned(),
            _ => format!("\"{}\"", &self.sql[token.from..token.to]),
        };
        Trouble::query(format!(
            "Syntax error: Unexpected {what} at [{line}:{column}] (or this pretend BigQuery does not know it)"
        ))
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Kind::Sign(there) if *there == sign);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), Trouble> {
        if self.sign(sign) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// Takes these words, or none of them.
    pub(super) fn words(&mut self, words: &str) -> bool {
        let start = self.at;
        for word in words.split(' ') {
            match self.peek() {
                Kind::Word(there) if there.eq_ignore_ascii_case(word) => self.at += 1,
                _ => {
                    self.at = start;
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn must(&mut self, words: &str) -> Result<(), Trouble> {
        if self.words(words) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    pub(super) fn identifier(&mut self) -> Result<String, Trouble> {
        match self.peek().clone() {
            Kind::Word(name) | Kind::Quoted(name) if !name.starts_with('@') => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Trouble> {
        match self.peek().clone() {
            Kind::Text(text) => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A name of parts, in backticks as a whole, each for itself, or not at all.
    pub(super) fn path(&mut self) -> Result<Vec<String>, Trouble> {
        let mut parts = Vec::new();
        loop {
            let quoted = matches!(self.peek(), Kind::Quoted(_));
            let part = self.identifier()?;
            match quoted {
                true => parts.extend(split_name(&part)),
                false => parts.push(part),
            }
            if !self.sign(".") {
                return Ok(parts);
            }
        }
    }

    pub(super) fn name(&mut self) -> Result<Name, Trouble> {
        let parts = self.path()?;
        let (project, rest) = match parts.as_slice() {
            [project, rest @ ..] if rest.len() == 2 => (project.as_str(), rest),
            rest => (self.home, rest),
        };
        if let [project, dataset, schema, view] = parts.as_slice()
            && format!("{schema}.{view}") == super::rights::TABLES
        {
            return Ok(Name {
                project: project.clone(),
                dataset: dataset.clone(),
                table: super::rights::TABLES.to_owned(),
            });
        }
        match rest {
            [dataset, table] => Ok(Name {
                project: project.to_owned(),
                dataset: dataset.clone(),
                table: table.clone(),
            }),
            _ => {
                let name = parts.join(".");
                Err(Trouble::query(format!(
                    "Table \"{name}\" must be qualified with a dataset (e.g. dataset.table)."
                )))
            }
        }
    }

    /// What is left of `(a, b, c)`.
    pub(super) fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, Trouble>) -> Result<Vec<T>, Trouble> {
        let mut all = Vec::new();
        while !self.sign(")") {
            if !all.is_empty() {
                self.expect(",")?;
            }
            all.push(one(self)?);
        }
        Ok(all)
    }

    pub(super) fn query(&mut self) -> Result<Query, Trouble> {
        let mut selects = vec![self.select()?];
        while self.words("UNION ALL") {
            selects.push(self.select()?);
        }
        Ok(Query(selects))
    }

    pub(super) fn select(&mut self) -> Result<Select, Trouble> {
        self.must("SELECT")?;
        let mut items = Vec::new();
        if !self.sign("*") {
            loop {
                let item = self.expression()?;
                let name = match (self.words("AS"), &item) {
                    (true, _) => Some(self.identifier()?),
                    (false, Expr::Column(name)) => Some(name.clone()),
                    (false, _) => None,
                };
                items.push((name, item));
                if !self.sign(",") {
                    break;
                }
            }
        }
        let mut from = None;
        if self.words("FROM") {
            let name = self.name()?;
            let as_of = match self.words("FOR SYSTEM_TIME AS OF") {
                true => Some(self.expression()?),
                false => None,
            };
            from = Some((name, as_of));
        }
        let without = match self.words("WITHOUT") {
            true => Some(self.name()?),
            false => None,
        };
        let filter = match self.words("WHERE") {
            true => Some(self.expression()?),
            false => None,
        };
        if items.is_empty() && from.is_none() {
            return Err(Trouble::query("SELECT * must have a FROM clause"));
        }
        Ok(Select {
            items,
            from,
            without,
            filter,
        })
    }

    /// `TIMESTAMP '…'`: what BigQuery demands to be constant.
    pub(super) fn timestamp(&mut self) -> Result<Millis, Trouble> {
        self.must("TIMESTAMP")?;
        instant(&self.text()?)
    }

    /// `OPTIONS(…)`, or nothing.
    pub(super) fn options(&mut self) -> Result<Options, Trouble> {
        if !self.words("OPTIONS") {
            return Ok(Options::new());
        }
        self.expect("(")?;
        Ok(self.list(Self::option)?.into_iter().collect())
    }

    pub(super) fn option(&mut self) -> Result<(String, Value), Trouble> {
        let name = self.identifier()?.to_ascii_lowercase();
        self.expect("=")?;
        if self.words("NULL") {
            return Ok((name, Value::Null));
        }
        let value = match name.as_str() {
            "labels" => {
                self.expect("[")?;
                let mut labels = Map::new();
                while !self.sign("]") {
                    if !labels.is_empty() {
                        self.expect(",")?;
                    }
                    self.expect("(")?;
                    let key = self.text()?;
                    self.expect(",")?;
                    labels.insert(key, json!(self.text()?));
                    self.expect(")")?;
                }
                Value::Object(labels)
            }
            "expiration_timestamp" => json!(self.timestamp()?),
            "description" | "friendly_name" | "location" => json!(self.text()?),
            "require_partition_filter" => match self.expression()? {
                Expr::Literal(Datum::Bool(yes)) => json!(yes),
                _ => return Err(self.unexpected()),
            },
            "partition_expiration_days" | "default_table_expiration_days" | "default_partition_expiration_days" => {
                match self.next() {
                    Kind::Number(days) => json!(days.parse::<i64>().map_err(|_| self.unexpected())? * 86_400_000),
                    _ => return Err(self.unexpected()),
                }
            }
            _ => return Err(unknown_option(&name)),
        };
        Ok((name, value))
    }
}

pub(super) fn unknown_option(name: &str) -> Trouble {
    Trouble::query(format!(
        "Unknown option: {name} (or this pretend BigQuery does not know it)"
    ))
}

/// A quoted name at its dots; those of a domain-scoped project (`example.com:proj`) are its own.
pub(super) fn split_name(text: &str) -> Vec<String> {
    let (domain, rest) = match text.split_once(':') {
        Some((domain, rest)) => (format!("{domain}:"), rest),
        None => (String::new(), text),
    };
    let mut parts = rest.split('.').map(str::to_owned);
    let first = parts.next().map(|first| domain + &first);
    first.into_iter().chain(parts).collect()
}
