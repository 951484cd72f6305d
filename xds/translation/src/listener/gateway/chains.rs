//! Filter chains of gateways for HTTP.

use crate::gateway::{GatewayServer, ServerPort};
use crate::listener::chain::Chain;
use crate::listener::http::{HttpOptions, Routes};
use crate::listener::{Side, tls};
use crate::proxy_headers::forward_client_cert;
use hcm::{ForwardClientCertDetails, SetCurrentClientCertDetails};
use meltemi_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager as hcm,
};
use meltemi_api::istio::mesh::v1alpha1 as mesh;
use meltemi_world::Protocol;

/// The one chain of a port for plain HTTP.
pub(super) fn plain_http<'s>(side: &Side<'_>, port: &ServerPort, route: &str) -> Chain<'s> {
    Chain::http(options(side, Protocol::parse(&port.protocol), port.number, route))
}

/// The chain of a server that ends TLS and serves HTTP.
pub(super) fn https<'s>(side: &Side<'_>, port: &ServerPort, server: &GatewayServer) -> Chain<'s> {
    let mut options = options(side, server.protocol(), port.number, &server.route_name);
    options.stat_prefix.clone_from(&server.server.name);
    let tls = server.server.tls.as_ref().map(|settings| tls::context(&side.cx, settings, false));
    Chain { sni_hosts: server.sni_hosts.clone(), tls, ..Chain::http(options) }
}

fn options<'s>(side: &Side<'_>, protocol: Protocol, port: u32, route: &str) -> HttpOptions<'s> {
    let mut options = HttpOptions::new(side, Routes::Rds(route.to_owned()), protocol, port);
    options.use_remote_address = true;
    options.base = base(side);
    options
}

/// What ProxyConfig `gatewayTopology` says of the proxies in front. Source: Istio `buildGatewayConnectionManager`.
fn base(side: &Side<'_>) -> HttpConnectionManager {
    let topology = side.cx.proxy_config().and_then(|c| c.gateway_topology.as_ref());
    let chosen =
        topology.map_or(mesh::ForwardClientCertDetails::Undefined, |t| t.forward_client_cert_details());
    let details = match chosen {
        mesh::ForwardClientCertDetails::Undefined => ForwardClientCertDetails::SanitizeSet,
        chosen => forward_client_cert(chosen),
    };
    // Only where the header is written does it matter what goes into it.
    let writes =
        matches!(details, ForwardClientCertDetails::AppendForward | ForwardClientCertDetails::SanitizeSet);
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
