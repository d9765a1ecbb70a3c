//! PURE: why there is no token, in words that hold no secret.
//!
//! What a token endpoint answers often echoes what it was asked, and so do the errors of the crates that ask it. None
//! of it is printed: of all such text only the words of a closed list, and the status, come through.

use crate::exit::one_line;

/// Why there is no token, for the three lines of a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct NoToken {
    /// What is wrong.
    pub what: String,
    /// Where: the file and what names it, or who was asked.
    pub at: String,
    /// What to do about it.
    pub hint: String,
    /// Whether asking again may help: nobody answered, or not as a token endpoint does.
    pub transient: bool,
    /// Whether there were tokens before: then there is work under way, and it is worth more patience than a start.
    pub had: bool,
}

impl NoToken {
    /// It will not help to ask again.
    pub(super) fn refused(what: impl Into<String>, at: impl Into<String>, hint: impl Into<String>) -> NoToken {
        NoToken {
            what: one_line(&what.into()),
            at: at.into(),
            hint: hint.into(),
            transient: false,
            had: false,
        }
    }

    /// It may help to ask again.
    pub(super) fn for_now(what: impl Into<String>, at: impl Into<String>) -> NoToken {
        NoToken {
            transient: true,
            ..NoToken::refused(
                what,
                at,
                "see whether what is named answers; then run the same command again",
            )
        }
    }
}

/// What of an answer may be said: its status, and the words of [`WORDS`] in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) status: Option<u16>,
    pub(super) words: Vec<&'static str>,
}

/// The error codes of OAuth (RFC 6749 5.2, RFC 8693 2.2.2), of Google's token endpoints and of its IAM.
const WORDS: [&str; 22] = [
    "invalid_grant",
    "invalid_rapt",
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "unauthorized_client",
    "unsupported_grant_type",
    "access_denied",
    "admin_policy_enforced",
    "org_internal",
    "deleted_client",
    "disabled_client",
    "temporarily_unavailable",
    "server_error",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "NOT_FOUND",
    "INVALID_ARGUMENT",
    "IAM_PERMISSION_DENIED",
    "SERVICE_DISABLED",
    "RESOURCE_EXHAUSTED",
];

impl Said {
    /// Listens to a text for words that may be repeated.
    pub(super) fn hear(&mut self, text: &str) {
        let mut of_text = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let heard = of_text.find_map(|part| WORDS.iter().find(|word| **word == part));
        if let Some(word) = heard
            && !self.words.contains(word)
        {
            self.words.push(word);
        }
    }

    /// Whether the status is one that passes.
    pub(super) fn passes(&self) -> bool {
        matches!(self.status, Some(408 | 429 | 500..=599))
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(f, "HTTP {status}")?,
            None => f.write_str("no token")?,
        }
        if !self.words.is_empty() {
            write!(f, " ({})", self.words.join(", "))?;
        }
        Ok(())
    }
}

/// The innermost cause of an error that is about a connection: such errors hold addresses and certificates, and no
/// secrets.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_echoing_answer_only_known_words_are_said() {
        let mut said = Said {
            status: Some(400),
            ..Said::default()
        };
        said.hear(
            r#"{"error":"invalid_grant","error_description":"Bad refresh_token 1//planted-secret","request":
               "client_secret=planted-secret&refresh_token=planted_invalid_grant_secret"}"#,
        );
        assert_eq!(said.to_string(), "HTTP 400 (invalid_grant)");
        let mut said = Said::default();
        said.hear("planted-secret planted_access_denied");
        assert_eq!(said.to_string(), "no token");
    }

    #[test]
    fn a_server_in_trouble_is_told_from_one_that_refuses() {
        for (status, passes) in [
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (429, true),
            (500, true),
            (503, true),
        ] {
            let said = Said {
                status: Some(status),
                ..Said::default()
            };
            assert_eq!(said.passes(), passes, "{status}");
        }
    }
}
