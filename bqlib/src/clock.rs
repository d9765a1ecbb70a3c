//! Time and chance, entering through one door so that tests can hold it.
//!
//! The local clock names things and stamps messages; it decides nothing. What is decided by time is reckoned from the
//! cut and from BigQuery's own `Date` (see `api`).

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// The variable that holds a test's pretend instant. It moves only by the sleeps of the program, which then take no time.
pub const PRETEND: &str = "BQ_ROLLBACK_PRETEND_CLOCK";

/// A clock, a way to wait, and a source of chance.
#[derive(Debug)]
pub struct Clock {
    pretend: Option<Cell<Timestamp>>,
    /// When the program began, by the clock that is pretended.
    began: Timestamp,
    /// And by one that nobody sets.
    started: Instant,
    chance: RefCell<fastrand::Rng>,
}

impl Clock {
    /// The machine's clock, or one that stands still at `pretend`.
    ///
    /// # Errors
    /// `pretend` is no RFC 3339 instant.
    pub fn new(pretend: Option<&str>) -> Result<Clock, jiff::Error> {
        let pretend: Option<Timestamp> = pretend.map(str::parse).transpose()?;
        let chance = match pretend {
            None => fastrand::Rng::new(),
            Some(_) => fastrand::Rng::with_seed(1),
        };
        Ok(Clock {
            pretend: pretend.map(Cell::new),
            began: pretend.unwrap_or_default(),
            started: Instant::now(),
            chance: RefCell::new(chance),
        })
    }

    /// How long the program has run. Whoever sets the machine's clock does not change it: what is waited for is reckoned by it.
    pub fn elapsed(&self) -> Duration {
        match &self.pretend {
            None => self.started.elapsed(),
            Some(at) => Duration::try_from(at.get().duration_since(self.began)).unwrap_or_default(),
        }
    }

    /// Now, by the local clock.
    pub fn now(&self) -> Timestamp {
        match &self.pretend {
            Some(at) => at.get(),
            None => Timestamp::now(),
        }
    }

    /// Waits; on a pretend clock, moves it instead.
    pub async fn sleep(&self, how_long: Duration) {
        match &self.pretend {
            None => tokio::time::sleep(how_long).await,
            Some(at) => {
                let step = SignedDuration::try_from(how_long).unwrap_or(SignedDuration::MAX);
                at.set(at.get().checked_add(step).unwrap_or(Timestamp::MAX));
                tokio::task::yield_now().await;
            }
        }
    }

    /// A word of chance that nobody else has: 32 hexadecimal digits. Never a pretended one: job IDs of one project are made of it.
    pub fn nonce(&self) -> String {
        format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
    }

    /// A seed for jitter.
    pub fn seed(&self) -> u64 {
        self.chance.borrow_mut().u64(..)
    }
}

/// An instant in whole milliseconds since 1970, as BigQuery's `lastModifiedTime` counts them.
pub fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// The instant of so many milliseconds since 1970.
pub fn from_millis(ms: u64) -> Timestamp {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

/// An instant later by so much, or the end of time.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A length of time as people write it: `24h`, `30m`, `2h 30m`, `7 days`.
///
/// # Errors
/// The text is no length of time, or one of months or years, whose length is not fixed; the text says what is.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let want = || format!("`{text}` is no length of time (write 90s, 30m, 24h, 7d)");
    let span: jiff::Span = text.trim().parse().map_err(|_| want())?;
    // A day is 24 hours here: deadlines are reckoned in UTC.
    let duration = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| want())?;
    Duration::try_from(duration).map_err(|_| want())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("24h", 86_400),
            ("7d", 604_800),
            ("1h 30m", 5400),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "-1h", "1 month", "soon"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
