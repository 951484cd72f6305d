//! What the authority signs, and what it refuses.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meltemi_ca::{Authority, Files, KeyKind, Lifetimes, Material, Refusal, self_signed, uris};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: Duration = Duration::from_secs(24 * 3600);
const ID: &str = "spiffe://cluster.local/ns/a/sa/b";

fn root(kind: KeyKind) -> Files {
    self_signed::create(kind, "cluster.local", 3650 * DAY, SystemTime::now()).unwrap()
}

fn authority(root: &Files) -> Authority {
    let authority = Authority::new(Lifetimes::default());
    authority.replace(Arc::new(Material::self_signed(root, b"", SystemTime::now()).unwrap()));
    authority
}

fn csr(change: impl FnOnce(&mut CertificateParams)) -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    let text = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, text)
}

fn der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
}

fn names() -> Vec<String> {
    vec![ID.to_owned()]
}

#[test]
fn a_certificate_names_the_caller_and_nothing_that_the_request_asks_for() {
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa(2048)] {
        let root = root(kind);
        let (key, request) = csr(|params| {
            let forged = "spiffe://cluster.local/ns/kube-system/sa/admin".try_into().unwrap();
            params.subject_alt_names = vec![SanType::URI(forged)];
            params.distinguished_name.push(DnType::OrganizationName, "someone else");
        });
        let answer = authority(&root).answer(&request, &names(), 3600).unwrap();
        assert_eq!(answer.len(), 2, "leaf, roots");
        let (leaf, root) = (der(&answer[0]), der(&answer[1]));
        assert_eq!(uris(&leaf).unwrap(), [ID]);
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        let (_, root) = X509Certificate::from_der(&root).unwrap();
        leaf.verify_signature(Some(root.public_key())).unwrap();
        assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
        assert_eq!(leaf.public_key().subject_public_key.as_ref(), key.public_key_raw_of());
        assert_eq!(leaf.subject().iter().count(), 0);
        assert!(leaf.subject_alternative_name().unwrap().unwrap().critical);
        assert!(!leaf.is_ca());
        let usage = leaf.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.server_auth && purposes.client_auth);
        let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        assert_eq!(life, 3600 + 120);
        assert!(leaf.raw_serial().len() >= 16);
    }
}

trait Raw {
    fn public_key_raw_of(&self) -> &[u8];
}

impl Raw for KeyPair {
    fn public_key_raw_of(&self) -> &[u8] {
        rcgen::PublicKeyData::der_bytes(self)
    }
}

#[test]
fn lifetimes_are_bounded_by_the_mesh_and_by_the_signer() {
    let life = |root: &Files, ttl| -> Result<i64, Refusal> {
        let answer = authority(root).answer(&csr(|_| {}).1, &names(), ttl)?;
        let leaf = der(&answer[0]);
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        Ok(leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp() - 120)
    };
    let long = root(KeyKind::P256);
    assert_eq!(life(&long, 0), Ok(24 * 3600));
    assert_eq!(life(&long, -5), Ok(24 * 3600));
    let most = 90 * 24 * 3600;
    assert_eq!(life(&long, most), Ok(most));
    let refused = life(&long, most + 1).unwrap_err();
    assert_eq!((refused.class(), refused.is_callers_fault()), ("TTL_ERROR", true));
    let short =
        self_signed::create(KeyKind::P256, "td", Duration::from_secs(600), SystemTime::now()).unwrap();
    let left = life(&short, 0).unwrap();
    assert!((590..=600).contains(&left), "{left}");
}

#[test]
fn a_request_for_a_common_name_gets_the_callers() {
    let (_, request) = csr(|p| p.distinguished_name.push(DnType::CommonName, "admin"));
    let answer = authority(&root(KeyKind::P256)).answer(&request, &names(), 0).unwrap();
    let leaf = der(&answer[0]);
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let common: Vec<_> = leaf.subject().iter_common_name().map(|n| n.as_str().unwrap()).collect();
    assert_eq!(common, [ID]);
}

#[test]
fn bad_requests_are_refused() {
    let authority = authority(&root(KeyKind::P256));
    let (_, good) = csr(|_| {});
    let mut bytes = der_of_csr(&good);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let forged = pem_of_csr(&bytes);
    let huge = format!("{good}{}", "x".repeat(1 << 20));
    for (what, request) in [("forged", forged.as_str()), ("huge", &huge), ("empty", ""), ("text", "hello")] {
        let refusal = authority.answer(request, &names(), 0).unwrap_err();
        assert_eq!(refusal.class(), "CSR_ERROR", "{what}: {refusal}");
    }
    let none = Authority::new(Lifetimes::default());
    assert_eq!(none.answer(&good, &names(), 0), Err(Refusal::NotReady));
}

fn der_of_csr(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
}

fn pem_of_csr(bytes: &[u8]) -> String {
    let encoded = der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, bytes);
    encoded.unwrap()
}

#[test]
fn a_renewed_root_and_the_one_before_vouch_for_each_others_certificates() {
    for kind in [KeyKind::P256, KeyKind::Rsa(2048)] {
        let now = SystemTime::now();
        let old = self_signed::create(kind, "td", 100 * DAY, now - 81 * DAY).unwrap();
        let before = Material::self_signed(&old, b"", now).unwrap();
        assert!(self_signed::due(&before, 20, now) && !self_signed::due(&before, 10, now));
        let new = self_signed::renew(&old, 100 * DAY, now).unwrap();
        assert_eq!(new["ca-key.pem"], old["ca-key.pem"]);
        assert_ne!(new["ca-cert.pem"], old["ca-cert.pem"]);
        let old_root = der(std::str::from_utf8(&old["ca-cert.pem"]).unwrap());
        let answer = authority(&new).answer(&csr(|_| {}).1, &names(), 0).unwrap();
        let leaf = der(&answer[0]);
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        let (_, old_root) = X509Certificate::from_der(&old_root).unwrap();
        leaf.verify_signature(Some(old_root.public_key())).unwrap();
        assert_eq!(leaf.issuer().as_raw(), old_root.subject().as_raw());
    }
}
