//! Listeners of gateways: one for each port and address that the merged servers name.
//!
//! Source: Istio `buildGatewayListeners` (`pilot/pkg/networking/core/gateway.go`).

mod auto_passthrough;
mod chains;
mod tcp;

use super::{Side, connection_settings, filters, network};
use crate::gateway::{MergedGateway, ServerPort};
use crate::listener::chain::{Chain, Content};
use crate::proxy_headers::ListenerClass;
use crate::{Cx, address, wire};
use meltemi_api::envoy::config::core::v3::TrafficDirection;
use meltemi_api::envoy::config::listener::v3::{
    AdditionalAddress, FilterChain, Listener,
    listener::{ConnectionBalanceConfig, connection_balance_config},
};
use std::collections::BTreeMap;

/// The hosts that already have a filter chain, by listening port: host to address. Envoy rejects a listener whose
/// chains match the same name twice.
pub(super) type SniHosts = BTreeMap<u32, BTreeMap<String, String>>;

/// A listener in the making.
struct Draft {
    port: u32,
    bind: String,
    extra: Vec<String>,
    chains: Vec<Chain<'static>>,
}

/// All listeners of a gateway. A server without a usable route or secret costs only its own chains.
pub fn listeners(cx: &Cx<'_>) -> Vec<Listener> {
    let Some(merged) = cx.gateway else { return Vec::new() };
    let side = Side::new(cx, ListenerClass::Gateway);
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    let mut sni_hosts = SniHosts::new();
    for port in &merged.ports {
        // An unprivileged Pod cannot bind ports below 1024; merging has already moved 80 and 443 to target ports.
        if !cx.proxy.metadata.unprivileged_pod.is_empty() && port.number < 1024 {
            continue;
        }
        let chains = chains_of(&side, merged, port, &mut sni_hosts);
        let (bind, extra) = binds(cx, port);
        let name = listener_name(&side, port);
        drafts
            .entry(name)
            .or_insert_with(|| Draft { port: port.number, bind, extra, chains: Vec::new() })
            .chains
            .extend(chains);
    }
    drafts.into_iter().filter(|(_, d)| !d.chains.is_empty()).map(|(name, d)| build(&side, name, d)).collect()
}

fn chains_of(
    side: &Side<'_>,
    merged: &MergedGateway,
    port: &ServerPort,
    sni_hosts: &mut SniHosts,
) -> Vec<Chain<'static>> {
    let Some(on_port) = merged.servers.get(port) else { return Vec::new() };
    if meltemi_world::Protocol::parse(&port.protocol).is_http() {
        return vec![chains::plain_http(side, port, &on_port.route_name)];
    }
    let mut out = Vec::new();
    for server in &on_port.servers {
        if server.is_http() && server.tls_mode().is_some() {
            out.push(chains::https(side, port, server));
        } else {
            out.extend(tcp::chains(side, port, server, sni_hosts));
        }
    }
    out
}

/// `ADDRESS_PORT`.
fn listener_name(side: &Side<'_>, port: &ServerPort) -> String {
    format!("{}_{}", binds(&side.cx, port).0, port.number)
}

/// The address of a port, and those to listen on beside it.
fn binds(cx: &Cx<'_>, port: &ServerPort) -> (String, Vec<String>) {
    if !port.bind.is_empty() {
        return (port.bind.clone(), Vec::new());
    }
    let mut wildcards = address::wildcards(cx.proxy.ip_mode).into_iter().map(str::to_owned);
    let first = wildcards.next().unwrap_or_default();
    (first, if cx.features().dual_stack { wildcards.collect() } else { Vec::new() })
}

fn build(side: &Side<'_>, name: String, draft: Draft) -> Listener {
    let topology = side.cx.proxy_config().and_then(|c| c.gateway_topology.as_ref());
    let mut listener_filters = Vec::new();
    if topology.is_some_and(|t| t.proxy_protocol.is_some()) {
        listener_filters.push(filters::PROXY_PROTOCOL.clone());
    }
    if draft.chains.iter().any(Chain::needs_tls_inspector) {
        listener_filters.push(filters::TLS_INSPECTOR.clone());
    }
    let balance = side.cx.proxy.metadata.outbound_listener_exact_balance.then(|| ConnectionBalanceConfig {
        balance_type: Some(connection_balance_config::BalanceType::ExactBalance(Default::default())),
    });
    let beside = |bind: &String| AdditionalAddress {
        address: Some(wire::tcp_address(bind, draft.port)),
        ..Default::default()
    };
    let mut extensions = network::extensions(side, draft.port);
    let chain = |chain: &Chain<'_>| {
        let mut built = to_envoy(side, &name, chain);
        network::extend_first_http(&mut built, chain, &mut extensions);
        built
    };
    Listener {
        address: Some(wire::endpoint_address(&draft.bind, draft.port)),
        additional_addresses: draft.extra.iter().map(beside).collect(),
        traffic_direction: TrafficDirection::Outbound as i32,
        listener_filters,
        filter_chains: draft.chains.iter().map(chain).collect(),
        max_connections_to_accept_per_socket_event: side.max_accepts(),
        connection_balance_config: balance,
        per_connection_buffer_limit_bytes: connection_settings::limit(
            side.connection_settings.listener_per_connection_buffer_limit_bytes.as_ref().map(|v| v.value),
        ),
        access_log: side.telemetry.access_logs.listener.clone(),
        name,
        ..Default::default()
    }
}

/// A chain, with the prefix of statistics that its server names, else the listener's.
fn to_envoy(side: &Side<'_>, listener: &str, chain: &Chain<'_>) -> FilterChain {
    let own = match &chain.content {
        Content::Http(options) => options.stat_prefix.as_str(),
        Content::Network(_) => "",
    };
    // Gateways are outbound to Envoy.
    let prefix = if own.is_empty() { format!("outbound_{listener};") } else { own.to_owned() };
    chain.to_envoy(side, &prefix)
}
