//! Tokens: where they come from. They go into one header of one request and nowhere else.
//!
//! A token in `CLOUDSDK_AUTH_ACCESS_TOKEN` wins over application default credentials, as it does for `bq` and `gcloud`.
//! For a plain-http endpoint none is sought or sent: it would be readable on the way.
//!
//! | File | What it knows |
//! |---|---|
//! | `file` | the file of application default credentials, and what it lacks |
//! | `find` | Google's order: which source there is |
//! | `gcp`, `google` | the sources, by the two crates that ask for tokens |
//! | `overheard` | what gcp_auth hides |
//! | `shared` | PURE: how long a token is good, and who asks for the next |
//! | `trouble` | PURE: why there is none, without the secrets |

mod file;
mod find;
mod gcp;
mod google;
mod overheard;
mod shared;
mod trouble;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use tokio::sync::Mutex;

use super::retry;
pub(crate) use find::{FILE_VARIABLE, Settings};
use shared::{Life, Shared};
pub use trouble::NoToken;

const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/bigquery"];

/// How long one try for a token may take, where a source does not ask for more.
const TRY: Duration = Duration::from_secs(10);
/// How long tries for one token are begun. Within minutes: a program that cannot begin says so while somebody looks.
const PATIENCE: Duration = Duration::from_secs(20);

/// The header by which Google is told which project's quota a request is of.
/// Source: <https://docs.cloud.google.com/docs/quotas/set-quota-project>.
const QUOTA_PROJECT: &str = "x-goog-user-project";

type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, NoToken>> + Send + 'a>>;

/// A source of tokens.
trait Source: Send + Sync {
    /// A token: a new one, or, without an end, one that the source itself keeps and renews in time.
    fn token(&self) -> Asking<'_, Issued>;

    /// What was given is of no use: the next one is a new one.
    fn renew(&self) {}

    /// Whether there can be another token.
    fn renewable(&self) -> bool {
        true
    }

    /// Who is asked, for messages.
    fn at(&self) -> String;

    /// The project that the credentials name.
    fn named_project(&self) -> Option<String> {
        None
    }

    /// The project that was found with a token; asked after one was given.
    fn found_project(&self) -> Asking<'_, Option<String>> {
        Box::pin(async { Ok(None) })
    }

    /// The project whose quota the credentials say to use.
    fn quota_project(&self) -> Option<String> {
        None
    }

    /// How long one try may take.
    fn limit(&self) -> Duration {
        TRY
    }
}

/// A token and its end.
#[derive(Clone)]
struct Issued {
    token: Arc<str>,
    /// `None`: the source keeps it.
    end: Option<Instant>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Issued {
    /// A token, if it is one: what cannot stand in a header is none.
    fn new(token: &str, end: Option<Instant>, at: &str) -> Result<Issued, NoToken> {
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let what = "the access token is empty, or holds what no token holds (a space, a line break)";
            return Err(NoToken::refused(
                what,
                at,
                "give the token alone, as `gcloud auth print-access-token` prints it",
            ));
        }
        Ok(Issued {
            token: token.into(),
            end,
        })
    }
}

/// What a request is sent with.
pub(super) struct Pass {
    issued: Issued,
    quota_project: Option<String>,
}

impl Pass {
    /// A text without the token, should it hold it.
    pub(super) fn hidden_in(&self, text: String) -> String {
        match text.contains(&*self.issued.token) {
            true => text.replace(&*self.issued.token, "…"),
            false => text,
        }
    }

    /// The request with its headers.
    pub(super) fn shown(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.bearer_auth(&self.issued.token);
        match &self.quota_project {
            Some(project) => request.header(QUOTA_PROJECT, project),
            None => request,
        }
    }
}

/// A source of tokens, shared by whoever holds a clone. Empty: the endpoint takes none.
#[derive(Clone)]
pub(crate) struct Auth(Option<Arc<Office>>);

/// Where the one token of a program is kept, and asked for by one request at a time.
struct Office {
    find: Box<dyn Fn() -> Result<Arc<dyn Source>, NoToken> + Send + Sync>,
    source: OnceLock<Result<Arc<dyn Source>, NoToken>>,
    /// From the environment; it wins over what the credentials say.
    quota_project: Option<String>,
    shared: Shared,
    turn: Mutex<()>,
    verbose: bool,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Auth(…)" } else { "Auth(none)" })
    }
}

impl Auth {
    /// For an endpoint: none of a plain-http one is looked for.
    pub(crate) fn new(secure: bool, settings: Settings, verbose: bool) -> Auth {
        if !secure {
            return Auth(None);
        }
        let quota_project = settings.quota_project.as_ref().map(ToString::to_string);
        Auth::office(move || find::source(&settings), quota_project, verbose)
    }

    fn office(
        find: impl Fn() -> Result<Arc<dyn Source>, NoToken> + Send + Sync + 'static,
        quota_project: Option<String>,
        verbose: bool,
    ) -> Auth {
        Auth(Some(Arc::new(Office {
            find: Box::new(find),
            source: OnceLock::new(),
            quota_project,
            shared: Shared::default(),
            turn: Mutex::new(()),
            verbose,
        })))
    }

    /// Begins to look for credentials while the program does other things. What goes wrong is told by the first
    /// request.
    pub(crate) fn fetch_meanwhile(&self) {
        if self.0.is_some() {
            let auth = self.clone();
            tokio::spawn(async move {
                let _ = auth.pass().await;
            });
        }
    }

    /// What the next request is sent with; `None`: the endpoint takes nothing.
    pub(super) async fn pass(&self) -> Result<Option<Pass>, NoToken> {
        let Some(office) = &self.0 else {
            return Ok(None);
        };
        let source = office.source()?;
        let issued = office.token(&source).await?;
        let quota_project = office.quota_project.clone().or_else(|| source.quota_project());
        Ok(Some(Pass { issued, quota_project }))
    }

    /// BigQuery did not take this token: the next one is another. False: there is no other.
    pub(super) fn forget(&self, refused: Option<&Pass>) -> bool {
        let (Some(office), Some(refused)) = (&self.0, refused) else {
            return false;
        };
        let Ok(source) = office.source() else {
            return false;
        };
        // Of many requests that come back with it, the first lets go of it.
        if source.renewable() && office.shared.forget(&refused.issued) {
            source.renew();
        }
        source.renewable()
    }

    /// The project that the credentials belong to, if they say.
    pub(super) async fn project(&self) -> Result<Option<String>, NoToken> {
        let Some(office) = &self.0 else {
            return Ok(None);
        };
        let source = office.source()?;
        if let Some(named) = source.named_project() {
            return Ok(Some(named));
        }
        office.token(&source).await?;
        source.found_project().await
    }
}

impl Office {
    fn source(&self) -> Result<Arc<dyn Source>, NoToken> {
        self.source.get_or_init(|| (self.find)()).clone()
    }

    /// The token, by one request at a time: those that wait meanwhile hear what came of it.
    /// One that is soon over is renewed beside the requests, none of which waits for it: one of them may be to cancel a job.
    async fn token(self: &Arc<Office>, source: &Arc<dyn Source>) -> Result<Issued, NoToken> {
        let (life, round) = self.shared.look(Instant::now());
        match life {
            Life::Good(issued) => return Ok(issued),
            Life::Due(issued) => {
                let (office, source) = (self.clone(), source.clone());
                tokio::spawn(async move {
                    let Ok(_turn) = office.turn.try_lock() else { return };
                    // Another may have been here before.
                    if !matches!(office.shared.look(Instant::now()).0, Life::Due(_)) {
                        return;
                    }
                    match office.once(&*source).await {
                        Ok(new) => drop(office.shared.keep(Instant::now(), Ok(new))),
                        Err(_) => office.shared.put_off(Instant::now()),
                    }
                });
                return Ok(issued);
            }
            Life::Over => {}
        }
        let _turn = self.turn.lock().await;
        if let Some(outcome) = self.shared.since(round) {
            return outcome;
        }
        let outcome = self.tries(&**source).await;
        self.shared.keep(Instant::now(), outcome)
    }

    async fn tries(&self, source: &dyn Source) -> Result<Issued, NoToken> {
        let started = Instant::now();
        let mut waits = retry::waits(fastrand::u64(..));
        loop {
            let why = match self.once(source).await {
                Err(why) if why.transient => why,
                outcome => return outcome,
            };
            let wait = waits.next().unwrap_or(PATIENCE);
            if started.elapsed() + wait > PATIENCE {
                return Err(why);
            }
            if self.verbose {
                let (what, wait) = (&why.what, wait.as_secs_f32());
                crate::tool::say(&format!("asking for a token: {what}; again in {wait:.1} s"));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, source: &dyn Source) -> Result<Issued, NoToken> {
        let limit = source.limit();
        let outcome = match tokio::time::timeout(limit, source.token()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NoToken::for_now(
                format!("no token in {} s", limit.as_secs()),
                source.at(),
            )),
        };
        if outcome.is_err() {
            source.renew();
        }
        outcome
    }
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

    /// Gives `token-N`, another each time, good for so long.
    struct Numbered {
        given: AtomicUsize,
        good_for: Duration,
        takes: Duration,
    }

    impl Numbered {
        fn new(good_for: Duration, takes: Duration) -> Arc<Numbered> {
            Arc::new(Numbered {
                given: AtomicUsize::new(0),
                good_for,
                takes,
            })
        }
    }

    impl Source for Numbered {
        fn token(&self) -> Asking<'_, Issued> {
            Box::pin(async {
                let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(self.takes).await;
                Issued::new(&format!("token-{number}"), Some(Instant::now() + self.good_for), "here")
            })
        }

        fn at(&self) -> String {
            "here".to_owned()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

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
                    200 => r#"{"id":"p:d.t","lastModifiedTime":"1"}"#,
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
            let (url, serving) = server(statuses);
            let clock = Clock::new(None).unwrap();
            let config = Config {
                endpoint: url.parse().unwrap(),
                project: Some("p".parse().unwrap()),
                auth: Auth::office(
                    || Ok(Numbered::new(HOUR, Duration::ZERO) as Arc<dyn Source>),
                    None,
                    false,
                ),
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

    fn office(source: &Arc<Numbered>) -> Auth {
        let source = source.clone();
        Auth::office(move || Ok(source.clone() as Arc<dyn Source>), None, false)
    }

    async fn text(auth: &Auth) -> String {
        let pass = auth.pass().await.unwrap().unwrap();
        pass.issued.token.to_string()
    }

    #[tokio::test]
    async fn many_at_a_time_share_one_token() {
        let source = Numbered::new(HOUR, Duration::from_millis(20));
        let auth = office(&source);
        let all = futures_util::future::join_all((0..32).map(|_| text(&auth))).await;
        assert!(all.iter().all(|token| token == "token-1"), "{all:?}");
        // All of them come back refused: one new token is asked for, not 32.
        let refused = auth.pass().await.unwrap();
        for _ in 0..32 {
            assert!(auth.forget(refused.as_ref()));
        }
        let all = futures_util::future::join_all((0..32).map(|_| text(&auth))).await;
        assert!(all.iter().all(|token| token == "token-2"), "{all:?}");
    }

    #[tokio::test]
    async fn a_token_is_renewed_by_one_while_the_others_go_on() {
        let source = Numbered::new(Duration::from_millis(400), Duration::from_millis(20));
        let auth = office(&source);
        assert_eq!(text(&auth).await, "token-1");
        // Three quarters of its life are over.
        tokio::time::sleep(Duration::from_millis(320)).await;
        let all = futures_util::future::join_all((0..8).map(|_| text(&auth))).await;
        assert_eq!(all, ["token-1"; 8].map(str::to_owned));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(text(&auth).await, "token-2");
        // One of the eight asked for it, and no other.
        assert_eq!(source.given.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_plain_endpoint_gets_none_whatever_there_is() {
        let env = [("CLOUDSDK_AUTH_ACCESS_TOKEN".to_owned(), "planted".to_owned())].into();
        let settings = || Settings::new(&env, Some("/absent".into()), None);
        assert!(Auth::new(false, settings(), false).pass().await.unwrap().is_none());
        assert_eq!(text(&Auth::new(true, settings(), false)).await, "planted");
        assert!(
            !format!(
                "{:?}",
                Auth::new(true, settings(), false).pass().await.unwrap().unwrap().issued
            )
            .contains("planted")
        );
    }
}
