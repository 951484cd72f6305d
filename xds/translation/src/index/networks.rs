//! Gateways between networks: where a proxy reaches endpoints that it has no direct way to.
//!
//! Source: Istio `pilot/pkg/model/network.go` (`NetworkManager`), `pilot/pkg/serviceregistry/kube/controller/network.go`.

use meltemi_api::istio::mesh::v1alpha1::network::{istio_network_gateway::Gw, network_endpoints::Ne};
use meltemi_world::service::Registry;
use meltemi_world::{Service, Snapshot, Str};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The label that names a network; on a Service: it is that network's gateway.
const NETWORK: &str = "topology.istio.io/network";
/// The label that names the port of a gateway Service.
const GATEWAY_PORT: &str = "networking.istio.io/gatewayPort";
/// The port of a gateway for mutual TLS that names none.
const DEFAULT_PORT: u32 = 15443;
/// The port of a gateway for HBONE.
const HBONE_PORT: u32 = 15008;

/// A gateway of a network. The order is that of address, then port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkGateway {
    /// Its IP address or host name.
    pub address: Str,
    /// Its port for mutual TLS; 0 where it has none.
    pub port: u32,
    /// The network behind it.
    pub network: Str,
    /// The cluster that it belongs to; empty where unknown.
    pub cluster: Str,
}

/// The gateways of all networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    by_ip: Gateways,
    all: Gateways,
}

/// Gateways by network, and by network and cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateways {
    by_network: BTreeMap<Str, Vec<NetworkGateway>>,
    by_cluster: BTreeMap<(Str, Str), Vec<NetworkGateway>>,
    scale: u32,
}

impl Networks {
    /// Finds the gateways that MeshNetworks and labelled Services name.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut all = static_gateways(snapshot);
        let by_service = gateways_by_service_name(snapshot);
        for service in snapshot.registry.services().filter(|s| s.registry == Registry::Kubernetes) {
            for (network, port) in gateway_ports(service, &by_service) {
                let port = service.external_ports.get(&port).copied().unwrap_or(port);
                let cluster = &snapshot.settings.cluster_id;
                all.extend(service.external_addresses.iter().map(|address| NetworkGateway {
                    address: address.clone(),
                    port,
                    network: network.clone(),
                    cluster: cluster.clone(),
                }));
            }
        }
        let by_ip = all.iter().filter(|g| g.address.parse::<IpAddr>().is_ok()).cloned().collect();
        Self { by_ip: Gateways::new(by_ip), all: Gateways::new(all) }
    }

    /// The gateways that have an IP address: endpoints by EDS can be no names.
    pub fn by_ip(&self) -> &Gateways {
        &self.by_ip
    }

    /// All gateways, for clusters that Envoy resolves by DNS.
    pub fn all(&self) -> &Gateways {
        &self.all
    }
}

impl Gateways {
    fn new(gateways: BTreeSet<NetworkGateway>) -> Self {
        let mut out = Self::default();
        for gateway in gateways {
            let key = (gateway.network.clone(), gateway.cluster.clone());
            out.by_network.entry(key.0.clone()).or_default().push(gateway.clone());
            out.by_cluster.entry(key).or_default().push(gateway);
        }
        let counts = out.by_network.values().chain(out.by_cluster.values()).map(|g| g.len() as u32);
        out.scale = counts.fold(1, least_common_multiple);
        out
    }

    /// Whether any network has a gateway.
    pub fn is_empty(&self) -> bool {
        self.by_network.is_empty()
    }

    /// The gateways, by network.
    pub fn iter(&self) -> impl Iterator<Item = &NetworkGateway> {
        self.by_network.values().flatten()
    }

    /// By what endpoint weights are multiplied, so that they can be shared out evenly among any network's gateways.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// The gateways to endpoints of a cluster in a network: the cluster's own, else all of the network.
    pub fn to(&self, network: &Str, cluster: &Str) -> &[NetworkGateway] {
        let own = self.by_cluster.get(&(network.clone(), cluster.clone()));
        own.or_else(|| self.by_network.get(network)).map_or(&[], Vec::as_slice)
    }
}

impl Default for Gateways {
    fn default() -> Self {
        Self { by_network: BTreeMap::new(), by_cluster: BTreeMap::new(), scale: 1 }
    }
}

/// Gateways whose addresses MeshNetworks itself gives.
fn static_gateways(snapshot: &Snapshot) -> BTreeSet<NetworkGateway> {
    let mut out = BTreeSet::new();
    for (name, network) in &snapshot.networks.networks {
        for gateway in &network.gateways {
            let Some(Gw::Address(address)) = &gateway.gw else { continue };
            let address = Str::from(address.as_str());
            out.insert(NetworkGateway {
                address,
                port: gateway.port,
                network: name.as_str().into(),
                cluster: "".into(),
            });
        }
    }
    out
}

/// Gateways that MeshNetworks names by Service: the networks and service ports of each host.
fn gateways_by_service_name(snapshot: &Snapshot) -> BTreeMap<&str, Vec<(Str, u32)>> {
    let mut out: BTreeMap<&str, Vec<(Str, u32)>> = BTreeMap::new();
    for (name, network) in &snapshot.networks.networks {
        let own =
            |e: &Option<Ne>| matches!(e, Some(Ne::FromRegistry(r)) if **r == *snapshot.settings.cluster_id);
        if !network.endpoints.iter().any(|e| own(&e.ne)) {
            continue;
        }
        for gateway in &network.gateways {
            if let Some(Gw::RegistryServiceName(service)) = &gateway.gw {
                out.entry(service).or_default().push((name.as_str().into(), gateway.port));
            }
        }
    }
    out
}

/// The networks that a service is a gateway of, and its ports for them.
fn gateway_ports(service: &Service, by_service: &BTreeMap<&str, Vec<(Str, u32)>>) -> Vec<(Str, u32)> {
    let Some(network) = service.labels.get(NETWORK).filter(|n| !n.is_empty()) else {
        return by_service.get(&*service.hostname).cloned().unwrap_or_default();
    };
    let named = service.labels.get(GATEWAY_PORT).and_then(|p| p.parse().ok());
    let port = named.unwrap_or(DEFAULT_PORT);
    match (service.port(port), service.port(HBONE_PORT)) {
        (Some(_), _) => vec![(network.into(), port)],
        (None, Some(_)) => vec![(network.into(), 0)],
        (None, None) => Vec::new(),
    }
}

fn least_common_multiple(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(address: &str, network: &str, cluster: &str) -> NetworkGateway {
        NetworkGateway {
            address: address.into(),
            port: 15443,
            network: network.into(),
            cluster: cluster.into(),
        }
    }

    #[test]
    fn a_clusters_own_gateways_come_first() {
        let all = ["1.1.1.1", "1.1.1.2", "1.1.1.3"].map(|a| gateway(a, "n1", "c1"));
        let gateways = Gateways::new(all.into_iter().chain([gateway("2.2.2.2", "n1", "c2")]).collect());
        assert_eq!(gateways.to(&"n1".into(), &"c2".into()), [gateway("2.2.2.2", "n1", "c2")]);
        assert_eq!(gateways.to(&"n1".into(), &"c3".into()).len(), 4);
        assert!(gateways.to(&"n2".into(), &"c1".into()).is_empty());
        assert_eq!(gateways.scale(), 12);
    }
}
