//! Jobs that come with a file: in one request if it is small, else in pieces that go on where a cut line left them.
//!
//! Source: <https://docs.cloud.google.com/bigquery/docs/reference/api-uploads>. A job begins with the last piece: whatever breaks before
//! that has changed nothing, and after it the job is looked for before anything is sent again.

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

use super::error::{ApiError, Kind};
use super::job::Job;
use super::load::Media;
use super::send::{Call, Content, To};
use super::{Api, Work, retry};
use crate::names::sha256_hex;
use std::time::Duration;

/// Smaller files go in one request.
const SMALL: u64 = 5 * 1024 * 1024;
/// A piece: a multiple of 256 KiB, as BigQuery demands.
const PIECE: u64 = 8 * 1024 * 1024;
/// How long one piece may take: over a line of 256 kbit/s.
const PIECE_TIMEOUT: Duration = Duration::from_secs(300);
const SIZE: HeaderName = HeaderName::from_static("x-upload-content-length");
const TYPE: HeaderName = HeaderName::from_static("x-upload-content-type");
/// What a file is, for HTTP; what it is for BigQuery, its job says.
const BYTES: &str = "application/octet-stream";

/// What has arrived.
enum Arrived {
    /// All: the job.
    All(Map<String, Value>),
    /// The bytes before this one.
    Before(u64),
}

impl Api<'_> {
    /// `jobs.insert` with a file.
    pub(super) async fn upload(&self, job: &impl Work, media: &Media) -> Result<Job, ApiError> {
        // A few at a time: each holds a piece in memory, and they share one line.
        let _place = self.uploads.acquire().await;
        // Of an attempt that was cut short: nobody sends a large file to learn that it is there.
        self.not_there(job).await?;
        let sent = match media.bytes < SMALL {
            true => self.whole(job, media).await,
            false => self.in_pieces(job, media).await,
        }?;
        (media.progress)(media.bytes);
        Ok(Job::of(sent).known_as(job.id(), job.location()))
    }

    /// Fails as BigQuery would if there is a job of this ID.
    async fn not_there(&self, job: &impl Work) -> Result<(), ApiError> {
        match self.job(job.id(), job.location()).await? {
            None => Ok(()),
            Some(_) => {
                let kind = Kind::Answer {
                    status: 409,
                    reason: "duplicate".to_owned(),
                    message: "there is a job of this ID".to_owned(),
                };
                Err(ApiError::new(kind, format!("GET jobs/{}", job.id()), true))
            }
        }
    }

    fn insert_call<'c>(&self, path: &'c [&'c str], kind: &str, content: Content) -> Call<'c> {
        Call {
            method: Method::POST,
            to: To::Uploads,
            query: vec![("uploadType", kind.to_owned())],
            content: Some(content),
            timeout: PIECE_TIMEOUT,
            ..Call::get("jobs.insert", path)
        }
    }

    async fn whole(&self, job: &impl Work, media: &Media) -> Result<Map<String, Value>, ApiError> {
        let file = media.read(0, media.bytes).map_err(not_read)?;
        // No file holds its own digest.
        let boundary = format!("bq-rollback-{}", sha256_hex(&media.sha256));
        let described = job.body(&self.project).to_string();
        let mut body = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{described}\r\n--{boundary}\r\nContent-Type: {BYTES}\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(&file);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let content = Content {
            headers: vec![(CONTENT_TYPE, format!("multipart/related; boundary={boundary}"))],
            bytes: body.into(),
        };
        let path = ["projects", self.project.as_str(), "jobs"];
        Ok(self.exchange(self.insert_call(&path, "multipart", content)).await?.body)
    }

    async fn in_pieces(&self, job: &impl Work, media: &Media) -> Result<Map<String, Value>, ApiError> {
        let mut waits = retry::waits(self.clock.seed());
        // Whether a last piece was sent, whatever became of it.
        let mut maybe_happened = false;
        loop {
            let session = self.session(job, media).await?;
            match self.to_session(&session, media, &mut maybe_happened).await {
                Ok(job) => return Ok(job),
                Err(e) => {
                    let gone = matches!(e.status(), Some(404 | 410));
                    let e = ApiError { maybe_happened, ..e };
                    if !gone {
                        return Err(e);
                    }
                    self.wait_after(&e, &mut waits).await?;
                    if maybe_happened {
                        self.not_there(job).await?;
                    }
                }
            }
        }
    }

    /// The address that the pieces go to.
    async fn session(&self, job: &impl Work, media: &Media) -> Result<Url, ApiError> {
        let content = Content {
            headers: vec![
                (CONTENT_TYPE, "application/json; charset=UTF-8".to_owned()),
                (TYPE, BYTES.to_owned()),
                (SIZE, media.bytes.to_string()),
            ],
            bytes: job.body(&self.project).to_string().into(),
        };
        let path = ["projects", self.project.as_str(), "jobs"];
        let nothing_happened = |e: ApiError| ApiError {
            maybe_happened: false,
            ..e
        };
        let call = self.insert_call(&path, "resumable", content);
        let answer = self.exchange(call).await.map_err(nothing_happened)?;
        let there = answer.headers.get(LOCATION).and_then(|there| there.to_str().ok());
        let there = there.and_then(|there| self.config.endpoint.join(there).ok());
        // The address is a secret and takes a file: both go where the token went, or to another address of Google's.
        let ours = |url: &Url| {
            url.origin() == self.config.endpoint.origin()
                || (super::is_google(url) && super::is_google(&self.config.endpoint))
        };
        there.filter(ours).ok_or_else(|| {
            let body = "it names no address of its own to upload to".to_owned();
            let kind = Kind::NotBigQuery {
                status: answer.status.as_u16(),
                body,
            };
            ApiError::new(kind, "POST jobs?uploadType=resumable".to_owned(), false)
        })
    }

    async fn to_session(
        &self,
        session: &Url,
        media: &Media,
        last_was_sent: &mut bool,
    ) -> Result<Map<String, Value>, ApiError> {
        let mut waits = retry::waits(self.clock.seed());
        let mut from = 0;
        loop {
            if let Some(signal) = self.config.stop.by() {
                let kind = Kind::Stopped(signal, format!("after {from} of {} bytes", media.bytes));
                return Err(ApiError::new(kind, "PUT a piece of a file".to_owned(), false));
            }
            let piece = media.read(from, PIECE).map_err(not_read)?;
            let end = from + piece.len() as u64;
            *last_was_sent |= end == media.bytes;
            let range = match end == from {
                // Everything is there, and no answer has said so.
                true => format!("bytes */{}", media.bytes),
                false => format!("bytes {from}-{}/{}", end - 1, media.bytes),
            };
            let arrived = match self.put(session, range, piece, true).await {
                Ok(arrived) => arrived,
                Err(e) if retry::request(&e) == retry::Next::Stop => return Err(e),
                Err(e) => {
                    self.wait_after(&e, &mut waits).await?;
                    // Where the line was cut, only the other end knows.
                    self.put(session, format!("bytes */{}", media.bytes), Bytes::new(), false)
                        .await?
                }
            };
            match arrived {
                Arrived::All(job) => return Ok(job),
                Arrived::Before(there) if there > media.bytes => {
                    let body = format!("it has {there} bytes of {}", media.bytes);
                    let kind = Kind::NotBigQuery { status: 308, body };
                    return Err(ApiError::new(kind, "PUT a piece of a file".to_owned(), true));
                }
                Arrived::Before(there) if there > from => {
                    (media.progress)(there);
                    waits = retry::waits(self.clock.seed());
                    from = there;
                }
                Arrived::Before(there) => {
                    let kind = Kind::Unreachable(format!("the upload does not come on from byte {there}"));
                    let e = ApiError::new(kind, "PUT a piece of a file".to_owned(), true);
                    self.wait_after(&e, &mut waits).await?;
                    from = there;
                }
            }
        }
    }

    async fn put(&self, session: &Url, range: String, piece: Bytes, once: bool) -> Result<Arrived, ApiError> {
        let call = Call {
            method: Method::PUT,
            to: To::Session(session.clone()),
            content: Some(Content {
                headers: vec![(CONTENT_TYPE, BYTES.to_owned()), (CONTENT_RANGE, range)],
                bytes: piece,
            }),
            timeout: PIECE_TIMEOUT,
            once,
            ..Call::get("upload", &[])
        };
        let answer = self.exchange(call).await?;
        if answer.status.is_success() {
            return Ok(Arrived::All(answer.body));
        }
        let last = answer.headers.get(RANGE).and_then(|range| range.to_str().ok());
        let last = last.and_then(|range| range.rsplit('-').next()?.trim().parse::<u64>().ok());
        Ok(Arrived::Before(last.map_or(0, |last| last.saturating_add(1))))
    }

    /// Waits as any request that failed is waited for; the same failure if there is no time left.
    async fn wait_after(&self, e: &ApiError, waits: &mut impl Iterator<Item = Duration>) -> Result<(), ApiError> {
        let wait = e.retry_after.max(waits.next()).unwrap_or(Duration::from_secs(32));
        if !self.may_wait(wait) {
            return Err(e.clone());
        }
        if self.config.verbose {
            crate::tool::say(&format!("{}: {e}; again in {:.1} s", e.call, wait.as_secs_f32()));
        }
        self.wait_to_try(wait, false)
            .await
            .map_err(|signal| e.clone().stopped(signal))
    }
}

fn not_read(why: String) -> ApiError {
    ApiError::new(Kind::NotRead(why), "reading a file".to_owned(), false)
}

#[cfg(test)]
mod tests;
