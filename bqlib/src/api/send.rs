//! One request: built, sent, answered or not, and sent again by the policy of `retry`. Knows no method of BigQuery's.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Map, Value};

use super::auth::Pass;
use super::error::{self, ApiError, Kind};
use super::reasons::is_too_fast;
use super::{Api, JOB_APPEARS, REQUEST_TIMEOUT, retry};
use crate::clock::later;
use crate::crash;

/// One request.
pub(super) struct Call<'a> {
    /// BigQuery's name of the method, by which its limits are (`tables.get`).
    pub(super) name: &'static str,
    pub(super) method: Method,
    pub(super) to: To,
    /// Below `/bigquery/v2`, a segment each, not yet encoded.
    pub(super) path: &'a [&'a str],
    pub(super) query: Vec<(&'a str, String)>,
    pub(super) body: Option<Value>,
    /// What is sent instead of a body of JSON.
    pub(super) content: Option<Content>,
    /// The place in an answer, key by key, without which it is no whole answer: its absence would be read as a "no".
    pub(super) holds: &'a [&'a str],
    pub(super) timeout: Duration,
    /// 404 is worth waiting for: the thing is known to exist.
    pub(super) appears: bool,
    /// Any failure is the caller's to judge, at once.
    pub(super) once: bool,
    /// No other try is made later than this, by BigQuery's clock.
    pub(super) until: Option<Timestamp>,
    /// The table whose metadata the call changes.
    pub(super) changes: Option<String>,
}

/// Where a request goes.
pub(super) enum To {
    /// To a method of the API.
    Api,
    /// To where a method takes files.
    Uploads,
    /// To the address that an upload was given.
    Session(Url),
}

/// Bytes, and the headers that say what they are.
pub(super) struct Content {
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) bytes: Bytes,
}

/// An answer that is BigQuery's.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Map<String, Value>,
}

impl<'a> Call<'a> {
    pub(super) fn get(name: &'static str, path: &'a [&'a str]) -> Call<'a> {
        Call {
            name,
            method: Method::GET,
            to: To::Api,
            path,
            query: Vec::new(),
            body: None,
            content: None,
            holds: &[],
            timeout: REQUEST_TIMEOUT,
            appears: false,
            once: false,
            until: None,
            changes: None,
        }
    }

    fn awaits_more(&self, status: StatusCode) -> bool {
        matches!(self.to, To::Session(_)) && status == StatusCode::PERMANENT_REDIRECT
    }
}

/// How long a program that a signal has told to stop still tries what it needs to leave in order. Who stops programs gives them about as long
/// before the kill.
const LEAVE: Duration = Duration::from_secs(10);

impl Api<'_> {
    /// Sends a request until it is answered, or its failure stands.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Map<String, Value>, ApiError> {
        self.exchange(call).await.map(|answer| answer.body)
    }

    /// As [`Api::call`], with the answer's status and headers.
    pub(super) async fn exchange(&self, call: Call<'_>) -> Result<Answer, ApiError> {
        let url = self.url(&call);
        let mut waits = retry::waits(self.clock.seed());
        let started = self.clock.elapsed();
        let mut fresh = false;
        let mut tries = 0;
        let mut maybe_happened = false;
        // A job that was sent is waited for; what begins after a signal is part of leaving.
        let goes_on = call.appears || self.config.stop.by().is_some();
        loop {
            tries += 1;
            let mut pass = None;
            let mut error = match self.in_turn(&call, &url, goes_on, &mut pass).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_too_fast(error.reason().unwrap_or_default(), error.status()) {
                self.pace.slower(call.name, self.clock.elapsed());
            }
            error.tries = tries;
            // Whatever the last try ended with, an earlier one may have arrived.
            maybe_happened |= error.maybe_happened;
            error.maybe_happened = maybe_happened;
            if call.once {
                return Err(error);
            }
            let mut next = retry::request(&error);
            let spent = self.clock.elapsed().saturating_sub(started);
            if call.appears && error.is_not_found() && spent < JOB_APPEARS {
                next = retry::Next::Again;
            }
            match next {
                retry::Next::Stop => return Err(error),
                retry::Next::FreshToken => {
                    if fresh || !self.config.auth.forget(pass.as_ref()) {
                        return Err(error);
                    }
                    fresh = true;
                }
                retry::Next::Again => {
                    let wait = error.retry_after.max(waits.next()).unwrap_or(Duration::from_secs(32));
                    let too_late = call.until.is_some_and(|until| later(self.now(), wait) > until);
                    let too_long = wait.saturating_add(spent) > self.config.retry_for;
                    if too_late || too_long || !self.may_wait(wait) {
                        return Err(error);
                    }
                    if self.config.verbose {
                        crate::tool::say(&format!(
                            "{}: {error}; again in {:.1} s",
                            error.call,
                            wait.as_secs_f32()
                        ));
                    }
                    if let Err(signal) = self.wait_to_try(wait, goes_on).await {
                        return Err(error.stopped(signal));
                    }
                }
            }
        }
    }

    /// Sends a request when it is its turn.
    async fn in_turn(
        &self,
        call: &Call<'_>,
        url: &Url,
        goes_on: bool,
        pass: &mut Option<Pass>,
    ) -> Result<Answer, ApiError> {
        let stopped = |signal| {
            let kind = Kind::Stopped(signal, "before it was its turn".to_owned());
            ApiError::new(kind, told(call, url), false)
        };
        let wait = async |wait: Duration| {
            if wait.is_zero() {
                return Ok(());
            }
            self.wait_to_try(wait, goes_on).await.map_err(stopped)
        };
        // First a place, then the turn: who waited long for a place must not leave in a crowd.
        let _place = match goes_on {
            true => self.pace.place().await,
            false => self.unless_stopped(self.pace.place()).await.map_err(stopped)?,
        };
        if let Some(table) = &call.changes {
            wait(self.pace.change(table, self.clock.elapsed())).await?;
        }
        loop {
            let turn = self.pace.turn(call.name, self.clock.elapsed());
            wait(turn.wait).await?;
            if self.pace.holds(&turn) {
                break;
            }
        }
        self.once(call, url, pass).await
    }

    /// Waits until a request is tried again: not at all once a signal has come, so that Ctrl-C needs not outwait a BigQuery that is down; or, if
    /// the request `goes_on` all the same, for [`LEAVE`] at most.
    ///
    /// # Errors
    /// The signal: there is no other try.
    pub(super) async fn wait_to_try(&self, wait: Duration, goes_on: bool) -> Result<(), u8> {
        let stop = &self.config.stop;
        let wait = match stop.by() {
            Some(_) => wait,
            None => tokio::select! {
                biased;
                _ = stop.came() => Duration::ZERO,
                () = self.clock.sleep(wait) => return Ok(()),
            },
        };
        let now = self.clock.elapsed();
        let since = self.stopped.get().unwrap_or(now);
        self.stopped.set(Some(since));
        if !goes_on || (now + wait).saturating_sub(since) > LEAVE {
            return Err(stop.by().unwrap_or(0));
        }
        self.clock.sleep(wait).await;
        Ok(())
    }

    /// Takes a wait from the program's whole budget. Waits of calls that run at the same time count once.
    pub(super) fn may_wait(&self, wait: Duration) -> bool {
        let now = self.clock.elapsed();
        let (until, total) = self.waited.get();
        let end = now + wait;
        let total = total + end.saturating_sub(until.max(now));
        if total > self.config.retry_for {
            return false;
        }
        self.waited.set((until.max(end), total));
        true
    }

    /// The one place where a URL is built: segments are encoded, so no name can change a path.
    fn url(&self, call: &Call<'_>) -> Url {
        let upload = match &call.to {
            To::Session(url) => return url.clone(),
            To::Uploads => Some("upload"),
            To::Api => None,
        };
        let mut url = self.config.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            let version = upload.into_iter().chain(["bigquery", "v2"]);
            segments.pop_if_empty().extend(version).extend(call.path);
        }
        url.query_pairs_mut()
            .extend_pairs(call.query.iter().map(|(key, value)| (*key, value.as_str())))
            .append_pair("prettyPrint", "false");
        url
    }

    /// `pass`: gets what the request is sent with.
    async fn once(&self, call: &Call<'_>, url: &Url, pass: &mut Option<Pass>) -> Result<Answer, ApiError> {
        let fail = |kind, maybe_happened, retry_after| ApiError {
            retry_after,
            ..ApiError::new(kind, told(call, url), maybe_happened)
        };
        let found = match call.appears {
            true => self.config.auth.pass().await,
            // Nothing was sent: Ctrl-C needs not outwait a token endpoint that is down.
            false => self.unless_stopped(self.config.auth.pass()).await.map_err(|signal| {
                let when = "before it was sent: there is no token yet";
                fail(Kind::Stopped(signal, when.to_owned()), false, None)
            })?,
        };
        *pass = found.map_err(|why| fail(Kind::NoCredentials(why), false, None))?;
        let mut request = self
            .http
            .request(call.method.clone(), url.clone())
            .timeout(crash::patience(call.timeout));
        if let Some(pass) = pass {
            request = pass.shown(request);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        if let Some(content) = &call.content {
            request = content
                .headers
                .iter()
                .fold(request, |request, (name, value)| request.header(name, value));
            request = request.body(content.bytes.clone());
        }
        let point = |when: &str| crash::point(format_args!("call {when}: {} {}", call.method, url.path()));
        point("about to be sent");
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(e) => return Err(fail(Kind::Unreachable(why(&e)), !e.is_connect(), None)),
        };
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let date = header("date").and_then(|d| jiff::fmt::rfc2822::parse(d).ok());
        let retry_after = header("retry-after")
            .and_then(|s| s.parse().ok())
            .map(Duration::from_secs);
        let headers = std::mem::take(response.headers_mut());
        let body = match response.text().await {
            // A page of a proxy may repeat what it was sent.
            Ok(body) => match pass {
                Some(pass) => pass.hidden_in(body),
                None => body,
            },
            Err(e) => return Err(fail(Kind::Unreachable(why(&e)), true, None)),
        };
        point("answered");
        let without_body = |headers| Answer {
            status,
            headers,
            body: Map::new(),
        };
        // Of an upload, the first answer and those to pieces say all in their headers: of 308, that more is to come.
        let of_upload = call.content.is_some() && status.is_success() && body.is_empty();
        if status == StatusCode::NO_CONTENT || of_upload || call.awaits_more(status) {
            return Ok(without_body(headers));
        }
        if !status.is_success() {
            let happened = status.is_server_error();
            let retry_after = retry_after.or_else(|| error::retry_delay(&body));
            return Err(fail(error::of_answer(status.as_u16(), &body), happened, retry_after));
        }
        let not_bigquery = |body| {
            let status = status.as_u16();
            fail(Kind::NotBigQuery { status, body }, true, None)
        };
        let answer: Map<String, Value> =
            serde_json::from_str(&body).map_err(|_| not_bigquery(error::beginning(&body)))?;
        let held = |(first, rest): (&&str, &[&str])| {
            let there = rest.iter().fold(answer.get(*first), |value, key| value?.get(key));
            there.is_some()
        };
        if !call.holds.split_first().is_none_or(held) {
            return Err(not_bigquery(format!("it has no `{}`", call.holds.join("."))));
        }
        // Only an answer that is BigQuery's tells its time: a proxy's page has a clock of its own.
        if let Some(date) = date {
            self.server.set(Some((date.timestamp(), Instant::now())));
        }
        Ok(Answer {
            status,
            headers,
            body: answer,
        })
    }
}

/// Method and URL, as errors tell them.
fn told(call: &Call<'_>, url: &Url) -> String {
    format!("{} {}{}", call.method, url.origin().ascii_serialization(), url.path())
}

/// An HTTP client's error with its causes; the URL is told elsewhere.
pub(super) fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() {
        "timed out".to_owned()
    } else {
        cause.to_string()
    }
}
