//! PURE: the requests of a transcript as lines that come out the same each time.
//!
//! Tables are worked on at a time, so the order of their requests is chance. Requests of one kind are put together where the first
//! of them stood, sorted, each with how often it was made.

use super::redact::Redact;
use serde_json::Value;
use tests::gateway::Call;

/// How much of a statement is shown.
const SHOWN: usize = 120;

/// One line a request, `count METHOD path …`.
pub(super) fn list(calls: &[Call], redact: &Redact) -> String {
    let mut kinds: Vec<(String, Vec<(String, usize)>)> = Vec::new();
    for call in calls {
        let (kind, line) = describe(call, redact);
        let at = kinds.iter().position(|(seen, _)| *seen == kind);
        let lines = match at {
            Some(at) => &mut kinds[at].1,
            None => {
                kinds.push((kind, Vec::new()));
                let last = kinds.len() - 1;
                &mut kinds[last].1
            }
        };
        match lines.iter_mut().find(|(seen, _)| *seen == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    let mut out = String::new();
    for (_, mut lines) in kinds {
        lines.sort();
        for (line, count) in lines {
            out.push_str(&format!("{count} {line}\n"));
        }
    }
    out
}

/// A job's ID with what stands for its table and attempt left out.
fn without_table(id: &str) -> String {
    let of_a_table = |part: &str| part.len() == 12 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = id.split('-').filter(|part| !of_a_table(part)).collect();
    parts[..parts.len() - 1].join("-")
}

fn describe(call: &Call, redact: &Redact) -> (String, String) {
    let mut parts = call.path.split('/').skip(5);
    let path = parts.by_ref().collect::<Vec<_>>().join("/");
    let mut line = format!("{} {path}", call.method);
    let mut kind = match path.rsplit_once('/') {
        Some((above, _)) if above.ends_with("tables") || above == "datasets" => format!("{} {above}", call.method),
        Some((_, of @ "rowAccessPolicies")) => format!("{} {of}", call.method),
        // The last parts of a job's ID are a table's digest and the attempt.
        Some((above @ ("jobs" | "queries"), id)) => format!("{} {above} {}", call.method, without_table(id)),
        _ => line.clone(),
    };
    let query = call.body.pointer("/configuration/query");
    if let Some(sql) = query.and_then(|q| q["query"].as_str()) {
        let flat = redact.text(&sql.split_whitespace().collect::<Vec<_>>().join(" "));
        let first: Vec<&str> = flat.split(' ').take(2).collect();
        let dry = if call.body.pointer("/configuration/dryRun") == Some(&Value::Bool(true)) {
            " (dryRun)"
        } else {
            ""
        };
        // What stands on the tables is asked in several queries at a time.
        kind = match flat.contains("INDEXES`") || flat.contains("'MATERIALIZED VIEW'") {
            true => format!("{kind} what stands on them"),
            false => format!("{kind}{dry} {}", first.join(" ")),
        };
        let cut: String = flat.chars().take(SHOWN).collect();
        let more = if cut.len() < flat.len() { "…" } else { "" };
        line = format!("{line}{dry}: {cut}{more}");
    } else if let Value::Object(body) = &call.body {
        line = format!("{line}: {}", body.keys().cloned().collect::<Vec<_>>().join(", "));
    }
    match (&call.fault, call.status) {
        (Some(fault), _) => line = format!("{line} !! {fault}"),
        (None, Some(200..=299)) => {}
        (None, status) => line = format!("{line} -> {}", status.map_or("nothing".to_owned(), |s| s.to_string())),
    }
    (redact.text(&kind), redact.text(&line))
}
