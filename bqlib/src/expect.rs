//! What a row count must be: the little language of `records`, `after` and `--expect`.
//!
//! Pure; knows no table and no query.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An expectation of a row count, against a number or against the count at the cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expect {
    /// `any`: whatever it is.
    Any,
    /// `absent`: the table does not exist.
    Absent,
    /// `=1000`, `!=0`, `>=11462`: against a number of rows.
    Rows(Op, u64),
    /// `+0`, `+1..+500`, `+0..`: rows gained since the cut, from and to, both included.
    Gained(i64, Option<i64>),
    /// `-5%..+5%`: gained since the cut in percent of the rows at the cut, both included.
    GainedPercent(f64, f64),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// Longest first, so that `>=` is not read as `>` and `=1`.
const OPS: [(&str, Op); 6] = [
    ("!=", Op::Ne),
    ("<=", Op::Le),
    (">=", Op::Ge),
    ("=", Op::Eq),
    ("<", Op::Lt),
    (">", Op::Gt),
];

impl Expect {
    /// What is asked of a protected table when nothing is said: not fewer rows than at the cut.
    pub const NOT_FEWER: Expect = Expect::Gained(0, None);

    /// Whether `rows` (`None`: there is no such table) is as expected, the table having had `cut` rows at the cut.
    pub fn holds(&self, rows: Option<u64>, cut: Option<u64>) -> bool {
        let Some(rows) = rows else {
            return matches!(self, Expect::Absent | Expect::Any);
        };
        let gained = i128::from(rows) - i128::from(cut.unwrap_or(0));
        match *self {
            Expect::Any => true,
            Expect::Absent => false,
            Expect::Rows(op, n) => match op {
                Op::Eq => rows == n,
                Op::Ne => rows != n,
                Op::Lt => rows < n,
                Op::Le => rows <= n,
                Op::Gt => rows > n,
                Op::Ge => rows >= n,
            },
            Expect::Gained(low, high) => {
                gained >= i128::from(low) && high.is_none_or(|high| gained <= i128::from(high))
            }
            Expect::GainedPercent(low, high) => {
                let cut = cut.unwrap_or(0) as f64;
                let gained = gained as f64;
                gained >= cut * low / 100.0 && gained <= cut * high / 100.0
            }
        }
    }
}

/// Why a text is no expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadExpect(String);

impl fmt::Display for BadExpect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no expectation of a row count (write =1000, !=0, >=11462, +0, +1..+500, -5%..+5%, any, absent)",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for BadExpect {}

impl FromStr for Expect {
    type Err = BadExpect;

    fn from_str(text: &str) -> Result<Expect, BadExpect> {
        parse(text.trim()).ok_or_else(|| BadExpect(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Expect> {
    match text {
        "any" => return Some(Expect::Any),
        "absent" => return Some(Expect::Absent),
        _ => {}
    }
    if let Some((word, op)) = OPS.iter().find(|(word, _)| text.starts_with(word)) {
        return Some(Expect::Rows(*op, digits(text[word.len()..].trim_start())?));
    }
    if text.starts_with(['+', '-']) {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        if low.ends_with('%') {
            let (low, high) = (percent(low)?, percent(high)?);
            return (low <= high).then_some(Expect::GainedPercent(low, high));
        }
        let low = signed(low)?;
        let high = if high.is_empty() { None } else { Some(signed(high)?) };
        return high.is_none_or(|high| low <= high).then_some(Expect::Gained(low, high));
    }
    Some(Expect::Rows(Op::Eq, digits(text)?))
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn signed(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let rest = text.strip_prefix(['+', '-'])?;
    Some(sign * i64::try_from(digits(rest)?).ok()?)
}

fn percent(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let rest = number.strip_prefix(['+', '-'])?;
    let plain = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| number.parse().ok()).flatten()
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Any => f.write_str("any"),
            Expect::Absent => f.write_str("absent"),
            Expect::Rows(op, n) => {
                let word = OPS.iter().find(|(_, o)| o == op).map_or("=", |(word, _)| word);
                write!(f, "{word}{n}")
            }
            Expect::Gained(low, None) => write!(f, "{low:+}.."),
            Expect::Gained(low, Some(high)) if low == high => write!(f, "{low:+}"),
            Expect::Gained(low, Some(high)) => write!(f, "{low:+}..{high:+}"),
            Expect::GainedPercent(low, high) => write!(f, "{low:+}%..{high:+}%"),
        }
    }
}

/// On the wire a plain number of rows is a JSON number, everything else the text of the language.
impl Serialize for Expect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Expect::Rows(Op::Eq, n) => serializer.serialize_u64(*n),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expect, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = match &value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// `TABLE OP N` of `--expect`: the table's name as typed, and the expectation.
///
/// # Errors
/// The text has no operator, or what follows the name is no expectation.
pub fn parse_expect_flag(text: &str) -> Result<(String, Expect), BadExpect> {
    let at = text
        .find(['=', '!', '<', '>', '+'])
        .or_else(|| text.find(" -").map(|at| at + 1))
        .or_else(|| text.trim_end().rfind(' '))
        .ok_or_else(|| BadExpect(text.to_owned()))?;
    let (table, expect) = text.split_at(at);
    if table.trim().is_empty() {
        return Err(BadExpect(text.to_owned()));
    }
    Ok((table.trim().to_owned(), expect.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_prints_and_decides() {
        // text, rows now, rows at the cut, holds
        for (text, rows, cut, want) in [
            ("=1000", Some(1000), 5, true),
            ("1000", Some(999), 5, false),
            ("!=0", Some(1), 0, true),
            (">=11462", Some(11461), 0, false),
            ("< 5", Some(4), 0, true),
            ("<=5", Some(6), 0, false),
            (">0", Some(0), 0, false),
            ("+0", Some(10), 10, true),
            ("+0", Some(11), 10, false),
            ("+0..", Some(11), 10, true),
            ("+1..+500", Some(10), 10, false),
            ("-3", Some(7), 10, true),
            ("-5%..+5%", Some(95), 100, true),
            ("-5%..+5%", Some(94), 100, false),
            ("any", None, 10, true),
            ("absent", None, 10, true),
            ("absent", Some(0), 10, false),
            ("=0", None, 10, false),
        ] {
            let expect: Expect = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(expect.holds(rows, Some(cut)), want, "{text} on {rows:?} from {cut}");
            assert_eq!(expect.to_string().parse::<Expect>().unwrap(), expect, "{text}");
            let json = serde_json::to_string(&expect).unwrap();
            assert_eq!(serde_json::from_str::<Expect>(&json).unwrap(), expect, "{json}");
        }
    }

    #[test]
    fn what_is_no_expectation_is_refused() {
        for text in [
            "", "=", "=-1", "1e3", "==1", "+5..+1", "5%", "+a", "1.5", "=1 0", "many", "-..+1",
        ] {
            assert!(text.parse::<Expect>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_flag_names_a_table_and_an_expectation() {
        let at_least = Expect::Rows(Op::Ge, 100);
        assert_eq!(parse_expect_flag("d.t >= 100").unwrap(), ("d.t".into(), at_least));
        assert_eq!(parse_expect_flag("d.t>=100").unwrap(), ("d.t".into(), at_least));
        assert_eq!(
            parse_expect_flag("p-1.d.t any").unwrap(),
            ("p-1.d.t".into(), Expect::Any)
        );
        assert_eq!(
            parse_expect_flag("p-1.d.t -5").unwrap(),
            ("p-1.d.t".into(), Expect::Gained(-5, Some(-5)))
        );
        for text in ["d.t", ">= 100", "d.t => 1"] {
            assert!(parse_expect_flag(text).is_err(), "{text:?}");
        }
    }
}
