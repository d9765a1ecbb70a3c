//! PURE: a fingerprint of a table's rows: what it is, how it is written, how parts of it become one.
//!
//! It is made of three parts that no order of the rows changes: how many there are, the xor of a 64-bit hash of each,
//! and the sum of a 128-bit hash of each. The xor alone is blind to a row that is there twice more; the sum is not.
//! `columns` says what of a table is hashed, `choice` what was asked for, `query` how BigQuery is asked. Nothing here
//! asks.

pub mod choice;
pub mod columns;
pub mod partitions;
pub mod query;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::meta::integer;

/// What stands before a fingerprint, and in what is hashed: fingerprints of two versions do not compare.
pub const VERSION: &str = "v1";

/// What is left of the rows of a table, or of a part of it, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many rows there are.
    pub rows: u64,
    /// The xor of FarmHash's 64 bits of each row.
    pub xor: u64,
    /// The sum of SHA-256's first 128 bits of each row, modulo 2^128.
    pub sum: u128,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}:{}:{:016x}:{:032x}", self.rows, self.xor, self.sum)
    }
}

impl Fingerprint {
    /// The fingerprint of these rows and those.
    #[must_use]
    pub fn and(self, other: Fingerprint) -> Fingerprint {
        Fingerprint {
            rows: self.rows + other.rows,
            xor: self.xor ^ other.xor,
            sum: self.sum.wrapping_add(other.sum),
        }
    }

    /// Reads a row of [`query::query`]; `None`: it is none.
    fn of_row(row: &Map<String, Value>) -> Option<Fingerprint> {
        let rows = row.get("n").and_then(integer)?;
        // Of no rows BigQuery says null: it knows no empty sum.
        let text = |key: &str| match row.get(key)? {
            Value::Null => Some("0"),
            other => other.as_str(),
        };
        let mut sum = 0_u128;
        for key in query::WORDS {
            // A NUMERIC may be written with the zeros of its fraction.
            let text = text(key)?;
            let word: u128 = text.split_once('.').map_or(text, |(whole, _)| whole).parse().ok()?;
            sum = (sum << 32).wrapping_add(word);
        }
        let xor = text("x")?.parse::<i64>().ok()?.cast_unsigned();
        Some(Fingerprint { rows, xor, sum })
    }
}

/// The fingerprint of a table, and of each of its partitions if that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Print {
    /// Of the whole table.
    pub whole: Fingerprint,
    /// By partition ID; empty if it was not asked for, or there are none.
    pub partitions: BTreeMap<String, Fingerprint>,
}

impl Print {
    /// Reads the rows of [`query::query`]; `None`: they are none. `by_partition`: one for each partition, else a single one.
    pub fn of_rows(rows: &[Map<String, Value>], by_partition: bool) -> Option<Print> {
        if !by_partition && rows.len() != 1 {
            return None;
        }
        let mut print = Print::default();
        for row in rows {
            let part = Fingerprint::of_row(row)?;
            print.whole = print.whole.and(part);
            if let Some(partition) = row.get("p").and_then(Value::as_str) {
                print.partitions.insert(partition.to_owned(), part);
            }
        }
        Some(print)
    }

    /// The partitions whose rows are not the same in both, or that only one of them has.
    pub fn differing<'a>(&'a self, other: &'a Print) -> Vec<&'a str> {
        let all = self.partitions.keys().chain(other.partitions.keys());
        let mut differing: Vec<&str> = all
            .filter(|id| self.partitions.get(*id) != other.partitions.get(*id))
            .map(String::as_str)
            .collect();
        differing.sort_unstable();
        differing.dedup();
        differing
    }
}

/// Bytes for people, and exactly: `1.5 GiB (1610612736 bytes)`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = bytes as f64 / 1024.0;
    for unit in UNITS {
        if size < 1024.0 {
            return match bytes < 1024 {
                true => format!("{bytes} bytes"),
                false => format!("{size:.1} {unit} ({bytes} bytes)"),
            };
        }
        size /= 1024.0;
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn rows(value: Value) -> Vec<Map<String, Value>> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_words_of_the_sum_carry_into_one_another() {
        let told = rows(
            json!([{"n": "2", "x": "-1", "s0": "0", "s1": "1.000000000", "s2": "4294967296", "s3": "4294967297"}]),
        );
        let print = Print::of_rows(&told, false).unwrap();
        assert_eq!(
            print.whole.to_string(),
            "v1:2:ffffffffffffffff:00000000000000020000000100000001"
        );
        assert!(print.partitions.is_empty());
        // What is over 128 bits falls off, and only that.
        let told = rows(json!([{"n": "2", "x": "0", "s0": "4294967296", "s1": "0", "s2": "0", "s3": "7"}]));
        assert_eq!(Print::of_rows(&told, false).unwrap().whole.sum, 7);
    }

    #[test]
    fn no_rows_are_zeros_and_what_is_no_number_is_no_fingerprint() {
        let none = rows(json!([{"n": "0", "x": null, "s0": null, "s1": null, "s2": null, "s3": null}]));
        assert_eq!(Print::of_rows(&none, false), Some(Print::default()));
        assert_eq!(Print::of_rows(&[], true), Some(Print::default()), "no partitions");
        assert_eq!(Print::of_rows(&[], false), None, "an answer that was lost");
        for key in ["n", "x", "s0", "s3"] {
            let mut row = rows(json!([{"n": "1", "x": "1", "s0": "1", "s1": "1", "s2": "1", "s3": "1"}]));
            row[0].insert(key.to_owned(), json!("many"));
            assert_eq!(Print::of_rows(&row, false), None, "{key}");
            row[0].remove(key);
            assert_eq!(Print::of_rows(&row, false), None, "{key}");
        }
    }

    #[test]
    fn partitions_that_differ_are_named() {
        let row = |p: &str, x: &str| json!({"p": p, "n": "1", "x": x, "s0": "0", "s1": "0", "s2": "0", "s3": "1"});
        let before = Print::of_rows(
            &rows(json!([
                row("20260101", "1"),
                row("20260102", "2"),
                row("20260103", "3")
            ])),
            true,
        );
        let now = Print::of_rows(
            &rows(json!([
                row("20260102", "2"),
                row("20260103", "4"),
                row("20260104", "1")
            ])),
            true,
        );
        let (before, now) = (before.unwrap(), now.unwrap());
        assert_eq!(before.differing(&now), ["20260101", "20260103", "20260104"]);
        assert_eq!(before.differing(&before), Vec::<&str>::new());
        let whole = Fingerprint {
            rows: 3,
            xor: 0,
            sum: 3,
        };
        assert_eq!(before.whole, whole);
    }

    #[test]
    fn bytes_are_for_people() {
        for (n, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB (1536 bytes)"),
            (3 << 40, "3.0 TiB (3298534883328 bytes)"),
            (u64::MAX, "18446744073709551615 bytes"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the parts and their order, the whole is one.
        #[test]
        fn parts_add_up_in_any_order(parts in proptest::collection::vec(any::<(u32, u64, u128)>(), 0..8), turn in 0..8_usize) {
            let one = |&(rows, xor, sum): &(u32, u64, u128)| Fingerprint { rows: rows.into(), xor, sum };
            let whole = |parts: &[(u32, u64, u128)]| parts.iter().map(one).fold(Fingerprint::default(), Fingerprint::and);
            let mut turned = parts.clone();
            turned.rotate_left(turn.min(parts.len()));
            prop_assert_eq!(whole(&parts), whole(&turned));
        }
    }
}
