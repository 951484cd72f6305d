//! The metadata of an endpoint: whether it speaks Istio's mutual TLS, and which workload it is.
//!
//! Source: Istio `util.AppendLbEndpointMetadata`.

use crate::{Cx, wire};
use meltemi_api::envoy::config::core::v3::Metadata;
use meltemi_api::envoy::config::endpoint::v3::LbEndpoint;
use meltemi_world::labels::Labels;
use meltemi_world::{Endpoint, Service};

/// The metadata that Envoy chooses a transport socket by.
const TRANSPORT_SOCKET_MATCH: &str = "envoy.transport_socket_match";
const TLS_MODE: &str = "tlsMode";
const ISTIO: &str = "istio";
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

/// The metadata of an endpoint of a service; `mtls`: whether Istio's mutual TLS is spoken to it.
pub(super) fn of_endpoint(cx: &Cx<'_>, service: &Service, endpoint: &Endpoint, mtls: bool) -> Metadata {
    let w = &endpoint.workload;
    let external = cx.features().canonical_services_for_external && service.mesh_external;
    let namespace = if external { &service.namespace } else { &w.namespace };
    let labels = if external { with_canonical_service(&w.labels, &service.labels) } else { w.labels.clone() };
    build(cx, mtls, || workload([&w.name, namespace, &w.cluster], &labels))
}

/// The metadata of a network gateway that stands for endpoints behind it.
pub(super) fn of_gateway(cx: &Cx<'_>, cluster: &str) -> Metadata {
    build(cx, true, || workload(["", "", cluster], &Labels::default()))
}

/// Whether Istio's mutual TLS is spoken to an endpoint.
pub(super) fn speaks_mtls(endpoint: &LbEndpoint) -> bool {
    let metadata = endpoint.metadata.as_ref();
    metadata.is_some_and(|m| m.filter_metadata.contains_key(TRANSPORT_SOCKET_MATCH))
}

fn build(cx: &Cx<'_>, mtls: bool, workload: impl Fn() -> String) -> Metadata {
    let mut metadata = Metadata::default();
    if mtls {
        wire::set_metadata(&mut metadata, TRANSPORT_SOCKET_MATCH, TLS_MODE, wire::string(ISTIO));
    }
    if cx.features().telemetry_label && cx.features().endpoint_telemetry_label {
        wire::set_metadata(&mut metadata, ISTIO, "workload", wire::string(&workload()));
    }
    metadata
}

/// `NAME;NAMESPACE;SERVICE;REVISION;CLUSTER`, which the `istio.stats` filter of the client reads: also of servers
/// that have no sidecar to tell it.
fn workload([name, namespace, cluster]: [&str; 3], labels: &Labels) -> String {
    let first = |keys: [&str; 3]| keys.into_iter().find_map(|k| labels.get(k));
    let service = first([CANONICAL_NAME, "app.kubernetes.io/name", "app"]).unwrap_or(name);
    let revision = first([CANONICAL_REVISION, "app.kubernetes.io/version", "version"]).unwrap_or("latest");
    let revision = if revision == "latest" { "" } else { revision };
    format!("{name};{namespace};{service};{revision};{cluster}")
}

fn with_canonical_service(labels: &Labels, of_service: &Labels) -> Labels {
    match of_service.get(CANONICAL_NAME) {
        Some(name) => labels
            .with(CANONICAL_NAME, name)
            .with(CANONICAL_REVISION, of_service.get(CANONICAL_REVISION).unwrap_or_default()),
        None => labels.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_described_by_its_canonical_service() {
        let labels: Labels = [("app", "a"), ("version", "v1")].into_iter().collect();
        assert_eq!(workload(["a-v1", "ns", "c1"], &labels), "a-v1;ns;a;v1;c1");
        assert_eq!(workload(["a-v1", "ns", "c1"], &Labels::default()), "a-v1;ns;a-v1;;c1");
    }
}
