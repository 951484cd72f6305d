//! Roots of trust, and the certificates that they sign.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// A certificate authority.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

impl Root {
    /// Makes a new one.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for a workload that runs under a service account.
    pub fn workload(&self, namespace: &str, account: &str) -> Result<Certificate> {
        let identity = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        self.sign(vec![SanType::URI(identity.try_into()?)])
    }

    /// Signs a certificate for a server of these hosts.
    pub fn hosts(&self, names: &[&str]) -> Result<Certificate> {
        let names = names.iter().map(|name| Ok(SanType::DnsName((*name).try_into()?)));
        self.sign(names.collect::<Result<_>>()?)
    }

    fn sign(&self, names: Vec<SanType>) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate { chain: certificate.pem(), key: key.serialize_pem() })
    }
}
