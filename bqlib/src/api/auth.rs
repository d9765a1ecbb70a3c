//! Tokens: where they come from. They go into one header of one request and nowhere else.
//!
//! A token in `CLOUDSDK_AUTH_ACCESS_TOKEN` wins over application default credentials, as it does for `bq` and `gcloud`.
//! For a plain-http endpoint none is sought or sent: it would be readable on the way.

use std::future::Future;
use std::pin::Pin;
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
    Default(Arc<Source>),
}

/// A provider of tokens, once it is made, and how it is made.
pub(crate) struct Source {
    made: Mutex<Option<Arc<dyn TokenProvider>>>,
    make: fn() -> Making,
}

type Making = Pin<Box<dyn Future<Output = Result<Arc<dyn TokenProvider>, gcp_auth::Error>> + Send>>;

impl Auth {
    pub(crate) fn new(secure: bool, token: Option<String>) -> Auth {
        match (secure, token) {
            (false, _) => Auth::None,
            (true, Some(token)) => Auth::Given(token),
            (true, None) => Auth::made_by(|| Box::pin(gcp_auth::provider())),
        }
    }

    fn made_by(make: fn() -> Making) -> Auth {
        let made = Mutex::new(None);
        Auth::Default(Arc::new(Source { made, make }))
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
            Auth::Default(source) => {
                let provider = source.get().await?;
                let token = provider.token(&SCOPES).await.map_err(|e| why(&e))?;
                Ok(Some(token.as_str().to_owned()))
            }
        }
    }

    /// Forgets what is cached, so that the next token is a new one. False: there is nothing to refresh.
    pub(super) async fn forget(&self) -> bool {
        match self {
            Auth::None | Auth::Given(_) => false,
            Auth::Default(source) => {
                *source.made.lock().await = None;
                true
            }
        }
    }

    /// The project that the credentials belong to, if they say.
    pub(super) async fn project(&self) -> Option<String> {
        match self {
            Auth::None | Auth::Given(_) => None,
            Auth::Default(source) => {
                let provider = source.get().await.ok()?;
                Some(provider.project_id().await.ok()?.to_string())
            }
        }
    }
}

impl Source {
    async fn get(&self) -> Result<Arc<dyn TokenProvider>, String> {
        let mut made = self.made.lock().await;
        if let Some(provider) = &*made {
            return Ok(provider.clone());
        }
        let provider = (self.make)().await.map_err(|e| why(&e))?;
        *made = Some(provider.clone());
        Ok(provider)
    }
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::api::{Api, Config, Kind};
    use crate::clock::Clock;
    use crate::tool::Stop;

    /// Gives `token-N`, each provider another.
    struct Numbered(usize);

    static MADE: AtomicUsize = AtomicUsize::new(0);

    impl TokenProvider for Numbered {
        fn token<'a, 'b, 'c, 'd>(
            &'a self,
            _: &'b [&'c str],
        ) -> Pin<Box<dyn Future<Output = Result<Arc<gcp_auth::Token>, gcp_auth::Error>> + Send + 'd>>
        where
            'a: 'd,
            'b: 'd,
            'c: 'd,
        {
            let token = serde_json::json!({ "access_token": format!("token-{}", self.0), "expires_in": 3600 });
            Box::pin(async move { Ok(Arc::new(serde_json::from_value(token).unwrap())) })
        }

        fn project_id<'a, 'd>(&'a self) -> Pin<Box<dyn Future<Output = Result<Arc<str>, gcp_auth::Error>> + Send + 'd>>
        where
            'a: 'd,
        {
            Box::pin(async { Ok("p".into()) })
        }
    }

    /// Answers one request after the other with these statuses; gives the tokens they came with.
    fn server(statuses: &'static [u16]) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let mut tokens = Vec::new();
            for status in statuses {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    tokens.extend(line.trim().strip_prefix("authorization: Bearer ").map(str::to_owned));
                    line.clear();
                }
                let body = match status {
                    200 => r#"{"id":"p:d.t"}"#,
                    _ => r#"{"error":{"code":401,"errors":[{"reason":"authError","message":"expired"}]}}"#,
                };
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}",
                    body.len()
                );
                write!(reader.get_mut(), "{head}\r\n\r\n{body}").unwrap();
                let _ = reader.read(&mut [0]);
            }
            tokens
        });
        (url, serving)
    }

    #[tokio::test]
    async fn an_expired_token_is_refreshed_once() {
        for (statuses, found) in [(&[401, 200][..], true), (&[401, 401][..], false)] {
            MADE.store(0, Ordering::SeqCst);
            let (url, serving) = server(statuses);
            let clock = Clock::new(None).unwrap();
            let config = Config {
                endpoint: url.parse().unwrap(),
                project: Some("p".parse().unwrap()),
                auth: Auth::made_by(|| {
                    let number = MADE.fetch_add(1, Ordering::SeqCst) + 1;
                    Box::pin(async move { Ok(Arc::new(Numbered(number)) as Arc<dyn TokenProvider>) })
                }),
                retry_for: std::time::Duration::from_secs(600),
                verbose: false,
                tool: "test",
                stop: Stop::never(),
            };
            let Ok(api) = Api::new(config, &clock).await else {
                panic!("no client");
            };
            let table = crate::names::TableRef::parse("p.d.t", None).unwrap();
            let answer = api.table(&table).await;
            assert_eq!(serving.join().unwrap(), ["token-1", "token-2"]);
            match answer {
                Ok(table) => assert!(found && table.is_some()),
                Err(e) => assert!(!found && matches!(e.kind, Kind::Answer { status: 401, .. })),
            }
        }
    }
}
