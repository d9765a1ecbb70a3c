//! Tokens by google-cloud-auth, Google's own crate: what gcp_auth cannot read. Federation, impersonation, a person's
//! file that is not at gcloud's usual place, a metadata server at another address.
//!
//! It keeps a token itself, renews it in the background four minutes before its end, and shares it among all who ask.
//! Its errors quote whole answers and files; they are read here and never passed on. It has no time limits on most of
//! its requests: [`Auth`](super::Auth) bounds the wait, and what was waited for in vain is made anew.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::{AccessTokenCredentials, external_account, impersonated, mds, user_account};
use google_cloud_auth::errors::CredentialsError;

use super::file::{File, Kind};
use super::trouble::{NoToken, Said, innermost};
use super::{Asking, Issued, SCOPES, Source, TRY};

/// Credentials in a file, or of the metadata server at `GCE_METADATA_HOST`.
pub(super) struct Google {
    from: From,
    made: Mutex<Option<AccessTokenCredentials>>,
}

enum From {
    File(Box<File>),
    /// The host, with a port if it is not 80.
    MetadataServer(String),
}

impl Google {
    pub(super) fn file(file: File) -> Google {
        Google::new(From::File(Box::new(file)))
    }

    pub(super) fn metadata_server(host: String) -> Google {
        Google::new(From::MetadataServer(host))
    }

    fn new(from: From) -> Google {
        Google {
            from,
            made: Mutex::new(None),
        }
    }

    fn hint(&self) -> &'static str {
        match &self.from {
            From::File(file) if file.executable().is_some() && !executables_allowed() => {
                "set GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1: the file names a program that gives the token"
            }
            From::File(file) => file.hint(),
            From::MetadataServer(_) => "give the machine a service account, or see what GCE_METADATA_HOST names",
        }
    }

    /// The credentials, made now if they are not yet. They run a task of their own, so this needs the runtime.
    fn credentials(&self) -> Result<AccessTokenCredentials, NoToken> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        // It makes its HTTP clients as `reqwest` does by default, and dies where that is not possible.
        client(&self.at())?;
        let credentials = match &self.from {
            From::MetadataServer(_) => mds::Builder::default().build_access_token_credentials(),
            From::File(file) => match file.kind {
                Kind::ExternalAccount => external_account::Builder::new(file.json.clone())
                    .with_scopes(SCOPES)
                    .build_access_token_credentials(),
                Kind::Impersonated => impersonated::Builder::new(file.json.clone())
                    .with_scopes(SCOPES)
                    .build_access_token_credentials(),
                // A person's token has the scopes that the person consented to.
                Kind::AuthorizedUser | Kind::ServiceAccount => {
                    user_account::Builder::new(file.json.clone()).build_access_token_credentials()
                }
            },
        };
        // What it says of a field may quote the field.
        let credentials = credentials.map_err(|_| {
            let what = "the credentials file has a field that is not as its type wants it";
            NoToken::refused(
                what,
                self.at(),
                "make the file anew, with gcloud or as Google's pages on its type say",
            )
        })?;
        *made = Some(credentials.clone());
        Ok(credentials)
    }

    /// Where the token of the service account that is acted as comes from.
    fn impersonates(&self) -> Option<String> {
        let From::File(file) = &self.from else {
            return None;
        };
        let url = reqwest::Url::parse(file.text("service_account_impersonation_url")?).ok()?;
        Some(plain(&url))
    }

    fn read(&self, error: &CredentialsError) -> NoToken {
        let (said, who) = heard(error);
        // Of a refusal by IAM no address comes with the error.
        let who = who.or_else(|| self.impersonates().filter(|_| said.status.is_some()));
        let kind = match &self.from {
            From::File(file) => format!("credentials of type {}", file.kind_name()),
            From::MetadataServer(_) => "the metadata server".to_owned(),
        };
        let from = who.map(|who| format!(" from {who}")).unwrap_or_default();
        let (why, passes) = match connection(error) {
            Some((why, passes)) if said.status.is_none() => (format!("no answer{from}: {why}"), passes),
            _ => match known(error) {
                Some(why) => (why.to_owned(), error.is_transient()),
                None => (format!("{said}{from}"), said.status.is_none() && error.is_transient()),
            },
        };
        let what = format!("{kind}: {why}");
        match said.passes() || passes {
            true => NoToken::for_now(what, self.at()),
            false => NoToken::refused(what, self.at(), self.hint()),
        }
    }
}

impl Source for Google {
    fn token(&self) -> Asking<'_, Issued> {
        Box::pin(async move {
            let credentials = self.credentials()?;
            let token = credentials.access_token().await.map_err(|e| self.read(&e))?;
            Issued::new(&token.token, None, &self.at())
        })
    }

    fn at(&self) -> String {
        match &self.from {
            From::File(file) => file.at.clone(),
            From::MetadataServer(host) => format!("the metadata server, {host} (GCE_METADATA_HOST)"),
        }
    }

    fn renew(&self) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn named_project(&self) -> Option<String> {
        match &self.from {
            From::File(file) => file.project(),
            From::MetadataServer(_) => None,
        }
    }

    fn found_project(&self) -> Asking<'_, Option<String>> {
        Box::pin(async move {
            let From::MetadataServer(host) = &self.from else {
                return Ok(None);
            };
            let url = format!("http://{host}/computeMetadata/v1/project/project-id");
            let request = client(&self.at())?
                .get(url)
                .header("Metadata-Flavor", "Google")
                .timeout(TRY);
            let answer = request.send().await.and_then(reqwest::Response::error_for_status);
            let text = match answer {
                Ok(answer) => answer.text().await,
                Err(e) => Err(e),
            };
            Ok(text.ok().map(|text| text.trim().to_owned()))
        })
    }

    fn quota_project(&self) -> Option<String> {
        match &self.from {
            From::File(file) => file.quota_project.as_ref().map(ToString::to_string),
            From::MetadataServer(_) => None,
        }
    }

    fn limit(&self) -> Duration {
        match &self.from {
            From::File(file) => file.executable().map_or(TRY, |its_own| its_own + TRY),
            From::MetadataServer(_) => TRY,
        }
    }
}

impl File {
    /// How long the program that gives the subject token may take, if one does.
    /// Source: <https://google.aip.dev/auth/4117> (30 s unless said, at most 2 min).
    fn executable(&self) -> Option<Duration> {
        let program = self.json.pointer("/credential_source/executable")?;
        let ms = program.get("timeout_millis").and_then(serde_json::Value::as_u64);
        Some(Duration::from_millis(ms.unwrap_or(30_000).min(120_000)))
    }
}

fn executables_allowed() -> bool {
    std::env::var("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES").is_ok_and(|said| said == "1")
}

fn client(at: &str) -> Result<reqwest::Client, NoToken> {
    reqwest::Client::builder().build().map_err(|e| {
        let hint = "install ca-certificates, or see what SSL_CERT_FILE names";
        NoToken::refused(format!("no HTTP client can be made: {}", innermost(&e)), at, hint)
    })
}

/// What may be repeated of an error: its status and known words, and the address without its query.
fn heard(error: &CredentialsError) -> (Said, Option<String>) {
    let mut said = Said::default();
    let mut who = None;
    for cause in causes(error) {
        let text = cause.to_string();
        said.hear(&text);
        if let Some(http) = cause.downcast_ref::<reqwest::Error>() {
            said.status = said.status.or(http.status().map(|s| s.as_u16()));
            who = who.or(http
                .url()
                .map(|url| format!("{}{}", url.origin().ascii_serialization(), url.path())));
        }
        said.status = said.status.or_else(|| status_in(&text));
    }
    (said, who)
}

/// An address without what may hold a secret: a query, a password.
fn plain(url: &reqwest::Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The status in a text of google-cloud-gax: `the HTTP transport reports a [403] error: …`.
fn status_in(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("HTTP transport")?;
    let (_, rest) = rest.split_once('[')?;
    let (status, _) = rest.split_once(']')?;
    status.parse().ok().filter(|status| (100..600).contains(status))
}

/// What kept a connection, a file or a program from answering, in words of the system and not of an answer; and whether
/// that may pass.
fn connection(error: &CredentialsError) -> Option<(String, bool)> {
    causes(error).find_map(|cause| {
        if let Some(http) = cause.downcast_ref::<reqwest::Error>() {
            // The parser's own words may quote the answer.
            return Some(match http.is_decode() {
                true => ("what came is no token".to_owned(), true),
                false => (innermost(http), !http.is_builder()),
            });
        }
        if cause.is::<serde_json::Error>() {
            return Some(("the subject token is not the JSON that the file says".to_owned(), false));
        }
        let io = cause.downcast_ref::<std::io::Error>()?;
        Some((format!("the subject token's file or program: {}", io.kind()), false))
    })
}

/// What google-cloud-auth says of subject tokens, by words that begin the same whatever it quotes after them.
const KNOWN: [(&str, &str); 8] = [
    (
        "command execution failed",
        "the program that gives the subject token failed",
    ),
    (
        "response contains unsuccessful",
        "the program that gives the subject token says it could not",
    ),
    (
        "response must include `code`",
        "the program that gives the subject token says it could not",
    ),
    (
        "need to be explicitly allowed",
        "a program gives the subject token, and none is allowed to",
    ),
    (
        "returned by the executable is expired",
        "the subject token that the program gives is expired",
    ),
    (
        "failed to read subject token field",
        "the subject token has no field of the name that the file says",
    ),
    ("subject token is empty", "the subject token is empty"),
    (
        "missing `id_token` field",
        "the program that gives the subject token gives none",
    ),
];

fn known(error: &CredentialsError) -> Option<&'static str> {
    causes(error).find_map(|cause| {
        let text = cause.to_string();
        let (_, ours) = KNOWN.iter().find(|(theirs, _)| text.contains(theirs))?;
        Some(*ours)
    })
}

fn causes<'e>(error: &'e CredentialsError) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    let first: &'e (dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| cause.source())
}
