//! A request, or an answer, against the methods of the document. Pure.

use super::Definition;
use super::document::{Id, Parameters};
use super::values::{Judge, Place, not_a_parameter};
use crate::gateway::Ask;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// A method of the document.
#[derive(Debug)]
pub struct Method {
    /// `bigquery.jobs.insert`
    pub id: String,
    pub(super) verb: String,
    /// Where it is called: its path, then where it takes uploads, each a segment at a time.
    pub(super) paths: Vec<Vec<Segment>>,
    pub(super) query: Parameters,
    pub(super) request: Option<Id>,
    pub(super) response: Option<Id>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Is(String),
    /// Any text, then this: empty, or `:verb`.
    Any(String),
}

/// What does not conform, and the method that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Absent: there is no such method.
    pub method: Option<String>,
    /// All that is wrong, one each.
    pub what: Vec<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_deref().unwrap_or("BigQuery v2");
        write!(f, "not conforming to {method}: {}", self.what.join("; "))
    }
}

impl Method {
    /// `/bigquery/v2/projects/{projectsId}/datasets/{datasetsId}:undelete`, in segments.
    pub(super) fn template(path: &str) -> Vec<Segment> {
        let segments = path.trim_start_matches('/').split('/');
        let segments = segments.map(
            |segment| match segment.strip_prefix('{').and_then(|s| s.split_once('}')) {
                Some((_, then)) => Segment::Any(then.to_owned()),
                None => Segment::Is(segment.to_owned()),
            },
        );
        segments.collect()
    }

    /// `GET`, `POST`, …
    pub fn verb(&self) -> &str {
        &self.verb
    }

    /// Its path with `{}` for what differs from call to call.
    pub fn path(&self) -> String {
        let segments = self.paths.first().into_iter().flatten();
        let segments = segments.map(|segment| match segment {
            Segment::Is(text) => format!("/{text}"),
            Segment::Any(then) => format!("/{{}}{then}"),
        });
        segments.collect()
    }
}

impl Definition {
    /// Finds the method that is called; whether by its path for uploads.
    ///
    /// # Errors
    /// There is none.
    pub fn method(&self, verb: &str, target: &str) -> Result<(&Method, bool), Wrong> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let segments: Vec<Cow<str>> = path.strip_prefix('/').unwrap_or(path).split('/').map(decoded).collect();
        let place = |method: &Method| method.paths.iter().position(|template| fits(template, &segments));
        let with_the_verb = self.methods.iter().filter(|method| method.verb == verb);
        if let Some(found) = with_the_verb.filter_map(|m| Some((m, place(m)? > 0))).next() {
            return Ok(found);
        }
        let others = self.methods.iter().filter(|method| place(method).is_some());
        let verbs: Vec<&str> = others.map(|method| method.verb.as_str()).collect();
        let what = match verbs.is_empty() {
            true => format!("no method has the path {path}"),
            false => format!("no method is {verb} {path}, only {}", verbs.join(", ")),
        };
        Err(Wrong {
            method: None,
            what: vec![what],
        })
    }

    /// Judges a request: the method it calls.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn request(&self, ask: &Ask, json: &Value) -> Result<&Method, Wrong> {
        let verb = ask.method.as_str();
        if let Some(method) = self.goes_on(ask) {
            return method.verdict(later(ask));
        }
        let (method, upload) = self.method(verb, &ask.target)?;
        let mut what = Vec::new();
        self.query(method, &ask.target, &mut what);
        if upload {
            what.extend(first(ask));
        }
        match method.request {
            None if ask.body.is_empty() => {}
            None => what.push("a body, and the method takes none".to_owned()),
            Some(_) if ask.body.is_empty() => what.push("no body".to_owned()),
            Some(shape) => {
                let kind = ask.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                let kind = kind.unwrap_or_default();
                if !(kind.starts_with("application/json") || upload && kind.starts_with(MULTIPART)) {
                    what.push(format!("a body of `Content-Type: {kind}`"));
                }
                let place = if verb == "PATCH" { Place::Patch } else { Place::Sent };
                self.body(shape, place, json, &mut what);
            }
        }
        method.verdict(what)
    }

    /// The method whose resumable upload goes on: a PUT to the address that the first answer named. The document says
    /// nothing of it, <https://docs.cloud.google.com/bigquery/docs/reference/api-uploads> does.
    fn goes_on(&self, ask: &Ask) -> Option<&Method> {
        if ask.method != "PUT" || !parameters(&ask.target).any(|(name, _)| name == UPLOAD_ID) {
            return None;
        }
        let (method, upload) = self.method("POST", &ask.target).ok()?;
        upload.then_some(method)
    }

    /// Judges an answer that says that all went well: the method it answers.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn answer(&self, verb: &str, target: &str, json: &Value) -> Result<&Method, Wrong> {
        let (method, _) = self.method(verb, target)?;
        let mut what = Vec::new();
        match method.response {
            Some(shape) => self.body(shape, Place::Answer, json, &mut what),
            None if json.is_null() => {}
            None => what.push("a body, and the method answers with none".to_owned()),
        }
        method.verdict(what)
    }

    fn body(&self, shape: Id, place: Place, json: &Value, what: &mut Vec<String>) {
        let mut judge = Judge::new(&self.shapes, place);
        judge.value(shape, json);
        what.append(&mut judge.wrong);
    }

    fn query(&self, method: &Method, target: &str, what: &mut Vec<String>) {
        let mut seen: Vec<Cow<str>> = Vec::new();
        for (name, text) in parameters(target) {
            let known = method
                .query
                .get(name.as_ref())
                .or_else(|| self.everywhere.get(name.as_ref()));
            let Some(parameter) = known else {
                what.push(format!("{name}: an unknown query parameter"));
                continue;
            };
            if let Some(why) = not_a_parameter(self.shapes.of(parameter.shape), &text) {
                what.push(format!("{name}: {why}"));
            }
            if !parameter.repeated && seen.contains(&name) {
                what.push(format!("{name}: said twice"));
            }
            seen.push(name);
        }
        for (name, parameter) in &method.query {
            if parameter.required && !seen.iter().any(|there| there == name) {
                what.push(format!("{name}: a required query parameter, and missing"));
            }
        }
    }
}

impl Method {
    fn verdict(&self, what: Vec<String>) -> Result<&Method, Wrong> {
        if what.is_empty() {
            return Ok(self);
        }
        Err(Wrong {
            method: Some(self.id.clone()),
            what,
        })
    }
}

fn fits(template: &[Segment], segments: &[Cow<str>]) -> bool {
    template.len() == segments.len()
        && template.iter().zip(segments).all(|(template, text)| match template {
            Segment::Is(wanted) => wanted == text,
            Segment::Any(then) if then.is_empty() => !text.is_empty() && !text.contains('/'),
            Segment::Any(then) => text.strip_suffix(then.as_str()).is_some_and(|rest| !rest.is_empty()),
        })
}

// ---- uploads ----

/// What the server's address of a resumable upload says that the document does not know.
const UPLOAD_ID: &str = "upload_id";

/// Every chunk of an upload but the last is a multiple of this, in bytes.
const UNIT: usize = 256 * 1024;

/// What is wrong with how an upload begins.
fn first(ask: &Ask) -> Option<String> {
    let kind = ask.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let parts = kind.unwrap_or_default().starts_with(MULTIPART);
    let how = parameters(&ask.target).find(|(name, _)| name == "uploadType");
    let how = how.as_ref().map(|(_, how)| how.as_ref());
    match (how, parts) {
        (None, _) => Some("an upload that does not say its `uploadType`".to_owned()),
        (Some("multipart"), true) | (Some("resumable"), false) => None,
        (Some(how), true) => Some(format!("uploadType={how}, and a body of parts")),
        (Some(how), false) => Some(format!("uploadType={how}, and a body of one part")),
    }
}

/// What is wrong with a chunk of a resumable upload, or with the question of what has landed.
fn later(ask: &Ask) -> Vec<String> {
    let mut what = Vec::new();
    if !parameters(&ask.target).any(|(name, how)| name == "uploadType" && how == "resumable") {
        what.push("the address is not the one that was answered: no uploadType=resumable".to_owned());
    }
    let range = ask.headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    match range {
        None => what.push("a chunk without `Content-Range`".to_owned()),
        Some(range) => what.extend(chunk(range, ask.body.len()).err()),
    }
    what
}

/// Holds `bytes 0-262143/1000000`, or `bytes */1000000`, against the length of the body.
fn chunk(range: &str, length: usize) -> Result<(), String> {
    let unknown = || format!("`Content-Range: {range}`");
    let (part, total) = range
        .strip_prefix("bytes ")
        .and_then(|r| r.split_once('/'))
        .ok_or_else(unknown)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| unknown());
    let total = match total {
        "*" => None,
        total => Some(number(total)?),
    };
    if part == "*" {
        return match length {
            0 => Ok(()),
            _ => Err(format!("{} asks what has landed, and brings {length} bytes", unknown())),
        };
    }
    let (from, to) = part.split_once('-').ok_or_else(unknown)?;
    let (from, to) = (number(from)?, number(to)?);
    if to < from || to - from + 1 != length || total.is_some_and(|total| to >= total) {
        return Err(format!("{} with {length} bytes", unknown()));
    }
    let last = total.is_some_and(|total| to + 1 == total);
    match last || length.is_multiple_of(UNIT) {
        true => Ok(()),
        false => Err(format!(
            "a chunk of {length} bytes: all but the last are multiples of {UNIT}"
        )),
    }
}

// ---- what HTTP wraps it in ----

const MULTIPART: &str = "multipart/related";

/// The JSON of a request: its body, or the first part of an upload's; null if there is none.
pub fn json_of(ask: &Ask) -> Value {
    let kind = ask.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default();
    if !kind.starts_with(MULTIPART) {
        return serde_json::from_slice(&ask.body).unwrap_or_default();
    }
    first_part(kind, &ask.body)
        .and_then(|part| serde_json::from_slice(part).ok())
        .unwrap_or_default()
}

/// RFC 2046: a line of the boundary, headers, an empty line, the part, the boundary again.
fn first_part<'a>(kind: &str, body: &'a [u8]) -> Option<&'a [u8]> {
    let boundary = kind
        .split_once("boundary=")?
        .1
        .split(';')
        .next()?
        .trim()
        .trim_matches('"');
    let find = |text: &[u8], sought: &[u8]| text.windows(sought.len()).position(|window| window == sought);
    let dashes = format!("--{boundary}");
    let body = body.get(find(body, dashes.as_bytes())? + dashes.len()..)?;
    let part = ["\r\n\r\n", "\n\n"]
        .iter()
        .find_map(|gap| body.get(find(body, gap.as_bytes())? + gap.len()..))?;
    part.get(..find(part, dashes.as_bytes())?)
}

/// The query parameters of a target, decoded, in their order.
pub(crate) fn parameters(target: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let plain = |text| match decoded(text) {
        Cow::Borrowed(text) if !text.contains('+') => Cow::Borrowed(text),
        // A plus that is meant is written `%2B`.
        _ => Cow::Owned(decoded(&text.replace('+', " ")).into_owned()),
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (plain(key), plain(value))
    })
}

/// A part of a URL, its `%XX` undone.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|_| *first == b'%')
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
