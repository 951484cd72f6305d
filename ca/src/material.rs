//! What a certificate authority consists of: a signing certificate with its key, what links it to the roots, the roots.
//!
//! A [`Material`] is verified when it is made: its key belongs to its certificate, which may sign others, is valid now,
//! and is vouched for by one of the roots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use der::Decode;
use rustls_pki_types::CertificateDer;
use x509_cert::name::Name;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{BadMaterial, seconds};
use crate::key::Key;
use crate::pem;

/// Files of a folder, or data of a Secret, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// How many certificates may stand between a signing certificate and its root.
const MAX_CHAIN: usize = 10;

/// Where a CA's key and certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A root that the control plane made.
    SelfSigned,
    /// What the operator provides in Istio's form: `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem`, `root-cert.pem`.
    PluggedIn,
    /// What the operator provides as a Secret of type kubernetes.io/tls, as cert-manager writes it.
    Tls,
}

/// A certificate, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// SHA-256 over its DER, in hexadecimal digits.
    pub fingerprint: String,
    /// From when it is valid, in seconds since 1970.
    pub from: i64,
    /// Until when it is valid, in seconds since 1970.
    pub until: i64,
    /// Itself, in PEM.
    pub pem: String,
}

/// A verified CA.
#[derive(Clone, Debug)]
pub struct Material {
    /// Where it comes from.
    pub source: Source,
    /// What signs.
    pub signer: Certificate,
    /// What leads from the signing certificate to a root, as it is sent to clients after their own certificate.
    pub chain: Vec<Certificate>,
    /// Whom the mesh trusts; the first one's expiry is reported.
    pub roots: Vec<Certificate>,
    /// Certificates that are no longer good, in PEM.
    pub crl: Option<String>,
    pub(crate) key: Key,
    pub(crate) name: Name,
    pub(crate) key_id: Option<Vec<u8>>,
}

impl Material {
    /// Reads what an operator plugged in: a folder's files, or a Secret's data; `None` if there is nothing of the kind.
    ///
    /// # Errors
    /// If something is missing, cannot be read or does not go together.
    pub fn plugged_in(files: &Files, now: SystemTime) -> Result<Option<Self>, BadMaterial> {
        let get =
            |name: &'static str| files.get(name).filter(|f| !f.is_empty()).ok_or(BadMaterial::Missing(name));
        if files.contains_key("tls.crt") {
            let (cert, root) = (get("tls.crt")?, get("ca.crt")?);
            let chain = [&cert[..], b"\n", &root[..]].concat();
            let parts = Parts { cert, key: get("tls.key")?, chain: Some(&chain), roots: root, crl: None };
            return parts.verified(Source::Tls, now).map(Some);
        }
        let parts = ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"];
        if !parts.iter().any(|p| files.contains_key(*p)) {
            return Ok(None);
        }
        let parts = Parts {
            cert: get("ca-cert.pem")?,
            key: get("ca-key.pem")?,
            chain: Some(get("cert-chain.pem")?),
            roots: get("root-cert.pem")?,
            crl: files.get("ca-crl.pem").filter(|f| !f.is_empty()).map(Vec::as_slice),
        };
        parts.verified(Source::PluggedIn, now).map(Some)
    }

    /// Reads a self-signed root from the data of the Secret `istio-ca-secret`. `more_roots` are trusted beside it.
    ///
    /// # Errors
    /// If something is missing, cannot be read or does not go together.
    pub fn self_signed(secret: &Files, more_roots: &[u8], now: SystemTime) -> Result<Self, BadMaterial> {
        let get =
            |name: &'static str| secret.get(name).filter(|f| !f.is_empty()).ok_or(BadMaterial::Missing(name));
        let cert = get("ca-cert.pem")?;
        let roots = [&cert[..], b"\n", more_roots].concat();
        let parts = Parts { cert, key: get("ca-key.pem")?, chain: None, roots: &roots, crl: None };
        parts.verified(Source::SelfSigned, now)
    }

    /// Whether clients that trust what this one trusts can follow to `next` while the mesh runs: one bundle of roots
    /// holds the other. From root A to root B leads a bundle of both.
    pub fn leads_to(&self, next: &Self) -> bool {
        let prints = |m: &Self| m.roots.iter().map(|r| r.fingerprint.clone()).collect::<BTreeSet<_>>();
        let (old, new) = (prints(self), prints(next));
        old.is_subset(&new) || new.is_subset(&old)
    }

    /// The roots, in PEM, as they are spread.
    pub fn roots_pem(&self) -> String {
        self.roots.iter().map(|r| r.pem.as_str()).collect()
    }

    /// The roots, in DER.
    ///
    /// # Errors
    /// Never, since they were read from PEM once.
    pub fn roots_der(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        pem::certificates(self.roots_pem().as_bytes())
    }
}

/// The parts of a CA, in PEM.
struct Parts<'a> {
    cert: &'a [u8],
    key: &'a [u8],
    chain: Option<&'a [u8]>,
    roots: &'a [u8],
    crl: Option<&'a [u8]>,
}

impl Parts<'_> {
    fn verified(&self, source: Source, now: SystemTime) -> Result<Material, BadMaterial> {
        let unreadable = |part| move |problem| BadMaterial::Unreadable { part, problem };
        let certs = list("the signing certificate", self.cert)?;
        let signer_der = certs.first().ok_or(BadMaterial::Missing("the signing certificate"))?;
        let chain_der = list("the certificate chain", self.chain.unwrap_or_default())?;
        let mut roots_der = list("the root certificates", self.roots)?;
        dedup(&mut roots_der);
        let key = Key::from_pem(self.key).map_err(unreadable("the private key"))?;
        let signer = parse("the signing certificate", signer_der)?;
        if signer.public_key().raw != key.public() {
            return Err(BadMaterial::WrongKey);
        }
        may_sign(&signer)?;
        valid_now(&signer, seconds(now))?;
        rooted(&signer, &parse_all(&chain_der)?, &parse_all(&roots_der)?, seconds(now))?;
        let own = x509_cert::Certificate::from_der(signer_der)
            .map_err(|e| unreadable("the signing certificate")(e.to_string()))?;
        let key_id = signer.iter_extensions().find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Material {
            source,
            signer: describe(signer_der)?,
            chain: chain_der.iter().map(describe).collect::<Result<_, _>>()?,
            roots: roots_der.iter().map(describe).collect::<Result<_, _>>()?,
            crl: self.crl.map(revocations).transpose()?,
            key,
            name: own.tbs_certificate.subject,
            key_id,
        })
    }
}

fn list(part: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadMaterial> {
    pem::certificates(text).map_err(|problem| BadMaterial::Unreadable { part, problem })
}

fn dedup(certificates: &mut Vec<CertificateDer<'static>>) {
    let mut seen = BTreeSet::new();
    certificates.retain(|c| seen.insert(c.to_vec()));
}

fn parse<'a>(part: &'static str, der: &'a [u8]) -> Result<X509Certificate<'a>, BadMaterial> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(e) => Err(BadMaterial::Unreadable { part, problem: e.to_string() }),
    }
}

fn parse_all<'a>(ders: &'a [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'a>>, BadMaterial> {
    ders.iter().map(|der| parse("a certificate", der)).collect()
}

fn may_sign(certificate: &X509Certificate<'_>) -> Result<(), BadMaterial> {
    let signs = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    if certificate.is_ca() && signs { Ok(()) } else { Err(BadMaterial::NoAuthority) }
}

fn valid_now(certificate: &X509Certificate<'_>, now: i64) -> Result<(), BadMaterial> {
    let (from, until) =
        (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    // Another replica's clock may be ahead of this one's.
    if (from - 300..=until).contains(&now) {
        return Ok(());
    }
    Err(BadMaterial::Expired { subject: certificate.subject().to_string(), until })
}

/// Follows issuers from the signing certificate to a root.
fn rooted(
    signer: &X509Certificate<'_>,
    chain: &[X509Certificate<'_>],
    roots: &[X509Certificate<'_>],
    now: i64,
) -> Result<(), BadMaterial> {
    let unrooted = || BadMaterial::Unrooted(signer.subject().to_string());
    let by = |child: &X509Certificate<'_>, parent: &X509Certificate<'_>| {
        child.issuer().as_raw() == parent.subject().as_raw()
            && child.verify_signature(Some(parent.public_key())).is_ok()
    };
    let mut current = signer;
    for _ in 0..MAX_CHAIN {
        if roots.iter().any(|r| r == current || (valid_now(r, now).is_ok() && by(current, r))) {
            return Ok(());
        }
        let next = chain.iter().find(|c| *c != current && may_sign(c).is_ok() && by(current, c));
        current = next.ok_or_else(unrooted)?;
        valid_now(current, now)?;
    }
    Err(unrooted())
}

fn describe(der: &CertificateDer<'_>) -> Result<Certificate, BadMaterial> {
    let certificate = parse("a certificate", der)?;
    Ok(Certificate {
        subject: certificate.subject().to_string(),
        serial: hex(certificate.raw_serial()),
        fingerprint: hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref()),
        from: certificate.validity().not_before.timestamp(),
        until: certificate.validity().not_after.timestamp(),
        pem: pem::encode("CERTIFICATE", der)
            .map_err(|problem| BadMaterial::Unreadable { part: "a certificate", problem })?,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn revocations(text: &[u8]) -> Result<String, BadMaterial> {
    use rustls_pki_types::CertificateRevocationListDer;
    use rustls_pki_types::pem::PemObject;
    let mut lists = 0;
    for list in CertificateRevocationListDer::pem_slice_iter(text) {
        let list = list.map_err(|e| BadMaterial::Crl(e.to_string()))?;
        x509_parser::revocation_list::CertificateRevocationList::from_der(&list)
            .map_err(|e| BadMaterial::Crl(e.to_string()))?;
        lists += 1;
    }
    match (lists, std::str::from_utf8(text)) {
        (0, _) => Err(BadMaterial::Crl("holds no revocation list".to_owned())),
        (_, Ok(text)) => Ok(text.to_owned()),
        (_, Err(e)) => Err(BadMaterial::Crl(e.to_string())),
    }
}
