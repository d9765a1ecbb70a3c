//! `--extend RUN D`: the snapshots of a run live longer. What becomes of each is decided in `plan::extend`.

use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::{from_millis, later, millis, parse_duration};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{RunId, TableRef};
use bqlib::perform::{Held, at_a_time};
use bqlib::plan::extend::{What, decide, extendable};
use bqlib::runs;
use bqlib::state::{Event, Protected, Step};
use bqlib::tool::Tool;
use jiff::Timestamp;
use serde_json::json;

use crate::planning::tell_all;

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Let the snapshots of a run live until D from now (24h, 7d), whatever became of the run; nothing is ever made shorter
    #[arg(long, num_args = 2, value_names = ["RUN", "D"],
          conflicts_with_all = ["tables", "file", "list", "drop", "preflight", "expires"])]
    extend: Option<Vec<String>>,
}

impl Flags {
    /// The run, and how long its snapshots are to live from now on, if that was asked for.
    pub(crate) fn asked(&self) -> Result<Option<(RunId, Duration)>, Failure> {
        let Some([run, by]) = self.extend.as_deref() else {
            return Ok(None);
        };
        let hint = "for example `bq-snap --extend 20260131_020001 24h`";
        let run = run
            .parse()
            .map_err(|e: bqlib::names::BadName| Failure::usage(e.to_string(), "--extend", hint))?;
        let by = parse_duration(by).and_then(|by| match by.is_zero() {
            true => Err("no time at all is no length of time to live".to_owned()),
            false => Ok(by),
        });
        let by = by.map_err(|e| Failure::usage(e, "--extend", hint))?;
        Ok(Some((run, by)))
    }
}

/// Lets the snapshots of a run live until so long from now, by BigQuery's clock.
pub(crate) async fn extend(t: &Tool, run: &RunId, by: Duration) -> Result<Exit, Failure> {
    let held = Held::open(t, run).await?;
    extendable(&held.run())?;
    let created = held.run().created.clone();
    let api = t.api().await?;
    runs::same_home(t, run, &created.endpoint, Some(&created.project), api.project())?;
    t.begin(Some(run), Some(api.project()))?;
    let tables: Vec<Protected> = held.run().tables.values().cloned().collect();
    let copies = tables.iter().filter_map(|p| p.snapshot.snapshot.as_ref());
    let there = runs::look(&api, t.jobs, copies).await?;
    let (now, wanted) = (api.now(), later(api.now(), by));
    let (mut failed, mut decided) = (Vec::new(), Vec::new());
    for protected in &tables {
        let Some(copy) = &protected.snapshot.snapshot else {
            continue;
        };
        let found = there.get(copy).and_then(Option::as_ref);
        match decide(run, protected, copy, found, (now, wanted)) {
            Ok(what) => decided.push((protected, copy, what)),
            Err(failure) => failed.push(failure.about(&protected.snapshot.table)),
        }
    }
    t.go_on("run the same command again")?;
    let results = at_a_time(t.jobs, decided, async |(protected, copy, what)| {
        let table = &protected.snapshot.table;
        let ended = match what {
            What::Keep(expires) => learn(&held, protected, expires).await.map(|()| (expires, false)),
            What::Prolong(_) if t.dry_run => Ok((Some(wanted), true)),
            What::Prolong(_) => prolong(&api, &held, table, copy, wanted).await.map(|at| (at, true)),
        };
        (table, copy, what, ended)
    })
    .await;
    let mut rows = Vec::new();
    for (table, copy, what, ended) in results {
        let was = match what {
            What::Keep(was) => was,
            What::Prolong(was) => Some(was),
        };
        match ended {
            Ok((expires, prolonged)) => rows.push((
                table,
                vec![
                    json!(run),
                    json!(table),
                    json!(copy),
                    json!(was),
                    json!(expires),
                    json!(prolonged),
                ],
            )),
            Err(failure) => failed.push(failure.about(table)),
        }
    }
    rows.sort_by(|a, b| a.0.cmp(b.0));
    let kept = rows
        .iter()
        .filter(|(_, cells)| cells.last() == Some(&json!(false)))
        .count();
    let done = !rows.is_empty();
    const HEAD: [&str; 6] = ["run", "table", "snapshot", "was", "until", "prolonged"];
    t.out
        .print_rows("extended", &HEAD, rows.into_iter().map(|(_, cells)| cells).collect())?;
    if kept > 0 {
        let (verb, what) = if kept == 1 {
            ("lives", "snapshot")
        } else {
            ("live", "snapshots")
        };
        t.tell(&format!(
            "{kept} {what} of run {run} {verb} longer than {wanted} anyway, and nothing is made shorter"
        ));
    }
    if let Some(failure) = failed.iter_mut().find(|_| done) {
        failure.exit = Exit::Partial;
    }
    tell_all(t, failed).map(|()| Exit::Ok)
}

/// Patches one snapshot, reads it back, and journals when it expires.
async fn prolong(
    api: &Api<'_>,
    held: &Held<'_>,
    table: &TableRef,
    copy: &TableRef,
    wanted: Timestamp,
) -> Result<Option<Timestamp>, Failure> {
    let body = json!({ "expirationTime": millis(wanted).to_string() });
    held.patch(api, Step::Extend, copy, &body).await?;
    let back = api
        .table(copy)
        .await
        .map_err(|e| e.failure(&format!("reading back {copy}")))?;
    let expires = back.as_ref().and_then(Table::expires_ms);
    match (&back, expires) {
        // Somebody else may have given it more meanwhile.
        (Some(_), Some(at)) if at >= millis(wanted) => {
            let expires = from_millis(at);
            let table = table.clone();
            held.note(&[Event::Extended { table, expires }]).await?;
            Ok(Some(expires))
        }
        (Some(_), None) => Ok(None),
        _ => {
            let told = expires.map_or_else(|| "is gone".to_owned(), |at| format!("expires at {}", from_millis(at)));
            let what = format!("`{copy}` was given until {wanted}, and then read back it {told}");
            let hint = format!("run the same command again: bq-snap --extend {} …", held.id());
            Err(Failure::new(Exit::Unknown, what, format!("snapshot {copy}"), hint))
        }
    }
}

/// Journals an expiry that the journal does not know: somebody else prolonged the snapshot, or what was journaled of it was lost.
async fn learn(held: &Held<'_>, protected: &Protected, expires: Option<Timestamp>) -> Result<(), Failure> {
    match expires.filter(|_| expires != protected.expires) {
        None => Ok(()),
        Some(expires) => {
            let table = protected.snapshot.table.clone();
            held.note(&[Event::Extended { table, expires }]).await
        }
    }
}
