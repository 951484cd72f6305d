//! Which kinds of objects are read, and in which versions of their API.

use meltemi_world::Kind;

/// What is done with objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// They make up the world.
    Read(Kind),
    /// `Endpoints`: turned into endpoint slices, in file mode.
    Endpoints,
    /// Istio reads them, Meltemi does not yet.
    Later,
    /// Nothing that a mesh would look at.
    Foreign,
    /// The group is one of those that are read, but it has no such kind, or not in this version.
    Unknown,
}

/// A kind of object that makes up the world, as the apiserver serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The kind.
    pub kind: Kind,
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// The versions that are read, the preferred one first. They differ in nothing that is read.
    pub versions: &'static [&'static str],
    /// Its plural, as URLs and CRDs name it.
    pub plural: &'static str,
    /// Whether objects belong to a namespace.
    pub namespaced: bool,
    /// Whether the kind comes from a CRD, and may be missing.
    pub crd: bool,
}

const KUBE_NETWORKING: &str = "networking.k8s.io";
const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const TELEMETRY: &str = "telemetry.istio.io";
const EXTENSIONS: &str = "extensions.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

const fn core(kind: Kind, plural: &'static str) -> Resource {
    Resource { kind, group: "", versions: &["v1"], plural, namespaced: true, crd: false }
}

const fn networking(kind: Kind, plural: &'static str) -> Resource {
    Resource { versions: &["v1", "v1beta1", "v1alpha3"], ..istio(kind, NETWORKING, plural) }
}

const fn istio(kind: Kind, group: &'static str, plural: &'static str) -> Resource {
    Resource { kind, group, versions: &["v1", "v1beta1"], plural, namespaced: true, crd: true }
}

/// The kinds that are read. Source of the versions: Istio's `crd-all.gen.yaml`.
pub const RESOURCES: [Resource; 25] = [
    Resource { namespaced: false, ..core(Kind::Namespace, "namespaces") },
    Resource { namespaced: false, ..core(Kind::Node, "nodes") },
    core(Kind::Pod, "pods"),
    core(Kind::Service, "services"),
    Resource { group: "discovery.k8s.io", ..core(Kind::EndpointSlice, "endpointslices") },
    core(Kind::Secret, "secrets"),
    core(Kind::ConfigMap, "configmaps"),
    Resource { group: KUBE_NETWORKING, ..core(Kind::Ingress, "ingresses") },
    Resource { group: KUBE_NETWORKING, namespaced: false, ..core(Kind::IngressClass, "ingressclasses") },
    networking(Kind::VirtualService, "virtualservices"),
    networking(Kind::DestinationRule, "destinationrules"),
    networking(Kind::ServiceEntry, "serviceentries"),
    networking(Kind::WorkloadEntry, "workloadentries"),
    networking(Kind::WorkloadGroup, "workloadgroups"),
    networking(Kind::Sidecar, "sidecars"),
    networking(Kind::Gateway, "gateways"),
    Resource { versions: &["v1alpha3"], ..networking(Kind::EnvoyFilter, "envoyfilters") },
    Resource { versions: &["v1beta1"], ..networking(Kind::ProxyConfig, "proxyconfigs") },
    istio(Kind::PeerAuthentication, SECURITY, "peerauthentications"),
    istio(Kind::RequestAuthentication, SECURITY, "requestauthentications"),
    istio(Kind::AuthorizationPolicy, SECURITY, "authorizationpolicies"),
    Resource { versions: &["v1", "v1alpha1"], ..istio(Kind::Telemetry, TELEMETRY, "telemetries") },
    Resource { versions: &["v1alpha1"], ..istio(Kind::WasmPlugin, EXTENSIONS, "wasmplugins") },
    Resource { versions: &["v1alpha1"], ..istio(Kind::TrafficExtension, EXTENSIONS, "trafficextensions") },
    istio(Kind::ReferenceGrant, GATEWAY_API, "referencegrants"),
];

/// Groups whose objects Istio reads and Meltemi does not yet.
const LATER: [&str; 4] =
    [GATEWAY_API, "gateway.networking.x-k8s.io", "inference.networking.k8s.io", "multicluster.x-k8s.io"];

/// What is done with a kind of this API.
pub fn known(api_version: &str, kind: &str) -> Known {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if let Some(resource) = RESOURCES.iter().find(|r| r.group == group && r.kind.name() == kind) {
        return if resource.versions.contains(&version) {
            Known::Read(resource.kind)
        } else {
            Known::Unknown
        };
    }
    match (group, kind) {
        ("", "Endpoints") => Known::Endpoints,
        (g, _) if LATER.contains(&g) => Known::Later,
        (g, _) if g.ends_with(".istio.io") && RESOURCES.iter().any(|r| r.group == g) => Known::Unknown,
        _ if is_core_kind(group, kind) => Known::Foreign,
        ("" | "discovery.k8s.io", _) => Known::Unknown,
        // Anything else with a group belongs to somebody else: Deployments, cert-manager's, …
        _ => Known::Foreign,
    }
}

/// The resource of a kind.
pub fn resource(kind: Kind) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.kind == kind)
}

/// What to write instead of an API that is not known.
pub fn advice(api_version: &str, kind: &str) -> String {
    let closest = RESOURCES
        .iter()
        .map(|r| (distance(&kind.to_ascii_lowercase(), &r.kind.name().to_ascii_lowercase()), r))
        .min_by_key(|(d, _)| *d);
    match closest {
        Some((distance, r)) if distance <= 2 => {
            let slash = if r.group.is_empty() { "" } else { "/" };
            let versions: Vec<String> = r.versions.iter().map(|v| format!("{}{slash}{v}", r.group)).collect();
            format!("did you mean kind {} of {}?", r.kind, versions.join(" or "))
        }
        _ => format!("check apiVersion ({api_version}) and kind for typing errors"),
    }
}

/// Kinds of the core group that say nothing to a mesh.
fn is_core_kind(group: &str, kind: &str) -> bool {
    const KINDS: [&str; 12] = [
        "ServiceAccount",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Event",
        "LimitRange",
        "ResourceQuota",
        "ReplicationController",
        "PodTemplate",
        "Binding",
        "ComponentStatus",
        "Status",
        "APIService",
    ];
    group.is_empty() && KINDS.contains(&kind)
}

/// How many letters differ (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_served_versions_are_known() {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let api = format!("networking.istio.io/{version}");
            assert_eq!(known(&api, "Gateway"), Known::Read(Kind::Gateway), "{api}");
        }
        assert_eq!(known("telemetry.istio.io/v1alpha1", "Telemetry"), Known::Read(Kind::Telemetry));
        assert_eq!(known("v1", "Service"), Known::Read(Kind::Service));
    }

    #[test]
    fn kinds_of_others_and_of_later_are_told_apart() {
        assert_eq!(known("gateway.networking.k8s.io/v1", "Gateway"), Known::Later);
        assert_eq!(known("networking.k8s.io/v1", "NetworkPolicy"), Known::Foreign);
        assert_eq!(known("apps/v1", "Deployment"), Known::Foreign);
        assert_eq!(known("v1", "ServiceAccount"), Known::Foreign);
        assert_eq!(known("networking.istio.io/v2", "Gateway"), Known::Unknown);
        assert_eq!(known("v1", "Servise"), Known::Unknown);
    }

    #[test]
    fn a_typing_error_is_advised_on() {
        let advice = advice("networking.istio.io/v1", "VirtualServce");
        assert!(advice.contains("VirtualService of networking.istio.io/v1 or"), "{advice}");
    }
}
