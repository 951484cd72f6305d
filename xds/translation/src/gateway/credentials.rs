//! Which Secrets the Gateways of a proxy may refer to: those of the proxy's own namespace, and those that a ReferenceGrant
//! of their namespace opens to Gateways of this one.
//!
//! Source: Istio `mergeGateways` (`verifiedCertificateReferences`), `ReferenceGrants.SecretAllowed`.

use super::merge::Candidate;
use super::select::PARENT_NAMESPACE;
use crate::Cx;
use crate::sds::reference::Reference;
use crate::sds::{self, CA_SUFFIX};
use meltemi_api::istio::networking::v1alpha3::{Gateway, ServerTlsSettings, server_tls_settings::TlSmode};
use meltemi_world::{Config, Kind, NsName};
use std::collections::BTreeSet;

/// On Gateways made from the Gateway API: the service account that their proxies run under.
const SERVICE_ACCOUNT: &str = "internal.istio.io/service-account-name";
/// On Gateways made from the Gateway API: the resources that they were made from, each `KIND/NAME.NAMESPACE`.
const PARENTS: &str = "internal.istio.io/parents";

/// The names of the secrets that the Gateways of a proxy may refer to; none without an identity.
pub(super) fn verified(cx: &Cx<'_>, candidates: &[Candidate<'_>]) -> BTreeSet<String> {
    let Some(identity) = &cx.proxy.verified else { return BTreeSet::new() };
    let mut names = BTreeSet::new();
    for gateway in candidates.iter().map(|c| &*c.gateway).filter(|g| is_for(g, identity)) {
        for tls in gateway.spec.servers.iter().filter(|s| s.port.is_some()).filter_map(|s| s.tls.as_ref()) {
            names.extend(of_server(cx, gateway, identity, tls));
        }
    }
    names
}

/// Whether a Gateway is for proxies of this identity.
fn is_for(gateway: &Config<Gateway>, identity: &NsName) -> bool {
    let annotations = &gateway.meta.annotations;
    let parent = annotations.get(PARENT_NAMESPACE).filter(|n| !n.is_empty());
    let account = annotations.get(SERVICE_ACCOUNT).filter(|a| !a.is_empty());
    *identity.namespace == *parent.unwrap_or(&gateway.meta.namespace)
        && account.is_none_or(|account| *identity.name == *account)
}

fn of_server(
    cx: &Cx<'_>,
    gateway: &Config<Gateway>,
    identity: &NsName,
    tls: &ServerTlsSettings,
) -> Vec<String> {
    let allowed = |name: &String| is_allowed(cx, gateway, identity, name);
    let several = tls.credential_names.iter();
    let one = tls.credential_names.is_empty().then_some(&tls.credential_name);
    let certificates = several.chain(one).filter(|name| !name.is_empty() && !name.starts_with(sds::BUILTIN));
    let mut names = Vec::new();
    for name in certificates.map(|name| sds::resource_name(name)).filter(allowed) {
        if tls.mode() == TlSmode::Mutual {
            names.push(format!("{name}{CA_SUFFIX}"));
        }
        names.push(name);
    }
    let roots = &tls.ca_cert_credential_name;
    if roots.starts_with(sds::GATEWAY) && allowed(roots) {
        names.push(roots.clone());
    }
    names
}

fn is_allowed(cx: &Cx<'_>, gateway: &Config<Gateway>, identity: &NsName, name: &str) -> bool {
    let Ok(reference) = Reference::read(name, &identity.namespace) else { return false };
    let parents = gateway.meta.annotations.get(PARENTS).unwrap_or_default();
    // A ListenerSet may be of another namespace than its Gateway, which agreed to that.
    let (kind, from, trusted) = if parents.starts_with("ListenerSet/") {
        ("ListenerSet", &gateway.meta.namespace, true)
    } else {
        ("Gateway", &identity.namespace, gateway.meta.namespace == identity.namespace)
    };
    trusted && reference.object.namespace == *from || is_granted(cx, kind, from, &reference)
}

/// Whether a ReferenceGrant lets resources of a kind in namespace `from` refer to an object.
fn is_granted(cx: &Cx<'_>, kind: &str, from: &str, reference: &Reference) -> bool {
    let object = &reference.object;
    let to_kind = match reference.candidates().first() {
        Some((Kind::ConfigMap, _)) => "ConfigMap",
        _ => "Secret",
    };
    let first = NsName::new(object.namespace.clone(), "");
    let grants = cx.snapshot.reference_grants.range(first..);
    grants.take_while(|(id, _)| id.namespace == object.namespace).any(|(_, grant)| {
        grant.spec.from.iter().any(|f| f.is(kind) && f.namespace == from)
            && grant.spec.to.iter().any(|t| t.is(to_kind) && t.names(&object.name))
    })
}
