//! Network filters: what stands before a chain's end, and what ends it.
//!
//! Source: Istio `buildCompleteNetworkFilters`, `buildNetworkFiltersStack` (`networkfilter.go`).

use super::chain::{Chain, Content};
use super::http::is_dynamic_wildcard;
use super::{Side, filters};
use crate::cluster::dynamic_dns;
use crate::extension::Phase;
use crate::proxy_headers::ListenerClass;
use crate::{metadata_exchange, security};
use meltemi_api::envoy::config::listener::v3::{Filter, FilterChain};
use meltemi_api::envoy::extensions::filters::network::{
    mongo_proxy::v3::MongoProxy,
    mysql_proxy::v3::MySqlProxy,
    redis_proxy::v3::{
        RedisProxy,
        redis_proxy::{ConnPoolSettings, PrefixRoutes, prefix_routes},
    },
    sni_dynamic_forward_proxy::v3::{FilterConfig as SniForwardProxy, filter_config::PortSpecifier},
    tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
};
use meltemi_api::wkt;
use meltemi_world::{Protocol, Service};

/// How long an operation of Redis may take, in seconds.
const REDIS_TIMEOUT: i64 = 5;

/// A TCP proxy to one cluster, with the idle time-out and the access logs of its side.
pub fn tcp_proxy(side: &Side<'_>, stat_prefix: &str, cluster: &str) -> TcpProxy {
    tcp_proxy_to(side, stat_prefix, ClusterSpecifier::Cluster(cluster.to_owned()))
}

/// A TCP proxy, with the idle time-out and the access logs of its side.
pub fn tcp_proxy_to(side: &Side<'_>, stat_prefix: &str, to: ClusterSpecifier) -> TcpProxy {
    TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(to),
        idle_timeout: side.idle_timeout,
        access_log: side.telemetry.access_logs.tcp.clone(),
        ..Default::default()
    }
}

/// What ends a chain for a protocol: the TCP proxy, with a filter for the protocol before it or in its place if the
/// mesh wants that. `cluster` is the one that Redis is sent to.
pub fn terminal(side: &Side<'_>, protocol: Protocol, tcp: &TcpProxy, cluster: &str) -> Vec<Filter> {
    let features = side.cx.features();
    let stat_prefix = tcp.stat_prefix.clone();
    match protocol {
        Protocol::Mongo if features.mongo_filter => {
            let mongo = MongoProxy { stat_prefix, ..Default::default() };
            vec![filters::network("envoy.filters.network.mongo_proxy", &mongo), filters::tcp_proxy(tcp)]
        }
        Protocol::MySql if features.mysql_filter => {
            let mysql = MySqlProxy { stat_prefix, ..Default::default() };
            vec![filters::network("envoy.filters.network.mysql_proxy", &mysql), filters::tcp_proxy(tcp)]
        }
        Protocol::Redis if features.redis_filter => vec![redis(stat_prefix, cluster)],
        _ => vec![filters::tcp_proxy(tcp)],
    }
}

fn redis(stat_prefix: String, cluster: &str) -> Filter {
    let route = prefix_routes::Route { cluster: cluster.to_owned(), ..Default::default() };
    let config = RedisProxy {
        stat_prefix,
        latency_in_micros: true,
        settings: Some(ConnPoolSettings {
            op_timeout: Some(wkt::seconds(REDIS_TIMEOUT)),
            ..Default::default()
        }),
        prefix_routes: Some(PrefixRoutes { catch_all_route: Some(route), ..Default::default() }),
        ..Default::default()
    };
    filters::network("envoy.filters.network.redis_proxy", &config)
}

/// All filters of a TCP chain on a port. `exchange`: peers tell each other what they are, as servers do.
pub fn complete(side: &Side<'_>, port: u32, exchange: bool, terminal: Vec<Filter>) -> Vec<Filter> {
    let mut out = before_terminal(side, port, exchange, &side.security);
    out.extend(terminal);
    out
}

/// All filters of a TCP chain for a wildcard service whose names the proxy resolves itself, by SNI.
pub fn complete_by_sni(side: &Side<'_>, port: u32, service: &Service, terminal: Vec<Filter>) -> Vec<Filter> {
    // Connections to a service are checked by what policies say of it, even where they leave the workload, as in Istio.
    let security = security::Filters::network(&side.cx, Some(service));
    let mut out = before_terminal(side, port, false, &security);
    if side.class == ListenerClass::SidecarOutbound && is_dynamic_wildcard(service) {
        let config = SniForwardProxy {
            dns_cache_config: Some(dynamic_dns::service_cache(&side.cx, service)),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..Default::default()
        };
        out.push(filters::network(filters::SNI_DYNAMIC_FORWARD_PROXY, &config));
    }
    out.extend(terminal);
    out
}

/// The network filters that users add, of all phases, for chains that serve HTTP on a port.
pub fn extensions(side: &Side<'_>, port: u32) -> Vec<Filter> {
    let phases = [Phase::Authn, Phase::Authz, Phase::Stats, Phase::Unspecified];
    phases.into_iter().flat_map(|phase| side.extensions.network(phase, port)).collect()
}

/// Puts a listener's network extensions before the HTTP connection manager of its first chain that has one, which is
/// all that istiod does.
pub fn extend_first_http(built: &mut FilterChain, chain: &Chain<'_>, extensions: &mut Vec<Filter>) {
    if matches!(chain.content, Content::Http(_)) {
        built.filters.splice(0..0, extensions.drain(..));
    }
}

fn before_terminal(side: &Side<'_>, port: u32, exchange: bool, security: &security::Filters) -> Vec<Filter> {
    let mut out = Vec::new();
    // First, so that what authorization rejects is counted for the right peer.
    out.extend(exchange.then(|| metadata_exchange(side)).flatten());
    out.extend_from_slice(&security.network_custom);
    out.extend(side.extensions.network(Phase::Authn, port));
    out.extend(side.extensions.network(Phase::Authz, port));
    out.extend_from_slice(&security.network_authorization);
    out.extend(side.extensions.network(Phase::Stats, port));
    out.extend(side.extensions.network(Phase::Unspecified, port));
    out.extend_from_slice(&side.telemetry.stats.network);
    out
}

/// The filter by which servers learn what their peers are; `None` for proxies that don't have it.
pub fn metadata_exchange(side: &Side<'_>) -> Option<Filter> {
    metadata_exchange::network_filter(&side.cx)
        .map(|config| filters::network_any(metadata_exchange::NAME, config))
}
