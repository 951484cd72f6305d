//! The hosts that a VirtualService leads to.

use meltemi_api::istio::networking::v1alpha3 as networking;
use std::collections::{BTreeMap, BTreeSet};

/// The hosts that a VirtualService may lead to, with their ports; 0 is every port. With `source_namespace`, HTTP
/// routes that only name other namespaces do not count. Source: Istio `virtualServiceDestinations`.
pub fn destinations<'a>(
    vs: &'a networking::VirtualService,
    source_namespace: Option<&str>,
) -> BTreeMap<&'a str, BTreeSet<u32>> {
    let mut out: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    let mut add = |destination: Option<&'a networking::Destination>| {
        if let Some(d) = destination {
            out.entry(&d.host).or_default().insert(d.port.as_ref().map_or(0, |p| p.number));
        }
    };
    for http in &vs.http {
        if source_namespace.is_some_and(|namespace| !serves(http, namespace)) {
            continue;
        }
        http.route.iter().for_each(|r| add(r.destination.as_ref()));
        add(http.mirror.as_ref());
        http.mirrors.iter().for_each(|m| add(m.destination.as_ref()));
    }
    vs.tcp.iter().flat_map(|t| &t.route).for_each(|r| add(r.destination.as_ref()));
    vs.tls.iter().flat_map(|t| &t.route).for_each(|r| add(r.destination.as_ref()));
    out
}

fn serves(http: &networking::HttpRoute, namespace: &str) -> bool {
    let mut named = http.r#match.iter().filter(|m| !m.source_namespace.is_empty()).peekable();
    named.peek().is_none() || named.any(|m| m.source_namespace == namespace)
}
