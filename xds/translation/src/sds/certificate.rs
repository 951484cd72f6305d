//! What Envoy would reject: certificates, keys and revocation lists that cannot be read, and keys of other certificates.
//!
//! Nothing here says whether a certificate is valid now: that takes a clock.

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// From when until when all certificates of a secret are valid, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub until: i64,
}

/// Reads certificates in PEM; other blocks are passed over.
pub(super) fn certificates(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Validity), &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|_| "it is no PEM")?;
    if all.is_empty() {
        return Err("it holds no certificate");
    }
    let mut validity = Validity { from: i64::MIN, until: i64::MAX };
    for der in &all {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "it holds a certificate that cannot be read")?;
        let own = certificate.validity();
        validity.from = validity.from.max(own.not_before.timestamp());
        validity.until = validity.until.min(own.not_after.timestamp());
    }
    Ok((all, validity))
}

/// Reads a private key in PEM, and checks that it is that of the first certificate.
pub(super) fn key(pem: &[u8], chain: Vec<CertificateDer<'static>>) -> Result<(), &'static str> {
    let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "it holds no private key in PEM")?;
    let key = default_provider()
        .key_provider
        .load_private_key(der)
        .map_err(|_| "it holds a private key that cannot be read, or of a kind that TLS does not use")?;
    match CertifiedKey::new(chain, key).keys_match() {
        // A certificate that this cannot tell of may be one that Envoy takes.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err("it is not the key of the certificate"),
        Err(_) => Ok(()),
    }
}

/// Reads revocation lists in PEM.
pub(super) fn revocation_lists(pem: &[u8]) -> Result<(), &'static str> {
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|_| "it is no PEM")?;
    if all.is_empty() {
        return Err("it holds no revocation list");
    }
    let unreadable = all.iter().any(|der| CertificateRevocationList::from_der(der).is_err());
    if unreadable { Err("it holds a revocation list that cannot be read") } else { Ok(()) }
}

/// Checks that an OCSP response is one DER sequence (RFC 6960, section 4.2.1), whatever it says.
pub(super) fn ocsp_response(der: &[u8]) -> Result<(), &'static str> {
    use x509_parser::der_parser::ber::BerObjectContent;
    match x509_parser::der_parser::parse_der(der) {
        Ok(([], object)) if matches!(object.content, BerObjectContent::Sequence(_)) => Ok(()),
        _ => Err("it is no OCSP response in DER"),
    }
}
