//! PURE: until when a run can be rolled back: by its snapshots, and by the history that BigQuery keeps of every table. Knows no clock; what
//! it says is reckoned from the journal.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::later;
use crate::exit::{Exit, Failure};
use crate::names::TableRef;
use crate::state::{Protected, Run, Status};

/// How far back a table can be read, in hours, unless its dataset says otherwise.
/// Source: <https://docs.cloud.google.com/bigquery/docs/time-travel#configure_the_time_travel_window>.
pub const WINDOW_HOURS: u64 = 168;

/// So near its end a pending run is worth a word, unless another length was asked for.
pub const WARN_UNDER: Duration = Duration::from_secs(24 * 3600);

/// Until when a run can be rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When the first of its snapshots expires; absent: never.
    pub snapshots: Option<Timestamp>,
    /// Until about when every table of it can be read as of the cut; absent: there was no cut.
    pub time_travel: Option<Timestamp>,
}

impl Deadline {
    /// That of a run; `None`: it has no snapshots to speak of.
    pub fn of(run: &Run) -> Option<Deadline> {
        (run.status != Status::Snapping && !run.tables.is_empty()).then(|| Deadline {
            snapshots: run.expires(),
            time_travel: by_time_travel(run),
        })
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.snapshots {
            Some(at) => write!(f, "until {at} by its snapshots")?,
            None => f.write_str("at any time by its snapshots, which do not expire")?,
        }
        match self.time_travel {
            Some(at) => write!(f, ", until about {at} by time travel"),
            None => Ok(()),
        }
    }
}

/// Until about when every table of a run can be read as of the cut.
pub fn by_time_travel(run: &Run) -> Option<Timestamp> {
    let tables = run.tables.values().filter(|p| !p.snapshot.absent);
    tables.filter_map(|p| readable_until(p, run.cut)).min()
}

/// Until about when one table of a run can be read as of the cut.
pub fn readable_until(table: &Protected, cut: Option<Timestamp>) -> Option<Timestamp> {
    let hours = table.snapshot.time_travel_hours.unwrap_or(WINDOW_HOURS);
    let window = Duration::from_secs(hours.saturating_mul(3600));
    table.snapshot.cut.or(cut).map(|cut| later(cut, window))
}

/// When the snapshot of a table expires, as the journal has it; for the `until` of a record.
pub fn until(run: &Run, table: &TableRef) -> Option<Timestamp> {
    run.tables.get(table)?.expires
}

/// The failure of a pending run, with the deadline in its place: whoever reads it knows how long there is time.
pub fn named(failure: Failure, run: &Run) -> Failure {
    match Deadline::of(run).filter(|_| run.is_pending()) {
        Some(deadline) => Failure {
            at: format!("{}; run {} can be rolled back {deadline}", failure.at, run.created.run),
            ..failure
        },
        None => failure,
    }
}

/// What is to be said of a pending run that has less than `under` left at `now`, or nothing.
pub fn warning(run: &Run, now: Timestamp, under: Duration) -> Option<Failure> {
    let deadline = Deadline::of(run).filter(|_| run.is_pending())?;
    let at = deadline.snapshots.filter(|at| *at < later(now, under))?;
    let id = &run.created.run;
    let warn = |what, hint| Failure::new(Exit::Ok, what, format!("run {id}"), hint);
    if at > now {
        let what = format!(
            "run `{id}` is {} and not settled, and its snapshots expire in {}: it can be rolled back {deadline}",
            run.status,
            in_words(now, at)
        );
        return Some(warn(
            what,
            format!("bq-restore --run {id}, or more time: bq-snap --extend {id} 24h"),
        ));
    }
    let past = format!("run `{id}` is past its deadline, and not settled: a snapshot of it expired at {at}");
    Some(match deadline.time_travel {
        Some(end) if end > now => warn(
            format!("{past}; by time travel its tables can be read as of the cut until about {end}"),
            format!("bq-restore --run {id}, now"),
        ),
        Some(end) => warn(
            format!("{past}, and so, at about {end}, did what time travel keeps"),
            format!("bq-restore -n --run {id} shows what is left"),
        ),
        None => warn(past, format!("bq-restore -n --run {id} shows what is left")),
    })
}

/// From one instant to a later one, for people.
fn in_words(from: Timestamp, to: Timestamp) -> String {
    let minutes = to.duration_since(from).as_mins();
    match (minutes / 60, minutes) {
        (48.., _) => format!("{} days", minutes / (24 * 60)),
        (2.., _) => format!("{} hours", minutes / 60),
        (_, 1) => "a minute".to_owned(),
        _ => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Event, fold};
    use serde_json::{Value, json};

    const CUT: &str = "2026-01-01T00:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn verified(table: &str, expires: Option<&str>, hours: Option<u64>) -> Value {
        let mut record = json!({ "run": "r", "table": table, "snapshot": format!("{table}_snapshot_r"), "cut": CUT });
        if let Some(expires) = expires {
            record["expires"] = json!(expires);
        }
        if let Some(hours) = hours {
            record["time_travel_hours"] = json!(hours);
        }
        json!({ "verified": record })
    }

    fn patch(step: &str, table: &str, expires: &str, outcome: Value) -> Vec<Value> {
        let what = json!({ "expirationTime": at(expires).as_millisecond().to_string() });
        let of = json!({ "step": step, "table": format!("{table}_snapshot_r"), "attempt": 1 });
        let with = |more: Value| {
            let mut all = of.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        vec![
            json!({ "intent": with(json!({ "digest": "", "what": what })) }),
            json!({ "outcome": with(outcome) }),
        ]
    }

    fn run(more: impl IntoIterator<Item = Value>) -> Run {
        let created = json!({ "created": { "v": 1, "run": "r", "project": "pro-ject", "endpoint": "", "tool": "",
            "version": "", "nonce": "", "unprotected": false, "keep_ms": null } });
        let history: Vec<Event> = [created]
            .into_iter()
            .chain(more)
            .map(|event| serde_json::from_value(event).unwrap())
            .collect();
        fold(history.iter().map(|event| (at(CUT), event))).unwrap()
    }

    /// A run that is pending, of these tables.
    fn pending(tables: Vec<Value>, more: Vec<Value>) -> Run {
        let sent = json!({ "intent": { "step": { "migrate": 1 }, "attempt": 1, "digest": "" } });
        let rest = [json!("protected"), sent].into_iter().chain(more);
        run(tables.into_iter().chain(rest))
    }

    const SEVENTH: Option<&str> = Some("2026-01-07T00:00:00Z");
    const EIGHTH: Option<&str> = Some("2026-01-08T00:00:00Z");

    #[test]
    fn the_first_to_go_is_the_deadline() {
        let two = vec![verified("p.d.a", EIGHTH, None), verified("p.d.b", SEVENTH, Some(48))];
        let deadline = Deadline::of(&pending(two, vec![])).unwrap();
        assert_eq!(deadline.snapshots, SEVENTH.map(at));
        assert_eq!(deadline.time_travel, Some(at("2026-01-03T00:00:00Z")));
        assert_eq!(
            deadline.to_string(),
            "until 2026-01-07T00:00:00Z by its snapshots, until about 2026-01-03T00:00:00Z by time travel"
        );
        let for_ever = Deadline::of(&pending(vec![verified("p.d.a", None, None)], vec![])).unwrap();
        assert_eq!(for_ever.snapshots, None);
        assert_eq!(for_ever.time_travel, EIGHTH.map(at));
        assert_eq!(Deadline::of(&run([])), None, "nothing is protected yet");
    }

    #[test]
    fn the_journal_tells_what_patches_made_of_it() {
        let done = || json!({});
        let lost = || json!({ "error": "gone", "unknown": true });
        let failed = || json!({ "error": "no" });
        let read_back = || json!({ "extended": { "table": "p.d.a", "expires": "2026-01-20T00:00:00Z" } });
        let early = "2026-01-02T00:00:00Z";
        let late = "2026-01-20T00:00:00Z";
        // what was done to the snapshot that expires on the eighth, and when it expires then
        let extended = |outcome| patch("extend", "p.d.a", late, outcome);
        for (more, want) in [
            (vec![], EIGHTH),
            (extended(done()), Some(late)),
            (extended(failed()), EIGHTH),
            (extended(lost()), EIGHTH),
            ([extended(lost()), vec![read_back()]].concat(), Some(late)),
        ] {
            let run = pending(vec![verified("p.d.a", EIGHTH, None)], more.clone());
            assert_eq!(run.expires(), want.map(at), "{more:?}");
            assert_eq!(until(&run, &TableRef::parse("p.d.a", None).unwrap()), want.map(at));
        }
        let accepted = |more: Vec<Value>| {
            let verdict = json!({ "verdict": { "accepted": true, "by_person": false, "because": "" } });
            let two = vec![verified("p.d.a", EIGHTH, None), verified("p.d.b", EIGHTH, None)];
            pending(two, [vec![json!("migrated"), verdict], more].concat())
        };
        // One of two is settled, and the program died: the first to go is known.
        assert_eq!(
            accepted(patch("settle", "p.d.a", early, done())).expires(),
            Some(at(early))
        );
        assert_eq!(
            accepted(patch("settle", "p.d.a", early, lost())).expires(),
            Some(at(early))
        );
        assert_eq!(
            accepted(patch("settle", "p.d.a", early, failed())).expires(),
            EIGHTH.map(at)
        );
        let settled = json!({ "settled": { "expires": early } });
        assert_eq!(accepted(vec![settled.clone()]).expires(), Some(at(early)));
        assert_eq!(
            accepted(vec![settled.clone(), read_back()]).expires(),
            Some(at(early)),
            "the other one"
        );
        assert_eq!(accepted(vec![read_back(), settled]).expires(), Some(at(early)));
    }

    #[test]
    fn who_is_near_the_end_or_past_it_is_told() {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        // the snapshot's expiry, now, under, what is said
        for (expires, now, under, said) in [
            (EIGHTH, CUT, hours(24), None),
            (EIGHTH, "2026-01-07T00:00:00Z", hours(24), None),
            (EIGHTH, "2026-01-07T00:00:01Z", hours(24), Some("expire in 23 hours")),
            (EIGHTH, "2026-01-07T23:30:00Z", hours(6), Some("expire in 30 minutes")),
            (EIGHTH, "2026-01-01T12:00:00Z", hours(240), Some("expire in 6 days")),
            (
                SEVENTH,
                "2026-01-07T12:00:00Z",
                hours(0),
                Some("until about 2026-01-08T00:00:00Z"),
            ),
            (EIGHTH, "2026-01-08T00:00:00Z", hours(0), None),
            (
                EIGHTH,
                "2026-01-09T00:00:00Z",
                hours(24),
                Some("and so, at about 2026-01-08"),
            ),
            (None, "2030-01-01T00:00:00Z", hours(24), None),
        ] {
            let run = pending(vec![verified("p.d.a", expires, None)], vec![]);
            let got = warning(&run, at(now), under).map(|failure| failure.what);
            let fits = match (&got, said) {
                (Some(got), Some(said)) => got.contains(said),
                (got, said) => got.is_none() && said.is_none(),
            };
            assert!(fits, "{expires:?} {now} {under:?}: {got:?}");
        }
        let protected = run([verified("p.d.a", EIGHTH, None), json!("protected")]);
        assert!(
            warning(&protected, at("2026-01-07T23:00:00Z"), hours(24)).is_none(),
            "nobody waits for it"
        );
    }

    #[test]
    fn only_a_pending_run_has_its_deadline_named() {
        let failure = || Failure::refused("no", "table p.d.a", "look");
        let open = pending(vec![verified("p.d.a", EIGHTH, None)], vec![]);
        assert!(
            named(failure(), &open)
                .at
                .starts_with("table p.d.a; run r can be rolled back until 2026-01-08")
        );
        let protected = run([verified("p.d.a", EIGHTH, None), json!("protected")]);
        assert_eq!(named(failure(), &protected).at, "table p.d.a");
    }
}
