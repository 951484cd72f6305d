//! PEM, in and out.

use der::pem::LineEnding;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// A block of PEM, with Go's line ends.
pub fn encode(label: &str, der: &[u8]) -> Result<String, String> {
    der::pem::encode_string(label, LineEnding::LF, der).map_err(|e| e.to_string())
}

/// All certificates of a text, in their order. Text between them is passed over.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|e| e.to_string())
}
