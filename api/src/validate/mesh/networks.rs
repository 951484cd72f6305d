//! Networks of a mesh, and the gateways between them.

use super::super::{At, Findings, host, scalar};
use crate::istio::mesh::v1alpha1::network::istio_network_gateway::Gw;
use crate::istio::mesh::v1alpha1::network::network_endpoints::Ne;
use crate::istio::mesh::v1alpha1::{MeshNetworks, Network};

/// Checks the networks of a mesh.
pub fn networks(mesh: &MeshNetworks) -> Findings {
    let mut out = Findings::default();
    let at = At::root("networks");
    for (name, network) in &mesh.networks {
        check(&at.key(name), network, &mut out);
    }
    out
}

fn check(at: &At<'_>, network: &Network, out: &mut Findings) {
    let endpoints = at.field("endpoints");
    for (i, entry) in network.endpoints.iter().enumerate() {
        let at = endpoints.index(i);
        match &entry.ne {
            Some(Ne::FromCidr(range)) => out.check(&at.field("fromCidr"), host::subnet(range)),
            Some(Ne::FromRegistry(name)) if !host::is_label(name) => {
                out.error(&at.field("fromRegistry"), format!("{name:?} is no name of a cluster"));
            }
            Some(Ne::FromRegistry(_)) | None => {}
        }
    }
    let gateways = at.field("gateways");
    for (i, gateway) in network.gateways.iter().enumerate() {
        let at = gateways.index(i);
        match &gateway.gw {
            Some(Gw::RegistryServiceName(name)) => {
                out.check(&at.field("registryServiceName"), host::fqdn(name))
            }
            Some(Gw::Address(address)) => {
                out.check(&at.field("address"), host::fqdn(address).filter(|_| !host::is_ip(address)));
            }
            None => {}
        }
        out.check(&at.field("port"), scalar::port(gateway.port));
    }
}
