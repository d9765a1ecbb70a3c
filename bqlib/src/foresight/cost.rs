//! PURE: how much of a migration was validated, what it reads, and what that is about to cost.

use std::str::FromStr;

use super::answer::Verdict;

/// What BigQuery asks for a TiB on demand in the US multi-region, in US dollars, as listed in September 2026.
/// Source: <https://cloud.google.com/bigquery/pricing>.
pub const LIST_PRICE: &str = "6.25";

const TIB: f64 = (1_u64 << 40) as f64;

/// US dollars for a TiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price(pub f64);

impl FromStr for Price {
    type Err = String;
    fn from_str(text: &str) -> Result<Price, String> {
        let price: f64 = text
            .parse()
            .map_err(|_| format!("`{}` is no price", text.escape_debug()))?;
        match price.is_finite() && price >= 0.0 {
            true => Ok(Price(price)),
            false => Err(format!("`{}` is no price", text.escape_debug())),
        }
    }
}

impl Price {
    /// Of so many bytes, in US dollars, rounded up to the millionth: what is not free is not $0.
    pub fn of(self, bytes: u64) -> f64 {
        let dollars = bytes as f64 / TIB * self.0;
        (dollars * 1e6).ceil() / 1e6
    }
}

/// An amount of money, for people: to the cent, and below one as it is.
pub fn dollars(amount: f64) -> String {
    match amount {
        0.0 => "$0".to_owned(),
        amount if amount < 0.01 => "less than $0.01".to_owned(),
        amount => format!("${amount:.2}"),
    }
}

/// A share of the statements that need validation, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage(f64);

impl FromStr for Coverage {
    type Err = String;
    /// `80%` or `80`.
    fn from_str(text: &str) -> Result<Coverage, String> {
        let bad = || format!("`{}` is no percentage from 0 to 100", text.escape_debug());
        let number: f64 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| bad())?;
        match (0.0..=100.0).contains(&number) {
            true => Ok(Coverage(number)),
            false => Err(bad()),
        }
    }
}

/// How many statements were validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of those that need it.
    pub validated: u64,
    /// Of which it cannot be known.
    pub not_knowable: u64,
    /// Found wrong.
    pub wrong: u64,
}

impl Tally {
    /// In whole percent, rounded down: only when all are is it a hundred. A script of which nothing needs validation has all of it.
    pub fn percent(self) -> u64 {
        let all = self.validated + self.not_knowable + self.wrong;
        match all {
            0 => 100,
            all => self.validated * 100 / all,
        }
    }

    /// Whether it is no less than was asked for.
    pub fn is_enough(self, least: Coverage) -> bool {
        let all = self.validated + self.not_knowable + self.wrong;
        all == 0 || self.validated as f64 * 100.0 >= least.0 * all as f64
    }
}

impl std::ops::Add for Tally {
    type Output = Tally;
    fn add(self, other: Tally) -> Tally {
        Tally {
            validated: self.validated + other.validated,
            not_knowable: self.not_knowable + other.not_knowable,
            wrong: self.wrong + other.wrong,
        }
    }
}

/// Of these verdicts.
pub fn tally<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> Tally {
    let mut tally = Tally::default();
    for verdict in verdicts {
        match verdict {
            Verdict::Validated => tally.validated += 1,
            Verdict::NotKnowable(_) | Verdict::MayFail(..) => tally.not_knowable += 1,
            Verdict::Wrong(..) => tally.wrong += 1,
            Verdict::NoNeed => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_compared_exactly() {
        for (validated, not_knowable, percent) in [(1, 0, 100), (0, 0, 100), (0, 2, 0), (2, 1, 66), (199, 1, 99)] {
            let tally = Tally {
                validated,
                not_knowable,
                wrong: 0,
            };
            assert_eq!(tally.percent(), percent);
        }
        let two_of_three = Tally {
            validated: 2,
            not_knowable: 1,
            wrong: 0,
        };
        for (least, enough) in [
            ("66%", true),
            ("66.6", true),
            ("66.7%", false),
            ("67", false),
            ("0", true),
        ] {
            assert_eq!(two_of_three.is_enough(least.parse().unwrap()), enough, "{least}");
        }
        for bad in ["", "%", "-1", "101", "eighty", "8 0", "NaN", "80%%"] {
            assert!(bad.parse::<Coverage>().is_err(), "{bad}");
        }
    }

    #[test]
    fn money_is_about_and_never_more_exact_than_it_is() {
        let list: Price = LIST_PRICE.parse().unwrap();
        assert_eq!(list.of(1 << 40), 6.25);
        assert_eq!(list.of(0), 0.0);
        assert_eq!(dollars(list.of(24)), "less than $0.01");
        for (amount, said) in [
            (0.0, "$0"),
            (0.000_01, "less than $0.01"),
            (0.01, "$0.01"),
            (12.345, "$12.35"),
            (6.25, "$6.25"),
        ] {
            assert_eq!(dollars(amount), said);
        }
        for bad in ["", "x", "-1", "inf", "NaN", "$6"] {
            assert!(bad.parse::<Price>().is_err(), "{bad}");
        }
    }
}
