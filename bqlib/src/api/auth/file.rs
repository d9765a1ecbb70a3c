//! A file of application default credentials: read, told by its `type`, and looked at before any crate sees it, because
//! what those say of a bad file quotes it. Knows who names the file, and never prints what is in it.

use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::trouble::NoToken;
use crate::names::ProjectId;

/// The variable that names a file of any kind.
pub(super) const NAMED_BY: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// No file of credentials is larger; a device or a log named by mistake is not read to its end.
const LARGEST: u64 = 1 << 20;

/// What kind of credentials a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A key of a service account.
    ServiceAccount,
    /// A person, by `gcloud auth application-default login`.
    AuthorizedUser,
    /// Workload or workforce identity federation.
    ExternalAccount,
    /// A service account that another one, or a person, acts as.
    Impersonated,
}

const KINDS: [(&str, Kind, &[&str]); 4] = [
    (
        "service_account",
        Kind::ServiceAccount,
        &["client_email", "private_key", "token_uri"],
    ),
    (
        "authorized_user",
        Kind::AuthorizedUser,
        &["client_id", "client_secret", "refresh_token"],
    ),
    (
        "external_account",
        Kind::ExternalAccount,
        &["audience", "subject_token_type", "token_url", "credential_source"],
    ),
    (
        "impersonated_service_account",
        Kind::Impersonated,
        &["service_account_impersonation_url", "source_credentials"],
    ),
];

/// A file that was read and has what its kind needs.
#[derive(Clone)]
pub(super) struct File {
    pub(super) kind: Kind,
    pub(super) json: Value,
    /// Where it is and what names it, for messages.
    pub(super) at: String,
    /// The project that pays for quota, if the file names one.
    pub(super) quota_project: Option<ProjectId>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?}, {})", self.kind, self.at)
    }
}

impl File {
    /// Reads the file that the variable names: it must be there.
    pub(super) fn named(path: &Path) -> Result<File, NoToken> {
        File::read(path, NAMED_BY)?.ok_or_else(|| wrong("the credentials file does not exist", path, NAMED_BY))
    }

    /// Reads the file at gcloud's place, if there is one.
    pub(super) fn well_known(path: &Path, named_by: &str) -> Result<Option<File>, NoToken> {
        File::read(path, named_by)
    }

    fn read(path: &Path, named_by: &str) -> Result<Option<File>, NoToken> {
        let wrong = |what: &str| wrong(what, path, named_by);
        let mut text = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text));
        match read {
            Ok(_) if text.len() as u64 > LARGEST => return Err(wrong("the credentials file is larger than 1 MiB")),
            Ok(_) => {}
            Err(e) => {
                return match e.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                    ErrorKind::IsADirectory => Err(wrong("the credentials file is a directory")),
                    kind => Err(wrong(&format!("the credentials file cannot be read: {kind}"))),
                };
            }
        }
        // What the parser says of bad JSON may quote it.
        let json: Value = serde_json::from_slice(&text).map_err(|_| wrong("the credentials file is not JSON"))?;
        let text = |field: &str| json.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(said) = text("type") else {
            return Err(wrong("the credentials file has no `type`"));
        };
        let Some((name, kind, fields)) = KINDS.iter().find(|(name, ..)| *name == said) else {
            return Err(wrong(&format!(
                "the credentials file is of a type that is not known here: `{}`",
                shown(said)
            )));
        };
        let there = |field: &str| text(field).is_some() || json.get(field).is_some_and(Value::is_object);
        if let Some(missing) = fields.iter().find(|field| !there(field)) {
            return Err(wrong(&format!("the credentials file (`{name}`) has no `{missing}`")));
        }
        if *kind == Kind::ServiceAccount && !text("token_uri").is_some_and(is_address) {
            return Err(wrong("the `token_uri` of the credentials file is no address"));
        }
        let quota_project = match text("quota_project_id").filter(|_| *kind != Kind::ServiceAccount) {
            None => None,
            Some(text) => {
                let project = text.parse();
                Some(project.map_err(|_| wrong("the `quota_project_id` of the credentials file is no project ID"))?)
            }
        };
        Ok(Some(File {
            kind: *kind,
            at: place(path, named_by),
            quota_project,
            json,
        }))
    }

    /// A text of the file.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.json.get(field).and_then(Value::as_str)
    }

    /// The project that the credentials are of. A person's are of none; the one that pays for their quota stands in.
    pub(super) fn project(&self) -> Option<String> {
        let own = self.text("project_id").map(str::to_owned);
        let payer = || self.quota_project.as_ref().map(ToString::to_string);
        own.or_else(|| payer().filter(|_| self.kind == Kind::AuthorizedUser))
    }

    /// The word of the file for its kind.
    pub(super) fn kind_name(&self) -> &'static str {
        KINDS.iter().find(|(_, kind, _)| *kind == self.kind).map_or("", |k| k.0)
    }

    /// What to do when it is refused.
    pub(super) fn hint(&self) -> &'static str {
        match self.kind {
            Kind::ServiceAccount => {
                "see that the key and its service account are not deleted or disabled, and that this machine's clock is right"
            }
            Kind::AuthorizedUser => "run `gcloud auth application-default login`, then the same command again",
            Kind::ExternalAccount => {
                "see that the provider of `audience` takes this identity's token, and that the service account lets it in (roles/iam.workloadIdentityUser)"
            }
            Kind::Impersonated => {
                "grant roles/iam.serviceAccountTokenCreator on the service account to the source credentials, or renew those"
            }
        }
    }
}

/// gcp_auth dies of a `token_uri` that is none.
fn is_address(text: &str) -> bool {
    let uri = text.parse::<http::Uri>();
    uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty()))
}

/// A type as far as it may be shown: a secret pasted into the wrong field is none.
fn shown(said: &str) -> String {
    let plain = said.len() <= 40 && said.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { said.to_owned() } else { "…".to_owned() }
}

fn place(path: &Path, named_by: &str) -> String {
    format!("{} ({named_by})", path.display())
}

fn wrong(what: &str, path: &Path, named_by: &str) -> NoToken {
    let hint = match named_by {
        NAMED_BY => {
            "let GOOGLE_APPLICATION_CREDENTIALS name a file of type service_account, authorized_user, external_account or impersonated_service_account, or unset it"
        }
        _ => "run `gcloud auth application-default login` to make it anew, or remove it",
    };
    NoToken::refused(what, place(path, named_by), hint)
}

/// Where gcloud keeps application default credentials, and what says so.
pub(super) fn well_known_place(config: Option<&str>, home: Option<PathBuf>) -> Option<(PathBuf, &'static str)> {
    const NAME: &str = "application_default_credentials.json";
    match config {
        Some(folder) => Some((Path::new(folder).join(NAME), "CLOUDSDK_CONFIG")),
        None => Some((home?.join(".config/gcloud").join(NAME), GCLOUDS_PLACE)),
    }
}

/// What names the file at its usual place: the only one that gcp_auth looks at.
pub(super) const GCLOUDS_PLACE: &str = "gcloud's place";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_named_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        for (content, what) in [
            ("", "is not JSON"),
            ("planted-secret", "is not JSON"),
            (r#"{"type": planted-secret}"#, "is not JSON"),
            (r#"["planted-secret"]"#, "has no `type`"),
            (r#"{"type": 1, "x": "planted-secret"}"#, "has no `type`"),
            (r#"{"type": "planted-secret"}"#, "not known here: `…`"),
            (
                r#"{"type": "gdch_service_account"}"#,
                "not known here: `gdch_service_account`",
            ),
            (
                r#"{"type": "authorized_user", "client_id": "i", "refresh_token": "planted-secret"}"#,
                "no `client_secret`",
            ),
            (
                r#"{"type": "authorized_user", "client_id": "planted-secret", "client_secret": 7}"#,
                "no `client_secret`",
            ),
            (
                r#"{"type": "service_account", "client_email": "e", "private_key": "planted-secret"}"#,
                "no `token_uri`",
            ),
            (
                r#"{"type": "service_account", "client_email": "e", "private_key": "planted-secret", "token_uri": "a b"}"#,
                "is no address",
            ),
            (
                r#"{"type": "external_account", "audience": "planted-secret"}"#,
                "no `subject_token_type`",
            ),
            (
                r#"{"type": "impersonated_service_account", "source_credentials": {}}"#,
                "no `service_account_imp",
            ),
            (
                r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r","quota_project_id":"a b"}"#,
                "no project ID",
            ),
        ] {
            std::fs::write(&path, content).unwrap();
            let said = File::named(&path).unwrap_err();
            let lines = format!("{said:?}");
            assert!(said.what.contains(what), "{content}: {lines}");
            assert!(!lines.contains("planted"), "{content}: {lines}");
            assert!(said.at.contains("key.json (GOOGLE_APPLICATION_CREDENTIALS)"), "{lines}");
            assert!(!said.transient);
        }
    }

    #[test]
    fn no_file_and_no_plain_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert!(File::named(&absent).unwrap_err().what.contains("does not exist"));
        assert!(File::well_known(&absent, GCLOUDS_PLACE).unwrap().is_none());
        assert!(File::named(folder.path()).unwrap_err().what.contains("is a directory"));
    }

    #[test]
    fn a_good_file_says_its_kind_and_projects_and_hides_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adc.json");
        let user = r#"{"type":"authorized_user","client_id":"i","client_secret":"planted","refresh_token":"planted",
                       "quota_project_id":"payer"}"#;
        std::fs::write(&path, user).unwrap();
        let file = File::named(&path).unwrap();
        assert_eq!(
            (file.kind, file.project().as_deref()),
            (Kind::AuthorizedUser, Some("payer"))
        );
        assert!(!format!("{file:?}").contains("planted"));
        let key = r#"{"type":"service_account","client_email":"e","private_key":"planted","project_id":"own",
                      "token_uri":"https://oauth2.googleapis.com/token","quota_project_id":"payer"}"#;
        std::fs::write(&path, key).unwrap();
        let file = File::named(&path).unwrap();
        assert_eq!((file.project().as_deref(), file.quota_project), (Some("own"), None));
    }

    #[test]
    fn gclouds_place_is_where_it_says() {
        let home = || Some(PathBuf::from("/home/p"));
        let (path, by) = well_known_place(None, home()).unwrap();
        assert_eq!(
            path,
            Path::new("/home/p/.config/gcloud/application_default_credentials.json")
        );
        assert_eq!(by, GCLOUDS_PLACE);
        let (path, by) = well_known_place(Some("/c"), home()).unwrap();
        assert_eq!(
            (path.to_str(), by),
            (Some("/c/application_default_credentials.json"), "CLOUDSDK_CONFIG")
        );
        assert!(well_known_place(None, None).is_none());
    }
}
