//! What can go wrong with a call, and what that means for the person and for the data.
//!
//! Reasons: <https://docs.cloud.google.com/bigquery/docs/error-messages>.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::exit::{Exit, Failure, one_line};

/// What came back, or did not.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// BigQuery answered with an error in its own form.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The reason word, such as `notFound`; empty if there was none.
        reason: String,
        /// The message.
        message: String,
    },
    /// Something answered that is not BigQuery: a proxy's page, half an answer.
    NotBigQuery {
        /// The HTTP status.
        status: u16,
        /// What came, its beginning.
        body: String,
    },
    /// Nothing answered.
    Unreachable(String),
    /// There are no credentials, or they could not be exchanged for a token.
    NoCredentials(String),
    /// A signal came before there was an answer that counts: its number, and what the program was waiting for.
    Stopped(u8, String),
}

/// A call that failed.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// What came back.
    pub kind: Kind,
    /// Method and URL, without secrets: they are never in a URL.
    pub call: String,
    /// False: the request never left, so nothing can have happened.
    pub maybe_happened: bool,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
    /// How often it was tried.
    pub tries: u32,
}

impl ApiError {
    /// The reason word, if BigQuery gave one.
    pub fn reason(&self) -> Option<&str> {
        match &self.kind {
            Kind::Answer { reason, .. } if !reason.is_empty() => Some(reason),
            _ => None,
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            Kind::Answer { status, .. } | Kind::NotBigQuery { status, .. } => Some(status),
            _ => None,
        }
    }

    /// This failure, where a signal keeps it from being tried away.
    pub(super) fn stopped(self, signal: u8) -> ApiError {
        ApiError {
            kind: Kind::Stopped(signal, format!("before it was tried again: {self}")),
            ..self
        }
    }

    /// Whether BigQuery says that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.kind, Kind::Answer { status: 404, .. })
    }

    /// Whether BigQuery says that the job ID, or the name, is taken.
    pub fn is_duplicate(&self) -> bool {
        matches!(&self.kind, Kind::Answer { status: 409, .. })
    }

    /// The code that this failure ends a program with, when the caller knows no better.
    pub fn exit(&self) -> Exit {
        match &self.kind {
            Kind::NoCredentials(_) => Exit::Denied,
            Kind::Stopped(signal, _) => Exit::Signal(*signal),
            Kind::NotBigQuery { .. } | Kind::Unreachable(_) => Exit::Retry,
            Kind::Answer { status, reason, .. } => match (*status, reason.as_str()) {
                (403, "rateLimitExceeded" | "quotaExceeded") | (429, _) => Exit::Retry,
                (401 | 403, _) => Exit::Denied,
                (501, _) => Exit::Refused,
                (500..=599, _) => Exit::Retry,
                _ => Exit::Refused,
            },
        }
    }

    /// The failure to print: `doing` says what the program was at (`reading table p.d.t`).
    pub fn failure(&self, doing: &str) -> Failure {
        let exit = self.exit();
        let hint = match (exit, &self.kind) {
            (_, Kind::NoCredentials(_)) => {
                "set CLOUDSDK_AUTH_ACCESS_TOKEN or GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`"
            }
            (_, Kind::Answer { status: 401, .. }) => {
                "BigQuery does not take the credentials: renew them (gcloud auth application-default login), or the token"
            }
            (Exit::Denied, _) => "grant the permission that the message names, then run the same command again",
            (Exit::Retry, Kind::NotBigQuery { .. }) => {
                "look whether `--api-endpoint` or BIGQUERY_EMULATOR_HOST, or a proxy, is in the way"
            }
            (Exit::Signal(_), _) => "run the same command again",
            (Exit::Retry, _) => "run the same command again later, or give it more time with `--retry-for`",
            _ => "look at what the message names; then run the same command again",
        };
        let tries = if self.tries > 1 {
            format!(" (after {} tries)", self.tries)
        } else {
            String::new()
        };
        let mut failure = Failure::new(exit, format!("{doing}: {self}{tries}"), self.call.clone(), hint);
        failure.reason = self.reason().map(str::to_owned);
        failure
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Answer {
                status,
                reason,
                message,
            } if reason.is_empty() => {
                write!(f, "{} (HTTP {status})", one_line(message))
            }
            Kind::Answer {
                status,
                reason,
                message,
            } => {
                write!(f, "{} ({reason}, HTTP {status})", one_line(message))
            }
            Kind::NotBigQuery { status, body } => {
                write!(f, "the answer is not BigQuery's (HTTP {status}): {}", one_line(body))
            }
            Kind::Unreachable(why) => write!(f, "no answer: {}", one_line(why)),
            Kind::Stopped(_, when) => write!(f, "stopped by a signal {when}"),
            Kind::NoCredentials(why) => write!(f, "no usable credentials: {}", one_line(why)),
        }
    }
}

/// The kind of an answer that is not 2xx, in either of Google's forms, or neither.
pub(super) fn of_answer(status: u16, body: &str) -> Kind {
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let Some(error) = value.get("error").filter(|e| e.is_object()) else {
        return Kind::NotBigQuery {
            status,
            body: beginning(body),
        };
    };
    let text = |pointer: &str| error.pointer(pointer).and_then(Value::as_str);
    // The newer form has no `errors`, but ErrorInfo among its `details`.
    let details = error.get("details").and_then(Value::as_array);
    let info = details.and_then(|list| list.iter().find_map(|d| d.get("reason")?.as_str()));
    Kind::Answer {
        status,
        reason: text("/errors/0/reason").or(info).unwrap_or("").to_owned(),
        message: text("/message").unwrap_or("no message").to_owned(),
    }
}

/// The beginning of a body that is not understood.
pub(super) fn beginning(body: &str) -> String {
    let line = one_line(body);
    if line.is_empty() {
        "an empty body".to_owned()
    } else {
        line.chars().take(120).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_googles_forms_are_read_and_a_page_is_told_apart() {
        let old = r#"{"error":{"code":404,"message":"Not found: Table x","errors":[{"reason":"notFound"}]}}"#;
        let new = r#"{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED","details":[{"@type":"x"},{"reason":"accessDenied"}]}}"#;
        assert!(matches!(of_answer(404, old), Kind::Answer { reason, .. } if reason == "notFound"));
        assert!(matches!(of_answer(403, new), Kind::Answer { reason, .. } if reason == "accessDenied"));
        assert!(matches!(of_answer(502, "<html>Bad Gateway"), Kind::NotBigQuery { .. }));
        assert!(matches!(of_answer(500, ""), Kind::NotBigQuery { .. }));
    }

    #[test]
    fn every_failure_has_its_code() {
        let error = |kind| ApiError {
            kind,
            call: String::new(),
            maybe_happened: true,
            retry_after: None,
            tries: 1,
        };
        let answer = |status, reason: &str| {
            error(Kind::Answer {
                status,
                reason: reason.into(),
                message: String::new(),
            })
        };
        for (error, exit) in [
            (answer(400, "invalidQuery"), Exit::Refused),
            (answer(401, "authError"), Exit::Denied),
            (answer(403, "accessDenied"), Exit::Denied),
            (answer(403, "rateLimitExceeded"), Exit::Retry),
            (answer(403, "quotaExceeded"), Exit::Retry),
            (answer(404, "notFound"), Exit::Refused),
            (answer(429, ""), Exit::Retry),
            (answer(500, "internalError"), Exit::Retry),
            (answer(501, "notImplemented"), Exit::Refused),
            (answer(503, "backendError"), Exit::Retry),
            (error(Kind::Unreachable(String::new())), Exit::Retry),
            (error(Kind::NoCredentials(String::new())), Exit::Denied),
            (error(Kind::Stopped(15, String::new())), Exit::Signal(15)),
        ] {
            assert_eq!(error.exit(), exit, "{error}");
        }
    }
}
