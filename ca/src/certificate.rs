//! Certificates as they are signed (RFC 5280), the way istiod fills them in.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use const_oid::db::rfc4519;
use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{
    Any, BitString, GeneralizedTime, Ia5String, OctetString, PrintableStringRef, SetOfVec, UtcTime,
    Utf8StringRef,
};
use der::{Decode, Encode};
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, Version};

use crate::error::seconds;
use crate::key::Key;

/// How long before it is made a certificate is valid from: clocks differ (Istio `ClockSkewGracePeriod`).
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// The longest common name (RFC 5280, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// Who signs.
pub struct Issuer<'a> {
    pub name: &'a Name,
    pub key_id: Option<&'a [u8]>,
    pub key: &'a Key,
}

/// A certificate of a workload or server.
pub struct Leaf<'a> {
    /// A SubjectPublicKeyInfo in DER.
    pub public_key: &'a [u8],
    /// Whose it is: URIs, addresses and DNS names.
    pub names: &'a [String],
    pub common_name: bool,
    pub from: SystemTime,
    pub until: SystemTime,
}

impl Leaf<'_> {
    /// Signs it; gives DER.
    pub fn sign(&self, issuer: &Issuer<'_>) -> Result<Vec<u8>, String> {
        self.tbs(issuer).map_err(|e| e.to_string()).and_then(|tbs| signed(tbs, issuer.key))
    }

    fn tbs(&self, issuer: &Issuer<'_>) -> der::Result<TbsCertificate> {
        let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment);
        let purposes = ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH]);
        let names = self.names.iter().map(|n| general_name(n)).collect::<der::Result<_>>()?;
        let mut extensions = vec![
            extension(&usage, true)?,
            extension(&purposes, false)?,
            extension(&BasicConstraints { ca: false, path_len_constraint: None }, true)?,
        ];
        if let Some(id) = issuer.key_id {
            let id = AuthorityKeyIdentifier {
                key_identifier: Some(OctetString::new(id)?),
                ..AuthorityKeyIdentifier::default()
            };
            extensions.push(extension(&id, false)?);
        }
        // istiod marks it critical whether or not there is a subject.
        extensions.push(extension(&SubjectAltName(names), true)?);
        let common_name = self.names.first().filter(|n| self.common_name && n.len() <= MAX_COMMON_NAME);
        let subject = common_name.map_or(Ok(Name::default()), |n| name(rfc4519::CN, n))?;
        Ok(TbsCertificate {
            version: Version::V3,
            serial_number: serial()?,
            signature: issuer.key.algorithm().clone(),
            issuer: issuer.name.clone(),
            validity: Validity { not_before: time(self.from)?, not_after: time(self.until)? },
            subject,
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(self.public_key)?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        })
    }
}

/// Signs the root of a mesh with its own key; gives DER.
pub fn root(key: &Key, subject: Name, from: SystemTime, until: SystemTime) -> Result<Vec<u8>, String> {
    root_tbs(key, subject, from, until).map_err(|e| e.to_string()).and_then(|tbs| signed(tbs, key))
}

/// A name that is only an organization.
pub fn organization(value: &str) -> Result<Name, String> {
    name(rfc4519::O, value).map_err(|e| e.to_string())
}

fn root_tbs(key: &Key, subject: Name, from: SystemTime, until: SystemTime) -> der::Result<TbsCertificate> {
    let public = SubjectPublicKeyInfoOwned::from_der(key.public())?;
    let id = SubjectKeyIdentifier(OctetString::new(key_id(&public))?);
    Ok(TbsCertificate {
        version: Version::V3,
        serial_number: serial()?,
        signature: key.algorithm().clone(),
        issuer: subject.clone(),
        validity: Validity { not_before: time(from)?, not_after: time(until)? },
        subject,
        subject_public_key_info: public,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(vec![
            extension(&KeyUsage(KeyUsages::KeyCertSign.into()), true)?,
            extension(&BasicConstraints { ca: true, path_len_constraint: None }, true)?,
            extension(&id, false)?,
        ]),
    })
}

/// The first way of RFC 7093 §2: cut from a SHA-256 of the key. Go takes the same.
fn key_id(public: &SubjectPublicKeyInfoOwned) -> Vec<u8> {
    let bits = public.subject_public_key.raw_bytes();
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bits).as_ref()[..20].to_vec()
}

fn signed(tbs: TbsCertificate, key: &Key) -> Result<Vec<u8>, String> {
    let signature = key.sign(&tbs.to_der().map_err(|e| e.to_string())?)?;
    let certificate = x509_cert::Certificate {
        signature_algorithm: tbs.signature.clone(),
        tbs_certificate: tbs,
        signature: BitString::from_bytes(&signature).map_err(|e| e.to_string())?,
    };
    certificate.to_der().map_err(|e| e.to_string())
}

fn extension<E: Encode + AssociatedOid>(value: &E, critical: bool) -> der::Result<Extension> {
    Ok(Extension { extn_id: E::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}

fn general_name(text: &str) -> der::Result<GeneralName> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let bytes = match address.to_canonical() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        return Ok(GeneralName::IpAddress(OctetString::new(bytes)?));
    }
    let value = Ia5String::new(text)?;
    Ok(if text.starts_with("spiffe://") {
        GeneralName::UniformResourceIdentifier(value)
    } else {
        GeneralName::DnsName(value)
    })
}

/// Strings are of the type that Go chooses, so that a root that istiod renews keeps the very bytes of its name.
fn name(oid: ObjectIdentifier, value: &str) -> der::Result<Name> {
    let value = match PrintableStringRef::new(value) {
        Ok(printable) => Any::from(printable),
        Err(_) => Any::from(Utf8StringRef::new(value)?),
    };
    let value = AttributeTypeAndValue { oid, value };
    let set = SetOfVec::try_from(vec![value])?;
    Ok(RdnSequence(vec![RelativeDistinguishedName(set)]))
}

/// 127 random bits: a serial number is positive.
fn serial() -> der::Result<SerialNumber> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| der::ErrorKind::Failed)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::new(&bytes)
}

/// Until 2049 in two digits, from then on in four (RFC 5280 §4.1.2.5).
fn time(time: SystemTime) -> der::Result<Time> {
    let since = Duration::from_secs(seconds(time).unsigned_abs());
    Ok(match UtcTime::from_unix_duration(since) {
        Ok(time) => Time::UtcTime(time),
        Err(_) => Time::GeneralTime(GeneralizedTime::from_unix_duration(since)?),
    })
}
