//! PURE: reading expressions, tighter ones first.

use super::grammar::Parser;
use super::values::{Datum, Expr, Trouble, instant};
use super::words::Kind;

const COMPARISONS: [&str; 7] = ["=", "!=", "<>", "<=", ">=", "<", ">"];

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, Trouble> {
        let mut left = self.conjunction()?;
        while self.words("OR") {
            left = Expr::Binary("OR", left.into(), self.conjunction()?.into());
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expr, Trouble> {
        let mut left = self.negation()?;
        while self.words("AND") {
            left = Expr::Binary("AND", left.into(), self.negation()?.into());
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expr, Trouble> {
        if self.words("NOT") {
            return Ok(Expr::Not(self.negation()?.into()));
        }
        let left = self.sum()?;
        if self.words("IS NOT NULL") {
            return Ok(Expr::IsNull(left.into(), true));
        }
        if self.words("IS NULL") {
            return Ok(Expr::IsNull(left.into(), false));
        }
        match COMPARISONS.iter().find(|sign| self.sign(sign)) {
            Some(sign) => Ok(Expr::Binary(sign, left.into(), self.sum()?.into())),
            None => Ok(left),
        }
    }

    fn sum(&mut self) -> Result<Expr, Trouble> {
        let mut left = self.primary()?;
        while let Some(sign) = ["+", "-"].into_iter().find(|sign| self.sign(sign)) {
            left = Expr::Binary(sign, left.into(), self.primary()?.into());
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<Expr, Trouble> {
        if self.sign("(") {
            let inner = match self.peek() {
                Kind::Word(word) if word.eq_ignore_ascii_case("SELECT") => Expr::Scalar(self.query()?.into()),
                _ => self.expression()?,
            };
            self.expect(")")?;
            return Ok(inner);
        }
        let negative = self.sign("-");
        if let Kind::Number(digits) = self.peek().clone() {
            let written = if negative { format!("-{digits}") } else { digits };
            let number = match written.contains('.') {
                true => Datum::Real(written),
                false => Datum::Int(written.parse().map_err(|_| self.unexpected())?),
            };
            self.next();
            return Ok(Expr::Literal(number));
        }
        let unexpected = self.unexpected();
        match self.next() {
            _ if negative => Err(unexpected),
            Kind::Text(text) => Ok(Expr::Literal(Datum::Text(text))),
            Kind::Quoted(name) => Ok(Expr::Column(name)),
            Kind::Word(word) if !word.starts_with('@') => self.named(word).map_err(|e| e.unwrap_or(unexpected)),
            _ => Err(unexpected),
        }
    }

    /// What begins with a word: a constant, a typed literal, a call, or a column.
    fn named(&mut self, word: String) -> Result<Expr, Option<Trouble>> {
        let upper = word.to_ascii_uppercase();
        let literal = match upper.as_str() {
            "NULL" => Some(Datum::Null),
            "TRUE" => Some(Datum::Bool(true)),
            "FALSE" => Some(Datum::Bool(false)),
            _ => None,
        };
        if let Some(literal) = literal {
            return Ok(Expr::Literal(literal));
        }
        if let ("TIMESTAMP" | "DATE", Kind::Text(text)) = (upper.as_str(), self.peek().clone()) {
            self.next();
            let at = instant(&text)?;
            return Ok(Expr::Literal(match upper.as_str() {
                "DATE" => Datum::Text(text),
                _ => Datum::Stamp(at),
            }));
        }
        if !self.sign("(") {
            return Ok(Expr::Column(word));
        }
        let call = match upper.as_str() {
            "COUNT" => {
                self.expect("*")?;
                Expr::Count
            }
            "CURRENT_TIMESTAMP" => Expr::Now,
            "UNIX_MILLIS" => Expr::UnixMillis(self.expression()?.into()),
            "TIMESTAMP" => Expr::Timestamp(self.expression()?.into()),
            "ERROR" => Expr::Error(self.expression()?.into()),
            "TIMESTAMP_TRUNC" => {
                let what = self.expression()?;
                self.expect(",")?;
                Expr::Trunc(what.into(), self.identifier()?.to_ascii_uppercase())
            }
            _ => return Err(None),
        };
        self.expect(")")?;
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::super::grammar::parse;

    #[test]
    fn what_is_not_known_is_refused() {
        for sql in [
            "",
            ";",
            "SELECT",
            "SELECT *",
            "SELECT 1 FROM t",
            "SELECT a FROM d.t ORDER BY a",
            "SELECT SUM(a) FROM d.t",
            "SELECT @a",
            "MERGE d.t USING d.u ON TRUE WHEN MATCHED THEN DELETE",
            "DELETE FROM d.t",
            "CREATE TABLE d.t",
            "CREATE TABLE d.t LIKE d.u",
            "CREATE OR REPLACE SNAPSHOT TABLE d.s CLONE d.t",
            "CREATE TABLE d.t COPY d.u FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01 00:00:00+00:00'",
            "CREATE SNAPSHOT TABLE d.s CLONE d.t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01 00:00:00'",
            "CREATE TABLE d.t (a GEOGRAPHY)",
            "CREATE TABLE d.t (a INT64) OPTIONS(kms_key_name='x')",
            "ALTER TABLE d.t RENAME TO u",
            "EXECUTE IMMEDIATE 'SELECT 1'",
            "SELECT 1 SELECT 2",
        ] {
            let refused = parse(sql, "pretend").map(|ok| format!("{ok:?}"));
            assert!(refused.is_err_and(|e| e.reason == "invalidQuery" && !e.at_run), "{sql}");
        }
    }
}
