//! Filter chains of gateways, and those for HTTP.

use crate::gateway::{GatewayServer, ServerPort};
use crate::listener::http::{self, HttpOptions, Routes};
use crate::listener::{Side, tls};
use crate::proxy_headers::forward_client_cert;
use hcm::{ForwardClientCertDetails, SetCurrentClientCertDetails};
use meltemi_api::envoy::config::core::v3::TransportSocket;
use meltemi_api::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager as hcm,
};
use meltemi_api::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use meltemi_api::istio::mesh::v1alpha1 as mesh;
use meltemi_world::Protocol;

/// A filter chain in the making.
#[derive(Default)]
pub(super) struct Chain {
    /// Names to match by SNI; empty for all.
    pub(super) sni_hosts: Vec<String>,
    /// ALPN to match; empty for all.
    pub(super) alpn: Vec<String>,
    /// How TLS is ended, where it is.
    pub(super) tls: Option<DownstreamTlsContext>,
    /// What happens to the connection.
    pub(super) filters: Vec<Filter>,
}

impl Chain {
    /// Whether the listener must look into the TLS handshake for this chain.
    pub(super) fn needs_tls_inspector(&self) -> bool {
        let offers = |t: &DownstreamTlsContext| t.common_tls_context.as_ref().is_some_and(|c| !c.alpn_protocols.is_empty());
        !self.sni_hosts.is_empty() || self.tls.as_ref().is_some_and(offers)
    }

    /// The chain as Envoy takes it.
    pub(super) fn build(self, side: &Side<'_>) -> FilterChain {
        let socket: Option<TransportSocket> = self.tls.as_ref().map(tls::transport_socket);
        FilterChain {
            filter_chain_match: chain_match(self.sni_hosts, self.alpn),
            filters: self.filters,
            transport_socket: socket,
            transport_socket_connect_timeout: side.transport_timeout(),
            ..Default::default()
        }
    }
}

/// What a chain matches; `None` for everything. A `*` among the names stands for every name, which Envoy expresses by
/// no name at all (Istio `filterChainOpts.toFilterChainMatch`).
fn chain_match(mut names: Vec<String>, alpn: Vec<String>) -> Option<FilterChainMatch> {
    names.sort_unstable();
    if names.iter().any(|n| n == "*") {
        names.clear();
    }
    if names.is_empty() && alpn.is_empty() {
        return None;
    }
    Some(FilterChainMatch { server_names: names, application_protocols: alpn, ..Default::default() })
}

/// The one chain of a port for plain HTTP.
pub(super) fn plain_http(side: &Side<'_>, port: &ServerPort, route: &str) -> Chain {
    let mut options = options(side, Protocol::parse(&port.protocol), port.number, route);
    options.stat_prefix = default_stat_prefix(side, port);
    Chain { filters: vec![http::filter(side, options)], ..Default::default() }
}

/// The chain of a server that ends TLS and serves HTTP.
pub(super) fn https(side: &Side<'_>, port: &ServerPort, server: &GatewayServer) -> Chain {
    let Some(settings) = &server.server.tls else { return Chain::default() };
    let mut options = options(side, server.protocol(), port.number, &server.route_name);
    options.stat_prefix.clone_from(&server.server.name);
    if options.stat_prefix.is_empty() {
        options.stat_prefix = default_stat_prefix(side, port);
    }
    Chain {
        sni_hosts: server.sni_hosts.clone(),
        tls: Some(tls::context(&side.cx, settings, false)),
        filters: vec![http::filter(side, options)],
        ..Default::default()
    }
}

/// `outbound_LISTENER;`: gateways are outbound to Envoy.
fn default_stat_prefix(side: &Side<'_>, port: &ServerPort) -> String {
    format!("outbound_{};", super::listener_name(side, port))
}

fn options<'s>(side: &Side<'s>, protocol: Protocol, port: u32, route: &str) -> HttpOptions<'s> {
    let mut options = HttpOptions::new(side, Routes::Rds(route.to_owned()), protocol, port);
    options.use_remote_address = true;
    options.base = base(side);
    options
}

/// What ProxyConfig `gatewayTopology` says of the proxies in front. Source: Istio `buildGatewayConnectionManager`.
fn base(side: &Side<'_>) -> HttpConnectionManager {
    let topology = side.cx.proxy_config().and_then(|c| c.gateway_topology.as_ref());
    let chosen = topology.map_or(mesh::ForwardClientCertDetails::Undefined, |t| t.forward_client_cert_details());
    let details = match chosen {
        mesh::ForwardClientCertDetails::Undefined => ForwardClientCertDetails::SanitizeSet,
        chosen => forward_client_cert(chosen),
    };
    // Only where the header is written does it matter what goes into it.
    let writes = matches!(details, ForwardClientCertDetails::AppendForward | ForwardClientCertDetails::SanitizeSet);
    HttpConnectionManager {
        xff_num_trusted_hops: topology.map_or(0, |t| t.num_trusted_proxies),
        forward_client_cert_details: details as i32,
        set_current_client_cert_details: writes.then(|| SetCurrentClientCertDetails {
            subject: Some(true),
            cert: true,
            dns: true,
            uri: true,
            ..Default::default()
        }),
        http_protocol_options: Some(Default::default()),
        ..Default::default()
    }
}
