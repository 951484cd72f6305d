//! Envoy routes from the HTTP rules of a VirtualService.
//!
//! Source: Istio `BuildHTTPRoutesForVirtualService`, `TranslateRoute` (`pilot/pkg/networking/core/route/route.go`).

mod action;
mod cors;
mod fault;
mod headers;
mod matches;
mod mirror;
mod redirect;

use super::session;
use crate::Cx;
use crate::proxy_headers::{ListenerClass, ProxyHeaders};
use crate::{names, wire};
use headers::Operations;
use meltemi_api::envoy::config::route::v3::{self as envoy, route_action, route_match};
use meltemi_api::istio::networking::v1alpha3::{HttpMatchRequest, HttpRoute, VirtualService};
use meltemi_world::{Config, Service};
use std::collections::BTreeMap;

/// The service that a route leads to, as far as it is visible where the route is served.
#[derive(Clone, Copy)]
pub(super) struct Backend<'a> {
    /// The service.
    pub(super) service: &'a Service,
    /// Its port, if it has only one there: routes that name no port go to it.
    pub(super) only_port: Option<u32>,
}

/// Where the routes of a VirtualService are served.
pub(super) struct Place<'a> {
    /// The context.
    pub(super) cx: &'a Cx<'a>,
    /// The port that clients connect to; 0 where routes serve several.
    pub(super) port: u32,
    /// The gateway: `mesh`, or `NAMESPACE/NAME`.
    pub(super) gateway: &'a str,
    /// Whether clients connect by TLS that ends here.
    pub(super) is_tls: bool,
    /// Finds the service behind a destination's host.
    pub(super) lookup: &'a dyn Fn(&str) -> Option<Backend<'a>>,
}

/// The routes of a VirtualService in its order, up to the first that catches everything.
pub(super) fn routes(place: &Place<'_>, vs: &Config<VirtualService>) -> Vec<envoy::Route> {
    let mut out = Vec::new();
    for rule in &vs.spec.http {
        if rule.r#match.is_empty() {
            out.extend(route(place, vs, rule, None));
            break;
        }
        for condition in &rule.r#match {
            let Some(route) = route(place, vs, rule, Some(condition)) else { continue };
            let last = is_catch_all(&route);
            out.push(route);
            if last {
                return out;
            }
        }
    }
    out
}

/// The route for one condition of a rule; `None` where it does not apply to this place or proxy.
fn route(
    place: &Place<'_>,
    vs: &Config<VirtualService>,
    rule: &HttpRoute,
    condition: Option<&HttpMatchRequest>,
) -> Option<envoy::Route> {
    if condition.is_some_and(|c| !applies(place, c)) {
        return None;
    }
    let mut out = envoy::Route {
        name: name(rule, condition),
        r#match: Some(matches::route_match(&vs.meta, condition)),
        metadata: Some(wire::config_metadata("virtual-service", &vs.meta)),
        stat_prefix: condition.map_or_else(String::new, |c| c.stat_prefix.clone()),
        ..Default::default()
    };
    let operations = rule.headers.as_ref().map(Operations::of).unwrap_or_default();
    let authority = operations.apply_to(&mut out);
    let mut backends = Vec::new();
    if let Some(to) = &rule.redirect {
        out.action = redirect::redirect(place, to).map(envoy::route::Action::Redirect);
    } else if let Some(answer) = &rule.direct_response {
        out.action = Some(envoy::route::Action::DirectResponse(redirect::direct_response(answer)));
    } else {
        backends = action::forward(place, vs, rule, authority, &mut out);
    }
    out.decorator = Some(envoy::Decorator { operation: operation(place, vs, &out), ..Default::default() });
    out.typed_per_filter_config = filters(place.cx, rule, &backends);
    Some(out)
}

/// Whether a condition holds for the port, the gateway and the proxy. A condition that names gateways does not look
/// at the source. Source: Istio `sourceMatchHTTP`.
fn applies(place: &Place<'_>, condition: &HttpMatchRequest) -> bool {
    if condition.port != 0 && condition.port != place.port {
        return false;
    }
    if !condition.gateways.is_empty() {
        return condition.gateways.iter().any(|g| g == place.gateway);
    }
    let proxy = place.cx.proxy;
    let namespace = &condition.source_namespace;
    proxy.labels.matches(&condition.source_labels)
        && (namespace.is_empty() || *namespace == proxy.metadata.namespace)
}

fn name(rule: &HttpRoute, condition: Option<&HttpMatchRequest>) -> String {
    match condition {
        Some(c) if !c.name.is_empty() => format!("{}.{}", rule.name, c.name),
        _ => rule.name.clone(),
    }
}

/// Settings of HTTP filters for one route.
fn filters(
    cx: &Cx<'_>,
    rule: &HttpRoute,
    backends: &[Option<Backend<'_>>],
) -> BTreeMap<String, meltemi_api::wkt::Any> {
    let mut out = BTreeMap::new();
    if let Some(injected) = &rule.fault {
        out.insert("envoy.filters.http.fault".to_owned(), wire::any(&fault::fault(injected)));
    }
    if let Some(policy) = &rule.cors_policy {
        out.insert("envoy.filters.http.cors".to_owned(), wire::any(&cors::policy(policy)));
    }
    // With several destinations, one that does not ask for persistent sessions undoes what came before it.
    let mut chosen = None;
    for backend in backends {
        let session = backend.and_then(|b| session::per_route(cx, b.service));
        if session.is_some() && chosen.is_some() {
            break;
        }
        chosen = session;
    }
    out.extend(chosen.map(|config| (session::FILTER.to_owned(), config)));
    out
}

/// The name of spans: the destination, or the VirtualService where there is not one; with port and path.
fn operation(place: &Place<'_>, vs: &Config<VirtualService>, route: &envoy::Route) -> String {
    use route_match::PathSpecifier;
    let path = match route.r#match.as_ref().and_then(|m| m.path_specifier.as_ref()) {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
        _ => "/*".to_owned(),
    };
    let destination = match &route.action {
        Some(envoy::route::Action::Route(action)) => match &action.cluster_specifier {
            Some(route_action::ClusterSpecifier::Cluster(cluster)) => names::parse_outbound(cluster),
            _ => None,
        },
        _ => None,
    };
    match destination {
        Some(to) => format!("{}:{}{path}", to.hostname, to.port),
        None => format!("{}:{}{path}", vs.meta.name, place.port),
    }
}

/// Whether a route matches every request: no condition but the path, and that is `/` or `.*`.
pub(super) fn is_catch_all(route: &envoy::Route) -> bool {
    use route_match::PathSpecifier;
    let Some(condition) = &route.r#match else { return false };
    let any_path = match &condition.path_specifier {
        Some(PathSpecifier::Prefix(path) | PathSpecifier::PathSeparatedPrefix(path)) => path == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    any_path
        && condition.headers.is_empty()
        && condition.query_parameters.is_empty()
        && condition.dynamic_metadata.is_empty()
}

/// What sidecars add to outbound requests; Istio asks for these also on gateways where it rewrites the host.
fn outbound_headers(cx: &Cx<'_>) -> ProxyHeaders {
    ProxyHeaders::of(cx, ListenerClass::SidecarOutbound)
}
