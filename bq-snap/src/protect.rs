//! Making the snapshots, reading them back, counting them.

use std::collections::BTreeSet;
use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::{from_millis, later, millis};
use bqlib::count;
use bqlib::exit::{Exit, Failure};
use bqlib::meta::SchemaRule;
use bqlib::names::{Location, RunId};
use bqlib::perform::{Ended, at_a_time, of_job_error, taken};
use bqlib::record::Record;
use bqlib::runs::{self, OPEN_FOR};
use bqlib::sql::{self, AsOf, CopyOptions, Counted, RUN_LABEL};
use bqlib::state::{Event, Step};
use bqlib::tool::Tool;
use jiff::Timestamp;

use crate::claim::Claimed;
use crate::planning::Planned;
use crate::{AGAIN, Args, absent};

/// Makes the snapshots, reads them back, counts them, and says so.
pub(crate) async fn protect(
    args: &Args,
    t: &Tool,
    api: &Api<'_>,
    claimed: &Claimed<'_>,
    keep: Option<Duration>,
) -> Result<(), Failure> {
    let Claimed { held, cut, planned, .. } = claimed;
    let (cut, run) = (*cut, held.id());
    t.begin(Some(&run), Some(api.project()))?;
    t.warn_of_endpoint();
    let labels = held.labels();
    // With `-n` there is no instant that BigQuery was asked for, and its `Date` is up to a second old: then now is counted.
    let as_of = if t.dry_run { AsOf::Now } else { AsOf::At(cut) };
    let at_cut: Vec<_> = planned
        .iter()
        .map(|p| (Counted::new(&p.table, as_of, Some(&p.found.meta())), p.location.clone()))
        .collect();
    t.go_on(AGAIN)?;
    absent::still(t, api, &claimed.absent).await?;
    let counts = count::rows(api, &labels, &at_cut).await?;
    let cut = counts.at.iter().max().copied().filter(|_| t.dry_run).unwrap_or(cut);
    let base = counts.rows;
    if !args.accept_drift {
        drift(planned, &base)?;
    }
    let expires = keep.map(|keep| later(cut, keep.max(OPEN_FOR)));
    if !t.dry_run {
        make_snapshots(t, api, claimed, expires).await?;
    }
    let copies: Vec<_> = planned
        .iter()
        .map(|p| {
            (
                Counted::new(&p.snapshot, AsOf::Plain, Some(&p.found.meta())),
                p.location.clone(),
            )
        })
        .collect();
    let copied = match t.dry_run {
        true => base.clone(),
        false => count::rows(api, &labels, &copies).await?.rows,
    };
    let mut records = Vec::new();
    for ((p, base), copied) in planned.iter().zip(&base).zip(&copied) {
        if base != copied && !(args.without_buffer && copied < base) {
            let what = format!(
                "`{}` had {base} rows at the cut, and its snapshot has {copied}",
                p.table
            );
            return Err(Failure::refused(
                what,
                format!("snapshot {}", p.snapshot),
                "run again: a new snapshot is taken",
            )
            .about(&p.table));
        }
        let mut record = p.record(&run, keep);
        record.cut = Some(cut);
        record.expires = expires;
        record.rows = Some(*copied);
        record.unprotected_rows = (base != copied).then(|| base - copied);
        records.push(record);
    }
    for one in &claimed.absent {
        let mut record = one.record(&run, keep);
        record.cut = Some(cut);
        records.push(record);
    }
    let verified = records.iter().cloned().map(Event::Verified);
    held.note(&verified.chain([Event::Protected]).collect::<Vec<_>>())
        .await?;
    for record in records {
        t.out.write(&Record::Snapshot(record))?;
    }
    runs::write_vars(t, &run, true, &[("MIGRATION_START", cut.to_string())]);
    Ok(())
}

/// Refuses (4) a table whose rows at the cut are not its `records`: each is told, the last ends the program.
pub(crate) fn drift(planned: &[Planned], base: &[u64]) -> Result<(), Failure> {
    let bad: Vec<String> = planned
        .iter()
        .zip(base)
        .filter_map(|(p, rows)| {
            let records = p
                .listed
                .records
                .filter(|records| !records.holds(Some(*rows), Some(*rows)))?;
            Some(format!("`{}` has {rows} rows where {records} was expected", p.table))
        })
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let hint = "find out why; then mend `records`, or say `--accept-drift`";
    Err(Failure::refused(bad.join("; "), "column `records`", hint))
}

pub(crate) async fn make_snapshots(
    t: &Tool,
    api: &Api<'_>,
    claimed: &Claimed<'_>,
    expires: Option<Timestamp>,
) -> Result<(), Failure> {
    let places: BTreeSet<Location> = claimed.planned.iter().filter_map(|p| p.location.clone()).collect();
    let places: Vec<Location> = match places.len() {
        0 | 1 => Vec::new(),
        _ => places.into_iter().collect(),
    };
    let results = at_a_time(t.jobs.min(100), &claimed.planned, async |p: &Planned| {
        t.go_on(AGAIN)?;
        if !t.out.look_for_reader() {
            return Err(Failure::new(
                Exit::Upstream,
                "the reader went away",
                "stdout",
                "look at the program after this one",
            ));
        }
        make_one(api, claimed, expires, &places, p).await
    })
    .await;
    let mut first: Option<Failure> = None;
    for failure in results.into_iter().filter_map(Result::err) {
        match &first {
            None => first = Some(failure),
            // The same signal, or the same reader that is gone, kept all the others from being begun.
            Some(first) if first.exit == failure.exit && first.what == failure.what => {}
            Some(_) => t.error(&failure),
        }
    }
    first.map_or(Ok(()), Err)
}

pub(crate) async fn make_one(
    api: &Api<'_>,
    claimed: &Claimed<'_>,
    expires: Option<Timestamp>,
    places: &[Location],
    p: &Planned,
) -> Result<(), Failure> {
    let Claimed { held, cut, make, .. } = claimed;
    let (cut, run) = (*cut, held.id());
    let description = format!("{} as of {cut}, kept by bq-snap for run {run}", p.table);
    let options = CopyOptions {
        expires,
        tool: held.tool(),
        places,
        run: &run,
        state: "open",
        description: &description,
    };
    if make.contains(&p.table) {
        let text = sql::snapshot(&p.snapshot, &p.table, cut, &options);
        match held
            .statement(api, Step::Snapshot, Some(&p.table), p.location.as_ref(), &text)
            .await?
        {
            Ended::Done(_) => {}
            // The name is taken: by an earlier attempt of ours whose end was lost, or by something else. Reading it back tells.
            Ended::Failed(e) if e.reason == "duplicate" => {}
            Ended::Failed(e) => {
                let failure = of_job_error(&e, &format!("snapshot of {}", p.table), &format!("table {}", p.table));
                return Err(failure.about(&p.table));
            }
            Ended::Taken(job) => return Err(taken(&job).about(&p.table)),
        }
    }
    let there = api
        .table(&p.snapshot)
        .await
        .map_err(|e| e.failure(&format!("reading back {}", p.snapshot)).about(&p.table))?;
    verify(p, &run, cut, expires, there.as_ref()).map_err(|what| {
        let what = format!("the snapshot of `{}` is not what it should be: {what}", p.table);
        Failure::refused(
            what,
            format!("snapshot {}", p.snapshot),
            "run again with a new run ID; nothing was migrated",
        )
        .about(&p.table)
    })
}

/// What is wrong with a snapshot that was read back. A name that was taken, or a statement that did nothing, is found here.
pub(crate) fn verify(
    p: &Planned,
    run: &RunId,
    cut: Timestamp,
    expires: Option<Timestamp>,
    there: Option<&Table>,
) -> Result<(), String> {
    let there = there.ok_or("it does not exist")?;
    if there.kind() != "SNAPSHOT" {
        return Err(format!("it is a {}", there.kind().to_lowercase()));
    }
    match there.snapshot_of() {
        Some((base, at)) if base == p.table && at == cut => {}
        Some((base, at)) => return Err(format!("it is of {base} as of {at}")),
        None => return Err("it does not say of what it is".to_owned()),
    }
    if there.label(RUN_LABEL) != Some(run.as_str()) {
        return Err("it is not labelled with this run".to_owned());
    }
    if there.expires_ms() != expires.map(millis) {
        let told =
            |at: Option<Timestamp>| at.map_or_else(|| "never expires".to_owned(), |at| format!("expires at {at}"));
        let there = there.expires_ms().map(from_millis);
        return Err(format!("it {}, and should be one that {}", told(there), told(expires)));
    }
    let (before, held) = (p.found.meta(), there.meta());
    if before.layout() != held.layout() {
        return Err(format!(
            "its partitioning and clustering are {}, and the table's {}",
            held.layout(),
            before.layout()
        ));
    }
    match before.schema_differences(&held, SchemaRule::Same).first() {
        Some(difference) => Err(format!("the table changed meanwhile: {difference}")),
        None => Ok(()),
    }
}
