//! Inbound listeners: `virtualInbound`, which all redirected traffic arrives at, and listeners of single ports where the
//! proxy binds them itself.
//!
//! Source: Istio `pilot/pkg/networking/core/listener_inbound.go`.

mod chains;
mod inspectors;
mod matches;
mod mtls;
mod passthrough;
mod port;

use super::Side;
use crate::proxy_headers::ListenerClass;
use crate::{Cx, address, names, wire};
use chains::Chains;
use meltemi_api::envoy::config::core::v3::TrafficDirection;
use meltemi_api::envoy::config::listener::v3::{
    AdditionalAddress, FilterChain, Listener,
    listener::{ConnectionBalanceConfig, connection_balance_config},
};
use meltemi_api::wkt;
use meltemi_world::proxy::Interception;

/// Where a listener listens, and what it does with connections.
struct Draft<'a> {
    name: String,
    /// The addresses; the first is the primary one.
    binds: &'a [String],
    port: u32,
    /// Whether the proxy binds the port itself, rather than getting redirected connections.
    bound: bool,
    chains: Vec<FilterChain>,
}

/// The inbound listeners of a sidecar.
pub fn listeners(cx: &Cx<'_>) -> Vec<Listener> {
    let side = Side::new(cx, ListenerClass::SidecarInbound);
    let chains = Chains::new(&side);
    let (mut bound, mut redirected) = (Vec::new(), Vec::new());
    for port in port::ports(&side) {
        let built = chains.of_port(&port);
        if port.bound {
            let name = port.name();
            let draft =
                Draft { name, binds: &port.binds, port: port.target_port, bound: true, chains: built };
            bound.extend(build(&side, draft));
        } else {
            redirected.extend(built);
        }
    }
    if cx.proxy.metadata.interception_mode == Interception::None {
        return bound;
    }
    let mut all = passthrough::chains(&chains);
    all.extend(redirected);
    let draft = Draft {
        name: names::VIRTUAL_INBOUND.to_owned(),
        binds: &wildcards(cx),
        port: inbound_port(cx),
        bound: false,
        chains: all,
    };
    build(&side, draft).into_iter().chain(bound).collect()
}

/// `None` without an address.
fn build(side: &Side<'_>, draft: Draft<'_>) -> Option<Listener> {
    let cx = &side.cx;
    let (first, others) = draft.binds.split_first()?;
    let more: &[String] = if cx.features().dual_stack { others } else { &[] };
    let beside = |bind: &String| AdditionalAddress {
        address: Some(wire::endpoint_address(bind, draft.port)),
        ..Default::default()
    };
    let transparent = !draft.bound && cx.proxy.metadata.interception_mode == Interception::Tproxy;
    let balance = || ConnectionBalanceConfig {
        balance_type: Some(connection_balance_config::BalanceType::ExactBalance(
            connection_balance_config::ExactBalance {},
        )),
    };
    Some(Listener {
        name: draft.name,
        address: Some(wire::endpoint_address(first, draft.port)),
        additional_addresses: more.iter().map(beside).collect(),
        traffic_direction: TrafficDirection::Inbound as i32,
        continue_on_listener_filters_timeout: true,
        max_connections_to_accept_per_socket_event: side.max_accepts(),
        connection_balance_config: cx.proxy.metadata.inbound_listener_exact_balance.then(balance),
        transparent: transparent.then_some(true),
        access_log: side.telemetry.access_logs.listener.clone(),
        listener_filters: inspectors::listener_filters(&draft.chains, draft.bound, transparent),
        listener_filters_timeout: cx.mesh().protocol_detection_timeout.as_ref().map(wkt::to_prost_duration),
        filter_chains: draft.chains,
        ..Default::default()
    })
}

/// The addresses that stand for all of the proxy's.
fn wildcards(cx: &Cx<'_>) -> Vec<String> {
    address::wildcards(cx.proxy.ip_mode).into_iter().map(str::to_owned).collect()
}

/// The port that inbound traffic is redirected to.
fn inbound_port(cx: &Cx<'_>) -> u32 {
    u32::try_from(cx.mesh().proxy_inbound_listen_port).unwrap_or_default()
}
