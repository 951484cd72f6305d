//! The RouteConfiguration that inbound listeners carry inline.

use super::{MAX_DIRECT_RESPONSE, default, hash};
use crate::Cx;
use crate::patch::{self, PatchContext};
use meltemi_api::envoy::config::route::v3 as envoy;
use meltemi_world::proxy::ProxyType;
use meltemi_world::{Protocol, Resolution, Service};

/// What an inbound filter chain knows about its port.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// The cluster behind it, also the name of the RouteConfiguration.
    pub cluster: &'a str,
    /// The host of the service that the chain was made for; empty where there is none.
    pub hostname: &'a str,
    /// The service's port, or that of the Sidecar's ingress listener.
    pub port: u32,
    /// What the port speaks.
    pub protocol: Protocol,
    /// The service itself, where there is one.
    pub service: Option<&'a Service>,
}

/// The routes of an inbound port: everything to the application. Source: Istio `buildSidecarInboundHTTPRouteConfig`.
pub fn inbound(cx: &Cx<'_>, to: &Inbound<'_>) -> envoy::RouteConfiguration {
    // A wildcard host that the proxy resolves by itself must not be fed other names.
    let dynamic = to.service.filter(|s| s.resolution == Resolution::DynamicDns);
    let domain = dynamic.map_or("*", |s| &*s.hostname);
    let operation = default::operation(to.hostname, to.port);
    let waypoint = cx.proxy.kind == ProxyType::Waypoint;
    let route = if waypoint {
        through_waypoint(cx, to, operation)
    } else {
        default::inbound(to.cluster.to_owned(), operation, to.protocol)
    };
    let mut configuration = envoy::RouteConfiguration {
        name: to.cluster.to_owned(),
        virtual_hosts: vec![envoy::VirtualHost {
            name: format!("inbound|http|{}", to.port),
            domains: vec![domain.to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        max_direct_response_body_size_bytes: waypoint.then_some(MAX_DIRECT_RESPONSE),
        validate_clusters: Some(false),
        ..Default::default()
    };
    patch::route_configuration(cx, PatchContext::SidecarInbound, &mut configuration);
    configuration
}

/// A waypoint stands between client and service, so its inbound route is much like a sidecar's outbound one.
fn through_waypoint(cx: &Cx<'_>, to: &Inbound<'_>, operation: String) -> envoy::Route {
    let mut route = default::outbound(cx, to.cluster.to_owned(), operation);
    if let Some(envoy::route::Action::Route(action)) = &mut route.action {
        let settings = to.service.and_then(|s| hash::of_inbound(cx, &s.hostname));
        action.hash_policy.extend(settings.and_then(hash::policy));
    }
    route
}
