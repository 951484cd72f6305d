//! The trust bundle: every root from every place, each once, in an order that does not depend on where it came from.

use std::{collections::BTreeSet, fmt::Write};

use base64::Engine;
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// Root certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots(BTreeSet<Vec<u8>>);

impl Roots {
    /// Those of a PEM text.
    ///
    /// # Errors
    /// If a block of it is damaged or is no certificate.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let mut roots = BTreeSet::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let der = certificate.map_err(|e| format!("holds a damaged certificate: {e}"))?;
            x509_parser::parse_x509_certificate(&der)
                .map_err(|e| format!("holds something that is no certificate: {e}"))?;
            roots.insert(der.to_vec());
        }
        Ok(Self(roots))
    }

    /// With those of another bundle.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        let mut text = String::new();
        for der in &self.0 {
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            let encoded = base64::engine::general_purpose::STANDARD.encode(der);
            for line in encoded.as_bytes().chunks(64) {
                let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_bundle_is_the_same_whatever_its_order() {
        let (a, b) = (root(), root());
        let ab = Roots::parse(format!("{a}{b}").as_bytes()).unwrap();
        let ba = Roots::parse(b.as_bytes()).unwrap().and(&Roots::parse(a.as_bytes()).unwrap());
        assert_eq!(ab, ba);
        assert_eq!(ab.pem(), ba.pem());
        assert_eq!(ab.len(), 2);
        assert_eq!(Roots::parse(ab.pem().as_bytes()).unwrap(), ab);
        assert_eq!(ab.and(&ab), ab, "each once");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(Roots::parse(junk.as_bytes()).is_err());
        assert!(Roots::parse(b"").unwrap().is_empty());
    }
}
