//! AUTO_PASSTHROUGH: a chain for each service of the mesh, found by the SNI that mutual TLS uses.
//!
//! Source: Istio `builtAutoPassthroughFilterChains`.

use crate::listener::chain::Chain;
use crate::listener::{Side, forward};
use crate::{names, security};
use meltemi_world::{Port, Protocol, Service, host};
use std::sync::Arc;

/// The ALPN of Istio's mutual TLS. Together with the SNI it makes sure that only mutual TLS passes.
const ISTIO_ALPN: [&str; 5] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// The chains of a server with these hosts.
pub(super) fn chains(side: &Side<'_>, hosts: &[String]) -> Vec<Chain<'static>> {
    let offered =
        |s: &&Arc<Service>| !s.mesh_external && hosts.iter().any(|h| host::subset_of(&s.hostname, h));
    // What passes is for other servers, whose own policies count.
    let side = &Side { security: security::Filters::default(), ..side.clone() };
    let mut out = Vec::new();
    for service in side.cx.scope.services().iter().filter(offered) {
        for port in service.ports.iter().filter(|p| p.protocol != Protocol::Udp) {
            out.extend(of_port(side, service, port));
        }
    }
    out
}

fn of_port(side: &Side<'_>, service: &Service, port: &Port) -> Vec<Chain<'static>> {
    let rule = side.cx.scope.destination_rule(&side.cx.proxy.labels, &service.hostname);
    let subsets = rule.iter().flat_map(|r| &r.rule.spec.subsets).map(|s| s.name.as_str());
    std::iter::once("")
        .chain(subsets)
        .map(|subset| {
            let cluster = names::outbound_sni(port.port, subset, &service.hostname);
            let filters = forward::to_passed_cluster(side, service, port, subset, &cluster);
            Chain {
                sni_hosts: vec![cluster],
                application_protocols: ISTIO_ALPN.iter().map(|a| (*a).to_owned()).collect(),
                ..Chain::network(filters)
            }
        })
        .collect()
}
