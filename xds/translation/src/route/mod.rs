//! RDS: route configurations of sidecars and gateways.
//!
//! Besides services, VirtualServices and DestinationRules (their hash policies), a route depends of the proxy on: its
//! scope, namespace, labels, DNS domain, IP families, DNS capture, and the headers that its ProxyConfig chooses; of a
//! gateway also on its merged servers. It never depends on endpoints.
//!
//! Source: Istio `pilot/pkg/networking/core/httproute.go`, `gateway.go` and `route/route.go`.

mod default;
pub(crate) mod domains;
mod gateway;
mod hash;
mod http;
mod inbound;
mod retry;
mod session;
mod sidecar;

use crate::Cx;
use crate::patch::{self, PatchContext};
use meltemi_api::envoy::config::route::v3::{RouteAction, RouteConfiguration};
use meltemi_api::wkt;

pub use gateway::gateway_route;
pub use inbound::{Inbound, inbound};
pub use sidecar::{sidecar_route, unknown_names};

/// How large the body of a direct response may be, in bytes; Envoy's own limit is 4 KiB.
const MAX_DIRECT_RESPONSE: u32 = 1024 * 1024;

/// The RouteConfiguration of a name; one without virtual hosts where nothing is known under the name.
pub fn route(cx: &Cx<'_>, name: &str) -> Option<RouteConfiguration> {
    if !cx.proxy.is_router() {
        return sidecar_route(cx, name);
    }
    let mut route = gateway_route(cx, name)?;
    patch::route_configuration(cx, PatchContext::Gateway, &mut route);
    Some(route)
}

/// What is served for a name that means nothing (any more): Envoy must not wait for it.
fn empty(name: &str) -> RouteConfiguration {
    RouteConfiguration { name: name.to_owned(), validate_clusters: Some(false), ..Default::default() }
}

/// Sets a route's timeout; without one it is off, where Envoy's default would be 15 s.
#[allow(deprecated)] // Istio bounds grpc-timeout by `max_grpc_timeout`
fn set_timeout(action: &mut RouteAction, timeout: Option<&wkt::Duration>) {
    let timeout = timeout.map_or(wkt::seconds(0), wkt::to_prost_duration);
    action.timeout = Some(timeout);
    action.max_grpc_timeout = Some(timeout);
}
