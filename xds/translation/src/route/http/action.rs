//! Forwarding: to which clusters, how long, how often, rewritten how.
//!
//! Source: Istio `applyHTTPRouteDestination`, `GetDestinationCluster`.

use super::headers::Operations;
use super::{Backend, Place, mirror, outbound_headers};
use crate::index::virtual_services::gateway_semantics;
use crate::route::{hash, retry, set_timeout};
use crate::{names, wire};
use meltemi_api::envoy::config::route::v3::{
    Route, RouteAction, WeightedCluster, route,
    route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier},
    route_match::PathSpecifier,
    weighted_cluster::{ClusterWeight, cluster_weight},
};
use meltemi_api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use meltemi_api::istio::networking::v1alpha3::{
    Destination, HttpRewrite, HttpRoute, HttpRouteDestination, VirtualService,
};
use meltemi_world::Config;

/// Makes `out` forward to the rule's destinations. Returns the service behind each of them.
pub(super) fn forward<'a>(
    place: &Place<'a>,
    vs: &Config<VirtualService>,
    rule: &HttpRoute,
    authority: String,
    out: &mut Route,
) -> Vec<Option<Backend<'a>>> {
    let mut action = RouteAction::default();
    set_timeout(&mut action, rule.timeout.as_ref());
    let gateway_api = gateway_semantics(&vs.meta);
    if gateway_api {
        // The Gateway API asks for 500 where a backend does not exist.
        action.cluster_not_found_response_code = ClusterNotFoundResponseCode::InternalServerError as i32;
    }
    let mut authority = authority;
    if let Some(rewrite) = &rule.rewrite {
        action.append_x_forwarded_host = outbound_headers(place.cx).x_forwarded_host;
        rewrite_path(rewrite, gateway_api, out, &mut action);
        if !rewrite.authority.is_empty() {
            authority.clone_from(&rewrite.authority);
        }
    }
    if !authority.is_empty() {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority));
    }
    action.request_mirror_policies = mirror::policies(place, rule);
    let (backends, consistent_hash) = match rule.route.as_slice() {
        [only] => {
            (vec![single(place, only, out, &mut action)], hash::of_destination(place.cx, only).is_some())
        }
        several => (weighted(place, several, &mut action), false),
    };
    let retries = rule.retries.as_ref().or(place.cx.mesh().default_http_retry_policy.as_ref());
    action.retry_policy = retry::policy(retries, consistent_hash);
    out.action = Some(route::Action::Route(action));
    backends
}

fn rewrite_path(rewrite: &HttpRewrite, gateway_api: bool, out: &Route, action: &mut RouteAction) {
    if let Some(by) = &rewrite.uri_regex_rewrite {
        action.regex_rewrite = Some(substitute(&by.r#match, &by.rewrite));
    } else if gateway_api && rewrite.uri == "/" {
        // Takes the prefix away, and leaves `/` where nothing else remains.
        let prefix = match out.r#match.as_ref().and_then(|m| m.path_specifier.as_ref()) {
            Some(PathSpecifier::PathSeparatedPrefix(prefix)) => prefix.as_str(),
            _ => "",
        };
        action.regex_rewrite = Some(substitute(&format!("^{}(/?)(.*)", quote_regex(prefix)), r"/\2"));
    } else {
        action.prefix_rewrite.clone_from(&rewrite.uri);
    }
}

fn substitute(pattern: &str, substitution: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(wire::regex(pattern)), substitution: substitution.to_owned() }
}

/// Escapes what means something in a regular expression (Go `regexp.QuoteMeta`).
fn quote_regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// One destination: its header operations belong to the route.
fn single<'a>(
    place: &Place<'a>,
    to: &HttpRouteDestination,
    out: &mut Route,
    action: &mut RouteAction,
) -> Option<Backend<'a>> {
    let (cluster, backend) = destination(place, to);
    action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster));
    if let Some(headers) = &to.headers {
        let authority = Operations::of(headers).apply_to(out);
        // Envoy prefers the route's rewrite over a cluster's, so the route's stays here, too.
        if !authority.is_empty() && action.host_rewrite_specifier.is_none() {
            action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority));
        }
    }
    action.hash_policy.extend(hash::of_destination(place.cx, to).and_then(hash::policy));
    backend
}

/// Several destinations, by weight; those of weight 0 are left out.
fn weighted<'a>(
    place: &Place<'a>,
    several: &[HttpRouteDestination],
    action: &mut RouteAction,
) -> Vec<Option<Backend<'a>>> {
    let mut clusters = Vec::new();
    let mut backends = Vec::new();
    for to in several.iter().filter(|to| to.weight != 0) {
        let (name, backend) = destination(place, to);
        let operations = to.headers.as_ref().map(Operations::of).unwrap_or_default();
        let authority = Some(operations.authority).filter(|a| !a.is_empty());
        clusters.push(ClusterWeight {
            name,
            weight: Some(to.weight.cast_unsigned()),
            request_headers_to_add: operations.request_add,
            request_headers_to_remove: operations.request_remove,
            response_headers_to_add: operations.response_add,
            response_headers_to_remove: operations.response_remove,
            host_rewrite_specifier: authority.map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
            ..Default::default()
        });
        action.hash_policy.extend(hash::of_destination(place.cx, to).and_then(hash::policy));
        backends.push(backend);
    }
    let weighted = WeightedCluster { clusters, ..Default::default() };
    action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(weighted));
    backends
}

fn destination<'a>(place: &Place<'a>, to: &HttpRouteDestination) -> (String, Option<Backend<'a>>) {
    let none = Destination::default();
    let to = to.destination.as_ref().unwrap_or(&none);
    (cluster(place, to), (place.lookup)(&to.host))
}

/// The cluster of a destination. Without a port of its own it is the service's only port, else the port that clients
/// connect to.
pub(super) fn cluster(place: &Place<'_>, to: &Destination) -> String {
    if to.host.is_empty() {
        return names::UNKNOWN_SERVICE.to_owned();
    }
    let backend = (place.lookup)(&to.host);
    let hostname = backend.and_then(|b| b.service.external_name.as_deref()).unwrap_or(&to.host);
    let port = match &to.port {
        Some(port) => port.number,
        None => backend.and_then(|b| b.only_port).unwrap_or(place.port),
    };
    names::outbound_cluster(port, &to.subset, hostname)
}
