//! Where a TCP chain forwards to: one service, or the destinations of a VirtualService.
//!
//! Source: Istio `buildOutboundNetworkFilters*` (`networkfilter.go`), `tunnelingconfig.Apply`.

use super::http::is_dynamic_wildcard;
use super::{Side, network};
use crate::{Cx, names, stat_name};
use meltemi_api::envoy::config::listener::v3::Filter;
use meltemi_api::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, TunnelingConfig, WeightedCluster, weighted_cluster::ClusterWeight},
};
use meltemi_api::envoy::r#type::v3::{HashPolicy, hash_policy};
use meltemi_api::istio::networking::v1alpha3::{
    Destination, DestinationRule, RouteDestination, TrafficPolicy,
    connection_pool_settings::TcpSettings,
    load_balancer_settings::{ConsistentHashLb, LbPolicy, consistent_hash_lb::HashKey},
    traffic_policy::TunnelSettings,
};
use meltemi_api::wkt::to_prost_duration;
use meltemi_world::{Meta, Port, Service};

/// One destination.
#[derive(Clone, Copy, Debug)]
pub struct Single<'s> {
    /// The prefix of statistics; without a delimiter.
    pub stat_prefix: &'s str,
    /// The cluster.
    pub cluster: &'s str,
    /// The subset that the cluster is of; empty for none.
    pub subset: &'s str,
    /// The port that clients connect to.
    pub port: &'s Port,
    /// The rule that applies to the destination.
    pub rule: Option<&'s DestinationRule>,
    /// Whether the rule's tunnel is used. SNI-DNAT gateways only pass connections on.
    pub tunnel: bool,
    /// Whether client and proxy tell each other what they are.
    pub exchange: bool,
    /// The service, where the chain was made for one.
    pub service: Option<&'s Service>,
}

/// The filters of a chain to one destination.
pub fn to_single(side: &Side<'_>, to: &Single<'_>) -> Vec<Filter> {
    let mut tcp = network::tcp_proxy(side, to.stat_prefix, to.cluster);
    apply_rule(&mut tcp, to.rule, to.subset, to.tunnel);
    let terminal = network::terminal(side, to.port.protocol, &tcp, to.cluster);
    match to.service.filter(|s| is_dynamic_wildcard(s)) {
        Some(service) => network::complete_by_sni(side, to.port.port, service, terminal),
        None => network::complete(side, to.port.port, to.exchange, terminal),
    }
}

/// The filters of a chain to a port of a service. `port` is what clients connect to; of a service with one port only,
/// it leads there whatever its number.
pub fn to_service(side: &Side<'_>, service: &Service, port: &Port) -> Vec<Filter> {
    let number = only_port(service).unwrap_or(port.port);
    let cluster = names::outbound_cluster(number, "", &service.hostname);
    let pattern = &side.cx.mesh().outbound_cluster_stat_name;
    let stat_prefix = if pattern.is_empty() {
        cluster.clone()
    } else {
        let unnamed = Port { name: "".into(), port: number, ..port.clone() };
        stat_name::fill(pattern, service.into(), &unnamed, "", 0)
    };
    let rule = rule(&side.cx, service);
    let single = Single {
        stat_prefix: &stat_prefix,
        cluster: &cluster,
        subset: "",
        port,
        rule,
        tunnel: true,
        exchange: false,
        service: Some(service),
    };
    to_single(side, &single)
}

/// The filters of a gateway's chain that passes on mutual TLS for a port of a service, or of one of its subsets. The
/// rule's tunnel is the client's matter.
pub fn to_passed_cluster(
    side: &Side<'_>,
    service: &Service,
    port: &Port,
    subset: &str,
    cluster: &str,
) -> Vec<Filter> {
    let pattern = &side.cx.mesh().outbound_cluster_stat_name;
    let stat_prefix = if pattern.is_empty() {
        cluster.to_owned()
    } else {
        stat_name::fill(pattern, service.into(), port, subset, 0)
    };
    let single = Single {
        stat_prefix: &stat_prefix,
        cluster,
        subset,
        port,
        rule: rule(&side.cx, service),
        tunnel: false,
        exchange: false,
        service: None,
    };
    to_single(side, &single)
}

/// The filters of a chain to the destinations of a VirtualService's route, which has one at least. `exchange`: the
/// client is told and asked what it is, as at gateways that end Istio's mutual TLS.
pub fn to_destinations(
    side: &Side<'_>,
    routes: &[RouteDestination],
    port: &Port,
    vs: &Meta,
    exchange: bool,
) -> Vec<Filter> {
    let none = Destination::default();
    let first = routes.first().and_then(|r| r.destination.as_ref()).unwrap_or(&none);
    let service = side.cx.service(&first.host);
    let rule = service.and_then(|s| rule(&side.cx, s));
    if routes.len() != 1 {
        return to_weighted(side, routes, port, vs, rule, exchange);
    }
    let cluster = cluster(&side.cx, first, port.port);
    let pattern = &side.cx.mesh().outbound_cluster_stat_name;
    let stat_prefix = match service.filter(|_| !pattern.is_empty()) {
        Some(service) => {
            let subject = stat_name::Subject { host: &first.host, ..(&**service).into() };
            stat_name::fill(pattern, subject, port, &first.subset, 0)
        }
        None => cluster.clone(),
    };
    let single = Single {
        stat_prefix: &stat_prefix,
        cluster: &cluster,
        subset: &first.subset,
        port,
        rule,
        tunnel: true,
        exchange,
        service: None,
    };
    to_single(side, &single)
}

/// Settings of subsets don't count here, since they belong to clusters and the connection is one.
fn to_weighted(
    side: &Side<'_>,
    routes: &[RouteDestination],
    port: &Port,
    vs: &Meta,
    rule: Option<&DestinationRule>,
    exchange: bool,
) -> Vec<Filter> {
    let weighted = routes.iter().filter(|r| r.weight > 0).filter_map(|r| {
        let name = cluster(&side.cx, r.destination.as_ref()?, port.port);
        Some(ClusterWeight { name, weight: r.weight.unsigned_abs(), ..Default::default() })
    });
    let clusters: Vec<_> = weighted.collect();
    let first = clusters.first().map_or_else(String::new, |c| c.name.clone());
    let to = ClusterSpecifier::WeightedClusters(WeightedCluster { clusters });
    let mut tcp = network::tcp_proxy_to(side, &format!("{}.{}", vs.name, vs.namespace), to);
    apply_rule(&mut tcp, rule, "", true);
    network::complete(side, port.port, exchange, network::terminal(side, port.protocol, &tcp, &first))
}

/// The cluster of a destination. Without a port of its own it is the service's only port, else the port that clients
/// connect to. Source: Istio `GetDestinationCluster`.
pub fn cluster(cx: &Cx<'_>, to: &Destination, listener_port: u32) -> String {
    if to.host.is_empty() {
        return names::UNKNOWN_SERVICE.to_owned();
    }
    let service = cx.service(&to.host);
    let host = service.and_then(|s| s.external_name.as_deref()).unwrap_or(&to.host);
    let port = to.port.as_ref().map(|p| p.number).or_else(|| service.and_then(|s| only_port(s)));
    names::outbound_cluster(port.unwrap_or(listener_port), &to.subset, host)
}

/// The cluster of a destination that is taken as it is written (Sidecar `egressProxy`).
pub(super) fn named_cluster(to: &Destination) -> String {
    if to.host.is_empty() {
        return names::UNKNOWN_SERVICE.to_owned();
    }
    names::outbound_cluster(to.port.as_ref().map_or(0, |p| p.number), &to.subset, &to.host)
}

fn only_port(service: &Service) -> Option<u32> {
    match service.ports.as_slice() {
        [only] => Some(only.port),
        _ => None,
    }
}

fn rule<'a>(cx: &Cx<'a>, service: &Service) -> Option<&'a DestinationRule> {
    cx.scope.destination_rule(&cx.proxy.labels, &service.hostname).map(|merged| &merged.rule.spec)
}

fn apply_rule(tcp: &mut TcpProxy, rule: Option<&DestinationRule>, subset: &str, tunnel: bool) {
    let Some(rule) = rule else { return };
    let policy = rule.traffic_policy.as_ref();
    if let Some(settings) = policy.and_then(tcp_settings) {
        let idle = settings.idle_timeout.as_ref().map(to_prost_duration);
        tcp.idle_timeout = idle.or(tcp.idle_timeout);
        tcp.max_downstream_connection_duration =
            settings.max_connection_duration.as_ref().map(to_prost_duration);
    }
    let of_subset = rule.subsets.iter().find(|s| s.name == subset).and_then(|s| s.traffic_policy.as_ref());
    if hashes_source_ip(of_subset).or_else(|| hashes_source_ip(policy)).unwrap_or(false) {
        let by_source = hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {});
        tcp.hash_policy = vec![HashPolicy { policy_specifier: Some(by_source) }];
    }
    let with_tunnel = if subset.is_empty() { policy } else { of_subset };
    tcp.tunneling_config = with_tunnel.and_then(|p| p.tunnel.as_ref()).filter(|_| tunnel).map(tunneling);
}

fn tcp_settings(policy: &TrafficPolicy) -> Option<&TcpSettings> {
    policy.connection_pool.as_ref()?.tcp.as_ref()
}

/// Whether the client's address chooses the server; `None` for a policy without load balancing.
fn hashes_source_ip(policy: Option<&TrafficPolicy>) -> Option<bool> {
    let balancer = policy?.load_balancer.as_ref()?;
    Some(match &balancer.lb_policy {
        Some(LbPolicy::ConsistentHash(ConsistentHashLb {
            hash_key: Some(HashKey::UseSourceIp(yes)),
            ..
        })) => *yes,
        _ => false,
    })
}

fn tunneling(settings: &TunnelSettings) -> TunnelingConfig {
    let host = &settings.target_host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    TunnelingConfig {
        hostname: format!("{host}:{}", settings.target_port),
        use_post: settings.protocol == "POST",
        ..Default::default()
    }
}
