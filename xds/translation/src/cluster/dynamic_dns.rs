//! Dynamic forward proxies: clusters whose endpoints are resolved from the names that requests ask for.
//!
//! The cache of resolved names is shared with the filters that ask for them, so both must have equal settings.
//! Source: Istio `buildDFPCluster`, `buildAllowAnyDFPCluster`, `buildAllowAnyDynamicDNSDNSCacheConfig`.

use super::connection_pool::{self, Pool};
use super::draft::Draft;
use super::policy::{self, Outbound};
use super::tls::{self, Source};
use super::{fixed, metadata, outbound};
use crate::traffic_policy::Policy;
use crate::{Cx, names, wire};
use meltemi_api::envoy::config::cluster::v3::Cluster;
use meltemi_api::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_api::envoy::extensions::clusters::dynamic_forward_proxy::v3::{
    ClusterConfig, cluster_config::ClusterImplementationSpecifier,
};
use meltemi_api::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use meltemi_api::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use meltemi_api::istio::mesh::v1alpha1::mesh_config::outbound_traffic_policy::Mode;
use meltemi_api::istio::networking::v1alpha3::client_tls_settings::TlSmode;
use meltemi_world::{Port, Protocol, Service};

/// The cluster of requests to names that nobody knows (`ALLOW_ANY_DYNAMIC_DNS`).
pub const ALLOW_ANY: &str = "AllowAnyDynamicDNSCluster";
/// Where pilot-agent answers DNS queries, unless the node says otherwise.
const AGENT_DNS: (&str, u32) = ("127.0.0.1", 15053);

/// Whether requests to unknown names are resolved. Gateways never do that.
pub fn is_allow_any(cx: &Cx<'_>) -> bool {
    cx.proxy.is_sidecar() && cx.scope.outbound_traffic_policy.mode == Mode::AllowAnyDynamicDns as i32
}

/// The cache of names of a wildcard service.
pub fn service_cache(cx: &Cx<'_>, service: &Service) -> DnsCacheConfig {
    DnsCacheConfig {
        name: format!("{}_dfp_dns_cache", service.hostname),
        dns_lookup_family: outbound::lookup_family(cx, cx.proxy) as i32,
        ..Default::default()
    }
}

/// The cache of names that nobody knows. With DNS capture, pilot-agent resolves them.
pub fn allow_any_cache(cx: &Cx<'_>) -> DnsCacheConfig {
    DnsCacheConfig {
        name: "allow_any_dfp_dns_cache".to_owned(),
        max_hosts: Some(cx.features().dynamic_dns_max_hosts),
        dns_lookup_family: outbound::lookup_family(cx, cx.proxy) as i32,
        typed_dns_resolver_config: cx.proxy.metadata.dns_capture.then(|| agent_resolver(cx)),
        ..Default::default()
    }
}

/// The cluster of a port of a wildcard service; `None` for a protocol that says no name.
pub(super) fn of_service(cx: &Cx<'_>, service: &Service, port: &Port) -> Option<Cluster> {
    if !matches!(port.protocol, Protocol::Http | Protocol::Tls | Protocol::Grpc | Protocol::Http2) {
        return None;
    }
    let name = names::outbound_cluster(port.port, "", &service.hostname);
    let mut draft = Draft::dynamic(&name, config(service_cache(cx, service), false));
    draft.set_upstream_protocol(cx, port.protocol);
    let rule = cx.scope.destination_rule(&cx.proxy.labels, &service.hostname).map(|m| &m.rule);
    let of_rule = rule.and_then(|r| r.spec.traffic_policy.as_ref());
    let policy = Policy::of_port(of_rule, port.port).with_defaults(cx.mesh().default_traffic_policy.as_ref());
    let tls = tls::Upstream {
        service,
        settings: policy.tls,
        accounts: &[],
        // The name that a request asks for is the SNI.
        sni: "",
        mode: tls::server_mode(cx, service, port, of_rule),
        selects: rule.is_some_and(|r| r.spec.workload_selector.is_some()),
    };
    let outbound = Outbound { service, port, policy, tls: Some(tls), ranks_by_labels: false };
    policy::apply_outbound(cx, &mut draft, &outbound);
    draft.exchange_metadata(cx);
    if service.mesh_external {
        metadata::set_external(&mut draft.cluster);
    }
    if let Some(rule) = rule {
        metadata::set_rule(&mut draft.cluster, &rule.meta);
        metadata::set_alpn_override(&mut draft.cluster, &policy);
    }
    Some(draft.finish())
}

/// The cluster of requests to names that nobody knows, with the TLS of MeshConfig `outboundTrafficPolicy.tls`.
pub(super) fn allow_any(cx: &Cx<'_>) -> Cluster {
    let tls = cx.mesh().outbound_traffic_policy.as_ref().and_then(|p| p.tls.as_ref());
    let plain = tls.is_none_or(|t| t.mode() == TlSmode::Disable);
    // Without TLS there are no names to verify, which Envoy wants to be told.
    let mut draft = Draft::dynamic(ALLOW_ANY, config(allow_any_cache(cx), plain));
    connection_pool::apply_limits(cx, &mut draft, &Pool::default());
    if let Some(settings) = tls {
        draft.cluster.transport_socket = tls::socket(cx, &mut draft, settings, &Source::default());
    }
    // TLS that takes its names from requests has chosen HTTP options of its own.
    draft.http.get_or_insert_with(|| fixed::passthrough_http(cx));
    draft.exchange_metadata(cx);
    draft.finish()
}

fn config(cache: DnsCacheConfig, insecure: bool) -> ClusterConfig {
    ClusterConfig {
        allow_insecure_cluster_options: insecure,
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(cache)),
        ..Default::default()
    }
}

fn agent_resolver(cx: &Cx<'_>) -> TypedExtensionConfig {
    let (host, port) = match cx.proxy.metadata.dns_proxy_addr.rsplit_once(':') {
        Some(("localhost", port)) => (AGENT_DNS.0, port.parse().unwrap_or(AGENT_DNS.1)),
        Some((host, port)) => (host, port.parse().unwrap_or(AGENT_DNS.1)),
        None => AGENT_DNS,
    };
    let resolvers = vec![wire::tcp_address(host.trim_matches(['[', ']']), port)];
    TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".to_owned(),
        typed_config: Some(wire::any(&CaresDnsResolverConfig { resolvers, ..Default::default() })),
    }
}
