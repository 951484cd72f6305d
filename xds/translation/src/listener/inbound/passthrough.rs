//! Chains for ports that no service and no Sidecar names: their traffic passes through to the workload.
//!
//! Source: Istio `buildInboundPassthroughChains`, `ForPassthrough` (`pilot/pkg/networking/plugin/authn`).

use super::chains::Chains;
use super::inbound_port;
use crate::listener::{filters, network};
use crate::{Cx, names};
use meltemi_api::envoy::config::listener::v3::{FilterChain, FilterChainMatch};
use meltemi_api::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};

/// The chain that ends connections to the listener itself.
const BLACK_HOLE_CHAIN: &str = "virtualInbound-blackhole";

/// The chains: nowhere for connections to the listener itself, then those of all ports, then those of ports that have a
/// mode of their own.
pub(super) fn chains(chains: &Chains<'_>) -> Vec<FilterChain> {
    let cx = &chains.side().cx;
    let mut out = vec![black_hole(chains)];
    out.extend(chains.of_passthrough(0));
    for port in chains.mtls().ports.keys().filter(|port| !is_named(cx, **port)) {
        out.extend(chains.of_passthrough(*port));
    }
    out
}

/// Without it, a connection to the listener's own port would be redirected to it forever.
fn black_hole(chains: &Chains<'_>) -> FilterChain {
    let side = chains.side();
    let proxy = TcpProxy {
        stat_prefix: names::BLACK_HOLE.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(names::BLACK_HOLE.to_owned())),
        ..Default::default()
    };
    let mut filters: Vec<_> = network::metadata_exchange(side).into_iter().collect();
    filters.extend_from_slice(&side.telemetry.stats.network);
    filters.push(filters::tcp_proxy(&proxy));
    FilterChain {
        name: BLACK_HOLE_CHAIN.to_owned(),
        filter_chain_match: Some(FilterChainMatch {
            destination_port: Some(inbound_port(&side.cx)),
            ..Default::default()
        }),
        filters,
        ..Default::default()
    }
}

/// Whether a port has chains of its own.
fn is_named(cx: &Cx<'_>, port: u32) -> bool {
    match cx.scope.ingress() {
        [] => cx.targets.iter().any(|t| t.target_port == port),
        ingress => ingress.iter().any(|i| i.port.as_ref().is_some_and(|p| p.number == port)),
    }
}
