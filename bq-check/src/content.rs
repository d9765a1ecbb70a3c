//! `--content`: whether the rows of protected tables are still those of their snapshots, by fingerprint.
//!
//! Over the columns that a table had at the cut: what was added since is the schema check's. Whether it may be asked,
//! and how it compares, is decided here; the asking is `bqlib::scan`'s.

use std::collections::BTreeMap;

use bqlib::api::{Api, ApiError, Table};
use bqlib::exit::{Exit, Failure};
use bqlib::expect::Expect;
use bqlib::fingerprint::choice::{Choices, Flags as What};
use bqlib::fingerprint::columns::{Columns, Unfit, has};
use bqlib::fingerprint::partitions::Partitions;
use bqlib::fingerprint::query::{Asked as Query, query};
use bqlib::meta::TableMeta;
use bqlib::names::TableRef;
use bqlib::record::{Check, Severity, Snapshot};
use bqlib::runs::look;
use bqlib::scan::{self, Scan, Scanned};
use bqlib::sql::{AsOf, Counted, Labels, lives};
use bqlib::tool::Tool;
use serde_json::json;

use crate::checks::Now;
use crate::questions::asked_in_vain;

/// The name of such a check.
pub(crate) const NAME: &str = "content";

/// Stands for all tables: no table has this name.
const ALL: &str = "*";

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// The rows of protected tables must be those of the cut, by fingerprint: all tables, or this one; repeatable
    #[arg(long, value_name = "TABLE", num_args = 0..=1, require_equals = true, default_missing_value = ALL,
          conflicts_with_all = ["accept", "reject"])]
    content: Vec<String>,
    #[command(flatten)]
    pub(crate) what: What,
}

/// Which tables are compared, and what of them.
pub(crate) struct Asked {
    /// None: all.
    tables: Option<Vec<TableRef>>,
    what: What,
}

/// Reads the flags; `None`: nothing was asked. `scans`: other queries were, which the limit of bytes is for, too.
///
/// # Errors
/// A name that is none, or a flag that means nothing here (2).
pub(crate) fn read(flags: &Flags, t: &Tool, scans: bool) -> Result<Option<Asked>, Failure> {
    if flags.content.is_empty() {
        flags.what.refuse_without("--content", scans)?;
        return Ok(None);
    }
    let named = flags.content.iter().filter(|name| *name != ALL).map(|name| {
        TableRef::parse(name, t.named_project())
            .map_err(|e| Failure::usage(e.to_string(), "--content", "for example `--content=dataset.table`"))
    });
    let named: Vec<TableRef> = named.collect::<Result<_, _>>()?;
    // What is no list of columns is wrong whatever the stream says; whether there are such columns, it says.
    Choices::read(&flags.what, &[], t.named_project())?;
    Ok(Some(Asked {
        tables: (named.len() == flags.content.len()).then_some(named),
        what: flags.what.clone(),
    }))
}

/// The protected tables that are compared.
///
/// # Errors
/// A table was named that is not protected, or was not there at the cut (2).
pub(crate) fn chosen<'a>(asked: &Asked, snapshots: &'a [Snapshot]) -> Result<Vec<&'a Snapshot>, Failure> {
    let there = || snapshots.iter().filter(|s| !s.absent);
    let Some(named) = &asked.tables else {
        // What is to be gone has no content to keep.
        let kept: Vec<&Snapshot> = there().filter(|s| s.after != Some(Expect::Absent)).collect();
        return match kept.is_empty() {
            false => Ok(kept),
            true => Err(Failure::usage(
                "no table of the stream was there at the cut and is to stay: there is no content to compare",
                "--content",
                "leave it out",
            )),
        };
    };
    let one = |table: &TableRef| {
        there().find(|s| s.table == *table).ok_or_else(|| {
            let what = match snapshots.iter().any(|s| s.absent && s.table == *table) {
                true => format!("`{table}` did not exist at the cut: there is no content to compare"),
                false => format!("`{table}` has no snapshot in the stream"),
            };
            Failure::usage(
                what,
                "--content",
                "name a table that was protected, and was there at the cut",
            )
        })
    };
    let mut chosen: Vec<&Snapshot> = Vec::new();
    for table in named {
        let snapshot = one(table)?;
        if !chosen.iter().any(|s| s.table == *table) {
            chosen.push(snapshot);
        }
    }
    Ok(chosen)
}

/// The refusal (2) of a stream of counts.
pub(crate) fn no_snapshots() -> Failure {
    let what = "the stream holds counts, and no snapshots to compare contents with";
    Failure::usage(what, "--content", "begin the line with bq-snap, or leave it out")
}

/// A table whose snapshot and rows are scanned.
struct Pair<'a> {
    snapshot: &'a Snapshot,
    /// The scan of the snapshot, and that of the table.
    scans: [Scan; 2],
    per_partition: bool,
    /// The columns that are compared, if not all.
    columns: Option<Vec<String>>,
    /// How many rows the snapshot holds, as bq-snap counted them.
    held: Option<u64>,
}

/// Asks it of each chosen table: a check each in their order, and the gravest code of what could not be asked.
pub(crate) async fn ask(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    snapshots: &[Snapshot],
    now: &BTreeMap<TableRef, Option<Now>>,
    asked: &Asked,
) -> Result<(Vec<Check>, Exit), Failure> {
    let chosen = chosen(asked, snapshots)?;
    let copies = look(api, t.jobs, chosen.iter().filter_map(|s| s.snapshot.as_ref())).await?;
    let held: Vec<Option<TableMeta>> = chosen
        .iter()
        .map(|s| copies.get(s.snapshot.as_ref()?)?.as_ref().map(Table::meta))
        .collect();
    let tables: Vec<&TableRef> = chosen.iter().map(|s| &s.table).collect();
    let choices = Choices::read(&asked.what, &tables, t.named_project())?;
    let known: Vec<_> = tables
        .iter()
        .zip(&held)
        .filter_map(|(table, meta)| Some((*table, meta.as_ref()?)))
        .collect();
    if known.len() == tables.len() {
        choices.refuse_unknown(&known)?;
    }
    let mut checks = Vec::new();
    let mut pairs = Vec::new();
    for (snapshot, held) in chosen.iter().zip(&held) {
        let now = now.get(&snapshot.table).and_then(Option::as_ref);
        match pair(t, api, snapshot, held.as_ref(), now, asked, &choices) {
            Ok(pair) => {
                // Its place among the checks, until it is answered.
                checks.push(check(snapshot, None, String::new(), String::new()));
                pairs.push((checks.len() - 1, pair));
            }
            Err(said) => checks.push(*said),
        }
    }
    let (answers, trouble) = compare(t, api, labels, &pairs, asked.what.max_bytes_billed).await;
    for (place, answer) in answers {
        if let Some(check) = checks.get_mut(place) {
            *check = answer;
        }
    }
    Ok((checks, trouble))
}

fn check(snapshot: &Snapshot, ok: Option<bool>, want: String, got: String) -> Check {
    Check {
        run: Some(snapshot.run.clone()),
        name: NAME.to_owned(),
        table: Some(snapshot.table.clone()),
        ok,
        severity: Severity::Error,
        want: if want.is_empty() {
            "as at the cut".to_owned()
        } else {
            want
        },
        got,
        detail: None,
    }
}

/// What is to be scanned of a table; or, where that is known without a scan, its check.
fn pair<'a>(
    t: &Tool,
    api: &Api<'_>,
    snapshot: &'a Snapshot,
    held: Option<&TableMeta>,
    now: Option<&Now>,
    asked: &Asked,
    choices: &Choices,
) -> Result<Pair<'a>, Box<Check>> {
    let say = |ok, got: String| Box::new(check(snapshot, ok, String::new(), got));
    let (Some(held), Some(copy)) = (held, &snapshot.snapshot) else {
        return Err(say(None, "could not be asked: the snapshot is gone".to_owned()));
    };
    let now = now.ok_or_else(|| say(Some(false), "no such table".to_owned()))?;
    if now.kind != "TABLE" {
        return Err(say(Some(false), format!("a {}", now.kind_in_words())));
    }
    let columns = Columns::of(held, &choices.of(&snapshot.table)).map_err(|unfit| {
        let hint = match &unfit {
            Unfit::Unknown { column, .. } => format!("; leave it out with `--except-columns {column}`"),
            Unfit::Nothing => String::new(),
        };
        say(None, format!("could not be asked: {unfit}{hint}"))
    })?;
    let (before, after) = columns.at_the_cut_and_now(&now.meta).map_err(|found| {
        let mut check = say(Some(false), found.join("; "));
        check.detail = Some(json!(found));
        check
    })?;
    let partitions = Partitions::of(held).filter(|_| asked.what.per_partition);
    if let Some(by) = &partitions
        && !has(&now.meta, &[by.column().to_lowercase()])
    {
        let got = format!("{}, by which it was partitioned, is gone", by.column());
        return Err(say(Some(false), got));
    }
    let only = living(api, snapshot, &now.meta);
    let scan = |table: &TableRef, as_of, meta: &TableMeta, columns: &Columns| Scan {
        table: table.clone(),
        location: t.location.clone().or_else(|| held.location()),
        sql: query(&Query {
            table: &Counted::new(table, as_of, Some(meta)),
            columns,
            by: partitions.as_ref(),
            only: only.as_deref(),
        }),
        by_partition: partitions.is_some(),
    };
    Ok(Pair {
        snapshot,
        scans: [
            scan(copy, AsOf::Plain, held, &before),
            scan(&snapshot.table, AsOf::Now, &now.meta, &after),
        ],
        per_partition: partitions.is_some(),
        columns: columns.restricted(),
        // Of a snapshot whose expired partitions are left out nothing is known beforehand.
        held: snapshot.rows.filter(|_| only.is_none()),
    })
}

/// Of which rows the partition has not expired: those that have may be missed, in the table and so in the snapshot.
fn living(api: &Api<'_>, snapshot: &Snapshot, now: &TableMeta) -> Option<String> {
    let meta = snapshot.meta.as_ref()?;
    let (column, unit) = meta.time_partitioning()?;
    let lives_ms = meta.partition_expiration_ms()?;
    (now.time_partitioning()? == (column.clone(), unit.clone())).then(|| lives(&column, &unit, lives_ms, api.now()))
}

/// Scans and compares; the checks by their places.
async fn compare(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    pairs: &[(usize, Pair<'_>)],
    limit: Option<u64>,
) -> (Vec<(usize, Check)>, Exit) {
    let (mut checks, mut trouble) = (Vec::new(), Exit::Ok);
    let unasked = |(place, pair): &(usize, Pair), got: String| (*place, check(pair.snapshot, None, String::new(), got));
    let scans: Vec<Scan> = pairs.iter().flat_map(|(_, pair)| pair.scans.clone()).collect();
    let mut foreseen = scan::foresee(t, api, labels, &scans).await.into_iter();
    let (mut able, mut processed) = (Vec::new(), Vec::new());
    for pair in pairs {
        match (foreseen.next(), foreseen.next()) {
            (Some(Ok(before)), Some(Ok(after))) => {
                processed.extend([before, after]);
                able.push(pair);
            }
            (Some(Err(e)), _) | (_, Some(Err(e))) => {
                trouble = trouble.or_graver(asked_in_vain(&e));
                checks.push(unasked(pair, format!("could not be asked: {e}")));
            }
            _ => {}
        }
    }
    if able.is_empty() {
        return (checks, trouble);
    }
    if let Err(refused) = scan::announce(t, &processed, able.len(), limit) {
        let got = format!("could not be asked: {} ({})", refused.what, refused.at);
        checks.extend(able.into_iter().map(|pair| unasked(pair, got.clone())));
        return (checks, trouble);
    }
    let scans: Vec<Scan> = able.iter().flat_map(|(_, pair)| pair.scans.clone()).collect();
    let mut found = scan::scan(t, api, labels, &scans, limit).await.into_iter();
    let mut billed = 0;
    for (place, pair) in able {
        let (before, after) = (found.next().flatten(), found.next().flatten());
        for one in [&before, &after].into_iter().flatten() {
            match one {
                Ok(scanned) => billed += scanned.billed,
                Err(e) => trouble = trouble.or_graver(asked_in_vain(e)),
            }
        }
        checks.push((*place, verdict(pair, before, after)));
    }
    t.tell(&format!("{billed} bytes billed for fingerprints"));
    (checks, trouble)
}

type Answer = Option<Result<Scanned, ApiError>>;

fn verdict(pair: &Pair, before: Answer, after: Answer) -> Check {
    let (before, after) = match (before, after) {
        (Some(Ok(before)), Some(Ok(after))) => (before.print, after.print),
        (Some(Err(e)), _) | (_, Some(Err(e))) => {
            return check(pair.snapshot, None, String::new(), format!("could not be asked: {e}"));
        }
        _ => {
            let got = "could not be asked: another table's scan failed".to_owned();
            return check(pair.snapshot, None, String::new(), got);
        }
    };
    // Whoever may not see the rows, by a row access policy, would find two empty tables the same.
    if let Some(held) = pair.held.filter(|held| *held != before.whole.rows) {
        let got = format!(
            "could not be asked: the snapshot holds {held} rows, and {} of them are shown",
            before.whole.rows
        );
        return check(pair.snapshot, None, String::new(), got);
    }
    let ok = before.whole == after.whole;
    let mut got = match ok {
        true => "the same".to_owned(),
        false => after.whole.to_string(),
    };
    let differing = before.differing(&after);
    match differing.len() {
        0 => {}
        1 => got.push_str("; 1 partition differs"),
        n => got.push_str(&format!("; {n} partitions differ")),
    }
    if let Some(unprotected) = pair.snapshot.unprotected_rows.filter(|rows| *rows > 0) {
        got.push_str(&format!("; {unprotected} rows of the cut are in no snapshot"));
    }
    let columns = match &pair.columns {
        Some(columns) => format!(", columns {}", columns.join(", ")),
        None => String::new(),
    };
    let want = format!("as at the cut ({}{columns})", before.whole);
    let mut check = check(pair.snapshot, Some(ok), want, got);
    check.detail = (pair.per_partition && !differing.is_empty()).then(|| json!({ "partitions": differing }));
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use bqlib::fingerprint::{Fingerprint, Print};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[arg(long)]
        accept: bool,
        #[arg(long)]
        reject: bool,
        #[command(flatten)]
        content: Flags,
    }

    #[test]
    fn content_may_name_tables_or_none() {
        let read =
            |args: &[&str]| Line::try_parse_from([&["bq-check"], args].concat()).map(|line| line.content.content);
        assert_eq!(read(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(read(&["--content"]).unwrap(), ["*"]);
        assert_eq!(read(&["--content=d.t", "--content=d.u"]).unwrap(), ["d.t", "d.u"]);
        assert_eq!(read(&["--content=d.t", "--content"]).unwrap(), ["d.t", "*"]);
        assert!(read(&["--content", "d.t"]).is_err(), "a word behind it is no table");
        assert!(read(&["--content", "--accept"]).is_err());
    }

    fn scanned(rows: u64, partition: &str) -> Answer {
        let print = |rows| Fingerprint {
            rows,
            ..Fingerprint::default()
        };
        let print = Print {
            whole: print(rows),
            partitions: [(partition.to_owned(), print(rows))].into(),
        };
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        Some(Ok(Scanned { print, at, billed: 0 }))
    }

    #[test]
    fn a_verdict_says_what_differs_and_what_was_never_protected() {
        let judge = |unprotected: u64, before, after| {
            let snapshot = json!({"run": "r", "table": "p.d.t", "unprotected_rows": unprotected});
            let snapshot: Snapshot = serde_json::from_value(snapshot).unwrap();
            let scan = || Scan {
                table: snapshot.table.clone(),
                location: None,
                sql: String::new(),
                by_partition: true,
            };
            let pair = Pair {
                snapshot: &snapshot,
                scans: [scan(), scan()],
                per_partition: true,
                columns: None,
                held: Some(2),
            };
            let check = verdict(&pair, before, after);
            (check.ok, check.got, check.detail)
        };
        let print = |rows: u64| format!("v1:{rows}:{:016x}:{:032x}", 0, 0);
        assert_eq!(
            judge(0, scanned(2, "a"), scanned(2, "a")),
            (Some(true), "the same".to_owned(), None)
        );
        assert_eq!(
            judge(3, scanned(2, "a"), scanned(5, "b")),
            (
                Some(false),
                format!(
                    "{}; 2 partitions differ; 3 rows of the cut are in no snapshot",
                    print(5)
                ),
                Some(json!({"partitions": ["a", "b"]}))
            )
        );
        assert_eq!(judge(0, scanned(2, "a"), None).0, None, "not asked is no yes");
        assert_eq!(judge(0, scanned(0, "a"), scanned(0, "a")).0, None, "hidden rows");
        assert_eq!(judge(0, None, None).0, None);
    }
}
