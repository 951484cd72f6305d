//! Private keys: made, read in every form that is in use, written as Istio writes them.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};
use const_oid::db::{rfc5912, rfc8410};
use der::asn1::{Any, Null, ObjectIdentifier};
use rustls::SignatureScheme as Scheme;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use spki::AlgorithmIdentifierOwned;

use crate::error::BadMaterial;
use crate::pem;

/// What kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// An elliptic curve, P-256.
    P256,
    /// An elliptic curve, P-384.
    P384,
    /// RSA, of 2048, 3072, 4096 or 8192 bits.
    Rsa(u32),
}

/// A private key, ready to sign. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key {
    signing: Arc<dyn SigningKey>,
    scheme: Scheme,
    algorithm: AlgorithmIdentifierOwned,
    public: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// What certificates are signed with, by preference for each kind of key. Go chooses the same.
const SCHEMES: [Scheme; 5] = [
    Scheme::RSA_PKCS1_SHA256,
    Scheme::ECDSA_NISTP256_SHA256,
    Scheme::ECDSA_NISTP384_SHA384,
    Scheme::ECDSA_NISTP521_SHA512,
    Scheme::ED25519,
];

impl Key {
    /// Makes a key; also gives it in PEM: RSA in PKCS#1 as Istio writes it, others in PKCS#8.
    ///
    /// # Errors
    /// If there is no such kind, or no randomness.
    pub fn generate(kind: KeyKind) -> Result<(Self, String), BadMaterial> {
        let text = match kind {
            KeyKind::P256 => elliptic(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyKind::P384 => elliptic(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyKind::Rsa(bits) => rsa(bits),
        }
        .map_err(BadMaterial::NoKey)?;
        let key = Self::from_pem(text.as_bytes()).map_err(BadMaterial::NoKey)?;
        Ok((key, text))
    }

    /// Reads a key from PKCS#1, SEC1 or PKCS#8.
    ///
    /// # Errors
    /// A sentence that says what is wrong. It holds nothing of the key.
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|e| format!("no private key in PEM: {e}"))?;
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)
            .map_err(|_| "a private key of a kind that cannot be used: RSA and ECDSA can".to_owned())?;
        let scheme = signing.choose_scheme(&SCHEMES).map(|s| s.scheme());
        let scheme = scheme.ok_or("a private key of a kind that signs no certificates")?;
        let public = signing.public_key().ok_or("a private key without its public key")?.to_vec();
        Ok(Self { signing, scheme, algorithm: algorithm(scheme)?, public })
    }

    /// Its public key, as a SubjectPublicKeyInfo in DER.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// What kind it is; keys that go with it are made of the same. Ed25519 has none of its own here.
    pub fn kind(&self) -> KeyKind {
        match self.scheme {
            Scheme::ECDSA_NISTP256_SHA256 | Scheme::ED25519 => KeyKind::P256,
            Scheme::ECDSA_NISTP384_SHA384 | Scheme::ECDSA_NISTP521_SHA512 => KeyKind::P384,
            _ => KeyKind::Rsa(2048),
        }
    }

    pub(crate) fn algorithm(&self) -> &AlgorithmIdentifierOwned {
        &self.algorithm
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let signer = self.signing.choose_scheme(&[self.scheme]).ok_or("the key does not sign")?;
        signer.sign(message).map_err(|e| e.to_string())
    }
}

fn algorithm(scheme: Scheme) -> Result<AlgorithmIdentifierOwned, String> {
    let plain = |oid: ObjectIdentifier| AlgorithmIdentifierOwned { oid, parameters: None };
    Ok(match scheme {
        Scheme::RSA_PKCS1_SHA256 => AlgorithmIdentifierOwned {
            oid: rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
            parameters: Some(Any::from(Null)),
        },
        Scheme::ECDSA_NISTP256_SHA256 => plain(rfc5912::ECDSA_WITH_SHA_256),
        Scheme::ECDSA_NISTP384_SHA384 => plain(rfc5912::ECDSA_WITH_SHA_384),
        Scheme::ECDSA_NISTP521_SHA512 => plain(rfc5912::ECDSA_WITH_SHA_512),
        Scheme::ED25519 => plain(rfc8410::ID_ED_25519),
        other => return Err(format!("no certificates are signed with {other:?}")),
    })
}

fn elliptic(algorithm: &'static EcdsaSigningAlgorithm) -> Result<String, String> {
    let pair = EcdsaKeyPair::generate(algorithm).map_err(|e| e.to_string())?;
    let der = pair.to_pkcs8v1().map_err(|e| e.to_string())?;
    pem::encode("PRIVATE KEY", der.as_ref())
}

fn rsa(bits: u32) -> Result<String, String> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        8192 => KeySize::Rsa8192,
        other => return Err(format!("RSA keys have 2048, 3072, 4096 or 8192 bits, not {other}")),
    };
    let pair = aws_lc_rs::rsa::KeyPair::generate(size).map_err(|e| e.to_string())?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|e| e.to_string())?;
    let inner = pkcs1(der.as_ref()).map_err(|e| e.to_string())?;
    pem::encode("RSA PRIVATE KEY", &inner)
}

/// PKCS#8 is PKCS#1 in a wrap (RFC 5208 §5): version, algorithm, and the key as an octet string.
fn pkcs1(pkcs8: &[u8]) -> der::Result<Vec<u8>> {
    use der::asn1::OctetString;
    use der::{Decode, Reader, SliceReader};
    SliceReader::new(pkcs8)?.sequence(|wrap| {
        u8::decode(wrap)?;
        AlgorithmIdentifierOwned::decode(wrap)?;
        let key = OctetString::decode(wrap)?;
        // What may follow are attributes, which say nothing of the key.
        while !wrap.is_finished() {
            Any::decode(wrap)?;
        }
        Ok(key.into_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_istio_reads_them() {
        for (kind, label) in [
            (KeyKind::P256, "-----BEGIN PRIVATE KEY"),
            (KeyKind::P384, "-----BEGIN PRIVATE KEY"),
            (KeyKind::Rsa(2048), "-----BEGIN RSA PRIVATE KEY"),
        ] {
            let (key, text) = Key::generate(kind).unwrap();
            assert!(text.starts_with(label), "{kind:?}");
            assert_eq!(Key::from_pem(text.as_bytes()).unwrap().public(), key.public());
            assert_eq!(key.kind(), kind);
        }
        assert!(Key::generate(KeyKind::Rsa(512)).is_err());
    }
}
