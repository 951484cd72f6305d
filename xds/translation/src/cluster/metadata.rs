//! The metadata of clusters under the key `istio`, which telemetry, istioctl and EnvoyFilters read.
//!
//! Source: Istio `addTelemetryMetadata`, `util.AddConfigInfoMetadata`, `AddALPNOverrideToMetadata`.

use crate::traffic_policy::Policy;
use crate::{Cx, wire};
use meltemi_api::envoy::config::cluster::v3::Cluster;
use meltemi_api::istio::networking::v1alpha3::client_tls_settings::TlSmode;
use meltemi_world::{Meta, Service};
use prost_types::{ListValue, Struct, Value, value::Kind};

const ISTIO: &str = "istio";

/// Names the services that a cluster is for.
pub(super) fn set_services<'a>(
    cx: &Cx<'_>,
    cluster: &mut Cluster,
    services: impl IntoIterator<Item = &'a Service>,
) {
    if cx.features().telemetry_label {
        let values = services.into_iter().map(service).collect();
        set(cluster, "services", Value { kind: Some(Kind::ListValue(ListValue { values })) });
    }
}

/// Says that the service is outside the mesh.
pub(super) fn set_external(cluster: &mut Cluster) {
    set(cluster, "external", Value { kind: Some(Kind::BoolValue(true)) });
}

/// Names the DestinationRule that shaped a cluster.
pub(super) fn set_rule(cluster: &mut Cluster, rule: &Meta) {
    set(cluster, "config", wire::string(&wire::config_path("destination-rule", rule)));
}

/// Names the subset that a cluster is for.
pub(super) fn set_subset(cluster: &mut Cluster, subset: &str) {
    if cluster.metadata.as_ref().is_some_and(|m| m.filter_metadata.contains_key(ISTIO)) {
        set(cluster, "subset", wire::string(subset));
    }
}

/// Tells the filter `istio.alpn` to leave the ALPN of TLS outside the mesh alone.
pub(super) fn set_alpn_override(cluster: &mut Cluster, policy: &Policy<'_>) {
    if matches!(policy.tls_mode(), Some(TlSmode::Simple | TlSmode::Mutual)) {
        set(cluster, "alpn_override", wire::string("false"));
    }
}

fn set(cluster: &mut Cluster, key: &str, value: Value) {
    wire::set_metadata(cluster.metadata.get_or_insert_default(), ISTIO, key, value);
}

fn service(service: &Service) -> Value {
    let fields = [("host", &service.hostname), ("name", &service.name), ("namespace", &service.namespace)];
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), wire::string(value))).collect();
    Value { kind: Some(Kind::StructValue(Struct { fields })) }
}
