//! The root that a mesh has where the operator provides none.

use std::time::{Duration, SystemTime};

use crate::certificate::{self, organization};
use crate::error::{BadMaterial, seconds};
use crate::key::{Key, KeyKind};
use crate::material::{Files, Material};
use crate::pem;

/// The data of Istio's Secret `istio-ca-secret`: these hold the root, the others are empty.
const CERT: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const EMPTY: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];

/// Makes a root and gives it as the data of the Secret `istio-ca-secret`.
///
/// # Errors
/// If the key cannot be made.
pub fn create(
    kind: KeyKind,
    trust_domain: &str,
    lifetime: Duration,
    now: SystemTime,
) -> Result<Files, BadMaterial> {
    let (key, text) = Key::generate(kind)?;
    let subject = organization(trust_domain).map_err(BadMaterial::NoKey)?;
    let cert = certificate::root(&key, subject, now, now + lifetime).map_err(BadMaterial::NoKey)?;
    data(&cert, text.into_bytes())
}

/// Makes a new root certificate for the key of one that will expire: what was signed before stays good, and clients
/// with the old root accept what is signed from now on.
///
/// # Errors
/// If the Secret's data cannot be used.
pub fn renew(secret: &Files, lifetime: Duration, now: SystemTime) -> Result<Files, BadMaterial> {
    let text = secret.get(KEY).ok_or(BadMaterial::Missing(KEY))?;
    // The old certificate may have expired by now, so only its name is read.
    let old = secret.get(CERT).ok_or(BadMaterial::Missing(CERT))?;
    let unreadable = |problem| BadMaterial::Unreadable { part: CERT, problem };
    let old = pem::certificates(old).map_err(unreadable)?;
    let old = old.first().ok_or(BadMaterial::Missing(CERT))?;
    let old =
        <x509_cert::Certificate as der::Decode>::from_der(old).map_err(|e| unreadable(e.to_string()))?;
    let key = Key::from_pem(text).map_err(|problem| BadMaterial::Unreadable { part: KEY, problem })?;
    let subject = old.tbs_certificate.subject;
    let cert = certificate::root(&key, subject, now, now + lifetime).map_err(BadMaterial::NoKey)?;
    data(&cert, text.clone())
}

/// Whether a root is in the last part of its life, `grace` percent of it.
pub fn due(material: &Material, grace: u32, now: SystemTime) -> bool {
    let (from, until) = (material.signer.from, material.signer.until);
    let last = (until - from) / 100 * i64::from(grace.min(100));
    seconds(now) >= until - last
}

fn data(cert: &[u8], key: Vec<u8>) -> Result<Files, BadMaterial> {
    let cert = pem::encode("CERTIFICATE", cert).map_err(BadMaterial::NoKey)?;
    let filled = [(CERT, cert.into_bytes()), (KEY, key)];
    let empty = EMPTY.map(|name| (name, Vec::new()));
    Ok(filled.into_iter().chain(empty).map(|(name, value)| (name.to_owned(), value)).collect())
}
