//! What can go wrong with a call, and what that means for the person and for the data.
//!
//! Reasons: <https://docs.cloud.google.com/bigquery/docs/error-messages>.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::auth::NoToken;
use super::job::JobPlace;
use super::reasons::meaning;
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
    NoCredentials(NoToken),
    /// A signal came before there was an answer that counts: its number, and what the program was waiting for.
    Stopped(u8, String),
    /// A file that was to be sent cannot be read, or is not what it was.
    NotRead(String),
    /// Nobody waits for it any longer.
    TooLong {
        /// How long it was waited for.
        within: Duration,
        /// Whether BigQuery has heard that it is to end.
        cancelled: bool,
    },
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
    /// The job that the call was about.
    pub job: Option<JobPlace>,
}

impl ApiError {
    /// A failure of one try, about no job.
    pub fn new(kind: Kind, call: String, maybe_happened: bool) -> ApiError {
        ApiError {
            kind,
            call,
            maybe_happened,
            retry_after: None,
            tries: 1,
            job: None,
        }
    }

    /// The same failure, about this job.
    pub(super) fn of(mut self, job: JobPlace) -> ApiError {
        self.job.get_or_insert(job);
        self
    }

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

    /// Whether the endpoint refused the question because it does not know it: an emulator, or an address that is another's.
    pub fn lacks_the_method(&self) -> bool {
        match &self.kind {
            Kind::Answer { status, reason, .. } => matches!(status, 404 | 405 | 501) || reason == "notImplemented",
            // A page about an address that is wrong. One about a proxy in trouble (5xx) was tried again, and is a failure.
            Kind::NotBigQuery { status, .. } => matches!(status, 400..=499 | 501),
            _ => false,
        }
    }

    /// The code that this failure ends a program with, when the caller knows no better.
    pub fn exit(&self) -> Exit {
        match &self.kind {
            Kind::NoCredentials(why) if why.transient => Exit::Retry,
            Kind::NoCredentials(_) => Exit::Denied,
            Kind::Stopped(signal, _) => Exit::Signal(*signal),
            Kind::NotRead(_) => Exit::Refused,
            Kind::NotBigQuery { .. } | Kind::Unreachable(_) | Kind::TooLong { .. } => Exit::Retry,
            Kind::Answer { status, reason, .. } => meaning(reason, Some(*status)).exit,
        }
    }

    /// The failure to print: `doing` says what the program was at (`reading table p.d.t`).
    pub fn failure(&self, doing: &str) -> Failure {
        let exit = self.exit();
        let hint = match &self.kind {
            Kind::NoCredentials(why) => &why.hint,
            Kind::NotBigQuery { .. } => {
                "look whether `--api-endpoint` or BIGQUERY_EMULATOR_HOST, or a proxy, is in the way"
            }
            Kind::Unreachable(_) => "run the same command again later, or give it more time with `--retry-for`",
            Kind::Stopped(..) => "run the same command again",
            Kind::NotRead(_) => "leave the file as it is until it has been read, or name another directory",
            Kind::TooLong { .. } => "give it more time with `--timeout`, or make it cheaper",
            Kind::Answer { status, reason, .. } => meaning(reason, Some(*status)).hint,
        };
        let tries = if self.tries > 1 {
            format!(" (after {} tries)", self.tries)
        } else {
            String::new()
        };
        let what = format!("{doing}: {self}{tries}");
        let mut failure = match (&self.kind, &self.job) {
            (Kind::NoCredentials(why), _) => Failure::new(exit, what, why.at.clone(), hint),
            // Who does not answer, or is not BigQuery, is at the address.
            (Kind::Unreachable(_) | Kind::NotBigQuery { .. }, Some(job)) => {
                Failure::new(exit, what, format!("{}, {job}", self.call), hint).of_job(&job.id)
            }
            (_, Some(job)) => Failure::new(exit, what, job.to_string(), hint).of_job(&job.id),
            (_, None) => Failure::new(exit, what, self.call.clone(), hint),
        };
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
            Kind::NotRead(why) => f.write_str(&one_line(why)),
            Kind::Stopped(_, when) => write!(f, "stopped by a signal {when}"),
            Kind::TooLong { within, cancelled } => {
                let took = format!("it took longer than {within:?}");
                match cancelled {
                    true => write!(f, "{took}, and was cancelled"),
                    false => write!(f, "{took}; whether it was cancelled is not known"),
                }
            }
            Kind::NoCredentials(why) if why.transient => write!(f, "no token for now: {}", why.what),
            Kind::NoCredentials(why) => write!(f, "no usable credentials: {}", why.what),
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
    // The newer form has no `errors`, but a `status`, and ErrorInfo among its `details`.
    let info = details(error).find_map(|d| d.get("reason")?.as_str());
    let reason = text("/errors/0/reason").or(info).or(text("/status"));
    Kind::Answer {
        status,
        reason: reason.unwrap_or("").to_owned(),
        message: text("/message").unwrap_or("no message").to_owned(),
    }
}

/// How long the newer form of an error asks to wait: its `RetryInfo`.
/// Source: <https://docs.cloud.google.com/apis/design/errors#error_details>.
pub(super) fn retry_delay(body: &str) -> Option<Duration> {
    let value: Value = serde_json::from_str(body).ok()?;
    let delay = details(value.get("error")?).find_map(|d| d.get("retryDelay")?.as_str())?;
    let seconds = delay.strip_suffix('s')?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn details(error: &Value) -> impl Iterator<Item = &Value> {
    error.get("details").and_then(Value::as_array).into_iter().flatten()
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
    fn what_a_person_needs_is_in_three_lines() {
        let answer = |status, body: &str| ApiError::new(of_answer(status, body), "GET x".into(), false);
        let error = answer(
            403,
            r#"{"error":{"message":"Access Denied: bigquery.tables.get","errors":[{"reason":"accessDenied"}]}}"#,
        );
        let place = JobPlace {
            project: "p".parse().unwrap(),
            id: "j".parse().unwrap(),
            location: Some("EU".parse().unwrap()),
            console: true,
        };
        let failure = error.of(place).failure("counting");
        assert_eq!(
            failure.to_string(),
            "counting: Access Denied: bigquery.tables.get (accessDenied, HTTP 403)\n\
             at: job j in EU, https://console.cloud.google.com/bigquery?project=p&j=bq:EU:j&page=queryresults\n\
             hint: grant the permission that the message names, then run the same command again"
        );
        assert_eq!(
            (failure.reason.as_deref(), failure.job),
            (Some("accessDenied"), "j".parse().ok())
        );
        for error in [
            answer(502, "<html>\n<h1>Bad\nGateway"),
            answer(500, ""),
            answer(503, r#"{"error":{"message":"a\n\nb"}}"#),
        ] {
            assert_eq!(error.failure("x").to_string().lines().count(), 3);
        }
    }

    #[test]
    fn the_newer_form_says_how_long_to_wait() {
        let body = r#"{"error":{"status":"UNAVAILABLE","message":"m","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3.5s"}]}}"#;
        assert_eq!(retry_delay(body), Some(Duration::from_millis(3500)));
        assert_eq!(retry_delay("{}"), None);
        assert!(matches!(of_answer(503, body), Kind::Answer { reason, .. } if reason == "UNAVAILABLE"));
    }

    #[test]
    fn failures_without_an_answer_have_their_codes() {
        let no_token = |transient| {
            Kind::NoCredentials(NoToken {
                what: String::new(),
                at: String::new(),
                hint: String::new(),
                transient,
                had: false,
            })
        };
        for (kind, exit) in [
            (Kind::Unreachable(String::new()), Exit::Retry),
            (of_answer(200, "<html>"), Exit::Retry),
            (no_token(false), Exit::Denied),
            (no_token(true), Exit::Retry),
            (Kind::Stopped(15, String::new()), Exit::Signal(15)),
            (
                Kind::TooLong {
                    within: Duration::from_secs(1),
                    cancelled: true,
                },
                Exit::Retry,
            ),
        ] {
            assert_eq!(ApiError::new(kind, String::new(), true).exit(), exit);
        }
    }
}
