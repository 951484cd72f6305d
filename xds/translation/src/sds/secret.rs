//! Secrets as Envoy takes them, from Secrets and ConfigMaps: only for whom they are.
//!
//! A secret that cannot be made is left out with the reason, and no other one is affected. Source: Istio
//! `pilot/pkg/xds/sds.go`, `pilot/pkg/credentials/kube/secrets.go`.

use super::certificate::{self, Validity};
use super::private_key;
use super::reference::{Nothing, Origin, Reference};
use crate::Cx;
use bytes::Bytes;
use meltemi_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret as Message, TlsCertificate, secret::Type,
};
use meltemi_world::{Kind, NsName, Snapshot};
use std::sync::Arc;

/// A certificate, its key and, if it has one, its OCSP staple: what these values are called in a Secret.
const CERTIFICATES: [[&str; 3]; 2] = [["cert", "key", ""], ["tls.crt", "tls.key", "tls.ocsp-staple"]];
/// Certificates of authorities, and the list of what they revoked.
const ROOTS: [[&str; 2]; 2] = [["cacert", "crl"], ["ca.crt", "ca.crl"]];

/// A secret that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The secret.
    pub secret: Message,
    /// When its certificates are valid.
    pub validity: Validity,
}

/// Why a secret is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The stream has no identity.
    #[error("the stream proves no identity: connect over TLS, with a certificate or a token")]
    NoIdentity,
    /// The name stands for a secret that is never valid.
    #[error("the reference is invalid on purpose")]
    Never,
    /// The name cannot be read.
    #[error("the name cannot be read: {0}")]
    Unreadable(&'static str),
    /// The Secret is in another namespace.
    #[error("the Secret is in namespace {secret}, but the proxy in {proxy}: put it there")]
    OtherNamespace {
        /// The Secret's namespace.
        secret: String,
        /// The proxy's namespace.
        proxy: String,
    },
    /// No Gateway of the proxy may refer to the Secret.
    #[error(
        "no Gateway of the proxy refers to it from its own namespace, and no ReferenceGrant lets one of another"
    )]
    NotReferred,
    /// The proxy's service account may not read Secrets.
    #[error("service account {account} may not list secrets of its namespace ({reason}): give it a Role")]
    Forbidden {
        /// The service account.
        account: NsName,
        /// What the apiserver said.
        reason: String,
    },
    /// Nobody has said yet whether the service account may read Secrets.
    #[error("whether service account {0} may list secrets of its namespace is being asked for")]
    Unreviewed(NsName),
    /// There is no such object.
    #[error("{kind} {name} does not exist")]
    Missing {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: NsName,
    },
    /// The object has not what it should.
    #[error("{kind} {name} has no value {wanted}, or an empty one")]
    Incomplete {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: NsName,
        /// What it should have.
        wanted: &'static str,
    },
    /// A value cannot be used.
    #[error("{kind} {name}, value {field}: {message}")]
    Broken {
        /// The object's kind.
        kind: Kind,
        /// Its name.
        name: NsName,
        /// The value's name.
        field: &'static str,
        /// What is wrong.
        message: &'static str,
    },
}

/// The secret of a name, for the proxy of a stream that proved an identity.
///
/// # Errors
/// If it is not for this proxy, or there is none, or Envoy would reject it.
pub fn secret(cx: &Cx<'_>, name: &str) -> Result<Made, Problem> {
    let Some(identity) = &cx.proxy.verified else { return Err(Problem::NoIdentity) };
    let reference = Reference::read(name, &identity.namespace).map_err(|nothing| match nothing {
        Nothing::Never => Problem::Never,
        Nothing::Unreadable(why) => Problem::Unreadable(why),
    })?;
    may_read(cx, identity, name, &reference)?;
    let object = Object::find(cx.snapshot, &reference)?;
    if reference.roots_only { roots(&object, name) } else { certificate(cx, &object, name) }
}

/// The service account that the world must say of whether it may read Secrets before any of these names is answered.
pub fn unreviewed<'a>(cx: &Cx<'a>, names: &[Arc<str>]) -> Option<&'a NsName> {
    let identity = cx.proxy.verified.as_ref()?;
    let (reviewed, known) = (cx.snapshot.settings.secret_access_reviewed, &cx.snapshot.secret_access);
    if !reviewed || known.contains_key(identity) {
        return None;
    }
    let concerned = |name: &Arc<str>| {
        let reference = Reference::read(name, &identity.namespace).ok();
        reference.is_some_and(|r| matches!(may_read(cx, identity, name, &r), Err(Problem::Unreviewed(_))))
    };
    names.iter().any(concerned).then_some(identity)
}

/// Whether a proxy may be sent what a reference is to. Source: Istio `filterAuthorizedResources`.
fn may_read(cx: &Cx<'_>, identity: &NsName, name: &str, reference: &Reference) -> Result<(), Problem> {
    match reference.origin {
        // What is in ConfigMaps is public, and clients refer to that of the server's namespace.
        Origin::ConfigMap => Ok(()),
        Origin::Gateway => {
            let verified = cx.gateway.is_some_and(|g| g.verified_credentials.contains(name));
            if verified { Ok(()) } else { Err(Problem::NotReferred) }
        }
        Origin::Kubernetes if reference.object.namespace != identity.namespace => {
            let (secret, proxy) = (reference.object.namespace.to_string(), identity.namespace.to_string());
            Err(Problem::OtherNamespace { secret, proxy })
        }
        // So are certificates of authorities.
        Origin::Kubernetes if reference.roots_only => Ok(()),
        Origin::Kubernetes if !cx.snapshot.settings.secret_access_reviewed => Ok(()),
        Origin::Kubernetes => match cx.snapshot.secret_access.get(identity).map(|a| a.denied.as_ref()) {
            Some(None) => Ok(()),
            Some(Some(reason)) => {
                Err(Problem::Forbidden { account: identity.clone(), reason: reason.to_string() })
            }
            None => Err(Problem::Unreviewed(identity.clone())),
        },
    }
}

/// An object that secrets are made of.
struct Object<'a> {
    kind: Kind,
    name: NsName,
    snapshot: &'a Snapshot,
}

impl<'a> Object<'a> {
    fn find(snapshot: &'a Snapshot, reference: &Reference) -> Result<Self, Problem> {
        let there = |(kind, name): &(Kind, NsName)| match kind {
            Kind::ConfigMap => snapshot.config_maps.contains_key(name),
            _ => snapshot.secrets.contains_key(name),
        };
        let candidates = reference.candidates();
        let found = candidates.iter().find(|c| there(c)).cloned();
        match (found, candidates.into_iter().next_back()) {
            (Some((kind, name)), _) => Ok(Self { kind, name, snapshot }),
            (None, Some((kind, name))) => Err(Problem::Missing { kind, name }),
            (None, None) => Err(Problem::Never),
        }
    }

    /// A value; none if it is empty.
    fn get(&self, key: &str) -> Option<Bytes> {
        let value = match self.kind {
            Kind::ConfigMap => {
                let map = self.snapshot.config_maps.get(&self.name)?;
                Bytes::copy_from_slice(map.spec.get(key)?.as_bytes())
            }
            _ => self.snapshot.secrets.get(&self.name)?.spec.data.get(key)?.clone(),
        };
        (!value.is_empty()).then_some(value)
    }

    fn broken(&self, field: &'static str) -> impl Fn(&'static str) -> Problem {
        move |message| Problem::Broken { kind: self.kind, name: self.name.clone(), field, message }
    }

    fn incomplete(&self, wanted: &'static str) -> Problem {
        Problem::Incomplete { kind: self.kind, name: self.name.clone(), wanted }
    }
}

fn certificate(cx: &Cx<'_>, object: &Object<'_>, name: &str) -> Result<Made, Problem> {
    let complete = |[cert, key, staple]: [&'static str; 3]| {
        Some(((cert, object.get(cert)?), (key, object.get(key)?), (staple, object.get(staple))))
    };
    let found = CERTIFICATES.into_iter().find_map(complete);
    let Some(((cert, chain), (key, private_key), (staple, ocsp_staple))) = found else {
        return Err(object.incomplete("tls.crt and tls.key (or cert and key)"));
    };
    let (certificates, validity) = certificate::certificates(&chain).map_err(object.broken(cert))?;
    certificate::key(&private_key, certificates).map_err(object.broken(key))?;
    if let Some(response) = &ocsp_staple {
        certificate::ocsp_response(response).map_err(object.broken(staple))?;
    }
    let mut message = TlsCertificate { certificate_chain: Some(inline(chain)), ..Default::default() };
    match private_key::provider(cx, &private_key) {
        Some(provider) => message.private_key_provider = Some(provider),
        None => {
            message.private_key = Some(inline(private_key));
            message.ocsp_staple = ocsp_staple.map(inline);
        }
    }
    Ok(Made {
        secret: Message { name: name.to_owned(), r#type: Some(Type::TlsCertificate(message)) },
        validity,
    })
}

fn roots(object: &Object<'_>, name: &str) -> Result<Made, Problem> {
    let found = ROOTS.into_iter().find_map(|[ca, crl]| Some(((ca, object.get(ca)?), (crl, object.get(crl)))));
    let Some(((ca, trusted_ca), (crl, revoked))) = found else {
        return Err(object.incomplete("ca.crt (or cacert)"));
    };
    let (_, validity) = certificate::certificates(&trusted_ca).map_err(object.broken(ca))?;
    if let Some(lists) = &revoked {
        certificate::revocation_lists(lists).map_err(object.broken(crl))?;
    }
    let context = CertificateValidationContext {
        trusted_ca: Some(inline(trusted_ca)),
        crl: revoked.map(inline),
        ..Default::default()
    };
    Ok(Made {
        secret: Message { name: name.to_owned(), r#type: Some(Type::ValidationContext(context)) },
        validity,
    })
}

pub(super) fn inline(value: Bytes) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(value)), ..Default::default() }
}
