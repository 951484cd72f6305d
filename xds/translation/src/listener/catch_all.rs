//! What happens to outbound traffic that no service wants, and the listener that all redirected traffic arrives at.
//!
//! Source: Istio `buildVirtualOutboundListener`, `buildOutboundCatchAllNetworkFilterChains` (`listener_builder.go`).

use super::http::{self, HttpOptions, Routes};
use super::{Side, filters, forward, network};
use crate::cluster::dynamic_dns;
use crate::{address, names, route, stat_name, wire};
use meltemi_api::envoy::config::core::v3::TrafficDirection;
use meltemi_api::envoy::config::listener::v3::{
    AdditionalAddress, Filter, FilterChain, FilterChainMatch, Listener,
};
use meltemi_world::Protocol;
use meltemi_world::proxy::{Interception, IpMode};

/// The name of the chain for connections that a port's own chains don't match.
pub(super) const PASSTHROUGH_CHAIN: &str = "PassthroughFilterChain";
/// The name of the chain for connections to the proxy's own port.
const BLACKHOLE_CHAIN: &str = "virtualOutbound-blackhole";
/// The name of the chain for everything else.
const CATCH_ALL_CHAIN: &str = "virtualOutbound-catchall-tcp";

/// Passes connections on to where they were going, or drops them, as the outbound traffic policy says.
pub(super) fn filters(side: &Side<'_>) -> Vec<Filter> {
    let scope = side.cx.scope;
    let cluster = if scope.allows_any() || dynamic_dns::is_allow_any(&side.cx) {
        let proxy = scope.outbound_traffic_policy.egress_proxy.as_ref();
        proxy.map_or_else(|| names::PASSTHROUGH.to_owned(), forward::named_cluster)
    } else {
        names::BLACK_HOLE.to_owned()
    };
    let mut out = side.telemetry.stats.network.clone();
    out.push(filters::tcp_proxy(&network::tcp_proxy(side, &cluster, &cluster)));
    out
}

/// The listener that the proxy's iptables rules send all outbound traffic to; it hands it on to the listener of the
/// address that the traffic was going to. `None` where nothing is redirected.
pub(super) fn listener(side: &Side<'_>) -> Option<Listener> {
    let (proxy, features) = (side.cx.proxy, side.cx.features());
    if proxy.metadata.interception_mode == Interception::None {
        return None;
    }
    let port = side.cx.mesh().proxy_listen_port.unsigned_abs();
    let mut beside = match proxy.ip_mode {
        IpMode::Dual if features.dual_stack => address::wildcards(proxy.ip_mode).split_off(1),
        IpMode::V6 if features.v4_listener_for_v6 => address::wildcards(IpMode::V4),
        _ => Vec::new(),
    };
    let additional = |address: &str| AdditionalAddress {
        address: Some(wire::tcp_address(address, port)),
        ..Default::default()
    };
    let dynamic = dynamic_dns::is_allow_any(&side.cx);
    Some(Listener {
        name: names::VIRTUAL_OUTBOUND.to_owned(),
        address: Some(wire::tcp_address(side.wildcard(), port)),
        additional_addresses: beside.drain(..).map(additional).collect(),
        transparent: (proxy.metadata.interception_mode == Interception::Tproxy).then_some(true),
        use_original_dst: Some(true),
        filter_chains: chains(side, port, dynamic),
        listener_filters: dynamic.then(|| filters::HTTP_INSPECTOR.clone()).into_iter().collect(),
        traffic_direction: TrafficDirection::Outbound as i32,
        max_connections_to_accept_per_socket_event: side.max_accepts(),
        access_log: side.telemetry.access_logs.listener.clone(),
        ..Default::default()
    })
}

fn chains(side: &Side<'_>, port: u32, dynamic: bool) -> Vec<FilterChain> {
    let mut out = vec![blackhole(side, port)];
    out.extend(dynamic.then(|| dynamic_http(side)));
    out.push(FilterChain { name: CATCH_ALL_CHAIN.to_owned(), filters: filters(side), ..Default::default() });
    out
}

/// A connection to the proxy's own port would be passed on to that port for ever.
fn blackhole(side: &Side<'_>, port: u32) -> FilterChain {
    let mut tcp = network::tcp_proxy(side, names::BLACK_HOLE, names::BLACK_HOLE);
    (tcp.idle_timeout, tcp.access_log) = (None, Vec::new());
    let mut filters = side.telemetry.stats.network.clone();
    filters.push(filters::tcp_proxy(&tcp));
    FilterChain {
        name: BLACKHOLE_CHAIN.to_owned(),
        filter_chain_match: Some(FilterChainMatch { destination_port: Some(port), ..Default::default() }),
        filters,
        ..Default::default()
    }
}

/// HTTP to names that nobody knows: the proxy resolves them.
fn dynamic_http(side: &Side<'_>) -> FilterChain {
    let routes = Routes::Inline(Box::new(route::unknown_names(&side.cx)));
    let mut options = HttpOptions::new(side, routes, Protocol::Http, 0);
    options.use_remote_address = side.cx.features().use_remote_address;
    let prefix = format!("outbound_{}_allow_any_dynamic_dns", names::VIRTUAL_OUTBOUND);
    options.stat_prefix = stat_name::delimited(&prefix);
    FilterChain {
        name: format!("{CATCH_ALL_CHAIN}-http"),
        filter_chain_match: Some(FilterChainMatch {
            application_protocols: side.plaintext_http_alpn(),
            ..Default::default()
        }),
        filters: vec![http::filter(side, options)],
        ..Default::default()
    }
}
