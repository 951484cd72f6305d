//! LDS: the listeners of sidecars and gateways.
//!
//! Source: Istio `pilot/pkg/networking/core/listener*.go`.

mod catch_all;
pub mod chain;
pub mod connection_settings;
pub mod filters;
pub mod forward;
pub mod gateway;
pub mod http;
mod http_proxy;
mod inbound;
pub mod network;
mod outbound;
mod reserved;
pub mod side;
pub mod tls;

pub use side::Side;

use crate::Cx;
use crate::patch::{PatchContext, Patches};
use crate::proxy_headers::ListenerClass;
use meltemi_api::envoy::config::listener::v3::Listener;
use meltemi_world::proxy::ProxyType;

/// All listeners of a proxy.
pub fn listeners(cx: &Cx<'_>) -> Vec<Listener> {
    match cx.proxy.kind {
        ProxyType::Sidecar => of_sidecar(cx),
        ProxyType::Router => {
            let mut out = gateway::listeners(cx);
            Patches::of(cx, PatchContext::Gateway).listeners(&mut out);
            out
        }
        // Ambient proxies are configured by other means.
        ProxyType::Waypoint | ProxyType::Ztunnel => Vec::new(),
    }
}

/// MeshConfig `proxyListenPort: 0` turns interception off as a whole.
fn of_sidecar(cx: &Cx<'_>) -> Vec<Listener> {
    if cx.mesh().proxy_listen_port <= 0 {
        return Vec::new();
    }
    let side = Side::new(cx, ListenerClass::SidecarOutbound);
    let mut out = outbound::listeners(&side);
    out.extend(http_proxy::listener(&side));
    out.extend(catch_all::listener(&side));
    Patches::of(cx, PatchContext::SidecarOutbound).listeners(&mut out);
    let mut of_inbound = inbound::listeners(cx);
    Patches::of(cx, PatchContext::SidecarInbound).listeners(&mut of_inbound);
    out.extend(of_inbound);
    out
}
