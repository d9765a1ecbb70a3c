//! PURE: how many snapshots of a table there are, and were made in a day, held against what BigQuery allows.
//!
//! Source: <https://docs.cloud.google.com/bigquery/quotas#table_snapshots>. Only the copies that these programs made are
//! seen.

use std::collections::BTreeMap;

use bqlib::api::Listed;
use bqlib::clock::{from_millis, later, millis};
use bqlib::names::{RunId, TableRef};
use bqlib::rivals::Shared;
use bqlib::sql::RUN_LABEL;
use bqlib::state::{Run, Step};
use jiff::Timestamp;

use crate::preflight::Finding;

/// Snapshots of one table in a day.
const A_DAY: usize = 50;
/// From here on it is worth a word.
const SOON_A_DAY: usize = 40;
/// Clones and snapshots of one table that live.
const ALIVE: usize = 1000;
const SOON_ALIVE: usize = 900;

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// A snapshot of a table: when it was made, and whether it is known to live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Made {
    at: Timestamp,
    lives: bool,
}

/// What carries a run's label, with that run.
pub(crate) fn copies(listed: &[Listed]) -> Vec<(RunId, &Listed)> {
    let of_run = |entry: &Listed| entry.label(RUN_LABEL)?.parse::<RunId>().ok();
    listed
        .iter()
        .filter_map(|entry| Some((of_run(entry)?, entry)))
        .collect()
}

/// Every snapshot of a table that these programs made, by its name: from the journals of this state directory, and from
/// the `copies` beside the one that is to be made. Not those of the run `ours`, which is taken up again.
pub(crate) fn made(
    shared: &Shared,
    known: &[&Run],
    copies: &[(RunId, &Listed)],
    ours: &RunId,
) -> BTreeMap<TableRef, Made> {
    let table = shared.table();
    let mut all = BTreeMap::new();
    for run in known.iter().filter(|run| run.created.run != *ours) {
        let Some(protected) = run.tables.get(table) else {
            continue;
        };
        let done = |step| {
            let progress = run.steps.get(&(step, Some(table.clone())));
            progress.is_some_and(|p| p.outcome.as_ref().is_some_and(|o| o.error.is_none() && !o.unknown))
        };
        if let (Some(name), Some(cut), true) = (&protected.snapshot.snapshot, run.cut, done(Step::Snapshot)) {
            all.insert(name.clone(), Made { at: cut, lives: false });
        }
        // A journal does not say when: not later than anything else of the run.
        if let Some(name) = &protected.kept {
            let at = run.touched;
            all.insert(name.clone(), Made { at, lives: false });
        }
    }
    let of_table = |(run, entry): &&(RunId, &Listed)| {
        run != ours && (shared.has(run, &entry.table) || kept(table, run, &entry.table))
    };
    for (_, entry) in copies.iter().filter(of_table) {
        // A copy in full is no snapshot.
        match entry.kind.as_str() {
            "SNAPSHOT" => all.insert(
                entry.table.clone(),
                Made {
                    at: from_millis(entry.created_ms),
                    lives: true,
                },
            ),
            _ => all.remove(&entry.table),
        };
    }
    all
}

/// Whether this is the name of a copy of the table that a restore of that run kept.
fn kept(table: &TableRef, run: &RunId, copy: &TableRef) -> bool {
    let name = copy.table.as_str();
    let rest = name
        .strip_prefix(table.table.as_str())
        .and_then(|rest| rest.strip_prefix("_before_restore_"))
        .and_then(|rest| rest.strip_prefix(run.as_str()));
    let number = |rest: &str| {
        let number = rest.strip_prefix('_').map(str::parse::<u32>);
        rest.is_empty() || number.is_some_and(|n| n.is_ok())
    };
    copy.dataset_ref() == table.dataset_ref() && rest.is_some_and(number)
}

/// What is to be said before another snapshot of the table is made.
pub(crate) fn judge(table: &TableRef, made: &BTreeMap<TableRef, Made>, now: Timestamp) -> Option<Finding> {
    let mut recent: Vec<Timestamp> = made.values().map(|m| m.at).filter(|at| later(*at, DAY) > now).collect();
    recent.sort();
    let alive = made.values().filter(|m| m.lives).count();
    let at = format!("table {table}");
    let remove = "let some expire, or remove those of settled runs: bq-snap --list, then bq-snap --drop RUN";
    let finding = if let Some(first) = recent.len().checked_sub(A_DAY) {
        // When this one is a day old, one less than the limit is left.
        let free = recent.get(first).map_or(now, |at| later(*at, DAY));
        let what = format!(
            "{} snapshots of `{table}` were made in the last 24 hours, and BigQuery allows {A_DAY} a table a day",
            recent.len()
        );
        let hint = format!(
            "run again from {} on; or take it off the list, having copied it in full: bq cp {} {}",
            from_millis(millis(free)),
            bq_name(table),
            bq_name(&table.with_suffix("_full").unwrap_or_else(|_| table.clone())),
        );
        Finding::refusal(what, at, hint)
    } else if alive >= ALIVE {
        let what = format!("`{table}` has {alive} snapshots, and BigQuery allows {ALIVE} of a table");
        Finding::refusal(what, at, remove)
    } else if recent.len() >= SOON_A_DAY {
        let what = format!(
            "{} snapshots of `{table}` were made in the last 24 hours; at {A_DAY} BigQuery makes no more, \
             and a rollback needs one too",
            recent.len()
        );
        Finding::warning(what, at, "run it less often, or with fewer tables a run")
    } else if alive >= SOON_ALIVE {
        let what = format!("`{table}` has {alive} snapshots; at {ALIVE} BigQuery makes no more");
        Finding::warning(what, at, remove)
    } else {
        return None;
    };
    Some(finding.about(table))
}

/// The numbers for people.
pub(crate) fn told(made: &BTreeMap<TableRef, Made>, now: Timestamp) -> String {
    let recent = made.values().filter(|m| later(m.at, DAY) > now).count();
    let alive = made.values().filter(|m| m.lives).count();
    format!("{recent} of {A_DAY} in 24 hours, {alive} of {ALIVE} alive, as far as these programs made them")
}

/// As `bq` names tables.
fn bq_name(table: &TableRef) -> String {
    format!("{}:{}.{}", table.project, table.dataset, table.table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + hours * 3600).unwrap()
    }

    fn entry(name: &str, run: &str, kind: &str, hours: i64) -> Listed {
        Listed {
            table: table(name),
            kind: kind.to_owned(),
            labels: Map::from_iter([(RUN_LABEL.to_owned(), json!(run))]),
            created_ms: millis(at(hours)),
        }
    }

    fn shared() -> Shared {
        let run = "now".parse().unwrap();
        Shared::of(&table("p.d.t"), None, &table("p.d.t_snapshot_now"), &run).unwrap()
    }

    #[test]
    fn what_is_beside_it_counts_by_name_label_and_kind() {
        let ours = "now".parse().unwrap();
        for (name, run, kind, counts) in [
            ("p.d.t_snapshot_r1", "r1", "SNAPSHOT", true),
            ("p.d.t_before_restore_r1", "r1", "SNAPSHOT", true),
            ("p.d.t_before_restore_r1_2", "r1", "SNAPSHOT", true),
            ("p.d.t_before_restore_r1", "r1", "TABLE", false),
            ("p.d.t_before_restore_r1_x", "r1", "SNAPSHOT", false),
            ("p.d.t_snapshot_r1", "r2", "SNAPSHOT", false),
            ("p.d.tt_snapshot_r1", "r1", "SNAPSHOT", false),
            ("p.e.t_snapshot_r1", "r1", "SNAPSHOT", false),
            ("p.d.t_snapshot_now", "now", "SNAPSHOT", false),
        ] {
            let found = made(&shared(), &[], &copies(&[entry(name, run, kind, 0)]), &ours);
            assert_eq!(found.len() == 1, counts, "{name} {run} {kind}");
        }
    }

    /// Snapshots made one an hour, the last of them `ago` hours before now, and when now is.
    fn hourly(number: usize, ago: i64) -> (BTreeMap<TableRef, Made>, Timestamp) {
        let one = |i: usize| {
            // 20 an hour, so that any number fits into a day.
            let made = Made {
                at: at(i64::try_from(i / 20).unwrap()),
                lives: true,
            };
            (table(&format!("p.d.t_snapshot_r{i}")), made)
        };
        let last = i64::try_from(number.saturating_sub(1) / 20).unwrap();
        ((0..number).map(one).collect(), at(last + ago))
    }

    #[test]
    fn fifty_a_day_are_refused_forty_are_told() {
        // number, hours since the last, refused (none: nothing is said)
        for (number, ago, refused) in [
            (0, 0, None),
            (39, 0, None),
            (40, 0, Some(false)),
            (49, 0, Some(false)),
            (50, 0, Some(true)),
            (51, 0, Some(true)),
            (50, 23, None),
            (50, 21, Some(true)),
            (60, 22, Some(false)),
            (899, 100, None),
            (900, 100, Some(false)),
            (999, 100, Some(false)),
            (1000, 100, Some(true)),
        ] {
            let (made, now) = hourly(number, ago);
            let said = judge(&table("p.d.t"), &made, now);
            assert_eq!(said.as_ref().map(|f| f.refuses), refused, "{number} {ago} {said:?}");
        }
    }

    #[test]
    fn it_says_when_the_limit_frees() {
        let (made, now) = hourly(51, 0);
        let failure = judge(&table("p.d.t"), &made, now).unwrap().failure;
        assert!(failure.what.starts_with("51 snapshots of `p.d.t`"), "{failure}");
        // The first two of 51 must be a day old, and both were made in the first hour.
        assert!(
            failure.hint.contains("run again from 2026-01-02T00:00:00Z on"),
            "{failure}"
        );
        assert!(failure.hint.contains("bq cp p:d.t p:d.t_full"), "{failure}");
        assert_eq!(failure.table, Some(table("p.d.t")));
        assert!(told(&made, now).starts_with("51 of 50 in 24 hours, 51 of 1000 alive"));
    }
}
