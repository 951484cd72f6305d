//! The filter chains of one service on one port.
//!
//! Source: Istio `buildSidecarOutboundHTTPListenerOpts`, `buildSidecarOutboundTCPListenerOpts`.

use super::entries::Spot;
use super::routes::TcpRoutes;
use crate::listener::Side;
use crate::listener::chain::{Chain, RAW_BUFFER};
use crate::listener::http::{HttpOptions, Routes};

/// The chain for HTTP. All services of a port share its RouteConfiguration, unless the listener is for the addresses
/// of one service and does not know its protocol (`own_routes`).
pub(super) fn http<'s>(side: &Side<'s>, spot: &Spot<'_, 's>, own_routes: bool) -> Chain<'s> {
    let port = spot.port.port;
    let routes = match port {
        0 => spot.bind.primary().to_owned(),
        port if own_routes => format!("{}:{port}", spot.service.hostname),
        port => port.to_string(),
    };
    let mut options = HttpOptions::new(side, Routes::Rds(routes), spot.port.protocol, port);
    options.use_remote_address = side.cx.features().use_remote_address;
    options.service = Some(spot.service);
    Chain::http(options)
}

/// The chain for what the HTTP inspector finds to be HTTP in plain text.
pub(in crate::listener) fn for_plaintext_http<'s>(side: &Side<'_>, chain: Chain<'s>) -> Chain<'s> {
    let application_protocols = side.plaintext_http_alpn();
    Chain { application_protocols, transport_protocol: RAW_BUFFER, ..chain }
}

/// The chains for TCP and TLS: those that VirtualServices ask for, or one to the service itself.
pub(super) fn tcp<'s>(side: &Side<'s>, spot: &Spot<'_, 's>, routes: &TcpRoutes<'s>) -> Vec<Chain<'s>> {
    if spot.port.protocol.is_tls() { routes.tls_chains(side, spot) } else { routes.tcp_chains(side, spot) }
}
