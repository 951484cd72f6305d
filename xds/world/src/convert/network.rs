//! Which network an address is in.
//!
//! Source: Istio `pilot/pkg/serviceregistry/kube/controller/network.go`.

use super::topology::NETWORK;
use crate::Str;
use crate::labels::Labels;
use crate::snapshot::Snapshot;
use ipnet::IpNet;
use meltemi_api::istio::mesh::v1alpha1::network::network_endpoints::Ne;
use std::net::IpAddr;

/// The mesh's networks, read for look-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// The network of all that says nothing else: the label of the control plane's namespace, or else the network
    /// that `MeshNetworks` gives this cluster.
    default: Str,
    /// Networks by range, the widest range first.
    ranges: Vec<(IpNet, Str)>,
}

impl Networks {
    /// Reads the networks of a snapshot.
    pub fn of_snapshot(snapshot: &Snapshot) -> Self {
        let settings = &snapshot.settings;
        let own = snapshot.namespaces.get(&settings.namespace).and_then(|ns| ns.labels.get(NETWORK));
        let mut default: Str = own.unwrap_or_default().into();
        let mut ranges = Vec::new();
        for (name, network) in &snapshot.networks.networks {
            for endpoints in &network.endpoints {
                match &endpoints.ne {
                    Some(Ne::FromCidr(cidr)) => {
                        if let Ok(range) = cidr.parse::<IpNet>() {
                            ranges.push((range.trunc(), name.as_str().into()));
                        }
                    }
                    Some(Ne::FromRegistry(cluster))
                        if **cluster == *settings.cluster_id && default.is_empty() =>
                    {
                        default = name.as_str().into();
                    }
                    _ => {}
                }
            }
        }
        ranges.sort_by_key(|(range, _): &(IpNet, Str)| range.prefix_len());
        Self { default, ranges }
    }

    /// The network of a workload with this address and these labels; empty where unknown.
    pub fn of(&self, address: &str, labels: &Labels) -> Str {
        if let Some(network) = labels.get(NETWORK).filter(|n| !n.is_empty()) {
            return network.into();
        }
        if !self.default.is_empty() || self.ranges.is_empty() {
            return self.default.clone();
        }
        let Ok(ip) = address.parse::<IpAddr>() else { return Str::default() };
        self.ranges
            .iter()
            .find(|(range, _)| range.contains(&ip))
            .map(|(_, name)| name.clone())
            .unwrap_or_default()
    }
}
