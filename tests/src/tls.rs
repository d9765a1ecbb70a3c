//! A certificate for `localhost` that lives as long as a test, and the authority to trust for it.
//!
//! Knows nothing of HTTP: the gateway serves with it, and whoever calls names the authority in `SSL_CERT_FILE`.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A certificate with its key, and the authority that signed it.
#[derive(Clone, Debug)]
pub struct Certificate {
    authority: String,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Makes both, with new keys.
    ///
    /// # Errors
    /// When a key cannot be made; the text says why.
    pub fn of_localhost() -> Result<Certificate, String> {
        Certificate::made().map_err(|e| format!("cannot make a certificate: {e}"))
    }

    fn made() -> Result<Certificate, Box<dyn std::error::Error>> {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.distinguished_name.push(DnType::CommonName, "tests");
        let root_key = KeyPair::generate()?;
        let authority = root.self_signed(&root_key)?.pem();
        let key = KeyPair::generate()?;
        let own = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let own = own.signed_by(&key, &Issuer::new(root, root_key))?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)?;
        Ok(Certificate {
            authority,
            config: Arc::new(config),
        })
    }

    /// The authority, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}
