//! The PROXY protocol header that precedes upstream connections (`trafficPolicy.proxyProtocol`).
//!
//! Source: Istio `applyUpstreamProxyProtocol`.

use super::draft::Draft;
use super::tls;
use crate::wire;
use meltemi_api::envoy::config::core::v3::{
    ProxyProtocolConfig, TransportSocket, transport_socket::ConfigType,
};
use meltemi_api::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use meltemi_api::istio::networking::v1alpha3::traffic_policy::ProxyProtocol;

/// Wraps the transport sockets of a cluster, or plain TCP where it has none.
pub(super) fn apply(draft: &mut Draft, settings: &ProxyProtocol) {
    let cluster = &mut draft.cluster;
    if cluster.transport_socket.is_none() && cluster.transport_socket_matches.is_empty() {
        cluster.transport_socket = Some(tls::raw_buffer());
    }
    let matches = cluster.transport_socket_matches.iter_mut().map(|m| &mut m.transport_socket);
    for socket in matches.chain([&mut cluster.transport_socket]) {
        *socket = socket.take().map(|inner| wrap(inner, settings.version));
    }
}

fn wrap(inner: TransportSocket, version: i32) -> TransportSocket {
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig { version, ..Default::default() }),
        transport_socket: Some(inner),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
        config_type: Some(ConfigType::TypedConfig(wire::any(&transport))),
    }
}
