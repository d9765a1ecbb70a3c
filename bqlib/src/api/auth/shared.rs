//! PURE: the one token of a program: how long it is good, when the next is asked for, and what those hear who waited
//! while another asked. Knows no source and no network; time is given to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Issued, NoToken};

/// How long before its end a token is renewed. Google's metadata servers give no new one earlier than this.
const BEFORE_ITS_END: Duration = Duration::from_secs(240);
/// After a renewal that failed, while the token is still good.
const PUT_OFF: Duration = Duration::from_secs(10);

/// What there is.
#[derive(Debug)]
pub(super) enum Life {
    /// A token to use.
    Good(Issued),
    /// A token to use, that somebody should renew.
    Due(Issued),
    /// None: ask.
    Over,
}

/// The token, or why there was none.
#[derive(Default)]
pub(super) struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    last: Option<Result<Issued, NoToken>>,
    renew_at: Option<Instant>,
    /// How often a source was asked to the end.
    rounds: u64,
    had: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is now, and the round it is of.
    pub(super) fn look(&self, now: Instant) -> (Life, u64) {
        let state = self.state();
        let life = match (&state.last, state.renew_at) {
            (Some(Ok(issued)), Some(renew_at)) if now < renew_at => Life::Good(issued.clone()),
            (Some(Ok(issued)), _) if issued.end.is_some_and(|end| now < end) => Life::Due(issued.clone()),
            _ => Life::Over,
        };
        (life, state.rounds)
    }

    /// What another one's asking has come to since this round.
    pub(super) fn since(&self, round: u64) -> Option<Result<Issued, NoToken>> {
        let state = self.state();
        state.last.clone().filter(|_| state.rounds != round)
    }

    /// Keeps what asking came to.
    pub(super) fn keep(&self, now: Instant, outcome: Result<Issued, NoToken>) -> Result<Issued, NoToken> {
        let mut state = self.state();
        state.rounds += 1;
        let outcome = match (outcome, &state.last) {
            // Kept by its source, and the same still: so that it is known again when it is refused.
            (Ok(new), Some(Ok(old))) if new.end.is_none() && new.token == old.token => Ok(old.clone()),
            (Ok(new), _) => Ok(new),
            (Err(why), _) => Err(NoToken { had: state.had, ..why }),
        };
        state.had |= outcome.is_ok();
        let end = outcome.as_ref().ok().and_then(|issued| issued.end);
        state.renew_at = end.map(|end| {
            let left = end.saturating_duration_since(now);
            now + (left - BEFORE_ITS_END.min(left / 4))
        });
        state.last = Some(outcome.clone());
        outcome
    }

    /// The renewal failed, and the token is still good.
    pub(super) fn put_off(&self, now: Instant) {
        self.state().renew_at = Some(now + PUT_OFF);
    }

    /// This token was refused. False: another one has it let go already.
    pub(super) fn forget(&self, refused: &Issued) -> bool {
        let mut state = self.state();
        let is_last = matches!(&state.last, Some(Ok(last)) if std::sync::Arc::ptr_eq(&last.token, &refused.token));
        if is_last {
            state.last = None;
            state.renew_at = None;
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(token: &str, end: Option<Instant>) -> Issued {
        Issued::new(token, end, "here").unwrap()
    }

    fn name(life: &Life) -> &'static str {
        match life {
            Life::Good(_) => "good",
            Life::Due(_) => "due",
            Life::Over => "over",
        }
    }

    #[test]
    fn a_token_is_renewed_minutes_before_its_end_and_a_short_one_before_its_end_too() {
        let start = Instant::now();
        for (lives, at, want) in [
            (3600, 0, "good"),
            (3600, 3359, "good"),
            (3600, 3360, "due"),
            (3600, 3599, "due"),
            (3600, 3600, "over"),
            (40, 29, "good"),
            (40, 30, "due"),
            (40, 40, "over"),
            (0, 0, "over"),
        ] {
            let shared = Shared::default();
            shared
                .keep(start, Ok(issued("t", Some(start + Duration::from_secs(lives)))))
                .unwrap();
            let (life, _) = shared.look(start + Duration::from_secs(at));
            assert_eq!(name(&life), want, "{lives} {at}");
        }
    }

    #[test]
    fn a_renewal_that_failed_is_put_off_while_the_token_is_good() {
        let (shared, start) = (Shared::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        shared.keep(start, Ok(issued("t", Some(after(100))))).unwrap();
        shared.put_off(after(80));
        assert_eq!(name(&shared.look(after(89)).0), "good");
        assert_eq!(name(&shared.look(after(91)).0), "due");
        assert_eq!(name(&shared.look(after(100)).0), "over");
    }

    #[test]
    fn who_waited_hears_what_came_of_it() {
        let (shared, now) = (Shared::default(), Instant::now());
        let (_, round) = shared.look(now);
        assert!(shared.since(round).is_none());
        let why = NoToken::for_now("nobody there", "here");
        let first = shared.keep(now, Err(why)).unwrap_err();
        assert!(!first.had, "there was no token yet");
        assert_eq!(shared.since(round).unwrap().unwrap_err().what, "nobody there");
        let (_, round) = shared.look(now);
        assert!(shared.since(round).is_none(), "who comes later asks anew");
        shared.keep(now, Ok(issued("t", None))).unwrap();
        assert!(shared.keep(now, Err(first)).unwrap_err().had);
    }

    #[test]
    fn a_refused_token_is_let_go_by_the_first_who_brings_it_back() {
        let (shared, now) = (Shared::default(), Instant::now());
        let old = shared.keep(now, Ok(issued("t", None))).unwrap();
        let same = shared.keep(now, Ok(issued("t", None))).unwrap();
        assert!(shared.forget(&same));
        assert!(!shared.forget(&old));
        let new = shared.keep(now, Ok(issued("t", None))).unwrap();
        assert!(!shared.forget(&old), "another one of the same text");
        assert!(shared.forget(&new));
    }
}
