//! Delegates: HTTP routes that a VirtualService takes from another one, narrowed to its own matches.
//!
//! Source: Istio `mergeVirtualServices`, `MergeHTTPRoutes`.

use super::{SharedVirtualService, gateway_semantics, ingress_semantics, resolve, visibility};
use meltemi_api::istio::networking::v1alpha3::{
    Delegate, HttpMatchRequest, HttpRoute, StringMatch, string_match::MatchType,
};
use meltemi_world::{Config, NsName, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Finds the VirtualServices that others delegate to.
pub(super) struct Delegates<'a>(&'a Snapshot);

impl<'a> Delegates<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self(snapshot)
    }

    /// The VirtualService, its names resolved, with each delegating route replaced by the delegate's routes. A route
    /// whose delegate is missing or not visible is dropped.
    pub(super) fn merge(&self, root: &SharedVirtualService) -> SharedVirtualService {
        let root = resolve::names(root, &self.0.settings.domain);
        let mut merged: Config<_> = (*root).clone();
        merged.spec.http = root
            .spec
            .http
            .iter()
            .flat_map(|http| match &http.delegate {
                None => vec![http.clone()],
                Some(delegate) => {
                    let routes = self.routes_of(&key(delegate, &root), &root.meta.namespace);
                    routes.into_iter().filter_map(|sub| merge_route(http, sub)).collect()
                }
            })
            .collect();
        Arc::new(merged)
    }

    /// The routes of a delegate, names resolved; none unless `namespace` may see it.
    fn routes_of(&self, name: &NsName, namespace: &str) -> Vec<HttpRoute> {
        let found = self.0.virtual_services.get(name).filter(|vs| vs.spec.hosts.is_empty());
        match found {
            Some(vs) if visible_to(self.0, vs, namespace) => {
                resolve::names(vs, &self.0.settings.domain).spec.http.clone()
            }
            _ => Vec::new(),
        }
    }
}

/// The delegates that a VirtualService names. Those made from Ingresses and Gateway API routes name none.
pub(super) fn named_by(root: &SharedVirtualService) -> impl Iterator<Item = NsName> {
    let own = !ingress_semantics(&root.meta) && !gateway_semantics(&root.meta);
    root.spec.http.iter().filter(move |_| own).filter_map(|http| Some(key(http.delegate.as_ref()?, root)))
}

fn key(delegate: &Delegate, root: &SharedVirtualService) -> NsName {
    let namespace =
        if delegate.namespace.is_empty() { &*root.meta.namespace } else { delegate.namespace.as_str() };
    NsName::new(namespace, delegate.name.as_str())
}

fn visible_to(snapshot: &Snapshot, delegate: &SharedVirtualService, namespace: &str) -> bool {
    visibility(snapshot, delegate).allows(namespace)
}

/// The delegate's route with what only the root says; `None` if their matches exclude each other.
#[allow(deprecated)] // Istio still honours mirrorPercent
fn merge_route(root: &HttpRoute, sub: HttpRoute) -> Option<HttpRoute> {
    Some(HttpRoute {
        r#match: merge_matches(&root.r#match, sub.r#match)?,
        name: join_names(&root.name, sub.name),
        rewrite: sub.rewrite.or_else(|| root.rewrite.clone()),
        direct_response: sub.direct_response.or_else(|| root.direct_response.clone()),
        timeout: sub.timeout.or(root.timeout),
        retries: sub.retries.or_else(|| root.retries.clone()),
        fault: sub.fault.or_else(|| root.fault.clone()),
        mirror: sub.mirror.or_else(|| root.mirror.clone()),
        mirror_percent: sub.mirror_percent.or(root.mirror_percent),
        mirror_percentage: sub.mirror_percentage.or(root.mirror_percentage),
        cors_policy: sub.cors_policy.or_else(|| root.cors_policy.clone()),
        mirrors: if sub.mirrors.is_empty() { root.mirrors.clone() } else { sub.mirrors },
        headers: sub.headers.or_else(|| root.headers.clone()),
        route: sub.route,
        redirect: sub.redirect,
        delegate: sub.delegate,
    })
}

fn join_names(root: &str, sub: String) -> String {
    match (root.is_empty(), sub.is_empty()) {
        (_, true) => root.to_owned(),
        (true, false) => sub,
        (false, false) => format!("{root}-{sub}"),
    }
}

/// Every match of the delegate with every match of the root that it does not contradict. One that contradicts all of
/// them makes the whole route invalid.
fn merge_matches(root: &[HttpMatchRequest], sub: Vec<HttpMatchRequest>) -> Option<Vec<HttpMatchRequest>> {
    if root.is_empty() {
        return Some(sub);
    }
    if sub.is_empty() {
        return Some(root.to_vec());
    }
    let mut out = Vec::new();
    for leaf in &sub {
        let before = out.len();
        out.extend(root.iter().filter(|r| !conflict(r, leaf)).map(|r| merge_match(r, leaf.clone())));
        if out.len() == before {
            return None;
        }
    }
    Some(out)
}

fn merge_match(root: &HttpMatchRequest, sub: HttpMatchRequest) -> HttpMatchRequest {
    let text = |sub: String, root: &str| if sub.is_empty() { root.to_owned() } else { sub };
    HttpMatchRequest {
        name: join_names(&root.name, sub.name),
        uri: sub.uri.or_else(|| root.uri.clone()),
        scheme: sub.scheme.or_else(|| root.scheme.clone()),
        method: sub.method.or_else(|| root.method.clone()),
        authority: sub.authority.or_else(|| root.authority.clone()),
        headers: lay_over(&root.headers, sub.headers),
        without_headers: lay_over(&root.without_headers, sub.without_headers),
        query_params: lay_over(&root.query_params, sub.query_params),
        port: if sub.port == 0 { root.port } else { sub.port },
        source_labels: lay_over(&root.source_labels, sub.source_labels),
        source_namespace: text(sub.source_namespace, &root.source_namespace),
        gateways: if sub.gateways.is_empty() { root.gateways.clone() } else { sub.gateways },
        stat_prefix: text(sub.stat_prefix, &root.stat_prefix),
        ignore_uri_case: sub.ignore_uri_case,
    }
}

fn lay_over<V: Clone>(base: &BTreeMap<String, V>, over: BTreeMap<String, V>) -> BTreeMap<String, V> {
    let mut out = base.clone();
    out.extend(over);
    out
}

/// Whether a request can't match both, or the delegate would match more than the root. Source: Istio `hasConflict`.
fn conflict(root: &HttpMatchRequest, leaf: &HttpMatchRequest) -> bool {
    let text = |r: &Option<StringMatch>, l: &Option<StringMatch>| matches!((r, l), (Some(r), Some(l)) if texts_conflict(r, l));
    let maps = |r: &BTreeMap<String, StringMatch>, l: &BTreeMap<String, StringMatch>| {
        l.iter().any(|(key, l)| r.get(key).is_some_and(|r| texts_conflict(r, l)))
    };
    text(&root.uri, &leaf.uri)
        || text(&root.scheme, &leaf.scheme)
        || text(&root.method, &leaf.method)
        || text(&root.authority, &leaf.authority)
        || maps(&root.headers, &leaf.headers)
        || maps(&root.without_headers, &leaf.without_headers)
        || maps(&root.query_params, &leaf.query_params)
        || root.ignore_uri_case != leaf.ignore_uri_case
        || (root.port > 0 && leaf.port > 0 && root.port != leaf.port)
        || (!root.source_namespace.is_empty() && leaf.source_namespace != root.source_namespace)
        || leaf.source_labels.iter().any(|(k, v)| root.source_labels.get(k).is_some_and(|r| r != v))
        || gateways_conflict(&root.gateways, &leaf.gateways)
}

fn gateways_conflict(root: &[String], leaf: &[String]) -> bool {
    !root.is_empty()
        && !leaf.is_empty()
        && (root.len() < leaf.len() || leaf.iter().any(|gateway| !root.contains(gateway)))
}

/// Whether the delegate's text match is not within the root's. Source: Istio `stringMatchConflict`.
fn texts_conflict(root: &StringMatch, leaf: &StringMatch) -> bool {
    match (kind(root), kind(leaf)) {
        (Kind::Exact(r), Kind::Exact(l)) => r != l,
        (Kind::Prefix(r), Kind::Prefix(l) | Kind::Exact(l)) => !l.starts_with(r),
        _ => true,
    }
}

enum Kind<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex,
    Empty,
}

fn kind(text: &StringMatch) -> Kind<'_> {
    match &text.match_type {
        Some(MatchType::Exact(s)) if !s.is_empty() => Kind::Exact(s),
        Some(MatchType::Prefix(s)) if !s.is_empty() => Kind::Prefix(s),
        Some(MatchType::Regex(s)) if !s.is_empty() => Kind::Regex,
        _ => Kind::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> HttpMatchRequest {
        let uri = StringMatch { match_type: Some(MatchType::Prefix(text.into())) };
        HttpMatchRequest { uri: Some(uri), ..Default::default() }
    }

    fn route(matches: Vec<HttpMatchRequest>) -> HttpRoute {
        HttpRoute { r#match: matches, ..Default::default() }
    }

    #[test]
    fn a_delegates_match_must_lie_within_the_roots() {
        let root = route(vec![prefix("/a"), prefix("/b")]);
        let merged = merge_route(&root, route(vec![prefix("/a/x")])).unwrap();
        assert_eq!(merged.r#match, vec![prefix("/a/x")]);
        assert!(merge_route(&root, route(vec![prefix("/a/x"), prefix("/c")])).is_none());
    }

    #[test]
    fn a_side_without_matches_takes_the_others() {
        let root = route(vec![prefix("/a")]);
        assert_eq!(merge_route(&root, route(vec![])).unwrap().r#match, root.r#match);
        assert_eq!(merge_route(&route(vec![]), root.clone()).unwrap().r#match, root.r#match);
    }

    #[test]
    fn names_are_joined() {
        assert_eq!(join_names("root", "sub".into()), "root-sub");
        assert_eq!(join_names("", "sub".into()), "sub");
        assert_eq!(join_names("root", String::new()), "root");
    }
}
