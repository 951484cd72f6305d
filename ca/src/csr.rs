//! Certificate requests: bounded, proved, and reduced to their public key.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::error::Refusal;

/// How large a request may be, in bytes. One with an RSA key of 8192 bits has 3,000.
pub const MAX_CSR: usize = 64 * 1024;

/// What is taken of a request.
pub struct Wanted {
    /// The public key, as SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// Whether the subject has a common name: its owner then wants one in the certificate (Istio's dual use).
    pub common_name: bool,
}

/// Reads a request in PEM. Its names are passed over: they are what the caller wishes, not who it is.
pub fn read(text: &str) -> Result<Wanted, Refusal> {
    if text.len() > MAX_CSR {
        return Err(Refusal::Csr(format!(
            "the certificate request has {} bytes, and {MAX_CSR} are the most",
            text.len()
        )));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
        .map_err(|_| Refusal::Csr("certificate signing request is not properly encoded".to_owned()))?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|e| Refusal::Csr(format!("failed to parse X.509 certificate signing request: {e}")))?;
    if !rest.is_empty() {
        return Err(Refusal::Csr("the certificate signing request is followed by other data".to_owned()));
    }
    request.verify_signature().map_err(|_| {
        Refusal::Csr("the certificate signing request is not signed by its own key".to_owned())
    })?;
    let info = &request.certification_request_info;
    Ok(Wanted {
        public_key: info.subject_pki.raw.to_vec(),
        common_name: info.subject.iter_common_name().any(|n| n.as_str().is_ok_and(|n| !n.is_empty())),
    })
}
