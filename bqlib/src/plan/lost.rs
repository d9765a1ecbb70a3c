//! PURE: what BigQuery's snapshots tell of a run whose journal is lost: which are its, of what, of which instant, and whether they say that
//! it was accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Listed, Table};
use crate::clock::{from_millis, later};
use crate::exit::{Exit, Failure};
use crate::names::{DatasetRef, RunId, TableRef};
use crate::runs::{KEEP_FOR, OPEN_FOR};
use crate::sql::{RUN_LABEL, STATE_LABEL};
use crate::state::{Judgement, Status};
use crate::tables::Which;

/// The state label of what a restore kept.
const KEPT: &str = "kept";

/// A snapshot of a run, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The table that it is of.
    pub table: TableRef,
    /// Its name.
    pub snapshot: TableRef,
    /// Its instant.
    pub cut: Timestamp,
    /// What its label says of the run.
    pub state: Option<String>,
}

/// What may be a run's snapshots among what is listed: by their label; without one, by their name.
pub fn candidates<'l>(run: &RunId, listed: &'l [Listed]) -> Vec<&'l TableRef> {
    let name = format!("_snapshot_{run}");
    let is = |entry: &&Listed| match entry.label(RUN_LABEL) {
        Some(label) => label == run.as_str() && entry.label(STATE_LABEL) != Some(KEPT),
        None => entry.table.table.as_str().ends_with(&name),
    };
    let snapshots = listed.iter().filter(|entry| entry.kind == "SNAPSHOT");
    snapshots.filter(is).map(|entry| &entry.table).collect()
}

/// The run's snapshots among the candidates that were read, one a table. One that has the name that bq-snap gives takes the place of another.
///
/// # Errors
/// Two could be a table's; or they are of several instants.
pub fn snapshots(run: &RunId, read: &BTreeMap<TableRef, Option<Table>>) -> Result<Vec<Found>, Failure> {
    let mut found: BTreeMap<TableRef, (bool, Found)> = BTreeMap::new();
    for (snapshot, there) in read {
        let Some((there, (table, cut))) = there.as_ref().and_then(|there| Some((there, there.snapshot_of()?))) else {
            continue;
        };
        let apart = snapshot.dataset_ref();
        let names = [table.snapshot_name(run, None), table.snapshot_name(run, Some(&apart))];
        let named = names.into_iter().flatten().any(|name| name == *snapshot);
        if !named && there.label(RUN_LABEL).is_none() {
            // Of another run, whose name ends as this one's, or of nobody's.
            continue;
        }
        let one = Found {
            table: table.clone(),
            snapshot: snapshot.clone(),
            cut,
            state: there.label(STATE_LABEL).map(str::to_owned),
        };
        match found.get(&table) {
            Some((as_named, _)) if *as_named && !named => {}
            Some((as_named, other)) if *as_named == named => return Err(ambiguous(&one, other)),
            _ => {
                found.insert(table, (named, one));
            }
        }
    }
    let found: Vec<Found> = found.into_values().map(|(_, found)| found).collect();
    let instants: BTreeSet<Timestamp> = found.iter().map(|f| f.cut).collect();
    match (instants.first(), instants.last()) {
        (Some(first), Some(last)) if first != last => {
            let told: Vec<String> = found.iter().map(|f| format!("{} of {}", f.snapshot, f.cut)).collect();
            let what = format!("the snapshots of run `{run}` are of {} instants", instants.len());
            let hint = "they are not of one run: name them yourself, with `bq-restore -`; nothing was changed";
            Err(Failure::refused(what, told.join(", "), hint))
        }
        _ => Ok(found),
    }
}

fn ambiguous(one: &Found, other: &Found) -> Failure {
    let what = format!("two snapshots could be the run's of `{}`", one.table);
    let at = format!("{} and {}", other.snapshot, one.snapshot);
    let hint = "remove the one that is not, or name the other with `bq-restore -`; nothing was changed";
    Failure::refused(what, at, hint).about(&one.table)
}

/// The tables that were named, of those of a run; empty: all of them. `of` are the run's tables, each with its snapshot.
///
/// # Errors
/// One that is named is not the run's (1).
pub fn chosen<'f>(
    run: &RunId,
    of: impl Iterator<Item = (&'f TableRef, Option<&'f TableRef>)> + Clone,
    named: &[Which],
) -> Result<Vec<TableRef>, Failure> {
    let mut chosen = BTreeSet::new();
    for which in named {
        let is = |table: &TableRef, snapshot: Option<&TableRef>| match which {
            Which::Table(one) => one == table,
            Which::All(dataset) => [Some(table), snapshot]
                .into_iter()
                .flatten()
                .any(|name| name.dataset_ref() == *dataset),
        };
        let mut fits = of.clone().filter(|(table, snapshot)| is(table, *snapshot)).peekable();
        if fits.peek().is_none() {
            return Err(none_of(run, which));
        }
        chosen.extend(fits.map(|(table, _)| table.clone()));
    }
    match named.is_empty() || chosen.len() == of.count() {
        true => Ok(Vec::new()),
        false => Ok(chosen.into_iter().collect()),
    }
}

/// Nothing of what was named is the run's (1).
fn none_of(run: &RunId, which: &Which) -> Failure {
    let (what, at) = match which {
        Which::Table(table) => (
            format!("run `{run}` has no snapshot of `{table}`, as far as it is known here"),
            format!("table {table}"),
        ),
        Which::All(dataset) => (
            format!("run `{run}` has no snapshot in or of `{dataset}`, as far as it is known here"),
            format!("dataset {dataset}"),
        ),
    };
    let hint = "it may have expired, or be kept in a dataset of its own: --snapshot-dataset; a run that is known here \
                only in part is rebuilt in another place: --state-dir";
    Failure::new(Exit::No, what, at, hint)
}

/// What the labels of a run's snapshots say of its migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was accepted.
    Accepted,
    /// Something else.
    Otherwise,
    /// Nothing.
    Nothing,
}

/// What the labels of a run's snapshots say of its migration.
pub fn said(found: &[Found]) -> Said {
    let states: Vec<&str> = found.iter().filter_map(|f| f.state.as_deref()).collect();
    match states.is_empty() {
        true => Said::Nothing,
        false if states.contains(&Status::Accepted.name()) => Said::Accepted,
        false => Said::Otherwise,
    }
}

/// The verdict that a rebuilt journal begins with, if it is to have one; `submitted`: whether the migration's job is there.
///
/// # Errors
/// The migration was accepted, or nobody says that it was not, and it was not said that this does not matter.
pub fn judge(run: &RunId, said: Said, submitted: bool, even_accepted: bool) -> Result<Option<Judgement>, Failure> {
    let refuse = |what: String| {
        let hint = format!("bq-restore --run {run} --even-accepted, and the same tables");
        Err(Failure::refused(what, format!("run {run}"), hint))
    };
    let accepted = |because: &str| {
        Ok(submitted.then(|| Judgement {
            accepted: true,
            by_person: false,
            because: because.to_owned(),
        }))
    };
    match (said, submitted, even_accepted) {
        (Said::Otherwise, ..) | (Said::Nothing, false, _) => Ok(None),
        (Said::Accepted, _, false) => refuse(format!(
            "the snapshots of run `{run}` say that it was accepted: it is rolled back only when a person says so"
        )),
        (Said::Nothing, true, false) => refuse(format!(
            "whether run `{run}` was accepted is not known: its journal is lost, and its snapshots do not say"
        )),
        (Said::Accepted, _, true) => accepted("the labels of its snapshots say so"),
        (Said::Nothing, true, true) => accepted("not known; a person said `--even-accepted`"),
    }
}

/// How long the run's snapshots are to live once it is settled: as long as can be told from when they expire. `None`: for ever.
pub fn keep_for(cut: Timestamp, expires_ms: Option<u64>) -> Option<Duration> {
    let expires = from_millis(expires_ms?);
    let lives = Duration::try_from(expires.duration_since(cut)).unwrap_or_default();
    Some(match expires > later(cut, OPEN_FOR) {
        // Made to live longer than an open run's have to: so long was asked for.
        true => lives,
        false => KEEP_FOR,
    })
}

/// The runs that have open snapshots in one of these datasets.
pub fn open_in(listed: &[Listed], datasets: &BTreeSet<DatasetRef>) -> BTreeSet<RunId> {
    let open = |entry: &&Listed| {
        entry.kind == "SNAPSHOT"
            && entry.label(STATE_LABEL) == Some("open")
            && datasets.contains(&entry.table.dataset_ref())
    };
    let runs = listed.iter().filter(open).filter_map(|entry| entry.label(RUN_LABEL));
    runs.filter_map(|run| run.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    const CUT: &str = "2026-01-01T00:00:00Z";

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    fn run() -> RunId {
        "r1".parse().unwrap()
    }

    fn labels(run: Option<&str>, state: Option<&str>) -> Map<String, Value> {
        let all = [(RUN_LABEL, run), (STATE_LABEL, state)];
        all.into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))))
            .collect()
    }

    fn there(base: &str, cut: &str, run: Option<&str>, state: Option<&str>) -> Option<Table> {
        let base = table(base);
        Some(Table::of(&json!({
            "type": "SNAPSHOT",
            "labels": labels(run, state),
            "snapshotDefinition": {
                "baseTableReference": { "projectId": base.project, "datasetId": base.dataset, "tableId": base.table },
                "snapshotTime": cut,
            },
        })))
    }

    #[test]
    fn candidates_are_known_by_label_or_by_name() {
        for (name, kind, run_label, state, is) in [
            ("p.d.a_snapshot_r1", "SNAPSHOT", Some("r1"), Some("open"), true),
            ("p.d.a_snapshot_r1", "SNAPSHOT", Some("r1"), None, true),
            ("p.d.a_snapshot_r1", "SNAPSHOT", None, None, true),
            ("p.d.renamed", "SNAPSHOT", Some("r1"), Some("open"), true),
            ("p.d.a_before_restore_r1", "SNAPSHOT", Some("r1"), Some("kept"), false),
            ("p.d.a_snapshot_r1", "SNAPSHOT", Some("r2"), Some("open"), false),
            ("p.d.a_snapshot_r1", "TABLE", Some("r1"), Some("open"), false),
            ("p.d.a_snapshot_r12", "SNAPSHOT", None, None, false),
        ] {
            let listed = [Listed {
                table: table(name),
                kind: kind.to_owned(),
                labels: labels(run_label, state),
                created_ms: 0,
            }];
            assert_eq!(
                candidates(&run(), &listed).len() == 1,
                is,
                "{name} {run_label:?} {state:?}"
            );
            let open = open_in(&listed, &BTreeSet::from([listed[0].table.dataset_ref()]));
            assert_eq!(!open.is_empty(), kind == "SNAPSHOT" && state == Some("open"), "{name}");
            assert!(open_in(&listed, &BTreeSet::new()).is_empty());
        }
    }

    #[test]
    fn a_table_has_one_snapshot_and_all_are_of_one_instant() {
        let later = "2026-01-01T00:00:01Z";
        let one = ("p.d.a_snapshot_r1", there("p.d.a", CUT, Some("r1"), Some("open")));
        let apart = ("p.s.d__a_snapshot_r1", there("p.d.a", CUT, Some("r1"), None));
        let by_name = ("p.s.d__b_snapshot_r1", there("p.d.b", CUT, None, None));
        let not_by_name = ("p.d.x_snapshot_r1", there("p.d.b", CUT, None, None));
        let renamed = ("p.d.renamed", there("p.d.a", CUT, Some("r1"), Some("open")));
        let other = ("p.d.b_snapshot_r1", there("p.d.b", later, Some("r1"), Some("open")));
        let gone = ("p.d.c_snapshot_r1", None);
        // what is there, and the names of what is taken (none: refused)
        for (read, want) in [
            (vec![&one], Some(vec!["p.d.a_snapshot_r1"])),
            (
                vec![&one, &by_name, &gone],
                Some(vec!["p.d.a_snapshot_r1", "p.s.d__b_snapshot_r1"]),
            ),
            (vec![&not_by_name], Some(vec![])),
            (vec![&renamed], Some(vec!["p.d.renamed"])),
            (vec![&renamed, &one], Some(vec!["p.d.a_snapshot_r1"])),
            (vec![&apart, &renamed], Some(vec!["p.s.d__a_snapshot_r1"])),
            (vec![&one, &apart], None),
            (vec![&one, &other], None),
        ] {
            let map = read.iter().map(|(name, there)| (table(name), there.clone())).collect();
            let got = snapshots(&run(), &map);
            let names = got.as_ref().ok().map(|found| {
                let names = found.iter().map(|f| f.snapshot.to_string());
                names.collect::<Vec<_>>()
            });
            assert_eq!(
                names,
                want.map(|want| want.iter().map(|n| (*n).to_owned()).collect()),
                "{got:?}"
            );
            assert!(got.is_ok_and(|found| found.iter().all(|f| f.cut == CUT.parse().unwrap())) || names.is_none());
        }
    }

    #[test]
    fn those_that_are_named_are_chosen() {
        let all = |d: &str| Which::All(DatasetRef::parse(d, &"p".parse().unwrap()).unwrap());
        let one = |t: &str| Which::Table(table(t));
        let of = [
            (table("p.d.a"), table("p.s.d__a_snapshot_r1")),
            (table("p.e.b"), table("p.s.e__b_snapshot_r1")),
        ];
        let pairs = of.iter().map(|(t, s)| (t, Some(s)));
        for (named, want) in [
            (vec![], Some(vec![])),
            (vec![all("p.s")], Some(vec![])),
            (vec![one("p.d.a"), one("p.e.b")], Some(vec![])),
            (vec![all("p.d"), all("p.e")], Some(vec![])),
            (vec![one("p.d.a")], Some(vec!["p.d.a"])),
            (vec![all("p.d"), one("p.d.a")], Some(vec!["p.d.a"])),
            (vec![one("p.d.c")], None),
            (vec![one("p.d.a"), all("p.z")], None),
        ] {
            let got = chosen(&run(), pairs.clone(), &named);
            let names = got
                .ok()
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
            let want = want.map(|w: Vec<&str>| w.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
            assert_eq!(names, want, "{named:?}");
        }
    }

    #[test]
    fn whether_it_was_accepted_is_asked_of_the_labels() {
        let found = |states: &[Option<&str>]| -> Vec<Found> {
            let one = |state: &Option<&str>| Found {
                table: table("p.d.a"),
                snapshot: table("p.d.a_snapshot_r1"),
                cut: CUT.parse().unwrap(),
                state: state.map(str::to_owned),
            };
            states.iter().map(one).collect()
        };
        // the labels, whether it was submitted, --even-accepted: refused; or whether the journal begins with a verdict
        for (states, submitted, even, want) in [
            (&[Some("open")][..], true, false, Some(false)),
            (&[Some("open")], true, true, Some(false)),
            (&[Some("rolled-back"), None], true, false, Some(false)),
            (&[Some("abandoned")], false, false, Some(false)),
            (&[Some("accepted")], true, false, None),
            (&[Some("open"), Some("accepted")], true, false, None),
            (&[Some("accepted")], true, true, Some(true)),
            (&[Some("accepted")], false, true, Some(false)),
            (&[Some("accepted")], false, false, None),
            (&[None], true, false, None),
            (&[None], true, true, Some(true)),
            (&[None], false, false, Some(false)),
        ] {
            let got = judge(&run(), said(&found(states)), submitted, even);
            let got = got.map(|verdict| verdict.is_some_and(|v| v.accepted)).ok();
            assert_eq!(got, want, "{states:?} {submitted} {even}");
        }
    }

    #[test]
    fn how_long_snapshots_are_to_live_is_told_by_their_expiry() {
        let cut: Timestamp = CUT.parse().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let expires = |days: u32| Some(crate::clock::millis(later(cut, day * days)));
        assert_eq!(keep_for(cut, None), None);
        assert_eq!(keep_for(cut, expires(7)), Some(KEEP_FOR));
        assert_eq!(keep_for(cut, expires(1)), Some(KEEP_FOR));
        assert_eq!(keep_for(cut, expires(30)), Some(day * 30));
    }
}
