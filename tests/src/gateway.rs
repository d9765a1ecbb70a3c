//! A reverse proxy on loopback that delays, breaks and records what passes.
//!
//! It knows how a broken answer looks on the wire, and nothing of why: that is [`faults`](crate::faults). Whoever
//! answers behind it is an [`Upstream`]. Bodies are held whole, up to [`LARGEST_BODY`].
//!
//! A request of one of our programs that is not what Google's definition of the API says gets no further: it is answered
//! with 400, whatever else was planned for it, and remembered ([`conformance`](crate::conformance)).

use crate::conformance::{Definition, Wrong, is_ours, json_of, ledger};
use crate::error::Error;
use crate::faults::{Fault, Faults, Seen, google_error};
use crate::tls::Certificate;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The largest body of a request or an answer, in bytes; above it the caller gets 413 or 502.
pub const LARGEST_BODY: usize = 64 << 20;

/// The emulator's server closes a connection that was idle for 5 s; one that is used in that very moment would look
/// like a fault nobody asked for.
const IDLE: Duration = Duration::from_secs(2);

/// A call as it reached the gateway.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path, with `?query` if there is one.
    pub target: String,
    /// The headers, without those that speak of the connection.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those that speak of the connection.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// What an [`Upstream`] promises: an answer, or why there is none.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, String>> + Send + 'a>>;

/// Who answers the calls that the gateway lets through: the emulator, or a pretend BigQuery.
pub trait Upstream: Send + Sync + 'static {
    /// Answers one call. An error becomes a 502 that carries its text.
    fn answer(&self, ask: Ask) -> Answering<'_>;
}

/// What a gateway does besides passing calls on.
#[derive(Debug, Default)]
pub struct GatewayOptions {
    /// What goes wrong.
    pub faults: Faults,
    /// Added before every call.
    pub latency: Duration,
    /// A file that gets one JSON line a call, a [`Call`], in the order of the answers; it is made anew.
    pub record: Option<PathBuf>,
    /// Serves https with this certificate; else plain http.
    pub tls: Option<Certificate>,
    /// What does not conform is asked on purpose: it is refused, and not told of in the report over all tests.
    pub unlisted: bool,
}

/// A call that passed, as recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// Its number, from 1, in the order in which the requests were complete.
    pub n: u64,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What follows the `?`, as sent; empty without.
    pub query: String,
    /// The body, of an upload its first part; null if it is not JSON.
    pub body: Value,
    /// The status the caller was told; null if the caller was told none.
    pub status: Option<u16>,
    /// What was done to it, in the words of the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The headers: tests look at them, a record has none.
    #[serde(skip)]
    pub headers: HeaderMap,
    /// Who made it: the `User-Agent`.
    #[serde(skip)]
    pub agent: String,
    /// What of it does not conform to Google's definition.
    #[serde(skip)]
    pub wrong: Option<Wrong>,
}

/// A running gateway; dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Gateway {
    url: String,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts a gateway in front of the server at `upstream_url` (`http://host:port`).
    ///
    /// # Errors
    /// When no port or thread is to be had, or the record cannot be made.
    pub fn start(upstream_url: &str, options: GatewayOptions) -> Result<Gateway, Error> {
        let server = Server::at(upstream_url).map_err(|e| Error::emulator(e, upstream_url, "report this as a bug"))?;
        Gateway::in_front_of(Arc::new(server), options)
    }

    /// Starts a gateway in front of anything that answers.
    ///
    /// # Errors
    /// As [`start`](Gateway::start).
    pub fn in_front_of(upstream: Arc<dyn Upstream>, options: GatewayOptions) -> Result<Gateway, Error> {
        let trouble = |e: std::io::Error| {
            Error::emulator(
                format!("cannot open a port: {e}"),
                "127.0.0.1",
                "see how many ports and files are open on this machine",
            )
        };
        let record = match &options.record {
            None => None,
            Some(path) => Some(File::create(path).map_err(|e| {
                Error::usage(
                    format!("cannot write the record: {e}"),
                    path.display(),
                    "give `--record` a file in a directory that exists",
                )
            })?),
        };
        let definition = Definition::shared()?;
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(trouble)?;
        listener.set_nonblocking(true).map_err(trouble)?;
        let address = listener.local_addr().map_err(trouble)?;
        let url = match &options.tls {
            None => format!("http://{address}"),
            Some(_) => format!("https://localhost:{}", address.port()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(trouble)?;
        let shared = Arc::new(Shared {
            upstream,
            definition,
            unlisted: options.unlisted,
            url: url.clone(),
            latency: options.latency,
            state: Mutex::new(State {
                faults: options.faults,
                n: 0,
                calls: Vec::new(),
                record,
                record_error: None,
            }),
        });
        let (stop, stopped) = watch::channel(false);
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("gateway".into())
            .spawn(move || runtime.block_on(accept(listener, serving, stopped, options.tls)))
            .map_err(trouble)?;
        Ok(Gateway {
            url,
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens: `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The calls answered (or dropped) so far, in the order of their numbers.
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = self.shared.state().calls.clone();
        calls.sort_by_key(|call| call.n);
        calls
    }

    /// What our programs asked that does not conform to Google's definition: nothing, or a test should fail.
    pub fn nonconforming(&self) -> Vec<String> {
        let state = self.shared.state();
        let wrong = state.calls.iter().filter_map(|call| {
            let wrong = call.wrong.as_ref().filter(|_| is_ours(&call.agent))?;
            Some(format!("{} {}: {wrong}\n{}", call.method, call.path, call.body))
        });
        wrong.collect()
    }

    /// Why the record is not complete, if it is not.
    pub fn record_error(&self) -> Option<String> {
        self.shared.state().record_error.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has printed itself already.
            let _ = thread.join();
        }
        ledger::flush();
    }
}

// ---- the emulator as an upstream ----

/// A server reached over HTTP, by connections that are kept.
struct Server {
    url: String,
    client: reqwest::Client,
}

impl Server {
    fn at(url: &str) -> Result<Server, String> {
        // No proxy of the environment: loopback is not its business.
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| format!("cannot make an HTTP client: {e}"))?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Server { url, client })
    }
}

impl Upstream for Server {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        Box::pin(async move {
            // `Host` stays the caller's: the server builds links from it, and they must lead back through here.
            let mut answer = self
                .client
                .request(ask.method, format!("{}{}", self.url, ask.target))
                .headers(ask.headers)
                .body(ask.body)
                .send()
                .await
                .map_err(|e| chain(&e))?;
            let status = answer.status();
            let mut headers = std::mem::take(answer.headers_mut());
            drop_connection_headers(&mut headers);
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|e| chain(&e))? {
                if body.len() + chunk.len() > LARGEST_BODY {
                    return Err(format!("the answer is larger than {LARGEST_BODY} bytes"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Reply {
                status,
                headers,
                body: body.into(),
            })
        })
    }
}

/// An error with its causes: reqwest's own text stops at "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Removes what speaks of one connection only, and what `Connection` names.
fn drop_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, EXPECT]
        .into_iter()
        .chain(named)
    {
        headers.remove(name);
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
    ] {
        headers.remove(name);
    }
}

// ---- serving ----

struct Shared {
    upstream: Arc<dyn Upstream>,
    definition: &'static Definition,
    unlisted: bool,
    /// Its own address: where a resumable upload goes on.
    url: String,
    latency: Duration,
    state: Mutex<State>,
}

struct State {
    faults: Faults,
    n: u64,
    calls: Vec<Call>,
    record: Option<File>,
    record_error: Option<String>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("calls", &self.state().calls.len())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing leaves the state half changed; a panic elsewhere should not hide the calls from a test.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, call: Call) {
        if let Some(file) = &mut self.record {
            let line = serde_json::to_vec(&call).map(|mut line| {
                line.push(b'\n');
                line
            });
            let written = line
                .map_err(std::io::Error::from)
                .and_then(|line| file.write_all(&line));
            if let Err(error) = written {
                self.record_error.get_or_insert(error.to_string());
            }
        }
        self.calls.push(call);
    }
}

async fn accept(
    listener: StdListener,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
    tls: Option<Certificate>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(admit(stream, Arc::clone(&shared), tls.clone()));
                }
                // Out of files: connections that end will free some.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

/// How an answer that is not sent ends its connection.
#[derive(Debug)]
struct Break {
    reset: bool,
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Break {}

/// Serves a connection, and closes it in the way the fault says.
async fn admit(stream: TcpStream, shared: Arc<Shared>, tls: Option<Certificate>) {
    // Small answers would wait for the caller's acknowledgement.
    let _ = stream.set_nodelay(true);
    let (stream, reset) = match tls {
        None => serve(stream, shared).await,
        // A caller that does not trust the certificate goes away by itself.
        Some(certificate) => match certificate.acceptor().accept(stream).await {
            Err(_) => return,
            Ok(stream) => {
                let (stream, reset) = serve(stream, shared).await;
                (stream.into_inner().0, reset)
            }
        },
    };
    if reset {
        let _ = stream.set_zero_linger();
    }
}

/// Answers what comes; the stream is given back, and whether it is to be reset.
async fn serve<S>(stream: S, shared: Arc<Shared>) -> (S, bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reset = Arc::new(AtomicBool::new(false));
    let wish = Arc::clone(&reset);
    let service = hyper::service::service_fn(move |request| {
        let (shared, wish) = (Arc::clone(&shared), Arc::clone(&wish));
        Box::pin(async move {
            let answer = handle(shared, request).await;
            if let Err(Break { reset: true }) = &answer {
                wish.store(true, Ordering::Relaxed);
            }
            answer
        })
    });
    let mut connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The stream is wanted back: dropping the connection would close it too early.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    (connection.into_parts().io.into_inner(), reset.load(Ordering::Relaxed))
}

/// One call: read it, count it, decide. `Err` closes the connection without an answer.
async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Out>, Break> {
    let (head, body) = request.into_parts();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let mut headers = head.headers;
    drop_connection_headers(&mut headers);
    // A disguised answer has to be read, so it has to come plain.
    headers.remove(ACCEPT_ENCODING);
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Ok(google_reply(413, None, None, None).whole());
        }
        // The caller went away in the middle of its request.
        Err(_) => return Err(Break { reset: false }),
    };
    let mut call = Passing::of(Ask {
        method: head.method,
        target,
        headers,
        body,
    });
    let judged = match shared.unlisted {
        true => shared.definition.request(&call.ask, &call.json).map(|_| ()),
        false => ledger::request(shared.definition, &call.ask, &call.json, &call.agent),
    };
    call.wrong = judged.err();
    let refused = call
        .wrong
        .as_ref()
        .filter(|_| is_ours(&call.agent))
        .map(Wrong::to_string);
    let fault = {
        let mut state = shared.state();
        state.n += 1;
        call.n = state.n;
        match refused {
            // What is planned for this call is not for one that never should have been made.
            Some(message) => Some(Fault::Status {
                code: 400,
                reason: Some("invalid".into()),
                message: Some(message),
                retry_after: None,
            }),
            None => state.faults.decide(&call.seen()),
        }
    };
    if let Some(hang @ Fault::Hang) = &fault {
        // Written down first: it never comes back from here. hyper drops this when the caller goes away.
        shared.state().keep(call.recorded(None, Some(hang.to_string())));
        return std::future::pending().await;
    }
    // A task of its own: a caller that loses patience does not undo what it sent.
    tokio::spawn(perform(shared, call, fault))
        .await
        .unwrap_or(Err(Break { reset: false }))
}

/// Does what was decided, and records it before the answer is sent: a command that has its last answer finds the
/// record complete.
async fn perform(shared: Arc<Shared>, call: Passing, fault: Option<Fault>) -> Result<Response<Out>, Break> {
    // A sleep of nothing would still take a tick of the timer.
    if !shared.latency.is_zero() {
        tokio::time::sleep(shared.latency).await;
    }
    let mut said = fault.as_ref().map(Fault::to_string);
    let real = || ask_upstream(&shared, call.ask.clone());
    let done = match &fault {
        None | Some(Fault::Pending(_)) => {
            let reply = real().await;
            match disguised(&shared, &call.seen(), fault.as_ref(), &reply) {
                Some(shown) => {
                    said.get_or_insert("pending".into());
                    Done::Answer(shown)
                }
                None => Done::Answer(reply),
            }
        }
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(*time).await;
            Done::Answer(real().await)
        }
        Some(Fault::Status {
            code,
            reason,
            message,
            retry_after,
        }) => Done::Answer(google_reply(*code, reason.as_deref(), message.as_deref(), *retry_after)),
        Some(Fault::Html) => Done::Answer(html()),
        Some(Fault::Empty) => Done::Answer(Reply {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }),
        Some(Fault::Truncate) => Done::Half(real().await),
        Some(Fault::ApplyThenDrop) => {
            real().await;
            Done::Break { reset: false }
        }
        Some(Fault::Refuse | Fault::Hang) => Done::Break { reset: false },
        Some(Fault::Reset) => Done::Break { reset: true },
    };
    let status = match &done {
        Done::Answer(reply) | Done::Half(reply) => Some(reply.status.as_u16()),
        Done::Break { .. } => None,
    };
    shared.state().keep(call.recorded(status, said));
    match done {
        Done::Answer(reply) => Ok(reply.whole()),
        Done::Half(reply) => Ok(reply.half()),
        Done::Break { reset } => Err(Break { reset }),
    }
}

/// A call on its way, with its body in the forms that rules and the record look at.
struct Passing {
    n: u64,
    text: String,
    json: Value,
    agent: String,
    wrong: Option<Wrong>,
    ask: Ask,
}

impl Passing {
    /// Not numbered and not judged yet.
    fn of(ask: Ask) -> Passing {
        let agent = ask
            .headers
            .get(USER_AGENT)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        Passing {
            n: 0,
            text: String::from_utf8_lossy(&ask.body).into_owned(),
            json: json_of(&ask),
            agent: String::from_utf8_lossy(agent).into_owned(),
            wrong: None,
            ask,
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            n: self.n,
            method: self.ask.method.as_str(),
            target: &self.ask.target,
            body: &self.text,
            json: &self.json,
        }
    }

    fn recorded(&self, status: Option<u16>, fault: Option<String>) -> Call {
        let target = &self.ask.target;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Call {
            n: self.n,
            method: self.ask.method.to_string(),
            path: path.into(),
            query: query.into(),
            body: self.json.clone(),
            status,
            fault,
            headers: self.ask.headers.clone(),
            agent: self.agent.clone(),
            wrong: self.wrong.clone(),
        }
    }
}

enum Done {
    Answer(Reply),
    Half(Reply),
    Break { reset: bool },
}

async fn ask_upstream(shared: &Shared, ask: Ask) -> Reply {
    match shared.upstream.answer(ask).await {
        Ok(mut reply) => {
            lead_back(&mut reply.headers, &shared.url);
            reply
        }
        Err(why) => {
            let message = format!("the gateway got no answer from the local BigQuery: {why}");
            google_reply(502, None, Some(&message), None)
        }
    }
}

/// A resumable upload goes on at the address that its first answer names: it has to lead back through here, over https
/// too if that is how the caller came. The path and the query stay as they are.
fn lead_back(headers: &mut HeaderMap, url: &str) {
    let Some(there) = headers.get(LOCATION).and_then(|there| there.to_str().ok()) else {
        return;
    };
    let target = there
        .split_once("://")
        .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    if let Some(Ok(back)) = target.map(|target| HeaderValue::from_str(&format!("{url}{target}"))) {
        headers.insert(LOCATION, back);
    }
}

fn disguised(shared: &Shared, seen: &Seen<'_>, fault: Option<&Fault>, reply: &Reply) -> Option<Reply> {
    let answer: Value = serde_json::from_slice(&reply.body).ok()?;
    let shown = shared
        .state()
        .faults
        .disguise(seen, fault, reply.status.as_u16(), &answer)?;
    let mut headers = reply.headers.clone();
    headers.remove(CONTENT_LENGTH);
    Some(Reply {
        status: StatusCode::OK,
        headers,
        body: shown.to_string().into(),
    })
}

fn google_reply(code: u16, reason: Option<&str>, message: Option<&str>, retry_after: Option<u64>) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=UTF-8"),
    );
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if code == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"local\""));
    }
    Reply {
        status: StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: google_error(code, reason, message).to_string().into(),
    }
}

fn html() -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    let page = "<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n\
        <p><b>502.</b> <ins>That's an error.</ins>\n<p>The server encountered a temporary error.\n</html>\n";
    Reply {
        status: StatusCode::BAD_GATEWAY,
        headers,
        body: Bytes::from_static(page.as_bytes()),
    }
}

impl Reply {
    fn whole(self) -> Response<Out> {
        let body = Out {
            length: self.body.len() as u64,
            data: (!self.body.is_empty()).then_some(self.body),
            cut: None,
        };
        respond(self.status, self.headers, body)
    }

    /// Half of the body under the length of the whole.
    fn half(mut self) -> Response<Out> {
        self.headers.insert(CONTENT_LENGTH, self.body.len().into());
        let body = Out {
            length: self.body.len() as u64,
            data: Some(self.body.slice(..self.body.len() / 2)),
            cut: Some(Cut::Flush),
        };
        respond(self.status, self.headers, body)
    }
}

fn respond(status: StatusCode, headers: HeaderMap, body: Out) -> Response<Out> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A body to send: whole, or cut after what is here.
struct Out {
    data: Option<Bytes>,
    length: u64,
    cut: Option<Cut>,
}

/// Steps of breaking off: hyper throws away what it has not flushed when a body fails, and flushes when a body waits.
enum Cut {
    Flush,
    Fail,
}

impl hyper::body::Body for Out {
    type Data = Bytes;
    type Error = Break;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Break>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.cut {
            None => Poll::Ready(None),
            Some(Cut::Flush) => {
                self.cut = Some(Cut::Fail);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Cut::Fail) => Poll::Ready(Some(Err(Break { reset: false }))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
