//! `-`: the snapshots that standard input names. Those of a run that came down a line, or any that somebody else made.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, JOB_ATTEMPTS, Table};
use bqlib::clock::from_millis;
use bqlib::count;
use bqlib::exit::{Exit, Failure};
use bqlib::journal;
use bqlib::names::{JobId, Location, RunId, TableRef};
use bqlib::output::STDOUT;
use bqlib::perform::{Held, of_journal};
use bqlib::record::Snapshot;
use bqlib::runs;
use bqlib::sql::{self, AsOf, Counted};
use bqlib::state::{Created, Event, Step};
use bqlib::stream::{Input, Stream, broken};
use bqlib::tool::Tool;

use crate::finality::{lost, nonce_of, places};

/// A stream to restore from, read to its end.
pub(crate) async fn read(t: &Tool) -> Result<(Stream, RunId), Failure> {
    let (stream, trouble) = Stream::read(t, Input::stdin(t), None).await;
    // bq-restore does its work whether or not somebody reads what it says.
    if let Some(failure) = trouble.filter(|failure| failure.at != STDOUT) {
        return Err(failure);
    }
    let hint =
        "give it what bq-snap wrote, whole, or lines of {\"type\":\"snapshot\",\"run\":…,\"table\":…,\"snapshot\":…}";
    if let Some(why) = stream.unrestorable(t.dry_run) {
        return Err(broken(&why, hint));
    }
    let mut tables = BTreeSet::new();
    if let Some(twice) = stream.snapshots.iter().find(|s| !tables.insert(&s.table)) {
        let what = format!("`{}` is in it twice", twice.table);
        return Err(Failure::usage(what, "standard input", "name one snapshot of each table").about(&twice.table));
    }
    let run = stream.run.clone().ok_or_else(|| broken("it names no run", hint))?;
    runs::not_another(t, &run)?;
    Ok((stream, run))
}

/// The run of a stream, held: as this state directory knows it; or as the stream tells of it; or, where only snapshots are named, as
/// BigQuery tells of those.
pub(crate) async fn held<'t>(t: &'t Tool, api: &Api<'_>, stream: &Stream, run: &RunId) -> Result<Held<'t>, Failure> {
    let known = match journal::read(&t.state_dir, run) {
        Err(journal::Error::Missing(_)) => false,
        Err(e) => return Err(of_journal(&e)),
        Ok(_) => true,
    };
    if stream.home.is_none() && !known {
        return adopt(t, api, stream, run).await;
    }
    let nonce = match known {
        true => None,
        false => nonce_of_the_run(api, run, &places(t, [], stream.snapshots.iter())).await?,
    };
    let held = runs::of_stream_with(t, stream, api.project(), nonce).await?;
    let of = |s: &Snapshot| (s.table.clone(), s.snapshot.clone());
    let ours: BTreeSet<_> = held.run().tables.values().map(|p| of(&p.snapshot)).collect();
    match ours == stream.snapshots.iter().map(of).collect() {
        true => Ok(held),
        false => Err(Failure::refused(
            format!("run `{run}` of this state directory protects other tables, or by other snapshots"),
            "standard input",
            format!("bq-restore --run {run} restores that run; give these snapshots a run of their own"),
        )),
    }
}

/// The word by which the jobs of a run whose journal is lost are known: the job that took its cut carries it.
pub(crate) async fn nonce_of_the_run(
    api: &Api<'_>,
    run: &RunId,
    places: &[Option<Location>],
) -> Result<Option<String>, Failure> {
    for attempt in 1..=JOB_ATTEMPTS {
        let cut = JobId::of_step(run, &Step::Cut.to_string(), None, attempt);
        let found = api.job_in_any(&cut, places.iter().map(Option::as_ref)).await;
        if let Some(job) = found.map_err(|e| lost(&e))?
            && job.is_done()
            && job.error().is_none()
        {
            return Ok(nonce_of(&job).map(str::to_owned));
        }
    }
    Ok(None)
}

/// Begins the journal of a run whose snapshots somebody else made: what they hold is asked of BigQuery.
async fn adopt<'t>(t: &'t Tool, api: &Api<'_>, stream: &Stream, run: &RunId) -> Result<Held<'t>, Failure> {
    let names = stream
        .snapshots
        .iter()
        .flat_map(|s| [Some(&s.table), s.snapshot.as_ref()]);
    let there = runs::look(api, t.jobs, names.flatten()).await?;
    let records = records(t, api, run, &stream.snapshots, &there).await?;
    if stream.snapshots.iter().any(|s| s.meta.is_none()) {
        let what = "the snapshots do not tell the tables' options: description, labels and expirations stay as they are now, and a table that is gone comes back without them";
        let hint = "compare them yourself, if the migration changed any";
        t.warn(&Failure::new(Exit::Ok, what, "standard input", hint));
    }
    let instants: BTreeSet<_> = records.iter().filter_map(|s| s.cut).collect();
    if instants.len() > 1 {
        let what = format!(
            "the snapshots are of {} instants: the tables will not be of one",
            instants.len()
        );
        let hint = "bq-snap takes all snapshots of a run at one instant";
        t.warn(&Failure::new(Exit::Ok, what, "standard input", hint));
    }
    let Event::Created(created) = runs::created(t, run, api.project(), false, None) else {
        return Err(broken("it begins no run", "report this as a bug"));
    };
    let created = Event::Created(Created { given: true, ..created });
    let cut = instants.into_iter().next_back().map(|cut| Event::Cut { cut });
    let tables = records.into_iter().map(Event::Verified);
    let events = [created].into_iter().chain(cut).chain(tables).chain([Event::Protected]);
    Held::create(t, run, events.collect()).map_err(|e| of_journal(&e))
}

/// Snapshot records with what BigQuery says of the snapshots and their tables, all of which are in `there`, rows counted.
pub(crate) async fn records(
    t: &Tool,
    api: &Api<'_>,
    run: &RunId,
    told: &[Snapshot],
    there: &BTreeMap<TableRef, Option<Table>>,
) -> Result<Vec<Snapshot>, Failure> {
    let found = |table: &TableRef| there.get(table).and_then(Option::as_ref);
    let (mut records, mut refusals) = (Vec::new(), Vec::new());
    for told in told {
        match complete(told, found(&told.table), told.snapshot.as_ref().and_then(found)) {
            Ok(record) => records.push(record),
            Err(failure) => refusals.push(failure.about(&told.table)),
        }
    }
    if let Some(last) = refusals.pop() {
        refusals.iter().for_each(|failure| t.error(failure));
        return Err(last);
    }
    count_them(t, api, run, &mut records).await?;
    Ok(records)
}

/// A snapshot record with what BigQuery says of the snapshot; what it says itself must agree.
fn complete(told: &Snapshot, table: Option<&Table>, snapshot: Option<&Table>) -> Result<Snapshot, Failure> {
    let Some(name) = &told.snapshot else {
        let what = format!("the record of `{}` names no snapshot", told.table);
        return Err(Failure::usage(
            what,
            "standard input",
            "add \"snapshot\":\"project.dataset.table\"",
        ));
    };
    let refuse = |what: String| {
        let hint = "look at it: bq show --format=prettyjson; nothing was changed";
        Err(Failure::refused(what, format!("snapshot {name}"), hint))
    };
    let Some(snapshot) = snapshot else {
        return refuse(format!("there is no snapshot `{name}`: it has expired, or was deleted"));
    };
    let cut = match snapshot.snapshot_of() {
        Some((base, cut)) if base == told.table => cut,
        Some((base, _)) => return refuse(format!("`{name}` is a snapshot of `{base}`, not of `{}`", told.table)),
        None => {
            return refuse(format!(
                "`{name}` is a {}, and no snapshot",
                snapshot.kind().to_lowercase()
            ));
        }
    };
    if let Some(said) = told.cut.filter(|said| *said != cut) {
        return refuse(format!("`{name}` is of {cut}, and the record says {said}"));
    }
    let meta = match (&told.meta, table) {
        (Some(meta), _) => Some(meta.clone()),
        (None, Some(table)) if table.kind() == "TABLE" => Some(table.meta().as_held_by(&snapshot.meta())),
        // What is left of a table that was dropped, or is something else now.
        (None, _) => Some(snapshot.meta().of_its_table()),
    };
    Ok(Snapshot {
        cut: Some(cut),
        expires: snapshot.expires_ms().map(from_millis),
        bytes: snapshot.bytes(),
        meta,
        ..told.clone()
    })
}

/// The rows that a snapshot holds are the rows at its instant.
async fn count_them(t: &Tool, api: &Api<'_>, run: &RunId, records: &mut [Snapshot]) -> Result<(), Failure> {
    let counted: Vec<(Counted, Option<Location>)> = records
        .iter()
        .filter_map(|s| {
            let location = s.meta.as_ref().and_then(|meta| meta.location());
            let counted = Counted::new(s.snapshot.as_ref()?, AsOf::Plain, s.meta.as_ref());
            Some((counted, t.location.clone().or(location)))
        })
        .collect();
    let rows = count::rows(api, &sql::labels(t.name, Some(run)), &counted).await?.rows;
    for (record, rows) in records.iter_mut().zip(rows) {
        if let Some(said) = record.rows.filter(|said| *said != rows) {
            let what = format!(
                "the snapshot of `{}` holds {rows} rows, and the record says {said}",
                record.table
            );
            return Err(
                Failure::refused(what, "standard input", "look at where the record comes from").about(&record.table),
            );
        }
        record.rows = Some(rows);
    }
    Ok(())
}
