//! Whom keys are accepted from: servers that the operating system's roots vouch for, and those of a bundle beside them.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// More roots, as istiod's chart mounts them (ConfigMap `pilot-jwks-extra-cacerts`).
const EXTRA: &str = "/cacerts/extra.pem";

/// How servers are authenticated; not at all if `insecure` (`JWKS_RESOLVER_INSECURE_SKIP_VERIFY`).
///
/// # Errors
/// If TLS cannot be had.
pub(super) fn client(insecure: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(default_provider());
    let roots = Arc::new(roots(Path::new(EXTRA)));
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    if insecure {
        tracing::warn!("JWKS_RESOLVER_INSECURE_SKIP_VERIFY: whoever answers for an issuer decides its keys");
        let verifier = Arc::new(Anybody(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    match WebPkiServerVerifier::builder_with_provider(roots, provider).build() {
        Ok(verifier) => Ok(builder.with_webpki_verifier(verifier).with_no_client_auth()),
        Err(error) => {
            tracing::warn!(%error, "there are no roots to trust, so keys are fetched over plain HTTP only");
            Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        }
    }
}

fn roots(extra: &Path) -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "a root of the operating system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !extra.exists() {
        return roots;
    }
    match CertificateDer::pem_file_iter(extra).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(certificates) => drop(roots.add_parsable_certificates(certificates)),
        Err(error) => tracing::warn!(file = %extra.display(), ?error, "roots cannot be read"),
    }
    roots
}

/// Takes everybody for who they say.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
