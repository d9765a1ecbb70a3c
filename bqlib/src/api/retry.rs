//! PURE: which failures are worth another try, of a request and of a job, and after how long. The words are `reasons`.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::error::{ApiError, Kind};
use super::reasons::{is_too_fast, meaning};

/// What to do about a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same request again, after a while.
    Again,
    /// The same request again, once, with a fresh token.
    FreshToken,
    /// No: another try would end the same.
    Stop,
}

/// What to do about a failed request. Every request of ours may be sent twice with the effect of once: jobs carry their ID, patches set
/// values, the rest reads.
pub(super) fn request(error: &ApiError) -> Next {
    let transient = match &error.kind {
        Kind::Stopped(..) | Kind::NotRead(_) | Kind::TooLong { .. } => false,
        // Asking for the token was tried again already: only work under way is worth more of it.
        Kind::NoCredentials(why) => why.transient && why.had,
        Kind::Unreachable(_) => true,
        // Half an answer, or a proxy's page: the next one may be whole. A 4xx page is a wrong address, and stays one.
        Kind::NotBigQuery { status, .. } => !matches!(status, 300..=499) || *status == 429,
        Kind::Answer { status: 401, .. } => return Next::FreshToken,
        Kind::Answer { status, reason, .. } => meaning(reason, Some(*status)).request_again,
    };
    if transient { Next::Again } else { Next::Stop }
}

/// Whether a job that ended with this reason may be sent again, under the next attempt's ID. Never asked of a migration.
pub fn job(reason: &str) -> bool {
    meaning(reason, None).job_again
}

/// How often one step is sent as a job before its failure stands.
pub const JOB_ATTEMPTS: u32 = 3;

/// In which time BigQuery counts the changes of a table's metadata.
/// Source: <https://docs.cloud.google.com/bigquery/quotas#standard_tables>.
const TOO_FAST_FOR: Duration = Duration::from_secs(10);

/// How long is waited before a step is sent as a job for this time, from 2, the one before having ended with this reason.
pub(super) fn before_job(time: u32, reason: &str, seed: u64) -> Duration {
    let waits = waits(seed).nth(time.saturating_sub(2) as usize);
    let wait = waits.unwrap_or(Duration::from_secs(32));
    if is_too_fast(reason, None) {
        wait + TOO_FAST_FOR
    } else {
        wait
    }
}

/// The waits between tries: from one second, doubled, with jitter, to at most 32 seconds.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reliability-intro#retry_failed_job_insertions>.
pub(super) fn waits(seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(32))
        .with_factor(2.0)
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, reason: &str) -> ApiError {
        let kind = Kind::Answer {
            status,
            reason: reason.into(),
            message: String::new(),
        };
        ApiError::new(kind, String::new(), true)
    }

    #[test]
    fn what_passes_is_sent_again_and_nothing_else() {
        let page = |status| ApiError::new(super::super::error::of_answer(status, "<html>"), String::new(), true);
        for (error, want) in [
            (answer(503, "backendError"), Next::Again),
            (answer(400, "tableUnavailable"), Next::Again),
            (answer(403, "quotaExceeded"), Next::Stop),
            (answer(401, "authError"), Next::FreshToken),
            (page(200), Next::Again),
            (page(503), Next::Again),
            (page(429), Next::Again),
            (page(404), Next::Stop),
            (page(302), Next::Stop),
            (
                ApiError::new(Kind::Unreachable(String::new()), String::new(), true),
                Next::Again,
            ),
            (
                ApiError::new(Kind::Stopped(2, String::new()), String::new(), false),
                Next::Stop,
            ),
        ] {
            assert_eq!(request(&error), want, "{error}");
        }
    }

    #[test]
    fn a_table_that_was_changed_too_often_is_left_alone_for_a_while() {
        let wait = |reason| before_job(2, reason, 7);
        assert!(wait("backendError") < TOO_FAST_FOR);
        assert!(wait("rateLimitExceeded") > TOO_FAST_FOR && wait("jobRateLimitExceeded") > TOO_FAST_FOR);
    }

    #[test]
    fn a_token_is_waited_for_longer_only_by_work_under_way() {
        for (transient, had, want) in [
            (true, true, Next::Again),
            (true, false, Next::Stop),
            (false, true, Next::Stop),
        ] {
            let mut error = answer(0, "");
            error.maybe_happened = false;
            error.kind = Kind::NoCredentials(crate::api::NoToken {
                what: String::new(),
                at: String::new(),
                hint: String::new(),
                transient,
                had,
            });
            assert_eq!(request(&error), want, "{transient} {had}");
        }
    }

    #[test]
    fn waits_grow_and_are_capped() {
        let waits: Vec<_> = waits(7).take(12).collect();
        assert!(waits[0] >= Duration::from_secs(1) && waits[0] <= Duration::from_secs(2));
        assert!(waits.iter().all(|w| *w <= Duration::from_secs(64)));
        assert_eq!(super::waits(7).take(12).collect::<Vec<_>>(), waits);
    }
}
