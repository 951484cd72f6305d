//! Which routes apply to which services: from VirtualServices, and default ones for all others.
//!
//! Source: Istio `BuildSidecarVirtualHostWrapper`.

use super::services::{Seen, Services, backend};
use crate::index::virtual_services::{SharedVirtualService, gateway_semantics};
use crate::route::http::{Backend, Place, routes};
use crate::route::{default, hash};
use crate::scope::Egress;
use crate::{Cx, names};
use meltemi_api::envoy::config::route::v3::{Route, route};
use meltemi_world::{NsName, Resolution, Str, host};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

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
pub(super) fn rules<'a>(
    cx: &Cx<'_>,
    egress: &'a Egress,
    port: u32,
    mut services: Services<'a>,
) -> Vec<Rules<'a>> {
    let mut out = Vec::new();
    for vs in &egress.virtual_services {
        // On port 80, VirtualServices also make hosts that no service has reachable.
        if port == 80 || concerns(vs, &services) {
            out.extend(of_virtual_service(cx, vs, port, &services, &egress.most_specific));
        }
    }
    let taken: BTreeSet<_> = out.iter().flat_map(|r| &r.services).map(|s| s.hostname.clone()).collect();
    services.retain(|hostname, _| !taken.contains(hostname));
    out.extend(services.values().flat_map(|seen| of_service(cx, seen)));
    out
}

/// Whether one of a VirtualService's hosts is that of a service. Source: Istio `selectVirtualServices`.
fn concerns(vs: &SharedVirtualService, services: &Services<'_>) -> bool {
    vs.spec.hosts.iter().map(|h| h.to_ascii_lowercase()).any(|h| {
        services.contains_key(&h)
            || if host::is_wildcard(&h) {
                services.keys().any(|s| host::matches(&h, s))
            } else {
                let from = services.range::<str, _>((Bound::Included("*"), Bound::Unbounded));
                from.take_while(|(s, _)| host::is_wildcard(s)).any(|(s, _)| host::matches(&h, s))
            }
    })
}

fn of_virtual_service<'a>(
    cx: &Cx<'_>,
    vs: &SharedVirtualService,
    port: u32,
    services: &Services<'a>,
    most_specific: &BTreeMap<Str, NsName>,
) -> Vec<Rules<'a>> {
    let lookup = |hostname: &str| -> Option<Backend<'_>> { backend(services, hostname) };
    let place = Place { cx, port, gateway: names::MESH_GATEWAY, is_tls: false, lookup: &lookup };
    let routes = routes(&place, vs);
    if routes.is_empty() {
        return Vec::new();
    }
    let (other_hosts, matching) = split_hosts(vs, services, most_specific);
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
fn split_hosts<'a>(
    vs: &SharedVirtualService,
    services: &Services<'a>,
    most_specific: &BTreeMap<Str, NsName>,
) -> (Vec<String>, Vec<Seen<'a>>) {
    let (mut others, mut matching) = (Vec::new(), Vec::new());
    let (wildcards, exact): (Vec<_>, Vec<_>) = vs.spec.hosts.iter().partition(|h| host::is_wildcard(h));
    for hostname in exact.iter().map(|h| h.to_ascii_lowercase()) {
        match services.get(&hostname) {
            Some(seen) => matching.push(seen.clone()),
            None => others.push(hostname),
        }
    }
    let key = vs.meta.key();
    for hostname in wildcards.iter().map(|h| h.to_ascii_lowercase()) {
        let under: Vec<_> = services.iter().filter(|(s, _)| host::matches(s, &hostname)).collect();
        if under.is_empty() || gateway_semantics(&vs.meta) {
            others.push(hostname);
        } else {
            let own = under.into_iter().filter(|(s, _)| most_specific.get(s.as_str()) == Some(&key));
            matching.extend(own.map(|(_, seen)| seen.clone()));
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
