//! PURE: what a file's name says: its format, the table it may be of, when it was made, and whether it is a part of a larger export.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::names::TableRef;

/// How a file holds its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// One JSON object a line.
    Json,
    /// Avro's container file.
    Avro,
    /// Parquet.
    Parquet,
}

impl Format {
    /// BigQuery's word for it.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad>.
    pub fn api(self) -> &'static str {
        match self {
            Format::Csv => "CSV",
            Format::Json => "NEWLINE_DELIMITED_JSON",
            Format::Avro => "AVRO",
            Format::Parquet => "PARQUET",
        }
    }
}

/// A part of an export that is several files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    /// Counted from 0.
    pub(super) number: u32,
    /// Of so many, if the name says that.
    pub(super) of: Option<u32>,
}

/// A file's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name<'n> {
    /// Without ending and part.
    pub(super) stem: &'n str,
    pub(super) format: Format,
    pub(super) gzip: bool,
    pub(super) part: Option<Part>,
}

/// Takes a file's name apart; `None`: no such file holds a table. Endings are told in any case, names as BigQuery tells them.
pub(super) fn read(file: &str) -> Option<Name<'_>> {
    let (stem, ending) = file.rsplit_once('.')?;
    let zipped = matches!(ending.to_ascii_lowercase().as_str(), "gz" | "gzip");
    let (stem, ending) = if zipped { stem.rsplit_once('.')? } else { (stem, ending) };
    let format = match ending.to_ascii_lowercase().as_str() {
        "csv" => Format::Csv,
        "json" | "jsonl" | "ndjson" => Format::Json,
        // BigQuery reads their blocks compressed, and not the file.
        "avro" if !zipped => Format::Avro,
        "parquet" if !zipped => Format::Parquet,
        _ => return None,
    };
    let (stem, part) = part_of(stem);
    Some(Name {
        stem,
        format,
        gzip: zipped,
        part,
    })
}

/// `orders-000000000003`, as BigQuery's own exports are called, and `orders-00003-of-00010`, as Beam's and Spark's are.
/// Source: <https://docs.cloud.google.com/bigquery/docs/exporting-data#exporting_data_into_one_or_more_files>.
fn part_of(stem: &str) -> (&str, Option<Part>) {
    let digits = |text: &str, many: usize| -> Option<u32> {
        let all = text.len() == many && text.bytes().all(|b| b.is_ascii_digit());
        all.then(|| text.parse().ok()).flatten()
    };
    let bare = |text: &'_ str| -> usize { text.trim_end_matches(['-', '_', '.']).len() };
    if let Some((rest, of)) = stem.rsplit_once("-of-")
        && let Some(of) = digits(of, 5)
        && let Some(at) = rest.len().checked_sub(5)
        && let Some(number) = rest.get(at..).and_then(|text| digits(text, 5))
    {
        return (&rest[..bare(&rest[..at])], Some(Part { number, of: Some(of) }));
    }
    // A date and time may have twelve digits too, and never begins so.
    if let Some(at) = stem.len().checked_sub(12)
        && let Some(number) = stem
            .get(at..)
            .filter(|t| t.starts_with("00"))
            .and_then(|t| digits(t, 12))
        && !stem[..at].ends_with(|c: char| c.is_ascii_digit())
    {
        return (&stem[..bare(&stem[..at])], Some(Part { number, of: None }));
    }
    (stem, None)
}

/// How a name fits a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fit<'n> {
    /// Whether it names the dataset too.
    pub(super) qualified: bool,
    /// What follows the table's name.
    pub(super) rest: &'n str,
}

/// Whether a stem is that of a table: `orders`, `sales.orders`, `my-project.sales.orders`, and whatever follows after a separator.
pub(super) fn fit<'n>(stem: &'n str, table: &TableRef) -> Option<Fit<'n>> {
    let (project, dataset, name) = (&table.project, &table.dataset, &table.table);
    let forms = [
        (format!("{project}.{dataset}.{name}"), true),
        (format!("{project}:{dataset}.{name}"), true),
        (format!("{dataset}.{name}"), true),
        (name.to_string(), false),
    ];
    forms.into_iter().find_map(|(form, qualified)| {
        let rest = stem.strip_prefix(&form)?;
        let ends = rest.chars().next().is_none_or(|c| !c.is_alphanumeric());
        ends.then_some(Fit { qualified, rest })
    })
}

/// Whether what follows a table's name may be the end of another table's name: it is more than dates, numbers and words for a copy.
pub(super) fn is_doubtful(rest: &str) -> bool {
    const COPIES: [&str; 9] = [
        "backup", "bak", "export", "dump", "full", "snapshot", "copy", "archive", "data",
    ];
    let words = rest
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let plain = |word: &str| {
        let word = word.to_ascii_lowercase();
        let digits = word.trim_start_matches('v').trim_end_matches('z');
        COPIES.contains(&word.as_str()) || digits.bytes().all(|b| b.is_ascii_digit() || b == b't')
    };
    !words.into_iter().all(plain)
}

/// The day, and the time if it follows, that a name says: `20260131`, `2026-01-31`, `20260131_235959`, `2026-01-31T23-59-59Z`; in UTC.
pub(super) fn made_at(rest: &str) -> Option<Timestamp> {
    let bytes = rest.as_bytes();
    let starts =
        (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[at - 1].is_ascii_digit()));
    starts.into_iter().find_map(|at| {
        let mut digits = Digits { bytes, at };
        let date = Date::new(
            i16::try_from(digits.take(4)?)
                .ok()
                .filter(|year| (1990..=2100).contains(year))?,
            i8::try_from(digits.take(2)?).ok()?,
            i8::try_from(digits.take(2)?).ok()?,
        );
        let date = date.ok()?;
        let mut clock = || Some([digits.take(2)?, digits.take(2)?, digits.take(2).unwrap_or(0)]);
        let time = clock().and_then(|[h, m, s]| {
            Time::new(i8::try_from(h).ok()?, i8::try_from(m).ok()?, i8::try_from(s).ok()?, 0).ok()
        });
        let at = DateTime::from_parts(date, time.unwrap_or_else(Time::midnight));
        at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
    })
}

/// Reads digits, at most one separator between two takes.
struct Digits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Digits<'_> {
    fn take(&mut self, many: usize) -> Option<u32> {
        let separated = matches!(
            self.bytes.get(self.at),
            Some(b'-' | b'_' | b'.' | b':' | b'T' | b't' | b' ')
        );
        let from = self.at + usize::from(separated);
        let digits = self.bytes.get(from..from + many)?;
        let number = std::str::from_utf8(digits)
            .ok()
            .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        self.at = from + many;
        number.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    #[test]
    fn endings_tell_the_format() {
        for (file, want) in [
            ("orders.csv", Some(("orders", Format::Csv, false))),
            ("orders_2026.CSV.GZ", Some(("orders_2026", Format::Csv, true))),
            (
                "sales.orders-20260101.jsonl",
                Some(("sales.orders-20260101", Format::Json, false)),
            ),
            ("orders.json", Some(("orders", Format::Json, false))),
            ("orders.ndjson.gz", Some(("orders", Format::Json, true))),
            ("orders.avro", Some(("orders", Format::Avro, false))),
            ("orders.parquet", Some(("orders", Format::Parquet, false))),
            ("orders.avro.gz", None),
            ("orders.csv.bz2", None),
            ("orders.sql", None),
            ("orders", None),
            (".gz", None),
        ] {
            let read = read(file).map(|name| (name.stem, name.format, name.gzip));
            assert_eq!(read, want, "{file}");
        }
    }

    #[test]
    fn parts_of_an_export_are_numbered() {
        for (file, stem, part) in [
            ("orders-000000000002.csv", "orders", Some((2, None))),
            ("orders_000000000000.csv.gz", "orders", Some((0, None))),
            ("000000000001.avro", "", Some((1, None))),
            ("orders-00001-of-00004.parquet", "orders", Some((1, Some(4)))),
            ("orders-202601011530.csv", "orders-202601011530", None),
            ("orders-1-of-2.csv", "orders-1-of-2", None),
            ("orders-9000000000001.csv", "orders-9000000000001", None),
        ] {
            let name = read(file).unwrap();
            assert_eq!((name.stem, name.part.map(|p| (p.number, p.of))), (stem, part), "{file}");
        }
    }

    #[test]
    fn a_name_fits_its_table() {
        let orders = table("p.sales.orders");
        for (stem, want) in [
            ("orders", Some((false, ""))),
            ("orders_items", Some((false, "_items"))),
            ("orders-20260101", Some((false, "-20260101"))),
            ("sales.orders", Some((true, ""))),
            ("p.sales.orders.backup", Some((true, ".backup"))),
            ("p:sales.orders", Some((true, ""))),
            ("orders2", None),
            ("Orders", None),
            ("my_orders", None),
            ("other.orders", None),
        ] {
            let fits = fit(stem, &orders).map(|fit| (fit.qualified, fit.rest));
            assert_eq!(fits, want, "{stem}");
        }
    }

    #[test]
    fn what_follows_a_name_may_be_another_tables() {
        for rest in [
            "",
            "_2026-01-01",
            "-20260101T120000Z",
            "_backup",
            ".full_v2",
            "_20260101_120000",
            "_000123",
        ] {
            assert!(!is_doubtful(rest), "{rest}");
        }
        for rest in ["_items", "-backup_items", "_2026_eu"] {
            assert!(is_doubtful(rest), "{rest}");
        }
    }

    #[test]
    fn a_date_in_a_name_is_when_it_was_made() {
        for (rest, want) in [
            ("_20260131", Some("2026-01-31T00:00:00Z")),
            ("-2026-01-31", Some("2026-01-31T00:00:00Z")),
            ("_20260131_235958", Some("2026-01-31T23:59:58Z")),
            ("_2026-01-31T23-59-58Z", Some("2026-01-31T23:59:58Z")),
            ("_202601312359", Some("2026-01-31T23:59:00Z")),
            ("_v2_20260131", Some("2026-01-31T00:00:00Z")),
            ("_20261331", None),
            ("_17", None),
            ("", None),
            ("_é20260131", Some("2026-01-31T00:00:00Z")),
        ] {
            assert_eq!(made_at(rest).map(|at| at.to_string()).as_deref(), want, "{rest}");
        }
    }
}
