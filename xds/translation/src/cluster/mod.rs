//! CDS: clusters of sidecars and gateways.
//!
//! An outbound cluster depends on its service and port, the accounts of the service's workloads, the DestinationRule
//! that applies, the mesh's settings, and PeerAuthentications; of the proxy on its kind, extensions, IP families,
//! certificates and credentials in metadata, and header case. Only clusters that Envoy resolves by DNS hold endpoints,
//! and so depend on the proxy's network and locality, too.
//! Source: Istio `pilot/pkg/networking/core/cluster.go`.

mod connection_pool;
mod draft;
pub mod dynamic_dns;
mod fixed;
mod gateway_scope;
mod inbound;
mod load_balancer;
mod metadata;
mod outbound;
mod outlier;
mod policy;
mod proxy_protocol;
mod sni_dnat;
mod tls;

use crate::Cx;
use crate::patch::{PatchContext, Patches};
use meltemi_api::envoy::config::cluster::v3::Cluster;
use meltemi_world::Service;
use meltemi_world::proxy::ProxyType;
use std::collections::BTreeSet;
use std::sync::Arc;

pub use outbound::outbound_clusters;

/// All clusters of a proxy. Of several with one name, the first is kept.
pub fn clusters(cx: &Cx<'_>) -> Vec<Cluster> {
    let mut out = match cx.proxy.kind {
        ProxyType::Sidecar => of_sidecar(cx),
        ProxyType::Router => of_gateway(cx),
        // The proxies of ambient mode have resources of other kinds.
        ProxyType::Waypoint | ProxyType::Ztunnel => return Vec::new(),
    };
    if cx.proxy.metadata.credential == "true" {
        out.push(fixed::external_sds(cx));
    }
    let mut names = BTreeSet::new();
    out.retain(|c| names.insert(c.name.clone()));
    out
}

fn of_sidecar(cx: &Cx<'_>) -> Vec<Cluster> {
    let mut out = outbound(cx, cx.scope.services());
    out.push(fixed::black_hole(cx));
    out.push(fixed::passthrough(cx));
    if dynamic_dns::is_allow_any(cx) {
        out.push(dynamic_dns::allow_any(cx));
    }
    patch(cx, PatchContext::SidecarOutbound, &mut out);
    let mut of_inbound = inbound::inbound_clusters(cx);
    of_inbound.push(fixed::inbound_passthrough(cx));
    patch(cx, PatchContext::SidecarInbound, &mut of_inbound);
    out.extend(of_inbound);
    out
}

/// EnvoyFilters may name an inbound cluster by the services behind its port.
fn patch(cx: &Cx<'_>, context: PatchContext, clusters: &mut Vec<Cluster>) {
    Patches::of(cx, context).clusters(clusters, &|port| inbound::hosts(cx, port));
}

fn of_gateway(cx: &Cx<'_>) -> Vec<Cluster> {
    let mut out = outbound(cx, gateway_scope::services(cx));
    out.push(fixed::black_hole(cx));
    if cx.gateway.is_some_and(|g| g.auto_passthrough.is_some()) {
        out.extend(sni_dnat::clusters(cx));
    }
    patch(cx, PatchContext::Gateway, &mut out);
    out
}

fn outbound<'a>(cx: &Cx<'_>, services: impl IntoIterator<Item = &'a Arc<Service>>) -> Vec<Cluster> {
    let ports = services.into_iter().flat_map(|s| s.ports.iter().map(move |p| (s, p)));
    ports.flat_map(|(service, port)| outbound_clusters(cx, service, port)).collect()
}
