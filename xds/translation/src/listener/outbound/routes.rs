//! TCP and TLS routes of VirtualServices as filter chains.
//!
//! A match has a part that is decided here (gateway, labels, namespace, port) and one that Envoy decides (SNI,
//! destination address). Envoy rejects two chains with the same match, so only the first of each is built.
//! Source: Istio `pilot/pkg/networking/core/tls.go`.

use super::entries::Spot;
use crate::index::virtual_services::SharedVirtualService;
use crate::listener::chain::Chain;
use crate::listener::http::is_dynamic_wildcard;
use crate::listener::{Side, forward};
use crate::names::MESH_GATEWAY;
use crate::route::domains;
use crate::{Cx, address, wire};
use meltemi_api::istio::networking::v1alpha3::{L4MatchAttributes, TcpRoute, TlsMatchAttributes};
use meltemi_world::service::Registry;
use meltemi_world::{Service, host};
use std::collections::{BTreeMap, BTreeSet};

/// VirtualServices with routes for TCP or TLS.
pub(super) struct TcpRoutes<'s>(Vec<&'s SharedVirtualService>);

impl<'s> TcpRoutes<'s> {
    /// Those among `all`.
    pub(super) fn of(all: &'s [SharedVirtualService]) -> Self {
        Self(all.iter().filter(|vs| !vs.spec.tcp.is_empty() || !vs.spec.tls.is_empty()).collect())
    }

    fn of_host<'a>(&'a self, hostname: &'a str) -> impl Iterator<Item = &'s SharedVirtualService> + 'a {
        self.0.iter().copied().filter(move |vs| vs.spec.hosts.iter().any(|h| host::matches(h, hostname)))
    }

    /// The chains of a port that carries TLS.
    pub(super) fn tls_chains(&self, side: &Side<'s>, spot: &Spot<'_, 's>) -> Vec<Chain<'s>> {
        let mut cidrs = spot.cidrs.clone();
        let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
        for vs in self.of_host(&spot.service.hostname) {
            for tls in vs.spec.tls.iter().filter(|t| !t.route.is_empty()) {
                for m in tls.r#match.iter().filter(|m| Conditions::of_tls(m).hold(&side.cx, spot.port.port)) {
                    if !m.destination_subnets.is_empty() && spot.port.port > 0 {
                        // They stay in force for the matches that follow, as in Istio.
                        cidrs.clone_from(&m.destination_subnets);
                    }
                    if seen.insert((&m.sni_hosts, &m.destination_subnets)) {
                        let filters = forward::to_destinations(side, &tls.route, spot.port, &vs.meta, false);
                        out.push(Chain {
                            metadata: Some(wire::config_metadata("virtual-service", &vs.meta)),
                            sni_hosts: m.sni_hosts.clone(),
                            destination_cidrs: cidrs.clone(),
                            ..Chain::network(filters)
                        });
                    }
                }
            }
        }
        if out.is_empty() {
            out.push(Chain {
                sni_hosts: own_names(side, spot, &cidrs),
                destination_cidrs: cidrs,
                ..Chain::network(forward::to_service(side, spot.service, spot.port))
            });
        }
        out
    }

    /// The chains of any other TCP port. A route for all destinations is the last one.
    pub(super) fn tcp_chains(&self, side: &Side<'s>, spot: &Spot<'_, 's>) -> Vec<Chain<'s>> {
        let mut own = spot.cidrs.clone();
        own.sort();
        let (mut out, mut own_is_taken) = (Vec::new(), false);
        let routes =
            self.of_host(&spot.service.hostname).flat_map(|vs| vs.spec.tcp.iter().map(move |t| (vs, t)));
        for (vs, tcp) in routes.filter(|(_, t)| !t.route.is_empty()) {
            let filters = || forward::to_destinations(side, &tcp.route, spot.port, &vs.meta, false);
            let Some(mut subnets) = subnets(&side.cx, tcp, spot.port.port) else {
                out.push(Chain {
                    metadata: Some(wire::config_metadata("virtual-service", &vs.meta)),
                    destination_cidrs: spot.cidrs.clone(),
                    ..Chain::network(filters())
                });
                return out;
            };
            if !subnets.is_empty() {
                subnets.sort();
                own_is_taken |= subnets == own;
                out.push(Chain { destination_cidrs: subnets, ..Chain::network(filters()) });
            }
        }
        if !own_is_taken {
            let filters = forward::to_service(side, spot.service, spot.port);
            out.push(Chain { destination_cidrs: spot.cidrs.clone(), ..Chain::network(filters) });
        }
        out
    }
}

/// The destinations that a route is for; `None` for all.
fn subnets(cx: &Cx<'_>, tcp: &TcpRoute, port: u32) -> Option<Vec<String>> {
    if tcp.r#match.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    for m in tcp.r#match.iter().filter(|m| Conditions::of_tcp(m).hold(cx, port)) {
        // A Unix socket has no destination address.
        if m.destination_subnets.is_empty() || port == 0 {
            return None;
        }
        out.extend(m.destination_subnets.iter().cloned());
    }
    Some(out)
}

/// The names (SNI) that tell the service from others, where its listener is not its own.
fn own_names(side: &Side<'_>, spot: &Spot<'_, '_>, cidrs: &[String]) -> Vec<String> {
    let (cx, service) = (&side.cx, spot.service);
    let address = match address::first(cx, service) {
        // The family of a ServiceEntry without addresses is that of the proxy.
        Service::UNSPECIFIED if service.registry == Registry::External => side.wildcard(),
        address => address,
    };
    let shared = address == side.wildcard() && spot.bind.primary() == side.wildcard();
    if cidrs.is_empty() && !address.contains('/') && !shared && !is_dynamic_wildcard(service) {
        return Vec::new();
    }
    let mut names = vec![service.hostname.to_string()];
    for alias in &service.aliases {
        names.push(alias.hostname.to_string());
        let absolute = cx.features().absolute_fqdn_domains;
        names.extend(domains::alternatives(&alias.hostname, None, &cx.proxy.dns_domain, absolute));
    }
    names
}

/// What of a match is decided here. Source: Istio `matchTLS`, `matchTCP`.
struct Conditions<'a> {
    gateways: &'a [String],
    labels: &'a BTreeMap<String, String>,
    port: u32,
    namespace: &'a str,
}

impl<'a> Conditions<'a> {
    fn of_tls(m: &'a TlsMatchAttributes) -> Self {
        Self { gateways: &m.gateways, labels: &m.source_labels, port: m.port, namespace: &m.source_namespace }
    }

    fn of_tcp(m: &'a L4MatchAttributes) -> Self {
        Self { gateways: &m.gateways, labels: &m.source_labels, port: m.port, namespace: &m.source_namespace }
    }

    fn hold(&self, cx: &Cx<'_>, port: u32) -> bool {
        (self.gateways.is_empty() || self.gateways.iter().any(|g| g == MESH_GATEWAY))
            && cx.proxy.labels.matches(self.labels)
            && (self.port == 0 || self.port == port)
            && (self.namespace.is_empty() || *self.namespace == *cx.proxy.namespace)
    }
}
