//! What a row count must be: the little language of `records`, `after` and `--expect`.
//!
//! Pure; knows no table and no query. How it is read, and what is said of a text that is none, is in `parse`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod parse;

pub use parse::{BadExpect, parse_expect_flag};

/// An expectation of a row count, against a number or against the count at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `any`: whatever it is.
    Any,
    /// `absent`: the table does not exist.
    Absent,
    /// `=1000`, `!=0`, `>=11462`: against a number of rows.
    Rows(Op, u64),
    /// `+0`, `+1..+500`, `+0..`: rows gained since the cut, from and to, both included.
    Gained(i64, Option<i64>),
    /// `-5%..+5%`, `-5%..`: gained since the cut in percent of the rows at the cut, both included.
    GainedPercent(Percent, Option<Percent>),
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

    /// Whether it is said from the rows at the cut, without which nobody can tell.
    pub fn is_from_the_cut(&self) -> bool {
        matches!(self, Expect::Gained(..) | Expect::GainedPercent(..))
    }

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
                let against = |percent: Percent| percent.compare(gained, cut.unwrap_or(0));
                against(low).is_ge() && high.is_none_or(|high| against(high).is_le())
            }
        }
    }
}

/// A percentage, exactly: no share of a row is lost at a border, nor of a count that a float does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(i64);

/// The parts that a percent has: six digits after the point.
const PARTS: i64 = 1_000_000;

impl Percent {
    /// `gained` against this much of `cut`.
    fn compare(self, gained: i128, cut: u64) -> Ordering {
        // At most 2^64 times 2^63 on the right and 2^64 times 10^8 on the left: both fit.
        (gained * 100 * i128::from(PARTS)).cmp(&(i128::from(cut) * i128::from(self.0)))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let (whole, parts) = (
            self.0.unsigned_abs() / PARTS as u64,
            self.0.unsigned_abs() % PARTS as u64,
        );
        let fraction = format!("{parts:06}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}%"),
            fraction => write!(f, "{sign}{whole}.{fraction}%"),
        }
    }
}

impl FromStr for Expect {
    type Err = BadExpect;

    fn from_str(text: &str) -> Result<Expect, BadExpect> {
        parse::expectation(text)
    }
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
            Expect::GainedPercent(low, None) => write!(f, "{low}.."),
            Expect::GainedPercent(low, Some(high)) if low == high => write!(f, "{low}"),
            Expect::GainedPercent(low, Some(high)) => write!(f, "{low}..{high}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_reads_prints_and_decides() {
        // text, rows now, rows at the cut, holds
        for (text, rows, cut, want) in [
            ("=1000", Some(1000), 5, true),
            ("1000", Some(999), 5, false),
            ("!=0", Some(1), 0, true),
            (">=11462", Some(11461), 0, false),
            (">=11462", Some(11462), 0, true),
            ("< 5", Some(4), 0, true),
            ("< 5", Some(5), 0, false),
            ("<=5", Some(5), 0, true),
            ("<=5", Some(6), 0, false),
            (">0", Some(0), 0, false),
            (">0", Some(1), 0, true),
            ("+0", Some(10), 10, true),
            ("+0", Some(11), 10, false),
            ("+0..", Some(11), 10, true),
            ("+1..+500", Some(10), 10, false),
            ("+1..+500", Some(510), 10, true),
            ("+1..+500", Some(511), 10, false),
            ("+1..+1", Some(11), 10, true),
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
    fn a_percentage_is_exact_at_its_border() {
        let holds = |text: &str, rows: u64, cut: u64| text.parse::<Expect>().unwrap().holds(Some(rows), Some(cut));
        let big = u64::MAX / 100 * 100;
        for (text, rows, cut, want) in [
            ("-5%..+5%", 105, 100, true),
            ("-5%..+5%", 106, 100, false),
            ("-5%..", 95, 100, true),
            ("-5%..", 94, 100, false),
            ("+0.1%", 1001, 1000, true),
            ("+0.1%..+0.3%", 1003, 1000, true),
            ("+0.1%..+0.3%", 1004, 1000, false),
            ("+7%", 107, 100, true),
            // The border lies between two rows: 1.5 of 30.
            ("+5%..", 31, 30, false),
            ("+5%..", 32, 30, true),
            ("-50%..-5%", 29, 30, false),
            ("-50%..-5%", 28, 30, true),
            ("+5%", 31, 30, false),
            // A float holds neither count: they are above 2 to the 53rd.
            ("+0%", (1 << 53) + 1, 1 << 53, false),
            ("-100%..+0%", (1 << 60) + 1, 1 << 60, false),
            ("-1%..+0%", big - big / 100, big, true),
            ("-1%..+0%", big - big / 100 - 1, big, false),
            ("-5%..+5%", 0, 0, true),
            ("-5%..+5%", 1, 0, false),
            ("+9223372036854%", u64::MAX, u64::MAX, false),
            ("-9223372036854%..", u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(holds(text, rows, cut), want, "{text} of {rows} from {cut}");
        }
    }

    fn any_expectation() -> impl Strategy<Value = Expect> {
        let op = proptest::sample::select(OPS.map(|(_, op)| op).to_vec());
        let percent = || any::<i64>().prop_map(|parts| Percent(parts.max(-i64::MAX)));
        let rows = || any::<i64>().prop_map(|rows| rows.max(-i64::MAX));
        prop_oneof![
            Just(Expect::Any),
            Just(Expect::Absent),
            (op, any::<u64>()).prop_map(|(op, n)| Expect::Rows(op, n)),
            (rows(), proptest::option::of(rows()))
                .prop_map(|(a, b)| Expect::Gained(b.map_or(a, |b| a.min(b)), b.map(|b| a.max(b)))),
            (percent(), proptest::option::of(percent()))
                .prop_map(|(a, b)| Expect::GainedPercent(b.map_or(a, |b| a.min(b)), b.map(|b| a.max(b)))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_printed_is_read_again(expect in any_expectation()) {
            prop_assert_eq!(expect.to_string().parse::<Expect>().ok(), Some(expect), "{}", expect);
            let json = serde_json::to_string(&expect).unwrap();
            prop_assert_eq!(serde_json::from_str::<Expect>(&json).unwrap(), expect, "{}", json);
            let (table, read) = parse_expect_flag(&format!("p-1.d.t {expect}")).unwrap();
            prop_assert_eq!((table.as_str(), read), ("p-1.d.t", expect));
        }
    }
}
