//! Clusters of AUTO_PASSTHROUGH gateways: named like the SNI of the mesh's mutual TLS, which they pass on.
//!
//! Source: Istio `buildOutboundSniDnatClusters`.

use super::outbound::Build;
use crate::Cx;
use meltemi_api::envoy::config::cluster::v3::Cluster;
use meltemi_world::Protocol;

/// The clusters of all services of the mesh.
pub(super) fn clusters(cx: &Cx<'_>) -> Vec<Cluster> {
    let services = cx.scope.services().iter().filter(|s| !s.mesh_external);
    let ports = services.flat_map(|s| s.ports.iter().map(move |p| (s, p)));
    ports
        .filter(|(_, port)| port.protocol != Protocol::Udp)
        .flat_map(|(service, port)| Build::new(cx, service, port, &[], true).clusters())
        .collect()
}
