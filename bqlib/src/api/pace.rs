//! Not faster than BigQuery allows: a token bucket for each method and each table that is changed, shared by all that a program does
//! at a time.
//!
//! BigQuery allows 100 requests a second to a user and method, 300 at a time, and five changes of a table's metadata in ten seconds
//! (<https://docs.cloud.google.com/bigquery/quotas#api_request_quotas>, `#standard_tables`). Others may be using the same user: when
//! BigQuery says that it is too much, the method slows down to half, and recovers in ten seconds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// At once, and then a second, of each method: in any second at most 95.
const METHOD: Rate = Rate {
    at_once: 25.0,
    a_second: 70.0,
};

/// At once, and then a second, of changes to a table: in any ten seconds at most five.
const TABLE: Rate = Rate {
    at_once: 3.0,
    a_second: 0.2,
};

/// The slowest that BigQuery's refusals make a method, of what it may be at most.
const SLOWEST: f64 = 1.0 / 64.0;

/// How long a method that was slowed takes to be as fast as before, in seconds.
const RECOVERS_IN: f64 = 10.0;

/// How many requests are under way at a time, of the 300 that BigQuery allows a user.
const UNDER_WAY: usize = 250;

#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: f64,
    a_second: f64,
}

/// All that a program does to BigQuery takes its turn here.
pub(super) struct Pace {
    methods: RefCell<BTreeMap<&'static str, Bucket>>,
    tables: RefCell<BTreeMap<String, Bucket>>,
    under_way: Semaphore,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace {
            methods: RefCell::default(),
            tables: RefCell::default(),
            under_way: Semaphore::new(UNDER_WAY),
        }
    }

    /// Takes a turn at a method: how long to wait for it. `now`: since the program began.
    pub(super) fn turn(&self, method: &'static str, now: Duration) -> Turn {
        let mut methods = self.methods.borrow_mut();
        let bucket = methods.entry(method).or_insert_with(|| Bucket::new(METHOD, now));
        Turn {
            method,
            wait: bucket.turn(now),
            slowed: bucket.slowed,
        }
    }

    /// Whether a turn that was waited for counts: not if the method was slowed meanwhile.
    pub(super) fn holds(&self, turn: &Turn) -> bool {
        let methods = self.methods.borrow();
        methods
            .get(turn.method)
            .is_none_or(|bucket| bucket.slowed == turn.slowed)
    }

    /// Takes a turn at changing a table: how long to wait for it.
    pub(super) fn change(&self, table: &str, now: Duration) -> Duration {
        let mut tables = self.tables.borrow_mut();
        let bucket = tables
            .entry(table.to_owned())
            .or_insert_with(|| Bucket::new(TABLE, now));
        bucket.turn(now)
    }

    /// BigQuery says that this method is called too fast.
    pub(super) fn slower(&self, method: &'static str, now: Duration) {
        let mut methods = self.methods.borrow_mut();
        methods
            .entry(method)
            .or_insert_with(|| Bucket::new(METHOD, now))
            .slower(now);
    }

    /// A place among the requests that are under way.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.under_way.acquire().await.ok()
    }
}

/// A place in the queue of a method.
pub(super) struct Turn {
    method: &'static str,
    /// How long until it comes.
    pub(super) wait: Duration,
    /// When the method was last slowed, as the turn was taken.
    slowed: Option<Duration>,
}

/// PURE: tokens that come at a rate, up to a number; who comes when there is none takes the next one that will come.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// Below zero: so many wait already.
    tokens: f64,
    /// How fast tokens come, of the rate.
    speed: f64,
    at: Duration,
    slowed: Option<Duration>,
}

impl Bucket {
    fn new(rate: Rate, now: Duration) -> Bucket {
        Bucket {
            rate,
            tokens: rate.at_once,
            speed: 1.0,
            at: now,
            slowed: None,
        }
    }

    fn go_on_to(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + seconds * self.rate.a_second * self.speed).min(self.rate.at_once);
        self.speed = (self.speed + seconds / RECOVERS_IN).min(1.0);
    }

    fn turn(&mut self, now: Duration) -> Duration {
        self.go_on_to(now);
        self.tokens -= 1.0;
        // By the speed of now, though it may recover meanwhile: rather too slow than too fast.
        let wait = (-self.tokens).max(0.0) / (self.rate.a_second * self.speed);
        Duration::from_secs_f64(wait)
    }

    /// Half as fast, and nothing at once any more; who waits takes another turn. All the refusals of one second are one.
    fn slower(&mut self, now: Duration) {
        self.go_on_to(now);
        let second = Duration::from_secs(1);
        if self.slowed.is_some_and(|at| now.saturating_sub(at) < second) {
            return;
        }
        self.slowed = Some(now);
        self.speed = (self.speed / 2.0).max(SLOWEST);
        self.tokens = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When each of these turns comes, in order.
    fn due(rate: Rate, asked: &[Duration]) -> Vec<Duration> {
        let mut bucket = Bucket::new(rate, Duration::ZERO);
        asked.iter().map(|now| *now + bucket.turn(*now)).collect()
    }

    /// The most turns within any stretch of time of this length.
    fn busiest(due: &[Duration], stretch: Duration) -> usize {
        let within = |from: &Duration| due.iter().filter(|d| **d >= *from && **d < *from + stretch).count();
        due.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn a_few_never_wait_and_many_keep_the_limit() {
        assert!(due(METHOD, &[Duration::ZERO; 25]).iter().all(Duration::is_zero));
        let many = due(METHOD, &[Duration::ZERO; 1000]);
        assert!(busiest(&many, ms(1000)) <= 95);
        // And not much slower than it must be.
        assert!(many[999] < Duration::from_secs(15), "{:?}", many[999]);
        assert!(busiest(&due(TABLE, &[Duration::ZERO; 30]), Duration::from_secs(10)) <= 5);
    }

    proptest! {
        #[test]
        fn whenever_they_come_the_limits_hold(mut gaps in proptest::collection::vec(0_u64..200, 1..300)) {
            let mut at = 0;
            gaps.iter_mut().for_each(|gap| { at += *gap; *gap = at; });
            let asked: Vec<Duration> = gaps.iter().map(|at| ms(*at)).collect();
            prop_assert!(busiest(&due(METHOD, &asked), ms(1000)) <= 100);
            prop_assert!(busiest(&due(TABLE, &asked), Duration::from_secs(10)) <= 5);
        }
    }

    #[test]
    fn refusals_slow_down_and_time_heals() {
        let pace = Pace::new();
        let waits = |from: Duration| (0..20).map(|_| pace.turn("m", from).wait).max().unwrap();
        assert!(waits(ms(0)).is_zero());
        let waiting = pace.turn("m", ms(5));
        assert!(pace.holds(&waiting));
        pace.slower("m", ms(10));
        assert!(!pace.holds(&waiting));
        // A hundred refusals of one burst are one.
        pace.slower("m", ms(20));
        let slow = waits(ms(30));
        assert!(slow > ms(20 * 1000 / 70) && slow < ms(2000), "{slow:?}");
        pace.slower("m", ms(2000));
        pace.slower("m", ms(3100));
        assert!(waits(ms(3200)) > slow);
        assert!(waits(ms(30_000)).is_zero());
        // Another method was never slow.
        assert!(pace.turn("n", ms(3200)).wait.is_zero());
    }

    #[test]
    fn a_table_is_changed_five_times_in_ten_seconds() {
        let pace = Pace::new();
        let change = |at| pace.change("p.d.t", ms(at));
        assert_eq!([change(0), change(0), change(0)], [Duration::ZERO; 3]);
        assert_eq!(change(0), Duration::from_secs(5));
        assert!(pace.change("p.d.u", ms(0)).is_zero());
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut bucket = Bucket::new(TABLE, ms(10_000));
        assert!(bucket.turn(ms(0)).is_zero());
        assert!(bucket.tokens <= TABLE.at_once);
    }
}
