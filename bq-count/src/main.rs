//! bq-count: counts. Many tables in one query, at one instant; alone, or as a filter behind bq-snap or bq-restore.

mod prints;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use bqlib::api::{Api, Table};
use bqlib::clock::from_millis;
use bqlib::count::{self, Question};
use bqlib::exit::{Exit, Failure};
use bqlib::expect::Expect;
use bqlib::fingerprint::choice::Flags;
use bqlib::meta::{TableMeta, integer};
use bqlib::names::{Location, RunId, TableRef};
use bqlib::record::{Count, Line, Record, RestoredFrom, parse};
use bqlib::runs::look;
use bqlib::sql::{self, AsOf, CUT, Counted};
use bqlib::stream::{self, Input, Stream};
use bqlib::tables;
use bqlib::tool::{self, Tool};
use clap::Parser;
use jiff::Timestamp;

/// Count the rows of tables, many in one query, at one instant
///
///     bq-count -f tables.csv | bq-check        compares with the column `records`
///     bq-restore | bq-count                    counts what was restored
///
/// With tables named, standard input is not read. Otherwise it is a stream, which is copied and added to, or a list of tables.
#[derive(Parser)]
#[command(name = "bq-count", version, verbatim_doc_comment)]
struct Args {
    /// Tables to count
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// A list of tables: CSV with a header, one name a line, or JSON lines
    #[arg(short, long = "file", value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Count as of an instant (RFC 3339), or, in a stream, as of its `cut`
    #[arg(long, value_name = "TIME|cut")]
    as_of: Option<String>,
    /// Count views too, by running their queries, which are billed
    #[arg(long)]
    views: bool,
    /// Add an order-free hash of all rows: a full scan, whose bytes are said first; with -n only said
    #[arg(long)]
    fingerprint: bool,
    #[command(flatten)]
    print: Flags,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-count", tool::WAIT, run)
}

/// A table to count, with what its count should be.
struct Asked {
    table: TableRef,
    records: Option<Expect>,
    at: String,
    /// Whether it may not exist: it did not at the cut, or it was put back to that.
    absent: bool,
    /// What it was at the cut, where that is the instant it is counted at.
    meta: Option<TableMeta>,
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    if !args.fingerprint {
        args.print.refuse_without("--fingerprint", false)?;
    }
    let as_of = args
        .as_of
        .as_deref()
        .filter(|text| *text != "cut")
        .map(|text| {
            text.parse::<Timestamp>()
                .map_err(|e| format!("`{}` is no instant: {e}", text.escape_debug()))
        })
        .transpose()
        .map_err(|what| {
            Failure::usage(
                what,
                "--as-of",
                "write an instant such as 2026-01-31T02:00:00Z, or `cut`",
            )
        })?;
    t.fetch_credentials();
    let mut text = None;
    if args.tables.is_empty() && args.file.is_empty() {
        let mut input = Input::stdin(t);
        let first = if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            None
        } else {
            input.next().await?
        };
        if first
            .as_ref()
            .is_some_and(|(_, line)| parse(line).is_ok_and(|line| !matches!(line, Line::Other)))
        {
            return filter(&args, t, input, first, as_of).await;
        }
        // A terminal, and an empty standard input, name nothing.
        text = match first {
            None => Some(String::new()),
            first => Some(input.text(first).await?),
        };
    }
    let list = tables::read(&args.tables, &args.file, text.as_deref(), t.named_project())?;
    let as_of = match (args.as_of.as_deref(), as_of) {
        (Some("cut"), _) => {
            return Err(Failure::usage(
                "`cut` is the instant of a stream, and there is none",
                "--as-of",
                "write an instant",
            ));
        }
        (_, None) => AsOf::Now,
        (_, Some(at)) => AsOf::At(at),
    };
    let api = t.api().await?;
    let list = tables::expand(&api, list).await?;
    t.begin(None, Some(api.project()))?;
    t.warn_of_endpoint();
    let asked = list.into_iter().map(|(table, listed)| Asked {
        table,
        records: listed.records,
        at: listed.at,
        absent: false,
        meta: None,
    });
    counts(t, &api, None, asked.collect(), &args, as_of, Exit::Usage).await
}

/// Copies a stream and counts the tables that it protects or restored.
async fn filter(
    args: &Args,
    t: &Tool,
    input: Input<'_>,
    first: Option<(usize, Vec<u8>)>,
    as_of: Option<Timestamp>,
) -> Result<Exit, Failure> {
    let (stream, wrong) = Stream::read(t, input, first).await;
    if let Some(failure) = wrong {
        return Err(failure);
    }
    if let Some(why) = stream.broken(t.dry_run) {
        return Err(stream::broken(&why, "look at what the programs before this one said"));
    }
    if let Some(run) = &stream.run {
        bqlib::runs::not_another(t, run)?;
    }
    let mut asked: Vec<Asked> = Vec::new();
    let as_it_was = |meta: &Option<TableMeta>| meta.clone().filter(|_| args.as_of.as_deref() == Some("cut"));
    let named = stream
        .snapshots
        .iter()
        .map(|s| (&s.table, s.records, as_it_was(&s.meta), s.absent))
        .chain(
            stream
                .restores
                .iter()
                .map(|r| (&r.table, None, None, r.from == RestoredFrom::Absent)),
        );
    for (table, records, meta, absent) in named {
        if !asked.iter().any(|a| a.table == *table) {
            asked.push(Asked {
                table: table.clone(),
                records,
                at: "the stream".to_owned(),
                absent,
                meta,
            });
        }
    }
    if asked.is_empty() {
        return Err(Failure::usage(
            "no tables are named",
            "the stream",
            "name tables, or a list with `-f tables.csv`",
        ));
    }
    let as_of = match (args.as_of.as_deref(), as_of) {
        (Some("cut"), _) => AsOf::At(
            stream
                .snapshots
                .iter()
                .find_map(|s| s.cut)
                .ok_or_else(|| Failure::usage("the stream has no cut", "--as-of", "write an instant"))?,
        ),
        (_, Some(at)) => AsOf::At(at),
        (_, None) => AsOf::Now,
    };
    let api = t.api().await?;
    t.begin(stream.run.as_ref(), Some(api.project()))?;
    counts(t, &api, stream.run.as_ref(), asked, args, as_of, Exit::No).await
}

/// Counts, and writes a record each. `missing`: the code for a table that does not exist.
async fn counts(
    t: &Tool,
    api: &Api<'_>,
    run: Option<&RunId>,
    asked: Vec<Asked>,
    args: &Args,
    as_of: AsOf,
    missing: Exit,
) -> Result<Exit, Failure> {
    let there = look(api, t.jobs, asked.iter().map(|a| &a.table)).await?;
    let asked = countable(t, asked, &there, args.as_of.as_deref() == Some("cut"));
    if asked.is_empty() {
        return Ok(Exit::Ok);
    }
    let mut counted: Vec<(Counted, Option<Location>)> = Vec::new();
    for a in &asked {
        let found = there.get(&a.table).and_then(Option::as_ref).ok_or_else(|| {
            let what = format!("there is no table `{}`", a.table);
            Failure::new(missing, what, &a.at, "mend its name, or take it off the list").about(&a.table)
        })?;
        counted.push((
            how(found, &a.table, as_of, args.views)?,
            t.location.clone().or_else(|| found.location()),
        ));
    }
    let labels = sql::labels(t.name, run);
    if !args.fingerprint {
        one_instant(api, &labels, &mut counted, false).await?;
    } else {
        let subjects = prints::choose(t, &args.print, &asked, &there)?;
        one_instant(api, &labels, &mut counted, true).await?;
        let scans = prints::announce(t, api, &labels, &args.print, &subjects, &counted).await?;
        if !t.dry_run {
            let found = prints::take(t, api, &labels, &args.print, &scans).await?;
            tell_billed(t, found.iter().map(|one| one.billed).sum());
            for (i, (a, one)) in asked.into_iter().zip(&found).enumerate() {
                let at = match counted.get(i).map(|(c, _)| c.as_of) {
                    Some(AsOf::At(at)) => at,
                    _ => one.at,
                };
                t.out.write(&prints::record(run, a, i, &subjects, one, at))?;
            }
            return Ok(Exit::Ok);
        }
    }
    let found = count::rows(api, &labels, &counted).await?;
    let mut billed = 0;
    for (job, location) in &found.jobs {
        let job = api
            .job(job, location.as_ref())
            .await
            .map_err(|e| e.failure("asking what the count cost"))?;
        billed += job.and_then(|job| job.bytes_billed()).unwrap_or(0);
    }
    tell_billed(t, billed);
    for ((a, rows), at) in asked.into_iter().zip(found.rows).zip(found.at) {
        t.out.write(&Record::Count(Count {
            run: run.cloned(),
            table: a.table,
            rows,
            as_of: at,
            fingerprint: None,
            columns: None,
            partitions: None,
            records: a.records,
        }))?;
    }
    Ok(Exit::Ok)
}

/// The tables without those that are protected as absent and do not exist: there is nothing to count. At the cut none of them did.
fn countable(t: &Tool, asked: Vec<Asked>, there: &BTreeMap<TableRef, Option<Table>>, at_cut: bool) -> Vec<Asked> {
    let exists = |a: &Asked| there.get(&a.table).is_some_and(Option::is_some);
    let (counted, left) = asked.into_iter().partition(|a| !a.absent || (exists(a) && !at_cut));
    let left: Vec<Asked> = left;
    for a in left {
        let when = if at_cut {
            "did not exist at the cut"
        } else {
            "does not exist"
        };
        t.tell(&format!("{} {when}: it is not counted", a.table));
    }
    counted
}

fn tell_billed(t: &Tool, billed: u64) {
    t.out.set_bytes_billed(billed);
    if billed > 0 || t.verbose {
        t.tell(&format!("{billed} bytes billed"));
    }
}

/// How a table is counted: only tables have a history to travel in; a view's rows are a query of its own, which is run if it is asked for.
fn how(found: &Table, table: &TableRef, as_of: AsOf, views: bool) -> Result<Counted, Failure> {
    let meta = found.meta();
    let is_view = matches!(found.kind(), "VIEW" | "MATERIALIZED_VIEW");
    let as_of = match (found.kind(), as_of) {
        ("TABLE", as_of) => as_of,
        ("SNAPSHOT" | "EXTERNAL", AsOf::Now) => AsOf::Plain,
        (_, AsOf::Now) if is_view && views => AsOf::Plain,
        (kind, as_of) => {
            let kind = kind.to_lowercase().replace('_', " ");
            let (what, hint) = match as_of {
                AsOf::At(_) if !is_view || views => (
                    format!("`{table}` is a {kind}, and cannot be counted as of an instant"),
                    "take it off the list, or leave `--as-of` out",
                ),
                _ if is_view => (
                    format!("`{table}` is a {kind}, and has no rows of its own"),
                    "take it off the list, or run its query with `--views`, which is billed",
                ),
                _ => (
                    format!("`{table}` is a {kind}, and cannot be counted"),
                    "take it off the list",
                ),
            };
            return Err(Failure::refused(what, format!("table {table}"), hint).about(table));
        }
    };
    Ok(Counted::new(table, as_of, Some(&meta)))
}

/// Where one query is not enough (several locations, very many tables, or a query for `each`), asks BigQuery for an instant first, for all of them.
async fn one_instant(
    api: &Api<'_>,
    labels: &std::collections::BTreeMap<String, String>,
    counted: &mut [(Counted, Option<Location>)],
    each: bool,
) -> Result<(), Failure> {
    let queries = if each {
        counted.len()
    } else {
        count::queries(counted).len()
    };
    if queries <= 1 || counted.iter().all(|(c, _)| c.as_of != AsOf::Now) {
        return Ok(());
    }
    let first = counted.first().and_then(|(_, location)| location.clone());
    let question = Question {
        what: "instant",
        location: first.as_ref(),
        labels,
        params: &[],
    };
    let (rows, ..) = count::query(api, &question, CUT, None)
        .await
        .map_err(|e| e.failure("asking for the instant"))?;
    let ms = rows.first().and_then(|row| row.get("cut")).and_then(integer);
    let at = ms.map(from_millis).ok_or_else(|| {
        Failure::new(
            Exit::Retry,
            "BigQuery's answer holds no instant",
            "getQueryResults",
            "run the same command again",
        )
    })?;
    for (c, _) in counted.iter_mut().filter(|(c, _)| c.as_of == AsOf::Now) {
        c.as_of = AsOf::At(at);
    }
    Ok(())
}
