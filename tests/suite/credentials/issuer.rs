//! Who gives tokens: one small server for the token endpoint, the security token service, IAM's credentials, the
//! metadata server and an identity provider. It writes down what it was asked, checks it, and fails as it is told to.
//!
//! Whatever it refuses, it refuses with an echo of the whole request: so every test of a failure is a test of what is
//! printed.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tests::gateway::{Answering, Ask, Reply, Upstream};

pub(crate) const CLIENT_SECRET: &str = "planted-client-secret";
pub(crate) const REFRESH_TOKEN: &str = "planted-refresh-token";
pub(crate) const SUBJECT_TOKEN: &str = "planted-subject-token";
/// What an identity provider wants to see before it gives the subject token.
pub(crate) const PROVIDER_HEADER: &str = "planted-provider-header";
pub(crate) const ROBOT: &str = "robot@pretend.iam.gserviceaccount.com";
pub(crate) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/ci";
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";

/// How a request that is refused is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// This status and word, so often.
    Says(u16, &'static str, usize),
    /// It never answers.
    Hangs,
    /// 200, with a page.
    Page,
}

/// What was asked and found right.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) what: &'static str,
    /// The form, the body or the claims.
    pub(crate) fields: BTreeMap<String, String>,
}

#[derive(Default)]
pub(crate) struct Issuer(Mutex<State>);

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    refused: usize,
    issued: Vec<(String, Instant)>,
    /// Whatever it was shown and should be seen nowhere else.
    shown: Vec<String>,
    lives: Duration,
    /// Of a kind of request.
    trouble: Option<(&'static str, Trouble)>,
    /// The raw public key of the service account.
    key: Vec<u8>,
    url: String,
}

impl Issuer {
    pub(crate) fn new(key: Vec<u8>) -> Issuer {
        let state = State {
            lives: Duration::from_secs(3600),
            key,
            ..State::default()
        };
        Issuer(Mutex::new(state))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Where it is, once that is known: a signature names it.
    pub(crate) fn is_at(&self, url: &str) {
        self.state().url = url.to_owned();
    }

    /// Tokens given from now on live so long.
    pub(crate) fn tokens_live(&self, lives: Duration) {
        self.state().lives = lives;
    }

    /// Requests of this kind fail from now on.
    pub(crate) fn fails(&self, what: &'static str, trouble: Trouble) {
        self.state().trouble = Some((what, trouble));
    }

    /// The kinds of what was asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<&'static str> {
        self.state().asked.iter().map(|asked| asked.what).collect()
    }

    /// The last request of this kind.
    pub(crate) fn last(&self, what: &str) -> Asked {
        let state = self.state();
        let found = state.asked.iter().rev().find(|asked| asked.what == what);
        found
            .unwrap_or_else(|| panic!("`{what}` was never asked: {:?}", state.asked))
            .clone()
    }

    /// How many requests were refused, by trouble or for being wrong.
    pub(crate) fn refused(&self) -> usize {
        self.state().refused
    }

    /// Every token it gave.
    pub(crate) fn issued(&self) -> Vec<String> {
        self.state().issued.iter().map(|(token, _)| token.clone()).collect()
    }

    /// Whether a token is one of its own and not over yet.
    pub(crate) fn is_good(&self, token: &str) -> bool {
        let now = Instant::now();
        self.state()
            .issued
            .iter()
            .any(|(given, end)| given == token && now < *end)
    }

    /// All that nobody may see: tokens, and what it was asked with.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let state = self.state();
        let tokens = state.issued.iter().map(|(token, _)| token.clone());
        tokens.chain(state.shown.iter().cloned()).collect()
    }
}

impl State {
    fn issue(&mut self) -> String {
        let token = format!("planted-access-token-{}", self.issued.len() + 1);
        self.issued.push((token.clone(), Instant::now() + self.lives));
        token
    }

    /// Reads a request: its kind, its fields, and whether it is right.
    fn read(&mut self, ask: &Ask) -> (&'static str, BTreeMap<String, String>, Result<(), String>) {
        let header = |name: &str| ask.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let path = ask.target.split('?').next().unwrap_or_default();
        let want = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        let metadata = want(header("metadata-flavor") == "Google", "no Metadata-Flavor");
        match path {
            "/computeMetadata/v1/instance/service-accounts/default/token" => ("metadata", BTreeMap::new(), metadata),
            "/computeMetadata/v1/project/project-id" => ("project", BTreeMap::new(), metadata),
            "/subject" => {
                let right = want(header("x-provider") == PROVIDER_HEADER, "no X-Provider");
                ("subject", BTreeMap::new(), right)
            }
            "/sts" => {
                let form = form(&ask.body);
                let is = |key: &str, value: &str| form.get(key).is_some_and(|v| v == value);
                let right = is("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
                    && is("audience", AUDIENCE)
                    && is("subject_token", SUBJECT_TOKEN)
                    && is("subject_token_type", "urn:ietf:params:oauth:token-type:jwt");
                ("exchange", form, want(right, "not the exchange that was wanted"))
            }
            "/token" if header("content-type").starts_with("application/json") => {
                let body: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
                let right = body["grant_type"] == "refresh_token"
                    && body["refresh_token"] == REFRESH_TOKEN
                    && body["client_secret"] == CLIENT_SECRET;
                ("refresh", fields(&body), want(right, "not the refresh that was wanted"))
            }
            "/token" => {
                let (claims, right) = self.assertion(&form(&ask.body));
                ("key", claims, right)
            }
            path if path == format!("/v1/projects/-/serviceAccounts/{ROBOT}:generateAccessToken") => {
                let body: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
                let bearer = header("authorization").strip_prefix("Bearer ").unwrap_or_default();
                // A key's source credentials are its own signature: no token is asked for.
                let known = self.issued.iter().any(|(token, _)| token == bearer) || self.signed(bearer).is_ok();
                let right = known && body["scope"] == json!([SCOPE]);
                (
                    "impersonate",
                    fields(&body),
                    want(right, "not the impersonation that was wanted"),
                )
            }
            other => panic!("nobody asks for {} {other}", ask.method),
        }
    }

    /// The claims of a service account's assertion, and whether they and its signature are right.
    fn assertion(&mut self, form: &BTreeMap<String, String>) -> (BTreeMap<String, String>, Result<(), String>) {
        let claims = match self.signed(form.get("assertion").map_or("", String::as_str)) {
            Ok(claims) => claims,
            Err(why) => return (BTreeMap::new(), Err(why)),
        };
        let right = form
            .get("grant_type")
            .is_some_and(|t| t == "urn:ietf:params:oauth:grant-type:jwt-bearer")
            && claims["aud"] == format!("{}/token", self.url)
            && claims["scope"] == SCOPE;
        (fields(&claims), if right { Ok(()) } else { Err(claims.to_string()) })
    }

    /// The claims of a JWT that the service account signed for now.
    fn signed(&mut self, text: &str) -> Result<Value, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let [head, claims, signature] = parts[..] else {
            return Err("no JWT".to_owned());
        };
        self.shown.push(text.to_owned());
        // gcp_auth pads; RFC 7515 does not.
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).unwrap_or_default();
        let signed = text.len() - signature.len() - 1;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key);
        let genuine = public.verify(&text.as_bytes()[..signed], &decoded(signature)).is_ok();
        let head: Value = serde_json::from_slice(&decoded(head)).unwrap_or_default();
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap_or_default();
        let now = jiff::Timestamp::now().as_second();
        let time = |name: &str| claims[name].as_i64().unwrap_or_default();
        let right = genuine
            && head["alg"] == "RS256"
            && claims["iss"] == ROBOT
            && (now - 60..=now).contains(&time("iat"))
            && (now..=time("iat") + 3660).contains(&time("exp"));
        if right {
            Ok(claims)
        } else {
            Err(format!("signature {genuine}, {head}, {claims}"))
        }
    }

    fn answer(&mut self, ask: &Ask) -> Option<Reply> {
        let (what, fields, right) = self.read(ask);
        if let Some((of, trouble)) = &mut self.trouble
            && *of == what
        {
            match trouble {
                Trouble::Hangs => return None,
                Trouble::Page => {
                    self.refused += 1;
                    let page = format!("<html>{}</html>", String::from_utf8_lossy(&ask.body));
                    return Some(reply(200, "text/html", page));
                }
                Trouble::Says(_, _, 0) => {}
                Trouble::Says(status, word, times) => {
                    *times -= 1;
                    let (status, word) = (*status, *word);
                    return Some(self.echo(ask, status, word, "as told"));
                }
            }
        }
        if let Err(why) = right {
            return Some(self.echo(ask, 400, "invalid_request", &why));
        }
        self.asked.push(Asked { what, fields });
        let lives = self.lives.as_secs();
        let body = match what {
            "project" => return Some(reply(200, "text/plain", "pretend".to_owned())),
            "subject" => json!({ "value": SUBJECT_TOKEN }),
            "impersonate" => {
                let end = jiff::Timestamp::now() + jiff::SignedDuration::try_from(self.lives).unwrap();
                json!({ "accessToken": self.issue(), "expireTime": end.to_string() })
            }
            "exchange" => json!({
                "access_token": self.issue(), "expires_in": lives, "token_type": "Bearer",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            }),
            _ => json!({ "access_token": self.issue(), "expires_in": lives, "token_type": "Bearer" }),
        };
        Some(reply(200, "application/json", body.to_string()))
    }

    /// A refusal that repeats all it was asked.
    fn echo(&mut self, ask: &Ask, status: u16, word: &str, why: &str) -> Reply {
        self.refused += 1;
        let authorization = ask.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let body = String::from_utf8_lossy(&ask.body);
        let body = json!({
            "error": word,
            "error_description": format!("{why}: {authorization:?} {body} {:?}", form(&ask.body)),
        });
        reply(status, "application/json", body.to_string())
    }
}

impl Upstream for Issuer {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        let reply = self.state().answer(&ask);
        Box::pin(async move {
            match reply {
                Some(reply) => Ok(reply),
                None => std::future::pending().await,
            }
        })
    }
}

fn form(body: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

fn fields(body: &Value) -> BTreeMap<String, String> {
    let object = body.as_object().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    object.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn reply(status: u16, kind: &'static str, body: String) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.into(),
    }
}
