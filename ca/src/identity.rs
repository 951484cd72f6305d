//! Who somebody is, and how that was proved.

use std::fmt;
use std::str::FromStr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const SCHEME: &str = "spiffe://";

/// The identity of a workload: `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`. Source: Istio `pkg/spiffe`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    /// The trust domain, as it stands in the URI.
    pub trust_domain: String,
    /// The namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
}

impl SpiffeId {
    /// The identity of a service account in a mesh. A trust domain may be written like an e-mail address; `@` is no
    /// character of a host and becomes a dot.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Self {
        Self {
            trust_domain: trust_domain.replace('@', "."),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account } = self;
        write!(f, "{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

impl FromStr for SpiffeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.strip_prefix(SCHEME).unwrap_or_default().split('/').collect();
        match parts[..] {
            [trust_domain, "ns", namespace, "sa", service_account] => Ok(Self {
                trust_domain: trust_domain.to_owned(),
                namespace: namespace.to_owned(),
                service_account: service_account.to_owned(),
            }),
            _ => Err(format!("{text:?} is no identity such as {SCHEME}DOMAIN/ns/NAMESPACE/sa/ACCOUNT")),
        }
    }
}

/// Who calls, once that is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The SPIFFE identities, never empty.
    pub identities: Vec<String>,
    /// What proved them.
    pub credential: Credential,
}

/// What proved who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A client certificate that the mesh's roots vouch for.
    ClientCertificate,
    /// The token of a service account.
    Token(KubernetesInfo),
}

/// What a service account's token says of its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesInfo {
    /// The namespace of the service account, and of the Pod if there is one.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The Pod that the token is bound to; empty for a token without one.
    pub pod: String,
    /// Its UID, or empty.
    pub pod_uid: String,
}

/// The URIs that a certificate (in DER) is made out to.
///
/// # Errors
/// If it cannot be read.
pub fn uris(certificate: &[u8]) -> Result<Vec<String>, String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|e| e.to_string())?;
    let names = certificate.subject_alternative_name().map_err(|e| e.to_string())?;
    let names = names.into_iter().flat_map(|n| &n.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_and_written() {
        let id = SpiffeId::new("me@example.com", "a", "b");
        assert_eq!(id.to_string(), "spiffe://me.example.com/ns/a/sa/b");
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["spiffe://td/ns/a/sa/b/c", "https://td/ns/a/sa/b", "spiffe://td/sa/b/ns/a", ""] {
            assert!(other.parse::<SpiffeId>().is_err(), "{other}");
        }
    }
}
