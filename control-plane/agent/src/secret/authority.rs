//! Asks the certificate authority for a certificate (`istio.v1.auth.IstioCertificateService`), and checks its answer.

use std::time::{Duration, SystemTime};

use meltemi_api::istio::v1::auth::{
    IstioCertificateRequest, IstioCertificateResponse,
    istio_certificate_service_client::IstioCertificateServiceClient,
};
use pbjson_types::Struct;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, SanType};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tonic::metadata::MetadataMap;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{Identity, Roots};
use crate::{Error, settings::Settings, upstream::Upstream};

/// How long one request may take, connecting included.
const LIMIT: Duration = Duration::from_secs(10);

/// The certificate authority of one workload.
#[derive(Clone, Debug)]
pub struct Authority {
    upstream: Upstream,
    identity: String,
    ttl: Duration,
    signer: Option<String>,
}

/// What came of a request.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub identity: Identity,
    /// The roots that the CA says are trusted now.
    pub roots: Roots,
}

impl Authority {
    /// The authority that the settings name.
    pub fn new(settings: &Settings) -> Self {
        Self {
            upstream: Upstream::ca(&settings.control),
            identity: settings.identity(),
            ttl: settings.certificates.ttl,
            signer: settings.certificates.signer.clone(),
        }
    }

    /// Makes a key and has a certificate signed for it.
    pub async fn issue(&self) -> Result<Issued, Error> {
        let limit = tokio::time::timeout(LIMIT, self.ask());
        limit.await.unwrap_or_else(|_| Err(Error::server(self.upstream.address(), "no answer within 10 s")))
    }

    async fn ask(&self) -> Result<Issued, Error> {
        // P-256, as all keys of a mesh should be: a handshake costs a fraction of RSA's.
        let key = KeyPair::generate().map_err(|e| Error::Certificate(format!("needs a key: {e}")))?;
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: csr(&key, &self.identity)?,
            validity_duration: self.ttl.as_secs().try_into().unwrap_or(i64::MAX),
            metadata: self
                .signer
                .clone()
                .map(|s| Struct { fields: [("CertSigner".to_owned(), s.into())].into() }),
        });
        let mut headers = request.metadata().clone().into_headers();
        self.upstream.authorize(&mut headers)?;
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let mut client = IstioCertificateServiceClient::new(self.upstream.connect().await?);
        let refused = |s: tonic::Status| {
            Error::server(self.upstream.address(), format!("{:?}: {}", s.code(), s.message()))
        };
        let answer = client.create_certificate(request).await.map_err(refused)?.into_inner();
        check(&answer, key, &self.identity).map_err(Error::Certificate)
    }
}

/// A request for a certificate with the identity as its only name. PEM.
fn csr(key: &KeyPair, identity: &str) -> Result<String, Error> {
    let bad = |e: rcgen::Error| Error::setting("the workload's identity", format!("{identity:?}: {e}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.try_into().map_err(bad)?)];
    params.serialize_request(key).and_then(|csr| csr.pem()).map_err(bad)
}

/// Takes an answer apart: the leaf, intermediates, and last the roots.
fn check(answer: &IstioCertificateResponse, key: KeyPair, identity: &str) -> Result<Issued, String> {
    let [chain @ .., roots] = answer.cert_chain.as_slice() else { return Err("is empty".into()) };
    let leaf = chain.first().ok_or("holds a single certificate; it must have a leaf and a root")?;
    let der = CertificateDer::from_pem_slice(leaf.as_bytes()).map_err(|e| format!("has a bad leaf: {e}"))?;
    let (_, leaf) = x509_parser::parse_x509_certificate(&der)
        .map_err(|e| format!("has a leaf that is no certificate: {e}"))?;
    if leaf.public_key().raw != key.subject_public_key_info() {
        return Err("is for another key".into());
    }
    if !names(&leaf).any(|uri| uri == identity) {
        return Err(format!("is for {:?} instead of {identity}", names(&leaf).collect::<Vec<_>>()));
    }
    let until = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
    let roots = Roots::parse(roots.as_bytes())?;
    if roots.is_empty() {
        return Err("has no root".into());
    }
    let line = |pem: &String| if pem.ends_with('\n') { pem.clone() } else { format!("{pem}\n") };
    let chain = chain.iter().map(line).collect();
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(until);
    Ok(Issued { identity: Identity { chain, key: key.serialize_pem(), not_after }, roots })
}

/// The URIs that a certificate names.
fn names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let san = certificate.subject_alternative_name().ok().flatten();
    san.into_iter().flat_map(|s| &s.value.general_names).filter_map(|n| match n {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "spiffe://cluster.local/ns/a/sa/b";

    fn signed(key: &KeyPair, name: &str) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.self_signed(key).unwrap().pem()
    }

    fn checked(leaf: String, rest: &[&str], key: KeyPair) -> Result<Issued, String> {
        let mut chain = vec![leaf];
        chain.extend(rest.iter().map(|s| (*s).to_owned()));
        check(&IstioCertificateResponse { cert_chain: chain }, key, ME)
    }

    #[test]
    fn an_answer_is_taken_only_if_it_is_ours() {
        let root = signed(&KeyPair::generate().unwrap(), "spiffe://root");
        let key = || KeyPair::generate().unwrap();
        let k = key();
        let leaf = signed(&k, ME);
        let issued = checked(leaf, &[&root, &root], k).unwrap();
        assert_eq!(issued.identity.chain.matches("BEGIN CERTIFICATE").count(), 2, "leaf and intermediate");
        assert_eq!(issued.roots.len(), 1);

        let problem = |result: Result<Issued, String>| result.unwrap_err();
        assert!(problem(checked(signed(&key(), ME), &[&root], key())).contains("another key"));
        let k = key();
        let other = signed(&k, "spiffe://cluster.local/ns/a/sa/c");
        assert!(problem(checked(other, &[&root], k)).contains("sa/c"));
        let k = key();
        let leaf = signed(&k, ME);
        assert!(problem(checked(leaf.clone(), &[], k)).contains("single"));
        let k = key();
        assert!(problem(checked(signed(&k, ME), &["junk"], k)).contains("no root"));
    }

    #[test]
    fn a_request_names_the_identity_and_nothing_else() {
        let key = KeyPair::generate().unwrap();
        let pem = csr(&key, ME).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, request) =
            <x509_parser::certification_request::X509CertificationRequest<'_> as x509_parser::prelude::FromDer<'_, _>>::from_der(&pem.contents)
                .unwrap();
        assert_eq!(request.certification_request_info.subject.iter().count(), 0);
    }
}
