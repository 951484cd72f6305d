//! The forward proxy for HTTP that applications may be told to use (MeshConfig `proxyHttpPort`).
//!
//! Source: Istio `buildHTTPProxy` (`listener.go`).

use super::chain::Chain;
use super::http::{HttpOptions, Routes};
use super::{Side, outbound};
use crate::address;
use meltemi_api::envoy::config::core::v3::Http1ProtocolOptions;
use meltemi_api::envoy::config::listener::v3::Listener;
use meltemi_world::Protocol;

/// The name of its RouteConfiguration.
const ROUTES: &str = "http_proxy";

/// Its listener, on the loopback addresses; `None` where the mesh has none.
pub(super) fn listener<'s>(side: &Side<'s>) -> Option<Listener> {
    // The node may choose another port for itself (metadata `HTTP_PROXY_PORT`), also none.
    let own = side.cx.proxy.metadata.http_proxy_port.parse::<i32>().ok();
    let port = own.unwrap_or(side.cx.mesh().proxy_http_port).unsigned_abs();
    if port == 0 {
        return None;
    }
    let mut options = HttpOptions::new(side, Routes::Rds(ROUTES.to_owned()), Protocol::HttpProxy, port);
    options.mx_headers_for_mesh_only = false;
    options.base.http_protocol_options =
        Some(Http1ProtocolOptions { allow_absolute_url: Some(true), ..Default::default() });
    let addresses = address::localhosts(side.cx.proxy.ip_mode).into_iter().map(str::to_owned).collect();
    Some(outbound::single(side, addresses, port, Chain::http(options)))
}
