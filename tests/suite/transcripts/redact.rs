//! PURE: what differs from one playing to the next is replaced by a word in brackets.

/// Keys of records whose numbers are the machine's, not the programs'.
const NUMBERS: [&str; 7] = [
    "bytes",
    "bytes_billed",
    "slot_ms",
    "ms",
    "started_ms",
    "ended_ms",
    "modified_ms",
];

/// Replaces.
pub(super) struct Redact {
    places: Vec<(String, &'static str)>,
}

impl Redact {
    /// With these places of one playing, replaced before anything else.
    pub(super) fn of(places: &[(String, &'static str)]) -> Redact {
        Redact {
            places: places.iter().filter(|(place, _)| !place.is_empty()).cloned().collect(),
        }
    }

    /// A text with everything replaced.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, word) in &self.places {
            text = text.replace(place, word);
        }
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            // A pattern begins only where a word does.
            let inside = out.chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric());
            let found = if inside { None } else { pattern(rest) };
            match found {
                Some((length, word)) => {
                    out.push_str(&word);
                    at += length;
                }
                None => {
                    let c = rest.chars().next().unwrap_or_default();
                    out.push(c);
                    at += c.len_utf8();
                }
            }
        }
        out
    }
}

/// What begins here and is to be replaced: its length, and by what.
fn pattern(rest: &str) -> Option<(usize, String)> {
    if let Some(length) = instant(rest) {
        return Some((length, "[TIME]".into()));
    }
    if let Some(length) = like(rest, "dddddddd_dddddd") {
        return Some((length, "[RUN]".into()));
    }
    let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    if hex == 32 {
        return Some((hex, "[NONCE]".into()));
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 13 && hex == 13 {
        return Some((digits, "[MS]".into()));
    }
    // The name of a file that is being made.
    if let Some(after) = rest.strip_prefix(".new-") {
        let random = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
        return Some((".new-".len() + random, ".new-[RANDOM]".into()));
    }
    if digits > 0 && rest[digits..].starts_with(" ms ") {
        return Some((digits, "[N]".into()));
    }
    if let Some(after) = rest.strip_prefix("process ") {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        return (digits > 0).then(|| ("process ".len() + digits, "process [PID]".into()));
    }
    let (key, after) = rest.strip_prefix('"')?.split_once("\":")?;
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    (NUMBERS.contains(&key) && digits > 0).then(|| (key.len() + 3 + digits, format!("\"{key}\":[N]")))
}

/// An instant as records, SQL and messages write it.
fn instant(rest: &str) -> Option<usize> {
    let mut length = like(rest, "dddd-dd-ddTdd:dd:dd").or_else(|| like(rest, "dddd-dd-dd dd:dd:dd"))?;
    if rest[length..].starts_with('.') {
        length += 1 + rest[length + 1..].bytes().take_while(u8::is_ascii_digit).count();
    }
    for zone in ["Z", "+00:00", " UTC"] {
        if rest[length..].starts_with(zone) {
            return Some(length + zone.len());
        }
    }
    Some(length)
}

/// The length of a pattern (`d`: a digit) if the text begins with it.
fn like(rest: &str, pattern: &str) -> Option<usize> {
    let (rest, pattern) = (rest.as_bytes(), pattern.as_bytes());
    let fits = rest.len() >= pattern.len()
        && pattern.iter().zip(rest).all(|(p, c)| match p {
            b'd' => c.is_ascii_digit(),
            other => c == other,
        });
    let more = rest.get(pattern.len()).is_some_and(u8::is_ascii_digit);
    (fits && !more).then_some(pattern.len())
}

#[test]
fn only_what_changes_is_replaced() {
    let redact = Redact::of(&[("127.0.0.1:4321".into(), "[HOST]")]);
    for (text, want) in [
        ("at 2026-01-02T03:04:05.678Z or", "at [TIME] or"),
        ("'2026-01-02 03:04:05.678+00:00'", "'[TIME]'"),
        ("2026-01-02", "2026-01-02"),
        ("http://127.0.0.1:4321/x", "http://[HOST]/x"),
        ("t_snapshot_20260102_030405", "t_snapshot_[RUN]"),
        (r#""ms":12,"rows":12"#, r#""ms":[N],"rows":12"#),
        ("count-00000000000000000000000000000000-1", "count-[NONCE]-1"),
        ("1767225600000", "[MS]"),
        ("(process 12 on x)", "(process [PID] on x)"),
        ("/x/.new-aB3xYz: full", "/x/.new-[RANDOM]: full"),
        ("changed 12 ms after", "changed [N] ms after"),
        ("größe 1", "größe 1"),
    ] {
        assert_eq!(redact.text(text), want);
    }
}
