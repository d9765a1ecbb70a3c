//! PURE: what goes wrong with which call. A script is read, a call is looked up, an answer is disguised.
//!
//! Nothing here knows a socket, a clock or a file: the doing is the gateway's.

use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a rule may look at.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// The number of the call, from 1.
    pub n: u64,
    /// `GET`, `POST`, in capitals.
    pub method: &'a str,
    /// The path, with `?query` if there is one.
    pub target: &'a str,
    /// The body as text; what is not UTF-8 in it may be lost.
    pub body: &'a str,
    /// The body, if it is JSON.
    pub json: &'a Value,
}

/// What is done to a call; `Display` prints what the script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error in Google's shape, in place of the call.
    Status {
        /// The HTTP status, 400 to 599.
        code: u16,
        /// Google's `reason`; none: the usual one of the status.
        reason: Option<String>,
        /// The message; none: one that says it is made up.
        message: Option<String>,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// A page of HTML with status 502, as a broken proxy gives, in place of the call.
    Html,
    /// Status 200 and no body, in place of the call.
    Empty,
    /// The call is made; half of its answer arrives, then the connection closes.
    Truncate,
    /// The connection closes; the call is not made.
    Refuse,
    /// The connection is reset; the call is not made.
    Reset,
    /// The call is made; the connection closes without a word of it.
    ApplyThenDrop,
    /// The call is made after this long.
    Delay(Duration),
    /// No answer until the caller goes away; the call is not made.
    Hang,
    /// The call is made; the first so many answers about its job say that it still runs.
    Pending(u32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Status {
                code,
                reason,
                message,
                retry_after,
            } => {
                write!(f, "{code}")?;
                if let Some(reason) = reason {
                    write!(f, " {reason}")?;
                }
                if let Some(message) = message {
                    let escaped = message.replace('\\', "\\\\").replace('"', "\\\"");
                    write!(f, " \"{escaped}\"")?;
                }
                match retry_after {
                    Some(seconds) => write!(f, " retry-after={seconds}"),
                    None => Ok(()),
                }
            }
            Fault::Html => f.write_str("html"),
            Fault::Empty => f.write_str("empty"),
            Fault::Truncate => f.write_str("truncate"),
            Fault::Refuse => f.write_str("refuse"),
            Fault::Reset => f.write_str("reset"),
            Fault::ApplyThenDrop => f.write_str("apply-then-drop"),
            Fault::Delay(time) => write!(f, "delay {}ms", time.as_millis()),
            Fault::Hang => f.write_str("hang"),
            Fault::Pending(n) => write!(f, "pending {n}"),
        }
    }
}

/// Which calls a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Call(u64),
    Like {
        method: Option<String>,
        target: Option<String>,
        body: Option<String>,
        nth: Nth,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nth {
    Every,
    Only(u64),
    From(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    when: When,
    what: Fault,
    matched: u64,
}

/// A script that does not read: the line and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadScript {
    /// From 1.
    pub line: usize,
    /// One sentence, lower case.
    pub what: String,
}

impl fmt::Display for BadScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for BadScript {}

/// A script and how far it has come. The default is a script without rules.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    /// Jobs under a `pending` rule: how many answers are still to be disguised.
    pending: HashMap<String, u32>,
}

impl FromStr for Faults {
    type Err = BadScript;

    fn from_str(script: &str) -> Result<Self, BadScript> {
        let mut rules = Vec::new();
        for (i, line) in script.lines().enumerate() {
            let rule = tokens(line).and_then(|found| {
                if found.is_empty() {
                    return Ok(None);
                }
                let (when, what) = split_rule(&found)?;
                Ok(Some(Rule {
                    when: parse_when(when)?,
                    what: parse_what(what)?,
                    matched: 0,
                }))
            });
            match rule {
                Ok(rule) => rules.extend(rule),
                Err(what) => return Err(BadScript { line: i + 1, what }),
            }
        }
        Ok(Faults {
            rules,
            pending: HashMap::new(),
        })
    }
}

impl Faults {
    /// What is to be done to this call: the first rule that is for it wins, and every rule it matches counts it.
    pub fn decide(&mut self, seen: &Seen<'_>) -> Option<Fault> {
        let mut decided = None;
        for rule in &mut self.rules {
            if rule.is_for(seen) && decided.is_none() {
                decided = Some(rule.what.clone());
            }
        }
        decided
    }

    /// The answer to give in place of a real one, if the call's job is to look unfinished.
    /// `decided` is what [`decide`](Faults::decide) said of this call.
    pub fn disguise(&mut self, seen: &Seen<'_>, decided: Option<&Fault>, status: u16, answer: &Value) -> Option<Value> {
        let call = JobCall::of(seen)?;
        // getQueryResults turns the failure of a job into its own; while the job runs, there is none yet.
        if status >= 400 && (call.kind != JobKind::Results || status == 404) {
            return None;
        }
        let id = call
            .id
            .or_else(|| answer.pointer("/jobReference/jobId")?.as_str())?
            .to_owned();
        if let Some(Fault::Pending(n)) = decided {
            self.pending.entry(id.clone()).or_insert(*n);
        }
        let left = self.pending.get_mut(&id).filter(|left| **left > 0)?;
        Some(match call.kind {
            JobKind::Insert => running_job(answer),
            JobKind::Query => incomplete(answer, None),
            JobKind::Get => {
                *left -= 1;
                running_job(answer)
            }
            JobKind::Results => {
                *left -= 1;
                incomplete(answer, Some(json!({ "projectId": call.project, "jobId": id })))
            }
        })
    }
}

impl Rule {
    fn is_for(&mut self, seen: &Seen<'_>) -> bool {
        match &self.when {
            When::Call(n) => *n == seen.n,
            When::Like {
                method,
                target,
                body,
                nth,
            } => {
                let like = method.as_ref().is_none_or(|m| m == seen.method)
                    && target.as_ref().is_none_or(|t| seen.target.contains(t))
                    && body
                        .as_ref()
                        .is_none_or(|b| seen.body.contains(b) || says(seen.json, b));
                self.matched += u64::from(like);
                like && match *nth {
                    Nth::Every => true,
                    Nth::Only(n) => self.matched == n,
                    Nth::From(n) => self.matched >= n,
                }
            }
        }
    }
}

/// Whether a text inside the JSON contains this one: SQL is written with escapes there.
fn says(json: &Value, text: &str) -> bool {
    match json {
        Value::String(s) => s.contains(text),
        Value::Array(all) => all.iter().any(|v| says(v, text)),
        Value::Object(all) => all.values().any(|v| says(v, text)),
        _ => false,
    }
}

// ---- reading a script ----

/// One word of a line. Quotes hold blanks and `#` together: `body~"a b"` is one word, with the prefix apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    plain: String,
    quoted: Option<String>,
}

fn tokens(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&first) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
            continue;
        }
        // `#2` counts matches; any other `#` that starts a word is a comment.
        if first == '#' {
            let mut ahead = chars.clone();
            ahead.next();
            if !ahead.peek().is_some_and(char::is_ascii_digit) || words.is_empty() {
                break;
            }
        }
        let mut word = Word {
            plain: String::new(),
            quoted: None,
        };
        while let Some(&c) = chars.peek() {
            if c.is_whitespace() {
                break;
            }
            chars.next();
            if c != '"' {
                word.plain.push(c);
                continue;
            }
            let mut text = String::new();
            loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') => text.extend(chars.next()),
                    Some(c) => text.push(c),
                    None => return Err("expected a closing `\"`".into()),
                }
            }
            word.quoted = Some(text);
        }
        words.push(word);
    }
    Ok(words)
}

fn split_rule(words: &[Word]) -> Result<(Vec<Word>, &[Word]), String> {
    let ends = |w: &Word| w.plain.ends_with(':');
    let Some(i) = words.iter().position(ends) else {
        return Err("expected `<when> : <what>`, as in `3 : 503`".into());
    };
    let mut when = words.get(..i).unwrap_or_default().to_vec();
    if let Some(mut last) = words.get(i).cloned() {
        last.plain.pop();
        if !last.plain.is_empty() || last.quoted.is_some() {
            when.push(last);
        }
    }
    Ok((when, words.get(i + 1..).unwrap_or_default()))
}

const WHEN: &str =
    "expected a call number, `*`, or `METHOD path` before the `:`, then maybe `body~\"text\"`, `#N`, `#N+`";

fn parse_when(words: Vec<Word>) -> Result<When, String> {
    let mut words = words.into_iter();
    let first = words.next().ok_or(WHEN)?;
    if first.quoted.is_some() {
        return Err(WHEN.into());
    }
    if let Ok(n) = first.plain.parse::<u64>() {
        return match (n, words.next()) {
            (1.., None) => Ok(When::Call(n)),
            _ => Err("expected nothing but a call number from 1 before the `:`".into()),
        };
    }
    let method = match first.plain.as_str() {
        "*" => None,
        m if m.chars().all(|c| c.is_ascii_uppercase()) => Some(m.to_owned()),
        _ => return Err(WHEN.into()),
    };
    let (mut target, mut body, mut nth) = (None, None, Nth::Every);
    for word in words {
        match (word.plain.as_str(), word.quoted) {
            ("body~", Some(text)) if body.is_none() => body = Some(text),
            (count, None) if count.starts_with('#') && nth == Nth::Every => {
                nth = parse_nth(count).ok_or("expected `#N` or `#N+` with N from 1")?;
            }
            ("", Some(path)) if target.is_none() => target = Some(path),
            // No path holds a `#`: this is a count without the blank before it, and would never match.
            (path, None) if target.is_none() && !path.starts_with("body~") && !path.contains('#') => {
                target = Some(path.to_owned());
            }
            (other, _) => return Err(format!("did not expect `{other}` here; {WHEN}")),
        }
    }
    Ok(When::Like {
        method,
        target,
        body,
        nth,
    })
}

fn parse_nth(word: &str) -> Option<Nth> {
    let count = word.strip_prefix('#')?;
    let (count, from) = match count.strip_suffix('+') {
        Some(count) => (count, true),
        None => (count, false),
    };
    let n = count.parse::<u64>().ok().filter(|n| *n > 0)?;
    Some(if from { Nth::From(n) } else { Nth::Only(n) })
}

const WHAT: &str = "expected one of: a status 400 to 599 (then maybe a reason, a \"message\", `retry-after=S`), html, empty, \
truncate, refuse, reset, apply-then-drop, delay 250ms, hang, pending N";

fn parse_what(words: &[Word]) -> Result<Fault, String> {
    let plain: Option<Vec<&str>> = words
        .iter()
        .map(|w| w.quoted.is_none().then_some(w.plain.as_str()))
        .collect();
    match plain.as_deref().unwrap_or_default() {
        ["html"] => return Ok(Fault::Html),
        ["empty"] => return Ok(Fault::Empty),
        ["truncate"] => return Ok(Fault::Truncate),
        ["refuse"] => return Ok(Fault::Refuse),
        ["reset"] => return Ok(Fault::Reset),
        ["apply-then-drop"] => return Ok(Fault::ApplyThenDrop),
        ["hang"] => return Ok(Fault::Hang),
        ["delay", time] => {
            let ms = time.strip_suffix("ms").and_then(|ms| ms.parse().ok());
            let ms = ms.ok_or("expected milliseconds after `delay`, as in `delay 250ms`")?;
            return Ok(Fault::Delay(Duration::from_millis(ms)));
        }
        ["pending", n] => {
            let n = n.parse().ok().filter(|n| *n > 0);
            return Ok(Fault::Pending(
                n.ok_or("expected a number from 1 after `pending`, as in `pending 3`")?,
            ));
        }
        _ => {}
    }
    let (first, rest) = words.split_first().ok_or(WHAT)?;
    let code = first.plain.parse::<u16>().ok();
    let code = code
        .filter(|code| first.quoted.is_none() && (400..600).contains(code))
        .ok_or(WHAT)?;
    let (mut reason, mut message, mut retry_after) = (None, None, None);
    for word in rest {
        match (word.plain.as_str(), &word.quoted) {
            ("", Some(text)) if message.is_none() => message = Some(text.clone()),
            (plain, None) => match plain.strip_prefix("retry-after=") {
                Some(s) if retry_after.is_none() => {
                    retry_after = Some(s.parse().map_err(|_| "expected seconds after `retry-after=`")?);
                }
                None if reason.is_none() && plain.chars().all(char::is_alphanumeric) => {
                    reason = Some(plain.to_owned());
                }
                _ => return Err(format!("did not expect `{plain}` here; {WHAT}")),
            },
            (plain, _) => return Err(format!("did not expect `{plain}` here; {WHAT}")),
        }
    }
    Ok(Fault::Status {
        code,
        reason,
        message,
        retry_after,
    })
}

// ---- what an error of BigQuery looks like ----

/// An error in Google's JSON shape. Without a `reason`, the usual one of the status; without a `message`, one that
/// says that it is made up.
pub fn google_error(code: u16, reason: Option<&str>, message: Option<&str>) -> Value {
    let (usual, status) = match code {
        401 => ("authError", "UNAUTHENTICATED"),
        403 => ("accessDenied", "PERMISSION_DENIED"),
        404 => ("notFound", "NOT_FOUND"),
        409 => ("duplicate", "ALREADY_EXISTS"),
        412 => ("conditionNotMet", "FAILED_PRECONDITION"),
        413 => ("requestTooLarge", "INVALID_ARGUMENT"),
        429 => ("rateLimitExceeded", "RESOURCE_EXHAUSTED"),
        500 => ("internalError", "INTERNAL"),
        502 | 503 => ("backendError", "UNAVAILABLE"),
        504 => ("backendError", "DEADLINE_EXCEEDED"),
        code if code < 500 => ("invalid", "INVALID_ARGUMENT"),
        _ => ("backendError", "UNKNOWN"),
    };
    let reason = reason.unwrap_or(usual);
    let made_up = format!("{reason} (a fault of the local gateway)");
    let message = message.unwrap_or(&made_up);
    json!({ "error": {
        "code": code,
        "message": message,
        "errors": [{ "reason": reason, "message": message, "domain": "global" }],
        "status": status,
    }})
}

// ---- jobs that look unfinished ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobKind {
    Insert,
    Query,
    Get,
    Results,
}

/// A call whose answer tells whether a job is done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct JobCall<'a> {
    kind: JobKind,
    project: &'a str,
    id: Option<&'a str>,
}

impl<'a> JobCall<'a> {
    fn of(seen: &Seen<'a>) -> Option<Self> {
        let path = seen.target.split('?').next()?;
        let tail = path.split_once("/projects/")?.1;
        let parts: Vec<&str> = tail.split('/').collect();
        let (project, kind, id) = match (seen.method, parts.as_slice()) {
            ("POST", &[project, "jobs"]) => (project, JobKind::Insert, None),
            ("POST", &[project, "queries"]) => (project, JobKind::Query, None),
            ("GET", &[project, "jobs", id]) => (project, JobKind::Get, Some(id)),
            ("GET", &[project, "queries", id]) => (project, JobKind::Results, Some(id)),
            _ => return None,
        };
        // A dry run makes no job.
        let dry = ["/dryRun", "/configuration/dryRun"]
            .iter()
            .any(|at| seen.json.pointer(at) == Some(&Value::Bool(true)));
        (!dry).then_some(JobCall { kind, project, id })
    }
}

/// The same job, still running: nothing in it tells how it ended.
fn running_job(job: &Value) -> Value {
    let mut job = job.clone();
    if let Some(fields) = job.as_object_mut() {
        fields.insert("status".into(), json!({ "state": "RUNNING" }));
        if fields.contains_key("state") {
            fields.insert("state".into(), json!("RUNNING"));
        }
        fields.remove("errorResult");
        if let Some(Value::Object(statistics)) = fields.get_mut("statistics") {
            statistics.retain(|key, _| key == "creationTime" || key == "startTime");
        }
    }
    job
}

/// The answer of a query that still runs: who it is, and no rows.
fn incomplete(answer: &Value, job: Option<Value>) -> Value {
    let kept = ["kind", "etag", "jobReference", "location", "queryId"];
    let mut fields = Map::new();
    if let Some(job) = job {
        fields.insert("kind".into(), json!("bigquery#getQueryResultsResponse"));
        fields.insert("jobReference".into(), job);
    }
    for key in kept {
        if let Some(value) = answer.get(key) {
            fields.insert(key.into(), value.clone());
        }
    }
    fields.insert("jobComplete".into(), Value::Bool(false));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(n: u64, method: &'a str, target: &'a str, json: &'a Value) -> Seen<'a> {
        Seen {
            n,
            method,
            target,
            body: "",
            json,
        }
    }

    fn status(code: u16) -> Fault {
        Fault::Status {
            code,
            reason: None,
            message: None,
            retry_after: None,
        }
    }

    #[test]
    fn every_kind_of_fault_reads_and_prints_as_written() {
        for what in [
            "503",
            "429 retry-after=2",
            "403 rateLimitExceeded",
            "403 accessDenied \"no \\\"right\\\" # here\"",
            "409 duplicate \"x\" retry-after=1",
            "html",
            "empty",
            "truncate",
            "refuse",
            "reset",
            "apply-then-drop",
            "delay 250ms",
            "hang",
            "pending 3",
        ] {
            let mut faults: Faults = format!("* : {what}").parse().expect(what);
            let fault = faults.decide(&seen(1, "GET", "/x", &Value::Null));
            assert_eq!(fault.expect("a fault").to_string(), what);
        }
    }

    #[test]
    fn which_calls_a_rule_is_for() {
        let body = json!({ "query": "SELECT \"a\"\nFROM t" });
        // script, the numbers of the calls it hits, of ten equal ones
        for (script, hits) in [
            ("3 : 503", vec![3]),
            ("3: 503", vec![3]),
            ("* : 503", (1..=10).collect()),
            ("POST : 503", (1..=10).collect()),
            ("POST /jobs : 503", (1..=10).collect()),
            ("GET /jobs : 503", vec![]),
            ("* /jobs #2 : 503", vec![2]),
            ("POST /jobs #9+ : 503", vec![9, 10]),
            ("POST /jobs?alt=json #1 : 503", vec![1]),
            ("POST /datasets : 503", vec![]),
            ("* body~\"SELECT \\\"a\\\"\" #1 : 503", vec![1]),
            ("* body~\"nothing\" : 503", vec![]),
            ("# nothing at all\n\n  # more", vec![]),
            ("2 : 503 # the second", vec![2]),
        ] {
            let mut faults: Faults = script.parse().expect(script);
            let hit: Vec<u64> = (1..=10)
                .filter(|n| faults.decide(&seen(*n, "POST", "/p/jobs?alt=json", &body)).is_some())
                .collect();
            assert_eq!(hit, hits, "{script}");
        }
    }

    #[test]
    fn the_first_rule_wins_and_each_counts_its_own_matches() {
        let mut faults: Faults = "* #2 : 500\nGET /x #1+ : 503\n* #3 : 404".parse().expect("");
        let decided: Vec<_> = (1..=3)
            .map(|n| faults.decide(&seen(n, "GET", "/x", &Value::Null)))
            .collect();
        assert_eq!(decided, [Some(status(503)), Some(status(500)), Some(status(503))]);
    }

    #[test]
    fn a_script_that_does_not_read_says_where_and_what_is_expected() {
        for (script, line, word) in [
            ("503", 1, "`<when> : <what>`"),
            ("1:503", 1, "`<when> : <what>`"),
            (": 503", 1, "a call number"),
            ("0 : 503", 1, "from 1"),
            ("3 4 : 503", 1, "from 1"),
            ("post /x : 503", 1, "METHOD path"),
            ("\n# c\nPOST /x #0 : 503", 3, "`#N+`"),
            ("POST /x body~y : 503", 1, "did not expect `body~y`"),
            ("POST /x /y : 503", 1, "did not expect `/y`"),
            ("POST /x#2 : 503", 1, "did not expect `/x#2`"),
            ("1 :", 1, "apply-then-drop"),
            ("1 : 200", 1, "400 to 599"),
            ("1 : explode", 1, "apply-then-drop"),
            ("1 : html now", 1, "apply-then-drop"),
            ("1 : delay 2s", 1, "`delay 250ms`"),
            ("1 : pending 0", 1, "`pending 3`"),
            ("1 : 429 retry-after=soon", 1, "seconds"),
            ("1 : 403 \"open", 1, "closing"),
            ("1 : 403 a b", 1, "did not expect `b`"),
        ] {
            let error = script.parse::<Faults>().expect_err(script);
            assert_eq!(error.line, line, "{script}");
            assert!(error.what.contains(word), "{script}: {error}");
        }
    }

    #[test]
    fn errors_have_the_shape_of_googles() {
        let error = google_error(403, Some("rateLimitExceeded"), Some("slow"));
        assert_eq!(
            error,
            json!({ "error": { "code": 403, "message": "slow", "status": "PERMISSION_DENIED",
                "errors": [{ "reason": "rateLimitExceeded", "message": "slow", "domain": "global" }] }})
        );
        assert_eq!(google_error(429, None, None)["error"]["status"], "RESOURCE_EXHAUSTED");
        assert_eq!(
            google_error(404, None, None)["error"]["errors"][0]["reason"],
            "notFound"
        );
    }

    #[test]
    fn a_pending_job_runs_for_so_many_answers() {
        let insert = json!({ "jobReference": { "jobId": "j" }, "configuration": { "query": { "query": "" } } });
        let done = json!({ "jobReference": { "jobId": "j" },
            "status": { "state": "DONE", "errorResult": { "reason": "x" } },
            "statistics": { "creationTime": "1", "startTime": "2", "endTime": "3" } });
        let running = json!({ "jobReference": { "jobId": "j" }, "status": { "state": "RUNNING" },
            "statistics": { "creationTime": "1", "startTime": "2" } });
        let mut faults: Faults = "POST /jobs #1 : pending 2".parse().expect("");

        let call = seen(1, "POST", "/bigquery/v2/projects/p/jobs", &insert);
        let fault = faults.decide(&call);
        assert_eq!(
            faults.disguise(&call, fault.as_ref(), 200, &done),
            Some(running.clone())
        );

        let get = seen(2, "GET", "/bigquery/v2/projects/p/jobs/j?location=EU", &Value::Null);
        assert_eq!(faults.disguise(&get, None, 200, &done), Some(running));

        // The failure of a job is not to be seen in the results while it runs.
        let results = seen(3, "GET", "/bigquery/v2/projects/p/queries/j", &Value::Null);
        assert_eq!(
            faults.disguise(&results, None, 400, &json!({ "error": {} })),
            Some(json!({ "kind": "bigquery#getQueryResultsResponse",
                "jobReference": { "projectId": "p", "jobId": "j" }, "jobComplete": false }))
        );
        assert_eq!(faults.disguise(&get, None, 200, &done), None);
        assert_eq!(faults.disguise(&results, None, 200, &done), None);
    }

    #[test]
    fn pending_does_not_touch_other_jobs_dry_runs_or_missing_ones() {
        let mut faults: Faults = "* : pending 1".parse().expect("");
        let fault = Some(Fault::Pending(1));
        let dry = json!({ "configuration": { "dryRun": true } });
        let call = seen(1, "POST", "/projects/p/jobs", &dry);
        let answer = json!({ "jobReference": { "jobId": "d" }, "status": { "state": "DONE" } });
        assert_eq!(faults.disguise(&call, fault.as_ref(), 200, &answer), None);
        for target in ["/projects/p/jobs/x", "/projects/p/queries/x"] {
            let call = seen(2, "GET", target, &Value::Null);
            assert_eq!(faults.disguise(&call, fault.as_ref(), 404, &json!({})), None);
        }
        let tables = seen(3, "GET", "/projects/p/datasets/d/tables/t", &Value::Null);
        assert_eq!(faults.disguise(&tables, fault.as_ref(), 200, &json!({})), None);
    }

    #[test]
    fn a_query_that_runs_shows_no_rows() {
        let mut faults: Faults = "POST /queries : pending 1".parse().expect("");
        let ask = json!({ "query": "SELECT 1" });
        let call = seen(1, "POST", "/projects/p/queries", &ask);
        let fault = faults.decide(&call);
        let answer = json!({ "kind": "k", "jobReference": { "jobId": "q" }, "jobComplete": true,
            "rows": [], "schema": {}, "totalRows": "0" });
        assert_eq!(
            faults.disguise(&call, fault.as_ref(), 200, &answer),
            Some(json!({ "kind": "k", "jobReference": { "jobId": "q" }, "jobComplete": false }))
        );
    }
}
