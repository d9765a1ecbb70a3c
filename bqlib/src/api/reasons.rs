//! PURE: what BigQuery's reason words mean: how a program ends by them, what may be sent again, what a person does next.
//!
//! One table for all: words that come with an HTTP error, and words that a job ends with. It is that of
//! <https://docs.cloud.google.com/bigquery/docs/error-messages>, read with
//! <https://docs.cloud.google.com/bigquery/docs/reliability-intro#retry_failed_job_insertions>; a word it does not have is judged by
//! the HTTP status that it came with.

use crate::exit::Exit;

/// What a reason means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meaning {
    /// How a program ends by it, when the caller knows no better.
    pub exit: Exit,
    /// Whether the same request may be answered otherwise if it is sent again.
    pub(super) request_again: bool,
    /// Whether a job that ended with it may end otherwise under another ID.
    pub(super) job_again: bool,
    /// What to do next.
    pub hint: &'static str,
}

const LOOK: &str = "look at what the message names; then run the same command again";
const GRANT: &str = "grant the permission that the message names, then run the same command again";
const LATER: &str = "run the same command again later, or give it more time with `--retry-for`";

const NO_API: Meaning = stands(
    Exit::Denied,
    "enable the BigQuery API for the project that the message names (gcloud services enable bigquery.googleapis.com)",
);

/// Another try cannot help, of the request or the job.
const fn stands(exit: Exit, hint: &'static str) -> Meaning {
    Meaning {
        exit,
        request_again: false,
        job_again: false,
        hint,
    }
}

/// BigQuery's own trouble.
const fn passes(request_again: bool, job_again: bool) -> Meaning {
    Meaning {
        exit: Exit::Retry,
        request_again,
        job_again,
        hint: LATER,
    }
}

/// BigQuery's words, in the order of Google's page; the last are those of the API's front door.
const WORDS: [(&str, Meaning); 29] = [
    ("accessDenied", stands(Exit::Denied, GRANT)),
    ("badRequest", stands(Exit::Refused, LOOK)),
    ("backendError", passes(true, true)),
    (
        "billingNotEnabled",
        stands(
            Exit::Denied,
            "enable billing for the project that jobs run in, or name another with `-p`",
        ),
    ),
    (
        "billingTierLimitExceeded",
        stands(
            Exit::Refused,
            "make the query cheaper, or raise the limit that the message names",
        ),
    ),
    (
        "blocked",
        stands(
            Exit::Denied,
            "BigQuery has put this project or principal on a list: ask Google's support",
        ),
    ),
    ("duplicate", stands(Exit::Refused, LOOK)),
    ("internalError", passes(true, true)),
    ("invalid", stands(Exit::Refused, LOOK)),
    ("invalidQuery", stands(Exit::Refused, LOOK)),
    ("jobBackendError", passes(false, true)),
    ("jobInternalError", passes(false, true)),
    ("jobRateLimitExceeded", passes(false, true)),
    ("notFound", stands(Exit::Refused, LOOK)),
    ("notImplemented", stands(Exit::Refused, LOOK)),
    (
        "proxyAuthenticationRequired",
        stands(
            Exit::Denied,
            "give the proxy's credentials in HTTPS_PROXY, or take the proxy out of the way with NO_PROXY",
        ),
    ),
    (
        "quotaExceeded",
        stands(
            Exit::Retry,
            "wait until the quota that the message names has room (daily ones fill up by the hour), or have it raised; then run again",
        ),
    ),
    ("rateLimitExceeded", passes(true, true)),
    ("resourceInUse", stands(Exit::Refused, LOOK)),
    (
        "resourcesExceeded",
        stands(
            Exit::Refused,
            "the query needs more than BigQuery gives it: make it smaller, then run again",
        ),
    ),
    (
        "responseTooLarge",
        stands(
            Exit::Refused,
            "make the query return fewer or smaller rows, then run again",
        ),
    ),
    (
        "stopped",
        stands(
            Exit::Refused,
            "somebody cancelled the job: find out who, then run the same command again",
        ),
    ),
    ("tableUnavailable", passes(true, true)),
    ("timeout", stands(Exit::Retry, LATER)),
    (
        "authError",
        stands(
            Exit::Denied,
            "BigQuery does not take the credentials: renew them (gcloud auth application-default login), or the token",
        ),
    ),
    // The front door's words for the same, in the newer form of errors.
    ("RATE_LIMIT_EXCEEDED", passes(true, true)),
    ("RESOURCE_EXHAUSTED", passes(true, true)),
    ("accessNotConfigured", NO_API),
    ("SERVICE_DISABLED", NO_API),
];

/// What a reason means that came with this HTTP status, if it came with one.
pub fn meaning(reason: &str, status: Option<u16>) -> Meaning {
    // Overload and failure of the server are said by the status, whatever the word.
    if matches!(status, Some(429 | 500 | 502 | 503 | 504)) {
        return passes(true, true);
    }
    if status == Some(401) {
        return of_word("authError").unwrap_or(stands(Exit::Denied, GRANT));
    }
    of_word(reason).unwrap_or(match status {
        Some(403) => stands(Exit::Denied, GRANT),
        Some(407) => of_word("proxyAuthenticationRequired").unwrap_or(stands(Exit::Denied, GRANT)),
        Some(505..=599) => stands(Exit::Retry, LATER),
        _ => stands(Exit::Refused, LOOK),
    })
}

fn of_word(reason: &str) -> Option<Meaning> {
    let found = WORDS.iter().find(|(word, _)| *word == reason);
    found.map(|(_, meaning)| *meaning)
}

/// Whether a reason says that requests or jobs come too fast.
pub(super) fn is_too_fast(reason: &str, status: Option<u16>) -> bool {
    status == Some(429)
        || matches!(
            reason,
            "rateLimitExceeded" | "jobRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" | "RESOURCE_EXHAUSTED"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_judged_alike_wherever_it_comes_from() {
        // Every row of Google's table: reason, its HTTP status, code, request again, job again.
        for (reason, status, exit, request, job) in [
            ("accessDenied", 403, Exit::Denied, false, false),
            ("badRequest", 400, Exit::Refused, false, false),
            ("backendError", 500, Exit::Retry, true, true),
            ("backendError", 502, Exit::Retry, true, true),
            ("backendError", 503, Exit::Retry, true, true),
            ("backendError", 504, Exit::Retry, true, true),
            ("billingNotEnabled", 403, Exit::Denied, false, false),
            ("billingTierLimitExceeded", 400, Exit::Refused, false, false),
            ("blocked", 403, Exit::Denied, false, false),
            ("duplicate", 409, Exit::Refused, false, false),
            ("internalError", 500, Exit::Retry, true, true),
            ("invalid", 400, Exit::Refused, false, false),
            ("invalidQuery", 400, Exit::Refused, false, false),
            ("jobBackendError", 400, Exit::Retry, false, true),
            ("jobInternalError", 400, Exit::Retry, false, true),
            ("jobRateLimitExceeded", 400, Exit::Retry, false, true),
            ("notFound", 404, Exit::Refused, false, false),
            ("notImplemented", 501, Exit::Refused, false, false),
            ("proxyAuthenticationRequired", 407, Exit::Denied, false, false),
            ("quotaExceeded", 403, Exit::Retry, false, false),
            ("rateLimitExceeded", 403, Exit::Retry, true, true),
            ("resourceInUse", 400, Exit::Refused, false, false),
            ("resourcesExceeded", 400, Exit::Refused, false, false),
            ("responseTooLarge", 403, Exit::Refused, false, false),
            ("tableUnavailable", 400, Exit::Retry, true, true),
            ("timeout", 400, Exit::Retry, false, false),
            ("authError", 401, Exit::Denied, false, false),
        ] {
            for status in [Some(status), None] {
                let meaning = meaning(reason, status);
                assert_eq!(
                    (meaning.exit, meaning.request_again, meaning.job_again),
                    (exit, request, job),
                    "{reason} {status:?}"
                );
            }
        }
        assert_eq!(meaning("stopped", None).exit, Exit::Refused);
    }

    #[test]
    fn without_a_word_the_status_speaks() {
        for (status, exit, again) in [
            (400, Exit::Refused, false),
            (401, Exit::Denied, false),
            (403, Exit::Denied, false),
            (404, Exit::Refused, false),
            (407, Exit::Denied, false),
            (412, Exit::Refused, false),
            (413, Exit::Refused, false),
            (429, Exit::Retry, true),
            (500, Exit::Retry, true),
            (501, Exit::Refused, false),
            (502, Exit::Retry, true),
            (503, Exit::Retry, true),
            (504, Exit::Retry, true),
            (507, Exit::Retry, false),
        ] {
            for word in ["", "neverHeardOf"] {
                let meaning = meaning(word, Some(status));
                assert_eq!((meaning.exit, meaning.request_again), (exit, again), "{word} {status}");
            }
        }
    }

    #[test]
    fn no_word_twice() {
        for (i, (word, _)) in WORDS.iter().enumerate() {
            assert!(WORDS[..i].iter().all(|(other, _)| other != word), "{word}");
        }
    }
}
