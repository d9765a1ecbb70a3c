//! Google's order: which source of tokens there is. Reads settings and at most one file; asks nobody.
//!
//! Source: <https://docs.cloud.google.com/docs/authentication/application-default-credentials>; `gcloud` itself, as the
//! last resort, is gcp_auth's.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::{self, File, GCLOUDS_PLACE, Kind, NAMED_BY};
use super::gcp::{Key, Person, Surroundings};
use super::google::Google;
use super::trouble::NoToken;
use super::{Asking, Issued, Source};
use crate::names::ProjectId;

/// The variable that holds a token itself.
const TOKEN: &str = "CLOUDSDK_AUTH_ACCESS_TOKEN";

/// What the environment says about credentials.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    token: Option<String>,
    named: Option<PathBuf>,
    well_known: Option<(PathBuf, &'static str)>,
    metadata_host: Option<String>,
    pub(super) quota_project: Option<ProjectId>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("named", &self.named)
            .field("well_known", &self.well_known)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Of the variables that are set and not empty. A path need not be UTF-8: `named` is as the system has it.
    pub(crate) fn new(
        env: &HashMap<String, String>,
        named: Option<std::ffi::OsString>,
        quota_project: Option<ProjectId>,
    ) -> Settings {
        let config = env.get("CLOUDSDK_CONFIG").map(String::as_str);
        Settings {
            token: env.get(TOKEN).cloned(),
            named: named.filter(|path| !path.is_empty()).map(PathBuf::from),
            well_known: file::well_known_place(config, std::env::home_dir()),
            metadata_host: env.get("GCE_METADATA_HOST").cloned(),
            quota_project,
        }
    }
}

/// The name of the variable that [`Settings::new`] wants as the system has it.
pub(crate) const FILE_VARIABLE: &str = NAMED_BY;

/// The first source that is there.
pub(super) fn source(settings: &Settings) -> Result<Arc<dyn Source>, NoToken> {
    if let Some(token) = &settings.token {
        return Ok(Arc::new(Given(Issued::new(token, None, TOKEN)?)));
    }
    if let Some(path) = &settings.named {
        return Ok(of_file(File::named(path)?, NAMED_BY));
    }
    if let Some((path, named_by)) = &settings.well_known
        && let Some(file) = File::well_known(path, named_by)?
    {
        return Ok(of_file(file, named_by));
    }
    Ok(match &settings.metadata_host {
        Some(host) => Arc::new(Google::metadata_server(host.clone())),
        None => Arc::new(Surroundings::default()),
    })
}

/// gcp_auth reads keys anywhere, and a person's file at gcloud's usual place only, always asking Google's own endpoint.
fn of_file(file: File, named_by: &str) -> Arc<dyn Source> {
    match file.kind {
        Kind::ServiceAccount => Arc::new(Key(file)),
        Kind::AuthorizedUser if named_by == GCLOUDS_PLACE && file.text("token_uri").is_none() => Arc::new(Person(file)),
        _ => Arc::new(Google::file(file)),
    }
}

/// A token from the environment; there is no other.
struct Given(Issued);

impl Source for Given {
    fn token(&self) -> Asking<'_, Issued> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn renewable(&self) -> bool {
        false
    }

    fn at(&self) -> String {
        TOKEN.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSON: &str = r#""type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r""#;

    #[test]
    fn the_order_is_googles() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let key = r#"{"type":"service_account","client_email":"e","private_key":"k","token_uri":"https://t/"}"#;
        let named = write("key.json", key);
        let well_known = write("adc.json", &format!("{{{PERSON}}}"));
        let mut settings = Settings {
            token: Some("t".into()),
            named: Some(named),
            well_known: Some((well_known, GCLOUDS_PLACE)),
            metadata_host: Some("m".into()),
            quota_project: None,
        };
        let at = |settings: &Settings| source(settings).map(|s| s.at()).unwrap();
        assert_eq!(at(&settings), TOKEN);
        settings.token = None;
        assert!(at(&settings).ends_with("key.json (GOOGLE_APPLICATION_CREDENTIALS)"));
        settings.named = None;
        assert!(at(&settings).ends_with("adc.json (gcloud's place)"));
        settings.well_known = Some((folder.path().join("absent"), GCLOUDS_PLACE));
        assert!(at(&settings).contains("m (GCE_METADATA_HOST)"));
        settings.metadata_host = None;
        assert!(at(&settings).contains("gcloud"));
        // A file that is named must be there: nothing further down may stand in for it.
        settings.named = Some(folder.path().join("absent"));
        assert!(source(&settings).is_err());
    }

    #[test]
    fn a_token_with_a_line_break_is_said_before_it_is_sent() {
        let settings = Settings {
            token: Some("planted\n".into()),
            ..Settings::default()
        };
        let said = source(&settings).map(|_| ()).unwrap_err();
        assert!(said.at == TOKEN && !format!("{said:?} {settings:?}").contains("planted"));
    }
}
