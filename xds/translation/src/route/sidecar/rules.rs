//! Which routes apply to which services: from VirtualServices, and default ones for all others.
//!
//! Source: Istio `BuildSidecarVirtualHostWrapper`.

use super::services::{Seen, Services};
use crate::index::virtual_services::{SharedVirtualService, gateway_semantics};
use crate::route::http::{Backend, Place, routes};
use crate::route::{default, hash};
use crate::{Cx, names};
use meltemi_api::envoy::config::route::v3::{Route, route};
use meltemi_world::{Resolution, Str, host};
use std::collections::{BTreeMap, BTreeSet};

/// Routes and whom they are for (Istio `VirtualHostWrapper`).
pub(super) struct Rules<'a> {
    /// The port.
    pub(super) port: u32,
    /// The services.
    pub(super) services: Vec<Seen<'a>>,
    /// Hosts of a VirtualService that no service has.
    pub(super) other_hosts: Vec<String>,
    /// The routes.
    pub(super) routes: Vec<Route>,
}

/// All rules of a port: those of VirtualServices in their order, then those of services that have none.
pub(super) fn rules<'a>(cx: &Cx<'_>, services: Services<'a>) -> Vec<Rules<'a>> {
    // On port 80, VirtualServices also make hosts that no service has reachable.
    let relevant =
        services.egress.virtual_services.iter().filter(|vs| services.port == 80 || concerns(vs, services));
    let mut out: Vec<_> = relevant.flat_map(|vs| of_virtual_service(cx, vs, services)).collect();
    let rest = without_taken(services.iter(), &out);
    out.extend(rest.iter().flat_map(|seen| of_service(cx, seen)));
    out
}

/// The rules for one host, in lower case: of its service, of services that it is an alias of, and of VirtualServices
/// that have it. The same as of [`rules`], without looking at all the others.
pub(super) fn rules_of_host<'a>(cx: &Cx<'_>, services: Services<'a>, hostname: &str) -> Vec<Rules<'a>> {
    let wanted: Vec<_> = services.get(hostname).into_iter().chain(services.with_alias(hostname)).collect();
    let mut hosts: Vec<Str> = wanted.iter().map(|s| s.hostname.clone()).collect();
    hosts.push(hostname.into());
    let relevant =
        services.egress.routes_of(&hosts).filter(|vs| services.port == 80 || concerns(vs, services));
    let mut out: Vec<_> = relevant.flat_map(|vs| of_virtual_service(cx, vs, services)).collect();
    for rules in &mut out {
        rules.services.retain(|s| hosts.contains(&s.hostname));
        rules.other_hosts.retain(|h| h == hostname);
    }
    let rest = without_taken(wanted.into_iter(), &out);
    out.extend(rest.iter().flat_map(|seen| of_service(cx, seen)));
    out
}

/// The services that no rule is for yet.
fn without_taken<'a>(services: impl Iterator<Item = Seen<'a>>, rules: &[Rules<'_>]) -> Vec<Seen<'a>> {
    let taken: BTreeSet<_> = rules.iter().flat_map(|r| &r.services).map(|s| &*s.hostname).collect();
    services.filter(|s| !taken.contains(&*s.hostname)).collect()
}

/// Whether one of a VirtualService's hosts is that of a service. Source: Istio `selectVirtualServices`.
fn concerns(vs: &SharedVirtualService, services: Services<'_>) -> bool {
    vs.spec.hosts.iter().map(|h| h.to_ascii_lowercase()).any(|h| {
        services.get(&h).is_some()
            || if host::is_wildcard(&h) {
                services.iter().any(|s| host::matches(&h, &s.hostname))
            } else {
                services.wildcards().any(|s| host::matches(&h, &s.hostname))
            }
    })
}

fn of_virtual_service<'a>(cx: &Cx<'_>, vs: &SharedVirtualService, services: Services<'a>) -> Vec<Rules<'a>> {
    let port = services.port;
    let lookup = |hostname: &str| -> Option<Backend<'_>> { services.backend(hostname) };
    let place = Place { cx, port, gateway: names::MESH_GATEWAY, is_tls: false, lookup: &lookup };
    let routes = routes(&place, vs);
    if routes.is_empty() {
        return Vec::new();
    }
    let (other_hosts, matching) = split_hosts(vs, services);
    // Gateway API routes count for clients of their own namespace, and for services of it.
    let visible =
        |s: &Seen<'_>| s.service.namespace == vs.meta.namespace || cx.proxy.namespace == vs.meta.namespace;
    if gateway_semantics(&vs.meta) && !matching.iter().any(visible) {
        return Vec::new();
    }
    let mut by_port: BTreeMap<u32, Vec<Seen<'a>>> = BTreeMap::new();
    for seen in &matching {
        for http in seen.ports.iter().filter(|p| p.protocol.is_http_or_sniffed()) {
            by_port.entry(http.port).or_default().push(seen.clone());
        }
    }
    if by_port.is_empty() && port == 80 {
        by_port.insert(80, Vec::new());
    }
    by_port
        .into_iter()
        .map(|(port, services)| Rules {
            port,
            services,
            other_hosts: other_hosts.clone(),
            routes: routes.clone(),
        })
        .collect()
}

/// A VirtualService's hosts: those that no service has, and the services of the others. A service under a wildcard
/// belongs to the VirtualService whose host matches it most specifically.
///
/// Source: Istio `separateVSHostsAndServices`.
fn split_hosts<'a>(vs: &SharedVirtualService, services: Services<'a>) -> (Vec<String>, Vec<Seen<'a>>) {
    let (mut others, mut matching) = (Vec::new(), Vec::new());
    let (wildcards, exact): (Vec<_>, Vec<_>) = vs.spec.hosts.iter().partition(|h| host::is_wildcard(h));
    for hostname in exact.iter().map(|h| h.to_ascii_lowercase()) {
        match services.get(&hostname) {
            Some(seen) => matching.push(seen),
            None => others.push(hostname),
        }
    }
    let key = vs.meta.key();
    let most_specific = &services.egress.most_specific;
    for hostname in wildcards.iter().map(|h| h.to_ascii_lowercase()) {
        let mut under = services.iter().filter(|s| host::matches(&s.hostname, &hostname)).peekable();
        if under.peek().is_none() || gateway_semantics(&vs.meta) {
            others.push(hostname);
        } else {
            matching.extend(under.filter(|s| most_specific.get(&s.hostname) == Some(&key)));
        }
    }
    (others, matching)
}

/// The default routes of a service: one for each HTTP port. Aliases are domains of their target instead.
fn of_service<'a>(cx: &Cx<'_>, seen: &Seen<'a>) -> Vec<Rules<'a>> {
    if seen.service.resolution == Resolution::Alias {
        return Vec::new();
    }
    let http = seen.ports.iter().filter(|p| p.protocol.is_http_or_sniffed());
    http.map(|port| {
        let cluster = names::outbound_cluster(port.port, "", &seen.hostname);
        let mut out = default::outbound(cx, cluster, default::operation(&seen.hostname, port.port));
        let policy = hash::of_service(cx, &seen.hostname, port.port).and_then(hash::policy);
        if let Some(route::Action::Route(action)) = &mut out.action {
            action.hash_policy.extend(policy);
        }
        Rules { port: port.port, services: vec![seen.clone()], other_hosts: Vec::new(), routes: vec![out] }
    })
    .collect()
}
