//! Tokens by gcp_auth: keys of service accounts, gcloud's file of a person, the metadata server, `gcloud` itself.
//!
//! gcp_auth keeps a token until 20 s before its end and lets every request that waits then ask anew; it has no time
//! limits, tries a refusal as often as a server in trouble, hides the status, and blocks while `gcloud` runs. So a
//! provider is made for one token, [`Auth`](super::Auth) keeps that and bounds the wait, and `gcloud` runs on a thread
//! of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gcp_auth::{
    ConfigDefaultCredentials, CustomServiceAccount, GCloudAuthorizedUser, MetadataServiceAccount, TokenProvider,
};
use tracing::instrument::WithSubscriber as _;

use super::file::File;
use super::overheard::Ear;
use super::trouble::{NoToken, innermost};
use super::{Asking, Issued, SCOPES, Source};

/// A service account's key.
pub(super) struct Key(pub(super) File);

/// A person, in the file at gcloud's place.
pub(super) struct Person(pub(super) File);

/// No file: the metadata server, or else `gcloud`.
#[derive(Default)]
pub(super) struct Surroundings {
    project: Mutex<Option<String>>,
}

impl Source for Key {
    fn token(&self) -> Asking<'_, Issued> {
        Box::pin(async move {
            // What gcp_auth says of a bad key quotes nothing, but the file's own place is what helps.
            let provider = CustomServiceAccount::from_json(&self.0.json.to_string()).map_err(|_| {
                let what = "the `private_key` of the credentials file is no RSA key in PEM (PKCS#8)";
                NoToken::refused(what, &self.0.at, "download a key of the service account anew")
            })?;
            let who = self.0.text("token_uri").unwrap_or_default();
            ask(async || provider.token(&SCOPES).await, who, &self.0.at, self.0.hint()).await
        })
    }

    fn at(&self) -> String {
        self.0.at.clone()
    }

    fn named_project(&self) -> Option<String> {
        self.0.project()
    }

    fn quota_project(&self) -> Option<String> {
        self.0.quota_project.as_ref().map(ToString::to_string)
    }
}

impl Source for Person {
    fn token(&self) -> Asking<'_, Issued> {
        Box::pin(async move {
            let new = async || ConfigDefaultCredentials::new().await?.token(&SCOPES).await;
            ask(new, "accounts.google.com", &self.0.at, self.0.hint()).await
        })
    }

    fn at(&self) -> String {
        self.0.at.clone()
    }

    fn named_project(&self) -> Option<String> {
        self.0.project()
    }

    fn quota_project(&self) -> Option<String> {
        self.0.quota_project.as_ref().map(ToString::to_string)
    }
}

/// The name of the metadata server. Where it cannot be looked up there is none.
const METADATA: &str = "metadata.google.internal";
/// How long a name server or a metadata server that does not answer is waited for: both are next door.
const NEXT_DOOR: Duration = Duration::from_secs(5);
/// How long `gcloud` may take: it starts an interpreter, and asks Google.
const GCLOUD: Duration = Duration::from_secs(30);

impl Source for Surroundings {
    fn token(&self) -> Asking<'_, Issued> {
        Box::pin(async move {
            let of_machine = match is_there(METADATA).await {
                true => Some(self.metadata_server().await),
                false => None,
            };
            let for_now = match of_machine {
                Some(Ok(issued)) => return Ok(issued),
                Some(Err(trouble)) => Some(trouble).filter(|t| t.transient),
                None => None,
            };
            match self.gcloud().await {
                Ok(issued) => Ok(issued),
                // There is a metadata server, and it is in trouble: that is the news.
                Err(trouble) => Err(for_now.unwrap_or(trouble)),
            }
        })
    }

    fn at(&self) -> String {
        format!("the metadata server, {METADATA}, or gcloud")
    }

    fn found_project(&self) -> Asking<'_, Option<String>> {
        let found = self.project.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { Ok(found) })
    }

    fn limit(&self) -> Duration {
        NEXT_DOOR * 2 + GCLOUD
    }
}

impl Surroundings {
    async fn metadata_server(&self) -> Result<Issued, NoToken> {
        let asked = ask(
            async || self.found(MetadataServiceAccount::new().await?).await,
            METADATA,
            "the metadata server",
            "give the machine a service account",
        );
        match tokio::time::timeout(NEXT_DOOR, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(NoToken::for_now(
                format!("no answer in {NEXT_DOOR:?}"),
                format!("the metadata server, {METADATA}"),
            )),
        }
    }

    async fn gcloud(&self) -> Result<Issued, NoToken> {
        let runtime = tokio::runtime::Handle::current();
        let run = tokio::task::spawn_blocking(move || runtime.block_on(GCloudAuthorizedUser::new()));
        let made = match tokio::time::timeout(GCLOUD, run).await {
            Ok(Ok(made)) => made,
            _ => {
                return Err(NoToken::for_now(
                    format!("no answer in {GCLOUD:?}"),
                    "gcloud auth print-access-token",
                ));
            }
        };
        // Whatever keeps `gcloud` from answering: it was the last to ask.
        let last = |_| none_at_all();
        let token = match made {
            Ok(provider) => self.found(provider).await.map_err(last)?,
            Err(e) => return Err(last(e)),
        };
        issued(&token, "gcloud auth print-access-token")
    }

    /// The token of a provider that was found, and its project for later.
    async fn found(&self, provider: impl TokenProvider) -> Result<Arc<gcp_auth::Token>, gcp_auth::Error> {
        let token = provider.token(&SCOPES).await?;
        let project = provider
            .project_id()
            .await
            .ok()
            .map(|p| p.to_string())
            .filter(|p| !p.is_empty());
        *self.project.lock().unwrap_or_else(PoisonError::into_inner) = project;
        Ok(token)
    }
}

fn none_at_all() -> NoToken {
    NoToken::refused(
        "none of the ways to find them has any",
        "CLOUDSDK_AUTH_ACCESS_TOKEN, GOOGLE_APPLICATION_CREDENTIALS, gcloud's file, the metadata server, gcloud",
        "set CLOUDSDK_AUTH_ACCESS_TOKEN or GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    )
}

/// Whether a name is known here.
async fn is_there(name: &str) -> bool {
    let looked_up = tokio::time::timeout(NEXT_DOOR, tokio::net::lookup_host((name, 80))).await;
    looked_up.is_ok_and(|found| found.is_ok_and(|addresses| addresses.count() > 0))
}

/// Asks a provider and reads what came of it, its events too.
async fn ask(
    new: impl AsyncFnOnce() -> Result<Arc<gcp_auth::Token>, gcp_auth::Error>,
    who: &str,
    at: &str,
    hint: &str,
) -> Result<Issued, NoToken> {
    let ear = Ear::default();
    match new().with_subscriber(ear.clone()).await {
        Ok(token) => issued(&token, at),
        Err(error) => Err(read(&error, &ear, who, at, hint)),
    }
}

fn read(error: &gcp_auth::Error, ear: &Ear, who: &str, at: &str, hint: &str) -> NoToken {
    use gcp_auth::Error;
    let said = ear.heard();
    match error {
        Error::Str(_) if said.passes() => NoToken::for_now(format!("{who} answers {said}"), at),
        Error::Str(_) => NoToken::refused(format!("{who} answers {said}"), at, hint),
        // The parser's own words may quote the answer.
        Error::Json(..) => NoToken::for_now(format!("{who} answers what is no token"), at),
        Error::Io(..) => NoToken::refused(
            format!("no connection to {who} can be made: {}", innermost(error)),
            at,
            "install ca-certificates, or see what SSL_CERT_FILE names",
        ),
        Error::Http(..) | Error::Other(..) | Error::NoAuthMethod(..) => {
            NoToken::for_now(format!("no answer from {who}: {}", innermost(error)), at)
        }
    }
}

fn issued(token: &gcp_auth::Token, at: &str) -> Result<Issued, NoToken> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = u64::try_from(token.expires_at().timestamp()).unwrap_or(0);
    let left = Duration::from_secs(end).saturating_sub(now);
    Issued::new(token.as_str(), Instant::now().checked_add(left), at)
}
