//! PURE: which failures are worth another try, of a request and of a job.
//!
//! The table is that of <https://docs.cloud.google.com/bigquery/docs/error-messages>, read with
//! <https://docs.cloud.google.com/bigquery/docs/reliability-intro#retry_failed_job_insertions>.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::error::{ApiError, Kind};

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

/// What to do about a failed request. `repeatable`: the request may be sent twice with the effect of once.
pub(super) fn request(error: &ApiError, repeatable: bool) -> Next {
    let transient = match &error.kind {
        Kind::NoCredentials(_) | Kind::Stopped(..) => false,
        Kind::Unreachable(_) => true,
        // Half an answer, or a proxy's page: the next one may be whole. A 4xx page is a wrong address, and stays one.
        Kind::NotBigQuery { status, .. } => !matches!(status, 300..=499) || *status == 429,
        Kind::Answer { status, reason, .. } => match (*status, reason.as_str()) {
            (401, _) => return Next::FreshToken,
            (429 | 500 | 502 | 503 | 504, _) | (403, "rateLimitExceeded") => true,
            (_, "backendError" | "internalError") => true,
            _ => false,
        },
    };
    if transient && (repeatable || !error.maybe_happened) {
        Next::Again
    } else {
        Next::Stop
    }
}

/// Whether a job that ended with this reason may be sent again, under the next attempt's ID. Never asked of a migration.
pub fn job(reason: &str) -> bool {
    matches!(
        reason,
        "backendError"
            | "internalError"
            | "rateLimitExceeded"
            | "jobBackendError"
            | "jobInternalError"
            | "jobRateLimitExceeded"
    )
}

/// How often one step is sent as a job before its failure stands.
pub const JOB_ATTEMPTS: u32 = 3;

/// How long is waited before a step is sent as a job for this time, from 2.
pub(super) fn before_job(time: u32, seed: u64) -> Duration {
    let waits = waits(seed).nth(time.saturating_sub(2) as usize);
    waits.unwrap_or(Duration::from_secs(32))
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
        ApiError {
            kind: Kind::Answer {
                status,
                reason: reason.into(),
                message: String::new(),
            },
            call: String::new(),
            maybe_happened: true,
            retry_after: None,
            tries: 1,
        }
    }

    #[test]
    fn the_table_of_reasons() {
        for (status, reason, want) in [
            (500, "backendError", Next::Again),
            (502, "", Next::Again),
            (503, "backendError", Next::Again),
            (504, "", Next::Again),
            (500, "internalError", Next::Again),
            (403, "rateLimitExceeded", Next::Again),
            (429, "", Next::Again),
            (403, "quotaExceeded", Next::Stop),
            (403, "accessDenied", Next::Stop),
            (403, "billingNotEnabled", Next::Stop),
            (400, "invalidQuery", Next::Stop),
            (400, "invalid", Next::Stop),
            (400, "resourceInUse", Next::Stop),
            (400, "jobBackendError", Next::Stop),
            (401, "authError", Next::FreshToken),
            (404, "notFound", Next::Stop),
            (409, "duplicate", Next::Stop),
            (412, "conditionNotMet", Next::Stop),
            (501, "notImplemented", Next::Stop),
        ] {
            assert_eq!(request(&answer(status, reason), true), want, "{status} {reason}");
        }
    }

    #[test]
    fn what_may_have_happened_is_sent_again_only_if_it_may_be() {
        assert_eq!(request(&answer(503, "backendError"), false), Next::Stop);
        let mut unsent = answer(503, "backendError");
        unsent.maybe_happened = false;
        assert_eq!(request(&unsent, false), Next::Again);
    }

    #[test]
    fn jobs_are_sent_again_only_for_bigquerys_own_troubles() {
        for reason in ["backendError", "internalError", "rateLimitExceeded", "jobBackendError"] {
            assert!(job(reason), "{reason}");
        }
        for reason in [
            "invalidQuery",
            "stopped",
            "quotaExceeded",
            "duplicate",
            "notFound",
            "timeout",
            "",
        ] {
            assert!(!job(reason), "{reason}");
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
