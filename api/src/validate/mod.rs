//! Which objects istiod refuses, and of which it warns: pure functions of one object.
//!
//! The sources and the admission webhook call the same rules: [`object`] for what has been decoded, [`admit`] for JSON,
//! where a field that the kind does not have is an error too. One file holds the rules of one kind, or of one thing that
//! several kinds have (hosts, ports, labels, …). Source of the rules: what `pkg/config/validation` of Istio 1.31 accepts.

mod attribute;
mod authorization_policy;
mod destination_rule;
pub mod envoy_filter;
mod extension;
mod findings;
mod gateway;
pub mod grpc;
pub mod header;
pub mod host;
mod jwks;
pub mod labels;
pub mod load_balancer;
pub mod mesh;
mod peer_authentication;
mod proxy_config;
pub mod regex;
mod request_authentication;
pub mod scalar;
mod selection;
mod service_entry;
mod sidecar;
#[cfg(test)]
mod table;
mod telemetry;
pub mod tls;
pub mod traffic;
mod url;
mod virtual_service;
mod workload;

pub use findings::{At, Finding, Findings};

use crate::istio::extensions::v1alpha1::{TrafficExtension, WasmPlugin};
use crate::istio::networking::v1alpha3 as net;
use crate::istio::networking::v1beta1::ProxyConfig;
use crate::istio::security::v1beta1::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use crate::istio::telemetry::v1alpha1::Telemetry;
use crate::k8s::ObjectMeta;
use crate::object;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// A kind of Istio's, by its `spec`.
pub trait Validate {
    /// Whether `istio.io/dry-run` may stand on objects of the kind.
    const DRY_RUN: bool = false;

    /// Adds what is wrong with a `spec`, which stands at `spec`, of the object `meta`.
    fn validate(&self, meta: &ObjectMeta, spec: &At<'_>, out: &mut Findings);
}

/// Checks an object that has been decoded: its annotations, then its `spec`.
pub fn object<T: Validate>(meta: &ObjectMeta, spec: &T) -> Findings {
    let mut out = Findings::default();
    annotations::<T>(meta, &mut out);
    if out.is_valid() {
        spec.validate(meta, &At::root("spec"), &mut out);
    }
    out
}

/// Checks the `spec` of an object that is to be admitted: it must fit its kind without a rest. `None` if `kind` is none
/// of Istio's.
pub fn admit(kind: &str, meta: &ObjectMeta, spec: Json) -> Option<Findings> {
    let check = match kind {
        "VirtualService" => strict::<net::VirtualService>,
        "DestinationRule" => strict::<net::DestinationRule>,
        "ServiceEntry" => strict::<net::ServiceEntry>,
        "WorkloadEntry" => strict::<net::WorkloadEntry>,
        "WorkloadGroup" => strict::<net::WorkloadGroup>,
        "Sidecar" => strict::<net::Sidecar>,
        "Gateway" => strict::<net::Gateway>,
        "EnvoyFilter" => strict::<net::EnvoyFilter>,
        "ProxyConfig" => strict::<ProxyConfig>,
        "PeerAuthentication" => strict::<PeerAuthentication>,
        "RequestAuthentication" => strict::<RequestAuthentication>,
        "AuthorizationPolicy" => strict::<AuthorizationPolicy>,
        "Telemetry" => strict::<Telemetry>,
        "WasmPlugin" => strict::<WasmPlugin>,
        "TrafficExtension" => strict::<TrafficExtension>,
        _ => return None,
    };
    Some(check(meta, spec))
}

fn strict<T: Validate + DeserializeOwned + Default>(meta: &ObjectMeta, spec: Json) -> Findings {
    let at = At::root("spec");
    let mut out = Findings::default();
    let decoded = if spec.is_null() {
        object::Decoded { value: T::default(), unknown: Vec::new() }
    } else {
        match object::decode::<T>(spec) {
            Ok(decoded) => decoded,
            Err(error) => {
                out.error(&At::root(&error.field_of_spec()), error.message);
                return out;
            }
        }
    };
    for field in &decoded.unknown {
        out.error(&at.field(field), "no such field; check its spelling and indentation");
    }
    if out.is_valid() { self::object(meta, &decoded.value) } else { out }
}

/// Annotations that say how an object is to be taken. Source: `validateMetadata` in Istio.
fn annotations<T: Validate>(meta: &ObjectMeta, out: &mut Findings) {
    /// Set by tests of the webhook itself.
    const REJECT: &str = "internal.istio.io/webhook-always-reject";
    const INTERNAL: [&str; 2] = ["internal.istio.io/parents", "internal.istio.io/parent-namespace"];
    const DRY_RUN: &str = "istio.io/dry-run";
    if meta.annotations.is_empty() {
        return;
    }
    let metadata = At::root("metadata");
    let at = metadata.field("annotations");
    let has = |key: &str| meta.annotations.contains_key(key);
    if has(DRY_RUN) && !T::DRY_RUN {
        out.error(&at.key(DRY_RUN), "only an AuthorizationPolicy can be tried without effect; remove it");
    }
    if has(REJECT) {
        out.error(&at.key(REJECT), "asks for the object to be refused; remove it");
    }
    for key in INTERNAL.into_iter().filter(|key| has(key)) {
        out.error(&at.key(key), "only the control plane may set it, since it lends privileges; remove it");
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod admission_tests {
    use super::*;
    use serde_json::json;

    fn meta(annotation: &str) -> ObjectMeta {
        let annotations = [(annotation.to_owned(), "true".to_owned())].into();
        ObjectMeta { name: "a".into(), namespace: "b".into(), annotations, ..ObjectMeta::default() }
    }

    #[test]
    fn annotations_of_the_control_plane_are_refused() {
        for (kind, annotation, refused) in [
            ("WorkloadEntry", "internal.istio.io/webhook-always-reject", true),
            ("WorkloadEntry", "internal.istio.io/parents", true),
            ("WorkloadEntry", "internal.istio.io/parent-namespace", true),
            ("WorkloadEntry", "istio.io/dry-run", true),
            ("WorkloadEntry", "example.com/dry-run", false),
        ] {
            let out = admit(kind, &meta(annotation), json!({"address": "10.0.0.1"})).unwrap();
            assert_eq!(!out.is_valid(), refused, "{annotation}: {out:?}");
            if refused {
                assert_eq!(out.errors[0].field, format!("metadata.annotations[{annotation}]"));
            }
        }
    }

    #[test]
    fn what_is_admitted_fits_its_kind() {
        let field = |spec| admit("Sidecar", &meta("a"), spec).unwrap().errors.remove(0).field;
        assert_eq!(field(json!({"egress": [{"hosts": ["*/*"], "prot": 1}]})), "spec.egress[0].prot");
        assert_eq!(field(json!({"egress": "all"})), "spec.egress");
        assert_eq!(field(json!([])), "spec");
        assert!(admit("Deployment", &meta("a"), json!({})).is_none());
    }
}
