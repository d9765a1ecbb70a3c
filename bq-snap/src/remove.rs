//! `bq-snap --drop RUN`: removes a settled run's snapshots, each journaled like every other change. What a restore kept stays: it
//! expires by itself. Which run may lose its snapshots, and which snapshots are the run's, is decided here PURELY; nothing else is known.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, Listed};
use bqlib::exit::{Exit, Failure};
use bqlib::meta::TableMeta;
use bqlib::names::{DatasetRef, Location, RunId, TableRef};
use bqlib::perform::{Ended, Held, at_a_time, of_job_error, taken};
use bqlib::rivals::{self, Open};
use bqlib::runs;
use bqlib::sql::{self, RUN_LABEL, STATE_LABEL};
use bqlib::state::{Event, Run, Status, Step};
use bqlib::tool::Tool;
use serde_json::json;

/// What is left to do when it was stopped.
const AGAIN: &str = "what is left is still there; run the same command again";

/// Removes the run's snapshots, and prints a line for each.
pub(crate) async fn snapshots(t: &Tool, run: &RunId) -> Result<Exit, Failure> {
    let held = Held::open(t, run).await?;
    may_lose_them(&held.run())?;
    let api = t.api().await?;
    let created = held.run().created.clone();
    runs::same_home(t, run, &created.endpoint, Some(&created.project), api.project())?;
    nowhere_pending(t, &api, &held).await?;
    let mine = mine(&held.run());
    let datasets: BTreeSet<DatasetRef> = mine.keys().map(TableRef::dataset_ref).collect();
    let mut listed = Vec::new();
    for dataset in &datasets {
        match api.tables(dataset).await {
            Ok(more) => listed.extend(more),
            // They went with it.
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.failure(&format!("listing {dataset}"))),
        }
    }
    let (remove, strange) = sorted(run, &mine, &listed);
    for name in &strange {
        let what = format!("`{name}` has the name of a snapshot of run `{run}` and is none of it: it is left");
        let hint = "look at its labels; remove it by hand if nobody needs it";
        t.warn(&Failure::new(Exit::Ok, what, format!("snapshot {name}"), hint).about(name));
    }
    if remove.is_empty() {
        t.tell(&format!("run {run} has no snapshots left"));
    }
    let results = at_a_time(t.jobs.min(100), &remove, async |name: &TableRef| {
        let place = t.location.as_ref().or_else(|| mine.get(name)?.as_ref());
        (name.clone(), remove_one(t, &api, &held, name, place).await)
    })
    .await;
    finish(t, &api, &held, results.into_iter().collect()).await
}

/// Says what became of each, and journals that none is left.
async fn finish(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    results: BTreeMap<TableRef, Result<&'static str, Failure>>,
) -> Result<Exit, Failure> {
    let done = |(name, result): (&TableRef, &Result<&'static str, Failure>)| {
        let result = *result.as_ref().ok()?;
        Some(vec![json!(held.id()), json!(name), json!(result)])
    };
    let rows: Vec<_> = results.iter().filter_map(done).collect();
    let some = !rows.is_empty();
    t.out.print_rows("removed", &["run", "snapshot", "result"], rows)?;
    let mut failures: Vec<Failure> = results.into_values().filter_map(Result::err).collect();
    let Some(mut last) = failures.pop() else {
        let settled = held.run().status.is_settled();
        if some && settled && !t.dry_run {
            // No command of ours speaks of them again as if they lived, or tries to settle what is gone.
            let expires = Some(api.now());
            held.note(&[Event::Settled { expires }]).await?;
        }
        return Ok(Exit::Ok);
    };
    for failure in &failures {
        // What was never begun is told once, by the last.
        if failure.what != last.what {
            t.error(failure);
        }
        last.exit = failure.exit.or_graver(last.exit);
    }
    if some && last.exit != Exit::Unknown && !matches!(last.exit, Exit::Signal(_)) {
        last.exit = Exit::Partial;
    }
    Err(last)
}

/// Removes one; it may have gone by itself since it was listed.
async fn remove_one(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    name: &TableRef,
    place: Option<&Location>,
) -> Result<&'static str, Failure> {
    t.go_on(AGAIN)?;
    if t.dry_run {
        return Ok("would be removed");
    }
    match held
        .statement(api, Step::Remove, Some(name), place, &sql::remove(name))
        .await?
    {
        Ended::Done(_) => Ok("removed"),
        Ended::Failed(e) if e.reason == "notFound" => Ok("gone already"),
        Ended::Failed(e) => Err(of_job_error(&e, &format!("removing {name}"), &format!("snapshot {name}")).about(name)),
        Ended::Taken(job) => Err(taken(&job).about(name)),
    }
}

/// Refuses (4) a run that may still need its snapshots, or whose snapshots are not ours.
fn may_lose_them(run: &Run) -> Result<(), Failure> {
    let id = &run.created.run;
    let refuse = |what: String, hint: String| Err(Failure::refused(what, format!("run {id}"), hint));
    if run.created.given {
        let what = format!("the snapshots of run `{id}` were made by somebody else, who alone removes them");
        return refuse(what, "they expire as they were made to; or use `bq rm -t`".to_owned());
    }
    // Without protection there is nothing to lose.
    if run.status.is_settled() || run.created.unprotected {
        return Ok(());
    }
    let what = format!(
        "run `{id}` is {} and not settled: its rollback rests on its snapshots",
        run.status
    );
    let hint = match run.is_pending() {
        true => format!("settle it first: bq-restore --run {id}, or, if it is good, bq-check --run {id} --accept"),
        false => format!("settle it first: bq-restore --run {id}"),
    };
    refuse(what, hint)
}

/// Refuses (4) a run that was given up here and submitted from elsewhere: its snapshots are what that one is put back from.
async fn nowhere_pending(t: &Tool, api: &Api<'_>, held: &Held<'_>) -> Result<(), Failure> {
    let open = {
        let run = held.run();
        let Some(table) = run.tables.keys().next().filter(|_| run.status == Status::Abandoned) else {
            return Ok(());
        };
        let places = run.tables.values().filter_map(|p| p.snapshot.meta.as_ref()?.location());
        Open {
            run: held.id(),
            table: table.clone(),
            places: places.collect(),
        }
    };
    if rivals::migration_of(api, &open, t.location.as_ref()).await?.is_none() {
        return Ok(());
    }
    let id = &open.run;
    let what = format!("run `{id}` is abandoned here, and its migration was submitted from elsewhere");
    let hint = format!("bq-snap --drop {id}, in the state directory that knows how it ended");
    Err(Failure::refused(what, format!("run {id}"), hint))
}

/// PURE: the snapshots that the run made, or was about to make, and where they are.
fn mine(run: &Run) -> BTreeMap<TableRef, Option<Location>> {
    let of = run.tables.values().filter_map(|p| {
        let place = p.snapshot.meta.as_ref().and_then(TableMeta::location);
        Some((p.snapshot.snapshot.clone()?, place))
    });
    of.collect()
}

/// PURE: which of what is there are the run's snapshots, and what only has the name of one. A copy that a restore kept has the label too.
fn sorted(
    run: &RunId,
    mine: &BTreeMap<TableRef, Option<Location>>,
    listed: &[Listed],
) -> (BTreeSet<TableRef>, BTreeSet<TableRef>) {
    let named = listed.iter().filter(|entry| mine.contains_key(&entry.table));
    let ours = |entry: &&Listed| {
        let labelled = entry.label(RUN_LABEL) == Some(run.as_str()) && entry.label(STATE_LABEL) != Some("kept");
        entry.kind == "SNAPSHOT" && labelled
    };
    let (ours, strange): (Vec<_>, Vec<_>) = named.partition(ours);
    let names = |all: Vec<&Listed>| all.into_iter().map(|entry| entry.table.clone()).collect();
    (names(ours), names(strange))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::{Map, Value};

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    fn run(events: &[Value]) -> Run {
        let created = json!({"created": {
            "v": 1, "run": "r", "project": "p", "endpoint": "", "tool": "", "version": "", "nonce": "",
            "unprotected": false, "keep_ms": null,
        }});
        let events: Vec<Event> = [&[created], events]
            .concat()
            .into_iter()
            .map(|event| serde_json::from_value(event).unwrap())
            .collect();
        bqlib::state::fold(events.iter().map(|event| (Timestamp::UNIX_EPOCH, event))).unwrap()
    }

    #[test]
    fn only_a_settled_run_loses_its_snapshots() {
        let given = json!({"created": {
            "v": 1, "run": "r", "project": "p", "endpoint": "", "tool": "", "version": "", "nonce": "",
            "unprotected": false, "keep_ms": null, "given": true,
        }});
        let intent = json!({"intent": {"step": {"migrate": 1}, "attempt": 1, "digest": ""}});
        let yes = json!({"verdict": {"accepted": true, "by_person": false, "because": ""}});
        let no = json!({"verdict": {"accepted": false, "by_person": false, "because": ""}});
        let begun = json!({"restore_begun": {"only": []}});
        let back = json!({"restore_ended": {"code": 10, "only": false, "left": [], "next": ""}});
        let (protected, migrated) = (json!("protected"), json!("migrated"));
        let submitted = [protected.clone(), intent, migrated];
        for (more, may) in [
            (vec![], false),
            (vec![protected.clone()], false),
            (vec![protected, json!("abandoned")], true),
            (submitted.to_vec(), false),
            ([&submitted[..], &[yes]].concat(), true),
            ([&submitted[..], std::slice::from_ref(&no)].concat(), false),
            ([&submitted[..], &[no.clone(), begun.clone()]].concat(), false),
            ([&submitted[..], &[no, begun, back]].concat(), true),
        ] {
            let run = run(&more);
            assert_eq!(may_lose_them(&run).is_ok(), may, "{}", run.status);
        }
        let event: Event = serde_json::from_value(given).unwrap();
        let mut given = Run::begin(Timestamp::UNIX_EPOCH, &event).unwrap();
        given.apply(Timestamp::UNIX_EPOCH, &Event::Abandoned).unwrap();
        assert!(may_lose_them(&given).is_err());
    }

    #[test]
    fn the_snapshots_are_known_by_name_kind_and_labels() {
        let entry = |name: &str, kind: &str, run: &str, state: &str| Listed {
            table: table(name),
            kind: kind.to_owned(),
            labels: Map::from_iter([
                (RUN_LABEL.to_owned(), json!(run)),
                (STATE_LABEL.to_owned(), json!(state)),
            ]),
            created_ms: 0,
        };
        let mine = BTreeMap::from([(table("p.d.t_snapshot_r"), None)]);
        for (name, kind, run, state, want) in [
            ("p.d.t_snapshot_r", "SNAPSHOT", "r", "accepted", (1, 0)),
            ("p.d.t_snapshot_r", "SNAPSHOT", "r", "open", (1, 0)),
            ("p.d.t_snapshot_r", "SNAPSHOT", "other", "accepted", (0, 1)),
            ("p.d.t_snapshot_r", "SNAPSHOT", "r", "kept", (0, 1)),
            ("p.d.t_snapshot_r", "TABLE", "r", "accepted", (0, 1)),
            ("p.d.t_before_restore_r", "SNAPSHOT", "r", "kept", (0, 0)),
            ("p.d.u_snapshot_r", "SNAPSHOT", "r", "accepted", (0, 0)),
        ] {
            let (ours, strange) = sorted(&"r".parse().unwrap(), &mine, &[entry(name, kind, run, state)]);
            assert_eq!((ours.len(), strange.len()), want, "{name} {kind} {run} {state}");
        }
    }

    #[test]
    fn a_table_protected_as_absent_has_none() {
        let absent = json!({"table": {"run": "r", "table": "p.d.new", "absent": true, "meta": {"location": "EU"}}});
        let there = json!({"table": {
            "run": "r", "table": "p.d.t", "snapshot": "p.d.t_snapshot_r", "meta": {"location": "EU"},
        }});
        let mine = mine(&run(&[absent, there]));
        let place = "EU".parse::<Location>().unwrap();
        assert_eq!(mine, BTreeMap::from([(table("p.d.t_snapshot_r"), Some(place))]));
    }
}
