//! Asking everything that is to be asked of a migration.

use std::collections::BTreeMap;

use bqlib::api::{Api, Table};
use bqlib::count::{self, Question as Query};
use bqlib::exit::{Exit, Failure};
use bqlib::expect::Expect;
use bqlib::meta::integer;
use bqlib::names::{RunId, TableRef};
use bqlib::record::{Migration, MigrationState, Snapshot, only_place};
use bqlib::runs::look;
use bqlib::sql::{self, AsOf, Counted};
use bqlib::tool::Tool;

use crate::checks::{Finding, Now};
use crate::verdict::Answer;
use crate::{Asked, checks, content, policies, probe};

pub(crate) fn not_in_the_set(asked: &Asked, known: impl Fn(&TableRef) -> bool) -> Result<(), Failure> {
    match asked.expect.iter().find(|(table, _)| !known(table)) {
        None => Ok(()),
        Some((table, _)) => {
            let what = format!("`{table}` is not in the stream");
            Err(Failure::usage(what, "--expect", "name a table of the list"))
        }
    }
}

/// Asks everything: the default checks, `--expect`, `--sql`, `--probe`.
pub(crate) async fn check(
    t: &Tool,
    api: &Api<'_>,
    run: &RunId,
    snapshots: &[Snapshot],
    migrations: &[Migration],
    asked: &Asked,
) -> Result<Answer, Failure> {
    not_in_the_set(asked, |table| snapshots.iter().any(|s| s.table == *table))?;
    let questions = asked.questions.of_run(t, snapshots, migrations)?;
    let labels = sql::labels(t.name, Some(run));
    let there = look(api, t.jobs, snapshots.iter().map(|s| &s.table)).await?;
    let now = count_now(t, api, &labels, there).await?;
    // A line with `-n` has migrated nothing: what its tables should be then cannot be asked of them now.
    let planned = migrations.iter().any(|m| m.state == MigrationState::Planned);
    if planned {
        t.tell("a line with `-n` has migrated nothing: `after`, `--expect`, `--content` and `--probe` are not asked");
    }
    let mut checks = Vec::new();
    for snapshot in snapshots {
        let now = now.get(&snapshot.table).and_then(Option::as_ref);
        let missed = match now {
            Some(now) => missed(api, &labels, snapshot, now).await?,
            None => 0,
        };
        let unmigrated = Snapshot {
            after: None,
            ..snapshot.clone()
        };
        let snapshot = if planned { &unmigrated } else { snapshot };
        checks.extend(checks::of_table(run, snapshot, now, missed));
    }
    checks.extend(policies::ask(t, api, run, snapshots, migrations, &now).await?);
    checks.push(checks::of_writes(run, snapshots, migrations));
    for (table, wanted) in asked
        .expect
        .iter()
        .filter(|(_, wanted)| *wanted != Expect::Any && !planned)
    {
        let there = now.get(table).and_then(Option::as_ref);
        let cut = snapshots.iter().find(|s| s.table == *table).and_then(|s| s.rows);
        let (ok, got) = match there {
            None => (wanted.holds(None, cut), "no such table".to_owned()),
            Some(Now { rows: Some(rows), .. }) => (wanted.holds(Some(*rows), cut), rows.to_string()),
            // A view has none, and is not nothing either.
            Some(now) => (false, format!("a {}", now.kind_in_words())),
        };
        let finding = Finding {
            name: "expect",
            table: Some(table),
            ok,
            want: match cut.filter(|_| wanted.is_from_the_cut()) {
                Some(cut) => format!("{wanted} from {cut}"),
                None => wanted.to_string(),
            },
            got,
        };
        let mut check = finding.record(Some(run));
        if wanted.is_from_the_cut() && cut.is_none() {
            check.ok = None;
            check.got = "could not be asked: the rows at the cut are not known".to_owned();
        }
        checks.push(check);
    }
    let mut trouble = Exit::Ok;
    if let Some(content) = asked.content.as_ref().filter(|_| !planned) {
        let (more, exit) = content::ask(t, api, &labels, snapshots, &now, content).await?;
        checks.extend(more);
        trouble = exit;
    }
    let location = t.location.clone().or_else(|| only_place(snapshots));
    let (more, exit) = asked
        .questions
        .ask(api, t.jobs, &questions, Some(run), location.as_ref(), &labels)
        .await;
    checks.extend(more);
    let trouble = trouble.or_graver(exit);
    if planned {
        return Ok(Answer { checks, trouble });
    }
    // Last, and alone: nothing of ours is to slow what is measured.
    let asking = probe::Asking {
        t,
        api,
        run,
        snapshots,
        location: location.as_ref(),
        labels: &labels,
        with: &asked.questions,
    };
    let (more, unasked) = asking.ask(&asked.probes).await;
    checks.extend(more);
    let trouble = trouble.or_graver(unasked);
    Ok(Answer { checks, trouble })
}

/// The tables that are there, with their rows, counted in one query.
pub(crate) async fn count_now(
    t: &Tool,
    api: &Api<'_>,
    labels: &BTreeMap<String, String>,
    there: BTreeMap<TableRef, Option<Table>>,
) -> Result<BTreeMap<TableRef, Option<Now>>, Failure> {
    let tables: Vec<(&TableRef, &Table)> = there
        .iter()
        .filter_map(|(name, found)| Some((name, found.as_ref()?)))
        .filter(|(_, found)| found.kind() == "TABLE")
        .collect();
    let counted: Vec<_> = tables
        .iter()
        .map(|(name, found)| {
            (
                Counted::new(name, AsOf::Now, Some(&found.meta())),
                t.location.clone().or_else(|| found.location()),
            )
        })
        .collect();
    let rows = count::rows(api, labels, &counted).await?.rows;
    let rows: BTreeMap<TableRef, u64> = tables.iter().map(|(name, _)| (*name).clone()).zip(rows).collect();
    let now = there.into_iter().map(|(name, found)| {
        let now = found.map(|found| Now {
            kind: found.kind().to_owned(),
            meta: found.meta(),
            rows: rows.get(&name).copied(),
        });
        (name, now)
    });
    Ok(now.collect())
}

/// Rows of the cut in partitions that have expired since: nobody may miss them. Asked only of a table that has fewer rows than it had.
pub(crate) async fn missed(
    api: &Api<'_>,
    labels: &BTreeMap<String, String>,
    snapshot: &Snapshot,
    now: &Now,
) -> Result<u64, Failure> {
    let (Some(meta), Some(copy), Some(cut), Some(rows)) = (&snapshot.meta, &snapshot.snapshot, snapshot.rows, now.rows)
    else {
        return Ok(0);
    };
    let (Some((column, unit)), Some(lives)) = (meta.time_partitioning(), meta.partition_expiration_ms()) else {
        return Ok(0);
    };
    if rows >= cut || snapshot.after.is_some() {
        return Ok(0);
    }
    let location = meta.location();
    let question = Query {
        what: "living",
        location: location.as_ref(),
        labels,
        params: &[],
    };
    let text = sql::living_rows(
        &Counted::new(copy, AsOf::Plain, Some(meta)),
        &column,
        &unit,
        lives,
        api.now(),
    );
    let (found, ..) = count::query(api, &question, &text, None).await.map_err(|e| {
        e.failure(&format!("counting the living partitions of {copy}"))
            .about(&snapshot.table)
    })?;
    let living = found
        .first()
        .and_then(|row| row.get("n"))
        .and_then(integer)
        .unwrap_or(cut);
    Ok(cut.saturating_sub(living))
}
