//! PURE: reading statements, one function a verb.

use serde_json::{Map, Value, json};

use super::grammar::{Parser, unknown_option};
use super::sql::{How, Mode, Name, Source, Statement};
use super::values::{Expr, Trouble, place};
use super::words::Kind;

impl Parser<'_> {
    pub(super) fn statement(&mut self) -> Result<Statement, Trouble> {
        if matches!(self.peek(), Kind::Word(word) if word.eq_ignore_ascii_case("SELECT")) {
            return Ok(Statement::Query(self.query()?));
        }
        let Kind::Word(verb) = self.peek().clone() else {
            return Err(self.unexpected());
        };
        match verb.to_ascii_uppercase().as_str() {
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "INSERT" => self.insert(),
            "DROP" => self.drop(),
            "DELETE" => {
                self.next();
                self.must("FROM")?;
                Ok(Statement::Delete {
                    table: self.name()?,
                    filter: self.filter()?,
                })
            }
            "UPDATE" => self.update(),
            "TRUNCATE" => {
                self.must("TRUNCATE TABLE")?;
                Ok(Statement::Truncate { table: self.name()? })
            }
            "ASSERT" => {
                self.next();
                let condition = self.expression()?;
                let message = match self.words("AS") {
                    true => self.text()?,
                    false => "Assertion failed".to_owned(),
                };
                Ok(Statement::Assert { condition, message })
            }
            "BEGIN" => self.must("BEGIN TRANSACTION").map(|()| Statement::Begin),
            "COMMIT" => self.must("COMMIT TRANSACTION").map(|()| Statement::Commit),
            "ROLLBACK" => self.must("ROLLBACK TRANSACTION").map(|()| Statement::Rollback),
            _ => Err(self.unexpected()),
        }
    }

    fn create(&mut self) -> Result<Statement, Trouble> {
        self.next();
        let replace = self.words("OR REPLACE");
        let what = match self.next() {
            Kind::Word(word) => word.to_ascii_uppercase(),
            _ => String::new(),
        };
        match (what.as_str(), replace) {
            ("SCHEMA", false) | ("TABLE" | "VIEW", _) => {}
            ("SNAPSHOT", false) => self.must("TABLE")?,
            _ => return Err(self.unexpected()),
        }
        let if_not_exists = self.words("IF NOT EXISTS");
        let mode = match (replace, if_not_exists) {
            (true, true) => return Err(self.unexpected()),
            (true, false) => Mode::Replace,
            (false, true) => Mode::IfNotExists,
            (false, false) => Mode::Plain,
        };
        if what == "SCHEMA" {
            let dataset = match self.path()?.as_slice() {
                [dataset] => (self.home.to_owned(), dataset.clone()),
                [project, dataset] => (project.clone(), dataset.clone()),
                _ => return Err(self.unexpected()),
            };
            return Ok(Statement::CreateSchema {
                dataset,
                if_not_exists,
                options: self.options()?,
            });
        }
        let table = self.name()?;
        if what == "VIEW" {
            self.must("AS")?;
            let from = self.token().from;
            let query = self.query()?;
            let text = self.sql[from..self.tokens[self.at - 1].to].to_owned();
            return Ok(Statement::CreateView {
                table,
                mode,
                query,
                text,
            });
        }
        let how = match what == "SNAPSHOT" {
            true => self.must("CLONE").map(|()| Some(How::Snapshot))?,
            false if self.words("CLONE") => Some(How::Clone),
            false if self.words("COPY") => Some(How::Copy),
            false => None,
        };
        if let Some(how) = how {
            let of = self.name()?;
            let as_of = match self.words("FOR SYSTEM_TIME AS OF") && how != How::Copy {
                true => Some(self.timestamp()?),
                false => None,
            };
            return Ok(Statement::Make {
                how,
                table,
                mode,
                of,
                as_of,
                options: self.options()?,
            });
        }
        self.create_table(table, mode)
    }

    fn create_table(&mut self, table: Name, mode: Mode) -> Result<Statement, Trouble> {
        let fields = match self.sign("(") {
            true => Some(self.list(Self::field)?),
            false => None,
        };
        let mut layout = Map::new();
        if self.words("PARTITION BY") {
            let partition = self.partition(fields.as_deref().unwrap_or_default())?;
            layout.insert("timePartitioning".to_owned(), partition);
        }
        if self.words("CLUSTER BY") {
            let mut columns = vec![self.identifier()?];
            while self.sign(",") {
                columns.push(self.identifier()?);
            }
            layout.insert("clustering".to_owned(), json!({ "fields": columns }));
        }
        let options = self.options()?;
        let rows = match self.words("AS") {
            true => Some(self.query()?),
            false => None,
        };
        if fields.is_none() && rows.is_none() {
            return Err(self.unexpected());
        }
        Ok(Statement::CreateTable {
            table,
            mode,
            fields,
            layout,
            options,
            rows,
        })
    }

    fn field(&mut self) -> Result<Value, Trouble> {
        let name = self.identifier()?;
        let kind = self.identifier()?.to_ascii_uppercase();
        let kind = match kind.as_str() {
            "INT64" => "INTEGER",
            "FLOAT64" => "FLOAT",
            "BOOL" => "BOOLEAN",
            "STRING" | "TIMESTAMP" | "DATE" | "NUMERIC" | "BIGNUMERIC" => &kind,
            _ => return Err(Trouble::query(format!("Type not found: {kind}"))),
        };
        let mode = if self.words("NOT NULL") { "REQUIRED" } else { "NULLABLE" };
        let mut field = json!({ "name": name, "type": kind, "mode": mode });
        for (key, value) in self.options()? {
            match key.as_str() {
                "description" => field["description"] = value,
                _ => return Err(unknown_option(&key)),
            }
        }
        Ok(field)
    }

    /// By a DATE column, or by the unit of a TIMESTAMP or DATE column.
    fn partition(&mut self, fields: &[Value]) -> Result<Value, Trouble> {
        let truncates = self.words("TIMESTAMP_TRUNC") || self.words("DATE_TRUNC");
        let to_date = !truncates && self.words("DATE");
        if truncates || to_date {
            self.expect("(")?;
        }
        let column = self.identifier()?;
        let mut unit = "DAY".to_owned();
        if truncates {
            self.expect(",")?;
            unit = self.identifier()?.to_ascii_uppercase();
        }
        if truncates || to_date {
            self.expect(")")?;
        }
        let kind = &fields[place(fields, &column)?]["type"];
        if kind != "DATE" && !((truncates || to_date) && kind == "TIMESTAMP") {
            return Err(Trouble::query(
                "PARTITION BY expression must be DATE(<timestamp_column>), a DATE column, or TIMESTAMP_TRUNC",
            ));
        }
        Ok(json!({ "type": unit, "field": column }))
    }

    fn alter(&mut self) -> Result<Statement, Trouble> {
        self.next();
        if !self.words("SNAPSHOT TABLE") {
            self.must("TABLE")?;
        }
        let table = self.name()?;
        if self.words("ADD COLUMN") {
            return Ok(Statement::AddColumn {
                table,
                field: self.field()?,
            });
        }
        if self.words("DROP COLUMN") {
            return Ok(Statement::DropColumn {
                table,
                column: self.identifier()?,
            });
        }
        self.must("SET")?;
        Ok(Statement::SetOptions {
            table,
            options: self.options()?,
        })
    }

    fn drop(&mut self) -> Result<Statement, Trouble> {
        self.next();
        let kind = match () {
            () if self.words("TABLE") => "TABLE",
            () if self.words("SNAPSHOT TABLE") => "SNAPSHOT",
            () if self.words("VIEW") => "VIEW",
            () => return Err(self.unexpected()),
        };
        let if_exists = self.words("IF EXISTS");
        Ok(Statement::Drop {
            table: self.name()?,
            kind,
            if_exists,
        })
    }

    fn insert(&mut self) -> Result<Statement, Trouble> {
        self.next();
        self.words("INTO");
        let table = self.name()?;
        let columns = match self.sign("(") {
            true => Some(self.list(Self::identifier)?),
            false => None,
        };
        if !self.words("VALUES") {
            return Ok(Statement::Insert {
                table,
                columns,
                rows: Source::Query(self.query()?),
            });
        }
        let mut rows = Vec::new();
        loop {
            self.expect("(")?;
            rows.push(self.list(Self::expression)?);
            if !self.sign(",") {
                return Ok(Statement::Insert {
                    table,
                    columns,
                    rows: Source::Values(rows),
                });
            }
        }
    }

    fn update(&mut self) -> Result<Statement, Trouble> {
        self.next();
        let table = self.name()?;
        self.must("SET")?;
        let mut set = Vec::new();
        loop {
            let column = self.identifier()?;
            self.expect("=")?;
            set.push((column, self.expression()?));
            if !self.sign(",") {
                return Ok(Statement::Update {
                    table,
                    set,
                    filter: self.filter()?,
                });
            }
        }
    }

    /// The `WHERE` that DML must have.
    fn filter(&mut self) -> Result<Expr, Trouble> {
        self.must("WHERE")?;
        self.expression()
    }
}
