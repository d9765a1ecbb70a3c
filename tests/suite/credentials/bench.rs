//! A machine with credentials of some kind: the programs, a pretend BigQuery behind https that takes only good tokens,
//! and an issuer of tokens. What the programs say and leave is searched for every secret when it ends.

use super::issuer::{CLIENT_SECRET, Issuer, PROVIDER_HEADER, REFRESH_TOKEN, ROBOT, SUBJECT_TOKEN};
use crate::scene::{Ended, to_the_end};
use crate::{built, secrets};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use tests::gateway::{Answering, Ask, Call, Gateway, GatewayOptions, Reply, Upstream};
use tests::tls::Certificate;
use tests::world::{PROJECT, World};

const TABLES: &str =
    "CREATE SCHEMA d; CREATE TABLE d.stock (item STRING, n INT64); INSERT INTO d.stock VALUES ('cup', 7);";

/// Nothing here may take longer: neither a dead server nor a slow one.
const PATIENCE: Duration = Duration::from_secs(120);

/// The key of the service account: making one takes its time, and all may have the same.
fn key() -> &'static KeyPair {
    static ONE: OnceLock<KeyPair> = OnceLock::new();
    ONE.get_or_init(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
}

fn certificate() -> &'static Certificate {
    static ONE: OnceLock<Certificate> = OnceLock::new();
    ONE.get_or_init(|| Certificate::of_localhost().unwrap())
}

/// A BigQuery that asks for a pass.
struct Guarded {
    world: World,
    issuer: Arc<Issuer>,
    /// Tokens that no issuer of ours gave, and tokens that are refused.
    others: Mutex<(BTreeSet<String>, BTreeSet<String>)>,
}

impl Upstream for Guarded {
    fn answer(&self, ask: Ask) -> Answering<'_> {
        let bearer = ask
            .headers
            .get(AUTHORIZATION)
            .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        let bearer = bearer.unwrap_or_default();
        let good = {
            let (taken, refused) = &*self.others.lock().unwrap();
            (self.issuer.is_good(bearer) || taken.contains(bearer)) && !refused.contains(bearer)
        };
        if good {
            return self.world.answer(ask);
        }
        Box::pin(async {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let error = json!({ "error": { "code": 401, "message": "Request had invalid authentication credentials.",
                "errors": [{ "reason": "authError", "message": "Invalid Credentials" }], "status": "UNAUTHENTICATED" } });
            Ok(Reply {
                status: hyper::StatusCode::UNAUTHORIZED,
                headers,
                body: error.to_string().into(),
            })
        })
    }
}

pub(crate) struct Bench {
    pub(crate) issuer: Arc<Issuer>,
    tokens: Gateway,
    /// Where the credentials say that tokens are given.
    pub(crate) issuer_url: String,
    pub(crate) bigquery: Gateway,
    guarded: Arc<Guarded>,
    scratch: TempDir,
    environment: BTreeMap<String, String>,
    planted: Vec<String>,
    said: Mutex<Vec<String>>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::slow(Duration::ZERO)
    }

    /// One whose BigQuery takes so long for each answer.
    pub(crate) fn slow(latency: Duration) -> Bench {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["work", "bin", "home"] {
            fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        for program in built::PROGRAMS {
            symlink(&built::programs()[program], scratch.path().join("bin").join(program)).unwrap();
        }
        let world = World::new(1);
        world.sql(TABLES).unwrap();
        world.watch(&scratch.path().join("work/.rollback"));
        let issuer = Arc::new(Issuer::new(key().public_key_raw().to_vec()));
        let tokens = Gateway::in_front_of(issuer.clone(), GatewayOptions::default()).unwrap();
        issuer.is_at(tokens.url());
        let guarded = Arc::new(Guarded {
            world,
            issuer: issuer.clone(),
            others: Mutex::default(),
        });
        let options = GatewayOptions {
            latency,
            tls: Some(certificate().clone()),
            ..GatewayOptions::default()
        };
        let bigquery = Gateway::in_front_of(guarded.clone(), options).unwrap();
        let at = |name: &str| scratch.path().join(name).display().to_string();
        fs::write(at("authority.pem"), certificate().authority()).unwrap();
        let environment = [
            ("PATH", at("bin")),
            ("HOME", at("home")),
            ("SSL_CERT_FILE", at("authority.pem")),
            ("BIGQUERY_EMULATOR_HOST", bigquery.url().to_owned()),
            ("PROJECT_ID", PROJECT.to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        // A line of the key in PEM is 64 letters that are nowhere else.
        let pem = key().serialize_pem();
        let planted = pem.lines().filter(|line| line.len() > 40).map(str::to_owned);
        let planted = planted
            .chain([CLIENT_SECRET, REFRESH_TOKEN, SUBJECT_TOKEN, PROVIDER_HEADER].map(str::to_owned))
            .collect();
        Bench {
            issuer,
            issuer_url: tokens.url().to_owned(),
            tokens,
            bigquery,
            guarded,
            scratch,
            environment,
            planted,
            said: Mutex::default(),
        }
    }

    /// Runs SQL at once, as somebody else.
    pub(crate) fn sql(&self, script: &str) {
        self.guarded.world.sql(script).unwrap();
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.insert(name.to_owned(), value.into());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// A secret that is to be found nowhere.
    pub(crate) fn plant(&mut self, secret: &str) -> String {
        self.planted.push(secret.to_owned());
        secret.to_owned()
    }

    /// BigQuery takes this token, that the issuer did not give.
    pub(crate) fn takes(&self, token: &str) {
        self.guarded.others.lock().unwrap().0.insert(token.to_owned());
    }

    /// BigQuery does not take this token.
    pub(crate) fn refuses(&self, token: &str) {
        self.guarded.others.lock().unwrap().1.insert(token.to_owned());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A file outside of the working directory, which is searched.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A program of a few lines of sh, on PATH.
    pub(crate) fn script(&self, name: &str, body: &str) -> String {
        let path = self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Names a file of this content in `GOOGLE_APPLICATION_CREDENTIALS`.
    pub(crate) fn name_file(&mut self, content: &Value) {
        let path = self.write("credentials.json", &content.to_string());
        self.set("GOOGLE_APPLICATION_CREDENTIALS", path);
    }

    pub(crate) fn service_account(&self) -> Value {
        json!({
            "type": "service_account", "project_id": PROJECT, "private_key_id": "1", "client_email": ROBOT,
            "private_key": key().serialize_pem(), "token_uri": format!("{}/token", self.issuer_url),
        })
    }

    pub(crate) fn person(&self) -> Value {
        json!({
            "type": "authorized_user", "client_id": "person", "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN, "token_uri": format!("{}/token", self.issuer_url),
            "quota_project_id": "payer-of-the-file",
        })
    }

    pub(crate) fn federated(&self, source: Value) -> Value {
        json!({
            "type": "external_account", "audience": super::issuer::AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}/sts", self.issuer_url), "credential_source": source,
        })
    }

    pub(crate) fn impersonation_url(&self) -> String {
        format!(
            "{}/v1/projects/-/serviceAccounts/{ROBOT}:generateAccessToken",
            self.issuer_url
        )
    }

    pub(crate) fn impersonated(&self, source: Value) -> Value {
        json!({
            "type": "impersonated_service_account", "delegates": [], "source_credentials": source,
            "service_account_impersonation_url": self.impersonation_url(),
        })
    }

    /// The issuer goes away: its port is nobody's.
    pub(crate) fn issuer_is_gone(&mut self) {
        self.tokens = Gateway::in_front_of(self.issuer.clone(), GatewayOptions::default()).unwrap();
    }

    /// The host and port of the issuer.
    pub(crate) fn issuer_host(&self) -> String {
        self.issuer_url.trim_start_matches("http://").to_owned()
    }

    /// Snapshots the one table, telling all it can.
    pub(crate) fn snap(&self) -> Ended {
        self.run("bq-snap", &["-v", "pretend.d.stock"])
    }

    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Ended {
        let found = self.path("bin").join(program);
        let program = if found.exists() { found } else { program.into() };
        let scratch = tempfile::tempdir().unwrap();
        let said = |which: &str| File::create(scratch.path().join(which)).unwrap();
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.path("work"))
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(said("stdout"))
            .stderr(said("stderr"))
            .process_group(0);
        let status = to_the_end(&mut command, PATIENCE);
        let read = |which: &str| fs::read_to_string(scratch.path().join(which)).unwrap();
        let (stdout, stderr) = (read("stdout"), read("stderr"));
        self.said.lock().unwrap().extend([stdout.clone(), stderr.clone()]);
        Ended { status, stdout, stderr }
    }

    /// The calls that BigQuery got.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.bigquery.calls()
    }

    /// Fails unless every call to BigQuery came with such a token, and with this quota project.
    #[track_caller]
    pub(crate) fn every_call_came_with(&self, token: impl Fn(&str) -> bool, quota_project: Option<&str>) {
        let calls = self.calls();
        assert!(!calls.is_empty(), "BigQuery was asked nothing");
        for call in calls {
            let header = |name: &str| call.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
            let bearer = header("authorization").unwrap_or_default();
            assert!(
                bearer.strip_prefix("Bearer ").is_some_and(&token),
                "{} came with `{bearer}`",
                call.path
            );
            assert_eq!(header("x-goog-user-project").as_deref(), quota_project, "{}", call.path);
        }
    }

    /// Fails if a secret is in anything that was said or is left in the working directory.
    #[track_caller]
    pub(crate) fn end(self) {
        let mut all = self.planted.clone();
        all.extend(self.issuer.secrets());
        let all = || all.iter().map(String::as_str);
        for said in &*self.said.lock().unwrap() {
            secrets::none_in("what a program said", said.as_bytes(), all());
        }
        let mut folders = vec![self.path("work")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                match entry.unwrap().path() {
                    path if path.is_dir() => folders.push(path),
                    path => secrets::none_in(&path.display().to_string(), &fs::read(&path).unwrap(), all()),
                }
            }
        }
        assert_eq!(self.guarded.world.violations(), Vec::<String>::new());
    }
}
