//! Routes where no VirtualService says otherwise: everything goes to one cluster.

use super::retry;
use crate::Cx;
use meltemi_api::envoy::config::route::v3::{self as envoy, route_action, route_match};
use meltemi_api::wkt::seconds;
use meltemi_world::Protocol;

/// The name of such a route.
const NAME: &str = "default";

/// `HOST:PORT/*`, the name of spans (Istio `TraceOperation`).
pub(super) fn operation(hostname: &str, port: u32) -> String {
    format!("{}/*", super::domains::with_port(hostname, port))
}

/// The route to a service, with the mesh's retry policy. Source: Istio `BuildDefaultHTTPOutboundRoute`.
pub(super) fn outbound(cx: &Cx<'_>, cluster: String, operation: String) -> envoy::Route {
    let mut action = to_cluster(cluster);
    action.retry_policy = retry::policy(cx.mesh().default_http_retry_policy.as_ref(), false);
    super::set_timeout(&mut action, None);
    route(action, operation)
}

/// The route to the application behind the proxy. Source: Istio `BuildDefaultHTTPInboundRoute`.
pub(super) fn inbound(cluster: String, operation: String, protocol: Protocol) -> envoy::Route {
    let mut action = to_cluster(cluster);
    action.timeout = Some(seconds(0));
    action.max_stream_duration = Some(route_action::MaxStreamDuration {
        max_stream_duration: Some(seconds(0)),
        // Without it, Envoy would ignore the grpc-timeout header.
        grpc_timeout_header_max: Some(seconds(0)),
        ..Default::default()
    });
    // gRPC streams must not be repeated.
    action.retry_policy = (!protocol.is_grpc()).then(|| envoy::RetryPolicy {
        retry_on: "reset-before-request".to_owned(),
        num_retries: Some(2),
        ..Default::default()
    });
    route(action, operation)
}

fn to_cluster(cluster: String) -> envoy::RouteAction {
    let cluster = route_action::ClusterSpecifier::Cluster(cluster);
    envoy::RouteAction { cluster_specifier: Some(cluster), ..Default::default() }
}

fn route(action: envoy::RouteAction, operation: String) -> envoy::Route {
    envoy::Route {
        name: NAME.to_owned(),
        r#match: Some(any_path()),
        decorator: Some(envoy::Decorator { operation, ..Default::default() }),
        action: Some(envoy::route::Action::Route(action)),
        ..Default::default()
    }
}

/// Matches every request.
pub(super) fn any_path() -> envoy::RouteMatch {
    let prefix = route_match::PathSpecifier::Prefix("/".to_owned());
    envoy::RouteMatch { path_specifier: Some(prefix), ..Default::default() }
}
