//! What a table has beside rows, columns and options: who may see it, which rows, and what stands on it. Learned before the table is replaced,
//! put back where BigQuery lets us, and named where it does not. Nothing here decides whether a table is touched.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, ApiError, Dataset, grants, policy_with_grants};
use bqlib::beyond::standing;
use bqlib::clock::from_millis;
use bqlib::count::Question;
use bqlib::exit::{Exit, Failure};
use bqlib::meta::TableMeta;
use bqlib::names::{DatasetRef, Location, TableRef};
use bqlib::perform::{Held, at_a_time};
use bqlib::plan::Way;
use bqlib::plan::restore::Planned;
use bqlib::sql::{self, Lives};
use bqlib::state::{Kept, Run, Step, Undo};
use bqlib::tool::Tool;
use jiff::Timestamp;

use crate::put_back::Task;

/// What is to be known of datasets and of what stands on tables before the first is replaced.
#[derive(Default)]
pub(crate) struct Beyond {
    datasets: BTreeMap<DatasetRef, Dataset>,
    /// What no rollback puts back, for people.
    things: BTreeMap<TableRef, Vec<String>>,
}

impl Beyond {
    /// What stands on a table that no rollback puts back, for people.
    pub(crate) fn of(&self, table: &TableRef) -> Vec<String> {
        self.things.get(table).cloned().unwrap_or_default()
    }

    /// What the statement that makes a table again says of how long it lives: what it was, or, where the dataset would give it an end that
    /// it did not have, one that is far away.
    pub(crate) fn lives(&self, table: &TableRef, before: &TableMeta, now: Timestamp) -> Lives {
        let dataset = self.datasets.get(&table.dataset_ref());
        let by_default = dataset.is_some_and(|d| d.table_expiration_ms.is_some());
        before.lives(by_default, dataset.and_then(|d| d.partition_expiration_ms), now)
    }
}

/// What to say of an expiry that has passed; `None`: it has not.
pub(crate) fn past_expiry(before: &TableMeta, now: Timestamp) -> Option<String> {
    let at = before.expires_ms().map(from_millis).filter(|at| *at <= now)?;
    Some(format!(
        "its expiry ({at}) has passed: it was put back without one, for it would be gone at once"
    ))
}

/// Asks, a dataset at a time, for its defaults and for what stands on the tables that are to be put back.
pub(crate) async fn look(t: &Tool, api: &Api<'_>, held: &Held<'_>, plans: &[Planned]) -> Result<Beyond, Failure> {
    let mut tables: BTreeMap<DatasetRef, (Vec<&TableRef>, Option<Location>)> = BTreeMap::new();
    for planned in plans.iter().filter(|planned| matches!(planned.way, Way::Restore(_))) {
        let snapshot = &planned.snapshot;
        let own = snapshot.meta.as_ref().and_then(TableMeta::location);
        let of_dataset = tables.entry(snapshot.table.dataset_ref()).or_default();
        of_dataset.0.push(&snapshot.table);
        of_dataset.1 = t.location.clone().or(own).or(of_dataset.1.take());
    }
    let mut beyond = Beyond::default();
    let datasets = at_a_time(t.jobs, tables.keys(), async |name: &DatasetRef| {
        (name, api.dataset(name).await)
    })
    .await;
    for (name, dataset) in datasets {
        let doing = format!("asking for the defaults of {name}");
        if let Some(Some(dataset)) = answer(t, dataset, &doing)? {
            beyond.datasets.insert(name.clone(), dataset);
        }
    }
    let labels = held.labels();
    let asked = at_a_time(
        t.jobs,
        &tables,
        async |(name, (of, place)): (&DatasetRef, &(Vec<&TableRef>, Option<Location>))| {
            let question = Question {
                what: "beyond",
                location: place.as_ref(),
                labels: &labels,
                params: &[],
            };
            (of, standing(api, &question, &sql::standing(name)).await)
        },
    )
    .await;
    for (of, found) in asked {
        if let Some(found) = answer(t, found, "asking for indexes and materialized views")? {
            for table in of {
                beyond
                    .things
                    .entry((*table).clone())
                    .or_default()
                    .extend(found.on(table));
            }
        }
    }
    beyond.things.values_mut().for_each(|things| things.sort());
    Ok(beyond)
}

/// An answer that a rollback can do without: why there is none is told where more is wanted to be heard.
fn answer<T>(t: &Tool, answer: Result<T, ApiError>, doing: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if matches!(e.exit(), Exit::Signal(_)) => Err(e.failure(doing)),
        Err(e) => {
            if t.verbose {
                t.tell(&format!("{doing}: {e}"));
            }
            Ok(None)
        }
    }
}

/// What is written down of a table before it is replaced, or, if it is `dropped`, before that.
pub(crate) async fn before(api: &Api<'_>, task: &Task<'_>, dropped: bool) -> Result<Kept, Failure> {
    let mut kept = Kept {
        beyond: task.beyond.clone(),
        ..Kept::default()
    };
    if !dropped {
        return Ok(kept);
    }
    match api.iam_policy(task.table).await {
        Ok(policy) => kept.access = Some(policy),
        Err(e) if matches!(e.exit(), Exit::Signal(_)) => {
            return Err(e.failure(&format!("asking for the grants on {}", task.table)));
        }
        Err(e) => {
            let right = match e.exit() {
                Exit::Denied => "; the right to it is bigquery.tables.getIamPolicy",
                _ => "",
            };
            kept.beyond.push(format!(
                "grants on the table itself, not read before it was dropped ({e}{right})"
            ));
        }
    }
    Ok(kept)
}

/// What was there before this round, and, of an undo, what it puts back.
pub(crate) fn was(run: &Run, table: &TableRef) -> (Option<Kept>, Option<Kept>) {
    let protected = run.tables.get(table).map(|p| (p.was.clone(), p.undo_to.clone()));
    let cleared = || run.cleared.get(table).map(|c| (c.was.clone(), c.undo_to.clone()));
    let (was, undo_to) = protected.or_else(cleared).unwrap_or_default();
    (was, undo_to.filter(|_| run.undo == Undo::Begun))
}

/// What went with a table, or before it, and cannot be known any more, for people.
pub(crate) fn gone(run: &Run, table: &TableRef) -> Vec<String> {
    let (was, undo_to) = was(run, table);
    let Some(was) = was else { return Vec::new() };
    let mut gone = was.beyond.clone();
    let there_was_a_table = was.kept.is_some();
    let known = undo_to.is_some_and(|undo_to| undo_to.access.is_some());
    if !there_was_a_table && !known {
        gone.push(
            "grants on the table itself, if it had any (they went when it was dropped, before bq-restore)".to_owned(),
        );
    }
    if !there_was_a_table || run.step(Step::Drop, table).is_some() {
        gone.push("tags of the catalog, if it had any (they went when it was dropped)".to_owned());
    }
    gone
}

/// Gives a table that had to be dropped the grants that it had: what could not be given, for people.
pub(crate) async fn access(api: &Api<'_>, held: &Held<'_>, table: &TableRef) -> Result<(Vec<String>, bool), Failure> {
    let (was, undo_to) = was(&held.run(), table);
    // The grants on a view that took the table's name were made for what the view shows.
    let of_table = was.filter(|was| was.definition.is_none()).and_then(|was| was.access);
    let Some(wanted) = undo_to.and_then(|undo_to| undo_to.access).or(of_table) else {
        return Ok((Vec::new(), false));
    };
    let want = grants(&wanted);
    if want.is_empty() {
        return Ok((Vec::new(), false));
    }
    let failed = |e: &ApiError| {
        Ok((
            vec![format!("grants on the table itself: {} ({e})", told(&want))],
            false,
        ))
    };
    let now = match api.iam_policy(table).await {
        Ok(now) => now,
        Err(e) if matches!(e.exit(), Exit::Signal(_)) => return Err(e.failure("asking for grants").about(table)),
        Err(e) => return failed(&e),
    };
    if grants(&now) == want {
        return Ok((Vec::new(), false));
    }
    let policy = policy_with_grants(&now, &wanted);
    let set = api.set_iam_policy(table, &policy);
    let sent = held.change(Step::Access, table, "grants", &policy, set).await?;
    // Whatever was answered: a reply may be lost, and what is there counts.
    match (api.iam_policy(table).await, sent) {
        (Ok(now), _) if grants(&now) == want => Ok((Vec::new(), true)),
        (Err(e), _) | (_, Err(e)) => failed(&e),
        (Ok(now), Ok(_)) => {
            let is = told(&grants(&now));
            Ok((
                vec![format!("grants on the table itself: {}; they are {is}", told(&want))],
                true,
            ))
        }
    }
}

/// Grants for people.
fn told(grants: &BTreeMap<(String, String), BTreeSet<String>>) -> String {
    let one = |((role, condition), members): (&(String, String), &BTreeSet<String>)| {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let condition = match condition.as_str() {
            "" => String::new(),
            condition => format!(" under {condition}"),
        };
        format!("{role} to {}{condition}", members.join(", "))
    };
    match grants.is_empty() {
        true => "none".to_owned(),
        false => grants.iter().map(one).collect::<Vec<_>>().join("; "),
    }
}

/// Says once of a table what is not as it was and cannot be made so.
pub(crate) fn warn(t: &Tool, table: &TableRef, not_restored: &[String]) {
    if not_restored.is_empty() {
        return;
    }
    let what = format!("`{table}` was put back without: {}", not_restored.join("; "));
    let hint = "make again by hand what is missed of it";
    t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
}
