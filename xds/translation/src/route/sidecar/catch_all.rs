//! The virtual host for names that no service has.
//!
//! Source: Istio `buildCatchAllVirtualHost`.

use crate::cluster::dynamic_dns;
use crate::proxy_headers::ProxyHeaders;
use crate::route::{default::any_path, set_timeout};
use crate::{Cx, names};
use meltemi_api::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, VirtualHost, route::Action, route_action::ClusterSpecifier,
};
use meltemi_api::istio::networking::v1alpha3::Destination;

/// Lets unknown names through or answers 502, as the outbound traffic policy says.
pub(super) fn virtual_host(cx: &Cx<'_>, headers: &ProxyHeaders) -> VirtualHost {
    let (name, action) = if dynamic_dns::is_allow_any(cx) {
        ("allow_any_dynamic_dns", pass_to(dynamic_dns::ALLOW_ANY.to_owned(), headers))
    } else if cx.scope.allows_any() {
        let proxy = cx.scope.outbound_traffic_policy.egress_proxy.as_ref();
        ("allow_any", pass_to(proxy.map_or_else(|| names::PASSTHROUGH.to_owned(), egress_cluster), headers))
    } else {
        ("block_all", Action::DirectResponse(DirectResponseAction { status: 502, ..Default::default() }))
    };
    let route = Route {
        name: name.to_owned(),
        r#match: Some(any_path()),
        action: Some(action),
        ..Default::default()
    };
    VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        include_request_attempt_count: headers.include_request_attempt_count,
        ..Default::default()
    }
}

fn pass_to(cluster: String, headers: &ProxyHeaders) -> Action {
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        append_x_forwarded_host: headers.x_forwarded_host,
        ..Default::default()
    };
    set_timeout(&mut action, None);
    Action::Route(action)
}

/// The cluster of a Sidecar's `outboundTrafficPolicy.egressProxy`.
fn egress_cluster(proxy: &Destination) -> String {
    if proxy.host.is_empty() {
        return names::UNKNOWN_SERVICE.to_owned();
    }
    names::outbound_cluster(proxy.port.as_ref().map_or(0, |p| p.number), &proxy.subset, &proxy.host)
}
