//! Tokens: where they come from. They go into one header of one request and nowhere else.
//!
//! A token in `CLOUDSDK_AUTH_ACCESS_TOKEN` wins over application default credentials, as it does for `bq` and `gcloud`.
//! For a plain-http endpoint none is sought or sent: it would be readable on the way.

use std::sync::Arc;

use gcp_auth::TokenProvider;
use tokio::sync::Mutex;

const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/bigquery"];

/// A source of tokens, shared by whoever holds a clone.
#[derive(Clone)]
pub(crate) enum Auth {
    /// The endpoint takes none.
    None,
    /// A token from the environment; it cannot be refreshed.
    Given(String),
    /// Application default credentials; the provider is made at first use, and caches its tokens.
    Default(Arc<Mutex<Option<Arc<dyn TokenProvider>>>>),
}

impl Auth {
    pub(crate) fn new(secure: bool, token: Option<String>) -> Auth {
        match (secure, token) {
            (false, _) => Auth::None,
            (true, Some(token)) => Auth::Given(token),
            (true, None) => Auth::Default(Arc::new(Mutex::new(None))),
        }
    }

    /// Begins to look for credentials while the program does other things. What goes wrong is told by the first request.
    pub(crate) fn fetch_meanwhile(&self) {
        if matches!(self, Auth::Default(_)) {
            let auth = self.clone();
            tokio::spawn(async move {
                let _ = auth.token().await;
            });
        }
    }

    /// A token for the next request; `None`: the endpoint takes none.
    pub(super) async fn token(&self) -> Result<Option<String>, String> {
        match self {
            Auth::None => Ok(None),
            Auth::Given(token) => Ok(Some(token.clone())),
            Auth::Default(provider) => {
                let provider = get(provider).await?;
                let token = provider.token(&SCOPES).await.map_err(|e| why(&e))?;
                Ok(Some(token.as_str().to_owned()))
            }
        }
    }

    /// Forgets what is cached, so that the next token is a new one. False: there is nothing to refresh.
    pub(super) async fn forget(&self) -> bool {
        match self {
            Auth::None | Auth::Given(_) => false,
            Auth::Default(provider) => {
                *provider.lock().await = None;
                true
            }
        }
    }

    /// The project that the credentials belong to, if they say.
    pub(super) async fn project(&self) -> Option<String> {
        match self {
            Auth::None | Auth::Given(_) => None,
            Auth::Default(provider) => {
                let provider = get(provider).await.ok()?;
                Some(provider.project_id().await.ok()?.to_string())
            }
        }
    }
}

async fn get(provider: &Mutex<Option<Arc<dyn TokenProvider>>>) -> Result<Arc<dyn TokenProvider>, String> {
    let mut provider = provider.lock().await;
    if let Some(provider) = &*provider {
        return Ok(provider.clone());
    }
    let made = gcp_auth::provider().await.map_err(|e| why(&e))?;
    *provider = Some(made.clone());
    Ok(made)
}

/// The error with its causes: the outermost text alone ("token request failed") helps nobody.
fn why(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
