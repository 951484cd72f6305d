//! LDS: the listeners of sidecars and gateways.
//!
//! Source: Istio `pilot/pkg/networking/core/listener*.go`.

pub mod chain;
pub mod connection_settings;
pub mod filters;
pub mod forward;
pub mod gateway;
pub mod http;
pub mod network;
pub mod side;
pub mod tls;

pub use side::Side;

use crate::Cx;
use meltemi_api::envoy::config::listener::v3::Listener;
use meltemi_world::proxy::ProxyType;

/// All listeners of a proxy.
pub fn listeners(cx: &Cx<'_>) -> Vec<Listener> {
    match cx.proxy.kind {
        ProxyType::Router => gateway::listeners(cx),
        // Ambient proxies are configured by other means.
        ProxyType::Sidecar | ProxyType::Waypoint | ProxyType::Ztunnel => Vec::new(),
    }
}
