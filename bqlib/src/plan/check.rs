//! PURE: what bq-check does next with a run whose journal it holds: ask, judge, or neither. What the checks say is decided by the checks.

use crate::exit::Failure;
use crate::state::{Run, Status};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Check the migration of a whole stream.
    Stream,
    /// Check a migrated run from its journal.
    Journal,
    /// Say no to a stream that is broken, if its migration was submitted.
    Broken,
    /// A person's yes.
    Accept,
    /// A person's no.
    Reject,
}

/// What comes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Ask everything that is to be asked.
    Ask,
    /// Journal this verdict. A yes that is there already is repeated.
    Judge(bool),
    /// Nothing is journaled.
    Nothing,
    /// The run cannot be judged so.
    Refuse(Failure),
}

/// What bq-check does next. `said` is what the checks say; absent: they were not asked yet.
pub fn plan(run: &Run, said: Option<bool>, request: Request) -> Next {
    use Status::*;
    match (request, run.status, said) {
        (Request::Stream, Migrated | Accepted, None) | (Request::Journal, Migrated, None) => Next::Ask,
        (Request::Stream | Request::Journal, Migrated, Some(said)) => Next::Judge(said),
        // An accepted run stays accepted: a second look may repeat the yes, and never turns it.
        (Request::Stream, Accepted, Some(true)) => Next::Judge(true),
        (Request::Stream, Accepted, Some(false)) => Next::Nothing,
        (Request::Stream | Request::Journal, ..) => Next::Refuse(not_migrated(run, request)),
        (Request::Broken, Running | Failed | Migrated | Rejected, _) => Next::Judge(false),
        (Request::Broken, ..) => Next::Nothing,
        (Request::Accept, Accepted, _) | (Request::Reject, Rejected, _) => Next::Judge(request == Request::Accept),
        (Request::Accept, Migrated | Rejected, _) if !run.restore_begun => Next::Judge(true),
        // A guard refused the restore before it touched anything: the run may still be good.
        (Request::Accept, Stuck, _) if !run.restore_begun && run.migrations_done() => Next::Judge(true),
        (Request::Reject, Migrated | Failed, _) => Next::Judge(false),
        (Request::Accept | Request::Reject, ..) => Next::Refuse(not_a_persons(run)),
    }
}

fn not_migrated(run: &Run, request: Request) -> Failure {
    let (id, status) = (&run.created.run, run.status);
    let what = match request {
        Request::Journal => format!("run `{id}` is {status}, and only a migrated run can be checked"),
        _ => format!("the stream says that run `{id}` is migrated, and its journal that it is {status}"),
    };
    Failure::refused(what, format!("run {id}"), next_step(run))
}

fn not_a_persons(run: &Run) -> Failure {
    let id = &run.created.run;
    let what = match run.restore_begun {
        true => format!("a restore of run `{id}` has begun: it cannot be accepted any more"),
        false => format!(
            "run `{id}` is {}, and only a migrated or rejected run can be settled by a person",
            run.status
        ),
    };
    Failure::refused(what, format!("run {id}"), next_step(run))
}

/// What to type next about a run as it is.
pub fn next_step(run: &Run) -> String {
    match run.is_pending() {
        true => format!("bq-restore --run {}", run.created.run),
        false => "bq-restore --list shows the runs".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{STATUSES, history, run_in, told, verdict};
    use super::*;
    use crate::state::Event;

    fn word(run: &Run, said: Option<bool>, request: Request) -> &'static str {
        match plan(run, said, request) {
            Next::Ask => "ask",
            Next::Judge(true) => "yes",
            Next::Judge(false) => "no",
            Next::Nothing => "nothing",
            Next::Refuse(_) => "refuse",
        }
    }

    #[test]
    fn every_status_and_every_request() {
        use Request::*;
        for status in STATUSES {
            let run = run_in(status);
            let plans = [Stream, Journal, Broken, Accept, Reject].map(|request| word(&run, None, request));
            let want = match status {
                Status::Migrated => ["ask", "ask", "no", "yes", "no"],
                Status::Accepted => ["ask", "refuse", "nothing", "yes", "refuse"],
                Status::Rejected => ["refuse", "refuse", "no", "yes", "no"],
                Status::Failed => ["refuse", "refuse", "no", "refuse", "no"],
                Status::Running => ["refuse", "refuse", "no", "refuse", "refuse"],
                // Nothing was touched yet, and its migration had ended well.
                Status::Stuck => ["refuse", "refuse", "nothing", "yes", "refuse"],
                _ => ["refuse", "refuse", "nothing", "refuse", "refuse"],
            };
            assert_eq!(plans, want, "{status}");
        }
    }

    #[test]
    fn what_the_checks_say_is_journaled_but_never_over_a_yes() {
        let (migrated, accepted) = (run_in(Status::Migrated), run_in(Status::Accepted));
        for said in [true, false] {
            let judged = if said { "yes" } else { "no" };
            assert_eq!(word(&migrated, Some(said), Request::Stream), judged);
            assert_eq!(word(&migrated, Some(said), Request::Journal), judged);
        }
        assert_eq!(word(&accepted, Some(true), Request::Stream), "yes");
        assert_eq!(word(&accepted, Some(false), Request::Stream), "nothing");
    }

    #[test]
    fn once_a_restore_of_all_has_begun_nobody_accepts() {
        let end = Event::RestoreEnded(crate::state::RestoreEnd {
            code: 9,
            only: false,
            left: vec![],
            next: String::new(),
        });
        let stuck = told(&[&history(Status::Restoring)[..], &[end]].concat());
        assert_eq!(word(&stuck, None, Request::Accept), "refuse");
        // A failed migration is nobody's to accept, stuck or not.
        let end = Event::RestoreEnded(crate::state::RestoreEnd {
            code: 4,
            only: false,
            left: vec![],
            next: String::new(),
        });
        let failed = told(&[&history(Status::Failed)[..], &[verdict(false, false), end]].concat());
        assert_eq!(word(&failed, None, Request::Accept), "refuse");
    }
}
